//! The options that run, trigger and plan share, and the words about a run that goes on.

use std::io::{self, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::mpsc;

use super::listen;
use super::output::{FAILED, Failed, Format, INTERRUPTED, OK, colour_err, note, print, print_json};
use crate::delivery::tls::{HttpVersion, Identity, Transport};
use crate::delivery::{Stepper, StopSignal};
use crate::plan::Shard;
use crate::receiver::{Manner, Receiver};
use crate::report::attempts::Attempts;
use crate::report::file::{Form, ReportFile};
use crate::report::lines::Lines;
use crate::report::progress::ProgressLine;
use crate::report::story::Story;
use crate::report::{Report, human};
use crate::run::{CONNECTIONS, Run, RunError};
use crate::scenario::Scenario;
use crate::scenario::source::plain_words;
use crate::scenario::units::{Duration, RetryPolicy};
use crate::timeline::{Job, Speed};
use crate::vibes::registration::check_url;

/// Signals that come so soon after another mean the same.
const SAME_SIGNAL: std::time::Duration = std::time::Duration::from_millis(300);

/// So many lines of the built-in receiver are shown without `-v`.
const SHOWN: u64 = 200;

#[derive(clap::Args)]
pub struct TimeOptions {
    /// Every random choice comes from it; the file's if absent, else fresh and printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// The run's time zero in the bodies (RFC 3339); now if absent
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub start: Option<DateTime<Utc>>,
}

#[derive(clap::Args)]
pub struct SendOptions {
    /// Destination, overriding the file's; without any, a built-in receiver shows what comes
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    #[command(flatten)]
    pub time: TimeOptions,
    /// How fast the run's clock goes: 1x, 60x, or max for no waiting
    #[arg(long, value_name = "X", default_value = "1x")]
    pub speed: Speed,
    /// Connections to the destination
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS, value_parser = connections)]
    pub connections: usize,
    /// A header added to each request; repeatable
    #[arg(long, value_name = "K: V", value_parser = header)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Certificates (PEM) to trust on https, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Trust any certificate on https
    #[arg(long)]
    pub insecure: bool,
    /// Client certificate (PEM) for https, with those that lead to its issuer
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The client certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Version of HTTP; else what the receiver prefers on https, and 1 on http
    #[arg(long, value_name = "1|2", value_parser = http)]
    pub http: Option<HttpVersion>,
    /// For one attempt; 2s if neither this nor the file says otherwise
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// vibes (five retries, five minutes apart), none, or a policy such as 5x10s
    #[arg(long, value_name = "POLICY", value_parser = retry)]
    pub retry: Option<RetryPolicy>,
    /// How long to wait for the destination to accept connections
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// human, json (one summary) or jsonl (one line a delivery); human on a terminal, else json
    #[arg(long, value_name = "F", value_enum, hide_possible_values = true)]
    pub format: Option<Format>,
    /// A file for the result, by its ending: .json, .xml (JUnit) or .html; repeatable
    #[arg(long, value_name = "FILE")]
    pub report: Vec<ReportFile>,
    /// Add X-Vibes-Mock-Journey, -Outcome, -Part and -Attempt to each request
    #[arg(long)]
    pub mark: bool,
    /// Wait for a key before each callback
    #[arg(long)]
    pub step: bool,
    /// Say less
    #[arg(long, short)]
    pub quiet: bool,
    /// Say more: a line for each attempt; the built-in receiver shows whole bodies
    #[arg(short, long)]
    pub verbose: bool,
    /// Record each attempt in this SQLite file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// What a page is drawn from.
    #[arg(skip)]
    story: Story,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_rfc3339(text);
    let time = parsed
        .map_err(|error| format!("{error}; write it like 2026-01-01T00:00:00Z"))?
        .to_utc();
    // Twenty years on either side of it must still be dates that every receiver can read.
    let plain = 1970..=9900;
    match plain.contains(&chrono::Datelike::year(&time)) {
        true => Ok(time),
        false => Err("the year is not between 1970 and 9900".to_owned()),
    }
}

fn connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("write a number from 1 to 10000".to_owned()),
    }
}

/// clap shows one line.
fn one_line(message: String) -> String {
    message.replace('\n', "; ")
}

pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse().map_err(one_line)
}

fn retry(text: &str) -> Result<RetryPolicy, String> {
    text.parse().map_err(one_line)
}

