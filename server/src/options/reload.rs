//! What a changed configuration changes in a running server, and what it cannot change.
//!
//! Which options can change, the order in which they are looked at, and all texts are those of nats-server v2.15.2,
//! observed. Of the flags that were given when the server started most win over the file again, see
//! [`CommandLine::reload`](super::CommandLine::reload).
//!
//! Every struct of options is taken apart field by field, so that an option that comes does not compile until it says
//! here what a reload does with it.

mod differences;
mod leafnodes;
#[cfg(test)]
mod tests;

use super::auth_model::{AuthCallout, AuthOptions, NkeyUserOptions};
use super::defaults;
use super::host_and_port;
use super::jetstream_model::JetStreamOptions;
use super::lab_model::LabOptions;
use super::listener_model::{Unserved, UnservedListener};
use super::model::{LimitOptions, LogOptions, MonitorOptions, Options};
use super::operator_model::{OperatorOptions, ResolverOptions, TrustedOperator};
use super::remote_tls::RemoteTls;
use super::tls_model::{HandshakeFirst, TlsOptions};
use super::websocket_model::WebsocketOptions;
use differences::{Differences, Field, Pair, Shown, pairs};

/// One thing that changes, and what has to be done about it beyond using the new options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What has to be done.
    pub action: Action,
    /// The line to log, at level info.
    pub line: String,
}

/// What a change asks for beyond using the new options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// The log takes its options again.
    Log,
    /// The log as well, and connections learn anew whether they are traced.
    Trace,
    /// Users and accounts are compared; connections that are no longer allowed are closed.
    Authorization,
    /// Connections beyond the limit are closed.
    MaxConnections,
    /// INFO takes the new address.
    ClientAdvertise,
    /// The process id is written to the new file.
    PidFile,
    /// The ports file moves to the new directory.
    PortsFile,
    /// JetStream is started or shut down.
    JetStream,
    /// Other servers are connected to that were not, or no longer.
    Remotes,
}

/// Why a running server cannot take new options. The text is nats-server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(String);

/// Compares the options of a running server with new ones. `old.port` is the bound one; a new port of 0 stands for
/// it and is replaced by it. `jetstream_runs` tells whether the engine runs now.
///
/// # Errors
/// The first option, in nats-server's order, that a running server cannot change.
pub(crate) fn diff(
    old: &Options,
    new: &mut Options,
    jetstream_runs: bool,
) -> Result<Vec<Change>, ReloadError> {
    if new.port == 0 {
        new.port = old.port;
    }
    if let (Some(old), Some(new)) = (&old.websocket, &mut new.websocket)
        && new.port == 0
    {
        new.port = old.port;
    }
    if !new.jetstream.enabled {
        new.jetstream.max_concurrent_io = old.jetstream.max_concurrent_io;
    }
    let mut found = Differences::default();
    server(old, new, jetstream_runs, &mut found);
    found.in_order()
}

