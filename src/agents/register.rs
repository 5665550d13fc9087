//! The register of deployed agents: loaded from a directory as a whole, looked up by id and by capability.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use super::Settings;
use super::definition::{AgentDefinition, HandlerName};
use crate::authz::Permit;
use crate::events::SecurityEvent;
use crate::limit::{Limited, Rate};
use crate::memory::MemoryQuotas;
use crate::model::{AgentId, CapabilityName, Entity, EntityUid, ListAgents, MemoryScope, ReadAgent, Value};
use crate::sandbox::{Module, Sandbox, builtin_handler};
use crate::shared_state::{CountedLimit, RateCounter, RateCounters, Unavailable};
use crate::telemetry::Metrics;
use crate::tools::KnownTools;

/// The attribute `status` of every agent in force.
pub const ACTIVE: &str = "active";

/// An agent, ready to be woken.
pub struct Agent {
    /// The content of its file.
    pub definition: AgentDefinition,
    /// Its module, compiled, when it answers without a model.
    pub handler: Option<Module>,
    /// How often one sender may wake it.
    pub limiter: Option<Arc<dyn RateCounter>>,
    entity: Arc<Entity>,
}

impl Agent {
    /// The agent as policies see it.
    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    /// The agent's id.
    pub fn id(&self) -> &AgentId {
        &self.definition.id
    }

    /// Counts one message of `sender` against the limit of the agent's file, or says when to come back.
    ///
    /// # Errors
    /// The counter cannot be asked: the message is refused.
    pub async fn check_rate(&self, sender: &EntityUid) -> Result<Result<(), Limited>, Unavailable> {
        match &self.limiter {
            Some(limiter) => Ok(limiter.take(sender).await?.map(drop)),
            None => Ok(Ok(())),
        }
    }

    fn digest(&self) -> String {
        match &self.handler {
            None => self.definition.sha256.to_string(),
            Some(module) => format!("{} {}", self.definition.sha256, module.sha256()),
        }
    }
}

/// The limit of an agent's file.
fn limit(agent: &AgentId, rate: Rate) -> CountedLimit {
    let per_sender = crate::limit::Settings { per_principal: rate, ..Default::default() };
    CountedLimit { name: agent.shared(), ..per_sender.limit() }
}

pub(super) fn entity(definition: &AgentDefinition) -> Entity {
    let mut entity = Entity::bare(EntityUid::caxton("Agent", definition.id.shared()))
        .with("name", Value::text(definition.id.shared()))
        .with("version", Value::text(&definition.version))
        .with("capabilities", Value::texts(definition.capabilities.iter().map(CapabilityName::as_str)))
        .with("permissions", Value::texts(definition.permissions.iter().map(|one| one.as_str())))
        .with("tools", Value::texts(definition.tools.iter().map(|tool| tool.shared())))
        .with("memory_scope", Value::text(definition.memory.scope.kind()))
        .with("status", Value::text(ACTIVE))
        .with("signed", Value::Bool(false))
        .with("deployed_by", Value::text("file"))
        .with("definition_sha256", Value::text(&definition.sha256));
    if let Some(workspace) = &definition.workspace {
        entity = entity.in_parent(EntityUid::caxton("Workspace", workspace.shared()));
    }
    for capability in &definition.capabilities {
        entity = entity.in_parent(EntityUid::caxton("Capability", capability.shared()));
    }
    entity
}

/// A file that is not an agent. The others are not touched by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {message}", path.display())]
pub struct AgentProblem {
    /// The file.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// The fault, in one line.
    pub message: String,
    /// How to correct it.
    pub help: Option<&'static str>,
}

/// The result of a load.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Agents that can be woken now.
    pub agents: usize,
    /// Files that were refused.
    pub problems: Vec<AgentProblem>,
    /// What files say without an effect.
    pub warnings: Vec<AgentProblem>,
}

type AgentTable = BTreeMap<AgentId, Arc<Agent>>;

/// The agents of one moment.
#[derive(Clone)]
pub struct AgentSnapshot(Arc<AgentTable>);

impl AgentSnapshot {
    /// The agent of that id.
    pub fn get(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.0.get(id)
    }
}

