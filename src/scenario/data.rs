//! `event_data` and `debug_data`: any JSON, its texts perhaps templates, everything else untouched.
//!
//! Key order and the spelling of numbers are kept (`1.10` stays `1.10`), so the data is held as JSON
//! text with gaps for the templates, never as numbers.

use std::cell::OnceCell;
use std::ops::Range;

use liquid_core::model::{KString, KStringCow, Object, Value, ValueView};

use super::decode::{Plain, based, resolve_plain};
use super::finding::Finding;
use super::template::{Renderer, Template, TemplateError};
use super::yaml::{Kind, MAX_DEPTH, NodeId, Tree};
use crate::vibes::callback::escape_json;
use crate::vibes::event::MAX_EVENT_BYTES;

/// Compiled event or debug data.
#[derive(Debug)]
pub struct DataTemplate {
    /// JSON text and templates, alternating; it begins and ends with text.
    texts: Vec<String>,
    gaps: Vec<Gap>,
    shape: Shape,
}

#[derive(Debug)]
struct Gap {
    template: Template,
    span: Range<usize>,
}

fn too_big(bytes: usize) -> String {
    format!("this is {bytes} bytes of JSON or more; Vibes takes events of up to {MAX_EVENT_BYTES}")
}

const SHORTEN: &str = "shorten it";

/// The data as templates see it; a gap's text is known only once it is rendered.
#[derive(Debug)]
enum Shape {
    Value(Value),
    Gap(usize),
    List(Vec<Shape>),
    Map(Vec<(KString, Shape)>),
}

impl DataTemplate {
    /// Compiles a node; a finding for each thing that JSON or a template cannot be.
    pub fn compile(tree: &Tree, id: NodeId, findings: &mut Vec<Finding>) -> Option<DataTemplate> {
        let span = tree.node(id).span.clone();
        if !matches!(tree.node(id).kind, Kind::Map(_)) {
            findings.push(
                Finding::error(span, "this must be a map of keys and values")
                    .help("write `key: value` lines below it"),
            );
            return None;
        }
        let before = findings.len();
        let mut compiler = Compiler {
            tree,
            findings,
            text: String::new(),
            texts: Vec::new(),
            gaps: Vec::new(),
            bytes: 0,
            depth: 0,
        };
        let shape = compiler.compile(id);
        let Compiler {
            text,
            mut texts,
            gaps,
            bytes,
            ..
        } = compiler;
        texts.push(text);
        if bytes > MAX_EVENT_BYTES {
            findings.push(Finding::error(span, too_big(bytes)).help(SHORTEN));
        }
        (findings.len() == before).then_some(DataTemplate { texts, gaps, shape })
    }

    /// Data that holds no template, from JSON text that is known to be an object.
    pub fn literal(json: &str) -> DataTemplate {
        let shape = serde_json::from_str(json).map_or(Shape::Map(Vec::new()), Shape::of_json);
        DataTemplate {
            texts: vec![json.to_owned()],
            gaps: Vec::new(),
            shape,
        }
    }

    /// One text under one key, rendered from a template.
    pub fn single(key: &str, template: Template) -> DataTemplate {
        DataTemplate {
            texts: vec![format!("{{\"{key}\":\""), "\"}".to_owned()],
            gaps: vec![Gap {
                template,
                span: 0..0,
            }],
            shape: Shape::Map(vec![(KString::from_ref(key), Shape::Gap(0))]),
        }
    }

