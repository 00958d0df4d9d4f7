//! The thread that writes: all that has come since the last time, in one transaction.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::{Notify, oneshot};

use super::{Change, DataError, Saved, words};
use crate::sqlite::Watched;

/// So many changes make one transaction at the most: who comes meanwhile waits for all of it.
const BATCH: usize = 4096;

/// After a transaction of so many changes the next begins no sooner than `PACE` after it: a commit costs more
/// than the rows in it, and under load others need the processor. Who writes alone does not wait.
const CROWD: usize = 32;

/// See `CROWD`.
const PACE: Duration = Duration::from_millis(2);

/// So many events are deleted along with a transaction.
const SLICE: u64 = 512;

/// While more bytes than this wait, `Data::room` has those wait who would bring more.
const ROOM: usize = 16 << 20;

/// More bytes than this never wait.
const LIMIT: usize = 64 << 20;

/// So many companies' numbers are kept in memory.
const KNOWN: usize = 10_000;

/// When deleting is tried again that has failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Where changes go. Its clones write to the same file; when the last is gone, so is the thread.
#[derive(Clone)]
pub struct Data(Arc<Handle>);

struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Data {
    /// Makes a change durable. It has its place in the order once this returns; the future tells when it is on
    /// disk, and need not be waited for.
    ///
    /// If very much waits already, this holds up the thread until the writer has taken some. To wait without
    /// holding up others, await `room` before; it is not needed where a change is awaited before the next.
    pub fn write(&self, change: Change) -> Written {
        self.0.0.push(change)
    }

    /// Waits until the disk has caught up. Who makes work should ask before making it, and before taking a lock.
    pub async fn room(&self) {
        let queue = &self.0.0;
        loop {
            // Before looking, so that no call in between is missed.
            let called = queue.room.notified();
            if queue.has_room() {
                return;
            }
            called.await;
        }
    }

    /// Takes nothing more. What was written before is still made durable; `Writing::join` waits for that.
    pub fn close(&self) {
        self.0.0.close();
    }

    /// Why the latest transaction failed, if it has: the server's health.
    pub fn trouble(&self) -> Option<String> {
        self.0.0.lock().trouble.clone()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.0.0.lock().changes.len()
    }

    /// How many transactions there have been.
    pub fn commits(&self) -> u64 {
        self.0.0.commits.load(Ordering::Relaxed)
    }
}

/// Ready once a change is on disk, or with the reason why it is not.
pub struct Written(oneshot::Receiver<Result<(), String>>);

impl Future for Written {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|told| told.unwrap_or_else(|_| Err(CLOSED.to_owned())))
    }
}

const CLOSED: &str = "the data file is not written any more, since the server is ending";

/// The thread that writes, to be waited for at the end.
pub struct Writing(JoinHandle<()>);

impl Writing {
    /// Waits until all is written and the one file is the whole state. Comes to an end after `Data::close`, or
    /// when no `Data` is left.
    pub fn join(self) {
        // A panic has been reported by the thread itself.
        let _ = self.0.join();
    }
}

type Told = oneshot::Sender<Result<(), String>>;

/// What waits to be written.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is work for the thread.
    work: Condvar,
    /// The thread has taken some.
    taken: Condvar,
    room: Notify,
    commits: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    changes: VecDeque<(Change, Told)>,
    bytes: usize,
    closed: bool,
    trouble: Option<String>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, change: Change) -> Written {
        let (told, written) = oneshot::channel();
        let mut waiting = self.lock();
        while waiting.bytes > LIMIT && !waiting.closed {
            waiting = self
                .taken
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        // Otherwise `told` is dropped, which says so.
        if !waiting.closed {
            waiting.bytes += size(&change);
            waiting.changes.push_back((change, told));
            self.work.notify_one();
        }
        Written(written)
    }

    fn close(&self) {
        self.lock().closed = true;
        self.work.notify_all();
        self.wake();
    }

    fn wake(&self) {
        self.taken.notify_all();
        self.room.notify_waiters();
    }

    /// What goes into the next transaction, as soon as there is something; nothing, if there is none for this long
    /// or there will be none any more.
    fn take(&self, patience: Duration) -> Vec<(Change, Told)> {
        let (mut waiting, _) = self
            .work
            .wait_timeout_while(self.lock(), patience, |waiting| {
                waiting.changes.is_empty() && !waiting.closed
            })
            .unwrap_or_else(PoisonError::into_inner);
        let count = waiting.changes.len().min(BATCH);
        let batch: Vec<_> = waiting.changes.drain(..count).collect();
        waiting.bytes -= batch.iter().map(|(change, _)| size(change)).sum::<usize>();
        drop(waiting);
        self.wake();
        batch
    }

    fn has_room(&self) -> bool {
        let waiting = self.lock();
        waiting.bytes < ROOM || waiting.closed
    }

    fn is_done(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.changes.is_empty()
    }
}

