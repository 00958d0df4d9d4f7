//! One connection, HTTP/1.1 or HTTP/2, made again whenever it is gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::answer::{Answer, Failure, FailureKind};
use super::body::Outgoing;
use super::overheard::{Memory, Overheard};
use super::target::Target;
use super::tls::HttpVersion;
use crate::fault::{Fault, FaultKind};
use crate::timeline::Job;

/// A connection that has been idle for longer is not trusted: servers close idle ones after two seconds
/// and more, and a request that crosses such a close cannot be told from one that was processed.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// So much of an answer's body is read; what is longer costs the connection.
const MAX_ANSWER_BODY: usize = 64 * 1024;

/// The longest head of an answer.
const MAX_ANSWER_HEAD: usize = 64 * 1024;

pub(super) struct Connection {
    sender: Option<Sender>,
    /// What moves the connection's bytes.
    task: Option<AbortHandle>,
    used: Instant,
    /// Whom it goes to.
    target: Option<Arc<Target>>,
}

impl Connection {
    pub(super) fn new() -> Connection {
        Connection {
            sender: None,
            task: None,
            used: Instant::now(),
            target: None,
        }
    }

    /// Makes one attempt.
    pub(super) async fn send(
        &mut self,
        target: &Arc<Target>,
        job: &Job,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Result<Answer, Failure> {
        let same = self
            .target
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, target));
        if !same || self.used.elapsed() > TRUSTED_IDLE {
            self.sender = None;
            self.target = Some(Arc::clone(target));
        }
        let mut timeout = target.timeout;
        if let Some(fault) = fault
            && fault.kind == FaultKind::SlowBody
        {
            // What the fault takes is no fault of the receiver's.
            timeout += Duration::from_nanos(fault.time);
        }
        let exchange = self.exchange(target, job, body, fault);
        let result = match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failure::new(
                FailureKind::Timeout,
                format!("no whole answer within {timeout:?}"),
            )),
        };
        let broken = fault.is_some_and(|fault| fault.kind.needs_own_connection());
        if result.is_err() || broken {
            self.sender = None;
            // It may wait for ever for the rest of a body that has none, or read what never ends.
            if let Some(task) = self.task.take() {
                task.abort();
            }
        }
        self.used = Instant::now();
        result
    }

    async fn exchange(
        &mut self,
        target: &Target,
        job: &Job,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Result<Answer, Failure> {
        let mut body = Outgoing::new(body, fault);
        loop {
            let (mut sender, reused) = match self.sender.take() {
                Some(sender) => (sender, true),
                None => (connect(target).await?, false),
            };
            if !reused {
                self.task = Some(sender.task.clone());
            }
            match sender.ready().await {
                Ok(()) => {}
                Err(_) if reused => continue,
                Err(error) => return Err(sender.failure(&error)),
            }
            let request = target.request(job, body, fault, sender.version());
            match sender.try_send(request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let (whole, text) = drain(response.into_body(), target.keep_answer).await?;
                    if whole {
                        self.sender = Some(sender);
                    }
                    return Ok(Answer { status, text });
                }
                // Nothing of it was written, so sending it again repeats nothing.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => body = unsent.into_body(),
                    _ if fault.is_some_and(|fault| fault.kind == FaultKind::CloseEarly) => {
                        return Err(Failure::new(
                            FailureKind::ClosedOnPurpose,
                            "the fault close_early broke the request off",
                        ));
                    }
                    _ => return Err(sender.failure(error.error())),
                },
            }
        }
    }
}

/// Where a connection takes requests.
struct Sender {
    requests: Requests,
    /// What moves the connection's bytes.
    task: AbortHandle,
    /// Over plain HTTP/1.1 errors need no explanation, and the stream is the bare one.
    memory: Option<Memory>,
}

enum Requests {
    One(http1::SendRequest<Outgoing>),
    Two(http2::SendRequest<Outgoing>),
}

impl Requests {
    /// Begins HTTP on a stream.
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: HttpVersion,
    ) -> Result<(Requests, AbortHandle), Failure> {
        let stream = TokioIo::new(stream);
        // A connection's errors reach the request that meets them; it ends when the sender is dropped.
        match version {
            HttpVersion::One => {
                let (sender, connection) = http1::Builder::new()
                    // One piece is cheaper to write than two, even if it must be put together.
                    .writev(false)
                    // A server that never stops must not keep the others from their turn.
                    .max_buf_size(MAX_ANSWER_HEAD)
                    .handshake(stream)
                    .await
                    .map_err(|error| Failure::asking(&error))?;
                let task = tokio::spawn(connection).abort_handle();
                Ok((Requests::One(sender), task))
            }
            HttpVersion::Two => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream)
                    .await
                    .map_err(|error| Failure::asking(&error))?;
                let task = tokio::spawn(connection).abort_handle();
                Ok((Requests::Two(sender), task))
            }
        }
    }
}

