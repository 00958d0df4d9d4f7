//! How fast `serve` accepts events and delivers what comes of them, against a bare hyper server that only
//! reads the JSON and answers 202. Everything runs on this machine, each part as a process of its own:
//!
//! ```sh
//! cargo bench --bench serve              # everything, about three minutes
//! cargo bench --bench serve -- accept    # one part: accept, data, companies, pending, start
//! ```
//!
//! docs/performance.md says what came of it. Nothing else should run meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vibes_mock::serve::hub::Options;
use vibes_mock::serve::mock::{Setup, VibesMock, runtime};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Any<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Any<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["role", "bare"] => one_thread(bare()),
        ["role", "receiver"] => one_thread(receiver()),
        ["role", "serve", data @ ..] => serve(data),
        ["role", "client", address, how] => one_thread(client(address.parse()?, how)),
        [] => {
            for part in ["accept", "data", "companies", "pending", "start"] {
                measure(part)?;
            }
            Ok(())
        }
        [part] => measure(part),
        _ => Err("name one of: accept, data, companies, pending, start".into()),
    }
}

fn one_thread(work: impl Future<Output = Any<()>>) -> Any<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Says where a process listens.
fn say(address: SocketAddr) -> Any<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{address}")?;
    Ok(out.flush()?)
}

/// Reads the JSON and answers 202: what any server in Rust would take for it.
async fn bare() -> Any<()> {
    async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let body = request.into_body().collect().await?.to_bytes();
        let read: Result<Value, _> = serde_json::from_slice(&body);
        let status = match read {
            Ok(_) => StatusCode::ACCEPTED,
            Err(_) => StatusCode::BAD_REQUEST,
        };
        let mut response = Response::new(Full::from(&b"{\"event_id\":\"1\"}"[..]));
        *response.status_mut() = status;
        Ok(response)
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
        );
    }
}

