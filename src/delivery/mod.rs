//! Getting callbacks to a destination: what is due is taken from the timeline, sent, and its answer
//! given back. The only HTTP client.
//!
//! Each connection is a task that takes the next due job itself: no dispatcher, no channel. While nothing
//! is due, one task (the leader) waits for the clock and the others sleep; a leader that gets a job wakes
//! the one that slept last, so that few connections stay warm instead of many turning cold.

pub mod answer;
mod body;
mod connection;
mod overheard;
pub mod target;
pub mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::fault::{Fault, FaultKind};
use crate::journal::{Journal, LOST, Row};
use crate::plan::PlanError;
use crate::timeline::{Due, Feed, Job, Next, PASSED_AT_ONCE, Speed, Timeline, Verdict};
use answer::{Answer, Failure};
use connection::Connection;
use target::Target;

/// So many attempts that a fault slows or breaks have connections of their own at once, beside the others.
const OWN_CONNECTIONS: u32 = 256;

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
    /// How fast.
    pub speed: Speed,
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

struct Common {
    state: Mutex<State>,
    /// Wakes the leader: something may be due earlier than it thought.
    changed: Notify,
    target: Target,
    clock: Clock,
    journal: Option<Journal>,
    thread: usize,
    /// For attempts on connections of their own.
    own: Arc<Semaphore>,
}

struct State {
    timeline: Timeline,
    observers: Vec<Box<dyn Observer>>,
    has_leader: bool,
    /// Those who sleep, the latest last.
    sleepers: Vec<Arc<Notify>>,
    broken: Option<String>,
    interrupted: bool,
    /// Bodies are written here, each over the last.
    body: Vec<u8>,
}

/// The run's clock in terms of the machine's.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    /// Where it stood then, in nanoseconds.
    from: u64,
    speed: Speed,
}

impl Clock {
    fn now(&self) -> Option<u64> {
        match self.speed {
            Speed::Times(times) => {
                Some(self.from + (self.began.elapsed().as_nanos() as f64 * times) as u64)
            }
            Speed::Max => None,
        }
    }

    /// Run time as real time.
    fn real(&self, nanos: u64) -> Duration {
        match self.speed {
            Speed::Times(times) => Duration::from_nanos((nanos as f64 / times) as u64),
            Speed::Max => Duration::ZERO,
        }
    }
}

/// What a worker does next.
enum Turn {
    Deliver(Job, Bytes, Option<Fault>),
    /// As leader: until then, or until something changes.
    Wait(Option<Duration>),
    Sleep,
    /// Lets others have their turn.
    Yield,
    End,
}

impl Engine {
    /// Carries the plan out.
    pub async fn run(self) -> Ending {
        let clock = Clock {
            began: Instant::now(),
            from: self.timeline.reached(),
            speed: self.speed,
        };
        let shared = Arc::new(Common {
            state: Mutex::new(State {
                timeline: self.timeline,
                observers: self.observers,
                has_leader: false,
                sleepers: Vec::new(),
                broken: None,
                interrupted: false,
                body: Vec::new(),
            }),
            changed: Notify::new(),
            target: self.target,
            clock,
            journal: self.journal,
            thread: self.thread,
            own: Arc::new(Semaphore::new(OWN_CONNECTIONS as usize)),
        });
        let before_us = shared.journal.as_ref().map_or(0, Journal::before_us);
        let before = Duration::from_micros(before_us);
        let patience = shared.target.timeout + SETTLING;
        let mut stepper = self.stepper;
        let mut workers = JoinSet::new();
        for _ in 0..self.connections.max(1) {
            workers.spawn(worker(Arc::clone(&shared), stepper.take()));
        }
        let ticker = {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(Duration::from_millis(100));
                loop {
                    ticks.tick().await;
                    shared.tick();
                }
            })
        };
        let finished = async {
            while let Some(ended) = workers.join_next().await {
                if let Err(error) = ended {
                    let mut state = shared.lock();
                    state.broken = Some(format!("a connection's task failed: {error}"));
                    state.halt();
                    drop(state);
                    shared.changed.notify_one();
                }
            }
            // Those on connections of their own may still be at it.
            let _ = shared.own.acquire_many(OWN_CONNECTIONS).await;
        };
        tokio::pin!(finished);
        tokio::select! {
            () = &mut finished => {}
            () = self.stop.stopped() => {
                shared.interrupt();
                // What a fault makes slow may take longer; nobody waits for that.
                let _ = tokio::time::timeout(patience, finished).await;
            }
        }
        ticker.abort();
        let mut state = shared.lock();
        let open = state.timeline.awaiting_retry() + state.timeline.under_way();
        Ending {
            interrupted: state.interrupted,
            broken: state.broken.take(),
            unfinished: open as u64,
            times_down: state.timeline.times_down(),
            journeys: state.timeline.feed().journeys(),
            elapsed: before + clock.began.elapsed(),
        }
    }
}

