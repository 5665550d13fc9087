//! The sessions of clients of the versions that have them. A session belongs to the principal that opened it, holds what a
//! request cannot carry, and gives no right: each message in it is decided by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::names::Scope;
use crate::clock::SharedClock;
use crate::mcp::{Id, Message, RpcError, Version};
use crate::model::EntityUid;
use crate::tools::{ClientSession, FromServer};

/// A session that was idle for this long ends.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How often sessions that were idle too long are looked for.
const SWEEP_MILLIS: i64 = 60_000;
/// The most sessions of one principal; the one idle longest makes room.
const MOST_OF_ONE: usize = 100;
/// The most sessions in all.
const MOST: usize = 20_000;
/// The most requests of servers that wait for the client's answer in one session.
const MOST_WAITING: usize = 32;

/// Messages of servers that wait for the client's stream; further ones are dropped.
const MOST_ASIDE: usize = 64;

/// The most messages of a stream that are kept for a client that lost the connection, and their most bytes of JSON. A longer one
/// than the third is not kept.
const MOST_KEPT: usize = 64;
const MOST_KEPT_BYTES: usize = 64 * 1024;
const LONGEST_KEPT: usize = 16 * 1024;

/// What the client of a session answered to a request of a server.
pub(super) type Answer = Result<Map<String, Json>, RpcError>;

/// All open sessions.
pub(super) struct McpSessions {
    clock: SharedClock,
    /// When sessions that were idle too long were last looked for, in milliseconds since the Unix epoch.
    swept: AtomicI64,
    table: Mutex<HashMap<Box<str>, Arc<Session>>>,
}

/// One session.
pub(super) struct Session {
    pub(super) id: Box<str>,
    principal: EntityUid,
    pub(super) scope: Scope,
    /// What concerns the servers behind the gateway.
    pub(super) client: Arc<ClientSession>,
    /// What servers say outside of requests. Taken by the client's stream, while it has one.
    aside: Mutex<Option<AsideMessages>>,
    /// What went out on the stream last, for a client that lost the connection.
    sent: Mutex<SentEvents>,
    last_used: AtomicI64,
    /// Requests of the client that can be cancelled.
    under_way: Mutex<HashMap<Id, Arc<Notify>>>,
    /// Requests of servers that the client has not answered.
    waiting: Mutex<HashMap<Id, oneshot::Sender<Answer>>>,
    next_id: AtomicI64,
    /// Before the number of a question: a server cannot guess the id of another's.
    id_prefix: Box<str>,
    /// The session has ended: its streams end too.
    pub(super) ended: Notify,
}

/// What comes for the stream of a session.
struct AsideMessages {
    said: mpsc::Receiver<FromServer>,
    /// Counts the changes of what clients may see. What changed while there was no stream is told on the next.
    changes: watch::Receiver<u64>,
}

/// The last events of a stream: the number of each is its id (`Last-Event-ID`).
#[derive(Default)]
struct SentEvents {
    last: u64,
    bytes: usize,
    kept: VecDeque<SentEvent>,
}

/// An event of a stream: its number, and its message as JSON text.
#[derive(Debug, Clone)]
pub(super) struct SentEvent {
    pub(super) number: u64,
    pub(super) text: Arc<str>,
}

impl SentEvents {
    /// Numbers a message that goes out.
    fn note(&mut self, message: &Message) -> SentEvent {
        self.last += 1;
        let text = String::from_utf8(message.to_vec()).unwrap_or_default();
        let event = SentEvent { number: self.last, text: text.into() };
        if event.text.len() <= LONGEST_KEPT {
            self.bytes += event.text.len();
            self.kept.push_back(event.clone());
        }
        while self.kept.len() > MOST_KEPT || self.bytes > MOST_KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.bytes -= oldest.text.len();
        }
        event
    }

    /// What is kept of what went out after an event.
    fn after(&self, number: u64) -> VecDeque<SentEvent> {
        self.kept.iter().filter(|event| event.number > number).cloned().collect()
    }
}

