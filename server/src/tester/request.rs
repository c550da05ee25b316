//! Requests, and how they are refused.

use serde_json::Value;

use super::schema::kept_short;

/// A request that came in.
#[derive(Debug)]
pub(super) struct Request {
    /// Which endpoint it is for, by its place in the list.
    pub(super) endpoint: usize,
    /// Where the answer goes; nobody waits for one without it.
    pub(super) reply: Option<Vec<u8>>,
    pub(super) body: Vec<u8>,
}

/// Why a request is not carried out: a code, and a description for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: kept_short(&text.into()) }
    }

    pub(super) fn no_instance() -> Self {
        Self::new("404", "Instance not found")
    }

    /// As a header block.
    pub(super) fn headers(&self) -> String {
        let Self { code, text } = self;
        format!("NATS/1.0\r\nNats-Service-Error: {text}\r\nNats-Service-Error-Code: {code}\r\n\r\n")
    }
}

/// What comes of a request.
pub(super) type Answer = Result<Value, Refusal>;
