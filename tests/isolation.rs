//! Tests side by side on one server don't meet: each has a company of its own, and gets what is its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};

use outside::client::Client;
use outside::{PATIENCE, Receiver};
use serde_json::{Value, json};
use vibes_mock::VibesMock;

/// So many tests at once.
const TESTS: usize = 50;

fn server() -> (VibesMock, Client) {
    let server = VibesMock::start().unwrap();
    let client = Client::of(&server.url());
    (server, client)
}

fn register(client: &Client, company: &str, url: &str) -> String {
    let request = json!({"callback_type": "event_processed", "destination": {"url": url}});
    let made = client.post(&format!("/companies/{company}/config/callbacks"), &request);
    made.expect(201).json()["callback_id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn post(client: &Client, company: &str, event_id: &str) {
    let event = json!({
        "event_id": event_id, "event_type": "order_shipped",
        "event_data": {"external_person_id": company, "of": company},
    });
    client
        .post(&format!("/companies/{company}/events"), &event)
        .expect(202);
}

/// Each event calls back once, so much later, with that outcome of routing.
fn set_routes(client: &Client, company: &str, outcome: &str, after: &str, more: &Value) {
    let mut routes = json!({
        "scenario": "one callback",
        "journeys": {"only": {"routing": {outcome: {"after": after}}}},
        "routes": [{"when": {"event_type": "*"}, "journey": "only"}],
    });
    for (key, value) in more.as_object().unwrap() {
        routes[key] = value.clone();
    }
    let path = format!("/_mock/routes?company_key={company}");
    client.put(&path, &routes).expect(204);
}

fn deliveries(client: &Client, query: &str) -> Vec<Value> {
    let path = format!("/_mock/deliveries?limit=1000&{query}");
    let found = client.get(&path).expect(200).json();
    found["deliveries"].as_array().unwrap().clone()
}

fn values<'a>(all: &'a [Value], key: &str) -> BTreeSet<&'a str> {
    all.iter().map(|one| one[key].as_str().unwrap()).collect()
}

/// A stream of changes that is read line by line.
struct Stream(BufReader<TcpStream>);

/// One change.
#[derive(Debug)]
struct Change {
    id: u64,
    kind: String,
    data: Value,
}

impl Stream {
    fn open(client: &Client, company: &str, last: Option<u64>) -> Stream {
        let mut stream = TcpStream::connect(&client.authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let last = last.map_or(String::new(), |last| format!("Last-Event-ID: {last}\r\n"));
        let head = format!(
            "GET /_mock/stream?company_key={company} HTTP/1.1\r\nHost: {}\r\n{last}\r\n",
            client.authority
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        // Once this has come it watches.
        while !line.starts_with("retry:") {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the stream ends");
        }
        Stream(reader)
    }

    fn next(&mut self) -> Change {
        let (mut id, mut kind, mut data) = (None, None, None);
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ends");
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => id = value.parse().ok(),
                Some(("event", value)) => kind = Some(value.to_owned()),
                Some(("data", value)) => data = serde_json::from_str(value).ok(),
                // Lengths of chunks and ends of lines.
                _ => {}
            }
            if let (Some(id), Some(_), Some(_)) = (id, &kind, &data) {
                return Change {
                    id,
                    kind: kind.take().unwrap(),
                    data: data.take().unwrap(),
                };
            }
        }
    }
}

