//! Shares of a run, added up: the same as the whole.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::fs;
use std::path::Path;

use outside::{Ran, Receiver, finish, program, run_in};
use serde_json::{Value, json};

const SCENARIO: &str = r#"
scenario: Shared out
journeys:
  delivered: {message: {type: sms, text: Hi}}
  rejected: {message: {type: sms, text: Hi}, carrier: rejected}
events:
  - event_type: order_shipped
    count: 60
    arrivals: {rate: 20/s}
    event_data: {external_person_id: "{{ 9 | fake_alphanumeric }}"}
    journey: {delivered: 8, rejected: 2}
faults:
  - {fault: invalid_json, first: 5}
  - {fault: duplicate, rate: 10%}
  - {fault: drop, rate: 5%}
expect:
  every: {status: 200, within: 1h}
  callbacks: {routing.accepted: 50..60, carrier.rejected: "> 0", carrier.*: "<= 40", handset.expired: 0}
"#;

/// Refuses some for good and answers some otherwise than is expected, by what they are about alone.
fn receiver() -> Receiver {
    Receiver::with(|_, request| {
        if serde_json::from_str::<Value>(&request.body).is_err() {
            "400 Bad Request".to_owned()
        } else if request.body.contains("\"rejected\"") {
            "404 Not Found".to_owned()
        } else if request.body.contains("\"delivered\"") {
            "202 Accepted".to_owned()
        } else {
            "200 OK".to_owned()
        }
    })
}

/// Runs the scenario in a folder and has its report written there.
fn fire(folder: &Path, receiver: &Receiver, report: &str, more: &[&str]) -> Ran {
    let url = receiver.url();
    let args = ["run", "-", "--to", &url, "--speed", "max", "--quiet"];
    let fixed = [
        "--seed",
        "7",
        "--start",
        "2026-01-01T00:00:00Z",
        "--report",
        report,
    ];
    let mut command = program();
    // What is said last counts.
    command
        .args(args)
        .args(fixed)
        .args(more)
        .current_dir(folder);
    finish(command.env("COLUMNS", "100"), SCENARIO)
}

fn read(folder: &Path, report: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(report)).unwrap()).unwrap()
}

/// The whole as `whole.json`, its shares as `0.json` and so on.
fn shared_out(shares: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver();
    fire(folder.path(), &receiver, "whole.json", &[]);
    for share in 0..shares {
        let shard = format!("{share}/{shares}");
        fire(
            folder.path(),
            &receiver,
            &format!("{share}.json"),
            &["--shard", &shard],
        );
    }
    folder
}

/// What does not depend on how fast this machine is at the moment, or on which came first.
fn steady(report: &Value) -> Value {
    let mut steady = report.clone();
    let map = steady.as_object_mut().unwrap();
    for key in [
        "elapsed_s",
        "per_second",
        "latency_ms",
        "lag_ms",
        "destination",
    ] {
        map.remove(key).unwrap();
    }
    let distributions = map.remove("distributions").unwrap();
    for (name, durations) in distributions.as_object().unwrap() {
        let durations = durations.as_array().unwrap().iter();
        let times: u64 = durations.map(|pair| pair[1].as_u64().unwrap()).sum();
        map.insert(name.clone(), json!(times));
    }
    for expectation in map["expectations"].as_array_mut().unwrap() {
        // Ten of them, whichever were first.
        let journeys = expectation["journeys"].as_array_mut().unwrap();
        let number = journeys.len();
        expectation["journeys"] = json!(number);
    }
    steady
}

