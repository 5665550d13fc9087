//! Certificates made in the test: those with an identity, those without, and changes under an open connection.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::*;
use crate::clock::ManualClock;
use crate::model::{Proof, Value};

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;

fn client(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "payments");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (date_time_ymd(2025, 12, 1), date_time_ymd(2026, 2, 1));
    params.serial_number = Some(SerialNumber::from(7));
    change(&mut params);
    params
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Evil, CN=Root");
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, params: &CertificateParams) -> CertificateDer<'static> {
        params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
    }

    fn list(&self, revoked: &[u64], day: u8) -> String {
        let entry = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 12, 15),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 12, 15),
            next_update: date_time_ymd(2026, 1, day),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }
}

fn named(change: impl FnOnce(&mut CertificateParams)) -> Result<String, IdentityError> {
    let certificate = Authority::new().sign(&client(change));
    workload(&certificate, Naming::Alternative).map(|found| found.subject().principal().to_string())
}

#[test]
fn the_spiffe_id_names_the_holder_then_the_first_uri_or_host() {
    let cases: [(Vec<SanType>, &str); 4] = [
        (vec![dns("api.example"), uri("spiffe://prod/pay")], "spiffe://prod/pay"),
        (vec![dns("API.example"), uri("https://x.example/")], "api.example"),
        (vec![uri("urn:x:1"), dns("api.example")], "urn:x:1"),
        (vec![SanType::IpAddress([192, 0, 2, 1].into()), dns("*.example"), dns("b.example")], "b.example"),
    ];
    for (names, want) in cases {
        let got = named(|params| params.subject_alt_names = names);
        assert_eq!(got, Ok(format!("Caxton::Workload::\"{want}\"")));
    }
}

#[test]
fn the_entity_has_what_the_schema_says() {
    let certificate = Authority::new().sign(&client(|params| {
        params.subject_alt_names = vec![uri("spiffe://prod/pay"), dns("pay.example")];
    }));
    let found = workload(&certificate, Naming::Alternative).unwrap();
    let attributes = &found.subject().entity().attributes;
    assert_eq!(*attributes.get("san").unwrap(), Value::texts(["pay.example", "spiffe://prod/pay"]));
    assert_eq!(*attributes.get("issuer_dn").unwrap(), Value::text("O=Evil\\, CN\\=Root,CN=Test CA"));
    assert_eq!(*attributes.get("fingerprint").unwrap(), Value::text(hex::encode(found.thumbprint())));
    assert_eq!(
        found.subject().proof(),
        &Proof::Certificate { fingerprint: hex::encode(found.thumbprint()).into() }
    );
}

#[test]
fn what_names_nobody_is_refused_with_its_reason() {
    type Change = Box<dyn FnOnce(&mut CertificateParams)>;
    let names = |names: Vec<SanType>| -> Change { Box::new(move |params| params.subject_alt_names = names) };
    let cases: Vec<(Change, IdentityError)> = vec![
        (names(vec![]), IdentityError::Nameless),
        (names(vec![dns("*.example")]), IdentityError::Nameless),
        (names(vec![SanType::IpAddress([192, 0, 2, 1].into())]), IdentityError::Nameless),
        (names(vec![SanType::Rfc822Name("a@b.example".try_into().unwrap())]), IdentityError::Nameless),
        (names(vec![uri("spiffe://prod/a"), uri("spiffe://prod/b")]), IdentityError::Ambiguous),
        (names(vec![uri("spiffe://prod/a\r\nX-Admin: 1")]), IdentityError::BadName),
        (names(vec![uri("spiffe://prod/a"), dns("b\r\nX-Admin: 1")]), IdentityError::BadName),
        (names(vec![dns("a\0.example")]), IdentityError::BadName),
        (names(vec![dns("10.0.0.1")]), IdentityError::BadName),
        (names(vec![uri("spiffe://prod/a"), dns("127.1")]), IdentityError::BadName),
        (names(vec![uri("SPIFFE://prod/a")]), IdentityError::BadName),
        (names((0..65).map(|number| dns(&format!("a{number}.example"))).collect()), IdentityError::TooMany),
        (names(vec![uri(&format!("https://a/{}", "x".repeat(2_048)))]), IdentityError::TooMany),
        (Box::new(|params| params.extended_key_usages = vec![]), IdentityError::Purpose),
        (
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            IdentityError::Purpose,
        ),
        (
            Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
            IdentityError::Purpose,
        ),
    ];
    for (number, (change, want)) in cases.into_iter().enumerate() {
        assert_eq!(named(change), Err(want), "case {number}");
    }
    assert_eq!(workload(b"junk", Naming::Alternative).unwrap_err(), IdentityError::Malformed);
    let mut longer =
        Authority::new().sign(&client(|params| params.subject_alt_names = vec![dns("a.example")])).to_vec();
    longer.push(0);
    assert_eq!(workload(&longer, Naming::Alternative).unwrap_err(), IdentityError::Malformed);
}

