//! A scenario file as it is written: the types that files are read into and the JSON Schema is made of.
//!
//! Only the shape is said here. What it means, and whether it makes sense, is for
//! `check` to say.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::decode::{AnyNode, Entries, Spanned};
use super::faults::{ExpectFile, Fault, MAX_FAULTS};
use super::units::{Delay, Duration, Rate, RetryPolicy};
use crate::vibes::callback::{DlrLinks, TopEventType};
use crate::vibes::outcome::{MessageType, OUTCOMES, Outcome, Stage, Status};
use crate::vibes::registration::{CallbacksToSend, ContentType, Method};

/// The most events that one entry of `events` may make up.
pub const MAX_COUNT: u64 = 10_000_000;

/// A vibes-mock scenario: which events there are, which way each goes, and where the callbacks are sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "vibes-mock scenario")]
pub struct File {
    /// What the scenario is, in a line.
    pub scenario: Option<String>,
    /// Every random choice comes from it; fresh, and printed, if absent.
    pub seed: Option<u64>,
    /// The customer's key, part of every link in the bodies.
    pub company_key: Option<Spanned<String>>,
    /// Where callbacks go.
    pub destination: Option<Destination>,
    /// Named ways an event can go.
    #[serde(default)]
    pub journeys: Entries<Spanned<String>, Journey>,
    /// What `run` makes up.
    #[serde(default)]
    pub events: Vec<Spanned<Event>>,
    /// How `serve` answers events posted to it; the first match wins.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// What a real network, and a bad day, do to some of the callbacks.
    #[serde(default)]
    #[schemars(length(max = MAX_FAULTS))]
    pub faults: Vec<Spanned<Fault>>,
    /// What turns a run into a test.
    #[serde(default)]
    pub expect: ExpectFile,

    /// Which success of a message in parts calls back.
    pub multipart_success: Option<MultipartSuccess>,
    /// Which link a delivery receipt gives to its campaign and person.
    pub dlr_links: Option<DlrLinks>,
    /// What the body's top-level `event_type` says.
    pub top_event_type: Option<TopEventType>,
    /// A `status` other than the usual one for an outcome: `{handset.unknown: processing}`.
    #[serde(default)]
    #[schemars(schema_with = "statuses_schema")]
    pub statuses: Entries<Spanned<String>, Status>,
    /// What to do about attempts that failed for a passing reason.
    pub retry: Option<RetryPolicy>,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// When a destination counts as down, and for how long it is then left alone.
    pub downed: Option<Spanned<Downed>>,

    /// What `serve` does with an `event_id` that it has seen.
    pub duplicate_event_id: Option<DuplicateEventId>,
    /// Whether `serve` answers 429 past the platform's limits.
    pub enforce_limits: Option<bool>,
    /// What `serve` does with an event that no campaign and no route takes.
    pub routing: Option<RoutingMode>,
}

/// Which success of a message in parts calls back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MultipartSuccess {
    /// That of the highest-numbered part that succeeded.
    #[default]
    LastSent,
    /// That of the message's last part, if that part succeeded; else none.
    LastPart,
}

/// When a destination counts as down, and for how long it is then left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Downed {
    /// After so many passing failures in a row.
    #[schemars(range(min = 1))]
    pub after: u32,
    /// For so long, on the run's clock.
    pub pause: Duration,
}

/// What `serve` does with an `event_id` that it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DuplicateEventId {
    /// Takes it as another event.
    Accept,
    /// Answers 409.
    Reject,
}

/// What `serve` does with an event that no campaign and no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoutingMode {
    /// Lets it have a good day.
    Lenient,
    /// Answers with `routing.no_route_rules`, as the platform does.
    Strict,
}

