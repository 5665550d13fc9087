//! Secrets from a Vault. No Vault can be had here, so a server speaks its published HTTP contract (auth/token, auth/approle,
//! auth/kubernetes, KV version 2) and writes down what it was asked.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use crate::support::child;
use crate::support::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use caxton::secrets::{SecretRequest, VaultError, VaultLogin, VaultProvider, VaultSettings};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "correct horse battery staple";

/// One request that the Vault got.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: String,
    token: String,
    namespace: String,
    body: Json,
}

impl Asked {
    fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

struct Vault {
    /// The life of a login in seconds.
    life: u64,
    renewable: bool,
    refuses_renewal: bool,
    logins: Mutex<u64>,
    asked: UnboundedSender<Asked>,
}

/// A Vault on a port of its own; what it was asked comes through the channel.
async fn vault(
    life: u64,
    renewable: bool,
    refuses_renewal: bool,
) -> (reqwest::Url, UnboundedReceiver<Asked>) {
    let (asked, heard) = unbounded_channel();
    let vault = Arc::new(Vault { life, renewable, refuses_renewal, logins: Mutex::new(0), asked });
    let router = Router::new().fallback(answer).with_state(vault);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}").parse().unwrap(), heard)
}

async fn answer(State(vault): State<Arc<Vault>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let header = |headers: &HeaderMap, name: &str| {
        headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let asked = Asked {
        path: parts.uri.path().to_owned(),
        token: header(&parts.headers, "x-vault-token"),
        namespace: header(&parts.headers, "x-vault-namespace"),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        method: parts.method,
    };
    let answer = vault.reply(&asked, &parts.uri).await;
    let _ = vault.asked.send(asked);
    answer
}

fn error(status: StatusCode, words: &[&str]) -> Response {
    (status, json::Json(json!({ "errors": words }))).into_response()
}

impl Vault {
    async fn reply(&self, asked: &Asked, uri: &Uri) -> Response {
        match asked.path.as_str() {
            "/v1/auth/approle/login" | "/v1/auth/other/login" => {
                let good = asked.body["role_id"] == "gateway" && asked.body["secret_id"] == "the-secret-id";
                if good { self.auth() } else { error(StatusCode::BAD_REQUEST, &["invalid role or secret ID"]) }
            }
            "/v1/auth/kubernetes/login" => {
                let good = asked.body["role"] == "caxton-runtime" && asked.body["jwt"] == "the-pod-token";
                if good { self.auth() } else { error(StatusCode::FORBIDDEN, &["permission denied"]) }
            }
            "/v1/auth/token/lookup-self" if asked.token == "given" => self.wrapped(json!({
                "accessor": "a", "creation_time": 1, "creation_ttl": self.life, "display_name": "token", "entity_id": "",
                "expire_time": null, "explicit_max_ttl": 0, "id": "given", "meta": null, "num_uses": 0, "orphan": true,
                "path": "auth/token/create", "policies": ["default"], "renewable": self.renewable, "ttl": self.life,
            }), Json::Null),
            _ if !asked.token.starts_with("login-") && asked.token != "given" => {
                error(StatusCode::FORBIDDEN, &["permission denied"])
            }
            "/v1/auth/token/renew-self" if self.refuses_renewal => error(StatusCode::FORBIDDEN, &["permission denied"]),
            "/v1/auth/token/renew-self" => self.auth(),
            "/v1/auth/token/revoke-self" => StatusCode::NO_CONTENT.into_response(),
            "/v1/secret/data/caxton/one" => self.kv(json!({ "password": PASSWORD })),
            "/v1/secret/data/caxton/deep/two" => self.kv(json!({ "user": "u", "password": PASSWORD, "port": 5432 })),
            "/v1/secret/data/caxton/empty" => self.kv(json!({})),
            "/v1/secret/data/caxton/large" => self.kv(json!({ "x": "x".repeat(70_000) })),
            "/v1/secret/data/caxton/sealed" => error(StatusCode::SERVICE_UNAVAILABLE, &["Vault is sealed"]),
            "/v1/secret/data/caxton/junk" => (StatusCode::OK, format!("<html>{PASSWORD}</html>")).into_response(),
            "/v1/secret/data/caxton/list" => (StatusCode::OK, json::Json(json!({ "data": { "data": [PASSWORD] } }))).into_response(),
            "/v1/secret/data/caxton/slow" => std::future::pending().await,
            "/v1/secret/data/caxton/elsewhere" => {
                (StatusCode::TEMPORARY_REDIRECT, [("location", "/v1/secret/data/caxton/one")]).into_response()
            }
            path => error(StatusCode::NOT_FOUND, &[path, uri.query().unwrap_or_default()]),
        }
    }

    fn auth(&self) -> Response {
        let mut logins = self.logins.lock().unwrap();
        *logins += 1;
        let auth = json!({
            "client_token": format!("login-{logins}"), "accessor": "a", "policies": ["default"], "token_policies": ["default"],
            "metadata": {}, "lease_duration": self.life, "renewable": self.renewable, "entity_id": "", "token_type": "service",
            "orphan": true,
        });
        self.wrapped(Json::Null, auth)
    }

    fn kv(&self, data: Json) -> Response {
        let metadata = json!({ "created_time": "2026-01-01T00:00:00Z", "deletion_time": "", "custom_metadata": null,
                               "destroyed": false, "version": 1 });
        self.wrapped(json!({ "data": data, "metadata": metadata }), Json::Null)
    }

    fn wrapped(&self, data: Json, auth: Json) -> Response {
        json::Json(
            json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data,
                           "wrap_info": null, "warnings": null, "auth": auth }),
        )
        .into_response()
    }
}

