//! `serve` under a clock that is moved by hand: what is delivered, in which order and at which times, is what
//! the plan says, however the clock is moved.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use outside::client::{Answer, Client};
use outside::{Receiver, free_port};
use proptest::prelude::*;
use serde_json::{Value, json};
use vibes_mock::plan::{Parameters, Plan, Shard};
use vibes_mock::serve::folder::Loaded;
use vibes_mock::serve::hub::Options;
use vibes_mock::serve::mock::Setup;
use vibes_mock::{Scenario, Speed, VibesMock};

/// Where most tests begin; no server's clock is there yet.
const START: &str = "2040-01-01T00:00:00Z";

struct Mock {
    _server: VibesMock,
    client: Client,
}

impl Mock {
    fn with(folder: &[(&str, &Value)], speed: Option<Speed>) -> Mock {
        let load = |(stem, scenario): &(&str, &Value)| Loaded {
            stem: (*stem).to_owned(),
            scenario: Arc::new(parse(scenario)),
        };
        let server = VibesMock::with(Setup {
            options: Options {
                speed,
                seed: 7,
                ..Options::default()
            },
            folder: folder.iter().map(load).collect(),
            ..Setup::default()
        })
        .unwrap();
        Mock {
            client: Client::of(&server.url()),
            _server: server,
        }
    }

    /// With a clock that stands at [`START`].
    fn standing() -> Mock {
        let mock = Mock::with(&[], None);
        mock.until(START);
        mock
    }

    fn advance(&self, how: &Value) -> Value {
        let moved = self.client.post("/_mock/clock/advance", how);
        moved.expect(200).json()
    }

    fn by(&self, time: &str) -> Value {
        self.advance(&json!({"by": time}))
    }

    fn until(&self, what: &str) -> Value {
        self.advance(&json!({"until": what}))
    }

    fn idle(&self) {
        assert_eq!(self.until("idle")["idle"], true);
    }

    fn clock(&self) -> Value {
        self.client.get("/_mock/clock").expect(200).json()
    }

    fn now(&self) -> DateTime<Utc> {
        time(&self.clock()["now"])
    }

    /// Registers a destination; `more` goes into the request.
    fn register(&self, company: &str, url: &str, more: &[(&str, &str)]) -> String {
        let mut request = json!({"callback_type": "event_processed", "destination": {"url": url}});
        for (key, value) in more {
            request[*key] = (*value).into();
        }
        let path = format!("/companies/{company}/config/callbacks");
        let made = self.client.post(&path, &request).expect(201).json();
        made["callback_id"].as_str().unwrap().to_owned()
    }

    fn post(&self, company: &str, event_id: &str) {
        post(&self.client, company, event_id, "someone").expect(202);
    }

    fn set_routes(&self, company: &str, routes: &Value) {
        let path = format!("/_mock/routes?company_key={company}");
        self.client.put(&path, routes).expect(204);
    }

    fn deliveries(&self, query: &str) -> Vec<Value> {
        let path = format!("/_mock/deliveries?limit=1000&{query}");
        let found = self.client.get(&path).expect(200).json();
        found["deliveries"].as_array().unwrap().clone()
    }
}

fn post(client: &Client, company: &str, event_id: &str, person: &str) -> Answer {
    client.post(
        &format!("/companies/{company}/events"),
        &json!({"event_id": event_id, "event_type": "order_shipped", "event_data": {"external_person_id": person}}),
    )
}

fn parse(scenario: &Value) -> Scenario {
    Scenario::parse("scenario", &scenario.to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// Seconds after [`START`].
fn after(value: &Value) -> f64 {
    let passed = time(value) - START.parse::<DateTime<Utc>>().unwrap();
    passed.num_milliseconds() as f64 / 1e3
}

/// When the attempts at a delivery were made, in seconds after [`START`], and the statuses of the answers.
fn attempts(delivery: &Value) -> Vec<(f64, u64)> {
    let all = delivery["attempts"].as_array().unwrap();
    all.iter()
        .map(|made| (after(&made["at"]), made["status"].as_u64().unwrap_or(0)))
        .collect()
}

/// Each event calls back once, after ten seconds.
fn once_after_ten_seconds() -> Value {
    json!({
        "scenario": "one callback",
        "journeys": {"refused": {"routing": {"not_subscribed": {"after": "10s"}}}},
        "routes": [{"when": {"event_type": "*"}, "journey": "refused"}],
    })
}

/// How a clock is moved.
#[derive(Clone, Copy, Debug)]
enum Step {
    By(u64),
    Until(u64),
    Idle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..40_000_u64).prop_map(Step::By),
        3 => (0..40_000_u64).prop_map(Step::Until),
        1 => Just(Step::Idle),
    ]
}

