//! The same file, seed, start and version give the same bytes: on every machine, in every time zone and
//! locale, whole or in shards.
//!
//! `tests/golden/` holds plans as they were; a dependency's update that changes the bytes shows here.
//! `UPDATE_GOLDEN=1 cargo test --test determinism` makes them anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeSet;
use std::path::PathBuf;

use outside::{finish, plan, program, run};

/// A bit of everything that is drawn or computed.
const MIXED: &str = r#"
scenario: A bit of everything
company_key: acme-1
journeys:
  fine:
    message:
      type: sms
      text: "Hi {{ fake.first_name }}, {{ 'now' | date: '%A %-d %B %Y %H:%M:%S' }}: {{ 300 | fake_alphanumeric }}"
    handset: {before: [enroute], after: {median: 3s, p99: 60s}}
  lost:
    message: {type: sms, text: "{{ 'a,b,c' | split: ',' | fake_choice }} {{ 10 | divided_by: 4.0 }}"}
    carrier: {default: {expired: {error_code: 13, after: 1s..90s}}}
  picture:
    message: {type: mms, event_triggered_message_id: 276}
events:
  - event_type: poisson
    count: 6
    arrivals: {poisson: 2/s}
    event_data:
      name: "{{ fake.name }}"
      email: "{{ fake.email }}"
      street: "{{ fake.street_address }}, {{ fake.city }}, {{ fake.state_abbr }} {{ fake.zip_code }}"
      external_person_id: "{{ person.external_person_id }}"
      deep: {n: 1.10, list: ["{{ 4 | fake_digits }}", "{{ journey.name }} {{ journey.number }}"]}
    debug_data: {sent: "{{ 'now' | date: '%FT%TZ' }}", of: "{{ event_type }}/{{ event_id }}"}
    journey: {fine: 2, lost: 1.5, picture: 0.5}
  - event_type: "ramp-{{ 3 | fake_digits }}"
    event_id: "evt-{{ journey.number }}"
    count: 4
    arrivals: {rate: 1/s, to: 10/s, over: 3s}
    event_data: {mdn: "{{ person.mdn }}"}
    journey: lost
  - {event_type: cron, count: 3, arrivals: {cron: "*/20 * * * * MON-FRI"}}
  - {event_type: steady, count: 3, arrivals: {rate: 7/m}}
"#;

fn golden(name: &str, scenario: &str) {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "tests",
        "golden",
        &format!("{name}.jsonl"),
    ]
    .iter()
    .collect();
    let lines = match scenario {
        "" => {
            run(&[
                "plan",
                name,
                "--format",
                "jsonl",
                "--seed",
                "7",
                "--start",
                "2026-01-01T00:00:00Z",
            ])
            .expect_code(0)
            .out
        }
        text => plan(text, &["--seed", "7"]).join("\n") + "\n",
    };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &lines).unwrap();
    }
    // A checkout on Windows may have changed the line ends.
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    for (at, (got, wanted)) in lines.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, wanted, "line {} of {}", at + 1, path.display());
    }
    assert_eq!(lines.len(), expected.len(), "{}", path.display());
}

#[test]
fn plans_are_as_they_were() {
    golden("mixed", MIXED);
    for ready_made in [
        "every-callback",
        "happy-path",
        "happy-path-multipart",
        "handset-on-the-way",
        "impossible",
    ] {
        golden(ready_made, "");
    }
}

#[test]
fn time_zone_locale_and_folder_do_not_matter() {
    let arguments = [
        "plan",
        "-",
        "--format",
        "jsonl",
        "--seed",
        "7",
        "--start",
        "2026-01-01T00:00:00Z",
    ];
    let plain = finish(program().args(arguments), MIXED).expect_code(0).out;
    for (zone, locale) in [
        ("Asia/Kathmandu", "de_DE.UTF-8"),
        ("America/Los_Angeles", "tr_TR"),
        ("nonsense", "C"),
    ] {
        let mut command = program();
        command
            .args(arguments)
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .env("LANG", locale);
        command.current_dir(std::env::temp_dir());
        let other = finish(&mut command, MIXED).out;
        assert_eq!(plain, other, "{zone} {locale}");
    }
    // The same instant, written in another zone.
    let elsewhere = plan(
        MIXED,
        &["--seed", "7", "--start", "2026-01-01T05:45:00+05:45"],
    );
    assert_eq!(elsewhere.join("\n") + "\n", plain);
}

/// When a line's callback is due, its journey and its outcome: what lines are ordered by, and told apart.
fn key(line: &str) -> (u64, u64) {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    (
        value["after_ms"].as_u64().unwrap(),
        value["journey"].as_u64().unwrap(),
    )
}

#[test]
fn plans_are_in_due_order() {
    for scenario in [
        MIXED.to_owned(),
        std::fs::read_to_string(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/scenarios/stormy-day.yaml"
        ))
        .unwrap(),
    ] {
        let times: Vec<_> = plan(&scenario, &[])
            .iter()
            .map(|line| key(line).0)
            .collect();
        assert!(times.len() > 20);
        assert!(times.is_sorted());
    }
}

#[test]
fn the_shards_together_are_the_whole() {
    let scenario = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/scenarios/ordinary-day.yaml"
    ))
    .unwrap();
    let whole = plan(&scenario, &[]);
    let shards: Vec<Vec<String>> = ["0/3", "1/3", "2/3"]
        .iter()
        .map(|shard| plan(&scenario, &["--shard", shard]))
        .collect();
    assert!(shards.iter().all(|shard| shard.len() > 100));
    assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), whole.len());
    let together: BTreeSet<&String> = shards.iter().flatten().collect();
    assert_eq!(together, whole.iter().collect());
    for (index, shard) in shards.iter().enumerate() {
        assert!(shard.iter().all(|line| key(line).1 % 3 == index as u64));
        // In the order of the whole.
        let wanted: Vec<_> = whole
            .iter()
            .filter(|line| key(line).1 % 3 == index as u64)
            .collect();
        assert_eq!(shard.iter().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn seeds_matter_and_journeys_do_not_depend_on_each_other() {
    let one = plan(MIXED, &["--seed", "1"]);
    assert_ne!(one, plan(MIXED, &["--seed", "2"]));
    assert_eq!(one, plan(MIXED, &["--seed", "1"]));
    // More events behind the first entry's change nothing about those before.
    let more = plan(
        &(MIXED.to_owned() + "  - {event_type: more, count: 50, arrivals: {rate: 9/s}}\n"),
        &["--seed", "1"],
    );
    let of_before: Vec<_> = more
        .iter()
        .filter(|line| key(line).1 < 16)
        .cloned()
        .collect();
    assert_eq!(of_before, one);
}
