//! Stapled OCSP answers over the wire, with OpenSSL as responder and as client.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use crate::support;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::pki::{Authority, Wish};
use crate::support::{PATIENCE, World, eventually, until, write};
use axum::body::Bytes;
use caxton::server::{Gateway, OcspSettings, StartError, TlsReload, TlsSettings};
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose};

/// What the responder does.
#[derive(Clone)]
enum Mode {
    /// Answers with OpenSSL, from this list of certificates, as this signer.
    Answer {
        index: &'static str,
        signer: &'static str,
        asked: Option<&'static str>,
        life: &'static [&'static str],
    },
    Say(axum::http::StatusCode, Vec<u8>),
    Hang,
}

const GOOD: Mode = Mode::Answer { index: "good", signer: "signer", asked: None, life: &["-nmin", "60"] };

/// The places of one test: certificates, and a responder on a free port that does what `mode` says.
struct Place {
    directory: tempfile::TempDir,
    responder: String,
    mode: Arc<Mutex<Mode>>,
}

fn openssl(directory: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(directory).stdin(Stdio::null()).output();
    let done = done.expect("openssl is installed");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

impl Place {
    async fn new(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        write(&path.join("ca.pem"), &authority.pem);
        let purpose = &[ExtendedKeyUsagePurpose::OcspSigning];
        authority.sign(&Wish::new("responder", purpose)).write(&path, "signer");
        authority.sign(&Wish::server()).write(&path, "purposeless");
        authority.sign(&Wish::new("old", purpose).valid(-7200, -60)).write(&path, "ended");
        Authority::new("Other CA").sign(&Wish::new("responder", purpose)).write(&path, "stranger");
        let row = |state: &str, revoked: &str, serial: &str| {
            format!("{state}\t400101000000Z\t{revoked}\t{serial}\tunknown\t/CN=gateway\n")
        };
        write(&path.join("good"), &row("V", "", "07"));
        write(&path.join("revoked"), &row("R", "250101000000Z", "07"));
        write(&path.join("other"), &row("V", "", "08"));
        let mode = Arc::new(Mutex::new(GOOD));
        let shared = Arc::clone(&mode);
        let answer = async move |question: Bytes| {
            let mode = shared.lock().unwrap().clone();
            match mode {
                Mode::Answer { index, signer, asked, life } => {
                    let path = path.clone();
                    let work = move || make(&path, &question, index, signer, asked, life);
                    (axum::http::StatusCode::OK, tokio::task::spawn_blocking(work).await.unwrap())
                }
                Mode::Say(status, body) => (status, body),
                Mode::Hang => std::future::pending().await,
            }
        };
        let router = axum::Router::new().route("/ocsp", axum::routing::post(answer));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let responder = format!("http://{}/ocsp", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { directory, responder, mode }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn make(
    path: &Path,
    question: &[u8],
    index: &str,
    signer: &str,
    asked: Option<&str>,
    life: &[&str],
) -> Vec<u8> {
    // The files have one name for all who ask.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    std::fs::write(path.join("question"), question).unwrap();
    if let Some(serial) = asked {
        openssl(path, &["ocsp", "-issuer", "ca.pem", "-serial", serial, "-no_nonce", "-reqout", "question"]);
    }
    let (certificate, key) = (format!("{signer}.crt"), format!("{signer}.key"));
    let mut arguments =
        vec!["ocsp", "-index", index, "-CA", "ca.pem", "-rsigner", &certificate, "-rkey", &key];
    arguments.extend(["-reqin", "question", "-respout", "answer"]);
    arguments.extend(life);
    openssl(path, &arguments);
    std::fs::read(path.join("answer")).unwrap()
}

/// A gateway whose certificate has the serial 7 and that of its authority behind it.
async fn gateway(authority: &Authority, place: &Place, change: impl FnOnce(&mut OcspSettings)) -> World {
    World::with(|settings, directory| settings.tls = Some(tls(authority, place, directory, change))).await
}

fn tls(
    authority: &Authority,
    place: &Place,
    directory: &Path,
    change: impl FnOnce(&mut OcspSettings),
) -> TlsSettings {
    let mut identity = authority.sign(&Wish::server().serial(7));
    identity.chain.push_str(&authority.pem);
    let (certificate, key) = identity.write(directory, "server");
    let responder = Some(place.responder.parse().unwrap());
    let mut ocsp = OcspSettings { responder, timeout: PATIENCE, ..OcspSettings::default() };
    change(&mut ocsp);
    TlsSettings { reload_interval: None, ocsp: Some(ocsp), ..TlsSettings::new(certificate, key) }
}

/// What OpenSSL says of the stapled answer, which it verifies.
async fn client_says(world: &World, place: &Place) -> String {
    let address = world.gateway.address().to_string();
    let authority = place.path("ca.pem");
    let ask = move || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-status", "-connect", &address, "-CAfile"]).arg(&authority);
        let done = command.stdin(Stdio::null()).output().expect("openssl is installed");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// What was refused so far, in words.
fn refusals(world: &World) -> Vec<String> {
    let refused = world.records().into_iter().filter(|record| record["event"] == "ocsp_refused");
    refused.map(|record| record["detail"].as_str().unwrap().to_owned()).collect()
}

/// Waits until something is refused for this reason, beyond the first `known` refusals: what is asked again after a
/// while may be refused again.
async fn refused(world: &World, known: usize, why: &str) {
    until(why, async || refusals(world).iter().skip(known).any(|said| said.starts_with(why))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_shown_a_fresh_answer() {
    let authority = Authority::new("Test CA");
    let place = Place::new(&authority).await;
    let world = gateway(&authority, &place, |_| {}).await;
    let said = eventually("it is stapled", async || {
        Some(client_says(&world, &place).await).filter(|said| said.contains("OCSP Response Status"))
    })
    .await;
    assert!(said.contains("OCSP Response Status: successful"), "{said}");
    assert!(said.contains("Cert Status: good"), "{said}");
    assert!(said.contains("Verify return code: 0"), "{said}");

    // A new certificate of an authority that has taken it back meanwhile: it is shown alone, and somebody is told.
    *place.mode.lock().unwrap() =
        Mode::Answer { index: "revoked", signer: "signer", asked: None, life: &["-nmin", "60"] };
    assert!(matches!(world.gateway.reload_tls().await, TlsReload::Applied(_)));
    refused(&world, 0, "the authority has revoked the certificate of the gateway").await;
    assert!(client_says(&world, &place).await.contains("OCSP response: no response sent"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_hold_is_not_shown() {
    let authority = Authority::new("Test CA");
    let place = Place::new(&authority).await;
    *place.mode.lock().unwrap() = Mode::Hang;
    let hanging = gateway(&authority, &place, |ocsp| ocsp.timeout = Duration::from_millis(500)).await;
    refused(&hanging, 0, "the OCSP responder could not be reached").await;
    hanging.stop().await;

    *place.mode.lock().unwrap() = Mode::Say(axum::http::StatusCode::OK, b"no".to_vec());
    let world = gateway(&authority, &place, |ocsp| ocsp.max_bytes = 4 * 1024).await;
    refused(&world, 0, "the OCSP answer cannot be read").await;
    let answer = |index, signer, asked, life| Mode::Answer { index, signer, asked, life };
    let (ok, day) = (axum::http::StatusCode::OK, &["-ndays", "1"]);
    let cases = [
        (
            answer("good", "stranger", None, day),
            "the OCSP answer is not signed by the authority or its delegate",
        ),
        (
            answer("good", "purposeless", None, day),
            "the OCSP answer is not signed by the authority or its delegate",
        ),
        (
            answer("good", "ended", None, day),
            "the OCSP answer is not signed by the authority or its delegate",
        ),
        (answer("other", "signer", None, day), "the certificate of the gateway is unknown to the authority"),
        (answer("other", "signer", Some("0x08"), day), "the OCSP answer is about another certificate"),
        (answer("good", "signer", None, &[]), "the OCSP answer has no end of validity"),
        (Mode::Say(ok, vec![0x30, 0x03, 0x0a, 0x01, 0x03]), "the OCSP responder has no answer"),
        (Mode::Say(ok, b"hello".to_vec()), "the OCSP answer cannot be read"),
        (Mode::Say(ok, vec![0; 4 * 1024 + 1]), "the OCSP answer is larger than 4096 bytes"),
        (
            Mode::Say(axum::http::StatusCode::BAD_GATEWAY, Vec::new()),
            "the OCSP responder answered with HTTP status 502",
        ),
    ];
    for (mode, expected) in cases {
        let known = refusals(&world).len();
        *place.mode.lock().unwrap() = mode;
        assert!(matches!(world.gateway.reload_tls().await, TlsReload::Applied(_)));
        refused(&world, known, expected).await;
    }
    assert!(client_says(&world, &place).await.contains("OCSP response: no response sent"));
    world.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_stapled_is_said_at_the_start() {
    let authority = Authority::new("Test CA");
    let place = Place::new(&authority).await;
    let refused = async |tls: TlsSettings| {
        let mut settings = support::settings(place.path("data"));
        settings.tls = Some(tls);
        match Gateway::start(settings).await {
            Err(StartError::Tls(error)) => format!("{error}: {}", error.help()),
            other => panic!("{}", other.is_ok()),
        }
    };
    let (certificate, key) = authority.sign(&Wish::server()).write(place.directory.path(), "alone");
    let alone = TlsSettings { ocsp: Some(OcspSettings::default()), ..TlsSettings::new(certificate, key) };
    assert!(refused(alone).await.contains("does not hold the authority's certificate"));
    let mut wish = Wish::server();
    let demands = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    wish.params.custom_extensions.push(demands);
    let (certificate, key) = authority.sign(&wish).write(place.directory.path(), "demands");
    let said = refused(TlsSettings::new(certificate, key)).await;
    assert!(
        said.contains("demands a stapled OCSP answer") && said.contains("enable_ocsp_stapling"),
        "{said}"
    );
}
