//! What memory promises, seen from its callers. Hostile files, text and timing have files of their own.

mod damage;
mod hostile;
mod search;
mod staleness;
mod workers;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::ManualClock;
use crate::model::{AgentId, Proof, Subject, WorkspaceId};

/// A memory in a directory that goes away with it.
struct World {
    memory: Memory,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(&directory.path().join("data"));
        // A busy machine is not what is tested here.
        settings.deadline = Duration::from_secs(180);
        change(&mut settings);
        let clock = Arc::new(ManualClock::at_millis(1_768_039_200_000));
        let metrics = Arc::new(Metrics::new());
        let memory = Memory::open(settings, clock.clone(), metrics.clone()).unwrap();
        Self { memory, clock, metrics, directory }
    }

    fn database(&self) -> std::path::PathBuf {
        self.directory.path().join("data/memory.db")
    }
}

fn agent(name: &str) -> MemoryScope {
    MemoryScope::Agent(AgentId::parse(name).unwrap())
}

fn workspace(name: &str) -> MemoryScope {
    MemoryScope::Workspace(WorkspaceId::parse(name).unwrap())
}

fn ada() -> Subject {
    Subject::agent(&AgentId::parse("ada").unwrap(), Proof::Internal)
}

fn bob() -> Subject {
    Subject::agent(&AgentId::parse("bob").unwrap(), Proof::Internal)
}

fn owner(subject: &Subject) -> Arc<str> {
    subject.principal().to_string().into()
}

fn labels(labels: &[&str]) -> BTreeSet<Arc<str>> {
    labels.iter().map(|&label| label.into()).collect()
}

fn permit<O: crate::model::Operation>(operation: O, subject: Subject) -> Permit<O> {
    Permit::for_test(operation, subject)
}

/// A row as `subject` would make it.
fn new_row(scope: &MemoryScope, row: MemoryKind, id: &str, kind: &str, subject: &Subject) -> MemoryRow {
    MemoryRow {
        scope: scope.clone(),
        row,
        id: id.into(),
        owner: owner(subject),
        kind: kind.into(),
        labels: BTreeSet::new(),
    }
}

/// Writes as the API does: the row that is there is judged, else the one to be.
async fn put(
    memory: &Memory,
    scope: &MemoryScope,
    name: &str,
    texts: &[&str],
) -> Result<EntityView, MemoryError> {
    let row = memory
        .row(scope, MemoryKind::Entity, name)
        .await?
        .unwrap_or_else(|| new_row(scope, MemoryKind::Entity, name, "note", &ada()));
    let (kind, labels) = (row.kind.clone(), row.labels.clone());
    let observations = texts.iter().map(|&text| text.to_owned()).collect();
    memory.write_entity(permit(WriteMemoryEntity { row, kind, labels, observations }, ada())).await
}

async fn join(
    memory: &Memory,
    scope: &MemoryScope,
    from: &str,
    kind: &str,
    to: &str,
) -> Result<RelationView, MemoryError> {
    let id = relation_id(from, kind, to);
    let row = memory
        .row(scope, MemoryKind::Relation, &id)
        .await?
        .unwrap_or_else(|| new_row(scope, MemoryKind::Relation, &id, kind, &ada()));
    memory.write_relation(permit(WriteMemoryRelation { row, from: from.into(), to: to.into() }, ada())).await
}

/// Reads a row that is there, or is thought to be.
async fn fetch(
    memory: &Memory,
    scope: &MemoryScope,
    row: MemoryKind,
    id: &str,
) -> Result<MemoryView, MemoryError> {
    let row = memory.row(scope, row, id).await?.unwrap_or_else(|| new_row(scope, row, id, "note", &ada()));
    memory.read(permit(ReadMemory { row }, ada())).await
}

async fn observations(memory: &Memory, scope: &MemoryScope, name: &str) -> Vec<String> {
    match fetch(memory, scope, MemoryKind::Entity, name).await.unwrap() {
        MemoryView::Entity(view) => view.observations,
        MemoryView::Relation(view) => panic!("{view:?}"),
    }
}

