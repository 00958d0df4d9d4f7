//! What the page of a run is drawn from: latency over time, how it is distributed, and the journeys that
//! went worst. It remembers a bounded amount, however long the run is.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::delivery::answer::FailureKind;
use crate::delivery::{Attempt, Observer};
use crate::fault::FaultKind;
use crate::timeline::{Feed, Next};
use crate::vibes::outcome::Outcome;

/// Latency over time has so many points at the most.
const BUCKETS: usize = 240;
/// A point stands for so much time in a run that is over soon; twice as much whenever they are used up.
const FIRST_WIDTH: Duration = Duration::from_millis(1);
/// So many of the latest attempts are known by heart, so that a journey that turns bad can be told whole.
const RING: u64 = 65_536;
/// So many journeys are told.
const WORST: usize = 10;
/// So many attempts of each.
const ATTEMPTS: usize = 200;

/// Remembers what a page tells of a run. A clone is another handle on the same memory.
#[derive(Clone, Default)]
pub struct Story(Arc<Mutex<Memory>>);

/// What a page tells of a run.
#[derive(Debug, Default)]
pub struct Told {
    /// Latency over the real time of the run, in order of time; moments without an attempt have no point.
    pub points: Vec<Point>,
    /// How much real time a point stands for.
    pub width: Duration,
    /// How many attempts took how long, from the shortest to the longest.
    pub distribution: Vec<Bin>,
    /// The journeys that went worst: most failed deliveries first, then the longest latency.
    pub worst: Vec<Journey>,
}

/// Latency during some time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Which stretch of time it is, from 0.
    pub at: usize,
    /// Attempts that ended.
    pub attempts: u64,
    /// Half are below.
    pub p50: u64,
    /// Ninety-nine in a hundred are below.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// Attempts whose latency is between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bin {
    /// The lowest latency in it, in microseconds.
    pub from: u64,
    /// The lowest that is no longer in it.
    pub to: u64,
    /// How many attempts.
    pub attempts: u64,
}

/// A journey with its attempts, in the order in which they ended.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Its number in the run.
    pub number: u64,
    /// Its event's id.
    pub event_id: String,
    /// Its event's type.
    pub event_type: String,
    /// Its attempts, as far as they are remembered.
    pub attempts: Vec<Record>,
    /// Attempts that were too many to remember.
    pub left_out: u64,
    badness: Badness,
}

/// Deliveries that failed, and the longest latency.
type Badness = (u64, u64);

/// One attempt, in few bytes.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    journey: u64,
    /// When it was due, in nanoseconds of the run's clock.
    pub due: u64,
    /// When it began, in nanoseconds of the run's clock.
    pub started: u64,
    /// From when it was due to when it ended, in microseconds of real time.
    pub latency: u64,
    /// The part of it that was spent on sending and waiting for the answer.
    pub took: u64,
    /// What was told.
    pub outcome: &'static Outcome,
    /// The part it is about, from 1; 0 if it is about the whole message.
    pub part: u8,
    /// How many parts the message has.
    pub parts: u8,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// The fault that struck it.
    pub fault: Option<FaultKind>,
    /// The answer's status, or why there was none.
    pub answer: Result<u16, FailureKind>,
    /// What became of the delivery.
    pub next: Next,
    /// The journey's attempt before it, by its place among all.
    previous: Option<u64>,
}

struct Memory {
    /// When the first attempt began.
    began: Option<Instant>,
    width: Duration,
    buckets: Vec<Option<Histogram<u32>>>,
    latency: Histogram<u64>,
    ring: Vec<Record>,
    /// How many attempts there were.
    total: u64,
    /// A journey's latest attempt in the ring.
    latest: HashMap<u64, u64>,
    worst: Vec<Journey>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            began: None,
            width: FIRST_WIDTH,
            buckets: Vec::new(),
            latency: histogram(),
            ring: Vec::new(),
            total: 0,
            latest: HashMap::new(),
            worst: Vec::new(),
        }
    }
}

/// Microseconds to two digits; it grows with what it is told.
fn histogram<C: hdrhistogram::Counter>() -> Histogram<C> {
    Histogram::new(2).unwrap_or_else(|_| unreachable!("two digits make a histogram"))
}

fn micros(duration: Duration) -> u64 {
    // A year is enough, and keeps the histograms small.
    const MOST: u64 = 365 * 86_400_000_000;
    u64::try_from(duration.as_micros()).map_or(MOST, |micros| micros.min(MOST))
}

impl Observer for Story {
    fn attempt(&mut self, attempt: &Attempt<'_>, feed: &mut dyn Feed) -> io::Result<()> {
        let record = Record::of(attempt);
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let took = attempt.latency.saturating_sub(attempt.lag);
        let began = *memory.began.get_or_insert(now - took);
        memory.count(now - began, record.latency);
        if let Some(mut journey) = memory.follow(record) {
            let names = feed.event(&attempt.job.callback);
            (journey.event_id, journey.event_type) = names.map_err(io::Error::other)?;
            memory.keep(journey);
        }
        Ok(())
    }
}

