//! Random sets of policies: what the prover says is what the evaluator does, request by request.
//!
//! The schema is so small that every request which a policy can tell from another is asked: a statement that is proven
//! holds for all of them, and one that is refuted fails for one at least.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;

use caxton::model::{Entity, EntityUid, Fields, Outcome, Value};
use caxton::policy::{Bundle, Query, Sources};
use caxton::workbench::prove::{Claim, ProofVerdict, Settings, Solver, prove};

const SCHEMA: &str = "
entity G in [G];
entity U in [G] { on: Bool, n: Long };
entity R { owner: U, open: Bool };
action a, b appliesTo { principal: U, resource: R, context: { c: Bool } };
";

/// Numbers that conditions compare with, and their neighbours.
const NUMBERS: [i64; 5] = [-1, 0, 1, 2, i64::MAX];

/// SplitMix64 (Steele and others, 2014): the same numbers from the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    }

    fn of<'t>(&mut self, words: &[&'t str]) -> &'t str {
        words[self.next(words.len())]
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 || self.next(3) == 0 {
            let atoms = [
                "principal.on",
                "resource.open",
                "context.c",
                "principal.n < 0",
                "principal.n == 1",
                "principal.n + 1 > 1",
                "resource.owner == principal",
                "resource.owner.on",
                "principal in G::\"g\"",
                "principal in G::\"h\"",
                "resource.owner in G::\"g\"",
                "principal == U::\"u\"",
                "resource == R::\"r\"",
                "action == Action::\"a\"",
            ];
            return self.of(&atoms).to_owned();
        }
        let (one, two) = (self.condition(depth - 1), self.condition(depth - 1));
        match self.next(4) {
            0 => format!("({one} && {two})"),
            1 => format!("({one} || {two})"),
            2 => format!("!({one})"),
            _ => format!("(if {one} then {two} else {})", self.condition(depth - 1)),
        }
    }

    fn policy(&mut self, number: usize) -> String {
        let effect = self.of(&["permit", "permit", "forbid"]);
        let reason = if effect == "forbid" { "@reason(\"no\")\n" } else { "" };
        let principal = self.of(&[
            "principal",
            "principal",
            "principal == U::\"u\"",
            "principal in G::\"g\"",
            "principal in G::\"h\"",
        ]);
        let action =
            self.of(&["action", "action == Action::\"a\"", "action in [Action::\"a\", Action::\"b\"]"]);
        let resource = self.of(&["resource", "resource", "resource == R::\"r\""]);
        let word = self.of(&["when", "when", "unless"]);
        let condition = self.condition(2);
        format!(
            "@id(\"p.{number}\")\n@description(\"Random.\")\n{reason}{effect} ({principal}, {action}, {resource}) {word} {{ {condition} }};\n"
        )
    }

    fn set(&mut self) -> String {
        (0..=self.next(4)).map(|number| self.policy(number)).collect()
    }
}

fn bundle(policies: &str) -> Option<Bundle> {
    // A forbid that can never hold is refused; another set takes its place.
    Bundle::load(Sources::new().with_schema("s.cedarschema", SCHEMA).with_policy("p.cedar", policies)).ok()
}

