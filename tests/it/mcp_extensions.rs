//! Extensions of MCP over the wire: tasks belong to whose call began them, skills and apps are shown to who may use them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::StatusCode;
use serde_json::{Value as Json, json};

use crate::mcp::{OWN, Reply, Script, Upstream, done, request, rpc, stateless, world};
use crate::support::{Answer, Credential, World, send, tool};

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request of 2026-07-28 by a client that follows tasks, or by one that does not.
async fn modern(
    world: &World,
    (who, path, follows): (&Credential, &str, bool),
    (method, name): (&str, &str),
    params: Json,
) -> Answer {
    let mut params = params;
    let extensions = if follows { json!({ (TASKS): {} }) } else { json!({}) };
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "extensions": extensions },
    });
    let request = request(world, who, path, &rpc(1, method, params));
    let request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
    send(if name.is_empty() { request } else { request.header("mcp-name", name) }).await
}

/// A server whose tool `slow` begins a task, where the client follows tasks: it asks, and then it is done.
fn slow_server(states: Arc<AtomicUsize>) -> Script {
    Arc::new(move |_, message, _| {
        let params = &message["params"];
        let extensions = &params["_meta"]["io.modelcontextprotocol/clientCapabilities"]["extensions"];
        let state =
            |state: &str| json!({ "taskId": "t-7", "status": state, "ttlMs": 60_000, "createdAt": "x" });
        match message["method"].as_str().unwrap() {
            "server/discover" => Reply::Result(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                "capabilities": { "tools": {}, "extensions": { (TASKS): {}, "example.com/unknown": {} } },
            })),
            "tools/call" if extensions[TASKS].is_object() => {
                assert!(extensions.get("example.com/unknown").is_none(), "{extensions}");
                let mut begun = state("working");
                begun["resultType"] = "task".into();
                begun["result"] = json!({ "content": [{ "type": "text", "text": "too soon" }] });
                Reply::Result(begun)
            }
            "tools/call" => done("at once"),
            "tasks/get" => {
                assert_eq!(params["taskId"], "t-7", "the server's own name");
                let mut answer = match states.load(Ordering::SeqCst) {
                    0 => {
                        let mut asks = state("input_required");
                        let form = json!({ "type": "object", "properties": {} });
                        let question = json!({ "message": "Sure?", "requestedSchema": form });
                        asks["inputRequests"] =
                            json!({ "q": { "method": "elicitation/create", "params": question } });
                        asks
                    }
                    1 => {
                        let mut over = state("completed");
                        let secret = json!({ "ssn": "123-45", "name": "ann" });
                        over["result"] = json!({
                            "content": [{ "type": "text", "text": secret.to_string() }],
                            "structuredContent": secret, "_meta": { "caxton/refusal": {} },
                        });
                        over
                    }
                    2 => {
                        let mut other = state("working");
                        other["taskId"] = "t-8".into();
                        other
                    }
                    _ => json!({ "taskId": "t-7", "status": "completed", "result": { "content": "x" } }),
                };
                answer["resultType"] = "complete".into();
                Reply::Result(answer)
            }
            "tasks/update" | "tasks/cancel" => Reply::Result(json!({ "resultType": "complete" })),
            _ => stateless(message, &json!([tool("slow", "takes its time")])).unwrap(),
        }
    })
}

