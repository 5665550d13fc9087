//! What is asked of memory: rows, one by one, and what is listed or searched.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::sealed;
use super::{Action, Entity, EntityUid, EventType, Input, Operation, Value, length};
use crate::model::MemoryScope;

/// What kind of row a memory operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// A thing that is remembered.
    Entity,
    /// A statement that joins two things.
    Relation,
}

/// A row of memory as a resource: everything a policy may ask about it, and nothing of its content.
#[derive(Debug, Clone)]
pub struct MemoryRow {
    /// Whose memory it is in.
    pub scope: MemoryScope,
    /// Entity or relation.
    pub row: MemoryKind,
    /// The row's name, unique in its scope.
    pub id: Arc<str>,
    /// Who wrote it, as a Cedar name.
    pub owner: Arc<str>,
    /// What the writer calls this kind of thing (`person`, `depends_on`).
    pub kind: Arc<str>,
    /// What it carries (`pii`).
    pub labels: BTreeSet<Arc<str>>,
}

impl MemoryRow {
    /// The row as a Cedar entity. Its id carries the scope, so that equal names in two scopes stay two.
    pub fn entity(&self) -> Entity {
        let type_name = match self.row {
            MemoryKind::Entity => "MemoryEntity",
            MemoryKind::Relation => "MemoryRelation",
        };
        let uid = EntityUid::caxton(type_name, format!("{}/{}", self.scope, self.id));
        let entity = self
            .scope
            .mark(Entity::bare(uid))
            .with("kind", Value::text(&self.kind))
            .with("labels", Value::texts(&self.labels))
            .in_parent(self.scope.uid());
        match EntityUid::parse(&self.owner) {
            Some(owner) => entity.owned_by(&owner),
            // A row that is not there has none.
            None => entity.with("owner", Value::text(&self.owner)),
        }
    }
}

/// Store a thing in memory (`memory:write`). One that exists is overwritten, and judged with the labels and owner it has.
#[derive(Debug)]
pub struct WriteMemoryEntity {
    /// The row: the one that is there, else as it will be.
    pub row: MemoryRow,
    /// What the row will be like.
    pub kind: Arc<str>,
    /// What the row will carry.
    pub labels: BTreeSet<Arc<str>>,
    /// What is known about the thing, one observation a line.
    pub observations: Vec<String>,
}

impl sealed::Sealed for WriteMemoryEntity {}
impl Operation for WriteMemoryEntity {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryWrite
    }
    fn resource(&self) -> Arc<Entity> {
        self.row.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("size", length(self.observations.iter().map(String::len).sum()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.row.id);
        self.observations.iter().for_each(|text| visit(text));
    }
}

/// Join two things in memory (`memory:write`).
#[derive(Debug)]
pub struct WriteMemoryRelation {
    /// The relation; its id is `<from>--<kind>--<to>`.
    pub row: MemoryRow,
    /// Name of the thing it starts at, in the same scope.
    pub from: Arc<str>,
    /// Name of the thing it leads to, in the same scope.
    pub to: Arc<str>,
}

impl sealed::Sealed for WriteMemoryRelation {}
impl Operation for WriteMemoryRelation {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryWrite
    }
    fn resource(&self) -> Arc<Entity> {
        self.row.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("size", length(self.row.id.len()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.row.id);
    }
}

macro_rules! on_memory_row {
    ($($(#[$doc:meta])* $name:ident: $action:ident, $reads:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            /// The row.
            pub row: MemoryRow,
        }

        impl sealed::Sealed for $name {}
        impl Operation for $name {
            const EVENT: EventType = EventType::MemoryAccess;
            const READS: bool = $reads;
            fn action(&self) -> Action {
                Action::$action
            }
            fn resource(&self) -> Arc<Entity> {
                self.row.entity().into()
            }
        }
    )*};
}

on_memory_row! {
    /// See the content of a row (`memory:read`).
    ReadMemory: MemoryRead, true;
    /// Forget a row (`memory:delete`); relations of a forgotten thing go with it.
    DeleteMemory: MemoryDelete, false;
}

/// List the rows of a scope (`memory:read` on the scope); each row is asked about by itself.
#[derive(Debug)]
pub struct ListMemory {
    /// The scope.
    pub scope: MemoryScope,
    /// The most rows wanted.
    pub limit: u32,
}

impl sealed::Sealed for ListMemory {}
impl Operation for ListMemory {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemoryRead
    }
    fn resource(&self) -> Arc<Entity> {
        self.scope.entity().into()
    }
}

/// Search a scope (`memory:search`); each hit is asked about by itself.
#[derive(Debug)]
pub struct SearchMemory {
    /// The scope.
    pub scope: MemoryScope,
    /// Words to look for; never a query language.
    pub words: String,
    /// The most hits wanted.
    pub limit: u32,
}

impl sealed::Sealed for SearchMemory {}
impl Operation for SearchMemory {
    const EVENT: EventType = EventType::MemoryAccess;
    fn action(&self) -> Action {
        Action::MemorySearch
    }
    fn resource(&self) -> Arc<Entity> {
        self.scope.entity().into()
    }
    fn input(&self) -> Input {
        Input::Known(Value::record([("limit", Value::Long(self.limit.into()))]))
    }
    fn untrusted_text(&self, visit: &mut dyn FnMut(&str)) {
        visit(&self.words);
    }
}