async fn forget(
    memory: &Memory,
    scope: &MemoryScope,
    row: MemoryKind,
    id: &str,
) -> Result<Deleted, MemoryError> {
    let row = memory.row(scope, row, id).await?.unwrap_or_else(|| new_row(scope, row, id, "note", &ada()));
    memory.delete(permit(DeleteMemory { row }, ada())).await
}

/// The names that a search finds, in order, with a permit for each row.
async fn find(memory: &Memory, scope: &MemoryScope, words: &str) -> Result<Vec<String>, MemoryError> {
    let search = SearchMemory { scope: scope.clone(), words: words.to_owned(), limit: 100 };
    Ok(names(release_all(memory.search(permit(search, ada())).await?)))
}

async fn list(memory: &Memory, scope: &MemoryScope) -> Candidates {
    memory.list(permit(ListMemory { scope: scope.clone(), limit: 1_000 }, ada())).await.unwrap()
}

fn release_all<V: MemoryItem>(candidates: Candidates<V>) -> Vec<V> {
    let permits = candidates.operations().into_iter().map(|read| permit(read, ada())).collect();
    candidates.release(permits)
}

fn names(views: Vec<EntityView>) -> Vec<String> {
    views.into_iter().map(|view| view.name.to_string()).collect()
}

#[tokio::test]
async fn what_is_written_is_read_back() {
    let world = World::new();
    let row = MemoryRow {
        labels: labels(&["pii"]),
        ..new_row(&MemoryScope::Global, MemoryKind::Entity, "Grace", "person", &bob())
    };
    let write = WriteMemoryEntity {
        kind: row.kind.clone(),
        labels: row.labels.clone(),
        observations: vec!["wrote a compiler".into(), "b\u{0}\n".into()],
        row,
    };
    let written = world.memory.write_entity(permit(write, bob())).await.unwrap();
    assert_eq!(
        serde_json::to_value(&written).unwrap(),
        serde_json::json!({
            "scope": "global", "name": "Grace", "kind": "person", "owner": "Caxton::Agent::\"bob\"",
            "labels": ["pii"], "observations": ["wrote a compiler", "b\u{0}\n"],
            "created": "2026-01-10T10:00:00.000Z", "updated": "2026-01-10T10:00:00.000Z",
        })
    );
    let read = fetch(&world.memory, &MemoryScope::Global, MemoryKind::Entity, "Grace").await.unwrap();
    assert_eq!(read, MemoryView::Entity(written));
}

#[tokio::test]
async fn one_that_is_there_keeps_its_owner_and_its_birthday() {
    let World { memory, clock, .. } = &World::new();
    let first = put(memory, &agent("ada"), "plan", &["one", "two"]).await.unwrap();
    clock.advance(Duration::from_secs(60));
    let row = memory.row(&agent("ada"), MemoryKind::Entity, "plan").await.unwrap().unwrap();
    let write = WriteMemoryEntity {
        row,
        kind: "idea".into(),
        labels: labels(&["x"]),
        observations: vec!["3".into()],
    };
    let second = memory.write_entity(permit(write, bob())).await.unwrap();
    assert_eq!((&second.owner, &second.created), (&first.owner, &first.created));
    assert_eq!((&*second.kind, second.updated.as_str()), ("idea", "2026-01-10T10:01:00.000Z"));
    assert_eq!(observations(memory, &agent("ada"), "plan").await, ["3"]);
    assert_eq!(list(memory, &agent("ada")).await.rows()[0].labels, labels(&["x"]));
}

#[tokio::test]
async fn a_clock_that_goes_back_does_not_stop_a_write() {
    let world = World::new();
    put(&world.memory, &agent("ada"), "plan", &["one"]).await.unwrap();
    world.memory.close().await;
    let settings = Settings { database: world.database(), ..Settings::default() };
    let earlier = Arc::new(ManualClock::at_millis(0));
    let memory = Memory::open(settings, earlier, world.metrics.clone()).unwrap();
    let view = put(&memory, &agent("ada"), "plan", &["two"]).await.unwrap();
    assert_eq!(view.updated, view.created);
}

