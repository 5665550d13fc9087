//! Rate limits over the wire: each count by itself, and what the answers say of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

mod support;

use reqwest::{Method, StatusCode};
use serde_json::json;
use support::{World, outcome, send};

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
