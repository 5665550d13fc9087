//! Why a request is decided as it is: the policies that decided, those that came near, and what each of their parts
//! came to, with the values it looked at.

mod values;

use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use serde::Serialize;

use super::case::core_shorthand;
use super::clauses::{Anatomy, Leaf, Seen, code_line};
use super::coverage::matches;
use super::run::{Question, TestQuestions, TestRow};
use crate::model::{Outcome as Decided, PolicyMode};
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, Effect};
use crate::policy::engine::verdict::Verdict;
pub use values::Looked;
use values::looked_at;

/// Why one request is decided as it is.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `suite: test (row)`.
    pub test: String,
    /// The file it comes from.
    pub file: String,
    /// The line of the test, from 1; 0 when it comes from no test.
    pub line: u64,
    /// The principal of the request.
    pub principal: String,
    /// The action of the request.
    pub action: String,
    /// The resource of the request.
    pub resource: String,
    /// What is decided.
    pub outcome: &'static str,
    /// Why, in one word.
    pub reason: &'static str,
    /// Policies that decided.
    pub decided: Vec<Account>,
    /// Policies that did not, but would have if less had been otherwise. The nearest first.
    pub near: Vec<Account>,
    /// Policies that were not about the request at all.
    pub others: usize,
}

/// What a policy came to.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Whether it only watches.
    pub log_only: bool,
    /// The file it stands in.
    pub file: String,
    /// The line it starts in.
    pub line: usize,
    /// What it came to as a whole.
    pub result: PartOutcome,
    /// Its parts, in the order of the text.
    pub parts: Vec<PartAccount>,
}

/// What a policy or a part came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartOutcome {
    /// It held.
    True,
    /// It did not hold.
    False,
    /// It could not be evaluated.
    Error,
    /// An earlier part settled the matter.
    NotAsked,
}

/// What a part came to.
#[derive(Debug, Clone, Serialize)]
pub struct PartAccount {
    /// `principal`, `action`, `resource`, `when` or `unless`.
    pub kind: &'static str,
    /// Its text on one line.
    pub text: String,
    /// Its line.
    pub line: usize,
    /// What it came to.
    pub value: PartOutcome,
    /// Whether this part, as it came out, keeps the policy from holding.
    pub blocks: bool,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// What it looked at.
    pub looked_at: Vec<Looked>,
}

/// Explains every question of the exam; the rows of a search give one for each resource.
pub fn explain(bundle: &Bundle, questions: &TestQuestions) -> Vec<Explanation> {
    explain_rows(bundle, questions, &|_, _| true)
}

/// The same of the rows that are `wanted`, by file and name (`suite: test (row)`).
pub fn explain_rows(
    bundle: &Bundle,
    questions: &TestQuestions,
    wanted: &dyn Fn(&str, &str) -> bool,
) -> Vec<Explanation> {
    let program: Vec<(Anatomy, &CompiledPolicy)> =
        Anatomy::all(bundle).into_iter().map(|(anatomy, _, compiled)| (anatomy, compiled)).collect();
    let test_rows = questions.test_rows.iter();
    test_rows
        .filter(|row| wanted(&row.file, &row.name()))
        .flat_map(|test_row| test_row.questions.iter().map(move |question| (test_row, question)))
        .filter_map(|(test_row, question)| one(bundle, &program, test_row, question))
        .collect()
}

