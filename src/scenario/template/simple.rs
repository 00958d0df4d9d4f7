//! Templates of nothing but text, plain variables and draws, which is most of them: rendered without the
//! machinery of the language, several times as fast and to the same bytes.

use std::fmt::Write;

use liquid_core::model::{Scalar, try_find};
use liquid_core::{ObjectView, ValueView};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::filters::{DIGITS, LETTERS_AND_DIGITS, MAX_DRAWN, draw};

/// What a simple template consists of.
#[derive(Debug)]
pub(super) enum Piece {
    Text(String),
    Variable(Vec<Scalar>),
    Draw {
        letters: &'static [u8],
        length: usize,
    },
}

/// The pieces of a template that is known to be sound, if there is nothing else in it.
pub(super) fn pieces(source: &str) -> Option<Vec<Piece>> {
    if source.contains("{%") {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((text, from)) = rest.split_once("{{") {
        let (inside, after) = from.split_once("}}")?;
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(output(inside.trim())?);
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(pieces)
}

fn output(inside: &str) -> Option<Piece> {
    if let Some((length, filter)) = inside.split_once('|') {
        let letters = match filter.trim() {
            "fake_alphanumeric" => LETTERS_AND_DIGITS,
            "fake_digits" => DIGITS,
            _ => return None,
        };
        let length = length.trim();
        let is_plain = length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length
            .parse()
            .ok()
            .filter(|n| is_plain && *n <= MAX_DRAWN as usize)?;
        return Some(Piece::Draw { letters, length });
    }
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    const CONSTANTS: [&str; 6] = ["true", "false", "nil", "null", "empty", "blank"];
    let names: Vec<&str> = inside.split('.').collect();
    (names.iter().all(|name| is_name(name)) && !CONSTANTS.contains(&inside)).then(|| {
        Piece::Variable(
            names
                .into_iter()
                .map(|name| Scalar::new(name.to_owned()))
                .collect(),
        )
    })
}

/// Appends the pieces; false if that would be more than `most` bytes.
pub(super) fn render(
    pieces: &[Piece],
    variables: &dyn ObjectView,
    generator: &mut Xoshiro256PlusPlus,
    most: usize,
    out: &mut String,
) -> bool {
    let before = out.len();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Variable(path) => {
                if let Some(value) = try_find(variables.as_value(), path) {
                    // Writing to a text cannot fail.
                    let _ = write!(out, "{}", value.render());
                }
            }
            Piece::Draw { letters, length } => draw(generator, letters, *length, out),
        }
        if out.len() - before > most {
            return false;
        }
    }
    true
}
