//! Cedar's own test data over the wire: each case becomes the live set of a running gateway and the content of its store,
//! and its requests are asked at `/access/v1/evaluation`. The answer is the recorded decision, and the record names the
//! determining policies; except that a forbid that erred denies. The data is not part of this project: without it the
//! tests say so and skip.
//!
//! Not every case can be asked about in this way; which cannot, and how many, is held to numbers:
//! - its policies do not pass Cedar's own strict validation, which the data says itself: the gateway refuses such a set;
//! - it declares without a namespace what the gateway has in its own, which Cedar takes for hiding that;
//! - a policy that is about every action looks at what those of the gateway do not have, and so does not fit them;
//! - its policies forbid the asking, because they forbid everything to everybody.
//!
//! What is called as the gateway's own, or as the store calls nothing (with no letter, or with control characters), is
//! called otherwise here, everywhere alike: Cedar looks into no name.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "data that cannot be read has failed the test"
)]

use crate::support::cedar_data as data;
use std::collections::BTreeSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::support::cedar_data::Files;
use crate::support::{Credential, World, write};
use caxton::server::ReloadOutcome;
use cedar_policy::{Policy, PolicyId, PolicySet};
use reqwest::StatusCode;
use serde_json::{Map, Value, json};

/// Who asks.
const ASKER: &str = "@id(\"test.asker\")\npermit (principal == Caxton::Service::\"asker\", action in [Caxton::Action::\"policy:test\", Caxton::Action::\"entity:import\"], resource);\n";

/// What became of the cases.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    cases: usize,
    /// Cases that could not be asked about.
    not_valid: usize,
    name_taken: usize,
    about_every_action: usize,
    /// Sets with a forbid that can never hold, which Caxton refuses and Cedar warns of.
    impossible: usize,
    asking_forbidden: usize,
    /// Requests.
    asked: usize,
    as_recorded: usize,
    /// Denied because a forbid erred.
    denied_by_rule: usize,
}

struct House {
    world: World,
    asker: Credential,
    counts: Counts,
    /// How much of the log has been read.
    read: u64,
}

impl House {
    async fn new() -> Self {
        let world = World::with(|settings, directory| {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
            let (policies, schemas) = (directory.join("policies"), directory.join("schemas"));
            std::fs::create_dir_all(&policies).unwrap();
            std::fs::create_dir_all(&schemas).unwrap();
            std::fs::copy(shipped.join("caxton.cedarschema"), schemas.join("caxton.cedarschema")).unwrap();
            std::fs::copy(shipped.join("tools/builtin.cedarschema"), schemas.join("builtin.cedarschema"))
                .unwrap();
            write(&policies.join("asker.cedar"), ASKER);
            (settings.policy_dir, settings.schema_dir) = (Some(policies), Some(schemas));
            settings.limit.per_principal = "1000000/second".parse().unwrap();
            settings.quotas.per_key = None;
            settings.audit.deadline = std::time::Duration::from_secs(60);
            settings.reload.timeout = std::time::Duration::from_secs(120);
        })
        .await;
        let asker = world.service("asker", &[]);
        Self { world, asker, counts: Counts::default(), read: 0 }
    }

    async fn run(&mut self, name: &str, files: &Files) {
        let case: Value = serde_json::from_str(&apart(&files[name])).unwrap();
        let text = |key: &str| apart(&files[case[key].as_str().unwrap()]);
        self.counts.cases += 1;
        let entities: Vec<Value> = serde_json::from_str(&text("entities")).unwrap();
        // What has a name and nothing else need not be stored, and actions are the schema's.
        let entities: Vec<Value> =
            entities.into_iter().filter(|entity| !is_bare(entity) && !is_action(entity)).collect();
        let names = Names::of(&entities);
        let entities: Value = entities.into_iter().map(|entity| names.within(entity)).collect();

        let directory = self.world.directory.path();
        write(&directory.join("schemas/case.cedarschema"), &text("schema"));
        write(&directory.join("policies/case.cedar"), &named(&text("policies"), &names));
        if let ReloadOutcome::Refused(why) = self.world.gateway.reload().await {
            match case["shouldValidate"] == true {
                false => self.counts.not_valid += 1,
                true if why.contains("illegally shadows") => self.counts.name_taken += 1,
                true if why.contains("Caxton::") => self.counts.about_every_action += 1,
                true if why.contains("policy is impossible") => self.counts.impossible += 1,
                true => panic!("{name}: {why}"),
            }
            return;
        }
        let body = json!({ "entities": entities, "replace": true });
        let taken = self.world.post(&self.asker, "/v1/entities/import", &body).await;
        match taken.status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN => {
                self.counts.asking_forbidden += 1;
                return;
            }
            _ => panic!("{name}: {taken:?}"),
        }
        for request in case["requests"].as_array().unwrap() {
            let label = format!("{name}: {}", request["description"]);
            self.ask(&label, &names.within(request.clone())).await;
        }
    }

    async fn ask(&mut self, label: &str, request: &Value) {
        let question = json!({
            "subject": request["principal"],
            "action": { "name": request["action"]["id"] },
            "resource": request["resource"],
            "context": plain(&request["context"]),
        });
        let answer = self.world.post(&self.asker, "/access/v1/evaluation", &question).await;
        assert_eq!(answer.status, StatusCode::OK, "{label}: {answer:?}");
        let answer = answer.json();
        let (allowed, reason) = (answer["decision"] == true, &answer["context"]["reason"]);
        self.counts.asked += 1;
        let (item, version) = self.record(&answer["context"]["decision_id"]);
        assert_eq!(version, self.world.gateway.policy_version().as_str(), "{label}");
        if allowed != (request["decision"] == "allow") {
            assert!(!allowed && reason == "policy_error", "{label}: {answer} for {request}");
            assert_ne!(request["errors"], json!([]), "{label}: only an erring forbid may differ");
            self.counts.denied_by_rule += 1;
            return;
        }
        self.counts.as_recorded += 1;
        assert_ne!(reason, "schema_mismatch", "{label}: {answer}");
        if reason != "policy_error" {
            let determining: BTreeSet<&str> = item["policies"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|one| one["id"].as_str().unwrap())
                .collect();
            let recorded: BTreeSet<&str> =
                request["reason"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
            assert_eq!(determining, recorded, "{label}: {item}");
        }
    }

    /// The only item of a record that is among the newest, and under which version it was decided.
    fn record(&mut self, id: &Value) -> (Value, String) {
        let mut file = std::fs::File::open(self.world.log()).unwrap();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        self.read += whole.len() as u64;
        let mut records = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut record = records.find(|record| record["decision_id"] == *id).unwrap();
        let version = record["policy_version"].as_str().unwrap().to_owned();
        (record["items"][0].take(), version)
    }
}

