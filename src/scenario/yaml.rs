//! A YAML file as a tree of nodes that know where they stand.
//!
//! A typed reader stops at the first error and forgets how a number was spelled; this tree keeps both.
//! What a node means is for [`decode`](super::decode) and [`data`](super::data) to say. The parser is
//! `granit-parser`; limits on size, depth and aliases are kept here.

use std::collections::HashMap;
use std::ops::Range;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::finding::Finding;

/// The deepest nesting that is read; scenario files need eight levels.
pub const MAX_DEPTH: usize = 64;
/// The most nodes that one file may have.
pub const MAX_NODES: usize = 200_000;

/// Where a node stands in its [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// A value in the file.
#[derive(Debug)]
pub struct Node {
    /// Bytes of the source to underline: a scalar whole, a collection's beginning.
    pub span: Range<usize>,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug)]
pub enum Kind {
    /// A text or, if it was written without quotes, perhaps a number, `true`, `null`.
    Scalar {
        /// The value after YAML's escapes.
        text: String,
        /// Whether it stood without quotes and tag, so that it may be other than a text.
        plain: bool,
    },
    /// A list.
    List(Vec<NodeId>),
    /// Keys and values in the order of the file.
    Map(Vec<(NodeId, NodeId)>),
}

/// All nodes of a file. An alias is a second reference to the same node, so it costs nothing.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    root: NodeId,
}

impl Tree {
    /// The outermost node.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// A node of this tree.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The scalar text of a node, if it is one.
    pub fn scalar(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Reads a file's one document.
    ///
    /// # Errors
    ///
    /// One finding for what YAML does not allow, or for what is beyond the limits.
    pub fn parse(source: &str) -> Result<Tree, Finding> {
        let mut builder = Builder::default();
        let options = granit_parser::options! { emit_comments: false };
        for event in Parser::new_from_str_with_options(source, options) {
            let (event, span) = event.map_err(|error| {
                let at = byte_of(source, error.marker());
                if let Some(open) = builder.bracket_before(source, at) {
                    let bracket = &source[open..open + 1];
                    return Finding::error(open..open + 1, format!("this `{bracket}` is not closed"))
                        .help("close it, or look whether something within it lacks its quotes");
                }
                let end = source[at..]
                    .chars()
                    .next()
                    .map_or(at, |c| at + c.len_utf8());
                let words = error.info();
                let help = match words.to_lowercase() {
                    words if words.contains("tab") => "indent with spaces; YAML takes no tabs",
                    words if words.contains("anchor") => {
                        "an alias `*name` needs an anchor `&name` before it; put a text with a `*` into quotes"
                    }
                    _ => "check the indentation, and that brackets and quotes are closed; put a text with `: `, ` #`, `{` or `[` into quotes",
                };
                Finding::error(at..end, format!("this is not YAML: {words}")).help(help)
            })?;
            let range = span.byte_range().unwrap_or(0..0);
            builder.take(event, range)?;
        }
        builder.finish()
    }
}

fn byte_of(source: &str, marker: &granit_parser::Marker) -> usize {
    let at = marker.byte_offset().unwrap_or_else(|| {
        source
            .char_indices()
            .nth(marker.index())
            .map_or(source.len(), |(at, _)| at)
    });
    source.floor_char_boundary(at.min(source.len()))
}

/// A collection whose end has not come yet.
struct Open {
    id: NodeId,
    anchor: usize,
    key: Option<NodeId>,
    /// Byte of the source.
    start: usize,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, NodeId>,
    root: Option<NodeId>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), Finding> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = known_tag(tag.as_deref(), &span)?;
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && !is_text,
                };
                let id = self.add(kind, span)?;
                self.anchors.insert(anchor, id);
                self.attach(id)
            }
            Event::SequenceStart(_, anchor, tag) => {
                known_tag(tag.as_deref(), &span)?;
                self.begin(Kind::List(Vec::new()), anchor, span)
            }
            Event::MappingStart(_, anchor, tag) => {
                known_tag(tag.as_deref(), &span)?;
                self.begin(Kind::Map(Vec::new()), anchor, span)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.anchors.insert(done.anchor, done.id);
                    self.attach(done.id)?;
                }
                Ok(())
            }
            // An anchor is known only once its node is whole, so no node can contain itself.
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(&id) => self.attach(id),
                None => Err(
                    Finding::error(span, "this alias refers to what it is part of")
                        .help("write the value out instead"),
                ),
            },
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(Finding::error(span, "a second document begins here")
                    .help("put each scenario into a file of its own"))
            }
            _ => Ok(()),
        }
    }

    /// The bracket of a flow collection that is open at that place, if it stands in a line before it.
    fn bracket_before(&self, source: &str, at: usize) -> Option<usize> {
        let start = self.open.last()?.start;
        let is_bracket = source[start..].starts_with(['{', '[']);
        let in_earlier_line = source.get(start..at)?.contains('\n');
        (is_bracket && in_earlier_line).then_some(start)
    }

    fn add(&mut self, kind: Kind, span: Range<usize>) -> Result<NodeId, Finding> {
        if self.nodes.len() >= MAX_NODES {
            return Err(
                Finding::error(span, format!("the file has more than {MAX_NODES} values"))
                    .help("split it, or let templates make up the data"),
            );
        }
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { span, kind });
        Ok(id)
    }

    fn begin(&mut self, kind: Kind, anchor: usize, span: Range<usize>) -> Result<(), Finding> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Finding::error(
                span,
                format!("the file is nested more than {MAX_DEPTH} levels deep"),
            )
            .help("no scenario needs that; is a bracket left open?"));
        }
        let start = span.start;
        let id = self.add(kind, span)?;
        self.open.push(Open {
            id,
            anchor,
            key: None,
            start,
        });
        Ok(())
    }

    fn attach(&mut self, child: NodeId) -> Result<(), Finding> {
        let span = self.nodes[child.0 as usize].span.clone();
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(child);
            return Ok(());
        };
        let node = &mut self.nodes[parent.id.0 as usize];
        match (&mut node.kind, parent.key.take()) {
            (Kind::List(items), _) => items.push(child),
            (Kind::Map(entries), Some(key)) => entries.push((key, child)),
            (Kind::Map(_), None) => {
                if node.span.is_empty() {
                    node.span = span;
                }
                parent.key = Some(child);
            }
            (Kind::Scalar { .. }, _) => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Tree, Finding> {
        match self.root {
            Some(root) => Ok(Tree {
                nodes: self.nodes,
                root,
            }),
            None => Err(Finding::error(0..0, "the file is empty").help(
                "a scenario has at least `events:`; `vibes-mock catalog --scenarios` lists examples",
            )),
        }
    }
}

/// Whether the tag says that a scalar is a text; other tags than YAML's own have no meaning here.
fn known_tag(tag: Option<&Tag>, span: &Range<usize>) -> Result<bool, Finding> {
    let Some(tag) = tag else { return Ok(false) };
    match tag.core_suffix() {
        Some(suffix) => Ok(suffix == "str"),
        None if tag.to_string() == "!" => Ok(true),
        None => Err(Finding::error(
            span.clone(),
            format!("the tag `{tag}` has no meaning in a scenario"),
        )
        .help("remove it")),
    }
}
