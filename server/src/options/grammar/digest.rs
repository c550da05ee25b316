//! The fingerprint of a configuration: SHA-256 over its JSON, which is written as nats-server writes it, so that the
//! same configuration has the same fingerprint on both.

use std::fmt::Write;

use jetkv_go_compat::json;
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
    let mut json = vec![b'{'];
    let mut depths = Depths::default();
    for part in Parts::of_map(map) {
        depths.check(&part)?;
        match part {
            Part::Start(nest) => json.push(opening(nest) as u8),
            Part::End(Nest::Array) => json.push(b']'),
            Part::End(Nest::Map) => json.push(b'}'),
            Part::Element { is_first } => separate(&mut json, is_first),
            Part::Key { is_first, key } => {
                separate(&mut json, is_first);
                json::write_string(key, &mut json);
                json.push(b':');
            }
            Part::Scalar(value) => write_scalar(&mut json, value),
        }
    }
    json.push(b'\n');
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(&json) {
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

fn separate(json: &mut Vec<u8>, is_first: bool) {
    if !is_first {
        json.push(b',');
    }
}

fn write_scalar(json: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(value) => json::write(value, json),
        Value::Integer(value) => json::write(value, json),
        Value::Float(value) => json::write(value, json),
        Value::Datetime(value) | Value::String(value) => json::write_string(value, json),
        Value::Array(_) | Value::Map(_) => {}
    }
}
