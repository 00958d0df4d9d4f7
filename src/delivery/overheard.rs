//! A stream that remembers what explains a failure and would else be lost: the HTTP library tells a request
//! whose connection broke before it was written only that the connection is closed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls;

use super::answer::{Failure, FailureKind};

/// What a stream remembers.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<OnceLock<Failure>>);

impl Memory {
    /// The explanation, if there is one.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.get().cloned()
    }
}

/// A stream whose memory others can ask.
pub(super) struct Overheard<S> {
    stream: S,
    memory: Memory,
    /// An answer in HTTP/1 would be a misunderstanding.
    wants_two: bool,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S, wants_two: bool) -> Overheard<S> {
        Overheard {
            stream,
            memory: Memory::default(),
            wants_two,
        }
    }

    pub(super) fn memory(&self) -> Memory {
        self.memory.clone()
    }

    fn remember(&self, kind: FailureKind, words: impl std::fmt::Display) {
        // What came first is the reason for the rest.
        let _ = self.memory.0.set(Failure::new(kind, words));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        match &result {
            Err(error) if error.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
                self.remember(FailureKind::TlsFailed, error);
            }
            Ok(()) if self.wants_two => {
                self.wants_two = false;
                if buffer.filled()[before..].starts_with(b"HTTP/1") {
                    self.remember(
                        FailureKind::NotHttp,
                        "the receiver answers in HTTP/1 to HTTP/2",
                    );
                }
            }
            _ => {}
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
