//! What `serve --data FILE` keeps, in an SQLite file that survives any end of the program.
//!
//! This room knows rows: registrations, campaigns and events are JSON texts whose meaning is the platform's
//! business. `writer` is the thread that writes, `read` what a server that starts again is told. The tables
//! are described in docs/data.md; the `sqlite3` shell reads them.

mod read;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use self::read::{Company, Highest, KeptAttempt, KeptEvent, Saved};
pub use self::writer::{Data, Writing, Written};
use crate::scenario::source::plain_words;
use crate::sqlite::{self, Header};

/// The versions of the tables: the text in place N takes a file from version N to N + 1, so a new file is one
/// of version 0 that goes all the way. What has been released is not changed any more; a new version is a new
/// text at the end.
const VERSIONS: &[&str] = &[
    // `attempts` is kept in the order of its key and is the table that grows fastest: since events are numbered
    // as they come, rows are added near its end, and the attempts of one event lie together when they are read
    // or deleted. A company is a number in the other tables; one that is `forgotten` is gone at once, and its
    // events are deleted when there is time. AUTOINCREMENT, so that no company gets the number of a forgotten one.
    "
CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE companies (number INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL UNIQUE);
CREATE TABLE forgotten (company INTEGER PRIMARY KEY);
CREATE TABLE registrations (
  company INTEGER NOT NULL,
  id INTEGER NOT NULL,
  json TEXT NOT NULL,
  PRIMARY KEY (company, id)
) WITHOUT ROWID;
CREATE TABLE campaigns (
  company INTEGER NOT NULL,
  id INTEGER NOT NULL,
  json TEXT NOT NULL,
  PRIMARY KEY (company, id)
) WITHOUT ROWID;
CREATE TABLE routes (company INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE events (seq INTEGER PRIMARY KEY, company INTEGER NOT NULL, json TEXT NOT NULL);
CREATE INDEX events_by_company ON events (company);
CREATE TABLE attempts (
  seq INTEGER NOT NULL,
  step INTEGER NOT NULL,
  registration INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at_ns INTEGER NOT NULL,
  state TEXT NOT NULL,
  retry_ns INTEGER,
  status INTEGER,
  answer TEXT,
  error TEXT,
  detail TEXT,
  PRIMARY KEY (seq, step, registration, attempt)
) WITHOUT ROWID;
CREATE TABLE unmatched (
  seq INTEGER NOT NULL,
  step INTEGER NOT NULL,
  PRIMARY KEY (seq, step)
) WITHOUT ROWID;
",
    // How long an attempt took; and for people, each delivery with its latest attempt.
    "
ALTER TABLE attempts ADD COLUMN latency_us INTEGER NOT NULL DEFAULT 0;
CREATE VIEW deliveries AS
  SELECT c.key AS company, a.*
  FROM (SELECT seq, step, registration, max(attempt) AS attempts, at_ns, state, retry_ns, status, answer,
               error, detail, latency_us
        FROM attempts GROUP BY seq, step, registration) a
  JOIN events e USING (seq)
  JOIN companies c ON c.number = e.company;
",
    // Whether all destinations of a callback are in the file can be told only if their number is.
    "
ALTER TABLE attempts ADD COLUMN destinations INTEGER NOT NULL DEFAULT 0;
",
];

/// One thing to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A registration of the Callback API, new or in place of an earlier state.
    Registration {
        /// The company's key.
        company: Arc<str>,
        /// Its `callback_id`.
        id: u64,
        /// All of it.
        json: String,
    },
    /// An event-triggered campaign, new or in place of an earlier state.
    Campaign {
        /// The company's key.
        company: Arc<str>,
        /// Its id.
        id: u32,
        /// All of it.
        json: String,
    },
    /// The routes that a test has set, or that it set none after all.
    Routes {
        /// The company's key.
        company: Arc<str>,
        /// A scenario's text.
        text: Option<String>,
    },
    /// An event that was accepted.
    Event {
        /// The company's key.
        company: Arc<str>,
        /// Its number, in the order of coming.
        seq: u64,
        /// All of it, with its callbacks as numbers.
        json: String,
    },
    /// An attempt that has ended. If its event is not kept any more, neither is the attempt.
    Attempt {
        /// The event.
        seq: u64,
        /// The callback's place in its journey.
        step: u16,
        /// The registration it was for.
        registration: u64,
        /// Which attempt of the delivery it was, from 1.
        attempt: u32,
        /// When it began, in nanoseconds since 1970 by the server's clock.
        at: u64,
        /// What became of the delivery.
        state: State,
        /// When the next attempt is due.
        retry_at: Option<u64>,
        /// The answer's status.
        status: Option<u16>,
        /// The kind of error and its words, if there was no answer.
        failure: Option<(&'static str, String)>,
        /// The answer's body.
        answer: Option<Box<str>>,
        /// How long it took.
        latency_us: u64,
        /// To how many destinations its callback goes.
        destinations: u16,
    },
    /// A delivery that was over is begun anew: its latest attempt is no longer the last.
    Again {
        /// The event.
        seq: u64,
        /// The callback's place in its journey.
        step: u16,
        /// The registration it is for.
        registration: u64,
        /// When the next attempt is due, in nanoseconds since 1970 by the server's clock.
        at: u64,
    },
    /// A callback was due and no registration wanted it.
    Unmatched {
        /// The event.
        seq: u64,
        /// The callback's place in its journey.
        step: u16,
    },
    /// All that there is of a company goes.
    Forget {
        /// The company's key.
        company: Arc<str>,
    },
    /// Events that are not kept any longer go, with all that belongs to them.
    Evict {
        /// The events.
        seqs: Vec<u64>,
    },
    /// How far the server's clock has come.
    Clock {
        /// In nanoseconds since 1970.
        now: u64,
    },
}

/// What became of a delivery with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The receiver has it.
    Accepted,
    /// It was given up on.
    Failed,
    /// There will be another attempt.
    Retrying,
    /// It was over and has been begun anew; its next attempt is the first of a new row of retries.
    Again,
}

