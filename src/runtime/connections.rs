//! The effects on accounts of callers at MCP servers.

use std::sync::Arc;

use super::effects::{Caller, EffectError, Effects};
use crate::model::{
    BeginConnection, DecisionId, EndConnection, FinishConnection, ListConnections, RequestContext, ServerName,
};
use crate::secret::Secret;
use crate::tools::{ConnectingProgram, ConnectionFacts, ConsentGiven, EndedConnection, StartedConnection};

impl Effects {
    /// Begins to connect an account of the caller's own at a server.
    pub async fn begin_connection(
        &self,
        (subject, context): Caller<'_>,
        server: ServerName,
        program: Option<ConnectingProgram>,
    ) -> Result<(StartedConnection, DecisionId), EffectError> {
        let permit = self.guard().admit(subject, BeginConnection { server }, context).await?;
        let decision = permit.decision();
        Ok((self.tools().begin_connection(permit, program)?, decision))
    }

    /// The caller's program proves the browser at its side. Gives the link at which that browser goes on.
    pub async fn confirm_browser(
        &self,
        (subject, context): Caller<'_>,
        server: ServerName,
        code: &str,
    ) -> Result<Secret<String>, EffectError> {
        let permit = self.guard().admit(subject, BeginConnection { server }, context).await?;
        Ok(self.tools().confirm_browser(permit, code)?)
    }

    /// Keeps the tokens of an account, for who began to connect it.
    pub async fn finish_connection(
        &self,
        consent: ConsentGiven,
        server: ServerName,
        context: &Arc<RequestContext>,
    ) -> Result<DecisionId, EffectError> {
        let subject = Arc::clone(consent.subject());
        let permit = self.guard().admit(&subject, FinishConnection { server }, context).await?;
        let decision = permit.decision();
        self.tools().finish_connection(permit, consent).await?;
        Ok(decision)
    }

    /// Ends a connection: the caller's own, or that of the principal `of`.
    pub async fn end_connection(
        &self,
        (subject, context): Caller<'_>,
        server: ServerName,
        of: Option<String>,
    ) -> Result<(EndedConnection, DecisionId), EffectError> {
        // Who names itself ends its own.
        let of = of.filter(|of| *of != subject.principal().to_string());
        let permit = self.guard().admit(subject, EndConnection { server, of }, context).await?;
        let decision = permit.decision();
        Ok((self.tools().end_connection(permit).await?, decision))
    }

    /// The connections of the caller, or of all.
    pub async fn list_connections(
        &self,
        (subject, context): Caller<'_>,
        own: bool,
    ) -> Result<Vec<ConnectionFacts>, EffectError> {
        let permit = self.guard().admit(subject, ListConnections { own }, context).await?;
        Ok(self.tools().list_connections(permit).await?)
    }
}
