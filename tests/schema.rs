//! The published JSON Schemas against what the program takes and prints: an editor that goes by them and
//! `check` agree, as far as a schema can say it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod outside;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use outside::{Receiver, run, run_with_input};
use serde_json::{Map, Value, json};
use vibes_mock::scenario::decode::{Plain, based, resolve_plain};
use vibes_mock::scenario::yaml::{Kind, NodeId, Tree};

/// Broken files that are no YAML, or more than the program reads; an editor sees that without a schema.
const NO_YAML: &[&str] = &[
    "alias-to-itself",
    "bad-indentation",
    "colon-in-a-text",
    "deeply-nested",
    "empty",
    "foreign-tag",
    "only-comments",
    "tabs",
    "template-without-quotes",
    "two-documents",
    "unclosed-bracket",
    "unclosed-quote",
    "unknown-anchor",
];

/// Broken files that are YAML and have no form in JSON, so that no schema sees the mistake.
const NO_JSON: &[(&str, &str)] = &[
    ("alias-bomb", "too large for one"),
    ("double-keys", "a map of JSON has each key once"),
    ("everything-at-once", "JSON has no such numbers"),
    ("list-as-a-key", "a key of JSON is a text"),
    ("not-a-number-in-data", "JSON has no such numbers"),
    ("numbers-in-data", "JSON has no such numbers"),
    ("weights", "JSON has no such numbers"),
];

/// Broken files whose mistake a schema cannot express.
const NO_SCHEMA: &[(&str, &str)] = &[
    ("a-run-of-centuries", "a product of count and rate"),
    ("company-key", "its own rules"),
    ("company-key-empty", "its own rules"),
    ("company-key-too-long", "its own rules"),
    ("cron", "cron has a grammar of its own"),
    ("cron-of-centuries", "what a cron expression comes to"),
    ("cron-that-never-comes", "what a cron expression comes to"),
    ("durations-too-long", "a comparison"),
    ("error-code-of-a-success", "it depends on `statuses`"),
    ("event-data-too-big", "the size of it all"),
    ("event-data-too-big-once-rendered", "a template"),
    ("event-data-while-it-is-made", "a template"),
    ("event-types", "perhaps a template"),
    ("event-types-from-templates", "a template"),
    ("events-of-an-empty-list", "routes alone would do"),
    ("filters-used-wrongly", "a template"),
    ("impossible-after-a-failed-routing", "the platform's rules"),
    ("impossible-final-on-the-way", "the platform's rules"),
    ("impossible-for-this-message", "the platform's rules"),
    (
        "impossible-receipt-of-a-refused-part",
        "the platform's rules",
    ),
    (
        "impossible-receipts-of-a-refused-message",
        "the platform's rules",
    ),
    ("impossible-receipts-of-an-mms", "the platform's rules"),
    ("journey-without-any", "a reference within the file"),
    ("loop-in-a-loop", "a template"),
    ("loop-without-end", "a template"),
    ("mobile-numbers", "perhaps a template"),
    ("no-events", "routes alone would do"),
    ("part-beyond-the-message", "how a text splits"),
    ("ramp-over-no-time", "a comparison"),
    ("expect-counts-backwards", "a comparison"),
    ("fault-journeys", "a reference within the file"),
    ("fault-journeys-without-any", "a reference within the file"),
    ("fault-times-backwards", "a comparison"),
    ("ranges-backwards", "a comparison"),
    ("seed-too-large", "editors read it as a number that fits"),
    ("tags-nested-too-deep", "a template"),
    ("text-that-doubles", "a template"),
    ("text-without-end", "a template"),
    ("too-many-parts", "how a text splits"),
    ("unclosed-tags", "a template"),
    ("unknown-event-data", "a template"),
    ("unknown-filters", "a template"),
    ("unknown-journeys", "a reference within the file"),
    ("unknown-tags", "a template"),
    ("unknown-variables", "a template"),
    ("unused-journey-and-an-error", "perhaps a template"),
    ("url-ftp", "its own rules"),
    ("url-of-a-path", "its own rules"),
    ("url-that-is-empty", "its own rules"),
    ("url-too-long", "its own rules"),
    ("url-with-a-large-port", "its own rules"),
    ("url-with-a-password", "its own rules"),
    ("url-with-letters-beyond-ascii", "its own rules"),
    ("url-with-port-0", "its own rules"),
    ("url-with-spaces", "its own rules"),
    ("url-without-a-host", "its own rules"),
    ("url-without-a-scheme", "its own rules"),
    ("weights-too-large", "a sum"),
];

