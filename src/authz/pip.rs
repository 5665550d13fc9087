//! Where the guard learns what a credential does not say: the attributes and parents of people and things.

use std::sync::Arc;

use crate::model::{Entity, EntityUid};
use crate::policy::{Bundle, Query};

/// A local store of attributes (policy information point). Answers from memory; a decision never waits for a network.
pub trait AttributeSource: Send + Sync + 'static {
    /// What is known at this moment. A decision takes it once, so that it sees one state of the world.
    fn current(&self) -> Arc<dyn KnownAttributes>;
}

/// What is known at one moment.
pub trait KnownAttributes: Send + Sync {
    /// The entity, or `None` when nothing of that name is known.
    fn entity(&self, uid: &EntityUid) -> Option<Arc<Entity>>;

    /// A principal as policies see it: what it has proven, and what is known of it. `None`: unknown (an agent that is
    /// not deployed).
    fn principal(&self, proven: &Arc<Entity>) -> Option<Arc<Entity>>;

    /// Adds to a question the entities that it and the policies in question of `bundles` can reach
    /// ([`crate::policy::close`]); `false` when that is more than one decision may look at.
    fn close(&self, question: &mut Query, bundles: &[&Bundle]) -> bool;

    /// Grows with every change; stands in each record.
    fn version(&self) -> u64;

    /// How long ago it was last brought in line with where it comes from; `None`: it is kept by hand.
    fn age_seconds(&self, now_millis: i64) -> Option<u64>;

    /// Whether that is so long ago that nothing may be allowed by it.
    fn is_stale(&self, now_millis: i64) -> bool;
}
