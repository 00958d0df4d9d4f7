//! What a receiver sees of faults is what the plan says of them: which callbacks, how many, nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outside::{Receiver, fire, plan_json};
use serde_json::Value;

const EVENTS: &str = r#"
scenario: Faults
journeys:
  delivered: {message: {type: sms, text: Hi}}
  rejected: {message: {type: sms, text: Hi}, carrier: rejected}
events:
  - event_type: order_shipped
    count: 150
    arrivals: {rate: 20/s}
    event_data: {external_person_id: "{{ 9 | fake_alphanumeric }}"}
    journey: {delivered: 9, rejected: 1}
"#;

const FAULTS: &str = r#"
faults:
  - {fault: drop, during: 2s..2500ms}
  - {fault: truncated_body, first: 3}
  - {fault: invalid_json, rate: 2%}
  - {fault: wrong_content_type, rate: 2%, when: {outcome: processing.*}}
  - {fault: quirky_ids, rate: 2%}
  - {fault: duplicate, rate: 4%}
  - {fault: slow_body, over: 400ms, rate: 1%}
  - {fault: wrong_length, rate: 1%}
  - {fault: close_early, rate: 1%}
  - {fault: reorder, rate: 5%, within: 10s, when: {journey: delivered}}
  - {fault: delay, rate: 2%, by: 30s..60s}
"#;

/// What came of one request.
#[derive(Clone, Debug)]
struct Seen {
    /// Journey, outcome and attempt.
    name: (String, String, String),
    content_type: String,
    body: Vec<u8>,
    end: End,
    took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// As long as announced.
    Whole,
    /// The connection ended before.
    Closed,
    /// Nothing more came.
    Short,
}

/// A receiver that looks closely at each request, and refuses what it cannot read.
fn watch() -> (String, Arc<Mutex<Vec<Seen>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/callbacks", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let list = Arc::clone(&list);
            std::thread::spawn(move || while let Some(true) = look(&stream, &list) {});
        }
    });
    (url, seen)
}

fn look(mut stream: &TcpStream, list: &Mutex<Vec<Seen>>) -> Option<bool> {
    stream.set_read_timeout(None).ok()?;
    let mut reader = BufReader::new(stream);
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_lowercase(), value.to_owned()),
            None if line.trim_end().is_empty() => break,
            None => None,
        };
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let began = Instant::now();
    let length: usize = header("content-length").parse().ok()?;
    let mut body = Vec::new();
    // Longer than between two pieces of a slow body.
    stream
        .set_read_timeout(Some(Duration::from_millis(800)))
        .ok()?;
    let mut end = End::Whole;
    while body.len() < length {
        let mut piece = vec![0; length - body.len()];
        match reader.read(&mut piece) {
            Ok(0) => end = End::Closed,
            Err(_) => end = End::Short,
            Ok(read) => body.extend_from_slice(&piece[..read]),
        }
        if end != End::Whole {
            break;
        }
    }
    let readable = serde_json::from_slice::<Value>(&body).is_ok()
        && header("content-type") == "application/json"
        && end == End::Whole;
    list.lock().unwrap().push(Seen {
        name: (
            header("x-vibes-mock-journey"),
            header("x-vibes-mock-outcome"),
            header("x-vibes-mock-attempt"),
        ),
        content_type: header("content-type"),
        body,
        end,
        took: began.elapsed(),
    });
    let status = if readable {
        "200 OK"
    } else {
        "400 Bad Request"
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    Some(end == End::Whole)
}

fn scenario() -> String {
    format!("{EVENTS}{FAULTS}")
}

/// Which fault a request shows, by looking at it beside what the platform means.
fn shown(seen: &Seen, meant: &str) -> &'static str {
    let body = String::from_utf8(seen.body.clone()).unwrap();
    match seen.end {
        End::Closed => return "close_early",
        End::Short => {
            assert_eq!(body, meant, "only the length is wrong");
            return "wrong_length";
        }
        End::Whole => {}
    }
    if seen.content_type != "application/json" {
        assert_eq!(body, meant);
        return "wrong_content_type";
    }
    if seen.took > Duration::from_millis(300) && body == meant {
        return "slow_body";
    }
    if body == meant {
        return "";
    }
    if meant.starts_with(&body) {
        return "truncated_body";
    }
    match serde_json::from_str::<Value>(&body) {
        Ok(json) => {
            assert_eq!(json["event_id"].as_str().unwrap().len(), 37, "{body}");
            "quirky_ids"
        }
        Err(_) => "invalid_json",
    }
}

