//! A gateway on free loopback ports with principals to call it, for tests over the wire.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

pub mod accounts;
pub mod cedar_data;
pub mod child;
pub mod golden;
pub mod json;
pub mod node;
pub mod oauth;
pub mod oopsla;
pub mod pki;
pub mod port;
pub mod solver;

pub use child::whole_lines;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use caxton::authn::issue::TokenIssuer;
use caxton::authn::jwt::{JwtAlgorithm, JwtKey, KeyMaterial};
use caxton::authn::{KeyHolder, KeyStore};
use caxton::clock::{Clock as _, SystemClock};
use caxton::model::{AgentId, RoleName, ServiceName};
use caxton::server::{Gateway, Settings};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value as Json, json};

/// The longest wait for whatever is not tested for its time. A machine with other tests on it is slow, one that is
/// suspended for a minute is slower, and a broken gateway is slower still.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The life of a key: longer than the longest test.
const DAY_MILLIS: i64 = 86_400_000;

pub const ISSUER: &str = "https://login.example";
pub const AUDIENCE: &str = "caxton-api";

/// An agent with a module that answers, two tools and a workspace.
pub const CLERK: &str = "---\nname: clerk\nversion: \"1.0.0\"\ncapabilities: [desk, memory-read, memory-write, message-receive, message-send, tool-access]\ntools: [csv_parser]\nworkspace: office\nmemory: { max_entities: 2 }\nhandler: builtin:echo_agent\n---\nYou are the clerk.\n";
/// An agent without a module, in another workspace.
pub const RESEARCHER: &str = "---\nname: researcher\ncapabilities: [research, memory-read, memory-write, message-receive, message-send, tool-access]\ntools: [csv_parser, json_validator]\nworkspace: lab\n---\nYou look things up.\n";

/// A gateway as shipped, but for its bounds on time and on how often somebody asks: a test that is about one of them
/// sets it.
pub fn settings(data_dir: PathBuf) -> Settings {
    let mut settings = Settings::embedded(data_dir);
    settings.audit.deadline = PATIENCE;
    settings.memory.deadline = PATIENCE;
    settings.reload.timeout = PATIENCE;
    settings.sandbox.max_queue_wait = PATIENCE;
    settings.http.header_timeout = PATIENCE;
    settings.http.idle_timeout = PATIENCE;
    settings.api.body_timeout = PATIENCE;
    settings.api.request_timeout = PATIENCE;
    settings.authn.dpop.max_age = PATIENCE;
    settings.limit.per_principal = "1000000/second".parse().unwrap();
    settings.quotas.refusals = "1000000/second".parse().unwrap();
    settings
}

/// Asks until `found` is there: for what happens by itself, or in another process.
pub async fn eventually<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            match found().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// The same for what holds or does not.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}

/// A running gateway and what is needed to call it.
pub struct World {
    pub directory: tempfile::TempDir,
    pub gateway: Gateway,
    pub client: Client,
    issuer: TokenIssuer,
    keys: KeyStore,
}

/// How a caller proves itself.
#[derive(Clone)]
pub enum Credential {
    Nothing,
    Token(String),
    Key(String),
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl World {
    /// A gateway with the shipped policies, the two agents, and whatever `change` does to the settings.
    pub async fn with(change: impl FnOnce(&mut Settings, &Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let agents = directory.path().join("agents");
        std::fs::create_dir(&agents).unwrap();
        write(&agents.join("clerk.md"), CLERK);
        write(&agents.join("researcher.md"), RESEARCHER);
        let mut settings = settings(directory.path().join("data"));
        settings.agents.directory = Some(agents);
        let issuer = TokenIssuer::generate(ISSUER, AUDIENCE, Arc::new(SystemClock)).unwrap();
        settings.authn.jwt = Some(caxton::authn::jwt::Settings {
            keys: vec![JwtKey {
                name: "test".into(),
                algorithm: JwtAlgorithm::EdDsa,
                material: KeyMaterial::Pem(issuer.public_pem().unwrap()),
                kid: None,
            }],
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
            ..Default::default()
        });
        change(&mut settings, directory.path());
        let keys = KeyStore::open(&settings.authn.api_keys).unwrap();
        let gateway = Gateway::start(settings).await.unwrap();
        let client = Client::builder().timeout(PATIENCE).build().unwrap();
        Self { directory, gateway, client, issuer, keys }
    }

    pub async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// A person with these roles.
    pub fn person(&self, name: &str, roles: &[&str]) -> Credential {
        let claims = json!({ "roles": roles });
        let token = self.issuer.issue(name, Duration::from_secs(600), claims.as_object().unwrap().clone());
        Credential::Token(token.expose().clone())
    }

    /// A person with these claims.
    pub fn person_with(&self, name: &str, claims: &Json) -> Credential {
        let token = self.issuer.issue(name, Duration::from_secs(600), claims.as_object().unwrap().clone());
        Credential::Token(token.expose().clone())
    }

    /// The same, with a token that is bound to a key of its holder.
    pub fn bound_person(&self, name: &str, roles: &[&str], cnf: Json) -> Credential {
        let claims = json!({ "roles": roles, "cnf": cnf });
        let token = self.issuer.issue(name, Duration::from_secs(600), claims.as_object().unwrap().clone());
        Credential::Token(token.expose().clone())
    }

    /// A token that ended the moment it was made, for a gateway that tolerates no difference of clocks.
    pub fn expired(&self, name: &str) -> Credential {
        let token = self.issuer.issue(name, Duration::ZERO, Default::default());
        Credential::Token(token.expose().clone())
    }

    /// A program with these permission words.
    pub fn service(&self, name: &str, permissions: &[&str]) -> Credential {
        self.key(name, &KeyHolder::Service, permissions)
    }

    /// A deployed agent.
    pub fn agent(&self, name: &str) -> Credential {
        self.key(name, &KeyHolder::Agent(AgentId::parse(name).unwrap()), &[])
    }

    fn key(&self, name: &str, holder: &KeyHolder, permissions: &[&str]) -> Credential {
        let words: Vec<_> = permissions.iter().map(|word| RoleName::parse(word).unwrap()).collect();
        let now = SystemClock.now_millis();
        let name = ServiceName::parse(name).unwrap();
        let key = self.keys.create(&name, holder, &words, now, now + DAY_MILLIS).unwrap();
        Credential::Key(key.secret.expose().clone())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.gateway.scheme(), self.gateway.address())
    }

    pub fn request(&self, credential: &Credential, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, self.url(path))
            .header("accept", "application/json, text/event-stream");
        match credential {
            Credential::Nothing => request,
            Credential::Token(token) => request.bearer_auth(token),
            Credential::Key(key) => request.header("x-api-key", key),
        }
    }

