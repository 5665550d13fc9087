//! MCP over the wire: sessions, one server under its own names, prompts and resources, what servers say and ask before they
//! answer, and both generations. The upstream is a server whose answers each test writes.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method as AxumMethod, Response as AxumResponse};
use caxton::model::ServerName;
use caxton::tools::{ServerSettings, Transport};
use futures::StreamExt as _;
use parking_lot::Mutex;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::support::{Answer, Credential, World, eventually, outcome, send, tool, until};

/// What the upstream answers to a request.
pub(crate) enum Reply {
    /// A JSON-RPC result.
    Result(Json),
    /// A JSON-RPC error.
    Error(i64, &'static str),
    /// An HTTP status without a body.
    Status(u16),
    /// Messages as events, as they come.
    Events(mpsc::Receiver<Json>),
}

pub(crate) type Script = Arc<dyn Fn(&Upstream, &Json, &HeaderMap) -> Reply + Send + Sync>;

/// An upstream server that keeps what it was sent.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) url: String,
    /// Each message with the header fields it came with.
    pub(crate) seen: Arc<Mutex<Vec<(Json, HeaderMap)>>>,
}

impl Upstream {
    pub(crate) async fn start(script: Script) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let upstream = Self { url, seen: Arc::default() };
        let shared = upstream.clone();
        let answer = move |method: AxumMethod, headers: HeaderMap, body: Bytes| {
            let (shared, script) = (shared.clone(), Arc::clone(&script));
            async move { shared.answer(&script, &method, &headers, &body) }
        };
        let router = axum::Router::new().route("/mcp", axum::routing::any(answer));
        tokio::spawn(async move { axum::serve(listener, router).await });
        upstream
    }

    fn answer(
        &self,
        script: &Script,
        method: &AxumMethod,
        headers: &HeaderMap,
        body: &[u8],
    ) -> AxumResponse<Body> {
        if method != AxumMethod::POST {
            return plain(405);
        }
        let message: Json = serde_json::from_slice(body).unwrap();
        self.seen.lock().push((message.clone(), headers.clone()));
        if message.get("id").is_none() || message.get("method").is_none() {
            return plain(202);
        }
        let id = &message["id"];
        let (kind, body) = match script(self, &message, headers) {
            Reply::Status(status) => return plain(status),
            Reply::Result(result) => {
                let answer = json!({ "jsonrpc": "2.0", "id": id, "result": result });
                ("application/json", Body::from(answer.to_string()))
            }
            Reply::Error(code, message) => {
                let error = json!({ "code": code, "message": message });
                let answer = json!({ "jsonrpc": "2.0", "id": id, "error": error });
                ("application/json", Body::from(answer.to_string()))
            }
            Reply::Events(messages) => {
                let events = futures::stream::unfold(messages, |mut messages| async move {
                    let message = messages.recv().await?;
                    Some((Ok::<_, Infallible>(format!("data: {message}\n\n")), messages))
                });
                ("text/event-stream", Body::from_stream(events))
            }
        };
        let mut response = AxumResponse::builder().header("content-type", kind);
        if message["method"] == "initialize" {
            let count = self.of("initialize").len();
            response = response.header("mcp-session-id", format!("session-{count}"));
        }
        response.body(body).unwrap()
    }

    /// Waits for the answer to a question of the server.
    async fn answer_to(&self, id: &str) -> Json {
        loop {
            let found = self.seen.lock().iter().find(|(message, _)| message["id"] == id).cloned();
            match found {
                Some((message, _)) => return message,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// The messages of a method, so far.
    pub(crate) fn of(&self, method: &str) -> Vec<Json> {
        let seen = self.seen.lock();
        seen.iter()
            .filter(|(message, _)| message["method"] == method)
            .map(|(message, _)| message.clone())
            .collect()
    }
}

fn plain(status: u16) -> AxumResponse<Body> {
    AxumResponse::builder().status(status).body(Body::empty()).unwrap()
}

/// The handshake of a server with sessions, and its list of tools.
pub(crate) fn stateful(message: &Json, tools: &Json) -> Option<Reply> {
    Some(match message["method"].as_str().unwrap() {
        "server/discover" => Reply::Status(400),
        "initialize" => Reply::Result(json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": { "tools": {}, "prompts": {}, "resources": { "subscribe": true }, "logging": {} },
            "serverInfo": { "name": "upstream", "version": "1" },
        })),
        "tools/list" => Reply::Result(json!({ "tools": tools })),
        _ => return None,
    })
}

/// The greeting of a server of 2026-07-28, and its list of tools.
pub(crate) fn stateless(message: &Json, tools: &Json) -> Option<Reply> {
    Some(match message["method"].as_str().unwrap() {
        "server/discover" => Reply::Result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": {}, "prompts": { "listChanged": true }, "resources": { "listChanged": true, "subscribe": true } }, "ttlMs": 0, "cacheScope": "private",
        })),
        "initialize" => Reply::Error(-32022, "no"),
        "tools/list" => Reply::Result(
            json!({ "resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private" }),
        ),
        _ => return None,
    })
}

pub(crate) fn done(text: &str) -> Reply {
    Reply::Result(json!({ "content": [{ "type": "text", "text": text }] }))
}

