//! Single callbacks, each on its own: what `trigger` fires.
//!
//! Pure, like a plan, but without journeys: bodies are made at once and kept, since there are few.

use std::io;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::draw::{self, Purpose};
use crate::plan::{Callback, PlanError};
use crate::timeline::Feed;
use crate::vibes::callback::{Body, DEFAULT_ERROR_CODE, EventPart, Wording};
use crate::vibes::outcome::{MessageType, Outcome};
use crate::vibes::sample;

/// What one callback is to say.
#[derive(Debug)]
pub struct Wish<'a> {
    /// What happened.
    pub outcome: &'static Outcome,
    /// The kind of message.
    pub message_type: MessageType,
    /// The event's type; the documentation's example's, if absent.
    pub event_type: Option<&'a str>,
    /// Put into the example's event data.
    pub data: &'a [(String, Value)],
}

/// Callbacks that are all due at once, in order.
pub struct Singles {
    seed: u64,
    start: DateTime<Utc>,
    list: Vec<Single>,
    taken: usize,
}

struct Single {
    callback: Callback,
    body: Vec<u8>,
    event_id: String,
    event_type: String,
}

impl Singles {
    /// None yet.
    pub fn new(seed: u64, start: DateTime<Utc>) -> Singles {
        Singles {
            seed,
            start,
            list: Vec::new(),
            taken: 0,
        }
    }

    /// The body of the next callback.
    ///
    /// # Errors
    ///
    /// What is wrong with the wish.
    pub fn body(&self, wish: &Wish<'_>) -> Result<Value, String> {
        let number = self.list.len() as u64;
        let mut event = draw::generator(self.seed, number, Purpose::Event);
        let sample = wish.outcome.sample;
        let mut event_data: Map<String, Value> =
            serde_json::from_str(sample.event_data).map_err(|error| error.to_string())?;
        for (key, value) in wish.data {
            event_data.insert(key.clone(), value.clone());
        }
        let mdn = match event_data.get("mdn") {
            Some(Value::String(mdn)) => mdn.clone(),
            Some(mdn) => mdn.to_string(),
            None => crate::scenario::variables::fictional_mdn(&mut event),
        };
        let event_data = Value::Object(event_data).to_string();
        let event_id = draw::uuid(&mut event).to_string();
        let mut json = Vec::new();
        Body {
            event_id: draw::uuid(&mut draw::generator(
                self.seed,
                number,
                Purpose::Callback(0),
            )),
            event_date: self.start,
            event: EventPart {
                event_id: &event_id,
                event_type: wish.event_type.unwrap_or(sample.event_type),
                event_data: &event_data,
                debug_data: sample.debug_data,
            },
            outcome: wish.outcome,
            status: wish.outcome.status,
            message_type: wish.message_type,
            error_code: DEFAULT_ERROR_CODE,
            company_key: sample::COMPANY_KEY,
            campaign: sample::CAMPAIGN,
            person_key: draw::uuid(&mut event),
            mdn: &mdn,
        }
        .write(&Wording::default(), &mut json);
        serde_json::from_slice(&json).map_err(|error| error.to_string())
    }

    /// Adds a callback with that body.
    ///
    /// # Errors
    ///
    /// The body cannot be written.
    pub fn push(&mut self, outcome: &'static Outcome, body: &Value) -> io::Result<()> {
        let event = &body["event_processed"];
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        self.list.push(Single {
            callback: Callback::single(self.list.len() as u64, 0, outcome),
            event_id: text("event_id"),
            event_type: text("event_type"),
            body: serde_json::to_vec(body)?,
        });
        Ok(())
    }

    fn of(&self, callback: &Callback) -> Result<&Single, PlanError> {
        let at = usize::try_from(callback.journey).ok();
        at.and_then(|at| self.list.get(at)).ok_or(PlanError {
            journey: callback.journey,
            message: "there is no such callback".to_owned(),
        })
    }
}

impl Feed for Singles {
    fn next_due(&mut self) -> Result<Option<u64>, PlanError> {
        Ok(self.list.get(self.taken).map(|single| single.callback.due))
    }

    fn peek(&self) -> Option<Callback> {
        self.list.get(self.taken).map(|single| single.callback)
    }

    fn take(&mut self) -> Option<Callback> {
        let single = self.list.get(self.taken)?;
        self.taken += 1;
        Some(single.callback)
    }

    fn body(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        out.extend_from_slice(&self.of(callback)?.body);
        Ok(())
    }

    fn event(&mut self, callback: &Callback) -> Result<(String, String), PlanError> {
        let single = self.of(callback)?;
        Ok((single.event_id.clone(), single.event_type.clone()))
    }

    fn pending(&self) -> usize {
        self.list.len() - self.taken
    }

    fn journeys(&self) -> u64 {
        self.taken as u64
    }

    fn start(&self) -> DateTime<Utc> {
        self.start
    }
}
