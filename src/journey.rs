//! What the platform does with one event: the stages, the rules for messages in parts, the timing.
//!
//! Pure: a journey and a generator go in, steps with their distance from the event come out. Which
//! journey an event takes, and what the steps' bodies say, is decided elsewhere.

use crate::draw::{self, Generator};
use crate::scenario::Settings;
use crate::scenario::model::MultipartSuccess;
use crate::scenario::template::Template;
use crate::scenario::units::{Delay, Duration, MILLISECOND};
use crate::vibes::outcome::{MessageType, Outcome, Stage, Status};

/// How long a stage takes if the scenario does not say: quick enough to watch, and spread enough for
/// receipts of different journeys to mix. Vibes publishes no figures.
pub const fn usual_delay(stage: Stage) -> Delay {
    const fn between(from: u64, to: u64) -> Delay {
        Delay::Uniform(Duration(from * MILLISECOND), Duration(to * MILLISECOND))
    }
    match stage {
        Stage::Routing => between(20, 120),
        Stage::Processing => between(50, 250),
        Stage::Carrier => between(150, 800),
        Stage::Handset => between(500, 2500),
    }
}

/// What happens at a stage, or to one part at a stage.
#[derive(Clone, Copy, Debug)]
pub struct StepSpec {
    /// What happens.
    pub outcome: &'static Outcome,
    /// The error code of a failed receipt.
    pub error_code: u32,
    /// How long after the stage before.
    pub after: Delay,
}

/// What happens to the parts of a message at the carrier or the handset.
#[derive(Clone, Debug)]
pub struct ReceiptSpec {
    /// For each part that `parts` does not name.
    pub default: StepSpec,
    /// For single parts, in the order of their numbers.
    pub parts: Vec<(u8, StepSpec)>,
    /// Statuses on the way to the final one.
    pub before: Vec<&'static Outcome>,
}

impl ReceiptSpec {
    /// What happens to a part.
    pub fn of(&self, part: u8) -> &StepSpec {
        self.parts
            .iter()
            .find(|(number, _)| *number == part)
            .map_or(&self.default, |(_, step)| step)
    }

    fn highest_named(&self) -> u8 {
        self.parts.iter().map(|(part, _)| *part).max().unwrap_or(0)
    }
}

/// A message's text, as far as it matters here: how many parts it takes.
#[derive(Clone, Debug)]
pub enum Text {
    /// The same for every event.
    Fixed {
        /// Parts that go to the carrier.
        parts: u8,
    },
    /// Depends on the event.
    Template(Template),
}

/// One way an event can go.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Its name in the file.
    pub name: String,
    /// What the event becomes.
    pub message_type: MessageType,
    /// The message's text.
    pub text: Text,
    /// The campaign's id; one for each event type if absent.
    pub campaign: Option<u32>,
    stages: Stages,
    /// The scenario asked for what the platform could not produce.
    impossible: bool,
}

/// The stages of a journey; one that is absent does not come about.
#[derive(Clone, Debug)]
pub struct Stages {
    /// Always there.
    pub routing: StepSpec,
    /// Absent after a failed routing.
    pub processing: Option<StepSpec>,
    /// Absent after a failed processing and for an MMS.
    pub carrier: Option<ReceiptSpec>,
    /// Absent where there is no part that the carrier took.
    pub handset: Option<ReceiptSpec>,
}

/// A rule of the platform that a journey breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where in the journey.
    pub stage: Stage,
    /// At which part, if it is about one.
    pub part: Option<u8>,
    /// The rule, in a sentence.
    pub rule: String,
}

impl Journey {
    /// A journey that the platform can produce.
    ///
    /// Stages that are `None` are filled with a good day's where they come about.
    ///
    /// # Errors
    ///
    /// Every rule that the wish breaks, unless `impossible` allows that.
    pub fn new(
        name: String,
        message_type: MessageType,
        text: Text,
        campaign: Option<u32>,
        wish: Stages,
        impossible: bool,
        settings: &Settings,
    ) -> Result<Journey, Vec<Broken>> {
        let broken = broken_rules(message_type, &text, &wish, settings);
        if !broken.is_empty() && !impossible {
            return Err(broken);
        }
        let routed = settings.status(wish.routing.outcome) != Status::Failed;
        let queued = |processing: &StepSpec| settings.status(processing.outcome) != Status::Failed;
        let processing = wish
            .processing
            .or_else(|| routed.then(|| good_step(Stage::Processing)));
        let sent =
            message_type == MessageType::Sms && routed && processing.as_ref().is_some_and(queued);
        let carrier = wish
            .carrier
            .or_else(|| sent.then(|| good_receipts(Stage::Carrier)));
        let taken = sent && carrier.is_some();
        let handset = wish
            .handset
            .or_else(|| taken.then(|| good_receipts(Stage::Handset)));
        Ok(Journey {
            name,
            message_type,
            text,
            campaign,
            stages: Stages {
                routing: wish.routing,
                processing,
                carrier,
                handset,
            },
            impossible,
        })
    }

