//! What a value holds, part by part, in the order of its text: keys sorted, as Go writes maps.

use super::value::{Map, Node, Value};

/// A part of a value.
#[derive(Debug)]
pub(super) enum Part<'v> {
    /// A map or an array begins.
    Start(Nest),
    /// A map or an array ends.
    End(Nest),
    /// An element of an array follows.
    Element { is_first: bool },
    /// A value of a map follows.
    Key { is_first: bool, key: &'v str },
    /// A value that holds no other.
    Scalar(&'v Value),
}

/// What can hold values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nest {
    Array,
    Map,
}

/// Iterates over the parts; what is open stands in a list, so that no depth of nesting exhausts the thread's stack.
pub(super) struct Parts<'v> {
    open: Vec<Open<'v>>,
    /// Shown next.
    value: Option<&'v Value>,
}

/// An array or a map, with what is left of it.
struct Open<'v> {
    is_first: bool,
    left: Left<'v>,
}

enum Left<'v> {
    Array(std::slice::Iter<'v, Node>),
    Map(std::vec::IntoIter<(&'v str, &'v Node)>),
}

impl<'v> Parts<'v> {
    pub(super) fn of_value(value: &'v Value) -> Self {
        Self { open: Vec::new(), value: Some(value) }
    }

    /// Without the start of the map itself.
    pub(super) fn of_map(map: &'v Map) -> Self {
        Self { open: vec![Open::map(map)], value: None }
    }
}

impl<'v> Open<'v> {
    fn map(map: &'v Map) -> Self {
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_by_key(|(key, _)| *key);
        Self { is_first: true, left: Left::Map(entries.into_iter()) }
    }
}

impl<'v> Iterator for Parts<'v> {
    type Item = Part<'v>;

    fn next(&mut self) -> Option<Part<'v>> {
        if let Some(value) = self.value.take() {
            let (open, nest) = match value {
                Value::Array(nodes) => {
                    (Open { is_first: true, left: Left::Array(nodes.iter()) }, Nest::Array)
                }
                Value::Map(map) => (Open::map(map), Nest::Map),
                _ => return Some(Part::Scalar(value)),
            };
            self.open.push(open);
            return Some(Part::Start(nest));
        }
        let Open { is_first, left } = self.open.last_mut()?;
        let is_first = std::mem::take(is_first);
        let (part, nest) = match left {
            Left::Array(nodes) => {
                (nodes.next().map(|node| (Part::Element { is_first }, &node.value)), Nest::Array)
            }
            Left::Map(entries) => {
                (entries.next().map(|(key, node)| (Part::Key { is_first, key }, &node.value)), Nest::Map)
            }
        };
        let Some((part, value)) = part else {
            self.open.pop();
            return Some(Part::End(nest));
        };
        self.value = Some(value);
        Some(part)
    }
}
