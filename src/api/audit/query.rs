//! What the routes of the decision log take in their query: which records, and what is of one route only.

use serde::Deserialize;

use super::SHOWN;
use crate::api::problem::Problem;
use crate::api::state::Api;
use crate::audit::query::{Filter, FilterWords};

/// A query with the parameters of a filter and some of its own, which [`split`] takes apart. One struct for each route,
/// because a struct in a struct cannot refuse names that nobody knows.
macro_rules! query {
    ($(#[$doc:meta])* $name:ident, $rest:ident { $($(#[$own_doc:meta])* $own:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, utoipa::IntoParams)]
        #[serde(deny_unknown_fields)]
        pub(in crate::api) struct $name {
            $($(#[$own_doc])* $own: Option<$type>,)*
            /// A kind of event (`tool_call`), or one event by name (`login_failure`).
            event_type: Option<String>,
            /// A user or service, by name, id, or the part of the id after the issuer.
            user: Option<String>,
            /// An agent.
            agent: Option<String>,
            /// `allow`, or `deny` for everything else.
            decision: Option<String>,
            /// A `decision_id`, `request_id`, `call_id` or number.
            id: Option<String>,
            /// A `decision_id`.
            decision_id: Option<String>,
            /// A `request_id` or `call_id`.
            request_id: Option<String>,
            /// A `trace_id`.
            trace: Option<String>,
            /// Who asked, in Cedar's notation or by id.
            principal: Option<String>,
            /// For whom an agent asked.
            actor: Option<String>,
            /// An action.
            action: Option<String>,
            /// A resource, in Cedar's notation or by id.
            resource: Option<String>,
            /// The id of a policy that determined the decision.
            policy: Option<String>,
            /// An outcome (`deny_explicit`).
            outcome: Option<String>,
            /// A reason code (`no_permit`).
            reason: Option<String>,
            /// A label.
            label: Option<String>,
            /// An address or a network.
            address: Option<String>,
            /// The last hours or days (`24h`).
            last: Option<String>,
            /// Not before this instant or day; without a zone it is UTC.
            from: Option<String>,
            /// Before this instant, or before the end of this day; without a zone it is UTC.
            to: Option<String>,
        }

        /// What is not of the filter.
        pub(super) struct $rest {
            $(pub(super) $own: Option<$type>,)*
        }

        impl $name {
            pub(super) fn split(self) -> ($rest, FilterWords) {
                let words = FilterWords {
                    event_type: self.event_type,
                    user: self.user,
                    agent: self.agent,
                    decision: self.decision,
                    id: self.id,
                    decision_id: self.decision_id,
                    request_id: self.request_id,
                    trace_id: self.trace,
                    principal: self.principal,
                    actor: self.actor,
                    action: self.action,
                    resource: self.resource,
                    policy: self.policy,
                    outcome: self.outcome,
                    reason: self.reason,
                    label: self.label,
                    address: self.address,
                    last: self.last,
                    from: self.from,
                    to: self.to,
                };
                ($rest { $($own: self.$own,)* }, words)
            }
        }
    };
}

query! {
    /// Query of a page of records.
    EventsQuery, Paging {
        /// At most this many; 100 by default, 1,000 at most.
        limit: usize,
        /// `newest` (default) or `oldest`: which come first.
        order: String,
        /// `next_cursor` of the page before.
        cursor: String,
    }
}

query! {
    /// Query of the stream.
    StreamQuery, Begin {
        /// The number of the record after which it begins; by default it begins with what comes.
        after: u64,
    }
}

query! {
    /// Query of an export.
    ExportQuery, Form {
        /// `json` (default), `csv`, `ocsf`, `cef`, `leef`, `ecs` or `asim`.
        format: String,
    }
}

/// The filter that these words mean.
pub(super) fn filter_of(api: &Api, words: FilterWords) -> Result<Filter, Problem> {
    Filter::read(words, api.clock.now_millis())
        .map_err(|error| Problem::malformed(crate::text::one_line(&error.to_string(), SHOWN)))
}
