//! Finds what a variable's path leads to.

use liquid_core::ValueView;
use liquid_core::model::{Value, ValueCow};

use super::TemplateError;
use super::ast::{Path, Step};
use super::render::{Rendered, Run};
use super::values::{self, Number};

impl<'a> Run<'a> {
    /// A variable's value; nil if it is absent.
    pub(super) fn path(&mut self, path: &'a Path) -> Rendered<ValueCow<'a>> {
        self.step(1)?;
        let mut computed = Vec::new();
        for (at, step) in path.steps.iter().enumerate() {
            if let Step::Computed(index) = step {
                let index = self.value(index)?;
                let key = match values::number(index.as_view()) {
                    Some(Number::Whole(whole)) => Key::Index(whole),
                    _ => Key::Name(match values::text(index.as_view()) {
                        Ok(text) => text.into_owned(),
                        Err(problem) => {
                            return Err(TemplateError::new(problem).at(path.span.clone()));
                        }
                    }),
                };
                computed.push((at, key));
            }
        }
        let steps = Steps { path, computed };
        let root = path.root.as_str();
        if root == "forloop" && !self.loops.is_empty() {
            return Ok(ValueCow::Owned(self.forloop(&steps)));
        }
        let mut taken = 0;
        let found =
            if let Some(inner) = self.loops.iter().rev().find(|inner| inner.variable == root) {
                match &inner.item {
                    ValueCow::Borrowed(view) => walk(*view, &steps),
                    ValueCow::Owned(value) => copied(value, &steps, &mut taken),
                }
            } else if let Some((value, _)) = self.assigned.get(root) {
                copied(value, &steps, &mut taken)
            } else if let Some(view) = self.variables.get(root) {
                walk(view, &steps)
            } else {
                let count = self.counters.get(root);
                count.and_then(|count| copied(&Value::scalar(*count), &steps, &mut taken))
            };
        self.handle(taken)?;
        Ok(found.unwrap_or(ValueCow::Borrowed(&Value::Nil)))
    }
}

/// One step on the way into a value.
enum Key {
    Name(String),
    Index(i64),
}

/// The steps of a path with what had to be computed.
pub(super) struct Steps<'p> {
    path: &'p Path,
    computed: Vec<(usize, Key)>,
}

impl Steps<'_> {
    pub(super) fn len(&self) -> usize {
        self.path.steps.len()
    }

    fn computed(&self, at: usize) -> Option<&Key> {
        let found = self.computed.iter().find(|(place, _)| *place == at);
        found.map(|(_, key)| key)
    }

    pub(super) fn name(&self, at: usize) -> Option<&str> {
        match (self.path.steps.get(at)?, self.computed(at)) {
            (Step::Key(name), _) | (_, Some(Key::Name(name))) => Some(name),
            _ => None,
        }
    }

    fn index(&self, at: usize) -> Option<i64> {
        match (self.path.steps.get(at)?, self.computed(at)) {
            (Step::Index(index), _) => Some(*index),
            (_, Some(Key::Index(index))) => Some(*index),
            (_, _) => self.name(at)?.parse().ok(),
        }
    }
}

/// Goes into a value.
fn walk<'x>(mut view: &'x dyn ValueView, steps: &Steps<'_>) -> Option<ValueCow<'x>> {
    let count = steps.len();
    for at in 0..count {
        let is_last = at + 1 == count;
        let size = |size: i64| is_last.then(|| ValueCow::Owned(Value::scalar(size)));
        if let Some(array) = view.as_array() {
            let length = array.size();
            view = match (steps.index(at), steps.name(at)) {
                (Some(index), _) => {
                    let from_end = if index < 0 { length } else { 0 };
                    let index = index.saturating_add(from_end);
                    // Left to the array, a negative one might be counted from its end once more.
                    if !(0..length).contains(&index) {
                        return None;
                    }
                    array.get(index)?
                }
                (None, Some("first")) if length > 0 => array.get(0)?,
                (None, Some("last")) if length > 0 => array.get(length - 1)?,
                (None, Some("size")) => return size(length),
                _ => return None,
            };
        } else if let Some(object) = view.as_object() {
            let written;
            let name = match (steps.name(at), steps.index(at)) {
                (Some(name), _) => name,
                (None, index) => {
                    written = index?.to_string();
                    &written
                }
            };
            view = match object.get(name) {
                Some(inner) => inner,
                None if name == "size" => return size(object.size()),
                None => return None,
            };
        } else if steps.name(at) == Some("size") && view.is_scalar() {
            let text = values::text(view).ok()?;
            return size(i64::try_from(text.chars().count()).unwrap_or(i64::MAX));
        } else {
            return None;
        }
    }
    Some(ValueCow::Borrowed(view))
}

/// Goes into a value that will not last, and counts what is copied from it.
fn copied<'a>(value: &Value, steps: &Steps<'_>, taken: &mut usize) -> Option<ValueCow<'a>> {
    let found = walk(value.as_view(), steps)?.into_owned();
    *taken = values::size(&found);
    Some(ValueCow::Owned(found))
}
