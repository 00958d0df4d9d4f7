//! Carrying a scenario out: what the library's users and the command line both go through.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::header::{HeaderName, HeaderValue};
use rand::TryRng;

use crate::delivery::target::Target;
use crate::delivery::tls::Transport;
use crate::delivery::{Ending, Engine, Observer, Stepper, StopSignal};
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
    start: DateTime<Utc>,
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
            start: Utc::now(),
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
        self.start = start;
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
        self.speed = Speed::Max;
        self
    }

    /// What can end the run early.
    pub fn stopped_by(mut self, stop: StopSignal) -> Run {
        self.stop = stop;
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
        let seed = self.seed.or(self.scenario.seed).unwrap_or_else(fresh_seed);
        let parameters = Parameters {
            seed,
            start: self.start,
            shard: self.shard,
        };
        let plan = Plan::new(Arc::clone(&self.scenario), parameters);
        self.run_feed(Box::new(plan), seed)
    }

    /// Sends what another feed than a plan has; the scenario says where to and how.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_feed(mut self, feed: Box<dyn Feed>, seed: u64) -> Result<Report, RunError> {
        let scenario = Arc::clone(&self.scenario);
        let url = self
            .url
            .as_ref()
            .or(scenario.destination.url.as_ref())
            .ok_or_else(|| {
                RunError::Destination("there is no destination\nname one with `to`".to_owned())
            })?;
        let timeout = scenario.settings.timeout.to_std();
        let target = Target::new(
            url,
            &scenario.destination,
            &self.headers,
            timeout,
            self.mark,
            &self.transport,
        )
        .map_err(RunError::Destination)?;
        let heading = Heading {
            scenario: scenario.name.clone(),
            destination: target.url.clone(),
            seed,
            start: instant(self.start),
            speed: self.speed.to_string(),
        };
        let tally = Tally::default();
        self.observers.push(Box::new(tally.clone()));
        // One thread: a second one would only compete with the receiver for the machine.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let ending = runtime.block_on(async {
            let reached = tokio::select! {
                reached = target.wait(self.wait) => reached,
                () = self.stop.stopped() => {
                    return Ok::<_, RunError>(Ending { interrupted: true, ..Ending::default() });
                }
            };
            reached.map_err(|error| RunError::NotThere {
                address: target.address(),
                error,
            })?;
            let engine = Engine {
                timeline: Timeline::new(feed, &scenario.settings),
                target,
                speed: self.speed,
                connections: self.connections,
                observers: self.observers,
                stepper: self.stepper,
                stop: self.stop,
            };
            Ok(engine.run().await)
        });
        runtime.shutdown_background();
        Ok(tally.report(heading, &ending?))
    }
}
