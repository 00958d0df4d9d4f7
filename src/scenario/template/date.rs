//! The filter `date`: reads times in the usual forms and writes them with Ruby's directives.
//!
//! `"now"` and `"today"` are the run's clock. What has no offset of its own is UTC.

use std::fmt::Write as _;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use liquid_core::ValueView;
use liquid_core::model::{Value, ValueCow};

use super::MAX_KEPT;
use super::filters::{Call, made};
use super::values::{Made, Number, number, text};
use super::writing::{Builder, too_large};

type Time = DateTime<FixedOffset>;

/// The widest that a part of a date is padded.
const MAX_WIDTH: usize = 100;
/// Longer texts are no dates.
const MAX_DATE: usize = 64;

/// What cannot be read as a time stays as it is, like in Shopify's Liquid.
pub(super) fn date<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let format = call.argument_text(0)?;
    let Some(time) = read(call.input.as_view(), call.tools.now.fixed_offset()) else {
        return Ok(call.input);
    };
    if format.is_empty() {
        return Ok(call.input);
    }
    let mut written = String::new();
    write(time, &format, &mut Builder::new(&mut written, MAX_KEPT))?;
    made(Value::scalar(written))
}

fn read(value: &dyn ValueView, now: Time) -> Option<Time> {
    if !value.is_scalar() {
        return None;
    }
    let text = text(value).ok()?;
    if let Some(seconds) = number(value) {
        let seconds = match seconds {
            Number::Whole(seconds) => seconds,
            Number::Fraction(seconds) => seconds as i64,
        };
        return Some(DateTime::from_timestamp(seconds, 0)?.fixed_offset());
    }
    let text = text.trim();
    if text.len() > MAX_DATE {
        return None;
    }
    if ["now", "today"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
    {
        return Some(now);
    }
    read_text(text)
}

fn read_text(text: &str) -> Option<Time> {
    const WITH_OFFSET: [&str; 6] = [
        "%Y-%m-%d %H:%M:%S%.f %z",
        "%Y-%m-%dT%H:%M:%S%.f%z",
        "%d %B %Y %H:%M:%S %z",
        "%m/%d/%Y %H:%M:%S %z",
        "%a %b %d %H:%M:%S %Y %z",
        "%a %b %d %H:%M:%S %z %Y",
    ];
    const WITHOUT: [&str; 7] = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
        "%d %B %Y %H:%M:%S",
        "%m/%d/%Y %H:%M:%S",
        "%a %b %d %H:%M:%S %Y",
    ];
    const DATES: [&str; 5] = ["%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%d %B %Y", "%B %d, %Y"];
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let with_offset = || {
        WITH_OFFSET
            .iter()
            .find_map(|format| DateTime::parse_from_str(text, format).ok())
    };
    let without = || {
        WITHOUT
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
    };
    let date = || {
        let date = DATES
            .iter()
            .find_map(|format| NaiveDate::parse_from_str(text, format).ok());
        date.map(|date| date.and_time(NaiveTime::MIN))
    };
    DateTime::parse_from_rfc3339(text)
        .ok()
        .or_else(|| DateTime::parse_from_rfc2822(text).ok())
        .or_else(with_offset)
        .or_else(|| Some(without().or_else(date)?.and_utc().fixed_offset()))
}

/// How a directive is to be written.
#[derive(Clone, Copy)]
struct Style {
    /// Overrides what the directive pads with; `Some(None)` is no padding.
    pad: Option<Option<char>>,
    width: Option<usize>,
    upper: bool,
    swapped: bool,
}

fn write(time: Time, format: &str, out: &mut Builder<'_>) -> Made<()> {
    let mut rest = format;
    while let Some((before, directive)) = rest.split_once('%') {
        out.push(before)?;
        rest = directive;
        let mut style = Style {
            pad: None,
            width: None,
            upper: false,
            swapped: false,
        };
        let conversion = loop {
            let Some(c) = rest.chars().next() else {
                return Err("the format ends behind a `%`".to_owned());
            };
            rest = &rest[c.len_utf8()..];
            match c {
                '-' => style.pad = Some(None),
                '_' => style.pad = Some(Some(' ')),
                '0' if style.width.is_none() => style.pad = Some(Some('0')),
                '^' => style.upper = true,
                '#' => style.swapped = true,
                ':' if rest.starts_with('z') => {
                    rest = &rest[1..];
                    break ':';
                }
                '0'..='9' => {
                    let digit = c.to_digit(10).map_or(0, |digit| digit as usize);
                    let width = style.width.unwrap_or(0) * 10 + digit;
                    if width > MAX_WIDTH {
                        return Err(format!("a part of a date is at most {MAX_WIDTH} wide"));
                    }
                    style.width = Some(width);
                }
                c => break c,
            }
        };
        part(time, conversion, style, out)?;
    }
    out.push(rest)?;
    Ok(())
}

