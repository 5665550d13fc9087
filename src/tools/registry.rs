//! All tools of the gateway, of servers and built in, and the one way to call one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Weak};

use crate::telemetry::metrics::Gauge;
use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::authn::Tokens;
use crate::authz::Permit;
use crate::blocking;
use crate::clock::{SharedClock, SystemClock};
use crate::model::{InvokeTool, ListTools, ReadOffered, ServerName, ToolDescriptor, ToolId};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;

use super::auth::CredentialPorts;
use super::builtin;
use super::catalogue::fragment_name;
use super::catalogue::{Catalogue, ServerTools};
use super::connections::Connections;
use super::error::{PrepareError, RegistryError, ToolError, ToolProblem};
use super::known_names::KnownTools;
use super::pin::{MAX_FILE_BYTES, PinError, Pins, pin_path};
use super::result::ToolResult;
use super::session::{Answered, ClientSide};
use super::settings::Settings;
use super::tasks::{self, BegunTask};
use super::tool::{Backend, Tool};
use super::upstream::{self, Connection, Health, Listing, Outgoing, ServerEvents, SessionPlaces, Upstream};

/// The tools of the live gateway. Cheap to clone; the connections end with the last clone.
#[derive(Debug, Clone)]
pub struct Registry(Arc<Inner>);

/// Pins as their files have them, read and not in force.
#[derive(Debug)]
pub struct PinDraft {
    pins: BTreeMap<ServerName, Option<Pins>>,
    known: KnownTools,
    digests: BTreeMap<String, String>,
}

impl PinDraft {
    /// The tools that there are by these pins.
    pub fn known(&self) -> &KnownTools {
        &self.known
    }

    /// The digest of each server's file; none for a server without pins.
    pub fn digests(&self) -> &BTreeMap<String, String> {
        &self.digests
    }
}

/// What the registry needs of the rest of the gateway.
#[derive(Clone)]
pub struct RegistryPorts {
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: SharedClock,
    /// Signs what the gateway says about callers to authorization servers. None where there are no callers.
    pub identity: Option<Arc<Tokens>>,
}

impl std::fmt::Debug for RegistryPorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryPorts").finish_non_exhaustive()
    }
}

impl RegistryPorts {
    /// For a command that calls no tool.
    pub fn without_callers(metrics: Arc<Metrics>) -> Self {
        Self { metrics, clock: Arc::new(SystemClock), identity: None }
    }
}

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
    /// The accounts that callers connect.
    accounts: Connections,
}

