//! `vibes-mock plan`: print what run would send, and when; send nothing.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use chrono::Utc;
use serde::Serialize;

use super::options::TimeOptions;
use super::output::{Failed, Format, note, print_json};
use crate::fault::FaultKind;
use crate::plan::{Callback, Parameters, Plan, PlanError, Shard, instant};
use crate::run::fresh_seed;
use crate::scenario::Scenario;
use crate::scenario::units::MILLISECOND;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock plan happy-path\n  \
    vibes-mock plan my.yaml --seed 7 --start 2026-01-01T00:00:00Z --format jsonl > golden.jsonl")]
pub struct Args {
    /// Scenario files, names of ready-made ones, or - for standard input; one after the other
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    #[command(flatten)]
    time: TimeOptions,
    /// Only journeys whose number is I modulo N
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Shard,
    /// human, json (one summary) or jsonl (one line a callback); human on a terminal, else jsonl
    #[arg(long, value_name = "F", value_enum, hide_possible_values = true)]
    format: Option<Format>,
}

/// The summary of a plan.
#[derive(Serialize)]
struct Summary<'a> {
    scenario: &'a str,
    seed: u64,
    start: String,
    journeys: u64,
    callbacks: u64,
    outcomes: BTreeMap<&'static str, u64>,
    /// Callbacks that a fault strikes, by kind.
    faults: BTreeMap<FaultKind, u64>,
    /// When the last callback is due, from the start.
    last_ms: Option<u64>,
}

impl From<PlanError> for Failed {
    fn from(error: PlanError) -> Failed {
        Failed::delivery(error.to_string())
    }
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let scenarios: Vec<Scenario> = args
        .scenarios
        .iter()
        .map(|name| Scenario::load(name))
        .collect::<Result<_, _>>()?;
    for scenario in scenarios {
        print_plan(args, scenario)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_plan(args: &Args, scenario: Scenario) -> Result<(), Failed> {
    let scenario = Arc::new(scenario);
    let seed = args.time.seed.or(scenario.seed).unwrap_or_else(|| {
        let seed = fresh_seed();
        note(format_args!("seed {seed}"));
        seed
    });
    let start = args.time.start.unwrap_or_else(Utc::now);
    let parameters = Parameters {
        seed,
        start,
        shard: args.shard,
    };
    let mut plan = Plan::new(Arc::clone(&scenario), parameters);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    match Format::or(args.format, Format::Jsonl) {
        Format::Jsonl => {
            while let Some(callback) = plan.next() {
                line.clear();
                plan.line(&callback?, &mut line)?;
                line.push(b'\n');
                out.write_all(&line)?;
            }
        }
        Format::Human => {
            writeln!(out, "{} (seed {seed})", scenario.name)?;
            let with_faults = !scenario.faults.is_empty();
            let fault = fault_column(with_faults, "fault");
            writeln!(
                out,
                "{:>12}  {:>7}  {:<34} {:<6} {fault}event_type",
                "after", "journey", "outcome", "part"
            )?;
            while let Some(callback) = plan.next() {
                human_line(&callback?, &mut plan, with_faults, &mut out)?;
            }
        }
        Format::Json => {
            drop(out);
            return print_json(&summary(plan, &scenario, parameters)?);
        }
    }
    out.flush()?;
    Ok(())
}

/// Only a scenario with faults has a column for them.
fn fault_column(with_faults: bool, fault: &str) -> String {
    match with_faults {
        true => format!("{fault:<18} "),
        false => String::new(),
    }
}

fn human_line(
    callback: &Callback,
    plan: &mut Plan,
    with_faults: bool,
    out: &mut impl Write,
) -> Result<(), Failed> {
    let part = match callback.parts {
        0 => String::new(),
        parts => format!("{}/{parts}", callback.part),
    };
    let after = format!("{:.3} s", (callback.due / MILLISECOND) as f64 / 1000.0);
    let fault = plan.fault(callback).map_or("", |fault| fault.kind.name());
    let fault = fault_column(with_faults, fault);
    let event_type = plan.event(callback)?.part().event_type;
    writeln!(
        out,
        "{after:>12}  {:>7}  {:<34} {part:<6} {fault}{event_type}",
        callback.journey, callback.outcome.name
    )?;
    Ok(())
}

fn summary(
    mut plan: Plan,
    scenario: &Scenario,
    parameters: Parameters,
) -> Result<Summary<'_>, Failed> {
    let mut summary = Summary {
        scenario: &scenario.name,
        seed: parameters.seed,
        start: instant(parameters.start),
        journeys: 0,
        callbacks: 0,
        outcomes: BTreeMap::new(),
        faults: BTreeMap::new(),
        last_ms: None,
    };
    while let Some(callback) = plan.next() {
        let callback = callback?;
        if let Some(fault) = plan.fault(&callback) {
            *summary.faults.entry(fault.kind).or_default() += 1;
        }
        summary.callbacks += 1;
        *summary.outcomes.entry(callback.outcome.name).or_default() += 1;
        summary.last_ms = Some(callback.due / MILLISECOND);
    }
    summary.journeys = plan.journeys_started();
    Ok(summary)
}