#[test]
fn a_common_name_counts_only_when_configured_and_cannot_pass_for_another_name() {
    let read = |change: &dyn Fn(&mut CertificateParams)| {
        let certificate = Authority::new().sign(&client(change));
        workload(&certificate, Naming::InsecureCommonName)
            .map(|found| found.subject().principal().id().to_owned())
    };
    assert_eq!(read(&|_| {}), Ok("CN=payments".to_owned()));
    assert_eq!(
        read(&|params| params.subject_alt_names = vec![dns("api.example")]),
        Ok("api.example".to_owned())
    );
    let mail = SanType::Rfc822Name("a@b.example".try_into().unwrap());
    assert_eq!(read(&|params| params.subject_alt_names = vec![mail.clone()]), Err(IdentityError::Nameless));
    let common = |name: &str| {
        let name = name.to_owned();
        read(&move |params| params.distinguished_name.push(DnType::CommonName, name.as_str()))
    };
    assert_eq!(common("a\r\nb"), Err(IdentityError::BadName));
    assert_eq!(common("a\u{202e}b"), Err(IdentityError::BadName));
}

struct Place {
    directory: tempfile::TempDir,
    clock: Arc<ManualClock>,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        Self::of(Authority::new())
    }

    fn of(authority: Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), &authority.pem).unwrap();
        Self { directory, clock: Arc::new(ManualClock::at_millis(NOW * 1000)), authority }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn trust(&self, lists: &[&str]) -> ClientTrust {
        let crl_files = lists.iter().map(|name| self.path(name)).collect();
        let settings = Settings { crl_files, ..Settings::new(self.path("ca.pem")) };
        ClientTrust::open(settings, self.clock.clone()).unwrap()
    }

    fn certificate(&self) -> ClientCertificate {
        let leaf =
            self.authority.sign(&client(|params| params.subject_alt_names = vec![uri("spiffe://prod/pay")]));
        ClientCertificate::new(vec![leaf]).unwrap()
    }
}

fn reason(trust: &ClientTrust, certificate: &ClientCertificate) -> Result<(), &'static str> {
    judge(trust, certificate).map(|_| ()).map_err(|refused| refused.reason)
}

#[test]
fn a_revocation_counts_from_the_next_request_on_an_open_connection() {
    let place = Place::new();
    place.write("list.pem", &place.authority.list(&[], 10));
    let trust = place.trust(&["list.pem"]);
    let open = place.certificate();
    assert_eq!(reason(&trust, &open), Ok(()));
    place.write("list.pem", &place.authority.list(&[7], 10));
    assert_eq!(reason(&trust, &open), Ok(()), "not before the list is read");
    trust.commit(&trust.prepare().unwrap());
    assert_eq!(reason(&trust, &open), Err("revoked"));
    place.write("list.pem", &place.authority.list(&[8], 10));
    trust.commit(&trust.prepare().unwrap());
    assert_eq!(reason(&trust, &open), Ok(()));
    assert!(trust.settings().files().any(|file| file.ends_with("list.pem")));
}

