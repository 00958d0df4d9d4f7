//! Between a registration's lane and its company: bodies on the way out, what came of attempts on the way back.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::hub::{Hub, Place};
use crate::delivery::{Attempt, OnRecord, Recorder};
use crate::plan::{self, PlanError};
use crate::platform::event::{self, DeliveryId};
use crate::timeline::Feed;

/// The callbacks of posted events, as a lane needs them: they are put in from outside.
pub struct Posted(pub Arc<Place>);

impl Feed for Posted {
    fn next_due(&mut self) -> Result<Option<u64>, PlanError> {
        Ok(None)
    }

    fn peek(&self) -> Option<plan::Callback> {
        None
    }

    fn take(&mut self) -> Option<plan::Callback> {
        None
    }

    fn body(&mut self, callback: &plan::Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        let company = self.0.company();
        // A company that is being forgotten has none; its lanes end, and nothing is sent.
        let event = company.event(callback.journey).ok_or_else(|| PlanError {
            journey: callback.journey,
            message: "the event is not known any more".to_owned(),
        })?;
        event.write_body(&company.key, callback.step(), out);
        Ok(())
    }

    fn event(&mut self, callback: &plan::Callback) -> Result<(String, String), PlanError> {
        let company = self.0.company();
        let event = company.event(callback.journey);
        Ok(event.map_or_else(Default::default, |event| {
            (event.event_id.to_string(), event.event_type.to_string())
        }))
    }

    fn pending(&self) -> usize {
        0
    }

    fn journeys(&self) -> u64 {
        0
    }

    fn start(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
}

/// Keeps what came of the attempts of one registration.
pub struct Ledger {
    /// Where it is kept.
    pub hub: Weak<Hub>,
    /// Whose it is.
    pub place: Arc<Place>,
    /// The registration's id.
    pub registration: u64,
}

impl Recorder for Ledger {
    fn record(
        &self,
        attempt: &Attempt<'_>,
        _: Bytes,
        _: Duration,
        _: &mut dyn Feed,
    ) -> Option<OnRecord> {
        let hub = self.hub.upgrade()?;
        let callback = &attempt.job.callback;
        let id = DeliveryId {
            seq: callback.journey,
            step: callback.step(),
            registration: self.registration,
        };
        let numbered = self.place.company().number_attempt(id);
        // A company that is being forgotten has no such delivery.
        let (number, destinations) = numbered?;
        let made = event::Attempt {
            number,
            at: attempt.job.started,
            latency_us: u64::try_from(attempt.latency.as_micros()).unwrap_or(u64::MAX),
            result: match attempt.answer {
                Ok(answer) => Ok(answer.status),
                Err(failure) => Err((failure.kind, failure.detail.as_str().into())),
            },
            answer: match attempt.answer {
                Ok(answer) => answer.text.clone(),
                Err(_) => None,
            },
        };
        let (next, lag) = (attempt.next, attempt.lag);
        let place = Arc::clone(&self.place);
        let Some(written) = hub.save_attempt(&place, id, &made, next, destinations) else {
            hub.attempted(&place, id, made, next, lag);
            return None;
        };
        Some(Box::pin(async move {
            // What cannot be written is told by the one who writes; the delivery went as it went.
            let _ = written.await;
            hub.attempted(&place, id, made, next, lag);
            Ok(())
        }))
    }
}