#[tokio::test]
async fn a_task_belongs_to_the_principal_whose_call_began_it() {
    let states = Arc::new(AtomicUsize::new(0));
    let upstream = Upstream::start(slow_server(Arc::clone(&states))).await;
    let own = "@id(\"own.redact\") @description(\"Without numbers.\") @redact(\"/ssn\")\n\
        permit (principal == Caxton::Service::\"ann\", action in Caxton::Action::\"tool:call\", resource);\n\
        @id(\"own.no-cancel\") @reason(\"tasks come to their end\")\n\
        forbid (principal, action == Caxton::Action::\"task:cancel\", resource in Caxton::Tool::\"up___slow\");\n";
    let world = world(&upstream, own).await;
    let (ann, bob) = (world.service("ann", &["elicitation:create"]), world.service("bob", &["tool:call"]));

    let discovered = modern(&world, (&ann, OWN, true), ("server/discover", ""), json!({})).await.json();
    let extensions = &discovered["result"]["capabilities"]["extensions"];
    assert_eq!(*extensions, json!({ (TASKS): {} }), "no other extension is passed on");

    // A client that follows none has the result, and no method of tasks.
    let call = json!({ "name": "slow", "arguments": { "text": "a" } });
    let plain = modern(&world, (&bob, OWN, false), ("tools/call", "slow"), call.clone()).await.json();
    assert_eq!(plain["result"]["content"][0]["text"], "at once", "{plain}");

    let begun = modern(&world, (&ann, OWN, true), ("tools/call", "slow"), call).await.json();
    let begun = &begun["result"];
    assert_eq!((&begun["resultType"], &begun["status"]), (&json!("task"), &json!("working")), "{begun}");
    assert!(begun.get("result").is_none(), "what was not judged as a result is none: {begun}");
    let name = begun["taskId"].as_str().unwrap().to_owned();
    assert!(!name.contains("t-7"));
    let step = async |who: &Credential, path: &str, method: &str, name: &str, more: Json| {
        let mut params = more;
        params["taskId"] = name.into();
        modern(&world, (who, path, true), (method, name), params).await
    };

    // It asks, by the gateway, with the server's name.
    let asks = step(&ann, OWN, "tasks/get", &name, json!({})).await.json();
    let shown = &asks["result"]["inputRequests"]["q"]["params"]["message"];
    assert_eq!((shown, &asks["result"]["taskId"]), (&json!("up: Sure?"), &json!(name)), "{asks}");
    let answers = json!({ "inputResponses": { "q": { "action": "accept" } }, "requestState": "forged" });
    let updated = step(&ann, OWN, "tasks/update", &name, answers).await.json();
    assert_eq!(updated["result"]["resultType"], "complete", "{updated}");
    let sent = upstream.of("tasks/update");
    assert_eq!(sent[0]["params"]["inputResponses"]["q"]["action"], "accept");
    assert!(sent[0]["params"].get("requestState").is_none());

    // Its result is masked as that of the call is.
    states.store(1, Ordering::SeqCst);
    let over = step(&ann, OWN, "tasks/get", &name, json!({})).await;
    assert!(over.text.contains("[redacted]") && over.text.contains("ann"), "{over:?}");
    assert!(!over.text.contains("123-45") && !over.text.contains("caxton/refusal"), "{over:?}");

    // What policy forbids of it, and what is no task of the caller's.
    let denied = step(&ann, OWN, "tasks/cancel", &name, json!({})).await.json();
    assert_eq!(denied["error"]["code"], -32003, "{denied}");
    assert!(denied["error"]["message"].as_str().unwrap().contains("tasks come to their end"), "{denied}");
    assert!(upstream.of("tasks/cancel").is_empty());
    let before = upstream.of("tasks/get").len();
    let mut changed = name.clone();
    changed.replace_range(20..21, if &name[20..21] == "A" { "B" } else { "A" });
    for (who, path, name) in [
        (&bob, OWN, name.as_str()),
        (&ann, "/mcp", &name),
        (&ann, OWN, "t-7"),
        (&ann, OWN, &changed),
        (&ann, OWN, ""),
    ] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let answer = step(who, path, method, name, json!({})).await;
            if name.is_empty() {
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
                continue;
            }
            assert_eq!(answer.json()["error"]["code"], -32602, "{path} {name} {method}: {answer:?}");
        }
    }
    let does_not = json!({ "taskId": name });
    let refused = modern(&world, (&ann, OWN, false), ("tasks/get", &name), does_not).await.json();
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let needed = &refused["error"]["data"]["requiredCapabilities"]["extensions"];
    assert_eq!(*needed, json!({ (TASKS): {} }), "{refused}");
    let old = rpc(1, "tasks/get", json!({ "taskId": name }));
    let old = send(request(&world, &ann, OWN, &old)).await.json();
    assert_eq!(old["error"]["code"], -32601, "{old}");
    assert_eq!(upstream.of("tasks/get").len(), before, "nothing of that left");

    // An answer about another task, and one that is no result.
    for state in [2, 3] {
        states.store(state, Ordering::SeqCst);
        let bad = step(&ann, OWN, "tasks/get", &name, json!({})).await.json();
        assert_eq!(bad["error"]["code"], -32003, "{bad}");
    }
    let records = world.records();
    let of_bob = |record: &&Json| {
        record["subject"]["principal"] == "Caxton::Service::\"bob\"" && record["action"] == "task:get"
    };
    let tried = records.iter().rfind(of_bob).unwrap();
    assert_eq!(
        (&tried["outcome"], &tried["reason_code"]),
        (&json!("deny_default"), &json!("task_unknown")),
        "{tried}"
    );
    let got = records.iter().rfind(|record| record["action"] == "task:get").unwrap();
    assert_eq!(got["resource"], "Caxton::Task::\"up___t-7\"", "{got}");
    world.stop().await;
}

