//! The platform's side of the server as a customer's program meets it: the Callback, Event and Event-Triggered
//! Campaign APIs over HTTP, and what then arrives at the customer's receivers.
//!
//! The clock stands wherever times matter, so that every time below is exact.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeSet;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use outside::client::{Answer, Client, read_answer};
use outside::documented::{EXAMPLES, document, lines_of};
use outside::{PATIENCE, Receiver, Request};
use serde_json::{Value, json};
use vibes_mock::Scenario;
use vibes_mock::VibesMock;
use vibes_mock::serve::folder::Loaded;
use vibes_mock::serve::hub::Options;
use vibes_mock::serve::mock::Setup;
use vibes_mock::vibes::callback_api::CallbackKind;
use vibes_mock::vibes::magic;
use vibes_mock::vibes::outcome::{MessageType, Outcome};

/// Where the clock stands as a test begins.
const BEGIN: &str = "2050-01-01T00:00:00Z";
/// A URL that nothing is sent to.
const SOMEWHERE: &str = "http://127.0.0.1:9/callbacks";

/// A server, and a customer of the company `acme`.
struct Platform {
    client: Client,
    /// Gone when dropped.
    _mock: VibesMock,
}

impl Platform {
    /// One whose clock stands at [`BEGIN`].
    fn standing() -> Platform {
        Platform::with(Setup {
            options: Options {
                speed: None,
                ..Options::default()
            },
            ..Setup::default()
        })
    }

    fn with(setup: Setup) -> Platform {
        let stands = setup.options.speed.is_none();
        let mock = VibesMock::with(setup).unwrap();
        let client = Client::of(&mock.url());
        let platform = Platform {
            client,
            _mock: mock,
        };
        if stands {
            platform.until(BEGIN);
        }
        platform
    }

    /// Moves the clock: to a time, or until nothing waits.
    fn until(&self, until: &str) -> Value {
        let wish = json!({ "until": until });
        let moved = self.client.post("/_mock/clock/advance", &wish);
        moved.expect(200).json()
    }

    fn callbacks(&self, rest: &str) -> String {
        format!("/companies/acme/config/callbacks{rest}")
    }

    fn campaigns(&self, rest: &str) -> String {
        format!("/companies/acme/mobiledb/event_triggered_messages{rest}")
    }

    /// Registers, and gives the answer.
    fn register(&self, registration: &Value) -> Value {
        let made = self.client.post(&self.callbacks(""), registration);
        made.expect(201).json()
    }

    /// Registers a receiver for events; gives the registration's path.
    fn send_to(&self, receiver: &Receiver, filter: Value) -> String {
        let made = self.register(&for_events(&receiver.url(), filter));
        made["url"].as_str().unwrap().to_owned()
    }

    fn post_event(&self, event: &Value) -> Answer {
        self.client.post("/companies/acme/events", event)
    }

    /// Posts an event of a type for somebody; gives its id.
    fn event(&self, event_type: &str, mut data: Value) -> String {
        if data.get("mdn").is_none() && data.get("external_person_id").is_none() {
            data["external_person_id"] = "abcd12345".into();
        }
        let event = json!({"event_type": event_type, "event_data": data});
        let posted = self.post_event(&event).expect(202).json();
        posted["event_id"].as_str().unwrap().to_owned()
    }

    fn routes(&self, scenario: &Value) {
        let set = self.client.put("/_mock/routes?company_key=acme", scenario);
        set.expect(204);
    }

    fn create_campaign(&self, campaign: &Value) -> Value {
        let made = self.client.post(&self.campaigns(""), campaign);
        made.expect(202).json()
    }

    /// What the mock says of deliveries.
    fn deliveries(&self, query: &str) -> Vec<Value> {
        let path = format!("/_mock/deliveries?company_key=acme&limit=1000&{query}");
        let page = self.client.get(&path).expect(200).json();
        assert_eq!(page["next"], Value::Null, "there are more");
        page["deliveries"].as_array().unwrap().clone()
    }

    /// The outcomes that an event had, in the order in which they were due.
    fn outcomes(&self, event_id: &str) -> Vec<String> {
        let all = self.deliveries(&format!("event_id={event_id}"));
        all.iter().map(|one| text(&one["outcome"])).collect()
    }

    /// The outcomes that requests were about, in the order in which they came.
    fn told(&self, requests: &[Request]) -> Vec<String> {
        let known = self.deliveries("");
        let outcome = |request: &Request| {
            let body = request.json();
            let mut known = known.iter();
            let found = known.find(|one| one["request"]["body"]["event_id"] == body["event_id"]);
            let found = found.unwrap_or_else(|| panic!("nothing is known of {body}"));
            assert_eq!(found["request"]["body"], body);
            text(&found["outcome"])
        };
        requests.iter().map(outcome).collect()
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value}"))
        .to_owned()
}

fn for_events(url: &str, filter: Value) -> Value {
    let mut registration = json!({"callback_type": "event_processed", "destination": {"url": url}});
    if !filter.is_null() {
        registration["event_processed"] = filter;
    }
    registration
}

/// A registration with what a test is about.
fn with(mut object: Value, fields: Value) -> Value {
    let more = fields.as_object().unwrap().clone();
    object.as_object_mut().unwrap().extend(more);
    object
}

/// All events go one way, whose stages come a second after each other.
fn every_second(journey: Value) -> Value {
    let usual = json!({
        "routing": {"accepted": {"after": "1s"}},
        "processing": {"queued": {"after": "1s"}},
        "carrier": {"after": "1s"},
        "handset": {"after": "1s"},
    });
    json!({
        "journeys": {"way": with(usual, journey)},
        "routes": [{"journey": "way"}],
    })
}

const GOOD_DAY: [&str; 4] = [
    "routing.accepted",
    "processing.queued",
    "carrier.sent",
    "handset.delivered",
];

/// Fails unless an answer is an error in Vibes' form; gives the messages.
#[track_caller]
fn refused(answer: Answer, status: u16) -> Vec<String> {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let keys: Vec<_> = body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["errors"], "{body}");
    let errors = body["errors"].as_array().unwrap();
    assert!(!errors.is_empty());
    for error in errors {
        let keys: Vec<_> = error.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["message", "code"], "{body}");
        assert!(error["code"].as_u64().is_some(), "{body}");
    }
    errors.iter().map(|error| text(&error["message"])).collect()
}

// --- Callback API

#[test]
fn a_registration_from_its_first_day_to_its_last() {
    let platform = Platform::standing();
    let client = &platform.client;
    let list = || client.get(&platform.callbacks("/")).expect(200).json();
    assert_eq!(list(), json!([]));

    let made = client.post(
        "/companies/acme/config/callbacks/",
        &json!({
            "callback_type": "event_processed",
            "event_processed": {"event_type": "Day_of_delivery", "callbacks_to_send": "only_failures"},
            "destination": {"url": SOMEWHERE, "method": "PUT", "content_type": "text/json"},
            "start_date": "2049-12-31",
            "end_date": "2050-02-01T12:30Z",
        }),
    );
    let made = made.expect(201);
    let registered = made.json();
    let id = text(&registered["callback_id"]);
    let path = platform.callbacks(&format!("/{id}"));
    assert_eq!(made.header("location"), Some(path.as_str()));
    assert_eq!(
        registered,
        json!({
            "callback_id": id,
            "callback_type": "event_processed",
            "event_processed": {"event_type": "Day_of_delivery", "callbacks_to_send": "only_failures"},
            "destination": {"url": SOMEWHERE, "method": "PUT", "content_type": "text/json"},
            "start_date": "2049-12-31T00:00Z",
            "end_date": "2050-02-01T12:30Z",
            "url": path,
            "created_at": "2050-01-01T00:00Z",
            "updated_at": "2050-01-01T00:00Z",
        })
    );
    assert_eq!(list(), json!([registered]));
    for path in [path.clone(), path.clone() + "/"] {
        assert_eq!(client.get(&path).expect(200).json(), registered);
    }

    platform.until("2050-01-02T10:11:12Z");
    let changed = client.put(&path, &for_events("http://127.0.0.1:9/others", Value::Null));
    let changed = changed.expect(200).json();
    assert_eq!(
        changed,
        json!({
            "callback_id": id,
            "callback_type": "event_processed",
            "event_processed": {"event_type": "Day_of_delivery", "callbacks_to_send": "only_failures"},
            "destination": {"url": "http://127.0.0.1:9/others", "method": "POST", "content_type": "application/json"},
            "start_date": "2049-12-31T00:00Z",
            "end_date": "2050-02-01T12:30Z",
            "url": path,
            "created_at": "2050-01-01T00:00Z",
            "updated_at": "2050-01-02T10:11Z",
        })
    );
    assert_eq!(client.get(&path).expect(200).json(), changed);

    platform.until("2050-01-03T00:00:00Z");
    let ended = client.delete(&path).expect(200).json();
    assert_eq!(ended["start_date"], "2049-12-31T00:00Z");
    assert_eq!(ended["end_date"], "2050-01-03T00:00Z");
    assert_eq!(list(), json!([]), "one that is over is not listed");
    assert_eq!(client.get(&path).expect(200).json(), ended);
    platform.until("2050-01-04T00:00:00Z");
    let again = client.delete(&path).expect(200).json();
    assert_eq!(again, ended, "one that is over stays as it is");
}

