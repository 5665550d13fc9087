use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::authn::{KeyHolder, KeyStore, Person};
use crate::clock::{Clock as _, ManualClock};
use crate::model::{AgentId, EntityUid, RoleName, ServiceName};

const NOW: i64 = 1_768_039_200_000;
const DAY: i64 = 24 * 3600 * 1000;

const PROVIDER: &str = "https://login.example";

struct Bench {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    keys: KeyStore,
    tokens: Tokens,
}

fn logins(settings: &Settings) -> Arc<LocalLogins> {
    Arc::new(LocalLogins::open(&settings.store, settings.cache_entries).unwrap())
}

fn open(settings: Settings, clock: Arc<ManualClock>) -> Result<Tokens, AuthnError> {
    let logins = logins(&settings);
    Tokens::open(settings, logins, None, clock)
}

fn bench_with(change: impl FnOnce(&mut Settings)) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at_millis(NOW));
    let keys = KeyStore::open(&api_key::Settings::in_directory(directory.path())).unwrap();
    let mut settings = Settings::in_directory(directory.path());
    settings.login_issuer = Some(PROVIDER.into());
    change(&mut settings);
    let tokens = open(settings, Arc::<ManualClock>::clone(&clock)).unwrap();
    Bench { directory, clock, keys, tokens }
}

fn bench() -> Bench {
    bench_with(|_| {})
}

impl Bench {
    fn key(&self) -> KeyRecord {
        let words = [RoleName::parse("tool:call").unwrap()];
        let name = ServiceName::parse("ci").unwrap();
        let new = self.keys.create(&name, &KeyHolder::Service, &words, NOW, NOW + 90 * DAY).unwrap();
        self.keys.find(&new.id).unwrap().unwrap()
    }

    fn issue(&self, key: &KeyRecord) -> Issued {
        self.tokens.issue(key.clone(), HolderKeys::default()).unwrap()
    }

    /// As after a restart, or in another process.
    fn again(&self) -> Tokens {
        let settings = Settings::in_directory(self.directory.path());
        open(settings, Arc::<ManualClock>::clone(&self.clock)).unwrap()
    }
}

fn reason<T>(result: Result<T, Refused>) -> &'static str {
    result.map_or_else(|refused| refused.reason, |_| "accepted")
}

fn access(tokens: &Tokens, issued: &Issued) -> &'static str {
    reason(tokens.verify(issued.access.expose()))
}

/// Uses a refresh token: the new pair, or why not.
fn refresh(tokens: &Tokens, text: &str) -> Result<Issued, &'static str> {
    let renewal = tokens.recognise(text).map_err(|refused| refused.reason)?;
    tokens.renew(renewal).unwrap().ok_or("gone")
}

fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_token_is_whom_its_key_is_and_no_more() {
    let bench = bench();
    let key = bench.key();
    let issued = bench.issue(&key);
    let (subject, _) = bench.tokens.verify(issued.access.expose()).unwrap();
    let by_key = api_key::subject(key.clone(), Proof::ApiKey { id: key.id.clone() });
    assert_eq!(subject.entity(), by_key.entity());
    assert_eq!(subject.proof().method(), "session");
    let (header, claims) = (part(issued.access.expose(), 0), part(issued.access.expose(), 1));
    assert_eq!((&header["alg"], &header["typ"]), (&json!("EdDSA"), &json!("at+jwt")));
    assert_eq!(claims["iss"], "caxton");
    assert_eq!(claims["sub"], "ci");
    assert_eq!(claims["client_id"], key.id.as_str());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(issued.expires_in, 3600);
    assert!(!claims.to_string().contains("tool:call"), "permissions are read from the key: {claims}");
}

#[test]
fn a_token_of_an_agents_key_is_the_agent() {
    let bench = bench();
    let holder = KeyHolder::Agent(AgentId::parse("clerk").unwrap());
    let new = bench.keys.create(&ServiceName::parse("k").unwrap(), &holder, &[], NOW, NOW + DAY).unwrap();
    let issued = bench.issue(&bench.keys.find(&new.id).unwrap().unwrap());
    let (subject, _) = bench.tokens.verify(issued.access.expose()).unwrap();
    assert_eq!(subject.principal(), &EntityUid::caxton("Agent", "clerk"));
}