impl Step {
    fn take(self, mock: &Mock) {
        match self {
            Step::By(ms) => mock.by(&format!("{ms}ms")),
            Step::Until(ms) => {
                // A clock shows milliseconds, and stands between two of them now and then.
                let target = mock.now() + TimeDelta::milliseconds(ms as i64 + 1);
                mock.until(&written(target))
            }
            Step::Idle => mock.until("idle"),
        };
    }
}

fn journeys() -> Value {
    let long = "Hi {{ event_data.first_name }}, your order is on the van. ".repeat(8);
    json!({
        "plain": {"message": {"type": "sms", "text": "Hi {{ event_data.first_name }}!"}},
        "long": {
            "message": {"type": "sms", "text": long},
            "carrier": {"after": "200ms..2s"},
            "handset": {"before": ["enroute"], "after": {"median": "3s", "p99": "60s"}},
        },
        "part-rejected": {
            "message": {"type": "sms", "text": long},
            "carrier": {"parts": {"2": {"rejected": {"error_code": 10, "after": "1s..9s"}}}},
        },
        "picture": {"message": {"type": "mms", "text": "Hi"}},
        "refused": {"routing": "not_subscribed"},
        "at-once": {"routing": {"not_subscribed": {"after": "0s"}}},
        "fixed": {
            "message": {"type": "sms", "text": "{{ 'now' | date: '%T' }}"},
            "carrier": {"after": "1s"}, "handset": {"after": "5s"},
        },
    })
}

fn scenario(arrivals: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let names = [
        "plain",
        "long",
        "part-rejected",
        "picture",
        "refused",
        "at-once",
        "fixed",
    ];
    let journey = prop_oneof![
        prop::sample::select(names.to_vec()).prop_map(Value::from),
        Just(json!({"plain": 1, "long": 2, "part-rejected": 1, "fixed": 3})),
    ];
    let event = (1..8_u64, arrivals, journey).prop_map(|(count, arrivals, journey)| {
        let mut event = json!({
            "event_type": "order-{{ 2 | fake_digits }}",
            "count": count,
            "event_data": {
                "first_name": "{{ fake.first_name }}",
                "external_person_id": "{{ 9 | fake_alphanumeric }}",
            },
            "journey": journey,
        });
        if arrivals != Value::Null {
            event["arrivals"] = arrivals;
        }
        event
    });
    prop::collection::vec(event, 1..4).prop_map(|events| {
        json!({"scenario": "random", "company_key": "acme", "seed": 3, "retry": "none", "journeys": journeys(), "events": events})
    })
}

fn cron_arrivals() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        "*/7 * * * * *",
        "0,1,30 * * * * *",
        "15 */2 * * * *",
        "* * * * * MON-SUN",
    ])
    .prop_map(|cron| json!({"cron": cron}))
}

fn any_arrivals() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({"rate": "2/s"})),
        Just(json!({"rate": "1/s", "to": "10/s", "over": "3s"})),
        Just(json!({"poisson": "5/s"})),
        cron_arrivals(),
    ]
}

/// What a plan says: when each callback is due, and its body.
fn planned(scenario: &Value, seed: u64, start: DateTime<Utc>) -> Vec<(DateTime<Utc>, String)> {
    let parameters = Parameters {
        seed,
        start,
        shard: Shard::WHOLE,
    };
    let mut plan = Plan::new(Arc::new(parse(scenario)), parameters);
    let mut all = Vec::new();
    while let Some(callback) = plan.next() {
        let callback = callback.unwrap();
        let mut body = Vec::new();
        plan.body(&callback, &mut body).unwrap();
        all.push((plan.due_at(&callback), String::from_utf8(body).unwrap()));
    }
    all
}

fn bodies(receiver: &Receiver) -> Vec<String> {
    let requests = receiver.requests();
    requests.into_iter().map(|request| request.body).collect()
}

