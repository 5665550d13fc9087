//! The decision log, for those who may read it: pages of records, a stream of what comes, and an export.

mod checkpoint;
mod cursor;
mod export;
mod query;
mod record;
mod slots;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

pub(super) use self::checkpoint::{SignedCheckpoint, checkpoint};
use self::cursor::Cursor;
pub(super) use self::export::export;
use self::query::filter_of;
pub(super) use self::query::{EventsQuery, ExportQuery, StreamQuery};
pub(super) use self::record::{EventBody, RecordedEvent, record};
pub use self::slots::AuditReaders;
use self::slots::ReaderSlot;
pub(super) use self::stream::stream;
use super::address::Query;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::audit::query::{Bounds, LogSearch, Order, QueryError};
use crate::heavy;
use crate::model::ReadAudit;

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Events {
    #[schema(value_type = Vec<Object>)]
    events: Vec<Value>,
    /// Where the next page begins; absent when there are no more records.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// The most records in one answer, and how many when the caller does not say.
const MOST: usize = 1_000;
const PAGE: usize = 100;
/// How much one request may read: a page that ends earlier has a cursor, too.
const MOST_LINES: u64 = 100_000;
const MOST_BYTES: usize = 8 << 20;
const LONGEST: Duration = Duration::from_secs(5);
/// Characters of a wrong word that are shown.
const SHOWN: usize = 200;
/// When an index that is behind may have caught up.
const LATER: Duration = Duration::from_secs(5);

/// A page of the records that match.
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(ask): Query<EventsQuery>,
) -> Result<Json<Events>, Problem> {
    let (paging, words) = ask.split();
    let order = order_of(paging.order.as_deref())?;
    let question = Cursor::question(&words, order);
    let after = paging.cursor.map(|cursor| Cursor::read(&cursor, question)).transpose()?;
    let mut filter = filter_of(&api, words)?;
    filter.limit = Some(paging.limit.unwrap_or(PAGE).min(MOST));
    if filter.limit == Some(0) {
        return Err(Problem::malformed("`limit` is 0: leave it out for the default"));
    }
    let permit = caller.admit(&api, ReadAudit).await?;
    let slot = ReaderSlot::take(&api.audit_readers, caller.subject.principal())?;
    let log = api.decision_log.clone();
    // A search computes for seconds where no index helps; it does not compete with decisions.
    let found = heavy::compute(move || {
        // Held until the work is done, also when the caller has gone.
        let _slot = slot;
        let until = Some(Instant::now() + LONGEST);
        let bounds = Bounds { lines: MOST_LINES, bytes: MOST_BYTES, until };
        log.search(permit, &LogSearch { filter: &filter, order, after, use_index: true, bounds })
    });
    let found = found.await?.map_err(|error| unread(&error))?;
    let next_cursor = found.next.map(|after| Cursor { question, after }.to_string());
    let events = found.records.into_iter().map(|record| record.json).collect();
    Ok(Json(Events { events, next_cursor }))
}

fn order_of(word: Option<&str>) -> Result<Order, Problem> {
    match word {
        None | Some("newest") => Ok(Order::NewestFirst),
        Some("oldest") => Ok(Order::OldestFirst),
        Some(word) => {
            let word = crate::text::one_line(word, SHOWN);
            Err(Problem::malformed(format!("`{word}` is not an order, use `newest` or `oldest`")))
        }
    }
}

/// The log could not be read.
fn unread(error: &QueryError) -> Problem {
    if let QueryError::Behind { .. } = error {
        return Problem::busy("the index of the decision log is being built", LATER);
    }
    let help = match error {
        QueryError::Index(error) => error.help(),
        QueryError::Read { .. } | QueryError::Behind { .. } => "",
    };
    tracing::error!(error = error as &dyn std::error::Error, help, "the decision log could not be read");
    Problem::internal()
}
