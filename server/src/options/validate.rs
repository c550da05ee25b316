//! What must hold among options once flags, file and defaults came together.

mod operators;
mod websocket;

use jetkv_protocol::subject;

use super::defaults;
use super::model::Options;
use crate::claims::is_key;
use jetkv_go_compat::GoDuration;
use jetkv_go_compat::quoted;
use nkeys::KeyPairType;

/// What options are checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A server starts with them.
    Start,
    /// A running server takes them over. nats-server looks for less then.
    Reload,
}

/// Checks options. The error is nats-server's text.
pub(super) fn check(options: &Options, purpose: Purpose) -> Result<(), String> {
    check_numbers(options)?;
    if options.server_name.as_deref().is_some_and(|name| name.contains(' ')) {
        return Err("server name cannot contain spaces".to_owned());
    }
    operators::check(options)?;
    check_no_auth_user(options)?;
    check_default_domains(options)?;
    check_domain(options)?;
    let is_key = |key: &&String| nkeys::KeyPair::from_public_key(key).is_ok();
    if let Some(key) = options.trusted_proxies.iter().flatten().find(|key| !is_key(key)) {
        return Err(format!("proxy trusted key {} is invalid", quoted(key)));
    }
    if purpose == Purpose::Start {
        check_accounts(options)?;
    }
    check_leafnodes(options)?;
    websocket::check(options)
}

fn check_numbers(options: &Options) -> Result<(), String> {
    if options.lame_duck_grace_period >= options.lame_duck_duration {
        return Err(format!(
            "lame duck grace period ({}) should be strictly lower than lame duck duration ({})",
            GoDuration::from(options.lame_duck_grace_period),
            GoDuration::from(options.lame_duck_duration),
        ));
    }
    let (payload, pending) = (options.limits.max_payload_bytes, options.limits.max_pending_bytes);
    if let Some(payload) = payload
        && i64::try_from(payload).unwrap_or(i64::MAX) > pending
    {
        return Err(format!("max_payload ({payload}) cannot be higher than max_pending ({pending})"));
    }
    Ok(())
}

/// The accounts that leaf nodes are in exist.
fn check_leafnodes(options: &Options) -> Result<(), String> {
    let leafnodes = &options.leafnodes;
    if options.operators.is_on() {
        if !leafnodes.users.is_empty() {
            return Err("operator mode does not allow specifying users in leafnode config".to_owned());
        }
        if !leafnodes.remotes.iter().all(|remote| is_key(&remote.account, KeyPairType::Account)) {
            return Err("operator mode requires account nkeys in remotes. Please add an `account` key to each remote in \
                your `leafnodes` section, to assign it to an account. Each account value should be a 56 character public \
                key, starting with the letter 'A'"
                .to_owned());
        }
        return Ok(());
    }
    let exists = |name: &str| {
        name.is_empty()
            || name == defaults::GLOBAL_ACCOUNT
            || options.system_account_name() == Some(name)
            || options.accounts.iter().any(|account| account.name == name)
    };
    let users = leafnodes.users.iter().filter_map(|user| user.account.as_deref());
    let users = users.map(|name| (name, "authorization"));
    let remotes = leafnodes.remotes.iter().map(|remote| (remote.account.as_str(), "remote"));
    for (name, place) in users.chain(remotes) {
        if !exists(name) {
            return Err(format!("cannot find local account {} specified in leafnode {place}", quoted(name)));
        }
    }
    Ok(())
}

fn check_no_auth_user(options: &Options) -> Result<(), String> {
    match &options.auth.no_auth_user {
        Some(_) if !options.operators.operators.is_empty() => {
            Err("no_auth_user not compatible with Trusted Operator".to_owned())
        }
        Some(name) => check_listed(options, name),
        None => Ok(()),
    }
}

fn check_listed(options: &Options, name: &str) -> Result<(), String> {
    if !options.auth.has_users() {
        return Err(format!("no_auth_user: \"{name}\" present, but users/nkeys are not defined"));
    }
    if options.auth.lists(name) {
        return Ok(());
    }
    Err(format!(
        "no_auth_user: \"{name}\" not present as user or nkey in authorization block or account configuration"
    ))
}

