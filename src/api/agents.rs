//! Agents and what they offer.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::address::Path;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::agents::{ACTIVE, Agent};
use crate::model::{AgentId, Entity, EntityUid, ListAgents, ReadAgent};

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AgentView {
    id: String,
    version: String,
    description: String,
    capabilities: Vec<String>,
    tools: Vec<String>,
    workspace: Option<String>,
    memory_scope: String,
    status: &'static str,
    definition_sha256: String,
}

fn view(agent: &Agent) -> AgentView {
    let definition = &agent.definition;
    AgentView {
        id: definition.id.to_string(),
        version: definition.version.clone(),
        description: definition.description.clone(),
        capabilities: definition.capabilities.iter().map(ToString::to_string).collect(),
        tools: definition.tools.iter().map(ToString::to_string).collect(),
        workspace: definition.workspace.as_ref().map(ToString::to_string),
        memory_scope: definition.memory.scope.to_string(),
        status: ACTIVE,
        definition_sha256: definition.sha256.clone(),
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Agents {
    agents: Vec<AgentView>,
}

/// The agents that the caller may read.
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<Agents>, Problem> {
    let guard = api.gate.guard();
    let listing = guard.admit(&caller.subject, ListAgents, &caller.context).await?.listing();
    let known = api.gate.agents().all();
    let items = known.iter().map(|agent| ReadAgent { agent: agent.entity().clone() }).collect();
    let seen = guard.admit_each(&listing, items).await?;
    let seen: Vec<EntityUid> =
        seen.into_iter().map(|permit| permit.into_operation().agent.uid.clone()).collect();
    let agents = known.iter().filter(|agent| seen.contains(&agent.entity().uid)).map(|agent| view(agent));
    Ok(Json(Agents { agents: agents.collect() }))
}

/// One agent. An id that nobody has is asked about like any other.
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<AgentId>,
) -> Result<Json<AgentView>, Problem> {
    let known = api.gate.agents().get(&id);
    let entity = known.as_ref().map_or_else(|| unknown_agent(&id), |agent| agent.entity().clone());
    let _permit =
        api.gate.guard().admit(&caller.subject, ReadAgent { agent: entity }, &caller.context).await?;
    known.map(|agent| Json(view(&agent))).ok_or_else(|| Problem::not_found("there is no agent of that id"))
}

/// An agent that is not there, with every attribute that policies may look at.
pub(super) fn unknown_agent(id: &AgentId) -> Arc<Entity> {
    use crate::model::Value;
    let nothing = || Value::texts(Vec::<String>::new());
    Entity::bare(EntityUid::caxton("Agent", id.shared()))
        .with("name", Value::text(id.as_str()))
        .with("version", Value::text(""))
        .with("capabilities", nothing())
        .with("tools", nothing())
        .with("memory_scope", Value::text("agent"))
        .with("status", Value::text("unknown"))
        .with("signed", Value::Bool(false))
        .with("deployed_by", Value::text(""))
        .with("definition_sha256", Value::text(""))
        .into()
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Capability {
    name: String,
    agents: usize,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Capabilities {
    capabilities: Vec<Capability>,
}

/// What can be asked for, without saying by whom it is done.
pub(super) async fn capabilities(
    State(api): State<Arc<Api>>,
    caller: Caller,
) -> Result<Json<Capabilities>, Problem> {
    let _permit = api.gate.guard().admit(&caller.subject, ListAgents, &caller.context).await?;
    let counts = api.gate.agents().capabilities().into_iter();
    let capabilities = counts.map(|(name, agents)| Capability { name: name.to_string(), agents }).collect();
    Ok(Json(Capabilities { capabilities }))
}
