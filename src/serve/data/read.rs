//! What a server that starts again is told of the time before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, Row, Rows};

use super::{DataError, State, open_to_read};

/// What the file holds. Companies are here, events are told one after the other: there may be many.
pub struct Saved {
    /// Those that there is something of.
    pub companies: Vec<Company>,
    /// The highest numbers that were ever given, also to what is gone.
    pub highest: Highest,
    /// How far the server's clock had come.
    pub clock: Option<u64>,
    path: PathBuf,
    connection: Connection,
    /// The companies' numbers in the file.
    numbers: HashMap<i64, Arc<str>>,
}

/// The highest numbers that were ever given; 0 where there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Highest {
    /// Of an event.
    pub seq: u64,
    /// The id of a registration.
    pub registration: u64,
    /// The id of a campaign.
    pub campaign: u32,
}

/// One company, without its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Company {
    /// Its key.
    pub key: Arc<str>,
    /// Registrations as JSON, in the order of their ids.
    pub registrations: Vec<(u64, String)>,
    /// Campaigns as JSON, in the order of their ids.
    pub campaigns: Vec<(u32, String)>,
    /// The routes that a test has set.
    pub routes: Option<String>,
}

/// An event with what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEvent {
    /// The company's key.
    pub company: Arc<str>,
    /// Its number.
    pub seq: u64,
    /// All of it, as it was written.
    pub json: String,
    /// The attempts by step, registration and number.
    pub attempts: Vec<KeptAttempt>,
    /// The steps that nobody wanted.
    pub unmatched: Vec<u16>,
}

/// One attempt of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAttempt {
    /// The callback's place in its journey.
    pub step: u16,
    /// The registration it was for.
    pub registration: u64,
    /// Which attempt of the delivery it was, from 1.
    pub attempt: u32,
    /// When it began, in nanoseconds since 1970 by the server's clock.
    pub at: u64,
    /// What became of the delivery.
    pub state: State,
    /// When the next attempt is due.
    pub retry_at: Option<u64>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The kind of error and its words, if there was no answer.
    pub failure: Option<(String, String)>,
    /// The answer's body.
    pub answer: Option<Box<str>>,
    /// How long it took; 0 if a version that did not note it wrote the file.
    pub latency_us: u64,
    /// To how many destinations its callback went; 0 if a version that did not note it wrote the file.
    pub destinations: u16,
}

impl Saved {
    pub(super) fn read(path: &Path) -> Result<Saved, DataError> {
        let read = || -> rusqlite::Result<Saved> {
            let connection = open_to_read(path)?;
            let mut companies = Vec::new();
            let mut numbers = HashMap::new();
            let mut query =
                connection.prepare("SELECT number, key FROM companies ORDER BY number")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let number: i64 = row.get(0)?;
                let key: Arc<str> = row.get(1)?;
                companies.push(Company {
                    key: Arc::clone(&key),
                    registrations: entities(&connection, "registrations", number)?,
                    campaigns: entities(&connection, "campaigns", number)?,
                    routes: one(
                        &connection,
                        "SELECT text FROM routes WHERE company = ?1",
                        number,
                    )?,
                });
                numbers.insert(number, key);
            }
            drop(rows);
            drop(query);
            let number = |name: &str| -> rusqlite::Result<Option<u64>> {
                let number = one::<i64>(
                    &connection,
                    "SELECT value FROM numbers WHERE name = ?1",
                    name,
                )?;
                Ok(number.map(|number| number as u64))
            };
            Ok(Saved {
                companies,
                highest: Highest {
                    seq: number("seq")?.unwrap_or(0),
                    registration: number("registration")?.unwrap_or(0),
                    campaign: number("campaign")?.unwrap_or(0) as u32,
                },
                clock: number("clock")?,
                path: path.to_owned(),
                numbers,
                connection,
            })
        };
        read().map_err(|error| DataError::of(path, &error))
    }

    /// Tells each event of these companies, in the order of coming. One is in memory at a time.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or `tell` says that it does not understand an event.
    pub fn events(
        &self,
        mut tell: impl FnMut(KeptEvent) -> Result<(), String>,
    ) -> Result<(), DataError> {
        let mut read = || -> Result<(), Stopped> {
            // One transaction, so that the three tables are read as of the same moment.
            let transaction = self.connection.unchecked_transaction()?;
            let mut attempts = transaction.prepare(
                "SELECT seq, step, registration, attempt, at_ns, state, retry_ns, status, answer, error,
                        detail, latency_us, destinations
                 FROM attempts ORDER BY seq, step, registration, attempt",
            )?;
            let mut attempts = Beside::new(attempts.query([])?, attempt);
            let mut unmatched =
                transaction.prepare("SELECT seq, step FROM unmatched ORDER BY seq, step")?;
            let mut unmatched = Beside::new(unmatched.query([])?, |row| row.get(1));
            let mut events =
                transaction.prepare("SELECT seq, company, json FROM events ORDER BY seq")?;
            let mut events = events.query([])?;
            while let Some(row) = events.next()? {
                // Those of a company that is being forgotten are still to be deleted.
                let Some(company) = self.numbers.get(&row.get(1)?) else {
                    continue;
                };
                let seq: i64 = row.get(0)?;
                tell(KeptEvent {
                    company: Arc::clone(company),
                    seq: seq as u64,
                    json: row.get(2)?,
                    attempts: attempts.of(seq)?,
                    unmatched: unmatched.of(seq)?,
                })
                .map_err(|message| Stopped::Told(format!("event {seq}: {message}")))?;
            }
            Ok(())
        };
        read().map_err(|stopped| match stopped {
            Stopped::Sqlite(error) => DataError::of(&self.path, &error),
            Stopped::Told(message) => DataError::new(&self.path, message),
        })
    }
}