#[test]
fn the_list_has_active_and_future_registrations() {
    let platform = Platform::standing();
    let window = |from: &str, to: &str| {
        let dates = json!({"start_date": from, "end_date": to});
        let made = with(for_events(SOMEWHERE, Value::Null), dates);
        text(&platform.register(&made)["callback_id"])
    };
    let listed = || -> Vec<String> {
        let list = platform
            .client
            .get(&platform.callbacks(""))
            .expect(200)
            .json();
        let list = list.as_array().unwrap().clone();
        list.iter().map(|one| text(&one["callback_id"])).collect()
    };
    let over = window("2049-01-01", "2049-02-01");
    let active = window("2049-12-01", "2050-01-02");
    let ahead = window("2050-02-01", "2050-03-01");
    assert_eq!(listed(), [active.clone(), ahead.clone()]);
    platform
        .client
        .get(&platform.callbacks(&format!("/{over}")))
        .expect(200);
    platform.until("2050-01-01T23:59:59Z");
    assert_eq!(listed(), [active, ahead.clone()]);
    platform.until("2050-01-02T00:00:00Z");
    assert_eq!(listed(), std::slice::from_ref(&ahead));
    // One that is ahead ends now, and so has to begin now.
    let path = platform.callbacks(&format!("/{ahead}"));
    let ended = platform.client.delete(&path).expect(200).json();
    assert_eq!(
        (&ended["start_date"], &ended["end_date"]),
        (&json!("2050-01-02T00:00Z"), &json!("2050-01-02T00:00Z"))
    );
    assert!(listed().is_empty());
}

#[test]
fn who_is_not_there_is_not_found() {
    let platform = Platform::standing();
    let client = &platform.client;
    let body = for_events(SOMEWHERE, Value::Null);
    let id = text(&platform.register(&body)["callback_id"]);
    for path in [
        platform.callbacks("/4711"),
        platform.callbacks("/abc"),
        platform.callbacks("/0"),
        platform.callbacks(&format!("/{id}0000000000000000000000")),
        format!("/companies/other/config/callbacks/{id}"),
    ] {
        refused(client.get(&path), 404);
        refused(client.put(&path, &body), 404);
        refused(client.delete(&path), 404);
    }
    refused(client.get("/companies/acme/config/callback"), 404);
    refused(client.get("/companies/no%20key/config/callbacks"), 404);
    let answer = client.ask("PATCH", &platform.callbacks(""), "{}");
    assert_eq!(answer.header("allow"), Some("POST, GET, HEAD"));
    refused(answer, 405);
}

#[test]
fn what_the_platform_makes_itself_is_ignored_in_requests() {
    let platform = Platform::standing();
    let more = json!({
        "callback_id": "9999", "created_at": "2001-01-01T00:00Z", "updated_at": 7, "url": "/elsewhere",
        "something": ["that", "is", "not", "known"],
    });
    let body = with(for_events(SOMEWHERE, Value::Null), more);
    let made = platform.register(&body);
    assert_ne!(made["callback_id"], "9999");
    let path = text(&made["url"]);
    assert_eq!(made["created_at"], "2050-01-01T00:00Z");
    assert_eq!(made["updated_at"], "2050-01-01T00:00Z");
    assert_eq!(made.get("something"), None);
    let changed = platform.client.put(&path, &body).expect(200).json();
    assert_eq!(changed, made);
}

#[test]
fn the_old_name_of_the_type_is_known() {
    let platform = Platform::standing();
    let made = platform.register(&json!({
        "event_type": "person_added",
        "destination": {"url": SOMEWHERE},
    }));
    assert_eq!(made["callback_type"], "person_added");
    assert_eq!(made.get("event_type"), None);
    // The new one counts.
    let made = platform.register(&json!({
        "callback_type": "person_updated",
        "event_type": "no such type",
        "destination": {"url": SOMEWHERE},
    }));
    assert_eq!(made["callback_type"], "person_updated");
}

/// What a type's own object may say.
const DETAILS: [(&str, &str); 11] = [
    ("ack_participant_added", "campaign_id"),
    ("ack_participant_changed", "campaign_id"),
    ("device_added", "app_id"),
    ("device_removed", "app_id"),
    ("device_updated", "app_id"),
    ("subscription_added", "list_id"),
    ("subscription_removed", "list_id"),
    ("unmatched_message_received", "source_code"),
    ("unmatched_message_received", "country_code"),
    ("wallet_item_install", "campaign_token"),
    ("wallet_item_remove", "campaign_token"),
];

#[test]
fn every_type_of_callback_can_be_registered() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    assert_eq!(CallbackKind::ALL.len(), 17);
    let mut made = Vec::new();
    for kind in CallbackKind::ALL.iter().map(|kind| kind.name()) {
        let mut body = json!({"callback_type": kind, "destination": {"url": receiver.url()}});
        for (_, field) in DETAILS.iter().filter(|(of, _)| *of == kind) {
            body[kind][field] = "12345".into();
        }
        let answer = platform.register(&body);
        assert_eq!(answer["callback_type"], kind);
        assert_eq!(answer.get(kind), body.get(kind), "{kind}");
        assert_eq!(answer.get("end_date"), None, "{kind}");
        made.push(answer);
    }
    let listed = platform.client.get(&platform.callbacks("")).expect(200);
    assert_eq!(listed.json(), Value::from(made));
    // Only those about events come.
    platform.event("order", json!({}));
    platform.until("idle");
    let told = platform.told(&receiver.requests());
    assert_eq!(told, GOOD_DAY);
}

#[test]
fn dates_have_three_forms_and_are_answered_in_one() {
    let platform = Platform::standing();
    let path = text(&platform.register(&for_events(SOMEWHERE, Value::Null))["url"]);
    let put = |dates: Value| {
        let body = with(for_events(SOMEWHERE, Value::Null), dates);
        platform.client.put(&path, &body)
    };
    for (sent, answered) in [
        ("2051-02-03", "2051-02-03T00:00Z"),
        ("2051-02-03T04:05Z", "2051-02-03T04:05Z"),
        ("2051-02-03T04:05:06Z", "2051-02-03T04:05Z"),
        ("2051-02-03T04:05:06+02:00", "2051-02-03T02:05Z"),
    ] {
        let changed = put(json!({"start_date": sent, "end_date": "2052-01-01"}));
        assert_eq!(changed.expect(200).json()["start_date"], answered, "{sent}");
        let changed = put(json!({"start_date": "2050-01-01", "end_date": sent}));
        assert_eq!(changed.expect(200).json()["end_date"], answered, "{sent}");
    }
    let kept = put(json!({})).expect(200).json();
    assert_eq!(kept["end_date"], "2051-02-03T02:05Z");
    let taken_back = put(json!({"end_date": null})).expect(200).json();
    assert_eq!(taken_back.get("end_date"), None);
    for (dates, status) in [
        (json!({"start_date": "2051-13-01"}), 422),
        (json!({"start_date": "tomorrow"}), 422),
        (json!({"end_date": "2051-02-03 04:05"}), 422),
        (json!({"end_date": 2051}), 400),
        (
            json!({"start_date": "2051-01-02", "end_date": "2051-01-01"}),
            422,
        ),
        (json!({"end_date": "2049-01-01"}), 422),
    ] {
        let messages = refused(put(dates.clone()), status);
        assert!(messages[0].contains("_date"), "{dates}: {messages:?}");
    }
    let after = platform.client.get(&path).expect(200).json();
    assert_eq!(after, taken_back, "what is refused changes nothing");
}

