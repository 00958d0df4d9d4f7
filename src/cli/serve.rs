//! `vibes-mock serve`: stand in for the Vibes API.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::options::{duration, stop_on_signals};
use super::output::{Failed, note};
use crate::run::fresh_seed;
use crate::scenario::units::Duration;
use crate::serve::folder;
use crate::serve::guard::check_bind;
use crate::serve::http::Limits;
use crate::serve::hub::{MAX_PENDING, Options};
use crate::serve::log::{self, LogFormat};
use crate::serve::mock::{Setup, StartError, runtime};
use crate::serve::{ready, reload};
use crate::timeline::Speed;

#[derive(clap::Args)]
#[command(
    after_help = "Each option is also an environment variable, such as VIBES_MOCK_PORT.\n\n\
    Examples:\n  \
    vibes-mock serve\n  \
    vibes-mock serve scenarios --clock virtual --port 0 --port-file port.txt\n  \
    vibes-mock serve --data state.sqlite --bind 0.0.0.0 --token \"$TOKEN\""
)]
pub struct Args {
    /// A folder of scenario files (or one file): routes, journeys, settings, cron entries, and what runs are
    /// started by name; read again when it changes
    #[arg(value_name = "DIR", env = "VIBES_MOCK_DIR")]
    folder: Option<PathBuf>,
    /// The port; 0 takes a free one
    #[arg(
        long,
        value_name = "N",
        env = "VIBES_MOCK_PORT",
        default_value_t = 8423
    )]
    port: u16,
    /// The address to listen at
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "VIBES_MOCK_BIND",
        default_value = "127.0.0.1"
    )]
    bind: IpAddr,
    /// Write the port there once requests are taken
    #[arg(long, value_name = "FILE", env = "VIBES_MOCK_PORT_FILE")]
    port_file: Option<PathBuf>,
    /// Keep the state in an SQLite file; a 2xx then means that it is on disk
    #[arg(long, value_name = "FILE", env = "VIBES_MOCK_DATA")]
    data: Option<PathBuf>,
    /// real, or virtual: it stands until /_mock/clock/advance moves it
    #[arg(
        long,
        value_name = "real|virtual",
        env = "VIBES_MOCK_CLOCK",
        value_enum,
        default_value = "real",
        hide_possible_values = true
    )]
    clock: ClockMode,
    /// How fast a real clock goes: 1x, 60x
    #[arg(long, value_name = "X", env = "VIBES_MOCK_SPEED", value_parser = speed)]
    speed: Option<Speed>,
    /// What the platform's side asks for by Basic authentication; anybody may come if absent
    #[arg(long, value_name = "NAME:PASSWORD", env = "VIBES_MOCK_USER", hide_env_values = true, value_parser = user)]
    user: Option<User>,
    /// What the mock's own side asks for, as `Authorization: Bearer TOKEN`
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VIBES_MOCK_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    /// A host that may be sent to though it is neither loopback nor private; repeatable
    #[arg(
        long,
        value_name = "HOST",
        env = "VIBES_MOCK_ALLOW_DESTINATION",
        value_delimiter = ','
    )]
    allow_destination: Vec<String>,
    /// A name of this server that requests may have in their Host header; repeatable
    #[arg(
        long,
        value_name = "NAME",
        env = "VIBES_MOCK_ALLOW_HOST",
        value_delimiter = ','
    )]
    allow_host: Vec<String>,
    /// Refuse registrations whose endpoint is not there
    #[arg(long, env = "VIBES_MOCK_PROBE_DESTINATIONS")]
    probe_destinations: bool,
    /// How long what is over is kept
    #[arg(long, value_name = "DURATION", env = "VIBES_MOCK_KEEP", default_value = "24h", value_parser = duration)]
    keep: Duration,
    /// How many deliveries that are over are kept
    #[arg(
        long,
        value_name = "N",
        env = "VIBES_MOCK_KEEP_ROWS",
        default_value_t = 100_000
    )]
    keep_rows: usize,
    /// Every random choice comes from it; fresh if absent
    #[arg(long, value_name = "N", env = "VIBES_MOCK_SEED")]
    seed: Option<u64>,
    /// human, or json: one object a line
    #[arg(
        long,
        value_name = "F",
        env = "VIBES_MOCK_LOG_FORMAT",
        value_enum,
        default_value = "human",
        hide_possible_values = true
    )]
    log_format: LogFormat,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockMode {
    Real,
    Virtual,
}

#[derive(Clone)]
struct User(String, String);

fn speed(text: &str) -> Result<Speed, String> {
    match text.parse()? {
        Speed::Max => Err(
            "a server's clock cannot go at `max`; `--clock virtual` stands until it is moved"
                .to_owned(),
        ),
        times => Ok(times),
    }
}

fn user(text: &str) -> Result<User, String> {
    let (name, password) = text.split_once(':').ok_or("write it as NAME:PASSWORD")?;
    Ok(User(name.to_owned(), password.to_owned()))
}

pub fn run(args: Args) -> Result<ExitCode, Failed> {
    let speed = match (args.clock, args.speed) {
        (ClockMode::Virtual, None) => None,
        (ClockMode::Virtual, Some(_)) => {
            return Err(Failed::usage(
                "a virtual clock has no speed: it stands until it is moved\nleave out `--speed` or `--clock virtual`",
            ));
        }
        (ClockMode::Real, speed) => Some(speed.unwrap_or_default()),
    };
    // An empty variable is how a compose file says "none".
    let token = args.token.filter(|token| !token.is_empty());
    check_bind(args.bind, token.as_deref()).map_err(Failed::usage)?;
    log::init(args.log_format);
    let folder = args.folder.as_deref().map(folder::load).transpose();
    let folder = folder.map_err(|findings| {
        note(findings.trim_end());
        Failed::usage(
            "the scenarios cannot be used\nmend them; `vibes-mock check` shows them one by one",
        )
    })?;
    let seed = args.seed.unwrap_or_else(fresh_seed);
    let setup = Setup {
        address: SocketAddr::new(args.bind, args.port),
        options: Options {
            speed,
            seed,
            allow_destinations: args.allow_destination,
            probe_destinations: args.probe_destinations,
            keep: args.keep.to_std(),
            keep_rows: args.keep_rows,
            max_pending: MAX_PENDING,
        },
        folder: folder.unwrap_or_default(),
        data: args.data,
        token,
        user: args.user.map(|User(name, password)| (name, password)),
        allow_hosts: args.allow_host,
        limits: Limits::default(),
    };
    let stop = stop_on_signals()?;
    let runtime = runtime()?;
    let mut port_file = None;
    let served = runtime.block_on(setup.serve(
        |address, hub| {
            if let Some(folder) = args.folder {
                tokio::spawn(reload::watch(folder, std::sync::Arc::clone(hub)));
            }
            note(format_args!(
                "serving at http://{address}/ with seed {seed} (Ctrl-C ends)"
            ));
            port_file = args
                .port_file
                .and_then(|file| ready::announce(&file, address.port()));
            ready::tell_the_system();
        },
        async { stop.stopped().await },
    ));
    runtime.shutdown_background();
    drop(port_file);
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(StartError::Address(address, error)) => Err(Failed::usage(format!(
            "cannot listen at {address}: {error}\ntake another port with `--port`, or any free one with `--port 0`"
        ))),
        Err(StartError::Data(message)) => Err(Failed::usage(message)),
        Err(StartError::Machine(error)) => Err(Failed::delivery(error.to_string())),
    }
}
