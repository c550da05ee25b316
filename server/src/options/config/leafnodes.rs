//! What the block `leafnodes` says beside where to listen.

use std::path::PathBuf;
use std::time::Duration;

use nkeys::{KeyPair, KeyPairType};

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, duration, map, string, strings};
use super::{ListenerDraft, auth, tls};
use crate::options::auth_model::UserOptions;
use crate::options::defaults;
use crate::options::grammar::{Node, Value};
use crate::options::leafnode_model::{LeafnodeRemote, RemoteUrl};
use crate::options::{LeafnodeOptions, TlsOptions};
use jetkv_go_compat::quoted;
use jetkv_protocol::subject;

pub(super) fn read(
    lower: &str,
    key: &str,
    node: &Node,
    (listener, options): (&mut ListenerDraft, &mut LeafnodeOptions),
    report: &mut Report,
) -> Checked<bool> {
    match lower {
        "remotes" => options.remotes = remotes(node, report)?,
        "tls" => options.tls = Some(listener_tls(node)?),
        "authorization" => options.users = authorization(node, listener, report)?,
        "reconnect" | "reconnect_delay" | "reconnect_interval" => {
            options.reconnect_interval =
                time(node, "reconnect", report)?.unwrap_or(defaults::LEAFNODE_RECONNECT);
        }
        "dial_timeout" => {
            options.dial_timeout = time(node, lower, report)?.unwrap_or(defaults::LEAFNODE_DIAL_TIMEOUT);
        }
        "write_deadline" => options.write_deadline = time(node, lower, report)?,
        "leafnode_advertise" | "advertise" => drop(string(node)?),
        "min_version" | "minimum_version" => options.min_version = Some(min_version(node)?),
        "no_advertise" => options.no_advertise = boolean(node)?,
        "isolate_leafnode_interest" | "isolate" => options.isolate = boolean(node)?,
        "compression" => super::listeners::compression(node, key, report)?,
        "write_timeout" => drop(super::top::write_timeout(node)?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A time; none at all stands for the usual one.
fn time(node: &Node, key: &str, report: &mut Report) -> Checked<Option<Duration>> {
    Ok(Some(duration(node, key, report)?.as_duration()).filter(|time| !time.is_zero()))
}

/// TLS of the listener, where names in certificates mean nothing yet.
fn listener_tls(node: &Node) -> Checked<TlsOptions> {
    let options = tls::read(node)?;
    if options.map {
        return Err(Problem::unsupported(node, "verify_and_map"));
    }
    Ok(options)
}

fn min_version(node: &Node) -> Checked<String> {
    let text = string(node)?;
    let parts: Vec<Option<u64>> =
        text.trim_start_matches('v').split('.').map(|part| part.parse().ok()).collect();
    let [Some(major), Some(minor), Some(_)] = parts.as_slice() else {
        return Err(Problem::at(node, "invalid leafnode's minimum version: invalid semver"));
    };
    if (*major, *minor) < (2, 8) {
        return Err(Problem::at(node, "the minimum version should be at least 2.8.0"));
    }
    Ok(text.to_owned())
}

fn user() -> UserOptions {
    UserOptions {
        username: String::new(),
        password: String::new(),
        account: None,
        permissions: None,
        allowed_connection_types: None,
        proxy_required: false,
    }
}

fn authorization(
    node: &Node,
    listener: &mut ListenerDraft,
    report: &mut Report,
) -> Checked<Vec<UserOptions>> {
    let (mut single, mut users) = (user(), Vec::new());
    for (key, value) in map(node)?.iter() {
        match key.to_ascii_lowercase().as_str() {
            "user" | "username" => string(value)?.clone_into(&mut single.username),
            "pass" | "password" => string(value)?.clone_into(&mut single.password),
            "account" => single.account = Some(string(value)?.to_owned()),
            "timeout" => listener.auth_timeout = auth::timeout(key, value, report)?,
            "nkey" => report.error(Problem::unsupported(value, key)),
            "proxy_required" => single.proxy_required = boolean(value)?,
            "users" => users = self::users(value, report)?,
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    if single.username.is_empty() {
        return Ok(users);
    }
    if users.is_empty() {
        return Ok(vec![single]);
    }
    Err(Problem::at(node, "can not have a single user/pass and a users array"))
}

fn users(node: &Node, report: &mut Report) -> Checked<Vec<UserOptions>> {
    let Value::Array(entries) = &node.value else {
        let text = format!("Expected users field to be an array, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let mut users = Vec::new();
    for entry in entries.iter() {
        let Value::Map(fields) = &entry.value else {
            let text = format!("Expected user entry to be a map/struct, got {}", entry.value.kind());
            report.error(Problem::at(entry, text));
            continue;
        };
        let mut user = user();
        for (key, value) in fields.iter() {
            let text = |report: &mut Report| report.check(string(value)).map(str::to_owned);
            match key.to_ascii_lowercase().as_str() {
                "user" | "username" => user.username = text(report).unwrap_or_default(),
                "pass" | "password" => user.password = text(report).unwrap_or_default(),
                "account" => user.account = text(report),
                "proxy_required" => user.proxy_required = report.check(boolean(value)).unwrap_or_default(),
                _ if value.is_used_variable() => {}
                _ => report.error(Problem::unknown_field(value, key)),
            }
        }
        users.push(user);
    }
    Ok(users)
}

fn remotes(node: &Node, report: &mut Report) -> Checked<Vec<LeafnodeRemote>> {
    let Value::Array(entries) = &node.value else {
        let text = format!("Expected remotes field to be an array, got {}", node.value.kind());
        return Err(Problem::at(node, text));
    };
    let mut remotes = Vec::new();
    for entry in entries.iter() {
        let Value::Map(fields) = &entry.value else {
            let text =
                format!("Expected remote leafnode entry to be a map/struct, got {}", entry.value.kind());
            report.error(Problem::at(entry, text));
            continue;
        };
        let mut remote = LeafnodeRemote::default();
        for (key, value) in fields.iter() {
            let lower = key.to_ascii_lowercase();
            match field(&lower, key, value, &mut remote, report) {
                Ok(true) => {}
                Ok(false) if value.is_used_variable() => {}
                Ok(false) => report.error(Problem::unknown_field(value, key)),
                Err(problem) => report.error(problem),
            }
        }
        if remotes.iter().any(|known: &LeafnodeRemote| known.is_same(&remote)) {
            report.error(Problem::at(entry, format!("duplicate remote {}", remote.shown())));
            continue;
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn field(
    lower: &str,
    key: &str,
    node: &Node,
    remote: &mut LeafnodeRemote,
    report: &mut Report,
) -> Checked<bool> {
    match lower {
        "url" | "urls" => {
            for text in strings(node, "leafnode", report)? {
                remote.urls.push(url(&text).map_err(|reason| Problem::at(node, reason))?);
            }
        }
        "no_randomize" | "dont_randomize" => remote.no_randomize = boolean(node)?,
        "account" | "local" => string(node)?.clone_into(&mut remote.account),
        "creds" | "credentials" => remote.credentials = Some(path(string(node)?)),
        "nkey" | "seed" => remote.seed = Some(seed(node)?),
        "hub" => remote.hub = boolean(node)?,
        "deny_imports" | "deny_import" => remote.deny_imports = subjects(node, report)?,
        "deny_exports" | "deny_export" => remote.deny_exports = subjects(node, report)?,
        "isolate_leafnode_interest" | "isolate" => remote.isolate = boolean(node)?,
        "request_isolation" => remote.request_isolation = boolean(node)?,
        "first_info_timeout" => {
            remote.first_info_timeout = time(node, key, report)?.unwrap_or(defaults::LEAFNODE_INFO_WAIT);
        }
        "dial_timeout" => remote.dial_timeout = time(node, key, report)?,
        "disabled" => remote.disabled = boolean(node)?,
        // It is up to the other server, and none is asked for.
        "compression" => super::listeners::compression(node, key, report)?,
        "ignore_discovered_servers" => drop(boolean(node)?),
        "jetstream_cluster_migrate" | "js_cluster_migrate" => migration(node, report)?,
        "tls" => remote.tls = Some(tls::read_remote(node)?),
        "proxy"
        | "ws_compress"
        | "ws_compression"
        | "websocket_compress"
        | "websocket_compression"
        | "ws_no_masking"
        | "websocket_no_masking" => return Err(Problem::unsupported(node, key)),
        _ => return Ok(false),
    }
    if remote.credentials.is_some() && remote.seed.is_some() {
        return Err(Problem::at(node, "Remote leafnode can not have both creds and nkey defined"));
    }
    Ok(true)
}

/// Whether streams that are led here are led elsewhere while the other server is away. There is no cluster that they could go to.
fn migration(node: &Node, report: &mut Report) -> Checked<()> {
    match &node.value {
        Value::Bool(_) => Ok(()),
        Value::Map(fields) => {
            for (key, delay) in fields.iter().filter(|(key, _)| *key == "leader_migrate_delay") {
                time(delay, key, report)?;
            }
            Ok(())
        }
        other => {
            let text = format!("Expected boolean or map for jetstream_cluster_migrate, got {}", other.kind());
            Err(Problem::at(node, text))
        }
    }
}

/// A path, with the home directory for a tilde.
fn path(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => PathBuf::from(text),
    }
}

fn seed(node: &Node) -> Checked<String> {
    let text = string(node)?;
    let is_user = KeyPair::from_seed(text).is_ok_and(|pair| pair.key_pair_type() == KeyPairType::User);
    if is_user {
        return Ok(text.to_owned());
    }
    Err(Problem::at(node, format!("Remote leafnode nkey is not a valid seed: {}", quoted(text))))
}

fn subjects(node: &Node, report: &mut Report) -> Checked<Vec<String>> {
    let subjects = strings(node, "permission subjects", report)?;
    match subjects.iter().find(|text| !subject::is_valid(text.as_bytes())) {
        Some(wrong) => Err(Problem::at(node, format!("subject {} is not a valid subject", quoted(wrong)))),
        None => Ok(subjects),
    }
}

/// `nats-leaf://user:password@host:port`. Any scheme but those of WebSocket will do: whether there is TLS is up to the other server
/// and the block for it (nats-server v2.15.2).
fn url(text: &str) -> Result<RemoteUrl, String> {
    let text = text.trim();
    let wrong = || format!("error parsing leafnode url [{}]", quoted(text));
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    match scheme.to_ascii_lowercase().as_str() {
        "ws" | "wss" => {
            return Err(format!("leafnode url with scheme {} is not supported by JetKV yet", quoted(scheme)));
        }
        _ => {}
    }
    let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (who, place) = match rest.rsplit_once('@') {
        Some((who, place)) => (Some(who), place),
        None => (None, rest),
    };
    let (user, password) =
        match who.map(|who| who.split_once(':').map_or((who, None), |(user, pass)| (user, Some(pass)))) {
            Some((user, password)) => (
                Some(decoded(user).ok_or_else(wrong)?),
                password.map(|text| decoded(text).ok_or_else(wrong)).transpose()?,
            ),
            None => (None, None),
        };
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) })
        }
        None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(defaults::LEAFNODE_PORT), |port| port.parse().map_err(|_| wrong()))?;
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(RemoteUrl { scheme: scheme.to_ascii_lowercase(), host: host.to_owned(), port, user, password })
}

/// Text without the escapes of a URL.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_as_whom() {
        let read = |text: &str| {
            let url = url(text).unwrap();
            (url.host, url.port, url.user.unwrap_or_default(), url.password.unwrap_or_default())
        };
        let of = |host: &str, port, user: &str, password: &str| {
            (host.to_owned(), port, user.to_owned(), password.to_owned())
        };
        assert_eq!(read("nats://hub"), of("hub", 7422, "", ""));
        assert_eq!(read("nats-leaf://u:p%40@[::1]:7"), of("::1", 7, "u", "p@"));
        assert_eq!(read("nats://token@hub:1/"), of("hub", 1, "token", ""));
        for text in ["hub", "nats://", "nats://hub:x", "nats://hub:99999", "nats://u%4@hub"] {
            assert!(url(text).is_err(), "{text}");
        }
        assert!(url("wss://hub").unwrap_err().contains("not supported by JetKV yet"));
    }
}
