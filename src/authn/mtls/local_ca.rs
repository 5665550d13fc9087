//! An authority of one's own, for a first try and for small installations: made once in the data directory, its key
//! readable by its owner only, and each certificate it issues written down before it is handed out.
//!
//! Its path length is limited to zero: a certificate that it issues cannot issue others.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::names;
use crate::clock::rfc3339;
use crate::text::{clean, shorten};

/// How long the authority lives: five years.
const LIFETIME: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// The longest life of what it issues: 825 days, which is also the most that clients accept of a server.
pub const LONGEST: Duration = Duration::from_secs(825 * 24 * 3600);
/// Clocks that are behind by this much accept a fresh certificate.
const BACKDATED: i64 = 300;
/// Bytes of one of its files.
const MAX_FILE: u64 = 1 << 20;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says what it is")]
pub enum LocalCaError {
    #[error("`{path}` could not be read or written")]
    File { path: PathBuf, source: std::io::Error },
    #[error(
        "the authority's key `{path}` has mode {mode:o}: others than its owner can use it; `chmod 600` it if it was yours alone"
    )]
    WideKey { path: PathBuf, mode: u32 },
    #[error("`{path}` is not the key and certificate of an authority")]
    Damaged { path: PathBuf },
    #[error(
        "the authority in `{path}` ends {ends}, before the certificate would: give a shorter `--expires-in`, or move the directory away to have a new authority made"
    )]
    TooLong { path: PathBuf, ends: String },
    #[error("`{name}` is not {kind}")]
    Name { name: String, kind: &'static str },
    #[error("a certificate lives from one minute to 825 days")]
    Lifetime,
    #[error("the certificate could not be made")]
    Make(#[from] rcgen::Error),
    #[error("the system gave no random bytes")]
    Random,
}

/// The purpose of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificatePurpose {
    /// To call the gateway with.
    Client,
    /// To be the gateway.
    Server,
}

/// The content of a certificate to be issued.
#[derive(Debug, Clone)]
pub struct CertificateOrder {
    /// The common name, for people.
    pub common_name: String,
    /// URIs; a SPIFFE id among them names the holder.
    pub uris: Vec<String>,
    /// Host names.
    pub hosts: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// The purpose.
    pub purpose: CertificatePurpose,
    /// How long it counts.
    pub lifetime: Duration,
}

/// A certificate with its key.
pub struct IssuedCertificate {
    /// Certificate and key in PEM: the one file that clients and the gateway take.
    pub pem: Zeroizing<String>,
    /// Its entry in the list of issued certificates.
    pub entry: IssuedEntry,
}

/// The line about a certificate in `issued.jsonl`.
#[derive(Debug, Clone, Serialize)]
pub struct IssuedEntry {
    /// When it was issued (RFC 3339).
    pub issued: String,
    /// The purpose.
    pub purpose: CertificatePurpose,
    /// The serial number in hex, by which it can be revoked.
    pub serial: String,
    /// SHA-256 of the certificate in hex.
    pub fingerprint: String,
    /// The common name.
    pub common_name: String,
    /// The alternative names.
    pub names: Vec<String>,
    /// Its end (RFC 3339).
    pub ends: String,
}

/// The authority.
pub struct LocalAuthority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its end, in milliseconds since the Unix epoch.
    ends: i64,
}

