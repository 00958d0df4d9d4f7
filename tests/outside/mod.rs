//! What the tests from outside share: the program as a process, and a receiver for it to send to.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod client;
pub mod documented;
pub mod serving;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing that the tests wait for takes longer, not even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status; absent if a signal ended it.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Everything that a user would see, for a snapshot.
    pub fn shown(&self) -> String {
        let part = |name: &str, text: &str| match text {
            "" => String::new(),
            text => format!("--- {name}\n{}\n", text.trim_end_matches('\n')),
        };
        let code = self.code.map_or("a signal".to_owned(), |c| c.to_string());
        let (out, err) = (part("stdout", &self.out), part("stderr", &self.err));
        format!("{out}{err}--- exit status {code}\n")
    }

    /// The one JSON value on standard output.
    pub fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_str(&self.out);
        parsed.unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON values on standard output, one a line.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// Fails unless the exit status is this one.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Ran {
        assert!(self.code == Some(code), "wanted {code}: {self:#?}");
        self
    }
}

/// The program, ready for arguments: in `tests`, a hundred columns wide, without the user's settings.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vibes-mock"));
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
        .env("COLUMNS", "100")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR")
        .env_remove("CLICOLOR_FORCE")
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null());
    command
}

/// Runs the program with arguments.
pub fn run(args: &[&str]) -> Ran {
    finish(program().args(args), "")
}

/// Runs the program in a folder.
pub fn run_in(folder: &Path, args: &[&str]) -> Ran {
    finish(program().args(args).current_dir(folder), "")
}

/// Runs the program with a text on its standard input.
pub fn run_with_input(args: &[&str], input: &str) -> Ran {
    finish(program().args(args), input)
}

/// Fires a scenario at a URL without waiting; the summary is JSON unless `more` says otherwise.
pub fn fire(url: &str, scenario: &str, more: &[&str]) -> Ran {
    let mut args = vec![
        "run", "-", "--to", url, "--speed", "max", "--format", "json",
    ];
    // What is said last counts.
    args.extend(more);
    run_with_input(&args, scenario)
}

/// Whether something that tests need is there; if not, a visible line says so, and under `CI` a failure.
pub fn present(there: bool, name: &str) -> bool {
    if !there {
        // `.ci/run` is for Debian; what it installs is not to be had everywhere.
        let optional = cfg!(windows) || std::env::var_os("CI").is_none();
        assert!(optional, "{name} is not installed");
        // The test runner captures what macros print, but not this.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: {name} is not installed; .ci/run installs it"
        );
    }
    there
}

/// The plan of a scenario, a line each; seed 1 and the start of 2026 unless `more` says otherwise.
pub fn plan(scenario: &str, more: &[&str]) -> Vec<String> {
    let mut args = vec!["plan", "-", "--format", "jsonl"];
    args.extend(["--seed", "1", "--start", "2026-01-01T00:00:00Z"]);
    // What is said last counts.
    args.extend(more);
    let ran = run_with_input(&args, scenario).expect_code(0);
    ran.out.lines().map(str::to_owned).collect()
}

/// The same, read as JSON.
pub fn plan_json(scenario: &str, more: &[&str]) -> Vec<serde_json::Value> {
    let parse =
        |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    plan(scenario, more).iter().map(parse).collect()
}

/// Runs a command to its end.
pub fn finish(command: &mut Command, input: &str) -> Ran {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut process = Process::start(command);
    if let Some(mut stdin) = process.child.stdin.take() {
        // The program need not read all of it.
        let _ = stdin.write_all(input.as_bytes());
    }
    process.end()
}

/// The program while it runs. Ended when dropped.
pub struct Process {
    child: Child,
    out: Arc<Stream>,
    err: Arc<Stream>,
    readers: Vec<JoinHandle<()>>,
}

/// What came over a pipe so far.
#[derive(Default)]
struct Stream {
    text: Mutex<Vec<u8>>,
    more: Condvar,
}

