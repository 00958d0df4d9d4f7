//! Running `vibes-mock serve`: starting, telling that it is ready, reading its folder again, ending; runs over
//! HTTP, health and metrics.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::HashMap;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use outside::client::Client;
use outside::serving::{self, signal, terminate};
use outside::{PATIENCE, Process, Receiver, finish, program};
use serde_json::{Value, json};

/// A server in a folder of its own, with these arguments beside its port.
fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command
        .current_dir(folder)
        .args(["serve", "--port", "0", "--port-file", "port"])
        .args(more);
    command
}

fn start(folder: &Path, more: &[&str]) -> (Process, Client) {
    serving::start(&mut command(folder, more), &folder.join("port"))
}

fn register(client: &Client, url: &str) {
    let body = json!({"callback_type": "event_processed", "event_processed": {}, "destination": {"url": url}});
    client
        .post("/companies/k/config/callbacks", &body)
        .expect(201);
}

fn post(client: &Client, event_id: &str, event_type: &str) {
    let body =
        json!({"event_id": event_id, "event_type": event_type, "event_data": {"person_id": "1"}});
    client.post("/companies/k/events", &body).expect(202);
}

/// What came, or will come, of an event.
fn outcomes(client: &Client, event_id: &str) -> Vec<String> {
    let found = client
        .get(&format!("/_mock/deliveries?event_id={event_id}"))
        .expect(200)
        .json();
    let all = found["deliveries"].as_array().unwrap().iter();
    all.map(|one| one["outcome"].as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_port_file_holds_the_port_for_as_long_as_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let (process, client) = start(folder.path(), &[]);
    let port = fs::read_to_string(folder.path().join("port")).unwrap();
    assert_eq!(
        format!("127.0.0.1:{}\n", port.trim()),
        format!("{}\n", client.authority)
    );
    assert!(port.ends_with('\n'));
    let health = client.get("/healthz").expect(200).json();
    assert_eq!(
        health,
        json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})
    );
    let ran = terminate(process).expect_code(0);
    assert_eq!(ran.out, "");
    assert!(
        ran.err
            .contains(&format!("serving at http://127.0.0.1:{}/", port.trim())),
        "{}",
        ran.err
    );
    assert!(!folder.path().join("port").exists());
}

#[test]
fn ctrl_c_ends_it_as_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let (process, _) = start(folder.path(), &[]);
    process.interrupt();
    process.end().expect_code(130);
}

#[test]
fn what_makes_no_sense_is_told_before_anything_begins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("broken.yaml"), "sceanrio: typo\n").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (more, words) in [
        (vec!["--bind", "0.0.0.0"], "--token"),
        (vec!["--port", &port], "--port 0"),
        (vec!["--port-file", "no/such/folder/port"], "port file"),
        (vec!["--clock", "virtual", "--speed", "60x"], "--speed"),
        (vec!["--speed", "max"], "--clock virtual"),
        (vec!["no-such-folder"], "no-such-folder"),
        (vec!["broken.yaml"], "broken.yaml:1"),
    ] {
        let ran = finish(&mut command(folder.path(), &more), "").expect_code(2);
        assert!(ran.err.contains(words), "{more:?}: {}", ran.err);
        assert!(!folder.path().join("port").exists());
    }
    drop(taken);
}

#[test]
fn options_come_from_the_environment_too() {
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("elsewhere");
    let mut command = program();
    command
        .current_dir(folder.path())
        .arg("serve")
        .env("VIBES_MOCK_PORT", "0")
        .env("VIBES_MOCK_PORT_FILE", &port_file)
        .env("VIBES_MOCK_CLOCK", "virtual")
        .env("VIBES_MOCK_BIND", "0.0.0.0")
        .env("VIBES_MOCK_TOKEN", "abc");
    let (_process, client) = serving::start(&mut command, &port_file);
    client.get("/_mock/clock").expect(401);
    let clock = client
        .with("Authorization", "Bearer abc")
        .get("/_mock/clock")
        .expect(200)
        .json();
    assert_eq!(clock["mode"], "virtual");
}

/// A file by whose routes every event comes to that.
fn routed(outcome: &str) -> String {
    format!("journeys: {{way: {{routing: {outcome}}}}}\nroutes: [{{journey: way}}]\n")
}

