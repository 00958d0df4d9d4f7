//! Carrying a scenario out: what the library's users and the command line both go through.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use rand::TryRng;

use crate::delivery::clock::Clock;
use crate::delivery::target::Target;
use crate::delivery::tls::Transport;
use crate::delivery::{Ending, Engine, Observer, SharedObserver, Stepper, StopSignal};
use crate::journal::{self, Identity, JournalError, Opened};
use crate::plan::{Parameters, Plan, Shard, instant};
use crate::report::{Heading, Report, Tally};
use crate::scenario::Scenario;
use crate::scenario::source::plain_words;
use crate::timeline::{Feed, Speed, Timeline};

/// The connections to a destination, unless it is said otherwise.
pub const CONNECTIONS: usize = 32;

/// A scenario with everything that a run of it needs.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use vibes_mock::{Scenario, Speed};
///
/// let report = Scenario::load("happy-path")?
///     .seed(7)
///     .to("http://127.0.0.1:8080/vibes/callbacks")
///     .speed(Speed::Max)
///     .run()
///     .await?;
/// assert!(report.all_accepted());
/// # Ok(()) }
/// ```
pub struct Run {
    scenario: Arc<Scenario>,
    url: Option<String>,
    seed: Option<u64>,
    start: Option<DateTime<Utc>>,
    speed: Speed,
    connections: usize,
    shard: Shard,
    headers: Vec<(HeaderName, HeaderValue)>,
    mark: bool,
    transport: Transport,
    wait: Duration,
    observers: Vec<Box<dyn Observer>>,
    stepper: Option<Stepper>,
    stop: StopSignal,
    threads: u64,
    journal: Option<PathBuf>,
    resume: bool,
}