#[test]
fn shares_added_up_are_the_whole() {
    for shares in [2, 3] {
        let folder = shared_out(shares);
        let files: Vec<String> = (0..shares).rev().map(|n| format!("{n}.json")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let whole = read(folder.path(), "whole.json");
        let args = [&["merge"][..], &files, &["--format", "json"]].concat();
        let ran = run_in(folder.path(), &args);
        assert_eq!(
            (ran.code, ran.err.as_str()),
            (Some(1), ""),
            "something was refused"
        );
        assert_eq!(steady(&ran.json()), steady(&whole));

        // It was worth adding up.
        assert_eq!(whole["faults"]["invalid_json"], 5);
        let expectations = whole["expectations"].as_array().unwrap();
        let met: Vec<_> = expectations.iter().map(|one| one["met"].clone()).collect();
        assert_eq!(met, [false, true, true, true, false, true], "{whole}");
        let seen = expectations[0]["seen"].as_str().unwrap();
        assert!(seen.contains("202 ×") && seen.contains("404 ×"), "{seen}");
    }
}

#[test]
fn what_was_merged_is_shown_to_people() {
    let folder = shared_out(2);
    let args = ["merge", "0.json", "1.json", "--format", "human"];
    let ran = run_in(folder.path(), &args).expect_code(1);
    assert!(ran.out.contains("of 60 journeys"), "{}", ran.out);
    assert!(
        ran.out.contains("NO: callbacks carrier.* <= 40"),
        "{}",
        ran.out
    );
}

/// Nobody knows how many of an outcome the missing share had; a wrong answer is wrong all the same.
#[test]
fn without_a_share_counts_stay_open() {
    let folder = shared_out(2);
    let ran = run_in(folder.path(), &["merge", "1.json", "--format", "json"]).expect_code(1);
    assert!(
        ran.err.contains("warning: only 1 of 2 shares"),
        "{}",
        ran.err
    );
    for expectation in ran.json()["expectations"].as_array().unwrap() {
        let name = expectation["name"].as_str().unwrap();
        let counts = name.starts_with("callbacks ");
        assert_eq!(expectation["met"].is_null(), counts, "{expectation}");
    }
    assert_eq!(ran.json()["shard"], "1 of 2 shares");
}

/// Refused, and told how to go on.
#[track_caller]
fn refused(folder: &Path, args: &[&str], what: &str, remedy: &str) {
    let ran = run_in(folder, &[&["merge"][..], args].concat()).expect_code(2);
    assert_eq!(ran.out, "");
    assert!(
        ran.err.contains(what) && ran.err.contains(remedy),
        "{}",
        ran.err
    );
}

#[test]
fn what_does_not_add_up_is_refused() {
    let folder = shared_out(2);
    let at = folder.path();
    refused(
        at,
        &["0.json", "0.json"],
        "0/2 is there twice",
        "name each report once",
    );
    refused(
        at,
        &["0.json", "whole.json"],
        "of different sizes",
        "the same N",
    );
    fire(
        at,
        &receiver(),
        "other.json",
        &["--shard", "1/2", "--seed", "8"],
    );
    refused(
        at,
        &["0.json", "other.json"],
        "seed 7",
        "the same scenario and `--seed`",
    );
    let bent = |key: &str, value: Value| {
        let mut report = read(at, "1.json");
        report[key] = value;
        fs::write(at.join("bent.json"), report.to_string()).unwrap();
    };
    bent("start", "2026-01-02T00:00:00.000Z".into());
    refused(
        at,
        &["0.json", "bent.json"],
        "one starts at",
        "same `--start`",
    );
    for shard in ["5/2", "01/2", "1 of 2", ""] {
        bent("shard", shard.into());
        refused(at, &["0.json", "bent.json"], "no single share", "at once");
    }
    bent("expectations", Value::Array(Vec::new()));
    refused(
        at,
        &["0.json", "bent.json"],
        "do not expect",
        "same scenario",
    );
    let mut bare = read(at, "0.json");
    bare.as_object_mut().unwrap().remove("distributions");
    fs::write(at.join("bare.json"), bare.to_string()).unwrap();
    refused(
        at,
        &["bare.json"],
        "no `distributions`",
        "`--report FILE.json`",
    );
    for (name, text) in [
        ("text.json", "hello"),
        ("list.json", "[]"),
        ("empty.json", ""),
    ] {
        fs::write(at.join(name), text).unwrap();
        refused(
            at,
            &[name],
            &format!("{name} is no report"),
            "`run --report FILE.json` writes one",
        );
    }
    refused(
        at,
        &["nowhere.json"],
        "cannot read nowhere.json",
        "is it the right path?",
    );
    let some = run_in(at, &["merge", "0.json", "--format", "json"]).out;
    fs::write(at.join("some.json"), some).unwrap();
    refused(
        at,
        &["some.json", "1.json"],
        "of no single share",
        "all the shares at once",
    );
    refused(at, &[], "REPORT", "Usage");
}

#[test]
fn threads_count_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = receiver();
    fire(folder.path(), &receiver, "one.json", &[]);
    fire(folder.path(), &receiver, "two.json", &["--threads", "2"]);
    let (one, two) = (
        read(folder.path(), "one.json"),
        read(folder.path(), "two.json"),
    );
    assert_eq!(steady(&two), steady(&one));
}
