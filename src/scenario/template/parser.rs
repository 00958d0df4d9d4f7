//! Cuts a template into texts, outputs and tags, and minds white space control, `raw` and `comment`.

use std::ops::Range;

use super::ast::Node;
use super::expressions::{Names, chain};
use super::lexer::{Tokens, unclosed_quote};
use super::{MAX_NESTING, TemplateError, VariableUse, tags};

/// Parses a template into its parts and the variables that it reads.
pub(super) fn parse(source: &str) -> Result<(Vec<Node>, Vec<VariableUse>), TemplateError> {
    let mut parser = Parser {
        source,
        at: 0,
        trim: false,
        names: Names::default(),
        open: Vec::new(),
    };
    let (nodes, _) = parser.nodes(&[])?;
    Ok((nodes, parser.names.free()))
}

/// A tag that was found but not yet understood.
pub(super) struct Tag<'s> {
    pub(super) name: &'s str,
    pub(super) span: Range<usize>,
    pub(super) tokens: Tokens<'s>,
}

enum Piece<'s> {
    Text(&'s str),
    Output(Tokens<'s>),
    Tag(Tag<'s>),
}

/// `{{ … }}` or `{% … %}`, with the white space control of both its ends.
struct Braces {
    whole: Range<usize>,
    inside: Range<usize>,
    is_tag: bool,
    trims_before: bool,
    trims_after: bool,
}

pub(super) struct Parser<'s> {
    source: &'s str,
    at: usize,
    /// Whether the text that follows loses the white space at its beginning.
    trim: bool,
    pub(super) names: Names,
    /// Blocks that are not closed yet: name and place.
    open: Vec<(&'s str, Range<usize>)>,
}

impl<'s> Parser<'s> {
    /// What stands before one of these tags; that tag is handed back with it.
    pub(super) fn nodes(
        &mut self,
        ends: &[&str],
    ) -> Result<(Vec<Node>, Option<Tag<'s>>), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.piece()? {
            match piece {
                Piece::Text("") => {}
                Piece::Text(text) => nodes.push(Node::Text(text.to_owned())),
                Piece::Output(mut tokens) => {
                    nodes.push(Node::Output(chain(&mut tokens, &mut self.names)?));
                }
                Piece::Tag(tag) if ends.contains(&tag.name) => return Ok((nodes, Some(tag))),
                Piece::Tag(tag) => nodes.push(tags::parse(self, tag)?),
            }
        }
        match self.open.last() {
            None => Ok((nodes, None)),
            Some((name, span)) => Err(TemplateError::new(format!("`{name}` is not closed"))
                .help(format!("write `{{% end{name} %}}` where it ends"))
                .at(span.clone())),
        }
    }

    /// Parses a block with this inside it.
    pub(super) fn block<T>(
        &mut self,
        tag: &Tag<'s>,
        inside: impl FnOnce(&mut Self) -> Result<T, TemplateError>,
    ) -> Result<T, TemplateError> {
        if self.open.len() == MAX_NESTING {
            return Err(TemplateError::new(format!(
                "blocks are nested more than {MAX_NESTING} deep"
            ))
            .at(tag.span.clone()));
        }
        self.open.push((tag.name, tag.span.clone()));
        let parsed = inside(self)?;
        self.open.pop();
        Ok(parsed)
    }

    /// The block that is open here.
    pub(super) fn innermost(&self) -> Option<&'s str> {
        self.open.last().map(|(name, _)| *name)
    }

    fn piece(&mut self) -> Result<Option<Piece<'s>>, TemplateError> {
        loop {
            if self.at == self.source.len() {
                return Ok(None);
            }
            let Some(start) = opening(self.source, self.at) else {
                let text = self.text(self.at..self.source.len(), false);
                self.at = self.source.len();
                return Ok(Some(Piece::Text(text)));
            };
            let braces = braces(self.source, start)?;
            if start > self.at {
                let text = self.text(self.at..start, braces.trims_before);
                self.at = start;
                self.trim = false;
                if !text.is_empty() {
                    return Ok(Some(Piece::Text(text)));
                }
            }
            self.at = braces.whole.end;
            self.trim = braces.trims_after;
            let inside = self.source[braces.inside.clone()].trim_start();
            if braces.is_tag && inside.starts_with('#') {
                continue;
            }
            let verbatim = |name| braces.is_tag && inside.trim_end() == name;
            if verbatim("comment") {
                self.skip_to_end("comment", &braces)?;
                continue;
            }
            if verbatim("raw") {
                let end = self.skip_to_end("raw", &braces)?;
                self.trim = braces.trims_after;
                let text = self.text(braces.whole.end..end.whole.start, end.trims_before);
                self.trim = end.trims_after;
                return Ok(Some(Piece::Text(text)));
            }
            let mut tokens = Tokens::new(self.source, braces.inside.clone())?;
            if !braces.is_tag {
                return Ok(Some(Piece::Output(tokens)));
            }
            let (name, _) = tokens.word("the name of a tag")?;
            return Ok(Some(Piece::Tag(Tag {
                name,
                span: braces.whole,
                tokens,
            })));
        }
    }

    fn text(&self, range: Range<usize>, trims_end: bool) -> &'s str {
        let mut text = &self.source[range];
        if self.trim {
            text = text.trim_start();
        }
        if trims_end {
            text = text.trim_end();
        }
        text
    }

    /// Goes on behind the tag that ends a verbatim one; nothing in between has to be Liquid.
    fn skip_to_end(&mut self, name: &str, opened: &Braces) -> Result<Braces, TemplateError> {
        // Comments may hold comments, a raw text ends with the first `endraw`.
        let mut depth = 1_usize;
        let mut at = opened.whole.end;
        while let Some(found) = self.source[at..].find("{%") {
            let start = at + found;
            let inside = start + 2;
            at = inside;
            let Some(length) = self.source[inside..].find("%}") else {
                break;
            };
            let braces = trimmed(self.source, start, inside..inside + length, true);
            let tag = self.source[braces.inside.clone()].trim();
            if tag.strip_prefix("end") == Some(name) {
                depth -= 1;
            } else if tag == name && name == "comment" {
                depth += 1;
            } else {
                continue;
            }
            at = braces.whole.end;
            if depth == 0 {
                self.at = braces.whole.end;
                self.trim = braces.trims_after;
                return Ok(braces);
            }
        }
        Err(TemplateError::new(format!("`{name}` is not closed"))
            .help(format!("write `{{% end{name} %}}` where it ends"))
            .at(opened.whole.clone()))
    }
}

