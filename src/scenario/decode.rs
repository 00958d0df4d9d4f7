//! From the tree of a file to the types of the model, with every finding at once.
//!
//! The model's `Deserialize` and `JsonSchema` are derived from the same types, so that what is read and
//! what the published schema says cannot drift apart. serde stops at the first error; here the value at
//! fault is noted, left out, and the reading tried again until nothing new is found.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StringDeserializer};
use serde::{Deserialize, Deserializer};

use super::finding::{Finding, did_you_mean};
use super::yaml::{Kind, NodeId, Tree};

/// After this many findings the rest is probably the same mistake.
const MAX_FINDINGS: usize = 100;

/// Keys that the interface promises and that this version does not carry out yet.
const NOT_YET: &[&str] = &["faults", "expect"];

const SPANNED: &str = "$spanned";
const NODE: &str = "$node";

/// A value, and where in the file it stands.
#[derive(Clone, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Bytes of the source.
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SpannedVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
            type Value = Spanned<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Spanned<T>, A::Error> {
                let missing = || de::Error::custom("only a scenario file has places");
                let start = seq.next_element()?.ok_or_else(missing)?;
                let end = seq.next_element()?.ok_or_else(missing)?;
                let value = seq.next_element()?.ok_or_else(missing)?;
                Ok(Spanned {
                    value,
                    span: start..end,
                })
            }
        }
        deserializer.deserialize_newtype_struct(SPANNED, SpannedVisitor(std::marker::PhantomData))
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Any JSON value, kept as the node it was read from.
#[derive(Clone, Copy, Debug)]
pub struct AnyNode(pub NodeId);

impl<'de> Deserialize<'de> for AnyNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;
        impl Visitor<'_> for NodeVisitor {
            type Value = AnyNode;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_u32<E: de::Error>(self, id: u32) -> Result<AnyNode, E> {
                Ok(AnyNode(NodeId(id)))
            }
        }
        deserializer.deserialize_newtype_struct(NODE, NodeVisitor)
    }
}

impl schemars::JsonSchema for AnyNode {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnyValue".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!(true)
    }
}

/// A list of keys and values in the order of the file, for maps whose keys are the user's.
#[derive(Clone, Debug)]
pub struct Entries<K, V>(pub Vec<(K, V)>);

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for Entries<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<K, V>(std::marker::PhantomData<(K, V)>);
        impl<'de, K: Deserialize<'de>, V: Deserialize<'de>> Visitor<'de> for EntriesVisitor<K, V> {
            type Value = Entries<K, V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(EntriesVisitor(std::marker::PhantomData))
    }
}

impl<K, V: schemars::JsonSchema> schemars::JsonSchema for Entries<K, V> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("MapOf{}", V::schema_name()).into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<V>();
        schemars::json_schema!({"type": "object", "additionalProperties": value})
    }
}

/// Reads a tree as a `T`.
///
/// All findings come with it; what is at fault is left out of the `T`, which is absent only if nothing
/// could be made of the file.
pub fn decode<T: for<'de> Deserialize<'de>>(tree: &Tree) -> (Option<T>, Vec<Finding>) {
    let context = Context {
        tree,
        findings: RefCell::default(),
        skipped: RefCell::default(),
    };
    loop {
        let read = T::deserialize(At {
            context: &context,
            id: tree.root(),
        });
        let error = match read {
            Ok(value) => return (Some(value), context.findings.into_inner()),
            Err(error) => error,
        };
        let at = error.at.unwrap_or(tree.root());
        // What is missing or makes no sense because a faulty value was left out is no finding of its own.
        if !context.lacks_some(at) {
            let mut finding = Finding::error(tree.node(at).span.clone(), error.message);
            finding.help = error.help;
            context.note(finding);
        }
        let fresh = context.skipped.borrow_mut().insert(at);
        let full = context.findings.borrow().len() >= MAX_FINDINGS;
        if at == tree.root() || !fresh || full {
            return (None, context.findings.into_inner());
        }
    }
}

