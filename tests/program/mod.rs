//! The program under test, run as a user runs it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The built binary.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vibes-mock"))
}

/// Runs it with arguments and something on standard input.
pub fn run(arguments: &[&str], input: &str) -> Output {
    run_command(program().args(arguments), input)
}

/// Runs a command with something on standard input.
pub fn run_command(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may have refused its arguments and be gone.
    let _ = child
        .stdin
        .take()
        .expect("standard input")
        .write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

/// Standard output of a run that went well.
pub fn stdout(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The plan of a scenario, a line each.
pub fn plan(scenario: &str, more: &[&str]) -> Vec<String> {
    let mut arguments = vec!["plan", "-", "--format", "jsonl"];
    if !more.contains(&"--seed") {
        arguments.extend(["--seed", "1"]);
    }
    if !more.contains(&"--start") {
        arguments.extend(["--start", "2026-01-01T00:00:00Z"]);
    }
    arguments.extend(more);
    stdout(&arguments, scenario)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The same, read as JSON.
pub fn plan_json(scenario: &str, more: &[&str]) -> Vec<Value> {
    plan(scenario, more)
        .iter()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}
