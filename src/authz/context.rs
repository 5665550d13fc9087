//! `context`: the circumstances of a request, as `schemas/caxton.cedarschema` types them and policies see them.

use std::sync::Arc;

use smol_str::{SmolStr, format_smolstr};

use super::decide::RequestState;
use crate::model::{Actor, Delegate, Input, RequestContext, Screening, Subject, Value};

/// The field of `context` that is the operation's own.
pub(super) const INPUT: &str = "input";

/// A name that stands in the program. In each record here they stand in order.
fn key(name: &'static str) -> SmolStr {
    SmolStr::new_static(name)
}

/// `context`, as `schemas/caxton.cedarschema` types it, but for the input.
pub(super) fn build_context(
    context: &RequestContext,
    screening: &Screening,
    state: &RequestState<'_>,
) -> Value {
    let facts = &state.shared.session;
    let source = &context.source;
    let actor = context.actor.as_ref().map(|actor| (key(ACTOR), describe_actor(actor)));
    let agent = source.user_agent.clone().map(|agent| (key("user_agent"), Value::String(agent)));
    let origin = [
        (key("ip"), Value::Ip(format_smolstr!("{}", source.ip).as_str().into())),
        (key("mtls"), Value::Bool(source.mtls)),
        (key("tls"), Value::Bool(source.tls)),
    ];
    let session = Value::record([
        (key("age_seconds"), Value::Long(facts.age_seconds)),
        (key("denied"), Value::Long(facts.denied)),
        (key("id"), Value::String(Arc::clone(&facts.id))),
        (key("labels"), Value::texts(&facts.labels)),
        (key("tool_calls"), Value::Long(facts.tool_calls)),
        (key("tools_called"), Value::texts(&facts.tools_called)),
    ]);
    let screens = Value::record([
        (key("findings"), Value::texts(&screening.findings)),
        (key("injection"), Value::Bool(screening.injection)),
        (key("score"), Value::Decimal(screening.score_decimal().as_str().into())),
    ]);
    let fields = [
        (key("screening"), screens),
        (key("session"), session),
        (key("source"), Value::record(origin.into_iter().chain(agent))),
        (key("system"), system(state)),
    ];
    let chain = delegation(context, state.subject);
    let delegation = (!chain.is_empty()).then(|| (key("delegation"), describe_delegation(chain)));
    Value::record(actor.into_iter().chain(delegation).chain(fields))
}

/// Those that act for the requester, or acted for the first that asked.
pub(super) fn delegation<'a>(context: &'a RequestContext, subject: &'a Subject) -> &'a [Delegate] {
    context.actor.as_ref().map_or(subject.delegation(), |actor| &actor.delegation)
}

/// `context.delegation`. A set has no order, so each says how far it is from the call: 1 acts now.
fn describe_delegation(chain: &[Delegate]) -> Value {
    let party = |(depth, delegate): (i64, &Delegate)| {
        Value::record([
            (key("depth"), Value::Long(depth)),
            (key("kind"), Value::text("user")),
            (key("principal"), Value::text(delegate.id())),
        ])
    };
    Value::Set((1..).zip(chain).map(party).collect())
}

/// `context.system`.
fn system(state: &RequestState<'_>) -> Value {
    let seconds = state.now.div_euclid(1000);
    let hour = seconds.div_euclid(3600).rem_euclid(24);
    // 1970-01-01 was a Thursday, day 4 of ISO 8601's week.
    let weekday = (seconds.div_euclid(86_400) + 3).rem_euclid(7) + 1;
    Value::record([
        (key("hour"), Value::Long(hour)),
        (key("lockdown"), Value::Bool(state.shared.lockdown)),
        (key("now"), Value::Datetime(state.now)),
        (key("policy_version"), Value::String(state.bundle.version().shared())),
        (key("weekday"), Value::Long(weekday)),
    ])
}

/// The field of `context` that says who an agent acts for.
const ACTOR: &str = "actor";
/// The field of [`ACTOR`] that says whether the actor may do it itself.
const PERMITTED: &str = "permitted";

/// `context.actor`: the principal stands in the field of its type.
fn describe_actor(actor: &Actor) -> Value {
    let kind = match actor.principal.uid.base_type() {
        "User" => Some("user"),
        "Service" => Some("service"),
        "Workload" => Some("workload"),
        "Agent" => Some("agent"),
        _ => None,
    };
    let principal = kind.map(|kind| (key(kind), Value::Entity(actor.principal.uid.clone())));
    Value::record([(key("scopes"), Value::texts(&actor.scopes))].into_iter().chain(principal))
}

/// The circumstances of the same question, asked by the actor itself.
pub(super) fn without_actor(cedar_context: &Value) -> Value {
    let mut own = cedar_context.clone();
    if let Value::Record(fields) = &mut own {
        fields.remove(ACTOR);
    }
    own
}

/// Tells the policies whether the actor may do it itself.
pub(super) fn set_permitted(cedar_context: &mut Value, permitted: bool) {
    if let Value::Record(fields) = cedar_context
        && let Some(Value::Record(actor)) = fields.get_mut(ACTOR)
    {
        actor.insert(PERMITTED.into(), Value::Bool(permitted));
    }
}

/// Puts the operation's input into the circumstances, or takes that of another one out; whether any could still come.
pub(super) fn set_input(cedar_context: &mut Value, input: Input) -> bool {
    let open = matches!(input, Input::Open);
    if let Value::Record(fields) = cedar_context {
        match input {
            Input::Known(value) => drop(fields.insert(INPUT.into(), value)),
            Input::Absent | Input::Open => drop(fields.remove(INPUT)),
        }
    }
    open
}
