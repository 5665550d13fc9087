//! How the decisions of the policies stand to those of another set, environment by environment.

use std::sync::Arc;

use cedar_policy::Schema;
use cedar_policy_symcc::{Env, never_matches_asserts};

use super::claim::{Open, ProofResult, Relation};
use super::compare::Here;
use super::paste::{Expectation, test_case};
use super::space::same;
use super::witness::{Counterexample, Decided, confirmed, small};
use super::{Answer, Environment, Rule, Session, Solver, Step, relevant};
use crate::model::{EntityUid, Outcome};
use crate::policy::{Bundle, Query};
use crate::workbench::case::SchemaNames;
use crate::workbench::run::SingleRequest;

/// How the policies here are called beside another set.
const HERE: &str = "here";

/// The policies, and those they are held against.
pub(super) struct Pair<'p> {
    pub(super) bundle: &'p Bundle,
    pub(super) other: &'p Arc<Bundle>,
    pub(super) named: &'p str,
    pub(super) relation: Relation,
    pub(super) except: &'p [EntityUid],
}

/// An environment, and the schema that has it.
struct Place<'p> {
    env: Environment,
    schema: &'p Schema,
    /// Whether each set has it; what a schema does not have is denied.
    here: bool,
    there: bool,
}

/// What came of one environment.
enum Settled {
    Holds,
    Open(String),
    Broken(Box<SingleRequest>),
}

