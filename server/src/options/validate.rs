//! What must hold among options once flags, file and defaults came together.

use jetkv_protocol::subject;

use super::defaults;
use super::duration::GoDuration;
use super::model::Options;
use super::quoted;

/// Checks options. The error is nats-server's text.
pub(super) fn check(options: &Options) -> Result<(), String> {
    check_numbers(options)?;
    if options.server_name.as_deref().is_some_and(|name| name.contains(' ')) {
        return Err("server name cannot contain spaces".to_owned());
    }
    check_no_auth_user(options)?;
    check_default_domains(options)?;
    check_domain(options)?;
    check_accounts(options)?;
    if let Some(advertise) = &options.client_advertise {
        check_host_port(advertise).map_err(|reason| {
            format!("Error setting server INFO with ClientAdvertise value of {advertise}, err={reason}")
        })?;
    }
    Ok(())
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

fn check_no_auth_user(options: &Options) -> Result<(), String> {
    let Some(name) = &options.auth.no_auth_user else { return Ok(()) };
    if options.auth.users.is_empty() {
        return Err(format!("no_auth_user: \"{name}\" present, but users/nkeys are not defined"));
    }
    if options.auth.users.iter().any(|user| user.username == *name) {
        return Ok(());
    }
    Err(format!(
        "no_auth_user: \"{name}\" not present as user or nkey in authorization block or account configuration"
    ))
}

fn check_default_domains(options: &Options) -> Result<(), String> {
    for (name, domain) in &options.default_js_domain {
        if name != defaults::GLOBAL_ACCOUNT {
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
        if name == options.system_account.as_deref().unwrap_or(defaults::SYSTEM_ACCOUNT) {
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

fn check_accounts(options: &Options) -> Result<(), String> {
    let Some(name) = &options.system_account else { return Ok(()) };
    let known = name == defaults::SYSTEM_ACCOUNT
        || name == defaults::GLOBAL_ACCOUNT
        || options.accounts.iter().any(|account| account.name == *name);
    if known { Ok(()) } else { Err("error resolving system account: account missing".to_owned()) }
}

/// Checks `host` or `host:port`. The error is Go's text.
fn check_host_port(text: &str) -> Result<(), String> {
    let address = |reason: &str| Err(format!("address {text}: {reason}"));
    let after_host = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, after)) => after,
            None => return address("missing ']' in address"),
        },
        None => match text.matches(':').count() {
            0 => return Ok(()),
            1 => text.split_at(text.find(':').unwrap_or(0)).1,
            _ => return address("too many colons in address"),
        },
    };
    let Some(port) = after_host.strip_prefix(':') else { return Ok(()) };
    let port = port.trim();
    match port.parse::<i64>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("strconv.Atoi: parsing {}: invalid syntax", quoted(port))),
    }
}