fn one(
    bundle: &Bundle,
    program: &[(Anatomy, &CompiledPolicy)],
    test_row: &TestRow,
    question: &Question,
) -> Option<Explanation> {
    let (request, entities) = (&question.prepared.request, &question.prepared.entities);
    let answer = bundle.answer(request, entities);
    let verdict = Verdict::of_answer(&answer, bundle.settings().on_policy_error);
    let asked = question.asked()?;
    let evaluator = Evaluator::new(request.clone(), entities, Extensions::all_available());
    let decides = |compiled: &CompiledPolicy| verdict.deciding().any(|policy| policy.id == compiled.id);
    let (mut decided, mut near, mut others) = (Vec::new(), Vec::new(), 0);
    for (anatomy, compiled) in program {
        let fits = matches(compiled, &asked);
        let missed = fits.iter().filter(|fits| !**fits).count();
        if missed > 1 {
            others += 1;
            continue;
        }
        let account = account(anatomy, compiled, fits, &evaluator);
        let blocked = account.parts.iter().filter(|part| part.blocks).count();
        // Out of scope by one element is near only for what would have permitted, with nothing else against it.
        let is_near = missed == 0
            || blocked == 1 && compiled.effect == Effect::Permit && verdict.outcome != Decided::Allow;
        match (decides(compiled), is_near) {
            (true, _) => decided.push(account),
            (false, true) => {
                // What could have turned the decision comes first.
                let turns = (compiled.effect == Effect::Forbid) == (verdict.outcome == Decided::Allow);
                near.push((!turns, missed, blocked, account));
            }
            (false, false) => others += 1,
        }
    }
    near.sort_by_key(|(aside, missed, blocked, _)| (*aside, *missed, *blocked));
    Some(Explanation {
        test: test_row.name(),
        file: test_row.file.clone(),
        line: test_row.line,
        principal: core_shorthand(asked.principal.uid),
        action: core_shorthand(asked.action.uid),
        resource: core_shorthand(asked.resource.uid),
        outcome: verdict.outcome.as_str(),
        reason: verdict.reason.as_str(),
        decided,
        near: near.into_iter().map(|(.., account)| account).collect(),
        others,
    })
}

/// A part of a condition, before the evaluation gets to it.
fn part_not_asked(anatomy: &Anatomy, leaf: &Leaf) -> PartAccount {
    PartAccount {
        kind: if leaf.is_when { "when" } else { "unless" },
        text: code_line(leaf.span.text(&anatomy.source.text)),
        line: anatomy.line(leaf.span.start),
        value: PartOutcome::NotAsked,
        blocks: false,
        error: None,
        looked_at: Vec::new(),
    }
}

fn account(
    anatomy: &Anatomy,
    compiled: &CompiledPolicy,
    fits: [bool; 3],
    evaluator: &Evaluator<'_>,
) -> Account {
    let text = &anatomy.source.text;
    let mut parts = Vec::new();
    for (element, fits) in anatomy.scope.iter().zip(fits).filter(|(element, _)| element.constrained) {
        parts.push(PartAccount {
            kind: element.position.as_str(),
            text: code_line(element.span.text(text)),
            line: anatomy.line(element.span.start),
            value: if fits { PartOutcome::True } else { PartOutcome::False },
            blocks: !fits,
            error: None,
            looked_at: Vec::new(),
        });
    }
    let first = parts.len();
    parts.extend(anatomy.leaves.iter().map(|leaf| part_not_asked(anatomy, leaf)));
    let holds = anatomy.evaluate(evaluator, &compiled.slots, &mut |number, seen| {
        let (Some(part), Some(leaf)) = (parts.get_mut(first + number), anatomy.leaves.get(number)) else {
            return;
        };
        (part.value, part.error) = match seen {
            Seen::True => (PartOutcome::True, None),
            Seen::False => (PartOutcome::False, None),
            Seen::Error(why) => (PartOutcome::Error, Some(why)),
        };
        part.looked_at = looked_at(&leaf.expr, evaluator, &compiled.slots);
    });
    // Evaluation stops at what settles it: the last part that was asked is the one that says no.
    if holds != Some(true)
        && let Some(last) = parts.iter_mut().skip(first).rfind(|part| part.value != PartOutcome::NotAsked)
    {
        last.blocks = true;
    }
    let result = match (fits == [true; 3], holds) {
        (true, None) => PartOutcome::Error,
        (true, Some(true)) => PartOutcome::True,
        _ => PartOutcome::False,
    };
    Account {
        id: compiled.id.to_string(),
        effect: compiled.effect.as_str(),
        log_only: compiled.mode == PolicyMode::LogOnly,
        file: anatomy.source.path.to_string(),
        line: anatomy.line(anatomy.effect.start),
        result,
        parts,
    }
}
