//! How streams come, change and go.

use super::account::Account;
use super::offline::{Offline, newer_consumers, stopped_by};
use super::persist::{
    ConsumerFiles, decode_consumer, decode_newer_consumer, decode_newer_stream, decode_stream,
    decode_unproven_consumer, encode_stream, file_options,
};
use super::update::stage;
use super::{Engine, EngineError, RecoveryReport};
use crate::config::{Retention, StorageType, StreamConfig};
use crate::consumer::{Change, Staged};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::settings::SyncPolicy;
use crate::store::file::{Rubbish, Storage, StoredStream};
use crate::store::{FileStore, MemoryStore, Store, StoreError};
use crate::stream::{Inner, Stream};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

impl Engine {
    /// Creates a stream from a configuration that was checked. Where one is there that is not served it is taken up, for
    /// which metadata has to be staged.
    pub(crate) fn create_stream(
        &self,
        account: &Account,
        config: StreamConfig,
        staged: Option<Staged>,
    ) -> Result<Change<Arc<Stream>>, ApiError> {
        let created_ns = match &staged {
            Some(Staged::Config(_, created_ns)) => *created_ns,
            _ => self.world.clock.wall().ns(),
        };
        let opened = self.new_store(account, created_ns, &config, staged);
        let opened = match opened.map_err(|error| create_failed(&config.name, &error))? {
            Change::Made(opened) => opened,
            Change::Stage(work) => return Ok(Change::Stage(work)),
        };
        let stream = self.open(account, config, created_ns, opened.store);
        if let Some(storage) = self.storage_of(&stream) {
            let mut problems = Vec::new();
            if opened.is_taken_up {
                let mut newer = BTreeMap::new();
                let recovered = recover_consumers(storage, account, &stream, &mut newer, &mut problems);
                stream.lock().consumers.take_numbers(&*self.world.host);
                problems.extend(recovered.err().map(|error| error.to_string()));
                problems.extend(newer.iter().map(|(name, reason)| format!("consumer '{name}': {reason}")));
            }
            problems.iter().for_each(|problem| tracing::warn!("{problem}"));
            let files = self.consumer_files(storage, account, &stream);
            stream.lock().consumers.keep_in(Box::new(files));
        }
        // Not before: who finds the stream may create consumers, which must be kept.
        account.insert(&stream);
        self.announce(&stream);
        if self.world.config.sync != SyncPolicy::Always {
            self.sync_metadata_later();
        }
        Ok(Change::Made(stream))
    }

    fn new_store(
        &self,
        account: &Account,
        created_ns: i64,
        config: &StreamConfig,
        staged: Option<Staged>,
    ) -> Result<Change<Opened>, StoreError> {
        let storage = match (config.storage, &self.storage) {
            (StorageType::Memory, _) => {
                let mut store = MemoryStore::new();
                begin_at(&mut store, config.first_seq)?;
                return Ok(Change::Made(Opened { store: Box::new(store), is_taken_up: false }));
            }
            (StorageType::File, None) => {
                return Err(StoreError::Unsupported("there is no store directory".to_owned()));
            }
            (StorageType::File, Some(storage)) => storage,
        };
        let name = config.name.as_str();
        let meta = encode_stream(created_ns, config);
        if storage.has_stream(&account.share.name, name)? {
            let mut staged = match staged {
                Some(Staged::Config(staged, _)) if staged.is(&meta) => staged,
                _ => return Ok(Change::Stage(stage(storage, account, name, created_ns, meta))),
            };
            match take_up(storage, &account.share.name, config)? {
                Ok(mut store) => {
                    begin_at(&mut store, config.first_seq)?;
                    staged.put_in_place()?;
                    let msgs = store.state().msgs;
                    tracing::warn!(
                        "stream '{name}' takes up {msgs} messages that it had before its metadata was lost"
                    );
                    return Ok(Change::Made(Opened { store: Box::new(store), is_taken_up: true }));
                }
                Err(misfit) => {
                    drop(staged);
                    let kept = storage.quarantine_stream(&account.share.name, name)?;
                    tracing::warn!(
                        "stream '{name}' begins anew, as what was there does not fit: {misfit}; it is kept in {}",
                        kept.display()
                    );
                }
            }
        }
        let account = account.share.name.as_str();
        let mut store = storage.create_stream(account, name, &meta, file_options(config))?;
        if let Err(error) = begin_at(&mut store, config.first_seq) {
            drop(store);
            let _ = storage.remove_stream(account, name);
            return Err(error);
        }
        Ok(Change::Made(Opened { store: Box::new(store), is_taken_up: false }))
    }

