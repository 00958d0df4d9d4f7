//! A server among those who mean it no good: pages of other sites, destinations that are not one's own, clients
//! that never end, requests that can be read in two ways, and floods. From the outside, on loopback only.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

mod outside;

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outside::client::{Answer, Client, read_answer};
use outside::serving;
use outside::{PATIENCE, Receiver, free_port, program};
use serde_json::{Value, json};
use vibes_mock::VibesMock;
use vibes_mock::serve::guard::check_bind;
use vibes_mock::serve::http::Limits;
use vibes_mock::serve::hub::Options;
use vibes_mock::serve::mock::Setup;

fn client(mock: &VibesMock) -> Client {
    Client::of(&mock.url())
}

/// A setup with a clock that is moved by hand.
fn by_hand() -> Setup {
    Setup {
        options: Options {
            speed: None,
            seed: 1,
            ..Options::default()
        },
        ..Setup::default()
    }
}

/// Sends bytes as they are and gives all that comes back until the server closes the connection, because it was
/// asked to, has seen enough, or is impatient.
fn raw(client: &Client, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(&client.authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has heard enough may close while we still send.
    let _ = stream.write_all(bytes.as_ref());
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    String::from_utf8_lossy(&got).into_owned()
}

/// The statuses of the answers in a text.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.1 ").skip(1);
    heads.map(|head| head[..3].parse().unwrap()).collect()
}

/// Asks for a path with nothing but these header lines.
fn with_headers(client: &Client, method: &str, path: &str, headers: &str) -> u16 {
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    let got = raw(client, request);
    *statuses(&got)
        .first()
        .unwrap_or_else(|| panic!("{headers:?}: no answer"))
}

fn registration(url: &str) -> Value {
    json!({"callback_type": "event_processed", "destination": {"url": url}})
}

fn register(client: &Client, key: &str, url: &str) -> Answer {
    client.post(
        &format!("/companies/{key}/config/callbacks"),
        &registration(url),
    )
}

fn event(id: &str) -> Value {
    json!({
        "event_type": "hello",
        "event_id": id,
        "event_data": {"external_person_id": "vm-routing-no-route-rules"},
    })
}

fn post(client: &Client, key: &str, id: &str) -> Answer {
    client.post(&format!("/companies/{key}/events"), &event(id))
}

fn alive(client: &Client) {
    client.get("/healthz").expect(200);
}

/// Waits for something that another thread brings about.
#[track_caller]
fn eventually(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

// Whose request it is.

#[test]
fn names_that_were_made_to_point_here_are_not_answered() {
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    let port = client.authority.rsplit(':').next().unwrap().to_owned();
    for (host, wanted) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("attacker.example.com:{port}"), 421),
        ("attacker.example.com".to_owned(), 421),
        (format!("127.0.0.1.nip.io:{port}"), 421),
        (format!("localhost.attacker.example:{port}"), 421),
        (format!("127.0.0.1.:{port}"), 421),
        (format!("localhost@attacker.example:{port}"), 400),
        (format!("attacker.example:{port}, localhost"), 400),
        ("localhost:8423/..".to_owned(), 400),
        (String::new(), 400),
    ] {
        for path in ["/healthz", "/_mock/clock", "/companies/k/config/callbacks"] {
            let got = with_headers(&client, "GET", path, &format!("Host: {host}\r\n"));
            assert_eq!(got, wanted, "{host:?} {path}");
        }
    }
    let two = format!("Host: localhost:{port}\r\nHost: attacker.example\r\n");
    assert_eq!(with_headers(&client, "GET", "/healthz", &two), 400);
    assert_eq!(with_headers(&client, "GET", "/healthz", ""), 400);
}

#[test]
fn pages_of_other_sites_get_and_change_nothing() {
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    let own = format!("http://{}", client.authority);
    for (headers, wanted) in [
        (format!("Origin: {own}\r\n"), 200),
        ("Sec-Fetch-Site: same-origin\r\n".to_owned(), 200),
        ("Sec-Fetch-Site: none\r\n".to_owned(), 200),
        ("Origin: https://attacker.example\r\n".to_owned(), 403),
        ("Origin: null\r\n".to_owned(), 403),
        ("Origin: \r\n".to_owned(), 403),
        ("Origin: http://localhost\r\n".to_owned(), 403),
        (format!("Origin: {own}.attacker.example\r\n"), 403),
        (format!("Origin: {own}\r\nOrigin: null\r\n"), 403),
        ("Sec-Fetch-Site: cross-site\r\n".to_owned(), 403),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n"
                .to_owned(),
            403,
        ),
    ] {
        for path in [
            "/_mock/deliveries",
            "/companies/k/config/callbacks",
            "/metrics",
        ] {
            let headers = format!("Host: {}\r\n{headers}", client.authority);
            assert_eq!(
                with_headers(&client, "GET", path, &headers),
                wanted,
                "{headers:?} {path}"
            );
        }
    }
    // What needs no preflight must be refused itself, and nothing tells a page that it might try.
    let page = client.with("Origin", "https://attacker.example");
    let refused = page.post("/companies/k/events", &event("e1")).expect(403);
    assert!(refused.header("access-control-allow-origin").is_none());
    page.delete("/_mock/companies/k").expect(403);
    let preflight = page.ask("OPTIONS", "/companies/k/events", "");
    assert_eq!(preflight.status, 403);
    assert!(preflight.header("access-control-allow-origin").is_none());
    let known = client.get("/_mock/companies").expect(200).json();
    assert_eq!(known, json!([]));
}