#[test]
fn a_receiver_sees_what_the_plan_says_and_nothing_else() {
    let fixed = ["--seed", "11", "--start", "2026-01-01T00:00:00Z"];
    let plan = plan_json(&scenario(), &fixed);
    let (url, seen) = watch();
    let more = ["--mark", "--connections", "4", "--quiet"];
    // What a fault has spoilt is rightly refused, so all is well.
    let report = fire(&url, &scenario(), &[&fixed[..], &more].concat())
        .expect_code(0)
        .json();

    // By (journey, outcome): no message of this scenario has two parts.
    let mut meant: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut planned: BTreeMap<&str, u64> = BTreeMap::new();
    for line in &plan {
        let name = (
            line["journey"].to_string(),
            line["outcome"].as_str().unwrap().to_owned(),
        );
        meant.insert(name, line["body"].to_string());
        if let Some(fault) = line["fault"].as_str() {
            *planned.entry(fault).or_default() += 1;
        }
    }
    let kinds = [
        "close_early",
        "delay",
        "drop",
        "duplicate",
        "invalid_json",
        "quirky_ids",
        "reorder",
        "slow_body",
        "truncated_body",
        "wrong_content_type",
        "wrong_length",
    ];
    assert!(planned.keys().eq(kinds.iter()), "each occurs: {planned:?}");
    let counted = serde_json::to_value(&planned).unwrap();
    assert_eq!(report["faults"], counted);

    let seen = seen.lock().unwrap();
    let mut found: BTreeMap<&str, u64> = BTreeMap::new();
    let mut times: BTreeMap<(String, String), u64> = BTreeMap::new();
    for one in seen.iter() {
        let (journey, outcome, attempt) = one.name.clone();
        let name = (journey, outcome);
        let fault = shown(one, &meant[&name]);
        if attempt == "1" {
            *times.entry(name).or_default() += 1;
        } else {
            assert_eq!(fault, "", "a retry is sound: {one:?}");
        }
        if !fault.is_empty() {
            *found.entry(fault).or_default() += 1;
        }
    }
    let twice = times.values().filter(|times| **times == 2).count() as u64;
    let missing = meant.keys().filter(|name| !times.contains_key(*name));
    found.insert("duplicate", twice);
    found.insert("drop", missing.count() as u64);
    // What only changes times shows in the order, below.
    for kind in ["delay", "reorder"] {
        planned.remove(kind);
    }
    assert_eq!(found, planned);
}

/// A line without what a fault may add to it.
fn sound(line: &Value) -> Value {
    let mut line = line.clone();
    line.as_object_mut().unwrap().remove("fault");
    line
}

#[test]
fn faults_leave_every_other_callback_as_it_was() {
    let with = plan_json(&scenario(), &[]);
    let without = plan_json(EVENTS, &[]);
    let moved = |line: &Value| {
        ["delay", "reorder", "duplicate"].contains(&line["fault"].as_str().unwrap_or_default())
    };
    let unmoved: Vec<Value> = with.iter().filter(|line| !moved(line)).map(sound).collect();
    let gone = |line: &&Value| !unmoved.contains(line);
    let held: Vec<&Value> = without.iter().filter(gone).collect();
    // Those that are held back are there once more, with the same body at another time.
    let again = |line: &&Value| {
        with.iter()
            .any(|other| moved(other) && other["body"] == line["body"] && other["at"] != line["at"])
    };
    assert!(!held.is_empty() && held.iter().all(again));
}

#[test]
fn a_reordered_callback_comes_after_its_journeys_next_one() {
    let with = plan_json(&scenario(), &[]);
    let without = plan_json(EVENTS, &[]);
    let reordered: Vec<&Value> = with.iter().filter(|l| l["fault"] == "reorder").collect();
    assert!(reordered.len() > 3);
    for line in reordered {
        let mut own = without.iter().filter(|l| l["journey"] == line["journey"]);
        let before = own.find(|l| l["body"] == line["body"]).unwrap();
        let next = own.next().unwrap();
        let (at, next) = (&line["after_ms"].as_u64(), &next["after_ms"].as_u64());
        assert!(at > next, "{line}");
        assert!(*at <= before["after_ms"].as_u64().map(|ms| ms + 10_000));
    }
}

