//! Scenario, seed and start → callbacks in due order, made one at a time.
//!
//! Pure: no clock, no socket, no file. What is pending is kept as numbers (56 bytes a callback); a
//! body is made when it is needed, and made again for a retry. So memory grows with what is pending, not
//! with the run.

pub(crate) mod arrivals;
mod faults;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use uuid::Uuid;

use arrivals::ArrivalStream;
use faults::Firsts;

use crate::draw::{self, Purpose};
use crate::journey::{Step, Text};
use crate::scenario::Scenario;
use crate::scenario::event::{MadeEvent, Occasion};
use crate::scenario::units::MILLISECOND;
use crate::sms;
use crate::vibes::callback::{Body, escape_json};
use crate::vibes::outcome::Outcome;

/// What a plan depends on beside the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Every random choice comes from it.
    pub seed: u64,
    /// The run's time zero.
    pub start: DateTime<Utc>,
    /// Which journeys are taken.
    pub shard: Shard,
}

/// No run is shared out further.
const MAX_SHARES: u64 = 1_000_000;

/// One of several shares of a run: journeys whose number is `index` modulo `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub index: u64,
    /// How many there are.
    pub of: u64,
}

impl Shard {
    /// The only share.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// One of several equal shares of this share.
    pub fn share(self, index: u64, of: u64) -> Shard {
        Shard {
            index: self.index + self.of * index,
            of: self.of.saturating_mul(of),
        }
    }

    fn holds(self, journey: u64) -> bool {
        journey % self.of == self.index
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard::WHOLE
    }
}

impl std::str::FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text
            .split_once('/')
            .and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match parsed {
            Some((index, of)) if index < of && of <= MAX_SHARES => Ok(Shard { index, of }),
            _ => Err(format!(
                "`{text}` is not a shard; write I/N with I from 0 to N-1, such as 0/4"
            )),
        }
    }
}

/// A callback that is due at a time: numbers only, so that a million of them can wait.
#[derive(Clone, Copy, Debug)]
pub struct Callback {
    /// When it is due, in nanoseconds from the run's start.
    pub due: u64,
    /// How much of that a fault added; it happened so much earlier.
    held: u64,
    /// The journey's number in the run.
    pub journey: u64,
    /// When the event came, in nanoseconds from the run's start.
    arrived: u64,
    /// What happened.
    pub outcome: &'static Outcome,
    error_code: u32,
    /// Which entry of `events` it is of.
    event: u16,
    /// Which of the scenario's journeys it takes.
    way: u16,
    /// The place in the journey, the same whatever the delays.
    step: u16,
    /// The fault that strikes it, by its place in the scenario, from 1; 0 for none.
    fault: u8,
    /// How far the faults have been looked at.
    edition: Edition,
    /// The part it is about, from 1; 0 if it is about the whole message.
    pub part: u8,
    /// How many parts the message has; 0 if it is about the whole message.
    pub parts: u8,
}

/// Whether a callback is the one that the platform means, or comes once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edition {
    /// Faults have not been looked at.
    Fresh,
    /// It is what the platform means.
    Original,
    /// It is a duplicate of one.
    Duplicate,
}

impl Callback {
    /// A callback that is about nothing but itself; its number is its place in order.
    pub(crate) fn single(number: u64, due: u64, outcome: &'static Outcome) -> Callback {
        Callback {
            due,
            held: 0,
            journey: number,
            arrived: due,
            outcome,
            error_code: 0,
            event: 0,
            way: 0,
            step: 0,
            fault: 0,
            edition: Edition::Original,
            part: 0,
            parts: 0,
        }
    }

    /// A callback of an event that was posted: the event's number, the step, when it is due, what happened, and
    /// which part of how many it is about.
    pub(crate) fn of_event(
        (number, step): (u64, u16),
        due: u64,
        outcome: &'static Outcome,
        (part, parts): (u8, u8),
    ) -> Callback {
        Callback {
            step,
            part,
            parts,
            ..Callback::single(number, due, outcome)
        }
    }

    fn order(&self) -> (u64, u64, u16, Edition) {
        (self.due, self.journey, self.step, self.edition)
    }

    /// The place in the journey; with the journey's number and [`is_copy`](Self::is_copy) it names the
    /// callback.
    pub fn step(&self) -> u16 {
        self.step
    }