/// A server with two skills, their directory, an app and a tool that belongs to it.
fn skilled() -> Script {
    Arc::new(|_, message, _| {
        let uri = message["params"]["uri"].as_str().unwrap_or_default();
        let aged = |mut result: Json| {
            result["resultType"] = "complete".into();
            result["ttlMs"] = 1_000.into();
            result["cacheScope"] = "public".into();
            Reply::Result(result)
        };
        let skill = |name: &str| {
            json!({
                "uri": format!("skill://{name}/SKILL.md"), "frontmatter": { "name": name, "description": "d" },
                "resources": [{ "uri": format!("skill://{name}/SKILL.md"), "digest": "sha256:0", "size": 1 }],
            })
        };
        match message["method"].as_str().unwrap() {
            "server/discover" => Reply::Result(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 0, "cacheScope": "private",
                "capabilities": { "tools": {}, "resources": {},
                    "extensions": { "io.modelcontextprotocol/skills": { "directoryRead": true } } },
            })),
            "skills/list" => {
                aged(json!({ "skills": [skill("open"), skill("closed"), { "uri": "skill://a/../b" }] }))
            }
            "skills/get" if uri.contains("liar") => aged(json!({ "skill": skill("closed") })),
            "skills/get" => aged(json!({ "skill": skill("open") })),
            "resources/directory/read" => aged(json!({ "resources": [
                { "uri": "skill://open/a.md", "name": "a" }, { "uri": "skill://open/secret.md", "name": "s" },
            ] })),
            "resources/list" => aged(json!({ "resources": [
                { "uri": "ui://board/page", "name": "page" }, { "uri": "file:///plan", "name": "plan" },
            ] })),
            "resources/read" => aged(json!({ "contents": [{ "uri": uri, "text": "t" }] })),
            _ => {
                let mut board = tool("board", "shows a board");
                board["_meta"] = json!({ "ui": { "resourceUri": "ui://board/page" }, "ui/resourceUri": "ui://board/page" });
                stateless(message, &json!([board])).unwrap()
            }
        }
    })
}

