//! Parses the command line, carries it out, and gives the exit status; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    vibes_mock::cli::main()
}