    /// The JSON, if no template is in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.texts.as_slice() {
            [text] => Some(text),
            _ => None,
        }
    }

    /// The templates in it, each with where its text stands in the file.
    pub fn templates(&self) -> impl Iterator<Item = (&Template, &Range<usize>)> {
        self.gaps.iter().map(|gap| (&gap.template, &gap.span))
    }

    /// Whether there is something at a path, and what could be there instead of its first unknown step.
    pub fn lookup(&self, path: &[String]) -> Result<(), (usize, Vec<String>)> {
        let mut shape = &self.shape;
        for (at, step) in path.iter().enumerate() {
            shape = match shape {
                Shape::Map(entries) => match entries.iter().find(|(key, _)| key.as_str() == step) {
                    Some((_, shape)) => shape,
                    None if step == "size" => return Ok(()),
                    None => {
                        let keys = entries.iter().map(|(key, _)| key.to_string());
                        return Err((at, keys.collect()));
                    }
                },
                Shape::List(items) => match (step.as_str(), step.parse::<usize>()) {
                    (_, Ok(index)) if index < items.len() => &items[index],
                    ("size" | "first" | "last", _) => return Ok(()),
                    (_, Err(_)) if step.starts_with('-') => return Ok(()),
                    _ => return Err((at, vec![format!("0 to {}", items.len().saturating_sub(1))])),
                },
                Shape::Gap(_) | Shape::Value(_) if step == "size" => return Ok(()),
                Shape::Gap(_) | Shape::Value(_) => return Err((at, Vec::new())),
            };
        }
        Ok(())
    }

    /// The text or number at a path: keys and places in lists with dots between them, `order.items.0`.
    pub fn text<'a>(&'a self, path: &str, rendered: &'a [String]) -> Option<KStringCow<'a>> {
        match self.shape.at(path)? {
            Shape::Gap(gap) => rendered.get(*gap).map(|text| KStringCow::from_ref(text)),
            Shape::Value(Value::Scalar(scalar)) => Some(scalar.to_kstr()),
            _ => None,
        }
    }

    /// The top-level keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.shape {
            Shape::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().map(|(key, _)| key.as_str())
    }

    /// Appends the data as JSON, and leaves each gap's text in `rendered`.
    ///
    /// # Errors
    ///
    /// What went wrong in a template.
    pub fn render(
        &self,
        renderer: &mut Renderer<'_>,
        out: &mut Vec<u8>,
        rendered: &mut Vec<String>,
    ) -> Result<(), TemplateError> {
        rendered.truncate(self.gaps.len());
        rendered.resize_with(self.gaps.len(), String::new);
        for ((text, gap), leaf) in self.texts.iter().zip(&self.gaps).zip(rendered) {
            out.extend_from_slice(text.as_bytes());
            leaf.clear();
            renderer.render(&gap.template, leaf)?;
            escape_json(leaf, out);
        }
        if let Some(last) = self.texts.last() {
            out.extend_from_slice(last.as_bytes());
        }
        if out.len() > MAX_EVENT_BYTES {
            return Err(TemplateError::new(too_big(out.len())).help(SHORTEN));
        }
        Ok(())
    }

    /// The data as templates see it, with the texts of its gaps.
    pub fn view<'a>(&'a self, rendered: &'a [String]) -> DataView<'a> {
        let entries = match &self.shape {
            Shape::Map(entries) => entries.as_slice(),
            _ => &[],
        };
        DataView {
            entries,
            rendered,
            nested: OnceCell::new(),
        }
    }
}

/// Data with the texts of its gaps. What is nested is put together only if a template asks for it.
#[derive(Debug)]
pub struct DataView<'a> {
    entries: &'a [(KString, Shape)],
    rendered: &'a [String],
    nested: OnceCell<Vec<Value>>,
}

impl DataView<'_> {
    /// What stands under a top-level key.
    pub fn field(&self, name: &str) -> Option<&dyn ValueView> {
        let at = self
            .entries
            .iter()
            .position(|(key, _)| key.as_str() == name)?;
        Some(self.at(at))
    }

    fn at(&self, at: usize) -> &dyn ValueView {
        match &self.entries[at].1 {
            Shape::Value(value) => value,
            Shape::Gap(gap) => match self.rendered.get(*gap) {
                Some(text) => text,
                None => &Value::Nil,
            },
            Shape::List(_) | Shape::Map(_) => {
                let nested = self.nested.get_or_init(|| {
                    self.entries
                        .iter()
                        .map(|(_, shape)| shape.value(self.rendered))
                        .collect()
                });
                &nested[at]
            }
        }
    }

    /// The top-level keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }
}

impl Shape {
    fn of_json(json: serde_json::Value) -> Shape {
        match json {
            serde_json::Value::Null => Shape::Value(Value::Nil),
            serde_json::Value::Bool(value) => Shape::Value(Value::scalar(value)),
            serde_json::Value::Number(number) => Shape::Value(number_value(&number.to_string())),
            serde_json::Value::String(text) => Shape::Value(Value::scalar(text)),
            serde_json::Value::Array(items) => {
                Shape::List(items.into_iter().map(Shape::of_json).collect())
            }
            serde_json::Value::Object(entries) => Shape::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (KString::from_string(key), Shape::of_json(value)))
                    .collect(),
            ),
        }
    }

    fn at(&self, path: &str) -> Option<&Shape> {
        let step = |name: &str| match self {
            Shape::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.as_str() == name)
                .map(|(_, shape)| shape),
            Shape::List(items) => items.get(name.parse::<usize>().ok()?),
            Shape::Gap(_) | Shape::Value(_) => None,
        };
        // A key may have dots of its own.
        step(path).or_else(|| {
            let (first, rest) = path.split_once('.')?;
            step(first)?.at(rest)
        })
    }

    fn value(&self, rendered: &[String]) -> Value {
        match self {
            Shape::Value(value) => value.clone(),
            Shape::Gap(gap) => Value::scalar(rendered.get(*gap).cloned().unwrap_or_default()),
            Shape::List(items) => {
                Value::Array(items.iter().map(|item| item.value(rendered)).collect())
            }
            Shape::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|(key, shape)| (key.clone(), shape.value(rendered)))
                    .collect::<Object>(),
            ),
        }
    }
}

