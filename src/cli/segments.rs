//! `vibes-mock segments`: how a text splits into parts, and why.

use std::io::{self, Read};
use std::process::ExitCode;

use serde::Serialize;

use super::output::{Failed, Format, how_many, print, print_json};
use crate::sms::{self, Encoding, Forcing, Segmented};

/// More than 255 parts of it cannot be sent anyway.
const MAX_INPUT: u64 = 1024 * 1024;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    vibes-mock segments 'Hi Bob, your order is out for delivery'\n  \
    vibes-mock segments - < message.txt")]
pub struct Args {
    /// The text, or - for standard input (a line break at its end does not count)
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// human or json
    #[arg(
        long,
        value_name = "F",
        value_enum,
        default_value = "human",
        hide_possible_values = true
    )]
    format: Format,
}

#[derive(Serialize)]
struct Json<'t> {
    encoding: String,
    parts: Vec<JsonPart<'t>>,
    units: usize,
    characters: usize,
}

#[derive(Serialize)]
struct JsonPart<'t> {
    text: &'t str,
    units: u16,
}

pub fn run(args: &Args) -> Result<ExitCode, Failed> {
    let text = match args.text.as_str() {
        "-" => read_input()?,
        text => text.to_owned(),
    };
    let split = sms::split(&text).map_err(|error| Failed::usage(format!("{error}\nshorten it")))?;
    match args.format {
        Format::Json => print_json(&Json {
            encoding: split.encoding.to_string(),
            parts: split
                .parts
                .iter()
                .map(|part| JsonPart {
                    text: part.text,
                    units: part.units,
                })
                .collect(),
            units: split.units,
            characters: split.characters,
        })?,
        Format::Human => print(&describe(&text, &split))?,
        Format::Jsonl => {
            return Err(Failed::usage(
                "`segments` has no jsonl form\nuse `--format json`",
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_input() -> Result<String, Failed> {
    let mut bytes = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_INPUT + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failed::usage(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > MAX_INPUT {
        return Err(Failed::usage("the text has more than 1 MiB\nshorten it"));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Failed::usage("standard input is not UTF-8 text\nsave it as UTF-8"))?;
    for end in ['\n', '\r'] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    Ok(text)
}

fn describe(text: &str, split: &Segmented<'_>) -> String {
    let unit = match split.encoding {
        Encoding::Gsm7 => "septet",
        Encoding::Ucs2 => "UTF-16 unit",
    };
    let mut out = format!(
        "{} in {}: {}, {}\n",
        how_many(split.parts.len(), "part"),
        split.encoding,
        how_many(split.characters, "character"),
        how_many(split.units, unit),
    );
    for (at, part) in split.parts.iter().enumerate() {
        let limit = match split.parts.len() {
            1 => split.encoding.single_limit(),
            _ => split.encoding.part_limit(),
        };
        out.push_str(&format!(
            "  {:>3}  {:>3} of {limit}  {:?}\n",
            at + 1,
            part.units,
            part.text
        ));
    }
    let forcing = sms::forcing_characters(text);
    if forcing.is_empty() {
        return out;
    }
    out.push_str("UCS-2 because of\n");
    for forced in &forcing {
        out.push_str(&format!("  {}\n", describe_forcing(forced)));
    }
    if forcing.iter().all(|forced| forced.instead.is_some()) {
        let plain: String = text
            .chars()
            .map(
                |c| match forcing.iter().find(|forced| forced.character == c) {
                    Some(forced) => forced.instead.unwrap_or_default().to_owned(),
                    None => c.to_string(),
                },
            )
            .collect();
        if let Ok(parts) = sms::part_count(&plain) {
            out.push_str(&format!(
                "With these replaced it is {} in GSM-7.\n",
                how_many(usize::from(parts), "part")
            ));
        }
    }
    out
}

fn describe_forcing(forced: &Forcing) -> String {
    let c = forced.character;
    let shown = if c.is_control() || c.is_whitespace() {
        c.escape_unicode().to_string()
    } else {
        c.to_string()
    };
    let instead = match forced.instead {
        Some("") => ": leave it out".to_owned(),
        Some(" ") => ": write a space instead".to_owned(),
        Some(instead) => format!(": write {instead} instead"),
        None => String::new(),
    };
    format!(
        "{shown}  U+{:04X}, {}{instead}",
        u32::from(c),
        how_many(forced.count, "time")
    )
}
