//! The keys of the top level, except for the large blocks.

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, duration, duration_string, integer, listen, string, strings, text};
use super::{
    Draft, accounts, auth, callout, jetstream, lab, listeners, mappings, operators, proxies, tls, websocket,
};
use crate::options::defaults;
use crate::options::grammar::{Map, Node, Value};
use crate::options::model::{LogOptions, WriteTimeout};
use jetkv_go_compat::quoted;

/// Whether a group of keys has the key. A wrong value is a known key all the same.
type Known = Checked<bool>;

/// Keys of nats-server's features that this server lacks, whatever their value.
const UNSUPPORTED: [&str; 2] = ["gateway", "mqtt"];

/// The same for keys that change nothing while they are false, zero or empty.
const UNSUPPORTED_UNLESS_OFF: [&str; 4] = ["ocsp", "ocsp_cache", "prof_block_rate", "prof_port"];

/// Reads the top level. Blocks that look at others come last, so that the order in the file does not matter.
pub(super) fn read(map: &Map, draft: &mut Draft, report: &mut Report) {
    for key in ["system", "system_account"] {
        if let Some(node) = map.get(key) {
            match string(node) {
                Ok(name) => draft.options.system_account = (!name.is_empty()).then(|| name.to_owned()),
                Err(_) => report.error(Problem::at(node, "system account name must be a string")),
            }
        }
    }
    let rank = |key: &str| match key {
        "accounts" => 1,
        "authorization" => 2,
        _ => 0,
    };
    let mut entries: Vec<_> = map.iter().map(|(key, node)| (key.to_ascii_lowercase(), key, node)).collect();
    entries.sort_by_key(|(lower, _, _)| rank(lower));
    for (lower, key, node) in entries {
        if let Err(problem) = entry(&lower, key, node, draft, report) {
            report.error(problem);
        }
    }
    callout::check_accounts(draft, report);
}

fn entry(lower: &str, key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    if network(lower, node, draft)?
        || logging(lower, node, draft)?
        || limits(lower, key, node, draft)?
        || times(lower, node, draft, report)?
        || files(lower, node, draft)?
        || accounts_and_blocks(lower, node, draft, report)?
        || websocket::read(lower, node, draft, report)?
        || operators::read(lower, node, draft, report)?
        || listeners::read(lower, node, draft, report)?
        || about_server(lower, node, draft)?
    {
        return Ok(());
    }
    if UNSUPPORTED.contains(&lower) || (UNSUPPORTED_UNLESS_OFF.contains(&lower) && !is_off(&node.value)) {
        return Err(if lower.starts_with("prof_") {
            let key = quoted(key);
            Problem::at(
                node,
                format!("field {key} is not supported by JetKV: the profiles are of Go's runtime"),
            )
        } else {
            Problem::unsupported(node, key)
        });
    }
    if lower == "ocsp" {
        draft.no_stapling = true;
        return Ok(());
    }
    if UNSUPPORTED_UNLESS_OFF.contains(&lower) || node.is_used_variable() {
        return Ok(());
    }
    Err(Problem::unknown_field(node, key))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Integer(value) => *value == 0,
        Value::String(value) => value.is_empty(),
        // A block that has a mode of that name.
        Value::Map(block) => {
            let is_never = |node: &Node| matches!(&node.value, Value::String(mode) if mode.eq_ignore_ascii_case("never"));
            block.get("mode").is_some_and(is_never)
        }
        _ => false,
    }
}

fn network(key: &str, node: &Node, draft: &mut Draft) -> Known {
    match key {
        "listen" => {
            let (host, port) = listen(node)?;
            set_host(draft, &host);
            draft.port = port;
        }
        "client_advertise" => draft.options.client_advertise = text(node)?,
        "port" => draft.port = integer(node)?,
        "host" | "net" => set_host(draft, string(node)?),
        "http" => {
            let (host, port) = listen(node)?;
            draft.http_host = (!host.is_empty()).then_some(host);
            draft.http_port = port;
        }
        "https" => {
            let (host, port) = listen(node)?;
            draft.http_host = (!host.is_empty()).then_some(host);
            draft.https_port = port;
        }
        "https_port" => draft.https_port = integer(node)?,
        "tls" => draft.options.tls = Some(tls::read(node)?),
        "proxy_protocol" => draft.options.proxy_protocol = boolean(node)?,
        "allow_non_tls" => draft.options.allow_non_tls = boolean(node)?,
        "http_port" | "monitor_port" => draft.http_port = integer(node)?,
        "http_base_path" => draft.options.monitor.base_path = string(node)?.to_owned(),
        _ => return Ok(false),
    }
    Ok(true)
}

fn set_host(draft: &mut Draft, host: &str) {
    draft.options.host = if host.is_empty() { defaults::HOST } else { host }.to_owned();
}

