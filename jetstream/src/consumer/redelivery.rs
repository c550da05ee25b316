//! Messages that are to be delivered again, and how often each one was.

use super::set::Shared;
use super::timers::Kind;
use super::{Consumer, Out};
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;

/// Sequences waiting to be delivered again, in order, and the counts of deliveries.
#[derive(Debug, Default)]
pub(super) struct Redelivery {
    queue: VecDeque<u64>,
    queued: HashSet<u64>,
    /// Deliveries after the first, by stream sequence.
    counts: HashMap<u64, u64>,
}

impl Redelivery {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn push(&mut self, sseq: u64) {
        if self.queued.insert(sseq) {
            self.queue.push_back(sseq);
        }
    }

    pub(super) fn peek(&self) -> Option<u64> {
        self.queue.front().copied()
    }

    pub(super) fn pop(&mut self) -> Option<u64> {
        let sseq = self.queue.pop_front()?;
        self.queued.remove(&sseq);
        Some(sseq)
    }

    pub(super) fn contains(&self, sseq: u64) -> bool {
        self.queued.contains(&sseq)
    }

    pub(super) fn dequeue(&mut self, sseq: u64) {
        if self.queued.remove(&sseq) {
            self.queue.retain(|queued| *queued != sseq);
        }
    }

    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
        self.queued.clear();
    }

    /// How often the message was delivered again.
    pub(super) fn count(&self, sseq: u64) -> u64 {
        self.counts.get(&sseq).copied().unwrap_or(0)
    }

    /// How often the message counts as delivered: at least once.
    pub(super) fn deliveries(&self, sseq: u64) -> u64 {
        self.count(sseq).max(1)
    }

    pub(super) fn is_counted(&self, sseq: u64) -> bool {
        self.counts.contains_key(&sseq)
    }

    pub(super) fn set_count(&mut self, sseq: u64, count: u64) {
        self.counts.insert(sseq, count);
    }

    pub(super) fn forget_count(&mut self, sseq: u64) -> bool {
        self.counts.remove(&sseq).is_some()
    }

    /// Takes back one delivery that did not happen.
    pub(super) fn take_back(&mut self, sseq: u64) {
        match self.count(sseq) {
            0 => {}
            1 => {
                self.counts.remove(&sseq);
            }
            more => self.set_count(sseq, more - 1),
        }
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        self.counts.iter().map(|(sseq, count)| (*sseq, *count))
    }

    pub(super) fn counted(&self) -> usize {
        self.counts.len()
    }

    pub(super) fn clear(&mut self) {
        self.clear_queue();
        self.counts.clear();
    }
}

impl Consumer {
    /// For how long an acknowledgement of the message is awaited, 0 for ever.
    pub(super) fn wait_ns(&self, sseq: u64) -> u64 {
        let backoff = &self.config.backoff_ns;
        let step = usize::try_from(self.redelivery.count(sseq)).unwrap_or(usize::MAX);
        let wait_ns = backoff.get(step).or(backoff.last()).copied().unwrap_or(self.config.ack_wait_ns);
        u64::try_from(wait_ns).unwrap_or(0)
    }

    /// Arms the deadline of a delivery that waits.
    pub(super) fn arm_ack(&mut self, shared: &mut Shared, sseq: u64) {
        let Some(pending) = self.pending.get(sseq) else { return };
        let since = pending.since;
        let wait_ns = self.wait_ns(sseq);
        if wait_ns == 0 {
            return;
        }
        let due = since.plus(wait_ns);
        if self.pending.arm(sseq, due) {
            shared.timers.arm_earlier(&mut self.armed, self.slot, Kind::AckWait, due);
        }
    }

    /// Arms everything that waits, after a change of the waits or a restart.
    pub(super) fn arm_acks(&mut self, shared: &mut Shared) {
        self.pending.disarm_all();
        shared.timers.disarm(&mut self.armed, self.slot, Kind::AckWait);
        let waiting: Vec<u64> = self.pending.iter().map(|pending| pending.sseq).collect();
        for sseq in waiting {
            if !self.redelivery.contains(sseq) {
                self.arm_ack(shared, sseq);
            }
        }
    }

    /// Queues for another delivery what was not acknowledged in time.
    pub(super) fn expire_acks(&mut self, shared: &mut Shared, out: &mut Out<'_>) {
        let mut expired = Vec::new();
        while let Some(pending) = self.pending.pop_due(out.now.elapsed()) {
            let due = pending.since.plus(self.wait_ns(pending.sseq));
            if self.redelivery.contains(pending.sseq) {
                continue;
            }
            if due > out.now.elapsed() {
                // A sign of progress moved it.
                self.pending.arm(pending.sseq, due);
            } else {
                expired.push(pending.sseq);
            }
        }
        expired.sort_unstable();
        for sseq in expired {
            if !self.reached_max_deliver(shared, out, sseq) {
                self.redelivery.push(sseq);
            }
        }
        if self.pending.is_empty() {
            self.redelivery.clear_queue();
        }
        match self.pending.next_due() {
            Some(due) => shared.timers.arm(&mut self.armed, self.slot, Kind::AckWait, due),
            None => shared.timers.disarm(&mut self.armed, self.slot, Kind::AckWait),
        }
    }

    /// Whether the message was delivered as often as allowed; it is then given up, with an advisory.
    fn reached_max_deliver(&mut self, shared: &mut Shared, out: &mut Out<'_>, sseq: u64) -> bool {
        let deliveries = self.redelivery.deliveries(sseq);
        if self.max_deliver() == 0 || deliveries < self.max_deliver() {
            return false;
        }
        self.advise_max_deliver(shared, out, sseq, self.redelivery.count(sseq) + 1);
        self.give_up(out, sseq);
        // nats-server leaves the count behind, as a mark that the message went unacknowledged.
        self.redelivery.set_count(sseq, deliveries);
        self.mark_dirty(shared, out.now);
        true
    }

    /// Stops waiting for the message without an acknowledgement.
    pub(super) fn give_up(&mut self, out: &Out<'_>, sseq: u64) {
        // The ack floor stays until a later acknowledgement moves it past, as nats-server reports it.
        if self.pending.remove(sseq).is_some() {
            self.last_delivered = Some(out.now.wall());
        }
    }

    /// Deliveries allowed of one message, 0 for any number.
    pub(super) fn max_deliver(&self) -> u64 {
        u64::try_from(self.config.max_deliver).unwrap_or(0)
    }

    /// Queues everything that waits for another delivery at once.
    pub(super) fn redeliver_everything(&mut self, shared: &mut Shared, out: &mut Out<'_>) {
        let waiting: Vec<u64> = self.pending.iter().map(|pending| pending.sseq).collect();
        for sseq in waiting {
            if !self.redelivery.contains(sseq) && !self.reached_max_deliver(shared, out, sseq) {
                self.redelivery.push(sseq);
                self.pending.touch(sseq, out.now.elapsed());
            }
        }
    }
}