    /// What happens on a good day, to a short text.
    pub fn good_day() -> Journey {
        let delivered = Outcome::good_day(Stage::Handset);
        Journey {
            name: "good-day".to_owned(),
            ..Journey::ending_with(delivered, MessageType::Sms)
        }
    }

    /// All is well up to the stage of that outcome; then it happens, to every part, and nothing after it.
    pub fn ending_with(outcome: &'static Outcome, message_type: MessageType) -> Journey {
        let step = |stage| match outcome.stage == stage {
            true => StepSpec {
                outcome,
                ..good_step(stage)
            },
            false => good_step(stage),
        };
        let receipts = |stage| {
            (outcome.stage >= stage).then(|| ReceiptSpec {
                default: step(stage),
                ..good_receipts(stage)
            })
        };
        Journey {
            name: outcome.name.to_owned(),
            message_type,
            text: Text::Fixed { parts: 1 },
            campaign: None,
            stages: Stages {
                routing: step(Stage::Routing),
                processing: (outcome.stage >= Stage::Processing).then(|| step(Stage::Processing)),
                carrier: receipts(Stage::Carrier),
                handset: receipts(Stage::Handset),
            },
            impossible: false,
        }
    }

    /// Whether a part number that the file names can come about in a message of so many parts.
    pub fn parts_beyond(&self, parts: u8) -> impl Iterator<Item = (Stage, u8)> + '_ {
        let receipts = [
            (Stage::Carrier, &self.stages.carrier),
            (Stage::Handset, &self.stages.handset),
        ];
        let impossible = self.impossible;
        receipts.into_iter().flat_map(move |(stage, spec)| {
            spec.iter()
                .flat_map(|spec| spec.parts.iter())
                .map(move |(part, _)| (stage, *part))
                .filter(move |(_, part)| *part > parts && !impossible)
        })
    }

    /// Whether the number of parts matters, so that a text must be rendered to know the journey.
    pub fn needs_parts(&self) -> bool {
        self.stages.carrier.is_some() || self.stages.handset.is_some()
    }

    /// Every step that calls back, for a message of so many parts.
    ///
    /// Steps come in the order of stages and parts, not of time; the place in that order is the step's
    /// number, which does not depend on how long things take.
    pub fn unfold(
        &self,
        parts: u8,
        settings: &Settings,
        rng: &mut Generator,
        steps: &mut Vec<Step>,
    ) {
        steps.clear();
        let routed = draw::delay(rng, self.stages.routing.after);
        steps.push(Step::whole(&self.stages.routing, routed));
        let mut queued = routed;
        if let Some(processing) = &self.stages.processing {
            queued += draw::delay(rng, processing.after);
            steps.push(Step::whole(processing, queued));
        }
        let named = [&self.stages.carrier, &self.stages.handset];
        let all = match self.impossible {
            // A part that the message does not have, if the file insists on it.
            true => named
                .iter()
                .filter_map(|spec| spec.as_ref())
                .map(ReceiptSpec::highest_named)
                .fold(parts, u8::max),
            false => parts,
        };
        let mut taken: Vec<PartState> = (1..=all)
            .map(|part| PartState {
                part,
                reached: queued,
                alive: true,
            })
            .collect();
        for receipts in named.into_iter().flatten() {
            self.receipts(receipts, all, settings, rng, &mut taken, steps);
        }
    }

    /// One stage of receipts: each part gets one, and some of them call back.
    fn receipts(
        &self,
        spec: &ReceiptSpec,
        parts: u8,
        settings: &Settings,
        rng: &mut Generator,
        states: &mut [PartState],
        steps: &mut Vec<Step>,
    ) {
        let status_of = |part: u8| settings.status(spec.of(part).outcome);
        let in_play = |state: &&PartState| state.alive || self.impossible;
        // Failures call back for each part; what did not fail calls back once, for the last part.
        let last_with = |wanted: Status| {
            let mut with = states.iter().filter(in_play).map(|state| state.part);
            match settings.multipart_success {
                MultipartSuccess::LastSent => with.rfind(|part| status_of(*part) == wanted),
                MultipartSuccess::LastPart => with
                    .next_back()
                    .filter(|part| *part == parts && status_of(*part) == wanted),
            }
        };
        let last_success = last_with(Status::Success);
        let last_pending = last_with(Status::Processing);
        for state in states {
            let step = spec.of(state.part);
            let took = draw::delay(rng, step.after);
            let status = settings.status(step.outcome);
            if state.alive || self.impossible {
                let speaks = match status {
                    Status::Failed => true,
                    Status::Success => last_success == Some(state.part),
                    Status::Processing => last_pending == Some(state.part),
                };
                if speaks {
                    let stops = spec.before.len() as u64 + 1;
                    for (at, outcome) in spec.before.iter().enumerate() {
                        let on_the_way = StepSpec { outcome, ..*step };
                        let after = state.reached + took / stops * (at as u64 + 1);
                        steps.push(Step::part(&on_the_way, after, state.part, parts));
                    }
                    steps.push(Step::part(step, state.reached + took, state.part, parts));
                }
            }
            state.reached += took;
            state.alive &= status != Status::Failed;
        }
    }
}