#[test]
fn a_token_does_not_outlive_its_key_or_its_hour() {
    let bench = bench();
    let name = ServiceName::parse("short").unwrap();
    let new = bench.keys.create(&name, &KeyHolder::Service, &[], NOW, NOW + 60_000).unwrap();
    let issued = bench.issue(&bench.keys.find(&new.id).unwrap().unwrap());
    assert_eq!(issued.expires_in, 60);
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(access(&bench.tokens, &issued), "expired", "the leeway does not lengthen the key");
    let bench = bench_with(|settings| settings.idle = Duration::from_secs(7200));
    let issued = bench.issue(&bench.key());
    bench.clock.advance(Duration::from_secs(3604));
    assert_eq!(access(&bench.tokens, &issued), "accepted");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(access(&bench.tokens, &issued), "expired");
}

#[test]
fn a_revoked_key_ends_its_tokens_at_once() {
    let bench = bench();
    let key = bench.key();
    let issued = bench.issue(&key);
    assert_eq!(access(&bench.tokens, &issued), "accepted");
    bench.keys.revoke(&key.id, NOW).unwrap();
    assert_eq!(access(&bench.tokens, &issued), "revoked");
    assert_eq!(refresh(&bench.tokens, issued.refresh.expose()).err(), Some("revoked"));
}

#[test]
fn each_end_counts_from_the_next_request_on_in_every_process() {
    type End = fn(&Tokens, &Issued);
    let cases: [(End, &str); 4] = [
        (|tokens, issued| assert!(tokens.end(&issued.session).unwrap()), "ended"),
        (|tokens, _| assert_eq!(tokens.revoke_all().unwrap(), 1), "ended"),
        (|tokens, _| tokens.revoke_subject("Caxton::Service::\"ci\"").unwrap(), "token_revoked"),
        (
            |tokens, issued| {
                let jti = part(issued.access.expose(), 1)["jti"].as_str().unwrap().to_owned();
                tokens.revoke_token(&jti).unwrap();
            },
            "token_revoked",
        ),
    ];
    for (number, (end, expected)) in cases.into_iter().enumerate() {
        let bench = bench();
        let (other, issued) = (bench.again(), bench.issue(&bench.key()));
        assert_eq!((access(&bench.tokens, &issued), access(&other, &issued)), ("accepted", "accepted"));
        end(&other, &issued);
        assert_eq!((access(&bench.tokens, &issued), access(&other, &issued)), (expected, expected));
        let went_on = refresh(&bench.tokens, issued.refresh.expose()).err();
        // One token by its name leaves the session open; everything else closes it.
        assert_eq!(went_on.is_none(), number == 3, "{number}: {went_on:?}");
    }
}

#[test]
fn what_is_made_after_a_revocation_counts_within_the_same_second() {
    let bench = bench();
    bench.clock.advance(Duration::from_millis(500));
    let (key, _) = (bench.key(), bench.tokens.revoke_all().unwrap());
    let mut last = None;
    for _ in 0..3 {
        bench.clock.advance(Duration::from_millis(1));
        let issued = bench.issue(&key);
        assert_eq!(access(&bench.tokens, &issued), "accepted");
        bench.tokens.revoke_subject("Caxton::Service::\"ci\"").unwrap();
        assert_eq!(access(&bench.tokens, &issued), "token_revoked", "not one of them slips through");
        last = Some(issued);
    }
    assert_eq!(refresh(&bench.tokens, last.unwrap().refresh.expose()).err(), Some("token_revoked"));
}

#[test]
fn a_session_that_rests_too_long_is_over() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    for _ in 0..2 {
        bench.clock.advance(Duration::from_secs(14 * 60));
        assert_eq!(access(&bench.tokens, &issued), "accepted", "use keeps it open");
    }
    // Also for another process, once it has been written down.
    bench.tokens.write_touched().unwrap();
    bench.clock.advance(Duration::from_secs(14 * 60));
    let other = bench.again();
    assert_eq!(access(&other, &issued), "accepted");
    other.write_touched().unwrap();
    bench.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(access(&bench.tokens, &issued), "idle");
    assert_eq!(refresh(&bench.tokens, issued.refresh.expose()).err(), Some("idle"));
}