fn server(old: &Options, new: &Options, jetstream_runs: bool, found: &mut Differences) {
    pairs!(old, new => Options {
        config_file, config_digest, server_name, host, port, client_advertise, log, limits, auth, accounts,
        mappings, cluster_name, system_account, no_system_account, operators, tls,
        allow_non_tls, trusted_proxies, proxy_protocol, websocket, monitor, jetstream, pid_file, ports_file_dir, lame_duck_duration,
        lame_duck_grace_period, no_sublist_cache, no_header_support, connect_error_reports, reconnect_error_reports,
        tags, metadata, feature_flags, default_js_domain, unserved_listeners, leafnodes, lab, look, origin,
    });
    // What the options were read from is no option.
    let _ = (config_file, config_digest, origin);
    // The environment of a running server is the one that it was started with.
    let _ = look;
    found.fixed(Field::ServerName, server_name, Shown::text);
    found.fixed(Field::Host, host, Shown::plain);
    found.fixed(Field::Port, port, Shown::plain);
    if let Some(advertised) = client_advertise.new
        && client_advertise.differ()
        && let Err(reason) = host_and_port(advertised, new.port)
    {
        let text = format!("invalid ClientAdvertise value of {advertised}, err={reason}");
        found.fail(Field::ClientAdvertise, text);
    } else if client_advertise.differ() {
        let line = format!("Reload: client_advertise = {}", Shown::text(client_advertise.new));
        found.change(Field::ClientAdvertise, Action::ClientAdvertise, line);
    }
    proxies(trusted_proxies, found);
    found.fixed(Field::ProxyProtocol, proxy_protocol, Shown::plain);
    found.fixed(Field::NoSublistCache, no_sublist_cache, Shown::plain);
    found.fixed(Field::NoHeaderSupport, no_header_support, Shown::plain);
    // Whether accounts differ is found out connection by connection; it is always said.
    // What belongs to them is with them.
    let _ = (accounts, mappings);
    found.change(Field::Accounts, Action::Authorization, "Reloaded: accounts");
    // An account by the reserved name makes itself the system account only once it is taken over.
    let named = old.named_system_account();
    if !(named == Some(defaults::SYSTEM_ACCOUNT) && system_account.new.is_none()) {
        let named = named.map(str::to_owned);
        found.fixed(Field::SystemAccount, Pair { old: &named, new: system_account.new }, Shown::text);
    }
    found.fixed(Field::NoSystemAccount, no_system_account, Shown::plain);
    operator_options(operators.old, operators.new, found);
    found.fixed(Field::JsAccDefaultDomain, default_js_domain, Shown::map);
    if pid_file.new.is_some() {
        found.value(Field::PidFile, Action::PidFile, "pid_file", pid_file, Shown::path);
    }
    found.value(Field::PortsFileDir, Action::PortsFile, "ports_file_dir", ports_file_dir, Shown::path);
    found.fixed(Field::LameDuckDuration, lame_duck_duration, Shown::duration);
    found.fixed(Field::LameDuckGracePeriod, lame_duck_grace_period, Shown::duration);
    let reports = (connect_error_reports, reconnect_error_reports);
    let nothing = Action::Nothing;
    found.value(Field::ConnectErrorReports, nothing, "connect_error_reports", reports.0, Shown::plain);
    found.value(Field::ReconnectErrorReports, nothing, "reconnect_error_reports", reports.1, Shown::plain);
    found.name(Field::Tags, "tags", tags);
    found.name(Field::Metadata, "metadata", metadata);
    found.fixed(Field::FeatureFlags, feature_flags, Shown::map);
    let listeners = (&unserved_listeners.old[..], &unserved_listeners.new[..]);
    unserved(unserved_listeners, cluster_name, found);
    let (old_leafs, new_leafs) = ((leafnodes.old, listeners.0), (leafnodes.new, listeners.1));
    leafnodes::differ(old_leafs, new_leafs, found);
    if lab.differ() {
        let shown = |lab: &Option<LabOptions>| match lab {
            Some(LabOptions { token: Some(_), .. }) => "on, with a token",
            Some(LabOptions { token: None, .. }) => "on",
            None => "off",
        };
        found.refuse(Field::Last, format!("lab: old={}, new={}", shown(lab.old), shown(lab.new)));
    }
    websocket_options(websocket, found);
    log_options(log.old, log.new, found);
    limit_options(limits.old, limits.new, found);
    auth_options(auth.old, auth.new, found);
    tls_options(tls, found);
    found.fixed(Field::AllowNonTLS, allow_non_tls, Shown::plain);
    monitor_options(monitor.old, monitor.new, found);
    jetstream_options(jetstream.old, jetstream.new, jetstream_runs, found);
}

/// Nothing of it changes but certificates. What it was and is to be is not shown whole: that has passwords.
fn websocket_options(websocket: Pair<'_, Option<WebsocketOptions>>, found: &mut Differences) {
    let fixed = |options: &Option<WebsocketOptions>| {
        let mut options = options.clone()?;
        let pinned = options.tls.take().map(|tls| tls.pinned_certs);
        options.allowed_origins.sort_unstable();
        Some((options, pinned))
    };
    if fixed(websocket.old) != fixed(websocket.new) {
        let shown = |options: &Option<WebsocketOptions>| {
            let of = |one: &WebsocketOptions| format!("{}:{}", one.host, Shown::port(&Some(one.port)));
            options.as_ref().map(of).unwrap_or_default()
        };
        let (old, new) = (shown(websocket.old), shown(websocket.new));
        found.refuse(Field::Websocket, format!("Websocket: old={old}, new={new}"));
    }
}

