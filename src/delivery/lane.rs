//! One destination: what waits for it, its connections, and how it stands.
//!
//! Each connection is a task that takes the next due job itself: no dispatcher, no channel. While nothing
//! is due, one task (the leader) waits for the clock and the others sleep; a leader that gets a job wakes
//! the one that slept last, so that few connections stay warm instead of many turning cold. A connection is
//! begun when there is something for it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore};

use super::answer::{Answer, Failure};
use super::clock::Clock;
use super::connection::Connection;
use super::target::Target;
use super::{Attempt, Ending, Observer, OnRecord, Progress, Recorder, Stepper, locked};
use crate::fault::{Fault, FaultKind};
use crate::plan::{Callback, PlanError};
use crate::scenario::Settings;
use crate::timeline::{Due, Job, Now, PASSED_AT_ONCE, Timeline, Verdict};

/// So many attempts that a fault slows or breaks have connections of their own at once, beside the others.
const OWN_CONNECTIONS: u32 = 256;

/// One destination with what waits for it.
pub struct Lane {
    state: Mutex<State>,
    /// Wakes the leader: something may be due earlier than it thought.
    changed: Notify,
    /// The last connection has ended.
    ended: Notify,
    /// Tells whoever moves the clock that an attempt is over and done with.
    settled: Option<Arc<Notify>>,
    clock: Clock,
    began: Instant,
    connections: usize,
    /// How long connections stay when nothing is left to do.
    linger: Duration,
    recorder: Option<Arc<dyn Recorder>>,
    /// For attempts on connections of their own.
    own: Arc<Semaphore>,
}

struct State {
    timeline: Timeline,
    target: Arc<Target>,
    observers: Vec<Box<dyn Observer>>,
    /// How many connections there are.
    workers: usize,
    has_leader: bool,
    /// Those who sleep, the latest last.
    sleepers: Vec<Arc<Notify>>,
    /// Attempts that are over, but not on record yet.
    recording: usize,
    /// Nothing has come for so long that the connections end.
    closing: bool,
    /// Nothing is sent until whoever moves the clock says so.
    held: bool,
    broken: Option<String>,
    interrupted: bool,
    /// Bodies are written here, each over the last.
    body: Vec<u8>,
}

/// How a destination stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When the next attempt is due, in nanoseconds, if one waits.
    pub due: Option<u64>,
    /// Attempts that wait.
    pub pending: usize,
    /// Attempts under way, and such as are not on record yet.
    pub under_way: usize,
    /// Until when it is left alone, in nanoseconds.
    pub down_until: u64,
    /// How often it was found to be down.
    pub times_down: u64,
}

/// What a connection does next.
enum Turn {
    Deliver(Job, Bytes, Option<Fault>, Arc<Target>),
    /// As leader: until then, or until something changes.
    Wait(Option<Duration>),
    /// As leader of those who have nothing to do.
    Linger,
    Sleep,
    /// Lets others have their turn.
    Yield,
    End,
}

impl Lane {
    /// A destination that nothing is sent to yet.
    pub fn new(timeline: Timeline, target: Arc<Target>, clock: Clock, connections: usize) -> Lane {
        Lane {
            state: Mutex::new(State {
                timeline,
                target,
                observers: Vec::new(),
                workers: 0,
                has_leader: false,
                sleepers: Vec::new(),
                recording: 0,
                closing: false,
                held: clock.is_moved(),
                broken: None,
                interrupted: false,
                body: Vec::new(),
            }),
            changed: Notify::new(),
            ended: Notify::new(),
            settled: None,
            clock,
            began: Instant::now(),
            connections: connections.max(1),
            linger: Duration::ZERO,
            recorder: None,
            own: Arc::new(Semaphore::new(OWN_CONNECTIONS as usize)),
        }
    }

