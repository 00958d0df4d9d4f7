//! Reading a request's JSON field by field, so that all that is wrong with it is told at once.
//!
//! Vibes shows 400 and 422 without a rule. Chosen: what is not JSON, lacks a field or has one of the wrong
//! type is 400; what could be right but is not acceptable is 422; 400 wins. `null` is as good as absent.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::api::{ApiError, Problem, code};

/// A JSON object, its keys in the order in which they came.
pub(super) type Object = Map<String, Value>;

/// A field that a request leaves out (`None`), takes back (`Some(None)`) or sets.
pub(super) type Change<T> = Option<Option<T>>;

/// The object that a body must be.
pub(super) fn object(body: &[u8]) -> Result<Object, Problem> {
    let message = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(_) => "The body must be a JSON object".to_owned(),
        Err(error) => format!("The body is not JSON: {error}{}", remedy(body, &error)),
    };
    Err(Problem::one(400, code::MALFORMED, message))
}

/// A value in a body, as it was sent but for white space between its tokens. `serde_json` would respell
/// numbers with an exponent.
pub(super) fn as_sent(body: &[u8], path: &[&str]) -> Option<String> {
    let mut text = std::str::from_utf8(body).ok()?;
    for key in path {
        let fields: HashMap<String, &RawValue> = serde_json::from_str(text).ok()?;
        text = fields.get(*key)?.get();
    }
    let (mut in_string, mut escaped) = (false, false);
    let kept = |byte: &u8| {
        match *byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        in_string || !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
    };
    // White space is ASCII, so what is left is a text.
    String::from_utf8(text.bytes().filter(kept).collect()).ok()
}

/// Leaves out what is null, in an object and the objects within it: it counts as absent, so it is not answered.
pub(super) fn without_nulls(object: Object) -> Object {
    // Where such a key came first, `serde_json` would take its object for a number when it is read again.
    let odd = |key: &str| key.starts_with("$serde_json::private::");
    let kept = object
        .into_iter()
        .filter(|(key, value)| !value.is_null() && !odd(key));
    kept.map(|(key, value)| match value {
        Value::Object(inner) => (key, Value::Object(without_nulls(inner))),
        Value::Array(items) => {
            let items = items.into_iter().map(|item| match item {
                Value::Object(inner) => Value::Object(without_nulls(inner)),
                item => item,
            });
            (key, Value::Array(items.collect()))
        }
        value => (key, value),
    })
    .collect()
}

/// What to do about the two slips of the documentation's own examples.
fn remedy(body: &[u8], error: &serde_json::Error) -> &'static str {
    let at = body
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .and_then(|line| line.get(error.column().saturating_sub(1)));
    if at == Some(&b'/') {
        "; JSON has no comments, leave them out"
    } else if error.to_string().starts_with("trailing comma") {
        "; leave out the comma behind the last value"
    } else {
        ""
    }
}

/// All that is wrong with a request.
#[derive(Debug, Default)]
pub(super) struct Faults {
    malformed: bool,
    errors: Vec<ApiError>,
}

impl Faults {
    fn add(&mut self, code: u32, message: String) {
        self.malformed |= code != code::NOT_ACCEPTABLE;
        self.errors.push(ApiError { message, code });
    }

    pub(super) fn required(&mut self, field: &str) {
        self.add(code::REQUIRED, format!("The {field} field is required"));
    }

    pub(super) fn wrong_type(&mut self, field: &str, wanted: &str) {
        self.add(
            code::WRONG_TYPE,
            format!("The {field} field must be {wanted}"),
        );
    }

    pub(super) fn refuse(&mut self, field: &str, why: &str) {
        self.add(code::NOT_ACCEPTABLE, format!("The {field} field {why}"));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn into_problem(self) -> Problem {
        Problem {
            status: if self.malformed { 400 } else { 422 },
            errors: self.errors,
        }
    }
}

/// A text field of an object, and whether the object must have it.
pub(super) type TextField = (&'static str, bool);

/// An object of a request, and where it stands there.
pub(super) struct Fields<'a> {
    /// Empty for the request itself, else it ends with a dot.
    path: String,
    object: &'a mut Object,
}

impl<'a> Fields<'a> {
    pub(super) fn of(object: &'a mut Object) -> Fields<'a> {
        Fields::at(String::new(), object)
    }

    pub(super) fn at(path: String, object: &'a mut Object) -> Fields<'a> {
        Fields { path, object }
    }

    /// The field's full name, for messages.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.path)
    }

    /// The field's value, unless it is absent or `null`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Takes a field out; the others keep their order.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.object.shift_remove(key)
    }

    /// Sets a field.
    pub(super) fn put(&mut self, key: &str, text: &str) {
        self.object.insert(key.to_owned(), text.into());
    }

