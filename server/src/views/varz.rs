//! `/varz`: the server in general.

use std::collections::BTreeMap;
use std::time::Duration;

use jetkv_go_compat::GoTime;
use serde::Serialize;

use super::jetstream::{JetStreamPart, jetstream_part};
use super::json::{Empty, is_default, time, uptime};
use super::page::Page;
use crate::banner;
use crate::claims::OperatorClaims;
use crate::interfaces::host_port;
use crate::options::{LeafnodeRemote, Unserved, UnservedListener, WebsocketOptions, WriteTimeout, defaults};
use crate::snapshot::MonitorSource;
use jetkv_go_compat::version::{GO_VERSION, SERVER_VERSION};

#[derive(Serialize)]
struct Varz<'a> {
    server_id: &'a str,
    server_name: &'a str,
    version: &'static str,
    proto: u32,
    /// Version of the compiler, in the form in which Go writes its own.
    go: &'static str,
    host: &'a str,
    port: i64,
    #[serde(skip_serializing_if = "is_default")]
    auth_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_verify: bool,
    max_connections: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_subscriptions: i64,
    ping_interval: u64,
    ping_max: i64,
    http_host: &'a str,
    http_port: i32,
    http_base_path: &'a str,
    https_port: i32,
    auth_timeout: f64,
    max_control_line: usize,
    max_payload: i32,
    max_pending: i64,
    cluster: ClusterPart,
    gateway: WritesPart,
    leaf: LeafPart,
    mqtt: Empty,
    websocket: WebsocketPart,
    jetstream: JetStreamPart,
    tls_timeout: f64,
    write_deadline: u64,
    #[serde(skip_serializing_if = "is_default")]
    write_timeout: &'static str,
    start: GoTime,
    now: GoTime,
    uptime: String,
    mem: u64,
    cores: usize,
    gomaxprocs: usize,
    cpu: f64,
    #[serde(flatten)]
    traffic: TrafficPart,
    http_req_stats: BTreeMap<&'static str, u64>,
    config_load_time: GoTime,
    config_digest: &'a str,
    #[serde(skip_serializing_if = "is_default")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "is_default")]
    metadata: BTreeMap<String, String>,
    feature_flags: BTreeMap<&'static str, bool>,
    #[serde(skip_serializing_if = "is_default")]
    trusted_operators_jwt: Vec<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    trusted_operators_claim: Vec<&'a OperatorClaims>,
    #[serde(skip_serializing_if = "is_default")]
    system_account: String,
    /// Connections that were refused because of their account.
    #[serde(skip_serializing_if = "is_default")]
    pinned_account_fails: u64,
    slow_consumer_stats: ByKind,
    stale_connection_stats: ByKind,
    disk_io_wait_stats: DiskWaits,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxies: Option<ProxiesPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<GoTime>,
}

/// Proxies whose signatures count.
#[derive(Serialize)]
struct ProxiesPart<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trusted: Vec<ProxyPart<'a>>,
}

impl<'a> ProxiesPart<'a> {
    fn new(keys: &'a [String]) -> Self {
        Self { trusted: keys.iter().map(|key| ProxyPart { key }).collect() }
    }
}

/// A proxy.
#[derive(Serialize)]
struct ProxyPart<'a> {
    key: &'a str,
}

/// Waits in a queue for the disk. There is no such queue, so nobody ever waited.
#[derive(Default, Serialize)]
struct DiskWaits {
    waiters: u64,
    waits: u64,
    wait_time: u64,
    max_wait_time: u64,
}

/// Connections and what went through them.
#[derive(Serialize)]
struct TrafficPart {
    connections: usize,
    total_connections: u64,
    routes: u32,
    remotes: u32,
    leafnodes: usize,
    in_msgs: u64,
    in_bytes: u64,
    in_client_msgs: u64,
    in_client_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
    out_client_msgs: u64,
    out_client_bytes: u64,
    slow_consumers: u64,
    stale_connections: u64,
    stalled_clients: u64,
    subscriptions: u64,
}

