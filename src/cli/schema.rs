//! `vibes-mock schema`: the JSON Schemas of what is read and written.

use std::process::ExitCode;

use clap::ValueEnum;

use super::output::{Failed, print};
use crate::report::Report;
use crate::scenario::schema;
use crate::serve::control;
use crate::vibes::callback::ReceivedCallback;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  vibes-mock schema scenario > scenario.json")]
pub struct Args {
    /// Which one
    name: Name,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// A scenario file
    Scenario,
    /// The body of a callback
    Callback,
    /// The summary of a run, as --format json prints it
    Report,
    /// What serve answers to, as OpenAPI 3.1
    Openapi,
    #[value(hide = true)]
    Asyncapi,
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let text = match args.name {
        Name::Scenario => serde_json::to_string_pretty(&schema::scenario())?,
        Name::Callback => serde_json::to_string_pretty(&schema::of::<ReceivedCallback>())?,
        Name::Report => serde_json::to_string_pretty(&schema::of::<Report>())?,
        Name::Openapi => serde_json::to_string_pretty(&control::document())?,
        Name::Asyncapi => return Err(Failed::not_yet("`schema asyncapi`")),
    };
    print(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}
