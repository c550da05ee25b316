//! What the server answers on `$SYS.REQ.>`.

use std::sync::Arc;

use jetkv_jetstream::OutMsg;
use jetkv_jetstream::json::GoTime;
use serde::Serialize;

use super::model::{DataStats, PermissionsPart, ServerPart, time};
use super::{pages, send_json};
use crate::net::Client;
use crate::router::Account;
use crate::snapshot::ProcessUsage;
use crate::state::Shared;
use crate::traffic::TrafficCounts;

const PREFIX: &[u8] = b"$SYS.REQ.";

#[derive(Debug, Serialize)]
struct Answer<T> {
    server: ServerPart,
    data: T,
}

#[derive(Debug, Serialize)]
struct UserInfo {
    user: String,
    account: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    account_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<PermissionsPart>,
}

#[derive(Debug, Serialize)]
struct ServerId<'a> {
    name: &'a str,
    host: String,
    id: &'a str,
}

#[derive(Debug, Serialize)]
struct ServerStatsAnswer {
    server: ServerPart,
    statsz: ServerStats,
}

#[derive(Debug, Serialize)]
struct AccountStats {
    server_id: String,
    now: GoTime,
    account_statz: Vec<AccountStat>,
}

/// Numbers of one account.
#[derive(Debug, Serialize)]
struct AccountStat {
    acc: String,
    name: String,
    conns: usize,
    leafnodes: usize,
    total_conns: usize,
    num_subscriptions: usize,
    sent: SplitStats,
    received: SplitStats,
    slow_consumers: i64,
}

/// All traffic, and the parts of it to and from other servers, which there are none of.
#[derive(Debug, Serialize)]
struct SplitStats {
    #[serde(flatten)]
    all: DataStats,
    gateways: DataStats,
    routes: DataStats,
    leafs: DataStats,
}

impl SplitStats {
    fn new(all: DataStats) -> Self {
        let none = DataStats::received(TrafficCounts::default());
        Self { all, gateways: none, routes: none, leafs: none }
    }
}

impl AccountStat {
    fn new(account: &Account) -> Self {
        let counts = account.traffic.counts();
        let connections = account.client_count();
        Self {
            acc: account.name().to_owned(),
            name: account.name().to_owned(),
            conns: connections,
            leafnodes: 0,
            total_conns: connections,
            num_subscriptions: account.subscription_count(),
            sent: SplitStats::new(DataStats::sent(counts)),
            received: SplitStats::new(DataStats::received(counts)),
            slow_consumers: account.slow_consumers(),
        }
    }
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
    subscriptions: usize,
    sent: DataStats,
    sent_to_clients: DataStats,
    received: DataStats,
    received_from_clients: DataStats,
    slow_consumers: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stale_connections: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stalled_clients: u64,
    active_servers: usize,
}

/// Whether a subject is one that requests to the server are made on.
pub(crate) fn is_request(subject: &[u8]) -> bool {
    subject.starts_with(PREFIX)
}

/// Answers a request; tells whether it is one that is answered. Without a reply subject nothing is sent.
pub(crate) fn serve(shared: &Arc<Shared>, client: &Client, request: OutMsg<'_>) -> bool {
    let Some(rest) = request.to.strip_prefix(PREFIX) else { return false };
    if shared.accounts.system().is_none() {
        return false;
    }
    let account = client.account();
    let is_system = shared.accounts.is_system(account.id());
    match rest {
        b"USER.INFO" => answer(shared, &account, request.reply, || user_info(shared, client)),
        b"ACCOUNT.PING.STATZ" => {
            answer(shared, &account, request.reply, || {
                account_stats(shared, (!is_system).then_some(&account))
            });
        }
        _ => return is_system && serve_system(shared, &account, rest, request),
    }
    true
}

fn serve_system(shared: &Arc<Shared>, account: &Account, rest: &[u8], request: OutMsg<'_>) -> bool {
    let reply = request.reply;
    let Some(question) = rest.strip_prefix(b"SERVER.") else { return false };
    let own_id = shared.identity.id.as_bytes();
    let question = match question {
        b"PING" => b"STATSZ",
        _ => match question
            .strip_prefix(b"PING.")
            .or_else(|| question.strip_prefix(own_id)?.strip_prefix(b"."))
        {
            Some(question) => question,
            None => return false,
        },
    };
    match question {
        b"STATSZ" => answer(shared, account, reply, || ServerStatsAnswer {
            server: ServerPart::new(shared),
            statsz: server_stats(shared),
        }),
        b"IDZ" => answer(shared, account, reply, || ServerId {
            name: &shared.identity.name,
            host: shared.listening().0,
            id: &shared.identity.id,
        }),
        _ => {
            let Some(path) = pages::path(question) else { return false };
            if !reply.is_empty()
                && let Some(page) = pages::answer(shared, path, request.payload)
            {
                send_json(shared, account, reply, &page);
            }
        }
    }
    true
}

fn answer<T: Serialize>(shared: &Shared, account: &Account, reply: &[u8], make: impl FnOnce() -> T) {
    if !reply.is_empty() {
        send_json(shared, account, reply, &make());
    }
}

fn user_info(shared: &Shared, client: &Client) -> Answer<UserInfo> {
    let identity = client.identity();
    let permissions = shared.auth().permissions(&identity.user);
    let account = identity.account.name().to_owned();
    Answer {
        server: ServerPart::new(shared),
        data: UserInfo {
            user: identity.user,
            account_name: account.clone(),
            account,
            permissions: permissions.map(|permissions| PermissionsPart::new(permissions.configured())),
        },
    }
}

/// Numbers of one account, or of all that have connections.
fn account_stats(shared: &Shared, only: Option<&Account>) -> Answer<AccountStats> {
    let account_statz = match only {
        Some(account) => vec![AccountStat::new(account)],
        None => {
            let all = shared.accounts.all();
            all.iter().map(|account| AccountStat::new(account)).filter(|stat| stat.conns > 0).collect()
        }
    };
    Answer {
        server: ServerPart::new(shared),
        data: AccountStats {
            server_id: shared.identity.id.clone(),
            now: time(shared.clock.now_ns()),
            account_statz,
        },
    }
}

fn server_stats(shared: &Shared) -> ServerStats {
    let counts = shared.counters.traffic.counts();
    let usage = ProcessUsage::now();
    let accounts = shared.accounts.all();
    ServerStats {
        start: time(shared.identity.started_ns),
        mem: usage.memory_bytes,
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        cpu: usage.cpu_percent,
        connections: shared.client_count(),
        total_connections: shared.counters.total_connections(),
        active_accounts: accounts.iter().filter(|account| account.client_count() > 0).count(),
        subscriptions: accounts.iter().map(|account| account.subscription_count()).sum(),
        sent: DataStats::sent(counts),
        sent_to_clients: DataStats::sent(counts),
        received: DataStats::received(counts),
        received_from_clients: DataStats::received(counts),
        slow_consumers: shared.counters.slow_consumers(),
        stale_connections: shared.counters.stale_connections(),
        stalled_clients: shared.counters.stalls(),
        active_servers: 1,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields out by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
