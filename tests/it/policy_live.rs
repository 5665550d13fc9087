//! Changes of what decides, in a running gateway: what may decide does within a second, and nothing else ever does.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests"
)]

use crate::support;
use crate::support::child;
use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Credential, PATIENCE, World, replace, settings, until};
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode as HttpStatus, header};
use axum::response::IntoResponse as _;
use caxton::changes::{ChangeLock, EmergencyLock as _, EngagedLock};
use caxton::clock::{Clock, SystemClock};
use caxton::policy::Sources;
use caxton::policy::version::{
    BundleFile, Kind, Manifest, Published, SigningKey, TrustedKeys, VersionSource as _, VersionStore,
};
use caxton::server::{Gateway, PublishedSettings, RemoteSettings, Settings, StartError};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

/// Nobody may list agents.
const CLOSED: &str = "@id(\"house.closed\")\n@reason(\"the house is closed\")\nforbid (principal, action == Caxton::Action::\"agent:list\", resource);\n";

fn open_set() -> Sources {
    Sources::shipped()
}

fn closed_set() -> Sources {
    Sources::shipped().with_policy("house.cedar", CLOSED)
}

fn now() -> u64 {
    u64::try_from(SystemClock.now_millis()).unwrap()
}

/// The next publication, with whatever `change` does to it before it is signed.
fn next(
    store: &VersionStore,
    sources: &Sources,
    key: Option<&SigningKey>,
    change: impl FnOnce(&mut Manifest),
) -> Published {
    let manifest = Manifest::new(sources, Kind::Publish, "ada", "because", SystemClock.now_millis());
    let mut manifest = store.next(manifest).unwrap();
    change(&mut manifest);
    let mut published = Published { manifest, signatures: Vec::new() };
    if let Some(key) = key {
        key.sign(&mut published).unwrap();
    }
    published
}

fn publish(store: &VersionStore, sources: &Sources, key: Option<&SigningKey>) -> Published {
    let published = next(store, sources, key, |_| ());
    store.add(&published, sources).unwrap();
    published
}

fn bundle(published: &Published, sources: &Sources) -> Vec<u8> {
    BundleFile::new(published.clone(), sources.clone()).unwrap().to_bytes().unwrap()
}

struct House {
    world: World,
    store: VersionStore,
    admin: Credential,
    key: SigningKey,
}

fn trust(path: &Path, keys: &[&SigningKey]) {
    let keys = keys.iter().map(|key| key.public(None)).collect();
    replace(path, &serde_json::to_string(&TrustedKeys { keys }).unwrap());
}

impl House {
    /// A gateway that decides by the open set, published as number 1.
    async fn with(signed: bool, change: impl FnOnce(&mut Settings)) -> Self {
        let key = SigningKey::generate("ops").unwrap();
        let mut kept = None;
        let world = World::with(|settings, directory| {
            let store = VersionStore::new(directory.join("versions"));
            publish(&store, &open_set(), signed.then_some(&key));
            let trusted_keys = signed.then(|| directory.join("trusted.json"));
            if let Some(path) = &trusted_keys {
                trust(path, &[&key]);
            }
            settings.published = Some(PublishedSettings { store: store.root().to_owned(), trusted_keys });
            settings.follow.poll = Duration::from_millis(20);
            change(settings);
            kept = Some(store);
        })
        .await;
        let admin = world.person("root", &["admin"]);
        Self { world, store: kept.unwrap(), admin, key }
    }

    async fn lists_agents(&self) -> bool {
        let answer = self.world.get(&self.admin, "/v1/agents").await;
        match answer.status {
            StatusCode::OK => true,
            StatusCode::FORBIDDEN => false,
            _ => panic!("{answer:?}"),
        }
    }

    fn events(&self, name: &str) -> Vec<Json> {
        self.world.records().into_iter().filter(|record| record["event"] == name).collect()
    }

