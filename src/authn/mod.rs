//! Authentication: turns a credential into a proven [`Subject`](crate::model::Subject) or a refusal.
//!
//! Each scheme answers one of three things: nothing was presented, what was presented is refused, or it is
//! proven. A refused credential is never passed over in favour of another one: a caller that presents two
//! must prove both, and both must name the same principal.
//!
//! A refusal has two texts. The caller learns only that credentials are missing, not valid, or expired; the
//! operator and the metrics learn the reason. No text ever holds the credential.

pub mod api_key;
mod chain;
pub mod dpop;
mod error;
pub mod issue;
pub mod jwt;
mod key_store;
pub mod mtls;
pub mod oauth2;
mod person;
mod schema;
mod scheme;
#[cfg(test)]
mod tests;
pub mod tokens;

pub use chain::{Authenticator, AuthnPorts, MethodStatus, Settings};
pub use error::AuthnError;
pub use jwt::{KeyDraft, KeyFiles};
pub use key_store::{HashedKey, KeyHolder, KeyRecord, KeyStore, KeyTable, LocalKeys, NewHash, NewKey};
pub use person::{LoggedIn, Person};
pub use scheme::{Evidence, Presented, Proven, Refused, RefusedKind};
pub use tokens::{Issued, PendingEvent, Renewal, Tokens};
