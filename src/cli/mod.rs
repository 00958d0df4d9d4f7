//! The command line: words and exit statuses, one file for each command; no logic.

mod catalog;
mod check;
mod listen;
mod merge;
mod options;
mod output;
mod plan;
mod replay;
mod run;
mod schema;
mod segments;
mod serve;
mod shell;
mod trigger;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Failed;

/// Fires the callbacks of the Vibes mobile-messaging platform at a receiver, as the platform would.
#[derive(Parser)]
#[command(
    name = "vibes-mock",
    version,
    about,
    disable_help_subcommand = true,
    args_override_self = true,
    allow_negative_numbers = true,
    max_term_width = 100,
    after_help = "Exit status: 0 all accepted and as expected; 1 a delivery failed or an \
                  expectation was not met; 2 bad usage or an invalid scenario, \
                  nothing was sent; 130 interrupted.\n\n\
                  Example: vibes-mock run happy-path --to http://127.0.0.1:8080/vibes/callbacks"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fire a scenario's callbacks at a destination
    Run(run::Args),
    /// Fire single callbacks, no file needed
    Trigger(trigger::Args),
    /// Print what run would send, and when; send nothing
    Plan(plan::Args),
    /// Validate scenario files; a finding shows the line and says how to mend it
    Check(check::Args),
    /// List every outcome with a sample body
    Catalog(catalog::Args),
    /// Show how a text splits into parts, and why
    Segments(segments::Args),
    /// A receiver to look at callbacks with
    Listen(listen::Args),
    /// Add up the reports of a run's shares
    Merge(merge::Args),
    /// Send again what was recorded
    #[command(
        mut_arg("to", |to| to.help("Destination; needed unless all requests of a HAR file went to the same URL")),
        mut_arg("seed", |seed| seed.hide(true)),
        mut_arg("start", |start| start.help("The run's time zero in the result (RFC 3339); now if absent")),
    )]
    Replay(replay::Args),
    /// Stand in for the Vibes API: registrations, campaigns, events, test control
    #[command(mut_args(serve::unless_empty))]
    Serve(Box<serve::Args>),
    /// Print a JSON Schema
    Schema(schema::Args),
    /// Print a completion script for a shell
    Completions(shell::CompletionsArgs),
    /// Print the manual page
    Man,
    #[command(hide = true)]
    Explore(NotYetArgs),
}

/// Not carried out yet by this version.
#[derive(clap::Args)]
struct NotYetArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<String>,
}

/// Reads the command line, carries it out, and says how it went.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Trigger(args) => trigger::run(args),
        Command::Plan(args) => plan::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Catalog(args) => catalog::run(&args),
        Command::Segments(args) => segments::run(&args),
        Command::Listen(args) => listen::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Replay(args) => replay::run(args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man => shell::man(),
        Command::Serve(args) => serve::run(*args),
        Command::Explore(_) => Err(Failed::not_yet("`explore`")),
    };
    match result {
        Ok(code) => code,
        Err(failed) => failed.report(),
    }
}
