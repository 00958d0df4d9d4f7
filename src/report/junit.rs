//! A run as CI servers read it: JUnit's XML, as Jenkins knows it.

use std::time::Duration;

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::human::count;
use super::{OutcomeCount, Report};
use crate::expect::Expectation;

/// The run as a file of JUnit: a test case for each outcome and each expectation.
///
/// # Errors
///
/// The XML could not be written.
pub fn xml(report: &Report) -> Result<String, SerializeError> {
    let time = Duration::try_from_secs_f64(report.elapsed_s).unwrap_or_default();
    let mut file = quick_junit::Report::new("vibes-mock");
    file.set_time(time);
    let mut suite = TestSuite::new(&*report.scenario);
    suite.set_time(time);
    for (name, value) in properties(report) {
        suite.add_property((&*name, &*value));
    }
    if let Some(case) = end(report) {
        suite.add_test_case(case);
    }
    // What a fault has spoilt, the receiver does well to refuse.
    let spoilt = report.failed == report.failed_by_fault;
    for (name, counts) in &report.outcomes {
        suite.add_test_case(outcome(name, *counts, spoilt));
    }
    for expected in &report.expectations {
        suite.add_test_case(expectation(expected));
    }
    if !report.error_examples.is_empty() {
        let examples = report.error_examples.iter();
        let lines: Vec<_> = examples.map(|(kind, it)| format!("{kind}: {it}")).collect();
        suite.set_system_out(lines.join("\n"));
    }
    file.add_test_suite(suite);
    // Jenkins' schema has no count of skipped tests at the root. In a name the quotes would be escaped.
    let skipped = format!(" skipped=\"{}\"", file.skipped);
    Ok(file.to_string()?.replacen(&skipped, "", 1))
}

fn properties(report: &Report) -> Vec<(String, String)> {
    let mut all = vec![
        ("seed".to_owned(), report.seed.to_string()),
        ("start".to_owned(), report.start.clone()),
        ("speed".to_owned(), report.speed.clone()),
        ("destination".to_owned(), report.destination.clone()),
        ("attempts".to_owned(), report.attempts.to_string()),
    ];
    let counted =
        |what: &str, (kind, n): (&String, &u64)| (format!("{what}.{kind}"), n.to_string());
    all.extend(report.responses.iter().map(|it| counted("responses", it)));
    all.extend(report.errors.iter().map(|it| counted("errors", it)));
    let faults = report.faults.iter();
    all.extend(faults.map(|(kind, n)| (format!("faults.{kind}"), n.to_string())));
    all
}

fn case(class: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("vibes-mock.{class}"));
    case
}

/// A run that did not come to its end must not look as if all were well.
fn end(report: &Report) -> Option<TestCase> {
    let message = match &report.broken {
        Some(broken) => broken.clone(),
        None if report.interrupted => "interrupted before everything was done".to_owned(),
        None if report.unfinished > 0 => "ended before everything was done".to_owned(),
        None => return None,
    };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status
        .set_message(message)
        .set_type("unfinished")
        .set_description(format!("{} unfinished", count(report.unfinished)));
    Some(case("run", "comes to its end", status))
}

fn outcome(name: &str, counts: OutcomeCount, spoilt: bool) -> TestCase {
    let OutcomeCount { accepted, failed } = counts;
    if failed == 0 || spoilt {
        return case("callbacks", name, TestCaseStatus::success());
    }
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let message = format!(
        "{} of {} deliveries failed",
        count(failed),
        count(failed.saturating_add(accepted))
    );
    status
        .set_message(message)
        .set_type("failed deliveries")
        .set_description(format!(
            "{} accepted, {} failed",
            count(accepted),
            count(failed)
        ));
    case("callbacks", name, status)
}

fn expectation(expectation: &Expectation) -> TestCase {
    let (expected, seen) = (&expectation.expected, &expectation.seen);
    let message = format!("expected {expected}, seen {seen}");
    let mut status = match expectation.met {
        Some(true) => TestCaseStatus::success(),
        Some(false) => TestCaseStatus::non_success(NonSuccessKind::Failure),
        None => TestCaseStatus::skipped(),
    };
    if expectation.met != Some(true) {
        status.set_message(message).set_type("expectation");
    }
    if expectation.met == Some(false) && !expectation.journeys.is_empty() {
        let journeys = super::human::numbers(&expectation.journeys);
        status.set_description(format!("journeys: {journeys}"));
    }
    case("expectations", &expectation.name, status)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_test_cases() {
        let mut report = Report::empty(" skipped=\"0\" & <more>");
        let expectation = |name: &str, met: Option<bool>| Expectation {
            name: name.to_owned(),
            expected: "0".to_owned(),
            seen: "<3>".to_owned(),
            met,
            count: 3,
            journeys: vec![4, 7],
        };
        report.expectations = vec![
            expectation("failed", Some(false)),
            expectation("p99", Some(true)),
            expectation("open", None),
        ];
        let xml = xml(&report).unwrap();
        assert!(
            xml.contains(r#"tests="3" failures="1" errors="0""#),
            "{xml}"
        );
        assert!(
            xml.contains(r#"name=" skipped=&quot;0&quot; &amp; &lt;more&gt;""#),
            "{xml}"
        );
        assert!(
            xml.contains(r#"message="expected 0, seen &lt;3&gt;""#),
            "{xml}"
        );
        assert_eq!(xml.matches("<skipped message").count(), 1, "{xml}");
        assert!(xml.contains("journeys: 4, 7"), "{xml}");
        let good = r#"<testcase name="p99" classname="vibes-mock.expectations"/>"#;
        assert!(xml.contains(good), "{xml}");
    }
}
