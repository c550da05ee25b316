//! A stream: one lock around one struct.

use crate::config::StreamConfig;
use crate::host::{AccountId, Host};
use crate::outbox::Outbox;
use crate::store::Store;

/// A stream. Cheap to share; all state is behind one lock.
pub struct Stream {
    account: AccountId,
    name: String,
}

impl Stream {
    /// The account that the stream belongs to.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The stream's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a consumer works with, lent to it for the length of one call under its stream's lock.
pub struct StreamCtx<'a> {
    /// The account.
    pub account: AccountId,
    /// The stream's configuration.
    pub config: &'a StreamConfig,
    /// The stream's messages.
    pub store: &'a mut dyn Store,
    /// Where deliveries, acks, statuses and advisories are queued. What is queued leaves, in this order, once the
    /// store has been flushed.
    pub outbox: &'a mut Outbox,
    /// Asked for interest only; deliveries go through the outbox.
    pub host: &'a dyn Host,
    /// Now, nanoseconds since 1970, read once for the whole call.
    pub now_ns: u64,
}