/// Types of the cases that have the names of the gateway's own get others, everywhere: Cedar takes no type without a
/// namespace that hides one with.
fn apart(text: &str) -> String {
    const NAMES: [&str; 4] = ["User", "Group", "Role", "System"];
    let mut whole = String::with_capacity(text.len());
    for part in text.split_inclusive(|letter: char| !letter.is_alphanumeric() && letter != '_') {
        let word = part.trim_end_matches(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if NAMES.contains(&word) {
            whole.push_str("Case");
        }
        whole.push_str(part);
    }
    whole
}

/// What is to be stored and has no name that the store takes.
struct Names(BTreeSet<(String, String)>);

impl Names {
    fn of(entities: &[Value]) -> Self {
        let uids = entities.iter().map(|entity| {
            let uid = entity["uid"].get("__entity").unwrap_or(&entity["uid"]);
            let text = |key: &str| uid[key].as_str().unwrap().to_owned();
            (text("type"), text("id"))
        });
        Self(uids.filter(|(_, id)| id.is_empty() || id.chars().any(char::is_control)).collect())
    }

    /// The same with other names for these, wherever one stands.
    fn within(&self, value: Value) -> Value {
        match value {
            Value::Array(items) => items.into_iter().map(|item| self.within(item)).collect(),
            Value::Object(mut fields) => {
                if let (Some(Value::String(kind)), Some(Value::String(id)), 2) =
                    (fields.get("type"), fields.get("id"), fields.len())
                    && self.0.contains(&(kind.clone(), id.clone()))
                {
                    let bytes: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
                    fields["id"] = json!(format!("named {bytes}"));
                }
                Value::Object(fields.into_iter().map(|(name, field)| (name, self.within(field))).collect())
            }
            other => other,
        }
    }
}

/// Gives every policy the name by which the cases know it: its place in the file.
fn named(policies: &str, names: &Names) -> String {
    let policies: PolicySet = policies.parse().unwrap();
    let mut whole = String::new();
    for number in 0..policies.num_of_policies() {
        let id = PolicyId::new(format!("policy{number}"));
        let mut written = names.within(policies.policy(&id).unwrap().to_json().unwrap());
        written["annotations"] = json!({ "id": id.to_string() });
        let policy = Policy::from_json(Some(id), written).unwrap();
        whole.push_str(&policy.to_cedar().unwrap());
        whole.push('\n');
    }
    whole
}

/// A value of Cedar's JSON form as a caller writes it: the schema says what a text or an object stands for.
fn plain(given: &Value) -> Value {
    match given {
        Value::Object(fields) if fields.contains_key("__entity") => fields["__entity"].clone(),
        Value::Object(fields) if fields.contains_key("__extn") => {
            // An instant that is counted has no text.
            fields["__extn"].get("arg").unwrap_or(given).clone()
        }
        Value::Object(fields) => {
            let each = fields.iter().map(|(name, field)| (name.clone(), plain(field)));
            Value::Object(each.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        _ => given.clone(),
    }
}

fn is_bare(entity: &Value) -> bool {
    let empty = |part: &str| match entity.get(part) {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    ["attrs", "tags", "parents"].into_iter().all(empty)
}

fn is_action(entity: &Value) -> bool {
    let kind = entity["uid"].get("__entity").unwrap_or(&entity["uid"])["type"].as_str().unwrap();
    kind.rsplit("::").next() == Some("Action")
}

async fn run(files: &Files, every: usize) -> Counts {
    let mut house = House::new().await;
    for name in data::cases(files).step_by(every) {
        house.run(name, files).await;
    }
    println!("{:?}", house.counts);
    house.world.stop().await;
    house.counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_of_the_corpus_gives_what_is_recorded_over_the_wire() {
    let Some(files) = data::corpus() else { return };
    let counts = run(&files, 80).await;
    let wanted =
        Counts { cases: 13, not_valid: 4, impossible: 1, asked: 64, as_recorded: 64, ..Counts::default() };
    assert_eq!(counts, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handwritten_cases_give_what_is_recorded_over_the_wire() {
    let Some(files) = data::handwritten() else { return };
    let counts = run(&files, 1).await;
    let wanted = Counts { cases: 22, about_every_action: 4, asked: 62, as_recorded: 62, ..Counts::default() };
    assert_eq!(counts, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn the_whole_corpus_gives_what_is_recorded_over_the_wire() {
    let Some(files) = data::corpus() else { return };
    let counts = run(&files, 1).await;
    let wanted = Counts {
        cases: 1_010,
        not_valid: 209,
        about_every_action: 1,
        impossible: 52,
        asking_forbidden: 9,
        asked: 5_912,
        as_recorded: 5_912,
        ..Counts::default()
    };
    assert_eq!(counts, wanted);
}
