//! What is due, under one clock: the only queue of a run.
//!
//! A feed puts callbacks in, retries come back, the delivery takes them out. Time is handed in, so this
//! works the same in real time, faster, and without waiting. No socket and no clock is touched here.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chrono::{DateTime, Utc};

use crate::fault::Fault;
use crate::plan::{Callback, Plan, PlanError};
use crate::scenario::Settings;
use crate::scenario::model::Downed;
use crate::scenario::units::RetryPolicy;

/// Where callbacks come from, in due order.
pub trait Feed: Send {
    /// When the next one is due, in nanoseconds from the run's start; none if there is no more.
    ///
    /// # Errors
    ///
    /// It could not be computed.
    fn next_due(&mut self) -> Result<Option<u64>, PlanError>;
    /// The next one, once [`next_due`](Self::next_due) has told when it is due.
    fn peek(&self) -> Option<Callback>;
    /// Takes the next one.
    fn take(&mut self) -> Option<Callback>;
    /// Appends the body of one that was taken.
    ///
    /// # Errors
    ///
    /// It could not be computed.
    fn body(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError>;
    /// The event's id and type, for people and reports.
    ///
    /// # Errors
    ///
    /// They could not be computed.
    fn event(&mut self, callback: &Callback) -> Result<(String, String), PlanError>;
    /// The fault that strikes the first attempt at a callback, or the callback.
    fn fault(&self, _callback: &Callback) -> Option<Fault> {
        None
    }
    /// How many wait for their time, as far as they are known yet.
    fn pending(&self) -> usize;
    /// How many journeys have begun.
    fn journeys(&self) -> u64;
    /// The run's time zero.
    fn start(&self) -> DateTime<Utc>;
}

impl Feed for Plan {
    fn next_due(&mut self) -> Result<Option<u64>, PlanError> {
        Plan::next_due(self)
    }

    fn peek(&self) -> Option<Callback> {
        Plan::peek(self)
    }

    fn take(&mut self) -> Option<Callback> {
        self.next()?.ok()
    }

    fn body(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        Plan::body(self, callback, out)
    }

    fn event(&mut self, callback: &Callback) -> Result<(String, String), PlanError> {
        let part = Plan::event(self, callback)?.part();
        Ok((part.event_id.to_owned(), part.event_type.to_owned()))
    }

    fn fault(&self, callback: &Callback) -> Option<Fault> {
        Plan::fault(self, callback)
    }

    fn pending(&self) -> usize {
        Plan::pending(self)
    }

    fn journeys(&self) -> u64 {
        self.journeys_started()
    }

    fn start(&self) -> DateTime<Utc> {
        Plan::start(self)
    }
}

/// How fast the run's clock goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as real time.
    Times(f64),
    /// It jumps to whatever is due next.
    Max,
}

impl Default for Speed {
    fn default() -> Self {
        Speed::Times(1.0)
    }
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Speed::Max);
        }
        let times = text
            .strip_suffix('x')
            .and_then(|number| number.parse::<f64>().ok());
        match times {
            Some(times) if (0.001..=1_000_000.0).contains(&times) => Ok(Speed::Times(times)),
            _ => Err(format!(
                "`{text}` is not a speed; write `1x`, `60x`, `0.5x` or `max`"
            )),
        }
    }
}

impl std::fmt::Display for Speed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Speed::Times(times) => write!(f, "{times}x"),
            Speed::Max => f.write_str("max"),
        }
    }
}

/// What a clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Now {
    /// This time, in nanoseconds.
    At(u64),
    /// Whatever is due next, as long as it is not later than this.
    Next {
        /// In nanoseconds; `u64::MAX` is no limit.
        limit: u64,
    },
}

impl Now {
    /// The time, where it does not depend on what is due.
    pub fn time(self) -> Option<u64> {
        match self {
            Now::At(now) => Some(now),
            Now::Next { .. } => None,
        }
    }
}

/// One attempt to be made.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What is to be delivered.
    pub callback: Callback,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// When the attempt was due, in nanoseconds of the run's clock.
    pub due: u64,
    /// What the run's clock showed when it was handed out.
    pub started: u64,
    ticket: u64,
}

/// What an attempt came to, as far as the timeline must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted.
    Accepted,
    /// Refused for good.
    Refused,
    /// Failed for a reason that may pass.
    Transient,
}