impl Sender {
    /// Begins HTTP on a stream, and keeps in mind what happens to it.
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        version: HttpVersion,
    ) -> Result<Sender, Failure> {
        let stream = Overheard::new(stream, version == HttpVersion::Two);
        let memory = Some(stream.memory());
        let (requests, task) = Requests::over(stream, version).await?;
        Ok(Sender {
            requests,
            task,
            memory,
        })
    }

    fn version(&self) -> HttpVersion {
        match self.requests {
            Requests::One(_) => HttpVersion::One,
            Requests::Two(_) => HttpVersion::Two,
        }
    }

    /// Why a request was not answered.
    fn failure(&self, error: &hyper::Error) -> Failure {
        let known = self.memory.as_ref().and_then(Memory::failure);
        known.unwrap_or_else(|| Failure::asking(error))
    }

    async fn ready(&mut self) -> hyper::Result<()> {
        match &mut self.requests {
            Requests::One(sender) => sender.ready().await,
            Requests::Two(sender) => sender.ready().await,
        }
    }

    async fn try_send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Outgoing>>> {
        match &mut self.requests {
            Requests::One(sender) => sender.try_send_request(request).await,
            Requests::Two(sender) => sender.try_send_request(request).await,
        }
    }
}

async fn connect(target: &Target) -> Result<Sender, Failure> {
    let stream = open(target).await?;
    // Small requests must not wait for each other's acknowledgements.
    stream
        .set_nodelay(true)
        .map_err(|error| Failure::connecting(&error))?;
    match &target.tls {
        Some(tls) => {
            let (stream, version) = tls.secure(stream).await?;
            Sender::over(stream, version).await
        }
        None if target.plain == HttpVersion::Two => Sender::over(stream, HttpVersion::Two).await,
        None => {
            let (requests, task) = Requests::over(stream, HttpVersion::One).await?;
            Ok(Sender {
                requests,
                task,
                memory: None,
            })
        }
    }
}

/// Looks the host up and goes to the first of its addresses that may be gone to and answers. The address that
/// was checked is the one that is used: a name that changes its address in between changes nothing.
pub(super) async fn open(target: &Target) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port));
    open_first(target, found).await
}

async fn open_first(
    target: &Target,
    lookup: impl Future<Output = io::Result<impl Iterator<Item = SocketAddr>>>,
) -> Result<TcpStream, Failure> {
    let found = lookup.await.map_err(|error| Failure::connecting(&error))?;
    let mut failure = Failure::new(
        FailureKind::NameNotFound,
        format!("{} has no address", target.host),
    );
    for address in found {
        if let Some(policy) = &target.policy
            && let Err(refused) = policy.check(&target.host, address.ip())
        {
            failure = Failure::new(FailureKind::DestinationNotAllowed, refused);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = Failure::connecting(&error),
        }
    }
    Err(failure)
}

/// Reads an answer's body; false if there was more of it than anybody needs. What it begins with comes
/// along, for people.
async fn drain(mut body: Incoming, keep: usize) -> Result<(bool, Option<Box<str>>), Failure> {
    let mut read = 0;
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::reading(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        read += data.len();
        let room = keep.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data[..room]);
        if read > MAX_ANSWER_BODY {
            return Ok((false, text(&kept)));
        }
    }
    Ok((true, text(&kept)))
}

fn text(bytes: &[u8]) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(bytes);
    // What stands for a byte that is no text takes three.
    let end = text.floor_char_boundary(bytes.len());
    (!bytes.is_empty()).then(|| text[..end].into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::policy::Policy;
    use super::super::tls::Transport;
    use super::*;
    use crate::scenario::Destination;

    /// What comes of a connection to a name that has these addresses now.
    async fn opened(target: &Target, addresses: &[SocketAddr]) -> Result<SocketAddr, FailureKind> {
        let found = std::future::ready(Ok(addresses.iter().copied()));
        let stream = open_first(target, found).await;
        let peer = stream.map(|stream| stream.peer_addr().unwrap());
        peer.map_err(|failure| failure.kind)
    }

    #[tokio::test]
    async fn the_address_that_is_connected_to_is_the_one_that_was_checked() {
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = receiver.local_addr().unwrap();
        let far: SocketAddr = "203.0.113.1:9".parse().unwrap();
        let metadata: SocketAddr = "169.254.169.254:80".parse().unwrap();
        let target = |allowed: &[String]| {
            let url = "http://changing.example.com/callbacks";
            let time = Duration::from_secs(5);
            let (to, over) = (Destination::default(), Transport::default());
            let target = Target::new(url, &to, &[], time, false, &over).unwrap();
            target.guarded(Arc::new(Policy::new(allowed)), 0)
        };
        let plain = target(&[]);
        // Each connection looks anew, and each answer is checked.
        assert_eq!(opened(&plain, &[near]).await, Ok(near));
        for changed in [far, metadata] {
            assert_eq!(
                opened(&plain, &[changed]).await,
                Err(FailureKind::DestinationNotAllowed)
            );
        }
        assert_eq!(opened(&plain, &[far, metadata, near]).await, Ok(near));
        let allowed = target(&["changing.example.com".to_owned()]);
        assert_eq!(
            opened(&allowed, &[metadata]).await,
            Err(FailureKind::DestinationNotAllowed)
        );
        assert_eq!(opened(&plain, &[]).await, Err(FailureKind::NameNotFound));
    }
}
