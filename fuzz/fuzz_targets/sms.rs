//! Any text as a message: nothing is lost, and no part is too long.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vibes_mock::sms;

fuzz_target!(|text: &str| {
    let Ok(split) = sms::split(text) else { return };
    let joined: String = split.parts.iter().map(|part| part.text).collect();
    assert_eq!(joined, text);
    let limit = match split.parts.len() {
        1 => split.encoding.single_limit(),
        _ => split.encoding.part_limit(),
    };
    assert!(split.parts.iter().all(|part| part.units <= limit));
    assert_eq!(sms::part_count(text).map(usize::from), Ok(split.parts.len()));
});
