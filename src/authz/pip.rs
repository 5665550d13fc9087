//! Where the guard learns what a credential does not say: the attributes of agents.

use std::sync::Arc;

use crate::model::{Entity, EntityUid};

/// A local store of attributes (policy information point). Answers from memory; a decision never waits for a network.
pub trait AttributeSource: Send + Sync + 'static {
    /// The entity, or `None` when nobody of that name is known.
    fn entity(&self, uid: &EntityUid) -> Option<Arc<Entity>>;

    /// Grows with every change; stands in each record.
    fn version(&self) -> u64;
}
