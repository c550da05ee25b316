//! A page before it is written for whoever asked.

use hyper::StatusCode;
use jetkv_go_compat::json;
use serde::Serialize;
use serde_json::{Map, Value};

/// A page: status and content.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) content: Content,
}

/// What a page shows.
#[derive(Debug)]
pub(crate) enum Content {
    /// JSON in lines.
    Json(Value),
    /// JSON in one line.
    CompactJson(Value),
    /// One value that a process tells of itself, under its name.
    Variable(&'static str, Value),
    /// What Prometheus reads.
    Metrics(String),
    Html(&'static str),
    Text(String),
}

/// Views hold nothing that JSON cannot.
fn value(view: &impl Serialize) -> Value {
    serde_json::to_value(view).unwrap_or_default()
}

impl Page {
    /// JSON in lines.
    pub(super) fn json(view: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, content: Content::Json(value(view)) }
    }

    /// JSON in one line.
    pub(super) fn compact_json(status: StatusCode, view: &impl Serialize) -> Self {
        Self { status, content: Content::CompactJson(value(view)) }
    }

    /// One value that a process tells of itself.
    pub(super) fn variable(name: &'static str, view: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, content: Content::Variable(name, value(view)) }
    }

    /// What Prometheus reads.
    pub(super) fn metrics(content: String) -> Self {
        Self { status: StatusCode::OK, content: Content::Metrics(content) }
    }

    pub(crate) fn html(content: &'static str) -> Self {
        Self { status: StatusCode::OK, content: Content::Html(content) }
    }

    /// Plain text.
    pub(super) fn text(status: StatusCode, content: &str) -> Self {
        Self { status, content: Content::Text(content.to_owned()) }
    }

    pub(crate) fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    /// The query is wrong.
    pub(crate) fn bad_request(content: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, content: Content::Text(content) }
    }

    /// Status and content where that is JSON; else the content as an error.
    pub(super) fn into_json(self) -> Result<(u16, Value), String> {
        let value = match self.content {
            Content::Json(value) | Content::CompactJson(value) => value,
            Content::Variable(name, value) => Value::Object(Map::from_iter([(name.to_owned(), value)])),
            Content::Html(text) => return Err(text.to_owned()),
            Content::Text(text) | Content::Metrics(text) => return Err(text),
        };
        Ok((self.status.as_u16(), value))
    }
}

impl Content {
    /// The page as text; JSON as Go writes it.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Json(value) => json::pretty(&value),
            Self::CompactJson(value) => json::to_string(&value),
            // As Go's `expvar` writes it.
            Self::Variable(name, value) => {
                format!("{{\n{}: {}\n}}\n", json::to_string(&name), json::to_string(&value))
            }
            Self::Html(text) => text.to_owned(),
            Self::Text(text) | Self::Metrics(text) => text,
        }
    }
}
