//! `vibes-mock trigger`: fire single callbacks, no file needed.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Map, Value};

use super::catalog::named;
use super::options::{SendOptions, stop_on_signals};
use super::output::Failed;
use crate::plan::Shard;
use crate::replay::{Recorded, Replay};
use crate::run::fresh_seed;
use crate::scenario::Scenario;
use crate::scenario::finding::nearest;
use crate::single::{self, Wish};
use crate::vibes::event::is_event_type;
use crate::vibes::outcome::{MessageType, Outcome};

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock trigger carrier.rejected --to http://localhost:8080/callbacks\n  \
    vibes-mock trigger routing.accepted processing.queued carrier.sent handset.delivered\n  \
    vibes-mock trigger handset.delivered --event-type order_shipped --data first_name=Ann\n  \
    vibes-mock trigger carrier.rejected --set event_processed.action.failure.errors.0.error_code=9")]
pub struct Args {
    /// Outcomes, in the order in which they are fired; `vibes-mock catalog` lists them
    #[arg(required = true, value_name = "OUTCOME")]
    outcomes: Vec<String>,
    #[command(flatten)]
    send: SendOptions,
    /// The event's type
    #[arg(long, value_name = "TYPE", value_parser = event_type)]
    event_type: Option<String>,
    /// Something in the event's data, as JSON or a text; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    data: Vec<(String, Value)>,
    /// The kind of message, where both can be
    #[arg(long, value_name = "sms|mms", value_enum, hide_possible_values = true)]
    message: Option<Message>,
    /// Any field of the body, as JSON or a text; repeatable
    #[arg(long, value_name = "PATH=VALUE", value_parser = pair)]
    set: Vec<(String, Value)>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Message {
    Sms,
    Mms,
}

fn event_type(text: &str) -> Result<String, String> {
    match is_event_type(text) {
        true => Ok(text.to_owned()),
        false => Err("use letters, digits, `-` and `_`".to_owned()),
    }
}

fn pair(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    if key.is_empty() {
        return Err("write it as KEY=VALUE".to_owned());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    let outcomes: Vec<&'static Outcome> = args
        .outcomes
        .iter()
        .map(|name| named(name))
        .collect::<Result<_, _>>()?;
    let seed = args.send.time.seed.unwrap_or_else(fresh_seed);
    let start = args.send.time.start.unwrap_or_else(chrono::Utc::now);
    let mut list = Vec::new();
    for (number, outcome) in (0..).zip(outcomes) {
        let message_type = args.message_type(outcome)?;
        let wish = Wish {
            outcome,
            message_type,
            event_type: args.event_type.as_deref(),
            data: &args.data,
        };
        let mut body = single::body(&wish, seed, number, start).map_err(Failed::usage)?;
        for (path, value) in &args.set {
            set(&mut body, path, value).map_err(Failed::usage)?;
        }
        list.push(Recorded {
            // `--set` may have bent the body beyond recognition.
            outcome: Some(outcome),
            ..Recorded::new(0, serde_json::to_vec(&body)?)
        });
    }
    let stop = stop_on_signals()?;
    let scenario = Scenario::empty("trigger");
    let run = args
        .send
        .outfit(scenario, Shard::WHOLE, &stop)?
        .start(start);
    let code = args.send.finish(run, |run| {
        run.run_feed(Box::new(Replay::new(list, start)), seed)
    })?;
    Ok(ExitCode::from(code))
}

impl Args {
    fn message_type(&self, outcome: &Outcome) -> Result<MessageType, Failed> {
        let asked = match self.message {
            None => return Ok(outcome.messages[0]),
            Some(Message::Sms) => MessageType::Sms,
            Some(Message::Mms) => MessageType::Mms,
        };
        if outcome.messages.contains(&asked) {
            return Ok(asked);
        }
        Err(Failed::usage(format!(
            "{outcome} cannot happen to an {}\nleave out `--message`",
            asked.name().to_uppercase()
        )))
    }
}

/// Puts a value in the place of another.
fn set(body: &mut Value, path: &str, value: &Value) -> Result<(), String> {
    let steps: Vec<&str> = path
        .split(['.', '[', ']'])
        .filter(|step| !step.is_empty())
        .collect();
    let pointer: String = steps
        .iter()
        .map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")))
        .collect();
    if !pointer.is_empty()
        && let Some(there) = body.pointer_mut(&pointer)
    {
        *there = value.clone();
        return Ok(());
    }
    let mut paths = Vec::new();
    collect_paths(body, String::new(), &mut paths);
    let near = nearest(path, paths.iter().map(String::as_str));
    let near = if near.is_empty() {
        paths.iter().map(String::as_str).take(20).collect()
    } else {
        near
    };
    Err(format!(
        "the body has no `{path}`\nthe nearest it has: {}",
        near.iter()
            .map(|path| format!("`{path}`"))
            .collect::<Vec<_>>()
            .join(", ")
    ))
}

fn collect_paths(value: &Value, path: String, paths: &mut Vec<String>) {
    let join = |step: &str| match path.is_empty() {
        true => step.to_owned(),
        false => format!("{path}.{step}"),
    };
    match value {
        Value::Object(map) => collect_map(map, join, paths),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect_paths(item, join(&at.to_string()), paths);
            }
        }
        _ => {}
    }
    if !path.is_empty() {
        paths.push(path);
    }
}

fn collect_map(map: &Map<String, Value>, join: impl Fn(&str) -> String, paths: &mut Vec<String>) {
    for (key, value) in map {
        collect_paths(value, join(key), paths);
    }
}
