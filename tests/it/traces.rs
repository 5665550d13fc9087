//! Spans of requests, as a collector of OpenTelemetry gets them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{World, tool, until, upstream};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use caxton::model::ServerName;
use caxton::telemetry::TraceSettings;
use caxton::tools::{ServerSettings, Transport};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use reqwest::Method;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SECRET: &str = "sk-live-0123456789abcdefghijklmnop";

/// What a collector was sent.
#[derive(Default)]
struct Received {
    bodies: Vec<Bytes>,
    authorizations: Vec<String>,
}

type Shared = Arc<Mutex<Received>>;

async fn take(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut received = shared.lock().unwrap();
    let authorization =
        headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    received.authorizations.push(authorization.to_owned());
    received.bodies.push(body);
    StatusCode::OK
}

/// A collector on a free port.
async fn collector() -> (String, Shared) {
    let shared = Shared::default();
    let router =
        axum::Router::new().route("/v1/traces", axum::routing::post(take)).with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, shared)
}

fn settings(url: &str, sample_percent: u8) -> TraceSettings {
    TraceSettings { url: url.parse().unwrap(), authorization: None, ca_file: None, sample_percent }
}

/// All spans so far.
fn spans(shared: &Shared) -> Vec<Span> {
    let received = shared.lock().unwrap();
    let requests =
        received.bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
    let resources = requests.flat_map(|request| request.resource_spans);
    resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: Option<&Value>| match value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    let value = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        text(pair.value.as_ref().and_then(|value| value.value.as_ref()))
    };
    span.attributes.iter().map(|pair| (pair.key.clone(), value(pair))).collect()
}

fn named<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {:?}", spans.iter().map(|span| &span.name).collect::<Vec<_>>());
    found[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_a_span_for_each_stage_in_the_trace_of_its_caller() {
    let (url, shared) = collector().await;
    let world = World::with(|settings_, _| settings_.traces = Some(settings(&url, 100))).await;
    let reader = world.service("reader", &["memory:read", "memory:write"]);
    let header = format!("00-{TRACE}-{PARENT}-00");
    let path = "/v1/memory/workspace:w/entities";
    let request = world.request(&reader, Method::GET, path).header("traceparent", &header);
    assert_eq!(request.send().await.unwrap().status(), 200);
    let record = world.records().into_iter().find(|record| record["trace_id"] == TRACE).unwrap();
    world.stop().await;
    let spans = spans(&shared);
    let root = named(&spans, "GET /v1/memory/{scope}/entities");
    assert_eq!(
        (hex::encode(&root.trace_id), hex::encode(&root.parent_span_id)),
        (TRACE.into(), PARENT.into())
    );
    assert_eq!(record["span_id"], hex::encode(&root.span_id), "the record names the span");
    let of_root = attributes(root);
    assert_eq!(of_root["http.route"], "/v1/memory/{scope}/entities");
    assert_eq!(
        (of_root["http.request.method"].as_str(), of_root["http.response.status_code"].as_str()),
        ("GET", "200")
    );
    let mut last = 0;
    for stage in ["authenticate", "limit", "screen"] {
        let span = named(&spans, stage);
        assert_eq!((&span.parent_span_id, &span.trace_id), (&root.span_id, &root.trace_id), "{stage}");
        assert!(span.start_time_unix_nano >= last && span.end_time_unix_nano >= span.start_time_unix_nano);
        assert!(span.end_time_unix_nano <= root.end_time_unix_nano);
        last = span.end_time_unix_nano;
    }
    // The list itself, and its items.
    for stage in ["decide", "record"] {
        assert!(spans.iter().filter(|span| span.name == stage).count() >= 1, "{stage}");
    }
    named(&spans, "effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_call_is_a_span_in_the_trace_of_its_message() {
    let (url, shared) = collector().await;
    let (server, _) = upstream(json!([tool("echo", "Says it again.")])).await;
    let world = World::with(|gateway, _| {
        gateway.traces = Some(settings(&url, 100));
        let transport = Transport::Http { url: server.parse().unwrap(), headers: Vec::new() };
        gateway.tools.servers = vec![ServerSettings::new(ServerName::parse("up").unwrap(), transport)];
        gateway.tools.auto_import = true;
    })
    .await;
    let caller = world.service("caller", &["tool:list", "tool:call"]);
    let meta = json!({ "traceparent": format!("00-{TRACE}-{PARENT}-01") });
    let call = json!({ "name": "up___echo", "arguments": { "text": SECRET }, "_meta": meta });
    let answer = world.mcp(&caller, "tools/call", call).await;
    assert!(answer["result"].is_object(), "{answer}");
    // What is not a tool or a method does not get into a span.
    world.mcp(&caller, "tools/call", json!({ "name": SECRET, "arguments": {} })).await;
    world.mcp(&caller, SECRET, json!({})).await;
    world.stop().await;
    let spans = spans(&shared);
    let message = named(&spans, "tools/call up___echo");
    assert_eq!(
        (hex::encode(&message.trace_id), hex::encode(&message.parent_span_id)),
        (TRACE.into(), PARENT.into())
    );
    let of_message = attributes(message);
    assert_eq!(of_message["mcp.method.name"], "tools/call");
    assert_eq!(of_message["gen_ai.tool.name"], "up___echo");
    let call = named(&spans, "execute_tool up___echo");
    assert_eq!(call.parent_span_id, message.span_id);
    assert!(
        spans.iter().any(|span| span.name == "tools/call") && spans.iter().any(|span| span.name == "_OTHER")
    );
    let all = shared.lock().unwrap().bodies.concat();
    assert!(!all.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()), "nothing secret in a span");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_share_decides_and_not_the_flag_of_the_caller() {
    let (url, shared) = collector().await;
    let world = World::with(|settings_, _| settings_.traces = Some(settings(&url, 0))).await;
    let reader = world.service("reader", &["memory:read"]);
    let header = format!("00-{TRACE}-{PARENT}-01");
    let request = world.request(&reader, Method::GET, "/v1/memory/workspace:w/entities");
    assert_eq!(request.header("traceparent", header).send().await.unwrap().status(), 200);
    let traced = world.records().iter().filter(|record| record["trace_id"] == TRACE).count();
    assert!(traced > 0, "the records have the trace all the same");
    world.stop().await;
    assert!(spans(&shared).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_holds_nothing_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let world = World::with(|settings_, _| settings_.traces = Some(settings(&url, 100))).await;
    let reader = world.service("reader", &["memory:read"]);
    let began = Instant::now();
    for _ in 0..50 {
        let answer = world.get(&reader, "/v1/memory/workspace:w/entities").await;
        assert_eq!(answer.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    let began = Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(60), "the end is bounded: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_gets_the_authorization_of_the_configuration() {
    let (url, shared) = collector().await;
    let place = crate::support::child::Place::new(&format!(
        "telemetry:\n  traces: {{ url: \"{url}\", authorization: \"Bearer collector-token\" }}\n"
    ));
    let running = place.start();
    let _ = reqwest::get(running.url("/v1/agents")).await.unwrap();
    assert_eq!(running.stop().code, Some(0));
    until("a span", async || !shared.lock().unwrap().bodies.is_empty()).await;
    assert_eq!(shared.lock().unwrap().authorizations[0], "Bearer collector-token");
    let refused = spans(&shared);
    assert_eq!(attributes(named(&refused, "GET /v1/agents"))["http.response.status_code"], "401");
}
