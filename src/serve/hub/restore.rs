//! Taking up what a server before had saved.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::{Hub, Place};
use crate::delivery::answer::FailureKind;
use crate::plan;
use crate::platform::event::{self, Event, Open, Restored, State};
use crate::scenario::Scenario;
use crate::serve::data;

/// A delivery that was under way when the server ended.
pub(super) struct Begun {
    place: Arc<Place>,
    registration: u64,
    sent: plan::Callback,
    attempt: u32,
    due: u64,
}

impl Hub {
    /// Takes up what was saved.
    pub(super) fn restore(&self, saved: data::Saved) -> Result<(), String> {
        self.seqs.store(saved.highest.seq + 1, Ordering::Relaxed);
        self.registrations
            .store(saved.highest.registration + 1, Ordering::Relaxed);
        self.campaigns
            .store(saved.highest.campaign + 1, Ordering::Relaxed);
        let damaged = |what: &str, error: serde_json::Error| {
            format!("the data file holds {what} that cannot be read: {error}")
        };
        for known in &saved.companies {
            let place = Arc::new(Place::new(Arc::clone(&known.key)));
            let mut company = place.company();
            for (id, json) in &known.registrations {
                let read = serde_json::from_str(json);
                let read = read.map_err(|error| damaged("a registration", error))?;
                company.registrations.insert(*id, read);
            }
            for (id, json) in &known.campaigns {
                let read = serde_json::from_str(json);
                let read = read.map_err(|error| damaged("a campaign", error))?;
                company.campaigns.insert(*id, read);
            }
            if let Some(text) = &known.routes {
                match Scenario::parse("routes", text) {
                    Ok(scenario) => company.routes = Some(Arc::new(scenario)),
                    Err(error) => {
                        tracing::warn!(
                            company = &*known.key,
                            "routes are not taken up again: {error}"
                        );
                    }
                }
            }
            drop(company);
            self.companies
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(Arc::clone(&known.key), place);
        }
        let mut begun = Vec::new();
        saved
            .events(|kept| {
                self.restore_event(kept, &mut begun)
                    .map_err(|error| damaged("an event", error))
            })
            .map_err(|error| error.to_string())?;
        self.resume(begun);
        Ok(())
    }

    /// Goes on with what was under way, in the order in which it is due, and with what has become due meanwhile.
    fn resume(&self, mut begun: Vec<Begun>) {
        begun.sort_by_key(|one| one.due);
        let now = self.now();
        for one in begun {
            if one.due <= now && !self.clock.is_moved() {
                self.hand_over(one.due, usize::MAX);
            }
            self.send(&one.place, one.registration, one.sent, one.attempt, one.due);
        }
    }

    /// Takes up an event that was saved; attempts that are to be made at it are put into `begun`.
    fn restore_event(
        &self,
        kept: data::KeptEvent,
        begun: &mut Vec<Begun>,
    ) -> Result<(), serde_json::Error> {
        let Some(place) = self.find(&kept.company) else {
            return Ok(());
        };
        let event: Event = serde_json::from_str(&kept.json)?;
        let mut deliveries: Vec<Restored> = Vec::new();
        for attempt in kept.attempts {
            let is_of = |last: &Restored| {
                last.step == attempt.step && last.delivery.registration == attempt.registration
            };
            if !deliveries.last().is_some_and(is_of) {
                deliveries.push(Restored {
                    step: attempt.step,
                    delivery: event::Delivery::new(attempt.registration, attempt.at),
                    destinations: 0,
                });
            }
            let Some(restored) = deliveries.last_mut() else {
                continue;
            };
            restored.destinations = attempt.destinations;
            let delivery = &mut restored.delivery;
            delivery.latest = attempt.attempt;
            delivery.state = match attempt.state {
                data::State::Accepted => State::Accepted,
                data::State::Failed => State::Failed,
                data::State::Retrying => State::Retrying,
                data::State::Again => {
                    delivery.before = attempt.attempt;
                    State::Pending
                }
            };
            delivery.next = attempt.retry_at.unwrap_or(attempt.at);
            delivery.attempts.push(event::Attempt {
                number: attempt.attempt,
                at: attempt.at,
                latency_us: attempt.latency_us,
                result: match (attempt.status, attempt.failure) {
                    (Some(status), _) => Ok(status),
                    (None, failure) => {
                        let (kind, detail) = failure.unwrap_or_default();
                        let kind =
                            FailureKind::named(&kind).unwrap_or(FailureKind::ConnectionFailed);
                        Err((kind, detail.into()))
                    }
                },
                answer: attempt.answer,
            });
        }
        let mut open = Vec::new();
        let mut company = place.company();
        let before = company.load();
        company.restore(kept.seq, event, deliveries, &kept.unmatched, &mut open);
        self.count(before, &company);
        if company.is_over(kept.seq) {
            self.over(&place, &company, kept.seq);
        }
        let outcome = |step: u16| {
            let event = company.event(kept.seq)?;
            let callback = event.callbacks.get(usize::from(step))?;
            Some((callback.outcome, (callback.part, callback.parts)))
        };
        let open: Vec<_> = open
            .into_iter()
            .map(|open| match open {
                Open::Ahead { step, .. } | Open::Delivery { step, .. } => (open, outcome(step)),
            })
            .collect();
        drop(company);
        for (open, outcome) in open {
            match (open, outcome) {
                (Open::Ahead { step, due }, _) => {
                    self.schedule(&place, kept.seq, std::iter::once((step, due)));
                }
                (
                    Open::Delivery {
                        step,
                        registration,
                        attempt,
                        due,
                    },
                    Some((outcome, part)),
                ) => {
                    let sent = plan::Callback::of_event((kept.seq, step), due, outcome, part);
                    begun.push(Begun {
                        place: Arc::clone(&place),
                        registration,
                        sent,
                        attempt,
                        due,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
