//! The rules for messages in parts, for every combination of what can happen to up to six of them.
//!
//! The rule is stated here again, apart from the program: each failed part calls back; success calls back
//! once, for the highest-numbered part that succeeded, or (`last_part`) for the message's last part alone;
//! what the carrier refused has no handset receipt.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use outside::{plan_json, run_with_input};

/// The longest single text of `x` in so many parts.
fn text_of(parts: usize) -> String {
    "x".repeat(if parts == 1 { 160 } else { 153 * parts })
}

/// What a part comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Refused,
    Undelivered,
    Delivered,
}

/// Every combination of fates for so many parts.
fn combinations(fates: &[Fate], parts: usize) -> Vec<Vec<Fate>> {
    (0..parts).fold(vec![Vec::new()], |all, _| {
        all.iter()
            .flat_map(|start| {
                fates.iter().map(|fate| {
                    let mut longer = start.clone();
                    longer.push(*fate);
                    longer
                })
            })
            .collect()
    })
}

/// The rule: which parts call back with what at a stage, of those that are in play.
fn rule(
    parts: usize,
    in_play: &[usize],
    failed: impl Fn(usize) -> bool,
    last_part: bool,
) -> BTreeSet<(usize, bool)> {
    let mut calls: BTreeSet<_> = in_play
        .iter()
        .filter(|part| failed(**part))
        .map(|part| (*part, false))
        .collect();
    let succeeded = in_play.iter().filter(|part| !failed(**part)).max();
    match succeeded {
        Some(part) if !last_part || *part == parts => {
            calls.insert((*part, true));
        }
        _ => {}
    }
    calls
}

fn check(cases: &[Vec<Fate>], last_part: bool) {
    let mut scenario = String::new();
    if last_part {
        scenario.push_str("multipart_success: last_part\n");
    }
    scenario.push_str("journeys:\n");
    let mut events = String::from("events:\n");
    for (number, fates) in cases.iter().enumerate() {
        let parts = |fate: Fate, outcome: &str| {
            let entries: Vec<_> = (1..=fates.len())
                .filter(|part| fates[part - 1] == fate)
                .map(|part| format!("{part}: {outcome}"))
                .collect();
            format!("{{parts: {{{}}}}}", entries.join(", "))
        };
        let _ = writeln!(scenario, "  j{number}:");
        let _ = writeln!(
            scenario,
            "    message: {{type: sms, text: {}}}",
            text_of(fates.len())
        );
        let _ = writeln!(
            scenario,
            "    carrier: {}",
            parts(Fate::Refused, "rejected")
        );
        if fates.contains(&Fate::Undelivered) {
            let _ = writeln!(
                scenario,
                "    handset: {}",
                parts(Fate::Undelivered, "undeliverable")
            );
        }
        let _ = writeln!(events, "  - {{event_type: a, journey: j{number}}}");
    }
    let mut seen: BTreeMap<(u64, String), BTreeSet<(usize, bool)>> = BTreeMap::new();
    let mut count = 0;
    for line in plan_json(&(scenario + &events), &[]) {
        let stage = line["stage"].as_str().unwrap().to_owned();
        let journey = line["journey"].as_u64().unwrap();
        if let Some(part) = line["part"].as_u64() {
            let status = &line["body"]["event_processed"]["action"]["status"];
            let fresh = seen
                .entry((journey, stage))
                .or_default()
                .insert((part as usize, status == "success"));
            assert!(fresh, "a part called back twice: {line}");
            assert_eq!(line["parts"], cases[journey as usize].len());
            count += 1;
        }
    }
    assert!(count > 0);
    for (number, fates) in cases.iter().enumerate() {
        let parts = fates.len();
        let all: Vec<_> = (1..=parts).collect();
        let taken: Vec<_> = (1..=parts)
            .filter(|part| fates[part - 1] != Fate::Refused)
            .collect();
        let stages = [
            (
                "carrier",
                rule(
                    parts,
                    &all,
                    |part| fates[part - 1] == Fate::Refused,
                    last_part,
                ),
            ),
            (
                "handset",
                rule(
                    parts,
                    &taken,
                    |part| fates[part - 1] == Fate::Undelivered,
                    last_part,
                ),
            ),
        ];
        for (stage, expected) in stages {
            let got = seen
                .remove(&(number as u64, stage.to_owned()))
                .unwrap_or_default();
            assert_eq!(got, expected, "{stage} of {fates:?}, last_part {last_part}");
        }
    }
}

#[test]
fn every_combination_at_the_carrier() {
    let cases: Vec<_> = (1..=6)
        .flat_map(|parts| combinations(&[Fate::Refused, Fate::Delivered], parts))
        .collect();
    check(&cases, false);
    check(&cases, true);
}

#[test]
fn every_combination_at_the_handset() {
    let cases: Vec<_> = (1..=6)
        .flat_map(|parts| combinations(&[Fate::Undelivered, Fate::Delivered], parts))
        .collect();
    check(&cases, false);
    check(&cases, true);
}

#[test]
fn every_combination_of_both() {
    let fates = [Fate::Refused, Fate::Undelivered, Fate::Delivered];
    let cases: Vec<_> = (1..=4)
        .flat_map(|parts| combinations(&fates, parts))
        .collect();
    check(&cases, false);
    check(&cases, true);
}