/// Moves the clock step by step to the end, and fails if at any time anything has come that is not due, or
/// has not come that is.
fn follows(mock: &Mock, steps: &[Step], receiver: &Receiver, plan: &[(DateTime<Utc>, String)]) {
    for step in steps.iter().chain([&Step::Idle]) {
        step.take(mock);
        // What is shown is cut to milliseconds.
        let now = mock.now() + TimeDelta::nanoseconds(999_999);
        let due = plan.iter().filter(|(due, _)| *due <= now).count();
        let wanted: Vec<_> = plan[..due].iter().map(|(_, body)| body.clone()).collect();
        assert_eq!(bodies(receiver), wanted, "after {step:?} at {now}");
    }
    assert_eq!(receiver.requests().len(), plan.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_run_delivers_what_the_plan_says_in_one_step_or_in_many(
        scenario in scenario(any_arrivals()),
        faulty in any::<bool>(),
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 0..8),
    ) {
        static MOCK: OnceLock<Mock> = OnceLock::new();
        let mock = MOCK.get_or_init(Mock::standing);
        let mut scenario = scenario;
        if faulty {
            scenario["faults"] = json!([
                {"fault": "duplicate", "rate": "20%"}, {"fault": "reorder", "rate": "20%", "within": "10s"},
            ]);
        }
        // What an earlier case left behind, and a whole second.
        mock.until("idle");
        let start = mock.now() + TimeDelta::seconds(1);
        let start = DateTime::from_timestamp(start.timestamp(), 0).unwrap();
        mock.until(&written(start));
        let receiver = Receiver::answering("200 OK");
        let wish = json!({"scenario": scenario, "to": receiver.url(), "seed": seed});
        let run = mock.client.post("/_mock/runs", &wish).expect(201).json();
        assert_eq!(run["state"], "running");
        let plan = planned(&scenario, seed, start);
        follows(mock, &steps, &receiver, &plan);
        let path = format!("/_mock/runs/{}", run["run_id"].as_str().unwrap());
        let ended = mock.client.get(&path).expect(200).json();
        assert_eq!(ended["state"], "finished");
        assert_eq!(ended["summary"]["accepted"], plan.len());
    }

    #[test]
    fn cron_entries_come_at_their_instants_with_the_bodies_of_the_plan(
        scenario in scenario(cron_arrivals()),
        steps in prop::collection::vec(step(), 0..8),
    ) {
        let mock = loop {
            let mock = Mock::with(&[("by-the-clock", &scenario)], None);
            // Else it cannot be told whether the clock stands at a whole second or just behind.
            if mock.now().timestamp_subsec_millis() != 0 {
                break mock;
            }
        };
        let receiver = Receiver::answering("200 OK");
        mock.register("acme", &receiver.url(), &[]);
        let mut plan = planned(&scenario, 3, mock.now());
        // Until idle does not wait for cron entries that are still to come.
        let steps: Vec<_> = steps.into_iter().filter(|step| !matches!(step, Step::Idle)).collect();
        // At one instant, an event that came first is ahead; in a plan, the entry that is written first.
        plan.sort();
        let sorted = |mut plan: Vec<(DateTime<Utc>, String)>| { plan.sort(); plan };
        for step in steps.iter().chain([&Step::By(3_600_000)]) {
            step.take(&mock);
            let now = mock.now() + TimeDelta::nanoseconds(999_999);
            let due: Vec<_> = plan.iter().filter(|(due, _)| *due <= now).cloned().collect();
            let came: Vec<_> = bodies(&receiver)
                .into_iter()
                .map(|body| (due_of(&plan, &body), body))
                .collect();
            assert!(came.is_sorted_by_key(|(due, _)| *due));
            assert_eq!(sorted(came), due);
        }
        assert_eq!(receiver.requests().len(), plan.len());
    }

    #[test]
    fn posted_events_are_delivered_alike_however_the_clock_is_moved(
        posts in prop::collection::vec((0..30_000_u64, 0..2_usize, 0..4_usize), 1..10),
        // Before each post: into how many steps the way there is cut.
        cuts in prop::collection::vec(1..4_u64, 10),
        steps in prop::collection::vec(step(), 0..8),
        stubborn in any::<bool>(),
    ) {
        let whole = carried_out(&posts, &[1; 10], &[], stubborn);
        let cut = carried_out(&posts, &cuts, &steps, stubborn);
        assert_eq!(whole, cut);
        assert!(!whole.0.is_empty());
    }
}

