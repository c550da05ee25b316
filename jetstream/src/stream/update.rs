//! Changing a stream's configuration.

use super::Inner;
use super::write::Rewrite;
use crate::config::{Retention, StreamConfig};
use crate::filter::Filter;
use crate::store::StoreError;
use std::sync::Arc;

impl Inner {
    /// Takes a new configuration, which was checked against the old one, and holds the stream's content against it.
    ///
    /// # Errors
    /// What has to go cannot be removed; the old configuration holds again then.
    pub(crate) fn reconfigure(&mut self, config: StreamConfig) -> Result<(), StoreError> {
        // What waits belongs to the old configuration, whatever becomes of the new one.
        self.flush();
        let old = self.adopt(Arc::new(config));
        let held = self.enforce_all(&old).and_then(|()| {
            let by_interest =
                old.retention != self.config.retention && self.config.retention == Retention::Interest;
            if by_interest { self.drop_unwanted() } else { Ok(()) }
        });
        if let Err(error) = held {
            self.adopt(old);
            let told = StoreError::Poisoned(error.to_string());
            self.fail_half_way(error);
            self.flush();
            return Err(told);
        }
        self.expire();
        self.try_flush().map_err(|error| StoreError::Poisoned(error.description.into_owned())).inspect_err(
            |_| {
                self.adopt(old);
            },
        )
    }

    /// Goes by another configuration from here on; returns the one before.
    fn adopt(&mut self, config: Arc<StreamConfig>) -> Arc<StreamConfig> {
        let old = std::mem::replace(&mut self.config, config);
        if old.duplicate_window_ns != self.config.duplicate_window_ns {
            self.dedupe.set_window(self.config.duplicate_window_ns);
        }
        if self.config.allow_msg_ttl && !old.allow_msg_ttl {
            self.reload_ttls();
        }
        if old.max_age_ns != self.config.max_age_ns {
            let first = self.store.state();
            self.expiry.set_age(0, None);
            if first.msgs > 0 {
                self.expiry.may_age(first.first_ts_ns, self.config.max_age_ns);
            }
        }
        if self.config.allow_msg_schedules && !old.allow_msg_schedules {
            self.recover_schedules();
        }
        self.batches.allow(self.config.allow_atomic, self.config.allow_batched);
        if (&old.subject_transform, &old.republish)
            != (&self.config.subject_transform, &self.config.republish)
        {
            self.rewrite = Rewrite::new(&self.config);
        }
        old
    }

    /// Removes what no consumer waits for: the stream begins to keep by interest. What no consumer ever wanted stays,
    /// unless there is no consumer at all (nats-server v2.15.2, observed).
    fn drop_unwanted(&mut self) -> Result<(), StoreError> {
        let none = self.consumers.is_empty();
        let mut from = 0;
        while let Some(msg) = self.store.next(&Filter::All, from)? {
            let seq = msg.seq;
            from = seq + 1;
            let wanted_once = none || self.consumers.interested(msg.subject);
            if wanted_once && !self.consumers.retains(seq, msg.subject) {
                self.remove_seq(seq, false)?;
            }
        }
        Ok(())
    }
}