#[test]
fn a_refresh_token_serves_once_and_its_replay_ends_the_session() {
    let bench = bench();
    let first = bench.issue(&bench.key());
    let second = refresh(&bench.tokens, first.refresh.expose()).unwrap();
    assert_eq!(access(&bench.tokens, &second), "accepted");
    assert_eq!(second.session, first.session);
    bench.clock.advance(Duration::from_secs(31));
    assert_eq!(refresh(&bench.tokens, first.refresh.expose()).err(), Some("refresh_reused"));
    // Thief and owner cannot be distinguished: both sessions end.
    assert_eq!(refresh(&bench.tokens, second.refresh.expose()).err(), Some("ended"));
    assert_eq!((access(&bench.tokens, &first), access(&bench.tokens, &second)), ("ended", "ended"));
}

#[test]
fn a_lost_answer_is_given_again_while_nobody_went_on() {
    let bench = bench();
    let first = bench.issue(&bench.key());
    let lost = refresh(&bench.tokens, first.refresh.expose()).unwrap();
    bench.clock.advance(Duration::from_secs(30));
    // After a crash too: what was stored is all that is needed.
    let again = refresh(&bench.again(), first.refresh.expose()).unwrap();
    assert_eq!(lost.refresh.expose(), again.refresh.expose());
    let third = refresh(&bench.tokens, again.refresh.expose()).unwrap();
    // The successor was used: the first one is now a replay, within the grace as well.
    assert_eq!(refresh(&bench.tokens, first.refresh.expose()).err(), Some("refresh_reused"));
    assert_eq!(refresh(&bench.tokens, third.refresh.expose()).err(), Some("ended"));
}

#[test]
fn a_crash_before_the_store_leaves_the_old_token_good() {
    let bench = bench();
    let first = bench.issue(&bench.key());
    // Proven and judged, and then the process ends.
    drop(bench.tokens.recognise(first.refresh.expose()).unwrap());
    bench.clock.advance(Duration::from_secs(60));
    assert!(refresh(&bench.again(), first.refresh.expose()).is_ok());
}

#[test]
fn many_at_once_get_one_successor() {
    let bench = bench();
    let first = bench.issue(&bench.key());
    let others: Vec<Tokens> = (0..4).map(|_| bench.again()).collect();
    let text = first.refresh.expose();
    let found: Vec<_> = std::thread::scope(|scope| {
        let work = |tokens| scope.spawn(move || refresh(tokens, text).map(|pair| pair.refresh));
        let running: Vec<_> = others.iter().chain(&others).map(work).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let texts: Vec<&String> = found.iter().map(|found| found.as_ref().unwrap().expose()).collect();
    assert!(texts.iter().all(|text| *text == texts[0]), "one chain, not many");
    assert!(refresh(&bench.tokens, texts[0]).is_ok());
}

#[test]
fn a_refresh_token_ends_with_its_day_and_its_key() {
    let bench = bench_with(|settings| settings.idle = Duration::from_secs(7 * 24 * 3600));
    let first = bench.issue(&bench.key());
    bench.clock.advance(Duration::from_secs(24 * 3600 - 1));
    let second = refresh(&bench.tokens, first.refresh.expose()).unwrap();
    bench.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(refresh(&bench.tokens, second.refresh.expose()).err(), Some("expired"));
}

#[test]
fn what_is_no_refresh_token_is_refused_before_anything_is_looked_up() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let good = issued.refresh.expose();
    assert!(good.starts_with("cax_rt_") && good.len() == 56, "{}", good.len());
    let mut wrong = good.clone().into_bytes();
    wrong[20] = if wrong[20] == b'A' { b'B' } else { b'A' };
    let wrong = String::from_utf8(wrong).unwrap();
    for text in ["", "cax_rt_", "x", wrong.as_str(), &good[..55], &format!("{good}x"), issued.access.expose()]
    {
        assert_eq!(refresh(&bench.tokens, text).err(), Some("malformed"), "{text}");
    }
    let made_up = RefreshText::random().unwrap().into_secret();
    assert_eq!(refresh(&bench.tokens, made_up.expose()).err(), Some("unknown_token"));
}

#[test]
fn nothing_on_disk_is_a_token() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let next = refresh(&bench.tokens, issued.refresh.expose()).unwrap();
    let secrets = [&issued.access, &issued.refresh, &next.access, &next.refresh];
    let mut files = 0;
    let mut folders = vec![bench.directory.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            use std::os::unix::fs::MetadataExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o077, 0, "{}", path.display());
            let bytes = std::fs::read(&path).unwrap();
            for secret in secrets {
                let needle = &secret.expose().as_bytes()[7..40];
                assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", path.display());
            }
        }
    }
    assert!(files >= 3, "database, pepper, signing key");
}

