//! What goes in comes out, and nothing else does: every way to hand over other policies is refused.

use proptest::prelude::*;

use super::*;
use crate::policy::{Bundle, SourceKind, Sources};

const POLICY: &str =
    "@id(\"a.list\")\npermit (principal, action == Caxton::Action::\"tool:list\", resource);\n";
const NOW: i64 = 1_768_039_200_000;
const DAY: i64 = 86_400_000;

fn sources(policy: &str) -> Sources {
    Sources::new().with_shipped(SourceKind::Schema).with_policy("a.cedar", policy)
}

fn manifest(sources: &Sources) -> Manifest {
    Manifest::new(sources, Kind::Publish, "ada", "because", NOW)
}

/// The next publication of a store.
fn publish(store: &VersionStore, sources: &Sources) -> Published {
    let published = offer(store, sources);
    store.add(&published, sources).unwrap();
    published
}

fn offer(store: &VersionStore, sources: &Sources) -> Published {
    Published { manifest: store.next(manifest(sources)).unwrap(), signatures: Vec::new() }
}

fn store() -> (tempfile::TempDir, VersionStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = VersionStore::new(directory.path().join("versions"));
    (directory, store)
}

fn trusting(keys: &[&SigningKey]) -> Rules {
    let keys = keys.iter().map(|key| key.public(None)).collect();
    Rules { trusted: Some(TrustedKeys { keys }), ..Rules::default() }
}

#[test]
fn a_store_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    contract::check(|| {
        number.set(number.get() + 1);
        VersionStore::new(directory.path().join(number.get().to_string()))
    });
}

#[test]
fn what_goes_in_comes_out() {
    let (_directory, store) = store();
    assert!(matches!(store.newest(), Err(VersionError::Empty(_))));
    let first = sources(POLICY);
    let second = sources(&POLICY.replace("a.list", "b.list"));
    let one = publish(&store, &first);
    let two = publish(&store, &second);
    assert_eq!((one.manifest.sequence, two.manifest.sequence), (1, 2));
    assert_eq!(two.manifest.parent.as_ref(), Some(&one.manifest.version));
    assert_eq!(store.newest().unwrap(), two);
    assert_eq!(store.find(&Wanted::Previous).unwrap(), one);
    assert_eq!(store.find(&Wanted::Number(1)).unwrap(), one);
    let digits = one.manifest.version.as_str()[..8].to_owned();
    assert_eq!(store.find(&Wanted::Digest(digits)).unwrap(), one);
    assert!(matches!(store.find(&Wanted::Digest("0123456789".to_owned())), Err(VersionError::NotFound(_))));
    for (published, wanted) in [(&one, &first), (&two, &second)] {
        let back = store.sources(&published.manifest).unwrap();
        assert_eq!(back.version(), wanted.version());
        assert_eq!(Bundle::load(back).unwrap().version(), &published.manifest.version);
    }
    assert_eq!(store.history().unwrap(), [two, one]);
}

#[test]
fn names_of_versions() {
    for (text, wanted) in [
        ("current", Some(Wanted::Current)),
        ("previous", Some(Wanted::Previous)),
        ("@3", Some(Wanted::Number(3))),
        ("abc123", Some(Wanted::Digest("abc123".to_owned()))),
        ("abc12", None),
        ("@", None),
        ("@x", None),
        ("HEAD~1", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), wanted, "{text}");
    }
}

#[test]
fn two_that_publish_at_once_do_not_take_one_number() {
    let (_directory, store) = store();
    let set = sources(POLICY);
    let (one, other) = (offer(&store, &set), offer(&store, &set));
    store.add(&one, &set).unwrap();
    assert!(matches!(store.add(&other, &set), Err(VersionError::Raced(1))));
    assert_eq!(store.numbers().unwrap(), [1]);
}

