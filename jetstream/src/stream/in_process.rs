//! Access for whoever runs in the engine's process: publishes that are answered at once, reads, and waking up after
//! a change.

use super::{Inbound, Stream};
use crate::host::Host;
use crate::store::Store;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// Those who wait for a stream to change.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    /// Whether anyone waits: all that a publish asks where nobody does.
    any: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Watchers {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        self.any.store(true, Ordering::SeqCst);
    }

    /// Wakes everyone. Nobody may hold the stream's locks: a waker runs foreign code.
    pub(super) fn wake(&self) {
        if self.any.swap(false, Ordering::SeqCst) {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Stream {
    /// Takes a message as [`Stream::publish`] does and commits it before anyone else has a turn, so that the answer
    /// reaches `host` before this returns.
    pub fn publish_and_commit(&self, msg: &Inbound<'_>, host: &dyn Host) {
        let mut inner = self.settled();
        inner.publish(msg);
        inner.settle();
        inner.sync_now();
        self.release(inner, host);
    }

    /// Lends out the stream's messages, for reading. What is there is as durable as the stream is configured to be.
    pub fn with_store<R>(&self, read: impl FnOnce(&mut dyn Store) -> R) -> R {
        let mut inner = self.settled();
        read(&mut *inner.store)
    }

    /// Wakes once, after the next commit or when the stream closes. Whoever registers looks at the stream again
    /// afterwards, since it may have changed before.
    pub fn wake_on_change(&self, waker: &Waker) {
        self.watchers.add(waker);
    }

    /// Wakes whoever waits for a change. Called without the stream's lock.
    pub(crate) fn wake_watchers(&self) {
        self.watchers.wake();
    }

    /// Whether the stream was deleted or shut down.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }
}
