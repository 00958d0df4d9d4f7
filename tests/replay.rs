//! From outside: what `listen --record` keeps, and what `replay` makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use outside::{Process, Ran, Receiver, post, program, run, run_in};
use proptest::prelude::*;
use serde_json::{Value, json};
use vibes_mock::replay;

/// A receiver that records into a file.
fn recorder(file: &Path, more: &[&str]) -> (Process, u16) {
    let mut command = program();
    command
        .args(["listen", "--port", "0", "--record"])
        .arg(file);
    let process = Process::start(command.args(more));
    let note = process.wait_for_note("(Ctrl-C ends)");
    let (_, rest) = note.split_once("http://127.0.0.1:").unwrap();
    let port = rest.split('/').next().unwrap().parse().unwrap();
    (process, port)
}

const SEEDED: [&str; 4] = ["--seed", "7", "--start", "2026-01-01T00:00:00Z"];

/// Records a run of a ready-made scenario.
fn record(scenario: &str, file: &Path) {
    let (_process, port) = recorder(file, &[]);
    let url = format!("http://127.0.0.1:{port}/callbacks");
    let mut args = vec!["run", scenario, "--to", &url, "--speed", "max"];
    args.extend(["--connections", "1"]);
    args.extend(SEEDED);
    run(&args).expect_code(0);
}

/// The bodies that the same run has in its plan.
fn planned(scenario: &str) -> Vec<String> {
    let mut args = vec!["plan", scenario, "--format", "jsonl"];
    args.extend(SEEDED);
    let ran = run(&args).expect_code(0);
    let body = |line: &str| {
        let (_, body) = line.split_once("\"body\":").unwrap();
        body.strip_suffix('}').unwrap().to_owned()
    };
    ran.out.lines().map(body).collect()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    text.lines().map(parse).collect()
}

/// Replays to a receiver over one connection, without waiting; gives the bodies that came.
fn replayed(file: &Path, more: &[&str]) -> (Ran, Vec<String>) {
    let receiver = Receiver::answering("200 OK");
    let mut command = program();
    command.arg("replay").arg(file);
    command.args(["--connections", "1", "--speed", "max", "--to"]);
    let ran = outside::finish(command.arg(receiver.url()).args(more), "");
    let bodies = receiver.requests().into_iter().map(|request| request.body);
    (ran, bodies.collect())
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A line of a recording.
fn line(after_ms: u64, body: &str) -> String {
    json!({"at": "2026-01-01T00:00:00.000Z", "after_ms": after_ms, "method": "POST", "path": "/",
           "headers": {}, "body": body, "status": 200})
    .to_string()
        + "\n"
}

mod recording {
    use super::*;

    #[test]
    fn holds_what_the_plan_has_and_gives_it_again() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        record("ordinary-day", &file);
        let plan = planned("ordinary-day");
        let lines = lines(&file);
        let bodies: Vec<_> = lines
            .iter()
            .map(|line| line["body"].as_str().unwrap())
            .collect();
        assert_eq!(bodies, plan);
        let first = &lines[0];
        assert_eq!(first["after_ms"], 0);
        assert_eq!(first["method"], "POST");
        assert_eq!(first["path"], "/callbacks");
        assert_eq!(first["status"], 200);
        assert_eq!(first["headers"]["content-type"], "application/json");
        let at = first["at"].as_str().unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(at).is_ok() && at.len() == 24,
            "{at}"
        );
        let (ran, again) = replayed(&file, &["--format", "json"]);
        assert_eq!(again, plan);
        let report = ran.expect_code(0).json();
        assert_eq!(report["accepted"], plan.len());
        assert!(report["outcomes"].get("other").is_none(), "{report}");
    }

    #[test]
    fn keeps_no_secrets() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        let (_process, port) = recorder(&file, &["--status", "503"]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = "PUT /a?b=c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Basic c2VjcmV0\r\nCookie: a=secret\r\nCookie: b=secret\r\n\
             Proxy-Authorization: secret\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 2\r\n\r\n\u{e9}";
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("secret") && !text.contains("c2Vj"), "{text}");
        let line = &lines(&file)[0];
        for name in ["authorization", "cookie", "proxy-authorization"] {
            assert_eq!(line["headers"][name], "…");
        }
        assert_eq!(line["headers"]["x-two"], "1, 2");
        assert_eq!(line["path"], "/a?b=c");
        assert_eq!(line["method"], "PUT");
        assert_eq!(line["status"], 503);
        assert_eq!(line["body"], "é");
    }

    #[test]
    fn keeps_bodies_that_are_no_text() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        let (_process, port) = recorder(&file, &[]);
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head =
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&[0, 0xff, b'a']).unwrap();
        stream.read_to_string(&mut String::new()).unwrap();
        let line = &lines(&file)[0];
        assert_eq!(line["body_base64"], "AP9h");
        assert!(line.get("body").is_none());
        assert_eq!(replay::read(&file).unwrap()[0].body, [0, 0xff, b'a']);
    }

    #[test]
    fn overwrites_nothing() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        std::fs::write(&file, "precious\n").unwrap();
        let args = ["listen", "--port", "0", "--record", "got.jsonl"];
        let ran = run_in(folder.path(), &args).expect_code(2);
        insta::assert_snapshot!(ran.shown());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious\n");
        std::fs::write(&file, "").unwrap();
        let (_process, port) = recorder(&file, &[]);
        post(port, "{}");
        assert_eq!(lines(&file).len(), 1);
    }

    #[test]
    fn needs_a_place() {
        let args = ["listen", "--port", "0", "--record", "no/such/folder/f"];
        let ran = run(&args).expect_code(2);
        assert!(ran.err.contains("no/such/folder/f"), "{}", ran.err);
    }
}

