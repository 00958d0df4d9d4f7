//! A run with a journal may be killed at any moment: `--resume` carries on, nothing is lost, and nothing is
//! repeated but what was in flight.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outside::{Receiver, finish, program};
use serde_json::Value;

const SCENARIO: &str = r#"
scenario: Killed
journeys:
  delivered: {message: {type: sms, text: Hi}}
events:
  - event_type: order_shipped
    count: 1500
    arrivals: {rate: 500/s}
    event_data: {external_person_id: "{{ 9 | fake_alphanumeric }}"}
    journey: delivered
retry: 2x1s
"#;
const CONNECTIONS: usize = 8;

/// How often each body came.
type Times = Arc<Mutex<HashMap<String, usize>>>;

/// Some callbacks are answered with 503 when they come for the first time.
fn is_stubborn(body: &str) -> bool {
    body.bytes().map(usize::from).sum::<usize>() % 40 == 0
}

fn counting() -> (Receiver, Times) {
    let times = Times::default();
    let counts = Arc::clone(&times);
    let receiver = Receiver::with(move |_, request| {
        let mut counts = counts.lock().unwrap();
        let times = counts.entry(request.body.clone()).or_default();
        *times += 1;
        match *times == 1 && is_stubborn(&request.body) {
            true => "503 Service Unavailable".to_owned(),
            false => "200 OK".to_owned(),
        }
    });
    (receiver, times)
}

fn command(folder: &Path, url: &str, more: &[&str]) -> Command {
    let mut command = program();
    command.current_dir(folder).args([
        "run", "s.yaml", "--to", url, "--speed", "max", "--quiet", "--format", "json",
    ]);
    let connections = CONNECTIONS.to_string();
    command.args(["--connections", &connections, "--journal", "run.sqlite"]);
    command.args(more);
    command
}

