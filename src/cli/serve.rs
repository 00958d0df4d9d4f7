//! `vibes-mock serve`: the Vibes platform on this machine.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::BoolishValueParser;
use clap::{Arg, ValueEnum};
use tracing::level_filters::LevelFilter;

use super::options::duration;
use super::output::{Failed, colour_err, note};
use crate::run::fresh_seed;
use crate::scenario::units::Duration;
use crate::serve::changes::What;
use crate::serve::guard::check_bind;
use crate::serve::hub::{KEEP_ROWS, Options};
use crate::serve::log::{self, LogFormat};
use crate::serve::mock::{Setup, StartError, runtime};
use crate::serve::ready::{Announce, Ready};
use crate::serve::signals::Signals;
use crate::serve::{folder, reload};
use crate::timeline::Speed;

/// The port of a server that is not told any.
const PORT: u16 = 8423;

/// What moves the server's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClockKind {
    /// The machine's
    Real,
    /// Only POST /_mock/clock/advance
    Virtual,
}

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock serve scenarios/\n  \
    vibes-mock serve --clock virtual            time moves when a test says so\n  \
    vibes-mock serve --port 0 --port-file port  any free port, for scripts\n  \
    vibes-mock serve --data state.db            what was accepted outlives the process\n\n\
    SIGTERM and Ctrl-C let what is under way end; the second one ends at once. SIGHUP, or a change of\n\
    a file, reads DIR again. VIBES_MOCK_LOG says what is logged: debug, or vibes_mock=debug,warn.")]
pub struct Args {
    /// A folder of scenario files, or one file; read again when it changes
    #[arg(value_name = "DIR", env = "VIBES_MOCK_DIR")]
    dir: Option<PathBuf>,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = PORT, env = "VIBES_MOCK_PORT")]
    port: u16,
    /// The address to listen at; beyond this machine it takes a token
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        env = "VIBES_MOCK_BIND"
    )]
    bind: IpAddr,
    /// Write the port to this file once the server is ready
    #[arg(long, value_name = "FILE", env = "VIBES_MOCK_PORT_FILE")]
    port_file: Option<PathBuf>,
    /// Keep everything in this SQLite file; in memory if absent
    #[arg(long, value_name = "FILE", env = "VIBES_MOCK_DATA")]
    data: Option<PathBuf>,
    /// real, or virtual: nothing moves until POST /_mock/clock/advance
    #[arg(
        long,
        value_name = "CLOCK",
        value_enum,
        default_value = "real",
        hide_possible_values = true,
        env = "VIBES_MOCK_CLOCK"
    )]
    clock: ClockKind,
    /// How fast the real clock goes: 1x if absent, or 60x
    #[arg(long, value_name = "X", value_parser = speed, env = "VIBES_MOCK_SPEED")]
    speed: Option<Speed>,
    /// What the Vibes side asks for (Basic); anything goes if absent
    #[arg(
        long,
        value_name = "NAME:PASSWORD",
        env = "VIBES_MOCK_USER",
        hide_env_values = true
    )]
    user: Option<String>,
    /// What the mock's own side asks for (Bearer); better in the environment, where others don't see it
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VIBES_MOCK_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// A host to send to that is not on this machine or its private networks; repeatable
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        value_parser = host,
        env = "VIBES_MOCK_ALLOW_DESTINATION"
    )]
    allow_destination: Vec<String>,
    /// A further name that requests may know this server by; repeatable
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = host,
        env = "VIBES_MOCK_ALLOW_HOST"
    )]
    allow_host: Vec<String>,
    /// Refuse registrations whose endpoint does not answer
    #[arg(
        long,
        value_parser = BoolishValueParser::new(),
        env = "VIBES_MOCK_PROBE_DESTINATIONS"
    )]
    probe_destinations: bool,
    /// How long what is over is kept
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = duration,
        env = "VIBES_MOCK_KEEP"
    )]
    keep: Duration,
    /// How many deliveries that are over are kept; 0 keeps none
    #[arg(
        long,
        value_name = "N",
        default_value_t = KEEP_ROWS,
        env = "VIBES_MOCK_KEEP_ROWS"
    )]
    keep_rows: usize,
    /// Every random choice comes from it; fresh if absent
    #[arg(long, value_name = "N", env = "VIBES_MOCK_SEED")]
    seed: Option<u64>,
    /// How log lines on standard error are written: human or json
    #[arg(
        long,
        value_name = "F",
        value_enum,
        default_value = "human",
        hide_possible_values = true,
        env = "VIBES_MOCK_LOG_FORMAT"
    )]
    log_format: LogFormat,
    /// Log warnings and errors only
    #[arg(long, short, value_parser = BoolishValueParser::new(), env = "VIBES_MOCK_QUIET")]
    quiet: bool,
    /// Log more
    #[arg(short, long, value_parser = BoolishValueParser::new(), env = "VIBES_MOCK_VERBOSE")]
    verbose: bool,
}

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse()? {
        Speed::Max => Err(
            "a server's clock cannot go at max; --clock virtual stands until it is moved"
                .to_owned(),
        ),
        times => Ok(times),
    }
}

