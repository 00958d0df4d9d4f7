//! A report in a file: which form it has, and that it can be written.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::OnceLock;

use super::story::Story;
use super::{Report, html, junit};

/// The form of a report in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What `--format json` prints.
    Json,
    /// JUnit's XML, for a CI server.
    Junit,
    /// A page to look at.
    Html,
}

/// A file that a report goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    path: PathBuf,
    form: Form,
    /// It was not there before.
    made: OnceLock<()>,
}

impl FromStr for ReportFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let ending = path.extension().and_then(|ending| ending.to_str());
        let form = match ending.map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Form::Json,
            Some("xml") => Form::Junit,
            Some("html") => Form::Html,
            _ => {
                return Err(
                    "the ending says what it becomes: .json, .xml (JUnit) or .html".to_owned(),
                );
            }
        };
        Ok(ReportFile {
            path,
            form,
            made: OnceLock::new(),
        })
    }
}

impl ReportFile {
    /// The form that its ending names.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes sure that it can be written, and leaves what stands in it.
    ///
    /// # Errors
    ///
    /// It cannot.
    pub fn prepare(&self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).open(&self.path) {
            Ok(_) => {
                self.made.get_or_init(|| ());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                options.create_new(false).open(&self.path).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a file away that was made for a run that did not begin: empty, it would be no report.
    pub fn abandon(&self) {
        if self.made.get().is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Writes a report; the story is for the page.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, report: &Report, story: &Story) -> io::Result<()> {
        let text = match self.form {
            Form::Json => serde_json::to_string_pretty(report)? + "\n",
            Form::Junit => junit::xml(report).map_err(io::Error::other)?,
            Form::Html => html::page(report, &story.told()),
        };
        fs::write(&self.path, text)
    }
}