#[test]
fn tokens_and_passwords_open_their_sides_and_are_told_to_nobody() {
    const TOKEN: &str = "t0ken-nobody-may-see";
    const PASSWORD: &str = "passw0rd-nobody-may-see";
    let folder = tempfile::tempdir().unwrap();
    let port_file = folder.path().join("port");
    let data = folder.path().join("data");
    let mut command = program();
    command
        .args([
            "serve",
            "--port",
            "0",
            "--log-format",
            "json",
            "--port-file",
        ])
        .arg(&port_file)
        .arg("--data")
        .arg(&data)
        .args(["--user", &format!("me:{PASSWORD}")])
        .env("VIBES_MOCK_TOKEN", TOKEN)
        .env("VIBES_MOCK_LOG", "trace");
    let (server, client) = serving::start(&mut command, &port_file);
    let (basic, wrong) = (
        "Basic bWU6cGFzc3cwcmQtbm9ib2R5LW1heS1zZWU=",
        "Basic bWU6d3Jvbmc=",
    );
    let bearer = format!("Bearer {TOKEN}");
    let mut answers = Vec::new();
    for (path, sent, wanted) in [
        ("/_mock/clock", None, 401),
        ("/_mock/clock", Some("Bearer wrong"), 401),
        ("/_mock/clock", Some("Bearer"), 401),
        ("/_mock/clock", Some(&bearer[..bearer.len() - 1]), 401),
        ("/_mock/clock", Some(&format!("{bearer}x")), 401),
        ("/_mock/clock", Some(basic), 401),
        ("/_mock/clock", Some(&bearer), 200),
        ("/_mock/deliveries", None, 401),
        ("/_mock/stream", None, 401),
        ("/_mock/openapi.json", None, 401),
        ("/metrics", None, 401),
        ("/metrics", Some(&bearer), 200),
        ("/companies/k/config/callbacks", None, 401),
        ("/companies/k/config/callbacks", Some(wrong), 401),
        ("/companies/k/config/callbacks", Some(&bearer), 401),
        ("/companies/k/config/callbacks", Some("Basic !"), 401),
        ("/companies/k/config/callbacks", Some(basic), 200),
        ("/companies/k/nothing", None, 404),
        ("/healthz", None, 200),
    ] {
        let client = match sent {
            Some(sent) => client.with("Authorization", sent),
            None => client.clone(),
        };
        let answer = client.get(path);
        assert_eq!(answer.status, wanted, "{path} {sent:?}");
        assert_eq!(answer.header("www-authenticate").is_some(), wanted == 401);
        answers.push(format!("{answer:?}"));
    }
    let me = client.with("Authorization", basic);
    let receiver = Receiver::answering("200 OK");
    // A registration may name a user of its own; it is for the receiver only.
    let url = receiver.url().replace("://", "://you:s3cret-of-the-url@");
    register(&me, "k", &url).expect(201);
    post(&me, "k", "e1").expect(202);
    receiver.wait_for(1);
    let mine = client.with("Authorization", &bearer);
    let seen = mine
        .get("/_mock/deliveries?event_id=e1&state=accepted&wait=30s")
        .expect(200);
    answers.push(seen.body);
    answers.push(mine.get("/_mock/openapi.json").body);
    let sent = receiver.requests();
    assert_eq!(
        sent[0].header("authorization"),
        Some("Basic eW91OnMzY3JldC1vZi10aGUtdXJs")
    );
    #[cfg(unix)]
    server.interrupt();
    #[cfg(not(unix))]
    drop(server);
    #[cfg(unix)]
    {
        let ran = server.end();
        answers.push(ran.out + &ran.err);
    }
    for secret in [
        TOKEN,
        PASSWORD,
        "s3cret-of-the-url",
        "cGFzc3cwcmQ",
        "czNjcmV0",
    ] {
        for text in &answers {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    let written = std::fs::read(&data).unwrap();
    let has = |text: &str| {
        written
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    assert!(!has(TOKEN) && !has(PASSWORD));
    assert!(
        !format!(
            "{:?}",
            Setup {
                token: Some(TOKEN.to_owned()),
                ..Setup::default()
            }
        )
        .contains(TOKEN)
    );
}

#[test]
fn nobody_beyond_this_machine_without_a_token() {
    for address in ["0.0.0.0", "::", "192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1"] {
        let address = address.parse().unwrap();
        let words = check_bind(address, None).unwrap_err();
        assert!(words.contains("--token"), "{words}");
        assert!(check_bind(address, Some("")).is_err());
        assert!(check_bind(address, Some("t")).is_ok());
    }
    let ran = outside::run(&["serve", "--bind", "0.0.0.0", "--port", "0"]).expect_code(2);
    assert!(ran.err.contains("--bind 0.0.0.0 --token"), "{ran:?}");
}

// Whom it sends to.

/// Addresses beyond loopback and private ones, in many spellings.
const FAR: &[&str] = &[
    "http://8.8.8.8/",
    "http://134744072/",
    "http://0x08080808/",
    "http://010.010.010.010/",
    "http://0x8.8.2056/",
    "http://[::ffff:8.8.8.8]/",
    "http://[::ffff:808:808]/",
    "http://[::8.8.8.8]/",
    "http://[64:ff9b::8.8.8.8]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1:808:8:800:7f00:1]/",
    "http://[2002:808:808::1]/",
    "http://[2002:7f00:1::1]/",
    "http://[2001:4860:4860::8888]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://0x0:8080/",
    "http://[::]/",
    "http://[::ffff:0.0.0.0]/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    "http://100.64.0.1/",
    "http://127.0.0.1@8.8.8.8/",
    "http://127.0.0.1:80@8.8.8.8/",
    "http://localhost%40@8.8.8.8/",
    "http://a:b@134744072/",
    "https://8.8.8.8/",
];

/// Where clouds tell machines their secrets.
const METADATA: &[&str] = &[
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.0376.43518/",
    "http://169.254.43518/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::169.254.169.254]/",
    "http://[::ffff:0:a9fe:a9fe]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd00:ec2::23]/",
    "http://[fd20:ce::254]/",
    "http://127.0.0.1@169.254.169.254/",
];

/// This machine, in many spellings. Behind each a port is put.
const NEAR: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "0177.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "localhost",
    "user:8.8.8.8@127.0.0.1",
];

fn run_of(url: &str) -> Value {
    json!({
        "scenario": "journeys: {x: {}}\nevents: [{event_type: hello, journey: x}]\n",
        "to": url,
        "speed": "max",
    })
}

fn run_with_own_destination(url: &str) -> Value {
    json!({
        "scenario": {
            "destination": {"url": url},
            "journeys": {"x": {}},
            "events": [{"event_type": "hello", "journey": "x"}],
        },
        "speed": "max",
    })
}

/// Fails unless no way of naming a destination takes this one.
#[track_caller]
fn refused_everywhere(client: &Client, existing: &str, url: &str) {
    let answers = [
        register(client, "k", url),
        client.put(existing, &registration(url)),
        client.post("/_mock/runs", &run_of(url)),
        client.post("/_mock/runs", &run_with_own_destination(url)),
    ];
    for (at, answer) in answers.iter().enumerate() {
        // Some spellings are no URL at all; either way nothing is sent.
        assert!(
            matches!(answer.status, 400 | 422),
            "{url} by way {at}: {answer:?}"
        );
    }
}

#[test]
fn nothing_is_sent_beyond_this_machine_and_network() {
    let receiver = Receiver::answering("200 OK");
    for probe in [false, true] {
        let mut setup = by_hand();
        setup.options.probe_destinations = probe;
        let mock = VibesMock::with(setup).unwrap();
        let client = client(&mock);
        let existing = register(&client, "k", &receiver.url()).expect(201).json();
        let existing = format!(
            "/companies/k/config/callbacks/{}",
            existing["callback_id"].as_str().unwrap()
        );
        for url in FAR.iter().chain(METADATA) {
            refused_everywhere(&client, &existing, url);
        }
        // The update that was refused changed nothing.
        let kept = client.get(&existing).expect(200).json();
        assert_eq!(kept["destination"]["url"], receiver.url());
        let listed = client
            .get("/companies/k/config/callbacks")
            .expect(200)
            .json();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert_eq!(client.get("/_mock/runs").expect(200).json(), json!([]));
        let words = register(&client, "k", "http://8.8.8.8/").body;
        assert!(words.contains("--allow-destination 8.8.8.8"), "{words}");
    }
}

#[test]
fn metadata_is_nobodys_even_where_its_host_is_allowed() {
    let mut setup = by_hand();
    setup.options.allow_destinations = METADATA
        .iter()
        .filter_map(|url| url.parse::<hyper::Uri>().ok()?.host().map(str::to_owned))
        .collect();
    let mock = VibesMock::with(setup).unwrap();
    let client = client(&mock);
    for url in METADATA {
        let answer = register(&client, "k", url);
        assert!(matches!(answer.status, 400 | 422), "{url}: {answer:?}");
    }
}

#[test]
fn this_machine_is_sent_to_however_it_is_spelt() {
    let receiver = Receiver::answering("200 OK");
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    for host in NEAR {
        let url = format!("http://{host}:{}/{}", receiver.port(), host.len());
        register(&client, "k", &url).expect(201);
    }
    post(&client, "k", "e1").expect(202);
    let path = format!(
        "/_mock/deliveries?event_id=e1&state=accepted&at_least={}&wait=60s",
        NEAR.len()
    );
    let found = client.get(&path).expect(200).json();
    assert_eq!(
        found["deliveries"].as_array().unwrap().len(),
        NEAR.len(),
        "{found}"
    );
}

#[test]
fn the_policy_of_now_counts_for_what_was_registered_under_another() {
    let folder = tempfile::tempdir().unwrap();
    let start = |allowed: &[&str]| {
        let mut setup = by_hand();
        setup.data = Some(folder.path().join("data"));
        setup.options.allow_destinations = allowed.iter().map(|host| (*host).to_owned()).collect();
        VibesMock::with(setup).unwrap()
    };
    let mock = start(&["203.0.113.7"]);
    register(&client(&mock), "k", "http://203.0.113.7:9/").expect(201);
    drop(mock);
    let mock = start(&[]);
    let client = client(&mock);
    post(&client, "k", "e1").expect(202);
    client.advance(&json!({"until": "idle"}));
    let found = client
        .get("/_mock/deliveries?event_id=e1&state=failed")
        .expect(200)
        .json();
    let attempts = found["deliveries"][0]["attempts"].as_array().unwrap();
    assert!(!attempts.is_empty());
    for attempt in attempts {
        assert_eq!(
            attempt["error"]["kind"], "destination_not_allowed",
            "{attempt}"
        );
    }
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Receiver::answering("200 OK");
    let url = elsewhere.url();
    let mock = VibesMock::with(by_hand()).unwrap();
    let client = client(&mock);
    let mut receivers = Vec::new();
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let head = format!("{status}\r\nLocation: {url}");
        let receiver = Receiver::with(move |_, _| head.clone());
        register(&client, "k", &receiver.url()).expect(201);
        receivers.push(receiver);
    }
    post(&client, "k", "e1").expect(202);
    client.advance(&json!({"by": "1s"}));
    let found = client
        .get("/_mock/deliveries?event_id=e1")
        .expect(200)
        .json();
    let found = found["deliveries"].as_array().unwrap();
    assert_eq!(found.len(), receivers.len());
    for delivery in found {
        assert_eq!(delivery["state"], "retrying", "{delivery}");
    }
    for receiver in &receivers {
        assert_eq!(receiver.requests().len(), 1);
    }
    assert_eq!(elsewhere.requests().len(), 0);
}

// Clients that never end.

fn impatient() -> Limits {
    Limits {
        head_time: Duration::from_millis(300),
        idle_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[test]
fn those_who_dribble_are_cut_off_while_others_are_served() {
    let mock = VibesMock::with(Setup {
        limits: impatient(),
        ..Setup::default()
    })
    .unwrap();
    let client = client(&mock);
    let body_to_come =
        "POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";
    let chunks_to_come = "POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut dribblers = Vec::new();
        for (begun, piece) in [
            ("", "G"),
            ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "X-A: b\r\n"),
            (body_to_come, " "),
            (chunks_to_come, "1\r\n \r\n"),
        ] {
            for _ in 0..8 {
                let client = &client;
                dribblers.push(scope.spawn(move || {
                    let mut stream = TcpStream::connect(&client.authority).unwrap();
                    stream
                        .set_read_timeout(Some(Duration::from_millis(20)))
                        .unwrap();
                    stream.write_all(begun.as_bytes()).unwrap();
                    let began = Instant::now();
                    let mut buffer = [0; 1024];
                    loop {
                        assert!(began.elapsed() < PATIENCE, "nobody minds {begun:?}");
                        let sent = stream.write_all(piece.as_bytes());
                        match stream.read(&mut buffer) {
                            // It was closed.
                            Ok(0) => return,
                            Ok(_) => {}
                            Err(error) if would_block(&error) && sent.is_ok() => {}
                            Err(_) => return,
                        }
                    }
                }));
            }
        }
        let (client, done) = (&client, &done);
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                alive(client);
            }
        });
        for dribbler in dribblers {
            dribbler.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

#[test]
fn what_is_too_large_is_refused_and_the_next_one_is_served() {
    let mock = VibesMock::with(Setup {
        limits: impatient(),
        ..Setup::default()
    })
    .unwrap();
    let client = client(&mock);
    let long = "a".repeat(200_000);
    let many: String = (0..1000).map(|n| format!("X-{n}: y\r\n")).collect();
    for (request, wanted) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), &[414, 431][..]),
        (format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n"), &[431]),
        (format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), &[431]),
        (
            "POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
            &[400],
        ),
        (
            format!("POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2),
            &[413],
        ),
    ] {
        let got = statuses(&raw(&client, &request));
        assert_eq!(got.len(), 1, "{:?}", &request[..60]);
        assert!(wanted.contains(&got[0]), "{got:?} {:?}", &request[..60]);
        alive(&client);
    }
    let data = "a".repeat(20_000);
    let large = json!({"event_type": "a", "event_data": {"external_person_id": "1", "x": data}});
    client.post("/companies/k/events", &large).expect(413);
    client
        .ask("POST", "/companies/k/events", &" ".repeat(3_000_000))
        .expect(413);
    client
        .ask("PUT", "/_mock/routes?company_key=k", &" ".repeat(6_000_000))
        .expect(413);
    alive(&client);
}