/// A count by the kind of connection. There are only clients.
#[derive(Debug, Serialize)]
pub(crate) struct ByKind {
    clients: u64,
    routes: u64,
    gateways: u64,
    leafs: u64,
}

impl ByKind {
    pub(crate) fn clients(clients: u64) -> Self {
        Self { clients, routes: 0, gateways: 0, leafs: 0 }
    }
}

/// The listener for clients that speak WebSocket; empty where there is none.
#[derive(Default, Serialize)]
struct WebsocketPart {
    #[serde(skip_serializing_if = "is_default")]
    host: String,
    #[serde(skip_serializing_if = "is_default")]
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    advertise: String,
    #[serde(skip_serializing_if = "is_default")]
    no_auth_user: String,
    #[serde(skip_serializing_if = "is_default")]
    jwt_cookie: String,
    #[serde(skip_serializing_if = "is_default")]
    handshake_timeout: u64,
    #[serde(skip_serializing_if = "is_default")]
    auth_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    no_tls: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_map: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_pinned_certs: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    same_origin: bool,
    #[serde(skip_serializing_if = "is_default")]
    allowed_origins: Vec<String>,
    #[serde(skip_serializing_if = "is_default")]
    compression: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_cert_not_after: Option<GoTime>,
}

impl WebsocketPart {
    fn new(options: Option<&WebsocketOptions>) -> Self {
        let Some(options) = options else { return Self::default() };
        let auth = &options.auth;
        let pinned = options.tls.iter().flat_map(|tls| tls.pinned_certs.iter().cloned());
        Self {
            host: options.host.clone(),
            port: options.port,
            advertise: options.advertise.clone().unwrap_or_default(),
            no_auth_user: auth.no_auth_user.clone().unwrap_or_default(),
            jwt_cookie: options.cookies.jwt.clone().unwrap_or_default(),
            handshake_timeout: options.handshake_timeout.map_or(0, nanos),
            auth_timeout: auth.timeout.map_or(0.0, |time| time.as_secs_f64()),
            no_tls: options.no_tls,
            tls_map: options.tls.as_ref().is_some_and(|tls| tls.map),
            tls_pinned_certs: pinned.collect(),
            same_origin: options.same_origin,
            allowed_origins: options.allowed_origins.clone(),
            compression: options.compression,
            tls_cert_not_after: options.tls.as_ref().and_then(|tls| tls.identity.not_after()),
        }
    }
}

/// The listener for routes; only the name where there is none.
#[derive(Default, Serialize)]
struct ClusterPart {
    #[serde(skip_serializing_if = "is_default")]
    name: String,
    #[serde(skip_serializing_if = "is_default")]
    addr: String,
    #[serde(skip_serializing_if = "is_default")]
    cluster_port: u16,
    #[serde(skip_serializing_if = "is_default")]
    auth_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    tls_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    pool_size: i64,
    #[serde(flatten)]
    writes: WritesPart,
}

/// The listener for leaf nodes.
#[derive(Default, Serialize)]
struct LeafPart {
    #[serde(skip_serializing_if = "is_default")]
    host: String,
    #[serde(skip_serializing_if = "is_default")]
    port: u16,
    #[serde(skip_serializing_if = "is_default")]
    auth_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    tls_timeout: f64,
    #[serde(skip_serializing_if = "is_default")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_default")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remotes: Vec<RemotePart>,
    #[serde(flatten)]
    writes: WritesPart,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_cert_not_after: Option<GoTime>,
}

/// A server that this one connects to as a leaf node.
#[derive(Serialize)]
struct RemotePart {
    local_account: String,
    #[serde(skip_serializing_if = "is_default")]
    tls_timeout: f64,
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<DenyPart>,
}

/// What does not cross that connection.
#[derive(Serialize)]
struct DenyPart {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<String>,
}

