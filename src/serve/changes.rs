//! What has changed, for those who watch: a ring of the last changes, read by each at its own pace.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use crate::platform::event::{DeliveryId, State, instant};
use crate::vibes::outcome::Outcome;

/// So many changes are kept for those who come back.
pub const KEPT_CHANGES: usize = 10_000;

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of which company; none for what is nobody's.
    pub company: Option<Arc<str>>,
    /// When, in nanoseconds since 1970.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What has changed.
#[derive(Clone, Debug)]
pub enum What {
    /// An event came.
    Event {
        /// Its id.
        event_id: Arc<str>,
        /// Its type.
        event_type: Box<str>,
        /// How many callbacks will come of it.
        callbacks: usize,
    },
    /// A delivery stands otherwise.
    Delivery {
        /// Its name.
        id: DeliveryId,
        /// The event's id.
        event_id: Arc<str>,
        /// What happened.
        outcome: &'static Outcome,
        /// How it stands.
        state: State,
        /// So many attempts were made.
        attempts: u32,
        /// The last answer's status.
        status: Option<u16>,
    },
    /// A registration was made, changed or cancelled.
    Registration(u64),
    /// A campaign was made, changed or cancelled.
    Campaign(u32),
    /// Routes were set.
    Routes,
    /// The company was forgotten.
    Forgotten,
    /// A run began or ended.
    Run {
        /// Its id.
        run_id: u64,
        /// How it stands.
        state: &'static str,
    },
    /// The clock was moved.
    Clock,
    /// The folder was read again.
    Reloaded {
        /// Whether what it holds now is in use.
        ok: bool,
    },
}

/// A change as JSON shows it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    company_key: Option<&'a str>,
    at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callbacks: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
}

impl Change {
    /// The kind of change, as the stream's `event:` has it.
    pub fn kind(&self) -> &'static str {
        match self.what {
            What::Event { .. } => "event",
            What::Delivery { .. } => "delivery",
            What::Registration(_) => "registration",
            What::Campaign(_) => "campaign",
            What::Routes => "routes",
            What::Forgotten => "forgotten",
            What::Run { .. } => "run",
            What::Clock => "clock",
            What::Reloaded { .. } => "reloaded",
        }
    }

    /// The change as JSON on one line.
    pub fn to_json(&self) -> String {
        let mut shown = Shown {
            company_key: self.company.as_deref(),
            at: crate::plan::instant(instant(self.at)),
            delivery_id: None,
            event_id: None,
            event_type: None,
            outcome: None,
            state: None,
            attempts: None,
            status: None,
            callbacks: None,
            id: None,
            ok: None,
        };
        match &self.what {
            What::Event {
                event_id,
                event_type,
                callbacks,
            } => {
                shown.event_id = Some(event_id);
                shown.event_type = Some(event_type);
                shown.callbacks = Some(*callbacks);
            }
            What::Delivery {
                id,
                event_id,
                outcome,
                state,
                attempts,
                status,
            } => {
                shown.delivery_id = Some(id.to_string());
                shown.event_id = Some(event_id);
                shown.outcome = Some(outcome.name);
                shown.state = Some(state.name());
                shown.attempts = Some(*attempts);
                shown.status = *status;
            }
            What::Registration(id) => shown.id = Some(id.to_string()),
            What::Campaign(id) => shown.id = Some(id.to_string()),
            What::Run { run_id, state } => {
                shown.id = Some(run_id.to_string());
                shown.state = Some(state);
            }
            What::Reloaded { ok } => shown.ok = Some(*ok),
            What::Routes | What::Forgotten | What::Clock => {}
        }
        serde_json::to_string(&shown).unwrap_or_default()
    }
}

/// The last changes.
#[derive(Debug)]
pub struct Changes {
    ring: Mutex<Ring>,
    latest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    changes: VecDeque<Change>,
    /// The number of the first that is kept; they are numbered from 1.
    first: u64,
}

impl Default for Changes {
    fn default() -> Self {
        Changes {
            ring: Mutex::new(Ring {
                changes: VecDeque::new(),
                first: 1,
            }),
            latest: watch::Sender::new(0),
        }
    }
}

impl Changes {
    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change.
    pub fn push(&self, change: Change) {
        let mut ring = self.lock();
        ring.changes.push_back(change);
        if ring.changes.len() > KEPT_CHANGES {
            ring.changes.pop_front();
            ring.first += 1;
        }
        let latest = ring.first + ring.changes.len() as u64 - 1;
        drop(ring);
        if self.latest.receiver_count() > 0 {
            self.latest.send_replace(latest);
        }
    }

    /// The number of the latest change; 0 before the first.
    pub fn latest(&self) -> u64 {
        let ring = self.lock();
        ring.first + ring.changes.len() as u64 - 1
    }

    /// Up to `most` changes after the one of that number, each with its own; and whether some in between are
    /// no longer kept.
    pub fn after(&self, number: u64, most: usize) -> (Vec<(u64, Change)>, bool) {
        let ring = self.lock();
        let missed = number + 1 < ring.first;
        let skip = (number + 1).saturating_sub(ring.first) as usize;
        let first = ring.first + skip as u64;
        let found = ring.changes.iter().skip(skip).take(most).cloned();
        ((first..).zip(found).collect(), missed)
    }

    /// Tells of changes to come.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}