/// Where callbacks go; the same shape as a registration of the Callback API.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// An `http://` or `https://` URL of at most 1,024 characters; `user:password@` in it becomes an
    /// `Authorization` header.
    pub url: Option<Spanned<String>>,
    /// `POST` or `PUT`.
    #[serde(default)]
    pub method: Method,
    /// The callbacks' content type.
    #[serde(default)]
    pub content_type: ContentType,
    /// Headers added to each request.
    #[serde(default)]
    pub headers: Entries<Spanned<String>, Spanned<String>>,
    /// Only callbacks about events of this type.
    pub event_type: Option<String>,
    /// Only these callbacks.
    #[serde(default)]
    pub callbacks_to_send: CallbacksToSend,
}

/// One way an event can go. What is left out is what happens on a good day.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journey {
    /// The message that the event becomes.
    pub message: Option<Message>,
    /// What routing comes to.
    pub routing: Option<Spanned<Step<RoutingStage>>>,
    /// What processing comes to.
    pub processing: Option<Spanned<Step<ProcessingStage>>>,
    /// What the carrier does with the parts.
    pub carrier: Option<Spanned<Receipts<CarrierStage>>>,
    /// What becomes of the parts on the way to the handset.
    pub handset: Option<Spanned<Receipts<HandsetStage>>>,
    /// `allowed` lets a journey be what the platform could not produce.
    pub impossible: Option<Impossible>,
}

/// Lets a journey be what the platform could not produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Impossible {
    /// On purpose.
    Allowed,
}

/// The message that an event becomes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// `sms` or `mms`.
    #[serde(rename = "type", default)]
    pub message_type: MessageType,
    /// The text, perhaps a Liquid template; that of an SMS is really split into parts.
    pub text: Option<Spanned<String>>,
    /// The campaign's id; one for each event type if absent.
    pub event_triggered_message_id: Option<u32>,
}

/// Tells the types of the four stages apart, so that each knows its own outcomes.
pub trait AtStage {
    /// The stage.
    const STAGE: Stage;
}

macro_rules! stages {
    ($($name:ident = $stage:ident),*) => {$(
        #[doc = concat!("The ", stringify!($stage), " stage.")]
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
        impl AtStage for $name {
            const STAGE: Stage = Stage::$stage;
        }
    )*};
}
stages!(
    RoutingStage = Routing,
    ProcessingStage = Processing,
    CarrierStage = Carrier,
    HandsetStage = Handset
);

/// An outcome of a stage, with what may be said about it: `rejected` or `{rejected: {error_code: 23}}`.
#[derive(Clone, Debug)]
pub struct Step<S> {
    /// What happens.
    pub outcome: &'static Outcome,
    /// The details.
    pub options: StepOptions,
    stage: PhantomData<S>,
}

/// What may be said about an outcome.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepOptions {
    /// The failed receipt's error code; 23 if absent.
    pub error_code: Option<u32>,
    /// How long after the stage before.
    pub after: Option<Delay>,
}

impl<S> Step<S> {
    fn new(outcome: &'static Outcome, options: StepOptions) -> Self {
        Step {
            outcome,
            options,
            stage: PhantomData,
        }
    }
}

fn one_outcome<E: de::Error>() -> E {
    E::custom("here stands exactly one outcome\nwrite `{rejected: {error_code: 23}}`, say")
}

fn outcome_at<E: de::Error>(stage: Stage, short: &str) -> Result<&'static Outcome, E> {
    Outcome::at(stage, short).ok_or_else(|| {
        let names = Outcome::of(stage).map(|outcome| outcome.short);
        E::custom(format!(
            "{stage} has no outcome `{short}`\n{}",
            super::finding::did_you_mean(short, names)
        ))
    })
}

