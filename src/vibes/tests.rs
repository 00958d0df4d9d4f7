//! Whatever is sent, no reader of requests panics; and what one accepts can be read back from the answer.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Map, Value, json};

use super::api::ApiVersion;
use super::callback_api::{CallbackKind, Registration, RegistrationRequest, TestCallback};
use super::campaign::{Campaign, CampaignRequest};
use super::event::PostedEvent;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_483_272_030, 5).unwrap()
}

/// What every accepted body must keep to.
fn try_all(body: &[u8]) {
    for version in [ApiVersion::One, ApiVersion::Two] {
        if let Ok(event) = PostedEvent::parse(body, version) {
            let data: Value = serde_json::from_str(&event.event_data).unwrap();
            assert!(data.get(event.person.key).is_some());
            let sent: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(sent["event_data"], data);
        }
    }
    if let Ok(test) = TestCallback::parse(body)
        && let Some(data) = test.event_data
    {
        assert!(serde_json::from_str::<Map<String, Value>>(&data).is_ok());
    }
    if let Ok(made) =
        RegistrationRequest::parse(body).and_then(|request| Registration::create(7, request, now()))
    {
        let answer = made.to_json("k");
        let request = RegistrationRequest::parse(answer.to_string().as_bytes()).unwrap();
        let again = Registration::create(7, request, now()).unwrap();
        assert_eq!(again.to_json("k"), answer);
        assert_eq!(again.filter, made.filter);
        let stored = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Registration>(&stored).unwrap(), made);
    }
    if let Ok(made) =
        CampaignRequest::parse(body).and_then(|request| Campaign::create(7, request, now()))
    {
        let answer = made.to_json("k", now());
        let request = CampaignRequest::parse(answer.to_string().as_bytes()).unwrap();
        let again = Campaign::create(7, request, now()).unwrap();
        assert_eq!(again, made);
        let stored = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Campaign>(&stored).unwrap(), made);
    }
}

/// Values that are right somewhere, so that now and then all of them are.
fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ -~é€]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "a",
            "SC",
            "sms",
            "push",
            "all",
            "routing",
            "POST",
            "text/json",
            "text/plain",
            "http://127.0.0.1/in",
            "https://[::1]:8/é",
            "+15550100123",
            "5550100123",
            "2017-01-01",
            "2017-02-01T00:00Z",
            "9999-12-31T23:59:60-23:59",
            "2018-05-05T07:08:09.5+01:00",
            "Hi {{ event_data.a }}",
            "{% if %}",
        ])
        .prop_map(Value::from),
        prop::sample::select(CallbackKind::ALL.to_vec()).prop_map(|kind| kind.name().into()),
    ]
}

const KEYS: [&str; 30] = [
    "callback_type",
    "event_type",
    "destination",
    "url",
    "method",
    "content_type",
    "start_date",
    "end_date",
    "event_processed",
    "callbacks_to_send",
    "unmatched_message_received",
    "source_code",
    "event_data",
    "event_id",
    "debug_data",
    "mdn",
    "person_id",
    "name",
    "targeting",
    "message_template",
    "channel",
    "sms",
    "mms",
    "push",
    "content",
    "body",
    "media_url",
    "filters",
    "app_id",
    "$serde_json::private::Number",
];

fn tree() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS.to_vec()), inner), 0..9).prop_map(
                |fields| {
                    let fields = fields
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value));
                    Value::Object(fields.collect())
                }
            ),
        ]
    })
}

/// A body that would be accepted, but for what is put at some of its places.
fn nearly_right() -> impl Strategy<Value = Value> {
    let bodies = vec![
        json!({"callback_type": "event_processed", "destination": {"url": "http://a/", "method": "PUT"},
            "event_processed": {"event_type": "a", "callbacks_to_send": "routing"}, "start_date": "2017-01-01", "end_date": null}),
        json!({"event_type": "unmatched_message_received", "destination": {"url": "http://a/"},
            "unmatched_message_received": {"source_code": 5, "country_code": "1"}}),
        json!({"event_id": "1", "event_type": "a", "event_data": {"person_id": 1.50, "mdn": "+15550100123"}, "debug_data": {}}),
        json!({"name": "a", "event_type": "a", "start_date": "2017-01-01", "end_date": "2018-01-01", "targeting":
            {"message_template": "Hi", "channel": "sms", "shorten_urls": false, "filters": [{}],
                "sms": {"sourcecode": "1", "country_code": 1, "sourcecode_type": "SC"}}}),
        json!({"name": "a", "event_type": "a", "start_date": "2017-01-01", "targeting": {"channel": "sms", "mms":
            {"sourcecode": "1", "country_code": 1, "sourcecode_type": "SC", "content": [{"body": "a"}, {"media_url": "b"}]}}}),
        json!({"name": "a", "event_type": "a", "start_date": "2017-01-01", "targeting":
            {"message_template": "Hi", "channel": "push", "push": {"app_id": "a"}}}),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), tree()), 0..3);
    (prop::sample::select(bodies), changes).prop_map(|(mut body, changes)| {
        for (place, value) in changes {
            let paths = paths(&body);
            if let Some(old) = body.pointer_mut(&paths[place.index(paths.len())]) {
                *old = value;
            }
        }
        body
    })
}

fn paths(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut add = |key: String, inner: &Value| {
        all.extend(paths(inner).into_iter().map(|path| format!("/{key}{path}")));
    };
    match value {
        Value::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, inner)| add(key.clone(), inner));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(at, inner)| add(at.to_string(), inner));
        }
        _ => {}
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        try_all(&body);
    }

    #[test]
    fn any_json(body in tree()) {
        try_all(body.to_string().as_bytes());
    }

    #[test]
    fn nearly_right_json(body in nearly_right()) {
        try_all(body.to_string().as_bytes());
    }
}

#[test]
fn what_is_nearly_right_is_right_if_nothing_is_changed() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = [0; 3];
    for _ in 0..500 {
        let body = nearly_right().new_tree(&mut runner).unwrap().current();
        let body = body.to_string().into_bytes();
        accepted[0] += usize::from(PostedEvent::parse(&body, ApiVersion::Two).is_ok());
        accepted[1] += usize::from(RegistrationRequest::parse(&body).is_ok());
        accepted[2] += usize::from(CampaignRequest::parse(&body).is_ok());
    }
    assert!(accepted.iter().all(|count| *count > 20), "{accepted:?}");
}
