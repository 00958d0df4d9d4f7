//! The JSON Schema of scenario files, generated from the types that read them.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value};

/// JSON Schema (2020-12) of a type, as files under `schema/` and `vibes-mock schema` have it.
pub fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12()
        .with_transform(RecursiveTransform(plain_schema))
        .into_generator()
        .into_root_schema_for::<T>()
}

/// JSON Schema of a scenario file.
pub fn scenario() -> Schema {
    of::<super::model::File>()
}

/// What may be left out is not thereby allowed to be null; and Rust's number formats mean nothing to
/// others.
fn plain_schema(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    object.remove("format");
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    let is_null = |schema: &Value| schema.get("type").is_some_and(|name| name == "null");
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| !is_null(choice));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            merge(object, only);
        }
    }
    if let Some(default) = object.get("default")
        && default.is_null()
    {
        object.remove("default");
    }
}

fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        into.entry(key).or_insert(value);
    }
}
