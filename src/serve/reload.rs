//! A change of the scenario files takes effect in a server that runs; one that breaks them does not.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::folder::{self, Loaded};
use super::ready;

/// Editors write in several steps: once nothing has changed for so long, they are through.
const QUIET: Duration = Duration::from_millis(200);
/// Somebody who writes all the time is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a folder that was taken away is looked for.
const LOST: Duration = Duration::from_secs(1);
/// Kubernetes changes all files of a volume at once by giving this link another end.
const KUBERNETES: &str = "..data";

/// Watches a folder of scenario files, or a single file, and hands over what stands in it whenever that
/// has become something else; SIGHUP looks at once (where there is such a thing). Never comes back; to end
/// it, drop it.
///
/// `first` is what the server goes by already. Files that cannot be used are logged and handed over as
/// an error, once: whoever gets that keeps what it has. Files whose texts stay the same are no change, nor
/// are links whose ends change elsewhere (SIGHUP sees those).
pub async fn watch(
    dir: PathBuf,
    first: Vec<Loaded>,
    mut on: impl FnMut(Result<Vec<Loaded>, String>) + Send,
) {
    let mut eye = Eye::open(&dir);
    let mut hang_up = HangUp::listen();
    let mut known = texts(&first);
    drop(first);
    let mut broken: Option<String> = None;
    // Something may have changed since the first look.
    let mut asked = settle(&eye, &mut hang_up).await;
    loop {
        if asked {
            ready::reloading();
        }
        eye.look_again();
        let path = dir.clone();
        let found = tokio::task::spawn_blocking(move || folder::load(&path))
            .await
            .unwrap_or_else(|error| Err(format!("error: cannot read the scenarios: {error}")));
        match found {
            Ok(loaded) => {
                let now = texts(&loaded);
                if now != known {
                    tracing::info!(scenarios = loaded.len(), "scenarios reloaded");
                    log_warnings(&loaded);
                    known = now;
                    broken = None;
                    on(Ok(loaded));
                } else if broken.take().is_some() {
                    tracing::info!("scenarios are as they were");
                    on(Ok(loaded));
                } else if asked {
                    tracing::info!("scenarios are as they were");
                }
            }
            Err(wrong) => {
                let news = broken.as_ref() != Some(&wrong);
                if asked || news {
                    tracing::error!("scenarios not reloaded, the old ones stay:\n{wrong}");
                }
                broken = Some(wrong.clone());
                if news {
                    on(Err(wrong));
                }
            }
        }
        if asked {
            ready::reloaded();
        }
        asked = tokio::select! {
            () = eye.sees() => settle(&eye, &mut hang_up).await,
            () = hang_up.comes() => true,
        };
    }
}

/// Logs what probably is not as meant.
pub fn log_warnings(loaded: &[Loaded]) {
    let warnings = folder::warnings(loaded);
    if !warnings.is_empty() {
        tracing::warn!("scenarios have warnings:\n{warnings}");
    }
}

/// Waits until nothing more changes. Whether somebody asked meanwhile.
async fn settle(eye: &Eye, hang_up: &mut HangUp) -> bool {
    let quiet = async { while timeout(QUIET, eye.changed.notified()).await.is_ok() {} };
    tokio::select! {
        _ = timeout(PATIENCE, quiet) => false,
        () = hang_up.comes() => true,
    }
}

/// What makes scenarios other ones.
fn texts(loaded: &[Loaded]) -> Vec<(String, String)> {
    let pair = |one: &Loaded| (one.stem.clone(), one.scenario.text.clone());
    loaded.iter().map(pair).collect()
}

/// What sees changes.
struct Eye {
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    /// The folder; of a single file, the one it is in: editors put another file in its place.
    watched: PathBuf,
    lost: bool,
}

