//! Texts with Liquid in them: parsed once, rendered for each event, and never running away.
//!
//! The language is the `liquid` project's; what is ours is the bounds (output, iterations, what is kept),
//! the filters that draw, `"now"` as the run's clock, and errors in plain words. Which variables there
//! are, and which of them an event has, is for the caller to say.

mod filters;
mod for_block;
mod language;
mod runtime;
mod scan;
mod simple;

use std::ops::Range;

use chrono::{DateTime, Utc};
pub use liquid_core::ObjectView;
use liquid_core::Renderable;
use rand_xoshiro::Xoshiro256PlusPlus;

use runtime::{Bounds, Output, Root};
pub use scan::VariableUse;

/// The longest template, in bytes.
pub const MAX_SOURCE: usize = 64 * 1024;
/// The most bytes that a template may put out.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// The most turns that all loops of a template may take together.
pub const MAX_ITERATIONS: u32 = 10_000;
/// The most bytes of a value, and of all that a template assigns together.
pub const MAX_KEPT: usize = 64 * 1024;
/// The deepest nesting of blocks.
pub const MAX_NESTING: usize = 32;

/// A text, perhaps with Liquid in it.
#[derive(Debug)]
pub struct Template {
    source: String,
    form: Form,
    variables: Vec<VariableUse>,
}

#[derive(Debug)]
enum Form {
    /// Just itself.
    Literal,
    Simple(Vec<simple::Piece>),
    Liquid(liquid_core::Template),
}

/// What is wrong with a template, or went wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
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

    fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }
}

impl Template {
    /// Parses a text. One without `{{` and `{%` is just itself.
    ///
    /// # Errors
    ///
    /// It is not Liquid, or names a tag or filter that is not there.
    pub fn parse(source: &str) -> Result<Template, TemplateError> {
        if !source.contains("{{") && !source.contains("{%") {
            return Ok(Template {
                source: source.to_owned(),
                form: Form::Literal,
                variables: Vec::new(),
            });
        }
        if source.len() > MAX_SOURCE {
            return Err(TemplateError::new(format!(
                "the template has more than {MAX_SOURCE} bytes"
            ))
            .help("shorten it"));
        }
        let variables = scan::variables(source)?;
        let elements =
            liquid_core::parser::parse(source, language::language()).map_err(|error| {
                TemplateError::new(format!(
                    "the template is not Liquid: {}",
                    plain_words(&error)
                ))
                .help("outputs look like `{{ variable | filter }}`, tags like `{% if variable %}`")
            })?;
        Ok(Template {
            source: source.to_owned(),
            form: match simple::pieces(source) {
                Some(pieces) => Form::Simple(pieces),
                None => Form::Liquid(liquid_core::Template::new(elements)),
            },
            variables,
        })
    }

    /// The text, if there is no Liquid in it.
    pub fn literal(&self) -> Option<&str> {
        matches!(self.form, Form::Literal).then_some(self.source.as_str())
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
    now: DateTime<Utc>,
    generator: Xoshiro256PlusPlus,
    /// Made for the first template that needs it.
    root: Option<Root<'v>>,
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
            now,
            generator,
            root: None,
        }
    }

    /// Appends the rendered text. What the template assigns is gone afterwards; the draws go on.
    ///
    /// # Errors
    ///
    /// A filter cannot do what it is asked to, or a bound is reached.
    pub fn render(&mut self, template: &Template, out: &mut String) -> Result<(), TemplateError> {
        let bound = match &template.form {
            Form::Literal => {
                out.push_str(&template.source);
                None
            }
            Form::Simple(pieces) => {
                let within =
                    simple::render(pieces, self.variables, &mut self.generator, MAX_OUTPUT, out);
                (!within).then_some(runtime::TOO_MUCH_OUTPUT)
            }
            Form::Liquid(parsed) => {
                let root = self.root.get_or_insert_with(|| Root::new(self.variables));
                root.begin(Bounds::new(self.now, self.generator.clone()));
                let mut writer = Output::new(out);
                let rendered = parsed.render_to(&mut writer, root);
                let reached = writer.reached();
                let bounds = root.end();
                self.generator = bounds.generator.clone();
                let bound = bounds.reached().or(reached);
                if bound.is_none() {
                    rendered.map_err(|error| {
                        TemplateError::new(format!(
                            "the template cannot be rendered: {}",
                            plain_words(&error)
                        ))
                        .help("look at what stands before that filter or tag, and at its arguments")
                    })?;
                }
                bound
            }
        };
        match bound {
            None => Ok(()),
            Some(bound) => Err(TemplateError::new(bound).help("shorten the template or its loops")),
        }
    }
}

/// The one sentence in a Liquid error that says what is wrong.
fn plain_words(error: &liquid_core::Error) -> String {
    let text = error.to_string();
    let pest = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("= "));
    let first = text.lines().next().unwrap_or_default();
    let words = pest.unwrap_or(first.strip_prefix("liquid: ").unwrap_or(first));
    let cause = text.lines().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("cause=")
            .or_else(|| line.strip_prefix("requested filter="))
    });
    match cause {
        Some(cause) => format!("{words} ({cause})"),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests;
