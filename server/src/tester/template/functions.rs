//! The functions that templates may call.

use std::cmp::Ordering;

use jetkv_go_compat::quoted;

use super::value::Value;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Print,
    Println,
    Printf,
    HostPort,
}

/// Functions that Go's templates have and these do not.
const UNSERVED: &[&str] = &["call", "html", "js", "slice", "urlquery"];

impl Function {
    pub(super) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "and" => Self::And,
            "or" => Self::Or,
            "not" => Self::Not,
            "eq" => Self::Eq,
            "ne" => Self::Ne,
            "lt" => Self::Lt,
            "le" => Self::Le,
            "gt" => Self::Gt,
            "ge" => Self::Ge,
            "len" => Self::Len,
            "index" => Self::Index,
            "print" => Self::Print,
            "println" => Self::Println,
            "printf" => Self::Printf,
            "hostport" => Self::HostPort,
            _ if UNSERVED.contains(&name) => {
                return Err(format!("function {} is not served here", quoted(name)));
            }
            _ => return Err(format!("function {} not defined", quoted(name))),
        })
    }

    /// What it gives. `and` and `or` are carried out elsewhere, as they may not look at all their arguments.
    pub(super) fn call(self, arguments: &[Value]) -> Result<Value, String> {
        let wrong = |want: &str| {
            Err(format!("wrong number of args for {self:?}: want {want} got {}", arguments.len()))
        };
        match (self, arguments) {
            (Self::Not, [value]) => Ok(Value::Bool(!value.is_true())),
            (Self::Eq, [first, others @ ..]) if !others.is_empty() => {
                for other in others {
                    if compare(first, other)? == Ordering::Equal {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            (Self::Ne, [a, b]) => Ok(Value::Bool(compare(a, b)? != Ordering::Equal)),
            (Self::Lt, [a, b]) => Ok(Value::Bool(ordered(a, b)?.is_lt())),
            (Self::Le, [a, b]) => Ok(Value::Bool(ordered(a, b)?.is_le())),
            (Self::Gt, [a, b]) => Ok(Value::Bool(ordered(a, b)?.is_gt())),
            (Self::Ge, [a, b]) => Ok(Value::Bool(ordered(a, b)?.is_ge())),
            (Self::Len, [value]) => len(value),
            (Self::Index, [value, keys @ ..]) => {
                keys.iter().try_fold(value.clone(), |value, key| index(&value, key))
            }
            (Self::Print | Self::Println, values) => Ok(Value::Text(print(values, self == Self::Println))),
            (Self::Printf, [Value::Text(format), values @ ..]) => printf(format, values).map(Value::Text),
            (Self::HostPort, [Value::Text(host), Value::Integer(port)]) => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                Ok(Value::Text(format!("{host}:{port}")))
            }
            (Self::Not | Self::Len, _) => wrong("1"),
            (Self::Index | Self::Eq, _) => wrong("at least 2"),
            (Self::Printf, _) => Err("printf needs a format".to_owned()),
            (Self::HostPort, _) => Err("hostport needs a host and a port".to_owned()),
            _ => wrong("2"),
        }
    }
}

fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Integer(a), Value::Integer(b)) => Ok(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Nil | Value::Absent, Value::Nil | Value::Absent) => Ok(Ordering::Equal),
        _ => Err("incompatible types for comparison".to_owned()),
    }
}

fn ordered(a: &Value, b: &Value) -> Result<Ordering, String> {
    if matches!(a, Value::Bool(_) | Value::Nil | Value::Absent) {
        return Err("invalid type for comparison".to_owned());
    }
    compare(a, b)
}

fn len(value: &Value) -> Result<Value, String> {
    let len = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(entries, _) => entries.len(),
        other => return Err(format!("len of type {}", other.kind())),
    };
    Ok(Value::Integer(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Map(entries, absent), Value::Text(key)) => Ok(entries.get(key).unwrap_or(absent).clone()),
        (Value::List(items), Value::Integer(at)) => {
            let item = usize::try_from(*at).ok().and_then(|at| items.get(at));
            item.cloned().ok_or_else(|| format!("index out of range: {at}"))
        }
        _ => Err(format!("can't index item of type {} with a {}", value.kind(), key.kind())),
    }
}

/// As Go's `Sprint` has it: blanks between those neighbours of which neither is text, or between all.
fn print(values: &[Value], as_line: bool) -> String {
    let mut out = String::new();
    let mut before: Option<&Value> = None;
    for value in values {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if before.is_some_and(|before| as_line || !(is_text(before) || is_text(value))) {
            out.push(' ');
        }
        value.print(&mut out);
        before = Some(value);
    }
    if as_line {
        out.push('\n');
    }
    out
}

fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut values = values.iter();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let verb = chars.next().ok_or("a format ends with %")?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        let value = values.next().ok_or("a format wants more than there is")?;
        match (verb, value) {
            ('v' | 's', Value::Text(_)) | ('v', _) | ('d', Value::Integer(_)) | ('t', Value::Bool(_)) => {
                value.print(&mut out);
            }
            ('q', Value::Text(text)) => out.push_str(&quoted(text)),
            _ => return Err(format!("%{verb} of a {} is not served here", value.kind())),
        }
    }
    match values.next() {
        None => Ok(out),
        Some(_) => Err("a format wants less than there is".to_owned()),
    }
}