fn due_of(plan: &[(DateTime<Utc>, String)], body: &str) -> DateTime<Utc> {
    let found = plan.iter().find(|(_, planned)| planned == body);
    found.unwrap_or_else(|| panic!("not in the plan: {body}")).0
}

/// What came of events that were posted at those times: the requests in order, and the deliveries.
fn carried_out(
    posts: &[(u64, usize, usize)],
    cuts: &[u64],
    steps: &[Step],
    stubborn: bool,
) -> (Vec<(String, String)>, Vec<Value>) {
    const PEOPLE: [&str; 4] = [
        "someone",
        "vm-carrier-rejected",
        "vm-handset-undeliverable",
        "vm-routing-not-subscribed",
    ];
    let times: Mutex<HashMap<String, usize>> = Mutex::default();
    let receiver = Receiver::with(move |_, request| {
        let mut times = times.lock().unwrap();
        let key = format!("{} {}", request.path, request.body);
        // How often it is refused depends on nothing but itself.
        let refused = key.bytes().map(usize::from).sum::<usize>() % 4;
        let before = times.entry(key).or_default();
        *before += 1;
        match stubborn && *before <= refused {
            true => "503 Service Unavailable".to_owned(),
            false => "200 OK".to_owned(),
        }
    });
    let mock = Mock::standing();
    let start: DateTime<Utc> = START.parse().unwrap();
    for company in ["acme", "brisk"] {
        for path in ["one", "two"] {
            let url = format!("http://127.0.0.1:{}/{company}/{path}", receiver.port());
            mock.register(company, &url, &[]);
        }
    }
    let mut at = start;
    for (nth, ((gap, company, person), cuts)) in posts.iter().zip(cuts).enumerate() {
        let from = at;
        at += TimeDelta::milliseconds(*gap as i64);
        for cut in 1..*cuts {
            let between = (*gap * cut / cuts) as i64;
            mock.until(&written(from + TimeDelta::milliseconds(between)));
        }
        mock.until(&written(at));
        let company = ["acme", "brisk"][*company];
        post(
            &mock.client,
            company,
            &format!("event-{nth}"),
            PEOPLE[*person],
        )
        .expect(202);
    }
    for step in steps {
        step.take(&mock);
    }
    mock.idle();
    let requests = receiver.requests();
    let requests = requests
        .into_iter()
        .map(|request| (request.path, request.body));
    let mut deliveries = mock.deliveries("");
    for delivery in &mut deliveries {
        delivery["request"]["url"] = Value::Null;
        for attempt in delivery["attempts"].as_array_mut().unwrap() {
            attempt["latency_ms"] = Value::Null;
        }
    }
    (requests.collect(), deliveries)
}

