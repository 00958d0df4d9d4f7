//! Where words go: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::ValueEnum;

pub use crate::report::note;
use crate::run::RunError;
use crate::scenario;

/// Everything went well.
pub const OK: u8 = 0;
/// A delivery failed.
pub const FAILED: u8 = 1;
/// Bad usage or an invalid scenario; nothing was sent.
pub const USAGE: u8 = 2;
/// Stopped by the user.
pub const INTERRUPTED: u8 = 130;

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Human,
    /// One JSON value
    Json,
    /// One line of JSON for each callback
    Jsonl,
}

impl Format {
    /// What was asked for; else `human` on a terminal and `piped` elsewhere.
    pub fn or(asked: Option<Format>, piped: Format) -> Format {
        asked.unwrap_or(if io::stdout().is_terminal() {
            Format::Human
        } else {
            piped
        })
    }
}

/// Why a command did not do what it was asked to.
pub struct Failed {
    message: String,
    code: u8,
}

impl Failed {
    /// Bad usage: `message`, and after a line break how to do better.
    pub fn usage(message: impl Into<String>) -> Failed {
        Failed {
            message: message.into(),
            code: USAGE,
        }
    }

    /// Something the interface promises and this version does not do.
    pub fn not_yet(what: &str) -> Failed {
        Failed::usage(format!(
            "{what} is not carried out yet by this version\n`vibes-mock --help` lists what is"
        ))
    }

    /// A delivery did not come about.
    pub fn delivery(message: impl Into<String>) -> Failed {
        Failed {
            message: message.into(),
            code: FAILED,
        }
    }

    /// Says so on standard error, and gives the exit status.
    pub fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            let (message, help) = self.message.split_once('\n').unwrap_or((&self.message, ""));
            let error = console::Style::new()
                .force_styling(colour_err())
                .red()
                .bold()
                .apply_to("error:");
            note(format_args!("{error} {message}"));
            for line in help.lines() {
                note(format_args!(
                    "  help: {}",
                    line.trim_start_matches("  help: ")
                ));
            }
        }
        ExitCode::from(self.code)
    }
}

impl From<io::Error> for Failed {
    /// Of writing the result. A reader that has seen enough is no failure.
    fn from(error: io::Error) -> Failed {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failed {
                message: String::new(),
                code: OK,
            },
            _ => Failed::delivery(format!("cannot write the output: {error}")),
        }
    }
}

impl From<serde_json::Error> for Failed {
    fn from(error: serde_json::Error) -> Failed {
        io::Error::from(error).into()
    }
}

impl From<scenario::Error> for Failed {
    fn from(error: scenario::Error) -> Failed {
        match error {
            scenario::Error::Unreadable(message) => Failed::usage(message),
            scenario::Error::Invalid(findings) => {
                note(findings.render(colour_err()).trim_end());
                Failed::usage(format!(
                    "{}: {} to mend; nothing was sent",
                    findings.file,
                    how_many(findings.errors(), "error")
                ))
            }
        }
    }
}

impl From<RunError> for Failed {
    fn from(error: RunError) -> Failed {
        match error {
            RunError::Destination(message) => Failed::usage(message),
            RunError::NoEvents(_) => Failed::usage(format!(
                "{error}\nadd `events:` to it; its `routes` are for a server"
            )),
            RunError::NotThere { .. } => Failed::delivery(format!(
                "{error}\nstart the receiver first, or give it time with `--wait 30s`\n\
                 `--to URL` names another one; without any, a built-in receiver shows what comes\n\
                 `vibes-mock listen` is a receiver for a second terminal"
            )),
            RunError::Journal(_) => Failed::usage(error.to_string()),
            RunError::Machine(_) => Failed::delivery(error.to_string()),
        }
    }
}

/// Whether standard output is shown in colour. `NO_COLOR` outweighs whatever else asks for it.
pub fn colour_out() -> bool {
    !no_colour() && console::colors_enabled()
}

/// Whether standard error is.
pub fn colour_err() -> bool {
    !no_colour() && console::colors_enabled_stderr()
}

fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// "1 error", "2 errors".
pub fn how_many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A result on standard output.
pub fn print(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// A JSON result on standard output: indented on a terminal, one line elsewhere.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failed> {
    let text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)?
    } else {
        serde_json::to_string(value)?
    };
    print(&(text + "\n"))
}
