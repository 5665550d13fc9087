//! Policies that could be removed without changing a decision: no request matches them, or others say the same.

use std::sync::Mutex;

use cedar_policy_symcc::{
    CompiledPolicySet, equivalent_asserts, matches_implies_asserts, never_matches_asserts,
};

use super::claim::{Needless, Open, Proof};
use super::{Answer, Environment, Rule, Session, Solver, Step, relevant, together};
use crate::policy::Bundle;
use crate::policy::program::Effect;

/// What is known of a policy.
enum Settled {
    /// It decides something.
    Needed,
    Needless(String),
    Open(String, String),
}

pub(super) fn prove(bundle: &Bundle, words: &str, solver: &Solver, step: Step<'_>) -> Proof {
    let rules = Rule::all(bundle);
    let search = Search::new(bundle, &rules);
    step(rules.len(), false);
    let settled = solver.in_parallel(rules.len(), &|number, session| {
        let settled = rules.get(number).map(|rule| search.settle(rule, session));
        step(1, true);
        settled.unwrap_or(Settled::Needed)
    });
    let mut proof = Proof::new(words, search.environments.len());
    for (rule, settled) in rules.iter().zip(settled) {
        let id = rule.compiled.id.as_ref();
        match settled {
            Some(Settled::Needed) => {}
            Some(Settled::Needless(why)) => proof.needless.extend(named(bundle, id, why)),
            Some(Settled::Open(place, why)) => {
                proof.open.push(Open { place: format!("{id} in {place}"), why });
            }
            None => {
                let why = "no solver could be started".to_owned();
                proof.open.push(Open { place: id.to_owned(), why });
            }
        }
    }
    proof.concluded()
}

fn named(bundle: &Bundle, id: &str, why: String) -> Option<Needless> {
    let info = bundle.policy(id)?;
    let file = bundle.sources().iter().find(|source| source.path == info.file)?;
    let line = crate::policy::anatomy::place(&file.text, info.offset).0;
    Some(Needless { policy: id.to_owned(), file: info.file.to_string(), line, why })
}

struct Search<'s, 'b> {
    bundle: &'b Bundle,
    rules: &'s [Rule<'b>],
    environments: Vec<Environment>,
    /// The whole set in each environment, made when it is first needed.
    wholes: Vec<Mutex<Option<Result<CompiledPolicySet, String>>>>,
}

impl<'s, 'b> Search<'s, 'b> {
    fn new(bundle: &'b Bundle, rules: &'s [Rule<'b>]) -> Self {
        let environments = Environment::all(bundle.words());
        let wholes = environments.iter().map(|_| Mutex::new(None)).collect();
        Self { bundle, rules, environments, wholes }
    }

    /// The environments that a policy is about, with their numbers.
    fn places(&self, rule: &Rule<'_>) -> Vec<(usize, &Environment)> {
        let all = self.environments.iter().enumerate();
        all.filter(|(_, env)| env.matches(&rule.compiled.scope, self.bundle.words())).collect()
    }

    fn whole(&self, number: usize, env: &Environment) -> Result<CompiledPolicySet, String> {
        let made = || together(&relevant(self.rules, env, self.bundle.words()), env, self.bundle.schema());
        match self.wholes.get(number) {
            Some(slot) => {
                let mut slot = slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                slot.get_or_insert_with(made).clone()
            }
            None => made(),
        }
    }

    fn settle(&self, rule: &Rule<'_>, session: &mut Session<'_>) -> Settled {
        let places = self.places(rule);
        let mut open = None;
        for (number, env) in &places {
            match self.changes_nothing(rule, *number, env, session) {
                Answer::Holds => {}
                // What was left open elsewhere does not matter: here it decides.
                Answer::Broken(_) => return Settled::Needed,
                Answer::Open(why) => open = Some((env.label(), why)),
            }
        }
        match open {
            Some((place, why)) => Settled::Open(place, why),
            None => Settled::Needless(self.reason(rule, &places, session)),
        }
    }

    fn changes_nothing(
        &self,
        rule: &Rule<'_>,
        number: usize,
        env: &Environment,
        session: &mut Session<'_>,
    ) -> Answer {
        let others: Vec<&Rule<'_>> = relevant(self.rules, env, self.bundle.words())
            .into_iter()
            .filter(|other| other.compiled.id != rule.compiled.id)
            .collect();
        let sets = self
            .whole(number, env)
            .and_then(|whole| Ok((whole, together(&others, env, self.bundle.schema())?)));
        match sets {
            Ok((whole, rest)) => session.ask(&equivalent_asserts(&whole, &rest)),
            Err(why) => Answer::Open(why),
        }
    }

    /// Why a policy changes nothing, as far as one other policy alone explains it.
    fn reason(&self, rule: &Rule<'_>, places: &[(usize, &Environment)], session: &mut Session<'_>) -> String {
        let schema = self.bundle.schema();
        let everywhere = |session: &mut Session<'_>, other: Option<&Rule<'_>>| {
            places.iter().all(|(_, env)| {
                let Ok(policy) = rule.alone(env, schema) else { return false };
                let answer = match other {
                    None => session.ask(&never_matches_asserts(&policy)),
                    Some(other) => match other.alone(env, schema) {
                        Ok(other) => session.ask(&matches_implies_asserts(&policy, &other)),
                        Err(_) => return false,
                    },
                };
                matches!(answer, Answer::Holds)
            })
        };
        if everywhere(session, None) {
            return "no request matches it".to_owned();
        }
        let others = self.rules.iter().filter(|other| other.compiled.id != rule.compiled.id);
        let about = |other: &&Rule<'_>| {
            places.iter().all(|(_, env)| env.matches(&other.compiled.scope, self.bundle.words()))
        };
        for other in others.filter(about) {
            if everywhere(session, Some(other)) {
                let id = &other.compiled.id;
                return match (rule.compiled.effect, other.compiled.effect) {
                    (Effect::Permit, Effect::Permit) => {
                        format!("whatever it permits, `{id}` permits as well")
                    }
                    (Effect::Permit, Effect::Forbid) => format!("whatever it permits, `{id}` forbids"),
                    (Effect::Forbid, Effect::Forbid) => {
                        format!("whatever it forbids, `{id}` forbids as well")
                    }
                    (Effect::Forbid, Effect::Permit) => continue,
                };
            }
        }
        match rule.compiled.effect {
            Effect::Permit => "the other policies together permit or forbid all that it permits".to_owned(),
            Effect::Forbid => "nothing that it forbids would be permitted without it".to_owned(),
        }
    }
}
