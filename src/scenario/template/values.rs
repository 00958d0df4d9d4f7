//! What values are to a template: their kind, their size, and how they compare.
//!
//! Done here instead of by `liquid-core`, which reads the machine's clock where it compares dates and
//! writes objects in the order of a hash map.

use std::borrow::Cow;
use std::cmp::Ordering;

use liquid_core::model::{KStringCow, ScalarCow, Value};
use liquid_core::{ObjectView, ValueView};

use super::MAX_KEPT;
use super::writing::Builder;

/// What a value counts for beside its text.
const SHARE: usize = 48;
/// How deep values may be nested; those of scenarios are never near it.
pub(super) const MAX_DEPTH: usize = 100;

/// A value that a filter gives, or why it cannot.
pub(super) type Made<T> = Result<T, String>;

/// A number as arithmetic sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Fraction(f64),
}

impl Number {
    pub(super) fn as_fraction(self) -> f64 {
        match self {
            Number::Whole(whole) => whole as f64,
            Number::Fraction(fraction) => fraction,
        }
    }

    pub(super) fn into_value(self) -> Value {
        match self {
            Number::Whole(whole) => Value::scalar(whole),
            Number::Fraction(fraction) => Value::scalar(fraction),
        }
    }
}

/// The kinds of scalar that are not just text.
pub(super) enum Kind {
    Number(Number),
    Bool(bool),
    Text,
}

pub(super) fn kind(scalar: &ScalarCow<'_>) -> Kind {
    // Only the name of the type tells a number from a text that looks like one.
    match scalar.type_name() {
        "whole number" => scalar
            .to_integer()
            .map_or(Kind::Text, |whole| Kind::Number(Number::Whole(whole))),
        "fractional number" => scalar.to_float().map_or(Kind::Text, |fraction| {
            Kind::Number(Number::Fraction(fraction))
        }),
        "boolean" => scalar.to_bool().map_or(Kind::Text, Kind::Bool),
        _ => Kind::Text,
    }
}

/// The number that a value is, or that a text spells.
pub(super) fn number(value: &dyn ValueView) -> Option<Number> {
    let scalar = value.as_scalar()?;
    match kind(&scalar) {
        Kind::Number(number) => Some(number),
        Kind::Bool(_) => None,
        Kind::Text => spelled_number(scalar.into_cow_str().trim()),
    }
}

fn spelled_number(text: &str) -> Option<Number> {
    let is_plain =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    if text.is_empty() || !text.bytes().all(is_plain) {
        return None;
    }
    let whole = text.parse().ok().map(Number::Whole);
    let fraction = || text.parse().ok().map(Number::Fraction);
    whole.or_else(fraction)
}

/// An object's entries in the order of their keys, since its own order may be that of a hash map.
pub(super) fn sorted(object: &dyn ObjectView) -> Vec<(KStringCow<'_>, &dyn ValueView)> {
    let mut entries: Vec<_> = object.iter().collect();
    entries.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
    entries
}

/// A value as text.
pub(super) fn text(value: &dyn ValueView) -> Made<Cow<'_, str>> {
    if let Some(scalar) = value.as_scalar()
        && matches!(kind(&scalar), Kind::Text)
    {
        return Ok(scalar.into_cow_str());
    }
    let mut text = String::new();
    Builder::new(&mut text, MAX_KEPT).value(value)?;
    Ok(Cow::Owned(text))
}

/// How many bytes a value takes, with a share for each of its elements; past the bound it stops counting.
pub(super) fn size(value: &dyn ValueView) -> usize {
    let mut total = 0;
    add_size(value, 0, &mut total);
    total
}

/// A single text counts for its bytes only, so that it may be as long as an output.
pub(super) fn is_too_large(value: &dyn ValueView) -> bool {
    let share = if value.is_scalar() { SHARE } else { 0 };
    size(value).saturating_sub(share) > MAX_KEPT
}

fn add_size(value: &dyn ValueView, depth: usize, total: &mut usize) {
    *total = total.saturating_add(SHARE);
    if *total > 2 * MAX_KEPT || depth > MAX_DEPTH {
        *total = usize::MAX;
        return;
    }
    if let Some(scalar) = value.as_scalar() {
        if matches!(kind(&scalar), Kind::Text) {
            *total = total.saturating_add(scalar.into_cow_str().len());
        }
    } else if let Some(array) = value.as_array() {
        for item in array.values() {
            add_size(item, depth + 1, total);
            if *total == usize::MAX {
                return;
            }
        }
    } else if let Some(object) = value.as_object() {
        for (key, item) in object.iter() {
            *total = total.saturating_add(key.len());
            add_size(item, depth + 1, total);
            if *total == usize::MAX {
                return;
            }
        }
    }
}

