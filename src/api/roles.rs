//! Roles of people, agents and workloads, kept in the store of attributes; what a role may do is said by policies alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Any, json};

use super::address::Query;
use super::attributes::{Done, change};
use super::body::StrictJson;
use super::caller::Caller;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::authz::Refusal;
use crate::model::{
    DecisionId, EntityChange, EntityUid, Outcome, ReadEntities, ReasonCode, RoleName, WriteEntity,
};

const NO_ISSUER: &str = "the gateway has no single issuer of people: write `<issuer>|<subject>`";

/// Whose roles.
#[derive(Debug, Clone, Default, Deserialize)]
struct Who {
    user: Option<String>,
    agent: Option<String>,
    workload: Option<String>,
    service: Option<String>,
}

impl Who {
    /// The principal. A person is named as its token does, or in full: `<issuer>|<subject>`.
    fn uid(&self, api: &Api) -> Result<EntityUid, Problem> {
        let caxton = |kind, id: &String| Ok(EntityUid::caxton(kind, id.as_str()));
        match (&self.user, &self.agent, &self.workload, &self.service) {
            (Some(user), None, None, None) => {
                EntityUid::person(&api.settings.issuers, user).ok_or_else(|| Problem::invalid(NO_ISSUER))
            }
            (None, Some(agent), None, None) => caxton("Agent", agent),
            (None, None, Some(workload), None) => caxton("Workload", workload),
            (None, None, None, Some(service)) => caxton("Service", service),
            _ => Err(Problem::invalid("name one of `user`, `agent`, `workload` and `service`")),
        }
    }
}

fn role(text: &str) -> Result<EntityUid, Problem> {
    let name = RoleName::parse(text).map_err(|error| Problem::invalid(error.to_string()))?;
    Ok(EntityUid::caxton("Role", name.shared()))
}

#[derive(Debug, Deserialize, utoipa::ToSchema, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Membership {
    user: Option<String>,
    agent: Option<String>,
    /// The id of a client certificate: `spiffe://prod.example/pay`.
    workload: Option<String>,
    service: Option<String>,
    role: String,
}

impl Membership {
    fn parts(self, api: &Api) -> Result<(EntityUid, EntityUid, Map<String, Any>), Problem> {
        let body = json!({
            "user": self.user, "agent": self.agent, "workload": self.workload, "service": self.service,
            "role": self.role,
        });
        let who = Who { user: self.user, agent: self.agent, workload: self.workload, service: self.service };
        Ok((who.uid(api)?, role(&self.role)?, body.as_object().cloned().unwrap_or_default()))
    }
}

/// Gives a role. One that no policy names would give nothing, and is more likely a slip of the pen.
pub(super) async fn assign(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(body): StrictJson<Membership>,
) -> Result<Json<Done>, Problem> {
    let (uid, role, body) = body.parts(&api)?;
    let guard = api.effects.guard();
    let known = guard.policy().current().named_roles();
    if !known.iter().any(|name| name == role.id()) && api.attributes.snapshot().get(&role).is_none() {
        let change = EntityChange::Assign(role.clone());
        let operation = WriteEntity { uid, change, sha256: crate::json::sha256(&body) };
        let refusal = Refusal::because(ReasonCode::ArgumentsInvalid);
        let denied = guard.refuse(&caller.subject, &operation, refusal, &caller.context).await;
        return Err(match denied.reason {
            ReasonCode::ArgumentsInvalid => {
                Problem::invalid(format!("no policy names the role `{}`", role.id().escape_debug()))
            }
            _ => Problem::from(denied),
        });
    }
    change(&api, &caller, uid, EntityChange::Assign(role), &body).await
}

/// Takes a role away, no matter who gave it.
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(body): Query<Membership>,
) -> Result<Json<Done>, Problem> {
    let (uid, role, body) = body.parts(&api)?;
    change(&api, &caller, uid, EntityChange::Revoke(role), &body).await
}

/// A role and who has it by the store.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Role {
    role: String,
    /// Whether a policy names it.
    in_policies: bool,
    members: Vec<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Roles {
    version: u64,
    roles: Vec<Role>,
}

/// All roles that policies name or the store gives, with who has each. What tokens claim is not known here.
pub(super) async fn list(State(api): State<Arc<Api>>, caller: Caller) -> Result<Json<Roles>, Problem> {
    let guard = api.effects.guard();
    let permit = caller.admit(&api, ReadEntities).await?;
    let snapshot = api.attributes.read(permit);
    let named = guard.policy().current().named_roles().into_iter().map(|name| (name, true));
    let stored = snapshot.groups("Caxton::Role").into_iter().map(|uid| (uid.id().to_owned(), false));
    let mut all: BTreeMap<String, bool> = stored.collect();
    all.extend(named);
    let roles = all.into_iter().map(|(role, in_policies)| {
        let uid = EntityUid::caxton("Role", role.as_str());
        Role { members: snapshot.children(&uid).map(ToString::to_string).collect(), role, in_policies }
    });
    Ok(Json(Roles { version: snapshot.version(), roles: roles.collect() }))
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    user: Option<String>,
    agent: Option<String>,
    workload: Option<String>,
    service: Option<String>,
    permission: String,
}

/// One action that a permission is about, on one kind of resource.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CheckedAnswer)]
struct Answer {
    action: String,
    resource: String,
    allowed: bool,
    reason: &'static str,
    policies: Vec<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Checked {
    principal: String,
    permission: String,
    /// Whether all of it is allowed.
    allowed: bool,
    decision_id: DecisionId,
    answers: Vec<Answer>,
}

/// What a permission word comes to for a principal, on one resource of each kind: by the store's roles, not by what a token
/// would add.
pub(super) async fn check(
    State(api): State<Arc<Api>>,
    caller: Caller,
    StrictJson(check): StrictJson<Check>,
) -> Result<Json<Checked>, Problem> {
    let who = Who { user: check.user, agent: check.agent, workload: check.workload, service: check.service };
    let principal = who.uid(&api)?;
    let guard = api.effects.guard();
    let bundle = guard.policy().current();
    let questions = bundle.permission_questions(&principal, &check.permission);
    let asked = questions.clone();
    let (decision_id, verdicts) =
        guard.evaluate(&caller.subject, &caller.context, questions, |_| false).await?;
    if asked.is_empty() {
        let word = check.permission.escape_debug();
        return Err(Problem::invalid(format!(
            "`{word}` is no permission that a `{}` can have",
            principal.base_type()
        )));
    }
    let answers: Vec<Answer> = asked
        .iter()
        .zip(&verdicts)
        .map(|(question, verdict)| Answer {
            action: question.action.id().to_owned(),
            resource: question.resource.to_string(),
            allowed: verdict.outcome == Outcome::Allow,
            reason: verdict.reason.as_str(),
            policies: verdict.deciding().map(|policy| policy.id.to_string()).collect(),
        })
        .collect();
    Ok(Json(Checked {
        principal: principal.to_string(),
        permission: check.permission,
        allowed: answers.iter().all(|answer| answer.allowed),
        decision_id,
        answers,
    }))
}
