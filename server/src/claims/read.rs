//! What claims write in more than one way.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::model::{SigningKeys, User, UserScope};

/// A list, or a text with commas.
pub(super) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => {
            let names = text.split(',').map(|name| name.trim().to_lowercase());
            Ok(names.filter(|name| !name.is_empty()).collect())
        }
        list => Vec::deserialize(list).map_err(D::Error::custom),
    }
}

/// A number, or `headers` for 0.
pub(super) fn sampling<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(word) if word.eq_ignore_ascii_case("headers") => Ok(0),
        Value::Null => Ok(0),
        other => i64::deserialize(other).map_err(D::Error::custom),
    }
}

impl<'de> Deserialize<'de> for SigningKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = Self::default();
        for entry in Option::<Vec<Value>>::deserialize(deserializer)?.unwrap_or_default() {
            match entry {
                Value::String(key) => drop(keys.0.insert(key, None)),
                Value::Object(scope) => {
                    let scope = read_scope(scope).map_err(D::Error::custom)?;
                    keys.0.insert(scope.key.clone(), Some(scope));
                }
                _ => {}
            }
        }
        Ok(keys)
    }
}

fn read_scope(mut scope: Map<String, Value>) -> Result<UserScope, String> {
    let text = |scope: &Map<String, Value>, key: &str| {
        scope.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if text(&scope, "kind") != "user_scope" {
        return Err(format!("unknown signing key scope {:?}", text(&scope, "type")));
    }
    let (key, role) = (text(&scope, "key"), text(&scope, "role"));
    let mut template = match scope.remove("template") {
        Some(Value::Object(template)) => template,
        _ => Map::new(),
    };
    for limit in ["subs", "data", "payload"] {
        template.entry(limit).or_insert_with(|| Value::from(-1));
    }
    let template = User::deserialize(Value::Object(template)).map_err(|error| error.to_string())?;
    Ok(UserScope { key, role, template })
}
