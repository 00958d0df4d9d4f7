//! One event made of its entry in the file: its ids, its data, its person.
//!
//! A made event depends on (seed, journey number, the run's clock) alone, so it can be made again at any
//! time instead of being kept.

use std::ops::Range;

use chrono::{DateTime, Utc};
use liquid_core::model::Value;
use uuid::Uuid;

use super::data::DataTemplate;
use super::model::Arrivals;
use super::template::{Renderer, Template, TemplateError};
use super::variables::{Person, Variables, fictional_mdn, fictional_person_id};
use crate::draw::{self, Purpose};
use crate::vibes::callback::EventPart;

/// Events that a run makes up.
#[derive(Debug)]
pub struct EventSpec {
    /// Their type.
    pub event_type: Template,
    /// Their own id; made up if absent.
    pub event_id: Option<Template>,
    /// What they carry.
    pub event_data: DataTemplate,
    /// What else they carry.
    pub debug_data: Option<DataTemplate>,
    /// How many.
    pub count: u64,
    /// When they come; all at once if absent.
    pub arrivals: Option<Arrivals>,
    /// Which way they go.
    pub journeys: Weights,
    /// Where the entry stands in the file.
    pub span: Range<usize>,
}

/// Journeys by their place in the scenario, each with its weight.
#[derive(Clone, Debug)]
pub struct Weights {
    choices: Vec<(usize, f64)>,
    total: f64,
}

impl Weights {
    /// Weights are above zero and finite.
    pub fn new(choices: Vec<(usize, f64)>) -> Self {
        let total = choices.iter().map(|(_, weight)| weight).sum();
        Weights { choices, total }
    }

    /// The journeys that can be chosen.
    pub fn journeys(&self) -> impl Iterator<Item = usize> + '_ {
        self.choices.iter().map(|(journey, _)| *journey)
    }

    /// The journey of the event of that number.
    pub fn choose(&self, seed: u64, number: u64) -> usize {
        let [(first, _), rest @ ..] = self.choices.as_slice() else {
            return 0;
        };
        if rest.is_empty() {
            return *first;
        }
        let mut rng = draw::generator(seed, number, Purpose::Journey);
        let mut left = draw::fraction(&mut rng) * self.total;
        for (journey, weight) in &self.choices {
            left -= weight;
            if left < 0.0 {
                return *journey;
            }
        }
        // Rounding may leave a crumb behind the last one.
        self.choices.last().map_or(*first, |(journey, _)| *journey)
    }
}

/// What tells one event of an entry from the others.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The journey's number in the run.
    pub number: u64,
    /// The name of the way it goes.
    pub journey: &'a str,
    /// When it came, on the run's clock.
    pub now: DateTime<Utc>,
}

/// An event as the platform got it. Its buffers are used again and again.
#[derive(Debug, Default)]
pub struct MadeEvent {
    event_id: String,
    event_type: String,
    event_data: Vec<u8>,
    debug_data: Vec<u8>,
    has_debug_data: bool,
    event_texts: Vec<String>,
    debug_texts: Vec<String>,
    /// The person's key.
    pub person_key: Uuid,
    /// The person's number.
    pub mdn: String,
    external_person_id: String,
}

/// The campaign that takes events of a type if nothing else is said: the same number for the same type.
pub fn usual_campaign(event_type: &str) -> u32 {
    let hash = event_type.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    });
    1000 + hash % 9000
}

impl MadeEvent {
    /// The event as a body shows it.
    pub fn part(&self) -> EventPart<'_> {
        // Both were put together from texts and escaped texts, so they are UTF-8.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or("null");
        EventPart {
            event_id: &self.event_id,
            event_type: &self.event_type,
            event_data: text(&self.event_data),
            debug_data: self.has_debug_data.then(|| text(&self.debug_data)),
        }
    }

    /// The campaign that takes events of this type.
    pub fn usual_campaign(&self) -> u32 {
        usual_campaign(&self.event_type)
    }

    fn person(&self) -> Person<'_> {
        Person {
            person_key: self.person_key,
            mdn: &self.mdn,
            external_person_id: &self.external_person_id,
        }
    }
}

