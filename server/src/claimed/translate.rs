//! What claims say of an account, as a configuration would say it.

use std::time::Duration;

use jetkv_go_compat::quoted;
use jetkv_jetstream::WallNs;

use crate::claims::{self, AccountClaims, Export, Import, JetStreamLimits, Permission, Permissions, Token};
use crate::options::{
    AccountJetStreamLimits, AccountJetStreamTiers, AccountLimits, AccountOptions, Exchange, ExchangeError,
    ImportTerms, Latency, MapDestination, Mapping, MappingError, Market, MessageTraceOptions,
    ResponsePermission, ResponseType, SubjectPermission, defaults,
};

/// An account by its claims, with its exports and without its imports. `label` is its name in log lines.
pub(super) fn account(claims: &AccountClaims, label: &str) -> AccountOptions {
    let (limits, account) = (&claims.nats.limits, &claims.nats);
    let mut options = AccountOptions::new(claims.sub.clone());
    options.limits = AccountLimits {
        max_connections: limits.conn,
        max_subscriptions: limits.subs,
        max_payload_bytes: limits.payload,
        max_leafnodes: limits.leaf,
    };
    options.jetstream = limits.has_jetstream().then(|| match limits.tiered_limits.is_empty() {
        true => jetstream(limits.jetstream()).into(),
        false => {
            let tiers = limits.tiered_limits.iter();
            AccountJetStreamTiers::by_tier(
                tiers.map(|(name, limits)| (name.clone(), jetstream(*limits))).collect(),
            )
        }
    });
    options.message_trace = account.trace.as_ref().and_then(|trace| {
        let is_subject = jetkv_protocol::subject::is_valid_publish(trace.dest.as_bytes());
        let sampling = u8::try_from(trace.sampling).ok().filter(|sampling| (1..=100).contains(sampling));
        let subject = trace.dest.clone();
        is_subject.then(|| MessageTraceOptions { subject, sampling: sampling.unwrap_or(100) })
    });
    for (from, to) in &account.mappings {
        match Mapping::new(from, &destinations(to)) {
            Ok(mapping) => options.mappings.push(mapping),
            Err(error) => {
                let from = quoted(from);
                tracing::error!("Error adding subject mapping {from} for account [{label}]: {error}");
            }
        }
    }
    for export in account.exports.iter().flatten() {
        if let Err(error) = add_export(&mut options.exchange, export) {
            let kind = &export.kind;
            tracing::debug!("Error adding {kind} export to account [{label}]: {error}");
        }
    }
    options
}

fn jetstream(limits: JetStreamLimits) -> AccountJetStreamLimits {
    let unlimited = |value: i64| if value > 0 { value } else { -1 };
    AccountJetStreamLimits {
        max_memory_bytes: limits.mem_storage,
        max_store_bytes: limits.disk_storage,
        max_streams: limits.streams,
        max_consumers: limits.consumer,
        max_ack_pending: unlimited(limits.max_ack_pending),
        memory_max_stream_bytes: unlimited(limits.mem_max_stream_bytes),
        store_max_stream_bytes: unlimited(limits.disk_max_stream_bytes),
        max_bytes_required: limits.max_bytes_required,
    }
}

fn add_export(exchange: &mut Exchange, export: &Export) -> Result<(), ExchangeError> {
    let (subject, position) = (&export.subject, export.account_token_position);
    if export.kind == "stream" {
        exchange.export_stream(subject, Vec::new(), position)?;
        let added = exchange.exports.streams.iter_mut().find(|known| known.subject == *subject);
        if let Some(added) = added {
            added.approval.needs_activation = export.token_req;
            added.approval.revoked.clone_from(&export.revocations);
        }
        return Ok(());
    }
    let response = match export.response_type.as_str() {
        "Stream" => ResponseType::Streamed,
        "Chunked" => ResponseType::Chunked,
        _ => ResponseType::Singleton,
    };
    let added = exchange.export_service(subject, response, Vec::new(), position)?;
    added.approval.needs_activation = export.token_req;
    added.approval.revoked.clone_from(&export.revocations);
    added.allow_trace = export.allow_trace;
    if let Ok(threshold) = u64::try_from(export.response_threshold)
        && threshold > 0
    {
        added.threshold = Duration::from_nanos(threshold);
    }
    if let Some(latency) = &export.service_latency {
        let sampling = u8::try_from(latency.sampling).unwrap_or(0);
        exchange.track(subject, Latency { subject: latency.results.clone(), sampling })?;
    }
    Ok(())
}

/// Has the system account export what any account may import of it, as far as its claims do not export that otherwise.
pub(super) fn export_system_services(exchange: &mut Exchange) {
    // Where there is a position, an account asks for itself alone.
    const SERVICES: [(&str, ResponseType, usize); 4] = [
        ("$SYS.REQ.ACCOUNT.*.CONNZ", ResponseType::Streamed, 4),
        ("$SYS.REQ.ACCOUNT.*.STATZ", ResponseType::Streamed, 4),
        ("$SYS.DEBUG.SUBSCRIBERS", ResponseType::Singleton, 0),
        ("$SYS.REQ.USER.*.INFO", ResponseType::Singleton, 0),
    ];
    for (subject, response, position) in SERVICES {
        let covers = |known: &str| jetkv_protocol::subject::is_subset(subject.as_bytes(), known.as_bytes());
        if !exchange.exports.services.iter().any(|export| covers(&export.subject))
            && let Err(error) = exchange.export_service(subject, response, Vec::new(), position)
        {
            tracing::error!("Error adding system service export for {}: {error}", quoted(subject));
        }
    }
}

