//! What can be proved, and what came of it.

use std::sync::Arc;

use serde::Serialize;

use super::witness::Counterexample;
use crate::policy::Bundle;
use crate::workbench::case::{CaseError, SchemaNames};

/// A statement about the policies, over all requests that fit the schema.
#[derive(Debug, Clone)]
pub struct Claim {
    /// In words.
    pub words: String,
    /// Where it is stated, `memory.test.yaml:12`; none for a question.
    pub place: Option<String>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// These policies, or all, can always be evaluated.
    NeverErrors(Vec<String>),
    /// How the decisions stand to those of another set.
    Decisions { relation: Relation, other: Arc<Bundle>, named: String, except: Vec<crate::model::EntityUid> },
    /// No policy could be removed without changing a decision.
    NoneNeedless,
}

/// How decisions stand to those of another set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// What is permitted here is permitted there.
    NoMorePermissive,
    /// Both permit the same.
    Equivalent,
    /// Nothing is permitted by both.
    Disjoint,
    /// What meets the circumstances is not permitted.
    Denies,
    /// What meets the circumstances is permitted.
    Allows,
}

impl Relation {
    /// Whether a request for which the policies here, and the other set, permit or not speaks against the statement.
    pub(super) fn is_broken(self, here: bool, there: bool) -> bool {
        match self {
            Self::NoMorePermissive => here && !there,
            Self::Equivalent => here != there,
            Self::Disjoint | Self::Denies => here && there,
            Self::Allows => there && !here,
        }
    }
}

impl Claim {
    /// No policy (or none of those named) can err.
    pub fn never_errors(bundle: &Bundle, only: &[String]) -> Result<Self, CaseError> {
        let known = || bundle.program().map(|(info, _)| info.id.as_ref());
        for id in only {
            if !known().any(|known| known == id) {
                return Err(CaseError::unknown("policy", id, known()));
            }
        }
        let words = match only {
            [] => "no policy can err".to_owned(),
            only => format!("{} cannot err", only.join(", ")),
        };
        Ok(Self { words, place: None, kind: Kind::NeverErrors(only.to_vec()) })
    }

    /// Everything that is permitted is permitted by `other` as well, except for requests of some actions.
    pub fn no_more_permissive(
        bundle: &Bundle,
        other: Arc<Bundle>,
        named: &str,
        except: &[String],
    ) -> Result<Self, CaseError> {
        let words = format!("no more is permitted than by {named}");
        Self::compared(bundle, Relation::NoMorePermissive, other, named, except, words)
    }

    /// The same is permitted as by `other`, except for requests of some actions.
    pub fn equivalent(
        bundle: &Bundle,
        other: Arc<Bundle>,
        named: &str,
        except: &[String],
    ) -> Result<Self, CaseError> {
        let words = format!("the same is permitted as by {named}");
        Self::compared(bundle, Relation::Equivalent, other, named, except, words)
    }

    /// Nothing is permitted that `other` permits as well.
    pub fn disjoint(
        bundle: &Bundle,
        other: Arc<Bundle>,
        named: &str,
        except: &[String],
    ) -> Result<Self, CaseError> {
        let words = format!("nothing is permitted that {named} permits");
        Self::compared(bundle, Relation::Disjoint, other, named, except, words)
    }

    /// No policy could be removed without changing a decision.
    pub fn none_needless() -> Self {
        let words = "every policy decides something".to_owned();
        Self { words, place: None, kind: Kind::NoneNeedless }
    }

    /// The statement under a name of its own.
    #[must_use]
    pub fn named(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            name.clone_into(&mut self.words);
        }
        self
    }

    /// The statement as it stands in a file.
    #[must_use]
    pub fn at(mut self, place: String) -> Self {
        self.place = Some(place);
        self
    }

    fn compared(
        bundle: &Bundle,
        relation: Relation,
        other: Arc<Bundle>,
        named: &str,
        except: &[String],
        mut words: String,
    ) -> Result<Self, CaseError> {
        let schema_names = SchemaNames::new(bundle.schema().as_ref());
        if !except.is_empty() {
            words = format!("{words}, {} left out", except.join(", "));
        }
        let except = except.iter().map(|action| schema_names.action(action)).collect::<Result<_, _>>()?;
        let kind = Kind::Decisions { relation, other, named: named.to_owned(), except };
        Ok(Self { words, place: None, kind })
    }
}

/// How a proof ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofVerdict {
    /// The statement holds for every request.
    Proven,
    /// There is a request that speaks against it.
    Refuted,
    /// Unknown. Never a pass.
    NotProven,
}

/// What came of a statement.
#[derive(Debug, Clone, Serialize)]
pub struct ProofResult {
    /// The statement.
    pub statement: String,
    /// Where it is stated, `memory.test.yaml:12`; none for a question.
    pub place: Option<String>,
    /// How it ended.
    pub verdict: ProofVerdict,
    /// Request environments it was held against.
    pub environments: usize,
    /// Environments with a request that speaks against it.
    pub refuted_in: usize,
    /// Some of those requests, each evaluated and found to be so.
    pub counterexamples: Vec<Counterexample>,
    /// Policies that could be removed without changing a decision.
    pub needless: Vec<Needless>,
    /// What was not settled.
    pub open: Vec<Open>,
    /// What a reader should know besides.
    pub notes: Vec<String>,
}

/// A policy that changes nothing.
#[derive(Debug, Clone, Serialize)]
pub struct Needless {
    /// Its id.
    pub policy: String,
    /// The file it stands in.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Why it changes nothing.
    pub why: String,
}

/// What was not settled.
#[derive(Debug, Clone, Serialize)]
pub struct Open {
    /// The environment, `Agent memory:read MemoryScope`, and the policy if it is about one.
    pub place: String,
    /// Why.
    pub why: String,
}

impl ProofResult {
    pub(super) fn new(statement: &str, environments: usize) -> Self {
        Self {
            statement: statement.to_owned(),
            place: None,
            verdict: ProofVerdict::Proven,
            environments,
            refuted_in: 0,
            counterexamples: Vec::new(),
            needless: Vec::new(),
            open: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A statement that could not be looked into.
    pub fn not_begun(claim: &Claim, why: &str) -> Self {
        let open = vec![Open { place: "everywhere".to_owned(), why: why.to_owned() }];
        let place = claim.place.clone();
        Self { verdict: ProofVerdict::NotProven, place, open, ..Self::new(&claim.words, 0) }
    }

    pub(super) fn concluded(mut self) -> Self {
        self.verdict = if self.refuted_in > 0 || !self.needless.is_empty() {
            ProofVerdict::Refuted
        } else if self.open.is_empty() {
            ProofVerdict::Proven
        } else {
            ProofVerdict::NotProven
        };
        self
    }
}
