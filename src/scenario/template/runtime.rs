//! What a template runs in: the variables, what it assigns, and the bounds it may not cross.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use liquid_core::model::{
    KString, KStringCow, KStringRef, Object, ScalarCow, Value, ValueCow, try_find,
};
use liquid_core::runtime::{InterruptRegister, PartialStore, Registers};
use liquid_core::{Error, ObjectView, Renderable, Runtime, ValueView};
use rand::rand_core::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::{MAX_ITERATIONS, MAX_KEPT, MAX_OUTPUT};

/// Said where [`MAX_OUTPUT`] is reached.
pub(super) const TOO_MUCH_OUTPUT: &str = "the template puts out more than 65536 bytes";

/// What filters and loops share while a template is rendered; kept in the runtime's registers.
#[derive(Debug)]
pub(super) struct Bounds {
    /// What `"now"` means.
    pub(super) now: DateTime<Utc>,
    /// What our filters draw from.
    pub(super) generator: Xoshiro256PlusPlus,
    iterations: u32,
    /// Bytes that filters have made.
    made: usize,
    reached: Option<&'static str>,
}

impl Bounds {
    pub(super) fn new(now: DateTime<Utc>, generator: Xoshiro256PlusPlus) -> Self {
        Bounds {
            now,
            generator,
            iterations: 0,
            made: 0,
            reached: None,
        }
    }

    /// The bound that was reached, if one was.
    pub(super) fn reached(&self) -> Option<&'static str> {
        self.reached
    }

    /// Takes one turn of a loop.
    pub(super) fn iterate(&mut self) -> liquid_core::Result<()> {
        self.iterations += 1;
        self.hold(
            self.iterations <= MAX_ITERATIONS,
            "the template's loops take more than 10000 turns",
        )
    }

    /// Counts a value that a filter made, or is about to make, of so many bytes.
    pub(super) fn make(&mut self, bytes: usize) -> liquid_core::Result<()> {
        // So much work in all keeps a template of filters within a second.
        const MAX_MADE: usize = 64 * MAX_KEPT;
        self.made = self.made.saturating_add(bytes);
        self.hold(
            bytes <= MAX_KEPT,
            "the template makes a value of more than 65536 bytes",
        )?;
        self.hold(
            self.made <= MAX_MADE,
            "the template's filters make more than 4 MiB of values",
        )
    }

    fn hold(&mut self, within: bool, bound: &'static str) -> liquid_core::Result<()> {
        if !within {
            self.reached.get_or_insert(bound);
        }
        match self.reached {
            Some(bound) => Err(Error::with_msg(bound)),
            None => Ok(()),
        }
    }
}

impl Default for Bounds {
    /// The registers ask for one; the renderer puts its own there before anything is rendered.
    fn default() -> Self {
        Bounds::new(DateTime::UNIX_EPOCH, Xoshiro256PlusPlus::seed_from_u64(0))
    }
}

/// How many bytes a value keeps, with a share for each of its elements; stops counting past the bound.
pub(super) fn size(value: &dyn ValueView) -> usize {
    const SHARE: usize = 64;
    fn add(value: &dyn ValueView, total: &mut usize) {
        *total += SHARE;
        if *total > MAX_KEPT {
            return;
        }
        if let Some(array) = value.as_array() {
            for item in array.values() {
                if *total > MAX_KEPT {
                    return;
                }
                add(item, total);
            }
        } else if let Some(object) = value.as_object() {
            for (key, item) in object.iter() {
                if *total > MAX_KEPT {
                    return;
                }
                *total += key.len();
                add(item, total);
            }
        } else if value.is_scalar() {
            *total += value.to_kstr().len();
        }
    }
    if let Some(scalar) = value.as_scalar() {
        return scalar.to_kstr().len();
    }
    let mut total = 0;
    add(value, &mut total);
    total
}

/// The outermost frame. Absent variables are nil; whether they may be absent is checked beforehand.
pub(super) struct Root<'v> {
    variables: &'v dyn ObjectView,
    assigned: RefCell<Object>,
    counters: RefCell<Object>,
    kept: Cell<usize>,
    registers: Registers,
}

