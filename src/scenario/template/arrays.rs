//! Filters for arrays, and those that take arrays and texts alike.

use std::collections::BTreeSet;

use liquid_core::ValueView;
use liquid_core::model::{ArrayView, State, Value, ValueCow};

use super::MAX_KEPT;
use super::filters::{Call, made, shown};
use super::values::{self, Made, Rank};
use super::writing::{Builder, too_large};

fn array<'c>(call: &'c Call<'_, '_>) -> Made<&'c dyn ArrayView> {
    let input = call.input.as_view();
    input
        .as_array()
        .ok_or_else(|| format!("an array has to stand before it, not {}", shown(input)))
}

/// The elements of an array; one value is an array of itself, and nil of nothing.
fn items<'c>(call: &'c Call<'_, '_>) -> Vec<&'c dyn ValueView> {
    let input = call.input.as_view();
    match input.as_array() {
        Some(array) => array.values().collect(),
        None if input.is_nil() => Vec::new(),
        None => vec![input],
    }
}

/// What an element has under a name, or the element itself if there is no name.
fn property<'v>(item: &'v dyn ValueView, name: Option<&str>) -> &'v dyn ValueView {
    match name {
        None => item,
        Some(name) => item
            .as_object()
            .and_then(|object| object.get(name))
            .unwrap_or(&Value::Nil),
    }
}

/// The name of a property, if one is given.
fn name(call: &Call<'_, '_>) -> Made<Option<String>> {
    match call.argument(0) {
        None => Ok(None),
        Some(name) => Ok(Some(values::text(name)?.into_owned())),
    }
}

/// Copies elements up to the bound of a value.
fn copied<'v, 'a>(items: impl IntoIterator<Item = &'v dyn ValueView>) -> Made<ValueCow<'a>> {
    let mut copies = Vec::new();
    let mut size = 0_usize;
    for item in items {
        size = size.saturating_add(values::size(item));
        if size > MAX_KEPT {
            return Err(too_large());
        }
        copies.push(item.to_value());
    }
    made(Value::Array(copies))
}

pub(super) fn compact<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let name = name(&call)?;
    array(&call)?;
    let is_there = |item: &&dyn ValueView| !property(*item, name.as_deref()).is_nil();
    copied(items(&call).into_iter().filter(is_there))
}

pub(super) fn concat<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let argument = call.argument(0).unwrap_or(&Value::Nil);
    let others = argument
        .as_array()
        .ok_or_else(|| format!("its argument has to be an array, not {}", shown(argument)))?;
    copied(array(&call)?.values().chain(others.values()))
}

pub(super) fn reverse<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    array(&call)?;
    copied(items(&call).into_iter().rev())
}

pub(super) fn map<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let name = name(&call)?;
    let items = items(&call).into_iter();
    copied(items.map(|item| property(item, name.as_deref())))
}

/// The elements whose property is this, or is anything but nil and false.
pub(super) fn matching<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let name = name(&call)?;
    let wanted = call.argument(1);
    copied(items(&call).into_iter().filter(|item| {
        let found = property(*item, name.as_deref());
        match wanted {
            Some(wanted) => values::equal(found, wanted),
            None => found.query_state(State::Truthy),
        }
    }))
}

pub(super) fn sort<'a>(call: Call<'a, '_>, fold_case: bool) -> Made<ValueCow<'a>> {
    let name = name(&call)?;
    let mut ranked = Vec::new();
    let mut size = 0_usize;
    for item in items(&call) {
        size = size.saturating_add(values::size(item));
        if size > MAX_KEPT {
            return Err(too_large());
        }
        ranked.push((Rank::new(property(item, name.as_deref()), fold_case)?, item));
    }
    ranked.sort_by(|a, b| a.0.order(&b.0));
    copied(ranked.into_iter().map(|(_, item)| item))
}

