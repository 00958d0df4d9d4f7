//! Destinations that misbehave: the run ends, every delivery is accounted for, and the report says what
//! happened.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use outside::run_with_input;
use serde_json::Value;

/// Serves each connection with `behave`, on a thread of its own, for as long as the test runs.
fn destination(behave: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || behave(&mut stream));
        }
    });
    url
}

fn read_request(stream: &mut TcpStream) -> bool {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        text.extend_from_slice(&buffer[..read]);
        if text.ends_with(b"}}}") {
            return true;
        }
    }
    false
}

const EVENTS: &str = "seed: 1\nevents: [{event_type: a, count: 3}]";

fn report(url: &str, more: &[&str]) -> (Option<i32>, Value) {
    let mut arguments = vec![
        "run",
        "-",
        "--to",
        url,
        "--speed",
        "max",
        "--format",
        "json",
        "--timeout",
        "300ms",
        "--retry",
        "1x10s",
    ];
    arguments.extend(more);
    let ran = run_with_input(&arguments, EVENTS);
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    (ran.code, ran.json())
}

/// All twelve callbacks fail for one kind of reason, each after two attempts.
fn all_fail(behave: fn(&mut TcpStream), kind: &str) {
    let (code, report) = report(&destination(behave), &[]);
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
    assert_eq!(report["errors"][kind], 24, "{report}");
    assert!(
        report["error_examples"][kind]
            .as_str()
            .is_some_and(|words| !words.is_empty())
    );
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
        |stream| {
            read_request(stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while stream.write_all(b"1\r\nx\r\n").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        },
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
        ("HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n", 1, 24),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                while read_request(&mut stream) && stream.write_all(answer.as_bytes()).is_ok() {}
            }
        });
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
    use std::sync::atomic::{AtomicUsize, Ordering};
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