/// Every request that the policies can tell from another.
fn requests() -> Vec<Query> {
    let uid = |kind: &str, id: &str| EntityUid::new(kind, id);
    let user = |name: &str, on: bool, n: i64, groups: usize| {
        let mut entity = Entity::bare(uid("U", name)).with("on", Value::Bool(on)).with("n", Value::Long(n));
        for (bit, group) in ["g", "h"].iter().enumerate() {
            if groups >> bit & 1 == 1 {
                entity = entity.in_parent(uid("G", group));
            }
        }
        entity
    };
    let mut all = Vec::new();
    for bits in 0..1_usize << 9 {
        let is = |bit: usize| bits >> bit & 1 == 1;
        for n in NUMBERS {
            for owner_groups in 0..3_usize {
                let own = owner_groups == 2;
                let name = if is(0) { "u" } else { "v" };
                let owner = if own { name } else { "w" };
                // The other one's facts do not matter where the principal owns the resource.
                if own && (is(8) || is(7)) {
                    continue;
                }
                let groups = bits >> 1 & 3;
                let context: Fields = [("c".into(), Value::Bool(is(3)))].into_iter().collect();
                let resource = uid("R", if is(4) { "r" } else { "s" });
                let thing = Entity::bare(resource.clone())
                    .with("owner", Value::Entity(uid("U", owner)))
                    .with("open", Value::Bool(is(5)));
                let mut entities = vec![
                    user(name, is(6), n, groups),
                    thing,
                    Entity::bare(uid("G", "g")),
                    Entity::bare(uid("G", "h")),
                ];
                if !own {
                    entities.push(user("w", is(7), 0, owner_groups));
                }
                all.push(Query {
                    principal: uid("U", name),
                    action: uid("Action", if is(8) { "a" } else { "b" }),
                    resource,
                    context: Value::Record(context),
                    entities: entities.into_iter().map(Arc::new).collect(),
                });
                if own {
                    let again = all.last().unwrap().clone();
                    all.push(Query { action: uid("Action", "a"), ..again });
                }
            }
        }
    }
    all
}

/// Holds the prover against the requests, for so many random pairs of sets.
fn hold(sets: usize, seed: u64) {
    let Ok(solver) = Solver::find(&Settings::default()) else {
        assert!(std::env::var_os("CAXTON_TESTS").is_none(), "the solver is missing");
        return;
    };
    let requests = requests();
    let mut random = Random(seed);
    let (mut done, mut proven, mut refuted) = (0, 0, 0);
    while done < sets {
        let (here, there) = (random.set(), random.set());
        let (Some(bundle), Some(other)) = (bundle(&here), bundle(&there)) else { continue };
        done += 1;
        let other = Arc::new(other);
        let claims = [
            Claim::never_errors(&bundle, &[]).unwrap(),
            Claim::no_more_permissive(&bundle, Arc::clone(&other), "there", &[]).unwrap(),
            Claim::equivalent(&bundle, Arc::clone(&other), "there", &[]).unwrap(),
            Claim::disjoint(&bundle, Arc::clone(&other), "there", &[]).unwrap(),
        ];
        let decided: Vec<(bool, bool, bool)> = requests
            .iter()
            .map(|query| {
                let (ours, theirs) = (bundle.decide(query), other.decide(query));
                let allows = |outcome| outcome == Outcome::Allow;
                (allows(ours.outcome), allows(theirs.outcome), !ours.errors.is_empty())
            })
            .collect();
        for (number, claim) in claims.iter().enumerate() {
            let result = prove(&bundle, claim, &solver, &|_, _| {});
            let broken = decided.iter().zip(&requests).find(|((here, there, erred), _)| match number {
                0 => *erred,
                1 => *here && !there,
                2 => here != there,
                _ => *here && *there,
            });
            let about = || {
                format!(
                    "seed {seed}, set {done}, `{}`:\n{here}\n----\n{there}\n{broken:?}\n{result:?}",
                    claim.words
                )
            };
            match result.verdict {
                ProofVerdict::Proven => {
                    proven += 1;
                    assert!(broken.is_none(), "proven, and not so: {}", about());
                }
                ProofVerdict::Refuted => {
                    refuted += 1;
                    assert!(broken.is_some(), "refuted, and it holds for every request: {}", about());
                }
                ProofVerdict::NotProven => panic!("not settled: {}", about()),
            }
        }
    }
    assert!(proven > sets / 4 && refuted > sets / 4, "{proven} proven, {refuted} refuted");
}

#[test]
fn random_sets_hold_proof_against_evaluation() {
    hold(12, 1);
}

#[test]
#[ignore = "2,000 sets take long"]
fn many_random_sets_hold_proof_against_evaluation() {
    hold(2_000, 2);
}
