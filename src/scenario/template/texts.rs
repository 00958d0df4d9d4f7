//! Filters for texts. What may grow beyond its input is built within the bound of a value.

use liquid_core::ValueView;
use liquid_core::model::{Value, ValueCow};

use super::MAX_KEPT;
use super::filters::{Call, made};
use super::values::Made;
use super::writing::{Builder, Full, too_large};

/// How many parts a text may be split into; each of them counts for more than its text.
const MAX_PARTS: usize = MAX_KEPT / 32;

fn built<'a>(build: impl FnOnce(&mut Builder<'_>) -> Result<(), Full>) -> Made<ValueCow<'a>> {
    let mut text = String::new();
    build(&mut Builder::new(&mut text, MAX_KEPT))?;
    made(Value::scalar(text))
}

/// A filter whose result is at most a few times as long as its input.
pub(super) fn mapped<'a>(call: Call<'a, '_>, map: fn(&str) -> String) -> Made<ValueCow<'a>> {
    let text = map(&call.text()?);
    made(Value::scalar(text))
}

pub(super) fn append<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let (text, more) = (call.text()?, call.argument_text(0)?);
    built(|out| out.push(&text).and_then(|()| out.push(&more)))
}

pub(super) fn prepend<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let (text, more) = (call.text()?, call.argument_text(0)?);
    built(|out| out.push(&more).and_then(|()| out.push(&text)))
}

pub(super) fn capitalize<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    mapped(call, |text| {
        let mut rest = text.chars();
        let first = rest.next().into_iter().flat_map(char::to_uppercase);
        first.chain(rest.flat_map(char::to_lowercase)).collect()
    })
}

/// The first so many places of a text, replaced.
pub(super) fn replace<'a>(call: Call<'a, '_>, most: usize) -> Made<ValueCow<'a>> {
    let (text, search) = (call.text()?, call.argument_text(0)?);
    let by = call.argument_text(1)?;
    built(|out| {
        let mut parts = text.splitn(most.saturating_add(1), search.as_ref());
        out.push(parts.next().unwrap_or_default())?;
        for part in parts {
            out.push(&by)?;
            out.push(part)?;
        }
        Ok(())
    })
}

/// Like Ruby's: a space stands for any white space, and no empty parts are left at the end.
pub(super) fn split<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let (text, separator) = (call.text()?, call.argument_text(0)?);
    let bounded = |parts: &mut dyn Iterator<Item = &str>| -> Made<Vec<Value>> {
        let parts: Vec<_> = parts.take(MAX_PARTS + 1).collect();
        if parts.len() > MAX_PARTS {
            return Err(too_large());
        }
        Ok(parts
            .into_iter()
            .map(|part| Value::scalar(part.to_owned()))
            .collect())
    };
    let mut parts = match separator.as_ref() {
        "" => bounded(&mut text.split("").skip(1))?,
        " " => bounded(&mut text.split_whitespace())?,
        separator => bounded(&mut text.split(separator))?,
    };
    while parts.last().is_some_and(|part| part.to_kstr().is_empty()) {
        parts.pop();
    }
    made(Value::Array(parts))
}

/// Cut to so many characters, those of the ellipsis included.
pub(super) fn truncate<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let length = usize::try_from(call.argument_whole(0, 50)?).unwrap_or(0);
    let text = call.text()?;
    if text.chars().count() <= length {
        return made(Value::scalar(text.into_owned()));
    }
    let ellipsis = match call.argument(1) {
        Some(_) => call.argument_text(1)?,
        None => "...".into(),
    };
    let kept = length.saturating_sub(ellipsis.chars().count());
    let end = text
        .char_indices()
        .nth(kept)
        .map_or(text.len(), |(at, _)| at);
    built(|out| out.push(&text[..end]).and_then(|()| out.push(&ellipsis)))
}

