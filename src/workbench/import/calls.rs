//! Calls that tests are made of.

use super::condition::{Condition, Target};

/// A use, as the source would see it.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) target: Target,
    pub(super) name: String,
    pub(super) server: String,
    pub(super) claims: Vec<(String, String)>,
    pub(super) hints: Vec<&'static str>,
    /// Whether no user calls, but an agent, which has no token and so no claims.
    pub(super) agent: bool,
}

impl Call {
    /// Whether the caller's token has this claim.
    pub(super) fn has_claim(&self, name: &str) -> bool {
        // Every token has a subject and an issuer.
        let always = matches!(name, "sub" | "iss") && !self.agent;
        always || self.claims.iter().any(|(claim, _)| claim == name)
    }
}

/// The most calls that tests are made of.
const MAX_CALLS: usize = 20_000;

/// Uses of this target that tell conditions apart: every name and server that is named and one that is not, by every caller
/// that is described, by one who is all of them, and by one who is none of them.
pub(super) fn calls(conditions: &[&Condition], target: Target, servers: &[String]) -> Vec<Call> {
    let (mut names, mut servers, mut hints) = (Vec::new(), servers.to_vec(), vec![Vec::new()]);
    let mut callers: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for condition in conditions {
        let mut own: Vec<(String, String)> = Vec::new();
        condition.visit(&mut |part| match part {
            Condition::Name(of, text) if *of == target => names.extend(text.examples()),
            Condition::Server(text) | Condition::ServerOf(_, text) => servers.extend(text.examples()),
            Condition::Claim(name, text) => {
                own.extend(text.examples().into_iter().map(|value| (name.clone(), value)));
            }
            Condition::Group(claims, group) => {
                own.extend(claims.always.iter().map(|name| (name.clone(), group.clone())));
            }
            Condition::Hint(name) | Condition::HintThere(name) if target == Target::Tool => {
                hints.push(vec![*name]);
            }
            _ => {}
        });
        callers.extend(own.iter().map(|claim| vec![claim.clone()]));
        callers.push(own);
    }
    names.push("another".to_owned());
    servers.push("elsewhere".to_owned());
    for list in [&mut names, &mut servers] {
        list.sort();
        list.dedup();
    }
    callers.iter_mut().for_each(one_subject);
    callers.sort();
    callers.dedup();
    hints.sort();
    hints.dedup();
    let users = callers.into_iter().map(|claims| (claims, false));
    let callers: Vec<_> = users.chain([(Vec::new(), true)]).collect();
    let mut calls = Vec::new();
    for (claims, agent) in &callers {
        for name in &names {
            for server in &servers {
                for hints in &hints {
                    let (name, server, claims) = (name.clone(), server.clone(), claims.clone());
                    calls.push(Call { target, name, server, claims, hints: hints.clone(), agent: *agent });
                }
            }
            if calls.len() > MAX_CALLS {
                return calls;
            }
        }
    }
    calls
}

/// A caller has one subject, issuer and e-mail address; everything else may have several values.
fn one_subject(claims: &mut Vec<(String, String)>) {
    claims.sort();
    claims.dedup();
    let mut single = std::collections::BTreeSet::new();
    claims
        .retain(|(name, _)| !matches!(name.as_str(), "sub" | "iss" | "email") || single.insert(name.clone()));
}
