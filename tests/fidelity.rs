//! Each body is what Vibes documents: key for key, in the documented order, with the documented
//! constants.
//!
//! `tests/fidelity/` holds the 18 examples of the Event-Triggered Callbacks page as data, its slips mended
//! (spaces within dates and links, the footnote behind an error code).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;

use outside::documented::{EXAMPLES, document, lines_of};
use outside::{fire, plan, plan_json, run};
use serde_json::Value;

fn catalog() -> Vec<Value> {
    let ran = run(&["catalog", "--format", "json"]).expect_code(0);
    serde_json::from_value(ran.json()).expect("an array")
}

#[test]
fn the_documented_bodies_are_matched_key_for_key_in_order() {
    let catalog = catalog();
    for (name, outcome, variant) in EXAMPLES {
        let expected = document(name);
        let entry = catalog
            .iter()
            .filter(|entry| entry["outcome"] == outcome)
            .nth(variant)
            .unwrap_or_else(|| panic!("no entry {variant} of {outcome}"));
        assert_eq!(lines_of(&entry["body"]), lines_of(&expected), "{name}");
    }
}

#[test]
fn ids_are_uuids_of_version_4() {
    for line in plan_json("events: [{event_type: a}]", &[]) {
        let body = &line["body"];
        for id in [&body["event_id"], &body["event_processed"]["event_id"]] {
            let id = id.as_str().unwrap();
            let shape: String = id
                .chars()
                .map(|c| if c == '-' { '-' } else { 'x' })
                .collect();
            assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert!(
                id.bytes()
                    .all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            );
            assert_eq!(&id[14..15], "4", "{id}");
            assert!("89ab".contains(&id[19..20]), "{id}");
        }
    }
}

/// The page's two tables, with the status that is chosen for each reason.
const CARRIER: [(&str, &str); 6] = [
    ("sent", "success"),
    ("rejected", "failed"),
    ("unroutable", "failed"),
    ("queued", "processing"),
    ("expired", "failed"),
    ("other_error", "failed"),
];
const HANDSET: [(&str, &str); 15] = [
    ("default_vibes_unknown", "processing"),
    ("enroute", "processing"),
    ("queued_on_aggregator", "processing"),
    ("queued_on_carrier", "processing"),
    ("delivered", "success"),
    ("expired", "failed"),
    ("deleted", "failed"),
    ("undeliverable", "failed"),
    ("accepted", "success"),
    ("unknown", "failed"),
    ("rejected", "failed"),
    ("not_optin", "failed"),
    ("pending", "processing"),
    ("submission_error", "failed"),
    ("submitted", "processing"),
];

#[test]
fn every_status_reason_of_the_tables_is_there() {
    let catalog = catalog();
    assert_eq!(catalog.len(), 35);
    for (stage, table) in [
        ("carrier", CARRIER.as_slice()),
        ("handset", HANDSET.as_slice()),
    ] {
        let listed: BTreeSet<_> = catalog
            .iter()
            .filter(|entry| entry["stage"] == stage)
            .map(|entry| entry["outcome"].as_str().unwrap().to_owned())
            .collect();
        let wanted: BTreeSet<_> = table
            .iter()
            .map(|(reason, _)| format!("{stage}.{reason}"))
            .collect();
        assert_eq!(listed, wanted);
        for (reason, status) in table {
            let name = format!("{stage}.{reason}");
            let entry = catalog
                .iter()
                .find(|entry| entry["outcome"] == *name)
                .unwrap();
            let action = &entry["body"]["event_processed"]["action"];
            assert_eq!(action["status_reason"], *reason);
            assert_eq!(action["status"], *status, "{name}");
            let has_code = action["failure"]["errors"][0]["error_code"] == 23;
            assert_eq!(has_code, *status == "failed", "{name}");
            assert_eq!(
                entry["body"].get("event_type").is_some(),
                stage == "carrier",
                "{name}"
            );
        }
    }
}

