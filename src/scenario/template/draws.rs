//! Filters that draw anew each time. The same generator gives the same values on every machine.

use liquid_core::ValueView;
use liquid_core::model::{Value, ValueCow};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::filters::{Call, made, shown};
use super::values::{self, Made, Number};

/// The most characters that one filter draws.
const MAX_DRAWN: usize = 1000;

pub(super) fn alphanumeric<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    characters(call, LETTERS, 6)
}

pub(super) fn digits<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    characters(call, b"0123456789", 4)
}

/// Draws so many characters, each from so many bits; bits beyond the characters are drawn again, so that
/// all characters are as likely.
fn characters<'a>(call: Call<'a, '_>, from: &[u8], bits: u32) -> Made<ValueCow<'a>> {
    let length = match values::number(call.input.as_view()) {
        Some(Number::Whole(length)) => usize::try_from(length).ok(),
        _ => None,
    };
    let length = length
        .filter(|length| *length <= MAX_DRAWN)
        .ok_or_else(|| {
            let found = shown(call.input.as_view());
            format!("a length from 0 to {MAX_DRAWN} has to stand before it, not {found}")
        })?;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut drawn = call.tools.generator.next_u64();
        for _ in 0..u64::BITS / bits {
            let at = drawn & ((1 << bits) - 1);
            drawn >>= bits;
            let character = usize::try_from(at).ok().and_then(|at| from.get(at));
            if let (Some(character), true) = (character, text.len() < length) {
                text.push(char::from(*character));
            }
        }
    }
    made(Value::scalar(text))
}

pub(super) fn choice<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let input = call.input.as_view();
    let size = input.as_array().map(|array| array.size());
    let size = match size.map(u64::try_from) {
        Some(Ok(size)) if size > 0 => size,
        Some(_) => return Err("the array before it is empty".to_owned()),
        None => {
            return Err(format!(
                "an array has to stand before it, not {}",
                shown(input)
            ));
        }
    };
    let at = i64::try_from(below(&mut call.tools.generator, size)).unwrap_or(0);
    match &call.input {
        ValueCow::Borrowed(view) => {
            let view: &'a dyn ValueView = *view;
            let item = view.as_array().and_then(|array| array.get(at));
            Ok(item.map_or(ValueCow::Owned(Value::Nil), ValueCow::Borrowed))
        }
        ValueCow::Owned(value) => {
            let item = value.as_array().and_then(|array| array.get(at));
            made(item.map_or(Value::Nil, |item| item.to_value()))
        }
    }
}

/// A number below this one, all as likely.
fn below(generator: &mut Xoshiro256PlusPlus, end: u64) -> u64 {
    // The largest multiple of `end` that is drawn from; what is beyond is drawn again.
    let whole = u64::MAX - u64::MAX % end;
    loop {
        let drawn = generator.next_u64();
        if drawn < whole {
            return drawn % end;
        }
    }
}
