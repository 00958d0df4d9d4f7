//! Scenario, seed and start → callbacks in due order, made one at a time.
//!
//! Pure: no clock, no socket, no file. What is pending is kept as numbers (40-odd bytes a callback); a
//! body is made when it is needed, and made again for a retry. So memory grows with what is pending, not
//! with the run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::Rng;
use uuid::Uuid;

use crate::draw::{self, Generator, Purpose};
use crate::fault::{Fault, FaultKind, FaultSpec};
use crate::journey::{Step, Text};
use crate::scenario::Scenario;
use crate::scenario::event::{MadeEvent, Occasion};
use crate::scenario::model::Arrivals;
#[cfg(test)]
use crate::scenario::units::SECOND;
use crate::scenario::units::{Delay, Duration, MILLISECOND};
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

/// Which callbacks are the first that a fault with `first` strikes.
#[derive(Clone)]
enum Firsts {
    /// So many are left of each fault: a whole run counts them as they come.
    Left(Vec<u64>),
    /// These are they, by fault, journey and step: a share of a run cannot count the others' callbacks.
    Known(Arc<HashSet<(usize, u64, u16)>>),
}

impl Firsts {
    fn of(scenario: &Arc<Scenario>, parameters: Parameters) -> Firsts {
        let left = |fault: &FaultSpec| fault.first.unwrap_or(u64::MAX);
        let left: Vec<u64> = scenario.faults.iter().map(left).collect();
        let asked: u64 = scenario.faults.iter().filter_map(|fault| fault.first).sum();
        if parameters.shard.of == 1 || asked == 0 {
            return Firsts::Left(left);
        }
        let mut whole = Plan::new(
            Arc::clone(scenario),
            Parameters {
                shard: Shard::WHOLE,
                ..parameters
            },
        );
        let mut known = HashSet::new();
        // A journey that cannot be computed ends this here, and the run once it comes to it.
        while let Some(Ok(callback)) = whole.next() {
            let Some(index) = usize::from(callback.fault).checked_sub(1) else {
                continue;
            };
            if scenario.faults[index].first.is_some() {
                known.insert((index, callback.journey, callback.step));
                if known.len() as u64 == asked {
                    break;
                }
            }
        }
        Firsts::Known(Arc::new(known))
    }

    fn strikes(&mut self, fault: usize, limited: bool, callback: &Callback) -> bool {
        match self {
            Firsts::Left(left) if left[fault] > 0 => {
                left[fault] -= u64::from(limited);
                true
            }
            Firsts::Left(_) => false,
            Firsts::Known(known) => {
                !limited || known.contains(&(fault, callback.journey, callback.step))
            }
        }
    }
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

    /// Looks at what the faults do to a callback whose turn it is, and puts it back.
    fn befall(&mut self, mut callback: Callback) -> Result<(), PlanError> {
        callback.edition = Edition::Original;
        let scenario = Arc::clone(&self.scenario);
        let purpose = Purpose::Faults(callback.step);
        let mut rng = draw::generator(self.parameters.seed, callback.journey, purpose);
        for (at, fault) in scenario.faults.iter().enumerate() {
            // Each fault draws the same number of times, so that one does not change the next.
            let (chance, share) = (draw::fraction(&mut rng), rng.clone());
            draw::fraction(&mut rng);
            draw::fraction(&mut rng);
            if chance >= fault.rate || !self.concerns(fault, &callback)? {
                continue;
            }
            let mut rng = share;
            let held = match fault.kind {
                FaultKind::Delay | FaultKind::Duplicate => draw::delay(&mut rng, fault.time),
                FaultKind::Reorder => match self.overtaken(&callback, fault.time, &mut rng)? {
                    Some(held) => held,
                    None => continue,
                },
                _ => 0,
            };
            if !self.firsts.strikes(at, fault.first.is_some(), &callback) {
                continue;
            }
            let mut struck = callback;
            struck.fault = at as u8 + 1;
            struck.held = held;
            struck.due = callback.due.saturating_add(held);
            if fault.kind == FaultKind::Duplicate {
                struck.edition = Edition::Duplicate;
                self.pending.push(Reverse(struck));
                break;
            }
            callback = struck;
            break;
        }
        self.pending.push(Reverse(callback));
        Ok(())
    }

    fn concerns(&mut self, fault: &FaultSpec, callback: &Callback) -> Result<bool, PlanError> {
        let scenario = Arc::clone(&self.scenario);
        let journey = &scenario.journeys[usize::from(callback.way)].name;
        let event_type = match fault.asks_for_event_type() {
            true => self.event(callback)?.part().event_type,
            false => "",
        };
        Ok(fault.concerns(callback.due, callback.outcome, journey, event_type))
    }

    /// How long a callback must be held so that its journey's next one comes before it; none if there is
    /// no next one in time.
    fn overtaken(
        &mut self,
        callback: &Callback,
        within: Delay,
        rng: &mut Generator,
    ) -> Result<Option<u64>, PlanError> {
        let Delay::Fixed(within) = within else {
            return Ok(None);
        };
        let mut later: Vec<Callback> = Vec::new();
        self.unfold(
            callback.arrived,
            callback.journey,
            usize::from(callback.event),
            &mut later,
        )?;
        let next = later
            .iter()
            .filter(|other| other.order() > callback.order())
            .map(|other| other.due)
            .min();
        let latest = callback.due.saturating_add(within.0);
        Ok(next.filter(|next| *next < latest).map(|next| {
            // Behind it by a millisecond at least, where there is room for it.
            let from = (next + MILLISECOND).min(latest);
            let span = Delay::Uniform(Duration(from - callback.due), Duration(within.0));
            draw::delay(rng, span)
        }))
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

    /// The fault that strikes a callback.
    pub fn fault(&self, callback: &Callback) -> Option<Fault> {
        let index = usize::from(callback.fault).checked_sub(1)?;
        let fault = self.scenario.faults.get(index)?;
        let purpose = Purpose::Faults(callback.step);
        let mut rng = draw::generator(self.parameters.seed, callback.journey, purpose);
        let draw = rng.next_u64();
        Some(Fault {
            kind: fault.kind,
            time: draw::delay(&mut rng, fault.time),
            draw,
        })
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
