//! Envoy and nginx in front of a program: what the policies allow comes through, nothing else does, and no trick with
//! headers or paths gets around it. The proxies are the real ones; `tests/run` installs them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use crate::support;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::port::{free, wait_for};
use crate::support::{Credential, PATIENCE, World, outcome, send, write};
use caxton::server::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value as Json, json};

const POLICIES: &str = r#"
@id("web.read") permit(principal is Caxton::Service, action in [Caxton::Action::"http:get", Caxton::Action::"http:head"], resource in Caxton::HttpPath::"api.example/public");
@id("web.write") permit(principal in Caxton::Role::"writer", action in Caxton::Action::"http:*", resource in Caxton::HttpService::"api.example")
unless { resource.path like "/admin*" };
"#;

async fn world() -> World {
    World::with(|settings, directory| {
        let policies = directory.join("own");
        std::fs::create_dir(&policies).unwrap();
        write(&policies.join("web.cedar"), POLICIES);
        (settings.policy_dir, settings.extend_shipped) = (Some(policies), true);
        settings.api.ext_authz_peers = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await
}

/// Whether a peer may ask hangs on who has connected, not on whom a header names.
#[tokio::test]
async fn a_client_cannot_say_that_it_is_a_proxy() {
    let house = |settings: &mut Settings, directory: &Path| {
        let policies = directory.join("own");
        std::fs::create_dir(&policies).unwrap();
        write(&policies.join("web.cedar"), POLICIES);
        (settings.policy_dir, settings.extend_shipped) = (Some(policies), true);
    };
    let world = World::with(|settings, directory| {
        house(settings, directory);
        settings.api.ext_authz_peers = vec!["203.0.113.9/32".parse().unwrap()];
        settings.api.proxies.networks = vec!["127.0.0.1/32".parse().unwrap()];
        settings.api.require_tls = false;
    })
    .await;
    let reader = world.service("reader", &["x"]);
    let request = world.request(&reader, Method::GET, "/v1/ext_authz/nginx");
    let answer = send(
        request
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-original-method", "GET")
            .header("x-original-host", "api.example")
            .header("x-original-uri", "/public"),
    )
    .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    assert_eq!(outcome(&world.records().pop().unwrap()).1, "peer_unknown");
    world.stop().await;
    // A proxy that is believed and may ask does both, whomever it asks for.
    let world = World::with(|settings, directory| {
        house(settings, directory);
        settings.api.ext_authz_peers = vec!["127.0.0.1/32".parse().unwrap()];
        settings.api.proxies.networks = vec!["127.0.0.1/32".parse().unwrap()];
        settings.api.require_tls = false;
    })
    .await;
    let reader = world.service("reader", &["x"]);
    let request = world.request(&reader, Method::GET, "/v1/ext_authz/nginx");
    let request = request.header("x-forwarded-for", "198.51.100.7").header("x-original-uri", "/public");
    let answer =
        send(request.header("x-original-method", "GET").header("x-original-host", "api.example")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    world.stop().await;
}

// ---- the interface itself ---------------------------------------------------------------------------------------

async fn ask(world: &World, who: &Credential, method: &str, host: &str, uri: &str) -> support::Answer {
    let request = world.request(who, Method::GET, "/v1/ext_authz/nginx");
    send(
        request
            .header("x-original-method", method)
            .header("x-original-host", host)
            .header("x-original-uri", uri),
    )
    .await
}

#[tokio::test]
async fn method_host_and_path_are_judged() {
    let world = world().await;
    let (reader, writer) = (world.service("reader", &["x"]), world.service("writer", &["writer"]));
    for (who, method, uri, allowed) in [
        (&reader, "GET", "/public", true),
        (&reader, "GET", "/public/", true),
        (&reader, "HEAD", "/public/a/b?x=/../y", true),
        (&reader, "GET", "/publicity", false),
        (&reader, "GET", "/", false),
        (&reader, "POST", "/public", false),
        (&writer, "POST", "/public", true),
        (&writer, "DELETE", "/x", true),
        (&writer, "GET", "/admin", false),
        (&writer, "GET", "/%61dmin/users", false),
    ] {
        let answer = ask(&world, who, method, "api.example", uri).await;
        let expected = if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status, expected, "{method} {uri}: {answer:?}");
        let record = world.records().pop().unwrap();
        assert_eq!(record["action"], format!("http:{}", method.to_lowercase()));
        if allowed {
            assert_eq!(answer.headers["x-caxton-decision"], record["decision_id"].as_str().unwrap());
        }
    }
    assert_eq!(ask(&world, &writer, "GET", "other.example", "/x").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask(&world, &writer, "GET", "API.example:443", "/x").await.status, StatusCode::OK);
    let nobody = ask(&world, &Credential::Nothing, "GET", "api.example", "/public").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert!(nobody.headers.contains_key("www-authenticate"));
    // The address that the proxy saw, not what the client claims it is.
    let request = world
        .request(&reader, Method::GET, "/v1/ext_authz/nginx")
        .header("x-original-method", "GET")
        .header("x-original-host", "api.example")
        .header("x-original-uri", "/public")
        .header("x-forwarded-for", "10.9.9.9, 203.0.113.7");
    assert_eq!(send(request).await.status, StatusCode::OK);
    assert_eq!(world.records().pop().unwrap()["source"]["ip"], "203.0.113.7");
    world.stop().await;
}

#[tokio::test]
async fn what_can_be_read_in_two_ways_is_refused_and_on_record() {
    let world = world().await;
    let writer = world.service("writer", &["writer"]);
    for (method, host, uri) in [
        ("GET", "api.example", "/public/../admin"),
        ("GET", "api.example", "/public/%2e%2e/admin"),
        ("GET", "api.example", "//admin"),
        ("GET", "api.example", "/a%2f..%2fadmin"),
        ("GET", "api.example", "/a\\..\\admin"),
        ("GET", "api.example", "/;/admin"),
        ("GET", "api.example", "/a%00"),
        ("GET", "api.example", "http://api.example/admin"),
        ("GET", "api.example@evil", "/x"),
        ("GET", "", "/x"),
        ("get", "api.example", "/x"),
        ("CONNECT", "api.example", "/x"),
    ] {
        let answer = ask(&world, &writer, method, host, uri).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {host} {uri}: {answer:?}");
        let record = world.records().pop().unwrap();
        assert_eq!(record["outcome"], "deny_default", "{method} {host} {uri}");
        assert_eq!(record["resource"], "Caxton::HttpPath::\"(unknown)/\"", "{method} {host} {uri}");
    }
    // A field that is there twice, or not at all.
    let twice = world
        .request(&writer, Method::GET, "/v1/ext_authz/nginx")
        .header("x-original-method", "GET")
        .header("x-original-host", "api.example")
        .header("x-original-uri", "/x")
        .header("x-original-uri", "/admin");
    assert_eq!(send(twice).await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.get(&writer, "/v1/ext_authz/nginx").await.status, StatusCode::FORBIDDEN);
    world.stop().await;
}

#[tokio::test]
async fn only_a_configured_proxy_may_ask() {
    let world = World::new().await;
    let root = world.service("root", &["admin"]);
    for path in ["/v1/ext_authz/nginx", "/v1/ext_authz/envoy/", "/v1/ext_authz/envoy/a/b"] {
        let request = world.request(&root, Method::GET, path);
        let request = request
            .header("x-original-method", "GET")
            .header("x-original-host", "api.example")
            .header("x-original-uri", "/x")
            .header("x-forwarded-for", "127.0.0.1");
        assert_eq!(send(request).await.status, StatusCode::FORBIDDEN, "{path}");
        assert_eq!(outcome(&world.records().pop().unwrap()), ("deny_default", "peer_unknown"), "{path}");
    }
    world.stop().await;
}

// ---- the real proxies ---------------------------------------------------------------------------------------------

/// A program behind the proxy that tells what it got.
async fn program() -> SocketAddr {
    let answer = async |request: axum::extract::Request| {
        let headers: serde_json::Map<String, Json> = request
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        support::json::Json(
            json!({ "method": request.method().as_str(), "uri": request.uri().to_string(), "headers": headers }),
        )
    };
    let router = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A proxy that does not outlive its test.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sample(path: &str, listen: SocketAddr, caxton: SocketAddr, program: SocketAddr) -> String {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path)).unwrap();
    let ports = [("8000", "@listen@", listen), ("8080", "@caxton@", caxton), ("3000", "@program@", program)];
    let mut filled = text;
    for (from, mark, _) in ports {
        assert!(filled.contains(from), "{path} has no port {from}");
        filled = filled.replace(from, mark);
    }
    // Marks first: one port may contain the digits of another.
    for (_, mark, to) in ports {
        filled = filled.replace(mark, &to.port().to_string());
    }
    // A busy machine is not what is tested here.
    filled.replace("timeout: 5s", "timeout: 180s").replace("timeout: 1s", "timeout: 180s")
}

fn missing(what: &str) -> Option<Proxy> {
    assert!(std::env::var_os("CAXTON_TESTS").is_none(), "{what} is not installed");
    eprintln!("skipped: {what} is not installed; `tests/run` does that");
    None
}

fn nginx(directory: &Path, caxton: SocketAddr, program: SocketAddr) -> Option<Proxy> {
    let found =
        ["/usr/sbin/nginx", "/usr/bin/nginx"].into_iter().map(PathBuf::from).find(|path| path.exists());
    let Some(nginx) = found else { return missing("nginx") };
    let address = free();
    std::fs::create_dir_all(directory.join("temp")).unwrap();
    let temps: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("    {kind}_temp_path temp/{kind};\n"))
        .collect();
    let server = sample("nginx/caxton.conf", address, caxton, program);
    write(
        &directory.join("nginx.conf"),
        &format!(
            "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\n    access_log off;\n{temps}{server}}}\n"
        ),
    );
    let mut child = Command::new(&nginx)
        .arg("-p")
        .arg(directory)
        .args(["-c", "nginx.conf", "-e", "error.log"])
        .spawn()
        .unwrap();
    wait_for(&mut child, address);
    Some(Proxy { child, address })
}