#[test]
fn a_key_has_so_many_sessions_and_no_more() {
    let bench = bench_with(|settings| settings.max_sessions_per_key = 3);
    let key = bench.key();
    let issued: Vec<Issued> = (0..5)
        .map(|_| {
            bench.clock.advance(Duration::from_secs(1));
            bench.issue(&key)
        })
        .collect();
    let found: Vec<_> = issued.iter().map(|issued| access(&bench.tokens, issued)).collect();
    assert_eq!(found, ["ended", "ended", "accepted", "accepted", "accepted"]);
    // And what is long dead is gone.
    bench.clock.advance(Duration::from_secs(25 * 3600));
    bench.issue(&key);
    assert_eq!(bench.tokens.store.count_sessions(0).unwrap(), 1);
}

#[test]
fn a_new_signing_key_signs_and_the_old_one_vouches_until_its_tokens_end() {
    let bench = bench_with(|settings| settings.idle = Duration::from_secs(7200));
    let key = bench.key();
    let (before, other) = (bench.issue(&key), bench.again());
    let old = part(before.access.expose(), 0)["kid"].as_str().unwrap().to_owned();
    let kid = other.rotate_signing_key().unwrap();
    let after = bench.issue(&key);
    assert_eq!(part(after.access.expose(), 0)["kid"], kid.as_str(), "seen by another process at once");
    let fresh = bench.again();
    for tokens in [&bench.tokens, &other] {
        assert_eq!((access(tokens, &before), access(tokens, &after)), ("accepted", "accepted"));
    }
    let kids = |tokens: &Tokens| -> Vec<String> {
        let set = tokens.key_set().unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kids(&bench.tokens).len(), 2);
    let signing: Vec<_> = std::fs::read_dir(bench.directory.path().join("signing")).unwrap().collect();
    assert_eq!(signing.len(), 1, "the old private half is gone");
    bench.clock.advance(Duration::from_secs(3606));
    assert_eq!(kids(&bench.tokens), [kid]);
    for tokens in [&fresh, &bench.tokens, &other] {
        assert_eq!(access(tokens, &before), "unknown_key", "also where it was proven before");
    }
    assert_ne!(old, after.session.as_ref());
}

/// A thief has the key: what it signs counts nowhere any more, also what was retired before and what was proven before.
#[test]
fn a_compromised_signing_key_vouches_for_nothing_at_once() {
    let bench = bench_with(|settings| settings.idle = Duration::from_secs(7200));
    let key = bench.key();
    let oldest = bench.issue(&key);
    bench.tokens.rotate_signing_key().unwrap();
    let (old, other) = (bench.issue(&key), bench.again());
    assert_eq!((access(&bench.tokens, &oldest), access(&bench.tokens, &old)), ("accepted", "accepted"));
    let kid = other.replace_compromised_key().unwrap();
    for tokens in [&bench.tokens, &other, &bench.again()] {
        assert_eq!((access(tokens, &oldest), access(tokens, &old)), ("unknown_key", "unknown_key"));
        let set = tokens.key_set().unwrap();
        assert_eq!((set["keys"].as_array().unwrap().len(), &set["keys"][0]["kid"]), (1, &kid.clone().into()));
    }
    let signing: Vec<_> = std::fs::read_dir(bench.directory.path().join("signing")).unwrap().collect();
    assert_eq!(signing.len(), 1, "the old private half is gone");
    // The session itself was not stolen.
    let renewal = bench.tokens.recognise(old.refresh.expose()).unwrap();
    let next = bench.tokens.renew(renewal).unwrap().unwrap();
    assert_eq!(access(&bench.tokens, &next), "accepted");
}

