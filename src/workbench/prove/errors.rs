//! Policies that can always be evaluated.

use std::collections::BTreeSet;

use cedar_policy_symcc::never_errors_asserts;

use super::claim::{Open, ProofResult};
use super::decisions::UNCONFIRMED;
use super::paste::{Expectation, test_case};
use super::space::never_errs;
use super::witness::{Counterexample, Decided, confirmed, small};
use super::{Answer, Environment, Rule, Session, Solver, Step};
use crate::model::Outcome;
use crate::policy::engine::compiled::Effect;
use crate::policy::{Bundle, Query};
use crate::workbench::run::SingleRequest;

enum Settled {
    Holds,
    Open(String),
    Broken(Box<SingleRequest>),
}

pub(super) fn prove(
    bundle: &Bundle,
    words: &str,
    only: &[String],
    solver: &Solver,
    step: Step<'_>,
) -> ProofResult {
    // One in `log_only` mode will decide some day: it is looked at as well.
    let rules: Vec<Rule<'_>> = bundle
        .program()
        .filter(|(info, _)| only.is_empty() || only.iter().any(|id| *id == *info.id))
        .map(|(_, compiled)| Rule::new(compiled))
        .collect();
    let environments = Environment::all(bundle.schema_index());
    let places: Vec<(&Rule<'_>, &Environment)> = rules
        .iter()
        .flat_map(|rule| environments.iter().map(move |env| (rule, env)))
        .filter(|(rule, env)| env.matches(&rule.compiled.scope, bundle.schema_index()))
        .collect();
    step(places.len(), false);
    let settled = solver.in_parallel(places.len(), &|number, session| {
        let settled = places.get(number).map(|(rule, env)| settle(bundle, rule, env, session));
        step(1, true);
        settled.unwrap_or(Settled::Holds)
    });
    let mut proof = ProofResult::new(words, environments.len());
    let mut shown = Vec::new();
    let (mut refuted, mut told) = (BTreeSet::new(), BTreeSet::new());
    for ((rule, env), settled) in places.iter().zip(settled) {
        let open = |why| Open { place: format!("{} in {}", rule.compiled.id, env.label()), why };
        match settled {
            Some(Settled::Holds) => {}
            Some(Settled::Open(why)) => proof.open.push(open(why)),
            None => proof.open.push(open("no solver could be started".to_owned())),
            Some(Settled::Broken(request)) => {
                refuted.insert(env.label());
                // One request tells how a policy errs, whatever the environment.
                if told.insert(&rule.compiled.id) {
                    shown.push((*rule, *env, request));
                }
            }
        }
    }
    proof.refuted_in = refuted.len();
    let names = &solver.settings().names;
    let kept = shown.into_iter().take(solver.settings().kept);
    proof.counterexamples =
        kept.filter_map(|(rule, env, request)| counterexample(bundle, rule, env, *request, names)).collect();
    proof.concluded()
}

fn settle(bundle: &Bundle, rule: &Rule<'_>, env: &Environment, session: &mut Session<'_>) -> Settled {
    let policy = match rule.alone(env, bundle.schema()) {
        Ok(policy) => policy,
        Err(why) => return Settled::Open(why),
    };
    if never_errs(&policy) {
        return Settled::Holds;
    }
    let found = match session.ask(&never_errors_asserts(&policy)) {
        Answer::Holds => return Settled::Holds,
        Answer::Open(why) => return Settled::Open(why),
        Answer::Broken(found) => found,
    };
    match confirmed(&[bundle], &found, &|query| errs(bundle, rule, query)) {
        Some(request) => Settled::Broken(Box::new(request)),
        None => Settled::Open(UNCONFIRMED.to_owned()),
    }
}

fn errs(bundle: &Bundle, rule: &Rule<'_>, query: &Query) -> bool {
    bundle.decide(query).errors.iter().any(|fault| fault.policy == rule.compiled.id)
}

fn counterexample(
    bundle: &Bundle,
    rule: &Rule<'_>,
    env: &Environment,
    request: SingleRequest,
    names: &[String],
) -> Option<Counterexample> {
    let (request, query) = small(&[bundle], request, names, &|query| errs(bundle, rule, query))?;
    let decided = Decided::new("here", &bundle.decide(&query));
    let outcome = match rule.compiled.effect {
        Effect::Forbid => Outcome::DenyExplicit,
        Effect::Permit => Outcome::Allow,
    };
    let mut comments = vec![format!("now: {}", decided.words())];
    comments.extend(decided.errors.iter().map(|error| format!("error in {error}")));
    comments.push("expected is the outcome that the policy is for, without an error".to_owned());
    let name = format!("{} can be evaluated for {}", rule.compiled.id, request.action);
    let expect = Expectation { outcome: outcome.as_str(), policies: None };
    let test = test_case(&name, &comments, &request, &expect);
    Some(Counterexample { environment: env.label(), request, decided: vec![decided], test })
}