struct Context<'t> {
    tree: &'t Tree,
    findings: RefCell<Vec<Finding>>,
    /// Nodes found at fault and left out from then on.
    skipped: RefCell<HashSet<NodeId>>,
}

impl Context<'_> {
    fn note(&self, finding: Finding) {
        let mut findings = self.findings.borrow_mut();
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }

    /// Whether something in this map was left out.
    fn lacks_some(&self, id: NodeId) -> bool {
        let skipped = self.skipped.borrow();
        match &self.tree.node(id).kind {
            Kind::Map(entries) => entries
                .iter()
                .any(|(key, value)| skipped.contains(key) || skipped.contains(value)),
            _ => false,
        }
    }

    fn is_skipped(&self, id: NodeId) -> bool {
        self.skipped.borrow().contains(&id)
    }
}

/// Why a value could not be read, and which node is to blame.
#[derive(Debug)]
pub struct Error {
    at: Option<NodeId>,
    message: String,
    help: Option<String>,
}

impl Error {
    fn at(mut self, id: NodeId) -> Self {
        self.at.get_or_insert(id);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    /// A `\n` in the message parts what is wrong from how to mend it.
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let (message, help) = match text.split_once('\n') {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text, None),
        };
        Error {
            at: None,
            message,
            help,
        }
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let (expected, how) = plain_words(&expected);
        let how = match unexpected {
            de::Unexpected::Unit => "give it a value, or remove the key",
            _ => how,
        };
        let found = match unexpected {
            de::Unexpected::Bool(value) => format!("`{value}`"),
            de::Unexpected::Unsigned(number) => format!("the number {number}"),
            de::Unexpected::Signed(number) => format!("the number {number}"),
            de::Unexpected::Float(number) => format!("the number {number}"),
            de::Unexpected::Str(text) => format!("`{}`", shorten(text)),
            de::Unexpected::Unit => "nothing".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Map => "a map".to_owned(),
            other => other.to_string(),
        };
        Error {
            help: Some(how.to_owned()),
            ..Error::custom(format!("expected {expected}, found {found}"))
        }
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Error::invalid_type(unexpected, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Error {
            help: Some(did_you_mean(variant, expected.iter().copied())),
            ..Error::custom(format!(
                "`{}` is not one of the values this can have",
                shorten(variant)
            ))
        }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Error {
            help: Some(did_you_mean(field, expected.iter().copied())),
            ..Error::custom(format!("unknown key `{}`", shorten(field)))
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Error {
            help: Some(format!("add `{field}:`")),
            ..Error::custom(format!("`{field}` is missing"))
        }
    }
}

/// serde names Rust's types; people do not. What was expected, and how it is written.
fn plain_words(expected: &str) -> (&str, &str) {
    match expected {
        "u8" => (
            "a whole number from 0 to 255",
            "write digits alone, such as `2`",
        ),
        "u16" | "u32" | "u64" => (
            "a whole number that is not negative",
            "write digits alone, such as `10`; the largest depends on the key",
        ),
        "f32" | "f64" => ("a number", "write it like `95` or `2.5`"),
        "a string" | "string" => (
            "a text",
            "write one text, and put a number or a template into quotes",
        ),
        "a sequence" => (
            "a list",
            "put `- ` before each entry, or all of them between `[` and `]`",
        ),
        "a boolean" => ("`true` or `false`", "write one of the two, without quotes"),
        "a map" => (expected, MAP),
        other if other.starts_with("struct ") => ("a map of keys and values", MAP),
        // These say themselves what they look like.
        other => (other, "write it in one of these ways"),
    }
}

const MAP: &str = "write `key: value` lines below it, or `{key: value}`";

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace('\n', " ")
}

/// What a scalar without quotes is, by YAML 1.2's core schema.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plain<'t> {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Anything that reads as a number, as it was spelled.
    Number(&'t str),
    /// All else.
    Text,
}

