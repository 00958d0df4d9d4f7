//! Parses the command line, carries it out, and gives the exit status; nothing else.

use std::process::ExitCode;

/// A server makes and drops many small things; docs/performance.md says what this is worth.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vibes_mock::cli::main()
}
