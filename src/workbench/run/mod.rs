//! Runs policy tests: every row of every test against a bundle, offline.
//!
//! A test passes, fails (the policies decide otherwise than it says) or is broken (what it says means nothing).
//! A broken test never counts as passed, also where it expects an error.

mod cases;
mod peer;
mod questions;
mod report;
mod single;
mod suites;

use cases::Runner;
use questions::Recorder;
pub use questions::TestQuestions;
pub(super) use questions::{Question, TestRow};
pub use report::{Failure, Got, Report, SuiteReport, Summary, TestReport, TestResult};
pub use single::SingleRequest;
pub use suites::{Promises, Suites, SuitesError};

use super::case::{KnownWorld, Located, SuiteFile};
use crate::model::EntityUid;
use crate::policy::Bundle;

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Only tests whose `suite: name` contains this text.
    pub filter: Option<String>,
    /// Entities that other policies name, of which the questions will be asked as well
    /// ([`Bundle::named_anywhere`]).
    pub also_named: Vec<EntityUid>,
    /// The gateway whose world the tests stand in; `None`: what they do not say is neutral.
    pub known: Option<KnownWorld>,
}

/// Runs `suites` against `bundle`.
pub fn run(bundle: &Bundle, suites: &Suites, settings: &Settings) -> Report {
    let reports = suites.files().map(|(file, text)| run_file(bundle, suites, settings, file, text, None));
    Report { policy_version: bundle.version().clone(), suites: reports.collect() }
}

/// The same, keeping every row that was asked.
pub fn examine(bundle: &Bundle, suites: &Suites, settings: &Settings) -> (Report, TestQuestions) {
    let mut questions = TestQuestions::default();
    let mut reports = Vec::new();
    for (file, text) in suites.files() {
        reports.push(run_file(bundle, suites, settings, file, text, Some(&mut questions)));
    }
    (Report { policy_version: bundle.version().clone(), suites: reports }, questions)
}

fn run_file(
    bundle: &Bundle,
    suites: &Suites,
    settings: &Settings,
    file: &str,
    text: &str,
    mut questions: Option<&mut TestQuestions>,
) -> SuiteReport {
    let broken = |suite: String, problem: Located| SuiteReport {
        file: file.to_owned(),
        suite,
        problem: Some(problem.into()),
        tests: Vec::new(),
    };
    if file.ends_with(".json") {
        return peer::run_file(bundle, settings, file, text, questions);
    }
    let suite = match SuiteFile::parse(text) {
        Ok(suite) => suite,
        Err(problem) => return broken(file.to_owned(), problem),
    };
    let runner = match Runner::new(bundle, &suite, settings, |fixture| suites.fixture(file, fixture)) {
        Ok(runner) => runner,
        Err(problem) => return broken(suite.suite, problem),
    };
    if let Some(questions) = &mut questions {
        questions.listed.extend(runner.names().cloned());
    }
    let mut tests = Vec::new();
    for test in suite.tests.iter().filter(|test| settings.wants(&suite.suite, &test.value.name)) {
        let recorder =
            questions.as_deref_mut().map(|questions| Recorder { file, suite: &suite.suite, questions });
        let mut report = runner.test(test, recorder);
        if let TestResult::Broken { problem } = report.result {
            report.result = TestResult::Broken { problem: problem.in_text(text) };
        }
        tests.push(report);
    }
    SuiteReport { file: file.to_owned(), suite: suite.suite.clone(), problem: None, tests }
}

impl Settings {
    /// Whether a test passes the filter.
    pub(super) fn wants(&self, suite: &str, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| format!("{suite}: {name}").contains(filter))
    }
}
