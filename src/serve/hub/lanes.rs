//! Deliveries: into the lanes of registrations, and what came of their attempts.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Hub, KEPT_ANSWER, MAX_HELD, Place, locked};
use crate::delivery::answer::FailureKind;
use crate::delivery::lane::{Lane, Standing};
use crate::delivery::policy::Policy;
use crate::delivery::target::Target;
use crate::plan;
use crate::platform::event::{self, DeliveryId, State};
use crate::run::CONNECTIONS;
use crate::scenario::{Destination, Settings};
use crate::serve::changes::What;
use crate::serve::data::{self, Written};
use crate::serve::ledger::{Ledger, Posted};
use crate::timeline::{Next, Timeline};
use crate::vibes::callback_api::Registration;

/// How long connections to a destination stay when nothing is left to do.
pub(super) const LINGER: Duration = Duration::from_millis(900);

impl Hub {
    /// Puts an attempt into a registration's lane.
    pub(in crate::serve) fn send(
        &self,
        place: &Arc<Place>,
        registration: u64,
        callback: plan::Callback,
        attempt: u32,
        due: u64,
    ) {
        match self.lane(place, registration) {
            Ok(lane) => {
                lane.push(callback, attempt, due);
                if self.clock.is_moved() {
                    let mut active = locked(&self.active);
                    if !active.iter().any(|known| Arc::ptr_eq(known, &lane)) {
                        active.push(lane);
                    }
                }
            }
            Err(why) => {
                let id = DeliveryId {
                    seq: callback.journey,
                    step: callback.step(),
                    registration,
                };
                let numbered = place.company().number_attempt(id);
                let Some((number, destinations)) = numbered else {
                    return;
                };
                let made = event::Attempt {
                    number,
                    at: due,
                    latency_us: 0,
                    result: Err((FailureKind::ConnectionFailed, why.into())),
                    answer: None,
                };
                let _ = self.save_attempt(place, id, &made, Next::GaveUp, destinations);
                self.attempted(place, id, made, Next::GaveUp, Duration::ZERO);
            }
        }
    }

    fn lane(&self, place: &Arc<Place>, registration: u64) -> Result<Arc<Lane>, String> {
        if let Some(lane) = locked(&place.lanes).get(&registration) {
            return Ok(Arc::clone(lane));
        }
        let settings = self.rules(place).serving.settings();
        let target = {
            let company = place.company();
            let known = company.registrations.get(&registration);
            let known = known.ok_or("the registration is not known any more")?;
            self.target(known, &settings)?
        };
        let timeline = Timeline::new(Box::new(Posted(Arc::clone(place))), &settings);
        let connections = match self.clock.is_moved() {
            // One after the other, so that what is due first comes first.
            true => 1,
            false => CONNECTIONS,
        };
        let ledger = Ledger {
            hub: Weak::clone(&self.me),
            place: Arc::clone(place),
            registration,
        };
        let lane = Lane::new(timeline, Arc::new(target), self.clock.clone(), connections)
            .watched_by(Vec::new(), Some(Arc::new(ledger)))
            .lingering(LINGER)
            .telling(Arc::clone(&self.settled));
        let mut lanes = locked(&place.lanes);
        if place.forgotten.load(Ordering::Relaxed) {
            return Err("the company is not known any more".to_owned());
        }
        Ok(Arc::clone(
            lanes.entry(registration).or_insert_with(|| Arc::new(lane)),
        ))
    }

    /// Where a registration's callbacks go.
    fn target(&self, registration: &Registration, settings: &Settings) -> Result<Target, String> {
        let destination = Destination {
            method: registration.method,
            content_type: registration.content_type,
            ..Destination::default()
        };
        let timeout = settings.timeout.to_std();
        let url = &registration.url;
        let target = Target::new(url, &destination, &[], timeout, false, &self.transport)?;
        Ok(target.guarded(Arc::clone(&self.policy), KEPT_ANSWER))
    }

    /// Whether somebody's URL may be sent to, as far as that can be told now.
    ///
    /// # Errors
    ///
    /// Why not and, after a line break, how to mend it.
    pub async fn check_destination(&self, url: &str) -> Result<(), String> {
        let target = Target::new(
            url,
            &Destination::default(),
            &[],
            Settings::default().timeout.to_std(),
            false,
            &self.transport,
        )?;
        target
            .guarded(Arc::clone(&self.policy), KEPT_ANSWER)
            .check(self.options.probe_destinations)
            .await
    }

