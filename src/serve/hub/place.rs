//! A company and its destinations, and what scenarios say about it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::{Hub, locked};
use crate::delivery::lane::Lane;
use crate::platform::company::Company;
use crate::platform::routing;
use crate::scenario::{Scenario, Serving};
use crate::serve::folder::Loaded;
use crate::vibes::api::{Problem, code};

/// A company and its destinations.
pub struct Place {
    /// Its key.
    pub key: Arc<str>,
    pub(super) company: Mutex<Company>,
    pub(super) lanes: Mutex<HashMap<u64, Arc<Lane>>>,
    pub(super) forgotten: AtomicBool,
    /// What scenarios say, as long as they are the same.
    pub(super) rules: Mutex<Option<Arc<Rules>>>,
    pub(super) limits: Mutex<Limits>,
    /// Counts what has changed, for those who wait.
    changed: watch::Sender<u64>,
}

/// What scenarios say about a company's events.
pub(super) struct Rules {
    /// Those that it was made of.
    folder: Arc<[Loaded]>,
    /// In the order in which they are asked.
    pub(super) playbooks: Vec<Arc<Scenario>>,
    pub(super) serving: Serving,
}

/// What a company has asked for in a second of real time.
#[derive(Default)]
pub(super) struct Limits {
    second: u64,
    events: u32,
    calls: u32,
}

impl Place {
    pub(super) fn new(key: Arc<str>) -> Place {
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

    pub(super) fn bump(&self) {
        if self.changed.receiver_count() > 0 {
            self.changed.send_modify(|count| *count += 1);
        }
    }
}

/// Events that the platform takes of a company in a second; seen in its "Technical Details".
pub(super) const MAX_EVENTS_A_SECOND: u32 = 300;

/// Other calls likewise.
pub(super) const MAX_CALLS_A_SECOND: u32 = 100;

impl Hub {
    /// What scenarios say about a company's events, its own routes first.
    pub(super) fn rules(&self, place: &Place) -> Arc<Rules> {
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

    /// Refuses what comes too fast, where a scenario asks for that; the limits are the platform's.
    ///
    /// # Errors
    ///
    /// There were too many in this second (429).
    pub(in crate::serve) fn limit(&self, place: &Place, is_event: bool) -> Result<(), Problem> {
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
}
