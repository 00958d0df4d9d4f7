//! `faults` and `expect` of a scenario file: their shapes, and what they come to.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::json;

use super::check::Checker;
use super::decode::{Entries, Spanned};
use super::finding::did_you_mean;
use super::units::{Delay, Duration, MILLISECOND, Percent, SECOND, Window};
use crate::expect::{Counts, Every, Expect};
use crate::fault::{Condition, FaultKind, FaultSpec, matches};
use crate::vibes::outcome::OUTCOMES;

/// A fault can be asked for `first` so many times at the most.
const MAX_FIRST: u64 = 1_000_000;

/// The most faults of a file; a callback keeps the number of its own in a byte.
pub const MAX_FAULTS: usize = 255;

/// What a real network, and a bad day, do to some of the callbacks. All conditions must hold; the first
/// fault of the list that strikes a callback is the only one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = belonging)]
pub struct Fault {
    /// What happens.
    pub fault: Spanned<FaultKind>,
    /// How many of those concerned, drawn by the seed: `2%`; all if absent.
    pub rate: Option<Percent>,
    /// Only the first so many of the run.
    #[schemars(with = "Option<u64>", range(min = 1, max = MAX_FIRST))]
    pub first: Option<Spanned<u64>>,
    /// Only those due in this time from the run's start: `30s..60s`.
    pub during: Option<Window>,
    /// Only those of which this holds: `outcome`, `event_type`, `journey`; `*` stands for any text.
    #[serde(default)]
    #[schemars(schema_with = "when_schema")]
    pub when: Entries<Spanned<String>, Spanned<String>>,
    /// With `delay`: how much later the callback comes.
    pub by: Option<Spanned<Delay>>,
    /// With `duplicate`: how long after the callback its copy is due; `0s..5s` if absent.
    pub after: Option<Spanned<Delay>>,
    /// With `reorder`: how long the journey's next callback is waited for; `10s` if absent.
    pub within: Option<Spanned<Duration>>,
    /// With `slow_body`: how long the body takes on the wire, in real time; `5s` if absent.
    pub over: Option<Spanned<Duration>>,
}

/// Which key belongs to which fault alone.
const BELONGING: [(&str, FaultKind); 4] = [
    ("by", FaultKind::Delay),
    ("after", FaultKind::Duplicate),
    ("within", FaultKind::Reorder),
    ("over", FaultKind::SlowBody),
];

/// The same as a schema, and that a delay must say by how much.
fn belonging(schema: &mut Schema) {
    let rules = BELONGING.map(|(key, kind)| {
        json!({
            "if": {"required": [key]},
            "then": {"properties": {"fault": {"const": kind}}},
        })
    });
    schema.insert("allOf".to_owned(), json!(rules));
    let delay =
        json!({"properties": {"fault": {"const": FaultKind::Delay}}, "required": ["fault"]});
    schema.insert("if".to_owned(), delay);
    schema.insert("then".to_owned(), json!({"required": ["by"]}));
}

/// The name of an outcome, or a pattern with a `*`.
fn outcome_pattern_schema() -> Schema {
    let names: Vec<_> = OUTCOMES.iter().map(|outcome| outcome.name).collect();
    json_schema!({"type": "string", "anyOf": [{"enum": names}, {"pattern": r"\*"}]})
}

fn callbacks_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": outcome_pattern_schema(),
        "additionalProperties": generator.subschema_for::<Counts>(),
    })
}

fn when_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Conditions that must all hold; `*` stands for any text.",
        "type": "object",
        "properties": {
            "outcome": outcome_pattern_schema(),
            "event_type": {"type": "string"},
            "journey": {"type": "string"},
        },
        "additionalProperties": false,
    })
}

/// What turns a run into a test.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectFile {
    /// Of every attempt that no fault has spoilt.
    #[serde(default)]
    pub every: Every,
    /// How many callbacks of an outcome there are, each counted once: `{carrier.rejected: "> 0"}`.
    #[serde(default)]
    #[schemars(schema_with = "callbacks_schema")]
    pub callbacks: Entries<Spanned<String>, Counts>,
}

