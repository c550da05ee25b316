//! How streams come, change and go.

use super::account::Account;
use super::{Engine, EngineError, RecoveryReport};
use crate::api::ApiError;
use crate::api::catalogue as errors;
use crate::config::{StorageType, StreamConfig};
use crate::store::{MemoryStore, Store};
use crate::stream::Stream;
use std::sync::Arc;

impl Engine {
    /// Creates a stream from a configuration that was checked.
    pub(crate) fn create_stream(
        &self,
        account: &Account,
        config: StreamConfig,
    ) -> Result<Arc<Stream>, ApiError> {
        let created_ns = i64::try_from(self.world.clock.now_ns()).unwrap_or(i64::MAX);
        let mut store = self.new_store(&config)?;
        if config.first_seq > 1 {
            let moved = store.compact(config.first_seq).and_then(|_| store.flush());
            moved.map_err(|error| errors::STREAM_CREATE.because(error))?;
        }
        self.world.reserved.add(config.storage, config.max_bytes.max(0));
        let stream = Stream::new(self.world.clone(), account.share.clone(), config, created_ns, store);
        self.announce(account, &stream);
        Ok(stream)
    }

    fn new_store(&self, config: &StreamConfig) -> Result<Box<dyn Store>, ApiError> {
        match config.storage {
            StorageType::Memory => Ok(Box::new(MemoryStore::new())),
            // nats-server hides what went wrong with the files.
            StorageType::File => Err(errors::STREAM_CREATE.because("error creating store for stream")),
        }
    }

    fn announce(&self, account: &Account, stream: &Arc<Stream>) {
        account.insert(stream);
        for pattern in &stream.config().subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), true);
        }
    }

    /// Gives a stream a configuration that was checked against its old one.
    pub(crate) fn update_stream(&self, stream: &Arc<Stream>, config: StreamConfig) -> Result<(), ApiError> {
        let old = stream.config();
        let new_subjects = config.subjects.clone();
        self.world.reserved.add(config.storage, config.max_bytes.max(0) - old.max_bytes.max(0));
        let mut inner = stream.lock();
        let changed = inner.reconfigure(config);
        inner.flush();
        drop(inner);
        for pattern in new_subjects.iter().filter(|pattern| !old.subjects.contains(pattern)) {
            self.world.host.stream_subject(stream, pattern.as_bytes(), true);
        }
        for pattern in old.subjects.iter().filter(|pattern| !new_subjects.contains(pattern)) {
            self.world.host.stream_subject(stream, pattern.as_bytes(), false);
        }
        changed.map_err(|error| errors::STREAM_UPDATE.because(error))
    }

    /// Deletes a stream with all that it holds.
    pub(crate) fn delete_stream(&self, account: &Account, stream: &Arc<Stream>) -> Result<(), ApiError> {
        self.close_stream(account, stream);
        Ok(())
    }

    /// Takes a stream out of service. What it queued before still leaves.
    pub(crate) fn close_stream(&self, account: &Account, stream: &Arc<Stream>) {
        account.remove(stream.name());
        let config = stream.config();
        for pattern in &config.subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), false);
        }
        self.world.reserved.add(config.storage, -config.max_bytes.max(0));
        stream.commit(&*self.world.host);
        let mut inner = stream.lock();
        inner.close();
        if let Err(error) = inner.store.close() {
            tracing::error!(stream = stream.name(), %error, "cannot close the store");
        }
        drop(inner);
        stream.wake_watchers();
    }

    /// Recovers the streams of an account from its directory.
    pub(super) fn recover(&self, account: &Arc<Account>) -> Result<RecoveryReport, EngineError> {
        let _ = account;
        Ok(RecoveryReport::default())
    }
}
