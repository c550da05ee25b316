//! Memory that connections of one thread share, so that an idle connection holds none.

use std::cell::RefCell;

/// Size of the buffer that a thread reads into: what one read can bring.
pub(super) const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Outbound buffers above this size go back to the allocator instead of into the pool.
const POOLED_BYTES_MAX: usize = 256 * 1024;
/// Outbound buffers that a thread keeps.
const POOLED_COUNT_MAX: usize = 32;
/// Size of a new outbound buffer: a few small messages.
const FRESH_BYTES: usize = 4 * 1024;

thread_local! {
    static READ: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    static OUTBOUND: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The thread's read buffer, empty; a new one when it is lent out.
pub(super) fn take_read() -> Vec<u8> {
    READ.with_borrow_mut(Option::take).unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
}

/// Gives the read buffer back.
pub(super) fn give_read(mut buffer: Vec<u8>) {
    buffer.clear();
    READ.with_borrow_mut(|slot| *slot = Some(buffer));
}

/// An empty buffer to queue output in.
pub(super) fn take_outbound() -> Vec<u8> {
    OUTBOUND.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES))
}

/// Takes a buffer back that was written out.
pub(super) fn give_outbound(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOLED_BYTES_MAX {
        return;
    }
    buffer.clear();
    OUTBOUND.with_borrow_mut(|pool| {
        if pool.len() < POOLED_COUNT_MAX {
            pool.push(buffer);
        }
    });
}
