//! Who asks.

use jetkv_go_compat::GoTime;
use serde::Serialize;

/// A client as advisories and `$SYS` show it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ClientInfo {
    /// When it connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<GoTime>,
    /// Its address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its number.
    #[serde(skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Its account.
    #[serde(rename = "acc", skip_serializing_if = "String::is_empty")]
    pub account: String,
    /// The account whose service it asks, by way of another one.
    #[serde(rename = "svc", skip_serializing_if = "String::is_empty")]
    pub service: String,
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
    /// Who stands for its user, where that is one with a key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer_key: String,
    /// Its user's name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name_tag: String,
    /// Its user's words for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// `Client`, `Leafnode` and so on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// `nats`, `mqtt`, `websocket`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_type: String,
    /// The reply subject of a message that came by a service, where that says more than where the answer goes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reply: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
