//! The Callback API: which callbacks a customer registers for, where they go, and for how long.
//!
//! Documented on Vibes' "Callback API" page, unless a rule says "chosen".

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::api::{Problem, code};
use super::event;
use super::outcome::{Stage, Status};
use super::registration::{CallbacksToSend, ContentType, Filter, Method, check_url};
use super::request::{self, Change, Faults, Fields, MINUTES, Object, TextField, point_in_time};

/// Makes of one table the types, their names and the text fields of the object that goes with each.
macro_rules! kinds {
    ($($meaning:literal $kind:ident $name:literal [$($field:expr),*];)+) => {
        /// What a callback is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum CallbackKind {
            $(#[doc = $meaning] #[serde(rename = $name)] $kind,)+
        }

        impl CallbackKind {
            /// All types, in the order of the documentation.
            pub const ALL: &[CallbackKind] = &[$(CallbackKind::$kind,)+];

            /// The type's name, which is also the key of its object in a request.
            pub const fn name(self) -> &'static str {
                match self {
                    $(CallbackKind::$kind => $name,)+
                }
            }

            /// The texts in the type's object; if one is required, so is the object.
            const fn fields(self) -> &'static [TextField] {
                match self {
                    $(CallbackKind::$kind => &[$($field),*],)+
                }
            }
        }
    };
}

// The pages say "required" of the other objects too, their schemas do not; chosen: as the schemas.
kinds! {
    "An event went a step further." EventProcessed "event_processed" [("event_type", false)];
    "Somebody joined an acquisition campaign." AckParticipantAdded "ack_participant_added" [("campaign_id", false)];
    "Somebody changed in an acquisition campaign." AckParticipantChanged "ack_participant_changed" [("campaign_id", false)];
    "Somebody joined any acquisition campaign of the company." CompanyParticipantAdded "company_participant_added" [];
    "Somebody changed in any acquisition campaign of the company." CompanyParticipantChanged "company_participant_changed" [];
    "There is a new person." PersonAdded "person_added" [];
    "A person changed." PersonUpdated "person_updated" [];
    "A push device was added." DeviceAdded "device_added" [("app_id", false)];
    "A push device was removed." DeviceRemoved "device_removed" [("app_id", false)];
    "A push device changed." DeviceUpdated "device_updated" [("app_id", false)];
    "Somebody subscribed." SubscriptionAdded "subscription_added" [("list_id", false)];
    "Somebody unsubscribed." SubscriptionRemoved "subscription_removed" [("list_id", false)];
    "There is a new subscription list." SubscriptionListAdded "subscription_list_added" [];
    "A subscription list changed." SubscriptionListUpdated "subscription_list_updated" [];
    "A message came that no campaign waits for." UnmatchedMessageReceived "unmatched_message_received" [("source_code", true), ("country_code", false)];
    "A wallet item was installed." WalletItemInstall "wallet_item_install" [("campaign_token", false)];
    "A wallet item was removed." WalletItemRemove "wallet_item_remove" [("campaign_token", false)];
}

impl CallbackKind {
    /// Reads `callback_type`, or `event_type`, its deprecated name.
    fn read(fields: &Fields<'_>, faults: &mut Faults) -> Option<CallbackKind> {
        let key = ["callback_type", "event_type"]
            .into_iter()
            .find(|key| fields.get(key).is_some());
        match key {
            Some(key) => fields.one_of(key, faults),
            None => {
                faults.required("callback_type");
                None
            }
        }
    }
}

/// A request to register or to change a registration.
///
/// `callback_id`, `created_at`, `updated_at` and `url` in it are ignored, as is what Vibes does not know.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrationRequest {
    kind: CallbackKind,
    url: String,
    method: Method,
    content_type: ContentType,
    filter: Filter,
    detail: Change<Object>,
    start: Change<DateTime<Utc>>,
    end: Change<DateTime<Utc>>,
}

impl RegistrationRequest {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// 400 and 422, with all that is wrong.
    pub fn parse(body: &[u8]) -> Result<RegistrationRequest, Problem> {
        const FORM: &str = "2017-01-01T00:00Z";
        let mut object = request::object(body)?;
        let mut fields = Fields::of(&mut object);
        let mut faults = Faults::default();
        let kind = CallbackKind::read(&fields, &mut faults);
        let destination = fields
            .required_inner("destination", &mut faults)
            .and_then(|destination| read_destination(destination, &mut faults));
        let (detail, filter) = match kind {
            Some(kind) => read_detail(kind, &mut fields, &mut faults),
            None => Default::default(),
        };
        let start = fields.date("start_date", point_in_time, FORM, &mut faults);
        let end = fields.date("end_date", point_in_time, FORM, &mut faults);
        match (kind, destination) {
            (Some(kind), Some((url, method, content_type))) if faults.is_empty() => {
                Ok(RegistrationRequest {
                    kind,
                    url,
                    method,
                    content_type,
                    filter,
                    detail,
                    start,
                    end,
                })
            }
            _ => Err(faults.into_problem()),
        }
    }

