//! Bad input over the wire: every request is answered clearly or cut off, and the gateway goes on.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use crate::support;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::{Answer, Credential, PATIENCE, World, send, write};
use caxton::agents::Register;
use caxton::audit::verify::verify;
use caxton::sandbox::Sandbox;
use caxton::server::{Gateway, ReloadOutcome, Settings, StartError};
use caxton::telemetry::Metrics;
use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest body of these gateways.
const BODY: usize = 256 * 1024;
const WORDS: [&str; 9] = [
    "agent:list",
    "agent:read",
    "audit:read",
    "message:send",
    "memory:read",
    "memory:write",
    "policy:test",
    "tool:call",
    "tool:list",
];
const ENTITIES: &str = "/v1/memory/workspace:lab/entities";

async fn world() -> World {
    World::with(|settings, _| bounds(settings)).await
}

fn bounds(settings: &mut Settings) {
    settings.api.max_body_bytes = BODY;
}

/// Somebody who may do nearly everything, so that nothing but the input stands in the way.
fn caller(world: &World) -> Credential {
    world.service("program", &WORDS)
}

/// Our own refusal: a problem with a detail that says what is wrong.
fn assert_problem(what: &str, answer: &Answer, status: StatusCode, detail: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let kind = answer.headers["content-type"].to_str().unwrap();
    if status == StatusCode::BAD_REQUEST && kind == "application/json" {
        return assert_rpc_error(what, answer, detail);
    }
    assert_eq!(kind, "application/problem+json", "{what}: {answer:?}");
    let problem = answer.json();
    assert_eq!(problem["status"], status.as_u16(), "{what}: {problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("urn:caxton:problem:"), "{what}: {problem}");
    let found = problem["detail"].as_str().unwrap();
    assert!(found.contains(detail), "{what}: `{found}` does not say `{detail}`");
    assert!(!found.contains(char::is_control), "{what}: {problem}");
}

/// What MCP says of a body that is no message: an error of JSON-RPC without an id, and nothing else.
fn assert_rpc_error(what: &str, answer: &Answer, detail: &str) {
    let message = answer.json();
    assert!(message["id"].is_null() && message.get("result").is_none(), "{what}: {message}");
    assert!([-32700, -32600].map(Json::from).contains(&message["error"]["code"]), "{what}: {message}");
    let found = message["error"]["message"].as_str().unwrap();
    assert!(found.contains(detail), "{what}: `{found}` does not say `{detail}`");
    assert!(!found.contains(char::is_control), "{what}: {message}");
}

/// The gateway answers, and its log is as it wrote it.
async fn assert_sound(world: World, who: &Credential) {
    let answer = world.get(who, "/v1/agents").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json()["agents"].as_array().unwrap().len(), 2, "{answer:?}");
    let log = world.log();
    let _directory = world.stop().await;
    let report = verify(&log).unwrap();
    assert!(report.records > 0 && report.torn_tail == 0, "{report:?}");
}

async fn post_bytes(world: &World, who: &Credential, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    send(world.request(who, Method::POST, path).header("content-type", kind).body(body)).await
}

/// Sends bytes as they are; the status and the whole answer, which is empty when the connection just ends.
async fn raw(world: &World, bytes: &[u8]) -> (u16, String) {
    raw_on(TcpStream::connect(world.gateway.address()).await.unwrap(), bytes).await
}

async fn raw_on(mut stream: TcpStream, bytes: &[u8]) -> (u16, String) {
    // A gateway that has already refused may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut chunk = [0_u8; 8192];
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            answer.extend_from_slice(&chunk[..length]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the connection hangs");
    let text = String::from_utf8(answer).unwrap();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, text)
}

/// The lines that prove the caller.
fn proof(who: &Credential) -> String {
    match who {
        Credential::Key(key) => format!("host: 127.0.0.1\r\nx-api-key: {key}\r\nconnection: close\r\n"),
        _ => unreachable!("programs have keys"),
    }
}

fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata").join(path);
    if !path.exists() {
        eprintln!("skipped: the shared test data is not here");
        return None;
    }
    Some(path)
}

