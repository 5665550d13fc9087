//! Writing. One transaction does a whole operation: it takes the write lock, sees that the row is still the one
//! that was judged, keeps the quota and the index, and commits only while the caller waits.

use rusqlite::{Connection, Transaction, TransactionBehavior, named_params};

use super::read::{bare_entity, relation};
use super::scope_columns;
use super::workers::Cancel;
use crate::memory::error::{MemoryError, escaped_name};
use crate::memory::fts_query::scope_word;
use crate::memory::settings::Settings;
use crate::memory::sql;
use crate::memory::view::{Deleted, EntityView, MemoryItem, RelationView, same_row};
use crate::model::{MemoryKind, MemoryRow, MemoryScope, WriteMemoryEntity, WriteMemoryRelation};

/// Stores a thing: makes it when it is not there, overwrites it otherwise.
pub(in crate::memory) fn write_entity(
    connection: &mut Connection,
    settings: &Settings,
    write: WriteMemoryEntity,
    author: &str,
    now: i64,
    cancel: &Cancel<'_>,
) -> Result<EntityView, MemoryError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let WriteMemoryEntity { row: judged, kind, labels, observations } = write;
    let becomes = MemoryRow { kind, labels, ..judged.clone() };
    match bare_entity(&transaction, &judged.scope, &judged.id)? {
        Some(found) => {
            unchanged(&found, &judged)?;
            unindex(&transaction, &judged)?;
            put_entity(&transaction, sql::UPDATE_ENTITY, &becomes, None, now)?;
            on_entity(&transaction, sql::DELETE_OBSERVATIONS, &judged)?;
        }
        None => {
            new_as_judged(&judged, &becomes, author)?;
            room(&transaction, sql::COUNT_ENTITIES, &judged.scope, "entities", settings.max_entities)?;
            put_entity(&transaction, sql::INSERT_ENTITY, &becomes, Some(author), now)?;
        }
    }
    put_observations(&transaction, &becomes, &observations)?;
    index(&transaction, &becomes, &observations)?;
    let stored = bare_entity(&transaction, &becomes.scope, &becomes.id)?
        .ok_or_else(|| MemoryError::NoSuchRow(escaped_name(&becomes.id)))?;
    cancel.check()?;
    transaction.commit()?;
    Ok(EntityView { observations, ..stored })
}

/// Joins two things of a scope. One that is there already is only marked as written again.
pub(in crate::memory) fn write_relation(
    connection: &mut Connection,
    settings: &Settings,
    write: &WriteMemoryRelation,
    author: &str,
    now: i64,
    cancel: &Cancel<'_>,
) -> Result<RelationView, MemoryError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let judged = &write.row;
    match relation(&transaction, &judged.scope, &judged.id)? {
        Some(found) => {
            // `a--b` + `c` + `d` and `a` + `b` + `c--d` could be spelled alike; the first keeps the id.
            if found.from != write.from || found.to != write.to || found.kind != judged.kind {
                return Err(MemoryError::RelationId(escaped_name(&judged.id)));
            }
            unchanged(&found, judged)?;
            touch_relation(&transaction, judged, now)?;
        }
        None => {
            new_as_judged(judged, judged, author)?;
            for end in [&write.from, &write.to] {
                bare_entity(&transaction, &judged.scope, end)?
                    .ok_or_else(|| MemoryError::UnknownEnd(escaped_name(end)))?;
            }
            room(&transaction, sql::COUNT_RELATIONS, &judged.scope, "relations", settings.max_relations)?;
            insert_relation(&transaction, write, author, now)?;
        }
    }
    let stored = relation(&transaction, &judged.scope, &judged.id)?
        .ok_or_else(|| MemoryError::NoSuchRow(escaped_name(&judged.id)))?;
    cancel.check()?;
    transaction.commit()?;
    Ok(stored)
}

/// Forgets a row; relations of a forgotten thing go with it.
pub(in crate::memory) fn delete(
    connection: &mut Connection,
    judged: &MemoryRow,
    cancel: &Cancel<'_>,
) -> Result<Deleted, MemoryError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let missing = || MemoryError::NoSuchRow(escaped_name(&judged.id));
    let deleted = match judged.row {
        MemoryKind::Entity => {
            let found = bare_entity(&transaction, &judged.scope, &judged.id)?.ok_or_else(missing)?;
            unchanged(&found, judged)?;
            let relations = relations_of(&transaction, judged)?;
            unindex(&transaction, judged)?;
            Deleted { relations, entities: on_entity(&transaction, sql::DELETE_ENTITY, judged)? }
        }
        MemoryKind::Relation => {
            let found = relation(&transaction, &judged.scope, &judged.id)?.ok_or_else(missing)?;
            unchanged(&found, judged)?;
            Deleted { relations: delete_relation(&transaction, judged)?, entities: 0 }
        }
    };
    cancel.check()?;
    transaction.commit()?;
    Ok(deleted)
}

