//! What the tests have seen of each policy, part by part.
//!
//! A part of a clause is covered when it was seen true and seen false. An element of a scope is covered when it was
//! seen to match, and when it was seen to be the one element that keeps a request out: that another element did not
//! match says nothing about this one. Parts are evaluated in the language's order and only as far as it goes, so with
//! every part covered, every `&&`, `||`, `when` and `unless` was seen both ways as well.

mod implied;
#[cfg(test)]
mod tests;

use cedar_policy_core::evaluator::Evaluator;
use cedar_policy_core::extensions::Extensions;
use serde::Serialize;

pub(crate) use implied::{admits_nothing, covers, covers_somewhere, implied, may_match};

use super::clauses::{Anatomy, Position, Seen, code_line, place};
use super::reported::Reported;
use super::run::{Question, TestQuestions};
use crate::model::PolicyVersion;
use crate::policy::Bundle;
use crate::policy::engine::compiled::{CompiledPolicy, Effect};
use crate::policy::engine::evaluate::Asked;

/// What the tests have seen.
#[derive(Debug, Clone, Serialize)]
pub struct Coverage {
    /// The version of the policies.
    pub policy_version: PolicyVersion,
    /// The counts over all policies.
    pub summary: Count,
    /// Rows of tests that asked a policy.
    pub rows: usize,
    /// Policies that came with the program and were not measured.
    pub left_out: usize,
    /// One a policy, in the order of the files.
    pub policies: Vec<PolicyCoverage>,
}

/// How much was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Count {
    /// Ways that a part can come out.
    pub points: usize,
    /// Those that were seen.
    pub covered: usize,
    /// Hundredths of the points; 100 where there is none.
    pub percent: f64,
}

/// What the tests have seen of one policy.
#[derive(Debug, Clone, Serialize)]
pub struct PolicyCoverage {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The file it stands in.
    pub file: String,
    /// The line it starts in.
    pub line: usize,
    /// Its counts.
    pub summary: Count,
    /// Questions that its scope matched.
    pub in_scope: usize,
    /// Questions for which it held.
    pub held: usize,
    /// Its parts, in the order of the text.
    pub parts: Vec<Part>,
}

/// A part of a policy.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// Where it belongs.
    pub kind: PartKind,
    /// Its text on one line.
    pub text: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Its first byte in the file.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// How often it was true; for a scope, matched together with the rest.
    pub seen_true: usize,
    /// How often it was false; for a scope, was alone in not matching.
    pub seen_false: usize,
    /// How often it could not be evaluated.
    pub errors: usize,
    /// Whether the schema leaves no request in which it does not match.
    pub implied: bool,
}

/// Where a part belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// The principal of the scope.
    Principal,
    /// The action of the scope.
    Action,
    /// The resource of the scope.
    Resource,
    /// A condition that has to hold.
    When,
    /// A condition that must not hold.
    Unless,
}

impl PartKind {
    /// Whether it belongs to the scope.
    pub fn is_scope(self) -> bool {
        matches!(self, Self::Principal | Self::Action | Self::Resource)
    }
}

impl Count {
    fn of<'p>(parts: impl Iterator<Item = &'p Part>) -> Self {
        let (points, covered) = parts.fold((0, 0), |(points, covered), part| {
            (points + part.points(), covered + part.points() - part.gaps().len())
        });
        Self { points, covered, percent: percent(covered, points) }
    }
}

/// Hundredths, 100 of nothing.
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of policies are far below 2^52")]
    let (part, whole) = (part as f64, whole as f64);
    if whole == 0.0 { 100.0 } else { part * 100.0 / whole }
}

impl Part {
    /// Ways it can come out.
    pub fn points(&self) -> usize {
        if self.implied { 1 } else { 2 }
    }

    /// What was not seen of it, in words.
    pub fn gaps(&self) -> Vec<&'static str> {
        let scope = self.kind.is_scope();
        let mut gaps = Vec::new();
        if self.seen_true == 0 {
            gaps.push(if scope { "never matched" } else { "never true" });
        }
        if self.seen_false == 0 && !self.implied {
            gaps.push(if scope { "never the only element that excludes a request" } else { "never false" });
        }
        gaps
    }
}

/// Measures what the questions of `questions` see of the policies of `bundle`.
pub fn measure(bundle: &Bundle, questions: &TestQuestions) -> Coverage {
    measure_of(bundle, questions, &Reported::all())
}

