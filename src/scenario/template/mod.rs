//! Texts with Liquid in them: parsed once, rendered for each event, and never running away.
//!
//! The language is Shopify's Liquid; values are those of `liquid-core`, so that whoever has variables
//! hands them in as an [`ObjectView`]. The parser and the renderer are ours, because every step of them
//! has to be bounded. Which variables there are, and which of them an event has, is for the caller to
//! say, with the help of [`Template::variables`].

mod arrays;
mod ast;
mod date;
mod draws;
mod expressions;
mod filters;
mod lexer;
mod lookup;
mod loops;
mod numbers;
mod parser;
mod render;
mod tags;
mod texts;
mod values;
mod writing;

use std::fmt;
use std::ops::Range;

use chrono::{DateTime, Utc};
pub use liquid_core::{ObjectView, ValueView};
use rand_xoshiro::Xoshiro256PlusPlus;

use ast::Node;
use render::{Run, Tools};

/// The longest template, in bytes. A text without Liquid may be longer.
pub const MAX_SOURCE: usize = 64 * 1024;
/// The most bytes that a template may put out.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// The most turns that all loops of one rendering may take together.
pub const MAX_ITERATIONS: u64 = 10_000;
/// The most bytes of one value that a filter or a capture makes, and of all assigned ones together.
pub const MAX_KEPT: usize = 64 * 1024;
/// The deepest nesting of blocks.
pub const MAX_NESTING: usize = 32;
/// The most steps of one rendering; about a tenth of a second.
pub const MAX_WORK: u64 = 1_000_000;

/// A text, perhaps with Liquid in it.
#[derive(Clone, Debug)]
pub struct Template {
    source: String,
    /// Absent where the text is just itself.
    nodes: Option<Vec<Node>>,
    variables: Vec<VariableUse>,
}

/// A variable that a template reads and does not set itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableUse {
    /// `event_data`, `items`, `0`; it ends where the way on is computed.
    pub path: Vec<String>,
    /// Whether the template says what to do if it is absent: a `default` filter, or a condition.
    pub guarded: bool,
    /// Where it stands in the template, in bytes.
    pub span: Range<usize>,
}

/// What is wrong with a template, or went wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// What, in a sentence.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Where in the template, in bytes, if that is known.
    pub span: Option<Range<usize>>,
}

impl TemplateError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        TemplateError {
            message: message.into(),
            help: None,
            span: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a text. One without `{{` and `{%` is just itself.
    ///
    /// # Errors
    ///
    /// It is not Liquid, names a tag or filter that is not there, or is too long or too deeply nested.
    pub fn parse(source: &str) -> Result<Template, TemplateError> {
        let mut template = Template {
            source: source.to_owned(),
            nodes: None,
            variables: Vec::new(),
        };
        if !source.contains("{{") && !source.contains("{%") {
            return Ok(template);
        }
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::new(format!(
                "the template has more than {MAX_SOURCE} bytes"
            ))
            .help("make it shorter"));
        }
        let (nodes, variables) = parser::parse(source)?;
        template.nodes = Some(nodes);
        template.variables = variables;
        Ok(template)
    }

    /// The text, if there is no Liquid in it.
    pub fn literal(&self) -> Option<&str> {
        self.nodes.is_none().then_some(self.source.as_str())
    }

    /// The text as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The variables that the template reads and does not set itself, in the order of the text.
    pub fn variables(&self) -> &[VariableUse] {
        &self.variables
    }
}

/// Renders templates against one set of variables.
pub struct Renderer<'v> {
    variables: &'v dyn ObjectView,
    tools: Tools,
}

impl<'v> Renderer<'v> {
    /// `now` is what `"now"` means to the `date` filter; the generator is what our filters draw from.
    pub fn new(
        variables: &'v dyn ObjectView,
        now: DateTime<Utc>,
        generator: Xoshiro256PlusPlus,
    ) -> Self {
        Renderer {
            variables,
            tools: Tools { now, generator },
        }
    }

    /// Appends the rendered text. What the template assigns is gone afterwards; draws go on from where
    /// they are.
    ///
    /// # Errors
    ///
    /// A filter cannot do what it is asked to, or a bound is reached. `out` is then as it was.
    pub fn render(&mut self, template: &Template, out: &mut String) -> Result<(), TemplateError> {
        match &template.nodes {
            None => {
                out.push_str(&template.source);
                Ok(())
            }
            Some(nodes) => Run::new(self.variables, &mut self.tools, out).render(nodes),
        }
    }
}

/// "did you mean `a`?", or else all that there is to choose from.
fn did_you_mean<'w>(word: &str, words: impl Iterator<Item = &'w str> + Clone) -> String {
    let likeness = |candidate: &str| strsim::jaro_winkler(&word.to_lowercase(), candidate);
    let nearest = words
        .clone()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, nearest)) => format!("did you mean `{nearest}`?"),
        None => {
            let all: Vec<_> = words.map(|word| format!("`{word}`")).collect();
            format!("it can be {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
