//! The clocks that deliveries go by: the machine's, perhaps faster; one that jumps; one that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::timeline::{Now, Speed};

/// A clock in terms of the machine's. Its clones show the same.
#[derive(Clone, Debug)]
pub struct Clock {
    kind: Kind,
    /// What the clock behind it shows when this one shows zero, in nanoseconds.
    zero: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Running {
        began: Instant,
        /// What it showed then, in nanoseconds.
        from: u64,
        times: f64,
    },
    Jumping,
    Moved {
        /// How far it may go, in nanoseconds.
        limit: Arc<AtomicU64>,
    },
}

impl Clock {
    /// A clock that shows `from` (nanoseconds) now and goes at that speed.
    pub fn at(from: u64, speed: Speed) -> Clock {
        let kind = match speed {
            Speed::Times(times) => Kind::Running {
                began: Instant::now(),
                from,
                times,
            },
            Speed::Max => Kind::Jumping,
        };
        Clock { kind, zero: 0 }
    }

    /// A clock that stands at `from` (nanoseconds) until [`allow`](Self::allow) lets it go on.
    pub fn moved(from: u64) -> Clock {
        let kind = Kind::Moved {
            limit: Arc::new(AtomicU64::new(from)),
        };
        Clock { kind, zero: 0 }
    }

    /// The same clock, but counting from when it shows `zero`.
    pub fn since(&self, zero: u64) -> Clock {
        Clock {
            kind: self.kind.clone(),
            zero: self.zero + zero,
        }
    }

    /// What the clock that it was made of shows when this one shows zero, in nanoseconds.
    pub fn zero(&self) -> u64 {
        self.zero
    }

    /// Lets a clock that is moved by hand go as far as that, in nanoseconds; others do not heed it.
    pub fn allow(&self, until: u64) {
        if let Kind::Moved { limit } = &self.kind {
            limit.store(until, Ordering::SeqCst);
        }
    }

    /// Whether it is moved by hand.
    pub fn is_moved(&self) -> bool {
        matches!(self.kind, Kind::Moved { .. })
    }

    /// What it shows.
    pub fn now(&self) -> Now {
        match &self.kind {
            Kind::Running { began, from, times } => {
                let passed = (began.elapsed().as_nanos() as f64 * times) as u64;
                Now::At((from + passed).saturating_sub(self.zero))
            }
            Kind::Jumping => Now::Next { limit: u64::MAX },
            Kind::Moved { limit } => Now::Next {
                limit: limit.load(Ordering::SeqCst).saturating_sub(self.zero),
            },
        }
    }

    /// Time on this clock as real time.
    pub fn real(&self, nanos: u64) -> Duration {
        match self.kind {
            Kind::Running { times, .. } => Duration::from_nanos((nanos as f64 / times) as u64),
            Kind::Jumping | Kind::Moved { .. } => Duration::ZERO,
        }
    }
}
