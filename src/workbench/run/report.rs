//! What came of the tests, for people and machines alike.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::PolicyVersion;
use crate::workbench::case::Located;

/// Everything that was run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The version of the policies that were tested.
    pub policy_version: PolicyVersion,
    /// One a file, in the order of their names.
    pub suites: Vec<SuiteReport>,
}

/// One file.
#[derive(Debug, Serialize)]
pub struct SuiteReport {
    /// Where it came from.
    pub file: String,
    /// What it calls itself.
    pub suite: String,
    /// Why nothing in it could be run.
    pub problem: Option<SuiteProblem>,
    /// Its tests, in order.
    pub tests: Vec<TestReport>,
}

/// One test.
#[derive(Debug, Serialize)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// The line it starts in.
    pub line: u64,
    /// Rows of its matrix that were run; 1 without one.
    pub rows: usize,
    /// Policies that determined a decision in any of its rows.
    pub decided_by: BTreeSet<String>,
    /// What came of it.
    #[serde(flatten)]
    pub result: TestResult,
}

/// What came of a test.
#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum TestResult {
    /// Every row came out as expected.
    Passed,
    /// Some rows came out otherwise.
    Failed {
        /// Those rows.
        failures: Vec<Failure>,
    },
    /// The test means nothing as it stands.
    Broken {
        /// Why.
        problem: SuiteProblem,
    },
}

/// One row that came out otherwise.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// The row's values; empty without a matrix.
    pub row: String,
    /// What was expected, in words.
    pub expected: Vec<String>,
    /// What came out instead, in words, one for each of `expected`.
    pub got: Vec<String>,
    /// The decision, for requests.
    pub decision: Option<Got>,
}

/// A decision in a report.
#[derive(Debug, Serialize)]
pub struct Got {
    /// How it ended.
    pub outcome: &'static str,
    /// Policies that determined it.
    pub policies: Vec<String>,
    /// Policies that could not be evaluated, with the cause.
    pub errors: Vec<String>,
}

/// A mistake in a test file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SuiteProblem {
    /// The line, from 1; 0 for the whole file.
    pub line: u64,
    /// The matrix row, when it is about one.
    pub row: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What in the file it is about, as it stands there.
    #[serde(skip)]
    written: Option<String>,
}

impl SuiteProblem {
    /// The same at the line in which what it is about is written, in the test that begins in its line.
    pub(super) fn in_text(mut self, text: &str) -> Self {
        let Some(written) = self.written.as_deref().filter(|_| self.line > 0) else { return self };
        let first = usize::try_from(self.line).unwrap_or(usize::MAX).saturating_sub(1);
        let depth = |line: &str| line.len() - line.trim_start().len();
        let begin = text.lines().nth(first).map_or(0, depth);
        let is_name = |line: &str| line.trim_start().starts_with("- name:");
        // The next test begins where an item of the same depth does.
        let lines = text.lines().enumerate().skip(first);
        let mut test =
            lines.take_while(|(at, line)| *at == first || !(is_name(line) && depth(line) <= begin));
        let found = test.find(|(_, line)| !is_name(line) && has_word(line, written));
        if let Some((at, _)) = found {
            self.line = u64::try_from(at + 1).unwrap_or(self.line);
        }
        self
    }
}

/// Whether a word stands in the code of a line by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let code = line.split(" #").next().unwrap_or(line);
    code.match_indices(word).any(|(at, _)| {
        let before = code.get(..at).and_then(|text| text.chars().next_back());
        let after = code.get(at + word.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

impl From<Located> for SuiteProblem {
    fn from(located: Located) -> Self {
        Self {
            line: located.line,
            row: None,
            message: located.error.to_string(),
            help: located.error.help(),
            written: located.error.written().map(str::to_owned),
        }
    }
}

/// Counts for the last line.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests and files that are broken.
    pub broken: usize,
    /// Rows that were run.
    pub rows: usize,
}

impl Report {
    /// The counts.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for suite in &self.suites {
            summary.broken += usize::from(suite.problem.is_some());
            for test in &suite.tests {
                summary.rows += test.rows;
                match test.result {
                    TestResult::Passed => summary.passed += 1,
                    TestResult::Failed { .. } => summary.failed += 1,
                    TestResult::Broken { .. } => summary.broken += 1,
                }
            }
        }
        summary
    }
}
