//! `vibes-mock run`: fire a scenario's callbacks at a destination.

use std::process::ExitCode;

use super::options::{SendOptions, stop_on_signals, worst};
use super::output::{Failed, INTERRUPTED, colour_err, note};
use crate::plan::Shard;
use crate::run::Run;
use crate::scenario::Scenario;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock run happy-path\n  \
    vibes-mock run my.yaml --to http://localhost:8080/callbacks --seed 7\n  \
    vibes-mock run flash-sale --speed max --format json --wait 30s")]
pub struct Args {
    /// Scenario files, names of ready-made ones, or - for standard input; one after the other
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    #[command(flatten)]
    send: SendOptions,
    /// Only journeys whose number is I modulo N
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    shard: Shard,
    /// Share journeys and connections out between threads, each with a runtime of its own
    #[arg(long, value_name = "N", default_value = "1", value_parser = threads)]
    threads: usize,
    /// Go on with an interrupted run from its journal; begins it if there is none yet
    #[arg(long, requires = "journal")]
    resume: bool,
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=256) => Ok(number),
        _ => Err("write a number from 1 to 256".to_owned()),
    }
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    if args.scenarios.len() > 1 && !args.send.report.is_empty() {
        return Err(Failed::usage(
            "`--report` is for one scenario, since each would overwrite the report of the one before\n\
             run them one by one, each with a file of its own",
        ));
    }
    // All are read before the first is sent: an invalid one means that nothing was sent.
    let scenarios: Vec<Scenario> = args
        .scenarios
        .iter()
        .map(|name| Scenario::load(name))
        .collect::<Result<_, _>>()?;
    if args.send.journal.is_some() && scenarios.len() > 1 {
        return Err(Failed::usage(
            "a journal is of one run, and these are several scenarios\nrun them one by one, each with a journal of its own",
        ));
    }
    for scenario in &scenarios {
        args.send.check_destination(scenario)?;
    }
    let stop = stop_on_signals()?;
    let mut codes = Vec::new();
    for scenario in scenarios {
        if !args.send.quiet && !scenario.warnings.is_empty() {
            let colour = colour_err();
            note(scenario.warnings.render(colour).trim_end());
        }
        let run = args
            .send
            .outfit(scenario, args.shard, &stop)?
            .threads(args.threads)
            .resume(args.resume);
        let code = args.send.finish(run, Run::run_here)?;
        codes.push(code);
        if code == INTERRUPTED {
            break;
        }
    }
    Ok(worst(codes))
}
