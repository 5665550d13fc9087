//! The store by itself: what it takes, what it refuses, and how what is stored meets what is proven.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;
use crate::agents::Register;
use crate::authz::{AttributeSource as _, Permit};
use crate::clock::ManualClock;
use crate::model::{
    Claims, Entity, EntityChange, EntityUid, ImportEntities, KeyId, Proof, ReadEntities, RoleName, Subject,
    Value, WriteEntity,
};
use crate::policy::{Bundle, Query, Sources};
use crate::sandbox::Sandbox;
use crate::telemetry::Metrics;
use crate::tools::Registry;

const OWN: &str = r#"namespace Acme {
  entity Team in [Team];
  entity Person in [Team] = { name: String, age?: Long, born?: datetime, desk?: ipaddr, boss?: Person, at: { floor: Long } } tags Set<String>;
}"#;

struct Bench {
    attributes: Attributes,
    bundle: Bundle,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
}

impl Bench {
    fn changes(&self, since: u64) -> (u64, ChangesSince) {
        self.attributes.changes(
            Permit::for_test(
                ReadEntities,
                Subject::agent(&crate::model::AgentId::parse("reader").unwrap(), Proof::Internal),
            ),
            since,
        )
    }
}

async fn registry(sandbox: &Sandbox, metrics: &Arc<Metrics>) -> Registry {
    Registry::connect(
        crate::tools::Settings::default(),
        sandbox.clone(),
        crate::tools::RegistryPorts::without_callers(Arc::clone(metrics)),
    )
    .await
    .unwrap()
    .0
}

/// A question about one entity.
fn about(entity: Arc<Entity>) -> Query {
    Query {
        principal: entity.uid.clone(),
        action: EntityUid::action("agent:list"),
        resource: entity.uid.clone(),
        context: Value::record::<&str>([]),
        entities: vec![entity],
    }
}

impl Bench {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::new());
        let sandbox = Sandbox::new(crate::sandbox::Settings::default(), Arc::clone(&metrics)).unwrap();
        let agents = directory.path().join("agents");
        std::fs::create_dir(&agents).unwrap();
        let file = agents.join("clerk.md");
        std::fs::write(&file, "---\nname: clerk\nworkspace: office\n---\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let settings = crate::agents::Settings { directory: Some(agents), ..Default::default() };
        let counters = Arc::new(crate::limit::LocalCounters::new(Arc::clone(&metrics)));
        let agents = Register::new(settings, sandbox.clone(), Arc::clone(&metrics), counters);
        assert_eq!(agents.load(&Default::default()).agents, 1);
        let clock = Arc::new(ManualClock::at_millis(1_000_000));
        let mut settings = Settings::in_directory(directory.path());
        change(&mut settings);
        let tools = registry(&sandbox, &metrics).await;
        let attributes = Attributes::open(settings, agents, tools, clock.clone()).unwrap();
        let bundle = Bundle::load(Sources::shipped().with_schema("acme.cedarschema", OWN)).unwrap();
        Self { attributes, bundle, clock, directory }
    }

    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    fn change(&self, uid: EntityUid, change: EntityChange) -> Result<WriteResult, AttributesError> {
        let operation = WriteEntity { uid, change, sha256: None };
        self.attributes.write(Permit::for_test(operation, Subject::for_test()), &self.bundle, || Ok(()))
    }

    fn put(&self, uid: EntityUid, body: Json) -> Result<WriteResult, AttributesError> {
        let draft = read_draft(body.as_object().unwrap(), Some(&uid))?;
        self.change(uid, EntityChange::Put(draft))
    }

    fn import(&self, entities: Json, replace: bool) -> Result<ImportResult, AttributesError> {
        let each =
            entities.as_array().unwrap().iter().map(|entity| read_draft(entity.as_object().unwrap(), None));
        let operation = ImportEntities { drafts: each.collect::<Result<_, _>>()?, replace, sha256: None };
        self.attributes.import(Permit::for_test(operation, Subject::for_test()), &self.bundle, || Ok(()))
    }

    fn parents(&self, subject: &Subject) -> BTreeSet<String> {
        let known = self.attributes.current().principal(subject.entity()).unwrap();
        known.parents.iter().map(|parent| parent.id().to_owned()).collect()
    }
}

fn acme(kind: &str, id: &str) -> EntityUid {
    EntityUid::new(format!("Acme::{kind}"), id)
}

