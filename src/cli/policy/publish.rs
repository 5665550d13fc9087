//! `caxton policy publish` and `rollback`: what makes another set live.

use std::path::Path;

use serde::Serialize;

use super::checks::{PublishChecks, check};
use super::folders::{Need, PolicyFolders};
use super::render::{BOLD, GREEN, PLAIN};
use super::store::{InstalledStore, PublicationOptions, StoreOptions, find, report_error};
use crate::cli::output::{Exit, Output};
use crate::clock::{Clock as _, SystemClock};
use crate::policy::version::{
    Checks, Kind, Manifest, Published, VersionError, VersionSource as _, VersionStore,
};
use crate::policy::{Bundle, Sources};
use crate::text::clean;

/// What to publish.
#[derive(Debug, Default, clap::Args)]
pub struct PublishOptions {
    /// Who, why, with which key.
    #[command(flatten)]
    pub deed: PublicationOptions,
    /// What it has to pass.
    #[command(flatten)]
    pub demands: PublishChecks,
    /// Where it is published.
    #[command(flatten)]
    pub store: StoreOptions,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// Where to go back to.
#[derive(Debug, Default, clap::Args)]
pub struct Rollback {
    /// `previous`, a number like `@12`, or the first digits of a version.
    #[arg(default_value = "previous", value_name = "VERSION")]
    pub version: String,
    /// Why; stands in the history.
    #[arg(long, short, value_name = "TEXT", default_value = "rollback")]
    pub message: String,
    /// Who [default: the user who runs the command]
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Sign with this key, which `caxton policy keygen` made.
    #[arg(long, value_name = "FILE")]
    pub key: Option<std::path::PathBuf>,
    /// The version store.
    #[command(flatten)]
    pub store: InstalledStore,
}

/// What was done, for machines.
#[derive(Serialize)]
struct PublishedReport<'p> {
    published: bool,
    signed_by: Vec<&'p str>,
    #[serde(flatten)]
    manifest: &'p Manifest,
}

pub(super) fn run(base: &Path, options: &PublishOptions, output: &Output) -> anyhow::Result<Exit> {
    let store = options.store.open(base);
    let folders = &options.folders;
    let sources = folders.sources(base, Need::Own, output)?;
    anyhow::ensure!(!options.deed.message.trim().is_empty(), "say why with `--message`");
    if let Err(error) = options.deed.key() {
        report_error(&error, output);
        return Ok(Exit::Usage);
    }
    let checks = match check(base, sources.clone(), folders, &options.demands, output)? {
        Ok((_, checks)) => checks,
        Err(exit) => {
            output.say("nothing was published");
            return Ok(exit);
        }
    };
    put(&store, &sources, (Kind::Publish, options.deed.expires()), checks, &options.deed, output)
}

pub(super) fn rollback(base: &Path, options: &Rollback, output: &Output) -> anyhow::Result<Exit> {
    let store = options.store.existing(base, output)?;
    let target = find(&store, &options.version)?;
    let newest = store.newest()?;
    if target.manifest.version == newest.manifest.version {
        output.say(format_args!("version {} is live already", target.manifest.version.short()));
        return Ok(Exit::Found);
    }
    let deed = PublicationOptions {
        message: options.message.clone(),
        author: options.author.clone(),
        key: options.key.clone(),
        expires_in: None,
    };
    let sources = store.sources(&target.manifest)?;
    // Valid when it was published; a newer program may see it otherwise, and it would stay out without a word.
    match Bundle::load(sources.clone()) {
        Ok(bundle) => super::show(bundle.warnings(), output),
        Err(errors) => {
            super::show(errors.problems(), output);
            output.say("nothing was published: this program does not take that set any more");
            return Ok(Exit::Found);
        }
    }
    // Going back does not make a version last longer than its publisher gave it.
    let expires = target.manifest.expires_millis;
    put(&store, &sources, (Kind::Rollback, expires), target.manifest.checks, &deed, output)
}

/// Publishes a set that has passed; `what` says how it came about and from when on it denies everything.
pub(super) fn put(
    store: &VersionStore,
    sources: &Sources,
    what: (Kind, Option<u64>),
    checks: Checks,
    deed: &PublicationOptions,
    output: &Output,
) -> anyhow::Result<Exit> {
    match publish(store, sources, what, checks, deed) {
        Ok(published) => {
            let signed_by = published.signatures.iter().map(|one| one.key_id.as_str()).collect();
            let done = PublishedReport { published: true, signed_by, manifest: &published.manifest };
            output.data(&done, |done| text(done))?;
            Ok(Exit::Fine)
        }
        Err(error) => {
            report_error(&error, output);
            Ok(Exit::Found)
        }
    }
}

fn publish(
    store: &VersionStore,
    sources: &Sources,
    (kind, expires_millis): (Kind, Option<u64>),
    checks: Checks,
    deed: &PublicationOptions,
) -> Result<Published, VersionError> {
    let manifest = Manifest::new(sources, kind, &deed.author(), &deed.message, SystemClock.now_millis());
    let manifest = Manifest { checks, expires_millis, ..manifest };
    let mut published = Published { manifest: store.next(manifest)?, signatures: Vec::new() };
    if let Some(key) = deed.key()? {
        key.sign(&mut published)?;
    }
    store.add(&published, sources)?;
    Ok(published)
}

fn text(done: &PublishedReport<'_>) -> String {
    let Manifest { sequence, version, kind, parent, .. } = done.manifest;
    let signed = match done.signed_by.as_slice() {
        [] => ", not signed".to_owned(),
        keys => format!(", signed by {}", clean(&keys.join(", "))),
    };
    let after = parent.as_ref().map(|parent| format!(", in place of {}", parent.short())).unwrap_or_default();
    format!("{GREEN}{}{PLAIN} {BOLD}{}{PLAIN} as @{sequence}{after}{signed}", past(*kind), version.short())
}

fn past(kind: Kind) -> &'static str {
    match kind {
        Kind::Publish => "published",
        Kind::Rollback => "rolled back to",
        Kind::Promote => "promoted",
    }
}
