//! What a run came to: one reader of the stream of attempts for each form of telling it.

pub mod attempts;
mod chart;
pub mod file;
pub mod html;
pub mod human;
pub mod junit;
pub mod lines;
pub mod merge;
pub mod progress;
pub mod story;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::delivery::{Attempt, Ending, Observer};
use crate::expect::{Expect, Expectation, Judge};
use crate::fault::FaultKind;
use crate::journal::Entry;
use crate::plan::Shard;
use crate::timeline::{Feed, Job, Next};
use crate::vibes::outcome::Outcome;

/// A line on standard error. If nobody reads that, nobody misses it.
pub fn note(line: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The summary of a run, as `--format json` prints it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
    /// Callbacks of which an attempt has ended.
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
    /// Of those that failed, how many a fault had spoilt, so that the receiver did well to refuse them.
    pub failed_by_fault: u64,
    /// Callbacks that a fault struck, by kind; those of `drop` were not sent.
    pub faults: BTreeMap<FaultKind, u64>,
    /// What the scenario expected, and what became of it.
    pub expectations: Vec<Expectation>,
    /// Which share of the run this is, `I/N`; `0/1` for the whole.
    pub shard: String,
    /// The run was stopped before everything was done.
    pub interrupted: bool,
    /// Why the run could not go on; absent if it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// Every duration that was measured; only in report files, so that they can be added up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distributions: Option<Distributions>,
}

/// Every duration that was measured: `[microseconds, how often]`, to three digits, shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Distributions {
    /// Of latencies.
    pub latency_us: Vec<(u64, u64)>,
    /// Of lags.
    pub lag_us: Vec<(u64, u64)>,
}

/// Deliveries of one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OutcomeCount {
    /// Answered with 2xx.
    pub accepted: u64,
    /// Refused or given up.
    pub failed: u64,
}

/// How a duration is distributed, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// Whether every callback that no fault had spoilt was accepted, and the run came to its end.
    pub fn all_accepted(&self) -> bool {
        self.failed == self.failed_by_fault
            && self.unfinished == 0
            && !self.interrupted
            && self.broken.is_none()
    }

    /// Whether no expectation was disappointed.
    pub fn expectations_met(&self) -> bool {
        let disappointed = |expectation: &Expectation| expectation.met == Some(false);
        !self.expectations.iter().any(disappointed)
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

    fn record_n(&mut self, (micros, count): (u64, u64)) {
        self.0.saturating_record_n(micros, count);
    }

    fn counts(&self) -> Vec<(u64, u64)> {
        let recorded = self.0.iter_recorded();
        recorded
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
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
    /// Which share of the run.
    pub shard: Shard,
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
    errors: BTreeMap<String, (u64, String)>,
    outcomes: BTreeMap<&'static str, OutcomeCount>,
    failed_by_fault: u64,
    faults: BTreeMap<FaultKind, u64>,
    judge: Judge,
}

/// One attempt, as far as it is counted.
struct Counted<'a> {
    outcome: &'static str,
    journey: u64,
    copy: bool,
    attempt: u32,
    fault: Option<FaultKind>,
    answer: Result<u16, (&'a str, &'a str)>,
    /// Whether the delivery was accepted, or given up; none if it goes on.
    accepted: Option<bool>,
    latency: Duration,
    lag: Duration,
}