/// There is no room for another session.
#[derive(Debug, thiserror::Error)]
#[error("too many sessions are open at the moment")]
pub(super) struct SessionsFull;

impl McpSessions {
    /// No session is open.
    pub(super) fn new(clock: SharedClock) -> Self {
        let swept = AtomicI64::new(clock.now_millis());
        Self { clock, swept, table: Mutex::default() }
    }

    /// Opens a session.
    pub(super) fn open(
        &self,
        principal: &EntityUid,
        scope: Scope,
        version: Version,
        (capabilities, changes): (Map<String, Json>, watch::Receiver<u64>),
    ) -> Result<Arc<Session>, SessionsFull> {
        let mut random = [0_u8; 24];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| SessionsFull)?;
        let id: Box<str> = hex::encode(random).into();
        let mut prefix = [0_u8; 8];
        aws_lc_rs::rand::fill(&mut prefix).map_err(|_| SessionsFull)?;
        let now = self.clock.now_millis();
        let mut table = self.table.lock();
        drop_idle(&mut table, now);
        let own = table.values().filter(|session| session.principal == *principal);
        if own.clone().count() >= MOST_OF_ONE
            && let Some(oldest) = own.min_by_key(|session| session.last_used.load(Ordering::Relaxed)).cloned()
        {
            table.remove(&oldest.id);
            oldest.close();
        }
        if table.len() >= MOST {
            return Err(SessionsFull);
        }
        let (sender, said) = mpsc::channel(MOST_ASIDE);
        let session = Arc::new(Session {
            id: id.clone(),
            principal: principal.clone(),
            scope,
            client: Arc::new(ClientSession::new(version, capabilities, sender)),
            aside: Mutex::new(Some(AsideMessages { said, changes })),
            sent: Mutex::default(),
            last_used: AtomicI64::new(now),
            under_way: Mutex::default(),
            waiting: Mutex::default(),
            next_id: AtomicI64::new(1),
            id_prefix: hex::encode(prefix).into(),
            ended: Notify::new(),
        });
        table.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// The session of this id, if it is this principal's, for this address, and still live.
    pub(super) fn get(&self, id: &str, principal: &EntityUid, scope: &Scope) -> Option<Arc<Session>> {
        let now = self.clock.now_millis();
        let mut table = self.table.lock();
        // Their sessions at servers end with them.
        if now.saturating_sub(self.swept.load(Ordering::Relaxed)) > SWEEP_MILLIS {
            self.swept.store(now, Ordering::Relaxed);
            drop_idle(&mut table, now);
        }
        let session = table.get(id).filter(|session| session.is_live(now))?;
        if session.principal != *principal || session.scope != *scope {
            return None;
        }
        session.last_used.store(now, Ordering::Relaxed);
        Some(Arc::clone(session))
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session) {
        self.table.lock().remove(&session.id);
        session.close();
    }

    /// Whether a session is still open. Its stream keeps it so.
    pub(super) fn keep(&self, session: &Session) -> bool {
        session.last_used.store(self.clock.now_millis(), Ordering::Relaxed);
        self.table.lock().contains_key(&session.id)
    }
}

/// Ends the sessions that were idle too long.
fn drop_idle(table: &mut HashMap<Box<str>, Arc<Session>>, now: i64) {
    table.retain(|_, session| {
        let is_live = session.is_live(now);
        if !is_live {
            session.close();
        }
        is_live
    });
}

impl Session {
    /// Ends what waits for the client: its stream, and questions that it has not answered.
    fn close(&self) {
        self.waiting.lock().clear();
        self.ended.notify_waiters();
    }

    fn is_live(&self, now: i64) -> bool {
        let idle = now.saturating_sub(self.last_used.load(Ordering::Relaxed));
        idle < i64::try_from(IDLE.as_millis()).unwrap_or(i64::MAX)
    }

    /// What servers say outside of requests, until the stream that takes it ends.
    pub(super) fn take_aside(self: &Arc<Self>) -> Option<Aside> {
        let messages = self.aside.lock().take()?;
        Some(Aside { session: Arc::clone(self), messages: Some(messages) })
    }