/// A gateway before this upstream, named `up`, with further policies beside the shipped ones.
pub(crate) async fn world(upstream: &Upstream, own: &str) -> World {
    World::with(|settings, directory| {
        let policies = directory.join("policies");
        std::fs::create_dir(&policies).unwrap();
        let nothing = "@id(\"own.nothing\") forbid (principal == Caxton::Service::\"nobody-of-this-name\", action, resource);\n";
        crate::support::write(&policies.join("own.cedar"), &format!("{nothing}{own}"));
        let name = ServerName::parse("up").unwrap();
        let url = upstream.url.parse().unwrap();
        settings.tools.servers = vec![ServerSettings::new(name, Transport::Http { url, headers: Vec::new() })];
        settings.tools.auto_import = true;
        (settings.policy_dir, settings.extend_shipped) = (Some(policies), true);
    })
    .await
}

const BOTH: &str = "application/json, text/event-stream";
pub(crate) const OWN: &str = "/servers/up/mcp";

pub(crate) fn request(world: &World, who: &Credential, path: &str, body: &Json) -> RequestBuilder {
    world.request(who, Method::POST, path).header("accept", BOTH).json(body)
}

pub(crate) fn rpc(id: u64, method: &str, params: Json) -> Json {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Opens a session of a client that can do `capabilities`.
async fn open(world: &World, who: &Credential, path: &str, capabilities: Json) -> String {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": capabilities,
        "clientInfo": { "name": "test", "version": "1" },
    });
    let answer = send(request(world, who, path, &rpc(1, "initialize", params))).await;
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-11-25", "{answer:?}");
    answer.headers["mcp-session-id"].to_str().unwrap().to_owned()
}

async fn in_session(world: &World, who: &Credential, path: &str, session: &str, body: &Json) -> Answer {
    send(request(world, who, path, body).header("mcp-session-id", session)).await
}