impl<'de, S: AtStage> Deserialize<'de> for Step<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor<S>(PhantomData<S>);
        impl<'de, S: AtStage> Visitor<'de> for StepVisitor<S> {
            type Value = Step<S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Outcome::good_day(S::STAGE).short;
                write!(
                    f,
                    "an outcome of {} such as `{name}` or `{{{name}: {{after: 2s}}}}`",
                    S::STAGE
                )
            }
            fn visit_str<E: de::Error>(self, short: &str) -> Result<Step<S>, E> {
                Ok(Step::new(
                    outcome_at(S::STAGE, short)?,
                    StepOptions::default(),
                ))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Step<S>, A::Error> {
                let short: String = map.next_key()?.ok_or_else(one_outcome)?;
                let step = Step::new(outcome_at(S::STAGE, &short)?, map.next_value()?);
                match map.next_key::<String>()? {
                    None => Ok(step),
                    Some(_) => Err(one_outcome()),
                }
            }
        }
        deserializer.deserialize_any(StepVisitor(PhantomData))
    }
}

fn names_of(stage: Stage) -> Vec<&'static str> {
    Outcome::of(stage).map(|outcome| outcome.short).collect()
}

impl<S: AtStage> JsonSchema for Step<S> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}_outcome", S::STAGE).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let after = generator.subschema_for::<Delay>();
        let options = |outcome: &Outcome| {
            let mut properties = serde_json::json!({"after": after});
            if outcome.stage.is_receipt() {
                properties["error_code"] = serde_json::json!({
                    "description": "The failed receipt's error code; 23 if absent.",
                    "type": "integer", "minimum": 0, "maximum": u32::MAX,
                });
            }
            serde_json::json!({"type": "object", "properties": properties, "additionalProperties": false})
        };
        let detailed: serde_json::Map<_, _> = Outcome::of(S::STAGE)
            .map(|outcome| (outcome.short.to_owned(), options(outcome)))
            .collect();
        json_schema!({
            "description": format!("An outcome of {}, with details where wanted.", S::STAGE),
            "anyOf": [
                {"enum": names_of(S::STAGE)},
                {
                    "type": "object",
                    "properties": detailed,
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
        })
    }
}

/// What happens at the carrier or the handset: one outcome for all parts, or a map.
#[derive(Clone, Debug)]
pub struct Receipts<S> {
    /// For each part that `parts` does not name.
    pub default: Option<Spanned<Step<S>>>,
    /// For single parts, numbered from 1.
    pub parts: Vec<(Spanned<u8>, Spanned<Step<S>>)>,
    /// Statuses on the way to the final one.
    pub before: Vec<Spanned<Step<S>>>,
    /// How long after the stage before.
    pub after: Option<Delay>,
}

impl<'de, S: AtStage> Deserialize<'de> for Receipts<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const KEYS: [&str; 4] = ["default", "parts", "before", "after"];
        struct ReceiptsVisitor<S>(PhantomData<S>);
        impl<'de, S: AtStage> Visitor<'de> for ReceiptsVisitor<S> {
            type Value = Receipts<S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "an outcome of {} or a map of `default`, `parts`, `before` and `after`",
                    S::STAGE
                )
            }
            fn visit_str<E: de::Error>(self, short: &str) -> Result<Receipts<S>, E> {
                let outcome = outcome_at(S::STAGE, short)?;
                Ok(Receipts::all(Step::new(outcome, StepOptions::default())))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Receipts<S>, A::Error> {
                let mut receipts = Receipts {
                    default: None,
                    parts: Vec::new(),
                    before: Vec::new(),
                    after: None,
                };
                let mut first = true;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "default" => receipts.default = Some(map.next_value()?),
                        "parts" => receipts.parts = map.next_value::<Entries<_, _>>()?.0,
                        "before" => receipts.before = map.next_value()?,
                        "after" => receipts.after = Some(map.next_value()?),
                        short => match Outcome::at(S::STAGE, short) {
                            // One outcome with its details, for all parts.
                            Some(outcome) if first => {
                                let step = Step::new(outcome, map.next_value()?);
                                return match map.next_key::<String>()? {
                                    None => Ok(Receipts::all(step)),
                                    Some(_) => Err(one_outcome()),
                                };
                            }
                            Some(_) => {
                                return Err(de::Error::custom(format!(
                                    "`{short}` cannot stand beside {}\nput it under `default:`",
                                    KEYS.map(|key| format!("`{key}`")).join(", ")
                                )));
                            }
                            None => {
                                let known = KEYS.into_iter().chain(names_of(S::STAGE));
                                return Err(de::Error::custom(format!(
                                    "unknown key `{short}`\n{}",
                                    super::finding::did_you_mean(short, known)
                                )));
                            }
                        },
                    }
                    first = false;
                }
                Ok(receipts)
            }
        }
        deserializer.deserialize_any(ReceiptsVisitor(PhantomData))
    }
}

