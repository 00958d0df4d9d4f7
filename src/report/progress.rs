//! The line on a terminal that shows how a run stands.

use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::human::count;
use crate::delivery::{Attempt, Observer, Progress};
use crate::timeline::{Feed, Next};

/// Shows due, accepted, failed, retried, rate, pending and when the next one is due, on standard error.
pub struct ProgressLine {
    bar: ProgressBar,
    accepted: u64,
    failed: u64,
    retried: u64,
    attempts: u64,
}

impl ProgressLine {
    /// A line that is drawn now.
    pub fn new() -> ProgressLine {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        ProgressLine {
            bar,
            accepted: 0,
            failed: 0,
            retried: 0,
            attempts: 0,
        }
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        ProgressLine::new()
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for ProgressLine {
    fn attempt(&mut self, attempt: &Attempt<'_>, _: &mut dyn Feed) -> io::Result<()> {
        self.attempts += 1;
        match attempt.next {
            Next::Done => self.accepted += 1,
            Next::GaveUp => self.failed += 1,
            Next::Retry(_) => self.retried += u64::from(attempt.job.attempt == 1),
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        let elapsed = self.bar.elapsed().as_secs_f64().max(0.001);
        let next = match progress.next_due {
            Some(wait) if wait > Duration::ZERO => format!(", next in {:.1} s", wait.as_secs_f64()),
            _ => String::new(),
        };
        self.bar.set_message(format!(
            "{} accepted, {} failed, {} retried, {:.0}/s, {} under way, {} pending{next}",
            count(self.accepted),
            count(self.failed),
            count(self.retried),
            self.attempts as f64 / elapsed,
            progress.under_way,
            count(progress.pending as u64),
        ));
        self.bar.tick();
    }
}
