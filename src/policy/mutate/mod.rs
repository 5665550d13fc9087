//! Whether the tests would notice a mistake: each policy is changed in small ways, one at a time, and every changed set
//! is put to the tests. What no test notices is a survivor.
//!
//! A changed policy is compiled and validated alone; then only its own part of each answer is evaluated anew, because
//! the other policies have not changed. What does not validate never goes live and is not counted.

mod operators;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use cedar_policy::{ValidationMode, Validator};
use cedar_policy_core::ast::PolicyID;
use cedar_policy_core::parser;
use serde::Serialize;

use operators::{Edit, Touches, edits};
pub use operators::{OPERATORS, Operator};

use super::Bundle;
use super::anatomy::Anatomy;
use super::coverage::{Coverage, PolicyCoverage, covers, measure, percent};
use super::evaluate::{Answer, evaluate};
use super::program::Compiled;
use super::run::{Exam, Exercise};
use crate::model::PolicyVersion;

/// What the tests noticed.
#[derive(Debug, Clone, Serialize)]
pub struct Mutation {
    /// The version of the policies.
    pub policy_version: PolicyVersion,
    /// The counts.
    pub summary: Summary,
    /// Changes that no test noticed, in the order of the files.
    pub survivors: Vec<Mutant>,
}

/// The counts.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Changes that could have gone live and mean something else.
    pub mutants: usize,
    /// Those that a test noticed.
    pub killed: usize,
    /// Those that no test noticed.
    pub survived: usize,
    /// Of the survivors, those in parts that no test reaches; they were not run.
    pub not_reached: usize,
    /// Changes that the schema refuses.
    pub invalid: usize,
    /// Changes that the schema gives the same meaning.
    pub equivalent: usize,
    /// Hundredths of the mutants that were killed.
    pub score: f64,
}

/// A change that no test noticed.
#[derive(Debug, Clone, Serialize)]
pub struct Mutant {
    /// The policy.
    pub policy: String,
    /// The file.
    pub file: String,
    /// The line the change starts in.
    pub line: usize,
    /// What was changed.
    pub operator: &'static str,
    /// The lines as they are.
    pub before: Vec<String>,
    /// The lines as they were changed; none when the policy was removed.
    pub after: Vec<String>,
    /// Whether a test reaches what was changed.
    pub reached: bool,
    /// The first row that a policy answered otherwise without the test noticing.
    pub unnoticed_in: Option<String>,
    /// What a test needs that notices it.
    pub hint: &'static str,
}

/// What came of a change.
enum Fate {
    Killed,
    Survived(Box<Mutant>),
    Invalid,
    Equivalent,
}

/// Changes every policy of `bundle` in every way, on `threads` threads; `step` is told the number of changes, then
/// called once for each.
pub fn mutate(bundle: &Bundle, exam: &Exam, threads: usize, step: &(dyn Fn(usize, bool) + Sync)) -> Mutation {
    let coverage = measure(bundle, exam);
    let policies: Vec<(Anatomy, &Compiled)> = Anatomy::all(bundle)
        .into_iter()
        .filter(|(_, info, _)| info.linked_from.is_none())
        .map(|(anatomy, _, compiled)| (anatomy, compiled))
        .collect();
    let tries: Vec<(&Anatomy, &Compiled, Edit)> = policies
        .iter()
        .flat_map(|(anatomy, compiled)| {
            edits(anatomy, bundle.words()).into_iter().map(move |edit| (anatomy, *compiled, edit))
        })
        .collect();
    step(tries.len(), false);
    let laboratory = Laboratory::new(bundle, exam, &coverage);
    let (next, fates) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(tries.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let validator = Validator::new(bundle.schema().clone());
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((anatomy, compiled, edit)) = tries.get(number) else { break };
                    let fate = laboratory.fate(&validator, anatomy, compiled, edit);
                    fates.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((number, fate));
                    step(1, true);
                }
            });
        }
    });
    let mut fates = fates.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    fates.sort_by_key(|(number, _)| *number);
    count(bundle, fates.into_iter().map(|(_, fate)| fate))
}

