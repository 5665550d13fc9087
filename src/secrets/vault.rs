//! The client of a Vault.

use std::path::Path;
use std::time::Duration;

use rustify::clients::reqwest::Client as Http;
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;
use vaultrs::api::{AuthInfo, EndpointMiddleware};
use vaultrs::auth::{approle, kubernetes};
use vaultrs::client::{Client as _, VaultClient, VaultClientSettingsBuilder};
use vaultrs::{kv2, token};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::RequestFailure;
use super::{SecretRequest, VaultError, VaultLogin, VaultSettings};
use crate::secret::Secret;

/// The largest value that a setting takes, in bytes.
const MAX_VALUE: usize = 64 << 10;
/// The largest file with a credential, in bytes.
const MAX_CREDENTIAL: u64 = 64 << 10;
/// The shortest pause before a login that failed is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A name of the configuration, and the secret that it stands for.
pub type NamedSecret = (String, Secret<String>);

/// A Vault that was logged in to.
pub struct VaultProvider {
    settings: VaultSettings,
    client: VaultClient,
    lease: Lease,
}

/// The validity of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    /// Zero: no expiry.
    life: Duration,
    renewable: bool,
}

impl VaultProvider {
    /// Logs in.
    pub async fn connect(settings: VaultSettings) -> Result<Self, VaultError> {
        let mut client = client(&settings)?;
        let lease = login(&settings, &mut client).await?;
        Ok(Self { settings, client, lease })
    }

    /// All configured secrets, in their order; the first one that cannot be fetched is the error.
    pub async fn fetch(&self) -> Result<Vec<NamedSecret>, VaultError> {
        let mut all = Vec::with_capacity(self.settings.secrets.len());
        for request in &self.settings.secrets {
            all.push((request.name.clone(), self.fetch_one(request).await?));
        }
        Ok(all)
    }

    async fn fetch_one(&self, request: &SecretRequest) -> Result<Secret<String>, VaultError> {
        let (mount, below) = match self.settings.secret_mount.split_once('/') {
            Some((mount, below)) => (mount, format!("{below}/{}", request.path)),
            None => (self.settings.secret_mount.as_str(), request.path.clone()),
        };
        let path = format!("{mount}/{below}");
        let mut fields: Map<String, Json> =
            kv2::read(&self.client, mount, &below).await.map_err(|error| {
                match RequestFailure::from(error) {
                    RequestFailure::Unreachable(why) => self.settings.unreachable(why),
                    RequestFailure::Refused(why) => VaultError::Secret { path: path.clone(), why },
                }
            })?;
        let field_list = || {
            let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
            names.sort_unstable();
            if names.is_empty() { "no fields".to_owned() } else { format!("`{}`", names.join("`, `")) }
        };
        let name = match (&request.field, fields.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => fields.keys().next().cloned().unwrap_or_default(),
            (None, _) => return Err(VaultError::WhichField { path, field_list: field_list() }),
        };
        if !matches!(fields.get(&name), Some(Json::String(_))) {
            return Err(VaultError::Field { field_list: field_list(), path, field: name });
        }
        let Some(Json::String(text)) = fields.remove(&name) else {
            return Err(VaultError::Field { field_list: String::new(), path, field: name });
        };
        fields.values_mut().for_each(wipe);
        let value = Secret::new(text);
        match value.expose().len() {
            ..=MAX_VALUE => Ok(value),
            _ => Err(VaultError::TooLarge { path }),
        }
    }

    /// Renews the login until `stop`, then revokes it. An expired login is made again; the fetched secrets stay in
    /// force meanwhile.
    pub async fn keep(mut self, stop: CancellationToken) {
        let mut pause = PAUSES.0;
        let mut next = self.lease.renew_after(self.settings.renew_threshold);
        loop {
            let wait = async {
                match next.filter(|_| self.settings.auto_renew) {
                    Some(time) => tokio::time::sleep(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = wait => {}
            }
            next = match self.renew().await {
                Ok(()) => {
                    pause = PAUSES.0;
                    self.lease.renew_after(self.settings.renew_threshold)
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the login at the vault could not be renewed"
                    );
                    let now = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    Some(now)
                }
            };
        }
        self.end().await;
    }

    /// Revokes the login's token. A token that was issued elsewhere stays valid.
    pub async fn end(self) {
        if !matches!(self.settings.login, VaultLogin::Token { .. }) {
            let _ = self.client.revoke().await;
        }
    }

    async fn renew(&mut self) -> Result<(), VaultError> {
        if self.lease.renewable
            && let Ok(auth) = token::renew_self(&self.client, None).await
            && auth.lease_duration > 0
        {
            self.lease = Lease::of(&auth);
            return Ok(());
        }
        self.lease = login(&self.settings, &mut self.client).await?;
        Ok(())
    }
}

impl Lease {
    fn of(auth: &AuthInfo) -> Self {
        Self { life: Duration::from_secs(auth.lease_duration), renewable: auth.renewable }
    }