impl Tally {
    /// Nothing has happened yet.
    pub fn new(expect: Expect) -> Tally {
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
            failed_by_fault: 0,
            faults: BTreeMap::new(),
            judge: Judge::new(expect),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what an earlier part of the run did.
    pub fn recall(&self, entry: &Entry) {
        let Some(outcome) = Outcome::named(&entry.outcome) else {
            return;
        };
        let fault = entry.fault.clone().map(serde_json::Value::String);
        self.lock().count(&Counted {
            outcome: outcome.name,
            journey: entry.journey,
            copy: entry.copy,
            attempt: entry.attempt,
            fault: fault.and_then(|name| serde_json::from_value(name).ok()),
            answer: match (&entry.status, &entry.error) {
                (Some(status), _) => Ok(*status),
                (None, Some((kind, detail))) => Err((kind, detail)),
                (None, None) => Err(("", "")),
            },
            accepted: match entry.state.as_str() {
                "accepted" => Some(true),
                "failed" => Some(false),
                _ => None,
            },
            latency: entry.latency,
            lag: entry.lag,
        });
    }

    /// The report of one of so many threads, once it has ended.
    pub fn report(&self, heading: Heading, ending: &Ending, threads: usize) -> Report {
        let counts = self.lock();
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
                .map(|(kind, (n, _))| (kind.clone(), *n))
                .collect(),
            error_examples: counts
                .errors
                .iter()
                .map(|(kind, (_, example))| (kind.clone(), example.clone()))
                .collect(),
            outcomes: counts
                .outcomes
                .iter()
                .map(|(name, n)| ((*name).to_owned(), *n))
                .collect(),
            failed_by_fault: counts.failed_by_fault,
            faults: counts.faults.clone(),
            expectations: counts.judge.verdicts(heading.shard.of > 1 || threads > 1),
            shard: format!("{}/{}", heading.shard.index, heading.shard.of),
            distributions: Some(Distributions {
                latency_us: counts.latency.counts(),
                lag_us: counts.lag.counts(),
            }),
            interrupted: ending.interrupted,
            broken: ending.broken.clone(),
        }
    }
}

impl Counts {
    fn count(&mut self, one: &Counted<'_>) {
        self.attempts += 1;
        match one.attempt {
            1 => self.callbacks += 1,
            2 => self.retried += 1,
            _ => {}
        }
        if one.attempt == 1 && !one.copy {
            self.judge.began(one.outcome, one.journey);
        }
        if let Some(fault) = one.fault {
            *self.faults.entry(fault).or_default() += 1;
        }
        let spoilt = one.fault.is_some_and(FaultKind::spoils);
        if !spoilt {
            let answer = one.answer.map_err(|(kind, _)| kind);
            self.judge.answered(answer, one.latency, one.journey);
        }
        self.latency.record(one.latency);
        self.lag.record(one.lag);
        match one.answer {
            Ok(status) => *self.responses.entry(status).or_default() += 1,
            Err((kind, detail)) => match self.errors.get_mut(kind) {
                Some((count, _)) => *count += 1,
                None => {
                    self.errors.insert(kind.to_owned(), (1, detail.to_owned()));
                }
            },
        }
        let outcome = self.outcomes.entry(one.outcome);
        match one.accepted {
            Some(true) => {
                self.accepted += 1;
                outcome.or_default().accepted += 1;
            }
            Some(false) => {
                self.failed += 1;
                self.failed_by_fault += u64::from(spoilt);
                outcome.or_default().failed += 1;
            }
            None => {}
        }
    }
}

impl Observer for Tally {
    fn attempt(&mut self, attempt: &Attempt<'_>, _: &mut dyn Feed) -> io::Result<()> {
        let callback = &attempt.job.callback;
        self.lock().count(&Counted {
            outcome: callback.outcome.name,
            journey: callback.journey,
            copy: callback.is_copy(),
            attempt: attempt.job.attempt,
            fault: attempt.fault,
            answer: match attempt.answer {
                Ok(answer) => Ok(answer.status),
                Err(failure) => Err((failure.kind.name(), &failure.detail)),
            },
            accepted: match attempt.next {
                Next::Done => Some(true),
                Next::GaveUp => Some(false),
                Next::Retry(_) => None,
            },
            latency: attempt.latency,
            lag: attempt.lag,
        });
        Ok(())
    }

    fn dropped(&mut self, _: &Job) {
        *self.lock().faults.entry(FaultKind::Drop).or_default() += 1;
    }
}

#[cfg(test)]
impl Report {
    /// Of a run in which nothing happened.
    pub(crate) fn empty(scenario: &str) -> Report {
        let heading = Heading {
            scenario: scenario.to_owned(),
            destination: "http://127.0.0.1:1/".to_owned(),
            seed: 1,
            start: "2026-01-01T00:00:00Z".to_owned(),
            speed: "max".to_owned(),
            shard: Shard::WHOLE,
        };
        Tally::new(Expect::default()).report(heading, &Ending::default(), 1)
    }
}