impl Story {
    /// What there is to tell so far.
    pub fn told(&self) -> Told {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut worst = memory.worst.clone();
        worst.sort_by_key(|journey| (std::cmp::Reverse(journey.badness), journey.number));
        Told {
            points: memory.points(),
            width: memory.width,
            distribution: distribution(&memory.latency),
            worst,
        }
    }
}

impl Record {
    fn of(attempt: &Attempt<'_>) -> Record {
        let callback = &attempt.job.callback;
        let answer = match attempt.answer {
            Ok(answer) => Ok(answer.status),
            Err(failure) => Err(failure.kind),
        };
        Record {
            journey: callback.journey,
            due: attempt.job.due,
            started: attempt.job.started,
            latency: micros(attempt.latency),
            took: micros(attempt.latency.saturating_sub(attempt.lag)),
            outcome: callback.outcome,
            part: callback.part,
            parts: callback.parts,
            attempt: attempt.job.attempt,
            fault: attempt.fault,
            answer,
            next: attempt.next,
            previous: None,
        }
    }

    fn badness(&self) -> Badness {
        (u64::from(self.next == Next::GaveUp), self.latency)
    }
}

fn sum((failed, latency): Badness, (more, other): Badness) -> Badness {
    (failed + more, latency.max(other))
}

impl Memory {
    /// Counts an attempt that ended at that time of the run.
    fn count(&mut self, at: Duration, latency: u64) {
        let place = |width: Duration| (at.as_nanos() / width.as_nanos()) as usize;
        while place(self.width) >= BUCKETS {
            self.halve();
        }
        let place = place(self.width);
        if self.buckets.len() <= place {
            self.buckets.resize(place + 1, None);
        }
        let bucket = self.buckets[place].get_or_insert_with(histogram);
        // They grow by themselves, up to what `micros` allows.
        let _ = bucket.record(latency);
        let _ = self.latency.record(latency);
    }

    /// Makes one bucket of two.
    fn halve(&mut self) {
        self.width *= 2;
        let mut buckets = std::mem::take(&mut self.buckets).into_iter();
        while let Some(first) = buckets.next() {
            self.buckets.push(match (first, buckets.next().flatten()) {
                (Some(mut first), Some(second)) => {
                    let _ = first.add(second);
                    Some(first)
                }
                (first, second) => first.or(second),
            });
        }
    }

    fn points(&self) -> Vec<Point> {
        let buckets = self.buckets.iter().enumerate();
        let point = |(at, bucket): (usize, &Option<Histogram<u32>>)| {
            let bucket = bucket.as_ref()?;
            Some(Point {
                at,
                attempts: bucket.len(),
                p50: bucket.value_at_quantile(0.5),
                p99: bucket.value_at_quantile(0.99),
                max: bucket.max(),
            })
        };
        buckets.filter_map(point).collect()
    }

    /// Remembers an attempt. Gives the journey if it now is one of the worst and was not before.
    fn follow(&mut self, record: Record) -> Option<Journey> {
        let at = self.remember(record);
        let same = |journey: &&mut Journey| journey.number == record.journey;
        if let Some(journey) = self.worst.iter_mut().find(same) {
            journey.badness = sum(journey.badness, record.badness());
            if journey.attempts.len() < ATTEMPTS {
                journey.attempts.push(record);
            } else {
                journey.left_out += 1;
            }
            return None;
        }
        let badness = self
            .chain(at)
            .fold((0, 0), |all, one| sum(all, one.badness()));
        let enough = self.worst.len() >= WORST;
        if enough && self.mildest().is_some_and(|(_, least)| badness <= least) {
            return None;
        }
        let mut attempts: Vec<Record> = self.chain(at).take(ATTEMPTS).copied().collect();
        attempts.reverse();
        Some(Journey {
            number: record.journey,
            event_id: String::new(),
            event_type: String::new(),
            left_out: (self.chain(at).count() - attempts.len()) as u64,
            attempts,
            badness,
        })
    }

    fn remember(&mut self, mut record: Record) -> u64 {
        let at = self.total;
        self.total += 1;
        record.previous = self.latest.insert(record.journey, at);
        match self.ring.get_mut((at % RING) as usize) {
            None => self.ring.push(record),
            Some(oldest) => {
                let gone = oldest.journey;
                *oldest = record;
                if self.latest.get(&gone) == Some(&(at - RING)) {
                    self.latest.remove(&gone);
                }
            }
        }
        at
    }

    /// A journey's attempts from that one back, as far as the ring knows them.
    fn chain(&self, at: u64) -> impl Iterator<Item = &Record> {
        let known = |at: &u64| self.total - at <= RING;
        let record = move |at: u64| &self.ring[(at % RING) as usize];
        let places = std::iter::successors(Some(at), move |at| record(*at).previous.filter(known));
        places.map(record)
    }

