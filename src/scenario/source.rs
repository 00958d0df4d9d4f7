//! Where a scenario's text comes from: a file, standard input, or the ready-made ones in the binary.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::Error;
use super::finding::{did_you_mean, nearest};

/// The most bytes that a scenario file may have.
pub const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A scenario's text and what to call it.
#[derive(Clone, Debug)]
pub struct Source {
    /// As the user wrote it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

macro_rules! ready_made {
    ($($name:literal),* $(,)?) => {
        /// The ready-made scenarios, each by its name.
        pub const READY_MADE: &[(&str, &str)] = &[
            $(($name, include_str!(concat!("../../scenarios/", $name, ".yaml")))),*
        ];
    };
}
include!("ready_made.rs");

impl Source {
    /// Opens a file by its path, standard input as `-`, or a ready-made scenario by its name.
    ///
    /// # Errors
    ///
    /// What cannot be read, and what there is instead.
    pub fn open(name: &str) -> Result<Source, Error> {
        if name == "-" {
            return read(name, io::stdin().lock());
        }
        if !Path::new(name).exists()
            && let Some((_, text)) = READY_MADE.iter().find(|(ready, _)| *ready == name)
        {
            return Source::of(name, text);
        }
        let unreadable = |error: io::Error| {
            let help = match error.kind() {
                io::ErrorKind::NotFound => not_found_help(name),
                _ => "is it a file, and may you read it?".to_owned(),
            };
            Error::Unreadable(format!(
                "cannot read `{name}`: {}\n  help: {help}",
                plain_words(&error)
            ))
        };
        let file = File::open(name).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(Error::Unreadable(format!(
                "cannot read `{name}`: it is a folder\n  help: name the files in it"
            )));
        }
        read(name, file)
    }

    /// A text that is at hand already.
    ///
    /// # Errors
    ///
    /// It is too long.
    pub fn of(name: &str, text: &str) -> Result<Source, Error> {
        if text.len() as u64 > MAX_BYTES {
            return Err(too_long(name));
        }
        Ok(Source {
            name: name.to_owned(),
            // Editors on Windows put a mark before the text.
            text: text.strip_prefix('\u{feff}').unwrap_or(text).to_owned(),
        })
    }
}

fn read(name: &str, from: impl Read) -> Result<Source, Error> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Error::Unreadable(format!("cannot read `{name}`: {}", plain_words(&error)))
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_long(name));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Error::Unreadable(format!(
            "cannot read `{name}`: line {line} is not UTF-8 text\n  help: save the file as UTF-8"
        ))
    })?;
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return Err(Error::Unreadable(format!(
            "cannot read `{name}`: line {line} holds a zero byte, so this is not a text file"
        )));
    }
    Source::of(name, &text)
}

fn too_long(name: &str) -> Error {
    Error::Unreadable(format!(
        "cannot read `{name}`: it has more than {} MiB\n  help: let `count:` and templates make up the events",
        MAX_BYTES / 1024 / 1024
    ))
}

fn not_found_help(name: &str) -> String {
    let stem = Path::new(name)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or(name);
    let names = READY_MADE.iter().map(|(ready, _)| *ready);
    match nearest(stem, names.clone()).as_slice() {
        [] => "`vibes-mock catalog --scenarios` lists the ready-made ones".to_owned(),
        _ => format!("of the ready-made ones, {}", did_you_mean(stem, names)),
    }
}

/// The system's words without its error number.
pub fn plain_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
