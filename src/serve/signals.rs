//! What ends a server from outside.
//!
//! The first signal lets it drain, a second one ends it at once. After Ctrl-C the exit status is 130, as of every
//! command that was interrupted; after SIGTERM, which is how systemd, Docker and Kubernetes end what has done
//! well, it is 0; ended at once, it is 130 in any case.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::delivery::StopSignal;

/// Signals that come so soon after another mean the same: `timeout` and others signal a process and its
/// group.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

/// The exit status of a server that did not drain.
const INTERRUPTED: i32 = 130;

/// What asked a server to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or a close of the console.
    Terminate,
    /// The terminal that it was started in is gone.
    Alone,
}

impl Cause {
    /// The exit status of a server that has drained.
    pub fn exit_status(self) -> u8 {
        match self {
            Cause::Interrupt => 130,
            Cause::Terminate | Cause::Alone => 0,
        }
    }
}

/// The signals to a server of this process.
#[derive(Clone, Debug)]
pub struct Signals {
    stop: StopSignal,
    cause: Arc<OnceLock<Cause>>,
}

impl Signals {
    /// Listens from now on. A second signal ends the process.
    ///
    /// SIGHUP is taken as well, and ends the server only if it says that the terminal is gone; otherwise
    /// it is for [`reload`](super::reload).
    ///
    /// # Errors
    ///
    /// The system does not let us listen.
    pub fn listen() -> io::Result<Signals> {
        Signals::listen_and(|| std::process::exit(INTERRUPTED))
    }

    fn listen_and(at_once: impl FnOnce() + Send + 'static) -> io::Result<Signals> {
        let signals = Signals {
            stop: StopSignal::default(),
            cause: Arc::new(OnceLock::new()),
        };
        let told = signals.clone();
        // On a thread of its own, so that a server that hangs can be ended too.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut ears = {
            let _guard = runtime.enter();
            Ears::open()?
        };
        let wait = move || {
            runtime.block_on(async {
                let cause = ears.next().await;
                tracing::info!("stopping; what is under way may end; once more to end at once");
                let _ = told.cause.set(cause);
                told.stop.stop();
                let same = async {
                    loop {
                        ears.next().await;
                    }
                };
                let _: Result<(), _> = tokio::time::timeout(SAME_SIGNAL, same).await;
                ears.next().await;
            });
            at_once();
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(wait)?;
        Ok(signals)
    }

    /// For what knows nothing but that it has to stop.
    pub fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Comes back once the server has to drain, with what asked for it.
    pub async fn drain(&self) -> Cause {
        self.stop.stopped().await;
        // Without a signal, it was told to stop by the program itself.
        self.cause.get().copied().unwrap_or(Cause::Terminate)
    }
}

#[cfg(unix)]
struct Ears {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    had_terminal: bool,
}

#[cfg(unix)]
impl Ears {
    fn open() -> io::Result<Ears> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Ears {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            had_terminal: has_terminal(),
        })
    }

    async fn next(&mut self) -> Cause {
        loop {
            tokio::select! {
                Some(()) = self.interrupt.recv() => return Cause::Interrupt,
                Some(()) = self.terminate.recv() => return Cause::Terminate,
                Some(()) = self.hang_up.recv() => {
                    if self.had_terminal && !has_terminal() {
                        return Cause::Alone;
                    }
                }
                else => std::future::pending().await,
            }
        }
    }
}

/// One that was closed is none any more.
#[cfg(unix)]
fn has_terminal() -> bool {
    use std::io::IsTerminal;
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

#[cfg(windows)]
struct Ears {
    interrupt: tokio::signal::windows::CtrlC,
    stop: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Ears {
    fn open() -> io::Result<Ears> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Ears {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    async fn next(&mut self) -> Cause {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Cause::Interrupt,
            Some(()) = self.stop.recv() => Cause::Terminate,
            Some(()) = self.close.recv() => Cause::Alone,
            Some(()) = self.shutdown.recv() => Cause::Terminate,
            else => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Signals reach every test of the process: one that sends some holds this.
    pub(crate) static SIGNALS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    const AT_LAST: Duration = Duration::from_secs(20);

    fn signal(name: &str) {
        let own = std::process::id().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &own])
            .status();
        assert!(sent.unwrap().success());
    }

    #[tokio::test]
    async fn the_first_drains_and_the_second_ends() {
        let _alone = SIGNALS.lock().await;
        let (ended, at_once) = tokio::sync::oneshot::channel();
        let signals = Signals::listen_and(move || ended.send(()).unwrap()).unwrap();
        // Somebody asks for a reload.
        signal("-HUP");
        let early = tokio::time::timeout(Duration::from_millis(200), signals.drain());
        assert!(
            early.await.is_err(),
            "a hang-up with no terminal lost ends nothing"
        );

        signal("-TERM");
        let cause = tokio::time::timeout(AT_LAST, signals.drain())
            .await
            .unwrap();
        assert_eq!(cause, Cause::Terminate);
        assert_eq!(cause.exit_status(), 0);
        // The same again, as `timeout` does it, and later in earnest.
        signal("-TERM");
        let mut at_once = at_once;
        let early = tokio::time::timeout(2 * SAME_SIGNAL, &mut at_once).await;
        assert!(early.is_err(), "two signals that are one must not end it");
        signal("-INT");
        let ended = tokio::time::timeout(AT_LAST, at_once).await;
        assert!(ended.is_ok(), "the second did not end it");
    }
}
