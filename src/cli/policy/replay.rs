//! `caxton policy replay`: recorded decisions, decided again by another version of the policies.

mod log;
mod text;

use std::path::{Path, PathBuf};

use super::files::create;
use super::folders::{POLICIES, PolicyFolders};
use super::render::{PLAIN, YELLOW, counted};
use super::store::StoreOptions;
use super::versions::{Versions, load as load_version};
use crate::audit::record_reader::{ChainCheck, RecordReader};
use crate::cli::output::{Exit, Output};
use crate::policy::{Bundle, SourceKind, Sources};
use crate::text::clean;
use crate::workbench::replay::{
    Replay, ReplayFlip, Settings, TestError, find, suite_of_flips, suite_of_record,
};
pub use log::{RecordSelection, ReplayedLog, replay_log};
pub(super) use text::text;

/// Records named for a line.
const NAMED: usize = 3;

/// Which log, and what is compared.
#[derive(Debug, Default, clap::Args)]
pub struct ReplayOptions {
    /// The records [default: the configuration's, else `.caxton/audit.log`]
    #[command(flatten)]
    pub recorded: RecordSelection,
    /// The policies to compare with: a folder with `policies` (and `schemas`) or `*.cedar` files in it, or a git commit.
    #[arg(long, value_name = "DIR|REF")]
    pub candidate: String,
    /// Include decisions of other versions: the decision of `--policies` replaces the recorded one.
    #[arg(long)]
    pub other_versions: bool,
    /// Write a test for each flip to this file: it states what was recorded.
    #[arg(long, value_name = "FILE")]
    pub tests: Option<PathBuf>,
    /// Of the flips, write only this record's (its `decision_id`, or its number in the log).
    #[arg(long, value_name = "ID", requires = "tests")]
    pub flip: Option<String>,
    /// Flips of one action that are shown.
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    pub show: usize,
    /// Where the policies that decided are, and their schema.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

pub(super) fn run(base: &Path, options: &ReplayOptions, output: &Output) -> anyhow::Result<Exit> {
    if let Some(file) = options.tests.as_deref().filter(|file| file.exists()) {
        anyhow::bail!("`{}` is there already; name a new file", file.display());
    }
    let log = options.folders.log(base, options.recorded.log.as_deref(), output)?;
    let Some(baseline) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let candidate = candidate(base, options, &baseline, output)?;
    let Some(candidate) = load_version(candidate, &options.candidate, output) else { return Ok(Exit::Usage) };
    let rule = options.recorded.on_policy_error;
    let baseline = baseline.with_errors_as(rule);
    let candidate = candidate.with_errors_as(rule);
    let settings = Settings { other_versions: options.other_versions, keep_records: options.tests.is_some() };
    let Some(traffic) = options.recorded.replay(&log, [&baseline, &candidate], settings, output)? else {
        return Ok(Exit::Usage);
    };
    let replay = &traffic.replay;
    if let Some(file) = &options.tests {
        write_tests(file, options.flip.as_deref(), &baseline, &candidate, replay, output)?;
    }
    output.data(&traffic, |traffic| text(traffic, options.show))?;
    Ok(traffic.exit(output))
}

/// A folder of `*.cedar` files is taken with the schema that the baseline has; everything else is as `diff` has it.
fn candidate(
    base: &Path,
    options: &ReplayOptions,
    baseline: &Bundle,
    output: &Output,
) -> anyhow::Result<Sources> {
    let folder = base.join(&options.candidate);
    let versions = Versions::of(base, &options.folders, output)?;
    let plain = folder.is_dir() && !folder.join(POLICIES).is_dir();
    if !plain || options.folders.config.is_some() {
        return versions.named(
            &options.candidate,
            &StoreOptions::default().open_of(base, options.folders.settings(output)?.as_ref()),
        );
    }
    let read = Sources::from_dirs(&folder, &folder)?;
    let has = |kind| read.iter().any(|source| source.kind == kind);
    if !has(SourceKind::Policy) || has(SourceKind::Schema) {
        return versions.folder(&options.candidate);
    }
    let schemas = baseline.sources().iter().filter(|source| source.kind == SourceKind::Schema);
    Ok(read.with_files(schemas.cloned()))
}

fn write_tests(
    file: &Path,
    wanted: Option<&str>,
    baseline: &Bundle,
    candidate: &Bundle,
    replay: &Replay,
    output: &Output,
) -> anyhow::Result<()> {
    let is_wanted = |flip: &&ReplayFlip| {
        let seq = flip.seq.map(|seq| seq.to_string());
        wanted.is_none_or(|wanted| flip.record == wanted || seq.as_deref() == Some(wanted))
    };
    let flips: Vec<&ReplayFlip> = replay.flips.iter().filter(is_wanted).collect();
    if let Some(wanted) = wanted.filter(|_| flips.is_empty()) {
        anyhow::bail!("no decision of record `{wanted}` flips");
    }
    if flips.is_empty() {
        output.say("no test written: nothing flips");
        return Ok(());
    }
    let (suite, written, failed) = suite_of_flips(baseline, candidate, flips);
    refusals(&failed, output);
    if written > 0 {
        create(file, &suite)?;
        let written = counted(written, "test");
        output.say(format_args!("{written} written to `{}`", file.display()));
    }
    Ok(())
}

fn refusals(failed: &[TestError], output: &Output) {
    for error in failed.iter().take(NAMED) {
        output.say(format_args!("{YELLOW}note{PLAIN}: {}", clean(&error.to_string())));
    }
    if let more @ 1.. = failed.len().saturating_sub(NAMED) {
        output.say(format_args!("{YELLOW}note{PLAIN}: … and {more} more cannot be written as tests"));
    }
}

/// `policy test --from-log`: one record as a test, on stdout.
pub(super) fn from_log(
    base: &Path,
    id: &str,
    log: Option<&Path>,
    folders: &PolicyFolders,
    output: &Output,
) -> anyhow::Result<Exit> {
    let log = folders.log(base, log, output)?;
    let Some(bundle) = folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let mut records = RecordReader::open(&log, ChainCheck::Skip)?;
    while let Some(record) = records.next_record()? {
        let Some(found) = find(record.text, id).ok().flatten() else { continue };
        let (suite, failed) = suite_of_record(&bundle, found)?;
        refusals(&failed, output);
        output.line(suite.trim_end())?;
        return Ok(Exit::Fine);
    }
    anyhow::bail!("`{}` has no record `{id}`", log.display())
}
