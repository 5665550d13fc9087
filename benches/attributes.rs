//! Changing one entity in a store of 10,000, against cloning Cedar's own entities and upserting. Both in one run, in turn.
//!
//! `cargo bench --bench attributes`

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that cannot be made has failed"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use caxton::attributes::{Snapshot, StoredEntity};
use caxton::model::{Claims, Entity, EntityUid, Value};
use cedar_policy as cedar;
use serde_json::json;

const ENTITIES: usize = 10_000;
const GROUPS: usize = 100;
const ROUNDS: usize = 15;
const CHANGES: usize = 1_000;

fn group(id: usize) -> EntityUid {
    EntityUid::new("Acme::Team", format!("team{id}"))
}

fn person(id: usize, level: i64) -> Arc<StoredEntity> {
    let entity = Entity::bare(EntityUid::new("Acme::Person", format!("person{id}")))
        .with("level", Value::Long(level))
        .with("name", Value::text(format!("person {id}")))
        .in_parent(group(id % GROUPS));
    Arc::new(StoredEntity { entity: entity.into(), claims: Claims::Ignored, revoked: Vec::new(), version: 1 })
}

fn cedar_person(id: usize, level: i64) -> cedar::Entity {
    let json = json!({
        "uid": { "type": "Acme::Person", "id": format!("person{id}") },
        "attrs": { "level": level, "name": format!("person {id}") },
        "parents": [{ "type": "Acme::Team", "id": format!("team{}", id % GROUPS) }],
    });
    cedar::Entity::from_json_value(json, None).unwrap()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn main() {
    let mut snapshot = Snapshot::default();
    (0..ENTITIES).for_each(|id| snapshot.put(person(id, 1)));
    let store = cedar::Entities::from_entities((0..ENTITIES).map(|id| cedar_person(id, 1)), None).unwrap();
    let (mut ours, mut cedars) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let changed: Vec<_> = (0..CHANGES).map(|n| person(n * 7 % ENTITIES, 2)).collect();
        let began = Instant::now();
        for entry in changed {
            // As a change is made: the old snapshot stays whole for those who read it.
            let mut next = snapshot.clone();
            next.put(entry);
            snapshot = next;
        }
        ours.push(began.elapsed() / CHANGES as u32);
        let change = cedar_person(round * 7 % ENTITIES, 2);
        let began = Instant::now();
        let next = store.clone().upsert_entities([change], None).unwrap();
        cedars.push(began.elapsed());
        drop(next);
    }
    let (ours, cedars) = (median(ours), median(cedars));
    let ratio = cedars.as_secs_f64() / ours.as_secs_f64();
    println!(
        "one change among {ENTITIES}: {ours:?}; cloning and upserting: {cedars:?}; {ratio:.0} times as fast"
    );
}
