//! Two versions of the policies side by side: which policies are new, gone or changed and in what, and which decisions
//! come out otherwise over the requests of the tests.

use std::collections::BTreeMap;

use serde::Serialize;

use super::case::core_shorthand;
use super::clauses::{Anatomy, code_line};
use super::run::{Question, TestQuestions, TestRow};
use crate::model::{Outcome, PolicyVersion};
use crate::policy::Bundle;
use crate::policy::engine::compiled::CompiledPolicy;
use crate::policy::engine::verdict::Verdict;
use crate::policy::set::load::PolicyInfo;

/// What differs between two versions.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// The older version.
    pub old_version: PolicyVersion,
    /// The newer one.
    pub new_version: PolicyVersion,
    /// Policies that only the newer one has.
    pub added: Vec<Named>,
    /// Policies that only the older one has.
    pub removed: Vec<Named>,
    /// Policies that both have and that differ in more than spaces and comments.
    pub changed: Vec<Changed>,
    /// Whether the schemas differ.
    pub schema_changed: bool,
    /// Requests that both were asked.
    pub asked: usize,
    /// Requests that were decided otherwise.
    pub flips: Vec<Flip>,
    /// Requests decided alike, but by other policies.
    pub other_policies: usize,
}

/// A policy that one version has.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The file it stands in.
    pub file: String,
    /// Its line.
    pub line: usize,
}

/// A policy that differs.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// The policy as the newer version has it.
    #[serde(flatten)]
    pub policy: Named,
    /// Whether it can decide otherwise; annotations but `@mode` cannot.
    pub meaning: bool,
    /// What differs, each as it was and as it is.
    pub parts: Vec<ChangedPart>,
}

/// A part of a policy that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChangedPart {
    /// `effect`, `principal`, `action`, `resource`, `when`, `unless`, or an annotation.
    pub kind: String,
    /// As it was, if it was there.
    pub old: Option<String>,
    /// As it is, if it is there.
    pub new: Option<String>,
}

/// A request that is decided otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Flip {
    /// `suite: test (row)` it comes from.
    pub test: String,
    /// The file of the test.
    pub file: String,
    /// The line of the test.
    pub line: u64,
    /// The principal of the request.
    pub principal: String,
    /// The action of the request.
    pub action: String,
    /// The resource of the request.
    pub resource: String,
    /// What the older version decides.
    pub old: ComparedSide,
    /// What the newer one decides.
    pub new: ComparedSide,
}

/// One version's decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComparedSide {
    /// What was decided.
    pub outcome: &'static str,
    /// Whether that is a permission.
    pub allows: bool,
    /// By which policies.
    pub policies: Vec<String>,
}

/// Compares two versions; the requests are those of tests that were read with the newer one.
pub fn diff(old: &Bundle, new: &Bundle, questions: &TestQuestions) -> Difference {
    let (before, after) = (Shown::all(old), Shown::all(new));
    let only = |these: &BTreeMap<String, Shown>, others: &BTreeMap<String, Shown>| -> Vec<Named> {
        let only = these.iter().filter(|(id, _)| !others.contains_key(*id));
        only.map(|(_, shown)| shown.named.clone()).collect()
    };
    let changed = after.iter().filter_map(|(id, shown)| before.get(id)?.changed_into(shown)).collect();
    let mut difference = Difference {
        old_version: old.version().clone(),
        new_version: new.version().clone(),
        added: only(&after, &before),
        removed: only(&before, &after),
        changed,
        schema_changed: schemas(old) != schemas(new),
        asked: 0,
        flips: Vec::new(),
        other_policies: 0,
    };
    for test_row in &questions.test_rows {
        for question in &test_row.questions {
            difference.ask(old, new, test_row, question);
        }
    }
    difference
}

pub(super) fn schemas(bundle: &Bundle) -> Vec<(&str, &str)> {
    let schemas = bundle.sources().iter().filter(|source| source.kind == crate::policy::SourceKind::Schema);
    schemas.map(|source| (source.name.as_ref(), source.text.as_ref())).collect()
}

impl Difference {
    /// Whether the policies say the same and decide the same.
    pub fn is_none(&self) -> bool {
        let policies = self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty();
        policies && !self.schema_changed && self.flips.is_empty()
    }

