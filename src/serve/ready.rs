//! Telling that a server is ready, and that it ends: a file for scripts, systemd, a line for people.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::log::LogFormat;
use crate::report::note;
use crate::scenario::source::plain_words;

/// Who is told that a server is ready, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announce {
    /// The file that its port is written to.
    pub port_file: Option<PathBuf>,
    /// A line for people, or a line of the log.
    pub format: LogFormat,
    /// No line at all.
    pub quiet: bool,
}

/// A server that is ready. Once it is no longer, or when this is dropped, that is told as well.
#[derive(Debug)]
pub struct Ready {
    port_file: Option<PortFile>,
}

impl Ready {
    /// Tells that connections are accepted at an address.
    ///
    /// # Errors
    ///
    /// The port file cannot be written; says how to mend it.
    pub fn tell(announce: &Announce, address: SocketAddr) -> Result<Ready, String> {
        let port_file = match &announce.port_file {
            Some(path) => Some(PortFile::write(path, address.port()).map_err(|error| {
                format!(
                    "cannot write the port file {}: {}\nits folder must be there, and writable",
                    path.display(),
                    plain_words(&error)
                )
            })?),
            None => None,
        };
        service(Service::Ready);
        match (announce.quiet, announce.format) {
            (true, _) => {}
            (false, LogFormat::Human) => {
                note(format_args!("serving at http://{address}/ (Ctrl-C ends)"));
            }
            (false, LogFormat::Json) => {
                tracing::info!(url = %format_args!("http://{address}/"), "serving");
            }
        }
        Ok(Ready { port_file })
    }

    /// Tells that the server ends: to be called when it stops to accept connections.
    pub fn over(self) {}
}

impl Drop for Ready {
    fn drop(&mut self) {
        if let Some(port_file) = &self.port_file {
            port_file.remove();
        }
        service(Service::Stopping);
    }
}

/// Tells systemd that the scenarios are being read again.
pub fn reloading() {
    service(Service::Reloading);
}

/// Tells systemd that they were read.
pub fn reloaded() {
    service(Service::Ready);
}

enum Service {
    Ready,
    Reloading,
    Stopping,
}

/// Without systemd, nobody listens and nothing happens.
#[cfg(target_os = "linux")]
fn service(state: Service) {
    use sd_notify::NotifyState;
    let told = match state {
        Service::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Service::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
        Service::Reloading => NotifyState::monotonic_usec_now()
            .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now])),
    };
    if let Err(error) = told {
        tracing::warn!("systemd cannot be told how the server is: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn service(_state: Service) {}

/// A file with a port in it, for scripts that wait until it is there.
#[derive(Debug)]
struct PortFile {
    path: PathBuf,
    text: String,
    written: Option<SystemTime>,
}

impl PortFile {
    /// Whoever looks sees no file, or a whole one.
    fn write(path: &Path, port: u16) -> io::Result<PortFile> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(beside);
        let text = format!("{port}\n");
        // What another process of this number left there.
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.metadata())
            .map(|written| written.modified().ok());
        drop(file);
        let placed = written.and_then(|written| fs::rename(&beside, path).map(|()| written));
        let written = placed.inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })?;
        Ok(PortFile {
            path: path.to_owned(),
            text,
            written,
        })
    }

    /// Takes it away, unless a server that came later has written its own.
    fn remove(&self) {
        let modified = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
        let ours = fs::read(&self.path).is_ok_and(|text| text == self.text.as_bytes())
            && modified(&self.path) == self.written;
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(
                "cannot remove the port file {}: {}",
                self.path.display(),
                plain_words(&error)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(port_file: &Path) -> Announce {
        Announce {
            port_file: Some(port_file.to_owned()),
            quiet: true,
            ..Announce::default()
        }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_port_file_is_there_while_the_server_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        fs::write(&file, "an old one").unwrap();
        let ready = Ready::tell(&announce(&file), address(8423)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "8423\n");
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "something is left beside it"
        );
        drop(ready);
        assert!(!file.exists());
    }

    #[test]
    fn whoever_reads_it_meanwhile_sees_a_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        fs::write(&file, "10000\n").unwrap();
        let reader = {
            let file = file.clone();
            std::thread::spawn(move || {
                for _ in 0..2_000 {
                    let text = fs::read_to_string(&file).unwrap();
                    assert!(text.len() == 6 && text.ends_with('\n'), "{text:?}");
                }
            })
        };
        let mut number = 0;
        while !reader.is_finished() {
            PortFile::write(&file, 10_000 + number % 1_000).unwrap();
            number += 1;
        }
        reader.join().unwrap();
    }

    #[test]
    fn a_file_of_another_server_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("port");
        let first = Ready::tell(&announce(&file), address(8001)).unwrap();
        let second = Ready::tell(&announce(&file), address(8002)).unwrap();
        first.over();
        assert_eq!(fs::read_to_string(&file).unwrap(), "8002\n");
        second.over();
        assert!(!file.exists());
        // The same port, and yet another server.
        let first = Ready::tell(&announce(&file), address(8001)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let second = Ready::tell(&announce(&file), address(8001)).unwrap();
        first.over();
        assert!(file.exists());
        drop(second);
        assert!(!file.exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said() {
        let dir = tempfile::tempdir().unwrap();
        for path in [dir.path().join("nowhere/port"), dir.path().to_owned()] {
            let wrong = Ready::tell(&announce(&path), address(1)).unwrap_err();
            assert!(wrong.starts_with("cannot write the port file"), "{wrong}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
