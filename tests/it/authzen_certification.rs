//! The certification scenario of OpenID AuthZEN 1.0, all levels: Basic, Batch, Search and Discovery, over TLS.
//!
//! `certification/authorization-api-1_0-scenario.md` of `openid/authzen`. Each check has the number of its section; what a
//! check compares is what the scenario says that the harness compares.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::path::Path;

use crate::support::pki::{Authority, Wish, client};
use crate::support::{Answer, Credential, World, send};
use caxton::api::Undeclared;
use caxton::server::TlsSettings;
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

const ONE: &str = "/access/v1/evaluation";
const MANY: &str = "/access/v1/evaluations";
const SUBJECTS: &str = "/access/v1/search/subject";
const RESOURCES: &str = "/access/v1/search/resource";
const ACTIONS: &str = "/access/v1/search/action";
/// The checks of the scenario, one for each requirement and example request.
const CHECKS: usize = 65;

/// Asks the gateway, and counts what was checked.
struct Harness {
    world: World,
    pep: Credential,
    checked: Vec<&'static str>,
}

impl Harness {
    async fn start(undeclared: Undeclared) -> Self {
        let authority = Authority::new("Test CA");
        let mut world = World::with(|settings, directory| {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let fixture = root.join("tests/authzen/certification");
            for (kind, setting) in
                [("policies", &mut settings.policy_dir), ("schemas", &mut settings.schema_dir)]
            {
                let target = directory.join(kind);
                super::authzen::copy(&root.join(kind), &target);
                super::authzen::copy(&fixture.join(kind), &target.join("records"));
                *setting = Some(target);
            }
            settings.api.undeclared = undeclared;
            let (certificate, key) = authority.sign(&Wish::server()).write(directory, "server");
            settings.tls = Some(TlsSettings::new(certificate, key));
        })
        .await;
        world.client = client(&authority, None);
        let root = world.person("root", &["admin"]);
        let uid = |kind: &str, id: &str| json!({ "type": kind, "id": id });
        let entities = json!([
            { "uid": uid("user", "alice") },
            { "uid": uid("user", "bob"), "attrs": { "role": "admin" } },
            { "uid": uid("record", "record-1"), "attrs": { "status": "active" } },
            { "uid": uid("record", "record-2"), "attrs": { "status": "archived" } },
        ]);
        let taken = world.post(&root, "/v1/entities/import", &json!({ "entities": entities })).await;
        assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
        let pep = world.service("pep", &["policy:test"]);
        Self { world, pep, checked: Vec::new() }
    }

    async fn ask(&self, path: &str, body: &Json) -> Answer {
        self.world.post(&self.pep, path, body).await
    }