    /// Time until the renewal; `None` for a login without expiry.
    fn renew_after(self, threshold: Duration) -> Option<Duration> {
        let half = self.life / 2;
        (!self.life.is_zero()).then(|| self.life.saturating_sub(threshold).max(half))
    }
}

impl VaultSettings {
    fn unreachable(&self, why: String) -> VaultError {
        VaultError::Unreachable { address: self.address.to_string(), why }
    }
}

fn client(settings: &VaultSettings) -> Result<VaultClient, VaultError> {
    let setup = |error: &dyn std::error::Error| VaultError::Setup(error.to_string());
    // A redirect would carry the token to wherever it points.
    let mut http = reqwest::Client::builder()
        .timeout(settings.timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("caxton/", env!("CARGO_PKG_VERSION")));
    if let Some(file) = &settings.ca_file {
        let pem = read(file)?;
        for certificate in
            reqwest::Certificate::from_pem_bundle(pem.expose().as_bytes()).map_err(|e| setup(&e))?
        {
            http = http.add_root_certificate(certificate);
        }
    }
    let http = http.build().map_err(|error| setup(&error))?;
    let address = settings.address.expose().as_str().trim_end_matches('/').to_owned();
    let client_settings = VaultClientSettingsBuilder::default()
        .address(&address)
        .ca_certs(Vec::new())
        .identity(None)
        .timeout(Some(settings.timeout))
        .token("")
        .verify(true)
        .namespace(settings.namespace.clone())
        .build()
        .map_err(|error| setup(&error))?;
    let middle = EndpointMiddleware {
        token: String::new(),
        version: "v1".to_owned(),
        wrap: None,
        namespace: settings.namespace.clone(),
    };
    Ok(VaultClient { http: Http::new(&address, http), middle, settings: client_settings })
}

async fn login(settings: &VaultSettings, client: &mut VaultClient) -> Result<Lease, VaultError> {
    let refused = |error| match RequestFailure::from(error) {
        RequestFailure::Unreachable(why) => settings.unreachable(why),
        RequestFailure::Refused(why) => VaultError::Login(why),
    };
    let auth = match &settings.login {
        VaultLogin::Token { file } => {
            client.set_token(credential(file)?.expose());
            let found = token::lookup_self(client).await.map_err(refused)?;
            let life = Duration::from_secs(found.ttl);
            return Ok(Lease { life, renewable: found.renewable.unwrap_or(false) });
        }
        VaultLogin::AppRole { mount, role_id, secret_id_file } => {
            let secret = credential(secret_id_file)?;
            approle::login(client, mount, role_id, secret.expose()).await
        }
        VaultLogin::Kubernetes { mount, role, token_file } => {
            let token = credential(token_file)?;
            kubernetes::login(client, mount, role, token.expose()).await
        }
    }
    .map_err(refused)?;
    client.set_token(&auth.client_token);
    Ok(Lease::of(&auth))
}

/// Wipes the texts of a secret that are not wanted.
fn wipe(value: &mut Json) {
    match value {
        Json::String(text) => text.zeroize(),
        Json::Array(items) => items.iter_mut().for_each(wipe),
        Json::Object(fields) => fields.values_mut().for_each(wipe),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

fn read(file: &Path) -> Result<Secret<String>, VaultError> {
    use std::io::Read as _;
    let failed = |source| VaultError::File { file: file.to_owned(), source };
    let opened = crate::regular::open(file).map_err(failed)?;
    // All of it at once: a text that grows leaves its beginning behind in memory.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX_CREDENTIAL).unwrap_or(0)));
    opened.take(MAX_CREDENTIAL).read_to_string(&mut text).map_err(failed)?;
    Ok(Secret::new(std::mem::take(&mut *text)))
}

/// The one line of a file.
fn credential(file: &Path) -> Result<Secret<String>, VaultError> {
    let text = read(file)?;
    let line = text.expose().trim();
    if line.is_empty() || line.contains(char::is_control) {
        return Err(VaultError::Credential { file: file.to_owned() });
    }
    Ok(Secret::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_renewed_before_its_end_and_not_all_the_time() {
        let after = |life: u64, threshold: u64| {
            let lease = Lease { life: Duration::from_secs(life), renewable: true };
            lease.renew_after(Duration::from_secs(threshold)).map(|time| time.as_secs())
        };
        assert_eq!(after(7_200, 3_600), Some(3_600));
        assert_eq!(after(36_000, 3_600), Some(32_400));
        // A life shorter than the threshold would be renewed without a pause.
        assert_eq!(after(600, 3_600), Some(300));
        assert_eq!(after(0, 3_600), None);
    }
}
