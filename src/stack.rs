//! The one place that says how much stack the threads have that parse, validate, evaluate, prove and drop policies.
//!
//! What they work on is bounded in its depth before ([`crate::policy`] refuses what nests deeper), and this is what that
//! depth needs. A stack is reserved and not taken: memory goes with the depth that is reached.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// The bytes of such a stack. A build without optimisation takes some 20 KB a level.
pub(crate) const BYTES: usize = 64 << 20;

/// Runs `work` on a thread of its own.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(BYTES).spawn(work)
}

/// The same for a thread that ends before its scope does.
pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().stack_size(BYTES).spawn_scoped(scope, work)
}
