//! What every implementation of a port has to pass: one suite for each, over any implementation.

pub(crate) mod conversations;
pub(crate) mod counters;
pub(crate) mod emergency_lock;
pub(crate) mod followers;
pub(crate) mod lockdown;
pub(crate) mod replay;
pub(crate) mod sessions;

use std::future::Future;

use futures::future::join_all;

/// The results of `work`, done `times` times at once on the threads of the runtime.
async fn at_once<T, F>(times: usize, work: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = (0..times).map(|number| tokio::spawn(work(number))).collect();
    join_all(tasks).await.into_iter().map(|done| done.unwrap()).collect()
}