    fn mildest(&self) -> Option<(usize, Badness)> {
        let all = self.worst.iter().map(|journey| journey.badness).enumerate();
        all.min_by_key(|(_, badness)| *badness)
    }

    fn keep(&mut self, journey: Journey) {
        match self.mildest() {
            Some((mildest, _)) if self.worst.len() >= WORST => self.worst[mildest] = journey,
            _ => self.worst.push(journey),
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn after(bound: u64) -> u64 {
    let mut digit = bound;
    while digit >= 10 {
        digit /= 10;
    }
    match digit {
        2 => bound / 2 * 5,
        _ => bound * 2,
    }
}

/// Bins whose bounds grow alike, so that milliseconds and minutes fit in one picture.
fn distribution(latency: &Histogram<u64>) -> Vec<Bin> {
    let mut bins: Vec<Bin> = Vec::new();
    for step in latency.iter_recorded() {
        let value = step.value_iterated_to();
        if bins.is_empty() {
            let mut from = 0;
            while after(from).max(1) <= value {
                from = after(from).max(1);
            }
            bins.push(Bin::new(from));
        }
        while let Some(last) = bins.last()
            && last.to <= value
        {
            let next = Bin::new(last.to);
            bins.push(next);
        }
        if let Some(last) = bins.last_mut() {
            last.attempts += step.count_since_last_iteration();
        }
    }
    bins
}

impl Bin {
    fn new(from: u64) -> Bin {
        Bin {
            from,
            to: after(from).max(1),
            attempts: 0,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::vibes::outcome::OUTCOMES;

    fn record(journey: u64, latency: u64, next: Next) -> Record {
        Record {
            journey,
            due: 0,
            started: 0,
            latency,
            took: latency,
            outcome: &OUTCOMES[0],
            part: 0,
            parts: 0,
            attempt: 1,
            fault: None,
            answer: Ok(200),
            next,
            previous: None,
        }
    }

    fn tell(memory: &mut Memory, record: Record) {
        if let Some(journey) = memory.follow(record) {
            memory.keep(journey);
        }
    }

    fn told(memory: Memory) -> Told {
        Story(Arc::new(Mutex::new(memory))).told()
    }

    #[test]
    fn nothing_makes_an_empty_story() {
        let told = Story::default().told();
        assert!(told.points.is_empty() && told.distribution.is_empty() && told.worst.is_empty());
    }

    #[test]
    fn points_stay_few_and_lose_nothing() {
        let mut memory = Memory::default();
        for second in 0..10_000 {
            memory.count(Duration::from_secs(second), second);
        }
        let told = told(memory);
        assert!(told.points.len() > BUCKETS / 2 && told.points.len() <= BUCKETS);
        let attempts: u64 = told.points.iter().map(|point| point.attempts).sum();
        assert_eq!(attempts, 10_000);
        let last = told.points.last().unwrap();
        assert_eq!(last.at, told.points.len() - 1);
        assert!(last.p50 <= last.p99 && last.p99 <= last.max);
    }

    #[test]
    fn bins_grow_alike_and_hold_all() {
        let mut latency = histogram();
        for value in [0, 1, 7, 30, 30, 700] {
            latency.record(value).unwrap();
        }
        let bins = distribution(&latency);
        let bounds: Vec<_> = bins.iter().map(|bin| (bin.from, bin.attempts)).collect();
        let wanted = [
            (0, 1),
            (1, 1),
            (2, 0),
            (5, 1),
            (10, 0),
            (20, 2),
            (50, 0),
            (100, 0),
            (200, 0),
            (500, 1),
        ];
        assert_eq!(bounds, wanted);
    }

    #[test]
    fn failures_come_first_and_then_the_slowest() {
        let mut memory = Memory::default();
        for journey in 0..100_000 {
            tell(&mut memory, record(journey, journey % 1000, Next::Done));
        }
        tell(&mut memory, record(7, 1, Next::GaveUp));
        tell(&mut memory, record(99_990, 2, Next::GaveUp));
        let told = told(memory);
        assert_eq!(told.worst.len(), WORST);
        let of = |at: usize| (told.worst[at].number, told.worst[at].attempts.len());
        // What came before the failure is told where it is still known.
        assert_eq!((of(0), of(1)), ((99_990, 2), (7, 1)));
        assert_eq!(told.worst[2].attempts[0].latency, 999);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::default();
        for at in 0..RING * 2 {
            tell(&mut memory, record(at % 3 * at, at, Next::Done));
        }
        assert_eq!(memory.ring.len() as u64, RING);
        assert!(memory.latest.len() as u64 <= RING);
        let told = told(memory);
        let most = told.worst.iter().map(|journey| journey.attempts.len());
        assert_eq!(most.max(), Some(ATTEMPTS));
    }
}
