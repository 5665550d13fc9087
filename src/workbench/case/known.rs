//! What a gateway knows of people and things, as the world that tests and questions stand in: approved tools with their
//! hints and labels, deployed agents, and on request what its store of attributes holds.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::authz::KnownAttributes;
use crate::model::{Entity, EntityUid};

/// The entities of a gateway at one moment. Cheap to clone.
#[derive(Clone)]
pub struct KnownWorld {
    attributes: Arc<dyn KnownAttributes>,
    names: Arc<BTreeSet<EntityUid>>,
}

impl KnownWorld {
    /// `attributes` says what each is; `names` has all that are there, also those of which nothing is said.
    pub fn new(attributes: Arc<dyn KnownAttributes>, names: BTreeSet<EntityUid>) -> Self {
        Self { attributes, names: Arc::new(names) }
    }

    /// All that are there.
    pub fn names(&self) -> &BTreeSet<EntityUid> {
        &self.names
    }

    /// Whether something of this name is there.
    pub(in crate::workbench) fn has(&self, uid: &EntityUid) -> bool {
        self.names.contains(uid)
    }

    /// What is known of an entity, as a live decision would find it.
    pub(in crate::workbench) fn entity(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        self.attributes.entity(uid)
    }

    /// An entity with what is known of it; `neutral` is what its name alone says, which stays where nothing is known.
    pub(in crate::workbench) fn described(&self, neutral: Entity) -> Entity {
        let neutral = Arc::new(neutral);
        let known = match neutral.uid.type_name() {
            "Caxton::Agent" | "Caxton::Tool" => self.attributes.entity(&neutral.uid),
            _ => self.attributes.principal(&neutral),
        };
        Arc::unwrap_or_clone(known.unwrap_or(neutral))
    }
}

impl std::fmt::Debug for KnownWorld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownWorld").field("names", &self.names.len()).finish_non_exhaustive()
    }
}
