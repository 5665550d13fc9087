//! The state that survives a restart: the live version, the oldest publication that is still accepted, the lock, the last
//! refusal.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{PreparedParts, Reloader};
use crate::agents::Digests;
use crate::changes::file;
use crate::model::PolicyVersion;
use crate::policy::live::{Live, Origin};
use crate::policy::version::Seen;
use crate::shared_state::EngagedLock;

/// The name of its file in the data directory.
pub(super) const STATE_FILE: &str = "policy-state.json";

/// The state that survives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeState {
    /// The version that decides.
    pub version: Option<PolicyVersion>,
    /// The version without schema fragments of tool servers, where there were any.
    #[serde(default)]
    pub stored: Option<PolicyVersion>,
    /// The emergency lock, as far as it is on record.
    #[serde(default)]
    pub locked: Option<EngagedLock>,
    /// The agents in force, each with its digest; `None`: they were never stored.
    #[serde(default)]
    pub agents: Option<Digests>,
    /// The pins of tools by server, each with its digest; `None`: they were never stored.
    #[serde(default)]
    pub pins: Option<BTreeMap<String, String>>,
    /// The publication that was accepted last; no older one is accepted again.
    pub seen: Option<Seen>,
    /// When that was, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The last refusal, if nothing was accepted since.
    pub refused: Option<RefusedChange>,
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedChange {
    /// When it was refused, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The cause of the change, as in records.
    pub cause: String,
    /// The reason, for the operator.
    pub why: String,
}

impl ChangeState {
    /// The state of this data directory; the default when no gateway has run there.
    pub fn read(data_dir: &Path) -> std::io::Result<Self> {
        Ok(file::read(&data_dir.join(STATE_FILE))?.unwrap_or_default())
    }
}

impl Reloader {
    pub(super) fn remember(&self, live: &Live, parts: Option<&PreparedParts>) -> std::io::Result<()> {
        // Held across the write: a refusal that is noted meanwhile must not put the older mark back.
        let mut known = self.state.lock();
        let before = known.clone();
        let seen = match &live.origin {
            Origin::Files => before.seen,
            // Under the emergency lock an older one may be live; what was accepted stays the newest.
            Origin::Published { seen, .. } => match before.seen {
                Some(newer) if newer.sequence > seen.sequence => Some(newer),
                _ => Some(seen.clone()),
            },
        };
        let state = ChangeState {
            version: Some(live.bundle.version().clone()),
            stored: live.stored.clone(),
            locked: before.locked,
            agents: parts.map(|parts| parts.agents.digests()).or(before.agents),
            pins: parts.map(|parts| parts.pins.digests().clone()).or(before.pins),
            seen,
            time_millis: self.clock.now_millis(),
            refused: None,
        };
        file::write(&self.settings.data_dir.join(STATE_FILE), &state)?;
        *known = state;
        Ok(())
    }
}