#[test]
fn fifty_tests_at_once_each_see_what_is_their_own() {
    let (_server, client) = server();
    let together = Barrier::new(TESTS);
    let tests: Vec<_> = (0..TESTS).collect();
    std::thread::scope(|scope| {
        for number in tests {
            let (client, together) = (&client, &together);
            scope.spawn(move || {
                let company = format!("test-{number}");
                // Each third is refused, so that all have failures of their own too.
                let answer = match number % 3 {
                    0 => "400 Bad Request",
                    _ => "200 OK",
                };
                let receiver = Receiver::answering(answer);
                together.wait();
                set_routes(client, &company, "not_subscribed", "50ms", &json!({}));
                let id = register(client, &company, &receiver.url());
                // The same ids as everybody's.
                let events = ["first", "second", "third"];
                for event in events {
                    post(client, &company, event);
                }
                let state = match number % 3 {
                    0 => "failed",
                    _ => "accepted",
                };
                let query = format!("company_key={company}&state={state}&at_least=3&wait=60s");
                let found = deliveries(client, &query);
                assert_eq!(values(&found, "event_id"), events.into());
                assert_eq!(values(&found, "company_key"), [company.as_str()].into());
                assert_eq!(values(&found, "callback_id"), [id.as_str()].into());
                assert_eq!(found.len(), 3);
                let one = deliveries(client, &format!("company_key={company}&event_id=second"));
                assert_eq!(one.len(), 1);
                for request in receiver.wait_for(3) {
                    assert!(
                        request.body.contains(&format!("/companies/{company}/")),
                        "{request:?}"
                    );
                    assert_eq!(
                        request.json()["event_processed"]["event_data"]["of"],
                        *company
                    );
                }
                assert_eq!(receiver.requests().len(), 3);
                let path = format!("/_mock/failures?company_key={company}");
                let failures = client.get(&path).expect(200).json();
                let wanted = if number % 3 == 0 { 3 } else { 0 };
                assert_eq!(failures["deliveries"].as_array().unwrap().len(), wanted);
                if number % 2 == 0 {
                    client
                        .delete(&format!("/_mock/companies/{company}"))
                        .expect(204);
                    assert!(deliveries(client, &format!("company_key={company}")).is_empty());
                    let path = format!("/companies/{company}/config/callbacks");
                    assert_eq!(client.get(&path).expect(200).json(), json!([]));
                }
            });
        }
    });
    // What is left is what nobody has forgotten.
    let companies = client.get("/_mock/companies").expect(200).json();
    assert_eq!(companies.as_array().unwrap().len(), TESTS / 2);
}

#[test]
fn what_waits_for_a_company_that_is_forgotten_never_comes() {
    let (_server, client) = server();
    let (gone, stays) = (Receiver::answering("200 OK"), Receiver::answering("200 OK"));
    for (company, receiver) in [("gone", &gone), ("stays", &stays)] {
        set_routes(&client, company, "not_subscribed", "300ms", &json!({}));
        register(&client, company, &receiver.url());
        for number in 0..20 {
            post(&client, company, &format!("event-{number}"));
        }
    }
    client.delete("/_mock/companies/gone").expect(204);
    // Those of the other were posted later, so all have had their time once these have come.
    let pending = client.get("/_mock/clock").expect(200).json()["pending"].as_u64();
    assert!(pending <= Some(20), "{pending:?}");
    stays.wait_for(20);
    let found = deliveries(
        &client,
        "state=accepted&company_key=stays&at_least=20&wait=60s",
    );
    assert_eq!(found.len(), 20);
    assert!(gone.requests().is_empty());
    assert!(deliveries(&client, "company_key=gone").is_empty());
    // Under the same key there is a new company, which knows nothing of the old one.
    let again = Receiver::answering("200 OK");
    register(&client, "gone", &again.url());
    post(&client, "gone", "anew");
    let found = deliveries(
        &client,
        "company_key=gone&outcome=routing.accepted&state=accepted&wait=60s",
    );
    assert_eq!(values(&found, "event_id"), ["anew"].into());
    assert!(gone.requests().is_empty());
}

#[test]
fn retries_of_a_company_that_is_forgotten_never_come() {
    let (_server, client) = server();
    let gone = Receiver::answering("503 Service Unavailable");
    set_routes(
        &client,
        "gone",
        "not_subscribed",
        "0s",
        &json!({"retry": "5x200ms"}),
    );
    register(&client, "gone", &gone.url());
    post(&client, "gone", "stubborn");
    gone.wait_for(1);
    client.delete("/_mock/companies/gone").expect(204);
    let before = gone.requests().len();
    // Another's ladder of the same length shows that the time has passed.
    let stays = Receiver::with(|number, _| match number {
        0..3 => "503 Service Unavailable".to_owned(),
        _ => "200 OK".to_owned(),
    });
    set_routes(
        &client,
        "stays",
        "not_subscribed",
        "0s",
        &json!({"retry": "5x200ms"}),
    );
    register(&client, "stays", &stays.url());
    post(&client, "stays", "stubborn");
    stays.wait_for(4);
    assert_eq!(gone.requests().len(), before);
}

