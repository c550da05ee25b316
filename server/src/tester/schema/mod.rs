//! What requests and responses hold: one table for what is checked, what is published as JSON Schema, and what is documented.

mod check;
mod document;
mod endpoints;
mod types;

pub(super) use check::refusal;
pub(super) use document::{endpoint_schemas, kept_short};
pub(super) use endpoints::{ENDPOINTS, Endpoint, Verb};
pub(super) use types::{TOXICS, ToxicType};

/// A field of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) required: bool,
    pub(super) about: &'static str,
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    /// Text that is not empty.
    SomeText,
    /// The name of a server or a cluster, of at most so many characters.
    Name(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A moment, as RFC 3339 has it.
    Moment,
    Bool,
    Number,
    /// An integer, within bounds where there are some.
    Integer(Option<(i64, i64)>),
    /// An object with these fields; others are refused where it belongs to a request.
    Object(&'static [Field]),
    /// A list, of a length within bounds where there are some.
    List(&'static Kind, Option<(usize, usize)>),
    /// An object whose fields the caller names.
    Map(&'static Kind),
    /// A toxic, with the attributes of its type.
    Toxic,
    /// Any object.
    AnyObject,
    Any,
}

/// A field that may be left out.
const fn field(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: false, about }
}

/// A field that a request must have.
const fn required(name: &'static str, kind: Kind, about: &'static str) -> Field {
    Field { name, kind, required: true, about }
}
