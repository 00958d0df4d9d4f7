//! The folder's scenarios.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::scenario::source::plain_words;
use crate::scenario::{Error, Scenario};

/// So many files are read at the most.
const MAX_FILES: usize = 1000;

/// A scenario of the folder.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its file's name without the ending.
    pub stem: String,
    /// The scenario.
    pub scenario: Arc<Scenario>,
}

/// Reads the `.yaml`, `.yml` and `.json` files of a folder, in the order of their names, or one file.
///
/// # Errors
///
/// Everything that is wrong with them, as `check` shows it.
pub fn load(folder: &Path) -> Result<Vec<Loaded>, String> {
    let mut loaded = Vec::new();
    let mut findings = String::new();
    for file in files(folder)? {
        let stem = file.file_stem().unwrap_or_default();
        match Scenario::load(&file.to_string_lossy()) {
            Ok(scenario) => loaded.push(Loaded {
                stem: stem.to_string_lossy().into_owned(),
                scenario: Arc::new(scenario),
            }),
            Err(Error::Invalid(found)) => findings += &found.render(false),
            Err(Error::Unreadable(message)) => findings += &format!("error: {message}\n\n"),
        }
    }
    match findings.is_empty() {
        true => Ok(loaded),
        false => Err(findings),
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: std::io::Error| {
        format!(
            "error: cannot read `{}`: {}\n  help: name a folder with scenario files, or one file\n",
            folder.display(),
            plain_words(&error)
        )
    };
    if !std::fs::metadata(folder).map_err(unreadable)?.is_dir() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let wanted = matches!(ending, Some("yaml" | "yml" | "json")) && !name.starts_with('.');
        if wanted && path.is_file() {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(format!(
            "error: `{}` holds {} scenario files; {MAX_FILES} are read at the most\n  help: name a smaller folder\n",
            folder.display(),
            files.len()
        ));
    }
    files.sort();
    Ok(files)
}
