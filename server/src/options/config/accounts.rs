//! The `accounts` block.

use std::collections::HashSet;

use super::auth::{self, Users, users};
use super::exchange::Wishes;
use super::report::{Checked, Problem, Report};
use super::typed::integer;
use super::{Draft, mappings, permissions};
use crate::options::auth_model::{
    AccountJetStreamLimits, AccountLimits, AccountOptions, MessageTraceOptions,
};
use crate::options::defaults;
use crate::options::exchange::{Exchange, Market};
use crate::options::grammar::{Map, Node, Value};
use jetkv_go_compat::quoted;
use jetkv_protocol::subject;
use nkeys::KeyPairType;

/// Reads the `accounts` block: names only, or maps by name.
pub(super) fn read(node: &Node, draft: &mut Draft, report: &mut Report) -> Checked<()> {
    match &node.value {
        Value::Array(names) => {
            for element in names.iter() {
                match name_only(element, &draft.options.accounts) {
                    Ok(name) => draft.options.accounts.push(AccountOptions::new(name)),
                    Err(problem) => report.error(problem),
                }
            }
        }
        Value::Map(accounts) => {
            // Names of users are unique among all accounts.
            let mut names = auth::names(&draft.options.auth);
            let mut wishes = Wishes::default();
            for (name, value) in accounts.iter() {
                if !value.is_used_variable() {
                    let read = account(name, value, draft, &mut names, &mut wishes, report);
                    report.check(read);
                }
            }
            // What is wrong before says enough.
            if !report.has_errors() {
                exchange(wishes, node, draft, report);
            }
        }
        _ => {}
    }
    Ok(())
}

/// Lets accounts export and import once all of them are known.
fn exchange(wishes: Wishes, node: &Node, draft: &mut Draft, report: &mut Report) {
    let accounts = &mut draft.options.accounts;
    let none = accounts.iter().map(|account| (account.name.clone(), Exchange::default()));
    let mut market = Market { accounts: none.collect() };
    wishes.resolve(&mut market, !draft.options.no_system_account, node, report);
    for (account, (_, exchange)) in accounts.iter_mut().zip(market.accounts) {
        account.exchange = exchange;
    }
}

fn reserved(node: &Node, name: &str) -> Checked<()> {
    if name == defaults::GLOBAL_ACCOUNT {
        return Err(Problem::at(node, format!("{} is a Reserved Account", quoted(name))));
    }
    Ok(())
}

fn name_only(node: &Node, known: &[AccountOptions]) -> Checked<String> {
    let name = super::typed::string(node)?;
    reserved(node, name)?;
    if known.iter().any(|account| account.name == name) {
        return Err(Problem::at(node, format!("Duplicate Account Entry: {name}")));
    }
    Ok(name.to_owned())
}

fn account(
    name: &str,
    node: &Node,
    draft: &mut Draft,
    names: &mut HashSet<String>,
    wishes: &mut Wishes,
    report: &mut Report,
) -> Checked<()> {
    let Value::Map(entries) = &node.value else {
        return Err(Problem::at(node, "Expected map entries for accounts"));
    };
    reserved(node, name)?;
    let mut account = AccountOptions::new(name);
    let mut account_users = Users::default();
    let mut users_node = node;
    let mut default_permissions = None;
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "users" => {
                users_node = value;
                account_users = report.attempt(|report| users(value, report)).unwrap_or_default();
            }
            "default_permissions" => {
                default_permissions = report.attempt(|report| permissions::read(value, report));
            }
            "jetstream" => {
                if let Some(limits) = report.attempt(|report| jetstream(value, report)) {
                    account.jetstream = limits.map(Into::into);
                }
            }
            "limits" => {
                if let Some(limits) = report.attempt(|report| limits(value, report)) {
                    account.limits = limits;
                }
            }
            "nkey" => report_account_key(value, report),
            "mappings" | "maps" => {
                if let Some(read) = report.attempt(|report| mappings::read(value, report)) {
                    account.mappings = read;
                }
            }
            "exports" => drop(report.attempt(|report| wishes.read_exports(name, value, report))),
            "imports" => drop(report.attempt(|report| wishes.read_imports(name, value, report))),
            "msg_trace" | "trace_dest" => {
                account.message_trace = report.check(message_trace(key, value)).flatten();
                warn_of_idle_sampling(&account, value, report);
            }
            _ if value.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(value, key)),
        }
    }
    draft.options.accounts.push(account);
    if !account_users.is_empty() {
        if draft.options.auth.username.is_some() {
            return Err(Problem::at(users_node, "Can not have a single user/pass and accounts"));
        }
        if draft.options.auth.token.is_some() {
            return Err(Problem::at(users_node, "Can not have a token and accounts"));
        }
    }
    account_users.apply_default_permissions(default_permissions.as_ref());
    add_users(name, account_users, users_node, draft, names, report);
    Ok(())
}

