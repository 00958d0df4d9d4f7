//! The OpenAPI 3.1 document of a table of endpoints.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Parameter, Place, SchemaOf, Side};
use crate::vibes::api::Problem;

/// Describes a table. `server` is the URL where it is served; `/` for the one that the document comes from.
pub fn document<H>(endpoints: &[Endpoint<H>], server: &str) -> Value {
    let mut schemas = Schemas(
        SchemaSettings::draft2020_12()
            .with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
            .with_transform(RecursiveTransform(plain_formats))
            .into_generator(),
    );
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operations = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        let method = endpoint.method.as_str().to_ascii_lowercase();
        operations[method] = operation(endpoint, &mut schemas);
    }
    let definitions = schemas.0.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "vibes-mock",
            "version": env!("CARGO_PKG_VERSION"),
            "description": env!("CARGO_PKG_DESCRIPTION"),
            "license": {"name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE")},
        },
        "servers": [{"url": server}],
        "tags": [
            {"name": tag(Side::Vibes), "description": "What the platform offers, path for path"},
            {"name": tag(Side::Mock), "description": "The mock's own side, for test harnesses"},
            {"name": tag(Side::Open), "description": "For whoever looks after the server"},
        ],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "basicAuth": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    })
}

fn operation<H>(endpoint: &Endpoint<H>, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [tag(endpoint.side)],
        "security": security(endpoint.side),
    });
    if !endpoint.description.is_empty() {
        operation["description"] = endpoint.description.into();
    }
    if !endpoint.parameters.is_empty() {
        let parameters = endpoint.parameters.iter();
        operation["parameters"] = parameters.map(|one| parameter(one, schemas)).collect();
    }
    if let Some(body) = &endpoint.body {
        operation["requestBody"] = json!({
            "required": body.required,
            "content": {body.content_type: {"schema": schemas.of(body.schema)}},
        });
    }
    let mut responses = Map::new();
    for response in &endpoint.responses {
        let mut entry = json!({"description": response.description});
        if let Some((content_type, schema)) = response.content {
            entry["content"] = json!({content_type: {"schema": schemas.of(schema)}});
        }
        responses.insert(response.status.to_string(), entry);
    }
    let errors = schemas.of(SchemaGenerator::subschema_for::<Problem>);
    responses.insert(
        "default".to_owned(),
        json!({
            "description": "What is wrong with the request",
            "content": {"application/json": {"schema": errors}},
        }),
    );
    operation["responses"] = responses.into();
    operation
}

fn parameter(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let (place, required) = match parameter.place {
        Place::Path => ("path", true),
        Place::Query => ("query", false),
        Place::Header => ("header", false),
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": required,
        "description": parameter.description,
        "schema": schemas.of(parameter.schema),
    })
}

fn tag(side: Side) -> &'static str {
    match side {
        Side::Vibes => "vibes",
        Side::Mock => "mock",
        Side::Open => "server",
    }
}

/// Neither is needed unless the server was started so; what isn't needed is taken all the same.
fn security(side: Side) -> Value {
    match side {
        Side::Vibes => json!([{"basicAuth": []}, {}]),
        Side::Mock => json!([{"bearer": []}, {}]),
        Side::Open => json!([]),
    }
}

struct Schemas(SchemaGenerator);

impl Schemas {
    fn of(&mut self, schema: SchemaOf) -> Value {
        let mut schema = schema(&mut self.0);
        // The generator does this to definitions alone.
        RecursiveTransform(plain_formats).transform(&mut schema);
        schema.to_value()
    }
}

/// Formats such as `uint64` are Rust's and mean nothing to others.
fn plain_formats(schema: &mut Schema) {
    let is_rusts = |format: &Value| {
        format.as_str().is_some_and(|name| {
            name.starts_with("uint") || matches!(name, "int8" | "int16" | "int128" | "int")
        })
    };
    if schema.get("format").is_some_and(is_rusts) {
        schema.remove("format");
    }
}

#[cfg(test)]
mod tests {
    use hyper::Method;
    use schemars::JsonSchema;

