//! Room that a restore takes before its stream is there to take it.

use super::RestoreError;
use crate::config::{StorageType, StreamConfig};
use crate::engine::account::Account;
use crate::error::ErrorDef;
use crate::error::catalogue as errors;
use crate::stream::world::World;
use std::sync::Arc;

/// Bytes that are counted as used, so that nobody else is given them. Dropping it gives them back.
pub(super) struct Reservation {
    world: Arc<World>,
    account: Arc<Account>,
    storage: StorageType,
    /// What is counted as used.
    held: u64,
    /// What was stored.
    stored: u64,
}

impl Reservation {
    pub(super) fn new(world: &Arc<World>, account: &Arc<Account>, storage: StorageType) -> Self {
        Self { world: Arc::clone(world), account: Arc::clone(account), storage, held: 0, stored: 0 }
    }

    /// Reserves what a stream is going to hold.
    ///
    /// # Errors
    /// Account or server cannot have so much more, or promised it to others.
    pub(super) fn begin(&mut self, config: &StreamConfig, bytes: u64) -> Result<(), RestoreError> {
        let signed = i64::try_from(bytes).map_err(|_| self.exceeded().error())?;
        let wanted = StreamConfig { max_bytes: config.max_bytes.max(signed), ..config.clone() };
        self.account.check_reservation(&self.world, &wanted)?;
        self.raise_to(bytes)
    }

    /// So many bytes more are about to be stored.
    ///
    /// # Errors
    /// Account or server cannot have so much.
    pub(super) fn add(&mut self, bytes: u64) -> Result<(), RestoreError> {
        self.stored = self.stored.saturating_add(bytes);
        if self.stored > self.held { self.raise_to(self.stored) } else { Ok(()) }
    }

    fn raise_to(&mut self, bytes: u64) -> Result<(), RestoreError> {
        let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let more = signed(bytes) - signed(self.held);
        if more > 0 {
            self.held = bytes;
            self.account.share.usage.add(self.storage, more);
            self.account.share.used.note(self.account.share.limits.load().tier());
            self.world.usage.add(self.storage, more);
        }
        let (limits, settings) = (self.account.share.limits.load(), self.world.settings.load());
        // What is restored on one server has one replica; where there are no limits for that, it is refused before.
        let limits = limits.for_replicas(1);
        let (account_most, server_most) = match self.storage {
            StorageType::Memory => (limits.map(|limits| limits.max_memory_bytes), settings.max_memory_bytes),
            StorageType::File => (limits.map(|limits| limits.max_store_bytes), settings.max_file_bytes),
        };
        let account_most = account_most.unwrap_or(0);
        let is_over = |used: i64, most: i64| most >= 0 && used > most;
        if is_over(self.account.share.usage.get(self.storage), account_most)
            || is_over(self.world.usage.get(self.storage), server_most)
        {
            return Err(self.exceeded().error().into());
        }
        Ok(())
    }

    fn exceeded(&self) -> ErrorDef {
        match self.storage {
            StorageType::Memory => errors::MEMORY_RESOURCES_EXCEEDED,
            StorageType::File => errors::STORAGE_RESOURCES_EXCEEDED,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let held = i64::try_from(self.held).unwrap_or(i64::MAX);
        self.account.share.usage.add(self.storage, -held);
        self.world.usage.add(self.storage, -held);
    }
}
