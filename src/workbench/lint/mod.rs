//! What is legal but most likely not meant. A rule is here only if it is right wherever it speaks: what it finds can be
//! read off the policy and the schema, without guessing.

mod bypass;
mod check;
mod names;
mod rules;

pub use rules::{RULES, Rule, Severity, page};

use super::case::KnownWorld;
use super::clauses::Anatomy;
use super::coverage::measure_of;
use super::reported::Reported;
use super::run::TestQuestions;
use crate::policy::Bundle;
use crate::policy::set::error::PolicyProblem;
use check::Checked;

/// Something that a rule found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The rule.
    pub rule: Rule,
    /// Where and what; never fatal.
    pub problem: PolicyProblem,
}

/// What lint looks at beside the policies.
#[derive(Debug, Default)]
pub struct LintInput<'l> {
    /// The rows of the tests, where there are tests.
    pub questions: Option<&'l TestQuestions>,
    /// What the gateway knows.
    pub known: Option<&'l KnownWorld>,
    /// The policies that findings are about.
    pub reported: Reported,
}

/// Asks every rule about every policy; the tests are asked when they are there.
pub fn lint(bundle: &Bundle, questions: Option<&TestQuestions>) -> Vec<Found> {
    lint_with(bundle, &LintInput { questions, ..LintInput::default() })
}

/// The same with everything that can be looked at. Findings come by severity, rule and place.
pub fn lint_with(bundle: &Bundle, input: &LintInput<'_>) -> Vec<Found> {
    let all: Vec<Checked<'_>> = Anatomy::all(bundle)
        .into_iter()
        .map(|(anatomy, info, compiled)| Checked { info, compiled, anatomy })
        .collect();
    let reported = || all.iter().filter(|one| input.reported.is_about(one.info));
    let mut found = Vec::new();
    for one in reported() {
        one.conditions(&mut found);
        one.annotations(&mut found);
        one.scope(bundle, &all, &mut found);
        bypass::check(one, bundle, &all, &mut found);
    }
    names::unknown(bundle, reported(), input, &mut found);
    names::other_file(bundle, reported(), &mut found);
    templates(bundle, &input.reported, &mut found);
    if let Some(questions) = input.questions {
        let coverage = measure_of(bundle, questions, &input.reported);
        let idle = coverage.policies.iter().filter(|policy| policy.held == 0);
        for policy in idle {
            if let Some(one) = all.iter().find(|one| one.info.id.as_ref() == policy.id) {
                let message = format!("no test in which `{}` holds", policy.id);
                found.push(one.found(rules::UNTESTED, message, one.anatomy.effect));
            }
        }
    }
    let rank = |rule: Rule| RULES.iter().position(|known| *known == rule);
    found.sort_by_key(|found| {
        let at = found.problem.spans.first().map(|(at, ..)| *at);
        (found.rule.severity, rank(found.rule), found.problem.file.clone(), at)
    });
    found
}

/// Templates that decide nothing.
fn templates(bundle: &Bundle, reported: &Reported, found: &mut Vec<Found>) {
    let linked = |id: &str| bundle.policies().any(|other| other.linked_from.as_deref() == Some(id));
    let templates = bundle.policies().filter(|info| info.is_template && !linked(&info.id));
    for info in templates.filter(|info| reported.is_about(info)) {
        let Some(source) = bundle.sources().iter().find(|source| source.path == info.file) else { continue };
        let problem = PolicyProblem::in_file(
            &source.path,
            &source.text,
            format!("nothing links the template `{}`", info.id),
        );
        let problem = problem
            .at(Some((info.offset, info.text().len()).into()), rules::UNLINKED.id)
            .with_advice(rules::UNLINKED.help)
            .about(&info.id)
            .into_warning();
        found.push(Found { rule: rules::UNLINKED, problem });
    }
}
