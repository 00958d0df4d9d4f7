//! Reads a template's source for what the library does not tell: which variables it uses, and what is
//! wrong in words for people.

use std::collections::HashSet;
use std::ops::Range;

use super::language::language;
use super::{MAX_NESTING, TemplateError};
use crate::scenario::finding::did_you_mean;

/// A variable that a template reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableUse {
    /// `event_data`, `items`, `0`; it ends where the way on is computed.
    pub path: Vec<String>,
    /// Whether the template says what to do if it is absent: a `default` filter, or a condition.
    pub guarded: bool,
    /// Where it stands in the template, in bytes.
    pub span: Range<usize>,
}

/// The variables that a template reads and does not set itself.
///
/// # Errors
///
/// A tag or filter that is not there, or brackets and blocks that do not match.
pub(super) fn variables(source: &str) -> Result<Vec<VariableUse>, TemplateError> {
    let mut scan = Scan {
        source,
        uses: Vec::new(),
        local: HashSet::new(),
        open: Vec::new(),
    };
    scan.run()?;
    let Scan {
        mut uses, local, ..
    } = scan;
    uses.retain(|variable| {
        variable
            .path
            .first()
            .is_none_or(|root| !local.contains(root))
    });
    Ok(uses)
}

struct Scan<'s> {
    source: &'s str,
    uses: Vec<VariableUse>,
    /// Names that the template sets somewhere.
    local: HashSet<String>,
    /// Blocks that are not closed yet: name and place.
    open: Vec<(String, Range<usize>)>,
}

/// A word of Liquid.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Path(Vec<String>),
    Literal,
    /// `|`, `:`, `,`, `=`, `..`, operators, brackets.
    Sign(String),
}

const OPERATORS: [&str; 3] = ["and", "or", "contains"];
const CONSTANTS: [&str; 6] = ["true", "false", "nil", "null", "empty", "blank"];