#[test]
fn a_registration_that_is_not_in_order_is_refused_in_vibes_form() {
    let platform = Platform::standing();
    let long = |characters: usize| {
        let start = "http://127.0.0.1/";
        start.to_owned() + &"x".repeat(characters - start.len())
    };
    platform.register(&for_events(&long(1024), Value::Null));
    let destination = json!({"url": SOMEWHERE});
    for (status, field, body) in [
        (400, "callback_type", json!({"destination": destination})),
        (
            400,
            "destination",
            json!({"callback_type": "event_processed"}),
        ),
        (
            400,
            "destination.url",
            json!({"callback_type": "event_processed", "destination": {}}),
        ),
        (
            400,
            "destination",
            json!({"callback_type": "event_processed", "destination": SOMEWHERE}),
        ),
        (
            400,
            "callback_type",
            json!({"callback_type": 1, "destination": destination}),
        ),
        (
            422,
            "callback_type",
            json!({"callback_type": "event_queued", "destination": destination}),
        ),
        (
            422,
            "destination.url",
            for_events("ftp://127.0.0.1/", Value::Null),
        ),
        (
            422,
            "destination.url",
            for_events("127.0.0.1:80", Value::Null),
        ),
        (422, "destination.url", for_events(&long(1025), Value::Null)),
        (
            422,
            "destination.url",
            for_events("https://203.0.113.7/callbacks", Value::Null),
        ),
        (
            422,
            "destination.method",
            json!({"callback_type": "person_added", "destination": {"url": SOMEWHERE, "method": "GET"}}),
        ),
        (
            422,
            "destination.content_type",
            json!({"callback_type": "person_added", "destination": {"url": SOMEWHERE, "content_type": "text/plain"}}),
        ),
        (
            422,
            "callbacks_to_send",
            for_events(SOMEWHERE, json!({"callbacks_to_send": "none"})),
        ),
        (
            422,
            "event_type",
            for_events(SOMEWHERE, json!({"event_type": "day of delivery"})),
        ),
        (
            400,
            "event_processed",
            for_events(SOMEWHERE, json!("order")),
        ),
        (
            400,
            "source_code",
            json!({"callback_type": "unmatched_message_received", "destination": destination, "unmatched_message_received": {}}),
        ),
    ] {
        let messages = refused(platform.client.post(&platform.callbacks(""), &body), status);
        assert!(messages[0].contains(field), "{body}: {messages:?}");
        assert!(
            messages.iter().all(|message| !message.contains('\n')),
            "{messages:?}"
        );
    }
    // The documentation's own examples have a comma too many, and a comment.
    for (body, advice) in [
        (
            r#"{"callback_type":"person_added","destination":{"url":"http://127.0.0.1/",}}"#,
            "comma",
        ),
        (
            "{\"callback_type\":\"person_added\", // all of them\n\"destination\":{}}",
            "comments",
        ),
        ("", "JSON"),
        ("[]", "object"),
    ] {
        let messages = refused(
            platform.client.ask("POST", &platform.callbacks(""), body),
            400,
        );
        assert!(messages[0].contains(advice), "{body}: {messages:?}");
    }
    // All that is wrong is told at once.
    let all = platform
        .client
        .post(&platform.callbacks(""), &json!({"start_date": "never"}));
    assert_eq!(refused(all, 400).len(), 3);
    let listed = platform
        .client
        .get(&platform.callbacks(""))
        .expect(200)
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
}

#[test]
fn registrations_of_the_same_type_event_and_url_may_not_overlap() {
    let platform = Platform::standing();
    let post = |body: &Value| platform.client.post(&platform.callbacks(""), body);
    let order =
        |url: &str, dates: Value| with(for_events(url, json!({"event_type": "order"})), dates);
    let january = json!({"start_date": "2050-01-01", "end_date": "2050-02-01"});
    let first = platform.register(&order(SOMEWHERE, january.clone()));
    let shouted = with(
        for_events(SOMEWHERE, json!({"event_type": "ORDER"})),
        january.clone(),
    );
    let messages = refused(post(&shouted), 409);
    assert!(
        messages[0].contains(&text(&first["callback_id"])),
        "{messages:?}"
    );
    let end = json!({"start_date": "2050-01-31T23:59:59Z"});
    refused(post(&order(SOMEWHERE, end)), 409);
    // Another URL, another event, all events, another time, another type: all beside each other.
    platform.register(&order("http://127.0.0.1:9/others", january.clone()));
    platform.register(&with(
        for_events(SOMEWHERE, json!({"event_type": "parcel"})),
        january.clone(),
    ));
    platform.register(&with(for_events(SOMEWHERE, Value::Null), january.clone()));
    refused(post(&with(for_events(SOMEWHERE, json!({})), january)), 409);
    let february = platform.register(&order(SOMEWHERE, json!({"start_date": "2050-02-01"})));
    platform.register(&json!({"callback_type": "person_added", "destination": {"url": SOMEWHERE}}));
    // Nor may one be moved into another's way; it then stays as it was.
    let path = text(&february["url"]);
    let moved = order(SOMEWHERE, json!({"start_date": "2050-01-15"}));
    refused(platform.client.put(&path, &moved), 409);
    assert_eq!(platform.client.get(&path).expect(200).json(), february);
    // One that was cancelled is in nobody's way.
    platform.client.delete(&text(&first["url"])).expect(200);
    platform.register(&order(SOMEWHERE, json!({"end_date": "2050-02-01"})));
}

#[test]
fn a_company_has_up_to_fifty_destinations() {
    let platform = Platform::standing();
    let at = |number: usize| for_events(&format!("http://127.0.0.1:9/{number}"), Value::Null);
    let first = platform.register(&at(0));
    for number in 1..50 {
        platform.register(&at(number));
    }
    refused(platform.client.post(&platform.callbacks(""), &at(50)), 422);
    platform
        .client
        .post("/companies/other/config/callbacks", &at(50))
        .expect(201);
    platform.client.delete(&text(&first["url"])).expect(200);
    platform.register(&at(50));
}

#[test]
fn each_filter_lets_through_what_it_is_for() {
    let platform = Platform::standing();
    let receivers = [
        "all",
        "only_failures",
        "routing",
        "carrier_dlr",
        "handset_dlr",
    ]
    .map(|name| {
        let receiver = Receiver::answering("204 No Content");
        platform.send_to(&receiver, json!({"callbacks_to_send": name}));
        receiver
    });
    let unasked = Receiver::answering("200 OK");
    platform.send_to(&unasked, Value::Null);
    platform.event("good", json!({}));
    platform.event("bad", json!({"external_person_id": "vm-carrier-rejected"}));
    platform.event(
        "worse",
        json!({"external_person_id": "vm-routing-not-subscribed"}),
    );
    platform.until("idle");
    let mut expected = GOOD_DAY.to_vec();
    expected.extend(["routing.accepted", "processing.queued", "carrier.rejected"]);
    expected.extend(["routing.not_subscribed"]);
    expected.sort_unstable();
    let only = |kept: &[&str]| -> Vec<String> {
        let all = expected.iter();
        let kept = all.filter(|outcome| kept.iter().any(|part| outcome.contains(part)));
        kept.map(|outcome| (*outcome).to_owned()).collect()
    };
    let told = |receiver: &Receiver| {
        let mut told = platform.told(&receiver.requests());
        told.sort();
        told
    };
    assert_eq!(told(&unasked), expected);
    assert_eq!(
        receivers.each_ref().map(told),
        [
            only(&[""]),
            only(&["rejected", "not_subscribed"]),
            only(&["routing.", "processing."]),
            only(&["carrier."]),
            only(&["handset."]),
        ]
    );
}

#[test]
fn a_registration_may_be_for_one_type_of_event() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    let filter = json!({"event_type": "Day_Of_Delivery", "callbacks_to_send": "routing"});
    platform.send_to(&receiver, filter);
    for event_type in [
        "day_of_delivery",
        "DAY_OF_DELIVERY",
        "day-of-delivery",
        "delivery",
    ] {
        platform.event(event_type, json!({}));
    }
    platform.until("idle");
    let types: BTreeSet<String> = receiver
        .requests()
        .iter()
        .map(|request| text(&request.json()["event_processed"]["event_type"]))
        .collect();
    let types: Vec<_> = types.iter().map(String::as_str).collect();
    assert_eq!(types, ["DAY_OF_DELIVERY", "day_of_delivery"]);
    assert_eq!(receiver.requests().len(), 4);
}

#[test]
fn a_window_holds_to_the_second() {
    let platform = Platform::standing();
    platform.routes(&every_second(json!({})));
    let receiver = Receiver::answering("200 OK");
    // Four callbacks, at :01, :02, :03 and :04: from the first moment on, and not at the last.
    platform.register(&with(
        for_events(&receiver.url(), Value::Null),
        json!({"start_date": "2050-01-01T00:00:02Z", "end_date": "2050-01-01T00:00:04Z"}),
    ));
    let id = platform.event("order", json!({}));
    platform.until("idle");
    assert_eq!(platform.told(&receiver.requests()), GOOD_DAY[1..3]);
    let states: Vec<_> = platform
        .deliveries(&format!("event_id={id}"))
        .iter()
        .map(|one| text(&one["state"]))
        .collect();
    assert_eq!(states, ["unmatched", "accepted", "accepted", "unmatched"]);
}

