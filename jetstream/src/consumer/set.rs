//! All consumers of a stream, and what the stream tells them.

use super::ack::{Acked, Control, REMOVED_UNACKED};
use super::deliver::Scratch;
use super::listening::takes_acks;
use super::persist::ConsumerStore;
use super::sweep::{SLICE_MSGS, Sweep};
use super::timers::{Kind, Timers};
use super::took_back::Moved;
use super::trie::{FilterTrie, Slot};
use super::{Consumer, StreamCtx, part};
use crate::clock::{Deadlines, Now};
use crate::own::OwnCounts;
use crate::settings::ConsumerSettings;
use crate::store::Msg;
use hashbrown::HashMap;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Turns' worth of bytes queued at which a pump ends, whatever its budget of messages.
const PUMP_TURNS: usize = 4;
/// Messages that consumers which lag may get from one publish, before it removes what they have yet to see.
pub(crate) const FEED_MSGS: usize = 64;
/// A turn takes at most this part of what may wait for one receiver.
const TURN_SHARE: u64 = 8;

/// What the consumers of a stream have in common.
pub(super) struct Shared {
    pub(super) settings: ConsumerSettings,
    /// Where the consumers' own subscriptions are counted.
    pub(super) own: Arc<OwnCounts>,
    /// Bytes after which a consumer's turn ends.
    pub(super) turn_bytes: usize,
    pub(super) timers: Timers,
    pub(super) rng: SmallRng,
    pub(super) scratch: Scratch,
    /// Consumers with more to deliver, in the order of their turns.
    pub(super) ready: VecDeque<Slot>,
    /// Consumers for which something came in this turn of work.
    pub(super) to_feed: Vec<Slot>,
    /// Messages that a consumer has done with, in a stream that removes such.
    pub(super) acked: Vec<u64>,
    pub(super) store: Option<Box<dyn ConsumerStore>>,
    /// Consumers whose state is to be kept before anything leaves: an acknowledgement was confirmed.
    pub(super) confirmed: Vec<Slot>,
}

impl Shared {
    /// An identifier as nats-server makes them: 22 characters.
    pub(super) fn nuid(&mut self) -> String {
        self.random_name(22)
    }

    pub(super) fn random_name(&mut self, len: usize) -> String {
        (0..len).map(|_| char::from(self.rng.sample(rand::distr::Alphanumeric))).collect()
    }
}

/// The consumers of one stream.
pub struct Consumers {
    pub(super) table: Vec<Option<Box<Consumer>>>,
    pub(super) free: Vec<Slot>,
    pub(super) names: BTreeMap<Box<str>, Slot>,
    /// How many are internal.
    pub(super) internal: usize,
    /// Those that no limit is about.
    pub(super) unlimited: usize,
    pub(super) trie: FilterTrie,
    /// Push consumers by deliver subject.
    pub(super) deliver: HashMap<Box<[u8]>, SmallVec<[Slot; 1]>>,
    /// Deliver subjects that came (`true`) or went since the engine last asked.
    pub(super) deliver_changes: Vec<(Box<[u8]>, bool)>,
    /// Consumers with deliveries outstanding that their present filter does not match.
    pub(super) strays: SmallVec<[Slot; 2]>,
    pub(super) shared: Shared,
    pub(super) removable: Vec<u64>,
    /// What is yet to be looked at, since somebody may have been the last to wait for it.
    pub(super) sweeps: VecDeque<Sweep>,
    /// The last consumer of an interest stream has gone.
    pub(super) is_deserted: bool,
    found: Vec<Slot>,
    /// Consumers that purges have moved on and that may have to go back.
    pub(super) moved: Vec<Moved>,
}

impl std::fmt::Debug for Consumers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names.keys()).finish()
    }
}

impl Default for Consumers {
    fn default() -> Self {
        Self::new(ConsumerSettings::default())
    }
}

impl Consumers {
    /// No consumers.
    #[must_use]
    pub fn new(settings: ConsumerSettings) -> Self {
        let shared = Shared {
            timers: Timers::default(),
            rng: SmallRng::seed_from_u64(settings.seed),
            own: Arc::default(),
            turn_bytes: turn_bytes(settings.max_pending_bytes),
            settings,
            scratch: Scratch::default(),
            ready: VecDeque::new(),
            to_feed: Vec::new(),
            acked: Vec::new(),
            store: None,
            confirmed: Vec::new(),
        };
        Self {
            table: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            internal: 0,
            unlimited: 0,
            trie: FilterTrie::default(),
            deliver: HashMap::new(),
            deliver_changes: Vec::new(),
            strays: SmallVec::new(),
            shared,
            removable: Vec::new(),
            sweeps: VecDeque::new(),
            is_deserted: false,
            found: Vec::new(),
            moved: Vec::new(),
        }
    }

