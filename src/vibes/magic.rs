//! Magic recipients: people to whom one thing always happens, known without any set-up.
//!
//! There is one for each outcome of the one table, under an `external_person_id` and a number that are made
//! of the table, so that a new outcome has one by itself. An event for such a person fares well up to the
//! outcome's stage; then the outcome happens, to every part of the message, and nothing comes after it.

use std::ops::Range;

use super::event::e164;
use super::outcome::{MessageType, OUTCOMES, Outcome, Shape, Stage};

/// What the `external_person_id` of a magic recipient begins with.
pub const PREFIX: &str = "vm-";

/// What their numbers begin with, of those that North America keeps for fiction; two digits follow.
const MDN: &str = "+155555501";

/// The two last digits of a stage's numbers. An outcome has its place among those of its stage, so that
/// one that is added at the stage's end leaves the other numbers as they are.
const fn digits(stage: Stage) -> Range<u8> {
    match stage {
        Stage::Routing => 0..10,
        Stage::Processing => 10..20,
        Stage::Carrier => 20..50,
        Stage::Handset => 50..90,
    }
}

/// Those of outcomes whose body looks different for an MMS: the SMS has its number above, the MMS here.
const MMS_DIGITS: Range<u8> = 90..100;

/// A person to whom one thing always happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MagicRecipient {
    /// What happens, as the last thing.
    pub outcome: &'static Outcome,
    /// What the event becomes, unless a campaign says it.
    pub message_type: MessageType,
    digits: u8,
}

impl MagicRecipient {
    /// Their customer's id: `vm-carrier-rejected`.
    pub fn external_person_id(&self) -> String {
        let name = self.outcome.name.replace(['.', '_'], "-");
        let variant = match MMS_DIGITS.contains(&self.digits) {
            true => "-mms",
            false => "",
        };
        format!("{PREFIX}{name}{variant}")
    }

    /// Their number: `+15555550121`.
    pub fn mdn(&self) -> String {
        format!("{MDN}{:02}", self.digits)
    }
}

/// All magic recipients, in the order of the outcomes.
pub fn recipients() -> impl Iterator<Item = MagicRecipient> {
    let usual = Stage::ALL.into_iter().flat_map(|stage| {
        digits(stage)
            .zip(Outcome::of(stage))
            .map(|(digits, outcome)| MagicRecipient {
                outcome,
                message_type: outcome.messages.first().copied().unwrap_or_default(),
                digits,
            })
    });
    let as_mms = MMS_DIGITS
        .zip(
            OUTCOMES
                .iter()
                .filter(|outcome| outcome.shape == Shape::Queued && outcome.messages.len() > 1),
        )
        .map(|(digits, outcome)| MagicRecipient {
            outcome,
            message_type: MessageType::Mms,
            digits,
        });
    usual.chain(as_mms)
}

/// The magic recipient whom an event is about: by the customer's id, else by the number, with or without
/// `+` and `1`.
pub fn recipient(external_person_id: Option<&str>, mdn: Option<&str>) -> Option<MagicRecipient> {
    let by_id = external_person_id
        .filter(|id| id.starts_with(PREFIX))
        .and_then(|id| recipients().find(|recipient| recipient.external_person_id() == id));
    by_id.or_else(|| {
        let mdn = e164(mdn?)?;
        let digits = mdn.strip_prefix(MDN).filter(|rest| rest.len() == 2)?;
        let digits: u8 = digits.parse().ok()?;
        recipients().find(|recipient| recipient.digits == digits)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_outcome_has_one_under_names_of_its_own() {
        let all: Vec<_> = recipients().collect();
        for outcome in OUTCOMES {
            assert!(all.iter().any(|one| one.outcome == outcome), "{outcome}");
        }
        let ids: BTreeSet<_> = all.iter().map(MagicRecipient::external_person_id).collect();
        let mdns: BTreeSet<_> = all.iter().map(MagicRecipient::mdn).collect();
        assert_eq!((ids.len(), mdns.len()), (all.len(), all.len()));
        for one in &all {
            assert_eq!(one.mdn().len(), "+15555550100".len());
            assert!(one.outcome.messages.contains(&one.message_type));
        }
    }

    #[test]
    fn numbers_stay_what_they_are() {
        for (id, mdn) in [
            ("vm-routing-accepted", "+15555550100"),
            ("vm-processing-queued", "+15555550110"),
            ("vm-processing-unexpected-error", "+15555550116"),
            ("vm-carrier-rejected", "+15555550121"),
            ("vm-handset-undeliverable", "+15555550157"),
            ("vm-handset-submitted", "+15555550164"),
            ("vm-processing-queued-mms", "+15555550190"),
        ] {
            let found = recipient(Some(id), None).map(|one| one.mdn());
            assert_eq!(found.as_deref(), Some(mdn), "{id}");
        }
        let mut blocks = Stage::ALL.map(digits).to_vec();
        blocks.push(MMS_DIGITS);
        assert!(blocks.is_sorted_by(|one, next| one.end <= next.start));
        assert!(blocks.iter().all(|block| block.end <= 100));
    }

    #[test]
    fn they_are_known_by_id_and_by_every_spelling_of_the_number() {
        for one in recipients() {
            let mdn = one.mdn();
            let id = one.external_person_id();
            assert_eq!(recipient(Some(&id), None), Some(one));
            for spelling in [&mdn, mdn.trim_start_matches('+'), &mdn["+1".len()..]] {
                assert_eq!(recipient(None, Some(spelling)), Some(one), "{spelling}");
                assert_eq!(recipient(Some("abc"), Some(spelling)), Some(one));
            }
        }
    }

    #[test]
    fn others_are_not() {
        for (id, mdn) in [
            (Some("carrier-rejected"), None),
            (Some("vm-"), None),
            (Some("vm-carrier-rejecte"), None),
            (Some("VM-CARRIER-REJECTED"), None),
            (None, Some("+15555550109")),
            (None, Some("+155555501210")),
            (None, Some("+445555550121")),
            (None, Some("+1555555012")),
            (None, Some("")),
            (None, None),
        ] {
            assert_eq!(recipient(id, mdn), None, "{id:?} {mdn:?}");
        }
    }
}
