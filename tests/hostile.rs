//! Destinations that misbehave: the run ends, every delivery is accounted for, and the report says what
//! happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outside::{fire, run, run_with_input};
use serde_json::{Value, json};

/// Serves each connection with `behave`, on a thread of its own, for as long as the test runs.
fn destination(behave: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> String {
    counted(behave).0
}

/// The same, with the number of connections so far.
fn counted(behave: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (behave, connections) = (Arc::new(behave), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let behave = Arc::clone(&behave);
            std::thread::spawn(move || behave(&mut stream));
        }
    });
    (url, connections)
}

/// Gives each request this answer, over a connection that stays.
fn answering(answer: impl Into<Vec<u8>>) -> (String, Arc<AtomicUsize>) {
    let answer = answer.into();
    counted(move |stream| while read_request(stream) && stream.write_all(&answer).is_ok() {})
}

/// Gives each request this answer and closes the connection.
fn answering_once(answer: impl Into<Vec<u8>>) -> String {
    let answer = answer.into();
    destination(move |stream| {
        read_request(stream);
        let _ = stream.write_all(&answer);
    })
}

/// Answers with `head` and then, as long as somebody listens, with `more` every 50 ms.
fn dribbling(head: &'static str, more: &'static str) -> impl Fn(&mut TcpStream) + Send + Sync {
    move |stream| {
        read_request(stream);
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(more.as_bytes()).is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn read_request(stream: &mut TcpStream) -> bool {
    request(stream).is_some()
}

/// The next request as it came; none if the connection ends before.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
        if text.ends_with(b"}}}") {
            return Some(String::from_utf8(text).unwrap());
        }
    }
    None
}

const EVENTS: &str = "seed: 1\nevents: [{event_type: a, count: 3}]";

fn report(url: &str, more: &[&str]) -> (Option<i32>, Value) {
    // Longer than anything takes that is not meant to hang.
    let usual = ["--timeout", "30s", "--retry", "1x10s"];
    // What is said last counts.
    let ran = fire(url, EVENTS, &[&usual, more].concat());
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    let report = ran.json();
    accounted_for(&report);
    (ran.code, report)
}