impl<'v> Root<'v> {
    pub(super) fn new(variables: &'v dyn ObjectView) -> Self {
        Root {
            variables,
            assigned: RefCell::default(),
            counters: RefCell::default(),
            kept: Cell::new(0),
            registers: Registers::default(),
        }
    }

    /// Begins a template: what the last one did is forgotten.
    pub(super) fn begin(&mut self, bounds: Bounds) {
        self.assigned.get_mut().clear();
        self.counters.get_mut().clear();
        self.kept.set(0);
        *self.registers.get_mut::<Bounds>() = bounds;
        self.registers.get_mut::<InterruptRegister>().reset();
    }

    /// Ends a template: what has become of its bounds.
    pub(super) fn end(&self) -> Bounds {
        std::mem::take(&mut *self.registers.get_mut::<Bounds>())
    }
}

impl Runtime for Root<'_> {
    fn partials(&self) -> &dyn PartialStore {
        &NoPartials
    }

    fn name(&self) -> Option<KStringRef<'_>> {
        None
    }

    fn roots(&self) -> BTreeSet<KStringCow<'_>> {
        BTreeSet::new()
    }

    fn try_get(&self, path: &[ScalarCow<'_>]) -> Option<ValueCow<'_>> {
        let name = path.first()?.to_kstr();
        let assigned = self.assigned.borrow();
        if let Some(value) = assigned.get(name.as_str()) {
            return try_find(value, &path[1..]).map(|found| ValueCow::Owned(found.into_owned()));
        }
        try_find(self.variables.as_value(), path)
    }

    fn get(&self, path: &[ScalarCow<'_>]) -> liquid_core::Result<ValueCow<'_>> {
        Ok(self.try_get(path).unwrap_or(ValueCow::Owned(Value::Nil)))
    }

    fn set_global(&self, name: KString, value: Value) -> Option<Value> {
        let mut assigned = self.assigned.borrow_mut();
        let old = assigned
            .get(name.as_str())
            .map_or(0, |old| size(old) + name.len());
        let kept = self.kept.get().saturating_sub(old) + size(&value) + name.len();
        // An error cannot be given from here; the bound that is reached ends the rendering instead.
        let within = kept <= MAX_KEPT;
        let _ = self
            .registers
            .get_mut::<Bounds>()
            .hold(within, "the template assigns more than 65536 bytes");
        if !within {
            return None;
        }
        self.kept.set(kept);
        assigned.insert(name, value)
    }

    fn set_index(&self, name: KString, value: Value) -> Option<Value> {
        self.counters.borrow_mut().insert(name, value)
    }

    fn get_index<'a>(&'a self, name: &str) -> Option<ValueCow<'a>> {
        self.counters
            .borrow()
            .get(name)
            .map(|value| ValueCow::Owned(value.clone()))
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }
}

#[derive(Debug)]
struct NoPartials;

impl PartialStore for NoPartials {
    fn contains(&self, _: &str) -> bool {
        false
    }

    fn names(&self) -> Vec<&str> {
        Vec::new()
    }

    fn try_get(&self, _: &str) -> Option<Arc<dyn Renderable>> {
        None
    }

    fn get(&self, _: &str) -> liquid_core::Result<Arc<dyn Renderable>> {
        Err(Error::with_msg("there are no other templates to include"))
    }
}

/// Appends to a text, up to the bound.
pub(super) struct Output<'o> {
    out: &'o mut String,
    left: usize,
    reached: bool,
}

impl<'o> Output<'o> {
    pub(super) fn new(out: &'o mut String) -> Self {
        Output {
            out,
            left: MAX_OUTPUT,
            reached: false,
        }
    }

    pub(super) fn reached(&self) -> Option<&'static str> {
        self.reached.then_some(TOO_MUCH_OUTPUT)
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            self.reached = true;
            return Err(io::Error::other("too much output"));
        }
        self.left -= bytes.len();
        // Liquid writes whole texts, so a character never comes in two pieces.
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.out.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