/// Whether two values are the same; a text is never the same as a number.
pub(super) fn equal(a: &dyn ValueView, b: &dyn ValueView) -> bool {
    equal_within(a, b, MAX_DEPTH)
}

fn equal_within(a: &dyn ValueView, b: &dyn ValueView, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else {
        return false;
    };
    // `empty` and `blank` ask the other value whether it is that.
    match (a.as_state(), b.as_state()) {
        (Some(a), Some(b)) => return a == b,
        (Some(state), None) => return b.query_state(state),
        (None, Some(state)) => return a.query_state(state),
        (None, None) => {}
    }
    if let (Some(a), Some(b)) = (a.as_scalar(), b.as_scalar()) {
        return match (kind(&a), kind(&b)) {
            (Kind::Number(a), Kind::Number(b)) => compare_numbers(a, b) == Some(Ordering::Equal),
            (Kind::Bool(a), Kind::Bool(b)) => a == b,
            (Kind::Text, Kind::Text) => a.into_cow_str() == b.into_cow_str(),
            _ => false,
        };
    }
    if let (Some(a), Some(b)) = (a.as_array(), b.as_array()) {
        let mut pairs = a.values().zip(b.values());
        return a.size() == b.size() && pairs.all(|(a, b)| equal_within(a, b, depth));
    }
    if let (Some(a), Some(b)) = (a.as_object(), b.as_object()) {
        return a.size() == b.size()
            && a.iter().all(|(key, item)| {
                b.get(&key)
                    .is_some_and(|other| equal_within(item, other, depth))
            });
    }
    a.is_nil() && b.is_nil()
}

/// Which of two values is less: numbers, also those that texts spell if the other is a number, or texts.
pub(super) fn compare(a: &dyn ValueView, b: &dyn ValueView) -> Option<Ordering> {
    let (left, right) = (a.as_scalar()?, b.as_scalar()?);
    match (kind(&left), kind(&right)) {
        (Kind::Text, Kind::Text) => Some(left.into_cow_str().cmp(&right.into_cow_str())),
        _ => compare_numbers(number(a)?, number(b)?),
    }
}

fn compare_numbers(a: Number, b: Number) -> Option<Ordering> {
    match (a, b) {
        (Number::Whole(a), Number::Whole(b)) => Some(a.cmp(&b)),
        _ => a.as_fraction().partial_cmp(&b.as_fraction()),
    }
}

/// Whether a text, an array or an object has this in it.
pub(super) fn contains(whole: &dyn ValueView, part: &dyn ValueView) -> Made<bool> {
    if let Some(array) = whole.as_array() {
        return Ok(array.values().any(|item| equal(item, part)));
    }
    if part.is_nil() || whole.is_nil() {
        return Ok(false);
    }
    let part = text(part)?;
    match whole.as_object() {
        Some(object) => Ok(object.contains_key(&part)),
        None => Ok(text(whole)?.contains(part.as_ref())),
    }
}

/// The place of a value among others when they are sorted; nil comes last. A total order, which comparing
/// numbers of both kinds with each other is not.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    class: u8,
    number: f64,
    whole: i64,
    text: String,
}

impl Rank {
    pub(super) fn new(value: &dyn ValueView, fold_case: bool) -> Made<Rank> {
        let mut rank = Rank {
            class: 2,
            number: 0.0,
            whole: 0,
            text: String::new(),
        };
        match value.as_scalar().map(|scalar| kind(&scalar)) {
            Some(Kind::Number(number)) if !fold_case => {
                // Adding zero makes a negative zero the same as zero.
                rank.number = number.as_fraction() + 0.0;
                rank.class = 0;
                rank.whole = match number {
                    Number::Whole(whole) => whole,
                    Number::Fraction(fraction) => fraction as i64,
                };
            }
            None if value.is_nil() => rank.class = 3,
            _ => {
                rank.class = 1;
                let text = text(value)?;
                rank.text = if fold_case {
                    text.to_lowercase()
                } else {
                    text.into_owned()
                };
            }
        }
        Ok(rank)
    }

    pub(super) fn order(&self, other: &Rank) -> Ordering {
        self.class
            .cmp(&other.class)
            .then_with(|| self.number.total_cmp(&other.number))
            .then_with(|| self.whole.cmp(&other.whole))
            .then_with(|| self.text.cmp(&other.text))
    }
}
