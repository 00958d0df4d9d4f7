//! What a destination asks for: its URL, how it is called, and the filter of the Callback API.
//!
//! Documented on Vibes' "Callback API" page; only what decides about a callback is here. Requests and
//! registrations are [`callback_api`](super::callback_api)'s.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::outcome::{Stage, Status};

/// The HTTP method of a callback, as registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Method {
    /// The default.
    #[default]
    #[serde(rename = "POST")]
    Post,
    /// The other one that Vibes knows.
    #[serde(rename = "PUT")]
    Put,
}

/// The content type of a callback, as registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ContentType {
    /// The default.
    #[default]
    #[serde(rename = "application/json")]
    ApplicationJson,
    /// The other one that Vibes knows.
    #[serde(rename = "text/json")]
    TextJson,
}

impl Method {
    /// The method as it stands in a request.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

impl ContentType {
    /// The header's value.
    pub const fn name(self) -> &'static str {
        match self {
            ContentType::ApplicationJson => "application/json",
            ContentType::TextJson => "text/json",
        }
    }
}

/// Which callbacks of an event a destination wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallbacksToSend {
    /// Every one.
    #[default]
    All,
    /// Those whose status is `failed`.
    OnlyFailures,
    /// Routing and processing; chosen so, since the other two name the receipts.
    Routing,
    /// Carrier delivery receipts.
    CarrierDlr,
    /// Handset delivery receipts.
    HandsetDlr,
}

/// The filter of a registration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Only events of this type, upper and lower case alike; all if absent.
    pub event_type: Option<String>,
    /// Only these callbacks of them.
    pub callbacks_to_send: CallbacksToSend,
}

impl Filter {
    /// Whether the destination wants a callback of that stage and status about that type of event.
    pub fn wants(&self, event_type: &str, stage: Stage, status: Status) -> bool {
        let of_type = self
            .event_type
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(event_type));
        of_type
            && match self.callbacks_to_send {
                CallbacksToSend::All => true,
                CallbacksToSend::OnlyFailures => status == Status::Failed,
                CallbacksToSend::Routing => !stage.is_receipt(),
                CallbacksToSend::CarrierDlr => stage == Stage::Carrier,
                CallbacksToSend::HandsetDlr => stage == Stage::Handset,
            }
    }
}

/// The longest URL that Vibes registers, in characters.
pub const MAX_URL: usize = 1024;

/// Whether a text can be the URL of a destination.
///
/// # Errors
///
/// What is wrong and, after a line break, how to mend it.
pub fn check_url(text: &str) -> Result<hyper::Uri, String> {
    const HOW: &str = "write it like `http://127.0.0.1:8080/vibes/callbacks`";
    // Where a password ends cannot be known before the text is known to be a URL.
    let known = hide_all_before_the_last_at(text);
    let shown: String = known.escape_debug().take(80).collect();
    let length = text.chars().count();
    if length > MAX_URL {
        return Err(format!(
            "the URL has {length} characters; Vibes takes up to {MAX_URL}\nshorten it"
        ));
    }
    let uri: hyper::Uri = Some(text)
        .filter(|text| text.is_ascii())
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("`{shown}` is not a URL\n{HOW}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        Some(scheme) => {
            return Err(format!("`{shown}` is not an http URL but {scheme}\n{HOW}"));
        }
        None => {
            return Err(format!(
                "`{shown}` does not begin with http:// or https://\n{HOW}"
            ));
        }
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let authority = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if uri.host().is_none_or(str::is_empty) || authority.ends_with(':') {
        return Err(format!(
            "`{shown}` names no host or no port behind the colon\n{HOW}"
        ));
    }
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'));
    if let Some((_, port)) = port
        && port.parse::<u16>().ok().is_none_or(|port| port == 0)
    {
        if text.contains('@') && !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!(
                "`{shown}` is not a URL\n\
                 in a user or password write `/` as %2F, `?` as %3F, `#` as %23, `@` as %40, `:` as %3A"
            ));
        }
        return Err(format!(
            "`{shown}`: {port} is not a port\nports are 1 to 65535"
        ));
    }
    Ok(uri)
}

/// A URL without its `user:password@`, and these two as they stand there.
pub fn split_user(url: &str) -> (String, Option<&str>) {
    match user(url) {
        Some(place) => (
            [&url[..place.start], &url[place.end + 1..]].concat(),
            Some(&url[place]).filter(|user| !user.is_empty()),
        ),
        None => (url.to_owned(), None),
    }
}

/// A text with stars for each user and password of a URL in it, of the same length in bytes.
pub fn with_users_hidden(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(place) = user(rest) {
        shown.push_str(&rest[..place.start]);
        shown.extend(std::iter::repeat_n('*', place.len()));
        rest = &rest[place.end..];
    }
    shown + rest
}

/// Where the first `user:password` of a URL stands, without the `@`.
fn user(text: &str) -> Option<Range<usize>> {
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let rest = &text[start..];
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
        let authority = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let within = match ends_within_a_password(authority) {
            true => &rest[..rest.find(['\n', '"', '\'']).unwrap_or(rest.len())],
            false => authority,
        };
        if let Some(at) = within.rfind('@') {
            return Some(start..start + at);
        }
        from = start;
    }
    None
}

/// What follows the colon is no port and nothing follows an `@`: a password has begun, and something in it
/// looks like the authority's end.
fn ends_within_a_password(authority: &str) -> bool {
    let port = authority.split_once(':').map_or("", |(_, port)| port);
    !authority.starts_with('[')
        && !authority.contains('@')
        && port.contains(|c: char| !c.is_ascii_digit())
}

fn hide_all_before_the_last_at(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    match text[start..].rfind('@') {
        Some(at) => format!("{}…{}", &text[..start], &text[start + at..]),
        None => text.to_owned(),
    }
}
