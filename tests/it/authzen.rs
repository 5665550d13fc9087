//! The gateway as an AuthZEN decision point: the todo vectors of the interoperability events, and what is refused.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use std::path::Path;

use crate::support::{Answer, Credential, World, outcome, send};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

const ONE: &str = "/access/v1/evaluation";
const MANY: &str = "/access/v1/evaluations";
const RICK: &str = "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs";
const MORTY: &str = "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs";

/// Copies a directory tree.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A gateway with the shipped policies and those of the todo application beside them.
async fn world(lockdown: bool) -> World {
    World::with(|settings, directory| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (policies, schemas) = (directory.join("policies"), directory.join("schemas"));
        copy(&root.join("policies"), &policies);
        copy(&root.join("tests/authzen/policies"), &policies.join("todo"));
        copy(&root.join("schemas"), &schemas);
        copy(&root.join("tests/authzen/schemas"), &schemas.join("todo"));
        (settings.policy_dir, settings.schema_dir) = (Some(policies), Some(schemas));
        settings.limit.per_principal = "10000/second".parse().unwrap();
        settings.lockdown = lockdown;
    })
    .await
}

/// Somebody who may ask.
fn asker(world: &World) -> Credential {
    world.service("pep", &["policy:test"])
}

fn todo(owner: &str) -> Json {
    json!({ "type": "todo", "id": "t", "properties": { "ownerID": owner } })
}

fn question(user: &str, action: &str, resource: &Json) -> Json {
    json!({ "subject": { "type": "user", "id": user }, "action": { "name": action }, "resource": resource })
}

/// The decisions of a batch, in order.
fn decisions(answer: &Json) -> Vec<bool> {
    let answers = answer["evaluations"].as_array().unwrap_or_else(|| panic!("{answer}"));
    answers.iter().map(|one| one["decision"].as_bool().unwrap()).collect()
}

