//! Reports in files, from outside: each is what its ending says, and a run that could not write one does
//! not begin.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod outside;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use outside::{Ran, Receiver, finish, fire, free_port, present, run, run_with_input};
use serde_json::Value;
use tempfile::TempDir;

const SCENARIO: &str = r#"
scenario: "<script>alert('x')</script> & \"more\" ]]> \u0007"
seed: 7
events:
  - {event_type: order_shipped, count: 5}
"#;

/// A folder, and the files in it that reports go to.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        Files(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Fires the scenario at a receiver, with a report of each form.
    fn fire(&self, url: &str, more: &[&str]) -> Ran {
        let [json, xml, html] = ["it.json", "it.xml", "it.HTML"].map(|name| self.path(name));
        let mut args = vec!["run", "-", "--to", url, "--format", "json"];
        args.extend(["--report", &json, "--report", &xml, "--report", &html]);
        args.extend(more);
        run_with_input(&args, SCENARIO)
    }
}

/// Accepts, refuses, is busy, and breaks off in turn.
fn mixed() -> Receiver {
    Receiver::with(|number, _| ["200 OK", "503 Busy", "404 No", "nonsense"][number % 4].to_owned())
}

const MIXED: &[&str] = &["--speed", "max", "--connections", "1", "--retry", "none"];

/// Where the tool that checks XML is, or a visible line that it is not there.
fn xmllint() -> Option<Command> {
    let there = Command::new("xmllint").arg("--version").output().is_ok();
    present(there, "xmllint").then(|| Command::new("xmllint"))
}

/// The XML Schema of Jenkins' JUnit files, as it comes with pytest's sources.
fn schema() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/reports/junit-10.xsd");
    present(path.exists(), "Jenkins' JUnit schema").then_some(path)
}

/// Checks that a file is XML, and that a schema allows it if there is one.
fn lint(file: &str, schema: Option<&Path>) {
    let Some(mut command) = xmllint() else { return };
    command.args(["--noout", "--nonet"]);
    if let Some(schema) = schema {
        command.arg("--schema").arg(schema);
    }
    finish(command.arg(file), "").expect_code(0);
}

