//! The way of a message into its stream, one stop a file: [`decode`] what its headers ask for, [`check`] it, [`edit`]
//! what is kept of it, [`store`] it with all that follows from that. [`answer`] writes what its publisher is told.
//!
//! Nothing leaves here: answers and deliveries are queued, and leave with the commit (`stream/commit`).

mod answer;
mod check;
mod decode;
mod dedupe;
mod edit;
mod expected;
mod limits;
mod rewrite;
mod roll_up;
mod store;
mod trace;

pub(crate) use answer::push_number;
pub(super) use answer::{Acks, Told};
pub(super) use check::{Refusal, Rollup};
pub(super) use decode::{PublishHeaders, parse_int, parse_u64};
pub(super) use dedupe::Dedupe;
pub(super) use edit::stored_block;
pub use expected::TakesLong;
pub(super) use expected::{IfLong, Lasts};
pub(super) use rewrite::Rewrite;
pub(super) use roll_up::RollingUp;
pub use trace::Traced;

use super::Inner;
use super::batch::{FAST_SUFFIX, fast_reply};
use crate::error::catalogue as errors;
use crate::message::Inbound;

/// Status of the answer to a message that does not fit the stream's buffer.
const OVERFLOW: &[u8] = b"NATS/1.0 429 Too Many Requests\r\n\r\n";

impl Inner {
    /// Takes a message, or answers why not. The answer and all that follows are queued.
    #[inline]
    pub(in crate::stream) fn publish(&mut self, msg: &Inbound<'_>, if_long: IfLong) {
        if !self.takes_more() {
            return;
        }
        if self.overflows(msg) {
            return self.overflow(msg);
        }
        if self.rewrite.transforms() {
            return self.publish_transformed(msg, if_long);
        }
        self.publish_as_is(msg, if_long);
    }

    #[inline(never)]
    fn publish_transformed(&mut self, msg: &Inbound<'_>, if_long: IfLong) {
        self.with_stored_subject(msg, |inner, msg| inner.publish_as_is(msg, if_long));
    }

    /// As [`publish`](Self::publish), of a message under the subject that it is stored under.
    pub(in crate::stream) fn publish_as_is(&mut self, msg: &Inbound<'_>, if_long: IfLong) {
        let answers = !self.config.no_ack && !msg.reply.is_empty();
        self.hurry_purge(msg.subject);
        if let Err(refusal) = self.take(msg, answers, if_long) {
            self.turn_down(msg.reply, answers, refusal);
        }
    }

    /// Answers a message that is not stored, if its publisher is to be answered.
    fn turn_down(&mut self, reply: &[u8], answers: bool, refusal: Refusal) {
        match &refusal {
            Refusal::Duplicate(seq) if answers => {
                self.acks.duplicate(&mut self.outbox, reply, *seq);
            }
            Refusal::Error(error) if answers => self.acks.refused(&mut self.outbox, reply, error),
            Refusal::Duplicate(_) | Refusal::Error(_) => {}
        }
        self.refused = Some(refusal);
    }

    /// Whether a message alone exceeds what may be buffered for the stream.
    #[inline(always)]
    fn overflows(&self, msg: &Inbound<'_>) -> bool {
        let size_bytes = msg.subject.len() + msg.reply.len() + msg.headers.len() + msg.payload.len();
        size_bytes as u64 > self.world.config.max_buffered_bytes
    }

    /// Answers a message that alone exceeds what may be buffered for the stream (nats-server v2.15.2, observed). A
    /// stream without acknowledgements answers too.
    #[cold]
    fn overflow(&mut self, msg: &Inbound<'_>) {
        if !msg.reply.is_empty() {
            self.acks.refused_with(
                &mut self.outbox,
                msg.reply,
                OVERFLOW,
                &errors::STREAM_TOO_MANY_REQUESTS.error(),
            );
        }
    }

    fn take(&mut self, msg: &Inbound<'_>, answers: bool, if_long: IfLong) -> Result<(), Refusal> {
        if msg.headers.is_empty() && !msg.reply.ends_with(FAST_SUFFIX) {
            self.check_size(msg.subject, msg.headers, msg.payload)?;
            if self.config.allow_msg_counter {
                return Err(errors::MESSAGE_INCR_MISSING.into());
            }
            return self.store_checked(msg, b"", &PublishHeaders::NONE, Rollup::None, Told::stored(answers));
        }
        let scanned = PublishHeaders::scan(msg.headers);
        if if_long != IfLong::FindOut
            && !(scanned.expected_last_subject.is_empty() && scanned.batch_id.is_empty())
            && self.asks_first(&scanned, msg.headers)?
        {
            return Ok(());
        }
        let rewritten = stored_block(msg.headers, scanned.request_info);
        let block = rewritten.as_deref().unwrap_or(msg.headers);
        if fast_reply(msg).is_some() {
            return self.take_fast(msg, block, answers);
        }
        if !scanned.batch_id.is_empty() {
            return self.take_atomic(msg, block, scanned.batch_id, answers);
        }
        let (scheduled, rollup) = self.check(msg, block, &scanned)?;
        let block = scheduled.as_deref().unwrap_or(block);
        if rollup != Rollup::None && !self.prepare_roll_up(rollup, msg.subject, if_long) {
            return Ok(());
        }
        if self.config.allow_msg_counter {
            return self.store_counted(msg, block, &scanned, rollup, answers);
        }
        self.store_checked(msg, block, &scanned, rollup, Told::stored(answers))
    }

    /// What a message with headers must satisfy that stands for itself. Gives its header block where that is to be another
    /// one, and what it rolls up.
    #[inline(always)]
    fn check(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        scanned: &PublishHeaders<'_>,
    ) -> Result<(Option<Vec<u8>>, Rollup), Refusal> {
        self.check_size(msg.subject, block, msg.payload)?;
        self.check_increment(scanned, msg.payload)?;
        self.check_stream(scanned)?;
        self.check_expected(msg.subject, scanned)?;
        let scheduled = self.check_schedule(msg.subject, scanned, block, |_| None)?;
        self.check_source(scanned)?;
        self.check_ids(scanned)?;
        let mut rollup = self.check_rollup(scanned)?;
        if let Some(block) = &scheduled {
            rollup = Rollup::Subject;
            self.check_size(msg.subject, block, msg.payload)?;
        }
        Ok((scheduled, rollup))
    }
}
