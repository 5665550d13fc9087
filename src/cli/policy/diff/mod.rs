//! `caxton policy diff`: what a change of the policies changes.

mod text;

use std::path::Path;

use serde::Serialize;

use super::folders::{Need, PolicyFolders};
use super::gateway::{WorldOptions, known_world};
use super::render::{PLAIN, YELLOW, counted};
use super::replay::{RecordSelection, ReplayedLog};
use super::store::StoreOptions;
use super::versions::{Versions, load};
use crate::cli::output::{Exit, Output};
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
    /// Where the policies here are, and what both versions stand beside.
    #[command(flatten)]
    pub folders: PolicyFolders,
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
    let folders = &options.folders;
    let versions = Versions::of(base, folders, output)?;
    let store = options.store.open_of(base, folders.settings(output)?.as_ref());
    let newer = match &options.new {
        Some(new) => versions.named(new, &store)?,
        None => folders.sources(base, Need::Any, output)?,
    };
    let (Some(old), Some(new)) = (
        load(versions.named(&options.old, &store)?, &options.old, output),
        load(newer, options.new.as_deref().unwrap_or("the policies here"), output),
    ) else {
        return Ok(Exit::Usage);
    };
    let rule = options.recorded.on_policy_error;
    let old = old.with_errors_as(rule);
    let new = new.with_errors_as(rule);
    let suites = folders.tests(base, &[], output)?;
    let also_named = old.named_anywhere().into_iter().collect();
    let known = known_world(folders, &WorldOptions::default(), output)?;
    let (report, questions) = examine(&new, &suites, &Settings { also_named, known, ..Settings::default() });
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
