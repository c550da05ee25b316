//! What a server shows, as fields with paths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Fields that move by themselves, or with the look that is taken: times, the machine, a cache that only one server has.
const RESTLESS: &[&str] = &[
    "avg_fanout",
    "cache_hit_rate",
    "cpu",
    "disk_io_wait_stats",
    "http_req_stats",
    "idle",
    // What nats-server keeps of answers that are under way.
    "responses",
    "max_fanout",
    "mem",
    "now",
    "num_cache",
    "num_matches",
    "rtt",
    "ts",
    "uptime",
];
/// What names an element of an array, the first that it has.
const KEYS: &[&[&str]] = &[
    &["stream_name", "name"],
    &["name"],
    &["local_subject"],
    &["account", "subject", "qgroup"],
    &["subject"],
    &["acc"],
];

/// Fields by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    fields: BTreeMap<String, Value>,
}

impl Picture {
    /// Adds what `value` holds under a name.
    pub fn add(&mut self, name: &str, value: &Value, plain: &impl Fn(&str) -> String) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (field, value) in fields.iter().filter(|(field, _)| !RESTLESS.contains(&field.as_str())) {
                    self.add(&format!("{name}.{}", plain(field)), value, plain);
                }
            }
            Value::Array(elements) if !elements.is_empty() => {
                for (index, element) in elements.iter().enumerate() {
                    let key = key(element).map_or_else(|| index.to_string(), |key| plain(&key));
                    self.add(&format!("{name}[{key}]"), element, plain);
                }
            }
            leaf => drop(self.fields.insert(name.to_owned(), leaf.clone())),
        }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether nothing is shown.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Every field with its form.
    pub fn forms(&self) -> BTreeSet<String> {
        self.fields.iter().map(|(path, value)| format!("{path} is {}", form(value))).collect()
    }
}

fn key(element: &Value) -> Option<String> {
    if let Value::String(text) = element {
        return Some(text.clone());
    }
    let text = |name: &&str| element.get(name).and_then(Value::as_str);
    let names = KEYS.iter().find(|names| names.first().is_some_and(|first| text(first).is_some()))?;
    Some(names.iter().filter_map(text).collect::<Vec<_>>().join(" "))
}

fn form(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(text) if text.parse::<jiff::Timestamp>().is_ok() => "a time",
        Value::String(_) => "a text",
        Value::Array(_) => "an empty list",
        Value::Object(_) => "an empty object",
    }
}

/// What came, went and moved from one picture to the next.
pub fn changes(before: &Picture, after: &Picture) -> BTreeSet<String> {
    let mut changes = BTreeSet::new();
    for (path, value) in &after.fields {
        match before.fields.get(path) {
            None => drop(changes.insert(format!("{path} came, {}", form(value)))),
            Some(old) if old != value => drop(changes.insert(format!("{path} moved, {}", form(value)))),
            Some(_) => {}
        }
    }
    let gone = before.fields.keys().filter(|path| !after.fields.contains_key(*path));
    changes.extend(gone.map(|path| format!("{path} went")));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn picture(value: &Value) -> Picture {
        let mut picture = Picture::default();
        picture.add("p", value, &str::to_owned);
        picture
    }

    #[test]
    fn what_came_went_and_moved_is_told_and_times_are_not() {
        let before = picture(&json!({"a": 1, "b": 2, "now": 1, "list": [{"name": "x", "n": 1}]}));
        let after = picture(
            &json!({"a": 1, "b": 3, "c": "", "now": 2, "list": [{"name": "y", "n": 1}, {"name": "x", "n": 1}]}),
        );
        let told: Vec<String> = changes(&before, &after).into_iter().collect();
        assert_eq!(
            told,
            [
                "p.b moved, a number",
                "p.c came, an empty text",
                "p.list[y].n came, a number",
                "p.list[y].name came, a text",
            ]
        );
        assert_eq!(changes(&after, &before).len(), 4);
        assert!(changes(&after, &after).is_empty());
    }
}
