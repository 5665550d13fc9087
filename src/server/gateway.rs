//! A running gateway: its addresses, its reload, its shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::audit_index::keep_index;
use super::build::{Parts, StartError};
use super::certificates::{TlsReload, follow_files, staple};
use super::connection::{NetworkBytes, Transport};
use super::listen::serve;
use super::{FollowSettings, HttpLimits, Settings, audit_upkeep, policy_watch};
use crate::api::{Proxies, operations_router, router};
use crate::audit::{AuditError, Record};
use crate::blocking;
use crate::changes::{Cause, ReloadError};
use crate::events::SecurityEvent;
use crate::model::PolicyVersion;
use crate::siem::{RunningSinks, Sinks};

/// A gateway that serves. Dropping it without [`Gateway::drain`] ends it at once.
pub struct Gateway {
    pub(super) parts: Arc<Parts>,
    address: SocketAddr,
    operations: SocketAddr,
    stop: CancellationToken,
    sinks: RunningSinks,
    serving: Vec<JoinHandle<()>>,
    grace: Duration,
}

/// How long the sinks may send what is in the log when the gateway stops.
const SINKS_GRACE: Duration = Duration::from_secs(5);

/// What the running gateway needs of the settings, beside its parts.
pub(super) struct Listeners {
    listen: SocketAddr,
    operations: SocketAddr,
    limits: HttpLimits,
    proxies: Proxies,
    follow: FollowSettings,
    grace: Duration,
}

impl Listeners {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            listen: settings.listen,
            operations: settings.operations,
            limits: settings.http.clone(),
            proxies: settings.api.proxies.clone(),
            follow: settings.follow.clone(),
            grace: settings.shutdown_grace,
        }
    }
}

/// What a reload did to the policies.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The new set decides from now on.
    Applied {
        /// Before.
        from: PolicyVersion,
        /// Now.
        to: PolicyVersion,
        /// What became another, in words.
        changes: Vec<String>,
    },
    /// The new set is not valid; the old one stays. The text is for the operator.
    Refused(String),
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Bind { address, source })
}

