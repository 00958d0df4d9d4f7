//! One company as the platform knows it: what it registered, its campaigns, and what became of its events.
//!
//! Pure: times are handed in, nothing is sent. All that is kept is here, so that forgetting a company is
//! dropping one value.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::event::{
    Attempt, Delivery, DeliveryId, Event, Fate, Open, Restored, Shown, State, instant,
};
use super::routing::{CampaignMessageRef, CampaignWay};
use crate::scenario::Scenario;
use crate::timeline::Next;
use crate::vibes::api::{Problem, code};
use crate::vibes::callback_api::{CallbackKind, Registration, RegistrationRequest};
use crate::vibes::campaign::{Campaign, CampaignMessage, CampaignRequest};
use crate::vibes::outcome::Outcome;

/// So many registrations of a company may be active or ahead at once.
pub const MAX_REGISTRATIONS: usize = 50;
/// So many registrations that are over are remembered.
const REMEMBERED_REGISTRATIONS: usize = 1000;
/// So many campaigns a company may have.
const MAX_CAMPAIGNS: usize = 10_000;

/// A company.
#[derive(Debug)]
pub struct Company {
    /// Its key.
    pub key: Arc<str>,
    /// Destinations by their ids, over ones too.
    pub registrations: BTreeMap<u64, Registration>,
    /// Campaigns by their ids.
    pub campaigns: BTreeMap<u32, Campaign>,
    /// Routes of its own, before those of files.
    pub routes: Option<Arc<Scenario>>,
    events: BTreeMap<u64, Event>,
    /// The latest event of an id.
    latest: HashMap<Arc<str>, u64>,
    load: Load,
}

/// What a company burdens a server with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Callbacks and deliveries that are not over.
    pub open: usize,
    /// About how many bytes its events take, with what came of them.
    pub bytes: usize,
}

/// What an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How the delivery stands now.
    pub state: State,
    /// Nothing more comes of the event.
    pub event_over: bool,
}

impl Company {
    /// A company that nothing is known of.
    pub fn new(key: Arc<str>) -> Company {
        Company {
            key,
            registrations: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            routes: None,
            events: BTreeMap::new(),
            latest: HashMap::new(),
            load: Load::default(),
        }
    }

    /// What it burdens a server with.
    pub fn load(&self) -> Load {
        self.load
    }

    /// The places of its events in the order of coming.
    pub fn seqs(&self) -> impl Iterator<Item = u64> {
        self.events.keys().copied()
    }

    /// Registers a destination under an id.
    ///
    /// # Errors
    ///
    /// It is in another's way (409), or there are too many (422).
    pub fn register(
        &mut self,
        id: u64,
        request: RegistrationRequest,
        now: DateTime<Utc>,
    ) -> Result<&Registration, Problem> {
        let made = Registration::create(id, request, now)?;
        self.check_conflicts(&made)?;
        self.check_room(&made, now)?;
        if self.registrations.len() > MAX_REGISTRATIONS + REMEMBERED_REGISTRATIONS {
            let over = self.registrations.values();
            let oldest = over
                .filter(|other| !other.listed_at(now))
                .map(|other| other.callback_id)
                .min();
            if let Some(oldest) = oldest {
                self.registrations.remove(&oldest);
            }
        }
        Ok(self.registrations.entry(id).insert_entry(made).into_mut())
    }

    /// Changes a registration.
    ///
    /// # Errors
    ///
    /// There is none of that id (404), it would be in another's way (409), or one too many (422).
    pub fn update_registration(
        &mut self,
        id: u64,
        request: RegistrationRequest,
        now: DateTime<Utc>,
    ) -> Result<&Registration, Problem> {
        let mut changed = self.registration(id)?.clone();
        changed.update(request, now)?;
        self.check_conflicts(&changed)?;
        self.check_room(&changed, now)?;
        Ok(self
            .registrations
            .entry(id)
            .insert_entry(changed)
            .into_mut())
    }

    /// Ends a registration now.
    ///
    /// # Errors
    ///
    /// There is none of that id (404).
    pub fn cancel_registration(
        &mut self,
        id: u64,
        now: DateTime<Utc>,
    ) -> Result<&Registration, Problem> {
        let registration = self.registrations.get_mut(&id).ok_or_else(no_callback)?;
        registration.cancel(now);
        Ok(registration)
    }

