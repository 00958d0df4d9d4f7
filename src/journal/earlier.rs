//! What an earlier part of a run did, as its journal tells.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{JournalError, delivery_id, journey_of, open};
use crate::plan::Callback;
use crate::timeline::{History, Past};

/// A journal that was broken off.
#[derive(Clone, Debug)]
pub struct Earlier {
    path: PathBuf,
    /// How long the run had taken, in microseconds of real time.
    pub(super) ended_us: u64,
    /// How far the run's clock had come.
    reached: u64,
    /// When the last callback was due that was seen.
    last_due: u64,
}

/// One attempt of an earlier part of the run.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The callback's outcome.
    pub outcome: String,
    /// The journey's number.
    pub journey: u64,
    /// Whether the callback is a duplicate of another.
    pub copy: bool,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// The fault that struck it.
    pub fault: Option<String>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The kind of error and its words, if there was no answer.
    pub error: Option<(String, String)>,
    /// What became of the delivery then: `accepted`, `failed` or `waiting`.
    pub state: String,
    /// From when it was due to its end.
    pub latency: Duration,
    /// From when it was due to its start.
    pub lag: Duration,
}

impl Earlier {
    pub(super) fn read(path: &Path) -> Result<Earlier, JournalError> {
        let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let number = |query: &str| -> Result<u64, JournalError> {
            let number: Option<i64> = connection
                .query_row(query, [], |row| row.get(0))
                .map_err(|error| JournalError::new(path, error))?;
            Ok(number.unwrap_or(0).unsigned_abs())
        };
        Ok(Earlier {
            path: path.to_owned(),
            ended_us: number("SELECT max(ended_us) FROM attempts")?,
            reached: number("SELECT max(started_ns) FROM attempts")?,
            last_due: number("SELECT max(due_ns) FROM deliveries")?,
        })
    }

    /// Tells a timeline of it.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn history(&self) -> Result<Box<dyn History>, JournalError> {
        let connection = open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // The journal has no index, since that would cost more than it gives while the run goes on. This
        // one is a file of SQLite's own, so memory does not grow with it.
        connection
            .execute_batch(
                "CREATE TEMP TABLE past (id INTEGER PRIMARY KEY, attempt INTEGER, retry_due_ns INTEGER);
                 INSERT OR REPLACE INTO past SELECT id, attempt, retry_due_ns FROM attempts ORDER BY rowid;",
            )
            .map_err(|error| JournalError::new(&self.path, error))?;
        Ok(Box::new(Told {
            connection,
            earlier: self.clone(),
        }))
    }

    /// Tells of each attempt.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn attempts(&self, mut tell: impl FnMut(Entry)) -> Result<(), JournalError> {
        let connection = open(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut read = || -> rusqlite::Result<()> {
            let mut query = connection.prepare(
                "SELECT outcome, id, attempt, fault, status, error, detail, latency_us, lag_us, state
                 FROM attempts",
            )?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let id: i64 = row.get(1)?;
                let error: Option<String> = row.get(5)?;
                let detail: Option<String> = row.get(6)?;
                let micros = |at| -> rusqlite::Result<Duration> {
                    Ok(Duration::from_micros(row.get::<_, i64>(at)?.unsigned_abs()))
                };
                tell(Entry {
                    outcome: row.get(0)?,
                    journey: journey_of(id),
                    copy: id & 1 == 1,
                    attempt: row.get(2)?,
                    fault: row.get(3)?,
                    status: row.get(4)?,
                    error: error.map(|error| (error, detail.unwrap_or_default())),
                    latency: micros(7)?,
                    lag: micros(8)?,
                    state: row.get(9)?,
                });
            }
            Ok(())
        };
        read().map_err(|error| JournalError::new(&self.path, error))
    }
}

struct Told {
    connection: Connection,
    earlier: Earlier,
}

impl History for Told {
    fn reached(&self) -> u64 {
        self.earlier.reached
    }

    fn of(&mut self, callback: &Callback) -> Result<Past, String> {
        // Beyond what was seen there is nothing to look for.
        if callback.due > self.earlier.last_due {
            return Ok(Past::Untouched);
        }
        let look = || -> rusqlite::Result<Option<(u32, Option<i64>)>> {
            self.connection
                .prepare_cached("SELECT attempt, retry_due_ns FROM past WHERE id = ?1")?
                .query_row([delivery_id(callback)], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
        };
        let past = look().map_err(|error| format!("the journal cannot be read: {error}"))?;
        Ok(match past {
            None => Past::Untouched,
            Some((_, None)) => Past::Done,
            Some((attempts, Some(due))) => Past::Waiting {
                due: due.unsigned_abs(),
                attempt: attempts + 1,
            },
        })
    }
}
