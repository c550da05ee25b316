//! Consumers of a stream: who gets which message, in what order, and what became of it.
//!
//! A stream holds one [`Consumers`] behind its own lock and calls it with a [`StreamCtx`]; whatever must leave is
//! queued in the context's outbox. A consumer that is caught up is fed from the publish itself; one that lags reads
//! the store in bounded turns. Both go through the same delivery in `deliver`.

mod ack;
mod advisory;
mod backup;
mod change;
mod checks;
mod deliver;
mod doubt;
mod due;
mod flow;
mod info;
mod leftover;
mod lifecycle;
mod listening;
mod next;
mod persist;
mod pull;
mod purge;
mod push;
mod redelivery;
mod set;
mod staging;
mod start;
mod state;
mod survey;
mod sweep;
#[cfg(test)]
mod tests;
mod timers;
mod took_back;
mod trie;

pub use info::{ConsumerInfo, PriorityGroupState, SequenceInfo};
pub use lifecycle::Created;
pub use persist::ConsumerStore;
pub use purge::PurgeNotice;
pub use set::Consumers;
pub(crate) use set::FEED_MSGS;
pub use staging::{Change, Staged, Staging, ToStage};
pub(crate) use start::first_wanted;
pub use survey::{Ask, Known};
pub(crate) use survey::{Counted, FEW};
pub(crate) use trie::{FilterTrie, Slot};

use crate::clock::{ElapsedNs, Now, WallNs};
use crate::config::{ConsumerConfig, Retention, StreamConfig};
use crate::filter::Filter;
use crate::message::AccountId;
use crate::outbox::Outbox;
use crate::router::Router;
use crate::store::{Store, Upcoming};
use flow::{FlowControl, RateLimit, Replay};
use listening::Listening;
use pull::{Pin, Requests};
use redelivery::Redelivery;
use start::SkipList;
use state::PendingAcks;
use timers::Armed;

/// What the subjects of acknowledgements begin with.
const ACK: &str = "$JS.ACK.";

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
    pub host: &'a dyn Router,
    /// Now, the same for the whole call.
    pub now: &'a Now,
    /// What was found out about the stream before.
    pub known: &'a Known,
}

/// A pair of positions: the consumer's own count of deliveries, and the sequence in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Position {
    dseq: u64,
    sseq: u64,
}

/// One consumer.
#[derive(Debug)]
struct Consumer {
    slot: Slot,
    name: Box<str>,
    created_ns: i64,
    config: ConsumerConfig,
    filter: Filter,
    /// The stream sequence at which the search for the next message begins.
    next_sseq: u64,
    /// The consumer sequence of the next delivery.
    next_dseq: u64,
    /// The last delivery.
    delivered: Position,
    /// Everything up to here is acknowledged.
    floor: Position,
    /// What is told of the ack floor where that differs. After some purges by subject nats-server v2.15.2 goes on with
    /// one and tells the other (observed).
    lagging_floor: Option<Position>,
    /// How far it had looked when an acknowledgement left nothing pending: a reset to the ack floor goes on from there.
    settled_sseq: u64,
    /// Messages that match and were never delivered.
    num_pending: u64,
    /// What a consumer of the last message of each subject begins with.
    skip: Option<SkipList>,
    /// What is known of the messages from `next_sseq` on.
    upcoming: Upcoming,
    pending: PendingAcks,
    redelivery: Redelivery,
    /// Whether someone listens on the deliver subject.
    active: bool,
    /// Whether who listens there has no room for now; the host tells when that ends.
    full: bool,
    flow: Option<FlowControl>,
    rate: Option<RateLimit>,
    replay: Option<Replay>,
    requests: Requests,
    pin: Option<Pin>,
    /// `$JS.ACK.<stream>.<consumer>.`, or with domain and account before the stream.
    ack_prefix: Box<[u8]>,
    last_delivered: Option<WallNs>,
    last_acked: Option<WallNs>,
    /// When the receiver of a push consumer last heard of it.
    heard: ElapsedNs,
    /// Idle time after which it goes, jitter included; 0 for never.
    inactive_ns: u64,
    armed: Armed,
    /// Whether it stands in the queue of those that have more to deliver.
    queued: bool,
    /// Whether something came that may let it deliver; it is fed when the turn of work ends.
    awaits_feed: bool,
    /// Whether its state is newer than what was saved.
    dirty: bool,
    saved: ElapsedNs,
    listening: Listening,
}

/// The part of a [`StreamCtx`] that remains while a message is borrowed from its store.
struct Out<'a> {
    account: AccountId,
    config: &'a StreamConfig,
    outbox: &'a mut Outbox,
    host: &'a dyn Router,
    now: &'a Now,
}

impl Out<'_> {
    fn has_interest(&self, subject: &[u8]) -> bool {
        self.host.has_interest(self.account, subject, None)
    }

    /// Whether the stream removes what was acknowledged.
    fn removes_acked(&self) -> bool {
        self.config.retention != Retention::Limits
    }
}

/// Parts a context, so that a message borrowed from the store can be queued.
fn part<'s>(ctx: &'s mut StreamCtx<'_>) -> (&'s mut dyn Store, Out<'s>) {
    let out = Out {
        account: ctx.account,
        config: ctx.config,
        outbox: &mut *ctx.outbox,
        host: ctx.host,
        now: ctx.now,
    };
    (&mut *ctx.store, out)
}

impl Consumer {
    fn is_push(&self) -> bool {
        self.config.is_push()
    }

    /// Whether internal: neither listed nor counted.
    fn is_internal(&self) -> bool {
        self.config.direct
    }

    /// Whether it feeds a mirror or source: no limit on consumers is about it.
    fn is_unlimited(&self) -> bool {
        self.config.direct || self.config.sourcing
    }

    fn max_ack_pending(&self) -> usize {
        usize::try_from(self.config.max_ack_pending).ok().filter(|max| *max > 0).unwrap_or(usize::MAX)
    }

    /// Whether as many messages await their acknowledgement as may.
    fn is_at_max_ack_pending(&self) -> bool {
        self.pending.len() >= self.max_ack_pending()
    }

    fn is_paused(&self, now: &Now) -> bool {
        self.config.paused_until(now.wall()).is_some()
    }
}