    /// Waits for the next refusal after `before`; the set from before goes on deciding.
    async fn refused(&self, before: usize, words: &str) {
        until(words, async || self.events("reload_refused").len() > before).await;
        let refusals = self.events("reload_refused");
        assert_eq!(refusals.len(), before + 1, "one event: {refusals:?}");
        let detail = refusals[before]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{words}: {detail}");
        assert_eq!(refusals[before]["outcome"], "deny_error");
        assert!(self.lists_agents().await, "{words}: the set from before serves");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_decides_within_a_second_and_can_be_taken_back() {
    let house = House::with(false, |_| ()).await;
    assert!(house.lists_agents().await);
    let closed = publish(&house.store, &closed_set(), None);
    until("the new set decides", async || !house.lists_agents().await).await;
    let shown = house.world.get(&house.admin, "/v1/policies").await.json();
    assert_eq!(shown["version"], closed.manifest.version.as_str());
    assert_eq!(shown["origin"], json!({ "kind": "published", "sequence": 2 }));

    let versions = house.world.get(&house.admin, "/v1/policies/versions").await.json();
    assert_eq!(versions["versions"][0]["live"], true);
    assert_eq!(versions["versions"][1]["sequence"], 1);
    assert_eq!(versions["versions"].as_array().unwrap().len(), 2);

    let back =
        house.world.post(&house.admin, "/v1/policies/rollback", &json!({ "message": "too much" })).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    assert!(house.lists_agents().await);
    let newest = house.store.newest().unwrap().manifest;
    assert_eq!((newest.sequence, newest.kind, newest.message.as_str()), (3, Kind::Rollback, "too much"));
    assert!(newest.author.contains("root"), "{}", newest.author);

    // Every record names a version that the store gives back.
    let decided: std::collections::BTreeSet<String> = house
        .world
        .records()
        .iter()
        .filter_map(|record| Some(record["policy_version"].as_str()?.to_owned()))
        .collect();
    assert_eq!(decided.len(), 2);
    for version in decided {
        let found = house.store.find(&version.parse().unwrap()).unwrap();
        assert_eq!(house.store.sources(&found.manifest).unwrap().version().as_str(), version);
    }
    let changes = house.events("policy_reload");
    assert_eq!(changes.len(), 2, "one for each change: {changes:?}");
    house.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_sent_by_an_administrator_is_kept_and_decides() {
    let house = House::with(true, |_| ()).await;
    let send = async |who: &Credential, bytes: &[u8]| {
        let body: Json = serde_json::from_slice(bytes).unwrap();
        // A refusal that comes before the body was read ends the connection; none is to be used again.
        let request = house.world.request(who, reqwest::Method::POST, "/v1/policies/publish").json(&body);
        support::send(request.header("connection", "close")).await
    };
    let closed = next(&house.store, &closed_set(), Some(&house.key), |_| ());
    let bytes = bundle(&closed, &closed_set());
    for (who, status) in [
        (house.world.person("auditor", &["auditor"]), StatusCode::FORBIDDEN),
        (house.world.service("reader", &["policy:read", "policy:test"]), StatusCode::FORBIDDEN),
        (Credential::Nothing, StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(send(&who, &bytes).await.status, status);
        assert!(house.lists_agents().await);
    }
    let mut unsigned = closed.clone();
    unsigned.signatures.clear();
    let refused = send(&house.admin, &bundle(&unsigned, &closed_set())).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{refused:?}");
    assert!(refused.text.contains("carries no signature"), "{refused:?}");
    assert_eq!(house.store.numbers().unwrap(), [1], "what is refused is not kept");
    let nonsense = house.world.post(&house.admin, "/v1/policies/publish", &json!({ "format": "x" })).await;
    assert_eq!(nonsense.status, StatusCode::UNPROCESSABLE_ENTITY, "{nonsense:?}");
    assert_eq!(house.events("reload_refused").len(), 2);

    let sent = send(&house.admin, &bytes).await;
    assert_eq!(sent.status, StatusCode::OK, "{sent:?}");
    assert_eq!(sent.json()["version"], closed.manifest.version.as_str());
    assert_eq!(sent.json()["warnings"], json!([]));
    assert!(!house.lists_agents().await);
    assert_eq!(house.store.numbers().unwrap(), [1, 2]);
    // Nobody here can sign a rollback.
    let back = house.world.post(&house.admin, "/v1/policies/rollback", &json!({})).await;
    assert_eq!(back.status, StatusCode::CONFLICT, "{back:?}");
    // The old bundle again.
    let old = house.store.read(1).unwrap();
    let replayed = send(&house.admin, &bundle(&old, &open_set())).await;
    assert_eq!(replayed.status, StatusCode::CONFLICT, "{replayed:?}");
    assert!(!house.lists_agents().await);
    house.world.stop().await;
}

/// Hangs up before the answer, at the moment when `when` holds.
async fn hang_up(house: &House, path: &str, body: &[u8], when: impl Fn(&[Json]) -> bool) {
    use tokio::io::AsyncWriteExt as _;
    let Credential::Token(token) = &house.admin else { panic!("a token") };
    let mut stream = tokio::net::TcpStream::connect(house.world.gateway.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    until("it is asked", async || when(&house.world.records())).await;
}

fn asked(action: &str) -> impl Fn(&[Json]) -> bool {
    move |records| {
        records.iter().any(|record| record["action"].as_str().is_some_and(|at| at.contains(action)))
    }
}

/// An administrator's change does not hang on the administrator's connection, and neither does the record of its refusal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_comes_to_its_end_when_its_caller_hangs_up() {
    let house = House::with(false, |_| ()).await;
    // It is not in the store: only the request can make it live.
    let closed = next(&house.store, &closed_set(), None, |_| ());
    let bytes = bundle(&closed, &closed_set());
    hang_up(&house, "/v1/policies/publish", &bytes, asked("policy:publish")).await;
    until("it decides", async || !house.lists_agents().await).await;
    assert_eq!(house.events("policy_reload").len(), 1);
    assert_eq!(house.store.numbers().unwrap(), [1, 2]);

    hang_up(&house, "/v1/policies/rollback", b"{}", asked("policy:rollback")).await;
    until("it is taken back", async || house.lists_agents().await).await;
    assert_eq!(house.events("policy_reload").len(), 2);

    let broken = Sources::shipped().with_policy("house.cedar", &CLOSED.replace("agent:list", "agent:lst"));
    let bytes = bundle(&next(&house.store, &broken, None, |_| ()), &broken);
    let two = |records: &[Json]| {
        let about =
            |record: &&Json| record["action"].as_str().is_some_and(|at| at.contains("policy:publish"));
        records.iter().filter(about).count() == 2
    };
    hang_up(&house, "/v1/policies/publish", &bytes, two).await;
    house.refused(0, "agent:lst").await;
    assert_eq!(house.store.numbers().unwrap(), [1, 2, 3]);
    house.world.stop().await;
}

/// The keys rotate: a publication that is there is signed by another one, and counts after the old one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_is_sent_again_keeps_its_new_signatures() {
    let house = House::with(true, |_| ()).await;
    let send = async |published: &Published| {
        let body: Json = serde_json::from_slice(&bundle(published, &closed_set())).unwrap();
        house.world.post(&house.admin, "/v1/policies/publish", &body).await
    };
    let closed = next(&house.store, &closed_set(), Some(&house.key), |_| ());
    assert_eq!(send(&closed).await.status, StatusCode::OK);
    let successor = SigningKey::generate("next").unwrap();
    let trusted = house.world.directory.path().join("trusted.json");
    trust(&trusted, &[&house.key, &successor]);
    let mut again = closed.clone();
    again.signatures.clear();
    successor.sign(&mut again).unwrap();
    assert_eq!(send(&again).await.status, StatusCode::OK);
    let kept = house.store.read(2).unwrap();
    let signers: Vec<&str> = kept.signatures.iter().map(|one| one.key_id.as_str()).collect();
    assert_eq!(signers, ["next", "ops"]);

    trust(&trusted, &[&successor]);
    let House { world, store, .. } = house;
    let directory = world.stop().await;
    let mut settings = settings(directory.path().join("data"));
    settings.published =
        Some(PublishedSettings { store: store.root().to_owned(), trusted_keys: Some(trusted) });
    let gateway = Gateway::start(settings).await.unwrap();
    assert_eq!(gateway.policy_version(), closed_set().version());
    gateway.drain().await;
}

/// A bundle may be larger than other bodies, and no larger than its own bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_over_the_api_has_a_bound_of_its_own() {
    let house = House::with(false, |settings| {
        settings.api.max_body_bytes = 16 * 1024;
        settings.reload.max_bundle_bytes = 512 * 1024;
    })
    .await;
    let send = async |comment: usize| {
        let sources =
            Sources::shipped().with_policy("house.cedar", &format!("{CLOSED}// {}\n", "x".repeat(comment)));
        let body: Json =
            serde_json::from_slice(&bundle(&next(&house.store, &sources, None, |_| ()), &sources)).unwrap();
        let path = "/v1/policies/publish";
        let request = house.world.request(&house.admin, reqwest::Method::POST, path).json(&body);
        support::send(request.header("connection", "close")).await.status
    };
    assert_eq!(send(512 * 1024).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(house.lists_agents().await);
    assert_eq!(send(64 * 1024).await, StatusCode::OK);
    assert!(!house.lists_agents().await);
    let list = house.world.request(&house.admin, reqwest::Method::POST, "/v1/policies/publish");
    assert_eq!(support::send(list.json(&json!(["x"]))).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    house.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_validator_warns_of_is_in_the_answer() {
    let house = House::with(false, |_| ()).await;
    // A policy that can never hold grants nothing, which its author did not want.
    let vain = "@id(\"house.vain\")\npermit (principal is Caxton::User, action, resource)\nwhen { principal is Caxton::Agent };\n";
    let suspicious = Sources::shipped().with_policy("house.cedar", vain);
    let bytes = bundle(&next(&house.store, &suspicious, None, |_| ()), &suspicious);
    let body: Json = serde_json::from_slice(&bytes).unwrap();
    let sent = house.world.post(&house.admin, "/v1/policies/publish", &body).await;
    assert_eq!(sent.status, StatusCode::OK, "{sent:?}");
    let warnings = sent.json()["warnings"].as_array().unwrap().clone();
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert_eq!(
        (&warning["policy"], &warning["file"]),
        (&json!("house.vain"), &json!("policies/house.cedar")),
        "{warning}"
    );
    assert!(warning["message"].as_str().is_some_and(|message| !message.is_empty()), "{warning}");
    // Reading it again says so again; going back to a set without warnings has none.
    let again = house.world.post(&house.admin, "/v1/policies/reload", &json!({})).await;
    assert_eq!(again.json()["warnings"], json!(warnings));
    let back = house.world.post(&house.admin, "/v1/policies/rollback", &json!({})).await;
    assert_eq!((back.status, &back.json()["warnings"]), (StatusCode::OK, &json!([])), "{back:?}");
    house.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_gone_back_to_ends_when_its_publisher_said() {
    let house = House::with(false, |_| ()).await;
    let end = now() + 3_600_000;
    let ending = next(&house.store, &closed_set(), None, |manifest| manifest.expires_millis = Some(end));
    house.store.add(&ending, &closed_set()).unwrap();
    until("it decides", async || !house.lists_agents().await).await;
    publish(&house.store, &open_set(), None);
    until("the next decides", async || house.lists_agents().await).await;
    let back = house.world.post(&house.admin, "/v1/policies/rollback", &json!({})).await;
    assert_eq!(back.status, StatusCode::OK, "{back:?}");
    assert_eq!(house.store.newest().unwrap().manifest.expires_millis, Some(end));
    assert!(!house.lists_agents().await);
    house.world.stop().await;
}

#[tokio::test]
async fn nothing_can_be_published_to_a_gateway_that_reads_directories() {
    let world = World::new().await;
    let admin = world.person("root", &["admin"]);
    for path in ["/v1/policies/publish", "/v1/policies/rollback"] {
        let body = match path.ends_with("publish") {
            true => {
                let store = VersionStore::new(world.directory.path().join("elsewhere"));
                let bytes = bundle(&next(&store, &open_set(), None, |_| ()), &open_set());
                serde_json::from_slice(&bytes).unwrap()
            }
            false => json!({}),
        };
        let answer = world.post(&admin, path, &body).await;
        assert_eq!(answer.status, StatusCode::CONFLICT, "{path}: {answer:?}");
    }
    assert_eq!(world.get(&admin, "/v1/policies/versions").await.json()["versions"], json!([]));
    assert_eq!(world.post(&admin, "/v1/policies/reload", &json!({})).await.status, StatusCode::OK);
    world.stop().await;
}

/// What an attacker who can write to the store could do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_that_may_not_decide_are_refused_once_each() {
    let house = House::with(true, |_| ()).await;
    let (store, key) = (&house.store, &house.key);
    let stranger = SigningKey::generate("stranger").unwrap();
    let add = |published: &Published| store.add(published, &closed_set()).unwrap();

    publish(store, &closed_set(), None);
    house.refused(0, "carries no signature").await;
    publish(store, &closed_set(), Some(&stranger));
    house.refused(1, "key `stranger` is not trusted").await;
    add(&next(store, &closed_set(), Some(key), |manifest| manifest.expires_millis = Some(now() - 1)));
    house.refused(2, "the version expired at").await;
    let mut swapped = next(store, &closed_set(), Some(key), |_| ());
    swapped.manifest.message = "something else".to_owned();
    add(&swapped);
    house.refused(3, "key `ops` signed something else").await;
    // Well signed, and not valid.
    let broken = Sources::shipped().with_policy("house.cedar", &CLOSED.replace("agent:list", "agent:lst"));
    publish(store, &broken, Some(key));
    house.refused(4, "agent:lst").await;
    let history = store.root().join("history");
    let good = next(store, &closed_set(), Some(key), |_| ());
    let text = serde_json::to_string(&good).unwrap();
    let half = house.world.directory.path().join("half");
    std::fs::write(&half, &text[..text.len() / 2]).unwrap();
    std::fs::rename(half, history.join(format!("{:012}.json", good.manifest.sequence))).unwrap();
    house.refused(5, "not well formed").await;

    // Signed later by the right key, the unsigned one may decide.
    let mut first = store.read(2).unwrap();
    for number in store.numbers().unwrap().into_iter().filter(|number| *number > 2) {
        std::fs::remove_file(store.history_file(number)).unwrap();
    }
    until("the unsigned one is seen again", async || house.events("reload_refused").len() > 6).await;
    key.sign(&mut first).unwrap();
    store.resign(&first).unwrap();
    until("it decides", async || !house.lists_agents().await).await;

    // Without the newest, an older one does not come back by itself.
    let refusals = house.events("reload_refused").len();
    std::fs::remove_file(store.history_file(2)).unwrap();
    until("the older one is refused", async || house.events("reload_refused").len() > refusals).await;
    let detail = house.events("reload_refused").pop().unwrap()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("number 1 is not newer than number 2"), "{detail}");
    assert!(!house.lists_agents().await);

    // Nor across a restart.
    let House { world, store, .. } = house;
    let directory = world.stop().await;
    let mut settings = settings(directory.path().join("data"));
    settings.published = Some(PublishedSettings {
        store: store.root().to_owned(),
        trusted_keys: Some(directory.path().join("trusted.json")),
    });
    let Err(StartError::Sources(error)) = Gateway::start(settings).await else { panic!("it started") };
    assert!(error.to_string().contains("not newer"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_whose_time_is_over_denies_everything() {
    let house = House::with(false, |_| ()).await;
    // A set that is over before it was read is refused: then the next one has longer.
    let mut life = 1_500;
    loop {
        let refused = house.events("reload_refused").len();
        let soon =
            next(&house.store, &open_set(), None, |manifest| manifest.expires_millis = Some(now() + life));
        house.store.add(&soon, &open_set()).unwrap();
        let late = async || house.events("reload_refused").len() > refused;
        until("it denies, or came too late", async || !house.lists_agents().await || late().await).await;
        if !house.lists_agents().await {
            break;
        }
        life *= 4;
    }
    let denied = house.world.records().pop().unwrap();
    assert_eq!(
        (&denied["outcome"], &denied["reason_code"]),
        (&json!("deny_error"), &json!("bundle_expired"))
    );
    // Started with it, a gateway denies everything as well, and takes a newer set.
    let House { world, store, .. } = house;
    let who = world.service("root", &["*"]);
    let directory = world.stop().await;
    let mut settings = settings(directory.path().join("data"));
    settings.published = Some(PublishedSettings { store: store.root().to_owned(), trusted_keys: None });
    settings.follow.poll = Duration::from_millis(20);
    let gateway = Gateway::start(settings).await.unwrap();
    let Credential::Key(key) = who else { panic!("a key") };
    let address = format!("http://{}/v1/agents", gateway.address());
    let client = reqwest::Client::new();
    let status = async || client.get(&address).header("x-api-key", &key).send().await.unwrap().status();
    assert_eq!(status().await, StatusCode::FORBIDDEN);
    publish(&store, &open_set(), None);
    until("it goes on", async || status().await == StatusCode::OK).await;
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_the_emergency_lock_nothing_changes_not_even_across_a_restart() {
    let house = House::with(false, |_| ()).await;
    let data = house.world.directory.path().join("data");
    let lock = ChangeLock::in_directory(&data);
    let version = house.world.gateway.policy_version();
    let engaged = EngagedLock {
        reason: "intruder".to_owned(),
        author: "ada".to_owned(),
        time_millis: SystemClock.now_millis(),
        version: version.clone(),
    };
    lock.engage(&engaged).unwrap();
    assert!(lock.engage(&engaged).is_err(), "it is engaged once");
    until("it is recorded", async || !house.events("changes_locked").is_empty()).await;
    let refusals = || house.events("reload_refused").len();
    until("the change of the lock is looked at", async || refusals() > 0).await;

    let before = refusals();
    let answer = house.world.post(&house.admin, "/v1/policies/reload", &json!({})).await;
    assert_eq!(answer.status, StatusCode::LOCKED, "{answer:?}");
    assert!(answer.text.contains("intruder"), "{answer:?}");
    let bytes = bundle(&next(&house.store, &closed_set(), None, |_| ()), &closed_set());
    let body: Json = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        house.world.post(&house.admin, "/v1/policies/publish", &body).await.status,
        StatusCode::LOCKED
    );
    assert_eq!(
        house.world.post(&house.admin, "/v1/policies/rollback", &json!({})).await.status,
        StatusCode::LOCKED
    );
    assert!(matches!(house.world.gateway.reload().await, caxton::server::ReloadOutcome::Refused(_)));
    publish(&house.store, &closed_set(), None);
    until("the publication is refused", async || refusals() >= before + 5).await;
    assert!(house.lists_agents().await);

    let House { world, store, .. } = house;
    let directory = world.stop().await;
    let mut settings = settings(data);
    settings.published = Some(PublishedSettings { store: store.root().to_owned(), trusted_keys: None });
    settings.follow.poll = Duration::from_millis(20);
    settings.agents.directory = Some(directory.path().join("agents"));
    let gateway = Gateway::start(settings).await.unwrap();
    assert_eq!(gateway.policy_version(), version, "the locked version, not the newest");
    lock.release().unwrap();
    until("the newest decides", async || gateway.policy_version() == closed_set().version()).await;
    gateway.drain().await;
    drop(directory);
}

/// Whoever takes the lock away while no gateway runs does not do so unseen.
#[tokio::test]
async fn what_became_of_the_lock_while_no_gateway_ran_is_on_record() {
    let house = House::with(false, |_| ()).await;
    let data = house.world.directory.path().join("data");
    let lock = ChangeLock::in_directory(&data);
    let engaged = EngagedLock {
        reason: "intruder".to_owned(),
        author: "ada".to_owned(),
        time_millis: SystemClock.now_millis(),
        version: house.world.gateway.policy_version(),
    };
    let House { world, store, .. } = house;
    let (log, directory) = (world.log(), world.stop().await);
    let run = async || {
        let mut settings = settings(data.clone());
        settings.published = Some(PublishedSettings { store: store.root().to_owned(), trusted_keys: None });
        Gateway::start(settings).await.unwrap().drain().await;
        let text = std::fs::read_to_string(&log).unwrap();
        let events = text.lines().filter_map(|line| {
            let event = serde_json::from_str::<Json>(line).unwrap()["event"].as_str()?.to_owned();
            event.starts_with("changes_").then_some(event)
        });
        events.collect::<Vec<_>>()
    };
    assert_eq!(run().await, [""; 0]);
    lock.engage(&engaged).unwrap();
    assert_eq!(run().await, ["changes_locked"]);
    assert_eq!(run().await, ["changes_locked"], "once");
    lock.release().unwrap();
    assert_eq!(run().await, ["changes_locked", "changes_unlocked"]);
    assert_eq!(run().await, ["changes_locked", "changes_unlocked"], "once");
    drop(directory);
}

/// A gateway whose tool servers bring schema of their own decides by more than what is in the store. The lock names what
/// the store gives back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_tools_of_unpinned_servers_starts_again_under_the_lock() {
    let (url, _) = support::upstream(json!([support::tool("look", "Looks.")])).await;
    let tools = |settings: &mut Settings| {
        settings.tools.auto_import = true;
        let transport =
            caxton::tools::Transport::Http { url: url.parse().unwrap(), headers: Default::default() };
        let name = caxton::model::ServerName::parse("upstream").unwrap();
        settings.tools.servers = vec![caxton::tools::ServerSettings::new(name, transport)];
    };
    let house = House::with(false, tools).await;
    let live = house.world.gateway.policy_version();
    assert_ne!(live, open_set().version(), "the server's schema is part of what decides");
    let data = house.world.directory.path().join("data");
    let config = house.world.directory.path().join("caxton.yaml");
    let House { world, store, .. } = house;
    let directory = world.stop().await;
    let text = format!(
        "server: {{ data_dir: data }}\nsecurity: {{ authorization: {{ version_store: {} }} }}\n",
        store.root().display()
    );
    std::fs::write(&config, text).unwrap();
    let locked =
        child::run(directory.path(), &["config", "lock", "--emergency", "--config", "caxton.yaml", "--json"]);
    assert_eq!(locked.code, Some(0), "{locked:?}");
    assert_eq!(locked.json()["version"], open_set().version().as_str());
    let mut settings = settings(data);
    settings.published = Some(PublishedSettings { store: store.root().to_owned(), trusted_keys: None });
    settings.agents.directory = Some(directory.path().join("agents"));
    tools(&mut settings);
    let gateway = Gateway::start(settings).await.unwrap();
    assert_eq!(gateway.policy_version(), live);
    gateway.drain().await;
    let unlock = ["config", "unlock", "--enhanced-validation", "--config", "caxton.yaml", "--tests"];
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/policy-tests");
    let unlocked = child::run(directory.path(), &[&unlock[..], &[tests]].concat());
    assert_eq!(unlocked.code, Some(0), "{unlocked:?}");
}

/// When somebody engages the lock in the middle of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While the set is read and judged; the lock has been asked before.
    Check,
    /// While the record is made and written; the lock has been asked again before.
    Record,
}

/// Engages the lock once, at its moment of the second reading: the first is the start.
struct Intruder {
    at: Moment,
    lock: ChangeLock,
    reads: std::sync::atomic::AtomicUsize,
}

impl Intruder {
    fn reads(&self) -> usize {
        self.reads.load(std::sync::atomic::Ordering::SeqCst)
    }

    fn pass(&self, now: Moment) {
        if self.reads() == 2 && self.at == now && self.lock.engaged().unwrap().is_none() {
            let (reason, author, version) = ("intruder".to_owned(), "ada".to_owned(), open_set().version());
            self.lock.engage(&EngagedLock { reason, author, time_millis: 0, version }).unwrap();
        }
    }
}

/// Between its reading and its record a change asks nobody for the time.
impl Clock for Intruder {
    fn now_millis(&self) -> i64 {
        self.pass(Moment::Record);
        SystemClock.now_millis()
    }
}

/// A lock that is engaged while a set is read and judged, or while the change is recorded, holds for that set as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_engaged_during_a_change_holds() {
    use caxton::changes::{
        Cause, PolicyLoader, PolicySource, ReloadError, ReloadSettings, Reloader, load_startup,
    };
    use caxton::policy::live::LivePolicy;
    for at in [Moment::Check, Moment::Record] {
        let directory = tempfile::tempdir().unwrap();
        let settings = ReloadSettings { timeout: PATIENCE, ..ReloadSettings::in_directory(directory.path()) };
        let lock = ChangeLock::in_directory(directory.path());
        let intruder = Arc::new(Intruder { at, lock, reads: Default::default() });
        let reading = Arc::clone(&intruder);
        let fragments = move || {
            reading.reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            reading.pass(Moment::Check);
            Vec::new()
        };
        let source = PolicySource::Files {
            policy_dir: None,
            schema_dir: None,
            extend_shipped: false,
            roles_file: None,
        };
        let loader = PolicyLoader { source, fragments: Arc::new(fragments), candidate_dir: None };
        let lock = ChangeLock::in_directory(directory.path());
        let started = load_startup(&loader, &lock, &settings, Default::default(), 0).unwrap();
        let (live, state) = started.split();
        let loader = (loader, Arc::new(lock) as _);
        let metrics = Arc::new(caxton::telemetry::Metrics::new());
        let policy = Arc::new(LivePolicy::new(live, Default::default(), Arc::clone(&metrics)));
        let log = directory.path().join("audit.log");
        let audit = caxton::audit::Settings { path: log.clone(), deadline: PATIENCE, ..Default::default() };
        let (journal, _) = caxton::audit::Journal::open(audit, metrics).unwrap();
        let clock: caxton::clock::SharedClock = Arc::<Intruder>::clone(&intruder);
        let reloader = Reloader::new(Arc::clone(&policy), loader, settings, state, journal, clock)
            .map(Arc::new)
            .unwrap();
        let (before, state) = (policy.live(), reloader.state().time_millis);
        let refused = reloader.reload(Cause::Signal).await;
        assert!(
            matches!(&refused, Err(ReloadError::Locked(why)) if why == "intruder"),
            "{at:?}: {refused:?}"
        );
        assert_eq!(intruder.reads(), 2, "it was read");
        assert!(Arc::ptr_eq(&before, &policy.live()), "nothing was put in the place of the live set");
        assert_eq!(reloader.state().time_millis, state, "nor remembered");
        let records = support::whole_lines(&log);
        let events: Vec<&str> = records.iter().map(|record| record["event"].as_str().unwrap()).collect();
        let wanted: &[&str] = match at {
            Moment::Check => &["reload_refused"],
            Moment::Record => &["policy_reload", "reload_refused"],
        };
        assert_eq!(events, wanted, "{at:?}: what is on record last is what is so");
    }
}

#[tokio::test]
async fn a_gateway_under_the_lock_does_not_start_with_other_files() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let engaged = EngagedLock {
        reason: "x".to_owned(),
        author: "ada".to_owned(),
        time_millis: 0,
        version: closed_set().version(),
    };
    ChangeLock::in_directory(&data).engage(&engaged).unwrap();
    let Err(StartError::Sources(error)) = Gateway::start(settings(data.clone())).await else {
        panic!("it started")
    };
    assert!(error.to_string().starts_with("changes are locked"), "{error}");
    // A lock that cannot be read holds as well.
    std::fs::write(data.join("change.lock"), "{").unwrap();
    let Err(StartError::Sources(error)) = Gateway::start(settings(data)).await else { panic!("it started") };
    assert!(error.to_string().contains("change.lock"), "{error}");
}

fn write_set(directory: &Path, sources: &Sources) {
    for file in sources.iter() {
        let path = directory.join(file.kind.directory()).join(file.name.as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, file.text.as_bytes()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_directories_decide_when_they_are_whole() {
    let world = World::with(|settings, directory| {
        write_set(directory, &open_set());
        settings.policy_dir = Some(directory.join("policies"));
        settings.schema_dir = Some(directory.join("schemas"));
        settings.follow.watch = true;
        settings.follow.quiet = Duration::from_millis(100);
    })
    .await;
    let admin = world.person("root", &["admin"]);
    let lists = async || world.get(&admin, "/v1/agents").await.status == StatusCode::OK;
    let refusals = || world.records().iter().filter(|record| record["event"] == "reload_refused").count();
    assert!(lists().await);
    let file = world.directory.path().join("policies/house.cedar");
    // Half of it, which is not a policy.
    std::fs::write(&file, &CLOSED[..CLOSED.len() - 20]).unwrap();
    until("half a file is refused", async || refusals() == 1).await;
    assert!(lists().await);
    std::fs::write(&file, CLOSED).unwrap();
    until("the whole file decides", async || !lists().await).await;
    std::fs::remove_file(&file).unwrap();
    until("without it, all is as before", async || lists().await).await;
    assert_eq!(refusals(), 1);
    world.stop().await;
}

/// A gateway that reads the open set and its agents from files, and its administrator.
async fn of_files() -> (World, Credential) {
    let world = World::with(|settings, directory| {
        write_set(directory, &open_set());
        settings.policy_dir = Some(directory.join("policies"));
        settings.schema_dir = Some(directory.join("schemas"));
    })
    .await;
    let admin = world.person("root", &["admin"]);
    (world, admin)
}

fn events_of(world: &World, kind: &str) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let records = world.records().into_iter().filter(|record| record["event_type"] == kind);
    records.map(|record| (text(&record["event"]), text(&record["agent"]["id"]))).collect()
}

/// What an agent may do hangs on its file and on the policies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_and_agents_change_together_or_not_at_all() {
    let (world, admin) = of_files().await;
    let told = |name: &str, agent: &str| (name.to_owned(), agent.to_owned());
    let deployed = [told("agent_deployed", "clerk"), told("agent_deployed", "researcher")];
    assert_eq!(events_of(&world, "agent_creation"), deployed, "at the first start");
    let agents = async || {
        let list = world.get(&admin, "/v1/agents").await.json();
        let ids =
            list["agents"].as_array().unwrap().iter().map(|agent| agent["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let path = |name: &str| world.directory.path().join(name);
    let (house, scribe) = (path("policies/house.cedar"), path("agents/scribe.md"));
    let closed = CLOSED.replace("agent:list", "tool:list");
    let version = world.gateway.policy_version();
    support::write(&scribe, "---\nname: scribe\n---\n");
    for (policy, agent) in
        [("permit (", "---\nname: scribe\n---\n"), (closed.as_str(), "---\nname: scribe\ncolor: red\n---\n")]
    {
        std::fs::write(&house, policy).unwrap();
        std::fs::write(&scribe, agent).unwrap();
        let outcome = world.gateway.reload().await;
        assert!(matches!(outcome, caxton::server::ReloadOutcome::Refused(_)), "{outcome:?}");
        assert_eq!(agents().await, ["clerk", "researcher"]);
        assert_eq!(world.gateway.policy_version(), version);
        assert_eq!(events_of(&world, "agent_creation").len(), 2);
    }
    std::fs::write(&scribe, "---\nname: scribe\n---\n").unwrap();
    std::fs::remove_file(path("agents/clerk.md")).unwrap();
    let researcher = std::fs::read_to_string(path("agents/researcher.md")).unwrap();
    std::fs::write(path("agents/researcher.md"), format!("{researcher}\nMore.\n")).unwrap();
    // An operator over the API does the same as a signal.
    let answer = world.post(&admin, "/v1/policies/reload", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(agents().await, ["researcher", "scribe"]);
    assert_ne!(world.gateway.policy_version(), version);
    assert_eq!(
        events_of(&world, "agent_creation")[2..],
        [told("agent_changed", "researcher"), told("agent_deployed", "scribe")]
    );
    assert_eq!(events_of(&world, "agent_deletion"), [told("agent_removed", "clerk")]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emergency_lock_holds_for_agents_and_new_keys() {
    let (world, admin) = of_files().await;
    let lock = ChangeLock::in_directory(&world.directory.path().join("data"));
    let engaged = EngagedLock {
        reason: "intruder".to_owned(),
        author: "ada".to_owned(),
        time_millis: SystemClock.now_millis(),
        version: world.gateway.policy_version(),
    };
    lock.engage(&engaged).unwrap();
    let wanted = json!({ "name": "ci", "permissions": ["tool:list"], "expires_in": 3600 });
    let answer = world.post(&admin, "/v1/auth/keys", &wanted).await;
    assert_eq!(answer.status, StatusCode::LOCKED, "{answer:?}");
    let restart = |directory: &Path| {
        let mut settings = settings(directory.join("data"));
        settings.policy_dir = Some(directory.join("policies"));
        settings.schema_dir = Some(directory.join("schemas"));
        settings.agents.directory = Some(directory.join("agents"));
        settings
    };
    let directory = world.stop().await;
    let scribe = directory.path().join("agents/scribe.md");
    support::write(&scribe, "---\nname: scribe\n---\n");
    let Err(StartError::Agents(error)) = Gateway::start(restart(directory.path())).await else {
        panic!("it started with another agent")
    };
    assert!(error.to_string().contains("agent `scribe`"), "{error}");
    std::fs::remove_file(scribe).unwrap();
    Gateway::start(restart(directory.path())).await.unwrap().drain().await;
}

/// What a parser that recurses would end the process with is refused, wherever it comes from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_nest_too_deep_and_files_that_are_none_are_refused_on_a_reload() {
    let (world, admin) = of_files().await;
    let path = |name: &str| world.directory.path().join(name);
    let policy = |condition: &str| {
        format!("@id(\"deep\") permit (principal, action, resource) when {{ {condition} }};")
    };
    let deep = [
        ("policies/deep.cedar", policy(&format!("{}true{}", "(".repeat(1_000), ")".repeat(1_000)))),
        ("policies/deep.cedar", policy(&format!("{} true", "if true then true else ".repeat(3_000)))),
        ("policies/deep.cedar", policy(&vec!["true"; 20_000].join(" && "))),
        (
            "schemas/deep.cedarschema",
            format!("entity A = {{ a: {}Long{} }};", "Set<".repeat(2_000), ">".repeat(2_000)),
        ),
        ("schemas/deep.cedarschema.json", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
    ];
    for (file, text) in deep {
        std::fs::write(path(file), text).unwrap();
        let outcome = world.gateway.reload().await;
        assert!(matches!(outcome, caxton::server::ReloadOutcome::Refused(_)), "{file}: {outcome:?}");
        std::fs::remove_file(path(file)).unwrap();
    }
    for file in ["policies/fifo.cedar", "schemas/fifo.cedarschema", "agents/fifo.md"] {
        let made = std::process::Command::new("mkfifo").arg(path(file)).status().unwrap();
        assert!(made.success());
        let reload = tokio::time::timeout(PATIENCE, world.gateway.reload()).await.expect("it waits");
        let caxton::server::ReloadOutcome::Refused(why) = reload else { panic!("{file}: {reload:?}") };
        assert!(why.contains("fifo"), "{why}");
        std::fs::remove_file(path(file)).unwrap();
    }
    let outcome = world.gateway.reload().await;
    assert!(matches!(outcome, caxton::server::ReloadOutcome::Applied { .. }), "{outcome:?}");
    assert_eq!(world.get(&admin, "/v1/agents").await.status, StatusCode::OK);
    world.stop().await;
}

/// What a path leads to is watched, not what it led to when the gateway began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_the_place_of_another_is_seen_and_none_is_an_error() {
    let world = World::with(|settings, directory| {
        for (name, set) in [("open", open_set()), ("closed", closed_set())] {
            write_set(&directory.join(name), &set);
        }
        std::os::unix::fs::symlink("open", directory.join("live")).unwrap();
        settings.policy_dir = Some(directory.join("live/policies"));
        settings.schema_dir = Some(directory.join("live/schemas"));
        settings.follow.watch = true;
        (settings.follow.poll, settings.follow.quiet) =
            (Duration::from_millis(20), Duration::from_millis(60));
    })
    .await;
    let admin = world.person("root", &["admin"]);
    let lists = async || world.get(&admin, "/v1/agents").await.status == StatusCode::OK;
    assert!(lists().await);
    let path = |name: &str| world.directory.path().join(name);
    // As git-sync and Kubernetes do it, twice: the second time nothing is left of what was there at the start.
    for (target, open) in [("closed", false), ("open", true), ("closed", false)] {
        std::os::unix::fs::symlink(target, path("next")).unwrap();
        std::fs::rename(path("next"), path("live")).unwrap();
        until(target, async || lists().await == open).await;
    }
    std::fs::rename(path("closed/policies"), path("closed/old")).unwrap();
    std::fs::rename(path("open/policies"), path("closed/policies")).unwrap();
    until("another directory decides", async || lists().await).await;

    let probe = async |source: &str| {
        let answer = reqwest::get(format!("http://{}{source}", world.gateway.operations())).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    };
    assert_eq!(probe("/readyz").await.0, StatusCode::OK);
    std::fs::rename(path("closed"), path("away")).unwrap();
    until("it is told", async || probe("/readyz").await.0 == StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(probe("/readyz").await.1, "the policy files cannot be watched\n");
    assert!(probe("/metrics").await.1.contains("caxton_policy_watch_errors 1"));
    assert!(lists().await, "the last set decides");
    std::fs::rename(path("away"), path("closed")).unwrap();
    until("it is over", async || probe("/readyz").await.0 == StatusCode::OK).await;
    std::fs::write(path("closed/policies/house.cedar"), CLOSED).unwrap();
    until("changes are seen again", async || !lists().await).await;
    world.stop().await;
}

/// What the bundle server of a test answers.
#[derive(Default)]
struct Served {
    bytes: Vec<u8>,
    etag: String,
    /// Bytes of the answer after which the connection is cut.
    cut: Option<usize>,
    asked: HashMap<u16, usize>,
}

/// A web server with one bundle, for one test.
async fn bundle_server() -> (reqwest::Url, Arc<Mutex<Served>>) {
    let served = Arc::new(Mutex::new(Served::default()));
    let answer = async move |State(served): State<Arc<Mutex<Served>>>, headers: HeaderMap| {
        let mut served = served.lock().unwrap();
        if served.bytes.is_empty() {
            *served.asked.entry(404).or_default() += 1;
            return HttpStatus::NOT_FOUND.into_response();
        }
        let tag = served.etag.clone();
        if headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
            *served.asked.entry(304).or_default() += 1;
            return HttpStatus::NOT_MODIFIED.into_response();
        }
        *served.asked.entry(200).or_default() += 1;
        let bytes = Bytes::from(served.bytes.clone());
        let length = bytes.len();
        let parts: Vec<Result<Bytes, std::io::Error>> = match served.cut {
            Some(end) => vec![Ok(bytes.slice(..end)), Err(std::io::Error::other("cut"))],
            None => vec![Ok(bytes)],
        };
        let body = Body::from_stream(futures::stream::iter(parts));
        ([(header::ETAG, tag), (header::CONTENT_LENGTH, length.to_string())], body).into_response()
    };
    let app = axum::Router::new()
        .route("/policies.bundle", axum::routing::get(answer))
        .with_state(Arc::clone(&served));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/policies.bundle", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url.parse().unwrap(), served)
}

/// The server says that nothing is new, and all the same the bundle is tried again when its key comes to be trusted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bundle_that_was_refused_is_tried_again_when_its_key_is_trusted() {
    let (url, served) = bundle_server().await;
    let house = House::with(true, |settings| {
        let (interval, longest_wait) = (Duration::from_millis(20), Duration::from_millis(40));
        settings.follow.remote = Some(RemoteSettings { url: url.clone().into(), interval, longest_wait });
    })
    .await;
    house.refused(0, "answered 404").await;
    let second = SigningKey::generate("second").unwrap();
    let closed = next(&house.store, &closed_set(), Some(&second), |_| ());
    {
        let mut served = served.lock().unwrap();
        (served.bytes, served.etag) = (bundle(&closed, &closed_set()), "\"1\"".to_owned());
    }
    house.refused(1, "key `second` is not trusted").await;
    let unchanged = || served.lock().unwrap().asked.get(&304).copied().unwrap_or(0);
    until("it is asked again", async || unchanged() > 3).await;
    assert_eq!(house.events("reload_refused").len(), 2, "and told once");
    trust(&house.world.directory.path().join("trusted.json"), &[&house.key, &second]);
    until("it decides", async || !house.lists_agents().await).await;
    assert_eq!(house.events("policy_reload").len(), 1);
    house.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_sound_and_newer_bundle_from_the_network_decides() {
    let (url, served) = bundle_server().await;
    let house = House::with(true, |settings| {
        settings.follow.remote = Some(RemoteSettings {
            url: url.clone().into(),
            interval: Duration::from_millis(20),
            longest_wait: Duration::from_millis(40),
        });
        settings.reload.max_bundle_bytes = 256 * 1024;
    })
    .await;
    let (key, stranger) = (&house.key, SigningKey::generate("stranger").unwrap());
    let serve = |bytes: Vec<u8>, cut: Option<usize>| {
        let mut served = served.lock().unwrap();
        let tags = served.etag.trim_matches('"').parse::<u64>().unwrap_or(0) + 1;
        (served.bytes, served.cut, served.etag) = (bytes, cut, format!("\"{tags}\""));
    };
    // The server has nothing: said once, and asked again and again.
    house.refused(0, "answered 404").await;
    until("it is asked again", async || served.lock().unwrap().asked.get(&404).copied().unwrap_or(0) > 3)
        .await;
    assert_eq!(house.events("reload_refused").len(), 1);

    let closed = closed_set();
    // Made elsewhere: the number is the publisher's.
    let made = |key: Option<&SigningKey>, change: &dyn Fn(&mut Manifest)| {
        let published = next(&house.store, &closed, key, |manifest| {
            manifest.sequence = 10;
            change(manifest);
        });
        bundle(&published, &closed)
    };
    let good = made(Some(key), &|_| ());
    let broken = Sources::shipped().with_policy("house.cedar", &CLOSED.replace("agent:list", "agent:lst"));
    let invalid = next(&house.store, &broken, Some(key), |manifest| manifest.sequence = 10);
    let half = good[..good.len() / 2].to_vec();
    let text = String::from_utf8(good.clone()).unwrap();
    let swapped = text.replace("the house is closed", "the house is open!!").into_bytes();
    let mut large = good.clone();
    large.extend(std::iter::repeat_n(b' ', 256 * 1024));
    let cases: [(Vec<u8>, Option<usize>, &str); 9] = [
        (good.clone(), Some(good.len() / 2), "could not be fetched"),
        (half, None, "not well formed"),
        (bundle(&invalid, &broken), None, "agent:lst"),
        (made(None, &|_| ()), None, "carries no signature"),
        (made(Some(&stranger), &|_| ()), None, "key `stranger` is not trusted"),
        (swapped, None, "not the file that was published"),
        (made(Some(key), &|manifest| manifest.sequence = 1), None, "number 1 is not newer than number 1"),
        (
            made(Some(key), &|manifest| manifest.expires_millis = Some(now() - 1)),
            None,
            "the version expired at",
        ),
        (large, None, "larger than 262144 bytes"),
    ];
    for (number, (bytes, cut, words)) in (1..).zip(cases) {
        serve(bytes, cut);
        house.refused(number, words).await;
        assert_eq!(house.store.numbers().unwrap(), [1], "{words}: what is refused is not kept");
    }
    let before = served.lock().unwrap().asked.get(&304).copied().unwrap_or(0);
    serve(good, None);
    until("the sound one decides", async || !house.lists_agents().await).await;
    assert_eq!(house.store.numbers().unwrap(), [1, 10]);
    until("it is not sent again", async || {
        served.lock().unwrap().asked.get(&304).copied().unwrap_or(0) > before + 3
    })
    .await;
    assert_eq!(house.events("policy_reload").len(), 1);

    // The last good one is on disk: without the server it decides, also after a restart.
    let House { world, store, .. } = house;
    let directory = world.stop().await;
    let mut settings = settings(directory.path().join("data"));
    settings.published = Some(PublishedSettings {
        store: store.root().to_owned(),
        trusted_keys: Some(directory.path().join("trusted.json")),
    });
    let nowhere = "http://127.0.0.1:9/policies.bundle".parse().unwrap();
    settings.follow.remote = Some(RemoteSettings {
        url: nowhere,
        interval: Duration::from_secs(60),
        longest_wait: Duration::from_secs(60),
    });
    let gateway = Gateway::start(settings).await.unwrap();
    assert_eq!(gateway.policy_version(), closed_set().version());
    gateway.drain().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_is_asked_and_never_decides() {
    let house = House::with(false, |settings| {
        let candidate = settings.reload.data_dir.parent().unwrap().join("candidate");
        write_set(&candidate, &closed_set());
        settings.candidate_dir = Some(candidate);
    })
    .await;
    let candidate = closed_set().version();
    let loaded = house.events("candidate_loaded");
    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0]["detail"], candidate.as_str());
    assert!(house.lists_agents().await && house.lists_agents().await, "the live set decides");
    let flips: Vec<Json> =
        house.world.records().into_iter().filter(|record| record["shadow"].is_object()).collect();
    assert_eq!(flips.len(), 2);
    assert_eq!(
        flips[0]["shadow"],
        json!({ "outcome": "deny_explicit", "policy_version": candidate.as_str() })
    );
    assert_eq!(flips[0]["outcome"], "allow");
    let shown = house.world.get(&house.admin, "/v1/policies").await.json();
    let watched = &shown["candidate"];
    assert_eq!(watched["version"], candidate.as_str());
    assert_eq!(watched["flips"][0]["count"], 2);
    assert_eq!(
        (&watched["flips"][0]["from"], &watched["flips"][0]["to"]),
        (&json!("allow"), &json!("deny_explicit"))
    );
    // Each list with two agents in it, and the reading of the policies.
    assert_eq!(watched["asked"], 7);
    let metrics = format!("http://{}/metrics", house.world.gateway.operations());
    let metrics = reqwest::get(metrics).await.unwrap().text().await.unwrap();
    let line = "caxton_shadow_flips_total{source=\"candidate\",change=\"closes\"} 2";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");

    // A candidate that is not valid watches nothing, and keeps nothing from going live.
    let file = house.world.directory.path().join("candidate/policies/house.cedar");
    std::fs::write(&file, "permit").unwrap();
    let reloaded = house.world.post(&house.admin, "/v1/policies/reload", &json!({})).await;
    assert_eq!(reloaded.status, StatusCode::OK, "{reloaded:?}");
    assert_eq!(house.events("candidate_refused").len(), 1);
    assert!(house.world.get(&house.admin, "/v1/policies").await.json()["candidate"].is_null());
    std::fs::write(&file, CLOSED).unwrap();
    house.world.post(&house.admin, "/v1/policies/reload", &json!({})).await;
    assert!(house.lists_agents().await);

    // It is promoted with its flips in view, and then decides.
    let (log, directory) = (house.world.log(), house.world.directory.path().to_owned());
    let promote = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_caxton"));
        command.current_dir(&directory).args([
            "policy",
            "promote",
            "-m",
            "watched",
            "--candidate",
            "candidate",
            "--json",
        ]);
        command.args(["--store".as_ref(), house.store.root(), "--log".as_ref(), log.as_path()]);
        // The shipped tests list agents, which the candidate forbids: tests of its own go with it.
        command.arg("--tests").arg(directory.join("own.test.yaml")).args(more);
        command.output().unwrap()
    };
    std::fs::write(
        directory.join("own.test.yaml"),
        "suite: own\nentities: { 'Gateway::\"g\"': {}, 'Service::\"s\"': {} }\ntests:\n  - name: closed\n    request: { principal: 'Service::\"s\"', action: agent:list, resource: 'Gateway::\"g\"' }\n    expect: { outcome: deny_explicit }\n",
    )
    .unwrap();
    let refused = promote(&[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("deny_explicit") && said.contains("3 flips"), "{said}");
    assert!(said.contains("--accept-flips 3"), "{said}");
    let lint = caxton::workbench::lint::RULES.iter().flat_map(|rule| ["--without", rule.id]);
    let accepted: Vec<&str> = ["--accept-flips", "3"].into_iter().chain(lint).collect();
    let done = promote(&accepted);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    until("the candidate decides", async || !house.lists_agents().await).await;
    assert!(house.world.get(&house.admin, "/v1/policies").await.json()["candidate"].is_null(), "it is live");
    house.world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_sees_a_mixed_or_a_missing_set_while_sets_change() {
    change_sets(12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes, or with `--release` three: each change is parsed, validated and recorded, while requests are decided"]
async fn no_request_sees_a_mixed_or_a_missing_set_in_ten_thousand_changes() {
    #[expect(clippy::disallowed_methods, reason = "whoever has less time asks for fewer")]
    let rounds = std::env::var("CAXTON_RELOADS").ok().map(|text| text.parse().unwrap());
    change_sets(rounds.unwrap_or(10_000)).await;
}

/// Every request is decided by one whole set, whichever is live; and the set that a record names decides as recorded.
async fn change_sets(rounds: usize) {
    // Each set says in two policies which one it is: a mixed set would say two things.
    let set = |mark: usize| {
        let policies = format!(
            "@id(\"mark.permit-{mark}\")\npermit (principal, action == Caxton::Action::\"tool:list\", resource);\n@id(\"mark.forbid-{mark}\")\n@reason(\"set {mark}\")\nforbid (principal, action == Caxton::Action::\"agent:list\", resource);\n"
        );
        Sources::new().with_shipped(caxton::policy::SourceKind::Schema).with_policy("mark.cedar", &policies)
    };
    let world = World::with(|settings, directory| {
        write_set(directory, &set(0));
        settings.policy_dir = Some(directory.join("policies"));
        settings.schema_dir = Some(directory.join("schemas"));
    })
    .await;
    let who = world.service("who", &["tool:list"]);
    let file = world.directory.path().join("policies/mark.cedar");
    let answered = std::sync::atomic::AtomicUsize::new(0);
    let count = || answered.load(std::sync::atomic::Ordering::Relaxed);
    // All the while, and no more than a disk has room for.
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let asking = async {
        loop {
            pace.tick().await;
            for path in ["/v1/tools", "/v1/agents"] {
                let answer = world.get(&who, path).await;
                let wanted = if path == "/v1/tools" { StatusCode::OK } else { StatusCode::FORBIDDEN };
                assert_eq!(answer.status, wanted, "{path}: {answer:?}");
                answered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    };
    let changing = async {
        for mark in 1..=rounds {
            support::write(&file, &set(mark).iter().last().unwrap().text);
            let outcome = world.gateway.reload().await;
            assert!(matches!(outcome, caxton::server::ReloadOutcome::Applied { .. }), "{outcome:?}");
            // Each set decides something before the next one comes.
            let before = count();
            until("it decides", async || count() > before + 1).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = changing => {}
    }
    let versions: HashMap<String, usize> =
        (0..=rounds).map(|mark| (set(mark).version().as_str().to_owned(), mark)).collect();
    assert_eq!(world.gateway.policy_version(), set(rounds).version());
    let log = world.log();
    let _directory = world.stop().await;
    let mut decisions = 0;
    for line in std::io::BufReader::new(std::fs::File::open(log).unwrap()).lines() {
        let record: Json = serde_json::from_str(&line.unwrap()).unwrap();
        if record["subject"].is_null() {
            continue;
        }
        let mark = versions[record["policy_version"].as_str().unwrap()];
        let policies =
            record["policies"].as_array().unwrap().iter().map(|policy| policy["id"].as_str().unwrap());
        for id in policies {
            assert!(id.ends_with(&format!("-{mark}")), "decided by `{id}` of another set: {record}");
        }
        decisions += 1;
    }
    assert!(decisions > rounds, "{decisions} decisions in {rounds} reloads");
    println!("{decisions} decisions in {rounds} reloads");
}