fn validator(name: &str) -> Validator {
    let schema = run(&["schema", name]).expect_code(0).json();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    jsonschema::draft202012::meta::validate(&schema).unwrap();
    jsonschema::draft202012::new(&schema).unwrap()
}

/// What an editor that knows JSON Schema makes of a YAML file.
fn to_json(tree: &Tree, id: NodeId) -> Result<Value, String> {
    written_out(tree, id, &mut 100_000)
}

/// Aliases written out, of so many values at the most.
fn written_out(tree: &Tree, id: NodeId, left: &mut u32) -> Result<Value, String> {
    *left = left.checked_sub(1).ok_or("too many values")?;
    match &tree.node(id).kind {
        Kind::Scalar { text, plain: false } => Ok(json!(text)),
        Kind::Scalar { text, plain: true } => match resolve_plain(text) {
            Plain::Null => Ok(Value::Null),
            Plain::Bool(value) => Ok(json!(value)),
            Plain::Number(number) => number_to_json(number),
            Plain::Text => Ok(json!(text)),
        },
        Kind::List(items) => items
            .iter()
            .map(|item| written_out(tree, *item, left))
            .collect(),
        Kind::Map(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let key = tree.scalar(*key).ok_or("a key is no text")?;
                if map
                    .insert(key.to_owned(), written_out(tree, *value, left)?)
                    .is_some()
                {
                    return Err(format!("the key {key} stands twice"));
                }
            }
            Ok(Value::Object(map))
        }
    }
}

fn number_to_json(text: &str) -> Result<Value, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if let Some(value) = based(digits) {
        return Ok(json!(value));
    }
    serde_json::from_str(digits).map_err(|_| format!("{text} is no number of JSON"))
}

fn read(path: &Path) -> Result<Result<Value, String>, String> {
    let text = fs::read_to_string(path).unwrap();
    match Tree::parse(&text) {
        Ok(tree) => Ok(to_json(&tree, tree.root())),
        Err(finding) => Err(finding.message),
    }
}

/// The YAML files of a folder by their names.
fn files(folder: &str) -> BTreeMap<String, std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect()
}

