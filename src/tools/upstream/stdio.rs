//! A server as a child process that speaks on its standard input and output: an empty environment, a process group of its
//! own, and an end with the connection.

use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use process_wrap::tokio::{ChildWrapper, CommandWrap, KillOnDrop, ProcessGroup};
use serde_json::{Map, Value as Json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::mcp::{Id, Message, meta};
use crate::model::ServerName;
use crate::secret::Secret;
use crate::text::one_line;
use crate::tools::error::UpstreamError;

use super::UpstreamLimits;
use super::lines::{Line, LineReader};
use super::link::{CallEvents, Failure, Link};

/// Where programs are looked for when the settings give no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Lines of a child's standard error that are logged for one connection; the rest is read and dropped.
const MAX_LOGGED_LINES: usize = 500;
/// The longest of these lines that is logged, in bytes.
const MAX_LINE_BYTES: usize = 500;
/// Messages of the server for one request that wait to be taken. Of further notifications the rest is dropped, so that a caller
/// who does not read stops nobody else.
const WAITING: usize = 256;
/// Lines that wait to be written.
const QUEUED: usize = 16;

/// What a request waits for.
type Arrival = Result<Message, Failure>;

/// The pipes of a child: requests side by side, each with its answer by its id.
#[derive(Debug)]
pub(super) struct StdioWire {
    lines: mpsc::Sender<Vec<u8>>,
    waiting: Arc<Waiting>,
    closed: watch::Receiver<bool>,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
    _child: Child,
}

/// The requests under way.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<Id, Place>>);

#[derive(Debug)]
struct Place {
    arrivals: mpsc::Sender<Arrival>,
    /// The progress token that the server was given for the request.
    token: Option<Json>,
}

/// Takes a request out of the table when nobody waits for it any more.
struct Seat<'a> {
    waiting: &'a Waiting,
    id: Id,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.waiting.0.lock().remove(&self.id);
    }
}

/// Where the link is put once it is made: the reader is there before it.
pub(super) type LinkSlot = Arc<Mutex<Weak<Link>>>;

impl StdioWire {
    /// Starts the program. What the server says by itself goes to the link in `slot`.
    pub(super) fn spawn(
        server: &ServerName,
        command: &str,
        args: &[String],
        env: &[(String, Secret<String>)],
        limits: &UpstreamLimits,
        slot: LinkSlot,
    ) -> Result<Self, UpstreamError> {
        let (output, input, child) = spawn(server, command, args, env)?;
        let waiting = Arc::new(Waiting::default());
        let (closing, closed) = watch::channel(false);
        let lines = LineReader::new(BufReader::new(output), limits.response_bytes);
        let reader = read(lines, Arc::clone(&waiting), slot, limits.response_bytes, closing);
        let (queue, queued) = mpsc::channel(QUEUED);
        Ok(Self {
            lines: queue,
            waiting,
            closed,
            _reader: AbortOnDropHandle::new(tokio::spawn(reader)),
            _writer: AbortOnDropHandle::new(tokio::spawn(write(input, queued))),
            _child: child,
        })
    }

    /// Ends when the server's output has ended.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.clone();
        // An error means that the reader is gone, which is the same.
        let _ = closed.wait_for(|closed| *closed).await;
    }

    /// Hands a message over to be written. A sender that is dropped leaves no half line behind.
    pub(super) async fn send(&self, message: &Message) -> Result<(), Failure> {
        let mut line = message.to_vec();
        line.push(b'\n');
        self.lines.send(line).await.map_err(|_| ended())
    }

    /// A request of the handshake, whose answer is all that is waited for.
    pub(super) async fn first_request(
        &self,
        id: Id,
        method: &str,
        params: Map<String, Json>,
    ) -> Result<Map<String, Json>, Failure> {
        let mut arrivals = self.begin(id.clone(), method, params, None).await?;
        loop {
            match arrivals.receiver.recv().await.unwrap_or_else(|| Err(ended()))? {
                Message::Response { outcome, .. } => return outcome.map_err(Failure::Refused),
                _ => continue,
            }
        }
    }

    pub(super) async fn request(
        &self,
        link: &Arc<Link>,
        id: Id,
        method: &str,
        params: Map<String, Json>,
        events: Option<CallEvents>,
    ) -> Result<Map<String, Json>, Failure> {
        let token = params.get("_meta").and_then(|fields| fields.get(meta::PROGRESS_TOKEN)).cloned();
        let mut arrivals = self.begin(id, method, params, token).await?;
        loop {
            match arrivals.receiver.recv().await.unwrap_or_else(|| Err(ended()))? {
                Message::Response { outcome, .. } => return outcome.map_err(Failure::Refused),
                other => link.take(other, events.as_ref()).await,
            }
        }
    }

    async fn begin(
        &self,
        id: Id,
        method: &str,
        params: Map<String, Json>,
        token: Option<Json>,
    ) -> Result<Arrivals<'_>, Failure> {
        if *self.closed.borrow() {
            return Err(ended());
        }
        let (arrivals, receiver) = mpsc::channel(WAITING);
        self.waiting.0.lock().insert(id.clone(), Place { arrivals, token });
        let seat = Seat { waiting: &self.waiting, id: id.clone() };
        self.send(&Message::Request { id, method: method.to_owned(), params }).await?;
        Ok(Arrivals { receiver, _seat: seat })
    }
}

