//! What a message rolls up (`Nats-Rollup`) goes when the message is stored. Where that is much, the messages are gone for
//! everybody from that moment on, and are removed in slices, as those of a purge; the publisher is answered when the last
//! is removed, so that what was acknowledged is whole after a crash.

use super::answer::Told;
use super::check::{Refusal, Rollup};
use super::expected::IfLong;
use crate::consumer::FEW;
use crate::error::ApiError;
use crate::outbox::{Outbox, Says};
use crate::store::Msg;
use crate::stream::{Inner, PurgeRequest};

/// A message that rolls up many.
#[derive(Debug, Default)]
pub(in crate::stream) struct RollingUp {
    /// The subject that is rolled up, empty for all.
    pub(in crate::stream) filter: Box<[u8]>,
    /// What its publisher is told when they are removed.
    answer: Outbox,
    /// Whether it is stored.
    begun: bool,
}

impl Rollup {
    /// What is purged for a message on `subject`.
    fn filter(self, subject: &[u8]) -> &[u8] {
        if self == Self::Subject { subject } else { b"" }
    }
}

impl Inner {
    /// Whether a message may be taken now that rolls up others. If there are many, they go in slices.
    pub(in crate::stream) fn prepare_roll_up(
        &mut self,
        rollup: Rollup,
        subject: &[u8],
        if_long: IfLong,
    ) -> bool {
        if if_long == IfLong::FindOut || !self.rolls_up_many(rollup, subject) {
            return true;
        }
        if if_long == IfLong::Ask || self.purging.is_some() {
            self.lasts.ask_to_roll_up();
            return false;
        }
        let filter = rollup.filter(subject).into();
        self.rolling_up = Some(Box::new(RollingUp { filter, ..RollingUp::default() }));
        true
    }

    /// Whether a message on `subject` rolls up many.
    pub(in crate::stream) fn rolls_up_many(&self, rollup: Rollup, subject: &[u8]) -> bool {
        let held = match rollup {
            Rollup::None => 0,
            Rollup::Subject => self.store.index().get(subject).map_or(0, |entry| entry.count),
            Rollup::All => self.store.totals().msgs,
        };
        held > FEW as u64
    }

    /// Removes what the message at `seq` rolls up, or begins to; the message itself stays, if it was `stored`.
    #[inline(always)]
    pub(super) fn roll_up(
        &mut self,
        rollup: Rollup,
        subject: &[u8],
        seq: u64,
        stored: Option<&Msg<'_>>,
    ) -> Result<(), Refusal> {
        // Few messages do.
        if rollup == Rollup::None { Ok(()) } else { self.remove_rolled_up(rollup, subject, seq, stored) }
    }

    fn remove_rolled_up(
        &mut self,
        rollup: Rollup,
        subject: &[u8],
        seq: u64,
        stored: Option<&Msg<'_>>,
    ) -> Result<(), Refusal> {
        let filter = rollup.filter(subject);
        if let Some(rolling) = &mut self.rolling_up {
            rolling.begun = true;
            self.begin_roll_up(filter, seq);
            return Ok(());
        }
        let _holding = self.rolls_up_many(rollup, subject).then(|| self.busy.begin());
        let keep = u64::from(stored.is_some());
        self.purge_before(&PurgeRequest { filter, seq: 0, keep }, stored)
            .map_err(|error| Refusal::Error(self.fail_half_way(error)))
    }

    /// Tells the publisher of a message that it is stored; not before what it rolls up is removed.
    #[inline(always)]
    pub(super) fn tell_stored(&mut self, reply: &[u8], seq: u64, told: Told<'_>) {
        let answers = self.rolling_up.as_mut().map_or(&mut *self.outbox, |rolling| &mut rolling.answer);
        self.acks.tell(answers, reply, seq, told);
    }

    /// What the message rolls up that was just taken, if that goes in slices.
    pub(in crate::stream) fn take_rolling(&mut self) -> Option<Box<RollingUp>> {
        self.rolling_up.take().filter(|rolling| rolling.begun)
    }

    /// What a message rolled up is removed.
    pub(in crate::stream) fn answer_rolled(&mut self, rolling: &RollingUp) {
        if !self.closed {
            // It is as durable as the last of the removals.
            self.touch();
            rolling.answer.queued().for_each(|answer| self.outbox.push_queued(&answer));
        }
    }

    /// It could not be removed.
    pub(in crate::stream) fn refuse_rolled(&mut self, rolling: &RollingUp, error: &ApiError) {
        for answer in rolling.answer.queued().filter(|answer| matches!(answer.says, Says::Stored(_))) {
            self.acks.refused(&mut self.outbox, answer.msg.to, error);
        }
    }
}

#[cfg(test)]
mod tests;
