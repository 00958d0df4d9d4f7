//! The one table of outcomes: what can happen at each stage of a journey, and what Vibes says then.
//!
//! A new outcome is one entry in [`OUTCOMES`]; nothing else lists them. How an entry becomes a JSON
//! body is [`callback`](super::callback)'s business.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a journey, in the order in which the platform takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Vibes looks for a campaign and a person for the event.
    Routing,
    /// Vibes makes a message of the event.
    Processing,
    /// The carrier says whether it took a part of the message.
    Carrier,
    /// The carrier says what became of a part on the way to the handset.
    Handset,
}

impl Stage {
    /// All stages in the order of a journey.
    pub const ALL: [Stage; 4] = [
        Stage::Routing,
        Stage::Processing,
        Stage::Carrier,
        Stage::Handset,
    ];

    /// The stage's name as it stands in files and outcomes.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Routing => "routing",
            Stage::Processing => "processing",
            Stage::Carrier => "carrier",
            Stage::Handset => "handset",
        }
    }

    /// Whether the stage reports on single parts of a message, by delivery receipts.
    pub const fn is_receipt(self) -> bool {
        matches!(self, Stage::Carrier | Stage::Handset)
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// `action.status` of a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is done and went well.
    Success,
    /// It is done and went wrong.
    Failed,
    /// It is still on its way.
    Processing,
}

impl Status {
    /// The value as Vibes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Success => "success",
            Status::Failed => "failed",
            Status::Processing => "processing",
        }
    }
}

/// What kind of message an event becomes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// A text message; a long one goes out in parts and has delivery receipts.
    #[default]
    Sms,
    /// A multimedia message; it has no delivery receipts.
    Mms,
}

impl MessageType {
    /// The value as Vibes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            MessageType::Sms => "sms",
            MessageType::Mms => "mms",
        }
    }
}

/// How the `action` object of an outcome is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A routing that found a campaign: `resource_url` beside the status.
    Accepted,
    /// A `failure` with a reason and, unless there is nothing to say, one error text. `{mdn}` in the
    /// text stands for the person's number.
    Failure {
        /// `failure.reason`
        reason: &'static str,
        /// `failure.errors[0].error`
        error: Option<&'static str>,
    },
    /// A message with its source and person, linked by `resource_url`.
    Queued,
    /// A delivery receipt: a message with its source and person, and an `error_code` if it failed.
    Receipt,
}

/// The event that the documentation's example of an outcome is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// `event_processed.event_type`
    pub event_type: &'static str,
    /// `event_processed.event_data`, as JSON
    pub event_data: &'static str,
    /// `event_processed.debug_data`, as JSON, where the example has one
    pub debug_data: Option<&'static str>,
}

const ORDER: Sample = Sample {
    event_type: "day_of_delivery",
    event_data: r#"{"first_name":"Bob","external_person_id":"abcd12345","delivery_time":"5:00 PM","order_url":"https://example.com/orders/12345"}"#,
    debug_data: Some(r#"{"field":"CUST_SYSTEM"}"#),
};
const LOOKUP: Sample = Sample {
    event_type: "et127_no_incentive_codes",
    event_data: r#"{"mdn":"+18609740638","something":"some value"}"#,
    debug_data: None,
};
const NO_MEDIA: Sample = Sample {
    event_type: "day_of_delivery",
    event_data: r#"{"external_person_id":"abcd12345"}"#,
    debug_data: Some("{}"),
};
const MEDIA: Sample = Sample {
    event_type: "day_of_delivery",
    event_data: r#"{"external_person_id":"abcd12345","media_url":"https://example.com/orders/12345"}"#,
    debug_data: Some("{}"),
};

/// What happened at a stage, and how Vibes words it.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The stage at which it happens.
    pub stage: Stage,
    /// The name within the stage: `rejected` of `carrier.rejected`.
    pub short: &'static str,
    /// The full name: `carrier.rejected`.
    pub name: &'static str,
    /// What it means, in one line.
    pub summary: &'static str,
    /// `action.status`, unless the scenario's `statuses` says otherwise.
    pub status: Status,
    /// `action.status_reason`
    pub status_reason: &'static str,
    /// `action.type`
    pub action_type: &'static str,
    /// Whether the documentation's example carries a top-level `event_type` of `event_processed`.
    pub repeats_callback_type: bool,
    /// How the action is built.
    pub shape: Shape,
    /// The kinds of message it can happen to.
    pub messages: &'static [MessageType],
    /// What the documentation's example is about.
    pub sample: Sample,
}