#[test]
fn callbacks_are_sent_as_registered() {
    let platform = Platform::standing();
    platform.routes(&every_second(json!({})));
    let receiver = Receiver::answering("200 OK");
    let path = platform.send_to(&receiver, Value::Null);
    platform.event("order", json!({}));
    platform.until("2050-01-01T00:00:01Z");
    // What is changed holds for what comes then.
    let put = json!({
        "callback_type": "event_processed",
        "destination": {"url": format!("{}?changed", receiver.url()), "method": "PUT", "content_type": "text/json"},
    });
    platform.client.put(&path, &put).expect(200);
    platform.until("2050-01-01T00:00:03Z");
    platform.client.delete(&path).expect(200);
    platform.until("idle");
    let came: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| {
            let version = env!("CARGO_PKG_VERSION");
            assert_eq!(
                request.header("user-agent"),
                Some(&*format!("vibes-mock/{version}"))
            );
            assert_eq!(request.header("authorization"), None);
            let content_type = request.header("content-type").unwrap().to_owned();
            (request.method.clone(), request.path.clone(), content_type)
        })
        .collect();
    let line = |method: &str, path: &str, content_type: &str| {
        (method.to_owned(), path.to_owned(), content_type.to_owned())
    };
    assert_eq!(
        came,
        [
            line("POST", "/callbacks", "application/json"),
            line("PUT", "/callbacks?changed", "text/json"),
            line("PUT", "/callbacks?changed", "text/json"),
        ]
    );
}

