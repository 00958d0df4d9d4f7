//! Filters for numbers. Whole numbers that overflow become fractions; nothing panics.

use liquid_core::model::ValueCow;

use super::filters::{Call, made};
use super::values::{Made, Number};

/// Powers of ten are taken from here, since computing them differs from one machine to the next.
const POWERS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

type Whole = fn(i64, i64) -> Option<i64>;
type Fraction = fn(f64, f64) -> f64;

fn arithmetic<'a>(call: &Call<'a, '_>, whole: Whole, fraction: Fraction) -> Made<ValueCow<'a>> {
    let (a, b) = (call.number()?, call.argument_number(0)?);
    let result = match (a, b) {
        (Number::Whole(a), Number::Whole(b)) => whole(a, b).map(Number::Whole),
        _ => None,
    };
    let result =
        result.unwrap_or_else(|| Number::Fraction(fraction(a.as_fraction(), b.as_fraction())));
    finite(result)
}

fn finite<'a>(number: Number) -> Made<ValueCow<'a>> {
    if number.as_fraction().is_finite() {
        made(number.into_value())
    } else {
        Err("the result is too large for a number".to_owned())
    }
}

pub(super) fn plus<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    arithmetic(&call, i64::checked_add, |a, b| a + b)
}

pub(super) fn minus<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    arithmetic(&call, i64::checked_sub, |a, b| a - b)
}

pub(super) fn times<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    arithmetic(&call, i64::checked_mul, |a, b| a * b)
}

/// Whole numbers stay whole and are rounded down, like Ruby's.
pub(super) fn divided_by<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    not_by_zero(&call)?;
    let whole: Whole = |a, b| {
        let quotient = a.checked_div(b)?;
        let is_above = a % b != 0 && (a < 0) != (b < 0);
        Some(quotient - i64::from(is_above))
    };
    arithmetic(&call, whole, |a, b| a / b)
}

/// The rest has the sign of the divisor, like Ruby's.
pub(super) fn modulo<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    not_by_zero(&call)?;
    let whole: Whole = |a, b| {
        let rest = a.checked_rem(b).unwrap_or(0);
        let is_other_side = rest != 0 && (rest < 0) != (b < 0);
        Some(if is_other_side { rest + b } else { rest })
    };
    arithmetic(&call, whole, |a, b| {
        let rest = a % b;
        let is_other_side = rest != 0.0 && (rest < 0.0) != (b < 0.0);
        if is_other_side { rest + b } else { rest }
    })
}

fn not_by_zero(call: &Call<'_, '_>) -> Made<()> {
    match call.argument_number(0)?.as_fraction() {
        0.0 => Err("nothing can be divided by zero".to_owned()),
        _ => Ok(()),
    }
}

pub(super) fn at_least<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let (a, b) = (call.number()?, call.argument_number(0)?);
    made(if is_less(a, b) { b } else { a }.into_value())
}

pub(super) fn at_most<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let (a, b) = (call.number()?, call.argument_number(0)?);
    made(if is_less(b, a) { b } else { a }.into_value())
}

fn is_less(a: Number, b: Number) -> bool {
    match (a, b) {
        (Number::Whole(a), Number::Whole(b)) => a < b,
        _ => a.as_fraction() < b.as_fraction(),
    }
}

pub(super) fn abs<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let result = match call.number()? {
        Number::Whole(whole) => whole
            .checked_abs()
            .map_or(Number::Fraction((whole as f64).abs()), Number::Whole),
        Number::Fraction(fraction) => Number::Fraction(fraction.abs()),
    };
    made(result.into_value())
}

pub(super) fn ceil<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    whole(call.number()?, f64::ceil)
}

pub(super) fn floor<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    whole(call.number()?, f64::floor)
}

/// To a whole number, or to so many places behind the point.
pub(super) fn round<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let number = call.number()?;
    let places = call.argument_whole(0, 0)?;
    let Number::Fraction(fraction) = number else {
        return made(number.into_value());
    };
    let Some(power) = usize::try_from(places).ok().filter(|places| *places > 0) else {
        return whole(number, f64::round);
    };
    let rounded = match POWERS.get(power).map(|power| (fraction * power, power)) {
        Some((shifted, power)) if shifted.is_finite() => shifted.round() / power,
        // So many places it has not got.
        _ => fraction,
    };
    finite(Number::Fraction(rounded))
}

fn whole<'a>(number: Number, round: fn(f64) -> f64) -> Made<ValueCow<'a>> {
    /// From here on, and from its negative down, fractions are not whole numbers of 64 bits.
    const END: f64 = 9_223_372_036_854_775_808.0;
    let Number::Fraction(fraction) = number else {
        return made(number.into_value());
    };
    let rounded = round(fraction);
    if (-END..END).contains(&rounded) {
        made(Number::Whole(rounded as i64).into_value())
    } else {
        finite(Number::Fraction(rounded))
    }
}