/// A flag of the log: its key, the name of nats-server's option for it, and where it is.
type LogFlag = (&'static str, &'static str, fn(&mut LogOptions) -> &mut bool);

const LOG_FLAGS: [LogFlag; 7] = [
    ("debug", "Debug", |log| &mut log.debug),
    ("trace", "Trace", |log| &mut log.trace),
    ("trace_verbose", "TraceVerbose", |log| &mut log.trace_verbose),
    ("trace_headers", "TraceHeaders", |log| &mut log.trace_headers),
    ("logtime", "Logtime", |log| &mut log.time),
    ("logtime_utc", "LogtimeUTC", |log| &mut log.time_utc),
    ("syslog", "Syslog", |log| &mut log.syslog),
];

fn logging(key: &str, node: &Node, draft: &mut Draft) -> Known {
    let log = &mut draft.options.log;
    if let Some((_, name, flag)) = LOG_FLAGS.iter().find(|(known, ..)| *known == key) {
        let on = boolean(node)?;
        *flag(log) = on;
        let in_config = &mut draft.options.origin.in_config;
        in_config.insert(name, on);
        // What shows more of the trace switches it on, or off, with it.
        if key.starts_with("trace_") {
            log.trace = on;
            in_config.insert("Trace", on);
        }
        return Ok(true);
    }
    match key {
        "remote_syslog" => log.remote_syslog = text(node)?,
        "logfile" | "log_file" => log.file = text(node)?.map(Into::into),
        "logfile_size_limit" | "log_size_limit" => {
            log.file_size_limit_bytes = u64::try_from(integer(node)?).unwrap_or(0);
        }
        "logfile_max_num" | "log_max_num" => log.file_max_num = u64::try_from(integer(node)?).unwrap_or(0),
        "max_traced_msg_len" => log.max_traced_msg_len = usize::try_from(integer(node)?).unwrap_or(0),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A number that means its default when it is zero.
fn or_default(value: i64, default: i64) -> i64 {
    if value == 0 { default } else { value }
}

/// A size in bytes that fits 31 bits. Negative is no limit, which here is the largest that can be said.
fn small_size(key: &str, node: &Node, default: usize) -> Checked<usize> {
    let value = integer(node)?;
    if value > i64::from(i32::MAX) {
        return Err(Problem::at(node, format!("{key} value is too big")));
    }
    Ok(if value == 0 { default } else { usize::try_from(value).unwrap_or(i32::MAX as usize) })
}

fn limits(lower: &str, key: &str, node: &Node, draft: &mut Draft) -> Known {
    let limits = &mut draft.options.limits;
    match lower {
        "max_control_line" => {
            limits.max_control_line_bytes = small_size(key, node, defaults::MAX_CONTROL_LINE_BYTES)?;
        }
        "max_payload" => {
            let size_bytes = small_size(key, node, defaults::MAX_PAYLOAD_BYTES)?;
            limits.max_payload_bytes = (integer(node)? >= 0).then_some(size_bytes);
        }
        "max_pending" => {
            limits.max_pending_bytes = or_default(integer(node)?, defaults::MAX_PENDING_BYTES);
        }
        // Zero means no limit here, unlike elsewhere.
        "max_connections" | "max_conn" => limits.max_connections = or_default(integer(node)?, -1),
        "max_subscriptions" | "max_subs" => limits.max_subscriptions = integer(node)?,
        "max_sub_tokens" | "max_subscription_tokens" => {
            let value = integer(node)?;
            if value <= 0 {
                return Err(Problem::at(node, format!("{key} value can not be negative")));
            }
            limits.max_subscription_tokens =
                u8::try_from(value).map_err(|_| Problem::at(node, format!("{key} value is too big")))?;
        }
        "max_closed_clients" => {
            limits.max_closed_clients = or_default(integer(node)?, defaults::MAX_CLOSED_CLIENTS);
        }
        "ping_max" => limits.ping_max = or_default(integer(node)?, defaults::PING_MAX),
        "no_fast_producer_stall" => limits.no_fast_producer_stall = boolean(node)?,
        "connect_error_reports" => {
            draft.options.connect_error_reports = or_default(integer(node)?, defaults::CONNECT_ERROR_REPORTS);
        }
        "reconnect_error_reports" => {
            draft.options.reconnect_error_reports =
                or_default(integer(node)?, defaults::RECONNECT_ERROR_REPORTS);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn times(key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Known {
    let options = &mut draft.options;
    match key {
        "ping_interval" => {
            let value = duration(node, "ping_interval", report)?.as_duration();
            options.limits.ping_interval = if value.is_zero() { defaults::PING_INTERVAL } else { value };
        }
        "write_deadline" => {
            let value = duration(node, "write_deadline", report)?.as_duration();
            options.limits.write_deadline = if value.is_zero() { defaults::WRITE_DEADLINE } else { value };
        }
        "write_timeout" => options.limits.write_timeout = write_timeout(node)?,
        "lame_duck_duration" => {
            let value = duration_string(node, key)?;
            if value.as_duration().as_secs() < 30 {
                return Err(Problem::at(
                    node,
                    format!("invalid lame_duck_duration of {value}, minimum is 30 seconds"),
                ));
            }
            options.lame_duck_duration = value.as_duration();
        }
        "lame_duck_grace_period" => {
            let value = duration_string(node, key)?;
            if value.0 < 0 {
                return Err(Problem::at(node, "invalid lame_duck_grace_period, needs to be positive"));
            }
            options.lame_duck_grace_period =
                if value.0 == 0 { defaults::LAME_DUCK_GRACE_PERIOD } else { value.as_duration() };
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// What happens to a connection that takes too long to be written to.
pub(super) fn write_timeout(node: &Node) -> Checked<WriteTimeout> {
    match string(node)? {
        "default" => Ok(WriteTimeout::Default),
        "close" => Ok(WriteTimeout::Close),
        "retry" => Ok(WriteTimeout::Retry),
        _ => Err(Problem::at(node, "write_timeout must be 'default', 'close' or 'retry'")),
    }
}

fn files(key: &str, node: &Node, draft: &mut Draft) -> Known {
    match key {
        "pidfile" | "pid_file" => draft.options.pid_file = text(node)?.map(Into::into),
        "ports_file_dir" => draft.options.ports_file_dir = text(node)?.map(Into::into),
        "store_dir" | "storedir" => {
            if draft.options.jetstream.store_dir.is_some() {
                return Err(Problem::at(node, "Duplicate 'store_dir' configuration"));
            }
            draft.options.jetstream.store_dir = text(node)?.map(Into::into);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn accounts_and_blocks(key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Known {
    match key {
        "accounts" => accounts::read(node, draft, report)?,
        "authorization" => auth::read(node, draft, report)?,
        "jetstream" => jetstream::read(node, draft, report)?,
        "proxies" => draft.options.trusted_proxies = Some(proxies::read(node, report)?),
        "lab" => lab::read(node, draft, report)?,
        "mappings" | "maps" => draft.options.mappings = Some(mappings::read(node, report)?),
        "no_auth_user" => draft.options.auth.no_auth_user = text(node)?,
        // Read before everything else.
        "system" | "system_account" => {}
        "no_system_account" | "no_system" | "no_sys_acc" => {
            draft.options.no_system_account = boolean(node)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn about_server(key: &str, node: &Node, draft: &mut Draft) -> Known {
    let options = &mut draft.options;
    match key {
        "server_name" => {
            let name = string(node)?;
            if name.contains(' ') {
                return Err(Problem::at(node, "server name cannot contain spaces"));
            }
            options.server_name = (!name.is_empty()).then(|| name.to_owned());
        }
        "server_tags" => add_tags(node, &mut options.tags)?,
        "server_metadata" => {
            for (name, value) in entries(node, "parsing metadata")?.iter() {
                options.metadata.insert(name.to_owned(), string(value)?.to_owned());
            }
        }
        "feature_flags" => {
            for (name, value) in entries(node, "parsing feature flags")?.iter() {
                options.feature_flags.insert(name.to_owned(), feature_flag(name, value)?);
            }
        }
        "default_js_domain" => {
            for (account, domain) in entries(node, "default_js_domain config")?.iter() {
                options.default_js_domain.insert(account.to_owned(), string(domain)?.to_owned());
            }
        }
        "disable_sublist_cache" | "no_sublist_cache" => options.no_sublist_cache = boolean(node)?,
        "no_header_support" => options.no_header_support = boolean(node)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// The entries of a block; `what` says in the error what could not be done.
fn entries<'n>(node: &'n Node, what: &str) -> Checked<&'n Map> {
    match &node.value {
        Value::Map(map) => Ok(map),
        other => Err(Problem::at(node, format!("error {what}: unsupported type {}", other.kind()))),
    }
}

fn feature_flag(name: &str, node: &Node) -> Checked<bool> {
    let Value::Bool(on) = node.value else {
        let (name, kind) = (quoted(name), node.value.kind());
        return Err(Problem::at(
            node,
            format!("error parsing feature flag {name}: expected bool, got {kind}"),
        ));
    };
    Ok(on)
}

/// Tags are lower case, trimmed, and each is there once.
fn add_tags(node: &Node, tags: &mut Vec<String>) -> Checked<()> {
    let mut wrong_elements = Report::default();
    let given = strings(node, "tags", &mut wrong_elements)?;
    if wrong_elements.has_errors() {
        return Err(Problem::at(
            node,
            "error parsing tags: unsupported type *conf.token where string is expected",
        ));
    }
    for tag in given {
        let tag = tag.trim().to_lowercase();
        if !tag.is_empty() && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(())
}