#[test]
fn an_end_counts_on_an_open_connection() {
    let place = Place::new();
    let day = Duration::from_secs(86_400);
    let (with_list, without) = {
        place.write("list.pem", &place.authority.list(&[], 10));
        (place.trust(&["list.pem"]), place.trust(&[]))
    };
    let (listed, open) = (place.certificate(), place.certificate());
    assert_eq!((reason(&with_list, &listed), reason(&without, &open)), (Ok(()), Ok(())));
    place.clock.advance(10 * day);
    assert_eq!(
        reason(&with_list, &listed),
        Err("revocation_list_expired"),
        "what is not known to stand does not"
    );
    assert_eq!(reason(&without, &open), Ok(()));
    place.clock.advance(30 * day);
    assert_eq!(reason(&without, &open), Err("expired"));
}

#[test]
fn chains_that_do_not_hold_are_refused() {
    let place = Place::new();
    let trust = place.trust(&[]);
    let (stranger, own) =
        (Authority::new(), client(|params| params.subject_alt_names = vec![dns("a.example")]));
    let judged = |leaf: CertificateDer<'static>| reason(&trust, &ClientCertificate::new(vec![leaf]).unwrap());
    assert_eq!(judged(place.authority.sign(&own)), Ok(()));
    // Same name, other key.
    assert_eq!(judged(stranger.sign(&own)), Err("bad_signature"));
    let early = client(|params| params.not_before = date_time_ymd(2026, 1, 15));
    assert_eq!(judged(place.authority.sign(&early)), Err("not_yet_valid"));
    let late = client(|params| params.not_after = date_time_ymd(2025, 12, 15));
    assert_eq!(judged(place.authority.sign(&late)), Err("expired"));
    let server = client(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(judged(place.authority.sign(&server)), Err("wrong_purpose"));
    assert_eq!(judged(place.authority.sign(&client(|_| {}))), Err("no_name"));
    let authority = client(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(
        judged(place.authority.sign(&authority)),
        Err("not_verified"),
        "an authority is nobody's client"
    );
    assert_eq!(judged(CertificateDer::from(b"junk".to_vec())), Err("not_verified"));
    assert!(ClientCertificate::new(Vec::new()).is_none());
    // With a list of another authority only, the status is unknown.
    place.write("other.pem", &stranger.list(&[], 10));
    let unlisted = place.trust(&["other.pem"]);
    assert!(reason(&unlisted, &place.certificate()).is_err());
}

#[test]
fn a_certificate_that_opens_connections_names_nobody() {
    let place = Place::new();
    let settings = Settings { used_for: Use::Connection, ..Settings::new(place.path("ca.pem")) };
    let trust = Arc::new(ClientTrust::open(settings, place.clock.clone()).unwrap());
    let scheme = MtlsScheme::new(Some(trust));
    assert!(scheme.examine(Some(&place.certificate())).is_ok() && !scheme.names_callers());
    let stranger = Authority::new().sign(&client(|params| params.subject_alt_names = vec![dns("a.example")]));
    let stranger = ClientCertificate::new(vec![stranger]).unwrap();
    assert!(scheme.examine(Some(&stranger)).is_err(), "but it must hold");
    assert!(MtlsScheme::new(None).examine(Some(&stranger)).is_err());
    assert!(scheme.examine(None).unwrap().is_none());
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    let place = Place::new();
    let open = |name: &str, lists: &[&str]| {
        let crl_files = lists.iter().map(|name| place.path(name)).collect();
        let settings = Settings { crl_files, ..Settings::new(place.path(name)) };
        let error = ClientTrust::open(settings, place.clock.clone()).unwrap_err();
        assert!(!error.help().is_empty());
        error.to_string().replace(&format!("{}/", place.directory.path().display()), "")
    };
    let leaf =
        client(|_| {}).signed_by(&KeyPair::generate().unwrap(), &place.authority.issuer).unwrap().pem();
    place.write("leaf.pem", &leaf);
    place.write("junk.pem", "junk");
    assert_eq!(open("absent.pem", &[]), "`absent.pem` could not be read");
    assert_eq!(open("junk.pem", &[]), "`junk.pem` holds no certificate of an authority in PEM");
    assert_eq!(open("leaf.pem", &[]), "`leaf.pem` holds something that is not a certificate of an authority");
    for list in ["junk.pem", "leaf.pem"] {
        assert_eq!(open("ca.pem", &[list]), format!("`{list}` is not a revocation list"));
    }
}

#[test]
fn an_authority_counts_while_its_own_certificate_does() {
    let days = |params: &mut CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 5), date_time_ymd(2026, 1, 10));
    };
    let place = Place::of(Authority::with(days));
    let trust = place.trust(&[]);
    let (open, day) = (place.certificate(), Duration::from_secs(86_400));
    assert_eq!(reason(&trust, &open), Err("authority_expired"), "it has not begun");
    place.clock.advance(4 * day);
    assert_eq!(reason(&trust, &open), Ok(()));
    place.clock.advance(5 * day);
    assert_eq!(reason(&trust, &open), Ok(()), "its last second counts");
    place.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(&trust, &open), Err("authority_expired"), "on an open connection too");
    // In a handshake as well, and beside an authority that is in force.
    let other = Authority::with(|params| params.distinguished_name.push(DnType::CommonName, "Other"));
    place.write("ca.pem", &format!("{}{}", place.authority.pem, other.pem));
    let both = place.trust(&[]);
    let leaf = |authority: &Authority| {
        authority.sign(&client(|params| params.subject_alt_names = vec![dns("a.example")]))
    };
    let moment = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(both.now() as u64));
    assert!(both.verifier().verify_client_cert(&leaf(&other), &[], moment).is_ok());
    let refused = both.verifier().verify_client_cert(&leaf(&place.authority), &[], moment).unwrap_err();
    assert_eq!(refusal(&refused).reason, "authority_expired");
    let stranger = Authority::with(|params| params.distinguished_name.push(DnType::CommonName, "Stranger"));
    let refused = both.verifier().verify_client_cert(&leaf(&stranger), &[], moment).unwrap_err();
    assert_eq!(refusal(&refused).reason, "unknown_issuer");
}

