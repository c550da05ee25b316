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

    /// Takes a message that was published on one of the stream's subjects. The acknowledgement, deliveries and
    /// whatever else follows leave with the next [`Stream::commit`]; the caller publishes all that it has, then
    /// commits once.
    pub fn publish(&self, msg: &Inbound<'_>) {
        let _ = msg;
    }

    /// Makes what was published as durable as configured, then lets everything that waited for it leave, in order.
    pub fn commit(&self, host: &dyn Host) {
        let _ = host;
    }

    /// Goes on delivering to consumers that lag. Includes a commit.
    pub fn pump(&self, host: &dyn Host) {
        let _ = host;
    }
}

/// A message published to a stream.
#[derive(Debug, Clone, Copy)]
pub struct Inbound<'a> {
    /// Subject.
    pub subject: &'a [u8],
    /// Where the acknowledgement goes, empty for nowhere.
    pub reply: &'a [u8],
    /// Raw header block with its `NATS/1.0` line and closing empty line, empty for none.
    pub headers: &'a [u8],
    /// Payload.
    pub payload: &'a [u8],
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
