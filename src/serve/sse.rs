//! Server-sent events: how one is written, and an answer made of them.

use std::fmt::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, HeaderName};
use tokio::time::{Instant, Sleep, sleep};

use super::permits::Permit;
use super::reply::{Reply, Source, Unfold};

/// After so long without an event a comment is sent, so that neither a proxy nor a client takes the
/// connection for dead, and so that we learn when it is.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// So long a client waits before it comes back.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// For proxies that would rather collect answers first.
static ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// One event. Every line break in `data` begins a `data:` line of its own, so that what comes out on the
/// other side is what went in.
pub fn event(id: u64, kind: &str, data: &str) -> Bytes {
    let mut text = String::with_capacity(data.len() + kind.len() + 40);
    // Writing to a String cannot fail.
    let _ = write!(text, "id: {id}\nevent: ");
    text.extend(kind.chars().filter(|c| !matches!(c, '\r' | '\n')));
    for line in lines(data) {
        text.push_str("\ndata: ");
        text.push_str(line);
    }
    text.push_str("\n\n");
    text.into()
}

/// As the format counts them: ended by CR LF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

/// An answer that goes on until `next` gives no more, the client leaves, or the server ends. `next` is
/// asked for an event only when the last one has been taken: a client that is slow costs no memory, and
/// what it misses meanwhile is `next`'s to know.
pub fn reply<S, N, F>(permit: Permit, state: S, next: N) -> Reply
where
    S: Send + 'static,
    N: FnMut(S) -> F + Send + 'static,
    F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
{
    let events = Events {
        first: Some(retry(COME_BACK_AFTER)),
        source: Unfold::new(state, next),
        heartbeat: Box::pin(sleep(HEARTBEAT)),
        _permit: permit,
    };
    Reply::source("text/event-stream", events)
        .header(CACHE_CONTROL, "no-cache")
        .header(ACCEL_BUFFERING.clone(), "no")
}

struct Events<S> {
    first: Option<Bytes>,
    source: S,
    heartbeat: Pin<Box<Sleep>>,
    _permit: Permit,
}

impl<S: Source> Source for Events<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let piece = match self.source.poll_next(cx) {
            Poll::Ready(piece) => piece,
            Poll::Pending => {
                ready!(self.heartbeat.as_mut().poll(cx));
                Some(Bytes::from_static(b":\n\n"))
            }
        };
        self.heartbeat.as_mut().reset(Instant::now() + HEARTBEAT);
        Poll::Ready(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event() {
        assert_eq!(
            event(7, "attempt", "{\"a\":1}"),
            "id: 7\nevent: attempt\ndata: {\"a\":1}\n\n"
        );
    }

    #[test]
    fn line_breaks_begin_no_events_of_their_own() {
        assert_eq!(
            event(7, "a\nid: 9\r", "one\ntwo\r\nthree\rfour\n"),
            "id: 7\nevent: aid: 9\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\n"
        );
        assert_eq!(event(1, "a", ""), "id: 1\nevent: a\ndata: \n\n");
    }
}
