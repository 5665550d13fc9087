//! Policies that could be removed without changing a decision: no request matches them, or others say the same.

use cedar_policy_symcc::{Env, matches_implies_asserts, never_matches_asserts};

use super::claim::{Needless, Open, ProofResult};
use super::compare::{Here, with_forbids};
use super::decisions::UNCONFIRMED;
use super::witness::confirmed;
use super::{Answer, Environment, Rule, Session, Solver, Step, relevant};
use crate::policy::engine::compiled::Effect;
use crate::policy::engine::verdict::Verdict;
use crate::policy::{Bundle, Query};

/// What is known of a policy.
enum Settled {
    /// It decides something.
    Needed,
    Needless(String),
    Open(String, String),
}

pub(super) fn prove(bundle: &Bundle, words: &str, solver: &Solver, step: Step<'_>) -> ProofResult {
    let rules = Rule::all(bundle);
    let search = Search::new(bundle, &rules);
    step(rules.len(), false);
    let settled = solver.in_parallel(rules.len(), &|number, session| {
        let settled = rules.get(number).map(|rule| search.settle(rule, session));
        step(1, true);
        settled.unwrap_or(Settled::Needed)
    });
    let mut proof = ProofResult::new(words, search.environments.len());
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
    let line = crate::workbench::clauses::place(&file.text, info.offset).0;
    Some(Needless { policy: id.to_owned(), file: info.file.to_string(), line, why })
}

struct Search<'s, 'b> {
    bundle: &'b Bundle,
    rules: &'s [Rule<'b>],
    environments: Vec<Environment>,
}

impl<'s, 'b> Search<'s, 'b> {
    fn new(bundle: &'b Bundle, rules: &'s [Rule<'b>]) -> Self {
        Self { bundle, rules, environments: Environment::all(bundle.schema_index()) }
    }

    /// The environments that a policy is about.
    fn places(&self, rule: &Rule<'_>) -> Vec<&Environment> {
        let all = self.environments.iter();
        all.filter(|env| env.matches(&rule.compiled.scope, self.bundle.schema_index())).collect()
    }

    fn settle(&self, rule: &Rule<'_>, session: &mut Session<'_>) -> Settled {
        let places = self.places(rule);
        let mut open = None;
        for env in &places {
            match self.changes_nothing(rule, env, session) {
                Answer::Holds => {}
                // What was left open elsewhere does not matter: here it decides.
                Answer::Broken(found) if self.decides(rule, &found) => return Settled::Needed,
                Answer::Broken(_) => open = Some((env.label(), UNCONFIRMED.to_owned())),
                Answer::Open(why) => open = Some((env.label(), why)),
            }
        }
        match open {
            Some((place, why)) => Settled::Open(place, why),
            None => Settled::Needless(self.reason(rule, &places, session)),
        }
    }

    fn changes_nothing(&self, rule: &Rule<'_>, env: &Environment, session: &mut Session<'_>) -> Answer {
        let all = relevant(self.rules, env, self.bundle.schema_index());
        let others: Vec<&Rule<'_>> =
            all.iter().copied().filter(|other| other.compiled.id != rule.compiled.id).collect();
        let here = Here { env, schema: self.bundle.schema() };
        let speaks = |found: &Env| self.decides(rule, found);
        match rule.compiled.effect {
            // Without a forbid, more may be permitted.
            Effect::Forbid => here.implies(&others, &all, &speaks, session),
            // What it permits by itself is mostly permitted by no other policy, and evaluating tells so at once.
            Effect::Permit => {
                let own = [rule];
                let alone = with_forbids(&others, &own);
                match here.denies(&alone, session) {
                    Answer::Broken(found) if !self.decides(rule, &found) => {
                        here.implies(&alone, &others, &speaks, session)
                    }
                    answer => answer,
                }
            }
        }
    }

    /// Whether a request is decided otherwise without the policy.
    fn decides(&self, rule: &Rule<'_>, found: &Env) -> bool {
        let outcome = |query: &Query, without: bool| {
            let prepared = self.bundle.prepare(query).ok()?;
            let mut answer = self.bundle.answer(&prepared.request, &prepared.entities);
            if without {
                answer.held.retain(|policy| policy.id != rule.compiled.id);
                answer.erred.retain(|(policy, _)| policy.id != rule.compiled.id);
            }
            Some(Verdict::of_answer(&answer, self.bundle.settings().on_policy_error).outcome)
        };
        let differs = |query: &Query| outcome(query, false) != outcome(query, true);
        confirmed(&[self.bundle], found, &differs).is_some()
    }

    /// Why a policy changes nothing, as far as one other policy alone explains it.
    fn reason(&self, rule: &Rule<'_>, places: &[&Environment], session: &mut Session<'_>) -> String {
        let schema = self.bundle.schema();
        let everywhere = |session: &mut Session<'_>, other: Option<&Rule<'_>>| {
            places.iter().all(|env| {
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
            places.iter().all(|env| env.matches(&other.compiled.scope, self.bundle.schema_index()))
        };
        for other in others.filter(about) {
            if everywhere(session, Some(other)) {
                let id = &other.compiled.id;
                return match (rule.compiled.effect, other.compiled.effect) {
                    (Effect::Permit, Effect::Permit) => {
                        format!("`{id}` permits everything that it permits")
                    }
                    (Effect::Permit, Effect::Forbid) => format!("`{id}` forbids everything that it permits"),
                    (Effect::Forbid, Effect::Forbid) => {
                        format!("`{id}` forbids everything that it forbids")
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
