//! What a server shows, as fields with paths.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Fields that move by themselves, or with the look that is taken: times, the machine, a cache that only one server has.
/// Whether they are there, and their form, is compared all the same.
const RESTLESS: &[&str] = &[
    "avg_fanout",
    "cache_hit_rate",
    "cpu",
    "disk_io_wait_stats",
    "http_req_stats",
    "idle",
    "max_fanout",
    "mem",
    "memstats",
    "now",
    "num_cache",
    "num_inserts",
    "num_matches",
    "num_removes",
    "pause_remaining",
    "pending_bytes",
    "rtt",
    "ts",
    "uptime",
];
/// What nats-server keeps of answers that are under way, those of its own services too: gone at the next look.
const FLEETING: &[&str] = &["responses"];
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
                for (field, value) in fields.iter().filter(|(field, _)| !FLEETING.contains(&field.as_str())) {
                    let path = format!("{name}.{}", plain(field));
                    if RESTLESS.contains(&field.as_str()) {
                        let form = if value.is_number() { "a number" } else { form(value) };
                        self.fields.insert(path, Value::String(form.to_owned()));
                    } else {
                        self.add(&path, value, plain);
                    }
                }
            }
            Value::Array(elements) if !elements.is_empty() => {
                let mut named: Vec<(String, &Value)> = elements
                    .iter()
                    .enumerate()
                    .map(|(index, element)| {
                        (key(element).map_or_else(|| index.to_string(), |key| plain(&key)), element)
                    })
                    .collect();
                // Of several with one name the order says nothing.
                named.sort_by_cached_key(|(key, element)| (key.clone(), element.to_string()));
                for (index, (key, element)) in named.iter().enumerate() {
                    let before = named.iter().take(index).filter(|(other, _)| other == key).count();
                    let number = if before == 0 { String::new() } else { format!(" {}", before + 1) };
                    self.add(&format!("{name}[{key}{number}]"), element, plain);
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
        let before =
            picture(&json!({"a": 1, "b": 2, "now": 1, "rtt": "1ms", "list": [{"name": "x", "n": 1}]}));
        let after = picture(
            &json!({"a": 1, "b": 3, "c": "", "now": 2, "rtt": "2ms", "list": [{"name": "y", "n": 1}, {"name": "x", "n": 1}]}),
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
