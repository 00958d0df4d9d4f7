//! Single callbacks, each on its own: what `trigger` fires.
//!
//! Pure, like a plan, but without journeys: bodies are made at once, and sent as recorded ones are.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use crate::draw::{self, Purpose};
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

/// The body of the callback of that number, due at `start`.
///
/// # Errors
///
/// What is wrong with the wish.
pub fn body(
    wish: &Wish<'_>,
    seed: u64,
    number: u64,
    start: DateTime<Utc>,
) -> Result<Value, String> {
    let mut event = draw::generator(seed, number, Purpose::Event);
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
        event_id: draw::uuid(&mut draw::generator(seed, number, Purpose::Callback(0))),
        event_date: start,
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
