//! How a text becomes the parts that go over the air: the choice between GSM-7
//! and UCS-2, the size of every part, and the characters that make a text
//! expensive.
//!
//! The rules are those of carriers that join long messages. A text of which
//! every character is in the GSM 03.38 default alphabet or its extension table
//! is GSM-7: 160 septets if it fits in one part, otherwise 153 in each, because
//! the header that numbers the parts takes the place of seven. Any other
//! character makes the whole text UCS-2: 70 UTF-16 units in one part, otherwise
//! 67 in each. Parts are filled greedily; what takes two units (an escaped
//! extension character, a surrogate pair) moves to the next part whole.
//!
//! Only those pairs are kept together. A grapheme cluster is not: carriers count
//! units and know nothing of what a reader sees as one sign, so a combining mark
//! or the second half of a joined emoji may open a part of its own.
//!
//! Left to others: national shift tables (never used here), rewriting a text so
//! that it gets cheaper, breaking at words for carriers that cannot join parts,
//! what a part costs, and the bytes of the header.

use std::collections::BTreeMap;
use std::fmt;

/// The most parts one text may have: the header numbers them in one octet, from 1.
pub const MAX_PARTS: usize = 255;

/// How the characters of a whole text are put on the air.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The GSM 03.38 default alphabet with its extension table, counted in septets.
    Gsm7,
    /// UCS-2, in practice UTF-16, counted in 16-bit units.
    Ucs2,
}

impl Encoding {
    /// Units (septets or UTF-16 units) a text may have to go out as a single part.
    pub const fn single_limit(self) -> u16 {
        match self {
            Encoding::Gsm7 => 160,
            Encoding::Ucs2 => 70,
        }
    }

    /// Units (septets or UTF-16 units) each part may have when there are several.
    pub const fn part_limit(self) -> u16 {
        match self {
            Encoding::Gsm7 => 153,
            Encoding::Ucs2 => 67,
        }
    }

    const fn unit_name(self) -> &'static str {
        match self {
            Encoding::Gsm7 => "septets",
            Encoding::Ucs2 => "UTF-16 units",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Encoding::Gsm7 => "GSM-7",
            Encoding::Ucs2 => "UCS-2",
        })
    }
}

/// One part of a text, in the order of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'t> {
    /// The stretch of the text this part carries.
    pub text: &'t str,
    /// Its length in septets (GSM-7) or UTF-16 units (UCS-2).
    pub units: u16,
}

/// A text cut into its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmented<'t> {
    /// The encoding all parts share.
    pub encoding: Encoding,
    /// The parts, one to [`MAX_PARTS`]; joined they are the text again.
    pub parts: Vec<Part<'t>>,
    /// Septets or UTF-16 units of the whole text; room left empty at the end of a
    /// part is not counted.
    pub units: usize,
    /// Unicode scalar values of the whole text, whatever they cost.
    pub characters: usize,
}

/// The text is longer than [`MAX_PARTS`] parts can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyParts {
    /// The encoding the text would have.
    pub encoding: Encoding,
    /// How many parts it would take.
    pub parts: usize,
    /// Its length in septets or UTF-16 units.
    pub units: usize,
}

impl TooManyParts {
    /// Units (septets or UTF-16 units) that [`MAX_PARTS`] full parts carry. A text
    /// of two-unit characters may fail below it, as it leaves units unused at the
    /// end of its parts.
    pub const fn limit(&self) -> usize {
        MAX_PARTS * self.encoding.part_limit() as usize
    }
}

impl fmt::Display for TooManyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the text takes {} {} parts ({} {unit}); the most is {MAX_PARTS} parts ({} {unit})",
            self.parts,
            self.encoding,
            self.units,
            self.limit(),
            unit = self.encoding.unit_name(),
        )
    }
}

impl std::error::Error for TooManyParts {}

/// A character that keeps a text out of GSM-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forcing {
    /// The character.
    pub character: char,
    /// How often the text has it.
    pub count: usize,
    /// Byte offset in the text at which it first stands.
    pub first_at: usize,
    /// What a copywriter would type instead to stay in GSM-7; an empty string
    /// means that it can simply go, `None` that no substitute is known.
    pub instead: Option<&'static str>,
}

