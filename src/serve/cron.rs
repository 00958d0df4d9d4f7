//! Events that come by themselves: the cron entries of the folder's scenarios.
//!
//! Under a clock that goes as the machine's does, tokio-cron-scheduler says when; under any other, the
//! server's own clock does. Both read the same expressions and come to the same instants.

use std::sync::{Arc, Weak};

use tokio_cron_scheduler::{Job, JobScheduler};

use super::hub::{Hub, locked};
use crate::draw::{self, Purpose};
use crate::journey::Text;
use crate::plan::arrivals::firing;
use crate::platform::event::{Event, instant, nanos};
use crate::platform::routing::{Rule, Way};
use crate::scenario::Scenario;
use crate::scenario::event::{MadeEvent, Occasion};
use crate::scenario::model::Arrivals;
use crate::sms;
use crate::timeline::Speed;

/// The scheduler goes by the wall clock, which may be adjusted; so much earlier than by the server's own
/// clock it may be, in nanoseconds. Entries come a second apart at the least.
const EARLY: u64 = 500_000_000;

/// The cron entries, each with when it comes next.
#[derive(Default)]
pub struct Crons {
    entries: Vec<Entry>,
    /// Counts how often they were replaced.
    edition: u64,
    /// How many events have come of any.
    fired: u64,
}

struct Entry {
    /// The name of its file.
    stem: String,
    scenario: Arc<Scenario>,
    /// Its place in the scenario's events.
    at: usize,
    /// The number of its first journey.
    first: u64,
    /// How many events have come of it.
    fired: u64,
    /// When the next comes, in nanoseconds since 1970; none if no more do.
    next: Option<u64>,
}

impl Entry {
    fn cron(&self) -> Option<&croner::Cron> {
        match &self.scenario.events.get(self.at)?.arrivals {
            Some(Arrivals::Cron(cron)) => Some(cron),
            _ => None,
        }
    }

    fn count(&self) -> u64 {
        self.scenario
            .events
            .get(self.at)
            .map_or(0, |event| event.count)
    }

    /// Whether the other stands at the same place of the same file, and comes as often at the same times.
    fn is_as(&self, other: &Entry) -> bool {
        self.stem == other.stem
            && (self.at, self.first) == (other.at, other.first)
            && self.count() == other.count()
            && self.cron() == other.cron()
    }

    /// When it comes after that time.
    fn after(&self, last: u64, included: bool) -> Option<u64> {
        if self.fired >= self.count() {
            return None;
        }
        firing(self.cron()?, instant(last), included).map(nanos)
    }
}

impl Hub {
    /// Takes the cron entries of the scenarios of now. One that was there before goes on where it was: that
    /// another file has changed is nothing to it.
    pub(super) fn set_crons(&self) {
        let now = self.now();
        let mut entries = Vec::new();
        for loaded in self.folder().iter() {
            let scenario = &loaded.scenario;
            let mut first = 0;
            for (at, event) in scenario.events.iter().enumerate() {
                let mut entry = Entry {
                    stem: loaded.stem.clone(),
                    scenario: Arc::clone(scenario),
                    at,
                    first,
                    fired: 0,
                    next: None,
                };
                first += event.count;
                if entry.cron().is_some() {
                    entry.next = entry.after(now, true);
                    entries.push(entry);
                }
            }
        }
        let mut crons = locked(&self.crons);
        for entry in &mut entries {
            if let Some(before) = crons.entries.iter().find(|before| before.is_as(entry)) {
                entry.fired = before.fired;
                entry.next = before.next;
            }
        }
        crons.edition += 1;
        crons.entries = entries;
        drop(crons);
        self.sooner.notify_one();
    }

    /// Whether the machine's clock is the server's, so that tokio-cron-scheduler can say when.
    fn goes_as_the_machine(&self) -> bool {
        self.options.speed == Some(Speed::Times(1.0))
    }

    /// When the next cron entry comes, in nanoseconds since 1970, if the server's own clock says so.
    pub(super) fn next_cron(&self) -> Option<u64> {
        if self.goes_as_the_machine() {
            return None;
        }
        let crons = locked(&self.crons);
        crons.entries.iter().filter_map(|entry| entry.next).min()
    }

    /// How many events have come of cron entries.
    pub(super) fn cron_events(&self) -> u64 {
        locked(&self.crons).fired
    }

    /// Lets those come that are due by the server's own clock.
    pub(super) fn fire_crons(&self, now: u64) {
        if !self.goes_as_the_machine() {
            self.fire(now, None);
        }
    }

