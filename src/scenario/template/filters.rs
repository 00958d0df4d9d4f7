//! Our filters: those that draw, `date` with the run's clock, and the library's that panic, hang or grow
//! without bound on some input.
//!
//! One table: a filter is a name, how many arguments it takes, and a function.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use liquid_core::model::{ScalarCow, Value, ValueCow};
use liquid_core::parser::{FilterArguments, ParameterReflection};
use liquid_core::{
    Error, Expression, Filter, FilterReflection, ParseFilter, Result, Runtime, ValueView,
};
use rand::Rng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::runtime::Bounds;

/// The most characters that one filter draws.
pub(super) const MAX_DRAWN: i64 = 1000;
/// The widest that a number in a date is padded.
const MAX_WIDTH: usize = 3;

struct Ours {
    name: &'static str,
    description: &'static str,
    /// The fewest and the most arguments.
    arguments: (usize, usize),
    function: fn(&Call<'_>) -> Result<Value>,
}

/// What a filter is given.
struct Call<'c> {
    input: &'c dyn ValueView,
    arguments: &'c [ValueCow<'c>],
    runtime: &'c dyn Runtime,
}

macro_rules! filters {
    ($($name:literal ($fewest:literal..=$most:literal) $function:expr, $description:literal;)*) => {
        &[$(Ours {
            name: $name,
            description: $description,
            arguments: ($fewest, $most),
            function: $function,
        }),*]
    };
}

static OURS: &[Ours] = filters! {
    "fake_alphanumeric" (0..=0) |call| draw_text(call, LETTERS_AND_DIGITS), "Draws so many letters and digits.";
    "fake_digits" (0..=0) |call| draw_text(call, DIGITS), "Draws so many digits.";
    "fake_choice" (0..=0) fake_choice, "Draws one element of an array.";
    "date" (1..=1) date, "Writes a time in another form.";
    "plus" (1..=1) |call| arithmetic(call, i64::checked_add, |a, b| a + b), "Adds.";
    "minus" (1..=1) |call| arithmetic(call, i64::checked_sub, |a, b| a - b), "Subtracts.";
    "times" (1..=1) |call| arithmetic(call, i64::checked_mul, |a, b| a * b), "Multiplies.";
    "divided_by" (1..=1) divided_by, "Divides; whole numbers stay whole.";
    "modulo" (1..=1) modulo, "Gives the rest of a division.";
    "abs" (0..=0) abs, "Drops the sign.";
    "round" (0..=1) round, "Rounds to so many places.";
    "ceil" (0..=0) |call| whole(call, libm::ceil), "Rounds up.";
    "floor" (0..=0) |call| whole(call, libm::floor), "Rounds down.";
    "replace" (1..=2) replace, "Puts a text in each place of another.";
    "join" (0..=1) join, "Puts an array's elements together.";
    "slice" (1..=2) slice, "Takes some characters or elements.";
    "truncate" (0..=2) truncate, "Cuts a text to so many characters.";
    "truncatewords" (0..=2) truncate_words, "Cuts a text to so many words.";
    "sort" (0..=1) |call| sort(call, |text| Cow::Borrowed(text)), "Sorts an array.";
    "sort_natural" (0..=1) |call| sort(call, |text| Cow::Owned(text.to_lowercase())), "Sorts, upper and lower case alike.";
    "uniq" (0..=0) uniq, "Drops what came before.";
};

/// Our filters, ready to be registered.
pub(super) fn ours() -> impl Iterator<Item = Box<dyn ParseFilter>> {
    OURS.iter()
        .map(|ours| Box::new(Parser(ours)) as Box<dyn ParseFilter>)
}

#[derive(Clone)]
struct Parser(&'static Ours);

impl FilterReflection for Parser {
    fn name(&self) -> &str {
        self.0.name
    }

    fn description(&self) -> &str {
        self.0.description
    }

    fn positional_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }

    fn keyword_parameters(&self) -> &'static [ParameterReflection] {
        &[]
    }
}

impl ParseFilter for Parser {
    fn parse(&self, mut arguments: FilterArguments<'_>) -> Result<Box<dyn Filter>> {
        let given: Vec<Expression> = arguments.positional.collect();
        let (fewest, most) = self.0.arguments;
        let wanted = match (fewest, most) {
            (fewest, most) if fewest == most => fewest.to_string(),
            (fewest, most) => format!("{fewest} to {most}"),
        };
        if !(fewest..=most).contains(&given.len()) || arguments.keyword.next().is_some() {
            return Err(Error::with_msg(format!(
                "the filter `{}` takes {wanted} argument{}",
                self.0.name,
                if wanted == "1" { "" } else { "s" }
            )));
        }
        Ok(Box::new(Parsed {
            ours: self.0,
            arguments: given,
        }))
    }

