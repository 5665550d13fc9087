//! Between a decision and its effect the row may have become another one; then nothing happens.

use super::*;

const NAME: &str = "plan";

/// What happens to the row after it was judged.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    NewLabel,
    NewKind,
    NewOwner,
    Gone,
}

async fn happen(memory: &Memory, what: Meanwhile) {
    let scope = agent("ada");
    let row = memory.row(&scope, MemoryKind::Entity, NAME).await.unwrap().unwrap();
    match what {
        Meanwhile::NewLabel | Meanwhile::NewKind => {
            let labelled = matches!(what, Meanwhile::NewLabel);
            let write = WriteMemoryEntity {
                kind: if labelled { row.kind.clone() } else { "secret".into() },
                labels: if labelled { labels(&["pii"]) } else { row.labels.clone() },
                observations: vec!["newer".into()],
                row,
            };
            memory.write_entity(permit(write, bob())).await.unwrap();
        }
        Meanwhile::NewOwner => {
            forget(memory, &scope, MemoryKind::Entity, NAME).await.unwrap();
            let row = new_row(&scope, MemoryKind::Entity, NAME, "note", &bob());
            let (kind, labels) = (row.kind.clone(), row.labels.clone());
            let write = WriteMemoryEntity { row, kind, labels, observations: vec!["newer".into()] };
            memory.write_entity(permit(write, bob())).await.unwrap();
        }
        Meanwhile::Gone => drop(forget(memory, &scope, MemoryKind::Entity, NAME).await.unwrap()),
    }
}

#[tokio::test]
async fn an_effect_on_a_row_that_has_changed_is_refused() {
    for what in [Meanwhile::NewLabel, Meanwhile::NewKind, Meanwhile::NewOwner] {
        let World { memory, .. } = &World::new();
        put(memory, &agent("ada"), NAME, &["older"]).await.unwrap();
        let judged = memory.row(&agent("ada"), MemoryKind::Entity, NAME).await.unwrap().unwrap();
        happen(memory, what).await;
        let write = WriteMemoryEntity {
            row: judged.clone(),
            kind: judged.kind.clone(),
            labels: judged.labels.clone(),
            observations: vec!["stale".into()],
        };
        let refusals = [
            memory.write_entity(permit(write, ada())).await.unwrap_err(),
            memory.read(permit(ReadMemory { row: judged.clone() }, ada())).await.unwrap_err(),
            memory.delete(permit(DeleteMemory { row: judged }, ada())).await.unwrap_err(),
        ];
        for error in refusals {
            assert_eq!(error.to_string(), "`plan` has changed since the decision", "{what:?}");
        }
        assert_eq!(observations(memory, &agent("ada"), NAME).await, ["newer"]);
    }
}

#[tokio::test]
async fn an_effect_on_a_row_that_is_gone_is_refused() {
    let World { memory, .. } = &World::new();
    put(memory, &agent("ada"), NAME, &["older"]).await.unwrap();
    let judged = memory.row(&agent("ada"), MemoryKind::Entity, NAME).await.unwrap().unwrap();
    happen(memory, Meanwhile::Gone).await;
    let read = memory.read(permit(ReadMemory { row: judged.clone() }, ada())).await;
    assert!(matches!(read, Err(MemoryError::NoSuchRow(_))));
    let delete = memory.delete(permit(DeleteMemory { row: judged.clone() }, ada())).await;
    assert!(matches!(delete, Err(MemoryError::NoSuchRow(_))));
    // It was ada's; what bob was allowed to do to it is not to make one of his own.
    let (kind, labels) = (judged.kind.clone(), judged.labels.clone());
    let write = WriteMemoryEntity { row: judged, kind, labels, observations: vec![] };
    let write = memory.write_entity(permit(write, bob())).await;
    assert!(matches!(write, Err(MemoryError::Changed(_))));
    assert!(list(memory, &agent("ada")).await.is_empty());
}

#[tokio::test]
async fn a_new_row_is_stored_only_in_the_form_that_was_judged() {
    let World { memory, .. } = &World::new();
    let judged = new_row(&agent("ada"), MemoryKind::Entity, NAME, "note", &ada());
    let faults = [
        // judged as bob's, written by ada
        (MemoryRow { owner: owner(&bob()), ..judged.clone() }, "note", labels(&[])),
        // judged as a note, stored as a secret
        (judged.clone(), "secret", labels(&[])),
        // judged with the label, stored without
        (MemoryRow { labels: labels(&["pii"]), ..judged }, "note", labels(&[])),
    ];
    for (row, kind, labels) in faults {
        let write = WriteMemoryEntity { row, kind: kind.into(), labels, observations: vec![] };
        let refused = memory.write_entity(permit(write, ada())).await;
        assert!(matches!(refused, Err(MemoryError::Changed(_))), "{refused:?}");
    }
    assert!(list(memory, &agent("ada")).await.is_empty());
}

#[tokio::test]
async fn a_relation_is_looked_at_again_too() {
    let World { memory, .. } = &World::new();
    put(memory, &agent("ada"), "a", &[]).await.unwrap();
    put(memory, &agent("ada"), "b", &[]).await.unwrap();
    let mine = new_row(&agent("ada"), MemoryKind::Relation, "a--knows--b", "knows", &ada());
    let write = |row: MemoryRow, subject: Subject| {
        memory.write_relation(permit(WriteMemoryRelation { row, from: "a".into(), to: "b".into() }, subject))
    };
    let foreign = write(MemoryRow { owner: owner(&bob()), ..mine.clone() }, ada()).await;
    assert!(matches!(foreign, Err(MemoryError::Changed(_))));
    write(MemoryRow { owner: owner(&bob()), ..mine.clone() }, bob()).await.unwrap();
    let refusals = [
        write(mine.clone(), ada()).await.unwrap_err(),
        memory.read(permit(ReadMemory { row: mine.clone() }, ada())).await.unwrap_err(),
        memory.delete(permit(DeleteMemory { row: mine }, ada())).await.unwrap_err(),
    ];
    for error in refusals {
        assert_eq!(error.to_string(), "`a--knows--b` has changed since the decision");
        assert_eq!(error.help(), Some("read the row again and repeat the request"));
    }
}
