//! What is known of people and things, over the wire: changed by administrators only, seen by the next decision, on
//! record; and what AuthZEN's search finds is what its evaluation allows.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Answer, Credential, ISSUER, World, outcome, send, until, write};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

const SCHEMA: &str = r#"namespace Acme {
  entity Team in [Team];
  entity Person in [Team] = { level: Long };
  entity Folder in [Folder];
  entity Doc in [Folder] = { owner: Person, open: Bool };
  entity Switches;
  entity Switch in [Switches] = { on?: Bool, instead?: Switch };
  action all;
  action read in [all] appliesTo { principal: [Person], resource: [Doc, Folder], context: Caxton::BaseContext };
  action write in [all] appliesTo { principal: [Person], resource: [Doc], context: Caxton::BaseContext };
  action share appliesTo { principal: [Person, Caxton::User], resource: [Doc], context: Caxton::BaseContext };
}"#;

/// A gateway with the shipped policies and these beside them.
async fn world(policies: &str) -> World {
    World::with(|settings, directory| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (ours, schemas) = (directory.join("policies"), directory.join("schemas"));
        for (from, to) in [(root.join("policies"), &ours), (root.join("schemas"), &schemas)] {
            std::fs::create_dir_all(to).unwrap();
            for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
                if entry.is_file() {
                    std::fs::copy(&entry, to.join(entry.file_name().unwrap())).unwrap();
                }
            }
        }
        std::fs::copy(root.join("schemas/tools/builtin.cedarschema"), schemas.join("builtin.cedarschema"))
            .unwrap();
        write(&schemas.join("acme.cedarschema"), SCHEMA);
        write(&ours.join("acme.cedar"), policies);
        (settings.policy_dir, settings.schema_dir) = (Some(ours), Some(schemas));
    })
    .await
}

fn acme(kind: &str, id: &str) -> Json {
    json!({ "type": format!("Acme::{kind}"), "id": id })
}

fn role(name: &str) -> Json {
    json!({ "type": "Caxton::Role", "id": name })
}

