//! The decision point as a service: OpenID AuthZEN 1.0 access evaluation.
//!
//! A caller that may (`policy:test`) asks about anybody. The answer for one bad item of a batch is a deny; a body
//! that is not a request at all is refused. The asking and its answers are one record.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Any};

use super::body::{Object, read};
use super::caller::Caller;
use super::problem::Problem;
use super::state::Api;
use crate::model::{DecisionId, Entity, EntityUid, Outcome, Value};
use crate::policy::{Query, Verdict};

type Properties = Map<String, Any>;

#[derive(Debug, Clone, Deserialize)]
struct Party {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    #[serde(default)]
    properties: Properties,
}

#[derive(Debug, Clone, Deserialize)]
struct Asked {
    name: String,
}

/// One question; in a batch, what is left out is taken from the batch.
#[derive(Debug, Clone, Default, Deserialize)]
struct Question {
    subject: Option<Object<Party>>,
    action: Option<Object<Asked>>,
    resource: Option<Object<Party>>,
    context: Option<Properties>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Semantics {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

#[derive(Debug, Default, Deserialize)]
struct Options {
    #[serde(default)]
    evaluations_semantic: Semantics,
}

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(flatten)]
    defaults: Question,
    /// Read one by one: a bad item is a deny in its place, not the end of the batch.
    evaluations: Option<Vec<Any>>,
    options: Option<Object<Options>>,
}

#[derive(Serialize)]
pub(super) struct Decision {
    decision: bool,
    context: DecisionContext,
}

#[derive(Serialize)]
struct DecisionContext {
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_id: Option<DecisionId>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ItemError>,
}

/// Why an item of a batch could not be asked (AuthZEN 1.0, section 7.2.1).
#[derive(Serialize)]
struct ItemError {
    status: u16,
    message: String,
}

#[derive(Serialize)]
pub(super) struct Decisions {
    evaluations: Vec<Decision>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Answer {
    One(Decision),
    Many(Decisions),
}

/// The most questions in one batch.
const MOST: usize = 1_000;

pub(super) async fn evaluation(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Decision>, Problem> {
    let question = asked(request, &api).await?;
    one(&api, &caller, question).await.map(Json)
}

/// The body as what is asked; AuthZEN answers 400 to every body that is not a request.
async fn asked<T: DeserializeOwned>(request: Request, api: &Api) -> Result<T, Problem> {
    let body = read(request, api).await?;
    let Object(asked) =
        serde_json::from_value(body).map_err(|error| Problem::malformed(format!("the body: {error}")))?;
    Ok(asked)
}

async fn one(api: &Api, caller: &Caller, question: Question) -> Result<Decision, Problem> {
    let query = query(question, &Question::default()).map_err(Problem::malformed)?;
    let guard = api.gate.guard();
    let (id, verdicts) = guard.evaluate(&caller.subject, &caller.context, [query], |_| false).await?;
    verdicts.first().map(|verdict| decision(id, verdict)).ok_or_else(Problem::internal)
}

pub(super) async fn evaluations(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let batch: Batch = asked(request, &api).await?;
    let questions = match batch.evaluations {
        Some(questions) if !questions.is_empty() => questions,
        // Without items the batch is one evaluation (AuthZEN 1.0, section 7.1).
        _ => return Ok(Json(Answer::One(one(&api, &caller, batch.defaults).await?))),
    };
    if questions.len() > MOST {
        return Err(Problem::invalid(format!("at most {MOST} evaluations are accepted")));
    }
    let queries: Vec<_> = questions.into_iter().map(|question| item(question, &batch.defaults)).collect();
    // A question that cannot be asked is a deny in its place; the guard sees only those that can.
    let semantics = batch.options.map(|Object(options)| options.evaluations_semantic).unwrap_or_default();
    let stops = |allowed: bool| match semantics {
        Semantics::ExecuteAll => false,
        Semantics::DenyOnFirstDeny => !allowed,
        Semantics::PermitOnFirstPermit => allowed,
    };
    let asked = queries.iter().take_while(|query| query.is_ok() || !stops(false));
    let good = asked.filter_map(|query| query.as_ref().ok().cloned()).collect::<Vec<_>>();
    let guard = api.gate.guard();
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
    Decision {
        decision: verdict.outcome == Outcome::Allow,
        context: DecisionContext { decision_id: Some(id), reason: verdict.reason.as_str(), error: None },
    }
}

/// One item of a batch.
fn item(question: Any, defaults: &Question) -> Result<Query, String> {
    let Object(question) = serde_json::from_value(question).map_err(|error| error.to_string())?;
    query(question, defaults)
}

/// An AuthZEN type is a Cedar type as it is written; the action lives in the subject type's namespace.
fn query(question: Question, defaults: &Question) -> Result<Query, String> {
    let Object(subject) =
        question.subject.or_else(|| defaults.subject.clone()).ok_or("`subject` is missing")?;
    let Object(action) = question.action.or_else(|| defaults.action.clone()).ok_or("`action` is missing")?;
    let Object(resource) =
        question.resource.or_else(|| defaults.resource.clone()).ok_or("`resource` is missing")?;
    let context = question.context.or_else(|| defaults.context.clone()).unwrap_or_default();
    let action_type = match subject.kind.rsplit_once("::") {
        Some((namespace, _)) => format!("{namespace}::Action"),
        None => "Action".to_owned(),
    };
    let principal = EntityUid::new(subject.kind.as_str(), subject.id.as_str());
    let target = EntityUid::new(resource.kind.as_str(), resource.id.as_str());
    let mut entities = vec![Arc::new(entity(&principal, &subject.properties)?)];
    if target != principal {
        entities.push(Arc::new(entity(&target, &resource.properties)?));
    }
    Ok(Query {
        principal,
        action: EntityUid::new(action_type, action.name),
        resource: target,
        context: record(&context)?,
        entities,
    })
}

fn entity(uid: &EntityUid, properties: &Properties) -> Result<Entity, String> {
    let Value::Record(attributes) = record(properties)? else { return Err("not a record".to_owned()) };
    Ok(Entity { attributes, ..Entity::bare(uid.clone()) })
}

fn record(fields: &Properties) -> Result<Value, String> {
    let pairs = fields.iter().map(|(name, value)| Ok((name.as_str(), value_of(name, value)?)));
    Ok(Value::record(pairs.collect::<Result<Vec<_>, String>>()?))
}

fn value_of(name: &str, value: &Any) -> Result<Value, String> {
    match value {
        Any::Bool(value) => Ok(Value::Bool(*value)),
        Any::String(text) => Ok(Value::text(text)),
        Any::Number(number) => number
            .as_i64()
            .map(Value::Long)
            .ok_or_else(|| format!("`{name}` is not a whole number of 64 bits")),
        Any::Array(items) => {
            items.iter().map(|item| value_of(name, item)).collect::<Result<_, _>>().map(Value::Set)
        }
        Any::Object(fields) => record(fields),
        Any::Null => Err(format!("`{name}` is null: leave it out")),
    }
}
