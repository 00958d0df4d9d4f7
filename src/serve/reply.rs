//! What a call is answered with: a status, headers, and a body that is there or is made as it goes out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName};
use hyper::http::HeaderValue;
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::patience::Busy;
use crate::vibes::api::Problem;

/// An answer.
pub struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

enum Content {
    /// `None` once it is sent, or if there is nothing.
    Whole(Option<Bytes>),
    Stream(Box<dyn Source>),
}

/// Makes the pieces of a body when they are asked for, so that a slow reader costs no memory.
pub(super) trait Source: Send {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

impl Reply {
    fn new(status: u16, content: Option<Bytes>) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: Vec::new(),
            content: Content::Whole(content),
        }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Reply {
        Reply::new(status, None)
    }

    /// A value as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(bytes) => Reply::json_bytes(status, bytes),
            // A map with keys that are no texts, say: the program's mistake, not the caller's.
            Err(error) => Reply::error(500, 500, format!("this answer is no JSON: {error}")),
        }
    }

    /// JSON that is written already.
    pub fn json_bytes(status: u16, bytes: impl Into<Bytes>) -> Reply {
        Reply::new(status, Some(bytes.into())).header(CONTENT_TYPE, JSON)
    }

    /// Bytes of some other type.
    pub fn bytes(status: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
        Reply::new(status, Some(bytes.into())).header(CONTENT_TYPE, content_type)
    }

    /// An error, in the form that Vibes gives it.
    pub fn error(status: u16, code: u32, message: impl Into<String>) -> Reply {
        Problem::one(status, code, message).into()
    }

    /// A body that is made as it goes out: `next` is asked for a piece only when the last one has been
    /// taken, and gives none at its end.
    pub fn stream<S, N, F>(content_type: &'static str, state: S, next: N) -> Reply
    where
        S: Send + 'static,
        N: FnMut(S) -> F + Send + 'static,
        F: Future<Output = Option<(Bytes, S)>> + Send + 'static,
    {
        Reply::source(content_type, Unfold::new(state, next))
    }

    pub(super) fn source(content_type: &'static str, source: impl Source + 'static) -> Reply {
        Reply {
            content: Content::Stream(Box::new(source)),
            ..Reply::empty(200).header(CONTENT_TYPE, content_type)
        }
    }

    /// With a header; a value that cannot be one is left out.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Reply {
        if let Ok(value) = value.try_into() {
            self.headers.retain(|(other, _)| *other != name);
            self.headers.push((name, value));
        }
        self
    }

    /// The last answer on its connection.
    pub(super) fn closing(self) -> Reply {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// A header's value, if it is a text.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.and_then(|(_, value)| value.to_str().ok())
    }

    /// The body, if it is there already.
    pub fn body(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Whole(bytes) => Some(bytes.as_deref().unwrap_or_default()),
            Content::Stream(_) => None,
        }
    }

    pub(super) fn into_response(self, busy: Busy) -> Response<Outgoing> {
        let mut response = Response::new(Outgoing {
            content: self.content,
            busy,
        });
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Problem> for Reply {
    fn from(problem: Problem) -> Reply {
        Reply::json(problem.status, &problem)
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &self.body().map(String::from_utf8_lossy))
            .finish()
    }
}

/// A body as hyper takes it. Its connection is busy for as long as it is there.
pub(super) struct Outgoing {
    content: Content,
    busy: Busy,
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let piece = match &mut this.content {
            Content::Whole(bytes) => bytes.take(),
            Content::Stream(_) if this.busy.is_stopping() => None,
            Content::Stream(source) => ready!(source.poll_next(cx)),
        };
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

/// A source of a state and a function that makes a piece of it.
pub(super) struct Unfold<N, F> {
    next: N,
    piece: Option<Pin<Box<F>>>,
}

impl<N, F> Unfold<N, F> {
    pub(super) fn new<S>(state: S, mut next: N) -> Unfold<N, F>
    where
        N: FnMut(S) -> F,
    {
        let piece = Some(Box::pin(next(state)));
        Unfold { next, piece }
    }
}

impl<S, N, F> Source for Unfold<N, F>
where
    N: FnMut(S) -> F + Send,
    F: Future<Output = Option<(Bytes, S)>> + Send,
{
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let Some(piece) = &mut self.piece else {
                return Poll::Ready(None);
            };
            match ready!(piece.as_mut().poll(cx)) {
                Some((bytes, state)) => {
                    piece.set((self.next)(state));
                    // An empty one would end nothing and send nothing.
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(bytes));
                    }
                }
                None => self.piece = None,
            }
        }
    }
}