#[tokio::test]
async fn equal_names_in_two_scopes_are_two_things() {
    let World { memory, .. } = &World::new();
    let scopes = [agent("ada"), agent("bob"), agent("global"), workspace("ada"), MemoryScope::Global];
    for scope in &scopes {
        put(memory, scope, "plan", &[&scope.to_string()]).await.unwrap();
        put(memory, scope, "other", &[]).await.unwrap();
        join(memory, scope, "plan", "needs", "other").await.unwrap();
    }
    forget(memory, &scopes[1], MemoryKind::Entity, "plan").await.unwrap();
    for (number, scope) in scopes.iter().enumerate() {
        let gone = number == 1;
        let found = find(memory, scope, "plan").await.unwrap();
        assert_eq!(found, if gone { vec![] } else { vec!["plan".to_owned()] }, "{scope}");
        let listed = list(memory, scope).await;
        assert!(listed.rows().iter().all(|row| row.scope == *scope));
        assert_eq!(listed.len(), if gone { 1 } else { 2 });
        let relation = memory.row(scope, MemoryKind::Relation, "plan--needs--other").await.unwrap();
        assert_eq!(relation.is_none(), gone);
        if !gone {
            assert_eq!(observations(memory, scope, "plan").await, [scope.to_string()]);
        }
    }
}

#[tokio::test]
async fn a_relation_needs_both_ends_in_its_own_scope() {
    let World { memory, .. } = &World::new();
    put(memory, &agent("ada"), "here", &[]).await.unwrap();
    put(memory, &MemoryScope::Global, "there", &[]).await.unwrap();
    for (from, to, missing) in
        [("here", "there", "there"), ("there", "here", "there"), ("x\n", "here", "x\\n")]
    {
        let error = join(memory, &agent("ada"), from, "knows", to).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the relation cannot be stored: there is no `{missing}` in this scope")
        );
        assert_eq!(error.fault(), Fault::Caller);
    }
    let reflexive = join(memory, &agent("ada"), "here", "knows", "here").await.unwrap();
    assert_eq!(&*reflexive.id, "here--knows--here");
}

#[tokio::test]
async fn a_relation_written_again_is_the_same_relation() {
    let World { memory, clock, .. } = &World::new();
    put(memory, &agent("ada"), "a", &[]).await.unwrap();
    put(memory, &agent("ada"), "b", &[]).await.unwrap();
    let first = join(memory, &agent("ada"), "a", "knows", "b").await.unwrap();
    clock.advance(Duration::from_secs(1));
    let second = join(memory, &agent("ada"), "a", "knows", "b").await.unwrap();
    assert_eq!(second, RelationView { updated: "2026-01-10T10:00:01.000Z".into(), ..first });
    let all = ListMemory { scope: agent("ada"), limit: 10 };
    let found = release_all(memory.list_relations(permit(all, ada())).await.unwrap());
    assert_eq!(found, [second]);
}

#[tokio::test]
async fn two_relations_that_are_spelled_alike_do_not_become_one() {
    let World { memory, .. } = &World::new();
    for name in ["a", "a--b", "d", "c--d"] {
        put(memory, &agent("ada"), name, &[]).await.unwrap();
    }
    join(memory, &agent("ada"), "a--b", "c", "d").await.unwrap();
    let twin = join(memory, &agent("ada"), "a", "b", "c--d").await;
    assert!(matches!(twin, Err(MemoryError::Changed(_) | MemoryError::RelationId(_))), "{twin:?}");
    let row = memory.row(&agent("ada"), MemoryKind::Relation, "a--b--c--d").await.unwrap().unwrap();
    let other_ends = WriteMemoryRelation { row, from: "a".into(), to: "d".into() };
    let error = memory.write_relation(permit(other_ends, ada())).await.unwrap_err();
    assert_eq!(error.to_string(), "the relation id `a--b--c--d` does not belong to these ends and this kind");
}

