//! Changes of the live policy set: reading another set, checking it, and swapping it in.
//!
//! An owner of an effect like memory or tools: a requested change takes the permit for it. A change that the gateway makes
//! by itself (a signal, a watched file, a bundle from the network) is recorded as well, before it takes effect.

mod file;
mod loader;
mod lock;
mod reload;

pub use loader::{Fragments, PolicyLoader, PolicySource, SourceError, sources_from_dirs};
pub use lock::ChangeLock;
pub use reload::{
    Cause, ChangeState, Publications, RefusedChange, ReloadError, ReloadSettings, Reloader, Startup,
    StartupError, StartupState, load_startup,
};

pub use crate::shared_state::{EmergencyLock, EngageError, EngagedLock};
