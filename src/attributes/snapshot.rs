//! All entities at one moment. A change makes a new snapshot that shares everything but one path with the old one, so
//! its cost does not grow with the number of entities, and readers never wait.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::entry::StoredEntity;
use crate::model::EntityUid;

/// All entities at one moment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot {
    entries: RedBlackTreeMapSync<EntityUid, Arc<StoredEntity>>,
    /// Parent and child, so that the members of a group are found without a scan of all entities.
    children: RedBlackTreeSetSync<(EntityUid, EntityUid)>,
    version: u64,
    imported: Option<i64>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            entries: RedBlackTreeMapSync::new_sync(),
            children: RedBlackTreeSetSync::new_sync(),
            version: 0,
            imported: None,
        }
    }
}

impl Snapshot {
    /// Grows with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When the last import was taken over, in milliseconds since the Unix epoch.
    pub fn imported(&self) -> Option<i64> {
        self.imported
    }

    /// How many entities there are.
    pub fn len(&self) -> usize {
        self.entries.size()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One entity.
    pub fn get(&self, uid: &EntityUid) -> Option<&Arc<StoredEntity>> {
        self.entries.get(uid)
    }

    /// All entities in order of type and id, from after `after`.
    pub fn after<'s>(&'s self, after: Option<&'s EntityUid>) -> impl Iterator<Item = &'s Arc<StoredEntity>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<EntityUid, _>((from, Bound::Unbounded)).map(|(_, entry)| entry)
    }

