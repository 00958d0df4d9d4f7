//! What was sent and what came back, in an SQLite file that survives any end of the program.
//!
//! `writer` is the thread that writes, `earlier` what a run that goes on reads. The tables are described in
//! docs/journal.md; the `sqlite3` shell reads them.

mod earlier;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use crate::plan::{Callback, Shard};
use crate::sqlite;
pub use earlier::{Earlier, Entry};
pub use writer::Journal;

/// Rows are only appended, so that what is written for a batch is as long as the batch; what became of a
/// delivery is in the last attempt at it.
const TABLES: &str = "
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE deliveries (
  id INTEGER NOT NULL,
  journey INTEGER NOT NULL,
  step INTEGER NOT NULL,
  copy INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  outcome TEXT NOT NULL,
  part INTEGER,
  parts INTEGER,
  fault TEXT,
  due_ns INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE TABLE attempts (
  id INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  fault TEXT,
  due_ns INTEGER NOT NULL,
  started_ns INTEGER NOT NULL,
  ended_us INTEGER NOT NULL,
  lag_us INTEGER NOT NULL,
  latency_us INTEGER NOT NULL,
  status INTEGER,
  answer TEXT,
  error TEXT,
  detail TEXT,
  state TEXT NOT NULL,
  retry_due_ns INTEGER
);
CREATE VIEW results AS
  SELECT d.*, a.attempt AS attempts, a.state, a.status, a.error, a.latency_us
  FROM deliveries d
  LEFT JOIN (SELECT id, max(attempt) AS attempt, state, status, error, latency_us
             FROM attempts GROUP BY id) a USING (id);
";

/// Which run a journal is of. A run may only go on with the journal of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The scenario's name.
    pub scenario: String,
    /// The scenario file's text; empty if there is none.
    pub text: String,
    /// The seed.
    pub seed: u64,
    /// The run's time zero.
    pub start: DateTime<Utc>,
    /// Which journeys are taken.
    pub shard: Shard,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
#[error("the journal {}: {message}", path.display())]
pub struct JournalError {
    path: PathBuf,
    /// What is wrong and, after a line break, how to mend it.
    message: String,
}

impl JournalError {
    fn new(path: &Path, message: impl std::fmt::Display) -> JournalError {
        JournalError {
            path: path.to_owned(),
            message: message.to_string(),
        }
    }
}

/// The number of a callback's delivery in the tables.
fn delivery_id(callback: &Callback) -> i64 {
    let number = callback.journey << 17 | u64::from(callback.step()) << 1;
    (number | u64::from(callback.is_copy())) as i64
}

/// The journey that a delivery is of.
fn journey_of(id: i64) -> u64 {
    id.unsigned_abs() >> 17
}

impl Identity {
    fn entries(&self) -> [(&'static str, String); 6] {
        [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("scenario", self.scenario.clone()),
            ("text", self.text.clone()),
            ("seed", self.seed.to_string()),
            ("start", self.start.to_rfc3339()),
            ("shard", format!("{}/{}", self.shard.index, self.shard.of)),
        ]
    }
}

/// The seed and time zero of a journal's run, if there is a journal.
///
/// # Errors
///
/// The file cannot be read, or is no journal.
pub fn parameters(path: &Path) -> Result<Option<(u64, DateTime<Utc>)>, JournalError> {
    if is_blank(path) {
        return Ok(None);
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let seed = value(path, &connection, "seed")?.and_then(|seed| seed.parse().ok());
    let start = value(path, &connection, "start")?
        .and_then(|start| DateTime::parse_from_rfc3339(&start).ok());
    match (seed, start) {
        (Some(seed), Some(start)) => Ok(Some((seed, start.to_utc()))),
        _ => Err(JournalError::new(
            path,
            "it does not say what seed and start it is of\nname another file",
        )),
    }
}

fn value(path: &Path, connection: &Connection, key: &str) -> Result<Option<String>, JournalError> {
    connection
        .query_row("SELECT value FROM run WHERE key = ?1", [key], |row| {
            row.get(0)
        })
        .optional()
        .map_err(|error| JournalError::new(path, error))
}

/// Opens a journal that is there.
fn open(path: &Path, flags: OpenFlags) -> Result<Connection, JournalError> {
    let failed = |error: rusqlite::Error| {
        JournalError::new(
            path,
            format!("{error}\nit is no journal of vibes-mock; name another file"),
        )
    };
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    let id: i32 = connection
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .map_err(failed)?;
    if id != sqlite::JOURNAL {
        return Err(JournalError::new(
            path,
            "it is not a journal of this version of vibes-mock\nname another file",
        ));
    }
    Ok(connection)
}

/// Makes the tables; all of them or, if the program ends meanwhile, none.
fn make(path: &Path, identity: &Identity) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    tune(&connection)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    for (key, value) in identity.entries() {
        transaction.execute("INSERT INTO run VALUES (?1, ?2)", (key, value))?;
    }
    transaction.pragma_update(None, "application_id", sqlite::JOURNAL)?;
    transaction.commit()?;
    Ok(connection)
}

/// A commit survives the end of the program without waiting for the disk; that is waited for once in a
/// while, so that a loss of power costs the last moments at worst, and not the file.
fn tune(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Somebody may look at the file for a while, in a transaction of their own.
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    // In pages of 4 KB.
    connection.pragma_update(None, "wal_autocheckpoint", 8192)
}

/// Whether nothing has been written to the file yet, or nothing whole: what a program that was killed left
/// half done is undone here, which takes the right to write.
fn is_blank(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |file| file.len() == 0)
        || Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| {
                connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            })
            .is_ok_and(|tables: i64| tables == 0)
}

