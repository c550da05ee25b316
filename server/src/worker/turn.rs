//! A turn of a thread, and how it ends.

use std::sync::Arc;

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{AccountId, Outbox, WallNs};

use super::Worker;
use super::deferred::Deferred;
use super::key_gets::KeyGetCache;
use super::long_get::LongGet;
use super::queued_request::QueuedRequest;
use super::shared_turn::SHARED_BYTES_MAX;
use super::streams::{Streams, touch};
use crate::router::{Receiver, RouteCache, Subscription, Target};
use crate::traffic::Traffic;

/// Rounds of messages from stream to stream that one turn takes before other work gets its turn.
const CHAINED_ROUNDS_MAX: usize = 8;

/// What one read of a connection brings, until it is committed. The thread keeps the memory.
#[derive(Default)]
pub(crate) struct Batch {
    pub cache: RouteCache,
    /// Which stream was last asked for a key.
    pub key_gets: KeyGetCache,
    /// Streams with publishes that are not committed yet.
    pub streams: Vec<Arc<Stream>>,
    /// Answers of the JetStream API, in `answers_in`, that leave at the end of the turn.
    pub answers: Outbox,
    pub answers_in: Option<AccountId>,
    /// Requests of the JetStream API that wait for the end of the turn to be queued.
    pub requests: Vec<QueuedRequest>,
    /// A direct get that may take long, or messages for streams that do, which begin at the end of the turn. Nothing that is
    /// answered comes behind them.
    pub long_gets: Vec<LongGet>,
    pub tally: Tally,
    /// When a stream last took a message of the batch, if one did.
    pub stored_at: Option<WallNs>,
    /// A receiver so full that the sender should wait.
    pub stalling: Option<Arc<dyn Receiver>>,
}

/// Messages of a batch, counted once at its end.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    pub in_msgs: u64,
    pub in_bytes: u64,
    pub out_msgs: u64,
    pub out_bytes: u64,
    pub subscriptions: u64,
    /// Requests of the API of JetStream, of whatever kind.
    pub api_requests: u64,
}

impl Batch {
    /// Remembers that a stream has something to be committed.
    pub(crate) fn touch(&mut self, stream: &Arc<Stream>) {
        touch(&mut self.streams, stream);
    }

    /// Whether requests of the API came, whose answers leave behind what was published before them.
    fn has_requests(&self) -> bool {
        self.answers_in.is_some() || !self.requests.is_empty() || !self.long_gets.is_empty()
    }
}

impl Tally {
    /// Adds up for the counters of those that received from clients, and of those that sent to them; begins anew.
    pub(crate) fn count(&mut self, received: [&Traffic; 3], sent: [&Traffic; 2]) {
        let tally = std::mem::take(self);
        if tally.in_msgs > 0 {
            received.iter().for_each(|traffic| traffic.received(tally.in_msgs, tally.in_bytes));
        }
        if tally.out_msgs > 0 {
            sent.iter().for_each(|traffic| traffic.sent(tally.out_msgs, tally.out_bytes));
        }
    }
}

/// A turn of a connection: what one read brought is parsed and routed, one operation after the other
/// (`net/client/operations.rs`), then committed and let go.
pub(crate) struct Turn<'w> {
    pub worker: &'w Worker,
    pub batch: Box<Batch>,
    /// Whether the read brought so little that the turn may share its end with others.
    may_share: bool,
    /// Its end is that of the turn which it shares.
    is_left: bool,
}

impl<'w> Turn<'w> {
    /// Begins a turn for a read that brought so many bytes.
    #[inline]
    pub(crate) fn begin(worker: &'w Worker, read_bytes: usize) -> Self {
        let may_share = read_bytes <= SHARED_BYTES_MAX;
        if !may_share && worker.shared_turn.waits() {
            // Whoever gets much of it has room for that.
            worker.end_turn(None);
        }
        let batch = worker.batch.take().unwrap_or_default();
        Self { worker, batch, may_share, is_left: false }
    }

