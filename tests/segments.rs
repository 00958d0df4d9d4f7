//! What `vibes_mock::sms` makes of a text, seen from outside: against the GSM
//! 03.38 tables stated once more, against what providers publish about their own
//! counting, and against the rules as properties of any text.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers fail a test just as the tests themselves do"
)]

use std::collections::HashMap;

use proptest::prelude::*;
use vibes_mock::sms::{
    Encoding, Forcing, MAX_PARTS, TooManyParts, forcing_characters, gsm7_septets, part_count, split,
};

/// The default alphabet by code, as Unicode code points; the escape stands at
/// 0x1B for itself.
const ALPHABET: [u16; 128] = [
    0x0040, 0x00a3, 0x0024, 0x00a5, 0x00e8, 0x00e9, 0x00f9, 0x00ec, // 0x00
    0x00f2, 0x00c7, 0x000a, 0x00d8, 0x00f8, 0x000d, 0x00c5, 0x00e5, // 0x08
    0x0394, 0x005f, 0x03a6, 0x0393, 0x039b, 0x03a9, 0x03a0, 0x03a8, // 0x10
    0x03a3, 0x0398, 0x039e, 0x001b, 0x00c6, 0x00e6, 0x00df, 0x00c9, // 0x18
    0x0020, 0x0021, 0x0022, 0x0023, 0x00a4, 0x0025, 0x0026, 0x0027, // 0x20
    0x0028, 0x0029, 0x002a, 0x002b, 0x002c, 0x002d, 0x002e, 0x002f, // 0x28
    0x0030, 0x0031, 0x0032, 0x0033, 0x0034, 0x0035, 0x0036, 0x0037, // 0x30
    0x0038, 0x0039, 0x003a, 0x003b, 0x003c, 0x003d, 0x003e, 0x003f, // 0x38
    0x00a1, 0x0041, 0x0042, 0x0043, 0x0044, 0x0045, 0x0046, 0x0047, // 0x40
    0x0048, 0x0049, 0x004a, 0x004b, 0x004c, 0x004d, 0x004e, 0x004f, // 0x48
    0x0050, 0x0051, 0x0052, 0x0053, 0x0054, 0x0055, 0x0056, 0x0057, // 0x50
    0x0058, 0x0059, 0x005a, 0x00c4, 0x00d6, 0x00d1, 0x00dc, 0x00a7, // 0x58
    0x00bf, 0x0061, 0x0062, 0x0063, 0x0064, 0x0065, 0x0066, 0x0067, // 0x60
    0x0068, 0x0069, 0x006a, 0x006b, 0x006c, 0x006d, 0x006e, 0x006f, // 0x68
    0x0070, 0x0071, 0x0072, 0x0073, 0x0074, 0x0075, 0x0076, 0x0077, // 0x70
    0x0078, 0x0079, 0x007a, 0x00e4, 0x00f6, 0x00f1, 0x00fc, 0x00e0, // 0x78
];

/// The extension table: the code after the escape, and the character.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

const ESCAPE: u8 = 0x1b;

/// Every character of GSM-7 with its septets on the air.
fn table() -> HashMap<char, Vec<u8>> {
    let basic = (0u8..).zip(ALPHABET).filter(|&(code, _)| code != ESCAPE);
    basic
        .map(|(code, point)| (char::from_u32(u32::from(point)).unwrap(), vec![code]))
        .chain(EXTENSION.map(|(code, c)| (c, vec![ESCAPE, code])))
        .collect()
}

/// The septets of a text, or `None` if a character is in neither table.
fn septets(text: &str, table: &HashMap<char, Vec<u8>>) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for c in text.chars() {
        all.extend(table.get(&c)?);
    }
    Some(all)
}