#[tokio::test]
async fn skills_and_apps_are_shown_to_who_may_use_them() {
    let upstream = Upstream::start(skilled()).await;
    let own = "@id(\"own.skills\") permit (principal == Caxton::Service::\"reader\", action in [Caxton::Action::\"skill:list\", Caxton::Action::\"resource:list\"], resource);\n\
        @id(\"own.skill\") permit (principal == Caxton::Service::\"reader\", action == Caxton::Action::\"skill:get\", resource in Caxton::McpServer::\"up\") unless { resource.uri like \"*closed*\" };\n\
        @id(\"own.files\") permit (principal == Caxton::Service::\"reader\", action == Caxton::Action::\"resource:read\", resource is Caxton::McpResource) unless { resource.uri like \"*secret*\" };\n";
    let world = world(&upstream, own).await;
    let reader = world.service("reader", &["tool:list", "tool:call"]);
    let viewer = world.service("viewer", &["app:read", "resource:list"]);
    for (path, prefix) in [(OWN, ""), ("/mcp", "up+")] {
        let ask = async |who: &Credential, method: &str, params: Json| {
            let name =
                params["uri"].as_str().filter(|_| method == "resources/read").unwrap_or_default().to_owned();
            modern(&world, (who, path, false), (method, &name), params).await.json()
        };
        let listed = ask(&reader, "skills/list", json!({})).await;
        let skills = listed["result"]["skills"].as_array().unwrap();
        let uri = format!("skill://{prefix}open/SKILL.md");
        assert_eq!((skills.len(), &skills[0]["uri"]), (1, &json!(uri)), "{listed}");
        assert_eq!(skills[0]["resources"][0]["uri"], uri.as_str());
        assert_eq!(
            (&listed["result"]["ttlMs"], &listed["result"]["cacheScope"]),
            (&json!(0), &json!("private"))
        );
        let got = ask(&reader, "skills/get", json!({ "uri": uri })).await;
        assert_eq!(got["result"]["skill"]["uri"], uri.as_str(), "{got}");
        for (closed, code) in [
            (format!("skill://{prefix}closed/SKILL.md"), -32003),
            // Its server answers with a skill that was not asked about.
            (format!("skill://{prefix}liar/SKILL.md"), -32003),
            (format!("skill://{prefix}a/../b"), -32602),
        ] {
            let denied = ask(&reader, "skills/get", json!({ "uri": closed })).await;
            assert_eq!(denied["error"]["code"], code, "{closed}: {denied}");
        }
        let directory =
            ask(&reader, "resources/directory/read", json!({ "uri": format!("skill://{prefix}open/") }));
        let directory = directory.await;
        let entries = directory["result"]["resources"].as_array().unwrap();
        let uris: Vec<&Json> = entries.iter().map(|entry| &entry["uri"]).collect();
        assert_eq!(uris, [&json!(format!("skill://{prefix}open/a.md"))], "{directory}");

        // A page of a server is another thing than its files.
        let page = format!("ui://{prefix}board/page");
        for (who, uri, is_read) in [(&viewer, page.as_str(), true), (&reader, page.as_str(), false)] {
            let read = ask(who, "resources/read", json!({ "uri": uri })).await;
            assert_eq!(read["result"]["contents"][0]["uri"] == uri, is_read, "{read}");
            let listed = ask(who, "resources/list", json!({})).await;
            let uris: Vec<&str> = listed["result"]["resources"]
                .as_array()
                .unwrap()
                .iter()
                .map(|resource| resource["uri"].as_str().unwrap())
                .collect();
            assert_eq!(uris.contains(&page.as_str()), is_read, "{listed}");
        }
        let tools = ask(&reader, "tools/list", json!({})).await;
        let tools = tools["result"]["tools"].as_array().unwrap();
        let board = tools.iter().find(|tool| tool["name"].as_str().unwrap().ends_with("board")).unwrap();
        assert_eq!(board["_meta"]["ui"]["resourceUri"], page.as_str(), "{board}");
        assert_eq!(board["_meta"]["ui/resourceUri"], page.as_str(), "{board}");
        let denied = ask(&viewer, "skills/list", json!({})).await;
        assert_eq!(denied["error"]["code"], -32003, "{denied}");
    }
    world.stop().await;
}