mod pace {
    use super::*;

    #[test]
    fn as_it_was_or_faster() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        // The first one is due at once, whenever it came; the order of the file does not matter.
        let text = [line(61_000, "b"), line(60_000, "a")].concat();
        std::fs::write(&file, text).unwrap();
        let (ran, bodies) = replayed(&file, &["--speed", "2x", "--format", "jsonl"]);
        assert_eq!(bodies, ["a", "b"]);
        let after = |line: &Value| line["after_ms"].as_u64().unwrap();
        let due: Vec<u64> = ran.expect_code(0).json_lines().iter().map(after).collect();
        assert_eq!(due, [0, 1000]);
    }
}

mod journals {
    use super::*;

    const SCENARIO: &str = "journeys:\n  delivered: {message: {text: Hi}}\n  rejected: {message: {text: Hi}, carrier: rejected}\n\
        events: [{event_type: order, count: 20, arrivals: {rate: 10/s}, journey: {delivered: 1, rejected: 1}}]\n";

    /// A run with a journal, at a receiver that refuses some.
    fn journal(folder: &Path) -> std::path::PathBuf {
        let receiver = Receiver::with(|_, request| match request.body.contains("rejected") {
            true => "400 Bad Request".to_owned(),
            false => "200 OK".to_owned(),
        });
        let file = folder.join("run.sqlite");
        let journal = ["--quiet", "--journal", file.to_str().unwrap()];
        let fixed = ["--seed", "1", "--start", "2026-01-01T00:00:00Z"];
        let more = [&journal[..], &fixed].concat();
        outside::fire(&receiver.url(), SCENARIO, &more).expect_code(1);
        file
    }

    #[test]
    fn are_sent_again_byte_for_byte() {
        let folder = folder();
        let file = journal(folder.path());
        let (ran, bodies) = replayed(&file, &["--speed", "max"]);
        ran.expect_code(0);
        let plan = outside::plan_json(SCENARIO, &[]);
        let planned: Vec<String> = plan.iter().map(|line| line["body"].to_string()).collect();
        assert_eq!(bodies, planned);
    }

    #[test]
    fn what_was_not_accepted_can_be_chosen() {
        let folder = folder();
        let file = journal(folder.path());
        let (ran, bodies) = replayed(&file, &["--speed", "max", "--failed"]);
        ran.expect_code(0);
        assert!(!bodies.is_empty());
        assert!(bodies.iter().all(|body| body.contains("rejected")));
        let (_, sent) = replayed(&file, &["--speed", "max", "--outcome", "carrier.sent"]);
        assert!(!sent.is_empty() && sent.iter().all(|body| !body.contains("rejected")));
    }
}

mod filters {
    use super::*;

    fn sample(outcome: &str) -> String {
        let args = ["catalog", outcome, "--format", "json"];
        run(&args).expect_code(0).json()[0]["body"].to_string()
    }

    /// A recording of three callbacks and something else.
    fn file(folder: &Path) -> (std::path::PathBuf, [String; 4]) {
        let named = |outcome: &str, event_type: &str, id: &str| {
            let mut body: Value = serde_json::from_str(&sample(outcome)).unwrap();
            body["event_processed"]["event_type"] = event_type.into();
            body["event_processed"]["event_id"] = id.into();
            body.to_string()
        };
        let bodies = [
            named("carrier.sent", "order", "id-1"),
            named("carrier.rejected", "order", "id-2"),
            named("handset.rejected", "refund", "id-3"),
            "no callback".to_owned(),
        ];
        let text: String = bodies.iter().map(|body| line(0, body)).collect();
        let file = folder.join("got.jsonl");
        std::fs::write(&file, text).unwrap();
        (file, bodies)
    }