/// Cuts `text` into parts as carriers do. An empty text is one part of 0 units.
///
/// # Errors
///
/// [`TooManyParts`] when it takes more than [`MAX_PARTS`] parts; this is found
/// out before any part is built, so memory stays bounded whatever the length.
///
/// # Examples
///
/// ```
/// use vibes_mock::sms::{Encoding, split};
///
/// let text = "x".repeat(161);
/// let cut = split(&text).unwrap();
/// assert_eq!(cut.encoding, Encoding::Gsm7);
/// assert_eq!(cut.parts[0].units, 153);
/// assert_eq!(cut.parts[1].units, 8);
/// ```
pub fn split(text: &str) -> Result<Segmented<'_>, TooManyParts> {
    let (encoding, units, count) = measure(text)?;
    let mut parts = Vec::with_capacity(usize::from(count));
    if count == 1 {
        parts.push(Part {
            text,
            units: units as u16,
        });
    } else {
        let limit = encoding.part_limit();
        let (mut start, mut filled) = (0, 0);
        for (at, c) in text.char_indices() {
            let needed = units_of(c, encoding);
            if filled + needed > limit {
                parts.push(Part {
                    text: &text[start..at],
                    units: filled,
                });
                (start, filled) = (at, 0);
            }
            filled += needed;
        }
        parts.push(Part {
            text: &text[start..],
            units: filled,
        });
    }
    debug_assert_eq!(parts.len(), usize::from(count));
    Ok(Segmented {
        encoding,
        parts,
        units,
        characters: text.chars().count(),
    })
}

/// The number of parts [`split`] would cut `text` into, 1 to 255, from one pass
/// and without allocating.
///
/// # Errors
///
/// [`TooManyParts`] when it would be more than [`MAX_PARTS`].
pub fn part_count(text: &str) -> Result<u8, TooManyParts> {
    measure(text).map(|(_, _, parts)| parts)
}

/// Septets `c` takes in GSM-7: one in the default alphabet, two (escape and code)
/// in the extension table, `None` in neither, which forces a text to UCS-2.
pub fn gsm7_septets(c: char) -> Option<u8> {
    match SEPTETS.get(c as usize) {
        Some(0) => None,
        Some(&septets) => Some(septets),
        None => (c == EURO).then_some(2),
    }
}

/// Every distinct character of `text` that forces UCS-2, in the order of first
/// appearance; empty when the text is GSM-7. Memory grows with the number of
/// distinct characters, not with the length.
pub fn forcing_characters(text: &str) -> Vec<Forcing> {
    let mut found: Vec<Forcing> = Vec::new();
    let mut places = BTreeMap::new();
    for (at, character) in text.char_indices() {
        if gsm7_septets(character).is_some() {
            continue;
        }
        let place = *places.entry(character).or_insert_with(|| {
            found.push(Forcing {
                character,
                count: 0,
                first_at: at,
                instead: look_alike(character),
            });
            found.len() - 1
        });
        found[place].count += 1;
    }
    found
}

/// Length and end of a text in one encoding, added up unit by unit.
///
/// `end` is where the last unit would end if all parts were laid side by side at
/// their full size. It runs ahead of `units` by one for every part that a
/// two-unit character left with a free unit, so the number of parts is a plain
/// division and a run of one-unit characters a plain addition.
struct Ruler {
    encoding: Encoding,
    units: u64,
    end: u64,
}

impl Ruler {
    const fn new(encoding: Encoding) -> Self {
        Ruler {
            encoding,
            units: 0,
            end: 0,
        }
    }

    /// Adds `count` characters of one unit.
    fn singles(&mut self, count: usize) {
        self.units += count as u64;
        self.end += count as u64;
    }

    /// Adds one character of two units, which must not be torn.
    fn double(&mut self) {
        let limit = u64::from(self.encoding.part_limit());
        if self.end % limit == limit - 1 {
            self.end += 1;
        }
        self.units += 2;
        self.end += 2;
    }

    fn add(&mut self, units: u16) {
        if units == 1 {
            self.singles(1);
        } else {
            self.double();
        }
    }

    fn parts(&self) -> u64 {
        // Whether the text fits alone depends on its length only: a single part
        // has no border at which anything could be torn.
        if self.units <= u64::from(self.encoding.single_limit()) {
            1
        } else {
            self.end.div_ceil(u64::from(self.encoding.part_limit()))
        }
    }
}