/// The next event of a stream, as a message; and the id of the last one that had any.
struct Events(futures::stream::BoxStream<'static, reqwest::Result<Bytes>>, String, Option<String>);

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream", "{response:?}");
        Self(response.bytes_stream().boxed(), String::new(), None)
    }

    async fn next(&mut self) -> Option<Json> {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let data = field("data: ").filter(|data| !data.is_empty());
                let data = data.map(|data| serde_json::from_str(data).unwrap());
                self.2 = field("id: ").map(str::to_owned).or(self.2.take());
                self.1 = rest.to_owned();
                match data {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.0.next()).await.unwrap()?;
            self.1.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_session_belongs_to_its_principal_and_its_address() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        stateful(message, &json!([tool("echo", "e")])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let (one, other) = (world.service("one", &["tool:*"]), world.service("other", &["tool:*"]));
    let session = open(&world, &one, "/mcp", json!({})).await;
    let list = rpc(2, "tools/list", json!({}));
    assert_eq!(in_session(&world, &one, "/mcp", &session, &list).await.status, StatusCode::OK);
    assert_eq!(in_session(&world, &other, "/mcp", &session, &list).await.status, StatusCode::NOT_FOUND);
    assert_eq!(in_session(&world, &one, OWN, &session, &list).await.status, StatusCode::NOT_FOUND);
    assert_eq!(in_session(&world, &one, "/mcp", "guess", &list).await.status, StatusCode::NOT_FOUND);

    let ended = |who: &Credential, method: Method| {
        let request = world.request(who, method, "/mcp").header("mcp-session-id", &session);
        send(request.header("accept", "text/event-stream"))
    };
    assert_eq!(ended(&other, Method::GET).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ended(&other, Method::DELETE).await.status, StatusCode::NOT_FOUND);
    assert_eq!(in_session(&world, &one, "/mcp", &session, &list).await.status, StatusCode::OK);
    assert_eq!(ended(&one, Method::DELETE).await.status, StatusCode::OK);
    assert_eq!(in_session(&world, &one, "/mcp", &session, &list).await.status, StatusCode::NOT_FOUND);
    let bare = send(world.request(&one, Method::GET, "/mcp").header("accept", "text/event-stream")).await;
    assert_eq!(bare.status, StatusCode::BAD_REQUEST, "{bare:?}");
    let put = send(world.request(&one, Method::PUT, "/mcp")).await;
    assert_eq!(
        (put.status, put.headers["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "POST,GET,HEAD,DELETE")
    );
    world.stop().await;
}

#[tokio::test]
async fn the_stream_of_a_session_tells_of_changed_tools_and_ends_with_it() {
    let tools = Arc::new(Mutex::new(json!([tool("one", "1")])));
    let offered = Arc::clone(&tools);
    let upstream = Upstream::start(Arc::new(move |upstream, message, _| {
        // The second call finds the session forgotten, so the tools are compared again.
        if message["method"] == "tools/call" && upstream.of("initialize").len() == 1 {
            return Reply::Status(404);
        }
        stateful(message, &offered.lock()).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let one = world.service("one", &["tool:*"]);
    let session = open(&world, &one, "/mcp", json!({})).await;
    let listen = || {
        let request = world.request(&one, Method::GET, "/mcp").header("accept", "text/event-stream");
        request.header("mcp-session-id", &session)
    };
    let mut events = Events::of(listen().send().await.unwrap());
    assert_eq!(send(listen()).await.status, StatusCode::CONFLICT, "a session has one stream");
    *tools.lock() = json!([tool("one", "1"), tool("two", "2")]);
    send(request(&world, &one, OWN, &rpc(1, "tools/call", json!({ "name": "one" })))).await;
    assert_eq!(events.next().await.unwrap()["method"], "notifications/tools/list_changed");
    let first = events.2.clone().unwrap();

    // What a client did not get it gets on the next stream, and what it has got it does not get again.
    drop(events);
    let again = async |last: &str| {
        let listened = eventually("the stream before has ended", async || {
            let response = listen().header("last-event-id", last).send().await.unwrap();
            (response.status() != StatusCode::CONFLICT).then_some(response)
        });
        listened.await
    };
    let mut events = Events::of(again("0").await);
    assert_eq!(events.next().await.unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(events.2.as_deref(), Some(first.as_str()), "the same event under its id");
    drop(events);
    let unknown = again("x").await;
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    let mut events = Events::of(again(&first).await);
    send(world.request(&one, Method::DELETE, "/mcp").header("mcp-session-id", &session)).await;
    while let Some(event) = events.next().await {
        assert_ne!(events.2.as_deref(), Some(first.as_str()), "{event}");
    }
    world.stop().await;
}

#[tokio::test]
async fn one_server_is_there_under_its_own_names() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        stateful(message, &json!([tool("echo", "e")])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:*"]);
    let names = async |path: &str| {
        let answer = send(request(&world, &who, path, &rpc(1, "tools/list", json!({})))).await.json();
        let tools = answer["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(OWN).await, ["echo"]);
    assert!(names("/mcp").await.contains(&"up___echo".to_owned()));
    assert!(names("/servers/builtin/mcp").await.contains(&"csv_parser".to_owned()));
    let call = rpc(2, "tools/call", json!({ "name": "echo" }));
    let answer = send(request(&world, &who, OWN, &call)).await.json();
    assert_eq!(answer["result"]["content"][0]["text"], "ok", "{answer}");
    assert!(
        answer["result"].get("isError").is_none()
            && answer["result"]["_meta"]["caxton/decision_id"].is_string()
    );
    let prefixed = rpc(2, "tools/call", json!({ "name": "up___echo" }));
    assert_eq!(send(request(&world, &who, OWN, &prefixed)).await.json()["result"]["isError"], true);
    let unknown = send(request(&world, &who, "/servers/other/mcp", &call)).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND, "{unknown:?}");
    let stranger = world.service("stranger", &["metrics:view"]);
    assert_eq!(
        send(request(&world, &stranger, "/servers/other/mcp", &call)).await.status,
        StatusCode::FORBIDDEN
    );
    world.stop().await;
}

#[tokio::test]
async fn prompts_and_resources_are_judged_one_by_one_and_listed_as_they_can_be_used() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        let named = &message["params"];
        match message["method"].as_str().unwrap() {
            "prompts/list" => Reply::Result(json!({ "prompts": [
                { "name": "open", "icons": [{ "src": "x" }] }, { "name": "closed" }, { "name": "a\u{200b}b" }, {}
            ] })),
            "prompts/get" => Reply::Result(json!({ "messages": [], "description": named["name"] })),
            "resources/list" => Reply::Result(json!({ "resources": [
                { "uri": "file:///open/a", "name": "a" }, { "uri": "file:///closed/b", "name": "b" }
            ] })),
            "resources/templates/list" => {
                Reply::Result(json!({ "resourceTemplates": [{ "uriTemplate": "file:///open/{x}", "name": "t" }] }))
            }
            "resources/read" => Reply::Result(json!({ "contents": [{ "uri": named["uri"], "text": "t" }] })),
            _ => stateful(message, &json!([])).unwrap(),
        }
    }))
    .await;
    let own = "@id(\"own.prompts\") permit (principal == Caxton::Service::\"reader\", action == Caxton::Action::\"prompt:get\", resource == Caxton::Prompt::\"up___open\");\n\
        @id(\"own.files\") permit (principal == Caxton::Service::\"reader\", action == Caxton::Action::\"resource:read\", resource in Caxton::McpServer::\"up\") when { resource.scheme == \"file\" && resource.uri like \"file:///open/*\" };\n\
        @id(\"own.lists\") permit (principal == Caxton::Service::\"reader\", action in [Caxton::Action::\"prompt:list\", Caxton::Action::\"resource:list\"], resource);\n";
    let world = world(&upstream, own).await;
    let (who, none) = (world.service("reader", &["tool:list"]), world.service("none", &["tool:list"]));
    let ask = async |who: &Credential, path: &str, method: &str, params: Json| {
        send(request(&world, who, path, &rpc(1, method, params))).await.json()
    };
    for (path, prompt, prefix) in [("/mcp", "up___open", "up+"), (OWN, "open", "")] {
        let prompts = ask(&who, path, "prompts/list", json!({})).await;
        assert_eq!(prompts["result"], json!({ "prompts": [{ "name": prompt, "icons": [{ "src": "x" }] }] }));
        let got = ask(&who, path, "prompts/get", json!({ "name": prompt })).await;
        assert_eq!(got["result"]["description"], "open", "{got}");
        let closed =
            ask(&who, path, "prompts/get", json!({ "name": prompt.replace("open", "closed") })).await;
        assert_eq!(closed["error"]["code"], -32003, "{closed}");

        let resources = ask(&who, path, "resources/list", json!({})).await;
        let uri = format!("{prefix}file:///open/a");
        assert_eq!(resources["result"], json!({ "resources": [{ "uri": uri, "name": "a" }] }));
        let templates = ask(&who, path, "resources/templates/list", json!({})).await;
        assert_eq!(
            templates["result"]["resourceTemplates"][0]["uriTemplate"],
            format!("{prefix}file:///open/{{x}}")
        );
        let read = ask(&who, path, "resources/read", json!({ "uri": uri })).await;
        assert_eq!(read["result"]["contents"][0]["uri"], uri, "{read}");
        let closed =
            ask(&who, path, "resources/read", json!({ "uri": format!("{prefix}file:///closed/b") })).await;
        assert_eq!(closed["error"]["code"], -32003, "{closed}");
    }
    assert_eq!(upstream.of("prompts/get").len(), 2, "what was denied never left");
    assert_eq!(upstream.of("resources/read").len(), 2);
    for method in ["prompts/list", "resources/list", "resources/templates/list"] {
        assert_eq!(ask(&none, "/mcp", method, json!({})).await["error"]["code"], -32003, "{method}");
    }
    let last = world
        .records()
        .into_iter()
        .rfind(|record| record["action"] == "prompt:list" && record["outcome"] == "allow");
    assert_eq!(last.unwrap()["items"].as_array().unwrap().len(), 2, "what has no plain name is no item");
    for (method, params, code) in [
        ("prompts/get", json!({ "name": "noserver" }), -32602),
        ("prompts/get", json!({}), -32602),
        ("prompts/get", json!({ "name": "up___open", "arguments": [] }), -32602),
        ("resources/read", json!({ "uri": "file:///open/a" }), -32602),
        ("resources/read", json!({ "uri": 7 }), -32602),
        ("completion/complete", json!({ "ref": { "type": "ref/prompt", "name": "up___open" } }), -32601),
        ("logging/setLevel", json!({ "level": "loud" }), -32602),
        ("logging/setLevel", json!({ "level": "info" }), -32600),
        ("resources/subscribe", json!({ "uri": "up+file:///open/a" }), -32600),
        ("tasks/list", json!({}), -32601),
        ("tools/call", json!({ "name": 7 }), -32602),
        ("tools/call", json!({ "name": "up___x", "_meta": 7 }), -32602),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({ "name": "up___x", "arguments": "x" }), -32602),
        ("tools/list", json!({ "cursor": "x" }), -32602),
        ("tools/list", json!({ "_meta": [] }), -32602),
        ("prompts/list", json!({ "cursor": 1 }), -32602),
        ("prompts/get", json!({ "name": ["up___open"] }), -32602),
        ("resources/list", json!({ "cursor": "x" }), -32602),
        ("resources/templates/list", json!({ "cursor": "x" }), -32602),
        ("resources/read", json!({}), -32602),
        ("resources/subscribe", json!({ "uri": null }), -32602),
        ("resources/unsubscribe", json!({}), -32602),
        ("initialize", json!({}), -32602),
        ("initialize", json!({ "protocolVersion": 20_250_618 }), -32602),
        ("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": [] }), -32602),
        ("initialize", json!({ "protocolVersion": "2025-06-18", "capabilities": { "roots": 1 } }), -32602),
        ("ping", json!({ "_meta": 7 }), -32602),
        ("server/describe", json!({}), -32601),
        ("tools/delete", json!({}), -32601),
        ("", json!({}), -32601),
    ] {
        let answer = ask(&who, "/mcp", method, params.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{method} {params}: {answer}");
        // A code alone says nothing to whoever has to mend it: the method is named, or what is wrong with its parameters.
        let words = answer["error"]["message"].as_str().unwrap();
        let named = if code == -32601 { words.contains(&format!("`{method}`")) } else { words.len() > 10 };
        assert!(named, "{method} {params}: {answer}");
    }
    world.stop().await;
}

/// A server that reports progress and asks the person before it answers.
fn asking() -> Script {
    Arc::new(|upstream, message, _| {
        if message["method"] != "tools/call" {
            return stateful(message, &json!([tool("ask", "asks")])).unwrap();
        }
        let (sender, receiver) = mpsc::channel(8);
        let asked = format!("q{}", upstream.of("tools/call").len());
        let (upstream, message) = (upstream.clone(), message.clone());
        tokio::spawn(async move {
            let token = &message["params"]["_meta"]["progressToken"];
            if !token.is_null() {
                let params = json!({ "progressToken": token, "progress": 1 });
                let progress =
                    json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
                sender.send(progress).await.unwrap();
            }
            let params =
                json!({ "message": "Sure?", "requestedSchema": { "type": "object", "properties": {} } });
            let question =
                json!({ "jsonrpc": "2.0", "id": asked, "method": "elicitation/create", "params": params });
            sender.send(question).await.unwrap();
            let answer = upstream.answer_to(&asked).await;
            let text = answer.get("result").unwrap_or(&answer["error"]).to_string();
            let result = json!({ "content": [{ "type": "text", "text": text }] });
            sender.send(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result })).await.unwrap();
        });
        Reply::Events(receiver)
    })
}

