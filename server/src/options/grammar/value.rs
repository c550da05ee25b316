//! The tree that a configuration text means.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::item::Place;
use super::walk::{Nest, Part, Parts};

/// A value of the configuration. A copy shares what an array or a map holds, as a variable does with the value that it
/// stands for.
#[derive(Clone)]
pub(crate) enum Value {
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// RFC 3339, as in the text.
    Datetime(String),
    String(String),
    Array(Rc<Vec<Node>>),
    Map(Rc<Map>),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// File as it was named, and place of the key (of the value itself within an array).
    pub(crate) location: Location,
    /// A variable refers to it, so that an unknown key is none.
    used: Cell<bool>,
}

/// Where something stands: `FILE:LINE:COLUMN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) file: Arc<str>,
    pub(crate) place: Place,
}

/// A map whose keys keep the order in which they first came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Map {
    entries: Vec<(String, Node)>,
    index: HashMap<String, usize>,
}

impl Value {
    /// The kind by the name that error texts of nats-server use for it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int64",
            Self::Float(_) => "float64",
            Self::Datetime(_) => "time.Time",
            Self::String(_) => "string",
            Self::Array(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// Moves what only this value holds to the end of `values`.
    fn take_held(&mut self, values: &mut Vec<Self>) {
        match self {
            Self::Array(nodes) => {
                let nodes = Rc::get_mut(nodes).map(std::mem::take).unwrap_or_default();
                values.extend(nodes.into_iter().map(|node| node.value));
            }
            Self::Map(map) => {
                let map = Rc::get_mut(map).map(std::mem::take).unwrap_or_default();
                values.extend(map.entries.into_iter().map(|(_, node)| node.value));
            }
            Self::Bool(_) | Self::Integer(_) | Self::Float(_) | Self::Datetime(_) | Self::String(_) => {}
        }
    }
}

/// As error texts show values.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in Parts::of_value(self) {
            match part {
                Part::Start(Nest::Array) => out.write_str("[")?,
                Part::Start(Nest::Map) => out.write_str("map[")?,
                Part::End(_) => out.write_str("]")?,
                Part::Element { is_first } => out.write_str(if is_first { "" } else { " " })?,
                Part::Key { is_first, key } => write!(out, "{}{key}:", if is_first { "" } else { " " })?,
                Part::Scalar(Self::Bool(value)) => write!(out, "{value}")?,
                Part::Scalar(Self::Integer(value)) => write!(out, "{value}")?,
                Part::Scalar(Self::Float(value)) => write!(out, "{value}")?,
                Part::Scalar(Self::Datetime(value) | Self::String(value)) => out.write_str(value)?,
                Part::Scalar(Self::Array(_) | Self::Map(_)) => {}
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}({self})", self.kind())
    }
}

/// Without this, the compiler's own way to drop a value goes a call deeper with each one within it.
impl Drop for Value {
    fn drop(&mut self) {
        let mut values = Vec::new();
        self.take_held(&mut values);
        while let Some(mut value) = values.pop() {
            value.take_held(&mut values);
        }
    }
}

impl Node {
    pub(crate) fn new(value: Value, location: Location) -> Self {
        Self { value, location, used: Cell::new(false) }
    }

    pub(crate) fn mark_used(&self) {
        self.used.set(true);
    }

    pub(crate) fn is_used_variable(&self) -> bool {
        self.used.get()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.place.line, self.place.column)
    }
}

impl Map {
    /// Sets a key, in place of an earlier value of the same key.
    pub(crate) fn set(&mut self, key: String, node: Node) {
        match self.index.get(&key).and_then(|at| self.entries.get_mut(*at)) {
            Some(entry) => entry.1 = node,
            None => {
                self.index.insert(key.clone(), self.entries.len());
                self.entries.push((key, node));
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.index.get(key).and_then(|at| self.entries.get(*at)).map(|(_, node)| node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn into_entries(self) -> Vec<(String, Node)> {
        self.entries
    }
}
