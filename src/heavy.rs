//! Threads of low priority, for what computes long on behalf of one caller: requests with large bodies, agents' turns,
//! long texts, guests.
//!
//! The attack: one caller keeps every core busy with work that its rate allows, and each short request of others waits for
//! a core. The operating system gives these threads a core only when the threads that answer short requests leave one.

use std::sync::OnceLock;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use crate::blocking::Stopped;
use crate::stack;

/// The threads, from the first use on; none where they could not be started.
static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

/// Runs a future on the threads of low priority. It ends with the one who waits for it.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Stopped> {
    AbortOnDropHandle::new(handle().spawn(future)).await.map_err(|_| Stopped)
}

/// Runs `work`, which computes and does not wait, on a thread of low priority. It runs to its end also when its caller
/// goes away.
pub(crate) async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stopped> {
    aside(work).await.map_err(|_| Stopped)
}

/// A worker that gives its other tasks away starts at once; a thread of the blocking pool would have to be woken first.
fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    match THREADS.get_or_init(start) {
        Some(threads) => threads.spawn(async { tokio::task::block_in_place(work) }),
        None => tokio::task::spawn_blocking(work),
    }
}

/// Without threads of its own such work runs among all other.
fn handle() -> Handle {
    THREADS.get_or_init(start).as_ref().map_or_else(Handle::current, |threads| threads.handle().clone())
}

fn start() -> Option<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let started = Builder::new_multi_thread()
        .worker_threads(cores)
        .thread_name("caxton-heavy")
        .thread_stack_size(stack::BYTES)
        .on_thread_start(lower_priority)
        .enable_all()
        .build();
    started
        .inspect_err(|error| {
            tracing::error!(error = error as &dyn std::error::Error, "no threads of low priority")
        })
        .ok()
}

/// Gives the thread, and those that it starts, the policy of Linux for work in the background (sched(7), `SCHED_IDLE`): a
/// thread of any other policy that wakes up takes its core at once.
fn lower_priority() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the priority of a thread could not be lowered"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scheduling policy of this thread (proc(5), `/proc/[pid]/stat`, field 41); 5 is `SCHED_IDLE`.
    fn policy() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, after_name) = stat.rsplit_once(')').unwrap();
        after_name.split_whitespace().nth(38).unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_threads_have_a_low_priority_and_this_one_has_not() {
        assert_eq!(compute(policy).await.unwrap(), "5");
        assert_eq!(run(async { policy() }).await.unwrap(), "5");
        // What starts there stays there, work that blocks included.
        let inner = run(async { tokio::task::spawn_blocking(policy).await.unwrap() }).await;
        assert_eq!((inner.unwrap().as_str(), policy().as_str()), ("5", "0"));
    }

    #[tokio::test]
    async fn a_future_ends_with_who_waits_for_it_and_work_that_computes_does_not() {
        let (dropped, gone) = tokio::sync::oneshot::channel::<()>();
        let waits = run(async move {
            let _held = dropped;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), waits).await.is_err());
        assert!(gone.await.is_err(), "it was dropped");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (done, ended) = tokio::sync::oneshot::channel();
        let mut work = Box::pin(compute(move || {
            wait.recv().unwrap();
            done.send(()).unwrap();
        }));
        assert!(futures::poll!(work.as_mut()).is_pending());
        drop(work);
        go.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_of_the_caller() {
        assert_eq!(compute(|| panic!("on purpose")).await, Err::<(), _>(Stopped));
        assert_eq!(run(async { panic!("on purpose") }).await, Err::<(), _>(Stopped));
    }
}
