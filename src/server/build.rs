//! Builds the parts in the order in which they depend on each other. No port is bound before all of them are ready.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Settings;
use super::audit_upkeep::SharedKeeper;
use super::certificates::Certificates;
use crate::agents::Register;
use crate::api::{Api, Readiness};
use crate::attributes::Attributes;
use crate::audit::{Journal, Keeper};
use crate::authn::{Authenticator, AuthnPorts};
use crate::authz::{Guard, GuardParts};
use crate::blocking;
use crate::changes::{
    ChangeLock, EmergencyLock, Fragments, PolicyLoader, ReloadSettings, Reloader, StartupError, StartupState,
    load_startup,
};
use crate::clock::SharedClock;
use crate::credentials::Credentials;
use crate::decision_log::DecisionLog;
use crate::events::SecurityEvent;
use crate::limit::{CapabilityLimits, FailedAttempts, LocalCounters, Pace, Quotas};
use crate::memory::Memory;
use crate::messages::Conversations;
use crate::policy::PolicyErrors;
use crate::policy::live::{Live, LivePolicy};
use crate::runtime::{Effects, EffectsParts, LanguageModel, Runtime};
use crate::sandbox::Sandbox;
use crate::screen::Screen;
use crate::shared_state::{
    AddressBlocks, LocalConversations, LocalLockdown, LocalSessions, Lockdown, RateCounters,
};
use crate::siem::{FileCursors, SinkPorts, Sinks};
use crate::telemetry::{Metrics, TraceError, TraceSettings, Traces};
use crate::tools::{Registry, RegistryPorts};

