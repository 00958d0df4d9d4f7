//! A connection whose other end must get on with it.
//!
//! hyper has one time for both a request's head and the pause before it, and makes a timer for each
//! request. Here a timer is moved only when it goes off, so that a busy connection never touches it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// What a connection is about. Only its own task looks at it and changes it.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests whose answers have not been given yet.
    open: AtomicU32,
    /// Changes whenever `open` does.
    epoch: AtomicU32,
    stopping: AtomicBool,
}

/// A request is being answered while this is there.
pub(super) struct Busy(Arc<Activity>);

impl Activity {
    pub(super) fn begin(activity: &Arc<Activity>) -> Busy {
        activity.open.fetch_add(1, Relaxed);
        activity.epoch.fetch_add(1, Relaxed);
        Busy(Arc::clone(activity))
    }

    /// Streams end when they are asked for more.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    fn is_busy(&self) -> bool {
        self.open.load(Relaxed) > 0
    }
}

impl Busy {
    pub(super) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Relaxed)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
        self.0.epoch.fetch_add(1, Relaxed);
    }
}

pub(super) struct Patience<S> {
    stream: S,
    activity: Arc<Activity>,
    /// For a head from its first byte on, and for a new connection's first one.
    head: Duration,
    /// Between requests, and for an answer of which nothing is taken.
    idle: Duration,
    /// The epoch that what follows is about.
    epoch: u32,
    since: Instant,
    head_begun: bool,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
}

impl<S> Patience<S> {
    pub(super) fn new(
        stream: S,
        activity: Arc<Activity>,
        head: Duration,
        idle: Duration,
    ) -> Patience<S> {
        Patience {
            stream,
            epoch: activity.epoch.load(Relaxed),
            activity,
            head,
            idle,
            since: Instant::now(),
            head_begun: true,
            reading: None,
            writing: None,
        }
    }

    fn look(&mut self) {
        let epoch = self.activity.epoch.load(Relaxed);
        if epoch != self.epoch {
            self.epoch = epoch;
            self.since = Instant::now();
            self.head_begun = false;
        }
    }

    fn bytes_came(&mut self) {
        self.look();
        if !self.head_begun && !self.activity.is_busy() {
            self.head_begun = true;
            self.since = Instant::now();
        }
    }

    /// Until when the other end may be silent; none while it waits for us.
    fn deadline(&self) -> Option<Instant> {
        let limit = if self.head_begun {
            self.head
        } else {
            self.idle
        };
        (!self.activity.is_busy()).then(|| self.since + limit)
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.look();
        let deadline = self.deadline();
        let idle = self.idle;
        // There is a timer also while a request is answered: nobody promises to look here again when
        // it is.
        let timer = self.reading.get_or_insert_with(|| {
            Box::pin(sleep_until(
                deadline.unwrap_or_else(|| Instant::now() + idle),
            ))
        });
        if let Some(deadline) = deadline
            && timer.deadline() > deadline
        {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            match deadline {
                Some(deadline) if now >= deadline => return Poll::Ready(timed_out()),
                Some(deadline) => timer.as_mut().reset(deadline),
                None => timer.as_mut().reset(now + idle),
            }
        }
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl<S: AsyncRead + Unpin> AsyncRead for Patience<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    this.bytes_came();
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_silence(cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patience<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Ready(result) => {
                this.writing = None;
                Poll::Ready(result)
            }
            Poll::Pending => {
                let idle = this.idle;
                let timer = this
                    .writing
                    .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + idle)));
                timer.as_mut().poll(cx).map(|()| Err(timed_out()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
