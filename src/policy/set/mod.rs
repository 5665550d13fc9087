//! A set of policies from its files to what decides: read, bounded, parsed, validated, and loaded as a whole or refused as
//! a whole.

pub(crate) mod annotations;
pub(crate) mod bundle;
pub(crate) mod conflict;
pub(crate) mod depth;
pub(crate) mod error;
pub(crate) mod links;
pub(crate) mod load;
pub(crate) mod policy_file;
pub(crate) mod roles;
pub(crate) mod settings;
pub(crate) mod shipped;
pub(crate) mod source;
pub(crate) mod text;
pub(crate) mod unresolved;
pub(crate) mod yaml;