impl<S> Receipts<S> {
    /// The same for all parts.
    fn all(step: Step<S>) -> Self {
        Receipts {
            default: Some(Spanned {
                value: step,
                span: 0..0,
            }),
            parts: Vec::new(),
            before: Vec::new(),
            after: None,
        }
    }
}

impl<S: AtStage> JsonSchema for Receipts<S> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("{}_receipts", S::STAGE).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let step = generator.subschema_for::<Step<S>>();
        let after = generator.subschema_for::<Delay>();
        json_schema!({
            "description": format!("One outcome of {} for all parts, or part by part.", S::STAGE),
            "anyOf": [
                step,
                {
                    "type": "object",
                    "properties": {
                        "default": step,
                        "parts": {
                            "description": "Part number, from 1, to what happens to it.",
                            "type": "object",
                            "patternProperties": {
                                "^([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])$": step,
                            },
                            "additionalProperties": false,
                        },
                        "before": {
                            "description": "Statuses on the way to the final one, in order.",
                            "type": "array",
                            "items": {"enum": names_of(S::STAGE)},
                        },
                        "after": after,
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// Events that `run` makes up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Letters, digits, `-` and `_`, perhaps from a template.
    pub event_type: Spanned<String>,
    /// How many.
    #[schemars(with = "Option<u64>", range(min = 1, max = MAX_COUNT))]
    pub count: Option<Spanned<u64>>,
    /// When they come; all at once if absent.
    pub arrivals: Option<Spanned<Arrivals>>,
    /// The event's own id; made up if absent.
    pub event_id: Option<Spanned<String>>,
    /// Any JSON object, texts perhaps templates; one `external_person_id` if absent.
    #[schemars(with = "Option<std::collections::BTreeMap<String, AnyNode>>")]
    pub event_data: Option<AnyNode>,
    /// Any JSON object, texts perhaps templates.
    #[schemars(with = "Option<std::collections::BTreeMap<String, AnyNode>>")]
    pub debug_data: Option<AnyNode>,
    /// Which way the events go: a journey's name, or weights of several. A good day if absent.
    pub journey: Option<Spanned<JourneyChoice>>,
}

/// When events come.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Evenly.
    Rate(Rate),
    /// From one rate to another within a time, then on at the second.
    Ramp {
        /// At first.
        from: Rate,
        /// In the end.
        to: Rate,
        /// How long the change takes.
        over: Duration,
    },
    /// At random, each independent of the others.
    Poisson(Rate),
    /// At the instants of a cron expression (with seconds), in UTC on the run's clock.
    Cron(Box<croner::Cron>),
}

impl<'de> Deserialize<'de> for Arrivals {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            rate: Option<Rate>,
            to: Option<Rate>,
            over: Option<Duration>,
            poisson: Option<Rate>,
            cron: Option<String>,
        }
        let full = Full::deserialize(deserializer)?;
        match (full.rate, full.to, full.over, full.poisson, full.cron) {
            (Some(rate), None, None, None, None) => Ok(Arrivals::Rate(rate)),
            (Some(from), Some(to), Some(over), None, None) if over.0 > 0 => {
                Ok(Arrivals::Ramp { from, to, over })
            }
            (None, None, None, Some(rate), None) => Ok(Arrivals::Poisson(rate)),
            (None, None, None, None, Some(cron)) => parse_cron(&cron).map_err(de::Error::custom),
            _ => Err(de::Error::custom(
                "this is not one way of arriving\nwrite `{rate: 50/s}`, `{rate: 10/s, to: 500/s, over: 30s}`, \
                 `{poisson: 50/s}` or `{cron: \"0 */5 * * * *\"}`",
            )),
        }
    }
}

fn parse_cron(text: &str) -> Result<Arrivals, String> {
    let fields = text.split_whitespace().count();
    let parsed = croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Required)
        .dom_and_dow(true)
        .build()
        .parse(text);
    match parsed {
        Ok(cron) => Ok(Arrivals::Cron(Box::new(cron))),
        Err(_) if fields == 5 => Err(format!(
            "`{text}` has no field for the seconds\nput one before it: `0 {text}`"
        )),
        Err(error) => Err(format!(
            "`{text}` is not a cron expression: {error}\nwrite second, minute, hour, day, month, weekday: `0 */5 * * * *`"
        )),
    }
}

