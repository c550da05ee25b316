//! Limits on what a stream holds: what exceeds them goes.

use super::Inner;
use crate::config::{Discard, StreamConfig};
use crate::filter::Filter;
use crate::store::StoreError;
use std::ops::ControlFlow;

impl Inner {
    /// After a message on `subject` was stored.
    pub(super) fn enforce_limits(&mut self, subject: &[u8]) -> Result<(), StoreError> {
        if let Some(most) = limit(self.config.max_msgs_per_subject) {
            self.enforce_subject(subject, most)?;
        }
        self.enforce_totals()
    }

    fn enforce_subject(&mut self, subject: &[u8], most: u64) -> Result<(), StoreError> {
        while let Some(entry) = self.store.index().get(subject).filter(|entry| entry.count > most) {
            // A publish exceeds the limit by one; only after a change of the limit is there more to do.
            if !self.remove(entry.first_seq, subject, false)? || entry.count - 1 <= most {
                break;
            }
        }
        Ok(())
    }

    fn enforce_totals(&mut self) -> Result<(), StoreError> {
        if self.config.discard != Discard::Old {
            return Ok(());
        }
        let (most_msgs, most_bytes) = (limit(self.config.max_msgs), limit(self.config.max_bytes));
        if most_msgs.is_none() && most_bytes.is_none() {
            return Ok(());
        }
        loop {
            let state = self.store.state();
            let over = most_msgs.is_some_and(|most| state.msgs > most)
                || most_bytes.is_some_and(|most| state.bytes > most);
            if !over || state.msgs == 0 || !self.remove_seq(state.first_seq, false)? {
                return Ok(());
            }
        }
    }

    /// After the configuration changed: everything is held against the new limits.
    pub(super) fn enforce_all(&mut self, old: &StreamConfig) -> Result<(), StoreError> {
        let most = limit(self.config.max_msgs_per_subject);
        let held = limit(old.max_msgs_per_subject);
        if most.is_none() || most.zip(held).is_some_and(|(most, held)| held <= most) {
            return self.enforce_totals();
        }
        self.enforce_recovered()
    }

    /// Holds everything against the limits: what was read from a directory may exceed them.
    pub(super) fn enforce_recovered(&mut self) -> Result<(), StoreError> {
        self.enforce_totals()?;
        let Some(most) = limit(self.config.max_msgs_per_subject) else { return Ok(()) };
        let mut over: Vec<Box<[u8]>> = Vec::new();
        self.store.index().for_each(&Filter::All, |subject, entry| {
            if entry.count > most {
                over.push(subject.into());
            }
            ControlFlow::Continue(())
        });
        for subject in over {
            self.enforce_subject(&subject, most)?;
        }
        Ok(())
    }
}

/// A limit that is set.
fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|most| *most > 0)
}
