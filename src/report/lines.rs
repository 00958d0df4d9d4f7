//! One line of JSON for each delivery, while the run goes on: `--format jsonl`.

use std::io::{self, Write};

use serde::Serialize;

use crate::delivery::{Attempt, Observer};
use crate::plan;
use crate::scenario::units::MILLISECOND;
use crate::timeline::{Feed, Next};

/// Writes a line when a delivery has ended.
pub struct Lines<W>(pub W);

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    after_ms: u64,
    journey: u64,
    event_type: &'a str,
    event_id: &'a str,
    outcome: &'static str,
    stage: &'static str,
    part: Option<u8>,
    parts: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'static str>,
    state: &'static str,
    attempts: u32,
    status: Option<u16>,
    error: Option<&'static str>,
    latency_ms: f64,
}

impl<W: Write + Send> Observer for Lines<W> {
    fn attempt(&mut self, attempt: &Attempt<'_>, feed: &mut dyn Feed) -> io::Result<()> {
        let state = match attempt.next {
            Next::Done => "accepted",
            Next::GaveUp => "failed",
            Next::Retry(_) => return Ok(()),
        };
        let callback = &attempt.job.callback;
        let (event_id, event_type) = feed.event(callback).map_err(io::Error::other)?;
        let about_part = callback.parts > 0;
        let line = Line {
            at: plan::instant(plan::at(feed.start(), callback.due)),
            after_ms: callback.due / MILLISECOND,
            journey: callback.journey,
            event_type: &event_type,
            event_id: &event_id,
            outcome: callback.outcome.name,
            stage: callback.outcome.stage.name(),
            part: about_part.then_some(callback.part),
            parts: about_part.then_some(callback.parts),
            fault: feed.fault(callback).map(|fault| fault.kind.name()),
            state,
            attempts: attempt.job.attempt,
            status: attempt.answer.as_ref().ok().map(|answer| answer.status),
            error: attempt
                .answer
                .as_ref()
                .err()
                .map(|failure| failure.kind.name()),
            latency_ms: attempt.latency.as_micros() as f64 / 1000.0,
        };
        serde_json::to_writer(&mut self.0, &line)?;
        self.0.write_all(b"\n")
    }
}