#[tokio::test]
async fn what_belongs_to_a_thing_goes_with_it() {
    let world = World::new();
    let memory = &world.memory;
    for name in ["a", "b", "c"] {
        put(memory, &agent("ada"), name, &["text"]).await.unwrap();
    }
    for (from, to) in [("a", "b"), ("c", "a"), ("a", "a"), ("b", "c")] {
        join(memory, &agent("ada"), from, "knows", to).await.unwrap();
    }
    let gone = forget(memory, &agent("ada"), MemoryKind::Entity, "a").await.unwrap();
    assert_eq!(gone, Deleted { relations: 3, entities: 1 });
    let gone = forget(memory, &agent("ada"), MemoryKind::Relation, "b--knows--c").await.unwrap();
    assert_eq!(gone, Deleted { relations: 1, entities: 0 });
    let again = forget(memory, &agent("ada"), MemoryKind::Relation, "b--knows--c").await.unwrap_err();
    assert_eq!(again.to_string(), "there is no `b--knows--c` in this scope");
    let database = crate::db::open(&world.database(), sql::MIGRATIONS).unwrap();
    for (table, left) in [("entities", 2), ("observations", 2), ("relations", 0), ("search", 2)] {
        let count: i64 =
            database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(count, left, "{table}");
    }
}

#[tokio::test]
async fn a_full_scope_takes_no_more_and_others_are_not_full_by_it() {
    let World { memory, metrics, .. } = &World::with(|settings| {
        settings.max_entities = 2;
        settings.max_relations = 1;
    });
    put(memory, &agent("ada"), "a", &[]).await.unwrap();
    put(memory, &agent("ada"), "b", &[]).await.unwrap();
    let full = put(memory, &agent("ada"), "c", &[]).await.unwrap_err();
    assert_eq!(full.to_string(), "the scope is full: it holds 2 entities");
    put(memory, &agent("ada"), "b", &["an old one may still be written"]).await.unwrap();
    put(memory, &agent("bob"), "c", &[]).await.unwrap();
    join(memory, &agent("ada"), "a", "knows", "b").await.unwrap();
    join(memory, &agent("ada"), "a", "knows", "b").await.unwrap();
    let full = join(memory, &agent("ada"), "b", "knows", "a").await.unwrap_err();
    assert_eq!(full.to_string(), "the scope is full: it holds 1 relations");
    forget(memory, &agent("ada"), MemoryKind::Entity, "a").await.unwrap();
    put(memory, &agent("ada"), "c", &[]).await.unwrap();
    assert_eq!(metrics.sqlite_events.get(), 0);
}

#[tokio::test]
async fn what_is_over_a_bound_is_refused_before_the_database_sees_it() {
    let World { memory, .. } = &World::with(|settings| {
        settings.max_name_bytes = 8;
        settings.max_labels = 1;
        settings.max_observations = 2;
        settings.max_observation_bytes = 5;
        settings.max_entity_bytes = 8;
    });
    type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static str);
    let cases: [Case; 9] = [
        ("", "note", &[], &[], "the name is empty"),
        ("name", "", &[], &[], "the kind is empty"),
        ("ninebytes", "note", &[], &[], "the name is 9 bytes, at most 8 are allowed"),
        ("name", "ninebytes", &[], &[], "the kind is 9 bytes, at most 8 are allowed"),
        ("name", "note", &["a", "b"], &[], "the list of labels is 2 labels, at most 1 are allowed"),
        ("name", "note", &["ninebytes"], &[], "a label is 9 bytes, at most 8 are allowed"),
        (
            "name",
            "note",
            &[],
            &["", "", ""],
            "the list of observations is 3 observations, at most 2 are allowed",
        ),
        ("name", "note", &[], &["sixsix"], "an observation is 6 bytes, at most 5 are allowed"),
        (
            "name",
            "note",
            &[],
            &["fives", "fives"],
            "the text of all observations is 10 bytes, at most 8 are allowed",
        ),
    ];
    for (name, kind, row_labels, texts, message) in cases {
        let row = MemoryRow {
            labels: labels(row_labels),
            ..new_row(&MemoryScope::Global, MemoryKind::Entity, name, kind, &ada())
        };
        let write = WriteMemoryEntity {
            kind: row.kind.clone(),
            labels: row.labels.clone(),
            observations: texts.iter().map(|&text| text.to_owned()).collect(),
            row,
        };
        let error = memory.write_entity(permit(write, ada())).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.fault()), (message, Fault::Caller));
    }
    assert!(list(memory, &MemoryScope::Global).await.is_empty());
    let relation = join(memory, &MemoryScope::Global, "a", "ninebytes", "b").await.unwrap_err();
    assert_eq!(relation.to_string(), "the kind is 9 bytes, at most 8 are allowed");
}

