//! Agents and what they offer.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;

use super::address::Path;
use super::caller::{Admitted, Caller};
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::agents::{ACTIVE, Agent};
use crate::model::{ActionKind, AgentId, ListAgents, ReadAgent};

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct AgentView {
    id: String,
    version: String,
    description: String,
    capabilities: Vec<String>,
    permissions: Vec<&'static str>,
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
        permissions: definition.permissions.iter().map(|permission| permission.as_str()).collect(),
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
    /// The permission without which agents were left out; absent when all are here.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
}

/// The agents that the caller may read. Where some are left out, the answer says what it takes to see them: a list that is
/// empty for want of a permission is not taken for a gateway without agents.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ListAgents>,
) -> Result<Json<Agents>, Problem> {
    let agents = api.effects.agents();
    let questions = agents.questions();
    let asked = questions.len();
    let permits = api.effects.guard().admit_each(&permit.listing(), questions).await?;
    let needs = (permits.len() < asked).then_some(ActionKind::AgentRead.as_str());
    let agents = agents.list(permits);
    Ok(Json(Agents { agents: agents.iter().map(|agent| view(agent)).collect(), needs }))
}

/// One agent. An id that no agent has is asked about like any other.
pub(super) async fn read(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(id): Path<AgentId>,
) -> Result<Json<AgentView>, Problem> {
    let agents = api.effects.agents();
    let permit = caller.admit(&api, ReadAgent { agent: agents.entity(&id) }).await?;
    let agent = agents.read(permit).ok_or_else(|| Problem::not_found("there is no agent of that id"))?;
    Ok(Json(view(&agent)))
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
    Admitted(permit): Admitted<ListAgents>,
) -> Result<Json<Capabilities>, Problem> {
    let counts = api.effects.agents().capabilities(permit).into_iter();
    let capabilities = counts.map(|(name, agents)| Capability { name: name.to_string(), agents }).collect();
    Ok(Json(Capabilities { capabilities }))
}
