//! The Event API: what an event that is posted may look like.
//!
//! Documented on Vibes' "Event API" and "Technical Details" pages, unless a rule says "chosen".

use serde_json::Value;

use super::api::{ApiVersion, Problem, code};
use super::request::{self, Faults, Fields};

/// The most bytes that the body of a posted event may have.
pub const MAX_EVENT_BYTES: usize = 16 * 1024;

/// The most characters of an `event_id`; chosen.
pub const MAX_EVENT_ID: usize = 255;

/// The keys of `event_data` of which one must say whom the event is about.
pub const PERSON_KEYS: [&str; 5] = [
    "external_person_id",
    "mdn",
    "person_key",
    "person_id",
    "vibes_device_id",
];

/// Whether a text can be an `event_type`: letters, digits, `-` and `_`, at least one.
pub fn is_event_type(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether a text can be a mobile number: 10 to 15 digits, with a leading `+` in the E.164 form.
pub fn is_mdn(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (10..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

/// Whom an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRef {
    /// One of [`PERSON_KEYS`].
    pub key: &'static str,
    /// Its value; a number as a text.
    pub value: String,
}

/// An event as a customer posts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedEvent {
    /// The customer's own id for it, if it gives one.
    pub event_id: Option<String>,
    /// What kind of event it is, in the customer's words.
    pub event_type: String,
    /// A JSON object as it was sent, to the spelling of its numbers, but without white space.
    pub event_data: String,
    /// Likewise, if there was any, even `{}`.
    pub debug_data: Option<String>,
    /// The first of [`PERSON_KEYS`] that `event_data` has.
    pub person: PersonRef,
}

impl PostedEvent {
    /// Reads a request. Chosen: `event_id` may be a number, and then is its text; of a key that comes
    /// twice the last value counts, though data is passed on with both; anything else in `event_data` may be any JSON, and fields that Vibes
    /// does not know are left alone.
    ///
    /// # Errors
    ///
    /// 413 for a body of more than [`MAX_EVENT_BYTES`] (chosen); 400 and 422 for all that is wrong in it.
    pub fn parse(body: &[u8], version: ApiVersion) -> Result<PostedEvent, Problem> {
        if body.len() > MAX_EVENT_BYTES {
            return Err(Problem::one(
                413,
                code::TOO_LARGE,
                format!(
                    "The event has {} bytes; it may have up to {MAX_EVENT_BYTES}",
                    body.len()
                ),
            ));
        }
        let mut object = request::object(body)?;
        let mut fields = Fields::of(&mut object);
        let mut faults = Faults::default();
        let event_id = event_id(&mut fields, &mut faults);
        let event_type = event_type(("event_type", true), &mut fields, &mut faults);
        let person = fields
            .required_inner("event_data", &mut faults)
            .and_then(|data| person(&data, version, &mut faults));
        fields.inner("debug_data", &mut faults);
        let text = |key| fields.get(key).and_then(|_| request::as_sent(body, &[key]));
        match (event_type, person, text("event_data")) {
            (Some(event_type), Some(person), Some(event_data)) if faults.is_empty() => {
                Ok(PostedEvent {
                    event_id,
                    event_type,
                    event_data,
                    debug_data: text("debug_data"),
                    person,
                })
            }
            _ => Err(faults.into_problem()),
        }
    }
}

/// An event's own id; chosen: up to [`MAX_EVENT_ID`] characters, not blank.
pub(super) fn event_id(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<String> {
    let id = fields.text(("event_id", false), faults)?;
    if id.trim().is_empty() {
        faults.refuse(&fields.name("event_id"), "may not be blank");
    } else if id.chars().count() > MAX_EVENT_ID {
        let why = format!("may have up to {MAX_EVENT_ID} characters");
        faults.refuse(&fields.name("event_id"), &why);
    }
    Some(id)
}

/// An event's type, wherever one is named.
pub(super) fn event_type(
    field: (&'static str, bool),
    fields: &mut Fields<'_>,
    faults: &mut Faults,
) -> Option<String> {
    let text = fields.text(field, faults)?;
    if !is_event_type(&text) {
        let name = fields.name(field.0);
        faults.refuse(&name, "may have letters, digits, `-` and `_` only");
    }
    Some(text)
}

fn person(data: &Fields<'_>, version: ApiVersion, faults: &mut Faults) -> Option<PersonRef> {
    let mut first = None;
    let mut any = false;
    for key in PERSON_KEYS {
        let Some(value) = data.get(key) else { continue };
        any = true;
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                faults.wrong_type(&data.name(key), "text or a number");
                continue;
            }
        };
        if value.trim().is_empty() {
            faults.refuse(&data.name(key), "may not be blank");
        } else if key == "mdn" {
            check_mdn(&value, version, faults);
        }
        first.get_or_insert(PersonRef { key, value });
    }
    if !any {
        faults.required(&format!(
            "event_data.{}",
            PERSON_KEYS.join(" or event_data.")
        ));
    }
    first
}

/// Version 1 leaves open which other forms a number may have, so all are taken; chosen.
fn check_mdn(mdn: &str, version: ApiVersion, faults: &mut Faults) {
    let international = mdn.starts_with('+');
    match version {
        ApiVersion::One if international => faults.refuse(
            "event_data.mdn",
            "may not be in the E.164 form (`+1…`) under X-API-Version 1; leave out the `+1` or send `X-API-Version: 2`",
        ),
        ApiVersion::Two if !international || !is_mdn(mdn) => faults.refuse(
            "event_data.mdn",
            "must be in the E.164 form, like +15550100123, under X-API-Version 2",
        ),
        ApiVersion::One | ApiVersion::Two => {}
    }
}

/// A mobile number as E.164 has it, which version 1 of the API does not. Ten digits are taken for a
/// North American number without its `1`. None if the text is no mobile number.
pub fn e164(mdn: &str) -> Option<String> {
    if !is_mdn(mdn) {
        return None;
    }
    Some(match mdn.len() {
        _ if mdn.starts_with('+') => mdn.to_owned(),
        10 => format!("+1{mdn}"),
        _ => format!("+{mdn}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(body: &str) -> Result<PostedEvent, Problem> {
        PostedEvent::parse(body.as_bytes(), ApiVersion::One)
    }

    fn refused(body: &str) -> (u16, Vec<String>) {
        let problem = one(body).unwrap_err();
        let messages = problem.errors.into_iter().map(|error| error.message);
        (problem.status, messages.collect())
    }

    #[test]
    fn data_is_kept_as_it_was_sent() {
        let event = one(r#" { "event_type" : "Order-shipped_2", "event_data": {
            "z": 1.10, "a": [ {"n": 1e400, "t": null} ], "s" : "a \" { \u00e9\\" , "mdn": "8609740638", "person_id": 7 ,
            "external_person_id": 17.50 }, "debug_data": { } , "event_id": 12 } "#)
        .unwrap();
        assert_eq!(event.event_id.as_deref(), Some("12"));
        assert_eq!(event.event_type, "Order-shipped_2");
        assert_eq!(
            event.event_data,
            r#"{"z":1.10,"a":[{"n":1e400,"t":null}],"s":"a \" { \u00e9\\","mdn":"8609740638","person_id":7,"external_person_id":17.50}"#
        );
        assert_eq!(event.debug_data.as_deref(), Some("{}"));
        assert_eq!(event.person.key, "external_person_id");
        assert_eq!(event.person.value, "17.50");
    }

    #[test]
    fn the_first_person_key_counts_whatever_the_order() {
        let event =
            one(r#"{"event_type":"a","event_data":{"vibes_device_id":"d","person_key":null,"person_id":"p"}}"#)
                .unwrap();
        assert_eq!(event.person.key, "person_id");
        assert_eq!(event.event_id, None);
        assert_eq!(event.debug_data, None);
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let (status, messages) = refused(r#"{"event_id":" ","event_data":{},"debug_data":1}"#);
        assert_eq!(status, 400);
        assert_eq!(
            messages,
            [
                "The event_id field may not be blank",
                "The event_type field is required",
                "The event_data.external_person_id or event_data.mdn or event_data.person_key or event_data.person_id or event_data.vibes_device_id field is required",
                "The debug_data field must be an object",
            ]
        );
        let (status, messages) =
            refused(r#"{"event_type":"order shipped","event_data":{"mdn":"","person_id":"1"}}"#);
        assert_eq!(status, 422);
        assert_eq!(
            messages,
            [
                "The event_type field may have letters, digits, `-` and `_` only",
                "The event_data.mdn field may not be blank"
            ]
        );
        for (body, status) in [
            ("", 400),
            ("[]", 400),
            (r#"{"event_type":"a"}"#, 400),
            (r#"{"event_type":"a","event_data":"b"}"#, 400),
            (
                r#"{"event_type":["a"],"event_data":{"mdn":"8609740638"}}"#,
                400,
            ),
            (r#"{"event_type":"a","event_data":{"mdn":{}}}"#, 400),
            (r#"{"event_type":"a","event_data":{"person_id":true}}"#, 400),
        ] {
            assert_eq!(refused(body).0, status, "{body}");
        }
    }

    #[test]
    fn the_form_of_a_number_depends_on_the_version() {
        let status = |mdn: &str, version| {
            let body =
                format!(r#"{{"event_type":"a","event_data":{{"person_id":1,"mdn":{mdn}}}}}"#);
            PostedEvent::parse(body.as_bytes(), version)
                .map_or_else(|problem| problem.status, |_| 202)
        };
        use ApiVersion::{One, Two};
        assert_eq!(status(r#""+18609740638""#, One), 422);
        assert_eq!(status(r#""8609740638""#, One), 202);
        assert_eq!(status("8609740638", One), 202);
        assert_eq!(status(r#""+18609740638""#, Two), 202);
        assert_eq!(status(r#""8609740638""#, Two), 422);
        assert_eq!(status(r#""+1860""#, Two), 422);
    }

    #[test]
    fn bounds_are_exact() {
        let event = |id: usize, fill: usize| {
            format!(
                r#"{{"event_id":"{}","event_type":"a","event_data":{{"person_id":"{}"}}}}"#,
                "é".repeat(id),
                "x".repeat(fill)
            )
        };
        assert!(one(&event(MAX_EVENT_ID, 1)).is_ok());
        assert_eq!(refused(&event(MAX_EVENT_ID + 1, 1)).0, 422);
        let room = MAX_EVENT_BYTES - event(1, 0).len();
        assert!(one(&event(1, room)).is_ok());
        assert_eq!(refused(&event(1, room + 1)).0, 413);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let body = format!(r#"{{"event_type":"a","event_data":{{"person_id":1,"d":{deep}}}}}"#);
        assert_eq!(refused(&body).0, 400);
    }

    #[test]
    fn numbers_in_one_form() {
        for (mdn, wanted) in [
            ("5555550120", Some("+15555550120")),
            ("15555550120", Some("+15555550120")),
            ("+15555550120", Some("+15555550120")),
            ("447700900123", Some("+447700900123")),
            ("+6591234567", Some("+6591234567")),
            ("555-555-0120", None),
            ("0", None),
        ] {
            assert_eq!(e164(mdn).as_deref(), wanted, "{mdn}");
        }
    }
}