fn complaints(validator: &Validator, value: &Value) -> Vec<String> {
    let errors = validator.iter_errors(value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

#[test]
fn ready_made_scenarios_fit() {
    let schema = validator("scenario");
    let files = files("scenarios");
    assert!(files.len() >= 30);
    for (name, path) in files {
        let value = read(&path).unwrap().unwrap();
        assert_eq!(complaints(&schema, &value), [""; 0], "{name}");
    }
}

#[test]
fn broken_scenarios_do_not_fit() {
    let schema = validator("scenario");
    let (mut no_yaml, mut no_json, mut fitting) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (name, path) in files("tests/broken") {
        match read(&path) {
            Err(_) => no_yaml.push(name),
            Ok(Err(_)) => {
                no_json.insert(name);
            }
            Ok(Ok(value)) if schema.is_valid(&value) => {
                fitting.insert(name);
            }
            Ok(Ok(_)) => {}
        }
    }
    assert_eq!(no_yaml, NO_YAML);
    let named = |list: &[(&str, &str)]| -> BTreeSet<String> {
        list.iter().map(|(name, _)| (*name).to_owned()).collect()
    };
    assert_eq!(no_json, named(NO_JSON));
    let allowed: BTreeSet<String> = named(NO_SCHEMA);
    let wrongly: Vec<_> = fitting.difference(&allowed).collect();
    assert!(
        wrongly.is_empty(),
        "the schema takes what `check` refuses: {wrongly:?}"
    );
    let seen: Vec<_> = named(NO_SCHEMA).difference(&fitting).cloned().collect();
    assert!(
        seen.is_empty(),
        "the schema does see these, so they need no excuse: {seen:?}"
    );
}

/// Everything that the interface describes and this version carries out, in every form it can have.
const EVERYTHING: &str = r##"
scenario: Everything
seed: 18446744073709551615
company_key: a-B_9
destination:
  url: http://127.0.0.1:8080/vibes/callbacks
  method: PUT
  content_type: text/json
  headers: {X-Team: a, Authorization: Basic eA==}
  event_type: order_shipped
  callbacks_to_send: only_failures
multipart_success: last_part
dlr_links: both
top_event_type: event
statuses: {handset.unknown: processing, carrier.queued: success}
retry: 5x10s
timeout: 1.5s
downed: {after: 3, pause: 1m}
duplicate_event_id: reject
enforce_limits: true
routing: strict
journeys:
  empty: {}
  short: {carrier: rejected, impossible: allowed}
  detailed:
    message: {type: sms, text: "Hi {{ fake.first_name }}", event_triggered_message_id: 7}
    routing: {accepted: {after: 1s}}
    processing: {queued: {after: 1s..3s}}
    carrier: {default: {sent: {after: "1s .. 3s"}}, after: {median: 2s, p99: 30s}}
    handset:
      default: delivered
      parts: {1: {expired: {error_code: 8, after: 48h}}}
      before: [enroute, queued_on_carrier]
      after: 250ms
  for-all-parts: {carrier: {rejected: {error_code: 23}}}
  failed: {routing: no_route_rules}
  picture: {message: {type: mms}, processing: queued}
events:
  - event_type: order_shipped
    count: 3
    arrivals: {rate: 50/s}
    event_id: "{{ fake.uuid }}"
    event_data: {external_person_id: p1, list: [1, 1.10, -0.5, true, null, {a: b}], text: "{{ fake.city }}"}
    debug_data: {}
    journey: {empty: 1, short: 0.5, detailed: 95, for-all-parts: 1e-3}
  - {event_type: "{{ fake.word }}", event_data: {mdn: 15551230100}, arrivals: {rate: 10/s, to: 500/m, over: 30s}, journey: failed}
  - {event_type: a, arrivals: {poisson: 1.5/h}, journey: picture}
  - {event_type: a, arrivals: {cron: "0 */5 * * * *"}}
routes:
  - when: {event_type: order_*, event_data.mdn: "+1555*", debug_data.a.b: x}
    journey: detailed
  - journey: {empty: 1}
faults:
  - {fault: duplicate, rate: 2%, first: 5, during: " 30s .. 1.5m ", after: "0s .. 5s", when: {outcome: carrier.*, event_type: a*, journey: short}}
  - {fault: delay, rate: 007.5 %, by: 30s..60s}
  - {fault: delay, rate: 100.0%, by: {median: 2s, p99: 1m}, when: {outcome: carrier.sent}}
  - {fault: reorder, rate: "0.5%", within: 10s}
  - {fault: slow_body, over: 250ms, first: 1000000}
  - {fault: drop, during: 1h..48h}
  - fault: invalid_json
  - fault: truncated_body
  - fault: wrong_length
  - fault: wrong_content_type
  - fault: close_early
  - fault: quirky_ids
expect:
  every: {status: 2xx, within: 2s}
  callbacks: {routing.accepted: 5, carrier.*: "> 0", handset.delivered: 9 .. 10, carrier.sent: ">=3", "*": "<= 99", "*.sent": "= 7", handset.*: " < 1 "}
"##;

#[test]
fn everything_that_check_accepts_fits() {
    let checked = run_with_input(&["check", "--format", "json", "-"], EVERYTHING).expect_code(0);
    assert_eq!(checked.out, "[]\n");
    let tree = Tree::parse(EVERYTHING).unwrap();
    let value = to_json(&tree, tree.root()).unwrap();
    let schema = validator("scenario");
    assert_eq!(complaints(&schema, &value), [""; 0]);
    // The same as JSON, which is YAML too.
    let checked =
        run_with_input(&["check", "--format", "json", "-"], &value.to_string()).expect_code(0);
    assert_eq!(checked.out, "[]\n");
}

/// Every value of it, put in another's place or left out, is judged alike by both.
#[test]
fn the_schema_and_check_agree_on_types() {
    let schema = validator("scenario");
    let tree = Tree::parse(EVERYTHING).unwrap();
    let whole = to_json(&tree, tree.root()).unwrap();
    let mut paths = Vec::new();
    collect(&whole, String::new(), &mut paths);
    // Anything may stand in data.
    paths.retain(|path| !path.contains("_data/"));
    let mut differing = Vec::new();
    for path in paths {
        for wrong in [
            json!([]),
            json!({"a": 1}),
            json!(-1.5),
            Value::Null,
            json!(true),
        ] {
            let mut value = whole.clone();
            *value.pointer_mut(&path).unwrap() = wrong.clone();
            let read = vibes_mock::Scenario::parse("it", &value.to_string());
            let message = match &read {
                Ok(_) => "accepts it".to_owned(),
                Err(error) => {
                    let text = error.to_string();
                    let first = text.lines().find(|line| line.starts_with("error: "));
                    first.unwrap_or_default().to_owned()
                }
            };
            // Names that refer to others, and what it all comes to, are no business of a schema.
            let beyond = [
                "unknown journey",
                "no journey is named",
                "no journey is called",
                "has no events",
            ];
            let agree = match (schema.is_valid(&value), &read) {
                (true, Ok(_)) | (false, Err(_)) => true,
                (true, Err(_)) => beyond.iter().any(|words| message.contains(words)),
                (false, Ok(_)) => false,
            };
            if !agree {
                differing.push(format!(
                    "{wrong} at {path}: check: {message}; the schema differs"
                ));
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} differ: {differing:#?}",
        differing.len()
    );
}

/// Both judge alike how faults and expectations are written, whatever else is in the file.
#[test]
fn the_schema_and_check_agree_on_faults_and_expectations() {
    let schema = validator("scenario");
    let fault = |key: &str, value: Value| json!({"fault": "drop", key: value});
    let mut faults = vec![
        json!({"fault": "delay"}),
        json!({"fault": "delay", "by": "1s", "over": "1s"}),
        json!({"fault": "reorder", "within": "1s..2s"}),
        json!({"by": "1s"}),
    ];
    for key in ["by", "after", "within", "over"] {
        for kind in ["delay", "duplicate", "reorder", "slow_body", "drop"] {
            faults.push(json!({"fault": kind, key: "1s"}));
        }
    }
    for rate in [
        "0%", "000.0%", "1%", "99.9 %", "0100%", "100.1%", "101%", "2", "-1%", "+1%", " 1%", ".5%",
        "5.%", "%",
    ] {
        faults.push(fault("rate", json!(rate)));
    }
    for during in [
        "1s..2s",
        " 1s .. 2s",
        "1s",
        "1..2",
        "..2s",
        "1s..",
        "1s...2s",
    ] {
        faults.push(fault("during", json!(during)));
        faults.push(json!({"fault": "delay", "by": during}));
    }
    for first in [
        json!(0),
        json!(1),
        json!(1_000_000),
        json!(1_000_001),
        json!("1"),
    ] {
        faults.push(fault("first", first));
    }
    for (key, pattern) in [
        ("outcome", "carrier.sent"),
        ("outcome", "carrier.snt"),
        ("outcome", "c*"),
        ("event_type", "x"),
        ("stage", "carrier"),
    ] {
        faults.push(fault("when", json!({key: pattern})));
    }
    let mut expects = Vec::new();
    for status in [
        json!(99),
        json!(100),
        json!(999),
        json!(1000),
        json!("200"),
        json!("2xx"),
        json!("0xx"),
        json!("20x"),
        json!("+200"),
        json!("0200"),
        json!("+2xx"),
        json!("02xx"),
        json!("2XX"),
    ] {
        expects.push(json!({"every": {"status": status}}));
    }
    for count in [
        json!(0),
        json!(7),
        json!("7"),
        json!("> 0"),
        json!(">0 "),
        json!("< 0"),
        json!("<00"),
        json!("< 10"),
        json!("+5"),
        json!("> +5"),
        json!("1 .. 5"),
        json!(" 1..5 "),
        json!("1.."),
        json!("..5"),
        json!("=> 5"),
        json!("= 5"),
        json!("== 5"),
        json!("many"),
        json!(""),
        json!(1.5),
    ] {
        expects.push(json!({"callbacks": {"carrier.sent": count}}));
    }
    for name in ["carrier.sent", "sent", "*", "handset.*", "*.sent"] {
        expects.push(json!({"callbacks": {name: 1}}));
    }
    let files = faults.into_iter().map(|fault| ("faults", json!([fault])));
    let files = files.chain(expects.into_iter().map(|expect| ("expect", expect)));
    let mut differing = Vec::new();
    for (key, value) in files {
        let file = json!({"events": [{"event_type": "a"}], key: value});
        let read = vibes_mock::Scenario::parse("it", &file.to_string());
        if schema.is_valid(&file) != read.is_ok() {
            differing.push(format!("{file}: check: {}", read.is_ok()));
        }
    }
    assert!(differing.is_empty(), "{differing:#?}");
}

fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(at, value)| (at.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        let path = format!("{path}/{}", step.replace('~', "~0").replace('/', "~1"));
        collect(child, path.clone(), paths);
        paths.push(path);
    }
}

#[test]
fn reports_fit() {
    let schema = validator("report");
    let good = Receiver::answering("200 OK");
    let mixed = Receiver::with(|number, _| {
        ["200 OK", "503 Busy", "404 No", "nonsense"][number % 4].to_owned()
    });
    let fire = |receiver: &Receiver, more: &[&str]| {
        let url = receiver.url();
        run(&[
            &["run", "happy-path", "--to", &url, "--format", "json"][..],
            more,
        ]
        .concat())
        .json()
    };
    let reports = [
        fire(&good, &["--speed", "max"]),
        fire(
            &good,
            &["--speed", "1000x", "--seed", "18446744073709551615"],
        ),
        fire(
            &mixed,
            &["--speed", "max", "--connections", "1", "--retry", "1x1s"],
        ),
        run_with_input(
            &[
                "trigger",
                "carrier.sent",
                "routing.accepted",
                "--step",
                "--to",
                &good.url(),
            ],
            "\nq\n",
        )
        .json(),
    ];
    assert!(
        !reports[2]["errors"].as_object().unwrap().is_empty(),
        "{}",
        reports[2]
    );
    assert_eq!(reports[3]["interrupted"], true);
    for report in &reports {
        assert_eq!(complaints(&schema, report), [""; 0], "{report}");
    }
    // Every key is needed, and no other is there.
    for key in reports[0].as_object().unwrap().keys() {
        let mut without = reports[0].clone();
        without.as_object_mut().unwrap().remove(key);
        assert!(!schema.is_valid(&without) || key == "broken", "{key}");
    }
    let mut more = reports[0].clone();
    more["more"] = json!(1);
    assert!(!schema.is_valid(&more));
}

#[test]
fn callbacks_fit() {
    let schema = validator("callback");
    let samples = run(&["catalog", "--format", "json"]).expect_code(0).json();
    let mut lines = samples.as_array().unwrap().clone();
    let scenarios = [
        "every-callback",
        "carrier-failures",
        "handset-failures",
        "handset-on-the-way",
        "verizon",
        "dlr-links-both",
        "happy-path-mms",
        "impossible",
    ];
    for name in scenarios {
        let plan = run(&["plan", name, "--format", "jsonl", "--seed", "1"]).expect_code(0);
        assert!(!plan.out.is_empty(), "{name}");
        lines.extend(plan.json_lines());
    }
    for line in &lines {
        assert_eq!(complaints(&schema, &line["body"]), [""; 0], "{line}");
    }
    for wording in ["url", "resource_url", "both"] {
        for top in ["as_examples", "event", "absent"] {
            let text =
                format!("dlr_links: {wording}\ntop_event_type: {top}\nevents: [{{event_type: a}}]");
            let plan = run_with_input(&["plan", "-", "--seed", "1"], &text).expect_code(0);
            for line in plan.json_lines() {
                let fits = complaints(&schema, &line["body"]);
                assert_eq!(fits, [""; 0], "{wording} {top}: {line}");
            }
        }
    }
}

#[test]
fn what_is_no_callback_does_not_fit() {
    let schema = validator("callback");
    let sample = run(&["catalog", "carrier.rejected", "--format", "json"])
        .expect_code(0)
        .json();
    let body = &sample[0]["body"];
    assert!(schema.is_valid(body));
    for path in [
        "/event_id",
        "/callback_type",
        "/event_date",
        "/event_processed",
        "/event_processed/action",
        "/event_processed/action/status",
    ] {
        let (parent, key) = path.rsplit_once('/').unwrap();
        let mut without = body.clone();
        without
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove(key);
        assert!(!schema.is_valid(&without), "without {path}");
        let mut other = body.clone();
        *other.pointer_mut(path).unwrap() = json!(7);
        assert!(!schema.is_valid(&other), "7 at {path}");
    }
    for wrong in [json!({}), json!([]), json!("carrier.rejected"), Value::Null] {
        assert!(!schema.is_valid(&wrong), "{wrong}");
    }
}