impl Registry {
    /// Connects to all servers at once and waits for each no longer than its deadline.
    ///
    /// A server that does not answer does not stop the gateway: it is among the problems, and is tried again
    /// in the background. What stops it: a taken server name, and pins that cannot be trusted.
    pub async fn connect(
        mut settings: Settings,
        sandbox: Sandbox,
        ports: RegistryPorts,
    ) -> Result<(Self, Vec<ToolProblem>), RegistryError> {
        let limits = upstream::UpstreamLimits::from(&settings);
        let accounts = open_accounts(&mut settings, &ports).await?;
        let upstreams = upstreams(&mut settings, limits, &ports, &accounts)?;
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
            metrics: ports.metrics,
            builtin,
            server_tools: Mutex::new(all_tools),
            generation: watch::Sender::new(0),
            connections: Mutex::new(Vec::new()),
            accounts,
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
                Err(error) if upstream.is_for_accounts(&error) => {
                    upstream.needs_account();
                    problems.extend(inner.not_approved(&upstream.settings.name));
                    None
                }
                Err(error) => {
                    upstream.down(&error);
                    problems.push(ToolProblem::unreachable(&upstream.settings.name, &error));
                    None
                }
            };
            inner.watch(upstream, connection);
        }
        Ok((Self(inner), problems))
    }

    /// Schema fragments that are in no file: name and text, for servers taken over by `auto_import`. A server whose pins
    /// have been written meanwhile has its fragment in the file beside them. Blocking.
    pub fn fragments(&self) -> Vec<(String, String)> {
        let dir = self.0.settings.pin_dir();
        let mut fragments = self.0.catalogue.load().fragments.clone();
        for upstream in &self.0.upstreams {
            let server = &upstream.settings.name;
            if pin_path(&dir, server).exists() {
                let name = fragment_name(server);
                fragments.retain(|(known, _)| *known != name);
            }
        }
        fragments
    }

    /// The tools that there are by the pins in force.
    pub fn known(&self) -> KnownTools {
        let mut known = KnownTools::builtin();
        for (server, tools) in self.0.server_tools.lock().iter() {
            known.add(server, tools.approved(), self.0.settings.auto_import);
        }
        known
    }

    /// Reads the pins of all servers again, without an effect. Blocking.
    ///
    /// # Errors
    /// The pins of a server cannot be trusted, or were changed while they were read.
    pub fn read_pins(&self) -> Result<PinDraft, PinError> {
        self.read_pins_while(|| {})
    }

    /// The same, with what happens to the files `meanwhile`.
    pub(super) fn read_pins_while(&self, meanwhile: impl FnOnce()) -> Result<PinDraft, PinError> {
        let dir = self.0.settings.pin_dir();
        let digests = self.pin_digests();
        let mut pins = BTreeMap::new();
        let mut known = KnownTools::builtin();
        for upstream in &self.0.upstreams {
            let server = &upstream.settings.name;
            let loaded = Pins::load(&dir, server, self.0.settings.max_definition_bytes)?;
            known.add(server, loaded.as_ref(), self.0.settings.auto_import);
            pins.insert(server.clone(), loaded);
        }
        meanwhile();
        if self.pin_digests() != digests {
            let message = "a file of pins was changed while it was read".to_owned();
            return Err(PinError::Form { path: dir, message });
        }
        Ok(PinDraft { pins, known, digests })
    }

    /// Puts pins in force, those of all servers at once.
    pub fn put_pins_in_force(&self, draft: PinDraft) {
        let (mut problems, mut compare_again) = (Vec::new(), BTreeSet::new());
        let mut all_tools = self.0.server_tools.lock();
        for (server, pins) in draft.pins {
            if let Some(server_tools) = all_tools.get_mut(&server) {
                compare_again.extend((server_tools.approved() != pins.as_ref()).then(|| server.clone()));
                problems.extend(server_tools.repin(pins, &self.0.settings));
            }
        }
        self.0.rebuild_catalogue(&all_tools);
        drop(all_tools);
        let compared = self.0.upstreams.iter().filter(|one| compare_again.contains(&one.settings.name));
        compared.for_each(|upstream| upstream.compare_again());
        for problem in problems {
            tracing::warn!(server = %problem.server, tool = problem.tool, help = problem.help, "{}", problem.message);
        }
    }

    /// The digest of each server's pins as they lie in their file; none for a server without pins. Blocking.
    pub fn pin_digests(&self) -> BTreeMap<String, String> {
        let dir = self.0.settings.pin_dir();
        let names = self.0.upstreams.iter().map(|upstream| &upstream.settings.name);
        names.filter_map(|name| Some((name.to_string(), file_digest(&pin_path(&dir, name))?))).collect()
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

    /// Whether there is a server of this name, the built-in one among them.
    pub fn has_server(&self, name: &ServerName) -> bool {
        name.as_str() == builtin::SERVER
            || self.0.upstreams.iter().any(|upstream| upstream.settings.name == *name)
    }

    /// The servers and whether each can be called, for a client that may see tools.
    pub fn servers(&self, permit: Permit<ListTools>) -> Vec<(ServerName, Health)> {
        let ListTools = permit.into_operation();
        self.health()
    }

    /// The tools that a server offers to the caller, approved or not. `None` where there is no such server.
    pub async fn offered_to(&self, permit: Permit<ReadOffered>) -> Option<Result<Listing, ToolError>> {
        let caller = Arc::clone(permit.subject());
        let ReadOffered { server } = permit.into_operation();
        let upstream = self.upstreams(Some(&server)).next()?;
        Some(upstream.offered_to(&caller).await)
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
    pub async fn call(
        &self,
        permit: Permit<InvokeTool>,
        options: CallOptions,
    ) -> Result<Answered<ToolResult>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let InvokeTool { tool: judged, arguments, rest, redact, input: _ } = permit.into_operation();
        let Some(tool) = self.judged(&judged) else { return Err(ToolError::Changed(judged.id.clone())) };
        let _session = ActiveCall::open(&self.0.metrics.active_tool_sessions);
        let result = match tool.backend() {
            Backend::Upstream(upstream) => {
                let mut outgoing = Outgoing::new("tools/call", call_params(&tool, arguments, rest));
                outgoing.param_headers = Some(tool.param_headers());
                outgoing.tool = Some(&*tool);
                outgoing.events = options.events;
                let still_wanted = || self.judged(&judged).is_some();
                let client = options.client.as_ref();
                let asked = upstream.request(outgoing, (&caller, client), still_wanted).await;
                let answer = asked.map_err(|error| error.withheld(&redact))?;
                match answer.get("resultType") {
                    Some(kind)
                        if kind == "task"
                            && options.client.as_ref().is_some_and(ClientSide::follows_tasks) =>
                    {
                        BegunTask::read(without_kind(answer), &redact)
                            .map(Answered::Task)
                            .map_err(|why| tasks::unusable(tool.server(), why))
                    }
                    _ => self.result(&tool, answer),
                }
            }
            Backend::Builtin(module) => {
                let limit = self.0.settings.max_response_bytes;
                let answered =
                    builtin::call(&self.0.sandbox, caller.principal(), module, arguments, limit).await;
                answered.map(Answered::Complete)
            }
        };
        Ok(result?.map(|result| result.redacted(&redact)))
    }

    /// What is kept of the accounts that callers connect.
    pub(super) fn connections(&self) -> &Connections {
        &self.0.accounts
    }

    /// The upstream servers, or the one of this name.
    pub(super) fn upstreams<'a>(
        &'a self,
        only: Option<&'a ServerName>,
    ) -> impl Iterator<Item = &'a Arc<Upstream>> {
        self.0
            .upstreams
            .iter()
            .filter(move |upstream| only.is_none_or(|name| upstream.settings.name == *name))
    }

    /// The most items of one list of a server.
    pub(super) fn most_items(&self) -> usize {
        self.0.settings.max_tools_per_server
    }

    /// The most bytes of one result.
    pub(super) fn most_response_bytes(&self) -> usize {
        self.0.settings.max_response_bytes
    }

    /// The tool that was judged, if it is still there with the same definition and standing.
    fn judged(&self, judged: &Arc<ToolDescriptor>) -> Option<Arc<Tool>> {
        let live = self.get(&judged.id).filter(|tool| Arc::ptr_eq(tool.descriptor(), judged));
        live.filter(|tool| !tool.drifted())
    }

    /// The result in an answer to `tools/call`.
    fn result(&self, tool: &Tool, mut answer: Map<String, Json>) -> Result<Answered<ToolResult>, ToolError> {
        match answer.remove("resultType") {
            None => {}
            Some(Json::String(kind)) if kind == "complete" => {}
            Some(Json::String(kind)) if kind == "input_required" => {
                return Ok(Answered::InputRequired(answer));
            }
            // A task for a client that follows none, or something new.
            Some(_) => return Err(ToolError::NeedsMore { tool: tool.id().clone() }),
        }
        let result = ToolResult::from_mcp(answer)
            .map_err(|why| ToolError::Unusable { server: tool.server().clone(), message: why.to_owned() })?;
        let limit = self.0.settings.max_response_bytes;
        if result.fits(limit) { Ok(Answered::Complete(result)) } else { Err(ToolError::TooLarge { limit }) }
    }
}

