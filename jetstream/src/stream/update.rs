//! Changing a stream's configuration.

use super::schedule::Schedules;
use super::write::Rewrite;
use super::{Inner, NODES, Stream, let_others};
use crate::config::{Retention, StreamConfig};
use crate::filter::Filter;
use crate::settings::Tier;
use crate::store::StoreError;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Messages that one hold of the stream's lock removes or looks at.
const SLICE_MSGS: usize = 512;

/// What a stream is yet to be held against, after its configuration has changed.
#[derive(Debug, Default)]
struct ToHold {
    /// Where messages with TTLs are looked for: the stream begins to honour them.
    ttls_from: Option<u64>,
    /// How many messages of a subject may stay.
    per_subject: Option<u64>,
    /// Where subjects with more are looked for; `None` before and after.
    next: Option<Vec<u8>>,
    /// Those that were found.
    over: Vec<Box<[u8]>>,
    is_walked: bool,
}

impl Stream {
    /// Takes a new configuration, which was checked against the old one, and holds the stream's content against it, in
    /// slices.
    ///
    /// # Errors
    /// What has to go cannot be removed; the old configuration holds again then.
    pub(crate) fn reconfigure(&self, config: StreamConfig) -> Result<(), StoreError> {
        let mut inner = self.lock();
        // What waits belongs to the old configuration, whatever becomes of the new one.
        inner.flush();
        let old = inner.adopt(Arc::new(config));
        let mut left = inner.to_hold(&old);
        inner.is_tightening = true;
        let held = loop {
            match inner.hold_slice(&mut left) {
                Ok(true) => {}
                other => break other.map(drop),
            }
            drop(inner);
            let_others();
            inner = self.lock();
        };
        inner.is_tightening = false;
        if let Err(error) = held {
            inner.adopt(old);
            return Err(error);
        }
        if old.retention != inner.config.retention && inner.config.retention == Retention::Interest {
            let (consumers, ctx) = inner.parts();
            consumers.begin_to_release(ctx.store);
        }
        inner.expire();
        drop(inner);
        self.sweep();
        Ok(())
    }
}

impl Inner {
    fn to_hold(&self, old: &StreamConfig) -> ToHold {
        let begins_ttls = self.config.allow_msg_ttl && !old.allow_msg_ttl;
        let held = old.most_msgs_per_subject();
        let per_subject =
            self.config.most_msgs_per_subject().filter(|most| held.is_none_or(|held| held > *most));
        ToHold { ttls_from: begins_ttls.then_some(0), per_subject, ..ToHold::default() }
    }

    /// Holds the stream against its limits, and keeps what that did. Says whether there is more to do.
    fn hold_slice(&mut self, left: &mut ToHold) -> Result<bool, StoreError> {
        if self.closed {
            return Ok(false);
        }
        let more = self.hold_some(left).map_err(|error| {
            let told = StoreError::Poisoned(error.to_string());
            self.fail_half_way(error);
            self.flush();
            told
        })?;
        self.follow_up();
        self.try_flush().map_err(|error| StoreError::Poisoned(error.description.into_owned()))?;
        Ok(more)
    }

    fn hold_some(&mut self, left: &mut ToHold) -> Result<bool, StoreError> {
        if let Some(from) = left.ttls_from {
            left.ttls_from = self.reload_ttls(from, SLICE_MSGS);
            return Ok(true);
        }
        if self.schedules.are_incomplete() {
            self.look_for_schedules(SLICE_MSGS);
            return Ok(true);
        }
        if self.enforce_totals(SLICE_MSGS)? {
            return Ok(true);
        }
        let Some(most) = left.per_subject else { return Ok(false) };
        if let Some(subject) = left.over.last() {
            if !self.enforce_subject(subject, most, SLICE_MSGS)? {
                left.over.pop();
            }
            return Ok(true);
        }
        if left.is_walked {
            return Ok(false);
        }
        let over = &mut left.over;
        left.next =
            self.store.index().walk_part(&Filter::All, left.next.as_deref(), NODES, |subject, seqs| {
                if seqs.entry().count > most {
                    over.push(subject.into());
                }
                ControlFlow::Continue(())
            });
        left.is_walked = left.next.is_none();
        Ok(true)
    }

    /// Goes by another configuration from here on; returns the one before.
    fn adopt(&mut self, config: Arc<StreamConfig>) -> Arc<StreamConfig> {
        let old = std::mem::replace(&mut self.config, config);
        // One that began without tiers counts for its tier from its next change on (nats-server v2.15.2).
        if self.tier == Tier::Flat && self.limits.get().of(Tier::Single).is_some() {
            self.tier = Tier::Single;
            self.account.used.note(self.tier);
        }
        if old.duplicate_window_ns != self.config.duplicate_window_ns {
            self.dedupe.set_window(self.config.duplicate_window_ns);
        }
        if old.max_age_ns != self.config.max_age_ns {
            let first = self.store.state();
            self.expiry.set_age(0, None);
            if first.msgs > 0 {
                self.expiry.may_age(first.first_ts_ns, self.config.max_age_ns);
            }
        }
        match (old.allow_msg_schedules, self.config.allow_msg_schedules) {
            (false, true) => self.begin_schedules(),
            (true, false) => self.schedules = Schedules::default(),
            _ => {}
        }
        if (&old.mirror, &old.sources, old.mirror_direct)
            != (&self.config.mirror, &self.config.sources, self.config.mirror_direct)
        {
            self.adopt_origins();
        }
        self.batches.allow(self.config.allow_atomic, self.config.allow_batched);
        if (&old.subject_transform, &old.republish)
            != (&self.config.subject_transform, &self.config.republish)
        {
            self.rewrite = Rewrite::new(&self.config);
        }
        old
    }
}

#[cfg(test)]
mod tests;
