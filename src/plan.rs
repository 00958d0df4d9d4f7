//! Scenario, seed and start → callbacks in due order, made one at a time.
//!
//! Pure: no clock, no socket, no file. What is pending is kept as numbers (40-odd bytes a callback); a
//! body is made when it is needed, and made again for a retry. So memory grows with what is pending, not
//! with the run.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use uuid::Uuid;

use crate::draw::{self, Purpose};
use crate::journey::{Step, Text};
use crate::scenario::Scenario;
use crate::scenario::event::{MadeEvent, Occasion};
use crate::scenario::model::Arrivals;
use crate::scenario::units::MILLISECOND;
#[cfg(test)]
use crate::scenario::units::SECOND;
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
            Some((index, of)) if index < of => Ok(Shard { index, of }),
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
    /// The part it is about, from 1; 0 if it is about the whole message.
    pub part: u8,
    /// How many parts the message has; 0 if it is about the whole message.
    pub parts: u8,
}

impl Callback {
    /// A callback that is about nothing but itself; its number is its place in order.
    pub(crate) fn single(number: u64, due: u64, outcome: &'static Outcome) -> Callback {
        Callback {
            due,
            journey: number,
            arrived: due,
            outcome,
            error_code: 0,
            event: 0,
            way: 0,
            step: 0,
            part: 0,
            parts: 0,
        }
    }

    fn order(&self) -> (u64, u64, u16) {
        (self.due, self.journey, self.step)
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
}

impl Plan {
    /// A plan at its beginning.
    pub fn new(scenario: Arc<Scenario>, parameters: Parameters) -> Plan {
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
        }
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
                self.begin(time, number, entry)?;
            }
        }
        Ok(self.pending.peek().map(|Reverse(callback)| callback.due))
    }

    fn begin(&mut self, arrived: u64, number: u64, entry: usize) -> Result<(), PlanError> {
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
        self.started += 1;
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
            self.pending.push(Reverse(Callback {
                due: arrived + step.after,
                journey: number,
                arrived,
                outcome: step.outcome,
                error_code: step.error_code,
                event: entry as u16,
                way: way as u16,
                step: place as u16,
                part: step.part,
                parts: step.parts,
            }));
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

/// When the events of one entry come, in nanoseconds from the start.
struct ArrivalStream {
    how: Option<Arrivals>,
    parameters: Parameters,
    /// The number of the entry's first journey.
    first: u64,
    next: u64,
    count: u64,
    last: u64,
}

impl Iterator for ArrivalStream {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        if self.next >= self.count {
            return None;
        }
        let index = self.next;
        let number = self.first + index;
        self.next += 1;
        let time = match &self.how {
            None => 0,
            Some(Arrivals::Rate(rate)) => (index as f64 / rate.0 * 1e9).round() as u64,
            Some(Arrivals::Ramp { from, to, over }) => ramp(index, from.0, to.0, over.0),
            Some(Arrivals::Poisson(rate)) => {
                let seed = self.parameters.seed;
                let mut rng = draw::generator(seed, number, Purpose::Arrival);
                self.last + draw::gap(&mut rng, rate.0)
            }
            Some(Arrivals::Cron(cron)) => self.next_firing(cron, index)?,
        };
        self.last = time;
        Some((time, number))
    }
}

impl ArrivalStream {
    /// The next instant of a cron expression; none if it never comes again.
    fn next_firing(&self, cron: &croner::Cron, index: u64) -> Option<u64> {
        let start = self.parameters.start;
        // Cron knows whole seconds; a start within one waits for the next.
        let last = at(start, self.last);
        let from = match last.timestamp_subsec_nanos() {
            0 => last,
            _ => DateTime::from_timestamp(last.timestamp() + 1, 0)?,
        };
        let firing = cron
            .find_next_occurrence(&from, index == 0 || from > last)
            .ok()?;
        u64::try_from((firing - start).num_nanoseconds()?).ok()
    }
}

/// When the event of that index comes if the rate changes evenly: the time at which so many have come.
fn ramp(index: u64, from: f64, to: f64, over: u64) -> u64 {
    let (events, over) = (index as f64, over as f64 / 1e9);
    let within = (from + to) / 2.0 * over;
    let seconds = if events >= within {
        over + (events - within) / to
    } else {
        // from·t + (to − from)/(2·over)·t² = events, solved so that nothing cancels out.
        let slope = (to - from) / over;
        2.0 * events / (from + libm::sqrt((from * from + 2.0 * slope * events).max(0.0)))
    };
    (seconds * 1e9).round() as u64
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
        let event_date = self.due_at(callback);
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
            "\",\"outcome\":\"{outcome}\",\"stage\":\"{}\",\"part\":{},\"parts\":{},\"body\":",
            outcome.stage,
            part(callback.part),
            part(callback.parts),
        );
        out.extend_from_slice(tail.as_bytes());
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
    fn a_ramp_reaches_its_second_rate_and_stays_there() {
        let times: Vec<_> = (0..=3000)
            .map(|index| ramp(index, 10.0, 50.0, 30 * SECOND))
            .collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        // (10 + 50) / 2 events a second for 30 seconds.
        assert_eq!(times[900], 30 * SECOND);
        assert_eq!(times[950], 31 * SECOND);
    }

    #[test]
    fn a_ramp_down_works_alike() {
        assert_eq!(ramp(900, 50.0, 10.0, 30 * SECOND), 30 * SECOND);
        assert_eq!(ramp(910, 50.0, 10.0, 30 * SECOND), 31 * SECOND);
    }

    #[test]
    fn shards_are_read_strictly() {
        assert_eq!("1/4".parse(), Ok(Shard { index: 1, of: 4 }));
        for bad in ["4/4", "1", "-1/4", "1/0", "a/b", ""] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }
}
