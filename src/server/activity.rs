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
    since: Instant,
    /// Whether a request was answered as one of a proven caller is.
    proven: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { running: 0, since: Instant::now(), proven: false })))
    }

    /// Counts a request until what is returned is dropped.
    pub(super) fn begin(&self) -> Running {
        self.0.lock().running += 1;
        Running(self.clone())
    }

    /// Whether a caller was proven here, and since when nothing happens; none while something does.
    pub(super) fn waits(&self) -> Option<(bool, Instant)> {
        let state = self.0.lock();
        (state.running == 0).then_some((state.proven, state.since))
    }

    /// Comes to its end when there has been no request for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = {
                let state = self.0.lock();
                let since = if state.running > 0 { Instant::now() } else { state.since };
                since + limit
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
pub(super) struct Running(Activity);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.running = state.running.saturating_sub(1);
        state.since = Instant::now();
    }
}

impl Running {
    /// Goes on until the body of the answer has been sent: an answer may be a stream of hours.
    pub(super) fn until_sent(self, answer: Response) -> Response {
        let status = answer.status();
        // Also a refusal by policy is the answer to a proven caller.
        if status.is_success() || status == StatusCode::FORBIDDEN {
            self.0.0.lock().proven = true;
        }
        answer.map(|inner| Body::new(Sending { inner, _running: self }))
    }
}

struct Sending {
    inner: Body,
    _running: Running,
}

impl HttpBody for Sending {
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