/// About how much memory a change takes while it waits.
fn size(change: &Change) -> usize {
    let beyond = match change {
        Change::Registration { json, .. }
        | Change::Campaign { json, .. }
        | Change::Event { json, .. } => json.len(),
        Change::Routes { text, .. } => text.as_ref().map_or(0, String::len),
        Change::Attempt {
            failure, answer, ..
        } => {
            failure.as_ref().map_or(0, |(_, detail)| detail.len())
                + answer.as_ref().map_or(0, |answer| answer.len())
        }
        Change::Evict { seqs } => size_of_val(&seqs[..]),
        Change::Again { .. }
        | Change::Unmatched { .. }
        | Change::Forget { .. }
        | Change::Clock { .. } => 0,
    };
    // With the channel that tells.
    size_of::<Change>() + 100 + beyond
}

pub(super) fn start(
    path: &Path,
    connection: Connection,
    lock: File,
    saved: &Saved,
) -> Result<(Data, Writing), DataError> {
    let numbers = [
        saved.highest.seq,
        saved.highest.registration,
        saved.highest.campaign.into(),
        saved.clock.unwrap_or(0),
    ];
    let doomed = Doomed::left(&connection).map_err(|error| DataError::of(path, &error))?;
    let mut writer = Writer {
        file: Watched::new(path),
        connection,
        companies: HashMap::new(),
        numbers,
        written: numbers,
        doomed,
    };
    let queue = Arc::new(Queue::default());
    let data = Data(Arc::new(Handle(Arc::clone(&queue))));
    let thread = std::thread::Builder::new()
        .name("data".to_owned())
        .spawn(move || {
            let end = End(queue);
            writer.run(&end.0);
            // Until here the file is nobody else's.
            drop(writer);
            drop(lock);
        })
        .map_err(|error| DataError::new(path, error.to_string()))?;
    Ok((data, Writing(thread)))
}

/// However the thread ends, nobody waits for it any more.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().changes.clear();
    }
}

/// The names of the highest numbers and the clock, in the order of `Writer::numbers`.
const NUMBERS: [&str; 4] = ["seq", "registration", "campaign", "clock"];
const SEQ: usize = 0;
const REGISTRATION: usize = 1;
const CAMPAIGN: usize = 2;
const CLOCK: usize = 3;

struct Writer {
    file: Watched,
    connection: Connection,
    /// The companies' numbers in the file, as far as they have been asked for.
    companies: HashMap<Arc<str>, i64>,
    /// The highest numbers that were given, and the clock.
    numbers: [u64; 4],
    /// The same as they are in the file.
    written: [u64; 4],
    /// What is still to be deleted.
    doomed: Doomed,
}

