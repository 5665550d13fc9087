use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::authn::LocalKeys;
use crate::clock::ManualClock;
use crate::model::{AgentId, EntityUid, KeyId, RoleName, ServiceName, Value};
use crate::secret::Secret;

const NOW: i64 = 1_768_039_200_000;
const HOUR: i64 = 3_600_000;

/// The scheme over the keys of a data directory.
fn scheme_of(settings: Settings, clock: SharedClock) -> Result<ApiKeyScheme, AuthnError> {
    let table = Arc::new(LocalKeys::open(&settings.store)?);
    ApiKeyScheme::new(settings, table, clock)
}

struct Bench {
    _directory: tempfile::TempDir,
    settings: Settings,
    clock: Arc<ManualClock>,
    store: KeyStore,
    scheme: ApiKeyScheme,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings::in_directory(&directory.path().join("data"));
        let clock = Arc::new(ManualClock::at_millis(NOW));
        // Two openings of the same files, as the gateway and `caxton auth` would have.
        let store = KeyStore::open(&settings).unwrap();
        let scheme = scheme_of(settings.clone(), Arc::<ManualClock>::clone(&clock)).unwrap();
        Self { _directory: directory, settings, clock, store, scheme }
    }

    fn create(&self, holder: &KeyHolder) -> (KeyId, String) {
        let permissions = ["tool:call", "memory:read"].map(|word| RoleName::parse(word).unwrap());
        let name = ServiceName::parse("ci-job").unwrap();
        let key = self.store.create(&name, holder, &permissions, NOW, NOW + HOUR).unwrap();
        (key.id, key.secret.expose().clone())
    }

    fn ask(&self, headers: &[(&'static str, &str)]) -> Presented {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        self.scheme.examine(&map).now_or_never().unwrap()
    }

    fn reason(&self, key: &str) -> &'static str {
        reason(self.ask(&[("x-api-key", key)]))
    }
}

fn reason(presented: Presented) -> &'static str {
    match presented {
        Presented::Nothing => "nothing",
        Presented::Rejected(refused) => refused.reason,
        Presented::Proven(_) => "proven",
    }
}

#[test]
fn a_key_has_the_shape_that_scanners_know() {
    let (id, secret) = random_key().unwrap();
    let text = secret.expose();
    assert_eq!(text.len(), 9 + 12 + 1 + 43 + 6);
    assert!(text.starts_with(&format!("cax_live_{id}_")));
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    assert_eq!(KeyText::parse(text).map(|key| key.id).ok(), Some(id));
    assert_ne!(random_key().unwrap().1.expose(), text);
}

#[test]
fn a_service_is_proven_by_its_key() {
    let bench = Bench::new();
    let (id, key) = bench.create(&KeyHolder::Service);
    for header in ["x-api-key", "x-caxton-api-key"] {
        let Presented::Proven(subject) = bench.ask(&[(header, &key)]) else { panic!("{header}") };
        assert_eq!(subject.principal(), &EntityUid::caxton("Service", "ci-job"));
        assert_eq!(subject.proof(), &Proof::ApiKey { id: id.clone() });
        assert_eq!(
            *subject.entity().attributes.get("permissions").unwrap(),
            Value::texts(["tool:call", "memory:read"])
        );
        let parents: Vec<_> = subject.entity().parents.iter().map(|parent| parent.id().to_owned()).collect();
        assert_eq!(parents, ["tool:call", "memory:read"]);
    }
    assert_eq!(reason(bench.ask(&[])), "nothing");
}

#[test]
fn an_agents_key_says_nothing_about_the_agent() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Agent(AgentId::parse("researcher").unwrap()));
    let Presented::Proven(subject) = bench.ask(&[("x-api-key", &key)]) else { panic!() };
    assert_eq!(subject.principal(), &EntityUid::caxton("Agent", "researcher"));
    assert!(subject.entity().attributes.is_empty() && subject.entity().parents.is_empty());
}

#[test]
fn a_typo_is_told_before_anything_is_looked_up() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Service);
    for place in 0..key.len() {
        let mut bytes = key.clone().into_bytes();
        bytes[place] = if bytes[place] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8(bytes).unwrap();
        let got = bench.reason(&changed);
        assert!(matches!(got, "bad_checksum" | "malformed"), "{place}: {got}");
    }
    for text in [
        "",
        "cax_live_",
        "cax_live__",
        "secret",
        &key[..key.len() - 1],
        &format!("{key}x"),
        &format!(" {key}"),
    ] {
        assert_eq!(bench.reason(text), "malformed", "{text}");
    }
    assert_eq!(bench.reason("cax_live_é"), "malformed");
}

