//! HTTP archives, as browsers and proxies export them: HAR 1.2.
//!
//! Format: "HAR 1.2 Spec", <http://www.softwareishard.com/blog/har-12-spec/>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::{LONGEST, Reading, Recorded, broken, method};
use crate::vibes::registration::Method;

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Har {
    log: Log,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Log {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Entry {
    #[serde(deserialize_with = "time")]
    started_date_time: DateTime<Utc>,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", expecting = "an object")]
struct Request {
    method: String,
    url: String,
    #[serde(default, deserialize_with = "posted")]
    post_data: Option<Vec<u8>>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct PostData {
    text: Option<String>,
    /// Not in the specification, but written for bodies that are no text.
    encoding: Option<String>,
}

/// What is there of any HAR file.
#[derive(Deserialize)]
struct Probe {
    #[serde(rename = "log")]
    _log: IgnoredAny,
}

/// Times of HAR are those of RFC 3339. Read here, so that a bad one is found at its place in the file.
fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let parsed = DateTime::parse_from_rfc3339(&text);
    let wrong = |error| D::Error::custom(format!("`{text}` is not a time: {error}"));
    Ok(parsed.map_err(wrong)?.to_utc())
}

fn posted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    let Some(data) = Option::<PostData>::deserialize(deserializer)? else {
        return Ok(None);
    };
    match (data.text, data.encoding.as_deref()) {
        (Some(text), Some("base64")) => {
            let wrong = |error| D::Error::custom(format!("the body is not Base64: {error}"));
            STANDARD.decode(&text).map(Some).map_err(wrong)
        }
        (text, _) => Ok(text.map(String::into_bytes)),
    }
}

/// Whether that is a HAR file, perhaps a broken one.
pub(super) fn is_har(bytes: &[u8]) -> bool {
    begins_with_log(bytes).is_some() || serde_json::from_slice::<Probe>(bytes).is_ok()
}

/// What follows `{"log":`, if it begins so; a file that is broken further on is a HAR file, too.
fn begins_with_log(bytes: &[u8]) -> Option<&[u8]> {
    let inside = bytes.trim_ascii_start().strip_prefix(b"{")?;
    let colon = inside.trim_ascii_start().strip_prefix(b"\"log\"")?;
    colon.trim_ascii_start().strip_prefix(b":")
}

/// Reads a HAR file.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Reading, String> {
    let har: Har = serde_json::from_slice(bytes).map_err(|error| {
        let help = match error.is_eof() {
            true => "the file ends too early; export it again",
            false => "mend it there, or export it again as HAR 1.2",
        };
        broken(name, None, &error, help)
    })?;
    let sent: Vec<(DateTime<Utc>, Method, String, Vec<u8>)> =
        har.log.entries.into_iter().filter_map(sent).collect();
    let first = sent.iter().map(|(time, ..)| *time).min();
    let first = first.unwrap_or_default();
    let list = sent
        .into_iter()
        .map(|(time, method, url, body)| {
            Ok(Recorded {
                method,
                url: Some(url),
                ..Recorded::new(since(first, time, name)?, body)
            })
        })
        .collect::<Result<_, String>>()?;
    Ok(Reading {
        list,
        warning: None,
    })
}

/// What is sent again of an entry.
fn sent(entry: Entry) -> Option<(DateTime<Utc>, Method, String, Vec<u8>)> {
    let Request {
        method: name,
        url,
        post_data,
    } = entry.request;
    let body = post_data.filter(|body| !body.is_empty())?;
    Some((entry.started_date_time, method(&name)?, url, body))
}

fn since(first: DateTime<Utc>, time: DateTime<Utc>, name: &str) -> Result<u64, String> {
    let nanos = (time - first).num_nanoseconds();
    let nanos = nanos.and_then(|nanos| u64::try_from(nanos).ok());
    nanos.filter(|nanos| *nanos <= LONGEST).ok_or_else(|| {
        format!(
            "{name}: its requests are more than a hundred years apart\nlook for a wrong `startedDateTime`: {first} or {time}"
        )
    })
}
