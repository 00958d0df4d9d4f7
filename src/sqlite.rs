//! What the SQLite files of this program have in common: what kind one is, who may write it, and whether it is
//! still there. Their tables are the business of `journal` and `serve::data`.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::scenario::source::plain_words;

/// The `application_id` of a journal: "vmj" and the version of its tables.
pub(crate) const JOURNAL: i32 = 0x766d_6a01;

/// The `application_id` of the state of `serve`: "vmd"; the version of its tables is its `user_version`.
pub(crate) const DATA: i32 = 0x766d_6401;

/// What a file with this `application_id` is.
pub(crate) fn kind(application_id: i32) -> &'static str {
    match application_id {
        DATA => "the state of a `vibes-mock serve`",
        // Journals of all versions.
        id if id >> 8 == JOURNAL >> 8 => "the journal of a `vibes-mock run`",
        _ => "an SQLite file of another program",
    }
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// There is no such file, or nothing in it.
    Blank,
    /// The file is not SQLite's.
    Other,
    /// The file is SQLite's.
    Sqlite {
        application_id: i32,
        user_version: i32,
    },
}

/// Reads the first bytes of a file. SQLite is not asked, since it may change a file by opening it.
pub(crate) fn header(path: &Path) -> std::io::Result<Header> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(100).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Header::Blank),
        Err(error) => return Err(error),
    };
    let number = |at: usize| match bytes.get(at..at + 4) {
        Some(&[a, b, c, d]) => Some(i32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    // Where SQLite's file format has them.
    Ok(match (number(68), number(60)) {
        _ if bytes.is_empty() => Header::Blank,
        (Some(application_id), Some(user_version)) if bytes.starts_with(b"SQLite format 3\0") => {
            Header::Sqlite {
                application_id,
                user_version,
            }
        }
        _ => Header::Other,
    })
}

/// Keeps a second program away from the file; `taken` is what that one is told. The lock goes with the program,
/// however that ends; it is on a file of its own, since closing any descriptor of a database gives up SQLite's
/// locks on it.
pub(crate) fn lock(path: &Path, taken: &str) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push("-lock");
    let failed = |error: std::io::Error| {
        let how = "name a file in a folder that you may write to";
        format!("{}\n{how}", plain_words(&error))
    };
    let file = File::create(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(taken.to_owned()),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A file that is written, to be missed when somebody removes it: SQLite would go on writing into a file that
/// has no name any more.
pub(crate) struct Watched {
    pub(crate) path: PathBuf,
    identity: Option<u64>,
}

impl Watched {
    pub(crate) fn new(path: &Path) -> Watched {
        Watched {
            identity: identity(path),
            path: path.to_owned(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match identity(&self.path) == self.identity {
            true => Ok(()),
            false => Err("the file has been removed or replaced".to_owned()),
        }
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| file.ino())
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|_| 0)
}
