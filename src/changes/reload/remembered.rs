//! What is remembered across a restart: what decides, the publication before which none counts, the lock, the last refusal.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Reloader;
use crate::agents::{Digests, RegisterDraft};
use crate::changes::file;
use crate::changes::lock::Engaged;
use crate::model::PolicyVersion;
use crate::policy::live::{Live, Origin};
use crate::policy::version::Seen;

/// The name of the file in the data directory that remembers what was accepted.
pub(super) const REMEMBERED: &str = "policy-state.json";

/// What is remembered across a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The version that decides.
    pub version: Option<PolicyVersion>,
    /// What of it lies in files or in the store, when tool servers brought schema of their own to it.
    #[serde(default)]
    pub stored: Option<PolicyVersion>,
    /// The emergency lock, as far as it is on record.
    #[serde(default)]
    pub locked: Option<Engaged>,
    /// The agents in force, each with its digest; `None`: that was never remembered.
    #[serde(default)]
    pub agents: Option<Digests>,
    /// The pins of tools by server, each with its digest; `None`: that was never remembered.
    #[serde(default)]
    pub pins: Option<BTreeMap<String, String>>,
    /// The publication that was accepted last; no older one is accepted again.
    pub seen: Option<Seen>,
    /// When that was, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// The last refusal, if nothing was accepted since.
    pub refused: Option<Refusal>,
}

/// A change that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// When, in milliseconds since the Unix epoch.
    pub time_millis: i64,
    /// What brought it about.
    pub cause: String,
    /// Why, for the operator.
    pub why: String,
}

impl Remembered {
    /// What a gateway with this data directory remembers; nothing when it never ran.
    pub fn read(data_dir: &Path) -> std::io::Result<Self> {
        Ok(file::read(&data_dir.join(REMEMBERED))?.unwrap_or_default())
    }
}

impl Reloader {
    pub(super) fn remember(&self, live: &Live, agents: Option<&RegisterDraft>) -> std::io::Result<()> {
        // Held across the write: a refusal that is noted meanwhile must not put the older mark back.
        let mut known = self.remembered.lock();
        let before = known.clone();
        let seen = match &live.origin {
            Origin::Files => before.seen,
            // Under the emergency lock an older one may be live; what was accepted stays the newest.
            Origin::Published { seen, .. } => match before.seen {
                Some(newer) if newer.sequence > seen.sequence => Some(newer),
                _ => Some(seen.clone()),
            },
        };
        let remembered = Remembered {
            version: Some(live.bundle.version().clone()),
            stored: live.stored.clone(),
            locked: before.locked,
            agents: agents.map(RegisterDraft::digests).or(before.agents),
            pins: before.pins,
            seen,
            time_millis: self.clock.now_millis(),
            refused: None,
        };
        file::write(&self.settings.data_dir.join(REMEMBERED), &remembered)?;
        *known = remembered;
        Ok(())
    }
}
