//! Behind a proxy: whose word on the client counts, and that nobody else's does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};

use crate::support::pki::{Authority, DAY, Identity, Wish, client};
use crate::support::port::{free, wait_for};
use crate::support::{Answer, Credential, World, send, write};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use caxton::api::{ForwardedBy, Proxies};
use caxton::authn::mtls;
use caxton::limit::FailureSettings;
use caxton::server::{Settings, TlsSettings};
use reqwest::{Method, StatusCode};

const CLIENT: &str = "198.51.100.7";

/// The tests' own address as a proxy.
fn here(settings: &mut Settings) {
    settings.api.proxies = Proxies {
        networks: vec!["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        forwarded_by: ForwardedBy::XForwardedFor,
        certificate_header: Some("client-cert".parse().unwrap()),
    };
}

async fn get(world: &World, who: &Credential, headers: &[(&str, &str)]) -> Answer {
    let request = world.request(who, Method::GET, "/v1/agents");
    send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn headers_of_whoever_is_no_proxy_say_nothing() {
    let world = World::new().await;
    let alice = world.person("alice", &["admin"]);
    let forged = [
        ("x-forwarded-for", CLIENT),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", CLIENT),
        ("forwarded", "for=198.51.100.7;proto=https"),
        ("client-cert", ":aGVsbG8=:"),
        ("x-forwarded-client-cert", "URI=spiffe://a/b"),
    ];
    let answer = get(&world, &alice, &forged).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!((&record["source"]["ip"], &record["source"]["tls"]), (&"127.0.0.1".into(), &false.into()));
    assert_eq!(record["context"]["source"]["mtls"], false);
    world.stop().await;
}

/// A handshake with the proxy shows the proxy's certificate: where one is demanded of clients, each request shows it.
#[tokio::test]
async fn a_certificate_that_is_demanded_is_demanded_through_the_proxy_as_well() {
    let world = World::with(|settings, _| {
        here(settings);
        settings.api.require_client_cert = true;
    })
    .await;
    let alice = world.person("alice", &["admin"]);
    let headers = [("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")];
    let answer = get(&world, &alice, &headers).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(record["detail"], "mtls: missing");
    world.stop().await;
}

#[tokio::test]
async fn the_client_of_a_proxy_is_seen_by_policies_log_and_transport_rule() {
    let world = World::with(|settings, _| here(settings)).await;
    let alice = world.person("alice", &["admin"]);
    let through = |chain: &'static str| [("x-forwarded-for", chain), ("x-forwarded-proto", "https")];
    for chain in [CLIENT, "127.0.0.1, 198.51.100.7", "203.0.113.1, 198.51.100.7, 10.0.0.3"] {
        assert_eq!(get(&world, &alice, &through(chain)).await.status, StatusCode::OK, "{chain}");
        let record = world.records().into_iter().next_back().unwrap();
        assert_eq!(
            (&record["source"]["ip"], &record["source"]["tls"]),
            (&CLIENT.into(), &true.into()),
            "{chain}"
        );
        assert_eq!(record["context"]["source"]["ip"], CLIENT);
    }
    // The client came to the proxy in the clear, or the proxy does not say how.
    for headers in
        [&[("x-forwarded-for", CLIENT)][..], &[("x-forwarded-for", CLIENT), ("x-forwarded-proto", "http")]]
    {
        let answer = get(&world, &alice, headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
        assert_eq!(answer.json()["type"], "urn:caxton:problem:tls-required");
        let record = world.records().into_iter().next_back().unwrap();
        assert_eq!(record["detail"], "none: insecure_transport");
        assert_eq!(record["source"]["ip"], CLIENT);
    }
    let answer = get(&world, &alice, &[("x-forwarded-for", "unknown"), ("x-forwarded-proto", "https")]).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
    assert_eq!(world.records().pop().unwrap()["detail"], "none: unreadable_proxy_header");
    assert_eq!(get(&world, &alice, &[]).await.status, StatusCode::OK, "the proxy's own host");
    world.stop().await;
}

#[tokio::test]
async fn credentials_in_the_clear_are_accepted_only_where_it_is_configured() {
    let world = World::with(|settings, _| {
        here(settings);
        settings.api.require_tls = false;
    })
    .await;
    let answer = get(&world, &world.person("alice", &["admin"]), &[("x-forwarded-for", CLIENT)]).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(world.records().pop().unwrap()["source"]["tls"], false);
    world.stop().await;
}

#[tokio::test]
async fn one_guessing_client_of_a_proxy_blocks_itself_and_nobody_else() {
    let world = World::with(|settings, _| {
        here(settings);
        settings.failures = Some(FailureSettings::default());
    })
    .await;
    let from = |address: &'static str| [("x-forwarded-for", address), ("x-forwarded-proto", "https")];
    let guess = Credential::Key("cax_live_guess".to_owned());
    for _ in 0..3 {
        assert_eq!(get(&world, &guess, &from(CLIENT)).await.status, StatusCode::UNAUTHORIZED);
    }
    let alice = world.person("alice", &["admin"]);
    assert_eq!(get(&world, &alice, &from(CLIENT)).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(get(&world, &alice, &from("203.0.113.5")).await.status, StatusCode::OK);
    // A made-up address on the left does not help.
    let chain = [("x-forwarded-for", "203.0.113.9, 198.51.100.7"), ("x-forwarded-proto", "https")];
    assert_eq!(get(&world, &alice, &chain).await.status, StatusCode::TOO_MANY_REQUESTS);
    world.stop().await;
}

fn header(identity: &Identity) -> String {
    format!(":{}:", STANDARD.encode(&identity.certificates()[0]))
}

#[tokio::test]
async fn a_certificate_that_a_proxy_passes_on_is_verified_like_any_other() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let mut world = World::with(|settings, directory| {
        here(settings);
        let (certificate, key) = server.sign(&Wish::server()).write(directory, "server");
        settings.tls = Some(TlsSettings::new(certificate, key));
        write(&directory.join("clients.pem"), &clients.pem);
        settings.authn.mtls = Some(mtls::Settings::new(directory.join("clients.pem")));
    })
    .await;
    // The proxy has a certificate of its own, as a proxy should.
    let proxy = clients.sign(&Wish::client("proxy").uri("spiffe://prod.example/proxy"));
    world.client = client(&server, Some(&proxy));
    let nobody = Credential::Nothing;
    let pay = clients.sign(&Wish::client("pay").uri("spiffe://prod.example/pay"));
    let (value, through) = (header(&pay), [("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https")]);
    let with = |value: &str| {
        let value = value.to_owned();
        async {
            let request = world.request(&nobody, Method::GET, "/v1/agents").header("client-cert", value);
            send(through.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
        }
    };
    assert_eq!(with(&value).await.status, StatusCode::FORBIDDEN, "known, and permitted nothing");
    let record = world.records().pop().unwrap();
    assert_eq!(record["subject"]["principal"], "Caxton::Workload::\"spiffe://prod.example/pay\"", "{record}");
    assert_eq!(record["context"]["source"]["mtls"], true);

    let expired = clients.sign(&Wish::client("pay").uri("spiffe://prod.example/pay").valid(-2 * DAY, -DAY));
    let foreign = Authority::new("Other CA").sign(&Wish::client("pay").uri("spiffe://prod.example/pay"));
    for (value, why) in [
        (header(&expired), "mtls: expired"),
        (header(&foreign), "mtls: unknown_issuer"),
        (":!:".to_owned(), "mtls: malformed"),
        (":aGVsbG8=:".to_owned(), "mtls: not_verified"),
    ] {
        assert_eq!(with(&value).await.status, StatusCode::UNAUTHORIZED, "{why}");
        let detail = world.records().pop().unwrap()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(why), "{detail} for {why}");
    }
    // Without a certificate of its own, the client does not become the proxy.
    let answer = get(&world, &nobody, &through).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert_eq!(world.records().pop().unwrap()["detail"], "none: missing");
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_that_a_stranger_passes_on_is_a_forged_credential() {
    let clients = Authority::new("Client CA");
    let world = World::with(|settings, directory| {
        here(settings);
        settings.api.proxies.networks = vec!["10.0.0.0/8".parse().unwrap()];
        write(&directory.join("clients.pem"), &clients.pem);
        settings.authn.mtls = Some(mtls::Settings::new(directory.join("clients.pem")));
    })
    .await;
    let value = header(&clients.sign(&Wish::client("pay").uri("spiffe://prod.example/pay")));
    for who in [Credential::Nothing, world.person("alice", &["admin"])] {
        let answer = get(&world, &who, &[("client-cert", &value), ("x-forwarded-for", "10.0.0.1")]).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "not passed over: {answer:?}");
        assert_eq!(world.records().pop().unwrap()["detail"], "mtls: untrusted_proxy");
    }
    world.stop().await;
}

// ---- a real nginx, which ends TLS and passes the client's certificate on ----

struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With the lines that `docs/tls.md` shows.
fn nginx(directory: &Path, gateway: SocketAddr) -> Option<Nginx> {
    let program = Path::new("/usr/sbin/nginx");
    if !program.exists() {
        assert!(std::env::var_os("CAXTON_TESTS").is_none(), "nginx is not installed");
        eprintln!("skipped: nginx is not installed; `tests/run` does that");
        return None;
    }
    let guide = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md")).unwrap();
    let lines = guide.split("```nginx\n").nth(1).unwrap().split("```").next().unwrap();
    let address = free();
    std::fs::create_dir_all(directory.join("temp")).unwrap();
    let temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path temp/{kind};"));
    let config = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log error.log;\nevents {{}}\nhttp {{\n access_log off;\n{}\n \
         server {{\n listen {address} ssl;\n ssl_certificate nginx.crt;\n ssl_certificate_key nginx.key;\n \
         ssl_client_certificate clients.pem;\n ssl_verify_client optional_no_ca;\n \
         location / {{\n proxy_pass http://{gateway};\n{lines}\n }}\n }}\n}}\n",
        temps.join("\n")
    );
    write(&directory.join("nginx.conf"), &config);
    let mut child = Command::new(program)
        .arg("-p")
        .arg(directory)
        .args(["-c", "nginx.conf", "-e", "error.log"])
        .spawn()
        .unwrap();
    wait_for(&mut child, address);
    Some(Nginx { child, address })
}

/// What a client writes into the headers by itself never counts, whatever it is; what nginx says counts if it is trusted.
#[tokio::test]
async fn nginx_is_believed_what_it_says_and_its_clients_are_not() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let pay = clients.sign(&Wish::client("pay").uri("spiffe://prod.example/pay"));
    let foreign = Authority::new("Other CA").sign(&Wish::client("pay").uri("spiffe://prod.example/pay"));
    for trusted in [true, false] {
        let world = World::with(|settings, directory| {
            here(settings);
            if !trusted {
                settings.api.proxies.networks = vec!["10.0.0.0/8".parse().unwrap()];
            }
            server.sign(&Wish::server()).write(directory, "nginx");
            write(&directory.join("clients.pem"), &clients.pem);
            settings.authn.mtls = Some(mtls::Settings::new(directory.join("clients.pem")));
        })
        .await;
        let Some(nginx) = nginx(world.directory.path(), world.gateway.address()) else {
            return world.stop().await.close().unwrap();
        };
        let port = nginx.address.port();
        let ask = async |identity: Option<&Identity>, headers: &[(&str, &str)]| {
            let request = client(&server, identity).get(format!("https://localhost:{port}/v1/agents"));
            let answer =
                send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
                    .await;
            (answer.status, world.records().pop().unwrap())
        };
        let forged = header(&pay);
        let forged = [
            ("client-cert", forged.as_str()),
            ("x-forwarded-for", "10.0.0.9"),
            ("x-forwarded-proto", "http"),
        ];
        let (status, record) = ask(Some(&pay), &[]).await;
        if !trusted {
            assert_eq!(
                (status, &record["detail"]),
                (StatusCode::UNAUTHORIZED, &"mtls: untrusted_proxy".into())
            );
            continue;
        }
        assert_eq!(status, StatusCode::FORBIDDEN, "known, and permitted nothing: {record}");
        assert_eq!(
            record["subject"]["principal"], "Caxton::Workload::\"spiffe://prod.example/pay\"",
            "{record}"
        );
        assert_eq!((&record["source"]["tls"], &record["source"]["ip"]), (&true.into(), &"127.0.0.1".into()));
        // Without a certificate nginx writes an empty header over the forged one, and that is left out.
        let (status, record) = ask(None, &forged).await;
        assert_eq!(
            (status, &record["detail"]),
            (StatusCode::UNAUTHORIZED, &"none: missing".into()),
            "{record}"
        );
        // One that nginx has not verified is verified here.
        let (status, record) = ask(Some(&foreign), &forged).await;
        assert_eq!((status, &record["detail"]), (StatusCode::UNAUTHORIZED, &"mtls: unknown_issuer".into()));
        // Headers beside a certificate of its own change nothing.
        let (_, record) = ask(Some(&pay), &forged).await;
        assert_eq!(
            record["subject"]["principal"], "Caxton::Workload::\"spiffe://prod.example/pay\"",
            "{record}"
        );
        assert_eq!(record["source"]["tls"], true, "{record}");
        drop(nginx);
        world.stop().await;
    }
}
