//! `faults` and `expect` of a scenario file: their shapes, and what they come to.

use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Checker;
use super::decode::{Entries, Spanned};
use super::finding::did_you_mean;
use super::units::{Delay, Duration, MILLISECOND, Percent, SECOND, Window};
use crate::expect::{Counts, Every, Expect};
use crate::fault::{Condition, FaultKind, FaultSpec, matches};
use crate::vibes::outcome::OUTCOMES;

/// A fault can be asked for `first` so many times at the most.
const MAX_FIRST: u64 = 1_000_000;

/// What a real network, and a bad day, do to some of the callbacks. All conditions must hold; the first
/// fault of the list that strikes a callback is the only one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
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
    pub by: Option<Delay>,
    /// With `duplicate`: how long after the callback its copy is due; `0s..5s` if absent.
    pub after: Option<Delay>,
    /// With `reorder`: how long the journey's next callback is waited for; `10s` if absent.
    pub within: Option<Duration>,
    /// With `slow_body`: how long the body takes on the wire, in real time; `5s` if absent.
    pub over: Option<Duration>,
}

fn when_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "description": "Conditions that must all hold; `*` stands for any text.",
        "type": "object",
        "properties": {
            "outcome": {"type": "string"},
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
    /// Of every answer to an attempt without a fault.
    #[serde(default)]
    pub every: Every,
    /// How many callbacks of an outcome there are, each counted once: `{carrier.rejected: "> 0"}`.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, Counts>")]
    pub callbacks: Entries<Spanned<String>, Counts>,
}

impl Checker<'_> {
    pub(super) fn fault(
        &mut self,
        fault: Spanned<Fault>,
        journeys: &[String],
    ) -> Option<FaultSpec> {
        let Spanned { value: fault, span } = fault;
        let kind = fault.fault.value;
        let given = [
            ("by", fault.by.is_some(), FaultKind::Delay),
            ("after", fault.after.is_some(), FaultKind::Duplicate),
            ("within", fault.within.is_some(), FaultKind::Reorder),
            ("over", fault.over.is_some(), FaultKind::SlowBody),
        ];
        for (key, given, of) in given {
            if given && kind != of {
                self.error(
                    &span,
                    format!("`{key}` says nothing about {kind}"),
                    format!("remove it; it belongs to `fault: {of}`"),
                );
            }
        }
        if kind == FaultKind::Delay && fault.by.is_none() {
            self.error(&span, "a delay must say by how much", "add `by: 30s`");
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
        let fixed =
            |length: Option<Duration>, usual| Delay::Fixed(length.unwrap_or(Duration(usual)));
        Some(FaultSpec {
            kind,
            rate: fault.rate.map_or(1.0, |percent| percent.0 / 100.0),
            first: fault.first.map(|first| first.value),
            during: fault.during.map(|window| (window.from.0, window.to.0)),
            when,
            time: match kind {
                FaultKind::Delay => fault.by?,
                FaultKind::Duplicate => fault
                    .after
                    .unwrap_or(Delay::Uniform(Duration(0), Duration(5 * SECOND))),
                FaultKind::Reorder => fixed(fault.within, 10 * SECOND),
                FaultKind::SlowBody => fixed(fault.over, 5 * SECOND),
                _ => Delay::Fixed(Duration(MILLISECOND)),
            },
        })
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
                if !journeys.iter().any(|name| matches(&pattern.value, name)) {
                    let help = did_you_mean(&pattern.value, journeys.iter().map(String::as_str));
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
            let help = did_you_mean(&pattern.value, names());
            let message = format!("no outcome is called `{}`", pattern.value);
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
