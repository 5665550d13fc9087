//! Why an entity was not stored.

use crate::db::DbError;
use crate::model::{EntityUid, cedar_json::JsonFault};
use crate::policy::TypeFault;

/// Why an entity was not stored, or the store not opened.
#[derive(Debug, thiserror::Error)]
pub enum AttributesError {
    /// The values do not fit the schema.
    #[error(transparent)]
    Type(#[from] TypeFault),
    /// The JSON is no entity.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// The entity would be its own ancestor.
    #[error("`{child}` would be in itself, through `{parent}`")]
    Circle {
        /// The entity.
        child: EntityUid,
        /// The parent that leads back to it.
        parent: EntityUid,
    },
    /// Another source states this about entities of the type.
    #[error("`{uid}`: {what}")]
    NotHere {
        /// The entity.
        uid: EntityUid,
        /// What the store does not take, and the source that states it.
        what: &'static str,
    },
    /// A change to an entity that is not there.
    #[error("`{0}` is not in the store")]
    Unknown(EntityUid),
    /// A bound is reached.
    #[error("{what}: at most {limit} are allowed")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A name that cannot be shown.
    #[error("an entity id has 1 to 512 bytes and no control characters")]
    Id,
    /// The same entity twice in one import.
    #[error("`{0}` is there twice")]
    Twice(EntityUid),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] DbError),
    /// The database failed.
    #[error("the store of attributes failed")]
    Query(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The content of the database is damaged.
    #[error("the store of attributes holds `{0}`, which is no entity")]
    Damaged(String),
}

impl AttributesError {
    /// Whether the request is at fault, and may hear why.
    pub fn is_of_request(&self) -> bool {
        !matches!(self, Self::Open(_) | Self::Query(_) | Self::Damaged(_))
    }
}
