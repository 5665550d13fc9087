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

use super::schema_index::SchemaIndex;
use super::types::Mismatch;
use crate::model;

/// Entities that a thread keeps at most. Of two whose place is the same the later one has it.
const SLOTS: usize = 256;

thread_local! {
    static CACHE: RefCell<Vec<Option<CachedEntity>>> = const { RefCell::new(Vec::new()) };
}

/// An entity that has come once at least.
struct CachedEntity {
    entity: Weak<model::Entity>,
    /// The entities through which it is in others than its parents.
    via: Vec<Weak<model::Entity>>,
    /// The schema, by [`SchemaIndex::number`].
    schema: u64,
    /// Made when it comes again.
    form: Option<Arc<Entity>>,
}

impl CachedEntity {
    fn new(entity: &Arc<model::Entity>, via: &[&Arc<model::Entity>], schema: u64) -> Self {
        let via = via.iter().map(|link| Arc::downgrade(link)).collect();
        Self { entity: Arc::downgrade(entity), via, schema, form: None }
    }

    fn is(&self, entity: &Arc<model::Entity>, via: &[&Arc<model::Entity>], schema: u64) -> bool {
        let same = |weak: &Weak<_>, strong: &Arc<_>| weak.as_ptr() == Arc::as_ptr(strong);
        self.schema == schema
            && same(&self.entity, entity)
            && self.via.len() == via.len()
            && self.via.iter().zip(via).all(|(one, other)| same(one, other))
    }
}

/// Cedar's form of the entity, when it has come before with the same `via` and fits the schema; `make` makes it.
pub(crate) fn get_or_build(
    entity: &Arc<model::Entity>,
    via: &[&Arc<model::Entity>],
    schema: &SchemaIndex,
    make: impl FnOnce() -> Result<Entity, Mismatch>,
) -> Option<Arc<Entity>> {
    // An entity that only this question holds does not come again.
    if Arc::strong_count(entity) == 1 {
        return None;
    }
    CACHE.with_borrow_mut(|slots| {
        slots.resize_with(SLOTS, || None);
        let slot = slots.get_mut(slot_of(entity))?;
        let known = slot.as_mut().filter(|known| known.is(entity, via, schema.number()));
        let Some(known) = known else {
            *slot = Some(CachedEntity::new(entity, via, schema.number()));
            return None;
        };
        if known.form.is_none() {
            // Of one that does not fit the question tells why, each time.
            known.form = make().ok().map(Arc::new);
        }
        known.form.clone()
    })
}

fn slot_of(entity: &Arc<model::Entity>) -> usize {
    // Entities lie some multiple of their size apart: the upper half of the product depends on every bit (Knuth, 6.4).
    let product = (Arc::as_ptr(entity).addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(product >> 56).unwrap_or_default() % SLOTS
}

#[cfg(test)]
mod tests {
    use crate::model::{Entity, EntityUid, Outcome, ReasonCode, Value};
    use crate::policy::{Bundle, Query, Sources};

    use super::*;

    const SCHEMA: &str = r#"
entity User in [Role] = { age: Long };
entity Role in [Role];
entity Doc;
action read appliesTo { principal: [User], resource: [Doc] };
"#;
    const POLICY: &str = r#"
@id("old") permit(principal, action, resource) when { principal.age > 40 };
@id("top") permit(principal in Role::"top", action, resource);
"#;

    fn bundle(schema: &str) -> Bundle {
        let sources = Sources::new().with_schema("s.cedarschema", schema);
        Bundle::load(sources.with_policy("p.cedar", POLICY)).unwrap()
    }

    fn user(age: i64) -> model::Entity {
        let user = Entity::bare(EntityUid::new("User", "ann")).with("age", Value::Long(age));
        user.in_parent(EntityUid::new("Role", "low"))
    }

    fn query(entities: Vec<Arc<model::Entity>>) -> Query {
        Query {
            principal: EntityUid::new("User", "ann"),
            action: EntityUid::new("Action", "read"),
            resource: EntityUid::new("Doc", "plan"),
            context: Value::record::<&str>([]),
            entities,
        }
    }

    fn is_kept(entity: &Arc<model::Entity>) -> bool {
        CACHE.with_borrow(|slots| {
            let mut known = slots.iter().flatten();
            known.any(|known| known.entity.as_ptr() == Arc::as_ptr(entity) && known.form.is_some())
        })
    }

    #[test]
    fn what_comes_again_is_kept_and_what_only_the_question_holds_is_not() {
        let bundle = bundle(SCHEMA);
        let held = Arc::new(user(41));
        for round in 1..4 {
            assert_eq!(bundle.decide(&query(vec![Arc::clone(&held)])).outcome, Outcome::Allow);
            assert_eq!(is_kept(&held), round > 1);
        }
        let alone = query(vec![Arc::new(user(41))]);
        for _ in 0..3 {
            assert_eq!(bundle.decide(&alone).outcome, Outcome::Allow);
        }
        assert!(!is_kept(&alone.entities[0]));
    }

    #[test]
    fn what_was_kept_does_not_outlive_a_change() {
        let bundle = bundle(SCHEMA);
        let mut held = Arc::new(user(41));
        for _ in 0..3 {
            assert_eq!(bundle.decide(&query(vec![Arc::clone(&held)])).outcome, Outcome::Allow);
        }
        assert!(Arc::get_mut(&mut held).is_none(), "not in its place");
        Arc::make_mut(&mut held).attributes.insert("age".into(), Value::Long(1));
        for _ in 0..3 {
            assert_eq!(bundle.decide(&query(vec![Arc::clone(&held)])).outcome, Outcome::DenyDefault);
        }
    }

    #[test]
    fn what_was_kept_serves_neither_another_schema_nor_another_family() {
        let (one, other) = (bundle(SCHEMA), bundle(&SCHEMA.replace("age: Long", "age: Long, name: String")));
        let held = Arc::new(user(1));
        let role = |above: &str| {
            let low = Entity::bare(EntityUid::new("Role", "low"));
            Arc::new(low.in_parent(EntityUid::new("Role", above)))
        };
        let (top, side) = (role("top"), role("side"));
        let with = |beside: &[&Arc<model::Entity>]| {
            let all = [&held].into_iter().chain(beside.iter().copied());
            query(all.map(Arc::clone).collect())
        };
        // Alone, under one role, under another, and back, each until it is kept.
        let asked: [(&[&Arc<model::Entity>], _); 4] = [
            (&[], Outcome::DenyDefault),
            (&[&top], Outcome::Allow),
            (&[&side], Outcome::DenyDefault),
            (&[&top], Outcome::Allow),
        ];
        for (beside, outcome) in asked {
            for _ in 0..3 {
                assert_eq!(one.decide(&with(beside)).outcome, outcome);
            }
            assert!(is_kept(&held));
            assert_eq!(other.decide(&with(beside)).reason, ReasonCode::SchemaMismatch);
        }
    }
}