/// Encoding, units and number of parts of a text, in one pass.
fn measure(text: &str) -> Result<(Encoding, usize, u8), TooManyParts> {
    // Which encoding it is shows only at the first forcing character, perhaps the
    // last of the text, so both are measured until then.
    let mut gsm7 = Some(Ruler::new(Encoding::Gsm7));
    let mut ucs2 = Ruler::new(Encoding::Ucs2);
    let mut rest = text;
    loop {
        let plain = plain_prefix(rest.as_bytes());
        ucs2.singles(plain);
        if let Some(ruler) = &mut gsm7 {
            ruler.singles(plain);
        }
        // Only ASCII was skipped, so this is a character boundary.
        let mut chars = rest[plain..].chars();
        let Some(c) = chars.next() else { break };
        rest = chars.as_str();

        ucs2.add(c.len_utf16() as u16);
        if let Some(ruler) = &mut gsm7 {
            match gsm7_septets(c) {
                Some(septets) => ruler.add(u16::from(septets)),
                None => gsm7 = None,
            }
        }
    }
    let ruler = gsm7.unwrap_or(ucs2);
    let (encoding, units, parts) = (ruler.encoding, ruler.units as usize, ruler.parts());
    match u8::try_from(parts) {
        Ok(parts) => Ok((encoding, units, parts)),
        Err(_) => Err(TooManyParts {
            encoding,
            parts: parts as usize,
            units,
        }),
    }
}

// `measure` takes "fits a u8" for "within the limit".
const _: () = assert!(MAX_PARTS == u8::MAX as usize);

/// How many bytes at the start are ASCII characters of one septet, which is
/// nearly all of a usual text.
fn plain_prefix(bytes: &[u8]) -> usize {
    // Whole blocks without an exit inside let the compiler look at many bytes at
    // once; the exact end is then sought in the last block only.
    const BLOCK: usize = 16;
    let is_plain = |byte: &u8| PLAIN[usize::from(*byte)];
    let whole = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| block.iter().fold(true, |all, byte| all & is_plain(byte)))
        .count()
        * BLOCK;
    whole + bytes[whole..].iter().take_while(|b| is_plain(b)).count()
}

/// Units of a character in the encoding its text was found to have.
fn units_of(c: char, encoding: Encoding) -> u16 {
    match encoding {
        Encoding::Gsm7 => u16::from(gsm7_septets(c).unwrap_or(0)),
        Encoding::Ucs2 => c.len_utf16() as u16,
    }
}

/// The GSM 03.38 default alphabet by code, without 0x1B, which is the escape to
/// the extension table and no character. Of Ç only the capital is here.
const DEFAULT_ALPHABET: [&str; 8] = [
    "@£$¥èéùìòÇ\nØø\rÅå",
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ",
    " !\"#¤%&'()*+,-./",
    "0123456789:;<=>?",
    "¡ABCDEFGHIJKLMNO",
    "PQRSTUVWXYZÄÖÑÜ§",
    "¿abcdefghijklmno",
    "pqrstuvwxyzäöñüà",
];

/// The extension table but for the euro sign, which alone lies beyond [`SEPTETS`].
const EXTENSION: &str = "\u{c}^{}\\[~]|";
const EURO: char = '€';

/// Septets by code point, 0 for characters that are not in GSM-7. It reaches as
/// far as the Greek capitals of the default alphabet, so a look-up is one load.
const SEPTETS: [u8; 0x400] = {
    let mut table = [0; 0x400];
    let mut row = 0;
    while row < DEFAULT_ALPHABET.len() {
        mark(&mut table, DEFAULT_ALPHABET[row], 1);
        row += 1;
    }
    mark(&mut table, EXTENSION, 2);
    table
};

/// Writes `septets` at every character of `characters`, all below U+0400.
const fn mark(table: &mut [u8; 0x400], characters: &str, septets: u8) {
    // `chars` is not available at compile time; below U+0400 UTF-8 has one byte
    // or two.
    let bytes = characters.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let code = if bytes[at] < 0x80 {
            bytes[at] as usize
        } else {
            assert!(bytes[at] < 0xd0, "beyond U+03FF");
            let high = (bytes[at] & 0x1f) as usize;
            at += 1;
            high << 6 | (bytes[at] & 0x3f) as usize
        };
        assert!(table[code] == 0, "listed twice");
        table[code] = septets;
        at += 1;
    }
}

/// For every byte of UTF-8, whether it is on its own a character of one septet.
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x80 {
        table[byte] = SEPTETS[byte] == 1;
        byte += 1;
    }
    table
};

/// What a copywriter would type instead of a character outside GSM-7.
fn look_alike(c: char) -> Option<&'static str> {
    if let Ok(place) = LOOK_ALIKES.binary_search_by_key(&c, |&(from, _)| from) {
        return Some(LOOK_ALIKES[place].1);
    }
    // The full-width forms repeat ASCII in its order, in a block of their own.
    let place = (c as usize).checked_sub(0xff01)?;
    FULL_WIDTH.get(place..=place)
}

/// ASCII from `!` to `~`, with the apostrophe for the grave accent, which GSM-7
/// does not have.
const FULL_WIDTH: &str = concat!(
    "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_",
    "'abcdefghijklmnopqrstuvwxyz{|}~",
);