fn role(name: &str) -> EntityUid {
    EntityUid::caxton("Role", name)
}

fn name(uid: &EntityUid) -> Json {
    crate::model::cedar_json::write_uid(uid)
}

fn person(roles: &[&str]) -> Subject {
    let roles = roles.iter().map(|role| RoleName::parse(role).unwrap());
    let claims = [("dept".into(), BTreeSet::from(["sales".into()]))];
    Subject::user("idp", "ann", Some("ann@claimed"), roles, ["staff".into()], claims, Proof::Internal)
}

fn ann() -> EntityUid {
    EntityUid::caxton("User", "idp|ann")
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn values_are_typed_by_the_schema_and_survive_a_restart() {
    let bench = Bench::new().await;
    let bo = acme("Person", "bo");
    let boss = json!({ "attrs": { "name": "Bo", "at": { "floor": 1 } } });
    bench.put(bo.clone(), boss).unwrap();
    let ann = acme("Person", "ann");
    let body = json!({
        "attrs": { "name": "Ann", "age": 40, "born": "1986-01-31", "desk": "10.0.0.7", "boss": name(&bo), "at": { "floor": 2 } },
        "tags": { "skills": ["go", "rust"] },
        "parents": [name(&acme("Team", "core"))],
    });
    let written = bench.put(ann.clone(), body).unwrap();
    let stored = written.entry.unwrap();
    assert_eq!(*stored.entity.attributes.get("boss").unwrap(), Value::Entity(bo));
    assert_eq!(*stored.entity.attributes.get("desk").unwrap(), Value::Ip("10.0.0.7".into()));
    assert_eq!(*stored.entity.attributes.get("born").unwrap(), Value::Datetime(507_513_600_000));
    let before = bench.attributes.snapshot();
    let database = bench.directory.path().join("entities.db");
    drop(bench.attributes);
    let again = super::store::Store::open(&database).unwrap().load().unwrap();
    assert_eq!(again.version(), before.version());
    assert_eq!(again.get(&ann), before.get(&ann));
    assert_eq!(again.members(&acme("Team", "core"), "Acme::Person"), BTreeSet::from([ann]));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_path_and_changes_nothing() {
    let bench = Bench::new().await;
    let before = bench.attributes.snapshot().version();
    let person = |attrs: Json| json!({ "attrs": attrs });
    let whole = |more: Json| {
        let mut attrs = json!({ "name": "Ann", "at": { "floor": 1 } });
        attrs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "attrs": attrs })
    };
    let ann = acme("Person", "ann");
    for (uid, body, message) in [
        (
            acme("Robot", "r"),
            json!({}),
            "`uid`: expected an entity type of the schema, got `Acme::Robot::\"r\"`",
        ),
        (
            ann.clone(),
            person(json!({ "at": { "floor": 1 } })),
            "`attrs.name`: expected a String, got nothing",
        ),
        (
            ann.clone(),
            person(json!({ "name": "A", "at": {} })),
            "`attrs.at.floor`: expected a Long, got nothing",
        ),
        (ann.clone(), whole(json!({ "age": "40" })), "`attrs.age`: expected a Long, got a String"),
        (ann.clone(), whole(json!({ "desk": "here" })), "`attrs.desk`: expected an ipaddr, got `here`"),
        (ann.clone(), whole(json!({ "born": "soon" })), "`attrs.born`: expected a datetime, got a String"),
        (
            ann.clone(),
            whole(json!({ "colour": 1 })),
            "`attrs.colour`: expected no attribute of this name, got a Long",
        ),
        (
            ann.clone(),
            whole(json!({ "boss": name(&acme("Team", "core")) })),
            "`attrs.boss`: expected a `Acme::Person`, got `Acme::Team::\"core\"`",
        ),
        (acme("Team", "core"), json!({ "tags": { "a": ["b"] } }), "`tags.a`: expected no tags, got a Set"),
        (
            acme("Team", "core"),
            json!({ "parents": [name(&role("admin"))] }),
            "`parents`: expected something that a `Acme::Team` can be in, got `Caxton::Role::\"admin\"`",
        ),
        (acme("Team", "core"), json!({ "revoked": [name(&ann)] }), "`revoked`: expected something that"),
        (acme("Team", ""), json!({}), "an entity id has 1 to 512 bytes"),
        (acme("Team", "a\nb"), json!({}), "no control characters"),
        (acme("Team", &"x".repeat(513)), json!({}), "1 to 512 bytes"),
        (acme("Team", "core"), json!({ "colour": 1 }), "`colour` is not a key of an entity"),
        (acme("Team", "core"), json!({ "uid": name(&ann) }), "`uid` is not the name in the address"),
        (acme("Team", "core"), json!({ "claims": true }), "`claims` is neither"),
        (EntityUid::action("agent:list"), json!({}), "the gateway states entities of this type itself"),
    ] {
        let error = bench.put(uid, body).unwrap_err();
        assert!(error.to_string().contains(message), "{error}\nis not\n{message}");
        assert!(error.is_of_request());
    }
    assert_eq!(bench.attributes.snapshot().version(), before);
    assert!(bench.attributes.snapshot().is_empty());
}