/// Every delivery ended somehow, every attempt was answered or failed, and each kind of failure is shown.
#[track_caller]
fn accounted_for(report: &Value) {
    let number = |key: &str| report[key].as_u64().unwrap();
    let sum = |key: &str| -> u64 {
        let counts = report[key].as_object().unwrap().values();
        counts.map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!(
        number("callbacks"),
        number("accepted") + number("failed"),
        "{report}"
    );
    assert_eq!(
        number("attempts"),
        sum("responses") + sum("errors"),
        "{report}"
    );
    assert_eq!(number("unfinished"), 0, "{report}");
    let kinds = |key: &str| {
        report[key]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds("errors"), kinds("error_examples"), "{report}");
    let mut examples = report["error_examples"].as_object().unwrap().values();
    assert!(examples.all(|words| words.as_str().is_some_and(|words| !words.is_empty())));
}

/// The twelve callbacks come to this: exit status, responses, errors. None is tried again.
#[track_caller]
fn comes_to(url: &str, code: i32, responses: Value, errors: Value) {
    let timeout = match errors.get("timeout") {
        Some(_) => "300ms",
        None => "30s",
    };
    let more = [
        "--retry",
        "none",
        "--connections",
        "2",
        "--timeout",
        timeout,
    ];
    let (status, report) = report(url, &more);
    assert_eq!(
        (status, &report["responses"], &report["errors"]),
        (Some(code), &responses, &errors),
        "{report}"
    );
}

/// All twelve callbacks fail for one kind of reason, each after two attempts.
fn all_fail(behave: impl Fn(&mut TcpStream) + Send + Sync + 'static, kind: &str) {
    let more: &[&str] = match kind {
        "timeout" => &["--timeout", "300ms"],
        _ => &[],
    };
    let (code, report) = report(&destination(behave), more);
    assert_eq!(code, Some(1), "{kind}");
    let counts: Vec<_> = [
        "callbacks",
        "accepted",
        "failed",
        "retried",
        "attempts",
        "unfinished",
    ]
    .map(|key| report[key].as_u64().unwrap())
    .to_vec();
    assert_eq!(counts, [12, 0, 12, 12, 24, 0], "{kind}: {report}");
    assert_eq!(report["errors"], json!({kind: 24}), "{report}");
}

#[test]
fn one_that_closes_at_once() {
    all_fail(|_| {}, "closed_before_answer");
}

#[test]
fn one_that_closes_after_the_request() {
    all_fail(
        |stream| {
            read_request(stream);
        },
        "closed_before_answer",
    );
}

#[test]
fn one_that_never_answers() {
    all_fail(
        |stream| {
            read_request(stream);
            // Until the client has gone.
            let _ = stream.read(&mut [0; 1]);
        },
        "timeout",
    );
}

#[test]
fn one_that_speaks_something_else() {
    all_fail(
        |stream| {
            read_request(stream);
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n\r\n");
        },
        "not_http",
    );
}

#[test]
fn one_that_ends_within_its_answer() {
    all_fail(
        |stream| {
            read_request(stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        },
        "closed_within_answer",
    );
}

#[test]
fn one_whose_answer_never_ends() {
    all_fail(
        dribbling(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "1\r\nx\r\n",
        ),
        "timeout",
    );
}

#[test]
fn one_that_answers_with_megabytes_is_not_read_to_the_end() {
    let url = destination(|stream| {
        while read_request(stream) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        }
    });
    let (code, report) = report(&url, &[]);
    assert_eq!((code, &report["accepted"]), (Some(0), &12.into()));
}

#[test]
fn one_that_closes_every_connection_politely_or_not() {
    let polite = destination(|stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    });
    let old = destination(|stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    let after_a_hint = destination(|stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    for url in [polite, old, after_a_hint] {
        let (code, report) = report(&url, &["--connections", "1"]);
        assert_eq!(
            (code, &report["accepted"], &report["failed"]),
            (Some(0), &12.into(), &0.into()),
            "{report}"
        );
    }
}

#[test]
fn answers_are_judged_by_class() {
    // Status, exit status, attempts of the twelve callbacks.
    for (answer, code, attempts) in [
        ("HTTP/1.1 299 Odd\r\nContent-Length: 0\r\n\r\n", 0, 12),
        (
            "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
            1,
            24,
        ),
        ("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", 1, 12),
        ("HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", 1, 12),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 1, 24),
        ("HTTP/1.1 600 Well\r\nContent-Length: 0\r\n\r\n", 1, 24),
        ("HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", 1, 24),
        (
            "HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            1,
            24,
        ),
    ] {
        let (url, _) = answering(answer);
        let (status, report) = report(&url, &["--connections", "1"]);
        assert_eq!(
            (status, &report["attempts"]),
            (Some(code), &attempts.into()),
            "{answer}: {report}"
        );
    }
}

#[test]
fn one_that_is_not_there_is_named_with_what_to_try() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for (url, named) in [
        (format!("http://{address}/x"), address.as_str()),
        (
            "http://no.such.host.invalid/".to_owned(),
            "no.such.host.invalid:80",
        ),
    ] {
        let errors = run_with_input(&["run", "-", "--to", &url], EVENTS)
            .expect_code(1)
            .err;
        assert!(
            errors.contains(named) && errors.contains("--wait"),
            "{errors}"
        );
    }
}

#[test]
fn one_that_is_down_is_left_alone_and_found_again() {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let url = destination(|stream| {
        while read_request(stream) {
            let answer = match REQUESTS.fetch_add(1, Ordering::SeqCst) {
                0..=24 => "503 No",
                _ => "200 OK",
            };
            let _ = stream
                .write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes());
        }
    });
    let (code, report) = report(&url, &["--retry", "vibes", "--connections", "1"]);
    // Ten failures in a row, a pause, ten more, a pause, five more.
    assert_eq!(
        (code, &report["times_down"]),
        (Some(0), &2.into()),
        "{report}"
    );
    assert_eq!(report["attempts"], 12 + 25);
}

#[test]
fn odd_answers_that_are_sound_are_accepted_over_one_connection() {
    let gzip = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\
        \x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let answers: [&[u8]; 8] = [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok",
        // Not even the body that it says it is.
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        gzip,
    ];
    for answer in answers {
        let (url, connections) = answering(answer);
        let more = ["--retry", "none", "--connections", "1"];
        let (code, report) = report(&url, &more);
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(
            (code, &report["responses"]),
            (Some(0), &json!({"200": 12})),
            "{shown}: {report}"
        );
        // One more tries whether anybody is there.
        assert_eq!(connections.load(Ordering::SeqCst), 2, "{shown}");
    }
}

#[test]
fn answers_that_end_with_the_connection_are_accepted() {
    for answer in [
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nuntil the end all the same",
    ] {
        comes_to(&answering_once(answer), 0, json!({"200": 12}), json!({}));
    }
}