/// A stolen signing key makes no token that outlives the gateway's own.
#[test]
fn a_token_that_says_it_lives_longer_than_ours_do_is_refused() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let claims = part(issued.access.expose(), 1).as_object().unwrap().clone();
    let signed = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut claims = claims.clone();
        change(&mut claims);
        let token = bench.tokens.signing.sign(&*bench.tokens.store, ACCESS_TOKEN, claims).unwrap();
        reason(bench.tokens.verify(token.expose()))
    };
    assert_eq!(signed(&|_| ()), "accepted");
    let later = claims["exp"].as_i64().unwrap() + 1;
    assert_eq!(signed(&|claims| drop(claims.insert("exp".to_owned(), later.into()))), "claim_value");
    assert_eq!(signed(&|claims| drop(claims.remove("iat"))), "claim_missing");
}

/// Nor one that does without the key to which the session is bound.
#[test]
fn a_token_that_is_not_bound_as_its_session_is_refused() {
    let bench = bench();
    let bound = HolderKeys { dpop: Some([7; 32]), certificate: None };
    let issued = bench.tokens.issue(bench.key(), bound).unwrap();
    let mut claims = part(issued.access.expose(), 1).as_object().unwrap().clone();
    assert!(claims.remove("cnf").is_some());
    let token = bench.tokens.signing.sign(&*bench.tokens.store, ACCESS_TOKEN, claims).unwrap();
    assert_eq!(reason(bench.tokens.verify(token.expose())), "claim_value");
}

/// A program has two minutes to redeem the code of its login.
#[test]
fn a_login_from_before_a_revocation_counts_for_nothing_afterwards() {
    let bench = bench();
    let kept = LoggedIn { at_millis: NOW, ..login("vera") };
    bench.clock.advance(Duration::from_secs(60));
    bench.tokens.revoke_all().unwrap();
    bench.clock.advance(Duration::from_secs(30));
    let issued = bench.tokens.log_in(kept, Duration::from_secs(5400), HolderKeys::default()).unwrap();
    assert_eq!(reason(bench.tokens.verify(issued.access.expose())), "token_revoked");
    assert_eq!(bench.tokens.recognise(issued.refresh.expose()).err().unwrap().reason, "token_revoked");
    let fresh = LoggedIn { at_millis: NOW + 90_000, ..login("vera") };
    let issued = bench.tokens.log_in(fresh, Duration::from_secs(5400), HolderKeys::default()).unwrap();
    assert_eq!(reason(bench.tokens.verify(issued.access.expose())), "accepted");
}

#[test]
fn a_login_at_a_provider_that_is_no_longer_configured_is_over() {
    for now in [None, Some("https://other.example")] {
        let bench = bench_with(|settings| settings.login_issuer = now.map(Into::into));
        let issued =
            bench.tokens.log_in(login("vera"), Duration::from_secs(60), HolderKeys::default()).unwrap();
        assert_eq!(reason(bench.tokens.verify(issued.access.expose())), "login_over");
    }
}

#[test]
fn a_signing_key_that_is_lost_or_open_stops_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = bench();
    let file =
        std::fs::read_dir(bench.directory.path().join("signing")).unwrap().next().unwrap().unwrap().path();
    let open = || {
        let settings = Settings::in_directory(bench.directory.path());
        open(settings, Arc::<ManualClock>::clone(&bench.clock)).err()
    };
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(open(), Some(AuthnError::SigningFile { .. })));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, "junk").unwrap();
    assert!(matches!(open(), Some(AuthnError::SigningFile { .. })));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(open(), Some(AuthnError::KeyFile { .. })));
    // What is done in that case works without the file, and a new key lets it start again.
    let settings = Settings::in_directory(bench.directory.path());
    let tokens = Tokens::open_to_end(
        settings.clone(),
        logins(&settings),
        None,
        Arc::<ManualClock>::clone(&bench.clock),
    )
    .unwrap();
    tokens.revoke_token("x").unwrap();
    tokens.revoke_subject("Caxton::Service::\"ci\"").unwrap();
    assert_eq!(tokens.revoke_all().unwrap(), 0);
    tokens.rotate_signing_key().unwrap();
    assert!(open().is_none());
}