    /// Numbers a message that goes out on the stream.
    pub(super) fn note_sent(&self, message: &Message) -> SentEvent {
        self.sent.lock().note(message)
    }

    /// What went out on the stream after an event, as far as it is kept; and the number of the last event.
    pub(super) fn sent_after(&self, number: Option<u64>) -> (VecDeque<SentEvent>, u64) {
        let sent = self.sent.lock();
        (number.map(|number| sent.after(number)).unwrap_or_default(), sent.last)
    }

    /// Notes that a request is under way, so that it can be cancelled.
    pub(super) fn begin(self: &Arc<Self>, id: &Id) -> UnderWay {
        let cancelled = Arc::new(Notify::new());
        self.under_way.lock().insert(id.clone(), Arc::clone(&cancelled));
        UnderWay { session: Arc::clone(self), id: id.clone(), cancelled }
    }

    /// Cancels a request of the client.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(cancelled) = self.under_way.lock().get(id) {
            cancelled.notify_one();
        }
    }

    /// An id for a request to the client, and what takes its answer. None when the client has too many to answer.
    pub(super) fn ask(self: &Arc<Self>) -> Option<(Id, ClientAnswer)> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MOST_WAITING {
            return None;
        }
        let id = Id::Text(format!("{}-{}", self.id_prefix, self.next_id.fetch_add(1, Ordering::Relaxed)));
        let (sender, receiver) = oneshot::channel();
        waiting.insert(id.clone(), sender);
        Some((id.clone(), ClientAnswer { session: Arc::clone(self), id, receiver }))
    }

    /// Takes the client's answer to a request of a server.
    pub(super) fn answer(&self, id: &Id, answer: Answer) {
        if let Some(sender) = self.waiting.lock().remove(id) {
            // The request may have ended meanwhile.
            let _ = sender.send(answer);
        }
    }
}

/// The messages for the one stream of a session; given back when the stream ends.
pub(super) struct Aside {
    session: Arc<Session>,
    messages: Option<AsideMessages>,
}

/// What is told on the stream of a session.
pub(super) enum SaidAside {
    /// What the client may see has changed.
    Changed,
    /// A server said something.
    Server(FromServer),
}

