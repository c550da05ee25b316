//! How what a stream has queued leaves it.
//!
//! Without `sync_interval: always` a commit writes, and routes at once. With it, many commits share one sync:
//!
//! - A commit writes to the operating system, leaves everything in the outbox, and asks the host for a sync unless
//!   one was asked for already. It waits for nothing.
//! - The host calls [`Stream::sync`] on a thread that may block. Under the lock, all that is queued is put aside
//!   (`Carried`) and the files to sync are taken from the store; the sync runs without the lock, while others
//!   publish into the outbox; then what was put aside leaves, in order. What came meanwhile shares the next sync.
//! - While a sync is wanted or runs, nothing else leaves, so that the order of the outbox holds. Answers to requests
//!   that met what is not durable yet are put behind it in the same outbox ([`Stream::hold_back`]).

mod group;
mod hold_back;
mod in_process;
mod rollback;
mod route;
mod state;

pub(crate) use hold_back::Asked;
pub(super) use in_process::{Answers, Watchers};
pub(super) use route::Gate;
pub(super) use state::CommitState;

use super::{Inner, Stream};
use crate::stream::Host;
use parking_lot::MutexGuard;
use route::Leaving;
use std::sync::atomic::Ordering;

/// How many messages consumers that lag may get in one turn.
const PUMP_BUDGET: usize = 512;

/// While more than this waits for a sync, whoever commits waits too: a disk that stalls must not fill the memory.
const WAITING_BYTES_MAX: usize = 8 << 20;

impl Stream {
    /// Makes what was published as durable as configured, then lets everything that waited for it leave, in order.
    /// Where that takes a sync, the host is asked for it and this returns before.
    pub fn commit(&self, host: &dyn Host) {
        let mut inner = self.inner.lock();
        while inner.commit.is_syncing() && inner.outbox.size_bytes() > WAITING_BYTES_MAX {
            self.sync_over.wait(&mut inner);
        }
        self.commit_locked(inner, host);
    }

    /// As [`Stream::commit`], for whoever serves connections: where the stream [is busy](Stream::is_busy), somebody else does it
    /// afterwards.
    pub fn commit_at_once(&self, host: &dyn Host) {
        if self.is_busy() {
            self.commit_afterwards(host);
        } else {
            self.commit(host);
        }
    }

    /// Has a thread that may wait commit, one for all who ask meanwhile.
    #[cold]
    fn commit_afterwards(&self, host: &dyn Host) {
        if let Some(me) = self.me.upgrade()
            && !self.commits_afterwards.swap(true, Ordering::AcqRel)
        {
            host.run_later(Box::new(move || {
                me.commits_afterwards.store(false, Ordering::Release);
                let host = &*me.world.host;
                me.commit(host);
                host.end_turn();
            }));
        }
    }

    /// As [`Stream::commit`], and returns only when all that was queued before has left, or is about to leave on the thread
    /// that made it durable.
    pub fn commit_now(&self, host: &dyn Host) {
        self.commit(host);
        self.await_durable(host);
    }

    /// Has a stream that is about to end take nothing more, and makes what it did as durable as configured. Where that takes a
    /// sync, it is over before whoever ends the stream takes a lock that others need.
    pub(crate) fn rest(&self, host: &dyn Host) {
        let inner = self.lock_at_rest(host);
        self.commit_locked(inner, host);
    }

    /// Has a stream that [rests](Self::rest) and does not end after all take messages again, and deliver.
    pub(crate) fn go_on(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        inner.is_ending = false;
        self.commit_locked(inner, host);
    }

    /// Ends the stream for good, with its consumers. `discard` takes its files away at a moment when all that was
    /// queued before is as durable as configured, and nothing is stored any more.
    ///
    /// # Errors
    /// That of `discard`; the stream goes on then.
    pub(crate) fn end<R, E>(&self, host: &dyn Host, discard: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let mut inner = self.lock_at_rest(host);
        let discarded = discard();
        if discarded.is_ok() {
            let (consumers, mut ctx) = inner.parts();
            consumers.delete_all(&mut ctx);
            inner.close();
        } else {
            inner.is_ending = false;
        }
        self.commit_locked(inner, host);
        discarded
    }

    /// Takes no messages from here on. All that was answered before has left when this returns, and nothing is answered
    /// after. The store stays open.
    pub(crate) fn stop(&self, host: &dyn Host) {
        let mut inner = self.lock_at_rest(host);
        inner.close();
        self.commit_locked(inner, host);
    }

    /// As [`stop`](Self::stop), because the server goes down: whoever waits for messages is told.
    pub(crate) fn shut_down(&self, host: &dyn Host) {
        let mut inner = self.lock_at_rest(host);
        let (consumers, mut ctx) = inner.parts();
        consumers.end_requests(&mut ctx);
        inner.close();
        self.commit_locked(inner, host);
    }

    /// Goes on delivering to consumers that lag. Includes a commit.
    pub fn pump(&self, host: &dyn Host) {
        if self.is_busy() {
            // A commit asks for it again.
            return self.commit_afterwards(host);
        }
        let mut inner = self.lock().into_inner();
        // What waits for a sync takes memory, and no receiver says when it is enough; they are fed after it.
        if !inner.awaits_sync() {
            inner.pump(PUMP_BUDGET);
        }
        self.commit_locked(inner, host);
    }

    /// Fires the timers that are due. Includes a commit. Of what expired a bounded part goes; what is left is due at once.
    pub(crate) fn tick(&self, host: &dyn Host) {
        if self.is_busy()
            && let Some(me) = self.me.upgrade()
        {
            // Not on the thread of the timers, which serves connections, too.
            return host.run_later(Box::new(move || me.tick_now(&*me.world.host)));
        }
        self.tick_now(host);
    }

    fn tick_now(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        inner.tick();
        let (calls_receiver, waits) = (inner.calls_receiver(), inner.has_waiting_followers());
        self.commit_locked(inner, host);
        if calls_receiver {
            self.wake_receiver();
        }
        if waits && let Some(me) = self.me.upgrade() {
            host.run_later(Box::new(move || me.fire_waiting(&*me.world.host)));
        }
    }

    /// Ends a turn of work: feeds the consumers for which something came, flushes, and routes what is queued. Consumers
    /// that lag are pumped later.
    pub(super) fn commit_locked(&self, mut inner: MutexGuard<'_, Inner>, host: &dyn Host) {
        if inner.consumers.has_deliver_changes() {
            self.watch_deliver_subjects(&mut inner);
        }
        inner.feed();
        inner.flush();
        inner.arm();
        #[cfg(test)]
        crate::steps::end_hold();
        let ask = inner.ask_for_sync();
        let pictures = inner.store.wants_picture();
        if inner.awaits_sync() {
            drop(inner);
        } else {
            self.route(inner, host, Leaving::Queued);
        }
        if ask && let Some(me) = self.me.upgrade() {
            host.sync_later(&me);
        }
        if pictures {
            self.picture_later(host);
        }
    }

    fn watch_deliver_subjects(&self, inner: &mut Inner) {
        for (subject, came) in inner.consumers.take_deliver_changes() {
            if came {
                self.account.watches.add(subject.clone(), &self.me);
                // Interest that came after the consumer asked for it and before this watch was told to nobody.
                let (consumers, mut ctx) = inner.parts();
                consumers.interest_changed(&mut ctx, &subject, None, false);
            } else {
                self.account.watches.remove(&subject, &self.me);
            }
        }
    }
}