/// What comes for one request, until it is dropped.
struct Arrivals<'a> {
    receiver: mpsc::Receiver<Arrival>,
    _seat: Seat<'a>,
}

fn ended() -> Failure {
    Failure::Interrupted(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)))
}

/// Writes each line whole, until the pipe breaks or the wire is dropped.
async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if let Err(error) = input.write_all(&line).await {
            tracing::debug!(%error, "the input of the server is closed");
            return;
        }
    }
}

/// Reads to the end of the output and gives each message to whom it belongs.
async fn read(
    mut lines: LineReader<BufReader<ChildStdout>>,
    waiting: Arc<Waiting>,
    slot: LinkSlot,
    limit: usize,
    closing: watch::Sender<bool>,
) {
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                tracing::warn!(%error, "the output of the server cannot be read");
                break;
            }
        };
        match line {
            Line::Whole(line) => waiting.take(&line, &slot).await,
            Line::TooLong(beginning) => {
                tracing::warn!(limit, "a line of the server is too long and was left out");
                if let Some(id) = id_in_beginning(&beginning) {
                    waiting.arrive(&id, Err(Failure::TooLarge(limit))).await;
                }
            }
        }
    }
    let _ = closing.send(true);
    // Whoever waits learns that nothing comes any more.
    waiting.0.lock().clear();
}

impl Waiting {
    async fn take(&self, line: &[u8], slot: &LinkSlot) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        match Message::read(line) {
            Ok(Message::Response { id: Some(id), outcome }) => {
                self.arrive(&id, Ok(Message::Response { id: Some(id.clone()), outcome })).await;
            }
            Ok(Message::Response { id: None, .. }) => {
                tracing::debug!("an error of the server belongs to no request and was left out");
            }
            Ok(message) => self.take_by_token(message, slot).await,
            Err(error) => match &error.id {
                Some(id) => {
                    let why = one_line(&error.to_string(), 300);
                    self.arrive(id, Err(Failure::Unusable(why))).await;
                }
                None => {
                    tracing::debug!(%error, "a line of the server belongs to no request and was left out")
                }
            },
        }
    }

    /// Progress goes to the request whose token it has; anything else to the link.
    async fn take_by_token(&self, message: Message, slot: &LinkSlot) {
        if let Message::Notification { params, .. } = &message
            && let Some(token) = params.get(meta::PROGRESS_TOKEN)
        {
            let arrivals = {
                let table = self.0.lock();
                let place = table.values().find(|place| place.token.as_ref() == Some(token));
                place.map(|place| place.arrivals.clone())
            };
            // A place stays for the answer.
            if let Some(arrivals) = arrivals.filter(|arrivals| arrivals.capacity() > 1) {
                let _ = arrivals.try_send(Ok(message));
            }
            return;
        }
        let link = slot.lock().upgrade();
        if let Some(link) = link {
            link.take(message, None).await;
        }
    }

    async fn arrive(&self, id: &Id, arrival: Arrival) {
        let arrivals = self.0.lock().get(id).map(|place| place.arrivals.clone());
        match arrivals {
            // Who has gone meanwhile needs it no more.
            Some(arrivals) => drop(arrivals.try_send(arrival)),
            None => tracing::debug!("an answer of the server belongs to no request"),
        }
    }
}