/// The agents of a directory, read and not yet in force.
pub struct RegisterDraft {
    table: AgentTable,
    /// Files that were refused.
    pub problems: Vec<AgentProblem>,
    /// What files say without an effect.
    pub warnings: Vec<AgentProblem>,
}

impl RegisterDraft {
    /// The digests of its agents, like [`Register::digests`] for those in force.
    pub fn digests(&self) -> Digests {
        digests(&self.table)
    }
}

/// The agents by id, each with the digest of what makes it: its definition and its module.
pub type Digests = BTreeMap<AgentId, String>;

fn digests(table: &AgentTable) -> Digests {
    table.iter().map(|(id, agent)| (id.clone(), agent.digest())).collect()
}

/// All deployed agents. Cheap to clone.
#[derive(Clone)]
pub struct Register {
    table: Arc<ArcSwap<AgentTable>>,
    turn: Arc<AtomicUsize>,
    settings: Arc<Settings>,
    sandbox: Sandbox,
    metrics: Arc<Metrics>,
    counters: Arc<dyn RateCounters>,
}

impl Register {
    /// An empty register. `counters` makes the counter of each agent whose file has a limit.
    pub fn new(
        settings: Settings,
        sandbox: Sandbox,
        metrics: Arc<Metrics>,
        counters: Arc<dyn RateCounters>,
    ) -> Self {
        let settings = Arc::new(settings);
        Self { table: Arc::default(), turn: Arc::default(), settings, sandbox, metrics, counters }
    }

    /// Reads the directory and puts what is there in force, for a start: a file that is refused is left out. Compiles
    /// handlers: call it off the async threads. `known` are the tools that the files may name.
    pub fn load(&self, known: &KnownTools) -> Loaded {
        let mut draft = self.draft(known);
        let problems = std::mem::take(&mut draft.problems);
        let warnings = std::mem::take(&mut draft.warnings);
        let agents = draft.table.len();
        self.put_in_force(draft);
        Loaded { agents, problems, warnings }
    }

    /// Reads the directory, and changes nothing. An agent that is as it was stays the same one, with what its senders have
    /// used of their rate. Compiles handlers: call it off the async threads.
    pub fn draft(&self, known: &KnownTools) -> RegisterDraft {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let mut table = AgentTable::new();
        let old = self.table.load_full();
        for path in agent_files(&self.settings, &mut problems) {
            match self.read_file(&path, &old, known) {
                Ok(agent) if table.contains_key(agent.id()) => {
                    problems.push(problem(&path, format!("agent `{}` is defined twice", agent.id())));
                }
                Ok(_) if table.len() >= self.settings.max_agents => {
                    let most = self.settings.max_agents;
                    problems
                        .push(problem(&path, format!("there are {most} agents already, the most allowed")));
                }
                Ok(agent) => {
                    warnings.extend(warnings_of(&path, &agent.definition));
                    table.insert(agent.id().clone(), agent);
                }
                Err(found) => problems.push(found),
            }
        }
        RegisterDraft { table, problems, warnings }
    }

    /// Reads one file as a load would, and changes nothing. With the agent, what its file says without an effect.
    ///
    /// # Errors
    /// The file is not an agent, or may not be one here.
    pub fn check(
        &self,
        path: &Path,
        known: &KnownTools,
    ) -> Result<(Arc<Agent>, Vec<AgentProblem>), AgentProblem> {
        let agent = self.read_file(path, &AgentTable::new(), known)?;
        let warnings = warnings_of(path, &agent.definition).collect();
        Ok((agent, warnings))
    }

    /// Puts what was read in force, as a whole.
    pub fn put_in_force(&self, draft: RegisterDraft) {
        self.table.store(Arc::new(draft.table));
    }

    /// The digests of the agents in force.
    pub fn digests(&self) -> Digests {
        digests(&self.table.load())
    }

    /// Logs and counts the files that were refused.
    pub fn tell(&self, problems: &[AgentProblem]) {
        for problem in problems {
            SecurityEvent::AgentFileRefused { problem: &problem.to_string() }.emit(&self.metrics);
        }
    }

