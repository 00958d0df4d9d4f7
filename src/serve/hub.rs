//! The server's middle: companies, the clock, what is due when, and a lane for each destination.
//!
//! Whatever comes in (a posted event, a registration, a moved clock) and goes out (attempts) meets here. What it
//! means is decided in [`platform`](crate::platform).

mod kept;
mod lanes;
mod place;
mod restore;
mod schedule;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Notify;

use super::changes::{Change, Changes, What};
use super::data::{self, Data, Written};
use super::folder::Loaded;
use crate::delivery::clock::Clock;
use crate::delivery::lane::Lane;
use crate::delivery::policy::Policy;
use crate::delivery::tls::Transport;
use crate::platform::company::{Company, Load};
use crate::platform::event::{Event, instant, nanos};
use crate::platform::routing;
use crate::scenario::Scenario;
use crate::scenario::model::DuplicateEventId;
use crate::timeline::{Now, Speed};
use crate::vibes::api::{Problem, code};
use crate::vibes::event::PostedEvent;

use kept::Kept;
pub use place::Place;
use schedule::Due;

/// So much of an answer's body is kept, in bytes.
pub const KEPT_ANSWER: usize = 64 * 1024;
/// So many callbacks and deliveries may wait at once, unless it is said otherwise.
pub const MAX_PENDING: usize = 2_000_000;
/// So many bytes of events and answers are held at the most, those included of which more is to come.
const MAX_HELD: usize = 1024 * 1024 * 1024;
/// So many companies are known at once.
const MAX_COMPANIES: usize = 10_000;

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
        let seq = self.next_seq();
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
