//! The lines that a server logs while it starts. Tools read them, so their wording is nats-server's.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jetkv_go_compat::base62::short_hash;

use crate::interfaces::host_port;
use crate::options::{HandshakeFirst, JetStreamOptions, Options, defaults};
use jetkv_go_compat::friendly_bytes;
use jetkv_go_compat::version::{API_LEVEL, GO_VERSION, SERVER_VERSION};
use jetkv_go_compat::{GoDuration, quoted};

/// Features by name, and whether they are on unless configured otherwise.
const FEATURES: [(&str, bool); 4] = [
    ("js_ack_fc_v2", false),
    ("js_api_reply_v2", false),
    ("js_raft_delete_range", true),
    ("js_snapshot_sources", false),
];

/// Every feature with its state under these options, by name.
pub(crate) fn features(options: &Options) -> BTreeMap<&'static str, bool> {
    let state = |name, default| options.feature_flags.get(name).copied().unwrap_or(default);
    FEATURES.iter().map(|(name, default)| (*name, state(*name, *default))).collect()
}

/// Who starts, and with which configuration. Comes first.
pub(crate) fn log_identity(name: &str, id: &str, options: &Options) {
    tracing::info!("Starting nats-server");
    tracing::info!("  Version:  {SERVER_VERSION}");
    tracing::info!("  Git:      [not set]");
    tracing::debug!("  Go build: {GO_VERSION}");
    tracing::info!("  JetKV:    {}", env!("CARGO_PKG_VERSION"));
    if let Some(cluster) = &options.cluster_name {
        tracing::info!("  Cluster:  {cluster}");
    }
    tracing::info!("  Name:     {name}");
    if options.jetstream.enabled {
        tracing::info!("  Node:     {}", short_hash(name));
    }
    tracing::info!("  ID:       {id}");
    log_features(options);
    if options.has_plain_password() {
        tracing::warn!("Plaintext passwords detected, use nkeys or bcrypt");
    }
    if let Some(file) = &options.config_file {
        let digest = options.config_digest.as_ref().map(|digest| format!("({digest})"));
        tracing::info!("Using configuration file: {file} {}", digest.unwrap_or_default());
    }
    log_operators(options);
    if options.limits.max_payload_bytes.is_some_and(|max| max > defaults::MAX_PAYLOAD_WARN_BYTES) {
        tracing::warn!(
            "Maximum payloads over 8.00 MB are generally discouraged and could lead to poor performance"
        );
    }
    if !options.default_js_domain.is_empty() {
        tracing::warn!(
            "The option `default_js_domain` is a temporary backwards compatibility measure and will be removed"
        );
    }
}

fn log_operators(options: &Options) {
    let operators = &options.operators.operators;
    if operators.is_empty() {
        return;
    }
    tracing::info!("Trusted Operators");
    for operator in operators {
        let claims = &operator.claims;
        let at = |seconds: i64| go_time_text(seconds);
        tracing::info!("  System  : {}", quoted(&claims.aud));
        tracing::info!("  Operator: {}", quoted(&claims.name));
        tracing::info!("  Issued  : {}", at(claims.iat));
        match claims.exp {
            0 => tracing::info!("  Expires : Never"),
            end => tracing::info!("  Expires : {}", at(end)),
        }
    }
    if options.system_account.is_none() {
        tracing::warn!("Trusted Operators should utilize a System Account");
    }
}