    pub async fn get(&self, credential: &Credential, path: &str) -> Answer {
        send(self.request(credential, Method::GET, path)).await
    }

    /// What `/metrics` shows, with this query.
    pub async fn metrics(&self, query: &str) -> String {
        let address = format!("http://{}/metrics{query}", self.gateway.operations());
        self.client.get(address).send().await.unwrap().text().await.unwrap()
    }

    pub async fn post(&self, credential: &Credential, path: &str, body: &Json) -> Answer {
        send(self.request(credential, Method::POST, path).json(body)).await
    }

    /// One MCP request; answers with the whole JSON-RPC message.
    pub async fn mcp(&self, credential: &Credential, method: &str, params: Json) -> Json {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.post(credential, "/mcp", &body).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("data/audit.log")
    }

    /// All records so far, oldest first.
    pub fn records(&self) -> Vec<Json> {
        whole_lines(&self.log())
    }

    /// Stops the gateway and gives its directory back.
    pub async fn stop(self) -> tempfile::TempDir {
        self.gateway.drain().await;
        self.directory
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

/// Replaces the file as a whole: whoever watches it never sees a half.
pub fn replace(path: &Path, text: &str) {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    write(Path::new(&draft), text);
    std::fs::rename(draft, path).unwrap();
}

pub fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file =
        std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// The `outcome` and `reason_code` of a record.
pub fn outcome(record: &Json) -> (&str, &str) {
    (record["outcome"].as_str().unwrap(), record["reason_code"].as_str().unwrap())
}

/// A tool that takes a text, as a server describes it.
pub fn tool(name: &str, description: &str) -> Json {
    let text = json!({ "type": "object", "properties": { "text": { "type": "string" } } });
    json!({ "name": name, "description": description, "inputSchema": text })
}

/// An MCP server on a free port that offers `tools` and notes which of them are called. It ends with the test.
pub async fn upstream(tools: Json) -> (String, Arc<Mutex<Vec<String>>>) {
    upstream_that_waits(tools, |_| Box::pin(std::future::ready(()))).await
}

/// What a call of a tool, by its name, waits for.
type Wait = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The same, where a call of a tool is answered after `wait`.
pub async fn upstream_that_waits(
    tools: Json,
    wait: impl Fn(&str) -> Wait + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&calls);
    let wait = Arc::new(wait);
    let answer = async move |json::Json(message): json::Json| {
        let result = match message["method"].as_str().unwrap() {
            "initialize" => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "upstream", "version": "1" },
            }),
            "tools/list" => json!({ "tools": tools }),
            "tools/call" => {
                let name = message["params"]["name"].as_str().unwrap().to_owned();
                let waited = wait(&name);
                noted.lock().unwrap().push(name);
                waited.await;
                json!({ "content": [{ "type": "text", "text": "done" }] })
            }
            _ => return (axum::http::StatusCode::ACCEPTED, json::Json(Json::Null)),
        };
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        (axum::http::StatusCode::OK, json::Json(answer))
    };
    let router = axum::Router::new().route("/mcp", axum::routing::post(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, calls)
}
