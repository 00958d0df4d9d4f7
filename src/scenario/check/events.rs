//! Events and routes: their data, how many there are, when they come, and which way they go.

use std::collections::BTreeSet;
use std::ops::Range;

use chrono::DateTime;

use super::Checker;
use crate::scenario::RouteSpec;
use crate::scenario::data::DataTemplate;
use crate::scenario::decode::{Plain, Spanned, resolve_plain};
use crate::scenario::event::{EventSpec, Weights};
use crate::scenario::finding::did_you_mean;
use crate::scenario::model::{self, JourneyChoice};
use crate::scenario::template::Template;
use crate::scenario::variables::check_path;
use crate::scenario::yaml::{Kind, NodeId};
use crate::vibes::event::{PERSON_KEYS, is_event_type};

/// From so many events on it is worth a word that nothing spreads them.
const MANY_AT_ONCE: u64 = 100_000;

pub(super) const MDN_HELP: &str =
    "write 10 to 15 digits, with a `+` before the country's code: `\"+15551230100\"`";

/// A run may not last longer than this, or its dates leave what computers agree on.
const MAX_LENGTH: f64 = 10.0 * 366.0 * 86_400.0;

impl Checker<'_> {
    pub(super) fn event(
        &mut self,
        event: Spanned<model::Event>,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> Option<EventSpec> {
        let Spanned { value: event, span } = event;
        let event_type = self.template(&event.event_type);
        if let Some(literal) = event_type.as_ref().and_then(Template::literal)
            && !is_event_type(literal)
        {
            self.error(
                &event.event_type.span,
                format!("`{literal}` is not an event type"),
                "use letters, digits, `-` and `_`",
            );
        }
        let event_id = event.event_id.as_ref().and_then(|text| self.template(text));
        let event_data = match event.event_data {
            Some(node) => DataTemplate::compile(self.tree, node.0, &mut self.findings),
            None => Template::parse("{{ person.external_person_id }}")
                .ok()
                .map(|template| DataTemplate::single("external_person_id", template)),
        };
        if let (Some(node), Some(data)) = (event.event_data, &event_data) {
            let place = self.tree.node(node.0).span.clone();
            self.person(data, &place);
            self.mdn_place(node.0, span.start);
        }
        let debug_data = event
            .debug_data
            .map(|node| DataTemplate::compile(self.tree, node.0, &mut self.findings));
        let count = event.count.as_ref().map_or(1, |count| count.value);
        if let Some(given) = &event.count
            && !(1..=model::MAX_COUNT).contains(&given.value)
        {
            self.error(
                &given.span,
                format!(
                    "the count {} is not between 1 and {}",
                    given.value,
                    model::MAX_COUNT
                ),
                "more events can come from a second entry",
            );
        }
        match (&event.arrivals, &event.count) {
            (Some(arrivals), _) => self.arrivals(arrivals, count),
            (None, Some(given)) if count > MANY_AT_ONCE => self.warning(
                &given.span,
                format!("{count} events come at once, and all of them wait in memory"),
                "spread them, say with `arrivals: {rate: 1000/s}`",
            ),
            (None, _) => {}
        }
        let journeys = match &event.journey {
            Some(choice) => self.choice(choice, names, used),
            None => Some(Weights::new(vec![(names.len(), 1.0)])),
        };
        let event_type_span = event.event_type.span.clone();
        for (template, span) in [(&event_type, &event_type_span), (&event_id, &span)] {
            if let Some(template) = template {
                self.event_variables(
                    template,
                    span,
                    &["event_id", "event_type", "event_data", "debug_data"],
                );
            }
        }
        for data in [
            event_data.as_ref(),
            debug_data.as_ref().and_then(Option::as_ref),
        ]
        .into_iter()
        .flatten()
        {
            for (template, span) in data.templates() {
                self.event_variables(template, span, &["event_data", "debug_data"]);
            }
        }
        Some(EventSpec {
            event_type: event_type?,
            event_id: match event.event_id {
                Some(_) => Some(event_id?),
                None => None,
            },
            event_data: event_data?,
            debug_data: match debug_data {
                Some(data) => Some(data?),
                None => None,
            },
            count: count.min(model::MAX_COUNT),
            arrivals: event.arrivals.map(|arrivals| arrivals.value),
            journeys: journeys?,
            span,
        })
    }

    /// Vibes takes no event that is about nobody, and a number must be one.
    pub(super) fn person(&mut self, data: &DataTemplate, span: &Range<usize>) {
        if !data.keys().any(|key| PERSON_KEYS.contains(&key)) {
            self.warning(
                span,
                "Vibes would refuse this event: its data does not say whom it is about",
                format!(
                    "add one of {}",
                    PERSON_KEYS.map(|key| format!("`{key}`")).join(", ")
                ),
            );
        }
    }

    /// Notes where an event's number stands. A number of the wrong shape is one that no template makes.
    pub(super) fn mdn_place(&mut self, data: NodeId, event: usize) {
        let Kind::Map(entries) = &self.tree.node(data).kind else {
            return;
        };
        let Some((_, value)) = entries
            .iter()
            .find(|(key, _)| self.tree.scalar(*key) == Some("mdn"))
        else {
            return;
        };
        let node = self.tree.node(*value);
        let is_null = matches!(&node.kind, Kind::Scalar { text, plain: true } if resolve_plain(text) == Plain::Null);
        if is_null || self.tree.scalar(*value).is_none() {
            self.error(&node.span, "a mobile number is one text", MDN_HELP);
        }
        self.mdn_places.insert(event, node.span.clone());
    }

    /// The event's own templates cannot look at what is being made of them.
    pub(super) fn event_variables(
        &mut self,
        template: &Template,
        span: &Range<usize>,
        not_there: &[&str],
    ) {
        for variable in template.variables() {
            let root = variable.path.first().map_or("", String::as_str);
            if not_there.contains(&root) {
                self.error(
                    span,
                    format!("`{root}` is not there yet while the event is made"),
                    "an event's own texts can use `person`, `journey` and `fake`, its data also `event_id` and `event_type`",
                );
            } else if let Err(message) = check_path(&variable.path, None, None) {
                self.unknown_variable(span, &message, variable.guarded);
            }
        }
    }

    pub(super) fn arrivals(&mut self, arrivals: &Spanned<model::Arrivals>, count: u64) {
        let slowest = match &arrivals.value {
            model::Arrivals::Rate(rate) | model::Arrivals::Poisson(rate) => rate.0,
            model::Arrivals::Ramp { from, to, .. } => from.0.min(to.0),
            model::Arrivals::Cron(cron) => match firings_per_second(cron, count) {
                Some(rate) => rate,
                None => {
                    self.error(
                        &arrivals.span,
                        "this cron expression names instants that do not come often enough",
                        "look at day and month: the 30th of February never comes",
                    );
                    return;
                }
            },
        };
        if count as f64 / slowest > MAX_LENGTH {
            self.error(
                &arrivals.span,
                format!("{count} events at this rate take more than ten years"),
                "raise the rate or lower the count",
            );
        }
    }

    pub(super) fn choice(
        &mut self,
        choice: &Spanned<JourneyChoice>,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> Option<Weights> {
        let or_whole = |span: &Range<usize>| match span.is_empty() {
            true => choice.span.clone(),
            false => span.clone(),
        };
        let before = self.findings.len();
        let mut choices = Vec::new();
        for (name, weight) in &choice.value.0 {
            let found = names.iter().position(|journey| *journey == name.value);
            match found {
                Some(at) => {
                    used.insert(at);
                    choices.push((at, weight.value));
                }
                None if self.partial && self.is_written_journey(&name.value) => return None,
                None => {
                    let help = did_you_mean(&name.value, names.iter().map(String::as_str));
                    self.error(
                        &or_whole(&name.span),
                        format!("unknown journey `{}`", name.value),
                        help,
                    );
                }
            }
            if !(weight.value > 0.0 && weight.value.is_finite()) {
                self.error(
                    &or_whole(&weight.span),
                    format!("the weight {} is not a number above zero", weight.value),
                    "remove the journey if it is never to be taken",
                );
            }
        }
        if choices.is_empty() && self.findings.len() == before {
            self.error(
                &choice.span,
                "no journey is named here",
                "name one, or remove `journey:` for a good day",
            );
        }
        let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
        if total.is_infinite() {
            self.error(
                &choice.span,
                "the weights are too large to add up",
                "divide them all by the same number",
            );
        }
        (self.findings.len() == before).then(|| Weights::new(choices))
    }

    /// Whether the file has a journey of that name, be it of the wrong shape.
    pub(in crate::scenario) fn is_written_journey(&self, name: &str) -> bool {
        let entries = |id| match &self.tree.node(id).kind {
            Kind::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries(self.tree.root())
            .iter()
            .filter(|(key, _)| self.tree.scalar(*key) == Some("journeys"))
            .flat_map(|(_, journeys)| entries(*journeys))
            .any(|(key, _)| self.tree.scalar(*key) == Some(name))
    }

    pub(super) fn route(
        &mut self,
        route: model::Route,
        names: &[String],
        used: &mut BTreeSet<usize>,
    ) -> RouteSpec {
        let mut when = Vec::new();
        for (path, pattern) in route.when.0 {
            let known = path.value == "event_type"
                || ["event_data.", "debug_data."].iter().any(|root| {
                    path.value
                        .strip_prefix(root)
                        .is_some_and(|rest| !rest.is_empty())
                });
            if !known {
                self.error(
                    &path.span,
                    format!("a route cannot look at `{}`", path.value),
                    "it can look at `event_type`, `event_data.KEY` and `debug_data.KEY`",
                );
            }
            when.push((path.value, pattern.value));
        }
        let journeys = self.choice(&route.journey, names, used);
        RouteSpec {
            when,
            journeys: journeys.unwrap_or_else(|| Weights::new(vec![(names.len(), 1.0)])),
        }
    }
}

/// How often a cron expression's instants come, by the first few of them; none if there are too few.
fn firings_per_second(cron: &croner::Cron, count: u64) -> Option<f64> {
    let first = DateTime::from_timestamp(1_767_225_600, 0)?;
    let firings = count.clamp(2, 9);
    let mut at = first;
    for _ in 0..firings {
        at = cron.find_next_occurrence(&at, false).ok()?;
    }
    Some(firings as f64 / (at - first).as_seconds_f64())
}
