//! Getting callbacks to a destination: what is due is taken from the timeline, sent, and its answer
//! given back. The only HTTP client.
//!
//! Each connection is a task that takes the next due job itself: no dispatcher, no channel. While nothing
//! is due, one task (the leader) waits for the clock and the others sleep; a leader that gets a job wakes
//! the one that slept last, so that few connections stay warm instead of many turning cold.

pub mod answer;
mod connection;
mod overheard;
pub mod target;
pub mod tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::plan::PlanError;
use crate::timeline::{Due, Feed, Job, Next, Speed, Timeline, Verdict};
use answer::{Answer, Failure};
use connection::Connection;
use target::Target;

/// What happened with one attempt; every report is made of these.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// What was sent, and which attempt it was.
    pub job: &'a Job,
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
#[derive(Clone, Debug, Default)]
pub struct StopSignal(Arc<Notify>);

impl StopSignal {
    /// Begins no further attempt; those under way may end.
    pub fn stop(&self) {
        self.0.notify_one();
    }

    /// Comes back once somebody says stop.
    pub async fn stopped(&self) {
        self.0.notified().await;
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
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the leader: something may be due earlier than it thought.
    changed: Notify,
    target: Target,
    clock: Clock,
}

struct State {
    timeline: Timeline,
    observers: Vec<Box<dyn Observer>>,
    has_leader: bool,
    /// Those who sleep, the latest last.
    sleepers: Vec<Arc<Notify>>,
    broken: Option<String>,
    interrupted: bool,
}

/// The run's clock in terms of the machine's.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    speed: Speed,
}

impl Clock {
    fn now(&self) -> Option<u64> {
        match self.speed {
            Speed::Times(times) => Some((self.began.elapsed().as_nanos() as f64 * times) as u64),
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
    Deliver(Job, Bytes),
    /// As leader: until then, or until something changes.
    Wait(Option<Duration>),
    Sleep,
    End,
}

impl Engine {
    /// Carries the plan out.
    pub async fn run(self) -> Ending {
        let clock = Clock {
            began: Instant::now(),
            speed: self.speed,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                timeline: self.timeline,
                observers: self.observers,
                has_leader: false,
                sleepers: Vec::new(),
                broken: None,
                interrupted: false,
            }),
            changed: Notify::new(),
            target: self.target,
            clock,
        });
        let mut stepper = self.stepper;
        let workers: Vec<_> = (0..self.connections.max(1))
            .map(|_| tokio::spawn(worker(Arc::clone(&shared), stepper.take())))
            .collect();
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
            for worker in workers {
                if let Err(error) = worker.await {
                    shared.lock().broken = Some(format!("a connection's task failed: {error}"));
                }
            }
        };
        tokio::pin!(finished);
        tokio::select! {
            () = &mut finished => {}
            () = self.stop.stopped() => {
                shared.interrupt();
                finished.await;
            }
        }
        ticker.abort();
        let mut state = shared.lock();
        let awaiting = state.timeline.awaiting_retry();
        Ending {
            interrupted: state.interrupted,
            broken: state.broken.take(),
            unfinished: awaiting as u64,
            times_down: state.timeline.times_down(),
            journeys: state.timeline.feed().journeys(),
            elapsed: clock.began.elapsed(),
        }
    }
}

impl Shared {
    /// A panic elsewhere leaves the state whole enough to report.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let due = match state.timeline.next(now) {
            Ok(due) => due,
            Err(error) => {
                state.fail(&error);
                Due::Nothing
            }
        };
        if *leading {
            state.has_leader = false;
            *leading = false;
        }
        match due {
            Due::Job(job) => {
                let mut body = Vec::with_capacity(1024);
                if let Err(error) = state.timeline.feed().body(&job.callback, &mut body) {
                    state.fail(&error);
                    state.timeline.finish(&job, Verdict::Refused, now);
                    return Turn::End;
                }
                // Somebody must watch the clock while this one is away.
                if !state.has_leader
                    && let Some(next) = state.sleepers.pop()
                {
                    next.notify_one();
                }
                Turn::Deliver(job, body.into())
            }
            Due::Nothing => {
                state.wake_all();
                Turn::End
            }
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

    fn finish(&self, job: &Job, answer: &Result<Answer, Failure>, took: Duration) {
        let verdict = match answer {
            Ok(answer) => answer.verdict(),
            Err(_) => Verdict::Transient,
        };
        let mut state = self.lock();
        let next = state.timeline.finish(job, verdict, self.clock.now());
        let lag = self.clock.real(job.started.saturating_sub(job.due));
        let attempt = Attempt {
            job,
            answer,
            next,
            latency: lag + took,
            lag,
        };
        let State {
            timeline,
            observers,
            ..
        } = &mut *state;
        let mut trouble = None;
        for observer in observers {
            if let Err(error) = observer.attempt(&attempt, timeline.feed()) {
                trouble = Some(error);
            }
        }
        if let Some(error) = trouble {
            state
                .broken
                .get_or_insert(format!("cannot write the output: {error}"));
            state.halt();
        }
        // A retry may now be what is due next, and what was held back may go.
        if state.has_leader {
            self.changed.notify_one();
        }
    }
}

impl State {
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

async fn worker(shared: Arc<Shared>, mut stepper: Option<Stepper>) {
    let me = Arc::new(Notify::new());
    let mut leading = false;
    let mut connection = Connection::new(&shared.target);
    loop {
        match shared.turn(&mut leading, &me) {
            Turn::Deliver(job, body) => {
                if let Some(stepper) = &mut stepper
                    && !stepper.pass(job).await
                {
                    let mut state = shared.lock();
                    state.timeline.finish(&job, Verdict::Refused, None);
                    state.interrupted = true;
                    state.halt();
                    return;
                }
                let began = Instant::now();
                let answer = connection.send(&shared.target, &job, body).await;
                shared.finish(&job, &answer, began.elapsed());
            }
            Turn::Wait(None) => shared.changed.notified().await,
            Turn::Wait(Some(wait)) => {
                let _ = tokio::time::timeout(wait, shared.changed.notified()).await;
            }
            Turn::Sleep => me.notified().await,
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
