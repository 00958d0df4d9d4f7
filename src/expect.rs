//! What a scenario expects of a run, and whether it came true.
//!
//! Pure: fed with what happened, asked at the end. Counts add up, so shares of a run can be judged together.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::fault::matches;
use crate::scenario::units::Duration;

/// So many journeys are named where an expectation is not met.
const NAMED_JOURNEYS: usize = 10;

/// What is expected.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Of every answer.
    pub every: Every,
    /// How many callbacks of each outcome, or of all that a pattern fits.
    pub callbacks: Vec<(String, Counts)>,
}

/// What is expected of every answer to an attempt that was sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Every {
    /// Its status.
    pub status: Option<Statuses>,
    /// How long after it was due, in real time.
    pub within: Option<Duration>,
}

/// A status, or a hundred of them: `200`, `2xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statuses {
    from: u16,
    to: u16,
}

impl Statuses {
    fn holds(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl FromStr for Statuses {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix("xx").unwrap_or(text);
        // Rust's numbers may have a sign and zeros in front.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        match digits.parse() {
            Ok(class @ 1..=9) if plain && text.len() == 3 => Ok(Statuses {
                from: class * 100,
                to: class * 100 + 99,
            }),
            Ok(status @ 100..=999) if plain && text.len() == 3 => Ok(Statuses {
                from: status,
                to: status,
            }),
            _ => Err(format!(
                "`{text}` is not a status\nwrite one such as `200`, or a class such as `2xx`"
            )),
        }
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from == self.to {
            true => write!(f, "{}", self.from),
            false => write!(f, "{}xx", self.from / 100),
        }
    }
}

/// How many of something: `5`, `> 0`, `<= 10`, `950..1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    from: u64,
    to: u64,
}

impl Counts {
    fn holds(self, count: u64) -> bool {
        (self.from..=self.to).contains(&count)
    }
}

impl FromStr for Counts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a count\nwrite a number, a range such as `950..1000`, or one of `> 0`, `>= 5`, `< 10`, `<= 9`"
            )
        };
        let number = |text: &str| {
            let plain = !text.trim().starts_with('+');
            text.trim()
                .parse::<u64>()
                .ok()
                .filter(|_| plain)
                .ok_or_else(bad)
        };
        let range = |from, to| Ok(Counts { from, to });
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (number(from)?, number(to)?);
            return match from <= to {
                true => range(from, to),
                false => Err(format!(
                    "the range `{text}` ends before it begins\nwrite `{to}..{from}`"
                )),
            };
        }
        match text.trim() {
            text if text.starts_with(">=") => range(number(&text[2..])?, u64::MAX),
            text if text.starts_with("<=") => range(0, number(&text[2..])?),
            text if text.starts_with('>') => range(number(&text[1..])?.saturating_add(1), u64::MAX),
            text if text.starts_with('<') => match number(&text[1..])? {
                0 => Err("nothing is fewer than 0\nwrite `0` for none".to_owned()),
                n => range(0, n - 1),
            },
            text => {
                let exactly = number(text.strip_prefix('=').unwrap_or(text))?;
                range(exactly, exactly)
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (from, u64::MAX) => write!(f, ">= {from}"),
            (from, to) if from == to => write!(f, "{from}"),
            (0, to) => write!(f, "<= {to}"),
            (from, to) => write!(f, "{from}..{to}"),
        }
    }
}

macro_rules! number_or_text {
    ($type:ty, $name:literal, $what:literal, $pattern:literal, $smallest:literal, $largest:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl Visitor<'_> for Either {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $what,
                    "anyOf": [
                        {"type": "integer", "minimum": $smallest, "maximum": $largest},
                        {"type": "string", "pattern": $pattern},
                    ],
                })
            }
        }
    };
}

number_or_text!(
    Statuses,
    "Statuses",
    "a status such as `200`, or a class such as `2xx`",
    "^([1-9][0-9]{2}|[1-9]xx)$",
    100,
    999
);
number_or_text!(
    Counts,
    "Counts",
    "a count such as `5`, `> 0`, `<= 10` or `950..1000`",
    r"^(?!\s*<\s*0+\s*$)\s*((>=|<=|>|<|=)?\s*[0-9]+|[0-9]+\s*\.\.\s*[0-9]+)\s*$",
    0,
    u64::MAX
);

/// One expectation, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Expectation {
    /// What it is about: `every status`, `every within`, `callbacks OUTCOME`.
    pub name: String,
    /// What was expected.
    pub expected: String,
    /// What was seen instead, or as well.
    pub seen: String,
    /// Whether it came true; null for a share of a run, which cannot tell.
    pub met: Option<bool>,
    /// How many: callbacks of that outcome, or answers that were not as expected.
    pub count: u64,
    /// Up to ten journeys that are concerned, by number.
    pub journeys: Vec<u64>,
}

/// Counts what the expectations are about.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    expect: Expect,
    status: Tally,
    within: Tally,
    callbacks: Vec<Tally>,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    journeys: Vec<u64>,
    /// What was seen instead.
    seen: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, journey: u64) {
        self.count += 1;
        if self.journeys.len() < NAMED_JOURNEYS && !self.journeys.contains(&journey) {
            self.journeys.push(journey);
        }
    }
}

impl Judge {
    /// Nothing has happened yet.
    pub fn new(expect: Expect) -> Judge {
        Judge {
            callbacks: vec![Tally::default(); expect.callbacks.len()],
            expect,
            ..Judge::default()
        }
    }

