//! `/accountz` and `/accstatz`: accounts, and what went through them.

use std::collections::BTreeMap;

use jetkv_go_compat::GoTime;
use serde::Serialize;

use super::exchange::{self, Export, Import};
use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use super::subsz::SublistStats;
use crate::options::Destination;
use crate::router::Account;
use crate::snapshot::MonitorSource;

#[derive(Serialize)]
struct Accountz<'a> {
    server_id: &'a str,
    now: GoTime,
    #[serde(skip_serializing_if = "is_default")]
    system_account: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accounts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Detail>,
}

#[derive(Serialize)]
struct Detail {
    account_name: String,
    update_time: GoTime,
    #[serde(skip_serializing_if = "is_default")]
    is_system: bool,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: u32,
    client_connections: usize,
    subscriptions: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<Export>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<Import>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<String, Vec<MappedTo>>,
    name_tag: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    responses: BTreeMap<String, Import>,
    sublist_stats: SublistStats,
}

/// A destination of a subject mapping.
#[derive(Serialize)]
struct MappedTo {
    subject: String,
    /// With that of the destinations before it.
    weight: u8,
    #[serde(skip_serializing_if = "is_default")]
    cluster: String,
}

fn mappings(account: &Account) -> BTreeMap<String, Vec<MappedTo>> {
    let shown = |(cluster, to): (&str, &Destination)| MappedTo {
        subject: to.subject().to_owned(),
        weight: to.below(),
        cluster: cluster.to_owned(),
    };
    let mappings = account.mappings();
    let configured =
        mappings.iter().map(|one| (one.source().to_owned(), one.destinations().map(shown).collect()));
    let of_domains = account.renamed_patterns().into_iter().map(|(from, subject)| {
        let to = MappedTo { subject, weight: 100, cluster: String::new() };
        (from, vec![to])
    });
    of_domains.chain(configured).collect()
}

#[derive(Serialize)]
struct Accstatz<'a> {
    server_id: &'a str,
    now: GoTime,
    account_statz: Vec<AccountStat>,
}

/// Numbers of one account.
#[derive(Debug, Serialize)]
pub(crate) struct AccountStat {
    acc: String,
    name: String,
    pub(crate) conns: usize,
    leafnodes: u32,
    total_conns: usize,
    num_subscriptions: u64,
    sent: DataStat,
    received: DataStat,
    slow_consumers: i64,
}

/// Messages and bytes, in all and by the kinds of connection that are not clients.
#[derive(Debug, Serialize)]
struct DataStat {
    msgs: u64,
    bytes: u64,
    gateways: Count,
    routes: Count,
    leafs: Count,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    msgs: u64,
    bytes: u64,
}

impl DataStat {
    fn new(msgs: u64, bytes: u64) -> Self {
        Self { msgs, bytes, gateways: Count::default(), routes: Count::default(), leafs: Count::default() }
    }
}

fn system_name(source: &MonitorSource) -> String {
    source.system_account().map(|account| account.name().to_owned()).unwrap_or_default()
}

pub(super) fn accountz(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let wanted = query.text("acc");
    let mut accountz = Accountz {
        server_id: source.server_id(),
        now: time(source.now()),
        system_account: system_name(source),
        accounts: Vec::new(),
        account_detail: None,
    };
    if wanted.is_empty() {
        let accounts = source.accounts().into_iter().filter(|account| account.is_configured());
        accountz.accounts = accounts.map(|account| account.name().to_owned()).collect();
    } else {
        accountz.account_detail = Some(detail(source, wanted)?);
    }
    Ok(Page::json(&accountz))
}

/// One account, as the system account asks for it.
pub(super) fn info(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    Ok(Page::json(&detail(source, query.text("acc"))?))
}

fn detail(source: &MonitorSource, name: &str) -> Result<Detail, String> {
    let accounts = source.accounts();
    let Some(account) = accounts.iter().find(|account| account.name() == name && account.is_configured())
    else {
        return Err(format!("Account {name} does not exist"));
    };
    let counts = source.subscription_counts(Some(account));
    let (system, with_jetstream) = (system_name(source), source.had_jetstream());
    let is_system = account.name() == system;
    Ok(Detail {
        account_name: account.name().to_owned(),
        update_time: time(source.configured_at()),
        is_system,
        expired: false,
        complete: true,
        jetstream_enabled: account.has_jetstream(),
        leafnode_connections: 0,
        client_connections: account.client_count(),
        subscriptions: counts.present,
        exports: exchange::exports(account, is_system.then_some(with_jetstream)),
        imports: exchange::imports(account, &system, with_jetstream, |import| {
            let exporter = accounts.iter().find(|account| account.name() == import.account)?.exchange();
            let export = exporter.exports.services.iter().find(|export| export.subject == import.export)?;
            export.latency.clone()
        }),
        mappings: mappings(account),
        responses: exchange::responses(account, |id| {
            accounts.iter().find(|one| one.id() == id).map(|one| one.name().to_owned()).unwrap_or_default()
        }),
        name_tag: account.name().to_owned(),
        sublist_stats: SublistStats::new(counts),
    })
}

pub(super) fn accstatz(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let with_unused = query.boolean("unused")?;
    // Requests may name accounts.
    let named: Vec<&str> = query.requested("accounts").split(',').filter(|name| !name.is_empty()).collect();
    let accounts = source.accounts();
    let stats = accounts
        .iter()
        .filter(|account| named.is_empty() || named.contains(&account.name()))
        .filter(|account| with_unused || account.client_count() > 0);
    Ok(Page::json(&Accstatz {
        server_id: source.server_id(),
        now: time(source.now()),
        account_statz: stats
            .map(|account| AccountStat::new(account, source.subscription_counts(Some(account)).present))
            .collect(),
    }))
}

impl AccountStat {
    pub(crate) fn new(account: &Account, num_subscriptions: u64) -> Self {
        let traffic = account.traffic.counts();
        Self {
            acc: account.name().to_owned(),
            name: account.name().to_owned(),
            conns: account.client_count(),
            leafnodes: 0,
            total_conns: account.client_count(),
            num_subscriptions,
            sent: DataStat::new(traffic.out_msgs, traffic.out_bytes),
            received: DataStat::new(traffic.in_msgs, traffic.in_bytes),
            slow_consumers: account.slow_consumers(),
        }
    }
}
