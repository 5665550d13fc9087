//! What `caxton policy` prints for people: one line a test, and under one that did not pass, why.

use std::fmt::Write as _;

use super::test::Clauses;
use super::validate::SetSize;
use crate::text::clean;
use crate::workbench::diff::ComparedSide;
use crate::workbench::run::{Failure, Promises, Report, SuiteReport, TestReport, TestResult};

/// Columns that messages are wrapped to.
pub(super) const WIDTH: usize = 100;
/// Rows of one test that are shown in full.
pub(super) const ROWS_SHOWN: usize = 10;

pub(super) const GREEN: &str = "\u{1b}[32m";
pub(super) const RED: &str = "\u{1b}[31m";
pub(super) const YELLOW: &str = "\u{1b}[33m";
pub(super) const BOLD: &str = "\u{1b}[1m";
pub(super) const DIM: &str = "\u{1b}[2m";
pub(super) const PLAIN: &str = "\u{1b}[0m";

/// The verdict on a set that may go live.
pub(super) fn valid(own: SetSize, shipped: SetSize, warnings: usize) -> String {
    let warned = match warnings {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    let own_words = format!("{} in {}", counted(own.policies, "policy"), counted(own.files, "file"));
    let words = match (own.files, shipped.files, shipped.policies) {
        (_, 0, _) => own_words,
        (0, files, policies) => {
            format!("{} in {}", counted(policies, "shipped policy"), counted(files, "file"))
        }
        (_, _, 0) => format!("{own_words}, with the shipped schema"),
        (_, _, policies) => format!("{own_words}, beside {}", counted(policies, "shipped policy")),
    };
    format!("{GREEN}valid{PLAIN}: {words}{warned}")
}

/// The verdict on a set that may not.
pub(super) fn invalid(problems: usize) -> String {
    format!("{RED}refused{PLAIN}: {}", counted(problems, "problem"))
}

/// The whole report; colour is taken away where the stream takes none.
pub fn report(report: &Report) -> String {
    report_with(report, &Clauses::new())
}

/// The same, with what the clauses of the policies that decided a failing row came to.
pub(super) fn report_with(report: &Report, clauses: &Clauses) -> String {
    let mut text = String::new();
    for suite in &report.suites {
        if suite.tests.is_empty() && suite.problem.is_none() {
            continue;
        }
        let name = clean(&suite.suite);
        let file = clean(&suite.file);
        match name == file {
            true => push(&mut text, format_args!("{BOLD}{name}{PLAIN}")),
            false => push(&mut text, format_args!("{BOLD}{name}{PLAIN}  {DIM}{file}{PLAIN}")),
        }
        if let Some(problem) = &suite.problem {
            push(&mut text, format_args!("  {YELLOW}! nothing was run{PLAIN}{}", line(problem.line)));
            because(&mut text, &problem.message, problem.help.as_deref());
        }
        for one in &suite.tests {
            test(&mut text, suite, one, clauses);
        }
        text.push('\n');
    }
    let summary = report.summary();
    let colour = if summary.broken + summary.failed > 0 { RED } else { GREEN };
    let mut counts = vec![format!("{} passed", summary.passed)];
    counts.extend((summary.failed > 0).then(|| format!("{} failed", summary.failed)));
    counts.extend((summary.broken > 0).then(|| format!("{} broken", summary.broken)));
    let rows = counted(summary.rows, "row");
    let version = report.policy_version.short();
    push(&mut text, format_args!("{colour}{}{PLAIN} ({rows}, policies {version})", counts.join(", ")));
    text
}

/// What else the files promise, and who holds them to it.
pub(super) fn promises(promises: &Promises) -> Vec<String> {
    let mut notes = Vec::new();
    if promises.statements > 0 {
        let statements = counted(promises.statements, "statement");
        notes.push(format!("note: `caxton policy prove` seeks proofs of {statements}"));
    }
    let gates = [("coverage", promises.gate.clause_coverage), ("mutate", promises.gate.mutation_score)];
    let gates = gates.into_iter().filter_map(|(command, wanted)| {
        wanted.map(|wanted| format!("note: a gate of {wanted} % is checked by `caxton policy {command}`"))
    });
    notes.extend(gates);
    notes
}

fn test(text: &mut String, suite: &SuiteReport, test: &TestReport, clauses: &Clauses) {
    let name = clean(&test.name);
    match &test.result {
        TestResult::Passed => {
            let rows =
                if test.rows > 1 { format!("  {DIM}{} rows{PLAIN}", test.rows) } else { String::new() };
            push(text, format_args!("  {GREEN}✓{PLAIN} {name}{rows}"));
        }
        TestResult::Failed { failures } => {
            let of = if test.rows > 1 {
                format!("  {} of {} rows", failures.len(), test.rows)
            } else {
                String::new()
            };
            push(text, format_args!("  {RED}✗ {name}{PLAIN}{of}{}", line(test.line)));
            for failure in failures.iter().take(ROWS_SHOWN) {
                difference(text, failure);
                let row = row_name(&suite.suite, &test.name, &failure.row);
                if let Some(clauses) = clauses.get(&(suite.file.clone(), row)) {
                    clauses.lines().for_each(|line| push(text, format_args!("      {line}")));
                }
            }
            if let more @ 1.. = failures.len().saturating_sub(ROWS_SHOWN) {
                push(text, format_args!("      … and {more} more"));
            }
        }
        TestResult::Broken { problem } => {
            push(text, format_args!("  {YELLOW}! {name}{PLAIN}{}", line(problem.line)));
            if let Some(row) = &problem.row {
                push(text, format_args!("      {BOLD}{}{PLAIN}", clean(row)));
            }
            because(text, &problem.message, problem.help.as_deref());
        }
    }
}

fn difference(text: &mut String, failure: &Failure) {
    if !failure.row.is_empty() {
        push(text, format_args!("      {BOLD}{}{PLAIN}", clean(&failure.row)));
    }
    for (expected, got) in failure.expected.iter().zip(&failure.got) {
        push(text, format_args!("        expected    {GREEN}{}{PLAIN}", clean(expected)));
        push(text, format_args!("        got         {RED}{}{PLAIN}", clean(got)));
    }
    let Some(decision) = &failure.decision else { return };
    let compared = failure.got.iter().any(|words| words.starts_with("policies:"));
    let deciding = match decision.policies.as_slice() {
        [] => "no policy".to_owned(),
        ids => ids.join(", "),
    };
    if !compared {
        push(text, format_args!("        decided by  {}", clean(&deciding)));
    }
    for error in &decision.errors {
        push(text, format_args!("        error in    {}", clean(error)));
    }
}

/// A row as explanations name it.
pub(super) fn row_name(suite: &str, test: &str, row: &str) -> String {
    if row.is_empty() { format!("{suite}: {test}") } else { format!("{suite}: {test} ({row})") }
}

fn because(text: &mut String, message: &str, help: Option<&str>) {
    push(text, format_args!("      {}", clean(message)));
    if let Some(help) = help {
        push(text, format_args!("      {DIM}help:{PLAIN} {}", clean(help)));
    }
}

fn line(line: u64) -> String {
    if line == 0 { String::new() } else { format!("  {DIM}line {line}{PLAIN}") }
}

pub(super) fn counted(count: usize, one: &str) -> String {
    match (count, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {one}s"),
    }
}

/// A line more.
pub(super) fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{line}");
}

/// A decision with the policies that made it.
pub(super) fn side(side: &ComparedSide) -> String {
    match side.policies.as_slice() {
        [] => side.outcome.to_owned(),
        policies => format!("{} by {}", side.outcome, clean(&policies.join(", "))),
    }
}
