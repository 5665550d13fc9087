//! `caxton policy test`: the rows of the tests, and what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use super::{explain, junit, render};
use crate::cli::output::{Exit, Format, Output};
use crate::policy::Bundle;
use crate::workbench::explain::explain_rows;
use crate::workbench::run::{Report, Settings, Suites, Summary, TestResult, examine, run as run_tests};

/// What the policies that decided a failing row came to, by file and name of the row.
pub(super) type Clauses = BTreeMap<(String, String), String>;

/// Runs the tests again, this time keeping the rows, and explains those that failed.
fn clauses(bundle: &Bundle, suites: &Suites, settings: &Settings, report: &Report) -> Clauses {
    let mut failed = BTreeSet::new();
    for suite in &report.suites {
        for test in &suite.tests {
            let TestResult::Failed { failures } = &test.result else { continue };
            let rows = failures.iter().filter(|failure| failure.decision.is_some());
            let name = |row: &str| render::row_name(&suite.suite, &test.name, row);
            failed.extend(rows.take(render::ROWS_SHOWN).map(|one| (suite.file.clone(), name(&one.row))));
        }
    }
    let (_, questions) = examine(bundle, suites, settings);
    let wanted = |file: &str, name: &str| failed.contains(&(file.to_owned(), name.to_owned()));
    let explained = explain_rows(bundle, &questions, &wanted);
    explained.into_iter().map(|one| ((one.file.clone(), one.test.clone()), explain::decided(&one))).collect()
}

pub(super) fn run(
    bundle: &Bundle,
    suites: &Suites,
    settings: &Settings,
    junit: Option<&Path>,
    output: &Output,
) -> anyhow::Result<Exit> {
    /// The report with its counts.
    #[derive(Serialize)]
    struct CountedReport<'r> {
        summary: Summary,
        #[serde(flatten)]
        report: &'r Report,
    }
    let report = run_tests(bundle, suites, settings);
    let summary = report.summary();
    let clauses =
        if summary.failed > 0 { clauses(bundle, suites, settings, &report) } else { Clauses::new() };
    output.data(&CountedReport { summary, report: &report }, |counted| {
        render::report_with(counted.report, &clauses)
    })?;
    if output.format() == Format::Junit {
        output.line(junit::xml(&report).trim_end())?;
    }
    render::promises(&suites.promises()).iter().for_each(|note| output.say(note));
    if let Some(path) = junit {
        std::fs::write(path, junit::xml(&report)).with_context(|| format!("writing `{}`", path.display()))?;
    }
    if summary == Summary::default() {
        anyhow::bail!(match &settings.filter {
            Some(filter) => format!("no test has `{filter}` in its `suite: name`"),
            None => "there is no test to run".to_owned(),
        });
    }
    Ok(match summary {
        Summary { broken: 1.., .. } => Exit::Usage,
        Summary { failed: 1.., .. } => Exit::Found,
        _ => Exit::Fine,
    })
}