#[test]
fn a_test_callback_goes_to_every_active_registration() {
    let platform = Platform::standing();
    let test = |body: &Value| {
        platform
            .client
            .post("/companies/acme/config/callback_events/test", body)
    };
    let event_processed = json!({"callback_type": "event_processed"});
    refused(test(&event_processed), 404);
    let receivers = [(); 3].map(|()| Receiver::answering("200 OK"));
    platform.send_to(&receivers[0], Value::Null);
    platform.send_to(
        &receivers[1],
        json!({"event_type": "order", "callbacks_to_send": "carrier_dlr"}),
    );
    let later = with(
        for_events(&receivers[2].url(), Value::Null),
        json!({"start_date": "2050-02-01"}),
    );
    platform.register(&later);
    let queued = test(&event_processed).expect(201).json();
    let made_up = text(&queued["event_id"]);
    assert!(!text(&queued["message"]).is_empty());
    let with_data = r#"{"callback_type":"event_processed","event_processed":{"event_id":"mine-1","event_data":{"first_name":"Bob","n":1.50}}}"#;
    let path = "/companies/acme/config/callback_events/test/";
    let queued = platform
        .client
        .ask("POST", path, with_data)
        .expect(201)
        .json();
    assert_eq!(queued["event_id"], "mine-1");
    platform.until("idle");
    for receiver in &receivers[..2] {
        let came = receiver.requests();
        let ids: Vec<_> = came
            .iter()
            .map(|request| text(&request.json()["event_processed"]["event_id"]))
            .collect();
        assert_eq!(ids, [made_up.clone(), "mine-1".to_owned()]);
        assert!(
            came[1]
                .body
                .contains(r#""event_data":{"first_name":"Bob","n":1.50}"#),
            "{}",
            came[1].body
        );
        assert_eq!(came[0].json()["callback_type"], "event_processed");
    }
    assert!(receivers[2].requests().is_empty());

    // Others are answered as valid, and none is sent.
    let person = json!({"callback_type": "person_added", "person": {"person_id": "1"}});
    refused(test(&person), 404);
    platform.register(
        &json!({"callback_type": "person_added", "destination": {"url": receivers[2].url()}}),
    );
    test(&person).expect(201);
    platform.until("idle");
    assert!(receivers[2].requests().is_empty());
    refused(test(&json!({})), 400);
    refused(test(&json!({"callback_type": "event_queued"})), 422);
    refused(
        test(&json!({"callback_type": "event_processed", "event_processed": {"event_data": 1}})),
        400,
    );
}

// --- Delivering

/// All events end at routing, after a second.
fn one_callback() -> Value {
    json!({
        "journeys": {"way": {"routing": {"not_subscribed": {"after": "1s"}}}},
        "routes": [{"journey": "way"}],
    })
}

#[test]
fn what_a_receiver_answers_decides() {
    let platform = Platform::standing();
    let mut kept = Vec::new();
    for (answer, state, attempts) in [
        ("200 OK", "accepted", 1),
        ("202 Accepted", "accepted", 1),
        ("204 No Content", "accepted", 1),
        ("400 Bad Request", "failed", 1),
        ("404 Not Found", "failed", 1),
        ("429 Too Many Requests", "failed", 1),
        ("301 Moved\r\nLocation: http://127.0.0.1:9/", "failed", 6),
        ("500 Oh", "failed", 6),
        ("503 Busy", "failed", 6),
    ] {
        let receiver = Receiver::answering(answer);
        let company = format!("answers-{}", &answer[..3]);
        let client = &platform.client;
        let path = format!("/companies/{company}/config/callbacks");
        client
            .post(&path, &for_events(&receiver.url(), Value::Null))
            .expect(201);
        let path = format!("/_mock/routes?company_key={company}");
        client.put(&path, &one_callback()).expect(204);
        let event = json!({"event_type": "order", "event_data": {"mdn": "5555550199"}});
        client
            .post(&format!("/companies/{company}/events"), &event)
            .expect(202);
        kept.push((company, receiver, state, attempts));
    }
    platform.until("idle");
    for (company, receiver, state, attempts) in kept {
        let came = receiver.requests();
        assert_eq!(came.len(), attempts, "{company}");
        assert!(
            came.iter().all(|request| request.body == came[0].body),
            "{company}"
        );
        let path = format!("/_mock/deliveries?company_key={company}");
        let delivery = platform.client.get(&path).expect(200).json()["deliveries"][0].take();
        assert_eq!(delivery["state"], state, "{company}");
        // Five more times, five minutes apart, is what the platform is known to do.
        let times = delivery["attempts"].as_array().unwrap().iter();
        let times: Vec<_> = times.map(|one| text(&one["at"])[..19].to_owned()).collect();
        let ladder = (0..attempts).map(|number| format!("2050-01-01T00:{:02}:01", number * 5));
        assert_eq!(times, ladder.collect::<Vec<_>>(), "{company}");
        let failures = platform
            .client
            .get(&format!("/_mock/failures?company_key={company}"));
        let failures = failures.expect(200).json();
        let failed = failures["deliveries"].as_array().unwrap().len();
        assert_eq!(failed, usize::from(state == "failed"), "{company}");
    }
}

#[test]
fn one_callback_goes_to_each_registration_that_matches_with_retries_of_its_own() {
    let platform = Platform::standing();
    platform.routes(&every_second(json!({})));
    let good = Receiver::answering("200 OK");
    let broken = Receiver::answering("503 Busy");
    let mending = Receiver::with(|number, _| ["500 Oh", "200 OK"][number.min(1)].to_owned());
    for receiver in [&good, &broken, &mending] {
        platform.send_to(receiver, Value::Null);
    }
    platform.event("order", json!({}));
    platform.until("2050-01-01T00:00:04Z");
    assert_eq!(platform.told(&good.requests()), GOOD_DAY);
    assert_eq!(broken.requests().len(), 4);
    let states = |state: &str| platform.deliveries(&format!("state={state}")).len();
    assert_eq!((states("accepted"), states("retrying")), (4 + 3, 4 + 1));
    platform.until("2050-01-01T00:05:01Z");
    let told = platform.told(&mending.requests());
    let again: Vec<_> = GOOD_DAY.iter().chain(&GOOD_DAY[..1]).copied().collect();
    assert_eq!(told, again);
    platform.until("idle");
    assert_eq!(good.requests().len(), 4);
    assert_eq!(broken.requests().len(), 4 * 6);
    assert_eq!((states("accepted"), states("failed")), (8, 4));
    // The same callback is the same body everywhere.
    let bodies = |receiver: &Receiver| -> BTreeSet<String> {
        receiver
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect()
    };
    assert_eq!(bodies(&good), bodies(&broken));
}

#[test]
fn a_receiver_that_hangs_holds_nobody_up() {
    let platform = Platform::with(Setup::default());
    let at_once = json!({
        "timeout": "50s",
        "journeys": {"way": {
            "routing": {"accepted": {"after": "0s"}}, "processing": {"queued": {"after": "0s"}},
            "carrier": {"after": "0s"}, "handset": {"after": "0s"},
        }},
        "routes": [{"journey": "way"}],
    });
    platform.routes(&at_once);
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let answered = Arc::new(AtomicUsize::new(0));
    let slow = Receiver::with({
        let (gate, answered) = (Arc::clone(&gate), Arc::clone(&answered));
        move |_, _| {
            let opened = gate
                .1
                .wait_while(gate.0.lock().unwrap(), |open| !*open)
                .unwrap();
            drop(opened);
            answered.fetch_add(1, Ordering::SeqCst);
            "200 OK".to_owned()
        }
    });
    let fast = Receiver::answering("200 OK");
    platform.send_to(&slow, Value::Null);
    platform.send_to(&fast, Value::Null);
    // More than there are connections to a destination.
    for _ in 0..50 {
        platform.event("order", json!({}));
    }
    fast.wait_for(200);
    slow.wait_for(1);
    assert_eq!(answered.load(Ordering::SeqCst), 0);
    assert!(slow.requests().len() < 200);
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    let mut bodies: Vec<_> = slow.wait_for(200).into_iter().map(|one| one.body).collect();
    let mut others: Vec<_> = fast.requests().into_iter().map(|one| one.body).collect();
    bodies.sort();
    others.sort();
    assert_eq!(bodies, others);
}

// --- Event API

#[test]
fn an_event_is_accepted_and_passed_on_as_it_was_sent() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, json!({"callbacks_to_send": "routing"}));
    let data = r#"{"z":1.10,"external_person_id":"a-1","big":123456789012345678901234567890,"e":1E400,"a":[true,null,{"":""}],"ü":"\u00e9\n\"\\"}"#;
    let debug = r#"{"field":"CUST_SYSTEM"}"#;
    let body = format!(
        r#" {{"event_id":"mine","event_type":"Order_1-x","event_data": {data} ,"debug_data":{debug}}}"#
    );
    let answer = platform
        .client
        .ask("POST", "/companies/acme/events/", &body)
        .expect(202);
    assert_eq!(answer.body, r#"{"event_id":"mine"}"#);
    platform.until("idle");
    let expected = format!(
        r#""event_processed":{{"event_id":"mine","event_type":"Order_1-x","event_data":{data},"debug_data":{debug},"action""#
    );
    for request in receiver.requests() {
        assert!(request.body.contains(&expected), "{}", request.body);
    }
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn an_event_without_an_id_gets_one() {
    let platform = Platform::standing();
    let ids: BTreeSet<_> = (0..20)
        .map(|_| platform.event("order", json!({})))
        .collect();
    assert_eq!(ids.len(), 20);
    for id in ids {
        let groups: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(platform.outcomes(&id), GOOD_DAY);
    }
    let named =
        json!({"event_id": 4711, "event_type": "order", "event_data": {"mdn": "5555550199"}});
    let answer = platform.post_event(&named).expect(202).json();
    assert_eq!(answer, json!({"event_id": "4711"}));
}

#[test]
fn an_event_that_is_not_in_order_is_refused_in_vibes_form() {
    let platform = Platform::standing();
    let data = json!({"external_person_id": "a"});
    for (status, field, body) in [
        (400, "event_type", json!({"event_data": data})),
        (400, "event_data", json!({"event_type": "order"})),
        (
            400,
            "event_data",
            json!({"event_type": "order", "event_data": "Bob"}),
        ),
        (
            400,
            "event_data.external_person_id or event_data.mdn",
            json!({"event_type": "order", "event_data": {"first_name": "Bob"}}),
        ),
        (
            400,
            "event_data.mdn",
            json!({"event_type": "order", "event_data": {"mdn": null}}),
        ),
        (
            400,
            "event_data.person_id",
            json!({"event_type": "order", "event_data": {"person_id": ["a"]}}),
        ),
        (
            400,
            "debug_data",
            json!({"event_type": "order", "event_data": data, "debug_data": "a"}),
        ),
        (
            422,
            "event_type",
            json!({"event_type": "day of delivery", "event_data": data}),
        ),
        (
            400,
            "event_type",
            json!({"event_type": "", "event_data": data}),
        ),
        (
            422,
            "event_type",
            json!({"event_type": "bestellung-ä", "event_data": data}),
        ),
        (
            422,
            "event_id",
            json!({"event_id": "", "event_type": "order", "event_data": data}),
        ),
        (
            422,
            "event_id",
            json!({"event_id": "x".repeat(256), "event_type": "order", "event_data": data}),
        ),
    ] {
        let messages = refused(platform.post_event(&body), status);
        assert!(messages[0].contains(field), "{body}: {messages:?}");
    }
    let messages = refused(
        platform
            .client
            .ask("POST", "/companies/acme/events", "{\"event_type\": \"a\","),
        400,
    );
    assert!(messages[0].contains("JSON"), "{messages:?}");
    assert!(platform.deliveries("").is_empty());
    for key in [
        "external_person_id",
        "mdn",
        "person_key",
        "person_id",
        "vibes_device_id",
    ] {
        platform
            .post_event(&json!({"event_type": "order", "event_data": {key: "8609740638"}}))
            .expect(202);
    }
}

#[test]
fn the_version_says_how_a_number_is_written() {
    let platform = Platform::standing();
    let post = |version: Option<&str>, mdn: &str| {
        let client = match version {
            Some(version) => platform.client.with("X-API-Version", version),
            None => platform.client.clone(),
        };
        let event = json!({"event_type": "order", "event_data": {"mdn": mdn}});
        client.post("/companies/acme/events", &event)
    };
    for (version, mdn, status) in [
        (None, "8609740638", 202),
        (Some("1"), "8609740638", 202),
        (Some("1"), "18609740638", 202),
        (Some("2"), "+18609740638", 202),
        (Some("2"), "+447700900123", 202),
        (None, "+18609740638", 422),
        (Some("1"), "+18609740638", 422),
        (Some("2"), "8609740638", 422),
        (Some("2"), "18609740638", 422),
        (Some("2"), "+1860", 422),
        (Some("3"), "8609740638", 400),
    ] {
        let answer = post(version, mdn);
        match status {
            202 => drop(answer.expect(202)),
            _ => {
                let messages = refused(answer, status);
                let named = ["event_data.mdn", "X-API-Version"]
                    .iter()
                    .any(|name| messages[0].contains(name));
                assert!(named, "{messages:?}");
            }
        }
    }
    // The other endpoints know two versions as well.
    for (version, status) in [("1", 200), ("2", 200), ("0", 400), ("latest", 400)] {
        let client = platform.client.with("X-API-Version", version);
        client.get(&platform.callbacks("")).expect(status);
        client.get(&platform.campaigns("")).expect(status);
    }
    let three = platform.client.with("X-API-Version", "3");
    refused(
        three.post(&platform.callbacks(""), &for_events(SOMEWHERE, Value::Null)),
        400,
    );
    refused(
        three.post(&platform.campaigns(""), &sms("order", "Hi")),
        400,
    );
}

#[test]
fn an_event_has_up_to_16_kb() {
    let platform = Platform::standing();
    let event = |fill: usize| {
        let data = "x".repeat(fill);
        format!(r#"{{"event_type":"order","event_data":{{"person_id":"1","text":"{data}"}}}}"#)
    };
    let room = 16 * 1024 - event(0).len();
    platform
        .client
        .ask("POST", "/companies/acme/events", &event(room))
        .expect(202);
    let answer = platform
        .client
        .ask("POST", "/companies/acme/events", &event(room + 1));
    refused(answer, 413);
}

#[test]
fn an_id_may_come_again_unless_that_is_refused() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, json!({"callbacks_to_send": "handset_dlr"}));
    let event =
        json!({"event_id": "mine", "event_type": "order", "event_data": {"mdn": "5555550199"}});
    platform.post_event(&event).expect(202);
    platform.post_event(&event).expect(202);
    platform.routes(&json!({"duplicate_event_id": "reject"}));
    let messages = refused(platform.post_event(&event), 409);
    assert!(messages[0].contains("mine"), "{messages:?}");
    let other = with(event.clone(), json!({"event_id": "other"}));
    platform.post_event(&other).expect(202);
    refused(platform.post_event(&other), 409);
    // An id is a company's own.
    platform
        .client
        .post("/companies/neighbour/events", &event)
        .expect(202);
    platform
        .client
        .delete("/_mock/routes?company_key=acme")
        .expect(204);
    platform.post_event(&event).expect(202);
    platform.until("idle");
    let came = receiver.requests();
    assert_eq!(came.len(), 4);
    let ids: BTreeSet<_> = came
        .iter()
        .map(|request| request.json()["event_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 4, "each callback has an id of its own");
}

/// Sends many requests over one connection, one behind the other, and gives their statuses.
fn pipelined(authority: &str, request: &str, number: usize) -> Vec<u16> {
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let all = request.repeat(number);
    let writer = std::thread::spawn(move || writing.write_all(all.as_bytes()).unwrap());
    let mut reader = BufReader::new(&mut stream);
    let statuses = (0..number).map(|_| read_answer(&mut reader, false).unwrap().status);
    let statuses = statuses.collect();
    writer.join().unwrap();
    statuses
}

#[test]
fn limits_hold_where_they_are_asked_for() {
    let platform = Platform::with(Setup::default());
    let authority = platform.client.authority.clone();
    let event = r#"{"event_type":"order","event_data":{"person_id":"1"}}"#;
    let request = |company: &str, rest: &str| match rest {
        "events" => format!(
            "POST /companies/{company}/events HTTP/1.1\r\nHost: {authority}\r\nContent-Length: {}\r\n\r\n{event}",
            event.len()
        ),
        rest => format!("GET /companies/{company}/{rest} HTTP/1.1\r\nHost: {authority}\r\n\r\n"),
    };
    platform.routes(&json!({"enforce_limits": true}));
    for (rest, usual, most) in [("events", 202, 300), ("config/callbacks", 200, 100)] {
        platform
            .client
            .post(
                "/companies/unlimited/events",
                &serde_json::from_str(event).unwrap(),
            )
            .expect(202);
        let free = pipelined(&authority, &request("unlimited", rest), most + 50);
        assert!(free.iter().all(|status| *status == usual), "{free:?}");
        // So many in one second of a slow machine take some trying.
        let began = Instant::now();
        let statuses = loop {
            let statuses = pipelined(&authority, &request("acme", rest), 3 * most);
            if statuses.contains(&429) {
                break statuses;
            }
            assert!(began.elapsed() < PATIENCE, "there is no limit");
        };
        assert!(
            statuses.iter().all(|status| [usual, 429].contains(status)),
            "{statuses:?}"
        );
    }
    // What is refused is told in Vibes' form, and others are not concerned.
    let began = Instant::now();
    loop {
        pipelined(&authority, &request("acme", "config/callbacks"), 150);
        let answer = platform.client.get(&platform.callbacks(""));
        if answer.status == 429 {
            refused(answer, 429);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "there is no limit");
    }
    platform
        .client
        .get("/companies/unlimited/config/callbacks")
        .expect(200);
    // The mock's own side has none.
    let path = format!("GET /_mock/clock HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    let free = pipelined(&authority, &path, 200);
    assert!(free.iter().all(|status| *status == 200));
}

#[test]
fn name_and_password_are_asked_for_if_the_server_has_some() {
    let platform = Platform::with(Setup {
        user: Some(("vibes".to_owned(), "secret".to_owned())),
        ..Setup::default()
    });
    let event = json!({"event_type": "order", "event_data": {"person_id": "1"}});
    let answer = platform.post_event(&event);
    let challenge = answer.header("www-authenticate").unwrap().to_owned();
    assert!(challenge.starts_with("Basic "), "{challenge}");
    refused(answer, 401);
    for (credentials, status) in [
        ("Basic dmliZXM6c2VjcmV0", 202),
        ("basic dmliZXM6c2VjcmV0", 202),
        ("Basic dmliZXM6U2VjcmV0", 401),
        ("Basic dmliZXM=", 401),
        ("Bearer secret", 401),
    ] {
        let client = platform.client.with("Authorization", credentials);
        client.post("/companies/acme/events", &event).expect(status);
    }
    for path in [
        platform.callbacks(""),
        platform.callbacks("/1"),
        platform.campaigns(""),
    ] {
        refused(platform.client.get(&path), 401);
    }
}

// --- Event-Triggered Campaign API

/// A campaign in progress that sends a text.
fn sms(event_type: &str, template: &str) -> Value {
    json!({
        "name": "Day of delivery",
        "event_type": event_type,
        "start_date": "2050-01-01",
        "targeting": {
            "message_template": template,
            "sms": {"sourcecode": "12345", "country_code": "1", "sourcecode_type": "SC"},
        },
    })
}

/// Likewise, one that sends texts and pictures.
fn mms(event_type: &str, content: Value) -> Value {
    json!({
        "name": "Pictures",
        "event_type": event_type,
        "start_date": "2050-01-01",
        "targeting": {
            "channel": "sms",
            "mms": {"sourcecode": "12345", "country_code": "1", "sourcecode_type": "SC", "subject": "Hi", "content": content},
        },
    })
}

#[test]
fn a_campaign_from_its_first_day_to_its_last() {
    let platform = Platform::standing();
    let client = &platform.client;
    let dates = json!({"start_date": "2050-01-02", "end_date": "2050-01-04"});
    let asked = with(
        sms("Day_of_delivery", "Hi {{ event_data.first_name }}"),
        dates,
    );
    let made = platform.create_campaign(&asked);
    let id = made["event_triggered_message_id"].as_u64().unwrap();
    let path = platform.campaigns(&format!("/{id}"));
    let mut targeting = asked["targeting"].clone();
    targeting["channel"] = "sms".into();
    targeting["message_format"] = "sms".into();
    assert_eq!(
        made,
        json!({
            "event_triggered_message_id": id,
            "name": "Day of delivery",
            "status": "scheduled",
            "event_type": "Day_of_delivery",
            "start_date": "2050-01-02",
            "end_date": "2050-01-04",
            "created_by": "vibes-mock",
            "created_by_application": "vibes-mock",
            "targeting": targeting,
            "url": path,
            "created_at": "2050-01-01T00:00:00Z",
            "updated_at": "2050-01-01T00:00:00Z",
        })
    );
    let status = || text(&client.get(&path).expect(200).json()["status"]);
    let outcomes = || platform.outcomes(&platform.event("DAY_OF_DELIVERY", json!({})));
    platform.routes(&json!({"routing": "strict"}));
    let refusal = ["routing.no_route_rules"];

    // Ahead, its start may be moved.
    let moved = with(asked.clone(), json!({"start_date": "2050-01-03"}));
    assert_eq!(
        client.put(&path, &moved).expect(200).json()["start_date"],
        "2050-01-03"
    );
    client.put(&path, &asked).expect(200);
    platform.until("2050-01-01T23:59:59Z");
    assert_eq!(status(), "scheduled");
    assert_eq!(outcomes(), refusal);

    platform.until("2050-01-02T00:00:00Z");
    assert_eq!(status(), "in_progress");
    assert_eq!(outcomes(), GOOD_DAY);
    let messages = refused(client.put(&path, &moved), 422);
    assert!(messages[0].contains("start_date"), "{messages:?}");
    let renamed = with(asked.clone(), json!({"name": "Renamed"}));
    let renamed = client.put(&path, &renamed).expect(200).json();
    assert_eq!(
        (&renamed["name"], &renamed["updated_at"]),
        (&json!("Renamed"), &json!("2050-01-02T00:00:00Z"))
    );
    platform.until("2050-01-04T23:59:59Z");
    assert_eq!(status(), "in_progress");
    assert_eq!(outcomes(), GOOD_DAY);

    platform.until("2050-01-05T00:00:00Z");
    assert_eq!(status(), "ended");
    assert_eq!(outcomes(), refusal);
    refused(client.put(&path, &asked), 422);
    assert_eq!(client.delete(&path).expect(200).json()["status"], "ended");

    let made = platform.create_campaign(&with(
        sms("order", "Hi"),
        json!({"start_date": "2050-01-05"}),
    ));
    assert_eq!(
        (&made["status"], made.get("end_date")),
        (&json!("in_progress"), None)
    );
    let path = text(&made["url"]);
    assert_eq!(
        client.delete(&path).expect(200).json()["status"],
        "canceled"
    );
    assert_eq!(
        client.get(&(path.clone() + "/")).expect(200).json()["status"],
        "canceled"
    );
    refused(client.put(&path, &sms("order", "Hi")), 422);
    assert_eq!(
        platform.outcomes(&platform.event("order", json!({}))),
        refusal
    );
}

#[test]
fn campaigns_are_listed_and_found() {
    let platform = Platform::standing();
    let client = &platform.client;
    let list = |query: &str| {
        let path = platform.campaigns(query);
        client.get(&path).expect(200).json()
    };
    assert_eq!(list(""), json!([]));
    let first = platform.create_campaign(&sms("order", "Hi"));
    let second = platform.create_campaign(&with(
        sms("parcel", "Hi"),
        json!({"start_date": "2050-02-01"}),
    ));
    assert_ne!(
        first["event_triggered_message_id"],
        second["event_triggered_message_id"]
    );
    assert_eq!(list(""), json!([first, second]));
    assert_eq!(list("/?status=scheduled"), json!([second]));
    assert_eq!(list("?event_type=ORDER"), json!([first]));
    assert_eq!(list("?event_type=order&status=scheduled"), json!([]));
    let number = first["event_triggered_message_id"].as_u64().unwrap();
    for path in [
        platform.campaigns("/4711"),
        platform.campaigns("/0"),
        platform.campaigns("/abc"),
        format!("/companies/other/mobiledb/event_triggered_messages/{number}"),
    ] {
        refused(client.get(&path), 404);
        refused(client.put(&path, &sms("order", "Hi")), 404);
        refused(client.delete(&path), 404);
    }
}

#[test]
fn a_campaign_that_is_not_in_order_is_refused_in_vibes_form() {
    let platform = Platform::standing();
    let good = sms("order", "Hi");
    let changed = |pointer: &str, value: Value| {
        let mut campaign = good.clone();
        *campaign.pointer_mut(pointer).unwrap() = value;
        campaign
    };
    let mut both = good.clone();
    both["targeting"]["push"] = json!({"app_id": "a"});
    for (status, field, body) in [
        (400, "name", changed("/name", Value::Null)),
        (400, "event_type", changed("/event_type", Value::Null)),
        (
            422,
            "event_type",
            changed("/event_type", json!("day of delivery")),
        ),
        (400, "start_date", changed("/start_date", Value::Null)),
        (
            422,
            "start_date",
            changed("/start_date", json!("01/31/2050")),
        ),
        (
            422,
            "start_date",
            changed("/start_date", json!("2050-02-30")),
        ),
        (
            422,
            "end_date",
            with(good.clone(), json!({"end_date": "2049-12-31"})),
        ),
        (
            422,
            "end_date",
            with(
                with(good.clone(), json!({"start_date": "2049-01-01"})),
                json!({"end_date": "2049-02-01"}),
            ),
        ),
        (400, "targeting", changed("/targeting", Value::Null)),
        (
            400,
            "message_template",
            changed("/targeting/message_template", Value::Null),
        ),
        (
            422,
            "message_template",
            changed(
                "/targeting/message_template",
                json!("Hi {{ event_data.first_name"),
            ),
        ),
        (400, "targeting.sms", changed("/targeting/sms", Value::Null)),
        (
            400,
            "sourcecode",
            changed("/targeting/sms/sourcecode", Value::Null),
        ),
        (
            422,
            "sourcecode_type",
            changed("/targeting/sms/sourcecode_type", json!("XX")),
        ),
        (422, "targeting", both),
        (400, "content", mms("order", json!([]))),
        (
            400,
            "targeting.mms.content[0].body or media_url",
            mms("order", json!([{"description": "a"}])),
        ),
    ] {
        let messages = refused(platform.client.post(&platform.campaigns(""), &body), status);
        assert!(
            messages.iter().any(|message| message.contains(field)),
            "{body}: {messages:?}"
        );
    }
    let listed = platform
        .client
        .get(&platform.campaigns(""))
        .expect(200)
        .json();
    assert_eq!(listed, json!([]));
}

#[test]
fn a_campaigns_text_is_rendered_and_split() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, Value::Null);
    let template = "{% for i in (1..9) %}Hi {{ event_data.first_name }}! {% endfor %}{{ event_data.day | date: '%A' }}";
    let made = platform.create_campaign(&sms("order", template));
    let number = made["event_triggered_message_id"].as_u64().unwrap();
    let link = format!("/companies/acme/mobiledb/event_triggered_messages/{number}");
    let parts = |name: &str, person: &str| {
        let data = json!({"first_name": name, "day": "2050-01-01", "external_person_id": person});
        let id = platform.event("ORDER", data);
        let all = platform.deliveries(&format!("event_id={id}"));
        let shown = |one: &Value| {
            (
                text(&one["outcome"]),
                one["part"].as_u64(),
                one["parts"].as_u64(),
            )
        };
        all.iter().map(shown).collect::<Vec<_>>()
    };
    let line =
        |outcome: &str, part: Option<u64>, parts: Option<u64>| (outcome.to_owned(), part, parts);
    let whole = [
        line("routing.accepted", None, None),
        line("processing.queued", None, None),
    ];
    // 9 × 10 + 8 characters fit into one part.
    let short = parts("Maria", "a");
    assert_eq!(short[..2], whole);
    assert_eq!(
        short[2..],
        [
            line("carrier.sent", Some(1), Some(1)),
            line("handset.delivered", Some(1), Some(1))
        ]
    );
    // 9 × 35 + 8 need three; one success is told, the last.
    let name = "Maria".repeat(6);
    let long = parts(&name, "a");
    assert_eq!(long[..2], whole);
    assert_eq!(
        long[2..],
        [
            line("carrier.sent", Some(3), Some(3)),
            line("handset.delivered", Some(3), Some(3))
        ]
    );
    // Each part that fails is told. The letters of another script are fewer to a part.
    let failing = parts("Zoë", "vm-carrier-rejected");
    assert_eq!(
        failing[2..],
        [
            line("carrier.rejected", Some(1), Some(2)),
            line("carrier.rejected", Some(2), Some(2))
        ][..failing.len() - 2]
    );
    let failing = parts(&name, "vm-carrier-rejected");
    let rejected = [1, 2, 3].map(|part| line("carrier.rejected", Some(part), Some(3)));
    assert_eq!(failing[2..], rejected);
    let late = parts(&name, "vm-handset-expired");
    let expired = [1, 2, 3].map(|part| line("handset.expired", Some(part), Some(3)));
    assert_eq!(
        late[2..],
        [&[line("carrier.sent", Some(3), Some(3))], &expired[..]].concat()
    );
    platform.until("idle");
    let mut links = 0;
    for request in receiver.requests() {
        let action = request.json()["event_processed"]["action"].take();
        let source = &action["sms"]["source"];
        for key in ["url", "resource_url"] {
            if let Some(found) = source.get(key) {
                assert_eq!(found, &link);
                links += 1;
            }
        }
    }
    assert!(links >= 10, "{links}");
}

#[test]
fn a_campaigns_pictures_are_known_by_their_urls() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, Value::Null);
    let picture = json!([
        {"body": "Hi {{ event_data.first_name }}", "mime_type": "text/plain"},
        {"media_url": "{{ event_data.picture }}", "description": "Your parcel"},
    ]);
    let made = platform.create_campaign(&mms("order", picture));
    let number = made["event_triggered_message_id"].as_u64().unwrap();
    let link = format!("/companies/acme/mobiledb/event_triggered_messages/{number}");
    for (picture, last) in [
        (json!("https://example.com/parcel.png"), "processing.queued"),
        (json!(""), "processing.media_missing"),
        (Value::Null, "processing.media_missing"),
        (
            json!("https://example.com/manual.pdf"),
            "processing.media_type_not_allowed",
        ),
        (
            json!("https://example.com/too-large.jpg"),
            "processing.media_too_large",
        ),
        (
            json!("https://example.com/parcel.png?size=600KB"),
            "processing.media_too_large",
        ),
    ] {
        let mut data = json!({"first_name": "Bob", "external_person_id": "a"});
        if !picture.is_null() {
            data["picture"] = picture;
        }
        let id = platform.event("order", data);
        // No receipts are documented for such messages.
        assert_eq!(platform.outcomes(&id), ["routing.accepted", last]);
    }
    platform.until("idle");
    let mut failures = 0;
    for request in receiver.requests() {
        let body = request.json();
        let action = &body["event_processed"]["action"];
        if action["status_reason"] == "queued" {
            assert_eq!(action["message_type"], "mms");
            assert_eq!(action["mms"]["source"]["resource_url"], link);
        } else if action["status"] == "failed" {
            failures += 1;
            assert_eq!(action["failure"]["reason"], "ValidationError");
            assert_eq!(action["failure"]["errors"][0]["resource_url"], link);
        }
    }
    assert_eq!(failures, 5);
    // A URL need not be a template.
    let fixed = json!([{"media_url": "https://example.com/film.mp4"}]);
    platform.create_campaign(&mms("fixed", fixed));
    let id = platform.event("fixed", json!({}));
    assert_eq!(
        platform.outcomes(&id)[1],
        "processing.media_type_not_allowed"
    );
}

