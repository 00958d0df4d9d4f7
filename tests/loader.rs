//! Any text as a scenario file: it is refused with findings that can be shown, or it can be planned.
//!
//! The same inputs as the fuzz targets get, on any toolchain: pieces of scenario files put together at
//! random, sound files with something broken in them, and noise.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

use std::sync::Arc;

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use vibes_mock::Scenario;
use vibes_mock::plan::{Parameters, Plan, Shard};
use vibes_mock::scenario::Error;
use vibes_mock::scenario::source::READY_MADE;

/// So many callbacks of each plan are looked at.
const LOOKED_AT: usize = 300;

fn load(text: &str) -> Result<(), TestCaseError> {
    match Scenario::parse("any.yaml", text) {
        Err(Error::Invalid(findings)) => {
            prop_assert!(findings.errors() > 0);
            for colour in [true, false] {
                prop_assert!(findings.render(colour).contains("any.yaml"));
            }
            for finding in findings.list() {
                let (line, column) = findings.place(finding);
                prop_assert!(line >= 1 && column >= 1);
                prop_assert!(line <= text.lines().count() + 1);
            }
        }
        Err(Error::Unreadable(message)) => prop_assert!(!message.is_empty()),
        // All at once they would all be computed before the first.
        Ok(scenario) if scenario.journey_count() > 10_000 => {}
        Ok(scenario) => {
            let parameters = Parameters {
                seed: 1,
                start: DateTime::<Utc>::UNIX_EPOCH,
                shard: Shard::WHOLE,
            };
            let mut plan = Plan::new(Arc::new(scenario), parameters);
            let mut last = 0;
            for _ in 0..LOOKED_AT {
                let Some(Ok(callback)) = plan.next() else {
                    break;
                };
                prop_assert!(callback.due >= last);
                last = callback.due;
                let mut line = Vec::new();
                if plan.line(&callback, &mut line).is_ok() {
                    let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
                    prop_assert_eq!(&line["body"]["callback_type"], "event_processed");
                }
            }
        }
    }
    Ok(())
}

/// Words and marks that scenario files are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "events:\n",
            "journeys:\n",
            "  - event_type: a\n",
            "    count: 3\n",
            "    journey: {j: 1}\n",
            "  j:\n",
            "    message: {type: sms, text: \"{{ event_data.a }}\"}\n",
            "    carrier: rejected\n",
            "    handset: {parts: {2: expired}, before: [enroute], after: 1s..2s}\n",
            "    routing: accepted\n",
            "    event_data: {a: 1.10, mdn: \"+15551230100\"}\n",
            "    debug_data: {b: \"{{ 3 | fake_digits }}\"}\n",
            "    arrivals: {poisson: 5/s}\n",
            "    arrivals: {cron: \"0 0 0 30 2 *\"}\n",
            "seed: 7\n",
            "routes: []\n",
            "  - when: {event_type: a*}\n",
            "    journey: j\n",
            "dlr_links: both\n",
            "statuses: {carrier.sent: failed}\n",
            "faults:\n",
            "  - {fault: drop, rate: 2%, during: 1s..2s}\n",
            "  - {fault: duplicate, first: 1, after: 0s..1s, when: {outcome: carrier.*}}\n",
            "  - {fault: delay, by: 1s..3s, when: {event_type: a*, journey: j}}\n",
            "  - fault: reorder\n",
            "    within: 10s\n",
            "  - {fault: slow_body, over: 5s}\n",
            "expect:\n",
            "  every: {status: 2xx, within: 2s}\n",
            "  callbacks: {carrier.*: \"> 0\", handset.delivered: 9..10}\n",
            "&a ",
            "*a",
            "<<: *a\n",
            "- ",
            "? ",
            ": ",
            "{",
            "}",
            "[",
            "]",
            "!!str ",
            "!x ",
            "|\n",
            ">-\n",
            "---\n",
            "...\n",
            "\t",
            "\"",
            "'",
            "#",
            "%",
            "@",
            "0x1F",
            "1e999",
            ".nan",
            "~",
            "\u{feff}",
            "\u{0}",
            "é",
            "𝄞",
        ])
        .prop_map(str::to_owned),
        "[ \\n:a-z0-9{}\\[\\],\"'&*!|>%@#-]{0,12}",
        "\\PC{0,6}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn pieces_put_together(pieces in prop::collection::vec(piece(), 0..24)) {
        load(&pieces.concat())?;
    }

    #[test]
    fn sound_files_with_something_broken_in_them(
        which in 0..READY_MADE.len(), at in 0.0..1.0_f64, cut in 0..40_usize, put in piece()
    ) {
        let text = READY_MADE[which].1;
        let from = text.floor_char_boundary((text.len() as f64 * at) as usize);
        let to = text.ceil_char_boundary((from + cut).min(text.len()));
        load(&format!("{}{put}{}", &text[..from], &text[to..]))?;
    }
}

#[test]
fn depth_and_aliases_cannot_exhaust_anything() {
    let deep = "[".repeat(100_000);
    let flow = format!("events: {}{}", "[".repeat(60), "]".repeat(60));
    let block: String = (0..3000)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..30 {
        let before = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    bomb.push_str("events: [{event_type: a, event_data: {external_person_id: x, bomb: *a29}}]\n");
    let many_keys: String = (0..300_000).map(|key| format!("k{key}: 1\n")).collect();
    for text in [
        deep,
        flow,
        block,
        bomb,
        many_keys,
        "x: &x [*x]\n".to_owned(),
        "events: &e [*e]\n".to_owned(),
    ] {
        load(&text).unwrap();
        assert!(Scenario::parse("any.yaml", &text).is_err());
    }
}
