//! The block `auth_callout`: who is asked about clients.

use jetkv_go_compat::quoted;
use nkeys::KeyPairType;

use super::report::{Checked, Problem, Report};
use super::typed::string;
use super::{Draft, auth};
use crate::claims::is_curve_key;
use crate::options::auth_model::AuthCallout;
use crate::options::defaults;
use crate::options::grammar::{Node, Value};

/// Reads the block.
pub(super) fn read(node: &Node, report: &mut Report) -> Checked<AuthCallout> {
    let Value::Map(map) = &node.value else {
        let text = format!("Expected authorization callout to be a map/struct, got {}", node.value);
        return Err(Problem::at(node, text));
    };
    let mut callout = AuthCallout { account: defaults::GLOBAL_ACCOUNT.to_owned(), ..AuthCallout::default() };
    let mut last = node;
    for (key, value) in map.iter() {
        last = value;
        match key.to_ascii_lowercase().as_str() {
            "issuer" => callout.issuer = issuer(value)?,
            "account" | "acc" => {
                let name = string(value)?;
                callout.account = if name.is_empty() { defaults::GLOBAL_ACCOUNT } else { name }.to_owned();
            }
            "auth_users" | "users" => callout.auth_users = names(value, "auth_users")?,
            "xkey" | "key" => callout.xkey = Some(xkey(value)?),
            "allowed_accounts" => callout.allowed_accounts = names(value, "allowed accounts")?,
            _ if value.is_used_variable() => {}
            _ => {
                let text = format!("Unknown field {} parsing authorization callout", quoted(key));
                report.error(Problem::at(value, text));
            }
        }
    }
    if callout.issuer.is_empty() {
        return Err(Problem::at(last, "Authorization callouts require an issuer to be specified"));
    }
    if callout.auth_users.is_empty() {
        return Err(Problem::at(last, "Authorization callouts require authorized users to be specified"));
    }
    Ok(callout)
}

/// Notes accounts that nobody configured.
pub(super) fn check_accounts(draft: &Draft, report: &mut Report) {
    let options = &draft.options;
    for name in options.auth.callout.iter().flat_map(|callout| &callout.allowed_accounts) {
        // Mappings of the server are those of the global account, which makes it one of the configured.
        let is_global = name == defaults::GLOBAL_ACCOUNT && options.mappings.is_some();
        if !is_global && !options.accounts.iter().any(|account| account.name == *name) {
            let name = quoted(name);
            report.error(Problem::general(format!(
                "auth_callout allowed account {name} not found in configured accounts"
            )));
        }
    }
}

fn issuer(node: &Node) -> Checked<String> {
    let key = string(node)?;
    if !auth::is_public_key(key, KeyPairType::Account) {
        let text = format!("Expected callout user to be a valid public account nkey, got {}", quoted(key));
        return Err(Problem::at(node, text));
    }
    Ok(key.to_owned())
}

fn xkey(node: &Node) -> Checked<String> {
    let key = string(node)?;
    if !is_curve_key(key) {
        let text = format!("Expected callout xkey to be a valid public xkey, got {}", quoted(key));
        return Err(Problem::at(node, text));
    }
    Ok(key.to_owned())
}

fn names(node: &Node, what: &str) -> Checked<Vec<String>> {
    let Value::Array(elements) = &node.value else {
        return Err(Problem::at(node, format!("Expected {what} field to be an array, got *conf.token")));
    };
    elements.iter().map(|element| string(element).map(str::to_owned)).collect()
}
