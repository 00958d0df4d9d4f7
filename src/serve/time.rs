//! What moves the server on: a task under a clock that runs, a request under one that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use super::changes::What;
use super::hub::{Hub, locked};
use crate::delivery::lane::Lane;
use crate::timeline::Now;

/// So many callbacks are handed over before others have their turn.
const AT_ONCE: usize = 512;
/// A clock that is moved until nothing is left to do goes no further than this, in nanoseconds: what
/// comes again and again never ends.
const FARTHEST: u64 = 366 * 24 * 60 * 60 * 1_000_000_000;

/// Moving the clock until nothing is left to do also ends after so many cron events, each of which may
/// come before all of the last one is done.
const MOST_CRON_EVENTS: u64 = 10_000;

/// How far the clock is to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// By so many nanoseconds.
    By(u64),
    /// To that time, in nanoseconds since 1970.
    Time(u64),
    /// Until no callback and no retry waits.
    Idle,
}

/// A destination that may send for as long as this is there: whoever moves the clock may leave at any time.
struct LetGo<'a>(&'a Arc<Lane>);

impl<'a> LetGo<'a> {
    fn new(lane: &'a Arc<Lane>) -> LetGo<'a> {
        lane.hold(false);
        LetGo(lane)
    }
}

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        self.0.hold(true);
    }
}

impl Hub {
    /// Hands over what is due, as the clock runs; never comes back. Under a clock that is moved by hand there
    /// is nothing to do.
    pub async fn run_clock(self: Arc<Self>) {
        loop {
            let Now::At(now) = self.clock.now() else {
                return;
            };
            if self.hand_over(now, AT_ONCE) == AT_ONCE {
                tokio::task::yield_now().await;
                continue;
            }
            self.fire_crons(now);
            let next = self.next_due().into_iter().chain(self.next_cron()).min();
            let sooner = self.sooner.notified();
            match next {
                Some(next) => {
                    let wait = self.clock.real(next.saturating_sub(now));
                    // A timer is good to a millisecond.
                    let _ = tokio::time::timeout(wait, sooner).await;
                }
                None => sooner.await,
            }
        }
    }

    /// Moves the clock from one due instant to the next and waits each time until everything due has been
    /// delivered or has failed. True if nothing waits any more.
    pub async fn advance(&self, until: Until) -> bool {
        let _moving = self.moving.lock().await;
        let start = self.now();
        let last = match until {
            Until::By(time) => start.saturating_add(time),
            Until::Time(time) => time.max(start),
            Until::Idle => start.saturating_add(FARTHEST),
        };
        // Later times cannot be told any more, nor added to.
        let last = last.min(i64::MAX as u64);
        let fired = self.cron_events();
        self.step(start).await;
        let idle = loop {
            let waiting = self.next_waiting();
            if until == Until::Idle
                && (waiting.is_none() || self.cron_events() - fired > MOST_CRON_EVENTS)
            {
                break waiting.is_none();
            }
            let next = waiting.into_iter().chain(self.next_cron()).min();
            let Some(next) = next.filter(|next| *next <= last) else {
                break waiting.is_none();
            };
            self.step(next.max(self.now())).await;
        };
        if until != Until::Idle {
            self.clock.allow(last);
        }
        if let Some(written) = self.save(|| super::data::Change::Clock { now: self.now() }) {
            let _ = written.await;
        }
        self.tell_all(What::Clock);
        // Whoever asks next sees that they have.
        for run in self.runs.all() {
            if run.is_done() {
                let _ = tokio::time::timeout(Duration::from_secs(1), run.ended()).await;
            }
        }
        idle
    }

    /// Sets the clock to an instant and does all that is due then: one destination after the other, so that
    /// the order is the same each time.
    async fn step(&self, now: u64) {
        self.clock.allow(now);
        loop {
            self.fire_crons(now);
            self.hand_over(now, usize::MAX);
            let mut due = locked(&self.active).clone();
            // One may be busy for somebody who began to move the clock and left.
            due.retain(|lane| lane.is_due() || lane.is_busy());
            if due.is_empty() {
                break;
            }
            for lane in &due {
                let let_go = LetGo::new(lane);
                self.settled(lane).await;
                drop(let_go);
            }
            locked(&self.active).retain(|lane| {
                let standing = lane.standing();
                // What is under way by now, since somebody sent it again, may want a retry.
                standing.due.is_some() || standing.under_way > 0
            });
            // What an attempt sets off may be due at once: an event that a receiver posts, say.
        }
    }

    /// Comes back once a destination has nothing to do before the clock is moved on.
    async fn settled(&self, lane: &Lane) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if !lane.is_busy() {
                return;
            }
            // Another may have taken the notice.
            let _ = tokio::time::timeout(Duration::from_millis(100), settled).await;
        }
    }

    /// When the next callback or attempt is due, in nanoseconds since 1970.
    pub fn next_waiting(&self) -> Option<u64> {
        let lanes = match self.clock.is_moved() {
            true => locked(&self.active).clone(),
            // These see to themselves, so nobody lists them.
            false => {
                let places = self.places();
                let lanes = places.iter().flat_map(|place| place.lanes());
                lanes.map(|(_, lane)| lane).collect()
            }
        };
        let of_lanes = lanes.iter().filter_map(|lane| {
            let due = lane.standing().due?;
            Some(due.saturating_add(lane.zero()))
        });
        of_lanes.chain(self.next_due()).min()
    }
}
