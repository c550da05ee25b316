//! `/jsz`: the stream engine, and its part of `/varz`.

use std::sync::Arc;
use std::time::Duration;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::{AccountUsage, Engine};
use serde::Serialize;

use super::json::{is_default, time};
use super::page::Page;
use super::query::Query;
use super::streams::{self, StreamPart};
use crate::options::{AccountJetStreamLimits, JetStreamOptions, Options};
use crate::router::Account;
use crate::snapshot::MonitorSource;
use jetkv_go_compat::quoted;

/// Accounts on one page unless asked for otherwise.
const ACCOUNTS_LIMIT: i64 = 1024;

/// What the engine runs with.
#[derive(Debug, Default, Serialize)]
struct Config {
    max_memory: i64,
    max_storage: i64,
    #[serde(skip_serializing_if = "is_default")]
    store_dir: String,
    #[serde(skip_serializing_if = "is_default")]
    sync_interval: u64,
    #[serde(skip_serializing_if = "is_default")]
    sync_always: bool,
    #[serde(skip_serializing_if = "is_default")]
    domain: String,
    #[serde(skip_serializing_if = "is_default")]
    unique_tag: String,
    #[serde(skip_serializing_if = "is_default")]
    strict: bool,
    #[serde(skip_serializing_if = "is_default")]
    compress_ok: bool,
}

/// What it uses.
#[derive(Debug, Default, Serialize)]
struct Stats {
    memory: i64,
    storage: i64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: usize,
    ha_assets: usize,
    api: Api,
}

#[derive(Debug, Default, Serialize)]
struct Api {
    level: i64,
    total: u64,
    errors: u64,
}

/// Limits on what requests may ask for.
#[derive(Debug, Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "is_default")]
    max_request_batch: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_ack_pending: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_ha_assets: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_duplicate_window: u64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_inflight_per_stream: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_inflight_total: i64,
    #[serde(skip_serializing_if = "is_default")]
    max_batch_size: i64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_default")]
    max_batch_timeout: u64,
    #[serde(skip_serializing_if = "is_default")]
    default_max_consumers: i64,
}

/// The part of `/varz`; empty when JetStream is off.
#[derive(Debug, Serialize)]
pub(crate) struct JetStreamPart {
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Config>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
}

#[derive(Serialize)]
struct Jsz<'a> {
    #[serde(flatten)]
    stats: Stats,
    server_id: &'a str,
    now: GoTime,
    #[serde(skip_serializing_if = "is_default")]
    disabled: bool,
    config: Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    streams: usize,
    #[serde(skip_serializing_if = "is_default")]
    streams_leader: usize,
    consumers: usize,
    #[serde(skip_serializing_if = "is_default")]
    consumers_leader: usize,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    account_details: Vec<AccountPart>,
    total: usize,
}

/// What one account uses.
#[derive(Serialize)]
struct AccountPart {
    name: String,
    id: String,
    #[serde(flatten)]
    stats: Stats,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stream_detail: Vec<StreamPart>,
}

fn config(engine: &Engine, options: &JetStreamOptions) -> Config {
    let (config, settings) = (engine.config(), engine.settings());
    Config {
        max_memory: settings.max_memory_bytes,
        max_storage: settings.max_file_bytes,
        store_dir: config
            .store_dir
            .as_ref()
            .map(|directory| directory.join("jetstream").display().to_string())
            .unwrap_or_default(),
        sync_interval: u64::try_from(options.sync_interval.as_nanos()).unwrap_or(u64::MAX),
        sync_always: options.sync_always,
        domain: config.domain.clone(),
        unique_tag: options.unique_tag.clone().unwrap_or_default(),
        strict: config.strict,
        // nats-server only says so where both sizes are configured.
        compress_ok: options.max_memory_bytes > 0 && options.max_store_bytes > 0,
    }
}

fn limits(options: &Options) -> Limits {
    let limits = &options.jetstream.limits;
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Limits {
        max_request_batch: limits.max_request_batch,
        max_ack_pending: limits.max_ack_pending,
        max_ha_assets: limits.max_ha_assets,
        max_duplicate_window: nanoseconds(limits.duplicate_window),
        max_batch_inflight_per_stream: limits.max_batch_inflight_per_stream,
        max_batch_inflight_total: limits.max_batch_inflight_total,
        max_batch_size: limits.max_batch_size,
        max_batch_timeout: nanoseconds(limits.max_batch_timeout),
        default_max_consumers: limits.default_max_consumers,
    }
}

/// Accounts that have JetStream, with what they use.
fn usages(source: &MonitorSource, engine: &Engine) -> Vec<(Arc<Account>, AccountUsage)> {
    let accounts = source.accounts().into_iter();
    accounts.filter_map(|account| engine.account_usage(account.id()).map(|usage| (account, usage))).collect()
}

fn total<T: std::iter::Sum>(usages: &[(Arc<Account>, AccountUsage)], part: impl Fn(&AccountUsage) -> T) -> T {
    usages.iter().map(|(_, usage)| part(usage)).sum()
}

fn stats(usages: &[(Arc<Account>, AccountUsage)]) -> Stats {
    Stats {
        memory: total(usages, |usage| usage.memory_bytes),
        storage: total(usages, |usage| usage.storage_bytes),
        reserved_memory: total(usages, |usage| usage.reserved_memory_bytes).cast_unsigned(),
        reserved_storage: total(usages, |usage| usage.reserved_storage_bytes).cast_unsigned(),
        accounts: usages.len(),
        ha_assets: 0,
        api: Api {
            level: i64::from(jetkv_go_compat::version::API_LEVEL),
            total: total(usages, |usage| usage.api_total),
            errors: total(usages, |usage| usage.api_errors),
        },
    }
}

