//! What the system account hears of by itself.

use serde::Serialize;

use super::model::{ClientPart, DataStats, ServerPart, time};
use super::send_json;
use crate::net::{Client, CloseReason};
use crate::state::{Shared, random_id};
use jetkv_jetstream::json::GoTime;

#[derive(Debug, Serialize)]
struct Connected {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
    server: ServerPart,
    client: ClientPart,
}

#[derive(Debug, Serialize)]
struct Disconnected {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
    server: ServerPart,
    client: ClientPart,
    sent: DataStats,
    received: DataStats,
    reason: &'static str,
}

/// A client came in.
pub(crate) fn connected(shared: &Shared, client: &Client) {
    let Some(system) = shared.accounts.system() else { return };
    let subject = format!("$SYS.ACCOUNT.{}.CONNECT", client.account().name());
    if !system.has_interest(subject.as_bytes(), None) {
        return;
    }
    let event = Connected {
        kind: "io.nats.server.advisory.v1.client_connect",
        id: random_id(),
        timestamp: time(shared.clock.now_ns()),
        server: ServerPart::new(shared),
        client: ClientPart::new(client, None),
    };
    send_json(shared, &system, subject.as_bytes(), &event);
}

/// A client went.
pub(crate) fn disconnected(shared: &Shared, client: &Client, reason: CloseReason, stopped_ns: u64) {
    let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", client.account().name());
    gone(shared, client, reason, stopped_ns, &subject);
}

/// A client was refused.
pub(crate) fn refused(shared: &Shared, client: &Client, reason: CloseReason) {
    let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", shared.identity.id);
    gone(shared, client, reason, shared.clock.now_ns(), &subject);
}

fn gone(shared: &Shared, client: &Client, reason: CloseReason, stopped_ns: u64, subject: &str) {
    let Some(system) = shared.accounts.system() else { return };
    if !system.has_interest(subject.as_bytes(), None) {
        return;
    }
    // Seen from the client: what it sent is what the server received.
    let counts = client.traffic.counts();
    let event = Disconnected {
        kind: "io.nats.server.advisory.v1.client_disconnect",
        id: random_id(),
        timestamp: time(stopped_ns),
        server: ServerPart::new(shared),
        client: ClientPart::new(client, Some(stopped_ns)),
        sent: DataStats::received(counts),
        received: DataStats::sent(counts),
        reason: reason.text(),
    };
    send_json(shared, &system, subject.as_bytes(), &event);
}
