//! The documentation's examples: the event, person and campaign that they are about.

use chrono::{DateTime, Utc};
use serde_json::value::RawValue;
use uuid::{Uuid, uuid};

use super::callback::{Body, DEFAULT_ERROR_CODE, EventPart, Wording};
use super::outcome::{MessageType, Outcome};

const CALLBACK_ID: Uuid = uuid!("3a083a69-2064-430a-8ab6-72f163692ed2");
const EVENT_ID: &str = "3b0e5871-d8b5-4393-b275-07ca0541c8de";
const PERSON_KEY: Uuid = uuid!("7807b79a-db30-4975-99b0-b89f41a492ac");
const MDN: &str = "+18609740638";
/// The company that the example of a failed carrier lookup names.
pub const COMPANY_KEY: &str = "zY5VnE7r";
/// The campaign that it names.
pub const CAMPAIGN: u32 = 276;

/// The body of an outcome, about the event of the documentation's example.
pub fn body(
    outcome: &'static Outcome,
    message_type: MessageType,
    wording: &Wording,
) -> Box<RawValue> {
    let mut json = Vec::new();
    Body {
        event_id: CALLBACK_ID,
        event_date: DateTime::<Utc>::from_timestamp(1_683_303_340, 0).unwrap_or_default(),
        event: EventPart {
            event_id: EVENT_ID,
            event_type: outcome.sample.event_type,
            event_data: outcome.sample.event_data,
            debug_data: outcome.sample.debug_data,
        },
        outcome,
        status: outcome.status,
        message_type,
        error_code: DEFAULT_ERROR_CODE,
        company_key: COMPANY_KEY,
        campaign: CAMPAIGN,
        person_key: PERSON_KEY,
        mdn: MDN,
    }
    .write(wording, &mut json);
    let text = String::from_utf8(json).unwrap_or_default();
    RawValue::from_string(text).unwrap_or_default()
}
