//! A body in a content coding (`Content-Encoding: gzip`) is answered with 415 at every route that takes a body: it is never
//! decoded, so it cannot grow past a bound, and it is never read as what it is not.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use crate::support::{Credential, World, send};
use caxton::model::ServerName;
use caxton::tools::{ServerSettings, Transport};
use reqwest::{Method, StatusCode};
use serde_json::Value as Json;

/// `{}` by `gzip -n`.
const GZIP: &[u8] =
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";

/// A path in which every part that is left open has a value that exists.
fn filled(template: &str) -> String {
    [
        ("/servers/{name}", "/servers/desk"),
        ("/v1/connections/{server}", "/v1/connections/desk"),
        ("/v1/connect/{server}", "/v1/connect/desk"),
        ("/v1/capabilities/{name}", "/v1/capabilities/research"),
        ("{server}/{tool}", "builtin/csv_parser"),
        ("{scope}", "workspace:lab"),
        ("{type}", "Group"),
        ("{id}", "staff"),
    ]
    .into_iter()
    .fold(template.to_owned(), |path, (open, value)| path.replace(open, value))
}

/// The routes that take a body, as the gateway says itself.
async fn routes(world: &World) -> Vec<(Method, String)> {
    let document = world.get(&Credential::Nothing, "/openapi.json").await.json();
    let takes = |operation: &Json| operation["requestBody"].is_object();
    let of_path = |(path, operations): (&String, &Json)| {
        let taking = operations.as_object().unwrap().iter().filter(|(_, operation)| takes(operation));
        let method = |name: &str| name.to_uppercase().parse::<Method>().unwrap();
        taking.map(|(name, _)| (method(name), filled(path))).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

#[tokio::test]
async fn a_coded_body_is_read_at_no_route() {
    let world = World::with(|settings, _| {
        let url = "http://127.0.0.1:1/mcp".parse().unwrap();
        let transport = Transport::Http { url, headers: Vec::new() };
        settings.tools.servers = vec![ServerSettings::new(ServerName::parse("desk").unwrap(), transport)];
    })
    .await;
    let root = world.person("root", &["admin"]);
    let routes = routes(&world).await;
    assert!(routes.len() >= 20, "{routes:?}");
    assert!(routes.iter().any(|(_, path)| path == "/mcp"), "{routes:?}");
    for (method, path) in &routes {
        assert!(!path.contains('{'), "{path}: say what stands for the open part");
        // Here the credential is in the body.
        let who = if path == "/v1/auth/refresh" { &Credential::Nothing } else { &root };
        for coding in ["gzip", "GZIP", "br", "deflate", "identity, gzip", "gzip, identity", "x-unknown"] {
            let request = world.request(who, method.clone(), path).header("content-type", "application/json");
            let answer = send(request.header("content-encoding", coding).body(GZIP)).await;
            let what = format!("{method} {path} {coding}: {answer:?}");
            assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{what}");
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
            assert_eq!(answer.headers["accept-encoding"], "identity", "{what}");
            assert_eq!(answer.json()["type"], "urn:caxton:problem:media-type", "{what}");
            assert!(answer.json()["detail"].as_str().unwrap().contains("Content-Encoding"), "{what}");
        }
        // A body that says that it is not coded is read.
        let request = world.request(who, method.clone(), path).header("content-type", "application/json");
        let answer = send(request.header("content-encoding", "identity").body("{}")).await;
        assert_ne!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{method} {path}: {answer:?}");
    }
    world.stop().await;
}
