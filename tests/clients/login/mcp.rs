//! Whoever is refused finds out where to get in (RFC 9728), and a real MCP client does so by itself, up to a tool call.

use std::process::Stdio;

use caxton::authn::jwt::{JwksPlace, JwksUrl, JwtAlgorithm, Settings as Jwt};
use caxton::server::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::house::{House, healthy};
use crate::support::child::LIMIT;
use crate::support::{Credential, World, send};

/// Tokens of the provider for this gateway, under its own name.
fn accept_tokens(settings: &mut Settings, issuer: &str) {
    let keys = JwksUrl::new(format!("{issuer}/jwks").parse().unwrap());
    settings.authn.jwt = Some(Jwt {
        jwks: Some((JwtAlgorithm::Rs256, JwksPlace::Url(keys))),
        issuer: issuer.into(),
        ..Jwt::default()
    });
    settings.api.public_url = Some(format!("http://{}/", settings.listen));
    settings.api.resource_scopes = vec!["caxton:access".to_owned()];
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mcp_client_finds_the_provider_by_itself_and_calls_a_tool() {
    let Some(house) = House::with(accept_tokens).await else { return };
    healthy(&house.world, "jwt").await;
    let url = house.world.url("/mcp");
    let plan = json!({
        "url": url, "person": "dora", "tool": "builtin___csv_parser", "arguments": { "text": "a,b\n1,2\n" },
    });
    let mut client = Command::new("node")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/oauth-client.mjs"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    client.stdin.take().unwrap().write_all(plan.to_string().as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, client.wait_with_output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let seen: Json = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(seen["resource"], url, "asked for a token for this endpoint and no other");
    assert_eq!(seen["scope"], "caxton:access");
    assert_eq!(seen["issuer"], house.provider.issuer);
    assert!(seen["tools"].as_array().unwrap().contains(&json!("builtin___csv_parser")), "{seen}");
    assert_ne!(seen["result"]["isError"], true, "{seen}");
    let records = house.world.records();
    let call = records.iter().rfind(|record| record["event_type"] == "tool_call").unwrap();
    assert_eq!(call["subject"]["principal"], format!("Caxton::User::\"{}|dora\"", house.provider.issuer));
    assert_eq!((&call["subject"]["method"], &call["outcome"]), (&json!("jwt"), &json!("allow")));
}

#[tokio::test]
async fn a_refusal_says_where_to_get_in_by_the_configured_name_only() {
    let world = World::with(|settings, _| {
        settings.api.public_url = Some("https://gateway.example/".to_owned());
        settings.api.resource_scopes = vec!["caxton:access".to_owned(), "offline_access".to_owned()];
    })
    .await;
    let challenge = async |credential: &Credential, path: &str| {
        let request = world.request(credential, Method::GET, path).header("x-forwarded-host", "evil.example");
        let answer = send(request.header("forwarded", "host=evil.example")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        answer.headers["www-authenticate"].to_str().unwrap().to_owned()
    };
    let (root, scope) =
        ("https://gateway.example/.well-known/oauth-protected-resource", "caxton:access offline_access");
    let nothing = challenge(&Credential::Nothing, "/v1/agents").await;
    assert_eq!(nothing, format!("Bearer realm=\"caxton\", resource_metadata=\"{root}\", scope=\"{scope}\""));
    let bad = challenge(&Credential::Token("a.b.c".into()), "/mcp").await;
    assert_eq!(
        bad,
        format!(
            "Bearer realm=\"caxton\", error=\"invalid_token\", error_description=\"the credentials are not valid\", resource_metadata=\"{root}/mcp\", scope=\"{scope}\""
        )
    );
    for (path, resource) in [("", "https://gateway.example"), ("/mcp", "https://gateway.example/mcp")] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        let answer = world.get(&Credential::Nothing, &path).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(
            answer.json(),
            json!({
                "resource": resource, "authorization_servers": ["https://login.example"], "resource_name": "Caxton",
                "bearer_methods_supported": ["header"], "scopes_supported": ["caxton:access", "offline_access"],
            })
        );
    }
    world.stop().await;
    // Who has not said its name has none to tell: the one that the caller used is not believed.
    let world = World::new().await;
    let plain = world.get(&Credential::Nothing, "/v1/agents").await;
    assert_eq!(plain.headers["www-authenticate"], "Bearer realm=\"caxton\"");
    let none = world.get(&Credential::Nothing, "/.well-known/oauth-protected-resource").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND, "{none:?}");
}

/// A token for another resource of the same issuer is not for this one (RFC 8707).
#[tokio::test]
async fn the_audience_is_the_resource_that_the_metadata_names() {
    use caxton::authn::issue::TokenIssuer;
    use caxton::authn::jwt::{JwtKey, KeyMaterial};
    let clock: caxton::clock::SharedClock = std::sync::Arc::new(caxton::clock::SystemClock);
    for (audience, status) in [
        ("https://gateway.example", 200),
        ("https://gateway.example/", 200),
        ("https://gateway.example/mcp", 200),
        ("caxton-api", 200),
        ("https://gateway.example/mcp/", 401),
        ("https://gateway.example.evil", 401),
        ("https://other.example/mcp", 401),
    ] {
        let issuer =
            TokenIssuer::generate("https://login.example", audience, std::sync::Arc::clone(&clock)).unwrap();
        let pem = issuer.public_pem().unwrap();
        let world = World::with(|settings, _| {
            let jwt = settings.authn.jwt.as_mut().unwrap();
            jwt.keys = vec![JwtKey {
                name: "own".into(),
                algorithm: JwtAlgorithm::EdDsa,
                material: KeyMaterial::Pem(pem),
                kid: None,
            }];
            settings.api.public_url = Some("https://gateway.example/".to_owned());
        })
        .await;
        let claims = json!({ "roles": ["viewer"] });
        let text =
            issuer.issue("vera", std::time::Duration::from_secs(60), claims.as_object().unwrap().clone());
        let answer = world.get(&Credential::Token(text.expose().clone()), "/v1/agents").await;
        assert_eq!(answer.status.as_u16(), status, "{audience}: {answer:?}");
        world.stop().await;
    }
}
