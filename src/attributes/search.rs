//! The entities about which a search asks the policies, in order, from a given one on.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::directory::Attributes;
use super::snapshot::Snapshot;
use crate::model::{EntityUid, MemoryScope};
use crate::policy::Reachable;

impl Attributes {
    /// The known entities of the type `kind` that are `reachable`, by id, from after the id `after`; at most `most`.
    ///
    /// The guard still decides about each of them: a group may have members that are not permitted.
    pub fn candidates(
        &self,
        kind: &str,
        reachable: &Reachable,
        after: Option<&str>,
        most: usize,
    ) -> Vec<EntityUid> {
        let snapshot = self.snapshot();
        let later = |uid: &EntityUid| after.is_none_or(|after| uid.id() > after);
        if let Some(own) = self.of_gateway(kind) {
            return own.into_iter().filter(later).take(most).collect();
        }
        match reachable {
            Reachable::All => {
                snapshot.of_type(kind, after).map(|entry| entry.entity.uid.clone()).take(most).collect()
            }
            Reachable::Only { named, members_of } => {
                let found = reached(&snapshot, kind, named, members_of);
                found.into_iter().filter(later).take(most).collect()
            }
        }
    }

    /// Every entity of a type of which the gateway itself says what there is; `None` for other types.
    fn of_gateway(&self, kind: &str) -> Option<BTreeSet<EntityUid>> {
        let agents = || self.inner().sources.agents.all();
        Some(match kind {
            "Caxton::Agent" => agents().iter().map(|agent| agent.entity().uid.clone()).collect(),
            "Caxton::Tool" => {
                let tools: Arc<[_]> = self.inner().sources.tools.tools();
                tools.iter().map(|tool| tool.descriptor().entity.uid.clone()).collect()
            }
            "Caxton::MemoryScope" => {
                let agents = agents();
                let own = agents.iter().map(|agent| MemoryScope::Agent(agent.id().clone()));
                let shared = agents.iter().filter_map(|agent| agent.definition.workspace.clone());
                let scopes = own.chain(shared.map(MemoryScope::Workspace)).chain([MemoryScope::Global]);
                scopes.map(|scope| scope.uid()).collect()
            }
            _ => return None,
        })
    }
}

fn reached(
    snapshot: &Snapshot,
    kind: &str,
    named: &BTreeSet<EntityUid>,
    groups: &BTreeSet<EntityUid>,
) -> BTreeSet<EntityUid> {
    let known = |uid: &&EntityUid| uid.type_name() == kind && snapshot.get(uid).is_some();
    let mut found: BTreeSet<EntityUid> = named.iter().chain(groups).filter(known).cloned().collect();
    for group in groups {
        found.extend(snapshot.members(group, kind));
    }
    found
}
