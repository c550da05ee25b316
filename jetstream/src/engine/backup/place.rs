//! How a stream that was restored takes its place.

use super::RestoreError;
use super::intake::{Restored, StoredConsumer, Target};
use crate::config::origins::invalid_filter;
use crate::config::{Retention, StreamConfig};
use crate::engine::Engine;
use crate::engine::account::Account;
use crate::engine::persist::{encode_consumer, encode_stream, file_options};
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::settings::SyncPolicy;
use crate::store::file::{ConsumerImage, Storage};
use crate::store::{MemoryStore, Store, StoreImage};
use crate::stream::Stream;
use std::sync::Arc;

impl Engine {
    /// Whether an account can have a stream from a backup now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_restorable(&self, account: &Account, config: &StreamConfig) -> Result<(), ApiError> {
        account.check_stream_count(config)?;
        account.check_reservation(&self.world, config)?;
        if account.stream(&config.name).is_some() {
            return Err(errors::STREAM_NAME_EXIST_RESTORE_FAILED.into());
        }
        Ok(())
    }

    /// Has a stream that came whole take its place. Blocks while the disk works.
    pub(super) fn place(&self, account: &Account, restored: Restored) -> Result<Arc<Stream>, RestoreError> {
        let Restored { config, created_ns, mut target, consumers, reservation } = restored;
        let now_ns = self.world.clock.wall().ns();
        let created_ns = if created_ns == 0 { now_ns } else { created_ns };
        if let Target::File(unseen, store) = &mut target {
            // All of it is on the disk before any of it is seen.
            store.close()?;
            for consumer in consumers.iter().filter(|consumer| consumer.is_kept()) {
                let ConsumerImage { name, meta, state } = consumer.image(now_ns);
                unseen.add_consumer(name, &meta, &state)?;
            }
        }
        let changes = account.changes.lock();
        self.check_restorable(account, &config)?;
        if let Some(reason) = invalid_filter(&config) {
            return Err(RestoreError::Text(reason));
        }
        account.check_addable(&config)?;
        let is_image = matches!(target, Target::Image(_));
        let stream = match target {
            Target::Image(image) => self.place_image(account, config, created_ns, &image, &consumers)?,
            Target::Memory(store) => self.open(account, config, created_ns, store),
            Target::File(unseen, store) => {
                drop(store);
                let (storage, name) = (self.room_for(account, &config)?, config.name.as_str());
                unseen.take_place(&encode_stream(created_ns, &config))?;
                let opened = storage.open_stream(&account.share.name, name, file_options(&config));
                let store = opened.inspect_err(|_| {
                    // It is removed with the next start otherwise, or found whole.
                    let _ = storage.remove_stream(&account.share.name, name);
                })?;
                self.open(account, config, created_ns, Box::new(store))
            }
        };
        if is_image {
            stream.lock().came_unsynced();
        }
        let installed = self.install(account, &stream, &consumers, now_ns);
        account.insert(&stream);
        self.announce(&stream);
        drop(reservation);
        if let Err(error) = installed {
            self.delete_stream(account, &stream)?;
            return Err(error.into());
        }
        drop(changes);
        stream.commit(&*self.world.host);
        if is_image {
            stream.await_durable(&*self.world.host);
        }
        self.await_new(account, &stream)?;
        if self.world.config.sync != SyncPolicy::Always {
            self.sync_metadata_later();
        }
        Ok(stream)
    }

    /// Where a stream of that name is to be, with nothing in its place.
    fn room_for(&self, account: &Account, config: &StreamConfig) -> Result<&Storage, RestoreError> {
        let storage =
            self.storage.as_ref().ok_or_else(|| RestoreError::text("there is no store directory"))?;
        let name = config.name.as_str();
        if storage.has_stream(&account.share.name, name)? {
            let kept = storage.quarantine_stream(&account.share.name, name)?;
            tracing::warn!(
                "what was there of stream '{name}' could not be read; it is kept in {}",
                kept.display()
            );
        }
        Ok(storage)
    }

    /// Opens a stream that holds what an image shows. In files it appears with its consumers, or not at all.
    fn place_image(
        &self,
        account: &Account,
        config: StreamConfig,
        created_ns: i64,
        image: &StoreImage,
        consumers: &[StoredConsumer],
    ) -> Result<Arc<Stream>, RestoreError> {
        let store: Box<dyn Store> = match image {
            StoreImage::Memory(image) => Box::new(MemoryStore::of(image)),
            StoreImage::File(image) => {
                let storage = self.room_for(account, &config)?;
                let now_ns = self.world.clock.wall().ns();
                let kept = consumers.iter().filter(|consumer| consumer.is_kept());
                let kept: Vec<_> = kept.map(|consumer| consumer.image(now_ns)).collect();
                let (place, meta) =
                    ((&*account.share.name, &*config.name), encode_stream(created_ns, &config));
                Box::new(storage.create_from(place, &meta, file_options(&config), image, &kept)?)
            }
        };
        Ok(self.open(account, config, created_ns, store))
    }

    /// Gives a stream that nobody knows yet its consumers.
    fn install(
        &self,
        account: &Account,
        stream: &Stream,
        restored: &[StoredConsumer],
        now_ns: i64,
    ) -> Result<(), ApiError> {
        // It asks for the stream's configuration itself.
        let kept = self.storage_of(stream).map(|storage| self.consumer_files(storage, account, stream));
        let mut inner = stream.lock();
        if inner.config.storage.is_memory() && inner.config.allow_msg_ttl {
            // A store in memory is never opened, and so finds none by itself.
            inner.reload_ttls(0, usize::MAX);
        }
        let (consumers, mut ctx) = inner.parts();
        for StoredConsumer { name, created_ns, config, state } in restored {
            let created_ns = if *created_ns == 0 { now_ns } else { *created_ns };
            consumers.restore(&mut ctx, name, created_ns, config.clone(), state.as_ref())?;
        }
        if ctx.config.retention != Retention::Limits
            && restored.iter().all(|consumer| consumer.state.as_ref().is_some_and(|state| !state.is_doubtful))
        {
            consumers.remove_leftovers(&mut ctx);
        }
        if let Some(kept) = kept {
            inner.consumers.keep_in(Box::new(kept));
        }
        Ok(())
    }
}

impl StoredConsumer {
    /// Whether it is on the disk.
    fn is_kept(&self) -> bool {
        !self.config.direct && !self.config.memory_storage
    }

    fn image(&self, now_ns: i64) -> ConsumerImage<'_> {
        let Self { name, created_ns, config, state } = self;
        let created_ns = if *created_ns == 0 { now_ns } else { *created_ns };
        let meta = encode_consumer(name, created_ns, config);
        ConsumerImage { name, meta, state: state.clone().unwrap_or_default() }
    }
}
