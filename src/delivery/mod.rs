//! Getting callbacks to a destination: what is due is taken from the timeline, sent, and its answer
//! given back. The only HTTP client.
//!
//! A destination is a `Lane` of `lane`: its queue, its connections and what became of them. An
//! [`Engine`] carries one out to its end; a server keeps one for each registration.

pub mod answer;
mod body;
pub mod clock;
mod connection;
pub mod lane;
mod overheard;
pub mod policy;
pub mod target;
pub mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};

use crate::fault::FaultKind;
use crate::journal::Journal;
use crate::timeline::{Feed, Job, Next, Timeline};
use answer::{Answer, Failure};
use clock::Clock;
use lane::Lane;
use target::Target;

/// How much longer than an attempt may take the end of a run that was interrupted is waited for.
const SETTLING: Duration = Duration::from_secs(1);

/// What happened with one attempt; every report is made of these.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// What was sent, and which attempt it was.
    pub job: &'a Job,
    /// The fault that struck it.
    pub fault: Option<FaultKind>,
    /// What came back, or why nothing did.
    pub answer: &'a Result<Answer, Failure>,
    /// What becomes of the delivery.
    pub next: Next,
    /// From when the attempt was due to when it ended.
    pub latency: Duration,
    /// How late it began.
    pub lag: Duration,
}

/// How a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which of the run's threads says so, from 0.
    pub thread: usize,
    /// Callbacks and retries that wait, as far as they are known yet.
    pub pending: usize,
    /// Attempts under way.
    pub under_way: usize,
    /// Journeys that have begun.
    pub journeys: u64,
    /// Real time until the next one is due, if that is known.
    pub next_due: Option<Duration>,
}

/// Something that reads the stream of attempts.
pub trait Observer: Send {
    /// One attempt has ended. The feed knows the callback's names.
    ///
    /// # Errors
    ///
    /// The observer cannot go on, say because nobody reads its output; the run then ends.
    fn attempt(&mut self, attempt: &Attempt<'_>, feed: &mut dyn Feed) -> std::io::Result<()>;

    /// Some time has passed.
    fn progress(&mut self, _progress: &Progress) {}

    /// A fault has swallowed a callback: it is not sent.
    fn dropped(&mut self, _job: &Job) {}
}

/// What is done once an attempt is on record; an error says why it cannot be.
pub type OnRecord = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Something that keeps what came of each attempt.
pub trait Recorder: Send + Sync {
    /// Takes an attempt down. What comes back is waited for before the connection is used again.
    fn record(
        &self,
        attempt: &Attempt<'_>,
        body: Bytes,
        ended: Duration,
        feed: &mut dyn Feed,
    ) -> Option<OnRecord>;
}

/// An observer that the threads of a run share.
pub type SharedObserver = Arc<Mutex<Box<dyn Observer>>>;

impl Observer for SharedObserver {
    fn attempt(&mut self, attempt: &Attempt<'_>, feed: &mut dyn Feed) -> std::io::Result<()> {
        locked(self).attempt(attempt, feed)
    }

    fn progress(&mut self, progress: &Progress) {
        locked(self).progress(progress);
    }

    fn dropped(&mut self, job: &Job) {
        locked(self).dropped(job);
    }
}

/// A panic elsewhere leaves the value whole enough to report.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks somebody before each callback; see `--step`.
pub struct Stepper {
    /// Where the question goes: which callback is next.
    pub ask: mpsc::Sender<Job>,
    /// Where the answer comes from: go on, or (closed) no more.
    pub go: mpsc::Receiver<()>,
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Ending {
    /// It was told to stop before everything was done.
    pub interrupted: bool,
    /// Why it could not go on, if it could not.
    pub broken: Option<String>,
    /// Deliveries that were begun and have neither been accepted nor given up.
    pub unfinished: u64,
    /// How often the destination was down.
    pub times_down: u64,
    /// Journeys that have begun.
    pub journeys: u64,
    /// How long it took in real time.
    pub elapsed: Duration,
}

/// Tells a run to stop.
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<watch::Sender<bool>>);

impl Default for StopSignal {
    fn default() -> Self {
        StopSignal(Arc::new(watch::Sender::new(false)))
    }
}

impl StopSignal {
    /// Begins no further attempt; those under way may end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Comes back once somebody says stop.
    pub async fn stopped(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

/// Everything that carrying out a plan takes.
pub struct Engine {
    /// What is due.
    pub timeline: Timeline,
    /// Where it goes.
    pub target: Target,
    /// By which clock.
    pub clock: Clock,
    /// Over how many connections at the most.
    pub connections: usize,
    /// Who reads along.
    pub observers: Vec<Box<dyn Observer>>,
    /// Who is asked before each callback.
    pub stepper: Option<Stepper>,
    /// What ends it early.
    pub stop: StopSignal,
    /// Where each attempt is recorded before the next one begins.
    pub journal: Option<Journal>,
    /// Which of the run's threads it is, from 0.
    pub thread: usize,
}

impl Engine {
    /// Carries the plan out.
    pub async fn run(self) -> Ending {
        let (_, ended) = self.start(None);
        ended.await
    }

    /// Begins to carry the plan out: the destination, and its end. Somebody may be told whenever an attempt is
    /// over.
    pub fn start(
        self,
        settled: Option<Arc<Notify>>,
    ) -> (Arc<Lane>, impl Future<Output = Ending> + Send) {
        let before_us = self.journal.as_ref().map_or(0, Journal::before_us);
        let before = Duration::from_micros(before_us);
        let patience = self.target.timeout + SETTLING;
        let recorder = self
            .journal
            .map(|journal| -> Arc<dyn Recorder> { Arc::new(journal) });
        let lane = Lane::new(
            self.timeline,
            Arc::new(self.target),
            self.clock,
            self.connections,
        );
        let mut lane = lane.watched_by(self.observers, recorder);
        if let Some(settled) = settled {
            lane = lane.telling(settled);
        }
        let lane = Arc::new(lane);
        lane.begin(self.stepper);
        let (stop, thread) = (self.stop, self.thread);
        let ended = {
            let lane = Arc::clone(&lane);
            async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                let finished = lane.finished();
                tokio::pin!(finished);
                loop {
                    tokio::select! {
                        () = &mut finished => break,
                        () = stop.stopped() => {
                            lane.interrupt();
                            // What a fault makes slow may take longer; nobody waits for that.
                            let _ = tokio::time::timeout(patience, &mut finished).await;
                            break;
                        }
                        _ = ticks.tick() => lane.tick(thread),
                    }
                }
                let mut ending = lane.ending();
                ending.elapsed += before;
                ending
            }
        };
        (lane, ended)
    }
}
