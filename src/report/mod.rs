//! What a run came to: one reader of the stream of attempts for each form of telling it.

pub mod attempts;
pub mod human;
pub mod lines;
pub mod progress;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::Serialize;

use crate::delivery::answer::{Answer, Failure};
use crate::delivery::{Attempt, Ending, Observer};
use crate::timeline::{Feed, Next};

/// A line on standard error. If nobody reads that, nobody misses it.
pub fn note(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The summary of a run, as `--format json` prints it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(title = "vibes-mock report", deny_unknown_fields)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Where the callbacks went.
    pub destination: String,
    /// Every random choice came from it.
    pub seed: u64,
    /// The run's time zero, RFC 3339.
    pub start: String,
    /// How fast the run's clock went: `1x`, `60x`, `max`.
    pub speed: String,
    /// Journeys that began.
    pub journeys: u64,
    /// Callbacks whose delivery began.
    pub callbacks: u64,
    /// Deliveries answered with 2xx.
    pub accepted: u64,
    /// Deliveries that were refused (4xx) or given up after the last retry.
    pub failed: u64,
    /// Deliveries that were begun and neither accepted nor given up, since the run ended early.
    pub unfinished: u64,
    /// Deliveries that took more than one attempt.
    pub retried: u64,
    /// HTTP requests in all.
    pub attempts: u64,
    /// How often the destination was found to be down and left alone for a while.
    pub times_down: u64,
    /// How long the run took, in seconds of real time.
    pub elapsed_s: f64,
    /// Attempts in a second of real time.
    pub per_second: f64,
    /// From when an attempt was due to its answer, in milliseconds of real time.
    pub latency_ms: Quantiles,
    /// From when an attempt was due to its start, in milliseconds of real time; zero with `--speed max`,
    /// where nothing is due at a real time.
    pub lag_ms: Quantiles,
    /// Answers by status code.
    pub responses: BTreeMap<String, u64>,
    /// Attempts without an answer, by kind.
    pub errors: BTreeMap<String, u64>,
    /// One example of each kind of error.
    pub error_examples: BTreeMap<String, String>,
    /// Deliveries by outcome.
    pub outcomes: BTreeMap<String, OutcomeCount>,
    /// What the scenario expected; empty, since this version knows no expectations yet.
    pub expectations: Vec<String>,
    /// The run was stopped before everything was done.
    pub interrupted: bool,
    /// Why the run could not go on; absent if it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// Deliveries of one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OutcomeCount {
    /// Answered with 2xx.
    pub accepted: u64,
    /// Refused or given up.
    pub failed: u64,
}

/// How a duration is distributed, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// Nine in ten are below.
    pub p90: f64,
    /// Ninety-nine in a hundred are below.
    pub p99: f64,
    /// Nine hundred and ninety-nine in a thousand are below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Report {
    /// Whether every callback was accepted and the run came to its end.
    pub fn all_accepted(&self) -> bool {
        self.failed == 0 && self.unfinished == 0 && !self.interrupted && self.broken.is_none()
    }
}

/// Durations in whole microseconds, kept to three digits.
struct Durations(Histogram<u64>);

impl Durations {
    fn new() -> Durations {
        let mut histogram = Histogram::new_with_max(60_000_000, 3)
            .unwrap_or_else(|_| unreachable!("a minute to three digits is a histogram"));
        histogram.auto(true);
        Durations(histogram)
    }

    fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    fn quantiles(&self) -> Quantiles {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile| ms(self.0.value_at_quantile(quantile));
        Quantiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.0.max()),
        }
    }
}

/// What a run is called in its report.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The scenario's name.
    pub scenario: String,
    /// Where the callbacks go.
    pub destination: String,
    /// The seed.
    pub seed: u64,
    /// The run's time zero, RFC 3339.
    pub start: String,
    /// How fast.
    pub speed: String,
}

/// Adds attempts up to a [`Report`].
#[derive(Clone)]
pub struct Tally(Arc<Mutex<Counts>>);

struct Counts {
    callbacks: u64,
    accepted: u64,
    failed: u64,
    retried: u64,
    attempts: u64,
    latency: Durations,
    lag: Durations,
    responses: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, (u64, String)>,
    outcomes: BTreeMap<&'static str, OutcomeCount>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally(Arc::new(Mutex::new(Counts {
            callbacks: 0,
            accepted: 0,
            failed: 0,
            retried: 0,
            attempts: 0,
            latency: Durations::new(),
            lag: Durations::new(),
            responses: BTreeMap::new(),
            errors: BTreeMap::new(),
            outcomes: BTreeMap::new(),
        })))
    }
}

impl Tally {
    /// The report, once the run has ended.
    pub fn report(&self, heading: Heading, ending: &Ending) -> Report {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed_s = ending.elapsed.as_secs_f64();
        Report {
            scenario: heading.scenario,
            destination: heading.destination,
            seed: heading.seed,
            start: heading.start,
            speed: heading.speed,
            journeys: ending.journeys,
            callbacks: counts.callbacks,
            accepted: counts.accepted,
            failed: counts.failed,
            unfinished: ending.unfinished,
            retried: counts.retried,
            attempts: counts.attempts,
            times_down: ending.times_down,
            elapsed_s,
            per_second: if elapsed_s > 0.0 {
                counts.attempts as f64 / elapsed_s
            } else {
                0.0
            },
            latency_ms: counts.latency.quantiles(),
            lag_ms: counts.lag.quantiles(),
            responses: counts
                .responses
                .iter()
                .map(|(status, n)| (status.to_string(), *n))
                .collect(),
            errors: counts
                .errors
                .iter()
                .map(|(kind, (n, _))| ((*kind).to_owned(), *n))
                .collect(),
            error_examples: counts
                .errors
                .iter()
                .map(|(kind, (_, example))| ((*kind).to_owned(), example.clone()))
                .collect(),
            outcomes: counts
                .outcomes
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
            expectations: Vec::new(),
            interrupted: ending.interrupted,
            broken: ending.broken.clone(),
        }
    }
}

impl Observer for Tally {
    fn attempt(&mut self, attempt: &Attempt<'_>, _: &mut dyn Feed) -> io::Result<()> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = &mut *counts;
        counts.attempts += 1;
        match attempt.job.attempt {
            1 => counts.callbacks += 1,
            2 => counts.retried += 1,
            _ => {}
        }
        counts.latency.record(attempt.latency);
        counts.lag.record(attempt.lag);
        match attempt.answer {
            Ok(Answer { status }) => *counts.responses.entry(*status).or_default() += 1,
            Err(Failure { kind, detail }) => {
                let (count, _) = counts
                    .errors
                    .entry(kind.name())
                    .or_insert_with(|| (0, detail.clone()));
                *count += 1;
            }
        }
        let outcome = counts.outcomes.entry(attempt.job.callback.outcome.name);
        match attempt.next {
            Next::Done => {
                counts.accepted += 1;
                outcome.or_default().accepted += 1;
            }
            Next::GaveUp => {
                counts.failed += 1;
                outcome.or_default().failed += 1;
            }
            Next::Retry(_) => {}
        }
        Ok(())
    }
}