#[test]
fn bodies_that_dig_or_boast_break_nothing() {
    let mock = VibesMock::with(by_hand()).unwrap();
    let client = client(&mock);
    let receiver = Receiver::answering("200 OK");
    register(&client, "k", &receiver.url()).expect(201);
    let deep = |open: &str, close: &str, n: usize| open.repeat(n) + &close.repeat(n);
    let in_event = |value: &str| {
        format!(r#"{{"event_type":"a","event_data":{{"external_person_id":"1","x":{value}}}}}"#)
    };
    let huge = [
        "1e999999999",
        "-1E-999999999",
        "123456789012345678901234567890123456789012345678901234567890.5",
        "0.00000000000000000000000000000000000000000000000000000000001",
        r#""\u0000\ud83d\ude00""#,
    ];
    let mut bodies: Vec<String> = huge.map(in_event).into();
    bodies.extend([
        in_event(&deep("[", "]", 100)),
        in_event(&deep("[", "]", 7000)),
        in_event(&deep(r#"{"a":"#, "}", 2000).replace(":}", ":1}")),
        in_event(r#""\ud800""#),
        deep("[", "]", 8000),
        "[".repeat(15_000),
        in_event("1e"),
        r#"{"event_type":"a","event_data":{"external_person_id":1e400}}"#.to_owned(),
        r#"{"event_type":"a","event_data":{"mdn":155555501001e999}}"#.to_owned(),
        r#"{"event_type":"a","event_type":"b","event_data":{"external_person_id":"1"}}"#.to_owned(),
        "\u{feff}{}".to_owned(),
        String::new(),
    ]);
    for (at, body) in bodies.iter().enumerate() {
        for path in [
            "/companies/k/events",
            "/companies/k/config/callbacks",
            "/companies/k/config/callback_events/test",
            "/companies/k/mobiledb/event_triggered_messages",
            "/_mock/runs",
            "/_mock/clock/advance",
        ] {
            let answer = client.ask("POST", path, body);
            let wanted = match path {
                "/companies/k/events" if at < huge.len() => &[202][..],
                _ => &[202, 400, 409, 422],
            };
            assert!(wanted.contains(&answer.status), "{path} {at}: {answer:?}");
        }
        let answer = client.ask("PUT", "/_mock/routes?company_key=k2", body);
        assert!(matches!(answer.status, 204 | 400 | 422), "{at}: {answer:?}");
    }
    // Whatever was accepted is sent as it was.
    client.advance(&json!({"until": "idle"}));
    let sent = receiver.requests();
    assert!(
        sent.iter()
            .any(|request| request.body.contains("1e999999999"))
    );
    for request in sent {
        serde_json::from_str::<&serde_json::value::RawValue>(&request.body).unwrap();
    }
}

#[test]
fn clocks_and_queries_with_numbers_that_no_one_has() {
    let mock = VibesMock::with(by_hand()).unwrap();
    let client = client(&mock);
    for body in [
        json!({"by": "99999999999999999999h"}),
        json!({"by": "-1s"}),
        json!({"by": "1e3s"}),
        json!({"until": "+999999-01-01T00:00:00Z"}),
        json!({"until": "idle", "by": "1s"}),
        json!({}),
        json!({"by": 5}),
    ] {
        client.post("/_mock/clock/advance", &body).expect(400);
    }
    for (query, wanted) in [
        ("limit=0", 400),
        ("limit=18446744073709551616", 400),
        ("limit=1001", 400),
        ("at_least=18446744073709551615", 200),
        ("at_least=-1", 400),
        ("after=18446744073709551615-65535-18446744073709551615", 200),
        ("after=1-2", 400),
        ("after=18446744073709551616-0-0", 400),
        ("state=none", 400),
        ("wait=soon", 400),
        ("event_type=****************************************b", 200),
        ("nonsense=1", 400),
    ] {
        let answer = client.get(&format!("/_mock/deliveries?{query}"));
        assert_eq!(answer.status, wanted, "{query}: {answer:?}");
    }
    for last in ["18446744073709551616", "-1", "x", ""] {
        client
            .with("Last-Event-ID", last)
            .get("/_mock/stream")
            .expect(400);
    }
    // The end of time comes, and the server is still there.
    for _ in 0..2 {
        client
            .post(
                "/_mock/clock/advance",
                &json!({"until": "9999-12-31T23:59:59Z"}),
            )
            .expect(200);
    }
    client.advance(&json!({"by": "8784h"}));
    post(&client, "k", "late").expect(202);
    let dead = format!("http://127.0.0.1:{}/", free_port());
    register(&client, "k", &dead).expect(201);
    client.advance(&json!({"until": "idle"}));
    client.get("/_mock/deliveries").expect(200);
    client.get("/_mock/clock").expect(200);
}

// Many at once.

/// How many connections a test may open beside all else, out of so many that it would like.
fn connections(wanted: usize) -> usize {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n"])
        .output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let limit = text.ok().and_then(|text| text.trim().parse::<usize>().ok());
    // The server is of the same process, as are other tests; but it lets refused streams go.
    let most = limit.map_or(wanted, |limit| limit.saturating_sub(4000));
    if most < wanted {
        let _ = writeln!(
            std::io::stderr(),
            "only {most} streams instead of {wanted}: see `ulimit -n`"
        );
    }
    wanted.min(most)
}

#[test]
fn ten_thousand_idle_streams_leave_room_for_others() {
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    let most = Limits::default().streams;
    let many = connections(10_000);
    assert!(many > most, "raise `ulimit -n`");
    let (mut open, mut refused) = (Vec::new(), 0);
    for at in 0..many {
        let mut stream = TcpStream::connect(&client.authority).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET /_mock/stream HTTP/1.1\r\nHost: {}\r\n\r\n",
            client.authority
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        match &status[9..] {
            b"200" => {}
            b"503" => refused += 1,
            other => panic!("{:?}", String::from_utf8_lossy(other)),
        }
        // All are kept open from here, the refused ones too.
        open.push(stream);
        if at % 1000 == 0 {
            post(&client, "k", &format!("e{at}")).expect(202);
        }
    }
    assert_eq!(refused, many - most);
    alive(&client);
    client
        .get("/_mock/deliveries?state=unmatched&wait=30s")
        .expect(200);
    // Once they are gone, others may watch.
    drop(open);
    eventually("a stream is free", || {
        let mut stream = TcpStream::connect(&client.authority).unwrap();
        let request = format!(
            "GET /_mock/stream HTTP/1.1\r\nHost: {}\r\n\r\n",
            client.authority
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        status.ends_with(b"200")
    });
}

/// Begins a request and does not wait for its answer.
fn begin(client: &Client, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&client.authority).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
        client.authority,
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn waits_are_bounded_and_free_when_those_who_wait_leave() {
    let mut setup = by_hand();
    setup.limits.waits = 8;
    let mock = VibesMock::with(setup).unwrap();
    let client = client(&mock);
    let (began, release) = (
        std::sync::Arc::new(AtomicBool::new(false)),
        std::sync::Arc::new(AtomicBool::new(false)),
    );
    let slow = {
        let (began, release) = (began.clone(), release.clone());
        Receiver::with(move |_, _| {
            began.store(true, Ordering::Relaxed);
            while !release.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            "200 OK".to_owned()
        })
    };
    register(&client, "k", &slow.url()).expect(201);
    post(&client, "k", "e1").expect(202);
    let advance = json!({"until": "idle"}).to_string();
    let probe = "/_mock/deliveries?event_id=none&wait=1ms";
    // Half of them wait, half move the clock: behind the first, which waits for a receiver.
    let mut waiting = vec![begin(&client, "POST", "/_mock/clock/advance", &advance)];
    eventually("the receiver is asked", || began.load(Ordering::Relaxed));
    for at in 1..8 {
        waiting.push(match at % 2 {
            0 => begin(&client, "POST", "/_mock/clock/advance", &advance),
            _ => begin(
                &client,
                "GET",
                "/_mock/deliveries?event_id=none&wait=60s",
                "",
            ),
        });
    }
    // A look may have taken the place of one that wanted to wait, so there come more.
    let more = std::cell::RefCell::new(Vec::new());
    eventually("all places are taken", || {
        let path = "/_mock/deliveries?event_id=none&wait=60s";
        more.borrow_mut().push(begin(&client, "GET", path, ""));
        client.get(probe).status == 503
    });
    assert_eq!(
        client.ask("POST", "/_mock/clock/advance", &advance).status,
        503
    );
    alive(&client);
    drop((waiting, more));
    eventually("a place is free", || client.get(probe).status == 200);
    // Nobody holds the clock either.
    release.store(true, Ordering::Relaxed);
    let moved = client
        .ask("POST", "/_mock/clock/advance", &advance)
        .expect(200)
        .json();
    assert_eq!(moved["idle"], true);
}

#[test]
fn connections_without_words_do_not_stay() {
    let mock = VibesMock::with(Setup {
        limits: Limits {
            connections: 64,
            ..impatient()
        },
        ..Setup::default()
    })
    .unwrap();
    let client = client(&mock);
    // More than there are places for; those beyond wait until the silent ones are cut off.
    let silent: Vec<_> = (0..256)
        .map(|_| TcpStream::connect(&client.authority).unwrap())
        .collect();
    alive(&client);
    drop(silent);
}

// Requests that can be read in two ways.

#[test]
fn paths_lead_to_one_place_only() {
    let mock = VibesMock::with(Setup {
        limits: impatient(),
        token: Some("token".to_owned()),
        ..Setup::default()
    })
    .unwrap();
    let client = client(&mock);
    let authority = &client.authority;
    for path in [
        "/healthz/../_mock/clock",
        "/healthz/%2e%2e/_mock/clock",
        "/healthz%2f..%2f_mock/clock",
        "/companies/../_mock/clock",
        "/companies/%2e%2e/_mock/clock",
        "//_mock/clock",
        "/_mock//clock",
        "/./_mock/clock",
        "/_mock/./clock",
        "/%5fmock/clock",
        "/_MOCK/clock",
        "/_mock%2fclock",
        "/_mock\\clock",
        "/_mock;x/clock",
        "/_mock/clock;x=y",
        "/_mock/clock%00",
        "/_mock/clock%20",
        "/companies/k/config/callbacks/..",
        "/companies/%2e%2e/events",
        "/companies/a%2fb/events",
        "/companies/a%5cb/events",
        "/companies/%252e%252e/events",
    ] {
        let method = if path.ends_with("events") {
            "POST"
        } else {
            "GET"
        };
        let got = with_headers(&client, method, path, &format!("Host: {authority}\r\n"));
        assert!(matches!(got, 400 | 401 | 404), "{path}: {got}");
    }
    for (target, wanted) in [
        (format!("http://{authority}/_mock/clock"), 401),
        ("http://attacker.example/_mock/clock".to_owned(), 400),
        (format!("http://{authority}@attacker.example/healthz"), 400),
        ("attacker.example:80".to_owned(), 400),
        ("*".to_owned(), 404),
        ("/healthz\rX".to_owned(), 400),
        ("/healthz%0d%0aX:%20y".to_owned(), 404),
        (
            "/_mock/deliveries?x=%0d%0aSet-Cookie:%20a=b".to_owned(),
            401,
        ),
    ] {
        let answer = raw(
            &client,
            format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"),
        );
        let got = statuses(&answer);
        assert!(
            got.first() == Some(&wanted) || got == [400],
            "{target}: {answer}"
        );
        assert!(
            !answer.to_lowercase().contains("\r\nset-cookie"),
            "{answer}"
        );
    }
    // What a caller says comes back as JSON, never as a line of the answer's head.
    let token = client.with("Authorization", "Bearer token");
    let answer = token
        .get("/_mock/deliveries?x%0d%0aSet-Cookie:%20a=b")
        .expect(400);
    assert!(answer.header("set-cookie").is_none());
    let known = token.get("/_mock/companies").expect(200).json();
    assert_eq!(known, json!([]), "something was made under an odd name");
}

#[test]
fn a_request_ends_where_everybody_sees_it_end() {
    let mock = VibesMock::with(Setup {
        limits: impatient(),
        ..Setup::default()
    })
    .unwrap();
    let client = client(&mock);
    let smuggled = "DELETE /_mock/companies/victim HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client
        .ask(
            "PUT",
            "/_mock/routes?company_key=victim",
            "journeys: {x: {}}\nroutes: [{journey: x}]\n",
        )
        .expect(204);
    let post = "POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\n";
    for (headers, body) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: identity, chunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding : chunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding:\r\n chunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            format!("0\r\n\r\n{smuggled}"),
        ),
        (
            "Content-Length: 0\r\nContent-Length: 5\r\n",
            smuggled.to_owned(),
        ),
        ("Content-Length: 0, 5\r\n", smuggled.to_owned()),
        ("Content-Length: +0\r\n", smuggled.to_owned()),
        ("Content-Length: -1\r\n", smuggled.to_owned()),
        ("Content-Length: 0x0\r\n", smuggled.to_owned()),
        ("Content-Length : 0\r\n", smuggled.to_owned()),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("0;a=\"\r\n\r\n\"\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("-1\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("ffffffffffffffffff\r\n\r\n{smuggled}"),
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            format!("0\r\nTrailer: x\r\n\r\n{smuggled}"),
        ),
    ] {
        let answers = raw(&client, format!("{post}{headers}\r\n{body}"));
        let got = statuses(&answers);
        assert!(got.len() <= 1, "{headers:?} {body:?}: {answers}");
        assert!(
            got.iter().all(|status| (400..600).contains(status)),
            "{headers:?}: {answers}"
        );
        let known = client.get("/_mock/companies").expect(200).json();
        assert!(
            known.to_string().contains("victim"),
            "{headers:?} {body:?}: {answers}"
        );
    }
    // Chunks and their extensions are read as what they are.
    let body = event("chunked").to_string();
    let chunked = format!("{:x};ext=\"1\";x\r\n{body}\r\n0\r\n\r\n", body.len());
    let answers = raw(
        &client,
        format!("{post}Transfer-Encoding: chunked\r\n\r\n{chunked}{smuggled}"),
    );
    assert_eq!(statuses(&answers), [202], "{answers}");
}

// Names and floods.

#[test]
fn company_keys_are_names_and_nothing_else() {
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    let long = "a".repeat(64);
    for key in ["k", "zY5VnE7r", "a-b_C9", "-", &long] {
        post(&client, key, "e").expect(202);
    }
    let longer = "a".repeat(65);
    for key in [
        "%20",
        "k%20",
        ".",
        "..",
        "%2e",
        "k.",
        "k'--",
        "k%22",
        "%3Cscript%3E",
        "%C3%BC",
        "%F0%9F%98%80",
        "k*",
        "k%00",
        "k%0a",
        "a:b",
        "a@b",
        "$(id)",
        "%25",
        &longer,
    ] {
        for (method, path, body) in [
            ("POST", "events", event("e").to_string()),
            (
                "POST",
                "config/callbacks",
                registration("http://127.0.0.1:9/").to_string(),
            ),
            ("GET", "config/callbacks", String::new()),
            ("GET", "mobiledb/event_triggered_messages", String::new()),
        ] {
            let answer = client.ask(method, &format!("/companies/{key}/{path}"), &body);
            assert!(matches!(answer.status, 400 | 404), "{key}: {answer:?}");
        }
        client
            .ask(
                "PUT",
                &format!("/_mock/routes?company_key={key}"),
                "journeys: {x: {}}\nroutes: [{journey: x}]\n",
            )
            .expect(404);
    }
    let known = client.get("/_mock/companies").expect(200).json();
    assert_eq!(known.as_array().unwrap().len(), 5, "{known}");
}

#[test]
fn companies_are_bounded_and_forgetting_makes_room() {
    const KNOWN: usize = 10_000;
    let mock = VibesMock::start().unwrap();
    let client = client(&mock);
    // A body that is none makes nobody known, nor does looking.
    let nothing = |key: &str| {
        client
            .ask("POST", &format!("/companies/{key}/events"), "{}")
            .expect(400);
        client
            .get(&format!("/companies/{key}/config/callbacks"))
            .expect(200);
    };
    nothing("x");
    assert_eq!(client.get("/_mock/companies").expect(200).json(), json!([]));
    let body = event("e").to_string();
    let mut stream = TcpStream::connect(&client.authority).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut refused = 0;
    for at in 0..2 * KNOWN {
        let request = format!(
            "POST /companies/k{at}/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut reader, false).unwrap();
        match answer.status {
            202 => assert!(at < KNOWN),
            503 => {
                assert!(at >= KNOWN);
                assert!(
                    answer.body.contains("DELETE /_mock/companies/KEY"),
                    "{answer:?}"
                );
                refused += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(refused, KNOWN);
    // Those that are known are served as ever.
    post(&client, "k0", "more").expect(202);
    client.delete("/_mock/companies/k1").expect(204);
    post(&client, "new", "e").expect(202);
}

fn flooded(max_pending: usize) -> VibesMock {
    let mut setup = by_hand();
    setup.options.max_pending = max_pending;
    VibesMock::with(setup).unwrap()
}

/// Posts until that is refused, and gives how many were accepted.
fn flood(client: &Client, key: &str, most: usize) -> usize {
    for at in 0..most {
        let answer = post(client, key, &format!("e{at}"));
        if answer.status == 503 {
            assert!(answer.body.contains("wait already"), "{answer:?}");
            return at;
        }
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    most
}

#[test]
fn what_may_wait_is_bounded_also_for_a_receiver_that_is_down() {
    let mock = flooded(50);
    let client = client(&mock);
    let dead = format!("http://127.0.0.1:{}/", free_port());
    register(&client, "k", &dead).expect(201);
    assert_eq!(flood(&client, "k", 1000), 50);
    // They have been tried, and wait for their retries.
    let moved = client.advance(&json!({"by": "10s"})).json();
    assert_ne!(moved["attempts"], 0);
    assert_eq!(moved["pending"], 0);
    post(&client, "k", "more").expect(503);
    // Other companies are bounded with them, and so is what is known of all.
    post(&client, "other", "more").expect(503);
    client.advance(&json!({"until": "idle"}));
    post(&client, "k", "more").expect(202);
}

#[test]
fn forgetting_a_company_makes_room_at_once_and_nobody_waits_for_it() {
    let mock = flooded(50);
    let client = client(&mock);
    assert_eq!(flood(&client, "k", 1000), 50);
    let before = client.get("/_mock/clock").expect(200).json();
    client.delete("/_mock/companies/k").expect(204);
    let after = client.get("/_mock/clock").expect(200).json();
    assert_eq!(before["pending"], 50);
    assert_eq!(
        (&after["pending"], &after["next_due"]),
        (&json!(0), &Value::Null)
    );
    assert_eq!(flood(&client, "k", 1000), 50);
    // Retries of a receiver that is down go with their company as well.
    client.delete("/_mock/companies/k").expect(204);
    let dead = format!("http://127.0.0.1:{}/", free_port());
    register(&client, "k", &dead).expect(201);
    flood(&client, "k", 10);
    let moved = client.advance(&json!({"by": "10s"})).json();
    assert_ne!(moved["attempts"], 0);
    client.delete("/_mock/companies/k").expect(204);
    let now = client.get("/_mock/clock").expect(200).json();
    assert_eq!(now["next_due"], Value::Null);
    let moved = client.advance(&json!({"until": "idle"})).json();
    assert_eq!(
        (&moved["now"], &moved["attempts"]),
        (&now["now"], &json!(0))
    );
    assert_eq!(flood(&client, "k", 1000), 50);
}

#[test]
fn runs_are_bounded_however_many_begin_at_once() {
    const GOING: usize = 64;
    let mock = VibesMock::with(by_hand()).unwrap();
    let client = client(&mock);
    // Under a clock that stands they all go on.
    let mut run = run_of(&format!("http://127.0.0.1:{}/", free_port()));
    run.as_object_mut().unwrap().remove("speed");
    let started = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let answer = client.post("/_mock/runs", &run);
                    assert!(matches!(answer.status, 201 | 422), "{answer:?}");
                    if answer.status == 201 {
                        let id = answer.json()["run_id"].as_str().unwrap().to_owned();
                        started.lock().unwrap().push(id);
                    }
                }
            });
        }
    });
    let started = started.into_inner().unwrap();
    assert_eq!(started.len(), GOING);
    for id in &started {
        client.delete(&format!("/_mock/runs/{id}")).expect(200);
        let run = client
            .get(&format!("/_mock/runs/{id}?wait=60s"))
            .expect(200)
            .json();
        assert_eq!(run["state"], "stopped");
    }
    client.post("/_mock/runs", &run).expect(201);
}

// Receivers.

/// Answers every request on a free port with these bytes and perhaps more of the like without end; the URL.
fn answering(head: &'static str, piece: Vec<u8>, endless: bool) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let piece = piece.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while let Ok(1..) = stream.read(&mut buffer) {
                    let mut sent = stream.write_all(head.as_bytes()).is_ok();
                    sent = sent && stream.write_all(&piece).is_ok();
                    while endless && sent {
                        sent = stream.write_all(&piece).is_ok();
                    }
                }
            });
        }
    });
    url
}

