//! What one thread works with while it handles all that one read brought, and the end of that.

use std::cell::RefCell;
use std::sync::Arc;

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, Outbox, WallNs};
use smallvec::SmallVec;

use super::client::Client;
use super::{touched, turn};
use crate::jetstream::{JetStream, LongGet, QueuedRequest};
use crate::router::{Account, Listed, RouteCache, Subscription, Target};
use crate::state::Shared;

thread_local! {
    static BENCH: RefCell<Option<Box<Bench>>> = const { RefCell::new(None) };
}

/// What handling a batch needs, kept from one batch to the next by the thread.
#[derive(Default)]
pub(super) struct Bench {
    pub cache: RouteCache,
    /// Streams with publishes that are not committed yet.
    pub streams: Vec<Arc<Stream>>,
    /// Answers of the JetStream API, in `answers_in`, that leave at the end of the batch.
    pub answers: Outbox,
    pub answers_in: Option<AccountId>,
    /// Requests of the JetStream API that wait for the end of the batch to be queued.
    pub requests: Vec<QueuedRequest>,
    /// A direct get that may take long, which begins at the end of the batch. Nothing that is answered comes behind it.
    pub long_get: Option<LongGet>,
    pub tally: Tally,
    /// When a stream last took a message of the batch, if one did.
    pub stored_at: Option<WallNs>,
    /// A receiver so full that the sender should wait.
    pub stalling: Option<Arc<Client>>,
}

/// Messages of a batch, counted once at its end.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    pub subscriptions: u64,
}

impl Bench {
    /// The thread's bench.
    pub(super) fn take() -> Box<Self> {
        BENCH.with_borrow_mut(Option::take).unwrap_or_default()
    }

    /// Gives it back.
    pub(super) fn give(self: Box<Self>) {
        BENCH.with_borrow_mut(|slot| *slot = Some(self));
    }

    /// Remembers that a stream has something to be committed.
    pub(super) fn touch(&mut self, stream: &Arc<Stream>) {
        touch(&mut self.streams, stream);
    }

    /// Whether requests of the API came, whose answers leave behind what was published before them.
    pub(super) fn has_requests(&self) -> bool {
        self.answers_in.is_some() || !self.requests.is_empty() || self.long_get.is_some()
    }

    /// Commits what was published to streams so far, lets answers leave behind that, and queues requests.
    pub(super) fn commit(&mut self, shared: &Shared, jetstream: Option<&JetStream>) {
        if let Some(jetstream) = jetstream {
            if self.has_requests() {
                turn::commit();
            }
            for stream in self.streams.drain(..) {
                jetstream.commit(&stream);
            }
            if let Some(account) = self.answers_in.take() {
                jetstream.deliver_all(account, &mut self.answers);
            }
            if !self.requests.is_empty() {
                jetstream.submit(shared, self.requests.drain(..));
            }
            if let Some(get) = self.long_get.take() {
                jetstream.submit_get(get);
            }
        }
        self.streams.clear();
    }

    /// Adds the batch to the counters of the connection, its account and the server.
    pub(super) fn count(&mut self, shared: &Shared, account: &Account, client: &Client) {
        let tally = std::mem::take(&mut self.tally);
        if tally.in_msgs > 0 {
            for traffic in [&client.traffic, &account.traffic, &shared.counters.traffic] {
                traffic.received(tally.in_msgs, tally.in_bytes);
            }
        }
        if tally.out_msgs > 0 {
            for traffic in [&account.traffic, &shared.counters.traffic] {
                traffic.sent(tally.out_msgs, tally.out_bytes);
            }
        }
    }
}

/// Adds a stream to a short list, once.
pub(crate) fn touch(streams: &mut Vec<Arc<Stream>>, stream: &Arc<Stream>) {
    if !streams.iter().rev().any(|known| Arc::ptr_eq(known, stream)) {
        streams.push(Arc::clone(stream));
    }
}

/// Ends a turn of work of this thread: does what had to wait until no engine lock was held, then flushes every
/// connection that was touched.
pub(crate) fn settle(shared: &Shared) {
    let jetstream = shared.jetstream();
    settle_with(jetstream.as_deref());
}

/// As [`settle`], for a caller that has the engine at hand.
pub(super) fn settle_with(jetstream: Option<&JetStream>) {
    turn::commit();
    settle_batch(jetstream);
}

/// As [`settle_with`], and leaves alone what waits for the end of the turn.
pub(super) fn settle_batch(jetstream: Option<&JetStream>) {
    loop {
        let mut more = false;
        while let Some(sub) = touched::take_ended() {
            end_subscription(jetstream, &sub);
            more = true;
        }
        more |= jetstream.is_some_and(JetStream::publish_deferred);
        if !more {
            break;
        }
    }
    touched::flush(|client| {
        if let Some(jetstream) = jetstream {
            jetstream.feed_again(client);
        }
    });
}

/// Takes a subscription that had its last message out of its account.
fn end_subscription(jetstream: Option<&JetStream>, sub: &Arc<Subscription>) {
    let Target::Client(client) = sub.target() else { return };
    client.remove_subscription(sub);
    client.trace_ended(sub);
    let account = client.account();
    account.unsubscribe(sub);
    commit_all(jetstream, tell_interest_gone(jetstream, &account, sub));
}

/// Streams with something to be committed.
pub(super) type Concerned = SmallVec<[Arc<Stream>; 1]>;

/// Commits for a caller that has taken in all there is.
pub(super) fn commit_all(jetstream: Option<&JetStream>, streams: Concerned) {
    if let Some(jetstream) = jetstream {
        streams.iter().for_each(|stream| jetstream.commit(stream));
    }
}

/// Tells the engine when nobody listens any more where `sub` listened. Gives the streams to be committed after that.
#[must_use]
pub(super) fn tell_interest_gone(
    jetstream: Option<&JetStream>,
    account: &Account,
    sub: &Subscription,
) -> Concerned {
    let Some(jetstream) = jetstream.filter(|_| account.has_jetstream()) else { return Concerned::new() };
    if account.has_exact_interest(sub.subject(), sub.queue()) {
        return Concerned::new();
    }
    tell_interest(jetstream, account.id(), sub, false)
}

/// Tells the engine that somebody listens, or nobody any more, where `sub` listens. Gives the streams to be committed
/// after that.
#[must_use]
pub(super) fn tell_interest(
    jetstream: &JetStream,
    account: AccountId,
    sub: &Subscription,
    present: bool,
) -> Concerned {
    let queue = (!sub.queue().is_empty()).then_some(sub.queue());
    jetstream.engine().interest_changed(account, sub.subject(), queue, present)
}