    /// The storage that a stream's files are in, if it has any.
    pub(super) fn storage_of(&self, stream: &Stream) -> Option<&Storage> {
        self.storage.as_ref().filter(|_| !stream.config().storage.is_memory())
    }

    pub(super) fn open(
        &self,
        account: &Account,
        config: StreamConfig,
        created_ns: i64,
        store: Box<dyn Store>,
    ) -> Arc<Stream> {
        self.world.reserved.add(config.storage, config.max_bytes.max(0));
        Stream::new(self.world.clone(), account.share.clone(), config, created_ns, store)
    }

    pub(super) fn announce(&self, stream: &Arc<Stream>) {
        for pattern in &stream.config().subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), true);
        }
        stream.listen_for_gets(stream.config().allow_direct);
    }

    /// Removes the directory of an account whose streams are gone, with what else is in it.
    pub(crate) fn remove_account_dir(&self, name: &str) -> Result<(), StoreError> {
        self.storage.as_ref().map_or(Ok(()), |storage| storage.remove_account(name))
    }

    /// Deletes a stream with all that it holds. Its files go out of the way in one step; the room that they take is
    /// given back afterwards.
    pub(crate) fn delete_stream(&self, account: &Account, stream: &Arc<Stream>) -> Result<(), ApiError> {
        self.withdraw(account, stream);
        stream.end_origins(true);
        let storage = self.storage_of(stream);
        let discarded = stream.end(&*self.world.host, || {
            let discarded = storage.map(|kept| kept.discard_stream(&account.share.name, stream.name()));
            discarded.transpose()
        });
        let discarded = discarded.map_err(|error| {
            let config = stream.config();
            self.world.reserved.add(config.storage, config.max_bytes.max(0));
            account.insert(stream);
            self.announce(stream);
            stream.resume_origins();
            errors::STREAM_DELETE.because(error)
        })?;
        self.remove_later(discarded.flatten(), stream.name().to_owned());
        Ok(())
    }

    /// Gives back the room of what was deleted.
    pub(super) fn remove_later(&self, rubbish: Option<Rubbish>, name: String) {
        let Some(rubbish) = rubbish else { return };
        self.world.host.run_later(Box::new(move || {
            if let Err(error) = rubbish.remove() {
                tracing::warn!(stream = name, %error, "the files of a deleted stream are still there");
            }
        }));
    }

    /// Takes a stream off the list: nothing that is published from here on reaches it.
    fn withdraw(&self, account: &Account, stream: &Arc<Stream>) {
        account.remove(stream.name());
        let config = stream.config();
        for pattern in &config.subjects {
            self.world.host.stream_subject(stream, pattern.as_bytes(), false);
        }
        stream.listen_for_gets(false);
        self.world.reserved.add(config.storage, -config.max_bytes.max(0));
    }

    /// Takes a stream out of service. What it queued before still leaves.
    pub(crate) fn close_stream(&self, account: &Account, stream: &Arc<Stream>) {
        // Before anyone hears that nobody listens: no acknowledgement comes after that.
        stream.stop(&*self.world.host);
        stream.end_origins(false);
        self.withdraw(account, stream);
        let mut inner = stream.lock();
        let Inner { consumers, now, .. } = &mut *inner;
        consumers.save_all(now);
        if let Err(error) = inner.close_store() {
            tracing::error!(stream = stream.name(), %error, "cannot close the store");
        }
        drop(inner);
        stream.wake_watchers();
    }

    pub(super) fn consumer_files(
        &self,
        storage: &Storage,
        account: &Account,
        stream: &Stream,
    ) -> ConsumerFiles {
        ConsumerFiles::new(storage, &account.share.name, &stream.config(), &self.world.host)
    }

    /// Returns when what came, changed or went under the name of a stream or its consumer is as durable as configured.
    /// No lock may be held.
    ///
    /// # Errors
    /// I/O; it is there or gone all the same.
    pub(crate) fn await_metadata(
        &self,
        account: &Account,
        stream: &str,
        consumer: Option<&str>,
    ) -> Result<(), StoreError> {
        match &self.storage {
            Some(storage) => storage.await_metadata(&account.share.name, stream, consumer),
            None => Ok(()),
        }
    }

    /// Whether what stands under the name of a stream or its consumer is new, and not durable.
    pub(crate) fn is_unproven(&self, account: &Account, stream: &str, consumer: Option<&str>) -> bool {
        let storage = self.storage.as_ref();
        storage.is_some_and(|storage| storage.is_unproven(&account.share.name, stream, consumer))
    }

    /// As [`Engine::await_metadata`], of a stream that was created: what is new goes where that fails.
    pub(crate) fn await_new(&self, account: &Account, stream: &Arc<Stream>) -> Result<(), ApiError> {
        let Err(error) = self.await_metadata(account, stream.name(), None) else { return Ok(()) };
        if !self.is_unproven(account, stream.name(), None) {
            tracing::error!(stream = stream.name(), %error, "what was taken up is not durable yet");
            return Ok(());
        }
        let refused = create_failed(stream.name(), &error);
        let _changes = account.changes.lock();
        let is_there = account.stream(stream.name()).is_some_and(|known| Arc::ptr_eq(&known, stream));
        if is_there && self.delete_stream(account, stream).is_err() {
            // The disk refuses that as well; the next start finds it, or takes it for unfinished.
            self.withdraw(account, stream);
            let _ = stream.end(&*self.world.host, || Ok::<_, StoreError>(()));
        }
        Err(refused)
    }

    /// Recovers the streams of an account, whose stores were opened.
    pub(super) fn recover(&self, account: &Account, opened: Vec<OpenedStream>) -> RecoveryReport {
        let mut report = RecoveryReport::default();
        let Some(storage) = &self.storage else { return report };
        for OpenedStream { name, found } in opened {
            let mut newer = BTreeMap::new();
            let recovered = found.and_then(|found| {
                self.recover_stream(storage, account, &name, found, &mut newer, &mut report.problems)
                    .map_err(Unopened::Problem)
            });
            let offline = match recovered {
                Ok(stream) => {
                    let inner = stream.lock();
                    let (consumers, msgs) = (inner.consumers.len(), inner.store.totals().msgs);
                    let config = Arc::clone(&inner.config);
                    drop(inner);
                    self.announce(&stream);
                    let Some(first) = newer.keys().next() else {
                        report.streams += 1;
                        report.consumers += consumers;
                        report.msgs += msgs;
                        // Arms the timers of consumers and watches their deliver subjects.
                        stream.commit(&*self.world.host);
                        continue;
                    };
                    self.close_stream(account, &stream);
                    Offline::new(config, stopped_by(first), newer)
                }
                Err(Unopened::Newer(newer)) => {
                    let (config, reason) = *newer;
                    let consumers = newer_consumers(storage, &account.share.name, &name);
                    Offline::new(Arc::new(config), reason, consumers.unwrap_or_default())
                }
                Err(Unopened::Problem(problem)) => {
                    report.problems.push(format!("stream '{name}': {problem}"));
                    continue;
                }
            };
            report.problems.push(format!("stream '{name}' is not served: {}", offline.reason));
            account.keep_offline(offline);
        }
        storage.finish_new();
        for stream in account.streams() {
            stream.lock().consumers.take_numbers(&*self.world.host);
        }
        report
    }

    /// Opens the stores of the streams of accounts, side by side: that is most of what a start does. A list for each
    /// account.
    ///
    /// # Errors
    /// A directory of an account cannot be read.
    pub(super) fn open_accounts(&self, names: &[&str]) -> Result<Vec<Vec<OpenedStream>>, EngineError> {
        let Some(storage) = &self.storage else { return Ok(names.iter().map(|_| Vec::new()).collect()) };
        let (mut accounts, mut to_open) = (Vec::with_capacity(names.len()), Vec::new());
        for account in names {
            storage.relocate(account).map_err(EngineError::Store)?;
            let stored = storage.streams(account).map_err(EngineError::Store)?;
            let not_yet = |stored: &StoredStream| OpenedStream {
                name: stored.name.clone(),
                found: Err(Unopened::Problem("it was not opened".to_owned())),
            };
            accounts.push(stored.iter().map(not_yet).collect::<Vec<_>>());
            to_open.push(stored);
        }
        let all = accounts.iter_mut().zip(to_open).zip(names).flat_map(|((opened, stored), account)| {
            opened.iter_mut().zip(stored).map(|(opened, stored)| (opened, stored, *account))
        });
        let each = all.map(|(opened, stored, account)| -> Box<dyn FnOnce() + Send + '_> {
            Box::new(move || opened.found = open_store(storage, account, stored))
        });
        self.world.host.run_all(each.collect());
        Ok(accounts)
    }

    fn recover_stream(
        &self,
        storage: &Storage,
        account: &Account,
        name: &str,
        found: Found,
        newer: &mut BTreeMap<String, String>,
        problems: &mut Vec<String>,
    ) -> Result<Arc<Stream>, String> {
        let Found { created_ns, config, mut store } = found;
        // It stays on the disk (nats-server v2.15.2).
        if account.share.limits.load().for_replicas(config.num_replicas).is_none() {
            return Err(crate::error::catalogue::NO_LIMITS.error().to_string());
        }
        // Without blanks that an older server let stand, its subjects may be those of another.
        account.check_overlap(&config).map_err(|error| error.description.into_owned())?;
        // A create may have been interrupted before this.
        begin_at(&mut store, config.first_seq).map_err(|error| error.to_string())?;
        problems.extend(
            store
                .damaged()
                .iter()
                .map(|(seq, place)| format!("stream '{name}': message {seq} is damaged: {place}")),
        );
        // What limits delete goes from the front, and leaves nothing.
        let told = store.lacks().iter().filter(|lack| !lack.is_front || keeps_all(&config));
        problems.extend(told.map(|lack| format!("stream '{name}': {lack}")));
        let stream = self.open(account, config, created_ns, Box::new(store));
        let recovered = recover_consumers(storage, account, &stream, newer, problems);
        let all_known = recovered.unwrap_or_else(|error| {
            problems.push(format!("consumers of stream '{name}': {error}"));
            false
        });
        if all_known {
            let mut inner = stream.lock();
            let (consumers, mut ctx) = inner.parts();
            consumers.remove_leftovers(&mut ctx);
        }
        let files = self.consumer_files(storage, account, &stream);
        stream.lock().consumers.keep_in(Box::new(files));
        account.insert(&stream);
        Ok(stream)
    }
}