struct Compiler<'a> {
    tree: &'a Tree,
    findings: &'a mut Vec<Finding>,
    /// JSON since the last gap.
    text: String,
    texts: Vec<String>,
    gaps: Vec<Gap>,
    /// Bytes in all; aliases can name the same node many times over, so this bounds the work.
    bytes: usize,
    /// Levels; aliases can nest deeper than the file itself.
    depth: usize,
}

impl Compiler<'_> {
    fn push(&mut self, json: &str) {
        self.bytes += json.len();
        self.text.push_str(json);
    }

    fn push_string(&mut self, text: &str) {
        let mut escaped = Vec::with_capacity(text.len() + 2);
        escape_json(text, &mut escaped);
        self.push("\"");
        // Escaping leaves UTF-8 as it was.
        self.push(&String::from_utf8_lossy(&escaped));
        self.push("\"");
    }

    fn compile(&mut self, id: NodeId) -> Shape {
        if self.bytes > MAX_EVENT_BYTES {
            return Shape::Value(Value::Nil);
        }
        if self.depth > MAX_DEPTH {
            let span = self.tree.node(id).span.clone();
            let message = format!("this is nested more than {MAX_DEPTH} levels deep");
            let finding = Finding::error(span, message)
                .help("nest it less; aliases count as what they stand for");
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
            return Shape::Value(Value::Nil);
        }
        self.depth += 1;
        let shape = self.compile_node(id);
        self.depth -= 1;
        shape
    }

    fn compile_node(&mut self, id: NodeId) -> Shape {
        let node = self.tree.node(id);
        match &node.kind {
            Kind::Scalar { text, plain: true } => self.plain(text, &node.span),
            Kind::Scalar { text, plain: false } => self.template(text, &node.span),
            Kind::List(items) => {
                self.push("[");
                let mut shapes = Vec::new();
                for (at, &item) in items.iter().enumerate() {
                    if at > 0 {
                        self.push(",");
                    }
                    shapes.push(self.compile(item));
                }
                self.push("]");
                Shape::List(shapes)
            }
            Kind::Map(entries) => {
                self.push("{");
                let mut shapes: Vec<(KString, Shape)> = Vec::new();
                for (at, &(key, value)) in entries.iter().enumerate() {
                    let span = self.tree.node(key).span.clone();
                    let Some(name) = self.tree.scalar(key) else {
                        self.findings.push(odd_key(span));
                        continue;
                    };
                    if shapes.iter().any(|(seen, _)| seen.as_str() == name) {
                        self.findings.push(
                            Finding::error(span, format!("the key `{name}` stands here twice"))
                                .help("keep one of the two"),
                        );
                        continue;
                    }
                    if at > 0 {
                        self.push(",");
                    }
                    self.push_string(name);
                    self.push(":");
                    let shape = self.compile(value);
                    shapes.push((KString::from_ref(name), shape));
                }
                self.push("}");
                Shape::Map(shapes)
            }
        }
    }

    fn plain(&mut self, text: &str, span: &Range<usize>) -> Shape {
        match resolve_plain(text) {
            Plain::Null => {
                self.push("null");
                Shape::Value(Value::Nil)
            }
            Plain::Bool(value) => {
                self.push(if value { "true" } else { "false" });
                Shape::Value(Value::scalar(value))
            }
            Plain::Number(number) => match json_number(number) {
                Ok(json) => {
                    self.push(&json);
                    Shape::Value(number_value(&json))
                }
                Err(why) => {
                    self.findings.push(
                        Finding::error(span.clone(), format!("`{number}` {why}"))
                            .help(format!("write \"{number}\" if it is meant as a text")),
                    );
                    Shape::Value(Value::Nil)
                }
            },
            Plain::Text => self.template(text, span),
        }
    }

    fn template(&mut self, text: &str, span: &Range<usize>) -> Shape {
        match Template::parse(text) {
            Ok(template) => match template.literal() {
                Some(literal) => {
                    self.push_string(literal);
                    Shape::Value(Value::scalar(literal.to_owned()))
                }
                None => {
                    self.push("\"");
                    self.bytes += text.len();
                    self.texts.push(std::mem::take(&mut self.text));
                    self.gaps.push(Gap {
                        template,
                        span: span.clone(),
                    });
                    self.push("\"");
                    Shape::Gap(self.gaps.len() - 1)
                }
            },
            Err(error) => {
                self.findings.push(error.finding(span));
                Shape::Value(Value::Nil)
            }
        }
    }
}