#[tokio::test]
async fn progress_and_a_servers_question_reach_the_client_and_its_answer_the_server() {
    let upstream = Upstream::start(asking()).await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call", "elicitation:create"]);
    let session = open(&world, &who, OWN, json!({ "elicitation": {} })).await;
    let params = json!({ "name": "ask", "arguments": {}, "_meta": { "progressToken": "mine", "a/b": 1 } });
    let call = request(&world, &who, OWN, &rpc(5, "tools/call", params)).header("mcp-session-id", &session);
    let mut events = Events::of(call.send().await.unwrap());
    let progress = events.next().await.unwrap();
    assert_eq!(progress["params"], json!({ "progressToken": "mine", "progress": 1 }));
    let question = events.next().await.unwrap();
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(question["params"]["message"], "up: Sure?", "the person sees which server asks");
    let other = world.service("other", &["tool:call"]);
    let others = open(&world, &other, OWN, json!({ "elicitation": {} })).await;
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "decline" } });
    assert_eq!(in_session(&world, &other, OWN, &others, &answer).await.status, StatusCode::ACCEPTED);
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } });
    assert_eq!(in_session(&world, &who, OWN, &session, &answer).await.status, StatusCode::ACCEPTED);
    let result = events.next().await.unwrap();
    assert_eq!(
        (&result["id"], &result["result"]["content"][0]["text"]),
        (&json!(5), &json!("{\"action\":\"accept\"}"))
    );
    assert_eq!(events.next().await, None);
    let sent = upstream.of("tools/call").pop().unwrap();
    assert_eq!(sent["params"]["_meta"]["a/b"], 1, "what nobody here knows goes on: {sent}");
    assert_ne!(
        sent["params"]["_meta"]["progressToken"], "mine",
        "two clients may have chosen the same token"
    );
    let opened = upstream.of("initialize").pop().unwrap();
    assert_eq!(
        opened["params"]["capabilities"],
        json!({ "elicitation": {} }),
        "a session of the client's own"
    );
    let record =
        world.records().into_iter().rfind(|record| record["action"] == "elicitation:create").unwrap();
    assert_eq!((outcome(&record).0, &record["resource"]), ("allow", &json!("Caxton::McpServer::\"up\"")));
    world.stop().await;
}

