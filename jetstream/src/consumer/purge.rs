//! What a purge of the stream means for its consumers.

use super::ack::{Acked, REMOVED_UNACKED};
use super::set::{Consumers, Shared};
use super::took_back::Moved;
use super::{Consumer, Out, Position, StreamCtx, part};
use crate::config::AckPolicy;
use crate::filter::Filter;
use crate::store::{Msg, Store};
use jetkv_protocol::subject;

/// What a purge takes from a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    /// The consumer goes on here at the earliest.
    from_seq: u64,
    /// Messages that it wants may be left below others that are gone.
    in_part: bool,
}

/// The purge of a stream, as its consumers are told of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PurgeNotice<'a> {
    /// What was purged, which may hold wildcards; `None` for everything.
    pub subject: Option<&'a [u8]>,
    /// The message that is all that a purge by subject took, and the subject whose consumers are told of it by itself.
    pub only: Option<(u64, &'a [u8])>,
    /// A message that is in the store already and will be told with [`Consumers::on_stored`]: what rolls up others.
    pub coming: Option<&'a Msg<'a>>,
    /// Whether consumers heard of each message with [`Consumers::on_purged_one`].
    pub is_counted: bool,
    /// The first message on `subject` that is left, where that is known.
    pub first_left: Option<u64>,
}

impl Consumers {
    /// A purge removed a message, and goes on. Consumers count it no more; [`Consumers::on_purged`] follows.
    pub fn on_purged_one(&mut self, seq: u64, subject: &[u8]) {
        if !self.names.is_empty() {
            self.with_matching(subject, |consumer, _| consumer.uncount(seq));
        }
    }

    /// The stream was purged, and so was the store.
    pub fn on_purged(&mut self, ctx: &mut StreamCtx<'_>, notice: &PurgeNotice<'_>) {
        let (store, mut out) = part(ctx);
        let mut covered = Vec::new();
        for consumer in self.table.iter_mut().flatten() {
            let before = consumer.place();
            let ended = notice.only.and_then(|(seq, told)| consumer.unacked(seq, told));
            consumer.on_purged(&mut self.shared, store, &mut out, notice);
            self.moved.extend(Moved::new(consumer, before));
            // What the consumer was told to do with before the purge is not to be removed on its account.
            self.shared.acked.clear();
            if let Some(ended) = ended {
                consumer.end_purged(&mut self.shared, store, &mut out, ended);
                covered.append(&mut self.shared.acked);
            }
        }
        if let Some(msg) = notice.coming.filter(|_| !notice.is_counted) {
            // It was counted with the rest.
            self.with_matching(msg.subject, |consumer, _| {
                let counted = msg.seq >= consumer.next_sseq;
                consumer.num_pending = consumer.num_pending.saturating_sub(u64::from(counted));
            });
        }
        self.shared.acked = covered;
        self.find_removable(ctx);
    }
}

impl Consumer {
    /// The delivery of `seq` that waits for its acknowledgement, if the consumer is told of what leaves `told`.
    fn unacked(&mut self, seq: u64, told: &[u8]) -> Option<Acked> {
        let mut filters = self.config.filters().peekable();
        let is_told =
            filters.peek().is_none() || filters.any(|filter| subject::is_subset(told, filter.as_bytes()));
        if !is_told {
            return None;
        }
        match self.pending.get(seq) {
            Some(pending) => {
                let deliveries = self.redelivery.deliveries(seq);
                Some(Acked { sseq: seq, dseq: pending.dseq, deliveries })
            }
            None => {
                self.redelivery.forget_count(seq);
                None
            }
        }
    }

    /// A purge took one message only, which waited for its acknowledgement: that counts as given, and where one covers
    /// all before, for those too.
    fn end_purged(&mut self, shared: &mut Shared, store: &mut dyn Store, out: &mut Out<'_>, ended: Acked) {
        let was_stalled = self.is_at_max_ack_pending();
        self.terminate(shared, store, out, ended, REMOVED_UNACKED);
        if was_stalled {
            self.queue_for_pump(shared);
        }
    }

