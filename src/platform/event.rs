//! An event that was posted, its callbacks, and what becomes of their deliveries.
//!
//! Pure: kept as numbers; bodies are made when they are needed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use super::routing::Way;
use crate::delivery::answer::FailureKind;
use crate::draw::{self, Purpose};
use crate::scenario::event::usual_campaign;
use crate::scenario::variables::fictional_mdn;
use crate::timeline::Next;
use crate::vibes::callback::{Body, DEFAULT_ERROR_CODE, EventPart, Wording};
use crate::vibes::outcome::{MessageType, Outcome, Stage, Status};

/// An event, and what comes of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Its id, as the customer gave it or the platform made it up.
    pub event_id: Arc<str>,
    /// Its type.
    pub event_type: Box<str>,
    /// JSON text.
    pub event_data: Box<str>,
    /// JSON text, if it had any.
    pub debug_data: Option<Box<str>>,
    /// When it came, in nanoseconds since 1970.
    pub arrived: u64,
    /// What random choices about it depend on.
    pub seed: u64,
    /// Beside its number.
    pub number: u64,
    /// The person's key.
    pub person_key: Uuid,
    /// The person's number.
    pub mdn: Box<str>,
    /// The kind of message that it became or would have become.
    pub message_type: MessageType,
    /// The campaign's id.
    pub campaign: u32,
    /// How bodies are worded.
    pub wording: Wording,
    /// What decided about its way, for people.
    pub rule: Box<str>,
    /// What its sender may not have meant, for people.
    pub notes: Vec<String>,
    /// It was asked for to try registrations out: it goes to each, whatever their filters.
    #[serde(default)]
    pub is_test: bool,
    /// The callbacks, by their steps.
    pub callbacks: Box<[Callback]>,
    /// How many events of its id came before.
    #[serde(default)]
    pub(super) nth: u64,
    /// The event of the same id before it.
    #[serde(skip)]
    pub(super) earlier: Option<u64>,
    /// The one after it.
    #[serde(skip)]
    pub(super) later: Option<u64>,
    /// How many callbacks and deliveries are not over.
    #[serde(skip)]
    pub(super) open: u32,
}

/// A callback of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Callback {
    /// When it is due, in nanoseconds since 1970.
    pub due: u64,
    /// What happened.
    #[serde(serialize_with = "outcome_name", deserialize_with = "outcome_named")]
    pub outcome: &'static Outcome,
    /// What `action.status` says.
    pub status: Status,
    /// Of a failed receipt.
    pub error_code: u32,
    /// The part it is about, from 1; 0 if it is about the whole message.
    pub part: u8,
    /// How many parts the message has; 0 if it is about the whole message.
    pub parts: u8,
    /// What became of it.
    #[serde(skip)]
    pub fate: Fate,
}

/// What became of a callback.
#[derive(Clone, Debug, Default)]
pub enum Fate {
    /// Its time has not come.
    #[default]
    Ahead,
    /// Its time came, and no active registration wanted it.
    Unmatched,
    /// It goes to these destinations.
    Deliveries(Vec<Delivery>),
}

/// Getting one callback to one destination.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The registration's id.
    pub registration: u64,
    /// How it stands.
    pub state: State,
    /// When the next attempt is due, in nanoseconds since 1970; of one that is not over.
    pub next: u64,
    /// What was tried, oldest first.
    pub attempts: Vec<Attempt>,
    /// The number of the latest attempt that has ended; it may not be in `attempts` yet.
    pub latest: u32,
    /// The number of the last attempt before it was begun anew; 0 if it was not.
    pub before: u32,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its time has not come, or its first attempt is under way.
    Pending,
    /// It failed for a passing reason and is tried again.
    Retrying,
    /// The receiver took it.
    Accepted,
    /// It was refused, or given up after the last retry.
    Failed,
    /// Its time came, and no active registration wanted it.
    Unmatched,
}

impl State {
    /// Every state.
    pub const ALL: [State; 5] = [
        State::Pending,
        State::Retrying,
        State::Accepted,
        State::Failed,
        State::Unmatched,
    ];

    /// The state's name, as filters and answers have it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Retrying => "retrying",
            State::Accepted => "accepted",
            State::Failed => "failed",
            State::Unmatched => "unmatched",
        }
    }

    /// Whether nothing more happens by itself.
    pub const fn is_over(self) -> bool {
        !matches!(self, State::Pending | State::Retrying)
    }

    /// What an attempt makes of a delivery.
    pub const fn after(next: Next) -> State {
        match next {
            Next::Done => State::Accepted,
            Next::GaveUp => State::Failed,
            Next::Retry(_) => State::Retrying,
        }
    }
}