#[tokio::test]
async fn what_somebody_else_states_is_not_stated_here() {
    let bench = Bench::new().await;
    let clerk = EntityUid::caxton("Agent", "clerk");
    let ci = EntityUid::caxton("Service", "ci");
    for (uid, body) in [
        (clerk.clone(), json!({ "attrs": { "tools": ["builtin___csv_parser"] } })),
        (clerk.clone(), json!({ "parents": [name(&EntityUid::caxton("Workspace", "lab"))] })),
        (ci.clone(), json!({ "parents": [name(&role("admin"))] })),
        (ci.clone(), json!({ "attrs": { "permissions": ["*"] } })),
        (ann(), json!({ "attrs": { "id": "root" } })),
        (ann(), json!({ "attrs": { "issuer": "other" } })),
        (EntityUid::caxton("Workload", "spiffe://a"), json!({ "attrs": { "fingerprint": "x" } })),
        (EntityUid::caxton("Tool", "builtin___csv_parser"), json!({ "attrs": { "drifted": false } })),
        (EntityUid::caxton("MemoryScope", "global"), json!({})),
        (EntityUid::caxton("Gateway", "caxton"), json!({})),
        (EntityUid::caxton("Conversation", "c"), json!({})),
        (EntityUid::caxton("System", "gateway"), json!({})),
    ] {
        let error = bench.put(uid.clone(), body).unwrap_err();
        assert!(matches!(error, AttributesError::NotHere { .. }), "{uid}: {error}");
    }
    bench.change(clerk.clone(), EntityChange::Assign(role("viewer"))).unwrap();
    let known = bench.attributes.current().entity(&clerk).unwrap();
    assert!(known.parents.contains(&role("viewer")) && known.parents.len() == 2, "{known:?}");
    // An agent that is not deployed has no attributes, also when the store has an entry for it.
    let ghost = EntityUid::caxton("Agent", "ghost");
    bench.change(ghost.clone(), EntityChange::Assign(role("admin"))).unwrap();
    assert_eq!(bench.attributes.current().entity(&ghost), None);
    assert_eq!(bench.attributes.current().principal(&Arc::new(Entity::bare(ghost))), None);
}

#[tokio::test]
async fn nothing_is_its_own_ancestor() {
    let bench = Bench::new().await;
    let team = |id: &str| acme("Team", id);
    let within = |parent: &str| json!({ "parents": [name(&team(parent))] });
    assert!(matches!(bench.put(team("a"), within("a")), Err(AttributesError::Circle { .. })));
    bench.put(team("a"), within("b")).unwrap();
    bench.put(team("b"), within("c")).unwrap();
    let error = bench.put(team("c"), within("a")).unwrap_err();
    assert!(matches!(&error, AttributesError::Circle { child, .. } if *child == team("c")), "{error}");
    let edge =
        |child: &str, parent: &str| json!({ "uid": name(&team(child)), "parents": [name(&team(parent))] });
    assert!(bench.import(json!([edge("x", "y"), edge("y", "z"), edge("z", "x")]), false).is_err());
    assert!(bench.import(json!([edge("x", "y"), edge("x", "z")]), false).is_err(), "twice");
    assert_eq!(bench.attributes.snapshot().len(), 2);
    // A long chain, the lowest first, is looked at once and not once for each link.
    let chain: Vec<Json> =
        (0..20_000).map(|link| edge(&format!("l{link}"), &format!("l{}", link + 1))).collect();
    bench.import(Json::Array(chain.clone()), true).unwrap();
    let closed = [chain, vec![edge("l20000", "l0")]].concat();
    assert!(matches!(bench.import(Json::Array(closed), true), Err(AttributesError::Circle { .. })));
    bench.import(json!([edge("a", "b"), edge("b", "c")]), true).unwrap();
    // The whole may turn round at once.
    bench.import(json!([edge("c", "b"), edge("b", "a"), { "uid": name(&team("a")) }]), false).unwrap();
    assert!(bench.attributes.snapshot().is_in(&team("c"), &team("a")));
}