#[test]
fn what_receivers_answer_is_kept_within_bounds() {
    let mock = VibesMock::with(by_hand()).unwrap();
    let client = client(&mock);
    let kept = 64 * 1024;
    let megabyte = 1024 * 1024;
    for (key, url, length, state) in [
        (
            "huge",
            answering(
                "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n",
                vec![b'a'; megabyte],
                false,
            ),
            Some(kept),
            "accepted",
        ),
        (
            "endless",
            answering(
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
                vec![b'a'; 4096],
                true,
            ),
            Some(kept),
            "accepted",
        ),
        (
            "chunks",
            answering(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                b"5\r\naaaaa\r\n".to_vec(),
                true,
            ),
            Some(kept),
            "accepted",
        ),
        (
            "binary",
            answering(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
                vec![0xff, 0xfe, 0, b'a'],
                false,
            ),
            None,
            "accepted",
        ),
        (
            "no-text",
            answering(
                "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n",
                vec![0xff; kept],
                false,
            ),
            Some(kept - 1),
            "accepted",
        ),
        (
            "head",
            answering(
                "HTTP/1.1 200 OK\r\n",
                b"X-Endless: yes\r\n".repeat(100),
                true,
            ),
            None,
            "retrying",
        ),
        (
            "informed",
            answering(
                "HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100),
                false,
            ),
            None,
            "",
        ),
        (
            "noise",
            answering("", vec![0; 4096], false),
            None,
            "retrying",
        ),
    ] {
        register(&client, key, &url).expect(201);
        post(&client, key, "e1").expect(202);
        client.advance(&json!({"by": "10s"}));
        let found = client
            .get(&format!("/_mock/deliveries?company_key={key}"))
            .expect(200);
        let delivery = &found.json()["deliveries"][0];
        if !state.is_empty() {
            assert_eq!(delivery["state"], state, "{key}");
        }
        let answer = delivery["attempts"][0]["answer"].as_str();
        match length {
            Some(length) => assert_eq!(answer.map(str::len), Some(length), "{key}"),
            None => assert!(
                answer.is_none_or(|answer| answer.len() < 100),
                "{key}: {answer:?}"
            ),
        }
    }
    alive(&client);
}
