//! TLS over the wire: what is offered, what is refused, and how certificates are replaced under open connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use crate::support;
use crate::support::child;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::pki::{Authority, DAY, Identity, Wish, client, raw_client};
use crate::support::{PATIENCE, World, outcome, settings, until, write};
use caxton::server::{Gateway, MinVersion, Settings, StartError, TlsReload, TlsSettings};
use reqwest::StatusCode;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A gateway with TLS whose certificate `authority` has signed.
async fn secure(authority: &Authority, change: impl FnOnce(&mut Settings, &mut TlsSettings, &Path)) -> World {
    let mut world = World::with(|settings, directory| {
        let (certificate, key) = authority.sign(&Wish::server()).write(directory, "server");
        let mut tls = TlsSettings::new(certificate, key);
        change(settings, &mut tls, directory);
        settings.tls = Some(tls);
    })
    .await;
    world.client = client(authority, None);
    world
}

async fn shake_hands(
    world: &World,
    connector: &tokio_rustls::TlsConnector,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(world.gateway.address()).await.unwrap();
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn calls_come_over_tls_and_the_log_says_so() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, _, _| {}).await;
    let person = world.person("alice", &["admin"]);
    let answer = support::send(world.request(&person, reqwest::Method::GET, "/v1/agents")).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.headers["strict-transport-security"], "max-age=31536000");
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(record["source"]["tls"], true, "{record}");
    assert_eq!(record["context"]["source"]["tls"], true, "{record}");
    assert_eq!(record["context"]["source"]["mtls"], false, "{record}");
    world.stop().await;
}

#[tokio::test]
async fn a_client_of_the_decision_point_is_told_addresses_with_tls() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, _, _| {}).await;
    let asked = world.get(&support::Credential::Nothing, "/.well-known/authzen-configuration").await;
    let base = format!("https://{}", world.gateway.address());
    assert_eq!(asked.json()["policy_decision_point"], base.as_str(), "{asked:?}");
    assert_eq!(asked.json()["access_evaluation_endpoint"], format!("{base}/access/v1/evaluation"));
    world.stop().await;
}

#[tokio::test]
async fn plain_http_has_no_hsts_and_is_not_taken_for_tls() {
    let world = World::new().await;
    let answer = world.get(&world.person("alice", &["admin"]), "/v1/agents").await;
    assert!(!answer.headers.contains_key("strict-transport-security"));
    assert_eq!(world.records().into_iter().next_back().unwrap()["source"]["tls"], false);
    world.stop().await;
}