    /// Where the callbacks are to go.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn read_destination(
    mut fields: Fields<'_>,
    faults: &mut Faults,
) -> Option<(String, Method, ContentType)> {
    let url = fields.text(("url", true), faults);
    if let Some(Err(error)) = url.as_deref().map(check_url) {
        let why = format!("is not acceptable: {}", error.replace('\n', "; "));
        faults.refuse(&fields.name("url"), &why);
    }
    let method = fields.one_of("method", faults).unwrap_or_default();
    let content_type = fields.one_of("content_type", faults).unwrap_or_default();
    Some((url?, method, content_type))
}

/// Reads the object that goes with the type. Numbers in it that Vibes has as texts become texts, so that
/// the answer is what the documentation says; everything else is answered as it was sent.
fn read_detail(
    kind: CallbackKind,
    fields: &mut Fields<'_>,
    faults: &mut Faults,
) -> (Change<Object>, Filter) {
    let key = kind.name();
    let mut filter = Filter::default();
    let needed = kind.fields().iter().any(|(_, required)| *required);
    let detail = match needed {
        true => fields.required_inner(key, faults),
        false => fields.inner(key, faults),
    };
    if let Some(mut detail) = detail {
        if kind == CallbackKind::EventProcessed {
            filter.event_type = event::event_type(("event_type", false), &mut detail, faults);
            filter.callbacks_to_send = match detail.get("callbacks_to_send") {
                Some(_) => detail
                    .one_of("callbacks_to_send", faults)
                    .unwrap_or_default(),
                None => {
                    detail.take("callbacks_to_send");
                    CallbacksToSend::default()
                }
            };
        }
        for field in kind.fields() {
            detail.text(*field, faults);
        }
    }
    let detail = fields.take(key).map(|value| match value {
        Value::Object(object) => Some(request::without_nulls(object)),
        _ => None,
    });
    (detail, filter)
}

/// A destination that is registered for one type of callback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// Its number; answered as a text.
    pub callback_id: u64,
    /// What the callbacks are about.
    pub callback_type: CallbackKind,
    /// Where they go.
    pub url: String,
    /// How they are sent.
    pub method: Method,
    /// As what they are sent.
    pub content_type: ContentType,
    /// Which of an event's callbacks go there.
    pub filter: Filter,
    /// The type's own object, if there was one.
    pub detail: Option<Map<String, Value>>,
    /// From when on, to the moment; answers show minutes.
    pub start: DateTime<Utc>,
    /// Until when, without that moment.
    pub end: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

impl Registration {
    /// Makes a registration, which starts now unless the request says when.
    ///
    /// # Errors
    ///
    /// 422 if it ends before it starts. It may end as it starts, and is never active then.
    pub fn create(
        callback_id: u64,
        request: RegistrationRequest,
        now: DateTime<Utc>,
    ) -> Result<Registration, Problem> {
        let start = request.start.flatten().unwrap_or(now);
        let end = request.end.flatten();
        check_window(start, end)?;
        Ok(Registration {
            callback_id,
            callback_type: request.kind,
            url: request.url,
            method: request.method,
            content_type: request.content_type,
            filter: request.filter,
            detail: request.detail.flatten(),
            start,
            end,
            created_at: now,
            updated_at: now,
        })
    }

    /// Replaces what the request sends. Chosen: dates and the type's object stay if it leaves them out;
    /// `null` takes them back. The object goes with its type.
    ///
    /// # Errors
    ///
    /// 422 if it would end before it starts; nothing is changed then.
    pub fn update(
        &mut self,
        request: RegistrationRequest,
        now: DateTime<Utc>,
    ) -> Result<(), Problem> {
        let start = request
            .start
            .map_or(self.start, |start| start.unwrap_or(now));
        let end = request.end.unwrap_or(self.end);
        check_window(start, end)?;
        (self.start, self.end) = (start, end);
        if request.detail.is_some() || request.kind != self.callback_type {
            self.detail = request.detail.flatten();
            self.filter = request.filter;
        }
        self.callback_type = request.kind;
        self.url = request.url;
        self.method = request.method;
        self.content_type = request.content_type;
        self.updated_at = now;
        Ok(())
    }