#[test]
fn the_published_keys_are_what_our_own_reader_accepts() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let path = bench.directory.path().join("jwks.json");
    std::fs::write(&path, bench.tokens.key_set().unwrap().to_string()).unwrap();
    let settings = super::super::jwt::Settings {
        jwks: Some((JwtAlgorithm::EdDsa, super::super::jwt::JwksPlace::File(path))),
        issuer: "caxton".into(),
        audience: "caxton-api".into(),
        ..Default::default()
    };
    let clock: SharedClock = Arc::<ManualClock>::clone(&bench.clock);
    let metrics = Arc::new(crate::telemetry::Metrics::new());
    assert!(super::super::jwt::accepts_for_test(settings, clock, metrics, issued.access.expose()));
}

#[test]
fn no_changed_or_foreign_token_is_accepted() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let token = issued.access.expose();
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert_ne!(reason(bench.tokens.verify(&changed)), "accepted", "{place}");
    }
    let sign = |header: Value, claims: Value| {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(header), encode(claims));
        let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes())))
    };
    let (header, claims) = (part(token, 0), part(token, 1));
    assert_eq!(reason(bench.tokens.verify(&sign(header.clone(), claims.clone()))), "bad_signature");
    let change = |name: &str, value: Value| {
        let mut header = header.clone();
        header[name] = value;
        reason(bench.tokens.verify(&sign(header, claims.clone())))
    };
    assert_eq!(change("alg", json!("none")), "wrong_algorithm");
    assert_eq!(change("alg", json!("HS256")), "wrong_algorithm");
    assert_eq!(change("typ", json!("JWT")), "wrong_type");
    assert_eq!(change("kid", json!("caxton-0000000000000000")), "unknown_key");
    assert_eq!(change("kid", json!("../../etc/passwd")), "unknown_key");
}

#[test]
fn events_wait_until_they_are_recorded() {
    let bench = bench();
    bench.keys.note("revoke_key", "key `x`", NOW).unwrap();
    bench.keys.note("create_key", "name `y`", NOW + 1).unwrap();
    let pending = bench.tokens.pending_events(10).unwrap();
    assert_eq!(
        pending.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(),
        ["revoke_key", "create_key"]
    );
    bench.tokens.forget_events(pending[0].id).unwrap();
    assert_eq!(bench.again().pending_events(10).unwrap(), pending[1..]);
}

/// A person who has logged in, with a role of the provider's.
fn login(name: &str) -> LoggedIn {
    let role = RoleName::parse("viewer").unwrap();
    let person = Person {
        issuer: PROVIDER.to_owned(),
        subject: name.to_owned(),
        email: None,
        roles: [role].into(),
        groups: ["staff".to_owned()].into(),
        tags: [("name".to_owned(), ["Vera".to_owned()].into())].into(),
    };
    let subject = Arc::new(person.to_subject(Proof::Login { key: "k".into() }));
    LoggedIn { subject, person, at_millis: NOW }
}

#[test]
fn a_login_is_the_person_it_was_and_ends_with_its_time_however_much_it_is_used() {
    let bench = bench_with(|settings| settings.idle = Duration::from_secs(3600));
    let vera = login("vera");
    let bound = HolderKeys { dpop: Some([7; 32]), certificate: None };
    let issued = bench.tokens.log_in(vera.clone(), Duration::from_secs(5400), bound).unwrap();
    assert_eq!(issued.expires_in, 3600);
    let (subject, holder) = bench.tokens.verify(issued.access.expose()).unwrap();
    assert_eq!(
        (holder, issued.with_proof),
        (bound, true),
        "what was proven at the login goes with its tokens"
    );
    assert_eq!(subject.entity(), vera.subject.entity(), "with all that the provider said");
    assert!(matches!(subject.proof(), Proof::Session { key: None, .. }));
    bench.clock.advance(Duration::from_secs(3000));
    let renewal = bench.tokens.recognise(issued.refresh.expose()).unwrap();
    assert_eq!(renewal.bound, bound);
    let next = bench.tokens.renew(renewal).unwrap().unwrap();
    assert_eq!(next.expires_in, 2400, "no longer than the login");
    bench.clock.advance(Duration::from_secs(2399));
    assert!(bench.tokens.verify(next.access.expose()).is_ok());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.tokens.verify(next.access.expose()).unwrap_err().reason, "login_over");
    assert_eq!(bench.tokens.recognise(next.refresh.expose()).err().unwrap().reason, "login_over");
}

