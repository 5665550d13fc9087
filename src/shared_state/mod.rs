//! Ports for the state that the gateways of a fleet share: one trait for each kind of state, which one process keeps in
//! memory or in its data directory, and several keep in one place.
//!
//! A port says what must hold wherever the state is kept: which step is atomic, what is forgotten and when, which bound
//! refuses. Its suite in `contract` tests exactly that, and every implementation has to pass it. The embedded
//! implementation stands in the module that owns the state; the composition root chooses.
//!
//! An implementation that asks over a network bounds each wait itself, and answers [`Unavailable`] when the bound is reached.
//!
//! INVARIANT: what cannot be asked allows nothing. Each answer is a [`Result`] with [`Unavailable`], and its caller denies
//! what it would have decided by the answer.

#[cfg(test)]
pub(crate) mod contract;
mod conversations;
mod counters;
mod emergency_lock;
#[cfg(test)]
pub(crate) mod faulty;
mod followers;
mod lockdown;
mod replay;
mod sessions;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub use conversations::{
    ConversationKey, ConversationLimit, ConversationSettings, ConversationStore, LocalConversations, Message,
};
pub use counters::{
    AddressBlocks, CountedLimit, Limited, Rate, RateCounter, RateCounters, RateError, Remaining,
};
pub use emergency_lock::{EmergencyLock, EngageError, EngagedLock};
pub use followers::{FollowerCursors, FollowerName, FollowerNameError};
pub use lockdown::{LocalLockdown, Lockdown};
pub use replay::{NotFresh, ProofId, ReplayTable};
pub use sessions::{Counted, Labels, LocalSessions, SessionKey, SessionSettings, SessionTurn, Sessions};

/// Shared state could not be asked: the store is unreachable, too slow, or answered something else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{port}` cannot be asked: {cause}")]
pub struct Unavailable {
    /// The kind of state: `rate limits`, `sessions`.
    pub port: &'static str,
    /// The cause, for the operator.
    pub cause: Arc<str>,
}

impl Unavailable {
    /// State of this kind could not be asked.
    pub fn new(port: &'static str, cause: impl fmt::Display) -> Self {
        Self { port, cause: cause.to_string().into() }
    }

    /// State of this kind could not be asked, because of an error and its causes.
    fn with_cause(port: &'static str, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        Self { port, cause: text.into() }
    }

    /// Tells the operator. What was to be decided by the answer is denied.
    pub fn report(&self) {
        tracing::error!(
            port = self.port,
            cause = &*self.cause,
            "the shared state is not available, the request is denied"
        );
    }
}

/// The answer of a port, awaited. State in this process answers at once, and nothing is allocated for the wait.
#[must_use = "a port does nothing before its answer is awaited"]
pub struct PortFuture<'a, T>(Answer<'a, T>);

enum Answer<'a, T> {
    Now(Option<Result<T, Unavailable>>),
    Later(Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>),
}

impl<'a, T> PortFuture<'a, T> {
    /// The answer is there.
    pub fn now(answer: T) -> Self {
        Self(Answer::Now(Some(Ok(answer))))
    }

    /// There will be no answer.
    pub fn unavailable(why: Unavailable) -> Self {
        Self(Answer::Now(Some(Err(why))))
    }

    /// The answer is there, or the error that took its place.
    pub fn of<E: std::error::Error>(port: &'static str, answer: Result<T, E>) -> Self {
        Self(Answer::Now(Some(answer.map_err(|error| Unavailable::with_cause(port, &error)))))
    }

    /// The answer comes later.
    pub fn later(answer: impl Future<Output = Result<T, Unavailable>> + Send + 'a) -> Self {
        Self(Answer::Later(Box::pin(answer)))
    }
}

/// Nothing in it is pinned but the box.
impl<T> Unpin for PortFuture<'_, T> {}

impl<T> Future for PortFuture<'_, T> {
    type Output = Result<T, Unavailable>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Answer::Now(answer) => {
                let polled_again = || Err(Unavailable::new("port", "the answer was taken before"));
                Poll::Ready(answer.take().unwrap_or_else(polled_again))
            }
            Answer::Later(answer) => answer.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_comes_at_once_or_later_and_once() {
        assert_eq!(PortFuture::now(1).await, Ok(1));
        let later = PortFuture::later(async {
            tokio::task::yield_now().await;
            Ok(2)
        });
        assert_eq!(later.await, Ok(2));
        let mut taken = PortFuture::now(3);
        assert_eq!((&mut taken).await, Ok(3));
        assert!(taken.await.is_err());
    }
}
