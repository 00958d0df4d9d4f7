//! Where every random choice comes from: a generator for each (seed, journey, purpose).
//!
//! Nothing is drawn from a shared stream, so the order of computing, shards and threads change nothing.
//! Only integer arithmetic, IEEE operations and `libm` are used, so that every machine draws the same.

use rand::Rng;
use rand::rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use uuid::Uuid;

use crate::scenario::units::Delay;

/// The generator behind every draw.
pub type Generator = Xoshiro256PlusPlus;

/// What something is drawn for; each purpose has draws of its own, so that a change to one leaves the
/// others as they were.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// The gap before the event comes.
    Arrival,
    /// The event's own id and its person.
    Event,
    /// Which journey the event takes.
    Journey,
    /// How long each step takes.
    Delays,
    /// The id of the callback at this place of the journey.
    Callback(u16),
    /// This field of the made-up person.
    Fake(u16),
    /// The filters in the templates of the event's id and type.
    EventNames,
    /// The filters in the templates of the event's data.
    EventTemplates,
    /// The filters in the message's text.
    Text,
    /// Whether faults strike the callback at this place of the journey, and how.
    Faults(u16),
}

impl Purpose {
    fn number(self) -> u64 {
        let (kind, index) = match self {
            Purpose::Arrival => (0, 0),
            Purpose::Event => (1, 0),
            Purpose::Journey => (2, 0),
            Purpose::Delays => (3, 0),
            Purpose::Callback(index) => (4, index),
            Purpose::Fake(index) => (5, index),
            Purpose::EventTemplates => (6, 0),
            Purpose::Text => (7, 0),
            Purpose::EventNames => (8, 0),
            Purpose::Faults(index) => (9, index),
        };
        kind << 16 | u64::from(index)
    }
}

/// The generator for one purpose of one journey.
pub fn generator(seed: u64, journey: u64, purpose: Purpose) -> Generator {
    let state = mix(mix(mix(seed) ^ journey) ^ purpose.number());
    Generator::seed_from_u64(state)
}

/// SplitMix64's step: neighbouring numbers become unrelated ones.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that stands for some texts, the same in every version and on every machine: FNV-1a over each
/// text and a byte that no text holds, mixed so that all of its bits depend on all of them.
pub fn hash(texts: &[&str]) -> u64 {
    let end = &[0xff_u8][..];
    let bytes = texts.iter().flat_map(|text| [text.as_bytes(), end]);
    mix(bytes.flatten().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// A version 4 UUID.
pub fn uuid(generator: &mut Generator) -> Uuid {
    let mut bytes = [0; 16];
    generator.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// A number from 0 up to, but not including, 1.
pub fn fraction(generator: &mut Generator) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A length of time in nanoseconds.
pub fn delay(generator: &mut Generator, delay: Delay) -> u64 {
    match delay {
        Delay::Fixed(length) => length.0,
        Delay::Uniform(from, to) => {
            let width = (to.0 - from.0) as f64;
            from.0 + (fraction(generator) * width).round() as u64
        }
        Delay::LogNormal { median, p99 } => {
            /// The standard normal's 99th percentile.
            const Z99: f64 = 2.326_347_874_040_841;
            let sigma = libm::log(p99.0 as f64 / median.0 as f64) / Z99;
            let nanos = median.0 as f64 * libm::exp(sigma * normal(generator));
            nanos
                .min(crate::scenario::units::MAX_DURATION as f64)
                .round() as u64
        }
    }
}

/// An exponentially distributed gap between independent events, in nanoseconds.
pub fn gap(generator: &mut Generator, rate: f64) -> u64 {
    let seconds = -libm::log(1.0 - fraction(generator)) / rate;
    (seconds * 1e9).round() as u64
}

/// A standard normal number, by Box and Muller.
fn normal(generator: &mut Generator) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - fraction(generator)));
    radius * libm::cos(2.0 * std::f64::consts::PI * fraction(generator))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::units::{Duration, SECOND};

    #[test]
    fn purposes_and_journeys_do_not_share_draws() {
        let first = |seed, journey, purpose| generator(seed, journey, purpose).next_u64();
        let mut seen = std::collections::HashSet::new();
        for seed in 0..10 {
            for journey in 0..10 {
                for index in 0..10 {
                    assert!(seen.insert(first(seed, journey, Purpose::Callback(index))));
                    assert!(seen.insert(first(seed, journey, Purpose::Fake(index))));
                }
                assert!(seen.insert(first(seed, journey, Purpose::Delays)));
            }
        }
    }

    #[test]
    fn hashes_stay_what_they_are_and_tell_texts_apart() {
        assert_eq!(hash(&[]), mix(0xcbf2_9ce4_8422_2325));
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_ne!(hash(&["a"]), hash(&["a", ""]));
    }

    #[test]
    fn log_normal_delays_have_the_quantiles_they_are_given() {
        let spec = Delay::LogNormal {
            median: Duration(3 * SECOND),
            p99: Duration(60 * SECOND),
        };
        let mut draws: Vec<_> = (0..20_000)
            .map(|journey| delay(&mut generator(1, journey, Purpose::Delays), spec))
            .collect();
        draws.sort_unstable();
        let near = |value: u64, wanted: u64| {
            let ratio = value as f64 / wanted as f64;
            assert!((0.85..1.15).contains(&ratio), "{value} against {wanted}");
        };
        near(draws[10_000], 3 * SECOND);
        near(draws[19_800], 60 * SECOND);
    }

    #[test]
    fn gaps_average_to_the_rate() {
        let total: u64 = (0..20_000)
            .map(|journey| gap(&mut generator(1, journey, Purpose::Arrival), 50.0))
            .sum();
        let mean = total as f64 / 20_000.0 / 1e9;
        assert!((0.0195..0.0205).contains(&mean), "{mean}");
    }
}
