//! The effects at MCP servers beside tool calls: prompts, resources, completions, and what servers ask of clients.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::effects::{Caller, EffectError, Effects};
use crate::authz::Permit;
use crate::model::{
    AskClient, Complete, DecisionId, GetPrompt, ListPrompts, ListResources, Operation, PromptRef,
    ReadResource, ResourceRef, ServerName, SetLogLevel, SubscribeResource,
};
use crate::tools::{Answered, CallOptions, ClientSession, ListenPermits, ToolError};

/// What a client listens to.
#[derive(Debug, Default)]
pub struct Listening {
    /// Changes of the list of prompts.
    pub prompts: bool,
    /// Changes of the list of resources.
    pub resources: bool,
    /// Changes of these resources.
    pub subscriptions: Vec<ResourceRef>,
}

/// Items of servers, each with its server.
pub type ServerItems = Vec<(ServerName, Json)>;

impl Effects {
    /// The prompts that the caller may get, of all servers or of one.
    pub async fn list_prompts(
        &self,
        (subject, context): Caller<'_>,
        only: Option<&ServerName>,
    ) -> Result<ServerItems, EffectError> {
        let permit = self.guard().admit(subject, ListPrompts, context).await?;
        let listing = permit.listing();
        let offered = self.tools().prompts(permit, only).await;
        let permits = self.guard().admit_each(&listing, offered.prompts()).await?;
        Ok(offered.release_prompts(permits))
    }

    /// The resources, or the templates, that the caller may read, of all servers or of one.
    pub async fn list_resources(
        &self,
        (subject, context): Caller<'_>,
        only: Option<&ServerName>,
        templates: bool,
    ) -> Result<ServerItems, EffectError> {
        let permit = self.guard().admit(subject, ListResources, context).await?;
        let listing = permit.listing();
        let offered = self.tools().resources(permit, only, templates).await;
        let permits = self.guard().admit_each(&listing, offered.resources(templates)).await?;
        Ok(offered.release_resources(permits))
    }

    /// Gets a prompt.
    pub async fn get_prompt(
        &self,
        caller: Caller<'_>,
        prompt: PromptRef,
        arguments: Map<String, Json>,
        (rest, options): (Map<String, Json>, CallOptions),
    ) -> Result<(Answered<Map<String, Json>>, DecisionId), EffectError> {
        let permit = self.admit(caller, GetPrompt { prompt, arguments, rest }).await?;
        let decision = permit.decision();
        self.tools()
            .get_prompt(permit, options)
            .await
            .map(|answer| (answer, decision))
            .map_err(failed(decision))
    }

    /// Reads a resource.
    pub async fn read_resource(
        &self,
        caller: Caller<'_>,
        resource: ResourceRef,
        (rest, options): (Map<String, Json>, CallOptions),
    ) -> Result<(Answered<Map<String, Json>>, DecisionId), EffectError> {
        let permit = self.admit(caller, ReadResource { resource, rest }).await?;
        let decision = permit.decision();
        self.tools()
            .read_resource(permit, options)
            .await
            .map(|answer| (answer, decision))
            .map_err(failed(decision))
    }

    /// Begins or ends a subscription in the client's session.
    pub async fn subscribe_resource(
        &self,
        caller: Caller<'_>,
        operation: SubscribeResource,
        session: &Arc<ClientSession>,
    ) -> Result<Map<String, Json>, EffectError> {
        let permit = self.admit(caller, operation).await?;
        let decision = permit.decision();
        self.tools().subscribe(permit, session).await.map_err(failed(decision))
    }

    /// Listens to what the caller may hear of: changes of lists, and of single resources, as long as the session lives. Says what
    /// of it was taken.
    pub async fn listen(
        &self,
        caller: Caller<'_>,
        only: Option<&ServerName>,
        wanted: Listening,
        session: &Arc<ClientSession>,
    ) -> Listening {
        let mut permits = ListenPermits::default();
        let mut taken = Listening::default();
        if wanted.prompts {
            permits.prompts = self.admit(caller, ListPrompts).await.ok();
            taken.prompts = permits.prompts.is_some();
        }
        if wanted.resources {
            permits.resources = self.admit(caller, ListResources).await.ok();
            taken.resources = permits.resources.is_some();
        }
        for resource in wanted.subscriptions {
            let operation = SubscribeResource { resource: resource.clone(), begins: true };
            if let Ok(permit) = self.admit(caller, operation).await {
                permits.subscriptions.push(permit);
                taken.subscriptions.push(resource);
            }
        }
        self.tools().listen(caller.0, permits, only, session).await;
        taken
    }

    /// Has an argument completed.
    pub async fn complete(
        &self,
        caller: Caller<'_>,
        operation: Complete,
        options: CallOptions,
    ) -> Result<Map<String, Json>, EffectError> {
        let permit = self.admit(caller, operation).await?;
        let decision = permit.decision();
        self.tools().complete(permit, options).await.map_err(failed(decision))
    }

    /// Chooses which log messages the client of a session receives.
    pub async fn set_log_level(
        &self,
        caller: Caller<'_>,
        session: &Arc<ClientSession>,
        level: &str,
    ) -> Result<(), EffectError> {
        let permit = self.admit(caller, SetLogLevel).await?;
        self.tools().set_log_level(permit, session, level).await;
        Ok(())
    }

    /// Asks whether a server may ask the client for something. The permit is spent by whoever sends it to the client.
    pub async fn ask_client(
        &self,
        caller: Caller<'_>,
        operation: AskClient,
    ) -> Result<Permit<AskClient>, EffectError> {
        self.admit(caller, operation).await
    }

    pub(super) async fn admit<O: Operation>(
        &self,
        (subject, context): Caller<'_>,
        operation: O,
    ) -> Result<Permit<O>, EffectError> {
        Ok(self.guard().admit(subject, operation, context).await?)
    }
}

pub(super) fn failed(decision: DecisionId) -> impl FnOnce(ToolError) -> EffectError {
    move |error| EffectError::Tool { decision, error }
}
