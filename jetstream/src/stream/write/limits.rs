//! Limits on what a stream holds: what exceeds them goes.

use super::check::Rollup;
use crate::config::Discard;
use crate::consumer::FEED_MSGS;
use crate::filter::Filter;
use crate::store::{Removed, StoreError, Stored};
use crate::stream::Inner;
use std::ops::ControlFlow;

impl Inner {
    /// Before a message on `subject` is stored that may push out others: consumers that wait for their turn get what
    /// they can of those. Asked where a consumer lags.
    pub(super) fn feed_before_removal(&mut self, subject: &[u8], size_bytes: u64, rollup: Rollup) {
        if self.purging.is_some() {
            return;
        }
        let any_subject = rollup == Rollup::All || self.exceeds_totals(1, size_bytes);
        let this_subject = rollup == Rollup::Subject
            || self
                .config
                .most_msgs_per_subject()
                .zip(self.store.index().get(subject))
                .is_some_and(|(most, entry)| entry.count >= most);
        let (consumers, mut ctx) = self.parts();
        if any_subject {
            consumers.pump(&mut ctx, FEED_MSGS);
        } else if this_subject {
            consumers.feed_before_removal(&mut ctx, subject);
        }
    }

    /// Whether the oldest messages would have to go with so much more in the stream.
    fn exceeds_totals(&self, more_msgs: u64, more_bytes: u64) -> bool {
        if self.config.discard != Discard::Old {
            return false;
        }
        let state = self.store.totals();
        self.config.most_msgs().is_some_and(|most| state.msgs + more_msgs > most)
            || self.config.most_bytes().is_some_and(|most| state.bytes + more_bytes > most)
    }

    /// After a message on `subject` was stored, which brought `stored`.
    #[inline(always)]
    pub(super) fn enforce_limits(&mut self, subject: &[u8], stored: Stored) -> Result<(), StoreError> {
        if let Some(Removed { seq, .. }) = stored.replaced? {
            self.is_gone(seq, subject);
            // A publish exceeds the limit by one; only after a change of the limit is there more to do.
            if let Some(most) = self.config.most_msgs_per_subject()
                && stored.entry.count > most
                && !self.is_tightening
            {
                self.enforce_subject(subject, most, usize::MAX)?;
            }
        }
        if self.exceeds_totals(0, 0) {
            let most = if self.is_tightening { 1 } else { usize::MAX };
            self.enforce_totals(most)?;
        }
        Ok(())
    }

    /// Removes at most so many messages of a subject that are over its limit. Says whether there are more.
    pub(in crate::stream) fn enforce_subject(
        &mut self,
        subject: &[u8],
        most: u64,
        removals: usize,
    ) -> Result<bool, StoreError> {
        for _ in 0..removals {
            let Some(entry) = self.store.index().get(subject).filter(|entry| entry.count > most) else {
                return Ok(false);
            };
            if !self.remove(entry.first_seq, subject, false)? || entry.count - 1 <= most {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Removes at most so many messages that are over the stream's limits. Says whether there are more.
    pub(in crate::stream) fn enforce_totals(&mut self, removals: usize) -> Result<bool, StoreError> {
        for _ in 0..removals {
            let state = self.store.totals();
            if !self.exceeds_totals(0, 0) || state.msgs == 0 || !self.remove_seq(state.first_seq, false)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Holds everything against the limits: what was read from a directory may exceed them.
    pub(in crate::stream) fn enforce_recovered(&mut self) -> Result<(), StoreError> {
        self.enforce_totals(usize::MAX)?;
        let Some(most) = self.config.most_msgs_per_subject() else { return Ok(()) };
        let index = self.store.index();
        let one_each = index.len() as u64 == self.store.totals().msgs;
        let known = self.store.recovered().most_per_subject;
        if (one_each && most > 0) || known.is_some_and(|known| known <= most) {
            return Ok(());
        }
        let mut over: Vec<Box<[u8]>> = Vec::new();
        index.for_each(&Filter::All, |subject, entry| {
            if entry.count > most {
                over.push(subject.into());
            }
            ControlFlow::Continue(())
        });
        for subject in over {
            self.enforce_subject(&subject, most, usize::MAX)?;
        }
        Ok(())
    }
}
