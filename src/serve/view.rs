//! How the control API shows what is known.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use super::hub::{Hub, Place};
use crate::fault;
use crate::plan;
use crate::platform::company::Company;
use crate::platform::event::{Attempt, DeliveryId, Shown, State, instant};
use crate::vibes::outcome::{Outcome, Stage, Status};

/// A delivery: one callback on its way to one destination.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub struct DeliveryView {
    /// Its id. While the callback is ahead it is not known who will want it; then the id ends in `-0`.
    pub id: String,
    /// The company.
    pub company_key: String,
    /// The event.
    pub event_id: String,
    /// Its type.
    pub event_type: String,
    /// What happened.
    pub outcome: &'static str,
    /// At which stage: `routing`, `processing`, `carrier`, `handset`.
    pub stage: &'static str,
    /// What the body's `action.status` says.
    pub status: Status,
    /// The part of the message, from 1; null if it is about the whole message.
    pub part: Option<u8>,
    /// How many parts the message has.
    pub parts: Option<u8>,
    /// How it stands.
    pub state: State,
    /// When the callback is due, on the server's clock.
    pub due: String,
    /// When the next attempt is due, if there will be one.
    pub next_attempt: Option<String>,
    /// The registration that it is for; null while that is not known.
    pub callback_id: Option<String>,
    /// Which rule decided about the event's way.
    pub rule: String,
    /// What the event's sender may not have meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What is sent.
    pub request: RequestView,
    /// What was tried, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// The request that delivers a callback.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeliveryRequest")]
pub struct RequestView {
    /// Null while the registration is not known, or is not remembered any more.
    pub method: Option<&'static str>,
    /// Without a user and password.
    pub url: Option<String>,
    /// Its `Content-Type`.
    pub content_type: Option<&'static str>,
    /// The callback, as it is sent.
    #[schemars(with = "serde_json::Value")]
    pub body: Box<RawValue>,
}

/// One HTTP request that was made.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub struct AttemptView {
    /// Counted from 1.
    pub number: u32,
    /// When it began, on the server's clock.
    pub at: String,
    /// From when it was due to its end, in milliseconds of real time.
    pub latency_ms: f64,
    /// The answer's status; null if there was none.
    pub status: Option<u16>,
    /// The answer's body, up to 64 KB; null if it was empty.
    pub answer: Option<String>,
    /// Why there was no answer.
    pub error: Option<AttemptError>,
}

/// Why there was no answer.
#[derive(Serialize, JsonSchema)]
pub struct AttemptError {
    /// `timeout`, `connection_refused`, `destination_not_allowed` and so on.
    pub kind: &'static str,
    /// The system's words.
    pub detail: String,
}

/// Several deliveries.
#[derive(Serialize, JsonSchema)]
pub struct Deliveries {
    /// In the order in which events came.
    pub deliveries: Vec<DeliveryView>,
    /// What to give as `after` for those that follow; null if there are none.
    pub next: Option<String>,
}

/// Which deliveries are wanted.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Of one company.
    pub company_key: Option<String>,
    /// Of the events of that id.
    pub event_id: Option<String>,
    /// Of events of that type, upper and lower case alike; `*` for any text.
    pub event_type: Option<String>,
    /// Of outcomes of that name; `*` for any text.
    pub outcome: Option<String>,
    /// Only those that stand so; any, if empty.
    pub states: Vec<State>,
    /// Behind that one.
    pub after: Option<DeliveryId>,
    /// At most so many.
    pub limit: usize,
}

/// A page has no more deliveries than make so many bytes of bodies and answers, but always one.
const LARGEST_PAGE: usize = 16 * 1024 * 1024;

impl DeliveryView {
    fn size(&self) -> usize {
        let answers = self.attempts.iter().filter_map(|made| made.answer.as_ref());
        self.request.body.get().len() + answers.map(String::len).sum::<usize>()
    }
}

impl Wanted {
    fn wants(&self, shown: &Shown<'_>) -> bool {
        let outcome: &Outcome = shown.callback.outcome;
        self.after.is_none_or(|after| shown.id > after)
            && (self.states.is_empty() || self.states.contains(&shown.state()))
            && self
                .outcome
                .as_ref()
                .is_none_or(|wanted| fault::matches(wanted, outcome.name))
            && self.event_type.as_ref().is_none_or(|wanted| {
                let event_type = shown.event.event_type.to_ascii_lowercase();
                fault::matches(&wanted.to_ascii_lowercase(), &event_type)
            })
    }

    fn places(&self, hub: &Hub) -> Vec<Arc<Place>> {
        match &self.company_key {
            Some(key) => hub.find(key).into_iter().collect(),
            None => hub.places(),
        }
    }