/// Why the gateway did not start. Nothing was bound.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The policy set could not be read, or may not decide.
    #[error("the policies could not be read")]
    Sources(#[source] StartupError),
    /// The policy set is not valid.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
    /// The accepted version could not be stored.
    #[error("the data directory cannot be written")]
    Remember(#[source] std::io::Error),
    /// Spans cannot be sent.
    #[error("the traces cannot be sent")]
    Traces(#[from] TraceError),
    /// The decision log could not be opened.
    #[error("the decision log could not be opened")]
    Audit(#[from] crate::audit::AuditError),
    /// Credentials cannot be checked.
    #[error("authentication could not be set up")]
    Authn(#[from] crate::authn::AuthnError),
    /// Memory could not be opened.
    #[error("the memory could not be opened")]
    Memory(#[from] crate::memory::MemoryError),
    /// The store of entity attributes could not be opened.
    #[error("the store of attributes could not be opened")]
    Attributes(#[from] crate::attributes::AttributesError),
    /// The sandbox could not be set up.
    #[error("the sandbox could not be set up")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// The tools could not be set up.
    #[error("the tools could not be set up")]
    Tools(#[from] crate::tools::RegistryError),
    /// No key for the state of MCP requests can be made.
    #[error("MCP could not be set up")]
    Mcp(#[from] crate::api::NoRandomness),
    /// The model's settings are not valid.
    #[error("the language model could not be set up")]
    Model(#[from] crate::runtime::SetupError),
    /// The files of TLS are not valid.
    #[error("TLS could not be set up")]
    Tls(#[from] super::TlsError),
    /// A port is in use, or may not be bound by this user.
    #[error("`{address}` cannot be bound")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// The system error.
        #[source]
        source: std::io::Error,
    },
    /// The sinks of the decision log could not be opened.
    #[error("the sinks of the decision log could not be opened")]
    Siem(#[from] crate::siem::SiemError),
    /// Changes of credentials or of the emergency lock that were made while no gateway ran are not on record.
    #[error("changes from the command line could not be recorded")]
    Unrecorded,
    /// The agents may not be put in force, or their changes could not be recorded.
    #[error("the agents cannot be put in force")]
    Agents(#[source] crate::changes::ReloadError),
    /// State that gateways share cannot be asked.
    #[error("the shared state is not available")]
    SharedState(#[from] crate::shared_state::Unavailable),
    /// A thread that set up a part ended without a result.
    #[error("a part of the gateway stopped while it was set up")]
    Stopped,
}

impl From<blocking::Stopped> for StartError {
    fn from(_: blocking::Stopped) -> Self {
        Self::Stopped
    }
}

/// The parts of a running gateway.
pub(super) struct Parts {
    pub(super) api: Arc<Api>,
    pub(super) reloader: Arc<Reloader>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) journal: Journal,
    pub(super) keeper: SharedKeeper,
    pub(super) memory: Memory,
    pub(super) tools: Registry,
    pub(super) lockdown: Arc<dyn Lockdown>,
    pub(super) clock: SharedClock,
    /// The file of the decision log.
    pub(super) audit_log: PathBuf,
}

pub(super) async fn build(
    settings: Settings,
    clock: SharedClock,
    metrics: Arc<Metrics>,
) -> Result<(Parts, Sinks), StartError> {
    let source = settings.policy_source();
    let key_grace = settings.authn.api_keys.grace;
    let authorization_server = settings.authn.jwt.as_ref().map(|jwt| jwt.issuer.to_string());
    let issuers = settings.authn.issuers();
    let login = settings.authn.oauth2.as_ref();
    let longest_login = login.map_or(std::time::Duration::ZERO, |login| login.max_session);
    let public_url = settings.api.public_url.as_deref();
    // Before anything that takes time: a wrong certificate is the commonest reason not to start.
    let authenticator = open_authenticator(settings.authn, public_url, &clock, &metrics)?;
    let clients = authenticator.client_trust().cloned();
    let certificates = Arc::new(Certificates::open(settings.tls, clients, &clock)?);
    let traces = open_traces(settings.traces).await?;
    let model = settings.model.map(LanguageModel::new).transpose()?;
    let sandbox = open_sandbox(settings.sandbox, &metrics).await?;
    let tool_ports = RegistryPorts {
        metrics: Arc::clone(&metrics),
        clock: Arc::clone(&clock),
        identity: Some(Arc::clone(authenticator.tokens())),
    };
    let tools = connect_tools(settings.tools, &sandbox, tool_ports).await?;
    let loader = PolicyLoader { source, fragments: fragments(&tools), candidate_dir: settings.candidate_dir };
    let lock: Arc<dyn EmergencyLock> = Arc::new(ChangeLock::in_directory(&settings.reload.data_dir));
    let (live, state) = read_policies(&loader, &lock, &settings.reload, settings.policy, &clock).await?;
    let policy = Arc::new(LivePolicy::new(live, settings.policy, Arc::clone(&metrics)));

    let counters: Arc<dyn RateCounters> = Arc::new(LocalCounters::new(Arc::clone(&metrics)));
    let agents = Register::new(settings.agents, sandbox.clone(), Arc::clone(&metrics), Arc::clone(&counters));
    load_agents(&agents, &tools).await?;
    let log = settings.audit.path.clone();
    let journal = open_journal(settings.audit.clone(), &metrics)?;
    let decision_log = DecisionLog::new(log.clone(), journal.clone());
    let audit_log = log.clone();
    let keeper = Arc::new(Mutex::new(Keeper::new(journal.clone(), settings.audit)));
    let sinks = open_sinks(settings.siem, log, &clock, &metrics).await?;
    let credentials = Credentials::new(
        Arc::clone(authenticator.keys()),
        Arc::clone(authenticator.tokens()),
        (key_grace, longest_login),
        Arc::clone(&clock),
    );
    let reloader = Reloader::new(
        Arc::clone(&policy),
        (loader, lock),
        settings.reload,
        state,
        journal.clone(),
        Arc::clone(&clock),
    );
    let reloader = reloader.map_err(StartError::Remember)?;
    let memory = open_memory(settings.memory, &agents, &clock, &metrics).await?;
    let attributes = open_attributes(settings.attributes, &agents, &tools, &clock).await?;
    let reloader = Arc::new(reloader.with_agents(
        agents.clone(),
        attributes.clone(),
        tools.clone(),
        authenticator.key_files(),
    ));
    reloader.agents_at_start().await.map_err(StartError::Agents)?;
    let lockdown: Arc<dyn Lockdown> = Arc::new(LocalLockdown::default());
    lockdown.set(settings.lockdown).await?;
    let guard = Arc::new(Guard::new(GuardParts {
        policy,
        journal: journal.clone(),
        limiter: counters.counter(&settings.limit.limit()),
        screen: Screen::new(settings.screen),
        attributes: Arc::new(attributes.clone()),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        sessions: Arc::new(LocalSessions::new(settings.sessions, Arc::clone(&clock))),
        lockdown: Arc::clone(&lockdown),
        replayable: settings.replayable,
    }));
    let longest = settings.messages.max_message_bytes;
    let conversations = LocalConversations::new(settings.messages, Arc::clone(&clock));
    let effects = Arc::new(Effects::new(EffectsParts {
        guard,
        memory: memory.clone(),
        tools: tools.clone(),
        conversations: Conversations::new(longest, Arc::new(conversations), Arc::clone(&clock)),
        capabilities: CapabilityLimits::new(&settings.quotas, &*counters),
        agents: agents.clone(),
    }));
    let runtime =
        Arc::new(Runtime::new(Arc::clone(&effects), sandbox, model, settings.runtime, Arc::clone(&metrics)));
    let failures = settings.failures.map(|settings| -> Arc<dyn AddressBlocks> {
        Arc::new(FailedAttempts::new(settings, Arc::clone(&metrics)))
    });
    let rooms = crate::api::Rooms::new(settings.api.rooms);
    let api = Arc::new(Api {
        authenticator,
        credentials,
        failures,
        quotas: Quotas::new(&settings.quotas, &*counters),
        pace: Pace::new(settings.quotas.refusals, settings.quotas.max_entries),
        per_principal: settings.limit.per_principal,
        effects,
        attributes,
        runtime,
        reloader: Arc::clone(&reloader),
        decision_log,
        audit_readers: Arc::default(),
        journal: journal.clone(),
        metrics,
        traces,
        clock: Arc::clone(&clock),
        settings: crate::api::Settings { issuers, authorization_server, ..settings.api },
        readiness: Readiness::default(),
        rooms,
        large_bodies: Default::default(),
        under_way: tokio_util::task::TaskTracker::new(),
        mcp: crate::api::McpState::new(&clock)?,
    });
    let parts =
        Parts { api, certificates, reloader, journal, keeper, memory, tools, clock, lockdown, audit_log };
    Ok((parts, sinks))
}

fn open_authenticator(
    mut settings: crate::authn::Settings,
    public_url: Option<&str>,
    clock: &SharedClock,
    metrics: &Arc<Metrics>,
) -> Result<Authenticator, crate::authn::AuthnError> {
    // A token may be issued for the resource names that the metadata publishes.
    if let (Some(jwt), Some(url)) = (&mut settings.jwt, public_url) {
        jwt.resources = crate::api::resources(url).map(Into::into).into();
    }
    let ports = AuthnPorts::local(&settings)?;
    Authenticator::new(settings, ports, Arc::clone(clock), Arc::clone(metrics))
}

async fn open_sandbox(
    settings: crate::sandbox::Settings,
    metrics: &Arc<Metrics>,
) -> Result<Sandbox, StartError> {
    let metrics = Arc::clone(metrics);
    Ok(blocking::run(move || Sandbox::new(settings, metrics)).await??)
}

/// The tools of all servers that can be reached; what is wrong with others is logged.
async fn connect_tools(
    settings: crate::tools::Settings,
    sandbox: &Sandbox,
    ports: RegistryPorts,
) -> Result<Registry, StartError> {
    let (tools, problems) = Registry::connect(settings, sandbox.clone(), ports).await?;
    for problem in problems {
        tracing::warn!(server = %problem.server, tool = problem.tool, help = problem.help, "{}", problem.message);
    }
    Ok(tools)
}

/// What makes the spans of requests; nothing without a collector.
async fn open_traces(settings: Option<TraceSettings>) -> Result<Traces, StartError> {
    let Some(settings) = settings else { return Ok(Traces::default()) };
    Ok(blocking::run(move || Traces::start(&settings)).await??)
}

/// The decision log; that its torn end was cut off is a security event.
fn open_journal(settings: crate::audit::Settings, metrics: &Arc<Metrics>) -> Result<Journal, StartError> {
    let (journal, recovery) = Journal::open(settings, Arc::clone(metrics))?;
    if let Some(repaired) = recovery.torn {
        SecurityEvent::JournalRepaired { bytes: repaired.bytes, saved_to: &repaired.saved_to }.emit(metrics);
    }
    Ok(journal)
}

/// The sinks of the decision log, after it was opened and repaired.
async fn open_sinks(
    settings: crate::siem::Settings,
    log: std::path::PathBuf,
    clock: &SharedClock,
    metrics: &Arc<Metrics>,
) -> Result<Sinks, StartError> {
    let cursors = Arc::new(FileCursors::beside(&log));
    let ports = SinkPorts { cursors, metrics: Arc::clone(metrics), clock: Arc::clone(clock) };
    Ok(blocking::run(move || Sinks::open(settings, &log, ports)).await??)
}

/// Memory, with the quotas of the agents' files.
async fn open_memory(
    settings: crate::memory::Settings,
    agents: &Register,
    clock: &SharedClock,
    metrics: &Arc<Metrics>,
) -> Result<Memory, StartError> {
    let (clock, metrics) = (Arc::clone(clock), Arc::clone(metrics));
    let memory = blocking::run(move || Memory::open(settings, clock, metrics)).await??;
    Ok(memory.with_quotas(Arc::new(agents.clone())))
}

async fn open_attributes(
    settings: crate::attributes::Settings,
    agents: &Register,
    tools: &Registry,
    clock: &SharedClock,
) -> Result<Attributes, StartError> {
    let (agents, tools, clock) = (agents.clone(), tools.clone(), Arc::clone(clock));
    Ok(blocking::run(move || Attributes::open(settings, agents, tools, clock)).await??)
}

/// The policy set that the gateway starts with.
async fn read_policies(
    loader: &PolicyLoader,
    lock: &Arc<dyn EmergencyLock>,
    reload: &ReloadSettings,
    policy: crate::policy::Settings,
    clock: &SharedClock,
) -> Result<(Live, StartupState), StartError> {
    let loader = loader.clone();
    let reload = reload.clone();
    let lock = Arc::clone(lock);
    let now = clock.now_millis();
    match blocking::run(move || load_startup(&loader, &*lock, &reload, policy, now)).await? {
        Ok(startup) => Ok(startup.split()),
        Err(StartupError::Policies(errors)) => Err(StartError::Policies(errors)),
        Err(error) => Err(StartError::Sources(error)),
    }
}

/// The fragments of servers whose tools are not pinned in files.
fn fragments(tools: &Registry) -> Fragments {
    let tools = tools.clone();
    Arc::new(move || tools.fragments().into_iter().collect())
}

/// Reads the agents' directory; a file that is refused is said and counted, the others are loaded.
async fn load_agents(agents: &Register, tools: &Registry) -> Result<usize, StartError> {
    let (register, known) = (agents.clone(), tools.known());
    let loaded = blocking::run(move || register.load(&known)).await?;
    agents.tell(&loaded.problems);
    Register::warn(&loaded.warnings);
    Ok(loaded.agents)
}