/// Adds an import of an account that has `importer`'s claims from one that has `exporter`'s.
///
/// # Errors
/// [`ExchangeError`].
pub(super) fn add_import(
    market: &mut Market,
    importer: &AccountClaims,
    exporter: &AccountClaims,
    import: &Import,
    is_activated: bool,
) -> Result<(), ExchangeError> {
    let terms = ImportTerms { allow_trace: import.allow_trace, share: import.share, is_activated };
    let (mine, theirs) = (importer.sub.as_str(), exporter.sub.as_str());
    let subject = import.subject.as_str();
    if import.kind == "stream" {
        let subjects = match import.local_subject.as_str() {
            "" => (subject, "", import.to.as_str()),
            local => (subject, local, ""),
        };
        return market.import_stream(mine, theirs, subjects, terms);
    }
    let (from, to) = match (import.local_subject.as_str(), import.to.as_str()) {
        ("", "") => (subject, subject),
        ("", to) => (subject, to),
        (local, _) => (local, subject),
    };
    market.import_service(mine, theirs, (from, to), terms)
}

/// Until when, in seconds since 1970, an account lets another one import something for which it wants permissions; the
/// inner `None` is for ever.
pub(super) fn activation(
    importer: &AccountClaims,
    exporter: &AccountClaims,
    import: &Import,
    signs: impl Fn(&str) -> bool,
    now: WallNs,
) -> Option<Option<i64>> {
    let now_s = now.secs();
    let activation = Token::activation(&import.token).ok()?;
    let is_its = activation.iss == import.account || activation.nats.issuer_account == import.account;
    let covers =
        |wide: &str, narrow: &str| jetkv_protocol::subject::is_subset(narrow.as_bytes(), wide.as_bytes());
    let to = if import.kind == "service" && !import.to.is_empty() { &import.to } else { &import.subject };
    let fits = activation.sub == importer.sub
        && activation.nats.kind == import.kind
        && covers(&activation.nats.subject, to);
    if !is_its || !fits || activation.issues(Some(now_s)).block() {
        return None;
    }
    // Without the account's name its own key signed, which the issuer says.
    if !activation.nats.issuer_account.is_empty() {
        if activation.nats.issuer_account != exporter.sub {
            tracing::error!(
                "Invalid issuer account {} in activation claim (subject: {} - type: {}) for account {}",
                quoted(&activation.nats.issuer_account),
                quoted(&activation.nats.subject),
                quoted(&activation.nats.kind),
                quoted(&exporter.sub)
            );
            return None;
        }
        if !signs(&activation.iss) {
            return None;
        }
    }
    let exports = exporter.nats.exports.iter().flatten().filter(|export| export.kind == import.kind);
    let exact = exports.clone().find(|export| export.subject == *to);
    let export = exact.or_else(|| exports.clone().find(|export| covers(&export.subject, to)));
    if export.is_some_and(|export| export.has_revoked(&activation.sub, activation.iat)) {
        return None;
    }
    match activation.exp {
        0 => Some(None),
        until if until <= now_s => None,
        until => Some(Some(until)),
    }
}

/// Permissions of claims; `None` where these say nothing of it.
pub(super) fn permissions(claims: &Permissions) -> Option<crate::options::Permissions> {
    let list = |permission: &Permission| {
        let is_set = !permission.allow.is_empty() || !permission.deny.is_empty();
        is_set.then(|| SubjectPermission {
            allow: (!permission.allow.is_empty()).then(|| permission.allow.clone()),
            deny: permission.deny.clone(),
        })
    };
    let responses = claims.resp.map(|responses| ResponsePermission {
        max_messages: if responses.max == 0 { defaults::ALLOW_RESPONSES_MAX } else { responses.max },
        expires_ns: match responses.ttl {
            0 => ResponsePermission::default().expires_ns,
            ttl => ttl,
        },
    });
    let permissions = crate::options::Permissions {
        publish: list(&claims.publish),
        subscribe: list(&claims.subscribe),
        responses,
    };
    (permissions != crate::options::Permissions::default()).then_some(permissions)
}

/// Whether the mappings of an account can be put in force; nats-server's text where not.
pub(super) fn check_mappings(claims: &AccountClaims) -> Result<(), String> {
    for (from, to) in &claims.nats.mappings {
        if !jetkv_protocol::subject::is_valid(from.as_bytes()) {
            return Err(format!("mapping {}: invalid subject", quoted(from)));
        }
        let Err(error) = Mapping::new(from, &destinations(to)) else { continue };
        // What is wrong with a destination by itself is said with it.
        let alone =
            |to: &&claims::Mapping| Mapping::new(from, &destinations(std::slice::from_ref(to))).is_err();
        let place = match (to.iter().find(alone), &error) {
            (Some(to), MappingError::Transform(_)) => format!("{} -> {}", quoted(from), quoted(&to.subject)),
            _ => quoted(from),
        };
        return Err(format!("mapping {place}: {error}"));
    }
    Ok(())
}

fn destinations(to: &[claims::Mapping]) -> Vec<MapDestination> {
    let destination = |to: &claims::Mapping| MapDestination {
        subject: to.subject.clone(),
        weight: to.percent(),
        cluster: to.cluster.clone(),
    };
    to.iter().map(destination).collect()
}
