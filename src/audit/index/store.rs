//! The database of the index. One process writes it; others read a moment of it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::IndexError;
use super::chunk::{EncodedChunk, LISTS};
use super::terms::TermKey;
use crate::audit::Digest;
use crate::audit::scan::Place;
use crate::db::{self, DbError};

/// Raised whenever what is stored changes: an index of another number is built anew.
const FORMAT: i64 = 1;

const TABLES: &str = "
    CREATE TABLE about (
        format INTEGER NOT NULL,
        key BLOB NOT NULL
    ) STRICT;
    CREATE TABLE chunks (
        number INTEGER PRIMARY KEY,
        first INTEGER NOT NULL,
        last INTEGER NOT NULL,
        earliest TEXT NOT NULL,
        latest TEXT NOT NULL,
        end_segment INTEGER NOT NULL,
        end_offset INTEGER NOT NULL,
        last_line BLOB NOT NULL,
        places BLOB NOT NULL
    ) STRICT;
    CREATE TABLE lists (
        id INTEGER PRIMARY KEY,
        pairs BLOB NOT NULL
    ) STRICT;
";

/// What is known of a chunk without reading it.
#[derive(Debug, Clone)]
pub(super) struct ChunkSummary {
    /// Its number, from 1.
    pub(super) number: i64,
    /// Numbers of its first and last record.
    pub(super) seqs: (u64, u64),
    /// The earliest and the latest `time`.
    pub(super) times: (String, String),
}

/// The end of what is indexed.
#[derive(Debug, Clone)]
pub(super) struct IndexEnd {
    /// Number of the last chunk.
    pub(super) number: i64,
    /// Number of the last record.
    pub(super) seq: u64,
    /// Where the next record stands, or will stand.
    pub(super) place: Place,
    /// SHA-256 of the last record's line, in hexadecimal.
    pub(super) last_line: String,
}

/// The open database.
pub(super) struct Store {
    path: PathBuf,
    connection: Connection,
    key: TermKey,
}

