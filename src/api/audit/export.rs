//! All records that match, as a file.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::SHOWN;
use super::query::{ExportQuery, filter_of};
use super::slots::ReaderSlot;
use crate::api::address::Query;
use crate::api::caller::Caller;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::audit::query::{Filter, FoundRecord};
use crate::authz::Permit;
use crate::blocking;
use crate::decision_log::DecisionLog;
use crate::model::ExportAudit;
use crate::siem::export::{ExportFormat, ExportWriter};

/// Bytes that are sent at once, and pieces that wait to be sent.
const PIECE: usize = 64 << 10;
const WAITING: usize = 4;
/// How long the client may take for a piece, and for the whole.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// `None` is the end of a whole export: what ends without it is a part.
type Piece = Result<Option<Bytes>, io::Error>;

/// Every record that matches, oldest first.
pub(in crate::api) async fn export(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(ask): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let (form, words) = ask.split();
    let format = ExportFormat::parse(form.format.as_deref().unwrap_or("json"))
        .map_err(|error| Problem::malformed(crate::text::one_line(&error.to_string(), SHOWN)))?;
    let filter = filter_of(&api, words)?;
    let permit = caller.admit(&api, ExportAudit).await?;
    // Held by the work and by the answer, which waits for its client.
    let slot = Arc::new(ReaderSlot::take(&api.audit_readers, caller.subject.principal())?);
    let held = Arc::clone(&slot);
    let (pieces, received) = mpsc::channel::<Piece>(WAITING);
    let log = api.decision_log.clone();
    let runtime = Handle::current();
    let writer = Writer { api, out: ExportWriter::new(format), pieces, runtime, piece: Vec::new() };
    // It ends by itself when the client is gone.
    tokio::spawn(blocking::run(move || write(&log, permit, &filter, writer, slot)));
    let body = stream::unfold((Some(received), held), |(received, held)| async {
        let mut received = received?;
        match received.recv().await {
            Some(Ok(Some(piece))) => Some((Ok(piece), (Some(received), held))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(error), (None, held))),
            None => Some((Err(io::Error::other("the export was cut off")), (None, held))),
        }
    });
    let name = format!("attachment; filename=\"audit.{}\"", format.as_str());
    let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()))];
    headers.extend(HeaderValue::from_str(&name).map(|name| (header::CONTENT_DISPOSITION, name)));
    let mut response = Body::from_stream(body).into_response();
    response.headers_mut().extend(headers);
    Ok(response)
}

/// An answer whose length is not known ends with an error when it is not whole, so that nobody takes a part for all of it.
fn write(
    log: &DecisionLog,
    permit: Permit<ExportAudit>,
    filter: &Filter,
    mut writer: Writer,
    slot: Arc<ReaderSlot>,
) {
    let until = Instant::now() + LONGEST;
    let mut failed = writer.out.write_head(&mut writer.piece).err();
    // Also where nothing matches for long: the client may be gone.
    let (api, pieces) = (Arc::clone(&writer.api), writer.pieces.clone());
    let mut ended = None;
    let mut goes_on = || {
        ended = why_ended(&api, &pieces, until);
        ended.is_none()
    };
    let read = log.export(permit, filter, &mut goes_on, &mut |record| match writer.add(&record) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    failed = failed.or(ended);
    if let Err(error) = read {
        tracing::error!(error = &error as &dyn std::error::Error, "the decision log could not be exported");
        failed = Some(io::Error::other("the decision log could not be read"));
    }
    let sent = match failed {
        None => writer.send().and_then(|()| writer.send_piece(Ok(None))),
        Some(error) => writer.send_piece(Err(error)),
    };
    if let Err(error) = sent {
        tracing::debug!(error = &error as &dyn std::error::Error, "an export ended before its end");
    }
    drop(slot);
}

/// Why an export has to end before its end.
fn why_ended(api: &Api, pieces: &mpsc::Sender<Piece>, until: Instant) -> Option<io::Error> {
    if pieces.is_closed() {
        return Some(io::ErrorKind::BrokenPipe.into());
    }
    if Instant::now() >= until {
        return Some(io::Error::other("the export took too long: ask for a shorter time"));
    }
    (!api.readiness.is_ready()).then(|| io::Error::other("the gateway stops"))
}

/// Collects records into pieces and sends them.
struct Writer {
    api: Arc<Api>,
    out: ExportWriter,
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
    piece: Vec<u8>,
}

impl Writer {
    fn add(&mut self, record: &FoundRecord) -> io::Result<()> {
        self.out.write_record(record, &mut self.piece)?;
        if self.piece.len() >= PIECE { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        self.send_piece(Ok(Some(piece.into())))
    }

    /// Waits for a client that is slow, but not for one that has stopped reading.
    fn send_piece(&self, piece: Piece) -> io::Result<()> {
        let sent = self.runtime.block_on(tokio::time::timeout(PATIENCE, self.pieces.send(piece)));
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}