    fn reflection(&self) -> &dyn FilterReflection {
        self
    }
}

struct Parsed {
    ours: &'static Ours,
    arguments: Vec<Expression>,
}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.ours.name)
    }
}

impl Filter for Parsed {
    fn evaluate(&self, input: &dyn ValueView, runtime: &dyn Runtime) -> Result<Value> {
        let arguments: Vec<ValueCow<'_>> = self
            .arguments
            .iter()
            .map(|argument| argument.evaluate(runtime))
            .collect::<Result<_>>()?;
        (self.ours.function)(&Call {
            input,
            arguments: &arguments,
            runtime,
        })
        .map_err(|error| error.context("filter", self.ours.name))
    }
}

/// A number as Liquid has it.
#[derive(Clone, Copy)]
enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    fn of(value: &dyn ValueView) -> Option<Number> {
        let scalar = value.as_scalar()?;
        let whole = scalar.to_integer().map(Number::Whole);
        whole.or_else(|| scalar.to_float().map(Number::Real))
    }

    fn real(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Real(number) => number,
        }
    }
}

impl Call<'_> {
    fn number(&self, what: &dyn ValueView) -> Result<Number> {
        Number::of(what)
            .ok_or_else(|| Error::with_msg(format!("`{}` is not a number", what.render())))
    }

    fn argument(&self, at: usize) -> Option<&dyn ValueView> {
        self.arguments.get(at).map(|argument| argument.as_view())
    }

    fn integer(&self, at: usize, otherwise: i64) -> Result<i64> {
        match self.argument(at) {
            None => Ok(otherwise),
            Some(argument) => match self.number(argument)? {
                Number::Whole(number) => Ok(number),
                Number::Real(number) => Ok(number as i64),
            },
        }
    }

    fn two_numbers(&self) -> Result<(Number, Number)> {
        let second = self
            .argument(0)
            .ok_or_else(|| Error::with_msg("a number is missing"))?;
        Ok((self.number(self.input)?, self.number(second)?))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Xoshiro256PlusPlus) -> T) -> T {
        draw(&mut self.runtime.registers().get_mut::<Bounds>().generator)
    }

    /// Announces a value of so many bytes before it is made.
    fn announce(&self, bytes: usize) -> Result<()> {
        self.runtime.registers().get_mut::<Bounds>().make(bytes)
    }
}

pub(super) const DIGITS: &[u8] = b"0123456789";
pub(super) const LETTERS_AND_DIGITS: &[u8] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A number below `bound`, the same on every machine.
fn below(generator: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    let wide = u128::from(generator.next_u64()) * bound as u128;
    (wide >> 64) as usize
}

fn draw_text(call: &Call<'_>, letters: &[u8]) -> Result<Value> {
    let length = match call.number(call.input)? {
        Number::Whole(length @ 0..=MAX_DRAWN) => length,
        _ => {
            return Err(Error::with_msg(format!(
                "a length from 0 to {MAX_DRAWN} must stand before it"
            )));
        }
    };
    let mut text = String::new();
    call.draw(|generator| draw(generator, letters, length as usize, &mut text));
    Ok(Value::scalar(text))
}

/// Appends so many of the letters.
pub(super) fn draw(
    generator: &mut Xoshiro256PlusPlus,
    letters: &[u8],
    length: usize,
    out: &mut String,
) {
    out.extend((0..length).map(|_| char::from(letters[below(generator, letters.len())])));
}

fn fake_choice(call: &Call<'_>) -> Result<Value> {
    let array = call.input.as_array().filter(|array| array.size() > 0);
    let array = array
        .ok_or_else(|| Error::with_msg("an array with something in it must stand before it"))?;
    let size = array.size() as usize;
    let index = call.draw(|generator| below(generator, size));
    Ok(array
        .get(index as i64)
        .map_or(Value::Nil, |item| item.to_value()))
}

