//! Requests that Schemathesis makes of OpenAPI documents: none is answered with an error of the server's own, and
//! each answer is what the document says.
//!
//! `tests/openapi/vibes.json` says in our own words what Vibes publishes of its three APIs; the other document is
//! the one that the server makes of its table of endpoints. `.ci/run` installs Schemathesis under
//! `target/receivers`; where it is missing, the tests are skipped with a visible line, and fail where `CI` is set.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::path::PathBuf;
use std::process::Command;

use outside::present;
use serde_json::Value;
use vibes_mock::VibesMock;

/// Checks of answers. Others ask how strictly a server must read its requests, on which the documents are silent.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,allow_header_conformance";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs Schemathesis over a document, against a server whose clock stands, so that nothing is sent by itself. Each
/// operation must have been answered with a success at least once, or little was looked at; of those that are
/// `rarely` met that is too much to ask.
fn conforms(document: impl FnOnce(&VibesMock) -> String, more: &[&str], rarely: &[&str]) {
    let schemathesis = root().join("target/receivers/venv/bin/st");
    if !present(schemathesis.exists(), "Schemathesis") {
        return;
    }
    let mock = VibesMock::start_with_virtual_clock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let document = document(&mock);
    std::fs::write(folder.path().join("openapi.json"), &document).unwrap();
    // All is about one company, so that what was made is found again.
    let settings = "[parameters]\ncompany_key = \"acme\"\n";
    std::fs::write(folder.path().join("schemathesis.toml"), settings).unwrap();
    let ran = Command::new(schemathesis)
        .current_dir(folder.path())
        .args(["run", "openapi.json", "--url", &mock.url()])
        .args(["--checks", CHECKS, "--seed", "8423"])
        .args(["--generation-database", "none", "--request-timeout", "30"])
        .args([
            "--suppress-health-check",
            "all",
            "--warnings",
            "off",
            "--no-color",
        ])
        .args(["--report", "har", "--report-har-path", "requests.har"])
        .args(more)
        .env("COLUMNS", "160")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");
    let requests = std::fs::read_to_string(folder.path().join("requests.har")).unwrap();
    let (document, requests) = (json(&document), json(&requests));
    let operations = document["paths"].as_object().unwrap().iter();
    let missed: Vec<_> = operations
        .flat_map(|(path, operations)| {
            let operations = operations.as_object().unwrap().iter();
            operations.map(move |(method, operation)| (path, method, operation))
        })
        .filter(|(_, _, operation)| operation.get("operationId").is_some())
        .filter(|(path, method, _)| !succeeded(&requests, method, path))
        .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
        .filter(|operation| !rarely.contains(operation))
        .collect();
    assert!(missed.is_empty(), "no success: {missed:?}");
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Whether one of the recorded requests was for that operation and had a success.
fn succeeded(requests: &Value, method: &str, template: &str) -> bool {
    let pieces = |path: &str| -> Vec<String> {
        let path = path.split('?').next().unwrap_or_default();
        path.trim_matches('/')
            .split('/')
            .map(str::to_owned)
            .collect()
    };
    let template = pieces(template);
    let entries = requests["log"]["entries"].as_array().unwrap();
    entries.iter().any(|entry| {
        let (request, status) = (&entry["request"], &entry["response"]["status"]);
        let url = request["url"].as_str().unwrap();
        let path = pieces(url.splitn(4, '/').nth(3).unwrap_or_default());
        request["method"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case(method)
            && status.as_u64().is_some_and(|status| status / 100 == 2)
            && path.len() == template.len()
            && path
                .iter()
                .zip(&template)
                .all(|(own, piece)| own == piece || piece.starts_with('{'))
    })
}

#[test]
fn the_server_is_what_vibes_publishes() {
    let read = |_: &_| std::fs::read_to_string(root().join("tests/openapi/vibes.json")).unwrap();
    conforms(read, &["--max-examples", "20"], &[]);
}

#[test]
fn the_server_is_what_it_says_itself() {
    let ask = |mock: &VibesMock| {
        let client = outside::client::Client::of(&mock.url());
        client.get("/_mock/openapi.json").expect(200).body
    };
    // It sends changes for as long as somebody listens.
    let more = ["--exclude-path", "/_mock/stream", "--max-examples", "4"];
    // They need a scenario, or the id of what is there; the other document's test meets most of them.
    let rarely = [
        "getCallback",
        "cancelCallback",
        "testCallback",
        "getCampaign",
        "updateCampaign",
        "cancelCampaign",
        "updateCallback",
        "startRun",
        "getRun",
        "stopRun",
        "getDelivery",
        "redeliver",
        "advanceClock",
        "setRoutes",
        "watch",
    ];
    conforms(ask, &more, &rarely);
}
