//! Many callers at once, callers that go away, and the end.

use std::pin::pin;
use std::sync::mpsc;

use futures::FutureExt as _;

use super::*;

/// Keeps the writer busy until the returned sender is used: the future of the job, and that sender.
fn hold_writer(memory: &Memory) -> (impl Future<Output = Result<(), MemoryError>> + '_, mpsc::Sender<()>) {
    let (release, held) = mpsc::channel::<()>();
    let (started, running) = mpsc::channel::<()>();
    let mut job = Box::pin(memory.inner.workers.run(Pool::Write, move |_, _| {
        started.send(()).unwrap();
        // An error means that the test has ended.
        let _ = held.recv();
        Ok(())
    }));
    assert!(job.as_mut().now_or_never().is_none());
    running.recv().unwrap();
    (job, release)
}

fn write(name: &str) -> Permit<WriteMemoryEntity> {
    let row = new_row(&agent("ada"), MemoryKind::Entity, name, "note", &ada());
    let (kind, labels) = (row.kind.clone(), row.labels.clone());
    permit(WriteMemoryEntity { row, kind, labels, observations: vec![] }, ada())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_and_readers_at_once_lose_nothing() {
    let world = Arc::new(World::new());
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(async move {
                put(&world.memory, &agent("ada"), &format!("thing {number}"), &["text"]).await.unwrap();
                put(&world.memory, &agent("ada"), "shared", &[&number.to_string()]).await.unwrap();
                find(&world.memory, &agent("ada"), "text").await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert!(!task.await.unwrap().is_empty());
    }
    let rows: i64 = crate::db::open(&world.database(), sql::MIGRATIONS)
        .unwrap()
        .query_row("SELECT count(*) FROM search", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 101);
    assert_eq!(observations(&world.memory, &agent("ada"), "shared").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_quota_holds_against_writers_at_once() {
    let world = Arc::new(World::with(|settings| settings.max_entities = 10));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let world = Arc::clone(&world);
            tokio::spawn(
                async move { put(&world.memory, &agent("ada"), &format!("{number}"), &[]).await.is_ok() },
            )
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += usize::from(task.await.unwrap());
    }
    assert_eq!((stored, list(&world.memory, &agent("ada")).await.len()), (10, 10));
}

#[tokio::test]
async fn a_write_whose_caller_has_gone_is_not_done() {
    let world = World::new();
    let (held, release) = hold_writer(&world.memory);
    assert!(world.memory.write_entity(write("abandoned")).now_or_never().is_none());
    release.send(()).unwrap();
    held.await.unwrap();
    put(&world.memory, &agent("ada"), "after", &[]).await.unwrap();
    assert_eq!(names(release_all(list(&world.memory, &agent("ada")).await)), ["after"]);
}

#[tokio::test]
async fn a_job_whose_caller_has_gone_is_not_even_begun() {
    let world = World::new();
    let (held, release) = hold_writer(&world.memory);
    let (begun, seen) = mpsc::channel();
    let job = world.memory.inner.workers.run(Pool::Write, move |_, _| {
        begun.send(()).unwrap();
        Ok(())
    });
    assert!(job.now_or_never().is_none());
    release.send(()).unwrap();
    held.await.unwrap();
    world.memory.close().await;
    assert!(seen.try_recv().is_err());
}

#[tokio::test]
async fn a_write_that_is_late_is_refused_and_not_done() {
    let world = World::with(|settings| settings.deadline = Duration::from_millis(1));
    let (held, release) = hold_writer(&world.memory);
    let error = world.memory.write_entity(write("late")).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.fault()), ("memory did not answer in time", Fault::Load));
    drop((held, release));
    world.memory.close().await;
    let settings = Settings { database: world.database(), ..Settings::default() };
    let memory = Memory::open(settings, world.clock.clone(), world.metrics.clone()).unwrap();
    assert!(list(&memory, &agent("ada")).await.is_empty());
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_takes_its_write_with_it() {
    let world = World::new();
    let (row, settings) = (write("halfway").into_operation(), Settings::default());
    let result = world.memory.inner.workers.run(Pool::Write, move |connection, _| {
        let gone = || false;
        store::write_entity(connection, &settings, row, &owner(&ada()), 0, &store::Cancel::new(&gone))
    });
    assert!(matches!(result.await, Err(MemoryError::Overdue)));
    assert!(list(&world.memory, &agent("ada")).await.is_empty());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_reads_go_on() {
    let world = World::with(|settings| settings.queue = 1);
    let (held, release) = hold_writer(&world.memory);
    let mut waiting = pin!(world.memory.write_entity(write("waits")));
    assert!(waiting.as_mut().now_or_never().is_none());
    let error = world.memory.write_entity(write("too many")).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.help()), ("memory is busy", Some("ask again later")));
    assert!(list(&world.memory, &agent("ada")).await.is_empty());
    release.send(()).unwrap();
    held.await.unwrap();
    waiting.await.unwrap();
    assert_eq!(list(&world.memory, &agent("ada")).await.len(), 1);
}

#[tokio::test]
async fn after_the_end_nothing_is_taken_and_nothing_is_lost() {
    let world = World::new();
    let clone = world.memory.clone();
    put(&world.memory, &agent("ada"), "thing", &["text"]).await.unwrap();
    world.memory.close().await;
    clone.close().await;
    for result in
        [find(&clone, &agent("ada"), "text").await.err(), put(&clone, &agent("ada"), "x", &[]).await.err()]
    {
        assert!(matches!(result, Some(MemoryError::Closed)));
    }
    assert!(!world.directory.path().join("data/memory.db-wal").exists(), "the log is back in the file");
}

#[tokio::test]
async fn a_job_that_breaks_its_thread_closes_memory_instead_of_hanging() {
    let world = World::new();
    let broken = world
        .memory
        .inner
        .workers
        .run(Pool::Write, |_, _| -> Result<(), MemoryError> { panic!("on purpose") });
    assert!(matches!(broken.await, Err(MemoryError::Closed)));
    assert!(matches!(put(&world.memory, &agent("ada"), "x", &[]).await, Err(MemoryError::Closed)));
    assert!(list(&world.memory, &agent("ada")).await.is_empty());
}

#[tokio::test]
async fn a_reader_cannot_write() {
    let world = World::new();
    let tried = world.memory.inner.workers.run(Pool::Read, |connection, _| {
        Ok(connection.execute_batch("DELETE FROM entities").unwrap_err().to_string())
    });
    assert!(tried.await.unwrap().contains("readonly"));
}
