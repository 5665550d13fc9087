//! The tests, ready to be put to one changed policy after the other.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Validator;

use super::Mutant;
use super::compile::Target;
use super::operators::{Edit, Touches};
use crate::policy::Bundle;
use crate::policy::engine::compiled::CompiledPolicy;
use crate::policy::engine::evaluate::{Answer, Asked, evaluate};
use crate::policy::engine::request::Prepared;
use crate::workbench::coverage::{Coverage, PolicyCoverage, covers};
use crate::workbench::run::{TestQuestions, TestRow};

/// What came of a change.
pub(super) enum MutantResult<'t> {
    Killed,
    Survived(Box<Survivor<'t>>),
    Invalid,
    Equivalent,
    ProvenEquivalent,
}

impl<'t> MutantResult<'t> {
    pub(super) fn survivor(&self) -> Option<&Survivor<'t>> {
        match self {
            Self::Survived(survivor) => Some(survivor),
            Self::Killed | Self::Invalid | Self::Equivalent | Self::ProvenEquivalent => None,
        }
    }
}

/// A change that no test noticed.
pub(super) struct Survivor<'t> {
    pub(super) target: &'t Target<'t>,
    /// The changed policies; none when the policy was removed.
    pub(super) changed: Vec<CompiledPolicy>,
    pub(super) mutant: Mutant,
    /// The row in which the policy answered otherwise without the test noticing.
    pub(super) unnoticed: Option<usize>,
}

/// The tests with the answers that the unchanged policies give.
pub(super) struct MutationRun<'b> {
    pub(super) bundle: &'b Bundle,
    coverage: BTreeMap<&'b str, &'b PolicyCoverage>,
    pub(super) rows: Vec<(&'b TestRow, Vec<Answer<'b>>)>,
}

impl<'b> MutationRun<'b> {
    pub(super) fn new(bundle: &'b Bundle, questions: &'b TestQuestions, coverage: &'b Coverage) -> Self {
        let answer = |test_row: &'b TestRow| {
            let asked = test_row.questions.iter().map(|question| &question.prepared);
            asked.map(|prepared| bundle.answer(&prepared.request, &prepared.entities)).collect()
        };
        let rows = questions.test_rows.iter().map(|test_row| (test_row, answer(test_row))).collect();
        let coverage = coverage.policies.iter().map(|policy| (policy.id.as_str(), policy)).collect();
        Self { bundle, coverage, rows }
    }

    pub(super) fn result_of<'t>(
        &self,
        validator: &Validator,
        target: &'t Target<'t>,
        edit: &Edit,
    ) -> MutantResult<'t> {
        let Some(changed) = target.changed(validator, edit) else { return MutantResult::Invalid };
        if self.is_equal(&target.members, &changed) {
            return MutantResult::Equivalent;
        }
        let reached = self.reaches(target, edit);
        let mut unnoticed = None;
        if reached {
            for (number, (test_row, answers)) in self.rows.iter().enumerate() {
                if let Some(answers) = differing(test_row, answers, target, &changed) {
                    if !test_row.fits(self.bundle, &answers) {
                        return MutantResult::Killed;
                    }
                    unnoticed.get_or_insert(number);
                }
            }
        }
        let name = unnoticed.and_then(|number| self.rows.get(number)).map(|(test_row, _)| test_row.name());
        let mutant = mutant(target, edit, reached, name);
        MutantResult::Survived(Box::new(Survivor { target, changed, mutant, unnoticed }))
    }

    /// Whether the schema gives both the same meaning.
    fn is_equal(&self, before: &[&CompiledPolicy], after: &[CompiledPolicy]) -> bool {
        let words = self.bundle.schema_index();
        let equal = |one: &CompiledPolicy, other: &CompiledPolicy| {
            let conditions = match (&one.condition, &other.condition) {
                (None, None) => true,
                (Some(one), Some(other)) => one.eq_shape(other),
                (None, Some(_)) | (Some(_), None) => false,
            };
            conditions
                && one.effect == other.effect
                && covers(&one.scope, &other.scope, words)
                && covers(&other.scope, &one.scope, words)
        };
        before.len() == after.len() && before.iter().zip(after).all(|(one, other)| equal(one, other))
    }

    /// Whether any test evaluates what was changed.
    fn reaches(&self, target: &Target<'_>, edit: &Edit) -> bool {
        target.members.iter().filter_map(|member| self.coverage.get(member.id.as_ref())).any(|policy| {
            let evaluated = |leaf: usize| {
                let mut leaves = policy.parts.iter().filter(|part| !part.kind.is_scope());
                leaves.nth(leaf).is_some_and(|part| part.seen_true + part.seen_false + part.errors > 0)
            };
            match edit.touches {
                Touches::Policy => policy.in_scope > 0,
                Touches::Scope(_) => policy.in_scope > 0 || kept_out(policy),
                Touches::Leaf(leaf) => evaluated(leaf),
            }
        })
    }
}