impl Eye {
    fn open(dir: &Path) -> Eye {
        // Changes are told with whole paths.
        let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let single = whole.is_file();
        let watched = match whole.parent() {
            Some(parent) if single => parent.to_owned(),
            _ => whole.clone(),
        };
        let changed = Arc::new(Notify::new());
        let (tell, of) = (changed.clone(), watched.clone());
        let tell = move |event: notify::Result<notify::Event>| {
            // The watcher's own trouble may be all that is left of a change.
            let matters =
                event.map_or(true, |event| matters(&event, &of, single.then_some(&whole)));
            if matters {
                tell.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&watched, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let watcher = watcher.inspect_err(|error| {
            let instead = match cfg!(unix) {
                true => "SIGHUP still makes this server read them again",
                false => "start the server again after a change",
            };
            tracing::warn!(
                "changes of {} cannot be watched: {error}; {instead}",
                dir.display()
            );
        });
        Eye {
            changed,
            watcher: watcher.ok(),
            watched,
            lost: false,
        }
    }

    /// A folder that was taken away and put back is another one, which must be watched anew.
    fn look_again(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            // Of one that is gone, nothing is watched any more.
            let _ = watcher.unwatch(&self.watched);
            let watched = watcher.watch(&self.watched, RecursiveMode::NonRecursive);
            self.lost = watched.is_err();
        }
    }

    async fn sees(&self) {
        match self.lost {
            true => sleep(LOST).await,
            false => self.changed.notified().await,
        }
    }
}

/// Whether an event can be a change of the files; in a folder with a database, most are not.
fn matters(event: &notify::Event, watched: &Path, single: Option<&PathBuf>) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        // Such as our own reading.
        EventKind::Access(_) => return false,
        _ => {}
    }
    let ours = |path: &PathBuf| {
        path == watched
            || path.ends_with(KUBERNETES)
            || match single {
                Some(file) => path.file_name() == file.file_name(),
                None => folder::is_scenario(path),
            }
    };
    event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(ours)
}

/// SIGHUP, where there is such a thing.
struct HangUp {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl HangUp {
    fn listen() -> HangUp {
        HangUp {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .inspect_err(|error| tracing::warn!("SIGHUP cannot be listened to: {error}"))
                .ok(),
        }
    }

    async fn comes(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::task::JoinHandle;

    use super::super::folder::tests::scenario;
    use super::*;

    type Seen = Result<Vec<String>, String>;

    /// Far longer than it takes.
    const AT_LAST: Duration = Duration::from_secs(20);
    /// Long enough for a reload that should not come.
    const NEVER: Duration = Duration::from_millis(900);

    struct Watched {
        seen: UnboundedReceiver<Seen>,
        task: JoinHandle<()>,
    }

    impl Watched {
        fn begin(dir: &Path, first: Vec<Loaded>) -> Watched {
            let (tell, seen) = unbounded_channel();
            let names = |loaded: Vec<Loaded>| {
                let name = |one: &Loaded| one.scenario.name.clone();
                loaded.iter().map(name).collect()
            };
            let task = tokio::spawn(watch(dir.to_owned(), first, move |found| {
                tell.send(found.map(names)).unwrap();
            }));
            Watched { seen, task }
        }

        async fn next(&mut self) -> Seen {
            let next = timeout(AT_LAST, self.seen.recv()).await;
            next.expect("no reload came").unwrap()
        }

        async fn nothing(&mut self) {
            if let Ok(seen) = timeout(NEVER, self.seen.recv()).await {
                panic!("a reload came: {seen:?}");
            }
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    #[tokio::test]
    async fn good_files_take_effect_broken_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, scenario("One")).unwrap();
        let mut watched = Watched::begin(dir.path(), folder::load(dir.path()).unwrap());
        watched.nothing().await;

        // As editors do it.
        let beside = dir.path().join(".a.yaml.swp");
        fs::write(&beside, scenario("Two")).unwrap();
        fs::rename(&beside, &file).unwrap();
        assert_eq!(watched.next().await, Ok(vec!["Two".to_owned()]));

        fs::write(&file, "sceanrio: Typo\n").unwrap();
        let wrong = watched.next().await.unwrap_err();
        assert!(wrong.contains("a.yaml:1"), "{wrong}");
        fs::write(&file, "sceanrio: Typo\n").unwrap();
        watched.nothing().await;

        // Whoever heard of the trouble hears of its end.
        fs::write(&file, scenario("Two")).unwrap();
        assert_eq!(watched.next().await, Ok(vec!["Two".to_owned()]));

        fs::write(dir.path().join("b.yaml"), scenario("Three")).unwrap();
        let both = vec!["Two".to_owned(), "Three".to_owned()];
        assert_eq!(watched.next().await, Ok(both));
        fs::remove_file(&file).unwrap();
        assert_eq!(watched.next().await, Ok(vec!["Three".to_owned()]));
    }

    #[tokio::test]
    async fn the_same_texts_are_no_reload() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, scenario("One")).unwrap();
        let mut watched = Watched::begin(dir.path(), folder::load(dir.path()).unwrap());
        watched.nothing().await;
        fs::write(&file, scenario("One")).unwrap();
        fs::write(dir.path().join("state.db"), "more").unwrap();
        watched.nothing().await;
    }

