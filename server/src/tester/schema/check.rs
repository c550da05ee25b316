//! Whether a request is what its table says. What is wrong is told in the words of the service that this one stands in for.

use serde_json::{Map, Value};

use super::document::{NAME_PATTERN, TYPE_PREFIX};
use super::types::{Attribute, Bounds, TOXIC, TOXICS};
use super::{Endpoint, Field, Kind};

/// What is wrong with a request: where several things are, the first by its path.
pub(in crate::tester) fn refusal(endpoint: &Endpoint, request: &Value) -> Option<String> {
    let mut faults = Faults(Vec::new());
    let (name, fields) = endpoint.request;
    if let Some(object) = faults.object("", request) {
        faults.fields("", object, fields, true);
        match object.get("type") {
            None => {}
            Some(Value::String(id)) if id.strip_prefix(TYPE_PREFIX) == Some(name) => {}
            Some(_) => faults.add("type", format!("value must be '{TYPE_PREFIX}{name}'")),
        }
    }
    faults.0.sort();
    faults.0.into_iter().next().map(|(path, message)| match &*path {
        "" => message,
        _ => format!("{path}: {message}"),
    })
}

/// Pairs of a path and what is wrong there.
struct Faults(Vec<(String, String)>);

impl Faults {
    fn add(&mut self, path: &str, message: String) {
        self.0.push((path.to_owned(), message));
    }

    fn wanted(&mut self, path: &str, got: &Value, want: &str) {
        self.add(path, format!("got {}, want {want}", kind_of(got)));
    }