/// Answers 200 to whatever comes, and tells how much has come whenever it is asked (`GET`).
async fn receiver() -> Any<()> {
    let count = Arc::new(AtomicU64::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(listener.local_addr()?)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let count = Arc::clone(&count);
        tokio::spawn(async move {
            let mut buffer = Vec::with_capacity(16 * 1024);
            loop {
                let Some(request) = read_message(&mut stream, &mut buffer).await else {
                    return;
                };
                let answer = match request.starts_with(b"GET") {
                    true => {
                        let count = count.load(Ordering::Relaxed).to_string();
                        format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{count}",
                            count.len()
                        )
                    }
                    false => {
                        count.fetch_add(1, Ordering::Relaxed);
                        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()
                    }
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The next request or answer on a connection: head and body, by its length.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).ok()?;
            let length = head
                .split("\r\n")
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .and_then(|(_, length)| length.trim().parse::<usize>().ok())
                .unwrap_or(0);
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let rest = buffer.split_off(whole);
                return Some(std::mem::replace(buffer, rest));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// The server, in memory or with a file.
fn serve(data: &[&str]) -> Any<()> {
    let setup = Setup {
        options: Options {
            seed: 1,
            ..Options::default()
        },
        data: data.first().map(Into::into),
        ..Setup::default()
    };
    runtime()?.block_on(async {
        let started = setup.start().await?;
        say(started.address)?;
        started.serve(std::future::pending()).await;
        Ok(())
    })
}

/// Posts events over 32 connections and prints what came of it. `how` is JSON: `seconds`, `rate` (events a
/// second; as fast as it goes if 0), `companies`, `events` (ends after so many; 0 for no end).
async fn client(address: SocketAddr, how: &str) -> Any<()> {
    const CONNECTIONS: u64 = 32;
    let how: Value = serde_json::from_str(how)?;
    let number = |name: &str| how[name].as_u64().unwrap_or(0);
    let (seconds, rate, companies) = (
        number("seconds"),
        number("rate"),
        number("companies").max(1),
    );
    let events = match number("events") {
        0 => u64::MAX,
        events => events,
    };
    let sent = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..CONNECTIONS {
        let sent = Arc::clone(&sent);
        workers.push(tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut buffer = Vec::new();
            let mut latency = histogram()?;
            let mut refused = 0_u64;
            loop {
                let number = sent.fetch_add(1, Ordering::Relaxed);
                let due = match rate {
                    0 => began.elapsed(),
                    rate => Duration::from_nanos(number * 1_000_000_000 / rate),
                };
                if number >= events || due > Duration::from_secs(seconds) {
                    return Any::Ok((latency, refused));
                }
                if let Some(early) = due.checked_sub(began.elapsed()) {
                    tokio::time::sleep(early).await;
                }
                let body = format!(
                    "{{\"event_type\":\"day_of_delivery\",\"event_data\":{{\"first_name\":\"Bob\",\
                     \"external_person_id\":\"person-{number}\",\"delivery_time\":\"5:00 PM\",\
                     \"order_url\":\"https://example.com/orders/{number}\",\"store\":\"Store 17, Main Street\",\
                     \"items\":[\"one\",\"two\",\"three\"]}},\"debug_data\":{{\"field\":\"CUST_SYSTEM\"}}}}"
                );
                let company = number % companies;
                let request = format!(
                    "POST /companies/C{company}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                     Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(request.as_bytes()).await?;
                let answer = read_message(&mut stream, &mut buffer).await;
                let answer = answer.ok_or("the server closed the connection")?;
                refused += u64::from(!answer.starts_with(b"HTTP/1.1 202"));
                // From when it was due, so that a slow server cannot hide its own delay.
                let took = began.elapsed().saturating_sub(due);
                latency.saturating_record(took.as_micros() as u64);
            }
        }));
    }
    let mut all = histogram()?;
    let mut refused = 0;
    for worker in workers {
        let (latency, of_one) = worker.await??;
        all.add(latency)?;
        refused += of_one;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let ms = |quantile| all.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{}",
        json!({"accepted": all.len() - refused, "refused": refused, "per_second": (all.len() as f64 / elapsed) as u64,
               "elapsed_s": elapsed, "p50_ms": ms(0.5), "p99_ms": ms(0.99), "max_ms": ms(1.0)})
    );
    Ok(())
}

/// Microseconds, of any size.
fn histogram() -> Any<Histogram<u64>> {
    let mut histogram = Histogram::new_with_max(60_000_000, 3)?;
    histogram.auto(true);
    Ok(histogram)
}

/// A process of this program that plays a part; ended when dropped.
struct Part {
    child: Child,
    address: String,
}

impl Part {
    fn start(role: &[&str]) -> Any<Part> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("role")
            .args(role)
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut address = String::new();
        BufReader::new(out).read_line(&mut address)?;
        Ok(Part {
            child,
            address: address.trim().to_owned(),
        })
    }

    /// The server, in memory or with a file of its own among several.
    fn serve(data: Option<&str>, which: &impl std::fmt::Display) -> Any<Part> {
        match data {
            Some(file) => Part::start(&["serve", &format!("{file}-{which}")]),
            None => Part::start(&["serve"]),
        }
    }

    /// Asks for something; the answer's body.
    fn ask(&self, method: &str, path: &str, body: &str) -> Any<String> {
        let mut stream = std::net::TcpStream::connect(&self.address)?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut text = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut text)?;
        Ok(String::from_utf8(text)?)
    }

    /// A load; what the client printed.
    fn load(&self, how: &Value) -> Any<Value> {
        let ran = Command::new(std::env::current_exe()?)
            .args(["role", "client", &self.address, &how.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        Ok(serde_json::from_slice(&ran.stdout)?)
    }

    fn register(&self, company: u64, url: &str) -> Any<()> {
        let body = json!({"callback_type": "event_processed", "event_processed": {}, "destination": {"url": url}});
        let path = format!("/companies/C{company}/config/callbacks");
        self.ask("POST", &path, &body.to_string()).map(drop)
    }

    /// Resident memory in MB, where the system tells.
    fn memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kb: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kb / 1024)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until the receiver has what it is to get, or nothing comes any more; how much it has.
fn delivered(receiver: &Part, wanted: u64) -> Any<(u64, Duration)> {
    let began = Instant::now();
    let (mut last, mut still) = (0, 0);
    loop {
        let count: u64 = receiver.ask("GET", "/", "")?.parse()?;
        still = if count == last { still + 1 } else { 0 };
        if count >= wanted || still > 50 {
            return Ok((count, began.elapsed()));
        }
        last = count;
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn measure(part: &str) -> Any<()> {
    match part {
        "accept" => accept(None, 20_000),
        "data" => {
            let folder = tempfile::tempdir()?;
            let file = folder.path().join("bench.sqlite");
            accept(Some(&file.display().to_string()), 5_000)
        }
        "companies" => companies(),
        "pending" => pending(),
        "start" => start(),
        _ => Err("name one of: accept, data, companies, pending, start".into()),
    }
}

/// As fast as it goes without callbacks, against the bare server in turn; then at a rate, with every callback
/// delivered.
fn accept(data: Option<&str>, rate: u64) -> Any<()> {
    let title = data.map_or("in memory", |_| "with --data");
    let mut ratios = Vec::new();
    for round in 0..3 {
        let full = json!({"seconds": 4});
        let bare = Part::start(&["bare"])?.load(&full)?;
        let server = Part::serve(data, &round)?;
        // Nothing is due while it is measured.
        server.ask("PUT", "/_mock/routes?company_key=C0", LATER)?;
        let ours = server.load(&full)?;
        let of = |result: &Value| result["per_second"].as_f64().unwrap_or(0.0);
        ratios.push(of(&ours) / of(&bare));
        println!(
            "{title}, accepting only, round {round}: bare {bare}\n  serve {ours}, ratio {:.2}",
            of(&ours) / of(&bare)
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{title}, accepting only: median ratio {:.2}",
        ratios[ratios.len() / 2]
    );
    for rate in [rate / 10, rate / 4, rate / 2, rate] {
        let receiver = Part::start(&["receiver"])?;
        let server = Part::serve(data, &rate)?;
        server.register(0, &format!("http://{}/", receiver.address))?;
        let result = server.load(&json!({"seconds": 8, "rate": rate}))?;
        let wanted = result["accepted"].as_u64().unwrap_or(0) * 4;
        let (count, after) = delivered(&receiver, wanted)?;
        println!(
            "{title}, {rate} events/s for 8 s, four callbacks each: {result}\n  delivered {count} of {wanted}, the last {:.1} s after the last event; {} MB",
            after.as_secs_f64(),
            server.memory().unwrap_or(0)
        );
    }
    Ok(())
}

/// A journey of which nothing is due before two days have passed.
const LATER: &str =
    "journeys: {later: {routing: {accepted: {after: 48h}}}}\nroutes: [{journey: later}]";

/// One company with one registration against 500 with ten each.
fn companies() -> Any<()> {
    let full = json!({"seconds": 4});
    let many = json!({"seconds": 4, "companies": 500});
    let (alone, crowded) = (Part::start(&["serve"])?, Part::start(&["serve"])?);
    let receiver = Part::start(&["receiver"])?;
    for company in 0..500 {
        crowded.ask(
            "PUT",
            &format!("/_mock/routes?company_key=C{company}"),
            LATER,
        )?;
        for number in 0..10 {
            crowded.register(company, &format!("http://{}/{number}", receiver.address))?;
        }
    }
    alone.ask("PUT", "/_mock/routes?company_key=C0", LATER)?;
    alone.register(0, &format!("http://{}/", receiver.address))?;
    for round in 0..3 {
        let (one, other) = (alone.load(&full)?, crowded.load(&many)?);
        let of = |result: &Value| result["per_second"].as_f64().unwrap_or(0.0);
        println!(
            "companies, round {round}: 1 with 1 registration {one}\n  500 with 10 each {other}, ratio {:.2}",
            of(&other) / of(&one)
        );
    }
    Ok(())
}

/// A million callbacks that wait.
fn pending() -> Any<()> {
    let server = Part::start(&["serve"])?;
    let before = server.memory().unwrap_or(0);
    server.ask("PUT", "/_mock/routes?company_key=C0", LATER)?;
    let result = server.load(&json!({"seconds": 600, "events": 250_000}))?;
    let clock = server.ask("GET", "/_mock/clock", "")?;
    println!(
        "pending: {result}\n  {clock}\n  {before} MB before, {} MB with them",
        server.memory().unwrap_or(0)
    );
    Ok(())
}

/// From the start of the process to its first answer.
fn start() -> Any<()> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let server = Part::start(&["serve"])?;
        server.ask("GET", "/healthz", "")?;
        times.push(began.elapsed());
    }
    times.sort();
    println!(
        "start to first answer: median {:?}, longest {:?}",
        times[10], times[19]
    );
    let mock = Instant::now();
    drop(VibesMock::start()?);
    println!("VibesMock::start() and gone again: {:?}", mock.elapsed());
    Ok(())
}
