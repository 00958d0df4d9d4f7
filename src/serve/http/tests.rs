//! Over connections in memory and a clock that stands, but for what is about the listener itself.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::super::endpoint::{Endpoint, Side};
use super::super::guard::Guard;
use super::super::sse;
use super::*;

#[derive(Default)]
struct Hub {
    pulled: AtomicUsize,
    news: Notify,
    entered: Notify,
}

fn table() -> Dispatch<Hub> {
    let endpoints = vec![
        Endpoint::new(
            Side::Vibes,
            Method::POST,
            "/companies/{key}/events",
            "post",
            "",
            |call| {
                Box::pin(async move {
                    let answer = json!({"key": call.path("key"), "length": call.body.len()});
                    Reply::json(202, &answer)
                })
            },
        )
        .path::<String>("key", "")
        .max_body(1000),
        Endpoint::new(Side::Open, Method::GET, "/healthz", "health", "", |_| {
            Box::pin(async { Reply::bytes(200, "text/plain", "fine") })
        }),
        Endpoint::new(
            Side::Mock,
            Method::GET,
            "/_mock/wait",
            "wait",
            "",
            |call: Call<Hub>| {
                Box::pin(async move {
                    let _place = match call.permits.wait() {
                        Ok(place) => place,
                        Err(reply) => return reply,
                    };
                    call.hub.entered.notify_one();
                    tokio::select! {
                        () = call.hub.news.notified() => Reply::bytes(200, "text/plain", "news"),
                        () = call.permits.stopping() => Reply::bytes(200, "text/plain", "none"),
                        () = sleep(Duration::from_secs(100)) => Reply::bytes(200, "text/plain", "late"),
                    }
                })
            },
        ),
        Endpoint::new(
            Side::Mock,
            Method::GET,
            "/_mock/stuck",
            "stuck",
            "",
            |call: Call<Hub>| {
                Box::pin(async move {
                    call.hub.entered.notify_one();
                    call.hub.news.notified().await;
                    Reply::empty(204)
                })
            },
        ),
        Endpoint::new(
            Side::Mock,
            Method::GET,
            "/_mock/stream",
            "stream",
            "",
            |call: Call<Hub>| {
                Box::pin(async move {
                    match call.permits.stream() {
                        Ok(place) => sse::reply(place, (call.hub, 0), |(hub, id)| async move {
                            hub.news.notified().await;
                            Some((sse::event(id, "news", "{}"), (hub, id + 1)))
                        }),
                        Err(reply) => reply,
                    }
                })
            },
        ),
        Endpoint::new(
            Side::Mock,
            Method::GET,
            "/_mock/flood",
            "flood",
            "",
            |call: Call<Hub>| {
                Box::pin(async move {
                    Reply::stream("text/plain", call.hub, |hub| async move {
                        hub.pulled.fetch_add(1, Ordering::Relaxed);
                        Some((Bytes::from_static(&[b'x'; 1000]), hub))
                    })
                })
            },
        ),
    ];
    Dispatch::new(endpoints, Guard::new(vec![], None, None)).unwrap()
}

fn shared(limits: Limits) -> Arc<Shared<Hub>> {
    Arc::new(Shared {
        hub: Arc::default(),
        dispatch: table(),
        permits: Arc::new(Permits::new(limits.streams, limits.waits)),
        limits,
    })
}

fn connect(shared: &Arc<Shared<Hub>>) -> DuplexStream {
    let (here, there) = duplex(4096);
    tokio::spawn(converse(there, Arc::clone(shared)));
    here
}

/// An hour of the clock that stands is over as soon as nothing else happens.
async fn in_the_end<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), future)
        .await
        .expect("it never ends")
}

/// Sends all that and gives all that comes back until the server has enough of the silence.
async fn talk(sent: impl AsRef<[u8]>) -> String {
    let (mut reader, mut writer) = tokio::io::split(connect(&shared(Limits::default())));
    let sent = sent.as_ref().to_vec();
    let writing = tokio::spawn(async move {
        // The server may have enough before that.
        let _ = writer.write_all(&sent).await;
        writer
    });
    let mut got = Vec::new();
    let _ = in_the_end(reader.read_to_end(&mut got)).await;
    writing.abort();
    String::from_utf8(got).unwrap()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(headers: &str, body: &str) -> String {
    format!("POST /companies/k/events HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n{body}")
}

fn post_of(length: usize) -> String {
    post(&format!("Content-Length: {length}"), &"x".repeat(length))
}

/// The statuses of the answers, one after the other.
fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect()
}

