//! What is legal but most likely not meant. A rule is here only if it is right wherever it speaks: what it finds can be
//! read off the policy and the schema, without guessing.

mod check;
mod rules;

pub use rules::{RULES, Rule, page};

use super::clauses::Anatomy;
use super::coverage::measure;
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

/// Asks every rule about every policy; the tests are asked when they are there.
pub fn lint(bundle: &Bundle, questions: Option<&TestQuestions>) -> Vec<Found> {
    let checked: Vec<Checked<'_>> = Anatomy::all(bundle)
        .into_iter()
        .map(|(anatomy, info, compiled)| Checked { info, compiled, anatomy })
        .collect();
    let mut found = Vec::new();
    for one in &checked {
        one.conditions(&mut found);
        one.annotations(&mut found);
        one.scope(bundle, &checked, &mut found);
    }
    if let Some(questions) = questions {
        let coverage = measure(bundle, questions);
        let idle = coverage.policies.iter().filter(|policy| policy.held == 0);
        for policy in idle {
            if let Some(one) = checked.iter().find(|one| one.info.id.as_ref() == policy.id) {
                let message = format!("no test in which `{}` holds", policy.id);
                found.push(one.found(rules::UNTESTED, message, one.anatomy.effect));
            }
        }
    }
    found.sort_by_key(|found| {
        let at = found.problem.spans.first().map(|(at, ..)| *at);
        (found.problem.file.clone(), at, found.rule.id)
    });
    found
}