impl RemotePart {
    fn new(remote: &LeafnodeRemote) -> Self {
        let (exports, imports) = (remote.deny_exports.clone(), remote.deny_imports.clone());
        let is_open = exports.is_empty() && imports.is_empty();
        Self {
            local_account: remote.account.clone(),
            tls_timeout: remote.tls.as_ref().map_or(0.0, |tls| tls.timeout.as_secs_f64()),
            urls: remote.urls.iter().map(|url| host_port(&url.host, url.port)).collect(),
            deny: (!is_open).then_some(DenyPart { exports, imports }),
        }
    }
}

/// How long writes to routes may take. nats-server v2.15.2 shows it of gateways and leaf nodes, too (observed).
#[derive(Clone, Copy, Default, Serialize)]
struct WritesPart {
    #[serde(skip_serializing_if = "is_default")]
    write_deadline: u64,
    #[serde(skip_serializing_if = "is_default")]
    write_timeout: &'static str,
}

impl WritesPart {
    fn new(listener: &UnservedListener) -> Self {
        Self { write_deadline: nanos(listener.write_deadline), write_timeout: policy(listener.write_timeout) }
    }
}

fn cluster_part(
    source: &MonitorSource,
    name: Option<&String>,
    listener: Option<&UnservedListener>,
) -> ClusterPart {
    let name = name.cloned().unwrap_or_default();
    let Some(listener) = listener else { return ClusterPart { name, ..ClusterPart::default() } };
    ClusterPart {
        name,
        addr: listener.host.clone(),
        cluster_port: source.bound_unserved_port(listener.feature),
        auth_timeout: listener.auth_timeout.as_secs_f64(),
        tls_timeout: defaults::TLS_TIMEOUT.as_secs_f64(),
        pool_size: listener.pool_size,
        writes: WritesPart::new(listener),
    }
}

