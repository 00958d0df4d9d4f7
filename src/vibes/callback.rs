//! The `event_processed` callback body: written key for key in the documented order, and read back by
//! receivers that want to show it.
//!
//! Contract: the "Event-Triggered Callbacks" page of Vibes' documentation. Where the page contradicts
//! itself, [`Wording`] holds what is chosen.

use chrono::{DateTime, Datelike, Timelike, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::outcome::{MessageType, Outcome, Shape, Stage, Status};

/// The error code of the documentation's failed delivery receipts.
pub const DEFAULT_ERROR_CODE: u32 = 23;

/// Which link a delivery receipt gives to its campaign and person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DlrLinks {
    /// `url`, as the examples of receipts have it.
    #[default]
    Url,
    /// `resource_url`, as the table of elements has it.
    ResourceUrl,
    /// Both, `url` first.
    Both,
}

/// What the body's top-level `event_type` says, on which examples and table disagree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TopEventType {
    /// As each example has it: `event_processed` in queued, media failures and carrier receipts.
    #[default]
    AsExamples,
    /// The event's own type in every body, as the table of elements has it.
    Event,
    /// In no body.
    Absent,
}

/// The choices between the documentation's contradicting statements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wording {
    /// Links in delivery receipts.
    pub dlr_links: DlrLinks,
    /// The body's top-level `event_type`.
    pub top_event_type: TopEventType,
}

/// The event that a callback is about, as the customer sent it.
#[derive(Clone, Copy, Debug)]
pub struct EventPart<'a> {
    /// The event's own id.
    pub event_id: &'a str,
    /// The event's type.
    pub event_type: &'a str,
    /// JSON text; written as it stands.
    pub event_data: &'a str,
    /// JSON text, if the event had any, even `{}`; written as it stands.
    pub debug_data: Option<&'a str>,
}

/// Everything that one body says.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The callback's own id, the same in each repetition of it.
    pub event_id: Uuid,
    /// When the thing happened; written in whole seconds, UTC.
    pub event_date: DateTime<Utc>,
    /// The event that set it off.
    pub event: EventPart<'a>,
    /// What happened.
    pub outcome: &'static Outcome,
    /// `action.status`, usually the outcome's.
    pub status: Status,
    /// The message the event became or would have become.
    pub message_type: MessageType,
    /// `failure.errors[0].error_code` of a failed receipt.
    pub error_code: u32,
    /// The customer's key, part of every link.
    pub company_key: &'a str,
    /// The campaign's id, part of the links to it.
    pub campaign: u32,
    /// The person's key.
    pub person_key: Uuid,
    /// The person's number, as a failed carrier lookup quotes it.
    pub mdn: &'a str,
}

impl Body<'_> {
    /// Appends the body as compact JSON.
    pub fn write(&self, wording: &Wording, out: &mut Vec<u8>) {
        let w = &mut Writer(out);
        w.raw("{\"event_id\":");
        w.uuid(self.event_id);
        w.raw(",\"callback_type\":\"event_processed\"");
        match wording.top_event_type {
            TopEventType::AsExamples if self.outcome.repeats_callback_type => {
                w.raw(",\"event_type\":\"event_processed\"");
            }
            TopEventType::Event => {
                w.raw(",\"event_type\":");
                w.string(self.event.event_type);
            }
            TopEventType::AsExamples | TopEventType::Absent => {}
        }
        w.raw(",\"event_date\":\"");
        w.date(self.event_date);
        w.raw("\",\"event_processed\":{\"event_id\":");
        w.string(self.event.event_id);
        w.raw(",\"event_type\":");
        w.string(self.event.event_type);
        w.raw(",\"event_data\":");
        w.raw(self.event.event_data);
        if let Some(debug_data) = self.event.debug_data {
            w.raw(",\"debug_data\":");
            w.raw(debug_data);
        }
        w.raw(",\"action\":{\"type\":\"");
        w.raw(self.outcome.action_type);
        w.raw("\",\"status\":\"");
        w.raw(self.status.name());
        w.raw("\",\"status_reason\":\"");
        w.raw(self.outcome.status_reason);
        w.raw("\"");
        match self.outcome.shape {
            Shape::Accepted => {
                w.raw(",\"resource_url\":");
                self.campaign_link(w);
            }
            Shape::Failure { reason, error } => self.failure(reason, error, w),
            Shape::Queued => self.message(DlrLinks::ResourceUrl, w),
            Shape::Receipt => {
                self.message(wording.dlr_links, w);
                if self.status == Status::Failed {
                    w.raw(",\"failure\":{\"errors\":[{\"error_code\":");
                    w.number(self.error_code);
                    w.raw("}]}");
                }
            }
        }
        w.raw("}}}");
    }

    fn failure(&self, reason: &str, error: Option<&str>, w: &mut Writer<'_>) {
        w.raw(",\"failure\":{\"reason\":\"");
        w.raw(reason);
        w.raw("\"");
        if let Some(error) = error {
            w.raw(",\"errors\":[{\"error\":");
            match error.split_once("{mdn}") {
                Some((before, after)) => {
                    w.raw("\"");
                    w.raw(before);
                    w.escaped(self.mdn);
                    w.raw(after);
                    w.raw("\"");
                }
                None => w.string(error),
            }
            w.raw(",\"resource_url\":");
            self.campaign_link(w);
            w.raw("}]");
        }
        w.raw("}");
    }

    fn message(&self, links: DlrLinks, w: &mut Writer<'_>) {
        let message_type = self.message_type.name();
        w.raw(",\"message_type\":\"");
        w.raw(message_type);
        w.raw("\",\"");
        w.raw(message_type);
        w.raw("\":{\"source\":{");
        w.links(links, |w| self.campaign_link(w));
        w.raw("},\"person\":{\"person_key\":");
        w.uuid(self.person_key);
        w.raw(",");
        w.links(links, |w| {
            w.raw("\"/companies/");
            w.escaped(self.company_key);
            w.raw("/mobiledb/persons/");
            w.hyphenated(self.person_key);
            w.raw("\"");
        });
        w.raw("}}");
    }

    fn campaign_link(&self, w: &mut Writer<'_>) {
        w.raw("\"/companies/");
        w.escaped(self.company_key);
        w.raw("/mobiledb/event_triggered_messages/");
        w.number(self.campaign);
        w.raw("\"");
    }
}

