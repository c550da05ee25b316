//! Pictures of what a stream holds, taken while it goes on, so that a start after a crash reads only what came since.

use super::{Host, Stream};
use crate::store::Derived;
use std::sync::atomic::Ordering;

/// A stream in which more messages expire by themselves does not say in pictures when they do: to list them takes the lock.
/// Blocks with such messages are read by the next start.
const EXPIRIES_MAX: usize = 100_000;

impl Stream {
    /// Has somebody take a picture, unless one is being taken.
    #[cold]
    pub(super) fn picture_later(&self, host: &dyn Host) {
        if let Some(me) = self.me.upgrade()
            && !self.is_pictured.swap(true, Ordering::AcqRel)
        {
            host.run_later(Box::new(move || {
                me.take_picture(&*me.world.host);
                me.is_pictured.store(false, Ordering::Release);
            }));
        }
    }

    /// Takes a picture: begins it with the lock, which takes no time, writes it without, and makes durable what it shows
    /// before it counts.
    fn take_picture(&self, host: &dyn Host) {
        let begun = {
            let mut inner = self.lock();
            if inner.closed || inner.try_flush().is_err() {
                return;
            }
            let derived = match inner.expiry.count() {
                0..=EXPIRIES_MAX => inner.derived(),
                _ => Derived { expiries: None, ..inner.derived_ids() },
            };
            inner.store.begin_picture(derived)
        };
        let Some(begun) = begun else { return };
        let taken = begun.run();
        self.sync_with_others(host);
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        if let Err(error) = inner.store.end_picture(taken) {
            tracing::warn!(stream = self.name, "a start after a crash will read more blocks: {error}");
        }
    }
}
