//! What a changed configuration changes in a running server, and what it cannot change.
//!
//! Which options can change, the order in which they are looked at, and all texts are those of nats-server v2.15.2,
//! observed. Flags that were given when the server started win over the file again, every one of them.

use std::fmt;

use super::defaults;
use super::jetstream_model::JetStreamOptions;
use super::model::{Options, WriteTimeout};
use jetkv_go_compat::GoDuration;

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
    /// Connections and INFO take the new largest payload.
    MaxPayload,
    /// Connections take the new longest protocol line.
    MaxControlLine,
    /// INFO takes the new address.
    ClientAdvertise,
    /// The process id is written to the new file.
    PidFile,
    /// The ports file moves to the new directory.
    PortsFile,
    /// JetStream is started or shut down.
    JetStream,
    /// JetStream may use more than before.
    JetStreamSize,
}

/// Why a running server cannot take new options. The text is nats-server's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReloadError(String);

/// Compares the options of a running server with new ones. `old.port` is the bound one; a new port of 0 stands for
/// it and is replaced by it. `jetstream_runs` tells whether the engine runs now.
pub fn diff(old: &Options, new: &mut Options, jetstream_runs: bool) -> Result<Vec<Change>, ReloadError> {
    if new.port == 0 {
        new.port = old.port;
    }
    let mut changes = Changes(Vec::new());
    network_and_log(old, new, &mut changes)?;
    clients(old, new, &mut changes)?;
    jetstream(&old.jetstream, &new.jetstream, jetstream_runs, &mut changes)?;
    fixed("JsAccDefaultDomain", &old.default_js_domain, &new.default_js_domain, Shown::map)?;
    files_and_times(old, new, &mut changes)?;
    about_server(old, new, &mut changes)?;
    Ok(changes.0)
}

struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, action: Action, line: impl Into<String>) {
        self.0.push(Change { action, line: line.into() });
    }

    /// A change that is logged with the option's name and new value.
    fn value<T: PartialEq>(
        &mut self,
        action: Action,
        name: &str,
        old: &T,
        new: &T,
        shown: impl Fn(&T) -> String,
    ) {
        if old != new {
            self.add(action, format!("Reloaded: {name} = {}", shown(new)));
        }
    }

    /// A change that is logged without the value.
    fn name<T: PartialEq>(&mut self, action: Action, name: &str, old: &T, new: &T) {
        if old != new {
            self.add(action, format!("Reloaded: {name}"));
        }
    }
}

/// How values appear in log lines and errors.
struct Shown;

impl Shown {
    fn plain<T: fmt::Display>(value: &T) -> String {
        value.to_string()
    }

    fn text(value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }

