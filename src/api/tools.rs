//! Tools over plain HTTP, for callers that do not speak MCP.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::address::Path;
use super::body::StrictJson;
use super::caller::{Admitted, Caller};
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::model::{DecisionId, ListTools, ServerName, ToolId};
use crate::tools::Health;
use crate::tools::Tool;

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ToolView {
    id: String,
    server: String,
    name: String,
    description: Option<String>,
    #[schema(value_type = Object)]
    input_schema: Map<String, Value>,
}

impl ToolView {
    fn of(tool: &Tool) -> Self {
        Self {
            id: tool.id().to_string(),
            server: tool.id().server().to_owned(),
            name: tool.id().tool().to_owned(),
            description: tool.definition().description.clone(),
            input_schema: tool.definition().input_schema.clone(),
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Tools {
    tools: Vec<ToolView>,
}

/// The tools of which some call could be permitted to the caller.
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<Tools>, Problem> {
    let seen = api.effects.list_tools(caller.asker()).await?;
    Ok(Json(Tools { tools: seen.iter().map(|tool| ToolView::of(tool)).collect() }))
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct ServerView {
    name: String,
    /// `up` or `down`; why it is down is in the gateway's log.
    state: &'static str,
    /// Whether calls need an account that the caller has connected.
    needs_account: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Servers {
    servers: Vec<ServerView>,
}

/// The upstream servers, and whether each can be called.
pub(super) async fn servers(
    State(api): State<Arc<Api>>,
    Admitted(permit): Admitted<ListTools>,
) -> Json<Servers> {
    let servers = api.effects.tools().servers(permit);
    Json(Servers {
        servers: servers
            .into_iter()
            .map(|(name, health)| ServerView {
                name: name.to_string(),
                state: state_of(&health),
                needs_account: health == Health::NeedsAccount,
            })
            .collect(),
    })
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct LeftOut {
    tool: String,
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct OfferedTools {
    /// The definitions, as the server gives them.
    #[schema(value_type = Vec<Object>)]
    tools: Vec<Value>,
    /// What of its list cannot be used.
    left_out: Vec<LeftOut>,
}

/// The tools that a server offers to the caller, approved or not.
pub(super) async fn offered(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(server): Path<ServerName>,
) -> Result<Json<OfferedTools>, Problem> {
    let listing = api.effects.offered_to(caller.asker(), server).await?;
    let left_out = listing.refused.into_iter();
    Ok(Json(OfferedTools {
        tools: listing.definitions.iter().map(|tool| tool.to_mcp(tool.wire_name())).collect(),
        left_out: left_out.map(|(tool, error)| LeftOut { tool, reason: error.to_string() }).collect(),
    }))
}

/// One word for the health of a server.
pub(super) fn state_of(health: &Health) -> &'static str {
    match health {
        Health::Up | Health::NeedsAccount => "up",
        Health::Down { .. } => "down",
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    #[serde(default)]
    #[schema(value_type = Object)]
    arguments: Map<String, Value>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Called {
    decision_id: DecisionId,
    is_error: bool,
    #[schema(value_type = Vec<Object>)]
    content: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    structured_content: Option<Value>,
}

/// Calls one tool; a tool's name with slashes is percent-encoded in the path.
pub(super) async fn call(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((server, tool)): Path<(ServerName, String)>,
    StrictJson(call): StrictJson<Call>,
) -> Result<Json<Called>, Problem> {
    let id = ToolId::new(&server, &tool).map_err(|error| Problem::malformed(error.to_string()))?;
    let (result, decision_id) = api.effects.call_tool(caller.asker(), &id, call.arguments).await?;
    Ok(Json(Called {
        decision_id,
        is_error: result.is_error,
        content: result.content,
        structured_content: result.structured,
    }))
}