fn date(call: &Call<'_>) -> Result<Value> {
    let format = call
        .argument(0)
        .map(|format| format.to_kstr().into_owned())
        .unwrap_or_default();
    let Some(scalar) = call.input.as_scalar() else {
        return Ok(call.input.to_value());
    };
    let text = scalar.to_kstr();
    let now = call.runtime.registers().get_mut::<Bounds>().now;
    let Some(date) = parse_date(&text, now).filter(|_| !format.is_empty()) else {
        return Ok(call.input.to_value());
    };
    let widest = format
        .split(|c: char| !c.is_ascii_digit())
        .map(str::len)
        .max()
        .unwrap_or(0);
    if widest > MAX_WIDTH || format.len() > 1000 {
        return Err(Error::with_msg("the date's format is too wide"));
    }
    let written = date
        .format(&format)
        .map_err(|error| Error::with_msg(format!("`{format}` is not a date's format: {error}")))?;
    Ok(Value::scalar(written))
}

/// `now` is the run's clock; then what the library reads, and ISO 8601, which it does not.
fn parse_date(text: &str, now: DateTime<Utc>) -> Option<liquid_core::model::DateTime> {
    let text = text.trim();
    let of_instant = |time: DateTime<Utc>| {
        // Seconds since 1970 are the one form that needs no regular expression.
        liquid_core::model::DateTime::from_str(&time.timestamp().to_string())
    };
    if text.eq_ignore_ascii_case("now") || text.eq_ignore_ascii_case("today") {
        return of_instant(now);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return of_instant(time.to_utc());
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return of_instant(day.and_hms_opt(0, 0, 0)?.and_utc());
    }
    liquid_core::model::DateTime::from_str(text)
}

fn arithmetic(
    call: &Call<'_>,
    whole: fn(i64, i64) -> Option<i64>,
    real: fn(f64, f64) -> f64,
) -> Result<Value> {
    let (a, b) = call.two_numbers()?;
    let exact = match (a, b) {
        (Number::Whole(a), Number::Whole(b)) => whole(a, b),
        _ => None,
    };
    // What no whole number can hold goes on as a real one.
    Ok(exact.map_or_else(|| Value::scalar(real(a.real(), b.real())), Value::scalar))
}

fn divided_by(call: &Call<'_>) -> Result<Value> {
    match call.two_numbers()? {
        (_, Number::Whole(0)) => Err(Error::with_msg("nothing can be divided by zero")),
        (Number::Whole(a), Number::Whole(b)) => Ok(Value::scalar(a.wrapping_div(b))),
        (a, b) => Ok(Value::scalar(a.real() / b.real())),
    }
}

fn modulo(call: &Call<'_>) -> Result<Value> {
    match call.two_numbers()? {
        (_, Number::Whole(0)) => Err(Error::with_msg("nothing can be divided by zero")),
        (Number::Whole(a), Number::Whole(b)) => Ok(Value::scalar(a.wrapping_rem(b))),
        (a, b) => Ok(Value::scalar(libm::fmod(a.real(), b.real()))),
    }
}

fn abs(call: &Call<'_>) -> Result<Value> {
    Ok(match call.number(call.input)? {
        Number::Whole(number) => match number.checked_abs() {
            Some(number) => Value::scalar(number),
            None => Value::scalar(-(number as f64)),
        },
        Number::Real(number) => Value::scalar(libm::fabs(number)),
    })
}

fn round(call: &Call<'_>) -> Result<Value> {
    let places = call.integer(0, 0)?.clamp(0, 15);
    match call.number(call.input)? {
        Number::Whole(number) => Ok(Value::scalar(number)),
        Number::Real(_) if places == 0 => whole(call, libm::round),
        Number::Real(number) => {
            let scale = (0..places).fold(1.0, |scale, _| scale * 10.0);
            Ok(Value::scalar(libm::round(number * scale) / scale))
        }
    }
}

fn whole(call: &Call<'_>, round: fn(f64) -> f64) -> Result<Value> {
    Ok(Value::scalar(match call.number(call.input)? {
        Number::Whole(number) => number,
        Number::Real(number) => round(number) as i64,
    }))
}

fn text(value: Option<&dyn ValueView>, otherwise: &str) -> String {
    value.map_or_else(
        || otherwise.to_owned(),
        |value| value.to_kstr().into_owned().into_string(),
    )
}

fn replace(call: &Call<'_>) -> Result<Value> {
    let input = text(Some(call.input), "");
    let (old, new) = (text(call.argument(0), ""), text(call.argument(1), ""));
    let times = input.matches(old.as_str()).count();
    call.announce(input.len().saturating_add(times.saturating_mul(new.len())))?;
    Ok(Value::scalar(input.replace(&old, &new)))
}

