//! Callbacks that were recorded, sent again: what `replay` reads, and the feed it makes of it.
//!
//! Bodies are kept as they came, byte for byte; nothing here writes one anew.

pub mod har;
pub mod recording;

use std::io::Read;
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::fault::matches;
use crate::journal;
use crate::plan::{Callback, PlanError};
use crate::report::note;
use crate::scenario::source::plain_words;
use crate::timeline::Feed;
use crate::vibes::callback::{ReceivedCallback, ReceivedFailure};
use crate::vibes::outcome::{MessageType, OUTCOMES, Outcome, Sample, Shape, Stage, Status};
use crate::vibes::registration::Method;

/// What reports call a body that is no callback of Vibes. It is in no table of outcomes, since it says
/// nothing about what Vibes does; its stage is only there because each outcome has one.
static OTHER: Outcome = Outcome {
    stage: Stage::Routing,
    short: "other",
    name: "other",
    summary: "Something else than a callback of Vibes",
    status: Status::Processing,
    status_reason: "",
    action_type: "",
    repeats_callback_type: false,
    shape: Shape::Accepted,
    messages: &[MessageType::Sms, MessageType::Mms],
    sample: Sample {
        event_type: "",
        event_data: "{}",
        debug_data: None,
    },
};

/// How an SQLite database begins.
const SQLITE: [u8; 16] = *b"SQLite format 3\0";
/// What some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// A request may come so long after the first, in nanoseconds: a hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

/// A request that was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it came, in nanoseconds from the first one.
    pub due: u64,
    /// Its body as it came.
    pub body: Vec<u8>,
    /// `POST` or `PUT`.
    pub method: Method,
    /// Where it went, if the source tells.
    pub url: Option<String>,
    /// The event's id, if the body is a callback of Vibes.
    pub event_id: Option<String>,
    /// The event's type, likewise.
    pub event_type: Option<String>,
    /// What happened, if it is a callback with an outcome that is documented.
    pub outcome: Option<&'static Outcome>,
    /// Whether it is a callback whose action failed.
    pub failed: bool,
}

impl Recorded {
    /// A posted body; what it is about is read from it.
    pub fn new(due: u64, body: Vec<u8>) -> Recorded {
        let callback: Option<ReceivedCallback> = serde_json::from_slice(&body).ok();
        let outcome = callback.as_ref().and_then(outcome);
        let event = callback.map(|callback| callback.event_processed);
        Recorded {
            due,
            body,
            method: Method::Post,
            url: None,
            failed: event
                .as_ref()
                .is_some_and(|event| event.action.status == Status::Failed),
            event_id: event.as_ref().map(|event| event.event_id.clone()),
            event_type: event.map(|event| event.event_type),
            outcome,
        }
    }
}

/// The outcome that a callback tells of.
fn outcome(callback: &ReceivedCallback) -> Option<&'static Outcome> {
    let stage = callback.stage();
    // The stages of receipts are told apart by what a setting may leave out; the reason decides then.
    outcome_at(stage, callback).or_else(|| match stage {
        Stage::Carrier => outcome_at(Stage::Handset, callback),
        Stage::Handset => outcome_at(Stage::Carrier, callback),
        Stage::Routing | Stage::Processing => None,
    })
}

/// The outcome of a stage whose wording is the nearest: some share the reason and differ in the failure.
fn outcome_at(stage: Stage, callback: &ReceivedCallback) -> Option<&'static Outcome> {
    let action = &callback.event_processed.action;
    let failure = action.failure.as_ref();
    let alike = || Outcome::of(stage).filter(|one| one.status_reason == action.status_reason);
    alike()
        .find(|one| has_reason(failure, &one.shape) && has_error(failure, &one.shape))
        .or_else(|| alike().find(|one| has_reason(failure, &one.shape)))
        .or_else(|| alike().next())
}

fn has_reason(failure: Option<&ReceivedFailure>, shape: &Shape) -> bool {
    match *shape {
        Shape::Failure { reason, .. } => {
            failure.and_then(|failure| failure.reason.as_deref()) == Some(reason)
        }
        _ => true,
    }
}

