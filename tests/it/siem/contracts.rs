//! Receivers that speak the published contract, check every body strictly, and fail now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use prost::Message as _;
use serde_json::{Deserializer, Value as Json, json};

use super::*;

const WEBHOOK_KEY: &str = "a key of the webhook's own";
const HEC_TOKEN: &str = "0f5bf4ce-2ad6-4b08-9e0a-7e53c8a9e4f1";
const API_KEY: &str = "VnVhQ2ZHY0JDZGJrU==";
const CLIENT_SECRET: &str = "secret of the application";

/// What the receivers got, by the path that was asked.
#[derive(Default)]
pub(super) struct Received {
    /// The numbers of the records, as they came.
    pub(super) seqs: BTreeMap<String, Vec<u64>>,
    /// The ids of documents that are there.
    documents: BTreeMap<String, u64>,
    requests: BTreeMap<String, usize>,
    tokens: usize,
    /// What was wrong with requests: must stay empty.
    pub(super) faults: Vec<String>,
}

pub(super) type Shared = Arc<Mutex<Received>>;

impl Received {
    fn take(&mut self, path: &str, seq: u64) {
        self.seqs.entry(path.to_owned()).or_default().push(seq);
    }

    /// The number of this request of the path, from 1.
    fn count(&mut self, path: &str) -> usize {
        let number = self.requests.entry(path.to_owned()).or_default();
        *number += 1;
        *number
    }
}

/// Starts the receivers on a port.
pub(super) async fn start() -> (String, Shared) {
    let shared = Shared::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), shared)
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut body = axum::body::to_bytes(body, 4 << 20).await.unwrap();
    if header(&parts.headers, "content-encoding") == "gzip" {
        // As rotel sends on; the gateway does not compress.
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        body = plain.into();
    }
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let mut received = shared.lock().unwrap();
    let number = received.count(&path);
    let outcome = match path.as_str() {
        "/hook" => webhook(&mut received, number, &parts.headers, &body),
        "/services/collector/event" => splunk(&mut received, number, &parts.headers, &body),
        "/logs-caxton.decision-default/_bulk" => {
            elastic(&mut received, number, &query, &parts.headers, &body)
        }
        "/tenant/oauth2/v2.0/token" => token(&mut received, &body),
        "/dataCollectionRules/dcr-1/streams/Custom-CaxtonAgentEvent" => {
            sentinel(&mut received, number, &query, &parts.headers, &body)
        }
        "/v1/logs" => otlp(&mut received, number, &parts.headers, &body),
        other => Err(format!("nobody asks `{other}`")),
    };
    outcome.unwrap_or_else(|fault| {
        received.faults.push(format!("{path}: {fault}"));
        StatusCode::IM_A_TEAPOT.into_response()
    })
}