#[test]
fn statuses_on_the_way_come_in_order_before_the_final_one_of_their_part() {
    let scenario = format!(
        "
journeys:
  a:
    message: {{text: {}}}
    carrier: {{before: [queued], parts: {{1: expired}}}}
    handset: {{before: [enroute, queued_on_carrier], parts: {{2: deleted}}, after: 0s..3s}}
events: [{{event_type: a, count: 200, journey: a}}]",
        text_of(3)
    );
    let mut order: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for line in plan_json(&scenario, &[]) {
        if let Some(part) = line["part"].as_u64() {
            let key = (line["journey"].as_u64().unwrap(), part);
            order
                .entry(key)
                .or_default()
                .push(line["outcome"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(order.len(), 600);
    for ((_, part), outcomes) in order {
        let expected: &[&str] = match part {
            1 => &["carrier.queued", "carrier.expired"],
            2 => &[
                "handset.enroute",
                "handset.queued_on_carrier",
                "handset.deleted",
            ],
            _ => &[
                "carrier.queued",
                "carrier.sent",
                "handset.enroute",
                "handset.queued_on_carrier",
                "handset.delivered",
            ],
        };
        assert_eq!(outcomes, expected);
    }
}

/// The outcomes of one journey, in due order.
fn outcomes(journey: &str) -> Vec<String> {
    let scenario = format!("journeys:\n  a: {journey}\nevents: [{{event_type: a, journey: a}}]");
    let lines = plan_json(&scenario, &[]);
    lines
        .iter()
        .map(|line| line["outcome"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_journey_ends_where_the_platform_ends_it() {
    assert_eq!(
        outcomes("{message: {type: mms}}"),
        ["routing.accepted", "processing.queued"]
    );
    assert_eq!(
        outcomes("{routing: person_not_found}"),
        ["routing.person_not_found"]
    );
    assert_eq!(
        outcomes("{processing: no_incentive_codes}"),
        ["routing.accepted", "processing.no_incentive_codes"]
    );
    assert_eq!(
        outcomes("{carrier: unroutable}"),
        [
            "routing.accepted",
            "processing.queued",
            "carrier.unroutable"
        ]
    );
    assert_eq!(
        outcomes("{carrier: queued, handset: enroute}"),
        [
            "routing.accepted",
            "processing.queued",
            "carrier.queued",
            "handset.enroute"
        ]
    );
}

/// Journeys that the platform could not produce, with words of the rule that each breaks.
const IMPOSSIBLE: [(&str, &str); 9] = [
    (
        "{routing: no_route_rules, processing: queued",
        "nothing comes of processing",
    ),
    (
        "{routing: no_route_rules, handset: delivered",
        "nothing comes of handset",
    ),
    (
        "{processing: unexpected_error, carrier: sent",
        "nothing comes of carrier",
    ),
    (
        "{message: {type: mms}, carrier: sent",
        "receipts exist for SMS only",
    ),
    (
        "{message: {type: mms}, handset: delivered",
        "receipts exist for SMS only",
    ),
    (
        "{carrier: rejected, handset: delivered",
        "the carrier refused it",
    ),
    (
        "{message: {type: sms}, processing: media_missing",
        "cannot happen to an SMS",
    ),
    (
        "{message: {type: mms}, routing: sms_unsupported",
        "cannot happen to an MMS",
    ),
    ("{handset: {before: [delivered]}", "is final"),
];

#[test]
fn what_the_platform_could_not_produce_is_refused_unless_it_is_allowed() {
    for (journey, rule) in IMPOSSIBLE {
        let scenario = |end: &str| {
            format!("journeys:\n  a: {journey}{end}}}\nevents: [{{event_type: a, journey: a}}]")
        };
        let words = run_with_input(&["plan", "-"], &scenario(""))
            .expect_code(2)
            .err;
        assert!(words.contains(rule), "{journey}: {words}");
        assert!(words.contains("impossible: allowed"), "{journey}: {words}");
        let args = ["plan", "-", "--format", "jsonl"];
        let allowed = run_with_input(&args, &scenario(", impossible: allowed")).expect_code(0);
        assert!(!allowed.out.is_empty());
    }
    let nonsense = outcomes("{carrier: rejected, handset: delivered, impossible: allowed}");
    assert_eq!(
        nonsense.last().map(String::as_str),
        Some("handset.delivered")
    );
}

#[test]
fn a_part_has_its_own_delay_and_error_code() {
    let scenario = format!(
        "
journeys:
  a:
    message: {{text: {}}}
    routing: {{accepted: {{after: 0s}}}}
    processing: {{queued: {{after: 0s}}}}
    carrier:
      default: {{rejected: {{error_code: 7, after: 1s}}}}
      parts: {{2: {{expired: {{error_code: 13, after: 5s}}}}, 3: unroutable}}
      after: 2s
events: [{{event_type: a, journey: a}}]",
        text_of(3)
    );
    let receipts: Vec<_> = plan_json(&scenario, &[])
        .iter()
        .filter(|line| line["stage"] == "carrier")
        .map(|line| {
            let code =
                &line["body"]["event_processed"]["action"]["failure"]["errors"][0]["error_code"];
            (
                line["part"].as_u64().unwrap(),
                line["after_ms"].as_u64().unwrap(),
                code.as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(receipts, [(1, 1000, 7), (3, 2000, 23), (2, 5000, 13)]);
}

#[test]
fn what_stays_unfinished_calls_back_once_for_the_last_part_and_ties_keep_their_order() {
    let scenario = format!(
        "
journeys:
  a:
    message: {{text: {}}}
    carrier: {{after: 0s}}
    handset: {{before: [enroute, pending, submitted], default: queued_on_carrier, after: 0s}}
events: [{{event_type: a, journey: a}}]",
        text_of(3)
    );
    let seen: Vec<_> = plan_json(&scenario, &[])
        .iter()
        .filter(|line| line["stage"] == "handset")
        .map(|line| {
            (
                line["part"].as_u64().unwrap(),
                line["outcome"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    let expected = ["enroute", "pending", "submitted", "queued_on_carrier"];
    assert_eq!(seen, expected.map(|short| (3, format!("handset.{short}"))));
}
