//! What a parsed template consists of. Made by the parser, walked by the renderer.

use std::ops::Range;

use liquid_core::Value;

use super::filters::Filter;

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Output(Chain),
    Assign(String, Chain),
    Capture(String, Vec<Node>),
    If(If),
    Case(Case),
    For(Box<For>),
    Cycle(Cycle),
    IfChanged(Vec<Node>),
    Increment(String),
    Decrement(String),
    Break,
    Continue,
}

/// A value, and the filters that it goes through.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) head: Expr,
    pub(super) filters: Vec<FilterCall>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct FilterCall {
    pub(super) filter: &'static Filter,
    pub(super) arguments: Vec<Expr>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Expr {
    Literal(Value),
    Path(Path),
}

/// A variable and the way into it.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) root: String,
    pub(super) steps: Vec<Step>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Key(String),
    Index(i64),
    Computed(Expr),
}

/// `if`, `elsif` and `else`; the first branch whose condition holds.
#[derive(Clone, Debug)]
pub(super) struct If {
    pub(super) branches: Vec<(Condition, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

/// Tests and how each is joined to all that follows it: like Shopify, read from the right.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) tests: Vec<(Test, Join)>,
    pub(super) last: Test,
    /// What the outcome has to be; `unless` wants it not to hold.
    pub(super) wanted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    And,
    Or,
}

#[derive(Clone, Debug)]
pub(super) enum Test {
    Truth(Expr),
    Compare(Expr, Comparison, Expr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) value: Expr,
    pub(super) whens: Vec<(Vec<Expr>, Vec<Node>)>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Clone, Debug)]
pub(super) struct For {
    pub(super) variable: String,
    pub(super) over: Over,
    pub(super) limit: Option<Expr>,
    pub(super) offset: Option<Expr>,
    pub(super) reversed: bool,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Over {
    Values(Expr),
    Range(Expr, Expr),
}

#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// Cycles of one name go on together; without a name, those of the same values do.
    pub(super) name: Option<Expr>,
    pub(super) values: Vec<Expr>,
    /// The values as they are written.
    pub(super) written: String,
}
