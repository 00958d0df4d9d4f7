//! What goes over the wire, as Vibes writes it. Nobody else spells a JSON key of Vibes.
//!
//! Pure: no clock, no socket, no file. When and whether a body is sent is decided elsewhere.

pub mod api;
pub mod callback;
pub mod callback_api;
pub mod campaign;
pub mod event;
pub mod magic;
pub mod outcome;
pub mod registration;
mod request;
pub mod sample;

#[cfg(test)]
mod tests;
