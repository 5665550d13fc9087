//! Which policies can be about a request, without looking at the others.
//!
//! A scope is three keys: what the principal, the action and the resource must be (anything, this entity, in
//! this group, of this type). Policies lie in buckets by their three keys. A request has few keys that any
//! policy uses (its three names, their types, their ancestors), so few buckets are opened, however many
//! policies there are. A bucket is only ever opened when all three keys fit, so what is left out cannot hold:
//! the answer is the same as over the whole set.

use std::sync::Arc;

use cedar_policy_core::ast::{EntityType, EntityUID};
use rustc_hash::FxHashMap;

use super::evaluate::Asked;
use super::program::{ActionReach, Compiled, Place, Reach};

/// Up to this many policies, asking each one is as fast as finding out which to ask.
const FEW: usize = 16;

/// A key of one position. [`ANY`] is the key that every request has.
type Key = u32;
const ANY: Key = 0;

// Keys come from policies, which the operator wrote, so the fast hasher cannot be attacked by requests: they
// only look up.
type Buckets = FxHashMap<Key, FxHashMap<Key, FxHashMap<Key, Vec<u32>>>>;

/// The index over a program; positions in it are positions in the program.
#[derive(Debug, Default)]
pub(crate) struct Index {
    policies: usize,
    principals: Position,
    actions: Position,
    resources: Position,
    buckets: Buckets,
}

/// The keys that policies use at one position.
#[derive(Debug, Default)]
struct Position {
    last: Key,
    named: FxHashMap<Arc<EntityUID>, Key>,
    groups: FxHashMap<Arc<EntityUID>, Key>,
    types: FxHashMap<Arc<EntityType>, Key>,
}

impl Index {
    pub(crate) fn new(program: &[Compiled]) -> Self {
        let mut index = Self { policies: program.len(), ..Self::default() };
        if program.len() <= FEW {
            return index;
        }
        for (number, policy) in (0_u32..).zip(program) {
            let principal = index.principals.key_of(&policy.scope.principal);
            let resource = index.resources.key_of(&policy.scope.resource);
            let by_action = index.buckets.entry(principal).or_default();
            for action in index.actions.keys_of(&policy.scope.action) {
                by_action.entry(action).or_default().entry(resource).or_default().push(number);
            }
        }
        index
    }

    /// The policies whose scope holds, in the program's order, each once.
    pub(crate) fn candidates<'p>(&self, program: &'p [Compiled], asked: &Asked<'_>) -> Vec<&'p Compiled> {
        if self.policies <= FEW {
            return program.iter().filter(|policy| asked.in_scope(policy)).collect();
        }
        let principals = self.principals.fitting(&asked.principal);
        let actions = self.actions.fitting(&asked.action);
        let resources = self.resources.fitting(&asked.resource);
        let mut numbers: Vec<u32> = Vec::new();
        for by_action in principals.iter().filter_map(|key| self.buckets.get(key)) {
            for by_resource in present(&actions, by_action) {
                for bucket in present(&resources, by_resource) {
                    numbers.extend(bucket);
                }
            }
        }
        // A policy about several action groups lies in several buckets.
        numbers.sort_unstable();
        numbers.dedup();
        let found = numbers.into_iter().filter_map(|number| program.get(usize::try_from(number).ok()?));
        // `is T in G` lies under `G` alone, so its type is still to be asked.
        found.filter(|policy| policy.scope.by_keys_alone || asked.in_scope(policy)).collect()
    }
}

/// The values under those of `keys` that are there, by the shorter way.
fn present<'m, V>(keys: &[Key], map: &'m FxHashMap<Key, V>) -> impl Iterator<Item = &'m V> {
    let walk = map.len() < keys.len();
    let walked = walk.then(|| map.iter().filter(|(key, _)| keys.contains(key)).map(|(_, value)| value));
    let looked_up = (!walk).then(|| keys.iter().filter_map(|key| map.get(key)));
    let found: Vec<&V> = walked.into_iter().flatten().chain(looked_up.into_iter().flatten()).collect();
    found.into_iter()
}

impl Position {
    fn key_of(&mut self, reach: &Reach) -> Key {
        match reach {
            Reach::Any => ANY,
            Reach::Eq(uid) => intern(&mut self.named, uid, &mut self.last),
            Reach::In(group) | Reach::IsIn(_, group) => intern(&mut self.groups, group, &mut self.last),
            Reach::Is(kind) => intern(&mut self.types, kind, &mut self.last),
        }
    }

    fn keys_of(&mut self, reach: &ActionReach) -> Vec<Key> {
        match reach {
            ActionReach::Any => vec![ANY],
            ActionReach::Eq(uid) => vec![intern(&mut self.named, uid, &mut self.last)],
            ActionReach::In(groups) => {
                let mut keys: Vec<Key> =
                    groups.iter().map(|group| intern(&mut self.groups, group, &mut self.last)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }

    /// Every key that fits what is asked about.
    fn fitting(&self, place: &Place<'_>) -> Vec<Key> {
        let mut keys = vec![ANY];
        keys.extend(self.named.get(place.uid));
        keys.extend(self.types.get(place.uid.entity_type()));
        keys.extend(self.groups.get(place.uid));
        let Some(entity) = place.entity else { return keys };
        // An entity can be in thousands of groups that no policy names, and a policy set can name thousands
        // of groups that the entity is not in: the smaller side is walked.
        if self.groups.len() < entity.ancestors().size_hint().0 {
            let named = self.groups.iter().filter(|(group, _)| ***group != *place.uid);
            keys.extend(named.filter(|(group, _)| entity.is_descendant_of(group)).map(|(_, key)| key));
        } else if !self.groups.is_empty() {
            keys.extend(entity.ancestors().filter_map(|group| self.groups.get(group)));
        }
        keys
    }
}

fn intern<K: std::hash::Hash + Eq>(keys: &mut FxHashMap<Arc<K>, Key>, thing: &Arc<K>, last: &mut Key) -> Key {
    *keys.entry(Arc::clone(thing)).or_insert_with(|| {
        *last += 1;
        *last
    })
}