    /// Lets the events of one entry, or all, come whose time it is.
    fn fire(&self, now: u64, only: Option<usize>) {
        let mut due = Vec::new();
        let mut crons_fired = 0;
        let mut crons = locked(&self.crons);
        for (at, entry) in crons.entries.iter_mut().enumerate() {
            while let Some(next) = entry.next.filter(|next| *next <= now)
                && only.is_none_or(|only| only == at)
            {
                due.push((
                    next,
                    Arc::clone(&entry.scenario),
                    entry.at,
                    entry.first + entry.fired,
                ));
                entry.fired += 1;
                crons_fired += 1;
                entry.next = entry.after(next, false);
            }
        }
        crons.fired += crons_fired;
        drop(crons);
        due.sort_by_key(|(at, _, _, _)| *at);
        for (at, scenario, entry, number) in due {
            if let Err(why) = self.make(at, &scenario, entry, number) {
                tracing::warn!(scenario = scenario.name, "a cron event was not made: {why}");
            }
        }
    }

    /// Makes an event of an entry, as a run would, and lets it take its way.
    fn make(
        &self,
        at: u64,
        scenario: &Arc<Scenario>,
        entry: usize,
        number: u64,
    ) -> Result<(), String> {
        let Some(spec) = scenario.events.get(entry) else {
            return Ok(());
        };
        let seed = scenario.seed.unwrap_or(self.options.seed);
        let journey = &scenario.journeys[spec.journeys.choose(seed, number)];
        let occasion = Occasion {
            seed,
            number,
            journey: &journey.name,
            now: instant(at),
        };
        let mut made = MadeEvent::default();
        spec.make(&occasion, &mut made)
            .map_err(|error| error.message)?;
        let parts = match &journey.text {
            Text::Fixed { parts } => *parts,
            Text::Template(template) => {
                let mut text = String::new();
                spec.render_text(template, &made, &occasion, &mut text)
                    .map_err(|error| error.message)?;
                sms::part_count(&text).map_err(|error| error.to_string())?
            }
        };
        let mut steps = Vec::new();
        let mut rng = draw::generator(seed, number, Purpose::Delays);
        journey.unfold(parts, &scenario.settings, &mut rng, &mut steps);
        let way = Way {
            steps,
            message_type: journey.message_type,
            campaign: journey.campaign.unwrap_or_else(|| made.usual_campaign()),
            scenario: Arc::clone(scenario),
            person_key: made.person_key,
            mdn: made.mdn.clone(),
            rule: Rule::Lenient,
            notes: Vec::new(),
        };
        let part = made.part();
        let event = Event::new(
            part.event_id.into(),
            part.event_type,
            part.event_data,
            part.debug_data,
            (at, seed, number),
            way,
            format!("cron entry of {}", scenario.name),
        );
        self.check_room().map_err(|problem| problem.to_string())?;
        let place = self
            .place(&scenario.company_key)
            .map_err(|problem| problem.to_string())?;
        let _ = self.begin(&place, place.company(), self.next_seq(), event);
        Ok(())
    }
}