/// What a phone makes of septets; `None` if an escape has nothing after it.
fn read_septets(septets: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = septets.iter();
    while let Some(&code) = rest.next() {
        if code == ESCAPE {
            let code = rest.next()?;
            let (_, c) = EXTENSION.iter().find(|(known, _)| known == code)?;
            text.push(*c);
        } else {
            text.push(char::from_u32(u32::from(ALPHABET[usize::from(code)]))?);
        }
    }
    Some(text)
}

/// The units of each part, and on the way that both counts agree.
fn sizes(text: &str) -> Vec<u16> {
    let cut = split(text).unwrap();
    assert_eq!(usize::from(part_count(text).unwrap()), cut.parts.len());
    cut.parts.iter().map(|part| part.units).collect()
}

fn too_many(text: &str) -> TooManyParts {
    let error = split(text).unwrap_err();
    assert_eq!(part_count(text), Err(error));
    error
}

// The alphabet.

#[test]
fn every_character_counts_as_the_two_tables_say() {
    let table = table();
    assert_eq!(table.len(), 127 + 10, "no character is listed twice");
    for c in '\0'..=char::MAX {
        let expected = table.get(&c).map(|codes| codes.len() as u8);
        assert_eq!(gsm7_septets(c), expected, "{c:?} (U+{:04X})", c as u32);
    }
}

#[test]
fn a_character_in_neither_table_makes_the_text_ucs2() {
    for c in [
        'ç', '`', '\t', '\0', '\u{1b}', '\u{7f}', 'Α', '’', '中', '😀',
    ] {
        assert_eq!(
            split(&c.to_string()).unwrap().encoding,
            Encoding::Ucs2,
            "{c:?}"
        );
    }
    for c in ['Ç', '@', '\n', '\r', '\u{c}', 'Ω', '€', '¤'] {
        assert_eq!(
            split(&c.to_string()).unwrap().encoding,
            Encoding::Gsm7,
            "{c:?}"
        );
    }
}

// What providers publish.

/// Twilio, "SMS Character Limit" and "How long can a message be?": 160 and 70
/// alone, 153 and 67 each of several; 161 characters go out as 153 and 8.
#[test]
fn twilio_lengths() {
    assert_eq!(sizes(&"a".repeat(160)), [160]);
    assert_eq!(sizes(&"a".repeat(161)), [153, 8]);
    assert_eq!(sizes(&"中".repeat(70)), [70]);
    assert_eq!(sizes(&"中".repeat(71)), [67, 4]);
}

/// Twilio, "Messaging Segment Calculator" (TwilioDevEd/message-segment-calculator,
/// basic tests): a brace and 158 digits fill one GSM-7 segment of 1120 bits, an
/// emoji and 68 digits one UCS-2 segment; one digit more makes two, of 1127 and
/// 1136 bits together.
#[test]
fn twilio_calculator() {
    for (head, digits, encoding, bits_a_unit, units) in [
        ("{", 158, Encoding::Gsm7, 7, 160),
        ("😜", 68, Encoding::Ucs2, 16, 70),
    ] {
        let full = format!("{head}{}", "5".repeat(digits));
        let cut = split(&full).unwrap();
        assert_eq!((cut.encoding, cut.parts.len()), (encoding, 1));
        assert_eq!((cut.units, cut.units * bits_a_unit), (units, 1120));

        let over = full + "5";
        let cut = split(&over).unwrap();
        assert_eq!((cut.encoding, cut.parts.len()), (encoding, 2));
        assert_eq!(cut.units * bits_a_unit, 1120 + bits_a_unit);
    }
}

/// Telnyx, "Message Encoding" (a list of lengths with their segments) and "Smart
/// Encoding" (150 characters with curly quotes are three segments, with straight
/// ones a single one).
#[test]
fn telnyx_lengths() {
    assert_eq!(sizes(&"a".repeat(100)), [100]);
    assert_eq!(sizes(&"a".repeat(306)), [153, 153]);
    assert_eq!(sizes(&"a".repeat(307)), [153, 153, 1]);
    assert_eq!(sizes(&"a".repeat(1530)), [153; 10]);

    let body = "a".repeat(148);
    assert_eq!(part_count(&format!("“{body}”")), Ok(3));
    assert_eq!(part_count(&format!("\"{body}\"")), Ok(1));
}

