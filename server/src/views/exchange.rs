//! Exports and imports, as `/accountz` shows them.

use std::collections::BTreeMap;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::AccountId;
use serde::Serialize;

use super::json::is_default;
use crate::options::{Approval, Latency, ServiceImport, StreamImport};
use crate::router::Account;

/// What an account exports.
#[derive(Serialize)]
pub(super) struct Export {
    subject: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    response_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_latency: Option<Measured>,
    #[serde(skip_serializing_if = "is_default")]
    token_req: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approved_accounts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked_activations: BTreeMap<String, GoTime>,
}

/// What an account imports, or a request that waits for an answer.
#[derive(Serialize)]
pub(super) struct Import {
    #[serde(skip_serializing_if = "is_default")]
    subject: String,
    #[serde(skip_serializing_if = "is_default")]
    account: String,
    #[serde(skip_serializing_if = "is_default")]
    to: String,
    #[serde(skip_serializing_if = "is_default")]
    local_subject: String,
    #[serde(rename = "type")]
    kind: &'static str,
    invalid: bool,
    share: bool,
    tracking: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Measured>,
}

/// Which requests are measured, and where that is told.
#[derive(Serialize)]
struct Measured {
    sampling: Sampling,
    results: String,
}

/// A part in percent, or a word.
#[derive(Serialize)]
#[serde(untagged)]
enum Sampling {
    Percent(u8),
    Word(&'static str),
}

impl Measured {
    fn new(latency: &Latency) -> Self {
        let sampling = match latency.sampling {
            0 => Sampling::Word("headers"),
            percent => Sampling::Percent(percent),
        };
        Self { sampling, results: latency.subject.clone() }
    }
}

fn approved(approval: &Approval) -> Vec<String> {
    approval.accounts.iter().cloned().collect()
}

fn revoked(approval: &Approval) -> BTreeMap<String, GoTime> {
    let moment = |at_s: &i64| GoTime::from_ns(at_s.saturating_mul(1_000_000_000));
    approval.revoked.iter().map(|(account, at_s)| (account.clone(), moment(at_s))).collect()
}

/// Services that the system account exports, where it is one, with that of JetStream last; then what `account` exports
/// itself: services, then streams.
pub(super) fn exports(account: &Account, system_with_jetstream: Option<bool>) -> Vec<Export> {
    const SYSTEM: [(&str, &str); 5] = [
        ("$SYS.REQ.ACCOUNT.*.CONNZ", "Streamed"),
        ("$SYS.REQ.ACCOUNT.*.STATZ", "Streamed"),
        ("$SYS.DEBUG.SUBSCRIBERS", "Singleton"),
        ("$SYS.REQ.USER.*.INFO", "Singleton"),
        ("$JS.API.>", "Singleton"),
    ];
    let count = system_with_jetstream.map_or(0, |with_jetstream| SYSTEM.len() - usize::from(!with_jetstream));
    let exchange = account.exchange();
    // Claims bring those of the system account with them.
    let is_missing = |subject: &str| exchange.exports.services.iter().all(|export| export.subject != subject);
    let of_system = SYSTEM.iter().take(count).filter(|(subject, _)| is_missing(subject));
    let of_system = of_system.map(|(subject, response_type)| Export {
        subject: (*subject).to_owned(),
        kind: "service",
        response_type,
        service_latency: None,
        token_req: false,
        approved_accounts: Vec::new(),
        revoked_activations: BTreeMap::new(),
    });
    let services = exchange.exports.services.iter().map(|export| Export {
        subject: export.subject.clone(),
        kind: "service",
        response_type: export.response.name(),
        service_latency: export.latency.as_ref().map(Measured::new),
        token_req: export.approval.needs_activation,
        approved_accounts: approved(&export.approval),
        revoked_activations: revoked(&export.approval),
    });
    let streams = exchange.exports.streams.iter().map(|export| Export {
        subject: export.subject.clone(),
        kind: "stream",
        response_type: "",
        service_latency: None,
        token_req: export.approval.needs_activation,
        approved_accounts: approved(&export.approval),
        revoked_activations: revoked(&export.approval),
    });
    of_system.chain(services).chain(streams).collect()
}

/// What an account imports: of the system account, then streams and services of others.
pub(super) fn imports(
    account: &Account,
    system: &str,
    with_jetstream: bool,
    latency_of: impl Fn(&ServiceImport) -> Option<Latency>,
) -> Vec<Import> {
    let exchange = account.exchange();
    let streams = exchange.imports.streams.iter().map(stream);
    let services = exchange.imports.services.iter().map(|import| {
        let latency = latency_of(import).as_ref().map(Measured::new);
        service(&import.account, &import.to, &import.from, import.share, latency)
    });
    let of_system = of_system(account.name(), system, with_jetstream);
    of_system.into_iter().chain(streams).chain(services).collect()
}

/// What an account imports of the system account, if there is one, which itself imports one service.
fn of_system(account: &str, system: &str, with_jetstream: bool) -> Vec<Import> {
    if system.is_empty() {
        return Vec::new();
    }
    let import = |subject: &str, to: &str, share: bool| service(system, subject, to, share, None);
    let user = import(&format!("$SYS.REQ.USER.{account}.INFO"), "$SYS.REQ.USER.INFO", true);
    if account == system {
        return vec![user];
    }
    let connz = format!("$SYS.REQ.ACCOUNT.{account}.CONNZ");
    let mut imports = vec![
        import(&connz, "$SYS.REQ.ACCOUNT.PING.CONNZ", false),
        import(&connz, "$SYS.REQ.SERVER.PING.CONNZ", false),
        import(&format!("$SYS.REQ.ACCOUNT.{account}.STATZ"), "$SYS.REQ.ACCOUNT.PING.STATZ", false),
        user,
    ];
    if with_jetstream {
        imports.push(import("$JS.API.>", "$JS.API.>", true));
    }
    imports
}

fn service(account: &str, subject: &str, from: &str, share: bool, latency: Option<Measured>) -> Import {
    Import {
        subject: subject.to_owned(),
        account: account.to_owned(),
        to: from.to_owned(),
        local_subject: from.to_owned(),
        kind: "service",
        invalid: false,
        share,
        tracking: false,
        latency,
    }
}

fn stream(import: &StreamImport) -> Import {
    Import {
        subject: import.from.clone(),
        account: import.account.clone(),
        to: String::new(),
        local_subject: import.to.clone(),
        kind: "stream",
        invalid: false,
        share: false,
        tracking: false,
        latency: None,
    }
}

/// Requests that wait for an answer, by their reply subjects. `name` tells who an account is.
pub(super) fn responses(account: &Account, name: impl Fn(AccountId) -> String) -> BTreeMap<String, Import> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let open = account.open_responses().into_iter().map(|(reply, open)| {
        let import = Import {
            subject: text(&open.to),
            account: name(open.requester),
            to: text(&reply),
            local_subject: text(&reply),
            kind: "service",
            invalid: false,
            share: open.share,
            tracking: open.tracked.is_some(),
            latency: open.tracked.as_ref().and(open.export.options.latency.as_ref()).map(Measured::new),
        };
        (text(&reply), import)
    });
    open.collect()
}