    #[tokio::test]
    async fn looking_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.yaml");
        fs::write(&file, scenario("One")).unwrap();
        let mut eye = Eye::open(dir.path());
        for _ in 0..2 {
            eye.look_again();
            folder::load(dir.path()).unwrap();
            let changed = timeout(NEVER, eye.changed.notified()).await;
            assert!(changed.is_err(), "it would look for ever");
        }
        fs::write(&file, scenario("Two")).unwrap();
        assert!(timeout(AT_LAST, eye.changed.notified()).await.is_ok());
    }

    #[tokio::test]
    async fn what_changed_before_the_watch_began_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), scenario("One")).unwrap();
        let mut watched = Watched::begin(dir.path(), Vec::new());
        assert_eq!(watched.next().await, Ok(vec!["One".to_owned()]));
    }

    #[tokio::test]
    async fn a_single_file_may_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("one.txt");
        fs::write(&file, scenario("One")).unwrap();
        let mut watched = Watched::begin(&file, folder::load(&file).unwrap());
        watched.nothing().await;
        for name in ["Two", "Three"] {
            let beside = dir.path().join("beside");
            fs::write(&beside, scenario(name)).unwrap();
            fs::rename(&beside, &file).unwrap();
            assert_eq!(watched.next().await, Ok(vec![name.to_owned()]));
        }
    }

    #[tokio::test]
    async fn a_folder_may_go_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("scenarios");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), scenario("One")).unwrap();
        let mut watched = Watched::begin(&folder, folder::load(&folder).unwrap());
        watched.nothing().await;
        fs::remove_dir_all(&folder).unwrap();
        // Between the file's end and the folder's, it may have been seen without any.
        while watched.next().await.is_ok() {}
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), scenario("Two")).unwrap();
        loop {
            match watched.next().await {
                Ok(names) if names == ["Two"] => break,
                Ok(names) => assert!(names.is_empty(), "{names:?}"),
                Err(_) => {}
            }
        }
        // It is watched again, not only found.
        fs::write(folder.join("a.yaml"), scenario("Three")).unwrap();
        assert_eq!(watched.next().await, Ok(vec!["Three".to_owned()]));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn hanging_up_looks_where_nothing_can_be_watched() {
        let _alone = super::super::signals::tests::SIGNALS.lock().await;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("scenarios");
        // Not there yet, it cannot be watched.
        let mut watched = Watched::begin(&folder, Vec::new());
        assert!(watched.next().await.is_err());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yaml"), scenario("One")).unwrap();
        watched.nothing().await;
        let hang_up = std::process::Command::new("kill")
            .args(["-HUP", &std::process::id().to_string()])
            .status();
        assert!(hang_up.unwrap().success());
        assert_eq!(watched.next().await, Ok(vec!["One".to_owned()]));
    }
}