fn http(text: &str) -> Result<HttpVersion, String> {
    match text {
        "1" => Ok(HttpVersion::One),
        "2" => Ok(HttpVersion::Two),
        _ => Err("write 1 or 2".to_owned()),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as 'Name: value'")?;
    crate::scenario::header(name.trim(), value.trim()).map_err(one_line)
}

impl SendOptions {
    /// Refuses options that do not go with a scenario's destination.
    pub fn check_destination(&self, scenario: &Scenario) -> Result<(), Failed> {
        let url = self.to.as_ref().or(scenario.destination.url.as_ref());
        // Without any, the built-in receiver is at an http URL.
        let url = check_url(url.map_or("http://127.0.0.1/", String::as_str));
        url.and_then(|url| self.transport().check(&url))
            .map_err(Failed::usage)
    }

    fn transport(&self) -> Transport {
        let identity = self.cert.clone().zip(self.key.clone());
        Transport {
            ca: self.ca.clone(),
            insecure: self.insecure,
            identity: identity.map(|(certificate, key)| Identity { certificate, key }),
            http: self.http,
        }
    }

    /// How the result is written.
    pub fn format(&self) -> Format {
        Format::or(self.format, Format::Json)
    }

    /// Puts the options into a scenario's run.
    pub fn outfit(
        &self,
        mut scenario: Scenario,
        shard: Shard,
        stop: &StopSignal,
    ) -> Result<Run, Failed> {
        if let Some(retry) = self.retry {
            scenario.settings.retry = retry;
        }
        if let Some(timeout) = self.timeout {
            scenario.settings.timeout = timeout;
        }
        self.check_destination(&scenario)?;
        if self.insecure {
            // Not even --quiet keeps this from the one who reads a log.
            note(
                "WARNING: --insecure: no certificate is verified; anybody can pose as the receiver.",
            );
        }
        let url = self.to.as_ref().or(scenario.destination.url.as_ref());
        let (url, shows) = match url {
            Some(url) => (url.clone(), false),
            None => (self.built_in_receiver()?, true),
        };
        let mut run = Run::new(scenario)
            .to(url)
            .speed(self.speed)
            .connections(self.connections)
            .shard(shard)
            .mark(self.mark)
            .transport(self.transport())
            .wait(self.wait.to_std())
            .stopped_by(stop.clone());
        for (name, value) in &self.header {
            run = run.header(name.clone(), value.clone());
        }
        if let Some(seed) = self.time.seed {
            run = run.seed(seed);
        }
        if let Some(start) = self.time.start {
            run = run.start(start);
        }
        if let Some(journal) = &self.journal {
            run = run.journal(journal);
        }
        if self.format() == Format::Jsonl {
            run = run.observe(Lines(io::stdout()));
        }
        if self.report.iter().any(|file| file.form() == Form::Html) {
            run = run.observe(self.story.clone());
        }
        if self.verbose && !shows {
            run = run.observe(Attempts);
        } else if !self.quiet && !shows && !self.step && io::stderr().is_terminal() {
            run = run.observe(ProgressLine::new());
        }
        if self.step {
            run = run.step(stepper(stop.clone())?);
        }
        self.prepare_reports()?;
        Ok(run)
    }

    /// A run's result must not be lost for want of a folder: that is found out before it.
    fn prepare_reports(&self) -> Result<(), Failed> {
        let journal = self.journal.as_deref();
        if let Some(file) = self.report.iter().find(|file| Some(file.path()) == journal) {
            return Err(Failed::usage(format!(
                "{} would be the journal and a report\nname two files",
                file.path().display()
            )));
        }
        for file in &self.report {
            file.prepare()
                .map_err(|error| Failed::usage(unwritable(file, &error)))?;
        }
        Ok(())
    }

    fn write_reports(&self, report: &Report) -> Result<(), Failed> {
        for file in &self.report {
            file.write(report, &self.story)
                .map_err(|error| Failed::delivery(unwritable(file, &error)))?;
        }
        Ok(())
    }

    fn built_in_receiver(&self) -> Result<String, Failed> {
        let verbose = self.verbose;
        let quiet = self.quiet;
        let (address, bound) = std::sync::mpsc::channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let receiver = Receiver::bind(any, Manner::default()).await?;
                let _ = address.send(receiver.address()?);
                let shown = AtomicU64::new(0);
                receiver
                    .serve(move |received| {
                        let before = shown.fetch_add(1, Ordering::Relaxed);
                        if quiet {
                        } else if before < SHOWN || verbose {
                            note(listen::describe(received, verbose, colour_err()));
                        } else if before == SHOWN {
                            note("… and so on (-v shows all)");
                        }
                    })
                    .await;
                Ok::<(), io::Error>(())
            })
        };
        std::thread::Builder::new()
            .name("receiver".to_owned())
            .spawn(serve)?;
        let address = bound.recv().map_err(|_| {
            Failed::delivery("the built-in receiver cannot have a port on 127.0.0.1")
        })?;
        if !self.quiet {
            note(format_args!(
                "No destination given: a built-in receiver at http://{address}/ shows what comes (--to URL sends elsewhere)."
            ));
        }
        Ok(format!("http://{address}/"))
    }

    /// Carries a run out, prints its result, and gives the exit status.
    pub fn finish(
        &self,
        run: Run,
        carry_out: impl FnOnce(Run) -> Result<Report, RunError>,
    ) -> Result<u8, Failed> {
        let report =
            carry_out(run).inspect_err(|_| self.report.iter().for_each(ReportFile::abandon))?;
        // Before anything is printed, since nobody may read that.
        let written = self.write_reports(&report);
        match self.format() {
            // The distributions are long, and for report files.
            Format::Json => print_json(&Report {
                distributions: None,
                ..report.clone()
            })?,
            Format::Human => print(&human::summary(&report))?,
            Format::Jsonl if !self.quiet => note(human::summary(&report).trim_end()),
            Format::Jsonl => {}
        }
        written?;
        if let Some(broken) = &report.broken {
            return Err(Failed::delivery(broken.clone()));
        }
        Ok(match () {
            () if report.interrupted => INTERRUPTED,
            () if report.all_accepted() && report.expectations_met() => OK,
            () => FAILED,
        })
    }
}