/// Appends pieces of JSON to a buffer that is used again and again.
struct Writer<'o>(&'o mut Vec<u8>);

impl Writer<'_> {
    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn string(&mut self, text: &str) {
        self.raw("\"");
        self.escaped(text);
        self.raw("\"");
    }

    fn escaped(&mut self, text: &str) {
        escape_json(text, self.0);
    }

    fn uuid(&mut self, id: Uuid) {
        self.raw("\"");
        self.hyphenated(id);
        self.raw("\"");
    }

    fn hyphenated(&mut self, id: Uuid) {
        let mut buffer = Uuid::encode_buffer();
        self.raw(id.hyphenated().encode_lower(&mut buffer));
    }

    fn number(&mut self, number: u32) {
        let mut digits = [0; 10];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.0.extend_from_slice(&digits[at..]);
    }

    /// `YYYY-MM-DDTHH:MM:SSZ`, as the page's table of elements has it.
    fn date(&mut self, date: DateTime<Utc>) {
        let two = |n: u32| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        let year = date.year().clamp(0, 9999).unsigned_abs();
        let [a, b] = two(year / 100);
        let [c, d] = two(year % 100);
        let [m, n] = two(date.month());
        let [p, q] = two(date.day());
        let [h, i] = two(date.hour());
        let [j, k] = two(date.minute());
        let [s, t] = two(date.second());
        self.0.extend_from_slice(&[
            a, b, c, d, b'-', m, n, b'-', p, q, b'T', h, i, b':', j, k, b':', s, t, b'Z',
        ]);
    }

    fn links(&mut self, links: DlrLinks, value: impl Fn(&mut Self)) {
        if links != DlrLinks::ResourceUrl {
            self.raw("\"url\":");
            value(self);
        }
        if links == DlrLinks::Both {
            self.raw(",");
        }
        if links != DlrLinks::Url {
            self.raw("\"resource_url\":");
            value(self);
        }
    }
}

/// Appends `text` as the inside of a JSON string, without the quotes.
pub(crate) fn escape_json(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut clean = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..=0x1f => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[clean..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let [high, low] = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.extend_from_slice(&[b'0', b'0', high, low]);
        }
        clean = at + 1;
    }
    out.extend_from_slice(&bytes[clean..]);
}

/// A callback body as a receiver reads it; `vibes-mock schema callback` is made of this.
///
/// Fields and values: "Elements & Attributes" and the examples of Vibes' Event-Triggered Callbacks page.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(title = "Vibes event_processed callback")]
pub struct ReceivedCallback {
    /// Unique id of the callback; the same if it is delivered again.
    pub event_id: String,
    /// Always `event_processed`.
    pub callback_type: CallbackType,
    /// Where present, `event_processed` (examples) or the event's own type (table of elements).
    #[serde(default)]
    pub event_type: Option<String>,
    /// When it happened: `YYYY-MM-DDTHH:MM:SSZ`.
    #[schemars(regex(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$"))]
    pub event_date: String,
    /// The event, and what was done about it.
    pub event_processed: ReceivedEvent,
}

