//! Callbacks that wait for their time, and which registrations want them when it has come.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Hub, Place, locked};
use crate::plan;
use crate::platform::event::{DeliveryId, State};
use crate::serve::changes::What;
use crate::serve::data;

/// A callback that waits for its time.
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) seq: u64,
    pub(super) step: u16,
    pub(super) place: Arc<Place>,
}

impl Due {
    pub(super) fn order(&self) -> (u64, u64, u16) {
        (self.at, self.seq, self.step)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

impl Hub {
    pub(super) fn schedule(
        &self,
        place: &Arc<Place>,
        seq: u64,
        dues: impl Iterator<Item = (u16, u64)>,
    ) {
        let mut schedule = locked(&self.schedule);
        if place.forgotten.load(Ordering::Relaxed) {
            return;
        }
        let before = schedule.peek().map(|Reverse(due)| due.at);
        for (step, at) in dues {
            schedule.push(Reverse(Due {
                at,
                seq,
                step,
                place: Arc::clone(place),
            }));
        }
        let after = schedule.peek().map(|Reverse(due)| due.at);
        drop(schedule);
        if before != after {
            self.sooner.notify_one();
        }
    }

    /// How many callbacks wait for their time.
    pub fn waiting(&self) -> usize {
        locked(&self.schedule).len()
    }

    /// When the next callback is due, in nanoseconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        let schedule = locked(&self.schedule);
        schedule.peek().map(|Reverse(due)| due.at)
    }

    /// Hands what is due at that time (nanoseconds since 1970) over to the destinations that want it; at most
    /// so many callbacks. How many there were.
    pub fn hand_over(&self, until: u64, most: usize) -> usize {
        let mut due = Vec::new();
        let mut schedule = locked(&self.schedule);
        while due.len() < most
            && let Some(Reverse(next)) = schedule.peek()
            && next.at <= until
        {
            due.extend(schedule.pop().map(|Reverse(next)| next));
        }
        drop(schedule);
        let mut wanted = Vec::new();
        for due in &due {
            self.fan_out(due, &mut wanted);
        }
        due.len()
    }

    fn fan_out(&self, due: &Due, wanted: &mut Vec<u64>) {
        let place = &due.place;
        if place.forgotten.load(Ordering::Relaxed) {
            return;
        }
        let mut company = place.company();
        let before = company.load();
        let Some(settled) = company.fan_out(due.seq, due.step, wanted) else {
            return;
        };
        self.count(before, &company);
        if settled.state == State::Unmatched {
            let _ = self.save(|| data::Change::Unmatched {
                seq: due.seq,
                step: due.step,
            });
            self.counts.unmatched.fetch_add(1, Ordering::Relaxed);
        }
        let event = company.event(due.seq);
        let Some(callback) = event.and_then(|event| event.callbacks.get(usize::from(due.step)))
        else {
            return;
        };
        let (outcome, part, parts) = (callback.outcome, callback.part, callback.parts);
        if settled.state == State::Unmatched {
            let told = event.map(|event| What::Delivery {
                id: DeliveryId {
                    seq: due.seq,
                    step: due.step,
                    registration: 0,
                },
                event_id: Arc::clone(&event.event_id),
                outcome,
                state: State::Unmatched,
                attempts: 0,
                status: None,
            });
            if settled.event_over {
                self.over(place, &company, due.seq);
            }
            drop(company);
            if let Some(told) = told {
                self.tell(place, told);
            }
            return;
        }
        drop(company);
        let sent = plan::Callback::of_event((due.seq, due.step), due.at, outcome, (part, parts));
        for registration in wanted.iter() {
            self.send(place, *registration, sent, 1, due.at);
        }
    }
}