    #[test]
    fn choose() {
        let folder = folder();
        let (file, bodies) = file(folder.path());
        let cases: &[(&[&str], &[usize])] = &[
            (&[], &[0, 1, 2, 3]),
            (&["--outcome", "carrier.*"], &[0, 1]),
            (&["--outcome", "*.rejected"], &[1, 2]),
            (
                &["--outcome", "carrier.sent", "--outcome", "handset.*"],
                &[0, 2],
            ),
            (&["--event-type", "refund"], &[2]),
            (
                &["--event-type", "refund", "--event-type", "order"],
                &[0, 1, 2],
            ),
            (&["--event-id", "id-2"], &[1]),
            (&["--failed"], &[1, 2]),
            (&["--failed", "--outcome", "carrier.*"], &[1]),
        ];
        for (args, wanted) in cases {
            let (ran, got) = replayed(&file, args);
            ran.expect_code(0);
            let wanted: Vec<_> = wanted.iter().map(|at| bodies[*at].clone()).collect();
            assert_eq!(got, wanted, "{args:?}");
        }
    }

    #[test]
    fn leave_nothing() {
        let folder = folder();
        file(folder.path());
        let args = |more: [&'static str; 2]| {
            let args = [
                "replay",
                "got.jsonl",
                "--to",
                "http://127.0.0.1:1/",
                more[0],
                more[1],
            ];
            run_in(folder.path(), &args).expect_code(2).shown()
        };
        let shown = [
            args(["--event-id", "id-4"]),
            args(["--outcome", "routing.*"]),
            args(["--outcome", "carier.sent"]),
        ];
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn reports_name_outcomes_and_events() {
        let folder = folder();
        let (file, _) = file(folder.path());
        let (ran, _) = replayed(&file, &["--format", "jsonl", "-q"]);
        let lines = ran.expect_code(0).json_lines();
        let outcomes: Vec<_> = lines.iter().map(|line| &line["outcome"]).collect();
        assert_eq!(
            outcomes,
            [
                "carrier.sent",
                "carrier.rejected",
                "handset.rejected",
                "other"
            ]
        );
        assert_eq!(lines[2]["event_id"], "id-3");
        assert_eq!(lines[2]["event_type"], "refund");
    }

    #[test]
    fn go_with_the_options_of_a_run() {
        let folder = folder();
        let (file, bodies) = file(folder.path());
        let receiver = Receiver::with(|number, _| match number {
            0 => "503 Service Unavailable".to_owned(),
            _ => "200 OK".to_owned(),
        });
        let mut command = program();
        command
            .arg("replay")
            .arg(&file)
            .args(["--to", &receiver.url()]);
        command.args(["--failed", "--retry", "1x1s", "--speed", "max", "--mark"]);
        let ran = outside::finish(command.args(["--connections", "1"]), "");
        assert_eq!(ran.expect_code(0).json()["retried"], 1);
        let requests = receiver.requests();
        let got: Vec<_> = requests.iter().map(|request| &request.body).collect();
        assert_eq!(got.len(), 3, "{got:?}");
        assert!(got.contains(&&bodies[1]) && got.contains(&&bodies[2]));
        assert_eq!(requests[0].header("x-vibes-mock-attempt"), Some("1"));
    }
}

mod har {
    use super::*;

    fn entry(time: &str, method: &str, url: &str, body: Option<&str>) -> Value {
        let mut request = json!({"method": method, "url": url, "httpVersion": "HTTP/1.1",
            "headers": [{"name": "Accept", "value": "*/*"}], "queryString": [], "cookies": [],
            "headersSize": -1, "bodySize": -1});
        if let Some(body) = body {
            request["postData"] = json!({"mimeType": "application/json", "text": body});
        }
        json!({"startedDateTime": time, "time": 3.5, "request": request, "response": {}, "timings": {}})
    }

    fn write(folder: &Path, entries: Vec<Value>) {
        let har = json!({"log": {"version": "1.2", "creator": {"name": "t"}, "entries": entries}});
        let text = serde_json::to_string_pretty(&har).unwrap();
        std::fs::write(folder.join("any.name"), format!("\u{feff}{text}")).unwrap();
    }