fn address(uid: &Json) -> String {
    let id: String = uid["id"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/v1/entities/{}/{id}", uid["type"].as_str().unwrap())
}

async fn put(world: &World, who: &Credential, uid: &Json, body: Json) -> Answer {
    send(world.request(who, Method::PUT, &address(uid)).json(&body)).await
}

fn user(name: &str) -> Json {
    json!({ "type": "Caxton::User", "id": format!("{ISSUER}|{name}") })
}

#[tokio::test]
async fn a_role_counts_and_stops_counting_with_the_next_request() {
    let world = World::new().await;
    let (root, ann) = (world.person("root", &["admin"]), world.person("ann", &[]));
    let read = async |who: &Credential| world.get(who, "/v1/audit/events").await.status;
    assert_eq!(read(&ann).await, StatusCode::FORBIDDEN);
    let given = put(&world, &root, &user("ann"), json!({ "parents": [role("audit:read")] })).await;
    assert_eq!(given.status, StatusCode::OK, "{given:?}");
    assert_eq!(read(&ann).await, StatusCode::OK);
    let version = given.json()["version"].as_u64().unwrap();
    let record = world.records().pop().unwrap();
    assert_eq!(record["entity_version"], version, "the decision saw that version");
    assert!(record.get("entity_age_seconds").is_none(), "nothing was ever imported");
    let gone = send(world.request(&root, Method::DELETE, &address(&user("ann")))).await;
    assert_eq!(gone.status, StatusCode::OK, "{gone:?}");
    assert_eq!(read(&ann).await, StatusCode::FORBIDDEN);

    // A token that still names the role gains nothing once it is taken away.
    let bob = world.person("bob", &["audit:read", "agent:list"]);
    assert_eq!(read(&bob).await, StatusCode::OK);
    put(&world, &root, &user("bob"), json!({ "claims": "united", "revoked": [role("audit:read")] })).await;
    assert_eq!(read(&bob).await, StatusCode::FORBIDDEN);
    assert_eq!(world.get(&bob, "/v1/agents").await.status, StatusCode::OK);
    put(&world, &root, &user("bob"), json!({})).await;
    assert_eq!(world.get(&bob, "/v1/agents").await.status, StatusCode::FORBIDDEN);
    world.stop().await;
}

/// To Cedar an entity that is not handed over does not exist, and a `forbid` that hangs on it does not hold.
#[tokio::test]
async fn an_entity_that_only_a_policy_names_is_seen_and_on_record() {
    let conditions = [
        (r#"Acme::Switch::"kill" has on && Acme::Switch::"kill".on"#, json!({ "attrs": { "on": true } })),
        (
            r#"Acme::Switch::"kill" in Acme::Switches::"all""#,
            json!({ "parents": [{ "type": "Acme::Switches", "id": "all" }] }),
        ),
        (
            r#"Acme::Switch::"kill" has instead.on && Acme::Switch::"kill".instead.on"#,
            json!({ "attrs": { "instead": { "type": "Acme::Switch", "id": "other" } } }),
        ),
    ];
    for (condition, body) in conditions {
        let forbid = format!(
            "@id(\"kill\") forbid (principal, action == Caxton::Action::\"agent:list\", resource) when {{ {condition} }};"
        );
        let world = world(&forbid).await;
        let (root, ann) = (world.person("root", &["admin"]), world.person("ann", &["agent:list"]));
        let list = async || world.get(&ann, "/v1/agents").await.status;
        assert_eq!(list().await, StatusCode::OK, "{condition}");
        let other = put(&world, &root, &acme("Switch", "other"), json!({ "attrs": { "on": true } })).await;
        assert_eq!(other.status, StatusCode::OK, "{other:?}");
        let put = put(&world, &root, &acme("Switch", "kill"), body).await;
        assert_eq!(put.status, StatusCode::OK, "{put:?}");
        assert_eq!(list().await, StatusCode::FORBIDDEN, "{condition}");
        let record = world.records().pop().unwrap();
        assert_eq!(record["policies"][0]["id"], "kill", "{record}");
        // The same through AuthZEN, for whom it is asked.
        let question = json!({
            "subject": user("ann"),
            "action": { "name": "agent:list" },
            "resource": { "type": "Caxton::Gateway", "id": "caxton" },
        });
        let answer = world.post(&root, "/access/v1/evaluation", &question).await;
        assert_eq!(answer.json()["decision"], false, "{answer:?}");
        world.stop().await;
    }
}

#[tokio::test]
async fn only_administrators_change_what_is_known_and_each_change_is_on_record() {
    let world = World::new().await;
    let target = user("eve");
    let body = json!({ "parents": [role("admin")] });
    for who in [
        world.person("eve", &["operator", "developer", "viewer"]),
        world.service("eve", &["entity:read", "entity:write", "entity:import", "entity:*"]),
        world.agent("clerk"),
    ] {
        for request in [
            world.request(&who, Method::PUT, &address(&target)).json(&body),
            world.request(&who, Method::PATCH, &address(&target)).json(&body),
            world.request(&who, Method::DELETE, &address(&target)),
            world.request(&who, Method::POST, "/v1/entities/import").json(&json!({ "entities": [] })),
        ] {
            let answer = send(request).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        }
    }
    let root = world.person("root", &["admin"]);
    assert_eq!(world.get(&root, &address(&target)).await.status, StatusCode::NOT_FOUND);
    put(&world, &root, &target, body).await;
    let record = world.records().pop().unwrap();
    assert_eq!(outcome(&record), ("allow", "permitted"));
    assert_eq!(
        (record["action"].as_str(), record["event_type"].as_str()),
        (Some("entity:write"), Some("admin_action"))
    );
    let input = &record["context"]["input"];
    assert_eq!(input["change"], "put");
    assert_eq!(input["id"], target["id"]);
    assert_eq!(input["parents"], json!(["Caxton::Role::\"admin\""]));
    assert_eq!((&input["claims"], &input["revoked"]), (&json!("ignored"), &json!([])));
    // SHA-256 of the canonical body, as anybody can compute it.
    assert_eq!(record["args_sha256"], "66c3e080c64f1552072d6a6f63366e718a2edc55f26a053d7ea8c714d991bb5e");
    let patch =
        json!({ "attrs": { "email": "eve@example" }, "tags": { "team": ["a"] }, "revoked": [role("x")] });
    send(world.request(&root, Method::PATCH, &address(&target)).json(&patch)).await;
    let record = world.records().pop().unwrap();
    let input = &record["context"]["input"];
    assert_eq!((&input["attributes"], &input["tags"]), (&json!(["email"]), &json!(["team"])), "{record}");
    assert_eq!(input["revoked"], json!(["Caxton::Role::\"x\""]));
    assert!(input.get("claims").is_none());
    assert!(!record.to_string().contains("eve@example"), "values are not in the log: {record}");
    world.post(&root, "/v1/entities/import", &json!({ "entities": [] })).await;
    assert_eq!(
        world.records().pop().unwrap()["args_sha256"],
        "8add43ad725ec5deef72e26db17a80850dc88f50e2aeb908d4e4913e5d976af5"
    );
    world.stop().await;
}

/// A policy says who may change what: the help desk keeps addresses, and nothing that decides.
#[tokio::test]
async fn a_policy_sees_what_a_change_names() {
    let world = world(
        "@id(\"desk\") permit (principal in Caxton::Role::\"desk\", action == Caxton::Action::\"entity:write\", resource) when { context.input.change == \"patch\" && context.input.attributes == [\"email\"] && context.input.tags.isEmpty() && context.input.parents.isEmpty() && context.input.revoked.isEmpty() && !(context.input has claims) };",
    )
    .await;
    let (root, desk) = (world.person("root", &["admin"]), world.person("dora", &["desk"]));
    put(&world, &root, &user("ann"), json!({})).await;
    let email = json!({ "email": "ann@example" });
    for (body, status) in [
        (json!({ "attrs": email }), StatusCode::OK),
        (json!({ "attrs": email, "tags": { "x": ["a"] } }), StatusCode::FORBIDDEN),
        (json!({ "attrs": email, "parents": [role("admin")] }), StatusCode::FORBIDDEN),
        (json!({ "attrs": email, "revoked": [role("admin")] }), StatusCode::FORBIDDEN),
        (json!({ "attrs": email, "claims": "united" }), StatusCode::FORBIDDEN),
    ] {
        let answer = send(world.request(&desk, Method::PATCH, &address(&user("ann"))).json(&body)).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    world.stop().await;
}

/// Under the emergency lock nobody gets more than he has, administrators included; what can only take away goes on.
#[tokio::test]
async fn under_the_emergency_lock_roles_can_be_taken_and_nothing_be_given() {
    use caxton::changes::{ChangeLock, EmergencyLock as _, EngagedLock};
    let world = World::new().await;
    let (root, eve) = (world.person("root", &["admin"]), world.person("eve", &["viewer"]));
    put(&world, &root, &user("mallory"), json!({ "parents": [role("admin")] })).await;
    let lock = ChangeLock::in_directory(&world.directory.path().join("data"));
    lock.engage(&EngagedLock {
        reason: "intruder".to_owned(),
        author: "ada".to_owned(),
        time_millis: 0,
        version: world.gateway.policy_version(),
    })
    .unwrap();
    let target = address(&user("mallory"));
    let requests = |who: &Credential| {
        let assign = json!({ "user": "eve", "role": "admin" });
        [
            world.request(who, Method::PUT, &target).json(&json!({ "parents": [role("admin")] })),
            world.request(who, Method::PATCH, &target).json(&json!({ "revoked": [] })),
            world.request(who, Method::DELETE, &target),
            world.request(who, Method::POST, "/v1/entities/import").json(&json!({ "entities": [] })),
            world.request(who, Method::POST, "/v1/auth/roles").json(&assign),
        ]
    };
    let version = world.get(&root, "/v1/entities").await.json()["version"].clone();
    for request in requests(&root) {
        let answer = send(request).await;
        assert_eq!(answer.status, StatusCode::LOCKED, "{answer:?}");
        assert!(answer.text.contains("intruder"), "{answer:?}");
        let record = world.records().pop().unwrap();
        assert_eq!(outcome(&record), ("deny_default", "changes_locked"), "{record}");
    }
    // Who may not change anything does not learn of the lock.
    for request in requests(&eve) {
        let answer = send(request).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert!(!answer.text.contains("intruder"), "{answer:?}");
    }
    assert_eq!(world.get(&root, "/v1/entities").await.json()["version"], version, "nothing has changed");
    let taken = send(world.request(&root, Method::DELETE, "/v1/auth/roles?user=mallory&role=admin")).await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    assert_eq!(taken.json()["entity"]["revoked"], json!([role("admin")]));
    lock.release().unwrap();
    assert_eq!(put(&world, &root, &user("eve"), json!({})).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_with_path_and_type() {
    let world = world("").await;
    let root = world.person("root", &["admin"]);
    let bad = put(&world, &root, &acme("Person", "ann"), json!({ "attrs": { "level": "high" } })).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    assert_eq!(bad.json()["detail"], "`attrs.level`: expected a Long, got a String");
    let bad = put(&world, &root, &acme("Person", "ann"), json!({ "attrs": { "level": 1.5 } })).await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
    assert_eq!(bad.json()["detail"], "`attrs.level` is not a whole number of 64 bits");
    let bad =
        send(world.request(&root, Method::PATCH, &address(&acme("Person", "ann"))).json(&json!({}))).await;
    assert_eq!(bad.status, StatusCode::NOT_FOUND, "{bad:?}");
    let two = json!({ "entities": [{ "uid": acme("Team", "a") }, { "uid": acme("Team", "b"), "attrs": { "x": true } }] });
    let bad = world.post(&root, "/v1/entities/import", &two).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    let listed = world.get(&root, "/v1/entities").await.json();
    assert_eq!(listed["entities"], json!([]));
    let bad = world.get(&root, "/v1/entities?after=zzz").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST, "{bad:?}");
    world.stop().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_changes_can_be_followed() {
    let world = world("").await;
    let root = world.person("root", &["admin"]);
    let teams: Vec<Json> = (10..35).map(|id| json!({ "uid": acme("Team", &id.to_string()) })).collect();
    let docs = [json!({ "uid": acme("Folder", "f") })];
    let all: Vec<&Json> = teams.iter().chain(&docs).collect();
    let taken = world.post(&root, "/v1/entities/import", &json!({ "entities": all })).await.json();
    assert_eq!((&taken["entities"], &taken["changed"]), (&json!(26), &json!(26)), "{taken}");
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let page = world.get(&root, &format!("/v1/entities?type=Acme::Team&limit=10{after}")).await.json();
        seen.extend(page["entities"].as_array().unwrap().iter().map(|entity| entity["uid"]["id"].clone()));
        assert!(page["imported"].is_string());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, (10..35).map(|id| json!(id.to_string())).collect::<Vec<_>>());
    let since = taken["version"].as_u64().unwrap();
    let path = format!("/v1/entities/changes?since={since}&wait=30");
    let team = acme("Team", "99");
    let (news, _) = tokio::join!(world.get(&root, &path), put(&world, &root, &team, json!({})));
    let news = news.json();
    assert_eq!(news["entities"], json!([acme("Team", "99")]), "{news}");
    assert_eq!(news["version"], since + 1);
    world.stop().await;
}

#[tokio::test]
async fn attributes_that_are_too_old_deny_everything_but_an_import() {
    let world = World::with(|settings, _| {
        settings.attributes.max_age = Some(std::time::Duration::from_secs(3_600));
    })
    .await;
    let root = world.person("root", &["admin"]);
    let refused = world.get(&root, "/v1/agents").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    assert_eq!(refused.json()["reason"], "attributes_unavailable");
    assert_eq!(outcome(&world.records().pop().unwrap()), ("deny_error", "attributes_unavailable"));
    let other = put(&world, &root, &role("x"), json!({})).await;
    assert_eq!(other.status, StatusCode::SERVICE_UNAVAILABLE, "{other:?}");
    let stranger = world.service("ci", &["agent:list"]);
    let empty = json!({ "entities": [] });
    assert_eq!(world.post(&stranger, "/v1/entities/import", &empty).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.post(&root, "/v1/entities/import", &empty).await.status, StatusCode::OK);
    assert_eq!(world.get(&root, "/v1/agents").await.status, StatusCode::OK);
    assert_eq!(world.records().pop().unwrap()["entity_age_seconds"], 0);
    world.stop().await;
}

// ---- search ------------------------------------------------------------------------------------------------------

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[usize::try_from(self.below(texts.len() as u64)).unwrap()]
    }
}

const PEOPLE: u64 = 12;
const DOCS: u64 = 12;
const FOLDERS: u64 = 4;

/// Teams and folders in chains, people and documents in them.
fn hierarchy(dice: &mut Dice) -> Vec<Json> {
    let mut all = Vec::new();
    for id in 0..FOLDERS {
        for kind in ["Team", "Folder"] {
            let above: Vec<Json> = (id + 1..4)
                .filter(|_| dice.below(3) == 0)
                .map(|above| acme(kind, &above.to_string()))
                .collect();
            all.push(json!({ "uid": acme(kind, &id.to_string()), "parents": above }));
        }
    }
    let within = |kind: &str, dice: &mut Dice| -> Vec<Json> {
        (0..4).filter(|_| dice.below(4) == 0).map(|id| acme(kind, &id.to_string())).collect()
    };
    for id in 0..PEOPLE {
        let (uid, parents) = (acme("Person", &id.to_string()), within("Team", dice));
        all.push(json!({ "uid": uid, "attrs": { "level": dice.below(5) }, "parents": parents }));
    }
    for id in 0..DOCS {
        let (uid, parents) = (acme("Doc", &id.to_string()), within("Folder", dice));
        let owner = acme("Person", &dice.below(PEOPLE + 2).to_string());
        all.push(json!({ "uid": uid, "attrs": { "owner": owner, "open": dice.below(2) == 0 }, "parents": parents }));
    }
    all
}

/// Policies of every kind of scope and of conditions on both sides, some of which err for some; and such as grant nothing by
/// themselves: a template that is not linked, and a policy that only watches.
fn policies(dice: &mut Dice) -> String {
    let mut text = String::new();
    for number in 0..8 {
        let effect = if dice.below(6) == 0 { "forbid" } else { "permit" };
        let mode = if dice.below(6) == 0 { "@mode(\"log_only\") " } else { "" };
        let side = |dice: &mut Dice, word: &str, own: &str, group: &str| match dice.below(10) {
            0..3 => word.to_owned(),
            3 | 4 => format!("{word} == Acme::{own}::\"{}\"", dice.below(8)),
            5 | 6 => format!("{word} in Acme::{group}::\"{}\"", dice.below(4)),
            7 => format!("{word} is Acme::{own}"),
            8 => format!("{word} is Acme::{own} in Acme::{group}::\"{}\"", dice.below(4)),
            _ => format!("{word} in ?{word}"),
        };
        let (principal, resource) =
            (side(dice, "principal", "Person", "Team"), side(dice, "resource", "Doc", "Folder"));
        let action = dice.of(&[
            "action in [Acme::Action::\"read\", Acme::Action::\"write\"]",
            "action in Acme::Action::\"all\"",
            "action == Acme::Action::\"read\"",
            "action == Acme::Action::\"write\"",
            "action == Acme::Action::\"share\"",
        ]);
        let word = dice.of(&["when", "unless"]);
        let clause = dice.of(&[
            "",
            "{ principal is Acme::Person && principal.level > 2 }",
            "{ principal in Acme::Team::\"1\" }",
            "{ resource in Acme::Folder::\"2\" }",
            "{ resource is Acme::Doc && resource.owner == principal }",
            "{ resource is Acme::Doc && resource.owner.level + 9223372036854775805 > 0 }",
            "{ resource is Acme::Doc && resource.open }",
            "{ context.session.denied > 0 }",
        ]);
        let clause = if clause.is_empty() { String::new() } else { format!("{word} {clause}") };
        text.push_str(&format!(
            "@id(\"acme.{number}\") @reason(\"no\") {mode}\n{effect}({principal}, {action}, {resource}) {clause};\n"
        ));
    }
    text
}

/// What is found on all pages, each of at most `limit` results; in order.
async fn search(world: &World, pep: &Credential, kind: &str, body: &Json, limit: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut body = body.clone();
    body["page"] = json!({ "limit": limit });
    loop {
        let answer = world.post(pep, &format!("/access/v1/search/{kind}"), &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        let results = answer["results"].as_array().unwrap();
        assert!(results.len() <= limit, "{answer}");
        assert_eq!(answer["page"]["count"], results.len());
        for result in results {
            let name = result.get("id").unwrap_or(&result["name"]).as_str().unwrap().to_owned();
            assert!(found.last().is_none_or(|last| *last < name), "{answer}: out of order, or twice");
            found.insert(name);
        }
        match answer["page"]["next_token"].as_str().unwrap() {
            "" => return found,
            token => body["page"]["token"] = json!(token),
        }
    }
}

/// Which of the questions are allowed, one by one.
async fn brute_force(world: &World, pep: &Credential, questions: Vec<(String, Json)>) -> BTreeSet<String> {
    let (names, items): (Vec<String>, Vec<Json>) = questions.into_iter().unzip();
    let answer = world.post(pep, "/access/v1/evaluations", &json!({ "evaluations": items })).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    let decisions = answer["evaluations"].as_array().unwrap();
    assert_eq!(decisions.len(), names.len());
    let allowed = names.into_iter().zip(decisions).filter(|(_, one)| one["decision"] == true);
    allowed.map(|(name, _)| name).collect()
}

#[tokio::test]
async fn search_finds_what_evaluation_allows_on_random_policies() {
    let world = world("").await;
    let (root, pep) = (world.person("root", &["admin"]), world.service("pep", &["policy:test"]));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    // How many were found, and how many asked about, of subjects, resources and actions.
    let mut seen = [(0, 0); 3];
    let question = |subject: &Json, action: &Json, resource: &Json| json!({ "subject": subject, "action": action, "resource": resource });
    let each = |kind: &'static str, most: u64| {
        (0..most).map(move |id| (id.to_string(), acme(kind, &id.to_string())))
    };
    for _ in 0..10 {
        let text = policies(&mut dice);
        write(&world.directory.path().join("policies/acme.cedar"), &text);
        let reloaded = world.gateway.reload().await;
        assert!(matches!(reloaded, caxton::server::ReloadOutcome::Applied { .. }), "{reloaded:?}\n{text}");
        let import = json!({ "entities": hierarchy(&mut dice), "replace": true });
        assert_eq!(world.post(&root, "/v1/entities/import", &import).await.status, StatusCode::OK);
        for _ in 0..3 {
            let action = json!({ "name": dice.of(&["read", "write", "share"]) });
            let kind = dice.of(&["Doc", "Doc", "Folder"]);
            let most = if kind == "Doc" { DOCS } else { FOLDERS };
            let (person, target) =
                (acme("Person", &dice.below(PEOPLE).to_string()), acme(kind, &dice.below(most).to_string()));
            let limit = usize::try_from(1 + dice.below(5)).unwrap();
            let people = each("Person", PEOPLE).map(|(id, one)| (id, question(&one, &action, &target)));
            let things = each(kind, most).map(|(id, one)| (id, question(&person, &action, &one)));
            let actions = ["all", "read", "share", "write"]
                .map(|name| (name.to_owned(), question(&person, &json!({ "name": name }), &target)));
            let nothing = json!({ "type": format!("Acme::{kind}") });
            for (number, (searched, questions, body)) in [
                (
                    "subject",
                    people.collect::<Vec<_>>(),
                    question(&json!({ "type": "Acme::Person" }), &action, &target),
                ),
                ("resource", things.collect(), question(&person, &action, &nothing)),
                ("action", actions.to_vec(), json!({ "subject": person, "resource": target })),
            ]
            .into_iter()
            .enumerate()
            {
                seen[number].1 += questions.len();
                let expected = brute_force(&world, &pep, questions).await;
                let found = search(&world, &pep, searched, &body, limit).await;
                assert_eq!(found, expected, "{searched} {body}\n{text}");
                seen[number].0 += found.len();
            }
        }
    }
    for (found, asked) in seen {
        assert!(found > 20 && found < asked - 20, "{seen:?} say little");
    }
    world.stop().await;
}

/// Nobody finds anything about somebody of whom nothing is known, though a policy may be about everybody.
#[tokio::test]
async fn about_an_unknown_id_nothing_is_found() {
    let world = world("@id(\"acme.all\") permit(principal, action in [Acme::Action::\"all\", Acme::Action::\"share\"], resource);").await;
    let (root, pep) = (world.person("root", &["admin"]), world.service("pep", &["policy:test"]));
    let all = [
        json!({ "uid": acme("Person", "ann"), "attrs": { "level": 1 } }),
        json!({ "uid": acme("Folder", "f") }),
    ];
    let import = json!({ "entities": all });
    assert_eq!(world.post(&root, "/v1/entities/import", &import).await.status, StatusCode::OK);
    let read = json!({ "name": "read" });
    let about =
        |subject: Json, resource: Json| json!({ "subject": subject, "action": read, "resource": resource });
    let (person, folder) = (json!({ "type": "Acme::Person" }), json!({ "type": "Acme::Folder" }));
    for (kind, known, unknown, found) in [
        (
            "subject",
            about(person.clone(), acme("Folder", "f")),
            about(person, acme("Folder", "g")),
            acme("Person", "ann"),
        ),
        (
            "resource",
            about(acme("Person", "ann"), folder.clone()),
            about(acme("Person", "bo"), folder),
            acme("Folder", "f"),
        ),
        (
            "action",
            about(acme("Person", "ann"), acme("Folder", "f")),
            about(acme("Person", "ann"), acme("Folder", "g")),
            read.clone(),
        ),
    ] {
        let path = format!("/access/v1/search/{kind}");
        let answer = world.post(&pep, &path, &known).await;
        assert_eq!((answer.status, &answer.json()["results"]), (StatusCode::OK, &json!([found])), "{known}");
        let answer = world.post(&pep, &path, &unknown).await;
        assert_eq!((answer.status, &answer.json()["results"]), (StatusCode::OK, &json!([])), "{unknown}");
        assert_eq!(answer.json()["page"], json!({ "next_token": "", "count": 0 }));
    }
    // What the question says of it is known.
    let mut stated = about(json!({ "type": "Acme::Person" }), acme("Doc", "d"));
    stated["resource"]["properties"] = json!({ "owner": acme("Person", "ann"), "open": true });
    let answer = world.post(&pep, "/access/v1/search/subject", &stated).await.json();
    assert_eq!(answer["results"], json!([acme("Person", "ann")]), "{answer}");
    world.stop().await;
}

/// An evaluation about an id of which nothing is known is Cedar's: what looks at an attribute of it errs.
#[tokio::test]
async fn of_an_unknown_id_policies_see_the_name_alone() {
    let world = world(concat!(
        "@id(\"acme.plan\") permit(principal == Acme::Person::\"ann\", action == Acme::Action::\"read\", resource == Acme::Doc::\"plan\");",
        "@id(\"acme.open\") permit(principal, action == Acme::Action::\"share\", resource is Acme::Doc) when { resource.open };",
        "@id(\"acme.shut\") @reason(\"shut\") forbid(principal, action == Acme::Action::\"write\", resource is Acme::Doc) unless { resource.open };",
        "@id(\"acme.write\") permit(principal, action == Acme::Action::\"write\", resource is Acme::Doc);",
    ))
    .await;
    let pep = world.service("pep", &["policy:test"]);
    for (name, doc, decision, reason) in [
        ("read", "plan", true, "permitted"),
        ("read", "other", false, "no_permit"),
        ("share", "plan", false, "no_permit"),
        // A forbid that cannot be evaluated denies.
        ("write", "plan", false, "policy_error"),
    ] {
        let question = json!({ "subject": acme("Person", "ann"), "action": { "name": name }, "resource": acme("Doc", doc) });
        let answer = world.post(&pep, "/access/v1/evaluation", &question).await.json();
        assert_eq!(
            (&answer["decision"], &answer["context"]["reason"]),
            (&json!(decision), &json!(reason)),
            "{question}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_search_looks_only_at_whom_a_permit_can_be_about() {
    let world = world("@id(\"acme.core\") permit(principal in Acme::Team::\"core\", action == Acme::Action::\"read\", resource);").await;
    let (root, pep) = (world.person("root", &["admin"]), world.service("pep", &["policy:test"]));
    let mut all: Vec<Json> = (0..1_500)
        .map(|id| json!({ "uid": acme("Person", &format!("{id:04}")), "attrs": { "level": 1 } }))
        .collect();
    all[700]["parents"] = json!([acme("Team", "core")]);
    all.push(json!({ "uid": acme("Folder", "f") }));
    world.post(&root, "/v1/entities/import", &json!({ "entities": all })).await;
    let body = json!({ "subject": { "type": "Acme::Person" }, "action": { "name": "read" }, "resource": acme("Folder", "f") });
    let answer = world.post(&pep, "/access/v1/search/subject", &body).await.json();
    assert_eq!(answer["results"], json!([acme("Person", "0700")]), "{answer}");
    assert_eq!(answer["page"]["next_token"], "");
    let record = world.records().pop().unwrap();
    assert_eq!(record["items"].as_array().unwrap().len(), 1, "one of 1,500 was asked about");
    assert_eq!(answer["context"]["decision_id"], record["decision_id"]);

    // A permit about anybody: a page looks at a bounded number, and the next goes on from there.
    write(
        &world.directory.path().join("policies/acme.cedar"),
        "@id(\"acme.any\") permit(principal, action == Acme::Action::\"read\", resource) when { principal.level > 1 };",
    );
    world.gateway.reload().await;
    let first = world.post(&pep, "/access/v1/search/subject", &body).await.json();
    assert_eq!(first["results"], json!([]));
    assert_eq!(world.records().pop().unwrap()["items"].as_array().unwrap().len(), 1_000);
    let mut second = body.clone();
    second["page"] = json!({ "token": first["page"]["next_token"] });
    let answer = world.post(&pep, "/access/v1/search/subject", &second).await.json();
    assert_eq!(answer["page"]["next_token"], "", "{answer}");
    // A token is for its own question.
    second["action"]["name"] = json!("write");
    assert_eq!(world.post(&pep, "/access/v1/search/subject", &second).await.status, StatusCode::BAD_REQUEST);
    world.stop().await;
}

#[tokio::test]
async fn search_answers_as_the_standard_says() {
    let world = world("").await;
    let pep = world.service("pep", &["policy:test"]);
    let good = json!({ "subject": { "type": "Acme::Person", "id": "x", "unknown": 1 }, "action": { "name": "read" }, "resource": acme("Doc", "d"), "more": {} });
    for kind in ["subject", "resource", "action"] {
        let path = format!("/access/v1/search/{kind}");
        let answer =
            send(world.request(&pep, Method::POST, &path).header("x-request-id", "abc-1").json(&good)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.headers["x-request-id"], "abc-1");
        assert_eq!(answer.json()["results"], json!([]), "nobody is known");
        let text = send(
            world
                .request(&pep, Method::POST, &path)
                .header("content-type", "text/plain")
                .body(good.to_string()),
        )
        .await;
        assert_eq!(text.status, StatusCode::BAD_REQUEST, "{text:?}");
        for (field, value) in [
            ("subject", json!({ "id": "x" })),
            ("subject", json!("x")),
            ("resource", json!({})),
            ("page", json!({ "limit": 0 })),
            ("page", json!({ "limit": -1 })),
            ("page", json!({ "token": "!" })),
            ("page", json!({ "token": "AAAA" })),
            ("context", json!([])),
        ] {
            let mut bad = good.clone();
            bad[field] = value;
            let answer = world.post(&pep, &path, &bad).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{kind} {bad}: {answer:?}");
        }
        let stranger = world.service("nobody", &["agent:list"]);
        assert_eq!(world.post(&stranger, &path, &good).await.status, StatusCode::FORBIDDEN);
    }
    for (kind, field, unknown) in [
        ("subject", "subject", json!({ "type": "Acme::Robot" })),
        ("resource", "resource", json!({ "type": "Robot" })),
        ("subject", "action", json!({ "name": "fly" })),
        ("action", "subject", json!({ "type": "Robot", "id": "r" })),
    ] {
        let mut body = good.clone();
        body[field] = unknown;
        let answer = world.post(&pep, &format!("/access/v1/search/{kind}"), &body).await;
        assert_eq!((answer.status, &answer.json()["results"]), (StatusCode::OK, &json!([])), "{body}");
    }
    world.stop().await;
}

#[tokio::test]
async fn agents_tools_and_scopes_of_the_gateway_are_found() {
    let world = World::new().await;
    let pep = world.service("pep", &["policy:test"]);
    let clerk = json!({ "type": "Caxton::Agent", "id": "clerk" });
    let body = json!({ "subject": clerk, "action": { "name": "memory:read" }, "resource": { "type": "Caxton::MemoryScope" } });
    let scopes = search(&world, &pep, "resource", &body, 2).await;
    assert_eq!(scopes, ["agent:clerk", "global", "workspace:office"].map(str::to_owned).into());
    let body = json!({ "subject": { "type": "Caxton::Agent" }, "action": { "name": "tool:list" }, "resource": { "type": "Caxton::Gateway", "id": "caxton" } });
    assert_eq!(
        search(&world, &pep, "subject", &body, 1).await,
        ["clerk", "researcher"].map(str::to_owned).into()
    );
    world.stop().await;
}

#[tokio::test]
async fn a_client_finds_the_decision_point() {
    let world =
        World::with(|settings, _| settings.api.public_url = Some("https://pdp.example/".to_owned())).await;
    let answer = world.get(&Credential::Nothing, "/.well-known/authzen-configuration").await.json();
    assert_eq!(answer["policy_decision_point"], "https://pdp.example");
    assert_eq!(answer["search_action_endpoint"], "https://pdp.example/access/v1/search/action");
    world.stop().await;
    let world = World::new().await;
    let answer = world.get(&Credential::Nothing, "/.well-known/authzen-configuration").await.json();
    assert_eq!(answer["access_evaluation_endpoint"], world.url("/access/v1/evaluation"));
    let odd = world
        .request(&Credential::Nothing, Method::GET, "/.well-known/authzen-configuration")
        .header("host", "a b/c\"");
    assert_eq!(send(odd).await.status, StatusCode::BAD_REQUEST);
    world.stop().await;
}

/// Whoever hangs up leaves no change without its record and no record without its change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_somebody_who_hangs_up_is_made_and_recorded_or_neither() {
    use tokio::io::AsyncWriteExt as _;
    let world = world("").await;
    let admin = world.person("root", &["admin"]);
    let Credential::Token(token) = &admin else { unreachable!() };
    let body = r#"{"attrs":{"level":1}}"#;
    let names = |records: Vec<Json>| -> BTreeSet<String> {
        let written = records.into_iter().filter(|record| {
            record["outcome"] == "allow" && record["action"].to_string().contains("entity:write")
        });
        written.map(|record| record["context"]["input"]["id"].as_str().unwrap().to_owned()).collect()
    };
    for number in 0..10_u64 {
        let mut stream = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
        let head = format!(
            "PUT /v1/entities/Acme::Person/p{number} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Gone as soon as it is on record.
        let name = format!("p{number}");
        until("it is on record", async || names(world.records()).contains(&name)).await;
    }
    let stored = async || -> BTreeSet<String> {
        let page = world.get(&admin, "/v1/entities?type=Acme::Person&limit=1000").await.json();
        let entities = page["entities"].as_array().unwrap().iter();
        entities.map(|one| one["uid"]["id"].as_str().unwrap().to_owned()).collect()
    };
    until("all are stored, and all are on record", async || {
        let (made, recorded) = (stored().await, names(world.records()));
        made == recorded && made.len() == 10
    })
    .await;
    world.stop().await;
}
