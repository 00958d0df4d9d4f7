//! `vibes-mock replay`: send again what was recorded.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use super::options::{SendOptions, stop_on_signals};
use super::output::{Failed, how_many};
use crate::plan::Shard;
use crate::replay::{self, Filter, Recorded, Replay};
use crate::scenario::Scenario;
use crate::scenario::finding::did_you_mean;
use crate::vibes::outcome::OUTCOMES;
use crate::vibes::registration::Method;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock listen --record got.jsonl\n  \
    vibes-mock replay got.jsonl --to http://localhost:8080/callbacks\n  \
    vibes-mock replay got.jsonl --to http://localhost:8080/callbacks --outcome 'carrier.*' --failed\n  \
    vibes-mock replay proxy.har --speed max --connections 1    to where its requests went\n\n\
    Bodies go out byte for byte, at the pace at which they came unless `--speed` says otherwise.")]
pub struct Args {
    /// What `listen --record` wrote, a run's journal, or a HAR file
    file: PathBuf,
    /// Only callbacks of these outcomes, * for any text: carrier.*; repeatable
    #[arg(long, value_name = "GLOB", value_parser = outcome)]
    outcome: Vec<String>,
    /// Only callbacks about events of this type; repeatable
    #[arg(long, value_name = "TYPE")]
    event_type: Vec<String>,
    /// Only callbacks about this event; repeatable
    #[arg(long, value_name = "ID")]
    event_id: Vec<String>,
    /// Only callbacks whose action failed; of a journal, those that were not accepted
    #[arg(long)]
    failed: bool,
    #[command(flatten)]
    send: SendOptions,
}

fn outcome(glob: &str) -> Result<String, String> {
    let mut names = OUTCOMES.iter().map(|outcome| outcome.name);
    match names.any(|name| crate::fault::matches(glob, name)) {
        true => Ok(glob.to_owned()),
        false => {
            let names = OUTCOMES.iter().map(|outcome| outcome.name);
            let hint = did_you_mean(glob, names);
            Err(format!("there is no such outcome; {hint}"))
        }
    }
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    let reports = &args.send.report;
    if reports.iter().any(|report| report.path() == args.file) {
        return Err(Failed::usage(
            "the report would be written over what is replayed\nname another file",
        ));
    }
    let all = replay::read(&args.file).map_err(Failed::usage)?;
    let list = args.choose(all)?;
    let mut scenario = Scenario::empty("replay");
    scenario.destination.url = Some(args.url(&list)?);
    if list.iter().all(|recorded| recorded.method == Method::Put) {
        scenario.destination.method = Method::Put;
    }
    let start = args.send.time.start.unwrap_or_else(chrono::Utc::now);
    // Nothing is random here; a seed is only repeated in the report.
    let seed = args.send.time.seed.unwrap_or_default();
    let feed = Box::new(Replay::new(list, start));
    let stop = stop_on_signals()?;
    let run = args
        .send
        .outfit(scenario, Shard::WHOLE, &stop)?
        .start(start);
    let code = args.send.finish(run, |run| run.run_feed(feed, seed))?;
    Ok(ExitCode::from(code))
}

impl Args {
    /// What the filters leave; at least one.
    fn choose(&self, all: Vec<Recorded>) -> Result<Vec<Recorded>, Failed> {
        let filter = Filter {
            outcomes: self.outcome.clone(),
            event_types: self.event_type.clone(),
            event_ids: self.event_id.clone(),
            failed: self.failed,
        };
        let number = all.len();
        let wanted = |recorded: &Recorded| filter.wants(recorded);
        let list: Vec<_> = all.into_iter().filter(wanted).collect();
        match list.is_empty() {
            false => Ok(list),
            true => Err(Failed::usage(format!(
                "none of the {} in `{}` is as the filters want it\n\
                 leave out one of `--outcome`, `--event-type`, `--event-id`, `--failed`",
                how_many(number, "request"),
                self.file.display()
            ))),
        }
    }

    /// Where to send.
    fn url(&self, list: &[Recorded]) -> Result<String, Failed> {
        if let Some(url) = &self.send.to {
            return Ok(url.clone());
        }
        let urls: BTreeSet<_> = list.iter().map(|recorded| recorded.url.as_ref()).collect();
        let message = match urls.len() {
            1 => match urls.first().copied().flatten() {
                Some(url) => return Ok(url.clone()),
                None => "a recording does not tell where to send it".to_owned(),
            },
            number => format!("its requests went to {number} URLs"),
        };
        Err(Failed::usage(format!("{message}\nname a URL with `--to`")))
    }
}
