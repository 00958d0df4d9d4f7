//! `vibes-mock serve`: stands where the platform stands, for programs that talk to it over HTTP.

pub mod folder;
pub mod log;
pub mod ready;
pub mod reload;
pub mod settings;
pub mod signals;