    fn path(value: &Option<std::path::PathBuf>) -> String {
        value.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    fn duration(value: &std::time::Duration) -> String {
        GoDuration::from(*value).to_string()
    }

    fn port(value: &Option<u16>) -> String {
        match value {
            None => "0".to_owned(),
            Some(0) => "-1".to_owned(),
            Some(port) => port.to_string(),
        }
    }

    fn map<T: fmt::Display>(value: &std::collections::BTreeMap<String, T>) -> String {
        let entries: Vec<String> = value.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("map[{}]", entries.join(" "))
    }

    fn write_timeout(value: &WriteTimeout) -> String {
        let name = match value {
            WriteTimeout::Default => "",
            WriteTimeout::Close => "close",
            WriteTimeout::Retry => "retry",
        };
        name.to_owned()
    }
}

/// An option that a running server cannot change.
fn fixed<T: PartialEq>(
    name: &str,
    old: &T,
    new: &T,
    shown: impl Fn(&T) -> String,
) -> Result<(), ReloadError> {
    if old == new {
        return Ok(());
    }
    let (old, new) = (shown(old), shown(new));
    Err(ReloadError(format!("config reload not supported for {name}: old={old}, new={new}")))
}

fn network_and_log(old: &Options, new: &Options, changes: &mut Changes) -> Result<(), ReloadError> {
    fixed("ServerName", &old.server_name, &new.server_name, Shown::text)?;
    fixed("Host", &old.host, &new.host, Shown::plain)?;
    fixed("Port", &old.port, &new.port, Shown::plain)?;
    if old.client_advertise != new.client_advertise {
        let line = format!("Reload: client_advertise = {}", Shown::text(&new.client_advertise));
        changes.add(Action::ClientAdvertise, line);
    }
    let (old_log, new_log) = (&old.log, &new.log);
    changes.value(Action::Trace, "trace", &old_log.trace, &new_log.trace, Shown::plain);
    changes.value(Action::Log, "debug", &old_log.debug, &new_log.debug, Shown::plain);
    let verbose = (&old_log.trace_verbose, &new_log.trace_verbose);
    changes.value(Action::Trace, "trace_verbose", verbose.0, verbose.1, Shown::plain);
    let headers = (&old_log.trace_headers, &new_log.trace_headers);
    changes.value(Action::Trace, "trace_headers", headers.0, headers.1, Shown::plain);
    fixed("NoSublistCache", &old.no_sublist_cache, &new.no_sublist_cache, Shown::plain)?;
    fixed("NoHeaderSupport", &old.no_header_support, &new.no_header_support, Shown::plain)?;
    changes.value(Action::Log, "logtime", &old_log.time, &new_log.time, Shown::plain);
    changes.value(Action::Log, "logtime_utc", &old_log.time_utc, &new_log.time_utc, Shown::plain);
    Ok(())
}

fn clients(old: &Options, new: &Options, changes: &mut Changes) -> Result<(), ReloadError> {
    let (old_limits, new_limits) = (&old.limits, &new.limits);
    let connections = (&old_limits.max_connections, &new_limits.max_connections);
    changes.value(Action::MaxConnections, "max_connections", connections.0, connections.1, Shown::plain);
    fixed("MaxSubs", &old_limits.max_subscriptions, &new_limits.max_subscriptions, Shown::plain)?;
    let tokens = (&old_limits.max_subscription_tokens, &new_limits.max_subscription_tokens);
    fixed("MaxSubTokens", tokens.0, tokens.1, Shown::plain)?;
    // These two are always said: whether they differ is found out connection by connection.
    changes.add(Action::Authorization, "Reloaded: authorization users");
    changes.add(Action::Authorization, "Reloaded: accounts");
    no_auth_user(old, new)?;
    system_account(old, new)?;
    fixed("NoSystemAccount", &old.no_system_account, &new.no_system_account, Shown::plain)?;
    let (old_auth, new_auth) = (&old.auth, &new.auth);
    let action = Action::Authorization;
    changes.name(action, "authorization username", &old_auth.username, &new_auth.username);
    changes.name(action, "authorization password", &old_auth.password, &new_auth.password);
    changes.name(action, "authorization token", &old_auth.token, &new_auth.token);
    let ping = (&old_limits.ping_interval, &new_limits.ping_interval);
    changes.value(Action::Nothing, "ping_interval", ping.0, ping.1, Shown::duration);
    changes.value(Action::Nothing, "ping_max", &old_limits.ping_max, &new_limits.ping_max, Shown::plain);
    fixed("HTTPHost", &old.monitor.host, &new.monitor.host, Shown::plain)?;
    fixed("HTTPPort", &old.monitor.port, &new.monitor.port, Shown::port)?;
    fixed("HTTPBasePath", &old.monitor.base_path, &new.monitor.base_path, Shown::plain)?;
    let seconds = |timeout: &std::time::Duration| timeout.as_secs_f64().to_string();
    changes.value(Action::Nothing, "authorization timeout", &old_auth.timeout, &new_auth.timeout, seconds);
    let line = (&old_limits.max_control_line_bytes, &new_limits.max_control_line_bytes);
    changes.value(Action::MaxControlLine, "max_control_line", line.0, line.1, Shown::plain);
    let payload = (&old_limits.shown_max_payload(), &new_limits.shown_max_payload());
    changes.value(Action::MaxPayload, "max_payload", payload.0, payload.1, Shown::plain);
    fixed("MaxPending", &old_limits.max_pending_bytes, &new_limits.max_pending_bytes, Shown::plain)?;
    if old_limits.no_fast_producer_stall != new_limits.no_fast_producer_stall {
        let not = if new_limits.no_fast_producer_stall { "not " } else { "" };
        changes.add(Action::Nothing, format!("Reloaded: fast producers will {not}be stalled"));
    }
    Ok(())
}

/// The user may only go away, and only together with its entry among the users.
fn no_auth_user(old: &Options, new: &Options) -> Result<(), ReloadError> {
    let (old_name, new_name) = (&old.auth.no_auth_user, &new.auth.no_auth_user);
    if let (Some(name), None) = (old_name, new_name)
        && !new.auth.users.iter().any(|user| user.username == *name)
    {
        return Ok(());
    }
    fixed("NoAuthUser", old_name, new_name, Shown::text)
}

fn system_account(old: &Options, new: &Options) -> Result<(), ReloadError> {
    if old.system_account.as_deref() == Some(defaults::SYSTEM_ACCOUNT) && new.system_account.is_none() {
        return Ok(());
    }
    fixed("SystemAccount", &old.system_account, &new.system_account, Shown::text)
}

fn jetstream(
    old: &JetStreamOptions,
    new: &JetStreamOptions,
    runs: bool,
    changes: &mut Changes,
) -> Result<(), ReloadError> {
    if old.enabled != new.enabled || (new.enabled && !runs) {
        changes.add(Action::JetStream, "Reloaded: JetStream");
    }
    fixed("NoJetStreamStrict", &!old.strict, &!new.strict, Shown::plain)?;
    if runs {
        size("max_mem_store", old.max_memory_bytes, new.max_memory_bytes, new.enabled, changes)?;
        size("max_file_store", old.max_store_bytes, new.max_store_bytes, new.enabled, changes)?;
    }
    fixed("JetStreamDomain", &old.domain, &new.domain, Shown::text)?;
    fixed("JetStreamExtHint", &old.extension_hint, &new.extension_hint, Shown::text)?;
    fixed("JetStreamUniqueTag", &old.unique_tag, &new.unique_tag, Shown::text)?;
    changes.name(Action::Nothing, "JetStream limits", &old.limits, &new.limits);
    let catchup = (&old.max_outstanding_catchup_bytes, &new.max_outstanding_catchup_bytes);
    fixed("JetStreamMaxCatchup", catchup.0, catchup.1, Shown::plain)?;
    let requests = (&old.request_queue_limit, &new.request_queue_limit);
    fixed("JetStreamRequestQueueLimit", requests.0, requests.1, Shown::plain)?;
    let infos = (&old.info_queue_limit, &new.info_queue_limit);
    fixed("JetStreamInfoQueueLimit", infos.0, infos.1, Shown::plain)?;
    if new.enabled {
        let disk = (&old.max_concurrent_io, &new.max_concurrent_io);
        fixed("JetStreamConcurrentIOs", disk.0, disk.1, Shown::plain)?;
    }
    fixed("StreamMaxBufferedMsgs", &old.max_buffered_msgs, &new.max_buffered_msgs, Shown::plain)?;
    fixed("StreamMaxBufferedSize", &old.max_buffered_bytes, &new.max_buffered_bytes, Shown::plain)?;
    if runs && old.store_dir != new.store_dir {
        match (&new.store_dir, new.enabled) {
            (Some(_), _) => {
                let text = "config reload not supported for jetstream storage directory";
                return Err(ReloadError(text.to_owned()));
            }
            (None, true) => {
                let text = "config reload not supported for jetstream storage dir";
                return Err(ReloadError(text.to_owned()));
            }
            (None, false) => {}
        }
    }
    fixed("SyncInterval", &old.sync_interval, &new.sync_interval, Shown::duration)?;
    fixed("SyncAlways", &old.sync_always, &new.sync_always, Shown::plain)
}

/// Room for streams may grow, but neither shrink nor change between given and found out by the server.
fn size(
    name: &str,
    old_bytes: i64,
    new_bytes: i64,
    enabled: bool,
    changes: &mut Changes,
) -> Result<(), ReloadError> {
    let refused = |what: &str| Err(ReloadError(format!("config reload not supported for {what}")));
    match (old_bytes, new_bytes) {
        (old, new) if old == new => Ok(()),
        (-1, _) => refused("jetstream dynamic max memory and store"),
        (_, -1) if enabled => refused("jetstream max memory and max store"),
        (_, -1) => Ok(()),
        (old, new) if new > old => {
            let line = format!("Reloaded: JetStream {name} = {}", friendly_bytes(new));
            changes.add(Action::JetStreamSize, line);
            Ok(())
        }
        _ => refused("decreasing jetstream max memory and store"),
    }
}

fn files_and_times(old: &Options, new: &Options, changes: &mut Changes) -> Result<(), ReloadError> {
    if new.pid_file.is_some() {
        changes.value(Action::PidFile, "pid_file", &old.pid_file, &new.pid_file, Shown::path);
    }
    let ports = (&old.ports_file_dir, &new.ports_file_dir);
    changes.value(Action::PortsFile, "ports_file_dir", ports.0, ports.1, Shown::path);
    changes.value(Action::Log, "log_file", &old.log.file, &new.log.file, Shown::path);
    let size = (&old.log.file_size_limit_bytes, &new.log.file_size_limit_bytes);
    fixed("LogSizeLimit", size.0, size.1, Shown::plain)?;
    fixed("LogMaxFiles", &old.log.file_max_num, &new.log.file_max_num, Shown::plain)?;
    changes.value(Action::Log, "syslog", &old.log.syslog, &new.log.syslog, Shown::plain);
    let remote = (&old.log.remote_syslog, &new.log.remote_syslog);
    changes.value(Action::Log, "remote_syslog", remote.0, remote.1, Shown::text);
    let deadline = (&old.limits.write_deadline, &new.limits.write_deadline);
    changes.value(Action::Nothing, "write_deadline", deadline.0, deadline.1, Shown::duration);
    fixed("WriteTimeout", &old.limits.write_timeout, &new.limits.write_timeout, Shown::write_timeout)?;
    let closed = (&old.limits.max_closed_clients, &new.limits.max_closed_clients);
    fixed("MaxClosedClients", closed.0, closed.1, Shown::plain)?;
    fixed("LameDuckDuration", &old.lame_duck_duration, &new.lame_duck_duration, Shown::duration)?;
    let grace = (&old.lame_duck_grace_period, &new.lame_duck_grace_period);
    fixed("LameDuckGracePeriod", grace.0, grace.1, Shown::duration)?;
    let traced = (&old.log.max_traced_msg_len, &new.log.max_traced_msg_len);
    changes.value(Action::Nothing, "max_traced_msg_len", traced.0, traced.1, Shown::plain);
    Ok(())
}

fn about_server(old: &Options, new: &Options, changes: &mut Changes) -> Result<(), ReloadError> {
    let reports = (&old.connect_error_reports, &new.connect_error_reports);
    changes.value(Action::Nothing, "connect_error_reports", reports.0, reports.1, Shown::plain);
    let reports = (&old.reconnect_error_reports, &new.reconnect_error_reports);
    changes.value(Action::Nothing, "reconnect_error_reports", reports.0, reports.1, Shown::plain);
    changes.name(Action::Nothing, "tags", &old.tags, &new.tags);
    changes.name(Action::Nothing, "metadata", &old.metadata, &new.metadata);
    fixed("FeatureFlags", &old.feature_flags, &new.feature_flags, Shown::map)
}

/// A size as log lines show it: `1.86 GB`, with 1024 as the base; below that, bytes.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub fn friendly_bytes(bytes: i64) -> String {
    const UNITS: [&str; 6] = ["KB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next().unwrap_or_default();
    for larger in units {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.2} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{diff, friendly_bytes};
    use crate::options::Options;

    /// What a server that runs with `old` logs when it is told to use `new`.
    fn reloaded(old: &str, new: &str) -> Vec<String> {
        let mut old = Options::from_config_text(old).unwrap();
        old.port = 36315;
        let mut new = Options::from_config_text(&format!("port: -1\n{new}")).unwrap();
        let runs = old.jetstream.enabled;
        match diff(&old, &mut new, runs) {
            Ok(changes) => changes.into_iter().map(|change| change.line).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn changes_are_logged_as_on_nats_server() {
        let users = ["Reloaded: authorization users", "Reloaded: accounts"];
        let cases: [(&str, &str, &[&str], &[&str]); 10] = [
            ("", "", &[], &[]),
            ("", "max_payload: 1024", &[], &["Reloaded: max_payload = 1024"]),
            (
                "",
                "debug: true\ntrace_verbose: true\nlogtime: false",
                &[
                    "Reloaded: trace = true",
                    "Reloaded: debug = true",
                    "Reloaded: trace_verbose = true",
                    "Reloaded: logtime = false",
                ],
                &[],
            ),
            (
                "",
                "authorization {user: a, password: b}",
                &[],
                &["Reloaded: authorization username", "Reloaded: authorization password"],
            ),
            ("", "authorization {timeout: 5}", &[], &["Reloaded: authorization timeout = 5"]),
            (
                "",
                "client_advertise: \"a:1\"\nmax_connections: 5\nping_interval: \"5s\"\nping_max: 3",
                &["Reload: client_advertise = a:1", "Reloaded: max_connections = 5"],
                &["Reloaded: ping_interval = 5s", "Reloaded: ping_max = 3"],
            ),
            (
                "",
                "no_fast_producer_stall: true\npid_file: /x\nports_file_dir: /y\nlog_file: /z\nserver_tags: a",
                &[],
                &[
                    "Reloaded: fast producers will not be stalled",
                    "Reloaded: pid_file = /x",
                    "Reloaded: ports_file_dir = /y",
                    "Reloaded: log_file = /z",
                    "Reloaded: tags",
                ],
            ),
            ("", "jetstream {store_dir: /x}", &[], &["Reloaded: JetStream"]),
            (
                "jetstream {max_mem: 1G}",
                "jetstream {max_mem: 2G}",
                &[],
                &["Reloaded: JetStream max_mem_store = 1.86 GB"],
            ),
            ("jetstream {}", "jetstream {limits {max_ack_pending: 5}}", &[], &["Reloaded: JetStream limits"]),
        ];
        for (old, new, before, after) in cases {
            let expected: Vec<&str> = before.iter().chain(&users).chain(after).copied().collect();
            assert_eq!(reloaded(old, new), expected, "{new}");
        }
    }

    #[test]
    fn what_cannot_change_is_refused_with_the_texts_of_nats_server() {
        for (old, new, what) in [
            ("", "port: 4555", "Port: old=36315, new=4555"),
            ("", "host: 127.0.0.1", "Host: old=0.0.0.0, new=127.0.0.1"),
            ("", "server_name: x", "ServerName: old=, new=x"),
            ("", "http_port: -1", "HTTPPort: old=0, new=-1"),
            ("", "max_subs: 5", "MaxSubs: old=0, new=5"),
            ("", "lame_duck_duration: \"40s\"", "LameDuckDuration: old=2m0s, new=40s"),
            ("", "max_pending: 50MB", "MaxPending: old=67108864, new=52428800"),
            ("", "feature_flags {a: true}", "FeatureFlags: old=map[], new=map[a:true]"),
            ("", "default_js_domain {\"$G\": x}", "JsAccDefaultDomain: old=map[], new=map[$G:x]"),
            ("", "no_system_account: true", "NoSystemAccount: old=false, new=true"),
            ("", "write_timeout: retry", "WriteTimeout: old=, new=retry"),
            ("", "max_closed_clients: 5", "MaxClosedClients: old=10000, new=5"),
            ("", "log_max_num: 5", "LogMaxFiles: old=0, new=5"),
            ("", "system_account: X\naccounts {X: {}}", "SystemAccount: old=, new=X"),
            (
                "",
                "no_auth_user: a\nauthorization {users: [{user: a, password: b}]}",
                "NoAuthUser: old=, new=a",
            ),
            ("jetstream {store_dir: /x}", "jetstream {store_dir: /y}", "jetstream storage directory"),
            (
                "jetstream {max_mem: 1G}",
                "jetstream {max_mem: 1M}",
                "decreasing jetstream max memory and store",
            ),
            ("jetstream {}", "jetstream {max_mem: 1M}", "jetstream dynamic max memory and store"),
            ("jetstream {}", "jetstream {domain: x}", "JetStreamDomain: old=, new=x"),
        ] {
            assert_eq!(reloaded(old, new), [format!("config reload not supported for {what}")], "{new}");
        }
    }

    #[test]
    fn sizes_are_shown_with_two_digits() {
        for (bytes, shown) in [
            (-1, "-1 B"),
            (1023, "1023 B"),
            (1024, "1.00 KB"),
            (1_500_000, "1.43 MB"),
            (2_000_000_000, "1.86 GB"),
        ] {
            assert_eq!(friendly_bytes(bytes), shown);
        }
    }
}