    /// Logs what files say without an effect.
    pub fn warn(warnings: &[AgentProblem]) {
        for warning in warnings {
            tracing::warn!("{warning}");
        }
    }

    fn read_file(
        &self,
        path: &Path,
        old: &AgentTable,
        known_tools: &KnownTools,
    ) -> Result<Arc<Agent>, AgentProblem> {
        let definition = read_definition(&self.settings, path, known_tools)?;
        let handler = self.handler(path, &definition).map_err(|message| problem(path, message))?;
        if let Some(known) = old.get(&definition.id)
            && known.definition.sha256 == definition.sha256
            && known.definition.tools == definition.tools
            && known.handler.as_ref().map(Module::sha256) == handler.as_ref().map(Module::sha256)
        {
            return Ok(Arc::clone(known));
        }
        let limiter = definition.rate_limit.map(|rate| self.counters.counter(&limit(&definition.id, rate)));
        Ok(Arc::new(Agent { entity: entity(&definition).into(), definition, handler, limiter }))
    }

    /// The module of an agent; one that is in use is not compiled again.
    fn handler(&self, agent: &Path, definition: &AgentDefinition) -> Result<Option<Module>, String> {
        let (name, bytes) = match &definition.handler {
            None => return Ok(None),
            Some(HandlerName::Builtin(name)) => {
                let bytes =
                    builtin_handler(name).ok_or_else(|| format!("there is no built-in handler `{name}`"))?;
                (name, bytes.to_vec())
            }
            Some(HandlerName::File(name)) => {
                let path = agent.with_file_name(name);
                let bytes = read_bounded(&path, MOST_MODULE_BYTES)
                    .map_err(|message| format!("handler `{name}`: {message}"))?;
                (name, bytes)
            }
        };
        self.sandbox.compile(name, &bytes).map(Some).map_err(|error| format!("handler `{name}`: {error}"))
    }

    /// The agent of that id.
    pub fn get(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.table.load().get(id).cloned()
    }

    /// The agents of this moment, which do not change with later reloads.
    pub fn snapshot(&self) -> AgentSnapshot {
        AgentSnapshot(self.table.load_full())
    }

    /// All agents, by id.
    pub fn all(&self) -> Vec<Arc<Agent>> {
        self.table.load().values().cloned().collect()
    }

    /// The agent of that id as policies see it. One that is not deployed has every attribute that policies may look at,
    /// so that it is judged like any other.
    pub fn entity(&self, id: &AgentId) -> Arc<Entity> {
        self.get(id).map_or_else(|| unknown(id), |agent| Arc::clone(agent.entity()))
    }

    /// The questions whether each agent may be read, for [`Register::list`].
    pub fn questions(&self) -> Vec<ReadAgent> {
        self.all().iter().map(|agent| ReadAgent { agent: Arc::clone(agent.entity()) }).collect()
    }

    /// The agents that may be read, by id. None is shown without its permit:
    /// ```compile_fail,E0061
    /// fn read(agents: &caxton::agents::Register) {
    ///     let _ = agents.list();
    /// }
    /// ```
    pub fn list(&self, permits: Vec<Permit<ReadAgent>>) -> Vec<Arc<Agent>> {
        permits.into_iter().filter_map(|permit| self.read(permit)).collect()
    }

    /// The agent that may be read; `None` when it is not deployed.
    pub fn read(&self, permit: Permit<ReadAgent>) -> Option<Arc<Agent>> {
        let ReadAgent { agent } = permit.into_operation();
        self.get(&AgentId::parse(agent.uid.id()).ok()?)
    }

    /// Capabilities with the number of agents that offer each.
    pub fn capabilities(&self, permit: Permit<ListAgents>) -> BTreeMap<CapabilityName, usize> {
        let ListAgents = permit.into_operation();
        let mut counts = BTreeMap::new();
        for agent in self.table.load().values() {
            for capability in &agent.definition.capabilities {
                *counts.entry(capability.clone()).or_insert(0) += 1;
            }
        }
        counts
    }

