//! What the commands about published versions share: where the store is, how a version is shown, who publishes.

use std::path::{Path, PathBuf};

use super::folders::PolicyFolders;
use super::render::{PLAIN, RED};
use crate::cli::output::Output;
use crate::clock::{Clock as _, SystemClock, rfc3339};
use crate::policy::version::{Published, SigningKey, VersionError, VersionSource as _, VersionStore, Wanted};
use crate::server::Settings;
use crate::text::clean;

/// Where versions are kept when nothing else is said.
const STORE: &str = ".caxton/versions";

/// The version store.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct StoreOptions {
    /// Folder of published versions [default: `.caxton/versions`]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

impl StoreOptions {
    /// The store; it need not be there yet.
    pub(super) fn open(&self, base: &Path) -> VersionStore {
        VersionStore::new(base.join(self.store.as_deref().unwrap_or(Path::new(STORE))))
    }

    /// The same; where none was named, that of a gateway's settings.
    pub(super) fn open_of(&self, base: &Path, settings: Option<&Settings>) -> VersionStore {
        match settings.and_then(|settings| settings.published.as_ref()) {
            Some(published) if self.store.is_none() => VersionStore::new(published.store.clone()),
            _ => self.open(base),
        }
    }
}

/// The version store of an installation.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct InstalledStore {
    #[command(flatten)]
    options: StoreOptions,
    /// The configuration of a gateway: its version store, in place of `--store`
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    config: Option<PathBuf>,
}

impl InstalledStore {
    fn folders(&self) -> PolicyFolders {
        PolicyFolders { config: self.config.clone(), ..PolicyFolders::default() }
    }

    /// The decision log: the one that was named, else that of the installation.
    pub(super) fn log(&self, base: &Path, named: Option<&Path>, output: &Output) -> anyhow::Result<PathBuf> {
        self.folders().log(base, named, output)
    }

    /// The store; it need not be there yet.
    pub(super) fn open(&self, base: &Path, output: &Output) -> anyhow::Result<VersionStore> {
        let settings = self.folders().settings(output)?;
        if let (Some(file), Some(Settings { published: None, .. })) = (&self.config, &settings) {
            anyhow::bail!(
                "`{}` names no `security.authorization.version_store`: name the store with `--store`",
                file.display()
            );
        }
        Ok(self.options.open_of(base, settings.as_ref()))
    }

    /// The store, in which something has been published.
    pub(super) fn existing(&self, base: &Path, output: &Output) -> anyhow::Result<VersionStore> {
        let store = self.open(base, output)?;
        match store.exists() {
            true => Ok(store),
            false => Err(anyhow::Error::from(VersionError::Empty(store.place())).context(
                "publish a set first with `caxton policy publish`, or name the store with `--store`",
            )),
        }
    }
}

/// Author, message and key of a publication.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PublicationOptions {
    /// Why; stands in the history.
    #[arg(long, short, value_name = "TEXT")]
    pub message: String,
    /// Who [default: the user who runs the command]
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Sign with this key, which `caxton policy keygen` made.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// From then on the version denies everything, as in `30d` or `12h` [default: never]
    #[arg(long, value_name = "TIME", value_parser = crate::cli::auth::lifetime)]
    pub expires_in: Option<std::time::Duration>,
}

impl PublicationOptions {
    /// Who.
    pub(super) fn author(&self) -> String {
        let user = || std::env::var_os("USER").map(|name| name.to_string_lossy().into_owned());
        self.author.clone().or_else(user).unwrap_or_else(|| "unknown".to_owned())
    }

    /// The key, read before anything is done: a key that cannot be used is no reason to publish unsigned.
    pub(super) fn key(&self) -> Result<Option<SigningKey>, VersionError> {
        self.key.as_deref().map(SigningKey::read).transpose()
    }

    /// When the version ends.
    pub(super) fn expires(&self) -> Option<u64> {
        let now = u64::try_from(SystemClock.now_millis()).unwrap_or(0);
        let after = self.expires_in.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        after.map(|after| now.saturating_add(after))
    }
}

/// A version that was named.
pub(super) fn find(store: &VersionStore, named: &str) -> anyhow::Result<Published> {
    let wanted: Wanted = named.parse().map_err(anyhow::Error::msg)?;
    Ok(store.find(&wanted)?)
}

/// An instant for people.
pub(super) fn when(millis: u64) -> String {
    rfc3339(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Reports an error with its cause and advice.
pub(super) fn report_error(error: &VersionError, output: &Output) {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    output.say(format_args!("{RED}refused{PLAIN}: {}{}", clean(&error.to_string()), clean(&cause)));
    if let Some(help) = error.help() {
        output.say(format_args!("help: {help}"));
    }
}