/// How far a part has come.
struct PartState {
    part: u8,
    /// Nanoseconds from the event.
    reached: u64,
    /// Nobody has refused it yet.
    alive: bool,
}

/// One thing that happened and calls back.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What happened.
    pub outcome: &'static Outcome,
    /// Nanoseconds from the event.
    pub after: u64,
    /// The part it is about, from 1; 0 if it is about the whole message.
    pub part: u8,
    /// How many parts the message has; 0 if it is about the whole message.
    pub parts: u8,
    /// The error code of a failed receipt.
    pub error_code: u32,
}

impl Step {
    fn whole(spec: &StepSpec, after: u64) -> Step {
        Step::part(spec, after, 0, 0)
    }

    fn part(spec: &StepSpec, after: u64, part: u8, parts: u8) -> Step {
        Step {
            outcome: spec.outcome,
            after,
            part,
            parts,
            error_code: spec.error_code,
        }
    }
}

/// A stage's outcome of a good day.
pub fn good_step(stage: Stage) -> StepSpec {
    StepSpec {
        outcome: Outcome::good_day(stage),
        error_code: crate::vibes::callback::DEFAULT_ERROR_CODE,
        after: usual_delay(stage),
    }
}

/// A stage's receipts of a good day.
pub fn good_receipts(stage: Stage) -> ReceiptSpec {
    ReceiptSpec {
        default: good_step(stage),
        parts: Vec::new(),
        before: Vec::new(),
    }
}

/// What the platform could not produce, by the rules of its documentation.
fn broken_rules(
    message_type: MessageType,
    text: &Text,
    wish: &Stages,
    settings: &Settings,
) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut breaks = |stage, part, rule: String| broken.push(Broken { stage, part, rule });
    let failed = |step: &StepSpec| settings.status(step.outcome) == Status::Failed;
    let wished = [
        (Stage::Processing, wish.processing.is_some()),
        (Stage::Carrier, wish.carrier.is_some()),
        (Stage::Handset, wish.handset.is_some()),
    ];
    let stopper = if failed(&wish.routing) {
        Some(wish.routing.outcome)
    } else {
        wish.processing
            .as_ref()
            .filter(|step| failed(step))
            .map(|step| step.outcome)
    };
    for (stage, present) in wished {
        if !present {
            continue;
        }
        if let Some(stopper) = stopper.filter(|stopper| stage > stopper.stage) {
            breaks(
                stage,
                None,
                format!(
                    "a journey that failed with {stopper} ends there; nothing comes of {stage}"
                ),
            );
        } else if message_type == MessageType::Mms && stage.is_receipt() {
            breaks(
                stage,
                None,
                "an MMS ends at processing.queued; delivery receipts exist for SMS only".to_owned(),
            );
        }
    }
    for step in [Some(&wish.routing), wish.processing.as_ref()]
        .into_iter()
        .flatten()
    {
        if !step.outcome.messages.contains(&message_type) {
            breaks(
                step.outcome.stage,
                None,
                format!(
                    "{} cannot happen to an {}",
                    step.outcome,
                    message_type.name().to_uppercase()
                ),
            );
        }
    }
    for (stage, spec) in [
        (Stage::Carrier, &wish.carrier),
        (Stage::Handset, &wish.handset),
    ] {
        for outcome in spec.iter().flat_map(|spec| &spec.before) {
            if settings.status(outcome) != Status::Processing {
                breaks(
                    stage,
                    None,
                    format!(
                        "{outcome} is final, so it cannot come before another receipt of its part"
                    ),
                );
            }
        }
    }
    if let (Some(carrier), Some(handset), MessageType::Sms, None) =
        (&wish.carrier, &wish.handset, message_type, stopper)
    {
        const RULE: &str = "has no handset receipt, since the carrier refused it";
        for (part, _) in &handset.parts {
            if failed(carrier.of(*part)) {
                breaks(Stage::Handset, Some(*part), format!("part {part} {RULE}"));
            }
        }
        let none_taken = match text {
            Text::Fixed { parts } => (1..=*parts).all(|part| failed(carrier.of(part))),
            Text::Template(_) => {
                failed(&carrier.default) && carrier.parts.iter().all(|(_, step)| failed(step))
            }
        };
        if none_taken {
            breaks(Stage::Handset, None, format!("the message {RULE}"));
        }
    }
    broken
}
