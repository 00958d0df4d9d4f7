//! Runs against receivers that were not written here; what they logged equals the plan, byte for byte.
//!
//! `.ci/run` installs them under `target/receivers`. One that is missing is skipped with a visible line,
//! and is a failure where `CI` is set.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outside::{present, run};
use serde_json::Value;

const SCENARIOS: [&str; 3] = ["every-callback", "happy-path-multipart", "ordinary-day"];
const FIXED: [&str; 4] = ["--seed", "5", "--start", "2026-01-01T00:00:00Z"];

/// A process that ends with the test, however that ends.
struct Server {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts a command and waits until it takes connections.
    fn start(command: impl FnOnce(u16, &Path) -> Command) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let errors = fs::File::create(folder.path().join("errors")).unwrap();
        let process = command(port, folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut server = Server {
            process,
            port,
            folder,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.process.try_wait().unwrap();
            let errors =
                || fs::read_to_string(server.folder.path().join("errors")).unwrap_or_default();
            assert!(ended.is_none(), "the receiver ended: {}", errors());
            assert!(
                Instant::now() < deadline,
                "the receiver does not begin: {}",
                errors()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What it logged since the last time, a line each, sorted.
    fn take_log(&self) -> Vec<String> {
        let path = self.folder.path().join("log");
        let text = fs::read_to_string(&path).unwrap_or_default();
        // Truncated, not removed: nginx keeps it open.
        if path.exists() {
            fs::OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(&path)
                .unwrap();
        }
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// Where a receiver is, or a visible line that it is not there.
fn installed(name: &str, places: &[&str]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/receivers");
    let found = places
        .iter()
        .map(|place| root.join(place))
        .find(|path| path.exists());
    present(found.is_some(), name);
    found
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "receivers", name]
        .iter()
        .collect()
}

fn planned(scenario: &str) -> Vec<String> {
    let mut arguments = vec!["plan", scenario, "--format", "jsonl"];
    arguments.extend(FIXED);
    let planned = run(&arguments).expect_code(0).out;
    let mut bodies: Vec<_> = planned
        .lines()
        .map(|line| {
            let (_, body) = line.split_once("\"body\":").expect("a body");
            body.strip_suffix('}').expect("the line's end").to_owned()
        })
        .collect();
    bodies.sort();
    bodies
}

/// Fires a scenario without waiting, over few connections, since some receivers queue no more, and with
/// patience, since a repetition would be right but not in the plan; gives exit status and report.
fn fire(scenario: &str, url: &str) -> (Option<i32>, Value) {
    let mut arguments = vec![
        "run", scenario, "--to", url, "--speed", "max", "--format", "json",
    ];
    arguments.extend(["--connections", "4", "--timeout", "60s"]);
    arguments.extend(FIXED);
    let ran = run(&arguments);
    (ran.code, ran.json())
}

/// Every scenario arrives as planned; `line` is how the receiver logs a body.
fn arrives(server: &Server, path: &str, line: impl Fn(&str) -> String) {
    for scenario in SCENARIOS {
        let (code, report) = fire(scenario, &server.url(path));
        assert_eq!(code, Some(0), "{scenario}: {report}");
        let mut expected: Vec<_> = planned(scenario).iter().map(|body| line(body)).collect();
        expected.sort();
        assert_eq!(report["accepted"], expected.len(), "{scenario}");
        let logged = server.take_log();
        let odd: Vec<_> = logged
            .iter()
            .filter(|line| !expected.contains(line))
            .collect();
        assert!(
            logged == expected,
            "{scenario}: {} logged, {} planned, not planned: {odd:?}; {report}",
            logged.len(),
            expected.len()
        );
    }
}

#[test]
fn nginx() {
    let Some(nginx) = installed(
        "nginx",
        &[
            "/usr/sbin/nginx",
            "/usr/bin/nginx",
            "/opt/homebrew/bin/nginx",
        ],
    ) else {
        return;
    };
    let server = Server::start(|port, folder| {
        // The body is in the log only if it was read, so one server hands it on to another.
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log errors.log; worker_rlimit_nofile 1024;
             events {{ worker_connections 512; }}
             http {{
               log_format body escape=none '$request_method $content_type $request_body';
               client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
               client_body_buffer_size 64k;
               server {{ listen 127.0.0.1:{port}; access_log log body;
                 location / {{ proxy_pass http://unix:behind.sock; }} }}
               server {{ listen unix:behind.sock; access_log off; return 200; }}
             }}"
        )
        .replace("behind.sock", &folder.join("behind.sock").display().to_string());
        fs::write(folder.join("nginx.conf"), config).unwrap();
        let mut command = Command::new(nginx);
        command
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg("nginx.conf")
            .arg("-e")
            .arg("errors.log");
        command
    });
    arrives(&server, "/vibes/callbacks", |body| {
        format!("POST application/json {body}")
    });
}

#[test]
fn python_http_server_closes_each_connection() {
    let Some(python) = installed("Python", &["venv/bin/python"]) else {
        return;
    };
    let server = Server::start(|port, folder| {
        let mut command = Command::new(python);
        command
            .arg(file("plain.py"))
            .arg(port.to_string())
            .arg(folder.join("log"));
        command
    });
    arrives(&server, "/", str::to_owned);
}

#[test]
fn aiohttp_keeps_connections() {
    let Some(python) = installed("Python", &["venv/bin/python"]) else {
        return;
    };
    let server = Server::start(|port, folder| {
        let mut command = Command::new(python);
        command
            .arg(file("keep_alive.py"))
            .arg(port.to_string())
            .arg(folder.join("log"));
        command
    });
    arrives(&server, "/any/path?and=query", str::to_owned);
}

#[test]
fn express() {
    let Some(modules) = installed("Express", &["node_modules/express"]) else {
        return;
    };
    let server = Server::start(|port, folder| {
        let mut command = Command::new("node");
        command
            .arg(file("express.js"))
            .arg(port.to_string())
            .arg(folder.join("log"));
        command.env("NODE_PATH", modules.parent().unwrap());
        command
    });
    arrives(&server, "/vibes/callbacks", str::to_owned);
    let (code, report) = fire("every-callback", &server.url("/elsewhere"));
    assert_eq!(
        (code, &report["responses"]["404"]),
        (Some(1), &report["callbacks"])
    );
}

#[test]
fn httpbin_answers_by_class() {
    let Some(gunicorn) = installed("httpbin", &["venv/bin/gunicorn"]) else {
        return;
    };
    let server = Server::start(|port, folder| {
        let mut command = Command::new(gunicorn);
        command.current_dir(folder);
        command.args([
            "--threads",
            "8",
            "--bind",
            &format!("127.0.0.1:{port}"),
            "httpbin:app",
        ]);
        command
    });
    let count = |report: &Value, key: &str| report[key].as_u64().unwrap();
    // Path, exit status, attempts for each callback, whether they are accepted.
    for (path, code, attempts, accepted) in [
        ("/post", 0, 1, true),
        ("/status/202", 0, 1, true),
        ("/status/404", 1, 1, false),
        ("/status/503", 1, 6, false),
        ("/redirect-to?url=/post&status_code=302", 1, 6, false),
    ] {
        let (status, report) = fire("happy-path-multipart", &server.url(path));
        assert_eq!(status, Some(code), "{path}: {report}");
        let callbacks = count(&report, "callbacks");
        assert_eq!(callbacks, 4);
        assert_eq!(count(&report, "attempts"), attempts * callbacks, "{path}");
        assert_eq!(
            count(&report, "accepted"),
            if accepted { callbacks } else { 0 },
            "{path}"
        );
        assert_eq!(
            count(&report, "failed"),
            if accepted { 0 } else { callbacks },
            "{path}"
        );
        assert_eq!(
            count(&report, "retried"),
            if attempts > 1 { callbacks } else { 0 },
            "{path}"
        );
    }
}
