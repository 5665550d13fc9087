//! Which records: the options that `query`, `tail` and `export` share.

use clap::Args;

use crate::audit::query::{Filter, FilterWords};
use crate::clock::{Clock as _, SystemClock};

/// Which records.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct FilterOptions {
    /// Only this kind of event (`authorization`, `tool_call`, …), or one event by name (`login_failure`, …).
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// Only what this user or service asked for.
    #[arg(long)]
    user: Option<String>,
    /// Only what this agent asked for.
    #[arg(long)]
    agent: Option<String>,
    /// Only `allow`, or only `deny` (everything that is not `allow`).
    #[arg(long, value_name = "allow|deny")]
    decision: Option<String>,
    /// Only this decision or request: its `decision_id`, `request_id` or `call_id`, or its number.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only this decision: its `decision_id`.
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// Only this request: its `request_id` or `call_id`.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Only this trace: its `trace_id` (W3C trace context).
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Only what this principal asked for: `Agent::"clerk"`, or the id alone.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only what an agent did for this person.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only this action (`tool:list`, `files___read`).
    #[arg(long)]
    action: Option<String>,
    /// Only what is about this resource: `Tool::"files___read"`, or the id alone.
    #[arg(long, value_name = "NAME")]
    resource: Option<String>,
    /// Only what this policy determined.
    #[arg(long, value_name = "ID")]
    policy: Option<String>,
    /// Only this outcome (`deny_explicit`, `limited`, …).
    #[arg(long)]
    outcome: Option<String>,
    /// Only this reason code (`no_permit`, `rate_limited`, …).
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
    /// Only what got this label.
    #[arg(long)]
    label: Option<String>,
    /// Only from this address or network (`10.1.2.3`, `10.0.0.0/8`).
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Only the last hours, days, … (`24h`, `7d`, `90m`).
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    last: Option<String>,
    /// Not before this day or instant (`2026-01-31`, `2026-01-31T12:00:00Z`; without a zone it is UTC).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this instant, or before the end of this day (without a zone it is UTC).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
}

impl FilterOptions {
    /// The filter.
    pub(super) fn filter(&self) -> anyhow::Result<Filter> {
        Ok(Filter::read(self.words(), SystemClock.now_millis())?)
    }

    fn words(&self) -> FilterWords {
        let Self {
            event_type,
            user,
            agent,
            decision,
            id,
            decision_id,
            request_id,
            trace,
            principal,
            actor,
            action,
            resource,
            policy,
            outcome,
            reason,
            label,
            address,
            last,
            from,
            to,
        } = self.clone();
        FilterWords {
            event_type,
            user,
            agent,
            decision,
            id,
            decision_id,
            request_id,
            trace_id: trace,
            principal,
            actor,
            action,
            resource,
            policy,
            outcome,
            reason,
            label,
            address,
            last,
            from,
            to,
        }
    }

    /// The same as parameters of a gateway's URL, where they have the same names.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("event_type", &self.event_type),
            ("user", &self.user),
            ("agent", &self.agent),
            ("decision", &self.decision),
            ("id", &self.id),
            ("decision_id", &self.decision_id),
            ("request_id", &self.request_id),
            ("trace", &self.trace),
            ("principal", &self.principal),
            ("actor", &self.actor),
            ("action", &self.action),
            ("resource", &self.resource),
            ("policy", &self.policy),
            ("outcome", &self.outcome),
            ("reason", &self.reason),
            ("label", &self.label),
            ("address", &self.address),
            ("last", &self.last),
            ("from", &self.from),
            ("to", &self.to),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}