/// A stream whose store was opened, or why it was not.
pub(super) struct OpenedStream {
    name: String,
    found: Result<Found, Unopened>,
}

/// Why a stream that was found on the disk is not served.
enum Unopened {
    /// A newer server wrote it: what is understood of its configuration, and what is not.
    Newer(Box<(StreamConfig, String)>),
    Problem(String),
}

/// A stream that was found on the disk.
struct Found {
    created_ns: i64,
    config: StreamConfig,
    store: FileStore,
}

fn open_store(storage: &Storage, account: &str, stored: StoredStream) -> Result<Found, Unopened> {
    let meta = stored.meta.map_err(Unopened::Problem)?;
    let newer = decode_newer_stream(&meta).filter(|(config, _)| config.name == stored.name);
    if let Some(newer) = newer {
        return Err(Unopened::Newer(Box::new(newer)));
    }
    let (created_ns, config) = decode_stream(&meta).map_err(Unopened::Problem)?;
    if config.name != stored.name {
        return Err(Unopened::Problem(format!("its metadata is that of '{}'", config.name)));
    }
    let store = storage.open_stream(account, &stored.name, file_options(&config));
    let store = store.map_err(|error| Unopened::Problem(error.to_string()))?;
    Ok(Found { created_ns, config, store })
}

