//! How the configuration of streams changes: what the disk needs time for is done without a lock.

use super::Engine;
use super::account::Account;
use super::persist::encode_stream;
use crate::config::StreamConfig;
use crate::consumer::{Change, Staged, Staging, ToStage};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::store::StoreError;
use crate::store::file::Storage;
use crate::stream::Stream;
use hashbrown::HashSet;
use std::sync::Arc;

/// Has metadata of a stream made durable beside that which is there.
pub(super) fn stage(
    storage: &Storage,
    account: &Account,
    name: &str,
    created_ns: i64,
    meta: Vec<u8>,
) -> ToStage {
    let (storage, account, name) = (storage.clone(), account.share.name.clone(), name.to_owned());
    ToStage::new(move || Ok(Staged::Config(storage.stage_stream(&account, &name, meta)?, created_ns)))
}

/// How often an update is made durable anew because others of the same stream came in between.
const TRIES_MAX: u32 = 8;

/// Configuration that is on disk and does not hold yet.
struct Put {
    stream: Arc<Stream>,
    was: Arc<StreamConfig>,
    config: StreamConfig,
    /// How often configuration of the stream had been put in place then.
    puts: u64,
}

impl Put {
    /// Whether nobody put anything else there.
    fn is_last(&self) -> bool {
        self.stream.puts() == self.puts
    }

    /// Whether it is still what the update asks for.
    fn fits(&self, stream: &Arc<Stream>, config: &StreamConfig) -> bool {
        Arc::ptr_eq(&self.stream, stream)
            && Arc::ptr_eq(&self.was, &stream.config())
            && self.config == *config
            && self.is_last()
    }
}

impl Engine {
    /// Gives a stream another configuration. `checked` says which stream and which configuration: it is asked with the
    /// account's changes locked, and again where these were let go to wait for the disk.
    ///
    /// The configuration is as durable as everything else is before it holds: what tighter limits take cannot come back.
    pub(crate) fn update_stream(
        &self,
        account: &Account,
        checked: &dyn Fn() -> Result<(Arc<Stream>, StreamConfig), ApiError>,
    ) -> Result<Arc<Stream>, ApiError> {
        let refuse = |error: StoreError| errors::STREAM_UPDATE.because(error);
        let (mut staging, mut tries) = (Staging::default(), 0);
        let mut put: Option<Put> = None;
        loop {
            let changes = account.changes.lock();
            let (stream, config) = match checked() {
                Ok(wanted) => wanted,
                Err(error) => {
                    drop(changes);
                    self.forget_put(account, put.as_ref());
                    return Err(error);
                }
            };
            if put.as_ref().is_some_and(|put| put.fits(&stream, &config) || tries > TRIES_MAX) {
                let changed = self.reconfigure(account, &stream, config);
                drop(changes);
                if changed.is_err() || tries > TRIES_MAX {
                    self.keep_again(account, &stream);
                }
                return changed.map(|()| stream).map_err(refuse);
            }
            let step = match self.put_config(account, &stream, &config, staging.take()) {
                Ok(Change::Stage(work)) => {
                    drop(changes);
                    staging.stage(work)
                }
                Ok(Change::Made(())) => {
                    let (was, puts) = (stream.config(), stream.puts());
                    put = Some(Put { stream: Arc::clone(&stream), was, config, puts });
                    tries += 1;
                    drop(changes);
                    self.sync_metadata_later();
                    self.await_metadata(account, stream.name(), None)
                }
                Err(error) => {
                    drop(changes);
                    // A part of it may be in place.
                    self.keep_again(account, &stream);
                    return Err(refuse(error));
                }
            };
            if let Err(error) = step {
                self.forget_put(account, put.as_ref());
                return Err(refuse(error));
            }
        }
    }

    /// Has the disk say again what holds, where it says what does not.
    fn forget_put(&self, account: &Account, put: Option<&Put>) {
        if let Some(put) = put.filter(|put| put.is_last()) {
            self.keep_again(account, &put.stream);
        }
    }

    /// Puts configuration in place on the disk that was staged, or has it staged.
    fn put_config(
        &self,
        account: &Account,
        stream: &Stream,
        config: &StreamConfig,
        staged: Option<Staged>,
    ) -> Result<Change<()>, StoreError> {
        let Some(storage) = self.storage_of(stream) else { return Ok(Change::Made(())) };
        let created_ns = stream.lock().created_ns;
        let meta = encode_stream(created_ns, config);
        match staged {
            Some(Staged::Config(mut staged, _)) if staged.is(&meta) => {
                stream.note_put();
                staged.put_in_place().map(|()| Change::Made(()))
            }
            _ => Ok(Change::Stage(stage(storage, account, stream.name(), created_ns, meta))),
        }
    }

    /// Gives a stream another configuration in memory, and holds what it has against it.
    fn reconfigure(
        &self,
        account: &Account,
        stream: &Arc<Stream>,
        config: StreamConfig,
    ) -> Result<(), StoreError> {
        let old = stream.config();
        let (storage_type, reserved) = (config.storage, config.max_bytes.max(0) - old.max_bytes.max(0));
        let new_subjects = config.subjects.clone();
        stream.reconfigure(config)?;
        account.insert(stream);
        stream.wake_receiver();
        self.world.reserved.add(storage_type, reserved);
        let (had, has): (HashSet<_>, HashSet<_>) =
            (old.subjects.iter().collect(), new_subjects.iter().collect());
        for pattern in new_subjects.iter().filter(|pattern| !had.contains(pattern)) {
            self.world.host.stream_subject(stream, pattern.as_bytes(), true);
        }
        for pattern in old.subjects.iter().filter(|pattern| !has.contains(pattern)) {
            self.world.host.stream_subject(stream, pattern.as_bytes(), false);
        }
        stream.listen_for_gets(stream.config().allow_direct);
        Ok(())
    }

    /// Has the disk say again what holds in memory, unless that changes meanwhile.
    fn keep_again(&self, account: &Account, stream: &Arc<Stream>) {
        let holds = stream.config();
        let staged = match self.put_config(account, stream, &holds, None) {
            Ok(Change::Stage(work)) => work.run().map(Some),
            Ok(Change::Made(())) => Ok(None),
            Err(error) => Err(error),
        };
        let changes = account.changes.lock();
        let is_there = account.stream(stream.name()).is_some_and(|known| Arc::ptr_eq(&known, stream));
        if !is_there || !Arc::ptr_eq(&holds, &stream.config()) {
            return;
        }
        let kept = staged.and_then(|staged| match staged {
            Some(staged) => self.put_config(account, stream, &holds, Some(staged)).map(drop),
            None => Ok(()),
        });
        drop(changes);
        if let Err(error) = kept {
            tracing::error!(stream = stream.name(), %error, "a refused update takes effect with the next start");
        }
        self.sync_metadata_later();
    }

    /// Has made durable in the background what of the metadata is not.
    pub(super) fn sync_metadata_later(&self) {
        if let Some(storage) = &self.storage {
            storage.sync_metadata_later(|work| self.world.host.run_later(work));
        }
    }
}
