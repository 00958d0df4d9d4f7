//! Durations, delays and rates as people write them: `250ms`, `1s..3s`, `{median: 2s, p99: 30s}`, `50/s`.
//!
//! Everything is whole nanoseconds or `f64` events a second. How a delay is drawn is for
//! [`journey`](crate::journey) to say.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// The longest duration that a file or an option may name: 366 days.
pub const MAX_DURATION: u64 = 366 * 24 * 3600 * SECOND;

/// A length of time in nanoseconds, at most [`MAX_DURATION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub u64);

impl Duration {
    /// For the standard library's clocks.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0)
    }
}

impl FromStr for Duration {
    type Err = String;

    /// # Errors
    ///
    /// What is wrong and, after a line break, what a duration looks like.
    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str = "write a number and a unit: `250ms`, `2s`, `5m`, `48h`";
        let bad = || format!("`{text}` is not a duration\n{HOW}");
        let unit_at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(bad)?;
        let (number, unit) = text.split_at(unit_at);
        let scale = match unit {
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return Err(bad()),
        };
        if !is_decimal(number) {
            return Err(bad());
        }
        let nanos = number.parse::<f64>().map_err(|_| bad())? * scale as f64;
        if nanos > MAX_DURATION as f64 {
            return Err(format!("`{text}` is longer than 366 days\n{HOW}"));
        }
        Ok(Duration(nanos.round() as u64))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = match self.0 {
            n if n % (3600 * SECOND) == 0 && n > 0 => (n as f64 / (3600 * SECOND) as f64, "h"),
            n if n % (60 * SECOND) == 0 && n > 0 => (n as f64 / (60 * SECOND) as f64, "m"),
            n if n >= SECOND || n == 0 => (n as f64 / SECOND as f64, "s"),
            n => (n as f64 / MILLISECOND as f64, "ms"),
        };
        write!(f, "{number}{unit}")
    }
}

/// Digits, with at most one point between them.
fn is_decimal(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(fraction)
}

const DURATION_PATTERN: &str = r"[0-9]+(\.[0-9]+)?(ms|s|m|h)";

impl JsonSchema for Duration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: `250ms`, `2s`, `5m`, `48h`; at most 366 days.",
            "type": "string",
            "pattern": format!("^{DURATION_PATTERN}$"),
        })
    }
}

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always as long.
    Fixed(Duration),
    /// Anything from the first to the second, each as likely.
    Uniform(Duration, Duration),
    /// Log-normal, as waiting times of networks and handsets are: half are below the median, one in a
    /// hundred is above the p99.
    LogNormal {
        /// Half are below.
        median: Duration,
        /// One in a hundred is above.
        p99: Duration,
    },
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((from, to)) = text.split_once("..") else {
            return text.parse().map(Delay::Fixed);
        };
        let (from, to): (Duration, Duration) = (from.trim().parse()?, to.trim().parse()?);
        if from > to {
            return Err(format!(
                "the range `{text}` ends before it begins\nwrite `{to}..{from}`"
            ));
        }
        Ok(Delay::Uniform(from, to))
    }
}

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct LogNormal {
            median: Duration,
            p99: Duration,
        }
        struct DelayVisitor;
        impl<'de> Visitor<'de> for DelayVisitor {
            type Value = Delay;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a delay such as `2s`, `1s..3s` or `{median: 2s, p99: 30s}`")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Delay, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Delay, A::Error> {
                let LogNormal { median, p99 } =
                    Deserialize::deserialize(de::value::MapAccessDeserializer::new(map))?;
                if p99 < median {
                    return Err(de::Error::custom(format!(
                        "the p99 {p99} is below the median {median}\nswap them"
                    )));
                }
                if median.0 == 0 {
                    return Err(de::Error::custom(
                        "a median of zero leaves nothing to spread\nwrite `0s` for no delay",
                    ));
                }
                Ok(Delay::LogNormal { median, p99 })
            }
        }
        deserializer.deserialize_any(DelayVisitor)
    }
}

impl JsonSchema for Delay {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Delay".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let duration = generator.subschema_for::<Duration>();
        json_schema!({
            "description": "How long something takes: `2s`; `1s..3s`, each length as likely; \
                            or log-normal by `median` and `p99`.",
            "anyOf": [
                {
                    "type": "string",
                    "pattern": format!(r"^({DURATION_PATTERN}|\s*{DURATION_PATTERN}\s*\.\.\s*{DURATION_PATTERN}\s*)$"),
                },
                {
                    "type": "object",
                    "properties": {"median": duration, "p99": duration},
                    "required": ["median", "p99"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// Events a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate(pub f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a rate\nwrite a number above zero and a unit: `50/s`, `30/m`, `10/h`"
            )
        };
        let (number, unit) = text.split_once('/').ok_or_else(bad)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        let number = number.trim();
        if !is_decimal(number) {
            return Err(bad());
        }
        let rate = number.parse::<f64>().map_err(|_| bad())? / seconds;
        if !(rate > 0.0 && rate <= 10_000_000.0) {
            return Err(bad());
        }
        Ok(Rate(rate))
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Events in a second, minute or hour: `50/s`, `30/m`, `10/h`.",
            "type": "string",
            "pattern": r"^(?=.*[1-9].*/)[0-9]+(\.[0-9]+)? */ *[smh]$",
        })
    }
}

