//! A verifier whose keys come from a file or from an issuer that rotates, fails, hangs, and answers junk.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::testing::*;
use super::*;
use crate::clock::ManualClock;
use crate::telemetry::metrics::ResultLabels;

/// An issuer with a settable answer, which reports each answer that it has given.
struct Issuer {
    url: reqwest::Url,
    answer: Arc<Mutex<Option<Vec<u8>>>>,
    asked: mpsc::UnboundedReceiver<()>,
}

fn ok(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

/// `None` hangs: the connection stays open and nothing is said.
async fn issuer(first: Option<Vec<u8>>) -> Issuer {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
    let answer = Arc::new(Mutex::new(first));
    let (told, asked) = mpsc::unbounded_channel();
    let next = Arc::clone(&answer);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = next.lock().clone();
            match answer {
                Some(bytes) => drop(stream.write_all(&bytes).await),
                None => open.push(stream),
            }
            let _ = told.send(());
        }
    });
    Issuer { url, answer, asked }
}

struct Bench {
    verifier: Arc<TokenVerifier>,
    clock: Arc<ManualClock>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    issuer: Issuer,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bench(first: Option<Vec<u8>>, change: impl FnOnce(&mut JwksUrl)) -> Bench {
    let issuer = issuer(first).await;
    let mut place = JwksUrl::new(issuer.url.clone().into());
    // A busy machine is not what is tested here.
    place.timeout = Duration::from_secs(180);
    change(&mut place);
    let settings = Settings {
        jwks: Some((JwtAlgorithm::EdDsa, JwksPlace::Url(place))),
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::at_millis(NOW * 1000));
    let metrics = Arc::new(Metrics::new());
    let shared: SharedClock = Arc::<ManualClock>::clone(&clock);
    let verifier = Arc::new(TokenVerifier::new(settings, shared, Arc::clone(&metrics)).unwrap());
    let stop = CancellationToken::new();
    let (follower, token) = (Arc::clone(&verifier), stop.clone());
    tokio::spawn(async move { follower.keys.follow(&token).await });
    Bench { verifier, clock, metrics, stop, issuer }
}

impl Bench {
    /// Waits until so many fetches have come to their end.
    async fn fetched(&self, result: &'static str, count: u64) {
        while self.count(result) < count {
            tokio::task::yield_now().await;
        }
    }

    fn count(&self, result: &'static str) -> u64 {
        self.metrics.jwks_refreshes.get_or_create(&ResultLabels { result }).get()
    }

    fn reason(&self, token: &str) -> &'static str {
        self.verifier.verify(token).map_or_else(|refused| refused.reason, |_| "accepted")
    }

    fn kind(&self, token: &str) -> RefusedKind {
        self.verifier.verify(token).unwrap_err().kind
    }
}

fn set(kid: &str) -> Value {
    json!({ "keys": [public_jwk(JwtAlgorithm::EdDsa, kid), public_jwk(JwtAlgorithm::Rs256, "other")] })
}

fn naming(kid: &str) -> String {
    token_of(JwtAlgorithm::EdDsa, &json!({ "alg": "EdDSA", "kid": kid }).to_string(), &claims().to_string())
}

#[tokio::test]
async fn keys_are_fetched_before_a_token_counts() {
    let bench = bench(Some(ok(&set("k1"))), |_| {}).await;
    bench.fetched("ok", 1).await;
    assert_eq!(bench.reason(&naming("k1")), "accepted");
    assert_eq!(
        bench.reason(&token(JwtAlgorithm::EdDsa, &claims())),
        "accepted",
        "there is only one key for it"
    );
    assert_eq!(
        bench.reason(&token(JwtAlgorithm::Rs256, &claims())),
        "wrong_algorithm",
        "a set does not add algorithms"
    );
}