    /// Keeps consumers that come, and changes of those that are there, in `store` from now on. Restore those that it
    /// holds first.
    pub fn keep_in(&mut self, store: Box<dyn ConsumerStore>) {
        self.shared.store = Some(store);
    }

    /// What surrounds the consumers.
    #[must_use]
    pub fn settings(&self) -> &ConsumerSettings {
        &self.shared.settings
    }

    /// How many there are, internal ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many there are that are listed and counted.
    #[must_use]
    pub fn public_len(&self) -> usize {
        self.names.len() - self.internal
    }

    /// How many there are that limits on consumers are about.
    pub(super) fn limited_len(&self) -> usize {
        self.names.len() - self.unlimited
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Consumer> {
        self.table.get(slot as usize)?.as_deref()
    }

    pub(super) fn by_name(&self, name: &[u8]) -> Option<Slot> {
        self.names.get(std::str::from_utf8(name).ok()?).copied()
    }

    /// Calls `act` with a consumer and what it shares with the others.
    pub(super) fn with<R>(
        &mut self,
        slot: Slot,
        act: impl FnOnce(&mut Consumer, &mut Shared) -> R,
    ) -> Option<R> {
        let consumer = self.table.get_mut(slot as usize)?.as_deref_mut()?;
        Some(act(consumer, &mut self.shared))
    }

    /// Calls `act` with every consumer that wants `subject`.
    pub(super) fn with_matching(&mut self, subject: &[u8], mut act: impl FnMut(&mut Consumer, &mut Shared)) {
        let mut found = std::mem::take(&mut self.found);
        found.clear();
        self.trie.find(subject, &mut found);
        for slot in &found {
            self.with(*slot, &mut act);
        }
        self.found = found;
    }

    /// A message was stored; `msg` may still point into the publisher's buffer. Consumers that are caught up get it
    /// from there.
    pub fn on_stored(&mut self, ctx: &mut StreamCtx<'_>, msg: &Msg<'_>) {
        if self.names.is_empty() {
            return;
        }
        self.with_matching(msg.subject, |consumer, shared| consumer.on_stored(shared, ctx, msg));
        self.find_removable(ctx);
    }

    /// A message was removed, for whatever reason but a purge.
    pub fn on_removed(&mut self, ctx: &mut StreamCtx<'_>, seq: u64, subject: &[u8]) {
        if self.names.is_empty() {
            return;
        }
        let (store, mut out) = part(ctx);
        self.with_matching(subject, |consumer, shared| {
            consumer.on_removed(shared, store, &mut out, seq, true);
        });
        if !self.strays.is_empty() {
            let strays = std::mem::take(&mut self.strays);
            for slot in &strays {
                self.with(*slot, |consumer, shared| {
                    consumer.on_removed(shared, store, &mut out, seq, consumer.filter.matches(subject));
                });
            }
            self.strays = strays;
            let table = &self.table;
            self.strays.retain(|slot| {
                let consumer = table.get(*slot as usize).and_then(Option::as_deref);
                consumer.is_some_and(|consumer| !consumer.pending.is_empty())
            });
        }
        // The message is gone; others may be left that an acknowledgement of it covered.
        self.shared.acked.retain(|acked| *acked != seq);
        self.find_removable(ctx);
    }

    /// Whether some consumer has yet to acknowledge the message at `seq`. Asked of interest and workqueue streams.
    #[must_use]
    pub fn retains(&self, seq: u64, subject: &[u8]) -> bool {
        self.trie.any(subject, |slot| self.get(slot).is_some_and(|consumer| consumer.needs(seq)))
    }

    /// Whether some consumer would get a message on `subject`. An interest stream keeps nothing else.
    #[must_use]
    pub fn interested(&self, subject: &[u8]) -> bool {
        self.trie.has(subject)
    }

    /// When [`Consumers::tick`] has something to do.
    #[must_use]
    pub fn next_deadlines(&self) -> Deadlines {
        self.shared.timers.next()
    }

    /// Does what is due: redeliveries, heartbeats, expiries.
    pub fn tick(&mut self, ctx: &mut StreamCtx<'_>) {
        while let Some((slot, kind)) = self.shared.timers.due(ctx.now) {
            let goes = self.with(slot, |consumer, shared| {
                shared.timers.disarm(&mut consumer.armed, slot, kind);
                consumer.due(shared, ctx, kind)
            });
            if goes == Some(true) {
                self.expire(ctx, slot);
            }
        }
        self.find_removable(ctx);
    }

    /// Feeds consumers that lag, at most about `budget` messages. Says whether there is more to do.
    pub fn pump(&mut self, ctx: &mut StreamCtx<'_>, budget: usize) -> bool {
        self.sweep(ctx);
        let mut left = budget;
        while left > 0 && ctx.outbox.size_bytes() < PUMP_TURNS * self.shared.turn_bytes {
            let Some(slot) = self.shared.ready.pop_front() else { break };
            let sent = self.with(slot, |consumer, shared| {
                consumer.queued = false;
                consumer.turn_of(shared, ctx, left.min(super::next::TURN_MSGS))
            });
            left = left.saturating_sub(sent.unwrap_or(0).max(1));
        }
        self.find_removable(ctx);
        self.wants_pump()
    }

    /// Gives a turn to every consumer for which something came (a request, interest, an acknowledgement) since the last
    /// call. Called when all that came together has been taken in, so that requests that came together are served in
    /// turn, and nothing is delivered to what was taken back at once. What does not fit waits for [`Consumers::pump`].
    pub fn feed(&mut self, ctx: &mut StreamCtx<'_>) {
        let mut slots = std::mem::take(&mut self.shared.to_feed);
        for slot in slots.drain(..) {
            self.with(slot, |consumer, shared| {
                consumer.awaits_feed = false;
                if ctx.outbox.size_bytes() < PUMP_TURNS * shared.turn_bytes {
                    consumer.turn_of(shared, ctx, super::next::TURN_MSGS);
                } else {
                    consumer.queue_for_pump(shared);
                }
            });
        }
        // Nothing joins meanwhile, so what is put back is only the memory.
        debug_assert!(self.shared.to_feed.is_empty(), "a turn asks for no other");
        self.shared.to_feed = slots;
        self.find_removable(ctx);
    }

    /// Whether [`Consumers::feed`] has something to do.
    #[must_use]
    pub fn wants_feed(&self) -> bool {
        !self.shared.to_feed.is_empty()
    }

    /// What is about to be stored removes messages on `subject`. Consumers that wait for their turn and want that
    /// subject get what they can first, so that a burst of changes does not overtake a watcher that has only begun.
    /// Nothing is done for those that are further behind than the budget reaches. Ask [`Consumers::any_lags`] before.
    pub fn feed_before_removal(&mut self, ctx: &mut StreamCtx<'_>, subject: &[u8]) {
        let mut left = FEED_MSGS;
        self.with_matching(subject, |consumer, shared| {
            let has_room = left > 0 && ctx.outbox.size_bytes() < PUMP_TURNS * shared.turn_bytes;
            if consumer.queued && has_room {
                // It keeps its place in the queue; with nothing left to deliver that turn costs nothing.
                left = left.saturating_sub(consumer.turn_of(shared, ctx, left));
            }
        });
        self.find_removable(ctx);
    }

    /// Whether [`Consumers::pump`] has something to do. Ask after every other call and have the host pump.
    #[must_use]
    pub fn wants_pump(&self) -> bool {
        self.any_lags() || self.wants_sweep()
    }

    /// Whether a consumer waits for its turn.
    #[must_use]
    pub fn any_lags(&self) -> bool {
        !self.shared.ready.is_empty()
    }

    /// Interest in a deliver subject (in `queue`, if some) came or went.
    pub fn interest_changed(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        subject: &[u8],
        queue: Option<&[u8]>,
        present: bool,
    ) {
        let Some(slots) = self.deliver.get(subject).cloned() else { return };
        for slot in slots {
            self.with(slot, |consumer, shared| {
                let group = consumer.config.deliver_group.as_bytes();
                let wanted = queue.unwrap_or_default() == group;
                let active = (wanted && present) || ctx.host.has_exact_interest(ctx.account, subject, group);
                consumer.set_active(shared, ctx.now, active);
            });
        }
        self.find_removable(ctx);
    }

    /// Whoever listens on a deliver subject is filling up. Consumers that deliver there pause, unless it has
    /// drained since.
    pub fn receivers_fill_up(&mut self, ctx: &mut StreamCtx<'_>, subject: &[u8]) {
        let Some(slots) = self.deliver.get(subject).cloned() else { return };
        let (_, out) = part(ctx);
        for slot in slots {
            self.with(slot, |consumer, _| consumer.is_full(&out));
        }
    }

    /// Whoever listens on a deliver subject may have room again. Ask [`Consumers::wants_pump`] afterwards.
    pub fn room_came(&mut self, subject: &[u8]) {
        let Some(slots) = self.deliver.get(subject).cloned() else { return };
        for slot in slots {
            self.with(slot, |consumer, shared| {
                if std::mem::take(&mut consumer.full) && consumer.has_more() {
                    consumer.queue_for_pump(shared);
                }
            });
        }
    }

    /// A queued message addressed to `to` with `reply` reached nobody.
    pub fn not_delivered(&mut self, ctx: &mut StreamCtx<'_>, to: &[u8], reply: &[u8]) {
        let Some(Control::Ack { consumer, acked }) = Control::parse(reply) else { return };
        let Some(slot) = self.by_name(consumer) else { return };
        self.with(slot, |consumer, shared| {
            if consumer.is_push() {
                consumer.redelivery.take_back(acked.sseq);
                let group = consumer.config.deliver_group.as_bytes();
                let active = ctx.host.has_exact_interest(ctx.account, to, group);
                consumer.set_active(shared, ctx.now, active);
            } else {
                consumer.request_missed(shared, ctx, to, acked.sseq);
            }
        });
        self.find_removable(ctx);
    }

    /// A message on one of the consumers' own subjects: `$JS.ACK.…`, `$JS.FC.…` or
    /// `$JS.API.CONSUMER.MSG.NEXT.…`. Says whether it was for a consumer of this stream.
    pub fn control(
        &mut self,
        ctx: &mut StreamCtx<'_>,
        subject: &[u8],
        reply: &[u8],
        headers: &[u8],
        payload: &[u8],
    ) -> bool {
        let Some(control) = Control::parse(subject) else { return false };
        let (Control::Ack { consumer, .. } | Control::Flow { consumer } | Control::Next { consumer }) =
            control;
        let Some(slot) = self.by_name(consumer) else { return false };
        // Nobody listens for acks or answers to flow control of a consumer that has none.
        let listens = self.get(slot).is_some_and(|consumer| match control {
            Control::Ack { .. } => takes_acks(&consumer.config),
            Control::Flow { .. } => consumer.config.flow_control,
            Control::Next { .. } => true,
        });
        if !listens {
            return false;
        }
        self.with(slot, |consumer, shared| {
            consumer.listening.count(&control, subject);
            match control {
                Control::Ack { acked, .. } => consumer.on_ack(shared, ctx, acked, reply, payload),
                Control::Flow { .. } => consumer.flow_answered(shared, ctx, subject, headers),
                Control::Next { .. } if reply.is_empty() => {}
                Control::Next { .. } => consumer.request(shared, ctx, reply, headers, payload),
            }
        });
        self.find_removable(ctx);
        true
    }

    /// Whether consumers let go of something that is to be [taken](Self::take_removable), or of [all](Self::take_deserted).
    #[inline]
    pub fn let_something_go(&self) -> bool {
        self.is_deserted || !self.removable.is_empty()
    }

    /// Sequences that no consumer retains any longer and that the stream (interest or workqueue) may remove; take
    /// them after every call until there is none.
    pub fn take_removable(&mut self) -> Option<u64> {
        self.removable.pop()
    }

    /// Whether there are [deliver subjects](Self::take_deliver_changes) to be taken. Every commit asks.
    #[inline]
    pub fn has_deliver_changes(&self) -> bool {
        !self.deliver_changes.is_empty()
    }

    /// Deliver subjects whose interest the engine must begin (`true`) or may cease to watch, in order.
    pub fn take_deliver_changes(&mut self) -> Vec<(Box<[u8]>, bool)> {
        std::mem::take(&mut self.deliver_changes)
    }

    /// Deliver subjects and queue groups whose interest the engine must watch.
    pub fn deliver_subjects(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.table.iter().flatten().filter(|consumer| consumer.is_push()).map(|consumer| {
            let group = Some(consumer.config.deliver_group.as_bytes()).filter(|group| !group.is_empty());
            (consumer.config.deliver_subject.as_bytes(), group)
        })
    }

    /// Finds out which messages that were acknowledged no other consumer waits for.
    pub(super) fn find_removable(&mut self, ctx: &mut StreamCtx<'_>) {
        if self.shared.acked.is_empty() {
            return;
        }
        if self.shared.acked.len() > SLICE_MSGS {
            self.sweeps.push_back(Sweep::listed(std::mem::take(&mut self.shared.acked)));
            return;
        }
        let mut acked = std::mem::take(&mut self.shared.acked);
        for seq in acked.drain(..) {
            if let Ok(Some(msg)) = ctx.store.load(seq)
                && !self.retains(seq, msg.subject)
            {
                self.removable.push(seq);
            }
        }
        self.shared.acked = acked;
    }

    /// Answers all pull requests that wait, because the server goes down.
    pub fn end_requests(&mut self, ctx: &mut StreamCtx<'_>) {
        let (_, mut out) = part(ctx);
        for consumer in self.table.iter_mut().flatten() {
            consumer.end_requests(&mut out);
        }
    }

    /// Writes all state that changed: before the stream closes.
    pub fn save_all(&mut self, now: &Now) {
        for consumer in self.table.iter_mut().flatten() {
            consumer.save(&mut self.shared, now);
        }
    }
}

/// How much a consumer delivers in one turn, where so much may wait for a receiver.
fn turn_bytes(max_pending_bytes: u64) -> usize {
    match usize::try_from(max_pending_bytes / TURN_SHARE) {
        Ok(0) if max_pending_bytes > 0 => 1,
        Ok(share) if share > 0 => share.min(super::next::TURN_BYTES),
        _ => super::next::TURN_BYTES,
    }
}

impl Consumer {
    /// Does what is due. Says whether the consumer is to go.
    fn due(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>, kind: Kind) -> bool {
        match kind {
            Kind::AckWait => {
                let (_, mut out) = part(ctx);
                self.expire_acks(shared, &mut out);
                self.feed_soon(shared);
            }
            Kind::Inactive => return self.is_abandoned(shared, ctx),
            Kind::Heartbeat => self.heartbeat_due(shared, ctx),
            Kind::Requests => {
                let (_, mut out) = part(ctx);
                self.sweep_requests(shared, &mut out, true);
                self.feed_soon(shared);
            }
            Kind::Unpause => {
                let (_, mut out) = part(ctx);
                self.advise_paused(shared, &mut out);
                self.feed_soon(shared);
            }
            Kind::Resume => self.feed_soon(shared),
            Kind::Pin => self.pin_expired(shared, ctx),
            Kind::Save => self.save_due(shared, ctx.now),
        }
        false
    }

    /// A message that matches was removed: it will not come.
    pub(super) fn uncount(&mut self, seq: u64) {
        if seq < self.next_sseq {
            return;
        }
        let counted = match &mut self.skip {
            Some(skip) if seq < skip.resume => match skip.seqs.binary_search(&seq) {
                Ok(at) => skip.seqs.remove(at).is_some(),
                Err(_) => false,
            },
            _ => true,
        };
        self.num_pending = self.num_pending.saturating_sub(u64::from(counted));
    }

    /// A message was removed; `matches` says whether it is one that this consumer wants.
    fn on_removed(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn crate::store::Store,
        out: &mut super::Out<'_>,
        seq: u64,
        matches: bool,
    ) {
        if matches {
            self.uncount(seq);
        }
        if let Some(pending) = self.pending.get(seq) {
            let deliveries = self.redelivery.deliveries(seq);
            let acked = Acked { sseq: seq, dseq: pending.dseq, deliveries };
            let was_stalled = self.is_at_max_ack_pending();
            self.terminate(shared, store, out, acked, REMOVED_UNACKED);
            if was_stalled {
                self.queue_for_pump(shared);
            }
        } else if self.redelivery.forget_count(seq) {
            self.mark_dirty(shared, out.now);
        }
    }
}
