//! The scenario file: from text, with every finding at once, to what a run needs.
//!
//! ```text
//! source ─→ yaml ─→ decode (into model) ─→ check ─→ Scenario
//! ```
//!
//! What happens to an event is [`journey`](crate::journey)'s business, when it happens
//! [`plan`](crate::plan)'s.

mod check;
pub mod data;
pub mod decode;
pub mod event;
pub mod faults;
pub mod finding;
pub mod model;
pub mod schema;
pub mod source;
pub mod template;
pub mod units;
pub mod variables;
pub mod yaml;

use hyper::header::{HeaderName, HeaderValue};

use crate::expect::Expect;
use crate::fault::FaultSpec;
use crate::journey::Journey;
use crate::vibes::callback::Wording;
use crate::vibes::outcome::{Outcome, Status};
use crate::vibes::registration::{ContentType, Filter, Method};

pub use check::header;
use event::{EventSpec, Weights};
use finding::Findings;
use model::{Downed, DuplicateEventId, MultipartSuccess, RoutingMode};
use source::Source;
use units::{Duration, RetryPolicy, SECOND};

/// The customer's key that bodies name if the scenario does not.
pub const DEFAULT_COMPANY_KEY: &str = "zY5VnE7r";

/// A scenario that was read and found to make sense.
#[derive(Debug)]
pub struct Scenario {
    /// What it is, in a line; the file's name if it does not say.
    pub name: String,
    /// The seed that the file asks for.
    pub seed: Option<u64>,
    /// The customer's key.
    pub company_key: String,
    /// Whether the file says whose key that is; one that does not is for every company of a server.
    pub names_company: bool,
    /// Where callbacks go.
    pub destination: Destination,
    /// The ways an event can go; the last one is the good day.
    pub journeys: Vec<Journey>,
    /// What a run makes up.
    pub events: Vec<EventSpec>,
    /// How a server answers posted events.
    pub routes: Vec<RouteSpec>,
    /// What goes wrong on purpose, at most 255.
    pub faults: Vec<FaultSpec>,
    /// What is expected of a run.
    pub expect: Expect,
    /// What receivers could notice.
    pub settings: Settings,
    /// What only a server minds.
    pub serving: Serving,
    /// The file's text.
    pub text: String,
    /// What probably is not as meant; it runs all the same.
    pub warnings: Findings,
}

/// Where callbacks go.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// The file's URL; the run may have another.
    pub url: Option<String>,
    /// `POST` or `PUT`.
    pub method: Method,
    /// The callbacks' content type.
    pub content_type: ContentType,
    /// Headers added to each request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Which callbacks it wants.
    pub filter: Filter,
}

/// How a server answers events that match.
#[derive(Debug)]
pub struct RouteSpec {
    /// Conditions that must all hold: a path and a pattern in which `*` stands for any text.
    pub when: Vec<(String, String)>,
    /// Which way they go.
    pub journeys: Weights,
}

/// What a receiver could notice: the choices where Vibes is silent or contradicts itself.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How bodies are worded.
    pub wording: Wording,
    /// Which success of a message in parts calls back.
    pub multipart_success: MultipartSuccess,
    /// Statuses other than the usual ones.
    pub statuses: Vec<(&'static Outcome, Status)>,
    /// What to do about passing failures.
    pub retry: RetryPolicy,
    /// For one attempt; the older developer wiki says two seconds.
    pub timeout: Duration,
    /// When a destination counts as down.
    pub downed: Downed,
}

/// What a server, which knows several files, must tell from what is as usual; each is absent where the file does
/// not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Serving {
    /// What becomes of an event that no campaign and no route takes.
    pub routing: Option<RoutingMode>,
    /// What becomes of an `event_id` that was there before.
    pub duplicate_event_id: Option<DuplicateEventId>,
    /// Whether the platform's limits hold.
    pub enforce_limits: Option<bool>,
    /// What to do about passing failures.
    pub retry: Option<RetryPolicy>,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// When a destination counts as down.
    pub downed: Option<Downed>,
    /// Whether anything is said about bodies and parts: it is as the file has it then.
    pub wording: Option<()>,
}

impl Serving {
    /// What is said here, and what another one says of the rest.
    pub fn or(self, other: Serving) -> Serving {
        Serving {
            routing: self.routing.or(other.routing),
            duplicate_event_id: self.duplicate_event_id.or(other.duplicate_event_id),
            enforce_limits: self.enforce_limits.or(other.enforce_limits),
            retry: self.retry.or(other.retry),
            timeout: self.timeout.or(other.timeout),
            downed: self.downed.or(other.downed),
            wording: self.wording.or(other.wording),
        }
    }

    /// The settings of deliveries.
    pub fn settings(self) -> Settings {
        let usual = Settings::default();
        Settings {
            retry: self.retry.unwrap_or(usual.retry),
            timeout: self.timeout.unwrap_or(usual.timeout),
            downed: self.downed.unwrap_or(usual.downed),
            ..usual
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            wording: Wording::default(),
            multipart_success: MultipartSuccess::default(),
            statuses: Vec::new(),
            retry: RetryPolicy::VIBES,
            timeout: Duration(2 * SECOND),
            downed: Downed {
                after: 10,
                pause: Duration(60 * SECOND),
            },
        }
    }
}

impl Settings {
    /// The status that goes with an outcome.
    pub fn status(&self, outcome: &'static Outcome) -> Status {
        self.statuses
            .iter()
            .find(|(other, _)| std::ptr::eq(*other, outcome))
            .map_or(outcome.status, |(_, status)| *status)
    }
}

impl Scenario {
    /// A scenario of that name in which nothing happens by itself.
    pub fn empty(name: &str) -> Scenario {
        Scenario {
            name: name.to_owned(),
            seed: None,
            company_key: DEFAULT_COMPANY_KEY.to_owned(),
            names_company: false,
            destination: Destination::default(),
            journeys: Vec::new(),
            events: Vec::new(),
            routes: Vec::new(),
            faults: Vec::new(),
            expect: Expect::default(),
            text: String::new(),
            settings: Settings::default(),
            serving: Serving::default(),
            warnings: Findings::new(name, "", Vec::new()),
        }
    }

    /// Reads a scenario: a file's path, or the name of a ready-made one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or it has findings.
    pub fn load(name: &str) -> Result<Scenario, Error> {
        Scenario::read(&Source::open(name)?)
    }

    /// Reads a scenario from its text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Scenario, Error> {
        Scenario::read(&Source::of(name, text)?)
    }

    fn read(source: &Source) -> Result<Scenario, Error> {
        check::compile(source).map_err(Error::Invalid)
    }

    /// Whether a server minds it for a company: if the file names that one, or none.
    pub fn applies_to(&self, company_key: &str) -> bool {
        !self.names_company || self.company_key == company_key
    }

    /// How many journeys a run of it has.
    pub fn journey_count(&self) -> u64 {
        self.events.iter().map(|event| event.count).sum()
    }
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read at all.
    #[error("{0}")]
    Unreadable(String),
    /// It was read, and this is wrong with it.
    #[error("{0}")]
    Invalid(Findings),
}
