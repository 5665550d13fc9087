//! Policy as versions: what is live has a digest, a history and, where it is wanted, a signature.
//!
//! A [`Manifest`] names every file of a policy set by its SHA-256, and the set by one digest over all of them. It says
//! who published it, when, why, in place of what, and what had been checked. A [`Published`] is a manifest with its
//! signatures; a [`BundleFile`] is one with the texts, in one file. The [`VersionStore`] keeps them: what is in it was
//! written whole, and what comes out of it is what went in, byte for byte, or an error.
//!
//! The threat: an attacker who can write to the store, or stands between it and the gateway, wants other policies to
//! decide: unsigned ones, ones signed by a key that is no longer trusted, an older set with a hole in it, or half a
//! set. [`Rules`] is what stops each of these.

mod bundle_file;
mod error;
mod key;
mod manifest;
mod remote;
mod rules;
mod source;
mod store;

pub use bundle_file::BundleFile;
pub use error::VersionError;
pub use key::{PublicKey, SigningKey, TrustedKeys};
pub use manifest::{
    Checks, CoverageShare, FileEntry, Kind, Manifest, ProofCounts, Published, Signature, TestCounts,
};
pub use remote::{BundleServer, RemoteError};
pub use rules::{Accepted, Rules, Seen};
pub use source::{VersionSource, Wanted};
pub use store::VersionStore;

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod tests;
