//! The rows of all tests as questions that can be asked again: of the parts of a policy, of a changed policy, of
//! another version. What was expected stays with them, so that it can be told whether a test would fail.

use std::collections::BTreeSet;

use super::cases::Wanted;
use super::{Settings, Suites, examine};
use crate::model::{EntityUid, Outcome};
use crate::policy::engine::compiled::Effect;
use crate::policy::engine::evaluate::{Answer, Asked};
use crate::policy::engine::request::{Prepared, Query};
use crate::policy::engine::verdict::Verdict;
use crate::policy::set::bundle::Bundle;

/// All rows, in the order of the files.
#[derive(Debug, Default)]
pub struct TestQuestions {
    pub(in crate::workbench) test_rows: Vec<TestRow>,
    /// All entities that the tests list.
    pub(in crate::workbench) listed: BTreeSet<EntityUid>,
}

impl TestQuestions {
    /// Rows that ask a policy something.
    pub fn rows(&self) -> usize {
        self.test_rows.len()
    }

    /// Adds the rows of the shipped tests that pass beside these policies: what an own policy forbids may fail there.
    pub fn add_shipped(&mut self, bundle: &Bundle) {
        let (_, mut shipped) = examine(bundle, &Suites::shipped(), &Settings::default());
        shipped.test_rows.retain(|row| {
            let asked = row.questions.iter().map(|question| &question.prepared);
            let answers: Vec<_> =
                asked.map(|prepared| bundle.answer(&prepared.request, &prepared.entities)).collect();
            row.fits(bundle, &answers)
        });
        self.test_rows.append(&mut shipped.test_rows);
        self.listed.append(&mut shipped.listed);
    }

    /// Single questions; a search asks one for each resource.
    pub fn questions(&self) -> usize {
        self.test_rows.iter().map(|test_row| test_row.questions.len()).sum()
    }
}

/// One row of a test.
#[derive(Debug)]
pub(in crate::workbench) struct TestRow {
    pub(in crate::workbench) file: String,
    pub(in crate::workbench) suite: String,
    pub(in crate::workbench) test: String,
    pub(in crate::workbench) line: u64,
    /// The row's values; empty without a matrix.
    pub(in crate::workbench) row: String,
    pub(in crate::workbench) questions: Vec<Question>,
    pub(in crate::workbench) expected: Expected,
}

/// What a row is held against.
#[derive(Debug)]
pub(in crate::workbench) enum Expected {
    /// One verdict.
    Verdict(Wanted),
    /// The resources that are allowed.
    Search(BTreeSet<EntityUid>),
    /// What Cedar itself answers.
    Cedar { allow: bool, reasons: BTreeSet<String>, errors: usize },
}

/// One question, ready to be evaluated.
#[derive(Debug)]
pub(in crate::workbench) struct Question {
    /// As the model has it; none for a question that came as Cedar's JSON.
    pub(in crate::workbench) query: Option<Query>,
    pub(in crate::workbench) prepared: Prepared,
}

/// Keeps the rows of one file.
pub(super) struct Recorder<'r> {
    pub(super) file: &'r str,
    pub(super) suite: &'r str,
    pub(super) questions: &'r mut TestQuestions,
}

impl Recorder<'_> {
    pub(super) fn list<'u>(&mut self, names: impl Iterator<Item = &'u EntityUid>) {
        self.questions.listed.extend(names.cloned());
    }

    pub(super) fn keep(
        &mut self,
        test: &str,
        line: u64,
        row: &str,
        questions: Vec<Question>,
        expected: Expected,
    ) {
        self.questions.test_rows.push(TestRow {
            file: self.file.to_owned(),
            suite: self.suite.to_owned(),
            test: test.to_owned(),
            line,
            row: row.to_owned(),
            questions,
            expected,
        });
    }
}

impl Question {
    /// None for a question that does not fit the schema: no policy is asked about it.
    pub(in crate::workbench) fn new(bundle: &Bundle, query: Query) -> Option<Self> {
        let prepared = bundle.prepare(&query).ok()?;
        Some(Self { query: Some(query), prepared })
    }

    /// Its three names among its entities.
    pub(in crate::workbench) fn asked(&self) -> Option<Asked<'_>> {
        Asked::of(&self.prepared.request, &self.prepared.entities)
    }
}

impl TestRow {
    /// `suite: test`, with the row.
    pub(in crate::workbench) fn name(&self) -> String {
        match self.row.as_str() {
            "" => format!("{}: {}", self.suite, self.test),
            row => format!("{}: {} ({row})", self.suite, self.test),
        }
    }

    /// Whether these answers, one for each question, are what the test expects.
    pub(in crate::workbench) fn fits(&self, bundle: &Bundle, answers: &[Answer<'_>]) -> bool {
        let verdict = |answer: &Answer<'_>| Verdict::of_answer(answer, bundle.settings().on_policy_error);
        match &self.expected {
            Expected::Verdict(wanted) => answers.iter().all(|answer| wanted.fits(&verdict(answer))),
            Expected::Search(wanted) => {
                let asked = self.questions.iter().zip(answers);
                let allowed = asked.filter(|(_, answer)| verdict(answer).outcome == Outcome::Allow);
                let found: BTreeSet<EntityUid> = allowed
                    .filter_map(|(question, _)| question.query.as_ref().map(|query| query.resource.clone()))
                    .collect();
                found == *wanted
            }
            Expected::Cedar { allow, reasons, errors } => answers.iter().all(|answer| {
                let of = |effect: Effect| -> BTreeSet<String> {
                    let held = answer.held.iter().filter(|policy| policy.effect == effect);
                    held.map(|policy| policy.id.to_string()).collect()
                };
                let (permits, forbids) = (of(Effect::Permit), of(Effect::Forbid));
                let allowed = forbids.is_empty() && !permits.is_empty();
                let deciding = if forbids.is_empty() { permits } else { forbids };
                allowed == *allow && deciding == *reasons && answer.erred.len() == *errors
            }),
        }
    }
}
