//! `caxton policy diff`: what a change of the policies changes.

mod git;
mod text;

use std::path::Path;

use serde::Serialize;

use super::render::{PLAIN, YELLOW, counted, invalid};
use super::replay::{RecordSelection, ReplayedLog};
use super::store::StoreOptions;
use super::{POLICIES, PolicyFolders, SCHEMAS, find_tests, show, sources};
use crate::cli::output::{Exit, Output};
use crate::policy::version::{VersionError, VersionSource as _, VersionStore, Wanted};
use crate::policy::{Bundle, SourceKind, Sources};
use crate::text::clean;
use crate::workbench::diff::{Difference, diff};
use crate::workbench::matrix::{Shift, shift};
use crate::workbench::replay::Settings as ReplaySettings;
use crate::workbench::run::{Settings, examine};
pub use text::text;

/// Which two versions.
#[derive(Debug, Default, clap::Args)]
pub struct DiffOptions {
    /// The older version: a folder with `policies` and `schemas` in it, a published version (`current`, `previous`,
    /// `@12`, or the first digits of its digest), or a git commit.
    #[arg(value_name = "OLD")]
    pub old: String,
    /// The newer version, likewise [default: the policies here]
    #[arg(value_name = "NEW")]
    pub new: Option<String>,
    /// With `--log`: recorded traffic, decided by both.
    #[command(flatten)]
    pub recorded: RecordSelection,
    /// Flips of one action that are shown.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    pub show: usize,
    /// The version store.
    #[command(flatten)]
    pub store: StoreOptions,
}

/// The differences between two versions.
#[derive(Serialize)]
pub struct ComparedVersions {
    /// The policies, and the requests of the tests.
    #[serde(flatten)]
    pub difference: Difference,
    /// Who may do what.
    pub matrix: Shift,
    /// What was asked of a gateway, when a log is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic: Option<ReplayedLog>,
}

pub(super) fn run(base: &Path, options: &DiffOptions, output: &Output) -> anyhow::Result<Exit> {
    let folders = PolicyFolders::default();
    let newer = match &options.new {
        Some(new) => version_in(base, new, &options.store.open(base))?,
        None => sources(base, &folders, output)?,
    };
    let (Some(old), Some(new)) = (
        load(version_in(base, &options.old, &options.store.open(base))?, &options.old, output),
        load(newer, options.new.as_deref().unwrap_or("the policies here"), output),
    ) else {
        return Ok(Exit::Usage);
    };
    let rule = options.recorded.on_policy_error;
    let old = old.with_errors_as(rule);
    let new = new.with_errors_as(rule);
    let suites = find_tests(base, &[], &folders, output)?;
    let also_named = old.named_anywhere().into_iter().collect();
    let (report, questions) = examine(&new, &suites, &Settings { also_named, ..Settings::default() });
    let broken = report.summary().broken;
    if broken > 0 {
        output.say(format_args!(
            "{YELLOW}note{PLAIN}: {} broken against the newer version and left out; `caxton policy test` shows why",
            counted(broken, "test")
        ));
    }
    let traffic = match &options.recorded.log {
        None => None,
        Some(log) => {
            // Neither need be the version that decided: both are asked what it was asked.
            let settings = ReplaySettings { other_versions: true, keep_records: false };
            match options.recorded.replay(log, [&old, &new], settings, output)? {
                Some(traffic) => Some(traffic),
                None => return Ok(Exit::Usage),
            }
        }
    };
    let compared =
        ComparedVersions { difference: diff(&old, &new, &questions), matrix: shift(&old, &new), traffic };
    output.data(&compared, |compared| text(compared, options.show))?;
    if !compared.difference.flips.is_empty() || !compared.matrix.flips.is_empty() {
        return Ok(Exit::Found);
    }
    Ok(compared.traffic.map_or(Exit::Fine, |traffic| traffic.exit(output)))
}

/// A folder when there is one of that name, else a published version, else a commit.
pub(super) fn version(base: &Path, named: &str) -> anyhow::Result<Sources> {
    version_in(base, named, &StoreOptions::default().open(base))
}

fn version_in(base: &Path, named: &str, store: &VersionStore) -> anyhow::Result<Sources> {
    if base.join(named).is_dir() {
        return folder(base, named);
    }
    if let (true, Ok(wanted)) = (store.exists(), named.parse::<Wanted>()) {
        match store.find(&wanted) {
            Ok(found) => return Ok(store.sources(&found.manifest)?),
            // It can still be a commit.
            Err(VersionError::NotFound(_)) if matches!(wanted, Wanted::Digest(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    commit(base, named)
}

pub(super) fn folder(base: &Path, named: &str) -> anyhow::Result<Sources> {
    let folder = base.join(named);
    let policies = folder.join(POLICIES);
    let schemas = folder.join(SCHEMAS);
    anyhow::ensure!(policies.is_dir(), "`{named}` has no folder `{POLICIES}`");
    let schemas = if schemas.is_dir() { schemas } else { policies.clone() };
    Ok(with_schema(Sources::from_dirs(&policies, &schemas)?))
}

pub(super) fn commit(base: &Path, named: &str) -> anyhow::Result<Sources> {
    Ok(with_schema(git::sources(base, named, POLICIES, SCHEMAS)?))
}

fn with_schema(read: Sources) -> Sources {
    let has_schema = read.iter().any(|source| source.kind == SourceKind::Schema);
    if has_schema { read } else { read.with_shipped(SourceKind::Schema) }
}

/// The policies of a folder or commit; none when they are refused, and their problems have been shown.
pub(super) fn version_named(base: &Path, named: &str, output: &Output) -> anyhow::Result<Option<Bundle>> {
    Ok(load(version(base, named)?, named, output))
}

/// None when the policies are refused, and their problems have been shown.
pub(super) fn load(sources: Sources, named: &str, output: &Output) -> Option<Bundle> {
    match Bundle::load(sources) {
        Ok(bundle) => Some(bundle),
        Err(errors) => {
            show(errors.problems(), output);
            let fatal = errors.problems().iter().filter(|problem| problem.fatal).count();
            output.say(format_args!("{}: {}", clean(named), invalid(fatal)));
            None
        }
    }
}
