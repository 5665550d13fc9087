//! Combines stored attributes with those that the credential proved, for one decision.
//!
//! The rule, and why no caller can gain rights by it:
//! - **Attributes and tags**: the store wins. What it does not say stays as the credential proved it.
//! - **Parents** (roles, groups) that a credential claims count beside the stored ones only if the entry says
//!   `claims: united`. An entry that was put without that says everything: an old token whose roles have been taken away
//!   in the store gains nothing by still naming them.
//! - **Revoked** parents never count, also when a credential claims them; nor does any other parent that is in a revoked one, or a role
//!   taken away would come back through a role that includes it.
//! - **Programs** (API keys): the store only takes away. Several keys share a name, and a stored role would reach the key
//!   that was made to be weak.
//! - **Agents** are what their definition says; the store adds roles. Tools and memory are what the gateway says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Settings;
use super::directory::Sources;
use super::entry::StoredEntity;
use super::snapshot::Snapshot;
use crate::agents::AgentSnapshot;
use crate::authz::KnownAttributes;
use crate::model::{AgentId, Claims, Entity, EntityUid, MemoryScope, ToolId};
use crate::policy::{Bundle, Query, close};

/// The attributes of one decision: one snapshot, and the agents and tools of that moment.
pub(super) struct DecisionAttributes {
    definitions: Definitions,
    snapshot: Arc<Snapshot>,
    /// A principal had more parents than one decision may look at, so it is unknown which of them are revoked.
    too_much: AtomicBool,
}

/// What agents and tools are.
enum Definitions {
    /// Those of a running gateway.
    Live { sources: Arc<Sources>, agents: AgentSnapshot },
    /// Those that files define, by name.
    Files { settings: Settings, entities: BTreeMap<EntityUid, Arc<Entity>> },
}

impl Definitions {
    fn agent(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        match self {
            Self::Live { agents, .. } => {
                agents.get(&AgentId::parse(uid.id()).ok()?).map(|agent| Arc::clone(agent.entity()))
            }
            Self::Files { entities, .. } => entities.get(uid).cloned(),
        }
    }

    fn tool(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        match self {
            Self::Live { sources, .. } => {
                let tool = sources.tools.get(&ToolId::parse(uid.id()).ok()?)?;
                Some(Arc::clone(&tool.descriptor().entity))
            }
            Self::Files { entities, .. } => entities.get(uid).cloned(),
        }
    }

    fn settings(&self) -> &Settings {
        match self {
            Self::Live { sources, .. } => &sources.settings,
            Self::Files { settings, .. } => settings,
        }
    }
}

impl DecisionAttributes {
    pub(super) fn new(sources: Arc<Sources>, snapshot: Arc<Snapshot>) -> Self {
        let agents = sources.agents.snapshot();
        Self {
            definitions: Definitions::Live { sources, agents },
            snapshot,
            too_much: AtomicBool::new(false),
        }
    }

    /// The same with agents and tools as files define them.
    pub(super) fn of_files(
        settings: Settings,
        definitions: impl IntoIterator<Item = Arc<Entity>>,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        let entities = definitions.into_iter().map(|entity| (entity.uid.clone(), entity)).collect();
        let definitions = Definitions::Files { settings, entities };
        Self { definitions, snapshot, too_much: AtomicBool::new(false) }
    }

    fn agent(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        let agent = self.definitions.agent(uid)?;
        Some(match self.snapshot.get(uid) {
            None => agent,
            Some(entry) => {
                let mut entity = Entity::clone(&agent);
                let mut roles = entry.entity.parents.clone();
                self.drop_revoked(entry, &mut roles);
                entity.parents.extend(roles);
                entity.into()
            }
        })
    }

    /// Removes parents that are revoked or are in a revoked one. When that cannot be found out, the decision is refused.
    fn drop_revoked(&self, entry: &StoredEntity, parents: &mut Vec<EntityUid>) {
        if entry.revoked.is_empty() {
            return;
        }
        let most = self.definitions.settings().max_per_decision;
        match self.snapshot.within(parents.iter(), &entry.revoked, most) {
            Some(revoked) => {
                let stay: Vec<bool> = parents.iter().map(|parent| !revoked.contains(parent)).collect();
                let mut stay = stay.into_iter();
                parents.retain(|_| stay.next().unwrap_or(false));
            }
            None => {
                parents.clear();
                self.too_much.store(true, Ordering::Relaxed);
            }
        }
    }

    fn merged(&self, proven: &Entity, entry: &StoredEntity) -> Entity {
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
        self.drop_revoked(entry, &mut entity.parents);
        entity
    }
}

impl KnownAttributes for DecisionAttributes {
    fn entity(&self, uid: &EntityUid) -> Option<Arc<Entity>> {
        match uid.type_name() {
            "Caxton::Agent" => self.agent(uid),
            "Caxton::Tool" => self.definitions.tool(uid),
            "Caxton::MemoryScope" => uid.id().parse::<MemoryScope>().ok().map(|scope| scope.entity().into()),
            _ => {
                let entry = self.snapshot.get(uid)?;
                if entry.revoked.is_empty() {
                    return Some(Arc::clone(&entry.entity));
                }
                let mut entity = Entity::clone(&entry.entity);
                self.drop_revoked(entry, &mut entity.parents);
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

    fn close(&self, question: &mut Query, bundles: &[&Bundle]) -> bool {
        for entity in question.entities.iter_mut().filter(|entity| entity.uid.type_name() == "Caxton::Agent")
        {
            // An operation may bring the entity of an agent without its roles.
            if let Some(agent) = self.agent(&entity.uid).filter(|_| self.snapshot.get(&entity.uid).is_some())
            {
                *entity = agent;
            }
        }
        let named = |question: &Query| bundles.iter().flat_map(|bundle| bundle.named_for(question)).collect();
        let most = self.definitions.settings().max_per_decision;
        close(question, named, most, &|uid| self.entity(uid)) && !self.too_much.load(Ordering::Relaxed)
    }

    fn version(&self) -> u64 {
        self.snapshot.version()
    }

    fn age_seconds(&self, now_millis: i64) -> Option<u64> {
        let age = now_millis.saturating_sub(self.snapshot.imported()?);
        Some(u64::try_from(age / 1_000).unwrap_or(0))
    }

    fn is_stale(&self, now_millis: i64) -> bool {
        match (self.definitions.settings().max_age, self.age_seconds(now_millis)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(most), Some(age)) => age > most.as_secs(),
        }
    }
}