#[test]
fn first_during_and_when_choose() {
    let plan = plan_json(&scenario(), &[]);
    let struck = |fault: &str| -> Vec<&Value> {
        plan.iter().filter(|line| line["fault"] == fault).collect()
    };
    let places: Vec<usize> = (0..plan.len())
        .filter(|at| plan[*at]["fault"] == "truncated_body")
        .collect();
    assert_eq!(places, [0, 1, 2], "the first three that are due");
    for line in &plan {
        let due = line["after_ms"].as_u64().unwrap();
        let held = ["delay", "reorder", "duplicate"];
        let held = held.contains(&line["fault"].as_str().unwrap_or_default());
        if !held {
            assert_eq!(
                (2000..2500).contains(&due),
                line["fault"] == "drop",
                "{line}"
            );
        }
    }
    let stages = struck("wrong_content_type");
    assert!(!stages.is_empty());
    assert!(stages.iter().all(|line| line["stage"] == "processing"));
}

#[test]
fn shares_of_a_run_have_the_faults_of_the_whole() {
    let mut whole = outside::plan(&scenario(), &[]);
    let mut shares = Vec::new();
    for shard in ["0/3", "1/3", "2/3"] {
        shares.extend(outside::plan(&scenario(), &["--shard", shard]));
    }
    whole.sort();
    shares.sort();
    assert_eq!(whole, shares);
}

#[test]
fn the_journal_tells_a_fault_from_a_bug() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.sqlite");
    let journal = file.to_str().unwrap();
    let (url, _) = watch();
    let more = ["--seed", "11", "--quiet", "--journal", journal];
    let report = fire(&url, &scenario(), &more).expect_code(0).json();
    let connection = rusqlite::Connection::open(&file).unwrap();
    let count = |query: &str| -> i64 { connection.query_row(query, [], |row| row.get(0)).unwrap() };
    let refused = count("SELECT count(*) FROM results WHERE state = 'failed'");
    assert!(refused > 0);
    assert_eq!(report["failed"], refused);
    assert_eq!(report["failed_by_fault"], refused);
    let unexplained = "SELECT count(*) FROM results WHERE state = 'failed' AND fault IS NULL";
    assert_eq!(count(unexplained), 0);
    let truncated = "SELECT count(*) FROM attempts WHERE fault = 'truncated_body' AND status = 400";
    assert_eq!(count(truncated), 3);
}

#[test]
fn a_copy_comes_even_after_it_was_accepted() {
    let receiver = Receiver::answering("200 OK");
    let scenario = format!("{EVENTS}faults: [{{fault: duplicate, first: 5, after: 3s}}]\n");
    fire(&receiver.url(), &scenario, &["--quiet", "--seed", "1"]).expect_code(0);
    let mut times: BTreeMap<String, u64> = BTreeMap::new();
    for request in receiver.requests() {
        *times.entry(request.body).or_default() += 1;
    }
    assert_eq!(times.values().filter(|times| **times == 2).count(), 5);
    assert!(times.values().all(|times| *times <= 2));
}

#[test]
fn an_expectation_that_is_not_met_is_told_with_its_journeys() {
    let receiver = Receiver::with(|_, request| match request.body.contains("\"rejected\"") {
        true => "418 I'm a teapot".to_owned(),
        false => "200 OK".to_owned(),
    });
    let scenario = format!(
        "{EVENTS}expect:\n  every: {{status: 2xx, within: 1h}}\n  callbacks: {{routing.*: 150, carrier.rejected: 0, handset.delivered: \"> 9\"}}\n"
    );
    let url = receiver.url();
    let report = fire(&url, &scenario, &["--quiet"]).expect_code(1).json();
    let expectations = report["expectations"].as_array().unwrap();
    let of = |name: &str| expectations.iter().find(|e| e["name"] == name).unwrap();
    assert_eq!(of("every within")["met"], true);
    assert_eq!(of("callbacks routing.*")["met"], true);
    assert_eq!(of("callbacks handset.delivered")["met"], true);
    let rejected = of("callbacks carrier.rejected");
    assert_eq!(
        (&rejected["met"], &rejected["expected"]),
        (&Value::from(false), &Value::from("0"))
    );
    let status = of("every status");
    assert_eq!(status["met"], false);
    assert_eq!(status["count"], rejected["count"]);
    assert_eq!(status["seen"], format!("418 ×{}", rejected["count"]));
    let journeys = status["journeys"].as_array().unwrap();
    assert!(!journeys.is_empty() && journeys.len() <= 10);
    assert_eq!(status["journeys"], rejected["journeys"]);

    // For people as well, and met expectations end well.
    let shown = fire(&url, &scenario, &["--quiet", "--format", "human"]);
    assert!(
        shown.out.contains("NO: callbacks carrier.rejected 0"),
        "{}",
        shown.out
    );
    let met = format!("{EVENTS}expect: {{callbacks: {{handset.delivered: 100..150}}}}\n");
    let fine = Receiver::answering("200 OK");
    fire(&fine.url(), &met, &["--quiet"]).expect_code(0);
}
