//! An account's streams, and what it may use.

mod claims;
mod promised;

use self::claims::Claims;
use self::promised::Promised;
use crate::config::{ConfigLimits, StorageType, StreamConfig};
use crate::engine::offline::Offline;
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::settings::{AccountLimits, EngineSettings, TieredLimits};
use crate::stream::Stream;
use crate::stream::world::{AccountShare, World};
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

impl Engine {
    /// Whether an account can be promised more by its limits, as far as they go beyond those that it has. What streams
    /// were promised counts beside what accounts were, each against all that there is (nats-server v2.15.2).
    pub(super) fn check_promises(
        &self,
        new: &TieredLimits,
        old: Option<&TieredLimits>,
    ) -> Result<(), EngineError> {
        let settings = self.world.settings.load();
        let limits: Vec<_> =
            self.accounts.read().values().map(|account| account.share.limits.load()).collect();
        let of_memory = |limits: &AccountLimits| limits.max_memory_bytes;
        let of_store = |limits: &AccountLimits| limits.max_store_bytes;
        for (part, storage, most, error) in [
            (&of_memory as &dyn Fn(&AccountLimits) -> i64, StorageType::Memory, settings.max_memory_bytes, {
                errors::MEMORY_RESOURCES_EXCEEDED
            }),
            (&of_store, StorageType::File, settings.max_file_bytes, errors::STORAGE_RESOURCES_EXCEEDED),
        ] {
            let had = |tier: &str| old.and_then(|old| old.named(tier)).map_or(0, part);
            let grown = new.all().map(|(tier, limits)| part(limits).saturating_sub(had(tier)).max(0));
            let grown = grown.fold(0, i64::saturating_add);
            let all = limits.iter().flat_map(|limits| limits.all());
            let to_accounts = all.map(|(_, limits)| part(limits).max(0)).fold(0, i64::saturating_add);
            let promised = to_accounts.max(self.world.reserved.get(storage));
            if most >= 0 && promised.saturating_add(grown) > most {
                return Err(EngineError::Resources(error.into()));
            }
        }
        Ok(())
    }
}

/// An account with JetStream.
pub(crate) struct Account {
    pub(crate) share: Arc<AccountShare>,
    streams: RwLock<Streams>,
    /// Whether there are streams that are not served: gets ask that, too.
    has_offline: AtomicBool,
    /// Held while streams come, change and go, so that what was checked still holds when it is done.
    pub(crate) changes: Mutex<()>,
    pub(crate) api_total: AtomicU64,
    pub(crate) api_errors: AtomicU64,
}

/// How often streams came, went or changed, in all engines together: who keeps one that was found by its name learns here
/// that another may have the name.
static STREAMS_CHANGED: AtomicU64 = AtomicU64::new(1);

/// What [`STREAMS_CHANGED`] counts, so far.
#[inline]
pub(crate) fn streams_changed() -> u64 {
    STREAMS_CHANGED.load(Ordering::Acquire)
}

/// Streams came or went. To be called with what they are found in locked, or afterwards.
pub(crate) fn note_change() {
    STREAMS_CHANGED.fetch_add(1, Ordering::Release);
}

/// Streams, and what is asked of all of them when one comes or changes. There may be tens of thousands.
#[derive(Default)]
struct Streams {
    by_name: BTreeMap<String, Known>,
    /// Those that are kept and told of, but not served.
    offline: BTreeMap<String, Arc<Offline>>,
    claims: Claims,
    promised: Promised,
}

struct Known {
    stream: Arc<Stream>,
    /// That which was counted.
    config: Arc<StreamConfig>,
}

impl Streams {
    fn insert(&mut self, stream: &Arc<Stream>, config: Arc<StreamConfig>) {
        self.remove(stream.name());
        self.claims.add(&config);
        self.promised.add(&config);
        self.by_name.insert(stream.name().to_owned(), Known { stream: Arc::clone(stream), config });
    }

    fn remove(&mut self, name: &str) {
        if let Some(Known { config, .. }) = self.by_name.remove(name) {
            self.claims.remove(&config);
            self.promised.remove(&config);
        }
    }
}