fn has_error(failure: Option<&ReceivedFailure>, shape: &Shape) -> bool {
    let Shape::Failure { error, .. } = *shape else {
        return true;
    };
    let said = failure.and_then(|failure| failure.errors.first());
    match (error, said.and_then(|first| first.error.as_deref())) {
        (Some(error), Some(said)) => is_worded(said, error),
        (error, said) => error == said,
    }
}

/// Whether a sentence is the one of the table, with any number in it.
fn is_worded(said: &str, table: &str) -> bool {
    match table.split_once("{mdn}") {
        Some((before, after)) => said.starts_with(before) && said.ends_with(after),
        None => said == table,
    }
}

/// Which recorded callbacks are wanted; those that meet each condition.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these outcomes, with `*` for any text; any, if there is none.
    pub outcomes: Vec<String>,
    /// One of these types of event; any, if there is none.
    pub event_types: Vec<String>,
    /// One of these events; any, if there is none.
    pub event_ids: Vec<String>,
    /// Only callbacks whose action failed.
    pub failed: bool,
}

impl Filter {
    /// Whether it lets that through.
    pub fn wants(&self, recorded: &Recorded) -> bool {
        let one_of = |wanted: &[String], value: &Option<String>| {
            wanted.is_empty() || value.as_ref().is_some_and(|value| wanted.contains(value))
        };
        one_of(&self.event_types, &recorded.event_type)
            && one_of(&self.event_ids, &recorded.event_id)
            && (recorded.failed || !self.failed)
            && (self.outcomes.is_empty()
                || recorded
                    .outcome
                    .is_some_and(|outcome| self.wants_outcome(outcome)))
    }

    /// Some outcomes have the same body, so whoever asks for either of them means both.
    fn wants_outcome(&self, outcome: &Outcome) -> bool {
        let alike = |other: &&Outcome| {
            other.stage == outcome.stage
                && other.status_reason == outcome.status_reason
                && other.shape == outcome.shape
        };
        OUTCOMES.iter().filter(alike).any(|other| {
            let mut globs = self.outcomes.iter();
            globs.any(|glob| matches(glob, other.name))
        })
    }
}

/// Reads what was recorded, in the order of the file. What the file is shows in what it begins with, not
/// in its name. A last line that was not written to its end is left out, and that is said on standard error.
///
/// # Errors
///
/// The file cannot be read or makes no sense: where, and after a line break how to mend it.
pub fn read(path: &Path) -> Result<Vec<Recorded>, String> {
    if is_database(path) {
        let kept = journal::bodies(path).map_err(|error| error.to_string())?;
        return match kept.is_empty() {
            true => Err(format!(
                "the journal {} holds no delivery\nlet a run write some with `--journal`",
                path.display()
            )),
            false => Ok(kept.into_iter().map(of_journal).collect()),
        };
    }
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| {
        format!(
            "cannot read `{name}`: {}\n`vibes-mock listen --record FILE` makes a recording; a HAR file will do, too",
            plain_words(&error)
        )
    })?;
    let Reading { list, warning } = parse(&name, &bytes)?;
    if let Some(warning) = warning {
        note(format_args!("warning: {warning}"));
    }
    Ok(list)
}

fn is_database(path: &Path) -> bool {
    let mut beginning = [0; SQLITE.len()];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut beginning))
        .is_ok_and(|()| beginning == SQLITE)
}

/// In a journal, what failed is the delivery.
fn of_journal(kept: journal::Kept) -> Recorded {
    Recorded {
        due: kept.due,
        body: kept.body,
        method: Method::Post,
        url: None,
        event_id: Some(kept.event_id),
        event_type: Some(kept.event_type),
        outcome: Outcome::named(&kept.outcome),
        failed: kept.failed,
    }
}

/// What a file holds.
#[derive(Debug)]
pub struct Reading {
    /// The requests, in the order of the file; at least one.
    pub list: Vec<Recorded>,
    /// What was left out, if anything was.
    pub warning: Option<String>,
}

