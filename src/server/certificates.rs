//! Replaces the files of TLS while the gateway runs: when it is told to, and when they change.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::build::Parts;
use crate::model::Outcome;

/// What a reload did to the certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsReload {
    /// The gateway has no TLS.
    NotInUse,
    /// New connections get what the text says.
    Applied(String),
    /// The new files are not sound; the old ones stay in force. The text is for the operator.
    Refused(String),
}

impl Parts {
    /// Reads the files of TLS again; they change as a whole or not at all. Open connections go on.
    pub(super) async fn reload_tls(&self) -> TlsReload {
        let Some(tls) = self.tls.clone() else { return TlsReload::NotInUse };
        let reloaded = tokio::task::spawn_blocking(move || {
            let prepared = tls.prepare(None).map_err(|error| (with_causes(&error), error.help()))?;
            let summary = prepared.summary.clone();
            tls.commit(prepared);
            Ok::<_, (String, _)>(summary)
        })
        .await
        .unwrap_or_else(|_| Err(("the reload stopped before its end".to_owned(), "try again".into())));
        match reloaded {
            Ok(summary) => {
                tracing::info!("TLS reloaded: {summary}");
                self.event("tls_reload", Outcome::Allow, Some(summary.clone())).await;
                TlsReload::Applied(summary)
            }
            Err((problem, help)) => {
                tracing::warn!(
                    target: "SECURITY",
                    event_type = "security_violation",
                    violation_type = "hot_reload_security_violation",
                    details = %problem,
                    help = %help,
                );
                self.api.metrics.hot_reload_violations.inc();
                self.event("tls_reload_refused", Outcome::DenyError, Some(problem.clone())).await;
                TlsReload::Refused(format!("{problem}\nhelp: {help}"))
            }
        }
    }
}

/// The error and what lies behind it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        line = format!("{line}: {next}");
        cause = next.source();
    }
    line
}

/// Looks at the files now and then: whoever renews certificates need not know how to tell the gateway.
pub(super) async fn follow_files(parts: Arc<Parts>, stop: CancellationToken) {
    let Some(tls) = parts.tls.clone() else { return };
    let Some(interval) = tls.settings().reload_interval else { return };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
        let tls = Arc::clone(&tls);
        if tokio::task::spawn_blocking(move || tls.files_changed()).await.unwrap_or(false) {
            parts.reload_tls().await;
        }
    }
}
