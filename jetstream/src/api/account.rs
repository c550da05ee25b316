//! `$JS.API.INFO`: what the account uses and may use; and `$JS.API.ACCOUNT.PURGE`, which takes all of it away.

use super::{ApiOutcome, Call};
use crate::config::{StorageType, StreamConfig};
use crate::engine::account::Account;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::message::AccountId;
use crate::settings::{AccountLimits, Tier, TieredLimits};
use crate::stream::Stream;
use crate::stream::world::AccountShare;
use jetkv_go_compat::quoted;
use jetkv_go_compat::version::API_LEVEL;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const KIND: &str = "account_info_response";

#[derive(Serialize)]
struct Info {
    #[serde(flatten)]
    total: TierInfo,
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    api: Stats,
    /// What streams of each number of replicas use and may use, where limits differ by it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tiers: BTreeMap<String, TierInfo>,
}

#[derive(Default, Serialize)]
struct TierInfo {
    memory: i64,
    storage: i64,
    reserved_memory: i64,
    reserved_storage: i64,
    streams: usize,
    consumers: usize,
    limits: Limits,
}

#[derive(Default, Serialize)]
struct Limits {
    max_memory: i64,
    max_storage: i64,
    max_streams: i64,
    max_consumers: i64,
    max_ack_pending: i64,
    memory_max_stream_bytes: i64,
    storage_max_stream_bytes: i64,
    max_bytes_required: bool,
}

#[derive(Serialize)]
struct Stats {
    level: i64,
    total: u64,
    errors: u64,
}

pub(super) fn info(call: &mut Call<'_>) -> ApiOutcome {
    let account = match call.admit() {
        Ok(account) => account,
        Err(error) => return call.fail(KIND, &error),
    };
    let info = account_info(&account, &call.engine.config().domain);
    call.respond(KIND, info)
}

/// What became of a purge. Nothing is said of one that failed.
#[derive(Serialize)]
struct Purged {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    initiated: bool,
}

/// Takes all streams away from the account that is called `name`, whose number is `id` where there is one, and its
/// directory. For the system account, which has no JetStream itself.
pub(super) fn purge(call: &mut Call<'_>, name: &str, id: Option<AccountId>) -> ApiOutcome {
    const KIND: &str = "account_purge_response";
    // Headers would have to name the client (nats-server v2.15.2, observed).
    if !call.req.headers.is_empty() {
        tracing::warn!("Malformed JetStream API Request: {}", quoted(call.req.payload));
        return ApiOutcome::done();
    }
    match try_purge(call, name, id) {
        Ok(()) => call.respond(KIND, Purged { initiated: true }),
        Err(error) => call.fail_with(KIND, &error, Purged { initiated: false }),
    }
}

fn try_purge(call: &mut Call<'_>, name: &str, id: Option<AccountId>) -> Result<(), ApiError> {
    if name.contains(['\\', '/']) {
        return Err(errors::STREAM_GENERAL_ERROR.because("account name can not contain path separators"));
    }
    let account = id.and_then(|id| call.engine.account(id));
    let count = account.as_ref().map_or(0, |account| account.stream_count());
    tracing::info!("Purge request for account {name} (streams: {count}, hasAccount: {})", id.is_some());
    if let Some(account) = &account {
        call.engine.rest_streams(account);
    }
    let _changes = account.as_ref().map(|account| account.changes.lock());
    if let Some(account) = &account {
        call.engine.delete_streams(account)?;
    }
    call.engine.remove_account_dir(name).map_err(|error| errors::STREAM_GENERAL_ERROR.because(error))
}

fn account_info(account: &Account, domain: &str) -> Info {
    let limits = account.share.limits.load();
    let streams = account.streams();
    let offline = account.all_offline();
    let offline_consumers: usize = offline.values().map(|offline| offline.consumers().len()).sum();
    let total = TierInfo {
        memory: account.share.usage.get(StorageType::Memory),
        storage: account.share.usage.get(StorageType::File),
        reserved_memory: account.reserved(StorageType::Memory),
        reserved_storage: account.reserved(StorageType::File),
        streams: streams.len() + offline.len(),
        consumers: streams.iter().map(|stream| stream.lock().consumers.len()).sum::<usize>()
            + offline_consumers,
        limits: limits.flat().map_or_else(Limits::default, Limits::of),
    };
    let is_tiered = limits.flat().is_none();
    Info {
        total,
        domain: domain.to_owned(),
        api: Stats {
            level: i64::from(API_LEVEL),
            total: account.api_total.load(Ordering::Relaxed),
            errors: account.api_errors.load(Ordering::Relaxed),
        },
        tiers: if is_tiered { tiers(&account.share, &limits, &streams) } else { BTreeMap::new() },
    }
}

/// What each tier uses and may use.
fn tiers(share: &AccountShare, limits: &TieredLimits, streams: &[Arc<Stream>]) -> BTreeMap<String, TierInfo> {
    let mut tiers = BTreeMap::<String, TierInfo>::new();
    for stream in streams {
        let inner = stream.lock();
        let tier = tiers.entry(inner.tier().name().to_owned()).or_default();
        let used = i64::try_from(inner.store.totals().bytes).unwrap_or(i64::MAX);
        match inner.config.storage {
            StorageType::Memory => tier.memory = tier.memory.saturating_add(used),
            StorageType::File => tier.storage = tier.storage.saturating_add(used),
        }
        tier.streams += 1;
        tier.consumers += inner.consumers.len();
    }
    let configs: Vec<_> = streams.iter().map(|stream| stream.config()).collect();
    let promised = |name: &str, storage: StorageType| {
        let counts = |config: &&Arc<StreamConfig>| {
            config.storage == storage
                && (name.is_empty() || name == format!("R{}", config.num_replicas.max(1)))
        };
        configs.iter().filter(counts).map(|config| config.max_bytes.max(0)).fold(0, i64::saturating_add)
    };
    let is_shown = |tier: &Tier| {
        let is_empty = tiers.get(tier.name()).is_none_or(|found| found.memory == 0 && found.storage == 0);
        share.used.has(*tier) && (limits.of(*tier).is_some() || !is_empty)
    };
    let used: Vec<Tier> = [Tier::Flat, Tier::Single].into_iter().filter(is_shown).collect();
    // Where as many tiers are in use as there are, nats-server v2.15.2 takes them for the same.
    let has_unused = used.len() != limits.tiers().len();
    let unused = limits.tiers().keys().filter(|_| has_unused).map(String::as_str);
    for name in used.iter().map(|tier| tier.name()).chain(unused) {
        tiers.entry(name.to_owned()).or_default();
    }
    for (name, tier) in &mut tiers {
        tier.reserved_memory = promised(name, StorageType::Memory);
        tier.reserved_storage = promised(name, StorageType::File);
        tier.limits = limits.tiers().get(name).map_or_else(Limits::default, Limits::of);
    }
    tiers
}

impl Limits {
    fn of(limits: &AccountLimits) -> Self {
        Self {
            max_memory: limits.max_memory_bytes,
            max_storage: limits.max_store_bytes,
            max_streams: limits.max_streams,
            max_consumers: limits.max_consumers,
            max_ack_pending: limits.max_ack_pending,
            memory_max_stream_bytes: limits.memory_max_stream_bytes,
            storage_max_stream_bytes: limits.store_max_stream_bytes,
            max_bytes_required: limits.max_bytes_required,
        }
    }
}
