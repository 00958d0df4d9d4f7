//! What the server says while it serves: to standard error, for people or for programs.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

/// How it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people
    Human,
    /// An object on a line
    Json,
}

/// Begins to say it. `VIBES_MOCK_LOG` chooses how much, as `RUST_LOG` does elsewhere. Within a program that has
/// its own way already, that one stays.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_env("VIBES_MOCK_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,tokio_cron_scheduler=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_target(false)
        .with_ansi(console::colors_enabled_stderr());
    let _ = match format {
        LogFormat::Human => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
