//! Rate limits over the wire: each count by itself, and what the answers say of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use crate::support;
use std::time::Duration;

use crate::support::{Credential, World, outcome, send, until, whole_lines};
use caxton::audit::verify::verify;
use caxton::authn::{KeyHolder, KeyStore, api_key};
use caxton::clock::{Clock as _, SystemClock};
use caxton::model::{RoleName, ServiceName};
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

#[tokio::test]
async fn a_key_has_a_limit_of_its_own() {
    let world = World::with(|settings, _| settings.quotas.per_key = Some("2/hour".parse().unwrap())).await;
    let (one, two) = (world.service("ci", &["tool:list"]), world.service("ci", &["tool:list"]));
    for left in ["1", "0"] {
        let answer = world.get(&one, "/v1/tools").await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let told = answer.headers["ratelimit"].to_str().unwrap();
        assert!(told.starts_with(&format!("\"key\";r={left};t=")), "{told}");
    }
    let limited = world.get(&one, "/v1/tools").await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.headers["ratelimit-policy"], "\"key\";q=2;w=3600");
    let full = limited.headers["ratelimit"].to_str().unwrap().strip_prefix("\"key\";r=0;t=").unwrap();
    assert!((3_000..=3_600).contains(&full.parse::<u32>().unwrap()), "{full}");
    let wait: u64 = limited.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1_800).contains(&wait), "{wait}");
    assert_eq!(limited.json()["type"], "urn:caxton:problem:rate-limited");
    let record = world.records().pop().unwrap();
    assert_eq!(
        (record["event"].as_str(), outcome(&record)),
        (Some("rate_limited"), ("limited", "rate_limited"))
    );
    assert_eq!(record["subject"]["principal"], "Caxton::Service::\"ci\"");
    assert_eq!(record["detail"], "the limit of this key on /v1/tools");
    // Another key of the same program, and a person, are not affected.
    assert_eq!(world.get(&two, "/v1/tools").await.status, StatusCode::OK);
    let ada = world.person("ada", &["developer"]);
    for _ in 0..3 {
        assert_eq!(world.get(&ada, "/v1/tools").await.status, StatusCode::OK);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_route_has_a_limit_for_each_principal() {
    let world = World::with(|settings, _| {
        settings.quotas.per_route = [("/v1/agents/{id}".to_owned(), "1/hour".parse().unwrap())].into();
    })
    .await;
    let (ada, bob) = (world.person("ada", &["admin"]), world.person("bob", &["admin"]));
    assert_eq!(world.get(&ada, "/v1/agents/clerk").await.status, StatusCode::OK);
    let limited = world.get(&ada, "/v1/agents/researcher").await;
    assert_eq!(
        limited.status,
        StatusCode::TOO_MANY_REQUESTS,
        "one route, whatever stands in its place: {limited:?}"
    );
    assert_eq!(limited.headers["ratelimit-policy"], "\"route\";q=1;w=3600");
    assert_eq!(world.get(&ada, "/v1/agents").await.status, StatusCode::OK);
    assert_eq!(world.get(&bob, "/v1/agents/clerk").await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn a_capability_has_a_limit_for_each_sender() {
    let world = World::with(|settings, _| {
        let desk = caxton::model::CapabilityName::parse("desk").unwrap();
        settings.quotas.per_capability = [(desk, "1/hour".parse().unwrap())].into();
    })
    .await;
    let (ada, bob) = (world.person("ada", &["developer"]), world.person("bob", &["developer"]));
    let hello = json!({ "content": "hello" });
    let path = "/v1/capabilities/desk/messages";
    assert_eq!(world.post(&ada, path, &hello).await.status, StatusCode::OK);
    for (path, body) in
        [(path, hello.clone()), ("/v1/messages", json!({ "capability": "desk", "content": "hello" }))]
    {
        let limited = world.post(&ada, path, &body).await;
        assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{limited:?}");
        assert!(limited.headers.contains_key("retry-after"));
        let record = world.records().pop().unwrap();
        assert_eq!(
            (record["action"].as_str(), outcome(&record)),
            (Some("message:send"), ("limited", "rate_limited"))
        );
    }
    assert_eq!(world.post(&bob, path, &hello).await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn every_guarded_answer_says_where_its_caller_stands() {
    let world = World::with(|settings, _| {
        settings.limit.per_principal =
            caxton::limit::Rate::new(4, std::time::Duration::from_secs(3_600), 4).unwrap();
    })
    .await;
    let ada = world.person("ada", &["developer"]);
    let mut left = Vec::new();
    for _ in 0..6 {
        let answer = world.get(&ada, "/v1/capabilities").await;
        assert_eq!(answer.headers["ratelimit-policy"], "\"principal\";q=4;w=3600", "{answer:?}");
        left.push((answer.status.as_u16(), answer.headers["ratelimit"].to_str().unwrap().to_owned()));
    }
    assert!(left[0].1.starts_with("\"principal\";r=3;t="), "{left:?}");
    assert!(
        left.iter().any(|(status, told)| *status == 429 && told.starts_with("\"principal\";r=0;t=")),
        "{left:?}"
    );
    let stranger = send(world.client.request(Method::GET, world.url("/v1/capabilities"))).await;
    assert!(!stranger.headers.contains_key("ratelimit"), "who is not proven learns nothing");
    world.stop().await;
}

/// A key that is well formed, and of another gateway.
fn foreign_key() -> (Credential, String) {
    let directory = tempfile::tempdir().unwrap();
    let store = KeyStore::open(&api_key::Settings::in_directory(directory.path())).unwrap();
    let (name, now) = (ServiceName::parse("stranger").unwrap(), SystemClock.now_millis());
    let words = [RoleName::parse("tool:list").unwrap()];
    let key = store.create(&name, &KeyHolder::Service, &words, now, now + 1_000_000).unwrap();
    let text = key.secret.expose().clone();
    let id = text.strip_prefix("cax_live_").unwrap().split('_').next().unwrap().to_owned();
    (Credential::Key(text), id)
}

fn counts(records: &[Json], event: &str) -> Vec<u64> {
    let of_event = records.iter().filter(|record| record["event"] == event);
    of_event.map(|record| record["count"].as_u64().unwrap_or(1)).collect()
}

#[tokio::test]
async fn a_flood_of_refused_credentials_is_a_few_records_whose_counts_add_up() {
    let world = World::new().await;
    let ((stranger, id), ada) = (foreign_key(), world.person("ada", &["viewer"]));
    for _ in 0..100 {
        let answer = world.get(&stranger, "/v1/agents/cax_live_0123456789").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        // What a policy denies is a record each, all the while.
        let denied = world.get(&ada, "/v1/auth/keys").await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN, "{denied:?}");
    }
    let records = world.records();
    assert_eq!(counts(&records, "login_failure"), [1, 1, 2, 4, 8, 16, 32]);
    let denied = records.iter().filter(|record| record["outcome"].as_str().unwrap().starts_with("deny_"));
    assert_eq!(denied.filter(|record| record["action"] == "auth:key:list").count(), 100);
    // Another reason is counted by itself.
    assert_eq!(
        world.get(&Credential::Key("x".to_owned()), "/v1/agents").await.status,
        StatusCode::UNAUTHORIZED
    );
    let last = world.records().pop().unwrap();
    assert_eq!((&last["detail"], &last["route"]), (&"api_key: malformed".into(), &"GET /v1/agents".into()));
    assert!(last.get("key_id").is_none());
    // What is left is written down when the gateway stops.
    let log = world.log();
    let _directory = world.stop().await;
    let records = whole_lines(&log);
    let of_stranger: Vec<_> =
        records.iter().filter(|record| record["detail"] == "api_key: unknown_key").collect();
    let all: u64 = of_stranger.iter().map(|record| record["count"].as_u64().unwrap_or(1)).sum();
    assert_eq!(all, 100, "{of_stranger:?}");
    for record in of_stranger {
        assert_eq!(
            (&record["route"], &record["key_id"]),
            (&"GET /v1/agents/{id}".into(), &id.as_str().into())
        );
        assert!(!record.to_string().contains("cax_live"), "{record}");
    }
    assert_eq!(verify(&log).unwrap().torn_tail, 0);
}

#[tokio::test]
async fn a_flood_above_a_rate_is_a_few_records_whose_counts_add_up() {
    let world = World::with(|settings, _| {
        settings.quotas.per_key = Some("1/hour".parse().unwrap());
        settings.limit.per_principal = caxton::limit::Rate::new(1, Duration::from_secs(3_600), 1).unwrap();
        settings.audit.refusal_window = Duration::from_secs(2);
    })
    .await;
    let (ci, ada) = (world.service("ci", &["tool:list"]), world.person("ada", &["developer"]));
    for _ in 0..50 {
        world.get(&ci, "/v1/tools").await;
        let answer = world.get(&ada, "/v1/capabilities").await;
        let decision = answer.status == StatusCode::TOO_MANY_REQUESTS && answer.text.contains("decision_id");
        // A decision that is named to the caller is in the log.
        let found =
            || world.records().iter().any(|record| record["decision_id"] == answer.json()["decision_id"]);
        assert!(!decision || found(), "{answer:?}");
    }
    // By its timer, without another request.
    until("all are on record", async || {
        let records = world.records();
        let limited = records.iter().filter(|record| record["outcome"] == "limited");
        let of = |name: &str| -> u64 {
            let of_one = limited
                .clone()
                .filter(|record| record["subject"]["principal"].as_str().unwrap().contains(name));
            of_one.map(|record| record["count"].as_u64().unwrap_or(1)).sum()
        };
        (of("ci"), of("ada")) == (49, 49)
    })
    .await;
    let records = world.records();
    assert!(records.iter().filter(|record| record["outcome"] == "limited").count() < 40);
    assert_eq!(
        records.iter().filter(|record| record["outcome"] == "allow" && record.get("count").is_some()).count(),
        0
    );
    world.stop().await;
}

#[tokio::test]
async fn the_rate_is_asked_before_a_body_is_read() {
    let world = World::with(|settings, _| {
        settings.limit.per_principal = caxton::limit::Rate::new(1, Duration::from_secs(3_600), 1).unwrap();
    })
    .await;
    let ada = world.person("ada", &["developer"]);
    assert_eq!(world.get(&ada, "/v1/capabilities").await.status, StatusCode::OK);
    // Not JSON at all, which nobody finds out.
    let request =
        world.request(&ada, Method::POST, "/v1/messages").header("content-type", "application/json");
    let limited = send(request.body("{".repeat(1_000))).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS, "{limited:?}");
    assert!(limited.headers.contains_key("retry-after"));
    assert!(limited.headers["ratelimit"].to_str().unwrap().starts_with("\"principal\";r=0;"), "{limited:?}");
    let record = world.records().pop().unwrap();
    assert_eq!(
        (outcome(&record), &record["detail"]),
        (("limited", "rate_limited"), &"the limit of this principal on /v1/messages".into())
    );
    world.stop().await;
}

#[tokio::test]
async fn bytes_of_bodies_under_way_are_bounded_for_each_and_in_all() {
    use axum::http::Request;
    let world = World::with(|settings, _| {
        settings.api.rooms =
            caxton::api::RoomSettings { per_connection: 300_000, per_caller: 400_000, in_all: 600_000 };
    })
    .await;
    let keys: Vec<String> = ["one", "two"]
        .map(|name| match world.service(name, &[]) {
            Credential::Key(key) => key,
            _ => unreachable!("programs have keys"),
        })
        .into();
    let connect = async || {
        let stream = tokio::net::TcpStream::connect(world.gateway.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client
    };
    // A request with a body of so many bytes that never comes.
    let begin = async |client: &h2::client::SendRequest<bytes::Bytes>, key: &str, length: usize| {
        let request =
            Request::post(format!("http://localhost:{}/v1/messages", world.gateway.address().port()))
                .header("x-api-key", key)
                .header("content-type", "application/json")
                .header("content-length", length);
        let mut ready = client.clone().ready().await.unwrap();
        ready.send_request(request.body(()).unwrap(), false).unwrap()
    };
    let refused = async |answer: h2::client::ResponseFuture| {
        let answer = answer.await.unwrap();
        assert_eq!(answer.headers()["retry-after"], "1");
        answer.status().as_u16()
    };
    let (first, second, third) = (connect().await, connect().await, connect().await);
    let held = [
        begin(&first, &keys[0], 100_000).await,
        begin(&first, &keys[0], 100_000).await,
        begin(&first, &keys[0], 100_000).await,
    ];
    assert_eq!(refused(begin(&first, &keys[0], 100_000).await.0).await, 429, "the connection");
    let more = begin(&second, &keys[0], 100_000).await;
    assert_eq!(refused(begin(&second, &keys[0], 100_000).await.0).await, 429, "the caller");
    let others = [begin(&third, &keys[1], 100_000).await, begin(&third, &keys[1], 100_000).await];
    assert_eq!(refused(begin(&third, &keys[1], 100_000).await.0).await, 503, "all");
    // What has no body needs no room, and what ends makes some.
    assert_eq!(world.get(&Credential::Key(keys[0].clone()), "/v1/tools").await.status, StatusCode::FORBIDDEN);
    drop((held, more));
    let key = Credential::Key(keys[1].clone());
    until("there is room again", async || {
        let body = json!({ "receiver": "clerk", "content": "x".repeat(50_000) });
        world.post(&key, "/v1/messages", &body).await.status == StatusCode::FORBIDDEN
    })
    .await;
    drop(others);
    world.stop().await;
}

#[tokio::test]
async fn a_text_that_is_long_to_read_counts_as_many_and_is_read_or_denied() {
    let world = World::with(|settings, _| {
        settings.limit.per_principal = caxton::limit::Rate::new(20, Duration::from_secs(3_600), 20).unwrap();
    })
    .await;
    let bob = world.person("bob", &["developer"]);
    let write = |content: String| json!({ "receiver": "clerk", "content": content });
    let short = world.post(&bob, "/v1/messages", &write("hello".to_owned())).await;
    let left = |answer: &support::Answer| -> i64 {
        let told = answer.headers["ratelimit"].to_str().unwrap();
        told.split("r=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap()
    };
    assert_eq!(short.status, StatusCode::OK, "{short:?}");
    let before = left(&short);
    let grown = world.post(&bob, "/v1/messages", &write("\u{fdfa}".repeat(44_000))).await;
    assert_eq!(grown.status, StatusCode::FORBIDDEN, "{grown:?}");
    let record = world.records().pop().unwrap();
    assert!(record["context"]["screening"]["findings"].to_string().contains("screen.too_large"), "{record}");
    // 132 kB are two decisions beside the one.
    assert_eq!(left(&grown), before - 3);
    world.stop().await;
}
