//! What a template works with.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::tester) enum Value {
    Nil,
    /// What an absent entry gives; it has all fields, which are absent, too.
    Absent,
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<Value>),
    /// Entries by key, and what `index` gives for any other.
    Map(BTreeMap<String, Value>, Box<Value>),
    /// Fields, of which there are no others.
    Fields(BTreeMap<&'static str, Value>),
}

impl Value {
    /// Whether a condition counts it as true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::Absent => false,
            Self::Bool(is) => *is,
            Self::Integer(number) => *number != 0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries, _) => !entries.is_empty(),
            Self::Fields(_) => true,
        }
    }

    /// What stands behind a dot.
    pub(super) fn field(&self, name: &str) -> Result<Self, String> {
        match self {
            Self::Map(entries, _) => Ok(entries.get(name).cloned().unwrap_or(Self::Absent)),
            Self::Absent => Ok(Self::Absent),
            Self::Fields(fields) => {
                fields.get(name).cloned().ok_or_else(|| format!("can't evaluate field {name}: there is none"))
            }
            Self::Nil => Err(format!("nil pointer evaluating field {name}")),
            _ => Err(format!("can't evaluate field {name} in a {}", self.kind())),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Nil | Self::Absent => "nil",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Map(..) => "map",
            Self::Fields(_) => "struct",
        }
    }

    /// The text that it leaves in the output.
    pub(super) fn print(&self, out: &mut String) {
        let separated = |out: &mut String, is_first: &mut bool| {
            if !std::mem::take(is_first) {
                out.push(' ');
            }
        };
        let mut is_first = true;
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Absent => out.push_str("<no value>"),
            Self::Bool(is) => _ = write!(out, "{is}"),
            Self::Integer(number) => _ = write!(out, "{number}"),
            Self::Text(text) => out.push_str(text),
            Self::List(items) => {
                out.push('[');
                for item in items {
                    separated(out, &mut is_first);
                    item.print(out);
                }
                out.push(']');
            }
            Self::Map(entries, _) => {
                out.push_str("map[");
                for (key, value) in entries {
                    separated(out, &mut is_first);
                    let _ = write!(out, "{key}:");
                    value.print(out);
                }
                out.push(']');
            }
            Self::Fields(fields) => {
                out.push('{');
                for value in fields.values() {
                    separated(out, &mut is_first);
                    value.print(out);
                }
                out.push('}');
            }
        }
    }
}
