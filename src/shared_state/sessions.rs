//! What each principal has done so far: counters and labels that policies may ask about.
//!
//! A session belongs to its principal, and for an agent to the conversation it is in. It is never named by
//! a header of the client: one who could name a session could begin a fresh one and shed its labels.

mod local;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::PortFuture;
use crate::model::{EntityUid, SessionFacts, ToolId};

pub use local::LocalSessions;

/// Bounds of the session table.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// A session that was idle for this long is forgotten. Default 15 minutes.
    pub timeout: Duration,
    /// The most sessions kept; the one idle longest makes room. Default 100,000.
    pub capacity: usize,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(15 * 60), capacity: 100_000 }
    }
}

/// Identifies a session: its principal, and the conversation in which an agent acts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    principal: EntityUid,
    conversation: Option<Arc<str>>,
}

impl SessionKey {
    /// The session of `principal`, in a conversation when there is one.
    pub fn new(principal: &EntityUid, conversation: Option<&Arc<str>>) -> Self {
        Self { principal: principal.clone(), conversation: conversation.cloned() }
    }
}

/// The most tools whose names a session remembers, so that a caller cannot grow it without end.
pub(super) const MOST_TOOLS: usize = 1_000;
/// The most labels of one session. What would add another is refused: a label that was dropped would be forgotten.
pub(super) const MOST_LABELS: usize = 64;

/// Labels of things that were read: `pii`.
pub type Labels = BTreeSet<Arc<str>>;

/// Whether an operation was counted on its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// It was.
    Counted,
    /// The session has no room for its labels, and nothing was counted.
    NoRoom,
}

/// The right to be the only one who decides about a tool call of a session; the next has it when this is dropped.
pub struct SessionTurn(#[expect(dead_code, reason = "held, and dropped")] Box<dyn Any + Send>);

impl SessionTurn {
    /// A turn that ends when `held` is dropped.
    pub fn new(held: impl Any + Send) -> Self {
        Self(Box::new(held))
    }
}

impl fmt::Debug for SessionTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionTurn").finish_non_exhaustive()
    }
}

/// The facts about sessions, and the turns of their tool calls.
///
/// A session begins with the first question about it and is forgotten when it was idle for its time. Every change is one
/// step. Calls at once cannot all be the last one allowed: who holds the turn from [`Sessions::facts`] to
/// [`Sessions::count`] is alone.
pub trait Sessions: Send + Sync + 'static {
    /// The facts as they stand before this decision.
    fn facts<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, SessionFacts>;

    /// Waits for the turn of the session's tool calls. Turns of other sessions are not waited for.
    fn turn<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, SessionTurn>;

    /// Counts an allowed call of `tool` and puts `labels` on the session, or does neither.
    fn count<'a>(
        &'a self,
        key: &'a SessionKey,
        tool: Option<&'a ToolId>,
        labels: &'a Labels,
    ) -> PortFuture<'a, Counted>;

    /// Counts a refusal.
    fn denied<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, ()>;

    /// The labels on the session.
    fn labels<'a>(&'a self, key: &'a SessionKey) -> PortFuture<'a, Labels>;
}
