//! `vibes-mock serve`: stands where the platform stands, for programs that talk to it over HTTP.
//!
//! One table of [endpoints](endpoint::Endpoint) is what [`dispatch`] goes by and what [`openapi`] describes.
//! [`http`] is the listener with its limits, [`guard`] knows who may ask for what.

pub mod dispatch;
pub mod endpoint;
pub mod guard;
pub mod http;
pub mod openapi;
mod patience;
pub mod permits;
pub mod reply;
pub mod sse;
