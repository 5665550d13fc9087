//! The policy set that a gateway starts with.

use std::path::PathBuf;
use std::sync::Arc;

use super::ReloadSettings;
use super::state::{ChangeState, STATE_FILE};
use crate::changes::loader::{PolicyLoader, SourceError};
use crate::policy::live::{Live, Origin};
use crate::policy::{Bundle, PolicyErrors};
use crate::shared_state::{EmergencyLock, Unavailable};

/// The policy set that a gateway starts with.
pub struct Startup {
    /// The set that decides from the start.
    pub live: Live,
    state: ChangeState,
}

/// Why a gateway has no policy set to start with.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// The set could not be read, or may not decide.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The set is not valid.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
    /// The emergency lock cannot be asked, and counts as engaged.
    #[error(transparent)]
    Lock(#[from] Unavailable),
    /// What was accepted before cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Facts {
        /// Which file.
        path: PathBuf,
        /// The system error.
        #[source]
        source: std::io::Error,
    },
    /// The files are not those that were live when the emergency lock was engaged.
    #[error("changes are locked, and the policies are {found}, not {locked}")]
    Locked {
        /// The version that the lock names.
        locked: String,
        /// The version of the files.
        found: String,
    },
}

/// Reads the policy set that a gateway starts with, under the same rules as every change.
pub fn load_startup(
    loader: &PolicyLoader,
    lock: &dyn EmergencyLock,
    settings: &ReloadSettings,
    policy: crate::policy::Settings,
    now_millis: i64,
) -> Result<Startup, StartupError> {
    let facts = |path: PathBuf| move |source| StartupError::Facts { path, source };
    let engaged = lock.engaged()?;
    let path = settings.data_dir.join(STATE_FILE);
    let state = ChangeState::read(&settings.data_dir).map_err(facts(path))?;
    let only = engaged.as_ref().map(|engaged| &engaged.version);
    let loaded = loader.read_at_start(state.seen.clone(), only, now_millis)?;
    let origin = loaded.origin;
    let stored = loaded.stored;
    let expires_millis = loaded.expires_millis;
    let bundle = Bundle::load_with(loaded.sources, policy).map_err(StartupError::Policies)?;
    // The first reload, which the gateway makes when it is up, looks at the candidate as well.
    let live = Live { bundle: Arc::new(bundle), origin, stored, expires_millis, candidate: None };
    if let (Some(engaged), Origin::Files) = (&engaged, &live.origin)
        && engaged.version != *live.stored()
    {
        let locked = engaged.version.short().to_owned();
        let found = live.stored().short().to_owned();
        return Err(StartupError::Locked { locked, found });
    }
    Ok(Startup { live, state })
}

/// The persistent state that [`load_startup`] read, for the reloader.
pub struct StartupState(pub(super) ChangeState);

impl Startup {
    /// The live set, and the state for the reloader.
    pub fn split(self) -> (Live, StartupState) {
        (self.live, StartupState(self.state))
    }
}