/// Lets tokio-cron-scheduler say when cron entries come, if the server's clock is the machine's; never comes
/// back.
///
/// # Errors
///
/// The scheduler cannot be had.
pub async fn run(hub: Weak<Hub>) -> Result<(), tokio_cron_scheduler::JobSchedulerError> {
    let mut edition = 0;
    let mut scheduler: Option<JobScheduler> = None;
    loop {
        let Some(there) = hub.upgrade().filter(|there| there.goes_as_the_machine()) else {
            return Ok(());
        };
        let (now, patterns) = {
            let crons = locked(&there.crons);
            let pattern = |entry: &Entry| {
                let cron = entry.next.and(entry.cron());
                cron.map(|cron| cron.pattern.to_string())
            };
            let patterns: Vec<_> = crons.entries.iter().map(pattern).collect();
            (crons.edition, patterns)
        };
        drop(there);
        if now != edition {
            edition = now;
            if let Some(mut before) = scheduler.take() {
                before.shutdown().await?;
            }
            if patterns.iter().any(Option::is_some) {
                let next = JobScheduler::new().await?;
                for (at, pattern) in patterns.into_iter().enumerate() {
                    let Some(pattern) = pattern else { continue };
                    let hub = Weak::clone(&hub);
                    let job = Job::new(pattern.as_str(), move |_, _| {
                        if let Some(hub) = hub.upgrade() {
                            hub.fire(hub.now().saturating_add(EARLY), Some(at));
                        }
                    })?;
                    next.add(job).await?;
                }
                next.start().await?;
                scheduler = Some(next);
                // What has come due before it began, it does not know of.
                if let Some(hub) = hub.upgrade() {
                    hub.fire(hub.now(), None);
                }
            }
        }
        // A reload is noticed soon enough.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    use super::*;

    /// One field of an expression, of numbers from `low` to `high` or of names.
    fn field(low: u32, high: u32, names: &'static [&'static str]) -> impl Strategy<Value = String> {
        let number = move || low..=high;
        let names = match names {
            [] => &["*"],
            names => names,
        };
        prop_oneof![
            3 => Just("*".to_owned()),
            2 => number().prop_map(|n| n.to_string()),
            2 => (2..=high.div_ceil(2)).prop_map(|n| format!("*/{n}")),
            1 => (number(), number()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (number(), number(), 1..9_u32)
                .prop_map(|(a, b, n)| format!("{}-{}/{n}", a.min(b), a.max(b))),
            1 => prop::collection::vec(number(), 2..5).prop_map(|all| {
                let all: Vec<_> = all.iter().map(u32::to_string).collect();
                all.join(",")
            }),
            1 => prop::sample::select(names).prop_map(str::to_owned),
        ]
    }

    fn expression() -> impl Strategy<Value = String> {
        let fields = (
            field(0, 59, &[]),
            field(0, 59, &[]),
            field(0, 23, &[]),
            field(1, 31, &["L", "15W", "?"]),
            field(1, 12, &["JAN", "FEB-APR", "DEC"]),
            field(0, 7, &["SUN", "MON-FRI", "5L", "TUE#2", "?"]),
        );
        fields.prop_map(|(s, m, h, day, month, weekday)| {
            format!("{s} {m} {h} {day} {month} {weekday}")
        })
    }

    /// The entry of a scenario with that expression; none if it is not valid.
    fn entry(expression: &str) -> Option<Entry> {
        let text = format!(
            "{{scenario: x, events: [{{event_type: tick, count: 1000, arrivals: {{cron: \"{expression}\"}}}}]}}"
        );
        Some(Entry {
            stem: "x".to_owned(),
            scenario: Arc::new(Scenario::parse("x", &text).ok()?),
            at: 0,
            first: 0,
            fired: 0,
            next: None,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_global_rejects: 20_000, ..ProptestConfig::with_cases(40) })]

        #[test]
        fn both_clocks_give_the_same_instants(
            expression in expression(),
            seconds in 1_700_000_000..2_500_000_000_i64,
            nanos in prop_oneof![Just(0_u32), 0..1_000_000_000_u32],
        ) {
            let entry = entry(&expression);
            prop_assume!(entry.is_some());
            let entry = entry.unwrap();
            // As the scheduler is told.
            let pattern = entry.cron().unwrap().pattern.to_string();
            let before = Utc::now();
            let mut job = Job::new(pattern.as_str(), |_, _| {}).unwrap();
            let after = Utc::now();
            let data = job.job_data().unwrap();
            let theirs = data.schedule().unwrap();
            let mut last: DateTime<Utc> = DateTime::from_timestamp(seconds, nanos).unwrap();
            for _ in 0..4 {
                let next = theirs.find_next_occurrence(&last, false).ok();
                // The scheduler looks at whole seconds alone.
                let next = next.and_then(|next| DateTime::from_timestamp(next.timestamp(), 0));
                let own = entry.after(super::nanos(last), false).map(instant);
                prop_assert_eq!(own, next);
                let Some(next) = next else { break };
                prop_assert!(next > last);
                last = next;
            }
            // And what the scheduler itself has made of it, from now on.
            let tick = data.next_tick_utc();
            let own = |from| entry.after(super::nanos(from), false).map(instant);
            prop_assert!((own(before)..=own(after)).contains(&tick), "{tick:?}");
        }
    }

    #[test]
    fn entries_go_on_when_files_are_read_again() {
        use crate::serve::folder::Loaded;
        use crate::serve::hub::Options;

        let load = |stem: &str, seconds: &str| {
            let text = format!("{seconds} * * * * *");
            Loaded {
                stem: stem.to_owned(),
                scenario: entry(&text).unwrap().scenario,
            }
        };
        let options = Options {
            speed: None,
            ..Options::default()
        };
        let hub = Hub::new(options, vec![load("a", "*"), load("b", "*")], None).unwrap();
        let now = hub.now() + 10_000_000_000;
        hub.clock.allow(now);
        hub.fire_crons(now);
        assert_eq!(hub.cron_events(), 20);
        let first = hub.next_cron();
        hub.set_folder(vec![load("a", "*"), load("b", "*/2")]);
        // The one that is as it was has had its turn; the other begins anew.
        hub.fire_crons(now);
        let crons = locked(&hub.crons);
        assert_eq!((crons.entries[0].fired, crons.entries[0].next), (10, first));
        assert!(crons.entries[1].fired <= 1);
    }
}