/// Where the next `{{` or `{%` is.
fn opening(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let found = bytes[from..]
        .windows(2)
        .position(|pair| matches!(pair, [b'{', b'{' | b'%']));
    found.map(|found| from + found)
}

/// Finds where an output or tag ends; what stands in quotes does not count.
fn braces(source: &str, start: usize) -> Result<Braces, TemplateError> {
    let bytes = source.as_bytes();
    let is_tag = bytes.get(start + 1) == Some(&b'%');
    let (open, close) = if is_tag { ("{%", "%}") } else { ("{{", "}}") };
    let inside = start + 2;
    let mut quote: Option<(usize, u8)> = None;
    for (at, pair) in bytes[inside..].windows(2).enumerate() {
        let at = inside + at;
        match quote {
            Some((_, open)) if pair[0] == open => quote = None,
            Some(_) => {}
            None if matches!(pair[0], b'"' | b'\'') => quote = Some((at, pair[0])),
            None if pair == close.as_bytes() => {
                return Ok(trimmed(source, start, inside..at, is_tag));
            }
            None => {}
        }
    }
    match quote {
        Some((at, _)) if source[at..].contains(close) => Err(unclosed_quote(at)),
        _ => Err(TemplateError::new(format!("`{open}` is not closed"))
            .help(format!("write `{close}` where it ends"))
            .at(start..inside)),
    }
}

fn trimmed(source: &str, start: usize, mut inside: Range<usize>, is_tag: bool) -> Braces {
    let whole = start..inside.end + 2;
    let trims_before = source[inside.clone()].starts_with('-');
    inside.start += usize::from(trims_before);
    let trims_after = source[inside.clone()].ends_with('-');
    inside.end -= usize::from(trims_after);
    Braces {
        whole,
        inside,
        is_tag,
        trims_before,
        trims_after,
    }
}