#[tokio::test]
async fn a_question_that_no_policy_permits_is_refused_to_the_server() {
    let upstream = Upstream::start(asking()).await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call"]);
    let session = open(&world, &who, OWN, json!({ "elicitation": {} })).await;
    let call = rpc(5, "tools/call", json!({ "name": "ask" }));
    let answer = in_session(&world, &who, OWN, &session, &call).await;
    // Nothing came before the answer that the client takes, so it is one document.
    let text = answer.json()["result"]["content"][0]["text"].as_str().unwrap().to_owned();
    assert!(text.contains("-32003"), "{text}");
    let record =
        world.records().into_iter().rfind(|record| record["action"] == "elicitation:create").unwrap();
    assert_eq!(outcome(&record), ("deny_default", "no_permit"));
    // One whose client cannot do it is not asked for.
    let unable = open(&world, &who, OWN, json!({ "roots": {} })).await;
    let answer = in_session(&world, &who, OWN, &unable, &call).await;
    assert!(answer.json()["result"]["content"][0]["text"].as_str().unwrap().contains("-32601"), "{answer:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_renewed_and_the_call_is_sent_once_more() {
    let upstream = Upstream::start(Arc::new(|upstream, message, headers| {
        let forgotten = message["method"] == "tools/call"
            && headers["mcp-session-id"] == "session-1"
            && upstream.of("tools/call").len() < 4;
        if forgotten {
            return Reply::Status(404);
        }
        stateful(message, &json!([tool("echo", "e")])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call"]);
    let calls =
        (0..3).map(|id| send(request(&world, &who, OWN, &rpc(id, "tools/call", json!({ "name": "echo" })))));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.json()["result"]["content"][0]["text"], "ok", "{answer:?}");
    }
    assert_eq!(upstream.of("initialize").len(), 2, "one renewal for all");
    assert_eq!(upstream.of("tools/list").len(), 2, "its tools were compared again");
    world.stop().await;
}

#[tokio::test]
async fn a_call_whose_client_goes_away_or_says_so_is_cancelled_at_the_server() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        stateful(message, &json!([tool("hang", "h")])).unwrap_or_else(|| {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move { sender.closed().await });
            Reply::Events(receiver)
        })
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call"]);
    let session = open(&world, &who, OWN, json!({})).await;
    let call = |id: u64| {
        let body = rpc(id, "tools/call", json!({ "name": "hang" }));
        request(&world, &who, OWN, &body).header("mcp-session-id", &session)
    };
    let first = tokio::spawn(call(1).send());
    until("the call has come", async || upstream.of("tools/call").len() == 1).await;
    first.abort();
    until("the server is told", async || upstream.of("notifications/cancelled").len() == 1).await;
    let rest = world.request(&who, Method::POST, "/v1/tools/up/hang/call").json(&json!({ "arguments": {} }));
    let rest = tokio::spawn(rest.send());
    until("the call has come", async || upstream.of("tools/call").len() == 2).await;
    rest.abort();
    until("the server is told", async || upstream.of("notifications/cancelled").len() == 2).await;

    let second = tokio::spawn(send(call(7)));
    until("the call has come", async || upstream.of("tools/call").len() == 3).await;
    let other =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 8 } });
    in_session(&world, &who, OWN, &session, &other).await;
    let own = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    assert_eq!(in_session(&world, &who, OWN, &session, &own).await.status, StatusCode::ACCEPTED);
    assert_eq!(second.await.unwrap().json()["error"]["code"], -32003);
    until("the server is told", async || upstream.of("notifications/cancelled").len() == 3).await;
    let cancelled = upstream.of("notifications/cancelled").pop().unwrap();
    assert_eq!(cancelled["params"]["requestId"], upstream.of("tools/call").pop().unwrap()["id"]);
    world.stop().await;
}