/// Kills the run so often, at moments that differ, then lets it end.
fn killed(number: usize, threads: &str) -> usize {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();
    let (receiver, times) = counting();
    let more = [
        "--resume",
        "--seed",
        "3",
        "--start",
        "2026-01-01T00:00:00Z",
        "--threads",
        threads,
    ];
    let mut kills = 0;
    for at in 0..number {
        let mut child = command(folder.path(), &receiver.url(), &more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the journal is made to well within the run.
        std::thread::sleep(Duration::from_millis((at as u64 * 37 + number as u64) % 90));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let report = finish(&mut command(folder.path(), &receiver.url(), &more), "")
        .expect_code(0)
        .json();

    let planned = outside::plan_json(SCENARIO, &["--seed", "3"]);
    assert_eq!(report["callbacks"], planned.len());
    assert_eq!(report["accepted"], planned.len());
    assert_eq!(report["journeys"], 1500);
    let times = times.lock().unwrap();
    let mut repeated = 0;
    for line in &planned {
        let body = line["body"].to_string();
        let needed = if is_stubborn(&body) { 2 } else { 1 };
        let came = times.get(&body).copied().unwrap_or_default();
        assert!(came >= needed, "lost: {line}");
        repeated += came - needed;
    }
    assert_eq!(times.len(), planned.len(), "nothing that was not planned");
    assert!(
        repeated <= kills * CONNECTIONS,
        "{repeated} repeated after {kills} kills"
    );
    // Once it is done it stays done.
    let again = finish(&mut command(folder.path(), &receiver.url(), &more), "")
        .expect_code(0)
        .json();
    let count = |report: &Value| {
        [
            "callbacks",
            "accepted",
            "attempts",
            "retried",
            "responses",
            "outcomes",
        ]
        .map(|key| report[key].clone())
    };
    assert_eq!(count(&again), count(&report));
    kills
}

#[test]
fn a_hundred_kills_lose_nothing() {
    let kills: usize = [("1", 30), ("1", 31), ("2", 32), ("1", 33), ("3", 34)]
        .into_iter()
        .map(|(threads, number)| killed(number, threads))
        .sum();
    assert!(kills >= 100, "only {kills} came in time");
}

/// A journal of a run that was broken off by its receiver's going away.
fn begun(folder: &Path) -> Receiver {
    fs::write(folder.join("s.yaml"), SCENARIO).unwrap();
    let receiver = Receiver::answering("200 OK");
    let fixed = ["--seed", "3", "--start", "2026-01-01T00:00:00Z"];
    finish(&mut command(folder, &receiver.url(), &fixed), "").expect_code(0);
    receiver
}

#[test]
fn another_run_is_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = begun(folder.path());
    let refused = |more: &[&str], words: &[&str]| {
        let ran = finish(&mut command(folder.path(), &receiver.url(), more), "").expect_code(2);
        for word in words {
            assert!(ran.err.contains(word), "{word}: {}", ran.err);
        }
    };
    let sent = receiver.requests().len();
    refused(&[], &["there is such a file already", "--resume"]);
    refused(&["--resume", "--seed", "4"], &["its seed is 3, not 4"]);
    refused(
        &["--resume", "--start", "2026-01-02T00:00:00Z"],
        &["its start is 2026-01-01"],
    );
    refused(
        &["--resume", "--shard", "0/2"],
        &["its shard is 0/1, not 0/2"],
    );
    let changed = SCENARIO.replace("text: Hi", "text: Hello");
    fs::write(folder.path().join("s.yaml"), changed).unwrap();
    refused(
        &["--resume"],
        &["changed in line 4", "text: Hi", "text: Hello"],
    );
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();

    let connection = rusqlite::Connection::open(folder.path().join("run.sqlite")).unwrap();
    connection
        .execute("UPDATE run SET value = '9.9.9' WHERE key = 'version'", [])
        .unwrap();
    drop(connection);
    refused(&["--resume"], &["its version is 9.9.9"]);
    fs::write(
        folder.path().join("run.sqlite"),
        "no database at all, but some text",
    )
    .unwrap();
    refused(&["--resume"], &["run.sqlite", "no journal of vibes-mock"]);
    assert_eq!(receiver.requests().len(), sent, "nothing was sent");
}

#[test]
fn a_journal_that_cannot_grow_ends_the_run_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();
    let receiver = Receiver::answering("200 OK");
    let whole = command(folder.path(), &receiver.url(), &[]);
    let words: Vec<String> = std::iter::once(whole.get_program())
        .chain(whole.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    // In blocks of 512 bytes; the signal that goes with it is not for us.
    let script = format!("trap '' XFSZ; ulimit -f 600; exec {}", words.join(" "));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(folder.path());
    let ran = finish(&mut shell, "").expect_code(1);
    assert!(ran.err.contains("run.sqlite"), "{}", ran.err);
    assert!(
        ran.err.contains("cannot be written any more"),
        "{}",
        ran.err
    );
    // What is in it is true, and enough to go on with.
    let sent = receiver.requests().len();
    assert!(sent < 6000, "it went on");
    let report = finish(
        &mut command(folder.path(), &receiver.url(), &["--resume"]),
        "",
    )
    .expect_code(0)
    .json();
    assert_eq!(report["accepted"], 6000);
    assert!(receiver.requests().len() <= 6000 + CONNECTIONS);
}

#[test]
fn a_journal_that_is_removed_ends_the_run_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();
    let file = folder.path().join("run.sqlite");
    let gone = file.clone();
    let receiver = Receiver::with(move |number, _| {
        if number == 100 {
            let _ = fs::remove_file(&gone);
        }
        "200 OK".to_owned()
    });
    let ran = finish(&mut command(folder.path(), &receiver.url(), &[]), "").expect_code(1);
    assert!(ran.err.contains("removed or replaced"), "{}", ran.err);
    assert!(receiver.requests().len() < 6000, "it went on without");
}

#[test]
fn two_runs_do_not_write_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let receiver = Receiver::with(move |_, _| {
        let _ = wait.lock().unwrap().recv();
        "200 OK".to_owned()
    });
    let slow = ["--timeout", "1h"];
    let first = outside::Process::start(&mut command(folder.path(), &receiver.url(), &slow));
    receiver.wait_for(1);
    let more = ["--resume", "--timeout", "1h"];
    let ran = finish(&mut command(folder.path(), &receiver.url(), &more), "").expect_code(2);
    assert!(ran.err.contains("another run is writing it"), "{}", ran.err);
    drop(go);
    assert_eq!(first.end().expect_code(0).json()["accepted"], 6000);
    assert_eq!(receiver.requests().len(), 6000);
}

#[test]
fn one_file_is_the_whole_journal() {
    let folder = tempfile::tempdir().unwrap();
    begun(folder.path());
    let copy = folder.path().join("copy.sqlite");
    fs::copy(folder.path().join("run.sqlite"), &copy).unwrap();
    let connection = rusqlite::Connection::open(copy).unwrap();
    let count = "SELECT count(*) FROM results WHERE state = 'accepted'";
    let accepted: i64 = connection.query_row(count, [], |row| row.get(0)).unwrap();
    assert_eq!(accepted, 6000);
}

#[test]
fn a_journal_is_of_one_scenario() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.yaml"), SCENARIO).unwrap();
    let mut command = command(folder.path(), "http://127.0.0.1:9/", &["s.yaml"]);
    let ran = finish(&mut command, "").expect_code(2);
    assert!(ran.err.contains("several scenarios"), "{}", ran.err);
}