#[tokio::test]
async fn an_issuer_that_never_answered_vouches_for_nobody() {
    let bench = bench(Some(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n".to_vec()), |_| {}).await;
    bench.fetched("failed", 1).await;
    assert_eq!(bench.reason(&naming("k1")), "keys_unavailable");
    assert_eq!(bench.kind(&naming("k1")), RefusedKind::Unavailable);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_the_old_one_ends() {
    let mut bench = bench(Some(ok(&set("k1"))), |_| {}).await;
    bench.fetched("ok", 1).await;
    bench.issuer.asked.recv().await.unwrap();
    assert_eq!(bench.reason(&naming("k1")), "accepted");
    *bench.issuer.answer.lock() = Some(ok(&set("k2")));
    // Too early for another fetch: callers with unknown keys cannot make the gateway send a request each time.
    for _ in 0..100 {
        assert_eq!(bench.kind(&naming("k2")), RefusedKind::Invalid);
    }
    bench.clock.advance(Duration::from_secs(30));
    // A hundred at once set off one fetch, and none of them is called a guess.
    for _ in 0..100 {
        assert_eq!(bench.kind(&naming("k2")), RefusedKind::Unavailable);
    }
    bench.fetched("ok", 2).await;
    bench.issuer.asked.recv().await.unwrap();
    assert!(bench.issuer.asked.try_recv().is_err(), "one fetch for a hundred questions");
    assert_eq!(bench.reason(&naming("k2")), "accepted");
    // Remembered tokens of the key that is gone are gone with it.
    assert_eq!(bench.reason(&naming("k1")), "unknown_key");
}

#[tokio::test]
async fn what_cannot_be_fetched_leaves_the_keys_until_they_are_too_old() {
    let junk: [(&str, Vec<u8>); 6] = [
        ("junk", ok(&json!("hello"))),
        ("private", ok(&json!({ "keys": [{ "kty": "oct", "kid": "k1", "k": "AAAA" }] }))),
        ("empty", ok(&json!({ "keys": [] }))),
        (
            "redirect",
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        ("large", ok(&json!({ "keys": [], "pad": "x".repeat(300_000) }))),
        ("cut off", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{".to_vec()),
    ];
    for (name, answer) in junk {
        let bench = bench(Some(ok(&set("k1"))), |_| {}).await;
        bench.fetched("ok", 1).await;
        *bench.issuer.answer.lock() = Some(answer);
        bench.clock.advance(Duration::from_secs(31));
        assert_eq!(bench.reason(&naming("k9")), "unknown_key");
        bench.fetched("failed", 1).await;
        assert_eq!(bench.reason(&naming("k1")), "accepted", "{name}");
        bench.clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(bench.reason(&naming("k1")), "keys_unavailable", "{name}: remembered ones too");
    }
}

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_nobody() {
    let bench = bench(Some(ok(&set("k1"))), |place| place.timeout = Duration::from_secs(1)).await;
    bench.fetched("ok", 1).await;
    *bench.issuer.answer.lock() = None;
    bench.clock.advance(Duration::from_secs(31));
    assert_eq!(bench.kind(&naming("k9")), RefusedKind::Unavailable);
    // Judged at once, while the fetch hangs.
    assert_eq!(bench.reason(&naming("k1")), "accepted");
    bench.fetched("failed", 1).await;
    assert_eq!(bench.reason(&naming("k1")), "accepted");
}

#[tokio::test]
async fn keys_are_fetched_again_by_themselves() {
    let bench = bench(Some(ok(&set("k1"))), |place| place.refresh = Duration::from_millis(1)).await;
    bench.fetched("ok", 1).await;
    *bench.issuer.answer.lock() = Some(ok(&set("k2")));
    // One may be under way with the answer from before.
    bench.fetched("ok", bench.count("ok") + 2).await;
    assert_eq!(bench.reason(&naming("k2")), "accepted");
}

#[test]
fn the_wait_after_failures_grows_and_ends() {
    let place = JwksUrl::new("https://issuer.example/jwks".parse().unwrap());
    let waits = [0, 1, 2, 5, 40].map(|failures| place.wait(failures).as_secs());
    assert_eq!(waits, [600, 1, 2, 16, 600]);
}

#[test]
fn keys_do_not_cross_the_network_in_the_clear() {
    let check = |url: &str| {
        let place = JwksUrl::new(url.parse().unwrap());
        Settings { jwks: Some((JwtAlgorithm::EdDsa, JwksPlace::Url(place))), ..Settings::default() }.check()
    };
    for good in ["https://issuer.example/jwks", "http://127.0.0.1:9/", "http://[::1]/", "http://localhost/"] {
        assert!(check(good).is_ok(), "{good}");
    }
    for bad in [
        "http://issuer.example/jwks",
        "http://127.0.0.1.evil.example/",
        "file:///etc/passwd",
        "ftp://localhost/",
    ] {
        assert!(check(bad).is_err(), "{bad}");
    }
    let both = Settings {
        keys: vec![key(JwtAlgorithm::EdDsa)],
        jwks: Some((JwtAlgorithm::EdDsa, JwksPlace::File("x".into()))),
        ..Settings::default()
    };
    assert!(both.check().is_err());
    let shared =
        Settings { jwks: Some((JwtAlgorithm::Hs256, JwksPlace::File("x".into()))), ..Settings::default() };
    assert!(shared.check().is_err());
}

#[test]
fn a_key_file_is_read_again_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, set("k1").to_string()).unwrap();
    let settings = Settings {
        jwks: Some((JwtAlgorithm::EdDsa, JwksPlace::File(path.clone()))),
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::at_millis(NOW * 1000));
    let verifier = TokenVerifier::new(settings, clock, Arc::new(Metrics::new())).unwrap();
    let says =
        |kid: &str| verifier.verify(&naming(kid)).map_or_else(|refused| refused.reason, |_| "accepted");
    assert_eq!((says("k1"), says("k2")), ("accepted", "unknown_key"));
    let files = KeyFiles::of(&verifier.keys).unwrap();
    std::fs::write(&path, "{}").unwrap();
    let malformed = |error| matches!(error, AuthnError::KeySet { source: JwkError::Malformed, .. });
    assert!(malformed(files.read().unwrap_err()) && malformed(files.drop_removed().unwrap_err()));
    assert_eq!(says("k1"), "accepted");
    std::fs::write(&path, set("k1").to_string()).unwrap();
    assert!(!files.read().unwrap().is_change());
    std::fs::write(&path, set("k2").to_string()).unwrap();
    let draft = files.read().unwrap();
    assert!(draft.is_change());
    assert_eq!((says("k1"), says("k2")), ("accepted", "unknown_key"), "read, and not in force");
    files.put_in_force(draft);
    assert_eq!((says("k1"), says("k2")), ("unknown_key", "accepted"));
    // What is left is what both have: here nothing.
    std::fs::write(&path, set("k1").to_string()).unwrap();
    assert!(files.drop_removed().unwrap());
    assert_eq!((says("k1"), says("k2")), ("unknown_key", "unknown_key"));
}
