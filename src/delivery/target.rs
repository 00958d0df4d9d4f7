//! One destination as the client needs it: an address, and a request that lacks only its body.

use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use tokio::net::TcpStream;

use super::body::Outgoing;
use crate::fault::{Fault, FaultKind};
use crate::scenario::Destination;
use crate::timeline::Job;
use crate::vibes::registration::{self, check_url};

/// What every request says of who sends it; no other header of Vibes' is published.
const AGENT: &str = concat!("vibes-mock/", env!("CARGO_PKG_VERSION"));

/// A destination to send to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL as the user wrote it.
    pub url: String,
    /// Host and port to connect to.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) timeout: Duration,
    request: Request<()>,
    mark: bool,
}

impl Target {
    /// A destination at a URL.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL and, after a line break, how to mend it.
    pub fn new(
        url: &str,
        destination: &Destination,
        more_headers: &[(HeaderName, HeaderValue)],
        timeout: Duration,
        mark: bool,
    ) -> Result<Target, String> {
        let uri = check_url(url)?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let host = uri.host().unwrap_or_default();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let built = Request::builder()
            .method(match destination.method {
                registration::Method::Post => Method::POST,
                registration::Method::Put => Method::PUT,
            })
            .uri(path.parse::<Uri>().map_err(|error| error.to_string())?)
            .header(HOST, authority)
            .header(CONTENT_TYPE, destination.content_type.name())
            .header(USER_AGENT, AGENT)
            .body(());
        let mut request = built.map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        let overridden = |name| more_headers.iter().any(|(other, _)| other == name);
        let of_file = destination
            .headers
            .iter()
            .filter(|(name, _)| !overridden(name));
        for (name, value) in of_file.chain(more_headers) {
            headers.append(name.clone(), value.clone());
        }
        Ok(Target {
            url: url.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
            timeout,
            request,
            mark,
        })
    }

    /// Host and port, for people.
    pub fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Waits until the destination accepts connections, for as long as `patience`; tries at least once.
    ///
    /// # Errors
    ///
    /// What the last try came to.
    pub async fn wait(&self, patience: Duration) -> Result<(), std::io::Error> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let one_try = TcpStream::connect((self.host.as_str(), self.port));
            let error =
                match tokio::time::timeout(self.timeout.max(Duration::from_secs(1)), one_try).await
                {
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => error,
                    Err(_) => {
                        std::io::Error::new(std::io::ErrorKind::TimedOut, "it does not answer")
                    }
                };
            if tokio::time::Instant::now() >= deadline {
                return Err(error);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn request(
        &self,
        job: &Job,
        body: Outgoing,
        fault: Option<Fault>,
    ) -> Request<Outgoing> {
        let (mut parts, ()) = self.request.clone().into_parts();
        if fault.is_some_and(|fault| fault.kind == FaultKind::WrongContentType) {
            let plain = HeaderValue::from_static("text/plain");
            parts.headers.insert(CONTENT_TYPE, plain);
        }
        if self.mark {
            let callback = &job.callback;
            let mut mark = |name, value| parts.headers.insert(HeaderName::from_static(name), value);
            mark("x-vibes-mock-journey", callback.journey.into());
            mark(
                "x-vibes-mock-outcome",
                HeaderValue::from_static(callback.outcome.name),
            );
            if callback.part > 0 {
                mark("x-vibes-mock-part", u16::from(callback.part).into());
            }
            mark("x-vibes-mock-attempt", job.attempt.into());
            if let Some(fault) = fault {
                mark(
                    "x-vibes-mock-fault",
                    HeaderValue::from_static(fault.kind.name()),
                );
            }
        }
        Request::from_parts(parts, body)
    }
}