/// What a crash leaves behind is a file with another name, or texts that no publication names yet.
#[test]
fn what_was_not_finished_is_not_there() {
    let (_directory, store) = store();
    let set = sources(POLICY);
    publish(&store, &set);
    let half = store.root().join("history/.000000000002.json.1.new");
    std::fs::write(&half, "{\"manifest\":").unwrap();
    assert_eq!(store.numbers().unwrap(), [1]);
    publish(&store, &set);
    assert_eq!(store.numbers().unwrap(), [1, 2]);
}

#[test]
fn damaged_and_swapped_texts_are_noticed_and_mended_by_publishing_again() {
    let (_directory, store) = store();
    let set = sources(POLICY);
    let published = publish(&store, &set);
    let entry = published.manifest.files.iter().find(|file| file.name == "a.cedar").unwrap();
    let object = store.root().join("objects").join(&entry.sha256[..2]).join(&entry.sha256);
    for damage in ["", "permit", &POLICY.replace("list", "call"), &format!("{POLICY} ")] {
        std::fs::write(&object, damage).unwrap();
        let error = store.sources(&published.manifest).unwrap_err();
        assert!(matches!(error, VersionError::Swapped(_)), "{damage}: {error}");
    }
    publish(&store, &set);
    assert!(store.sources(&published.manifest).is_ok());
    std::fs::remove_file(&object).unwrap();
    assert!(matches!(store.sources(&published.manifest), Err(VersionError::Io { .. })));
}

#[test]
fn a_publication_under_another_number_is_refused() {
    let (_directory, store) = store();
    publish(&store, &sources(POLICY));
    publish(&store, &sources(&POLICY.replace("a.list", "b.list")));
    let history = store.root().join("history");
    // The older set under the newest number: a rollback that nobody published.
    std::fs::copy(history.join("000000000001.json"), history.join("000000000003.json")).unwrap();
    assert!(matches!(store.newest(), Err(VersionError::Swapped(_))));
    let cut = std::fs::read(history.join("000000000002.json")).unwrap();
    std::fs::write(history.join("000000000003.json"), &cut[..cut.len() / 2]).unwrap();
    assert!(matches!(store.newest(), Err(VersionError::Malformed { .. })));
}