/// Addresses and ports stay as they were opened; the name of the cluster may be another one.
fn unserved(
    listeners: Pair<'_, Vec<UnservedListener>>,
    cluster: Pair<'_, Option<String>>,
    found: &mut Differences,
) {
    let of =
        |all: &[UnservedListener], feature: Unserved| all.iter().find(|one| one.feature == feature).cloned();
    let host = |listener: &Option<UnservedListener>| {
        listener.as_ref().map(|one| one.host.clone()).unwrap_or_default()
    };
    let port = |listener: &Option<UnservedListener>| listener.as_ref().map(|one| one.port);
    for (feature, field) in [(Unserved::Cluster, Field::Cluster), (Unserved::Leafnodes, Field::LeafNode)] {
        let (old, new) = (of(listeners.old, feature), of(listeners.new, feature));
        let (what, old, new) = if host(&old) != host(&new) {
            ("host", host(&old), host(&new))
        } else if port(&old) != port(&new) {
            ("port", Shown::port(&port(&old)), Shown::port(&port(&new)))
        } else {
            continue;
        };
        let named = match (feature, what) {
            (Unserved::Cluster, what) => format!("cluster {what}"),
            (Unserved::Leafnodes, "host") => "LeafNode: field \"Host\"".to_owned(),
            (Unserved::Leafnodes, _) => "LeafNode: field \"Port\"".to_owned(),
        };
        found.refuse(field, format!("{named}: old={old}, new={new}"));
    }
    if cluster.differ() {
        if let Some(name) = cluster.new {
            found.change(Field::Cluster, Action::Nothing, format!("Cluster name updated to {name}"));
        }
        found.change(Field::Cluster, Action::Nothing, "Reloaded: cluster");
    }
}

fn operator_options(old: &OperatorOptions, new: &OperatorOptions, found: &mut Differences) {
    pairs!(old, new => OperatorOptions {
        operators, trusted_keys, resolver, preloads, pinned_accounts, default_sentinel, resolver_tls,
    });
    // A resolver that stays takes them.
    let _ = (preloads, pinned_accounts);
    let claims = |operators: &Vec<TrustedOperator>| {
        let claims: Vec<String> = operators.iter().map(|operator| operator.claims.to_string()).collect();
        format!("[{}]", claims.join(" "))
    };
    if operators.old.is_empty() || !old.is_on() {
        let keys = |keys: &Option<Vec<String>>| format!("[{}]", keys.clone().unwrap_or_default().join(" "));
        found.fixed(Field::TrustedKeys, trusted_keys, keys);
    }
    found.fixed(Field::TrustedOperators, operators, claims);
    if resolver.old.is_some() != resolver.new.is_some() {
        let text = "config reload does not support moving to or from an account resolver";
        found.fail(Field::AccountResolver, text.to_owned());
    } else if resolver.differ() || resolver.new.as_ref().is_some_and(ResolverOptions::is_never_the_same) {
        found.change(Field::AccountResolver, Action::Authorization, "Reloaded: accounts");
    }
    // Authorities are read anew, and count as others.
    if resolver_tls.differ() || resolver_tls.new.as_ref().is_some_and(RemoteTls::names_authorities) {
        found.change(Field::AccountResolverTLSConfig, Action::Authorization, "Reloaded: accounts");
    }
    if default_sentinel.differ() {
        let line = format!("Reloaded: default_sentinel = {}", Shown::text(default_sentinel.new));
        found.change(Field::DefaultSentinel, Action::Nothing, line);
    }
}

fn log_options(old: &LogOptions, new: &LogOptions, found: &mut Differences) {
    pairs!(old, new => LogOptions {
        debug, trace, trace_verbose, trace_headers, time, time_utc, file, syslog, remote_syslog, file_size_limit_bytes,
        file_max_num, max_traced_msg_len,
    });
    let (trace_action, log_action) = (Action::Trace, Action::Log);
    found.value(Field::Trace, trace_action, "trace", trace, Shown::plain);
    found.value(Field::Debug, log_action, "debug", debug, Shown::plain);
    found.value(Field::TraceVerbose, trace_action, "trace_verbose", trace_verbose, Shown::plain);
    found.value(Field::TraceHeaders, trace_action, "trace_headers", trace_headers, Shown::plain);
    found.value(Field::Logtime, log_action, "logtime", time, Shown::plain);
    found.value(Field::LogtimeUTC, log_action, "logtime_utc", time_utc, Shown::plain);
    found.value(Field::LogFile, log_action, "log_file", file, Shown::path);
    found.fixed(Field::LogSizeLimit, file_size_limit_bytes, Shown::plain);
    found.fixed(Field::LogMaxFiles, file_max_num, Shown::plain);
    found.value(Field::Syslog, log_action, "syslog", syslog, Shown::plain);
    found.value(Field::RemoteSyslog, log_action, "remote_syslog", remote_syslog, Shown::text);
    let traced = max_traced_msg_len;
    found.value(Field::MaxTracedMsgLen, Action::Nothing, "max_traced_msg_len", traced, Shown::plain);
}