#[test]
fn a_made_up_key_is_refused_as_a_wrong_one_is() {
    let bench = Bench::new();
    let (id, key) = bench.create(&KeyHolder::Service);
    let (_, stranger) = random_key().unwrap();
    assert_eq!(bench.reason(stranger.expose()), "unknown_key");
    // The known id with another secret and a right checksum.
    let other = stranger.expose().rsplit('_').next().unwrap().to_owned();
    let body = format!("cax_live_{id}_{}", &other[..43]);
    let forged = format!("{body}{}", text::checksum(&body));
    assert_eq!(bench.reason(&forged), "unknown_key");
    assert_eq!(bench.reason(&key), "proven");
}

/// A key of this id with another secret and a right checksum.
fn forged(id: &KeyId, secret: &str) -> String {
    let body = format!("cax_live_{id}_{secret}");
    let sum = text::checksum(&body);
    format!("{body}{sum}")
}

/// The time of a refusal reveals nothing: not whether the id exists, nor how much of the secret was right. Coarse on
/// purpose, and taken in turns, so that a busy machine does not fail it; a comparison that stops at the first
/// difference is caught by the code having none, a lookup that skips the hash by this.
#[test]
fn a_refusal_takes_as_long_for_an_unknown_key_as_for_a_wrong_one() {
    let bench = Bench::new();
    let (id, key) = bench.create(&KeyHolder::Service);
    let secret = &key.rsplit('_').next().unwrap()[..43];
    let swap = |place: usize| {
        let mut bytes = secret.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        forged(&id, std::str::from_utf8(&bytes).unwrap())
    };
    let unknown = random_key().unwrap().1;
    let cases = [unknown.expose().clone(), swap(0), swap(42)];
    let mut times = [const { Vec::new() }; 3];
    for round in 0..900 {
        for (case, times) in cases.iter().zip(&mut times) {
            let begin = Instant::now();
            assert_eq!(bench.reason(case), "unknown_key");
            let time = begin.elapsed();
            if round >= 100 {
                times.push(time);
            }
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6
    });
    println!(
        "µs: unknown id {:.2}, first character wrong {:.2}, last {:.2}",
        medians[0], medians[1], medians[2]
    );
    for pair in [(0, 1), (1, 2), (0, 2)] {
        let ratio = medians[pair.0] / medians[pair.1];
        assert!((0.4..2.5).contains(&ratio), "{medians:?}");
    }
}

#[test]
fn a_key_is_replaced_once_and_serves_on_for_a_while() {
    let bench = Bench::new();
    let (id, old) = bench.create(&KeyHolder::Service);
    bench.clock.advance(Duration::from_secs(600));
    let now = NOW + 600_000;
    let new = bench.store.rotate(&id, now, 60_000).unwrap().unwrap();
    assert_eq!(new.expires, now + HOUR, "as long to live as the first had when it was made");
    let (first, second) =
        (bench.store.find(&id).unwrap().unwrap(), bench.store.find(&new.id).unwrap().unwrap());
    assert_eq!((first.expires, first.replaced_by.as_ref()), (now + 60_000, Some(&new.id)));
    assert_eq!((&second.name, &second.permissions), (&first.name, &first.permissions));
    let reasons = || (bench.reason(&old), bench.reason(new.secret.expose()));
    assert_eq!(reasons(), ("proven", "proven"));
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(reasons(), ("expired", "proven"));
    // One successor, and none for what has ended or is not there.
    assert!(bench.store.rotate(&id, now, 60_000).unwrap().is_none());
    bench.store.revoke(&new.id, now).unwrap();
    assert!(bench.store.rotate(&new.id, now, 60_000).unwrap().is_none());
    assert!(bench.store.rotate(&KeyId::parse("nobody").unwrap(), now, 60_000).unwrap().is_none());
    let (late, _) = bench.create(&KeyHolder::Service);
    assert!(bench.store.rotate(&late, NOW + HOUR, 60_000).unwrap().is_none());
    // The grace never lengthens a key.
    let (last, _) = bench.create(&KeyHolder::Service);
    bench.store.rotate(&last, now, 100 * HOUR).unwrap().unwrap();
    assert_eq!(bench.store.find(&last).unwrap().unwrap().expires, NOW + HOUR);
}

#[test]
fn a_key_that_was_to_be_replaced_long_ago_is_refused() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Service);
    let settings = Settings { max_age: Some(Duration::from_secs(1800)), ..bench.settings.clone() };
    let strict = scheme_of(settings, Arc::<ManualClock>::clone(&bench.clock)).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(&key).unwrap());
    bench.clock.advance(Duration::from_secs(1799));
    assert_eq!(reason(strict.examine(&headers).now_or_never().unwrap()), "proven");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(strict.examine(&headers).now_or_never().unwrap()), "rotation_overdue");
    assert_eq!(bench.reason(&key), "proven", "where it is not asked for, the expiry alone counts");
}

