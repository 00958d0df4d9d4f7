//! The folder's scenarios.

use std::sync::Arc;

use crate::scenario::Scenario;

/// A scenario of the folder.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its file's name without the ending.
    pub stem: String,
    /// The scenario.
    pub scenario: Arc<Scenario>,
}
