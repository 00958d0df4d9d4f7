//! What the calls of one server share: places for those that stay long, and the news that it ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::reply::Reply;

/// Places for streams and waits. They are bounded apart from connections, so that however many stay,
/// there are connections left for those who ask and go.
pub struct Permits {
    streams: Arc<Semaphore>,
    waits: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

/// A place that is free again once this is dropped.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Calls under way may end, nothing new begins.
    Draining,
    /// Patience is at its end.
    Gone,
}

impl Permits {
    /// So many places.
    pub fn new(streams: usize, waits: usize) -> Permits {
        let places = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Permits {
            streams: places(streams),
            waits: places(waits),
            phase: watch::Sender::new(Phase::Serving),
        }
    }

    /// A place for an answer that goes on.
    ///
    /// # Errors
    ///
    /// All are taken: the answer to give.
    pub fn stream(&self) -> Result<Permit, Reply> {
        // Whoever wanted a stream has no use for a connection that waits in vain, but others have.
        take(&self.streams, "streams").map_err(Reply::closing)
    }

    /// A place for an answer that is held until something happens.
    ///
    /// # Errors
    ///
    /// All are taken: the answer to give.
    pub fn wait(&self) -> Result<Permit, Reply> {
        take(&self.waits, "waits")
    }

    /// Comes back once the server is to end; what waits should then answer with what there is.
    pub async fn stopping(&self) {
        self.reached(Phase::Draining).await;
    }

    pub(super) async fn reached(&self, phase: Phase) {
        // It cannot fail while the sender is there.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }
}

fn take(places: &Arc<Semaphore>, what: &str) -> Result<Permit, Reply> {
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => Ok(Permit { _place: place }),
        Err(_) => Err(Reply::error(
            503,
            503,
            format!("too many {what} are open\nend some, or try again later"),
        )
        .header(hyper::header::RETRY_AFTER, "1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_waits_have_places_of_their_own() {
        let permits = Permits::new(1, 1);
        let first = permits.stream().unwrap();
        let refused = permits.stream().unwrap_err();
        assert_eq!(refused.status(), 503);
        assert_eq!(refused.header_value("retry-after"), Some("1"));
        let _wait = permits.wait().unwrap();
        assert_eq!(permits.wait().unwrap_err().status(), 503);
        drop(first);
        assert!(permits.stream().is_ok());
    }
}
