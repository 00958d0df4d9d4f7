//! A receiver to look at callbacks with: `vibes-mock listen`, and what a run without a destination uses.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// The largest body that is looked at.
const MAX_BODY: usize = 1024 * 1024;
/// How long a client may take for its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// With this status,
    pub status: StatusCode,
    /// but only so many of them; later ones with 200. All, if absent.
    pub first: Option<u64>,
    /// After so long.
    pub delay: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Manner {
            status: StatusCode::OK,
            first: None,
            delay: Duration::ZERO,
        }
    }
}

/// A request that came.
#[derive(Debug)]
pub struct Received {
    /// Counted from 1.
    pub number: u64,
    /// The request's method.
    pub method: Method,
    /// The request's path, with its query.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The status that it is answered with.
    pub status: StatusCode,
}

/// A receiver that has its port and takes requests once it is served.
pub struct Receiver {
    listener: TcpListener,
    manner: Manner,
}

impl Receiver {
    /// Takes a port; 0 is any free one.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, manner: Manner) -> io::Result<Receiver> {
        let listener = TcpListener::bind(address).await?;
        Ok(Receiver { listener, manner })
    }

    /// The address it has.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes requests, and shows each to `show` before it is answered; never comes back.
    pub async fn serve(self, show: impl Fn(&Received) + Send + Sync + 'static) {
        let show = Arc::new(show);
        let count = Arc::new(AtomicU64::new(0));
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Too many open files, say; there will be some again.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (show, count, manner) = (Arc::clone(&show), Arc::clone(&count), self.manner);
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    answer(request, manner, Arc::clone(&show), Arc::clone(&count))
                });
                // A client that breaks off is the client's business.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}

async fn answer<S: Fn(&Received)>(
    request: Request<Incoming>,
    manner: Manner,
    show: Arc<S>,
    count: Arc<AtomicU64>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(respond(StatusCode::PAYLOAD_TOO_LARGE)),
    };
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    let status = match manner.first {
        Some(first) if number > first => StatusCode::OK,
        _ => manner.status,
    };
    show(&Received {
        number,
        method: head.method,
        path: head.uri.to_string(),
        headers: head.headers,
        body,
        status,
    });
    if manner.delay > Duration::ZERO {
        tokio::time::sleep(manner.delay).await;
    }
    Ok(respond(status))
}

fn respond(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