/// Reads the bytes of a file of that name.
///
/// # Errors
///
/// As for [`read`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Reading, String> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    if bytes.trim_ascii().is_empty() {
        return Err(format!(
            "`{name}` is empty: no request was recorded\nsend some while `vibes-mock listen --record FILE` runs"
        ));
    }
    let reading = match har::is_har(bytes) {
        true => har::parse(name, bytes)?,
        false => recording::parse(name, bytes)?,
    };
    match (reading.list.is_empty(), reading.warning) {
        (false, warning) => Ok(Reading { warning, ..reading }),
        (true, Some(warning)) => Err(format!(
            "{warning}\nthere is nothing else in it; record again"
        )),
        (true, None) => Err(format!(
            "`{name}` holds no request that could be sent again\nonly POST and PUT are; in a HAR file, those with a body"
        )),
    }
}

/// Where and how JSON is broken, for people; `line` is the number of the line that was read, if it was one.
fn broken(name: &str, line: Option<usize>, error: &serde_json::Error, help: &str) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string();
    let message = message.strip_suffix(&place).unwrap_or(&message);
    let line = line.unwrap_or(error.line());
    format!("{name}:{line}:{}: {message}\n{help}", error.column())
}

/// The method, if requests of that method are sent again.
fn method(name: &str) -> Option<Method> {
    match name {
        "POST" => Some(Method::Post),
        "PUT" => Some(Method::Put),
        _ => None,
    }
}

/// Recorded callbacks, in the order in which they came. The first one is due at once.
pub struct Replay {
    start: DateTime<Utc>,
    list: Vec<Recorded>,
    taken: usize,
}

impl Replay {
    /// Puts what was recorded in due order; what came at the same time stays as it was.
    pub fn new(mut list: Vec<Recorded>, start: DateTime<Utc>) -> Replay {
        list.sort_by_key(|recorded| recorded.due);
        let first = list.first().map_or(0, |recorded| recorded.due);
        for recorded in &mut list {
            recorded.due -= first;
        }
        Replay {
            start,
            list,
            taken: 0,
        }
    }

    fn of(&self, callback: &Callback) -> Result<&Recorded, PlanError> {
        let at = usize::try_from(callback.journey).ok();
        at.and_then(|at| self.list.get(at)).ok_or(PlanError {
            journey: callback.journey,
            message: "there is no such callback".to_owned(),
        })
    }
}

impl Feed for Replay {
    fn next_due(&mut self) -> Result<Option<u64>, PlanError> {
        Ok(self.list.get(self.taken).map(|recorded| recorded.due))
    }

    fn peek(&self) -> Option<Callback> {
        let recorded = self.list.get(self.taken)?;
        let outcome = recorded.outcome.unwrap_or(&OTHER);
        Some(Callback::single(self.taken as u64, recorded.due, outcome))
    }

    fn take(&mut self) -> Option<Callback> {
        let callback = self.peek()?;
        self.taken += 1;
        Some(callback)
    }

    fn body(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        out.extend_from_slice(&self.of(callback)?.body);
        Ok(())
    }

    fn event(&mut self, callback: &Callback) -> Result<(String, String), PlanError> {
        let recorded = self.of(callback)?;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Ok((text(&recorded.event_id), text(&recorded.event_type)))
    }

    fn pending(&self) -> usize {
        self.list.len() - self.taken
    }

    fn journeys(&self) -> u64 {
        self.taken as u64
    }

    fn start(&self) -> DateTime<Utc> {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Settings;
    use crate::vibes::sample;

    #[test]
    fn each_outcome_is_known_by_its_body() {
        let wording = Settings::default().wording;
        for outcome in OUTCOMES {
            for &message_type in outcome.messages {
                let body = sample::body(outcome, message_type, &wording);
                let recorded = Recorded::new(0, body.get().as_bytes().to_vec());
                let filter = Filter {
                    outcomes: vec![outcome.name.to_owned()],
                    ..Filter::default()
                };
                assert!(filter.wants(&recorded), "{outcome}: {recorded:?}");
                assert_eq!(recorded.failed, outcome.status == Status::Failed);
            }
        }
    }
}
