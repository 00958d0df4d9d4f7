//! What a server logs, on standard error: a plain line for people, an object a line for programs.
//!
//! Only the command line turns this on; a server inside somebody's test logs wherever that test does.

use std::fmt;
use std::io;

use chrono::{SecondsFormat, Utc};
use clap::ValueEnum;
use console::Style;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The variable that says what is logged, as `RUST_LOG` does elsewhere: `debug`, `vibes_mock=trace,warn`.
pub const VARIABLE: &str = "VIBES_MOCK_LOG";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Human,
    /// One JSON object a line
    Json,
}

/// Logs to standard error from now on: of this program what has that level or a worse one, of its
/// libraries warnings, unless the environment says otherwise. The second time in a process it does nothing.
///
/// # Errors
///
/// The environment's filter makes no sense.
pub fn init(format: LogFormat, level: LevelFilter, colour: bool) -> Result<(), String> {
    let asked = std::env::var(VARIABLE).ok();
    let filter = filter(asked.as_deref(), level)?;
    // Somebody logs already: so be it.
    let _ = subscriber(format, filter, colour, io::stderr).try_init();
    Ok(())
}

fn filter(asked: Option<&str>, level: LevelFilter) -> Result<EnvFilter, String> {
    match asked {
        Some(asked) if !asked.is_empty() => EnvFilter::try_new(asked).map_err(|error| {
            format!(
                "{VARIABLE} is `{asked}`: {error}\nwrite it like `debug`, or `vibes_mock=debug,warn`"
            )
        }),
        _ => {
            let others = level.min(LevelFilter::WARN);
            let filter = format!("{others},vibes_mock={level}");
            EnvFilter::try_new(filter).map_err(|error| error.to_string())
        }
    }
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    colour: bool,
    to: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(to)
        // It would be told on standard error, and be a panic if that is what was closed.
        .log_internal_errors(false);
    match format {
        LogFormat::Human => Box::new(builder.event_format(Human { colour }).finish()),
        LogFormat::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_target(false)
                .with_timer(Clock)
                .finish(),
        ),
    }
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        w.write_str(&Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// `2026-11-25T10:00:00.123Z INFO  words key=value`
struct Human {
    colour: bool,
}

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let style = match *event.metadata().level() {
            Level::ERROR => Style::new().red().bold(),
            Level::WARN => Style::new().yellow(),
            Level::INFO => Style::new().green(),
            _ => Style::new().dim(),
        };
        Clock.format_time(&mut writer)?;
        let level = format!("{:<5}", event.metadata().level());
        let level = style.force_styling(self.colour).apply_to(level);
        write!(writer, " {level} ")?;
        ctx.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(
        format: LogFormat,
        asked: Option<&str>,
        level: LevelFilter,
        colour: bool,
        log: impl FnOnce(),
    ) -> String {
        let captured = Captured::default();
        let to = captured.clone();
        let filter = filter(asked, level).unwrap();
        let subscriber = subscriber(format, filter, colour, move || to.clone());
        tracing::subscriber::with_default(subscriber, log);
        let text = captured.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = logged(LogFormat::Json, None, LevelFilter::INFO, true, || {
            tracing::info!(company = "zY5VnE7r", events = 3, "two\nlines \"quoted\"");
            tracing::warn!("more");
        });
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let at = lines[0]["timestamp"].as_str().unwrap();
        assert!(
            chrono::DateTime::parse_from_rfc3339(at).is_ok() && at.len() == 24,
            "{at}"
        );
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[0]["message"], "two\nlines \"quoted\"");
        assert_eq!(lines[0]["company"], "zY5VnE7r");
        assert_eq!(lines[0]["events"], 3);
        assert_eq!(lines[1]["level"], "WARN");
    }

    #[test]
    fn people_get_a_plain_line() {
        let text = logged(LogFormat::Human, None, LevelFilter::INFO, false, || {
            tracing::info!(events = 3, "words");
        });
        assert_eq!(&text[24..], " INFO  words events=3\n", "{text}");
        assert!(text[..24].ends_with('Z'), "{text}");
        let text = logged(LogFormat::Human, None, LevelFilter::INFO, true, || {
            tracing::error!("words");
        });
        assert!(text.contains("\x1b[31m"), "{text:?}");
    }

    #[test]
    fn what_others_sent_cannot_paint_the_terminal() {
        let text = logged(LogFormat::Human, None, LevelFilter::INFO, false, || {
            tracing::info!(event_type = "\x1b[2Jgone", "words {}", "\x1b[2J");
        });
        assert!(!text.contains('\x1b'), "{text:?}");
    }

    #[test]
    fn the_level_is_this_programs_and_the_environment_may_say_otherwise() {
        let log = || {
            tracing::debug!("our detail");
            tracing::info!("our words");
            tracing::info!(target: "hyper", "their words");
            tracing::warn!(target: "hyper", "their warning");
        };
        let of = |asked, level| {
            let text = logged(LogFormat::Human, asked, level, false, log);
            let words = |line: &str| line[31..].to_owned();
            text.lines().map(words).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(of(None, LevelFilter::INFO), "our words, their warning");
        assert_eq!(
            of(Some(""), LevelFilter::DEBUG),
            "our detail, our words, their warning"
        );
        assert_eq!(of(None, LevelFilter::ERROR), "");
        assert_eq!(
            of(Some("hyper=info"), LevelFilter::INFO),
            "their words, their warning"
        );
        let wrong = filter(Some("vibes_mock=loud"), LevelFilter::INFO).unwrap_err();
        assert!(wrong.contains("VIBES_MOCK_LOG"), "{wrong}");
    }

    #[test]
    fn it_may_be_turned_on_twice() {
        for _ in 0..2 {
            // Other tests log too.
            init(LogFormat::Human, LevelFilter::OFF, false).unwrap();
        }
    }
}