#[tokio::test]
async fn only_rows_with_a_permit_of_their_own_are_released() {
    let World { memory, .. } = &World::new();
    for name in ["a", "b", "c"] {
        put(memory, &agent("ada"), name, &["secret"]).await.unwrap();
        put(memory, &agent("bob"), name, &["secret"]).await.unwrap();
    }
    let found = list(memory, &agent("ada")).await;
    assert_eq!(format!("{found:?}"), "Candidates { locked: 3 }");
    assert!(found.release(vec![]).is_empty());

    let found = list(memory, &agent("ada")).await;
    let only_b = found.operations().into_iter().filter(|read| &*read.row.id == "b");
    let only_b = only_b.map(|read| permit(read, ada())).collect();
    assert_eq!(names(found.release(only_b)), ["b"]);

    let row = |scope: &str, id: &str| new_row(&agent(scope), MemoryKind::Entity, id, "note", &ada());
    let strangers = [
        row("bob", "a"),
        row("ada", "z"),
        MemoryRow { row: MemoryKind::Relation, ..row("ada", "a") },
        MemoryRow { owner: owner(&bob()), ..row("ada", "a") },
        MemoryRow { labels: labels(&["pii"]), ..row("ada", "a") },
        MemoryRow { kind: "person".into(), ..row("ada", "a") },
    ];
    let strangers = strangers.map(|row| permit(ReadMemory { row }, ada())).into();
    assert!(list(memory, &agent("ada")).await.release(strangers).is_empty());
    let twice = vec![
        permit(ReadMemory { row: row("ada", "a") }, ada()),
        permit(ReadMemory { row: row("ada", "a") }, ada()),
    ];
    assert_eq!(names(list(memory, &agent("ada")).await.release(twice)), ["a"]);
}

#[tokio::test]
async fn no_answer_is_longer_than_the_bound() {
    let World { memory, .. } = &World::with(|settings| settings.max_search_results = 3);
    for number in 0..5 {
        put(memory, &agent("ada"), &format!("thing {number}"), &["word"]).await.unwrap();
    }
    assert_eq!(list(memory, &agent("ada")).await.len(), 3);
    assert_eq!(find(memory, &agent("ada"), "word").await.unwrap().len(), 3);
    let one = SearchMemory { scope: agent("ada"), words: "word".into(), limit: 1 };
    assert_eq!(memory.search(permit(one, ada())).await.unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_else_on_the_machine_can_read_the_files() {
    let world = World::new();
    put(&world.memory, &agent("ada"), "plan", &["one"]).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let directory = world.directory.path().join("data");
    assert_eq!(mode(&directory), 0o700);
    for name in ["memory.db", "memory.db-wal", "memory.db-shm"] {
        assert_eq!(mode(&directory.join(name)), 0o600, "{name}");
    }
}

#[test]
fn every_statement_names_the_scope() {
    for (name, sql) in sql::ALL {
        let plain = sql.replace("e.scope", "scope");
        let bound = plain.contains("WHERE scope_kind = :scope_kind AND scope_id = :scope_id")
            || plain.contains("AND scope_kind = :scope_kind AND scope_id = :scope_id")
            || (plain.starts_with("INSERT") && plain.contains("VALUES (:scope_kind, :scope_id,"));
        assert!(bound, "{name} is not bound to a scope:\n{sql}");
        assert!(!plain.contains("{}") && !plain.contains("||"), "{name} is put together from parts");
    }
    assert!(sql::ALL.len() > 15);
}

#[test]
fn there_is_no_statement_anywhere_else() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/memory");
    let files = ["", "store"].into_iter().flat_map(|part| std::fs::read_dir(folder.join(part)).unwrap());
    let mut seen = 0;
    for path in files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        if ["sql.rs", "tests.rs"].iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "REPLACE "] {
            assert!(!text.contains(word), "{} has SQL of its own: `{word}`", path.display());
        }
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}