/// The one body of a journey that ends at the carrier, under settings.
fn receipt(settings: &str, outcome: &str) -> Value {
    let scenario = format!(
        "{settings}\njourneys: {{a: {{carrier: {outcome}}}}}\nevents: [{{event_type: order, journey: a}}]\n"
    );
    let lines = plan_json(&scenario, &[]);
    lines
        .into_iter()
        .find(|line| line["stage"] == "carrier")
        .expect("a carrier receipt")["body"]
        .take()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn settings_choose_where_the_documentation_contradicts_itself() {
    let links: [(&str, &[&str]); 4] = [
        ("", &["url"]),
        ("dlr_links: url", &["url"]),
        ("dlr_links: resource_url", &["resource_url"]),
        ("dlr_links: both", &["url", "resource_url"]),
    ];
    for (setting, expected) in links {
        let body = receipt(setting, "sent");
        let sms = &body["event_processed"]["action"]["sms"];
        assert_eq!(keys(&sms["source"]), expected, "{setting}");
        let person: Vec<_> = ["person_key"].iter().chain(expected).copied().collect();
        assert_eq!(keys(&sms["person"]), person, "{setting}");
    }
    let types = [
        ("", Some("event_processed")),
        ("top_event_type: as_examples", Some("event_processed")),
        ("top_event_type: event", Some("order")),
        ("top_event_type: absent", None),
    ];
    for (setting, expected) in types {
        assert_eq!(
            receipt(setting, "sent")
                .get("event_type")
                .and_then(Value::as_str),
            expected
        );
    }
    let body = receipt("statuses: {carrier.queued: failed}", "queued");
    let action = &body["event_processed"]["action"];
    assert_eq!(
        (
            &action["status"],
            &action["failure"]["errors"][0]["error_code"]
        ),
        (&"failed".into(), &23.into())
    );
}

#[test]
fn debug_data_is_there_if_the_event_had_it_even_empty() {
    let debug = |written: &str| {
        let scenario = format!("events: [{{event_type: a{written}}}]");
        let line = plan_json(&scenario, &[]).swap_remove(0);
        line["body"]["event_processed"].get("debug_data").cloned()
    };
    assert_eq!(debug(""), None);
    assert_eq!(debug(", debug_data: {}"), Some(serde_json::json!({})));
    assert_eq!(
        debug(", debug_data: {a: [1]}"),
        Some(serde_json::json!({"a": [1]}))
    );
}

#[test]
fn event_data_passes_through_untouched() {
    let data = r#"{"z":1.10,"mdn":"+15551230100","big":123456789012345678901234567890,"e":1E400,"neg":-0.0,"a":[true,null,{"":"","ü":"\u00e9\n\"\\"}],"y":{},"l":[]}"#;
    let scenario =
        format!("events:\n  - event_type: a\n    event_data: {data}\n    debug_data: {data}\n");
    let expected = data.replace("\\u00e9", "é");
    for line in plan(&scenario, &[]) {
        assert!(
            line.contains(&format!(
                "\"event_data\":{expected},\"debug_data\":{expected},\"action\""
            )),
            "{line}"
        );
    }
}

#[test]
fn event_date_is_when_it_happened_in_whole_seconds() {
    let scenario = "
journeys:
  a: {routing: {accepted: {after: 1999ms}}, processing: {queued: {after: 1ms}}, carrier: {after: 1h}, handset: {after: 48h}}
events: [{event_type: a, journey: a}]";
    let dates: Vec<_> = plan_json(scenario, &["--start", "2026-02-27T22:59:58.001Z"])
        .iter()
        .map(|line| line["body"]["event_date"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "2026-02-27T23:00:00Z",
        "2026-02-27T23:00:00Z",
        "2026-02-28T00:00:00Z",
        "2026-03-02T00:00:00Z",
    ];
    assert_eq!(dates, expected);
}

#[test]
fn an_id_is_fresh_for_each_callback_and_the_same_in_each_repetition() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // Refuses everything for a passing reason; each connection carries one request.
    let receiver = std::thread::spawn(move || {
        let mut bodies = Vec::new();
        // The first connection only asks whether somebody is there.
        for stream in listener.incoming().take(1 + 4 * 3) {
            let mut stream = stream.unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let read = stream.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..read]);
                let whole = String::from_utf8_lossy(&text);
                let body = whole.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                if read == 0 || serde_json::from_str::<Value>(body).is_ok() {
                    bodies.push(body.to_owned());
                    break;
                }
            }
            let _ = stream
                .write_all(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        bodies.split_off(1)
    });
    let more = ["--retry", "2x10s", "--connections", "1"];
    fire(&url, "seed: 1\nevents: [{event_type: a}]", &more).expect_code(1);
    let bodies = receiver.join().unwrap();
    let distinct: BTreeSet<_> = bodies.iter().collect();
    assert_eq!(
        (bodies.len(), distinct.len()),
        (12, 4),
        "each body comes three times, to the byte"
    );
    let ids: BTreeSet<_> = distinct
        .iter()
        .map(|body| serde_json::from_str::<Value>(body).unwrap()["event_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn settings_reach_the_bodies_that_they_are_about_and_no_others() {
    let bodies = |settings: &str| -> Vec<Value> {
        let scenario = format!("{settings}\ncompany_key: acme\nevents: [{{event_type: order}}]\n");
        plan_json(&scenario, &[])
            .into_iter()
            .map(|mut line| line["body"].take())
            .collect()
    };
    for body in bodies("top_event_type: event") {
        assert_eq!(body["event_type"], "order", "{body}");
    }
    for body in bodies("top_event_type: absent") {
        assert_eq!(body.get("event_type"), None, "{body}");
    }
    let both = bodies("dlr_links: both");
    let queued = &both[1]["event_processed"]["action"]["sms"];
    assert_eq!(keys(&queued["source"]), ["resource_url"]);
    let sent = &both[2]["event_processed"]["action"]["sms"];
    let key = sent["person"]["person_key"].as_str().unwrap();
    assert_eq!(
        sent["person"]["url"],
        format!("/companies/acme/mobiledb/persons/{key}")
    );
    assert_eq!(sent["source"]["url"], queued["source"]["resource_url"]);
    let mended = receipt("statuses: {carrier.rejected: success}", "rejected");
    let action = &mended["event_processed"]["action"];
    assert_eq!(
        (&action["status"], action.get("failure")),
        (&"success".into(), None)
    );
}

#[test]
fn cron_fires_on_whole_seconds_whatever_the_start() {
    let scenario = "
journeys: {a: {routing: {no_route_rules: {after: 0s}}}}
events: [{event_type: a, count: 3, arrivals: {cron: \"*/20 * * * * *\"}, journey: a}]";
    for (start, expected) in [
        (
            "2026-01-01T00:00:00Z",
            ["00:00:00.000", "00:00:20.000", "00:00:40.000"],
        ),
        (
            "2026-01-01T00:00:00.500Z",
            ["00:00:20.000", "00:00:40.000", "00:01:00.000"],
        ),
        (
            "2026-01-01T00:00:19.999999999Z",
            ["00:00:20.000", "00:00:40.000", "00:01:00.000"],
        ),
    ] {
        let times: Vec<_> = plan_json(scenario, &["--start", start])
            .iter()
            .map(|line| line["at"].as_str().unwrap()[11..23].to_owned())
            .collect();
        assert_eq!(times, expected, "{start}");
    }
}
