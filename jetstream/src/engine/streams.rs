//! How streams come, change and go.

use super::account::Account;
use super::persist::{ConsumerFiles, decode_consumer, decode_stream, encode_stream, file_options};
use super::{Engine, EngineError, RecoveryReport};
use crate::api::ApiError;
use crate::api::catalogue as errors;
use crate::config::{StorageType, StreamConfig};
use crate::store::file::{Storage, StoredStream};
use crate::store::{MemoryStore, Store, StoreError};
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
        let store = self.new_store(account, created_ns, &config).map_err(|error| {
            tracing::warn!(stream = %config.name, %error, "Stream create failed");
            // nats-server hides what went wrong with the files.
            errors::STREAM_CREATE.because("error creating store for stream")
        })?;
        let stream = self.install(account, config, created_ns, store);
        if let Some(storage) = self.storage_of(&stream) {
            stream.lock().consumers.keep_in(Box::new(consumer_files(storage, account, &stream)));
        }
        self.announce(&stream);
        Ok(stream)
    }

    fn new_store(
        &self,
        account: &Account,
        created_ns: i64,
        config: &StreamConfig,
    ) -> Result<Box<dyn Store>, StoreError> {
        let mut store: Box<dyn Store> = match (config.storage, &self.storage) {
            (StorageType::Memory, _) => Box::new(MemoryStore::new()),
            (StorageType::File, None) => {
                return Err(StoreError::Unsupported("there is no store directory".to_owned()));
            }
            (StorageType::File, Some(storage)) => {
                let meta = encode_stream(created_ns, config);
                let (name, options) = (&config.name, file_options(config));
                Box::new(storage.create_stream(&account.share.name, name, &meta, options)?)
            }
        };
        if config.first_seq > 1 {
            store.compact(config.first_seq)?;
            store.flush()?;
        }
        Ok(store)
    }

    /// The storage that a stream's files are in, if it has any.
    fn storage_of(&self, stream: &Stream) -> Option<&Storage> {
        self.storage.as_ref().filter(|_| !stream.config().storage.is_memory())
    }

    fn install(
        &self,
        account: &Account,
        config: StreamConfig,
        created_ns: i64,
        store: Box<dyn Store>,
    ) -> Arc<Stream> {
        self.world.reserved.add(config.storage, config.max_bytes.max(0));
        let stream = Stream::new(self.world.clone(), account.share.clone(), config, created_ns, store);
        account.insert(&stream);
        stream
    }

    fn announce(&self, stream: &Arc<Stream>) {
        for pattern in &stream.config().subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), true);
        }
    }

    /// Gives a stream a configuration that was checked against its old one.
    pub(crate) fn update_stream(
        &self,
        account: &Account,
        stream: &Arc<Stream>,
        config: StreamConfig,
    ) -> Result<(), ApiError> {
        let old = stream.config();
        if let Some(storage) = self.storage_of(stream) {
            let meta = encode_stream(stream.lock().created_ns, &config);
            let written = storage.update_stream(&account.share.name, stream.name(), &meta);
            written.map_err(|error| errors::STREAM_UPDATE.because(error))?;
        }
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

    /// Deletes a stream with all that it holds. Its files go out of the way in one step; the room that they take is
    /// given back afterwards.
    pub(crate) fn delete_stream(&self, account: &Account, stream: &Arc<Stream>) -> Result<(), ApiError> {
        self.withdraw(account, stream);
        let storage = self.storage_of(stream);
        let discarded = stream.end(&*self.world.host, || {
            let discarded = storage.map(|kept| kept.discard_stream(&account.share.name, stream.name()));
            discarded.transpose()
        });
        let discarded = discarded.map_err(|error| errors::STREAM_DELETE.because(error))?;
        if let Some(rubbish) = discarded.flatten() {
            let name = stream.name().to_owned();
            self.world.host.run_later(Box::new(move || {
                if let Err(error) = rubbish.remove() {
                    tracing::warn!(stream = name, %error, "the files of a deleted stream are still there");
                }
            }));
        }
        Ok(())
    }

    /// Takes a stream off the list: nothing that is published from here on reaches it.
    fn withdraw(&self, account: &Account, stream: &Arc<Stream>) {
        account.remove(stream.name());
        let config = stream.config();
        for pattern in &config.subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), false);
        }
        self.world.reserved.add(config.storage, -config.max_bytes.max(0));
    }

    /// Takes a stream out of service. What it queued before still leaves.
    pub(crate) fn close_stream(&self, account: &Account, stream: &Arc<Stream>) {
        self.withdraw(account, stream);
        stream.commit_now(&*self.world.host);
        let mut inner = stream.lock();
        let now_ns = inner.now_ns;
        inner.consumers.save_all(now_ns);
        inner.close();
        if let Err(error) = inner.close_store() {
            tracing::error!(stream = stream.name(), %error, "cannot close the store");
        }
        drop(inner);
        stream.wake_watchers();
    }

    /// Recovers the streams of an account from its directory.
    pub(super) fn recover(&self, account: &Account) -> Result<RecoveryReport, EngineError> {
        let mut report = RecoveryReport::default();
        let Some(storage) = &self.storage else { return Ok(report) };
        for stored in storage.streams(&account.share.name).map_err(EngineError::Store)? {
            let name = stored.name.clone();
            match self.recover_stream(storage, account, stored, &mut report.problems) {
                Ok(stream) => {
                    let inner = stream.lock();
                    report.streams += 1;
                    report.consumers += inner.consumers.len();
                    report.msgs += inner.store.totals().msgs;
                    drop(inner);
                    self.announce(&stream);
                    // Arms the timers of consumers and watches their deliver subjects.
                    stream.commit(&*self.world.host);
                }
                Err(problem) => report.problems.push(format!("stream '{name}': {problem}")),
            }
        }
        Ok(report)
    }

    fn recover_stream(
        &self,
        storage: &Storage,
        account: &Account,
        stored: StoredStream,
        problems: &mut Vec<String>,
    ) -> Result<Arc<Stream>, String> {
        let (created_ns, config) = decode_stream(&stored.meta?)?;
        if config.name != stored.name {
            return Err(format!("its metadata is that of '{}'", config.name));
        }
        let store = storage.open_stream(&account.share.name, &stored.name, file_options(&config));
        let store = store.map_err(|error| error.to_string())?;
        problems.extend(
            store
                .damaged()
                .iter()
                .map(|(seq, place)| format!("stream '{}': message {seq} is damaged: {place}", stored.name)),
        );
        let stream = self.install(account, config, created_ns, Box::new(store));
        let consumers =
            storage.consumers(&account.share.name, &stored.name).map_err(|error| error.to_string());
        let mut all_known = true;
        for consumer in consumers? {
            let place = format!("consumer '{}' of stream '{}'", consumer.name, stored.name);
            let read = consumer.meta.and_then(|meta| decode_consumer(&meta));
            let state = consumer.state.unwrap_or_else(|problem| {
                problems.push(format!("{place}: {problem}; it begins anew"));
                None
            });
            all_known &= state.is_some();
            let mut inner = stream.lock();
            let (consumers, mut ctx) = inner.parts();
            let restored = read.and_then(|(created_ns, config)| {
                let restored =
                    consumers.restore(&mut ctx, &consumer.name, created_ns, config, state.as_ref());
                restored.map_err(|error| error.description.into_owned())
            });
            if let Err(problem) = restored {
                problems.push(format!("{place}: {problem}"));
                all_known = false;
            }
        }
        if all_known {
            let mut inner = stream.lock();
            let (consumers, mut ctx) = inner.parts();
            consumers.remove_leftovers(&mut ctx);
        }
        stream.lock().consumers.keep_in(Box::new(consumer_files(storage, account, &stream)));
        Ok(stream)
    }
}

fn consumer_files(storage: &Storage, account: &Account, stream: &Stream) -> ConsumerFiles {
    ConsumerFiles {
        storage: storage.clone(),
        account: account.share.name.clone(),
        stream: stream.name().to_owned(),
    }
}
