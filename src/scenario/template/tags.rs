//! Parses each tag and block. A tag that is not here cannot be used.

use super::ast::{Case, Cycle, Expr, For, If, Node, Over};
use super::expressions::{Names, chain, condition, expr};
use super::lexer::{Token, Tokens};
use super::parser::{Parser, Tag};
use super::{TemplateError, did_you_mean};

const TAGS: [&str; 14] = [
    "assign",
    "break",
    "capture",
    "case",
    "comment",
    "continue",
    "cycle",
    "decrement",
    "for",
    "if",
    "ifchanged",
    "increment",
    "raw",
    "unless",
];
/// Liquid has these; a scenario has no other files and no web pages to put in.
const OTHER_TAGS: [&str; 10] = [
    "echo", "form", "include", "layout", "liquid", "paginate", "render", "section", "style",
    "tablerow",
];

pub(super) fn parse<'s>(parser: &mut Parser<'s>, tag: Tag<'s>) -> Result<Node, TemplateError> {
    // Apart from each other, since each level of a nested template takes the stack of all of it.
    match tag.name {
        "if" | "unless" => if_block(parser, tag),
        "case" => case(parser, tag),
        "for" => for_block(parser, tag),
        "capture" | "ifchanged" => plain_block(parser, tag),
        _ => single(parser, tag),
    }
}

/// A tag that is not a block.
fn single<'s>(parser: &mut Parser<'s>, mut tag: Tag<'s>) -> Result<Node, TemplateError> {
    let tokens = &mut tag.tokens;
    let node = match tag.name {
        "assign" => {
            let name = set(tokens, &mut parser.names)?;
            tokens.expect("=")?;
            Node::Assign(name, chain(tokens, &mut parser.names)?)
        }
        "increment" => Node::Increment(set(tokens, &mut parser.names)?),
        "decrement" => Node::Decrement(set(tokens, &mut parser.names)?),
        "break" => Node::Break,
        "continue" => Node::Continue,
        "cycle" => Node::Cycle(cycle(tokens, &mut parser.names)?),
        _ => return Err(unknown(parser, &tag)),
    };
    tag.tokens.finish()?;
    Ok(node)
}

/// A block without branches.
fn plain_block<'s>(parser: &mut Parser<'s>, mut tag: Tag<'s>) -> Result<Node, TemplateError> {
    let name = match tag.name {
        "capture" => Some(set(&mut tag.tokens, &mut parser.names)?),
        _ => None,
    };
    tag.tokens.finish()?;
    let end = format!("end{}", tag.name);
    let (nodes, end) = parser.block(&tag, |parser| parser.nodes(&[&end]))?;
    end.ok_or_else(missing)?.tokens.finish()?;
    Ok(match name {
        Some(name) => Node::Capture(name, nodes),
        None => Node::IfChanged(nodes),
    })
}

fn unknown(parser: &Parser<'_>, tag: &Tag<'_>) -> TemplateError {
    let name = tag.name;
    let error = match name {
        "else" | "elsif" | "when" => TemplateError::new(format!("`{name}` does not belong here"))
            .help(match name {
                "else" => "it belongs into `if`, `unless`, `case` or `for`, once and as the last",
                "elsif" => "it belongs into `if` or `unless`, before `else`",
                _ => "it belongs into `case`, before `else`",
            }),
        _ if OTHER_TAGS.contains(&name) => TemplateError::new(format!(
            "the tag `{name}` is not supported in scenario texts"
        ))
        .help("write its text here instead"),
        _ => match (name.strip_prefix("end"), parser.innermost()) {
            (Some(_), Some(open)) => {
                TemplateError::new(format!("`{name}` stands where `{open}` is still open"))
                    .help(format!("write `{{% end{open} %}}` first"))
            }
            (Some(of), None) if TAGS.contains(&of) => {
                TemplateError::new(format!("`{name}` closes nothing")).help("remove it")
            }
            _ => TemplateError::new(format!("unknown tag `{name}`"))
                .help(did_you_mean(name, TAGS.into_iter())),
        },
    };
    error.at(tag.span.clone())
}

/// A name that the template sets.
fn set(tokens: &mut Tokens<'_>, names: &mut Names) -> Result<String, TemplateError> {
    let (name, _) = tokens.word("the name of a variable")?;
    names.set(name);
    Ok(name.to_owned())
}

fn missing() -> TemplateError {
    // The parser reports an open block at the end of the text before this could be.
    TemplateError::new("a block is not closed")
}