impl EventSpec {
    /// Makes the event of an occasion in `made`.
    ///
    /// # Errors
    ///
    /// What went wrong in one of the entry's templates.
    pub fn make(&self, occasion: &Occasion<'_>, made: &mut MadeEvent) -> Result<(), TemplateError> {
        let mut rng = draw::generator(occasion.seed, occasion.number, Purpose::Event);
        let event_id = draw::uuid(&mut rng);
        made.person_key = draw::uuid(&mut rng);
        made.mdn = fictional_mdn(&mut rng);
        made.external_person_id.clear();
        made.external_person_id
            .extend(fictional_person_id(&mut rng));
        made.event_data.clear();
        made.debug_data.clear();
        made.event_id.clear();
        made.event_type.clear();
        made.has_debug_data = self.debug_data.is_some();
        if self.event_id.is_none() {
            let mut buffer = Uuid::encode_buffer();
            made.event_id
                .push_str(event_id.hyphenated().encode_lower(&mut buffer));
        }
        if self.copy_literals(made) {
            self.adopt_person(made);
            return Ok(());
        }

        let MadeEvent {
            event_id,
            event_type,
            event_data,
            debug_data,
            event_texts,
            debug_texts,
            ..
        } = made;
        let person = Person {
            person_key: made.person_key,
            mdn: &made.mdn,
            external_person_id: &made.external_person_id,
        };
        let Occasion {
            seed,
            number,
            journey,
            now,
        } = *occasion;
        let mut variables = Variables::new(seed, number, journey, person);
        let named = draw::generator(seed, number, Purpose::EventNames);
        let mut renderer = Renderer::new(&variables, now, named);
        if let Some(template) = &self.event_id {
            renderer.render(template, event_id)?;
        }
        renderer.render(&self.event_type, event_type)?;
        // The data's templates may use both.
        variables.event_id = Value::scalar(event_id.clone());
        variables.event_type = Value::scalar(event_type.clone());
        let drawn = draw::generator(seed, number, Purpose::EventTemplates);
        let mut renderer = Renderer::new(&variables, now, drawn);
        self.event_data
            .render(&mut renderer, event_data, event_texts)?;
        if let Some(debug) = &self.debug_data {
            debug.render(&mut renderer, debug_data, debug_texts)?;
        }
        self.adopt_person(made);
        Ok(())
    }

    /// Copies what is the same for every event; false if anything is not.
    fn copy_literals(&self, made: &mut MadeEvent) -> bool {
        let debug_data = self
            .debug_data
            .as_ref()
            .map_or(Some(""), DataTemplate::as_literal);
        match (
            self.event_type.literal(),
            &self.event_id,
            self.event_data.as_literal(),
            debug_data,
        ) {
            (Some(event_type), None, Some(event_data), Some(debug_data)) => {
                made.event_type.push_str(event_type);
                made.event_data.extend_from_slice(event_data.as_bytes());
                made.debug_data.extend_from_slice(debug_data.as_bytes());
                true
            }
            _ => false,
        }
    }

    /// The event's data may say whom it is about; then the person is that one.
    fn adopt_person(&self, made: &mut MadeEvent) {
        let MadeEvent {
            event_texts,
            mdn,
            external_person_id,
            ..
        } = made;
        for (key, field) in [("mdn", mdn), ("external_person_id", external_person_id)] {
            if let Some(text) = self.event_data.text(key, event_texts) {
                field.clear();
                field.push_str(&text);
            }
        }
    }

    /// Renders a message's text for an event that was made.
    ///
    /// # Errors
    ///
    /// What went wrong in the template.
    pub fn render_text(
        &self,
        text: &Template,
        made: &MadeEvent,
        occasion: &Occasion<'_>,
        out: &mut String,
    ) -> Result<(), TemplateError> {
        let mut variables = Variables::new(
            occasion.seed,
            occasion.number,
            occasion.journey,
            made.person(),
        );
        let uses = |root: &str| {
            text.variables()
                .iter()
                .any(|variable| variable.path.first().is_some_and(|first| first == root))
        };
        if uses("event_id") {
            variables.event_id = Value::scalar(made.event_id.clone());
        }
        if uses("event_type") {
            variables.event_type = Value::scalar(made.event_type.clone());
        }
        if uses("event_data") {
            variables.event_data = Some(self.event_data.view(&made.event_texts));
        }
        if let Some(debug_data) = &self.debug_data
            && uses("debug_data")
        {
            variables.debug_data = Some(debug_data.view(&made.debug_texts));
        }
        let rng = draw::generator(occasion.seed, occasion.number, Purpose::Text);
        out.clear();
        Renderer::new(&variables, occasion.now, rng).render(text, out)
    }
}