impl Gateway {
    /// Builds every part, then binds the ports and serves, on the system clock and with metrics of its own.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::builder().settings(settings).start().await
    }

    /// Binds the ports and serves.
    pub(super) async fn serve(parts: Parts, sinks: Sinks, listeners: Listeners) -> Result<Self, StartError> {
        let Listeners { listen, operations, limits, proxies, follow, grace } = listeners;
        let parts = Arc::new(parts);
        // What was changed while no gateway ran is on record before it has an effect.
        if !parts.record_credential_events().await || !parts.reloader.check_lock().await {
            return Err(StartError::Unrecorded);
        }
        let (api_listener, address) = bind(listen).await?;
        let (operations_listener, operations) = bind(operations).await?;
        let stop = CancellationToken::new();
        let api = router(Arc::clone(&parts.api));
        // Whoever reaches this host may ask whether it lives; what it counts is for those who may read metrics.
        let probes = operations_router(Arc::clone(&parts.api), operations.ip().is_loopback());
        let network = NetworkBytes::of(&parts.api.metrics);
        let transport = match parts.certificates.tls() {
            Some(tls) => Transport::Tls { tls: Arc::clone(tls), api: Arc::clone(&parts.api) },
            None => Transport::Plain,
        };
        let serving = vec![
            tokio::spawn(serve(
                api_listener,
                transport,
                api,
                limits,
                (proxies.clone(), network.clone()),
                stop.clone(),
                grace,
            )),
            tokio::spawn(serve(
                operations_listener,
                Transport::Plain,
                probes,
                HttpLimits::default(),
                (proxies, network),
                stop.clone(),
                Duration::ZERO,
            )),
            tokio::spawn(follow_tools(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow_credentials(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow_connections(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow_refusals(Arc::clone(&parts), stop.clone())),
            tokio::spawn(audit_upkeep::run(Arc::clone(&parts), stop.clone())),
            tokio::spawn(policy_watch::source(Arc::clone(&parts), follow.clone(), stop.clone())),
            tokio::spawn(policy_watch::lock(Arc::clone(&parts.reloader), follow.clone(), stop.clone())),
            tokio::spawn(policy_watch::remote(Arc::clone(&parts.reloader), follow, stop.clone())),
            tokio::spawn(follow_files(Arc::clone(&parts), stop.clone())),
            tokio::spawn(staple(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow_keys(Arc::clone(&parts), stop.clone())),
            tokio::spawn(expire_conversations(Arc::clone(&parts), stop.clone())),
            tokio::spawn(keep_index(parts.audit_log.clone(), stop.clone())),
        ];
        let sinks = sinks.start();
        parts.event(SecurityEvent::GatewayStarted).await;
        parts.reloader.watch_candidate().await;
        parts.api.readiness.set(true);
        Ok(Self { parts, address, operations, stop, sinks, serving, grace })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The scheme of the API's addresses: `https` when the gateway ends TLS itself.
    pub fn scheme(&self) -> &'static str {
        if self.parts.certificates.tls().is_some() { "https" } else { "http" }
    }

    /// Where probes and metrics listen.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// The version that decides.
    pub fn policy_version(&self) -> PolicyVersion {
        self.parts.reloader.policy().current().version().clone()
    }

    /// Reads policies, schemas, agents, pins of tools and the issuer's keys again. All of it changes, or nothing does; under
    /// the emergency lock keys that were taken out of their files end, and nothing else changes.
    pub async fn reload(&self) -> ReloadOutcome {
        let reloaded = self.parts.reloader.reload(Cause::Signal).await;
        if let Err(ReloadError::Locked(_)) = &reloaded {
            self.parts.reloader.drop_removed_keys().await;
        }
        match reloaded {
            Ok(reloaded) => {
                ReloadOutcome::Applied { from: reloaded.from, to: reloaded.to, changes: reloaded.changes }
            }
            Err(error) => ReloadOutcome::Refused(error.to_string()),
        }
    }

    /// Reads certificates and keys again, for connections that come from now on; wrong files leave the old in force.
    pub async fn reload_tls(&self) -> TlsReload {
        self.parts.reload_tls().await
    }

    /// Takes no new requests, lets those under way come to their end, then closes the stores.
    pub async fn drain(self) {
        self.parts.api.readiness.set(false);
        self.stop.cancel();
        for serving in self.serving {
            let _ = serving.await;
        }
        // Work whose callers have hung up may still be running.
        self.parts.api.under_way.close();
        if tokio::time::timeout(self.grace, self.parts.api.under_way.wait()).await.is_err() {
            tracing::warn!("changes were still under way when the gateway stopped");
        }
        self.parts.reloader.settle().await;
        self.parts.keep_credentials().await;
        self.parts.memory.close().await;
        self.parts.record_refusals(true).await;
        self.parts.event(SecurityEvent::GatewayStopped).await;
        audit_upkeep::finish(&self.parts).await;
        let traces = self.parts.api.traces.clone();
        // Who hangs here waits ten seconds at most.
        let _ = blocking::run(move || traces.stop()).await;
        self.parts.journal.close();
        // After the last record.
        self.sinks.stop(SINKS_GRACE).await;
    }
}

async fn follow_keys(parts: Arc<Parts>, stop: CancellationToken) {
    parts.api.authenticator.follow_keys(&stop).await;
}

/// How often conversations that are over are removed.
const CONVERSATIONS_INTERVAL: Duration = Duration::from_secs(60);

async fn expire_conversations(parts: Arc<Parts>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(CONVERSATIONS_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                if let Err(error) = parts.api.effects.conversations().expire().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "conversations that are over were not removed");
                }
            }
        }
    }
}

/// How often sessions in use are written down and changes from the command line are recorded.
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(1);

async fn follow_credentials(parts: Arc<Parts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CREDENTIALS_INTERVAL) => parts.keep_credentials().await,
        }
    }
}

/// How often it is looked for connections of accounts that have to end.
const CONNECTIONS_INTERVAL: Duration = Duration::from_secs(5);

async fn follow_connections(parts: Arc<Parts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CONNECTIONS_INTERVAL) => parts.end_connections().await,
        }
    }
}

/// How often it is looked for counted refusals that are to be recorded.
const REFUSALS_INTERVAL: Duration = Duration::from_secs(1);

async fn follow_refusals(parts: Arc<Parts>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REFUSALS_INTERVAL) => parts.record_refusals(false).await,
        }
    }
}