/// One HTTP request that was made.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Counted from 1.
    pub number: u32,
    /// When it began, in nanoseconds since 1970.
    pub at: u64,
    /// How long it took, in microseconds of real time.
    pub latency_us: u64,
    /// The answer's status, or why there was none.
    pub result: Result<u16, (FailureKind, Box<str>)>,
    /// What the answer's body begins with.
    pub answer: Option<Box<str>>,
}

/// Names a delivery within a company: of which event, step and registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The event's place in the order of coming.
    pub seq: u64,
    /// The callback's place in the journey.
    pub step: u16,
    /// The registration's id; 0 while it is not known.
    pub registration: u64,
}

impl std::fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.seq, self.step, self.registration)
    }
}

impl std::str::FromStr for DeliveryId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut numbers = text.splitn(3, '-');
        let mut next = || numbers.next().ok_or(());
        Ok(DeliveryId {
            seq: next()?.parse().map_err(drop)?,
            step: next()?.parse().map_err(drop)?,
            registration: next()?.parse().map_err(drop)?,
        })
    }
}

/// A delivery with what it belongs to, for those who look.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its name.
    pub id: DeliveryId,
    /// The event.
    pub event: &'a Event,
    /// The callback.
    pub callback: &'a Callback,
    /// What was done; none while the callback is ahead or if nobody wanted it.
    pub delivery: Option<&'a Delivery>,
}

impl Shown<'_> {
    /// How it stands.
    pub fn state(&self) -> State {
        match (&self.callback.fate, self.delivery) {
            (_, Some(delivery)) => delivery.state,
            (Fate::Unmatched, None) => State::Unmatched,
            (_, None) => State::Pending,
        }
    }
}

/// A delivery that is taken up again.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The callback's place in the journey.
    pub step: u16,
    /// What is known of it.
    pub delivery: Delivery,
    /// To how many destinations the callback went; 0 if that is not known.
    pub destinations: u16,
}

/// What is still to be done about an event that was taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// A callback's time has not come.
    Ahead {
        /// Its place in the journey.
        step: u16,
        /// When it is due.
        due: u64,
    },
    /// A delivery is to be tried.
    Delivery {
        /// The callback's place in the journey.
        step: u16,
        /// The registration.
        registration: u64,
        /// Which attempt it will be.
        attempt: u32,
        /// When that is due.
        due: u64,
    },
}

impl Delivery {
    /// One that has not been tried.
    pub fn new(registration: u64, due: u64) -> Delivery {
        Delivery {
            registration,
            state: State::Pending,
            next: due,
            attempts: Vec::new(),
            latest: 0,
            before: 0,
        }
    }
}

impl Attempt {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        size_of::<Attempt>() + self.answer.as_ref().map_or(0, |text| text.len())
    }
}

impl Event {
    /// What comes of an event that takes a way. `arrived` is in nanoseconds since 1970.
    pub fn new(
        event_id: Arc<str>,
        event_type: &str,
        event_data: &str,
        debug_data: Option<&str>,
        (arrived, seed, number): (u64, u64, u64),
        way: Way,
        rule: String,
    ) -> Event {
        let settings = &way.scenario.settings;
        let callbacks = way.steps.iter().map(|step| Callback {
            due: arrived.saturating_add(step.after),
            outcome: step.outcome,
            status: settings.status(step.outcome),
            error_code: step.error_code,
            part: step.part,
            parts: step.parts,
            fate: Fate::Ahead,
        });
        Event {
            event_id,
            event_type: event_type.into(),
            event_data: event_data.into(),
            debug_data: debug_data.map(Into::into),
            arrived,
            seed,
            number,
            person_key: way.person_key,
            mdn: way.mdn.as_str().into(),
            message_type: way.message_type,
            campaign: way.campaign,
            wording: settings.wording,
            rule: rule.into(),
            callbacks: callbacks.collect(),
            notes: way.notes,
            is_test: false,
            nth: 0,
            earlier: None,
            later: None,
            open: 0,
        }
    }