/// A key that is a list or a map; mostly a template that lacks its quotes.
pub fn odd_key(span: Range<usize>) -> Finding {
    Finding::error(span, "a key must be a word, not a list or a map")
        .help("a text that begins with `{{` or `[` needs quotes: `\"{{ … }}\"`")
}

/// The JSON spelling of a YAML number: its own, wherever JSON allows that.
fn json_number(text: &str) -> Result<String, &'static str> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    if digits.starts_with('+') {
        return Err("begins with a plus sign, which a JSON number cannot");
    }
    if let Some(value) = based(digits) {
        return Ok(format!("{sign}{value}"));
    }
    let whole_end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let (whole, rest) = digits.split_at(whole_end);
    if whole.len() > 1 && whole.starts_with('0') {
        return Err("begins with a zero, which a JSON number cannot");
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let fraction = if fraction == "." { ".0" } else { fraction };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let fraction_fits = fraction.is_empty() || fraction.strip_prefix('.').is_some_and(is_digits);
    let exponent_fits =
        exponent.is_empty() || is_digits(exponent[1..].trim_start_matches(['+', '-']));
    if fraction_fits && exponent_fits {
        Ok(format!("{sign}{whole}{fraction}{exponent}"))
    } else {
        Err("is not a number that JSON can hold")
    }
}

/// The number as templates see it; one that no machine number can hold is a text to them.
fn number_value(json: &str) -> Value {
    if let Ok(integer) = json.parse::<i64>() {
        Value::scalar(integer)
    } else if json.contains(['.', 'e', 'E']) {
        json.parse::<f64>()
            .map_or_else(|_| Value::scalar(json.to_owned()), Value::scalar)
    } else {
        Value::scalar(json.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_spelling_where_json_allows_it() {
        for same in [
            "0",
            "-1",
            "1.10",
            "1e3",
            "1.5E-7",
            "123456789012345678901234567890",
        ] {
            assert_eq!(json_number(same).as_deref(), Ok(same));
        }
        for (yaml, json) in [
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("5.", "5.0"),
            ("0x1F", "31"),
        ] {
            assert_eq!(json_number(yaml).as_deref(), Ok(json));
        }
        for bad in ["+15551230100", "012", ".inf", ".NaN", "-.inf", "00.5"] {
            assert!(json_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn posted_data_is_found_by_paths() {
        let data = DataTemplate::literal(
            r#"{"a":"x","n":12,"deep":{"list":[{"b":true}],"gone":null},"with.dot":"y"}"#,
        );
        let text = |path| data.text(path, &[]).map(|text| text.to_string());
        for (path, found) in [
            ("a", Some("x")),
            ("n", Some("12")),
            ("deep.list.0.b", Some("true")),
            ("with.dot", Some("y")),
            ("deep.gone", None),
            ("deep", None),
            ("a.b", None),
            ("deep.list.1.b", None),
            ("", None),
        ] {
            assert_eq!(text(path).as_deref(), found, "{path}");
        }
        let names: Vec<&str> = data.keys().collect();
        assert_eq!(names, ["a", "n", "deep", "with.dot"]);
    }

    #[test]
    fn data_comes_out_as_it_went_in() {
        let yaml = "z: 1.10\na: [1, null, {b: \"x\\ny\"}]\nbig: 123456789012345678901234567890\n";
        let tree = Tree::parse(yaml).expect("yaml");
        let mut findings = Vec::new();
        let data = DataTemplate::compile(&tree, tree.root(), &mut findings).expect("data");
        assert_eq!(
            data.as_literal(),
            Some(r#"{"z":1.10,"a":[1,null,{"b":"x\ny"}],"big":123456789012345678901234567890}"#)
        );
    }
}
