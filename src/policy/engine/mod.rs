//! What decides: a request in, a verdict out, in microseconds and without a read from anywhere.
//!
//! Policies are compiled once for a set ([`compiled`]), found by what they apply to ([`index`]), and only the parts of a
//! request that some condition reads are handed to Cedar ([`projection`]). [`evaluate`] holds the only call of Cedar's
//! evaluator.

pub(crate) mod ancestry;
pub(crate) mod closure;
pub(crate) mod coerce;
pub(crate) mod compiled;
pub(crate) mod entity_cache;
pub(crate) mod evaluate;
pub(crate) mod extension;
pub(crate) mod index;
pub(crate) mod json;
pub(crate) mod projection;
pub(crate) mod reachability;
pub(crate) mod request;
pub(crate) mod schema_index;
pub(crate) mod types;
pub(crate) mod undeclared;
pub(crate) mod verdict;
