//! All tools of the gateway, of servers and built in, and the one way to call one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use crate::telemetry::metrics::Gauge;
use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::authz::Permit;
use crate::model::{InvokeTool, ServerName, ToolId};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;

use super::builtin;
use super::catalogue::{Catalogue, ServerTools};
use super::error::{PrepareError, Problem, RegistryError, ToolError};
use super::pin::{MAX_FILE_BYTES, Pins, pin_path};
use super::result::ToolResult;
use super::settings::Settings;
use super::tool::{Backend, Tool};
use super::upstream::{self, Connection, Health, Listing, Upstream};

/// The tools of the live gateway. Cheap to clone; the connections end with the last clone.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    sandbox: Sandbox,
    metrics: Arc<Metrics>,
    upstreams: Vec<Arc<Upstream>>,
    builtin: Vec<Arc<Tool>>,
    server_tools: Mutex<BTreeMap<ServerName, ServerTools>>,
    catalogue: ArcSwap<Catalogue>,
    generation: watch::Sender<u64>,
    connections: Mutex<Vec<AbortOnDropHandle<()>>>,
}

impl Registry {
    /// Connects to all servers at once and waits for each no longer than its deadline.
    ///
    /// A server that does not answer does not stop the gateway: it is among the problems, and is tried again
    /// in the background. What stops it: a taken server name, and pins that cannot be trusted.
    pub async fn connect(
        mut settings: Settings,
        sandbox: Sandbox,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Vec<Problem>), RegistryError> {
        let limits = upstream::UpstreamLimits::from(&settings);
        let upstreams = upstreams(&mut settings, limits)?;
        let builtin = builtin::load(&sandbox, &settings)?;
        let mut all_tools = BTreeMap::new();
        let mut problems = Vec::new();
        for upstream in &upstreams {
            let server = &upstream.settings.name;
            let pins = Pins::load(&settings.pin_dir(), server, settings.max_definition_bytes)?;
            let (server_tools, found) = ServerTools::new(Arc::clone(upstream), pins, &settings);
            all_tools.insert(server.clone(), server_tools);
            problems.extend(found);
        }
        let inner = Arc::new(Inner {
            catalogue: ArcSwap::from_pointee(Catalogue::new(&builtin, all_tools.values())),
            settings,
            sandbox,
            metrics,
            builtin,
            server_tools: Mutex::new(all_tools),
            generation: watch::Sender::new(0),
            connections: Mutex::new(Vec::new()),
            upstreams,
        });
        let first = join_all(inner.upstreams.iter().map(|upstream| upstream.connect())).await;
        for (upstream, answer) in inner.upstreams.iter().zip(first) {
            let connection = match answer {
                Ok((connection, listing)) => {
                    problems.extend(inner.publish(&upstream.settings.name, listing));
                    upstream.up(&connection);
                    Some(connection)
                }
                Err(error) => {
                    upstream.down(&error);
                    problems.push(Problem::unreachable(&upstream.settings.name, &error));
                    None
                }
            };
            inner.watch(upstream, connection);
        }
        Ok((Self(inner), problems))
    }

    /// Schema fragments that are in no file: name and text, for servers taken over by `auto_import`.
    pub fn fragments(&self) -> Vec<(String, String)> {
        self.0.catalogue.load().fragments.clone()
    }

    /// The digest of each server's pins as they lie in their file; none for a server without pins. Blocking.
    pub fn pin_digests(&self) -> BTreeMap<String, String> {
        let dir = self.0.settings.pin_dir();
        let names = self.0.upstreams.iter().map(|upstream| &upstream.settings.name);
        let digest = |server: &ServerName| {
            let bytes = crate::regular::read(&pin_path(&dir, server), MAX_FILE_BYTES).ok()?;
            let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
            Some((server.to_string(), hex::encode(sha256)))
        };
        names.filter_map(digest).collect()
    }

