//! What clients listen to at servers: changes of lists and of resources.
//!
//! A server of 2026-07-28 is asked with one `subscriptions/listen` for each client that listens; one with sessions tells a client's
//! own session there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::authz::Permit;
use crate::mcp::{object, one_field};
use crate::model::{ListPrompts, ListResources, ServerName, Subject, SubscribeResource};

use super::auth::TokenError;
use super::error::ToolError;
use super::registry::{CallOptions, Registry};
use super::session::{ClientSession, ClientSide};
use super::upstream::{Failure, Link, ServerEvents, Upstream};

/// The pause before a subscription that ended is begun again.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a server has to say that it has begun.
const BEGIN_TIME: Duration = Duration::from_secs(2);
/// The most resources of one server that a client listens to.
const MOST_RESOURCES: usize = 256;

/// What a client listens to at one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interest {
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
}

impl Interest {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn params(&self) -> Map<String, Json> {
        let mut wanted = Map::new();
        if self.prompts {
            wanted.insert("promptsListChanged".to_owned(), true.into());
        }
        if self.resources {
            wanted.insert("resourcesListChanged".to_owned(), true.into());
        }
        if !self.uris.is_empty() {
            wanted.insert("resourceSubscriptions".to_owned(), json!(self.uris));
        }
        one_field("notifications", wanted)
    }
}

/// The rights of a client to listen.
#[derive(Debug, Default)]
pub struct ListenPermits {
    /// To changes of the list of prompts.
    pub prompts: Option<Permit<ListPrompts>>,
    /// To changes of the list of resources.
    pub resources: Option<Permit<ListResources>>,
    /// To changes of single resources.
    pub subscriptions: Vec<Permit<SubscribeResource>>,
}

impl Registry {
    /// Begins or ends a subscription in the client's session.
    pub async fn subscribe(
        &self,
        permit: Permit<SubscribeResource>,
        session: &Arc<ClientSession>,
    ) -> Result<Map<String, Json>, ToolError> {
        let caller = Arc::clone(permit.subject());
        let SubscribeResource { resource, begins } = permit.into_operation();
        session.will_subscribe();
        let upstream = self.upstreams(Some(&resource.server)).next();
        let unavailable = || ToolError::Unavailable { server: resource.server.clone() };
        let upstream = upstream.ok_or_else(unavailable)?;
        let own = upstream.own_link(&caller, session).await?;
        if own.is_none_or(|link| link.is_stateless()) {
            let way = upstream.way_of(&caller).await?;
            let change = |interest: &mut Interest| {
                if begins {
                    interest.uris.insert(resource.uri)
                } else {
                    interest.uris.remove(&resource.uri)
                };
            };
            return listen_at(&way.link, session, &resource.server, change).await;
        }
        let method = if begins { "resources/subscribe" } else { "resources/unsubscribe" };
        self.ask_as((&caller, &resource.server), method, one_field("uri", resource.uri), session).await
    }

    /// Listens at servers, of all or of one, for as long as the session lives. A server that does not take it is left out.
    pub async fn listen(
        &self,
        caller: &Arc<Subject>,
        permits: ListenPermits,
        only: Option<&ServerName>,
        session: &Arc<ClientSession>,
    ) {
        let prompts = permits.prompts.map(Permit::into_operation).is_some();
        let resources = permits.resources.map(Permit::into_operation).is_some();
        let subscriptions: Vec<SubscribeResource> =
            permits.subscriptions.into_iter().map(Permit::into_operation).collect();
        session.will_subscribe();
        for upstream in self.upstreams(only) {
            let server = &upstream.settings.name;
            let of_server = subscriptions.iter().filter(|operation| operation.resource.server == *server);
            let interest = Interest {
                prompts: prompts && self.offers(Some(server), "prompts"),
                resources: resources && self.offers(Some(server), "resources"),
                uris: of_server
                    .map(|operation| operation.resource.uri.clone())
                    .take(MOST_RESOURCES)
                    .collect(),
            };
            if interest.is_nothing() {
                continue;
            }
            if let Err(error) = self.listen_to(upstream, caller, interest, session).await {
                tracing::debug!(%server, %error, "a client does not hear of changes at this server");
            }
        }
    }

    async fn listen_to(
        &self,
        upstream: &Arc<Upstream>,
        caller: &Arc<Subject>,
        interest: Interest,
        session: &Arc<ClientSession>,
    ) -> Result<(), ToolError> {
        let server = &upstream.settings.name;
        let shared = upstream.link().ok_or_else(|| ToolError::Unavailable { server: server.clone() })?;
        if shared.is_stateless() {
            let way = upstream.way_of(caller).await?;
            return listen_at(&way.link, session, server, |own| *own = interest).await.map(drop);
        }
        // Its own session at the server hears of changes by itself; resources are named one by one.
        upstream.own_link(caller, session).await?;
        for uri in interest.uris {
            self.ask_as((caller, server), "resources/subscribe", one_field("uri", uri), session).await?;
        }
        Ok(())
    }

    async fn ask_as(
        &self,
        place: (&Arc<Subject>, &ServerName),
        method: &str,
        params: Map<String, Json>,
        session: &Arc<ClientSession>,
    ) -> Result<Map<String, Json>, ToolError> {
        let options = CallOptions { client: Some(ClientSide::Session(Arc::clone(session))), events: None };
        self.ask(place, method, params, options).await
    }
}

/// Changes what a session listens to at a server of 2026-07-28. Returns when the server has begun to tell, or does not say so in
/// time.
async fn listen_at(
    link: &Arc<Link>,
    session: &ClientSession,
    server: &ServerName,
    change: impl FnOnce(&mut Interest),
) -> Result<Map<String, Json>, ToolError> {
    let has_begun = Arc::new(Notify::new());
    let started = session.change_interest(server, |interest| {
        change(interest);
        if interest.uris.len() > MOST_RESOURCES {
            interest.uris.pop_last();
            return (None, None);
        }
        let follows = (!interest.is_nothing()).then(|| {
            let work =
                follow(Arc::clone(link), interest.clone(), session.aside.clone(), Arc::clone(&has_begun));
            AbortOnDropHandle::new(tokio::spawn(work))
        });
        let is_begun = follows.is_some();
        (follows, Some(is_begun))
    });
    match started {
        None => return Err(ToolError::TooLarge { limit: MOST_RESOURCES }),
        // What happens between the answer to the client and the beginning would not be told.
        Some(true) => drop(tokio::time::timeout(BEGIN_TIME, has_begun.notified()).await),
        Some(false) => {}
    }
    Ok(object(json!({})))
}

/// Listens for as long as the tokens of the link count: a subscription of an account ends with its connection.
async fn follow(link: Arc<Link>, interest: Interest, aside: ServerEvents, has_begun: Arc<Notify>) {
    tokio::select! {
        () = link.forgotten() => {}
        () = listen_again(&link, &interest, &aside, &has_begun) => {}
    }
}

async fn listen_again(link: &Arc<Link>, interest: &Interest, aside: &ServerEvents, has_begun: &Arc<Notify>) {
    loop {
        match link.listen(interest.params(), aside.clone(), Arc::clone(has_begun)).await {
            // The server has no such stream.
            Err(Failure::Refused(_) | Failure::Status(400 | 404 | 405 | 501)) => return,
            Err(Failure::NoToken(error)) if matches!(*error, TokenError::NotConnected) => return,
            Err(error) => tracing::debug!(%error, "a subscription at a server ended"),
            Ok(()) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}
