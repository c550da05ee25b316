//! The JetStream API: requests on `$JS.API.>` and their answers.

pub mod catalogue;
pub mod error;

use crate::host::AccountId;
use crate::stream::Stream;
pub use error::{ApiError, ErrorDef};
use std::sync::Arc;

/// A request on an API subject.
#[derive(Debug, Clone, Copy)]
pub struct ApiRequest<'a> {
    /// The account that it was made in.
    pub account: AccountId,
    /// The subject as published, with a domain prefix or without.
    pub subject: &'a [u8],
    /// Where the answer goes; without it the request is carried out in silence, as nats-server does.
    pub reply: &'a [u8],
    /// Raw header block, empty for none.
    pub headers: &'a [u8],
    /// The body.
    pub payload: &'a [u8],
    /// Who asks; shown in advisories.
    pub client: Option<&'a ClientInfo>,
}

/// What the caller must do after a request.
///
/// First route what the request put into the outbox, then commit the stream: so a client sees the answer to
/// "create a consumer" before the first message of that consumer.
#[must_use]
#[derive(Default)]
pub struct ApiOutcome {
    /// The stream to commit.
    pub stream: Option<Arc<Stream>>,
}

/// A client as advisories and `$SYS` show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct ClientInfo {
    /// When it connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<crate::json::GoTime>,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its number.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Its account.
    #[serde(rename = "acc", skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// Its user.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The name it gave itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Language of its library.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    /// Version of its library.
    #[serde(rename = "ver", skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Round trip, nanoseconds.
    #[serde(rename = "rtt", skip_serializing_if = "is_zero")]
    pub rtt_ns: u64,
    /// Name of the server that it is connected to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server: String,
    /// `Client`, `Leafnode` and so on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `nats`, `mqtt`, `websocket`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_type: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
