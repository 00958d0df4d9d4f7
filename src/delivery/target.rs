//! One destination as the client needs it: an address, and a request that lacks only its body.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use tokio::net::TcpStream;

use super::body::Outgoing;
use super::policy::Policy;
use super::tls::{HttpVersion, Tls, Transport};
use crate::fault::{Fault, FaultKind};
use crate::scenario::Destination;
use crate::timeline::Job;
use crate::vibes::registration::{self, check_url, split_user};

/// What every request says of who sends it; no other header of Vibes' is published.
const AGENT: &str = concat!("vibes-mock/", env!("CARGO_PKG_VERSION"));

/// So much of an answer's body is kept, for people.
const KEPT_ANSWER: usize = 1000;

/// A destination to send to.
#[derive(Clone, Debug)]
pub struct Target {
    /// The URL as the user wrote it, but for a user and password in it.
    pub url: String,
    /// Host and port to connect to.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) timeout: Duration,
    /// None for http.
    pub(super) tls: Option<Tls>,
    /// What is spoken without TLS.
    pub(super) plain: HttpVersion,
    request: Request<()>,
    /// The same for HTTP/2, where the URL is whole and says what `Host` does else.
    request_of_two: Request<()>,
    mark: bool,
    /// How much of an answer's body is kept, in bytes.
    pub(super) keep_answer: usize,
    /// Which addresses may be sent to; all if absent.
    pub(super) policy: Option<Arc<Policy>>,
}

impl Target {
    /// A destination at a URL. Files that `transport` names are read.
    ///
    /// # Errors
    ///
    /// What is wrong with the URL or a file and, after a line break, how to mend it.
    pub fn new(
        url: &str,
        destination: &Destination,
        more_headers: &[(HeaderName, HeaderValue)],
        timeout: Duration,
        mark: bool,
        transport: &Transport,
    ) -> Result<Target, String> {
        let uri = check_url(url)?;
        transport.check(&uri)?;
        let (url, user) = split_user(url);
        let whole: Uri = url.parse().map_err(|_| format!("`{url}` is not a URL"))?;
        let authority = whole.authority().map_or("", |authority| authority.as_str());
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let https = uri.scheme_str() == Some("https");
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
        if let Some(user) = user
            && !headers.contains_key(AUTHORIZATION)
        {
            headers.insert(AUTHORIZATION, basic(user)?);
        }
        let mut request_of_two = request.clone();
        *request_of_two.uri_mut() = whole;
        request_of_two.headers_mut().remove(HOST);
        Ok(Target {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if https { 443 } else { 80 }),
            timeout,
            tls: https.then(|| Tls::new(host, transport)).transpose()?,
            plain: transport.http.unwrap_or(HttpVersion::One),
            url,
            request,
            request_of_two,
            mark,
            keep_answer: KEPT_ANSWER,
            policy: None,
        })
    }

    /// Sends only where that policy allows, and keeps so much of answers' bodies.
    pub fn guarded(mut self, policy: Arc<Policy>, keep_answer: usize) -> Target {
        self.policy = Some(policy);
        self.keep_answer = keep_answer;
        self
    }

    /// Whether it may be sent to, as far as that can be told now: a host that is not known yet may be later.
    /// With `probe`, somebody must answer there.
    ///
    /// # Errors
    ///
    /// Why not and, after a line break, how to mend it.
    pub async fn check(&self, probe: bool) -> Result<(), String> {
        /// A name server may take its time; whoever registers need not.
        const PATIENCE: Duration = Duration::from_secs(2);
        if let Some(policy) = &self.policy {
            let found = tokio::net::lookup_host((self.host.as_str(), self.port));
            if let Ok(Ok(found)) = tokio::time::timeout(PATIENCE, found).await {
                let checked: Vec<Result<(), String>> = found
                    .map(|address| policy.check(&self.host, address.ip()))
                    .collect();
                if let Some(Err(refused)) = checked.first()
                    && checked.iter().all(Result::is_err)
                {
                    return Err(refused.clone());
                }
            }
        }
        if probe {
            let stream = tokio::time::timeout(PATIENCE, super::connection::open(self)).await;
            let failure = match stream {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            return Err(format!(
                "nobody answers at {}: {failure}\nstart the receiver first",
                self.address()
            ));
        }
        Ok(())
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
        version: HttpVersion,
    ) -> Request<Outgoing> {
        let request = match version {
            HttpVersion::One => &self.request,
            HttpVersion::Two => &self.request_of_two,
        };
        let (mut parts, ()) = request.clone().into_parts();
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

/// The `Authorization` that a URL's `user:password` stands for.
fn basic(user: &str) -> Result<HeaderValue, String> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let name = percent_decoded(name);
    if name.contains(&b':') {
        return Err(
            "the user's name in the URL holds a colon, which HTTP cannot send
\
             use `--header 'Authorization: …'`"
                .to_owned(),
        );
    }
    let both = [&name, &b":"[..], &percent_decoded(password)].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(both)))
        .map_err(|error| error.to_string())?;
    // Keeps it out of what is printed for finding faults, and out of HTTP/2's table of headers.
    value.set_sensitive(true);
    Ok(value)
}

/// Each `%` with two hexadecimal digits becomes the byte it means; any other stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = after
            .get(..2)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let meant = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(meant.unwrap_or(b'%'));
        rest = meant.map_or(after, |_| &after[2..]);
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
