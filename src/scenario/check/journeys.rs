//! Journeys: their texts, their outcomes, and whether the platform could produce them.

use std::ops::Range;

use super::Checker;
use crate::journey::{Journey, ReceiptSpec, Stages, StepSpec, Text, good_step, usual_delay};
use crate::scenario::Settings;
use crate::scenario::decode::Spanned;
use crate::scenario::model::{self, AtStage, Impossible, Receipts, Step};
use crate::scenario::variables::check_path;
use crate::sms;
use crate::vibes::callback::DEFAULT_ERROR_CODE;
use crate::vibes::outcome::{MessageType, Stage, Status};

impl Checker<'_> {
    pub(super) fn journey(
        &mut self,
        name: Spanned<String>,
        journey: model::Journey,
        settings: &Settings,
    ) -> Option<Journey> {
        let whole = name.span.clone();
        let message_type = journey
            .message
            .as_ref()
            .map_or(MessageType::Sms, |message| message.message_type);
        let campaign = journey
            .message
            .as_ref()
            .and_then(|message| message.event_triggered_message_id);
        let text = match journey
            .message
            .as_ref()
            .and_then(|message| message.text.as_ref())
        {
            None => Text::Fixed { parts: 1 },
            Some(text) => self.text(text, message_type)?,
        };
        let span_at = |stage| match stage {
            Stage::Routing => journey.routing.as_ref().map(|step| step.span.clone()),
            Stage::Processing => journey.processing.as_ref().map(|step| step.span.clone()),
            Stage::Carrier => journey.carrier.as_ref().map(|step| step.span.clone()),
            Stage::Handset => journey.handset.as_ref().map(|step| step.span.clone()),
        };
        let spans = Stage::ALL.map(|stage| span_at(stage).unwrap_or(whole.clone()));
        let places = part_places(&journey);
        let wish = Stages {
            routing: journey.routing.map_or_else(
                || good_step(Stage::Routing),
                |step| self.step(&step, settings),
            ),
            processing: journey.processing.map(|step| self.step(&step, settings)),
            carrier: journey
                .carrier
                .map(|receipts| self.receipts(&receipts, settings)),
            handset: journey
                .handset
                .map(|receipts| self.receipts(&receipts, settings)),
        };
        let impossible = matches!(journey.impossible, Some(Impossible::Allowed));
        match Journey::new(
            name.value,
            message_type,
            text,
            campaign,
            wish,
            impossible,
            settings,
        ) {
            Ok(journey) => Some(journey),
            Err(broken) => {
                for broken in broken {
                    let span = places
                        .iter()
                        .find(|(stage, part, _)| {
                            *stage == broken.stage && Some(*part) == broken.part
                        })
                        .map_or(&spans[broken.stage as usize], |(_, _, span)| span);
                    self.error(
                        span,
                        broken.rule,
                        "remove it, or say `impossible: allowed` in the journey to send it all the same",
                    );
                }
                None
            }
        }
    }

    pub(super) fn text(
        &mut self,
        text: &Spanned<String>,
        message_type: MessageType,
    ) -> Option<Text> {
        let template = self.template(text)?;
        for variable in template.variables() {
            if let Err(message) = check_path(&variable.path, None, None) {
                self.unknown_variable(&text.span, &message, variable.guarded);
            }
        }
        // An MMS goes out whole.
        match (template.literal(), message_type) {
            (_, MessageType::Mms) => Some(Text::Fixed { parts: 1 }),
            (None, MessageType::Sms) => Some(Text::Template(template)),
            (Some(literal), MessageType::Sms) => match sms::part_count(literal) {
                Ok(parts) => Some(Text::Fixed { parts }),
                Err(error) => {
                    self.error(&text.span, error.to_string(), "shorten it");
                    None
                }
            },
        }
    }

    pub(super) fn step<S: AtStage>(
        &mut self,
        step: &Spanned<Step<S>>,
        settings: &Settings,
    ) -> StepSpec {
        let Spanned {
            value: Step {
                outcome, options, ..
            },
            span,
        } = step;
        let fails = settings.status(outcome) == Status::Failed;
        if options.error_code.is_some() && !(fails && outcome.stage.is_receipt()) {
            self.error(
                span,
                format!("{outcome} has no error code; only a failed delivery receipt has one"),
                "remove `error_code`",
            );
        }
        StepSpec {
            outcome,
            error_code: options.error_code.unwrap_or(DEFAULT_ERROR_CODE),
            after: options.after.unwrap_or_else(|| usual_delay(outcome.stage)),
        }
    }

    pub(super) fn receipts<S: AtStage>(
        &mut self,
        receipts: &Spanned<Receipts<S>>,
        settings: &Settings,
    ) -> ReceiptSpec {
        let Receipts {
            default,
            parts,
            before,
            after,
        } = &receipts.value;
        let usual = after.unwrap_or_else(|| usual_delay(S::STAGE));
        let mut spec = |step: &Spanned<Step<S>>| StepSpec {
            after: step.value.options.after.unwrap_or(usual),
            ..self.step(step, settings)
        };
        let mut by_part: Vec<(u8, StepSpec)> = parts
            .iter()
            .map(|(part, step)| (part.value, spec(step)))
            .collect();
        let default = default.as_ref().map_or(
            StepSpec {
                after: usual,
                ..good_step(S::STAGE)
            },
            &mut spec,
        );
        for step in before {
            if step.value.options.after.is_some() || step.value.options.error_code.is_some() {
                self.error(
                    &step.span,
                    "a status on the way takes neither `after` nor `error_code`",
                    "write its name alone; these statuses are spread evenly over the stage's `after`",
                );
            }
        }
        for (at, (part, _)) in parts.iter().enumerate() {
            if parts[..at]
                .iter()
                .any(|(before, _)| before.value == part.value)
            {
                self.error(
                    &part.span,
                    format!("part {} stands here twice", part.value),
                    "keep one of the two",
                );
            }
            if part.value == 0 {
                self.error(
                    &part.span,
                    "parts are numbered from 1",
                    "write 1 for the first part",
                );
            }
        }
        by_part.sort_by_key(|(part, _)| *part);
        ReceiptSpec {
            default,
            parts: by_part,
            before: before.iter().map(|step| step.value.outcome).collect(),
        }
    }
}

/// Where the pieces of a journey stand in the file.
pub(super) struct JourneyPlace {
    pub(super) name: Range<usize>,
    pub(super) text: Range<usize>,
    pub(super) parts: Vec<(Stage, u8, Range<usize>)>,
}

pub(super) fn part_places(journey: &model::Journey) -> Vec<(Stage, u8, Range<usize>)> {
    pub(super) fn of<S: AtStage>(
        receipts: &Option<Spanned<Receipts<S>>>,
    ) -> Vec<(Stage, u8, Range<usize>)> {
        let parts = receipts.iter().flat_map(|receipts| &receipts.value.parts);
        parts
            .map(|(part, _)| (S::STAGE, part.value, part.span.clone()))
            .collect()
    }
    let mut places = of(&journey.carrier);
    places.extend(of(&journey.handset));
    places
}
