//! `caxton policy fmt`: policies in one look.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::changes::changes;
use super::files::replace;
use super::folders::{POLICIES, PolicyFolders, chosen};
use super::render::{GREEN, PLAIN, RED, YELLOW, counted};
use crate::cli::output::{Exit, Format, Output};
use crate::policy::{SourceKind, Sources};
use crate::text::clean;
use crate::workbench::format::format;

/// The most bytes of a file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// Which files, and whether to write them.
#[derive(Debug, Default, clap::Args)]
pub struct FmtOptions {
    /// Files with policies, or folders of them [default: `policies`]
    pub files: Vec<PathBuf>,
    /// Write nothing: show what would change. Exit code 1 when something would.
    #[arg(long)]
    pub check: bool,
    /// Where the policies are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// A file, and whether its format changed.
#[derive(Debug, Serialize)]
struct FormattedFile {
    file: String,
    #[serde(flatten)]
    outcome: FormatOutcome,
}

#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum FormatOutcome {
    /// It was laid out already.
    Unchanged,
    /// It was written, or would be.
    Changed,
    /// It stays as it is.
    Refused { why: String },
}

pub(super) fn run(base: &Path, options: &FmtOptions, output: &Output) -> anyhow::Result<Exit> {
    let files = files(base, options, output)?;
    let mut done = Vec::new();
    for file in files {
        let outcome = one(&file, options.check, output)?;
        done.push(FormattedFile { file: file.display().to_string(), outcome });
    }
    output.data(&done, |done| text(done, options.check))?;
    let has = |wanted: fn(&FormatOutcome) -> bool| done.iter().any(|done| wanted(&done.outcome));
    Ok(if has(|outcome| matches!(outcome, FormatOutcome::Refused { .. })) {
        Exit::Usage
    } else if options.check && has(|outcome| matches!(outcome, FormatOutcome::Changed)) {
        Exit::Found
    } else {
        Exit::Fine
    })
}

fn one(file: &Path, check: bool, output: &Output) -> anyhow::Result<FormatOutcome> {
    let failed = || format!("reading `{}`", file.display());
    let bytes = std::fs::metadata(file).with_context(failed)?.len();
    anyhow::ensure!(bytes <= MAX_BYTES, "`{}` is larger than {MAX_BYTES} bytes", file.display());
    let text = std::fs::read_to_string(file).with_context(failed)?;
    Ok(match format(&text) {
        Ok(formatted) if formatted == text => FormatOutcome::Unchanged,
        Ok(formatted) if check => {
            if output.format() == Format::Table {
                output.line(&changes(&file.display().to_string(), &text, &formatted))?;
            }
            FormatOutcome::Changed
        }
        Ok(formatted) => {
            replace(file, &formatted)?;
            FormatOutcome::Changed
        }
        Err(error) => FormatOutcome::Refused { why: error.to_string() },
    })
}

/// The files as named; a folder stands for its policies, as the gateway would find them.
fn files(base: &Path, options: &FmtOptions, output: &Output) -> anyhow::Result<Vec<PathBuf>> {
    let mut named = options.files.clone();
    if named.is_empty() {
        let folder = match options.folders.settings(output)? {
            Some(settings) => settings.policy_dir.context("the configuration names no folder of policies")?,
            None => chosen(base, options.folders.policies.as_ref(), POLICIES)
                .context("there is no folder `policies` here: name the files")?,
        };
        named.push(folder);
    }
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path);
            continue;
        }
        let found = Sources::from_dirs(&path, &path)?;
        let policies = found.iter().filter(|source| source.kind == SourceKind::Policy);
        files.extend(policies.map(|source| PathBuf::from(source.path.as_ref())));
    }
    Ok(files)
}

fn text(done: &[FormattedFile], check: bool) -> String {
    let mut lines = Vec::new();
    let mut changed = 0;
    let mut refused = 0;
    for FormattedFile { file, outcome } in done {
        let file = clean(file);
        match outcome {
            FormatOutcome::Unchanged => {}
            FormatOutcome::Changed => {
                changed += 1;
                let word = if check { "would change" } else { "formatted" };
                lines.push(format!("{YELLOW}{word}{PLAIN}  {file}"));
            }
            FormatOutcome::Refused { why } => {
                refused += 1;
                lines.push(format!("{RED}refused{PLAIN}  {file}: {}", clean(why)));
            }
        }
    }
    let colour = if refused > 0 || (check && changed > 0) { RED } else { GREEN };
    let word = if check { "would change" } else { "formatted" };
    let refused =
        if refused > 0 { format!(", {refused} refused and left as they are") } else { String::new() };
    lines.push(format!("{colour}{changed} of {} {word}{PLAIN}{refused}", counted(done.len(), "file")));
    lines.join("\n")
}
