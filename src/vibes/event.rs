//! The rules that Vibes' Event API sets for an event, as its documentation has them.

/// The most bytes that the body of a posted event may have.
pub const MAX_EVENT_BYTES: usize = 16 * 1024;

/// The keys of `event_data` of which one must say whom the event is about.
pub const PERSON_KEYS: [&str; 5] = [
    "external_person_id",
    "mdn",
    "person_key",
    "person_id",
    "vibes_device_id",
];

/// Whether a text can be an `event_type`: letters, digits, `-` and `_`, at least one.
pub fn is_event_type(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether a text can be a mobile number: 10 to 15 digits, with a leading `+` in the E.164 form.
pub fn is_mdn(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (10..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

/// A mobile number as E.164 has it, which version 1 of the API does not. Ten digits are taken for a
/// North American number without its `1`. None if the text is no mobile number.
pub fn e164(mdn: &str) -> Option<String> {
    if !is_mdn(mdn) {
        return None;
    }
    Some(match mdn.len() {
        _ if mdn.starts_with('+') => mdn.to_owned(),
        10 => format!("+1{mdn}"),
        _ => format!("+{mdn}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_one_form() {
        for (mdn, wanted) in [
            ("5555550120", Some("+15555550120")),
            ("15555550120", Some("+15555550120")),
            ("+15555550120", Some("+15555550120")),
            ("447700900123", Some("+447700900123")),
            ("+6591234567", Some("+6591234567")),
            ("555-555-0120", None),
            ("0", None),
        ] {
            assert_eq!(e164(mdn).as_deref(), wanted, "{mdn}");
        }
    }
}
