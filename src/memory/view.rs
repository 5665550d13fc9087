//! The content of rows, as a caller that may see it gets it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::model::{MemoryKind, MemoryRow, MemoryScope};

/// A thing that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntityView {
    /// The scope it belongs to.
    #[serde(serialize_with = "as_text")]
    pub scope: MemoryScope,
    /// Unique in its scope.
    pub name: Arc<str>,
    /// The kind, as its writer calls it.
    pub kind: Arc<str>,
    /// The principal that wrote it first, in Cedar's notation.
    pub owner: Arc<str>,
    /// Its labels (`pii`).
    pub labels: BTreeSet<Arc<str>>,
    /// Observations about it, in the order in which they were written.
    pub observations: Vec<String>,
    /// When it was first written (RFC 3339, UTC).
    pub created: String,
    /// When it was last written (RFC 3339, UTC).
    pub updated: String,
}

/// A statement that joins two things of one scope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelationView {
    /// The scope it belongs to.
    #[serde(serialize_with = "as_text")]
    pub scope: MemoryScope,
    /// `<from>--<kind>--<to>`, unique in its scope.
    pub id: Arc<str>,
    /// Name of the thing it starts at.
    pub from: Arc<str>,
    /// The kind of relation.
    pub kind: Arc<str>,
    /// Name of the thing it leads to.
    pub to: Arc<str>,
    /// The principal that wrote it first, in Cedar's notation.
    pub owner: Arc<str>,
    /// Its labels.
    pub labels: BTreeSet<Arc<str>>,
    /// When it was first written (RFC 3339, UTC).
    pub created: String,
    /// When it was last written (RFC 3339, UTC).
    pub updated: String,
}

/// The content of one row of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MemoryView {
    /// A thing.
    Entity(EntityView),
    /// A relation.
    Relation(RelationView),
}

/// How many rows a deletion removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Relations that were deleted with the entity, or the one that was asked for.
    pub relations: usize,
    /// Entities: one or none.
    pub entities: usize,
}

/// An entity or a relation of memory: content with the row that policies judge it by.
pub trait MemoryItem {
    /// The row that policies see.
    fn row(&self) -> MemoryRow;
}

impl MemoryItem for EntityView {
    fn row(&self) -> MemoryRow {
        MemoryRow {
            scope: self.scope.clone(),
            row: MemoryKind::Entity,
            id: Arc::clone(&self.name),
            owner: Arc::clone(&self.owner),
            kind: Arc::clone(&self.kind),
            labels: self.labels.clone(),
        }
    }
}

impl MemoryItem for RelationView {
    fn row(&self) -> MemoryRow {
        MemoryRow {
            scope: self.scope.clone(),
            row: MemoryKind::Relation,
            id: Arc::clone(&self.id),
            owner: Arc::clone(&self.owner),
            kind: Arc::clone(&self.kind),
            labels: self.labels.clone(),
        }
    }
}

impl MemoryItem for MemoryView {
    fn row(&self) -> MemoryRow {
        match self {
            Self::Entity(view) => view.row(),
            Self::Relation(view) => view.row(),
        }
    }
}

/// Whether two rows are the same to every policy.
pub(super) fn same_row(one: &MemoryRow, other: &MemoryRow) -> bool {
    let MemoryRow { scope, row, id, owner, kind, labels } = one;
    *scope == other.scope
        && *row == other.row
        && *id == other.id
        && *owner == other.owner
        && *kind == other.kind
        && *labels == other.labels
}

/// The id of a relation.
pub fn relation_id(from: &str, kind: &str, to: &str) -> Arc<str> {
    format!("{from}--{kind}--{to}").into()
}

fn as_text<S: Serializer>(scope: &MemoryScope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(scope)
}
