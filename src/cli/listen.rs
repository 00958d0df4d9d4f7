//! `vibes-mock listen`: a receiver to look at callbacks with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use console::Style;
use hyper::StatusCode;

use super::options::{duration, stop_on_signals};
use super::output::{Failed, INTERRUPTED, colour_out, note, print};
use crate::receiver::{Manner, Received, Receiver};
use crate::replay::recording::Recorder;
use crate::scenario::units::Duration;
use crate::vibes::callback::ReceivedCallback;
use crate::vibes::outcome::Status;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock listen\n  \
    vibes-mock listen --status 503 --first 3    refuse three, then accept\n  \
    vibes-mock listen --delay 3s -v             answer too late, show whole bodies\n  \
    vibes-mock listen --record got.jsonl        keep what comes, to send it again")]
pub struct Args {
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,
    /// The address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// The status to answer with
    #[arg(long, value_name = "CODE", default_value = "200", value_parser = status)]
    status: StatusCode,
    /// Answer only so many with that status, the others with 200
    #[arg(long, value_name = "N")]
    first: Option<u64>,
    /// How long to wait before each answer
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    delay: Duration,
    /// Write each request to a new file, for `vibes-mock replay`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Show whole bodies
    #[arg(short, long)]
    verbose: bool,
}

fn status(text: &str) -> Result<StatusCode, String> {
    let code = text
        .parse()
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    match code {
        Some(code) if !code.is_informational() => Ok(code),
        _ => Err("write a status from 200 to 999".to_owned()),
    }
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let address = SocketAddr::new(args.bind, args.port);
    let manner = Manner {
        status: args.status,
        first: args.first,
        delay: args.delay.to_std(),
    };
    let recorder = args.record.as_deref().map(Recorder::create);
    let recorder = recorder.transpose().map_err(Failed::usage)?;
    let stop = stop_on_signals()?;
    let verbose = args.verbose;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let receiver = Receiver::bind(address, manner).await.map_err(|error| {
            Failed::usage(format!(
                "cannot listen at {address}: {error}\ntake another port with `--port`, or any free one with `--port 0`"
            ))
        })?;
        let address = receiver.address()?;
        note(format_args!("listening at http://{address}/ (Ctrl-C ends)"));
        let (closed, mut output_closed) = tokio::sync::mpsc::channel::<Failed>(1);
        let serving = receiver.serve(move |received| {
            let line = describe(received, verbose, colour_out());
            let recorded = recorder.iter().try_for_each(|to| record(to, received));
            if let Err(failed) = recorded.and_then(|()| print(&(line + "\n"))) {
                let _ = closed.try_send(failed);
            }
        });
        tokio::select! {
            () = serving => Ok(ExitCode::SUCCESS),
            () = stop.stopped() => Ok(ExitCode::from(INTERRUPTED)),
            Some(failed) = output_closed.recv() => Err(failed),
        }
    });
    runtime.shutdown_background();
    outcome
}

fn record(recorder: &Recorder, received: &Received) -> Result<(), Failed> {
    let cannot = |error| Failed::delivery(format!("cannot record the request: {error}"));
    recorder.record(received).map_err(cannot)
}

/// A callback in one readable line, or with its whole body.
pub fn describe(received: &Received, verbose: bool, colour: bool) -> String {
    let paint = |style: Style, text: String| style.force_styling(colour).apply_to(text).to_string();
    let answered = match received.status.is_success() {
        true => String::new(),
        false => format!("  answered {}", received.status.as_u16()),
    };
    let line = match serde_json::from_slice::<ReceivedCallback>(&received.body) {
        Ok(callback) => {
            let event = &callback.event_processed;
            let style = match event.action.status {
                Status::Success => Style::new().green(),
                Status::Failed => Style::new().red(),
                Status::Processing => Style::new().cyan(),
            };
            let what = format!(
                "{:<10} {:<10} {:<35}",
                callback.stage(),
                event.action.status.name(),
                event.action.status_reason
            );
            let why = callback
                .failure()
                .map(|why| format!("  {why}"))
                .unwrap_or_default();
            format!(
                "{}  {} {}  {}{why}{answered}",
                callback.event_date,
                paint(style, what),
                event.event_type,
                event.event_id,
            )
        }
        Err(error) => format!(
            "{} {}  {}{answered}",
            received.method,
            received.path,
            paint(
                Style::new().yellow(),
                format!("not a callback ({} bytes): {error}", received.body.len())
            ),
        ),
    };
    if !verbose {
        return line;
    }
    let body = match serde_json::from_slice::<serde_json::Value>(&received.body) {
        Ok(json) => coloured_json(&json, colour),
        Err(_) => String::from_utf8_lossy(&received.body)
            .escape_debug()
            .to_string(),
    };
    format!("{line}\n{body}")
}

fn coloured_json(json: &serde_json::Value, colour: bool) -> String {
    let pretty = serde_json::to_string_pretty(json).unwrap_or_default();
    if !colour {
        return pretty;
    }
    let key = Style::new().blue().force_styling(true);
    let value = Style::new().green().force_styling(true);
    let lines = pretty.lines().map(|line| match line.split_once("\": ") {
        Some((name, rest)) => {
            let indent = name.len() - name.trim_start().len();
            let (space, name) = name.split_at(indent);
            format!(
                "{space}{}: {}",
                key.apply_to(format!("{name}\"")),
                value.apply_to(rest)
            )
        }
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
