//! Reading the folder again: when a file in it changes, and on SIGHUP.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::changes::What;
use super::folder::{self, Loaded};
use super::hub::Hub;

/// Editors write a file in several steps; after the first, so long is waited for the others.
const SETTLE: Duration = Duration::from_millis(200);

/// Reads the folder whenever it changes, and hands it to the server; a folder with findings changes nothing.
/// Never comes back.
pub async fn watch(path: PathBuf, hub: Arc<Hub>) {
    let (changed, mut changes) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // One that waits is enough.
            let _ = changed.try_send(());
        }
    });
    let watching = watcher.and_then(|mut watcher| {
        // A file that is replaced is another one; its folder stays.
        let folder = match path.is_dir() {
            true => path.as_path(),
            false => path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty())
                .unwrap_or(".".as_ref()),
        };
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    let _watcher = match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!("{} is not watched for changes: {error}", path.display());
            None
        }
    };
    let mut hangup = Hangup::new();
    loop {
        tokio::select! {
            Some(()) = changes.recv() => {
                tokio::time::sleep(SETTLE).await;
                let _ = changes.try_recv();
            }
            () = hangup.came() => {}
        }
        reload(&path, &hub).await;
    }
}

async fn reload(path: &std::path::Path, hub: &Hub) {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || folder::load(&path)).await;
    match read {
        Ok(Ok(loaded)) if same(&loaded, &hub.folder()) => {}
        Ok(Ok(loaded)) => {
            tracing::info!("{} scenarios were read again", loaded.len());
            hub.set_folder(loaded);
        }
        Ok(Err(findings)) => {
            tracing::error!("the scenarios stay as they were, because of findings:\n{findings}");
            hub.tell_all(What::Reloaded { ok: false });
        }
        Err(error) => tracing::error!("the scenarios stay as they were: {error}"),
    }
}

fn same(these: &[Loaded], those: &[Loaded]) -> bool {
    these.len() == those.len()
        && these
            .iter()
            .zip(those)
            .all(|(one, other)| one.stem == other.stem && one.scenario.text == other.scenario.text)
}

/// SIGHUP, where there is one.
#[cfg(unix)]
struct Hangup(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangup {
    fn new() -> Hangup {
        use tokio::signal::unix::{SignalKind, signal};
        Hangup(signal(SignalKind::hangup()).ok())
    }

    async fn came(&mut self) {
        let came = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        if came.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(not(unix))]
struct Hangup;

#[cfg(not(unix))]
impl Hangup {
    fn new() -> Hangup {
        Hangup
    }

    async fn came(&mut self) {
        std::future::pending().await
    }
}