/// The same of the policies that are `reported`.
pub fn measure_of(bundle: &Bundle, questions: &TestQuestions, reported: &Reported) -> Coverage {
    let mut watched: Vec<Watched<'_>> = Anatomy::all(bundle)
        .into_iter()
        .filter(|(_, info, _)| reported.is_about(info))
        .filter_map(|(anatomy, _, compiled)| Watched::new(anatomy, compiled, bundle))
        .collect();
    for question in questions.test_rows.iter().flat_map(|test_row| &test_row.questions) {
        watch(&mut watched, question);
    }
    let policies: Vec<PolicyCoverage> = watched.into_iter().map(Watched::report).collect();
    Coverage {
        policy_version: bundle.version().clone(),
        summary: Count::of(policies.iter().flat_map(|policy| &policy.parts)),
        rows: questions.rows(),
        left_out: reported.left_out(bundle),
        policies,
    }
}

fn watch(watched: &mut [Watched<'_>], question: &Question) {
    let Some(asked) = question.asked() else { return };
    let (request, entities) = (&question.prepared.request, &question.prepared.entities);
    let evaluator = Evaluator::new(request.clone(), entities, Extensions::all_available());
    for one in watched {
        one.see(&asked, &evaluator);
    }
}

/// A policy while it is watched.
struct Watched<'b> {
    compiled: &'b CompiledPolicy,
    anatomy: Anatomy,
    in_scope: usize,
    held: usize,
    /// The scope's three, then the leaves.
    parts: Vec<Part>,
}

impl<'b> Watched<'b> {
    fn new(anatomy: Anatomy, compiled: &'b CompiledPolicy, bundle: &Bundle) -> Option<Self> {
        let text = &anatomy.source.text;
        let part = |kind, span: super::clauses::Span, implied| {
            let (line, column) = place(text, span.start);
            Part {
                kind,
                text: code_line(span.text(text)),
                line,
                column,
                start: span.start,
                end: span.end,
                seen_true: 0,
                seen_false: 0,
                errors: 0,
                implied,
            }
        };
        let mut parts = Vec::new();
        for element in &anatomy.scope {
            let kind = match element.position {
                Position::Principal => PartKind::Principal,
                Position::Action => PartKind::Action,
                Position::Resource => PartKind::Resource,
            };
            let implied = implied(&compiled.scope, element.position, bundle.schema_index());
            parts.push(part(kind, element.span, implied));
        }
        for leaf in &anatomy.leaves {
            let kind = if leaf.is_when { PartKind::When } else { PartKind::Unless };
            parts.push(part(kind, leaf.span, false));
        }
        (parts.len() >= 3).then_some(Self { compiled, anatomy, in_scope: 0, held: 0, parts })
    }

    fn see(&mut self, asked: &Asked<'_>, evaluator: &Evaluator<'_>) {
        let fits = matches(self.compiled, asked);
        match fits {
            [true, true, true] => {}
            _ => {
                let mut missed = fits.iter().zip(&mut self.parts).filter(|(fits, _)| !**fits);
                if let (Some((_, part)), None) = (missed.next(), missed.next()) {
                    part.seen_false += 1;
                }
                return;
            }
        }
        self.in_scope += 1;
        self.parts.iter_mut().take(3).for_each(|part| part.seen_true += 1);
        let parts = &mut self.parts;
        let held = self.anatomy.evaluate(evaluator, &self.compiled.slots, &mut |leaf, seen| {
            let Some(part) = parts.get_mut(leaf + 3) else { return };
            match seen {
                Seen::True => part.seen_true += 1,
                Seen::False => part.seen_false += 1,
                Seen::Error(_) => part.errors += 1,
            }
        });
        self.held += usize::from(held == Some(true));
    }

    fn report(self) -> PolicyCoverage {
        let Self { compiled, anatomy, in_scope, held, parts } = self;
        let said = anatomy.scope.iter().map(|element| element.constrained).chain(std::iter::repeat(true));
        let parts: Vec<Part> =
            parts.into_iter().zip(said).filter(|(_, said)| *said).map(|(part, _)| part).collect();
        PolicyCoverage {
            id: compiled.id.to_string(),
            effect: Effect::as_str(compiled.effect),
            file: anatomy.source.path.to_string(),
            line: anatomy.line(anatomy.effect.start),
            summary: Count::of(parts.iter()),
            in_scope,
            held,
            parts,
        }
    }
}

/// Which elements of the scope match, in the order principal, action, resource.
pub(crate) fn matches(compiled: &CompiledPolicy, asked: &Asked<'_>) -> [bool; 3] {
    let scope = &compiled.scope;
    [
        scope.principal.holds(&asked.principal),
        scope.action.holds(&asked.action),
        scope.resource.holds(&asked.resource),
    ]
}
