//! Renders `for`: goes over its items one by one, and counts its turns against the bound.

use std::ops::Range;

use liquid_core::ValueView;
use liquid_core::model::{Value, ValueCow};

use super::ast::{Expr, For, Over};
use super::lookup::Steps;
use super::render::{Flow, Rendered, Run};
use super::values::{self, Number};
use super::{MAX_ITERATIONS, TemplateError};

/// A loop that is under way.
pub(super) struct Loop<'a> {
    pub(super) variable: &'a str,
    pub(super) item: ValueCow<'a>,
    index: u64,
    length: u64,
}

/// What a loop goes over.
enum Items<'a> {
    Values(ValueCow<'a>),
    Range(i64),
}

impl<'a> Run<'a> {
    pub(super) fn for_block(&mut self, block: &'a For) -> Rendered<Flow> {
        let (items, length) = self.items(block)?;
        let limit = self.bound(block.limit.as_ref(), "limit", &block.span)?;
        let offset = self.bound(block.offset.as_ref(), "offset", &block.span)?;
        let offset = offset.unwrap_or(0).min(length);
        let turns = limit.unwrap_or(u64::MAX).min(length - offset);
        if turns == 0 {
            return self.nodes(&block.otherwise);
        }
        for turn in 0..turns {
            self.iterations += 1;
            if self.iterations > MAX_ITERATIONS {
                return Err(TemplateError::new(format!(
                    "the template's loops take more than {MAX_ITERATIONS} turns"
                ))
                .help("shorten them, for example with `limit:`")
                .at(block.span.clone()));
            }
            let place = offset
                + if block.reversed {
                    turns - 1 - turn
                } else {
                    turn
                };
            let item = self.item(&items, place)?;
            self.loops.push(Loop {
                variable: &block.variable,
                item,
                index: turn,
                length: turns,
            });
            let body = self.nodes(&block.body);
            self.loops.pop();
            if body? == Flow::Break {
                break;
            }
        }
        // `break` and `continue` were meant for this loop and go no further.
        Ok(Flow::On)
    }

    fn items(&mut self, block: &'a For) -> Rendered<(Items<'a>, u64)> {
        let values = match &block.over {
            Over::Range(first, last) => {
                let first = self.whole(first, "the range's beginning", &block.span)?;
                let last = self.whole(last, "the range's end", &block.span)?;
                let length = (i128::from(last) - i128::from(first) + 1).max(0);
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                return Ok((Items::Range(first), length));
            }
            Over::Values(values) => self.value(values)?,
        };
        let view = values.as_view();
        let length = if let Some(array) = view.as_array() {
            array.size()
        } else if let Some(object) = view.as_object() {
            // Key and value of each entry.
            self.handle(values::size(view))?;
            let pairs = values::sorted(object).into_iter().map(|(key, item)| {
                Value::array([Value::scalar(key.into_owned()), item.to_value()])
            });
            let pairs = Value::array(pairs);
            let length = pairs.as_array().map_or(0, |pairs| pairs.size());
            let length = u64::try_from(length).unwrap_or(0);
            return Ok((Items::Values(ValueCow::Owned(pairs)), length));
        } else {
            match values::text(view).map_err(TemplateError::new)? {
                text if text.is_empty() => 0,
                _ if values::number(view).is_none() => 1,
                _ => {
                    return Err(TemplateError::new(format!(
                        "`for` goes over an array or a range, and this is a {}",
                        view.type_name()
                    ))
                    .help("a range is written `(1..5)`")
                    .at(block.span.clone()));
                }
            }
        };
        Ok((Items::Values(values), u64::try_from(length).unwrap_or(0)))
    }

    fn item(&mut self, items: &Items<'a>, place: u64) -> Rendered<ValueCow<'a>> {
        let place = i64::try_from(place).unwrap_or(i64::MAX);
        Ok(match items {
            Items::Range(first) => ValueCow::Owned(Value::scalar(first.saturating_add(place))),
            Items::Values(ValueCow::Borrowed(view)) => {
                let view: &'a dyn ValueView = *view;
                match view.as_array() {
                    Some(array) => array
                        .get(place)
                        .map_or(ValueCow::Owned(Value::Nil), ValueCow::Borrowed),
                    None => ValueCow::Borrowed(view),
                }
            }
            Items::Values(ValueCow::Owned(value)) => {
                let item = match value {
                    Value::Array(array) => usize::try_from(place)
                        .ok()
                        .and_then(|place| array.get(place))
                        .cloned(),
                    other => Some(other.clone()),
                };
                let item = item.unwrap_or(Value::Nil);
                self.handle(values::size(&item))?;
                ValueCow::Owned(item)
            }
        })
    }

    fn bound(
        &mut self,
        bound: Option<&'a Expr>,
        name: &str,
        span: &Range<usize>,
    ) -> Rendered<Option<u64>> {
        let Some(bound) = bound else { return Ok(None) };
        let whole = self.whole(bound, &format!("`{name}`"), span)?;
        match u64::try_from(whole) {
            Ok(bound) => Ok(Some(bound)),
            Err(_) => {
                Err(TemplateError::new(format!("`{name}` cannot be negative")).at(span.clone()))
            }
        }
    }

    fn whole(&mut self, value: &'a Expr, what: &str, span: &Range<usize>) -> Rendered<i64> {
        match values::number(self.value(value)?.as_view()) {
            Some(Number::Whole(whole)) => Ok(whole),
            // Saturates, and takes what is not a number for 0.
            Some(Number::Fraction(fraction)) => Ok(fraction as i64),
            None => {
                Err(TemplateError::new(format!("{what} has to be a whole number")).at(span.clone()))
            }
        }
    }

    /// A field of the innermost loop, or of one around it.
    pub(super) fn forloop(&self, steps: &Steps<'_>) -> Value {
        let mut loops = self.loops.iter().rev();
        let mut inner = loops.next();
        for at in 0..steps.len() {
            let (Some(at_loop), Some(name)) = (inner, steps.name(at)) else {
                return Value::Nil;
            };
            let index0 = at_loop.index;
            let last = at_loop.length - 1;
            let whole = |number: u64| Value::scalar(i64::try_from(number).unwrap_or(i64::MAX));
            let field = match name {
                "parentloop" => {
                    inner = loops.next();
                    continue;
                }
                "index" => whole(index0 + 1),
                "index0" => whole(index0),
                "rindex" => whole(at_loop.length - index0),
                "rindex0" => whole(last - index0),
                "first" => Value::scalar(index0 == 0),
                "last" => Value::scalar(index0 == last),
                "length" => whole(at_loop.length),
                _ => Value::Nil,
            };
            // A field has nothing inside it.
            return if at + 1 == steps.len() {
                field
            } else {
                Value::Nil
            };
        }
        Value::Nil
    }
}
