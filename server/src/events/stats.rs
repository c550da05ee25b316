//! Numbers of the whole server, on request and from time to time.

use std::sync::Arc;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::OutMsg;
use serde::Serialize;

use super::model::{DataStats, ServerPart, time};
use super::{pages, send_json};
use crate::router::Account;
use crate::snapshot::{MonitorSource, ProcessUsage};
use crate::state::Shared;
use crate::views::{self, ByKind, JetStreamPart};

#[derive(Debug, Serialize)]
struct ServerStatsAnswer {
    server: ServerPart,
    statsz: ServerStats,
}

/// Numbers of the whole server.
#[derive(Debug, Serialize)]
struct ServerStats {
    start: GoTime,
    mem: u64,
    cores: usize,
    cpu: f64,
    connections: usize,
    total_connections: u64,
    active_accounts: usize,
    subscriptions: u64,
    sent: DataStats,
    sent_to_clients: DataStats,
    received: DataStats,
    received_from_clients: DataStats,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    slow_consumer_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_zero")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_connection_stats: Option<ByKind>,
    #[serde(skip_serializing_if = "is_zero")]
    stalled_clients: u64,
    active_servers: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    jetstream: Option<JetStreamPart>,
    gomaxprocs: usize,
}

/// `None` where there is nothing to count.
fn some_clients(clients: u64) -> Option<ByKind> {
    (clients > 0).then(|| ByKind::clients(clients))
}

/// Where the server tells its numbers by itself.
fn subject(shared: &Arc<Shared>) -> String {
    format!("$SYS.SERVER.{}.STATSZ", shared.identity.id)
}

/// Answers a request. Without a reply subject everybody who listens is told.
pub(super) fn answer(shared: &Arc<Shared>, account: &Account, request: OutMsg<'_>) {
    if let Some(answer) = pages::refusal(shared, "server.StatszEventOptions", request.payload) {
        if let (Some(refused), false) = (answer, request.reply.is_empty()) {
            send_json(shared, account, request.reply, &refused);
        }
    } else if request.reply.is_empty() {
        tell(shared);
    } else {
        send_json(shared, account, request.reply, &message(shared));
    }
}

/// Tells whoever listens in the system account.
pub(super) fn tell(shared: &Arc<Shared>) {
    let Some(system) = shared.accounts.system() else { return };
    let subject = subject(shared);
    if system.has_interest(subject.as_bytes(), None) {
        send_json(shared, &system, subject.as_bytes(), &message(shared));
    }
}

fn message(shared: &Arc<Shared>) -> ServerStatsAnswer {
    ServerStatsAnswer { server: ServerPart::new(shared), statsz: server_stats(shared) }
}

fn server_stats(shared: &Arc<Shared>) -> ServerStats {
    let counts = shared.counters.traffic.counts();
    let usage = ProcessUsage::now();
    let accounts = shared.accounts.all();
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let source = MonitorSource::new(Arc::clone(shared));
    ServerStats {
        start: time(shared.identity.started_at),
        mem: usage.memory_bytes,
        cores,
        cpu: usage.cpu_percent,
        connections: shared.client_count(),
        total_connections: shared.counters.total_connections(),
        active_accounts: accounts.iter().filter(|account| account.client_count() > 0).count(),
        subscriptions: source.subscription_counts(None).present,
        sent: DataStats::sent(counts),
        sent_to_clients: DataStats::sent(counts),
        received: DataStats::received(counts),
        received_from_clients: DataStats::received(counts),
        slow_consumers: shared.counters.slow_consumers(),
        slow_consumer_stats: some_clients(shared.counters.slow_consumers()),
        stale_connections: shared.counters.stale_connections(),
        stale_connection_stats: some_clients(shared.counters.stale_connections()),
        stalled_clients: shared.counters.stalls(),
        active_servers: 1,
        jetstream: views::statistics_part(&source),
        gomaxprocs: cores,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