/// Mailjet, "SMS guide: encoding": the most characters for one to five parts.
/// Sinch, "Concatenated SMS" (community article), gives the same for up to three;
/// cloudnumbering, "Understand SMS encoding and message length", 918 and 402 for
/// six.
#[test]
fn most_characters_by_number_of_parts() {
    let published = [
        (1, 160, 70),
        (2, 306, 134),
        (3, 459, 201),
        (4, 612, 268),
        (5, 765, 335),
        (6, 918, 402),
    ];
    for (parts, gsm7, ucs2) in published {
        for (c, most) in [("a", gsm7), ("я", ucs2)] {
            assert_eq!(part_count(&c.repeat(most)), Ok(parts), "{most} {c}");
            assert_eq!(part_count(&c.repeat(most + 1)), Ok(parts + 1), "{most} {c}");
        }
    }
}

/// Plivo, "SMS" (frequently asked questions): 200 characters are two segments,
/// its maximum of 1600 about eleven. AWS End User Messaging, "SMS character
/// limits": a message may have 1530 GSM characters, which at 153 a part is ten.
#[test]
fn plivo_and_aws_lengths() {
    assert_eq!(part_count(&"a".repeat(200)), Ok(2));
    assert_eq!(part_count(&"a".repeat(1600)), Ok(11));
    assert_eq!(part_count(&"a".repeat(1530)), Ok(10));
}

/// cloudnumbering, "Understand SMS encoding and message length": 80 extension
/// characters fit alone. DIDWW, "SMS encoding reference": most emoji take two of
/// the 70, and one of them turns the whole message.
///
/// The former page also says that 459 extension characters fit in six parts. That
/// divides 918 by two and would tear an escape from its character at every second
/// border; kept whole, 76 fit in a part and 456 in six.
#[test]
fn characters_of_two_units() {
    assert_eq!(sizes(&"€".repeat(80)), [160]);
    assert_eq!(sizes(&"😀".repeat(35)), [70]);
    assert_eq!(sizes(&"😀".repeat(36)), [66, 6]);
    assert_eq!(sizes(&format!("{}😀", "a".repeat(68))), [70]);
    assert_eq!(sizes(&format!("{}😀", "a".repeat(69))), [67, 4]);

    assert_eq!(sizes(&"€".repeat(456)), [152; 6]);
    assert_eq!(part_count(&"€".repeat(459)), Ok(7));
}

/// Vonage, "Concatenation and Encoding": a line feed counts as one character.
#[test]
fn a_line_feed_is_one_character() {
    assert_eq!(sizes(&format!("{}\nb", "a".repeat(158))), [160]);
    assert_eq!(sizes(&format!("{}\nb", "a".repeat(159))), [153, 8]);
}

/// Bird, "Smart Encoding", and Sinch, "Auto Encoding": which characters their
/// substitution replaces, and by what.
#[test]
fn substitutes_that_providers_use_too() {
    let published = [
        ("“”«»ʺˮ‟❝❞〝〞＂", "\""),
        ("‘’ʻˈʼ", "'"),
        ("—", "-"),
        ("…", "..."),
    ];
    for (characters, instead) in published {
        for found in forcing_characters(characters) {
            assert_eq!(found.instead, Some(instead), "{:?}", found.character);
        }
        assert_eq!(
            forcing_characters(characters).len(),
            characters.chars().count()
        );
    }
}

// Borders.

#[test]
fn an_empty_text_is_one_empty_part() {
    let cut = split("").unwrap();
    assert_eq!(
        (cut.encoding, cut.units, cut.characters),
        (Encoding::Gsm7, 0, 0)
    );
    assert_eq!((cut.parts[0].text, sizes("")), ("", vec![0]));
    assert!(forcing_characters("").is_empty());
}

