//! Renders what was parsed, and counts every step against the bounds.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use liquid_core::model::{State, Value, ValueCow};
use liquid_core::{ObjectView, ValueView};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::ast::{
    Case, Chain, Comparison, Condition, Cycle, Expr, FilterCall, If, Join, Node, Test,
};
use super::filters::Call;
use super::loops::Loop;
use super::values;
use super::writing::{Builder, too_large};
use super::{MAX_KEPT, MAX_OUTPUT, MAX_WORK, TemplateError};

/// What filters use, and what goes on from one rendering to the next.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) now: DateTime<Utc>,
    pub(super) generator: Xoshiro256PlusPlus,
}

/// One rendering.
pub(super) struct Run<'a> {
    pub(super) variables: &'a dyn ObjectView,
    tools: &'a mut Tools,
    out: &'a mut String,
    /// How long `out` may get.
    end: usize,
    /// What is assigned, and what each counts for.
    pub(super) assigned: BTreeMap<&'a str, (Value, usize)>,
    pub(super) counters: BTreeMap<&'a str, i64>,
    cycles: BTreeMap<String, usize>,
    /// What `ifchanged` put out last.
    unchanged: Option<String>,
    pub(super) loops: Vec<Loop<'a>>,
    pub(super) iterations: u64,
    work: u64,
    kept: usize,
}

/// How to go on behind a part.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Flow {
    On,
    Break,
    Continue,
}

pub(super) type Rendered<T> = Result<T, TemplateError>;

impl<'a> Run<'a> {
    pub(super) fn new(
        variables: &'a dyn ObjectView,
        tools: &'a mut Tools,
        out: &'a mut String,
    ) -> Self {
        Run {
            variables,
            tools,
            end: out.len().saturating_add(MAX_OUTPUT),
            out,
            assigned: BTreeMap::new(),
            counters: BTreeMap::new(),
            cycles: BTreeMap::new(),
            unchanged: None,
            loops: Vec::new(),
            iterations: 0,
            work: 0,
            kept: 0,
        }
    }

    pub(super) fn render(mut self, nodes: &'a [Node]) -> Rendered<()> {
        let before = self.out.len();
        let rendered = self.nodes(nodes);
        if rendered.is_err() {
            self.out.truncate(before);
        }
        rendered.map(|_| ())
    }

