//! The decision point as a service: OpenID AuthZEN 1.0 access evaluation.
//!
//! A caller that may (`policy:test`) asks about any principal. The answer for one bad item of a batch is a deny; a body
//! that is not a request at all is refused. The asking and its answers are one record.

use std::sync::Arc;

use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Any};
use smol_str::format_smolstr;

use super::body::{Object, read_or_malformed};
use super::caller::Caller;
use super::connection::Connection;
use super::host::Called;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::model::cedar_json::read_fields;
use crate::model::{DecisionId, Entity, EntityUid, Outcome, Value};
use crate::policy::{Query, Verdict};

pub(super) type Properties = Map<String, Any>;

#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub(super) struct Party {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(super) properties: Properties,
}

#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub(super) struct Action {
    pub(super) name: String,
}

/// One question; in a batch, what is left out is taken from the batch.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub(super) struct Question {
    #[schema(value_type = Option<Party>)]
    subject: Option<Object<Party>>,
    #[schema(value_type = Option<Action>)]
    action: Option<Object<Action>>,
    #[schema(value_type = Option<Party>)]
    resource: Option<Object<Party>>,
    #[schema(value_type = Option<Object>)]
    context: Option<Properties>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Semantics {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
struct Options {
    #[serde(default)]
    evaluations_semantic: Semantics,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub(super) struct Batch {
    #[serde(flatten)]
    defaults: Question,
    /// Read one by one: a bad item is a deny in its place, not the end of the batch.
    #[schema(value_type = Option<Vec<Object>>)]
    evaluations: Option<Vec<Any>>,
    #[schema(value_type = Option<Options>)]
    options: Option<Object<Options>>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Decision {
    decision: bool,
    context: DecisionContext,
}

#[derive(Serialize, utoipa::ToSchema)]
struct DecisionContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<DecisionId>,
    reason: &'static str,
    /// What the caller has to do when it allows this: `label:pii`, `redact:/customer/ssn`. A caller that cannot must deny.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    obligations: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// Why an item of a batch could not be asked (AuthZEN 1.0, section 7.2.1).
#[derive(Serialize, utoipa::ToSchema)]
struct ItemError {
    status: u16,
    message: String,
}

#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Decisions {
    evaluations: Vec<Decision>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = Evaluations)]
pub(super) enum Answer {
    One(Decision),
    Many(Decisions),
}

/// Where what is asked (AuthZEN 1.0, section 9.1).
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Configuration {
    policy_decision_point: String,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
    search_subject_endpoint: String,
    search_resource_endpoint: String,
    search_action_endpoint: String,
}

/// The addresses of the decision point: under `server.public_url`, or else under the name that the caller used. That
/// name is shown to this caller only; the answer is not kept.
pub(super) async fn configuration(
    State(api): State<Arc<Api>>,
    request: Request,
) -> Result<Json<Configuration>, Problem> {
    let base = match &api.settings.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let host = request.extensions().get::<Called>().and_then(|called| called.0.as_ref());
            // Credentials follow this address: it is not to lead from TLS into the clear.
            let tls = request.extensions().get::<Connection>().is_some_and(|connection| connection.tls);
            let host = host.ok_or_else(|| Problem::malformed("the `Host` header is missing"))?;
            format!("{}://{host}", if tls { "https" } else { "http" })
        }
    };
    let below = |path: &str| format!("{base}/access/v1/{path}");
    Ok(Json(Configuration {
        access_evaluation_endpoint: below("evaluation"),
        access_evaluations_endpoint: below("evaluations"),
        search_subject_endpoint: below("search/subject"),
        search_resource_endpoint: below("search/resource"),
        search_action_endpoint: below("search/action"),
        policy_decision_point: base,
    }))
}

/// The most questions in one batch.
const MOST: usize = 1_000;

pub(super) async fn evaluation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Decision>, Problem> {
    let question = read_or_malformed(request, &api).await?;
    one(&api, &caller, question).await.map(Json)
}

async fn one(api: &Api, caller: &Caller, question: Question) -> Result<Decision, Problem> {
    let query = query(api, question, &Question::default()).map_err(Problem::malformed)?;
    let guard = api.effects.guard();
    let (id, verdicts) = guard.evaluate(&caller.subject, &caller.context, [query], |_| false).await?;
    verdicts.first().map(|verdict| decision(id, verdict)).ok_or_else(Problem::internal)
}

