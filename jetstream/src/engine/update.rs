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

impl Engine {
    /// Gives a stream another configuration. `checked` says which stream and which configuration: it is asked with the
    /// account's changes locked, and again where these were let go to wait for the disk. `fits` says whether a stream
    /// may have the configuration back that it had.
    pub(crate) fn update_stream(
        &self,
        account: &Account,
        checked: &dyn Fn() -> Result<(Arc<Stream>, StreamConfig), ApiError>,
        fits: &dyn Fn(&StreamConfig) -> bool,
    ) -> Result<Arc<Stream>, ApiError> {
        let refuse = |error: StoreError| errors::STREAM_UPDATE.because(error);
        let mut staging = Staging::default();
        let (stream, was, now) = loop {
            let changes = account.changes.lock();
            let (stream, config) = checked()?;
            let was = stream.config();
            // First what a crash must find: limits are held against what is stored at every start.
            let changed = match self.put_config(account, &stream, &config, staging.take()) {
                Ok(Change::Stage(work)) => {
                    drop(changes);
                    staging.stage(work).map_err(refuse)?;
                    continue;
                }
                Ok(Change::Made(())) => self.reconfigure(&stream, config),
                Err(error) => Err(error),
            };
            if let Err(error) = changed {
                drop(changes);
                self.keep_again(account, &stream);
                return Err(refuse(error));
            }
            let now = stream.config();
            break (stream, was, now);
        };
        self.sync_metadata_later();
        if let Err(error) = self.await_metadata(account, stream.name(), None) {
            self.take_back(account, &stream, &now, &was, fits);
            return Err(refuse(error));
        }
        Ok(stream)
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
                staged.put_in_place().map(|()| Change::Made(()))
            }
            _ => Ok(Change::Stage(stage(storage, account, stream.name(), created_ns, meta))),
        }
    }

    /// Gives a stream another configuration in memory, and holds what it has against it.
    fn reconfigure(&self, stream: &Arc<Stream>, config: StreamConfig) -> Result<(), StoreError> {
        let old = stream.config();
        let (storage_type, reserved) = (config.storage, config.max_bytes.max(0) - old.max_bytes.max(0));
        let new_subjects = config.subjects.clone();
        stream.lock().reconfigure(config)?;
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

    /// Has the disk say again what holds in memory, after an update failed half-way.
    fn keep_again(&self, account: &Account, stream: &Arc<Stream>) {
        let holds = stream.config();
        self.put_back(account, stream, &holds, &holds, |_| Ok(()));
    }

    /// Gives a stream the configuration that it had before an update that does not last. What went because of that
    /// update stays away.
    fn take_back(
        &self,
        account: &Account,
        stream: &Arc<Stream>,
        now: &Arc<StreamConfig>,
        was: &Arc<StreamConfig>,
        fits: &dyn Fn(&StreamConfig) -> bool,
    ) {
        self.put_back(account, stream, now, was, |was| match fits(was) {
            true => self.reconfigure(stream, was.clone()),
            false => Err(StoreError::Unsupported("what it gave up has been taken".to_owned())),
        });
    }

    /// Puts `was` in place on the disk and by `apply`, unless the stream has another configuration than `now` by then.
    fn put_back(
        &self,
        account: &Account,
        stream: &Arc<Stream>,
        now: &Arc<StreamConfig>,
        was: &StreamConfig,
        apply: impl FnOnce(&StreamConfig) -> Result<(), StoreError>,
    ) {
        let staged = match self.put_config(account, stream, was, None) {
            Ok(Change::Stage(work)) => work.run().map(Some),
            Ok(Change::Made(())) => Ok(None),
            Err(error) => Err(error),
        };
        let changes = account.changes.lock();
        let is_there = account.stream(stream.name()).is_some_and(|known| Arc::ptr_eq(&known, stream));
        if !is_there || !Arc::ptr_eq(now, &stream.config()) {
            return;
        }
        let applied = apply(was);
        let kept = applied.and(staged).and_then(|staged| match staged {
            Some(staged) => self.put_config(account, stream, was, Some(staged)).map(drop),
            None => Ok(()),
        });
        drop(changes);
        if let Err(error) = kept {
            tracing::error!(stream = stream.name(), %error, "a refused update takes effect, now or with the next start");
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
