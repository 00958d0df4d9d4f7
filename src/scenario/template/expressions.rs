//! Parses values, chains of filters and conditions, and notes the variables in them.

use std::collections::BTreeSet;

use liquid_core::Value;
use liquid_core::model::State;

use super::ast::{Chain, Comparison, Condition, Expr, FilterCall, Join, Path, Step, Test};
use super::filters;
use super::lexer::{Token, Tokens};
use super::{TemplateError, VariableUse, did_you_mean};

/// How deeply the indexes of variables may be nested: `a[b[c]]`.
const MAX_INDEXES: usize = 8;

/// The variables that a template reads, and the names that it sets.
#[derive(Debug, Default)]
pub(super) struct Names {
    read: Vec<VariableUse>,
    set: BTreeSet<String>,
}

impl Names {
    pub(super) fn set(&mut self, name: &str) {
        if !self.set.contains(name) {
            self.set.insert(name.to_owned());
        }
    }

    /// What the template reads and does not set.
    pub(super) fn free(self) -> Vec<VariableUse> {
        let Names { mut read, set } = self;
        read.retain(|variable| variable.path.first().is_none_or(|root| !set.contains(root)));
        read
    }
}

/// `value | filter: argument, … | …`, to the end of the tag.
pub(super) fn chain(tokens: &mut Tokens<'_>, names: &mut Names) -> Result<Chain, TemplateError> {
    let start = tokens.here().start;
    let first_read = names.read.len();
    let head = expr(tokens, names, false)?;
    let mut filters = Vec::new();
    while tokens.eat(Token::Sign("|")) {
        filters.push(filter(tokens, names)?);
    }
    if tokens.peek().is_some() {
        return Err(tokens.unexpected("`|` or the end"));
    }
    let is_default = |call: &FilterCall| call.filter.name == "default";
    if matches!(head, Expr::Path(_))
        && filters.iter().any(is_default)
        && let Some(head) = names.read.get_mut(first_read)
    {
        head.guarded = true;
    }
    Ok(Chain {
        head,
        filters,
        span: start..tokens.read_to(),
    })
}

fn filter(tokens: &mut Tokens<'_>, names: &mut Names) -> Result<FilterCall, TemplateError> {
    let (name, span) = tokens.word("the name of a filter")?;
    let filter = filters::find(name).ok_or_else(|| {
        TemplateError::new(format!("unknown filter `{name}`"))
            .help(did_you_mean(name, filters::names()))
            .at(span.clone())
    })?;
    let mut arguments = Vec::new();
    let mut named = Vec::new();
    if tokens.eat(Token::Sign(":")) {
        loop {
            match tokens.argument_name() {
                Some((argument, at)) => named.push((argument, at, expr(tokens, names, false)?)),
                None => arguments.push(expr(tokens, names, false)?),
            }
            if !tokens.eat(Token::Sign(",")) {
                break;
            }
        }
    }
    let given = arguments.len();
    if given < filter.least || given > filter.most {
        return Err(
            TemplateError::new(format!("the filter `{name}` takes {}", filter.takes()))
                .help(format!("for example `{}`", filter.example))
                .at(span),
        );
    }
    // A named argument has its place behind the others, so one that is left out before it is nil.
    for (argument, at, value) in named {
        if Some(argument) != filter.named {
            let error = TemplateError::new(format!(
                "the filter `{name}` has no argument named `{argument}`"
            ));
            return Err(error.at(at));
        }
        arguments.resize(filter.most, Expr::Literal(Value::Nil));
        arguments.push(value);
        arguments.truncate(filter.most + 1);
    }
    Ok(FilterCall {
        filter,
        arguments,
        span,
    })
}

/// A literal or a variable.
pub(super) fn expr(
    tokens: &mut Tokens<'_>,
    names: &mut Names,
    guarded: bool,
) -> Result<Expr, TemplateError> {
    nested_expr(tokens, names, guarded, 0)
}

fn nested_expr(
    tokens: &mut Tokens<'_>,
    names: &mut Names,
    guarded: bool,
    depth: usize,
) -> Result<Expr, TemplateError> {
    let value = match tokens.peek() {
        Some(Token::Text(text)) => Value::scalar(text.to_owned()),
        Some(Token::Whole(number)) => Value::scalar(number),
        Some(Token::Fraction(number)) => Value::scalar(number),
        Some(Token::Word(_)) => return word(tokens, names, guarded, depth),
        _ => return Err(tokens.unexpected("a value")),
    };
    tokens.next();
    Ok(Expr::Literal(value))
}

