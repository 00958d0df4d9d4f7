//! What whoever starts a server decides.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::ready::Announce;
use crate::run::fresh_seed;
use crate::timeline::Speed;

/// The port of a server that is not told any.
pub const PORT: u16 = 8423;
/// So many deliveries that are over are kept.
pub const KEEP_ROWS: usize = 100_000;
/// So long what is over is kept.
pub const KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// How a server is to be. It cannot be printed, because it knows secrets.
#[derive(Clone)]
pub struct Settings {
    /// The scenarios: a folder of files, or a file.
    pub dir: Option<PathBuf>,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Who is told once it does.
    pub announce: Announce,
    /// The SQLite file that state is kept in; none for memory.
    pub data: Option<PathBuf>,
    /// How fast the clock goes; none if it is moved by hand.
    pub speed: Option<Speed>,
    /// Name and password that the Vibes side asks for.
    pub user: Option<(String, String)>,
    /// What the mock's own side asks for.
    pub token: Option<String>,
    /// Hosts that may be sent to wherever they are.
    pub allow_destinations: Vec<String>,
    /// Hosts that requests may name, beside this machine's.
    pub allow_hosts: Vec<String>,
    /// Whether a registration's endpoint must be there.
    pub probe_destinations: bool,
    /// How long what is over is kept.
    pub keep: Duration,
    /// How many deliveries that are over are kept; what still waits is always.
    pub keep_rows: usize,
    /// Every random choice comes from it.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dir: None,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            announce: Announce::default(),
            data: None,
            speed: Some(Speed::default()),
            user: None,
            token: None,
            allow_destinations: Vec::new(),
            allow_hosts: Vec::new(),
            probe_destinations: false,
            keep: KEEP,
            keep_rows: KEEP_ROWS,
            seed: fresh_seed(),
        }
    }
}