/// An authority below `above`.
fn below(above: &Authority, name: &str) -> (Authority, CertificateDer<'static>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &above.issuer).unwrap();
    let (pem, der) = (certificate.pem(), certificate.der().clone());
    (Authority { issuer: Issuer::new(params, key), pem }, der)
}

#[test]
fn an_authority_bounds_how_many_stand_below_it() {
    let own = client(|params| params.subject_alt_names = vec![dns("a.example")]);
    let bounded = |most| {
        move |params: &mut CertificateParams| {
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
        }
    };
    let judged = |trust: &ClientTrust, chain: &[&CertificateDer<'static>]| {
        let chain = chain.iter().map(|one| (*one).clone()).collect();
        reason(trust, &ClientCertificate::new(chain).unwrap())
    };
    for most in [0, 1] {
        let place = Place::of(Authority::with(bounded(most)));
        let trust = place.trust(&[]);
        let (one, one_shown) = below(&place.authority, "One");
        let (two, two_shown) = below(&one, "Two");
        assert_eq!(judged(&trust, &[&place.authority.sign(&own)]), Ok(()));
        let with_one = judged(&trust, &[&one.sign(&own), &one_shown]);
        assert_eq!(with_one, if most == 0 { Err("path_too_long") } else { Ok(()) });
        let leaf = two.sign(&own);
        assert_eq!(judged(&trust, &[&leaf, &two_shown, &one_shown]), Err("path_too_long"));
        // What stands in the chain and not in the path does not count.
        assert_eq!(judged(&trust, &[&place.authority.sign(&own), &two_shown, &one_shown]), Ok(()));
        // With the authority between them configured as well there is a path that is short enough.
        place.write("ca.pem", &format!("{}{}", place.authority.pem, one.pem));
        assert_eq!(judged(&place.trust(&[]), &[&leaf, &two_shown, &one_shown]), Ok(()));
    }
    // One that is self-issued (a new key of the same authority) does not count.
    let place = Place::of(Authority::with(bounded(0)));
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Evil, CN=Root");
    params.distinguished_name.push(DnType::CommonName, "Test CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let anew = params.signed_by(&key, &place.authority.issuer).unwrap().der().clone();
    let leaf = Authority { issuer: Issuer::new(params, key), pem: String::new() }.sign(&own);
    assert_eq!(judged(&place.trust(&[]), &[&leaf, &anew]), Ok(()));
    // A revoked one in between is revoked whatever the bound says, and its list is asked for as before.
    let place = Place::of(Authority::with(bounded(1)));
    let (one, one_shown) = below(&place.authority, "One");
    place.write("root.pem", &place.authority.list(&[], 10));
    place.write("one.pem", &one.list(&[7], 10));
    let trust = place.trust(&["root.pem", "one.pem"]);
    assert_eq!(judged(&trust, &[&one.sign(&own), &one_shown]), Err("revoked"));
    let other = client(|params| {
        params.subject_alt_names = vec![dns("a.example")];
        params.serial_number = Some(SerialNumber::from(8));
    });
    assert_eq!(judged(&trust, &[&one.sign(&other), &one_shown]), Ok(()));
}

#[test]
fn an_authority_that_may_not_sign_is_refused_and_so_is_its_list() {
    let place = Place::of(Authority::with(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]));
    let error = ClientTrust::open(Settings::new(place.path("ca.pem")), place.clock.clone()).unwrap_err();
    assert!(error.to_string().contains("`keyCertSign`"), "{error}");
    let place = Place::of(Authority::with(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign]));
    let signer = Authority { issuer: clone_with_lists(&place.authority), pem: String::new() };
    place.write("list.pem", &signer.list(&[], 10));
    let settings =
        Settings { crl_files: vec![place.path("list.pem")], ..Settings::new(place.path("ca.pem")) };
    let error = ClientTrust::open(settings, place.clock.clone()).unwrap_err();
    assert!(error.to_string().ends_with("does not let it sign lists"), "{error}");
    // Without a key usage nothing is ruled out.
    let place = Place::of(Authority::with(|params| params.key_usages = Vec::new()));
    let signer = Authority { issuer: clone_with_lists(&place.authority), pem: String::new() };
    place.write("list.pem", &signer.list(&[], 10));
    assert_eq!(reason(&place.trust(&["list.pem"]), &place.certificate()), Ok(()));
}