#[test]
fn extension_characters_at_the_borders() {
    let at = |before: usize, after: usize| {
        format!("{}[{}", "a".repeat(before), "b".repeat(after)) // septets: before + 2 + after
    };
    // Alone in its part: it may end at 160, and at 161 nothing fits alone.
    assert_eq!(sizes(&at(158, 0)), [160]);
    assert_eq!(sizes(&at(159, 0)), [153, 8]);
    // It ends at 153, would straddle 153, begins after 153.
    assert_eq!(sizes(&at(151, 10)), [153, 10]);
    assert_eq!(sizes(&at(152, 10)), [152, 12]);
    assert_eq!(sizes(&at(153, 10)), [153, 12]);
    // The septet left free pushes what follows, here into a third part.
    assert_eq!(sizes(&at(152, 151)), [152, 153]);
    assert_eq!(sizes(&at(152, 152)), [152, 153, 1]);
    // A lost septet does not count towards 160.
    assert_eq!(sizes(&at(152, 6)), [160]);
    assert_eq!(sizes(&at(152, 7)), [152, 9]);
}

#[test]
fn surrogate_pairs_at_the_borders() {
    let at = |before: usize, after: usize| {
        format!("{}😀{}", "я".repeat(before), "ж".repeat(after)) // units: before + 2 + after
    };
    assert_eq!(sizes(&at(68, 0)), [70]);
    assert_eq!(sizes(&at(69, 0)), [67, 4]);
    assert_eq!(sizes(&at(65, 10)), [67, 10]);
    assert_eq!(sizes(&at(66, 10)), [66, 12]);
    assert_eq!(sizes(&at(67, 10)), [67, 12]);
    assert_eq!(sizes(&at(66, 65)), [66, 67]);
    assert_eq!(sizes(&at(66, 66)), [66, 67, 1]);
    assert_eq!(sizes(&at(66, 2)), [70]);
    assert_eq!(sizes(&at(66, 3)), [66, 5]);
}

#[test]
fn a_grapheme_cluster_may_be_cut() {
    // A combining acute accent, and a couple joined by U+200D.
    let text = format!("{}e\u{301}{}", "я".repeat(66), "ж".repeat(10));
    assert!(split(&text).unwrap().parts[1].text.starts_with('\u{301}'));
    let text = format!("{}👩\u{200d}🚀{}", "я".repeat(64), "ж".repeat(10));
    assert!(split(&text).unwrap().parts[1].text.starts_with('🚀'));
}

#[test]
fn two_hundred_and_fifty_five_parts_and_not_one_more() {
    for (text, encoding, last) in [
        ("a".repeat(255 * 153), Encoding::Gsm7, 153),
        ("€".repeat(255 * 76), Encoding::Gsm7, 152),
        ("я".repeat(255 * 67), Encoding::Ucs2, 67),
        ("😀".repeat(255 * 33), Encoding::Ucs2, 66),
    ] {
        let cut = split(&text).unwrap();
        assert_eq!((cut.encoding, cut.parts.len()), (encoding, MAX_PARTS));
        assert_eq!(part_count(&text), Ok(255));
        assert_eq!(cut.parts[254].units, last);

        let one_more = text.clone() + &text[..text.chars().next().unwrap().len_utf8()];
        let error = too_many(&one_more);
        assert_eq!((error.encoding, error.parts), (encoding, 256));
    }
    // The septet an extension character cannot use still takes a plain one.
    assert_eq!(part_count(&("€".repeat(255 * 76) + "a")), Ok(255));
}