    /// The agents that offer `capability`, the next in turn first.
    pub fn providers(&self, capability: &CapabilityName) -> Vec<Arc<Agent>> {
        let mut providers = self.all();
        providers.retain(|agent| agent.definition.capabilities.contains(capability));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(providers.len()).unwrap_or(0);
        providers.rotate_left(first);
        providers
    }
}

/// The files of agents, in order; a directory that cannot be read is a problem.
pub(super) fn agent_files(settings: &Settings, problems: &mut Vec<AgentProblem>) -> Vec<PathBuf> {
    let Some(directory) = &settings.directory else { return Vec::new() };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(problem(directory, format!("the agents' directory cannot be read: {error}")));
            return Vec::new();
        }
    };
    let mut files: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_agent_file(path)).collect();
    files.sort();
    files
}

/// The definition in a file, within the bounds of the settings. Its handler is not looked at.
pub(super) fn read_definition(
    settings: &Settings,
    path: &Path,
    known: &KnownTools,
) -> Result<AgentDefinition, AgentProblem> {
    let text = read_bounded(path, settings.max_file_bytes).map_err(|message| problem(path, message))?;
    let text = String::from_utf8(text).map_err(|_| problem(path, "the file is not UTF-8 text".to_owned()))?;
    let definition = AgentDefinition::parse(&text, known).map_err(|error| AgentProblem {
        path: path.to_owned(),
        line: error.line,
        column: error.column,
        message: error.message,
        help: error.help,
    })?;
    let mut declared = definition
        .capabilities
        .iter()
        .map(CapabilityName::as_str)
        .chain(definition.permissions.iter().map(|permission| permission.as_str()));
    let forbidden = |name: &&str| settings.forbidden_capabilities.iter().any(|bad| bad == name);
    if let Some(name) = declared.find(forbidden) {
        return Err(problem(
            path,
            format!("capability `{name}` is forbidden by the gateway's configuration"),
        ));
    }
    Ok(definition)
}

/// An agent that is not deployed, with every attribute that policies may look at.
fn unknown(id: &AgentId) -> Arc<Entity> {
    let nothing = || Value::texts(Vec::<String>::new());
    Entity::bare(EntityUid::caxton("Agent", id.shared()))
        .with("name", Value::text(id.as_str()))
        .with("version", Value::text(""))
        .with("capabilities", nothing())
        .with("permissions", nothing())
        .with("tools", nothing())
        .with("memory_scope", Value::text("agent"))
        .with("status", Value::text("unknown"))
        .with("signed", Value::Bool(false))
        .with("deployed_by", Value::text(""))
        .with("definition_sha256", Value::text(""))
        .into()
}

/// The largest handler module, in bytes.
const MOST_MODULE_BYTES: u64 = 16 * 1024 * 1024;

/// Reads a file of at most `limit` bytes that only its owner may change.
fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("the file cannot be read: {error}");
    let file = crate::regular::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    if about.permissions().mode() & 0o022 != 0 {
        return Err("the file can be changed by others than its owner: `chmod go-w` it".to_owned());
    }
    if about.len() > limit {
        return Err(format!("the file is {} bytes long, at most {limit} are allowed", about.len()));
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// A file whose name begins with a dot is that of an editor or a draft.
fn is_agent_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden && path.extension().is_some_and(|extension| extension == "md")
}

/// What a file says without an effect.
pub(super) fn warnings_of<'a>(
    path: &'a Path,
    definition: &'a AgentDefinition,
) -> impl Iterator<Item = AgentProblem> + 'a {
    definition.warnings.iter().map(|message| problem(path, message.clone()))
}

fn problem(path: &Path, message: String) -> AgentProblem {
    AgentProblem { path: path.to_owned(), line: 1, column: 1, message, help: None }
}

/// The strictest of the agents that use a scope bounds it.
impl MemoryQuotas for Register {
    fn of(&self, scope: &MemoryScope) -> (Option<u32>, Option<u32>) {
        let table = self.table.load();
        let plans =
            || table.values().map(|agent| &agent.definition.memory).filter(|plan| plan.scope == *scope);
        (
            plans().filter_map(|plan| plan.max_entities).min(),
            plans().filter_map(|plan| plan.max_relations).min(),
        )
    }
}