    /// Commits what the turn published: one write for each stream, behind which answers leave and requests are queued. Where
    /// other connections of the thread were ready too, the commit, and all that is to leave, may be left to the end of a turn
    /// that they share.
    pub(crate) fn commit<S: Streams + 'static>(&mut self, engine: Option<&Arc<S>>) {
        let Worker { shared_turn, touched, .. } = self.worker;
        // What waits for who is filling up leaves at once.
        self.is_left = self.may_share && !touched.is_filling() && shared_turn.takes_another();
        match engine {
            Some(engine) if !self.is_left || self.batch.has_requests() => self.commit_here(&**engine),
            Some(_) => {}
            None => self.batch.streams.clear(),
        }
        if self.is_left {
            shared_turn.join(&mut self.batch.streams, engine);
        }
    }

    /// Commits what was published so far, in the middle of a turn: what follows must not mix with it.
    pub(crate) fn commit_here(&mut self, engine: &dyn Streams) {
        let batch = &mut *self.batch;
        if batch.has_requests() {
            self.worker.shared_turn.commit();
        }
        batch.streams.iter().for_each(|stream| engine.commit(stream));
        batch.streams.clear();
        if let Some(account) = batch.answers_in.take() {
            engine.deliver_all(account, &mut batch.answers);
        }
        if !batch.requests.is_empty() {
            engine.submit(&mut batch.requests);
        }
        if !batch.long_gets.is_empty() {
            batch.long_gets.drain(..).for_each(|get| engine.submit_get(get));
        }
    }

    /// Lets what was committed leave, and gives the memory back.
    pub(crate) fn end(self, engine: Option<&dyn Streams>) {
        let Self { worker, batch, is_left, .. } = self;
        worker.batch.set(Some(batch));
        if !is_left {
            worker.end_turn(engine);
        }
    }
}

impl Worker {
    /// Ends a turn of this thread: commits what waits for that, and lets everything leave. No lock of the engine is held.
    #[inline]
    pub(crate) fn end_turn(&self, engine: Option<&dyn Streams>) {
        if self.shared_turn.waits() {
            self.end_waiting(engine);
        } else {
            self.let_leave(engine);
        }
    }

    /// Ends a turn that others share.
    #[inline(never)]
    fn end_waiting(&self, engine: Option<&dyn Streams>) {
        let waited = self.shared_turn.end();
        self.let_leave(engine.or(waited.as_deref()));
    }

    /// All connections that were ready had their turn: ends what they shared.
    pub(super) fn end_shared_turn(&self) {
        if self.shared_turn.tell() {
            self.end_turn(None);
        }
    }

    /// Does what had to wait until no lock of the engine was held, then flushes every receiver that was touched and feeds
    /// those that were relieved by that.
    #[inline(never)]
    fn let_leave(&self, engine: Option<&dyn Streams>) {
        loop {
            if let Some(engine) = engine
                && !self.deferred.borrow().is_empty()
            {
                self.store_deferred(engine);
            }
            let Some(sub) = self.touched.take_ended() else { break };
            end_subscription(engine, &sub);
        }
        self.touched.flush(|receiver| {
            if let Some(engine) = engine {
                engine.feed_again(receiver);
            }
        });
    }

    /// Stores what the engine delivered on subjects of streams.
    #[inline(never)]
    fn store_deferred(&self, engine: &dyn Streams) {
        for _ in 0..CHAINED_ROUNDS_MAX {
            let deferred = self.take_deferred();
            if deferred.is_empty() {
                return;
            }
            engine.store(&deferred);
        }
        // Streams that feed each other must not keep a thread for ever.
        let deferred = self.take_deferred();
        if !deferred.is_empty() {
            engine.store_later(&deferred);
        }
    }

    fn take_deferred(&self) -> Deferred {
        std::mem::replace(&mut *self.deferred.borrow_mut(), Deferred::new())
    }
}

/// Takes a subscription that had its last message out of its account.
#[inline(never)]
fn end_subscription(engine: Option<&dyn Streams>, sub: &Arc<Subscription>) {
    let Target::Receiver(receiver) = sub.target() else { return };
    let account = receiver.end_subscription(sub);
    let ended = account.unsubscribe(sub);
    if let Some(engine) = engine {
        engine.shadows_ended(&ended.shadows).iter().for_each(|stream| engine.commit(stream));
        engine.subscription_ended(&account, sub).iter().for_each(|stream| engine.commit(stream));
    }
}