impl Common {
    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn interrupt(&self) {
        let mut state = self.lock();
        state.interrupted = true;
        state.halt();
        drop(state);
        self.changed.notify_one();
    }

    fn tick(&self) {
        let mut state = self.lock();
        let now = self.clock.now();
        let next_due = match (state.timeline.feed().next_due(), now) {
            (Ok(Some(due)), Some(now)) => Some(self.clock.real(due.saturating_sub(now))),
            _ => None,
        };
        let progress = Progress {
            thread: self.thread,
            pending: state.timeline.pending(),
            under_way: state.timeline.under_way(),
            journeys: state.timeline.feed().journeys(),
            next_due,
        };
        for observer in &mut state.observers {
            observer.progress(&progress);
        }
    }

    fn turn(&self, leading: &mut bool, me: &Arc<Notify>) -> Turn {
        let mut state = self.lock();
        let now = self.clock.now();
        let (due, fault) = state.next(now);
        if *leading {
            state.has_leader = false;
            *leading = false;
        }
        match due {
            Due::Job(job) => {
                let State { timeline, body, .. } = &mut *state;
                body.clear();
                if let Err(error) = timeline.feed().body(&job.callback, body) {
                    state.fail(&error);
                    state.timeline.finish(&job, Verdict::Refused, now, true);
                    return Turn::End;
                }
                if let Some(fault) = fault {
                    fault.kind.spoil(body, fault.draw);
                }
                let body = Bytes::copy_from_slice(body);
                // Somebody must watch the clock while this one is away.
                if !state.has_leader
                    && let Some(next) = state.sleepers.pop()
                {
                    next.notify_one();
                }
                Turn::Deliver(job, body, fault)
            }
            Due::Nothing => {
                state.wake_all();
                Turn::End
            }
            Due::Busy => Turn::Yield,
            Due::At(_) | Due::Held if state.has_leader => {
                state.sleepers.push(Arc::clone(me));
                Turn::Sleep
            }
            Due::At(due) => {
                state.has_leader = true;
                *leading = true;
                Turn::Wait(Some(
                    self.clock.real(due.saturating_sub(now.unwrap_or(due))),
                ))
            }
            Due::Held => {
                state.has_leader = true;
                *leading = true;
                Turn::Wait(None)
            }
        }
    }

    /// Makes an attempt, and sees to what follows from it.
    async fn attempt(
        &self,
        connection: &mut Connection,
        job: &Job,
        body: Bytes,
        fault: Option<Fault>,
    ) {
        let kept = self.journal.as_ref().map(|_| body.clone());
        let began = Instant::now();
        let answer = connection.send(&self.target, job, body, fault).await;
        let written = self.finish(job, fault, answer, began.elapsed(), kept);
        if let Some(written) = written
            && written.await.is_err()
        {
            let mut state = self.lock();
            state.broken.get_or_insert(LOST.to_owned());
            state.halt();
            drop(state);
            self.changed.notify_one();
        }
    }

