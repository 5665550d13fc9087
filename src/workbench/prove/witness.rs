//! A counterexample as a request: put into the words of a test, evaluated, made small, and printed so that it can be
//! pasted into a test file.
//!
//! What the solver says is never shown as it comes. The test is read as every test is read and decided as the gateway
//! decides; only if that speaks against the statement as well, it is a counterexample.

use cedar_policy_core::ast::{self, Context, Expr, ExprKind, Literal, PartialValue, ValueKind};
use cedar_policy_symcc::Env;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::shrink::shrunk;
use crate::model;
use crate::model::cedar_json::instant_text;
use crate::policy::engine::verdict::Verdict;
use crate::policy::{Bundle, Query};
use crate::workbench::case::{core_shorthand, shorthand};
use crate::workbench::run::{Settings, SingleRequest, Suites, examine};

/// A request that speaks against a statement.
#[derive(Debug, Clone, Serialize)]
pub struct Counterexample {
    /// The environment, `Agent memory:read MemoryScope`.
    pub environment: String,
    /// The request, in the words of a test.
    pub request: SingleRequest,
    /// What each set of policies decides about it.
    pub decided: Vec<Decided>,
    /// The request as a test that can be pasted; it expects what the statement demands.
    pub test: String,
}

/// What a set of policies decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Which set.
    pub by: String,
    /// The outcome.
    pub outcome: &'static str,
    /// The policies that decided.
    pub policies: Vec<String>,
    /// The policies that could not be evaluated, with the cause.
    pub errors: Vec<String>,
}

impl Decided {
    pub(in crate::workbench) fn new(by: &str, verdict: &Verdict) -> Self {
        Self {
            by: by.to_owned(),
            outcome: verdict.outcome.as_str(),
            policies: verdict.deciding().map(|policy| policy.id.to_string()).collect(),
            errors: verdict
                .errors
                .iter()
                .map(|fault| format!("{}: {}", fault.policy, fault.message))
                .collect(),
        }
    }

    /// `allow by tools.fetch`.
    pub fn words(&self) -> String {
        match self.policies.as_slice() {
            [] => self.outcome.to_owned(),
            policies => format!("{} by {}", self.outcome, policies.join(", ")),
        }
    }
}

/// The solver's request in the words of a test, if the evaluator finds that it `speaks` against the statement.
pub(in crate::workbench) fn confirmed(
    bundles: &[&Bundle],
    env: &Env,
    speaks: &dyn Fn(&Query) -> bool,
) -> Option<SingleRequest> {
    let request = in_words(env)?;
    query(bundles, &request).is_some_and(|query| speaks(&query)).then_some(request)
}

/// A confirmed request without what does not matter to it, about entities of these names where it can be, with the query that
/// it stands for.
pub(in crate::workbench) fn small(
    bundles: &[&Bundle],
    request: SingleRequest,
    names: &[String],
    speaks: &dyn Fn(&Query) -> bool,
) -> Option<(SingleRequest, Query)> {
    let holds = |request: &SingleRequest| query(bundles, request).is_some_and(|query| speaks(&query));
    let small = that_can_occur(shrunk(request, names, &holds)?, &holds);
    let query = query(bundles, &small)?;
    Some((small, query))
}

/// The same with an hour and a weekday of the clock, where some speak against the statement as well: to the solver they are
/// numbers like others.
fn that_can_occur(mut request: SingleRequest, holds: &dyn Fn(&SingleRequest) -> bool) -> SingleRequest {
    for (name, range) in [("hour", 0..=23), ("weekday", 1..=7)] {
        let place = format!("/system/{name}");
        let context = Json::Object(request.context.clone());
        let found = context.pointer(&place).and_then(Json::as_i64);
        if found.is_none_or(|found| range.contains(&found)) {
            continue;
        }
        let with = |number: i64| {
            let mut changed = request.clone();
            let system = changed.context.get_mut("system").and_then(Json::as_object_mut);
            system.map(|system| system.insert(name.to_owned(), number.into()));
            changed
        };
        let occurring = range.map(with).find(|changed| holds(changed));
        request = occurring.unwrap_or(request);
    }
    request
}

/// The entities that tests are about, as they write them, each once.
pub fn names_in_tests(bundle: &Bundle, suites: &Suites) -> Vec<String> {
    let (_, questions) = examine(bundle, suites, &Settings::default());
    let queries = questions.test_rows.iter().flat_map(|row| &row.questions);
    let uids = queries.filter_map(|question| question.query.as_ref()).flat_map(|query| {
        let about = [&query.principal, &query.resource].into_iter().cloned();
        about.chain(query.entities.iter().map(|entity| entity.uid.clone()))
    });
    let mut names: Vec<String> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for uid in uids {
        if seen.insert(uid.clone()) {
            names.push(shorthand(&uid));
        }
    }
    names
}

/// The query that a request stands for, read as a test is read: by the schema of the first of the sets that it is for.
pub(in crate::workbench) fn query(bundles: &[&Bundle], request: &SingleRequest) -> Option<Query> {
    let (bundle, others) = bundles.split_first()?;
    let suites = request.clone().into_suites(None).ok()?;
    let also_named = others.iter().flat_map(|other| other.named_anywhere()).collect();
    let (_, mut questions) = examine(bundle, &suites, &Settings { also_named, ..Settings::default() });
    questions.test_rows.pop()?.questions.pop()?.query
}

