//! What a destination asks for: the entities and filters of the Callback API.
//!
//! Documented on Vibes' "Callback API" page; only what decides about a callback is here.

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    let shown: String = text.escape_debug().take(80).collect();
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
        Some("http") => {}
        Some("https") => {
            return Err(format!(
                "`{shown}`: https is not carried out yet by this version\nuse an http URL, or a proxy that speaks https"
            ));
        }
        Some(scheme) => {
            return Err(format!("`{shown}` is not an http URL but {scheme}\n{HOW}"));
        }
        None => return Err(format!("`{shown}` does not begin with http://\n{HOW}")),
    }
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err(
            "a user and password in the URL are not carried out yet by this version\nuse `--header 'Authorization: Basic …'`"
                .to_owned(),
        );
    }
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
        return Err(format!(
            "`{shown}`: {port} is not a port\nports are 1 to 65535"
        ));
    }
    Ok(uri)
}
