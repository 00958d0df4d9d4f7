//! The thread that writes a journal: all that has come since the last time, in one transaction.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::{JournalError, delivery_id};
use crate::delivery::answer::{Answer, Failure};
use crate::delivery::{Attempt, OnRecord, Recorder};
use crate::fault::FaultKind;
use crate::sqlite::Watched;
use crate::timeline::{Feed, Job, Next};

/// So many rows make one transaction at the most.
const BATCH: usize = 4096;

/// A journal that is being written. Its clones write to the same file.
#[derive(Clone)]
pub struct Journal {
    rows: mpsc::Sender<Message>,
    /// What the run took before it was broken off, in microseconds of real time.
    before_us: u64,
}

/// A row, and who wants to know that it is in the file.
type Message = (Box<Row>, oneshot::Sender<()>);

/// One attempt that has ended.
struct Row {
    job: Job,
    fault: Option<FaultKind>,
    event: (String, String),
    body: Bytes,
    answer: Result<Answer, Failure>,
    next: Next,
    ended_us: u64,
    lag_us: u64,
    latency_us: u64,
}

impl Journal {
    pub(super) fn start(
        path: &Path,
        connection: Connection,
        lock: File,
        before_us: u64,
    ) -> Result<(Journal, JoinHandle<()>), JournalError> {
        let (rows, messages) = mpsc::channel();
        let file = Watched::new(path);
        let writing = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                write(connection, &messages, &file);
                // The file is another run's from here on.
                drop(lock);
            })
            .map_err(|error| JournalError::new(path, error))?;
        Ok((Journal { rows, before_us }, writing))
    }

    /// How long the run took before it was broken off, in microseconds of real time.
    pub fn before_us(&self) -> u64 {
        self.before_us
    }
}

impl Recorder for Journal {
    fn record(
        &self,
        attempt: &Attempt<'_>,
        body: Bytes,
        ended: Duration,
        feed: &mut dyn Feed,
    ) -> Option<OnRecord> {
        let event = match feed.event(&attempt.job.callback) {
            Ok(event) => event,
            Err(error) => return Some(Box::pin(std::future::ready(Err(error.to_string())))),
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let row = Row {
            job: *attempt.job,
            fault: attempt.fault,
            event,
            body,
            answer: attempt.answer.clone(),
            next: attempt.next,
            ended_us: self.before_us + micros(ended),
            lag_us: micros(attempt.lag),
            latency_us: micros(attempt.latency),
        };
        let (written, told) = oneshot::channel();
        // If the thread is gone, `told` says so.
        let _ = self.rows.send((Box::new(row), written));
        Some(Box::pin(async { told.await.map_err(|_| LOST.to_owned()) }))
    }
}

/// What a run says that can no longer write its journal.
const LOST: &str = "the journal cannot be written any more, so the run has ended\n\
     make room, or name a file elsewhere; `--resume` goes on with a journal that is whole";

fn write(mut connection: Connection, messages: &mpsc::Receiver<Message>, file: &Watched) {
    // Ends when nobody can send any more.
    while let Ok(first) = messages.recv() {
        let batch: Vec<Message> = std::iter::once(first)
            .chain(messages.try_iter().take(BATCH))
            .collect();
        let written = file
            .check()
            .and_then(|()| commit(&mut connection, &batch).map_err(|error| error.to_string()));
        if let Err(message) = written {
            crate::report::note(format_args!(
                "error: the journal {}: {message}",
                file.path.display()
            ));
            // Whoever waits hears of it by the end of the channel.
            return;
        }
        for (_, told) in batch {
            let _ = told.send(());
        }
    }
    // So that the one file is the whole journal. If that cannot be, the log beside it has the rest.
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn commit(connection: &mut Connection, batch: &[Message]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (row, _) in batch {
        insert(&transaction, row)?;
    }
    transaction.commit()
}

fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let callback = &row.job.callback;
    let id = delivery_id(callback);
    let (state, retry) = match row.next {
        Next::Done => ("accepted", None),
        Next::GaveUp => ("failed", None),
        Next::Retry(due) => ("waiting", Some(due as i64)),
    };
    let part = |number: u8| (callback.parts > 0).then_some(number);
    let fault = row.fault.map(FaultKind::name);
    if row.job.attempt == 1 {
        connection
            .prepare_cached(
                "INSERT INTO deliveries VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                id,
                callback.journey as i64,
                callback.step(),
                callback.is_copy(),
                row.event.0,
                row.event.1,
                callback.outcome.name,
                part(callback.part),
                part(callback.parts),
                fault,
                callback.due as i64,
                &row.body[..],
            ])?;
    }
    let (status, answer, error, detail) = match &row.answer {
        Ok(answer) => (Some(answer.status), answer.text.as_deref(), None, None),
        Err(Failure { kind, detail }) => (None, None, Some(kind.name()), Some(detail.as_str())),
    };
    connection
        .prepare_cached(
            "INSERT INTO attempts
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            id,
            callback.outcome.name,
            row.job.attempt,
            fault,
            row.job.due as i64,
            row.job.started as i64,
            row.ended_us as i64,
            row.lag_us as i64,
            row.latency_us as i64,
            status,
            answer,
            error,
            detail,
            state,
            retry,
        ])?;
    Ok(())
}
