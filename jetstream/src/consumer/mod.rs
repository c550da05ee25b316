//! Consumers of a stream: who gets which message, in what order, and what became of it.
//!
//! A stream holds one [`Consumers`] behind its own lock and calls it with a [`StreamCtx`]; whatever must leave is
//! queued in the context's outbox.

use crate::store::Msg;
use crate::stream::StreamCtx;

/// What surrounds the consumers of a stream: names and limits of its account and server.
#[derive(Debug, Clone, Default)]
pub struct ConsumerSettings {
    /// The account's name, shown in advisories.
    pub account_name: String,
    /// The JetStream domain, empty for none.
    pub domain: String,
    /// Largest message that the server accepts; it bounds the burst of a rate limit.
    pub max_payload_bytes: u64,
    /// Consumers that a stream may have when neither it nor its account says, 0 for any number.
    pub default_max_consumers: i64,
    /// Consumers that the account allows on a stream, 0 or less for any number.
    pub account_max_consumers: i64,
    /// Outstanding acknowledgements that the server allows, 0 or less for any number.
    pub server_max_ack_pending: i64,
    /// Outstanding acknowledgements that the account allows, 0 or less for any number.
    pub account_max_ack_pending: i64,
    /// Largest batch that the server allows in a pull request, 0 for any.
    pub server_max_request_batch: i64,
    /// Seed of generated names, identifiers and jitter.
    pub seed: u64,
}

/// The consumers of one stream.
#[derive(Debug, Default)]
pub struct Consumers {
    settings: ConsumerSettings,
    removable: Vec<u64>,
}

impl Consumers {
    /// No consumers.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> Self {
        Self { settings, removable: Vec::new() }
    }

    /// What surrounds the consumers.
    #[must_use]
    pub fn settings(&self) -> &ConsumerSettings {
        &self.settings
    }

    /// A message was stored; `msg` may still point into the publisher's buffer. Consumers that are caught up get it
    /// from there.
    pub fn on_stored(&mut self, _ctx: &mut StreamCtx<'_>, _msg: &Msg<'_>) {}

    /// A message was removed, for whatever reason but a purge.
    pub fn on_removed(&mut self, _ctx: &mut StreamCtx<'_>, _seq: u64, _subject: &[u8]) {}

    /// The stream was purged, of `subject` (which may hold wildcards) or of everything.
    pub fn on_purged(&mut self, _ctx: &mut StreamCtx<'_>, _subject: Option<&[u8]>) {}

    /// Whether some consumer has yet to acknowledge the message at `seq`. Asked of interest and workqueue streams.
    #[must_use]
    pub fn retains(&self, _seq: u64, _subject: &[u8]) -> bool {
        false
    }

    /// Whether some consumer would get a message on `subject`. An interest stream keeps nothing else.
    #[must_use]
    pub fn interested(&self, _subject: &[u8]) -> bool {
        false
    }

    /// When [`Consumers::tick`] has something to do, nanoseconds since 1970.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }

    /// Does what is due: redeliveries, heartbeats, expiries.
    pub fn tick(&mut self, _ctx: &mut StreamCtx<'_>) {}

    /// Feeds consumers that lag, at most about `budget` messages. Says whether there is more to do.
    pub fn pump(&mut self, _ctx: &mut StreamCtx<'_>, _budget: usize) -> bool {
        self.wants_pump()
    }

    /// Whether [`Consumers::pump`] has something to do. Ask after every other call and have the host pump.
    #[must_use]
    pub fn wants_pump(&self) -> bool {
        false
    }

    /// Interest in a deliver subject (in `queue`, if some) came or went.
    pub fn interest_changed(
        &mut self,
        _ctx: &mut StreamCtx<'_>,
        _subject: &[u8],
        _queue: Option<&[u8]>,
        _present: bool,
    ) {
    }

    /// A queued message addressed to `to` with `reply` reached nobody.
    pub fn not_delivered(&mut self, _ctx: &mut StreamCtx<'_>, _to: &[u8], _reply: &[u8]) {}

    /// A message on one of the consumers' own subjects: `$JS.ACK.…`, `$JS.FC.…` or
    /// `$JS.API.CONSUMER.MSG.NEXT.…`. Says whether it was for a consumer of this stream.
    pub fn control(
        &mut self,
        _ctx: &mut StreamCtx<'_>,
        _subject: &[u8],
        _reply: &[u8],
        _headers: &[u8],
        _payload: &[u8],
    ) -> bool {
        false
    }

    /// Sequences that no consumer retains any longer and that the stream (interest or workqueue) may remove; take
    /// them after every call until there is none.
    pub fn take_removable(&mut self) -> Option<u64> {
        self.removable.pop()
    }

    /// Deliver subjects and queue groups whose interest the engine must watch.
    pub fn deliver_subjects(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        std::iter::empty()
    }
}