/// A request of 2026-07-28 with its header fields.
fn modern(world: &World, who: &Credential, method: &str, name: &str, params: Json) -> RequestBuilder {
    let mut params = params;
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
    params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "test", "version": "1" });
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({ "elicitation": {} });
    let request = request(world, who, OWN, &rpc(1, method, params));
    let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
    if name.is_empty() { request } else { request.header("mcp-name", name) }
}

fn questions() -> Script {
    Arc::new(|_, message, _| {
        if message["method"] != "tools/call" {
            return stateless(message, &json!([tool("ask", "asks")])).unwrap();
        }
        let params = &message["params"];
        if params["requestState"] == "server-state" {
            return done(&params["inputResponses"]["q"].to_string());
        }
        let question = json!({ "method": "elicitation/create", "params": { "message": "Sure?", "requestedSchema": { "type": "object", "properties": {} } } });
        Reply::Result(
            json!({ "resultType": "input_required", "inputRequests": { "q": question }, "requestState": "server-state" }),
        )
    })
}

#[tokio::test]
async fn the_state_of_a_round_is_sealed_and_opens_for_its_own_request_only() {
    let upstream = Upstream::start(questions()).await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call", "elicitation:create"]);
    let other = world.service("other", &["tool:call", "elicitation:create"]);
    let arguments = json!({ "text": "x" });
    let first = json!({ "name": "ask", "arguments": arguments });
    let answer = send(modern(&world, &who, "tools/call", "ask", first.clone())).await.json();
    let round = &answer["result"];
    assert_eq!(round["resultType"], "input_required", "{answer}");
    assert_eq!(round["inputRequests"]["q"]["params"]["message"], "up: Sure?");
    let state = round["requestState"].as_str().unwrap();
    assert!(!state.contains("server-state"));
    let second = |state: &str, text: &str| json!({ "name": "ask", "arguments": { "text": text }, "requestState": state, "inputResponses": { "q": { "action": "accept" } } });
    let refused = [
        modern(&world, &other, "tools/call", "ask", second(state, "x")),
        modern(&world, &who, "tools/call", "ask", second(state, "other arguments")),
        modern(&world, &who, "tools/call", "ask", second(&format!("{state}A"), "x")),
        modern(&world, &who, "tools/call", "ask", second("server-state", "x")),
    ];
    for request in refused {
        let answer = send(request).await.json();
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert_eq!(answer["error"]["data"]["reason"], "invalid_request_state");
    }
    assert_eq!(upstream.of("tools/call").len(), 1, "none of them has left");
    let answer = send(modern(&world, &who, "tools/call", "ask", second(state, "x"))).await.json();
    assert_eq!(answer["result"]["content"][0]["text"], "{\"action\":\"accept\"}", "{answer}");
    assert_eq!(answer["result"]["resultType"], "complete");
    let sent = upstream.of("tools/call").pop().unwrap();
    let own = &sent["params"]["_meta"];
    assert_eq!(own["io.modelcontextprotocol/clientInfo"]["name"], "caxton", "{sent}");
    assert_eq!(own["io.modelcontextprotocol/clientCapabilities"], json!({ "elicitation": {} }));
    // Who has no right to be asked is not asked.
    let bare = world.service("bare", &["tool:call"]);
    let answer = send(modern(&world, &bare, "tools/call", "ask", first)).await.json();
    assert_eq!(answer["error"]["code"], -32003, "{answer}");
    world.stop().await;
}