#[test]
fn twenty_five_minutes_of_retries_pass_in_one_step() {
    let receiver = Receiver::with(|number, _| match number {
        0..5 => "503 Service Unavailable".to_owned(),
        _ => "200 OK".to_owned(),
    });
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    mock.register("acme", &receiver.url(), &[]);
    mock.post("acme", "stubborn");
    let moved = mock.until("idle");
    assert_eq!(
        (&moved["attempts"], &moved["accepted"], &moved["failed"]),
        (&json!(6), &json!(1), &json!(0))
    );
    assert_eq!(after(&moved["now"]), 10.0 + 25.0 * 60.0);
    let ladder = [0.0, 5.0, 10.0, 15.0, 20.0].map(|minutes| (10.0 + minutes * 60.0, 503));
    let mut wanted = ladder.to_vec();
    wanted.push((10.0 + 25.0 * 60.0, 200));
    let found = mock.deliveries("event_id=stubborn");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["state"], "accepted");
    assert_eq!(attempts(&found[0]), wanted);
    // Each attempt is the same request.
    assert!(bodies(&receiver).windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn after_the_last_retry_it_is_given_up_and_what_is_refused_is_not_tried_again() {
    for (answer, tries) in [
        ("503 Service Unavailable", 6),
        ("404 Not Found", 1),
        ("400 Bad Request", 1),
    ] {
        let receiver = Receiver::answering(answer);
        let mock = Mock::standing();
        mock.set_routes("acme", &once_after_ten_seconds());
        mock.register("acme", &receiver.url(), &[]);
        mock.post("acme", "hopeless");
        let moved = mock.until("idle");
        assert_eq!(moved["failed"], 1);
        let found = mock.deliveries("");
        assert_eq!(found[0]["state"], "failed");
        let last = attempts(&found[0]).last().unwrap().0;
        assert_eq!(last, 10.0 + 300.0 * (tries - 1) as f64);
        assert_eq!(receiver.requests().len(), tries);
        let failures = mock.client.get("/_mock/failures").expect(200).json();
        assert_eq!(failures["deliveries"], json!(found));
    }
}

#[test]
fn ten_failures_in_a_row_are_a_pause_of_a_minute_for_that_destination_alone() {
    let down = Receiver::with(|number, _| match number {
        0..10 => "503 Service Unavailable".to_owned(),
        _ => "200 OK".to_owned(),
    });
    let up = Receiver::answering("200 OK");
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    let down_id = mock.register("acme", &down.url(), &[]);
    mock.register("acme", &up.url(), &[]);
    for number in 0..12 {
        mock.post("acme", &format!("event-{number}"));
    }
    mock.by("10s");
    assert_eq!((down.requests().len(), up.requests().len()), (10, 12));
    mock.by("59s");
    assert_eq!(down.requests().len(), 10);
    mock.by("1s");
    assert_eq!(down.requests().len(), 12);
    mock.idle();
    for (number, delivery) in mock.deliveries("").iter().enumerate() {
        let wanted = match delivery["callback_id"] == *down_id {
            true if number / 2 < 10 => vec![(10.0, 503), (310.0, 200)],
            true => vec![(70.0, 200)],
            false => vec![(10.0, 200)],
        };
        assert_eq!(attempts(delivery), wanted, "{delivery:#}");
    }
}

#[test]
fn a_window_is_kept_to_the_second() {
    let receiver = Receiver::answering("200 OK");
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    let mut ids = HashMap::new();
    for second in ["09", "10", "11"] {
        for edge in ["start_date", "end_date"] {
            let url = format!("http://127.0.0.1:{}/{edge}/{second}", receiver.port());
            let at = format!("2040-01-01T00:00:{second}Z");
            ids.insert(mock.register("acme", &url, &[(edge, &at)]), url);
        }
    }
    mock.post("acme", "on-the-edge");
    // Whether one step leads there or several.
    mock.by("9s");
    mock.by("5s");
    let mut came: Vec<_> = receiver
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    came.sort();
    // From the start on, up to the end and without it.
    assert_eq!(came, ["/end_date/11", "/start_date/09", "/start_date/10"]);
    assert_eq!(mock.deliveries("").len(), 3);
    // Nobody wants one that comes when all are over but those that have begun.
    mock.post("acme", "later");
    mock.idle();
    assert_eq!(mock.deliveries("event_id=later&state=accepted").len(), 3);
}

#[test]
fn a_window_that_is_changed_before_the_time_counts_as_changed() {
    let receiver = Receiver::answering("200 OK");
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    let id = mock.register("acme", &receiver.url(), &[]);
    mock.post("acme", "unwanted");
    mock.by("9s");
    let path = format!("/companies/acme/config/callbacks/{id}");
    mock.client.delete(&path).expect(200);
    mock.idle();
    assert!(receiver.requests().is_empty());
    let found = mock.deliveries("");
    assert_eq!((found.len(), &found[0]["state"]), (1, &json!("unmatched")));
}

#[test]
fn the_clock_tells_the_truth() {
    let receiver = Receiver::with(|number, _| match number {
        0 => "503 Service Unavailable".to_owned(),
        _ => "200 OK".to_owned(),
    });
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    mock.register("acme", &receiver.url(), &[]);
    let clock = |now: &str, pending: u64, next: Option<&str>| json!({"mode": "virtual", "now": now, "speed": null, "pending": pending, "next_due": next});
    assert_eq!(mock.clock(), clock("2040-01-01T00:00:00.000Z", 0, None));
    mock.post("acme", "one");
    mock.post("acme", "two");
    let due = Some("2040-01-01T00:00:10.000Z");
    assert_eq!(mock.clock(), clock("2040-01-01T00:00:00.000Z", 2, due));
    let moved = mock.by("4s");
    assert_eq!(moved["idle"], false);
    assert_eq!(mock.clock(), clock("2040-01-01T00:00:04.000Z", 2, due));
    mock.by("6s");
    let retry = Some("2040-01-01T00:05:10.000Z");
    assert_eq!(mock.clock(), clock("2040-01-01T00:00:10.000Z", 0, retry));
    let moved = mock.until("2040-01-02T00:00:00Z");
    assert_eq!(moved["idle"], true);
    assert_eq!(mock.clock(), clock("2040-01-02T00:00:00.000Z", 0, None));
}

#[test]
fn the_clock_goes_forward_only_and_only_as_it_is_told() {
    let mock = Mock::standing();
    let advance = |body: Value| mock.client.post("/_mock/clock/advance", &body);
    let refused = advance(json!({"until": "2039-12-31T23:59:59Z"})).expect(409);
    assert!(
        refused.body.contains("2040-01-01T00:00:00.000Z"),
        "{refused:?}"
    );
    for bad in [
        json!({}),
        json!({"by": "5m", "until": "idle"}),
        json!({"by": "-5m"}),
        json!({"by": 5}),
        json!({"until": "soon"}),
        json!({"to": "idle"}),
    ] {
        advance(bad).expect(400);
    }
    assert_eq!(mock.now(), START.parse::<DateTime<Utc>>().unwrap());
    // Where it stands is not in the past.
    advance(json!({"until": START})).expect(200);
    advance(json!({"by": "0s"})).expect(200);
    assert_eq!(mock.now(), START.parse::<DateTime<Utc>>().unwrap());
}

#[test]
fn a_clock_that_goes_by_itself_is_not_moved() {
    let mock = Mock::with(&[], Some(Speed::Times(1.0)));
    for how in [json!({"by": "5m"}), json!({"until": "idle"})] {
        let refused = mock.client.post("/_mock/clock/advance", &how).expect(409);
        assert!(refused.body.contains("--clock virtual"), "{refused:?}");
    }
    let clock = mock.clock();
    assert_eq!(
        (&clock["mode"], &clock["speed"]),
        (&json!("real"), &json!("1x"))
    );
    assert!((mock.now() - Utc::now()).num_minutes().abs() < 5);
}

#[test]
fn what_a_receiver_posts_while_it_is_called_comes_in_the_same_step_if_it_is_due() {
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    let client = mock.client.clone();
    let receiver = Receiver::with(move |number, _| {
        if number < 4 {
            post(&client, "acme", &format!("again-{number}"), "someone").expect(202);
        }
        "200 OK".to_owned()
    });
    mock.register("acme", &receiver.url(), &[]);
    mock.post("acme", "first");
    let moved = mock.by("35s");
    assert_eq!(
        (&moved["attempts"], &moved["pending"]),
        (&json!(3), &json!(1))
    );
    mock.idle();
    let came: Vec<_> = mock
        .deliveries("")
        .iter()
        .map(|delivery| (delivery["event_id"].clone(), attempts(delivery)))
        .collect();
    let wanted = ["first", "again-0", "again-1", "again-2", "again-3"];
    let wanted: Vec<_> = (1..)
        .zip(wanted)
        .map(|(nth, id)| (json!(id), vec![(f64::from(nth) * 10.0, 200)]))
        .collect();
    assert_eq!(came, wanted);
}

#[test]
fn nothing_is_sent_while_the_clock_stands() {
    let receiver = Receiver::answering("200 OK");
    let mock = Mock::standing();
    let at_once = json!({
        "scenario": "at once",
        "journeys": {"refused": {"routing": {"not_subscribed": {"after": "0s"}}}},
        "routes": [{"when": {"event_type": "*"}, "journey": "refused"}],
        "events": [{"event_type": "order_shipped", "count": 2, "journey": "refused"}],
    });
    mock.set_routes("acme", &at_once);
    mock.register("acme", &receiver.url(), &[]);
    mock.post("acme", "at-once");
    let wish = json!({"scenario": at_once, "to": receiver.url()});
    mock.client.post("/_mock/runs", &wish).expect(201);
    // As good as any time: nothing of it is under way that could be waited for.
    std::thread::sleep(Duration::from_millis(100));
    assert!(receiver.requests().is_empty());
    assert_eq!(mock.by("0s")["idle"], true);
    assert_eq!(receiver.requests().len(), 3);
}

#[test]
fn a_step_ends_though_receivers_are_dead_slow_or_silent() {
    let over = Arc::new(AtomicBool::new(false));
    let slow = {
        let over = Arc::clone(&over);
        Receiver::with(move |_, _| {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            "200 OK".to_owned()
        })
    };
    let well = Receiver::answering("200 OK");
    let mock = Mock::standing();
    let mut routes = once_after_ten_seconds();
    routes["timeout"] = "50ms".into();
    routes["retry"] = "2x1m".into();
    mock.set_routes("acme", &routes);
    let slow_id = mock.register("acme", &slow.url(), &[]);
    let dead_id = mock.register("acme", &format!("http://127.0.0.1:{}/", free_port()), &[]);
    mock.register("acme", &well.url(), &[]);
    for number in 0..2 {
        mock.post("acme", &format!("event-{number}"));
    }
    let moved = mock.until("idle");
    over.store(true, Ordering::Relaxed);
    assert_eq!(
        (&moved["accepted"], &moved["failed"]),
        (&json!(2), &json!(4))
    );
    for (id, kind) in [(slow_id, "timeout"), (dead_id, "connection_refused")] {
        let all = mock.deliveries("state=failed");
        let of_one: Vec<_> = all
            .iter()
            .filter(|delivery| delivery["callback_id"] == *id)
            .collect();
        assert_eq!(of_one.len(), 2);
        for delivery in of_one {
            assert_eq!(attempts(delivery), [(10.0, 0), (70.0, 0), (130.0, 0)]);
            assert_eq!(delivery["attempts"][0]["error"]["kind"], kind);
        }
    }
}

#[test]
fn a_step_ends_though_the_company_is_forgotten_or_the_run_stopped_meanwhile() {
    let mock = Mock::standing();
    for company in ["acme", "brisk"] {
        mock.set_routes(company, &once_after_ten_seconds());
    }
    let client = mock.client.clone();
    let receiver = Receiver::with(move |_, request| {
        let path = &request.path["/callbacks".len()..];
        client.delete(path);
        "503 Service Unavailable".to_owned()
    });
    let url = |path: &str| format!("{}{path}", receiver.url());
    mock.register("acme", &url("/_mock/companies/acme"), &[]);
    mock.post("acme", "one");
    mock.post("acme", "two");
    let well = Receiver::answering("200 OK");
    mock.register("brisk", &well.url(), &[]);
    mock.post("brisk", "three");
    mock.idle();
    assert_eq!((receiver.requests().len(), well.requests().len()), (1, 1));
    // Runs are numbered from 1.
    let wish = json!({
        "scenario": {
            "scenario": "some", "journeys": {"fine": {"message": {"text": "Hi"}}},
            "events": [{"event_type": "order_shipped", "count": 9, "arrivals": {"rate": "1/s"}, "journey": "fine"}],
        },
        "to": url("/_mock/runs/1"),
    });
    mock.client.post("/_mock/runs", &wish).expect(201);
    mock.idle();
    assert_eq!(receiver.requests().len(), 2);
    let run = mock.client.get("/_mock/runs/1?wait=10s").expect(200).json();
    assert_eq!(run["state"], "stopped");
}

#[test]
fn until_idle_ends_though_cron_entries_never_do() {
    let endless = |journey: Value| {
        json!({
            "scenario": "endless",
            "company_key": "acme",
            "journeys": {"one": journey},
            "events": [{"event_type": "tick", "count": 10_000_000, "arrivals": {"cron": "* * * * * *"}, "journey": "one"}],
        })
    };
    // What is done before the next comes: there is an idle moment.
    let quick = endless(json!({"routing": {"not_subscribed": {"after": "500ms"}}}));
    let mock = Mock::with(&[("endless", &quick)], None);
    assert_eq!(mock.until("idle")["idle"], true);
    mock.by("3s");
    let ticks = mock.deliveries("event_type=tick").len();
    assert_eq!(ticks, 3);
    // They overlap: there is none.
    let slow = endless(json!({"routing": {"not_subscribed": {"after": "1500ms"}}}));
    let mock = Mock::with(&[("endless", &slow)], None);
    mock.by("3s");
    assert_eq!(mock.until("idle")["idle"], false);
}

#[test]
fn what_failed_is_sent_again_when_the_clock_is_moved() {
    let well = Arc::new(AtomicBool::new(false));
    let receiver = {
        let well = Arc::clone(&well);
        Receiver::with(move |_, _| match well.load(Ordering::Relaxed) {
            true => "200 OK".to_owned(),
            false => "400 Bad Request".to_owned(),
        })
    };
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    mock.register("acme", &receiver.url(), &[]);
    for event in ["one", "two", "three"] {
        mock.post("acme", event);
    }
    mock.idle();
    let failed = mock.deliveries("state=failed");
    assert_eq!(failed.len(), 3);
    well.store(true, Ordering::Relaxed);
    let again = |id: &Value| {
        let path = format!("/_mock/deliveries/{}/redeliver", id.as_str().unwrap());
        mock.client.ask("POST", &path, "")
    };
    again(&failed[1]["id"]).expect(202);
    // It is not over now.
    again(&failed[1]["id"]).expect(409);
    again(&json!("77-0-1")).expect(404);
    assert_eq!(mock.clock()["next_due"], mock.clock()["now"]);
    mock.by("5s");
    let found = mock.deliveries("event_id=two");
    assert_eq!(found[0]["state"], "accepted");
    assert_eq!(attempts(&found[0]), [(10.0, 400), (10.0, 200)]);
    let all = mock.client.ask("POST", "/_mock/failures/redeliver", "");
    assert_eq!(all.expect(202).json()["redelivered"], 2);
    let moved = mock.until("idle");
    assert_eq!(moved["accepted"], 2);
    assert_eq!(mock.deliveries("state=accepted").len(), 3);
    for event in ["one", "three"] {
        let found = mock.deliveries(&format!("event_id={event}"));
        assert_eq!(attempts(&found[0]), [(10.0, 400), (15.0, 200)]);
    }
    assert_eq!(receiver.requests().len(), 6);
    // Once more, though it was accepted: that is what a receiver's handling of repeats is tried with.
    again(&failed[0]["id"]).expect(202);
    mock.idle();
    assert_eq!(receiver.requests().len(), 7);
}

#[test]
fn a_redelivery_has_all_its_retries_again() {
    let receiver = Receiver::with(|number, _| match number {
        0 => "400 Bad Request".to_owned(),
        1..4 => "503 Service Unavailable".to_owned(),
        _ => "200 OK".to_owned(),
    });
    let mock = Mock::standing();
    mock.set_routes("acme", &once_after_ten_seconds());
    mock.register("acme", &receiver.url(), &[]);
    mock.post("acme", "one");
    mock.idle();
    mock.client
        .ask("POST", "/_mock/failures/redeliver?company_key=acme", "")
        .expect(202);
    mock.idle();
    let found = mock.deliveries("");
    let wanted = [
        (10.0, 400),
        (10.0, 503),
        (310.0, 503),
        (610.0, 503),
        (910.0, 200),
    ];
    assert_eq!(attempts(&found[0]), wanted);
    let numbers: Vec<_> = found[0]["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|made| made["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[test]
fn by_the_machines_clock_the_scheduler_lets_cron_entries_come() {
    let scenario = json!({
        "scenario": "every second",
        "company_key": "acme",
        "journeys": {"refused": {"routing": {"not_subscribed": {"after": "0s"}}}},
        "events": [{"event_type": "tick", "count": 3, "arrivals": {"cron": "* * * * * *"}, "journey": "refused"}],
    });
    let mock = Mock::with(&[("ticks", &scenario)], Some(Speed::Times(1.0)));
    let receiver = Receiver::answering("200 OK");
    mock.register("acme", &receiver.url(), &[]);
    receiver.wait_for(2);
    let found = mock.deliveries("event_type=tick&wait=30s&at_least=3");
    let dues: Vec<_> = found
        .iter()
        .map(|delivery| time(&delivery["due"]))
        .collect();
    assert!(
        dues.iter().all(|due| due.timestamp_subsec_nanos() == 0),
        "{dues:?}"
    );
    assert!(
        dues.windows(2)
            .all(|pair| pair[1] - pair[0] == TimeDelta::seconds(1)),
        "{dues:?}"
    );
}