fn part(time: Time, conversion: char, style: Style, out: &mut Builder<'_>) -> Made<()> {
    let (is_afternoon, hour) = time.hour12();
    let week = |first_day: u32| (time.ordinal() + 6 - first_day) / 7;
    let from_sunday = time.weekday().num_days_from_sunday();
    let from_monday = time.weekday().num_days_from_monday();
    let iso = time.iso_week();
    let whole = |number: i64, width: usize| Part::Number(number, width, '0');
    let small = |number: u32, width: usize| Part::Number(i64::from(number), width, '0');
    let spaced = |number: u32, width: usize| Part::Number(i64::from(number), width, ' ');
    let part = match conversion {
        'Y' => whole(i64::from(time.year()), 1),
        'C' => whole(i64::from(time.year().div_euclid(100)), 2),
        'y' => whole(i64::from(time.year().rem_euclid(100)), 2),
        'm' => small(time.month(), 2),
        'd' => small(time.day(), 2),
        'e' => spaced(time.day(), 2),
        'j' => small(time.ordinal(), 3),
        'H' => small(time.hour(), 2),
        'k' => spaced(time.hour(), 2),
        'I' => small(hour, 2),
        'l' => spaced(hour, 2),
        'M' => small(time.minute(), 2),
        'S' => small(time.second(), 2),
        's' => whole(time.timestamp(), 1),
        'u' => small(from_monday + 1, 1),
        'w' => small(from_sunday, 1),
        'G' => whole(i64::from(iso.year()), 1),
        'g' => whole(i64::from(iso.year().rem_euclid(100)), 2),
        'V' => small(iso.week(), 2),
        'U' => small(week(from_sunday), 2),
        'W' => small(week(from_monday), 2),
        'B' => Part::Text(time.format("%B").to_string()),
        'b' | 'h' => Part::Text(time.format("%b").to_string()),
        'A' => Part::Text(time.format("%A").to_string()),
        'a' => Part::Text(time.format("%a").to_string()),
        'p' if style.swapped => Part::Text(if is_afternoon { "pm" } else { "am" }.to_owned()),
        'p' => Part::Text(if is_afternoon { "PM" } else { "AM" }.to_owned()),
        'P' => Part::Text(if is_afternoon { "pm" } else { "am" }.to_owned()),
        'L' | 'N' => {
            let digits = style.width.unwrap_or(if conversion == 'L' { 3 } else { 9 });
            // A leap second has more nanoseconds than the others.
            let nanoseconds = time.nanosecond() % 1_000_000_000;
            let all = format!("{nanoseconds:09}{}", "0".repeat(MAX_WIDTH));
            out.push(all.get(..digits).unwrap_or_default())?;
            return Ok(());
        }
        'z' => Part::Text(time.format("%z").to_string()),
        ':' => Part::Text(time.format("%:z").to_string()),
        'Z' if time.offset().local_minus_utc() == 0 => Part::Text("UTC".to_owned()),
        'Z' => Part::Text(time.format("%:z").to_string()),
        'F' => Part::Text(combined(time, "%Y-%m-%d")?),
        'D' | 'x' => Part::Text(combined(time, "%m/%d/%y")?),
        'T' | 'X' => Part::Text(combined(time, "%H:%M:%S")?),
        'R' => Part::Text(combined(time, "%H:%M")?),
        'r' => Part::Text(combined(time, "%I:%M:%S %p")?),
        'c' => Part::Text(combined(time, "%a %b %e %H:%M:%S %Y")?),
        'v' => Part::Text(combined(time, "%e-%^b-%Y")?),
        'n' => Part::Text("\n".to_owned()),
        't' => Part::Text("\t".to_owned()),
        '%' => Part::Text("%".to_owned()),
        other => {
            return Err(format!(
                "`%{other}` is no part of a date; for example `%Y-%m-%d %H:%M`"
            ));
        }
    };
    padded(part, style, out)
}

enum Part {
    Text(String),
    /// A number, how wide it is at least, and what fills it up.
    Number(i64, usize, char),
}

/// A directive that stands for several; none of these holds another such one.
fn combined(time: Time, format: &str) -> Made<String> {
    let mut text = String::new();
    write(time, format, &mut Builder::new(&mut text, MAX_KEPT))?;
    Ok(text)
}

fn padded(part: Part, style: Style, out: &mut Builder<'_>) -> Made<()> {
    let (mut text, width, fill) = match part {
        Part::Text(text) => (text, 0, ' '),
        Part::Number(number, width, fill) => (number.to_string(), width, fill),
    };
    if style.upper || style.swapped && text.chars().any(char::is_lowercase) && text.len() > 2 {
        text = text.to_uppercase();
    }
    let (fill, width) = match style.pad {
        Some(None) => (fill, 0),
        Some(Some(fill)) => (fill, style.width.unwrap_or(width)),
        None => (fill, style.width.unwrap_or(width)),
    };
    let missing = width.saturating_sub(text.chars().count());
    // Zeros stand behind the sign, spaces before it.
    let sign = if fill == '0' && text.starts_with('-') {
        "-"
    } else {
        ""
    };
    let fill: String = std::iter::repeat_n(fill, missing).collect();
    let rest = &text[sign.len()..];
    write!(out, "{sign}{fill}{rest}").map_err(|_| too_large())
}
