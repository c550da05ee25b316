//! Answers of the API, and the audit advisory that follows each.

use super::request::Request;
use super::{ApiOutcome, Call, Way};
use crate::client::ClientInfo;
use crate::config::metadata::{REQUIRED_LEVEL_HEADER, serves_level};
use crate::engine::account::Account;
use crate::engine::offline::Offline;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::headers::header;
use crate::message::OutMsg;
use crate::outbox::Says;
use crate::stream::Stream;
use jetkv_go_compat::GoTime;
use jetkv_go_compat::json::{self, Decode};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const AUDIT_SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.API";

/// What every response begins with.
#[derive(Serialize)]
struct Response<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a ApiError>,
    #[serde(flatten)]
    body: T,
}

/// The body of a response that has none.
#[derive(Serialize)]
pub(crate) struct Empty {}

/// Position in a paged listing; also stands in errors.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Page {
    pub(crate) total: usize,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
}

/// Says that something was done.
#[derive(Serialize)]
pub(crate) struct Success {
    pub(crate) success: bool,
}

#[derive(Serialize)]
struct Audit<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: String,
    timestamp: GoTime,
    server: &'a str,
    client: Option<&'a ClientInfo>,
    subject: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    request: &'a str,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
}

/// Prefix of the types of responses.
pub(crate) const TYPE_PREFIX: &str = "io.nats.jetstream.api.v1.";

/// A response as it is sent. `kind` is the type without its common prefix.
pub(super) fn response<T: Serialize>(kind: &str, error: Option<&ApiError>, body: T) -> Vec<u8> {
    json::to_vec(&Response { kind: &format!("{TYPE_PREFIX}{kind}"), error, body })
}

