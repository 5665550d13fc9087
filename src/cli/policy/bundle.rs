//! `caxton policy bundle`: a version in one file, for another host.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::render::{GREEN, PLAIN, counted};
use super::store::{InstalledStore, find, report_error};
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::Bundle;
use crate::policy::version::{BundleFile, Rules, TrustedKeys, VersionError, VersionSource as _};
use crate::text::clean;

/// The largest bundle that is read, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// What to do with bundle files.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write a published version into one file. Example: `caxton policy bundle build --out policies.bundle`
    Build {
        /// `current`, `previous`, a number like `@12`, or the first digits of a version.
        #[arg(default_value = "current", value_name = "VERSION")]
        version: String,
        /// The file.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The version store.
        #[command(flatten)]
        store: InstalledStore,
    },
    /// Check a file: whole, valid, signed. Example: `caxton policy bundle verify policies.bundle --trusted-keys keys.json`
    Verify {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The trusted keys; without them no signature is required.
        #[arg(long, value_name = "FILE")]
        trusted_keys: Option<PathBuf>,
    },
}

/// The facts of a bundle, for machines.
#[derive(Serialize)]
struct BundleReport<'b> {
    sound: bool,
    version: &'b str,
    sequence: u64,
    files: usize,
    policies: usize,
    key_id: Option<String>,
}

pub(super) fn run(base: &Path, command: &Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Build { version, out, store } => build(base, version, out, store, output),
        Command::Verify { file, trusted_keys } => verify(base, file, trusted_keys.as_deref(), output),
    }
}

fn build(
    base: &Path,
    version: &str,
    out: &Path,
    store: &InstalledStore,
    output: &Output,
) -> anyhow::Result<Exit> {
    let store = store.existing(base, output)?;
    let published = find(&store, version)?;
    let files = published.manifest.files.len();
    let unsigned = published.signatures.is_empty();
    let version = published.manifest.version.clone();
    let text = String::from_utf8(store.bundle(published)?.to_bytes()?)?;
    super::files::replace(&base.join(out), &text)?;
    output.say(format_args!(
        "version {}, {}, in `{}` ({} bytes)",
        version.short(),
        counted(files, "file"),
        out.display(),
        text.len()
    ));
    if unsigned {
        output.say("note: the bundle is not signed; sign it with `caxton policy sign`");
    }
    Ok(Exit::Fine)
}

fn verify(base: &Path, file: &Path, trusted: Option<&Path>, output: &Output) -> anyhow::Result<Exit> {
    let path = base.join(file);
    let bytes = read(&path).with_context(|| format!("reading `{}`", path.display()))?;
    let trusted = trusted.map(|path| TrustedKeys::read(&base.join(path))).transpose()?;
    let rules = Rules { trusted, ..Rules::default() };
    match checked(&bytes, &rules) {
        Ok((bundle, loaded, key_id)) => {
            super::show(loaded.warnings(), output);
            let manifest = &bundle.published().manifest;
            let described = BundleReport {
                sound: true,
                version: manifest.version.as_str(),
                sequence: manifest.sequence,
                files: manifest.files.len(),
                policies: loaded.policies().count(),
                key_id,
            };
            output.data(&described, text)?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            if let VersionError::Policies(errors) = &error {
                super::show(errors.problems(), output);
            }
            report_error(&error, output);
            Ok(Exit::Found)
        }
    }
}

/// One byte more than allowed at most: a larger bundle is refused by the parser.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn checked(bytes: &[u8], rules: &Rules) -> Result<(BundleFile, Bundle, Option<String>), VersionError> {
    let bundle = BundleFile::parse(bytes, MOST_BYTES)?;
    let accepted = rules.accept(bundle.published(), SystemClock.now_millis())?;
    let loaded = Bundle::load(bundle.sources().clone()).map_err(VersionError::Policies)?;
    Ok((bundle, loaded, accepted.key_id))
}

fn text(described: &BundleReport<'_>) -> String {
    let BundleReport { version, sequence, files, policies, key_id, .. } = described;
    let signed = match key_id {
        Some(key) => format!("signed by {}", clean(key)),
        None => "no signature was required".to_owned(),
    };
    let policies = counted(*policies, "policy");
    let files = counted(*files, "file");
    format!("{GREEN}sound{PLAIN}: {version} (@{sequence}), {policies} in {files}, {signed}")
}