/// Whether messages only go by deletions and purges.
fn keeps_all(config: &StreamConfig) -> bool {
    let is_unbounded = config.max_bytes <= 0 && config.max_msgs <= 0 && config.max_msgs_per_subject <= 0;
    config.retention == Retention::Limits && is_unbounded && config.max_age_ns <= 0 && !config.allow_msg_ttl
}

/// What is said where a stream cannot be created: nats-server hides what went wrong with the files.
pub(crate) fn create_failed(name: &str, error: &StoreError) -> ApiError {
    tracing::warn!(stream = %name, %error, "Stream create failed");
    errors::STREAM_CREATE.because("error creating store for stream")
}

/// A store for a stream that is created.
struct Opened {
    store: Box<dyn Store>,
    /// Whether it holds what was there before.
    is_taken_up: bool,
}

/// Opens what is left of a stream whose metadata cannot be read, for a stream that is created with its name.
///
/// # Errors
/// I/O: it may fit another time. Inside, why it never does.
fn take_up(
    storage: &Storage,
    account: &str,
    config: &StreamConfig,
) -> Result<Result<FileStore, String>, StoreError> {
    if let Some(problem) = storage.locked(account, &config.name) {
        // Another time the right key may be configured.
        return Err(StoreError::Unsupported(problem));
    }
    let store = match storage.open_stream(account, &config.name, file_options(config)) {
        Ok(store) => store,
        Err(StoreError::Io { what, source })
            if matches!(
                source.kind(),
                ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::InvalidData
            ) =>
        {
            return Ok(Err(format!("{what}: {}", jetkv_go_compat::os_text(&source))));
        }
        Err(error @ StoreError::Io { .. }) => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let held = store.state();
    if held.msgs > 0 && held.first_seq < config.first_seq {
        let first_seq = config.first_seq;
        return Ok(Err(format!("its first sequence is {}, and not {first_seq}", held.first_seq)));
    }
    Ok(Ok(store))
}

/// Lets a stream that holds nothing begin with a sequence.
pub(super) fn begin_at(store: &mut dyn Store, first_seq: u64) -> Result<(), StoreError> {
    let held = store.totals();
    if held.msgs == 0 && held.last_seq.saturating_add(1) < first_seq {
        store.compact(first_seq)?;
        store.flush()?;
    }
    Ok(())
}

/// Brings back the consumers of a stream. What cannot be brought back stays on disk; `newer` are those among them that ask
/// for more than this server knows. Says whether all came back as they were.
fn recover_consumers(
    storage: &Storage,
    account: &Account,
    stream: &Stream,
    newer: &mut BTreeMap<String, String>,
    problems: &mut Vec<String>,
) -> Result<bool, StoreError> {
    let (account, name) = (account.share.name.as_str(), stream.name());
    let mut all_known = true;
    for consumer in storage.consumers(account, name)? {
        let place = format!("consumer '{}' of stream '{name}'", consumer.name);
        if let Some(reason) = consumer.meta.as_ref().ok().and_then(|meta| decode_newer_consumer(meta)) {
            newer.insert(consumer.name, reason);
            all_known = false;
            continue;
        }
        let state = consumer.state.unwrap_or_else(|problem| {
            problems.push(format!("{place}: {problem}; it begins anew"));
            None
        });
        all_known &= state.as_ref().is_some_and(|state| !state.is_doubtful);
        if state.as_ref().is_some_and(|state| state.is_doubtful) {
            problems
                .push(format!("{place}: its state is damaged; messages that it acknowledged may come again"));
        }
        let read = match consumer.meta {
            Ok(meta) => decode_consumer(&meta),
            Err(problem) => {
                let config = stream.lock().config.clone();
                let unproven = consumer
                    .unproven
                    .and_then(|meta| decode_unproven_consumer(&meta, &consumer.name, &config));
                problems
                    .extend(unproven.is_some().then(|| format!("{place}: {problem}; it is taken as it is")));
                unproven.ok_or(problem)
            }
        };
        let mut inner = stream.lock();
        let last_seq = inner.store.totals().last_seq;
        let delivered_seq = state.as_ref().map_or(0, |state| state.delivered.stream_seq);
        if delivered_seq > last_seq {
            problems.push(format!(
                "{place}: it was given messages up to {delivered_seq}, but the stream ends at {last_seq}: messages are lost"
            ));
        }
        let (consumers, mut ctx) = inner.parts();
        let restored = read.and_then(|(created_ns, config)| {
            let restored = consumers.restore(&mut ctx, &consumer.name, created_ns, config, state.as_ref());
            restored.map_err(|error| error.description.into_owned())
        });
        if let Err(problem) = restored {
            problems.push(format!("{place}: {problem}"));
            all_known = false;
        }
    }
    Ok(all_known)
}