    /// Lets somebody read along, and somebody keep what came of each attempt.
    pub fn watched_by(
        mut self,
        observers: Vec<Box<dyn Observer>>,
        recorder: Option<Arc<dyn Recorder>>,
    ) -> Lane {
        locked(&self.state).observers = observers;
        self.recorder = recorder;
        self
    }

    /// Keeps connections for so long when nothing is left to do.
    pub fn lingering(mut self, linger: Duration) -> Lane {
        self.linger = linger;
        self
    }

    /// Tells somebody whenever an attempt is over and on record.
    pub fn telling(mut self, settled: Arc<Notify>) -> Lane {
        self.settled = Some(settled);
        self
    }

    /// Begins with what waits.
    pub fn begin(self: &Arc<Self>, stepper: Option<Stepper>) {
        let mut state = self.lock();
        self.wake(&mut state, stepper);
    }

    /// Sees to it that somebody looks at what waits.
    fn wake(self: &Arc<Self>, state: &mut State, stepper: Option<Stepper>) {
        if state.workers == 0 {
            self.spawn(state, stepper);
        } else if state.has_leader {
            self.changed.notify_one();
        }
    }

    /// Puts an attempt in, due at that time of the clock (nanoseconds).
    pub fn push(self: &Arc<Self>, callback: Callback, attempt: u32, due: u64) {
        let mut state = self.lock();
        state.timeline.push(callback, attempt, due);
        state.closing = false;
        if !state.held {
            self.wake(&mut state, None);
        }
    }

    /// Under a clock that is moved by hand: sends what is due by it, or nothing from here on.
    pub fn hold(self: &Arc<Self>, held: bool) {
        let mut state = self.lock();
        state.held = held;
        if !held {
            self.wake(&mut state, None);
        }
    }

    /// Whether an attempt is under way, or due by a clock that is moved by hand, and there is a connection that
    /// sees to it.
    pub fn is_busy(&self) -> bool {
        let mut state = self.lock();
        let under_way = state.timeline.under_way() + state.recording > 0;
        state.workers > 0 && (under_way || self.has_due(&mut state))
    }

    /// Whether an attempt is due by a clock that is moved by hand.
    pub fn is_due(&self) -> bool {
        self.has_due(&mut self.lock())
    }

    fn has_due(&self, state: &mut State) -> bool {
        match self.clock.now() {
            Now::Next { limit } => state.timeline.due().is_some_and(|due| due <= limit),
            Now::At(_) => false,
        }
    }

    /// Sends to another target, by other settings, from the next attempt on.
    pub fn retarget(&self, target: Arc<Target>, settings: &Settings) {
        let mut state = self.lock();
        state.target = target;
        state.timeline.set(settings);
    }

    /// What the clock behind its own shows when its own shows zero, in nanoseconds.
    pub fn zero(&self) -> u64 {
        self.clock.zero()
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        let mut state = self.lock();
        Standing {
            due: state.timeline.due(),
            pending: state.timeline.pending(),
            under_way: state.timeline.under_way() + state.recording,
            down_until: state.timeline.down_until(),
            times_down: state.timeline.times_down(),
        }
    }

    /// Begins no further attempt.
    pub fn interrupt(&self) {
        let mut state = self.lock();
        state.interrupted = true;
        self.halt(&mut state);
    }