    /// The delivery of a callback began; not of a copy of one.
    pub fn began(&mut self, outcome: &str, journey: u64) {
        for ((pattern, _), tally) in self.expect.callbacks.iter().zip(&mut self.callbacks) {
            if matches(pattern, outcome) {
                tally.add(journey);
            }
        }
    }

    /// A sound attempt was answered with a status, or failed for a reason; so long after it was due.
    pub fn answered(&mut self, answer: Result<u16, &str>, took: std::time::Duration, journey: u64) {
        let Every { status, within } = self.expect.every;
        if let Some(wanted) = status
            && !answer.is_ok_and(|status| wanted.holds(status))
        {
            self.status.add(journey);
            let seen = answer.map_or_else(str::to_owned, |status| status.to_string());
            *self.status.seen.entry(seen).or_default() += 1;
        }
        if within.is_some_and(|limit| took > limit.to_std()) {
            self.within.add(journey);
        }
    }

    /// What became of each. Of a `share` of a run, counts cannot be judged.
    pub fn verdicts(&self, share: bool) -> Vec<Expectation> {
        let mut list = Vec::new();
        let Every { status, within } = self.expect.every;
        let every = |name: &str, expected: String, tally: &Tally, seen: String| Expectation {
            name: format!("every {name}"),
            expected,
            seen,
            met: Some(tally.count == 0),
            count: tally.count,
            journeys: tally.journeys.clone(),
        };
        if let Some(status) = status {
            let others = self.status.seen.iter();
            let others: Vec<_> = others.map(|(seen, n)| format!("{seen} ×{n}")).collect();
            let seen = match others.is_empty() {
                true => status.to_string(),
                false => others.join(", "),
            };
            list.push(every("status", status.to_string(), &self.status, seen));
        }
        if let Some(limit) = within {
            let seen = match self.within.count {
                0 => "all".to_owned(),
                late => format!("{late} later"),
            };
            list.push(every("within", limit.to_string(), &self.within, seen));
        }
        for ((pattern, counts), tally) in self.expect.callbacks.iter().zip(&self.callbacks) {
            let met = counts.holds(tally.count);
            list.push(Expectation {
                name: format!("callbacks {pattern}"),
                expected: counts.to_string(),
                seen: tally.count.to_string(),
                met: (!share).then_some(met),
                count: tally.count,
                // Whether they matter, only the whole run can tell.
                journeys: match met && !share {
                    true => Vec::new(),
                    false => tally.journeys.clone(),
                },
            });
        }
        list
    }
}

/// Adds the expectations of another share of the run up, and judges what can be judged of the sum.
pub fn merge(into: &mut Expectation, other: &Expectation) {
    into.count = into.count.saturating_add(other.count);
    for journey in &other.journeys {
        if into.journeys.len() < NAMED_JOURNEYS && !into.journeys.contains(journey) {
            into.journeys.push(*journey);
        }
    }
    if into.name.starts_with("callbacks ") {
        into.seen = into.count.to_string();
    } else if other.met == Some(false) {
        into.seen = match (into.met, into.name.as_str()) {
            (_, "every within") => format!("{} later", into.count),
            (Some(false), _) => add_seen(&into.seen, &other.seen),
            _ => other.seen.clone(),
        };
        into.met = Some(false);
    }
}

/// `404 ×2, 500 ×1` and `404 ×1` are `404 ×3, 500 ×1`.
fn add_seen(one: &str, other: &str) -> String {
    let mut sum: BTreeMap<&str, u64> = BTreeMap::new();
    for seen in one.split(", ").chain(other.split(", ")) {
        let (what, times) = seen.rsplit_once(" ×").unwrap_or((seen, "1"));
        *sum.entry(what).or_default() += times.parse().unwrap_or(1);
    }
    let sum = sum.iter().map(|(what, times)| format!("{what} ×{times}"));
    sum.collect::<Vec<_>>().join(", ")
}

/// Judges the counts of a whole run that was added up from shares.
pub fn judge(expectation: &mut Expectation) {
    if expectation.name.starts_with("callbacks ")
        && let Ok(counts) = expectation.expected.parse::<Counts>()
    {
        let met = counts.holds(expectation.count);
        expectation.met = Some(met);
        if met {
            expectation.journeys.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_read_as_written_and_print_as_they_read() {
        for (text, few, many) in [
            ("> 0", 1, u64::MAX),
            (">= 5", 5, u64::MAX),
            ("< 10", 0, 9),
            ("<=9", 0, 9),
            ("950..1000", 950, 1000),
            ("7", 7, 7),
            ("= 7", 7, 7),
            ("0", 0, 0),
        ] {
            let counts: Counts = text.parse().unwrap_or(Counts { from: 99, to: 0 });
            assert_eq!((counts.from, counts.to), (few, many), "{text}");
            assert_eq!(counts.to_string().parse(), Ok(counts));
        }
        for bad in ["", "many", "-1", "+5", "> +5", "5..", "9..5", "< 0", "1.5"] {
            assert!(bad.parse::<Counts>().is_err(), "{bad}");
        }
    }

    #[test]
    fn statuses_read_as_written() {
        let two: Statuses = "2xx".parse().unwrap_or(Statuses { from: 1, to: 0 });
        assert!(two.holds(200) && two.holds(299) && !two.holds(300));
        assert_eq!("404".parse(), Ok(Statuses { from: 404, to: 404 }));
        for bad in [
            "xx", "0xx", "+2xx", "02xx", "20x", "99", "0200", "+200", "1000", "ok",
        ] {
            assert!(bad.parse::<Statuses>().is_err(), "{bad}");
        }
    }
}
