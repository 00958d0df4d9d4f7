//! What came back of an attempt, and what Vibes makes of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::timeline::Verdict;

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// What its body begins with.
    pub text: Option<Box<str>>,
}

impl Answer {
    /// 2xx is accepted, 4xx refused for good, anything else may pass: 3xx is not followed, 5xx retried.
    /// Known from Vibes' "Callbacks" page.
    pub fn verdict(&self) -> Verdict {
        match self.status {
            200..=299 => Verdict::Accepted,
            400..=499 => Verdict::Refused,
            _ => Verdict::Transient,
        }
    }
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The host's name has no address.
    NameNotFound,
    /// Nobody listens there.
    ConnectionRefused,
    /// The connection could not be made for another reason.
    ConnectionFailed,
    /// TLS could not be agreed on: a certificate that is not trusted, not for this host or expired, a client
    /// certificate that was refused, or a receiver that speaks no TLS.
    TlsFailed,
    /// The attempt took longer than the timeout.
    Timeout,
    /// The connection ended before an answer came; the request may have been processed.
    ClosedBeforeAnswer,
    /// The mock closed the connection within the request: a fault, and no doing of the receiver's.
    ClosedOnPurpose,
    /// The connection ended within the answer.
    ClosedWithinAnswer,
    /// The answer was not HTTP.
    NotHttp,
    /// The answer's head was longer than a head may be: 100 headers, 64 KB.
    HeadTooLarge,
    /// The machine has no file descriptor or port left.
    OutOfResources,
    /// The server may not send to the address that the host has.
    DestinationNotAllowed,
}

impl FailureKind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<FailureKind> {
        serde_json::from_value(name.into()).ok()
    }

    /// The kind's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            FailureKind::NameNotFound => "name_not_found",
            FailureKind::ConnectionRefused => "connection_refused",
            FailureKind::ConnectionFailed => "connection_failed",
            FailureKind::TlsFailed => "tls_failed",
            FailureKind::Timeout => "timeout",
            FailureKind::ClosedBeforeAnswer => "closed_before_answer",
            FailureKind::ClosedOnPurpose => "closed_on_purpose",
            FailureKind::ClosedWithinAnswer => "closed_within_answer",
            FailureKind::NotHttp => "not_http",
            FailureKind::HeadTooLarge => "head_too_large",
            FailureKind::OutOfResources => "out_of_resources",
            FailureKind::DestinationNotAllowed => "destination_not_allowed",
        }
    }
}

/// Why there was no answer, with the words that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it counts as.
    pub kind: FailureKind,
    /// The system's or the library's words.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.detail)
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl fmt::Display) -> Failure {
        Failure {
            kind,
            detail: detail.to_string(),
        }
    }

    /// Of making a connection.
    pub(crate) fn connecting(error: &std::io::Error) -> Failure {
        use std::io::ErrorKind;
        // EMFILE, ENFILE, EADDRNOTAVAIL and their kin on Windows; EBUSY is what looking a name up says if
        // no descriptor is left for it.
        const EXHAUSTED: [i32; 7] = [24, 23, 99, 49, 10024, 10048, 16];
        let exhausted = error
            .raw_os_error()
            .is_some_and(|code| EXHAUSTED.contains(&code));
        let kind = match error.kind() {
            _ if exhausted || error.kind() == ErrorKind::AddrNotAvailable => {
                FailureKind::OutOfResources
            }
            ErrorKind::ConnectionRefused => FailureKind::ConnectionRefused,
            // Looking a name up fails with no code of the system's.
            _ if error.raw_os_error().is_none() => FailureKind::NameNotFound,
            _ => FailureKind::ConnectionFailed,
        };
        Failure::new(kind, error)
    }

    /// Of sending a request and waiting for the answer's head.
    pub(crate) fn asking(error: &hyper::Error) -> Failure {
        let kind = if error.is_parse_too_large() {
            FailureKind::HeadTooLarge
        } else if error.is_parse() {
            FailureKind::NotHttp
        } else {
            FailureKind::ClosedBeforeAnswer
        };
        Failure::new(kind, with_sources(error))
    }

    /// Of reading the answer's body.
    pub(crate) fn reading(error: &hyper::Error) -> Failure {
        use std::io::ErrorKind;
        let source = std::error::Error::source(error);
        let source = source.and_then(|source| source.downcast_ref::<std::io::Error>());
        let kind = match source.map(std::io::Error::kind) {
            // Chunks that are none.
            Some(ErrorKind::InvalidData | ErrorKind::InvalidInput) => FailureKind::NotHttp,
            _ => FailureKind::ClosedWithinAnswer,
        };
        Failure::new(kind, with_sources(error))
    }
}

fn with_sources(error: &hyper::Error) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}
