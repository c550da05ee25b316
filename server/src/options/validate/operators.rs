//! What must hold among options about operators. The order and the texts are nats-server's.

use jetkv_go_compat::quoted;
use jetkv_go_compat::version::SERVER_VERSION;
use nkeys::KeyPairType;

use crate::claims::{Token, is_key};
use crate::options::model::Options;
use crate::options::operator_model::{OperatorOptions, ResolverOptions, TrustedOperator};

pub(super) fn check(options: &Options) -> Result<(), String> {
    let operators = &options.operators;
    if operators.operators.is_empty() {
        return match &operators.default_sentinel {
            Some(_) => Err("default sentinel requires operators and accounts".to_owned()),
            None => Ok(()),
        };
    }
    if let Some(sentinel) = &operators.default_sentinel {
        check_sentinel(sentinel)?;
    }
    if operators.resolver.is_none() {
        return Err("operators require an account resolver to be configured".to_owned());
    }
    if !options.accounts.is_empty() {
        return Err("operators do not allow Accounts to be configured directly".to_owned());
    }
    if options.auth.has_users() {
        return Err("operators do not allow users to be configured directly".to_owned());
    }
    if operators.trusted_keys.as_ref().is_some_and(|keys| !keys.is_empty()) {
        return Err("conflicting options for 'TrustedKeys' and 'TrustedOperators'".to_owned());
    }
    check_system_account(options, operators)?;
    operators.operators.iter().try_for_each(check_version)?;
    if let Some(key) = operators.keys().iter().find(|key| !is_key(key, KeyPairType::Operator)) {
        let key = quoted(key);
        return Err(format!("trusted Keys {key} are required to be a valid public operator nkey"));
    }
    let mut pinned = operators.pinned_accounts.iter().flatten();
    if let Some(key) = pinned.find(|key| !is_key(key, KeyPairType::Account)) {
        return Err(format!("pinned account key {} is not a valid public account nkey", quoted(key)));
    }
    match options.auth.callout {
        Some(_) => Err("operators do not allow authorization callouts to be configured directly".to_owned()),
        None => Ok(()),
    }
}

fn check_sentinel(sentinel: &str) -> Result<(), String> {
    let user = Token::user(sentinel).map_err(|_| "default sentinel JWT not valid".to_owned())?;
    let is_scoped = !user.nats.issuer_account.is_empty() && user.nats.has_empty_permissions();
    if user.nats.bearer_token || is_scoped {
        return Ok(());
    }
    Err("default sentinel must be a bearer token".to_owned())
}

fn check_system_account(options: &Options, operators: &OperatorOptions) -> Result<(), String> {
    let named = |operator: &TrustedOperator| operator.claims.nats.system_account.clone();
    let mut theirs = operators.operators.iter().map(named);
    if let Some(configured) = &options.system_account {
        let is_named = operators.operators.iter().any(|operator| named(operator) == *configured);
        if !is_named && theirs.any(|name| !name.is_empty()) {
            return Err("system_account in config and operator JWT must be identical".to_owned());
        }
        return Ok(());
    }
    let needs = operators.resolver.as_ref().is_some_and(ResolverOptions::needs_system_account);
    if needs && theirs.next().is_some_and(|name| name.is_empty()) {
        return Err("using nats based account resolver - the system account needs to be specified in configuration or \
                    the operator jwt"
            .to_owned());
    }
    Ok(())
}

/// Whether an operator wants a newer server than this one.
fn check_version(operator: &TrustedOperator) -> Result<(), String> {
    let (subject, claims) = (&operator.claims.sub, &operator.claims.nats);
    let wanted = claims.asserted_version().map_err(|error| {
        format!(
            "operator {subject} expects version {} got error instead: {error}",
            claims.assert_server_version
        )
    })?;
    let mut own = SERVER_VERSION.split('.').map(|part| part.parse::<i64>().unwrap_or(0));
    for (part, wanted) in ["major", "minor", "update"].into_iter().zip(wanted) {
        let own = own.next().unwrap_or(0);
        if wanted > own {
            return Err(format!(
                "operator {subject} expected {part} version {wanted} > server {part} version {own}"
            ));
        }
        if own > wanted {
            break;
        }
    }
    Ok(())
}
