//! `vibes-mock serve` as a process.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::client::Client;
use super::{PATIENCE, Process, Ran};

/// Starts a server that writes its port into that file, and waits until it is ready.
pub fn start(command: &mut Command, port_file: &Path) -> (Process, Client) {
    // One that was killed has left it.
    let _ = fs::remove_file(port_file);
    let process = Process::start(command);
    let began = Instant::now();
    loop {
        if let Ok(port) = fs::read_to_string(port_file) {
            let client = Client::of(&format!("http://127.0.0.1:{}", port.trim()));
            return (process, client);
        }
        if began.elapsed() > PATIENCE {
            panic!("it does not start: {:?}", terminate(process));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sends it a signal.
pub fn signal(process: &Process, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &process.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Ends it as systemd and containers do.
pub fn terminate(process: Process) -> Ran {
    signal(&process, "TERM");
    process.end()
}
