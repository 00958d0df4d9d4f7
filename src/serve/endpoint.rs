//! What there is to ask for: one table of endpoints, which [`dispatch`](super::dispatch) goes by and
//! [`openapi`](super::openapi) describes.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use super::permits::Permits;
use super::reply::Reply;

/// The largest body where an endpoint doesn't say otherwise.
pub const MAX_BODY: usize = 1024 * 1024;

/// Whose an endpoint is, and with that who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The platform's: name and password, if the server was started with them.
    Vibes,
    /// The mock's own, for test harnesses: the token, if the server was started with one.
    Mock,
    /// Anybody's.
    Open,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between the path's slashes.
    Path,
    /// Behind the question mark.
    Query,
    /// In a header.
    Header,
}

/// Gives a type's schema.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a handler gives back.
pub type Answering = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Answers calls.
pub type Handler<H> = fn(Call<H>) -> Answering;

/// One thing that a caller may say beside the body.
pub struct Parameter {
    /// As it is written.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// What it is for.
    pub description: &'static str,
    /// What it may be; a list may be given several times.
    pub schema: SchemaOf,
}

/// What a caller sends along.
pub struct RequestBody {
    /// Its type. It is not checked: clients forget it, and there is only one.
    pub content_type: &'static str,
    /// What it is.
    pub schema: SchemaOf,
    /// May it be left out?
    pub required: bool,
}

/// One of the answers to expect.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// When it comes.
    pub description: &'static str,
    /// What is in it, with its type.
    pub content: Option<(&'static str, SchemaOf)>,
}

/// One thing to ask for.
pub struct Endpoint<H> {
    /// GET answers HEAD as well.
    pub method: Method,
    /// With `{names}` for what differs; with or without a slash at the end, both are answered.
    pub path: &'static str,
    /// Whose it is.
    pub side: Side,
    /// Its name for programs, unique.
    pub operation_id: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// More about it, in Markdown.
    pub description: &'static str,
    /// What a caller may say beside the body.
    pub parameters: Vec<Parameter>,
    /// What a caller sends along.
    pub body: Option<RequestBody>,
    /// The largest body; what is longer is answered with 413.
    pub max_body: usize,
    /// The answers to expect.
    pub responses: Vec<Response>,
    /// What answers.
    pub handler: Handler<H>,
}

impl<H> Endpoint<H> {
    /// An endpoint without parameters, body and answers yet.
    pub fn new(
        side: Side,
        method: Method,
        path: &'static str,
        operation_id: &'static str,
        summary: &'static str,
        handler: Handler<H>,
    ) -> Endpoint<H> {
        Endpoint {
            method,
            path,
            side,
            operation_id,
            summary,
            description: "",
            parameters: Vec::new(),
            body: None,
            max_body: MAX_BODY,
            responses: Vec::new(),
            handler,
        }
    }

    /// Says more about it, in Markdown.
    #[must_use]
    pub fn description(mut self, description: &'static str) -> Endpoint<H> {
        self.description = description;
        self
    }

    fn parameter<T: JsonSchema>(
        mut self,
        place: Place,
        name: &'static str,
        description: &'static str,
    ) -> Endpoint<H> {
        self.parameters.push(Parameter {
            name,
            place,
            description,
            schema: SchemaGenerator::subschema_for::<T>,
        });
        self
    }

    /// Describes one of the path's `{names}`.
    #[must_use]
    pub fn path<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Endpoint<H> {
        self.parameter::<T>(Place::Path, name, description)
    }

    /// Takes something in the query; `Vec<T>` if it may be there several times.
    #[must_use]
    pub fn query<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Endpoint<H> {
        self.parameter::<T>(Place::Query, name, description)
    }

    /// Takes something in a header.
    #[must_use]
    pub fn header<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Endpoint<H> {
        self.parameter::<T>(Place::Header, name, description)
    }

    /// Takes a JSON body of that shape.
    #[must_use]
    pub fn takes<T: JsonSchema>(self) -> Endpoint<H> {
        self.takes_as::<T>("application/json")
    }

    /// Takes a body of another content type.
    #[must_use]
    pub fn takes_as<T: JsonSchema>(mut self, content_type: &'static str) -> Endpoint<H> {
        self.body = Some(RequestBody {
            content_type,
            schema: SchemaGenerator::subschema_for::<T>,
            required: true,
        });
        self
    }

    /// The body may be left out.
    #[must_use]
    pub fn body_may_be_absent(mut self) -> Endpoint<H> {
        if let Some(body) = &mut self.body {
            body.required = false;
        }
        self
    }

    /// Takes no larger body.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Endpoint<H> {
        self.max_body = bytes;
        self
    }

    /// Answers with JSON of that shape.
    #[must_use]
    pub fn answers<T: JsonSchema>(self, status: u16, description: &'static str) -> Endpoint<H> {
        self.answers_as::<T>(status, "application/json", description)
    }

    /// Answers with another content type.
    #[must_use]
    pub fn answers_as<T: JsonSchema>(
        mut self,
        status: u16,
        content_type: &'static str,
        description: &'static str,
    ) -> Endpoint<H> {
        self.responses.push(Response {
            status,
            description,
            content: Some((content_type, SchemaGenerator::subschema_for::<T>)),
        });
        self
    }

    /// Answers without a body.
    #[must_use]
    pub fn answers_nothing(mut self, status: u16, description: &'static str) -> Endpoint<H> {
        self.responses.push(Response {
            status,
            description,
            content: None,
        });
        self
    }

    /// Answers with errors.
    #[must_use]
    pub fn fails(self, status: u16, description: &'static str) -> Endpoint<H> {
        self.answers::<crate::vibes::api::Problem>(status, description)
    }

    pub(super) fn names_of(&self, place: Place) -> impl Iterator<Item = &'static str> {
        self.parameters
            .iter()
            .filter(move |parameter| parameter.place == place)
            .map(|parameter| parameter.name)
    }
}

/// A request that an endpoint is asked to answer; its body has come.
pub struct Call<H> {
    /// What the server is about.
    pub hub: Arc<H>,
    /// Places for those that stay long, and the news that the server ends.
    pub permits: Arc<Permits>,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body. It may be a piece of a much larger buffer: what is kept for long should be copied.
    pub body: Bytes,
    pub(super) path: Vec<(&'static str, String)>,
    pub(super) query: Vec<(String, String)>,
}

impl<H> Call<H> {
    /// What stands in the path in a name's place, decoded; empty if the path has no such name.
    pub fn path(&self, name: &str) -> &str {
        let found = self.path.iter().find(|(own, _)| *own == name);
        debug_assert!(found.is_some(), "no {{{name}}} in the endpoint's path");
        found.map_or("", |(_, value)| value)
    }

    /// The first value that the query has for a name, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.queries(name).next()
    }

    /// All values that the query has for a name, decoded, in their order.
    pub fn queries(&self, name: &str) -> impl Iterator<Item = &str> {
        self.query
            .iter()
            .filter(move |(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    /// A header's value, if it is there once and is a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.get_all(name).iter();
        match (all.next(), all.next()) {
            (Some(only), None) => only.to_str().ok(),
            _ => None,
        }
    }

    /// The body, read from JSON.
    ///
    /// # Errors
    ///
    /// It isn't what is asked for: the answer to give.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Reply> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Reply::error(400, 400, format!("the body is not as expected: {error}"))
        })
    }
}
