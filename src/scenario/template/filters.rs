//! The filters that there are: names, arguments and functions.
//!
//! A filter is a function from values to a value and cannot count against the bounds by itself; the
//! renderer counts what goes in and what comes out. It only has to take care of what it makes on the way.

use std::borrow::Cow;

use liquid_core::ValueView;
use liquid_core::model::{State, Value, ValueCow};

use super::render::Tools;
use super::values::{self, Made, Number};
use super::{arrays, date, draws, numbers, texts};

/// A filter.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: &'static str,
    /// The fewest and the most arguments.
    pub(super) least: usize,
    pub(super) most: usize,
    /// An argument that is given by its name; it comes behind the others.
    pub(super) named: Option<&'static str>,
    pub(super) example: &'static str,
    pub(super) run: for<'a, 't> fn(Call<'a, 't>) -> Made<ValueCow<'a>>,
}

impl Filter {
    /// "1 argument", "1 to 2 arguments".
    pub(super) fn takes(&self) -> String {
        match (self.least, self.most) {
            (_, 0) => "no arguments".to_owned(),
            (1, 1) => "1 argument".to_owned(),
            (least, most) if least == most => format!("{most} arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        }
    }
}

/// What a filter is given.
pub(super) struct Call<'a, 't> {
    pub(super) input: ValueCow<'a>,
    pub(super) arguments: &'t [ValueCow<'a>],
    pub(super) tools: &'t mut Tools,
}

impl Call<'_, '_> {
    pub(super) fn argument(&self, at: usize) -> Option<&dyn ValueView> {
        self.arguments.get(at).map(|argument| argument.as_view())
    }

    /// The text of the input.
    pub(super) fn text(&self) -> Made<Cow<'_, str>> {
        values::text(self.input.as_view())
    }

    pub(super) fn argument_text(&self, at: usize) -> Made<Cow<'_, str>> {
        self.argument(at)
            .map_or(Ok(Cow::Borrowed("")), values::text)
    }

    pub(super) fn number(&self) -> Made<Number> {
        values::number(self.input.as_view()).ok_or_else(|| {
            format!(
                "a number has to stand before it, not {}",
                shown(self.input.as_view())
            )
        })
    }

    pub(super) fn argument_number(&self, at: usize) -> Made<Number> {
        let argument = self.argument(at).unwrap_or(&Value::Nil);
        values::number(argument)
            .ok_or_else(|| format!("its argument has to be a number, not {}", shown(argument)))
    }

    /// A whole number; `absent` if the argument is left out.
    pub(super) fn argument_whole(&self, at: usize, absent: i64) -> Made<i64> {
        match self.argument(at) {
            None => Ok(absent),
            Some(_) => match self.argument_number(at)? {
                Number::Whole(whole) => Ok(whole),
                Number::Fraction(fraction) => Ok(fraction as i64),
            },
        }
    }
}

/// A value as an error names it.
pub(super) fn shown(value: &dyn ValueView) -> String {
    match value.is_scalar().then(|| values::text(value)) {
        Some(Ok(text)) if text.chars().count() <= 30 => format!("`{text}`"),
        _ if value.is_nil() => "nothing".to_owned(),
        _ => format!("this {}", value.type_name()),
    }
}

pub(super) fn made<'a>(value: Value) -> Made<ValueCow<'a>> {
    Ok(ValueCow::Owned(value))
}

/// The filter of this name.
pub(super) fn find(name: &str) -> Option<&'static Filter> {
    FILTERS
        .binary_search_by(|filter| filter.name.cmp(name))
        .ok()
        .and_then(|at| FILTERS.get(at))
}

pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    FILTERS.iter().map(|filter| filter.name)
}

fn default<'a>(call: Call<'a, '_>) -> Made<ValueCow<'a>> {
    let allows_false = call
        .argument(1)
        .is_some_and(|allow| allow.query_state(State::Truthy));
    let input = call.input.as_view();
    let is_false = input.as_scalar().and_then(|scalar| scalar.to_bool()) == Some(false);
    if !input.query_state(State::DefaultValue) || (is_false && allows_false) {
        return Ok(call.input);
    }
    Ok(call.arguments.first().cloned().unwrap_or_default())
}

macro_rules! filters {
    ($($name:literal $least:literal..=$most:literal $example:literal $run:expr;)*) => {
        &[$(Filter {
            name: $name,
            least: $least,
            most: $most,
            named: if matches!($name.as_bytes(), b"default") { Some("allow_false") } else { None },
            example: $example,
            run: $run,
        }),*]
    };
}