/// Reads until a text has come.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), text: &str) -> String {
    let mut got = String::new();
    while !got.contains(text) {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {got:?}, no {text:?}");
        got.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    got
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let sent = [post_of(1), post_of(22), get("/healthz"), post_of(333)].concat();
    let got = talk(sent).await;
    assert_eq!(statuses(&got), ["202", "202", "200", "202"]);
    let places: Vec<_> = ["\"length\":1}", "\"length\":22}", "fine", "\"length\":333}"]
        .map(|text| got.find(text).unwrap())
        .to_vec();
    assert!(places.is_sorted(), "{got}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_kept_back_for_the_rest_of_the_next_request() {
    let mut stream = connect(&shared(Limits::default()));
    stream
        .write_all((get("/healthz") + "GET /hea").as_bytes())
        .await
        .unwrap();
    let begun = Instant::now();
    read_until(&mut stream, "fine").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    stream
        .write_all(b"lt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stream, "404").await;
}

#[tokio::test(start_paused = true)]
async fn head_is_get_without_a_body() {
    let got =
        talk("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned() + &get("/nothing"))
            .await;
    assert_eq!(statuses(&got), ["200", "404"]);
    assert!(got.contains("content-length: 4"), "{got}");
    assert!(!got.contains("fine"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_not_begun_for_head() {
    let limits = Limits {
        streams: 1,
        ..Limits::default()
    };
    let shared = shared(limits);
    let mut stream = connect(&shared);
    for _ in 0..3 {
        let head = get("/_mock/stream").replace("GET", "HEAD");
        stream.write_all(head.as_bytes()).await.unwrap();
        let got = read_until(&mut stream, "\r\n\r\n").await;
        assert_eq!(statuses(&got), ["200"]);
    }
}

#[tokio::test(start_paused = true)]
async fn other_methods_and_slashes_at_the_end() {
    let sent = get("/companies/k/events") + &get("/healthz/") + &get("/healthz//");
    let got = talk(sent).await;
    assert_eq!(statuses(&got), ["405", "200", "404"]);
    assert!(got.contains("allow: POST\r\n"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn names_in_the_path_are_decoded() {
    let got = talk(post_of(0).replace("/k/", "/a%20%C3%BC/")).await;
    assert!(got.contains("\"key\":\"a ü\""), "{got}");
    for path in ["a%2Fb", "a%00b", "%ff"] {
        let got = talk(post_of(0).replace("/k/", &format!("/{path}/"))).await;
        assert_eq!(statuses(&got), ["400"], "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_body_and_one_more_byte() {
    assert_eq!(statuses(&talk(post_of(1000)).await), ["202"]);
    let chunks = |count: usize| {
        let body = format!("1f4\r\n{}\r\n", "x".repeat(500)).repeat(count) + "0\r\n\r\n";
        post("Transfer-Encoding: chunked", &body)
    };
    let got = talk(chunks(2)).await;
    assert_eq!(statuses(&got), ["202"]);
    assert!(got.contains("\"length\":1000}"), "{got}");
    for sent in [post_of(1001), chunks(3), post_of(100_000)] {
        let got = talk(sent + &get("/healthz")).await;
        assert_eq!(statuses(&got), ["413"]);
        assert!(got.contains("at most 1000 bytes"), "{got}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_read_so_far_and_no_further() {
    let sent = post(
        &format!("Content-Length: {}", u32::MAX),
        &"x".repeat(MAX_FORGOTTEN + 100_000),
    );
    assert_eq!(statuses(&talk(sent).await), ["413"]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_first_need_not_send_in_vain() {
    let asking = |length| {
        post(
            &format!("Content-Length: {length}\r\nExpect: 100-continue"),
            "",
        )
    };
    let got = talk(asking(1000) + &"x".repeat(1000)).await;
    assert_eq!(statuses(&got), ["100", "202"]);
    assert_eq!(statuses(&talk(asking(1001)).await), ["413"]);
    let elsewhere = asking(10).replace("/events", "/nothing");
    assert_eq!(statuses(&talk(elsewhere).await), ["404"]);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_refused_request_is_no_request() {
    let sent = post_of(500).replace("/events", "/nothing") + &get("/healthz");
    assert_eq!(statuses(&talk(sent).await), ["404", "200"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_up_on() {
    let mut stream = connect(&shared(Limits::default()));
    let begun = Instant::now();
    stream
        .write_all(post("Content-Length: 1000", "x").as_bytes())
        .await
        .unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let dripping = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut got = String::new();
    in_the_end(reader.read_to_string(&mut got)).await.unwrap();
    assert_eq!(statuses(&got), ["408"]);
    assert_eq!(begun.elapsed().as_secs(), 10);
    dripping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_given_up_on() {
    for before in [String::new(), get("/healthz")] {
        let mut stream = connect(&shared(Limits::default()));
        if !before.is_empty() {
            stream.write_all(before.as_bytes()).await.unwrap();
            read_until(&mut stream, "fine").await;
            sleep(Duration::from_secs(20)).await;
        }
        let begun = Instant::now();
        for byte in get("/healthz").bytes().cycle() {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(900)).await;
            // Never gets to its end.
            if begun.elapsed() > Duration::from_secs(15) {
                break;
            }
        }
        let mut got = String::new();
        let _ = in_the_end(stream.read_to_string(&mut got)).await;
        assert_eq!(got, "");
        assert!(
            begun.elapsed() < Duration::from_secs(12),
            "{:?}",
            begun.elapsed()
        );
    }
}

/// The connection is closed without another word.
async fn ends(stream: &mut DuplexStream) {
    let read = in_the_end(stream.read_to_end(&mut Vec::new())).await;
    assert_eq!(read.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn silence_is_borne_for_a_while() {
    let mut stream = connect(&shared(Limits::default()));
    let begun = Instant::now();
    ends(&mut stream).await;
    assert_eq!(begun.elapsed().as_secs(), 10);

    let mut stream = connect(&shared(Limits::default()));
    for _ in 0..5 {
        stream.write_all(get("/healthz").as_bytes()).await.unwrap();
        read_until(&mut stream, "fine").await;
        sleep(Duration::from_secs(25)).await;
    }
    let begun = Instant::now();
    ends(&mut stream).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_us_may_be_silent() {
    let mut stream = connect(&shared(Limits::default()));
    stream
        .write_all(get("/_mock/wait").as_bytes())
        .await
        .unwrap();
    read_until(&mut stream, "late").await;
    // And is then expected to say something again.
    let begun = Instant::now();
    ends(&mut stream).await;
    assert!(
        begun.elapsed() <= Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn heads_that_are_too_large() {
    let with =
        |headers: String| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let many = |count| with((0..count).map(|n| format!("X-{n}: x\r\n")).collect());
    assert_eq!(statuses(&talk(many(99)).await), ["200"]);
    assert_eq!(statuses(&talk(many(100)).await), ["431"]);
    let long = |length| with(format!("X: {}\r\n", "x".repeat(length)));
    assert_eq!(statuses(&talk(long(60_000)).await), ["200"]);
    assert_eq!(statuses(&talk(long(70_000)).await), ["431"]);
    // The end of the line never comes.
    let target = format!("GET /{}", "x".repeat(200_000));
    assert!(matches!(statuses(&talk(target).await)[..], ["431" | "414"]));
}

#[tokio::test(start_paused = true)]
async fn nobody_can_be_of_two_minds_about_where_a_request_ends() {
    let hidden = get("/healthz");
    let length = format!("Content-Length: {}", hidden.len() + 5);
    let body = format!("0\r\n\r\n{hidden}");
    let chunked = "Transfer-Encoding: chunked";
    for (headers, expected) in [
        (format!("{length}\r\n{chunked}"), "202"),
        (format!("{chunked}\r\n{length}"), "202"),
        (format!("{chunked}\r\n{length}\r\n{length}"), "202"),
        (
            format!("{length}\r\nTransfer-Encoding: chunked, identity"),
            "400",
        ),
        (format!("{length}\r\nTransfer-Encoding: xchunked"), "400"),
        ("Transfer-Encoding: identity, chunked".to_owned(), "501"),
        (format!("{chunked}\r\n{chunked}"), "501"),
        (format!("{length}\r\nTransfer-Encoding : chunked"), "400"),
        (format!("{length}\r\nTransfer-Encoding:\r\n chunked"), "400"),
        ("Content-Length: 0\r\nContent-Length: 5".to_owned(), "400"),
        ("Content-Length: 0, 5".to_owned(), "400"),
        ("Content-Length: +5".to_owned(), "400"),
        ("Content-Length: -5".to_owned(), "400"),
        ("Content-Length: 5 5".to_owned(), "400"),
        ("Content-Length: 0x5".to_owned(), "400"),
        ("Content-Length: 99999999999999999999999".to_owned(), "400"),
    ] {
        let got = talk(post(&headers, &body)).await;
        assert_eq!(statuses(&got), [expected], "{headers}");
    }
    // Chunks whose lengths are none.
    for chunk in [
        "5x\r\nabcde\r\n",
        "-5\r\nabcde\r\n",
        "0x5\r\nabcde\r\n",
        "fffffffffffffffff\r\nabcde\r\n",
    ] {
        let got = talk(post(chunked, &format!("{chunk}0\r\n\r\n{hidden}"))).await;
        assert_eq!(statuses(&got), ["400"], "{chunk}");
    }
    let old = post(chunked, &body).replace("HTTP/1.1", "HTTP/1.0");
    assert!(!talk(old).await.contains("fine"));
}

#[tokio::test(start_paused = true)]
async fn hosts_and_pages_that_are_not_ours() {
    for (line, expected) in [
        ("GET /healthz HTTP/1.1\r\n", "400"),
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
            "400",
        ),
        ("GET /healthz HTTP/1.1\r\nHost: evil.example.com\r\n", "421"),
        (
            "GET http://evil.example.com/healthz HTTP/1.1\r\nHost: localhost\r\n",
            "400",
        ),
        (
            "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n",
            "200",
        ),
        (
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example.com\r\n",
            "403",
        ),
        (
            "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n",
            "404",
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", "404"),
    ] {
        let got = talk(format!("{line}\r\n")).await;
        assert_eq!(statuses(&got), [expected], "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn noise_is_no_harm() {
    for noise in [
        "\r\n\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\0",
        "GET\r\n\r\n",
        "\0\0\0\0\n\n",
    ] {
        let got = talk(noise).await;
        assert!(
            statuses(&got)
                .iter()
                .all(|status| status.starts_with(['4', '5'])),
            "{noise:?} {got}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn streams_bring_events_and_beat_between_them() {
    let shared = shared(Limits::default());
    let mut stream = connect(&shared);
    stream
        .write_all(get("/_mock/stream").as_bytes())
        .await
        .unwrap();
    let begun = Instant::now();
    let got = read_until(&mut stream, "retry: 1000").await;
    assert!(got.contains("content-type: text/event-stream"), "{got}");
    shared.hub.news.notify_one();
    read_until(&mut stream, "id: 0\nevent: news\ndata: {}\n\n").await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    for beat in 1..=10 {
        read_until(&mut stream, ":\n\n").await;
        assert_eq!(begun.elapsed(), sse::HEARTBEAT * beat);
    }
    shared.hub.news.notify_one();
    read_until(&mut stream, "id: 1\n").await;
}

#[tokio::test(start_paused = true)]
async fn streams_and_waits_are_bounded_and_free_when_their_clients_leave() {
    for (path, answer) in [("/_mock/stream", "retry"), ("/_mock/wait", "")] {
        let limits = Limits {
            streams: 2,
            waits: 2,
            ..Limits::default()
        };
        let shared = shared(limits);
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&shared);
            stream.write_all(get(path).as_bytes()).await.unwrap();
            if answer.is_empty() {
                shared.hub.entered.notified().await;
            } else {
                read_until(&mut stream, answer).await;
            }
            open.push(stream);
        }
        let mut late = connect(&shared);
        late.write_all(get(path).as_bytes()).await.unwrap();
        let got = read_until(&mut late, "}]}").await;
        assert_eq!(statuses(&got), ["503"]);
        assert!(got.contains("retry-after: 1"), "{got}");
        if got.contains("connection: close") {
            // It gives its place to others.
            assert_eq!(path, "/_mock/stream");
            late = connect(&shared);
        }
        // Whoever asks and goes is answered all the same.
        late.write_all(get("/healthz").as_bytes()).await.unwrap();
        read_until(&mut late, "fine").await;

        open.pop();
        while shared.permits.stream().is_err() || shared.permits.wait().is_err() {
            tokio::task::yield_now().await;
        }
        late.write_all(get(path).as_bytes()).await.unwrap();
        if answer.is_empty() {
            shared.hub.entered.notified().await;
        } else {
            read_until(&mut late, answer).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_costs_no_memory_and_not_for_ever() {
    let shared = shared(Limits::default());
    let mut stream = connect(&shared);
    // Half a request behind it, for that is when hyper may stop to look at what it holds.
    stream
        .write_all((get("/_mock/flood") + "GET /").as_bytes())
        .await
        .unwrap();
    let pulled = || shared.hub.pulled.load(Ordering::Relaxed);
    sleep(Duration::from_secs(20)).await;
    let held = pulled();
    assert!((1..200).contains(&held), "{held} pieces of 1000 bytes");
    stream.read_exact(&mut [0; 100_000]).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    assert!(
        (held + 50..held + 200).contains(&pulled()),
        "{held}, then {}",
        pulled()
    );
    // Now it has had enough: nothing was taken for as long as a client may be silent.
    sleep(Duration::from_secs(20)).await;
    let mut rest = Vec::new();
    let _ = in_the_end(stream.read_to_end(&mut rest)).await;
    assert!(rest.len() < 100_000, "{}", rest.len());
}

/// Over real sockets; nothing takes long if all is well.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), future)
        .await
        .expect("it hangs")
}

struct Running {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: Arc<Notify>,
    served: tokio::task::JoinHandle<usize>,
}

async fn start(limits: Limits) -> Running {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0)), limits)
        .await
        .unwrap();
    let address = server.address().unwrap();
    let hub = Arc::<Hub>::default();
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let served = server.serve(Arc::clone(&hub), table(), async move {
        stopped.notified().await
    });
    Running {
        address,
        hub,
        stop,
        served: tokio::spawn(served),
    }
}

impl Running {
    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(get(path).as_bytes()).await.unwrap();
        stream
    }
}

#[tokio::test]
async fn the_end_lets_calls_end() {
    let server = start(Limits::default()).await;
    let mut idle = server.ask("/healthz").await;
    soon(read_until(&mut idle, "fine")).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut stream = server.ask("/_mock/stream").await;
    soon(read_until(&mut stream, "retry")).await;
    let mut wait = server.ask("/_mock/wait").await;
    soon(server.hub.entered.notified()).await;
    let mut stuck = server.ask("/_mock/stuck").await;
    soon(server.hub.entered.notified()).await;

    server.stop.notify_one();
    let mut got = String::new();
    soon(wait.read_to_string(&mut got)).await.unwrap();
    assert!(
        got.contains("connection: close") && got.ends_with("none"),
        "{got}"
    );
    // A stream that ends well ends with its last chunk.
    let mut got = String::new();
    soon(stream.read_to_string(&mut got)).await.unwrap();
    assert!(got.ends_with("0\r\n\r\n"), "{got:?}");
    for mut other in [idle, std::mem::replace(&mut silent, wait)] {
        assert_eq!(soon(other.read(&mut [0; 10])).await.unwrap(), 0);
    }
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(!server.served.is_finished());

    server.hub.news.notify_waiters();
    let mut got = String::new();
    soon(stuck.read_to_string(&mut got)).await.unwrap();
    assert_eq!(statuses(&got), ["204"]);
    assert_eq!(soon(server.served).await.unwrap(), 0);
}

#[tokio::test]
async fn the_end_comes_even_if_a_call_does_not_end() {
    let patience = Duration::from_millis(20);
    let server = start(Limits {
        patience,
        ..Limits::default()
    })
    .await;
    let mut stuck = server.ask("/_mock/stuck").await;
    soon(server.hub.entered.notified()).await;
    server.stop.notify_one();
    assert_eq!(soon(server.served).await.unwrap(), 1);
    assert_eq!(
        soon(stuck.read_to_end(&mut Vec::new())).await.unwrap_or(0),
        0
    );
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let server = start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let mut first = server.ask("/_mock/wait").await;
    soon(server.hub.entered.notified()).await;
    let mut second = server.ask("/healthz").await;
    server.hub.news.notify_waiters();
    let got = soon(read_until(&mut first, "news")).await;
    assert_eq!(statuses(&got), ["200"]);
    assert_eq!(
        second.try_read(&mut [0; 10]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    drop(first);
    soon(read_until(&mut second, "fine")).await;
}
