//! What was read from a database, kept until anything is committed to it.
//!
//! A read of one row takes a statement, locks and copies, and nearly every request finds what the one before it found.
//! `PRAGMA data_version` on a connection that never writes changes with each commit by any other connection, of this
//! process or another. While it is the same, so is all that can be read. So a change counts from the next request on,
//! wherever it was made.
//!
//! The promise rests on asking before and after: what was read in between is kept only when both answers are the same.
//! Where SQLite does not answer, nothing is kept and every read goes to the database.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::Connection;

/// Everything that was committed up to some moment, by the number that `PRAGMA data_version` gives it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment(i64);

/// Tells whether anything was committed to a database.
pub struct Commits(Mutex<Connection>);

impl Commits {
    /// Asks over `connection`, which must not be used for anything else: its own commits do not change its version.
    pub fn of(connection: Connection) -> Arc<Self> {
        Arc::new(Self(Mutex::new(connection)))
    }

    /// `None` when SQLite does not answer, as while another process recovers the log.
    fn now(&self) -> Option<Moment> {
        let connection = self.0.lock();
        let mut statement = connection.prepare_cached("PRAGMA data_version").ok()?;
        statement.query_row([], |row| row.get(0)).ok().map(Moment)
    }
}

struct Kept<K, V> {
    at: Option<Moment>,
    values: HashMap<K, V>,
}

/// At most `limit` values that were read from one database.
pub struct Memo<K, V> {
    commits: Arc<Commits>,
    limit: usize,
    kept: Mutex<Kept<K, V>>,
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// Of the database whose commits are told by `commits`.
    pub fn new(commits: &Arc<Commits>, limit: usize) -> Self {
        let kept = Kept { at: None, values: HashMap::new() };
        Self { commits: Arc::clone(commits), limit, kept: Mutex::new(kept) }
    }

    /// What `read` finds, or what it found when the database was as it is now.
    pub fn get<Q, E>(&self, key: &Q, read: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let Some(before) = self.commits.now() else { return read() };
        {
            let kept = self.kept.lock();
            if kept.at == Some(before)
                && let Some(value) = kept.values.get(key)
            {
                return Ok(value.clone());
            }
        }
        let value = read()?;
        if self.commits.now() == Some(before) {
            let mut kept = self.kept.lock();
            if kept.at != Some(before) || kept.values.len() >= self.limit {
                kept.values.clear();
                kept.at = Some(before);
            }
            if self.limit > 0 {
                kept.values.insert(key.to_owned(), value.clone());
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::process::Command;

    use super::*;
    use crate::db;

    const TABLE: [&str; 1] = ["CREATE TABLE t (a INTEGER) STRICT"];

    struct Bench {
        directory: tempfile::TempDir,
        connection: Connection,
        memo: Memo<String, i64>,
        reads: Cell<usize>,
    }

    impl Bench {
        fn new(limit: usize) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("test.db");
            let connection = db::open(&path, &TABLE).unwrap();
            let memo = Memo::new(&Commits::of(db::open(&path, &TABLE).unwrap()), limit);
            Self { directory, connection, memo, reads: Cell::new(0) }
        }

        fn count(&self, key: &str) -> i64 {
            let read = || {
                self.reads.set(self.reads.get() + 1);
                self.connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            };
            self.memo.get::<_, rusqlite::Error>(key, read).unwrap()
        }
    }

    #[test]
    fn what_was_read_is_kept_until_something_is_committed() {
        let bench = Bench::new(10);
        assert_eq!((bench.count("a"), bench.count("a"), bench.reads.get()), (0, 0, 1));
        bench.connection.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert_eq!((bench.count("a"), bench.count("a"), bench.reads.get()), (1, 1, 2));
        assert_eq!((bench.count("b"), bench.reads.get()), (1, 3));
    }

    #[test]
    fn a_commit_of_another_connection_counts_at_once_also_after_a_checkpoint() {
        let bench = Bench::new(10);
        let path = bench.directory.path().join("test.db");
        let other = db::open(&path, &TABLE).unwrap();
        for expected in 1..200 {
            other.execute("INSERT INTO t VALUES (1)", []).unwrap();
            assert_eq!((bench.count("a"), bench.count("a")), (expected, expected));
            if expected % 7 == 0 {
                other.pragma_update(None, "wal_checkpoint", "truncate").unwrap();
                assert_eq!(bench.count("a"), expected);
            }
        }
        let rolled_back = other.unchecked_transaction().unwrap();
        rolled_back.execute("INSERT INTO t VALUES (1)", []).unwrap();
        assert_eq!(bench.count("a"), 199, "what is not committed is not seen");
        rolled_back.commit().unwrap();
        assert_eq!(bench.count("a"), 200);
    }

    /// A process of its own: what it commits is seen, and SQLite's locks hold beside it.
    #[test]
    fn a_commit_of_another_process_counts_and_locks_still_hold() {
        let bench = Bench::new(10);
        let path = bench.directory.path().join("test.db");
        drop(Commits::of(db::open(&path, &TABLE).unwrap()));
        assert_eq!(bench.count("a"), 0);
        let python = |statement: &str| {
            let text = format!(
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0); c.execute({statement:?}); c.commit()"
            );
            Command::new("python3").args(["-c", &text]).arg(&path).output().unwrap()
        };
        let insert = "INSERT INTO t VALUES (1)";
        let output = python(insert);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(bench.count("a"), 1);
        let writing = bench.connection.unchecked_transaction().unwrap();
        writing.execute(insert, []).unwrap();
        let output = python(insert);
        assert!(String::from_utf8_lossy(&output.stderr).contains("locked"), "{output:?}");
        writing.commit().unwrap();
        assert_eq!(bench.count("a"), 2);
    }

    #[test]
    fn it_is_bounded() {
        let bench = Bench::new(2);
        for key in ["a", "b", "c", "a"] {
            bench.count(key);
        }
        assert_eq!(bench.reads.get(), 4);
        assert!(bench.memo.kept.lock().values.len() <= 2);
        let none = Bench::new(0);
        assert_eq!((none.count("a"), none.count("a"), none.reads.get()), (0, 0, 2));
    }

    /// While others write, no reader gets something older than what it knows to be committed.
    #[test]
    fn readers_beside_writers_never_see_the_past() {
        let bench = Bench::new(10);
        let path = bench.directory.path().join("test.db");
        let committed = std::sync::atomic::AtomicI64::new(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let writer = db::open(&path, &TABLE).unwrap();
                for number in 1..=500 {
                    writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
                    committed.store(number, std::sync::atomic::Ordering::SeqCst);
                }
            });
            while !writer.is_finished() {
                let at_least = committed.load(std::sync::atomic::Ordering::SeqCst);
                assert!(bench.count("a") >= at_least);
            }
        });
        assert_eq!(bench.count("a"), 500);
    }
}
