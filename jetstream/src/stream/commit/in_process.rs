//! Access for whoever runs in the engine's process: publishes that are answered at once, reads, and waking up after
//! a change.
//!
//! Where nothing may be said before it is on the disk, callers wait for that as connections do: without the stream's
//! lock, and with one sync for all who wait. Whoever finds none running runs the next one itself.

use crate::error::ApiError;
use crate::message::Inbound;
use crate::outbox::{Caller, TO_CALLER};
use crate::store::Store;
use crate::stream::write::IfLong;
use crate::stream::{Host, Inner, Stream};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Waker;

/// A reader asks so often for a sync of what it meets before it holds the stream up while it syncs itself: others may
/// write without end.
const SHARED_SYNCS_MAX: usize = 2;

/// What became of a caller's message: the sequence that it is stored as, if the stream says so, or why it is not.
type Outcome = Result<Option<u64>, ApiError>;

/// Answers to callers that wait for the disk, whoever runs the sync.
#[derive(Debug, Default)]
pub(in crate::stream) struct Answers {
    last: AtomicU32,
    come: Mutex<HashMap<Caller, Outcome>>,
    changed: Condvar,
}

impl Answers {
    /// A number that no other caller has who waits.
    fn caller(&self) -> Caller {
        loop {
            if let Some(caller) = Caller::new(self.last.fetch_add(1, Ordering::Relaxed)) {
                return caller;
            }
        }
    }

    /// Takes what leaves for a caller.
    #[inline(never)]
    pub(super) fn take_in(&self, caller: Caller, outcome: Outcome) {
        self.come.lock().insert(caller, outcome);
        self.changed.notify_all();
    }

    /// What has come for a caller, if anything has.
    fn take(&self, caller: Caller) -> Option<Outcome> {
        self.come.lock().remove(&caller)
    }

    /// Waits for what is on its way to a caller.
    fn wait(&self, caller: Caller) -> Outcome {
        let mut come = self.come.lock();
        loop {
            match come.remove(&caller) {
                Some(outcome) => return outcome,
                None => self.changed.wait(&mut come),
            }
        }
    }
}

/// Those who wait for a stream to change.
#[derive(Debug, Default)]
pub(in crate::stream) struct Watchers {
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
    #[inline]
    pub(in crate::stream) fn wake(&self) {
        if self.any.load(Ordering::SeqCst) {
            self.wake_all();
        }
    }

    #[inline(never)]
    fn wake_all(&self) {
        if self.any.swap(false, Ordering::SeqCst) {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Stream {
    /// Takes a message as [`Stream::publish`] does and commits it, before this returns. Blocks while the disk works, where
    /// nothing may be said before. Returns the sequence that the message is stored as, or that holds it already; none
    /// where the stream is closed or does not acknowledge. Who waits for it is this caller: `reply` is not looked at.
    ///
    /// # Errors
    /// Why the stream does not take the message, or could not keep it.
    pub fn publish_and_commit(&self, msg: &Inbound<'_>, host: &dyn Host) -> Result<Option<u64>, ApiError> {
        let caller = self.answers.caller();
        let mut inner = self.inner.lock();
        inner.now.renew();
        let before = inner.outbox.len();
        inner.publish(&Inbound { reply: TO_CALLER, ..*msg }, IfLong::FindOut);
        // A stream may be configured not to answer.
        let answers = inner.outbox.keep_for_caller(before, caller);
        inner.follow_up();
        if !inner.syncs_always() {
            self.commit_locked(inner, host);
            // This thread has no turn of its own at whose end deliveries would leave.
            host.end_turn();
            return self.answers.take(caller).unwrap_or(Ok(None));
        }
        inner.arm();
        if !answers {
            drop(inner);
            self.sync_with_others(host);
            return Ok(None);
        }
        drop(self.sync_while(inner, host, |inner| inner.is_queued(caller)));
        // By now it is with whoever ran the sync that it waited for.
        self.answers.wait(caller)
    }

    /// Waits for the sync that runs, if one does, and then makes what is left durable.
    pub(in crate::stream) fn sync_with_others(&self, host: &dyn Host) {
        let more = self.sync(host);
        host.end_turn();
        // What others queued meanwhile is theirs to wait for.
        if more && let Some(me) = self.me.upgrade() {
            host.sync_later(&me);
        }
    }

    /// Lends out the stream's messages, for reading. What is there is as durable as the stream is configured to be.
    pub fn with_store<R>(&self, read: impl FnOnce(&mut dyn Store) -> R) -> R {
        let mut inner = self.lock_durable();
        read(&mut *inner.store)
    }

    /// The stream's lock, when everything is as durable as configured.
    fn lock_durable(&self) -> MutexGuard<'_, Inner> {
        for _ in 0..SHARED_SYNCS_MAX {
            let inner = self.inner.lock();
            if !inner.awaits_sync() {
                break;
            }
            drop(inner);
            self.sync_with_others(&*self.world.host);
        }
        let mut inner = self.lock_between_syncs();
        inner.sync_now();
        inner
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