#[tokio::test]
async fn an_old_claim_gains_nothing_once_the_store_knows_the_person() {
    let bench = Bench::new().await;
    let claims = person(&["admin", "viewer"]);
    assert_eq!(bench.parents(&claims), set(&["admin", "staff", "viewer"]));
    // Put: the store says everything.
    bench.put(ann(), json!({ "parents": [name(&role("viewer"))], "tags": { "level": ["2"] }, "attrs": { "email": "ann@stored" } })).unwrap();
    assert_eq!(bench.parents(&claims), set(&["viewer"]));
    let known = bench.attributes.current().principal(claims.entity()).unwrap();
    assert_eq!(*known.attributes.get("email").unwrap(), Value::text("ann@stored"));
    assert_eq!(*known.attributes.get("id").unwrap(), Value::text("ann"), "what was proven of the name stays");
    assert_eq!(known.tags.keys().collect::<Vec<_>>(), ["level"]);
    // United: claims count beside it, but not the revoked ones.
    bench
        .put(
            ann(),
            json!({ "claims": "united", "revoked": [name(&role("admin"))], "tags": { "dept": ["it"] } }),
        )
        .unwrap();
    assert_eq!(bench.parents(&claims), set(&["staff", "viewer"]));
    let known = bench.attributes.current().principal(claims.entity()).unwrap();
    assert_eq!(*known.tags.get("dept").unwrap(), Value::texts(["it"]), "the store wins");
}

#[tokio::test]
async fn a_revoked_role_does_not_come_back_by_another() {
    let bench = Bench::new().await;
    bench.put(role("boss"), json!({ "parents": [name(&role("admin"))] })).unwrap();
    let claims = person(&["admin", "boss", "viewer"]);
    bench.change(ann(), EntityChange::Revoke(role("admin"))).unwrap();
    assert_eq!(bench.parents(&claims), set(&["staff", "viewer"]), "`boss` is in `admin`");
    // Nor by the store itself, until it is assigned again.
    bench.change(ann(), EntityChange::Assign(role("boss"))).unwrap();
    assert_eq!(bench.parents(&claims), set(&["staff", "viewer"]));
    bench.change(ann(), EntityChange::Assign(role("admin"))).unwrap();
    assert_eq!(bench.parents(&claims), set(&["admin", "boss", "staff", "viewer"]));
    let stored = bench.attributes.current().entity(&ann()).unwrap();
    assert_eq!(*stored.attributes.get("issuer").unwrap(), Value::text("idp"));
}

#[tokio::test]
async fn the_store_only_takes_away_from_a_key() {
    let bench = Bench::new().await;
    let roles = ["tool:list", "tool:call"].map(|role| RoleName::parse(role).unwrap());
    let key = KeyId::parse("0Zk3TQm1xYv9").unwrap();
    let service = Subject::service("ci", &key, roles, [], 0, 1, Proof::ApiKey { id: key.clone() });
    let ci = EntityUid::caxton("Service", "ci");
    bench.change(ci.clone(), EntityChange::Revoke(role("tool:call"))).unwrap();
    assert_eq!(bench.parents(&service), set(&["tool:list"]));
    assert!(matches!(
        bench.change(ci.clone(), EntityChange::Assign(role("admin"))),
        Err(AttributesError::NotHere { .. })
    ));
    // A put cannot silence the key either by leaving `claims` out.
    bench.put(ci, json!({})).unwrap();
    assert_eq!(bench.parents(&service), set(&["tool:call", "tool:list"]));
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let bench = Bench::new().await;
    let ann = acme("Person", "ann");
    let patch = |body: Json| {
        let patch = read_patch(body.as_object().unwrap())?;
        bench.change(ann.clone(), EntityChange::Patch(patch))
    };
    assert!(matches!(patch(json!({})), Err(AttributesError::Unknown(_))));
    assert!(matches!(bench.change(ann.clone(), EntityChange::Delete), Err(AttributesError::Unknown(_))));
    bench.put(ann.clone(), json!({ "attrs": { "name": "Ann", "age": 1, "at": { "floor": 1 } } })).unwrap();
    patch(
        json!({ "attrs": { "age": null, "at": { "floor": 3 } }, "parents": [name(&acme("Team", "core"))] }),
    )
    .unwrap();
    let stored = bench.attributes.snapshot().get(&ann).cloned().unwrap();
    assert_eq!(stored.entity.attributes.keys().collect::<Vec<_>>(), ["at", "name"]);
    assert_eq!(stored.entity.parents, [acme("Team", "core")]);
    assert!(patch(json!({ "attrs": { "name": null } })).is_err(), "a required attribute");
    assert!(patch(json!({ "uid": name(&ann) })).is_err());
    bench.change(ann.clone(), EntityChange::Delete).unwrap();
    assert!(bench.attributes.snapshot().get(&ann).is_none());
    assert_eq!(bench.attributes.snapshot().children(&acme("Team", "core")).count(), 0);
}

