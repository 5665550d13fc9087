//! One test: its rows, asked and compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::questions::{Expected, Question, Recorder};
use super::{Failure, Got, Settings, TestReport, TestResult, report::SuiteProblem};
use crate::model::{EntityUid, Outcome, ReasonCode};
use crate::policy::{Bundle, Query, Verdict};
use crate::workbench::case::{
    CaseError, Expect, FixtureFile, Located, Request, Row, SchemaNames, Search, SuiteFile, TestCase, World,
    rows, shorthand,
};

/// Runs the tests of one suite.
pub(super) struct Runner<'b> {
    bundle: &'b Bundle,
    schema_names: SchemaNames<'b>,
    world: World<'b>,
    policies: BTreeSet<String>,
}

impl<'b> Runner<'b> {
    /// Sets up the suite's world; `fixture` gives the text of a fixture file.
    pub(super) fn new(
        bundle: &'b Bundle,
        suite: &SuiteFile,
        settings: &Settings,
        fixture: impl Fn(&str) -> Result<String, CaseError>,
    ) -> Result<Self, Located> {
        let schema_names = SchemaNames::new(bundle.schema().as_ref());
        let mut world = World::new(bundle).in_gateway(settings.known.clone());
        world.name(&settings.also_named);
        if let Some(now) = &suite.now {
            world.set_now(now)?;
        }
        let no_row = Row::default();
        for name in &suite.fixtures {
            let line = name.referenced.line();
            let text = fixture(&name.value).map_err(|error| Located::at(line, error))?;
            let failed = |inner: Located| {
                let why = format!("line {}: {}", inner.line, inner.error);
                Located::at(line, CaseError::Fixture { name: name.value.clone(), why })
            };
            let shared = FixtureFile::parse(&text).map_err(failed)?;
            world.add(&shared.entities, &no_row).map_err(failed)?;
        }
        world.add(&suite.entities, &no_row)?;
        world.check_complete()?;
        check_names(suite)?;
        let policies = bundle.policies().map(|policy| policy.id.to_string()).collect();
        Ok(Self { bundle, schema_names, world, policies })
    }

    /// The names of the entities that the suite lists.
    pub(super) fn names(&self) -> impl Iterator<Item = &EntityUid> {
        self.world.names()
    }

    /// Runs one test.
    pub(super) fn test(&self, test: &Spanned<TestCase>, recorder: Option<Recorder<'_>>) -> TestReport {
        let line = test.referenced.line();
        let mut notes = Notes {
            decided_by: BTreeSet::new(),
            test: test.value.name.clone(),
            line,
            row: String::new(),
            recorder,
        };
        let (rows, result) = match self.rows(&test.value, line, &mut notes) {
            Ok((rows, failures)) if failures.is_empty() => (rows, TestResult::Passed),
            Ok((rows, failures)) => (rows, TestResult::Failed { failures }),
            Err(problem) => (0, TestResult::Broken { problem }),
        };
        TestReport { name: test.value.name.clone(), line, rows, decided_by: notes.decided_by, result }
    }

    fn rows(
        &self,
        test: &TestCase,
        line: u64,
        notes: &mut Notes<'_>,
    ) -> Result<(usize, Vec<Failure>), SuiteProblem> {
        let broken = |error| SuiteProblem::from(Located::at(line, error));
        let rows = rows(test.matrix.as_ref()).map_err(broken)?;
        let mut failures = Vec::new();
        for row in &rows {
            let label = row.label();
            notes.row.clone_from(&label);
            let in_row = |located: Located| {
                let row = (!label.is_empty()).then(|| label.clone());
                let mut problem = SuiteProblem::from(located);
                problem.row = row;
                problem
            };
            let failure = self.row(test, row, line, notes).map_err(in_row)?;
            failures.extend(failure.map(|failure| Failure { row: label.clone(), ..failure }));
            if let Some(name) = row.unused() {
                return Err(broken(CaseError::UnusedVariable(name)));
            }
        }
        Ok((rows.len(), failures))
    }

