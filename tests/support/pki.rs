//! Certificates for tests: an authority, and whatever it is asked to sign.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use caxton::authn::mtls;
use caxton::clock::{Clock as _, SystemClock};
use caxton::server::{Settings, TlsSettings};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{PATIENCE, World, write};

pub const DAY: i64 = 86_400;

/// An authority with its certificate.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
    chain: String,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// Its own certificate, then the intermediate ones.
    pub chain: String,
    pub key: String,
}

/// What a certificate says; changed by tests that want it wrong.
pub struct Wish {
    pub params: CertificateParams,
}

/// Seconds from now, as certificates have it.
fn moment(params: &mut CertificateParams, from: i64, to: i64) {
    let at = |offset: i64| {
        let seconds = u64::try_from(SystemClock.now_seconds() + offset).unwrap();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(from);
    params.not_after = at(to);
}

impl Wish {
    /// A certificate for `name`, from an hour ago for a day, for `purpose`.
    pub fn new(name: &str, purpose: &[ExtendedKeyUsagePurpose]) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purpose.to_vec();
        moment(&mut params, -3600, DAY);
        Self { params }
    }

    /// A client's certificate.
    pub fn client(name: &str) -> Self {
        Self::new(name, &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// A server's certificate for loopback.
    pub fn server() -> Self {
        let mut wish = Self::new("gateway", &[ExtendedKeyUsagePurpose::ServerAuth]);
        wish.params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress([127, 0, 0, 1].into()),
        ];
        wish
    }

    pub fn uri(mut self, uri: &str) -> Self {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
        self
    }

    pub fn dns(mut self, name: &str) -> Self {
        self.params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    /// Valid from and to so many seconds from now.
    pub fn valid(mut self, from: i64, to: i64) -> Self {
        moment(&mut self.params, from, to);
        self
    }

    pub fn serial(mut self, serial: u64) -> Self {
        self.params.serial_number = Some(SerialNumber::from(serial));
        self
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        moment(&mut params, -3600, 30 * DAY);
        params
    }

    /// A root whose certificate is changed before it is made.
    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = Self::params(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key), chain: String::new() }
    }

    /// An authority below this one, limited to names under `constraints`.
    pub fn below(&self, name: &str, constraints: Option<NameConstraints>) -> Self {
        let mut params = Self::params(name);
        params.name_constraints = constraints;
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self { chain: format!("{pem}{}", self.chain), pem, issuer: Issuer::new(params, key) }
    }

    pub fn sign(&self, wish: &Wish) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = wish.params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: format!("{}{}", certificate.pem(), self.chain), key: key.serialize_pem() }
    }

    /// A revocation list with these serial numbers, valid for so many seconds from now.
    pub fn revoke(&self, serials: &[u64], valid: i64) -> String {
        let mut span = CertificateParams::default();
        moment(&mut span, -3600, valid);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: span.not_before,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: span.not_before,
            next_update: span.not_after,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Identity {
    pub fn certificates(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.chain.as_bytes()).map(Result::unwrap).collect()
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let paths = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
        write(&paths.0, &self.chain);
        write(&paths.1, &self.key);
        paths
    }

    /// Certificate and key in one PEM, as HTTP clients take it.
    pub fn both(&self) -> String {
        format!("{}{}", self.chain, self.key)
    }
}

/// A gateway with a certificate of `server` that asks its callers for certificates of `clients`, and a client of it that
/// has none.
pub async fn gateway(
    server: &Authority,
    clients: &Authority,
    change: impl FnOnce(&mut Settings, &mut mtls::Settings, &Path),
) -> World {
    let mut world = World::with(|settings, directory| {
        let (certificate, key) = server.sign(&Wish::server()).write(directory, "server");
        settings.tls = Some(TlsSettings { reload_interval: None, ..TlsSettings::new(certificate, key) });
        write(&directory.join("clients.pem"), &clients.pem);
        let mut mtls = mtls::Settings::new(directory.join("clients.pem"));
        change(settings, &mut mtls, directory);
        settings.authn.mtls = Some(mtls);
    })
    .await;
    world.client = client(server, None);
    world
}

/// A client of the gateway that trusts `authority`, with a certificate of its own when there is one.
pub fn client(authority: &Authority, own: Option<&Identity>) -> reqwest::Client {
    let builder = reqwest::Client::builder()
        .timeout(PATIENCE)
        .tls_certs_only([reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap()]);
    let builder = match own {
        Some(own) => builder.identity(reqwest::Identity::from_pem(own.both().as_bytes()).unwrap()),
        None => builder,
    };
    builder.build().unwrap()
}

/// The raw side of a client: its TLS with just these versions.
pub fn raw_client(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> tokio_rustls::TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tokio_rustls::TlsConnector::from(Arc::new(config))
}