impl State {
    const ALL: [State; 4] = [
        State::Accepted,
        State::Failed,
        State::Retrying,
        State::Again,
    ];

    /// As people and the file call it.
    pub fn name(self) -> &'static str {
        match self {
            State::Accepted => "accepted",
            State::Failed => "failed",
            State::Retrying => "retrying",
            State::Again => "again",
        }
    }

    fn named(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the data file {}: {message}", path.display())]
pub struct DataError {
    path: PathBuf,
    /// What is wrong and, after a line break, how to mend it.
    message: String,
}

impl DataError {
    fn new(path: &Path, message: impl Into<String>) -> DataError {
        DataError {
            path: path.to_owned(),
            message: message.into(),
        }
    }

    fn of(path: &Path, error: &rusqlite::Error) -> DataError {
        DataError::new(path, words(error))
    }
}

/// What SQLite's error means for the one who runs the server, and how to mend it.
fn words(error: &rusqlite::Error) -> String {
    let (what, how) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ("there is no room for it", "make room on its disk"),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            "it is damaged",
            "put a copy in its place or name another file; \
             `sqlite3 FILE .recover` saves what can be saved",
        ),
        Some(ErrorCode::SystemIoFailure) => ("its disk reports an error", "look at the disk"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            "another program is writing it",
            "end that program's transaction",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            "it may not be written",
            "name a file in a folder that you may write to",
        ),
        _ => ("it cannot be used", "name another file"),
    };
    format!("{what} ({error})\n{how}")
}

/// Opens the file, and makes it if there is none.
///
/// # Errors
///
/// It is in use by another server, is no file of this kind or of a later version, is damaged, or may not be
/// written. A file that is refused for what it is has not been touched.
pub fn open(path: &Path) -> Result<(Data, Saved, Writing), DataError> {
    open_with(path, |_| Ok(()))
}

