//! The end of a connection: by who has it, by an administrator, by another account in its place, with the last API key of its
//! principal, or when it was not used for long.
//!
//! INVARIANT: what is under way for a connection ends before its row does, so that nothing brings back what was ended.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::ConnectionError;
use super::store::{ConnectionFacts, RemovedAccount};
use crate::authz::Permit;
use crate::credentials::KeylessPrincipal;
use crate::events::SecurityEvent;
use crate::model::{EndConnection, ServerName};
use crate::tools::auth::holder_of;
use crate::tools::error::chain;
use crate::tools::registry::Registry;

/// A connection that has ended.
#[derive(Debug, Clone, Copy)]
pub struct EndedConnection {
    /// Whether its tokens were revoked at the authorization server too.
    pub revoked: bool,
}

impl Registry {
    /// Ends a connection: the tokens are forgotten here, and then revoked at the authorization server.
    pub async fn end_connection(
        &self,
        permit: Permit<EndConnection>,
    ) -> Result<EndedConnection, ConnectionError> {
        let subject = Arc::clone(permit.subject());
        let EndConnection { server, of } = permit.into_operation();
        let holder = of.or_else(|| holder_of(&subject)).ok_or(ConnectionError::Delegated)?;
        self.connections().flows.forget(|ongoing| {
            *ongoing.server() == server && ongoing.subject().principal().to_string() == holder
        });
        self.remove_account(&holder, &server).await?.ok_or(ConnectionError::NoConnection)
    }

    /// Whether accounts can be connected.
    pub fn keeps_connections(&self) -> bool {
        self.connections().store().is_some()
    }

    /// Ends all connections of principals whose last API key was revoked. A new key of such a name may be for another program, and
    /// who held the old one may have connected an account of its own. It goes on also when its caller goes away.
    pub async fn end_connections_of(&self, principals: Vec<KeylessPrincipal>) {
        let registry = self.clone();
        let ending = tokio::spawn(async move {
            if let Err(error) = registry.end_all_of(&principals).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the connections of principals without a key have not ended");
            }
        });
        // Only a task that panicked gives an error, and the panic was logged.
        let _ = ending.await;
    }

    async fn end_all_of(&self, principals: &[KeylessPrincipal]) -> Result<(), ConnectionError> {
        let connections = self.connections();
        let uids: HashSet<_> = principals.iter().map(KeylessPrincipal::uid).collect();
        connections.flows.forget(|ongoing| uids.contains(ongoing.subject().principal()));
        let holders: HashSet<_> = uids.iter().map(ToString::to_string).collect();
        let why = "the last API key of its principal was revoked";
        self.end_all_that(|facts| holders.contains(&facts.holder), why).await
    }

    /// Ends the connections that have not been used for longer than the operator wants: whoever holds the tokens of a forgotten
    /// account could use them for ever. Tokens count for a day at most, so the age of the last ones says when an account was used.
    pub async fn end_idle_connections(&self) {
        let connections = self.connections();
        let max_idle = i64::try_from(connections.max_idle.as_millis()).unwrap_or(i64::MAX);
        let oldest = connections.clock.now_millis().saturating_sub(max_idle);
        let why = "it was not used for longer than `mcp.connection_max_idle`";
        if let Err(error) = self.end_all_that(|facts| facts.renewed < oldest, why).await {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "connections that are not used have not ended");
        }
    }

    async fn end_all_that(
        &self,
        ends: impl Fn(&ConnectionFacts) -> bool,
        why: &str,
    ) -> Result<(), ConnectionError> {
        let listed = self.connections().work(|store| store.list(None)).await?.unwrap_or_default();
        for ConnectionFacts { holder, server, .. } in listed.iter().filter(|facts| ends(facts)) {
            let Ok(name) = ServerName::parse(server) else { continue };
            if self.remove_account(holder, &name).await?.is_some() {
                SecurityEvent::ConnectionEnded { server, holder, why }.log();
            }
        }
        Ok(())
    }

    /// Forgets what is being connected, of all principals: all sessions were ended, and one of them may have begun it.
    pub fn forget_begun_connections(&self) {
        self.connections().flows.forget(|_| true);
    }

    /// Forgets the account of a principal at a server, and revokes its tokens. `None` where there was none.
    pub(super) async fn remove_account(
        &self,
        holder: &str,
        server: &ServerName,
    ) -> Result<Option<EndedConnection>, ConnectionError> {
        let (of, at) = (holder.to_owned(), server.to_string());
        let removed = self.connections().work(move |store| store.remove(&of, &at)).await?.flatten();
        let Some(RemovedAccount { name, tokens }) = removed else { return Ok(None) };
        let Ok((upstream, credentials)) = self.with_accounts(server) else {
            // It is not configured any more.
            return Ok(Some(EndedConnection { revoked: false }));
        };
        upstream.forget_holder(holder);
        // Tokens of another authorization server are none of this one's business.
        let revoked = match (tokens, credentials.account_name(holder.to_owned()).await) {
            (Some(tokens), Ok(current)) if current.issuer == name.issuer => credentials.revoke(&tokens).await,
            (None, _) | (Some(_), Ok(_)) => false,
            (Some(_), Err(error)) => {
                let reason = chain(&error);
                tracing::warn!(%server, reason, "the tokens of an ended connection could not be revoked");
                false
            }
        };
        Ok(Some(EndedConnection { revoked }))
    }
}