#[test]
fn a_key_ends_with_its_time() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Service);
    bench.clock.advance(Duration::from_millis(HOUR as u64 - 1));
    assert_eq!(bench.reason(&key), "proven");
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(bench.reason(&key), "expired");
    let name = ServiceName::parse("late").unwrap();
    assert!(matches!(bench.store.create(&name, &KeyHolder::Service, &[], NOW, NOW), Err(AuthnError::Expiry)));
}

#[test]
fn a_revoked_key_is_refused_on_the_next_request() {
    let bench = Bench::new();
    let (id, key) = bench.create(&KeyHolder::Service);
    assert_eq!(bench.reason(&key), "proven");
    // Through another connection than the one that answers.
    assert!(bench.store.revoke(&id, NOW + 1).unwrap());
    assert_eq!(bench.reason(&key), "revoked");
    assert!(bench.store.revoke(&id, NOW + 2).unwrap());
    assert_eq!(bench.store.list().unwrap()[0].revoked, Some(NOW + 1));
    assert!(!bench.store.revoke(&KeyId::parse("nobody").unwrap(), NOW).unwrap());
}

#[test]
fn two_headers_must_agree() {
    let bench = Bench::new();
    let (_, one) = bench.create(&KeyHolder::Service);
    let (_, two) = bench.create(&KeyHolder::Service);
    assert_eq!(reason(bench.ask(&[("x-api-key", &one), ("x-caxton-api-key", &one)])), "proven");
    assert_eq!(
        reason(bench.ask(&[("x-api-key", &one), ("x-caxton-api-key", &two)])),
        "conflicting_credentials"
    );
    assert_eq!(reason(bench.ask(&[("x-api-key", &one), ("x-api-key", &two)])), "conflicting_credentials");
}

#[test]
fn the_files_tell_nothing_to_others_and_no_key_to_anybody() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Service);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&bench.settings.store), mode(&bench.settings.pepper)), (0o600, 0o600));
    let secret = &key[22..65];
    for entry in fs::read_dir(bench.settings.store.parent().unwrap()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[test]
fn a_pepper_that_is_lost_open_or_short_stops_the_start() {
    let bench = Bench::new();
    bench.create(&KeyHolder::Service);
    let pepper = &bench.settings.pepper;
    let refusal = || match KeyStore::open(&bench.settings).err() {
        Some(AuthnError::Pepper { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    fs::set_permissions(pepper, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(refusal().contains("0600"));
    fs::set_permissions(pepper, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(pepper, [1; 31]).unwrap();
    assert!(refusal().contains("32 bytes"));
    fs::write(pepper, [1; 33]).unwrap();
    assert!(refusal().contains("32 bytes"));
    fs::remove_file(pepper).unwrap();
    assert!(refusal().contains("missing"));
}

#[test]
fn another_pepper_makes_every_key_worthless() {
    let bench = Bench::new();
    let (_, key) = bench.create(&KeyHolder::Service);
    fs::write(&bench.settings.pepper, [7; 32]).unwrap();
    let scheme = scheme_of(bench.settings.clone(), Arc::<ManualClock>::clone(&bench.clock)).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_str(&key).unwrap());
    assert_eq!(reason(scheme.examine(&headers).now_or_never().unwrap()), "unknown_key");
}

#[test]
fn many_openings_at_once_share_one_pepper() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.pepper");
    let hashes: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Pepper::open(&path, true).unwrap().hash("key"))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left");
}

#[test]
fn a_header_of_another_scheme_cannot_carry_keys() {
    let bench = Bench::new();
    let settings = Settings { header_names: vec![header::AUTHORIZATION], ..bench.settings.clone() };
    assert!(matches!(scheme_of(settings, bench.clock).err(), Some(AuthnError::HeaderTaken { .. })));
}

#[test]
fn a_lookup_is_cheap_enough_for_the_request_thread() {
    // Not a timed test: it prints the figure that the module's text relies on.
    let bench = Bench::new();
    let keys: Vec<Secret<String>> =
        (0..200).map(|_| Secret::new(bench.create(&KeyHolder::Service).1)).collect();
    let begin = Instant::now();
    for key in &keys {
        assert_eq!(bench.reason(key.expose()), "proven");
    }
    println!("{:?} for an api key among {}", begin.elapsed() / 200, keys.len());
}