    /// Whether it is a duplicate of another callback.
    pub fn is_copy(&self) -> bool {
        self.edition == Edition::Duplicate
    }
}

impl PartialEq for Callback {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Callback {}

impl PartialOrd for Callback {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Callback {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// A journey that could not be computed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("journey {journey}: {message}")]
pub struct PlanError {
    /// Its number in the run.
    pub journey: u64,
    /// Why.
    pub message: String,
}

/// The run's time zero plus nanoseconds.
pub fn at(start: DateTime<Utc>, nanos: u64) -> DateTime<Utc> {
    let delta = TimeDelta::nanoseconds(i64::try_from(nanos).unwrap_or(i64::MAX));
    start
        .checked_add_signed(delta)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Callbacks in due order.
pub struct Plan {
    scenario: Arc<Scenario>,
    parameters: Parameters,
    /// The next event of each entry.
    arrivals: BinaryHeap<Reverse<(u64, u64, usize)>>,
    streams: Vec<ArrivalStream>,
    pending: BinaryHeap<Reverse<Callback>>,
    kept: KeptEvents,
    steps: Vec<Step>,
    text: String,
    started: u64,
    /// Used again and again.
    fresh: Vec<Callback>,
    firsts: Firsts,
}

impl Plan {
    /// A plan at its beginning.
    pub fn new(scenario: Arc<Scenario>, parameters: Parameters) -> Plan {
        let firsts = Firsts::of(&scenario, parameters);
        Plan::with(scenario, parameters, firsts)
    }

    /// The plan in so many equal shares.
    pub fn shares(scenario: &Arc<Scenario>, parameters: Parameters, number: u64) -> Vec<Plan> {
        let share = |index| Parameters {
            shard: parameters.shard.share(index, number),
            ..parameters
        };
        // The first ones are looked for once; that may take as long as planning the run.
        let firsts = Firsts::of(scenario, share(0));
        let plan = |index| Plan::with(Arc::clone(scenario), share(index), firsts.clone());
        (0..number).map(plan).collect()
    }

    fn with(scenario: Arc<Scenario>, parameters: Parameters, firsts: Firsts) -> Plan {
        let mut first = 0;
        let mut streams = Vec::new();
        let mut arrivals = BinaryHeap::new();
        for (at, event) in scenario.events.iter().enumerate() {
            let mut stream = ArrivalStream {
                how: event.arrivals.clone(),
                parameters,
                first,
                next: 0,
                count: event.count,
                last: 0,
            };
            if let Some((time, number)) = stream.next() {
                arrivals.push(Reverse((time, number, at)));
            }
            streams.push(stream);
            first += event.count;
        }
        Plan {
            kept: KeptEvents::new(Arc::clone(&scenario), parameters),
            scenario,
            parameters,
            arrivals,
            streams,
            pending: BinaryHeap::new(),
            steps: Vec::new(),
            text: String::new(),
            started: 0,
            fresh: Vec::new(),
            firsts,
        }
    }

    /// The next callback, once [`next_due`](Self::next_due) has told when it is due.
    pub fn peek(&self) -> Option<Callback> {
        self.pending.peek().map(|Reverse(callback)| *callback)
    }

    /// How many callbacks wait for their time.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The run's time zero.
    pub fn start(&self) -> DateTime<Utc> {
        self.parameters.start
    }

    /// How many journeys have begun.
    pub fn journeys_started(&self) -> u64 {
        self.started
    }

    /// When the next callback is due, in nanoseconds from the start.
    ///
    /// # Errors
    ///
    /// A journey on the way there could not be computed.
    pub fn next_due(&mut self) -> Result<Option<u64>, PlanError> {
        loop {
            let next = self.next_meant()?.copied();
            if self.scenario.faults.is_empty()
                || next.is_none_or(|next| next.edition != Edition::Fresh)
            {
                return Ok(next.map(|next| next.due));
            }
            if let Some(Reverse(callback)) = self.pending.pop() {
                self.befall(callback)?;
            }
        }
    }

    /// The next callback as the platform means it.
    fn next_meant(&mut self) -> Result<Option<&Callback>, PlanError> {
        // A callback is next once no event that has not come yet could be ahead of it.
        while let Some(Reverse((time, number, entry))) = self.arrivals.peek().copied() {
            if self
                .pending
                .peek()
                .is_some_and(|Reverse(callback)| callback.due < time)
            {
                break;
            }
            self.arrivals.pop();
            if let Some((next, next_number)) = self.streams[entry].next() {
                self.arrivals.push(Reverse((next, next_number, entry)));
            }
            if self.parameters.shard.holds(number) {
                self.started += 1;
                let mut fresh = std::mem::take(&mut self.fresh);
                let unfolded = self.unfold(time, number, entry, &mut fresh);
                self.pending.extend(fresh.drain(..).map(Reverse));
                self.fresh = fresh;
                unfolded?;
            }
        }
        Ok(self.pending.peek().map(|Reverse(callback)| callback))
    }

    /// The callbacks of a journey, as the platform means them.
    fn unfold(
        &mut self,
        arrived: u64,
        number: u64,
        entry: usize,
        out: &mut Vec<Callback>,
    ) -> Result<(), PlanError> {
        let Parameters { seed, start, .. } = self.parameters;
        let event = &self.scenario.events[entry];
        let way = event.journeys.choose(seed, number);
        let journey = &self.scenario.journeys[way];
        let settings = &self.scenario.settings;
        let filter = &self.scenario.destination.filter;
        let failed = |message: String| PlanError {
            journey: number,
            message,
        };
        let occasion = Occasion {
            seed,
            number,
            journey: &journey.name,
            now: at(start, arrived),
        };
        let template = match &journey.text {
            Text::Template(template) if journey.needs_parts() => Some(template),
            _ => None,
        };
        let parts = match (template, &journey.text) {
            (Some(template), _) => {
                let made = self.kept.get(number, entry, way, arrived)?;
                event
                    .render_text(template, made, &occasion, &mut self.text)
                    .map_err(|error| failed(error.message))?;
                sms::part_count(&self.text).map_err(|error| failed(error.to_string()))?
            }
            (None, Text::Fixed { parts }) => *parts,
            (None, Text::Template(_)) => 1,
        };
        let mut rng = draw::generator(seed, number, Purpose::Delays);
        journey.unfold(parts, settings, &mut rng, &mut self.steps);
        let event_type = match (event.event_type.literal(), &filter.event_type) {
            (Some(event_type), _) => event_type,
            // Nobody asks for it.
            (None, None) => "",
            (None, Some(_)) => {
                self.kept
                    .get(number, entry, way, arrived)?
                    .part()
                    .event_type
            }
        };
        for (place, step) in self.steps.iter().enumerate() {
            if !filter.wants(
                event_type,
                step.outcome.stage,
                settings.status(step.outcome),
            ) {
                continue;
            }
            out.push(Callback {
                due: arrived + step.after,
                held: 0,
                journey: number,
                arrived,
                outcome: step.outcome,
                error_code: step.error_code,
                event: entry as u16,
                way: way as u16,
                step: place as u16,
                fault: 0,
                edition: Edition::Fresh,
                part: step.part,
                parts: step.parts,
            });
        }
        Ok(())
    }
}

impl Iterator for Plan {
    type Item = Result<Callback, PlanError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.next_due() {
            Ok(_) => self.pending.pop().map(|Reverse(callback)| Ok(callback)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// How many made events are kept at hand: those of the journeys that began last.
const KEPT_EVENTS: usize = 8192;

/// Events, made when they are asked for. Callbacks of one journey often follow each other closely, so its
/// event is mostly still here; if not, it is made again.
struct KeptEvents {
    scenario: Arc<Scenario>,
    parameters: Parameters,
    slots: Vec<(u64, MadeEvent)>,
}

impl KeptEvents {
    fn new(scenario: Arc<Scenario>, parameters: Parameters) -> KeptEvents {
        let slots = scenario.journey_count().min(KEPT_EVENTS as u64);
        let empty = || (u64::MAX, MadeEvent::default());
        KeptEvents {
            scenario,
            parameters,
            slots: std::iter::repeat_with(empty).take(slots as usize).collect(),
        }
    }

    fn get(
        &mut self,
        number: u64,
        entry: usize,
        way: usize,
        arrived: u64,
    ) -> Result<&MadeEvent, PlanError> {
        let slot = (number % self.slots.len() as u64) as usize;
        let (kept, made) = &mut self.slots[slot];
        if *kept != number {
            let occasion = Occasion {
                seed: self.parameters.seed,
                number,
                journey: &self.scenario.journeys[way].name,
                now: at(self.parameters.start, arrived),
            };
            // What a failure leaves behind is nobody's event.
            *kept = u64::MAX;
            self.scenario.events[entry]
                .make(&occasion, made)
                .map_err(|error| PlanError {
                    journey: number,
                    message: error.message,
                })?;
            *kept = number;
        }
        Ok(made)
    }
}

/// The bodies of a plan's callbacks: in any order, as often as they are asked for.
impl Plan {
    /// When a callback is due, on the run's clock.
    pub fn due_at(&self, callback: &Callback) -> DateTime<Utc> {
        at(self.parameters.start, callback.due)
    }

    /// The callback's own id: the same each time, different from every other's.
    pub fn event_id(&self, callback: &Callback) -> Uuid {
        let purpose = Purpose::Callback(callback.step);
        draw::uuid(&mut draw::generator(
            self.parameters.seed,
            callback.journey,
            purpose,
        ))
    }

    /// The event that a callback is about.
    ///
    /// # Errors
    ///
    /// What went wrong in a template.
    pub fn event(&mut self, callback: &Callback) -> Result<&MadeEvent, PlanError> {
        let Callback {
            journey,
            event,
            way,
            arrived,
            ..
        } = *callback;
        self.kept
            .get(journey, usize::from(event), usize::from(way), arrived)
    }

    /// Appends the body of a callback.
    ///
    /// # Errors
    ///
    /// What went wrong in a template.
    pub fn body(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        let event_id = self.event_id(callback);
        // A callback that a fault holds back says when the thing happened, not when it is sent.
        let event_date = at(self.parameters.start, callback.due - callback.held);
        let scenario = Arc::clone(&self.scenario);
        let journey = &scenario.journeys[usize::from(callback.way)];
        let made = self.event(callback)?;
        Body {
            event_id,
            event_date,
            event: made.part(),
            outcome: callback.outcome,
            status: scenario.settings.status(callback.outcome),
            message_type: journey.message_type,
            error_code: callback.error_code,
            company_key: &scenario.company_key,
            campaign: journey.campaign.unwrap_or_else(|| made.usual_campaign()),
            person_key: made.person_key,
            mdn: &made.mdn,
        }
        .write(&scenario.settings.wording, out);
        Ok(())
    }

    /// Appends the callback as one line of `plan --format jsonl`, without the line break. `part` and
    /// `parts` are null where the callback is about the whole message.
    ///
    /// # Errors
    ///
    /// What went wrong in a template.
    pub fn line(&mut self, callback: &Callback, out: &mut Vec<u8>) -> Result<(), PlanError> {
        let part = |number: u8| match callback.parts {
            0 => "null".to_owned(),
            _ => number.to_string(),
        };
        let at = instant(self.due_at(callback));
        let Callback {
            journey, outcome, ..
        } = callback;
        let head = format!(
            "{{\"at\":\"{at}\",\"after_ms\":{},\"journey\":{journey},\"event_type\":\"",
            callback.due / MILLISECOND
        );
        out.extend_from_slice(head.as_bytes());
        escape_json(self.event(callback)?.part().event_type, out);
        let tail = format!(
            "\",\"outcome\":\"{outcome}\",\"stage\":\"{}\",\"part\":{},\"parts\":{},",
            outcome.stage,
            part(callback.part),
            part(callback.parts),
        );
        out.extend_from_slice(tail.as_bytes());
        if let Some(fault) = self.fault(callback) {
            out.extend_from_slice(format!("\"fault\":\"{}\",", fault.kind).as_bytes());
        }
        out.extend_from_slice(b"\"body\":");
        self.body(callback, out)?;
        out.push(b'}');
        Ok(())
    }
}

/// An instant with milliseconds, as plans and reports have it: `2026-01-01T00:00:01.250Z`.
pub fn instant(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_can_wait() {
        // docs/scale.md and docs/performance.md count on it.
        assert_eq!(size_of::<Callback>(), 56);
    }

    #[test]
    fn shards_are_read_strictly() {
        assert_eq!("1/4".parse(), Ok(Shard { index: 1, of: 4 }));
        for bad in ["4/4", "1", "-1/4", "1/0", "a/b", ""] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