    fn finish(
        &self,
        job: &Job,
        fault: Option<Fault>,
        answer: Result<Answer, Failure>,
        took: Duration,
        body: Option<Bytes>,
    ) -> Option<oneshot::Receiver<()>> {
        let fault = fault.map(|fault| fault.kind);
        let verdict = match &answer {
            Ok(answer) => answer.verdict(),
            Err(_) => Verdict::Transient,
        };
        let spoilt = fault.is_some_and(FaultKind::spoils);
        let mut state = self.lock();
        let next = state
            .timeline
            .finish(job, verdict, self.clock.now(), spoilt);
        let lag = self.clock.real(job.started.saturating_sub(job.due));
        let attempt = Attempt {
            job,
            fault,
            answer: &answer,
            next,
            latency: lag + took,
            lag,
        };
        if let Err(error) = state.tell(&attempt) {
            state.broken.get_or_insert(error);
            state.halt();
        }
        let latency = attempt.latency;
        let written = self.journal.as_ref().zip(body).and_then(|(journal, body)| {
            let event = state.event(job)?;
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            Some(journal.record(Box::new(Row {
                job: *job,
                fault,
                event,
                body,
                answer,
                next,
                ended_us: journal.before_us() + micros(self.clock.began.elapsed()),
                lag_us: micros(lag),
                latency_us: micros(latency),
            })))
        });
        // A retry may now be what is due next, and what was held back may go.
        if state.has_leader {
            self.changed.notify_one();
        }
        written
    }
}

impl State {
    /// What is due, and the fault that strikes it. What a fault swallows is passed over.
    fn next(&mut self, now: Option<u64>) -> (Due, Option<Fault>) {
        for _ in 0..PASSED_AT_ONCE {
            let job = match self.timeline.next(now) {
                Ok(Due::Job(job)) => job,
                Ok(due) => return (due, None),
                Err(error) => {
                    self.fail(&error);
                    return (Due::Nothing, None);
                }
            };
            // A fault strikes once: the retry is sound.
            let fault = match job.attempt {
                1 => self.timeline.feed().fault(&job.callback),
                _ => None,
            };
            if fault.is_none_or(|fault| fault.kind != FaultKind::Drop) {
                return (Due::Job(job), fault);
            }
            self.timeline.finish(&job, Verdict::Accepted, now, true);
            for observer in &mut self.observers {
                observer.dropped(&job);
            }
        }
        (Due::Busy, None)
    }

    fn tell(&mut self, attempt: &Attempt<'_>) -> Result<(), String> {
        for observer in &mut self.observers {
            observer
                .attempt(attempt, self.timeline.feed())
                .map_err(|error| format!("cannot write the output: {error}"))?;
        }
        Ok(())
    }

    fn event(&mut self, job: &Job) -> Option<(String, String)> {
        let event = self.timeline.feed().event(&job.callback);
        event.map_err(|error| self.fail(&error)).ok()
    }

    fn fail(&mut self, error: &PlanError) {
        self.broken.get_or_insert(error.to_string());
        self.halt();
    }

    fn halt(&mut self) {
        self.timeline.stop();
        self.wake_all();
    }

    fn wake_all(&mut self) {
        for sleeper in self.sleepers.drain(..) {
            sleeper.notify_one();
        }
    }
}

async fn worker(shared: Arc<Common>, mut stepper: Option<Stepper>) {
    let me = Arc::new(Notify::new());
    let mut leading = false;
    let mut connection = Connection::new(&shared.target);
    loop {
        match shared.turn(&mut leading, &me) {
            Turn::Deliver(job, body, fault) => {
                if let Some(stepper) = &mut stepper
                    && !stepper.pass(job).await
                {
                    let mut state = shared.lock();
                    state.timeline.finish(&job, Verdict::Refused, None, true);
                    state.interrupted = true;
                    state.halt();
                    return;
                }
                if fault.is_some_and(|fault| fault.kind.needs_own_connection())
                    && let Ok(permit) = Arc::clone(&shared.own).try_acquire_owned()
                {
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        let mut own = Connection::new(&shared.target);
                        shared.attempt(&mut own, &job, body, fault).await;
                        drop(permit);
                    });
                    continue;
                }
                shared.attempt(&mut connection, &job, body, fault).await;
            }
            Turn::Wait(None) => shared.changed.notified().await,
            Turn::Wait(Some(wait)) => {
                let _ = tokio::time::timeout(wait, shared.changed.notified()).await;
            }
            Turn::Sleep => me.notified().await,
            Turn::Yield => tokio::task::yield_now().await,
            Turn::End => {
                // The leader, if there is one, must see the end as well.
                shared.changed.notify_one();
                return;
            }
        }
    }
}

impl Stepper {
    async fn pass(&mut self, job: Job) -> bool {
        self.ask.send(job).await.is_ok() && self.go.recv().await.is_some()
    }
}