    pub(super) fn nodes(&mut self, nodes: &'a [Node]) -> Rendered<Flow> {
        for node in nodes {
            self.step(1)?;
            let flow = self.node(node)?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Only what has parts of its own is done here: each level of a nested template takes this much of
    /// the stack.
    fn node(&mut self, node: &'a Node) -> Rendered<Flow> {
        match node {
            Node::If(block) => self.if_block(block),
            Node::Case(block) => self.case(block),
            Node::For(block) => self.for_block(block),
            Node::Capture(name, body) => self.capture(name, body),
            Node::IfChanged(body) => self.if_changed(body),
            node => self.leaf(node),
        }
    }

    fn leaf(&mut self, node: &'a Node) -> Rendered<Flow> {
        match node {
            Node::Text(text) => self.put(text),
            Node::Output(chain) => self.output(chain),
            Node::Cycle(cycle) => self.cycle(cycle),
            Node::Assign(name, chain) => {
                let value = self.chain(chain)?.into_owned();
                self.assign(name, value)
            }
            Node::Increment(name) => {
                let count = self.counters.entry(name).or_default();
                let shown = *count;
                *count = count.saturating_add(1);
                self.put(&shown.to_string())
            }
            Node::Decrement(name) => {
                let count = self.counters.entry(name).or_default();
                *count = count.saturating_sub(1);
                let shown = *count;
                self.put(&shown.to_string())
            }
            Node::Break => Ok(Flow::Break),
            Node::Continue => Ok(Flow::Continue),
            Node::If(_) | Node::Case(_) | Node::For(_) | Node::Capture(..) | Node::IfChanged(_) => {
                self.node(node)
            }
        }
    }

    fn capture(&mut self, name: &'a str, body: &'a [Node]) -> Rendered<Flow> {
        let (text, flow) = self.apart(body)?;
        self.assign(name, Value::scalar(text))?;
        Ok(flow)
    }

    fn if_changed(&mut self, body: &'a [Node]) -> Rendered<Flow> {
        let (text, flow) = self.apart(body)?;
        if self.unchanged.as_ref() != Some(&text) {
            self.put(&text)?;
            self.unchanged = Some(text);
        }
        Ok(flow)
    }

    pub(super) fn step(&mut self, steps: u64) -> Rendered<()> {
        self.work = self.work.saturating_add(steps);
        if self.work > MAX_WORK {
            return Err(TemplateError::new(format!(
                "the template takes more than {MAX_WORK} steps"
            ))
            .help("shorten its loops, or what stands in them"));
        }
        Ok(())
    }

    /// Counts the reading or copying of a value.
    pub(super) fn handle(&mut self, bytes: usize) -> Rendered<()> {
        self.step(bytes as u64 / 32)
    }

    fn put(&mut self, text: &str) -> Rendered<Flow> {
        match Builder::new(self.out, self.end).push(text) {
            Ok(()) => Ok(Flow::On),
            Err(_) => Err(too_much_output()),
        }
    }

    fn output(&mut self, chain: &'a Chain) -> Rendered<Flow> {
        let value = self.chain(chain)?;
        match Builder::new(self.out, self.end).value(value.as_view()) {
            Ok(()) => Ok(Flow::On),
            Err(_) => Err(too_much_output().at(chain.span.clone())),
        }
    }

    /// Renders a part into a text of its own.
    fn apart(&mut self, body: &'a [Node]) -> Rendered<(String, Flow)> {
        let outer = std::mem::take(self.out);
        let outer_end = std::mem::replace(&mut self.end, MAX_KEPT);
        let flow = self.nodes(body);
        let text = std::mem::replace(self.out, outer);
        self.end = outer_end;
        self.handle(text.len())?;
        Ok((text, flow?))
    }

    fn assign(&mut self, name: &'a str, value: Value) -> Rendered<Flow> {
        let size = values::size(&value).saturating_add(name.len());
        self.handle(size)?;
        let old = self.assigned.insert(name, (value, size));
        self.kept = self.kept.saturating_sub(old.map_or(0, |(_, size)| size));
        self.kept = self.kept.saturating_add(size);
        if self.kept > MAX_KEPT {
            return Err(TemplateError::new(format!(
                "the template assigns more than {MAX_KEPT} bytes"
            ))
            .help("assign less, or shorter values"));
        }
        Ok(Flow::On)
    }

    fn if_block(&mut self, block: &'a If) -> Rendered<Flow> {
        for (condition, nodes) in &block.branches {
            if self.holds(condition)? {
                return self.nodes(nodes);
            }
        }
        self.nodes(&block.otherwise)
    }

    fn holds(&mut self, condition: &'a Condition) -> Rendered<bool> {
        // What is joined with `or` to a test that holds need not be looked at, nor with `and` to one
        // that does not; but the grouping is from the right, so the rest is skipped as a whole.
        for (test, join) in &condition.tests {
            let outcome = self.test(test)?;
            if outcome == (*join == Join::Or) {
                return Ok(outcome == condition.wanted);
            }
        }
        Ok(self.test(&condition.last)? == condition.wanted)
    }

    fn test(&mut self, test: &'a Test) -> Rendered<bool> {
        self.step(1)?;
        let (left, comparison, right) = match test {
            Test::Truth(value) => return Ok(self.value(value)?.query_state(State::Truthy)),
            Test::Compare(left, comparison, right) => {
                (self.value(left)?, *comparison, self.value(right)?)
            }
        };
        let (a, b) = (left.as_view(), right.as_view());
        if !(a.is_scalar() && b.is_scalar()) || comparison == Comparison::Contains {
            self.handle(values::size(a).saturating_add(values::size(b)))?;
        }
        let order = || values::compare(a, b);
        Ok(match comparison {
            Comparison::Equal => values::equal(a, b),
            Comparison::NotEqual => !values::equal(a, b),
            Comparison::Less => order().is_some_and(|order| order.is_lt()),
            Comparison::LessOrEqual => order().is_some_and(|order| order.is_le()),
            Comparison::Greater => order().is_some_and(|order| order.is_gt()),
            Comparison::GreaterOrEqual => order().is_some_and(|order| order.is_ge()),
            Comparison::Contains => values::contains(a, b).map_err(TemplateError::new)?,
        })
    }

    fn case(&mut self, block: &'a Case) -> Rendered<Flow> {
        let value = self.value(&block.value)?;
        for (candidates, nodes) in &block.whens {
            for candidate in candidates {
                self.step(1)?;
                let candidate = self.value(candidate)?;
                if !candidate.is_scalar() {
                    self.handle(values::size(candidate.as_view()))?;
                }
                if values::equal(value.as_view(), candidate.as_view()) {
                    return self.nodes(nodes);
                }
            }
        }
        self.nodes(&block.otherwise)
    }

    fn cycle(&mut self, cycle: &'a Cycle) -> Rendered<Flow> {
        let name = match &cycle.name {
            // Told apart from cycles without a name by what no written value begins with.
            Some(name) => {
                let name = self.value(name)?;
                format!(
                    ":{}",
                    values::text(name.as_view()).map_err(TemplateError::new)?
                )
            }
            None => cycle.written.clone(),
        };
        self.handle(name.len())?;
        let turn = self.cycles.entry(name).or_default();
        let value = cycle.values.get(*turn).or_else(|| cycle.values.first());
        *turn = if *turn + 1 < cycle.values.len() {
            *turn + 1
        } else {
            0
        };
        let Some(value) = value else {
            return Ok(Flow::On);
        };
        let value = self.value(value)?;
        match Builder::new(self.out, self.end).value(value.as_view()) {
            Ok(()) => Ok(Flow::On),
            Err(_) => Err(too_much_output()),
        }
    }

    fn chain(&mut self, chain: &'a Chain) -> Rendered<ValueCow<'a>> {
        let mut value = self.value(&chain.head)?;
        for call in &chain.filters {
            value = self.filter(value, call)?;
        }
        Ok(value)
    }

    fn filter(&mut self, input: ValueCow<'a>, call: &'a FilterCall) -> Rendered<ValueCow<'a>> {
        let mut read = values::size(input.as_view());
        // Collecting nothing allocates nothing.
        let mut arguments = Vec::new();
        for argument in &call.arguments {
            let argument = self.value(argument)?;
            read = read.saturating_add(values::size(argument.as_view()));
            arguments.push(argument);
        }
        // Reading the variables is dear only if they are large; what cannot be counted is.
        self.step(1)?;
        self.handle(read.min(4 * MAX_KEPT))?;
        let made = (call.filter.run)(Call {
            input,
            arguments: &arguments,
            tools: &mut *self.tools,
        });
        let made = made.and_then(|made| match &made {
            ValueCow::Owned(value) if values::is_too_large(value) => Err(too_large()),
            _ => Ok(made),
        });
        made.map_err(|problem| {
            TemplateError::new(format!("the filter `{}`: {problem}", call.filter.name))
                .at(call.span.clone())
        })
    }

    pub(super) fn value(&mut self, expr: &'a Expr) -> Rendered<ValueCow<'a>> {
        match expr {
            Expr::Literal(value) => Ok(ValueCow::Borrowed(value.as_view())),
            Expr::Path(path) => self.path(path),
        }
    }
}

fn too_much_output() -> TemplateError {
    TemplateError::new(format!(
        "the template puts out more than {MAX_OUTPUT} bytes"
    ))
    .help("shorten it, or what it puts in")
}