/// Resolves a scalar that was written without quotes.
pub fn resolve_plain(text: &str) -> Plain<'_> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    let digits = text.trim_start_matches(['+', '-']);
    let looks_numeric = text.len() - digits.len() <= 1
        && (digits.starts_with(|c: char| c.is_ascii_digit())
            || digits.strip_prefix('.').is_some_and(|rest| {
                rest.starts_with(|c: char| c.is_ascii_digit())
                    || matches!(rest, "inf" | "Inf" | "INF" | "nan" | "NaN" | "NAN")
            }));
    let is_number = looks_numeric
        && (digits.starts_with(".i")
            || digits.starts_with(".I")
            || digits.starts_with(".n")
            || digits.starts_with(".N")
            || based(digits).is_some()
            || digits.parse::<f64>().is_ok());
    if is_number {
        Plain::Number(text)
    } else {
        Plain::Text
    }
}

/// The value of `0x…` and `0o…`.
pub fn based(digits: &str) -> Option<u64> {
    let of = |prefix, radix| {
        digits
            .strip_prefix(prefix)
            .and_then(|rest| u64::from_str_radix(rest, radix).ok())
    };
    of("0x", 16).or_else(|| of("0o", 8))
}

#[derive(Clone, Copy)]
struct At<'c, 't> {
    context: &'c Context<'t>,
    id: NodeId,
}

impl<'t> At<'_, 't> {
    fn kind(&self) -> &'t Kind {
        &self.context.tree.node(self.id).kind
    }

    fn span(&self) -> Range<usize> {
        self.context.tree.node(self.id).span.clone()
    }

    fn any<'de, V: Visitor<'de>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Scalar { text, plain } => match if *plain {
                resolve_plain(text)
            } else {
                Plain::Text
            } {
                Plain::Null => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Number(number) => visit_number(number, visitor),
                Plain::Text => visitor.visit_str(text),
            },
            Kind::List(items) => visitor.visit_seq(Items {
                at: self,
                rest: items.iter(),
            }),
            Kind::Map(entries) => {
                let mut map = Fields {
                    at: self,
                    fields,
                    rest: entries.iter(),
                    seen: HashSet::new(),
                    value: None,
                };
                visitor.visit_map(&mut map)
            }
        }
        .map_err(|error: Error| error.at(self.id))
    }
}

fn visit_number<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if let Some(value) = based(digits) {
        visitor.visit_u64(value)
    } else if let Ok(value) = digits.parse::<u64>() {
        visitor.visit_u64(value)
    } else if let Ok(value) = digits.parse::<i64>() {
        visitor.visit_i64(value)
    } else {
        let value = match digits.trim_start_matches('-').to_ascii_lowercase().as_str() {
            ".nan" => f64::NAN,
            ".inf" => f64::INFINITY,
            _ => digits.parse().unwrap_or(f64::NAN),
        };
        visitor.visit_f64(value)
    }
}

impl<'de> Deserializer<'de> for At<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.any(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // serde would take a list for the fields in their order, which nobody means.
        if let Kind::List(_) = self.kind() {
            let error: Error = de::Error::invalid_type(de::Unexpected::Seq, &visitor);
            return Err(error.at(self.id));
        }
        self.any(Some(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            SPANNED => {
                let span = self.span();
                visitor.visit_seq(Place {
                    bounds: vec![span.end, span.start],
                    at: Some(self),
                })
            }
            NODE => visitor.visit_u32(self.id.0),
            _ => visitor.visit_newtype_struct(self),
        }
        .map_err(|error: Error| error.at(self.id))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.kind() {
            Kind::Scalar { text, .. } => {
                let unit: StringDeserializer<Error> = text.clone().into_deserializer();
                visitor.visit_enum(unit)
            }
            _ => Err(Error {
                help: Some(did_you_mean("", variants.iter().copied())),
                ..de::Error::custom("expected a word")
            }),
        }
        .map_err(|error: Error| error.at(self.id))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// Start, end, value: what [`Spanned`] is read from.
struct Place<'c, 't> {
    bounds: Vec<usize>,
    at: Option<At<'c, 't>>,
}

impl<'de> de::SeqAccess<'de> for Place<'_, '_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match (self.bounds.pop(), self.at) {
            (Some(bound), _) => seed.deserialize(bound.into_deserializer()).map(Some),
            (None, Some(at)) => seed.deserialize(at).map(Some),
            (None, None) => Ok(None),
        }
    }
}