/// What an earlier part of the run, that was broken off, did about a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Nothing that is known.
    Untouched,
    /// It was accepted or given up.
    Done,
    /// It waits for a retry.
    Waiting {
        /// When that is due, in nanoseconds of the run's clock.
        due: u64,
        /// Which attempt it will be.
        attempt: u32,
    },
}

/// Knows what an earlier part of the run did.
pub trait History: Send {
    /// How far the run's clock had come, in nanoseconds.
    fn reached(&self) -> u64;
    /// What was done about a callback.
    ///
    /// # Errors
    ///
    /// Why that cannot be told.
    fn of(&mut self, callback: &Callback) -> Result<Past, String>;
}

/// What becomes of the delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is done.
    Done,
    /// It is tried again at that time of the run's clock.
    Retry(u64),
    /// It is given up.
    GaveUp,
}

/// What there is to do.
#[derive(Debug)]
pub enum Due {
    /// This, now.
    Job(Job),
    /// Nothing before that time of the run's clock.
    At(u64),
    /// Nothing before an attempt that is under way ends.
    Held,
    /// More, but others should have their turn first.
    Busy,
    /// Nothing any more.
    Nothing,
}

/// So many callbacks that need no attempt are passed over before others have their turn.
pub const PASSED_AT_ONCE: usize = 4096;

/// When the next callback is due that has not been seen.
enum Fresh {
    At(Option<u64>),
    /// There were too many that have.
    Busy,
}

/// A retry that waits for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Retry {
    due: u64,
    callback: Callback,
    attempt: u32,
}

/// The pending callbacks and retries of one destination.
pub struct Timeline {
    feed: Box<dyn Feed>,
    policy: RetryPolicy,
    downed: Downed,
    /// Retries, and what did not come from the feed.
    retries: BinaryHeap<Reverse<Retry>>,
    /// Attempts under way: ticket and when they started, oldest first.
    under_way: Vec<(u64, u64)>,
    tickets: u64,
    /// How far the clock of a run without waiting has come.
    reached: u64,
    failures_in_row: u32,
    down_until: u64,
    times_down: u64,
    stopped: bool,
    history: Option<Box<dyn History>>,
}

impl Timeline {
    /// A timeline at its beginning.
    pub fn new(feed: Box<dyn Feed>, settings: &Settings) -> Timeline {
        Timeline {
            feed,
            policy: settings.retry,
            downed: settings.downed,
            retries: BinaryHeap::new(),
            under_way: Vec::new(),
            tickets: 0,
            reached: 0,
            failures_in_row: 0,
            down_until: 0,
            times_down: 0,
            stopped: false,
            history: None,
        }
    }

    /// Goes on where an earlier part of the run was broken off.
    pub fn resume(&mut self, history: Box<dyn History>) {
        self.reached = history.reached();
        self.history = Some(history);
    }

    /// How far the run's clock had come when it was broken off, in nanoseconds.
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// The feed, for bodies and names.
    pub fn feed(&mut self) -> &mut dyn Feed {
        self.feed.as_mut()
    }

    /// How many callbacks and retries wait, as far as they are known yet.
    pub fn pending(&self) -> usize {
        self.feed.pending() + self.retries.len()
    }

    /// How many attempts are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How often the destination was found to be down.
    pub fn times_down(&self) -> u64 {
        self.times_down
    }

    /// Hands out nothing more.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Goes by other settings from here on.
    pub fn set(&mut self, settings: &Settings) {
        self.policy = settings.retry;
        self.downed = settings.downed;
    }

    /// Puts a callback in that the feed does not bring: that attempt at it, due then.
    pub fn push(&mut self, callback: Callback, attempt: u32, due: u64) {
        self.retries.push(Reverse(Retry {
            due,
            callback,
            attempt,
        }));
    }

    /// When the next attempt is due, in nanoseconds; none if none waits.
    pub fn due(&mut self) -> Option<u64> {
        // What cannot be computed is told when its turn comes.
        let fresh = self.feed.next_due().ok().flatten();
        let other = self.retries.peek().map(|Reverse(next)| next.due);
        let next = fresh.into_iter().chain(other).min()?;
        (!self.stopped).then_some(next.max(self.down_until))
    }

    /// Until when the destination is left alone, in nanoseconds.
    pub fn down_until(&self) -> u64 {
        self.down_until
    }

