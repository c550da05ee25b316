//! `/metrics`: the numbers of the other pages as the text that Prometheus reads. Nothing like it is in nats-server, where
//! prometheus-nats-exporter reads the pages; the names and labels are its, so that what was drawn of them finds them.
//!
//! How many series there are is bounded: those of streams and consumers by [`ASSETS_MAX`], those of single connections,
//! which have to be asked for, by the page of connections.

mod families;
mod jetstream;

use serde_json::{Map, Value};

use super::page::Page;
use super::query::Query;
use super::{accounts, health, subsz, varz};
use crate::connections::ConnectionHandle;
use crate::router::Account;
use crate::snapshot::MonitorSource;
use families::{Families, Kind, Labels};

/// Streams, and consumers, that have series of their own.
const ASSETS_MAX: usize = 10_000;
/// Connections that have series of their own.
const CONNECTIONS_MAX: usize = 1024;
/// Accounts that have series of their own.
const ACCOUNTS_MAX: usize = 10_000;

/// What the exporter leaves out of `/varz`.
const LEFT_OUT: &[&str] = &["leaf", "trusted_operators_claim"];

/// How the names begin.
struct Names<'a> {
    server: &'a str,
    jetstream: &'a str,
}

impl Names<'_> {
    fn server(&self, page: &str, name: &str) -> String {
        format!("{}_{page}_{name}", self.server)
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let each_connection = query.boolean("connections")?;
    let prefix = query.text("prefix");
    let may_begin = |c: char| c.is_ascii_alphabetic() || c == '_';
    if !prefix.chars().all(|c| may_begin(c) || c.is_ascii_digit())
        || prefix.starts_with(|c: char| !may_begin(c))
    {
        return Err("Error decoding 'prefix': not the beginning of a name of metrics".to_owned());
    }
    let names = match prefix {
        "" => Names { server: "gnatsd", jetstream: "jetstream" },
        prefix => Names { server: prefix, jetstream: prefix },
    };
    let labels = Labels::default().with("server_id", source.server_id());
    let mut families = Families::default();
    families.page(&format!("{}_varz", names.server), &labels, &numbers(varz::page(source)), LEFT_OUT);
    let subscriptions = numbers(subsz::page(source, &Query::default())?);
    families.page(&format!("{}_subsz", names.server), &labels, &subscriptions, &[]);
    health(&mut families, &names, source, &labels);
    of_accounts(&mut families, &names, source, &labels);
    of_connections(&mut families, &names, source, &labels, each_connection);
    jetstream::add(&mut families, names.jetstream, source, &labels);
    durations(&mut families, source, &labels);
    Ok(Page::metrics(families.into_text()))
}

/// The fields of a page.
fn numbers(page: Page) -> Map<String, Value> {
    match page.into_json() {
        Ok((_, Value::Object(fields))) => fields,
        _ => Map::new(),
    }
}

fn health(families: &mut Families, names: &Names<'_>, source: &MonitorSource, labels: &Labels) {
    let word = health::word(source);
    let is_well = word == "ok";
    families.gauge(names.server("healthz", "status"), "0 where all is well", labels, u8::from(!is_well));
    let by_word = labels.with("value", word);
    families.gauge(
        names.server("healthz", "status_value"),
        "1 where all is well",
        &by_word,
        u8::from(is_well),
    );
}

fn of_accounts(families: &mut Families, names: &Names<'_>, source: &MonitorSource, labels: &Labels) {
    let accounts = source.accounts();
    for account in accounts.iter().take(ACCOUNTS_MAX) {
        let stat = accounts::AccountStat::new(account, source.subscription_counts(Some(account)).present);
        let labels = labels.with("account", account.name()).with("account_id", account.name());
        let labels = labels.with("account_name", account.name_tag());
        for (name, value) in stat.numbers() {
            families.gauge(names.server("accstatz", name), "", &labels, value);
        }
    }
    left_out(families, "accounts", accounts.len().saturating_sub(ACCOUNTS_MAX), labels);
}

/// How long requests of the API and syncs took since the start.
fn durations(families: &mut Families, source: &MonitorSource, labels: &Labels) {
    let help = "How long requests of the JetStream API took to be served, without waiting in their queue";
    for (request, counts) in source.durations().requests() {
        let labels = labels.with("request", request);
        families.histogram("jetkv_api_request_duration_seconds", help, &labels, &counts);
    }
    let help = "How long syncs of streams to the disk took";
    let syncs = source.durations().syncs.counts();
    families.histogram("jetkv_sync_duration_seconds", help, labels, &syncs);
}