#[test]
fn only_a_trusted_key_that_has_not_run_out_vouches() {
    let (good, other) = (SigningKey::generate("good").unwrap(), SigningKey::generate("other").unwrap());
    let set = sources(POLICY);
    let (_directory, store) = store();
    let unsigned = offer(&store, &set);
    let rules = trusting(&[&good]);
    assert!(matches!(rules.accept(&unsigned, NOW), Err(VersionError::Unsigned)));

    let mut signed = unsigned.clone();
    good.sign(&mut signed).unwrap();
    assert_eq!(rules.accept(&signed, NOW).unwrap().key_id.as_deref(), Some("good"));

    let refused = |rules: &Rules, published: &Published, words: &str| {
        let error = rules.accept(published, NOW).unwrap_err();
        assert!(matches!(error, VersionError::NotTrusted(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let mut by_other = unsigned.clone();
    other.sign(&mut by_other).unwrap();
    refused(&rules, &by_other, "key `other` is not trusted");
    // The stranger's signature under the good name, and under none.
    by_other.signatures[0].key_id = "good".to_owned();
    refused(&rules, &by_other, "key `good` signed something else");
    by_other.signatures[0].key_id = String::new();
    refused(&rules, &by_other, "has no name");
    // A good signature on another manifest.
    let mut swapped = signed.clone();
    swapped.manifest.message = "another reason".to_owned();
    refused(&rules, &swapped, "signed something else");
    let mut swapped = signed.clone();
    swapped.manifest.version = sources("").version();
    refused(&rules, &swapped, "signed something else");
    let mut weaker = signed.clone();
    weaker.signatures[0].algorithm = "none".to_owned();
    refused(&rules, &weaker, "names another algorithm");
    let mut cut = signed.clone();
    cut.signatures[0].signature.truncate(40);
    refused(&rules, &cut, "signed something else");
    // Rotation: both sign, and either is enough; an old key that ran out is not.
    other.sign(&mut signed).unwrap();
    assert_eq!(trusting(&[&other]).accept(&signed, NOW).unwrap().key_id.as_deref(), Some("other"));
    let over = TrustedKeys { keys: vec![good.public(Some(NOW)), other.public(Some(NOW + DAY))] };
    let rules = Rules { trusted: Some(over), ..Rules::default() };
    assert_eq!(rules.accept(&signed, NOW).unwrap().key_id.as_deref(), Some("other"));
    signed.signatures.retain(|one| one.key_id == "good");
    refused(&rules, &signed, "key `good` has run out");
    // Whatever time the manifest gives itself.
    let mut backdated = unsigned;
    backdated.manifest.time_millis = 1;
    good.sign(&mut backdated).unwrap();
    refused(&rules, &backdated, "key `good` has run out");
}

#[test]
fn an_older_publication_is_not_taken_again_however_well_it_is_signed() {
    let key = SigningKey::generate("k").unwrap();
    let (_directory, store) = store();
    let (first, second) = (sources(POLICY), sources(&POLICY.replace("a.list", "b.list")));
    let mut old = offer(&store, &first);
    key.sign(&mut old).unwrap();
    store.add(&old, &first).unwrap();
    let mut new = offer(&store, &second);
    key.sign(&mut new).unwrap();
    let mut rules = trusting(&[&key]);
    rules.seen = Some(rules.accept(&new, NOW).unwrap().seen);
    assert!(rules.accept(&new, NOW).is_ok(), "the same one again");
    let error = rules.accept(&old, NOW).unwrap_err();
    assert_eq!(error.to_string(), "number 1 is not newer than number 2, which was accepted before");
    // Another set under the number that was accepted.
    let mut twin = offer(&store, &first);
    key.sign(&mut twin).unwrap();
    assert!(matches!(rules.accept(&twin, NOW), Err(VersionError::Replayed { given: 2, seen: 2 })));
    // A rollback that somebody signed is a new publication.
    store.add(&new, &second).unwrap();
    let mut back = offer(&store, &first);
    back.manifest.kind = Kind::Rollback;
    key.sign(&mut back).unwrap();
    assert_eq!(rules.accept(&back, NOW).unwrap().seen.sequence, 3);
}

#[test]
fn an_expired_publication_is_refused() {
    let (_directory, store) = store();
    let mut published = offer(&store, &sources(POLICY));
    published.manifest.expires_millis = Some(NOW as u64);
    let rules = Rules::default();
    assert!(rules.accept(&published, NOW - 1).is_ok());
    let error = rules.accept(&published, NOW).unwrap_err();
    assert_eq!(error.to_string(), "the version expired at 2026-01-10T10:00:00.000Z");
}

#[test]
fn bundles_that_are_not_what_they_say_are_refused() {
    let set = sources(POLICY);
    let (_directory, store) = store();
    let published = publish(&store, &set);
    let bytes = store.bundle(published).unwrap().to_bytes().unwrap();
    let limit = bytes.len() as u64;
    let read = BundleFile::parse(&bytes, limit).unwrap();
    assert_eq!(read.sources().version(), set.version());

    assert!(matches!(BundleFile::parse(&bytes, limit - 1), Err(VersionError::TooLarge { .. })));
    for end in (0..bytes.len() - 2).step_by(97) {
        assert!(BundleFile::parse(&bytes[..end], limit).is_err(), "cut at {end}");
    }
    let text = String::from_utf8(bytes).unwrap();
    let policy = serde_json::to_string(POLICY).unwrap();
    let edits: [(&str, &str, &str); 9] = [
        ("caxton-policy-bundle/1", "caxton-policy-bundle/2", "format"),
        ("caxton-policy-manifest/1", "caxton-policy-manifest/9", "format"),
        ("\"a.cedar\"", "\"../../a.cedar\"", "not the name of a policy"),
        ("\"a.cedar\"", "\"/etc/a.cedar\"", "not the name of a policy"),
        ("\"a.cedar\"", "\"a.txt\"", "not the name of a policy"),
        ("\"a.cedar\"", "\"b.cedar\"", "do not have the digest"),
        (&policy, "\"permit (principal, action, resource);\"", "not the file that was published"),
        ("\"message\"", "\"masage\"", "unknown field"),
        ("\"texts\": {", "\"texts\": { \"00\": \"x\",", "does not name"),
    ];
    for (from, to, words) in edits {
        assert!(text.contains(from), "{from}");
        let edited = text.replacen(from, to, 1);
        let error = BundleFile::parse(edited.as_bytes(), limit + 100).unwrap_err().to_string();
        assert!(error.contains(words), "{from} -> {to}: {error}");
    }
    // Two readers that see different texts could be played against each other.
    let twice = text.replacen("\"format\"", "\"format\": \"x\", \"format\"", 1);
    assert!(
        BundleFile::parse(twice.as_bytes(), limit + 100).unwrap_err().to_string().contains("stands twice")
    );
}

/// A bundle comes from anybody; it may be no larger than what a store takes and gives back.
#[test]
fn bundles_that_no_store_would_keep_are_refused() {
    let (_directory, store) = store();
    let published = publish(&store, &sources(POLICY));
    let entry = published.manifest.files.last().unwrap().clone();
    let named = |number: usize| FileEntry { name: format!("{number:05}.cedar"), ..entry.clone() };
    for (files, words) in [
        ((0..4_097).map(named).collect::<Vec<_>>(), "has more than 4096 files"),
        (vec![FileEntry { bytes: (16 << 20) + 1, ..entry.clone() }], "has more than 16777216 bytes"),
    ] {
        let manifest = Manifest { files, ..published.manifest.clone() };
        let written =
            serde_json::json!({ "format": "caxton-policy-bundle/1", "manifest": manifest, "texts": {} });
        let error = BundleFile::from_json(written).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let over = Published { manifest, signatures: Vec::new() };
        assert!(store.sources(&over.manifest).unwrap_err().to_string().contains(words));
    }
}

#[test]
fn file_names_stay_below_their_directory() {
    use super::manifest::check_name;
    for name in ["a.cedar", "tools/a.cedar", "ü/ä.cedar", "a b.cedar"] {
        assert!(check_name(SourceKind::Policy, name).is_ok(), "{name}");
    }
    let long = format!("{}.cedar", "x".repeat(600));
    for name in [
        "",
        "/a.cedar",
        "../a.cedar",
        "a/../b.cedar",
        "a//b.cedar",
        ".a.cedar",
        "a/.b.cedar",
        "a\\b.cedar",
        "c:a.cedar",
        "a\n.cedar",
        "a.cedarschema",
        "a",
        ".cedar",
        &long,
    ] {
        assert!(check_name(SourceKind::Policy, name).is_err(), "{name}");
    }
    assert!(check_name(SourceKind::Schema, "tools/x.cedarschema.json").is_ok());
    assert!(check_name(SourceKind::Schema, "a.cedar").is_err());
}

#[test]
fn key_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("k.key");
    SigningKey::generate("ops-2026").unwrap().write(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let read = SigningKey::read(&path).unwrap();
    assert_eq!(read.id(), "ops-2026");
    assert_eq!(format!("{read:?}"), "SigningKey { id: \"ops-2026\", .. }");
    assert!(SigningKey::generate("x").unwrap().write(&path).is_err(), "a key that is there stays");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(SigningKey::read(&path).unwrap_err().to_string().contains("other users can read"));
    for id in ["", "a b", "ä", &"x".repeat(65)] {
        assert!(SigningKey::generate(id).is_err(), "{id}");
    }
}

#[test]
fn sets_of_trusted_keys_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trusted.json");
    let key = serde_json::to_value(SigningKey::generate("k").unwrap().public(None)).unwrap();
    let with = |name: &str, value: &str| {
        let mut key = key.clone();
        key[name] = value.into();
        serde_json::json!({ "keys": [key] }).to_string()
    };
    let cases = [
        ("{}".to_owned(), "missing field"),
        ("{\"keys\": []}".to_owned(), "trusts no key"),
        (serde_json::json!({ "keys": [key, key] }).to_string(), "two keys `k`"),
        (with("public_key", "AAAA"), "not an Ed25519 key"),
        (with("algorithm", "RSA"), "not an Ed25519 key"),
        (with("not_after", "next year"), "not a time"),
        (with("extra", "x"), "unknown field"),
        (with("key_id", "a b"), "not a key id"),
    ];
    for (text, words) in cases {
        std::fs::write(&path, &text).unwrap();
        let error = TrustedKeys::read(&path).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    std::fs::write(&path, serde_json::json!({ "keys": [key] }).to_string()).unwrap();
    assert_eq!(TrustedKeys::read(&path).unwrap().keys.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The digest sees every byte and where it stands, and not the order in which files were found.
    #[test]
    fn the_digest_tells_sets_apart(
        files in proptest::collection::btree_map("[a-c]{1,2}", "[ab\n]{0,3}", 1..5),
        other in proptest::collection::btree_map("[a-c]{1,2}", "[ab\n]{0,3}", 1..5),
    ) {
        let set = |files: &std::collections::BTreeMap<String, String>, reversed: bool| {
            let mut texts: Vec<_> = files
                .iter()
                .map(|(name, text)| (SourceKind::Policy, format!("{name}.cedar").into(), text.as_str().into()))
                .collect();
            if reversed {
                texts.reverse();
            }
            Sources::from_texts(texts)
        };
        prop_assert_eq!(set(&files, false).version(), set(&files, true).version());
        prop_assert_eq!(set(&files, false).version() == set(&other, false).version(), files == other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Any version comes back as it was, and decides as it did.
    #[test]
    fn any_version_can_be_had_back(hours in proptest::collection::vec(0_i64..24, 1..5)) {
        use crate::model::{EntityUid, Value};
        let (_directory, store) = store();
        let set = |hour: i64| sources(&format!(
            "@id(\"a\")\npermit (principal, action == Caxton::Action::\"tool:list\", resource) when {{ context.system.hour == {hour} }};\n"
        ));
        let published: Vec<Published> = hours.iter().map(|hour| publish(&store, &set(*hour))).collect();
        for (hour, one) in hours.iter().zip(&published) {
            let (before, back) = (Bundle::load(set(*hour)).unwrap(), Bundle::load(store.sources(&one.manifest).unwrap()).unwrap());
            prop_assert_eq!(before.version(), back.version());
            for asked in 0..24 {
                let query = question(asked);
                let (was, is) = (before.decide(&query), back.decide(&query));
                prop_assert_eq!(&was, &is);
                prop_assert_eq!(was.outcome == crate::model::Outcome::Allow, asked == *hour);
            }
        }
        fn question(hour: i64) -> crate::policy::Query {
            let gateway = EntityUid::caxton("Gateway", "g");
            let system = EntityUid::caxton("System", "s");
            crate::policy::Query {
                principal: system.clone(),
                action: EntityUid::action("tool:list"),
                resource: gateway.clone(),
                context: neutral(hour),
                entities: vec![crate::model::Entity::bare(system).into(), crate::model::Entity::bare(gateway).into()],
            }
        }
        fn neutral(hour: i64) -> Value {
            Value::record([
                ("source", Value::record([
                    ("ip", Value::Ip("127.0.0.1".into())), ("tls", Value::Bool(false)), ("mtls", Value::Bool(false)),
                ])),
                ("system", Value::record([
                    ("now", Value::Datetime(0)), ("hour", Value::Long(hour)), ("weekday", Value::Long(1)),
                    ("lockdown", Value::Bool(false)), ("policy_version", Value::text("")),
                ])),
                ("session", Value::record([
                    ("id", Value::text("s")), ("age_seconds", Value::Long(0)), ("labels", Value::Set(Default::default())),
                    ("tool_calls", Value::Long(0)), ("denied", Value::Long(0)), ("tools_called", Value::Set(Default::default())),
                ])),
                ("screening", Value::record([
                    ("injection", Value::Bool(false)), ("score", Value::Decimal("0.0000".into())), ("findings", Value::Set(Default::default())),
                ])),
            ])
        }
    }
}
