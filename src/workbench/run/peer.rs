//! Cedar's own JSON test cases (`cedar run-tests`), so that a team that has some keeps them.
//!
//! A file is a list of `{name?, request: {principal, action, resource, context?}, entities, decision, reason,
//! num_errors}`. Expected is what Cedar itself answers: a forbid that errs is left out, and the run says so.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::questions::{Expected, Question, Recorder, TestQuestions};
use super::report::SuiteProblem;
use super::{Failure, Got, Settings, SuiteReport, TestReport, TestResult};
use crate::policy::{Bundle, EntityCheck, JsonNames};
use crate::workbench::case::{CaseError, Located, SchemaNames};

/// The most bytes of one file.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerCase {
    #[serde(default)]
    name: Option<String>,
    request: PeerRequest,
    entities: Json,
    decision: PeerDecision,
    reason: Vec<String>,
    num_errors: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PeerRequest {
    principal: String,
    action: String,
    resource: String,
    #[serde(default)]
    context: Option<Json>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PeerDecision {
    Allow,
    Deny,
}

impl PeerDecision {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Runs one file.
pub(super) fn run_file(
    bundle: &Bundle,
    settings: &Settings,
    file: &str,
    text: &str,
    mut questions: Option<&mut TestQuestions>,
) -> SuiteReport {
    let mut report =
        SuiteReport { file: file.to_owned(), suite: file.to_owned(), problem: None, tests: Vec::new() };
    match read(text) {
        Ok(cases) => {
            let named = cases.iter().enumerate().map(|(index, case)| {
                (case.name.clone().unwrap_or_else(|| format!("case {}", index + 1)), case)
            });
            let wanted = named.filter(|(name, _)| settings.wants(file, name));
            for (name, case) in wanted {
                let recorder =
                    questions.as_deref_mut().map(|questions| Recorder { file, suite: file, questions });
                report.tests.push(test(bundle, name, case, recorder));
            }
        }
        Err(problem) => report.problem = Some(problem.into()),
    }
    report
}

fn read(text: &str) -> Result<Vec<PeerCase>, Located> {
    if text.len() > MAX_BYTES {
        return Err(Located::at(0, CaseError::TooLarge { bytes: text.len(), limit: MAX_BYTES }));
    }
    crate::json::parse_as(text.as_bytes()).map_err(|error| {
        let line = u64::try_from(error.line()).unwrap_or(0);
        Located::at(line, CaseError::Shape(error.to_string()))
    })
}

fn test(bundle: &Bundle, name: String, case: &PeerCase, recorder: Option<Recorder<'_>>) -> TestReport {
    let mut decided_by = BTreeSet::new();
    let result = match compare(bundle, case, &name, &mut decided_by, recorder) {
        Ok(None) => TestResult::Passed,
        Ok(Some(failure)) => TestResult::Failed { failures: vec![failure] },
        Err(error) => TestResult::Broken { problem: SuiteProblem::from(Located::at(0, error)) },
    };
    TestReport { name, line: 0, rows: 1, decided_by, result }
}

fn compare(
    bundle: &Bundle,
    case: &PeerCase,
    name: &str,
    decided_by: &mut BTreeSet<String>,
    recorder: Option<Recorder<'_>>,
) -> Result<Option<Failure>, CaseError> {
    let expected: BTreeSet<String> = case.reason.iter().cloned().collect();
    let unknown = expected.iter().find(|id| bundle.policy(id).is_none());
    if let Some(id) = unknown {
        let known = bundle.policies().map(|policy| policy.id.as_ref());
        return Err(CaseError::unknown("policy", id, known));
    }
    let schema_names = SchemaNames::new(bundle.schema().as_ref());
    let principal = schema_names.entity(&case.request.principal)?;
    let action = schema_names.action(&case.request.action)?;
    let resource = schema_names.entity(&case.request.resource)?;
    let named = |uid: &crate::model::EntityUid| json!({ "type": uid.type_name(), "id": uid.id() });
    let (principal, action, resource) = (named(&principal), named(&action), named(&resource));
    let names = JsonNames { principal: &principal, action: &action, resource: &resource };
    let mismatch = |error: crate::policy::RequestJsonError| CaseError::Mismatch(error.to_string());
    let entities =
        bundle.entities_from_json(&case.entities.to_string(), EntityCheck::Schema).map_err(mismatch)?;
    let context = case.request.context.clone().unwrap_or_else(|| json!({}));
    let query = bundle.query_from_json(&names, context, &entities, EntityCheck::Schema).map_err(mismatch)?;
    let answer = bundle.decide_as_cedar(&query);
    if let Some(mut recorder) = recorder {
        let expected = Expected::Cedar {
            allow: case.decision == PeerDecision::Allow,
            reasons: expected.clone(),
            errors: case.num_errors,
        };
        let question = Question { query: None, prepared: query.into_prepared() };
        recorder.keep(name, 0, "", vec![question], expected);
    }
    decided_by.extend(answer.reasons.iter().cloned());
    let decision = if answer.allow { PeerDecision::Allow } else { PeerDecision::Deny };
    let mut words = Vec::new();
    if decision != case.decision {
        words.push((case.decision.as_str().to_owned(), decision.as_str().to_owned()));
    }
    if answer.reasons != expected {
        words.push((format!("reason: {expected:?}"), format!("reason: {:?}", answer.reasons)));
    }
    if answer.errors.len() != case.num_errors {
        words.push((format!("errors: {}", case.num_errors), format!("errors: {}", answer.errors.len())));
    }
    let (expected, got): (Vec<String>, Vec<String>) = words.into_iter().unzip();
    Ok((!expected.is_empty()).then(|| Failure {
        row: String::new(),
        expected,
        got,
        decision: Some(Got {
            outcome: decision.as_str(),
            policies: answer.reasons.into_iter().collect(),
            errors: answer.errors.into_iter().collect(),
        }),
    }))
}