impl Account {
    pub(crate) fn new(share: AccountShare) -> Self {
        Self {
            share: Arc::new(share),
            streams: RwLock::default(),
            has_offline: AtomicBool::new(false),
            changes: Mutex::default(),
            api_total: AtomicU64::new(0),
            api_errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().by_name.get(name).map(|known| Arc::clone(&known.stream))
    }

    /// The configuration of a stream.
    pub(crate) fn config_of(&self, name: &str) -> Option<Arc<StreamConfig>> {
        self.stream(name).map(|stream| stream.config())
    }

    /// All streams, in order of name.
    pub(crate) fn streams(&self) -> Vec<Arc<Stream>> {
        self.streams.read().by_name.values().map(|known| Arc::clone(&known.stream)).collect()
    }

    /// How many streams there are.
    pub(crate) fn stream_count(&self) -> usize {
        self.streams.read().by_name.len()
    }

    /// Whether there are streams that are told of, but not served.
    #[inline]
    pub(crate) fn has_offline(&self) -> bool {
        self.has_offline.load(Ordering::Acquire)
    }

    /// A stream that is told of, but not served.
    pub(crate) fn offline(&self, name: &str) -> Option<Arc<Offline>> {
        self.streams.read().offline.get(name).cloned()
    }

    /// The streams that are told of, but not served, by name.
    pub(crate) fn all_offline(&self) -> BTreeMap<String, Arc<Offline>> {
        self.streams.read().offline.clone()
    }

    /// Tells of a stream from here on that is not served. No other may capture its subjects.
    pub(crate) fn keep_offline(&self, offline: Offline) {
        let mut streams = self.streams.write();
        streams.claims.add(&offline.config);
        streams.offline.insert(offline.config.name.clone(), Arc::new(offline));
        self.has_offline.store(true, Ordering::Release);
    }

    /// Tells no longer of a stream that was not served.
    pub(crate) fn forget_offline(&self, name: &str) {
        let mut streams = self.streams.write();
        if let Some(offline) = streams.offline.remove(name) {
            streams.claims.remove(&offline.config);
        }
        self.has_offline.store(!streams.offline.is_empty(), Ordering::Release);
    }

    /// Adds a stream, or counts the configuration of one that has another since.
    pub(crate) fn insert(&self, stream: &Arc<Stream>) {
        // Its lock is never waited for with this one held.
        let config = stream.config();
        let mut streams = self.streams.write();
        streams.insert(stream, config);
        note_change();
    }

    pub(crate) fn remove(&self, name: &str) {
        let mut streams = self.streams.write();
        streams.remove(name);
        note_change();
    }

    /// Bytes promised to streams of a storage type.
    pub(crate) fn reserved(&self, storage: StorageType) -> i64 {
        i64::try_from(self.streams.read().promised.bytes(storage, None)).unwrap_or(i64::MAX)
    }

    /// What holds for streams of so many replicas.
    fn limits_for(&self, replicas: i64) -> Result<AccountLimits, ApiError> {
        self.share.limits.load().for_replicas(replicas).copied().ok_or_else(|| errors::NO_LIMITS.into())
    }

    /// What the account says of the configuration of a stream; nothing where it has no tier for it, which is found later.
    pub(crate) fn config_limits(&self, settings: &EngineSettings, config: &StreamConfig) -> ConfigLimits {
        let limits = self.limits_for(config.num_replicas).unwrap_or_default();
        ConfigLimits {
            duplicates_max_ns: settings.duplicates_max_ns,
            max_bytes_required: limits.max_bytes_required,
            memory_max_stream_bytes: limits.memory_max_stream_bytes,
            store_max_stream_bytes: limits.store_max_stream_bytes,
        }
    }

    /// Whether there may be a stream more.
    pub(crate) fn check_stream_count(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let most = self.limits_for(config.num_replicas)?.max_streams;
        let others = self.with_others(config, |promised, tier| promised.streams(tier));
        if most > 0 && i64::try_from(others).is_ok_and(|others| others >= most) {
            return Err(errors::MAXIMUM_STREAMS_LIMIT.into());
        }
        Ok(())
    }

    /// Whether the account lets a stream have so many consumers.
    pub(crate) fn check_max_consumers(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let most = self.limits_for(config.num_replicas)?.max_consumers;
        if config.max_consumers > 0 && most > 0 && config.max_consumers > most {
            return Err(errors::MAXIMUM_CONSUMERS_LIMIT.into());
        }
        Ok(())
    }

    /// Whether a stream can be added to those of the account.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_addable(&self, config: &StreamConfig) -> Result<(), ApiError> {
        if config.num_replicas > 1 {
            return Err(errors::STREAM_REPLICAS_NOT_SUPPORTED.into());
        }
        self.check_overlap(config)
    }

