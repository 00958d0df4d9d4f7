//! What a real network, and a bad day, do to callbacks: which of them, and what exactly.
//!
//! Pure, like the plan: a fault strikes by seed, journey and due time, and changes bytes or times. How a
//! slow or broken request goes over the wire is for [`delivery`](crate::delivery) to say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::units::Delay;
use crate::vibes::outcome::Outcome;

/// What happens to a callback, or to the first attempt at it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// It comes later, by `by`.
    Delay,
    /// It comes once more, even if it was accepted: Vibes' "Callbacks" page says that this happens.
    Duplicate,
    /// It comes after the journey's next callback, if that is due `within` so long.
    Reorder,
    /// It never comes.
    Drop,
    /// The body is no JSON: a quotation mark is missing.
    InvalidJson,
    /// The body ends too soon, with the length that it has.
    TruncatedBody,
    /// The request announces more bytes than it sends, and waits for an answer.
    WrongLength,
    /// The request says that it carries `text/plain`.
    WrongContentType,
    /// The body comes in pieces, `over` so long.
    SlowBody,
    /// The connection is closed within the body.
    CloseEarly,
    /// The callback's id has a character too many to be a UUID, as ids on Vibes' page have.
    QuirkyIds,
}

impl FaultKind {
    /// The name in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            FaultKind::Delay => "delay",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Reorder => "reorder",
            FaultKind::Drop => "drop",
            FaultKind::InvalidJson => "invalid_json",
            FaultKind::TruncatedBody => "truncated_body",
            FaultKind::WrongLength => "wrong_length",
            FaultKind::WrongContentType => "wrong_content_type",
            FaultKind::SlowBody => "slow_body",
            FaultKind::CloseEarly => "close_early",
            FaultKind::QuirkyIds => "quirky_ids",
        }
    }

    /// Whether the attempt that it strikes may rightly be refused, so that a refusal is no failure of
    /// the receiver's.
    pub const fn spoils(self) -> bool {
        matches!(
            self,
            FaultKind::InvalidJson
                | FaultKind::TruncatedBody
                | FaultKind::WrongLength
                | FaultKind::WrongContentType
                | FaultKind::SlowBody
                | FaultKind::CloseEarly
        )
    }

    /// Whether the request takes a connection of its own, since it keeps or breaks the one it is sent over.
    pub const fn needs_own_connection(self) -> bool {
        matches!(
            self,
            FaultKind::WrongLength | FaultKind::SlowBody | FaultKind::CloseEarly
        )
    }

    /// Changes the bytes of a body, where that is what the fault does. `draw` is any number.
    pub fn spoil(self, body: &mut Vec<u8>, draw: u64) {
        match self {
            // Not the first byte and not the whole: both would be other mistakes.
            FaultKind::TruncatedBody if body.len() > 2 => {
                body.truncate(1 + (draw % (body.len() as u64 - 2)) as usize);
            }
            FaultKind::InvalidJson => {
                if let Some(at) = body.iter().position(|byte| *byte == b'"') {
                    body.remove(at);
                }
            }
            FaultKind::QuirkyIds => {
                // The first text of a body is its id.
                if let Some(at) = body.windows(2).position(|pair| pair == b":\"") {
                    const TOO_MANY: &[u8] = b"w0123456789";
                    let extra = TOO_MANY[(draw % TOO_MANY.len() as u64) as usize];
                    body.insert(at + 2, extra);
                }
            }
            _ => {}
        }
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A fault that strikes one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// How long the body takes, with `slow_body`, in nanoseconds of real time.
    pub time: u64,
    /// A number that the details depend on.
    pub draw: u64,
}

/// A fault that a scenario asks for, and whom it strikes. All conditions must hold.
#[derive(Clone, Debug)]
pub struct FaultSpec {
    /// What happens.
    pub kind: FaultKind,
    /// With which probability, from 0 to 1.
    pub rate: f64,
    /// Only so many of the run, in due order.
    pub first: Option<u64>,
    /// Only those due then: from, and up to but not including, in nanoseconds from the run's start.
    pub during: Option<(u64, u64)>,
    /// Only those of which all of this holds.
    pub when: Vec<Condition>,
    /// How much later it comes (delay, duplicate), or how long the body takes (slow_body).
    pub time: Delay,
}

/// Something that must hold of a callback; `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its outcome.
    Outcome(String),
    /// Its event's type, upper and lower case alike.
    EventType(String),
    /// The name of its journey.
    Journey(String),
}

impl FaultSpec {
    /// Whether it concerns a callback that is due then, leaving chance and `first` aside.
    pub fn concerns(&self, due: u64, outcome: &Outcome, journey: &str, event_type: &str) -> bool {
        self.during
            .is_none_or(|(from, to)| (from..to).contains(&due))
            && self.when.iter().all(|condition| match condition {
                Condition::Outcome(pattern) => matches(pattern, outcome.name),
                Condition::EventType(pattern) => {
                    matches(&pattern.to_lowercase(), &event_type.to_lowercase())
                }
                Condition::Journey(pattern) => matches(pattern, journey),
            })
    }

    /// Whether the event's type must be known to say so.
    pub fn asks_for_event_type(&self) -> bool {
        let is = |condition: &Condition| matches!(condition, Condition::EventType(_));
        self.when.iter().any(is)
    }
}

/// Whether a text is as a pattern says, in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(before) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, fits) in [
            ("handset.*", "handset.delivered", true),
            ("handset.*", "carrier.sent", false),
            ("*", "", true),
            ("*.rejected", "carrier.rejected", true),
            ("c*r.*j*d", "carrier.rejected", true),
            ("c*r.*x*d", "carrier.rejected", false),
            ("a*a", "a", false),
            ("carrier.sent", "carrier.sent", true),
            ("carrier", "carrier.sent", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn spoiled_bodies_are_no_json() {
        let sound = br#"{"event_id":"6ba7b810-9dad-41d1-80b4-00c04fd430c8","n":[1,2]}"#;
        for kind in [FaultKind::InvalidJson, FaultKind::TruncatedBody] {
            for draw in 0..200 {
                let mut body = sound.to_vec();
                kind.spoil(&mut body, draw);
                assert!(!body.is_empty());
                let read = serde_json::from_slice::<serde_json::Value>(&body);
                assert!(read.is_err(), "{kind} {draw}");
            }
        }
    }

    #[test]
    fn quirky_ids_are_json_but_no_uuids() {
        for draw in 0..20 {
            let mut body = br#"{"event_id":"6ba7b810-9dad-41d1-80b4-00c04fd430c8"}"#.to_vec();
            FaultKind::QuirkyIds.spoil(&mut body, draw);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let id = json["event_id"].as_str().unwrap_or_default();
            assert_eq!(id.len(), 37);
            assert!(uuid::Uuid::parse_str(id).is_err(), "{id}");
        }
    }
}
