//! A local stand-in for the callback side of the Vibes mobile-messaging platform.

pub mod cli;
pub mod delivery;
pub mod draw;
pub mod journey;
pub mod plan;
pub mod receiver;
pub mod report;
pub mod run;
pub mod scenario;
pub mod single;
pub mod sms;
pub mod timeline;
pub mod vibes;

pub use report::Report;
pub use run::Run;
pub use scenario::Scenario;
pub use timeline::Speed;
