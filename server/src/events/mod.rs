//! The system account: advisories about connections, and questions about the server.

mod advisories;
mod heartbeat;
mod model;
mod pages;
mod reload;
mod requests;
mod stats;

pub(crate) use advisories::{
    api_limit_reached, connected, connections_changed, disconnected, lame_duck, refused, shutting_down,
};
pub(crate) use heartbeat::beat;
pub(crate) use model::client_info;
pub use reload::ReloadAsk;
pub(crate) use reload::ReloadAsks;
pub(crate) use requests::{is_request, serve};

use jetkv_go_compat::json;
use jetkv_jetstream::OutMsg;
use serde::Serialize;

use crate::net::TraceOptions;
use crate::router::{Account, Origin, RouteCache, route};
use crate::state::Shared;
use crate::worker;

/// Sends a message of the server itself within an account. Streams may capture it.
fn send(shared: &Shared, account: &Account, subject: &[u8], headers: &[u8], payload: &[u8]) {
    let msg = OutMsg { to: subject, subject, reply: b"", headers, payload };
    trace(shared, account, msg);
    let mut cache = RouteCache::default();
    let has_jetstream = shared.jetstream().is_some();
    let routed = worker::with(|worker| {
        route(cache.matches(account, subject), Origin::Server, &msg, &worker.touched, |stream| {
            if has_jetstream {
                worker.defer(stream, msg);
            }
        })
    });
    let bytes = routed.sent_msgs * (headers.len() + payload.len()) as u64;
    account.traffic.sent(routed.sent_msgs, bytes);
    shared.counters.traffic.sent(routed.sent_msgs, bytes);
}

fn send_json(shared: &Shared, account: &Account, subject: &[u8], value: &impl Serialize) {
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
