//! Splits the inside of a tag or an output into words, literals and signs.

use std::ops::Range;

use super::TemplateError;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'s> {
    Word(&'s str),
    Text(&'s str),
    Whole(i64),
    Fraction(f64),
    Sign(&'static str),
}

/// Longer ones first, so that none is taken for its beginning.
const SIGNS: [&str; 17] = [
    "==", "!=", "<>", "<=", ">=", "..", "<", ">", "=", ".", "[", "]", "(", ")", "|", ":", ",",
];

/// The tokens of one tag, read from left to right.
#[derive(Clone, Debug)]
pub(super) struct Tokens<'s> {
    source: &'s str,
    list: Vec<(Token<'s>, Range<usize>)>,
    next: usize,
    /// Where the tag ends, for what is missing there.
    end: usize,
}

impl<'s> Tokens<'s> {
    pub(super) fn new(source: &'s str, within: Range<usize>) -> Result<Self, TemplateError> {
        let mut list = Vec::new();
        let mut at = within.start;
        let end = within.end;
        while let Some(first) = source[at..end].chars().next() {
            if first.is_whitespace() {
                at += first.len_utf8();
                continue;
            }
            let (token, length) = token(source, at, end, first)?;
            list.push((token, at..at + length));
            at += length;
        }
        Ok(Tokens {
            source,
            list,
            next: 0,
            end,
        })
    }

    pub(super) fn peek(&self) -> Option<Token<'s>> {
        self.list.get(self.next).map(|(token, _)| *token)
    }

    /// `name:` before an argument.
    pub(super) fn argument_name(&mut self) -> Option<(&'s str, Range<usize>)> {
        match self.list.get(self.next..)? {
            [(Token::Word(name), span), (Token::Sign(":"), _), ..] => {
                self.next += 2;
                Some((name, span.clone()))
            }
            _ => None,
        }
    }

    pub(super) fn next(&mut self) -> Option<(Token<'s>, Range<usize>)> {
        let token = self.list.get(self.next).cloned();
        self.next += usize::from(token.is_some());
        token
    }

    /// Takes the next token if it is this one.
    pub(super) fn eat(&mut self, wanted: Token<'_>) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, sign: &'static str) -> Result<(), TemplateError> {
        if self.eat(Token::Sign(sign)) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    /// A word of its own, such as the name of a variable that is set.
    pub(super) fn word(&mut self, what: &str) -> Result<(&'s str, Range<usize>), TemplateError> {
        match self.list.get(self.next) {
            Some((Token::Word(word), span)) => {
                self.next += 1;
                Ok((word, span.clone()))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    pub(super) fn finish(&self) -> Result<(), TemplateError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    /// Where the next token is, or the end.
    pub(super) fn here(&self) -> Range<usize> {
        self.list
            .get(self.next)
            .map_or(self.end..self.end, |(_, span)| span.clone())
    }

    /// Where the last token that was read ends.
    pub(super) fn read_to(&self) -> usize {
        let last = self
            .next
            .checked_sub(1)
            .and_then(|last| self.list.get(last));
        last.map_or(self.end, |(_, span)| span.end)
    }

    /// Whether this sign is what was read last.
    pub(super) fn last_is(&self, sign: &'static str) -> bool {
        let last = self
            .next
            .checked_sub(1)
            .and_then(|last| self.list.get(last));
        last.is_some_and(|(token, _)| *token == Token::Sign(sign))
    }

    pub(super) fn written(&self, span: Range<usize>) -> &'s str {
        self.source.get(span).unwrap_or_default()
    }

    pub(super) fn unexpected(&self, wanted: &str) -> TemplateError {
        let span = self.here();
        let found = self.written(span.clone());
        let error = if found.is_empty() {
            TemplateError::new(format!("{wanted} is missing here"))
        } else {
            let shown: String = found.chars().take(40).collect();
            TemplateError::new(format!("{wanted} should stand here, not `{shown}`"))
        };
        error.at(span)
    }
}

/// The token that begins at a place, and its length in bytes.
fn token(
    source: &str,
    at: usize,
    end: usize,
    first: char,
) -> Result<(Token<'_>, usize), TemplateError> {
    let rest = &source[at..end];
    if matches!(first, '"' | '\'') {
        let length = rest[1..].find(first).ok_or_else(|| unclosed_quote(at))?;
        return Ok((Token::Text(&rest[1..=length]), length + 2));
    }
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    if first.is_ascii_digit() || (matches!(first, '-' | '+') && digit(rest.as_bytes().get(1))) {
        return number(rest, at);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
            .unwrap_or(rest.len());
        let length = length + usize::from(rest[length..].starts_with('?'));
        return Ok((Token::Word(&rest[..length]), length));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Token::Sign(sign), sign.len())),
        None => Err(
            TemplateError::new(format!("`{first}` has no meaning in a template"))
                .help("put texts in quotes; names are of letters, digits, `_` and `-`")
                .at(at..at + first.len_utf8()),
        ),
    }
}

fn number(rest: &str, at: usize) -> Result<(Token<'_>, usize), TemplateError> {
    let digits = |from: usize| {
        rest[from..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(rest.len(), |length| from + length)
    };
    let whole = digits(1);
    let mut length = whole;
    if rest[whole..].starts_with('.') && digits(whole + 1) > whole + 1 {
        length = digits(whole + 1);
    }
    let written = &rest[..length];
    let token = if length == whole {
        written.parse().ok().map(Token::Whole)
    } else {
        written.parse().ok().map(Token::Fraction)
    };
    token.map(|token| (token, length)).ok_or_else(|| {
        TemplateError::new("this number is too large")
            .help(format!("whole numbers go up to {}", i64::MAX))
            .at(at..at + length)
    })
}

pub(super) fn unclosed_quote(at: usize) -> TemplateError {
    TemplateError::new("this quote is not closed")
        .help("write the same quote at the end of the text")
        .at(at..at + 1)
}