/// The bridge of the generations: a client with a session before a server without, and the same decisions.
#[tokio::test]
async fn an_old_client_is_asked_on_its_stream_what_a_new_server_asks_in_a_round() {
    let upstream = Upstream::start(questions()).await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call", "elicitation:create"]);
    let session = open(&world, &who, OWN, json!({ "elicitation": {} })).await;
    let call = request(&world, &who, OWN, &rpc(5, "tools/call", json!({ "name": "ask" })));
    let mut events = Events::of(call.header("mcp-session-id", &session).send().await.unwrap());
    let question = events.next().await.unwrap();
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("up: Sure?"))
    );
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } });
    in_session(&world, &who, OWN, &session, &answer).await;
    let result = events.next().await.unwrap();
    assert_eq!(result["result"]["content"][0]["text"], "{\"action\":\"accept\"}", "{result}");
    assert!(result["result"].get("resultType").is_none());
    let decided: Vec<_> = world
        .records()
        .iter()
        .filter(|record| record["action"] == "up___ask")
        .map(|record| record["outcome"].clone())
        .collect();
    assert_eq!(decided, ["allow", "allow"], "each round is decided");
    world.stop().await;
}

/// A round has the state of the one before it, and none where that had none.
#[tokio::test]
async fn a_state_is_not_carried_into_later_rounds() {
    let upstream = Upstream::start(Arc::new(|upstream, message, _| {
        if message["method"] != "tools/call" {
            return stateless(message, &json!([tool("ask", "asks")])).unwrap();
        }
        let question = json!({ "method": "elicitation/create", "params": { "message": "Sure?" } });
        let mut round = json!({ "resultType": "input_required", "inputRequests": { "q": question } });
        match upstream.of("tools/call").len() {
            1 => {
                round["requestState"] = "first".into();
                Reply::Result(round)
            }
            2 => Reply::Result(round),
            _ => done(&message["params"]["requestState"].to_string()),
        }
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call", "elicitation:create"]);
    let session = open(&world, &who, OWN, json!({ "elicitation": {} })).await;
    let call = request(&world, &who, OWN, &rpc(5, "tools/call", json!({ "name": "ask" })));
    let mut events = Events::of(call.header("mcp-session-id", &session).send().await.unwrap());
    for _ in 0..2 {
        let question = events.next().await.unwrap();
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "action": "accept" } });
        in_session(&world, &who, OWN, &session, &answer).await;
    }
    assert_eq!(events.next().await.unwrap()["result"]["content"][0]["text"], "null");
    assert_eq!(upstream.of("tools/call")[1]["params"]["requestState"], "first");
    world.stop().await;
}

/// Clients of both generations hear of changes at a server of 2026-07-28, each of what it may.
#[tokio::test]
async fn who_subscribes_hears_of_changes_and_of_nothing_else() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        if message["method"] != "subscriptions/listen" {
            return stateless(message, &json!([])).unwrap();
        }
        let (sender, receiver) = mpsc::channel(8);
        let wanted = message["params"]["notifications"].clone();
        tokio::spawn(async move {
            let says =
                |method: &str, params: Json| json!({ "jsonrpc": "2.0", "method": method, "params": params });
            let acknowledged =
                says("notifications/subscriptions/acknowledged", json!({ "notifications": wanted }));
            let mut said = vec![acknowledged, says("notifications/cancelled", json!({ "requestId": 1 }))];
            for uri in wanted["resourceSubscriptions"].as_array().into_iter().flatten() {
                let own = json!({ "io.modelcontextprotocol/subscriptionId": "theirs", "a/b": 1 });
                said.push(says("notifications/resources/updated", json!({ "uri": uri, "_meta": own })));
            }
            if wanted["promptsListChanged"] == true {
                said.push(says("notifications/prompts/list_changed", json!({})));
            }
            for message in said {
                sender.send(message).await.unwrap();
            }
            sender.closed().await;
        });
        Reply::Events(receiver)
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:list", "prompt:list", "resource:subscribe"]);
    let wanted = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true, "resourceSubscriptions": ["file:///a"] });
    let listen = modern(&world, &who, "subscriptions/listen", "", json!({ "notifications": wanted }));
    let mut events = Events::of(listen.send().await.unwrap());
    let first = events.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let taken = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["file:///a"] });
    assert_eq!(first["params"]["notifications"], taken, "the list of resources may not be heard of");
    let updated = events.next().await.unwrap();
    assert_eq!(
        (&updated["method"], &updated["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!("file:///a"))
    );
    assert_eq!(events.next().await.unwrap()["method"], "notifications/prompts/list_changed");
    for message in [&first, &updated] {
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1, "{message}");
    }
    drop(events);

    let session = open(&world, &who, "/mcp", json!({})).await;
    let stream = world.request(&who, Method::GET, "/mcp").header("accept", "text/event-stream");
    let mut events = Events::of(stream.header("mcp-session-id", &session).send().await.unwrap());
    let subscribe = rpc(2, "resources/subscribe", json!({ "uri": "up+file:///b" }));
    let answer = in_session(&world, &who, "/mcp", &session, &subscribe).await;
    assert_eq!(answer.json()["result"], json!({}), "{answer:?}");
    assert_eq!(events.next().await.unwrap()["params"]["uri"], "up+file:///b");
    let none = world.service("none", &["tool:list"]);
    let other = open(&world, &none, "/mcp", json!({})).await;
    let denied = in_session(&world, &none, "/mcp", &other, &subscribe).await;
    assert_eq!(denied.json()["error"]["code"], -32003, "{denied:?}");
    for notifications in [json!(3), json!({ "resourceSubscriptions": [3] })] {
        let wrong =
            modern(&world, &who, "subscriptions/listen", "", json!({ "notifications": notifications }));
        assert_eq!(send(wrong).await.json()["error"]["code"], -32602);
    }
    world.stop().await;
}