    fn row(
        &self,
        test: &TestCase,
        row: &Row,
        line: u64,
        notes: &mut Notes<'_>,
    ) -> Result<Option<Failure>, Located> {
        let mut extended = None;
        if !test.entities.is_empty() {
            let world = extended.insert(self.world.clone());
            world.add(&test.entities, row)?;
            world.check_complete()?;
            if let Some(recorder) = &mut notes.recorder {
                recorder.list(world.names());
            }
        }
        let world = extended.as_ref().unwrap_or(&self.world);
        let failure = match (&test.request, &test.search) {
            (Some(request), None) => self.request(world, request, &test.expect, row, notes),
            (None, Some(search)) => self.search(world, search, &test.expect, row, notes),
            (None, None) | (Some(_), Some(_)) => Err(CaseError::RequestOrSearch),
        };
        failure.map_err(|error| Located::at(line, error))
    }

    fn request(
        &self,
        world: &World<'_>,
        request: &Request,
        expect: &Expect,
        row: &Row,
        notes: &mut Notes<'_>,
    ) -> Result<Option<Failure>, CaseError> {
        let wanted = Wanted::read(expect, row, &self.policies)?;
        let principal = world.listed(&row.text(&request.principal)?)?;
        let action = self.schema_names.action(&row.text(&request.action)?)?;
        let resource = world.listed(&row.text(&request.resource)?)?;
        let query = world.query(&principal, &action, &resource, &row.map(&request.context)?)?;
        let verdict = self.bundle.decide(&query);
        if verdict.reason == ReasonCode::SchemaMismatch && wanted.outcome != Outcome::DenyError {
            return Err(mismatch(&verdict));
        }
        let got = got(&verdict);
        notes.decided_by.extend(got.policies.iter().cloned());
        let failure = wanted.compare(&verdict, got);
        notes.record(self.bundle, [query], Expected::Verdict(wanted));
        Ok(failure)
    }

    fn search(
        &self,
        world: &World<'_>,
        search: &Search,
        expect: &Expect,
        row: &Row,
        notes: &mut Notes<'_>,
    ) -> Result<Option<Failure>, CaseError> {
        let Some(exactly) = &expect.exactly else {
            return Err(CaseError::Expectation("a search expects `exactly: [...]`"));
        };
        if expect.outcome.is_some() || expect.policies.is_some() || expect.errors.is_some() {
            return Err(CaseError::Expectation("a search expects `exactly` and nothing else"));
        }
        let wanted: BTreeSet<EntityUid> =
            exactly.iter().map(|name| world.listed(&row.text(name)?)).collect::<Result<_, _>>()?;
        let principal = world.listed(&row.text(&search.principal)?)?;
        let action = self.schema_names.action(&row.text(&search.action)?)?;
        let type_name = self.schema_names.entity_type(&row.text(&search.resource)?)?;
        let context = row.map(&search.context)?;
        let mut found = BTreeSet::new();
        let mut queries = Vec::new();
        for resource in world.of_type(&type_name) {
            let action = self.action_on(&action, &resource)?;
            let query = world.query(&principal, &action, &resource, &context)?;
            let verdict = self.bundle.decide(&query);
            queries.push(query);
            notes.decided_by.extend(got(&verdict).policies);
            match verdict.outcome {
                Outcome::Allow => drop(found.insert(resource)),
                _ if verdict.reason == ReasonCode::SchemaMismatch => return Err(mismatch(&verdict)),
                _ => {}
            }
        }
        let failure = (wanted != found).then(|| Failure {
            row: String::new(),
            expected: vec![names(&wanted)],
            got: vec![names(&found)],
            decision: None,
        });
        notes.record(self.bundle, queries, Expected::Search(wanted));
        Ok(failure)
    }

    /// In a group that has one action a resource (`tool:call`), the one that is named like the resource.
    fn action_on(&self, action: &EntityUid, resource: &EntityUid) -> Result<EntityUid, CaseError> {
        if self.schema_names.context(action).is_some() {
            return Ok(action.clone());
        }
        let own = EntityUid::new(action.type_name(), resource.id());
        match self.schema_names.is_member(&own, action) {
            true => Ok(own),
            false => Err(CaseError::Group(action.id().to_owned())),
        }
    }
}

/// What is noted while a test runs.
struct Notes<'r> {
    decided_by: BTreeSet<String>,
    test: String,
    line: u64,
    row: String,
    recorder: Option<Recorder<'r>>,
}