/// `callback_type` of the callbacks that are emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum CallbackType {
    /// What became of an event.
    #[serde(rename = "event_processed")]
    EventProcessed,
}

/// `event_processed` of a callback.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedEvent {
    /// The id that the event was sent with, or was given.
    pub event_id: String,
    /// The event's type.
    pub event_type: String,
    /// What the event was sent with, untouched.
    pub event_data: serde_json::Value,
    /// What the event was sent with, untouched; absent if it had none.
    #[serde(default)]
    pub debug_data: Option<serde_json::Value>,
    /// What was done, and how it went.
    pub action: ReceivedAction,
}

/// `action` of a callback.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedAction {
    /// `routing` or `send_message`.
    #[serde(rename = "type")]
    pub action_type: ActionType,
    /// How it stands.
    pub status: Status,
    /// Why it stands so.
    pub status_reason: String,
    /// The campaign that took the event (routing only).
    #[serde(default)]
    pub resource_url: Option<String>,
    /// The kind of message, once there is one.
    #[serde(default)]
    pub message_type: Option<MessageType>,
    /// Source and person of an SMS.
    #[serde(default)]
    pub sms: Option<ReceivedMessage>,
    /// Source and person of an MMS.
    #[serde(default)]
    pub mms: Option<ReceivedMessage>,
    /// What failed, if it did.
    #[serde(default)]
    pub failure: Option<ReceivedFailure>,
}

/// `action.type` of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionType {
    /// Looking for a campaign and a person.
    Routing,
    /// Making and sending the message.
    SendMessage,
}

/// `action.sms` or `action.mms` of a callback.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedMessage {
    /// The campaign.
    pub source: ReceivedLink,
    /// The person.
    pub person: ReceivedPerson,
}

/// A link to a resource of the platform; receipts say `url`, others `resource_url`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedLink {
    /// In delivery receipts.
    #[serde(default)]
    pub url: Option<String>,
    /// In the other callbacks.
    #[serde(default)]
    pub resource_url: Option<String>,
}

/// The person whom a message goes to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedPerson {
    /// The person's key.
    pub person_key: String,
    /// In delivery receipts.
    #[serde(default)]
    pub url: Option<String>,
    /// In the other callbacks.
    #[serde(default)]
    pub resource_url: Option<String>,
}

/// `action.failure` of a callback.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedFailure {
    /// Why; absent in delivery receipts.
    #[serde(default)]
    pub reason: Option<String>,
    /// The errors, where there is more to say.
    #[serde(default)]
    pub errors: Vec<ReceivedError>,
}

/// One of `action.failure.errors`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct ReceivedError {
    /// A sentence, in routing and processing failures.
    #[serde(default)]
    pub error: Option<String>,
    /// The campaign it is about, in routing and processing failures.
    #[serde(default)]
    pub resource_url: Option<String>,
    /// A number, in delivery receipts.
    #[serde(default)]
    pub error_code: Option<u32>,
}

impl ReceivedCallback {
    /// The stage that a body tells of.
    ///
    /// Carrier and handset receipts share some reasons (`rejected`, `expired`); what tells those apart
    /// is the top-level `event_type`, which the documented examples have at the carrier only.
    pub fn stage(&self) -> Stage {
        let action = &self.event_processed.action;
        match (action.action_type, action.message_type) {
            (ActionType::Routing, _) => Stage::Routing,
            (_, None) => Stage::Processing,
            (_, Some(_)) if self.is_queued() => Stage::Processing,
            (_, Some(_)) if self.event_type.is_some() => Stage::Carrier,
            (_, Some(_)) => Stage::Handset,
        }
    }

    fn is_queued(&self) -> bool {
        let action = &self.event_processed.action;
        let message = action.sms.as_ref().or(action.mms.as_ref());
        action.status_reason == "queued"
            && message.is_some_and(|message| message.source.url.is_none())
    }

    /// What went wrong, in a few words, if something did.
    pub fn failure(&self) -> Option<String> {
        let failure = self.event_processed.action.failure.as_ref()?;
        let first = failure.errors.first();
        first
            .and_then(|error| error.error_code.map(|code| format!("error_code {code}")))
            .or_else(|| first.and_then(|error| error.error.clone()))
            .or_else(|| failure.reason.clone())
    }
}