/// The same name and key; the library that makes test certificates signs no list for one that may not.
fn clone_with_lists(authority: &Authority) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Evil, CN=Root");
    params.distinguished_name.push(DnType::CommonName, "Test CA");
    params.key_usages = vec![KeyUsagePurpose::CrlSign];
    let key = KeyPair::try_from(authority.issuer.key().serialize_der()).unwrap();
    Issuer::new(params, key)
}

#[test]
fn a_key_that_is_not_for_signatures_proves_nobody() {
    let place = Place::new();
    let trust = place.trust(&[]);
    let judged = |usages: Vec<KeyUsagePurpose>| {
        let leaf = place.authority.sign(&client(|params| {
            params.subject_alt_names = vec![dns("a.example")];
            params.key_usages = usages;
        }));
        reason(&trust, &ClientCertificate::new(vec![leaf]).unwrap())
    };
    assert_eq!(judged(vec![]), Ok(()));
    assert_eq!(judged(vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyAgreement]), Ok(()));
    assert_eq!(judged(vec![KeyUsagePurpose::KeyAgreement]), Err("wrong_purpose"));
}

/// Certificates that this program's own library would not make.
fn openssl(directory: &std::path::Path, command: &str) {
    let done = std::process::Command::new("openssl").args(command.split(' ')).current_dir(directory).output();
    let done = done.expect("openssl is installed");
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn weak_keys_count_for_nothing_where_no_signature_of_theirs_is_checked() {
    use rustls::pki_types::pem::PemObject as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let root = |name: &str, key: &str| {
        let extensions =
            "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign";
        openssl(
            path,
            &format!(
                "req -x509 -newkey {key} -nodes -keyout {name}.key -out {name}.pem -subj /CN={name} -days 30 {extensions}"
            ),
        );
    };
    root("good", "rsa:2048");
    let clock: crate::clock::SharedClock = Arc::new(crate::clock::SystemClock);
    let trust = ClientTrust::open(Settings::new(path.join("good.pem")), clock.clone()).unwrap();
    let cases = [
        ("rsa:1024", false),
        ("rsa:2048", true),
        ("ec -pkeyopt ec_paramgen_curve:prime192v1", false),
        ("ec -pkeyopt ec_paramgen_curve:secp224r1", false),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", false),
        ("ec -pkeyopt ec_paramgen_curve:prime256v1", true),
        ("ec -pkeyopt ec_paramgen_curve:secp384r1", true),
        ("ec -pkeyopt ec_paramgen_curve:secp521r1", true),
        ("ec -pkeyopt ec_paramgen_curve:prime256v1 -pkeyopt ec_param_enc:explicit", false),
        ("ed25519", true),
        ("ed448", false),
    ];
    for (key, counts) in cases {
        let names = "-addext subjectAltName=URI:spiffe://prod/pay -addext extendedKeyUsage=clientAuth";
        openssl(
            path,
            &format!("req -newkey {key} -nodes -keyout leaf.key -out leaf.csr -subj /CN=a {names}"),
        );
        openssl(
            path,
            "x509 -req -in leaf.csr -CA good.pem -CAkey good.key -days 1 -copy_extensions copy -out leaf.pem",
        );
        let leaf = CertificateDer::from_pem_file(path.join("leaf.pem")).unwrap();
        let wanted = if counts { Ok(()) } else { Err("weak_key") };
        assert_eq!(reason(&trust, &ClientCertificate::new(vec![leaf]).unwrap()), wanted, "{key}");
    }
    for weak in ["rsa:1024", "ec -pkeyopt ec_paramgen_curve:prime192v1"] {
        root("weak", weak);
        let error = ClientTrust::open(Settings::new(path.join("weak.pem")), clock.clone()).unwrap_err();
        assert!(error.to_string().contains("weak key"), "{error}");
    }
}

/// What `openssl ca -gencrl` makes where nothing is configured.
#[test]
fn a_revocation_list_of_version_1_is_named_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let settings = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=5\nprivate_key=ca.key\ncertificate=ca.pem\n";
    let extended = format!("{settings}crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid:always\n");
    std::fs::write(path.join("index.txt"), "").unwrap();
    std::fs::write(path.join("one.cnf"), settings).unwrap();
    std::fs::write(path.join("two.cnf"), extended).unwrap();
    let extensions =
        "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign";
    let key = "ec -pkeyopt ec_paramgen_curve:prime256v1";
    openssl(
        path,
        &format!(
            "req -x509 -newkey {key} -nodes -keyout ca.key -out ca.pem -subj /CN=ca -days 30 {extensions}"
        ),
    );
    for name in ["one", "two"] {
        openssl(path, &format!("ca -gencrl -config {name}.cnf -out {name}.pem"));
    }
    openssl(path, "crl -in one.pem -outform DER -out one.der");
    let clock: crate::clock::SharedClock = Arc::new(crate::clock::SystemClock);
    let open = |list: &str| {
        let crl_files = vec![path.join(list)];
        ClientTrust::open(Settings { crl_files, ..Settings::new(path.join("ca.pem")) }, clock.clone())
    };
    for list in ["one.pem", "one.der"] {
        let error = open(list).unwrap_err();
        assert!(error.to_string().contains("is a revocation list of version 1"), "{error}");
        assert!(error.help().contains("crl_extensions"), "{}", error.help());
    }
    // With what the advice says, the list is read.
    open("two.pem").unwrap();
}
