//! Reading. Each function sees one moment of the database: a row and its observations belong together.

use rusqlite::{Connection, OptionalExtension as _, named_params};

use super::{entity_from, relation_from, scope_columns};
use crate::memory::error::MemoryError;
use crate::memory::fts_query::FtsQuery;
use crate::memory::sql;
use crate::memory::view::{EntityView, MemoryItem as _, RelationView};
use crate::model::{MemoryKind, MemoryRow, MemoryScope};

/// The row as policies see it, without its content.
pub(in crate::memory) fn row(
    connection: &Connection,
    scope: &MemoryScope,
    kind: MemoryKind,
    id: &str,
) -> Result<Option<MemoryRow>, MemoryError> {
    Ok(match kind {
        MemoryKind::Entity => bare_entity(connection, scope, id)?.map(|view| view.row()),
        MemoryKind::Relation => relation(connection, scope, id)?.map(|view| view.row()),
    })
}

/// A thing with its observations.
pub(in crate::memory) fn entity(
    connection: &mut Connection,
    scope: &MemoryScope,
    name: &str,
) -> Result<Option<EntityView>, MemoryError> {
    let moment = connection.transaction()?;
    bare_entity(&moment, scope, name)?.map(|view| filled(&moment, view)).transpose()
}

/// A thing without its observations.
pub(super) fn bare_entity(
    connection: &Connection,
    scope: &MemoryScope,
    name: &str,
) -> Result<Option<EntityView>, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": name };
    Ok(connection.prepare_cached(sql::ENTITY)?.query_row(params, |row| entity_from(scope, row)).optional()?)
}

/// A relation.
pub(in crate::memory) fn relation(
    connection: &Connection,
    scope: &MemoryScope,
    id: &str,
) -> Result<Option<RelationView>, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":id": id };
    Ok(connection
        .prepare_cached(sql::RELATION)?
        .query_row(params, |row| relation_from(scope, row))
        .optional()?)
}

/// The first `limit` things of a scope, by name.
pub(in crate::memory) fn entities(
    connection: &mut Connection,
    scope: &MemoryScope,
    limit: u32,
) -> Result<Vec<EntityView>, MemoryError> {
    let moment = connection.transaction()?;
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":limit": limit };
    let found: Vec<EntityView> = moment
        .prepare_cached(sql::ENTITIES)?
        .query_map(params, |row| entity_from(scope, row))?
        .collect::<rusqlite::Result<_>>()?;
    found.into_iter().map(|view| filled(&moment, view)).collect()
}

/// The first `limit` relations of a scope, by id.
pub(in crate::memory) fn relations(
    connection: &Connection,
    scope: &MemoryScope,
    limit: u32,
) -> Result<Vec<RelationView>, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":limit": limit };
    Ok(connection
        .prepare_cached(sql::RELATIONS)?
        .query_map(params, |row| relation_from(scope, row))?
        .collect::<rusqlite::Result<_>>()?)
}

/// The things that have all the words: the one of that name, those with the words in the name, the rest; in each
/// group the one that was written last comes first.
pub(in crate::memory) fn search(
    connection: &mut Connection,
    scope: &MemoryScope,
    query: &FtsQuery,
    limit: u32,
) -> Result<Vec<EntityView>, MemoryError> {
    let moment = connection.transaction()?;
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! {
        ":scope_kind": scope_kind, ":scope_id": scope_id, ":limit": limit,
        ":anywhere": query.anywhere, ":in_name": query.in_name, ":whole": query.whole,
    };
    let found: Vec<EntityView> = moment
        .prepare_cached(sql::SEARCH)?
        .query_map(params, |row| entity_from(scope, row))?
        .collect::<rusqlite::Result<_>>()?;
    found.into_iter().map(|view| filled(&moment, view)).collect()
}

fn filled(connection: &Connection, mut view: EntityView) -> Result<EntityView, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&view.scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": view.name };
    view.observations = connection
        .prepare_cached(sql::OBSERVATIONS)?
        .query_map(params, |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(view)
}
