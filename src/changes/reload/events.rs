//! The records and security log lines of refused changes, of the emergency lock, and of the candidate.

use std::sync::Arc;

use super::error::Cause;
use super::state::{RefusedChange, STATE_FILE};
use super::{CandidateChange, Reloader};
use crate::audit::Record;
use crate::blocking;
use crate::changes::file;
use crate::events::SecurityEvent;
use crate::shared_state::EngagedLock;

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
        let looked = blocking::run(move || looking.engaged()).await;
        let Ok(Ok(now)) = looked else { return true };
        if now == self.state.lock().locked {
            return true;
        }
        if !self.record_lock(now.as_ref()).await {
            return false;
        }
        let noting = Arc::clone(self);
        let noted = blocking::run(move || {
            let mut state = noting.state.lock();
            state.locked = now;
            file::write(&noting.settings.data_dir.join(STATE_FILE), &*state)
        });
        if let Ok(Err(error)) = noted.await {
            // It is recorded once more after a restart, which is better than never.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the state of the lock could not be saved"
            );
        }
        true
    }

    async fn record_lock(&self, engaged: Option<&EngagedLock>) -> bool {
        match engaged {
            Some(engaged) => {
                let reason = shortened(&engaged.reason);
                self.note(SecurityEvent::ChangesLocked { author: &engaged.author, reason: &reason }).await
            }
            None => self.note(SecurityEvent::ChangesUnlocked).await,
        }
    }

    pub(super) async fn record_candidate(&self, watching: Option<CandidateChange>) {
        match watching {
            None => {}
            Some(CandidateChange::Begins(version)) => {
                self.note(SecurityEvent::CandidateLoaded { version: version.as_str() }).await;
            }
            Some(CandidateChange::Refused(why)) => {
                let why = shortened(&why);
                tracing::warn!(error = why, "the candidate is refused; no shadow evaluation runs");
                self.note(SecurityEvent::CandidateRefused { why: &why }).await;
            }
        }
    }

    pub(super) async fn record_refusal(self: &Arc<Self>, cause: Cause, why: &str) {
        let why = shortened(why);
        self.policy.count_refusal();
        let refusal = RefusedChange {
            time_millis: self.clock.now_millis(),
            cause: cause.as_str().to_owned(),
            why: why.clone(),
        };
        let reloader = Arc::clone(self);
        // For the status command alone: that nothing was changed does not hang on it.
        let noted = blocking::run(move || {
            let mut state = reloader.state.lock();
            state.refused = Some(refusal);
            file::write(&reloader.settings.data_dir.join(STATE_FILE), &*state)
        });
        let _ = noted.await;
        self.note(SecurityEvent::PolicyReloadRefused { why: &why }).await;
    }

    /// Counts, logs and records an event that has happened. Returns whether it is on record; where it is not, the log has
    /// an error.
    /// Counts, logs and records an event; whether it is on record.
    pub(super) async fn note(&self, event: SecurityEvent<'_>) -> bool {
        event.emit(self.policy.metrics());
        let Some(record) = self.record_of(&event) else { return false };
        let written = self.journal.append(record).await;
        if let Err(error) = &written {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, event = event.facts().name, "an event could not be recorded");
        }
        written.is_ok()
    }

    /// The record of an event, under the live policy version.
    pub(super) fn record_of(&self, event: &SecurityEvent<'_>) -> Option<Record> {
        let mut record = Record::of_event(event, self.clock.now_millis())?;
        record.policy_version = Some(self.policy.current().version().clone());
        Some(record)
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=REPORT_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