impl Notes<'_> {
    /// Keeps a row, so that it can be asked again. A request that does not fit the schema never reaches a policy.
    fn record(&mut self, bundle: &Bundle, queries: impl IntoIterator<Item = Query>, expected: Expected) {
        let Some(recorder) = &mut self.recorder else { return };
        let questions: Vec<Question> =
            queries.into_iter().filter_map(|query| Question::new(bundle, query)).collect();
        if !questions.is_empty() {
            recorder.keep(&self.test, self.line, &self.row, questions, expected);
        }
    }
}

fn check_names(suite: &SuiteFile) -> Result<(), Located> {
    let mut seen = BTreeMap::new();
    for test in &suite.tests {
        if seen.insert(test.value.name.as_str(), ()).is_some() {
            let error = CaseError::DuplicateTest(test.value.name.clone());
            return Err(Located::at(test.referenced.line(), error));
        }
    }
    Ok(())
}

fn mismatch(verdict: &Verdict) -> CaseError {
    CaseError::Mismatch(verdict.mismatch.as_deref().unwrap_or_default().to_owned())
}

fn names(uids: &BTreeSet<EntityUid>) -> String {
    let names: Vec<String> = uids.iter().map(shorthand).collect();
    format!("exactly [{}]", names.join(", "))
}

/// What a row has to come to.
#[derive(Debug, Clone)]
pub(in crate::workbench) struct Wanted {
    outcome: Outcome,
    policies: Option<BTreeSet<String>>,
    errors: usize,
}

impl Wanted {
    fn read(expect: &Expect, row: &Row, known: &BTreeSet<String>) -> Result<Self, CaseError> {
        if expect.exactly.is_some() {
            return Err(CaseError::Expectation("`exactly` goes with a search"));
        }
        let Some(outcome) = &expect.outcome else {
            return Err(CaseError::Expectation("a request expects an `outcome`"));
        };
        let outcome = outcome_of(&row.text(outcome)?)?;
        let mut policies = None;
        for id in expect.policies.iter().flatten() {
            let id = row.text(id)?;
            if !known.contains(&id) {
                return Err(CaseError::unknown("policy", &id, known.iter().map(String::as_str)));
            }
            policies.get_or_insert_with(BTreeSet::new).insert(id);
        }
        if expect.policies.is_some() {
            policies.get_or_insert_with(BTreeSet::new);
        }
        Ok(Self { outcome, policies, errors: expect.errors.unwrap_or(0) })
    }

    /// Whether a verdict is what was wanted.
    pub(super) fn fits(&self, verdict: &Verdict) -> bool {
        self.compare(verdict, got(verdict)).is_none()
    }

    fn compare(&self, verdict: &Verdict, got: Got) -> Option<Failure> {
        let mut expected_words = Vec::new();
        let mut got_words = Vec::new();
        let mut differs = |expected: String, found: String| {
            expected_words.push(expected);
            got_words.push(found);
        };
        if verdict.outcome != self.outcome {
            differs(self.outcome.as_str().to_owned(), got.outcome.to_owned());
        }
        if let Some(wanted) = &self.policies {
            let found: BTreeSet<String> = got.policies.iter().cloned().collect();
            if *wanted != found {
                differs(list("policies", wanted), list("policies", &found));
            }
        }
        // A request that does not fit is an error of its own, and was asked for by `deny_error`.
        if verdict.reason != ReasonCode::SchemaMismatch && verdict.errors.len() != self.errors {
            differs(format!("errors: {}", self.errors), format!("errors: {}", verdict.errors.len()));
        }
        (!expected_words.is_empty()).then_some(Failure {
            row: String::new(),
            expected: expected_words,
            got: got_words,
            decision: Some(got),
        })
    }
}

fn list(what: &str, ids: &BTreeSet<String>) -> String {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    format!("{what}: [{}]", ids.join(", "))
}

fn outcome_of(text: &str) -> Result<Outcome, CaseError> {
    const OUTCOMES: [Outcome; 4] =
        [Outcome::Allow, Outcome::DenyExplicit, Outcome::DenyDefault, Outcome::DenyError];
    OUTCOMES
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| CaseError::unknown("outcome", text, OUTCOMES.map(Outcome::as_str)))
}

fn got(verdict: &Verdict) -> Got {
    Got {
        outcome: verdict.outcome.as_str(),
        policies: verdict.deciding().map(|policy| policy.id.to_string()).collect(),
        errors: verdict.errors.iter().map(|fault| format!("{}: {}", fault.policy, fault.message)).collect(),
    }
}
