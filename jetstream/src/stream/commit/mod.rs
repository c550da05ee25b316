//! How what a stream has queued leaves it.
//!
//! Without `sync_interval: always` a commit writes, and routes at once. With it, many commits share one sync:
//!
//! - A commit writes to the operating system, leaves everything in the outbox, and asks the host for a sync unless
//!   one was asked for already. It waits for nothing.
//! - The host calls [`Stream::sync`] on a thread that may block. Under the lock, all that is queued is put aside
//!   (`departing`) and the files to sync are taken from the store; the sync runs without the lock, while others
//!   publish into the outbox; then what was put aside leaves, in order. What came meanwhile shares the next sync.
//! - While a sync is wanted or runs, nothing else leaves, so that the order of the outbox holds. Answers to requests
//!   that met what is not durable yet are put behind it in the same outbox ([`Stream::hold_back`]).

mod hold_back;
mod in_process;
mod state;

pub(crate) use hold_back::Asked;
pub(super) use in_process::{Answers, Watchers};
pub(super) use state::Waiting;

use super::{Inner, Stream};
use crate::host::{AccountId, Delivery, Host, OutMsg};
use crate::outbox::Outbox;
use parking_lot::MutexGuard;

/// How many messages consumers that lag may get in one turn.
const PUMP_BUDGET: usize = 512;

/// While more than this waits for a sync, whoever commits waits too: a disk that stalls must not fill the memory.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// Held while messages leave.
#[derive(Default)]
pub(in crate::stream) struct Gate {
    outbox: Outbox,
    unwelcome: Unwelcome,
}

/// What is to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Leaving {
    /// All that is queued.
    Queued,
    /// What waited for the sync that has ended.
    Departing,
}

/// Deliveries that not all went well.
#[derive(Default)]
struct Unwelcome {
    /// Those that reached nobody: where to, and the reply.
    lost: Vec<(Vec<u8>, Vec<u8>)>,
    /// Deliver subjects with a receiver that is filling up.
    full: Vec<Vec<u8>>,
}

impl Stream {
    /// Makes what was published as durable as configured, then lets everything that waited for it leave, in order.
    /// Where that takes a sync, the host is asked for it and this returns before.
    pub fn commit(&self, host: &dyn Host) {
        let mut inner = self.inner.lock();
        while inner.is_syncing() && inner.outbox.size_bytes() > WAITING_BYTES_MAX {
            self.sync_over.wait(&mut inner);
        }
        self.release(inner, host);
    }

    /// As [`Stream::commit`], and returns only when everything has left.
    pub fn commit_now(&self, host: &dyn Host) {
        let inner = self.settled();
        self.release(inner, host);
    }

    /// Ends the stream for good, with its consumers. `discard` takes its files away at a moment when all that was
    /// queued before is as durable as configured, and nothing is stored any more.
    ///
    /// # Errors
    /// That of `discard`; the stream goes on then.
    pub(crate) fn end<R, E>(&self, host: &dyn Host, discard: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let mut inner = self.settled();
        let discarded = discard();
        if discarded.is_ok() {
            let (consumers, mut ctx) = inner.parts();
            consumers.delete_all(&mut ctx);
            inner.close();
        }
        self.release(inner, host);
        discarded
    }

    /// Takes no messages from here on. All that was answered before has left when this returns, and nothing is answered
    /// after. The store stays open.
    pub(crate) fn stop(&self, host: &dyn Host) {
        let mut inner = self.settled();
        inner.close();
        self.release(inner, host);
    }

    /// As [`stop`](Self::stop), because the server goes down: whoever waits for messages is told.
    pub(crate) fn shut_down(&self, host: &dyn Host) {
        let mut inner = self.settled();
        let (consumers, mut ctx) = inner.parts();
        consumers.end_requests(&mut ctx);
        inner.close();
        self.release(inner, host);
    }

    /// Goes on delivering to consumers that lag. Includes a commit.
    pub fn pump(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        // What waits for a sync takes memory, and no receiver says when it is enough; they are fed after it.
        if !inner.awaits_sync() {
            inner.pump(PUMP_BUDGET);
        }
        self.release(inner, host);
    }

    /// Fires the timers that are due. Includes a commit.
    pub(crate) fn tick(&self, host: &dyn Host) {
        let mut inner = self.lock().into_inner();
        inner.tick();
        self.release(inner, host);
    }

