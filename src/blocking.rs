//! Work off the async threads: files, SQLite, large parses and cryptography would hold up every request that shares the
//! thread.

use std::io;

/// The work did not run to its end: it panicked, or the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work stopped before its end")]
pub(crate) struct Stopped;

impl From<Stopped> for io::Error {
    fn from(stopped: Stopped) -> Self {
        Self::other(stopped)
    }
}

/// Runs `work` on a thread that may block and waits for it. It runs to its end also when its caller goes away.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopped> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Stopped)
}

/// [`run`] for work that can fail: that it stopped becomes an error of the caller's own.
pub(crate) async fn try_run<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Stopped> + Send + 'static,
{
    run(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_of_the_caller() {
        assert_eq!(run(|| 1).await, Ok(1));
        assert_eq!(run(|| panic!("on purpose")).await, Err::<(), _>(Stopped));
        let failed = try_run(|| -> io::Result<()> { panic!("on purpose") }).await;
        assert_eq!(failed.unwrap_err().to_string(), "the work stopped before its end");
    }
}