#[tokio::test]
async fn whoever_speaks_plain_http_to_the_tls_port_gets_no_answer() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, _, _| {}).await;
    let mut stream = TcpStream::connect(world.gateway.address()).await.unwrap();
    stream.write_all(b"GET /v1/agents HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    // A reset is an answer too.
    let _ = stream.read_to_end(&mut heard).await;
    assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
    world.stop().await;
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_where_it_is_configured() {
    let authority = Authority::new("Test CA");
    let (old, new) = (raw_client(&authority, &[&TLS12]), raw_client(&authority, &[&TLS13]));
    let world = secure(&authority, |_, _, _| {}).await;
    assert!(shake_hands(&world, &new).await.is_ok());
    let refused = shake_hands(&world, &old).await.unwrap_err().to_string();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
    world.stop().await;

    let world = secure(&authority, |_, tls, _| {
        tls.min_version = MinVersion::Tls12;
        tls.cipher_suites.push(rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    })
    .await;
    let stream = shake_hands(&world, &old).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let stream = shake_hands(&world, &new).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    world.stop().await;
}

#[tokio::test]
async fn the_order_of_the_suites_is_the_configured_one() {
    let authority = Authority::new("Test CA");
    let only = rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let world = secure(&authority, |_, tls, _| tls.cipher_suites = vec![only]).await;
    let stream = shake_hands(&world, &raw_client(&authority, &[&TLS13])).await.unwrap();
    assert_eq!(stream.get_ref().1.negotiated_cipher_suite().unwrap().suite(), only);
    world.stop().await;
}

/// The certificate that a new connection is shown.
async fn shown(world: &World, authority: &Authority) -> Vec<u8> {
    let stream = shake_hands(world, &raw_client(authority, &[&TLS13])).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, _, _| {}).await;
    let person = world.person("alice", &["admin"]);
    let mut open = shake_hands(&world, &raw_client(&authority, &[&TLS13])).await.unwrap();
    let before = shown(&world, &authority).await;

    authority.sign(&Wish::server()).write(world.directory.path(), "server");
    assert_eq!(shown(&world, &authority).await, before, "nothing changes by itself");
    let TlsReload::Applied(summary) = world.gateway.reload_tls().await else { panic!("refused") };
    assert!(summary.starts_with("certificate ") && summary.contains(" ends 20"), "{summary}");
    let after = shown(&world, &authority).await;
    assert_ne!(after, before);
    assert_eq!(world.get(&person, "/v1/agents").await.status, StatusCode::OK);

    // The connection from before: HTTP/2's preface, an empty SETTINGS frame, and an answer.
    open.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    open.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
    drop(open);
    world.stop().await;
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_one_and_is_on_record() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, _, _| {}).await;
    let before = shown(&world, &authority).await;
    let directory = world.directory.path();
    let wrong: [(&str, &dyn Fn()); 3] = [
        ("holds something that is not a certificate", &|| {
            write(
                &directory.join("server.crt"),
                "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
            );
        }),
        ("does not belong to the certificate", &|| {
            write(&directory.join("server.crt"), &authority.sign(&Wish::server()).chain);
        }),
        ("ended 20", &|| {
            authority.sign(&Wish::server().valid(-2 * DAY, -DAY)).write(directory, "server");
        }),
    ];
    for (why, spoil) in wrong {
        spoil();
        let TlsReload::Refused(report) = world.gateway.reload_tls().await else { panic!("{why}: applied") };
        assert!(report.contains(why) && report.contains("\nhelp: "), "{report}");
        assert_eq!(shown(&world, &authority).await, before, "{why}");
        let record = world.records().into_iter().next_back().unwrap();
        assert_eq!(record["event"], "tls_reload_refused");
        assert_eq!(outcome(&record).0, "deny_error");
        assert!(record["detail"].as_str().unwrap().contains(why), "{record}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_found_without_a_signal() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, tls, _| tls.reload_interval = Some(Duration::from_millis(20))).await;
    let before = shown(&world, &authority).await;
    authority.sign(&Wish::server()).write(world.directory.path(), "server");
    until("the change is found", async || shown(&world, &authority).await != before).await;
    // A certificate that was taken away counts no longer even where nothing can be recorded: the record comes after.
    let reloads = || world.records().iter().filter(|record| record["event"] == "tls_reload").count();
    until("it is on record", async || reloads() > 0).await;
    // Certificate and key are two files, so the change may have been seen in two steps; not at every look.
    assert!(reloads() <= 2, "{}", reloads());
    world.stop().await;
}

async fn start(identity: &Identity, spoil: impl FnOnce(&Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = identity.write(directory.path(), "server");
    spoil(directory.path());
    let mut settings = settings(directory.path().join("data"));
    settings.tls = Some(TlsSettings::new(certificate, key));
    let Err(StartError::Tls(error)) = Gateway::start(settings).await else { panic!("it started") };
    format!("{error} | {}", error.help()).replace(&format!("{}/", directory.path().display()), "")
}

#[tokio::test]
async fn wrong_files_are_refused_before_anything_is_bound_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt as _;
    let authority = Authority::new("Test CA");
    let good = authority.sign(&Wish::server());
    let mode = |bits| {
        move |directory: &Path| {
            std::fs::set_permissions(directory.join("server.key"), std::fs::Permissions::from_mode(bits))
                .unwrap();
        }
    };
    for bits in [0o640, 0o604, 0o644, 0o660] {
        let said = start(&good, mode(bits)).await;
        let want = format!(
            "the private key `server.key` has mode {bits:o}: others than its owner can use it | chmod 600 server.key"
        );
        assert_eq!(said, want);
    }
    let said = start(&good, |directory| std::fs::remove_file(directory.join("server.crt")).unwrap()).await;
    assert!(said.starts_with("`server.crt` could not be read | check the path"), "{said}");
    let said = start(&good, |directory| write(&directory.join("server.key"), "hunter2")).await;
    assert!(said.starts_with("`server.key` holds no private key in PEM | "), "{said}");
    assert!(!said.contains("hunter2"));
    let said = start(&good, |directory| write(&directory.join("server.crt"), "")).await;
    assert!(said.starts_with("`server.crt` holds no certificate in PEM | "), "{said}");
    let huge = "x".repeat(1024 * 1024 + 1);
    let said = start(&good, |directory| write(&directory.join("server.crt"), &huge)).await;
    assert!(said.starts_with("`server.crt` is larger than 1048576 bytes"), "{said}");
    let other = authority.sign(&Wish::server());
    let mixed = Identity { chain: good.chain.clone(), key: other.key };
    let said = start(&mixed, |_| {}).await;
    assert!(
        said.starts_with("the key `server.key` does not belong to the certificate `server.crt` | "),
        "{said}"
    );
    let expired = authority.sign(&Wish::server().valid(-2 * DAY, -DAY));
    let said = start(&expired, |_| {}).await;
    assert!(
        said.starts_with("the certificate `server.crt` ended 20") && said.contains("gen-server-cert"),
        "{said}"
    );
    let early = authority.sign(&Wish::server().valid(DAY, 2 * DAY));
    let said = start(&early, |_| {}).await;
    assert!(said.starts_with("the certificate `server.crt` begins only 20"), "{said}");
}

#[tokio::test]
async fn half_a_handshake_ends_in_time_and_holds_nobody_up() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, tls, _| {
        tls.handshake_timeout = Duration::from_secs(1);
        tls.max_handshakes = 1;
    })
    .await;
    let mut slow = TcpStream::connect(world.gateway.address()).await.unwrap();
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut heard = Vec::new();
    // It is hung up on, without an answer.
    let ended = tokio::time::timeout(PATIENCE, slow.read_to_end(&mut heard)).await;
    assert!(ended.is_ok() && heard.is_empty(), "{ended:?} {heard:?}");
    // Within its own second, when the machine lets it.
    until("the next gets in", async || shake_hands(&world, &raw_client(&authority, &[&TLS13])).await.is_ok())
        .await;
    world.stop().await;
}

