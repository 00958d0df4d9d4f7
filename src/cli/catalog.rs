//! `vibes-mock catalog`: every outcome with a sample body, the magic recipients, the ready-made scenarios.

use std::process::ExitCode;

use serde::Serialize;
use serde_json::value::RawValue;

use super::output::{Failed, Format, print, print_json};
use crate::scenario::finding::did_you_mean;
use crate::scenario::source::READY_MADE;
use crate::scenario::{Scenario, Settings};
use crate::vibes::outcome::{MessageType, OUTCOMES, Outcome, Shape, Stage};
use crate::vibes::{magic, sample};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock catalog\n  \
    vibes-mock catalog carrier.rejected\n  \
    vibes-mock catalog --magic\n  \
    vibes-mock catalog --scenarios\n  \
    vibes-mock catalog --format json | jq '.[].outcome'")]
pub struct Args {
    /// Only this one, with its body
    outcome: Option<String>,
    /// List the people to whom one outcome always happens when an event for them is posted to `serve`
    #[arg(long)]
    magic: bool,
    /// List the ready-made scenarios instead
    #[arg(long, conflicts_with_all = ["outcome", "magic"])]
    scenarios: bool,
    /// human or json
    #[arg(
        long,
        value_name = "F",
        value_enum,
        default_value = "human",
        hide_possible_values = true
    )]
    format: Format,
}

#[derive(Serialize)]
struct Entry {
    outcome: &'static str,
    stage: Stage,
    summary: &'static str,
    body: Box<RawValue>,
}

#[derive(Serialize)]
struct Magic {
    outcome: &'static str,
    external_person_id: String,
    mdn: String,
    message_type: MessageType,
}

#[derive(Serialize)]
struct ReadyMade {
    name: &'static str,
    scenario: String,
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    match args.format {
        Format::Jsonl => Err(Failed::usage(
            "`catalog` has no jsonl form\nuse `--format json`",
        )),
        format if args.scenarios => list_scenarios(format),
        format if args.magic => list_magic(args.outcome.as_deref(), format),
        format => list_outcomes(args.outcome.as_deref(), format),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn list_outcomes(only: Option<&str>, format: Format) -> Result<(), Failed> {
    let outcomes: Vec<&'static Outcome> = match only {
        Some(name) => vec![named(name)?],
        None => OUTCOMES.iter().collect(),
    };
    let entries: Vec<Entry> = outcomes
        .iter()
        .flat_map(|outcome| entries(outcome))
        .collect();
    if format == Format::Json {
        return print_json(&entries);
    }
    let mut text = String::new();
    match only {
        Some(_) => {
            for entry in &entries {
                let body: serde_json::Value = serde_json::from_str(entry.body.get())?;
                let body = serde_json::to_string_pretty(&body)?;
                text.push_str(&format!("{}: {}\n{body}\n", entry.outcome, entry.summary));
            }
        }
        None => {
            for stage in Stage::ALL {
                text.push_str(&format!("{stage}\n"));
                for outcome in Outcome::of(stage) {
                    text.push_str(&format!("  {:<35} {}\n", outcome.name, outcome.summary));
                }
            }
            text.push_str("\n`vibes-mock catalog OUTCOME` shows the body of one.\n");
        }
    }
    print(&text)
}

/// The outcome of that name.
pub fn named(name: &str) -> Result<&'static Outcome, Failed> {
    Outcome::named(name).ok_or_else(|| {
        let full: Vec<_> = OUTCOMES
            .iter()
            .filter(|outcome| outcome.short == name)
            .map(|outcome| format!("`{}`", outcome.name))
            .collect();
        let hint = match full.as_slice() {
            [] => did_you_mean(name, OUTCOMES.iter().map(|outcome| outcome.name)),
            full => format!("write {}", full.join(" or ")),
        };
        Failed::usage(format!("there is no outcome `{name}`\n{hint}"))
    })
}

/// One entry for each body that is documented: a queued message looks different as SMS and as MMS.
fn entries(outcome: &'static Outcome) -> Vec<Entry> {
    let variants: &[MessageType] = match outcome.shape {
        Shape::Queued => outcome.messages,
        _ => &outcome.messages[..1],
    };
    variants
        .iter()
        .map(|&message_type| Entry {
            outcome: outcome.name,
            stage: outcome.stage,
            summary: outcome.summary,
            body: sample::body(outcome, message_type, &Settings::default().wording),
        })
        .collect()
}

fn list_magic(only: Option<&str>, format: Format) -> Result<(), Failed> {
    let only = only.map(named).transpose()?;
    let list: Vec<Magic> = magic::recipients()
        .filter(|recipient| only.is_none_or(|only| recipient.outcome == only))
        .map(|recipient| Magic {
            outcome: recipient.outcome.name,
            external_person_id: recipient.external_person_id(),
            mdn: recipient.mdn(),
            message_type: recipient.message_type,
        })
        .collect();
    if format == Format::Json {
        return print_json(&list);
    }
    let line = |outcome, id, mdn, message_type| {
        format!("{outcome:<35} {id:<38} {mdn:<12} {message_type}\n")
    };
    let mut text = line("outcome", "external_person_id", "mdn", "message");
    for one in &list {
        text.push_str(&line(
            one.outcome,
            &one.external_person_id,
            &one.mdn,
            one.message_type.name(),
        ));
    }
    text.push_str(
        "\nAn event for one of them goes well up to the outcome, which is the last thing that happens.\n\
         The number can also be written without `+` or `+1`.\n",
    );
    print(&text)
}

fn list_scenarios(format: Format) -> Result<(), Failed> {
    let list: Vec<ReadyMade> = READY_MADE
        .iter()
        .map(|(name, text)| {
            let scenario = Scenario::parse(name, text)?;
            Ok(ReadyMade {
                name,
                scenario: scenario.name,
            })
        })
        .collect::<Result<_, crate::scenario::Error>>()?;
    if format == Format::Json {
        return print_json(&list);
    }
    let text: String = list
        .iter()
        .map(|ready| format!("{:<40} {}\n", ready.name, ready.scenario))
        .collect();
    print(&text)
}