#[test]
fn a_changed_file_is_read_again_and_a_broken_one_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("routes.yaml");
    fs::write(&file, routed("not_subscribed")).unwrap();
    let (process, client) = start(folder.path(), &["routes.yaml", "--clock", "virtual"]);
    let mut number = 0;
    let mut way = || {
        number += 1;
        post(&client, &format!("e{number}"), "a");
        outcomes(&client, &format!("e{number}")).pop().unwrap()
    };
    assert_eq!(way(), "routing.not_subscribed");
    fs::write(&file, routed("person_not_found")).unwrap();
    eventually("the change is not taken up", || {
        way() == "routing.person_not_found"
    });
    fs::write(
        &file,
        "journeys: {way: {routing: nonsense}}\nroutes: [{journey: way}]\n",
    )
    .unwrap();
    let told = process.wait_for_note("nonsense");
    assert!(told.contains("routes.yaml:1"), "{told}");
    assert_eq!(way(), "routing.person_not_found");
    fs::write(&file, routed("sms_unsupported")).unwrap();
    eventually("it stays as it was", || way() == "routing.sms_unsupported");
    // Asked to look, it says that it has.
    signal(&process, "HUP");
    process.wait_for_note("as they were");
    assert_eq!(way(), "routing.sms_unsupported");
    terminate(process).expect_code(0);
}