fn kept_out(policy: &PolicyCoverage) -> bool {
    policy.parts.iter().any(|part| part.kind.is_scope() && part.seen_false > 0)
}

/// An answer with the changed policies in place of those that they were made of.
pub(super) fn replaced<'a>(
    prepared: &Prepared,
    answer: &Answer<'a>,
    target: &Target<'_>,
    changed: &'a [CompiledPolicy],
) -> Option<Answer<'a>> {
    let asked = Asked::of(&prepared.request, &prepared.entities)?;
    let in_scope: Vec<&CompiledPolicy> = changed.iter().filter(|policy| asked.in_scope(policy)).collect();
    let mut merged = match in_scope.is_empty() {
        true => Answer::default(),
        false => evaluate(&in_scope, prepared.request.clone(), &prepared.entities),
    };
    merged.held.extend(answer.held.iter().filter(|policy| !target.has(&policy.id)));
    merged.erred.extend(answer.erred.iter().filter(|(policy, _)| !target.has(&policy.id)).cloned());
    Some(merged)
}

/// The answers with the changed policies in place of the old ones, when any of them differs.
fn differing<'a>(
    test_row: &TestRow,
    answers: &[Answer<'a>],
    target: &Target<'_>,
    changed: &'a [CompiledPolicy],
) -> Option<Vec<Answer<'a>>> {
    let effect = |policies: &[&CompiledPolicy]| policies.first().map(|policy| policy.effect);
    let flipped = changed.first().is_some_and(|new| effect(&target.members) != Some(new.effect));
    let mut differs = false;
    let mut replaced_all = Vec::with_capacity(answers.len());
    for (question, answer) in test_row.questions.iter().zip(answers) {
        let merged = replaced(&question.prepared, answer, target, changed)?;
        let (before, after) = (own(answer, target), own(&merged, target));
        differs |= before != after || flipped && !before.is_empty();
        replaced_all.push(merged);
    }
    differs.then_some(replaced_all)
}

/// Which of the subject's policies held, and which erred.
fn own<'a>(answer: &'a Answer<'_>, target: &Target<'_>) -> BTreeSet<(&'a str, bool)> {
    let held = answer.held.iter().map(|policy| (policy.id.as_ref(), true));
    let erred = answer.erred.iter().map(|(policy, _)| (policy.id.as_ref(), false));
    held.chain(erred).filter(|(id, _)| target.has(id)).collect()
}

fn mutant(target: &Target<'_>, edit: &Edit, reached: bool, unnoticed_in: Option<String>) -> Mutant {
    let anatomy = &target.anatomy;
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
        policy: target.id.to_string(),
        file: anatomy.source.path.to_string(),
        line: anatomy.line(edit.span.start),
        operator: edit.operator.id,
        before: lines(part(start, end)),
        after: if edit.with.is_empty() && edit.span == anatomy.span { Vec::new() } else { lines(&after) },
        reached,
        unnoticed_in,
        hint: edit.operator.hint,
        sketch: None,
    }
}