#[tokio::test]
async fn an_import_is_whole_or_nothing_and_says_what_it_changed() {
    let bench = Bench::new().await;
    let team = |id: &str| json!({ "uid": name(&acme("Team", id)) });
    assert!(
        bench
            .import(json!([team("a"), { "uid": name(&acme("Team", "b")), "attrs": { "x": 1 } }]), false)
            .is_err()
    );
    assert!(bench.attributes.snapshot().is_empty());
    let first = bench.import(json!([team("a"), team("b")]), false).unwrap();
    assert_eq!((first.entities, first.changed, first.removed), (2, 2, 0));
    let same = bench.import(json!([team("a"), team("b")]), true).unwrap();
    assert_eq!((same.entities, same.changed, same.removed), (2, 0, 0));
    let other = bench.import(json!([team("b"), team("c")]), true).unwrap();
    assert_eq!((other.entities, other.changed, other.removed), (2, 1, 1));
    let (version, changes) = bench.changes(same.version);
    assert_eq!(version, other.version);
    assert_eq!(changes, ChangesSince::Entities(BTreeSet::from([acme("Team", "a"), acme("Team", "c")])));
    assert_eq!(bench.changes(version), (version, ChangesSince::Entities(BTreeSet::new())));
    assert_eq!(bench.changes(0).1, ChangesSince::Everything, "that was before this start");
    assert_eq!(bench.changes(version + 9).1, ChangesSince::Everything, "nobody was told that yet");
}

#[tokio::test]
async fn bounds_hold() {
    let bench = Bench::with(|settings| {
        (settings.max_entities, settings.max_parents, settings.max_changes) = (3, 2, 2);
        (settings.max_entity_bytes, settings.max_per_decision) = (400, 3);
    })
    .await;
    let team = |id: u32| acme("Team", &id.to_string());
    let within = |parents: std::ops::Range<u32>| json!({ "parents": parents.map(|id| name(&team(id))).collect::<Vec<_>>() });
    assert!(bench.put(team(0), within(1..4)).is_err(), "parents");
    let long = json!({ "attrs": { "name": "x".repeat(400), "at": { "floor": 1 } } });
    assert!(bench.put(acme("Person", "ann"), long).is_err(), "bytes");
    for id in 0..3 {
        bench.put(team(id), within(id + 1..id + 2)).unwrap();
    }
    let error = bench.put(team(9), json!({})).unwrap_err();
    assert_eq!(error.to_string(), "entities: at most 3 are allowed");
    assert_eq!(bench.changes(1).1, ChangesSince::Everything, "two changes are remembered");
    // A decision looks at three, and says so when there are more.
    let view = bench.attributes.current();
    let mut question = about(view.entity(&team(1)).unwrap());
    assert!(view.close(&mut question, &[]));
    assert_eq!(question.entities.len(), 2);
    let person = Entity::bare(acme("Person", "p")).in_parent(team(0));
    assert!(!view.close(&mut about(Arc::new(person)), &[]));
}

/// A watcher gets every entity that changed, or has to read all of them.
#[tokio::test]
async fn an_import_that_is_too_large_to_be_remembered_is_not_told_in_part() {
    let bench = Bench::with(|settings| settings.max_changes = 2).await;
    let before = bench.attributes.current().version();
    let teams: Vec<Json> =
        ["a", "b", "c"].iter().map(|id| json!({ "uid": { "type": "Acme::Team", "id": id } })).collect();
    bench.import(json!(teams), false).unwrap();
    assert_eq!(bench.changes(before).1, ChangesSince::Everything);
}