#[test]
fn the_error_says_how_many_and_the_limit_in_units() {
    let message = too_many(&"a".repeat(39_016)).to_string();
    for fact in ["256 GSM-7 parts", "39016 septets", "255", "39015"] {
        assert!(message.contains(fact), "{fact} in {message:?}");
    }
    let message = too_many(&"я".repeat(17_086)).to_string();
    for fact in ["256 UCS-2 parts", "17086 UTF-16 units", "255", "17085"] {
        assert!(message.contains(fact), "{fact} in {message:?}");
    }
    let error: Box<dyn std::error::Error> = Box::new(too_many(&"a".repeat(40_000)));
    assert!(error.source().is_none());
}

#[test]
fn a_huge_text_is_measured_to_its_end() {
    let huge = "a".repeat(153 * 20_000);
    assert_eq!(too_many(&huge).parts, 20_000);
    // The very last character may still turn the encoding.
    let error = too_many(&(huge + "’"));
    assert_eq!(error.encoding, Encoding::Ucs2);
    assert_eq!(error.units, 153 * 20_000 + 1);
    assert_eq!(error.parts, error.units.div_ceil(67));
}

#[test]
fn encodings_have_their_usual_names() {
    assert_eq!(Encoding::Gsm7.to_string(), "GSM-7");
    assert_eq!(format!("{:>7}", Encoding::Ucs2), "  UCS-2");
}

// What forces UCS-2.

#[test]
fn forcing_characters_come_in_order_with_count_place_and_substitute() {
    let text = "Don’t miss it – 20% off,\u{a0}only today’s 🎉 déjà vu… ê\u{200b}🎉";
    let found = |character, count, instead| Forcing {
        character,
        count,
        first_at: text.find(character).unwrap(),
        instead,
    };
    assert_eq!(
        forcing_characters(text),
        [
            found('’', 2, Some("'")),
            found('–', 1, Some("-")),
            found('\u{a0}', 1, Some(" ")),
            found('🎉', 2, None),
            found('…', 1, Some("...")),
            found('ê', 1, None),
            found('\u{200b}', 1, Some("")),
        ]
    );
    assert!(forcing_characters("Plain, with [brackets] & €5").is_empty());
}

#[test]
fn every_substitute_is_gsm7() {
    let every: String = ('\0'..='\u{ffff}').collect();
    let forcing = forcing_characters(&every);
    assert_eq!(forcing.len(), every.chars().count() - 137);
    let known = forcing.iter().filter_map(|f| Some((f, f.instead?)));
    let mut count = 0;
    for (forcing, instead) in known {
        count += 1;
        assert!(
            instead.chars().all(|c| gsm7_septets(c).is_some()),
            "{forcing:?}"
        );
    }
    assert!(count > 200, "{count}");
}

#[test]
fn full_width_forms_become_ascii() {
    for (from, to) in [
        ('！', "!"),
        ('Ａ', "A"),
        ('＿', "_"),
        ('｀', "'"),
        ('～', "~"),
    ] {
        assert_eq!(forcing_characters(&from.to_string())[0].instead, Some(to));
    }
    assert_eq!(forcing_characters("\u{ff00}")[0].instead, None);
    assert_eq!(forcing_characters("\u{ff5f}")[0].instead, None);
}

// Properties.

fn gsm7_character() -> impl Strategy<Value = char> {
    prop_oneof![
        12 => prop::char::range(' ', 'Z').prop_filter("in GSM-7", |&c| c != '`'),
        3 => prop::sample::select(EXTENSION.map(|(_, c)| c).to_vec()),
        2 => prop::sample::select(vec!['@', 'é', 'Ç', 'Ω', 'Δ', 'ß', '\n', '\r', '¤']),
    ]
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        6 => gsm7_character(),
        1 => prop::sample::select(vec!['’', 'я', '中', 'ç', '\u{301}', '\u{200d}']),
        2 => prop::sample::select(vec!['😀', '👩', '𝒳', '\u{10ffff}']),
        1 => any::<char>(),
    ]
}

