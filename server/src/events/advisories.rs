//! What the system account hears of by itself.

use std::sync::Arc;

use serde::Serialize;

use super::model::{ClientPart, DataStats, ServerPart, time};
use super::send_json;
use crate::connections::{CloseReason, ConnectionHandle};
use crate::options::defaults;
use crate::router::Account;
use crate::snapshot::count_subscriptions;
use crate::state::{Shared, random_id};
use crate::views::AccountStat;
use jetkv_go_compat::GoTime;
use jetkv_jetstream::WallNs;

/// What every advisory begins with.
#[derive(Debug, Serialize)]
struct Head {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: GoTime,
}

impl Head {
    fn new(kind: &'static str, at: WallNs) -> Self {
        Self { kind, id: random_id(), timestamp: time(at) }
    }
}

#[derive(Debug, Serialize)]
struct Connected {
    #[serde(flatten)]
    head: Head,
    server: ServerPart,
    client: ClientPart,
}

#[derive(Debug, Serialize)]
struct Disconnected<'a> {
    #[serde(flatten)]
    head: Head,
    server: ServerPart,
    client: ClientPart,
    sent: DataStats,
    received: DataStats,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Connections<'a> {
    #[serde(flatten)]
    head: &'a Head,
    server: ServerPart,
    #[serde(flatten)]
    stat: &'a AccountStat,
}

#[derive(Debug, Serialize)]
struct ApiLimitReached<'a> {
    #[serde(flatten)]
    head: Head,
    server: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    domain: &'a str,
    dropped: u64,
}

/// The number of an account's connections changed, or it is time to tell it again. Nobody is told of the global
/// account.
pub(crate) fn connections_changed(shared: &Arc<Shared>, account: &Account) {
    let Some(system) = shared.accounts.system().filter(|_| account.name() != defaults::GLOBAL_ACCOUNT) else {
        return;
    };
    let old = format!("$SYS.SERVER.ACCOUNT.{}.CONNS", account.name());
    let new = format!("$SYS.ACCOUNT.{}.SERVER.CONNS", account.name());
    send_connections(shared, account, &system, &[old.as_bytes(), new.as_bytes()]);
}

/// Tells the number of connections of `account` on `subjects` within the account `to`.
pub(super) fn send_connections(shared: &Arc<Shared>, account: &Account, to: &Account, subjects: &[&[u8]]) {
    let Some(stat) = subjects
        .iter()
        .any(|subject| to.has_interest(subject, None))
        .then(|| AccountStat::new(account, count_subscriptions(shared, account).present))
    else {
        return;
    };
    let head = Head::new("io.nats.server.advisory.v1.account_connections", shared.clock.wall());
    for subject in subjects {
        let event = Connections { head: &head, server: ServerPart::new(shared), stat: &stat };
        send_json(shared, to, subject, &event);
    }
}

/// Lame duck mode begins.
pub(crate) fn lame_duck(shared: &Arc<Shared>) {
    about_server(shared, "LAMEDUCK");
}

/// The server stops.
pub(crate) fn shutting_down(shared: &Arc<Shared>) {
    about_server(shared, "SHUTDOWN");
}

fn about_server(shared: &Arc<Shared>, what: &str) {
    let Some(system) = shared.accounts.system() else { return };
    let subject = format!("$SYS.SERVER.{}.{what}", shared.identity.id);
    if system.has_interest(subject.as_bytes(), None) {
        send_json(shared, &system, subject.as_bytes(), &ServerPart::new(shared));
    }
}

/// Requests of the JetStream API were dropped because too many were waiting.
pub(crate) fn api_limit_reached(shared: &Arc<Shared>, dropped: u64) {
    const SUBJECT: &[u8] = b"$JS.EVENT.ADVISORY.API.LIMIT_REACHED";
    let Some(system) = shared.accounts.system().filter(|system| system.has_interest(SUBJECT, None)) else {
        return;
    };
    let options = shared.options();
    let event = ApiLimitReached {
        head: Head::new("io.nats.jetstream.advisory.v1.api_limit_reached", shared.clock.wall()),
        server: &shared.identity.name,
        domain: options.jetstream.domain.as_deref().unwrap_or_default(),
        dropped,
    };
    send_json(shared, &system, SUBJECT, &event);
}

/// A client came in.
pub(crate) fn connected(shared: &Arc<Shared>, client: &dyn ConnectionHandle) {
    let Some(system) = shared.accounts.system() else { return };
    let subject = format!("$SYS.ACCOUNT.{}.CONNECT", client.account().name());
    if !system.has_interest(subject.as_bytes(), None) {
        return;
    }
    let event = Connected {
        head: Head::new("io.nats.server.advisory.v1.client_connect", shared.clock.wall()),
        server: ServerPart::new(shared),
        client: ClientPart::new(client, None),
    };
    send_json(shared, &system, subject.as_bytes(), &event);
}

/// A client went.
pub(crate) fn disconnected(
    shared: &Arc<Shared>,
    client: &dyn ConnectionHandle,
    reason: CloseReason,
    stopped: WallNs,
) {
    let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", client.account().name());
    if let Some(system) = shared.accounts.system() {
        gone(shared, client, client.account().name(), reason.text(), stopped, &system, &subject);
    }
}

/// A client was refused: the account that it is in, or in until it is let in, hears of it.
pub(crate) fn refused_in_account(shared: &Arc<Shared>, client: &dyn ConnectionHandle, reason: CloseReason) {
    refused_by(shared, client, &client.account(), reason.text());
}

/// A client was refused: an account hears of it, and why.
pub(crate) fn refused_by(
    shared: &Arc<Shared>,
    client: &dyn ConnectionHandle,
    account: &Account,
    reason: &str,
) {
    if shared.accounts.system().is_some() {
        let now = shared.clock.wall();
        gone(shared, client, account.name(), reason, now, account, "$SYS.ACCOUNT.CLIENT.AUTH.ERR");
    }
}

/// A client was refused: the system account hears of it.
pub(crate) fn refused(shared: &Arc<Shared>, client: &dyn ConnectionHandle, reason: CloseReason) {
    let Some(system) = shared.accounts.system() else { return };
    let (now, account) = (shared.clock.wall(), client.account());
    let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", shared.identity.id);
    gone(shared, client, account.name(), reason.text(), now, &system, &subject);
}

fn gone(
    shared: &Arc<Shared>,
    client: &dyn ConnectionHandle,
    account: &str,
    reason: &str,
    stopped: WallNs,
    to: &Account,
    subject: &str,
) {
    if !to.has_interest(subject.as_bytes(), None) {
        return;
    }
    // Seen from the client: what it sent is what the server received.
    let counts = client.traffic();
    let event = Disconnected {
        head: Head::new("io.nats.server.advisory.v1.client_disconnect", stopped),
        server: ServerPart::new(shared),
        client: ClientPart::new(client, Some(stopped)).in_account(account),
        sent: DataStats::received(counts),
        received: DataStats::sent(counts),
        reason,
    };
    send_json(shared, to, subject.as_bytes(), &event);
}