fn leaf_part(source: &MonitorSource, writes: WritesPart, listener: Option<&UnservedListener>) -> LeafPart {
    let options = source.options();
    let remotes = options.leafnodes.remotes.iter().map(RemotePart::new).collect();
    let Some(listener) = listener else { return LeafPart { writes, remotes, ..LeafPart::default() } };
    let tls = options.leafnodes.tls.as_ref();
    LeafPart {
        remotes,
        tls_required: tls.is_some(),
        tls_verify: tls.is_some_and(|tls| tls.verify),
        tls_cert_not_after: tls.and_then(|tls| tls.identity.not_after()),
        host: listener.host.clone(),
        port: source.bound_unserved_port(listener.feature),
        auth_timeout: listener.auth_timeout.as_secs_f64(),
        tls_timeout: tls.map_or(defaults::TLS_TIMEOUT, |tls| tls.timeout).as_secs_f64(),
        writes,
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn policy(of: WriteTimeout) -> &'static str {
    match of {
        WriteTimeout::Default => "",
        WriteTimeout::Close => "close",
        WriteTimeout::Retry => "retry",
    }
}

pub(super) fn page(source: &MonitorSource) -> Page {
    let options = source.options();
    // Zero stands for any free port, which nats-server calls -1.
    let monitor_port = options.monitor.port.map_or(0, |port| if port == 0 { -1 } else { i32::from(port) });
    let counts = source.counts();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let unserved = |feature| options.unserved_listeners.iter().find(|listener| listener.feature == feature);
    let routes = unserved(Unserved::Cluster);
    let writes = routes.map(WritesPart::new).unwrap_or_default();
    let start = time(source.started_at());
    let (host, port) = source.advertised();
    let operators = &options.operators.operators;
    Page::json(&Varz {
        server_id: source.server_id(),
        server_name: source.server_name(),
        version: SERVER_VERSION,
        proto: 1,
        go: GO_VERSION,
        host: &host,
        port,
        auth_required: source.auth_required(),
        tls_required: options.tls.is_some() && !options.allow_non_tls,
        tls_verify: options.tls.as_ref().is_some_and(|tls| tls.verify),
        max_connections: options.limits.max_connections,
        max_subscriptions: options.limits.max_subscriptions,
        ping_interval: nanos(options.limits.ping_interval),
        ping_max: options.limits.ping_max,
        http_host: &options.monitor.host,
        http_port: if options.monitor.secure { 0 } else { monitor_port },
        http_base_path: if options.monitor.base_path == "/" { "" } else { &options.monitor.base_path },
        https_port: if options.monitor.secure { monitor_port } else { 0 },
        auth_timeout: options.auth.timeout.as_secs_f64(),
        max_control_line: options.limits.max_control_line_bytes,
        max_payload: options.limits.shown_max_payload(),
        max_pending: options.limits.max_pending_bytes,
        cluster: cluster_part(source, options.cluster_name.as_ref(), routes),
        gateway: writes,
        leaf: leaf_part(source, writes, unserved(Unserved::Leafnodes)),
        mqtt: Empty {},
        websocket: WebsocketPart::new(options.websocket.as_ref()),
        jetstream: jetstream_part(source),
        tls_timeout: options.tls.as_ref().map_or(defaults::TLS_TIMEOUT, |tls| tls.timeout).as_secs_f64(),
        write_deadline: nanos(options.limits.write_deadline),
        write_timeout: policy(options.limits.write_timeout),
        start,
        now: time(source.now()),
        uptime: uptime(source.uptime()),
        mem: counts.usage.memory_bytes,
        cores,
        gomaxprocs: cores,
        cpu: (counts.usage.cpu_percent * 10.0).round() / 10.0,
        traffic: traffic(source, &counts),
        http_req_stats: source.visits().counts(),
        config_load_time: time(source.configured_at()),
        config_digest: options.config_digest.as_deref().unwrap_or_default(),
        tags: &options.tags,
        metadata: options.metadata.clone(),
        feature_flags: banner::features(&options),
        trusted_operators_jwt: operators.iter().map(|operator| operator.token.as_str()).collect(),
        trusted_operators_claim: operators.iter().map(|operator| &operator.claims).collect(),
        system_account: source.system_account().map(|account| account.name().to_owned()).unwrap_or_default(),
        pinned_account_fails: source.pinned_account_failures(),
        slow_consumer_stats: ByKind::clients(counts.slow_consumers),
        stale_connection_stats: ByKind::clients(counts.stale_connections),
        disk_io_wait_stats: DiskWaits::default(),
        proxies: options.trusted_proxies.as_deref().map(ProxiesPart::new),
        tls_cert_not_after: options.tls.as_ref().and_then(|tls| tls.identity.not_after()),
    })
}

fn traffic(source: &MonitorSource, counts: &crate::snapshot::ServerCounts) -> TrafficPart {
    let traffic = counts.traffic;
    // What is of others is counted a moment after all of it.
    let leafs = source.leafnode_traffic();
    let of_clients = |all: u64, leafs: u64| all.saturating_sub(leafs);
    TrafficPart {
        connections: counts.connections,
        total_connections: counts.total_connections,
        routes: 0,
        remotes: 0,
        leafnodes: source.leafnodes().len(),
        in_msgs: traffic.in_msgs,
        in_bytes: traffic.in_bytes,
        in_client_msgs: of_clients(traffic.in_msgs, leafs.in_msgs),
        in_client_bytes: of_clients(traffic.in_bytes, leafs.in_bytes),
        out_msgs: traffic.out_msgs,
        out_bytes: traffic.out_bytes,
        out_client_msgs: of_clients(traffic.out_msgs, leafs.out_msgs),
        out_client_bytes: of_clients(traffic.out_bytes, leafs.out_bytes),
        slow_consumers: counts.slow_consumers,
        stale_connections: counts.stale_connections,
        stalled_clients: counts.stalls,
        subscriptions: counts.subscriptions,
    }
}
