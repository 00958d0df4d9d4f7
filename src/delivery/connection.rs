//! One HTTP/1.1 connection, made again whenever it is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::answer::{Answer, Failure, FailureKind};
use super::body::Outgoing;
use super::target::Target;
use crate::fault::{Fault, FaultKind};
use crate::timeline::Job;

/// A connection that has been idle for longer is not trusted: servers close idle ones after two seconds
/// and more, and a request that crosses such a close cannot be told from one that was processed.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// So much of an answer's body is read; what is longer costs the connection.
const MAX_ANSWER_BODY: usize = 64 * 1024;

/// So much of it is kept.
const KEPT_ANSWER: usize = 1000;

pub(super) struct Connection {
    sender: Option<SendRequest<Outgoing>>,
    /// What moves the connection's bytes.
    task: Option<AbortHandle>,
    used: Instant,
    timeout: Duration,
}

impl Connection {
    pub(super) fn new(target: &Target) -> Connection {
        Connection {
            sender: None,
            task: None,
            used: Instant::now(),
            timeout: target.timeout,
        }
    }

    /// Makes one attempt.
    pub(super) async fn send(
        &mut self,
        target: &Target,
        job: &Job,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Result<Answer, Failure> {
        if self.used.elapsed() > TRUSTED_IDLE {
            self.sender = None;
        }
        let mut timeout = self.timeout;
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
        }
        if broken && let Some(task) = self.task.take() {
            // It may wait for ever for the rest of a body that has none.
            task.abort();
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
        let mut request = target.request(job, Outgoing::new(body, fault), fault);
        loop {
            let (mut sender, reused) = match self.sender.take() {
                Some(sender) => (sender, true),
                None => (self.connect(target).await?, false),
            };
            match sender.ready().await {
                Ok(()) => {}
                Err(_) if reused => continue,
                Err(error) => return Err(Failure::asking(&error)),
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    let (whole, text) = drain(response.into_body()).await?;
                    if whole {
                        self.sender = Some(sender);
                    }
                    return Ok(Answer { status, text });
                }
                // Nothing of it was written, so sending it again repeats nothing.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ if fault.is_some_and(|fault| fault.kind == FaultKind::CloseEarly) => {
                        return Err(Failure::new(
                            FailureKind::ClosedOnPurpose,
                            "the fault close_early broke the request off",
                        ));
                    }
                    _ => return Err(Failure::asking(error.error())),
                },
            }
        }
    }

    async fn connect(&mut self, target: &Target) -> Result<SendRequest<Outgoing>, Failure> {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|error| Failure::connecting(&error))?;
        // Small requests must not wait for each other's acknowledgements.
        stream
            .set_nodelay(true)
            .map_err(|error| Failure::connecting(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::asking(&error))?;
        // Its errors reach the request that meets them; it ends when the sender is dropped.
        self.task = Some(tokio::spawn(connection).abort_handle());
        Ok(sender)
    }
}

/// Reads an answer's body; false if there was more of it than anybody needs. What it begins with comes
/// along, for people.
async fn drain(mut body: Incoming) -> Result<(bool, Option<Box<str>>), Failure> {
    let mut read = 0;
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::reading(&error))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        read += data.len();
        let room = KEPT_ANSWER.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data[..room]);
        if read > MAX_ANSWER_BODY {
            return Ok((false, text(&kept)));
        }
    }
    Ok((true, text(&kept)))
}

fn text(bytes: &[u8]) -> Option<Box<str>> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into())
}