/// A journal that is open for writing.
pub struct Opened {
    /// Where rows go.
    pub journal: Journal,
    /// Ends, and leaves one whole file, once nobody can write any more.
    pub writing: JoinHandle<()>,
    /// What an earlier part of the run did.
    pub earlier: Option<Earlier>,
}

impl Opened {
    fn new(
        path: &Path,
        connection: Connection,
        lock: File,
        earlier: Option<Earlier>,
    ) -> Result<Opened, JournalError> {
        let before_us = earlier.as_ref().map_or(0, |earlier| earlier.ended_us);
        let (journal, writing) = Journal::start(path, connection, lock, before_us)?;
        Ok(Opened {
            journal,
            writing,
            earlier,
        })
    }
}

/// Keeps a second run away from the file.
fn lock(path: &Path) -> Result<File, JournalError> {
    const TAKEN: &str = "another run is writing it\nwait for that to end, or name another file";
    sqlite::lock(path, TAKEN).map_err(|message| JournalError::new(path, message))
}

/// A new journal.
///
/// # Errors
///
/// The file is there already, or cannot be written.
pub fn create(path: &Path, identity: &Identity) -> Result<Opened, JournalError> {
    let lock = lock(path)?;
    begin(path, identity, lock)
}

fn begin(path: &Path, identity: &Identity, lock: File) -> Result<Opened, JournalError> {
    if !is_blank(path) {
        return Err(JournalError::new(
            path,
            "there is such a file already\ngo on with it by `--resume`, or name another file",
        ));
    }
    let connection = make(path, identity).map_err(|error| {
        let how = "name a file on a disk with room, in a folder that you may write to";
        JournalError::new(path, format!("{error}\n{how}"))
    })?;
    Opened::new(path, connection, lock, None)
}

/// Goes on with a journal; begins it, if there is none yet.
///
/// # Errors
///
/// It is of another run, or cannot be read or written.
pub fn resume(path: &Path, identity: &Identity) -> Result<Opened, JournalError> {
    let lock = lock(path)?;
    if is_blank(path) {
        return begin(path, identity, lock);
    }
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    tune(&connection).map_err(|error| JournalError::new(path, error))?;
    for (key, ours) in identity.entries() {
        let theirs = value(path, &connection, key)?.unwrap_or_default();
        if ours != theirs {
            return Err(JournalError::new(path, difference(key, &ours, &theirs)));
        }
    }
    let earlier = Earlier::read(path)?;
    Opened::new(path, connection, lock, Some(earlier))
}

fn difference(key: &str, ours: &str, theirs: &str) -> String {
    const HOW: &str = "a run can only go on as it began; leave `--resume` out and name another file to begin anew";
    if key != "text" {
        return format!("its {key} is {theirs}, not {ours}\n{HOW}");
    }
    let (mut mine, mut old) = (ours.lines(), theirs.lines());
    let mut number = 0;
    loop {
        number += 1;
        let (new, was) = (mine.next(), old.next());
        if new != was || new.is_none() {
            let shown = |line: Option<&str>| match line {
                Some(line) => format!("`{}`", line.trim()),
                None => "no line".to_owned(),
            };
            return format!(
                "the scenario has changed in line {number}: it was {}, and is {}\n{HOW}",
                shown(was),
                shown(new)
            );
        }
    }
}

/// What replay reads: the bodies of a journal with when they were due, in that order.
///
/// # Errors
///
/// The file is no journal, or damaged.
pub fn bodies(path: &Path) -> Result<Vec<Kept>, JournalError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let read = || -> rusqlite::Result<Vec<Kept>> {
        let mut query = connection.prepare(
            "SELECT due_ns, body, event_id, event_type, outcome, state FROM results ORDER BY due_ns, id",
        )?;
        let rows = query.query_map([], |row| {
            Ok(Kept {
                due: row.get::<_, i64>(0)?.unsigned_abs(),
                body: row.get(1)?,
                event_id: row.get(2)?,
                event_type: row.get(3)?,
                outcome: row.get(4)?,
                failed: row.get::<_, Option<String>>(5)?.as_deref() != Some("accepted"),
            })
        })?;
        rows.collect()
    };
    read().map_err(|error| JournalError::new(path, error))
}

/// A callback as a journal keeps it.
#[derive(Clone, Debug)]
pub struct Kept {
    /// When it was due, in nanoseconds from the run's start.
    pub due: u64,
    /// The bytes that were sent.
    pub body: Vec<u8>,
    /// The event's id.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// The outcome's name.
    pub outcome: String,
    /// It was not accepted.
    pub failed: bool,
}
