//! Why a value could not be read, in words for people instead of serde's.

use std::fmt;

use serde::de;

use crate::scenario::finding::did_you_mean;
use crate::scenario::yaml::NodeId;

/// Why a value could not be read, and which node is to blame.
#[derive(Debug)]
pub struct Error {
    pub(super) at: Option<NodeId>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Error {
    pub(super) fn at(mut self, id: NodeId) -> Self {
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

pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace('\n', " ")
}
