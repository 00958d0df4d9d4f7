//! The listener: connections, bodies and time within limits; an end that lets calls under way end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::dispatch::Dispatch;
use super::endpoint::{Call, MAX_BODY};
use super::patience::{Activity, Busy, Patience};
use super::permits::{Permits, Phase};
use super::reply::{Outgoing, Reply};

/// The longest head of a request, and what hyper may keep of a connection that isn't taken from it.
const MAX_HEAD: usize = 64 * 1024;

/// So much of a body that is too long is read and forgotten: a client that is cut off while it sends
/// often doesn't get to see the answer.
const MAX_FORGOTTEN: usize = 16 * 1024 * 1024;

/// What a server lets its clients do.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more wait until one is free.
    pub connections: u32,
    /// Answers that go on, at a time; more are answered with 503.
    pub streams: usize,
    /// Answers that are held until something happens, at a time; more are answered with 503.
    pub waits: usize,
    /// For a request's head, from its first byte on.
    pub head_time: Duration,
    /// Between two requests, and for an answer of which nothing is taken.
    pub idle_time: Duration,
    /// For a request's whole body.
    pub body_time: Duration,
    /// For calls under way when the server is to end.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 2048,
            streams: 256,
            waits: 512,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(30),
            body_time: Duration::from_secs(10),
            patience: Duration::from_secs(10),
        }
    }
}

/// A server that has its port and takes requests once it is served.
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

struct Shared<H> {
    hub: Arc<H>,
    dispatch: Dispatch<H>,
    permits: Arc<Permits>,
    limits: Limits,
}

impl Server {
    /// Takes a port; 0 is any free one.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, limits: Limits) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        Ok(Server { listener, limits })
    }

    /// The address it has.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes requests until `shutdown` comes back; then streams end, waits are told, other calls under way
    /// have [`Limits::patience`] to end. Gives the number of connections that had to be cut off.
    pub async fn serve<H: Send + Sync + 'static>(
        self,
        hub: Arc<H>,
        dispatch: Dispatch<H>,
        shutdown: impl Future<Output = ()>,
    ) -> usize {
        let limits = self.limits;
        let permits = Arc::new(Permits::new(limits.streams, limits.waits));
        let shared = Arc::new(Shared {
            hub,
            dispatch,
            permits: Arc::clone(&permits),
            limits,
        });
        let places = (limits.connections as usize).clamp(1, Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(places));
        tokio::select! {
            () = accept(&self.listener, &shared, &free) => {}
            () = shutdown => {}
        }
        drop(self.listener);
        permits.enter(Phase::Draining);
        let all = u32::try_from(places).unwrap_or(u32::MAX);
        if tokio::time::timeout(limits.patience, free.acquire_many(all))
            .await
            .is_ok()
        {
            return 0;
        }
        let left = places - free.available_permits();
        permits.enter(Phase::Gone);
        // A handler that never looks up would hold its task; nobody waits for that one.
        let _ = tokio::time::timeout(Duration::from_secs(1), free.acquire_many(all)).await;
        left
    }
}

async fn accept<H: Send + Sync + 'static>(
    listener: &TcpListener,
    shared: &Arc<Shared<H>>,
    free: &Arc<Semaphore>,
) {
    let mut complained = false;
    loop {
        let Ok(place) = Arc::clone(free).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_the_clients(&error) => continue,
            Err(error) => {
                // Too many open files, say; there will be some again.
                if !complained {
                    complained = true;
                    tracing::warn!("cannot take connections: {error}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        complained = false;
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            converse(stream, shared).await;
            drop(place);
        });
    }
}

/// The one who wanted to connect is gone; the next one may well be there.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Answers the requests of one connection.
async fn converse<H: Send + Sync + 'static>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: Arc<Shared<H>>,
) {
    let activity = Arc::new(Activity::default());
    let limits = shared.limits;
    let stream = Patience::new(
        stream,
        Arc::clone(&activity),
        limits.head_time,
        limits.idle_time,
    );
    let permits = Arc::clone(&shared.permits);
    let service = service_fn(|request| {
        let busy = Activity::begin(&activity);
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared, busy).await) }
    });
    let connection = http1::Builder::new()
        // That is `Patience`'s.
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        // One piece is cheaper to write than two, even if it must be put together. (To let answers to
        // pipelined requests share a write, hyper would keep an answer back while half a request is there,
        // and take all that a stream gives.)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // The end is looked for first, so that answers it brings about say that they are the last. A client
    // that breaks off is the client's business.
    tokio::select! {
        biased;
        () = permits.reached(Phase::Draining) => {}
        _ = connection.as_mut() => return,
    }
    activity.stop();
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        _ = connection.as_mut() => {}
        () = permits.reached(Phase::Gone) => {}
    }
}

async fn answer<H>(
    request: Request<Incoming>,
    shared: &Shared<H>,
    busy: Busy,
) -> Response<Outgoing> {
    let (head, body) = request.into_parts();
    let chunked = head.headers.contains_key(TRANSFER_ENCODING);
    // Such a client sends its body only once it is asked to.
    let asks_first = head.headers.contains_key(EXPECT);
    let admitted = shared.dispatch.admit(&head);
    let max = match &admitted {
        Ok(admitted) => admitted.endpoint.max_body,
        Err(_) => MAX_BODY,
    };
    let wanted = !asks_first || (admitted.is_ok() && body.size_hint().lower() <= max as u64);
    let body = match (wanted, body.is_end_stream()) {
        (_, true) => Ok(Bytes::new()),
        (true, _) => read(body, max, shared.limits.body_time).await,
        (false, _) => Err(too_long(max).closing()),
    };
    let reply = match (admitted, body) {
        (Ok(admitted), Ok(body)) => {
            let call = Call {
                hub: Arc::clone(&shared.hub),
                permits: Arc::clone(&shared.permits),
                headers: head.headers,
                body,
                path: admitted.path,
                query: admitted.query,
            };
            (admitted.endpoint.handler)(call).await
        }
        (Err(refused), Ok(_)) => refused,
        (Err(refused), Err(_)) => refused.closing(),
        (Ok(_), Err(unread)) => unread,
    };
    // Whoever sends both a length and chunks may believe that the request ends elsewhere.
    let reply = if chunked { reply.closing() } else { reply };
    reply.into_response(busy)
}

async fn read(body: Incoming, max: usize, time: Duration) -> Result<Bytes, Reply> {
    match tokio::time::timeout(time, collect(body, max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(reply)) => Err(reply.closing()),
        Err(_) => Err(Reply::error(408, 408, "the body didn't come in time").closing()),
    }
}

async fn collect(mut body: Incoming, max: usize) -> Result<Bytes, Reply> {
    // Most bodies are one piece, which needs no copy.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Reply::error(400, 400, "the body breaks off"));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > max {
            rest = BytesMut::new();
            if length > max.saturating_add(MAX_FORGOTTEN) {
                break;
            }
        } else if first.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    match length {
        length if length > max => Err(too_long(max)),
        _ if rest.is_empty() => Ok(first),
        _ => Ok(rest.freeze()),
    }
}

fn too_long(max: usize) -> Reply {
    Reply::error(
        413,
        413,
        format!("the body is too long: at most {max} bytes are taken"),
    )
}

#[cfg(test)]
mod tests;
