//! `caxton policy history` and `checkout`: what was published, and any of it back as files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::render::counted;
use super::store::{InstalledStore, find, when};
use crate::cli::output::{Exit, Output, table};
use crate::policy::version::{Checks, Manifest, Published, VersionSource as _};
use crate::text::clean;

/// How much to show.
#[derive(Debug, Default, clap::Args)]
pub struct HistoryOptions {
    /// Number of versions shown, newest first.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    pub show: usize,
    /// The version store.
    #[command(flatten)]
    pub store: InstalledStore,
}

/// What to write out, and where.
#[derive(Debug, Default, clap::Args)]
pub struct Checkout {
    /// `current`, `previous`, a number like `@12`, or the first digits of a version.
    #[arg(value_name = "VERSION")]
    pub version: String,
    /// A folder that is not there yet; it gets `policies` and `schemas`.
    #[arg(value_name = "DIR")]
    pub to: PathBuf,
    /// The version store.
    #[command(flatten)]
    pub store: InstalledStore,
}

/// One publication, for machines.
#[derive(Serialize)]
struct HistoryEntry {
    live: bool,
    signed_by: Vec<String>,
    #[serde(flatten)]
    manifest: Manifest,
}

pub(super) fn run(base: &Path, options: &HistoryOptions, output: &Output) -> anyhow::Result<Exit> {
    let store = options.store.existing(base, output)?;
    let mut entries = Vec::new();
    for (place, number) in store.numbers()?.into_iter().rev().take(options.show).enumerate() {
        let Published { manifest, signatures } = store.read(number)?;
        let signed_by = signatures.into_iter().map(|one| one.key_id).collect();
        entries.push(HistoryEntry { live: place == 0, signed_by, manifest });
    }
    output.data(&entries, |entries| text(entries))?;
    Ok(Exit::Fine)
}

fn text(entries: &[HistoryEntry]) -> String {
    let mut rows = table(["number", "version", "what", "when", "author", "signed by", "checks", "message"]);
    for entry in entries {
        let Manifest { sequence, version, kind, time_millis, author, message, checks, .. } = &entry.manifest;
        let live = if entry.live { " (newest)" } else { "" };
        rows.add_row([
            format!("@{sequence}{live}"),
            version.short().to_owned(),
            kind.as_str().to_owned(),
            when(*time_millis),
            clean(author),
            clean(&entry.signed_by.join(", ")),
            checked(checks),
            clean(message),
        ]);
    }
    rows.to_string()
}

fn checked(checks: &Checks) -> String {
    let mut parts = vec![counted(usize::try_from(checks.policies).unwrap_or(usize::MAX), "policy")];
    parts.extend(checks.tests.map(|tests| format!("{} rows", tests.rows)));
    let percent = |hundredths: u64| format!("{}.{} %", hundredths / 100, hundredths % 100 / 10);
    parts.extend(checks.coverage.map(|share| format!("covered {}", percent(share.reached))));
    parts.extend(checks.mutation.map(|share| format!("mutation {}", percent(share.reached))));
    parts.extend(checks.proofs.as_ref().map(|proofs| format!("{} proven", proofs.proven)));
    parts.join(", ")
}

pub(super) fn checkout(base: &Path, options: &Checkout, output: &Output) -> anyhow::Result<Exit> {
    let store = options.store.existing(base, output)?;
    let published = find(&store, &options.version)?;
    let sources = store.sources(&published.manifest)?;
    let folder = base.join(&options.to);
    // A folder that is there could hold other policies, and the two would be one set.
    std::fs::create_dir(&folder).with_context(|| format!("making `{}`", folder.display()))?;
    for file in sources.iter() {
        // INVARIANT: the manifest was checked, so that a name has no `..` and leads nowhere else.
        let path = folder.join(file.kind.directory()).join(file.name.as_ref());
        let write = || {
            std::fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            std::fs::write(&path, file.text.as_bytes())
        };
        write().with_context(|| format!("writing `{}`", path.display()))?;
    }
    let count = counted(published.manifest.files.len(), "file");
    let version = published.manifest.version.short();
    output.say(format_args!("version {version}: {count} in `{}`", folder.display()));
    Ok(Exit::Fine)
}