impl Scan<'_> {
    fn run(&mut self) -> Result<(), TemplateError> {
        let mut at = 0;
        while let Some(found) = self.source[at..].find('{') {
            let start = at + found;
            let (close, is_tag) = match self.source.as_bytes().get(start + 1) {
                Some(b'{') => ("}}", false),
                Some(b'%') => ("%}", true),
                _ => {
                    at = start + 1;
                    continue;
                }
            };
            let inside = start + 2;
            let end = self.closing(inside, close).ok_or_else(|| {
                let open = &self.source[start..inside];
                TemplateError::new(format!("`{open}` is not closed"))
                    .help(format!("write `{close}` behind it"))
                    .at(start..inside)
            })?;
            let trimmed = trim_dashes(self.source, inside..end);
            at = end + 2;
            if is_tag {
                at = self.tag(trimmed, start..at)?;
            } else {
                self.output(&self.tokens(trimmed)?)?;
            }
        }
        match self.open.pop() {
            None => Ok(()),
            Some((name, span)) => Err(TemplateError::new(format!("`{name}` is not closed"))
                .help(format!("write `{{% end{name} %}}` behind it"))
                .at(span)),
        }
    }

    /// Where a tag or output ends; brackets in quotes do not count.
    fn closing(&self, from: usize, close: &str) -> Option<usize> {
        let mut quote = None;
        for (at, c) in self.source[from..].char_indices() {
            match quote {
                Some(open) if c == open => quote = None,
                Some(_) => {}
                None if c == '"' || c == '\'' => quote = Some(c),
                None if self.source[from + at..].starts_with(close) => return Some(from + at),
                None => {}
            }
        }
        None
    }

    /// Reads a tag; gives where to go on.
    fn tag(&mut self, inside: Range<usize>, whole: Range<usize>) -> Result<usize, TemplateError> {
        let text = &self.source[inside.clone()];
        let name: String = text
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let rest = inside.start + name.len()..inside.end;
        match name.as_str() {
            "raw" | "comment" => {
                let end = self.end_of_verbatim(&name, whole.end).ok_or_else(|| {
                    TemplateError::new(format!("`{name}` is not closed"))
                        .help(format!("write `{{% end{name} %}}` behind it"))
                        .at(whole)
                })?;
                return Ok(end);
            }
            "else" | "elsif" | "when" if !self.open.is_empty() => {
                let tokens = self.tokens(rest)?;
                self.uses_in(&tokens, true);
            }
            "if" | "unless" | "case" | "for" | "capture" | "ifchanged" => {
                self.open.push((name.clone(), whole.clone()));
                if self.open.len() > MAX_NESTING {
                    return Err(TemplateError::new(format!(
                        "blocks are nested more than {MAX_NESTING} deep"
                    ))
                    .help("nest fewer of them")
                    .at(whole));
                }
                let tokens = self.tokens(rest)?;
                match name.as_str() {
                    "for" => self.for_head(&tokens),
                    "capture" => self.bind(&tokens),
                    _ => self.uses_in(&tokens, true),
                }
            }
            "assign" => {
                let tokens = self.tokens(rest)?;
                self.bind(&tokens);
                if let [_, (Token::Sign(sign), _), value @ ..] = tokens.as_slice()
                    && sign == "="
                {
                    self.output(value)?;
                }
            }
            "increment" | "decrement" => {
                let tokens = self.tokens(rest)?;
                self.bind(&tokens);
            }
            "cycle" => {
                let tokens = self.tokens(rest)?;
                self.uses_in(&tokens, false);
            }
            "break" | "continue" => {}
            _ => match name.strip_prefix("end") {
                Some(of) if self.open.last().is_some_and(|(open, _)| open == of) => {
                    self.open.pop();
                }
                _ => return Err(self.unknown_tag(&name, whole)),
            },
        }
        Ok(whole.end)
    }

    fn unknown_tag(&self, name: &str, whole: Range<usize>) -> TemplateError {
        let error = match name {
            "" => TemplateError::new("a tag without a name").help("write for example `{% if … %}`"),
            "else" | "elsif" | "when" => {
                TemplateError::new(format!("`{name}` stands outside of a block"))
                    .help("it belongs into `if`, `unless`, `case` or `for`")
            }
            _ if name.starts_with("end") => match self.open.last() {
                Some((open, _)) => TemplateError::new(format!("`{name}` where `{open}` is open"))
                    .help(format!("write `{{% end{open} %}}` first")),
                None => TemplateError::new(format!("`{name}` closes nothing")).help("remove it"),
            },
            _ => {
                let language = language();
                let mut names: Vec<&str> = language
                    .tags
                    .plugin_names()
                    .chain(language.blocks.plugin_names())
                    .collect();
                names.sort_unstable();
                TemplateError::new(format!("there is no tag `{name}` here"))
                    .help(did_you_mean(name, names))
            }
        };
        error.at(whole)
    }

    fn end_of_verbatim(&self, name: &str, from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let start = at + self.source[at..].find("{%")?;
            let end = start + self.source[start..].find("%}")? + 2;
            let inside = trim_dashes(self.source, start + 2..end - 2);
            if self.source[inside].trim() == format!("end{name}") {
                return Some(end);
            }
            at = start + 2;
        }
    }

    /// `{{ head | filter: argument | … }}`, or what stands behind `assign … =`.
    fn output(&mut self, tokens: &[(Token, Range<usize>)]) -> Result<(), TemplateError> {
        let is_pipe = |token: &Token| *token == Token::Sign("|".to_owned());
        let mut stages = tokens.split(|(token, _)| is_pipe(token));
        let head = stages.next().unwrap_or_default();
        let filters: Vec<_> = stages.collect();
        let mut guarded = false;
        for filter in &filters {
            let Some((Token::Path(name), span)) = filter.first() else {
                continue;
            };
            let name = name.join(".");
            let language = language();
            if language.filters.get(&name).is_none() {
                let mut names: Vec<&str> = language.filters.plugin_names().collect();
                names.sort_unstable();
                return Err(TemplateError::new(format!("there is no filter `{name}`"))
                    .help(did_you_mean(&name, names))
                    .at(span.clone()));
            }
            guarded |= name == "default";
        }
        self.uses_in(head, guarded);
        for filter in filters {
            // Behind the name stand its arguments; `name:` of one is no variable.
            let arguments = filter.get(1..).unwrap_or_default();
            for (at, (token, span)) in arguments.iter().enumerate() {
                let names_argument = at > 0
                    && matches!(arguments.get(at + 1), Some((Token::Sign(sign), _)) if sign == ":");
                if let Token::Path(path) = token
                    && !names_argument
                {
                    self.note(path, false, span);
                }
            }
        }
        Ok(())
    }

    fn for_head(&mut self, tokens: &[(Token, Range<usize>)]) {
        self.bind(tokens);
        self.local.insert("forloop".to_owned());
        // `variable in over limit:n offset:n reversed`
        let mut rest = tokens.iter().skip(2).peekable();
        while let Some((token, span)) = rest.next() {
            let Token::Path(path) = token else { continue };
            let keyword = path.len() == 1
                && match path[0].as_str() {
                    "reversed" => true,
                    "limit" | "offset" => {
                        matches!(rest.peek(), Some((Token::Sign(sign), _)) if sign == ":")
                    }
                    _ => false,
                };
            if !keyword {
                self.note(path, false, span);
            }
        }
    }

    fn bind(&mut self, tokens: &[(Token, Range<usize>)]) {
        if let Some((Token::Path(path), _)) = tokens.first() {
            self.local.insert(path[0].clone());
        }
    }

    fn uses_in(&mut self, tokens: &[(Token, Range<usize>)], guarded: bool) {
        for (token, span) in tokens {
            if let Token::Path(path) = token {
                self.note(path, guarded, span);
            }
        }
    }

    fn note(&mut self, path: &[String], guarded: bool, span: &Range<usize>) {
        let word = path[0].as_str();
        let reserved = path.len() == 1 && (OPERATORS.contains(&word) || CONSTANTS.contains(&word));
        if !reserved {
            self.uses.push(VariableUse {
                path: path.to_vec(),
                guarded,
                span: span.clone(),
            });
        }
    }

    fn tokens(&self, range: Range<usize>) -> Result<Vec<(Token, Range<usize>)>, TemplateError> {
        let mut tokens = Vec::new();
        let mut at = range.start;
        while let Some(c) = self.source[at..range.end].chars().next() {
            let start = at;
            let rest = &self.source[at..range.end];
            let token = match c {
                _ if c.is_whitespace() => {
                    at += c.len_utf8();
                    continue;
                }
                '"' | '\'' => {
                    let length = rest[1..].find(c).ok_or_else(|| {
                        TemplateError::new("a quote is not closed")
                            .help("close it with the same mark")
                            .at(start..start + 1)
                    })?;
                    at += length + 2;
                    Token::Literal
                }
                _ if c.is_ascii_digit()
                    || (c == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) =>
                {
                    let digits = rest[1..]
                        .char_indices()
                        .find(|(i, c)| {
                            let point = *c == '.'
                                && rest[i + 2..].starts_with(|c: char| c.is_ascii_digit());
                            !(c.is_ascii_digit() || point)
                        })
                        .map_or(rest.len(), |(i, _)| i + 1);
                    at += digits;
                    Token::Literal
                }
                _ if c.is_alphabetic() || c == '_' => {
                    let (path, length) = self.path(start..range.end);
                    at += length;
                    Token::Path(path)
                }
                '.' if rest.starts_with("..") => {
                    at += 2;
                    Token::Sign("..".to_owned())
                }
                _ => {
                    at += c.len_utf8();
                    Token::Sign(c.to_string())
                }
            };
            tokens.push((token, start..at));
        }
        Ok(tokens)
    }

    /// A variable's path and its length in bytes.
    fn path(&self, range: Range<usize>) -> (Vec<String>, usize) {
        let text = &self.source[range];
        let word_length = |from: &str| {
            from.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
                .unwrap_or(from.len())
        };
        let mut at = word_length(text);
        let mut path = vec![text[..at].to_owned()];
        loop {
            let rest = &text[at..];
            if let Some(after) = rest
                .strip_prefix('.')
                .filter(|after| !after.starts_with('.'))
            {
                let length = word_length(after);
                if length == 0 {
                    break;
                }
                path.push(after[..length].to_owned());
                at += 1 + length;
            } else if let Some(after) = rest.strip_prefix('[') {
                let Some(close) = after.find(']') else { break };
                let index = after[..close].trim();
                let quoted = index
                    .strip_prefix(['"', '\''])
                    .and_then(|inner| inner.strip_suffix(['"', '\'']));
                let number = index.parse::<i64>().ok().map(|_| index);
                // A computed index ends the path; its own variable is read as the next word.
                let Some(step) = quoted.or(number) else { break };
                path.push(step.to_owned());
                at += close + 2;
            } else {
                break;
            }
        }
        (path, at)
    }
}

/// Without the dashes of white space control, and the white space.
fn trim_dashes(source: &str, range: Range<usize>) -> Range<usize> {
    let text = &source[range.clone()];
    let from = text.strip_prefix('-').unwrap_or(text);
    let inner = from.strip_suffix('-').unwrap_or(from);
    let start = range.start + (text.len() - from.len()) + (inner.len() - inner.trim_start().len());
    let trimmed = inner.trim();
    start..start + trimmed.len()
}