#[test]
fn answers_that_are_no_http() {
    for answer in [
        "HTTP/1.1 099 Low\r\n\r\n",
        "HTTP/1.1 20 Short\r\n\r\n",
        "HTTP/1.1 2000 Long\r\n\r\n",
        "HTTP/7.7 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntoo long\r\n0\r\n\r\n",
    ] {
        let url = answering(answer).0;
        comes_to(&url, 1, json!({}), json!({"not_http": 12}));
    }
}

#[test]
fn answers_cut_short() {
    for (answer, kind) in [
        ("HTTP/1.1 200 OK\r\nContent-Le", "closed_before_answer"),
        ("HTTP/1.1 100 Continue\r\n\r\n", "closed_before_answer"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
            "closed_within_answer",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
            "closed_within_answer",
        ),
    ] {
        let url = answering_once(answer);
        comes_to(&url, 1, json!({}), json!({kind: 12}));
    }
}

#[test]
fn answers_that_dribble_time_out() {
    for (head, more) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", "x"),
        ("HTTP/1.1 200 OK\r\nX-Slow: ", "x"),
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
        ("", "HTTP/1.1 102 Processing\r\n\r\n"),
    ] {
        let url = destination(dribbling(head, more));
        comes_to(&url, 1, json!({}), json!({"timeout": 12}));
    }
}

#[test]
fn a_flood_of_interim_answers_times_out() {
    let url = destination(|stream| {
        read_request(stream);
        let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        while stream.write_all(flood.as_bytes()).is_ok() {}
    });
    let wishes = ["trigger", "carrier.sent", "handset.delivered", "--to", &url];
    let options = ["--timeout", "300ms", "--retry", "none", "--format", "json"];
    let ran = run(&[&wishes[..], &options].concat());
    let report = ran.expect_code(1).json();
    accounted_for(&report);
    assert_eq!(report["errors"], json!({"timeout": 2}));
}

#[test]
fn heads_that_are_too_large() {
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "X-Header: x\r\n".repeat(20_000)
    );
    let long = format!(
        "HTTP/1.1 200 OK\r\nX-Header: {}\r\n\r\n",
        "x".repeat(1_000_000)
    );
    for answer in [many, long] {
        comes_to(
            &answering(answer).0,
            1,
            json!({}),
            json!({"head_too_large": 12}),
        );
    }
}

#[test]
fn chunks_that_say_too_much_are_not_read_to_the_end() {
    let url = destination(|stream| {
        read_request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;");
        while stream.write_all(&[b'x'; 65_536]).is_ok() {}
    });
    comes_to(&url, 1, json!({}), json!({"not_http": 12}));
}

#[test]
fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    for (first, second, code, status) in [
        ("200 OK", "500 No", 0, "200"),
        ("500 No", "200 OK", 1, "500"),
    ] {
        for length in [2, 0] {
            let body = &"ok"[..length];
            let (url, connections) = answering(format!(
                "HTTP/1.1 {first}\r\nContent-Length: {length}\r\n\r\n{body}\
                 HTTP/1.1 {second}\r\nContent-Length: 0\r\n\r\n"
            ));
            comes_to(&url, code, json!({status: 12}), json!({}));
            assert_eq!(connections.load(Ordering::SeqCst), 13);
        }
    }
    let too_short = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more").0;
    comes_to(&too_short, 0, json!({"200": 12}), json!({}));
}

#[test]
fn one_that_answers_before_it_has_read() {
    let after_a_byte = destination(|stream| {
        while let Ok(1) = stream.read(&mut [0; 1]) {
            if stream.write_all(SOUND).is_err() || !read_request(stream) {
                return;
            }
        }
    });
    comes_to(&after_a_byte, 0, json!({"200": 12}), json!({}));
    // Whether this is before or after the request depends on how fast both are.
    let at_once = destination(|stream| {
        let _ = stream.write_all(SOUND);
        read_request(stream);
    });
    let (_, report) = report(&at_once, &["--retry", "none"]);
    assert_eq!(
        report["responses"]["200"].as_u64().unwrap_or(0),
        report["accepted"]
    );
}

/// How often each attempt of each delivery came.
type Seen = Arc<Mutex<BTreeMap<String, usize>>>;

/// Takes down which attempt a request is.
fn see(seen: &Seen, request: &str) {
    let marks = request
        .lines()
        .filter(|line| line.starts_with("x-vibes-mock-"));
    let marks = marks.collect::<Vec<_>>().join(" ");
    *seen.lock().unwrap().entry(marks).or_default() += 1;
}

