//! A file that is not what it should be is refused when it is opened, with a message that says which file.

use std::fs;

use super::*;

fn reopen(world: &World) -> Result<Memory, MemoryError> {
    let settings = Settings { database: world.database(), ..Settings::default() };
    Memory::open(settings, world.clock.clone(), world.metrics.clone())
}

async fn filled() -> World {
    let world = World::new();
    for number in 0..200 {
        put(&world.memory, &agent("ada"), &format!("thing {number}"), &["some text ".repeat(20).as_str()])
            .await
            .unwrap();
    }
    world.memory.close().await;
    world
}

#[tokio::test]
async fn a_sound_file_opens_again_with_what_was_in_it() {
    let world = filled().await;
    let memory = reopen(&world).unwrap();
    assert_eq!(list(&memory, &agent("ada")).await.len(), 100);
    assert_eq!(find(&memory, &agent("ada"), "thing 7").await.unwrap()[0], "thing 7");
}

#[tokio::test]
async fn damage_is_found_when_the_file_is_opened() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("all of it", |bytes| bytes.clear()),
        ("garbage", |bytes| *bytes = b"this is no database at all, not even nearly".repeat(100)),
        ("half of it", |bytes| bytes.truncate(bytes.len() / 2)),
        ("a torn page", |bytes| bytes.truncate(bytes.len() - 1000)),
        ("the header", |bytes| bytes[..16].fill(0)),
        ("pages in the middle", |bytes| {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 8192].fill(0xa5);
        }),
    ];
    for (what, damage) in damages {
        let world = filled().await;
        let mut bytes = fs::read(world.database()).unwrap();
        damage(&mut bytes);
        fs::write(world.database(), &bytes).unwrap();
        let Err(error) = reopen(&world) else { panic!("{what}: opened") };
        assert!(matches!(error, MemoryError::Damaged { .. }), "{what}: {error:?}");
        let message = error.to_string();
        let start = format!("the memory database `{}` is damaged: ", world.database().display());
        assert!(message.starts_with(&start) && !message.contains('\n'), "{what}: {message}");
        assert_eq!(error.fault(), Fault::Operator);
        assert_eq!(world.metrics.sqlite_events.get(), 1);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_build_is_refused() {
    let world = filled().await;
    let newer: Vec<&str> = sql::MIGRATIONS.iter().copied().chain(["CREATE TABLE future (x)"]).collect();
    drop(crate::db::open(&world.database(), &newer).unwrap());
    let error = reopen(&world).err().unwrap();
    assert_eq!(error.to_string(), "memory cannot start");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.ends_with("has version 2, this build knows 1"), "{cause}");
}

#[tokio::test]
async fn an_answer_that_should_not_happen_is_counted_and_tells_the_caller_nothing() {
    let world = World::new();
    put(&world.memory, &agent("ada"), "thing", &[]).await.unwrap();
    let thief = crate::db::open(&world.database(), sql::MIGRATIONS).unwrap();
    thief.execute_batch("DROP TABLE observations").unwrap();
    let error = fetch(&world.memory, &agent("ada"), MemoryKind::Entity, "thing").await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.fault()), ("the memory database failed", Fault::Operator));
    assert_eq!(world.metrics.sqlite_events.get(), 1);
    assert!(matches!(put(&world.memory, &agent("ada"), "new", &["x"]).await, Err(MemoryError::Sqlite(_))));
    assert!(
        world.memory.row(&agent("ada"), MemoryKind::Entity, "new").await.unwrap().is_none(),
        "half a write"
    );
}

#[tokio::test]
async fn labels_that_cannot_be_read_are_not_taken_for_none() {
    let world = World::new();
    put(&world.memory, &agent("ada"), "thing", &[]).await.unwrap();
    let hand = crate::db::open(&world.database(), sql::MIGRATIONS).unwrap();
    assert!(
        hand.execute("UPDATE entities SET labels = 'pii'", []).is_err(),
        "the table takes JSON arrays only"
    );
    hand.execute("UPDATE entities SET labels = '[1]'", []).unwrap();
    let row = world.memory.row(&agent("ada"), MemoryKind::Entity, "thing").await;
    assert!(matches!(row, Err(MemoryError::Sqlite(_))), "{row:?}");
}

#[tokio::test]
async fn the_tables_themselves_keep_relations_in_their_scope() {
    let world = World::new();
    put(&world.memory, &agent("ada"), "a", &[]).await.unwrap();
    put(&world.memory, &agent("bob"), "b", &[]).await.unwrap();
    let hand = crate::db::open(&world.database(), sql::MIGRATIONS).unwrap();
    let across =
        "INSERT INTO relations VALUES ('agent', 'ada', 'a--knows--b', 'a', 'knows', 'b', 'o', '[]', 0, 0)";
    assert!(hand.execute(across, []).unwrap_err().to_string().contains("FOREIGN KEY"));
    for scope in ["'team', 'x'", "'global', 'x'", "'agent', ''"] {
        let sql = format!("INSERT INTO entities VALUES (NULL, {scope}, 'n', 'k', 'o', '[]', 0, 0)");
        assert!(hand.execute(&sql, []).unwrap_err().to_string().contains("CHECK"), "{scope}");
    }
}