fn shared(path: &str) -> Option<Json> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/authzen").join(path);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: the shared test data is not here");
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn the_todo_vectors_are_decided_as_expected() {
    let (Some(vectors), Some(request), Some(response)) = (
        shared("todo-decisions.json"),
        shared("schemas/evaluation-request.schema.json"),
        shared("schemas/evaluation-response.schema.json"),
    ) else {
        return;
    };
    let request = jsonschema::validator_for(&request).unwrap();
    let response = jsonschema::validator_for(&response).unwrap();
    let world = world(false).await;
    let pep = asker(&world);

    let singles = vectors["evaluation"].as_array().unwrap();
    assert_eq!(singles.len(), 40);
    for vector in singles {
        assert!(request.is_valid(&vector["request"]), "{vector}");
        let answer = world.post(&pep, ONE, &vector["request"]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/json");
        let answer = answer.json();
        assert!(response.is_valid(&answer), "{answer}");
        assert_eq!(answer["decision"], vector["expected"], "{vector}\n{answer}");
        // A deny is one of the policies, not a question that could not be asked.
        let reason = if vector["expected"] == true { "permitted" } else { "no_permit" };
        assert_eq!(answer["context"]["reason"], reason, "{vector}");
    }

    let batches = vectors["evaluations"].as_array().unwrap();
    assert_eq!(batches.len(), 3);
    for vector in batches {
        let answer = world.post(&pep, MANY, &vector["request"]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        // As the runner of the events compares: the list as it is, with nothing more in it.
        assert_eq!(answer["evaluations"], vector["expected"], "{vector}");
        for one in answer["evaluations"].as_array().unwrap() {
            assert!(response.is_valid(one), "{one}");
        }
    }

    // Every asking is one record, its answers are items.
    let records = world.records();
    let asked: Vec<_> = records.iter().filter(|record| record["action"] == "policy:test").collect();
    assert_eq!(asked.len(), 43);
    for (record, vector) in asked.iter().zip(singles) {
        let items = record["items"].as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["outcome"] == "allow", vector["expected"] == true);
    }
    let log = world.log();
    let _directory = world.stop().await;
    caxton::audit::verify::verify(&log).unwrap();
}

#[tokio::test]
async fn a_batch_is_one_record_that_holds_every_answer() {
    let world = world(false).await;
    let pep = asker(&world);
    let before = world.records().len();
    let batch = json!({
        "subject": { "type": "user", "id": MORTY },
        "action": { "name": "can_update_todo" },
        "evaluations": [
            { "resource": todo("morty@the-citadel.com") },
            { "resource": todo("rick@the-citadel.com") },
            { "subject": { "type": "user", "id": RICK }, "resource": todo("rick@the-citadel.com") },
            { "action": { "name": "can_read_todos" }, "resource": todo("rick@the-citadel.com") },
        ],
    });
    let answer = world.post(&pep, MANY, &batch).await.json();
    assert_eq!(decisions(&answer), [true, false, true, true]);
    let records = world.records();
    assert_eq!(records.len(), before + 1);
    let record = records.last().unwrap();
    assert_eq!(record["action"], "policy:test");
    assert_eq!(outcome(record), ("allow", "permitted"));
    assert_eq!(answer["context"]["decision_id"], record["decision_id"]);
    assert!(answer["evaluations"].as_array().unwrap().iter().all(|one| one.get("context").is_none()));
    let items = record["items"].as_array().unwrap();
    let seen: Vec<_> = items
        .iter()
        .map(|item| {
            let word = |name: &str| item[name].as_str().unwrap().to_owned();
            (word("principal"), word("action"), word("resource"), word("outcome"))
        })
        .collect();
    let item = |user: &str, action: &str, outcome: &str| {
        let user = format!("user::\"{user}\"");
        (user, format!("Action::\"{action}\""), "todo::\"t\"".to_owned(), outcome.to_owned())
    };
    let expected = [
        item(MORTY, "can_update_todo", "allow"),
        item(MORTY, "can_update_todo", "deny_default"),
        item(RICK, "can_update_todo", "allow"),
        item(MORTY, "can_read_todos", "allow"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(items[0]["policies"][0]["id"], "todo.morty-changes-his-own");
    world.stop().await;
}

#[tokio::test]
async fn a_batch_of_a_thousand_long_items_is_on_record_with_every_decision() {
    let world = world(false).await;
    let pep = asker(&world);
    let before = world.records().len();
    // Half of a kilobyte each way: more than one line of the log takes.
    let long = "x".repeat(500);
    let ask = |number: usize| {
        let owner = if number.is_multiple_of(2) { "morty@the-citadel.com" } else { "rick@the-citadel.com" };
        let mut resource = todo(owner);
        resource["id"] = format!("{number}-{long}").into();
        json!({ "resource": resource })
    };
    let batch = json!({
        "subject": { "type": "user", "id": MORTY },
        "action": { "name": "can_update_todo" },
        "evaluations": (0..1_000).map(ask).collect::<Vec<_>>(),
    });
    let answer = world.post(&pep, MANY, &batch).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let answer = answer.json();
    let expected: Vec<bool> = (0..1_000).map(|number| number % 2 == 0).collect();
    assert_eq!(decisions(&answer), expected);
    let records = world.records();
    let parts = &records[before..];
    let id = &answer["context"]["decision_id"];
    assert!(parts.iter().all(|part| part["decision_id"] == *id && part["action"] == "policy:test"));
    let items = parts.iter().flat_map(|part| part["items"].as_array().unwrap());
    let logged: Vec<bool> = items.map(|item| item["outcome"] == "allow").collect();
    assert_eq!(logged, expected);
    let log = world.log();
    let _directory = world.stop().await;
    caxton::audit::verify::verify(&log).unwrap();
}

#[tokio::test]
async fn a_batch_ends_where_its_semantics_say() {
    let world = world(false).await;
    let pep = asker(&world);
    let (own, other) = (todo("morty@the-citadel.com"), todo("rick@the-citadel.com"));
    let cases = [
        (None, vec![&own, &other, &own], vec![true, false, true]),
        (Some("execute_all"), vec![&other, &own, &other], vec![false, true, false]),
        (Some("deny_on_first_deny"), vec![&own, &other, &own], vec![true, false]),
        (Some("deny_on_first_deny"), vec![&own, &own], vec![true, true]),
        (Some("permit_on_first_permit"), vec![&other, &own, &other], vec![false, true]),
        (Some("permit_on_first_permit"), vec![&other, &other], vec![false, false]),
    ];
    for (semantic, resources, expected) in cases {
        let items: Vec<_> = resources.iter().map(|resource| json!({ "resource": resource })).collect();
        let mut batch = json!({
            "subject": { "type": "user", "id": MORTY },
            "action": { "name": "can_update_todo" },
            "evaluations": items,
        });
        if let Some(semantic) = semantic {
            batch["options"] = json!({ "evaluations_semantic": semantic });
        }
        let answer = world.post(&pep, MANY, &batch).await.json();
        assert_eq!(decisions(&answer), expected, "{semantic:?}");
        // What was not evaluated is not in the log either.
        let record = world.records().pop().unwrap();
        assert_eq!(record["items"].as_array().unwrap().len(), expected.len());
    }
    world.stop().await;
}

#[tokio::test]
async fn one_bad_item_is_denied_and_the_others_are_answered() {
    let world = world(false).await;
    let pep = asker(&world);
    let good = json!({ "resource": todo("morty@the-citadel.com") });
    let bad = [
        (json!({}), "`resource` is missing"),
        (json!({ "resource": { "type": "todo" } }), "`resource.id` is missing"),
        (json!({ "action": { "name": 7 } }), "invalid type: integer `7`, expected a string"),
        (json!({ "resource": ["todo", "t"] }), "invalid type: sequence, expected an object"),
        (json!(7), "invalid type: integer `7`, expected an object"),
        (json!(null), "invalid type: null, expected an object"),
        (
            json!({ "resource": { "type": "todo", "id": "t", "properties": { "n": 1.5 } } }),
            "`n` is not a whole number of 64 bits",
        ),
        (
            json!({ "resource": { "type": "todo", "id": "t", "properties": { "n": null } } }),
            "`n` is null: leave it out",
        ),
    ];
    let batch = |items: &[&Json]| {
        json!({
            "subject": { "type": "user", "id": MORTY },
            "action": { "name": "can_update_todo" },
            "evaluations": items,
        })
    };
    for (bad, message) in &bad {
        let answer = world.post(&pep, MANY, &batch(&[&good, bad, &good])).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        assert_eq!(decisions(&answer), [true, false, true], "{bad}");
        let context = &answer["evaluations"][1]["context"];
        assert_eq!(context["error"], json!({ "status": 400, "message": message }), "{bad}");
    }
    // A question about what the schema does not have is denied as well.
    for bad in [
        json!({ "resource": { "type": "cow", "id": "t" } }),
        json!({ "action": { "name": "can_fly" }, "resource": todo("x") }),
        json!({ "resource": { "type": "todo", "id": "t", "properties": { "colour": "red" } } }),
        json!({ "context": { "colour": "red" }, "resource": todo("morty@the-citadel.com") }),
    ] {
        let answer = world.post(&pep, MANY, &batch(&[&bad, &good])).await.json();
        assert_eq!(decisions(&answer), [false, true], "{bad}");
        assert_eq!(answer["evaluations"][0]["context"]["reason"], "schema_mismatch", "{bad}");
    }
    // Semantics count a bad item as the deny that it is.
    let mut ends = batch(&[&good, &bad[0].0, &good]);
    ends["options"] = json!({ "evaluations_semantic": "deny_on_first_deny" });
    assert_eq!(decisions(&world.post(&pep, MANY, &ends).await.json()), [true, false]);
    world.stop().await;
}

fn assert_problem(answer: &Answer, status: StatusCode, detail: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem} does not say `{detail}`");
}

#[tokio::test]
async fn what_is_not_a_request_is_refused() {
    let world = world(false).await;
    let pep = asker(&world);
    let good = question(RICK, "can_read_todos", &json!({ "type": "todo", "id": "todo-1" }));
    for path in [ONE, MANY] {
        let post = async |kind: Option<&str>, body: String| {
            let request = world.request(&pep, Method::POST, path).body(body);
            send(match kind {
                Some(kind) => request.header("content-type", kind),
                None => request,
            })
            .await
        };
        for kind in [None, Some("text/plain"), Some("application/xml"), Some("application/jsonx")] {
            let answer = post(kind, good.to_string()).await;
            assert_problem(&answer, StatusCode::BAD_REQUEST, "application/json");
        }
        assert_eq!(
            post(Some("Application/JSON; charset=utf-8"), good.to_string()).await.status,
            StatusCode::OK
        );

        let without = |field: &str| {
            let mut question = good.clone();
            question.as_object_mut().unwrap().remove(field);
            question.to_string()
        };
        let with = |field: &str, value: Json| {
            let mut question = good.clone();
            question[field] = value;
            question.to_string()
        };
        for (body, detail) in [
            (String::new(), "not acceptable JSON"),
            ("{".to_owned(), "not acceptable JSON"),
            ("[]".to_owned(), "expected an object"),
            ("\"subject\"".to_owned(), "expected an object"),
            (good.to_string().replacen('{', "{\"action\":{\"name\":\"x\"},", 1), "`action` stands twice"),
            (without("subject"), "`subject` is missing"),
            (without("action"), "`action` is missing"),
            (without("resource"), "`resource` is missing"),
            (with("subject", json!("rick")), "expected an object"),
            (with("subject", json!(["user", RICK])), "expected an object"),
            (with("subject", json!({ "id": RICK })), "`subject.type` is missing"),
            (with("subject", json!({ "type": "user", "id": 7 })), "expected a string"),
            (with("action", json!({})), "`action.name` is missing"),
            (with("context", json!([])), "expected a map"),
            (with("context", json!({ "now": 1.5 })), "`now` is not a whole number"),
        ] {
            assert_problem(&post(Some("application/json"), body).await, StatusCode::BAD_REQUEST, detail);
        }
    }
    for (body, detail) in [
        (json!({ "evaluations": {} }), "expected a sequence"),
        (json!({ "evaluations": [{}], "options": { "evaluations_semantic": "guess" } }), "unknown variant"),
        (json!({ "evaluations": [{}], "options": ["execute_all"] }), "expected an object"),
    ] {
        assert_problem(&world.post(&pep, MANY, &body).await, StatusCode::BAD_REQUEST, detail);
    }
    let many = vec![json!({}); 1_001];
    let answer = world.post(&pep, MANY, &json!({ "evaluations": many })).await;
    assert_problem(&answer, StatusCode::UNPROCESSABLE_ENTITY, "at most 1000 evaluations");
    world.stop().await;
}

#[tokio::test]
async fn fields_that_are_not_known_do_not_matter() {
    let world = world(false).await;
    let pep = asker(&world);
    let mut asked = question(RICK, "can_read_todos", &json!({ "type": "todo", "id": "todo-1" }));
    asked["subject"]["nickname"] = json!("r");
    asked["action"]["verb"] = json!("GET");
    asked["resource"]["etag"] = json!([1, 2]);
    asked["trace"] = json!({ "deep": true });
    for path in [ONE, MANY] {
        // Without `evaluations`, a batch is one evaluation.
        assert_eq!(world.post(&pep, path, &asked).await.json()["decision"], true, "{path}");
    }
    let batch = json!({ "evaluations": [asked], "options": { "engine": "x" }, "unknown": 1 });
    assert_eq!(decisions(&world.post(&pep, MANY, &batch).await.json()), [true]);
    world.stop().await;
}

#[tokio::test]
async fn who_may_not_ask_learns_nothing() {
    let world = world(false).await;
    let nobody = world.service("nobody", &["agent:list"]);
    let asked = question(RICK, "can_read_todos", &json!({ "type": "todo", "id": "todo-1" }));
    for (path, body) in [(ONE, asked.clone()), (MANY, json!({ "evaluations": [asked, {}] }))] {
        let answer = world.post(&nobody, path, &body).await;
        assert_problem(&answer, StatusCode::FORBIDDEN, "this is not allowed");
        let problem = answer.json();
        let record = world.records().pop().unwrap();
        assert_eq!(problem["decision_id"], record["decision_id"]);
        assert_eq!(record["action"], "policy:test");
        assert_eq!(outcome(&record), ("deny_default", "no_permit"));
        assert!(record.get("items").is_none_or(|items| items.as_array().unwrap().is_empty()), "{record}");

        let answer = world.post(&Credential::Nothing, path, &body).await;
        assert_problem(&answer, StatusCode::UNAUTHORIZED, "");
    }
    world.stop().await;
}

/// `Caxton::User` asks `agent:list` on `Caxton::Gateway`.
fn listing(user: &str, context: &Json) -> Json {
    let subject = json!({
        "type": "Caxton::User", "id": format!("https://login.example|{user}"),
        "properties": { "id": user, "issuer": "https://login.example" },
    });
    json!({
        "subject": subject, "action": { "name": "agent:list" },
        "resource": { "type": "Caxton::Gateway", "id": "caxton" }, "context": context,
    })
}

#[tokio::test]
async fn a_question_about_the_gateway_itself_has_the_circumstances_of_the_asking() {
    let world = world(false).await;
    let pep = asker(&world);
    let ask = async |question: Json| {
        let answer = world.post(&pep, ONE, &question).await.json();
        (answer["decision"] == true, answer["context"]["reason"].as_str().unwrap().to_owned())
    };
    let permitted = (true, "permitted".to_owned());
    assert_eq!(ask(listing("ada", &json!({}))).await, permitted);
    assert_eq!(ask(listing("bob", &json!({}))).await, (false, "no_permit".to_owned()));

    // What the caller states stays: the rest of the same record is filled in.
    let lockdown = json!({ "system": { "lockdown": true } });
    assert_eq!(ask(listing("ada", &lockdown)).await, (false, "forbidden".to_owned()));
    let denied = json!({ "session": { "denied": 5_000 } });
    assert_eq!(ask(listing("ada", &denied)).await, (false, "no_permit".to_owned()));
    // Nor is what the caller states mended.
    let mismatch = (false, "schema_mismatch".to_owned());
    assert_eq!(ask(listing("ada", &json!({ "system": { "lockdown": "no" } }))).await, mismatch);
    assert_eq!(ask(listing("ada", &json!({ "system": true }))).await, mismatch);
    assert_eq!(ask(listing("ada", &json!({ "colour": "red" }))).await, mismatch);
    world.stop().await;
}

#[tokio::test]
async fn the_gateway_says_itself_whether_it_is_locked_down() {
    let world = world(true).await;
    // In lockdown only administrators act.
    let admin = world.person("root", &["admin"]);
    let answer = world.post(&admin, ONE, &listing("ada", &json!({}))).await.json();
    assert_eq!(answer["context"]["reason"], "forbidden", "{answer}");
    let stated = json!({ "system": { "lockdown": false } });
    let answer = world.post(&admin, ONE, &listing("ada", &stated)).await.json();
    assert_eq!(answer["decision"], true, "{answer}");
    // Somebody else's actions are under the same forbid.
    let todo = question(RICK, "can_read_todos", &json!({ "type": "todo", "id": "todo-1" }));
    let answer = world.post(&admin, ONE, &todo).await.json();
    assert_eq!(answer["context"]["reason"], "forbidden", "{answer}");
    world.stop().await;
}

#[tokio::test]
async fn an_agent_that_is_only_named_is_the_deployed_one() {
    let world = world(false).await;
    let pep = asker(&world);
    let agent = |id: &str| json!({ "type": "Caxton::Agent", "id": id });
    let ask = async |subject: Json, resource: Json| {
        let question =
            json!({ "subject": subject, "action": { "name": "agent:read" }, "resource": resource });
        let answer = world.post(&pep, ONE, &question).await.json();
        (answer["decision"] == true, answer["context"]["reason"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask(agent("clerk"), agent("researcher")).await, (true, "permitted".to_owned()));
    // The clerk has no validator, the researcher is in another workspace.
    assert_eq!(ask(agent("clerk"), agent("clerk")).await, (false, "no_permit".to_owned()));
    assert_eq!(ask(agent("researcher"), agent("researcher")).await, (false, "no_permit".to_owned()));
    // Nobody is known by that name.
    let mismatch = (false, "schema_mismatch".to_owned());
    assert_eq!(ask(agent("ghost"), agent("researcher")).await, mismatch);
    assert_eq!(ask(agent("clerk"), agent("ghost")).await, mismatch);
    // Properties that the caller gives are not mixed with those of the deployed agent.
    let mut stated = agent("researcher");
    stated["properties"] = json!({ "tools": ["builtin___json_validator"] });
    assert_eq!(ask(agent("clerk"), stated.clone()).await, mismatch);
    stated["properties"] = json!({
        "name": "researcher", "version": "9", "capabilities": [], "tools": [], "memory_scope": "agent",
        "status": "active", "signed": false, "deployed_by": "file", "definition_sha256": "",
    });
    assert_eq!(ask(agent("clerk"), stated).await, (false, "no_permit".to_owned()));
    world.stop().await;
}

/// The properties of an action are what the gateway's own operations have as their input.
#[tokio::test]
async fn the_arguments_of_a_tool_are_the_properties_of_its_action() {
    let world = world(false).await;
    let pep = asker(&world);
    let tool = "builtin___csv_parser";
    for (rows, expected) in
        [(json!(10), "permitted"), (json!(150_000), "forbidden"), (json!("ten"), "schema_mismatch")]
    {
        let arguments = json!({ "text": "a,b", "max_rows": rows, "sanitize": true });
        let question = json!({
            "subject": { "type": "Caxton::Agent", "id": "clerk" },
            "action": { "name": tool, "properties": arguments },
            "resource": { "type": "Caxton::Tool", "id": tool },
        });
        let answer = world.post(&pep, ONE, &question).await.json();
        assert_eq!(answer["context"]["reason"], expected, "{question}: {answer}");
        // Also where the batch says what is done, and its item with what.
        let item = json!({ "action": { "properties": arguments } });
        let batch = json!({
            "subject": question["subject"], "resource": question["resource"], "action": { "name": tool },
            "evaluations": [item],
        });
        let answer = world.post(&pep, MANY, &batch).await.json();
        assert_eq!(decisions(&answer), [expected == "permitted"], "{batch}: {answer}");
    }
    world.stop().await;
}

/// Each address with a body that is answered with 200.
fn addresses() -> [(&'static str, Json); 5] {
    let clerk = json!({ "type": "Caxton::Agent", "id": "clerk" });
    let gateway = json!({ "type": "Caxton::Gateway", "id": "caxton" });
    let list = json!({ "name": "tool:list" });
    let one = json!({ "subject": clerk, "action": list, "resource": gateway });
    [
        (ONE, one.clone()),
        (MANY, json!({ "evaluations": [one, one, one, one, one, one, one] })),
        (
            "/access/v1/search/subject",
            json!({ "subject": { "type": "Caxton::Agent" }, "action": list, "resource": gateway }),
        ),
        (
            "/access/v1/search/resource",
            json!({ "subject": clerk, "action": list, "resource": { "type": "Caxton::Tool" } }),
        ),
        ("/access/v1/search/action", json!({ "subject": clerk, "resource": gateway })),
    ]
}

/// The status codes of the standard, and of HTTP, at each address; what the caller called the request stands on each answer.
#[tokio::test]
async fn every_address_answers_with_the_status_that_is_due() {
    const BOUND: usize = 4_096;
    let world = World::with(|settings, _| {
        settings.api.max_body_bytes = BOUND;
        settings.limit.per_principal = "8/day".parse().unwrap();
    })
    .await;
    for (number, (path, good)) in addresses().into_iter().enumerate() {
        let id = format!("asked-{number}");
        let ask = async |who: &Credential,
                         method: Method,
                         kind: &str,
                         body: String,
                         status: StatusCode,
                         detail: &str| {
            let request = world.request(who, method, path).header("x-request-id", &id);
            let answer = send(request.header("content-type", kind).body(body)).await;
            assert_eq!(answer.headers["x-request-id"], id, "{path}: {answer:?}");
            match status {
                StatusCode::OK => {
                    assert_eq!(answer.status, status, "{path}: {answer:?}");
                    assert_eq!(answer.headers["content-type"], "application/json", "{path}");
                }
                _ => assert_problem(&answer, status, detail),
            }
            answer
        };
        let json = "application/json";
        let pep = world.service(&format!("pep-{number}"), &["policy:test"]);
        let stranger = world.service(&format!("stranger-{number}"), &["agent:list"]);
        let large = format!("{}{}", " ".repeat(BOUND), good);

        let unknown =
            [Credential::Nothing, Credential::Key("cxt_guessed".into()), Credential::Token("a.b.c".into())];
        for who in &unknown {
            let answer = ask(who, Method::POST, json, good.to_string(), StatusCode::UNAUTHORIZED, "").await;
            assert!(answer.headers.contains_key("www-authenticate"), "{path}: {answer:?}");
            // Who is nobody is not told what is wrong with the rest.
            ask(who, Method::POST, "text/plain", "{".to_owned(), StatusCode::UNAUTHORIZED, "").await;
            ask(who, Method::POST, json, large.clone(), StatusCode::UNAUTHORIZED, "").await;
        }
        ask(&stranger, Method::POST, json, good.to_string(), StatusCode::FORBIDDEN, "not allowed").await;
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = ask(
                &pep,
                method,
                json,
                good.to_string(),
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
            )
            .await;
            assert_eq!(answer.headers["allow"], "POST", "{path}: {answer:?}");
        }
        ask(&pep, Method::POST, "text/plain", good.to_string(), StatusCode::BAD_REQUEST, "application/json")
            .await;
        ask(&pep, Method::POST, json, "{".to_owned(), StatusCode::BAD_REQUEST, "not acceptable JSON").await;
        ask(&pep, Method::POST, json, large, StatusCode::PAYLOAD_TOO_LARGE, "4096").await;
        let in_pieces = reqwest::Body::wrap_stream(futures::stream::iter(
            (0..9).map(|_| Ok::<_, std::io::Error>(" ".repeat(BOUND / 8))),
        ));
        let request = world.request(&pep, Method::POST, path).header("content-type", json).body(in_pieces);
        assert_problem(&send(request).await, StatusCode::PAYLOAD_TOO_LARGE, "4096");
        ask(&pep, Method::POST, json, good.to_string(), StatusCode::OK, "").await;
        // The decisions of a batch are owed, and what was refused counts as well.
        for _ in 0..8 {
            let answer = world.post(&pep, path, &good).await;
            if answer.status != StatusCode::OK {
                break;
            }
        }
        let answer = ask(&pep, Method::POST, json, good.to_string(), StatusCode::TOO_MANY_REQUESTS, "").await;
        let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=2 * 86_400).contains(&seconds), "{path}: {answer:?}");
        // Who may not ask at all owes nothing to anybody else.
        ask(&stranger, Method::POST, json, good.to_string(), StatusCode::FORBIDDEN, "not allowed").await;
    }
    let post = world.request(&Credential::Nothing, Method::POST, "/.well-known/authzen-configuration");
    assert_eq!(send(post).await.status, StatusCode::METHOD_NOT_ALLOWED);
    world.stop().await;
}