fn if_block<'s>(parser: &mut Parser<'s>, mut tag: Tag<'s>) -> Result<Node, TemplateError> {
    let end = format!("end{}", tag.name);
    let mut branches = Vec::new();
    let mut next = condition(&mut tag.tokens, &mut parser.names, tag.name == "if")?;
    parser.block(&tag, |parser| {
        loop {
            let (nodes, stop) = parser.nodes(&["elsif", "else", &end])?;
            branches.push((next, nodes));
            let mut stop = stop.ok_or_else(missing)?;
            if stop.name == "elsif" {
                next = condition(&mut stop.tokens, &mut parser.names, true)?;
                continue;
            }
            let otherwise = otherwise(parser, stop, &end)?;
            return Ok(Node::If(If {
                branches,
                otherwise,
            }));
        }
    })
}

/// What stands between `else` and the end of its block, if that is where the parser is.
fn otherwise<'s>(
    parser: &mut Parser<'s>,
    stop: Tag<'s>,
    end: &str,
) -> Result<Vec<Node>, TemplateError> {
    stop.tokens.finish()?;
    if stop.name != "else" {
        return Ok(Vec::new());
    }
    let (nodes, stop) = parser.nodes(&[end])?;
    stop.ok_or_else(missing)?.tokens.finish()?;
    Ok(nodes)
}

fn case<'s>(parser: &mut Parser<'s>, mut tag: Tag<'s>) -> Result<Node, TemplateError> {
    let value = expr(&mut tag.tokens, &mut parser.names, true)?;
    tag.tokens.finish()?;
    let mut whens = Vec::new();
    parser.block(&tag, |parser| {
        // What stands before the first `when` is never put out.
        let (_, stop) = parser.nodes(&["when", "else", "endcase"])?;
        let mut stop = stop.ok_or_else(missing)?;
        while stop.name == "when" {
            let tokens = &mut stop.tokens;
            let mut values = vec![expr(tokens, &mut parser.names, true)?];
            while tokens.eat(Token::Sign(",")) || tokens.eat(Token::Word("or")) {
                values.push(expr(tokens, &mut parser.names, true)?);
            }
            tokens.finish()?;
            let (nodes, next) = parser.nodes(&["when", "else", "endcase"])?;
            whens.push((values, nodes));
            stop = next.ok_or_else(missing)?;
        }
        let otherwise = otherwise(parser, stop, "endcase")?;
        Ok(Node::Case(Case {
            value,
            whens,
            otherwise,
        }))
    })
}

fn for_block<'s>(parser: &mut Parser<'s>, mut tag: Tag<'s>) -> Result<Node, TemplateError> {
    let tokens = &mut tag.tokens;
    let names = &mut parser.names;
    let variable = set(tokens, names)?;
    names.set("forloop");
    if !tokens.eat(Token::Word("in")) {
        return Err(tokens.unexpected("`in`"));
    }
    let over = if tokens.eat(Token::Sign("(")) {
        let first = expr(tokens, names, false)?;
        tokens.expect("..")?;
        let last = expr(tokens, names, false)?;
        tokens.expect(")")?;
        Over::Range(first, last)
    } else {
        Over::Values(expr(tokens, names, false)?)
    };
    let (mut limit, mut offset, mut reversed) = (None, None, false);
    while tokens.peek().is_some() {
        tokens.eat(Token::Sign(","));
        let parameter =
            |tokens: &mut Tokens<'_>, names: &mut Names| -> Result<Expr, TemplateError> {
                tokens.expect(":")?;
                expr(tokens, names, false)
            };
        if tokens.eat(Token::Word("reversed")) {
            reversed = true;
        } else if tokens.eat(Token::Word("limit")) {
            limit = Some(parameter(tokens, names)?);
        } else if tokens.eat(Token::Word("offset")) {
            offset = Some(parameter(tokens, names)?);
        } else {
            return Err(tokens.unexpected("`limit:`, `offset:` or `reversed`"));
        }
    }
    parser.block(&tag, |parser| {
        let (body, stop) = parser.nodes(&["else", "endfor"])?;
        let otherwise = otherwise(parser, stop.ok_or_else(missing)?, "endfor")?;
        Ok(Node::For(Box::new(For {
            variable,
            over,
            limit,
            offset,
            reversed,
            body,
            otherwise,
            span: tag.span.clone(),
        })))
    })
}

/// `name: value, value, …`; the name may be left out.
fn cycle(tokens: &mut Tokens<'_>, names: &mut Names) -> Result<Cycle, TemplateError> {
    let start = tokens.here().start;
    let first = match tokens.argument_name() {
        // A bare word before `:` names the cycle and is not a variable.
        Some((name, _)) => Expr::Literal(liquid_core::Value::scalar(name.to_owned())),
        None => expr(tokens, names, false)?,
    };
    let named = tokens.last_is(":") || tokens.eat(Token::Sign(":"));
    let (name, mut values) = if named {
        (Some(first), vec![expr(tokens, names, false)?])
    } else {
        (None, vec![first])
    };
    while tokens.eat(Token::Sign(",")) {
        values.push(expr(tokens, names, false)?);
    }
    Ok(Cycle {
        name,
        values,
        written: tokens.written(start..tokens.read_to()).to_owned(),
    })
}