impl Pair<'_> {
    pub(super) fn prove(&self, words: &str, solver: &Solver, step: Step<'_>) -> ProofResult {
        let places = self.places();
        let (ours, theirs) = (Rule::all(self.bundle), Rule::all(self.other));
        step(places.len(), false);
        let settled = solver.in_parallel(places.len(), &|number, session| {
            let settled = places.get(number).map(|place| self.settle(place, &ours, &theirs, session));
            step(1, true);
            settled.unwrap_or(Settled::Holds)
        });
        let mut proof = ProofResult::new(words, places.len());
        if self.schemas_differ() {
            proof.notes.push(format!(
                "the schemas differ; {} is read with the schema here wherever both have the environment",
                self.named
            ));
        }
        let mut shown = Vec::new();
        for (place, settled) in places.iter().zip(settled) {
            let open = |why: String| Open { place: place.env.label(), why };
            match settled {
                Some(Settled::Holds) => {}
                Some(Settled::Open(why)) => proof.open.push(open(why)),
                None => proof.open.push(open("no solver could be started".to_owned())),
                Some(Settled::Broken(request)) => {
                    proof.refuted_in += 1;
                    shown.push((place.env.action_id().to_owned(), (place, request)));
                }
            }
        }
        let names = &solver.settings().names;
        let kept = spread(shown, solver.settings().kept).into_iter();
        proof.counterexamples =
            kept.filter_map(|(place, request)| self.counterexample(place, *request, names)).collect();
        if matches!(self.relation, Relation::Denies | Relation::Allows) && proof.refuted_in == 0 {
            proof.open.extend(self.says_nothing(&places, &theirs, solver));
        }
        proof.concluded()
    }

    /// What is said of requests that there are none of is true, and is not what its author means.
    fn says_nothing(&self, places: &[Place<'_>], about: &[Rule<'_>], solver: &Solver) -> Option<Open> {
        let met = |session: &mut Session<'_>| {
            places.iter().any(|place| {
                relevant(about, &place.env, self.other.schema_index()).into_iter().any(|rule| {
                    let Ok(policy) = rule.alone(&place.env, place.schema) else { return false };
                    matches!(session.ask(&never_matches_asserts(&policy)), Answer::Broken(_))
                })
            })
        };
        let met = solver.in_parallel(1, &|_, session| met(session)).into_iter().flatten().any(|met| met);
        let why = "no request meets the conditions: the statement is vacuous".to_owned();
        (!met).then(|| Open { place: "everywhere".to_owned(), why })
    }

    /// Every environment that either schema has and that is not left out.
    fn places(&self) -> Vec<Place<'_>> {
        let schema_names = SchemaNames::new(self.bundle.schema().as_ref());
        let wanted = |env: &Environment| {
            let uid = env.action.uid();
            let action = EntityUid::new(uid.entity_type().to_string(), uid.eid().as_ref());
            !self.except.iter().any(|left| *left == action || schema_names.is_member(&action, left))
        };
        let words = (self.bundle.schema_index(), self.other.schema_index());
        let ours = Environment::all(words.0).into_iter().map(|env| {
            let there = env.is_in(words.1);
            Place { env, schema: self.bundle.schema(), here: true, there }
        });
        let theirs = Environment::all(words.1).into_iter().filter(|env| !env.is_in(words.0));
        let theirs = theirs.map(|env| Place { env, schema: self.other.schema(), here: false, there: true });
        ours.chain(theirs).filter(|place| wanted(&place.env)).collect()
    }

    fn schemas_differ(&self) -> bool {
        let texts = |bundle: &Bundle| -> Vec<String> {
            let schemas = bundle.sources().iter();
            let schemas = schemas.filter(|source| source.kind == crate::policy::SourceKind::Schema);
            schemas.map(|source| source.text.to_string()).collect()
        };
        texts(self.bundle) != texts(self.other)
    }

    fn settle<'r, 'b>(
        &self,
        place: &Place<'_>,
        ours: &'r [Rule<'b>],
        theirs: &'r [Rule<'b>],
        session: &mut Session<'_>,
    ) -> Settled {
        let words = if place.here { self.bundle.schema_index() } else { self.other.schema_index() };
        let of = |has: bool, rules| if has { relevant(rules, &place.env, words) } else { Vec::new() };
        let (ours, theirs) = (of(place.here, ours), of(place.there, theirs));
        let alike = matches!(self.relation, Relation::NoMorePermissive | Relation::Equivalent);
        if alike && same(&ours, &theirs) {
            return Settled::Holds;
        }
        match self.answer(place, &ours, &theirs, session) {
            Answer::Holds => Settled::Holds,
            Answer::Open(why) => Settled::Open(why),
            Answer::Broken(env) => match confirmed(&self.asked(place), &env, &|query| self.speaks(query)) {
                Some(request) => Settled::Broken(Box::new(request)),
                None => Settled::Open(UNCONFIRMED.to_owned()),
            },
        }
    }

    /// Both sets; a request is read by the schema of the first.
    fn asked(&self, place: &Place<'_>) -> [&Bundle; 2] {
        if place.here { [self.bundle, self.other] } else { [self.other, self.bundle] }
    }

    fn answer(
        &self,
        place: &Place<'_>,
        ours: &[&Rule<'_>],
        theirs: &[&Rule<'_>],
        session: &mut Session<'_>,
    ) -> Answer {
        let here = Here { env: &place.env, schema: place.schema };
        let speaks = |env: &Env| confirmed(&self.asked(place), env, &|query| self.speaks(query)).is_some();
        match self.relation {
            Relation::NoMorePermissive => here.implies(ours, theirs, &speaks, session),
            Relation::Equivalent => here.equivalent(ours, theirs, &speaks, session),
            Relation::Disjoint | Relation::Denies => here.disjoint(ours, theirs, session),
            Relation::Allows => here.implies(theirs, ours, &speaks, session),
        }
    }

    fn speaks(&self, query: &Query) -> bool {
        let allows = |bundle: &Bundle| bundle.decide(query).outcome == Outcome::Allow;
        self.relation.is_broken(allows(self.bundle), allows(self.other))
    }

    fn counterexample(
        &self,
        place: &Place<'_>,
        request: SingleRequest,
        names: &[String],
    ) -> Option<Counterexample> {
        let (request, query) = small(&self.asked(place), request, names, &|query| self.speaks(query))?;
        let here = Decided::new(HERE, &self.bundle.decide(&query));
        let there = Decided::new(self.named, &self.other.decide(&query));
        let about = matches!(self.relation, Relation::Denies | Relation::Allows);
        let (outcome, remark) = match self.relation {
            Relation::NoMorePermissive | Relation::Equivalent => (there.outcome, None),
            Relation::Disjoint | Relation::Denies => {
                (Outcome::DenyExplicit.as_str(), Some("expected is a denial, this or `deny_default`"))
            }
            Relation::Allows => (Outcome::Allow.as_str(), None),
        };
        let mut comments = vec![format!("now: {}", here.words())];
        comments.extend((!about).then(|| format!("{}: {}", self.named, there.words())));
        comments.extend(remark.map(str::to_owned));
        let test = test_case(&name(&request), &comments, &request, &Expectation { outcome, policies: None });
        let decided = if about { vec![here] } else { vec![here, there] };
        Some(Counterexample { environment: place.env.label(), request, decided, test })
    }
}

/// `Agent asks for memory:read on MemoryEntity`.
fn name(request: &SingleRequest) -> String {
    let kind = |name: &str| name.split("::\"").next().unwrap_or_default().to_owned();
    format!("{} asks for {} on {}", kind(&request.principal), request.action, kind(&request.resource))
}

/// What is said of a solver's request that the evaluator does not find to be one.
pub(super) const UNCONFIRMED: &str = "the solver's counterexample did not hold up when it was evaluated";

/// At most `kept`, of as many actions as there are.
pub(super) fn spread<T>(found: Vec<(String, T)>, kept: usize) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    let (first, again): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|(action, _)| seen.insert(action.clone()));
    first.into_iter().chain(again).take(kept).map(|(_, found)| found).collect()
}
