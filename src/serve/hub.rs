//! The server's middle: companies, the clock, what is due when, and a lane for each destination.
//!
//! Whatever comes in (a posted event, a registration, a moved clock) and goes out (attempts) meets here. What it
//! means is decided in [`platform`](crate::platform).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};

use super::changes::{Change, Changes, What};
use super::data::{self, Data, Written};
use super::folder::Loaded;
use super::ledger::{Ledger, Posted};
use crate::delivery::answer::FailureKind;
use crate::delivery::clock::Clock;
use crate::delivery::lane::{Lane, Standing};
use crate::delivery::policy::Policy;
use crate::delivery::target::Target;
use crate::delivery::tls::Transport;
use crate::plan;
use crate::platform::company::{
    self, Company, DeliveryId, Event, Load, Open, Restored, State, instant, nanos,
};
use crate::platform::routing;
use crate::run::CONNECTIONS;
use crate::scenario::model::DuplicateEventId;
use crate::scenario::{Destination, Scenario, Serving, Settings};
use crate::timeline::{Next, Now, Speed, Timeline};
use crate::vibes::api::{Problem, code};
use crate::vibes::callback_api::Registration;
use crate::vibes::event::PostedEvent;

/// So much of an answer's body is kept, in bytes.
pub const KEPT_ANSWER: usize = 64 * 1024;
/// So many bytes of answers and events that are over are kept at the most.
const KEPT_BYTES: usize = 256 * 1024 * 1024;
/// So many callbacks and deliveries may wait at once, unless it is said otherwise.
pub const MAX_PENDING: usize = 2_000_000;
/// So many bytes of events and answers are held at the most, those included of which more is to come.
const MAX_HELD: usize = 1024 * 1024 * 1024;
/// So many companies are known at once.
const MAX_COMPANIES: usize = 10_000;
/// Events that the platform takes of a company in a second; seen in its "Technical Details".
const MAX_EVENTS_A_SECOND: u32 = 300;
/// Other calls likewise.
const MAX_CALLS_A_SECOND: u32 = 100;
/// How long connections to a destination stay when nothing is left to do.
const LINGER: Duration = Duration::from_millis(900);

/// So many deliveries that are over are kept, unless it is said otherwise.
pub const KEEP_ROWS: usize = 100_000;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// How fast the clock goes; none if it is moved by hand.
    pub speed: Option<Speed>,
    /// Every random choice comes from it.
    pub seed: u64,
    /// Hosts that may be sent to wherever they are.
    pub allow_destinations: Vec<String>,
    /// Whether a registration's endpoint must be there.
    pub probe_destinations: bool,
    /// How long what is over is kept.
    pub keep: Duration,
    /// How many deliveries that are over are kept.
    pub keep_rows: usize,
    /// So many callbacks and deliveries may wait before further events are refused.
    pub max_pending: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            speed: Some(Speed::Times(1.0)),
            seed: 0,
            allow_destinations: Vec::new(),
            probe_destinations: false,
            keep: Duration::from_secs(24 * 60 * 60),
            keep_rows: KEEP_ROWS,
            max_pending: MAX_PENDING,
        }
    }
}

/// A company and its destinations.
pub struct Place {
    /// Its key.
    pub key: Arc<str>,
    company: Mutex<Company>,
    lanes: Mutex<HashMap<u64, Arc<Lane>>>,
    forgotten: AtomicBool,
    /// What scenarios say, as long as they are the same.
    rules: Mutex<Option<Arc<Rules>>>,
    limits: Mutex<Limits>,
    /// Counts what has changed, for those who wait.
    changed: watch::Sender<u64>,
}

/// What scenarios say about a company's events.
struct Rules {
    /// Those that it was made of.
    folder: Arc<[Loaded]>,
    /// In the order in which they are asked.
    playbooks: Vec<Arc<Scenario>>,
    serving: Serving,
}

/// What a company has asked for in a second of real time.
#[derive(Default)]
struct Limits {
    second: u64,
    events: u32,
    calls: u32,
}