/// A constant or a variable with the way into it.
fn word(
    tokens: &mut Tokens<'_>,
    names: &mut Names,
    guarded: bool,
    depth: usize,
) -> Result<Expr, TemplateError> {
    let (root, root_span) = tokens.word("a value")?;
    let goes_on = matches!(tokens.peek(), Some(Token::Sign("." | "[")));
    let constant = match root {
        "nil" | "null" => Some(Value::Nil),
        "true" => Some(Value::scalar(true)),
        "false" => Some(Value::scalar(false)),
        "empty" => Some(Value::State(State::Empty)),
        "blank" => Some(Value::State(State::Blank)),
        _ => None,
    };
    if let (Some(constant), false) = (constant, goes_on) {
        return Ok(Expr::Literal(constant));
    }
    // Noted before what its indexes read, and completed once the whole of it is known.
    let place = names.read.len();
    names.read.push(VariableUse {
        path: vec![root.to_owned()],
        guarded,
        span: root_span.clone(),
    });
    let mut steps = Vec::new();
    let mut known = true;
    loop {
        let step = if tokens.eat(Token::Sign(".")) {
            match tokens.next() {
                Some((Token::Word(key), _)) => Step::Key(key.to_owned()),
                Some((Token::Whole(index), _)) => Step::Index(index),
                _ => {
                    let error = TemplateError::new("a name is missing behind this `.`");
                    return Err(error.at(root_span.start..tokens.read_to()));
                }
            }
        } else if tokens.eat(Token::Sign("[")) {
            let step = index(tokens, names, guarded, depth)?;
            tokens.expect("]")?;
            step
        } else {
            break;
        };
        known &= !matches!(step, Step::Computed(_));
        if let (true, Some(noted)) = (known, names.read.get_mut(place)) {
            noted.path.push(match &step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
                Step::Computed(_) => String::new(),
            });
            noted.span.end = tokens.read_to();
        }
        steps.push(step);
    }
    Ok(Expr::Path(Path {
        root: root.to_owned(),
        steps,
        span: root_span.start..tokens.read_to(),
    }))
}

fn index(
    tokens: &mut Tokens<'_>,
    names: &mut Names,
    guarded: bool,
    depth: usize,
) -> Result<Step, TemplateError> {
    if depth == MAX_INDEXES {
        return Err(
            TemplateError::new(format!("indexes are nested more than {MAX_INDEXES} deep"))
                .at(tokens.here()),
        );
    }
    let step = match tokens.peek() {
        Some(Token::Text(key)) => Step::Key(key.to_owned()),
        Some(Token::Whole(index)) => Step::Index(index),
        _ => return nested_expr(tokens, names, guarded, depth + 1).map(Step::Computed),
    };
    tokens.next();
    Ok(step)
}

/// Tests with `and` and `or` between them, to the end of the tag.
pub(super) fn condition(
    tokens: &mut Tokens<'_>,
    names: &mut Names,
    wanted: bool,
) -> Result<Condition, TemplateError> {
    let mut tests = Vec::new();
    loop {
        let last = test(tokens, names)?;
        let join = match tokens.peek() {
            None => {
                return Ok(Condition {
                    tests,
                    last,
                    wanted,
                });
            }
            Some(Token::Word("and")) => Join::And,
            Some(Token::Word("or")) => Join::Or,
            Some(_) => return Err(tokens.unexpected("a comparison, `and` or `or`")),
        };
        tokens.next();
        tests.push((last, join));
    }
}

fn test(tokens: &mut Tokens<'_>, names: &mut Names) -> Result<Test, TemplateError> {
    let left = expr(tokens, names, true)?;
    let comparison = match tokens.peek() {
        Some(Token::Sign("==")) => Comparison::Equal,
        Some(Token::Sign("!=" | "<>")) => Comparison::NotEqual,
        Some(Token::Sign("<")) => Comparison::Less,
        Some(Token::Sign("<=")) => Comparison::LessOrEqual,
        Some(Token::Sign(">")) => Comparison::Greater,
        Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
        Some(Token::Word("contains")) => Comparison::Contains,
        _ => return Ok(Test::Truth(left)),
    };
    tokens.next();
    Ok(Test::Compare(left, comparison, expr(tokens, names, true)?))
}
