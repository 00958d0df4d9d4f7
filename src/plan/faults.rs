//! What the faults of a scenario do to a plan: looked at when a callback's turn comes, by seed, journey and
//! place, so that shares of a run agree and other callbacks stay as they were.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use rand::Rng;

use super::{Callback, Edition, Parameters, Plan, PlanError, Shard};
use crate::draw::{self, Generator, Purpose};
use crate::fault::{Fault, FaultKind, FaultSpec};
use crate::scenario::Scenario;
use crate::scenario::units::{Delay, Duration, MILLISECOND};

/// Which callbacks are the first that a fault with `first` strikes.
#[derive(Clone)]
pub(super) enum Firsts {
    /// So many are left of each fault: a whole run counts them as they come.
    Left(Vec<u64>),
    /// These are they, by fault, journey and step: a share of a run cannot count the others' callbacks.
    Known(Arc<HashSet<(usize, u64, u16)>>),
}

impl Firsts {
    pub(super) fn of(scenario: &Arc<Scenario>, parameters: Parameters) -> Firsts {
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
    /// Looks at what the faults do to a callback whose turn it is, and puts it back.
    pub(super) fn befall(&mut self, mut callback: Callback) -> Result<(), PlanError> {
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
}
