//! Client certificates over the wire: whom they name, when they stop counting, and what they cannot be used for.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use crate::support::child;
use std::path::Path;
use std::time::Duration;

use crate::support::pki::{self, Authority, DAY, Identity, Wish, client};
use crate::support::{Answer, Credential, World, eventually, outcome, send, write};
use caxton::authn::mtls;
use caxton::server::{Settings, TlsReload};
use rcgen::{GeneralSubtree, NameConstraints};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;

const PAY: &str = "spiffe://prod.example/pay";

/// One house rule: the payment service may list agents, if its certificate says so.
const HOUSE: &str = "@id(\"house.pay\") permit (principal == Caxton::Workload::\"spiffe://prod.example/pay\", action == \
    Caxton::Action::\"agent:list\", resource) when { context.source.mtls && \
    principal.san.contains(\"pay.example\") };\n";

/// A gateway that asks for certificates of `clients`; `lists` are revocation lists by name.
async fn gateway(
    server: &Authority,
    clients: &Authority,
    lists: &[(&str, String)],
    change: impl FnOnce(&mut Settings, &mut mtls::Settings),
) -> World {
    pki::gateway(server, clients, |settings, mtls, directory| {
        for (name, list) in lists {
            write(&directory.join(name), list);
            mtls.crl_files.push(directory.join(name));
        }
        let policies = directory.join("policies");
        std::fs::create_dir(&policies).unwrap();
        write(&policies.join("house.cedar"), HOUSE);
        settings.policy_dir = Some(policies);
        change(settings, mtls);
    })
    .await
}

fn pay(clients: &Authority) -> Identity {
    clients.sign(&Wish::client("pay").uri(PAY).dns("pay.example").serial(7))
}

async fn list(world: &World, client: &Client) -> Answer {
    send(client.get(world.url("/v1/agents"))).await
}

