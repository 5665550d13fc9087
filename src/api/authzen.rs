//! The decision point as a service: OpenID AuthZEN 1.0 access evaluation.
//!
//! A caller that may (`policy:test`) asks about any principal. The answer for one bad item of a batch is a deny; a body
//! that is not a request at all is refused. The asking and its answers are one record.

mod question;

use std::sync::Arc;

use axum::extract::{Request, State};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Any;

use super::body::{Object, read_or_malformed};
use super::caller::Caller;
use super::connection::Connection;
use super::host::Called;
use super::json::Json;
use super::problem::Problem;
use super::state::Api;
use crate::model::{DecisionId, Outcome, ReasonCode};
use crate::policy::{Bundle, Query, Verdict};

pub use self::question::Undeclared;
pub(super) use self::question::{Action, Party, Properties, Question, Stated, action_uid};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Semantics {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl Semantics {
    /// Whether a batch ends with this decision.
    fn end_with(self, allowed: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !allowed,
            Self::PermitOnFirstPermit => allowed,
        }
    }
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
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<DecisionContext>,
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
    context: BatchContext,
}

/// The one record of a batch.
#[derive(Serialize, utoipa::ToSchema)]
struct BatchContext {
    decision_id: DecisionId,
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
    let guard = api.effects.guard();
    let query = {
        let bundle = guard.policy().current();
        let read = question.query(&Question::default(), &bundle, api.settings.undeclared);
        read.map_err(Problem::malformed)?
    };
    let (id, verdicts) = guard.evaluate(&caller.subject, &caller.context, [query], |_| false).await?;
    let verdict = verdicts.first().ok_or_else(Problem::internal)?;
    Ok(Decision { context: Some(explained(Some(id), verdict)), ..decision(verdict) })
}

pub(super) async fn evaluations(
    State(api): State<Arc<Api>>,
    caller: Caller,
    request: Request,
) -> Result<Json<Answer>, Problem> {
    let batch: Batch = read_or_malformed(request, &api).await?;
    let items = match batch.evaluations {
        Some(items) if !items.is_empty() => items,
        // Without items the batch is one evaluation (AuthZEN 1.0, section 7.1).
        _ => return Ok(Json(Answer::One(one(&api, &caller, batch.defaults).await?))),
    };
    if items.len() > MOST {
        return Err(Problem::invalid(format!("at most {MOST} evaluations are accepted")));
    }
    let semantics = batch.options.map(|Object(options)| options.evaluations_semantic).unwrap_or_default();
    let count = items.len();
    // A question that cannot be asked is a deny in its place; the guard sees only those that can.
    let unasked = Mutex::new(Vec::new());
    let bundle = api.effects.guard().policy().current();
    let read = |(place, item): (usize, Any)| -> Option<Option<Query>> {
        match question(item, &batch.defaults, &bundle, api.settings.undeclared) {
            Ok(query) => Some(Some(query)),
            Err(message) => {
                unasked.lock().push((place, message));
                (!semantics.end_with(false)).then_some(None)
            }
        }
    };
    // Each is read when its turn comes: what all of them share is not in memory once for each.
    let questions = items.into_iter().enumerate().map_while(read).flatten();
    // Without its type, in which the compiler cannot see that it may go from thread to thread.
    let questions: Box<dyn Iterator<Item = Query> + Send + '_> = Box::new(questions);
    let enough = |verdict: &Verdict| semantics.end_with(verdict.outcome == Outcome::Allow);
    let guard = api.effects.guard();
    let (decision_id, verdicts) = guard.evaluate(&caller.subject, &caller.context, questions, enough).await?;
    let evaluations = in_order(count, unasked.into_inner(), &verdicts, semantics);
    Ok(Json(Answer::Many(Decisions { evaluations, context: BatchContext { decision_id } })))
}

/// Puts the answers back among the questions that could not be asked, and cuts the list where the semantics end it.
fn in_order(
    count: usize,
    unasked: Vec<(usize, String)>,
    verdicts: &[Verdict],
    semantics: Semantics,
) -> Vec<Decision> {
    let (mut unasked, mut verdicts) = (unasked.into_iter().peekable(), verdicts.iter());
    let mut decisions = Vec::with_capacity(count);
    for place in 0..count {
        let next = match unasked.next_if(|(of, _)| *of == place) {
            Some((_, message)) => malformed(message),
            None => match verdicts.next() {
                Some(verdict) => decision(verdict),
                None => break,
            },
        };
        let last = semantics.end_with(next.decision);
        decisions.push(next);
        if last {
            break;
        }
    }
    decisions
}

/// The answer to an item that is no question.
fn malformed(message: String) -> Decision {
    let context = DecisionContext {
        decision_id: None,
        reason: "malformed",
        obligations: Vec::new(),
        error: Some(ItemError { status: 400, message }),
    };
    Decision { decision: false, context: Some(context) }
}

/// The answer of an item. What the policies decided needs no word beside it; what has to be done with it, and why they
/// could not decide, does.
fn decision(verdict: &Verdict) -> Decision {
    let of_policies =
        matches!(verdict.reason, ReasonCode::Permitted | ReasonCode::NoPermit | ReasonCode::Forbidden);
    let is_plain = of_policies && verdict.obligations.iter().next().is_none();
    Decision {
        decision: verdict.outcome == Outcome::Allow,
        context: (!is_plain).then(|| explained(None, verdict)),
    }
}

fn explained(decision_id: Option<DecisionId>, verdict: &Verdict) -> DecisionContext {
    DecisionContext {
        decision_id,
        reason: verdict.reason.as_str(),
        obligations: verdict.obligations.iter().map(ToString::to_string).collect(),
        error: None,
    }
}

/// One item of a batch.
fn question(
    item: Any,
    defaults: &Question,
    bundle: &Bundle,
    undeclared: Undeclared,
) -> Result<Query, String> {
    let Object(question): Object<Question> =
        serde_json::from_value(item).map_err(|error| error.to_string())?;
    question.query(defaults, bundle, undeclared)
}
