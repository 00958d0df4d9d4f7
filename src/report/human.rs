//! The summary for people.

use std::fmt::Write;

use super::{Quantiles, Report};
use crate::expect::Expectation;

/// The summary as text of a few lines.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "  {label:<12} {value}");
    };
    line(
        "callbacks",
        format!(
            "{} of {} journey{}",
            count(report.callbacks),
            count(report.journeys),
            if report.journeys == 1 { "" } else { "s" }
        ),
    );
    line("accepted", count(report.accepted));
    let failed = match report.failed_by_fault {
        0 => count(report.failed),
        n => format!(
            "{}, {} of them spoilt by a fault",
            count(report.failed),
            count(n)
        ),
    };
    line("failed", failed);
    if report.unfinished > 0 {
        line("unfinished", count(report.unfinished));
    }
    if report.attempts > report.callbacks {
        line(
            "attempts",
            format!(
                "{}, {} callbacks retried",
                count(report.attempts),
                count(report.retried)
            ),
        );
    }
    if report.times_down > 0 {
        line("down", format!("{} times", count(report.times_down)));
    }
    line(
        "took",
        format!(
            "{}, {}/s",
            seconds(report.elapsed_s),
            decimals(report.per_second)
        ),
    );
    line("latency", quantiles(&report.latency_ms));
    if report.speed != "max" {
        line("lag", quantiles(&report.lag_ms));
    }
    if !report.responses.is_empty() {
        let responses: Vec<_> = report
            .responses
            .iter()
            .map(|(status, n)| format!("{status} ×{}", count(*n)))
            .collect();
        line("responses", responses.join(", "));
    }
    for (kind, n) in &report.errors {
        let example = report.error_examples.get(kind).map_or("", String::as_str);
        line("errors", format!("{kind} ×{} ({example})", count(*n)));
    }
    if !report.faults.is_empty() {
        let faults: Vec<_> = report
            .faults
            .iter()
            .map(|(kind, n)| format!("{kind} ×{}", count(*n)))
            .collect();
        line("faults", faults.join(", "));
    }
    for expectation in &report.expectations {
        line("expected", expected(expectation));
    }
    line("seed", format!("{} (start {})", report.seed, report.start));
    if report.interrupted {
        line("interrupted", "before everything was done".to_owned());
    }
    format!("{}\n{text}", report.scenario)
}

/// Numbers in a row: `1, 2`.
pub(super) fn numbers(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}

fn expected(expectation: &Expectation) -> String {
    let Expectation {
        name,
        expected,
        seen,
        met,
        journeys,
        ..
    } = expectation;
    let verdict = match met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "open",
    };
    let mut text = format!("{verdict}: {name} {expected}, seen {seen}");
    if !journeys.is_empty() && *met == Some(false) {
        let _ = write!(text, " (journeys {})", numbers(journeys));
    }
    text
}

fn quantiles(ms: &Quantiles) -> String {
    format!(
        "p50 {} ms, p90 {}, p99 {}, p99.9 {}, max {}",
        decimals(ms.p50),
        decimals(ms.p90),
        decimals(ms.p99),
        decimals(ms.p999),
        decimals(ms.max)
    )
}

/// A number with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

pub(super) fn decimals(number: f64) -> String {
    match number {
        n if n >= 100.0 => count(n.round() as u64),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", s * 1000.0),
        s if s < 120.0 => format!("{s:.1} s"),
        s => format!("{:.0} min {:.0} s", (s / 60.0).floor(), s % 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let grouped = [0, 999, 1000, 1_234_567].map(count);
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
    }
}
