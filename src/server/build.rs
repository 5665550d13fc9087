//! Builds the parts in the order in which they depend on each other. Nothing is bound before everything is sound.

use std::path::PathBuf;
use std::sync::Arc;

use super::Settings;
use super::certificates::Certificates;
use crate::agents::Register;
use crate::api::{Api, Readiness};
use crate::attributes::Attributes;
use crate::audit::Journal;
use crate::authn::Authenticator;
use crate::authz::{Guard, GuardParts, LivePolicy};
use crate::clock::{SharedClock, SystemClock};
use crate::credentials::Credentials;
use crate::limit::{CapabilityLimits, FailedAttempts, Quotas, RateLimiter};
use crate::memory::Memory;
use crate::messages::Switchboard;
use crate::policy::{Bundle, Limits, PolicyError, PolicyErrors, SourceKind, Sources};
use crate::runtime::{Gate, GateParts, LanguageModel, Runtime};
use crate::sandbox::Sandbox;
use crate::screen::Screen;
use crate::telemetry::Metrics;
use crate::tools::Registry;

/// Why the gateway did not start. Nothing was bound.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The files of the policy set could not be read.
    #[error("the policies could not be read")]
    Sources(#[source] PolicyError),
    /// The policy set is not valid.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
    /// The decision log could not be opened.
    #[error("the decision log could not be opened")]
    Audit(#[from] crate::audit::AuditError),
    /// Credentials cannot be checked.
    #[error("authentication could not be set up")]
    Authn(#[from] crate::authn::AuthnError),
    /// Memory could not be opened.
    #[error("the memory could not be opened")]
    Memory(#[from] crate::memory::MemoryError),
    /// What is known of people and things could not be opened.
    #[error("the store of attributes could not be opened")]
    Attributes(#[from] crate::attributes::AttributesError),
    /// The sandbox could not be set up.
    #[error("the sandbox could not be set up")]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// The tools could not be set up.
    #[error("the tools could not be set up")]
    Tools(#[from] crate::tools::RegistryError),
    /// The model's settings are not sound.
    #[error("the language model could not be set up")]
    Model(#[from] crate::runtime::SetupError),
    /// The files of TLS are not sound.
    #[error("TLS could not be set up")]
    Tls(#[from] super::TlsError),
    /// A port is taken or not ours to take.
    #[error("`{address}` cannot be bound")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A part that ran on its own thread did not come back.
    #[error("a part of the gateway stopped while it was set up")]
    Stopped,
}

/// Where the policy set is read from, each time.
#[derive(Debug, Clone)]
pub(super) struct PolicyPlaces {
    policy_dir: Option<PathBuf>,
    schema_dir: Option<PathBuf>,
    extend_shipped: bool,
    roles_file: Option<PathBuf>,
    limits: Limits,
}

impl PolicyPlaces {
    /// The files as they are now, with the fragments of servers whose tools are not pinned in files.
    pub(super) fn read(&self, tools: &Registry) -> Result<Sources, PolicyError> {
        let given = |directory: &Option<PathBuf>, other: &Option<PathBuf>| {
            directory.clone().or_else(|| other.clone()).unwrap_or_default()
        };
        let (policies, schemas) =
            (given(&self.policy_dir, &self.schema_dir), given(&self.schema_dir, &self.policy_dir));
        let own = || Sources::from_dirs_within(&policies, &schemas, &self.limits);
        let mut sources = match (&self.policy_dir, &self.schema_dir) {
            (None, None) => Sources::shipped(),
            _ if self.extend_shipped => own()?.extending_shipped(),
            (Some(_), Some(_)) => own()?,
            (Some(_), None) => own()?.with_shipped(SourceKind::Schema),
            (None, Some(_)) => own()?.with_shipped(SourceKind::Policy),
        };
        for (name, text) in tools.fragments() {
            sources = sources.with_schema(&name, &text);
        }
        if let Some(roles) = &self.roles_file {
            sources = sources.with_roles_file(roles, &self.limits)?;
        }
        Ok(sources)
    }
}

/// The parts that the running gateway keeps hold of.
pub(super) struct Parts {
    pub(super) api: Arc<Api>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) policy: Arc<LivePolicy>,
    pub(super) places: PolicyPlaces,
    pub(super) journal: Journal,
    pub(super) memory: Memory,
    pub(super) tools: Registry,
    pub(super) agents: Register,
    pub(super) attributes: Attributes,
    pub(super) clock: SharedClock,
}

pub(super) async fn build(settings: Settings) -> Result<Parts, StartError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let metrics = Arc::new(Metrics::new());
    // Before anything that takes time: a wrong certificate is the commonest reason not to start.
    let key_grace = settings.authn.api_keys.grace;
    let issuer = settings.authn.jwt.as_ref().map(|jwt| jwt.issuer.to_string());
    let authenticator = Authenticator::new(settings.authn, Arc::clone(&clock), Arc::clone(&metrics))?;
    let clients = authenticator.client_trust().cloned();
    let certificates = Arc::new(Certificates::open(settings.tls, clients, &clock)?);
    let model = settings.model.map(LanguageModel::new).transpose()?;
    let sandbox = off_thread({
        let (settings, metrics) = (settings.sandbox, Arc::clone(&metrics));
        move || Sandbox::new(settings, metrics)
    })
    .await??;
    let (tools, problems) = Registry::connect(settings.tools, sandbox.clone(), Arc::clone(&metrics)).await?;
    for problem in problems {
        tracing::warn!(server = %problem.server, tool = problem.tool, help = problem.help, "{}", problem.message);
    }
    let places = PolicyPlaces {
        policy_dir: settings.policy_dir,
        schema_dir: settings.schema_dir,
        extend_shipped: settings.extend_shipped,
        roles_file: settings.roles_file,
        limits: settings.policy.limits,
    };
    let sources = places.read(&tools).map_err(StartError::Sources)?;
    let bundle = Bundle::load_with(sources, settings.policy).map_err(StartError::Policies)?;
    let policy = Arc::new(LivePolicy::new(bundle, settings.policy, Arc::clone(&metrics)));

    let agents = Register::new(settings.agents, sandbox.clone(), Arc::clone(&metrics));
    load_agents(&agents, &metrics).await?;
    let (journal, recovery) = Journal::open(settings.audit, Arc::clone(&metrics))?;
    if let Some(repaired) = recovery.torn {
        tracing::warn!(target: "SECURITY", event_type = "audit_repaired", details = %format_args!("{} bytes of a torn line are in `{}`", repaired.bytes, repaired.saved_to.display()));
    }
    let credentials = Credentials::new(
        Arc::clone(authenticator.keys()),
        Arc::clone(authenticator.tokens()),
        key_grace,
        Arc::clone(&clock),
    );
    let memory = off_thread({
        let (settings, clock, metrics) = (settings.memory, Arc::clone(&clock), Arc::clone(&metrics));
        move || Memory::open(settings, clock, metrics)
    })
    .await??
    .with_quotas(Arc::new(agents.clone()));
    let attributes = off_thread({
        let (agents, tools, clock) = (agents.clone(), tools.clone(), Arc::clone(&clock));
        move || Attributes::open(settings.attributes, agents, tools, clock)
    })
    .await??;
    let guard = Arc::new(Guard::new(GuardParts {
        policy: Arc::clone(&policy),
        journal: journal.clone(),
        limiter: RateLimiter::new(&settings.limit, Arc::clone(&metrics)),
        screen: Screen::new(settings.screen),
        attributes: Arc::new(attributes.clone()),
        clock: Arc::clone(&clock),
        metrics: Arc::clone(&metrics),
        sessions: settings.sessions,
        replayable: settings.replayable,
    }));
    guard.set_lockdown(settings.lockdown);
    let gate = Arc::new(Gate::new(GateParts {
        guard,
        memory: memory.clone(),
        tools: tools.clone(),
        switchboard: Switchboard::new(settings.messages, Arc::clone(&clock)),
        capabilities: CapabilityLimits::new(&settings.quotas, &metrics),
        agents: agents.clone(),
    }));
    let runtime =
        Arc::new(Runtime::new(Arc::clone(&gate), sandbox, model, settings.runtime, Arc::clone(&metrics)));
    let failures = settings.failures.map(|settings| FailedAttempts::new(settings, Arc::clone(&metrics)));
    let api = Arc::new(Api {
        authenticator,
        credentials,
        failures,
        quotas: Quotas::new(&settings.quotas, &metrics),
        per_principal: settings.limit.per_principal,
        gate,
        attributes: attributes.clone(),
        runtime,
        journal: journal.clone(),
        metrics,
        clock: Arc::clone(&clock),
        settings: crate::api::Settings { issuer, ..settings.api },
        readiness: Readiness::default(),
    });
    Ok(Parts { api, certificates, policy, places, journal, memory, tools, agents, attributes, clock })
}

/// Reads the agents' directory; a file that is refused is said and counted, the others are loaded.
pub(super) async fn load_agents(agents: &Register, metrics: &Metrics) -> Result<usize, StartError> {
    let register = agents.clone();
    let loaded = off_thread(move || register.load()).await?;
    for problem in &loaded.problems {
        metrics.config_validation_failures.inc();
        tracing::warn!(
            target: "SECURITY",
            event_type = "security_violation",
            violation_type = "config_validation_failed",
            details = %problem,
        );
    }
    Ok(loaded.agents)
}

/// Compiling modules and opening databases takes milliseconds: never on an async thread.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StartError::Stopped)
}
