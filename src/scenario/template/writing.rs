//! Writes values as text, never beyond a bound.

use std::fmt::Write as _;

use liquid_core::model::ScalarCow;
use liquid_core::{ObjectView, ValueView};

use super::MAX_KEPT;
use super::values::{Kind, MAX_DEPTH, Number, kind, sorted};

/// A text that grows up to a bound.
pub(super) struct Builder<'o> {
    out: &'o mut String,
    /// How long the text may get.
    end: usize,
}

/// The text would be longer than it may be.
#[derive(Debug)]
pub(super) struct Full;

impl From<Full> for String {
    fn from(_: Full) -> String {
        too_large()
    }
}

pub(super) fn too_large() -> String {
    format!("this would make a value of more than {MAX_KEPT} bytes")
}

impl<'o> Builder<'o> {
    pub(super) fn new(out: &'o mut String, end: usize) -> Self {
        Builder { out, end }
    }

    pub(super) fn push(&mut self, text: &str) -> Result<(), Full> {
        if text.len() > self.end.saturating_sub(self.out.len()) {
            return Err(Full);
        }
        self.out.push_str(text);
        Ok(())
    }

    /// A value as it is put out: an array's elements one after the other, an object as JSON.
    pub(super) fn value(&mut self, value: &dyn ValueView) -> Result<(), Full> {
        self.nested(value, 0)
    }

    fn nested(&mut self, value: &dyn ValueView, depth: usize) -> Result<(), Full> {
        if depth > MAX_DEPTH {
            return Err(Full);
        }
        if let Some(scalar) = value.as_scalar() {
            return self.scalar(scalar);
        }
        if let Some(array) = value.as_array() {
            return array
                .values()
                .try_for_each(|item| self.nested(item, depth + 1));
        }
        if let Some(object) = value.as_object() {
            return self.object(object, depth);
        }
        if value.is_nil() || value.is_state() {
            return Ok(());
        }
        // A value of none of these kinds writes itself.
        self.push(&value.to_kstr())
    }

    fn scalar(&mut self, scalar: ScalarCow<'_>) -> Result<(), Full> {
        match kind(&scalar) {
            Kind::Number(Number::Whole(whole)) => write!(self, "{whole}").map_err(|_| Full),
            // With a point or an exponent, so that it can be told from a whole number.
            Kind::Number(Number::Fraction(fraction)) => {
                write!(self, "{fraction:?}").map_err(|_| Full)
            }
            Kind::Bool(truth) => self.push(if truth { "true" } else { "false" }),
            Kind::Text => self.push(&scalar.into_cow_str()),
        }
    }

    fn object(&mut self, object: &dyn ObjectView, depth: usize) -> Result<(), Full> {
        self.push("{")?;
        for (at, (key, item)) in sorted(object).into_iter().enumerate() {
            self.push(if at == 0 { "" } else { "," })?;
            self.quoted(&key)?;
            self.push(":")?;
            self.json(item, depth + 1)?;
        }
        self.push("}")
    }

    fn json(&mut self, value: &dyn ValueView, depth: usize) -> Result<(), Full> {
        if depth > MAX_DEPTH {
            return Err(Full);
        }
        if let Some(scalar) = value.as_scalar() {
            return match kind(&scalar) {
                Kind::Text => self.quoted(&scalar.into_cow_str()),
                Kind::Number(_) | Kind::Bool(_) => self.scalar(scalar),
            };
        }
        if let Some(array) = value.as_array() {
            self.push("[")?;
            for (at, item) in array.values().enumerate() {
                self.push(if at == 0 { "" } else { "," })?;
                self.json(item, depth + 1)?;
            }
            return self.push("]");
        }
        match value.as_object() {
            Some(object) => self.object(object, depth),
            None => self.push("null"),
        }
    }

    fn quoted(&mut self, text: &str) -> Result<(), Full> {
        self.push("\"")?;
        for c in text.chars() {
            match c {
                '"' => self.push("\\\"")?,
                '\\' => self.push("\\\\")?,
                '\n' => self.push("\\n")?,
                '\r' => self.push("\\r")?,
                '\t' => self.push("\\t")?,
                c if c < ' ' => write!(self, "\\u{:04x}", u32::from(c)).map_err(|_| Full)?,
                c => self.push(c.encode_utf8(&mut [0; 4]))?,
            }
        }
        self.push("\"")
    }
}

impl std::fmt::Write for Builder<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text).map_err(|Full| std::fmt::Error)
    }
}