impl Call<'_> {
    /// A stream of the account.
    pub(crate) fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.account.as_ref().and_then(|account| account.stream(name))
    }

    /// The stream that a request is about, where that is told of, but not served.
    pub(super) fn offline(&self, request: &Request<'_>) -> Option<(Arc<Account>, Arc<Offline>)> {
        if !self.account.as_ref()?.has_offline() {
            return None;
        }
        let account = self.admit().ok()?;
        let offline = account.offline(request.stream()?)?;
        Some((account, offline))
    }

    /// The account, or the error that every request begins with: an API level that this server does not have, or an
    /// account without JetStream.
    pub(crate) fn admit(&self) -> Result<Arc<Account>, ApiError> {
        if !serves_level(header(self.req.headers, REQUIRED_LEVEL_HEADER).unwrap_or_default()) {
            return Err(errors::REQUIRED_API_LEVEL.into());
        }
        self.account.clone().ok_or_else(|| errors::NOT_ENABLED_FOR_ACCOUNT.into())
    }

    /// Reads the request's body.
    ///
    /// In strict mode unknown fields are errors; otherwise they are ignored.
    pub(crate) fn decode<T: Decode>(&self, target: &mut T) -> Result<(), ApiError> {
        let strict = json::decode_strict(self.req.payload, target);
        if let (Err(error), Some(account)) = (&strict, &self.account) {
            let world = self.engine.world();
            let (account, subject) = (&account.share.name, self.subject);
            let text = format!("Invalid JetStream request '{account} > {subject}': {error}");
            world.warnings.warn(world.clock.elapsed(), &text);
        }
        let result = match strict {
            Err(_) if !self.engine.config().strict => json::decode_lenient(self.req.payload, target),
            result => result,
        };
        result.map_err(|error| errors::INVALID_JSON.because(error))
    }

    /// Whether the body is an object or array; anything else counts as no body in some requests.
    pub(crate) fn has_body(&self) -> bool {
        let first = self.req.payload.iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
        matches!(first, Some(b'{' | b'['))
    }

    /// Whether a request is left to who may wait, since somebody holds the stream's lock for long.
    pub(super) fn leaves(&self, stream: &Stream) -> bool {
        stream.is_busy() && matches!(self.way, Way::AtOnce)
    }

    /// Whether there is nothing in the body, as requests want that ask for nothing but what their subject says.
    pub(super) fn check_empty_body(&self) -> Result<(), ApiError> {
        if self.is_empty_body() { Ok(()) } else { Err(errors::NOT_EMPTY_REQUEST.error()) }
    }

    /// Whether the body is empty or an empty object.
    pub(crate) fn is_empty_body(&self) -> bool {
        if self.req.payload.is_empty() {
            return true;
        }
        let Ok(value) = json::whole_value(self.req.payload) else { return false };
        let mut fields = 0;
        if value.kind() == json::Kind::Object {
            value.for_each_field(|_, _| fields += 1);
            return fields == 0;
        }
        false
    }

    /// Answers with an error. `kind` is the type without its common prefix; `body` is what stands beside the error.
    pub(crate) fn fail_with<T: Serialize>(&mut self, kind: &str, error: &ApiError, body: T) -> ApiOutcome {
        self.count(false);
        let kind = format!("{TYPE_PREFIX}{kind}");
        self.answer(&json::to_vec(&Response { kind: &kind, error: Some(error), body }), true);
        ApiOutcome::refused(error)
    }

    /// Answers with an error that does not count as one: what came of a request that was sound (nats-server v2.15.2, observed
    /// of deletes of messages).
    pub(crate) fn fail_uncounted(&mut self, kind: &str, error: &ApiError) -> ApiOutcome {
        self.count(true);
        let kind = format!("{TYPE_PREFIX}{kind}");
        self.answer(&json::to_vec(&Response { kind: &kind, error: Some(error), body: Empty {} }), true);
        ApiOutcome::done()
    }

    /// Answers with an error and nothing else.
    pub(crate) fn fail(&mut self, kind: &str, error: &ApiError) -> ApiOutcome {
        self.fail_with(kind, error, Empty {})
    }

    /// Answers.
    pub(crate) fn respond<T: Serialize>(&mut self, kind: &str, body: T) -> ApiOutcome {
        self.count(true);
        let kind = format!("{TYPE_PREFIX}{kind}");
        self.answer(&json::to_vec(&Response { kind: &kind, error: None, body }), false);
        ApiOutcome::done()
    }

    /// As [`respond`](Self::respond), with headers: a whole block, empty for none.
    pub(crate) fn respond_with<T: Serialize>(&mut self, kind: &str, headers: &[u8], body: T) -> ApiOutcome {
        let before = self.out.len();
        let outcome = self.respond(kind, body);
        self.out.set_headers(before, headers);
        outcome
    }

    /// Answers with an error, without counting the request and without an audit advisory.
    pub(crate) fn fail_quietly<T: Serialize>(&mut self, kind: &str, error: &ApiError, body: T) -> ApiOutcome {
        self.answer_quietly(kind, Some(error), body)
    }

    /// Answers without counting the request and without an audit advisory.
    pub(crate) fn respond_quietly<T: Serialize>(&mut self, kind: &str, body: T) -> ApiOutcome {
        self.answer_quietly(kind, None, body)
    }

    fn answer_quietly<T: Serialize>(&mut self, kind: &str, error: Option<&ApiError>, body: T) -> ApiOutcome {
        let kind = format!("{TYPE_PREFIX}{kind}");
        let response = json::to_vec(&Response { kind: &kind, error, body });
        self.push_answer(&response, error.is_some());
        error.map_or_else(ApiOutcome::done, ApiOutcome::refused)
    }

    fn count(&self, succeeded: bool) {
        if let Some(account) = &self.account {
            account.api_total.fetch_add(1, Ordering::Relaxed);
            if !succeeded {
                account.api_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn push_answer(&mut self, response: &[u8], refused: bool) {
        if !self.req.reply.is_empty() {
            self.out.push_with(self.req.reply, |out| out.extend_from_slice(response));
            self.out.last_says(Says::Answer { refused });
        }
    }

    fn answer(&mut self, response: &[u8], refused: bool) {
        self.push_answer(response, refused);
        let world = self.engine.world();
        if !world.host.has_interest(self.req.account, AUDIT_SUBJECT, None) {
            return;
        }
        let audit = json::to_vec(&Audit {
            kind: "io.nats.jetstream.advisory.v1.api_audit",
            id: world.ids.next(),
            timestamp: world.now_time(),
            server: &world.config.server_name,
            client: self.req.client,
            subject: self.subject,
            request: &String::from_utf8_lossy(self.req.payload),
            response: &String::from_utf8_lossy(response),
            domain: &world.config.domain,
        });
        self.advise(AUDIT_SUBJECT, &audit);
    }

    /// Queues an advisory.
    pub(crate) fn advise(&mut self, subject: &[u8], payload: &[u8]) {
        self.out.push(OutMsg { to: subject, subject, reply: b"", headers: b"", payload });
    }
}
