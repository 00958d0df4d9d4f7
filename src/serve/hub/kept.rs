//! What is over: how long it is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Hub, Place, locked};
use crate::platform::company::Company;
use crate::serve::data;

/// What is over and kept for a while.
#[derive(Default)]
pub(super) struct Kept {
    /// Numbered as they came to an end.
    pub(super) events: BTreeMap<u64, Over>,
    /// The number of each event, by its `seq`: one that is sent again comes to an end again.
    pub(super) numbers: HashMap<u64, u64>,
    last: u64,
    pub(super) rows: usize,
    pub(super) bytes: usize,
}

impl Kept {
    pub(super) fn add(&mut self, seq: u64, over: Over) {
        self.remove(seq);
        self.rows += over.rows;
        self.bytes += over.bytes;
        self.last += 1;
        self.numbers.insert(seq, self.last);
        self.events.insert(self.last, over);
    }

    pub(super) fn remove(&mut self, seq: u64) {
        if let Some(number) = self.numbers.remove(&seq)
            && let Some(over) = self.events.remove(&number)
        {
            self.rows = self.rows.saturating_sub(over.rows);
            self.bytes = self.bytes.saturating_sub(over.bytes);
        }
    }
}

/// An event of which nothing more comes.
pub(super) struct Over {
    place: Weak<Place>,
    seq: u64,
    /// Real time since the server began.
    since: Duration,
    rows: usize,
    bytes: usize,
}

/// So many bytes of answers and events that are over are kept at the most.
pub(super) const KEPT_BYTES: usize = 256 * 1024 * 1024;

impl Hub {
    /// Nothing more comes of an event; it is kept for a while.
    pub(super) fn over(&self, place: &Arc<Place>, company: &Company, seq: u64) {
        let Some(event) = company.event(seq) else {
            return;
        };
        let (rows, bytes) = event.size();
        let over = Over {
            place: Arc::downgrade(place),
            seq,
            since: self.began.elapsed(),
            rows,
            bytes,
        };
        locked(&self.kept).add(seq, over);
    }

    /// Forgets what is over and has been kept long enough. Called from time to time.
    pub fn tidy(&self) {
        let now = self.began.elapsed();
        let mut gone = Vec::new();
        let mut kept = locked(&self.kept);
        while let Some((_, first)) = kept.events.first_key_value()
            && (kept.rows > self.options.keep_rows
                || kept.bytes > KEPT_BYTES
                || now.saturating_sub(first.since) > self.options.keep)
        {
            let seq = first.seq;
            gone.push((Weak::clone(&first.place), seq));
            kept.remove(seq);
        }
        drop(kept);
        let mut seqs = Vec::new();
        for (place, seq) in gone {
            let Some(place) = place.upgrade() else {
                continue;
            };
            let mut company = place.company();
            let before = company.load();
            if company.evict(seq) {
                self.count(before, &company);
                seqs.push(seq);
            }
        }
        if !seqs.is_empty() {
            let _ = self.save(|| data::Change::Evict { seqs });
        }
        for place in self.places() {
            self.tidy_lanes(&place);
        }
    }

    /// Lets lanes go whose registrations are over and that have nothing left to do.
    fn tidy_lanes(&self, place: &Place) {
        let mut ids: Vec<u64> = locked(&place.lanes).keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let now = self.time();
        let company = place.company();
        ids.retain(|id| {
            let known = company.registrations.get(id);
            known.is_none_or(|known| !known.listed_at(now))
        });
        drop(company);
        for id in ids {
            let mut lanes = locked(&place.lanes);
            let idle = lanes.get(&id).is_some_and(|lane| {
                let standing = lane.standing();
                standing.pending == 0 && standing.under_way == 0
            });
            if idle {
                lanes.remove(&id);
            }
        }
    }
}
