//! The blocks `leafnodes` and `cluster`: where they listen. What `cluster` says of who connects there has no effect, as nobody is
//! let in; it is checked all the same, and what would have the server connect to others, or needs TLS, is refused by name.

use std::time::Duration;

use super::report::{Checked, Problem, Report};
use super::typed::{boolean, duration, integer, listen, map, string, strings};
use super::{Draft, auth, leafnodes, permissions};
use crate::options::WriteTimeout;
use crate::options::grammar::{Node, Value};
use crate::options::listener_model::Unserved;
use jetkv_go_compat::{GoDuration, quoted};

/// Longest time between two PINGs to a route.
const ROUTE_PING_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// What a block says about its listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerDraft {
    pub(crate) feature: Unserved,
    /// Empty: all interfaces.
    pub(crate) host: String,
    /// As given: -1 is any free one; there is no listener without one.
    pub(crate) port: i64,
    /// The name of the cluster. Empty: none is given.
    pub(crate) name: String,
    /// `host:port` that others of the cluster would be told of. Empty: where the listener is.
    pub(crate) advertise: String,
    /// A flag says where it is.
    pub(crate) by_flag: bool,
    pub(crate) auth_timeout: Option<Duration>,
    /// As given; 0 stands for the default.
    pub(crate) pool_size: i64,
    pub(crate) write_deadline: Duration,
    pub(crate) write_timeout: WriteTimeout,
}

impl ListenerDraft {
    pub(crate) fn new(feature: Unserved) -> Self {
        Self {
            feature,
            host: String::new(),
            port: 0,
            name: String::new(),
            advertise: String::new(),
            by_flag: false,
            auth_timeout: None,
            pool_size: 0,
            write_deadline: Duration::ZERO,
            write_timeout: WriteTimeout::Default,
        }
    }
}