/// Cut to so many words, at least one.
pub(super) fn truncate_words<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let length = usize::try_from(call.argument_whole(0, 15)?)
        .unwrap_or(0)
        .max(1);
    let text = call.text()?;
    let ellipsis = match call.argument(1) {
        Some(_) => call.argument_text(1)?,
        None => "...".into(),
    };
    if text.split_whitespace().nth(length).is_none() {
        return made(Value::scalar(text.into_owned()));
    }
    built(|out| {
        for (at, word) in text.split_whitespace().take(length).enumerate() {
            out.push(if at == 0 { "" } else { " " })?;
            out.push(word)?;
        }
        out.push(&ellipsis)
    })
}

pub(super) fn newline_to_br<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let text = call.text()?;
    built(|out| {
        let mut lines = text.split('\n');
        out.push(lines.next().unwrap_or_default())?;
        for line in lines {
            out.push("<br />\n")?;
            out.push(line)?;
        }
        Ok(())
    })
}

/// Characters that mean something in HTML; with `once`, what is escaped already stays.
pub(super) fn escape<'a>(call: Call<'a, '_>, once: bool) -> Made<ValueCow<'a>> {
    if call.input.is_nil() {
        return Ok(call.input);
    }
    let text = call.text()?;
    built(|out| {
        for (at, c) in text.char_indices() {
            match c {
                '<' => out.push("&lt;")?,
                '>' => out.push("&gt;")?,
                '"' => out.push("&quot;")?,
                '\'' => out.push("&#39;")?,
                '&' if !(once && is_entity(&text[at + 1..])) => out.push("&amp;")?,
                c => out.push(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        Ok(())
    })
}

/// Whether this goes on behind `&` to an entity: `lt;`, `#39;`.
fn is_entity(rest: &str) -> bool {
    let name = rest.strip_prefix('#').unwrap_or(rest);
    let length = name
        .bytes()
        .take(32)
        .take_while(u8::is_ascii_alphanumeric)
        .count();
    length > 0 && name.as_bytes().get(length) == Some(&b';')
}

/// Without scripts, styles, comments and tags.
pub(super) fn without_html(text: &str) -> String {
    // Lower case of the same length, so that places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    let mut out = String::new();
    let mut at = 0;
    // Once an end is not found it is not looked for again, or many beginnings would take long.
    let mut absent = [false; 4];
    while let Some(found) = lower[at..].find('<') {
        let start = at + found;
        out.push_str(&text[at..start]);
        at = start;
        let kinds = [
            ("<script", "</script>"),
            ("<style", "</style>"),
            ("<!--", "-->"),
            ("<", ">"),
        ];
        let end = kinds
            .iter()
            .zip(&mut absent)
            .find_map(|((open, close), absent)| {
                if *absent || !lower[start..].starts_with(open) {
                    return None;
                }
                let inside = start + open.len();
                let end = lower[inside..].find(close);
                *absent = end.is_none();
                end.map(|end| inside + end + close.len())
            });
        match end {
            Some(end) => at = end,
            None => {
                out.push('<');
                at += 1;
            }
        }
    }
    out.push_str(&text[at..]);
    out
}

pub(super) fn url_encode<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    if call.input.is_nil() {
        return Ok(call.input);
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let text = call.text()?;
    built(|out| {
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    out.push(char::from(byte).encode_utf8(&mut [0; 4]))?;
                }
                b' ' => out.push("+")?,
                byte => {
                    out.push("%")?;
                    for digit in [byte >> 4, byte & 15] {
                        let digit = char::from(HEX[usize::from(digit)]);
                        out.push(digit.encode_utf8(&mut [0; 4]))?;
                    }
                }
            }
        }
        Ok(())
    })
}

pub(super) fn url_decode<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    if call.input.is_nil() {
        return Ok(call.input);
    }
    let text = call.text()?;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    while let [first, after @ ..] = rest {
        let decoded = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = &rest[3..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "what it decodes is not UTF-8".to_owned())?;
    made(Value::scalar(text))
}
