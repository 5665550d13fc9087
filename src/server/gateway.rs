//! A running gateway: its addresses, its reload, its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::build::{Parts, StartError, build, load_agents};
use super::certificates::{TlsReload, follow_files};
use super::connection::Door;
use super::follow;
use super::listen::{HttpLimits, serve};
use crate::api::{operations_router, router};
use crate::audit::{Record, SourceRecord};
use crate::changes::{Cause, ReloadError};
use crate::model::{DecisionId, EventType, Outcome, PolicyVersion, ReasonCode, RequestId, Source};

/// A gateway that serves. Dropping it without [`Gateway::drain`] ends it at once.
pub struct Gateway {
    parts: Arc<Parts>,
    address: SocketAddr,
    operations: SocketAddr,
    stop: CancellationToken,
    serving: Vec<JoinHandle<()>>,
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
    /// Builds everything, then binds the ports and serves.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let (listen, operations) = (settings.listen, settings.operations);
        let (limits, grace) = (settings.http.clone(), settings.shutdown_grace);
        let follow = settings.follow.clone();
        let parts = Arc::new(build(settings).await?);
        let (api_listener, address) = bind(listen).await?;
        let (operations_listener, operations) = bind(operations).await?;
        let stop = CancellationToken::new();
        let api = router(Arc::clone(&parts.api));
        let probes = operations_router(Arc::clone(&parts.api));
        let door = parts.tls.clone().map_or(Door::Plain, Door::Tls);
        let serving = vec![
            tokio::spawn(serve(api_listener, door, api, limits, stop.clone(), grace)),
            tokio::spawn(serve(
                operations_listener,
                Door::Plain,
                probes,
                HttpLimits::default(),
                stop.clone(),
                Duration::ZERO,
            )),
            tokio::spawn(follow_tools(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow::places(Arc::clone(&parts.reloader), follow.clone(), stop.clone())),
            tokio::spawn(follow::lock(Arc::clone(&parts.reloader), follow.clone(), stop.clone())),
            tokio::spawn(follow::remote(Arc::clone(&parts.reloader), follow, stop.clone())),
            tokio::spawn(follow_keys(Arc::clone(&parts), stop.clone())),
            tokio::spawn(follow_files(Arc::clone(&parts), stop.clone())),
        ];
        parts.event("gateway_started", Outcome::Allow, None).await;
        parts.reloader.watch_candidate().await;
        parts.api.readiness.set(true);
        Ok(Self { parts, address, operations, stop, serving })
    }

    /// Where the API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The scheme of the API's addresses: `https` when the gateway ends TLS itself.
    pub fn scheme(&self) -> &'static str {
        if self.parts.tls.is_some() { "https" } else { "http" }
    }

    /// Where probes and metrics listen.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// The version that decides.
    pub fn policy_version(&self) -> PolicyVersion {
        self.parts.reloader.policy().current().version().clone()
    }

    /// Reads policies, schemas and agents again. Policies change as a whole or not at all.
    pub async fn reload(&self) -> ReloadOutcome {
        let reloaded = self.parts.reloader.reload(Cause::Signal).await;
        // Also under the emergency lock: a key that is taken out must not open anything.
        self.parts.reload_keys().await;
        let outcome = match reloaded {
            Ok(reloaded) => ReloadOutcome::Applied { from: reloaded.from, to: reloaded.to },
            // The lock is for agents as well: what they may do hangs on their files.
            Err(error @ ReloadError::Locked(_)) => return ReloadOutcome::Refused(error.to_string()),
            Err(error) => ReloadOutcome::Refused(error.to_string()),
        };
        if let Err(error) = load_agents(&self.parts.agents, &self.parts.api.metrics).await {
            tracing::error!(error = &error as &dyn std::error::Error, "agents could not be loaded again");
        }
        outcome
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
        self.parts.memory.close().await;
        self.parts.event("gateway_stopped", Outcome::Allow, None).await;
        self.parts.journal.close();
    }
}

async fn follow_keys(parts: Arc<Parts>, stop: CancellationToken) {
    parts.api.authenticator.follow_keys(&stop).await;
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
    }
}

impl Parts {
    /// The issuer's key file, where the keys are in one.
    async fn reload_keys(&self) {
        let api = Arc::clone(&self.api);
        let read = tokio::task::spawn_blocking(move || api.authenticator.reload_keys()).await;
        match read {
            Ok(None) | Err(_) => {}
            Ok(Some(Ok(()))) => self.event("keys_reload", Outcome::Allow, None).await,
            Ok(Some(Err(error))) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the issuer's key file is refused, the old keys stay"
                );
                self.event("keys_reload_refused", Outcome::DenyError, Some(error.to_string())).await;
            }
        }
    }

    /// Records something that the gateway did by itself. That it happened does not hang on the record: a gateway
    /// whose log cannot be written must still stop.
    pub(super) async fn event(&self, name: &'static str, outcome: Outcome, detail: Option<String>) {
        let reason = match outcome {
            Outcome::Allow => ReasonCode::Permitted,
            _ => ReasonCode::PolicyError,
        };
        let mut record = Record::new(
            DecisionId::generate(),
            self.clock.now_millis(),
            RequestId::generate(),
            SourceRecord::from(&Source::local()),
            EventType::ConfigurationChange,
            outcome,
            reason,
        );
        record.event = Some(name);
        record.detail = detail;
        record.policy_version = Some(self.reloader.policy().current().version().clone());
        if let Err(error) = self.journal.append(record).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                event = name,
                "an event could not be recorded"
            );
        }
    }
}