fn nested(depth: usize) -> String {
    format!("{{\"words\":{}1{}}}", "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn bodies_that_are_not_json_are_refused() {
    let world = world().await;
    let who = caller(&world);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", b"".to_vec(), "EOF"),
        ("malformed", b"{name: \"x\"}".to_vec(), "key must be a string at line 1 column 2"),
        ("single quotes", b"{'name':'x'}".to_vec(), "key must be a string"),
        ("truncated", b"{\"name\":\"x\",\"kin".to_vec(), "EOF while parsing a string"),
        ("trailing comma", b"{\"name\":\"x\",}".to_vec(), "trailing comma"),
        ("two documents", b"{\"name\":\"x\"}{\"name\":\"y\"}".to_vec(), "trailing characters"),
        ("a comment", b"{\"name\":\"x\"/*y*/}".to_vec(), "expected `,` or `}`"),
        ("a key twice", b"{\"name\":\"x\",\"name\":\"y\"}".to_vec(), "the key `name` stands twice"),
        (
            "a key twice in two spellings",
            b"{\"name\":\"x\",\"\\u006eame\":\"y\"}".to_vec(),
            "the key `name` stands twice",
        ),
        (
            "a key twice, nested",
            b"{\"arguments\":{\"a\":[{\"b\":1,\"b\":2}]}}".to_vec(),
            "the key `b` stands twice at line 1 column 29",
        ),
        ("too deep", nested(64).into_bytes(), "nested deeper than 64 levels"),
        ("far too deep", nested(50_000).into_bytes(), "nested deeper than 64 levels"),
        ("not UTF-8", b"{\"name\":\"\xff\xfe\"}".to_vec(), "invalid unicode code point"),
        ("overlong UTF-8", b"{\"name\":\"\xc0\xaf\"}".to_vec(), "invalid unicode code point"),
        ("half a surrogate", b"{\"name\":\"\\ud800\"}".to_vec(), "hex escape"),
        ("UTF-16", b"\xff\xfe{\x00}\x00".to_vec(), "expected value at line 1 column 1"),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec(), "expected value at line 1 column 1"),
        ("a NUL byte", b"\x00".to_vec(), "expected value at line 1 column 1"),
        ("a NUL byte in a string", b"{\"name\":\"a\x00b\"}".to_vec(), "control character"),
        ("a NUL byte at the end", b"{}\x00".to_vec(), "trailing characters"),
        ("a line end in a string", b"{\"name\":\"a\nb\"}".to_vec(), "control character"),
        ("not a number", b"{\"limit\":NaN}".to_vec(), "expected value"),
        ("a number without bounds", b"{\"limit\":1e999}".to_vec(), "number out of range"),
    ];
    for path in
        [ENTITIES, "/v1/messages", "/v1/tools/builtin/csv_parser/call", "/access/v1/evaluation", "/mcp"]
    {
        for (what, body, detail) in &cases {
            let answer = post_bytes(&world, &who, path, "application/json", body.clone()).await;
            assert_problem(&format!("{path}, {what}"), &answer, StatusCode::BAD_REQUEST, detail);
        }
        // AuthZEN wants 400 for every body that is no request.
        let unsupported = match path.starts_with("/access/") {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        for kind in
            ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
        {
            let answer = post_bytes(&world, &who, path, kind, b"{}".to_vec()).await;
            assert_problem(path, &answer, unsupported, "application/json");
        }
        let answer = send(world.request(&who, Method::POST, path)).await;
        assert_problem(path, &answer, unsupported, "application/json");
    }
    // The deepest that is allowed is read.
    let answer = post_bytes(&world, &who, ENTITIES, "application/json", nested(63).into_bytes()).await;
    assert_problem("just deep enough", &answer, StatusCode::UNPROCESSABLE_ENTITY, "unknown field `words`");
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn json_of_the_wrong_shape_is_refused() {
    let world = world().await;
    let who = caller(&world);
    let good = json!({ "name": "Delft", "kind": "city" });
    let with = |field: &str, value: Json| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (body, detail) in [
        (json!([]), "expected an object"),
        (json!(["Delft", "city"]), "expected an object"),
        (json!("Delft"), "expected an object"),
        (json!(null), "expected an object"),
        (json!({}), "missing field `name`"),
        (json!({ "name": "Delft" }), "missing field `kind`"),
        (with("colour", json!("blue")), "unknown field `colour`"),
        (with("owner", json!("somebody else")), "unknown field `owner`"),
        (with("name", json!(7)), "expected a string"),
        (with("name", json!(null)), "expected a string"),
        (with("name", json!("")), "name"),
        (with("observations", json!("one")), "expected a sequence"),
        (with("observations", json!([{}])), "expected a string"),
        (with("labels", json!({})), "expected a sequence"),
    ] {
        let answer = world.post(&who, ENTITIES, &body).await;
        assert_problem(&body.to_string(), &answer, StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    for (body, detail) in [
        (json!({ "content": "x" }), "either a `capability` or a `receiver`"),
        (json!({ "content": "x", "capability": "desk", "receiver": "clerk" }), "either"),
        (json!({ "content": "x", "capability": "desk", "sender": "root" }), "unknown field `sender`"),
        (json!({ "content": ["x"], "capability": "desk" }), "expected a string"),
        (json!({ "content": "x", "capability": "de\u{0}sk" }), "capability has the character '\\0'"),
        (json!({ "content": "x", "receiver": "../clerk" }), "agent id has the character '/'"),
        (json!({ "content": "x", "receiver": "x".repeat(129) }), "at most 128 are allowed"),
        (json!({ "content": "x", "capability": "desk", "performative": "command" }), "unknown variant"),
        (json!({ "content": "x", "capability": "desk", "conversation_id": "a\r\nb" }), "conversation id"),
    ] {
        let answer = world.post(&who, "/v1/messages", &body).await;
        assert_problem(&body.to_string(), &answer, StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    for (body, detail) in [
        (json!({ "arguments": [] }), "expected a map"),
        (json!({ "arguments": "text" }), "expected a map"),
        (json!({ "args": {} }), "unknown field `args`"),
        (json!({ "arguments": {} }), "text"),
        (json!({ "arguments": { "text": 7 } }), "text"),
        (json!({ "arguments": { "text": "a", "rows": 1 } }), "rows"),
    ] {
        let answer = world.post(&who, "/v1/tools/builtin/csv_parser/call", &body).await;
        assert_problem(&body.to_string(), &answer, StatusCode::UNPROCESSABLE_ENTITY, detail);
    }
    for (path, detail) in [
        ("/v1/audit/events?limit=-1", "invalid digit"),
        ("/v1/audit/events?limit=1&limit=2", "duplicate field `limit`"),
        ("/v1/audit/events?colour=red", "unknown field `colour`"),
        ("/v1/memory/global/entities?limit=99999999999999", "number too large"),
    ] {
        assert_problem(path, &world.get(&who, path).await, StatusCode::BAD_REQUEST, detail);
    }
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused_before_they_are_read() {
    let world = world().await;
    let who = caller(&world);
    let proof = proof(&who);
    for path in [ENTITIES, "/access/v1/evaluations", "/mcp"] {
        let body = json!({ "name": "x".repeat(BODY) }).to_string().into_bytes();
        let answer = post_bytes(&world, &who, path, "application/json", body).await;
        assert_problem(path, &answer, StatusCode::PAYLOAD_TOO_LARGE, "at most 262144 bytes are accepted");

        let head =
            format!("POST {path} HTTP/1.1\r\n{proof}accept: */*\r\ncontent-type: application/json\r\n");
        // A length that is only announced: nothing of the body is waited for.
        let (status, text) = raw(&world, format!("{head}content-length: 999999999\r\n\r\n").as_bytes()).await;
        assert_eq!(status, 413, "{path}: {text}");
        assert!(text.contains("at most 262144 bytes are accepted"), "{text}");
        // No length at all, and no end.
        let chunk = "x".repeat(BODY + 1);
        let request = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{chunk}", BODY + 1_000);
        let (status, text) = raw(&world, request.as_bytes()).await;
        assert_eq!(status, 413, "{path}: {text}");
        assert!(text.contains("application/problem+json"), "{text}");
        // Chunks that are none.
        let request = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n");
        let (status, text) = raw(&world, request.as_bytes()).await;
        assert_eq!(status, 400, "{path}: {text}");
        // Exactly at the limit the body is read, and refused for what it says.
        let filler = " ".repeat(BODY - 2);
        let answer =
            post_bytes(&world, &who, path, "application/json", format!("{{{filler}}}").into_bytes()).await;
        assert!(
            answer.status != StatusCode::PAYLOAD_TOO_LARGE && answer.status.is_client_error(),
            "{answer:?}"
        );
    }
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn broken_http_is_refused_or_cut_off() {
    let world = world().await;
    let who = caller(&world);
    let proof = proof(&who);
    let get = |more: &str| format!("GET /v1/agents HTTP/1.1\r\n{proof}{more}\r\n").into_bytes();
    let (status, text) = raw(&world, &get("x-fine: 1\r\n")).await;
    assert_eq!(status, 200, "{text}");

    let huge = get(&format!("x-huge: {}\r\n", "h".repeat(64 * 1024)));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a huge header", huge, 431),
        ("too many headers", get(&many), 431),
        ("a NUL byte in a header", get("x-bad: a\0b\r\n"), 400),
        ("a space before the colon", get("x-bad : a\r\n"), 400),
        ("a folded header", get("x-bad: a\r\n b\r\n"), 400),
        ("a header without a name", get(": a\r\n"), 400),
        ("two lengths", get("content-length: 1\r\ncontent-length: 2\r\n"), 400),
        ("a length that is none", get("content-length: -1\r\n"), 400),
        ("a length of letters", get("content-length: ten\r\n"), 400),
        ("not HTTP", b"hello there\r\n\r\n".to_vec(), 400),
        ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400),
        ("a line end in the path", format!("GET /v1/\nagents HTTP/1.1\r\n{proof}\r\n").into_bytes(), 400),
        ("a control character in the path", format!("GET /v1/\u{1}x HTTP/1.1\r\n{proof}\r\n").into(), 400),
        ("a huge path", format!("GET /{} HTTP/1.1\r\n{proof}\r\n", "p".repeat(70_000)).into_bytes(), 431),
        ("an unknown version", format!("GET /v1/agents HTTP/9.9\r\n{proof}\r\n").into_bytes(), 400),
        ("another transfer coding", get("transfer-encoding: gzip\r\n"), 400),
    ];
    for (what, bytes, expected) in cases {
        let (status, text) = raw(&world, &bytes).await;
        assert_eq!(status, expected, "{what}: {text}");
    }
    // A body that ends before its end: refused, or the connection just ends.
    let head = format!(
        "POST {ENTITIES} HTTP/1.1\r\n{proof}content-type: application/json\r\ncontent-length: 100\r\n\r\n"
    );
    let mut stream = TcpStream::connect(world.gateway.address()).await.unwrap();
    stream.write_all(format!("{head}{{\"name\":").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_sound(world, &who).await;
}

/// One MCP request as bytes, with these lines about its host.
fn call_mcp(target: &str, version: &str, hosts: &str, key: &str) -> Vec<u8> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    format!(
        "POST {target} HTTP/{version}\r\n{hosts}x-api-key: {key}\r\naccept: application/json, text/event-stream\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_request_is_for_one_host_or_is_refused() {
    let world = world().await;
    let who = caller(&world);
    let Credential::Key(key) = &who else { unreachable!("programs have keys") };
    let evil = "http://evil.example/mcp";
    let cases = [
        ("one host", "/mcp", "1.1", "host: localhost\r\n", 200),
        ("the same in the target", "http://localhost/mcp", "1.1", "host: LOCALHOST:80\r\n", 200),
        ("no host", "/mcp", "1.1", "", 400),
        ("no host, but in the target", "http://localhost/mcp", "1.1", "", 400),
        ("two hosts", "/mcp", "1.1", "host: localhost\r\nhost: evil.example\r\n", 400),
        ("one host twice", "/mcp", "1.1", "host: localhost\r\nhost: localhost\r\n", 400),
        ("two hosts in one", "/mcp", "1.1", "host: localhost, evil.example\r\n", 400),
        ("another host in the target", evil, "1.1", "host: localhost\r\n", 400),
        ("another host in the field", "http://localhost/mcp", "1.1", "host: evil.example\r\n", 400),
        ("a host behind a name", "/mcp", "1.1", "host: evil.example@localhost\r\n", 400),
        ("no name", "/mcp", "1.1", "host: \r\n", 400),
        ("another host in both", evil, "1.1", "host: evil.example\r\n", 403),
        ("another host, HTTP/1.0", evil, "1.0", "", 403),
        ("no host, HTTP/1.0", "/mcp", "1.0", "", 400),
    ];
    for (what, target, version, hosts, expected) in cases {
        let (status, text) = raw(&world, &call_mcp(target, version, hosts, key)).await;
        assert_eq!(status, expected, "{what}: {text}");
        if expected == 400 {
            assert!(text.contains("urn:caxton:problem:malformed"), "{what}: {text}");
        }
    }
    // Wherever it leads: a route, none, another method, and what needs no credentials.
    for line in ["GET /v1/agents", "GET /nothing", "PUT /v1/agents", "GET /openapi.json", "OPTIONS *"] {
        let request = format!("{line} HTTP/1.1\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
        let (status, text) = raw(&world, request.as_bytes()).await;
        assert_eq!(status, 400, "{line}: {text}");
        assert!(text.contains("`Host` field is missing") && text.contains("x-request-id"), "{line}: {text}");
    }
    let probe = TcpStream::connect(world.gateway.operations()).await.unwrap();
    let (status, _) = raw_on(probe, b"GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert_eq!(status, 400);
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn the_authority_of_http_2_and_its_host_field_are_the_same() {
    let world = world().await;
    let who = caller(&world);
    let Credential::Key(key) = &who else { unreachable!("programs have keys") };
    let stream = TcpStream::connect(world.gateway.address()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driving = tokio::spawn(connection);
    let port = world.gateway.address().port();
    for (authority, host, expected) in [
        (format!("localhost:{port}"), None, 200),
        (format!("localhost:{port}"), Some(format!("localhost:{port}")), 200),
        ("evil.example".to_owned(), None, 403),
        ("evil.example".to_owned(), Some("localhost".to_owned()), 400),
        ("localhost".to_owned(), Some("evil.example".to_owned()), 400),
        ("localhost".to_owned(), Some(format!("localhost:{port}")), 400),
    ] {
        let mut request = axum::http::Request::post(format!("http://{authority}/mcp"))
            .header("x-api-key", key)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json");
        if let Some(host) = &host {
            request = request.header("host", host);
        }
        let mut ready = client.clone().ready().await.unwrap();
        let (answer, mut body) = ready.send_request(request.body(()).unwrap(), false).unwrap();
        let message = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        // The gateway may have refused already.
        let _ = body.send_data(message.into(), true);
        let status = answer.await.unwrap().status();
        assert_eq!(status.as_u16(), expected, "{authority} {host:?}");
    }
    drop(client);
    driving.abort();
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn hostile_paths_and_methods_lead_nowhere() {
    let world = world().await;
    let who = caller(&world);
    let proof = proof(&who);
    // As a client would not send them: raw, so that nothing is put right on the way.
    let get = async |path: &str| raw(&world, format!("GET {path} HTTP/1.1\r\n{proof}\r\n").as_bytes()).await;
    for (path, expected, detail) in [
        ("/nowhere", 404, "there is nothing at this path"),
        ("/", 404, "there is nothing at this path"),
        ("//v1/agents", 404, "there is nothing at this path"),
        ("/v1/agents/", 404, "there is nothing at this path"),
        ("/V1/agents", 404, "there is nothing at this path"),
        ("/v1/../v1/agents", 404, "there is nothing at this path"),
        ("/v1/agents/../audit/events", 404, "there is nothing at this path"),
        ("/v1/%61gents", 404, "there is nothing at this path"),
        ("/metrics", 404, "there is nothing at this path"),
        ("/v1/agents/..", 404, "there is no agent of that id"),
        ("/v1/agents/%2e%2e", 404, "there is no agent of that id"),
        ("/v1/agents/..%2faudit", 400, "agent id has the character '/'"),
        ("/v1/agents/..%5caudit", 400, "agent id has the character"),
        ("/v1/agents/%00", 400, "agent id has the character"),
        ("/v1/agents/a%0d%0ab", 400, "agent id has the character"),
        ("/v1/agents/%e2%80%ae", 400, "agent id has the character"),
        ("/v1/agents/%zz", 400, "agent id has the character '%'"),
        ("/v1/agents/%", 400, "agent id has the character '%'"),
        ("/v1/agents/%252e", 400, "agent id has the character '%'"),
        ("/v1/agents/%ff", 400, "Invalid UTF-8"),
        ("/v1/agents/%c0%ae", 400, "Invalid UTF-8"),
        ("/v1/memory/global%2f..%2fagent:clerk/entities", 400, "scope"),
        ("/v1/memory/agent:..%2f/entities", 400, "agent id"),
        ("/v1/memory/global/entities/..%2f..%2fetc", 404, ""),
        ("/v1/conversations/..%2fc1", 400, "conversation id has the character"),
    ] {
        let (status, text) = get(path).await;
        assert_eq!(status, expected, "{path}: {text}");
        assert!(text.contains("content-type: application/problem+json"), "{path}: {text}");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        let problem: Json = serde_json::from_str(body).unwrap();
        let found = problem["detail"].as_str().unwrap();
        assert!(found.contains(detail) && !found.contains(char::is_control), "{path}: {found}");
    }
    for (method, path) in [
        ("BREW", "/v1/agents"),
        ("TRACE", "/v1/agents"),
        ("DELETE", "/v1/agents/clerk"),
        ("PUT", ENTITIES),
        ("GET", "/v1/messages"),
        ("GET", "/access/v1/evaluation"),
    ] {
        let answer = send(world.request(&who, Method::from_bytes(method.as_bytes()).unwrap(), path)).await;
        assert_problem(method, &answer, StatusCode::METHOD_NOT_ALLOWED, "method not allowed for this path");
    }
    for (server, tool, status, detail) in [
        ("builtin", "..%2f..%2fetc%2fpasswd", 403, "there is no such tool"),
        ("builtin", "a%0ab", 400, "tool id has the character"),
        ("builtin", "%e2%80%aex", 400, "tool id has the character"),
        ("..%2f", "csv_parser", 400, "server name has the character"),
        ("a___b", "csv_parser", 400, "server name has the character"),
    ] {
        let path = format!("/v1/tools/{server}/{tool}/call");
        let body = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        let (found, text) = raw(&world, format!("POST {path} HTTP/1.1\r\n{proof}{body}").as_bytes()).await;
        assert!(found == status && text.contains(detail), "{path}: {text}");
    }
    assert_sound(world, &who).await;
}

/// An answer of `/mcp` that refuses: a problem of ours, an error of the protocol, or a plain 4xx of its library.
fn assert_mcp_refusal(what: &str, answer: &Answer) {
    assert!(!answer.status.is_server_error(), "{what}: {answer:?}");
    if answer.status.is_success() {
        let message = answer.json();
        let refused = message["error"]["code"].is_i64() || message["result"]["isError"] == true;
        assert!(refused, "{what}: {answer:?}");
    }
    assert!(!answer.text.contains("panicked"), "{what}: {answer:?}");
}

#[tokio::test]
async fn hostile_mcp_requests_are_refused() {
    let world = world().await;
    let who = caller(&world);
    let rpc =
        |method: &str, params: Json| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let call =
        |name: &str, arguments: Json| rpc("tools/call", json!({ "name": name, "arguments": arguments }));
    let csv = "builtin___csv_parser";
    let good = json!({ "text": "a,b\n1,2\n" });
    let cases = vec![
        ("unknown method", rpc("tools/destroy", json!({}))),
        ("a method of the server", rpc("sampling/createMessage", json!({}))),
        ("an empty method", rpc("", json!({}))),
        ("a hidden method", rpc("tools/\u{202e}tsil", json!({}))),
        ("arguments as text", call(csv, json!("{\"text\":\"a\"}"))),
        ("arguments as a list", call(csv, json!([1]))),
        ("arguments as a number", call(csv, json!(7))),
        ("arguments of another type", call(csv, json!({ "text": ["a"] }))),
        ("arguments that are not known", call(csv, json!({ "text": "a", "path": "/etc/passwd" }))),
        ("control characters in the name", call("builtin___csv\u{0}\u{1b}[2J", good.clone())),
        ("a bidirectional name", call("builtin___\u{202e}resrap", good.clone())),
        ("a name that is a path", call("builtin___../../csv_parser", good.clone())),
        ("an empty name", call("", good.clone())),
        ("a huge name", call(&"x".repeat(10_000), good.clone())),
        ("no name", rpc("tools/call", json!({ "arguments": {} }))),
        ("a name that is none", rpc("tools/call", json!({ "name": 7 }))),
        ("no params", json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call" })),
        ("params as a list", rpc("tools/call", json!([csv, good]))),
        ("a batch", json!([call(csv, good.clone()), call(csv, good.clone())])),
        ("an empty batch", json!([])),
        ("jsonrpc 1.0", json!({ "jsonrpc": "1.0", "id": 1, "method": "tools/list" })),
        ("no jsonrpc", json!({ "id": 1, "method": "tools/list" })),
        ("an id that is an object", json!({ "jsonrpc": "2.0", "id": {}, "method": "tools/list" })),
        ("text", json!("tools/list")),
        ("nothing", json!(null)),
    ];
    let before = world.records().len();
    for (what, body) in &cases {
        let answer = world.post(&who, "/mcp", body).await;
        assert_mcp_refusal(what, &answer);
    }
    // None of them was let through, nor did any leave a record that says so.
    for record in world.records().iter().skip(before) {
        assert_ne!(record["outcome"], "allow", "{record}");
    }
    // A message of the other direction starts nothing.
    for body in [
        json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }),
    ] {
        let answer = world.post(&who, "/mcp", &body).await;
        assert!(!answer.status.is_server_error() && !answer.text.contains("\"tools\""), "{answer:?}");
    }

    for body in [
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"method\":\"tools/call\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"builtin___csv_parser\",\"arguments\":{\"text\":\"a\",\"text\":\"b\"}}}",
    ] {
        let answer = post_bytes(&world, &who, "/mcp", "application/json", body.into()).await;
        assert_problem(body, &answer, StatusCode::BAD_REQUEST, "stands twice");
    }
    for origin in ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost"] {
        for path in ["/mcp", ENTITIES] {
            let request = world.request(&who, Method::POST, path).header("origin", origin);
            let answer = send(request.json(&rpc("tools/list", json!({})))).await;
            assert_problem(origin, &answer, StatusCode::FORBIDDEN, "origin");
        }
    }
    // A name that was made to resolve to this host.
    let request = world.request(&who, Method::POST, "/mcp").header("host", "evil.example");
    let answer = send(request.json(&rpc("tools/list", json!({})))).await;
    assert!(answer.status.is_client_error(), "{answer:?}");

    let fine = world.mcp(&who, "tools/call", json!({ "name": csv, "arguments": good })).await;
    assert_eq!(fine["result"]["structuredContent"]["row_count"], 1, "{fine}");
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn no_document_that_must_not_be_parsed_is_accepted() {
    let Some(path) = shared("json/JSONTestSuite-test_parsing.tar.gz") else { return };
    let archive = std::fs::File::open(path).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let world = world().await;
    let who = caller(&world);
    let mut refused = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if !name.starts_with("n_") {
            // The others are JSON or may be; none is an entity.
            if name.starts_with("y_") || name.starts_with("i_") {
                let answer = post_bytes(&world, &who, ENTITIES, "application/json", bytes).await;
                assert!(answer.status.is_client_error(), "{name}: {answer:?}");
            }
            continue;
        }
        for path in [ENTITIES, "/access/v1/evaluation", "/mcp"] {
            let answer = post_bytes(&world, &who, path, "application/json", bytes.clone()).await;
            assert_problem(&name, &answer, StatusCode::BAD_REQUEST, "not acceptable JSON");
        }
        refused += 1;
    }
    assert!(refused > 180, "{refused}");
    assert_sound(world, &who).await;
}

#[tokio::test]
async fn naughty_strings_break_nothing() {
    let Some(path) = shared("naughty-strings/blns.json") else { return };
    let mut strings: Vec<String> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(strings.len() > 500);
    for c in
        ['\u{0}', '\u{1b}', '\u{7f}', '\u{85}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{2066}', '\u{feff}']
    {
        strings.push(format!("a{c}b"));
    }
    let world = world().await;
    let who = caller(&world);
    let (world, who) = (&world, &who);
    let tried = futures::stream::iter(&strings).map(|text| async move {
        let entity = json!({ "name": text, "kind": "k", "observations": [text] });
        let written = world.post(who, ENTITIES, &entity).await;
        if written.status.is_success() {
            assert_eq!(written.json()["name"], text.as_str(), "{written:?}");
        } else {
            assert!(written.status.is_client_error(), "{text:?}: {written:?}");
        }
        let found = world.post(who, "/v1/memory/workspace:lab/search", &json!({ "words": text })).await;
        let message = json!({ "capability": "desk", "content": text });
        let sent = world.post(who, "/v1/messages", &message).await;
        let mut answers = vec![found, sent];
        // As far as the text can stand in a header or a path at all.
        if let Ok(value) = reqwest::header::HeaderValue::from_bytes(text.as_bytes()) {
            let request = world.request(who, Method::GET, "/v1/agents");
            let request = request.header("user-agent", value.clone()).header("x-request-id", value);
            let answer = send(request).await;
            assert!(answer.status.is_success(), "{text:?}: {answer:?}");
        }
        let mut url = reqwest::Url::parse(&world.url(ENTITIES)).unwrap();
        url.path_segments_mut().unwrap().push(text);
        answers.push(world.get(who, url.path()).await);
        for answer in answers {
            assert!(!answer.status.is_server_error(), "{text:?}: {answer:?}");
        }
        written.status.is_success()
    });
    let written: Vec<bool> = tried.buffer_unordered(8).collect().await;
    assert!(written.iter().filter(|written| **written).count() > 300, "hardly any was written");

    let log = std::fs::read_to_string(world.log()).unwrap();
    let hidden = |c: char| c != '\n' && caxton::text::is_hidden(c);
    for line in log.lines() {
        assert!(!line.contains(hidden), "{}", line.escape_debug());
        assert!(line.starts_with('{') && line.ends_with('}'), "{}", line.escape_debug());
    }
    // One line each: no string made a line of its own.
    assert!(log.lines().all(|line| serde_json::from_str::<Json>(line).is_ok()));
    assert_eq!(log.split('\n').count(), log.lines().count() + 1);
    verify(&world.log()).unwrap();
}

/// A module that never ends.
const LOOPS: &str =
    "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop $again (br $again))))";
/// A module that ends at once, without an answer.
const SILENT: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\")))";
/// A module that traps.
const TRAPS: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") unreachable))";
/// A module that wants what no guest gets.
const IMPORTS: &str =
    "(module (import \"env\" \"x\" (func)) (memory (export \"memory\") 1) (func (export \"_start\")))";

fn agent(name: &str, more: &str) -> String {
    format!("---\nname: {name}\ncapabilities: [{name}, message-receive]\n{more}---\nYou are {name}.\n")
}

/// Agents that are broken or hostile beside the two sound ones.
fn hostile_agents(directory: &Path) {
    let module = |name: &str, text: &str| {
        let bytes = wat::parse_str(text).unwrap();
        let path = directory.join(name);
        write(&path, "");
        std::fs::write(path, bytes).unwrap();
    };
    for (name, text) in [("looper", LOOPS), ("silent", SILENT), ("trapper", TRAPS), ("importer", IMPORTS)] {
        module(&format!("{name}.wasm"), text);
        write(&directory.join(format!("{name}.md")), &agent(name, &format!("handler: {name}.wasm\n")));
    }
    write(&directory.join("garbage.wasm"), "this is no module");
    write(&directory.join("garbage.md"), &agent("garbage", "handler: garbage.wasm\n"));
    write(&directory.join("outside.md"), &agent("outside", "handler: ../../module.wasm\n"));
    write(&directory.join("unknown.md"), &agent("unknown", "color: red\n"));
    write(&directory.join("twice.md"), &agent("twice", "version: \"1\"\nversion: \"2\"\n"));
    write(&directory.join("alias.md"), &agent("alias", "description: &a x\nmodel: *a\n"));
    write(&directory.join("broken.md"), "---\nname: broken\ncapabilities: [a, b\n---\nx\n");
    write(&directory.join("open.md"), "---\nname: open\n");
    write(&directory.join("plain.md"), "Just some notes.\n");
    write(&directory.join("imitator.md"), &agent("researcher", ""));
}

/// What loading says of each file that is refused.
fn problems(directory: &Path) -> Vec<(String, String)> {
    let metrics = Arc::new(Metrics::new());
    let sandbox = Sandbox::new(caxton::sandbox::Settings::default(), Arc::clone(&metrics)).unwrap();
    let settings = caxton::agents::Settings { directory: Some(directory.to_owned()), ..Default::default() };
    let counters = Arc::new(caxton::limit::LocalCounters::new(Arc::clone(&metrics)));
    let loaded =
        Register::new(settings, sandbox, metrics, counters).load(&caxton::tools::KnownTools::builtin());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    loaded.problems.iter().map(|problem| (name(&problem.path), problem.to_string())).collect()
}

#[tokio::test]
async fn a_broken_or_hostile_agent_is_refused_and_the_others_work() {
    let world = World::with(|settings, directory| {
        bounds(settings);
        hostile_agents(&directory.join("agents"));
        // The others need a moment of it as well, beside the one that never ends.
        settings.sandbox.max_execution_time = Duration::from_secs(3);
        settings.sandbox.fuel = u64::MAX;
    })
    .await;
    let who = caller(&world);

    let found = problems(&world.directory.path().join("agents"));
    let expected = [
        ("alias.md", ":4:17: ", "anchors and aliases are not allowed"),
        ("broken.md", ":", ""),
        ("garbage.md", ":1:1: ", "module `garbage.wasm` is not valid WebAssembly"),
        ("importer.md", ":1:1: ", "module `importer.wasm` imports `env::x`, which is not allowed"),
        ("open.md", ":1:1: ", "no closing `---` line"),
        ("outside.md", ":1:1: ", "names no module"),
        ("plain.md", ":1:1: ", "does not begin with a `---` line"),
        ("researcher.md", ":1:1: ", "agent `researcher` is defined twice"),
        ("twice.md", ":5:", "duplicate mapping key"),
        ("unknown.md", ":4:1: ", "unknown field `color`"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((file, message), (name, place, detail)) in found.iter().zip(expected) {
        assert_eq!(file, name, "{found:#?}");
        assert!(message.contains(&format!("{name}{place}")), "{message} does not say {place}");
        assert!(message.contains(detail) && !message.contains('\n'), "{message} does not say {detail}");
    }

    let listed = world.get(&who, "/v1/agents").await.json();
    let names: Vec<_> = listed["agents"].as_array().unwrap().iter().map(|agent| &agent["id"]).collect();
    assert_eq!(names, ["clerk", "looper", "researcher", "silent", "trapper"], "{listed}");
    let metrics = send(world.client.get(format!("http://{}/metrics", world.gateway.operations()))).await.text;
    let line = metrics.lines().find(|line| line.starts_with("caxton_config_validation_failures_total "));
    assert_eq!(line, Some("caxton_config_validation_failures_total 10"), "{metrics}");

    let ask = async |agent: &str, content: &str| {
        let answer =
            world.post(&who, "/v1/messages", &json!({ "capability": agent, "content": content })).await;
        assert_eq!(answer.status, StatusCode::OK, "{agent}: {answer:?}");
        let reply = answer.json()["reply"].clone();
        let word = |field: &str| reply[field].as_str().unwrap().to_owned();
        (word("performative"), word("content"))
    };
    // At once: the hostile ones hold nobody else up, and not more often than once.
    for _ in 0..2 {
        let rows = "count rows: city,people\nDelft,1\nLeiden,2";
        let (looper, silent, trapper, clerk) = tokio::join!(
            ask("looper", "hello"),
            ask("silent", "hello"),
            ask("trapper", "hello"),
            ask("desk", rows)
        );
        assert_eq!(looper.0, "failure");
        assert!(looper.1.contains("`looper.wasm` ran longer than 3s"), "{looper:?}");
        assert_eq!(silent.0, "failure", "{silent:?}");
        assert_eq!(trapper.0, "failure");
        assert!(trapper.1.contains("`trapper.wasm` trapped"), "{trapper:?}");
        assert_eq!(clerk.0, "inform", "{clerk:?}");
        assert!(clerk.1.contains('2'), "{clerk:?}");
    }
    let refused = world.post(&who, "/v1/messages", &json!({ "receiver": "importer", "content": "x" })).await;
    assert!(refused.status.is_client_error(), "{refused:?}");
    let log = world.log();
    let _directory = world.stop().await;
    verify(&log).unwrap();
}

/// A policy that names what the schema does not have, on its fourth line.
const TYPO: &str = "// Mine.\n@id(\"mine.typo\")\npermit (principal is Caxton::Agent, action == Caxton::Action::\"agent:list\", resource)\nwhen { principal.wrkspace == \"lab\" };\n";

fn copy_policies(directory: &Path) -> PathBuf {
    let policies = directory.join("policies");
    std::fs::create_dir(&policies).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, policies.join(path.file_name().unwrap())).unwrap();
    }
    policies
}

#[tokio::test]
async fn a_gateway_with_a_wrong_policy_does_not_start() {
    for (text, place, detail) in [
        (TYPO, "mine.cedar:4:", "attribute `wrkspace`"),
        ("permit (principal, action, resource);\n", "mine.cedar:1:1: ", "the policy has no `@id`"),
        ("@id(\"mine.x\")\npermit (principal, action, resource)\nwhen {", "mine.cedar:3:", ""),
        (
            "@id(\"mine.x\")\npermit (principal, action == Caxton::Action::\"agent:lst\", resource);\n",
            "mine.cedar:2:",
            "agent:lst",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let policies = copy_policies(directory.path());
        std::fs::write(policies.join("mine.cedar"), text).unwrap();
        let mut settings = support::settings(directory.path().join("data"));
        settings.policy_dir = Some(policies);
        let Err(StartError::Policies(errors)) = Gateway::start(settings).await else {
            panic!("started with {text}");
        };
        let said = errors.to_string();
        assert!(said.contains(place) && said.contains(detail), "{said}");
    }
}

#[tokio::test]
async fn a_wrong_policy_does_not_replace_the_good_ones() {
    let world = World::with(|settings, directory| {
        bounds(settings);
        settings.policy_dir = Some(copy_policies(directory));
    })
    .await;
    let who = caller(&world);
    let version = world.gateway.policy_version();
    let mine = world.directory.path().join("policies/mine.cedar");
    std::fs::write(&mine, TYPO).unwrap();
    let ReloadOutcome::Refused(report) = world.gateway.reload().await else { panic!("it was taken") };
    assert!(report.contains("mine.cedar:4:") && report.contains("wrkspace"), "{report}");
    assert_eq!(world.gateway.policy_version(), version);
    let record = world.records().pop().unwrap();
    assert_eq!(record["event"], "reload_refused", "{record}");
    assert!(record["detail"].as_str().unwrap().contains("mine.cedar:4:"), "{record}");
    std::fs::remove_file(&mine).unwrap();
    assert!(matches!(world.gateway.reload().await, ReloadOutcome::Applied { .. }));
    assert_sound(world, &who).await;
}

// ---- fuzzing, for seconds ----

/// How long each target runs here; `tests/nightly` runs each for an hour under a fuzzer that sees what is reached.
const FUZZED_FOR: Duration = Duration::from_secs(10);

/// One change to `bytes`, as a fuzzer without coverage makes it.
fn mutated(bytes: &mut Vec<u8>, other: &[u8], random: &mut impl FnMut(usize) -> usize) {
    let at = random(bytes.len() + 1);
    match random(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random(8),
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.insert(at, b"{}[]()\"\\,:0 \n-!&|$"[random(18)]),
        3 if at < bytes.len() => {
            let end = at + random(bytes.len() - at) + 1;
            let piece = bytes[at..end].to_vec();
            let place = random(bytes.len() + 1);
            for _ in 0..=random(64) {
                bytes.splice(place..place, piece.iter().copied());
            }
        }
        4 if !other.is_empty() => {
            let start = random(other.len());
            let end = start + random(other.len() - start) + 1;
            bytes.splice(at..at, other[start..end].iter().copied());
        }
        _ => bytes.truncate(at),
    }
    bytes.truncate(64 * 1024);
}

fn fuzz(name: &str) {
    let folder = Path::new("fuzz/corpus").join(name);
    let mut samples: Vec<Vec<u8>> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(samples.len() > 2, "{name}");
    samples.sort();
    samples.iter().for_each(|sample| caxton::fuzzing::run(name, sample));
    // Always the same sequence, so that a run that fails fails again; the fuzzer of the night looks elsewhere.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        // xorshift64*: the same from the same seed.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below.max(1)
    };
    let began = Instant::now();
    let mut runs = 0_u64;
    while began.elapsed() < FUZZED_FOR {
        let mut bytes = samples[random(samples.len())].clone();
        for _ in 0..=random(8) {
            let other = &samples[random(samples.len())];
            mutated(&mut bytes, other, &mut random);
        }
        caxton::fuzzing::run(name, &bytes);
        runs += 1;
    }
    eprintln!("{runs} runs");
    assert!(runs > 20, "{runs} runs in {FUZZED_FOR:?}");
}

macro_rules! fuzzed {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            fuzz(stringify!($name));
        }
    )*};
}

/// Any bytes are read or refused, within seconds and on the stack that there is.
mod fuzzed {
    use super::fuzz;
    fuzzed! { json_reader policy_text mcp_message agent_file jwt_jwk bundle_manifest }

    #[test]
    fn every_target_is_here() {
        let names: Vec<&str> = caxton::fuzzing::TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(
            names,
            ["json_reader", "policy_text", "mcp_message", "agent_file", "jwt_jwk", "bundle_manifest"]
        );
    }
}
