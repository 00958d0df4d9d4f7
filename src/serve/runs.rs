//! Runs that were asked for over HTTP: scenarios fired at a destination of their own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::changes::What;
use super::hub::{Hub, KEPT_ANSWER, locked};
use crate::delivery::clock::Clock;
use crate::delivery::lane::Lane;
use crate::delivery::target::Target;
use crate::delivery::tls::Transport;
use crate::delivery::{Ending, Engine, StopSignal};
use crate::plan::{Parameters, Plan, Shard, instant};
use crate::platform::event;
use crate::report::{Heading, Report, Tally};
use crate::run::CONNECTIONS;
use crate::scenario::Scenario;
use crate::timeline::{Speed, Timeline};

/// So many runs may go on at once.
pub const MAX_RUNNING: usize = 64;
/// So many that have ended are remembered.
const REMEMBERED: usize = 1000;

/// The runs of a server.
#[derive(Default)]
pub struct Runs {
    last: AtomicU64,
    runs: Mutex<BTreeMap<u64, Arc<RunState>>>,
}

/// A run that goes on or has ended.
pub struct RunState {
    /// Its id.
    pub run_id: u64,
    heading: Heading,
    tally: Tally,
    /// While it goes on.
    lane: Mutex<Option<Arc<Lane>>>,
    stop: StopSignal,
    /// How it ended, once it has.
    ended: watch::Sender<Option<Report>>,
}

/// What is asked for.
pub struct Wish {
    /// What to fire.
    pub scenario: Arc<Scenario>,
    /// Where to.
    pub url: String,
    /// Every random choice comes from it.
    pub seed: u64,
    /// How fast; by the server's own clock if absent.
    pub speed: Option<Speed>,
}

impl Runs {
    /// A run by its id.
    pub fn find(&self, run_id: u64) -> Option<Arc<RunState>> {
        locked(&self.runs).get(&run_id).cloned()
    }

    /// How many go on.
    pub fn running(&self) -> usize {
        going(&locked(&self.runs))
    }

    /// Every run that is known, the oldest first.
    pub fn all(&self) -> Vec<Arc<RunState>> {
        locked(&self.runs).values().cloned().collect()
    }
}

fn going(runs: &BTreeMap<u64, Arc<RunState>>) -> usize {
    runs.values().filter(|run| !run.is_over()).count()
}

impl RunState {
    fn is_over(&self) -> bool {
        self.ended.borrow().is_some()
    }

    fn lane(&self) -> Option<Arc<Lane>> {
        locked(&self.lane).clone()
    }

    /// The final report, once it has ended.
    pub fn report(&self) -> Option<Report> {
        self.ended.borrow().clone()
    }

    /// How it stands: `running`, `finished` or `stopped`.
    pub fn state(&self) -> &'static str {
        match &*self.ended.borrow() {
            None => "running",
            Some(report) if report.interrupted => "stopped",
            Some(_) => "finished",
        }
    }

    /// What has come of it so far.
    pub fn summary(&self) -> Report {
        let lane = self.lane();
        // The report is there before the lane is gone.
        self.report().unwrap_or_else(|| {
            let so_far = lane.map(|lane| lane.ending()).unwrap_or_default();
            self.tally.report(self.heading.clone(), &so_far, 1)
        })
    }

    /// Whether nothing of it waits, though it may not have noticed yet.
    pub fn is_done(&self) -> bool {
        self.lane().is_none_or(|lane| {
            let standing = lane.standing();
            standing.due.is_none() && standing.under_way == 0
        })
    }

    /// Begins no further attempt.
    pub fn stop(&self) {
        // At once, not when the run's own task has its turn.
        if let Some(lane) = self.lane() {
            lane.interrupt();
        }
        self.stop.stop();
    }

    /// Comes back once it has ended.
    pub async fn ended(&self) {
        // The sender lives as long as this does.
        let _ = self.ended.subscribe().wait_for(Option::is_some).await;
    }
}

impl Hub {
    /// Begins a run.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL, or that too many go on; after a line break, how to mend it.
    pub fn start_run(self: &Arc<Self>, wish: Wish) -> Result<Arc<RunState>, String> {
        let Wish {
            scenario,
            url,
            seed,
            speed,
        } = wish;
        let target = Target::new(
            &url,
            &scenario.destination,
            &[],
            scenario.settings.timeout.to_std(),
            false,
            &Transport::default(),
        )?
        .guarded(self.policy(), KEPT_ANSWER.min(1000));
        let now = self.now();
        let clock = match speed {
            Some(speed) => Clock::at(0, speed),
            None => self.clock.since(now),
        };
        let start = event::instant(now);
        let heading = Heading {
            scenario: scenario.name.clone(),
            destination: target.url.clone(),
            seed,
            start: instant(start),
            speed: match (speed, self.options.speed) {
                (Some(speed), _) | (None, Some(speed)) => speed.to_string(),
                (None, None) => "virtual".to_owned(),
            },
            shard: Shard::WHOLE,
        };
        let parameters = Parameters {
            seed,
            start,
            shard: Shard::WHOLE,
        };
        let tally = Tally::new(scenario.expect.clone());
        let plan = Plan::new(Arc::clone(&scenario), parameters);
        let stop = StopSignal::default();
        let by_hand = clock.is_moved();
        // Held until the run is among them, so that no two take the last place.
        let mut runs = locked(&self.runs.runs);
        if going(&runs) >= MAX_RUNNING {
            return Err(format!(
                "{MAX_RUNNING} runs go on already\nwait for one to end, or stop it"
            ));
        }
        let engine = Engine {
            timeline: Timeline::new(Box::new(plan), &scenario.settings),
            target,
            clock,
            connections: if by_hand { 1 } else { CONNECTIONS },
            observers: vec![Box::new(tally.clone())],
            stepper: None,
            stop: stop.clone(),
            journal: None,
            thread: 0,
        };
        let (lane, ended) = engine.start(by_hand.then(|| Arc::clone(&self.settled)));
        if by_hand {
            locked(&self.active).push(Arc::clone(&lane));
        }
        let run_id = self.runs.last.fetch_add(1, Ordering::Relaxed) + 1;
        let run = Arc::new(RunState {
            run_id,
            heading,
            tally,
            lane: Mutex::new(Some(lane)),
            stop,
            ended: watch::Sender::new(None),
        });
        runs.insert(run_id, Arc::clone(&run));
        let over = runs.values().filter(|run| run.is_over());
        let forgotten: Vec<u64> = over.map(|run| run.run_id).collect();
        for old in forgotten
            .iter()
            .take(forgotten.len().saturating_sub(REMEMBERED))
        {
            runs.remove(old);
        }
        drop(runs);
        self.tell_all(What::Run {
            run_id,
            state: run.state(),
        });
        let (hub, ending) = (Arc::clone(self), Arc::clone(&run));
        tokio::spawn(async move {
            let ended: Ending = ended.await;
            let report = ending.tally.report(ending.heading.clone(), &ended, 1);
            ending.ended.send_replace(Some(report));
            // With its plan and scenario, which nobody asks for any more.
            drop(locked(&ending.lane).take());
            hub.tell_all(What::Run {
                run_id,
                state: ending.state(),
            });
        });
        Ok(run)
    }
}
