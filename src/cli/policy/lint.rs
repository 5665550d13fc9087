//! `caxton policy lint`: what is legal but most likely not meant.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;

use super::render::{GREEN, PLAIN, YELLOW, counted};
use super::{PolicyFolders, chosen, find_tests, load, render};
use crate::cli::output::{Exit, Format, Output};
use crate::policy::Bundle;
use crate::workbench::diagnostics;
use crate::workbench::diagnostics::Finding;
use crate::workbench::lint::{Found, RULES, lint};
use crate::workbench::run::{Settings, TestQuestions, examine};

/// What to look at and where to write it.
#[derive(Debug, Default, clap::Args)]
pub struct LintOptions {
    /// Leave a rule out; may be given more than once.
    #[arg(long, value_name = "RULE")]
    pub without: Vec<String>,
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

pub(super) fn run(base: &Path, options: &LintOptions, output: &Output) -> anyhow::Result<Exit> {
    if let Some(unknown) = options.without.iter().find(|id| RULES.iter().all(|rule| rule.id != **id)) {
        anyhow::bail!("there is no rule `{unknown}`; docs/lint.md lists them");
    }
    let Some(bundle) = load(base, &options.folders, output)? else { return Ok(Exit::Usage) };
    let questions = questions(base, &bundle, options, output)?;
    let mut found = lint(&bundle, questions.as_ref());
    found.retain(|found| options.without.iter().all(|id| id != found.rule.id));
    if output.format() == Format::Table {
        for found in &found {
            output.say(diagnostics::render(&found.problem, render::WIDTH).trim_end());
            output.say(format_args!("  {YELLOW}{}{PLAIN}: {}\n", found.rule.id, found.rule.reason));
        }
    }
    let linted: Vec<Linted<'_>> = found
        .iter()
        .map(|found| Linted { rule: found.rule.id, finding: Finding::from(&found.problem) })
        .collect();
    output.data(&linted, |linted| match linted.len() {
        0 => {
            format!("{GREEN}nothing found{PLAIN} by {}", counted(RULES.len() - options.without.len(), "rule"))
        }
        count => format!("{YELLOW}{} found{PLAIN}", counted(count, "problem")),
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

/// The rows of the tests, where there are tests; without them `missing-test` would only repeat the list of policies.
fn questions(
    base: &Path,
    bundle: &Bundle,
    options: &LintOptions,
    output: &Output,
) -> anyhow::Result<Option<TestQuestions>> {
    let folders = &options.folders;
    let own = folders.config.is_some() || chosen(base, folders.policies.as_ref(), super::POLICIES).is_some();
    if own && !base.join(super::TESTS).is_dir() {
        return Ok(None);
    }
    let suites = find_tests(base, &[], &options.folders, output)?;
    Ok(Some(examine(bundle, &suites, &Settings::default()).1))
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
                "level": "warning",
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