    /// The stream was purged of `subject`, or of everything. The rules are those of nats-server v2.15.2, which shows
    /// them in what it says of a consumer.
    fn on_purged(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn Store,
        out: &mut Out<'_>,
        notice: &PurgeNotice<'_>,
    ) {
        let subject = notice.subject;
        let touched = subject.is_none_or(|purged| {
            self.config.filters().next().is_none()
                || self.config.filters().any(|filter| subject::collide(filter.as_bytes(), purged))
        });
        if !touched {
            return;
        }
        let was_stalled = self.is_at_max_ack_pending();
        if let Some(reach) = self.reach(store, notice) {
            self.pass_purged(shared, store, out, reach);
            self.mark_dirty(shared, out.now);
        }
        if was_stalled && !self.is_at_max_ack_pending() {
            // No acknowledgement feeds it any more.
            self.queue_for_pump(shared);
        }
        if notice.is_counted {
            return;
        }
        if let Some(skip) = &mut self.skip {
            skip.seqs.retain(|sseq| matches!(store.load(*sseq), Ok(Some(_))));
        }
        self.count_at_once(store);
    }

    /// What a purge takes; `None` where it leaves the consumer alone, which is also where filter and purge only
    /// overlap.
    fn reach(&self, store: &mut dyn Store, notice: &PurgeNotice<'_>) -> Option<Reach> {
        let state = store.state();
        let first_seq = state.first_seq;
        let Some(purged) = notice.subject else { return Some(Reach { from_seq: first_seq, in_part: false }) };
        let mut any = false;
        let (mut covers_one, mut covers_all, mut is_within) = (false, true, false);
        for filter in self.config.filters() {
            any = true;
            let covered = subject::is_subset(filter.as_bytes(), purged);
            covers_one |= covered;
            covers_all &= covered;
            is_within |= subject::is_subset(purged, filter.as_bytes());
        }
        if covers_one && covers_all {
            let from_seq = notice.first_left.unwrap_or_else(|| {
                let left = store.next(&Filter::new([purged]), 0).ok().flatten();
                left.map_or(state.last_seq + 1, |msg| msg.seq)
            });
            return Some(Reach { from_seq, in_part: false });
        }
        (covers_one || is_within || !any).then_some(Reach { from_seq: first_seq, in_part: true })
    }

    /// Moves on past what the purge took. A delivery of a message that is gone goes on waiting for its
    /// acknowledgement where the ack floor has reached the start of the stream.
    fn pass_purged(&mut self, shared: &mut Shared, store: &mut dyn Store, out: &mut Out<'_>, reach: Reach) {
        let from_seq = reach.from_seq.max(1);
        self.next_sseq = self.next_sseq.max(from_seq);
        let mut told = self.told_floor();
        if self.floor.sseq < from_seq {
            self.floor.sseq = from_seq - 1;
            let gone: Vec<Position> = self
                .pending
                .iter()
                .map(|pending| Position { dseq: pending.dseq, sseq: pending.sseq })
                .filter(|held| {
                    held.sseq < from_seq || (reach.in_part && matches!(store.load(held.sseq), Ok(None)))
                })
                .collect();
            for held in gone {
                self.pending.remove(held.sseq);
                self.tell_purged(&mut told, held);
                self.redelivery.forget_count(held.sseq);
                self.floor.dseq = self.floor.dseq.max(held.dseq);
                self.last_acked = Some(out.now.wall());
            }
        }
        self.delivered = Position { dseq: self.next_dseq - 1, sseq: self.next_sseq - 1 };
        if self.pending.is_empty() {
            self.redelivery.clear();
            self.floor = self.delivered;
        }
        self.lagging_floor = (told.sseq > self.floor.sseq).then_some(told);
        if !self.redelivery.is_empty() {
            // What waited to be delivered again waits for its acknowledgement again.
            self.redelivery.clear_queue();
            self.arm_acks(shared);
        }
    }

    /// Moves the floor that is told past a delivery that a purge took.
    fn tell_purged(&self, told: &mut Position, held: Position) {
        if held.dseq <= told.dseq {
            return;
        }
        match self.config.ack_policy {
            AckPolicy::All | AckPolicy::FlowControl => *told = held,
            AckPolicy::Explicit if held.dseq == told.dseq + 1 => *told = self.floor_past(held),
            AckPolicy::Explicit | AckPolicy::None => {}
        }
    }
}