/// Adds the users of an account to those that are known. One that is known already is left out.
fn add_users(
    account: &str,
    account_users: Users,
    node: &Node,
    draft: &mut Draft,
    names: &mut HashSet<String>,
    report: &mut Report,
) {
    let mut add = |kind, user: &str| match auth::add(names, kind, user) {
        Ok(()) => true,
        Err(text) => {
            report.error(Problem::at(node, text));
            false
        }
    };
    let auth = &mut draft.options.auth;
    for mut user in account_users.nkeys {
        if add("nkey", &user.nkey) {
            user.account = Some(account.to_owned());
            auth.nkeys.push(user);
        }
    }
    for mut user in account_users.users {
        if add("user", &user.username) {
            user.account = Some(account.to_owned());
            auth.users.push(user);
        }
    }
}

/// A part of the messages without a place for their traces is most likely a mistake.
fn warn_of_idle_sampling(account: &AccountOptions, node: &Node, report: &mut Report) {
    if account.message_trace.is_none()
        && !report.has_errors()
        && matches!(&node.value, Value::Map(entries) if entries.get("sampling").is_some())
    {
        let text = "Trace destination sampling ignored since no destination was set";
        report.warning(Problem::at(node, text));
    }
}

/// Where traces go: a subject, or a map with a part of the messages besides. Without a subject there are none.
fn message_trace(key: &str, node: &Node) -> Checked<Option<MessageTraceOptions>> {
    let subject_of = |key: &str, node: &Node| {
        let Value::String(subject) = &node.value else {
            let text = format!("Field {} should be a string, got {}", quoted(key), node.value.kind());
            return Err(Problem::at(node, text));
        };
        if !subject::is_valid_publish(subject.as_bytes()) {
            return Err(Problem::at(node, format!("Trace destination {} is not valid", quoted(subject))));
        }
        Ok(subject.clone())
    };
    let entries = match &node.value {
        Value::String(_) => {
            return Ok(Some(MessageTraceOptions { subject: subject_of(key, node)?, sampling: 100 }));
        }
        Value::Map(entries) => entries,
        other => {
            let (key, kind) = (quoted(key), other.kind());
            let text =
                format!("Expected account message trace {key} to be a string or a map/struct, got {kind}");
            return Err(Problem::at(node, text));
        }
    };
    let (mut subject, mut sampling) = (None, 100);
    for (name, value) in entries.iter() {
        match name.to_ascii_lowercase().as_str() {
            "dest" => subject = Some(subject_of(name, value)?),
            "sampling" => sampling = trace_sampling(name, value)?,
            _ if value.is_used_variable() => {}
            _ => {
                let (name, key) = (quoted(name), quoted(key));
                let text = format!("Unknown field {name} parsing account message trace map/struct {key}");
                return Err(Problem::at(value, text));
            }
        }
    }
    Ok(subject.map(|subject| MessageTraceOptions { subject, sampling }))
}

fn trace_sampling(key: &str, node: &Node) -> Checked<u8> {
    let number = match &node.value {
        Value::Integer(number) => *number,
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().map_err(|_| {
            Problem::at(node, format!("Invalid trace destination sampling value {}", quoted(text)))
        })?,
        other => {
            let (key, kind) = (quoted(key), other.kind());
            let text = format!(
                "Trace destination sampling field {key} should be an integer or a percentage, got {kind}"
            );
            return Err(Problem::at(node, text));
        }
    };
    let invalid = || format!("Ttrace destination sampling value {number} is invalid, needs to be [1..100]");
    u8::try_from(number)
        .ok()
        .filter(|sampling| (1..=100).contains(sampling))
        .ok_or_else(|| Problem::at(node, invalid()))
}