    /// The event of a test callback: an accepted routing, at once. `number` is what random choices depend on beside
    /// the seed.
    pub fn test(
        event_id: Arc<str>,
        event_data: Option<&str>,
        now: u64,
        seed: u64,
        number: u64,
    ) -> Event {
        let mut rng = draw::generator(seed, number, Purpose::Event);
        let outcome = Outcome::good_day(Stage::Routing);
        Event {
            event_id,
            event_type: "test".into(),
            event_data: event_data.unwrap_or(outcome.sample.event_data).into(),
            debug_data: None,
            arrived: now,
            seed,
            number,
            person_key: draw::uuid(&mut rng),
            mdn: fictional_mdn(&mut rng).into(),
            message_type: MessageType::Sms,
            campaign: usual_campaign("test"),
            wording: Wording::default(),
            rule: "test callback".into(),
            callbacks: Box::new([Callback {
                due: now,
                outcome,
                status: outcome.status,
                error_code: DEFAULT_ERROR_CODE,
                part: 0,
                parts: 0,
                fate: Fate::Ahead,
            }]),
            notes: Vec::new(),
            is_test: true,
            nth: 0,
            earlier: None,
            later: None,
            open: 0,
        }
    }

    /// How many deliveries are kept of it, and about how many bytes.
    pub fn size(&self) -> (usize, usize) {
        let texts = self.event_data.len() + self.debug_data.as_ref().map_or(0, |data| data.len());
        let (mut rows, mut bytes) = (0, size_of::<Event>() + texts);
        for callback in &self.callbacks {
            rows += 1;
            bytes += size_of::<Callback>();
            if let Fate::Deliveries(deliveries) = &callback.fate {
                rows += deliveries.len() - 1;
                let attempts = deliveries.iter().flat_map(|delivery| &delivery.attempts);
                let attempts: usize = attempts.map(Attempt::size).sum();
                bytes += deliveries.len() * size_of::<Delivery>() + attempts;
            }
        }
        (rows, bytes)
    }

    /// Appends the body of a callback; nothing if there is no such step.
    pub fn write_body(&self, company_key: &str, step: u16, out: &mut Vec<u8>) {
        let Some(callback) = self.callbacks.get(usize::from(step)) else {
            return;
        };
        let mut rng = draw::generator(self.seed, self.number, Purpose::Callback(step));
        Body {
            event_id: draw::uuid(&mut rng),
            event_date: instant(callback.due),
            event: EventPart {
                event_id: &self.event_id,
                event_type: &self.event_type,
                event_data: &self.event_data,
                debug_data: self.debug_data.as_deref(),
            },
            outcome: callback.outcome,
            status: callback.status,
            message_type: self.message_type,
            error_code: callback.error_code,
            company_key,
            campaign: self.campaign,
            person_key: self.person_key,
            mdn: &self.mdn,
        }
        .write(&self.wording, out);
    }

    pub(super) fn deliveries(&self, seq: u64) -> impl Iterator<Item = Shown<'_>> {
        let steps = (0..).zip(&self.callbacks);
        steps.flat_map(move |(step, callback)| {
            let shown = move |registration, delivery| Shown {
                id: DeliveryId {
                    seq,
                    step,
                    registration,
                },
                event: self,
                callback,
                delivery,
            };
            let (alone, deliveries) = match &callback.fate {
                Fate::Deliveries(deliveries) => (None, deliveries.as_slice()),
                _ => (Some(shown(0, None)), &[][..]),
            };
            alone.into_iter().chain(
                deliveries
                    .iter()
                    .map(move |delivery| shown(delivery.registration, Some(delivery))),
            )
        })
    }
}

/// Nanoseconds since 1970 as a time.
pub fn instant(nanos: u64) -> DateTime<Utc> {
    crate::plan::at(DateTime::UNIX_EPOCH, nanos)
}

/// A time as nanoseconds since 1970; those before as zero.
pub fn nanos(time: DateTime<Utc>) -> u64 {
    let nanos = time.timestamp_nanos_opt().unwrap_or(i64::MAX);
    u64::try_from(nanos).unwrap_or(0)
}

fn outcome_name<S: Serializer>(outcome: &&'static Outcome, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(outcome.name)
}

fn outcome_named<'de, D: Deserializer<'de>>(from: D) -> Result<&'static Outcome, D::Error> {
    let name = String::deserialize(from)?;
    Outcome::named(&name)
        .ok_or_else(|| serde::de::Error::custom(format!("unknown outcome `{name}`")))
}
