//! A sync that runs while the store is used for other things.

use super::FileStore;
use super::files::io_error;
use crate::store::{StoreError, SyncWork};
use std::sync::Arc;

impl FileStore {
    /// What has to be synced so that everything written is durable; `None` where all of it is.
    pub(super) fn hand_out_sync(&mut self) -> Result<Option<SyncWork>, StoreError> {
        debug_assert!(self.durability.syncing.is_empty(), "one sync at a time");
        if self.durability.rewrite {
            // After a failed sync, writing again belongs to the sync, and both to whoever holds the store.
            return self.sync_files().map(|()| None);
        }
        let before = self.gate.as_ref().filter(|gate| gate.is_closed()).map(|gate| Arc::clone(gate) as _);
        if self.durability.unsynced.is_empty() && !self.durability.dir_unsynced && before.is_none() {
            self.keep_all();
            return Ok(None);
        }
        let mut files = Vec::with_capacity(self.durability.unsynced.len());
        for (index, _) in &self.durability.unsynced {
            let path = self.files.block_path(*index);
            match self.reader.get_mut().handle(&self.files, *index, false) {
                Ok(file) => files.push((path, Arc::clone(file))),
                Err(error) => {
                    let error = io_error("could not open", &path, error);
                    return Err(self.sync_failed(error));
                }
            }
        }
        let dir = (self.files.msgs_dir.clone(), Arc::clone(&self.files.disk));
        let durability = &mut self.durability;
        durability.syncing.append(&mut durability.unsynced);
        durability.dir_syncing = std::mem::take(&mut durability.dir_unsynced);
        let dir = durability.dir_syncing.then_some(dir);
        self.keep_after_sync();
        Ok(Some(SyncWork { files, dir, before }))
    }

    pub(super) fn take_back_sync(&mut self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        self.sync_ended(outcome.is_ok());
        match outcome {
            Ok(()) => {
                self.durability.syncing.clear();
                self.durability.dir_syncing = false;
                if !self.durability.rewrite && !self.log.has_pending() {
                    self.heal();
                }
                Ok(())
            }
            Err(error) => Err(self.sync_failed(error)),
        }
    }
}
