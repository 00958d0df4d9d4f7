//! Telling others that the server takes requests.

use std::path::{Path, PathBuf};

/// A file that holds the port for as long as this lives.
pub struct PortFile(PathBuf, String);

impl Drop for PortFile {
    fn drop(&mut self) {
        // Another server may have taken it over.
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text == self.1) {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

/// Writes the port into a file, whole or not at all: whoever waits for the file finds the port in it.
pub fn announce(file: &Path, port: u16) -> Option<PortFile> {
    let text = format!("{port}\n");
    let mut beside = file.as_os_str().to_owned();
    beside.push(".tmp");
    let written = std::fs::write(&beside, &text).and_then(|()| std::fs::rename(&beside, file));
    match written {
        Ok(()) => Some(PortFile(file.to_owned(), text)),
        Err(error) => {
            tracing::error!("cannot write the port into {}: {error}", file.display());
            None
        }
    }
}

/// Tells systemd, if it started the server.
pub fn tell_the_system() {
    #[cfg(target_os = "linux")]
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
