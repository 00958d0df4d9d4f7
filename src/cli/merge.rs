//! `vibes-mock merge`: add up the reports of a run's shares.

use std::path::PathBuf;
use std::process::ExitCode;

use super::output::{FAILED, Failed, Format, OK, note, print, print_json};
use crate::report::{Report, human, merge};

#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    vibes-mock run big --seed 7 --start 2026-01-01T00:00:00Z --shard 0/2 --report a.json\n  \
    vibes-mock run big --seed 7 --start 2026-01-01T00:00:00Z --shard 1/2 --report b.json\n  \
    vibes-mock merge a.json b.json")]
pub struct Args {
    /// Reports that `--report FILE.json` wrote
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// human or json; human on a terminal, else json
    #[arg(long, value_name = "F", value_enum, hide_possible_values = true)]
    format: Option<Format>,
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let reports: Vec<Report> = args.reports.iter().map(read).collect::<Result<_, _>>()?;
    let report = merge::merge(&reports).map_err(Failed::usage)?;
    if report.shard != "0/1" {
        note(format_args!(
            "warning: only {}; what is expected of counts stays open",
            report.shard
        ));
    }
    match Format::or(args.format, Format::Json) {
        Format::Human => print(&human::summary(&report))?,
        Format::Json | Format::Jsonl => print_json(&report)?,
    }
    let good = report.all_accepted() && report.expectations_met();
    Ok(ExitCode::from(if good { OK } else { FAILED }))
}

fn read(path: &PathBuf) -> Result<Report, Failed> {
    let shown = path.display();
    let bytes = std::fs::read(path).map_err(|error| {
        Failed::usage(format!(
            "cannot read {shown}: {error}\nis it the right path?"
        ))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        Failed::usage(format!(
            "{shown} is no report: {error}\n`run --report FILE.json` writes one"
        ))
    })
}
