//! Who calls, over the wire: what the gateway believes, for how long, and what it does with what it does not believe.

mod support;

use std::time::Duration;

use caxton::limit::FailureSettings;
use reqwest::StatusCode;
use support::{Credential, World};

/// A client whose token has run out tries again until somebody renews it. That is no attack on anybody.
#[tokio::test]
async fn an_expired_token_is_no_guess() {
    let world = World::with(|settings, _| {
        settings.failures = Some(FailureSettings::default());
        settings.authn.jwt.as_mut().unwrap().leeway = Duration::ZERO;
    })
    .await;
    let expired = world.expired("alice");
    for _ in 0..10 {
        let answer = world.get(&expired, "/v1/agents").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert_eq!(answer.json()["detail"], "the credentials have expired");
    }
    let alice = world.person("alice", &["viewer"]);
    assert_eq!(world.get(&alice, "/v1/agents").await.status, StatusCode::OK);
    // The same number of tokens that are no tokens closes the door.
    let guess = Credential::Token("a.b.c".into());
    for _ in 0..3 {
        assert_eq!(world.get(&guess, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.get(&alice, "/v1/agents").await.status, StatusCode::TOO_MANY_REQUESTS);
    world.stop().await;
}
