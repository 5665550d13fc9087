//! `/openapi.json`: every route is in it, nothing else is, and what it says of the answers is so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Answer, Credential, World, send};
use caxton::api::{Access, Endpoint, document, endpoints};
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

fn described() -> Json {
    serde_json::from_str(&document().to_json().unwrap()).unwrap()
}

/// `METHOD path` of every operation.
fn operations(document: &Json) -> BTreeMap<String, Json> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| {
        let each = item.as_object().unwrap().iter();
        each.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
    });
    all.collect()
}

fn on_the_api_port(endpoint: &Endpoint) -> bool {
    !["/healthz", "/readyz", "/metrics"].contains(&endpoint.path)
}

/// As it is described: a part that is the whole rest of the path is one like any other.
fn name(endpoint: &Endpoint) -> String {
    format!("{} {}", endpoint.method, endpoint.path.replace("{*", "{"))
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = described();
    let operations = operations(&document);
    let routes: BTreeSet<String> = endpoints().iter().filter(|one| on_the_api_port(one)).map(name).collect();
    assert_eq!(operations.keys().cloned().collect::<BTreeSet<_>>(), routes);
    let ids: BTreeSet<&str> = operations.values().map(|one| one["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), routes.len(), "each has an id of its own");
}

#[test]
fn what_needs_credentials_says_so_and_how_it_fails() {
    let document = described();
    let operations = operations(&document);
    let schemes: BTreeSet<&String> =
        document["components"]["securitySchemes"].as_object().unwrap().keys().collect();
    for endpoint in endpoints().iter().filter(|one| on_the_api_port(one)) {
        let name = name(endpoint);
        let operation = &operations[&name];
        // A browser is sent on with 303.
        let success = |status: &&String| status.starts_with('2') || *status == "303";
        let success = operation["responses"].as_object().unwrap().keys().filter(success);
        // A message of MCP that wants no answer is taken with 202.
        let is_mcp = endpoint.path.ends_with("/mcp") && endpoint.method == "POST";
        let ways = if is_mcp { 2 } else { 1 };
        assert_eq!(success.count(), ways, "{name}");
        let needed: BTreeSet<&String> = operation["security"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|way| way.as_object().unwrap().keys())
            .collect();
        match endpoint.access {
            Access::Open(_) => assert!(needed.is_empty(), "{name}"),
            Access::Proven(_) => assert_eq!(needed, schemes, "{name}"),
            Access::Action(action) => {
                let problem =
                    &operation["responses"]["default"]["content"]["application/problem+json"]["schema"];
                assert_eq!(problem["$ref"], "#/components/schemas/Problem", "{name}");
                assert_eq!(operation["summary"], action.as_str());
                // The refresh token is in the body, the answer of the provider in the query.
                let elsewhere =
                    ["/v1/auth/refresh", "/v1/auth/oauth2/callback", "/v1/connect/{server}/callback"]
                        .contains(&endpoint.path);
                let wanted = if elsewhere { BTreeSet::new() } else { schemes.clone() };
                assert_eq!(needed, wanted, "{name}");
            }
        }
        let holes = endpoint.path.matches('{').count();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        assert_eq!(parameters.iter().filter(|one| one["in"] == "path").count(), holes, "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn visit(value: &Json, document: &Json) {
        match value {
            Json::Object(members) => {
                if let Some(Json::String(place)) = members.get("$ref") {
                    let found = document.pointer(place.strip_prefix('#').unwrap());
                    assert!(found.is_some_and(Json::is_object), "{place}");
                }
                members.values().for_each(|member| visit(member, document));
            }
            Json::Array(items) => items.iter().for_each(|item| visit(item, document)),
            _ => {}
        }
    }
    let document = described();
    visit(&document, &document);
}

/// Whether the answer is as the description says.
fn check(document: &Json, operation: &str, answer: &Answer) {
    let responses = &operations(document)[operation]["responses"];
    let status = answer.status.as_u16().to_string();
    let (response, kind) = match responses.get(&status) {
        Some(response) => (response, "application/json"),
        None => (&responses["default"], "application/problem+json"),
    };
    let said = answer.headers["content-type"].to_str().unwrap();
    // MCP tells its own errors in its own form.
    let kind = if operation.ends_with("/mcp") { said } else { kind };
    assert_eq!(said, kind, "{operation}");
    assert!(response["content"].get(kind).is_some(), "{operation}: {kind}");
    let schema =
        json!({ "$ref": response["content"][kind]["schema"]["$ref"], "components": document["components"] });
    let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap();
    let body = answer.json();
    let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{operation}: {errors:?}: {body}");
}

#[tokio::test]
async fn answers_are_as_described() {
    let world = World::new().await;
    let served = world.get(&Credential::Nothing, "/openapi.json").await;
    assert_eq!(served.status, StatusCode::OK);
    let document = served.json();
    assert_eq!(document, described());
    check(&document, "GET /openapi.json", &served);
    let root = world.person("root", &["admin"]);
    for path in [
        "/v1/agents",
        "/v1/capabilities",
        "/v1/tools",
        "/v1/entities",
        "/v1/auth/roles",
        "/v1/auth/keys",
        "/v1/auth/status",
        "/v1/policies",
        "/v1/audit/events",
        "/.well-known/authzen-configuration",
        "/.well-known/jwks.json",
    ] {
        let answer = world.get(&root, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        check(&document, &format!("GET {path}"), &answer);
    }
    let agent = world.get(&root, "/v1/agents/clerk").await;
    check(&document, "GET /v1/agents/{id}", &agent);
    check(&document, "GET /v1/agents/{id}", &world.get(&Credential::Nothing, "/v1/agents/clerk").await);
    let key = world.service("ci", &["message:send", "agent:read"]);
    let pair = world.post(&key, "/v1/auth/token", &json!({})).await;
    check(&document, "POST /v1/auth/token", &pair);
    let body = json!({ "refresh_token": pair.json()["refresh_token"] });
    check(
        &document,
        "POST /v1/auth/refresh",
        &world.post(&Credential::Nothing, "/v1/auth/refresh", &body).await,
    );
    let message = json!({ "receiver": "clerk", "content": "hi" });
    check(&document, "POST /v1/messages", &world.post(&root, "/v1/messages", &message).await);
    let made = world.post(&root, "/v1/auth/keys", &json!({ "name": "x" })).await;
    check(&document, "POST /v1/auth/keys", &made);
    let party = json!({ "type": "Caxton::Agent", "id": "clerk" });
    let question = json!({ "subject": party, "action": { "name": "agent:read" }, "resource": party });
    for path in ["/access/v1/evaluation", "/access/v1/evaluations"] {
        check(&document, &format!("POST {path}"), &world.post(&root, path, &question).await);
    }
    // Before the protocol is spoken, its library says what is wrong in a text of its own.
    for (accepted, status) in [
        ("application/json, text/event-stream", StatusCode::BAD_REQUEST),
        ("text/html", StatusCode::NOT_ACCEPTABLE),
    ] {
        let request = world.request(&root, reqwest::Method::POST, "/mcp").json(&json!({}));
        // Takes the place of what the request had.
        let accept = [(reqwest::header::ACCEPT, accepted.parse().unwrap())];
        let mcp = send(request.headers(accept.into_iter().collect())).await;
        assert_eq!(mcp.status, status, "{mcp:?}");
        check(&document, "POST /mcp", &mcp);
    }
    check(&document, "POST /mcp", &world.get(&root, "/mcp").await);
    let role = json!({ "user": "alice", "role": "viewer" });
    check(&document, "POST /v1/auth/roles", &world.post(&root, "/v1/auth/roles", &role).await);
    let asked = json!({ "user": "alice", "permission": "agent:read" });
    check(&document, "POST /v1/auth/check", &world.post(&root, "/v1/auth/check", &asked).await);
    world.stop().await;
}
