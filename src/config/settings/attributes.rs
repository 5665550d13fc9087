//! What is known of people and things.

use std::time::Duration;

use crate::config::kind::{Integer, Span};
use crate::config::reader::Reader;

/// `security.attributes.*`
#[derive(Debug)]
pub struct Attributes {
    /// The most entities in the store.
    pub max_entities: usize,
    /// The most entities that one decision looks at.
    pub max_per_decision: usize,
    /// How old the last import may be; `None`: any age.
    pub max_age: Option<Duration>,
}

impl Attributes {
    pub(super) fn read(r: &mut Reader<'_>) -> Self {
        Self {
            max_entities: r.value(
                "security.attributes.max_entities",
                Integer::new(1..=1_000_000, "entities"),
                100_000,
                "The most entities in the store of attributes.",
            ),
            max_per_decision: r.value(
                "security.attributes.max_per_decision",
                Integer::new(16..=100_000, "entities"),
                1_000,
                "The most entities that one decision looks at; one that needs more is denied.",
            ),
            max_age: r.optional(
                "security.attributes.max_age",
                Span(Duration::from_secs(1)..=Duration::from_secs(366 * 86_400)),
                "How old the last import of attributes may be. When it is older, or there was none, everything but an import is denied. Without the key: any age.",
            ),
        }
    }
}
