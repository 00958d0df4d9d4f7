//! One HTTP/1.1 connection, made again whenever it is gone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answer::{Answer, Failure, FailureKind};
use super::target::Target;
use crate::timeline::Job;

/// A connection that has been idle for longer is not trusted: servers close idle ones after two seconds
/// and more, and a request that crosses such a close cannot be told from one that was processed.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// So much of an answer's body is read; what is longer costs the connection.
const MAX_ANSWER_BODY: usize = 64 * 1024;

pub(super) struct Connection {
    sender: Option<SendRequest<Full<Bytes>>>,
    used: Instant,
    timeout: Duration,
}

impl Connection {
    pub(super) fn new(target: &Target) -> Connection {
        Connection {
            sender: None,
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
    ) -> Result<Answer, Failure> {
        if self.used.elapsed() > TRUSTED_IDLE {
            self.sender = None;
        }
        let result =
            match tokio::time::timeout(self.timeout, self.exchange(target, job, body)).await {
                Ok(result) => result,
                Err(_) => Err(Failure::new(
                    FailureKind::Timeout,
                    format!("no whole answer within {:?}", self.timeout),
                )),
            };
        if result.is_err() {
            self.sender = None;
        }
        self.used = Instant::now();
        result
    }

    async fn exchange(
        &mut self,
        target: &Target,
        job: &Job,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let mut request = target.request(job, body);
        loop {
            let (mut sender, reused) = match self.sender.take() {
                Some(sender) => (sender, true),
                None => (connect(target).await?, false),
            };
            match sender.ready().await {
                Ok(()) => {}
                Err(_) if reused => continue,
                Err(error) => return Err(Failure::asking(&error)),
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    if drain(response.into_body()).await? {
                        self.sender = Some(sender);
                    }
                    return Ok(Answer { status });
                }
                // Nothing of it was written, so sending it again repeats nothing.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(Failure::asking(error.error())),
                },
            }
        }
    }
}

async fn connect(target: &Target) -> Result<SendRequest<Full<Bytes>>, Failure> {
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
    tokio::spawn(connection);
    Ok(sender)
}

/// Reads an answer's body; false if there was more of it than anybody needs.
async fn drain(mut body: Incoming) -> Result<bool, Failure> {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::reading(&error))?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > MAX_ANSWER_BODY {
            return Ok(false);
        }
    }
    Ok(true)
}