impl LocalAuthority {
    /// Opens the authority in `directory`, or makes one; whether it is new. `now` is in milliseconds since the Unix
    /// epoch.
    pub fn open(directory: &Path, now: i64) -> Result<(Self, bool), LocalCaError> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file(directory))?;
        let key_path = directory.join("ca.key");
        let certificate_path = Self::certificate_path(directory);
        let made = if key_path.exists() {
            false
        } else {
            let key = KeyPair::generate()?;
            put(&key_path, Zeroizing::new(key.serialize_pem()).as_bytes())?
        };
        let damaged = || LocalCaError::Damaged { path: directory.to_owned() };
        let key = KeyPair::from_pem(&secret(&key_path)?).map_err(|_| damaged())?;
        if !certificate_path.exists() {
            put(&certificate_path, own(&key, now)?.as_bytes())?;
        }
        let pem = fs::read_to_string(&certificate_path).map_err(file(&certificate_path))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| damaged())?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| damaged())?;
        let same = &*parsed.public_key().subject_public_key.data == key.public_key_raw();
        if !parsed.is_ca() || !same {
            return Err(damaged());
        }
        let ends = parsed.validity().not_after.timestamp().saturating_mul(1000);
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok((Self { directory: directory.to_owned(), issuer, ends }, made))
    }

    /// The file with the certificate of an authority in `directory`, for `ca_file` and `curl --cacert`.
    pub fn certificate_path(directory: &Path) -> PathBuf {
        directory.join("ca.pem")
    }

    /// Issues a certificate with a fresh key, and writes it down. `now` is in milliseconds since the Unix epoch.
    pub fn issue(&self, order: &CertificateOrder, now: i64) -> Result<IssuedCertificate, LocalCaError> {
        let mut params = named(order)?;
        if !(Duration::from_secs(60)..=LONGEST).contains(&order.lifetime) {
            return Err(LocalCaError::Lifetime);
        }
        let ends = now.saturating_add(i64::try_from(order.lifetime.as_millis()).unwrap_or(i64::MAX));
        if ends > self.ends {
            return Err(LocalCaError::TooLong { path: self.directory.clone(), ends: rfc3339(self.ends) });
        }
        span(&mut params, now, ends);
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| LocalCaError::Random)?;
        // A serial number is positive and without leading zeroes (RFC 5280, section 4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.use_authority_key_identifier_extension = true;

        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let names = order.uris.iter().chain(&order.hosts).cloned();
        let entry = IssuedEntry {
            issued: rfc3339(now),
            purpose: order.purpose,
            serial: hex::encode(serial),
            fingerprint: hex::encode(digest(&SHA256, certificate.der())),
            common_name: order.common_name.clone(),
            names: names.chain(order.addresses.iter().map(IpAddr::to_string)).collect(),
            ends: rfc3339(ends),
        };
        self.write_down(&entry)?;
        let key = Zeroizing::new(key.serialize_pem());
        Ok(IssuedCertificate { pem: Zeroizing::new(format!("{}{}", certificate.pem(), *key)), entry })
    }

    /// Before it is handed out: a certificate that is not on record could not be revoked.
    fn write_down(&self, entry: &IssuedEntry) -> Result<(), LocalCaError> {
        let path = self.directory.join("issued.jsonl");
        let mut line = serde_json::to_string(entry)
            .map_err(|error| LocalCaError::File { path: path.clone(), source: error.into() })?;
        line.push('\n');
        append_synced(&path, line.as_bytes()).map_err(file(&path))
    }
}