impl Checker<'_> {
    pub(super) fn fault(
        &mut self,
        fault: Spanned<Fault>,
        journeys: &[String],
    ) -> Option<FaultSpec> {
        let fault = fault.value;
        let kind = fault.fault.value;
        self.keys_of_others(&fault);
        if kind == FaultKind::Delay && fault.by.is_none() && !self.partial {
            let message = "a delay must say by how much";
            self.error(&fault.fault.span, message, "add `by: 30s`");
        }
        if let Some(first) = &fault.first
            && !(1..=MAX_FIRST).contains(&first.value)
        {
            self.error(
                &first.span,
                format!("`first` is not between 1 and {MAX_FIRST}"),
                "leave it out for all of them",
            );
        }
        let mut when = Vec::new();
        for (key, pattern) in fault.when.0 {
            when.extend(self.condition(&key, pattern, journeys));
        }
        let delay = |given: Option<Spanned<Delay>>| given.map(|delay| delay.value);
        let fixed = |given: Option<Spanned<Duration>>, usual| {
            Delay::Fixed(given.map_or(Duration(usual), |length| length.value))
        };
        let usual_copy = Delay::Uniform(Duration(0), Duration(5 * SECOND));
        Some(FaultSpec {
            kind,
            rate: fault.rate.map_or(1.0, |percent| percent.0 / 100.0),
            first: fault.first.map(|first| first.value),
            during: fault.during.map(|window| (window.from.0, window.to.0)),
            when,
            time: match kind {
                FaultKind::Delay => delay(fault.by)?,
                FaultKind::Duplicate => delay(fault.after).unwrap_or(usual_copy),
                FaultKind::Reorder => fixed(fault.within, 10 * SECOND),
                FaultKind::SlowBody => fixed(fault.over, 5 * SECOND),
                _ => Delay::Fixed(Duration(MILLISECOND)),
            },
        })
    }

    /// What is said that says nothing about a fault of this kind.
    fn keys_of_others(&mut self, fault: &Fault) {
        let kind = fault.fault.value;
        let place = |key| match key {
            "by" => fault.by.as_ref().map(|by| &by.span),
            "after" => fault.after.as_ref().map(|after| &after.span),
            "within" => fault.within.as_ref().map(|within| &within.span),
            _ => fault.over.as_ref().map(|over| &over.span),
        };
        for (key, of) in BELONGING {
            if kind != of
                && let Some(span) = place(key)
            {
                self.error(
                    span,
                    format!("`{key}` says nothing about {kind}"),
                    format!("remove it; it belongs to `fault: {of}`"),
                );
            }
        }
    }

    fn condition(
        &mut self,
        key: &Spanned<String>,
        pattern: Spanned<String>,
        journeys: &[String],
    ) -> Option<Condition> {
        match key.value.as_str() {
            "outcome" => {
                self.outcome_pattern(&pattern);
                Some(Condition::Outcome(pattern.value))
            }
            "event_type" => Some(Condition::EventType(pattern.value)),
            "journey" => {
                let known = journeys.iter().any(|name| matches(&pattern.value, name));
                // A journey that is there and could not be read is a finding already.
                let unread = self.partial
                    && (pattern.value.contains('*') || self.is_written_journey(&pattern.value));
                if !known && !unread {
                    let help = match journeys.is_empty() {
                        true => "name one of your own under `journeys:`".to_owned(),
                        false => did_you_mean(&pattern.value, journeys.iter().map(String::as_str)),
                    };
                    let message = format!("no journey is called `{}`", pattern.value);
                    self.error(&pattern.span, message, help);
                }
                Some(Condition::Journey(pattern.value))
            }
            other => {
                let help = did_you_mean(other, ["outcome", "event_type", "journey"]);
                self.error(&key.span, format!("unknown condition `{other}`"), help);
                None
            }
        }
    }

    fn outcome_pattern(&mut self, pattern: &Spanned<String>) {
        let names = || OUTCOMES.iter().map(|outcome| outcome.name);
        if !names().any(|name| matches(&pattern.value, name)) {
            let (message, help) = match pattern.value.contains('*') {
                true => (
                    format!("no outcome fits `{}`", pattern.value),
                    "`vibes-mock catalog` lists the outcomes; `*` stands for any text".to_owned(),
                ),
                false => (
                    format!("no outcome is called `{}`", pattern.value),
                    did_you_mean(&pattern.value, names()),
                ),
            };
            self.error(&pattern.span, message, help);
        }
    }

    pub(super) fn expect(&mut self, expect: ExpectFile) -> Expect {
        for (pattern, _) in &expect.callbacks.0 {
            self.outcome_pattern(pattern);
        }
        let callbacks = expect.callbacks.0.into_iter();
        Expect {
            every: expect.every,
            callbacks: callbacks
                .map(|(pattern, counts)| (pattern.value, counts))
                .collect(),
        }
    }
}