    use super::super::reply::Reply;
    use super::*;

    /// A thing.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Thing {
        /// How many.
        count: u64,
        inner: Option<Inner>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inner {
        at: i32,
    }

    fn table() -> Vec<Endpoint<()>> {
        let nothing =
            |_| Box::pin(async { Reply::empty(204) }) as super::super::endpoint::Answering;
        vec![
            Endpoint::new(
                Side::Vibes,
                Method::POST,
                "/things/{name}/",
                "create",
                "Make one",
                nothing,
            )
            .description("*More* about it.")
            .path::<String>("name", "Its name")
            .query::<Vec<u32>>("size", "Sizes")
            .header::<u8>("X-API-Version", "1 or 2")
            .takes::<Thing>()
            .answers::<Thing>(201, "Made")
            .fails(409, "There is one"),
            Endpoint::new(
                Side::Mock,
                Method::GET,
                "/things/{name}/",
                "get",
                "Get one",
                nothing,
            )
            .path::<String>("name", "Its name")
            .answers_as::<String>(200, "text/event-stream", "Events"),
            Endpoint::new(Side::Open, Method::DELETE, "/", "end", "End it", nothing)
                .takes::<Inner>()
                .body_may_be_absent()
                .answers_nothing(204, "Ended"),
        ]
    }

    #[test]
    fn the_table_is_described() {
        let document = document(&table(), "/");
        let content = |name: &str| {
            let reference = format!("#/components/schemas/{name}");
            json!({"application/json": {"schema": {"$ref": reference}}})
        };
        let default = json!({
            "description": "What is wrong with the request",
            "content": content("Errors"),
        });
        let sizes = json!({"type": "array", "items": {"type": "integer", "minimum": 0}});
        let version = json!({"type": "integer", "minimum": 0, "maximum": 255});
        assert_eq!(
            document["paths"]["/things/{name}/"]["post"],
            json!({
                "operationId": "create",
                "summary": "Make one",
                "description": "*More* about it.",
                "tags": ["vibes"],
                "security": [{"basicAuth": []}, {}],
                "parameters": [
                    {"name": "name", "in": "path", "required": true, "description": "Its name", "schema": {"type": "string"}},
                    {"name": "size", "in": "query", "required": false, "description": "Sizes", "schema": sizes},
                    {"name": "X-API-Version", "in": "header", "required": false, "description": "1 or 2", "schema": version},
                ],
                "requestBody": {"required": true, "content": content("Thing")},
                "responses": {
                    "201": {"description": "Made", "content": content("Thing")},
                    "409": {"description": "There is one", "content": content("Errors")},
                    "default": default,
                },
            })
        );
        let operations = document["paths"]["/things/{name}/"].as_object().unwrap();
        assert_eq!(operations.keys().collect::<Vec<_>>(), ["post", "get"]);
        let end = &document["paths"]["/"]["delete"];
        assert_eq!(end["requestBody"]["required"], false);
        assert_eq!(end["responses"]["204"], json!({"description": "Ended"}));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document(&table(), "/");
        let mut found = 0;
        let mut open = vec![&document];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        found += 1;
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    open.extend(object.values());
                }
                _ => {}
            }
        }
        assert!(found >= 6, "{found}");
        assert_eq!(
            document["components"]["schemas"]["Thing"]["properties"]["count"]["type"],
            "integer"
        );
        assert!(document["components"]["schemas"]["Inner"].is_object());
        assert!(!document.to_string().contains("uint"), "{document}");
    }

    #[test]
    fn security_is_what_the_side_asks_for() {
        let document = document(&table(), "http://127.0.0.1:8423");
        assert_eq!(
            document["servers"],
            json!([{"url": "http://127.0.0.1:8423"}])
        );
        let paths = &document["paths"];
        assert_eq!(
            paths["/things/{name}/"]["post"]["security"][0],
            json!({"basicAuth": []})
        );
        assert_eq!(
            paths["/things/{name}/"]["get"]["security"][0],
            json!({"bearer": []})
        );
        assert_eq!(paths["/"]["delete"]["security"], json!([]));
    }
}
