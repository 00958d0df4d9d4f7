//! The documented bodies in `tests/fidelity/`, and how a body is compared with one.

#![allow(dead_code, reason = "each test file uses a part of it")]

use serde_json::Value;

/// Document, outcome in the catalog, and which of its entries.
pub const EXAMPLES: [(&str, &str, usize); 18] = [
    ("routing.accepted", "routing.accepted", 0),
    ("routing.no_route_rules", "routing.no_route_rules", 0),
    ("routing.not_subscribed", "routing.not_subscribed", 0),
    ("routing.person_not_found", "routing.person_not_found", 0),
    ("routing.sms_unsupported", "routing.sms_unsupported", 0),
    ("routing.mms_unsupported", "routing.mms_unsupported", 0),
    (
        "processing.carrier_unsupported",
        "processing.carrier_unsupported",
        0,
    ),
    ("processing.queued-sms", "processing.queued", 0),
    ("processing.queued-mms", "processing.queued", 1),
    (
        "processing.no_incentive_codes",
        "processing.no_incentive_codes",
        0,
    ),
    ("processing.media_missing", "processing.media_missing", 0),
    (
        "processing.media_type_not_allowed",
        "processing.media_type_not_allowed",
        0,
    ),
    (
        "processing.media_too_large",
        "processing.media_too_large",
        0,
    ),
    (
        "processing.unexpected_error",
        "processing.unexpected_error",
        0,
    ),
    ("carrier.sent", "carrier.sent", 0),
    ("carrier.rejected", "carrier.rejected", 0),
    ("handset.delivered", "handset.delivered", 0),
    ("handset.rejected", "handset.rejected", 0),
];

/// A documented body.
pub fn document(name: &str) -> Value {
    let path = format!("{}/tests/fidelity/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A body as `path = value` lines in its own order, with what differs from body to body made alike.
fn skeleton(value: &Value, path: &str, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            lines.push(format!("{path} {{}}"));
            for (key, value) in map {
                skeleton(value, &format!("{path}.{key}"), lines);
            }
        }
        Value::Array(items) => {
            lines.push(format!("{path} [{}]", items.len()));
            for (at, item) in items.iter().enumerate() {
                skeleton(item, &format!("{path}.{at}"), lines);
            }
        }
        Value::String(text) => lines.push(format!("{path} = {}", placeholder(path, text))),
        other => lines.push(format!("{path} = {other}")),
    }
}

fn placeholder(path: &str, text: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or_default();
    match key {
        "event_id" | "person_key" => "(id)".to_owned(),
        "event_date" => {
            let digits: String = text
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(digits, "0000-00-00T00:00:00Z", "{path}");
            "(date)".to_owned()
        }
        "url" | "resource_url" => {
            let steps: Vec<_> = text.split('/').collect();
            assert_eq!(steps.len(), 6.min(steps.len()).max(5), "{text}");
            let kind = steps[4];
            assert_eq!(
                [steps[0], steps[1], steps[3]],
                ["", "companies", "mobiledb"],
                "{text}"
            );
            format!("(link to {kind})")
        }
        _ => text.to_owned(),
    }
}

/// A body as lines that are alike for bodies that differ only in ids, dates and numbers.
pub fn lines_of(value: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    skeleton(value, "", &mut lines);
    lines
}
