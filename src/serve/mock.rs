//! The whole server: put together, started, and ended.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::dispatch::Dispatch;
use super::folder::Loaded;
use super::guard::Guard;
use super::http::{Limits, Server};
use super::hub::{Hub, Options};
use super::time::Until;
use super::{control, cron, data};
use crate::delivery::StopSignal;
use crate::run::fresh_seed;

/// How often what is over is looked at, whether it is still to be kept.
const TIDYING: Duration = Duration::from_secs(1);

/// Everything that a server is started with.
pub struct Setup {
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// How it is to be.
    pub options: Options,
    /// The scenarios that say how events go.
    pub folder: Vec<Loaded>,
    /// The file that holds its state; in memory if absent.
    pub data: Option<PathBuf>,
    /// What the mock's own side asks for.
    pub token: Option<String>,
    /// What the platform's side asks for.
    pub user: Option<(String, String)>,
    /// Names that requests may have in `Host`, beside the usual ones.
    pub allow_hosts: Vec<String>,
    /// What clients may do.
    pub limits: Limits,
}

/// Without its secrets.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("address", &self.address)
            .field("options", &self.options)
            .field("data", &self.data)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("user", &self.user.as_ref().map(|_| "…"))
            .field("allow_hosts", &self.allow_hosts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            options: Options::default(),
            folder: Vec::new(),
            data: None,
            token: None,
            user: None,
            allow_hosts: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen at {0}: {1}")]
    Address(SocketAddr, io::Error),
    /// The file that holds its state cannot be used.
    #[error("{0}")]
    Data(String),
    /// Nobody could be told that it is there.
    #[error("{0}")]
    Announce(String),
    /// The machine gave no thread or runtime.
    #[error("cannot start: {0}")]
    Machine(#[from] io::Error),
}

impl Setup {
    /// Takes the port and takes up what was saved; requests wait until it is served.
    ///
    /// # Errors
    ///
    /// It cannot start.
    pub async fn start(self) -> Result<Started, StartError> {
        let opened = self.data.as_deref().map(data::open).transpose();
        let opened = opened.map_err(|error| StartError::Data(error.to_string()))?;
        let (state, writing) = match opened {
            Some((data, saved, writing)) => (Some((data, saved)), Some(writing)),
            None => (None, None),
        };
        let server = Server::bind(self.address, self.limits).await;
        let server = server.map_err(|error| StartError::Address(self.address, error))?;
        let address = server.address()?;
        let writing = state.as_ref().map(|(data, _)| data.clone()).zip(writing);
        let hub = Hub::new(self.options, self.folder, state).map_err(StartError::Data)?;
        let guard = Guard::new(self.allow_hosts, self.token, self.user);
        let dispatch = Dispatch::new(control::all(), guard).map_err(io::Error::other)?;
        Ok(Started {
            address,
            hub,
            server,
            dispatch,
            writing,
            patience: self.limits.patience,
        })
    }
}

/// A server that has its port and is yet to be served.
pub struct Started {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its state.
    pub hub: Arc<Hub>,
    server: Server,
    dispatch: Dispatch<Hub>,
    writing: Option<(data::Data, data::Writing)>,
    patience: Duration,
}

impl Started {
    /// Takes requests until `shutdown` comes back; then what is under way may end.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let hub = self.hub;
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(Arc::clone(&hub).run_clock());
        let scheduled = Arc::downgrade(&hub);
        tasks.spawn(async move {
            if let Err(error) = cron::run(scheduled).await {
                tracing::error!("cron entries do not come any more: {error}");
            }
        });
        let tidied = Arc::clone(&hub);
        tasks.spawn(async move {
            let mut ticks = tokio::time::interval(TIDYING);
            loop {
                ticks.tick().await;
                tidied.tidy();
                tidied.save_clock_in_use();
            }
        });
        let served = self.server.serve(Arc::clone(&hub), self.dispatch, shutdown);
        let cut_off = served.await;
        if cut_off > 0 {
            tracing::warn!("{cut_off} connections did not end in time");
        }
        // What becomes due from here on is for the next start.
        tasks.shutdown().await;
        hub.drain(self.patience).await;
        hub.save_clock();
        if let Some((data, writing)) = self.writing {
            data.close();
            // It waits for the disk.
            let _ = tokio::task::spawn_blocking(move || writing.join()).await;
        }
    }
}

/// A server for a test: on a free port of its own, gone when dropped.
///
/// ```
/// use vibes_mock::VibesMock;
///
/// let mock = VibesMock::start()?;
/// let base_url = mock.url(); // instead of the platform's
/// # assert!(base_url.starts_with("http://127.0.0.1:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VibesMock {
    address: SocketAddr,
    hub: Arc<Hub>,
    runtime: tokio::runtime::Handle,
    stop: StopSignal,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl VibesMock {
    /// Starts a server whose clock goes as the machine's does. What it holds is in memory.
    ///
    /// # Errors
    ///
    /// It did not start.
    pub fn start() -> Result<VibesMock, StartError> {
        VibesMock::with(Setup {
            options: Options {
                seed: fresh_seed(),
                ..Options::default()
            },
            ..Setup::default()
        })
    }

    /// Starts a server whose clock stands until [`advance`](Self::advance) moves it.
    ///
    /// # Errors
    ///
    /// It did not start.
    pub fn start_with_virtual_clock() -> Result<VibesMock, StartError> {
        VibesMock::with(Setup {
            options: Options {
                speed: None,
                seed: fresh_seed(),
                ..Options::default()
            },
            ..Setup::default()
        })
    }

    /// Starts a server as it is described.
    ///
    /// # Errors
    ///
    /// It did not start.
    pub fn with(setup: Setup) -> Result<VibesMock, StartError> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let stop = StopSignal::default();
        let ended = stop.clone();
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("vibes-mock".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    match setup.start().await {
                        Ok(server) => {
                            let _ = started.send(Ok((server.address, Arc::clone(&server.hub))));
                            server.serve(async move { ended.stopped().await }).await;
                        }
                        Err(error) => {
                            let _ = started.send(Err(error));
                        }
                    }
                });
                runtime.shutdown_background();
            })?;
        let gone = |_| io::Error::other("the server's thread has ended");
        let (address, hub) = start.recv().map_err(gone)??;
        Ok(VibesMock {
            address,
            hub,
            runtime: handle,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it is: `http://127.0.0.1:PORT`, to be used instead of the platform's base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Moves a clock that stands; comes back once everything due has been delivered or has failed. True if
    /// nothing waits any more.
    pub async fn advance(&self, until: Until) -> bool {
        let hub = Arc::clone(&self.hub);
        let moved = self.runtime.spawn(async move { hub.advance(until).await });
        moved.await.unwrap_or(false)
    }
}

impl Drop for VibesMock {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The runtime that a server runs in.
///
/// # Errors
///
/// The machine gives none.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("vibes-mock")
        .build()
}
