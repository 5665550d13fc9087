//! Whether anything happens on a connection: from the first byte of a request to the last of its answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Shared by a connection and its requests.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    running: usize,
    /// When the last request ended, or the connection came.
    idle_since: Instant,
    /// Whether a request was answered as one of a proven caller is.
    authenticated: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { running: 0, idle_since: Instant::now(), authenticated: false })))
    }

    /// Counts a request until what is returned is dropped.
    pub(super) fn begin(&self) -> RequestInProgress {
        self.0.lock().running += 1;
        RequestInProgress(self.clone())
    }

    /// Whether a caller was proven here, and since when nothing happens; none while something does.
    pub(super) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.0.lock();
        (state.running == 0).then_some((state.authenticated, state.idle_since))
    }

    /// Comes to its end when there has been no request for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = {
                let state = self.0.lock();
                let idle_since = if state.running > 0 { Instant::now() } else { state.idle_since };
                idle_since + limit
            };
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct RequestInProgress(Activity);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.running = state.running.saturating_sub(1);
        state.idle_since = Instant::now();
    }
}

impl RequestInProgress {
    /// Goes on until the body of the answer has been sent: an answer may be a stream of hours.
    pub(super) fn until_sent(self, answer: Response) -> Response {
        let status = answer.status();
        // Also a refusal by policy is the answer to a proven caller.
        if status.is_success() || status == StatusCode::FORBIDDEN {
            self.0.0.lock().authenticated = true;
        }
        answer.map(|inner| Body::new(TrackedBody { inner, _running: self }))
    }
}

struct TrackedBody {
    inner: Body,
    _running: RequestInProgress,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