impl Process {
    pub fn start(command: &mut Command) -> Process {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            read_into(child.stdout.take().unwrap(), &out),
            read_into(child.stderr.take().unwrap(), &err),
        ];
        Process {
            child,
            out,
            err,
            readers,
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until Ctrl-C no longer just kills it.
    pub fn wait_until_interruptible(&self) {
        let file = format!("/proc/{}/status", self.child.id());
        if !Path::new(&file).exists() {
            // No Linux, so nobody tells.
            std::thread::sleep(Duration::from_millis(500));
            return;
        }
        const INTERRUPT: u64 = 1 << 1;
        let caught = || {
            let status = std::fs::read_to_string(&file).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            mask.is_some_and(|mask| mask & INTERRUPT != 0)
        };
        let began = Instant::now();
        while !caught() {
            assert!(began.elapsed() < PATIENCE, "it does not mind Ctrl-C");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for so many lines on standard output and gives all that stands there then.
    pub fn wait_for_lines(&self, number: usize) -> String {
        let wanted = format!("{number} lines");
        self.out
            .wait_until(&wanted, |text| text.matches('\n').count() >= number)
    }

    /// Waits for a text on standard output and gives all that stands there then.
    pub fn wait_for_output(&self, wanted: &str) -> String {
        self.out.wait_for(wanted)
    }

    /// Waits for a text on standard error and gives all that stands there then.
    pub fn wait_for_note(&self, wanted: &str) -> String {
        self.err.wait_for(wanted)
    }

    /// Presses Ctrl-C.
    #[cfg(unix)]
    pub fn interrupt(&self) {
        self.wait_until_interruptible();
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        let code = wait(&mut self.child).code();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ran {
            code,
            out: self.out.text(),
            err: self.err.text(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stream {
    fn text(&self) -> String {
        String::from_utf8(lock(&self.text).clone()).unwrap()
    }

    fn wait_for(&self, wanted: &str) -> String {
        self.wait_until(wanted, |text| text.contains(wanted))
    }

    fn wait_until(&self, wanted: &str, is: impl Fn(&str) -> bool) -> String {
        let missing = |bytes: &mut Vec<u8>| !is(&String::from_utf8_lossy(bytes));
        let text = lock(&self.text);
        let waited = self.more.wait_timeout_while(text, PATIENCE, missing);
        let (text, late) = waited.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!late.timed_out(), "no {wanted:?} in {text:?}");
        text
    }
}

fn read_into(mut from: impl Read + Send + 'static, stream: &Arc<Stream>) -> JoinHandle<()> {
    let stream = Arc::clone(stream);
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            lock(&stream.text).extend_from_slice(&buffer[..length]);
            stream.more.notify_all();
        }
    })
}

/// Waits for a process, but not for ever.
pub fn wait(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that the receiver got.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which of the receiver's connections it came over, from 0.
    pub connection: usize,
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What an answer to the request of that number (from 0) begins with: `200 OK`, perhaps with header lines.
type Script = dyn Fn(usize, &Request) -> String + Send + Sync;

/// An HTTP receiver on a free port that answers by a script and remembers what came.
pub struct Receiver {
    port: u16,
    requests: Arc<(Mutex<Vec<Request>>, Condvar)>,
    over: Arc<AtomicBool>,
}

impl Receiver {
    /// Always gives the same answer.
    pub fn answering(answer: &'static str) -> Receiver {
        Receiver::with(move |_, _| answer.to_owned())
    }

    /// Answers by a script.
    pub fn with(script: impl Fn(usize, &Request) -> String + Send + Sync + 'static) -> Receiver {
        Receiver::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// Answers by a script, at a listener that is there already.
    pub fn at(
        listener: TcpListener,
        script: impl Fn(usize, &Request) -> String + Send + Sync + 'static,
    ) -> Receiver {
        let port = listener.local_addr().unwrap().port();
        let receiver = Receiver {
            port,
            requests: Arc::default(),
            over: Arc::default(),
        };
        let script: Arc<Script> = Arc::new(script);
        let (requests, over) = (Arc::clone(&receiver.requests), Arc::clone(&receiver.over));
        let connections = AtomicUsize::new(0);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (script, requests) = (Arc::clone(&script), Arc::clone(&requests));
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || serve(stream, connection, &requests, &script));
            }
        });
        receiver
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/callbacks", self.port)
    }

    /// Everything that came so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.requests.0).clone()
    }

    /// Waits for so many requests.
    pub fn wait_for(&self, number: usize) -> Vec<Request> {
        let few = |requests: &mut Vec<Request>| requests.len() < number;
        let requests = lock(&self.requests.0);
        let waited = self.requests.1.wait_timeout_while(requests, PATIENCE, few);
        let (requests, late) = waited.unwrap();
        assert!(!late.timed_out(), "only {} requests", requests.len());
        requests.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    requests: &(Mutex<Vec<Request>>, Condvar),
    script: &Arc<Script>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read_request(&mut reader, connection) {
        let number = {
            let mut list = lock(&requests.0);
            list.push(request.clone());
            list.len() - 1
        };
        requests.1.notify_all();
        let head = script(number, &request);
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead, connection: usize) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let (first, rest) = lines.split_first()?;
    let mut words = first.split(' ').map(str::to_owned);
    let headers = rest.iter().filter_map(|line| line.split_once(':'));
    let mut request = Request {
        connection,
        method: words.next()?,
        path: words.next()?,
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect(),
        body: String::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

/// Sends one request and gives the answer's status.
pub fn post(port: u16, body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "POST /callbacks HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("{answer:?}"))
}

/// A port at which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