    const BODIES: [&str; 2] = [
        "{\"a\": \"\\\"\\\\\\u00e9 é 𝄞\",\r\n\t\"b\": 1.10}",
        "Zeile\u{0}\u{7f}ß\\n",
    ];

    #[test]
    fn goes_where_it_went() {
        let folder = folder();
        let receiver = Receiver::answering("200 OK");
        let url = receiver.url();
        let entries = vec![
            entry(
                "2026-01-01T01:00:00.250+01:00",
                "PUT",
                &url,
                Some(BODIES[1]),
            ),
            entry("2026-01-01T00:00:00Z", "PUT", &url, Some(BODIES[0])),
            entry("2026-01-01T00:00:00Z", "GET", "http://elsewhere/", None),
            entry("2026-01-01T00:00:00Z", "POST", "http://elsewhere/", None),
        ];
        write(folder.path(), entries);
        let args = ["replay", "any.name", "--connections", "1"];
        let report = run_in(folder.path(), &args).expect_code(0).json();
        assert_eq!(report["outcomes"]["other"]["accepted"], 2);
        let requests = receiver.requests();
        let bodies: Vec<_> = requests.iter().map(|request| &request.body).collect();
        assert_eq!(bodies, BODIES);
        assert_eq!(requests[0].method, "PUT");
    }

    #[test]
    fn asks_where_to_if_it_went_to_several() {
        let folder = folder();
        let time = "2026-01-01T00:00:00Z";
        let entries = vec![
            entry(time, "POST", "http://127.0.0.1:1/a", Some("1")),
            entry(time, "POST", "http://127.0.0.1:1/b", Some("2")),
        ];
        write(folder.path(), entries);
        let ran = run_in(folder.path(), &["replay", "any.name"]).expect_code(2);
        insta::assert_snapshot!(ran.shown());
        let (ran, bodies) = replayed(&folder.path().join("any.name"), &[]);
        ran.expect_code(0);
        assert_eq!(bodies, ["1", "2"]);
    }
}

mod broken {
    use super::*;