fn limit_options(old: &LimitOptions, new: &LimitOptions, found: &mut Differences) {
    pairs!(old, new => LimitOptions {
        max_connections, max_subscriptions, max_subscription_tokens, max_control_line_bytes, max_payload_bytes,
        max_pending_bytes, max_closed_clients, ping_interval, ping_max, write_deadline, write_timeout,
        no_fast_producer_stall,
    });
    let nothing = Action::Nothing;
    found.value(Field::MaxConn, Action::MaxConnections, "max_connections", max_connections, Shown::plain);
    found.fixed(Field::MaxSubs, max_subscriptions, Shown::plain);
    found.fixed(Field::MaxSubTokens, max_subscription_tokens, Shown::plain);
    found.value(Field::PingInterval, nothing, "ping_interval", ping_interval, Shown::duration);
    found.value(Field::MaxPingsOut, nothing, "ping_max", ping_max, Shown::plain);
    found.value(Field::MaxControlLine, nothing, "max_control_line", max_control_line_bytes, Shown::plain);
    let _ = max_payload_bytes;
    let payload = Pair { old: &old.shown_max_payload(), new: &new.shown_max_payload() };
    found.value(Field::MaxPayload, nothing, "max_payload", payload, Shown::plain);
    found.fixed(Field::MaxPending, max_pending_bytes, Shown::plain);
    if no_fast_producer_stall.differ() {
        let not = if *no_fast_producer_stall.new { "not " } else { "" };
        let line = format!("Reloaded: fast producers will {not}be stalled");
        found.change(Field::NoFastProducerStall, nothing, line);
    }
    found.value(Field::WriteDeadline, nothing, "write_deadline", write_deadline, Shown::duration);
    found.fixed(Field::WriteTimeout, write_timeout, Shown::write_timeout);
    found.fixed(Field::MaxClosedClients, max_closed_clients, Shown::plain);
}

/// Clients that came by way of a proxy that is no longer trusted are sent away.
fn proxies(trusted: Pair<'_, Option<Vec<String>>>, found: &mut Differences) {
    let keys = |keys: &Option<Vec<String>>| keys.clone().unwrap_or_default();
    let (old, new) = (keys(trusted.old), keys(trusted.new));
    let missing = |these: &[String], those: &[String]| -> Vec<String> {
        those.iter().filter(|key| !these.contains(key)).map(jetkv_go_compat::quoted).collect()
    };
    for (keys, what) in [(missing(&new, &old), "removed"), (missing(&old, &new), "added")] {
        if !keys.is_empty() {
            let line = format!("Reloaded: proxies trusted keys [{}] were {what}", keys.join(" "));
            found.change(Field::Proxies, Action::Nothing, line);
        }
    }
}

fn auth_options(old: &AuthOptions, new: &AuthOptions, found: &mut Differences) {
    pairs!(old, new => AuthOptions {
        username, password, token, users, nkeys, no_auth_user, timeout, has_block, callout, proxy_required,
    });
    found.fixed(Field::ProxyRequired, proxy_required, Shown::plain);
    found.fixed(Field::AuthCallout, callout, shown_callout);
    // As with the accounts, and the block holds what the others say.
    let _ = (users, has_block);
    found.change(Field::Users, Action::Authorization, "Reloaded: authorization users");
    if !same_in_any_order(nkeys) {
        found.change(Field::Nkeys, Action::Authorization, "Reloaded: authorization nkey users");
    }
    // The user for connections without credentials may only go away, and only together with its entry.
    let goes = match (no_auth_user.old, no_auth_user.new) {
        (Some(name), None) => !new.users.iter().any(|user| user.username == *name),
        _ => false,
    };
    if !goes {
        found.fixed(Field::NoAuthUser, no_auth_user, Shown::text);
    }
    found.name(Field::Username, "authorization username", username);
    found.name(Field::Password, "authorization password", password);
    found.name(Field::Authorization, "authorization token", token);
    let seconds = |timeout: &std::time::Duration| timeout.as_secs_f64().to_string();
    found.value(Field::AuthTimeout, Action::Nothing, "authorization timeout", timeout, seconds);
}

