//! What a consumer delivers next, and when it must wait.

use super::deliver::Sent;
use super::set::Shared;
use super::timers::Kind;
use super::{Consumer, Out, StreamCtx, part};
use crate::clock::{ElapsedNs, Now};
use crate::store::{Ahead, Msg, Store, Upcoming};

/// Messages that a consumer delivers in one turn before others get theirs.
pub(super) const TURN_MSGS: usize = 256;
/// So many nodes of the index that are looked at for what comes next count as much as a message that is delivered.
const MSG_NODES: usize = 4;
/// Bytes after which a turn ends, so that large values do not fill the outbox.
pub(super) const TURN_BYTES: usize = 1 << 20;

/// Why a consumer stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It may not deliver now: paused, nobody there, or the window is full.
    Blocked,
    /// Nothing is left to deliver.
    End,
    /// Too many acknowledgements are awaited.
    AcksPending,
    /// No pull request takes the next message.
    NoRequest,
    /// The next message must wait.
    Held(ElapsedNs),
}

enum Step {
    Sent,
    Skipped,
    Stop(Stop),
}

impl Consumer {
    /// Whether deliveries may leave now.
    pub(super) fn may_deliver(&self, now: &Now) -> bool {
        if self.is_paused(now) {
            return false;
        }
        if self.is_push() {
            self.active && !self.full && !self.flow.as_ref().is_some_and(|flow| flow.is_stalled())
        } else {
            !self.requests.is_empty()
        }
    }

    /// Something came that may let the consumer deliver: it gets a turn with the next [`super::Consumers::feed`].
    pub(super) fn feed_soon(&mut self, shared: &mut Shared) {
        if !self.awaits_feed {
            self.awaits_feed = true;
            shared.to_feed.push(self.slot);
        }
    }

    /// Delivers at most `budget` messages; says how many, or how many its looking for them was worth. With more to deliver
    /// it queues for another turn.
    pub(super) fn turn_of(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>, budget: usize) -> usize {
        let (store, mut out) = part(ctx);
        let (mut sent, looked_before) = (0, self.upcoming.looked());
        let worth = |upcoming: &Upcoming| upcoming.looked().wrapping_sub(looked_before) / MSG_NODES;
        let queued_bytes = out.outbox.size_bytes();
        let stop = loop {
            if !self.may_deliver(out.now) {
                break Some(Stop::Blocked);
            }
            if sent + worth(&self.upcoming) >= budget
                || out.outbox.size_bytes() - queued_bytes >= shared.turn_bytes
            {
                break None;
            }
            if sent == 0 && self.has_more() && self.is_full(&out) {
                break Some(Stop::Blocked);
            }
            match self.step(shared, store, &mut out) {
                Step::Sent => sent += 1,
                Step::Skipped => {}
                Step::Stop(stop) => break Some(stop),
            }
        };
        match stop {
            Some(stop) => self.wait(shared, &mut out, stop),
            None => self.queue_for_pump(shared),
        }
        sent + worth(&self.upcoming)
    }

    /// Whether anything waits to be delivered.
    pub(super) fn has_more(&self) -> bool {
        self.num_pending > 0 || self.skip.is_some() || !self.redelivery.is_empty()
    }

    pub(super) fn queue_for_pump(&mut self, shared: &mut Shared) {
        if !self.queued {
            self.queued = true;
            shared.ready.push_back(self.slot);
        }
    }

    /// Settles in until something happens.
    fn wait(&mut self, shared: &mut Shared, out: &mut Out<'_>, stop: Stop) {
        if self.replay.as_ref().is_some_and(|replay| self.next_sseq > replay.until_seq) {
            self.replay = None;
        }
        if let Stop::Held(until) = stop {
            shared.timers.arm(&mut self.armed, self.slot, Kind::Resume, until);
        } else if !self.is_push() {
            // Requests that do not wait go on waiting while acknowledgements are all that is missing.
            self.sweep_requests(shared, out, stop != Stop::AcksPending);
        }
    }

    fn step(&mut self, shared: &mut Shared, store: &mut dyn Store, out: &mut Out<'_>) -> Step {
        if let Some(sseq) = self.redelivery.peek() {
            return self.redeliver(shared, store, out, sseq);
        }
        if self.is_at_max_ack_pending() {
            return Step::Stop(Stop::AcksPending);
        }
        if self.skip.is_some() {
            return self.deliver_last_of_each(shared, store, out);
        }
        let msg = match store.next_upcoming(&self.filter, self.next_sseq, &mut self.upcoming) {
            Ok(Ahead::Found(msg)) => msg,
            Ok(Ahead::Nothing) => {
                let end_seq = store.totals().last_seq + 1;
                if end_seq >= self.next_sseq {
                    self.next_sseq = end_seq;
                    self.num_pending = 0;
                }
                return Step::Stop(Stop::End);
            }
            Ok(Ahead::More) => return Step::Skipped,
            Err(error) => return self.unreadable(error),
        };
        let sseq = msg.seq;
        match self.send(shared, out, &msg, 1) {
            Sent::Yes => {
                self.next_sseq = sseq + 1;
                Step::Sent
            }
            other => Step::Stop(stop_of(other)),
        }
    }

