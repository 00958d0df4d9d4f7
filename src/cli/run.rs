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
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    args.send.check()?;
    // All are read before the first is sent: an invalid one means that nothing was sent.
    let scenarios: Vec<Scenario> = args
        .scenarios
        .iter()
        .map(|name| Scenario::load(name))
        .collect::<Result<_, _>>()?;
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
        let run = args.send.outfit(scenario, args.shard, &stop)?;
        let code = args.send.finish(run, Run::run_here)?;
        codes.push(code);
        if code == INTERRUPTED {
            break;
        }
    }
    Ok(worst(codes))
}
