//! Nodes as serde reads them; what is at fault was left out before.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StringDeserializer};

use super::Context;
use super::error::{Error, shorten};
use super::kept::{NODE, SPANNED};
use super::plain::{Plain, based, resolve_plain};
use crate::scenario::data::odd_key;
use crate::scenario::finding::{Finding, did_you_mean};
use crate::scenario::yaml::{Kind, NodeId};

#[derive(Clone, Copy)]
pub(super) struct At<'c, 't> {
    pub(super) context: &'c Context<'t>,
    pub(super) id: NodeId,
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
            SPANNED => visitor.visit_seq(Place::new(&self.span(), self)),
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
struct Place<D> {
    bounds: Vec<usize>,
    value: Option<D>,
}

impl<D> Place<D> {
    fn new(span: &Range<usize>, value: D) -> Self {
        Place {
            bounds: vec![span.end, span.start],
            value: Some(value),
        }
    }
}

impl<'de, D: Deserializer<'de, Error = Error>> de::SeqAccess<'de> for Place<D> {
    type Error = Error;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        match self.bounds.pop() {
            Some(bound) => seed.deserialize(bound.into_deserializer()).map(Some),
            None => self
                .value
                .take()
                .map(|value| seed.deserialize(value))
                .transpose(),
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
                context.note(odd_key(span));
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
                let (span, id) = (self.0.span(), self.0.id);
                visitor
                    .visit_seq(Place::new(&span, self))
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
