//! The fingerprint of a configuration: SHA-256 over its JSON, which is written as nats-server writes it, so that the
//! same configuration has the same fingerprint on both.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::value::{Map, Value};

/// `sha256:` and 64 hexadecimal digits.
pub(super) fn of(map: &Map) -> String {
    let mut json = String::new();
    write_map(&mut json, map);
    json.push('\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(json.as_bytes()) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn write_map(json: &mut String, map: &Map) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| *key);
    json.push('{');
    for (at, (key, node)) in entries.into_iter().enumerate() {
        if at > 0 {
            json.push(',');
        }
        write_string(json, key);
        json.push(':');
        write_value(json, &node.value);
    }
    json.push('}');
}

fn write_value(json: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => drop(write!(json, "{value}")),
        Value::Float(value) => write_float(json, *value),
        Value::Datetime(value) | Value::String(value) => write_string(json, value),
        Value::Array(values) => {
            json.push('[');
            for (at, node) in values.iter().enumerate() {
                if at > 0 {
                    json.push(',');
                }
                write_value(json, &node.value);
            }
            json.push(']');
        }
        Value::Map(map) => write_map(json, map),
    }
}

/// Shortest digits that read back as the same number; with an exponent when very small or very large.
fn write_float(json: &mut String, value: f64) {
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        // A positive exponent has its sign.
        let text = match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        };
        json.push_str(&text);
    } else {
        let _ = write!(json, "{value}");
    }
}

/// As Go's JSON writer does: safe within HTML.
fn write_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            '\u{0}'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            _ => json.push(c),
        }
    }
    json.push('"');
}
