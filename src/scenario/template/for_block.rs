//! `for`, taking its turns one by one and counting them.
//!
//! The library's own builds a range whole before its first turn, and nothing bounds its turns.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;

use liquid_core::model::{
    KString, KStringCow, KStringRef, Object, ScalarCow, Value, ValueCow, try_find,
};
use liquid_core::parser::{BlockElement, TryMatchToken};
use liquid_core::runtime::{Interrupt, InterruptRegister, PartialStore, Registers};
use liquid_core::{
    BlockReflection, Error, Expression, Language, ParseBlock, Renderable, Result, Runtime,
    TagBlock, TagTokenIter, Template, ValueView,
};

use super::runtime::Bounds;

#[derive(Clone, Debug)]
pub(super) struct ForBlock;

impl BlockReflection for ForBlock {
    fn start_tag(&self) -> &str {
        "for"
    }

    fn end_tag(&self) -> &str {
        "endfor"
    }

    fn description(&self) -> &str {
        "Renders its body once for each element."
    }
}

#[derive(Debug)]
enum Over {
    Value(Expression),
    Range(Expression, Expression),
}

impl ParseBlock for ForBlock {
    fn parse(
        &self,
        mut arguments: TagTokenIter<'_>,
        mut block: TagBlock<'_, '_>,
        options: &Language,
    ) -> Result<Box<dyn Renderable>> {
        let variable = arguments
            .expect_next("the name of a variable is missing after `for`")?
            .expect_identifier()
            .into_result()?
            .to_owned();
        arguments
            .expect_next("`in` is missing in `for`")?
            .expect_str("in")
            .into_result_custom_msg("`in` is missing in `for`")?;
        let over = arguments.expect_next("what to go over is missing in `for`")?;
        let over = match over.expect_value() {
            TryMatchToken::Matches(value) => Over::Value(value),
            TryMatchToken::Fails(token) => {
                let (from, to) = token.expect_range().into_result()?;
                Over::Range(from, to)
            }
        };
        let (mut limit, mut offset, mut reversed) = (None, None, false);
        while let Some(word) = arguments.next() {
            let target = match word.as_str() {
                "reversed" => {
                    reversed = true;
                    continue;
                }
                "limit" => &mut limit,
                "offset" => &mut offset,
                _ => {
                    return word
                        .raise_custom_error("`limit:`, `offset:` or `reversed` can stand here")
                        .into_err();
                }
            };
            arguments
                .expect_next("a colon is missing")?
                .expect_str(":")
                .into_result_custom_msg("a colon is missing")?;
            *target = Some(
                arguments
                    .expect_next("a number is missing")?
                    .expect_value()
                    .into_result()?,
            );
        }
        let mut body = Vec::new();
        let mut otherwise = None;
        while let Some(element) = block.next()? {
            match element {
                BlockElement::Tag(mut tag) if tag.name() == "else" => {
                    tag.tokens().expect_nothing()?;
                    otherwise = Some(Template::new(block.parse_all(options)?));
                    break;
                }
                element => body.push(element.parse(&mut block, options)?),
            }
        }
        block.assert_empty();
        Ok(Box::new(For {
            variable: variable.into(),
            over,
            limit,
            offset,
            reversed,
            body: Template::new(body),
            otherwise,
        }))
    }

    fn reflection(&self) -> &dyn BlockReflection {
        self
    }
}

#[derive(Debug)]
struct For {
    variable: KString,
    over: Over,
    limit: Option<Expression>,
    offset: Option<Expression>,
    reversed: bool,
    body: Template,
    otherwise: Option<Template>,
}

/// The elements of a loop, without holding more of them than there are.
enum Elements {
    List(Vec<Value>),
    Range { from: i64, length: u64 },
}

impl Elements {
    fn len(&self) -> u64 {
        match self {
            Elements::List(list) => list.len() as u64,
            Elements::Range { length, .. } => *length,
        }
    }

    fn get(&self, index: u64) -> Value {
        match self {
            Elements::List(list) => usize::try_from(index)
                .ok()
                .and_then(|index| list.get(index).cloned())
                .unwrap_or(Value::Nil),
            Elements::Range { from, .. } => Value::scalar(from.wrapping_add_unsigned(index)),
        }
    }
}

