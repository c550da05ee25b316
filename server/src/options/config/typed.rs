//! Values as the type that a key wants, or nats-server's words for why not.

use super::report::{Checked, Problem, Report};
use crate::options::grammar::{Map, Node, Value};
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::quoted;

fn wrong_type(node: &Node, wanted: &str) -> Problem {
    Problem::at(node, format!("interface conversion: interface {{}} is {}, not {wanted}", node.value.kind()))
}

pub(super) fn boolean(node: &Node) -> Checked<bool> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        _ => Err(wrong_type(node, "bool")),
    }
}

pub(super) fn integer(node: &Node) -> Checked<i64> {
    match &node.value {
        Value::Integer(value) => Ok(*value),
        _ => Err(wrong_type(node, "int64")),
    }
}

pub(super) fn string(node: &Node) -> Checked<&str> {
    match &node.value {
        Value::String(value) => Ok(value),
        _ => Err(wrong_type(node, "string")),
    }
}

pub(super) fn map(node: &Node) -> Checked<&Map> {
    match &node.value {
        Value::Map(value) => Ok(value),
        _ => Err(wrong_type(node, "map[string]interface {}")),
    }
}

/// A string that is `None` when empty.
pub(super) fn text(node: &Node) -> Checked<Option<String>> {
    string(node).map(|text| (!text.is_empty()).then(|| text.to_owned()))
}

/// A length of time that must be a string.
pub(super) fn duration_string(node: &Node, key: &str) -> Checked<GoDuration> {
    GoDuration::parse(string(node)?)
        .map_err(|error| Problem::at(node, format!("error parsing {key}: {error}")))
}

/// A length of time; a bare number is taken as seconds, with a warning.
pub(super) fn duration(node: &Node, key: &str, report: &mut Report) -> Checked<GoDuration> {
    if let Value::String(_) = node.value {
        return duration_string(node, key);
    }
    report.warning(Problem::at(
        node,
        format!("invalid use of field {}: {key} should be converted to a duration", quoted(key)),
    ));
    Ok(GoDuration(integer(node)?.saturating_mul(1_000_000_000)))
}

/// `port` or `host:port`, as `listen` and `http` take it.
pub(super) fn listen(node: &Node) -> Checked<(String, i64)> {
    let text = match &node.value {
        Value::Integer(port) => return Ok((String::new(), *port)),
        Value::String(text) => text,
        other => {
            return Err(Problem::at(node, format!("expected port or host:port, got {}", other.kind())));
        }
    };
    let Some((host, port)) = split_host_port(text) else {
        return Err(Problem::at(node, format!("could not parse address string {}", quoted(text))));
    };
    match port.parse() {
        Ok(number) => Ok((host.to_owned(), number)),
        Err(_) => Err(Problem::at(node, format!("could not parse port {}", quoted(port)))),
    }
}

/// Splits `host:port` and `[IPv6]:port`. `None`: there is no port, or too many colons.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        let port = after.strip_prefix(':')?;
        return (!host.contains('[') && !port.contains([':', '[', ']'])).then_some((host, port));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// A string or an array of strings. Elements of another type are noted and left out.
pub(super) fn strings(node: &Node, what: &str, report: &mut Report) -> Checked<Vec<String>> {
    match &node.value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(values) => {
            let mut texts = Vec::with_capacity(values.len());
            for element in values.iter() {
                match &element.value {
                    Value::String(text) => texts.push(text.clone()),
                    other => report.error(Problem::at(
                        element,
                        format!("error parsing {what}: unsupported type in array {}", other.kind()),
                    )),
                }
            }
            Ok(texts)
        }
        other => Err(Problem::at(node, format!("error parsing {what}: unsupported type {}", other.kind()))),
    }
}

/// A size: a number, or a string such as `"512M"`. The error has no place yet.
pub(super) fn storage_size(node: &Node) -> Result<i64, String> {
    let text = match &node.value {
        Value::Integer(value) => return Ok(*value),
        Value::String(text) => text,
        _ => return Err("must be int64 or string".to_owned()),
    };
    let Some(suffix) = text.chars().next_back() else { return Ok(0) };
    let prefix = text.strip_suffix(suffix).unwrap_or_default();
    let number: i64 = prefix.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {reason}", quoted(prefix))
    })?;
    let shift = match suffix {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return Err("sizes defined as strings must end in K, M, G, T".to_owned()),
    };
    Ok(number.wrapping_mul(1 << shift))
}