    /// How many deliveries were begun and wait for a retry.
    pub fn awaiting_retry(&self) -> usize {
        self.retries.len()
    }

    /// What is due.
    ///
    /// # Errors
    ///
    /// A journey could not be computed; nothing more will come.
    pub fn next(&mut self, now: Now) -> Result<Due, PlanError> {
        if self.stopped {
            return Ok(Due::Nothing);
        }
        let fresh = match self.next_fresh().inspect_err(|_| self.stopped = true)? {
            Fresh::Busy => return Ok(Due::Busy),
            Fresh::At(due) => due,
        };
        let retry = self.retries.peek().map(|Reverse(retry)| retry.due);
        let Some(due) = fresh.into_iter().chain(retry).min() else {
            return Ok(if self.under_way.is_empty() {
                Due::Nothing
            } else {
                Due::Held
            });
        };
        let due = due.max(self.down_until);
        let started = match now {
            Now::At(now) if due > now => return Ok(Due::At(due)),
            Now::At(now) => now,
            // The clock may not pass the earliest retry that an attempt under way could ask for, nor a
            // pause that it could set off: what comes next must not depend on how fast it is answered.
            Now::Next { .. }
                if self
                    .under_way
                    .iter()
                    .any(|(_, started)| due > started + self.horizon()) =>
            {
                return Ok(Due::Held);
            }
            Now::Next { limit } if due > limit => return Ok(Due::At(due)),
            Now::Next { .. } => due.max(self.reached),
        };
        self.reached = started;
        let (callback, attempt) =
            if retry.is_some_and(|retry| fresh.is_none_or(|fresh| retry <= fresh)) {
                match self.retries.pop() {
                    Some(Reverse(retry)) => (retry.callback, retry.attempt),
                    None => return Ok(Due::Nothing),
                }
            } else {
                match self.feed.take() {
                    Some(callback) => (callback, 1),
                    None => return Ok(Due::Nothing),
                }
            };
        self.tickets += 1;
        self.under_way.push((self.tickets, started));
        Ok(Due::Job(Job {
            callback,
            attempt,
            due,
            started,
            ticket: self.tickets,
        }))
    }

    /// When the next callback is due that no earlier part of the run has seen.
    fn next_fresh(&mut self) -> Result<Fresh, PlanError> {
        for _ in 0..PASSED_AT_ONCE {
            let due = self.feed.next_due()?;
            let (Some(_), Some(history)) = (due, &mut self.history) else {
                return Ok(Fresh::At(due));
            };
            let Some(callback) = self.feed.peek() else {
                return Ok(Fresh::At(due));
            };
            let past = history.of(&callback).map_err(|message| PlanError {
                journey: callback.journey,
                message,
            })?;
            match past {
                Past::Untouched => return Ok(Fresh::At(due)),
                Past::Done => {}
                Past::Waiting { due, attempt } => self.push(callback, attempt, due),
            }
            self.feed.take();
        }
        Ok(Fresh::Busy)
    }

    fn horizon(&self) -> u64 {
        match self.policy.retries {
            0 => self.downed.pause.0,
            _ => self.policy.wait.0.min(self.downed.pause.0),
        }
    }

    /// Takes back a job that was handed out. What came of a `spoilt` attempt says nothing about the
    /// destination.
    pub fn finish(&mut self, job: &Job, verdict: Verdict, now: Now, spoilt: bool) -> Next {
        self.under_way.retain(|(ticket, _)| *ticket != job.ticket);
        let now = now.time().unwrap_or(job.started);
        if verdict != Verdict::Transient {
            if !spoilt {
                self.failures_in_row = 0;
            }
            return match verdict {
                Verdict::Accepted => Next::Done,
                _ => Next::GaveUp,
            };
        }
        // Attempts that were under way when the destination went down say nothing new.
        if job.started >= self.down_until && !spoilt {
            self.failures_in_row += 1;
        }
        if self.failures_in_row >= self.downed.after {
            self.failures_in_row = 0;
            self.down_until = now.saturating_add(self.downed.pause.0);
            self.times_down += 1;
        }
        if job.attempt > self.policy.retries {
            return Next::GaveUp;
        }
        let due = now.saturating_add(self.policy.wait.0);
        self.push(job.callback, job.attempt + 1, due);
        Next::Retry(due)
    }
}