#[tokio::test]
async fn age_is_that_of_the_last_import() {
    let bench = Bench::with(|settings| settings.max_age = Some(Duration::from_secs(60))).await;
    let now = || crate::clock::Clock::now_millis(&*bench.clock);
    assert!(bench.attributes.current().is_stale(now()), "there was no import");
    bench.import(json!([]), false).unwrap();
    assert_eq!(bench.attributes.current().age_seconds(now()), Some(0));
    bench.clock.advance(Duration::from_secs(60));
    assert!(!bench.attributes.current().is_stale(now()));
    // A change by hand does not make the rest younger.
    bench.put(acme("Team", "a"), json!({})).unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert!(bench.attributes.current().is_stale(now()));
    assert_eq!(bench.attributes.current().age_seconds(now()), Some(61));
}

#[tokio::test]
async fn a_damaged_store_is_not_opened() {
    let bench = Bench::new().await;
    bench.put(acme("Team", "a"), json!({})).unwrap();
    let database = bench.directory.path().join("entities.db");
    drop(bench.attributes);
    for text in ["{", "[]", r#"{"parents":[{"type":"Acme::Team","id":"a"}]}"#, r#"{"colour":1}"#] {
        let connection = crate::db::open(&database, &[""]).unwrap();
        connection.execute("UPDATE entity SET json = ?1", [text]).unwrap();
        drop(connection);
        let error = super::store::Store::open(&database).unwrap().load().unwrap_err();
        assert!(matches!(error, AttributesError::Damaged(_)), "{text}: {error}");
        assert!(!error.is_of_request());
    }
}

#[test]
fn claims_are_ignored_unless_somebody_says_otherwise() {
    assert_eq!(Claims::default(), Claims::Ignored);
}

/// A principal with more parents than one decision may look at gets no decision, not one in which nothing is revoked.
#[tokio::test]
async fn what_is_revoked_is_looked_for_within_bounds_and_found_or_nothing_is_decided() {
    let bench = Bench::with(|settings| settings.max_per_decision = 50).await;
    let group = |id: usize| EntityUid::caxton("Group", format!("g{id}").as_str());
    let chain = |links: usize| -> Json {
        let edge = |link| json!({ "uid": name(&group(link)), "parents": [name(&group(link + 1))] });
        (0..links).map(edge).collect()
    };
    let user = EntityUid::caxton("User", "https://login.example|ann");
    let body = |revoked: usize| {
        let (parents, revoked) = ([name(&group(0)), name(&group(900))], [name(&group(revoked))]);
        json!({ "parents": parents, "revoked": revoked })
    };
    let known = |bench: &Bench| {
        let view = bench.attributes.current();
        let found = view.principal(&Arc::new(Entity::bare(user.clone()))).unwrap();
        let parents: Vec<String> = found.parents.iter().map(|parent| parent.id().to_owned()).collect();
        (parents, view.close(&mut about(found), &[]))
    };
    bench.import(chain(40), true).unwrap();
    bench.put(user.clone(), body(40)).unwrap();
    assert_eq!(known(&bench), (vec!["g900".to_owned()], true), "in a revoked one, forty steps up");
    bench.put(user.clone(), body(901)).unwrap();
    assert_eq!(known(&bench).0.len(), 2, "nothing of it is revoked");
    bench.import(chain(60), false).unwrap();
    bench.put(user.clone(), body(60)).unwrap();
    assert!(!known(&bench).1, "more than may be looked at: nothing is decided");
}

#[tokio::test]
async fn what_may_no_longer_be_when_its_turn_comes_changes_nothing() {
    let bench = Bench::new().await;
    let assign = EntityChange::Assign(role("late"));
    let locked = || Err(AttributesError::Unknown(role("locked")));
    let before = bench.attributes.snapshot().version();
    let operation = WriteEntity { uid: EntityUid::caxton("Agent", "clerk"), change: assign, sha256: None };
    let permit = Permit::for_test(operation, Subject::for_test());
    assert!(bench.attributes.write(permit, &bench.bundle, locked).is_err());
    let operation = ImportEntities { drafts: Vec::new(), replace: true, sha256: None };
    let permit = Permit::for_test(operation, Subject::for_test());
    assert!(bench.attributes.import(permit, &bench.bundle, locked).is_err());
    assert_eq!(bench.attributes.snapshot().version(), before);
}