struct Items<'c, 't> {
    at: At<'c, 't>,
    rest: std::slice::Iter<'t, NodeId>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        let context = self.at.context;
        for &id in self.rest.by_ref() {
            if !context.is_skipped(id) {
                return seed.deserialize(At { context, id }).map(Some);
            }
        }
        Ok(None)
    }
}

struct Fields<'c, 't> {
    at: At<'c, 't>,
    /// The keys that there can be; any if the keys are the user's.
    fields: Option<&'static [&'static str]>,
    rest: std::slice::Iter<'t, (NodeId, NodeId)>,
    seen: HashSet<&'t str>,
    value: Option<NodeId>,
}

impl Fields<'_, '_> {
    fn unknown(&self, key: &str, fields: &[&str], span: Range<usize>) -> Finding {
        if NOT_YET.contains(&key) && fields.contains(&"events") {
            return Finding::error(
                span,
                format!("`{key}` is not carried out yet by this version"),
            )
            .help(format!("remove `{key}:`; a later version will do it"));
        }
        Finding::error(span, format!("unknown key `{}`", shorten(key)))
            .help(did_you_mean(key, fields.iter().copied()))
    }
}

impl<'de> de::MapAccess<'de> for &mut Fields<'_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let context = self.at.context;
        let tree = context.tree;
        while let Some(&(key, value)) = self.rest.next() {
            let span = tree.node(key).span.clone();
            let Some(name) = tree.scalar(key) else {
                context.note(super::data::odd_key(span));
                continue;
            };
            if !self.seen.insert(name) {
                context.note(
                    Finding::error(
                        span,
                        format!("the key `{}` stands here twice", shorten(name)),
                    )
                    .help("keep one of the two"),
                );
                continue;
            }
            if let Some(fields) = self.fields
                && !fields.contains(&name)
            {
                context.note(self.unknown(name, fields, span));
                continue;
            }
            if context.is_skipped(value) || context.is_skipped(key) {
                continue;
            }
            self.value = Some(value);
            let id = key;
            return seed
                .deserialize(Key(At { context, id }))
                .map(Some)
                .map_err(|error| error.at(key));
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let context = self.at.context;
        match self.value.take() {
            Some(id) => seed
                .deserialize(At { context, id })
                .map_err(|error| error.at(id)),
            None => Err(de::Error::custom("a value without its key")),
        }
    }
}

/// A key: a text however it was written, or a number if one is asked for.
struct Key<'c, 't>(At<'c, 't>);

impl<'de> Deserializer<'de> for Key<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_str(self.0.context.tree.scalar(self.0.id).unwrap_or_default())
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // JSON can write a number as a key only in quotes.
        let text = self.0.context.tree.scalar(self.0.id).unwrap_or_default();
        match resolve_plain(text) {
            Plain::Number(number) => visit_number(number, visitor),
            _ => visitor.visit_str(text),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            SPANNED => {
                let span = self.0.span();
                let id = self.0.id;
                visitor
                    .visit_seq(KeyPlace {
                        bounds: vec![span.end, span.start],
                        key: Some(self),
                    })
                    .map_err(|error| error.at(id))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct KeyPlace<'c, 't> {
    bounds: Vec<usize>,
    key: Option<Key<'c, 't>>,
}

impl<'de> de::SeqAccess<'de> for KeyPlace<'_, '_> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.bounds.pop() {
            Some(bound) => seed.deserialize(bound.into_deserializer()).map(Some),
            None => self.key.take().map(|key| seed.deserialize(key)).transpose(),
        }
    }
}
