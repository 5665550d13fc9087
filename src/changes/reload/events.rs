//! The records and security log lines of refused changes, of the emergency lock, and of the candidate.

use std::sync::Arc;

use super::error::Cause;
use super::state::{RefusedChange, STATE_FILE};
use super::{CandidateChange, Reloader};
use crate::audit::Record;
use crate::changes::file;
use crate::changes::lock::EngagedLock;
use crate::model::{EventType, Outcome};

/// The longest text about a refusal that is kept, in bytes.
const REPORT_BYTES: usize = 16 * 1024;

impl Reloader {
    /// Records a change that was refused earlier: a bundle that could not be fetched completely.
    pub async fn refuse(self: &Arc<Self>, cause: Cause, why: &str) {
        self.record_refusal(cause, why).await;
    }

    /// Records when the emergency lock was engaged or taken away since that was on record last, also while no gateway
    /// ran. The lock holds whether this can be recorded or not. Whether nothing is left to be recorded.
    pub async fn check_lock(self: &Arc<Self>) -> bool {
        let looking = Arc::clone(self);
        // One that cannot be read holds, and each refusal says so.
        let looked = tokio::task::spawn_blocking(move || looking.engaged()).await;
        let Ok(Ok(now)) = looked else { return true };
        if now == self.state.lock().locked {
            return true;
        }
        if !self.record_lock(now.as_ref()).await {
            return false;
        }
        let noting = Arc::clone(self);
        let noted = tokio::task::spawn_blocking(move || {
            let mut state = noting.state.lock();
            state.locked = now;
            file::write(&noting.settings.data_dir.join(STATE_FILE), &*state)
        });
        if let Ok(Err(error)) = noted.await {
            // It is recorded once more after a restart, which is better than never.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the state of the lock is not remembered"
            );
        }
        true
    }

    async fn record_lock(&self, engaged: Option<&EngagedLock>) -> bool {
        let (name, detail) = match engaged {
            Some(engaged) => {
                ("changes_locked", format!("by {}: {}", engaged.author, shortened(&engaged.reason)))
            }
            None => ("changes_unlocked", String::new()),
        };
        tracing::warn!(target: "SECURITY", event_type = name, details = %detail);
        self.record(name, Outcome::Allow, detail).await
    }

    pub(super) async fn record_candidate(&self, watching: Option<CandidateChange>) {
        match watching {
            None => {}
            Some(CandidateChange::Begins(version)) => {
                self.record("candidate_loaded", Outcome::Allow, version.as_str().to_owned()).await;
            }
            Some(CandidateChange::Refused(why)) => {
                let why = shortened(&why);
                tracing::warn!(error = why, "the candidate is refused; nothing watches");
                self.record("candidate_refused", Outcome::DenyError, why).await;
            }
        }
    }

    pub(super) async fn record_refusal(self: &Arc<Self>, cause: Cause, why: &str) {
        let why = shortened(why);
        self.policy.count_refusal();
        tracing::warn!(
            target: "SECURITY",
            event_type = "security_violation",
            violation_type = "hot_reload_security_violation",
            details = %why,
        );
        let refusal = RefusedChange {
            time_millis: self.clock.now_millis(),
            cause: cause.as_str().to_owned(),
            why: why.clone(),
        };
        let reloader = Arc::clone(self);
        // For the status command alone: that nothing was changed does not hang on it.
        let noted = tokio::task::spawn_blocking(move || {
            let mut state = reloader.state.lock();
            state.refused = Some(refusal);
            file::write(&reloader.settings.data_dir.join(STATE_FILE), &*state)
        });
        let _ = noted.await;
        self.record("reload_refused", Outcome::DenyError, why).await;
    }

    /// Returns whether the event is on record. The event has taken place in any case, so a failure is logged.
    async fn record(&self, name: &'static str, outcome: Outcome, detail: String) -> bool {
        let written = self.journal.append(self.event(name, outcome, detail)).await;
        if let Err(error) = &written {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, event = name, "an event could not be recorded");
        }
        written.is_ok()
    }

    pub(super) fn event(&self, name: &'static str, outcome: Outcome, detail: String) -> Record {
        let mut record = Record::of_gateway(self.clock.now_millis(), EventType::ConfigurationChange, outcome);
        record.event = Some(name);
        record.detail = Some(detail);
        record.policy_version = Some(self.policy.current().version().clone());
        record
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=REPORT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