pub(super) async fn evaluations(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let batch: Batch = read_or_malformed(request, &api).await?;
    let questions = match batch.evaluations {
        Some(questions) if !questions.is_empty() => questions,
        // Without items the batch is one evaluation (AuthZEN 1.0, section 7.1).
        _ => return Ok(Json(Answer::One(one(&api, &caller, batch.defaults).await?))),
    };
    if questions.len() > MOST {
        return Err(Problem::invalid(format!("at most {MOST} evaluations are accepted")));
    }
    let queries: Vec<_> =
        questions.into_iter().map(|question| item(&api, question, &batch.defaults)).collect();
    // A question that cannot be asked is a deny in its place; the guard sees only those that can.
    let semantics = batch.options.map(|Object(options)| options.evaluations_semantic).unwrap_or_default();
    let stops = |allowed: bool| match semantics {
        Semantics::ExecuteAll => false,
        Semantics::DenyOnFirstDeny => !allowed,
        Semantics::PermitOnFirstPermit => allowed,
    };
    let asked = queries.iter().take_while(|query| query.is_ok() || !stops(false));
    let good = asked.filter_map(|query| query.as_ref().ok().cloned()).collect::<Vec<_>>();
    let guard = api.effects.guard();
    let enough = |verdict: &Verdict| stops(verdict.outcome == Outcome::Allow);
    let (id, verdicts) = guard.evaluate(&caller.subject, &caller.context, good, enough).await?;
    Ok(Json(Answer::Many(Decisions { evaluations: in_order(id, &queries, &verdicts, stops) })))
}

/// Puts the answers back among the questions that could not be asked, and cuts the list where the semantics end it.
fn in_order(
    id: DecisionId,
    queries: &[Result<Query, String>],
    verdicts: &[Verdict],
    stops: impl Fn(bool) -> bool,
) -> Vec<Decision> {
    let mut verdicts = verdicts.iter();
    let mut decisions = Vec::with_capacity(queries.len());
    for query in queries {
        let next = match query {
            Err(message) => Decision {
                decision: false,
                context: DecisionContext {
                    decision_id: None,
                    reason: "malformed",
                    obligations: Vec::new(),
                    error: Some(ItemError { status: 400, message: message.clone() }),
                },
            },
            Ok(_) => match verdicts.next() {
                Some(verdict) => decision(id, verdict),
                None => break,
            },
        };
        let last = stops(next.decision);
        decisions.push(next);
        if last {
            break;
        }
    }
    decisions
}

fn decision(id: DecisionId, verdict: &Verdict) -> Decision {
    let context = DecisionContext {
        decision_id: Some(id),
        reason: verdict.reason.as_str(),
        obligations: verdict.obligations.iter().map(ToString::to_string).collect(),
        error: None,
    };
    Decision { decision: verdict.outcome == Outcome::Allow, context }
}

/// One item of a batch.
fn item(api: &Api, question: Any, defaults: &Question) -> Result<Query, String> {
    let Object(question) = serde_json::from_value(question).map_err(|error| error.to_string())?;
    query(api, question, defaults)
}

/// The action lives in the namespace of the subject's type, or else in that of the resource's.
pub(super) fn action_uid(api: &Api, subject: &str, resource: &str, name: &str) -> EntityUid {
    let beside = |kind: &str| match kind.rsplit_once("::") {
        Some((namespace, _)) => EntityUid::new(format_smolstr!("{namespace}::Action"), name),
        None => EntityUid::new("Action", name),
    };
    let bundle = api.effects.guard().policy().current();
    let first = beside(subject);
    if bundle.knows_action(&first) {
        return first;
    }
    let second = beside(resource);
    if bundle.knows_action(&second) { second } else { first }
}

/// An AuthZEN type is a Cedar type as it is written.
fn query(api: &Api, question: Question, defaults: &Question) -> Result<Query, String> {
    let Object(subject) =
        question.subject.or_else(|| defaults.subject.clone()).ok_or("`subject` is missing")?;
    let Object(action) = question.action.or_else(|| defaults.action.clone()).ok_or("`action` is missing")?;
    let Object(resource) =
        question.resource.or_else(|| defaults.resource.clone()).ok_or("`resource` is missing")?;
    let context = question.context.or_else(|| defaults.context.clone()).unwrap_or_default();
    let principal = EntityUid::new(subject.kind.as_str(), subject.id.as_str());
    let target = EntityUid::new(resource.kind.as_str(), resource.id.as_str());
    let mut entities = vec![Arc::new(entity(&principal, &subject.properties)?)];
    if target != principal {
        entities.push(Arc::new(entity(&target, &resource.properties)?));
    }
    Ok(Query {
        principal,
        action: action_uid(api, &subject.kind, &resource.kind, &action.name),
        resource: target,
        context: record(&context)?,
        entities,
    })
}

pub(super) fn entity(uid: &EntityUid, properties: &Properties) -> Result<Entity, String> {
    let attributes = read_fields("", properties).map_err(|fault| fault.to_string())?;
    Ok(Entity { attributes, ..Entity::bare(uid.clone()) })
}

pub(super) fn record(fields: &Properties) -> Result<Value, String> {
    read_fields("", fields).map(Value::Record).map_err(|fault| fault.to_string())
}