/// A moment as Go's logs write it.
fn go_time_text(seconds: i64) -> String {
    let Ok(at) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let at = at.to_zoned(jiff::tz::TimeZone::system());
    at.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

fn log_features(options: &Options) {
    if options.feature_flags.is_empty() {
        return;
    }
    let mut configured = Vec::new();
    let mut unknown = Vec::new();
    for (name, on) in &options.feature_flags {
        let state = match (FEATURES.iter().find(|(known, _)| known == name), on) {
            (None, _) => {
                unknown.push(name.as_str());
                continue;
            }
            (Some((_, true)), true) => "enabled",
            (Some((_, true)), false) => "opt-out",
            (Some((_, false)), true) => "opt-in",
            (Some((_, false)), false) => "disabled",
        };
        configured.push(format!("{name} ({state})"));
    }
    let configured = if configured.is_empty() { "none".to_owned() } else { configured.join(", ") };
    tracing::info!("  Feature flags:");
    tracing::info!("    Configured:    {configured}");
    if !unknown.is_empty() {
        tracing::info!("    Unsupported:   {}", unknown.join(", "));
    }
}

/// JetStream begins to start.
pub(crate) fn log_jetstream_start(is_temporary: bool) {
    tracing::info!("Starting JetStream");
    if is_temporary {
        tracing::warn!("Temporary storage directory used, data could be lost on system reboot");
    }
}

/// The sizes that were found, where the options leave any open.
pub(crate) fn log_jetstream_sizes(options: &JetStreamOptions, memory_bytes: i64, store_bytes: i64) {
    if options.max_memory_bytes <= 0 || options.max_store_bytes <= 0 {
        let (memory, store) = (friendly_bytes(memory_bytes), friendly_bytes(store_bytes));
        tracing::debug!("JetStream creating dynamic configuration - {memory} memory, {store} disk");
    }
}

/// The account that the server itself is in, where the options have none.
pub(crate) fn log_system_account(options: &Options) {
    if options.named_system_account().is_none() && options.system_account_name().is_some() {
        tracing::debug!("Created system account: {}", quoted(defaults::SYSTEM_ACCOUNT));
    }
}

/// What JetStream runs with. `store_dir` is the engine's own directory, sizes are in bytes.
pub(crate) fn log_jetstream(
    options: &Options,
    max_memory_bytes: i64,
    max_store_bytes: i64,
    store_dir: &Path,
) {
    tracing::info!("---------------- JETSTREAM ----------------");
    if options.jetstream.strict {
        tracing::info!("  Strict:          true");
    }
    tracing::info!("  Max Memory:      {}", friendly_bytes(max_memory_bytes));
    tracing::info!("  Max Storage:     {}", friendly_bytes(max_store_bytes));
    tracing::info!("  Store Directory: \"{}\"", store_dir.display());
    if let Some(domain) = &options.jetstream.domain {
        tracing::info!("  Domain:          {domain}");
    }
    if options.jetstream.encryption_key.is_some() {
        tracing::info!("  Encryption:      {}", options.jetstream.cipher);
    }
    tracing::info!("  API Level:       {API_LEVEL}");
    tracing::info!("-------------------------------------------");
    tracing::debug!("  Exports:");
    tracing::debug!("     $JS.API.>");
}

/// JetStream has recovered its streams.
pub(crate) fn log_jetstream_ready(took: Duration) {
    tracing::info!("Took {} to start JetStream", GoDuration::from(took));
}

/// The monitoring pages are served.
pub(crate) fn log_monitoring(is_secure: bool, host: &str, port: u16) {
    let protocol = if is_secure { "https" } else { "http" };
    tracing::info!("Starting {protocol} monitor on {}", host_port(host, port));
}

/// Clients may connect.
pub(crate) fn log_listening(host: &str, port: u16) {
    tracing::info!("Listening for client connections on {}", host_port(host, port));
}

/// Clients may connect over WebSocket, where they can.
pub(crate) fn log_websocket(options: &Options) {
    let Some(websocket) = &options.websocket else { return };
    let scheme = if websocket.tls.is_some() { "wss" } else { "ws" };
    tracing::info!("Listening for websocket clients on {scheme}://{}:{}", websocket.host, websocket.port);
    if websocket.tls.is_none() {
        tracing::warn!("Websocket not configured with TLS. DO NOT USE IN PRODUCTION!");
    }
}

/// Connections may begin with the header of a proxy.
pub(crate) fn log_proxy_protocol(options: &Options) {
    if options.proxy_protocol {
        tracing::info!("PROXY protocol enabled for client connections");
    }
}

/// Whether clients have to use TLS, where they can.
pub(crate) fn log_tls(options: &Options) {
    let Some(tls) = &options.tls else { return };
    let is_first = tls.handshake_first == Some(HandshakeFirst::Always);
    if options.allow_non_tls && !is_first {
        tracing::info!("TLS available for client connections");
    } else {
        tracing::info!("TLS required for client connections");
    }
    if is_first {
        tracing::warn!("Clients that are not using \"TLS Handshake First\" option will fail to connect");
    }
}

/// Everything is recovered, bound and served. Comes last.
pub(crate) fn log_ready() {
    tracing::info!("Server is ready");
}

/// Nobody new is let in from now on.
pub(crate) fn log_accept_end() {
    tracing::debug!("Client accept loop exiting..");
}

/// The server leaves its own account, where it has one.
pub(crate) fn log_system_end(options: &Options) {
    if options.system_account_name().is_some() {
        tracing::debug!("SYSTEM - System connection closed: Client Closed");
    }
}