    /// Comes back once no connection is left.
    pub async fn finished(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.lock().workers == 0 {
                break;
            }
            ended.await;
        }
        // Those on connections of their own may still be at it.
        let _ = self.own.acquire_many(OWN_CONNECTIONS).await;
    }

    /// What has come of it so far; once the last connection has ended, how it ended.
    pub fn ending(&self) -> Ending {
        let mut state = self.lock();
        let open = state.timeline.awaiting_retry() + state.timeline.under_way();
        Ending {
            interrupted: state.interrupted,
            broken: state.broken.clone(),
            unfinished: open as u64,
            times_down: state.timeline.times_down(),
            journeys: state.timeline.feed().journeys(),
            elapsed: self.began.elapsed(),
        }
    }

    pub(super) fn tick(&self, thread: usize) {
        let mut state = self.lock();
        let now = self.clock.now();
        let next_due = match (state.timeline.feed().next_due(), now) {
            (Ok(Some(due)), Now::At(now)) => Some(self.clock.real(due.saturating_sub(now))),
            _ => None,
        };
        let progress = Progress {
            thread,
            pending: state.timeline.pending(),
            under_way: state.timeline.under_way(),
            journeys: state.timeline.feed().journeys(),
            next_due,
        };
        for observer in &mut state.observers {
            observer.progress(&progress);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    fn spawn(self: &Arc<Self>, state: &mut State, stepper: Option<Stepper>) {
        state.workers += 1;
        let mut present = Present {
            lane: Arc::clone(self),
            gone: false,
        };
        tokio::spawn(async move { worker(&mut present, stepper).await });
    }

    fn turn(self: &Arc<Self>, leading: &mut bool, lingered: bool, me: &Arc<Notify>) -> Turn {
        let mut state = self.lock();
        let now = self.clock.now();
        let (due, fault) = match state.held && state.timeline.due().is_some() {
            true => (Due::Held, None),
            false => state.next(now),
        };
        if *leading {
            state.has_leader = false;
            *leading = false;
        }
        if !matches!(due, Due::Job(_)) {
            // What a fault has swallowed made no attempt that could tell.
            self.settle();
        }
        match due {
            Due::Job(job) => {
                let State { timeline, body, .. } = &mut *state;
                body.clear();
                if let Err(error) = timeline.feed().body(&job.callback, body) {
                    state.fail(&error);
                    state.timeline.finish(&job, Verdict::Refused, now, true);
                    self.leave(&mut state);
                    return Turn::End;
                }
                if let Some(fault) = fault {
                    fault.kind.spoil(body, fault.draw);
                }
                let body = Bytes::copy_from_slice(body);
                // Somebody must watch the clock while this one is away.
                if !state.has_leader {
                    if let Some(next) = state.sleepers.pop() {
                        next.notify_one();
                    } else if state.workers < self.connections {
                        self.spawn(&mut state, None);
                    }
                }
                Turn::Deliver(job, body, fault, Arc::clone(&state.target))
            }
            Due::Nothing => {
                if lingered || state.broken.is_some() || self.linger.is_zero() {
                    state.closing = true;
                }
                if state.closing || state.interrupted {
                    state.wake_all();
                    self.leave(&mut state);
                    return Turn::End;
                }
                if state.has_leader {
                    state.sleepers.push(Arc::clone(me));
                    return Turn::Sleep;
                }
                state.has_leader = true;
                *leading = true;
                Turn::Linger
            }
            Due::Busy => Turn::Yield,
            Due::At(_) | Due::Held if state.has_leader => {
                state.sleepers.push(Arc::clone(me));
                Turn::Sleep
            }
            Due::At(due) => {
                state.has_leader = true;
                *leading = true;
                // A clock that jumps or is moved tells when it has.
                let wait = now
                    .time()
                    .map(|now| self.clock.real(due.saturating_sub(now)));
                Turn::Wait(wait)
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
        target: &Arc<Target>,
        job: &Job,
        body: Bytes,
        fault: Option<Fault>,
    ) {
        let kept = self.recorder.as_ref().map(|_| body.clone());
        let began = Instant::now();
        let answer = connection.send(target, job, body, fault).await;
        if let Some(on_record) = self.finish(job, fault, &answer, began.elapsed(), kept) {
            let recorded = on_record.await;
            let mut state = self.lock();
            state.recording -= 1;
            if let Err(error) = recorded {
                state.broken.get_or_insert(error);
                self.halt(&mut state);
            }
        }
        self.settle();
    }

    /// Lets whoever moves the clock look again.
    fn settle(&self) {
        if let Some(settled) = &self.settled {
            settled.notify_one();
        }
    }

    fn finish(
        &self,
        job: &Job,
        fault: Option<Fault>,
        answer: &Result<Answer, Failure>,
        took: Duration,
        body: Option<Bytes>,
    ) -> Option<OnRecord> {
        let fault = fault.map(|fault| fault.kind);
        let verdict = match answer {
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
            answer,
            next,
            latency: lag + took,
            lag,
        };
        if let Err(error) = state.tell(&attempt) {
            state.broken.get_or_insert(error);
            self.halt(&mut state);
        }
        let on_record = self
            .recorder
            .as_ref()
            .zip(body)
            .and_then(|(recorder, body)| {
                let ended = self.began.elapsed();
                recorder.record(&attempt, body, ended, state.timeline.feed())
            });
        state.recording += usize::from(on_record.is_some());
        // A retry may now be what is due next, and what was held back may go.
        if state.has_leader {
            self.changed.notify_one();
        }
        on_record
    }

    /// One connection less. Whoever puts something in from here on begins another.
    fn leave(&self, state: &mut State) {
        state.workers -= 1;
        // The leader, if there is one, must see the end as well.
        self.changed.notify_one();
        if state.workers == 0 {
            self.ended.notify_waiters();
        }
        self.settle();
    }

    fn halt(&self, state: &mut State) {
        state.halt();
        self.changed.notify_one();
    }
}

/// One connection's task; if it breaks, the lane knows.
struct Present {
    lane: Arc<Lane>,
    /// It has left as it should.
    gone: bool,
}

impl Drop for Present {
    fn drop(&mut self) {
        if !self.gone {
            let mut state = self.lane.lock();
            state.broken = Some("a connection's task failed".to_owned());
            self.lane.halt(&mut state);
            self.lane.leave(&mut state);
        }
    }
}

impl State {
    /// What is due, and the fault that strikes it. What a fault swallows is passed over.
    fn next(&mut self, now: Now) -> (Due, Option<Fault>) {
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

async fn worker(present: &mut Present, mut stepper: Option<Stepper>) {
    let lane = &present.lane;
    let me = Arc::new(Notify::new());
    let mut leading = false;
    let mut lingered = false;
    let mut connection = Connection::new();
    loop {
        let turn = lane.turn(&mut leading, lingered, &me);
        lingered = false;
        match turn {
            Turn::Deliver(job, body, fault, target) => {
                if let Some(stepper) = &mut stepper
                    && !stepper.pass(job).await
                {
                    let mut state = lane.lock();
                    let now = lane.clock.now();
                    state.timeline.finish(&job, Verdict::Refused, now, true);
                    state.interrupted = true;
                    lane.halt(&mut state);
                    lane.leave(&mut state);
                    break;
                }
                if fault.is_some_and(|fault| fault.kind.needs_own_connection())
                    && let Ok(permit) = Arc::clone(&lane.own).try_acquire_owned()
                {
                    let lane = Arc::clone(lane);
                    tokio::spawn(async move {
                        let mut own = Connection::new();
                        lane.attempt(&mut own, &target, &job, body, fault).await;
                        drop(permit);
                    });
                    continue;
                }
                lane.attempt(&mut connection, &target, &job, body, fault)
                    .await;
            }
            Turn::Wait(None) => lane.changed.notified().await,
            Turn::Wait(Some(wait)) => {
                let _ = tokio::time::timeout(wait, lane.changed.notified()).await;
            }
            Turn::Linger => {
                let more = tokio::time::timeout(lane.linger, lane.changed.notified()).await;
                lingered = more.is_err();
            }
            Turn::Sleep => me.notified().await,
            Turn::Yield => tokio::task::yield_now().await,
            Turn::End => break,
        }
    }
    present.gone = true;
}

impl Stepper {
    async fn pass(&mut self, job: Job) -> bool {
        self.ask.send(job).await.is_ok() && self.go.recv().await.is_some()
    }
}