/// A query in the words of a test.
pub(in crate::workbench) fn of_query(query: &Query) -> SingleRequest {
    let context = match plain(&query.context) {
        Json::Object(fields) => fields,
        _ => Map::new(),
    };
    let fields = |values: &model::Fields| -> Map<String, Json> {
        values.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
    };
    let entities = query.entities.iter().map(|entity| {
        let parents: Vec<String> = entity.parents.iter().map(shorthand).collect();
        let entry = json!({
            "attrs": fields(&entity.attributes), "tags": fields(&entity.tags), "in": parents,
        });
        (shorthand(&entity.uid), entry)
    });
    SingleRequest {
        principal: shorthand(&query.principal),
        action: short_action(shorthand(&query.action), query.action.id()),
        resource: shorthand(&query.resource),
        context,
        entities: entities.collect(),
        now: None,
    }
}

fn plain(value: &model::Value) -> Json {
    match value {
        model::Value::Entity(uid) => json!(shorthand(uid)),
        model::Value::Set(items) => items.iter().map(plain).collect(),
        model::Value::Record(fields) => {
            fields.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
        }
        // Numbers, texts, instants and addresses as the log writes them, which is as tests write them.
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

fn in_words(env: &Env) -> Option<SingleRequest> {
    let request: &ast::Request = env.request.as_ref();
    let context = match request.context() {
        Some(Context::Value(fields)) => record(fields.iter().map(|(name, value)| (name.as_str(), value)))?,
        Some(Context::RestrictedResidual(_)) | None => Map::new(),
    };
    let mut entities = Map::new();
    let known: &cedar_policy_core::entities::Entities = env.entities.as_ref();
    for entity in known.iter().filter(|entity| !entity.uid().is_action()) {
        let values = |fields: Vec<(&smol_str::SmolStr, &PartialValue)>| -> Option<Map<String, Json>> {
            let whole = fields.into_iter().filter_map(|(name, value)| match value {
                PartialValue::Value(value) => Some((name.as_str(), value)),
                PartialValue::Residual(_) => None,
            });
            record(whole)
        };
        let parents: Vec<String> = entity.ancestors().map(core_shorthand).collect();
        let entry = json!({
            "attrs": values(entity.attrs().collect())?,
            "tags": values(entity.tags().collect())?,
            "in": parents,
        });
        entities.insert(core_shorthand(entity.uid()), entry);
    }
    Some(SingleRequest {
        principal: core_shorthand(request.principal().uid()?),
        action: action(request.action().uid()?),
        resource: core_shorthand(request.resource().uid()?),
        context,
        entities,
        now: None,
    })
}

/// An action by its id alone where that is enough.
fn action(uid: &ast::EntityUID) -> String {
    short_action(core_shorthand(uid), uid.eid().as_ref())
}

fn short_action(short: String, id: &str) -> String {
    if short.starts_with("Action::") { id.to_owned() } else { short }
}

fn record<'v>(fields: impl Iterator<Item = (&'v str, &'v ast::Value)>) -> Option<Map<String, Json>> {
    fields.map(|(name, value)| Some((name.to_owned(), json(value)?))).collect()
}

fn json(value: &ast::Value) -> Option<Json> {
    Some(match &value.value {
        ValueKind::Lit(Literal::Bool(value)) => json!(value),
        ValueKind::Lit(Literal::Long(value)) => json!(value),
        ValueKind::Lit(Literal::String(text)) => json!(text.as_str()),
        ValueKind::Lit(Literal::EntityUID(uid)) => json!(core_shorthand(uid)),
        ValueKind::Set(items) => Json::Array(items.iter().map(json).collect::<Option<_>>()?),
        ValueKind::Record(fields) => {
            Json::Object(record(fields.iter().map(|(name, value)| (name.as_str(), value)))?)
        }
        ValueKind::ExtensionValue(_) => json!(extension(&Expr::from(value.clone()))?),
    })
}

/// An address, decimal, duration or instant as tests write it.
fn extension(expr: &Expr) -> Option<String> {
    let ExprKind::ExtensionFunctionApp { fn_name, args } = expr.expr_kind() else { return None };
    match (fn_name.to_string().as_str(), args.as_slice()) {
        ("ip" | "decimal" | "duration", [text]) => literal(text),
        ("datetime" | "offset", _) => Some(instant_text(instant(expr)?)),
        _ => None,
    }
}

fn instant(expr: &Expr) -> Option<i64> {
    let ExprKind::ExtensionFunctionApp { fn_name, args } = expr.expr_kind() else { return None };
    match (fn_name.to_string().as_str(), args.as_slice()) {
        ("datetime", [text]) => {
            let text = literal(text)?;
            let text = if text.contains('T') { text } else { format!("{text}T00:00:00Z") };
            text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
        }
        ("duration", [text]) => literal(text)?.strip_suffix("ms")?.parse().ok(),
        ("offset", [from, by]) => instant(from)?.checked_add(instant(by)?),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<String> {
    match expr.expr_kind() {
        ExprKind::Lit(Literal::String(text)) => Some(text.to_string()),
        _ => None,
    }
}
