//! The system account: advisories about connections, and questions about the server.

mod advisories;
mod encoding;
mod heartbeat;
mod message_trace;
mod model;
mod pages;
mod reload;
mod requests;
mod stats;

pub(crate) use advisories::{
    api_limit_reached, connected, connections_changed, disconnected, lame_duck, refused, refused_by,
    refused_in_account, shutting_down,
};
pub(crate) use heartbeat::beat;
pub(crate) use message_trace::{AwaitedTrace, Egress, MessageTrace};
pub(crate) use model::{ServerPart, client_info};
pub(crate) use reload::answer_reload;
pub(crate) use requests::{is_request, serve};

use std::sync::Arc;

use jetkv_go_compat::json;
use jetkv_jetstream::{ClientInfo, OutMsg};
use serde::Serialize;

use crate::connections::TraceOptions;
use crate::crossing::{self, Landing};
use crate::router::{Account, Crossing, Origin};
use crate::state::Shared;

/// Sends a message of the server itself within an account. Streams may capture it.
fn send(shared: &Arc<Shared>, account: &Account, subject: &[u8], headers: &[u8], payload: &[u8]) {
    let msg = OutMsg { to: subject, subject, reply: b"", headers, payload };
    trace(shared, account, msg);
    let mut ways = Vec::new();
    ServerLanding { shared }.route(account, Origin::Server, &msg, &mut ways);
    if !ways.is_empty()
        && let Some(account) = shared.accounts.get(account.id())
    {
        cross(shared, &account, &msg, ways);
    }
}

/// Makes a request of the server itself within an account, and in others whose services it imports. It leaves at the end of
/// the thread's turn.
pub(crate) fn request(shared: &Arc<Shared>, account: &Arc<Account>, msg: &OutMsg<'_>) {
    trace(shared, account, *msg);
    let mut ways = Vec::new();
    ServerLanding { shared }.route(account, Origin::Server, msg, &mut ways);
    if !ways.is_empty() {
        cross(shared, account, msg, ways);
    }
}

/// Has a message of the server itself go into other accounts; tells whether anyone got it there.
#[cold]
pub(crate) fn cross(
    shared: &Arc<Shared>,
    account: &Arc<Account>,
    msg: &OutMsg<'_>,
    ways: Vec<Crossing>,
) -> bool {
    crossing::cross(shared, &mut ServerLanding { shared }, publish, account, msg, ways)
}

/// Sends a message of the server itself within an account, and into others that import it.
pub(crate) fn publish(shared: &Arc<Shared>, account: &Arc<Account>, subject: &[u8], payload: &[u8]) {
    send(shared, account, subject, b"", payload);
}

/// Where messages of the server itself come in.
struct ServerLanding<'a> {
    shared: &'a Arc<Shared>,
}

impl ServerLanding<'_> {
    fn route(
        &self,
        account: &Account,
        origin: Origin<'_>,
        msg: &OutMsg<'_>,
        ways: &mut Vec<Crossing>,
    ) -> bool {
        let has_jetstream = self.shared.jetstream().is_some();
        crossing::route_own(self.shared, account, origin, msg, ways, |worker, stream, msg| {
            if has_jetstream {
                worker.defer(stream, *msg);
            }
        })
    }
}

impl Landing for ServerLanding<'_> {
    /// Requests that the server makes itself are for those who subscribe.
    fn land(
        &mut self,
        account: &Arc<Account>,
        msg: &OutMsg<'_>,
        _: Option<&ClientInfo>,
        onward: &mut Vec<Crossing>,
    ) -> bool {
        self.route(account, Origin::Crossed(None), msg, onward)
    }

    fn sender(&self) -> Option<ClientInfo> {
        None
    }
}

fn send_json(shared: &Arc<Shared>, account: &Account, subject: &[u8], value: &impl Serialize) {
    send(shared, account, subject, b"", &json::to_vec(value));
}

/// Logs a message of the server itself: that of another account with every connection's, that of the system account
/// only when all is to be traced.
fn trace(shared: &Shared, account: &Account, msg: OutMsg<'_>) {
    let options = shared.options();
    let is_system = shared.accounts.is_system(account.id());
    let Some(traced) = TraceOptions::new(&options.log).filter(|_| !is_system || options.log.trace_verbose)
    else {
        return;
    };
    let label = if is_system { "SYSTEM" } else { "ACCOUNT" };
    let size_bytes = msg.headers.len() + msg.payload.len();
    tracing::trace!("{label} - <<- [PUB {}  {size_bytes}]", String::from_utf8_lossy(msg.subject));
    if let Some(content) = traced.content(msg.headers, msg.payload) {
        tracing::trace!("{label} - <<- MSG_PAYLOAD: [{content}]");
    }
}