/// Typographic characters and their GSM-7 look-alikes, by code point.
///
/// Letters with a diacritic are left out on purpose: without it they are another
/// spelling, which is for the author to decide. Greek capitals that a phone draws
/// like Latin ones are in, as that is how Greek is kept in GSM-7.
const LOOK_ALIKES: &[(char, &str)] = &[
    ('\t', " "),
    ('\u{b}', "\n"),
    ('`', "'"),
    ('\u{85}', "\n"),
    ('\u{a0}', " "),
    ('¦', "|"),
    ('©', "(C)"),
    ('«', "\""),
    ('\u{ad}', ""),
    ('®', "(R)"),
    ('²', "2"),
    ('³', "3"),
    ('´', "'"),
    ('·', "."),
    ('¹', "1"),
    ('»', "\""),
    ('¼', "1/4"),
    ('½', "1/2"),
    ('¾', "3/4"),
    ('×', "x"),
    ('ʹ', "'"),
    ('ʺ', "\""),
    ('ʻ', "'"),
    ('ʼ', "'"),
    ('ʽ', "'"),
    ('ˆ', "^"),
    ('ˈ', "'"),
    ('ˊ', "'"),
    ('ˋ', "'"),
    ('˜', "~"),
    ('ˮ', "\""),
    ('\u{34f}', ""),
    ('\u{37e}', ";"),
    ('Α', "A"),
    ('Β', "B"),
    ('Ε', "E"),
    ('Ζ', "Z"),
    ('Η', "H"),
    ('Ι', "I"),
    ('Κ', "K"),
    ('Μ', "M"),
    ('Ν', "N"),
    ('Ο', "O"),
    ('Ρ', "P"),
    ('Τ', "T"),
    ('Υ', "Y"),
    ('Χ', "X"),
    ('\u{61c}', ""),
    ('\u{2000}', " "),
    ('\u{2001}', " "),
    ('\u{2002}', " "),
    ('\u{2003}', " "),
    ('\u{2004}', " "),
    ('\u{2005}', " "),
    ('\u{2006}', " "),
    ('\u{2007}', " "),
    ('\u{2008}', " "),
    ('\u{2009}', " "),
    ('\u{200a}', " "),
    ('\u{200b}', ""),
    ('\u{200c}', ""),
    ('\u{200d}', ""),
    ('\u{200e}', ""),
    ('\u{200f}', ""),
    ('\u{2010}', "-"),
    ('\u{2011}', "-"),
    ('\u{2012}', "-"),
    ('–', "-"),
    ('—', "-"),
    ('―', "-"),
    ('‘', "'"),
    ('’', "'"),
    ('‚', ","),
    ('‛', "'"),
    ('“', "\""),
    ('”', "\""),
    ('„', "\""),
    ('‟', "\""),
    ('•', "*"),
    ('․', "."),
    ('‥', ".."),
    ('…', "..."),
    ('\u{2028}', "\n"),
    ('\u{2029}', "\n"),
    ('\u{202a}', ""),
    ('\u{202b}', ""),
    ('\u{202c}', ""),
    ('\u{202d}', ""),
    ('\u{202e}', ""),
    ('\u{202f}', " "),
    ('′', "'"),
    ('″', "\""),
    ('‵', "'"),
    ('‹', "'"),
    ('›', "'"),
    ('‼', "!!"),
    ('⁄', "/"),
    ('⁇', "??"),
    ('⁈', "?!"),
    ('⁉', "!?"),
    ('\u{205f}', " "),
    ('\u{2060}', ""),
    ('\u{2066}', ""),
    ('\u{2067}', ""),
    ('\u{2068}', ""),
    ('\u{2069}', ""),
    ('₤', "£"),
    ('™', "(TM)"),
    ('\u{2126}', "Ω"),
    ('\u{212a}', "K"),
    ('\u{212b}', "Å"),
    ('←', "<-"),
    ('→', "->"),
    ('∆', "Δ"),
    ('−', "-"),
    ('∕', "/"),
    ('∗', "*"),
    ('≤', "<="),
    ('≥', ">="),
    ('❛', "'"),
    ('❜', "'"),
    ('❝', "\""),
    ('❞', "\""),
    ('\u{3000}', " "),
    ('〝', "\""),
    ('〞', "\""),
    ('\u{fe0e}', ""),
    ('\u{fe0f}', ""),
    ('\u{feff}', ""),
];

// The binary search needs the order.
const _: () = {
    let mut at = 1;
    while at < LOOK_ALIKES.len() {
        assert!(LOOK_ALIKES[at - 1].0 < LOOK_ALIKES[at].0, "out of order");
        at += 1;
    }
};