/// As `open`; tests say what else is to be set.
fn open_with(
    path: &Path,
    set: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<(Data, Saved, Writing), DataError> {
    let failed = |error: rusqlite::Error| DataError::of(path, &error);
    check(path)?;
    let lock = sqlite::lock(
        path,
        "another `vibes-mock serve` is using it\nend that one, or name another file",
    )
    .map_err(|message| DataError::new(path, message))?;
    // Once more: until now another server may have been at it.
    check(path)?;
    let mut connection = Connection::open(path).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        let how = "make it writable, or name another file";
        return Err(DataError::new(
            path,
            format!("it may not be written\n{how}"),
        ));
    }
    tune(&connection).map_err(failed)?;
    upgrade(path, &mut connection)?;
    connection.execute_batch(TIDY).map_err(failed)?;
    set(&connection).map_err(failed)?;
    let saved = Saved::read(path)?;
    let (data, writing) = writer::start(path, connection, lock, &saved)?;
    Ok((data, saved, writing))
}

/// Companies that there is nothing of any more.
const TIDY: &str = "
DELETE FROM companies
WHERE NOT EXISTS (SELECT 1 FROM events WHERE company = number)
  AND NOT EXISTS (SELECT 1 FROM registrations WHERE company = number)
  AND NOT EXISTS (SELECT 1 FROM campaigns WHERE company = number)
  AND NOT EXISTS (SELECT 1 FROM routes WHERE company = number);
";

/// Refuses what is not ours to write, untouched.
fn check(path: &Path) -> Result<(), DataError> {
    let another = "name another file; one that is not there yet is made";
    let header = sqlite::header(path)
        .map_err(|error| DataError::new(path, format!("{}\n{another}", plain_words(&error))))?;
    match header {
        Header::Blank => Ok(()),
        Header::Other => Err(DataError::new(
            path,
            format!("it is not an SQLite file, or a damaged one\n{another}"),
        )),
        Header::Sqlite {
            application_id: sqlite::DATA,
            user_version,
        } => check_version(path, user_version.into()).map(drop),
        Header::Sqlite { application_id, .. } => Err(DataError::new(
            path,
            format!("it is {}\n{another}", sqlite::kind(application_id)),
        )),
    }
}

/// Which of `VERSIONS` are behind a file.
fn check_version(path: &Path, version: i64) -> Result<usize, DataError> {
    let ours = VERSIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= ours => Ok(version),
        _ => Err(DataError::new(
            path,
            format!(
                "its tables are of version {version}, and this vibes-mock ({}) knows them up to {ours}\n\
                 use the vibes-mock that wrote it, or name another file",
                env!("CARGO_PKG_VERSION")
            ),
        )),
    }
}

fn tune(connection: &Connection) -> rusqlite::Result<()> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != sqlite::DATA {
        // A new file. Before anything else, so that its first bytes tell whose it is from now on.
        connection.pragma_update(None, "application_id", sqlite::DATA)?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit waits for the disk: what has been answered survives a loss of power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Somebody may change the file by hand, in a transaction of their own.
    connection.busy_timeout(Duration::from_secs(10))?;
    // In pages of 4 KB: folding the log into the file holds up those who wait, so it is done before it is long.
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT)?;
    // The log may have grown while somebody read the file; this much of it stays.
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    // In KB.
    connection.pragma_update(None, "cache_size", -16_000)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// How long the write-ahead log gets.
const CHECKPOINT: u32 = 1_000;

/// Brings the tables to the latest version: all of the way or, if the program ends meanwhile, to one between.
fn upgrade(path: &Path, connection: &mut Connection) -> Result<(), DataError> {
    let failed = |error: rusqlite::Error| DataError::of(path, &error);
    let version = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(failed)?;
    let version = check_version(path, version)?;
    for (index, step) in VERSIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction().map_err(failed)?;
        transaction.execute_batch(step).map_err(failed)?;
        transaction
            .pragma_update(None, "user_version", (index + 1) as i64)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    Ok(())
}

fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}