impl Place {
    fn new(key: Arc<str>) -> Place {
        Place {
            company: Mutex::new(Company::new(Arc::clone(&key))),
            key,
            lanes: Mutex::default(),
            forgotten: AtomicBool::new(false),
            rules: Mutex::default(),
            limits: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// What is known of the company. Lanes may not be touched while it is held.
    pub fn company(&self) -> MutexGuard<'_, Company> {
        locked(&self.company)
    }

    /// Tells of changes to come.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Its destinations' lanes, each with its registration's id.
    pub fn lanes(&self) -> Vec<(u64, Arc<Lane>)> {
        let lanes = locked(&self.lanes);
        lanes
            .iter()
            .map(|(id, lane)| (*id, Arc::clone(lane)))
            .collect()
    }

    fn bump(&self) {
        if self.changed.receiver_count() > 0 {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// A callback that waits for its time.
struct Due {
    at: u64,
    seq: u64,
    step: u16,
    place: Arc<Place>,
}

impl Due {
    fn order(&self) -> (u64, u64, u16) {
        (self.at, self.seq, self.step)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// A delivery that was under way when the server ended.
struct Begun {
    place: Arc<Place>,
    registration: u64,
    sent: plan::Callback,
    attempt: u32,
    due: u64,
}

/// What is over and kept for a while.
#[derive(Default)]
struct Kept {
    /// Numbered as they came to an end.
    events: BTreeMap<u64, Over>,
    /// The number of each event, by its `seq`: one that is sent again comes to an end again.
    numbers: HashMap<u64, u64>,
    last: u64,
    rows: usize,
    bytes: usize,
}

impl Kept {
    fn add(&mut self, seq: u64, over: Over) {
        self.remove(seq);
        self.rows += over.rows;
        self.bytes += over.bytes;
        self.last += 1;
        self.numbers.insert(seq, self.last);
        self.events.insert(self.last, over);
    }

    fn remove(&mut self, seq: u64) {
        if let Some(number) = self.numbers.remove(&seq)
            && let Some(over) = self.events.remove(&number)
        {
            self.rows = self.rows.saturating_sub(over.rows);
            self.bytes = self.bytes.saturating_sub(over.bytes);
        }
    }
}

/// An event of which nothing more comes.
struct Over {
    place: Weak<Place>,
    seq: u64,
    /// Real time since the server began.
    since: Duration,
    rows: usize,
    bytes: usize,
}

/// What the server counts.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that were accepted.
    pub events: AtomicU64,
    /// Attempts that were made.
    pub attempts: AtomicU64,
    /// Deliveries that were accepted.
    pub accepted: AtomicU64,
    /// Deliveries that were refused or given up.
    pub failed: AtomicU64,
    /// Callbacks that nobody wanted.
    pub unmatched: AtomicU64,
}

/// The server's state.
pub struct Hub {
    me: Weak<Hub>,
    /// How it is to be.
    pub options: Options,
    /// Its clock, in nanoseconds since 1970.
    pub clock: Clock,
    began: std::time::Instant,
    companies: RwLock<HashMap<Arc<str>, Arc<Place>>>,
    /// The folder's scenarios, in the order of their names.
    folder: RwLock<Arc<[Loaded]>>,
    schedule: Mutex<BinaryHeap<Reverse<Due>>>,
    /// Something may be due earlier than was thought.
    pub(super) sooner: Notify,
    /// An attempt is over; whoever moves the clock looks again.
    pub(super) settled: Arc<Notify>,
    /// Lanes that may have something to do, for whoever moves the clock.
    pub(super) active: Mutex<Vec<Arc<Lane>>>,
    kept: Mutex<Kept>,
    /// What all companies together have open and hold.
    open: AtomicUsize,
    held: AtomicUsize,
    seqs: AtomicU64,
    registrations: AtomicU64,
    campaigns: AtomicU32,
    data: Option<Data>,
    /// What had been counted when the clock was saved last.
    clock_saved: AtomicU64,
    policy: Arc<Policy>,
    transport: Transport,
    /// What has changed, for those who watch.
    pub changes: Changes,
    /// What is counted.
    pub counts: Counts,
    /// Runs, by their ids.
    pub runs: super::runs::Runs,
    /// Its clock is moved by one at a time.
    pub(super) moving: tokio::sync::Mutex<()>,
    /// Numbers for people and scrapers.
    pub metrics: super::metrics::Metrics,
    /// Cron entries of the folder's scenarios.
    pub(super) crons: Mutex<super::cron::Crons>,
}

impl Hub {
    /// A server's state, empty but for what `data` holds.
    ///
    /// # Errors
    ///
    /// What was saved cannot be understood.
    pub fn new(
        options: Options,
        folder: Vec<Loaded>,
        data: Option<(Data, data::Saved)>,
    ) -> Result<Arc<Hub>, String> {
        let (data, saved) = data.unzip();
        let wall = nanos(Utc::now());
        let reached = saved.as_ref().and_then(|saved| saved.clock);
        let from = reached.map_or(wall, |reached| reached.max(wall));
        let clock = match options.speed {
            Some(speed) => Clock::at(from, speed),
            None => Clock::moved(reached.unwrap_or(wall)),
        };
        let hub = Arc::new_cyclic(|me| Hub {
            me: Weak::clone(me),
            policy: Arc::new(Policy::new(&options.allow_destinations)),
            options,
            clock,
            began: std::time::Instant::now(),
            companies: RwLock::default(),
            folder: RwLock::new(folder.into()),
            schedule: Mutex::default(),
            sooner: Notify::new(),
            settled: Arc::default(),
            active: Mutex::default(),
            kept: Mutex::default(),
            open: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            seqs: AtomicU64::new(1),
            registrations: AtomicU64::new(1),
            campaigns: AtomicU32::new(1),
            data,
            clock_saved: AtomicU64::new(0),
            transport: Transport::default(),
            changes: Changes::default(),
            counts: Counts::default(),
            runs: super::runs::Runs::default(),
            moving: tokio::sync::Mutex::default(),
            metrics: super::metrics::Metrics::default(),
            crons: Mutex::default(),
        });
        if let Some(saved) = saved {
            hub.restore(saved)?;
        }
        if hub.clock.is_moved() && reached.is_none() {
            // So that it stands there after the next start, too.
            let _ = hub.save(|| data::Change::Clock { now: from });
        }
        hub.set_crons();
        Ok(hub)
    }

    /// Takes up what was saved.
    fn restore(&self, saved: data::Saved) -> Result<(), String> {
        self.seqs.store(saved.highest.seq + 1, Ordering::Relaxed);
        self.registrations
            .store(saved.highest.registration + 1, Ordering::Relaxed);
        self.campaigns
            .store(saved.highest.campaign + 1, Ordering::Relaxed);
        let damaged = |what: &str, error: serde_json::Error| {
            format!("the data file holds {what} that cannot be read: {error}")
        };
        for known in &saved.companies {
            let place = Arc::new(Place::new(Arc::clone(&known.key)));
            let mut company = place.company();
            for (id, json) in &known.registrations {
                let read = serde_json::from_str(json);
                let read = read.map_err(|error| damaged("a registration", error))?;
                company.registrations.insert(*id, read);
            }
            for (id, json) in &known.campaigns {
                let read = serde_json::from_str(json);
                let read = read.map_err(|error| damaged("a campaign", error))?;
                company.campaigns.insert(*id, read);
            }
            if let Some(text) = &known.routes {
                match Scenario::parse("routes", text) {
                    Ok(scenario) => company.routes = Some(Arc::new(scenario)),
                    Err(error) => {
                        tracing::warn!(
                            company = &*known.key,
                            "routes are not taken up again: {error}"
                        );
                    }
                }
            }
            drop(company);
            self.companies
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(Arc::clone(&known.key), place);
        }
        let mut begun = Vec::new();
        saved
            .events(|kept| {
                self.restore_event(kept, &mut begun)
                    .map_err(|error| damaged("an event", error))
            })
            .map_err(|error| error.to_string())?;
        self.resume(begun);
        Ok(())
    }

    /// Goes on with what was under way, in the order in which it is due, and with what has become due meanwhile.
    fn resume(&self, mut begun: Vec<Begun>) {
        begun.sort_by_key(|one| one.due);
        let now = self.now();
        for one in begun {
            if one.due <= now && !self.clock.is_moved() {
                self.hand_over(one.due, usize::MAX);
            }
            self.send(&one.place, one.registration, one.sent, one.attempt, one.due);
        }
    }

    /// Takes up an event that was saved; attempts that are to be made at it are put into `begun`.
    fn restore_event(
        &self,
        kept: data::KeptEvent,
        begun: &mut Vec<Begun>,
    ) -> Result<(), serde_json::Error> {
        let Some(place) = self.find(&kept.company) else {
            return Ok(());
        };
        let event: Event = serde_json::from_str(&kept.json)?;
        let mut deliveries: Vec<Restored> = Vec::new();
        for attempt in kept.attempts {
            let is_of = |last: &Restored| {
                last.step == attempt.step && last.delivery.registration == attempt.registration
            };
            if !deliveries.last().is_some_and(is_of) {
                deliveries.push(Restored {
                    step: attempt.step,
                    delivery: company::Delivery::new(attempt.registration, attempt.at),
                    destinations: 0,
                });
            }
            let Some(restored) = deliveries.last_mut() else {
                continue;
            };
            restored.destinations = attempt.destinations;
            let delivery = &mut restored.delivery;
            delivery.latest = attempt.attempt;
            delivery.state = match attempt.state {
                data::State::Accepted => State::Accepted,
                data::State::Failed => State::Failed,
                data::State::Retrying => State::Retrying,
                data::State::Again => {
                    delivery.before = attempt.attempt;
                    State::Pending
                }
            };
            delivery.next = attempt.retry_at.unwrap_or(attempt.at);
            delivery.attempts.push(company::Attempt {
                number: attempt.attempt,
                at: attempt.at,
                latency_us: attempt.latency_us,
                result: match (attempt.status, attempt.failure) {
                    (Some(status), _) => Ok(status),
                    (None, failure) => {
                        let (kind, detail) = failure.unwrap_or_default();
                        let kind =
                            FailureKind::named(&kind).unwrap_or(FailureKind::ConnectionFailed);
                        Err((kind, detail.into()))
                    }
                },
                answer: attempt.answer,
            });
        }
        let mut open = Vec::new();
        let mut company = place.company();
        let before = company.load();
        company.restore(kept.seq, event, deliveries, &kept.unmatched, &mut open);
        self.count(before, &company);
        if company.is_over(kept.seq) {
            self.over(&place, &company, kept.seq);
        }
        let outcome = |step: u16| {
            let event = company.event(kept.seq)?;
            let callback = event.callbacks.get(usize::from(step))?;
            Some((callback.outcome, (callback.part, callback.parts)))
        };
        let open: Vec<_> = open
            .into_iter()
            .map(|open| match open {
                Open::Ahead { step, .. } | Open::Delivery { step, .. } => (open, outcome(step)),
            })
            .collect();
        drop(company);
        for (open, outcome) in open {
            match (open, outcome) {
                (Open::Ahead { step, due }, _) => {
                    self.schedule(&place, kept.seq, std::iter::once((step, due)));
                }
                (
                    Open::Delivery {
                        step,
                        registration,
                        attempt,
                        due,
                    },
                    Some((outcome, part)),
                ) => {
                    let sent = plan::Callback::of_event((kept.seq, step), due, outcome, part);
                    begun.push(Begun {
                        place: Arc::clone(&place),
                        registration,
                        sent,
                        attempt,
                        due,
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What the clock shows, in nanoseconds since 1970.
    pub fn now(&self) -> u64 {
        match self.clock.now() {
            Now::At(now) => now,
            Now::Next { limit } => limit,
        }
    }

    /// What the clock shows.
    pub fn time(&self) -> DateTime<Utc> {
        instant(self.now())
    }

    /// A company that is known.
    pub fn find(&self, key: &str) -> Option<Arc<Place>> {
        read(&self.companies).get(key).cloned()
    }

    /// Every company that is known.
    pub fn places(&self) -> Vec<Arc<Place>> {
        read(&self.companies).values().cloned().collect()
    }

    /// A company, known or new.
    ///
    /// # Errors
    ///
    /// The key is none (404), or too many are known (503).
    pub fn place(&self, key: &str) -> Result<Arc<Place>, Problem> {
        if let Some(place) = self.find(key) {
            return Ok(place);
        }
        check_key(key)?;
        let mut companies = self
            .companies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if companies.len() >= MAX_COMPANIES {
            return Err(Problem::one(
                503,
                code::LIMIT,
                format!(
                    "This server knows {MAX_COMPANIES} companies already; DELETE /_mock/companies/KEY forgets one"
                ),
            ));
        }
        let key: Arc<str> = key.into();
        let place = companies
            .entry(Arc::clone(&key))
            .or_insert_with(|| Arc::new(Place::new(key)));
        Ok(Arc::clone(place))
    }

    /// The folder's scenarios.
    pub fn folder(&self) -> Arc<[Loaded]> {
        Arc::clone(&read(&self.folder))
    }

    /// Takes other scenarios from here on.
    pub fn set_folder(&self, folder: Vec<Loaded>) {
        *self.folder.write().unwrap_or_else(PoisonError::into_inner) = folder.into();
        for place in self.places() {
            self.refresh(&place);
        }
        self.set_crons();
        self.tell_all(What::Reloaded { ok: true });
    }

    /// A scenario of the folder, by its file's name.
    pub fn scenario(&self, stem: &str) -> Option<Arc<Scenario>> {
        let folder = self.folder();
        let found = folder.iter().find(|loaded| loaded.stem == stem)?;
        Some(Arc::clone(&found.scenario))
    }

    /// What scenarios say about a company's events, its own routes first.
    fn rules(&self, place: &Place) -> Arc<Rules> {
        let folder = self.folder();
        // Held until they are made, so that routes that are set meanwhile are not lost.
        let mut known = locked(&place.rules);
        if let Some(known) = &*known
            && Arc::ptr_eq(&known.folder, &folder)
        {
            return Arc::clone(known);
        }
        let own = place.company().routes.clone();
        let applying = folder
            .iter()
            .map(|loaded| &loaded.scenario)
            .filter(|scenario| scenario.applies_to(&place.key));
        let playbooks: Vec<_> = own.iter().chain(applying).cloned().collect();
        let rules = Arc::new(Rules {
            serving: routing::serving(&playbooks),
            playbooks,
            folder,
        });
        *known = Some(Arc::clone(&rules));
        rules
    }

    /// The next registration's id.
    pub fn next_registration(&self) -> u64 {
        self.registrations.fetch_add(1, Ordering::Relaxed)
    }

    /// The next campaign's id.
    pub fn next_campaign(&self) -> u32 {
        self.campaigns.fetch_add(1, Ordering::Relaxed)
    }

    /// Why the data file could not be written the last time, if it could not.
    pub fn trouble(&self) -> Option<String> {
        self.data.as_ref().and_then(Data::trouble)
    }

    /// Queues a change to be written; whoever wants to know that it is on disk waits for what comes back.
    pub fn save(&self, change: impl FnOnce() -> data::Change) -> Option<Written> {
        self.data.as_ref().map(|data| data.write(change()))
    }

    /// Likewise, for something of a company's, while its lock is held. Once the company is forgotten nothing of it
    /// is written any more: it is as if it had come before.
    pub fn save_for(
        &self,
        place: &Place,
        change: impl FnOnce() -> data::Change,
    ) -> Option<Written> {
        match place.forgotten.load(Ordering::Relaxed) {
            true => None,
            false => self.save(change),
        }
    }

    /// What a company, whose lock is held, has open and holds has changed.
    fn count(&self, before: Load, company: &Company) {
        let after = company.load();
        // These wrap, so that adding what is negative takes away.
        let added = |before: usize, after: usize| after.wrapping_sub(before);
        self.open
            .fetch_add(added(before.open, after.open), Ordering::Relaxed);
        self.held
            .fetch_add(added(before.bytes, after.bytes), Ordering::Relaxed);
    }

    /// Takes an event back that could not be written.
    pub(super) fn withdraw(&self, place: &Place, seq: u64) {
        let mut company = place.company();
        let before = company.load();
        company.withdraw(seq);
        self.count(before, &company);
    }

    /// Waits until the disk has caught up, if there is one to be written to.
    pub async fn room(&self) {
        if let Some(data) = &self.data {
            data.room().await;
        }
    }

    /// Tells those who watch of a change of a company's.
    pub fn tell(&self, place: &Place, what: What) {
        self.changes.push(Change {
            company: Some(Arc::clone(&place.key)),
            at: self.now(),
            what,
        });
        place.bump();
    }

    /// Tells those who watch of a change that is nobody's.
    pub fn tell_all(&self, what: What) {
        self.changes.push(Change {
            company: None,
            at: self.now(),
            what,
        });
    }

    /// Accepts an event: decides about its way and puts its callbacks into the schedule. Its id, and what to
    /// wait for before that is promised.
    ///
    /// # Errors
    ///
    /// What the Event API answers.
    pub fn accept(
        &self,
        place: &Arc<Place>,
        posted: &PostedEvent,
    ) -> Result<(Arc<str>, u64, Option<Written>), Problem> {
        let seq = self.seqs.fetch_add(1, Ordering::Relaxed);
        let event_id: Arc<str> = match &posted.event_id {
            Some(event_id) => event_id.as_str().into(),
            None => self.made_up_id(seq).into(),
        };
        self.check_room()?;
        let now = self.now();
        let rules = self.rules(place);
        let company = place.company();
        let nth = company.events_of(&event_id);
        if nth > 0 && rules.serving.duplicate_event_id == Some(DuplicateEventId::Reject) {
            return Err(Problem::one(
                409,
                code::CONFLICT,
                format!("The event_id {event_id} has been used before"),
            ));
        }
        let number = routing::journey_number(&place.key, &event_id, nth);
        let seed = self.options.seed;
        let happening = routing::Posted {
            company_key: &place.key,
            event_id: &event_id,
            event_type: &posted.event_type,
            event_data: &posted.event_data,
            debug_data: posted.debug_data.as_deref(),
            person: (posted.person.key, &posted.person.value),
            number,
        };
        let campaigns = company.campaign_ways(&posted.event_type, instant(now));
        let way = routing::decide(&rules.playbooks, &campaigns, &happening, seed, instant(now));
        let rule = way.rule.words(&way.scenario);
        let event = Event::new(
            Arc::clone(&event_id),
            &posted.event_type,
            &posted.event_data,
            posted.debug_data.as_deref(),
            (now, seed, number),
            way,
            rule,
        );
        let written = self.begin(place, company, seq, event);
        Ok((event_id, seq, written))
    }

    /// Keeps an event and puts its callbacks into the schedule.
    pub(super) fn begin(
        &self,
        place: &Arc<Place>,
        mut company: MutexGuard<'_, Company>,
        seq: u64,
        event: Event,
    ) -> Option<Written> {
        if place.forgotten.load(Ordering::Relaxed) {
            // Between its being looked up and now; so it was forgotten with the rest.
            return None;
        }
        let before = company.load();
        company.keep(seq, event);
        self.count(before, &company);
        let event = company.event(seq)?;
        // Queued under the company's lock, so that nothing about the event can come before it.
        let written = self.save_for(place, || data::Change::Event {
            company: Arc::clone(&place.key),
            seq,
            json: serde_json::to_string(event).unwrap_or_default(),
        });
        let told = What::Event {
            event_id: Arc::clone(&event.event_id),
            event_type: event.event_type.clone(),
            callbacks: event.callbacks.len(),
        };
        let dues: Vec<u64> = event
            .callbacks
            .iter()
            .map(|callback| callback.due)
            .collect();
        drop(company);
        self.counts.events.fetch_add(1, Ordering::Relaxed);
        self.tell(place, told);
        self.schedule(place, seq, (0..).zip(dues));
        written
    }

    /// An id for an event that was sent without one.
    pub(super) fn made_up_id(&self, seq: u64) -> String {
        let purpose = crate::draw::Purpose::Event;
        let mut rng = crate::draw::generator(self.options.seed, seq, purpose);
        crate::draw::uuid(&mut rng).to_string()
    }

    /// Refuses what comes too fast, where a scenario asks for that; the limits are the platform's.
    ///
    /// # Errors
    ///
    /// There were too many in this second (429).
    pub(super) fn limit(&self, place: &Place, is_event: bool) -> Result<(), Problem> {
        if self.rules(place).serving.enforce_limits != Some(true) {
            return Ok(());
        }
        let second = self.began.elapsed().as_secs();
        let mut limits = locked(&place.limits);
        if limits.second != second {
            *limits = Limits {
                second,
                ..Limits::default()
            };
        }
        let (count, most) = match is_event {
            true => (&mut limits.events, MAX_EVENTS_A_SECOND),
            false => (&mut limits.calls, MAX_CALLS_A_SECOND),
        };
        *count += 1;
        if *count <= most {
            return Ok(());
        }
        Err(Problem::one(
            429,
            code::LIMIT,
            format!("There are up to {most} of these calls a second"),
        ))
    }

    /// The next event's place in the order of coming.
    pub(super) fn next_seq(&self) -> u64 {
        self.seqs.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a further event may come.
    ///
    /// # Errors
    ///
    /// Too much waits already (503).
    pub(super) fn check_room(&self) -> Result<(), Problem> {
        let most = self.options.max_pending;
        let message = if self.open.load(Ordering::Relaxed) >= most {
            format!(
                "{most} callbacks and deliveries wait already; post less, move the clock, or see to the receivers"
            )
        } else if self.held.load(Ordering::Relaxed) >= MAX_HELD {
            "Events and answers take up too much memory; post less, or forget companies with DELETE /_mock/companies/KEY"
                .to_owned()
        } else {
            return Ok(());
        };
        Err(Problem::one(503, code::LIMIT, message))
    }

    fn schedule(&self, place: &Arc<Place>, seq: u64, dues: impl Iterator<Item = (u16, u64)>) {
        let mut schedule = locked(&self.schedule);
        if place.forgotten.load(Ordering::Relaxed) {
            return;
        }
        let before = schedule.peek().map(|Reverse(due)| due.at);
        for (step, at) in dues {
            schedule.push(Reverse(Due {
                at,
                seq,
                step,
                place: Arc::clone(place),
            }));
        }
        let after = schedule.peek().map(|Reverse(due)| due.at);
        drop(schedule);
        if before != after {
            self.sooner.notify_one();
        }
    }

    /// How many callbacks wait for their time.
    pub fn waiting(&self) -> usize {
        locked(&self.schedule).len()
    }

    /// When the next callback is due, in nanoseconds since 1970.
    pub fn next_due(&self) -> Option<u64> {
        let schedule = locked(&self.schedule);
        schedule.peek().map(|Reverse(due)| due.at)
    }

    /// Hands what is due at that time (nanoseconds since 1970) over to the destinations that want it; at most
    /// so many callbacks. How many there were.
    pub fn hand_over(&self, until: u64, most: usize) -> usize {
        let mut due = Vec::new();
        let mut schedule = locked(&self.schedule);
        while due.len() < most
            && let Some(Reverse(next)) = schedule.peek()
            && next.at <= until
        {
            due.extend(schedule.pop().map(|Reverse(next)| next));
        }
        drop(schedule);
        let mut wanted = Vec::new();
        for due in &due {
            self.fan_out(due, &mut wanted);
        }
        due.len()
    }

    /// Sets the routes of a company: a scenario and its text; none drops them.
    pub fn set_routes(
        &self,
        place: &Arc<Place>,
        routes: Option<(Scenario, String)>,
    ) -> Option<Written> {
        let mut company = place.company();
        let (scenario, text) = routes.unzip();
        company.routes = scenario.map(Arc::new);
        let written = self.save_for(place, || data::Change::Routes {
            company: Arc::clone(&place.key),
            text,
        });
        drop(company);
        *locked(&place.rules) = None;
        self.refresh(place);
        self.tell(place, What::Routes);
        written
    }

    fn fan_out(&self, due: &Due, wanted: &mut Vec<u64>) {
        let place = &due.place;
        if place.forgotten.load(Ordering::Relaxed) {
            return;
        }
        let mut company = place.company();
        let before = company.load();
        let Some(settled) = company.fan_out(due.seq, due.step, wanted) else {
            return;
        };
        self.count(before, &company);
        if settled.state == State::Unmatched {
            let _ = self.save(|| data::Change::Unmatched {
                seq: due.seq,
                step: due.step,
            });
            self.counts.unmatched.fetch_add(1, Ordering::Relaxed);
        }
        let event = company.event(due.seq);
        let Some(callback) = event.and_then(|event| event.callbacks.get(usize::from(due.step)))
        else {
            return;
        };
        let (outcome, part, parts) = (callback.outcome, callback.part, callback.parts);
        if settled.state == State::Unmatched {
            let told = event.map(|event| What::Delivery {
                id: DeliveryId {
                    seq: due.seq,
                    step: due.step,
                    registration: 0,
                },
                event_id: Arc::clone(&event.event_id),
                outcome,
                state: State::Unmatched,
                attempts: 0,
                status: None,
            });
            if settled.event_over {
                self.over(place, &company, due.seq);
            }
            drop(company);
            if let Some(told) = told {
                self.tell(place, told);
            }
            return;
        }
        drop(company);
        let sent = plan::Callback::of_event((due.seq, due.step), due.at, outcome, (part, parts));
        for registration in wanted.iter() {
            self.send(place, *registration, sent, 1, due.at);
        }
    }

    /// Puts an attempt into a registration's lane.
    pub(super) fn send(
        &self,
        place: &Arc<Place>,
        registration: u64,
        callback: plan::Callback,
        attempt: u32,
        due: u64,
    ) {
        match self.lane(place, registration) {
            Ok(lane) => {
                lane.push(callback, attempt, due);
                if self.clock.is_moved() {
                    let mut active = locked(&self.active);
                    if !active.iter().any(|known| Arc::ptr_eq(known, &lane)) {
                        active.push(lane);
                    }
                }
            }
            Err(why) => {
                let id = DeliveryId {
                    seq: callback.journey,
                    step: callback.step(),
                    registration,
                };
                let numbered = place.company().number_attempt(id);
                let Some((number, destinations)) = numbered else {
                    return;
                };
                let made = company::Attempt {
                    number,
                    at: due,
                    latency_us: 0,
                    result: Err((FailureKind::ConnectionFailed, why.into())),
                    answer: None,
                };
                let _ = self.save_attempt(place, id, &made, Next::GaveUp, destinations);
                self.attempted(place, id, made, Next::GaveUp, Duration::ZERO);
            }
        }
    }

    fn lane(&self, place: &Arc<Place>, registration: u64) -> Result<Arc<Lane>, String> {
        if let Some(lane) = locked(&place.lanes).get(&registration) {
            return Ok(Arc::clone(lane));
        }
        let settings = self.rules(place).serving.settings();
        let target = {
            let company = place.company();
            let known = company.registrations.get(&registration);
            let known = known.ok_or("the registration is not known any more")?;
            self.target(known, &settings)?
        };
        let timeline = Timeline::new(Box::new(Posted(Arc::clone(place))), &settings);
        let connections = match self.clock.is_moved() {
            // One after the other, so that what is due first comes first.
            true => 1,
            false => CONNECTIONS,
        };
        let ledger = Ledger {
            hub: Weak::clone(&self.me),
            place: Arc::clone(place),
            registration,
        };
        let lane = Lane::new(timeline, Arc::new(target), self.clock.clone(), connections)
            .watched_by(Vec::new(), Some(Arc::new(ledger)))
            .lingering(LINGER)
            .telling(Arc::clone(&self.settled));
        let mut lanes = locked(&place.lanes);
        if place.forgotten.load(Ordering::Relaxed) {
            return Err("the company is not known any more".to_owned());
        }
        Ok(Arc::clone(
            lanes.entry(registration).or_insert_with(|| Arc::new(lane)),
        ))
    }

    /// Where a registration's callbacks go.
    fn target(&self, registration: &Registration, settings: &Settings) -> Result<Target, String> {
        let destination = Destination {
            method: registration.method,
            content_type: registration.content_type,
            ..Destination::default()
        };
        let timeout = settings.timeout.to_std();
        let url = &registration.url;
        let target = Target::new(url, &destination, &[], timeout, false, &self.transport)?;
        Ok(target.guarded(Arc::clone(&self.policy), KEPT_ANSWER))
    }

    /// Whether somebody's URL may be sent to, as far as that can be told now.
    ///
    /// # Errors
    ///
    /// Why not and, after a line break, how to mend it.
    pub async fn check_destination(&self, url: &str) -> Result<(), String> {
        let target = Target::new(
            url,
            &Destination::default(),
            &[],
            Settings::default().timeout.to_std(),
            false,
            &self.transport,
        )?;
        target
            .guarded(Arc::clone(&self.policy), KEPT_ANSWER)
            .check(self.options.probe_destinations)
            .await
    }

    /// The guard on whom may be sent to.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// Lets a registration's lane go to where the registration says now.
    pub fn retarget(&self, place: &Arc<Place>, registration: u64) {
        let Some(lane) = locked(&place.lanes).get(&registration).cloned() else {
            return;
        };
        let settings = self.rules(place).serving.settings();
        let target = {
            let company = place.company();
            let known = company.registrations.get(&registration);
            known.map(|known| self.target(known, &settings))
        };
        if let Some(Ok(target)) = target {
            lane.retarget(Arc::new(target), &settings);
        }
    }

    /// Lets a company's lanes go by the settings of now.
    fn refresh(&self, place: &Arc<Place>) {
        for (registration, _) in place.lanes() {
            self.retarget(place, registration);
        }
    }

    /// Queues an attempt to be written.
    pub(super) fn save_attempt(
        &self,
        place: &Place,
        id: DeliveryId,
        made: &company::Attempt,
        next: Next,
        destinations: u16,
    ) -> Option<Written> {
        self.save_for(place, || data::Change::Attempt {
            seq: id.seq,
            step: id.step,
            registration: id.registration,
            attempt: made.number,
            at: made.at,
            state: match next {
                Next::Done => data::State::Accepted,
                Next::GaveUp => data::State::Failed,
                Next::Retry(_) => data::State::Retrying,
            },
            retry_at: match next {
                Next::Retry(due) => Some(due),
                _ => None,
            },
            status: made.result.as_ref().ok().copied(),
            failure: made
                .result
                .as_ref()
                .err()
                .map(|(kind, detail)| (kind.name(), detail.to_string())),
            answer: made.answer.clone(),
            latency_us: made.latency_us,
            destinations,
        })
    }

    /// An attempt is over, and on disk if that is asked for.
    pub(super) fn attempted(
        &self,
        place: &Arc<Place>,
        id: DeliveryId,
        mut made: company::Attempt,
        next: Next,
        lag: Duration,
    ) {
        if self.held.load(Ordering::Relaxed) >= MAX_HELD {
            made.answer = None;
        }
        self.counts.attempts.fetch_add(1, Ordering::Relaxed);
        self.metrics.attempt(&made, lag);
        let (number, status) = (made.number, made.result.as_ref().ok().copied());
        let mut company = place.company();
        let before = company.load();
        let Some(settled) = company.attempted(id, made, next) else {
            return;
        };
        self.count(before, &company);
        match settled.state {
            State::Accepted => self.counts.accepted.fetch_add(1, Ordering::Relaxed),
            State::Failed => self.counts.failed.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
        let told = company.event(id.seq).and_then(|event| {
            let callback = event.callbacks.get(usize::from(id.step))?;
            Some(What::Delivery {
                id,
                event_id: Arc::clone(&event.event_id),
                outcome: callback.outcome,
                state: settled.state,
                attempts: number,
                status,
            })
        });
        if settled.event_over {
            self.over(place, &company, id.seq);
        }
        drop(company);
        if let Some(told) = told {
            self.tell(place, told);
        }
    }

    /// Nothing more comes of an event; it is kept for a while.
    fn over(&self, place: &Arc<Place>, company: &Company, seq: u64) {
        let Some(event) = company.event(seq) else {
            return;
        };
        let (rows, bytes) = event.size();
        let over = Over {
            place: Arc::downgrade(place),
            seq,
            since: self.began.elapsed(),
            rows,
            bytes,
        };
        locked(&self.kept).add(seq, over);
    }

    /// Saves how far a clock that runs has come: it goes on from there even if the machine's clock has gone back, or
    /// if it runs faster than that.
    pub fn save_clock(&self) {
        if !self.clock.is_moved() {
            let _ = self.save(|| data::Change::Clock { now: self.now() });
        }
    }

    /// Likewise, unless nothing has happened since the last time. Called from time to time.
    pub fn save_clock_in_use(&self) {
        let counts = &self.counts;
        let done = [&counts.events, &counts.attempts, &counts.unmatched]
            .map(|count| count.load(Ordering::Relaxed))
            .iter()
            .sum();
        if self.clock_saved.swap(done, Ordering::Relaxed) != done {
            self.save_clock();
        }
    }

    /// Forgets what is over and has been kept long enough. Called from time to time.
    pub fn tidy(&self) {
        let now = self.began.elapsed();
        let mut gone = Vec::new();
        let mut kept = locked(&self.kept);
        while let Some((_, first)) = kept.events.first_key_value()
            && (kept.rows > self.options.keep_rows
                || kept.bytes > KEPT_BYTES
                || now.saturating_sub(first.since) > self.options.keep)
        {
            let seq = first.seq;
            gone.push((Weak::clone(&first.place), seq));
            kept.remove(seq);
        }
        drop(kept);
        let mut seqs = Vec::new();
        for (place, seq) in gone {
            let Some(place) = place.upgrade() else {
                continue;
            };
            let mut company = place.company();
            let before = company.load();
            if company.evict(seq) {
                self.count(before, &company);
                seqs.push(seq);
            }
        }
        if !seqs.is_empty() {
            let _ = self.save(|| data::Change::Evict { seqs });
        }
        for place in self.places() {
            self.tidy_lanes(&place);
        }
    }

    /// Lets lanes go whose registrations are over and that have nothing left to do.
    fn tidy_lanes(&self, place: &Place) {
        let mut ids: Vec<u64> = locked(&place.lanes).keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let now = self.time();
        let company = place.company();
        ids.retain(|id| {
            let known = company.registrations.get(id);
            known.is_none_or(|known| !known.listed_at(now))
        });
        drop(company);
        for id in ids {
            let mut lanes = locked(&place.lanes);
            let idle = lanes.get(&id).is_some_and(|lane| {
                let standing = lane.standing();
                standing.pending == 0 && standing.under_way == 0
            });
            if idle {
                lanes.remove(&id);
            }
        }
    }

    /// Begins a delivery that is over anew.
    ///
    /// # Errors
    ///
    /// How it stands, if it is not over; none if there is no such delivery.
    pub fn redeliver(
        &self,
        place: &Arc<Place>,
        id: DeliveryId,
    ) -> Result<Option<Written>, Option<State>> {
        let now = self.now();
        let mut company = place.company();
        let before = company.load();
        let begun = company.redeliver(id, now)?;
        self.count(before, &company);
        let written = self.save_for(place, || data::Change::Again {
            seq: id.seq,
            step: id.step,
            registration: id.registration,
            at: now,
        });
        drop(company);
        let sent = plan::Callback::of_event((id.seq, id.step), now, begun.outcome, (0, 0));
        self.send(place, id.registration, sent, 1, now);
        Ok(written)
    }

    /// Forgets a company: its registrations, campaigns, events and what waits.
    pub fn forget(&self, key: &str) -> Option<Written> {
        // Held until that is queued, so that nothing of a new company of that key comes before it.
        let mut companies = self
            .companies
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Also of one that is not known: the file may hold it still, if it could not be written the last time.
        let forget = || data::Change::Forget {
            company: key.into(),
        };
        let Some(place) = companies.remove(key) else {
            return self.save(forget);
        };
        let mut company = place.company();
        place.forgotten.store(true, Ordering::Relaxed);
        let before = company.load();
        let gone = std::mem::replace(&mut *company, Company::new(Arc::clone(&place.key)));
        self.count(before, &company);
        let written = self.save(forget);
        drop(company);
        drop(companies);
        let mut kept = locked(&self.kept);
        for seq in gone.seqs() {
            kept.remove(seq);
        }
        drop(kept);
        if before.open > 0 {
            // Nobody is to wait for what will not be sent.
            locked(&self.schedule).retain(|Reverse(due)| !Arc::ptr_eq(&due.place, &place));
        }
        let lanes = std::mem::take(&mut *locked(&place.lanes));
        for lane in lanes.values() {
            lane.interrupt();
        }
        if self.clock.is_moved() {
            let is_gone = |lane: &Arc<Lane>| lanes.values().any(|gone| Arc::ptr_eq(gone, lane));
            locked(&self.active).retain(|lane| !is_gone(lane));
            self.settled.notify_one();
        }
        self.tell(&place, What::Forgotten);
        written
    }

    /// How every destination stands that has been sent to: company, registration, standing.
    pub fn destinations(&self) -> Vec<(Arc<str>, u64, Standing)> {
        let mut all = Vec::new();
        for place in self.places() {
            for (registration, lane) in place.lanes() {
                all.push((Arc::clone(&place.key), registration, lane.standing()));
            }
        }
        all
    }

    /// Lets attempts that are under way end, for so long; begins no others.
    pub async fn drain(&self, patience: Duration) {
        let mut lanes = Vec::new();
        for place in self.places() {
            lanes.extend(place.lanes().into_iter().map(|(_, lane)| lane));
        }
        for lane in &lanes {
            lane.interrupt();
        }
        let all = async {
            for lane in &lanes {
                lane.finished().await;
            }
        };
        let _ = tokio::time::timeout(patience, all).await;
        for place in self.places() {
            // A lane knows its company, which knows its lanes.
            locked(&place.lanes).clear();
        }
    }
}

/// Whether a text can be a company's key.
///
/// # Errors
///
/// It cannot (404, as for a company that is not there).
pub fn check_key(key: &str) -> Result<(), Problem> {
    let fits = (1..=64).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    match fits {
        true => Ok(()),
        false => Err(Problem::one(
            404,
            code::NOT_FOUND,
            "A company_key is 1 to 64 letters, digits, `-` and `_`",
        )),
    }
}

/// A panic elsewhere leaves the value whole enough to go on.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vibes::api::ApiVersion;
    use crate::vibes::callback_api::RegistrationRequest;

    fn hub() -> Arc<Hub> {
        let options = Options {
            speed: None,
            ..Options::default()
        };
        Hub::new(options, Vec::new(), None).unwrap()
    }

    fn register(hub: &Hub, place: &Place, url: &str) -> u64 {
        let body =
            format!(r#"{{"callback_type":"event_processed","destination":{{"url":"{url}"}}}}"#);
        let request = RegistrationRequest::parse(body.as_bytes()).unwrap();
        let id = hub.next_registration();
        place.company().register(id, request, hub.time()).unwrap();
        id
    }

    fn post(hub: &Hub, place: &Arc<Place>) {
        let body = br#"{"event_type":"a","event_data":{"external_person_id":"vm-routing-no-route-rules"}}"#;
        let posted = PostedEvent::parse(body, ApiVersion::One).unwrap();
        hub.accept(place, &posted).unwrap();
    }

    /// A URL at which nobody listens.
    fn dead() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    }

    #[tokio::test]
    async fn what_is_sent_again_and_again_is_kept_once() {
        let hub = hub();
        let place = hub.place("k").unwrap();
        let registration = register(&hub, &place, &dead());
        post(&hub, &place);
        hub.advance(super::super::time::Until::Idle).await;
        let id = DeliveryId {
            seq: 1,
            step: 0,
            registration,
        };
        let size = || place.company().event(1).unwrap().size();
        for _ in 0..5 {
            hub.redeliver(&place, id).unwrap();
            hub.advance(super::super::time::Until::Idle).await;
            let kept = locked(&hub.kept);
            assert_eq!((kept.events.len(), kept.numbers.len()), (1, 1));
            assert_eq!((kept.rows, kept.bytes), size());
        }
        assert_eq!(hub.open.load(Ordering::Relaxed), 0);
        let before = hub.held.load(Ordering::Relaxed);
        assert_eq!(before, size().1);
        hub.forget("k");
        assert_eq!(hub.held.load(Ordering::Relaxed), 0);
        let kept = locked(&hub.kept);
        assert_eq!((kept.rows, kept.bytes), (0, 0));
    }

    #[tokio::test]
    async fn lanes_go_with_what_they_are_for() {
        let hub = hub();
        let place = hub.place("k").unwrap();
        let url = dead();
        let (first, second) = (
            register(&hub, &place, &url),
            register(&hub, &place, &(url + "2")),
        );
        post(&hub, &place);
        hub.advance(super::super::time::Until::By(10_000_000_000))
            .await;
        assert_eq!(place.lanes().len(), 2);
        place
            .company()
            .cancel_registration(first, hub.time())
            .unwrap();
        // There is still something to be tried.
        hub.tidy();
        assert_eq!(place.lanes().len(), 2);
        hub.advance(super::super::time::Until::Idle).await;
        hub.tidy();
        let left: Vec<u64> = place.lanes().iter().map(|(id, _)| *id).collect();
        assert_eq!(left, [second]);
        // Forgotten, it is gone altogether, but for those who hold it.
        hub.forget("k");
        let place = {
            let weak = Arc::downgrade(&place);
            drop(place);
            weak
        };
        for _ in 0..1000 {
            if place.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a forgotten company is held for ever");
    }

    #[tokio::test]
    async fn what_comes_for_a_company_that_is_being_forgotten_goes_with_it() {
        let hub = hub();
        // Somebody has looked it up, and then it is forgotten.
        let place = hub.place("k").unwrap();
        hub.forget("k");
        post(&hub, &place);
        let registration = register(&hub, &place, &dead());
        let outcome = crate::vibes::outcome::OUTCOMES.first().unwrap();
        let sent = plan::Callback::of_event((1, 0), 0, outcome, (0, 0));
        hub.send(&place, registration, sent, 1, 0);
        assert_eq!((hub.waiting(), hub.open.load(Ordering::Relaxed)), (0, 0));
        assert!(place.lanes().is_empty());
        assert_eq!(hub.place("k").unwrap().company().event_count(), 0);
    }
}
