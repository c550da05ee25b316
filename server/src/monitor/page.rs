//! A page before it is an HTTP response.

use jetkv_go_compat::json;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// A page: status, kind of content, content.
#[derive(Debug)]
pub(super) struct Page {
    status: StatusCode,
    kind: Kind,
    content: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    /// What Go's own handler writes.
    Variables,
    Html,
    Text,
}

impl Page {
    /// JSON in lines.
    pub(super) fn json(value: &impl Serialize) -> Self {
        Self { status: StatusCode::OK, kind: Kind::Json, content: json::pretty(value) }
    }

    /// JSON in one line.
    pub(super) fn compact_json(status: StatusCode, value: &impl Serialize) -> Self {
        Self { status, kind: Kind::Json, content: json::to_string(value) }
    }

    /// One value that a process tells of itself, as Go's `expvar` writes it.
    pub(super) fn variable(name: &str, value: &impl Serialize) -> Self {
        let content = format!("{{\n{}: {}\n}}\n", json::to_string(&name), json::to_string(value));
        Self { status: StatusCode::OK, kind: Kind::Variables, content }
    }

    pub(super) fn html(content: &str) -> Self {
        Self { status: StatusCode::OK, kind: Kind::Html, content: content.to_owned() }
    }

    /// Plain text.
    pub(super) fn text(status: StatusCode, content: &str) -> Self {
        Self { status, kind: Kind::Text, content: content.to_owned() }
    }

    pub(super) fn not_found() -> Self {
        let content = "404 page not found\n".to_owned();
        Self { status: StatusCode::NOT_FOUND, kind: Kind::Text, content }
    }

    /// The query is wrong.
    pub(super) fn bad_request(content: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, kind: Kind::Text, content }
    }

    /// Status and content where that is JSON; else the content as an error.
    pub(super) fn into_json(self) -> Result<(u16, String), String> {
        let is_json = matches!(self.kind, Kind::Json | Kind::Variables);
        if is_json { Ok((self.status.as_u16(), self.content)) } else { Err(self.content) }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.content)));
        *response.status_mut() = self.status;
        let kind = match self.kind {
            Kind::Json => "application/json",
            Kind::Variables => "application/json; charset=utf-8",
            Kind::Html => "text/html; charset=utf-8",
            Kind::Text => "text/plain; charset=utf-8",
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if self.kind == Kind::Json {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        if self.status == StatusCode::NOT_FOUND {
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        response
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (u16, &str) {
        (self.status.as_u16(), &self.content)
    }
}