// --- Routes

#[test]
fn the_first_route_that_matches_is_taken() {
    let platform = Platform::standing();
    platform.routes(&json!({
        "journeys": {
            "capped": {"carrier": "rejected"},
            "late": {"handset": "expired"},
            "lost": {"handset": "undeliverable"},
        },
        "routes": [
            {"when": {"event_type": "order_*", "event_data.mdn": "+1555*"}, "journey": "capped"},
            {"when": {"event_data.customer.tier": "gold"}, "journey": "late"},
            {"when": {"debug_data.field": "TEST"}, "journey": "lost"},
        ],
    }));
    let last = |event: Value| {
        let id = text(&platform.post_event(&event).expect(202).json()["event_id"]);
        platform.outcomes(&id).pop().unwrap()
    };
    let gold = json!({"external_person_id": "a", "customer": {"tier": "gold"}});
    for (event, outcome) in [
        (
            json!({"event_type": "order_shipped", "event_data": {"mdn": "5555550199"}}),
            "carrier.rejected",
        ),
        (
            json!({"event_type": "ORDER_shipped", "event_data": {"mdn": "15555550199"}}),
            "carrier.rejected",
        ),
        (
            json!({"event_type": "order_shipped", "event_data": {"mdn": "8609740638"}}),
            "handset.delivered",
        ),
        (
            json!({"event_type": "order", "event_data": {"mdn": "5555550199"}}),
            "handset.delivered",
        ),
        (
            json!({"event_type": "order", "event_data": gold}),
            "handset.expired",
        ),
        (
            json!({"event_type": "order", "event_data": {"person_id": "a"}, "debug_data": {"field": "TEST"}}),
            "handset.undeliverable",
        ),
    ] {
        assert_eq!(last(event.clone()), outcome, "{event}");
    }
    let wrong = platform.client.put(
        "/_mock/routes?company_key=acme",
        &json!({"routes": [{"journey": "nowhere"}]}),
    );
    refused(wrong, 422);
    let event = json!({"event_type": "order", "event_data": gold});
    assert_eq!(
        last(event.clone()),
        "handset.expired",
        "the old ones are kept"
    );
    platform
        .client
        .delete("/_mock/routes?company_key=acme")
        .expect(204);
    assert_eq!(last(event), "handset.delivered");
}

