//! An account's streams, and what it may use.

use crate::config::{ConfigLimits, StorageType, StreamConfig};
use crate::engine::{Engine, EngineError};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::settings::{AccountLimits, EngineSettings};
use crate::stream::Stream;
use crate::stream::world::{AccountShare, World};
use jetkv_protocol::pattern_set::PatternSet;
use jetkv_protocol::subject;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

impl Engine {
    /// Whether an account can be promised more by its limits, as far as they go beyond those that it has. What streams
    /// were promised counts beside what accounts were, each against all that there is (nats-server v2.15.2).
    pub(super) fn check_promises(
        &self,
        new: &AccountLimits,
        old: Option<&AccountLimits>,
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
            let grown = part(new).saturating_sub(old.map_or(0, part)).max(0);
            let to_accounts = limits.iter().map(|limits| part(limits).max(0)).fold(0, i64::saturating_add);
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
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    /// Held while streams come, change and go, so that what was checked still holds when it is done.
    pub(crate) changes: Mutex<()>,
    pub(crate) api_total: AtomicU64,
    pub(crate) api_errors: AtomicU64,
}

impl Account {
    pub(crate) fn new(share: AccountShare) -> Self {
        Self {
            share: Arc::new(share),
            streams: RwLock::default(),
            changes: Mutex::default(),
            api_total: AtomicU64::new(0),
            api_errors: AtomicU64::new(0),
        }
    }

    pub(crate) fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        self.streams.read().get(name).cloned()
    }

    /// The configuration of a stream.
    pub(crate) fn config_of(&self, name: &str) -> Option<Arc<StreamConfig>> {
        self.stream(name).map(|stream| stream.config())
    }

    /// All streams, in order of name.
    pub(crate) fn streams(&self) -> Vec<Arc<Stream>> {
        self.streams.read().values().cloned().collect()
    }

    pub(crate) fn insert(&self, stream: &Arc<Stream>) {
        self.streams.write().insert(stream.name().to_owned(), stream.clone());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.streams.write().remove(name);
    }

    /// Bytes promised to streams of a storage type, but for the stream `except`.
    pub(crate) fn reserved(&self, storage: StorageType, except: Option<&str>) -> i64 {
        let streams = self.streams();
        let others = streams.iter().filter(|stream| except != Some(stream.name()));
        others
            .map(|stream| stream.config())
            .filter(|config| config.storage == storage && config.max_bytes > 0)
            .fold(0, |sum: i64, config| sum.saturating_add(config.max_bytes))
    }

    pub(crate) fn config_limits(&self, settings: &EngineSettings) -> ConfigLimits {
        let limits = self.share.limits.load();
        ConfigLimits {
            duplicates_max_ns: settings.duplicates_max_ns,
            max_bytes_required: limits.max_bytes_required,
            memory_max_stream_bytes: limits.memory_max_stream_bytes,
            store_max_stream_bytes: limits.store_max_stream_bytes,
        }
    }

    pub(crate) fn check_stream_count(&self, name: &str) -> Result<(), ApiError> {
        let most = self.share.limits.load().max_streams;
        let others = self.streams().iter().filter(|stream| stream.name() != name).count();
        if most > 0 && i64::try_from(others).is_ok_and(|others| others >= most) {
            return Err(errors::MAXIMUM_STREAMS_LIMIT.into());
        }
        Ok(())
    }

    /// Whether the account lets a stream have so many consumers.
    pub(crate) fn check_max_consumers(&self, config: &StreamConfig) -> Result<(), ApiError> {
        let most = self.share.limits.load().max_consumers;
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
        let ours = PatternSet::new(config.subjects.iter().map(String::as_bytes));
        for stream in self.streams() {
            let other = stream.config();
            if other.name == config.name {
                continue;
            }
            for theirs in &other.subjects {
                let meets = |own: &String| subject::collide(own.as_bytes(), theirs.as_bytes());
                if ours.may_meet(theirs.as_bytes(), None) && config.subjects.iter().any(meets) {
                    return Err(errors::STREAM_SUBJECT_OVERLAP.into());
                }
            }
        }
        Ok(())
    }

    /// Whether account and server can promise `max_bytes`; `had_bytes` of it were promised before.
    pub(crate) fn check_reservation(
        &self,
        world: &World,
        config: &StreamConfig,
        had_bytes: i64,
    ) -> Result<(), ApiError> {
        self.check_max_consumers(config)?;
        let (limits, settings) = (self.share.limits.load(), world.settings.load());
        let (account_most, server_most, error) = match config.storage {
            StorageType::Memory => {
                (limits.max_memory_bytes, settings.max_memory_bytes, errors::MEMORY_RESOURCES_EXCEEDED)
            }
            StorageType::File => {
                (limits.max_store_bytes, settings.max_file_bytes, errors::STORAGE_RESOURCES_EXCEEDED)
            }
        };
        // nats-server counts a stream without a bound as one byte.
        let wanted = if config.max_bytes < 0 { 1 } else { config.max_bytes };
        let reserved = self.reserved(config.storage, Some(&config.name));
        if account_most >= 0 && reserved.saturating_add(wanted) > account_most {
            return Err(error.into());
        }
        let server_reserved = world.reserved.get(config.storage);
        let grown = (wanted - had_bytes).max(0);
        if server_most >= 0 && server_reserved.saturating_add(grown) > server_most {
            return Err(error.into());
        }
        Ok(())
    }
}