impl Store {
    /// Opens it for writing, and makes it when it is not there.
    pub(super) fn open(path: &Path) -> Result<Self, IndexError> {
        let connection = db::open_beside(path, &[TABLES])?;
        let store = Self { path: path.to_owned(), connection, key: TermKey([0; 16]) };
        let mut key = [0; 16];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| IndexError::Version(path.to_owned()))?;
        store.sqlite(store.connection.execute(
            "INSERT INTO about (format, key) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT * FROM about)",
            params![FORMAT, key],
        ))?;
        store.with_key()
    }

    /// Opens it for reading, as it is at this moment; `None` when it is not there.
    pub(super) fn open_to_read(path: &Path) -> Result<Option<Self>, IndexError> {
        let Some(connection) = db::open_to_read(path)? else { return Ok(None) };
        let store = Self { path: path.to_owned(), connection, key: TermKey([0; 16]) };
        store.sqlite(store.connection.execute_batch("BEGIN"))?;
        store.with_key().map(Some)
    }

    fn with_key(self) -> Result<Self, IndexError> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, [u8; 16]>(1)?));
        let found = self.connection.query_row("SELECT format, key FROM about", [], row).optional();
        match self.sqlite(found)? {
            Some((FORMAT, key)) => Ok(Self { key: TermKey(key), ..self }),
            _ => Err(IndexError::Version(self.path)),
        }
    }

    pub(super) fn key(&self) -> TermKey {
        self.key
    }

    fn sqlite<T>(&self, result: rusqlite::Result<T>) -> Result<T, DbError> {
        result.map_err(|source| DbError::Sqlite { path: self.path.clone(), source })
    }

    /// Appends a chunk, all of it or nothing.
    pub(super) fn append(&mut self, chunk: &EncodedChunk, last_line: Digest) -> Result<(), IndexError> {
        let written = append(&mut self.connection, chunk, last_line);
        Ok(self.sqlite(written)?)
    }

    /// Takes chunks away all of whose records are before this one.
    pub(super) fn forget_before(&mut self, seq: u64) -> Result<(), IndexError> {
        let forgotten = forget_before(&mut self.connection, seq);
        Ok(self.sqlite(forgotten)?)
    }

    /// The end of what is indexed; `None` for an empty index.
    pub(super) fn end(&self) -> Result<Option<IndexEnd>, IndexError> {
        let query = "SELECT number, last, end_segment, end_offset, last_line FROM chunks ORDER BY number DESC LIMIT 1";
        let found = self.connection.query_row(query, [], |row| {
            let line: Vec<u8> = row.get(4)?;
            Ok(IndexEnd {
                number: row.get(0)?,
                seq: number(row, 1)?,
                place: Place { segment: number(row, 2)?, offset: number(row, 3)? },
                last_line: String::from_utf8_lossy(&line).into_owned(),
            })
        });
        Ok(self.sqlite(found.optional())?)
    }

    /// All chunks, oldest first.
    pub(super) fn chunks(&self) -> Result<Vec<ChunkSummary>, IndexError> {
        let read = || {
            let mut statement = self
                .connection
                .prepare("SELECT number, first, last, earliest, latest FROM chunks ORDER BY number")?;
            let rows = statement.query_map([], |row| {
                Ok(ChunkSummary {
                    number: row.get(0)?,
                    seqs: (number(row, 1)?, number(row, 2)?),
                    times: (row.get(3)?, row.get(4)?),
                })
            })?;
            rows.collect()
        };
        Ok(self.sqlite(read())?)
    }

    /// Where the records of a chunk stand.
    pub(super) fn places(&self, number: i64) -> Result<Vec<u8>, IndexError> {
        let mut statement =
            self.sqlite(self.connection.prepare_cached("SELECT places FROM chunks WHERE number = ?1"))?;
        let places = self.sqlite(statement.query_row([number], |row| row.get(0)).optional())?;
        places.ok_or_else(|| IndexError::Version(self.path.clone()))
    }

    /// A list of a chunk; empty when there is none.
    pub(super) fn list(&self, number: i64, list: usize) -> Result<Vec<u8>, IndexError> {
        let mut statement =
            self.sqlite(self.connection.prepare_cached("SELECT pairs FROM lists WHERE id = ?1"))?;
        let pairs = statement.query_row([list_id(number, list)], |row| row.get(0)).optional();
        Ok(self.sqlite(pairs)?.unwrap_or_default())
    }

    /// The file of the database.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn append(connection: &mut Connection, chunk: &EncodedChunk, last_line: Digest) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let number: i64 =
        transaction.query_row("SELECT coalesce(max(number), 0) + 1 FROM chunks", [], |row| row.get(0))?;
    transaction.prepare_cached("INSERT INTO chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(
        params![
            number,
            stored(chunk.seqs.0),
            stored(chunk.seqs.1),
            chunk.times.0,
            chunk.times.1,
            stored(chunk.end.segment),
            stored(chunk.end.offset),
            last_line.hex().as_slice(),
            chunk.places,
        ],
    )?;
    {
        let mut insert = transaction.prepare_cached("INSERT INTO lists VALUES (?1, ?2)")?;
        for (list, pairs) in &chunk.lists {
            insert.execute(params![list_id(number, *list), pairs])?;
        }
    }
    transaction.commit()
}

fn forget_before(connection: &mut Connection, seq: u64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let query = "SELECT max(number) FROM chunks WHERE last < ?1";
    if let Some(number) = transaction.query_row(query, [stored(seq)], |row| row.get::<_, Option<i64>>(0))? {
        transaction.execute("DELETE FROM lists WHERE id < ?1", [list_id(number + 1, 0)])?;
        transaction.execute("DELETE FROM chunks WHERE number <= ?1", [number])?;
    }
    transaction.commit()
}

fn list_id(number: i64, list: usize) -> i64 {
    number.saturating_mul(LISTS as i64).saturating_add(list as i64)
}

/// A number of the log in SQLite's one kind of number.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or_default())
}