fn envoy(directory: &Path, caxton: SocketAddr, program: SocketAddr) -> Option<Proxy> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv");
    let listing = Command::new(venv.join("bin/python"))
        .args(["-c", "import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / '_bin/envoy')"])
        .output();
    let found = listing.ok().filter(|listing| listing.status.success());
    let found = found.map(|listing| PathBuf::from(String::from_utf8(listing.stdout).unwrap().trim()));
    let Some(envoy) = found.filter(|path| path.is_file()) else { return missing("envoy") };
    let address = free();
    let file = directory.join("envoy.yaml");
    write(&file, &sample("envoy/caxton.yaml", address, caxton, program));
    let mut child = Command::new(envoy)
        .args(["--log-level", "error", "--disable-hot-restart", "--concurrency", "1", "-c"])
        .arg(&file)
        .spawn()
        .unwrap();
    wait_for(&mut child, address);
    Some(Proxy { child, address })
}

/// Sends bytes as they are, and reads the answer to the end.
fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // A reset behind the answer is the proxy's way of closing early.
    assert!(read.is_ok() || !answer.is_empty(), "{read:?} for {request:?}");
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

async fn a_proxy_lets_through_what_is_allowed(start: fn(&Path, SocketAddr, SocketAddr) -> Option<Proxy>) {
    let world = world().await;
    let directory = world.directory.path().join("proxy");
    std::fs::create_dir(&directory).unwrap();
    let Some(proxy) = start(&directory, world.gateway.address(), program().await) else { return };
    let (Credential::Key(reader), Credential::Key(writer)) =
        (world.service("reader", &["x"]), world.service("writer", &["writer"]))
    else {
        panic!()
    };
    let Credential::Token(token) = world.person("ann", &["writer"]) else { panic!() };
    let ask = async |method: &str, path: &str, more: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{more}\r\n");
        let address = proxy.address;
        tokio::task::spawn_blocking(move || raw(address, &request)).await.unwrap()
    };
    let (reader, writer) = (format!("X-API-Key: {reader}\r\n"), format!("X-API-Key: {writer}\r\n"));
    let token = format!("Authorization: Bearer {token}\r\n");

    // Allowed: the program hears who it is from Caxton, and nothing of the credential.
    let spoof = "X-Caxton-Subject: Caxton::User::\"root\"\r\nX-HTTP-Method-Override: DELETE\r\nX-Rewrite-URL: /admin\r\n";
    let answer = ask("GET", "/public/a?b=c", &format!("{reader}{spoof}")).await;
    assert_eq!(status(&answer), 200, "{answer}");
    assert!(answer.contains("Caxton::Service::") && answer.contains("reader"), "{answer}");
    assert!(answer.contains("\"uri\":\"/public/a?b=c\""), "{answer}");
    for gone in ["root", "cax_live_", "method-override", "rewrite-url"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    let answer = ask("GET", "/x", &token).await;
    assert_eq!((status(&answer), answer.contains("Bearer")), (200, false), "{answer}");

    // Refused, each by Caxton, so that the program never sees it.
    for (who, method, path, expected) in [
        ("", "GET", "/public", 401),
        ("X-API-Key: cax_live_wrong\r\n", "GET", "/public", 401),
        (reader.as_str(), "GET", "/private", 403),
        (&reader, "POST", "/public", 403),
        (&writer, "GET", "/admin", 403),
        (&writer, "GET", "/%61dmin", 403),
        (&reader, "GET", "/public/../private", 403),
        (&reader, "GET", "/public/%2e%2e/private", 403),
        (&reader, "GET", "/public/..%2fprivate", 403),
        (&reader, "GET", "//private", 403),
        (&writer, "GET", "//admin", 403),
        (&writer, "GET", "/x;/../admin", 403),
    ] {
        let more = if method == "POST" { format!("{who}Content-Length: 0\r\n") } else { who.to_owned() };
        let answer = ask(method, path, &more).await;
        assert_eq!(status(&answer), expected, "{method} {path}: {answer}");
        assert!(!answer.contains("\"uri\""), "the program answered: {answer}");
    }
    // An absolute target names a host of its own; whatever the proxy makes of it, the program serves what was judged.
    let answer = ask("GET", "http://api.example/private", &reader).await;
    assert!(matches!(status(&answer), 400 | 403 | 404), "{answer}");
    // Smuggling: what the client says about itself to the interface does not count.
    let lies = "X-Original-URI: /public\r\nX-Original-Method: GET\r\nX-Original-Host: api.example\r\nX-Envoy-Original-Path: /public\r\n";
    assert_eq!(status(&ask("GET", "/private", &format!("{reader}{lies}")).await), 403);
    let two = "GET /public HTTP/1.1\r\nHost: api.example\r\nHost: other.example\r\nConnection: close\r\n";
    let (address, two) = (proxy.address, format!("{two}{reader}\r\n"));
    let answer = tokio::task::spawn_blocking(move || raw(address, &two)).await.unwrap();
    assert!(matches!(status(&answer), 400 | 403), "{answer}");
    // A client cannot choose the address that policies see.
    ask("GET", "/public", &format!("{reader}X-Forwarded-For: 10.9.9.9\r\n")).await;
    assert_eq!(world.records().pop().unwrap()["source"]["ip"], "127.0.0.1");
    // Without Caxton nothing comes through.
    world.stop().await;
    let answer = ask("GET", "/public", &reader).await;
    assert!(matches!(status(&answer), 403 | 500 | 503), "{answer}");
}

#[tokio::test]
async fn nginx_lets_through_what_is_allowed() {
    a_proxy_lets_through_what_is_allowed(nginx).await;
}

#[tokio::test]
async fn envoy_lets_through_what_is_allowed() {
    a_proxy_lets_through_what_is_allowed(envoy).await;
}