/// As Go prints it.
fn shown_callout(callout: &Option<AuthCallout>) -> String {
    callout.as_ref().map_or_else(
        || "<nil>".to_owned(),
        |callout| {
            let AuthCallout { issuer, account, auth_users, xkey, allowed_accounts } = callout;
            let (users, xkey) = (auth_users.join(" "), xkey.as_deref().unwrap_or_default());
            format!("&{{{issuer} {account} [{users}] {xkey} [{}]}}", allowed_accounts.join(" "))
        },
    )
}

/// Whether the users with keys are the same ones. Those of an account never are: they count as changed whatever they say
/// (nats-server v2.15.2, observed).
fn same_in_any_order(nkeys: Pair<'_, Vec<NkeyUserOptions>>) -> bool {
    let sorted = |users: &[NkeyUserOptions]| {
        let mut users = users.to_vec();
        users.sort_by(|a, b| a.nkey.cmp(&b.nkey));
        users
    };
    let in_account = |users: &[NkeyUserOptions]| users.iter().any(|user| user.account.is_some());
    sorted(nkeys.old) == sorted(nkeys.new) && !in_account(nkeys.old) && !in_account(nkeys.new)
}

/// Certificates are read anew by every reload, which is said where they are others or there are authorities.
fn tls_options(tls: Pair<'_, Option<TlsOptions>>, found: &mut Differences) {
    let nothing = Action::Nothing;
    let maps = |tls: &Option<TlsOptions>| tls.as_ref().is_some_and(|tls| tls.map);
    let (old, new) = (&maps(tls.old), &maps(tls.new));
    found.fixed(Field::TLSMap, Pair { old, new }, Shown::plain);
    let (Some(old), Some(new)) = (tls.old, tls.new) else {
        if let Some(state) = tls.differ().then(|| if tls.new.is_some() { "enabled" } else { "disabled" }) {
            found.change(Field::TLSConfig, nothing, format!("Reloaded: tls = {state}"));
        }
        return;
    };
    pairs!(old, new => TlsOptions {
        verify, map, timeout, handshake_first, pinned_certs, connection_rate_limit, identity,
    });
    // Whoever is asked for a certificate is asked by the new ones.
    let _ = map;
    if identity.differ() || verify.differ() || identity.new.has_authorities() {
        found.change(Field::TLSConfig, nothing, "Reloaded: tls = enabled");
    }
    found.value(Field::TLSTimeout, nothing, "tls timeout", timeout, |timeout| {
        timeout.as_secs_f64().to_string()
    });
    if pinned_certs.differ() {
        let line = format!("Reloaded: {} pinned_certs", pinned_certs.new.len());
        found.change(Field::TLSPinnedCerts, nothing, line);
    }
    found.fixed(Field::TLSRateLimit, connection_rate_limit, Shown::plain);
    let delay = |first: &Option<HandshakeFirst>| match first {
        Some(HandshakeFirst::Within(delay)) => *delay,
        _ => std::time::Duration::ZERO,
    };
    if handshake_first.old.is_some() != handshake_first.new.is_some() {
        let line = format!("Reloaded: Client TLS handshake first: {}", handshake_first.new.is_some());
        found.change(Field::TLSHandshakeFirst, nothing, line);
    }
    if delay(handshake_first.old) != delay(handshake_first.new) {
        let shown = Shown::duration(&delay(handshake_first.new));
        let line = format!("Reloaded: Client TLS handshake first fallback delay: {shown}");
        found.change(Field::TLSHandshakeFirstFallback, nothing, line);
    }
}