#[test]
fn a_tests_own_routes_come_before_the_folders_and_those_before_campaigns() {
    let scenario = |name: &str, text: &str| Loaded {
        stem: name.to_owned(),
        scenario: Arc::new(Scenario::parse(name, text).unwrap()),
    };
    let platform = Platform::with(Setup {
        options: Options {
            speed: None,
            ..Options::default()
        },
        folder: vec![
            scenario(
                "a",
                "company_key: other\njourneys: {lost: {handset: deleted}}\nroutes: [{journey: lost}]",
            ),
            scenario(
                "b",
                "journeys: {late: {handset: expired}}\nroutes: [{when: {event_type: order*}, journey: late}]",
            ),
            scenario(
                "c",
                "journeys: {lost: {handset: undeliverable}}\nroutes: [{when: {event_type: \"*\", event_data.mdn: \"8609740638\"}, journey: lost}]",
            ),
        ],
        ..Setup::default()
    });
    let last = |event_type: &str| {
        let id = platform.event(event_type, json!({"mdn": "8609740638"}));
        platform.outcomes(&id).pop().unwrap()
    };
    assert_eq!(last("order"), "handset.expired");
    assert_eq!(last("parcel"), "handset.undeliverable");
    platform.create_campaign(&mms("order", json!([{"body": "Hi"}])));
    assert_eq!(last("order"), "handset.expired");
    platform.routes(&json!({"journeys": {"refused": {"carrier": "rejected"}}, "routes": [{"when": {"event_type": "order"}, "journey": "refused"}]}));
    assert_eq!(last("order"), "carrier.rejected");
    assert_eq!(last("orders"), "handset.expired");
    // A file that names a company is for that one.
    let event =
        json!({"event_id": "theirs", "event_type": "order", "event_data": {"person_id": "1"}});
    platform
        .client
        .post("/companies/other/events", &event)
        .expect(202);
    let theirs = platform
        .client
        .get("/_mock/deliveries?company_key=other&outcome=handset.*");
    assert_eq!(
        theirs.expect(200).json()["deliveries"][0]["outcome"],
        "handset.deleted"
    );
}