/// Time of check to time of use: between the decision and this transaction another call may have made the row
/// another principal's, or put a label on it that a policy forbids.
fn unchanged(found: &impl MemoryItem, judged: &MemoryRow) -> Result<(), MemoryError> {
    if same_row(&found.row(), judged) { Ok(()) } else { Err(MemoryError::Changed(escaped_name(&judged.id))) }
}

/// A row that is not there was judged as the caller's own, in the form it is about to take.
fn new_as_judged(judged: &MemoryRow, becomes: &MemoryRow, author: &str) -> Result<(), MemoryError> {
    if *judged.owner == *author && same_row(judged, becomes) {
        Ok(())
    } else {
        Err(MemoryError::Changed(escaped_name(&judged.id)))
    }
}

fn room(
    transaction: &Transaction<'_>,
    count: &str,
    scope: &MemoryScope,
    what: &'static str,
    limit: u32,
) -> Result<(), MemoryError> {
    let (scope_kind, scope_id) = scope_columns(scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id };
    let held: i64 = transaction.prepare_cached(count)?.query_row(params, |row| row.get(0))?;
    if held < i64::from(limit) { Ok(()) } else { Err(MemoryError::Full { what, limit }) }
}

fn put_entity(
    transaction: &Transaction<'_>,
    statement: &str,
    row: &MemoryRow,
    owner: Option<&str>,
    now: i64,
) -> Result<(), MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let labels = labels_text(row)?;
    let mut statement = transaction.prepare_cached(statement)?;
    let params = named_params! {
        ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": row.id,
        ":kind": row.kind, ":labels": labels, ":now": now,
    };
    match owner {
        None => statement.execute(params)?,
        Some(owner) => {
            let mut all = params.to_vec();
            all.push((":owner", &owner));
            statement.execute(all.as_slice())?
        }
    };
    Ok(())
}

fn put_observations(
    transaction: &Transaction<'_>,
    row: &MemoryRow,
    observations: &[String],
) -> Result<(), MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let mut statement = transaction.prepare_cached(sql::INSERT_OBSERVATION)?;
    for (position, text) in (0_i64..).zip(observations) {
        statement.execute(named_params! {
            ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": row.id,
            ":position": position, ":text": text,
        })?;
    }
    Ok(())
}

fn insert_relation(
    transaction: &Transaction<'_>,
    write: &WriteMemoryRelation,
    owner: &str,
    now: i64,
) -> Result<(), MemoryError> {
    let row = &write.row;
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let labels = labels_text(row)?;
    transaction.prepare_cached(sql::INSERT_RELATION)?.execute(named_params! {
        ":scope_kind": scope_kind, ":scope_id": scope_id, ":id": row.id, ":from": write.from,
        ":kind": row.kind, ":to": write.to, ":owner": owner, ":labels": labels, ":now": now,
    })?;
    Ok(())
}

fn touch_relation(transaction: &Transaction<'_>, row: &MemoryRow, now: i64) -> Result<(), MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    transaction.prepare_cached(sql::TOUCH_RELATION)?.execute(named_params! {
        ":scope_kind": scope_kind, ":scope_id": scope_id, ":id": row.id, ":now": now,
    })?;
    Ok(())
}

fn delete_relation(transaction: &Transaction<'_>, row: &MemoryRow) -> Result<usize, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":id": row.id };
    Ok(transaction.prepare_cached(sql::DELETE_RELATION)?.execute(params)?)
}

fn relations_of(transaction: &Transaction<'_>, row: &MemoryRow) -> Result<usize, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": row.id };
    let count: i64 =
        transaction.prepare_cached(sql::COUNT_RELATIONS_OF)?.query_row(params, |row| row.get(0))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Runs a statement that needs nothing but the scope and the name.
fn on_entity(transaction: &Transaction<'_>, statement: &str, row: &MemoryRow) -> Result<usize, MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    let params = named_params! { ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": row.id };
    Ok(transaction.prepare_cached(statement)?.execute(params)?)
}

/// INVARIANT: the index holds a row for each thing and none besides; it changes only in the transaction that
/// changes the thing, and a thing leaves the index before it leaves its table.
fn unindex(transaction: &Transaction<'_>, row: &MemoryRow) -> Result<(), MemoryError> {
    on_entity(transaction, sql::UNINDEX_ENTITY, row).map(drop)
}

fn index(transaction: &Transaction<'_>, row: &MemoryRow, observations: &[String]) -> Result<(), MemoryError> {
    let (scope_kind, scope_id) = scope_columns(&row.scope);
    transaction.prepare_cached(sql::INDEX_ENTITY)?.execute(named_params! {
        ":scope_kind": scope_kind, ":scope_id": scope_id, ":name": row.id,
        ":scope_word": scope_word(&row.scope), ":observations": observations.join("\n"),
    })?;
    Ok(())
}

fn labels_text(row: &MemoryRow) -> Result<String, MemoryError> {
    serde_json::to_string(&row.labels).map_err(|error| MemoryError::Sqlite(Box::new(error)))
}
