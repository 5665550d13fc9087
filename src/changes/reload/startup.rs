//! What a gateway starts with.

use std::path::PathBuf;
use std::sync::Arc;

use super::ReloadSettings;
use super::state::{REMEMBERED, Remembered};
use crate::changes::lock::ChangeLock;
use crate::changes::loader::{PlaceError, Places};
use crate::policy::live::{Live, Origin};
use crate::policy::{Bundle, PolicyErrors};

/// What a gateway starts with.
pub struct First {
    /// What decides from the start.
    pub live: Live,
    remembered: Remembered,
}

/// Why a gateway has nothing to decide by.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    /// The set could not be read, or may not decide.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The set is not valid.
    #[error("the policies are not valid")]
    Policies(#[source] PolicyErrors),
    /// The lock, or what was accepted before, cannot be read.
    #[error("`{}` cannot be read", path.display())]
    Facts {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The files are not those that were live when the emergency lock was engaged.
    #[error("changes are locked, and the policies are {found}, not {locked}")]
    Locked {
        /// What the lock names.
        locked: String,
        /// What is there.
        found: String,
    },
}

/// Reads what a gateway starts with, under the same rules as every change.
pub fn first(
    places: &Places,
    settings: &ReloadSettings,
    policy: crate::policy::Settings,
    now_millis: i64,
) -> Result<First, FirstError> {
    let facts = |path: PathBuf| move |source| FirstError::Facts { path, source };
    let lock = ChangeLock::in_directory(&settings.data_dir);
    let engaged = lock.engaged().map_err(facts(lock.path().to_owned()))?;
    let path = settings.data_dir.join(REMEMBERED);
    let remembered = Remembered::read(&settings.data_dir).map_err(facts(path))?;
    let only = engaged.as_ref().map(|engaged| &engaged.version);
    let offered = places.read_first(remembered.seen.clone(), only, now_millis)?;
    let (origin, stored, expires_millis) = (offered.origin, offered.stored, offered.expires_millis);
    let bundle = Bundle::load_with(offered.sources, policy).map_err(FirstError::Policies)?;
    // The first reload, which the gateway makes when it is up, looks at the candidate as well.
    let live = Live { bundle: Arc::new(bundle), origin, stored, expires_millis, candidate: None };
    if let (Some(engaged), Origin::Files) = (&engaged, &live.origin)
        && engaged.version != *live.stored()
    {
        let (locked, found) = (engaged.version.short().to_owned(), live.stored().short().to_owned());
        return Err(FirstError::Locked { locked, found });
    }
    Ok(First { live, remembered })
}

/// What [`first`] found remembered; the rest of it goes to the live set.
pub struct FirstRemembered(pub(super) Remembered);

impl First {
    /// What to decide by, and what was remembered.
    pub fn split(self) -> (Live, FirstRemembered) {
        (self.live, FirstRemembered(self.remembered))
    }
}
