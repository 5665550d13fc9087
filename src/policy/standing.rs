//! Entities that come again and again, kept as Cedar has them.
//!
//! A gateway asks about the same callers, tools and scopes for as long as they stay what they are, and keeps each of them in
//! one piece of memory. Such an entity is checked and put into Cedar's form once for a thread and a schema, not for each
//! question. It is told by where it lies. The weak reference that is kept makes that safe: while there is one nothing else
//! can come to lie there, and what lies there cannot be changed (`Arc::make_mut` then moves it away, `Arc::get_mut`
//! refuses).

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use cedar_policy_core::ast::Entity;

use super::shape::Mismatch;
use super::vocabulary::Vocabulary;
use crate::model;

/// Entities that a thread keeps at most. Of two whose place is the same the later one has it.
const PLACES: usize = 256;

thread_local! {
    static PLACE: RefCell<Vec<Option<Standing>>> = const { RefCell::new(Vec::new()) };
}

/// An entity that has come once at least.
struct Standing {
    entity: Weak<model::Entity>,
    /// The entities through which it is in others than its parents.
    lifts: Vec<Weak<model::Entity>>,
    /// The schema, by [`Vocabulary::number`].
    schema: u64,
    /// Made when it comes again.
    form: Option<Arc<Entity>>,
}

impl Standing {
    fn new(entity: &Arc<model::Entity>, lifts: &[&Arc<model::Entity>], schema: u64) -> Self {
        let lifts = lifts.iter().map(|lift| Arc::downgrade(lift)).collect();
        Self { entity: Arc::downgrade(entity), lifts, schema, form: None }
    }

    fn is(&self, entity: &Arc<model::Entity>, lifts: &[&Arc<model::Entity>], schema: u64) -> bool {
        let same = |weak: &Weak<_>, strong: &Arc<_>| weak.as_ptr() == Arc::as_ptr(strong);
        self.schema == schema
            && same(&self.entity, entity)
            && self.lifts.len() == lifts.len()
            && self.lifts.iter().zip(lifts).all(|(one, other)| same(one, other))
    }
}

/// Cedar's form of the entity, when it has come before with the same `lifts` and fits the schema; `make` makes it.
pub(super) fn form(
    entity: &Arc<model::Entity>,
    lifts: &[&Arc<model::Entity>],
    words: &Vocabulary,
    make: impl FnOnce() -> Result<Entity, Mismatch>,
) -> Option<Arc<Entity>> {
    // What nobody but the question holds does not come again.
    if Arc::strong_count(entity) == 1 {
        return None;
    }
    PLACE.with_borrow_mut(|places| {
        places.resize_with(PLACES, || None);
        let place = places.get_mut(place_of(entity))?;
        let known = place.as_mut().filter(|known| known.is(entity, lifts, words.number()));
        let Some(known) = known else {
            *place = Some(Standing::new(entity, lifts, words.number()));
            return None;
        };
        if known.form.is_none() {
            // Of one that does not fit the question tells why, each time.
            known.form = make().ok().map(Arc::new);
        }
        known.form.clone()
    })
}

fn place_of(entity: &Arc<model::Entity>) -> usize {
    // Entities lie some multiple of their size apart: the upper half of the product depends on every bit (Knuth, 6.4).
    let product = (Arc::as_ptr(entity).addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(product >> 56).unwrap_or_default() % PLACES
}