impl For {
    fn elements(&self, runtime: &dyn Runtime) -> Result<Elements> {
        let value = match &self.over {
            Over::Value(value) => value.evaluate(runtime)?,
            Over::Range(from, to) => {
                let (from, to) = (integer(from, runtime)?, integer(to, runtime)?);
                let length = match from <= to {
                    true => to.abs_diff(from).saturating_add(1),
                    false => 0,
                };
                return Ok(Elements::Range { from, length });
            }
        };
        let list = if let Some(array) = value.as_array() {
            array.values().map(|item| item.to_value()).collect()
        } else if let Some(object) = value.as_object() {
            // By name: the library's own order changes from run to run.
            let mut pairs: Vec<_> = object
                .iter()
                .map(|(key, item)| (key.into_owned(), item.to_value()))
                .collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            pairs
                .into_iter()
                .map(|(key, item)| Value::Array(vec![Value::scalar(key), item]))
                .collect()
        } else if value.is_nil() {
            Vec::new()
        } else {
            vec![value.to_value()]
        };
        Ok(Elements::List(list))
    }

    /// `limit` and `offset` as they stand, at least zero.
    fn bound(expression: &Option<Expression>, runtime: &dyn Runtime) -> Result<Option<u64>> {
        match expression {
            None => Ok(None),
            Some(expression) => Ok(Some(
                u64::try_from(integer(expression, runtime)?).unwrap_or(0),
            )),
        }
    }
}

fn integer(expression: &Expression, runtime: &dyn Runtime) -> Result<i64> {
    let value = expression.evaluate(runtime)?;
    value
        .as_scalar()
        .and_then(|scalar| scalar.to_integer())
        .ok_or_else(|| Error::with_msg(format!("`{expression}` is not a whole number")))
}

impl Renderable for For {
    fn render_to(&self, writer: &mut dyn Write, runtime: &dyn Runtime) -> Result<()> {
        let elements = self.elements(runtime)?;
        let offset = Self::bound(&self.offset, runtime)?.unwrap_or(0);
        let left = elements.len().saturating_sub(offset);
        let length = Self::bound(&self.limit, runtime)?.map_or(left, |limit| left.min(limit));
        if length == 0 {
            return match &self.otherwise {
                Some(otherwise) => otherwise.render_to(writer, runtime),
                None => Ok(()),
            };
        }
        for turn in 0..length {
            runtime.registers().get_mut::<Bounds>().iterate()?;
            let index = if self.reversed {
                length - 1 - turn
            } else {
                turn
            };
            let frame = Turn {
                parent: runtime,
                variable: self.variable.as_str(),
                element: elements.get(offset + index),
                turn,
                length,
                forloop: OnceCell::new(),
            };
            self.body.render_to(writer, &frame)?;
            let interrupt = runtime.registers().get_mut::<InterruptRegister>().reset();
            if let Some(Interrupt::Break) = interrupt {
                break;
            }
        }
        Ok(())
    }
}

/// One turn of a loop: the element and `forloop` are there beside all else.
struct Turn<'r> {
    parent: &'r dyn Runtime,
    variable: &'r str,
    element: Value,
    turn: u64,
    length: u64,
    forloop: OnceCell<Value>,
}

impl Turn<'_> {
    fn forloop(&self) -> &Value {
        self.forloop.get_or_init(|| {
            let number = |number: u64| Value::scalar(i64::try_from(number).unwrap_or(i64::MAX));
            let left = self.length - self.turn;
            let fields = [
                ("index", number(self.turn + 1)),
                ("index0", number(self.turn)),
                ("rindex", number(left)),
                ("rindex0", number(left - 1)),
                ("length", number(self.length)),
                ("first", Value::scalar(self.turn == 0)),
                ("last", Value::scalar(left == 1)),
            ];
            let mut fields: Object = fields
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect();
            if let Some(parent) = self.parent.try_get(&[ScalarCow::new("forloop")]) {
                fields.insert("parentloop".into(), parent.into_owned());
            }
            Value::Object(fields)
        })
    }
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "turn {} of {}", self.turn, self.length)
    }
}

impl Runtime for Turn<'_> {
    fn partials(&self) -> &dyn PartialStore {
        self.parent.partials()
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        self.parent.name()
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        self.parent.roots()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        let name = path.first()?.to_kstr();
        if name == self.variable {
            try_find(&self.element, &path[1..])
        } else if name == "forloop" {
            try_find(self.forloop(), &path[1..])
        } else {
            self.parent.try_get(path)
        }
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> Result<ValueCow<'_>> {
        Ok(self.try_get(path).unwrap_or(ValueCow::Owned(Value::Nil)))
    }

    fn set_global(&self, name: KString, value: Value) -> Option<Value> {
        self.parent.set_global(name, value)
    }

    fn set_index(&self, name: KString, value: Value) -> Option<Value> {
        self.parent.set_index(name, value)
    }

    fn get_index<'a>(&'a self, name: &str) -> Option<ValueCow<'a>> {
        self.parent.get_index(name)
    }

    fn registers(&self) -> &Registers {
        self.parent.registers()
    }
}