fn without_kind(mut answer: Map<String, Json>) -> Map<String, Json> {
    answer.remove("resultType");
    answer
}

/// The parameters of `tools/call`.
fn call_params(tool: &Tool, arguments: Map<String, Json>, rest: Map<String, Json>) -> Map<String, Json> {
    let mut params = rest;
    params.insert("name".to_owned(), tool.definition().wire_name().into());
    params.insert("arguments".to_owned(), Json::Object(arguments));
    params
}

/// How a call is carried out, apart from what was judged.
#[derive(Debug, Default)]
pub struct CallOptions {
    /// Takes what the server says before it answers.
    pub events: Option<ServerEvents>,
    /// The client on whose behalf it is; without one, the gateway itself.
    pub client: Option<ClientSide>,
}

impl CallOptions {
    /// Whether the client follows tasks.
    pub fn follows_tasks(&self) -> bool {
        self.client.as_ref().is_some_and(ClientSide::follows_tasks)
    }
}

#[cfg(test)]
impl Registry {
    /// The guests that run, as the metric counts them.
    pub(super) fn guests_under_way(&self) -> usize {
        usize::try_from(self.0.metrics.wasm_instances.get()).unwrap_or_default()
    }
}

/// Opens the store of accounts, where there are callers.
async fn open_accounts(settings: &mut Settings, ports: &RegistryPorts) -> Result<Connections, RegistryError> {
    let clock = Arc::clone(&ports.clock);
    if ports.identity.is_none() {
        return Ok(Connections::none(clock));
    }
    let is_offered =
        settings.servers.iter().any(|server| server.auth.as_ref().is_some_and(|auth| auth.is_of_accounts()));
    let wanted = std::mem::take(&mut settings.connections);
    Ok(blocking::try_run(move || Connections::open(&wanted, is_offered, clock)).await?)
}

