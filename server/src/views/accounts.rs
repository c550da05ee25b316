//! `/accountz` and `/accstatz`: accounts, and what went through them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use jetkv_go_compat::GoTime;
use serde::Serialize;
use serde_json::{Value, json};

use super::exchange::{self, Export, Import};
use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use super::subsz::SublistStats;
use crate::claims::{Issue, Token};
use crate::options::Destination;
use crate::router::{Account, Claimed};
use crate::snapshot::MonitorSource;

const NANOS: i64 = 1_000_000_000;

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
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exports: Vec<Export>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    imports: Vec<Import>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<String, Vec<MappedTo>>,
    #[serde(skip_serializing_if = "is_default")]
    jwt: String,
    #[serde(skip_serializing_if = "is_default")]
    issuer_key: String,
    name_tag: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoded_jwt: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    validation_result_jwt: Vec<IssuePart>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    revoked_user: BTreeMap<String, GoTime>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    responses: BTreeMap<String, Import>,
    sublist_stats: SublistStats,
}

/// What is wrong with the claims of an account.
#[derive(Serialize)]
struct IssuePart {
    description: String,
    blocking: bool,
    time_check: bool,
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
    leafnodes: usize,
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
    fn new(msgs: u64, bytes: u64, leafs: Count) -> Self {
        Self { msgs, bytes, gateways: Count::default(), routes: Count::default(), leafs }
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

/// Claims with the parts that are shown even where they say nothing.
fn filled_in(mut claims: Value) -> Value {
    if let Some(nats) = claims.get_mut("nats").and_then(Value::as_object_mut) {
        for part in ["limits", "authorization", "default_permissions"] {
            nats.entry(part).or_insert_with(|| json!({}));
        }
        if let Some(permissions) = nats.get_mut("default_permissions").and_then(Value::as_object_mut) {
            for part in ["pub", "sub"] {
                permissions.entry(part).or_insert_with(|| json!({}));
            }
        }
    }
    claims
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
    let claimed = account.claimed();
    let claims = claimed.as_deref();
    Ok(Detail {
        account_name: account.name().to_owned(),
        update_time: time(claimed.as_ref().map_or(source.configured_at(), |claimed| claimed.updated_at)),
        is_system,
        expired: claimed.as_ref().is_some_and(|claimed| claimed.has_expired()),
        complete: claimed.as_ref().is_none_or(|claimed| !claimed.is_incomplete.load(Ordering::Relaxed)),
        jetstream_enabled: account.has_jetstream() && !account.is_jetstream_refused(),
        leafnode_connections: account.leafnode_count(),
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
        jwt: claims.map(|claimed| claimed.token.clone()).unwrap_or_default(),
        issuer_key: claims.map(|claimed| claimed.claims.iss.clone()).unwrap_or_default(),
        name_tag: account.name_tag(),
        tags: claims.map(|claimed| claimed.claims.nats.tags.clone()).unwrap_or_default(),
        decoded_jwt: claims
            .and_then(|claimed| Token::open(&claimed.token).ok())
            .map(|token| filled_in(token.payload)),
        validation_result_jwt: claims.map(|claimed| issues(claimed, source)).unwrap_or_default(),
        revoked_user: claims
            .map(|claimed| claimed.claims.nats.revocations.iter())
            .into_iter()
            .flatten()
            .map(|(user, at_s)| (user.clone(), GoTime::from_ns(at_s.saturating_mul(NANOS))))
            .collect(),
        sublist_stats: SublistStats::new(counts),
    })
}

fn issues(claimed: &Claimed, source: &MonitorSource) -> Vec<IssuePart> {
    let issues = claimed.claims.issues(source.now().secs());
    let part = |issue: Issue| IssuePart {
        description: issue.text,
        blocking: issue.is_error,
        time_check: issue.is_time,
    };
    issues.0.into_iter().map(part).collect()
}

pub(super) fn accstatz(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let with_unused = query.boolean("unused")?;
    // Requests may name accounts.
    let named: Vec<&str> = query.requested("accounts").split(',').filter(|name| !name.is_empty()).collect();
    let accounts = source.accounts();
    let stats = accounts
        .iter()
        .filter(|account| named.is_empty() || named.contains(&account.name()))
        .filter(|account| with_unused || account.client_count() > 0 || account.leafnode_count() > 0);
    Ok(Page::json(&Accstatz {
        server_id: source.server_id(),
        now: time(source.now()),
        account_statz: stats
            .map(|account| AccountStat::new(account, source.subscription_counts(Some(account)).present))
            .collect(),
    }))
}

impl AccountStat {
    /// Its numbers, under the names of prometheus-nats-exporter.
    pub(super) fn numbers(&self) -> [(&'static str, i64); 9] {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let size = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        [
            ("current_connections", size(self.conns)),
            ("total_connections", size(self.total_conns)),
            ("subscriptions", number(self.num_subscriptions)),
            ("leaf_nodes", size(self.leafnodes)),
            ("sent_messages", number(self.sent.msgs)),
            ("sent_bytes", number(self.sent.bytes)),
            ("received_messages", number(self.received.msgs)),
            ("received_bytes", number(self.received.bytes)),
            ("slow_consumers", self.slow_consumers),
        ]
    }

    pub(crate) fn new(account: &Account, num_subscriptions: u64) -> Self {
        let traffic = account.traffic.counts();
        let leafs = account.leafnode_traffic.counts();
        let count = |msgs, bytes| Count { msgs, bytes };
        Self {
            acc: account.name().to_owned(),
            name: account.name_tag(),
            conns: account.client_count(),
            leafnodes: account.leafnode_count(),
            total_conns: account.client_count() + account.leafnode_count(),
            num_subscriptions,
            sent: DataStat::new(traffic.out_msgs, traffic.out_bytes, count(leafs.out_msgs, leafs.out_bytes)),
            received: DataStat::new(traffic.in_msgs, traffic.in_bytes, count(leafs.in_msgs, leafs.in_bytes)),
            slow_consumers: account.slow_consumers(),
        }
    }
}
