//! What an account uses of JetStream, for monitoring.

use super::Engine;
use crate::config::StorageType;
use crate::message::AccountId;
use crate::settings::TieredLimits;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What an account uses of JetStream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// Bytes of messages in memory.
    pub memory_bytes: i64,
    /// Bytes of messages on disk.
    pub storage_bytes: i64,
    /// Bytes in memory that are promised to streams.
    pub reserved_memory_bytes: i64,
    /// Bytes on disk that are promised to streams.
    pub reserved_storage_bytes: i64,
    /// Streams.
    pub streams: usize,
    /// Consumers of all streams.
    pub consumers: usize,
    /// Messages in all streams.
    pub messages: u64,
    /// What these messages count for, bytes.
    pub bytes: u64,
    /// Requests to the API since the account was enabled.
    pub api_total: u64,
    /// Those that were answered with an error.
    pub api_errors: u64,
}

impl Engine {
    /// What an account may use; `None` when it does not have JetStream.
    #[must_use]
    pub fn account_limits(&self, id: AccountId) -> Option<Arc<TieredLimits>> {
        Some(self.account(id)?.share.limits.load())
    }

    /// What an account uses; `None` when it does not have JetStream.
    #[must_use]
    pub fn account_usage(&self, id: AccountId) -> Option<AccountUsage> {
        let account = self.account(id)?;
        let mut usage = AccountUsage {
            memory_bytes: account.share.usage.get(StorageType::Memory),
            storage_bytes: account.share.usage.get(StorageType::File),
            reserved_memory_bytes: account.reserved(StorageType::Memory),
            reserved_storage_bytes: account.reserved(StorageType::File),
            api_total: account.api_total.load(Ordering::Relaxed),
            api_errors: account.api_errors.load(Ordering::Relaxed),
            ..AccountUsage::default()
        };
        for stream in account.streams() {
            let state = stream.lock().state(None);
            usage.streams += 1;
            usage.consumers += state.consumer_count;
            usage.messages += state.messages;
            usage.bytes += state.bytes;
        }
        Some(usage)
    }
}
