//! Taking in the messages of an atomic batch, in nats-server's order of checks.

use super::advisory::Reason;
use super::staged::{Staged, StagedMsg};
use super::{ID_MAX_BYTES, Kind, Limits, Place};
use crate::config::metadata::{REQUIRED_LEVEL_HEADER, serves_level};
use crate::consumer::FEW;
use crate::error::ApiError;
use crate::error::catalogue as errors;
use crate::headers::{header, without_header};
use crate::outbox::Says;
use crate::stream::write::{Refusal, parse_u64};
use crate::stream::{Inbound, Inner};

/// Which batch a message belongs to.
const ID: &[u8] = b"Nats-Batch-Id";
/// Where a message stands in its batch, from 1.
pub(super) const SEQUENCE: &[u8] = b"Nats-Batch-Sequence";
/// Which message is the last of its batch.
pub(in crate::stream) const COMMIT: &[u8] = b"Nats-Batch-Commit";

/// What a message rolls up.
pub(super) const ROLLUP: &[u8] = b"Nats-Rollup";

/// What a message says of the end of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Commit {
    /// More is to come.
    No,
    /// It is the last.
    Last,
    /// The one before was the last; this one is not stored.
    EndOfBatch,
    /// Nothing that is known.
    Unknown,
}

impl Commit {
    fn of(value: Option<&[u8]>) -> Self {
        match value {
            None => Self::No,
            Some(b"1") => Self::Last,
            Some(b"eob") => Self::EndOfBatch,
            Some(_) => Self::Unknown,
        }
    }

    /// How many messages there are with this one. An end without a message before it counts as too many, as in
    /// nats-server.
    fn count(self, seq: u64) -> u64 {
        if self == Self::EndOfBatch { seq.wrapping_sub(1) } else { seq }
    }
}

impl Inner {
    /// Whether a message with this header block ends a batch that takes long to store.
    #[inline]
    pub(in crate::stream) fn ends_large_batch(&self, block: &[u8]) -> bool {
        let rolls_up = |staged: &Staged| staged.rolls_up() || header(block, ROLLUP).is_some();
        !self.batches.atomic.is_empty()
            && header(block, COMMIT).is_some()
            && header(block, ID).and_then(|id| self.batches.atomic.get(id)).is_some_and(|staged| {
                staged.is_large() || (self.store.totals().msgs > FEW as u64 && rolls_up(staged))
            })
    }

    /// Takes a message of the batch `id`. `block` is its header block as it is to be stored.
    pub(in crate::stream) fn take_atomic(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        id: &[u8],
        answers: bool,
    ) -> Result<(), Refusal> {
        self.check_batch(msg, block)?;
        if !self.config.allow_atomic {
            return Err(errors::ATOMIC_PUBLISH_DISABLED.into());
        }
        if id.len() > ID_MAX_BYTES {
            return Err(errors::ATOMIC_PUBLISH_INVALID_BATCH_ID.into());
        }
        let seq = header(block, SEQUENCE).and_then(parse_u64).ok_or(errors::ATOMIC_PUBLISH_MISSING_SEQ)?;
        let commit = Commit::of(header(block, COMMIT));
        let limits = self.batch_limits(Kind::Atomic);
        self.give_up_batches();
        self.open_atomic(id, commit.count(seq), seq == 1, &limits)?;
        if commit == Commit::Unknown {
            self.batches.atomic.remove(id);
            return Err(errors::ATOMIC_PUBLISH_INVALID_BATCH_COMMIT.into());
        }
        let level = header(block, REQUIRED_LEVEL_HEADER).filter(|level| !level.is_empty());
        let without_level = level.map(|_| without_header(block, REQUIRED_LEVEL_HEADER));
        let headers = without_level.as_deref().unwrap_or(block);
        let msg_in = StagedMsg { subject: msg.subject, headers, payload: msg.payload };
        let staged = match level {
            Some(level) if !serves_level(level) => {
                Err((Reason::Unsupported, errors::REQUIRED_API_LEVEL.into()))
            }
            _ => self.stage(id, &msg_in, (seq, commit), &limits),
        };
        if let Err((reason, error)) = staged {
            self.batches.atomic.remove(id);
            self.advise_abandoned(id, reason);
            return Err(Refusal::Error(error));
        }
        if commit == Commit::No {
            if answers {
                self.outbox.push_with(msg.reply, |_| {});
                self.outbox.last_says(Says::Status);
            }
            return Ok(());
        }
        let Some(staged) = self.batches.atomic.remove(id) else { return Ok(()) };
        self.commit_atomic(id, &staged, commit == Commit::EndOfBatch)?;
        if answers {
            let seq = self.store.totals().last_seq;
            self.acks.batch_stored(&mut self.outbox, msg.reply, seq, (id, staged.len()));
        }
        Ok(())
    }

    /// What every message of a batch has to satisfy when it comes.
    pub(in crate::stream) fn check_batch(&mut self, msg: &Inbound<'_>, block: &[u8]) -> Result<(), Refusal> {
        if self.config.sealed {
            return Err(errors::STREAM_SEALED.into());
        }
        self.check_server()?;
        self.check_account(self.msg_size(msg.subject, block, msg.payload))?;
        let most = usize::try_from(self.config.max_msg_size);
        if most.is_ok_and(|most| block.len() + msg.payload.len() > most) {
            return Err(errors::STREAM_MESSAGE_EXCEEDS_MAXIMUM.into());
        }
        Ok(())
    }

    /// Makes sure that the batch is open. Only its first message opens one.
    fn open_atomic(&mut self, id: &[u8], count: u64, is_first: bool, limits: &Limits) -> Result<(), Refusal> {
        if self.batches.atomic.contains_key(id) {
            return Ok(());
        }
        if !is_first {
            return Err(match count > limits.msgs {
                true => errors::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with("size", limits.msgs).into(),
                false => errors::ATOMIC_PUBLISH_INCOMPLETE_BATCH.into(),
            });
        }
        if self.batches.atomic.len() >= limits.per_stream {
            return Err(errors::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT.into());
        }
        let place = Place::take(&self.world.batches, Kind::Atomic, limits.total);
        let place = place.ok_or(errors::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT)?;
        let due = self.now.elapsed().plus(limits.timeout_ns);
        self.batches.is_due_at(due);
        self.batches.atomic.insert(id.into(), Staged::new(place, due));
        Ok(())
    }

    /// Adds a message to its batch, which is open; or says why the batch comes to nothing.
    fn stage(
        &mut self,
        id: &[u8],
        msg: &StagedMsg<'_>,
        (seq, commit): (u64, Commit),
        limits: &Limits,
    ) -> Result<(), (Reason, ApiError)> {
        let incomplete = || (Reason::Incomplete, errors::ATOMIC_PUBLISH_INCOMPLETE_BATCH.into());
        let staged = self.batches.atomic.get_mut(id).ok_or_else(incomplete)?;
        staged.due = self.now.elapsed().plus(limits.timeout_ns);
        staged.last_seq += 1;
        if staged.last_seq != seq || (seq == 1 && commit == Commit::EndOfBatch) {
            return Err(incomplete());
        }
        if commit.count(seq) > limits.msgs {
            let error = errors::ATOMIC_PUBLISH_TOO_LARGE_BATCH.with("size", limits.msgs);
            return Err((Reason::Large, error));
        }
        let has_room = commit == Commit::EndOfBatch || staged.push(msg);
        has_room.then_some(()).ok_or_else(incomplete)
    }
}