    /// Whether a field is absent, `null` or a text of nothing but white space.
    pub(super) fn is_blank(&self, key: &str) -> bool {
        match self.get(key) {
            None => true,
            Some(value) => value.as_str().is_some_and(|text| text.trim().is_empty()),
        }
    }

    /// Each of the objects in a list, and how many they are.
    pub(super) fn each(
        &mut self,
        key: &str,
        faults: &mut Faults,
        mut read: impl FnMut(Fields<'_>, &mut Faults),
    ) -> Option<usize> {
        let name = self.name(key);
        if self.get(key).is_none() {
            self.take(key);
        }
        let Value::Array(items) = self.object.get_mut(key)? else {
            faults.wrong_type(&name, "a list");
            return None;
        };
        for (at, item) in items.iter_mut().enumerate() {
            match item {
                Value::Object(object) => {
                    read(Fields::at(format!("{name}[{at}]."), object), faults);
                }
                _ => faults.wrong_type(&format!("{name}[{at}]"), "an object"),
            }
        }
        Some(items.len())
    }

    /// An object in this one.
    pub(super) fn inner(&mut self, key: &str, faults: &mut Faults) -> Option<Fields<'_>> {
        let name = self.name(key);
        match self.object.get_mut(key) {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(Fields::at(name + ".", object)),
            Some(_) => {
                faults.wrong_type(&name, "an object");
                None
            }
        }
    }

    /// An object in this one that must be there.
    pub(super) fn required_inner(&mut self, key: &str, faults: &mut Faults) -> Option<Fields<'_>> {
        if self.get(key).is_none() {
            faults.required(&self.name(key));
        }
        self.inner(key, faults)
    }

    /// A text. A number is taken for one, as examples and schema of Vibes disagree about some codes; it
    /// is a text from then on, and `null` is gone. A text that must be there must not be blank.
    pub(super) fn text(
        &mut self,
        (key, required): TextField,
        faults: &mut Faults,
    ) -> Option<String> {
        let name = self.name(key);
        let text = match self.object.get_mut(key) {
            Some(value @ Value::Number(_)) => {
                let text = value.to_string();
                *value = Value::String(text.clone());
                Some(text)
            }
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Null) => {
                self.take(key);
                None
            }
            None => None,
            Some(_) => {
                faults.wrong_type(&name, "text");
                return None;
            }
        };
        let text = text.filter(|text| !required || !text.trim().is_empty());
        if required && text.is_none() {
            faults.required(&name);
        }
        text
    }

    /// One of the names of a type.
    pub(super) fn one_of<T: DeserializeOwned>(&self, key: &str, faults: &mut Faults) -> Option<T> {
        let value = self.get(key)?;
        if !value.is_string() {
            faults.wrong_type(&self.name(key), "text");
            return None;
        }
        T::deserialize(value)
            .map_err(|error| {
                // Without the value itself, which may be as long as the request.
                let error = error.to_string();
                let names = error
                    .rsplit_once("expected ")
                    .map_or("", |(_, names)| names);
                faults.refuse(&self.name(key), &format!("must be {names}"));
            })
            .ok()
    }

    /// A date, read by `read`; `null` and a blank text take it back.
    pub(super) fn date<T>(
        &self,
        key: &str,
        read: fn(&str) -> Option<T>,
        form: &str,
        faults: &mut Faults,
    ) -> Change<T> {
        match self.object.get(key)? {
            _ if self.is_blank(key) => Some(None),
            Value::String(text) => {
                let date = read(text);
                if date.is_none() {
                    faults.refuse(&self.name(key), &format!("must be a date like {form}"));
                }
                date.map(Some)
            }
            _ => {
                faults.wrong_type(&self.name(key), "text");
                None
            }
        }
    }
}

/// The form in which a [`point_in_time`] is answered.
pub(super) const MINUTES: &str = "%Y-%m-%dT%H:%MZ";

/// `2017-01-01T00:00Z`, with or without seconds, with `Z` or an offset; or the date alone, whose day
/// begins in UTC. All three are seen in Vibes' documentation.
pub(super) fn point_in_time(text: &str) -> Option<DateTime<Utc>> {
    let whole = match text.split_at_checked(16) {
        None if text.len() == 10 => format!("{text}T00:00:00Z"),
        Some((minutes, rest)) if !rest.starts_with(':') => format!("{minutes}:00{rest}"),
        _ => text.to_owned(),
    };
    let time = DateTime::parse_from_rfc3339(&whole).ok()?.to_utc();
    // An offset may lead out of the years that can be written.
    (0..=9999).contains(&time.year()).then_some(time)
}

/// `2017-01-01`
pub(super) fn day(text: &str) -> Option<NaiveDate> {
    (text.len() == 10)
        .then(|| point_in_time(text))
        .flatten()
        .map(|time| time.date_naive())
}
