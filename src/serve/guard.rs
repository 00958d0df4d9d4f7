//! Who may ask for what: names and pages that a request may come by, tokens and passwords. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, ORIGIN};
use subtle::ConstantTimeEq;

use super::endpoint::Side;

/// Names that nobody else can make point here, beside IP addresses and names without a dot.
const OWN_NAMES: [&str; 3] = [
    "localhost",
    "host.docker.internal",
    "host.containers.internal",
];

const BEARER: &str = "Bearer realm=\"vibes-mock\"";
const BASIC: &str = "Basic realm=\"vibes-mock\", charset=\"UTF-8\"";

/// Decides who may ask for what. It cannot be printed, because it knows secrets.
pub struct Guard {
    allowed: Vec<String>,
    token: Option<String>,
    /// What a Basic header says after its scheme.
    basic: Option<String>,
}

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What is wrong and how to mend it.
    pub message: String,
    /// For `WWW-Authenticate`.
    pub challenge: Option<&'static str>,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            message: message.into(),
            challenge: None,
        }
    }
}

impl Guard {
    /// A guard that lets requests for further hosts pass, asks for a token on the mock's own side, and
    /// for name and password on the Vibes side.
    pub fn new(
        allow_host: Vec<String>,
        token: Option<String>,
        user: Option<(String, String)>,
    ) -> Guard {
        Guard {
            allowed: allow_host,
            token,
            basic: user.map(|(name, password)| STANDARD.encode(format!("{name}:{password}"))),
        }
    }

    /// May a request come by this host, from the page that sent it?
    ///
    /// A page of another site can reach a server on this machine through the browser of whoever looks at
    /// it: directly, or by a name of its own that it lets point here (DNS rebinding).
    ///
    /// # Errors
    ///
    /// It may not.
    pub fn site(&self, host: Option<&str>, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(host) = host {
            let name = name_of(host)
                .ok_or_else(|| Refusal::new(400, "the Host header is not a host and a port"))?;
            if !self.serves(name) {
                return Err(Refusal::new(
                    421,
                    format!(
                        "this server doesn't answer to the name `{name}`\nstart it with --allow-host {name}, or use its IP address"
                    ),
                ));
            }
        }
        for origin in headers.get_all(ORIGIN) {
            let authority = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .map(|(_, authority)| authority);
            if authority.is_none()
                || !authority
                    .zip(host)
                    .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
            {
                return Err(foreign_page());
            }
        }
        let cross_site = headers
            .get_all(&SEC_FETCH_SITE)
            .iter()
            .any(|site| site == "cross-site");
        // A link that somebody follows shows its answer to nobody but them.
        let followed_link = headers
            .get(&SEC_FETCH_DEST)
            .is_some_and(|dest| dest == "document")
            && headers
                .get(&SEC_FETCH_MODE)
                .is_some_and(|mode| mode == "navigate");
        if cross_site && !followed_link {
            return Err(foreign_page());
        }
        Ok(())
    }

    fn serves(&self, name: &str) -> bool {
        if name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // No one-word name can be had from a registrar; it is of this machine or network.
        !name.contains('.')
            || OWN_NAMES.into_iter().any(is)
            || name
                .rsplit_once('.')
                .is_some_and(|(_, last)| last.eq_ignore_ascii_case("localhost"))
            || self.allowed.iter().any(|allowed| is(allowed))
    }

    /// May the sender of these headers use that side?
    ///
    /// # Errors
    ///
    /// They may not.
    pub fn credentials(&self, side: Side, headers: &HeaderMap) -> Result<(), Refusal> {
        let (scheme, secret, challenge, message) = match side {
            Side::Open => return Ok(()),
            Side::Mock => (
                "Bearer",
                &self.token,
                BEARER,
                "this needs the token that the server was started with\nsend `Authorization: Bearer TOKEN`",
            ),
            Side::Vibes => (
                "Basic",
                &self.basic,
                BASIC,
                "this needs the name and password that the server was started with\nsend them as HTTP Basic authentication",
            ),
        };
        let Some(secret) = secret else {
            return Ok(());
        };
        if sent(headers, scheme).is_some_and(|sent| same(sent, secret)) {
            return Ok(());
        }
        Err(Refusal {
            challenge: Some(challenge),
            ..Refusal::new(401, message)
        })
    }
}

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