/// Reads the block if the key is that of one.
pub(super) fn read(key: &str, node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<bool> {
    let (feature, block) = match key {
        "leafnodes" | "leaf" => (Unserved::Leafnodes, "Expected map to define a leafnode"),
        "cluster" => (Unserved::Cluster, "Expected map to define cluster"),
        _ => return Ok(false),
    };
    let Value::Map(entries) = &node.value else {
        return Err(Problem::at(node, format!("{block}, got {}", node.value.kind())));
    };
    let mut listener = draft.take_listener(feature);
    let leafnodes = &mut draft.options.leafnodes;
    for (key, value) in entries.iter() {
        let lower = key.to_ascii_lowercase();
        let known = match address(&lower, value, &mut listener) {
            Ok(false) => match feature {
                Unserved::Leafnodes => {
                    leafnodes::read(&lower, key, value, (&mut listener, &mut *leafnodes), report)
                }
                Unserved::Cluster => cluster(&lower, key, value, &mut listener, report),
            },
            known => known,
        };
        match known {
            Ok(true) => {}
            Ok(false) if value.is_used_variable() => {}
            Ok(false) => report.error(Problem::unknown_field(value, key)),
            Err(problem) => report.error(problem),
        }
    }
    draft.listeners.push(listener);
    Ok(true)
}

impl Draft {
    /// What was read of the listener so far: a block by another of its names goes on with it.
    fn take_listener(&mut self, feature: Unserved) -> ListenerDraft {
        match self.listeners.iter().position(|known| known.feature == feature) {
            Some(at) => self.listeners.swap_remove(at),
            None => ListenerDraft::new(feature),
        }
    }
}

fn address(key: &str, node: &Node, listener: &mut ListenerDraft) -> Checked<bool> {
    match key {
        "listen" => (listener.host, listener.port) = listen(node)?,
        "port" => listener.port = integer(node)?,
        "host" | "net" => string(node)?.clone_into(&mut listener.host),
        _ => return Ok(false),
    }
    Ok(true)
}

fn cluster(
    lower: &str,
    key: &str,
    node: &Node,
    listener: &mut ListenerDraft,
    report: &mut Report,
) -> Checked<bool> {
    match lower {
        "name" => {
            let name = string(node)?;
            if name.contains(' ') {
                return Err(Problem::at(node, "cluster name cannot contain spaces"));
            }
            name.clone_into(&mut listener.name);
        }
        "routes" => nobody(node, key, "routes")?,
        "tls" => return Err(Problem::unsupported(node, key)),
        "authorization" => cluster_authorization(node, listener, report)?,
        "permissions" => {
            if permissions::read(node, report)?.responses.is_some() {
                return Err(Problem::at(node, "Cluster permissions do not support dynamic responses"));
            }
        }
        "cluster_advertise" | "advertise" => string(node)?.clone_into(&mut listener.advertise),
        "no_advertise" | "connect_backoff" => drop(boolean(node)?),
        "pool_size" => listener.pool_size = integer(node)?,
        "connect_retries" | "ping_max" => drop(integer(node)?),
        "accounts" => drop(strings(node, "accounts", report)?),
        "compression" => compression(node, key, report)?,
        "ping_interval" => {
            if duration(node, lower, report)?.as_duration() > ROUTE_PING_INTERVAL_MAX {
                let text = "Cluster 'ping_interval' will reset to 30s which is the max for routes";
                report.warning(Problem::at(node, text));
            }
        }
        "write_deadline" => listener.write_deadline = duration(node, lower, report)?.as_duration(),
        "write_timeout" => listener.write_timeout = super::top::write_timeout(node)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A list of servers to connect to, which has to be empty.
fn nobody(node: &Node, key: &str, field: &str) -> Checked<()> {
    match &node.value {
        Value::Array(servers) if servers.iter().next().is_none() => Ok(()),
        Value::Array(_) => Err(Problem::unsupported(node, key)),
        other => {
            let text = format!("Expected {field} field to be an array, got {}", other.kind());
            Err(Problem::at(node, text))
        }
    }
}

fn cluster_authorization(node: &Node, listener: &mut ListenerDraft, report: &mut Report) -> Checked<()> {
    let refused = |what: &str| Err(Problem::at(node, format!("Cluster authorization does not {what}")));
    for (key, value) in map(node)?.iter() {
        match key.to_ascii_lowercase().as_str() {
            "user" | "username" | "pass" | "password" => drop(string(value)?),
            "token" if string(value)?.is_empty() => {}
            "token" => return refused("support tokens"),
            "users" => return refused("allow multiple users"),
            "auth_callout" | "auth_hook" => return refused("support callouts"),
            "timeout" => listener.auth_timeout = auth::timeout(key, value, report)?,
            "default_permission" | "default_permissions" | "permissions" => {
                report.attempt(|report| permissions::read(value, report));
                let key = quoted("authorization");
                report.warning(Problem::at(
                    node,
                    format!(
                        "invalid use of field {key}: setting \"permissions\" within cluster authorization block is \
                         deprecated"
                    ),
                ));
            }
            "proxy_required" => drop(boolean(value)?),
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    Ok(())
}

pub(super) fn compression(node: &Node, key: &str, report: &mut Report) -> Checked<()> {
    match &node.value {
        Value::String(_) | Value::Bool(_) => Ok(()),
        Value::Map(entries) => {
            for (key, value) in entries.iter() {
                match key.to_ascii_lowercase().as_str() {
                    "mode" => drop(string(value)?),
                    "rtt_thresholds" | "thresholds" | "rtts" | "rtt" => {
                        for text in strings(value, "compression", report)? {
                            GoDuration::parse(&text)
                                .map_err(|error| Problem::at(value, error.to_string()))?;
                        }
                    }
                    _ if value.is_used_variable() => {}
                    _ => return Err(Problem::unknown_field(value, key)),
                }
            }
            Ok(())
        }
        other => {
            let (key, kind) = (quoted(key), other.kind());
            Err(Problem::at(node, format!("field {key} should be a boolean or a structure, got {kind}")))
        }
    }
}