/// Takes the servers out of the settings; their names are used once.
fn upstreams(
    settings: &mut Settings,
    limits: upstream::UpstreamLimits,
    ports: &RegistryPorts,
    accounts: &Connections,
) -> Result<Vec<Arc<Upstream>>, RegistryError> {
    let credential_ports = CredentialPorts {
        identity: ports.identity.clone(),
        clock: Arc::clone(&ports.clock),
        accounts: accounts.store().cloned(),
    };
    let mut names = BTreeSet::new();
    let session_places = Arc::new(SessionPlaces::default());
    std::mem::take(&mut settings.servers)
        .into_iter()
        .map(|server| {
            if server.name.as_str() == builtin::SERVER || !names.insert(server.name.clone()) {
                return Err(RegistryError::NameTaken(server.name));
            }
            let name = server.name.clone();
            let ports = (ports, credential_ports.clone());
            let upstream = Upstream::new(server, limits, ports, Arc::clone(&session_places));
            upstream.map(Arc::new).map_err(|error| RegistryError::Credentials(name, error))
        })
        .collect()
}

impl Inner {
    fn publish(&self, server: &ServerName, listing: Listing) -> Vec<ToolProblem> {
        let mut all_tools = self.server_tools.lock();
        let problems = all_tools
            .get_mut(server)
            .map(|server_tools| server_tools.take(listing, &self.settings))
            .unwrap_or_default();
        self.rebuild_catalogue(&all_tools);
        problems
    }

    /// Compares what the account of a principal, in Cedar's notation, is offered with the pins. Gives the problems, and the tools
    /// that differ.
    fn compare(
        &self,
        (server, holder): (&ServerName, &str),
        listing: Listing,
    ) -> (Vec<ToolProblem>, BTreeSet<String>) {
        let mut all_tools = self.server_tools.lock();
        let compared = all_tools
            .get_mut(server)
            .map(|server_tools| server_tools.take_of_account(holder, listing, &self.settings))
            .unwrap_or_default();
        self.rebuild_catalogue(&all_tools);
        compared
    }

    /// What is wrong with a server for accounts that has no approved tools.
    fn not_approved(&self, server: &ServerName) -> Option<ToolProblem> {
        let all_tools = self.server_tools.lock();
        let approved = all_tools.get(server).and_then(ServerTools::approved).is_some();
        (!approved && !self.settings.auto_import).then(|| ToolProblem::of_accounts(server))
    }

    /// Called with the lock held, so that two servers cannot undo each other's change.
    fn rebuild_catalogue(&self, all_tools: &BTreeMap<ServerName, ServerTools>) {
        let catalogue = Catalogue::new(&self.builtin, all_tools.values());
        if catalogue.differs(&self.catalogue.load()) {
            self.catalogue.store(Arc::new(catalogue));
            self.generation.send_modify(|generation| *generation += 1);
        }
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
        let registry: Weak<Self> = Arc::downgrade(self);
        let server = upstream.settings.name.clone();
        upstream.compare_with(Box::new(move |holder, listing| {
            let Some(registry) = registry.upgrade() else { return BTreeSet::new() };
            let (problems, drifted) = registry.compare((&server, holder), listing);
            for problem in problems {
                tracing::warn!(%server, tool = problem.tool, problem.message, problem.help, "tool problem");
            }
            drifted
        }));
        let task = tokio::spawn(upstream::keep_connected(Arc::clone(upstream), first, publish));
        self.connections.lock().push(AbortOnDropHandle::new(task));
    }
}

/// SHA-256 of a file, in hexadecimal digits; `None` when it cannot be read.
fn file_digest(path: &Path) -> Option<String> {
    let bytes = crate::regular::read(path, MAX_FILE_BYTES).ok()?;
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
    Some(hex::encode(sha256))
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