fn foreign_page() -> Refusal {
    Refusal::new(
        403,
        "a web page of another site sent this; pages may only talk to the server that they come from\nsend it from a program instead",
    )
}

/// A host without its port: a name, an IPv4 address, or an IPv6 address in its brackets.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) => {
            let address = host.get(1..end)?;
            if !host.starts_with('[') || address.parse::<Ipv6Addr>().is_err() {
                return None;
            }
            host.split_at(end + 1)
        }
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_is_one = match port.strip_prefix(':') {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()),
        None => port.is_empty(),
    };
    let is_name = name.starts_with('[')
        || name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (port_is_one && is_name && !name.is_empty()).then_some(name)
}

/// What is sent by a scheme. Two `Authorization` headers are none.
fn sent<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return None;
    };
    let (name, secret) = only.to_str().ok()?.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| secret.trim())
}

/// In a time that doesn't tell where they differ.
fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// May the server take this address?
///
/// # Errors
///
/// Others could reach it there, and nothing would keep them from using it; says what to type instead.
pub fn check_bind(address: IpAddr, token: Option<&str>) -> Result<(), String> {
    if address.to_canonical().is_loopback() {
        return Ok(());
    }
    match token {
        Some(token) if !token.is_empty() => Ok(()),
        _ => Err(format!(
            "with --bind {address} others on the network could use this server, and there is no token to keep them off\ntype --bind {address} --token \"$(openssl rand -hex 16)\", or leave --bind out to stay on 127.0.0.1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn status(result: Result<(), Refusal>) -> u16 {
        result.map_or_else(|refusal| refusal.status, |()| 200)
    }

    fn open() -> Guard {
        Guard::new(vec!["mock.example.test".to_owned()], None, None)
    }

    #[test]
    fn hosts() {
        for (host, expected) in [
            ("127.0.0.1", 200),
            ("127.0.0.1:8423", 200),
            ("192.168.1.7:8423", 200),
            ("[::1]:8423", 200),
            ("[::1]", 200),
            ("localhost:8423", 200),
            ("LocalHost", 200),
            ("localhost.", 200),
            ("acme.localhost:80", 200),
            ("vibes", 200),
            ("vibes_mock:8423", 200),
            ("host.docker.internal:8423", 200),
            ("mock.example.test:8423", 200),
            ("MOCK.example.test", 200),
            ("rebound.example.com:8423", 421),
            ("example.com.", 421),
            ("localhost.example.com", 421),
            ("127.0.0.1.example.com", 421),
            ("notlocalhost.evil", 421),
            ("other.mock.example.test", 421),
            ("xhost.docker.internal", 421),
            ("", 400),
            (":8423", 400),
            ("localhost:x", 400),
            ("localhost:80:80", 400),
            ("user@localhost", 400),
            ("localhost/", 400),
            ("[::1", 400),
            ("::1", 400),
            ("[evil.example.com]", 400),
            ("x[::1]", 400),
            ("[::1]x", 400),
            ("]", 400),
        ] {
            assert_eq!(
                status(open().site(Some(host), &headers(&[]))),
                expected,
                "{host:?}"
            );
        }
    }

    #[test]
    fn a_refused_host_is_told_which_option_allows_it() {
        let refusal = open()
            .site(Some("evil.example.com:80"), &headers(&[]))
            .unwrap_err();
        assert!(
            refusal.message.contains("--allow-host evil.example.com"),
            "{refusal:?}"
        );
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        for (pairs, expected) in [
            (&[("origin", "http://localhost:8423")][..], 200),
            (&[("origin", "https://LOCALHOST:8423")], 200),
            (&[("origin", "http://localhost:3000")], 403),
            (&[("origin", "http://localhost")], 403),
            (&[("origin", "http://evil.example.com")], 403),
            (&[("origin", "http://localhost:8423.evil.example.com")], 403),
            (&[("origin", "null")], 403),
            (&[("origin", "")], 403),
            (
                &[
                    ("origin", "http://localhost:8423"),
                    ("origin", "http://evil.example.com"),
                ],
                403,
            ),
            (&[("sec-fetch-site", "same-origin")], 200),
            (&[("sec-fetch-site", "none")], 200),
            (&[("sec-fetch-site", "cross-site")], 403),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                    ("sec-fetch-dest", "image"),
                ],
                403,
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "iframe"),
                ],
                403,
            ),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                200,
            ),
            // A form that a page sends by navigating says where it comes from.
            (
                &[
                    ("origin", "http://evil.example.com"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                    ("sec-fetch-dest", "document"),
                ],
                403,
            ),
        ] {
            let result = open().site(Some("localhost:8423"), &headers(pairs));
            assert_eq!(status(result), expected, "{pairs:?}");
        }
        assert_eq!(
            status(open().site(None, &headers(&[("origin", "http://localhost")]))),
            403
        );
        assert_eq!(status(open().site(None, &headers(&[]))), 200);
    }

    #[test]
    fn tokens_and_passwords() {
        let guard = Guard::new(
            vec![],
            Some("s3cret".to_owned()),
            Some(("me".to_owned(), "pass:word".to_owned())),
        );
        // bWU6cGFzczp3b3Jk is me:pass:word.
        for (side, sent, expected) in [
            (Side::Mock, &["Bearer s3cret"][..], 200),
            (Side::Mock, &["bearer s3cret"], 200),
            (Side::Mock, &[], 401),
            (Side::Mock, &["Bearer s3cre"], 401),
            (Side::Mock, &["Bearer s3cretx"], 401),
            (Side::Mock, &["Bearer"], 401),
            (Side::Mock, &["s3cret"], 401),
            (Side::Mock, &["Basic bWU6cGFzczp3b3Jk"], 401),
            (Side::Mock, &["Bearer no", "Bearer s3cret"], 401),
            (Side::Vibes, &["Basic bWU6cGFzczp3b3Jk"], 200),
            (Side::Vibes, &["basic bWU6cGFzczp3b3Jk"], 200),
            (Side::Vibes, &["Basic bWU6cGFzcw=="], 401),
            (Side::Vibes, &["Bearer s3cret"], 401),
            (Side::Vibes, &[], 401),
            (Side::Open, &[], 200),
        ] {
            let pairs: Vec<_> = sent.iter().map(|value| ("authorization", *value)).collect();
            let result = guard.credentials(side, &headers(&pairs));
            assert_eq!(status(result), expected, "{side:?} {sent:?}");
        }
        let challenge = |side| {
            guard
                .credentials(side, &headers(&[]))
                .unwrap_err()
                .challenge
        };
        assert!(challenge(Side::Mock).unwrap().starts_with("Bearer"));
        assert!(challenge(Side::Vibes).unwrap().starts_with("Basic"));
    }

    #[test]
    fn without_a_user_any_credentials_will_do() {
        for sent in ["Basic bWU6cGFzczp3b3Jk", "Basic !!", "nonsense"] {
            let headers = headers(&[("authorization", sent)]);
            assert_eq!(status(open().credentials(Side::Vibes, &headers)), 200);
            assert_eq!(status(open().credentials(Side::Mock, &headers)), 200);
        }
    }

    #[test]
    fn binding_beyond_loopback_needs_a_token() {
        for (address, token, expected) in [
            ("127.0.0.1", None, true),
            ("127.8.9.10", None, true),
            ("::1", None, true),
            ("::ffff:127.0.0.1", None, true),
            ("0.0.0.0", None, false),
            ("::", None, false),
            ("192.168.1.7", None, false),
            ("0.0.0.0", Some(""), false),
            ("0.0.0.0", Some("t"), true),
        ] {
            let result = check_bind(address.parse().unwrap(), token);
            assert_eq!(result.is_ok(), expected, "{address} {token:?}");
        }
        let words = check_bind("0.0.0.0".parse().unwrap(), None).unwrap_err();
        assert!(words.contains("--bind 0.0.0.0 --token"), "{words}");
    }
}
