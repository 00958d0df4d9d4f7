//! Standing in for the Vibes API.

pub mod data;