fn count(bundle: &Bundle, fates: impl Iterator<Item = Fate>) -> Mutation {
    let mut summary = Summary::default();
    let mut survivors = Vec::new();
    for fate in fates {
        match fate {
            Fate::Killed => summary.killed += 1,
            Fate::Survived(mutant) => survivors.push(*mutant),
            Fate::Invalid => summary.invalid += 1,
            Fate::Equivalent => summary.equivalent += 1,
        }
    }
    summary.survived = survivors.len();
    summary.not_reached = survivors.iter().filter(|mutant| !mutant.reached).count();
    summary.mutants = summary.killed + summary.survived;
    summary.score = percent(summary.killed, summary.mutants);
    Mutation { policy_version: bundle.version().clone(), summary, survivors }
}

/// The tests with the answers that the unchanged policies give.
struct Laboratory<'b> {
    bundle: &'b Bundle,
    coverage: BTreeMap<&'b str, &'b PolicyCoverage>,
    rows: Vec<(&'b Exercise, Vec<Answer<'b>>)>,
}

impl<'b> Laboratory<'b> {
    fn new(bundle: &'b Bundle, exam: &'b Exam, coverage: &'b Coverage) -> Self {
        let answer = |exercise: &'b Exercise| {
            let asked = exercise.questions.iter().map(|question| &question.prepared);
            asked.map(|prepared| bundle.answer(&prepared.request, &prepared.entities)).collect()
        };
        let rows = exam.exercises.iter().map(|exercise| (exercise, answer(exercise))).collect();
        let coverage = coverage.policies.iter().map(|policy| (policy.id.as_str(), policy)).collect();
        Self { bundle, coverage, rows }
    }

    fn fate(&self, validator: &Validator, anatomy: &Anatomy, compiled: &Compiled, edit: &Edit) -> Fate {
        let removed = edit.with.is_empty() && edit.span == anatomy.span;
        let changed = match removed {
            true => None,
            false => match compile(validator, anatomy, compiled, edit) {
                Some(changed) => Some(changed),
                None => return Fate::Invalid,
            },
        };
        if changed.as_ref().is_some_and(|changed| self.is_equal(compiled, changed)) {
            return Fate::Equivalent;
        }
        let survived = |reached, unnoticed_in| {
            Fate::Survived(Box::new(mutant(anatomy, compiled, edit, reached, unnoticed_in)))
        };
        if !self.reaches(compiled, edit) {
            return survived(false, None);
        }
        let mut unnoticed = None;
        for (exercise, answers) in &self.rows {
            if let Some(answers) = differing(exercise, answers, compiled, changed.as_ref()) {
                if !exercise.fits(self.bundle, &answers) {
                    return Fate::Killed;
                }
                unnoticed.get_or_insert_with(|| exercise.name());
            }
        }
        survived(true, unnoticed)
    }

    /// Whether the schema gives both the same meaning.
    fn is_equal(&self, one: &Compiled, other: &Compiled) -> bool {
        let conditions = match (&one.condition, &other.condition) {
            (None, None) => true,
            (Some(one), Some(other)) => one.eq_shape(other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        let words = self.bundle.words();
        conditions
            && one.effect == other.effect
            && covers(&one.scope, &other.scope, words)
            && covers(&other.scope, &one.scope, words)
    }

    /// Whether any test evaluates what was changed.
    fn reaches(&self, compiled: &Compiled, edit: &Edit) -> bool {
        let Some(policy) = self.coverage.get(compiled.id.as_ref()) else { return false };
        let evaluated = |leaf: usize| {
            let mut leaves = policy.parts.iter().filter(|part| !part.kind.is_scope());
            leaves.nth(leaf).is_some_and(|part| part.seen_true + part.seen_false + part.errors > 0)
        };
        match edit.touches {
            Touches::Policy => policy.in_scope > 0,
            Touches::Scope(_) => policy.in_scope > 0 || kept_out(policy),
            Touches::Leaf(leaf) => evaluated(leaf),
        }
    }
}

fn kept_out(policy: &PolicyCoverage) -> bool {
    policy.parts.iter().any(|part| part.kind.is_scope() && part.seen_false > 0)
}

/// The changed policy, when it fits the schema.
fn compile(validator: &Validator, anatomy: &Anatomy, compiled: &Compiled, edit: &Edit) -> Option<Compiled> {
    let file = &anatomy.source.text;
    let before = file.get(anatomy.span.start..edit.span.start)?;
    let after = file.get(edit.span.end..anatomy.span.end)?;
    let text = format!("{before}{}{after}", edit.with);
    let parsed = parser::parse_policy(Some(PolicyID::from_string(&compiled.id)), &text).ok()?;
    let mut set = cedar_policy_core::ast::PolicySet::new();
    set.add_static(parsed).ok()?;
    let policy = set.policies().next()?;
    let changed = Compiled::new(policy, compiled.mode, compiled.caller_text.as_ref().map(Arc::clone))?;
    let public = cedar_policy::PolicySet::from(set.clone());
    validator.validate(&public, ValidationMode::Strict).validation_passed().then_some(changed)
}

/// The answers with the changed policy in place of the old one, when any of them differs.
fn differing<'a>(
    exercise: &Exercise,
    answers: &[Answer<'a>],
    old: &Compiled,
    new: Option<&'a Compiled>,
) -> Option<Vec<Answer<'a>>> {
    let mut differs = false;
    let mut changed = Vec::with_capacity(answers.len());
    for (question, answer) in exercise.questions.iter().zip(answers) {
        let is_old = |policy: &Compiled| policy.id == old.id;
        let asked = question.asked()?;
        let fresh = match new.filter(|new| asked.in_scope(new)) {
            Some(new) => evaluate(&[new], &question.prepared.request, &question.prepared.entities),
            None => Answer::default(),
        };
        let held = answer.held.iter().any(|policy| is_old(policy));
        let erred = answer.erred.iter().any(|(policy, _)| is_old(policy));
        let flipped = new.is_some_and(|new| new.effect != old.effect) && (held || erred);
        differs |= flipped || held == fresh.held.is_empty() || erred == fresh.erred.is_empty();
        let mut merged = fresh;
        merged.held.extend(answer.held.iter().filter(|policy| !is_old(policy)));
        merged.erred.extend(answer.erred.iter().filter(|(policy, _)| !is_old(policy)).cloned());
        changed.push(merged);
    }
    differs.then_some(changed)
}

fn mutant(
    anatomy: &Anatomy,
    compiled: &Compiled,
    edit: &Edit,
    reached: bool,
    unnoticed_in: Option<String>,
) -> Mutant {
    let file = &anatomy.source.text;
    // Whole lines, so that the change reads like a diff.
    let start = file.get(..edit.span.start).and_then(|text| text.rfind('\n')).map_or(0, |at| at + 1);
    let end = file
        .get(edit.span.end..)
        .and_then(|text| text.find('\n'))
        .map_or(file.len(), |at| edit.span.end + at);
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    let part = |from: usize, to: usize| file.get(from..to).unwrap_or_default();
    let after = format!("{}{}{}", part(start, edit.span.start), edit.with, part(edit.span.end, end));
    Mutant {
        policy: compiled.id.to_string(),
        file: anatomy.source.path.to_string(),
        line: anatomy.line(edit.span.start),
        operator: edit.operator.id,
        before: lines(part(start, end)),
        after: if edit.with.is_empty() && edit.span == anatomy.span { Vec::new() } else { lines(&after) },
        reached,
        unnoticed_in,
        hint: edit.operator.hint,
    }
}
