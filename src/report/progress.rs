//! The lines on a terminal that show how a run stands while it goes on.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Durations;
use super::human::count;
use crate::delivery::{Attempt, Observer, Progress};
use crate::timeline::{Feed, Next};

/// The rate is that of this last time, and percentiles are of what was answered in it.
const WINDOW: Duration = Duration::from_secs(1);

/// Shows accepted, failed, retried, rate, latency, answers, pending and when the next one is due, on
/// standard error.
pub struct ProgressLine {
    bar: ProgressBar,
    accepted: u64,
    failed: u64,
    retried: u64,
    answers: BTreeMap<String, u64>,
    window: Window,
    /// What the last whole window came to.
    last: String,
    /// How each thread of the run stands.
    threads: Vec<Option<Progress>>,
}

/// What happened since a time.
struct Window {
    since: Instant,
    attempts: u64,
    latency: Durations,
}

impl Window {
    fn new() -> Window {
        Window {
            since: Instant::now(),
            attempts: 0,
            latency: Durations::new(),
        }
    }

    fn summary(&self) -> String {
        let quantiles = self.latency.quantiles();
        format!(
            "{:.0}/s, latency p50 {:.2} ms, p90 {:.2}, p99 {:.2}, max {:.2}",
            self.attempts as f64 / self.since.elapsed().as_secs_f64(),
            quantiles.p50,
            quantiles.p90,
            quantiles.p99,
            quantiles.max,
        )
    }
}

impl ProgressLine {
    /// Lines that are drawn now.
    pub fn new() -> ProgressLine {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        ProgressLine {
            bar,
            accepted: 0,
            failed: 0,
            retried: 0,
            answers: BTreeMap::new(),
            window: Window::new(),
            last: "starting".to_owned(),
            threads: Vec::new(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Progress> {
        self.threads.iter().flatten()
    }

    fn message(&self) -> String {
        let next = match self.all().filter_map(|thread| thread.next_due).min() {
            Some(wait) if wait > Duration::ZERO => format!(", next in {:.1} s", wait.as_secs_f64()),
            _ => String::new(),
        };
        let pending: usize = self.all().map(|thread| thread.pending).sum();
        let under_way: usize = self.all().map(|thread| thread.under_way).sum();
        let answers = self.answers.iter();
        let answers: Vec<_> = answers
            .map(|(what, n)| format!("{what} ×{}", count(*n)))
            .collect();
        format!(
            "{} accepted, {} failed, {} retried; {under_way} under way, {} pending{next}\n  {}\n  {}",
            count(self.accepted),
            count(self.failed),
            count(self.retried),
            count(pending as u64),
            self.last,
            answers.join(", "),
        )
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
        self.window.attempts += 1;
        self.window.latency.record(attempt.latency);
        let what = match attempt.answer {
            Ok(answer) => answer.status.to_string(),
            Err(failure) => failure.kind.name().to_owned(),
        };
        *self.answers.entry(what).or_default() += 1;
        match attempt.next {
            Next::Done => self.accepted += 1,
            Next::GaveUp => self.failed += 1,
            Next::Retry(_) => self.retried += u64::from(attempt.job.attempt == 1),
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        if self.threads.len() <= progress.thread {
            self.threads.resize(progress.thread + 1, None);
        }
        self.threads[progress.thread] = Some(*progress);
        if self.window.since.elapsed() >= WINDOW {
            self.last = self.window.summary();
            self.window = Window::new();
        }
        self.bar.set_message(self.message());
        self.bar.tick();
    }
}