#[test]
fn companies_come_and_go_while_another_works() {
    let (_server, client) = server();
    let over = AtomicBool::new(false);
    let elsewhere = Receiver::answering("200 OK");
    std::thread::scope(|scope| {
        let restless = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) || rounds < 3 {
                set_routes(&client, "restless", "not_subscribed", "0s", &json!({}));
                register(&client, "restless", &elsewhere.url());
                for number in 0..5 {
                    post(&client, "restless", &format!("event-{number}"));
                }
                client.delete("/_mock/companies/restless").expect(204);
                rounds += 1;
            }
        });
        let receiver = Receiver::answering("200 OK");
        set_routes(&client, "steady", "not_subscribed", "1ms", &json!({}));
        register(&client, "steady", &receiver.url());
        for number in 0..100 {
            post(&client, "steady", &format!("event-{number}"));
        }
        let found = deliveries(
            &client,
            "company_key=steady&state=accepted&at_least=100&wait=60s",
        );
        over.store(true, Ordering::Relaxed);
        assert_eq!(values(&found, "event_id").len(), 100);
        assert_eq!(receiver.requests().len(), 100);
        restless.join().unwrap();
    });
    // Whatever came of one that was being forgotten was whole.
    for request in elsewhere.requests() {
        assert_eq!(
            request.json()["event_processed"]["event_data"]["of"],
            "restless"
        );
    }
}

#[test]
fn routes_of_one_company_leave_anothers_alone() {
    let (_server, client) = server();
    for company in ["acme", "brisk", "calm"] {
        register(&client, company, &Receiver::answering("200 OK").url());
    }
    set_routes(&client, "acme", "not_subscribed", "0s", &json!({}));
    set_routes(
        &client,
        "brisk",
        "person_not_found",
        "0s",
        &json!({"company_key": "brisk"}),
    );
    let outcome = |company: &str, event: &str| {
        post(&client, company, event);
        let found = deliveries(&client, &format!("company_key={company}&event_id={event}"));
        found[0]["outcome"].as_str().unwrap().to_owned()
    };
    assert_eq!(outcome("acme", "one"), "routing.not_subscribed");
    assert_eq!(outcome("brisk", "one"), "routing.person_not_found");
    assert_eq!(outcome("calm", "one"), "routing.accepted");
    client.delete("/_mock/routes?company_key=brisk").expect(204);
    assert_eq!(outcome("acme", "two"), "routing.not_subscribed");
    assert_eq!(outcome("brisk", "two"), "routing.accepted");
    // Said twice and otherwise: for nobody.
    let path = "/_mock/routes?company_key=calm";
    let of_acme = json!({"scenario": "x", "company_key": "acme", "routing": "strict"});
    client.put(path, &of_acme).expect(400);
    client
        .put(
            "/_mock/routes",
            &json!({"scenario": "x", "routing": "strict"}),
        )
        .expect(400);
    assert_eq!(outcome("calm", "two"), "routing.accepted");
}

#[test]
fn a_wait_is_over_as_soon_as_there_is_one() {
    let (_server, client) = server();
    // The receiver answers only once it is let.
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let receiver = {
        let gate = Arc::clone(&gate);
        Receiver::with(move |_, _| {
            let open = gate.0.lock().unwrap();
            drop(gate.1.wait_while(open, |open| !*open).unwrap());
            "200 OK".to_owned()
        })
    };
    set_routes(&client, "acme", "not_subscribed", "0s", &json!({}));
    register(&client, "acme", &receiver.url());
    let order: Mutex<Vec<&str>> = Mutex::default();
    std::thread::scope(|scope| {
        // Also for a company that nobody has heard of yet.
        let unknown = scope.spawn(|| deliveries(&client, "company_key=brisk&wait=60s"));
        let waiting = scope.spawn(|| {
            let found = deliveries(&client, "company_key=acme&state=accepted&wait=60s");
            order.lock().unwrap().push("answered");
            found
        });
        post(&client, "acme", "one");
        receiver.wait_for(1);
        // Others' events do not end it.
        post(&client, "other", "one");
        assert_eq!(
            deliveries(&client, "company_key=acme&state=pending").len(),
            1
        );
        order.lock().unwrap().push("let go");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert_eq!(waiting.join().unwrap()[0]["event_id"], "one");
        assert_eq!(*order.lock().unwrap(), ["let go", "answered"]);
        post(&client, "brisk", "two");
        assert_eq!(unknown.join().unwrap()[0]["event_id"], "two");
    });
    // What is there already is not waited for, and what never comes is waited for in vain.
    assert_eq!(deliveries(&client, "company_key=acme&wait=60s").len(), 1);
    assert!(deliveries(&client, "company_key=acme&state=failed&wait=50ms").is_empty());
}

#[test]
fn a_wait_outlives_the_company_it_is_about() {
    let (_server, client) = server();
    register(&client, "acme", &Receiver::answering("200 OK").url());
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| deliveries(&client, "company_key=acme&event_id=anew&wait=60s"));
        client.delete("/_mock/companies/acme").expect(204);
        post(&client, "acme", "anew");
        assert_eq!(
            values(&waiting.join().unwrap(), "event_id"),
            ["anew"].into()
        );
    });
}

