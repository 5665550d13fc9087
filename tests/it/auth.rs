//! Who calls, over the wire: what the gateway believes, for how long, and what it does with what it does not believe.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use crate::support;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::{Answer, Credential, World};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use caxton::authn::jwt;
use caxton::clock::{Clock as _, SystemClock};
use caxton::limit::FailureSettings;
use caxton::secret::Secret;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

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

fn bearer(pair: &Json, name: &str) -> Credential {
    Credential::Token(pair[name].as_str().unwrap().to_owned())
}

async fn renew(world: &World, token: &str) -> Answer {
    world.post(&Credential::Nothing, "/v1/auth/refresh", &json!({ "refresh_token": token })).await
}

/// The records of events and decisions about keys and tokens, in a few words.
fn told(world: &World) -> Vec<String> {
    let word = |value: &Json| value.as_str().unwrap_or("-").to_owned();
    let records = world.records();
    let about = |record: &&Json| {
        record["action"].as_str().is_some_and(|action| action.starts_with("auth:"))
            || record["event_type"] == "authentication"
    };
    records
        .iter()
        .filter(about)
        .map(|r| format!("{} {} {}", word(&r["action"]), word(&r["outcome"]), word(&r["detail"])))
        .collect()
}

#[tokio::test]
async fn a_key_becomes_a_token_that_is_the_same_principal_until_it_ends() {
    let world =
        World::with(|settings, _| settings.authn.tokens.access = Duration::from_secs(2 * 86_400)).await;
    let service = world.service("lister", &["agent:list", "agent:read"]);
    let answer = world.post(&service, "/v1/auth/token", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let pair = answer.json();
    assert_eq!(pair["token_type"], "Bearer");
    let left = pair["expires_in"].as_i64().unwrap();
    assert!((86_000..=86_400).contains(&left), "as long as its key: {pair}");
    let token = bearer(&pair, "access_token");
    assert_eq!(world.get(&token, "/v1/agents").await.json(), world.get(&service, "/v1/agents").await.json());
    let record = world.records().into_iter().rfind(|record| record["action"] == "agent:list");
    let session =
        world.records().into_iter().rfind(|record| record["subject"]["method"] == "session").unwrap();
    assert_eq!(session["subject"]["principal"], record.unwrap()["subject"]["principal"], "{session}");
    // What the key may not do, the token may not.
    assert_eq!(world.get(&token, "/v1/policies").await.status, StatusCode::FORBIDDEN);
    // A token is not made from a token: it would never end.
    let answer = world.post(&token, "/v1/auth/token", &json!({})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{answer:?}");
    // Both together are one caller.
    let both = world.request(&token, reqwest::Method::GET, "/v1/agents");
    let Credential::Key(key) = &service else { unreachable!() };
    assert_eq!(support::send(both.header("x-api-key", key)).await.status, StatusCode::OK);
    assert_eq!(world.post(&token, "/v1/auth/logout", &json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(world.get(&token, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(renew(&world, pair["refresh_token"].as_str().unwrap()).await.status, StatusCode::UNAUTHORIZED);
    let told = told(&world);
    for wanted in ["auth:token allow -", "auth:logout allow -", "- deny_explicit session: ended"] {
        assert!(told.iter().any(|line| line == wanted), "{wanted}: {told:#?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_session_goes_on_and_a_replay_ends_it_and_is_on_record() {
    let world = World::with(|settings, _| settings.authn.tokens.grace = Duration::ZERO).await;
    let service = world.service("lister", &["agent:list"]);
    let first = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    let old = first["refresh_token"].as_str().unwrap();
    let second = renew(&world, old).await;
    assert_eq!(second.status, StatusCode::OK, "{second:?}");
    let second = second.json();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    let token = bearer(&second, "access_token");
    assert_eq!(world.get(&token, "/v1/agents").await.status, StatusCode::OK);
    // Used, and the one after it was not used: with no grace a second use is a theft all the same.
    let mut replay = renew(&world, old).await;
    while replay.status == StatusCode::OK {
        replay = renew(&world, old).await;
    }
    assert_eq!(replay.status, StatusCode::UNAUTHORIZED, "{replay:?}");
    assert!(replay.headers.contains_key("www-authenticate"));
    assert_eq!(world.get(&token, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    let told = told(&world);
    assert!(told.iter().any(|line| line.contains("session: refresh_reused")), "{told:#?}");
    world.stop().await;
}

#[tokio::test]
async fn two_who_renew_at_once_share_one_successor() {
    let world = World::with(|settings, _| settings.authn.tokens.grace = support::PATIENCE).await;
    let service = world.service("lister", &["agent:list"]);
    let first = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    let old = first["refresh_token"].as_str().unwrap();
    let answers = futures::future::join_all((0..8).map(|_| renew(&world, old))).await;
    let next: BTreeSet<_> = answers
        .iter()
        .map(|answer| {
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            answer.json()["refresh_token"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(next.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_refresh_wants_its_token_in_the_body_and_nothing_else() {
    let world = World::new().await;
    let service = world.service("lister", &["agent:list"]);
    let pair = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    let good = json!({ "refresh_token": pair["refresh_token"] });
    for (credential, body, status) in [
        (Credential::Nothing, json!({}), 422),
        (Credential::Nothing, json!({ "refresh_token": "x".repeat(2_000) }), 413),
        (Credential::Nothing, json!({ "refresh_token": 7 }), 422),
        (Credential::Nothing, json!({ "refresh_token": "x", "scope": "admin" }), 422),
        (Credential::Nothing, json!({ "refresh_token": "x" }), 401),
        (Credential::Nothing, json!({ "refresh_token": pair["access_token"] }), 401),
        (service.clone(), good.clone(), 401),
        (Credential::Token("a.b.c".into()), good.clone(), 401),
        (bearer(&pair, "refresh_token"), json!({}), 422),
        (Credential::Nothing, good.clone(), 200),
    ] {
        let answer = world.post(&credential, "/v1/auth/refresh", &body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {answer:?}");
    }
    // A refresh token opens nothing itself.
    assert_eq!(
        world.get(&bearer(&pair, "refresh_token"), "/v1/agents").await.status,
        StatusCode::UNAUTHORIZED
    );
    let origin = world.request(&Credential::Nothing, reqwest::Method::POST, "/v1/auth/refresh").json(&good);
    assert_eq!(
        support::send(origin.header("origin", "https://evil.example")).await.status,
        StatusCode::FORBIDDEN
    );
    world.stop().await;
}

#[tokio::test]
async fn an_administrator_looks_after_keys_and_nobody_else() {
    let world = World::new().await;
    let (admin, operator) = (world.person("ada", &["admin"]), world.person("olga", &["operator"]));
    let wanted = json!({ "name": "bot", "permissions": ["agent:list"], "expires_in": 3600 });
    for (method, path) in [
        ("POST", "/v1/auth/keys"),
        ("GET", "/v1/auth/keys"),
        ("POST", "/v1/auth/keys/nobody/rotate"),
        ("DELETE", "/v1/auth/keys/nobody"),
        ("POST", "/v1/admin/sessions/revoke-all"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = support::send(world.request(&operator, method, path).json(&wanted)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {answer:?}");
    }
    let made = world.post(&admin, "/v1/auth/keys", &wanted).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let (id, key) =
        (made.json()["id"].clone(), Credential::Key(made.json()["key"].as_str().unwrap().to_owned()));
    let id = id.as_str().unwrap();
    assert_eq!(world.get(&key, "/v1/agents").await.status, StatusCode::OK);
    let record = world.records().into_iter().rfind(|record| record["action"] == "auth:key:create").unwrap();
    assert_eq!(record["context"]["input"]["lifetime_seconds"], 3600, "{record}");

    let rotated = world.post(&admin, &format!("/v1/auth/keys/{id}/rotate"), &json!({})).await;
    assert_eq!(rotated.status, StatusCode::CREATED, "{rotated:?}");
    let next = Credential::Key(rotated.json()["key"].as_str().unwrap().to_owned());
    for both in [&key, &next] {
        assert_eq!(
            world.get(both, "/v1/agents").await.status,
            StatusCode::OK,
            "the old one serves for a while"
        );
    }
    let again = world.post(&admin, &format!("/v1/auth/keys/{id}/rotate"), &json!({})).await;
    assert_eq!(again.status, StatusCode::NOT_FOUND, "it has a successor: {again:?}");

    let pair = world.post(&next, "/v1/auth/token", &json!({})).await.json();
    let token = bearer(&pair, "access_token");
    assert_eq!(world.get(&token, "/v1/agents").await.status, StatusCode::OK);
    let next_id = rotated.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/auth/keys/{next_id}");
    let gone = support::send(world.request(&admin, reqwest::Method::DELETE, &path)).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{gone:?}");
    for ended in [&next, &token] {
        assert_eq!(
            world.get(ended, "/v1/agents").await.status,
            StatusCode::UNAUTHORIZED,
            "the very next request"
        );
    }
    let listed = world.get(&admin, "/v1/auth/keys").await;
    let secrets = [made.json()["key"].clone(), rotated.json()["key"].clone()];
    assert!(secrets.iter().all(|key| !listed.text.contains(key.as_str().unwrap())), "{listed:?}");
    let row = listed.json()["keys"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone();
    assert_eq!(row["replaced_by"], next_id, "{row}");
    let log = std::fs::read_to_string(world.log()).unwrap();
    assert!(!log.contains("cax_live_") && !log.contains("cax_rt_"));
    world.stop().await;
}

#[tokio::test]
async fn all_sessions_end_at_once() {
    let world = World::new().await;
    let (admin, service) = (world.service("ada", &["admin"]), world.service("lister", &["agent:list"]));
    let person = world.person("vera", &["viewer"]);
    let pair = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    let token = bearer(&pair, "access_token");
    for before in [&token, &person] {
        assert_eq!(world.get(before, "/v1/agents").await.status, StatusCode::OK);
    }
    let ended = world.post(&admin, "/v1/admin/sessions/revoke-all", &json!({})).await;
    assert_eq!((ended.status, &ended.json()["sessions"]), (StatusCode::OK, &json!(1)), "{ended:?}");
    for after in [&token, &person] {
        let answer = world.get(after, "/v1/agents").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    }
    assert_eq!(renew(&world, pair["refresh_token"].as_str().unwrap()).await.status, StatusCode::UNAUTHORIZED);
    // Keys are no sessions, and what is made afterwards counts.
    let pair = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    assert_eq!(world.get(&bearer(&pair, "access_token"), "/v1/agents").await.status, StatusCode::OK);
    world.stop().await;
}

#[tokio::test]
async fn the_public_keys_and_the_state_of_the_ways_in_are_shown() {
    let world = World::new().await;
    let set = world.get(&Credential::Nothing, "/.well-known/jwks.json").await;
    assert_eq!(set.status, StatusCode::OK, "{set:?}");
    let keys = set.json()["keys"].clone();
    assert_eq!((keys.as_array().unwrap().len(), &keys[0]["crv"]), (1, &json!("Ed25519")), "{keys}");
    assert!(keys[0].get("d").is_none());
    let operator = world.person("olga", &["operator"]);
    let status = world.get(&operator, "/v1/auth/status").await.json();
    let methods = status["methods"].as_array().unwrap();
    let rows: Vec<_> =
        methods.iter().map(|row| (row["method"].as_str().unwrap(), row["healthy"] == true)).collect();
    assert_eq!(rows, [("api_key", true), ("jwt", true), ("session", true), ("mtls", true), ("oauth2", true)]);
    world.stop().await;
}

/// Sessions, keys and revocations are on disk: a restart changes nothing.
#[tokio::test]
async fn a_session_survives_a_restart() {
    let world = World::new().await;
    let service = world.service("lister", &["agent:list"]);
    let pair = world.post(&service, "/v1/auth/token", &json!({})).await.json();
    let data = world.stop().await;
    let path = data.path().join("data");
    let again = World::with(move |settings, _| {
        settings.authn.api_keys = caxton::authn::api_key::Settings::in_directory(&path);
        settings.authn.tokens = caxton::authn::tokens::Settings::in_directory(&path);
    })
    .await;
    assert_eq!(again.get(&bearer(&pair, "access_token"), "/v1/agents").await.status, StatusCode::OK);
    let next = renew(&again, pair["refresh_token"].as_str().unwrap()).await;
    assert_eq!(next.status, StatusCode::OK, "{next:?}");
    again.stop().await;
}

/// What the command line changed while no gateway ran is on record before it has an effect, or nothing is served.
#[tokio::test]
async fn a_gateway_that_cannot_record_what_was_changed_does_not_start() {
    use caxton::server::{Gateway, StartError};
    let directory = tempfile::tempdir().unwrap();
    let settings = || support::settings(directory.path().join("data"));
    Gateway::start(settings()).await.unwrap().drain().await;
    let keys = caxton::authn::KeyStore::open(&settings().authn.api_keys).unwrap();
    for number in 0..100 {
        keys.note("revoke_key", &format!("key `{number}`"), 0).unwrap();
    }
    let mut late = settings();
    // No disk is as fast as this.
    late.audit.durability = caxton::audit::Durability::Synced;
    late.audit.deadline = std::time::Duration::from_nanos(1);
    let refused = Gateway::start(late).await.err();
    assert!(matches!(refused, Some(StartError::Unrecorded)), "{refused:?}");
    Gateway::start(settings()).await.unwrap().drain().await;
    let log = std::fs::read_to_string(directory.path().join("data/audit.log")).unwrap();
    assert!((0..100).all(|number| log.contains(&format!("key `{number}`"))));
}

/// A person's token in the hands of another: what acts is seen by policies and stands in the log, also when an agent acts in turn.
#[tokio::test]
async fn policies_and_the_log_see_who_acts_for_a_person() {
    let policy = r#"@id("own.delegates")
forbid (principal, action in [Caxton::Action::"tool:call", Caxton::Action::"agent:list"], resource)
when { context has delegation && !context.delegation.contains({ principal: "https://login.example|assistant", kind: "user", depth: 1 }) };
"#;
    let world = World::with(|settings, directory| {
        let policies = directory.join("policies");
        std::fs::create_dir(&policies).unwrap();
        crate::support::write(&policies.join("own.cedar"), policy);
        (settings.policy_dir, settings.extend_shipped) = (Some(policies), true);
        settings.authn.jwt.as_mut().unwrap().delegated = true;
    })
    .await;
    let with = |act: Json| world.person_with("vera", &json!({ "roles": ["admin"], "act": act }));
    let assistant = with(json!({ "sub": "assistant", "act": { "sub": "planner" } }));
    // Who acted before is for the record only (RFC 8693, section 4.1).
    let planner = with(json!({ "sub": "planner", "act": { "sub": "assistant" } }));
    for (who, status) in [
        (&world.person("vera", &["admin"]), StatusCode::OK),
        (&assistant, StatusCode::OK),
        (&planner, StatusCode::FORBIDDEN),
        (&with(json!({})), StatusCode::UNAUTHORIZED),
    ] {
        assert_eq!(world.get(who, "/v1/agents").await.status, status);
    }
    let records = world.records();
    let lists: Vec<_> = records.iter().filter(|record| record["action"] == "agent:list").collect();
    assert!(lists[0].get("delegation").is_none() && lists[0]["context"].get("delegation").is_none());
    let names =
        ["assistant", "planner"].map(|name| format!("Caxton::User::\"https://login.example|{name}\""));
    let delegated: Vec<_> = lists.iter().filter(|record| record.get("delegation").is_some()).collect();
    assert_eq!(delegated[0]["delegation"], json!(names));
    let parties = delegated[0]["context"]["delegation"].as_array().unwrap();
    assert_eq!(parties.len(), 2, "{parties:?}");
    let acts = json!({ "principal": "https://login.example|assistant", "kind": "user", "depth": 1 });
    assert!(parties.contains(&acts), "{parties:?}");
    let refused = delegated.iter().find(|record| record["outcome"] != "allow").unwrap();
    assert_eq!(refused["policies"][0]["id"], "own.delegates");

    let ask = json!({ "content": "count rows: city,people\nDelft,1\nLeiden,2" });
    let answer = world.post(&assistant, "/v1/capabilities/desk/messages", &ask).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let records = world.records();
    let call = records.iter().find(|record| record["action"] == "builtin___csv_parser").unwrap();
    assert_eq!(call["subject"]["principal"], "Caxton::Agent::\"clerk\"");
    assert_eq!(call["delegation"], json!(names), "{call}");
    world.stop().await;
}

#[tokio::test]
async fn a_delegated_token_is_refused_unless_the_operator_says_otherwise() {
    let world = World::new().await;
    let claims = json!({ "roles": ["admin"], "act": { "sub": "assistant" } });
    let answer = world.get(&world.person_with("vera", &claims), "/v1/agents").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    world.stop().await;
}

/// A token as the guides make one: a shared secret, `sub` and `permissions`, and nothing that says where it is from and for.
#[tokio::test]
async fn a_token_of_the_guides_is_refused_with_a_reason_of_its_own() {
    const SHARED: &str = "a shared secret that is long enough to sign with";
    let world = World::with(|settings, _| {
        settings.authn.jwt = Some(jwt::Settings {
            keys: vec![jwt::JwtKey {
                name: "shared".into(),
                algorithm: jwt::JwtAlgorithm::Hs256,
                material: jwt::KeyMaterial::Secret(Secret::new(SHARED.into())),
                kid: None,
            }],
            issuer: "caxton-auth".into(),
            audience: "caxton-api".into(),
            ..Default::default()
        });
    })
    .await;
    let ends = SystemClock.now_seconds() + 3_600;
    let sample = json!({ "sub": "user-123", "permissions": ["agent:list", "agent:read"], "exp": ends });
    let with = |more: Json| {
        let mut claims = sample.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let part = |json: &Json| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", part(&json!({ "alg": "HS256", "typ": "JWT" })), part(&claims));
        let key = hmac::Key::new(hmac::HMAC_SHA256, SHARED.as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()));
        Credential::Token(format!("{input}.{signature}"))
    };
    for (more, expected) in [
        (json!({}), "jwt: issuer_missing"),
        (json!({ "iss": "caxton-auth" }), "jwt: audience_missing"),
        (json!({ "iss": "other" }), "jwt: wrong_issuer"),
        (json!({ "iss": "caxton-auth", "aud": ["other"] }), "jwt: wrong_audience"),
    ] {
        let answer = world.get(&with(more), "/v1/agents").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        // The caller learns no more than before.
        assert_eq!(answer.json()["detail"], "the credentials are not valid");
        let told = told(&world).pop().unwrap();
        assert!(told.ends_with(expected), "{told} is not {expected}");
    }
    let good = with(json!({ "iss": "caxton-auth", "aud": "caxton-api" }));
    assert_eq!(world.get(&good, "/v1/agents").await.status, StatusCode::OK);
    world.stop().await;
}