    /// A registration by its id.
    ///
    /// # Errors
    ///
    /// There is none (404).
    pub fn registration(&self, id: u64) -> Result<&Registration, Problem> {
        self.registrations.get(&id).ok_or_else(no_callback)
    }

    fn check_room(&self, made: &Registration, now: DateTime<Utc>) -> Result<(), Problem> {
        let others = self.registrations.values();
        let listed = others
            .filter(|other| other.callback_id != made.callback_id && other.listed_at(now))
            .count();
        if listed < MAX_REGISTRATIONS || !made.listed_at(now) {
            return Ok(());
        }
        Err(Problem::one(
            422,
            code::NOT_ACCEPTABLE,
            format!("A company has up to {MAX_REGISTRATIONS} callbacks; cancel one first"),
        ))
    }

    fn check_conflicts(&self, made: &Registration) -> Result<(), Problem> {
        let others = self.registrations.values();
        let other = others
            .filter(|other| other.callback_id != made.callback_id)
            .find(|other| other.conflicts_with(made));
        other.map_or(Ok(()), |other| {
            Err(Problem::one(
                409,
                code::CONFLICT,
                format!(
                    "The callback {} has the same type and URL and overlaps in time",
                    other.callback_id
                ),
            ))
        })
    }

    /// Creates a campaign under an id.
    ///
    /// # Errors
    ///
    /// What is wrong with the request.
    pub fn create_campaign(
        &mut self,
        id: u32,
        request: CampaignRequest,
        now: DateTime<Utc>,
    ) -> Result<&Campaign, Problem> {
        if self.campaigns.len() >= MAX_CAMPAIGNS {
            return Err(Problem::one(
                422,
                code::NOT_ACCEPTABLE,
                format!("A company has up to {MAX_CAMPAIGNS} campaigns here"),
            ));
        }
        let made = Campaign::create(id, request, now)?;
        Ok(self.campaigns.entry(id).insert_entry(made).into_mut())
    }

    /// Changes a campaign.
    ///
    /// # Errors
    ///
    /// There is none of that id (404), or it cannot be changed so (422).
    pub fn update_campaign(
        &mut self,
        id: u32,
        request: CampaignRequest,
        now: DateTime<Utc>,
    ) -> Result<&Campaign, Problem> {
        let campaign = self.campaigns.get_mut(&id).ok_or_else(no_campaign)?;
        campaign.update(request, now)?;
        Ok(campaign)
    }

    /// Ends a campaign.
    ///
    /// # Errors
    ///
    /// There is none of that id (404).
    pub fn cancel_campaign(&mut self, id: u32, now: DateTime<Utc>) -> Result<&Campaign, Problem> {
        let campaign = self.campaigns.get_mut(&id).ok_or_else(no_campaign)?;
        campaign.cancel(now);
        Ok(campaign)
    }

    /// A campaign by its id.
    ///
    /// # Errors
    ///
    /// There is none (404).
    pub fn campaign(&self, id: u32) -> Result<&Campaign, Problem> {
        self.campaigns.get(&id).ok_or_else(no_campaign)
    }

