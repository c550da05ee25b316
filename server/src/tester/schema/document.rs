//! The tables as JSON Schema.

use serde_json::{Map, Value, json};

use super::types::{Bounds, TOXIC, TOXICS, ToxicType};
use super::{ENDPOINTS, Field, Kind};

/// What a type's id begins with.
pub(super) const TYPE_PREFIX: &str = "io.synadia.ntf.tester.v1.";
/// What a given name looks like.
pub(super) const NAME_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_-]*$";
/// The description of a refusal is a header: what it quotes is cut there.
const DESCRIPTION_BYTES_MAX: usize = 1024;

/// A description that fits into a header line.
pub(in crate::tester) fn kept_short(text: &str) -> String {
    let mut end = text.len().min(DESCRIPTION_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The schemas of all endpoints, by name.
pub(in crate::tester) fn endpoint_schemas() -> Vec<Value> {
    let mut endpoints: Vec<_> = ENDPOINTS.iter().collect();
    endpoints.sort_by_key(|endpoint| endpoint.name);
    let described = |endpoint: &&super::Endpoint| {
        json!({
            "name": endpoint.name,
            "description": endpoint.about,
            "request": document(endpoint.request, true),
            "response": document(endpoint.response, false),
        })
    };
    endpoints.iter().map(described).collect()
}

/// One document. Requests are closed: what a request does not know is refused.
fn document((name, fields): (&str, &[Field]), closed: bool) -> Value {
    let id = format!("{TYPE_PREFIX}{name}");
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    let mut properties = Map::new();
    properties
        .insert("type".to_owned(), json!({"type": "string", "const": id, "description": "What this is."}));
    add_object(&mut schema, fields, properties, closed);
    schema.insert("title".to_owned(), json!(id));
    Value::Object(schema)
}

fn add_object(
    schema: &mut Map<String, Value>,
    fields: &[Field],
    mut properties: Map<String, Value>,
    closed: bool,
) {
    for field in fields {
        let mut property = of_kind(field.kind, closed);
        property.insert("description".to_owned(), json!(field.about));
        properties.insert(field.name.to_owned(), Value::Object(property));
    }
    schema.insert("properties".to_owned(), Value::Object(properties));
    if closed {
        schema.insert("additionalProperties".to_owned(), json!(false));
    }
    schema.insert("type".to_owned(), json!("object"));
    let required: Vec<&str> =
        fields.iter().filter(|field| field.required && closed).map(|field| field.name).collect();
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
}

fn of_kind(kind: Kind, closed: bool) -> Map<String, Value> {
    let value = match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::SomeText => json!({"type": "string", "minLength": 1}),
        Kind::Name(max) => json!({"type": "string", "maxLength": max, "pattern": NAME_PATTERN}),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::Moment => json!({"type": "string", "format": "date-time"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Integer(None) => json!({"type": "integer"}),
        Kind::Integer(Some((min, max))) => json!({"type": "integer", "maximum": max, "minimum": min}),
        Kind::List(of, bounds) => {
            let mut list = json!({"items": of_kind(*of, closed), "type": "array"});
            if let (Some((min, max)), Some(list)) = (bounds, list.as_object_mut()) {
                list.insert("maxItems".to_owned(), json!(max));
                list.insert("minItems".to_owned(), json!(min));
            }
            list
        }
        Kind::Map(of) => json!({"additionalProperties": of_kind(*of, closed), "type": "object"}),
        Kind::AnyObject => json!({"additionalProperties": true, "type": "object"}),
        Kind::Any => json!({}),
        Kind::Object(fields) => {
            let mut schema = Map::new();
            add_object(&mut schema, fields, Map::new(), closed);
            return schema;
        }
        Kind::Toxic => {
            let mut schema = Map::new();
            schema.insert("allOf".to_owned(), TOXICS.iter().map(rule_of).collect());
            add_object(&mut schema, TOXIC, Map::new(), closed);
            return schema;
        }
    };
    value.as_object().cloned().unwrap_or_default()
}

/// What a type says of the attributes beside it.
fn rule_of(toxic: &ToxicType) -> Value {
    let mut properties = Map::new();
    for attribute in toxic.attributes {
        let mut property = match attribute.bounds {
            Bounds::Integer(min, max) => json!({"type": "integer", "maximum": max, "minimum": min}),
            Bounds::Fraction => json!({"type": "number", "exclusiveMaximum": 1, "exclusiveMinimum": 0}),
        };
        property["description"] = json!(attribute.about);
        if let Some(default) = attribute.default {
            property["default"] = json!(default);
        }
        properties.insert(attribute.name.to_owned(), property);
    }
    let mut attributes = json!({"properties": properties, "additionalProperties": false, "type": "object"});
    let needed = toxic.attributes.iter().filter(|attribute| attribute.default.is_none());
    let needed: Vec<&str> = needed.map(|attribute| attribute.name).collect();
    let mut then = json!({});
    if !needed.is_empty() {
        attributes["required"] = json!(needed);
        then["required"] = json!(["attributes"]);
    }
    then["properties"] = json!({"attributes": attributes});
    json!({"if": {"properties": {"type": {"const": toxic.name}}, "required": ["type"]}, "then": then})
}
