//! What the platform knows of a company and does with the events that are posted for it.
//!
//! Pure: no clock, no socket, no file. Registrations, campaigns and events come from
//! [`vibes`](crate::vibes), journeys from [`journey`](crate::journey); listening, sending and keeping are
//! for others.

pub mod company;
pub mod event;
pub mod media;
pub mod routing;
