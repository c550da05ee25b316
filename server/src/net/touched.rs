//! What a thread has touched since its last flush.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::client::Client;
use crate::router::Subscription;

static NEXT_THREAD: AtomicU32 = AtomicU32::new(1);

thread_local! {
    static THREAD: Cell<u32> = const { Cell::new(0) };
    static CLIENTS: RefCell<Vec<Arc<Client>>> = const { RefCell::new(Vec::new()) };
    static ENDED: RefCell<Vec<Arc<Subscription>>> = const { RefCell::new(Vec::new()) };
}

/// A number for the current thread, from 1.
pub(super) fn thread() -> u32 {
    THREAD.with(|thread| {
        if thread.get() == 0 {
            thread.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        thread.get()
    })
}

/// Remembers that `client` has something to be flushed.
pub(super) fn mark(client: &Arc<Client>) {
    CLIENTS.with_borrow_mut(|clients| clients.push(Arc::clone(client)));
}

/// Remembers that a subscription had its last message. It is taken out of the account once no engine lock is held.
pub(super) fn end(sub: &Arc<Subscription>) {
    ENDED.with_borrow_mut(|ended| ended.push(Arc::clone(sub)));
}

/// Takes the next subscription that had its last message.
pub(crate) fn take_ended() -> Option<Arc<Subscription>> {
    ENDED.with_borrow_mut(Vec::pop)
}

/// Flushes every connection that this thread has touched. Shows those that the engine may feed again.
pub(crate) fn flush(mut relieved: impl FnMut(&Arc<Client>)) {
    let mut clients = CLIENTS.with_borrow_mut(std::mem::take);
    for client in clients.drain(..) {
        if client.flush() {
            relieved(&client);
        }
    }
    CLIENTS.with_borrow_mut(|slot| {
        // What was marked meanwhile is flushed at the end of the batch that marked it.
        clients.append(slot);
        *slot = clients;
    });
}