    /// The campaigns that take events of a type now, the oldest first.
    pub fn campaign_ways(&self, event_type: &str, now: DateTime<Utc>) -> Vec<CampaignWay<'_>> {
        let taking = self.campaigns.values();
        taking
            .filter(|campaign| campaign.takes(event_type, now))
            .map(|campaign| CampaignWay {
                id: campaign.id,
                message: match &campaign.message {
                    CampaignMessage::Sms { template } => CampaignMessageRef::Sms { template },
                    CampaignMessage::Mms { texts, media } => {
                        CampaignMessageRef::Mms { texts, media }
                    }
                    CampaignMessage::Push => CampaignMessageRef::Push,
                },
            })
            .collect()
    }

    /// How many events of that id came before.
    pub fn events_of(&self, event_id: &str) -> u64 {
        let latest = self
            .latest
            .get(event_id)
            .and_then(|seq| self.events.get(seq));
        latest.map_or(0, |event| event.nth + 1)
    }

    /// Keeps an event, and hands it back.
    pub fn keep(&mut self, seq: u64, mut event: Event) -> &mut Event {
        event.nth = self.events_of(&event.event_id);
        event.earlier = self.latest.insert(Arc::clone(&event.event_id), seq);
        event.later = None;
        if let Some(earlier) = event.earlier.and_then(|seq| self.events.get_mut(&seq)) {
            earlier.later = Some(seq);
        }
        event.open = event.callbacks.len() as u32;
        self.load.open += event.callbacks.len();
        self.load.bytes += event.size().1;
        self.events.entry(seq).insert_entry(event).into_mut()
    }

    /// Takes an event up again that was kept elsewhere, with what became of it: `deliveries` by step, and the
    /// steps that nobody wanted. What is still to be done is put into `open`: an attempt at a delivery, or a
    /// callback whose time has not come.
    pub fn restore(
        &mut self,
        seq: u64,
        mut event: Event,
        deliveries: Vec<Restored>,
        unmatched: &[u16],
        open: &mut Vec<Open>,
    ) {
        for step in unmatched {
            if let Some(callback) = event.callbacks.get_mut(usize::from(*step)) {
                callback.fate = Fate::Unmatched;
            }
        }
        // Steps that had more destinations than are known.
        let mut lacking = Vec::new();
        for group in deliveries.chunk_by(|one, next| one.step == next.step) {
            let told = group.iter().map(|one| one.destinations).max();
            if told.is_none_or(|told| told == 0 || group.len() < usize::from(told)) {
                lacking.extend(group.first().map(|one| one.step));
            }
        }
        for Restored { step, delivery, .. } in deliveries {
            let Some(callback) = event.callbacks.get_mut(usize::from(step)) else {
                continue;
            };
            match &mut callback.fate {
                Fate::Deliveries(known) => known.push(delivery),
                fate => *fate = Fate::Deliveries(vec![delivery]),
            }
        }
        let (mut steps, mut ahead) = (Vec::new(), 0);
        for (step, callback) in (0..).zip(&mut event.callbacks) {
            match &mut callback.fate {
                Fate::Ahead => {
                    ahead += 1;
                    open.push(Open::Ahead {
                        step,
                        due: callback.due,
                    });
                }
                Fate::Unmatched => {}
                Fate::Deliveries(_) => steps.push(step),
            }
        }
        let kept = self.keep(seq, event);
        let callbacks = kept.callbacks.len();
        kept.open = ahead;
        self.load.open -= callbacks - ahead as usize;
        let mut wanted = Vec::new();
        for step in steps {
            wanted.clear();
            if lacking.contains(&step) {
                // Some were handed over and had not been tried when the program ended.
                self.wanted(seq, step, &mut wanted);
            }
            let Some(event) = self.events.get_mut(&seq) else {
                return;
            };
            let callback = &mut event.callbacks[usize::from(step)];
            let due = callback.due;
            let Fate::Deliveries(known) = &mut callback.fate else {
                continue;
            };
            for id in wanted.drain(..) {
                // One that was made later, though it says that it starts earlier, never got it.
                let was_there = self
                    .registrations
                    .get(&id)
                    .is_some_and(|registration| registration.created_at <= instant(due));
                if was_there && !known.iter().any(|delivery| delivery.registration == id) {
                    known.push(Delivery::new(id, due));
                    self.load.bytes += size_of::<Delivery>();
                }
            }
            // In the order of their ids, as those who page through them count on.
            known.sort_by_key(|delivery| delivery.registration);
            for delivery in known.iter().filter(|delivery| !delivery.state.is_over()) {
                event.open += 1;
                self.load.open += 1;
                open.push(Open::Delivery {
                    step,
                    registration: delivery.registration,
                    attempt: delivery.latest.saturating_sub(delivery.before) + 1,
                    due: delivery.next,
                });
            }
        }
    }

    /// Whether nothing more comes of an event.
    pub fn is_over(&self, seq: u64) -> bool {
        self.events.get(&seq).is_none_or(|event| event.open == 0)
    }

    /// Gives an attempt that has ended its number, counted through also over a delivery that was begun anew; and
    /// says to how many destinations the callback goes. None if there is no such delivery.
    pub fn number_attempt(&mut self, id: DeliveryId) -> Option<(u32, u16)> {
        let event = self.events.get_mut(&id.seq)?;
        let callback = event.callbacks.get_mut(usize::from(id.step))?;
        let Fate::Deliveries(deliveries) = &mut callback.fate else {
            return None;
        };
        let destinations = u16::try_from(deliveries.len()).unwrap_or(u16::MAX);
        let delivery = deliveries
            .iter_mut()
            .find(|delivery| delivery.registration == id.registration)?;
        delivery.latest = delivery.latest.saturating_add(1);
        Some((delivery.latest, destinations))
    }

    /// An event by its place in the order of coming.
    pub fn event(&self, seq: u64) -> Option<&Event> {
        self.events.get(&seq)
    }

    /// How many events are kept.
    pub fn event_count(&self) -> usize {
        self.events.len()
    }

    /// Which active registrations want a callback at its due time; puts their ids into `wanted`.
    fn wanted(&self, seq: u64, step: u16, wanted: &mut Vec<u64>) {
        wanted.clear();
        let Some(event) = self.events.get(&seq) else {
            return;
        };
        let Some(callback) = event.callbacks.get(usize::from(step)) else {
            return;
        };
        let at = instant(callback.due);
        let wants = |registration: &&Registration| match event.is_test {
            true => {
                registration.callback_type == CallbackKind::EventProcessed
                    && registration.active_at(at)
            }
            false => {
                let (stage, status) = (callback.outcome.stage, callback.status);
                registration.wants(&event.event_type, stage, status, at)
            }
        };
        let all = self.registrations.values().filter(wants);
        wanted.extend(all.map(|registration| registration.callback_id));
    }

    /// A callback's time has come: it becomes a delivery for each active registration that wants it. The
    /// ids of these are put into `wanted`; none if nobody does, or if that has happened before.
    pub fn fan_out(&mut self, seq: u64, step: u16, wanted: &mut Vec<u64>) -> Option<Settled> {
        self.wanted(seq, step, wanted);
        let event = self.events.get_mut(&seq)?;
        let callback = event.callbacks.get_mut(usize::from(step))?;
        if !matches!(callback.fate, Fate::Ahead) {
            return None;
        }
        event.open -= 1;
        self.load.open -= 1;
        if wanted.is_empty() {
            callback.fate = Fate::Unmatched;
            return Some(Settled {
                state: State::Unmatched,
                event_over: event.open == 0,
            });
        }
        event.open += wanted.len() as u32;
        self.load.open += wanted.len();
        self.load.bytes += wanted.len() * size_of::<Delivery>();
        let due = callback.due;
        let deliveries = wanted.iter().map(|id| Delivery::new(*id, due));
        callback.fate = Fate::Deliveries(deliveries.collect());
        Some(Settled {
            state: State::Pending,
            event_over: false,
        })
    }

    /// An attempt has ended, and has a number. One may be told of after a later one; that one then says how the
    /// delivery stands.
    pub fn attempted(&mut self, id: DeliveryId, attempt: Attempt, next: Next) -> Option<Settled> {
        let bytes = attempt.size();
        let (open, delivery) = self.delivery_mut(id)?;
        let place = delivery
            .attempts
            .partition_point(|other| other.number <= attempt.number);
        let is_latest = place == delivery.attempts.len();
        delivery.attempts.insert(place, attempt);
        let was_over = delivery.state.is_over();
        if is_latest {
            delivery.state = State::after(next);
            if let Next::Retry(due) = next {
                delivery.next = due;
            }
        }
        let change = match (was_over, delivery.state.is_over()) {
            (false, true) => -1,
            (true, false) => 1,
            _ => 0,
        };
        *open = open.saturating_add_signed(change);
        let settled = Settled {
            state: delivery.state,
            event_over: *open == 0,
        };
        self.load.open = self.load.open.saturating_add_signed(change as isize);
        self.load.bytes += bytes;
        Some(settled)
    }

    /// Begins a delivery that is over anew, at that time; the number of its next attempt.
    ///
    /// # Errors
    ///
    /// How it stands, if it is not over; none if there is no such delivery.
    pub fn redeliver(
        &mut self,
        id: DeliveryId,
        now: u64,
    ) -> Result<&'static Outcome, Option<State>> {
        let event = self.events.get_mut(&id.seq).ok_or(None)?;
        let callback = event.callbacks.get_mut(usize::from(id.step)).ok_or(None)?;
        let Fate::Deliveries(deliveries) = &mut callback.fate else {
            return Err(Some(match callback.fate {
                Fate::Unmatched => State::Unmatched,
                _ => State::Pending,
            }));
        };
        let delivery = deliveries
            .iter_mut()
            .find(|delivery| delivery.registration == id.registration)
            .ok_or(None)?;
        if !delivery.state.is_over() {
            return Err(Some(delivery.state));
        }
        delivery.state = State::Pending;
        delivery.next = now;
        delivery.before = delivery.latest;
        event.open += 1;
        self.load.open += 1;
        Ok(callback.outcome)
    }

    fn delivery_mut(&mut self, id: DeliveryId) -> Option<(&mut u32, &mut Delivery)> {
        let event = self.events.get_mut(&id.seq)?;
        let callback = event.callbacks.get_mut(usize::from(id.step))?;
        let Fate::Deliveries(deliveries) = &mut callback.fate else {
            return None;
        };
        let delivery = deliveries
            .iter_mut()
            .find(|delivery| delivery.registration == id.registration)?;
        Some((&mut event.open, delivery))
    }

    /// Takes back an event that could not be promised, unless something has been done about it already.
    pub fn withdraw(&mut self, seq: u64) {
        let untouched = |event: &Event| {
            let mut fates = event.callbacks.iter().map(|callback| &callback.fate);
            fates.all(|fate| matches!(fate, Fate::Ahead))
        };
        if !self.events.get(&seq).is_some_and(untouched) {
            return;
        }
        self.remove(seq);
    }

    /// Forgets an event of which nothing more comes; false if there is none such.
    pub fn evict(&mut self, seq: u64) -> bool {
        if self.events.get(&seq).is_none_or(|event| event.open > 0) {
            return false;
        }
        self.remove(seq);
        true
    }

    /// Takes an event out; others of its id stay known.
    fn remove(&mut self, seq: u64) {
        let Some(event) = self.events.remove(&seq) else {
            return;
        };
        self.load.open = self.load.open.saturating_sub(event.open as usize);
        self.load.bytes = self.load.bytes.saturating_sub(event.size().1);
        if let Some(later) = event.later.and_then(|later| self.events.get_mut(&later)) {
            later.earlier = event.earlier;
        }
        if let Some(earlier) = event.earlier.and_then(|seq| self.events.get_mut(&seq)) {
            earlier.later = event.later;
        }
        match (event.later, event.earlier) {
            (Some(_), _) => {}
            (None, Some(earlier)) => {
                self.latest.insert(event.event_id, earlier);
            }
            (None, None) => {
                self.latest.remove(&event.event_id);
            }
        }
    }

    /// Everything that is or will be delivered from a place on, in the order of coming.
    pub fn deliveries(&self, from: DeliveryId) -> impl Iterator<Item = Shown<'_>> {
        self.events
            .range(from.seq..)
            .flat_map(|(seq, event)| event.deliveries(*seq))
            .filter(move |shown| shown.id >= from)
    }

    /// Everything that is or will be delivered of the events of an id, the latest event first.
    pub fn deliveries_of(&self, event_id: &str) -> Vec<Shown<'_>> {
        let mut found = Vec::new();
        let mut next = self.latest.get(event_id).copied();
        while let Some((seq, event)) = next.and_then(|seq| Some((seq, self.events.get(&seq)?))) {
            found.extend(event.deliveries(seq));
            next = event.earlier;
        }
        found
    }
}