    /// The entities of a type in order of their ids, from after the id `after`.
    pub fn of_type<'s>(
        &'s self,
        kind: &'s str,
        after: Option<&str>,
    ) -> impl Iterator<Item = &'s Arc<StoredEntity>> {
        let first = EntityUid::new(kind, after.unwrap_or_default());
        let from = if after.is_some() { Bound::Excluded(first) } else { Bound::Included(first) };
        self.entries
            .range((from, Bound::Unbounded))
            .map(|(_, entry)| entry)
            .take_while(move |entry| entry.entity.uid.type_name() == kind)
    }

    /// What is stored of a type, and what of that type something is directly in.
    pub fn groups(&self, kind: &str) -> BTreeSet<EntityUid> {
        let parents = self.children.iter().map(|(parent, _)| parent).filter(|uid| uid.type_name() == kind);
        let stored = self.of_type(kind, None).map(|entry| &entry.entity.uid);
        parents.chain(stored).cloned().collect()
    }

    /// The direct members of a group.
    pub fn children<'s>(&'s self, group: &'s EntityUid) -> impl Iterator<Item = &'s EntityUid> {
        let first = (group.clone(), EntityUid::new("", ""));
        self.children
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(parent, _)| parent == group)
            .map(|(_, child)| child)
    }

    /// The entities of a type that are in a group, at any depth.
    pub fn members(&self, group: &EntityUid, kind: &str) -> BTreeSet<EntityUid> {
        let mut pending = vec![group];
        let mut seen: HashSet<&EntityUid> = HashSet::from([group]);
        while let Some(next) = pending.pop() {
            pending.extend(self.children(next).filter(|child| seen.insert(child)));
        }
        seen.into_iter().filter(|uid| *uid != group && uid.type_name() == kind).cloned().collect()
    }

    /// Whether one entity is the other or in it, at any depth, as far as the store says.
    pub fn is_in(&self, child: &EntityUid, group: &EntityUid) -> bool {
        let mut pending = vec![child];
        let mut seen: HashSet<&EntityUid> = HashSet::new();
        while let Some(next) = pending.pop() {
            if next == group {
                return true;
            }
            if let Some(entry) = self.entries.get(next).filter(|_| seen.insert(next)) {
                pending.extend(&entry.entity.parents);
            }
        }
        false
    }

    /// The parent through which an entity with these parents would be in itself.
    pub fn circle<'p>(&self, child: &EntityUid, parents: &'p [EntityUid]) -> Option<&'p EntityUid> {
        parents.iter().find(|parent| self.is_in(parent, child))
    }

    /// Of `starts` and what they are in, at any depth: those that are one of `groups` or in one. Looks at no more than
    /// `most` stored entities, at each once; `None` when there are more.
    pub fn within<'s>(
        &'s self,
        starts: impl IntoIterator<Item = &'s EntityUid>,
        groups: impl IntoIterator<Item = &'s EntityUid>,
        most: usize,
    ) -> Option<HashSet<&'s EntityUid>> {
        let mut pending: Vec<_> = starts.into_iter().collect();
        let mut below: HashMap<&EntityUid, Vec<&EntityUid>> = HashMap::new();
        let mut seen = HashSet::new();
        let mut stored = 0_usize;
        while let Some(next) = pending.pop() {
            if !seen.insert(next) {
                continue;
            }
            let Some(entry) = self.entries.get(next) else { continue };
            stored += 1;
            if stored > most {
                return None;
            }
            for parent in &entry.entity.parents {
                below.entry(parent).or_default().push(next);
                pending.push(parent);
            }
        }
        let mut found = HashSet::new();
        pending.extend(groups.into_iter().filter(|group| seen.contains(group)));
        while let Some(next) = pending.pop() {
            if found.insert(next) {
                pending.extend(below.get(next).into_iter().flatten());
            }
        }
        Some(found)
    }

    /// An entity that is in itself by way of one of `changed`, and the parent through which it is. Looks at each entity
    /// and each edge once, however many changed.
    pub fn any_circle<'s>(
        &'s self,
        changed: impl IntoIterator<Item = &'s EntityUid>,
    ) -> Option<(&'s EntityUid, &'s EntityUid)> {
        let parents = |uid| self.entries.get(uid).map_or(&[][..], |entry| entry.entity.parents.as_slice());
        // Those on the way from where the walk began, each with the parents that were not looked at yet.
        let mut done = HashSet::new();
        let mut on_way = HashSet::new();
        let mut way = Vec::new();
        for start in changed {
            if done.contains(start) {
                continue;
            }
            on_way.insert(start);
            way.push((start, parents(start).iter()));
            while let Some((here, rest)) = way.last_mut() {
                let here = *here;
                match rest.next() {
                    Some(parent) if on_way.contains(parent) => return Some((here, parent)),
                    Some(parent) if done.contains(parent) => {}
                    Some(parent) => {
                        on_way.insert(parent);
                        way.push((parent, parents(parent).iter()));
                    }
                    None => {
                        on_way.remove(here);
                        done.insert(here);
                        way.pop();
                    }
                }
            }
        }
        None
    }

    /// Takes an entity in. Its place in the hierarchy has been checked.
    pub fn put(&mut self, entry: Arc<StoredEntity>) {
        let uid = entry.entity.uid.clone();
        let old = self.entries.get(&uid).cloned();
        let before = old.as_ref().map(|old| old.entity.parents.as_slice());
        let now = &entry.entity.parents;
        let before = before.unwrap_or_default();
        for gone in before.iter().filter(|parent| !now.contains(parent)) {
            self.children.remove_mut(&(gone.clone(), uid.clone()));
        }
        for new in now.iter().filter(|parent| !before.contains(parent)) {
            self.children.insert_mut((new.clone(), uid.clone()));
        }
        self.entries.insert_mut(uid, entry);
    }

    /// Forgets an entity; whether it was there.
    pub fn remove(&mut self, uid: &EntityUid) -> bool {
        let Some(old) = self.entries.get(uid).cloned() else { return false };
        for parent in &old.entity.parents {
            self.children.remove_mut(&(parent.clone(), uid.clone()));
        }
        self.entries.remove_mut(uid)
    }

    /// Sets the version and the instant of the last import.
    pub(super) fn stamp(&mut self, version: u64, imported: Option<i64>) {
        (self.version, self.imported) = (version, imported);
    }
}
