//! Changes of what decides: reading another set, judging it, and putting it in the place of the live one.
//!
//! An effect owner like memory or tools: who wants a change brings the permit for it. What the gateway does by itself (a
//! signal, a watched file, a bundle from the network) is recorded as well, before it takes effect.

mod file;
mod lock;
mod loader;
mod reload;

pub use lock::{ChangeLock, Engaged};
pub use loader::{Fragments, Place, PlaceError, Places, files};
pub use reload::{
    Cause, First, FirstError, FirstRemembered, Refusal, ReloadError, ReloadSettings, Reloader, Remembered,
    first,
};