fn check_default_domains(options: &Options) -> Result<(), String> {
    let has_operators = !options.operators.operators.is_empty();
    for (name, domain) in &options.default_js_domain {
        if has_operators && !is_key(name, KeyPairType::Account) {
            let name = quoted(name);
            return Err(format!(
                "default_js_domain contains account name {name}, which is not a valid public account nkey"
            ));
        }
        if !has_operators && name != defaults::GLOBAL_ACCOUNT {
            let Some(account) = options.accounts.iter().find(|account| account.name == *name) else {
                return Err(format!(
                    "in non operator mode, `default_js_domain` references non existing account {}",
                    quoted(name)
                ));
            };
            if account.jetstream.is_some() && !domain.is_empty() {
                let name = quoted(name);
                return Err(format!("default_js_domain contains account name {name} with enabled JetStream"));
            }
        }
        if name == options.named_system_account().unwrap_or(defaults::SYSTEM_ACCOUNT) {
            return Err(format!("system account {} can not be in default_js_domain", quoted(name)));
        }
        if !domain.is_empty() && !subject::is_valid(format!("$JS.{domain}.API.>").as_bytes()) {
            return Err(format!(
                "default_js_domain contains account {} with invalid domain name {}",
                quoted(name),
                quoted(domain)
            ));
        }
    }
    Ok(())
}

fn check_domain(options: &Options) -> Result<(), String> {
    let Some(domain) = &options.jetstream.domain else { return Ok(()) };
    let derived = format!("$JS.{domain}.API.>");
    if !subject::is_valid(derived.as_bytes()) {
        return Err(format!("invalid domain name: derived {} is not a valid subject", quoted(&derived)));
    }
    if domain.contains(['.', '*', '>']) {
        return Err("invalid domain name: may not contain ., * or >".to_owned());
    }
    Ok(())
}

/// Whether no certificate is to be shown along with a response of OCSP. Who connects would not take it without one.
pub(super) fn check_stapling(options: &Options) -> Result<(), String> {
    let of_websocket = options.websocket.as_ref().and_then(|websocket| websocket.tls.as_ref());
    for (block, tls) in [
        ("tls", options.tls.as_ref()),
        ("websocket", of_websocket),
        ("leafnodes", options.leafnodes.tls.as_ref()),
    ] {
        if tls.is_some_and(|tls| tls.identity.must_staple()) {
            return Err(format!(
                "the certificate of {} demands OCSP stapling (Must-Staple), which is not supported by JetKV yet; with \
                 `ocsp: false` it is shown without",
                quoted(block)
            ));
        }
    }
    Ok(())
}

fn check_accounts(options: &Options) -> Result<(), String> {
    let Some(name) = &options.system_account else { return Ok(()) };
    if options.operators.is_on() {
        // It is looked up when the server starts.
        return Ok(());
    }
    let known = name == defaults::SYSTEM_ACCOUNT
        || name == defaults::GLOBAL_ACCOUNT
        || options.accounts.iter().any(|account| account.name == *name);
    if known { Ok(()) } else { Err("error resolving system account: account missing".to_owned()) }
}

/// Takes `host` or `host:port` apart; what names no port, or 0 or -1, has `default_port`. The error is Go's text.
pub(crate) fn host_and_port(text: &str, default_port: u16) -> Result<(String, i64), String> {
    let address = |reason: &str| Err(format!("address {text}: {reason}"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, after)) => match after.strip_prefix(':') {
                Some(port) => (host, Some(port)),
                None => return address("missing port in address"),
            },
            None => return address("missing ']' in address"),
        },
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => return address("too many colons in address"),
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::trim) {
        None => 0,
        Some(port) => port
            .parse::<i64>()
            .map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", quoted(port)))?,
    };
    let port = if matches!(port, 0 | -1) { i64::from(default_port) } else { port };
    Ok((host.trim().to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::host_and_port;

    #[test]
    fn a_host_needs_no_port() {
        for (text, host, port) in [
            ("pub.example", "pub.example", 4222),
            ("pub.example:", "", 0),
            ("pub.example:0", "pub.example", 4222),
            ("pub.example:-1", "pub.example", 4222),
            (" pub.example : 99 ", "pub.example", 99),
            ("[::1]", "::1", 4222),
            ("[::1]:99", "::1", 99),
            ("[::1", "", 0),
            ("[::1]x", "", 0),
            ("::1", "", 0),
            ("a:b", "", 0),
        ] {
            let expected = (!host.is_empty()).then(|| (host.to_owned(), port));
            assert_eq!(host_and_port(text, 4222).ok(), expected, "{text}");
        }
    }
}