#[test]
fn an_event_that_nothing_takes_has_a_good_day_unless_routing_is_strict() {
    let platform = Platform::standing();
    let outcomes = || platform.outcomes(&platform.event("order", json!({})));
    assert_eq!(outcomes(), GOOD_DAY);
    platform.routes(&json!({"routing": "strict"}));
    assert_eq!(outcomes(), ["routing.no_route_rules"]);
    platform.create_campaign(&sms("order", "Hi"));
    assert_eq!(outcomes(), GOOD_DAY);
}

#[test]
fn there_is_a_magic_recipient_for_every_outcome() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, Value::Null);
    // They need no set-up, and no route.
    platform.routes(&json!({"routing": "strict"}));
    let catalog = outside::run(&["catalog", "--format", "json"])
        .expect_code(0)
        .json();
    let second = platform.client.with("X-API-Version", "2");
    let mut met = 0;
    for recipient in magic::recipients() {
        let id = recipient.external_person_id();
        let mdn = recipient.mdn();
        let mut ways = Vec::new();
        for (name, client, data) in [
            ("id", &platform.client, json!({"external_person_id": id})),
            (
                "mdn",
                &platform.client,
                json!({"mdn": mdn.trim_start_matches("+1")}),
            ),
            ("number", &second, json!({"mdn": mdn})),
        ] {
            let event_id = format!("{id}-by-{name}");
            let event = json!({"event_id": event_id, "event_type": "order", "event_data": data});
            client.post("/companies/acme/events", &event).expect(202);
            ways.push(platform.outcomes(&event_id));
        }
        assert_eq!(
            ways[0].last().map(String::as_str),
            Some(recipient.outcome.name),
            "{id}"
        );
        assert_eq!(ways[0].len(), recipient.outcome.stage as usize + 1, "{id}");
        assert!(ways.iter().all(|way| *way == ways[0]), "{id}: {ways:?}");
        // And its body says so.
        platform.until("idle");
        let all = receiver.requests();
        let body = all
            .iter()
            .map(Request::json)
            .rfind(|body| body["event_processed"]["event_id"] == format!("{id}-by-id"))
            .unwrap();
        let mut entries = catalog.as_array().unwrap().iter().filter(|entry| {
            entry["outcome"] == recipient.outcome.name
                && (recipient.outcome.messages.len() < 2
                    || entry["body"]["event_processed"]["action"]["message_type"]
                        .as_str()
                        .is_none_or(|of| of == recipient.message_type.name()))
        });
        let expected = entries
            .next()
            .unwrap_or_else(|| panic!("{id} is not in the catalog"));
        let action = |body: &Value| {
            let mut action = body["event_processed"]["action"].clone();
            // The number that could not be looked up, and the person's.
            hide_numbers(&mut action);
            lines_of(&action)
        };
        assert_eq!(action(&body), action(&expected["body"]), "{id}");
        met += 1;
    }
    assert_eq!(met, catalog.as_array().unwrap().len());
}

/// Makes mobile numbers alike.
fn hide_numbers(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide_numbers),
        Value::Array(items) => items.iter_mut().for_each(hide_numbers),
        Value::String(text) => {
            if let Some(at) = text.find("+1") {
                let digits = text[at + 1..]
                    .chars()
                    .take_while(char::is_ascii_digit)
                    .count();
                text.replace_range(at..=at + digits, "(mdn)");
            }
        }
        _ => {}
    }
}

#[test]
fn a_magic_recipient_gets_a_campaigns_message() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, json!({"callbacks_to_send": "carrier_dlr"}));
    let made = platform.create_campaign(&sms("order", "Hi"));
    let number = made["event_triggered_message_id"].as_u64().unwrap();
    let id = platform.event(
        "order",
        json!({"external_person_id": "vm-carrier-unroutable"}),
    );
    let expected = [
        "routing.accepted",
        "processing.queued",
        "carrier.unroutable",
    ];
    assert_eq!(platform.outcomes(&id), expected);
    platform.until("idle");
    let body = receiver.requests()[0].json();
    let link = &body["event_processed"]["action"]["sms"]["source"]["url"];
    assert_eq!(
        *link,
        format!("/companies/acme/mobiledb/event_triggered_messages/{number}")
    );
    // Somebody who is not one is told so.
    let id = platform.event("order", json!({"external_person_id": "vm-carrier-rejectd"}));
    let note = &platform.deliveries(&format!("event_id={id}"))[0]["notes"][0];
    assert!(text(note).contains("vm-carrier-rejectd"), "{note}");
}

// --- Bodies

#[test]
fn bodies_are_the_documented_ones_key_for_key_in_order() {
    let platform = Platform::standing();
    let receiver = Receiver::answering("200 OK");
    platform.send_to(&receiver, Value::Null);
    for (name, outcome, variant) in EXAMPLES {
        let expected = document(name);
        let outcome = Outcome::named(outcome).unwrap();
        let (stage, short) = outcome.name.split_once('.').unwrap();
        let message_type = match variant {
            0 => outcome
                .messages
                .first()
                .copied()
                .unwrap_or(MessageType::Sms),
            _ => MessageType::Mms,
        };
        platform.routes(&json!({
            "journeys": {"way": {"message": {"type": message_type.name()}, stage: short}},
            "routes": [{"journey": "way"}],
        }));
        let mut event = json!({"event_id": name});
        for key in ["event_type", "event_data", "debug_data"] {
            if let Some(value) = expected["event_processed"].get(key) {
                event[key] = value.clone();
            }
        }
        // The examples have numbers in the E.164 form.
        let second = platform.client.with("X-API-Version", "2");
        second.post("/companies/acme/events", &event).expect(202);
        platform.until("idle");
        let came = receiver.requests();
        let told = platform.told(&came);
        let body = came
            .iter()
            .zip(&told)
            .map(|(request, told)| (request.json(), told))
            .find(|(body, told)| {
                body["event_processed"]["event_id"] == name && *told == outcome.name
            });
        let (body, _) = body.unwrap_or_else(|| panic!("{name} did not come"));
        assert_eq!(lines_of(&body), lines_of(&expected), "{name}");
    }
}

#[test]
fn a_body_says_when_its_step_happened() {
    let platform = Platform::standing();
    platform.routes(&every_second(json!({})));
    let receiver = Receiver::with(|number, _| ["503 Busy", "200 OK"][number.min(1)].to_owned());
    platform.send_to(&receiver, Value::Null);
    platform.event("order", json!({}));
    platform.until("idle");
    let dates: Vec<_> = receiver
        .requests()
        .iter()
        .map(|request| text(&request.json()["event_date"])[11..19].to_owned())
        .collect();
    // The first one comes once more, five minutes later, and still says when it was.
    assert_eq!(
        dates,
        ["00:00:01", "00:00:02", "00:00:03", "00:00:04", "00:00:01"]
    );
}