type Outcome = Result<Response, String>;

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn parse(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn webhook(received: &mut Received, number: usize, headers: &HeaderMap, body: &Bytes) -> Outcome {
    expect(header(headers, "content-type") == "application/x-ndjson", "content type")?;
    expect(header(headers, "x-caxton-sink") == "hook", "name")?;
    expect(header(headers, "x-team") == "soc", "own header")?;
    let signature = header(headers, "x-caxton-signature");
    let (time, tag) =
        signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).ok_or("signature")?;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, WEBHOOK_KEY.as_bytes());
    let signed = [time.as_bytes(), b".", body].concat();
    aws_lc_rs::hmac::verify(&key, &signed, &hex::decode(tag).unwrap())
        .map_err(|_| "the signature is wrong")?;
    if number == 1 {
        return Ok(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    if number == 2 {
        return Ok((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response());
    }
    if number == 3 {
        // A redirect is not followed: its target would be told as a fault.
        return Ok((StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response());
    }
    let text = std::str::from_utf8(body).map_err(|_| "not text")?;
    let records: Vec<Json> = text.lines().map(parse).collect::<Result<_, _>>()?;
    let seqs: Vec<u64> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    expect(header(headers, "x-caxton-first-seq") == seqs[0].to_string(), "first")?;
    expect(header(headers, "x-caxton-last-seq") == seqs[seqs.len() - 1].to_string(), "last")?;
    if seqs.contains(&3) {
        // One record that it does not take.
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "record 3 is wrong").into_response());
    }
    seqs.iter().for_each(|seq| received.take("hook", *seq));
    if number % 7 == 0 {
        // Taken, and the answer does not come.
        return Ok(StatusCode::GATEWAY_TIMEOUT.into_response());
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn splunk(received: &mut Received, number: usize, headers: &HeaderMap, body: &Bytes) -> Outcome {
    expect(header(headers, "authorization") == format!("Splunk {HEC_TOKEN}"), "token")?;
    if number == 1 {
        let busy = json!({ "text": "Server is busy", "code": 9 }).to_string();
        return Ok((StatusCode::SERVICE_UNAVAILABLE, busy).into_response());
    }
    for event in Deserializer::from_slice(body).into_iter::<Json>() {
        let event = event.map_err(|error| error.to_string())?;
        let keys: Vec<&str> = event.as_object().ok_or("no object")?.keys().map(String::as_str).collect();
        let known = ["time", "host", "source", "sourcetype", "index", "event", "fields"];
        expect(keys.iter().all(|key| known.contains(key)), "a field that the collector refuses")?;
        expect(event["time"].as_f64().is_some_and(|time| time > 1.7e9), "time")?;
        expect(event["host"] == "gateway-1" && event["index"] == "security", "host and index")?;
        expect(event["sourcetype"] == "caxton:cef", "source type")?;
        let text = event["event"].as_str().ok_or("the event is no text")?;
        expect(text.starts_with("CEF:0|Caxton|Caxton Gateway|") && !text.contains('\n'), "no CEF")?;
        // Fields are flat.
        expect(event["fields"].as_object().unwrap().values().all(|value| !value.is_object()), "fields")?;
        received.take("splunk", event["fields"]["seq"].as_u64().ok_or("seq")?);
    }
    Ok(json_response(StatusCode::OK, &json!({ "text": "Success", "code": 0 })))
}

fn json_response(status: StatusCode, body: &Json) -> Response {
    (status, [("content-type", "application/json")], body.to_string()).into_response()
}

fn elastic(
    received: &mut Received,
    number: usize,
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Outcome {
    expect(header(headers, "authorization") == format!("ApiKey {API_KEY}"), "API key")?;
    expect(header(headers, "content-type") == "application/x-ndjson", "content type")?;
    expect(query.starts_with("filter_path="), "filter")?;
    expect(body.ends_with(b"\n"), "the bulk request must be terminated by a newline")?;
    let text = std::str::from_utf8(body).map_err(|_| "not text")?;
    let lines: Vec<Json> = text.lines().map(parse).collect::<Result<_, _>>()?;
    expect(lines.len() % 2 == 0, "an action without a document")?;
    let mut items = Vec::new();
    for pair in lines.chunks(2) {
        let id = pair[0]["create"]["_id"].as_str().ok_or("a data stream takes `create` only")?;
        let document = &pair[1];
        expect(document["@timestamp"].is_string(), "a data stream needs @timestamp")?;
        expect(document["ecs"]["version"] == "9.0.0" && document["event"]["category"].is_array(), "ECS")?;
        expect(document["event"]["id"] == *id, "id")?;
        let seq = document["event"]["sequence"].as_u64().ok_or("sequence")?;
        let (status, error) = if received.documents.contains_key(id) {
            (409, Some("version_conflict_engine_exception"))
        } else if seq == 4 {
            (400, Some("document_parsing_exception"))
        } else if number == 2 {
            (429, Some("es_rejected_execution_exception"))
        } else {
            received.documents.insert(id.to_owned(), seq);
            received.take("elastic", seq);
            (201, None)
        };
        let error = error.map(|kind| json!({ "type": kind, "reason": "a reason" }));
        items.push(json!({ "create": { "status": status, "error": error } }));
    }
    Ok(json_response(StatusCode::OK, &json!({ "errors": true, "items": items })))
}

fn token(received: &mut Received, body: &Bytes) -> Outcome {
    let fields: BTreeMap<String, String> = url::form_urlencoded::parse(body).into_owned().collect();
    let expected = [
        ("grant_type", "client_credentials"),
        ("client_id", "app-1"),
        ("client_secret", CLIENT_SECRET),
        ("scope", "https://monitor.azure.com/.default"),
    ];
    for (name, value) in expected {
        expect(fields.get(name).map(String::as_str) == Some(value), name)?;
    }
    received.tokens += 1;
    let token = format!("token-{}", received.tokens);
    Ok(json_response(
        StatusCode::OK,
        &json!({ "token_type": "Bearer", "expires_in": 3599, "access_token": token }),
    ))
}

fn sentinel(
    received: &mut Received,
    number: usize,
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Outcome {
    expect(query == "api-version=2023-01-01", "version")?;
    expect(header(headers, "content-type") == "application/json", "content type")?;
    expect(body.len() <= 1_000_000, "more than a call may have")?;
    let token = header(headers, "authorization").strip_prefix("Bearer ").unwrap_or_default();
    if number == 1 || token != format!("token-{}", received.tokens) {
        // A token that was withdrawn.
        return Ok(StatusCode::UNAUTHORIZED.into_response());
    }
    let rows = parse(std::str::from_utf8(body).map_err(|_| "not text")?)?;
    for row in rows.as_array().ok_or("no array")? {
        expect(row["TimeGenerated"].is_string() && row["EventSchema"] == "AgentEvent", "columns")?;
        let seq = row["AdditionalFields"]["seq"].as_u64().ok_or("seq")?;
        received.take("sentinel", seq);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn otlp(received: &mut Received, number: usize, headers: &HeaderMap, body: &Bytes) -> Outcome {
    expect(header(headers, "content-type") == "application/x-protobuf", "content type")?;
    if number == 1 {
        return Ok((StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response());
    }
    let request = ExportLogsServiceRequest::decode(body.clone()).map_err(|error| error.to_string())?;
    let mut refused = 0;
    for resource in request.resource_logs {
        let attributes = resource.resource.ok_or("no resource")?.attributes;
        expect(attributes.iter().any(|pair| pair.key == "service.name"), "service.name")?;
        for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            expect(record.time_unix_nano > 1_700_000_000_000_000_000, "time")?;
            expect(record.severity_number >= 9, "severity")?;
            let Some(OtlpValue::StringValue(text)) = record.body.and_then(|body| body.value) else {
                return Err("the body is no text".to_owned());
            };
            let event = parse(&text)?;
            expect(event["metadata"]["version"] == "1.9.0", "OCSF")?;
            let seq = event["metadata"]["sequence"].as_u64().ok_or("sequence")?;
            if seq == 2 {
                refused += 1;
                continue;
            }
            received.take("otlp", seq);
        }
    }
    let partial_success = (refused > 0).then(|| ExportLogsPartialSuccess {
        rejected_log_records: refused,
        error_message: "record 2 is wrong".to_owned(),
    });
    let answer = ExportLogsServiceResponse { partial_success }.encode_to_vec();
    Ok(([("content-type", "application/x-protobuf")], answer).into_response())
}

fn sinks(url: &str) -> String {
    format!(
        "    sinks:
    - {{ name: archive, type: file, path: archive.jsonl, format: ocsf, batch_wait: 0ms }}
    - name: hook
      type: webhook
      url: {url}/hook
      secret: {WEBHOOK_KEY}
      headers: {{ x-team: soc }}
      batch_records: 5
      retry_max: 1s
    - {{ name: splunk, type: splunk_hec, url: \"{url}\", secret: {HEC_TOKEN}, index: security, source_type: \"caxton:cef\", format: cef, retry_max: 1s }}
    - {{ name: elastic, type: elastic, url: \"{url}\", index: logs-caxton.decision-default, secret: {API_KEY}, batch_records: 7, retry_max: 1s }}
    - name: sentinel
      type: sentinel
      url: {url}
      rule_id: dcr-1
      stream: Custom-CaxtonAgentEvent
      token_url: {url}/tenant/oauth2/v2.0/token
      client_id: app-1
      secret: {CLIENT_SECRET}
      retry_max: 1s
    - {{ name: otlp, type: otlp, url: \"{url}/v1/logs\", format: ocsf, retry_max: 1s }}
"
    )
}

fn letters(place: &Place, sink: &str) -> Vec<u64> {
    let path = place.path().join(format!("data/audit.log.followers/{sink}.dead-letters.jsonl"));
    lines(&path).iter().map(|letter| letter["seq"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_receiver_gets_every_record_in_its_own_format() {
    let (url, shared) = start().await;
    let (place, key) = place(&sinks(&url));
    let gateway = place.start();
    make_records(&gateway, &key, 40).await;
    // While receivers fail, decisions are made, and the lag is seen.
    wait_until("the sinks catch up", || {
        let last = last_seq(&place);
        let received = shared.lock().unwrap();
        let missing = |name: &str, refused: u64| {
            let seen: BTreeSet<u64> = received.seqs.get(name).into_iter().flatten().copied().collect();
            (seen.len() as u64 + refused != last).then(|| format!("{name} has {} of {last}", seen.len()))
        };
        let late = [("hook", 1), ("splunk", 0), ("elastic", 1), ("sentinel", 0), ("otlp", 1)];
        let late: Vec<String> = late.iter().filter_map(|(name, refused)| missing(name, *refused)).collect();
        if late.is_empty() && received.faults.is_empty() {
            Ok(())
        } else {
            Err(format!("{late:?} {:?}", received.faults))
        }
    })
    .await;
    let text = metrics(&gateway).await;
    for sink in ["archive", "hook", "splunk", "elastic", "sentinel", "otlp"] {
        assert!(text.contains(&format!("caxton_audit_sink_lag_records{{sink=\"{sink}\"}}")), "{text}");
    }
    for sink in ["hook", "elastic", "otlp"] {
        assert!(
            text.contains(&format!("caxton_audit_sink_dead_letters_total{{sink=\"{sink}\"}} 1")),
            "{text}"
        );
    }
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for secret in [WEBHOOK_KEY, HEC_TOKEN, API_KEY, CLIENT_SECRET] {
        assert!(!ended.stderr.contains(secret), "a secret is in the log");
    }

    // The last record, `gateway_stopped`, has arrived too.
    let last = last_seq(&place);
    let received = shared.lock().unwrap();
    assert_eq!(received.faults, [""; 0]);
    for (name, refused) in
        [("hook", Some(3)), ("splunk", None), ("elastic", Some(4)), ("sentinel", None), ("otlp", Some(2))]
    {
        assert_eq!(letters(&place, name), refused.into_iter().collect::<Vec<_>>(), "{name}");
        let mut seqs = received.seqs[name].clone();
        if let Some(refused) = refused {
            let after = seqs.iter().position(|seq| *seq > refused).unwrap();
            seqs.insert(after, refused);
        }
        assert_whole_and_in_order(&seqs, last, name);
    }
    let archive = lines(&place.path().join("archive.jsonl"));
    let seqs: Vec<u64> =
        archive.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
    assert!(received.tokens >= 2, "a token that was withdrawn is replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_masked_leaves_in_no_format() {
    let mut sinks = String::from(
        "    mask:\n    - { pointer: /source/ip, action: hash }\n    - { pointer: /subject/credential, action: drop }\n    - { pointer: /source/user_agent, action: drop }\n    - { pointer: \"/context/source/*\", action: hash }\n    sinks:\n",
    );
    let formats = ["caxton", "ocsf", "cef", "leef", "ecs", "asim"];
    for format in formats {
        sinks += &format!("    - {{ name: {format}, type: file, path: {format}.out, format: {format} }}\n");
    }
    let (place, key) = place(&sinks);
    let gateway = place.start();
    let client = reqwest::Client::builder().user_agent("very-special-agent").build().unwrap();
    client.get(gateway.url("/v1/agents")).header("x-api-key", &key).send().await.unwrap();
    gateway.stop();
    let log = std::fs::read_to_string(place.log()).unwrap();
    assert!(log.contains("very-special-agent") && log.contains("127.0.0.1"));
    let number = log.lines().count();
    for format in formats {
        let sent = std::fs::read_to_string(place.path().join(format!("{format}.out"))).unwrap();
        assert_eq!(sent.lines().count(), number, "{format}");
        assert!(!sent.contains("very-special-agent") && !sent.contains("127.0.0.1"), "{format}: {sent}");
        assert!(sent.contains("hmac-sha256:"), "{format}");
    }
}

/// A sink that begins now, a damaged cursor, and a log that is another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_says_where_a_sink_goes_on() {
    let (place, key) = place("    sinks:\n    - { name: late, type: file, path: late.jsonl, from: now }\n");
    let before = "    sinks:\n    - { name: late, type: file, path: late.jsonl, from: now }\n";
    place.edit(before, "");
    let gateway = place.start();
    make_records(&gateway, &key, 3).await;
    gateway.stop();
    let earlier = last_seq(&place);
    place.edit("    instance: gateway-1\n", &format!("    instance: gateway-1\n{before}"));
    place.start().stop();
    let seqs: Vec<u64> =
        lines(&place.path().join("late.jsonl")).iter().map(|r| r["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.first(), Some(&(earlier + 1)), "{seqs:?}");
    assert_eq!(seqs.last(), Some(&last_seq(&place)));

    let cursor = place.path().join("data/audit.log.followers/late");
    std::fs::write(&cursor, "nonsense").unwrap();
    let Err(refused) = Running::try_start(place.path(), &["--config", "caxton.yaml"]) else {
        panic!("it starts")
    };
    assert!(refused.stderr.contains("audit.log.followers/late"), "{refused:?}");

    // Moved away with all that belongs to it: the new one begins with 1.
    std::fs::write(&cursor, "caxton-cursor 1 999999\n").unwrap();
    for entry in std::fs::read_dir(place.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("audit.log") && !name.ends_with(".followers") {
            std::fs::rename(&path, place.path().join(name)).unwrap();
        }
    }
    std::fs::remove_file(place.path().join("late.jsonl")).unwrap();
    place.start().stop();
    let seqs: Vec<u64> =
        lines(&place.path().join("late.jsonl")).iter().map(|r| r["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=last_seq(&place)).collect::<Vec<_>>());
}