impl Writer {
    fn run(&mut self, queue: &Queue) {
        let mut failing = false;
        loop {
            let patience = match (self.doomed.is_empty(), failing) {
                (true, _) => Duration::MAX,
                (false, true) => AGAIN,
                (false, false) => Duration::ZERO,
            };
            let batch = queue.take(patience);
            // What a forgotten company has left is known to the file; evicted events are not.
            if batch.is_empty() && queue.is_done() && (failing || self.doomed.events.is_empty()) {
                break;
            }
            let began = Instant::now();
            let result = self.commit(&batch);
            self.report(queue, result.as_ref().err(), failing);
            failing = result.is_err();
            if !failing {
                queue.commits.fetch_add(1, Ordering::Relaxed);
            }
            let count = batch.len();
            for (_, told) in batch {
                // Not everybody wants to know.
                let _ = told.send(result.clone());
            }
            if count >= CROWD {
                std::thread::sleep(PACE.saturating_sub(began.elapsed()));
            }
        }
        // So that the one file is all. If that cannot be, the log beside it has the rest.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }

    /// Tells the log when trouble comes and when it goes.
    fn report(&self, queue: &Queue, error: Option<&String>, failing: bool) {
        let path = self.file.path.display();
        match error {
            Some(error) if !failing => {
                tracing::error!("the data file {path}: {error}");
            }
            None if failing => tracing::info!("the data file {path} is written again"),
            _ => {}
        }
        if failing || error.is_some() {
            queue.lock().trouble = error.cloned();
        }
    }

    fn commit(&mut self, batch: &[(Change, Told)]) -> Result<(), String> {
        self.file
            .check()
            .map_err(|what| format!("{what}\nput it back, or start the server again"))?;
        let slice = self.doomed.slice();
        let mut fresh = Doomed::default();
        match self.transact(batch, &slice, &mut fresh) {
            Ok(left) => {
                self.written = self.numbers;
                self.doomed.after(slice, left);
                self.doomed.add(fresh);
                Ok(())
            }
            Err(error) => {
                // Numbers that were given in the transaction are void.
                self.companies.clear();
                self.doomed.add(slice);
                Err(words(&error))
            }
        }
    }

    /// Returns whether companies of the slice have events left.
    fn transact(
        &mut self,
        batch: &[(Change, Told)],
        slice: &Doomed,
        fresh: &mut Doomed,
    ) -> rusqlite::Result<bool> {
        if !self.connection.is_autocommit() {
            // Undoing the last transaction has failed, so it is still open.
            self.connection.execute_batch("ROLLBACK")?;
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut rows = Rows {
            transaction: &transaction,
            companies: &mut self.companies,
            numbers: &mut self.numbers,
        };
        for (change, _) in batch {
            rows.apply(change, fresh)?;
        }
        let left = slice.delete(&transaction)?;
        for (index, name) in NUMBERS.iter().enumerate() {
            if self.numbers[index] != self.written[index] {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO numbers VALUES (?1, ?2)")?
                    .execute(params![name, self.numbers[index] as i64])?;
            }
        }
        transaction.commit()?;
        Ok(left)
    }
}

/// Puts changes into a transaction.
struct Rows<'w> {
    transaction: &'w Transaction<'w>,
    companies: &'w mut HashMap<Arc<str>, i64>,
    numbers: &'w mut [u64; 4],
}

impl Rows<'_> {
    fn apply(&mut self, change: &Change, fresh: &mut Doomed) -> rusqlite::Result<()> {
        match change {
            Change::Registration { company, id, json } => {
                let company = self.company(company)?;
                self.given(REGISTRATION, *id);
                self.execute(
                    "INSERT OR REPLACE INTO registrations VALUES (?1, ?2, ?3)",
                    params![company, *id as i64, json],
                )
            }
            Change::Campaign { company, id, json } => {
                let company = self.company(company)?;
                self.given(CAMPAIGN, (*id).into());
                self.execute(
                    "INSERT OR REPLACE INTO campaigns VALUES (?1, ?2, ?3)",
                    params![company, id, json],
                )
            }
            Change::Routes { company, text } => {
                let company = self.company(company)?;
                match text {
                    Some(text) => self.execute(
                        "INSERT OR REPLACE INTO routes VALUES (?1, ?2)",
                        params![company, text],
                    ),
                    None => self.execute("DELETE FROM routes WHERE company = ?1", [company]),
                }
            }
            Change::Event { company, seq, json } => {
                let company = self.company(company)?;
                self.given(SEQ, *seq);
                self.execute(
                    "INSERT OR REPLACE INTO events VALUES (?1, ?2, ?3)",
                    params![*seq as i64, company, json],
                )
            }
            Change::Attempt {
                seq,
                step,
                registration,
                attempt,
                at,
                state,
                retry_at,
                status,
                failure,
                answer,
                latency_us,
                destinations,
            } => self.execute(
                // What was under way when its company was forgotten leaves nothing behind.
                "INSERT OR REPLACE INTO attempts (seq, step, registration, attempt, at_ns, state, retry_ns,
                                                  status, answer, error, detail, latency_us, destinations)
                 SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13
                 WHERE EXISTS (SELECT 1 FROM events WHERE seq = ?1)",
                params![
                    *seq as i64,
                    step,
                    *registration as i64,
                    attempt,
                    *at as i64,
                    state.name(),
                    retry_at.map(|at| at as i64),
                    status,
                    answer.as_deref(),
                    failure.as_ref().map(|(kind, _)| kind),
                    failure.as_ref().map(|(_, detail)| detail),
                    *latency_us as i64,
                    destinations,
                ],
            ),
            Change::Again {
                seq,
                step,
                registration,
                at,
            } => self.execute(
                "UPDATE attempts SET state = 'again', retry_ns = ?4
                 WHERE seq = ?1 AND step = ?2 AND registration = ?3
                   AND attempt = (SELECT max(attempt) FROM attempts
                                  WHERE seq = ?1 AND step = ?2 AND registration = ?3)",
                params![*seq as i64, step, *registration as i64, *at as i64],
            ),
            Change::Unmatched { seq, step } => self.execute(
                "INSERT OR REPLACE INTO unmatched
                 SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM events WHERE seq = ?1)",
                params![*seq as i64, step],
            ),
            Change::Forget { company } => self.forget(company, fresh),
            Change::Evict { seqs } => {
                for &seq in seqs {
                    fresh.event(seq);
                }
                Ok(())
            }
            Change::Clock { now } => {
                self.numbers[CLOCK] = *now;
                Ok(())
            }
        }
    }

    fn execute(&self, text: &str, values: impl rusqlite::Params) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(text)?.execute(values)?;
        Ok(())
    }

    fn given(&mut self, which: usize, number: u64) {
        self.numbers[which] = self.numbers[which].max(number);
    }

    /// A company's number in the file, if it has one.
    fn known(&mut self, key: &Arc<str>) -> rusqlite::Result<Option<i64>> {
        if let Some(&number) = self.companies.get(key) {
            return Ok(Some(number));
        }
        let number = self
            .transaction
            .prepare_cached("SELECT number FROM companies WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        if self.companies.len() >= KNOWN {
            self.companies.clear();
        }
        if let Some(number) = number {
            self.companies.insert(Arc::clone(key), number);
        }
        Ok(number)
    }

    /// A company's number in the file; a new one gets one.
    fn company(&mut self, key: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(number) = self.known(key)? {
            return Ok(number);
        }
        self.execute("INSERT INTO companies (key) VALUES (?1)", [key])?;
        let number = self.transaction.last_insert_rowid();
        self.companies.insert(Arc::clone(key), number);
        Ok(number)
    }

    /// The company is gone with this transaction; its events are deleted when there is time.
    fn forget(&mut self, key: &Arc<str>, fresh: &mut Doomed) -> rusqlite::Result<()> {
        let Some(number) = self.known(key)? else {
            return Ok(());
        };
        for text in [
            "DELETE FROM registrations WHERE company = ?1",
            "DELETE FROM campaigns WHERE company = ?1",
            "DELETE FROM routes WHERE company = ?1",
            "DELETE FROM companies WHERE number = ?1",
            "INSERT INTO forgotten VALUES (?1)",
        ] {
            self.execute(text, [number])?;
        }
        self.companies.remove(key);
        fresh.companies.push_back(number);
        Ok(())
    }
}

