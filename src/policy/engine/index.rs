//! Which policies can be about a request, without looking at the others.
//!
//! A scope is three keys: what the principal, the action and the resource must be (anything, this entity, in
//! this group, of this type). A request has few keys that any policy uses (its three names, their types, their
//! ancestors), so only policies under one of its principal's keys are looked at, and of these only those whose
//! other two keys fit as well. What is left out cannot hold: the answer is the same as over the whole set.
//!
//! Everything lies in one sorted row of cells, because a decision that comes after other work pays for each piece
//! of memory it touches, not for each comparison.

use std::sync::Arc;

use cedar_policy_core::ast::{EntityType, EntityUID};
use rustc_hash::FxHashMap;

use super::compiled::{ActionScope, CompiledPolicy, ScopeConstraint, ScopeSubject};
use super::evaluate::Asked;

/// Up to this many policies, asking each one is as fast as finding out which to ask.
const FEW: usize = 16;
/// Up to this many cells under one principal are walked; more are looked up by action and resource.
const SHORT: usize = 24;

/// A key of one position. [`ANY`] is the key that every request has.
type Key = u32;
const ANY: Key = 0;

/// The index over a program; numbers in it are positions in the program.
#[derive(Debug, Default)]
pub(crate) struct Index {
    policies: usize,
    principals: Position,
    actions: Position,
    resources: Position,
    /// By principal, action, resource, number.
    cells: Vec<Cell>,
    /// Where the cells of each principal's key begin; one more at the end.
    begins: Vec<usize>,
    /// Where the cells of three keys lie, for principals with many.
    // Keys come from policies, which the operator wrote, so the fast hasher cannot be attacked by requests: they
    // only look up.
    wide: FxHashMap<(Key, Key, Key), (usize, usize)>,
}

/// A policy under its three keys. One about several action groups has several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    principal: Key,
    action: Key,
    resource: Key,
    number: u32,
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
    pub(crate) fn new(program: &[Arc<CompiledPolicy>]) -> Self {
        let mut index = Self { policies: program.len(), ..Self::default() };
        if program.len() <= FEW {
            return index;
        }
        for (number, policy) in (0_u32..).zip(program) {
            let principal = index.principals.key_of(&policy.scope.principal);
            let resource = index.resources.key_of(&policy.scope.resource);
            for action in index.actions.keys_of(&policy.scope.action) {
                index.cells.push(Cell { principal, action, resource, number });
            }
        }
        index.cells.sort_unstable();
        index.begin();
        index
    }

    fn begin(&mut self) {
        let mut end = 0;
        let mut row = self.cells.iter().peekable();
        for principal in 0..=self.principals.last {
            self.begins.push(end);
            while row.next_if(|cell| cell.principal == principal).is_some() {
                end += 1;
            }
        }
        self.begins.push(end);
        let alike =
            |a: &Cell, b: &Cell| (a.principal, a.action, a.resource) == (b.principal, b.action, b.resource);
        for under in
            self.cells.chunk_by(|a, b| a.principal == b.principal).filter(|under| under.len() > SHORT)
        {
            let mut at = under.first().and_then(|cell| self.start(cell.principal)).unwrap_or_default();
            for same in under.chunk_by(alike) {
                let key = same.first().map(|cell| (cell.principal, cell.action, cell.resource));
                self.wide.extend(key.map(|key| (key, (at, at + same.len()))));
                at += same.len();
            }
        }
    }

    fn start(&self, principal: Key) -> Option<usize> {
        self.begins.get(usize::try_from(principal).ok()?).copied()
    }

    /// The policies whose scope holds, in the program's order, each once.
    pub(crate) fn candidates<'p>(
        &self,
        program: &'p [Arc<CompiledPolicy>],
        asked: &Asked<'_>,
    ) -> Vec<&'p CompiledPolicy> {
        if self.policies <= FEW {
            return program.iter().map(AsRef::as_ref).filter(|policy| asked.in_scope(policy)).collect();
        }
        let principals = self.principals.fitting(&asked.principal);
        let actions = self.actions.fitting(&asked.action);
        let resources = self.resources.fitting(&asked.resource);
        let mut numbers: Vec<u32> = Vec::with_capacity(16);
        for principal in principals {
            let (Some(from), Some(to)) = (self.start(principal), self.start(principal + 1)) else { continue };
            let Some(cells) = self.cells.get(from..to) else { continue };
            if cells.len() <= SHORT {
                let fitting = cells
                    .iter()
                    .filter(|cell| actions.contains(&cell.action) && resources.contains(&cell.resource));
                numbers.extend(fitting.map(|cell| cell.number));
                continue;
            }
            for &action in &actions {
                for &resource in &resources {
                    let found = self.wide.get(&(principal, action, resource));
                    let found = found.and_then(|(from, to)| self.cells.get(*from..*to));
                    numbers.extend(found.into_iter().flatten().map(|cell| cell.number));
                }
            }
        }
        // A policy about several action groups has several cells.
        numbers.sort_unstable();
        numbers.dedup();
        let found = numbers.into_iter().filter_map(|number| program.get(usize::try_from(number).ok()?));
        // `is T in G` lies under `G` alone, so its type is still to be asked.
        let found = found.map(AsRef::as_ref);
        found.filter(|policy| policy.scope.by_keys_alone || asked.in_scope(policy)).collect()
    }
}

impl Position {
    fn key_of(&mut self, reach: &ScopeConstraint) -> Key {
        match reach {
            ScopeConstraint::Any => ANY,
            ScopeConstraint::Eq(uid) => intern(&mut self.named, uid, &mut self.last),
            ScopeConstraint::In(group) | ScopeConstraint::IsIn(_, group) => {
                intern(&mut self.groups, group, &mut self.last)
            }
            ScopeConstraint::Is(kind) => intern(&mut self.types, kind, &mut self.last),
        }
    }

    fn keys_of(&mut self, reach: &ActionScope) -> Vec<Key> {
        match reach {
            ActionScope::Any => vec![ANY],
            ActionScope::Eq(uid) => vec![intern(&mut self.named, uid, &mut self.last)],
            ActionScope::In(groups) => {
                let mut keys: Vec<Key> =
                    groups.iter().map(|group| intern(&mut self.groups, group, &mut self.last)).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }

    /// Every key that fits what is asked about.
    fn fitting(&self, place: &ScopeSubject<'_>) -> Vec<Key> {
        let mut keys = Vec::with_capacity(8);
        keys.push(ANY);
        keys.extend(self.named.get(place.uid));
        keys.extend(self.types.get(place.uid.entity_type()));
        keys.extend(self.groups.get(place.uid));
        if !self.groups.is_empty() {
            keys.extend(place.ancestors.each().filter_map(|group| self.groups.get(group)));
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