    /// A record that cannot be read: a damaged one is passed over, so that it does not hold up what follows.
    fn unreadable(&mut self, error: crate::store::StoreError) -> Step {
        if let crate::store::StoreError::Damaged { seq, .. } = &error {
            tracing::error!(consumer = %self.name, %error, "skipping a message that cannot be read");
            if *seq >= self.next_sseq {
                self.next_sseq = seq + 1;
                return Step::Skipped;
            }
        } else {
            tracing::error!(consumer = %self.name, %error, "cannot read the stream");
        }
        Step::Stop(Stop::End)
    }

    fn redeliver(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn Store,
        out: &mut Out<'_>,
        sseq: u64,
    ) -> Step {
        let deliveries = self.redelivery.count(sseq) + 2;
        if self.max_deliver() > 0 && deliveries > self.max_deliver() {
            self.redelivery.pop();
            self.redelivery.set_count(sseq, deliveries - 1);
            self.advise_max_deliver(shared, out, sseq, deliveries - 1);
            self.give_up(out, sseq);
            self.mark_dirty(shared, out.now);
            return Step::Skipped;
        }
        match store.load(sseq) {
            Ok(Some(msg)) => match self.send(shared, out, &msg, deliveries) {
                Sent::Yes => {
                    self.redelivery.dequeue(sseq);
                    Step::Sent
                }
                other => Step::Stop(stop_of(other)),
            },
            Ok(None) => {
                self.redelivery.pop();
                if let Some(pending) = self.pending.get(sseq).copied() {
                    let acked = super::ack::Acked { sseq, dseq: pending.dseq, deliveries: deliveries - 1 };
                    self.terminate(shared, store, out, acked, super::ack::REMOVED_UNACKED);
                }
                Step::Skipped
            }
            Err(error) => {
                self.redelivery.pop();
                tracing::error!(consumer = %self.name, %error, "cannot deliver a message again");
                Step::Skipped
            }
        }
    }

    fn deliver_last_of_each(
        &mut self,
        shared: &mut Shared,
        store: &mut dyn Store,
        out: &mut Out<'_>,
    ) -> Step {
        let Some(skip) = &self.skip else { return Step::Skipped };
        let Some(sseq) = skip.seqs.front().copied() else {
            self.next_sseq = skip.resume;
            self.skip = None;
            return Step::Skipped;
        };
        let outcome = match store.load(sseq) {
            Ok(Some(msg)) => self.send(shared, out, &msg, 1),
            Ok(None) => Sent::Yes,
            Err(error) => {
                tracing::error!(consumer = %self.name, %error, "skipping a message that cannot be read");
                Sent::Yes
            }
        };
        if outcome != Sent::Yes {
            return Step::Stop(stop_of(outcome));
        }
        if let Some(skip) = &mut self.skip {
            skip.seqs.pop_front();
            self.next_sseq = if skip.seqs.is_empty() { skip.resume } else { sseq + 1 };
            if skip.seqs.is_empty() {
                self.skip = None;
            }
        }
        Step::Sent
    }

    /// A message that this consumer wants was stored. A consumer that is caught up gets it at once, from the
    /// publisher's bytes.
    pub(super) fn on_stored(&mut self, shared: &mut Shared, ctx: &mut StreamCtx<'_>, msg: &Msg<'_>) {
        if msg.seq < self.next_sseq {
            return;
        }
        let caught_up = !self.has_more();
        self.num_pending += 1;
        if self.awaits_feed || !self.may_deliver(ctx.now) {
            return;
        }
        let is_stalled = self.is_at_max_ack_pending();
        if !caught_up || is_stalled {
            // Held back by acknowledgements or a limit; unless by neither, whatever frees it feeds it. Requests whose
            // requester is gone are to make room for others, though.
            if self.armed.get(Kind::Resume).is_none() && (!is_stalled || self.has_full_queue()) {
                self.queue_for_pump(shared);
            }
            return;
        }
        let (_, mut out) = part(ctx);
        let stop = match self.send(shared, &mut out, msg, 1) {
            Sent::Yes => {
                self.next_sseq = msg.seq + 1;
                if self.has_full_queue() {
                    self.queue_for_pump(shared);
                }
                if self.is_push() || !self.requests.has_no_wait() {
                    return;
                }
                if self.is_at_max_ack_pending() { Stop::AcksPending } else { Stop::End }
            }
            other => stop_of(other),
        };
        self.wait(shared, &mut out, stop);
    }
}

fn stop_of(sent: Sent) -> Stop {
    match sent {
        Sent::HeldUntil(until) => Stop::Held(until),
        Sent::Yes | Sent::NoRequest => Stop::NoRequest,
    }
}