/// The id of our request in the beginning of a line that was too long: `"id":7`, where it stands before the result.
fn id_in_beginning(beginning: &[u8]) -> Option<Id> {
    let text = String::from_utf8_lossy(beginning);
    let before_result = text.split("\"result\"").next()?;
    let after = before_result.split("\"id\"").nth(1)?.trim_start().strip_prefix(':')?.trim_start();
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().map(Id::Number)
}

/// The process; dropping this kills its whole group, by the id that this gateway started.
#[derive(Debug)]
struct Child {
    process: Box<dyn ChildWrapper>,
    _stderr: Option<AbortOnDropHandle<()>>,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Fails when the group has ended already.
        if let Err(error) = self.process.start_kill() {
            tracing::debug!(%error, "child process had ended");
        }
    }
}

fn spawn(
    server: &ServerName,
    command: &str,
    args: &[String],
    env: &[(String, Secret<String>)],
) -> Result<(ChildStdout, ChildStdin, Child), UpstreamError> {
    let mut wrap = CommandWrap::with_new(command, |process| {
        process
            .args(args)
            .env_clear()
            .env("PATH", DEFAULT_PATH)
            .envs(env.iter().map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    });
    wrap.wrap(KillOnDrop).wrap(ProcessGroup::leader());
    let mut process = wrap.spawn().map_err(UpstreamError::Spawn)?;
    let (Some(input), Some(output)) = (process.stdin().take(), process.stdout().take()) else {
        return Err(UpstreamError::Spawn(io::Error::other("the process has no standard input or output")));
    };
    let stderr = process
        .stderr()
        .take()
        .map(|stderr| AbortOnDropHandle::new(tokio::spawn(log_stderr(server.clone(), stderr))));
    Ok((output, input, Child { process, _stderr: stderr }))
}

/// Reads to the end, so that the child never blocks; logs a bounded part of it, cleaned.
async fn log_stderr(server: ServerName, mut stderr: ChildStderr) {
    let mut lines = StderrLines::default();
    let mut buffer = [0_u8; 4096];
    let mut logged = 0;
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        for line in lines.take_in(buffer.get(..read).unwrap_or_default()) {
            logged += 1;
            match logged {
                ..=MAX_LOGGED_LINES => tracing::info!(%server, line, "standard error of the server"),
                _ if logged == MAX_LOGGED_LINES + 1 => {
                    tracing::warn!(%server, "further standard error of the server is not logged");
                }
                _ => {}
            }
        }
    }
}

/// Splits bytes into cleaned lines, and keeps no more of an endless line than is logged.
#[derive(Default)]
struct StderrLines {
    open: Vec<u8>,
}

impl StderrLines {
    fn take_in(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for &byte in bytes {
            if byte == b'\n' {
                let line = one_line(&String::from_utf8_lossy(&self.open), MAX_LINE_BYTES);
                if !line.trim().is_empty() {
                    ended.push(line);
                }
                self.open.clear();
            } else if self.open.len() < MAX_LINE_BYTES * 4 {
                self.open.push(byte);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_line_that_is_too_long_is_found_where_it_stands_first() {
        let id = |text: &str| id_in_beginning(text.as_bytes());
        assert_eq!(id(r#"{"jsonrpc":"2.0", "id" : 12, "result":{"id":3"#), Some(Id::Number(12)));
        for other in [r#"{"jsonrpc":"2.0","result":{"id":3"#, r#"{"id":"x","result""#, "", r#"{"id""#] {
            assert_eq!(id(other), None, "{other}");
        }
    }

    #[test]
    fn standard_error_is_cleaned_and_bounded() {
        let mut lines = StderrLines::default();
        assert!(lines.take_in(b"a\x1b[31mb").is_empty());
        assert_eq!(lines.take_in(b"c\n\n  \nd\xff\n"), ["a [31mbc", "d\u{fffd}"]);
        assert!(lines.take_in(&vec![b'x'; 1_000_000]).is_empty());
        assert_eq!(lines.open.len(), MAX_LINE_BYTES * 4);
        assert_eq!(lines.take_in(b"\n")[0].len(), MAX_LINE_BYTES);
    }
}