    /// The guard on whom may be sent to.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// Lets a registration's lane go to where the registration says now.
    pub fn retarget(&self, place: &Arc<Place>, registration: u64) {
        let Some(lane) = locked(&place.lanes).get(&registration).cloned() else {
            return;
        };
        let settings = self.rules(place).serving.settings();
        let target = {
            let company = place.company();
            let known = company.registrations.get(&registration);
            known.map(|known| self.target(known, &settings))
        };
        if let Some(Ok(target)) = target {
            lane.retarget(Arc::new(target), &settings);
        }
    }

    /// Lets a company's lanes go by the settings of now.
    pub(super) fn refresh(&self, place: &Arc<Place>) {
        for (registration, _) in place.lanes() {
            self.retarget(place, registration);
        }
    }

    /// Queues an attempt to be written.
    pub(in crate::serve) fn save_attempt(
        &self,
        place: &Place,
        id: DeliveryId,
        made: &event::Attempt,
        next: Next,
        destinations: u16,
    ) -> Option<Written> {
        self.save_for(place, || data::Change::Attempt {
            seq: id.seq,
            step: id.step,
            registration: id.registration,
            attempt: made.number,
            at: made.at,
            state: match next {
                Next::Done => data::State::Accepted,
                Next::GaveUp => data::State::Failed,
                Next::Retry(_) => data::State::Retrying,
            },
            retry_at: match next {
                Next::Retry(due) => Some(due),
                _ => None,
            },
            status: made.result.as_ref().ok().copied(),
            failure: made
                .result
                .as_ref()
                .err()
                .map(|(kind, detail)| (kind.name(), detail.to_string())),
            answer: made.answer.clone(),
            latency_us: made.latency_us,
            destinations,
        })
    }

    /// An attempt is over, and on disk if that is asked for.
    pub(in crate::serve) fn attempted(
        &self,
        place: &Arc<Place>,
        id: DeliveryId,
        mut made: event::Attempt,
        next: Next,
        lag: Duration,
    ) {
        if self.held.load(Ordering::Relaxed) >= MAX_HELD {
            made.answer = None;
        }
        self.counts.attempts.fetch_add(1, Ordering::Relaxed);
        self.metrics.attempt(&made, lag);
        let (number, status) = (made.number, made.result.as_ref().ok().copied());
        let mut company = place.company();
        let before = company.load();
        let Some(settled) = company.attempted(id, made, next) else {
            return;
        };
        self.count(before, &company);
        match settled.state {
            State::Accepted => self.counts.accepted.fetch_add(1, Ordering::Relaxed),
            State::Failed => self.counts.failed.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let told = company.event(id.seq).and_then(|event| {
            let callback = event.callbacks.get(usize::from(id.step))?;
            Some(What::Delivery {
                id,
                event_id: Arc::clone(&event.event_id),
                outcome: callback.outcome,
                state: settled.state,
                attempts: number,
                status,
            })
        });
        if settled.event_over {
            self.over(place, &company, id.seq);
        }
        drop(company);
        if let Some(told) = told {
            self.tell(place, told);
        }
    }

    /// Begins a delivery that is over anew.
    ///
    /// # Errors
    ///
    /// How it stands, if it is not over; none if there is no such delivery.
    pub fn redeliver(
        &self,
        place: &Arc<Place>,
        id: DeliveryId,
    ) -> Result<Option<Written>, Option<State>> {
        let now = self.now();
        let mut company = place.company();
        let before = company.load();
        let outcome = company.redeliver(id, now)?;
        self.count(before, &company);
        let written = self.save_for(place, || data::Change::Again {
            seq: id.seq,
            step: id.step,
            registration: id.registration,
            at: now,
        });
        drop(company);
        let sent = plan::Callback::of_event((id.seq, id.step), now, outcome, (0, 0));
        self.send(place, id.registration, sent, 1, now);
        Ok(written)
    }

    /// How every destination stands that has been sent to: company, registration, standing.
    pub fn destinations(&self) -> Vec<(Arc<str>, u64, Standing)> {
        let mut all = Vec::new();
        for place in self.places() {
            for (registration, lane) in place.lanes() {
                all.push((Arc::clone(&place.key), registration, lane.standing()));
            }
        }
        all
    }

    /// Lets attempts that are under way end, for so long; begins no others.
    pub async fn drain(&self, patience: Duration) {
        let mut lanes = Vec::new();
        for place in self.places() {
            lanes.extend(place.lanes().into_iter().map(|(_, lane)| lane));
        }
        for lane in &lanes {
            lane.interrupt();
        }
        let all = async {
            for lane in &lanes {
                lane.finished().await;
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
        for place in self.places() {
            // A lane knows its company, which knows its lanes.
            locked(&place.lanes).clear();
        }
    }
}