    /// No two streams of an account may capture the same subject.
    pub(crate) fn check_overlap(&self, config: &StreamConfig) -> Result<(), ApiError> {
        if self.streams.read().claims.meets_another(config) {
            return Err(errors::STREAM_SUBJECT_OVERLAP.into());
        }
        Ok(())
    }

    /// Asks what is promised to the streams that count for the limits that hold for this one, itself left out: those of as
    /// many replicas, or all.
    fn with_others<T>(&self, config: &StreamConfig, ask: impl FnOnce(&Promised, Option<i64>) -> T) -> T {
        let is_flat = self.share.limits.load().flat().is_some();
        let tier = (!is_flat).then_some(config.num_replicas);
        let streams = self.streams.read();
        let mut promised = streams.promised.clone();
        if let Some(own) = streams.by_name.get(&config.name) {
            promised.remove(&own.config);
        }
        drop(streams);
        ask(&promised, tier)
    }

    /// Whether account and server can promise the `max_bytes` of a stream that is new.
    pub(crate) fn check_reservation(&self, world: &World, config: &StreamConfig) -> Result<(), ApiError> {
        // nats-server counts a stream without a bound as one byte.
        let wanted = if config.max_bytes < 0 { 1 } else { config.max_bytes };
        self.check_promise(world, config, wanted, wanted)
    }

    /// Whether account and server can promise the `max_bytes` that a stream is going to have instead of others.
    pub(crate) fn check_growth(
        &self,
        world: &World,
        old: &StreamConfig,
        new: &StreamConfig,
    ) -> Result<(), ApiError> {
        let (had, wanted) = (old.max_bytes.max(0), new.max_bytes.max(0));
        self.check_promise(world, new, wanted, (wanted - had).max(0))
    }

    /// Whether a stream can be promised `wanted` bytes in all, of which `grown` are new.
    fn check_promise(
        &self,
        world: &World,
        config: &StreamConfig,
        wanted: i64,
        grown: i64,
    ) -> Result<(), ApiError> {
        self.check_max_consumers(config)?;
        let (limits, settings) = (self.limits_for(config.num_replicas)?, world.settings.load());
        let (account_most, server_most, error) = match config.storage {
            StorageType::Memory => {
                (limits.max_memory_bytes, settings.max_memory_bytes, errors::MEMORY_RESOURCES_EXCEEDED)
            }
            StorageType::File => {
                (limits.max_store_bytes, settings.max_file_bytes, errors::STORAGE_RESOURCES_EXCEEDED)
            }
        };
        let promised = self.with_others(config, |promised, tier| match tier {
            // Where all streams have the same limits, each replica counts.
            None => {
                let replicas = i128::from(config.num_replicas.max(1));
                promised.replicated_bytes(config.storage).saturating_add(i128::from(wanted) * replicas)
            }
            Some(_) => promised.bytes(config.storage, tier) + i128::from(wanted),
        });
        if account_most >= 0 && promised > i128::from(account_most) {
            return Err(error.into());
        }
        let server_reserved = world.reserved.get(config.storage);
        if server_most >= 0 && server_reserved.saturating_add(grown) > server_most {
            return Err(error.into());
        }
        Ok(())
    }
}