    /// Changes when tools came, went or drifted. The policy bundle needs the new [`Registry::fragments`]; until
    /// it has them, calls of new tools are denied because their actions are unknown.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.generation.subscribe()
    }

    /// All tools, in the order of their ids. Which principal may see which tool is policy.
    pub fn tools(&self) -> Arc<[Arc<Tool>]> {
        Arc::clone(&self.0.catalogue.load().list)
    }

    /// One tool.
    pub fn get(&self, id: &ToolId) -> Option<Arc<Tool>> {
        self.0.catalogue.load().by_id.get(id).cloned()
    }

    /// Each server and whether it can be called.
    pub fn health(&self) -> Vec<(ServerName, Health)> {
        self.0.upstreams.iter().map(|upstream| (upstream.settings.name.clone(), upstream.health())).collect()
    }

    /// The call of `id` with these arguments, checked and typed, to be asked about.
    pub fn prepare(&self, id: &ToolId, arguments: Map<String, Json>) -> Result<InvokeTool, PrepareError> {
        self.get(id).ok_or_else(|| PrepareError::ToolUnknown(id.clone()))?.prepare(arguments)
    }

    /// Carries an allowed call out, once, with the arguments that were judged.
    pub async fn call(&self, permit: Permit<InvokeTool>) -> Result<ToolResult, ToolError> {
        let InvokeTool { tool: judged, arguments, redact, input: _ } = permit.into_operation();
        // INVARIANT: the tool that is called is the one that was judged, with the same definition and standing.
        let live = self.get(&judged.id).filter(|tool| Arc::ptr_eq(tool.descriptor(), &judged));
        let Some(tool) = live.filter(|tool| !tool.drifted()) else {
            return Err(ToolError::Changed(judged.id.clone()));
        };
        let _session = ActiveCall::open(&self.0.metrics.active_tool_sessions);
        let result = match tool.backend() {
            Backend::Upstream(upstream) => upstream.call(tool.definition().wire_name(), arguments).await,
            Backend::Builtin(module) => {
                let limit = self.0.settings.max_response_bytes;
                builtin::call(&self.0.sandbox, module, arguments, limit).await
            }
        };
        result.map(|result| result.redacted(&redact))
    }
}

/// Takes the servers out of the settings; their names are used once.
fn upstreams(
    settings: &mut Settings,
    limits: upstream::UpstreamLimits,
) -> Result<Vec<Arc<Upstream>>, RegistryError> {
    let mut names = BTreeSet::new();
    std::mem::take(&mut settings.servers)
        .into_iter()
        .map(|server| {
            if server.name.as_str() == builtin::SERVER || !names.insert(server.name.clone()) {
                return Err(RegistryError::NameTaken(server.name));
            }
            Ok(Arc::new(Upstream::new(server, limits)))
        })
        .collect()
}

impl Inner {
    fn publish(&self, server: &ServerName, listing: Listing) -> Vec<Problem> {
        let mut all_tools = self.server_tools.lock();
        let problems = all_tools
            .get_mut(server)
            .map(|server_tools| server_tools.take(listing, &self.settings))
            .unwrap_or_default();
        let catalogue = Catalogue::new(&self.builtin, all_tools.values());
        if catalogue.differs(&self.catalogue.load()) {
            // Stored under the lock, so that two servers cannot undo each other's change.
            self.catalogue.store(Arc::new(catalogue));
            self.generation.send_modify(|generation| *generation += 1);
        }
        problems
    }

    fn watch(self: &Arc<Self>, upstream: &Arc<Upstream>, first: Option<Connection>) {
        let registry: Weak<Self> = Arc::downgrade(self);
        let server = upstream.settings.name.clone();
        let mut told = Vec::new();
        let publish = move |listing| {
            let problems = registry.upgrade().ok_or(upstream::Abandoned)?.publish(&server, listing);
            // The same listing every few minutes is not news.
            for problem in problems.iter().filter(|problem| !told.contains(*problem)) {
                tracing::warn!(%server, tool = problem.tool, problem.message, problem.help, "tool problem");
            }
            told = problems;
            Ok(())
        };
        let task = tokio::spawn(upstream::keep_connected(Arc::clone(upstream), first, publish));
        self.connections.lock().push(AbortOnDropHandle::new(task));
    }
}

/// A call under way, as the metric counts it; also when the caller goes away in the middle.
struct ActiveCall<'a>(&'a Gauge);

impl<'a> ActiveCall<'a> {
    fn open(gauge: &'a Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for ActiveCall<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
