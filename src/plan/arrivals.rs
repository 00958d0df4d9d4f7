//! When the events of one entry come: evenly, in a ramp, at random, or by a cron expression.

use chrono::{DateTime, Utc};

use super::{Parameters, at};
use crate::draw::{self, Purpose};
use crate::scenario::model::Arrivals;

/// When the events of one entry come, in nanoseconds from the start.
pub(super) struct ArrivalStream {
    pub(super) how: Option<Arrivals>,
    pub(super) parameters: Parameters,
    /// The number of the entry's first journey.
    pub(super) first: u64,
    pub(super) next: u64,
    pub(super) count: u64,
    pub(super) last: u64,
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
    fn next_firing(&self, cron: &croner::Cron, index: u64) -> Option<u64> {
        let start = self.parameters.start;
        let firing = firing(cron, at(start, self.last), index == 0)?;
        u64::try_from((firing - start).num_nanoseconds()?).ok()
    }
}

/// The next instant of a cron expression after `last`, or at it if it is `included`; none if it never comes
/// again.
pub(crate) fn firing(
    cron: &croner::Cron,
    last: DateTime<Utc>,
    included: bool,
) -> Option<DateTime<Utc>> {
    // Cron knows whole seconds; a time within one waits for the next.
    let from = match last.timestamp_subsec_nanos() {
        0 => last,
        _ => DateTime::from_timestamp(last.timestamp() + 1, 0)?,
    };
    cron.find_next_occurrence(&from, included || from > last)
        .ok()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::units::SECOND;

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
}
