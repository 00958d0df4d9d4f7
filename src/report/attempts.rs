//! A line for each attempt, for people who want to see more: `-v`.

use std::io;

use super::note;
use crate::delivery::{Attempt, Observer};
use crate::timeline::{Feed, Next};

/// Writes a line on standard error when an attempt has ended.
pub struct Attempts;

impl Observer for Attempts {
    fn attempt(&mut self, attempt: &Attempt<'_>, feed: &mut dyn Feed) -> io::Result<()> {
        let callback = &attempt.job.callback;
        let part = match callback.parts {
            0 => String::new(),
            parts => format!(" part {} of {parts}", callback.part),
        };
        let (event_id, _) = feed.event(callback).map_err(io::Error::other)?;
        let answer = match attempt.answer {
            Ok(answer) => answer.status.to_string(),
            Err(failure) => failure.to_string(),
        };
        let next = match attempt.next {
            Next::Done => "",
            Next::Retry(_) => ", to be retried",
            Next::GaveUp => ", given up",
        };
        note(format_args!(
            "{}{part} of {event_id}, attempt {}: {answer} in {:.1} ms{next}",
            callback.outcome,
            attempt.job.attempt,
            attempt.latency.as_secs_f64() * 1000.0,
        ));
        Ok(())
    }
}