/// A part of a hundred: `2%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("`{text}` is not a rate of faults\nwrite one above 0% up to 100%: `2%`, `0.5%`")
        };
        let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(bad)?;
        let percent = number.parse::<f64>().map_err(|_| bad())?;
        match is_decimal(number) && percent > 0.0 && percent <= 100.0 {
            true => Ok(Percent(percent)),
            false => Err(bad()),
        }
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Percent".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A part of a hundred: `2%`, `0.5%`.",
            "type": "string",
            "pattern": r"^(?=.*[1-9])0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%$",
        })
    }
}

/// A part of the run: `30s..60s` from its start, the end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From then,
    pub from: Duration,
    /// up to then.
    pub to: Duration,
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            Delay::Uniform(from, to) if from < to => Ok(Window { from, to }),
            Delay::Uniform(..) => Err(format!(
                "the time `{text}` has no length\nlet it end later than it begins, such as `30s..60s`"
            )),
            _ => Err(format!(
                "`{text}` is not a time of the run\nwrite from when to when: `30s..60s`"
            )),
        }
    }
}

impl JsonSchema for Window {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Window".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A time of the run, from its start: `30s..60s`.",
            "type": "string",
            "pattern": format!(r"^\s*{DURATION_PATTERN}\s*\.\.\s*{DURATION_PATTERN}\s*$"),
        })
    }
}

/// What to do about attempts that failed for a passing reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts beside the first.
    pub retries: u32,
    /// From a failure to the next attempt, on the run's clock.
    pub wait: Duration,
}

impl RetryPolicy {
    /// What the older developer wiki says of Vibes: every five minutes, at most five times.
    pub const VIBES: RetryPolicy = RetryPolicy {
        retries: 5,
        wait: Duration(300 * SECOND),
    };
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy::VIBES
    }
}

impl FromStr for RetryPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const HOW: &str =
            "write `vibes`, `none`, or a number of retries and the wait between them: `5x10s`";
        match text {
            "vibes" => Ok(RetryPolicy::VIBES),
            "none" => Ok(RetryPolicy {
                retries: 0,
                ..RetryPolicy::VIBES
            }),
            _ => {
                let bad = || format!("`{text}` is not a retry policy\n{HOW}");
                let (retries, wait) = text.split_once('x').ok_or_else(bad)?;
                let retries: u32 = retries.parse().map_err(|_| bad())?;
                if retries > 1000 {
                    return Err(format!("`{text}` retries more than 1000 times\n{HOW}"));
                }
                Ok(RetryPolicy {
                    retries,
                    wait: wait.parse()?,
                })
            }
        }
    }
}

impl JsonSchema for RetryPolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryPolicy".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`vibes` (five retries, five minutes apart), `none`, or `5x10s`.",
            "type": "string",
            "pattern": format!("^(vibes|none|[0-9]{{1,4}}x{DURATION_PATTERN})$"),
        })
    }
}

macro_rules! from_text {
    ($($type:ty: $expected:literal),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;
                impl Visitor<'_> for TextVisitor {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(TextVisitor)
            }
        }
    )*};
}

from_text!(
    Duration: "a duration such as `250ms`, `2s`, `5m` or `48h`",
    Rate: "a rate such as `50/s`",
    Percent: "a part of a hundred such as `2%`",
    Window: "a time of the run such as `30s..60s`",
    RetryPolicy: "`vibes`, `none` or a policy such as `5x10s`"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        let nanos = |text: &str| text.parse::<Duration>().map(|d| d.0);
        assert_eq!(nanos("250ms"), Ok(250 * MILLISECOND));
        assert_eq!(nanos("1.5s"), Ok(1500 * MILLISECOND));
        assert_eq!(nanos("48h"), Ok(48 * 3600 * SECOND));
        for bad in [
            "",
            "5",
            "s",
            "-5s",
            "1e3s",
            "5 s",
            "5d",
            ".5s",
            "5.s",
            "NaNs",
            "99999999999999999999h",
            "10000h",
        ] {
            assert!(nanos(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_print_as_they_read() {
        for text in ["0s", "250ms", "1.5s", "90s", "5m", "48h"] {
            let duration: Duration = text.parse().expect(text);
            let again: Duration = duration.to_string().parse().expect(text);
            assert_eq!(duration, again);
        }
        assert_eq!(Duration(90 * SECOND).to_string(), "90s");
    }

    #[test]
    fn ranges_run_forwards() {
        assert!("1s..3s".parse::<Delay>().is_ok());
        assert!("3s..1s".parse::<Delay>().is_err());
        assert!("1s..".parse::<Delay>().is_err());
    }

    #[test]
    fn policies_and_rates() {
        assert_eq!(
            "5x10s".parse(),
            Ok(RetryPolicy {
                retries: 5,
                wait: Duration(10 * SECOND)
            })
        );
        assert!("x10s".parse::<RetryPolicy>().is_err());
        assert_eq!("30/m".parse(), Ok(Rate(0.5)));
        for bad in ["0/s", "-1/s", "NaN/s", "inf/s", "5", "5/d", "99999999/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }
}
