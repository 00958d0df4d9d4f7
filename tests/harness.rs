//! The example of a test suite in another language works: pytest with requests against `serve`.
//!
//! `.ci/run` installs both under `target/receivers`. Where they are missing this is skipped with a visible line,
//! and is a failure where `CI` is set.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail loudly"
)]

mod outside;

use std::path::Path;
use std::process::Command;

use outside::{finish, present};

#[test]
fn a_test_suite_of_somebody_elses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pytest = root.join("target/receivers/venv/bin/pytest");
    if !present(pytest.exists(), "pytest and requests") {
        return;
    }
    let mut command = Command::new(pytest);
    command
        .args([
            "-q",
            "-p",
            "no:cacheprovider",
            "--color=no",
            "tests/harness",
        ])
        .current_dir(root)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("VIBES_MOCK", env!("CARGO_BIN_EXE_vibes-mock"));
    let ran = finish(&mut command, "").expect_code(0);
    assert!(ran.out.contains("4 passed"), "{ran:#?}");
}