/// In the order of their names, for the search.
static FILTERS: &[Filter] = filters! {
    "abs" 0..=0 "| abs" numbers::abs;
    "append" 1..=1 "| append: \"!\"" texts::append;
    "at_least" 1..=1 "| at_least: 1" numbers::at_least;
    "at_most" 1..=1 "| at_most: 9" numbers::at_most;
    "capitalize" 0..=0 "| capitalize" texts::capitalize;
    "ceil" 0..=0 "| ceil" numbers::ceil;
    "compact" 0..=1 "| compact" arrays::compact;
    "concat" 1..=1 "| concat: others" arrays::concat;
    "date" 1..=1 "| date: \"%Y-%m-%d\"" date::date;
    "default" 1..=1 "| default: \"you\"" default;
    "divided_by" 1..=1 "| divided_by: 2" numbers::divided_by;
    "downcase" 0..=0 "| downcase" |call| texts::mapped(call, str::to_lowercase);
    "escape" 0..=0 "| escape" |call| texts::escape(call, false);
    "escape_once" 0..=0 "| escape_once" |call| texts::escape(call, true);
    "fake_alphanumeric" 0..=0 "{{ 9 | fake_alphanumeric }}" draws::alphanumeric;
    "fake_choice" 0..=0 "{{ \"a,b\" | split: \",\" | fake_choice }}" draws::choice;
    "fake_digits" 0..=0 "{{ 9 | fake_digits }}" draws::digits;
    "first" 0..=0 "| first" |call| arrays::end(call, 0);
    "floor" 0..=0 "| floor" numbers::floor;
    "join" 0..=1 "| join: \", \"" arrays::join;
    "last" 0..=0 "| last" |call| arrays::end(call, -1);
    "lstrip" 0..=0 "| lstrip" |call| texts::mapped(call, |text| text.trim_start().to_owned());
    "map" 1..=1 "| map: \"name\"" arrays::map;
    "minus" 1..=1 "| minus: 1" numbers::minus;
    "modulo" 1..=1 "| modulo: 2" numbers::modulo;
    "newline_to_br" 0..=0 "| newline_to_br" texts::newline_to_br;
    "plus" 1..=1 "| plus: 1" numbers::plus;
    "prepend" 1..=1 "| prepend: \"#\"" texts::prepend;
    "remove" 1..=1 "| remove: \"-\"" |call| texts::replace(call, usize::MAX);
    "remove_first" 1..=1 "| remove_first: \"-\"" |call| texts::replace(call, 1);
    "replace" 1..=2 "| replace: \"-\", \" \"" |call| texts::replace(call, usize::MAX);
    "replace_first" 1..=2 "| replace_first: \"-\", \" \"" |call| texts::replace(call, 1);
    "reverse" 0..=0 "| reverse" arrays::reverse;
    "round" 0..=1 "| round: 2" numbers::round;
    "rstrip" 0..=0 "| rstrip" |call| texts::mapped(call, |text| text.trim_end().to_owned());
    "size" 0..=0 "| size" arrays::size;
    "slice" 1..=2 "| slice: 0, 3" arrays::slice;
    "sort" 0..=1 "| sort" |call| arrays::sort(call, false);
    "sort_natural" 0..=1 "| sort_natural" |call| arrays::sort(call, true);
    "split" 1..=1 "| split: \",\"" texts::split;
    "strip" 0..=0 "| strip" |call| texts::mapped(call, |text| text.trim().to_owned());
    "strip_html" 0..=0 "| strip_html" |call| texts::mapped(call, texts::without_html);
    "strip_newlines" 0..=0 "| strip_newlines" |call| texts::mapped(call, |text| text.replace(['\n', '\r'], ""));
    "times" 1..=1 "| times: 2" numbers::times;
    "truncate" 0..=2 "| truncate: 20" texts::truncate;
    "truncatewords" 0..=2 "| truncatewords: 5" texts::truncate_words;
    "uniq" 0..=1 "| uniq" arrays::uniq;
    "upcase" 0..=0 "| upcase" |call| texts::mapped(call, str::to_uppercase);
    "url_decode" 0..=0 "| url_decode" texts::url_decode;
    "url_encode" 0..=0 "| url_encode" texts::url_encode;
    "where" 1..=2 "| where: \"kind\", \"sms\"" arrays::matching;
};

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn names_are_in_order() {
        assert!(names().is_sorted());
    }
}