impl Outcome {
    /// The outcome of that full name, `carrier.rejected`.
    pub fn named(name: &str) -> Option<&'static Outcome> {
        OUTCOMES.iter().find(|outcome| outcome.name == name)
    }

    /// The outcome of that short name at a stage.
    pub fn at(stage: Stage, short: &str) -> Option<&'static Outcome> {
        OUTCOMES
            .iter()
            .find(|outcome| outcome.stage == stage && outcome.short == short)
    }

    /// The outcomes of a stage, in the documentation's order.
    pub fn of(stage: Stage) -> impl Iterator<Item = &'static Outcome> {
        OUTCOMES
            .iter()
            .filter(move |outcome| outcome.stage == stage)
    }

    /// What happens at a stage on a good day.
    pub const fn good_day(stage: Stage) -> &'static Outcome {
        match stage {
            Stage::Routing => &OUTCOMES[0],
            Stage::Processing => &OUTCOMES[6],
            Stage::Carrier => &OUTCOMES[13],
            Stage::Handset => &OUTCOMES[19],
        }
    }

    /// No campaign listens to the event.
    pub fn no_route_rules() -> &'static Outcome {
        &OUTCOMES[1]
    }

    /// An MMS campaign's media URL came out blank.
    pub fn media_missing() -> &'static Outcome {
        &OUTCOMES[9]
    }

    /// An MMS campaign's media is no image.
    pub fn media_type_not_allowed() -> &'static Outcome {
        &OUTCOMES[10]
    }

    /// An MMS campaign's media is too big.
    pub fn media_too_large() -> &'static Outcome {
        &OUTCOMES[11]
    }

    /// A message could not be made.
    pub fn unexpected_error() -> &'static Outcome {
        &OUTCOMES[12]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const SMS: &[MessageType] = &[MessageType::Sms];
const MMS: &[MessageType] = &[MessageType::Mms];
const ANY: &[MessageType] = &[MessageType::Sms, MessageType::Mms];

macro_rules! outcome {
    ($stage:ident, $prefix:literal, $short:literal, $status:ident, $reason:literal, $type:literal,
     $repeats:literal, $shape:expr, $messages:expr, $sample:expr, $summary:literal) => {
        Outcome {
            stage: Stage::$stage,
            short: $short,
            name: concat!($prefix, ".", $short),
            summary: $summary,
            status: Status::$status,
            status_reason: $reason,
            action_type: $type,
            repeats_callback_type: $repeats,
            shape: $shape,
            messages: $messages,
            sample: $sample,
        }
    };
}

macro_rules! routed {
    ($short:literal, $reason:literal, $error:expr, $messages:expr, $summary:literal) => {
        outcome!(
            Routing,
            "routing",
            $short,
            Failed,
            "event_routing_failed",
            "routing",
            false,
            Shape::Failure {
                reason: $reason,
                error: $error
            },
            $messages,
            ORDER,
            $summary
        )
    };
}

macro_rules! unsent {
    ($short:literal, $status_reason:literal, $repeats:literal, $reason:literal, $error:literal, $messages:expr,
     $sample:expr, $summary:literal) => {
        outcome!(
            Processing,
            "processing",
            $short,
            Failed,
            $status_reason,
            "send_message",
            $repeats,
            Shape::Failure {
                reason: $reason,
                error: Some($error)
            },
            $messages,
            $sample,
            $summary
        )
    };
}

macro_rules! carrier {
    ($short:literal, $status:ident, $summary:literal) => {
        outcome!(
            Carrier,
            "carrier",
            $short,
            $status,
            $short,
            "send_message",
            true,
            Shape::Receipt,
            SMS,
            ORDER,
            $summary
        )
    };
}

macro_rules! handset {
    ($short:literal, $status:ident, $summary:literal) => {
        outcome!(
            Handset,
            "handset",
            $short,
            $status,
            $short,
            "send_message",
            false,
            Shape::Receipt,
            SMS,
            ORDER,
            $summary
        )
    };
}