fn no_callback() -> Problem {
    Problem::one(404, code::NOT_FOUND, "The callback_id is not recognized")
}

fn no_campaign() -> Problem {
    Problem::one(
        404,
        code::NOT_FOUND,
        "The event_triggered_message_id cannot be found",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn company() -> Company {
        Company::new("k".into())
    }

    fn keep(company: &mut Company, seq: u64, event_id: &str) {
        let event = Event::test(event_id.into(), None, 0, 1, seq);
        company.keep(seq, event);
    }

    /// Its time comes, and nobody wants it.
    fn end(company: &mut Company, seq: u64) {
        company.fan_out(seq, 0, &mut Vec::new()).unwrap();
    }

    fn attempt(number: u32, status: u16) -> Attempt {
        Attempt {
            number,
            at: 0,
            latency_us: 0,
            result: Ok(status),
            answer: Some("yes".into()),
        }
    }

    /// A company with one delivery that waits.
    fn with_delivery() -> (Company, DeliveryId) {
        let mut company = company();
        let body =
            br#"{"callback_type":"event_processed","destination":{"url":"http://127.0.0.1/"}}"#;
        let request = RegistrationRequest::parse(body).unwrap();
        company.register(1, request, instant(0)).unwrap();
        keep(&mut company, 1, "e");
        let mut wanted = Vec::new();
        company.fan_out(1, 0, &mut wanted).unwrap();
        assert_eq!(wanted, [1]);
        let id = DeliveryId {
            seq: 1,
            step: 0,
            registration: 1,
        };
        (company, id)
    }

    #[test]
    fn events_of_one_id_stay_known_when_others_of_it_are_forgotten() {
        for forgotten in [1, 2, 3] {
            let mut company = company();
            for seq in 1..=3 {
                keep(&mut company, seq, "same");
            }
            end(&mut company, forgotten);
            assert!(company.evict(forgotten));
            let found = company.deliveries_of("same");
            let seqs: Vec<u64> = found.iter().map(|shown| shown.id.seq).collect();
            let others: Vec<u64> = (1..=3).rev().filter(|seq| *seq != forgotten).collect();
            assert_eq!(seqs, others);
        }
    }

    #[test]
    fn what_is_held_comes_back_to_nothing() {
        let (mut company, id) = with_delivery();
        let next = Next::Retry(5);
        assert_eq!(company.number_attempt(id), Some((1, 1)));
        company.attempted(id, attempt(1, 500), next).unwrap();
        assert_eq!(company.load().open, 1);
        assert_eq!(company.number_attempt(id), Some((2, 1)));
        company.attempted(id, attempt(2, 200), Next::Done).unwrap();
        assert_eq!(company.load().open, 0);
        company.redeliver(id, 7).unwrap();
        assert_eq!(company.load().open, 1);
        assert!(!company.evict(1));
        assert_eq!(company.number_attempt(id), Some((3, 1)));
        company.attempted(id, attempt(3, 200), Next::Done).unwrap();
        keep(&mut company, 2, "e");
        company.cancel_registration(1, instant(0)).unwrap();
        end(&mut company, 2);
        assert!(company.evict(1) && company.evict(2));
        assert_eq!(company.load(), Load::default());
        keep(&mut company, 3, "e");
        company.withdraw(3);
        assert_eq!(company.load(), Load::default());
        assert_eq!(company.events_of("e"), 0);
    }

    #[test]
    fn what_is_taken_up_again_is_in_the_order_of_ids() {
        let (mut company, _) = with_delivery();
        let body =
            br#"{"callback_type":"event_processed","destination":{"url":"http://127.0.0.1/2"}}"#;
        let request = RegistrationRequest::parse(body).unwrap();
        company.register(2, request, instant(0)).unwrap();
        // The second destination's attempt is known, the first's is not.
        let mut second = Delivery::new(2, 0);
        second.state = State::Accepted;
        second.attempts.push(attempt(1, 200));
        let known = Restored {
            step: 0,
            delivery: second,
            destinations: 2,
        };
        let event = Event::test("again".into(), None, 0, 1, 9);
        let mut open = Vec::new();
        company.restore(9, event, vec![known], &[], &mut open);
        assert!(matches!(
            open[..],
            [Open::Delivery {
                registration: 1,
                ..
            }]
        ));
        let shown = company.deliveries_of("again");
        let ids: Vec<u64> = shown.iter().map(|shown| shown.id.registration).collect();
        assert_eq!(ids, [1, 2]);
    }

    #[test]
    fn attempts_that_are_told_of_in_another_order_count_in_their_own() {
        let (mut company, id) = with_delivery();
        assert_eq!(company.number_attempt(id), Some((1, 1)));
        assert_eq!(company.number_attempt(id), Some((2, 1)));
        let second = company.attempted(id, attempt(2, 200), Next::Done).unwrap();
        assert!(second.event_over);
        let first = company
            .attempted(id, attempt(1, 500), Next::Retry(5))
            .unwrap();
        assert_eq!(first.state, State::Accepted);
        assert_eq!(company.load().open, 0);
        let shown = company.deliveries(id).next().unwrap();
        let numbers = shown
            .delivery
            .unwrap()
            .attempts
            .iter()
            .map(|made| made.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [1, 2]);
    }
}
