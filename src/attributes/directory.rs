//! The directory of entity attributes: the snapshot that decides, the store behind it, and the callers that wait for
//! changes. Changes come one at a time and take the permit of exactly that change.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Settings;
use super::change::{check, outcome};
use super::entry::StoredEntity;
use super::error::AttributesError;
use super::snapshot::Snapshot;
use super::store::{Store, StoreChange};
use super::view::DecisionAttributes;
use crate::agents::Register;
use crate::authz::{AttributeSource, Permit};
use crate::clock::SharedClock;
use crate::model::{Entity, EntityUid, ImportEntities, ReadEntities, WriteEntity};
use crate::policy::Bundle;
use crate::tools::Registry;

/// The attributes of principals and resources. Cheap to clone.
#[derive(Clone)]
pub struct Attributes(Arc<Inner>);

/// Where attributes come from beside the store; fixed while the directory lives.
pub(super) struct Sources {
    pub(super) settings: Settings,
    pub(super) agents: Register,
    pub(super) tools: Registry,
}

pub(super) struct Inner {
    pub(super) sources: Arc<Sources>,
    snapshot: ArcSwap<Snapshot>,
    /// Held for every change, so there is one at a time.
    writer: Mutex<Writer>,
    clock: SharedClock,
    version: watch::Sender<u64>,
}

struct Writer {
    store: Store,
    /// The newest changes, oldest first.
    changes: VecDeque<ChangedEntity>,
}

/// One change of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedEntity {
    /// The version that the change made.
    pub version: u64,
    /// The entity that changed.
    pub uid: EntityUid,
}

/// The entities that changed since a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangesSince {
    /// These entities, each once.
    Entities(BTreeSet<EntityUid>),
    /// More than is remembered: read everything again.
    Everything,
}

/// The result of a change to one entity.
#[derive(Debug, Clone)]
pub struct WriteResult {
    /// The stored entity; `None` when it was deleted.
    pub entry: Option<Arc<StoredEntity>>,
    /// The version that the change made.
    pub version: u64,
}

/// The result of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportResult {
    /// Entities in the store afterwards.
    pub entities: usize,
    /// Entities that are new or changed.
    pub changed: usize,
    /// Entities that were removed.
    pub removed: usize,
    /// The version that the import made.
    pub version: u64,
}

impl Attributes {
    /// Opens the store. What agents and tools are comes from `agents` and `tools`. Blocks: call it off the async threads.
    pub fn open(
        settings: Settings,
        agents: Register,
        tools: Registry,
        clock: SharedClock,
    ) -> Result<Self, AttributesError> {
        let store = Store::open(&settings.database)?;
        let snapshot = store.load()?;
        let attributes = Self(Arc::new(Inner {
            version: watch::Sender::new(snapshot.version()),
            snapshot: ArcSwap::from_pointee(snapshot),
            writer: Mutex::new(Writer { store, changes: VecDeque::new() }),
            sources: Arc::new(Sources { settings, agents, tools }),
            clock,
        }));
        attributes.agents_changed()?;
        Ok(attributes)
    }

    /// What the store of a gateway holds at this moment, to look at: nothing is written, and a gateway may run beside it.
    /// Without a store nothing is known. Blocks.
    pub fn look(settings: &Settings) -> Result<Snapshot, AttributesError> {
        match settings.database.exists() {
            true => Ok(Store::open(&settings.database)?.load()?),
            false => Ok(Snapshot::default()),
        }
    }

    /// What a decision would know by a snapshot, with agents and tools as files define them.
    pub fn of_files(
        settings: Settings,
        definitions: impl IntoIterator<Item = Arc<Entity>>,
        snapshot: Arc<Snapshot>,
    ) -> Arc<dyn crate::authz::KnownAttributes> {
        Arc::new(DecisionAttributes::of_files(settings, definitions, snapshot))
    }

    /// The snapshot of this moment.
    pub fn read(&self, permit: Permit<ReadEntities>) -> Arc<Snapshot> {
        let ReadEntities = permit.into_operation();
        self.0.snapshot.load_full()
    }

