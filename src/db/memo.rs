//! What was read from a database, kept until anything is committed to it.
//!
//! A read of one row costs SQLite several microseconds, most of them for locks, and nearly every request finds what the
//! one before it found. In WAL mode each commit, by whatever process, changes the header of the WAL index (SQLite, "WAL-mode
//! File Format", section 2.2): it counts the transactions. While it is the same, so is all that can be read; a read
//! of those 96 bytes is one system call. So a change counts from the next request on, wherever it was made.
//!
//! The promise rests on reading the header before and after: what was read in between is kept only when both are the same.
//! Where the index cannot be read, nothing is kept and every read goes to SQLite.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use parking_lot::Mutex;

/// Bytes of the header; it stands there twice, so that a reader sees when it is being written.
const HEADER: usize = 48;
/// Where the header says that it has been filled in.
const IS_INIT: usize = 12;

/// Everything that was committed up to some moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Moment([u8; HEADER]);

/// Tells whether anything was committed to a database, without asking SQLite.
struct Commits {
    index: &'static File,
}

/// The WAL indexes that were opened, by device and inode. None is closed again: POSIX takes all locks of a process on a
/// file when it closes any of its descriptors of it (fcntl(2)), and SQLite's are on this one.
static OPEN: Mutex<Vec<((u64, u64), &'static File)>> = Mutex::new(Vec::new());

impl Commits {
    /// Of the database at `path`, to which a connection is open that has read from it.
    fn of(path: &Path) -> Option<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push("-shm");
        let file = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        // Looked at before it is opened: what is open already must not be opened and closed.
        let mut open = OPEN.lock();
        let known = file(std::fs::metadata(&name).ok()?);
        if let Some((_, index)) = open.iter().find(|(other, _)| *other == known) {
            return Some(Self { index });
        }
        let index: &'static File = Box::leak(Box::new(File::open(&name).ok()?));
        open.push((file(index.metadata().ok()?), index));
        Some(Self { index })
    }

    /// `None` while somebody writes it, or when it is not what it should be.
    fn now(&self) -> Option<Moment> {
        let mut copies = [0; 2 * HEADER];
        self.index.read_exact_at(&mut copies, 0).ok()?;
        let (first, second) = copies.split_first_chunk::<HEADER>()?;
        (first == second && first.get(IS_INIT) == Some(&1)).then_some(Moment(*first))
    }
}

struct Kept<K, V> {
    at: Option<Moment>,
    values: HashMap<K, V>,
}

/// At most `limit` values that were read from one database.
pub struct Memo<K, V> {
    commits: Option<Commits>,
    limit: usize,
    kept: Mutex<Kept<K, V>>,
}

impl<K: Eq + Hash, V: Clone> Memo<K, V> {
    /// Of the database at `path`, to which a connection is open that has read from it.
    pub fn new(path: &Path, limit: usize) -> Self {
        let kept = Kept { at: None, values: HashMap::new() };
        Self { commits: Commits::of(path), limit, kept: Mutex::new(kept) }
    }

    /// What `read` finds, or what it found when the database was as it is now.
    pub fn get<Q, E>(&self, key: &Q, read: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now = || self.commits.as_ref().and_then(Commits::now);
        let Some(before) = now() else { return read() };
        {
            let kept = self.kept.lock();
            if kept.at == Some(before)
                && let Some(value) = kept.values.get(key)
            {
                return Ok(value.clone());
            }
        }
        let value = read()?;
        if now() == Some(before) {
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

    use rusqlite::Connection;

    use super::*;
    use crate::db;

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
            let connection = db::open(&path, &["CREATE TABLE t (a INTEGER) STRICT"]).unwrap();
            let memo = Memo::new(&path, limit);
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
        let other = db::open(&path, &["CREATE TABLE t (a INTEGER) STRICT"]).unwrap();
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

    /// A process of its own: what it commits is seen, and SQLite's locks hold although the index was opened beside them.
    #[test]
    fn a_commit_of_another_process_counts_and_locks_still_hold() {
        let bench = Bench::new(10);
        let path = bench.directory.path().join("test.db");
        let again = Memo::<String, i64>::new(&path, 10);
        drop(again);
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
    fn it_is_bounded_and_does_without_an_index() {
        let bench = Bench::new(2);
        for key in ["a", "b", "c", "a"] {
            bench.count(key);
        }
        assert_eq!(bench.reads.get(), 4);
        assert!(bench.memo.kept.lock().values.len() <= 2);
        let none = Bench::new(0);
        assert_eq!((none.count("a"), none.count("a"), none.reads.get()), (0, 0, 2));
        let elsewhere = Memo::<String, i64>::new(Path::new("/nonexistent/test.db"), 10);
        assert_eq!(elsewhere.get::<_, rusqlite::Error>("a", || Ok(1)).unwrap(), 1);
        assert_eq!(elsewhere.get::<_, rusqlite::Error>("a", || Ok(2)).unwrap(), 2);
    }

    /// While others write, nobody reads something older than what it knows to be committed.
    #[test]
    fn readers_beside_writers_never_see_the_past() {
        let bench = Bench::new(10);
        let path = bench.directory.path().join("test.db");
        let committed = std::sync::atomic::AtomicI64::new(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let writer = db::open(&path, &["CREATE TABLE t (a INTEGER) STRICT"]).unwrap();
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
