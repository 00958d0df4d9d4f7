//! A request's body on its way out: as it is, or as a fault wants it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::fault::{Fault, FaultKind};

/// A slow body comes in so many pieces.
const PIECES: u32 = 20;
/// So many bytes too many are announced.
const TOO_MANY: u64 = 16;
/// Between the first half of a body and the end of the connection, so that the half is really sent.
const BREATH: Duration = Duration::from_millis(20);

/// The body of a request.
pub(super) struct Outgoing {
    rest: Bytes,
    announced: u64,
    manner: Manner,
}

enum Manner {
    Whole,
    /// Announces more than it has, and never ends.
    Endless,
    Slow {
        piece: usize,
        every: Duration,
        until: Pin<Box<Sleep>>,
    },
    /// Breaks off once the time has come, after what it has.
    BreaksOff(Pin<Box<Sleep>>),
}

impl Outgoing {
    pub(super) fn new(mut body: Bytes, fault: Option<Fault>) -> Outgoing {
        let length = body.len() as u64;
        let mut announced = length;
        let manner = match fault.map(|fault| (fault.kind, fault.time)) {
            Some((FaultKind::WrongLength, _)) => {
                announced += TOO_MANY;
                Manner::Endless
            }
            Some((FaultKind::SlowBody, over)) => {
                let every = Duration::from_nanos(over) / PIECES;
                Manner::Slow {
                    piece: body.len().div_ceil(PIECES as usize).max(1),
                    every,
                    until: Box::pin(tokio::time::sleep(every)),
                }
            }
            Some((FaultKind::CloseEarly, _)) => {
                body.truncate(body.len() / 2);
                Manner::BreaksOff(Box::pin(tokio::time::sleep(BREATH)))
            }
            _ => Manner::Whole,
        };
        Outgoing {
            rest: body,
            announced,
            manner,
        }
    }

    fn all(&mut self) -> Option<Bytes> {
        (!self.rest.is_empty()).then(|| std::mem::take(&mut self.rest))
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if let Manner::Slow {
            piece,
            every,
            until,
        } = &mut this.manner
        {
            if this.rest.is_empty() {
                return Poll::Ready(None);
            }
            if until.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            until.as_mut().reset(Instant::now() + *every);
            let piece = (*piece).min(this.rest.len());
            return Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(piece)))));
        }
        if let Some(all) = this.all() {
            return Poll::Ready(Some(Ok(Frame::data(all))));
        }
        match &mut this.manner {
            Manner::BreaksOff(until) => match until.as_mut().poll(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    Poll::Ready(Some(Err(io::Error::other("broken off on purpose"))))
                }
            },
            // The end of the connection wakes it.
            Manner::Endless => Poll::Pending,
            Manner::Whole | Manner::Slow { .. } => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.manner, Manner::Whole) && self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.announced)
    }
}