fn unwritable(file: &ReportFile, error: &io::Error) -> String {
    let path = file.path().display();
    format!("cannot write the report {path}: {}", plain_words(error))
}

/// Of several results, the one to end with.
pub fn worst(codes: impl IntoIterator<Item = u8>) -> ExitCode {
    ExitCode::from(codes.into_iter().max().unwrap_or(OK))
}

/// Ends what listens to the signal on Ctrl-C or SIGTERM; a second one ends the program.
pub fn stop_on_signals() -> io::Result<StopSignal> {
    let stop = StopSignal::default();
    let told = stop.clone();
    let wait = move || -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            signalled().await?;
            note("Stopping; what is under way may end. Once more to end at once.");
            told.stop();
            // `timeout` and others signal the process and its group: twice, and mean it once.
            tokio::time::sleep(SAME_SIGNAL).await;
            signalled().await?;
            std::process::exit(i32::from(INTERRUPTED));
        })
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(stop)
}

#[cfg(unix)]
async fn signalled() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn signalled() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// Asks for a key before each callback, on a thread that may wait for it; without a terminal, a line of
/// standard input stands for the key.
fn stepper(stop: StopSignal) -> io::Result<Stepper> {
    let (ask, mut asked) = mpsc::channel::<Job>(1);
    let (answer, go) = mpsc::channel(1);
    let keys = move || {
        while let Some(job) = asked.blocking_recv() {
            let callback = &job.callback;
            let part = match callback.parts {
                0 => String::new(),
                parts => format!(", part {} of {parts}", callback.part),
            };
            note(format_args!(
                "next: {}{part}, journey {}, attempt {} (a key goes on, q ends)",
                callback.outcome, callback.journey, job.attempt
            ));
            if !go_on() || answer.blocking_send(()).is_err() {
                stop.stop();
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("keys".to_owned())
        .spawn(keys)?;
    Ok(Stepper { ask, go })
}

fn go_on() -> bool {
    if io::stdin().is_terminal() {
        let key = console::Term::stderr().read_key();
        !matches!(
            key,
            Err(_) | Ok(console::Key::Char('q') | console::Key::Escape)
        )
    } else {
        let mut line = String::new();
        matches!(io::stdin().read_line(&mut line), Ok(1..)) && line.trim() != "q"
    }
}