#[test]
fn the_json_is_what_is_printed() {
    let (files, receiver) = (Files::new(), mixed());
    let printed = files.fire(&receiver.url(), MIXED).expect_code(1).json();
    let mut written: Value = serde_json::from_str(&files.read("it.json")).unwrap();
    let schema: Value = serde_json::from_str(include_str!("../schema/report.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    schema.validate(&written).unwrap();
    assert_eq!(written["callbacks"], 20);
    // The file alone has what it takes to add reports up.
    let distributions = written.as_object_mut().unwrap().remove("distributions");
    let counts = distributions.unwrap()["latency_us"].clone();
    let counts = counts.as_array().unwrap().iter();
    assert_eq!(counts.map(|it| it[1].as_u64().unwrap()).sum::<u64>(), 20);
    assert_eq!(written, printed);
}

#[test]
fn junit_shows_failing_outcomes() {
    let (files, receiver) = (Files::new(), mixed());
    files.fire(&receiver.url(), MIXED).expect_code(1);
    let xml = files.read("it.xml");
    // One in four is accepted.
    assert!(xml.contains("<failure message="), "{xml}");
    assert!(xml.contains("of 5 deliveries failed"), "{xml}");
    assert!(xml.contains(r#"name="seed" value="7""#), "{xml}");
    assert!(xml.contains(r#"name="errors.not_http" value="5""#), "{xml}");
    assert!(xml.contains(r#"classname="vibes-mock.callbacks""#), "{xml}");
    lint(&files.path("it.xml"), schema().as_deref());
}

#[test]
fn junit_of_a_good_run_has_no_failure() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    files
        .fire(&receiver.url(), &["--speed", "max"])
        .expect_code(0);
    let xml = files.read("it.xml");
    assert!(
        xml.contains(r#"tests="4" failures="0" errors="0""#),
        "{xml}"
    );
    assert!(
        !xml.contains("<failure") && !xml.contains("<error"),
        "{xml}"
    );
    lint(&files.path("it.xml"), schema().as_deref());
}

#[test]
fn junit_of_a_run_that_was_stopped_has_an_error() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    let xml = files.path("it.xml");
    let url = receiver.url();
    let args = [
        "trigger",
        "carrier.sent",
        "--step",
        "--to",
        &url,
        "--report",
        &xml,
    ];
    run_with_input(&args, "q\n").expect_code(130);
    let text = files.read("it.xml");
    assert!(text.contains(r#"<error message="interrupted"#), "{text}");
    lint(&xml, schema().as_deref());
}

/// Fails if a page asks for anything outside itself, or runs anything.
fn stands_alone(html: &str) {
    for outside in [
        "src=", "href=", "url(", "@import", "<script", "<link", "<iframe", " onload",
    ] {
        assert!(!html.contains(outside), "{outside} in {html}");
    }
}

#[test]
fn the_page_tells_every_failure_and_loads_nothing() {
    let (files, receiver) = (Files::new(), mixed());
    files.fire(&receiver.url(), MIXED).expect_code(1);
    let html = files.read("it.HTML");
    stands_alone(&html);
    lint(&files.path("it.HTML"), None);
    assert!(html.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{html}");
    let plain = html.replace("<wbr/>", "");
    for told in [
        "15 deliveries failed",
        ">503<",
        ">404<",
        "not_http",
        "handset.delivered",
        "✗ failed",
        "order_shipped",
        "<title id=\"over-time\">",
        "prefers-color-scheme: dark",
        "@media print",
    ] {
        assert!(plain.contains(told), "no {told} in {plain}");
    }
}

#[test]
fn a_page_of_hardly_anything() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    let (url, page) = (receiver.url(), files.path("it.html"));
    let args = ["trigger", "carrier.sent", "--to", &url, "--report", &page];
    run(&args).expect_code(0);
    let html = files.read("it.html");
    stands_alone(&html);
    lint(&page, None);
    assert!(html.contains("Every callback was accepted"), "{html}");
    // Nothing at all.
    let stopped = [&args[..], &["--step"]].concat();
    run_with_input(&stopped, "q\n").expect_code(130);
    let html = files.read("it.html");
    stands_alone(&html);
    lint(&page, None);
    assert!(html.contains("interrupted"), "{html}");
    assert!(!html.contains("NaN") && !html.contains("inf "), "{html}");
}

#[test]
fn retries_are_on_the_page() {
    let (files, receiver) = (
        Files::new(),
        Receiver::with(|number, _| ["503 Busy", "200 OK"][number.min(1)].to_owned()),
    );
    let more = ["--speed", "max", "--connections", "1"];
    files.fire(&receiver.url(), &more).expect_code(0);
    let html = files.read("it.HTML").replace("<wbr/>", "");
    assert!(
        html.contains("↻ to retry") && html.contains("attempt 2"),
        "{html}"
    );
}

#[test]
fn threads_share_a_page() {
    let (files, receiver) = (Files::new(), Receiver::answering("404 No"));
    files
        .fire(&receiver.url(), &["--speed", "max", "--threads", "2"])
        .expect_code(1);
    let html = files.read("it.HTML");
    lint(&files.path("it.HTML"), None);
    assert!(html.contains("20 deliveries failed"), "{html}");
    assert_eq!(html.matches("<h3>Journey ").count(), 5, "{html}");
}

#[test]
fn shares_add_up_from_their_files() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    let (url, [a, b]) = (
        receiver.url(),
        ["a.json", "b.json"].map(|name| files.path(name)),
    );
    for (share, path) in [("0/2", &a), ("1/2", &b)] {
        let start = ["--start", "2026-01-01T00:00:00Z"];
        let more = [&start[..], &["--shard", share, "--report", path]].concat();
        fire(&url, SCENARIO, &more).expect_code(0);
    }
    let sum = run(&["merge", &a, &b, "--format", "json"])
        .expect_code(0)
        .json();
    assert_eq!(sum["callbacks"], 20);
}

#[test]
fn another_ending_is_refused() {
    let receiver = Receiver::answering("200 OK");
    for name in ["report", "report.txt", "report.htm", ".json"] {
        let url = receiver.url();
        let ran = run(&["trigger", "carrier.sent", "--to", &url, "--report", name]);
        let ran = ran.expect_code(2);
        for ending in [".json", ".xml", ".html"] {
            assert!(ran.err.contains(ending), "{name}: {}", ran.err);
        }
    }
    assert!(receiver.requests().is_empty());
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    fs::create_dir(files.path("folder.xml")).unwrap();
    for name in ["nowhere/it.html", "folder.xml"] {
        let (url, path) = (receiver.url(), files.path(name));
        let ran = run(&["run", "happy-path", "--to", &url, "--report", &path]).expect_code(2);
        assert!(ran.err.contains(&path), "{}", ran.err);
    }
    assert!(receiver.requests().is_empty());
}

#[test]
fn a_run_that_does_not_begin_leaves_no_file_and_spoils_none() {
    let files = Files::new();
    fs::write(files.path("it.json"), "of yesterday").unwrap();
    let url = format!("http://127.0.0.1:{}/", free_port());
    files.fire(&url, &[]).expect_code(1);
    assert_eq!(files.read("it.json"), "of yesterday");
    assert!(!Path::new(&files.path("it.xml")).exists());
}

#[test]
fn one_file_is_not_for_several_scenarios() {
    let (files, receiver) = (Files::new(), Receiver::answering("200 OK"));
    let (url, page) = (receiver.url(), files.path("it.html"));
    let several = [
        "run",
        "happy-path",
        "happy-path-mms",
        "--to",
        &url,
        "--report",
        &page,
    ];
    let ran = run(&several).expect_code(2);
    assert!(ran.err.contains("one scenario"), "{}", ran.err);
    assert!(receiver.requests().is_empty() && !Path::new(&page).exists());
}