#[test]
fn logins_of_a_person_are_counted_and_revoked_together_and_others_stay() {
    let bench = bench_with(|settings| settings.max_sessions_per_key = 2);
    let long = Duration::from_secs(5400);
    let begin = |name: &str| {
        bench.clock.advance(Duration::from_secs(1));
        let login = LoggedIn { at_millis: bench.clock.now_millis(), ..login(name) };
        bench.tokens.log_in(login, long, HolderKeys::default()).unwrap()
    };
    let (first, second, third, other) = (begin("vera"), begin("vera"), begin("vera"), begin("olivia"));
    let refused =
        |issued: &Issued| bench.tokens.verify(issued.access.expose()).err().map(|refused| refused.reason);
    assert_eq!(refused(&first), Some("ended"));
    assert_eq!((refused(&second), refused(&third), refused(&other)), (None, None, None));
    bench.tokens.revoke_subject(&login("vera").subject.principal().to_string()).unwrap();
    assert_eq!((refused(&second), refused(&third)), (Some("token_revoked"), Some("token_revoked")));
    assert_eq!(refused(&other), None);
}

#[tokio::test]
async fn the_logins_of_a_data_directory_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        LocalLogins::open(&directory.path().join(format!("{}.db", number.get())), 100).unwrap()
    };
    contract::check(make).await;
}

/// An event is left by a program that changes keys, through the database that both share.
#[test]
fn events_of_other_programs_wait_in_order() {
    let bench = bench();
    for (at, name) in [(1, "first"), (2, "second"), (3, "third")] {
        bench.keys.note(name, "detail", at).unwrap();
    }
    let pending = bench.tokens.pending_events(2).unwrap();
    let names = |events: &[PendingEvent]| events.iter().map(|event| event.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&pending), ["first", "second"]);
    bench.tokens.forget_events(pending[1].id).unwrap();
    assert_eq!(names(&bench.tokens.pending_events(10).unwrap()), ["third"]);
}

/// What was revoked or ended cannot be seen, so nothing is accepted and nothing is made.
#[test]
fn tokens_are_refused_when_logins_cannot_be_asked() {
    let bench = bench();
    let issued = bench.issue(&bench.key());
    let settings = Settings::in_directory(bench.directory.path());
    let unreachable = Arc::new(contract::UnreachableLogins);
    let clock = Arc::<ManualClock>::clone(&bench.clock);
    let tokens = Tokens::open_to_end(settings.clone(), unreachable.clone(), None, clock).unwrap();
    let refused = tokens.verify(issued.access.expose()).unwrap_err();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "store_unavailable"));
    let refused = tokens.recognise(issued.refresh.expose()).err().unwrap();
    assert_eq!((refused.kind, refused.reason), (RefusedKind::Unavailable, "store_unavailable"));
    assert!(tokens.issue(bench.key(), HolderKeys::default()).is_err());
    assert!(tokens.revoke_all().is_err(), "a revocation that was not stored is not reported as done");
    let clock = Arc::<ManualClock>::clone(&bench.clock);
    assert!(Tokens::open(settings, unreachable, None, clock).is_err());
}

/// A token of another issuer, too: whether it was revoked cannot be seen.
#[tokio::test]
async fn revocations_that_cannot_be_asked_refuse() {
    let settings = Settings::in_directory(std::path::Path::new("unused"));
    let bench = bench();
    let settings = Settings { pepper: bench.directory.path().join("keys.pepper"), ..settings };
    let clock = Arc::<ManualClock>::clone(&bench.clock);
    let tokens = Tokens::open_to_end(settings, Arc::new(contract::UnreachableLogins), None, clock).unwrap();
    let digest = TokenDigest::of("token");
    let refused = tokens.check_revoked(&digest, Some("j"), &Subject::for_test(), (Some(NOW), "jwt")).await;
    assert_eq!(refused.unwrap_err().reason, "store_unavailable");
}
