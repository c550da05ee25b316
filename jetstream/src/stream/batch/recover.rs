//! What a crash left of a batch.
//!
//! A batch is stored as one change ([`Store::begin_atomic`](crate::store::Store::begin_atomic)), so what is left of one
//! that was cut short are its first messages, the last of the stream, with nothing removed. They are taken away. Where
//! nats-server was the one that stored it, its messages are staged on the disk, and the rest of them is stored, as it would
//! do itself.

use super::atomic::{COMMIT, SEQUENCE};
use super::staged::StagedMsg;
use crate::headers::{add_header, header};
use crate::store::{LeftMsg, StoreError};
use crate::stream::write::{PublishHeaders, Rollup, parse_u64};
use crate::stream::{Inner, PurgeRequest};

/// The end of a stream, where it belongs to a batch.
struct Tail {
    id: Vec<u8>,
    /// How many messages of the batch there are.
    count: u64,
    ends: bool,
    is_scheduled: bool,
}

impl Tail {
    /// What a message's headers say of its batch; `None` of one that belongs to none.
    fn of(headers: &[u8]) -> Option<Self> {
        let id = header(headers, b"Nats-Batch-Id").filter(|id| !id.is_empty())?;
        let count = header(headers, SEQUENCE).and_then(parse_u64)?;
        let ends = header(headers, COMMIT).is_some_and(|commit| !commit.is_empty());
        let is_scheduled = header(headers, b"Nats-Scheduler").is_some();
        Some(Self { id: id.to_vec(), count, ends, is_scheduled })
    }

    /// Whether the message with this end comes right behind the one with the other in a batch.
    fn follows(&self, before: &Self) -> bool {
        !before.ends && self.id == before.id && before.count.checked_add(1) == Some(self.count)
    }
}

impl Inner {
    /// Makes the last batch whole, or takes what is left of it away. Before anything is held against the limits, which
    /// would remove what the batch has displaced. A stream that takes no batches has none: before they came into being, their
    /// headers were a publisher's own.
    pub(in crate::stream) fn recover_batch(&mut self) -> Result<(), StoreError> {
        if !self.config.allow_atomic {
            return self.store.forget_left_batches();
        }
        let Some(tail) = self.batch_at_the_end()? else { return self.store.forget_left_batches() };
        if !tail.ends {
            let staged = self.store.left_batch(&tail.id).unwrap_or_else(|error| {
                tracing::error!(stream = %self.config.name, %error, "cannot read a batch that was staged");
                Vec::new()
            });
            let have = usize::try_from(tail.count).unwrap_or(usize::MAX);
            match staged.get(have..).filter(|rest| !rest.is_empty()) {
                Some(rest) => self.complete_batch(rest)?,
                // What follows from a schedule may have a batch's headers.
                None if tail.is_scheduled && !self.is_of_a_batch(&tail)? => {}
                None => self.take_batch_away(&tail)?,
            }
        }
        self.roll_up_again()?;
        self.flush();
        self.store.forget_left_batches()
    }

    fn batch_at_the_end(&mut self) -> Result<Option<Tail>, StoreError> {
        let last_seq = self.store.totals().last_seq;
        let Some(msg) = self.store.load(last_seq)? else { return Ok(None) };
        Ok(Tail::of(msg.headers))
    }

    /// Sequences that messages of a batch may have whose last one of `count` is the last of the stream.
    fn sequences(&self, count: u64) -> std::ops::RangeInclusive<u64> {
        let last_seq = self.store.totals().last_seq;
        last_seq.saturating_sub(count.saturating_sub(1)).max(1)..=last_seq
    }

    /// Whether the last message belongs to a batch that was announced, or the one before it is that of the same batch.
    fn is_of_a_batch(&mut self, tail: &Tail) -> Result<bool, StoreError> {
        if self.store.announced_batch() == Some(*self.sequences(tail.count).start()) {
            return Ok(true);
        }
        let seq = self.store.totals().last_seq.saturating_sub(1);
        let before = self.store.load(seq)?.and_then(|msg| Tail::of(msg.headers));
        Ok(before.is_some_and(|before| tail.follows(&before)))
    }

    /// Whether a message with these headers, stored next, would be taken for one of a batch that has begun, should the stream
    /// be opened before another one comes.
    pub(in crate::stream) fn would_go_on_with_a_batch(&mut self, headers: &[u8]) -> bool {
        let Some(tail) = Tail::of(headers).filter(|tail| !tail.ends) else { return false };
        let last = self.store.load(self.store.totals().last_seq);
        last.ok().flatten().and_then(|msg| Tail::of(msg.headers)).is_some_and(|before| tail.follows(&before))
    }

    fn take_batch_away(&mut self, tail: &Tail) -> Result<(), StoreError> {
        let mut taken = 0_u64;
        for seq in self.sequences(tail.count).rev() {
            let of_batch = self
                .store
                .load(seq)?
                .is_some_and(|msg| header(msg.headers, b"Nats-Batch-Id") == Some(tail.id.as_slice()));
            if of_batch {
                self.remove_seq(seq, false)?;
                taken += 1;
            }
        }
        let batch = String::from_utf8_lossy(&tail.id);
        tracing::warn!(stream = %self.config.name, %batch, messages = taken, "a batch without its end is taken away");
        Ok(())
    }

    fn complete_batch(&mut self, rest: &[LeftMsg]) -> Result<(), StoreError> {
        let by_end = rest.last().is_some_and(|last| header(&last.headers, COMMIT) == Some(b"eob"));
        let stored = rest.get(..rest.len() - usize::from(by_end)).unwrap_or_default();
        self.store.begin_atomic();
        for (at, msg) in stored.iter().enumerate() {
            let ends = by_end && at + 1 == stored.len();
            let with_commit = ends.then(|| add_header(&msg.headers, COMMIT, b"1"));
            let headers = with_commit.as_deref().unwrap_or(&msg.headers);
            self.store_of_batch(&StagedMsg { subject: &msg.subject, headers, payload: &msg.payload })?;
        }
        self.store.end_atomic()?;
        tracing::info!(stream = %self.config.name, messages = stored.len(), "the rest of a batch is stored");
        Ok(())
    }

    /// Removes what a batch has rolled up, where the crash came after its last message and before that.
    fn roll_up_again(&mut self) -> Result<(), StoreError> {
        if !self.config.lets_messages_remove() {
            return Ok(());
        }
        let Some(tail) = self.batch_at_the_end()? else { return Ok(()) };
        for seq in self.sequences(tail.count) {
            let Some(msg) = self.store.load(seq)? else { continue };
            let headers = PublishHeaders::scan(msg.headers);
            let subject = match Rollup::of(headers.rollup) {
                Some(Rollup::Subject) => msg.subject.to_vec(),
                Some(Rollup::All) => b">".to_vec(),
                _ => continue,
            };
            if headers.batch_id == tail.id {
                self.purge_here(&PurgeRequest { filter: &subject, seq, keep: 0 })?;
            }
        }
        Ok(())
    }
}