/// Events to delete. That is done in slices, so that nobody waits for more than one.
#[derive(Default)]
struct Doomed {
    /// From and to, both of them included.
    events: VecDeque<(u64, u64)>,
    /// The numbers of forgotten companies.
    companies: VecDeque<i64>,
}

impl Doomed {
    /// What was left to delete when the program ended.
    fn left(connection: &Connection) -> rusqlite::Result<Doomed> {
        let mut query = connection.prepare("SELECT company FROM forgotten")?;
        let companies = query.query_map([], |row| row.get(0))?;
        Ok(Doomed {
            events: VecDeque::new(),
            companies: companies.collect::<rusqlite::Result<_>>()?,
        })
    }

    fn is_empty(&self) -> bool {
        self.events.is_empty() && self.companies.is_empty()
    }

    fn event(&mut self, seq: u64) {
        match self.events.back_mut() {
            // Neighbours are deleted together.
            Some((_, to)) if to.checked_add(1) == Some(seq) => *to = seq,
            _ => self.events.push_back((seq, seq)),
        }
    }

    fn add(&mut self, more: Doomed) {
        self.events.extend(more.events);
        self.companies.extend(more.companies);
    }

    /// Takes as much as is to be deleted at one time.
    fn slice(&mut self) -> Doomed {
        let mut slice = Doomed::default();
        let mut room = SLICE;
        while let Some((from, to)) = self.events.pop_front() {
            if to - from >= room {
                slice.events.push_back((from, from + room - 1));
                self.events.push_front((from + room, to));
                return slice;
            }
            slice.events.push_back((from, to));
            room -= to - from + 1;
            if room == 0 {
                return slice;
            }
        }
        slice.companies.extend(self.companies.pop_front());
        slice
    }

    /// A slice has been deleted; its company may have events left.
    fn after(&mut self, slice: Doomed, left: bool) {
        if left {
            self.companies.extend(slice.companies);
        }
    }

    /// Deletes what a slice names; of a company so much as fits. Tells whether it has more.
    fn delete(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        for &(from, to) in &self.events {
            delete(transaction, from as i64, to as i64)?;
        }
        let mut left = false;
        for company in &self.companies {
            let seqs: Vec<i64> = transaction
                .prepare_cached("SELECT seq FROM events WHERE company = ?1 LIMIT ?2")?
                .query_map(params![company, SLICE as i64], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for &seq in &seqs {
                delete(transaction, seq, seq)?;
            }
            left = seqs.len() as u64 == SLICE;
            if !left {
                transaction
                    .prepare_cached("DELETE FROM forgotten WHERE company = ?1")?
                    .execute([company])?;
            }
        }
        Ok(left)
    }
}

fn delete(transaction: &Transaction<'_>, from: i64, to: i64) -> rusqlite::Result<()> {
    for text in [
        "DELETE FROM attempts WHERE seq BETWEEN ?1 AND ?2",
        "DELETE FROM unmatched WHERE seq BETWEEN ?1 AND ?2",
        "DELETE FROM events WHERE seq BETWEEN ?1 AND ?2",
    ] {
        transaction.prepare_cached(text)?.execute([from, to])?;
    }
    Ok(())
}