    fn object<'a>(&mut self, path: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.wanted(path, value, "object");
        }
        object
    }

    fn text<'a>(&mut self, path: &str, value: &'a Value) -> Option<&'a str> {
        let text = value.as_str();
        if text.is_none() {
            self.wanted(path, value, "string");
        }
        text
    }

    /// The fields of an object. The outermost has a type besides.
    fn fields(&mut self, path: &str, object: &Map<String, Value>, fields: &[Field], typed: bool) {
        let known = |name: &str| (typed && name == "type") || fields.iter().any(|field| field.name == name);
        self.others(path, object, known);
        for field in fields {
            match object.get(field.name) {
                Some(value) => self.value(&below(path, field.name), value, field.kind),
                None if field.required => self.add(path, format!("missing property '{}'", field.name)),
                None => {}
            }
        }
    }

    /// What an object has that nobody knows.
    fn others(&mut self, path: &str, object: &Map<String, Value>, known: impl Fn(&str) -> bool) {
        let others: Vec<String> =
            object.keys().filter(|name| !known(name)).map(|name| format!("'{name}'")).collect();
        if !others.is_empty() {
            self.add(path, format!("additional properties {} not allowed", others.join(", ")));
        }
    }

    fn value(&mut self, path: &str, value: &Value, kind: Kind) {
        match kind {
            Kind::Any => {}
            Kind::Text | Kind::Moment => drop(self.text(path, value)),
            Kind::SomeText => {
                if self.text(path, value) == Some("") {
                    self.add(path, "minLength: got 0, want 1".to_owned());
                }
            }
            Kind::Name(max) => self.name(path, value, max),
            Kind::Word(words) => {
                if self.text(path, value).is_some_and(|word| !words.contains(&word)) {
                    let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
                    self.add(path, format!("value must be one of {}", words.join(", ")));
                }
            }
            Kind::Bool if !value.is_boolean() => self.wanted(path, value, "boolean"),
            Kind::Number if !value.is_number() => self.wanted(path, value, "number"),
            Kind::Bool | Kind::Number => {}
            Kind::Integer(bounds) => self.integer(path, value, bounds),
            Kind::List(of, bounds) => self.list(path, value, *of, bounds),
            Kind::Map(of) => {
                for (name, value) in self.object(path, value).into_iter().flatten() {
                    self.value(&below(path, name), value, *of);
                }
            }
            Kind::AnyObject => drop(self.object(path, value)),
            Kind::Object(fields) => {
                if let Some(object) = self.object(path, value) {
                    self.fields(path, object, fields, false);
                }
            }
            Kind::Toxic => {
                if let Some(toxic) = self.object(path, value) {
                    self.fields(path, toxic, TOXIC, false);
                    self.attributes(path, toxic);
                }
            }
        }
    }

    fn name(&mut self, path: &str, value: &Value, max: usize) {
        let Some(name) = self.text(path, value) else { return };
        let length = name.chars().count();
        if length > max {
            self.add(path, format!("maxLength: got {length}, want {max}"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(fits) {
            self.add(path, format!("'{name}' does not match pattern '{NAME_PATTERN}'"));
        }
    }

    fn integer(&mut self, path: &str, value: &Value, bounds: Option<(i64, i64)>) {
        let Some(number) = value.as_i64() else { return self.wanted(path, value, "integer") };
        let Some((min, max)) = bounds else { return };
        if number < min {
            self.add(path, format!("minimum: got {number}, want {min}"));
        }
        if number > max {
            self.add(path, format!("maximum: got {number}, want {max}"));
        }
    }

    fn list(&mut self, path: &str, value: &Value, of: Kind, bounds: Option<(usize, usize)>) {
        let Some(items) = value.as_array() else { return self.wanted(path, value, "array") };
        if let Some((min, max)) = bounds {
            if items.len() < min {
                self.add(path, format!("minItems: got {}, want {min}", items.len()));
            }
            if items.len() > max {
                self.add(path, format!("maxItems: got {}, want {max}", items.len()));
            }
        }
        for (index, item) in items.iter().enumerate() {
            self.value(&below(path, &index.to_string()), item, of);
        }
    }

    /// The attributes of a toxic, which its type decides on.
    fn attributes(&mut self, path: &str, toxic: &Map<String, Value>) {
        let named = |name: &str| TOXICS.iter().find(|known| known.name == name);
        let Some(known) = toxic.get("type").and_then(Value::as_str).and_then(named) else { return };
        let needed = |attribute: &&Attribute| attribute.default.is_none();
        let Some(attributes) = toxic.get("attributes") else {
            if known.attributes.iter().any(|attribute| needed(&attribute)) {
                self.add(path, "missing property 'attributes'".to_owned());
            }
            return;
        };
        let path = below(path, "attributes");
        let Some(attributes) = attributes.as_object() else { return };
        self.others(&path, attributes, |name| {
            known.attributes.iter().any(|attribute| attribute.name == name)
        });
        for attribute in known.attributes {
            match (attributes.get(attribute.name), attribute.bounds) {
                (None, _) if needed(&attribute) => {
                    self.add(&path, format!("missing property '{}'", attribute.name));
                }
                (None, _) => {}
                (Some(value), Bounds::Integer(min, max)) => {
                    self.integer(&below(&path, attribute.name), value, Some((min, max)));
                }
                (Some(value), Bounds::Fraction) => self.fraction(&below(&path, attribute.name), value),
            }
        }
    }

    fn fraction(&mut self, path: &str, value: &Value) {
        let Some(number) = value.as_f64() else { return self.wanted(path, value, "number") };
        if number <= 0.0 {
            self.add(path, format!("exclusiveMinimum: got {number}, want 0"));
        }
        if number >= 1.0 {
            self.add(path, format!("exclusiveMaximum: got {number}, want 1"));
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::super::ENDPOINTS;
    use super::*;

    fn refused(endpoint: &str, request: &str) -> String {
        let endpoint = ENDPOINTS.iter().find(|known| known.name == endpoint).unwrap();
        refusal(endpoint, &serde_json::from_str(request).unwrap()).unwrap_or_default()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (endpoint, request, text) in [
            ("status", "[]", "got array, want object"),
            ("status", r#"{"a":2,"x":1}"#, "additional properties 'a', 'x' not allowed"),
            ("status", r#"{"instance_id":5}"#, "instance_id: got number, want string"),
            ("status", r#"{"type":"t"}"#, "type: value must be 'io.synadia.ntf.tester.v1.status_request'"),
            ("status", r#"{"type":"io.synadia.ntf.tester.v1.status_request"}"#, ""),
            (
                "create.server",
                r#"{"name":"1a"}"#,
                "name: '1a' does not match pattern '^[A-Za-z][A-Za-z0-9_-]*$'",
            ),
            (
                "create.server",
                r#"{"name":"../a"}"#,
                "name: '../a' does not match pattern '^[A-Za-z][A-Za-z0-9_-]*$'",
            ),
            ("create.server", r#"{"snippets":{"top":5}}"#, "snippets.top: got number, want string"),
            ("create.server", r#"{"jetstream":null}"#, "jetstream: got null, want boolean"),
            ("create.server", r#"{"tls":{"sans":["a",1]}}"#, "tls.sans.1: got number, want string"),
            ("create.cluster", r#"{"servers":1}"#, "servers: minimum: got 1, want 2"),
            ("create.cluster", r#"{"server_names":["a"]}"#, "server_names: minItems: got 1, want 2"),
            ("stop.server", "{}", "missing property 'name'"),
            ("stop.server", r#"{"name":""}"#, "name: minLength: got 0, want 1"),
            ("reset", r#"{"a":1}"#, "additional properties 'a' not allowed"),
        ] {
            assert_eq!(refused(endpoint, request), text, "{endpoint} {request}");
        }
        let long = format!(r#"{{"name":"{}"}}"#, "a".repeat(33));
        assert_eq!(refused("create.server", &long), "name: maxLength: got 33, want 32");
    }

    #[test]
    fn the_type_of_a_toxic_decides_on_its_attributes() {
        for (toxic, text) in [
            (
                r#"{"type":"latency","attributes":{"latency":"5"}}"#,
                "toxic.attributes.latency: got string, want integer",
            ),
            (r#"{"type":"bandwidth"}"#, "toxic: missing property 'attributes'"),
            (r#"{"type":"bandwidth","attributes":{}}"#, "toxic.attributes: missing property 'rate'"),
            (
                r#"{"type":"bandwidth","attributes":{"rate":0,"q":1}}"#,
                "toxic.attributes: additional properties 'q' not allowed",
            ),
            (
                r#"{"type":"bandwidth","attributes":{"rate":0}}"#,
                "toxic.attributes.rate: minimum: got 0, want 1",
            ),
            (
                r#"{"type":"lossy","attributes":{"loss":1}}"#,
                "toxic.attributes.loss: exclusiveMaximum: got 1, want 1",
            ),
            (r#"{"type":"cut","attributes":null}"#, "toxic.attributes: got null, want object"),
            (r#"{"type":"cut","toxicity":2,"selector":{"kind":"x"}}"#, ""),
            ("5", "toxic: got number, want object"),
        ] {
            let request = format!(r#"{{"instance_id":"i","toxic":{toxic}}}"#);
            assert_eq!(refused("toxic.add", &request), text, "{toxic}");
        }
        let bogus = refused("toxic.add", r#"{"instance_id":"i","toxic":{"type":"bogus"}}"#);
        assert!(bogus.starts_with("toxic.type: value must be one of 'bandwidth', 'cut', "), "{bogus}");
    }
}