    /// Makes everything written so far durable with one sync, for all who wait for it, and lets what waited leave.
    /// Blocks while the disk works, but holds no lock then. Says whether there is more: then it is called again, after
    /// the host has done what it does at the end of a turn.
    ///
    /// The host calls this some time after [`Host::sync_later`], on a thread that may block.
    pub fn sync(&self, host: &dyn Host) -> bool {
        let mut inner = self.inner.lock();
        while inner.is_syncing() {
            self.sync_over.wait(&mut inner);
        }
        inner.now.renew();
        let Some(sync) = inner.begin_sync() else {
            inner.no_sync_wanted();
            self.release(inner, host);
            return false;
        };
        drop(inner);
        let ran = sync.run();
        let mut inner = self.lock().into_inner();
        let more = inner.end_sync(ran);
        self.sync_over.notify_all();
        self.route(inner, host, Leaving::Departing);
        more
    }

    /// The stream's lock, when no sync is under way and everything is as durable as configured.
    pub(in crate::stream) fn settled(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock();
        while inner.is_syncing() && inner.syncs_always() {
            self.sync_over.wait(&mut inner);
        }
        inner.now.renew();
        inner.sync_now();
        inner
    }

    /// Ends a turn of work: feeds the consumers for which something came, flushes, and routes what is queued. Consumers
    /// that lag are pumped later.
    pub(in crate::stream) fn release(&self, mut inner: MutexGuard<'_, Inner>, host: &dyn Host) {
        self.watch_deliver_subjects(&mut inner);
        inner.feed();
        inner.flush();
        inner.arm();
        let ask = inner.ask_for_sync();
        if inner.awaits_sync() {
            drop(inner);
        } else {
            self.route(inner, host, Leaving::Queued);
        }
        if ask && let Some(me) = self.me.upgrade() {
            host.sync_later(&me);
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

    /// Lets something leave.
    fn route(&self, mut inner: MutexGuard<'_, Inner>, host: &dyn Host, leaving: Leaving) {
        let wants_pump = inner.consumers.wants_pump();
        if inner.queue(leaving).is_empty() {
            drop(inner);
        } else {
            let mut gate = self.gate.lock();
            std::mem::swap(inner.queue(leaving), &mut gate.outbox);
            drop(inner);
            let unwelcome = gate.route(self.account.id, host, &self.answers);
            drop(gate);
            if !unwelcome.is_empty() {
                self.give_back(&unwelcome, host);
            }
        }
        if wants_pump && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
        self.watchers.wake();
    }

    /// Tells consumers what reached nobody, and whose receivers are filling up. What they say to that leaves in
    /// another turn.
    fn give_back(&self, unwelcome: &Unwelcome, host: &dyn Host) {
        let mut inner = self.lock();
        let (consumers, mut ctx) = inner.parts();
        for (to, reply) in &unwelcome.lost {
            consumers.not_delivered(&mut ctx, to, reply);
        }
        for to in &unwelcome.full {
            consumers.receivers_fill_up(&mut ctx, to);
        }
        inner.arm();
        let waits = !inner.outbox.is_empty() || inner.consumers.wants_feed();
        drop(inner);
        if waits && let Some(me) = self.me.upgrade() {
            host.pump_later(&me);
        }
    }
}

impl Gate {
    fn route(&mut self, account: AccountId, host: &dyn Host, answers: &Answers) -> Unwelcome {
        let Unwelcome { lost, full } = &mut self.unwelcome;
        for msg in self.outbox.iter() {
            if answers.take_in(&msg) {
                continue;
            }
            match host.deliver(account, msg) {
                Delivery::Sent => {}
                Delivery::NoInterest if is_consumer_delivery(&msg) => {
                    lost.push((msg.to.to_vec(), msg.reply.to_vec()));
                }
                Delivery::Pressured if is_consumer_delivery(&msg) => {
                    if full.last().is_none_or(|last| last != msg.to) {
                        full.push(msg.to.to_vec());
                    }
                }
                Delivery::NoInterest | Delivery::Pressured => {}
            }
        }
        self.outbox.clear();
        std::mem::take(&mut self.unwelcome)
    }
}

impl Unwelcome {
    fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.full.is_empty()
    }
}

fn is_consumer_delivery(msg: &OutMsg<'_>) -> bool {
    msg.reply.starts_with(b"$JS.ACK.")
}