enum Stopped {
    Sqlite(rusqlite::Error),
    Told(String),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Stopped {
        Stopped::Sqlite(error)
    }
}

/// Rows that belong to events and come in the same order.
struct Beside<'s, T> {
    rows: Rows<'s>,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
    next: Option<(i64, T)>,
}

impl<'s, T> Beside<'s, T> {
    fn new(rows: Rows<'s>, read: fn(&Row<'_>) -> rusqlite::Result<T>) -> Beside<'s, T> {
        Beside {
            rows,
            read,
            next: None,
        }
    }

    /// Those of an event; what belongs to events before it is passed over.
    fn of(&mut self, seq: i64) -> rusqlite::Result<Vec<T>> {
        let mut found = Vec::new();
        loop {
            match self.next.take() {
                Some(next) if next.0 > seq => {
                    self.next = Some(next);
                    return Ok(found);
                }
                Some((owner, item)) if owner == seq => found.push(item),
                _ => {}
            }
            match self.rows.next()? {
                Some(row) => self.next = Some((row.get(0)?, (self.read)(row)?)),
                None => return Ok(found),
            }
        }
    }
}

fn attempt(row: &Row<'_>) -> rusqlite::Result<KeptAttempt> {
    let state: String = row.get(5)?;
    let error: Option<String> = row.get(9)?;
    let detail: Option<String> = row.get(10)?;
    let nanos = |at| -> rusqlite::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(at)?.map(|nanos| nanos as u64))
    };
    Ok(KeptAttempt {
        step: row.get(1)?,
        registration: row.get::<_, i64>(2)? as u64,
        attempt: row.get(3)?,
        at: nanos(4)?.unwrap_or(0),
        state: State::named(&state).ok_or_else(|| {
            let unknown = format!("`{state}` is no state of a delivery");
            rusqlite::Error::FromSqlConversionFailure(
                5,
                rusqlite::types::Type::Text,
                unknown.into(),
            )
        })?,
        retry_at: nanos(6)?,
        status: row.get(7)?,
        failure: error.map(|error| (error, detail.unwrap_or_default())),
        answer: row.get(8)?,
        latency_us: row.get::<_, i64>(11)? as u64,
        destinations: row.get(12)?,
    })
}

/// What a company has of `registrations` or `campaigns`.
fn entities<N: TryFrom<i64>>(
    connection: &Connection,
    table: &str,
    company: i64,
) -> rusqlite::Result<Vec<(N, String)>> {
    let query = format!("SELECT id, json FROM {table} WHERE company = ?1 ORDER BY id");
    let mut query = connection.prepare_cached(&query)?;
    let rows = query.query_map([company], |row| {
        let id: i64 = row.get(0)?;
        let id = N::try_from(id).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, id))?;
        Ok((id, row.get(1)?))
    })?;
    rows.collect()
}

fn one<T: rusqlite::types::FromSql>(
    connection: &Connection,
    query: &str,
    key: impl rusqlite::ToSql,
) -> rusqlite::Result<Option<T>> {
    use rusqlite::OptionalExtension;
    connection
        .prepare_cached(query)?
        .query_row([key], |row| row.get(0))
        .optional()
}