/// Drops what came before.
pub(super) fn uniq<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    array(&call)?;
    let name = name(&call)?;
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    let mut size = 0_usize;
    for item in items(&call) {
        size = size.saturating_add(values::size(item));
        if size > MAX_KEPT {
            return Err(too_large());
        }
        if seen.insert(identity(property(item, name.as_deref()))?) {
            kept.push(item);
        }
    }
    copied(kept)
}

/// The same for values that are equal, and for no others.
fn identity(value: &dyn ValueView) -> Made<(&'static str, String)> {
    let kind = match value.as_scalar() {
        Some(scalar) => match scalar.type_name() {
            "whole number" | "fractional number" => "number",
            other => other,
        },
        None => value.type_name(),
    };
    let mut text = values::text(value)?.into_owned();
    if kind == "number"
        && let Some(whole) = text.strip_suffix(".0")
    {
        text.truncate(whole.len());
    }
    if let Some(array) = value.as_array() {
        // Put out one after the other, `1, 23` and `12, 3` would be the same.
        text = String::new();
        for item in array.values() {
            let (kind, item) = identity(item)?;
            text.push_str(&format!("{kind}:{}:{item}", item.len()));
        }
    }
    Ok((kind, text))
}

/// The first (0) or last (-1) element, or character of a text.
pub(super) fn end<'a>(call: Call<'a, '_>, which: i64) -> Made<ValueCow<'a>> {
    let at = |array: &dyn ArrayView| {
        if which == 0 {
            0
        } else {
            array.size().saturating_sub(1)
        }
    };
    match &call.input {
        ValueCow::Borrowed(view) => {
            let view: &'a dyn ValueView = *view;
            if let Some(array) = view.as_array() {
                return Ok(array
                    .get(at(array))
                    .map_or(ValueCow::Owned(Value::Nil), ValueCow::Borrowed));
            }
        }
        ValueCow::Owned(value) => {
            if let Some(array) = value.as_array() {
                let item = array.get(at(array)).map(|item| item.to_value());
                return made(item.unwrap_or(Value::Nil));
            }
        }
    }
    if !call.input.is_scalar() {
        return made(Value::Nil);
    }
    let text = call.text()?;
    let character = if which == 0 {
        text.chars().next()
    } else {
        text.chars().next_back()
    };
    made(Value::scalar(
        character.map(String::from).unwrap_or_default(),
    ))
}

pub(super) fn join<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let separator = match call.argument(0) {
        Some(_) => call.argument_text(0)?,
        None => " ".into(),
    };
    let mut text = String::new();
    let mut out = Builder::new(&mut text, MAX_KEPT);
    for (at, item) in items(&call).into_iter().enumerate() {
        out.push(if at == 0 { "" } else { &separator })?;
        out.value(item)?;
    }
    made(Value::scalar(text))
}

/// How many elements, entries or characters.
pub(super) fn size<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let input = call.input.as_view();
    let size = if let Some(array) = input.as_array() {
        array.size()
    } else if let Some(object) = input.as_object() {
        object.size()
    } else {
        i64::try_from(call.text()?.chars().count()).unwrap_or(i64::MAX)
    };
    made(Value::scalar(size))
}

/// Some characters or elements; what is beyond the ends is left out.
pub(super) fn slice<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let offset = call.argument_whole(0, 0)?;
    let length = call.argument_whole(1, 1)?;
    let range = |count: usize| -> (usize, usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let start = if offset < 0 {
            offset.saturating_add(count)
        } else {
            offset
        };
        if start < 0 || start > count {
            return (0, 0);
        }
        let length = length.clamp(0, count - start);
        (
            usize::try_from(start).unwrap_or(0),
            usize::try_from(length).unwrap_or(0),
        )
    };
    if let Some(array) = call.input.as_view().as_array() {
        let (start, length) = range(usize::try_from(array.size()).unwrap_or(0));
        return copied(array.values().skip(start).take(length));
    }
    let text = call.text()?;
    let (start, length) = range(text.chars().count());
    let part: String = text.chars().skip(start).take(length).collect();
    made(Value::scalar(part))
}