/// The key of an account names nothing that a server without operators looks up; it has to be one all the same.
fn report_account_key(node: &Node, report: &mut Report) {
    let is_key =
        matches!(&node.value, Value::String(text) if auth::is_public_key(text, KeyPairType::Account));
    if !is_key {
        let shown = match &node.value {
            Value::String(text) => quoted(text),
            other => format!("%!q({}={other})", other.kind()),
        };
        report.error(Problem::at(node, format!("Not a valid public nkey for an account: {shown}")));
    }
}

fn limits(node: &Node, report: &mut Report) -> Checked<AccountLimits> {
    let Value::Map(entries) = &node.value else {
        let text = format!("Expected account limits to be a map/struct, got {}", node.value);
        return Err(Problem::at(node, text));
    };
    let mut limits = AccountLimits::default();
    for (key, value) in entries.iter() {
        match key.to_ascii_lowercase().as_str() {
            "max_connections" | "max_conn" => limits.max_connections = integer(value)?,
            "max_subscriptions" | "max_subs" => limits.max_subscriptions = integer(value)?,
            "max_payload" | "max_pay" => limits.max_payload_bytes = integer(value)?,
            "max_leafnodes" | "max_leafs" => limits.max_leafnodes = integer(value)?,
            _ if value.is_used_variable() => {}
            _ => {
                let text = format!("Unknown field {} parsing account limits", quoted(key));
                report.error(Problem::at(value, text));
            }
        }
    }
    Ok(limits)
}

/// JetStream of an account: on, off, or on with limits. Its errors have no place, as on nats-server.
fn jetstream(node: &Node, report: &mut Report) -> Checked<Option<AccountJetStreamLimits>> {
    let unlimited = AccountJetStreamLimits::default();
    match &node.value {
        Value::Bool(on) => Ok(on.then_some(unlimited)),
        Value::String(word) => match word.to_ascii_lowercase().as_str() {
            "enabled" | "enable" => Ok(Some(unlimited)),
            "disabled" | "disable" => Ok(None),
            _ => {
                let text = format!("Expected 'enabled' or 'disabled' for string value, got '{word}'");
                Err(Problem::general(text))
            }
        },
        Value::Map(entries) => jetstream_limits(entries, report).map(Some),
        other => {
            let text = format!("Expected map, bool or string to define JetStream, got {}", other.kind());
            Err(Problem::general(text))
        }
    }
}

fn jetstream_limits(entries: &Map, report: &mut Report) -> Checked<AccountJetStreamLimits> {
    let mut limits = AccountJetStreamLimits::default();
    for (key, node) in entries.iter() {
        let size = || match node.value {
            Value::Integer(value) => Ok(value),
            _ => Err(expected("a parseable size", key, node)),
        };
        match key.to_ascii_lowercase().as_str() {
            "max_memory" | "max_mem" | "mem" | "memory" => limits.max_memory_bytes = size()?,
            "max_store" | "max_file" | "max_disk" | "store" | "disk" => limits.max_store_bytes = size()?,
            "max_streams" | "streams" => limits.max_streams = size()?,
            "max_consumers" | "consumers" => limits.max_consumers = size()?,
            "max_bytes_required" | "max_stream_bytes" | "max_bytes" => match node.value {
                Value::Bool(value) => limits.max_bytes_required = value,
                _ => return Err(expected("a parseable bool", key, node)),
            },
            "mem_max_stream_bytes" | "memory_max_stream_bytes" => limits.memory_max_stream_bytes = size()?,
            "disk_max_stream_bytes" | "store_max_stream_bytes" => limits.store_max_stream_bytes = size()?,
            "max_ack_pending" => limits.max_ack_pending = size()?,
            // Which account carries the traffic between servers: there is only one server.
            "cluster_traffic" => match &node.value {
                Value::String(word) if matches!(word.as_str(), "" | "system" | "owner") => {}
                Value::String(_) => return Err(expected("'system' or 'owner' string value", key, node)),
                _ => return Err(expected("either 'system' or 'owner' string value", key, node)),
            },
            _ if node.is_used_variable() => {}
            _ => report.error(Problem::unknown_field(node, key)),
        }
    }
    Ok(limits)
}

fn expected(what: &str, key: &str, node: &Node) -> Problem {
    Problem::at(node, format!("Expected {what} for {}, got {}", quoted(key), node.value))
}