/// Why a run did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no URL to send to, it is none, or a file that its TLS needs cannot be used.
    #[error("{0}")]
    Destination(String),
    /// There is nothing to send.
    #[error("the scenario `{0}` has no events, so there is nothing to fire")]
    NoEvents(String),
    /// The destination does not accept connections.
    #[error("nobody answers at {address}: {}", plain_words(error))]
    NotThere {
        /// Host and port.
        address: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine gave no thread or runtime.
    #[error("cannot start: {0}")]
    Machine(#[from] std::io::Error),
}

/// A seed that no earlier run had; used where neither file nor user names one.
pub fn fresh_seed() -> u64 {
    // Nine digits are easy to retype and plenty.
    let seed = rand::rngs::SysRng.try_next_u64();
    seed.unwrap_or_else(|_| Utc::now().timestamp_micros().unsigned_abs()) % 1_000_000_000
}

impl Scenario {
    /// Where to send; overrides the file's URL.
    pub fn to(self, url: impl Into<String>) -> Run {
        Run::new(self).to(url)
    }

    /// The seed; overrides the file's.
    pub fn seed(self, seed: u64) -> Run {
        Run::new(self).seed(seed)
    }

    /// How fast the run's clock goes.
    pub fn speed(self, speed: Speed) -> Run {
        Run::new(self).speed(speed)
    }
}

impl Run {
    /// A run with everything as the file says, and else as usual.
    pub fn new(scenario: Scenario) -> Run {
        Run {
            scenario: Arc::new(scenario),
            url: None,
            seed: None,
            start: None,
            speed: Speed::default(),
            connections: CONNECTIONS,
            shard: Shard::WHOLE,
            headers: Vec::new(),
            mark: false,
            transport: Transport::default(),
            wait: Duration::ZERO,
            observers: Vec::new(),
            stepper: None,
            stop: StopSignal::default(),
            threads: 1,
            journal: None,
            resume: false,
        }
    }

    /// Where to send; overrides the file's URL.
    pub fn to(mut self, url: impl Into<String>) -> Run {
        self.url = Some(url.into());
        self
    }

    /// The seed; overrides the file's.
    pub fn seed(mut self, seed: u64) -> Run {
        self.seed = Some(seed);
        self
    }

    /// The run's time zero in the bodies; now, if it is not said.
    pub fn start(mut self, start: DateTime<Utc>) -> Run {
        self.start = Some(start);
        self
    }

    /// How fast the run's clock goes.
    pub fn speed(mut self, speed: Speed) -> Run {
        self.speed = speed;
        self
    }

    /// How many connections there may be at once; at least one.
    pub fn connections(mut self, connections: usize) -> Run {
        self.connections = connections.max(1);
        self
    }

    /// Takes only a share of the journeys.
    pub fn shard(mut self, shard: Shard) -> Run {
        self.shard = shard;
        self
    }

    /// Adds a header to each request.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Run {
        self.headers.push((name, value));
        self
    }

    /// Adds the `X-Vibes-Mock-…` headers, which tell what the bodies alone do not.
    pub fn mark(mut self, mark: bool) -> Run {
        self.mark = mark;
        self
    }

    /// Whom to trust on https, as whom to come, and which HTTP to speak.
    pub fn transport(mut self, transport: Transport) -> Run {
        self.transport = transport;
        self
    }

    /// How long to wait for the destination to accept connections before the first callback.
    pub fn wait(mut self, wait: Duration) -> Run {
        self.wait = wait;
        self
    }

    /// Lets somebody read along.
    pub fn observe(mut self, observer: impl Observer + 'static) -> Run {
        self.observers.push(Box::new(observer));
        self
    }

    /// Asks before each callback; nothing else moves the clock then.
    pub fn step(mut self, stepper: Stepper) -> Run {
        self.stepper = Some(stepper);
        self.connections = 1;
        self.threads = 1;
        self.speed = Speed::Max;
        self
    }

    /// What can end the run early.
    pub fn stopped_by(mut self, stop: StopSignal) -> Run {
        self.stop = stop;
        self
    }

    /// Shares the journeys out between so many threads, each with a runtime and connections of its own.
    pub fn threads(mut self, threads: usize) -> Run {
        self.threads = threads.max(1) as u64;
        self
    }

    /// Records each attempt in an SQLite file, which must not be there yet.
    pub fn journal(mut self, file: impl Into<PathBuf>) -> Run {
        self.journal = Some(file.into());
        self
    }

    /// Goes on with the run of the journal, which is begun if it is not there yet. Seed and time zero are
    /// the journal's, unless they are given; then they must be the same.
    pub fn resume(mut self, resume: bool) -> Run {
        self.resume = resume;
        self
    }

    /// Carries the plan out, on a thread of its own.
    ///
    /// # Errors
    ///
    /// Nothing was sent: there is no destination or no event, or nobody answers there. A delivery that
    /// failed is not an error but in the report.
    pub async fn run(self) -> Result<Report, RunError> {
        let (done, report) = tokio::sync::oneshot::channel();
        let task = move || {
            let _ = done.send(self.run_here());
        };
        std::thread::Builder::new()
            .name("vibes-mock".to_owned())
            .spawn(task)?;
        let gone = |_| std::io::Error::other("the run's thread ended without a report");
        report.await.map_err(gone)?
    }

    /// Carries the plan out on this thread, with a runtime of its own.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_here(self) -> Result<Report, RunError> {
        if self.scenario.events.is_empty() {
            return Err(RunError::NoEvents(self.scenario.name.clone()));
        }
        let recorded = match &self.journal {
            Some(file) if self.resume => journal::parameters(file)?,
            _ => None,
        };
        let recorded_seed = recorded.map(|(seed, _)| seed);
        let seed = self.seed.or(recorded_seed).or(self.scenario.seed);
        let parameters = Parameters {
            seed: seed.unwrap_or_else(fresh_seed),
            start: self
                .start
                .or(recorded.map(|(_, start)| start))
                .unwrap_or_else(Utc::now),
            shard: self.shard,
        };
        // A thread without a connection would have nothing to do.
        let threads = self.threads.min(self.connections as u64);
        let plans = Plan::shares(&self.scenario, parameters, threads);
        let boxed = |plan| -> Box<dyn Feed> { Box::new(plan) };
        let plans = plans.into_iter().map(boxed).collect();
        self.carry_out(plans, parameters)
    }

    /// Sends what another feed than a plan has; the scenario says where to and how.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_feed(self, feed: Box<dyn Feed>, seed: u64) -> Result<Report, RunError> {
        let parameters = Parameters {
            seed,
            start: feed.start(),
            shard: Shard::WHOLE,
        };
        self.carry_out(vec![feed], parameters)
    }

    fn carry_out(
        self,
        feeds: Vec<Box<dyn Feed>>,
        parameters: Parameters,
    ) -> Result<Report, RunError> {
        let target = self.target()?;
        if let Some(report) = self.reach(&target, parameters)? {
            return Ok(report);
        }
        let (journal, writing, earlier) = match self.open_journal(parameters)? {
            Some(opened) => (Some(opened.journal), Some(opened.writing), opened.earlier),
            None => (None, None, None),
        };
        let heading = self.heading(&target, parameters);
        let observers: Vec<SharedObserver> = self
            .observers
            .into_iter()
            .map(|observer| Arc::new(Mutex::new(observer)))
            .collect();
        let threads = feeds.len();
        let mut stepper = self.stepper;
        let mut jobs = Vec::new();
        for (thread, feed) in feeds.into_iter().enumerate() {
            let tally = Tally::new(self.scenario.expect.clone());
            let mut timeline = Timeline::new(feed, &self.scenario.settings);
            if let Some(earlier) = &earlier {
                timeline.resume(earlier.history()?);
                if thread == 0 {
                    earlier.attempts(|entry| tally.recall(&entry))?;
                }
            }
            let from = timeline.reached();
            let share =
                |observer: &SharedObserver| -> Box<dyn Observer> { Box::new(Arc::clone(observer)) };
            let mut observers: Vec<Box<dyn Observer>> = observers.iter().map(share).collect();
            observers.push(Box::new(tally.clone()));
            let engine = Engine {
                timeline,
                target: target.clone(),
                clock: Clock::at(from, self.speed),
                connections: self.connections.div_ceil(threads),
                observers,
                stepper: stepper.take(),
                stop: self.stop.clone(),
                journal: journal.clone(),
                thread,
            };
            let heading = heading.clone();
            jobs.push(move || drive(engine).map(|ending| tally.report(heading, &ending, threads)));
        }
        drop(journal);
        let mut report = side_by_side(jobs)?;
        if let Some(writing) = writing {
            // It folds the write-ahead log into the file.
            let _ = writing.join();
        }
        if threads > 1 && self.shard == Shard::WHOLE {
            report.judge();
        }
        Ok(report)
    }

    fn heading(&self, target: &Target, parameters: Parameters) -> Heading {
        Heading {
            scenario: self.scenario.name.clone(),
            destination: target.url.clone(),
            seed: parameters.seed,
            start: instant(parameters.start),
            speed: self.speed.to_string(),
            shard: self.shard,
        }
    }

    fn target(&self) -> Result<Target, RunError> {
        let url = self.url.as_ref().or(self.scenario.destination.url.as_ref());
        let url = url.ok_or_else(|| {
            RunError::Destination("there is no destination\nname one with `to`".to_owned())
        })?;
        Target::new(
            url,
            &self.scenario.destination,
            &self.headers,
            self.scenario.settings.timeout.to_std(),
            self.mark,
            &self.transport,
        )
        .map_err(RunError::Destination)
    }

    /// Waits for the destination; if the run is stopped meanwhile, that is its report.
    fn reach(&self, target: &Target, parameters: Parameters) -> Result<Option<Report>, RunError> {
        let reached = runtime()?.block_on(async {
            tokio::select! {
                reached = target.wait(self.wait) => Some(reached),
                () = self.stop.stopped() => None,
            }
        });
        match reached {
            Some(Ok(())) => Ok(None),
            Some(Err(error)) => Err(RunError::NotThere {
                address: target.address(),
                error,
            }),
            None => {
                let heading = self.heading(target, parameters);
                let ending = Ending {
                    interrupted: true,
                    ..Ending::default()
                };
                let tally = Tally::new(self.scenario.expect.clone());
                Ok(Some(tally.report(heading, &ending, 1)))
            }
        }
    }

    fn open_journal(&self, parameters: Parameters) -> Result<Option<Opened>, RunError> {
        let Some(file) = &self.journal else {
            return Ok(None);
        };
        let identity = Identity {
            scenario: self.scenario.name.clone(),
            text: self.scenario.text.clone(),
            seed: parameters.seed,
            start: parameters.start,
            shard: self.shard,
        };
        Ok(Some(match self.resume {
            true => journal::resume(file, &identity)?,
            false => journal::create(file, &identity)?,
        }))
    }
}

/// One thread only: a second one would compete with the receiver for the machine.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

/// Carries a plan out on this thread.
fn drive(engine: Engine) -> std::io::Result<Ending> {
    let runtime = runtime()?;
    let ending = runtime.block_on(engine.run());
    runtime.shutdown_background();
    Ok(ending)
}

/// Does everything at once, the first on this thread, and adds the reports up.
fn side_by_side<F>(jobs: Vec<F>) -> Result<Report, RunError>
where
    F: FnOnce() -> std::io::Result<Report> + Send,
{
    let gone = || std::io::Error::other("a thread of the run ended without a report");
    let mut jobs = jobs.into_iter();
    let first = jobs.next().ok_or_else(gone)?;
    std::thread::scope(|scope| {
        let others: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        let mut report = first()?;
        for other in others {
            report.add(&other.join().map_err(|_| gone())??);
        }
        Ok(report)
    })
}
