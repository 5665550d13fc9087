//! Two sets held against each other in one environment, in pieces that a solver can chew.
//!
//! A set permits what one of its permits permits and none of its forbids forbids. So a statement about all that it
//! permits is one about each permit with all the forbids. Where many permits concern one environment, many small
//! questions are answered in a fraction of the time of a large one.

use cedar_policy::Schema;
use cedar_policy_symcc::{CompiledPolicySet, Env, always_denies_asserts, disjoint_asserts, implies_asserts};

use super::space::same;
use super::{Answer, Environment, Rule, Session, together};
use crate::policy::engine::compiled::Effect;

/// Up to so many permits, all of them are one question.
const AT_ONCE: usize = 12;

/// An environment with the schema that its questions are read by.
#[derive(Clone, Copy)]
pub(super) struct Here<'e> {
    pub(super) env: &'e Environment,
    pub(super) schema: &'e Schema,
}

type Rules<'r, 'b> = &'r [&'r Rule<'b>];

impl Here<'_> {
    fn compiled(&self, rules: Rules<'_, '_>) -> Result<CompiledPolicySet, String> {
        together(rules, self.env, self.schema)
    }

    /// Whether everything that `one` permits is permitted by `other`; `speaks` tells whether a request really speaks against it.
    pub(super) fn implies(
        &self,
        one: Rules<'_, '_>,
        other: Rules<'_, '_>,
        speaks: &dyn Fn(&Env) -> bool,
        session: &mut Session<'_>,
    ) -> Answer {
        let one = unsettled(one, other);
        if permits(&one).next().is_none() {
            return Answer::Holds;
        }
        let whole = match self.compiled(other) {
            Ok(whole) => whole,
            Err(why) => return Answer::Open(why),
        };
        let small = permits(&one).count().max(permits(other).count()) <= AT_ONCE;
        self.each(&one, small, session, &mut |permit, part, session| {
            // The same permit, or its other version, is mostly enough, and what a permit lets through by itself is
            // mostly let through by no other policy: the whole other set is asked about last.
            if let Some(permit) = permit {
                let twin = permits(other).find(|other| permit.says_the_same(other));
                let version = || permits(other).find(|other| other.policy().id == permit.policy().id);
                let twin: Vec<&Rule<'_>> = twin.or_else(version).into_iter().collect();
                let little = self.compiled(&with_forbids(other, &twin));
                let answer = little.map(|little| session.ask(&implies_asserts(part, &little)));
                match answer {
                    Ok(Answer::Holds) => return Answer::Holds,
                    Ok(Answer::Broken(found)) if speaks(&found) => return Answer::Broken(found),
                    Ok(Answer::Broken(_) | Answer::Open(_)) | Err(_) => {}
                }
            }
            session.ask(&implies_asserts(part, &whole))
        })
    }

    /// Whether both permit the same.
    pub(super) fn equivalent(
        &self,
        one: Rules<'_, '_>,
        other: Rules<'_, '_>,
        speaks: &dyn Fn(&Env) -> bool,
        session: &mut Session<'_>,
    ) -> Answer {
        match self.implies(one, other, speaks, session) {
            broken @ Answer::Broken(_) => broken,
            Answer::Holds => self.implies(other, one, speaks, session),
            // What is open one way may be broken the other way.
            Answer::Open(why) => match self.implies(other, one, speaks, session) {
                broken @ Answer::Broken(_) => broken,
                Answer::Holds | Answer::Open(_) => Answer::Open(why),
            },
        }
    }

    /// Whether nothing is permitted at all.
    pub(super) fn denies(&self, rules: Rules<'_, '_>, session: &mut Session<'_>) -> Answer {
        let small = permits(rules).count() <= AT_ONCE;
        self.each(rules, small, session, &mut |_, part, session| session.ask(&always_denies_asserts(part)))
    }

    /// Whether nothing is permitted by both.
    pub(super) fn disjoint(
        &self,
        one: Rules<'_, '_>,
        other: Rules<'_, '_>,
        session: &mut Session<'_>,
    ) -> Answer {
        let whole = match self.compiled(other) {
            Ok(whole) => whole,
            Err(why) => return Answer::Open(why),
        };
        let small = permits(one).count() <= AT_ONCE;
        self.each(one, small, session, &mut |_, part, session| session.ask(&disjoint_asserts(part, &whole)))
    }

    /// Asks about a set as a whole while all is small, else about each permit with all the forbids.
    fn each(
        &self,
        rules: Rules<'_, '_>,
        at_once: bool,
        session: &mut Session<'_>,
        ask: &mut dyn FnMut(Option<&Rule<'_>>, &CompiledPolicySet, &mut Session<'_>) -> Answer,
    ) -> Answer {
        let permits: Vec<&Rule<'_>> = permits(rules).collect();
        if at_once {
            return match self.compiled(rules) {
                Ok(whole) => ask(None, &whole, session),
                Err(why) => Answer::Open(why),
            };
        }
        let mut open = None;
        for permit in &permits {
            let answer = match self.compiled(&with_forbids(rules, std::slice::from_ref(permit))) {
                Ok(part) => ask(Some(permit), &part, session),
                Err(why) => Answer::Open(why),
            };
            match answer {
                Answer::Holds => {}
                Answer::Broken(found) => return Answer::Broken(found),
                Answer::Open(why) => open = Some(why),
            }
        }
        open.map_or(Answer::Holds, Answer::Open)
    }
}

fn permits<'r, 'b>(rules: Rules<'r, 'b>) -> impl Iterator<Item = &'r Rule<'b>> {
    rules.iter().copied().filter(|rule| rule.policy().effect == Effect::Permit)
}

/// A set without the permits that the other one has in the same words, where both forbid in the same words.
fn unsettled<'r, 'b>(one: Rules<'r, 'b>, other: Rules<'_, '_>) -> Vec<&'r Rule<'b>> {
    let alike = same(&with_forbids(one, &[]), &with_forbids(other, &[]));
    let settled = |rule: &Rule<'_>| alike && permits(other).any(|other| rule.says_the_same(other));
    one.iter().copied().filter(|rule| rule.policy().effect == Effect::Forbid || !settled(rule)).collect()
}

/// Some permits with all the forbids of a set.
pub(super) fn with_forbids<'r, 'b>(rules: Rules<'r, 'b>, permits: Rules<'r, 'b>) -> Vec<&'r Rule<'b>> {
    let forbids = rules.iter().copied().filter(|rule| rule.policy().effect == Effect::Forbid);
    forbids.chain(permits.iter().copied()).collect()
}