/// Runs against a server that takes down what it sees. No attempt may come twice; gives the report and how
/// many came.
fn seen_once(behave: impl Fn(&mut TcpStream, &Seen) + Send + Sync + 'static) -> (Value, usize) {
    let seen = Seen::default();
    let list = Arc::clone(&seen);
    let url = destination(move |stream| behave(stream, &list));
    let more = ["--mark", "--retry", "vibes", "--connections", "3"];
    let (_, report) = report(&url, &more);
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
    (report, seen.len())
}

const SOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[test]
fn one_that_closes_after_each_answer_without_a_word() {
    for pause in [0, 2] {
        let (report, seen) = seen_once(move |stream, seen| {
            if let Some(request) = request(stream) {
                see(seen, &request);
                let _ = stream.write_all(SOUND);
                std::thread::sleep(Duration::from_millis(pause));
            }
        });
        // What crossed a close was not read, and was tried again.
        assert_eq!((&report["accepted"], seen), (&12.into(), 12), "{report}");
        let crossed = report["errors"]["closed_before_answer"].as_u64();
        assert_eq!(report["attempts"], 12 + crossed.unwrap_or(0), "{report}");
    }
}

#[test]
fn one_that_reads_a_second_request_and_closes() {
    let (report, seen) = seen_once(|stream, seen| {
        for answered in [true, false] {
            let Some(request) = request(stream) else {
                return;
            };
            see(seen, &request);
            if answered {
                let _ = stream.write_all(SOUND);
            }
        }
    });
    assert_eq!(report["accepted"], 12, "{report}");
    // It may have processed what it did not answer, so each one is an attempt of its own.
    assert_eq!(report["attempts"], seen, "{report}");
    assert_eq!(
        report["errors"]["closed_before_answer"],
        seen - 12,
        "{report}"
    );
}

#[test]
fn one_that_resets_the_connection_within_the_second_request() {
    let (report, seen) = seen_once(|stream, seen| {
        let Some(request) = request(stream) else {
            return;
        };
        see(seen, &request);
        let _ = stream.write_all(SOUND);
        // What is left unread turns the close into a reset.
        let _ = stream.read(&mut [0; 1]);
    });
    assert_eq!((&report["accepted"], seen), (&12.into(), 12), "{report}");
    assert_eq!(
        report["attempts"].as_u64().unwrap() - 12,
        report["errors"]["closed_before_answer"],
        "{report}"
    );
}

#[test]
fn one_that_resets_every_connection() {
    all_fail(
        |stream| {
            let _ = stream.read(&mut [0; 1]);
        },
        "closed_before_answer",
    );
}

#[test]
fn one_that_is_down_is_not_hammered() {
    let (url, connections) = counted(|_| {});
    let scenario = "seed: 1\ndowned: {after: 3, pause: 20m}\nevents: [{event_type: a, count: 3}]";
    let ran = fire(&url, scenario, &["--connections", "1"]);
    let report = ran.expect_code(1).json();
    accounted_for(&report);
    assert_eq!(report["failed"], 12);
    let attempts = report["attempts"].as_u64().unwrap();
    // The last pause may be one that nothing comes after.
    assert_eq!(attempts.div_ceil(3), report["times_down"], "{report}");
    // One more tries whether anybody is there; one a delivery attempt.
    assert_eq!(connections.load(Ordering::SeqCst) as u64, attempts + 1);
}

#[test]
fn localhost_is_found_where_the_receiver_listens() {
    let (url, _) = answering(SOUND);
    comes_to(
        &url.replace("127.0.0.1", "localhost"),
        0,
        json!({"200": 12}),
        json!({}),
    );
}