fn join(call: &Call<'_>) -> Result<Value> {
    let Some(array) = call.input.as_array() else {
        return Ok(call.input.to_value());
    };
    let glue = text(call.argument(0), " ");
    let items: Vec<String> = array.values().map(|item| text(Some(item), "")).collect();
    let bytes: usize = items.iter().map(String::len).sum();
    call.announce(bytes.saturating_add(items.len().saturating_mul(glue.len())))?;
    Ok(Value::scalar(items.join(&glue)))
}

/// Where a slice begins and how long it is, of something of that length; a negative offset counts from
/// the end.
fn bounds(call: &Call<'_>, length: usize) -> Result<(usize, usize)> {
    let offset = call.integer(0, 0)?;
    let wanted = usize::try_from(call.integer(1, 1)?).unwrap_or(0);
    let back = usize::try_from(offset.unsigned_abs()).unwrap_or(usize::MAX);
    let from = match offset < 0 {
        true => length.saturating_sub(back),
        false => back.min(length),
    };
    Ok((from, wanted.min(length - from)))
}

fn slice(call: &Call<'_>) -> Result<Value> {
    if let Some(array) = call.input.as_array() {
        let (from, length) = bounds(call, array.size() as usize)?;
        let items = array.values().skip(from).take(length);
        return Ok(Value::array(items.map(|item| item.to_value())));
    }
    let input = text(Some(call.input), "");
    let (from, length) = bounds(call, input.chars().count())?;
    Ok(Value::scalar(
        input.chars().skip(from).take(length).collect::<String>(),
    ))
}

fn truncate(call: &Call<'_>) -> Result<Value> {
    let input = text(Some(call.input), "");
    let ellipsis = text(call.argument(1), "...");
    let length = usize::try_from(call.integer(0, 50)?).unwrap_or(0);
    if input.chars().count() <= length {
        return Ok(Value::scalar(input));
    }
    let kept = length.saturating_sub(ellipsis.chars().count());
    let start: String = input.chars().take(kept).collect();
    Ok(Value::scalar(start + &ellipsis))
}

fn truncate_words(call: &Call<'_>) -> Result<Value> {
    let input = text(Some(call.input), "");
    let ellipsis = text(call.argument(1), "...");
    let words = usize::try_from(call.integer(0, 15)?).unwrap_or(0).max(1);
    if input.split_whitespace().count() <= words {
        return Ok(Value::scalar(input));
    }
    let start: Vec<_> = input.split_whitespace().take(words).collect();
    Ok(Value::scalar(start.join(" ") + &ellipsis))
}

/// Numbers in order of size, then texts; an order that is total, whatever is in the array.
fn order(a: &dyn ValueView, b: &dyn ValueView, key: fn(&str) -> Cow<'_, str>) -> Ordering {
    let number = |value: &dyn ValueView| match value.as_scalar()? {
        // A text of digits is a text.
        scalar if matches!(scalar.type_name(), "whole number" | "fractional number") => {
            Some(ScalarCow::to_float(&scalar)?)
        }
        _ => None,
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => key(&a.to_kstr()).cmp(&key(&b.to_kstr())),
    }
}

fn sort(call: &Call<'_>, key: fn(&str) -> Cow<'_, str>) -> Result<Value> {
    let Some(array) = call.input.as_array() else {
        return Ok(call.input.to_value());
    };
    let property = call.argument(0).map(|name| name.to_kstr().into_owned());
    let mut items: Vec<Value> = array.values().map(|item| item.to_value()).collect();
    items.sort_by(|a, b| match &property {
        None => order(a, b, key),
        Some(name) => {
            let of = |item: &Value| {
                item.as_object()
                    .and_then(|object| object.get(name).map(|v| v.to_value()))
            };
            match (of(a), of(b)) {
                (Some(a), Some(b)) => order(&a, &b, key),
                (a, b) => b.is_some().cmp(&a.is_some()),
            }
        }
    });
    Ok(Value::Array(items))
}

fn uniq(call: &Call<'_>) -> Result<Value> {
    let Some(array) = call.input.as_array() else {
        return Ok(call.input.to_value());
    };
    let mut kept: Vec<Value> = Vec::new();
    for item in array.values() {
        let item = item.to_value();
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    Ok(Value::Array(kept))
}
