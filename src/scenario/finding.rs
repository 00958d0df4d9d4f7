//! What is wrong with a file, where, and how to mend it; and how that is shown.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

use crate::vibes::registration::with_users_hidden;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The scenario cannot be run.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is, in bytes of the source; empty where there is nothing to underline.
    pub span: Range<usize>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl Finding {
    /// A finding that keeps the scenario from running.
    pub fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Error,
            span,
            message: message.into(),
            help: None,
        }
    }

    /// A finding that only asks for a second look.
    pub fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Finding {
            severity: Severity::Warning,
            ..Finding::error(span, message)
        }
    }

    /// The same, with a word on how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The findings of one file, with the source they are about.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The file's name as the user wrote it.
    pub file: String,
    source: String,
    list: Vec<Finding>,
}

impl Findings {
    /// Puts findings in the order of the file.
    pub fn new(file: impl Into<String>, source: impl Into<String>, mut list: Vec<Finding>) -> Self {
        list.sort_by(|a, b| {
            let key = |finding: &Finding| (finding.span.start, finding.span.end, finding.severity);
            key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
        });
        list.dedup();
        Findings {
            file: file.into(),
            // The line that a finding is about is shown.
            source: with_users_hidden(&source.into()),
            list,
        }
    }

    /// The findings in the order of the file.
    pub fn list(&self) -> &[Finding] {
        &self.list
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many of them keep the scenario from running.
    pub fn errors(&self) -> usize {
        self.list
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .count()
    }

    /// Line and column of a finding, both from 1, the column in characters.
    pub fn place(&self, finding: &Finding) -> (usize, usize) {
        let before = &self.source[..self.drawable(&finding.span).start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The findings as text, each with file, line, column, the line itself and how to mend it.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        }
        .decor_style(DecorStyle::Ascii);
        let shown = self.list.iter().map(|finding| {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let mut group = level.primary_title(finding.message.as_str()).element(
                Snippet::source(self.source.as_str())
                    .path(self.file.as_str())
                    .annotation(AnnotationKind::Primary.span(self.drawable(&finding.span))),
            );
            if let Some(help) = &finding.help {
                group = group.element(Level::HELP.message(help.as_str()));
            }
            renderer.render(&[group])
        });
        let mut text = String::new();
        for finding in shown {
            text.push_str(finding.trim_end());
            text.push_str("\n\n");
        }
        text
    }

    /// The part of a span that fits on its first line, on character boundaries.
    fn drawable(&self, span: &Range<usize>) -> Range<usize> {
        let boundary = |at: usize| self.source.floor_char_boundary(at.min(self.source.len()));
        let start = boundary(span.start);
        let line_end = self.source[start..]
            .find(['\n', '\r'])
            .map_or(self.source.len(), |length| start + length);
        start..boundary(span.end).clamp(start, line_end)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Findings {}

/// Of the words that there are, those that somebody most likely meant, best first; at most three.
pub fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Vec<&'w str> {
    let wanted = word.to_lowercase();
    let mut near: Vec<_> = words
        .into_iter()
        .map(|candidate| {
            let likeness = strsim::jaro_winkler(&wanted, &candidate.to_lowercase());
            (likeness, candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, word)| word).collect()
}

/// "did you mean `a`?", or else all that there is to choose from.
pub fn did_you_mean<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<&str> = words.into_iter().collect();
    match nearest(word, words.iter().copied()).as_slice() {
        [] => {
            let all: Vec<_> = words.into_iter().map(|word| format!("`{word}`")).collect();
            match all.as_slice() {
                [] => "there is none".to_owned(),
                [one] => format!("it can only be {one}"),
                many => format!("it can be {}", many.join(", ")),
            }
        }
        [one, ..] => format!("did you mean `{one}`?"),
    }
}