/// Tools that come later bring schema of their own: the live set is loaded again with it.
async fn follow_tools(parts: Arc<Parts>, stop: CancellationToken) {
    let mut changes = parts.tools.changes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        // What is refused is on record, and the tools that came with it stay unknown.
        let _ = parts.reloader.reload(Cause::Tools).await;
        // Also where that was refused: a tool that went is gone.
        parts.api.mcp.tools_changed();
    }
}

impl Parts {
    /// Writes down refusals that were counted: those that have waited long enough, or `all`.
    async fn record_refusals(&self, all: bool) {
        let lost = self.journal.record_counted(all).await;
        if lost > 0 {
            tracing::error!(
                refusals = lost,
                "refused credentials or calls above a rate could not be recorded"
            );
        }
    }

    async fn keep_credentials(&self) {
        let tokens = Arc::clone(self.api.authenticator.tokens());
        let written = blocking::run(move || tokens.write_touched()).await;
        if let Ok(Err(error)) = written {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sessions in use could not be written down"
            );
        }
        self.record_credential_events().await;
    }

    /// Ends the connected accounts of principals whose last API key was revoked by another program (`caxton auth`), or at another
    /// gateway with the same keys, and those that were not used for long.
    async fn end_connections(&self) {
        let tools = self.api.effects.tools();
        if !tools.keeps_connections() {
            return;
        }
        let api = Arc::clone(&self.api);
        match blocking::run(move || api.credentials.keyless()).await {
            Ok(Ok(keyless)) => tools.end_connections_of(keyless).await,
            Ok(Err(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "it is not known whose connections have to end with their last key");
            }
            Err(_) => {}
        }
        tools.end_idle_connections().await;
    }

    /// Writes to the decision log what programs changed that do not hold it (`caxton auth`). An event is forgotten when
    /// it is recorded, so one that cannot be recorded now is tried again.
    ///
    /// Whether all are recorded.
    async fn record_credential_events(&self) -> bool {
        loop {
            match self.record_some_events().await {
                Some(0) => return true,
                Some(_) => {}
                None => return false,
            }
        }
    }

    /// How many were recorded; none when that was not possible.
    async fn record_some_events(&self) -> Option<usize> {
        const MOST: u32 = 1_000;
        let tokens = Arc::clone(self.api.authenticator.tokens());
        let pending = blocking::run(move || tokens.pending_events(MOST)).await;
        let Ok(Ok(pending)) = pending else { return None };
        let found = pending.len();
        for event in pending {
            let change = SecurityEvent::CredentialsChanged {
                name: &event.name,
                at_millis: event.at,
                detail: &event.detail,
            };
            let record = self.record_of(&change)?;
            if let Err(error) = self.journal.append(record).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a change of credentials is not recorded yet"
                );
                return None;
            }
            let tokens = Arc::clone(self.api.authenticator.tokens());
            let forgotten = blocking::run(move || tokens.forget_events(event.id)).await;
            // One that stays would be recorded again and again.
            forgotten.ok()?.ok()?;
            // A connection takes ten minutes to be made at most, and these are rare: it is begun again.
            if matches!(event.name.as_str(), "revoke_all_sessions" | "revoke_subject") {
                self.api.effects.tools().forget_begun_connections();
            }
        }
        Some(found)
    }

    fn record_of(&self, event: &SecurityEvent<'_>) -> Option<Record> {
        let mut record = Record::of_event(event, self.clock.now_millis())?;
        record.policy_version = Some(self.reloader.policy().current().version().clone());
        Some(record)
    }

    /// Counts, logs and records an event of the gateway itself. What happens does not depend on the record: a gateway
    /// whose decision log cannot be written must still stop.
    pub(super) async fn event(&self, event: SecurityEvent<'_>) {
        if let Err(error) = self.recorded(&event).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event = event.facts().name,
                "an event could not be recorded"
            );
        }
    }

    /// The same, for what must not happen without its record.
    pub(super) async fn recorded(&self, event: &SecurityEvent<'_>) -> Result<(), AuditError> {
        event.emit(&self.api.metrics);
        match self.record_of(event) {
            Some(record) => self.journal.append(record).await.map(drop),
            None => Ok(()),
        }
    }
}
