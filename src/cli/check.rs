//! `vibes-mock check`: validate scenario files.

use std::process::ExitCode;

use serde::Serialize;

use super::output::{Failed, Format, USAGE, colour_out, how_many, note, print, print_json};
use crate::scenario::finding::{Findings, Severity};
use crate::scenario::{Error, Scenario};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  vibes-mock check scenarios/*.yaml")]
pub struct Args {
    /// Scenario files, names of ready-made ones, or - for standard input
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// human or json (an array of findings)
    #[arg(
        long,
        value_name = "F",
        value_enum,
        default_value = "human",
        hide_possible_values = true
    )]
    format: Format,
}

/// A finding for programs; line and column count from 1, columns in characters.
#[derive(Serialize)]
struct Found {
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    severity: &'static str,
    message: String,
    help: Option<String>,
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let mut found = Vec::new();
    let mut text = String::new();
    let (mut errors, mut warnings) = (0, 0);
    for name in &args.scenarios {
        let findings = match Scenario::load(name) {
            Ok(scenario) => {
                let events = usize::try_from(scenario.journey_count()).unwrap_or(usize::MAX);
                text.push_str(&format!("{name}: ok ({})\n", how_many(events, "event")));
                scenario.warnings
            }
            Err(Error::Invalid(findings)) => findings,
            Err(Error::Unreadable(message)) => {
                errors += 1;
                text.push_str(&format!("error: {message}\n\n"));
                found.push(Found {
                    file: name.clone(),
                    line: None,
                    column: None,
                    severity: "error",
                    message,
                    help: None,
                });
                continue;
            }
        };
        errors += findings.errors();
        warnings += findings.list().len() - findings.errors();
        text.push_str(&findings.render(colour_out()));
        found.extend(for_programs(&findings));
    }
    match args.format {
        Format::Human => print(&text)?,
        Format::Json => print_json(&found)?,
        Format::Jsonl => {
            return Err(Failed::usage(
                "`check` has no jsonl form\nuse `--format json`",
            ));
        }
    }
    if errors + warnings > 0 && args.format == Format::Human {
        note(format_args!(
            "{}, {}",
            how_many(errors, "error"),
            how_many(warnings, "warning")
        ));
    }
    Ok(if errors > 0 {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    })
}

fn for_programs(findings: &Findings) -> impl Iterator<Item = Found> + '_ {
    findings.list().iter().map(|finding| {
        let (line, column) = findings.place(finding);
        Found {
            file: findings.file.clone(),
            line: Some(line),
            column: Some(column),
            severity: match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            message: finding.message.clone(),
            help: finding.help.clone(),
        }
    })
}