    fn ask(&mut self, old: &Bundle, new: &Bundle, test_row: &TestRow, question: &Question) {
        let decide = |bundle: &Bundle| match &question.query {
            Some(query) => bundle.decide(query),
            None => bundle.decide_prepared(&question.prepared.request, &question.prepared.entities),
        };
        let (was, is) = (decide(old), decide(new));
        self.asked += 1;
        if was.outcome == is.outcome {
            self.other_policies += usize::from(deciding(&was) != deciding(&is));
            return;
        }
        let Some(asked) = question.asked() else { return };
        self.flips.push(Flip {
            test: test_row.name(),
            file: test_row.file.clone(),
            line: test_row.line,
            principal: core_shorthand(asked.principal.uid),
            action: core_shorthand(asked.action.uid),
            resource: core_shorthand(asked.resource.uid),
            old: ComparedSide::of(&was),
            new: ComparedSide::of(&is),
        });
    }
}

impl ComparedSide {
    pub(super) fn of(verdict: &Verdict) -> Self {
        Self::of_parts(verdict.outcome, verdict.deciding().map(|policy| policy.id.as_ref()))
    }

    pub(super) fn of_parts<'a>(outcome: Outcome, policies: impl Iterator<Item = &'a str>) -> Self {
        Self {
            outcome: outcome.as_str(),
            allows: outcome == Outcome::Allow,
            policies: policies.map(str::to_owned).collect(),
        }
    }
}

fn deciding(verdict: &Verdict) -> Vec<String> {
    verdict.deciding().map(|policy| policy.id.to_string()).collect()
}

/// A part of a policy: what it is compared by, and what is shown of it.
struct Piece {
    kind: &'static str,
    meaning: String,
    shown: String,
}

/// A policy as the comparison sees it.
struct Shown {
    named: Named,
    /// What decides, in order.
    parts: Vec<Piece>,
    annotations: BTreeMap<String, String>,
}

impl Shown {
    fn all(bundle: &Bundle) -> BTreeMap<String, Self> {
        let shown = Anatomy::all(bundle).into_iter();
        let shown = shown.map(|(anatomy, info, compiled)| Self::of(&anatomy, info, compiled));
        shown.map(|shown| (shown.named.id.clone(), shown)).collect()
    }

    fn of(anatomy: &Anatomy, info: &PolicyInfo, compiled: &CompiledPolicy) -> Self {
        let text = &anatomy.source.text;
        let mut parts = Vec::new();
        let mut add = |kind, meaning: String, shown: String| parts.push(Piece { kind, meaning, shown });
        let effect = compiled.effect.as_str();
        add("effect", effect.to_owned(), effect.to_owned());
        for element in &anatomy.scope {
            let shown = code_line(element.span.text(text));
            add(element.position.as_str(), shown.clone(), shown);
        }
        for clause in &anatomy.clauses {
            let kind = if clause.is_when { "when" } else { "unless" };
            // Compared by its meaning, so that spaces, comments and breaks of lines are no change.
            let written = code_line(clause.span.text(text));
            let shown = written.strip_prefix(kind).unwrap_or(&written).trim().to_owned();
            add(kind, clause.expr.to_string(), shown);
        }
        let named = Named {
            id: info.id.to_string(),
            effect: compiled.effect.as_str(),
            file: info.file.to_string(),
            line: anatomy.line(anatomy.effect.start),
        };
        let annotations =
            info.annotations.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Self { named, parts, annotations }
    }

    fn changed_into(&self, new: &Self) -> Option<Changed> {
        let mut parts = Vec::new();
        let same = |one: &Piece, other: &Piece| one.kind == other.kind && one.meaning == other.meaning;
        let missing = |from: &'_ [Piece], piece: &Piece| !from.iter().any(|other| same(other, piece));
        let mut come: Vec<&Piece> = new.parts.iter().filter(|piece| missing(&self.parts, piece)).collect();
        for old in self.parts.iter().filter(|piece| missing(&new.parts, piece)) {
            let other = come.iter().position(|piece| piece.kind == old.kind).map(|at| come.remove(at));
            let new = other.map(|piece| piece.shown.clone());
            parts.push(ChangedPart { kind: old.kind.to_owned(), old: Some(old.shown.clone()), new });
        }
        parts.extend(come.into_iter().map(|piece| ChangedPart {
            kind: piece.kind.to_owned(),
            old: None,
            new: Some(piece.shown.clone()),
        }));
        let mut meaning = !parts.is_empty();
        let names: std::collections::BTreeSet<&String> =
            self.annotations.keys().chain(new.annotations.keys()).collect();
        for name in names {
            let (old, new) = (self.annotations.get(name), new.annotations.get(name));
            if old != new {
                meaning |= name == "mode";
                parts.push(ChangedPart { kind: format!("@{name}"), old: old.cloned(), new: new.cloned() });
            }
        }
        (!parts.is_empty()).then(|| Changed { policy: new.named.clone(), meaning, parts })
    }
}