impl Aside {
    pub(super) async fn next(&mut self) -> Option<SaidAside> {
        let AsideMessages { said, changes } = self.messages.as_mut()?;
        tokio::select! {
            changed = changes.changed() => changed.ok().map(|()| SaidAside::Changed),
            said = said.recv() => said.map(SaidAside::Server),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        *self.session.aside.lock() = self.messages.take();
    }
}

/// A request of the client under way; dropped with its answer.
pub(super) struct UnderWay {
    session: Arc<Session>,
    id: Id,
    cancelled: Arc<Notify>,
}

impl UnderWay {
    pub(super) async fn cancelled(&self) {
        self.cancelled.notified().await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.session.under_way.lock();
        // A client that used an id twice has another request under it now.
        if under_way.get(&self.id).is_some_and(|known| Arc::ptr_eq(known, &self.cancelled)) {
            under_way.remove(&self.id);
        }
    }
}

/// Waits for the client's answer to a request of a server.
pub(super) struct ClientAnswer {
    session: Arc<Session>,
    id: Id,
    receiver: oneshot::Receiver<Answer>,
}

impl ClientAnswer {
    /// The answer; none when the session has ended.
    pub(super) async fn wait(mut self) -> Option<Answer> {
        (&mut self.receiver).await.ok()
    }
}

impl Drop for ClientAnswer {
    fn drop(&mut self) {
        self.session.waiting.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn who(name: &str) -> EntityUid {
        EntityUid::caxton("Service", name)
    }

    fn open_of(sessions: &McpSessions, name: &str) -> Arc<Session> {
        let changes = watch::Sender::new(0).subscribe();
        sessions.open(&who(name), Scope::All, Version::V2025_11_25, (Map::new(), changes)).unwrap()
    }

    #[test]
    fn what_went_out_last_is_kept_within_bounds() {
        let message = |text: &str| Message::Notification { method: text.to_owned(), params: Map::new() };
        let mut sent = SentEvents::default();
        for number in 1..=100 {
            assert_eq!(sent.note(&message("m")).number, number);
        }
        let numbers = |sent: &SentEvents, after| -> Vec<u64> {
            sent.after(after).iter().map(|event| event.number).collect()
        };
        assert_eq!(numbers(&sent, 98), [99, 100]);
        assert_eq!(numbers(&sent, 0).len(), MOST_KEPT);
        assert!(numbers(&sent, 100).is_empty() && numbers(&sent, u64::MAX).is_empty());
        for _ in 0..10 {
            sent.note(&message(&"x".repeat(LONGEST_KEPT - 100)));
        }
        assert_eq!(numbers(&sent, 0), [107, 108, 109, 110], "the bytes are bounded too");
        assert_eq!(sent.note(&message(&"x".repeat(LONGEST_KEPT))).number, 111, "it goes out and is not kept");
        assert_eq!(numbers(&sent, 109), [110]);
        assert!(sent.bytes <= MOST_KEPT_BYTES);
    }

    #[test]
    fn a_session_is_its_owners_for_its_address_and_for_a_while() {
        let clock = Arc::new(ManualClock::at_millis(0));
        let sessions = McpSessions::new(clock.clone());
        let open = |name: &str| open_of(&sessions, name);
        let session = open("a");
        assert!(sessions.get(&session.id, &who("a"), &Scope::All).is_some());
        assert!(sessions.get(&session.id, &who("b"), &Scope::All).is_none(), "of another principal");
        let one = Scope::One(crate::model::ServerName::parse("s").unwrap());
        assert!(sessions.get(&session.id, &who("a"), &one).is_none(), "at another address");
        assert!(sessions.get("other", &who("a"), &Scope::All).is_none());
        clock.advance(IDLE - Duration::from_secs(1));
        assert!(sessions.get(&session.id, &who("a"), &Scope::All).is_some(), "it was used again");
        clock.advance(IDLE);
        assert!(sessions.get(&session.id, &who("a"), &Scope::All).is_none(), "it was idle too long");
        let session = open("a");
        sessions.end(&session);
        assert!(sessions.get(&session.id, &who("a"), &Scope::All).is_none());
    }

    #[test]
    fn one_principal_has_so_many_sessions_and_takes_none_from_others() {
        let clock = Arc::new(ManualClock::at_millis(0));
        let sessions = McpSessions::new(clock.clone());
        let open = |name: &str| open_of(&sessions, name);
        let others = open("b");
        let first = open("a");
        for _ in 0..MOST_OF_ONE {
            clock.advance(Duration::from_millis(1));
            open("a");
        }
        assert!(sessions.get(&first.id, &who("a"), &Scope::All).is_none(), "the oldest made room");
        assert!(sessions.get(&others.id, &who("b"), &Scope::All).is_some());
        assert_eq!(sessions.table.lock().len(), MOST_OF_ONE + 1);
    }

    #[tokio::test]
    async fn answers_find_their_requests_and_leave_nothing_behind() {
        let sessions = McpSessions::new(Arc::new(ManualClock::at_millis(0)));
        let session = open_of(&sessions, "a");
        let (id, answer) = session.ask().unwrap();
        session.answer(&Id::Number(7), Ok(Map::new()));
        session.answer(&id, Ok(Map::new()));
        assert!(answer.wait().await.unwrap().is_ok());
        let held: Vec<_> = (0..MOST_WAITING).map(|_| session.ask().unwrap()).collect();
        assert!(session.ask().is_none());
        drop(held);
        assert!(session.waiting.lock().is_empty());
        let under_way = session.begin(&Id::Number(1));
        session.cancel(&Id::Number(2));
        session.cancel(&Id::Number(1));
        under_way.cancelled().await;
        drop(under_way);
        assert!(session.under_way.lock().is_empty());
    }
}