#[test]
fn logs_for_programs_are_an_object_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let (process, _) = start(folder.path(), &["--log-format", "json"]);
    let ran = terminate(process).expect_code(0);
    let lines: Vec<Value> = ran
        .err
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let serving = lines
        .iter()
        .find(|line| line["message"] == "serving")
        .unwrap();
    assert!(
        serving["url"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    for line in &lines {
        assert!(
            line["timestamp"].is_string() && line["level"].is_string(),
            "{line}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = command(folder.path(), &[]);
    command.env("NOTIFY_SOCKET", &path);
    let (process, _) = serving::start(&mut command, &folder.path().join("port"));
    let next = || {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert!(next().contains("READY=1"));
    terminate(process).expect_code(0);
    assert!(next().contains("STOPPING=1"));
}

#[test]
fn what_is_under_way_ends_before_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, was_asked) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let (asked, gone) = (std::sync::Mutex::new(asked), std::sync::Mutex::new(gone));
    let receiver = Receiver::with(move |_, _| {
        asked.lock().unwrap().send(()).unwrap();
        let _ = gone.lock().unwrap().recv_timeout(PATIENCE);
        "200 OK".to_owned()
    });
    fs::write(folder.path().join("slow.yaml"), "timeout: 60s\n").unwrap();
    let (process, client) = start(folder.path(), &["slow.yaml", "--data", "state"]);
    register(&client, &receiver.url());
    post(&client, "e", "a");
    was_asked.recv_timeout(PATIENCE).unwrap();
    signal(&process, "TERM");
    process.wait_for_note("stopping");
    for _ in 0..4 {
        let _ = go.send(());
    }
    process.end().expect_code(0);
    let (_process, client) = start(folder.path(), &["slow.yaml", "--data", "state"]);
    let found = client
        .get("/_mock/deliveries?event_id=e&state=accepted")
        .expect(200)
        .json();
    assert!(
        !found["deliveries"].as_array().unwrap().is_empty(),
        "{found}"
    );
}

/// The metrics without labels, and those of attempts by result.
fn metrics(client: &Client) -> HashMap<String, f64> {
    let text = client.get("/metrics").expect(200);
    assert!(
        text.header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let (lines, end) = text.body.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(end, "# EOF");
    let values = lines.lines().filter(|line| !line.starts_with('#'));
    let values = values.map(|line| {
        assert!(line.starts_with("vibes_mock_"), "{line}");
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), value.parse().unwrap())
    });
    values.collect()
}

#[test]
fn metrics_count_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, client) = start(folder.path(), &["--clock", "virtual"]);
    let receiver = Receiver::with(|number, _| match number {
        0 => "200 OK".to_owned(),
        1 => "400 Bad Request".to_owned(),
        _ => "503 Service Unavailable".to_owned(),
    });
    register(&client, &receiver.url());
    for number in 0..4 {
        post(&client, &format!("e{number}"), "a");
    }
    let before = metrics(&client);
    assert_eq!(before["vibes_mock_events_total"], 4.0);
    assert_eq!(before["vibes_mock_callbacks_pending"], 16.0);
    let advance = |body: Value| client.advance(&body).json();
    // One accepted, one refused, ten failed in a row: it is left alone.
    advance(json!({"by": "10s"}));
    let down = metrics(&client);
    assert_eq!(down[r#"vibes_mock_attempts_total{result="200"}"#], 1.0);
    assert_eq!(down[r#"vibes_mock_attempts_total{result="400"}"#], 1.0);
    assert_eq!(down[r#"vibes_mock_attempts_total{result="503"}"#], 10.0);
    assert_eq!(down["vibes_mock_destinations_down"], 1.0);
    advance(json!({"until": "idle"}));
    let after = metrics(&client);
    assert_eq!(after["vibes_mock_deliveries_accepted_total"], 1.0);
    assert_eq!(after["vibes_mock_deliveries_failed_total"], 15.0);
    assert_eq!(after["vibes_mock_callbacks_pending"], 0.0);
    assert_eq!(
        after["vibes_mock_attempt_duration_seconds_count"],
        2.0 + 14.0 * 6.0
    );
}

#[test]
fn runs_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering("200 OK");
    let mine = "scenario: Mine\nevents: [{event_type: a, event_data: {person_id: 1}}]\n";
    fs::write(folder.path().join("mine.yaml"), mine).unwrap();
    let slow = "journeys: {j: {routing: {accepted: {after: 48h}}}}\n\
                events: [{event_type: a, event_data: {person_id: 1}, journey: j}]\n";
    let (_process, client) = start(folder.path(), &["mine.yaml"]);
    let start = |body: Value| client.post("/_mock/runs", &body);
    let inline = json!({"events": [{"event_type": "a", "event_data": {"person_id": 1}}]});
    for scenario in [json!("mine"), json!("happy-path"), inline, json!(mine)] {
        let body = json!({"scenario": scenario, "to": receiver.url(), "speed": "max", "seed": 7});
        let run = start(body).expect(201);
        let path = run.header("location").unwrap().to_owned();
        let ended = client.get(&format!("{path}?wait=60s")).expect(200).json();
        assert_eq!(
            (&ended["state"], &ended["summary"]["seed"]),
            (&json!("finished"), &json!(7))
        );
        assert_eq!(ended["summary"]["accepted"], ended["summary"]["callbacks"]);
    }
    for (body, words) in [
        (
            json!({"scenario": "hapy-path", "to": receiver.url()}),
            "happy-path",
        ),
        (
            json!({"scenario": "/etc/passwd", "to": receiver.url()}),
            "there is no scenario",
        ),
        (json!({"scenario": "mine"}), "to"),
        (
            json!({"scenario": "mine", "to": "http://8.8.8.8/"}),
            "--allow-destination",
        ),
        (
            json!({"scenario": {"evnts": []}, "to": receiver.url()}),
            "events",
        ),
    ] {
        let refused = start(body).expect(422).body;
        assert!(refused.contains(words), "{refused}");
    }
    start(json!({"scenario": "mine", "speed": "fast"})).expect(400);
    let run = start(json!({"scenario": slow, "to": receiver.url()}))
        .expect(201)
        .json();
    assert_eq!(run["state"], "running");
    let path = format!("/_mock/runs/{}", run["run_id"].as_str().unwrap());
    client.delete(&path).expect(200);
    let ended = client.get(&format!("{path}?wait=60s")).expect(200).json();
    assert_eq!(ended["state"], "stopped");
    client.get("/_mock/runs/999").expect(404);
    assert_eq!(
        client
            .get("/_mock/runs")
            .expect(200)
            .json()
            .as_array()
            .unwrap()
            .len(),
        5
    );
}

#[test]
fn a_faster_clock_carries_the_dates_along() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering("200 OK");
    let slow =
        "journeys: {j: {handset: {default: delivered, after: 1h}}}\nroutes: [{journey: j}]\n";
    fs::write(folder.path().join("slow.yaml"), slow).unwrap();
    let (_process, client) = start(folder.path(), &["slow.yaml", "--speed", "3600x"]);
    register(&client, &receiver.url());
    post(&client, "e", "a");
    let path = "/_mock/deliveries?event_id=e&outcome=handset.delivered&state=accepted&wait=60s";
    let found = client.get(path).expect(200).json();
    let time = |value: &Value| {
        value
            .as_str()
            .unwrap()
            .parse::<chrono::DateTime<chrono::Utc>>()
            .unwrap()
    };
    let due = time(&found["deliveries"][0]["due"]);
    assert!(
        due > chrono::Utc::now() + chrono::TimeDelta::minutes(30),
        "{due}"
    );
    let clock = client.get("/_mock/clock").expect(200).json();
    assert!(time(&clock["now"]) >= due);
}

#[test]
fn health_tells_of_trouble_with_the_data_file() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, client) = start(folder.path(), &["--data", "state"]);
    register(&client, "http://127.0.0.1:1/");
    // Gone from under it: what is written now would be lost.
    fs::remove_file(folder.path().join("state")).unwrap();
    let body = json!({"event_type": "a", "event_data": {"person_id": "1"}});
    client.post("/companies/k/events", &body).expect(503);
    let health = client.get("/healthz").expect(503).json();
    assert_eq!(health["status"], "trouble");
    assert!(
        health["trouble"].as_str().unwrap().contains("removed"),
        "{health}"
    );
    client.get("/companies/k/config/callbacks").expect(200);
}
