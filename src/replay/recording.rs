//! A recording: one line of JSON for each request, as `listen --record` writes it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use hyper::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{LONGEST, Reading, Recorded, broken, method};
use crate::plan::instant;
use crate::receiver::Received;
use crate::scenario::source::plain_words;
use crate::scenario::units::MILLISECOND;

/// Headers whose values stay out of files.
const SECRET: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];
/// Stands for such a value.
const LEFT_OUT: &str = "…";

/// What a line says of a request.
#[derive(Serialize)]
struct Written<'a> {
    at: String,
    after_ms: u64,
    method: &'a str,
    path: &'a str,
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    status: u16,
}

/// What of it is needed to send the request again.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Line {
    after_ms: u64,
    method: Option<String>,
    body: Option<String>,
    body_base64: Option<String>,
}

/// Writes each request to a file as it comes.
pub struct Recorder {
    /// The file, and when the first request came.
    inner: Mutex<(File, Option<Instant>)>,
}

impl Recorder {
    /// Makes the file. One that has something in it is left alone.
    ///
    /// # Errors
    ///
    /// The file has something in it or cannot be written, and how to do better.
    pub fn create(path: &Path) -> Result<Recorder, String> {
        let name = path.display();
        let cannot = |error: io::Error| {
            format!(
                "cannot record into `{name}`: {}\nname a file in a folder that you may write to",
                plain_words(&error)
            )
        };
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).open(path);
        let file = file.map_err(cannot)?;
        if file.metadata().map_err(cannot)?.len() > 0 {
            return Err(format!(
                "cannot record into `{name}`: there is something in it already\n\
                 name another file, or remove this one"
            ));
        }
        Ok(Recorder {
            inner: Mutex::new((file, None)),
        })
    }

    /// Appends a request, so that it is in the file once this comes back.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn record(&self, received: &Received) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, first) = &mut *inner;
        let after = first.get_or_insert_with(Instant::now).elapsed();
        let text = std::str::from_utf8(&received.body);
        let line = Written {
            at: instant(Utc::now()),
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            method: received.method.as_str(),
            path: &received.path,
            headers: harmless(&received.headers),
            body: text.ok(),
            body_base64: text.is_err().then(|| STANDARD.encode(&received.body)),
            status: received.status.as_u16(),
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        // In one piece: whoever kills the program leaves whole lines, but for the last one at worst.
        file.write_all(&line)?;
        file.flush()
    }
}

/// The headers without what must not be in a file.
fn harmless(headers: &HeaderMap) -> Map<String, Value> {
    let shown = |name: &hyper::header::HeaderName| {
        if SECRET.contains(&name.as_str()) {
            return LEFT_OUT.to_owned();
        }
        let values = headers.get_all(name).iter();
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
        values.collect::<Vec<_>>().join(", ")
    };
    headers
        .keys()
        .map(|name| (name.to_string(), Value::String(shown(name))))
        .collect()
}

/// Reads a recording.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Reading, String> {
    let mut list = Vec::new();
    let mut warning = None;
    let lines = bytes.split(|byte| *byte == b'\n');
    // What follows the last line break is empty, or the line that the recorder was killed in.
    let last = lines.clone().count();
    for (number, line) in (1..).zip(lines) {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice::<Line>(line) {
            Ok(line) => list.extend(request(name, number, line)?),
            Err(error) if error.is_eof() && number == last => {
                warning = Some(format!(
                    "{name}:{number}: the last line was not written to its end, so it is left out"
                ));
            }
            Err(error) => return Err(broken(name, Some(number), &error, HELP)),
        }
    }
    Ok(Reading { list, warning })
}

const HELP: &str = "mend or remove the line; each is one request as `vibes-mock listen --record FILE` \
                    writes it, and a HAR file will do, too";

/// The request of a line, unless it is one that is not sent again.
fn request(name: &str, number: usize, line: Line) -> Result<Option<Recorded>, String> {
    let wrong = |message: &str, help: &str| Err(format!("{name}:{number}: {message}\n{help}"));
    let Some(method) = method(line.method.as_deref().unwrap_or("POST")) else {
        return Ok(None);
    };
    let body = match (line.body, line.body_base64) {
        (Some(body), None) => body.into_bytes(),
        (None, Some(body)) => match STANDARD.decode(&body) {
            Ok(body) => body,
            Err(error) => {
                let message = format!("`body_base64` is not Base64: {error}");
                return wrong(&message, "mend it, or write the body as a text in `body`");
            }
        },
        (None, None) => return wrong("there is no `body`", HELP),
        (Some(_), Some(_)) => {
            return wrong("there are two bodies", "remove `body` or `body_base64`");
        }
    };
    let due = line.after_ms.saturating_mul(MILLISECOND);
    if due > LONGEST {
        return wrong(
            "`after_ms` is more than a hundred years",
            "it is the time since the first request, in milliseconds",
        );
    }
    Ok(Some(Recorded {
        method,
        ..Recorded::new(due, body)
    }))
}
