//! `caxton policy lint`: what is legal but most likely not meant.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use super::folders::PolicyFolders;
use super::gateway::{WorldOptions, known_world};
use super::render;
use super::render::{BOLD, GREEN, PLAIN, RED, YELLOW, counted};
use super::scope::ReportScope;
use crate::cli::output::{Exit, Format, Output};
use crate::policy::Bundle;
use crate::workbench::case::KnownWorld;
use crate::workbench::diagnostics;
use crate::workbench::diagnostics::Finding;
use crate::workbench::lint::{Found, LintInput, RULES, Severity, lint_with};
use crate::workbench::run::{Settings, TestQuestions, examine};

/// What to look at and where to write it.
#[derive(Debug, Default, clap::Args)]
pub struct LintOptions {
    /// Leave a rule out; may be given more than once.
    #[arg(long, value_name = "RULE")]
    pub without: Vec<String>,
    /// Which policies.
    #[command(flatten)]
    pub scope: ReportScope,
    /// What the gateway knows.
    #[command(flatten)]
    pub world: WorldOptions,
    /// Write the findings as SARIF 2.1.0, which code hosts show beside the lines.
    #[arg(long, value_name = "FILE")]
    pub sarif: Option<PathBuf>,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

/// A finding for machines.
#[derive(Debug, Serialize)]
struct Linted<'f> {
    rule: &'f str,
    #[serde(flatten)]
    finding: Finding,
}

impl<'f> Linted<'f> {
    fn new(found: &'f Found) -> Self {
        let severity = found.rule.severity.as_str();
        Self { rule: found.rule.id, finding: Finding { severity, ..Finding::from(&found.problem) } }
    }
}

pub(super) fn run(base: &Path, options: &LintOptions, output: &Output) -> anyhow::Result<Exit> {
    if let Some(unknown) = options.without.iter().find(|id| RULES.iter().all(|rule| rule.id != **id)) {
        anyhow::bail!("there is no rule `{unknown}`; docs/lint.md lists them");
    }
    let Some(bundle) = options.folders.load(base, output)? else { return Ok(Exit::Usage) };
    let known = known_world(&options.folders, &options.world, output)?;
    let questions = questions(base, &bundle, options, known.clone(), output)?;
    let reported = options.scope.reported(&bundle);
    let left_out = reported.left_out(&bundle);
    let input = LintInput { questions: questions.as_ref(), known: known.as_ref(), reported };
    let mut found = lint_with(&bundle, &input);
    found.retain(|found| options.without.iter().all(|id| id != found.rule.id));
    if output.format() == Format::Table {
        findings(&found, output);
    }
    let linted: Vec<Linted<'_>> = found.iter().map(Linted::new).collect();
    output.data(&linted, |linted| {
        let left_out = match left_out {
            0 => String::new(),
            count => format!(" ({} left out; `--all` has them)", counted(count, "shipped policy")),
        };
        match linted.len() {
            0 => {
                let rules = counted(RULES.len() - options.without.len(), "rule");
                format!("{GREEN}nothing found{PLAIN} by {rules}{left_out}")
            }
            _ => format!("{YELLOW}{}{PLAIN}{left_out}", summed_up(&found)),
        }
    })?;
    let text = || serde_json::to_string_pretty(&sarif(&found));
    if output.format() == Format::Sarif {
        output.line(&text()?)?;
    }
    if let Some(path) = &options.sarif {
        let text = text()?;
        std::fs::write(path, text).with_context(|| format!("writing `{}`", path.display()))?;
    }
    Ok(if found.is_empty() { Exit::Fine } else { Exit::Found })
}

/// Findings of one rule that are shown.
const SHOWN: usize = 20;

/// The findings by severity and rule, with each rule's reason once.
pub(super) fn findings(found: &[Found], output: &Output) {
    for group in found.chunk_by(|one, other| one.rule == other.rule) {
        let Some(rule) = group.first().map(|found| found.rule) else { continue };
        let colour = if rule.severity == Severity::Error { RED } else { YELLOW };
        let severity = rule.severity.as_str();
        output.say(format_args!("{colour}{severity}{PLAIN} {BOLD}{}{PLAIN}: {}", rule.id, rule.reason));
        for found in group.iter().take(SHOWN) {
            output.say(diagnostics::render(&found.problem, render::WIDTH).trim_end());
        }
        if let more @ 1.. = group.len().saturating_sub(SHOWN) {
            output.say(format_args!("… and {more} more of `{}` (`--format json` has all)", rule.id));
        }
        output.say("");
    }
}

/// `6 findings in 1 file: 3 errors, 2 warnings, 1 note`.
pub(super) fn summed_up(found: &[Found]) -> String {
    let files: BTreeSet<_> = found.iter().map(|found| &found.problem.file).collect();
    let of = |severity: Severity| {
        let count = found.iter().filter(|found| found.rule.severity == severity).count();
        (count > 0).then(|| counted(count, severity.as_str()))
    };
    let counts = [Severity::Error, Severity::Warning, Severity::Note].into_iter().filter_map(of);
    format!(
        "{} in {}: {}",
        counted(found.len(), "finding"),
        counted(files.len(), "file"),
        counts.collect::<Vec<_>>().join(", ")
    )
}

/// The rows of the tests, where there are tests; without them `missing-test` would only repeat the list of policies.
fn questions(
    base: &Path,
    bundle: &Bundle,
    options: &LintOptions,
    known: Option<KnownWorld>,
    output: &Output,
) -> anyhow::Result<Option<TestQuestions>> {
    let folders = &options.folders;
    if !folders.shipped && folders.test_folder(base).is_none() {
        return Ok(None);
    }
    let suites = folders.tests(base, &[], output)?;
    let (_, mut questions) = examine(bundle, &suites, &Settings { known, ..Settings::default() });
    options.scope.add_tests(bundle, &mut questions);
    Ok(Some(questions))
}

fn sarif(found: &[Found]) -> serde_json::Value {
    let rules: Vec<_> = RULES
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "shortDescription": { "text": rule.finds },
                "fullDescription": { "text": rule.reason },
                "help": { "text": rule.help },
            })
        })
        .collect();
    let results: Vec<_> = found
        .iter()
        .map(|found| {
            let finding = Finding::from(&found.problem);
            json!({
                "ruleId": found.rule.id,
                "level": found.rule.severity.as_str(),
                "message": { "text": finding.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": finding.file },
                    "region": { "startLine": finding.line, "startColumn": finding.column },
                } }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "caxton policy lint", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}