/// Every outcome that Vibes' Event-Triggered Callbacks page documents, in the order of a journey.
///
/// Bodies: the page's sections Routing, Message Processing, Carrier Delivery Receipts and Handset
/// Delivery Receipts, and its two tables of `status_reason`. Which `status` goes with which
/// `status_reason` is shown there for `sent`, `delivered` and `rejected` only; the others are chosen
/// by their meaning.
pub static OUTCOMES: &[Outcome] = &[
    outcome!(
        Routing,
        "routing",
        "accepted",
        Processing,
        "accepted_by_event_triggered_message",
        "routing",
        false,
        Shape::Accepted,
        ANY,
        ORDER,
        "A campaign took the event"
    ),
    routed!(
        "no_route_rules",
        "no_route_rules_found_for_event",
        None,
        ANY,
        "No campaign listens to the event's type"
    ),
    routed!(
        "not_subscribed",
        "no_routes_accepted_event",
        Some("Person is not found"),
        ANY,
        "The person is not on the campaign's subscription list"
    ),
    routed!(
        "person_not_found",
        "no_routes_accepted_event",
        Some("Person is not found"),
        ANY,
        "The person is not in the mobile database"
    ),
    routed!(
        "sms_unsupported",
        "no_routes_accepted_event",
        Some("SMS is not supported by carrier"),
        SMS,
        "The person's carrier takes no SMS"
    ),
    routed!(
        "mms_unsupported",
        "no_routes_accepted_event",
        Some("MMS is not supported by carrier"),
        MMS,
        "The person's carrier takes no MMS"
    ),
    outcome!(
        Processing,
        "processing",
        "queued",
        Processing,
        "queued",
        "send_message",
        true,
        Shape::Queued,
        ANY,
        ORDER,
        "The message is made and waits for the carrier"
    ),
    unsent!(
        "carrier_unsupported",
        "event_message_action_failed",
        false,
        "PermanentLookupFailureError",
        "Carrier Lookup for {mdn} failed with error null is not a mobile phone number or its carrier [null] is currently not supported",
        ANY,
        LOOKUP,
        "The number is a landline or on an unsupported carrier"
    ),
    unsent!(
        "no_incentive_codes",
        "event_message_action_failed",
        false,
        "NoAvailableCodes",
        "The referenced incentive pool is out of codes.",
        ANY,
        ORDER,
        "The incentive pool has no code left"
    ),
    unsent!(
        "media_missing",
        "event_message_action_failed",
        true,
        "ValidationError",
        "Rendered media URL is blank",
        MMS,
        NO_MEDIA,
        "The event had no URL for the MMS template's media"
    ),
    unsent!(
        "media_type_not_allowed",
        "event_message_action_failed",
        true,
        "ValidationError",
        "Content of type application/pdf are not allowed",
        MMS,
        MEDIA,
        "The media is of a type that an MMS may not carry"
    ),
    unsent!(
        "media_too_large",
        "event_message_action_failed",
        true,
        "ValidationError",
        "Image size cannot exceed 0.5 megabytes",
        MMS,
        MEDIA,
        "The media is too big for an MMS"
    ),
    unsent!(
        "unexpected_error",
        "UnexpectedError",
        false,
        "UnexpectedError",
        "Reason for unexpected error.",
        ANY,
        ORDER,
        "Something went wrong inside Vibes"
    ),
    carrier!("sent", Success, "The carrier took the message"),
    carrier!("rejected", Failed, "The endpoint refused the message"),
    carrier!("unroutable", Failed, "There is no route for the message"),
    carrier!(
        "queued",
        Processing,
        "The message waits for final confirmation"
    ),
    carrier!(
        "expired",
        Failed,
        "The message expired before it was delivered"
    ),
    carrier!(
        "other_error",
        Failed,
        "An error that has no class of its own"
    ),
    handset!("delivered", Success, "The message is on the handset"),
    handset!(
        "default_vibes_unknown",
        Processing,
        "The receipt's state is not known yet"
    ),
    handset!("enroute", Processing, "The message is on its way"),
    handset!(
        "queued_on_aggregator",
        Processing,
        "The aggregator has queued the message"
    ),
    handset!(
        "queued_on_carrier",
        Processing,
        "The carrier has queued the message"
    ),
    handset!(
        "expired",
        Failed,
        "The message's validity ended before delivery"
    ),
    handset!("deleted", Failed, "The message was deleted on the SMSC"),
    handset!("undeliverable", Failed, "The message cannot be delivered"),
    handset!(
        "accepted",
        Success,
        "The message was read on the subscriber's behalf"
    ),
    handset!("unknown", Failed, "The message is in an invalid state"),
    handset!("rejected", Failed, "The message is in a rejected state"),
    handset!(
        "not_optin",
        Failed,
        "Verizon: VMP knows no opt-in of this number"
    ),
    handset!(
        "pending",
        Processing,
        "Verizon: the message waits in VMP for submission"
    ),
    handset!(
        "submission_error",
        Failed,
        "Verizon: the message could not be submitted"
    ),
    handset!("submitted", Processing, "The message is with the SMSC"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_good_days_are_where_they_are_said_to_be() {
        let names: BTreeSet<_> = OUTCOMES.iter().map(|o| o.name).collect();
        assert_eq!(names.len(), OUTCOMES.len());
        let good: Vec<_> = Stage::ALL.map(|s| Outcome::good_day(s).name).to_vec();
        assert_eq!(
            good,
            [
                "routing.accepted",
                "processing.queued",
                "carrier.sent",
                "handset.delivered"
            ]
        );
        for (outcome, name) in [
            (Outcome::no_route_rules(), "routing.no_route_rules"),
            (Outcome::media_missing(), "processing.media_missing"),
            (
                Outcome::media_type_not_allowed(),
                "processing.media_type_not_allowed",
            ),
            (Outcome::media_too_large(), "processing.media_too_large"),
            (Outcome::unexpected_error(), "processing.unexpected_error"),
        ] {
            assert_eq!(outcome.name, name);
        }
    }

    #[test]
    fn the_tables_are_whole() {
        let count = |stage| Outcome::of(stage).count();
        assert_eq!(count(Stage::Routing), 6);
        assert_eq!(count(Stage::Processing), 7);
        assert_eq!(count(Stage::Carrier), 6);
        assert_eq!(count(Stage::Handset), 15);
    }
}
