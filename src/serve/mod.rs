//! `vibes-mock serve`: stands where the platform stands, for programs that talk to it over HTTP.
//!
//! One table of [endpoints](endpoint::Endpoint) is what [`dispatch`] goes by and what [`openapi`] describes.
//! [`http`] is the listener with its limits, [`guard`] knows who may ask for what.

pub mod changes;
pub mod control;
pub mod cron;
pub mod data;
pub mod dispatch;
pub mod endpoint;
pub mod folder;
pub mod guard;
pub mod http;
pub mod hub;
pub mod ledger;
pub mod log;
pub mod metrics;
pub mod mock;
pub mod openapi;
mod patience;
pub mod permits;
pub mod ready;
pub mod reload;
pub mod reply;
pub mod runs;
pub mod signals;
pub mod sse;
pub mod time;
pub mod vibes_api;
pub mod view;
