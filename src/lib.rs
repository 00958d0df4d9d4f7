//! **vibes-mock** fires the callbacks of the Vibes mobile-messaging platform at a receiver, as the
//! platform would: from a scenario file, deterministically, under a clock that goes as fast as you like.
//!
//! Vibes customers post an *event*; Vibes makes an SMS or MMS of it and calls the customer's endpoint
//! back on the way: routing, processing, carrier receipt, handset receipt. This crate stands where Vibes
//! stands, for those who write and test such an endpoint. The command line is described in the README
//! and by `vibes-mock --help`; this page is about using it in a test.
//!
//! # A first test
//!
//! ```
//! use vibes_mock::{Receiver, Scenario, Speed};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Stands for the program under test; it accepts whatever comes.
//! let receiver = Receiver::bind("127.0.0.1:0".parse()?, Default::default()).await?;
//! let url = format!("http://{}/vibes/callbacks", receiver.address()?);
//! tokio::spawn(receiver.serve(|_| {}));
//!
//! // A file's path, or the name of a ready-made scenario.
//! let report = Scenario::load("happy-path-multipart")?
//!     .seed(7)
//!     .to(url)
//!     .speed(Speed::Max)
//!     .run()
//!     .await?;
//!
//! assert!(report.all_accepted());
//! assert_eq!(report.outcomes["handset.delivered"].accepted, 1);
//! # Ok(()) }
//! ```
//!
//! # Scenarios
//!
//! A [`Scenario`] says which events there are, which way each goes, and where the callbacks are sent.
//! [`Scenario::load`] reads a file, [`Scenario::parse`] a text; everything that is wrong with it comes at
//! once, as [`Findings`](scenario::finding::Findings) with file, line, column and how to mend it.
//!
//! # Runs
//!
//! A [`Run`] carries a scenario out. Its clock moves everything alike: with [`Speed::Max`] five retries
//! five minutes apart take no time and still carry the right dates. What came of it is a [`Report`]; a
//! delivery that failed is in the report and no error.
//!
//! # Determinism
//!
//! The same scenario, seed, start and version give the same bytes on every machine. A journey's random
//! choices depend on the seed and its number alone. [`plan::Plan`] is the list of what would be sent,
//! computed without clock or network, one callback at a time.
//!
//! # Rooms
//!
//! Data flows one way, file → scenario → plan → delivery → report: [`scenario`] reads files, [`journey`]
//! knows what the platform does with one event, [`plan`] puts callbacks in due order, [`timeline`] holds
//! what is due, [`delivery`] sends it, [`report`] tells of it; [`vibes`] is what goes over the wire and
//! [`sms`] how a text splits. [`platform`] knows which way an event goes that somebody posted.

pub mod cli;
pub mod delivery;
pub mod draw;
pub mod expect;
pub mod fault;
pub mod journal;
pub mod journey;
pub mod plan;
pub mod platform;
pub mod receiver;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod serve;
pub mod single;
pub mod sms;
pub mod timeline;
pub mod vibes;

pub use receiver::Receiver;
pub use report::Report;
pub use run::Run;
pub use scenario::Scenario;
pub use timeline::Speed;