#[test]
fn a_stream_that_comes_back_has_missed_nothing_and_sees_no_others() {
    let (_server, client) = server();
    for company in ["acme", "brisk"] {
        set_routes(&client, company, "not_subscribed", "0s", &json!({}));
    }
    let mut stream = Stream::open(&client, "acme", None);
    let receiver = Receiver::answering("200 OK");
    for company in ["acme", "brisk"] {
        register(&client, company, &receiver.url());
    }
    // Dropped and taken up again after each few changes, while more come.
    let mut seen: Vec<Change> = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..12 {
                post(&client, "brisk", &format!("event-{number}"));
                post(&client, "acme", &format!("event-{number}"));
            }
            deliveries(
                &client,
                "company_key=acme&state=accepted&at_least=12&wait=60s",
            );
            // The last thing that comes.
            client.delete("/_mock/companies/acme").expect(204);
        });
        loop {
            let change = stream.next();
            let over = change.kind == "forgotten";
            seen.push(change);
            if over {
                break;
            }
            if seen.len().is_multiple_of(5) {
                let last = seen.last().unwrap().id;
                drop(stream);
                stream = Stream::open(&client, "acme", Some(last));
            }
        }
    });
    assert!(
        seen.iter()
            .all(|change| change.data["company_key"] == "acme"),
        "{seen:#?}"
    );
    assert!(seen.is_sorted_by(|a, b| a.id < b.id), "{seen:#?}");
    let count = |kind: &str| seen.iter().filter(|change| change.kind == kind).count();
    assert_eq!(
        (count("registration"), count("event"), count("forgotten")),
        (1, 12, 1)
    );
    for number in 0..12 {
        let event = format!("event-{number}");
        let of_event: Vec<_> = seen
            .iter()
            .filter(|change| change.data["event_id"] == *event)
            .collect();
        // It came, and it was delivered.
        assert_eq!(of_event[0].kind, "event");
        let last = of_event.last().unwrap();
        assert_eq!(
            (&*last.kind, &last.data["state"]),
            ("delivery", &json!("accepted"))
        );
    }
    // From the beginning, it is the same again.
    let mut again = Stream::open(&client, "acme", Some(seen[0].id - 1));
    for change in &seen {
        let repeated = again.next();
        assert_eq!((repeated.id, &repeated.data), (change.id, &change.data));
    }
}

#[test]
fn what_failed_is_sent_again_for_one_company_alone() {
    let (_server, client) = server();
    let well = Arc::new(AtomicBool::new(false));
    let receiver = || {
        let well = Arc::clone(&well);
        Receiver::with(move |_, _| match well.load(Ordering::Relaxed) {
            true => "200 OK".to_owned(),
            false => "400 Bad Request".to_owned(),
        })
    };
    let (acme, brisk) = (receiver(), receiver());
    for (company, receiver) in [("acme", &acme), ("brisk", &brisk)] {
        set_routes(&client, company, "not_subscribed", "0s", &json!({}));
        register(&client, company, &receiver.url());
        for event in ["one", "two"] {
            post(&client, company, event);
        }
        deliveries(
            &client,
            &format!("company_key={company}&state=failed&at_least=2&wait=60s"),
        );
    }
    well.store(true, Ordering::Relaxed);
    let again = client.ask(
        "POST",
        "/_mock/failures/redeliver?company_key=acme&event_id=one",
        "",
    );
    assert_eq!(again.expect(202).json()["redelivered"], 1);
    deliveries(
        &client,
        "company_key=acme&state=accepted&event_id=one&wait=60s",
    );
    let again = client.ask("POST", "/_mock/failures/redeliver?company_key=acme", "");
    assert_eq!(again.expect(202).json()["redelivered"], 1);
    deliveries(
        &client,
        "company_key=acme&state=accepted&at_least=2&wait=60s",
    );
    assert_eq!((acme.requests().len(), brisk.requests().len()), (4, 2));
    let failures = client
        .get("/_mock/failures?company_key=brisk")
        .expect(200)
        .json();
    let left = failures["deliveries"].as_array().unwrap();
    assert_eq!(left.len(), 2);
    let path = format!(
        "/_mock/deliveries/{}/redeliver",
        left[0]["id"].as_str().unwrap()
    );
    client.ask("POST", &path, "").expect(202);
    let found = deliveries(&client, "company_key=brisk&state=accepted&wait=60s");
    assert_eq!(found[0]["attempts"].as_array().unwrap().len(), 2);
    assert_eq!((acme.requests().len(), brisk.requests().len()), (4, 3));
}
