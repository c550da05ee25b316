//! The way of a message into the stream.

use super::checks::{Refusal, Rollup};
use super::headers::{PublishHeaders, Ttl, parse_ttl, stored_block, with_header};
use super::{Inbound, Inner, PurgeRequest};
use crate::api::catalogue as errors;
use crate::config::Retention;
use crate::store::{Msg, StoreError};

/// Reply subjects with this ending ask for a fast batch.
const FAST_BATCH_SUFFIX: &[u8] = b".$FI";

/// Status of the answer to a message that does not fit the stream's buffer.
const OVERFLOW: &[u8] = b"NATS/1.0 429 Too Many Requests\r\n\r\n";

impl Inner {
    /// Takes a message, or answers why not. The answer and all that follows are queued.
    pub(super) fn publish(&mut self, msg: &Inbound<'_>) {
        if self.closed {
            return;
        }
        let size_bytes = msg.subject.len() + msg.reply.len() + msg.headers.len() + msg.payload.len();
        if size_bytes as u64 > self.world.config.max_buffered_bytes {
            return self.overflow(msg);
        }
        if self.rewrite.transforms() {
            self.with_stored_subject(msg, Self::publish_as_is);
        } else {
            self.publish_as_is(msg);
        }
    }

    /// As [`publish`](Self::publish), of a message under the subject that it is stored under.
    pub(super) fn publish_as_is(&mut self, msg: &Inbound<'_>) {
        let answers = !self.config.no_ack && !msg.reply.is_empty();
        match self.take(msg, answers) {
            Ok(()) => {}
            Err(Refusal::Duplicate(seq)) if answers => {
                self.acks.stored(&mut self.outbox, msg.reply, seq, true);
            }
            Err(Refusal::Error(error)) if answers => {
                self.acks.refused(&mut self.outbox, msg.reply, &error);
            }
            Err(_) => {}
        }
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

    fn take(&mut self, msg: &Inbound<'_>, answers: bool) -> Result<(), Refusal> {
        if msg.headers.is_empty() && !msg.reply.ends_with(FAST_BATCH_SUFFIX) {
            self.check_size(msg.subject, msg.headers, msg.payload)?;
            return self.store_checked(msg, b"", &PublishHeaders::NONE, Rollup::None, answers);
        }
        if msg.reply.ends_with(FAST_BATCH_SUFFIX) {
            return Err(errors::BATCH_PUBLISH_DISABLED.into());
        }
        let scanned = PublishHeaders::scan(msg.headers);
        let rewritten = stored_block(msg.headers, scanned.request_info);
        let block = rewritten.as_deref().unwrap_or(msg.headers);
        self.check_size(msg.subject, block, msg.payload)?;
        self.check_features(&scanned)?;
        self.check_expected(msg.subject, &scanned)?;
        self.check_ids(&scanned)?;
        let rollup = self.check_rollup(&scanned)?;
        self.store_checked(msg, block, &scanned, rollup, answers)
    }

    fn store_checked(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        answers: bool,
    ) -> Result<(), Refusal> {
        self.check_server()?;
        if self.config.retention == Retention::Interest && !self.consumers.interested(msg.subject) {
            return self.skip(msg, headers, rollup, answers);
        }
        let size_bytes = self.store.msg_size(msg.subject.len(), block.len(), msg.payload.len());
        self.check_account(size_bytes)?;
        let ttl = parse_ttl(headers.ttl).ok_or(errors::MESSAGE_TTL_INVALID)?;
        let (ttl, longer) = self.lengthen_ttl(ttl, block);
        let block = longer.as_deref().unwrap_or(block);
        self.check_room(msg.subject, size_bytes, !headers.rollup.is_empty())?;

        let republish = self.begin_republish(msg.subject);
        self.feed_before_removal(msg.subject, size_bytes, rollup);
        let seq = self.next_seq();
        let stored =
            Msg { seq, ts_ns: self.stamp_ns(), subject: msg.subject, headers: block, payload: msg.payload };
        self.touch();
        let entry = self.store.append(&stored).map_err(|error| refusal(&error))?;
        self.set_expiry(seq, stored.ts_ns, ttl);
        self.note_id(headers.msg_id, seq);
        self.enforce_limits(msg.subject, entry).map_err(|error| self.spoil(error))?;
        self.roll_up(rollup, msg.subject, Some(&stored))?;
        if let Some(republish) = republish {
            self.republish(republish, &stored);
        }
        if answers {
            self.acks.stored(&mut self.outbox, msg.reply, seq, false);
        }
        let (consumers, mut ctx) = self.parts();
        consumers.on_stored(&mut ctx, &stored);
        Ok(())
    }

    /// Nobody is interested: the message takes a sequence and is gone.
    fn skip(
        &mut self,
        msg: &Inbound<'_>,
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        answers: bool,
    ) -> Result<(), Refusal> {
        let seq = self.next_seq();
        self.touch();
        self.store.skip_to(seq, self.stamp_ns()).map_err(|error| refusal(&error))?;
        self.note_id(headers.msg_id, seq);
        self.roll_up(rollup, msg.subject, None)?;
        if answers {
            self.acks.stored(&mut self.outbox, msg.reply, seq, false);
        }
        Ok(())
    }

    /// A TTL shorter than that of subject delete markers is raised to it, so that a marker cannot go before what it
    /// marks; not where there is no history.
    fn lengthen_ttl(&self, ttl: Ttl, block: &[u8]) -> (Ttl, Option<Vec<u8>>) {
        let least_secs = self.config.subject_delete_marker_ttl_ns / 1_000_000_000;
        match ttl {
            Ttl::Secs(secs) if secs < least_secs && self.config.max_msgs_per_subject != 1 => {
                (Ttl::Secs(least_secs), Some(with_header(block, "Nats-TTL", &least_secs.to_string())))
            }
            _ => (ttl, None),
        }
    }

    fn note_id(&mut self, id: &[u8], seq: u64) {
        self.last_msg_id.clear();
        self.last_msg_id.extend_from_slice(id);
        if !id.is_empty() {
            self.dedupe.remember(id, seq, self.now.elapsed());
        }
    }

    /// Removes what a message rolls up; the message itself stays, if it was `stored`.
    fn roll_up(&mut self, rollup: Rollup, subject: &[u8], stored: Option<&Msg<'_>>) -> Result<(), Refusal> {
        let keep = u64::from(stored.is_some());
        let filter = match rollup {
            Rollup::None => return Ok(()),
            Rollup::Subject => subject,
            Rollup::All => b"",
        };
        self.purge_before(&PurgeRequest { filter, seq: 0, keep, subjects: None }, stored)
            .map_err(|error| Refusal::Error(self.spoil(error)))
    }
}

fn refusal(error: &StoreError) -> Refusal {
    Refusal::Error(super::inner::store_error(error))
}
