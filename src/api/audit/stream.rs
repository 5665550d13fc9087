//! Records as they come, as server-sent events. The id of an event is the number of its record, so a client that lost the
//! connection goes on after the last one that it has (`Last-Event-ID`).
//!
//! Whoever opened a stream was allowed to read once. So the credential is looked at again every ten seconds, the guard is
//! asked again each minute, on record, and after five minutes the stream ends in any case; clients open it again by themselves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::query::{StreamQuery, filter_of};
use super::slots::ReaderSlot;
use super::unread;
use crate::api::address::Query;
use crate::api::caller::Caller;
use crate::api::mcp::Lifetime;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::audit::query::Filter;
use crate::decision_log::{LogEvent, LogStream};
use crate::heavy;
use crate::mcp::HEADER_LAST_EVENT;
use crate::model::ReadAudit;

/// How often it is looked for new records.
const INTERVAL: Duration = Duration::from_millis(500);
/// How often the guard is asked again.
const DECIDE: Duration = Duration::from_secs(60);
/// Events that wait to be sent, and how long one may wait: a client that does not read is cut off.
const WAITING: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// The records that match, from now on or after a certain one.
pub(in crate::api) async fn stream(
    State(api): State<Arc<Api>>,
    caller: Caller,
    headers: HeaderMap,
    Query(ask): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let (begin, words) = ask.split();
    // By themselves clients send the field of the header; it is newer than the address that they opened first.
    let after = last_event(&headers)?.or(begin.after);
    let filter = filter_of(&api, words)?;
    let permit = caller.admit(&api, ReadAudit).await?;
    // Held by the source and by the answer, which waits for its client.
    let slot = Arc::new(ReaderSlot::take(&api.audit_readers, caller.subject.principal())?);
    let held = Arc::clone(&slot);
    let log = api.decision_log.clone();
    let opened = crate::blocking::run(move || log.follow(permit, after)).await?;
    let log = opened.map_err(|error| unread(&error))?;
    let lifetime = Lifetime::of(&api, &caller, &headers);
    let (events, received) = mpsc::channel::<Event>(WAITING);
    let source = Source { api, caller, filter: Arc::new(filter), log, lifetime, events, _slot: slot };
    tokio::spawn(source.run());
    let stream = stream::unfold((received, held), |(mut received, held)| async {
        received.recv().await.map(|event| (Ok::<_, Infallible>(event), (received, held)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// The number of the last record that a client has.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(named) = headers.get(&HEADER_LAST_EVENT) else { return Ok(None) };
    let number = named.to_str().ok().and_then(|text| text.parse().ok());
    number.map(Some).ok_or_else(|| Problem::malformed("`Last-Event-ID` is not the number of a record"))
}

/// Reads the log for one stream.
struct Source {
    api: Arc<Api>,
    caller: Caller,
    filter: Arc<Filter>,
    log: LogStream,
    lifetime: Lifetime,
    events: mpsc::Sender<Event>,
    _slot: Arc<ReaderSlot>,
}

impl Source {
    async fn run(mut self) {
        let mut decide = Instant::now() + DECIDE;
        loop {
            if !self.lifetime.goes_on().await {
                return;
            }
            if Instant::now() >= decide {
                decide = Instant::now() + DECIDE;
                let Ok(permit) = self.caller.admit(&self.api, ReadAudit).await else { return };
                self.log.renew(permit);
            }
            let filter = Arc::clone(&self.filter);
            let mut log = self.log;
            let read = heavy::compute(move || {
                let read = log.read(&filter);
                (log, read)
            });
            let Ok((log, read)) = read.await else { return };
            self.log = log;
            let found = match read {
                Ok(found) => found,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a stream of the decision log ended: it could not be read");
                    return;
                }
            };
            let is_at_end = found.is_at_end;
            if !send(&self.events, found.events).await {
                return;
            }
            if is_at_end {
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = self.events.closed() => return,
                }
            }
        }
    }
}

/// Whether the client still reads.
async fn send(events: &mpsc::Sender<Event>, found: VecDeque<LogEvent>) -> bool {
    for event in found {
        let event = match event {
            LogEvent::Record { seq, line } => Event::default().id(seq.to_string()).data(line),
            LogEvent::Gone { first, last } => {
                let text = format!("{{\"first\":{first},\"last\":{last}}}");
                Event::default().event("gone").id(last.to_string()).data(text)
            }
        };
        if !matches!(timeout(PATIENCE, events.send(event)).await, Ok(Ok(()))) {
            return false;
        }
    }
    !events.is_closed()
}