/// A host's name or address, in small letters.
fn host(text: &str) -> Result<String, String> {
    let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
    let name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match bare.parse::<Ipv6Addr>().is_ok() || (!bare.is_empty() && bare.chars().all(name)) {
        true => Ok(bare.to_ascii_lowercase()),
        false => {
            Err("write a host alone, such as hooks.example.com: no scheme, no port".to_owned())
        }
    }
}

/// What is not printed when it is wrong, as clap would.
fn user(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, password)) if !name.is_empty() => Ok((name.to_owned(), password.to_owned())),
        _ => Err(
            "--user has no name and password\nwrite it as --user NAME:PASSWORD, or VIBES_MOCK_USER=NAME:PASSWORD".to_owned(),
        ),
    }
}

fn token(text: String) -> Result<String, String> {
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text),
        false => Err(
            "--token cannot be sent in a header\nwrite letters, digits and signs, without blanks: openssl rand -hex 16 makes one".to_owned(),
        ),
    }
}

/// Of a variable that is there but empty, as containers often have them, nothing is made.
pub fn unless_empty(arg: Arg) -> Arg {
    let empty = |name| std::env::var_os(name).is_some_and(|value| value.is_empty());
    match arg.get_env().is_some_and(empty) {
        true => arg.env(None::<&'static str>),
        false => arg,
    }
}

impl Args {
    fn begin_to_log(&self) -> Result<(), Failed> {
        let level = match (self.quiet, self.verbose) {
            (true, _) => LevelFilter::WARN,
            (false, true) => LevelFilter::DEBUG,
            (false, false) => LevelFilter::INFO,
        };
        log::init(self.log_format, level, colour_err()).map_err(Failed::usage)
    }

    fn settings(self) -> Result<Settings, String> {
        let speed = match (self.clock, self.speed) {
            (ClockKind::Virtual, Some(_)) => {
                return Err(
                    "--clock virtual stands until it is moved, so it has no --speed\nleave one of the two out".to_owned(),
                );
            }
            (ClockKind::Virtual, None) => None,
            (ClockKind::Real, speed) => Some(speed.unwrap_or_default()),
        };
        Ok(Settings {
            dir: self.dir,
            announce: Announce {
                port_file: self.port_file,
                format: self.log_format,
                quiet: self.quiet,
            },
            setup: Setup {
                address: SocketAddr::new(self.bind, self.port),
                options: Options {
                    speed,
                    seed: self.seed.unwrap_or_else(fresh_seed),
                    allow_destinations: self.allow_destination,
                    probe_destinations: self.probe_destinations,
                    keep: self.keep.to_std(),
                    keep_rows: self.keep_rows,
                },
                data: self.data,
                user: self.user.as_deref().map(user).transpose()?,
                token: self.token.map(token).transpose()?,
                allow_hosts: self.allow_host,
                ..Setup::default()
            },
        })
    }
}

/// How the server is to be.
struct Settings {
    /// The scenarios: a folder of files, or a file.
    dir: Option<PathBuf>,
    /// Who is told once it listens.
    announce: Announce,
    setup: Setup,
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    args.begin_to_log()?;
    let Settings {
        dir,
        announce,
        mut setup,
    } = args.settings().map_err(Failed::usage)?;
    check_bind(setup.address.ip(), setup.token.as_deref()).map_err(Failed::usage)?;
    if let Some(dir) = &dir {
        setup.folder = folder::load(dir).map_err(|findings| {
            note(findings.trim_end());
            Failed::usage("the scenarios cannot be used\n`vibes-mock check` shows the same")
        })?;
        reload::log_warnings(&setup.folder);
    }
    let (first, seed) = (setup.folder.clone(), setup.options.seed);
    let signals = Signals::listen()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let started = setup.start().await?;
        let ready = Ready::tell(&announce, started.address).map_err(StartError::Announce)?;
        tracing::debug!(seed, "every random choice comes from the seed");
        let hub = Arc::clone(&started.hub);
        if let Some(dir) = dir {
            tokio::spawn(reload::watch(dir, first, move |read| match read {
                Ok(loaded) => hub.set_folder(loaded),
                Err(_) => hub.tell_all(What::Reloaded { ok: false }),
            }));
        }
        let mut cause = None;
        let shutdown = async {
            cause = Some(signals.drain().await);
            ready.over();
        };
        started.serve(shutdown).await;
        Ok(cause)
    });
    runtime.shutdown_background();
    match ended {
        Ok(cause) => Ok(cause.map_or(ExitCode::SUCCESS, |cause| {
            ExitCode::from(cause.exit_status())
        })),
        Err(error @ StartError::Address(..)) => Err(Failed::usage(format!(
            "{error}\ntake another port with `--port`, or any free one with `--port 0`"
        ))),
        Err(StartError::Data(message) | StartError::Announce(message)) => {
            Err(Failed::usage(message))
        }
        Err(error @ StartError::Machine(_)) => Err(Failed::delivery(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    #[command(mut_args(unless_empty))]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn settings(line: &str) -> Result<Settings, String> {
        let words = std::iter::once("serve").chain(line.split_whitespace());
        let program = Program::try_parse_from(words).map_err(|error| error.to_string())?;
        program.args.settings()
    }

    #[test]
    fn what_is_left_out_is_as_the_help_says() {
        let settings = settings("").unwrap();
        assert_eq!(settings.setup.address.to_string(), "127.0.0.1:8423");
        assert_eq!(
            settings.setup.options.keep,
            std::time::Duration::from_secs(24 * 3600)
        );
        assert_eq!(settings.setup.options.keep_rows, 100_000);
        assert_eq!(settings.setup.options.speed, Some(Speed::Times(1.0)));
        assert!(
            settings.dir.is_none()
                && settings.setup.data.is_none()
                && settings.setup.token.is_none()
        );
        assert!(!settings.setup.options.probe_destinations);
    }

    #[test]
    fn each_option_gets_where_it_belongs() {
        let settings = settings(
            "scenarios --port 0 --bind ::1 --port-file port --data state.db --speed 60x \
             --user me:pass:word --token abc --allow-destination Hooks.Example.com \
             --allow-destination [2001:db8::1] --allow-host mock.test,other.test --probe-destinations \
             --keep 30m --keep-rows 0 --seed 7 --log-format json --quiet",
        )
        .unwrap();
        assert_eq!(settings.dir, Some(PathBuf::from("scenarios")));
        assert_eq!(settings.setup.address.to_string(), "[::1]:0");
        assert_eq!(settings.setup.data, Some(PathBuf::from("state.db")));
        assert_eq!(settings.setup.options.speed, Some(Speed::Times(60.0)));
        // A password may have colons.
        let user = ("me".to_owned(), "pass:word".to_owned());
        assert_eq!(settings.setup.user, Some(user));
        assert_eq!(settings.setup.token.as_deref(), Some("abc"));
        assert_eq!(
            settings.setup.options.allow_destinations,
            ["hooks.example.com", "2001:db8::1"]
        );
        assert_eq!(settings.setup.allow_hosts, ["mock.test", "other.test"]);
        assert!(settings.setup.options.probe_destinations);
        assert_eq!(
            settings.setup.options.keep,
            std::time::Duration::from_secs(30 * 60)
        );
        assert_eq!(
            (
                settings.setup.options.keep_rows,
                settings.setup.options.seed
            ),
            (0, 7)
        );
        let announce = Announce {
            port_file: Some(PathBuf::from("port")),
            format: LogFormat::Json,
            quiet: true,
        };
        assert_eq!(settings.announce, announce);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_words() {
        for (line, words) in [
            ("--clock virtual --speed 60x", "has no --speed"),
            ("--user hunter2", "--user NAME:PASSWORD"),
            ("--user :hunter2", "--user NAME:PASSWORD"),
            ("--token hünter2", "without blanks"),
            ("--allow-destination http://far.example", "no scheme"),
            ("--allow-host mock.test:8423", "no port"),
            ("--keep 3", "a number and a unit"),
            ("--port 65536", "0..=65535"),
            ("--keep-rows many", "--keep-rows"),
            ("--clock slow", "--clock"),
            ("--speed max", "--clock virtual"),
        ] {
            let wrong = settings(line).err().unwrap_or_default();
            assert!(wrong.contains(words), "{line}: {wrong}");
            assert!(!wrong.contains("hunter2"), "{line}: {wrong}");
        }
        assert_eq!(
            settings("--clock virtual").unwrap().setup.options.speed,
            None
        );
    }

    #[test]
    fn each_option_is_a_variable_too_and_secrets_are_not_shown() {
        let command = Program::command();
        let ours = command.get_arguments().filter(|arg| arg.get_id() != "help");
        for arg in ours {
            let id = arg.get_id().as_str().to_uppercase();
            let name = arg.get_env().unwrap_or_default();
            assert_eq!(name.to_string_lossy(), format!("VIBES_MOCK_{id}"));
            let secret = ["USER", "TOKEN"].contains(&id.as_str());
            assert_eq!(arg.is_hide_env_values_set(), secret, "{id}");
        }
    }

    /// In a process of its own, since the environment is one for all tests.
    #[test]
    fn the_environment_is_read() {
        if std::env::var_os("VIBES_MOCK_PORT").is_none() {
            let tests = std::env::current_exe().unwrap();
            let output = std::process::Command::new(tests)
                .args(["--exact", "cli::serve::tests::the_environment_is_read"])
                .envs([
                    ("VIBES_MOCK_PORT", "9001"),
                    ("VIBES_MOCK_BIND", ""),
                    ("VIBES_MOCK_TOKEN", ""),
                    ("VIBES_MOCK_ALLOW_HOST", "a.test,b.test"),
                    ("VIBES_MOCK_PROBE_DESTINATIONS", "yes"),
                    ("VIBES_MOCK_QUIET", "0"),
                    ("VIBES_MOCK_USER", "me:hunter2"),
                    ("VIBES_MOCK_KEEP_ROWS", "5"),
                ])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && said.contains("1 passed"),
                "{said}"
            );
            return;
        }
        let from_environment = settings("").unwrap();
        assert_eq!(from_environment.setup.address.to_string(), "127.0.0.1:9001");
        assert_eq!(from_environment.setup.token, None);
        assert_eq!(from_environment.setup.allow_hosts, ["a.test", "b.test"]);
        assert!(
            from_environment.setup.options.probe_destinations && !from_environment.announce.quiet
        );
        assert_eq!(from_environment.setup.options.keep_rows, 5);
        // The command line outweighs it.
        assert_eq!(settings("--port 9002").unwrap().setup.address.port(), 9002);
        let help = Program::command().render_long_help().to_string();
        assert!(
            help.contains("VIBES_MOCK_USER") && !help.contains("hunter2"),
            "{help}"
        );
    }
}
