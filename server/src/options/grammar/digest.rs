//! The fingerprint of a configuration: SHA-256 over its JSON, which is written as nats-server writes it, so that the
//! same configuration has the same fingerprint on both.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::ParseError;
use super::value::{Map, Value};
use super::walk::{Nest, Part, Parts};

/// Values within each other that JSON can have in Go, at most: nats-server cannot write what is deeper, and so refuses
/// the configuration.
const DEPTH_MAX: usize = 10_000;

/// `sha256:` and 64 hexadecimal digits.
///
/// # Errors
/// [`ParseError::Depth`].
pub(super) fn of(map: &Map) -> Result<String, ParseError> {
    let mut json = String::from("{");
    let mut depths = Depths::default();
    for part in Parts::of_map(map) {
        depths.check(&part)?;
        match part {
            Part::Start(nest) => json.push(opening(nest)),
            Part::End(Nest::Array) => json.push(']'),
            Part::End(Nest::Map) => json.push('}'),
            Part::Element { is_first } => separate(&mut json, is_first),
            Part::Key { is_first, key } => {
                separate(&mut json, is_first);
                write_string(&mut json, key);
                json.push(':');
            }
            Part::Scalar(value) => write_scalar(&mut json, value),
        }
    }
    json.push('\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(json.as_bytes()) {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// How deep the open maps and arrays are.
#[derive(Default)]
struct Depths(Vec<Depth>);

struct Depth {
    /// Levels in this map or array, itself included.
    levels: usize,
    /// What opens the last of them.
    deepest: char,
}

impl Depths {
    /// Fails where nats-server does: at the end of the first value that is too deep, those that it holds first.
    fn check(&mut self, part: &Part<'_>) -> Result<(), ParseError> {
        match part {
            Part::Start(nest) => self.0.push(Depth { levels: 1, deepest: opening(*nest) }),
            Part::End(_) => {
                let Some(ended) = self.0.pop() else { return Ok(()) };
                if ended.levels > DEPTH_MAX {
                    return Err(ParseError::Depth { within: self.0.len() + 1, opening: ended.deepest });
                }
                if let Some(outer) = self.0.last_mut()
                    && outer.levels <= ended.levels
                {
                    *outer = Depth { levels: ended.levels + 1, deepest: ended.deepest };
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn opening(nest: Nest) -> char {
    match nest {
        Nest::Array => '[',
        Nest::Map => '{',
    }
}

fn separate(json: &mut String, is_first: bool) {
    if !is_first {
        json.push(',');
    }
}

fn write_scalar(json: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => json.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) => drop(write!(json, "{value}")),
        Value::Float(value) => write_float(json, *value),
        Value::Datetime(value) | Value::String(value) => write_string(json, value),
        Value::Array(_) | Value::Map(_) => {}
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