/// Texts in either encoding, from nothing to several parts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(gsm7_character(), 0..600),
        prop::collection::vec(gsm7_character(), 140..165),
        prop::collection::vec(character(), 0..300),
        prop::collection::vec(character(), 45..75),
    ]
    .prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn parts_are_the_text_whole_within_limits_and_greedy(text in text()) {
        let table = table();
        let cut = split(&text).unwrap();
        let on_air = septets(&text, &table);
        let (encoding, alone, each) = match on_air {
            Some(_) => (Encoding::Gsm7, 160, 153),
            None => (Encoding::Ucs2, 70, 67),
        };
        let units = |text: &str| match encoding {
            Encoding::Gsm7 => septets(text, &table).unwrap().len(),
            Encoding::Ucs2 => text.encode_utf16().count(),
        };
        prop_assert_eq!(cut.encoding, encoding);
        prop_assert_eq!(cut.encoding == Encoding::Gsm7, forcing_characters(&text).is_empty());

        // Nothing lost, nothing counted otherwise.
        prop_assert_eq!(cut.parts.iter().map(|p| p.text).collect::<String>(), text.as_str());
        prop_assert_eq!(cut.parts.iter().map(|p| usize::from(p.units)).sum::<usize>(), cut.units);
        prop_assert_eq!(cut.units, units(&text));
        prop_assert_eq!(cut.characters, text.chars().count());
        prop_assert_eq!(usize::from(part_count(&text).unwrap()), cut.parts.len());

        // One part if and only if it fits alone.
        prop_assert_eq!(cut.parts.len() == 1, cut.units <= alone);
        let limit = if cut.parts.len() == 1 { alone } else { each };
        for part in &cut.parts {
            prop_assert_eq!(usize::from(part.units), units(part.text));
            prop_assert!(usize::from(part.units) <= limit);
        }

        // The next part begins only because its first character had no room.
        for pair in cut.parts.windows(2) {
            let next = pair[1].text.chars().next().expect("no empty part").to_string();
            prop_assert!(usize::from(pair[0].units) + units(&next) > each);
        }
    }

    #[test]
    fn every_part_can_be_read_on_its_own(text in text()) {
        let table = table();
        let cut = split(&text).unwrap();
        // The code units of the whole text, cut at the lengths the parts claim.
        match septets(&text, &table) {
            Some(all) => {
                let mut rest = &all[..];
                for part in &cut.parts {
                    let (own, others) = rest.split_at(usize::from(part.units));
                    prop_assert!(read_septets(own).as_deref() == Some(part.text), "{own:?}");
                    rest = others;
                }
            }
            None => {
                let all: Vec<u16> = text.encode_utf16().collect();
                let mut rest = &all[..];
                for part in &cut.parts {
                    let (own, others) = rest.split_at(usize::from(part.units));
                    prop_assert!(String::from_utf16(own).ok().as_deref() == Some(part.text), "{own:?}");
                    rest = others;
                }
            }
        }
    }

    #[test]
    fn one_more_character_never_makes_fewer_parts(
        text in text(),
        added in character(),
        place in any::<prop::sample::Index>(),
    ) {
        let before = part_count(&text).unwrap();
        let mut characters: Vec<char> = text.chars().collect();
        characters.insert(place.index(characters.len() + 1), added);
        prop_assert!(part_count(&String::from_iter(characters)).unwrap() >= before);
    }

    #[test]
    fn forcing_characters_agree_with_a_plain_count(text in text()) {
        let table = table();
        let found = forcing_characters(&text);
        let mut last = None;
        for forcing in &found {
            prop_assert!(!table.contains_key(&forcing.character));
            prop_assert_eq!(text.find(forcing.character), Some(forcing.first_at));
            prop_assert_eq!(text.matches(forcing.character).count(), forcing.count);
            prop_assert!(last < Some(forcing.first_at));
            last = Some(forcing.first_at);
        }
        let outside = text.chars().filter(|c| !table.contains_key(c)).count();
        prop_assert_eq!(found.iter().map(|f| f.count).sum::<usize>(), outside);
    }
}
