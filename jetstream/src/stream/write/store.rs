//! Last stop: the message is stored, with all that follows from that.

use super::answer::Told;
use super::check::{Refusal, Rollup};
use super::decode::PublishHeaders;
use crate::config::Retention;
use crate::error::catalogue as errors;
use crate::message::Inbound;
use crate::store::{Msg, StoreError};
use crate::stream::Inner;
use crate::stream::inner::store_error;
use crate::ttl::{Ttl, parse_ttl};

impl Inner {
    pub(in crate::stream) fn store_checked(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        told: Told<'_>,
    ) -> Result<(), Refusal> {
        self.check_server()?;
        if self.interests_nobody(msg.subject) {
            return self.skip(msg, headers, rollup, told);
        }
        let size_bytes = self.msg_size(msg.subject, block, msg.payload);
        self.check_account(size_bytes)?;
        let (mut ttl, mut longer) = (Ttl::Unset, None);
        if !headers.ttl.is_empty() {
            let asked = parse_ttl(headers.ttl).ok_or(errors::MESSAGE_TTL_INVALID)?;
            (ttl, longer) = self.lengthen_ttl(asked, block);
        }
        let block = longer.as_deref().unwrap_or(block);
        self.check_room(msg.subject, size_bytes, !headers.rollup.is_empty())?;
        self.store_now(msg, block, headers, (rollup, ttl), told)
    }

    /// Whether nobody would get a message, and the stream does not keep such.
    pub(in crate::stream) fn interests_nobody(&self, subject: &[u8]) -> bool {
        self.config.retention == Retention::Interest && !self.consumers.interested(subject)
    }

    /// Stores a message that may be stored.
    #[inline(always)]
    pub(in crate::stream) fn store_now(
        &mut self,
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        (rollup, ttl): (Rollup, Ttl),
        told: Told<'_>,
    ) -> Result<(), Refusal> {
        let place = (self.commit.next_seq(self.store.totals().last_seq), self.stamp_ns());
        self.store_as(place, msg, block, headers, (rollup, ttl), told)
    }

    /// As [`store_now`](Self::store_now), under a sequence and a time that are given.
    #[inline(always)]
    pub(in crate::stream) fn store_as(
        &mut self,
        (seq, ts_ns): (u64, i64),
        msg: &Inbound<'_>,
        block: &[u8],
        headers: &PublishHeaders<'_>,
        (rollup, ttl): (Rollup, Ttl),
        told: Told<'_>,
    ) -> Result<(), Refusal> {
        let republish = self.begin_republish(msg.subject);
        if self.consumers.any_lags() {
            let size_bytes = self.msg_size(msg.subject, block, msg.payload);
            self.feed_before_removal(msg.subject, size_bytes, rollup);
        }
        let stored = Msg { seq, ts_ns, subject: msg.subject, headers: block, payload: msg.payload };
        self.touch();
        let most = self.config.most_msgs_per_subject().unwrap_or(u64::MAX);
        let put = self.store.put(&stored, most).map_err(|error| refusal(&error))?;
        self.set_expiry(seq, stored.ts_ns, ttl);
        self.note_schedule(&stored);
        self.note_id(headers.msg_id, seq);
        self.enforce_limits(msg.subject, put).map_err(|error| self.fail_half_way(error))?;
        self.roll_up(rollup, msg.subject, seq, Some(&stored))?;
        self.end_schedule_of(headers, Some(&stored))?;
        if let Some(republish) = republish {
            self.republish(republish, &stored);
        }
        self.tell_stored(msg.reply, seq, told);
        if !self.consumers.is_empty() {
            let (consumers, mut ctx) = self.parts();
            consumers.on_stored(&mut ctx, &stored);
        }
        Ok(())
    }

    /// Nobody is interested: the message takes a sequence and is gone.
    pub(in crate::stream) fn skip(
        &mut self,
        msg: &Inbound<'_>,
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        told: Told<'_>,
    ) -> Result<(), Refusal> {
        let seq = self.commit.next_seq(self.store.totals().last_seq);
        self.skip_as(seq, msg, headers, rollup, told)
    }

    /// As [`skip`](Self::skip), with the sequence that it takes.
    pub(in crate::stream) fn skip_as(
        &mut self,
        seq: u64,
        msg: &Inbound<'_>,
        headers: &PublishHeaders<'_>,
        rollup: Rollup,
        told: Told<'_>,
    ) -> Result<(), Refusal> {
        self.touch();
        self.store.skip_to(seq, self.stamp_ns()).map_err(|error| refusal(&error))?;
        self.note_id(headers.msg_id, seq);
        self.roll_up(rollup, msg.subject, seq, None)?;
        self.end_schedule_of(headers, None)?;
        if self.config.allow_msg_schedules {
            self.note_follower(msg.headers);
        }
        self.tell_stored(msg.reply, seq, told);
        Ok(())
    }

    fn note_id(&mut self, id: &[u8], seq: u64) {
        self.last_msg_id.clear();
        self.last_msg_id.extend_from_slice(id);
        if !id.is_empty() {
            self.dedupe.remember(id, seq, self.now.elapsed());
        }
    }
}

impl Inner {
    /// Removes the schedule that a message ends, if it ends one and the stream lets messages remove others: mirrors and
    /// streams of sources seldom do.
    #[inline(always)]
    fn end_schedule_of(
        &mut self,
        headers: &PublishHeaders<'_>,
        stored: Option<&Msg<'_>>,
    ) -> Result<(), Refusal> {
        if !self.config.lets_messages_remove()
            || headers.scheduler.is_empty()
            || headers.schedule_next != b"purge"
        {
            return Ok(());
        }
        self.end_schedule(headers.scheduler, stored)
            .map_err(|error| Refusal::Error(self.fail_half_way(error)))
    }
}

fn refusal(error: &StoreError) -> Refusal {
    Refusal::Error(store_error(error))
}