    /// The scenario asks for 200 and JSON of every answer that is one.
    async fn answer(&self, path: &str, body: &Json) -> Json {
        let answer = self.ask(path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {body}\n{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json", "{path} {body}");
        answer.json()
    }

    async fn decides(&mut self, check: &'static str, body: &Json, expected: bool) {
        let answer = self.answer(ONE, body).await;
        assert_eq!(answer["decision"], expected, "{check}: {body}\n{answer}");
        self.checked.push(check);
    }

    /// As the official runner of the interoperability events compares: the items, and nothing else in them.
    async fn decides_all(&mut self, check: &'static str, body: &Json, expected: &[bool]) {
        let answer = self.answer(MANY, body).await;
        let expected: Json = expected.iter().map(|decision| json!({ "decision": decision })).collect();
        assert_eq!(answer["evaluations"], expected, "{check}: {body}\n{answer}");
        self.checked.push(check);
    }

    async fn refuses(&mut self, check: &'static str, path: &str, body: &Json) {
        let answer = self.ask(path, body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{check}: {body}\n{answer:?}");
        self.checked.push(check);
    }

    async fn refuses_body(&mut self, check: &'static str, kind: &str, body: &'static str) {
        let request = self.world.request(&self.pep, Method::POST, ONE).header("content-type", kind);
        let answer = send(request.body(body)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{check}: {answer:?}");
        self.checked.push(check);
    }

    /// Whether a search answers with at least these, each of them of the wanted form.
    async fn finds(&mut self, check: &'static str, path: &str, body: &Json, expected: &[Json]) -> Json {
        let answer = self.answer(path, body).await;
        let results = answer["results"].as_array().unwrap_or_else(|| panic!("{check}: {answer}"));
        for found in results {
            match path {
                ACTIONS => assert!(found["name"].is_string(), "{check}: {answer}"),
                _ => {
                    let side = if path == SUBJECTS { "subject" } else { "resource" };
                    assert_eq!(found["type"], body[side]["type"], "{check}: {answer}");
                    assert!(found["id"].is_string(), "{check}: {answer}");
                }
            }
        }
        for wanted in expected {
            assert!(results.contains(wanted), "{check}: {wanted} is not in {answer}");
        }
        let page = &answer["page"];
        assert!(page.is_null() || page["next_token"].is_string(), "{check}: {answer}");
        self.checked.push(check);
        answer
    }
}

fn user(id: &str) -> Json {
    json!({ "type": "user", "id": id })
}

fn admin_bob() -> Json {
    json!({ "type": "user", "id": "bob", "properties": { "role": "admin" } })
}

fn record(id: &str) -> Json {
    json!({ "type": "record", "id": id })
}

fn record_that_is(id: &str, status: &str) -> Json {
    json!({ "type": "record", "id": id, "properties": { "status": status } })
}

fn action(name: &str) -> Json {
    json!({ "name": name })
}

fn deletion(soft: bool) -> Json {
    json!({ "name": "delete", "properties": { "soft": soft } })
}

fn question(subject: Json, action: Json, resource: Json) -> Json {
    json!({ "subject": subject, "action": action, "resource": resource })
}

fn first() -> Json {
    question(user("alice"), action("read"), record("record-1"))
}

/// The question with other fields in it.
fn with(mut body: Json, more: Json) -> Json {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The question without a field, by its path.
fn without(mut body: Json, path: &[&str]) -> Json {
    let (last, above) = path.split_last().unwrap();
    let within = above.iter().fold(&mut body, |within, name| &mut within[*name]);
    within.as_object_mut().unwrap().remove(*last);
    body
}

/// Moments and addresses as the scenario writes them: no schema declares these.
fn circumstances() -> Json {
    json!({ "context": { "time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1" } })
}

#[tokio::test]
async fn the_certification_scenario_passes() {
    let mut harness = Harness::start(Undeclared::Carry).await;
    basic(&mut harness).await;
    basic_errors(&mut harness).await;
    basic_headers(&mut harness).await;
    batch(&mut harness).await;
    batch_defaults(&mut harness).await;
    batch_form(&mut harness).await;
    search(&mut harness).await;
    search_pages(&mut harness).await;
    search_errors(&mut harness).await;
    discovery(&mut harness).await;
    assert_eq!(harness.checked.len(), CHECKS, "{:#?}", harness.checked);
    harness.world.stop().await;
}

async fn basic(h: &mut Harness) {
    h.decides("c-2-2-1 permit", &first(), true).await;
    let bob_writes = question(user("bob"), action("write"), record("record-1"));
    h.decides("c-2-2-2 deny", &bob_writes, false).await;
    let alice_writes = question(user("alice"), action("write"), record("record-1"));
    h.decides("c-1-4 rule 2", &alice_writes, true).await;
    let bob_reads = question(user("bob"), action("read"), record("record-1"));
    h.decides("c-1-4 rule 3", &bob_reads, true).await;
    h.decides("c-2-2-3 optional context", &with(first(), circumstances()), true).await;
    let archived = record_that_is("record-2", "archived");
    let alice_archived = question(user("alice"), action("write"), archived.clone());
    h.decides("c-2-2-4 deny by properties", &alice_archived, false).await;
    let bob_archived = question(admin_bob(), action("write"), archived);
    h.decides("c-2-2-5 permit by properties of the subject", &bob_archived, true).await;
    for (check, soft) in [("c-2-2-6 permit by the action", true), ("c-2-2-7 deny by the action", false)] {
        h.decides(check, &question(user("alice"), deletion(soft), record("record-1")), soft).await;
    }
    let more = question(
        json!({ "type": "user", "id": "alice", "properties": { "department": "Sales", "role": "manager" } }),
        json!({ "name": "read", "properties": { "method": "GET" } }),
        json!({ "type": "record", "id": "record-1", "properties": { "status": "active", "owner": "bob" } }),
    );
    h.decides("c-2-2-8 additional properties", &more, true).await;
    let unknown = with(first(), json!({ "foo": "bar", "futureField": { "nested": true } }));
    h.decides("c-2-2-9 unknown fields", &unknown, true).await;
    let answer = h.answer(ONE, &first()).await;
    assert!(answer["decision"].is_boolean(), "{answer}");
    h.checked.push("c-2-3-1 the decision is a boolean");
    assert!(answer.get("context").is_none_or(Json::is_object), "{answer}");
    h.checked.push("c-2-3-2 the context is an object");
}

async fn basic_errors(h: &mut Harness) {
    for (check, path) in [
        ("c-2-4-1 no subject", &["subject"][..]),
        ("c-2-4-1 no action", &["action"]),
        ("c-2-4-1 no resource", &["resource"]),
        ("c-2-4-2 no subject.type", &["subject", "type"]),
        ("c-2-4-2 no subject.id", &["subject", "id"]),
        ("c-2-4-2 no action.name", &["action", "name"]),
        ("c-2-4-2 no resource.type", &["resource", "type"]),
        ("c-2-4-2 no resource.id", &["resource", "id"]),
    ] {
        h.refuses(check, ONE, &without(first(), path)).await;
    }
    h.refuses_body(
        "c-2-4-3 content type",
        "text/plain",
        "{\"subject\":{\"type\":\"user\",\"id\":\"alice\"}}",
    )
    .await;
    h.refuses_body("c-2-4-4 no JSON", "application/json", "{\"subject\": {").await;
    h.refuses_body("c-2-4-5 empty", "application/json", "").await;
    h.refuses("c-2-4-6 subject is text", ONE, &with(first(), json!({ "subject": "alice" }))).await;
    h.refuses("c-2-4-6 name is a number", ONE, &with(first(), json!({ "action": { "name": 123 } }))).await;
}

async fn basic_headers(h: &mut Harness) {
    let asked = |id: Option<&str>| {
        let request = h.world.request(&h.pep, Method::POST, ONE).json(&first());
        match id {
            Some(id) => request.header("x-request-id", id),
            None => request,
        }
    };
    let answer = send(asked(Some("bfe9eb29-ab87-4ca3-be83-a1d5d8305716"))).await;
    assert_eq!(answer.headers["x-request-id"], "bfe9eb29-ab87-4ca3-be83-a1d5d8305716");
    let answer = send(asked(None)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    for _ in 0..5 {
        assert_eq!(send(asked(None)).await.json()["decision"], true);
    }
    h.checked.extend(["c-2-5-1 request id comes back", "c-2-5-2 no request id", "c-2-6 the same each time"]);
}

async fn batch(h: &mut Harness) {
    let resources =
        json!({ "evaluations": [{ "resource": record("record-1") }, { "resource": record("record-2") }] });
    let reads = with(json!({ "subject": user("alice"), "action": action("read") }), resources);
    h.decides_all("c-3-2-1 several resources", &reads, &[true, true]).await;
    let actions = json!({
        "subject": user("bob"), "resource": record("record-1"),
        "evaluations": [{ "action": action("read") }, { "action": action("write") }],
    });
    h.decides_all("c-3-2-2 several actions", &actions, &[true, false]).await;
    let active = record_that_is("record-1", "active");
    let archived = record_that_is("record-2", "archived");
    let states = json!({
        "subject": user("alice"), "action": action("write"),
        "evaluations": [{ "resource": active }, { "resource": archived }],
    });
    h.decides_all("c-3-2-3 properties of resources", &states, &[true, false]).await;
    let subjects = json!({
        "action": action("write"), "resource": archived,
        "evaluations": [{ "subject": user("alice") }, { "subject": admin_bob() }],
    });
    h.decides_all("c-3-2-4 properties of subjects", &subjects, &[false, true]).await;
    let bob_writes = question(user("bob"), action("write"), record("record-1"));
    let whole = json!({ "evaluations": [first(), bob_writes] });
    h.decides_all("c-3-2-5 no defaults", &whole, &[true, false]).await;
}

async fn batch_defaults(h: &mut Harness) {
    let contexts = json!({
        "subject": user("alice"), "action": action("read"), "context": { "time": "2025-06-27T18:03-07:00" },
        "evaluations": [
            { "resource": record("record-1") },
            {
                "resource": record("record-2"),
                "context": { "time": "2025-06-27T19:00-07:00", "source": "batch-override" },
            },
        ],
    });
    // `source` is a record of the gateway's own: the second question does not fit the schema, which is a deny in its place.
    let answer = h.answer(MANY, &contexts).await;
    let items = answer["evaluations"].as_array().unwrap();
    assert!(items.len() == 2 && items.iter().all(|item| item["decision"].is_boolean()), "{answer}");
    assert_eq!(items[0], json!({ "decision": true }));
    h.checked.push("c-3-2-6 context of the batch");
    let merged = json!({
        "subject": user("alice"), "action": action("write"), "resource": { "type": "record" },
        "evaluations": [
            { "resource": { "id": "record-1", "properties": { "status": "active" } } },
            { "resource": record_that_is("record-2", "archived") },
        ],
    });
    h.decides_all("c-3-2-7 type from the batch", &merged, &[true, false]).await;
}

async fn batch_form(h: &mut Harness) {
    let three = json!({
        "subject": user("alice"), "action": action("write"),
        "evaluations": [
            { "resource": record("record-1") },
            { "resource": record_that_is("record-2", "archived") },
            { "resource": record("record-1") },
        ],
    });
    h.decides_all("c-3-3-1 as many as asked", &three, &[true, false, true]).await;
    let answer = h.answer(MANY, &three).await;
    let items = answer["evaluations"].as_array().unwrap();
    assert_eq!([&items[0]["decision"], &items[1]["decision"]], [true, false]);
    assert!(items.iter().all(|item| item["decision"].is_boolean()), "{answer}");
    assert!(answer.get("decision").is_none(), "{answer}");
    h.checked.extend(["c-3-3-2 in order", "c-3-3-3 a decision in each", "c-3-3-4 none above them"]);
    let failing = json!({
        "subject": user("alice"), "action": action("read"),
        "evaluations": [{ "resource": record("record-1") }, {}],
    });
    let answer = h.answer(MANY, &failing).await;
    let items = answer["evaluations"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["decision"], &items[1]["decision"]), (2, &json!(true), &json!(false)));
    h.checked.push("c-3-4-1 a bad item is a deny");
    for (check, body) in [
        ("c-3-4-2 no evaluations", first()),
        ("c-3-4-3 empty evaluations", with(first(), json!({ "evaluations": [] }))),
    ] {
        let answer = h.answer(MANY, &body).await;
        assert_eq!(answer["decision"], true, "{check}: {answer}");
        h.checked.push(check);
    }
}

async fn search(h: &mut Harness) {
    let (alice, bob) = (user("alice"), user("bob"));
    let open_user = json!({ "type": "user" });
    let open_record = json!({ "type": "record" });
    let archived = record_that_is("record-2", "archived");
    let readers = question(open_user.clone(), action("read"), record("record-1"));
    h.finds("c-4-2-1 subjects", SUBJECTS, &readers, &[alice.clone(), bob.clone()]).await;
    let in_context = with(readers, circumstances());
    h.finds("c-4-2-2 subjects, with context", SUBJECTS, &in_context, &[alice.clone(), bob.clone()]).await;
    let writers = question(open_user, action("write"), archived.clone());
    h.finds("c-4-2-4 subjects, by properties", SUBJECTS, &writers, &[bob]).await;
    let readable = question(alice.clone(), action("read"), open_record.clone());
    h.finds("c-4-3-1 resources", RESOURCES, &readable, &[record("record-1")]).await;
    let writable = question(admin_bob(), action("write"), open_record);
    h.finds("c-4-3-3 resources, by properties", RESOURCES, &writable, &[record("record-2")]).await;
    let open = json!({ "subject": alice, "resource": record("record-1") });
    let both = [action("read"), action("write")];
    h.finds("c-4-4-1 actions", ACTIONS, &open, &both).await;
    h.finds("c-4-4-2 actions, with context", ACTIONS, &with(open, circumstances()), &both).await;
    let of_bob = json!({ "subject": admin_bob(), "resource": archived });
    h.finds("c-4-4-3 actions, by properties", ACTIONS, &of_bob, &[action("write")]).await;
    let strangers = json!({ "subject": user("nonexistent-user"), "resource": record("record-1") });
    let answer = h.finds("c-4-6-1 unknown id", ACTIONS, &strangers, &[]).await;
    assert_eq!(answer["results"], json!([]));
    let ships = question(json!({ "type": "spaceship" }), action("read"), record("record-1"));
    let answer = h.finds("c-4-6-2 unknown type", SUBJECTS, &ships, &[]).await;
    assert_eq!(answer["results"], json!([]));
}

async fn search_pages(h: &mut Harness) {
    let unknown = question(user("alice"), action("read"), json!({ "type": "record", "id": "x" }));
    let unknown = with(unknown, json!({ "foo": { "bar": [1] } }));
    h.finds("c-5 unknown fields of a search", RESOURCES, &unknown, &[record("record-1")]).await;
    let readers = question(json!({ "type": "user" }), action("read"), record("record-1"));
    let limited = with(readers.clone(), json!({ "page": { "limit": 1 } }));
    let answer = h.finds("c-4-5-1 limit", SUBJECTS, &limited, &[]).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 1, "{answer}");
    let token = answer["page"]["next_token"].as_str().unwrap();
    assert!(!token.is_empty(), "{answer}");
    let next = with(readers, json!({ "page": { "token": token } }));
    let answer = h.finds("c-4-5-2 token", SUBJECTS, &next, &[]).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["page"]["next_token"], "", "{answer}");
    assert_eq!(answer["page"]["count"], 1, "{answer}");
    h.checked.push("c-4-5-3 form of a page");
}

async fn search_errors(h: &mut Harness) {
    let subjects = question(json!({ "type": "user" }), action("read"), record("record-1"));
    let resources = question(user("alice"), action("read"), json!({ "type": "record" }));
    let actions = json!({ "subject": user("alice"), "resource": record("record-1") });
    for (check, path, body, field) in [
        ("c-4-7-1 no action", SUBJECTS, &subjects, &["action"][..]),
        ("c-4-7-1 no subject", RESOURCES, &resources, &["subject"]),
        ("c-4-7-1 no resource", ACTIONS, &actions, &["resource"]),
        ("c-4-7-2 no resource.id", SUBJECTS, &subjects, &["resource", "id"]),
        ("c-4-7-2 no subject.id", RESOURCES, &resources, &["subject", "id"]),
    ] {
        h.refuses(check, path, &without(body.clone(), field)).await;
    }
}

async fn discovery(h: &mut Harness) {
    let asked = h.world.get(&Credential::Nothing, "/.well-known/authzen-configuration").await;
    assert_eq!(asked.status, StatusCode::OK, "{asked:?}");
    assert_eq!(asked.headers["content-type"], "application/json");
    h.checked.push("c-6-2 the metadata is JSON");
    let metadata = asked.json();
    let base = format!("https://{}", h.world.gateway.address());
    assert_eq!(metadata["policy_decision_point"], base.as_str(), "{metadata}");
    h.checked.push("c-6-5 the base address");
    for (name, path) in [
        ("access_evaluation_endpoint", ONE),
        ("access_evaluations_endpoint", MANY),
        ("search_subject_endpoint", SUBJECTS),
        ("search_resource_endpoint", RESOURCES),
        ("search_action_endpoint", ACTIONS),
    ] {
        assert_eq!(metadata[name], format!("{base}{path}"), "{metadata}");
    }
    h.checked.push("c-6-5 the endpoints");
}

/// Beyond the scenario: what is not declared is refused unless the operator says otherwise, and a policy can look at it
/// where it is carried.
#[tokio::test]
async fn what_the_schema_does_not_declare_is_refused_or_carried() {
    let robot = json!({ "type": "user", "id": "alice", "properties": { "kind": "robot" } });
    let human = json!({ "type": "user", "id": "alice", "properties": { "kind": "human" } });
    let sometimes = json!({ "name": "delete", "properties": { "soft": true, "at": 1.5, "by": null } });
    let cases = [
        ("subject, looked at", question(robot, action("read"), record("record-1")), false),
        ("subject", question(human, action("read"), record("record-1")), true),
        ("action", question(user("alice"), sometimes, record("record-1")), true),
        ("context", with(first(), json!({ "context": { "channel": ["a", { "b": 1.5 }] } })), true),
    ];
    let carrying = Harness::start(Undeclared::Carry).await;
    let refusing = Harness::start(Undeclared::Refuse).await;
    for (what, body, expected) in &cases {
        let answer = carrying.answer(ONE, body).await;
        assert_eq!(answer["decision"], *expected, "{what}: {answer}");
        let reason = if *expected { "permitted" } else { "forbidden" };
        assert_eq!(answer["context"]["reason"], reason, "{what}: {answer}");
        let answer = refusing.ask(ONE, body).await;
        let denied = answer.status == StatusCode::OK
            && answer.json()["decision"] == false
            && answer.json()["context"]["reason"] == "schema_mismatch";
        // What is no value of the policy language at all is no question.
        assert!(denied || answer.status == StatusCode::BAD_REQUEST, "{what}: {answer:?}");
    }
    // What is declared must be of its type, however the rest is taken.
    let wrong =
        question(user("alice"), json!({ "name": "delete", "properties": { "soft": "yes" } }), record("r"));
    for harness in [&carrying, &refusing] {
        let answer = harness.answer(ONE, &wrong).await;
        assert_eq!(answer["context"]["reason"], "schema_mismatch", "{answer}");
        let plain = question(user("alice"), deletion(true), record("record-1"));
        assert_eq!(harness.answer(ONE, &plain).await["decision"], true);
    }
    let twice = with(
        question(user("alice"), deletion(true), record("record-1")),
        json!({ "context": { "input": { "soft": false } } }),
    );
    for harness in [&carrying, &refusing] {
        let answer = harness.ask(ONE, &twice).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        assert!(answer.text.contains("`action.properties` are `context.input`"), "{answer:?}");
    }
    let many: Vec<u32> = (0..300).collect();
    let answer = carrying.ask(ONE, &with(first(), json!({ "context": { "many": many } }))).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert!(answer.text.contains("more than 256 values"), "{answer:?}");
    carrying.world.stop().await;
    refusing.world.stop().await;
}