#[tokio::test]
async fn header_fields_that_contradict_the_body_are_refused() {
    let mut described = tool("where", "w");
    described["inputSchema"]["properties"]["region"] = json!({ "type": "string", "x-mcp-header": "Region" });
    let upstream = Upstream::start(Arc::new(move |_, message, _| {
        stateless(message, &json!([described])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:*"]);
    let params = json!({ "name": "where", "arguments": { "region": "eu" } });
    let good = || modern(&world, &who, "tools/call", "where", params.clone());
    let answer = send(good().header("mcp-param-region", "eu")).await;
    assert_eq!(answer.json()["result"]["content"][0]["text"], "ok", "{answer:?}");
    let (sent, headers) = upstream.seen.lock().last().cloned().unwrap();
    assert_eq!(
        (&headers["mcp-param-region"], &headers["mcp-name"]),
        (&"eu".parse().unwrap(), &"where".parse().unwrap())
    );
    assert_eq!(sent["params"]["arguments"]["region"], "eu");
    let before = upstream.seen.lock().len();
    let wrong = [
        good(),
        good().header("mcp-param-region", "us"),
        good().header("mcp-param-region", "eu").header("mcp-param-region", "eu"),
        modern(&world, &who, "tools/call", "other", params.clone()).header("mcp-param-region", "eu"),
        modern(&world, &who, "tools/call", "", params.clone()).header("mcp-param-region", "eu"),
        good().header("mcp-param-region", "eu").header("mcp-method", "tools/list"),
        good().header("mcp-param-region", "eu").header("mcp-protocol-version", "2025-11-25"),
    ];
    for (number, request) in wrong.into_iter().enumerate() {
        let answer = send(request).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (StatusCode::BAD_REQUEST, &json!(-32020)),
            "{number}: {answer:?}"
        );
    }
    assert_eq!(upstream.seen.lock().len(), before, "none of them has left");
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "nothing/known"] {
        let answer = send(modern(&world, &who, method, "", json!({}))).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]["code"]),
            (StatusCode::NOT_FOUND, &json!(-32601)),
            "{method}"
        );
    }
    let listed = send(modern(&world, &who, "tools/list", "", json!({}))).await.json();
    assert_eq!((&listed["result"]["ttlMs"], &listed["result"]["cacheScope"]), (&json!(0), &json!("private")));
    world.stop().await;
}

#[tokio::test]
async fn the_trace_of_a_request_is_in_the_record_and_goes_on() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        stateful(message, &json!([tool("echo", "e")])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = world(&upstream, "").await;
    let who = world.service("one", &["tool:call"]);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let in_body = json!({ "name": "echo", "_meta": { "traceparent": trace, "tracestate": "a=b" } });
    send(request(&world, &who, OWN, &rpc(1, "tools/call", in_body))).await;
    let bare = json!({ "name": "echo" });
    send(request(&world, &who, OWN, &rpc(2, "tools/call", bare)).header("traceparent", trace)).await;
    for sent in upstream.of("tools/call") {
        assert_eq!(sent["params"]["_meta"]["traceparent"], trace, "{sent}");
    }
    assert_eq!(upstream.of("tools/call")[0]["params"]["_meta"]["tracestate"], "a=b");
    let records: Vec<_> =
        world.records().into_iter().filter(|record| record["action"] == "up___echo").collect();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{record}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_health_of_servers_is_shown_and_does_not_make_the_gateway_unready() {
    let upstream = Upstream::start(Arc::new(|_, message, _| {
        stateful(message, &json!([])).unwrap_or_else(|| done("ok"))
    }))
    .await;
    let world = World::with(|settings, _| {
        let server = |name: &str, url: &str| {
            let url = url.parse().unwrap();
            ServerSettings::new(
                ServerName::parse(name).unwrap(),
                Transport::Http { url, headers: Vec::new() },
            )
        };
        settings.tools.servers =
            vec![server("here", &upstream.url), server("away", "http://127.0.0.1:1/mcp")];
    })
    .await;
    let who = world.service("one", &["tool:list"]);
    let servers = json!([
        { "name": "here", "state": "up", "needs_account": false },
        { "name": "away", "state": "down", "needs_account": false },
    ]);
    assert_eq!(world.get(&who, "/v1/tools/servers").await.json()["servers"], servers);
    let operations = format!("http://{}", world.gateway.operations());
    let read = async |path: &str| send(world.client.get(format!("{operations}{path}"))).await.text;
    assert_eq!(read("/readyz").await, "ready\n");
    assert_eq!(read("/readyz?verbose").await, "ready\nupstream here up\nupstream away down\n");
    let metrics = read("/metrics").await;
    for line in ["caxton_upstream_up{server=\"here\"} 1", "caxton_upstream_up{server=\"away\"} 0"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    world.stop().await;
}