    /// Ends it now, and has it started if that was ahead. One that is over stays as it is.
    pub fn cancel(&mut self, now: DateTime<Utc>) {
        if self.listed_at(now) {
            self.start = self.start.min(now);
            self.end = Some(now);
            self.updated_at = now;
        }
    }

    /// Whether callbacks go there at that moment.
    pub fn active_at(&self, now: DateTime<Utc>) -> bool {
        self.start <= now && self.listed_at(now)
    }

    /// Whether it is active at that moment or will be: what the list shows.
    pub fn listed_at(&self, now: DateTime<Utc>) -> bool {
        self.end.is_none_or(|end| now < end)
    }

    /// Whether the two may not both be (409).
    ///
    /// One page says that registrations of one type may not overlap in time, another that a callback may
    /// go to many URLs. Chosen: they conflict if the URL too is the same, and so is what they are about:
    /// the event's type, or the object of another type of callback.
    pub fn conflicts_with(&self, other: &Registration) -> bool {
        let same_subject = match (&self.filter.event_type, &other.filter.event_type) {
            (Some(mine), Some(theirs)) => mine.eq_ignore_ascii_case(theirs),
            (None, None) => {
                self.callback_type == CallbackKind::EventProcessed || self.detail == other.detail
            }
            _ => false,
        };
        self.callback_id != other.callback_id
            && self.callback_type == other.callback_type
            && self.url == other.url
            && same_subject
            && self.overlaps(other)
    }

    fn overlaps(&self, other: &Registration) -> bool {
        let start = self.start.max(other.start);
        self.listed_at(start) && other.listed_at(start)
    }

    /// Whether a callback about an event goes there, if it is due at that moment.
    pub fn wants(&self, event_type: &str, stage: Stage, status: Status, at: DateTime<Utc>) -> bool {
        self.callback_type == CallbackKind::EventProcessed
            && self.active_at(at)
            && self.filter.wants(event_type, stage, status)
    }

    /// The registration as the API answers it.
    pub fn to_json(&self, company_key: &str) -> Value {
        let date = |date: DateTime<Utc>| Value::from(date.format(MINUTES).to_string());
        let id = self.callback_id;
        let mut answer = Map::new();
        let mut put = |key: &str, value: Value| answer.insert(key.to_owned(), value);
        put("callback_id", id.to_string().into());
        put("callback_type", self.callback_type.name().into());
        if let Some(detail) = &self.detail {
            put(self.callback_type.name(), detail.clone().into());
        }
        put(
            "destination",
            json!({
                "url": self.url,
                "method": self.method.name(),
                "content_type": self.content_type.name(),
            }),
        );
        put("start_date", date(self.start));
        if let Some(end) = self.end {
            put("end_date", date(end));
        }
        put(
            "url",
            format!("/companies/{company_key}/config/callbacks/{id}").into(),
        );
        put("created_at", date(self.created_at));
        put("updated_at", date(self.updated_at));
        answer.into()
    }
}

fn check_window(start: DateTime<Utc>, end: Option<DateTime<Utc>>) -> Result<(), Problem> {
    match end {
        Some(end) if end < start => Err(Problem::one(
            422,
            code::NOT_ACCEPTABLE,
            "The end_date field may not lie before the start_date, which is now unless it is sent",
        )),
        _ => Ok(()),
    }
}

/// A request for a callback to try the receiver with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestCallback {
    /// What it is to be about.
    pub kind: CallbackKind,
    /// The event's id, if it is about an event and the request gives one.
    pub event_id: Option<String>,
    /// The event's data, likewise: a JSON object as it was sent, without white space.
    pub event_data: Option<String>,
}

impl TestCallback {
    /// Reads a request. Chosen: what the other types bring along is not looked at.
    ///
    /// # Errors
    ///
    /// 400 and 422, with all that is wrong.
    pub fn parse(body: &[u8]) -> Result<TestCallback, Problem> {
        let mut object = request::object(body)?;
        let mut fields = Fields::of(&mut object);
        let mut faults = Faults::default();
        let kind = CallbackKind::read(&fields, &mut faults);
        let (mut event_id, mut event_data) = (None, None);
        if kind == Some(CallbackKind::EventProcessed)
            && let Some(mut event) = fields.inner("event_processed", &mut faults)
        {
            event_id = event::event_id(&mut event, &mut faults);
            event.inner("event_data", &mut faults);
            event_data = event
                .get("event_data")
                .and_then(|_| request::as_sent(body, &["event_processed", "event_data"]));
        }
        match kind {
            Some(kind) if faults.is_empty() => Ok(TestCallback {
                kind,
                event_id,
                event_data,
            }),
            _ => Err(faults.into_problem()),
        }
    }
}

#[cfg(test)]
mod tests;