#[tokio::test]
async fn a_certificate_names_its_holder_to_policies_and_log() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = gateway(&server, &clients, &[], |_, _| {}).await;
    let identity = pay(&clients);
    let answer = list(&world, &client(&server, Some(&identity))).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(record["subject"]["principal"], format!("Caxton::Workload::\"{PAY}\""), "{record}");
    assert_eq!(record["subject"]["method"], "mtls");
    let fingerprint =
        hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &identity.certificates()[0]));
    assert_eq!(record["subject"]["credential"], fingerprint.as_str());
    assert_eq!(
        (&record["context"]["source"]["mtls"], &record["source"]["tls"]),
        (&true.into(), &true.into())
    );

    // Another name of the same authority: known, and permitted nothing.
    let other = clients.sign(&Wish::client("pay").uri("spiffe://prod.example/mail").dns("pay.example"));
    let answer = list(&world, &client(&server, Some(&other))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{answer:?}");
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(
        record["subject"]["principal"], "Caxton::Workload::\"spiffe://prod.example/mail\"",
        "{record}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_workload_has_the_roles_that_it_is_given() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = pki::gateway(&server, &clients, |_, _, _| {}).await;
    let mail = "spiffe://prod.example/mail";
    let caller = client(&server, Some(&clients.sign(&Wish::client("mail").uri(mail))));
    assert_eq!(list(&world, &caller).await.status, StatusCode::FORBIDDEN);
    let root = world.person("root", &["admin"]);
    let role = json!({ "workload": mail, "role": "viewer" });
    let given = world.post(&root, "/v1/auth/roles", &role).await;
    assert_eq!(given.status, StatusCode::OK, "{given:?}");
    assert_eq!(list(&world, &caller).await.status, StatusCode::OK);
    let path = format!("/v1/auth/roles?workload={mail}&role=viewer");
    let taken = send(world.request(&root, Method::DELETE, &path)).await;
    assert_eq!(taken.status, StatusCode::OK, "{taken:?}");
    assert_eq!(list(&world, &caller).await.status, StatusCode::FORBIDDEN);
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_may_be_left_out_unless_it_is_required() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = gateway(&server, &clients, &[], |_, _| {}).await;
    let key = world.service("reader", &["agent:list"]);
    assert_ne!(world.get(&key, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(world.get(&Credential::Nothing, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    world.stop().await;

    let world = gateway(&server, &clients, &[], |_, mtls| mtls.required = true).await;
    let key = world.service("reader", &["agent:list"]);
    assert!(world.request(&key, Method::GET, "/v1/agents").send().await.is_err(), "no handshake, no request");
    assert_eq!(list(&world, &client(&server, Some(&pay(&clients)))).await.status, StatusCode::OK);
    let failure = next_failure(&world, 0).await;
    assert!(failure.starts_with("mtls: missing"), "{failure}");
    world.stop().await;
}

/// The refusal that is on record beyond the first `known`: the client hears of it before it is written.
async fn next_failure(world: &World, known: usize) -> String {
    eventually("it is on record", async || login_failures(world).get(known).cloned()).await
}

fn login_failures(world: &World) -> Vec<String> {
    let records = world.records();
    let failures = records.iter().filter(|record| record["event"] == "login_failure");
    failures.map(|record| record["detail"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn certificates_that_do_not_hold_are_refused_in_the_handshake_and_on_record() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let inner = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("good.example".to_owned())],
        excluded_subtrees: Vec::new(),
    };
    let limited = clients.below("Limited CA", Some(inner));
    let world = gateway(&server, &clients, &[], |_, _| {}).await;
    let named = || Wish::client("pay").uri(PAY).dns("pay.example");
    let strangers = Authority::new("Client CA");
    for (identity, why) in [
        (clients.sign(&named().valid(-2 * DAY, -DAY)), "mtls: expired"),
        (clients.sign(&named().valid(DAY, 2 * DAY)), "mtls: not_yet_valid"),
        (strangers.sign(&named()), "mtls: "),
        (server.sign(&named()), "mtls: unknown_issuer"),
        (clients.sign(&Wish::server().uri(PAY)), "mtls: wrong_purpose"),
        (limited.sign(&Wish::client("x").dns("bad.example")), "mtls: not_verified"),
        (limited.sign(&named()), "mtls: not_verified"),
    ] {
        let known = login_failures(&world).len();
        let failed = client(&server, Some(&identity)).get(world.url("/v1/agents")).send().await;
        assert!(failed.is_err(), "{why}: {failed:?}");
        let last = next_failure(&world, known).await;
        assert!(last.starts_with(why), "{last} for {why}");
    }
    let good = limited.sign(&Wish::client("x").dns("a.good.example"));
    assert_eq!(list(&world, &client(&server, Some(&good))).await.status, StatusCode::FORBIDDEN);
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(record["subject"]["principal"], "Caxton::Workload::\"a.good.example\"", "{record}");
    world.stop().await;
}

/// Guessing with certificates blocks the address, and from then on its handshakes write no record.
#[tokio::test]
async fn a_blocked_address_fills_no_log_with_handshakes() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = gateway(&server, &clients, &[], |settings, _| {
        settings.failures = Some(caxton::limit::FailureSettings {
            attempts: 2.try_into().unwrap(),
            block: Duration::from_secs(3_600),
            ..Default::default()
        });
    })
    .await;
    let stranger = server.sign(&Wish::client("pay").uri(PAY));
    let guess = async || client(&server, Some(&stranger)).get(world.url("/v1/agents")).send().await;
    for known in 0..2 {
        assert!(guess().await.is_err());
        next_failure(&world, known).await;
    }
    for _ in 0..3 {
        assert!(guess().await.is_err());
    }
    // Whoever comes with a good credential from there is turned away as well, after those handshakes.
    let good = list(&world, &client(&server, Some(&pay(&clients)))).await;
    assert_eq!(good.status, StatusCode::TOO_MANY_REQUESTS, "{good:?}");
    assert_eq!(login_failures(&world).len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn certificates_that_name_nobody_are_refused() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = gateway(&server, &clients, &[], |_, _| {}).await;
    let mut purposeless = Wish::client("pay").uri(PAY);
    purposeless.params.extended_key_usages.clear();
    for (wish, why) in [
        (Wish::client("pay"), "mtls: no_name"),
        (Wish::client("pay").uri("spiffe://prod.example/pay\r\nX-Admin: 1"), "mtls: bad_name"),
        (Wish::client("pay").uri(PAY).uri("spiffe://prod.example/root"), "mtls: ambiguous_name"),
        (purposeless, "mtls: wrong_purpose"),
    ] {
        let answer = list(&world, &client(&server, Some(&clients.sign(&wish)))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{why}");
        assert_eq!(answer.json()["detail"], "the credentials are not valid");
        let last = login_failures(&world).pop().unwrap();
        assert!(last.starts_with(why), "{last}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_revoked_certificate_counts_for_nothing_from_the_next_request_on() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let lists = [("clients.crl", clients.revoke(&[], DAY))];
    let world = gateway(&server, &clients, &lists, |_, _| {}).await;
    let open = client(&server, Some(&pay(&clients)));
    assert_eq!(list(&world, &open).await.status, StatusCode::OK);
    let accepted =
        |world: &World| world.records().iter().filter(|record| record["outcome"] == "allow").count();
    let before = accepted(&world);

    write(&world.directory.path().join("clients.crl"), &clients.revoke(&[7], DAY));
    assert!(
        matches!(world.gateway.reload_tls().await, TlsReload::Applied(text) if text.contains("revocation lists 1"))
    );
    let answer = list(&world, &open).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "the connection was opened before: {answer:?}");
    assert_eq!(login_failures(&world).pop().unwrap(), "mtls: revoked");
    assert!(client(&server, Some(&pay(&clients))).get(world.url("/v1/agents")).send().await.is_err());
    assert_eq!(accepted(&world), before + 1, "the reload alone");

    // A list that is junk, and one that has ended, do not bring it back.
    write(&world.directory.path().join("clients.crl"), "junk");
    assert!(
        matches!(world.gateway.reload_tls().await, TlsReload::Refused(text) if text.contains("is not a revocation list"))
    );
    assert_eq!(list(&world, &open).await.status, StatusCode::UNAUTHORIZED);
    write(&world.directory.path().join("clients.crl"), &clients.revoke(&[], -60));
    assert!(matches!(world.gateway.reload_tls().await, TlsReload::Applied(_)));
    assert_eq!(list(&world, &open).await.status, StatusCode::SERVICE_UNAVAILABLE, "nobody can tell");
    assert!(login_failures(&world).pop().unwrap().starts_with("mtls: revocation_list_expired"));
    world.stop().await;
}

#[tokio::test]
async fn an_authority_that_is_taken_out_takes_its_certificates_with_it() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let world = gateway(&server, &clients, &[], |_, _| {}).await;
    let open = client(&server, Some(&pay(&clients)));
    assert_eq!(list(&world, &open).await.status, StatusCode::OK);
    write(&world.directory.path().join("clients.pem"), &Authority::new("New CA").pem);
    assert!(matches!(world.gateway.reload_tls().await, TlsReload::Applied(_)));
    assert_eq!(list(&world, &open).await.status, StatusCode::UNAUTHORIZED);
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_and_another_credential_must_name_one_principal() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let mut world = gateway(&server, &clients, &[], |_, _| {}).await;
    world.client = client(&server, Some(&pay(&clients)));
    for other in [world.service("reader", &["agent:list"]), world.person("alice", &["admin"])] {
        let answer = world.get(&other, "/v1/agents").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
        assert!(login_failures(&world).pop().unwrap().ends_with(": conflicting_credentials"));
    }
    // Nor does a refresh token come through beside a certificate that names somebody.
    let refresh = json!({ "refresh_token": "x" });
    let answer = world.post(&Credential::Nothing, "/v1/auth/refresh", &refresh).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{answer:?}");
    assert!(login_failures(&world).pop().unwrap().ends_with("session: conflicting_credentials"));
    let bad = Credential::Key("cax_live_nonsense".to_owned());
    assert_eq!(
        world.get(&bad, "/v1/agents").await.status,
        StatusCode::UNAUTHORIZED,
        "nothing is passed over"
    );
    world.stop().await;

    // Where certificates just open the connection, the other credential names the caller.
    let mut world = gateway(&server, &clients, &[], |_, mtls| mtls.used_for = mtls::Use::Connection).await;
    world.client = client(&server, Some(&pay(&clients)));
    assert_eq!(world.get(&Credential::Nothing, "/v1/agents").await.status, StatusCode::UNAUTHORIZED);
    world.post(&Credential::Nothing, "/v1/auth/refresh", &refresh).await;
    let told = login_failures(&world).pop().unwrap();
    assert!(told.contains("session: ") && !told.contains("conflicting"), "{told}");
    world.get(&world.person("alice", &["admin"]), "/v1/agents").await;
    let record = world.records().into_iter().next_back().unwrap();
    assert_eq!(record["subject"]["method"], "jwt");
    assert_eq!(record["context"]["source"]["mtls"], true);
    assert_eq!(outcome(&record).1, "no_permit", "proven, and a house rule away from being allowed");
    world.stop().await;
}

/// The clients that everybody has.
#[test]
fn curl_and_openssl_come_in_with_their_certificates() {
    let (server, clients) = (Authority::new("Server CA"), Authority::new("Client CA"));
    let place = child::Place::new("  authorization: { policy_dir: rules }\n");
    place.edit(
        "{ port: 0,",
        "{ port: 0, tls: { cert_path: server.crt, key_path: server.key, ca_file: clients.pem, crl_files: [clients.crl] },",
    );
    let path = |name: &str| place.path().join(name);
    std::fs::create_dir(path("rules")).unwrap();
    write(&path("rules/house.cedar"), HOUSE);
    server.sign(&Wish::server()).write(place.path(), "server");
    write(&path("ca.pem"), &server.pem);
    write(&path("clients.pem"), &clients.pem);
    write(&path("clients.crl"), &clients.revoke(&[8], DAY));
    write(&path("pay.pem"), &pay(&clients).both());
    let revoked = clients.sign(&Wish::client("pay").uri(PAY).dns("pay.example").serial(8));
    write(&path("revoked.pem"), &revoked.both());
    let running = place.start();

    let curl = |certificate: &str| {
        let arguments =
            ["-sS", "--max-time", "180", "--cacert", "ca.pem", "--cert", certificate, "-w", "%{http_code}"];
        tool(place.path(), "curl", &[&arguments[..], &[&running.url("/v1/agents")]].concat(), "")
    };
    assert!(curl("pay.pem").ends_with("200"), "{}", curl("pay.pem"));
    let refused = curl("revoked.pem");
    assert!(refused.contains("certificate revoked"), "{refused}");

    let address = running.api.to_string();
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-CAfile",
        "ca.pem",
        "-cert",
        "pay.pem",
        "-key",
        "pay.pem",
        "-verify_return_error",
        "-ign_eof",
    ];
    let request = "GET /v1/agents HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = tool(place.path(), "openssl", &arguments, request);
    assert!(said.contains("Verify return code: 0 (ok)") && said.contains("HTTP/1.1 200 OK"), "{said}");
    assert!(
        said.contains("TLSv1.3") && said.contains("CN = Client CA"),
        "the acceptable authorities are named: {said}"
    );
    assert_eq!(running.stop().code, Some(0));
}

/// Two commands and a configuration: TLS with client certificates from nothing.
#[test]
fn certificates_of_the_own_authority_work_as_they_come() {
    let place = child::Place::new("  authorization: { policy_dir: rules }\n");
    let tls = "tls: { cert_path: server.pem, key_path: server.pem, ca_file: data/ca/ca.pem },";
    place.edit("{ port: 0,", &format!("{{ port: 0, {tls}"));
    std::fs::create_dir(place.path().join("rules")).unwrap();
    let house = HOUSE.replace("\"pay.example\"", "\"spiffe://prod.example/pay\"");
    write(&place.path().join("rules/house.cedar"), &house);
    let security = |arguments: &[&str]| {
        child::run(place.path(), &[&["security"], arguments, &["--data-dir", "data"]].concat())
    };
    let server = security(&["gen-server-cert", "--output", "server.pem"]);
    assert_eq!(server.code, Some(0), "{server:?}");
    assert!(
        server.stderr.contains("made an authority in `data/ca`")
            && server.stdout.contains("localhost, 127.0.0.1, ::1"),
        "{server:?}"
    );
    let made =
        security(&["gen-client-cert", "--cn", "pay", "--spiffe", PAY, "--output", "pay.pem", "--json"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(!made.stderr.contains("made an authority"), "once is enough: {made:?}");
    let told = made.json();
    assert_eq!(told["principal"], format!("Caxton::Workload::\"{PAY}\""));
    assert_eq!((&told["purpose"], told["serial"].as_str().unwrap().len()), (&"client".into(), 32));

    let running = place.start();
    let curl = |certificate: &str| {
        let arguments = [
            "-sS",
            "--max-time",
            "180",
            "--cacert",
            "data/ca/ca.pem",
            "--cert",
            certificate,
            "-o",
            "out",
            "-w",
            "%{http_code}",
        ];
        tool(place.path(), "curl", &[&arguments[..], &[&running.url("/v1/agents")]].concat(), "")
    };
    assert_eq!(curl("pay.pem"), "200");
    let plain = security(&["gen-client-cert", "--cn", "mail.example", "--output", "mail.pem"]);
    assert!(plain.stdout.contains("Caxton::Workload::\"mail.example\""), "{plain:?}");
    assert_eq!(curl("mail.pem"), "403", "known, and permitted nothing");
    assert!(
        curl("server.pem").contains("unsupported certificate"),
        "the gateway's own is no client's: {}",
        curl("server.pem")
    );
    let listed =
        |record: &serde_json::Value| record["action"] == "agent:list" && record["outcome"] == "allow";
    let record = place.records().into_iter().rfind(listed).unwrap();
    assert_eq!(record["subject"]["credential"], told["fingerprint"]);

    for (arguments, why) in [
        (&["gen-client-cert", "--cn", "pay", "--spiffe", PAY, "--output", "pay.pem"][..], "`pay.pem` exists"),
        (
            &["gen-client-cert", "--cn", "pay service", "--output", "x.pem"],
            "`pay service` is not a host name",
        ),
        (
            &["gen-client-cert", "--cn", "pay", "--spiffe", "spiffe://A/b", "--output", "x.pem"],
            "`spiffe://A/b` is not a URI",
        ),
        (
            &["gen-client-cert", "--cn", "pay", "--expires-in", "900d", "--output", "x.pem"],
            "from one minute to 825 days",
        ),
        (
            &["gen-client-cert", "--cn", "pay", "--output", "nowhere/x.pem"],
            "`nowhere/x.pem` could not be made",
        ),
        (&["gen-server-cert", "--host", "bad host", "--output", "x.pem"], "`bad host` is not a host name"),
        (&["gen-client-cert", "--output", "x.pem"], "--cn"),
    ] {
        let refused = security(arguments);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(why) && refused.stdout.is_empty(), "{refused:?}");
        assert!(!place.path().join("x.pem").exists());
    }
    assert_eq!(running.stop().code, Some(0));
}

fn tool(directory: &Path, name: &str, arguments: &[&str], input: &str) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(name)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&ended.stderr), String::from_utf8_lossy(&ended.stdout))
}