#[tokio::test]
async fn an_address_that_stalls_its_handshakes_holds_up_itself_alone() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |_, tls, _| {
        tls.handshake_timeout = 2 * PATIENCE;
        (tls.max_handshakes, tls.max_handshakes_per_address) = (2, 1);
    })
    .await;
    let hostile = async || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(world.gateway.address()).await.unwrap()
    };
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut half = hostile().await;
        half.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
        stalled.push(half);
    }
    let connector = raw_client(&authority, &[&TLS13]);
    let good = tokio::time::timeout(PATIENCE, shake_hands(&world, &connector)).await;
    assert!(good.is_ok_and(|shaken| shaken.is_ok()), "another address gets in");
    // The address itself gets in again as soon as it stops stalling.
    drop(stalled);
    let name = ServerName::try_from("localhost").unwrap();
    let own = connector.connect(name, hostile().await);
    assert!(tokio::time::timeout(PATIENCE, own).await.is_ok_and(|shaken| shaken.is_ok()));
    world.stop().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_half_a_handshake() {
    let authority = Authority::new("Test CA");
    let world = secure(&authority, |settings, tls, _| {
        tls.handshake_timeout = 2 * PATIENCE;
        settings.shutdown_grace = 2 * PATIENCE;
    })
    .await;
    let slow = TcpStream::connect(world.gateway.address()).await.unwrap();
    let began = Instant::now();
    world.stop().await;
    assert!(began.elapsed() < PATIENCE);
    drop(slow);
}

/// The binary with a configuration file, and the command-line client that everybody has.
#[tokio::test]
async fn the_binary_serves_https_and_takes_a_new_certificate_on_sighup() {
    let authority = Authority::new("Test CA");
    let place = child::Place::new("");
    place.edit(
        "{ port: 0,",
        "{ port: 0, tls: { cert_path: server.crt, key_path: server.key, reload_interval: 0s },",
    );
    authority.sign(&Wish::server()).write(place.path(), "server");
    write(&place.path().join("ca.pem"), &authority.pem);
    let key = place.service("reader", "agent:list");
    let mut running = place.start();
    assert_eq!(running.scheme, "https");
    let curl = |running: &child::Running, more: &[&str]| {
        let url = running.url("/v1/agents").replace("127.0.0.1", "localhost");
        let key = format!("X-API-Key: {key}");
        let ran = std::process::Command::new("curl")
            .args([
                "-sS",
                "--max-time",
                "180",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{http_version}",
                "-H",
                &key,
            ])
            .args(more)
            .arg(&url)
            .current_dir(place.path())
            .output()
            .unwrap();
        String::from_utf8_lossy(if ran.status.success() { &ran.stdout } else { &ran.stderr }).into_owned()
    };
    assert_eq!(curl(&running, &["--cacert", "ca.pem"]), "200 2");
    let stranger = curl(&running, &[]);
    assert!(stranger.contains("certificate"), "{stranger}");
    let old = curl(&running, &["--cacert", "ca.pem", "--tls-max", "1.2"]);
    assert!(old.contains("alert protocol version"), "{old}");

    let other = Authority::new("Another CA");
    other.sign(&Wish::server()).write(place.path(), "server");
    write(&place.path().join("other.pem"), &other.pem);
    running.process.signal("HUP");
    running.process.hear("reloaded: certificate ");
    assert_eq!(curl(&running, &["--cacert", "other.pem"]), "200 2");

    write(&place.path().join("server.key"), "junk");
    running.process.signal("HUP");
    let refused = running.process.hear("reload refused, the old certificate stays:");
    assert!(refused.contains("help: it must hold one `-----BEGIN PRIVATE KEY-----`"), "{refused}");
    assert_eq!(curl(&running, &["--cacert", "other.pem"]), "200 2");
    let ended = running.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");

    let refused = child::run(place.path(), &["start", "--config", "caxton.yaml"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("TLS could not be set up\\n  because `server.key` holds no private key"),
        "{refused:?}"
    );
}
