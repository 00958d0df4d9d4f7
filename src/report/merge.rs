//! Several reports of one run, added up exactly: what `merge` and a run of several threads do.

use std::collections::BTreeMap;

use super::{Distributions, Durations, Report};
use crate::expect;
use crate::plan::Shard;

impl Report {
    /// Adds another share of the same run. Durations are added up one by one, so that quantiles are those
    /// of the whole, not averages.
    pub fn add(&mut self, other: &Report) {
        self.journeys = self.journeys.saturating_add(other.journeys);
        self.callbacks = self.callbacks.saturating_add(other.callbacks);
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.failed = self.failed.saturating_add(other.failed);
        self.failed_by_fault = self.failed_by_fault.saturating_add(other.failed_by_fault);
        self.unfinished = self.unfinished.saturating_add(other.unfinished);
        self.retried = self.retried.saturating_add(other.retried);
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.times_down = self.times_down.saturating_add(other.times_down);
        self.elapsed_s = self.elapsed_s.max(other.elapsed_s);
        let per_second = self.attempts as f64 / self.elapsed_s;
        self.per_second = if per_second.is_finite() {
            per_second
        } else {
            0.0
        };
        add_counts(&mut self.responses, &other.responses);
        add_counts(&mut self.errors, &other.errors);
        add_counts(&mut self.faults, &other.faults);
        for (kind, example) in &other.error_examples {
            let examples = self.error_examples.entry(kind.clone());
            examples.or_insert_with(|| example.clone());
        }
        for (outcome, count) in &other.outcomes {
            let sum = self.outcomes.entry(outcome.clone()).or_default();
            sum.accepted = sum.accepted.saturating_add(count.accepted);
            sum.failed = sum.failed.saturating_add(count.failed);
        }
        for (sum, one) in self.expectations.iter_mut().zip(&other.expectations) {
            expect::merge(sum, one);
        }
        self.interrupted |= other.interrupted;
        if self.broken.is_none() {
            self.broken.clone_from(&other.broken);
        }
        let empty = Distributions::default();
        let mine = self.distributions.take().unwrap_or_default();
        let theirs = other.distributions.as_ref().unwrap_or(&empty);
        let latency = sum(&mine.latency_us, &theirs.latency_us);
        let lag = sum(&mine.lag_us, &theirs.lag_us);
        self.latency_ms = latency.quantiles();
        self.lag_ms = lag.quantiles();
        self.distributions = Some(Distributions {
            latency_us: latency.counts(),
            lag_us: lag.counts(),
        });
    }

    /// Judges what only the whole run can tell.
    pub fn judge(&mut self) {
        self.expectations.iter_mut().for_each(expect::judge);
    }
}

fn add_counts<K: Ord + Clone>(sum: &mut BTreeMap<K, u64>, other: &BTreeMap<K, u64>) {
    for (key, count) in other {
        let sum = sum.entry(key.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

fn sum(mine: &[(u64, u64)], theirs: &[(u64, u64)]) -> Durations {
    let mut durations = Durations::new();
    for counted in mine.iter().chain(theirs) {
        durations.record_n(*counted);
    }
    durations
}

/// Adds up the reports of a run's shares.
///
/// # Errors
///
/// They are of different runs, one is there twice, or one lacks what it takes to add it up; with how to
/// mend it after a line break.
pub fn merge(reports: &[Report]) -> Result<Report, String> {
    let (first, rest) = reports
        .split_first()
        .ok_or("there is no report to add up\nname at least one")?;
    let shares = shares_of(first)?;
    let mut seen = Vec::new();
    for report in reports {
        if report.scenario != first.scenario || report.seed != first.seed {
            return Err(format!(
                "the reports are of different runs: `{}` with seed {} and `{}` with seed {}\n\
                 give every share the same scenario and `--seed`",
                first.scenario, first.seed, report.scenario, report.seed
            ));
        }
        if report.start != first.start {
            return Err(format!(
                "the reports are of different runs: one starts at {}, one at {}\n\
                 give every share the same `--start`",
                first.start, report.start
            ));
        }
        if !same_expectations(report, first) {
            return Err(
                "the reports do not expect the same, so they are of different runs\n\
                 give every share the same scenario"
                    .to_owned(),
            );
        }
        if report.distributions.is_none() {
            return Err(
                "a report has no `distributions`, so its quantiles cannot be added up\n\
                 take the files that `--report FILE.json` writes, not what `--format json` prints"
                    .to_owned(),
            );
        }
        if shares_of(report)? != shares {
            return Err(format!(
                "the shares {} and {} are of different sizes\n\
                 give every share the same N of `--shard I/N`",
                first.shard, report.shard
            ));
        }
        if seen.contains(&&report.shard) {
            return Err(format!(
                "the share {} is there twice\nname each report once",
                report.shard
            ));
        }
        seen.push(&report.shard);
    }
    let mut whole = first.clone();
    for report in rest {
        whole.add(report);
    }
    if reports.len() as u64 == shares {
        whole.shard = "0/1".to_owned();
        whole.judge();
    } else {
        whole.shard = format!("{} of {shares} shares", reports.len());
    }
    Ok(whole)
}

fn same_expectations(one: &Report, other: &Report) -> bool {
    let of = |report: &Report| -> Vec<(String, String)> {
        let list = report.expectations.iter();
        list.map(|one| (one.name.clone(), one.expected.clone()))
            .collect()
    };
    of(one) == of(other)
}

/// Of how many shares a report is one.
fn shares_of(report: &Report) -> Result<u64, String> {
    match report.shard.parse::<Shard>() {
        // Written in one way only, so that no share hides behind another spelling.
        Ok(shard) if report.shard == format!("{}/{}", shard.index, shard.of) => Ok(shard.of),
        _ => Err(format!(
            "a report is of no single share but of `{}`\nadd up all the shares at once",
            report.shard
        )),
    }
}