pub(super) fn jetstream_part(source: &MonitorSource) -> JetStreamPart {
    let Some(engine) = source.engine() else {
        return JetStreamPart { config: None, stats: None, limits: None };
    };
    let options = source.options();
    JetStreamPart {
        config: Some(config(&engine, &options.jetstream)),
        stats: Some(stats(&usages(source, &engine))),
        limits: Some(limits(&options)),
    }
}

/// The part of the statistics that the system account gets; `None` when JetStream is off.
pub(crate) fn statistics_part(source: &MonitorSource) -> Option<JetStreamPart> {
    source.engine()?;
    let mut part = jetstream_part(source);
    if let Some(config) = &mut part.config {
        config.store_dir.clear();
    }
    Some(part)
}

/// What is asked for.
struct Wanted<'a> {
    account: &'a str,
    accounts: bool,
    streams: streams::Wanted,
    offset: usize,
    /// `None`: no limit.
    limit: Option<usize>,
    leaders: bool,
}

impl<'a> Wanted<'a> {
    fn new(query: &'a Query) -> Result<Self, String> {
        let accounts = query.boolean("accounts")?;
        let streams = streams::Wanted::new(query)?;
        let offset = query.integer("offset")?;
        let limit = query.integer("limit")?;
        // A lone server leads everything.
        query.boolean("leader-only")?;
        let leaders = query.boolean("raft")?;
        query.boolean("stream-leader-only")?;
        let account = query.text("acc");
        Ok(Self {
            account,
            accounts: accounts || (streams.streams && account.is_empty()),
            streams,
            offset: usize::try_from(offset).unwrap_or(0),
            limit: usize::try_from(if limit == 0 { ACCOUNTS_LIMIT } else { limit }).ok(),
            leaders,
        })
    }

    /// The accounts to show in detail: the one that is asked for, or a page of all.
    fn chosen<'u>(
        &self,
        usages: &'u [(Arc<Account>, AccountUsage)],
    ) -> Vec<&'u (Arc<Account>, AccountUsage)> {
        if let Some(one) = usages.iter().find(|(account, _)| account.name() == self.account) {
            return vec![one];
        }
        if !self.accounts {
            return Vec::new();
        }
        let mut all: Vec<_> = usages.iter().collect();
        all.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
        match self.limit {
            Some(limit) => all.into_iter().skip(self.offset).take(limit).collect(),
            None => all,
        }
    }
}

pub(super) fn page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let wanted = Wanted::new(query)?;
    let now = time(source.now());
    let Some(engine) = source.engine() else {
        return Ok(Page::json(&Jsz {
            stats: Stats::default(),
            server_id: source.server_id(),
            now,
            disabled: true,
            config: Config::default(),
            limits: None,
            streams: 0,
            streams_leader: 0,
            consumers: 0,
            consumers_leader: 0,
            messages: 0,
            bytes: 0,
            account_details: Vec::new(),
            total: 0,
        }));
    };
    let options = source.options();
    let usages = usages(source, &engine);
    let (streams, consumers) =
        (total(&usages, |usage| usage.streams), total(&usages, |usage| usage.consumers));
    let details = wanted.chosen(&usages).into_iter();
    Ok(Page::json(&Jsz {
        stats: stats(&usages),
        server_id: source.server_id(),
        now,
        disabled: false,
        config: config(&engine, &options.jetstream),
        limits: Some(limits(&options)),
        streams,
        streams_leader: if wanted.leaders { streams } else { 0 },
        consumers,
        consumers_leader: if wanted.leaders { consumers } else { 0 },
        messages: total(&usages, |usage| usage.messages),
        bytes: total(&usages, |usage| usage.bytes),
        account_details: details
            .map(|(account, usage)| account_part(&engine, account, usage, wanted.streams))
            .collect(),
        total: usages.len(),
    }))
}

/// One account, as the system account asks for it.
///
/// # Errors
/// There is no such account, or it has no JetStream.
pub(super) fn account_page(source: &MonitorSource, query: &Query) -> Result<Page, String> {
    let name = query.text("acc");
    let wanted = streams::Wanted::new(query)?;
    let engine = source.engine().ok_or("jetstream not enabled")?;
    let accounts = source.accounts();
    let account = accounts.iter().find(|account| account.name() == name);
    let account = account.ok_or_else(|| format!("account {} not found", quoted(name)))?;
    let usage = engine.account_usage(account.id());
    let usage = usage.ok_or_else(|| format!("account {} not jetstream enabled", quoted(name)))?;
    Ok(Page::json(&account_part(&engine, account, &usage, wanted)))
}

/// Here nats-server calls "reserved" what the account may use; no limit is the largest number.
fn account_part(
    engine: &Engine,
    account: &Account,
    usage: &AccountUsage,
    wanted: streams::Wanted,
) -> AccountPart {
    let limits = engine.account_limits(account.id());
    // Of tiers it says nothing.
    let may_use = |part: fn(&AccountJetStreamLimits) -> i64| {
        limits.as_ref().and_then(|limits| limits.flat()).map_or(0, part).cast_unsigned()
    };
    AccountPart {
        name: account.name_tag(),
        id: account.name().to_owned(),
        stats: Stats {
            memory: usage.memory_bytes,
            storage: usage.storage_bytes,
            reserved_memory: may_use(|limits| limits.max_memory_bytes),
            reserved_storage: may_use(|limits| limits.max_store_bytes),
            accounts: 0,
            ha_assets: 0,
            api: Api { level: 0, total: usage.api_total, errors: usage.api_errors },
        },
        stream_detail: streams::parts(engine, account.id(), wanted),
    }
}