    /// The snapshot of this moment, to find the entities that policies are asked about. It grants no access by itself.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot.load_full()
    }

    /// Makes the change, if it may be made `still` when those before it are done; the next decision sees it. Blocks: call
    /// it off the async threads.
    pub fn write<E: From<AttributesError>>(
        &self,
        permit: Permit<WriteEntity>,
        bundle: &Bundle,
        still: impl FnOnce() -> Result<(), E>,
    ) -> Result<WriteResult, E> {
        let WriteEntity { uid, change, sha256: _ } = permit.into_operation();
        let mut writer = self.0.writer.lock();
        still()?;
        let mut next = Snapshot::clone(&self.0.snapshot.load());
        let version = next.version() + 1;
        let now = next.get(&uid).cloned();
        let written = match outcome(&uid, change, now.as_deref())? {
            Some(draft) => {
                let entry = Arc::new(check(draft, version, bundle, &self.0.sources.settings)?);
                let Entity { uid, parents, .. } = &*entry.entity;
                if let Some(parent) = next.circle(uid, parents) {
                    return Err(AttributesError::Circle { child: uid.clone(), parent: parent.clone() }.into());
                }
                next.put(Arc::clone(&entry));
                Some(entry)
            }
            None => {
                next.remove(&uid);
                None
            }
        };
        self.check_size(&next)?;
        let step = written.as_deref().map_or(StoreChange::Remove(&uid), StoreChange::Put);
        writer.store.apply(&[step], version, next.imported())?;
        next.stamp(version, next.imported());
        self.show(&mut writer, next, [uid]);
        Ok(WriteResult { entry: written, version })
    }

    /// Takes all of the entities over, or none, if that may be done `still` when the changes before it are. Blocks: call it
    /// off the async threads.
    pub fn import<E: From<AttributesError>>(
        &self,
        permit: Permit<ImportEntities>,
        bundle: &Bundle,
        still: impl FnOnce() -> Result<(), E>,
    ) -> Result<ImportResult, E> {
        let ImportEntities { drafts, replace, sha256: _ } = permit.into_operation();
        let mut writer = self.0.writer.lock();
        still()?;
        let old = self.0.snapshot.load_full();
        let version = old.version() + 1;
        let mut names = BTreeSet::new();
        let mut next = if replace { Snapshot::default() } else { Snapshot::clone(&old) };
        for draft in &drafts {
            if !names.insert(draft.entity.uid.clone()) {
                return Err(AttributesError::Twice(draft.entity.uid.clone()).into());
            }
        }
        let mut changed = Vec::new();
        for draft in drafts {
            let mut entry = check(draft, version, bundle, &self.0.sources.settings)?;
            match old.get(&entry.entity.uid) {
                Some(before) if before.draft() == entry.draft() => entry.version = before.version,
                _ => changed.push(entry.entity.uid.clone()),
            }
            next.put(Arc::new(entry));
        }
        if let Some((child, parent)) = next.any_circle(&names) {
            return Err(AttributesError::Circle { child: child.clone(), parent: parent.clone() }.into());
        }
        self.check_size(&next)?;
        let gone: Vec<EntityUid> = old
            .after(None)
            .map(|entry| entry.entity.uid.clone())
            .filter(|uid| replace && !names.contains(uid))
            .collect();
        let mut steps = if replace { vec![StoreChange::Clear] } else { Vec::new() };
        steps.extend(names.iter().filter_map(|uid| next.get(uid)).map(|entry| StoreChange::Put(entry)));
        let imported = Some(self.0.clock.now_millis());
        writer.store.apply(&steps, version, imported)?;
        next.stamp(version, imported);
        let done =
            ImportResult { entities: next.len(), changed: changed.len(), removed: gone.len(), version };
        self.show(&mut writer, next, changed.into_iter().chain(gone));
        Ok(done)
    }

    /// Counts a change of the agents' definitions, so that two records of one version saw the same.
    pub fn agents_changed(&self) -> Result<(), AttributesError> {
        let mut writer = self.0.writer.lock();
        let mut next = Snapshot::clone(&self.0.snapshot.load());
        let version = next.version() + 1;
        let imported = next.imported();
        writer.store.apply(&[], version, imported)?;
        next.stamp(version, imported);
        self.show(&mut writer, next, []);
        Ok(())
    }

    /// What has changed since `since`, and the version now. It is not shown without a permit:
    /// ```compile_fail,E0061
    /// fn read(attributes: &caxton::attributes::Attributes) {
    ///     let _ = attributes.changes(0);
    /// }
    /// ```
    pub fn changes(&self, permit: Permit<ReadEntities>, since: u64) -> (u64, ChangesSince) {
        let ReadEntities = permit.into_operation();
        let writer = self.0.writer.lock();
        let now = self.0.snapshot.load().version();
        let first = writer.changes.front().map_or(now, |oldest| oldest.version);
        let remembers = since >= now || since + 1 >= first && !writer.changes.is_empty();
        let forgot = !remembers || since > now;
        let newer = writer.changes.iter().filter(|changed| changed.version > since);
        let changes = newer.map(|changed| changed.uid.clone()).collect();
        (now, if forgot { ChangesSince::Everything } else { ChangesSince::Entities(changes) })
    }

    /// The version; changes when it grows.
    pub fn versions(&self, permit: Permit<ReadEntities>) -> watch::Receiver<u64> {
        let ReadEntities = permit.into_operation();
        self.0.version.subscribe()
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.0
    }

    fn check_size(&self, next: &Snapshot) -> Result<(), AttributesError> {
        let limit = self.0.sources.settings.max_entities;
        if next.len() > limit {
            return Err(AttributesError::TooMuch { what: "entities", limit });
        }
        Ok(())
    }

    /// INVARIANT: the caller holds the writer, and the store holds what `next` does.
    fn show(&self, writer: &mut Writer, next: Snapshot, changed: impl IntoIterator<Item = EntityUid>) {
        let version = next.version();
        self.0.snapshot.store(Arc::new(next));
        writer.changes.extend(changed.into_iter().map(|uid| ChangedEntity { version, uid }));
        let over = writer.changes.len().saturating_sub(self.0.sources.settings.max_changes);
        let last = writer.changes.drain(..over).next_back().map(|changed| changed.version);
        // When a part of a version was dropped, all of it is: watchers have to read everything again.
        while last.is_some() && writer.changes.front().map(|changed| changed.version) == last {
            writer.changes.pop_front();
        }
        self.0.version.send_replace(version);
    }
}

impl AttributeSource for Attributes {
    fn current(&self) -> Arc<dyn crate::authz::KnownAttributes> {
        Arc::new(DecisionAttributes::new(Arc::clone(&self.0.sources), self.0.snapshot.load_full()))
    }
}