struct House(tempfile::TempDir);

impl House {
    fn new() -> Self {
        let house = Self(tempfile::tempdir().unwrap());
        for (name, text) in [
            ("secret-id", "the-secret-id\n"),
            ("pod", "the-pod-token"),
            ("token", "given\n"),
            ("empty", "\n"),
        ] {
            fs::write(house.0.path().join(name), text).unwrap();
        }
        house
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn approle(&self) -> VaultLogin {
        VaultLogin::AppRole {
            mount: "approle".into(),
            role_id: "gateway".into(),
            secret_id_file: self.file("secret-id"),
        }
    }

    fn settings(
        &self,
        address: &reqwest::Url,
        login: VaultLogin,
        secrets: &[(&str, Option<&str>)],
    ) -> VaultSettings {
        let wanted = |(number, (path, field)): (usize, &(&str, Option<&str>))| SecretRequest {
            path: (*path).to_owned(),
            name: format!("NAME_{number}"),
            field: field.map(str::to_owned),
        };
        VaultSettings {
            address: address.clone().into(),
            ca_file: None,
            namespace: Some("team".into()),
            login,
            secret_mount: "secret/caxton".into(),
            secrets: secrets.iter().enumerate().map(wanted).collect(),
            timeout: child::LIMIT,
            auto_renew: true,
            renew_threshold: Duration::from_secs(3_600),
        }
    }
}

async fn next(heard: &mut UnboundedReceiver<Asked>) -> Asked {
    tokio::time::timeout(child::LIMIT, heard.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn each_way_to_log_in_fetches_what_is_wanted_and_says_who_asks() {
    let house = House::new();
    let ways = [
        (VaultLogin::Token { file: house.file("token") }, "GET /v1/auth/token/lookup-self", "given"),
        (house.approle(), "POST /v1/auth/approle/login", "login-1"),
        (
            VaultLogin::Kubernetes {
                mount: "kubernetes".into(),
                role: "caxton-runtime".into(),
                token_file: house.file("pod"),
            },
            "POST /v1/auth/kubernetes/login",
            "login-1",
        ),
    ];
    for (login, first, token) in ways {
        let (address, mut heard) = vault(3_600, true, false).await;
        let wanted = [("one", None), ("deep/two", Some("password")), ("deep/two", Some("user"))];
        let vault = VaultProvider::connect(house.settings(&address, login, &wanted)).await.unwrap();
        assert_eq!(next(&mut heard).await.line(), first);
        let fetched = vault.fetch().await.unwrap();
        let fetched: Vec<_> =
            fetched.iter().map(|(name, value)| (name.as_str(), value.expose().as_str())).collect();
        assert_eq!(fetched, [("NAME_0", PASSWORD), ("NAME_1", PASSWORD), ("NAME_2", "u")]);
        for path in ["one", "deep/two", "deep/two"] {
            let asked = next(&mut heard).await;
            assert_eq!(asked.line(), format!("GET /v1/secret/data/caxton/{path}"));
            assert_eq!((asked.token.as_str(), asked.namespace.as_str()), (token, "team"));
        }
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_an_error_that_names_it_and_shows_nothing() {
    let house = House::new();
    let (address, _heard) = vault(3_600, true, false).await;
    let cases: &[(&str, Option<&str>, &str)] = &[
        (
            "none",
            None,
            "the secret `secret/caxton/none` could not be read (status 404: /v1/secret/data/caxton/none)",
        ),
        (
            "deep/two",
            None,
            "the secret `secret/caxton/deep/two` has `password`, `port`, `user`, and none is chosen",
        ),
        (
            "deep/two",
            Some("pass"),
            "the secret `secret/caxton/deep/two` has no text field `pass`; it has `password`, `port`, `user`",
        ),
        (
            "deep/two",
            Some("port"),
            "the secret `secret/caxton/deep/two` has no text field `port`; it has `password`, `port`, `user`",
        ),
        ("empty", None, "the secret `secret/caxton/empty` has no fields, and none is chosen"),
        ("large", None, "the secret `secret/caxton/large` is larger than 64 KiB"),
        ("sealed", None, "the secret `secret/caxton/sealed` could not be read (status 503: Vault is sealed)"),
        (
            "junk",
            None,
            "the secret `secret/caxton/junk` could not be read (an answer that is not understood)",
        ),
        (
            "list",
            None,
            "the secret `secret/caxton/list` could not be read (an answer that is not understood)",
        ),
        // The token is not carried to where an answer points.
        ("elsewhere", None, "the secret `secret/caxton/elsewhere` could not be read (status 307)"),
        ("slow", None, "did not answer: "),
    ];
    for (path, field, wanted) in cases {
        let mut settings = house.settings(&address, house.approle(), &[("one", None), (path, *field)]);
        if *path == "slow" {
            // The login and the first secret come in this time as well.
            settings.timeout = Duration::from_secs(3);
        }
        let error = VaultProvider::connect(settings).await.unwrap().fetch().await.err().unwrap();
        let said = error.to_string();
        assert!(said.contains(wanted), "{path}: {said}");
        let mut all = format!("{error:?}{said}{}", error.help());
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            all.push_str(&format!("{inner:?}"));
            cause = inner.source();
        }
        assert!(!all.contains(PASSWORD) && !all.contains("login-"), "{all}");
        assert_eq!(error.is_unreachable(), *path == "slow");
    }
}

#[tokio::test]
async fn a_login_that_is_refused_or_cannot_be_tried_is_said() {
    let house = House::new();
    let (address, _heard) = vault(3_600, true, false).await;
    let connect =
        async |login| VaultProvider::connect(house.settings(&address, login, &[])).await.err().unwrap();
    let role = |role: &str, file: &str| VaultLogin::AppRole {
        mount: "approle".into(),
        role_id: role.into(),
        secret_id_file: house.file(file),
    };
    let refused = connect(role("other", "secret-id")).await.to_string();
    assert_eq!(refused, "the vault refused the login (status 400: invalid role or secret ID)");
    assert!(!format!("{:?}", connect(role("gateway", "pod")).await).contains("the-pod-token"));
    assert!(matches!(connect(role("gateway", "nowhere")).await, VaultError::File { .. }));
    assert!(matches!(connect(role("gateway", "empty")).await, VaultError::Credential { .. }));
    let wrong = connect(VaultLogin::Token { file: house.file("pod") }).await;
    assert_eq!(wrong.to_string(), "the vault refused the login (status 403: permission denied)");
    let closed = "http://127.0.0.1:9".parse().unwrap();
    let gone = VaultProvider::connect(house.settings(&closed, house.approle(), &[])).await.err().unwrap();
    assert!(
        gone.is_unreachable()
            && gone.to_string().starts_with("the vault at `http://127.0.0.1:9/` did not answer"),
        "{gone}"
    );
}

#[tokio::test]
async fn a_login_is_kept_alive_made_again_when_it_cannot_be_and_given_back() {
    let house = House::new();
    for (renewable, refuses, expected) in [
        (true, false, ["POST /v1/auth/approle/login", "POST /v1/auth/token/renew-self"].as_slice()),
        (
            true,
            true,
            &["POST /v1/auth/approle/login", "POST /v1/auth/token/renew-self", "POST /v1/auth/approle/login"],
        ),
        (false, false, &["POST /v1/auth/approle/login", "POST /v1/auth/approle/login"]),
    ] {
        let (address, mut heard) = vault(1, renewable, refuses).await;
        let vault = VaultProvider::connect(house.settings(&address, house.approle(), &[])).await.unwrap();
        let stop = CancellationToken::new();
        let kept = tokio::spawn(vault.keep(stop.clone()));
        for line in expected {
            assert_eq!(next(&mut heard).await.line(), *line);
        }
        stop.cancel();
        kept.await.unwrap();
        let mut last = next(&mut heard).await;
        while let Ok(later) = heard.try_recv() {
            last = later;
        }
        assert_eq!(last.line(), "POST /v1/auth/token/revoke-self", "{renewable} {refuses}");
    }
    // A token that somebody made for us is not ours to end.
    let (address, mut heard) = vault(3_600, true, false).await;
    let login = VaultLogin::Token { file: house.file("token") };
    VaultProvider::connect(house.settings(&address, login, &[])).await.unwrap().end().await;
    assert_eq!(next(&mut heard).await.line(), "GET /v1/auth/token/lookup-self");
    assert!(heard.try_recv().is_err());
}

// ---- the commands ----

fn config(folder: &Path, address: &reqwest::Url, path: &str) -> String {
    fs::write(folder.join("secret-id"), "the-secret-id").unwrap();
    format!(
        "server: {{ data_dir: data, port: 0, metrics_port: 0, log_level: trace }}
mcp:
  servers:
    - name: tickets
      command: /bin/sh
      args: [\"-c\", \"printf %s \\\"$PASSWORD\\\" > {seen}\"]
      env: {{ PASSWORD: \"${{DB_PASSWORD}}\" }}
security:
  authentication: {{ jwt_issuer: \"${{DB_PASSWORD}}\", jwt_algorithm: HS256, jwt_hs256_secret_file: hmac }}
  vault:
    address: {address}
    auth_method: approle
    role_id: gateway
    secret_id_file: secret-id
    secrets: [{{ path: {path}, env: DB_PASSWORD }}]
",
        seen = folder.join("seen").display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_what_it_is_for_and_no_output() {
    let (address, mut heard) = vault(3_600, true, false).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    fs::write(path.join("caxton.yaml"), config(&path, &address, "one")).unwrap();
    fs::write(path.join("hmac"), "0123456789abcdef0123456789abcdef").unwrap();
    let run = |arguments: &'static [&'static str]| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || child::run(&path, arguments))
    };
    // Offline commands do not ask the Vault.
    for arguments in
        [["config", "validate", "--config", "caxton.yaml"], ["config", "show", "--config", "caxton.yaml"]]
    {
        let arguments: &'static [&'static str] = Box::leak(Box::new(arguments));
        let ended = run(arguments).await.unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(!ended.stdout.contains("a-secret-that"), "{ended:?}");
    }
    assert!(heard.try_recv().is_err(), "the vault was asked");
    run(&["tools", "import", "tickets", "--config", "caxton.yaml"]).await.unwrap();
    assert_eq!(fs::read_to_string(path.join("seen")).unwrap(), PASSWORD);
    let asked: Vec<String> = std::iter::from_fn(|| heard.try_recv().ok()).map(|asked| asked.line()).collect();
    assert_eq!(
        asked,
        ["POST /v1/auth/approle/login", "GET /v1/secret/data/caxton/one", "POST /v1/auth/token/revoke-self"]
    );
    let started = path.clone();
    let ended = tokio::task::spawn_blocking(move || {
        let gateway = child::Running::start(&started, &["--config", "caxton.yaml"]);
        let command_line = fs::read_to_string(format!("/proc/{}/cmdline", gateway.process.pid())).unwrap();
        assert!(!command_line.contains(PASSWORD));
        gateway.stop()
    });
    let ended = ended.await.unwrap();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for secret in [PASSWORD, "the-secret-id", "login-"] {
        assert!(!ended.stderr.contains(secret) && !ended.stdout.contains(secret), "{secret}: {ended:?}");
    }
    let asked: Vec<String> = std::iter::from_fn(|| heard.try_recv().ok()).map(|asked| asked.line()).collect();
    assert_eq!(asked.last().map(String::as_str), Some("POST /v1/auth/token/revoke-self"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_secrets_nothing_starts() {
    let (address, mut heard) = vault(3_600, true, false).await;
    let start = async |address: &reqwest::Url, path: &str, more: &str| {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("{}{more}", config(folder.path(), address, path));
        fs::create_dir(folder.path().join("bad")).unwrap();
        fs::write(folder.path().join("bad/bad.cedar"), "permit (").unwrap();
        fs::write(folder.path().join("caxton.yaml"), text).unwrap();
        fs::write(folder.path().join("hmac"), "0123456789abcdef0123456789abcdef").unwrap();
        let path = folder.path().to_owned();
        tokio::task::spawn_blocking(move || child::run(&path, &["start", "--config", "caxton.yaml"]))
            .await
            .unwrap()
    };
    let mut asked = move || -> Vec<String> {
        std::iter::from_fn(|| heard.try_recv().ok()).map(|asked| asked.line()).collect()
    };
    let given_back = Some("POST /v1/auth/token/revoke-self".to_owned());
    let missing = start(&address, "none", "").await;
    assert_eq!(asked().pop(), given_back, "also when a secret cannot be had");
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(
        missing.stderr.contains("\"the secret `secret/caxton/none` could not be read (status 404"),
        "{missing:?}"
    );
    assert!(missing.stderr.contains("help: see `security.vault.secret_mount`"), "{missing:?}");
    let gone = start(&"http://127.0.0.1:9".parse().unwrap(), "one", "").await;
    assert_eq!(gone.code, Some(3), "{gone:?}");
    assert!(gone.stderr.contains("help: see that the vault runs"), "{gone:?}");
    // Everything is fetched, and then the policies are not there.
    let refused = start(&address, "one", "  authorization: { policy_dir: nowhere }\n").await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        asked().iter().all(|line| !line.contains("/login")),
        "what is wrong without secrets is said first"
    );
    // Everything is fetched, and then the gateway does not come up.
    let refused = start(&address, "one", "  authorization: { policy_dir: bad }\n").await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let asked = asked();
    assert!(asked.iter().any(|line| line.contains("/login")), "{asked:?}");
    assert_eq!(asked.last(), given_back.as_ref(), "{asked:?}");
}
