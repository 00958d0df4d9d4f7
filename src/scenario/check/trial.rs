//! A few events of each entry are made on trial, to find what only shows then.

use chrono::DateTime;

use super::Checker;
use super::events::MDN_HELP;
use super::journeys::JourneyPlace;
use crate::journey::{Journey, Text};
use crate::scenario::data::DataTemplate;
use crate::scenario::event::{EventSpec, MadeEvent, Occasion};
use crate::scenario::finding::Severity;
use crate::scenario::template::VariableUse;
use crate::scenario::variables::check_path;
use crate::sms;
use crate::vibes::event::{is_event_type, is_mdn};

/// So many events of each entry are made on trial.
const TRIALS: u64 = 8;

impl Checker<'_> {
    pub(super) fn error_count(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count()
    }

    /// Makes a few events of an entry and their messages, to find what only shows then.
    pub(super) fn try_out(
        &mut self,
        event: &EventSpec,
        journeys: &[Option<Journey>],
        places: &[JourneyPlace],
    ) {
        if self.partial {
            return;
        }
        let before = self.error_count();
        for at in event.journeys.journeys() {
            if let (Some(Some(journey)), Some(place)) = (journeys.get(at), places.get(at))
                && let Text::Template(text) = &journey.text
            {
                // The others were checked with the journey.
                let of_event = |variable: &&VariableUse| {
                    let root = variable.path.first().map_or("", String::as_str);
                    !variable.guarded && matches!(root, "event_data" | "debug_data")
                };
                for variable in text.variables().iter().filter(of_event) {
                    let nothing = DataTemplate::literal("{}");
                    let debug_data = event.debug_data.as_ref().unwrap_or(&nothing);
                    let checked =
                        check_path(&variable.path, Some(&event.event_data), Some(debug_data));
                    if let Err(message) = checked {
                        self.error_in_two(&place.text, &message);
                    }
                }
            }
        }
        if self.error_count() > before {
            return;
        }
        let mut most_parts = vec![0; journeys.len()];
        let mut made = MadeEvent::default();
        let mut text = String::new();
        for number in 0..TRIALS.min(event.count) {
            for at in event.journeys.journeys() {
                let Some(Some(journey)) = journeys.get(at) else {
                    continue;
                };
                let occasion = Occasion {
                    seed: 0,
                    number,
                    journey: &journey.name,
                    now: DateTime::UNIX_EPOCH,
                };
                if let Err(error) = event.make(&occasion, &mut made) {
                    self.findings.push(error.finding(&event.span));
                    return;
                }
                if !self.made_well(event, &made) {
                    return;
                }
                let parts = match &journey.text {
                    Text::Fixed { parts } => *parts,
                    Text::Template(template) => {
                        let place = places.get(at).map_or(&event.span, |place| &place.text);
                        if let Err(error) = event.render_text(template, &made, &occasion, &mut text)
                        {
                            self.findings.push(error.finding(place));
                            return;
                        }
                        match sms::part_count(&text) {
                            Ok(parts) => parts,
                            Err(error) => {
                                self.error(place, error.to_string(), "shorten it");
                                return;
                            }
                        }
                    }
                };
                most_parts[at] = u8::max(most_parts[at], parts);
            }
        }
        for at in event.journeys.journeys() {
            let (Some(Some(journey)), Some(place)) = (journeys.get(at), places.get(at)) else {
                continue;
            };
            for (stage, part) in journey.parts_beyond(most_parts[at]) {
                let span = place
                    .parts
                    .iter()
                    .find(|(of, number, _)| *of == stage && *number == part)
                    .map_or(&place.name, |(_, _, span)| span);
                let parts = most_parts[at];
                self.error(
                    span,
                    format!("the message has no part {part}; it goes out in {parts} part{}", if parts == 1 { "" } else { "s" }),
                    "lengthen the text or correct the number; `vibes-mock segments TEXT` shows how a text splits",
                );
            }
        }
    }

    /// What the Event API would have refused.
    pub(super) fn made_well(&mut self, event: &EventSpec, made: &MadeEvent) -> bool {
        let part = made.part();
        if event.event_type.literal().is_none() && !is_event_type(part.event_type) {
            self.error(
                &event.span,
                format!("the template made `{}` of `event_type`", part.event_type),
                "use letters, digits, `-` and `_`",
            );
            return false;
        }
        if event.event_data.keys().any(|key| key == "mdn") && !is_mdn(&made.mdn) {
            let span = self
                .mdn_places
                .get(&event.span.start)
                .unwrap_or(&event.span)
                .clone();
            self.error(
                &span,
                format!("`{}` is not a mobile number", made.mdn),
                MDN_HELP,
            );
            return false;
        }
        true
    }
}