/// Says of how many there are no series.
fn left_out(families: &mut Families, what: &str, count: usize, labels: &Labels) {
    let labels = labels.with("what", what);
    let help = "How many have no series of their own, because there are too many";
    families.gauge("jetkv_metrics_left_out".to_owned(), help, &labels, count);
}

/// Connections all together, and one by one where that is wanted; how long their round trips take.
fn of_connections(
    families: &mut Families,
    names: &Names<'_>,
    source: &MonitorSource,
    labels: &Labels,
    each: bool,
) {
    let connections = source.clients();
    let count = connections.len();
    for (name, value) in [("num_connections", count.min(CONNECTIONS_MAX)), ("total", count), ("offset", 0)] {
        families.gauge(names.server("connz", name), "", labels, value);
    }
    families.gauge(names.server("connz", "limit"), "", labels, CONNECTIONS_MAX);
    let mut sums = [0; 6];
    for (at, connection) in connections.iter().enumerate() {
        let numbers = connection_numbers(&**connection);
        if each && at < CONNECTIONS_MAX {
            add_connection(families, names, source, labels, &**connection, numbers);
        }
        for (sum, number) in sums.iter_mut().zip(numbers) {
            *sum += number;
        }
    }
    if each {
        left_out(families, "connections", count.saturating_sub(CONNECTIONS_MAX), labels);
    } else {
        add_numbers(families, names, labels, sums);
    }
    let mut trips: Vec<i64> =
        connections.iter().map(|connection| connection.rtt_ns()).filter(|ns| *ns > 0).collect();
    trips.sort_unstable();
    for (quantile, percent) in [("0", 0), ("0.5", 50), ("0.9", 90), ("0.99", 99), ("1", 100)] {
        let at = (trips.len().saturating_sub(1) * percent).div_ceil(100);
        if let Some(ns) = trips.get(at) {
            let help = "Round trips of the connections there are, as last measured";
            let labels = labels.with("quantile", quantile);
            families.gauge("jetkv_connection_rtt_seconds".to_owned(), help, &labels, *ns as f64 / 1e9);
        }
    }
}

const NUMBERS: [(&str, Kind); 6] = [
    ("pending_bytes", Kind::Gauge),
    ("subscriptions", Kind::Gauge),
    ("in_bytes", Kind::Counter),
    ("out_bytes", Kind::Counter),
    ("in_msgs", Kind::Counter),
    ("out_msgs", Kind::Counter),
];

/// In the order of [`NUMBERS`].
fn connection_numbers(connection: &dyn ConnectionHandle) -> [u64; 6] {
    let traffic = connection.traffic();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    [
        count(connection.pending_bytes()),
        count(connection.subscriptions().len()),
        traffic.in_bytes,
        traffic.out_bytes,
        traffic.in_msgs,
        traffic.out_msgs,
    ]
}

fn add_numbers(families: &mut Families, names: &Names<'_>, labels: &Labels, numbers: [u64; 6]) {
    for ((name, kind), number) in NUMBERS.into_iter().zip(numbers) {
        families.add(names.server("connz", name), "", kind, labels, number);
    }
}

fn add_connection(
    families: &mut Families,
    names: &Names<'_>,
    source: &MonitorSource,
    labels: &Labels,
    connection: &dyn ConnectionHandle,
    numbers: [u64; 6],
) {
    let (identity, peer) = (connection.identity(), connection.peer());
    let (version, suite) = connection
        .secured()
        .map_or(("", String::new()), |secured| (secured.version, secured.cipher_suite.clone()));
    let account: &Account = &identity.account;
    let labels = labels.with("cid", connection.id()).with("kind", "Client");
    let labels = labels.with("type", connection.client_type().name()).with("ip", peer.ip_text());
    let labels = labels.with("port", peer.port()).with("name", &identity.name);
    let labels = labels.with("name_tag", account.name_tag()).with("account", account.name());
    let labels = labels.with("account_id", account.name()).with("lang", &identity.lang);
    let labels = labels.with("version", &identity.version).with("tls_version", version);
    let labels = labels.with("tls_cipher_suite", suite);
    add_numbers(families, names, &labels, numbers);
    let (now, start, last) = (source.now(), connection.started_at(), connection.last_active());
    let times = [
        ("start", "In milliseconds since 1970", start.ns().div_euclid(1_000_000)),
        ("last_activity", "In milliseconds since 1970", last.ns().div_euclid(1_000_000)),
        ("uptime", "In milliseconds", now.since(start).div_euclid(1_000_000)),
        ("idle", "In milliseconds", now.since(last).div_euclid(1_000_000)),
        ("rtt", "In microseconds", connection.rtt_ns() / 1000),
    ];
    for (name, help, value) in times {
        families.gauge(names.server("connz", name), help, &labels, value);
    }
}