    #[test]
    fn files() {
        let folder = folder();
        let good = line(1, "{}");
        let har = |entries: &str| format!("{{\n \"log\": {{\"entries\": [\n{entries}]}}}}\n");
        let get = r#"{"startedDateTime": "2026-01-01T00:00:00Z", "request": {"method": "GET", "url": "http://a/"}}"#;
        let posted = |time: &str| {
            format!(
                r#"{{"startedDateTime": "{time}", "request": {{"method": "POST", "url": "http://a/", "postData": {{"text": "x"}}}}}}"#
            )
        };
        let files = [
            ("empty", String::new()),
            ("text", "hello\n".to_owned()),
            ("number", format!("{good}7\n")),
            (
                "in the middle",
                format!("{good}{{\"after_ms\": 1, \n{good}"),
            ),
            (
                "plan",
                "{\"after_ms\": 0, \"body\": {\"event_id\": \"a\"}}\n".to_owned(),
            ),
            ("no body", "{\"after_ms\": 0}\n".to_owned()),
            ("no time", format!("{good}\n{{\"body\": \"\"}}\n")),
            (
                "two bodies",
                "{\"after_ms\":0,\"body\":\"\",\"body_base64\":\"\"}\n".to_owned(),
            ),
            (
                "base64",
                "{\"after_ms\":0,\"body_base64\":\"?\"}\n".to_owned(),
            ),
            (
                "far",
                "{\"after_ms\":18446744073709551615,\"body\":\"\"}\n".to_owned(),
            ),
            ("half", "{\"after_ms\":0,\"bo".to_owned()),
            (
                "only GET",
                "{\"after_ms\":0,\"method\":\"GET\",\"body\":\"\"}\n".to_owned(),
            ),
            ("database", "SQLite format 3\0 and so on".to_owned()),
            ("har cut", "{\"log\": {\"entries\": [".to_owned()),
            ("har without entries", "{\"log\": {}}".to_owned()),
            ("har of GET", har(get)),
            ("har time", har(&posted("yesterday"))),
            (
                "har far",
                har(&[
                    posted("0001-01-01T00:00:00Z"),
                    posted("2026-01-01T00:00:00Z"),
                ]
                .join(",")),
            ),
        ];
        let mut shown = String::new();
        for (name, text) in files {
            std::fs::write(folder.path().join("f"), text).unwrap();
            let args = ["replay", "f", "--to", "http://127.0.0.1:1/"];
            let ran = run_in(folder.path(), &args).expect_code(2);
            shown.push_str(&format!("# {name}\n{}\n", ran.shown()));
        }
        let ran = run_in(folder.path(), &["replay", "none.jsonl"]).expect_code(2);
        shown.push_str(&format!("# missing\n{}\n", ran.shown()));
        let ran = run_in(folder.path(), &["replay", "."]).expect_code(2);
        shown.push_str(&format!("# folder\n{}\n", ran.shown()));
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn without_a_destination() {
        let folder = folder();
        std::fs::write(folder.path().join("got.jsonl"), line(0, "{}")).unwrap();
        let ran = run_in(folder.path(), &["replay", "got.jsonl"]).expect_code(2);
        insta::assert_snapshot!(ran.shown());
    }

    #[test]
    fn last_lines() {
        let folder = folder();
        let file = folder.path().join("got.jsonl");
        let half = line(1, "{\"é\": 2}");
        // Wherever the recorder was killed; the whole line is good without its line break, too.
        for cut in 1..half.len() - 1 {
            let mut bytes = line(0, "one").into_bytes();
            bytes.extend(&half.as_bytes()[..cut]);
            let reading = replay::parse("f", &bytes).unwrap();
            assert_eq!(reading.list.len(), 1, "{cut}");
            assert!(reading.warning.unwrap().starts_with("f:2: "));
        }
        std::fs::write(&file, line(0, "one") + &half[..half.len() - 5]).unwrap();
        let (ran, bodies) = replayed(&file, &[]);
        assert_eq!(bodies, ["one"]);
        let ran = ran.expect_code(0);
        assert!(
            ran.err.contains("warning: ") && ran.err.contains("got.jsonl:2"),
            "{}",
            ran.err
        );
        std::fs::write(&file, line(0, "one") + half.trim_end()).unwrap();
        let (ran, bodies) = replayed(&file, &[]);
        assert_eq!(bodies.len(), 2);
        assert_eq!(ran.expect_code(0).err, "");
    }
}

/// A sound file of each kind.
fn sound() -> [String; 2] {
    let callback =
        run(&["catalog", "carrier.rejected", "--format", "json"]).json()[0]["body"].to_string();
    let har = json!({"log": {"entries": [{"startedDateTime": "2026-01-01T00:00:00Z", "request":
        {"method": "POST", "url": "http://a/", "postData": {"text": callback, "encoding": null}}}]}});
    [[line(0, &callback), line(5, "é")].concat(), har.to_string()]
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        ",",
        ":",
        "\n",
        "null",
        "-1",
        "1e400",
        "0.5",
        "99999999999999999999",
        "\"log\":",
        "\"base64\"",
        "\u{0}",
        "\u{feff}",
        "𝄞",
        "SQLite format 3\u{0}",
        "\"after_ms\":",
        "\"body_base64\":\"=\"",
        "-262143-01-01T00:00:00Z",
        "+262142-01-01T00:00:00Z",
        "2016-12-31T23:59:60Z",
    ];
    prop_oneof![
        prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ]
}

/// Refused with words that say where, or read.
fn look_at(bytes: &[u8]) -> Result<(), TestCaseError> {
    match replay::parse("any file", bytes) {
        Ok(reading) => prop_assert!(!reading.list.is_empty()),
        Err(message) => {
            prop_assert!(message.contains("any file"), "{message}");
            prop_assert!(
                message
                    .split_once('\n')
                    .is_some_and(|(_, help)| !help.is_empty())
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn anything_is_read_or_refused(pieces in prop::collection::vec(piece(), 0..16)) {
        look_at(&pieces.concat())?;
    }
}

#[test]
fn sound_files_with_something_broken_in_them() {
    let sound = sound();
    for text in &sound {
        look_at(text.as_bytes()).unwrap();
        assert!(replay::parse("any file", text.as_bytes()).is_ok());
    }
    let changes = (0..2_usize, 0.0..1.0_f64, 0..40_usize, piece());
    proptest!(ProptestConfig::with_cases(2000), |((which, at, cut, put) in changes)| {
        let bytes = sound[which].as_bytes();
        let from = (bytes.len() as f64 * at) as usize;
        let to = (from + cut).min(bytes.len());
        look_at(&[&bytes[..from], &put, &bytes[to..]].concat())?;
    });
}

#[test]
fn depth_cannot_exhaust_anything() {
    for text in [
        "[".repeat(1_000_000),
        "{\"log\":".repeat(1_000_000),
        "{\"body\":".repeat(1_000_000),
    ] {
        look_at(text.as_bytes()).unwrap();
    }
}
