//! What a client brings to the servers behind the gateway: its capabilities, and sessions of its own at servers that ask their
//! clients for something (versions before 2026-07-28).
//!
//! A server with sessions decides by the capabilities in `initialize` whether it may ask for a model's or a person's answer, and
//! keeps log level and subscriptions by session. So that no client gets what another asked for, such a client has a session of
//! its own there. Calls of all others share one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use serde_json::{Map, Value as Json};
use tokio::sync::OnceCell;
use tokio_util::task::AbortOnDropHandle;

use crate::mcp::{Version, extension};
use crate::model::ServerName;

use super::listening::Interest;
use super::tasks::BegunTask;
use super::upstream::{Connection, Link, ServerEvents};

/// Capabilities of a client that let a server ask it for something.
const ASKED_FOR: [&str; 3] = ["sampling", "elicitation", "roots"];

/// The client of a call.
#[derive(Debug, Clone)]
pub enum ClientSide {
    /// One with a session.
    Session(Arc<ClientSession>),
    /// One of version 2026-07-28: its capabilities come with each request.
    Stateless(Map<String, Json>),
}

impl ClientSide {
    /// What the client can do.
    pub(super) fn capabilities(&self) -> &Map<String, Json> {
        match self {
            Self::Session(session) => &session.capabilities,
            Self::Stateless(capabilities) => capabilities,
        }
    }

    /// Whether the client follows tasks. One with a session does not: there the methods are others.
    pub(super) fn follows_tasks(&self) -> bool {
        match self {
            Self::Session(_) => false,
            Self::Stateless(capabilities) => extension::declared(capabilities, extension::TASKS).is_some(),
        }
    }
}

/// What a client listens to at one server, and the task that does.
#[derive(Debug, Default)]
struct Listener {
    interest: Interest,
    task: Option<AbortOnDropHandle<()>>,
}

/// The part of a client's session that concerns the servers behind the gateway.
#[derive(Debug)]
pub struct ClientSession {
    pub(super) version: Version,
    pub(super) capabilities: Map<String, Json>,
    /// Takes what a server says outside of a call. When nobody takes it, it is dropped.
    pub(super) aside: ServerEvents,
    log_level: Mutex<Option<String>>,
    subscribes: AtomicBool,
    links: Mutex<HashMap<ServerName, Arc<OnceCell<Connection>>>>,
    /// What it listens to at servers of 2026-07-28.
    listens: Mutex<HashMap<ServerName, Listener>>,
}

impl ClientSession {
    /// A session of a client that speaks `version` and can do `capabilities`.
    pub fn new(version: Version, capabilities: Map<String, Json>, aside: ServerEvents) -> Self {
        Self {
            version,
            capabilities,
            aside,
            log_level: Mutex::default(),
            subscribes: AtomicBool::new(false),
            links: Mutex::default(),
            listens: Mutex::default(),
        }
    }

    /// Whether the client shows its person an address that it is given (2025-11-25, "URL Mode").
    pub fn takes_addresses(&self) -> bool {
        let elicitation = self.capabilities.get("elicitation");
        let by_url = elicitation.and_then(|elicitation| elicitation.get("url"));
        self.version == Version::V2025_11_25 && by_url.is_some_and(Json::is_object)
    }

    /// Whether the client expects an id at the beginning of a stream (2025-11-25).
    pub fn resumes_streams(&self) -> bool {
        self.version == Version::V2025_11_25
    }

    /// Whether the client declared this capability.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.contains_key(capability)
    }

    /// Whether its calls need a session of its own at a server that has sessions.
    pub(super) fn needs_own(&self) -> bool {
        ASKED_FOR.iter().any(|capability| self.can(capability))
            || self.subscribes.load(Ordering::Relaxed)
            || self.log_level.lock().is_some()
    }

    pub(super) fn log_level(&self) -> Option<String> {
        self.log_level.lock().clone()
    }

    pub(super) fn set_log_level(&self, level: String) {
        *self.log_level.lock() = Some(level);
    }

    pub(super) fn will_subscribe(&self) {
        self.subscribes.store(true, Ordering::Relaxed);
    }

    /// Changes what it listens to at a server. `change` gives the task that listens from now on, and whatever its caller wants to
    /// know; without a task the one before goes on.
    pub(super) fn change_interest<T>(
        &self,
        server: &ServerName,
        change: impl FnOnce(&mut Interest) -> (Option<AbortOnDropHandle<()>>, T),
    ) -> T {
        let mut listens = self.listens.lock();
        let listener = listens.entry(server.clone()).or_default();
        let (follows, told) = change(&mut listener.interest);
        if follows.is_some() || listener.interest == Interest::default() {
            listener.task = follows;
        }
        told
    }

    /// The place of its connection to a server.
    pub(super) fn place(&self, server: &ServerName) -> Arc<OnceCell<Connection>> {
        Arc::clone(self.links.lock().entry(server.clone()).or_default())
    }

    /// The connections that are open.
    pub(super) fn open_links(&self) -> Vec<(ServerName, Arc<Link>)> {
        let links = self.links.lock();
        let open = links
            .iter()
            .filter_map(|(server, place)| Some((server.clone(), Arc::clone(place.get()?.link()))));
        open.collect()
    }

    /// Closes the connection to a server; a later call opens it again.
    pub(super) fn close(&self, server: &ServerName) {
        self.links.lock().remove(server);
    }

    #[cfg(test)]
    pub(super) fn has_place(&self, server: &ServerName) -> bool {
        self.links.lock().contains_key(server)
    }

    /// The server has forgotten this connection's session.
    pub(super) fn forget(&self, server: &ServerName, lost: &Arc<Link>) {
        let mut links = self.links.lock();
        let is_lost = |place: &Arc<OnceCell<Connection>>| {
            place.get().is_some_and(|connection| Arc::ptr_eq(connection.link(), lost))
        };
        if links.get(server).is_some_and(is_lost) {
            links.remove(server);
        }
    }
}

/// A result of `tools/call`, `prompts/get` or `resources/read`.
#[derive(Debug)]
pub enum Answered<T> {
    /// The result.
    Complete(T),
    /// The server wants answers of the client first (2026-07-28): `inputRequests` and `requestState`.
    InputRequired(Map<String, Json>),
    /// The work of a call goes on, and the client follows it.
    Task(BegunTask),
}

impl<T> Answered<T> {
    /// The same with another result.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answered<U> {
        match self {
            Self::Complete(result) => Answered::Complete(change(result)),
            Self::InputRequired(round) => Answered::InputRequired(round),
            Self::Task(task) => Answered::Task(task),
        }
    }
}
