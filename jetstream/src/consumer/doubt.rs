//! States that are not what was written. nats-server believes them: what seems acknowledged it deletes or never delivers.

use super::Consumer;
use crate::clock::Now;
use crate::config::{AckPolicy, Retention, StreamConfig};
use crate::store::{ConsumerState, PendingAck, Store, StoreError};

impl Consumer {
    /// A state without what cannot be: what waits beyond the last delivery is delivered yet, and what lies at or below the ack
    /// floor does not wait. What is still there of all that was delivered waits for its acknowledgement, for that it had one
    /// nothing proves: in a work queue all of it, since what was acknowledged is gone from there, and else what is above the floor.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn without_doubt(
        &self,
        state: &ConsumerState,
        store: &mut dyn Store,
        stream: &StreamConfig,
        now: &Now,
    ) -> Result<ConsumerState, StoreError> {
        let mut state = state.clone();
        let totals = store.totals();
        let (floor, delivered) = (&mut state.ack_floor, &mut state.delivered);
        delivered.stream_seq = delivered.stream_seq.min(totals.last_seq);
        floor.consumer_seq = floor.consumer_seq.min(delivered.consumer_seq);
        floor.stream_seq = floor.stream_seq.min(delivered.stream_seq);
        let (above, upto) = (floor.stream_seq, delivered.stream_seq);
        state.pending.retain(|seq, _| (above + 1..=upto).contains(seq));
        if self.config.ack_policy != AckPolicy::None {
            let is_queue = stream.retention == Retention::WorkQueue;
            let mut next_seq = if is_queue { totals.first_seq } else { above + 1 };
            while let Some(msg) = store.next(&self.filter, next_seq)?.filter(|msg| msg.seq <= upto) {
                next_seq = msg.seq + 1;
                let waits = PendingAck { consumer_seq: 0, ts_ns: now.wall().ns() };
                state.pending.entry(msg.seq).or_insert(waits);
            }
        }
        state.number_pending(now.wall().ns());
        Ok(state)
    }
}

impl ConsumerState {
    /// Has the ack floor below all that waits, and gives this consumer sequences in between, in the order of the stream. Nothing
    /// waits since a time that is yet to come.
    fn number_pending(&mut self, now_ns: i64) {
        let Some(first) = self.pending.keys().next().copied() else { return };
        let count = self.pending.len() as u64;
        self.ack_floor.stream_seq = self.ack_floor.stream_seq.min(first.saturating_sub(1));
        self.ack_floor.consumer_seq =
            self.ack_floor.consumer_seq.min(self.delivered.consumer_seq.saturating_sub(count));
        self.delivered.consumer_seq = self.delivered.consumer_seq.max(count);
        for (pending, consumer_seq) in self.pending.values_mut().zip(self.ack_floor.consumer_seq + 1..) {
            *pending = PendingAck { consumer_seq, ts_ns: pending.ts_ns.min(now_ns) };
        }
    }
}