fn monitor_options(old: &MonitorOptions, new: &MonitorOptions, found: &mut Differences) {
    pairs!(old, new => MonitorOptions { host, port, secure, base_path });
    found.fixed(Field::HTTPHost, host, Shown::plain);
    let of = |is_secure: bool, port: &Option<u16>, wanted: bool| port.filter(|_| is_secure == wanted);
    for (field, wanted) in [(Field::HTTPPort, false), (Field::HTTPSPort, true)] {
        let (old, new) = (of(*secure.old, port.old, wanted), of(*secure.new, port.new, wanted));
        found.fixed(field, Pair { old: &old, new: &new }, Shown::port);
    }
    // No path is shown as no path.
    found.fixed(Field::HTTPBasePath, base_path, |path| path.strip_suffix("/").unwrap_or(path).to_owned());
}

fn jetstream_options(old: &JetStreamOptions, new: &JetStreamOptions, runs: bool, found: &mut Differences) {
    pairs!(old, new => JetStreamOptions {
        enabled, strict, store_dir, max_memory_bytes, max_store_bytes, domain, sync_interval, sync_always, unique_tag,
        extension_hint, max_buffered_msgs, max_buffered_bytes, max_outstanding_catchup_bytes, request_queue_limit,
        info_queue_limit, max_concurrent_io, limits, encryption_key, previous_encryption_key, cipher, tpm,
    });
    if enabled.differ() || (new.enabled && !runs) {
        found.change(Field::JetStream, Action::JetStream, "Reloaded: JetStream");
    }
    found.fixed(Field::NoJetStreamStrict, Pair { old: &!strict.old, new: &!strict.new }, Shown::plain);
    if runs {
        size(Field::JetStreamMaxMemory, "max_mem_store", max_memory_bytes, new.enabled, found);
        size(Field::JetStreamMaxStore, "max_file_store", max_store_bytes, new.enabled, found);
        match (store_dir.differ(), store_dir.new, new.enabled) {
            (true, Some(_), _) => found.refuse(Field::StoreDir, "jetstream storage directory"),
            (true, None, true) => found.refuse(Field::Last, "jetstream storage dir"),
            _ => {}
        }
    }
    found.fixed(Field::JetStreamDomain, domain, Shown::text);
    found.fixed(Field::JetStreamExtHint, extension_hint, Shown::text);
    found.fixed(Field::JetStreamKey, encryption_key, Shown::secret);
    found.fixed(Field::JetStreamOldKey, previous_encryption_key, Shown::secret);
    found.fixed(Field::JetStreamCipher, cipher, Shown::plain);
    found.fixed(Field::JetStreamUniqueTag, unique_tag, Shown::text);
    // Looked at when streams and consumers are made and changed.
    found.name(Field::JetStreamLimits, "JetStream limits", limits);
    found.fixed(Field::JetStreamTpm, tpm, Shown::sealed_key);
    found.fixed(Field::JetStreamMaxCatchup, max_outstanding_catchup_bytes, Shown::plain);
    found.fixed(Field::JetStreamRequestQueueLimit, request_queue_limit, Shown::plain);
    found.fixed(Field::JetStreamInfoQueueLimit, info_queue_limit, Shown::plain);
    found.fixed(Field::JetStreamConcurrentIOs, max_concurrent_io, Shown::plain);
    found.fixed(Field::StreamMaxBufferedMsgs, max_buffered_msgs, Shown::plain);
    found.fixed(Field::StreamMaxBufferedSize, max_buffered_bytes, Shown::plain);
    found.fixed(Field::SyncInterval, sync_interval, Shown::duration);
    found.fixed(Field::SyncAlways, sync_always, Shown::plain);
}

/// Room for streams may grow, but neither shrink nor change between given and found out by the server.
fn size(field: Field, name: &str, bytes: Pair<'_, i64>, enabled: bool, found: &mut Differences) {
    match (*bytes.old, *bytes.new) {
        (old, new) if old == new => {}
        (-1, _) => found.refuse(field, "jetstream dynamic max memory and store"),
        (_, -1) if enabled => found.refuse(Field::Last, "jetstream max memory and max store"),
        (_, -1) => {}
        (old, new) if new > old => {
            let line = format!("Reloaded: JetStream {name} = {}", jetkv_go_compat::friendly_bytes(new));
            found.change(field, Action::Nothing, line);
        }
        _ => found.refuse(field, "decreasing jetstream max memory and store"),
    }
}
