//! How what is stored meets what is proven, for one decision.
//!
//! The rule, and why nobody gains by it:
//! - **Attributes and tags**: the store wins. What it does not say stays as the credential proved it.
//! - **Parents** (roles, groups) that a credential claims count beside the stored ones only if the entry says
//!   `claims: united`. An entry that was put without that says everything: an old token whose roles have been taken away
//!   in the store gains nothing by still naming them.
//! - **Revoked** parents never count, whoever states them; nor does any other parent that is in a revoked one, or a role
//!   taken away would come back through a role that includes it.
//! - **Programs** (API keys): the store only takes away. Several keys share a name, and a stored role would reach the key
//!   that was made to be weak.
//! - **Agents** are what their definition says; the store adds roles. Tools and memory are what the gateway says.

use std::collections::HashSet;
use std::sync::Arc;

use super::directory::Inner;
use super::entry::Entry;
use super::snapshot::Snapshot;
use crate::authz::Attributes;
use crate::model::{AgentId, Claims, Entity, EntityUid, MemoryScope, ToolId};

/// What is known at one moment.
pub(super) struct View {
    pub(super) inner: Arc<Inner>,
    pub(super) snapshot: Arc<Snapshot>,
}

impl View {
    fn agent(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        let agent = self.inner.agents.get(&AgentId::parse(uid.id()).ok()?)?;
        Some(match self.snapshot.get(uid) {
            None => Arc::clone(agent.entity()),
            Some(entry) => {
                let mut entity = Entity::clone(agent.entity());
                let roles = entry.entity.parents.iter().filter(|role| !self.is_revoked(entry, role));
                entity.parents.extend(roles.cloned());
                entity.into()
            }
        })
    }

    fn is_revoked(&self, entry: &Entry, parent: &EntityUid) -> bool {
        entry.revoked.iter().any(|revoked| self.snapshot.is_in(parent, revoked))
    }

    fn merged(&self, proven: &Entity, entry: &Entry) -> Entity {
        let mut entity = proven.clone();
        let stored = &entry.entity;
        entity.attributes.extend(stored.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        if entry.claims == Claims::Ignored {
            entity.tags.clear();
            entity.parents.clear();
        }
        entity.tags.extend(stored.tags.iter().map(|(name, value)| (name.clone(), value.clone())));
        for parent in &stored.parents {
            if !entity.parents.contains(parent) {
                entity.parents.push(parent.clone());
            }
        }
        entity.parents.retain(|parent| !self.is_revoked(entry, parent));
        entity
    }
}

impl Attributes for View {
    fn entity(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        match uid.type_name() {
            "Caxton::Agent" => self.agent(uid),
            "Caxton::Tool" => {
                let tool = self.inner.tools.get(&ToolId::parse(uid.id()).ok()?)?;
                Some(Arc::clone(&tool.descriptor().entity))
            }
            "Caxton::MemoryScope" => uid.id().parse::<MemoryScope>().ok().map(|scope| scope.entity().into()),
            _ => {
                let entry = self.snapshot.get(uid)?;
                if entry.revoked.is_empty() {
                    return Some(Arc::clone(&entry.entity));
                }
                let mut entity = Entity::clone(&entry.entity);
                entity.parents.retain(|parent| !self.is_revoked(entry, parent));
                Some(entity.into())
            }
        }
    }

    fn principal(&self, proven: &Arc<Entity>) -> Option<Arc<Entity>> {
        match proven.uid.type_name() {
            "Caxton::Agent" => self.agent(&proven.uid),
            _ => Some(match self.snapshot.get(&proven.uid) {
                Some(entry) => self.merged(proven, entry).into(),
                None => Arc::clone(proven),
            }),
        }
    }

    fn complete(&self, entities: &mut Vec<Arc<Entity>>) -> bool {
        for entity in entities.iter_mut().filter(|entity| entity.uid.type_name() == "Caxton::Agent") {
            // An agent may come as an operation knows it, without its roles.
            if let Some(agent) = self.agent(&entity.uid).filter(|_| self.snapshot.get(&entity.uid).is_some())
            {
                *entity = agent;
            }
        }
        self.add_neighbours(entities)
    }

    fn version(&self) -> u64 {
        self.snapshot.version()
    }

    fn age_seconds(&self, now_millis: i64) -> Option<u64> {
        let age = now_millis.saturating_sub(self.snapshot.imported()?);
        Some(u64::try_from(age / 1_000).unwrap_or(0))
    }

    fn is_stale(&self, now_millis: i64) -> bool {
        match (self.inner.settings.max_age, self.age_seconds(now_millis)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(most), Some(age)) => age > most.as_secs(),
        }
    }
}

impl View {
    /// Adds what the entities are in or name, and what that is in or names, and so on.
    fn add_neighbours(&self, entities: &mut Vec<Arc<Entity>>) -> bool {
        let mut seen: HashSet<EntityUid> = entities.iter().map(|entity| entity.uid.clone()).collect();
        let mut next = 0;
        while let Some(entity) = entities.get(next).cloned() {
            entity.each_neighbour(&mut |uid| {
                if !seen.contains(uid) {
                    entities.extend(self.entity(uid));
                    seen.insert(uid.clone());
                }
            });
            if entities.len() > self.inner.settings.max_per_decision {
                return false;
            }
            next += 1;
        }
        true
    }
}
