//! From the tree of a file to the types of the model, with every finding at once.
//!
//! The model's `Deserialize` and `JsonSchema` are derived from the same types, so that what is read and
//! what the published schema says cannot drift apart. serde stops at the first error; here the value at
//! fault is noted, left out, and the reading tried again until nothing new is found.

mod error;
mod kept;
mod plain;
mod reader;

use std::cell::RefCell;
use std::collections::HashSet;

use serde::Deserialize;

use super::finding::Finding;
use super::yaml::{Kind, NodeId, Tree};
pub use kept::{AnyNode, Entries, Spanned};
pub use plain::{Plain, based, resolve_plain};
use reader::At;

/// After this many findings the rest is probably the same mistake.
const MAX_FINDINGS: usize = 100;

/// Reads a tree as a `T`.
///
/// All findings come with it; what is at fault is left out of the `T`, which is absent only if nothing
/// could be made of the file.
pub fn decode<T: for<'de> Deserialize<'de>>(tree: &Tree) -> (Option<T>, Vec<Finding>) {
    let context = Context {
        tree,
        findings: RefCell::default(),
        skipped: RefCell::default(),
    };
    loop {
        let read = T::deserialize(At {
            context: &context,
            id: tree.root(),
        });
        let error = match read {
            Ok(value) => return (Some(value), context.findings.into_inner()),
            Err(error) => error,
        };
        let at = error.at.unwrap_or(tree.root());
        // What is missing or makes no sense because a faulty value was left out is no finding of its own.
        if !context.lacks_some(at) {
            let mut finding = Finding::error(tree.node(at).span.clone(), error.message);
            finding.help = error.help;
            context.note(finding);
        }
        let fresh = context.skipped.borrow_mut().insert(at);
        let full = context.findings.borrow().len() >= MAX_FINDINGS;
        if at == tree.root() || !fresh || full {
            return (None, context.findings.into_inner());
        }
    }
}

struct Context<'t> {
    tree: &'t Tree,
    findings: RefCell<Vec<Finding>>,
    /// Nodes found at fault and left out from then on.
    skipped: RefCell<HashSet<NodeId>>,
}

impl Context<'_> {
    fn note(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Whether something in this map was left out.
    fn lacks_some(&self, id: NodeId) -> bool {
        let skipped = self.skipped.borrow();
        match &self.tree.node(id).kind {
            Kind::Map(entries) => entries
                .iter()
                .any(|(key, value)| skipped.contains(key) || skipped.contains(value)),
            _ => false,
        }
    }

    fn is_skipped(&self, id: NodeId) -> bool {
        self.skipped.borrow().contains(&id)
    }
}