    /// Looks for them.
    pub fn find(&self, hub: &Hub) -> Deliveries {
        let most = self.limit + 1;
        // Their names first: what is shown is large, and of most companies it would not be.
        let mut found = Vec::new();
        for place in self.places(hub) {
            let company = place.company();
            let mut of_one: Vec<_> = match &self.event_id {
                Some(event_id) => {
                    let mut all = company.deliveries_of(event_id);
                    all.retain(|shown| self.wants(shown));
                    all
                }
                None => company
                    .deliveries(self.after.unwrap_or(FIRST))
                    .filter(|shown| self.wants(shown))
                    .take(most)
                    .collect(),
            };
            of_one.sort_by_key(|shown| shown.id);
            of_one.truncate(most);
            found.extend(of_one.iter().map(|shown| (shown.id, Arc::clone(&place))));
        }
        found.sort_by_key(|(id, _)| *id);
        let mut more = found.len() > self.limit;
        found.truncate(self.limit);
        let mut deliveries: Vec<DeliveryView> = Vec::with_capacity(found.len());
        let mut size = 0;
        for (id, place) in found {
            if size > LARGEST_PAGE {
                more = true;
                break;
            }
            let company = place.company();
            // Its time may have come meanwhile; then its destinations are known.
            let now = company.deliveries(id).take_while(|shown| {
                let callback = (shown.id.seq, shown.id.step) == (id.seq, id.step);
                callback && (id.registration == 0 || shown.id == id)
            });
            for shown in now.filter(|shown| self.wants(shown)) {
                let shown = view(&company, &shown);
                size += shown.size();
                deliveries.push(shown);
            }
        }
        let last = deliveries.last().map(|last| last.id.clone());
        Deliveries {
            next: last.filter(|_| more),
            deliveries,
        }
    }

    /// The names of all of them, with their companies; `limit` and `after` do not count.
    pub fn ids(&self, hub: &Hub) -> Vec<(Arc<Place>, DeliveryId)> {
        let mut found = Vec::new();
        for place in self.places(hub) {
            let company = place.company();
            let ids: Vec<DeliveryId> = match &self.event_id {
                Some(event_id) => {
                    let all = company.deliveries_of(event_id).into_iter();
                    all.filter(|shown| self.wants(shown))
                        .map(|shown| shown.id)
                        .collect()
                }
                None => {
                    let all = company.deliveries(FIRST);
                    all.filter(|shown| self.wants(shown))
                        .map(|shown| shown.id)
                        .collect()
                }
            };
            drop(company);
            found.extend(ids.into_iter().map(|id| (Arc::clone(&place), id)));
        }
        found
    }
}

/// No delivery comes before it.
const FIRST: DeliveryId = DeliveryId {
    seq: 0,
    step: 0,
    registration: 0,
};

/// Shows one delivery.
pub fn view(company: &Company, shown: &Shown<'_>) -> DeliveryView {
    let Shown {
        id,
        event,
        callback,
        delivery,
    } = *shown;
    let time = |nanos| plan::instant(instant(nanos));
    let registration =
        delivery.and_then(|delivery| company.registrations.get(&delivery.registration));
    let mut body = Vec::new();
    event.write_body(&company.key, id.step, &mut body);
    let body = String::from_utf8(body).unwrap_or_default();
    let state = shown.state();
    let part = |number: u8| (callback.parts > 0).then_some(number);
    DeliveryView {
        id: id.to_string(),
        company_key: company.key.to_string(),
        event_id: event.event_id.to_string(),
        event_type: event.event_type.to_string(),
        outcome: callback.outcome.name,
        stage: Stage::name(callback.outcome.stage),
        status: callback.status,
        part: part(callback.part),
        parts: part(callback.parts),
        state,
        due: time(callback.due),
        next_attempt: (!state.is_over())
            .then(|| time(delivery.map_or(callback.due, |delivery| delivery.next))),
        callback_id: delivery.map(|delivery| delivery.registration.to_string()),
        rule: event.rule.to_string(),
        notes: event.notes.clone(),
        request: RequestView {
            method: registration.map(|registration| registration.method.name()),
            url: registration
                .map(|registration| crate::vibes::registration::split_user(&registration.url).0),
            content_type: registration.map(|registration| registration.content_type.name()),
            body: RawValue::from_string(body).unwrap_or_default(),
        },
        attempts: delivery
            .map(|delivery| delivery.attempts.iter().map(attempt).collect())
            .unwrap_or_default(),
    }
}

fn attempt(made: &Attempt) -> AttemptView {
    AttemptView {
        number: made.number,
        at: plan::instant(instant(made.at)),
        latency_ms: made.latency_us as f64 / 1000.0,
        status: made.result.as_ref().ok().copied(),
        answer: made.answer.as_ref().map(ToString::to_string),
        error: made
            .result
            .as_ref()
            .err()
            .map(|(kind, detail)| AttemptError {
                kind: kind.name(),
                detail: detail.to_string(),
            }),
    }
}