fn named(order: &CertificateOrder) -> Result<CertificateParams, LocalCaError> {
    let wrong = |name: &str, kind| LocalCaError::Name { name: clean(&shorten(name, 80)), kind };
    let mut params = CertificateParams::default();
    let common = names::plain(&order.common_name).filter(|name| name.len() <= 64);
    let common = common.ok_or_else(|| {
        wrong(&order.common_name, "a common name: 64 letters, digits and plain signs at most")
    })?;
    params.distinguished_name.push(DnType::CommonName, common);
    for uri in &order.uris {
        let uri =
            names::uri(uri).ok_or_else(|| wrong(uri, "a URI such as `spiffe://example.org/service`"))?;
        params.subject_alt_names.push(SanType::URI(uri.try_into()?));
    }
    for host in &order.hosts {
        let host = names::dns(host).ok_or_else(|| wrong(host, "a host name"))?;
        params.subject_alt_names.push(SanType::DnsName(host.as_str().try_into()?));
    }
    params.subject_alt_names.extend(order.addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![match order.purpose {
        CertificatePurpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        CertificatePurpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
    }];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

/// The authority's own certificate.
fn own(key: &KeyPair, now: i64) -> Result<String, LocalCaError> {
    let mut params = CertificateParams::default();
    let print = hex::encode(digest(&SHA256, key.public_key_raw()));
    params.distinguished_name.push(DnType::OrganizationName, "Caxton");
    // Clients that trust two authorities of the same name would confuse them.
    params
        .distinguished_name
        .push(DnType::CommonName, format!("local authority {}", print.get(..8).unwrap_or_default()));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    span(&mut params, now, now.saturating_add(i64::try_from(LIFETIME.as_millis()).unwrap_or(i64::MAX)));
    Ok(params.self_signed(key)?.pem())
}

/// From a little before `now` until `ends`, both in milliseconds since the Unix epoch.
fn span(params: &mut CertificateParams, now: i64, ends: i64) {
    let at = |millis: i64| {
        let seconds = u64::try_from(millis.div_euclid(1000)).unwrap_or(0);
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(now.saturating_sub(BACKDATED * 1000));
    params.not_after = at(ends);
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> LocalCaError {
    let path = path.to_owned();
    move |source| LocalCaError::File { path, source }
}

fn append_synced(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Writes a new file as a whole; `false` when another process was first, whose file stands.
fn put(path: &Path, text: &[u8]) -> Result<bool, LocalCaError> {
    let mut suffix = [0; 8];
    aws_lc_rs::rand::fill(&mut suffix).map_err(|_| LocalCaError::Random)?;
    let draft = path.with_extension(hex::encode(suffix));
    link_from(&draft, path, text).map_err(file(path))
}

/// Writes `draft`, and links it to `path` unless that is there.
fn link_from(draft: &Path, path: &Path, text: &[u8]) -> std::io::Result<bool> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    let linked = fs::hard_link(draft, path);
    fs::remove_file(draft)?;
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    }
}

/// The text of a key file that only its owner can read.
fn secret(path: &Path) -> Result<Zeroizing<String>, LocalCaError> {
    let opened = crate::regular::open(path).map_err(file(path))?;
    let facts = opened.metadata().map_err(file(path))?;
    let mode = facts.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LocalCaError::WideKey { path: path.to_owned(), mode });
    }
    if facts.len() > MAX_FILE {
        return Err(LocalCaError::Damaged { path: path.to_owned() });
    }
    let bytes = crate::regular::read(path, MAX_FILE).map_err(file(path))?;
    String::from_utf8(bytes).map(Zeroizing::new).map_err(|_| LocalCaError::Damaged { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::mtls::{Naming, workload};

    /// 2026-01-01.
    const NOW: i64 = 1_767_225_600_000;
    const DAY: Duration = Duration::from_secs(86_400);

    fn order(change: impl FnOnce(&mut CertificateOrder)) -> CertificateOrder {
        let mut order = CertificateOrder {
            common_name: "pay".to_owned(),
            uris: vec!["spiffe://prod/pay".to_owned()],
            hosts: Vec::new(),
            addresses: Vec::new(),
            purpose: CertificatePurpose::Client,
            lifetime: 90 * DAY,
        };
        change(&mut order);
        order
    }

    #[test]
    fn it_is_made_once_and_kept_to_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("data/ca");
        let (_, made) = LocalAuthority::open(&place, NOW).unwrap();
        let first = fs::read(place.join("ca.pem")).unwrap();
        let (authority, again) = LocalAuthority::open(&place, NOW).unwrap();
        assert_eq!((made, again, fs::read(place.join("ca.pem")).unwrap()), (true, false, first));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&place), mode(&place.join("ca.key"))), (0o700, 0o600));
        let issued = authority.issue(&order(|_| {}), NOW).unwrap();
        let written = fs::read_to_string(place.join("issued.jsonl")).unwrap();
        assert_eq!(written, format!("{}\n", serde_json::to_string(&issued.entry).unwrap()));
        assert!(!written.contains("PRIVATE"));
        assert_eq!(fs::read_dir(&place).unwrap().count(), 3, "no drafts are left");
        // A lost certificate is made again for the same key; a lost key is not made up for.
        fs::remove_file(place.join("ca.pem")).unwrap();
        assert!(!LocalAuthority::open(&place, NOW).unwrap().1);
        fs::remove_file(place.join("ca.key")).unwrap();
        assert!(matches!(LocalAuthority::open(&place, NOW), Err(LocalCaError::Damaged { .. })));
    }

    #[test]
    fn what_it_issues_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let (authority, _) = LocalAuthority::open(directory.path(), NOW).unwrap();
        let issued =
            authority.issue(&order(|order| order.hosts.push("Pay.example".to_owned())), NOW).unwrap();
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        let found = workload(&der, Naming::Alternative).unwrap();
        assert_eq!(found.subject().principal().id(), "spiffe://prod/pay");
        assert_eq!(hex::encode(found.thumbprint()), issued.entry.fingerprint);
        let server =
            authority.issue(&order(|order| order.purpose = CertificatePurpose::Server), NOW).unwrap();
        let der = CertificateDer::from_pem_slice(server.pem.as_bytes()).unwrap();
        assert!(workload(&der, Naming::Alternative).is_err(), "a server is nobody's client");
        assert_ne!(issued.entry.serial, server.entry.serial);
    }

    #[test]
    fn names_and_times_that_are_not_sound_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (authority, _) = LocalAuthority::open(directory.path(), NOW).unwrap();
        let refused = |change: &dyn Fn(&mut CertificateOrder)| {
            authority.issue(&order(change), NOW).map(|_| ()).unwrap_err().to_string()
        };
        assert!(
            refused(&|order| order.common_name = "a\r\nb".to_owned())
                .starts_with("`a\u{fffd}\u{fffd}b` is not a common name")
        );
        assert!(refused(&|order| order.common_name = String::new()).starts_with("`` is not a common name"));
        assert!(
            refused(&|order| order.uris = vec!["spiffe://Prod/x".to_owned()])
                .contains("is not a URI such as")
        );
        assert!(refused(&|order| order.hosts = vec!["a b".to_owned()]).contains("is not a host name"));
        for lifetime in [Duration::ZERO, LONGEST + DAY] {
            assert!(refused(&|order| order.lifetime = lifetime).starts_with("a certificate lives"));
        }
        let late = NOW + 5 * 365 * 86_400_000 - 86_400_000;
        assert!(matches!(authority.issue(&order(|_| {}), late), Err(LocalCaError::TooLong { .. })));
        assert!(!directory.path().join("issued.jsonl").exists(), "nothing was issued");
    }

    #[test]
    fn a_wide_or_foreign_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        LocalAuthority::open(directory.path(), NOW).unwrap();
        let key = directory.path().join("ca.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            LocalAuthority::open(directory.path(), NOW),
            Err(LocalCaError::WideKey { mode: 0o640, .. })
        ));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(LocalAuthority::open(directory.path(), NOW), Err(LocalCaError::Damaged { .. })));
    }
}