impl JsonSchema for Arrivals {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Arrivals".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        let over = generator.subschema_for::<Duration>();
        let only = |properties: serde_json::Value, required: &[&str]| {
            serde_json::json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            })
        };
        json_schema!({
            "description": "When events come: evenly, in a ramp, at random, or by a cron expression with seconds.",
            "anyOf": [
                only(serde_json::json!({"rate": rate}), &["rate"]),
                only(serde_json::json!({"rate": rate, "to": rate, "over": over}), &["rate", "to", "over"]),
                only(serde_json::json!({"poisson": rate}), &["poisson"]),
                only(serde_json::json!({"cron": {"type": "string"}}), &["cron"]),
            ],
        })
    }
}

/// Which way an event goes: a journey's name, or several with their weights.
#[derive(Clone, Debug)]
pub struct JourneyChoice(pub Vec<(Spanned<String>, Spanned<f64>)>);

impl<'de> Deserialize<'de> for JourneyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChoiceVisitor;
        impl<'de> Visitor<'de> for ChoiceVisitor {
            type Value = JourneyChoice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a journey's name, or weights such as `{delivered: 95, rejected: 5}`")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<JourneyChoice, E> {
                // An empty place: the finding belongs to the whole value.
                let name = Spanned {
                    value: name.to_owned(),
                    span: 0..0,
                };
                let weight = Spanned {
                    value: 1.0,
                    span: 0..0,
                };
                Ok(JourneyChoice(vec![(name, weight)]))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JourneyChoice, A::Error> {
                let mut choices = Vec::new();
                while let Some(choice) = map.next_entry()? {
                    choices.push(choice);
                }
                Ok(JourneyChoice(choices))
            }
        }
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

impl JsonSchema for JourneyChoice {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "JourneyChoice".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Which way an event goes: a journey's name, or weights of several.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
                    "minProperties": 1,
                },
            ],
        })
    }
}

/// How `serve` answers events posted to it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Conditions that must all hold: `event_type`, `event_data.KEY`, `debug_data.KEY`; `*` stands for
    /// any text.
    #[serde(default)]
    #[schemars(schema_with = "when_schema")]
    pub when: Entries<Spanned<String>, Spanned<String>>,
    /// Which way the event goes then.
    pub journey: Spanned<JourneyChoice>,
}

fn when_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Conditions that must all hold; `*` stands for any text.",
        "type": "object",
        "properties": {"event_type": {"type": "string"}},
        "patternProperties": {"^(event_data|debug_data)\\..": {"type": "string"}},
        "additionalProperties": false,
    })
}

fn statuses_schema(generator: &mut SchemaGenerator) -> Schema {
    let status = generator.subschema_for::<Status>();
    let names: Vec<_> = OUTCOMES.iter().map(|outcome| outcome.name).collect();
    json_schema!({
        "description": "A `status` other than the usual one: `{handset.unknown: processing}`.",
        "type": "object",
        "propertyNames": {"enum": names},
        "additionalProperties": status,
    })
}
