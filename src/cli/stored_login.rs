//! A login for further commands of a person: one file for each gateway, in the person's own directory, for no other user's
//! eyes.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::clock::{Clock as _, SystemClock};
use crate::config::Environment;

/// A file of ours has less than 10 KiB.
const MAX_BYTES: u64 = 64 * 1024;
/// An access token that ends so soon is renewed first, in seconds.
const SOON: i64 = 30;

/// Tokens of one gateway. No `Debug`: they are secrets.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredLogin {
    gateway: String,
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    /// Seconds since the Unix epoch.
    expires_at: i64,
}

impl StoredLogin {
    /// The pair in an answer of `gateway`.
    pub(super) fn of(gateway: &Url, answer: &Json) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let found = answer.get(name).and_then(Json::as_str).map(str::to_owned);
            found.with_context(|| format!("the answer has no `{name}`"))
        };
        let lifetime =
            answer.get("expires_in").and_then(Json::as_i64).context("the answer has no `expires_in`")?;
        Ok(Self {
            gateway: gateway.to_string(),
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            expires_at: SystemClock.now_seconds().saturating_add(lifetime),
        })
    }

    pub(super) fn ends_soon(&self) -> bool {
        SystemClock.now_seconds() >= self.expires_at.saturating_sub(SOON)
    }

    /// The login at this gateway, if there is one.
    pub(super) fn load(gateway: &Url) -> anyhow::Result<Option<Self>> {
        let Some(path) = path(gateway) else { return Ok(None) };
        let about = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            about => about.with_context(|| format!("`{}` cannot be read", path.display()))?,
        };
        if !about.is_file() || about.len() > MAX_BYTES || about.mode() & 0o077 != 0 {
            bail!("`{}` may be read by others, or is no login: remove it, and log in again", path.display());
        }
        let text = fs::read(&path).with_context(|| format!("`{}` cannot be read", path.display()))?;
        let login: Self = crate::json::parse_as(&text)
            .with_context(|| format!("`{}` is no login: remove it, and log in again", path.display()))?;
        // Never to another gateway than the one that gave it.
        Ok((login.gateway == gateway.as_str()).then_some(login))
    }

    /// Keeps it, in the place of what was there.
    pub(super) fn save(&self, gateway: &Url) -> anyhow::Result<()> {
        let path = path(gateway).context("there is no place to keep a login: set `HOME`")?;
        let failed = || format!("`{}` cannot be written", path.display());
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).with_context(failed)?;
        }
        let fresh = path.with_extension(format!("{}.new", std::process::id()));
        self.write(&fresh, &path).inspect_err(|_| drop(fs::remove_file(&fresh))).with_context(failed)
    }

    /// Writes a new file beside `path`, and gives it that name.
    fn write(&self, fresh: &Path, path: &Path) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(fresh)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(fresh, path)
    }

    /// Forgets it.
    pub(super) fn remove(gateway: &Url) -> anyhow::Result<()> {
        let Some(path) = path(gateway) else { return Ok(()) };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("`{}` cannot be removed", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// `$XDG_CONFIG_HOME/caxton/logins`, or `~/.config/…`; `None` for who has no home.
fn path(gateway: &Url) -> Option<PathBuf> {
    let environment = Environment::of_process();
    let absolute = |name: &str| environment.read(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
    let hash = hex::encode(digest(&SHA256, gateway.as_str().as_bytes()));
    let host: String =
        gateway.host_str()?.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    Some(base.join("caxton/logins").join(format!("{host}-{}.json", hash.get(..12)?)))
}