/// A name that has no address any more once the run has begun.
#[tokio::test]
async fn one_whose_name_is_gone() {
    use vibes_mock::delivery::clock::Clock;
    use vibes_mock::delivery::target::Target;
    use vibes_mock::delivery::tls::Transport;
    use vibes_mock::delivery::{Attempt, Engine, Observer, StopSignal};
    use vibes_mock::plan::{Parameters, Plan, Shard};
    use vibes_mock::timeline::{Feed, Timeline};
    use vibes_mock::{Scenario, Speed};

    struct Kinds(Arc<Mutex<Vec<&'static str>>>);

    impl Observer for Kinds {
        fn attempt(&mut self, attempt: &Attempt<'_>, _: &mut dyn Feed) -> std::io::Result<()> {
            let failure = attempt.answer.as_ref().unwrap_err();
            self.0.lock().unwrap().push(failure.kind.name());
            Ok(())
        }
    }

    let scenario = Arc::new(Scenario::parse("gone", &format!("{EVENTS}\nretry: none")).unwrap());
    let url = "http://no-such-host.invalid/";
    let timeout = Duration::from_secs(30);
    let transport = Transport::default();
    let target = Target::new(url, &scenario.destination, &[], timeout, false, &transport);
    let parameters = Parameters {
        seed: 1,
        start: "2026-01-01T00:00:00Z".parse().unwrap(),
        shard: Shard::WHOLE,
    };
    let plan = Plan::new(Arc::clone(&scenario), parameters);
    let kinds = Arc::default();
    let engine = Engine {
        timeline: Timeline::new(Box::new(plan), &scenario.settings),
        target: target.unwrap(),
        clock: Clock::at(0, Speed::Max),
        connections: 2,
        observers: vec![Box::new(Kinds(Arc::clone(&kinds)))],
        stepper: None,
        stop: StopSignal::default(),
        journal: None,
        thread: 0,
    };
    let ending = engine.run().await;
    assert_eq!((ending.unfinished, ending.broken), (0, None));
    assert_eq!(*kinds.lock().unwrap(), ["name_not_found"; 12]);
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::process::Command;
    use std::sync::mpsc;

    use outside::{Process, finish, program};

    #[test]
    fn too_few_file_descriptors() {
        let slow = destination(|stream| {
            while read_request(stream) {
                std::thread::sleep(Duration::from_millis(20));
                let _ = stream.write_all(SOUND);
            }
        });
        for url in [slow.replace("127.0.0.1", "localhost"), slow] {
            let plain = program();
            let mut command = Command::new("sh");
            command
                .args(["-c", "ulimit -n 20; exec \"$0\" \"$@\""])
                .arg(plain.get_program())
                .args([
                    "run", "-", "--to", &url, "--speed", "max", "--retry", "none",
                ])
                .args([
                    "--format",
                    "json",
                    "--timeout",
                    "30s",
                    "--connections",
                    "64",
                ]);
            let events = "seed: 1\nevents: [{event_type: a, count: 100}]";
            let ran = finish(&mut command, events);
            assert!(!ran.err.contains("panicked"), "{}", ran.err);
            let report = ran.json();
            accounted_for(&report);
            assert_eq!(report["callbacks"], 400);
            assert_ne!(report["accepted"], 0);
            // Nothing else went wrong.
            assert_eq!(
                report["errors"],
                json!({"out_of_resources": report["failed"]}),
                "{report}"
            );
        }
    }

    #[test]
    fn ctrl_c_while_every_request_hangs() {
        let (came, requests) = mpsc::channel();
        let url = destination(move |stream| {
            if read_request(stream) {
                let _ = came.send(());
                // Until the client has gone.
                let _ = stream.read(&mut [0; 1]);
            }
        });
        let mut command = program();
        command
            .args([
                "run",
                "happy-path",
                "--to",
                &url,
                "--speed",
                "max",
                "--retry",
                "none",
            ])
            .args(["--format", "json", "--timeout", "1s"]);
        let process = Process::start(&mut command);
        requests.recv_timeout(outside::PATIENCE).unwrap();
        process.interrupt();
        let report = process.end().expect_code(130).json();
        assert_eq!(report["interrupted"], true);
        accounted_for(&report);
        assert_eq!(report["accepted"], 0);
    }
    #[test]
    fn nobody_waits_for_what_a_fault_makes_slow() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s.yaml");
        let slow = "events: [{event_type: a}]\nfaults: [{fault: slow_body, over: 1h}]\n";
        std::fs::write(&file, slow).unwrap();
        let (told, came) = mpsc::channel();
        let url = destination(move |stream| {
            let _ = stream.read(&mut [0; 1]);
            let _ = told.send(());
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let mut command = program();
        command.arg("run").arg(&file).args(["--to", &url]);
        command.args(["--speed", "max", "--format", "json", "--timeout", "1s"]);
        let process = Process::start(&mut command);
        came.recv_timeout(outside::PATIENCE).unwrap();
        process.interrupt();
        let report = process.end().expect_code(130).json();
        assert_eq!(report["interrupted"], true);
        assert!(report["unfinished"].as_u64().unwrap() > 0, "{report}");
    }
}
