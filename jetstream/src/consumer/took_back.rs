//! What consumers do when their stream takes back what it could not keep.

use super::trie::Slot;
use super::{Consumer, Consumers, Position, StreamCtx};
use crate::config::Retention;

/// How far a consumer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    next_sseq: u64,
    delivered: Position,
    floor: Position,
}

/// A consumer that a purge moved on.
#[derive(Debug)]
pub(super) struct Moved {
    slot: Slot,
    before: Place,
    after: Place,
}

impl Moved {
    /// Notes where `consumer` was before a purge, if it moved.
    pub(super) fn new(consumer: &Consumer, before: Place) -> Option<Self> {
        let after = consumer.place();
        (after != before).then_some(Self { slot: consumer.slot, before, after })
    }
}

impl Consumer {
    pub(super) fn place(&self) -> Place {
        Place { next_sseq: self.next_sseq, delivered: self.delivered, floor: self.floor }
    }
}

impl Consumers {
    /// A sequence that [`Consumers::take_removable`] gave could not be removed; it is given again.
    pub fn remove_later(&mut self, seq: u64) {
        self.removable.push(seq);
    }

    /// What was done to the stream is kept.
    pub fn kept(&mut self) {
        self.moved.clear();
    }

    /// The stream took back what it could not keep. Consumers that were moved on by a purge, and did not go further
    /// since, go back; what is pending is counted anew. Of the messages `restored`, those that nobody waits for are to
    /// be removed again, where the stream removes such.
    pub fn took_back(&mut self, ctx: &mut StreamCtx<'_>, restored: &[u64]) {
        while let Some(Moved { slot, before, after }) = self.moved.pop() {
            self.with(slot, |consumer, _| {
                if consumer.place() == after {
                    let Place { next_sseq, delivered, floor } = before;
                    (consumer.next_sseq, consumer.delivered, consumer.floor) = (next_sseq, delivered, floor);
                }
            });
        }
        for consumer in self.table.iter_mut().flatten() {
            consumer.count_at_once(ctx.store);
        }
        if ctx.config.retention != Retention::Limits && !restored.is_empty() {
            self.shared.acked.extend_from_slice(restored);
            self.find_removable(ctx);
        }
    }
}
