//! What a thread has touched since its last flush.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jetkv_jetstream::WallNs;

use super::receiver::{Receipt, Receiver};
use super::subscription::Subscription;

static NEXT_THREAD: AtomicU32 = AtomicU32::new(1);

/// What a thread has touched since its last flush.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The number of the thread, from 1; 0 as long as it has none.
    thread: Cell<u32>,
    receivers: RefCell<Vec<Arc<dyn Receiver>>>,
    ended: RefCell<Vec<Arc<Subscription>>>,
    /// One of the receivers is filling up.
    is_filling: Cell<bool>,
    /// The time, where the turn that ends has looked at the clock.
    now: Cell<Option<WallNs>>,
}

impl Touched {
    pub(crate) const fn new() -> Self {
        Self {
            thread: Cell::new(0),
            receivers: RefCell::new(Vec::new()),
            ended: RefCell::new(Vec::new()),
            is_filling: Cell::new(false),
            now: Cell::new(None),
        }
    }

    /// A number for the thread, from 1.
    #[inline]
    pub(crate) fn thread(&self) -> u32 {
        if self.thread.get() == 0 {
            self.thread.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        self.thread.get()
    }

    /// Remembers that `receiver` has something to be flushed.
    #[inline]
    pub(crate) fn mark(&self, receiver: Arc<dyn Receiver>) {
        self.receivers.borrow_mut().push(receiver);
    }

    /// Remembers what a delivery leaves to be done.
    #[inline]
    pub(super) fn note(&self, receipt: Receipt, receiver: &Arc<dyn Receiver>, sub: &Arc<Subscription>) {
        if receipt.is_first {
            self.mark(Arc::clone(receiver));
        }
        if receipt.queued.fills_up() {
            self.is_filling.set(true);
        }
        if receipt.is_last {
            self.ended.borrow_mut().push(Arc::clone(sub));
        }
    }

    /// Takes the next subscription that had its last message. It is to be taken out of its account, now that no lock of
    /// the engine is held.
    pub(crate) fn take_ended(&self) -> Option<Arc<Subscription>> {
        self.ended.borrow_mut().pop()
    }

    /// Whether so much waits for one of the receivers that it should leave.
    #[inline]
    pub(crate) fn is_filling(&self) -> bool {
        self.is_filling.get()
    }

    /// Tells the time that the turn has seen, for its end.
    pub(crate) fn at(&self, now: WallNs) {
        self.now.set(Some(now));
    }

    /// Flushes every receiver that this thread has touched. Shows those that the engine may feed again.
    pub(crate) fn flush(&self, mut relieved: impl FnMut(&dyn Receiver)) {
        let mut receivers = std::mem::take(&mut *self.receivers.borrow_mut());
        let now = self.now.take();
        self.is_filling.set(false);
        for receiver in &receivers {
            if receiver.flush(now) {
                relieved(&**receiver);
            }
        }
        receivers.clear();
        // What was marked meanwhile is flushed at the end of the turn that marked it.
        let mut slot = self.receivers.borrow_mut();
        if !slot.is_empty() {
            receivers.append(&mut slot);
        }
        *slot = receivers;
    }
}
