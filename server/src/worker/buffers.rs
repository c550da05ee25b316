//! Memory that connections of one thread share, so that an idle connection holds none.

use std::cell::{Cell, RefCell};

use jetkv_protocol::websocket::{Deflater, Inflater};

/// Size of the buffer that a thread reads into: what one read can bring.
pub(crate) const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Outbound buffers above this size go back to the allocator instead of into the pool.
const POOLED_BYTES_MAX: usize = 256 * 1024;
/// Outbound buffers that a thread keeps.
const POOLED_COUNT_MAX: usize = 32;
/// Size of a new outbound buffer: a few small messages.
const FRESH_BYTES: usize = 4 * 1024;

/// The buffers of a thread.
pub(crate) struct Buffers {
    read: Cell<Option<Vec<u8>>>,
    cipher: Cell<Option<Vec<u8>>>,
    frames: Cell<Option<Vec<u8>>>,
    deflater: Cell<Option<Box<Deflater>>>,
    inflater: Cell<Option<Box<Inflater>>>,
    outbound: RefCell<Vec<Vec<u8>>>,
}

impl Buffers {
    pub(super) const fn new() -> Self {
        Self {
            read: Cell::new(None),
            cipher: Cell::new(None),
            frames: Cell::new(None),
            deflater: Cell::new(None),
            inflater: Cell::new(None),
            outbound: RefCell::new(Vec::new()),
        }
    }

    /// The read buffer, empty; a new one when it is lent out.
    pub(crate) fn take_read(&self) -> Vec<u8> {
        self.read.take().unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Gives the read buffer back.
    pub(crate) fn give_read(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.read.set(Some(buffer));
    }

    /// The buffer for what was read and is still to be deciphered, empty.
    pub(crate) fn take_cipher(&self) -> Vec<u8> {
        self.cipher.take().unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Gives it back.
    pub(crate) fn give_cipher(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.cipher.set(Some(buffer));
    }

    /// The buffer for what was read and is still to be taken out of its frames, empty.
    pub(crate) fn take_frames(&self) -> Vec<u8> {
        self.frames.take().unwrap_or_else(|| Vec::with_capacity(READ_BUFFER_BYTES))
    }

    /// Gives it back.
    pub(crate) fn give_frames(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.frames.set(Some(buffer));
    }

    /// What deflates messages.
    pub(crate) fn take_deflater(&self) -> Box<Deflater> {
        self.deflater.take().unwrap_or_default()
    }

    /// Gives it back.
    pub(crate) fn give_deflater(&self, deflater: Box<Deflater>) {
        self.deflater.set(Some(deflater));
    }

    /// What inflates a message, at its beginning.
    pub(crate) fn take_inflater(&self) -> Box<Inflater> {
        let mut inflater = self.inflater.take().unwrap_or_default();
        inflater.reset();
        inflater
    }

    /// Gives it back.
    pub(crate) fn give_inflater(&self, inflater: Box<Inflater>) {
        self.inflater.set(Some(inflater));
    }

    /// An empty buffer to queue output in.
    pub(crate) fn take_outbound(&self) -> Vec<u8> {
        self.outbound.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(FRESH_BYTES))
    }

    /// Takes a buffer back that was written out.
    #[inline]
    pub(crate) fn give_outbound(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > POOLED_BYTES_MAX {
            return;
        }
        buffer.clear();
        let mut pool = self.outbound.borrow_mut();
        if pool.len() < POOLED_COUNT_MAX {
            pool.push(buffer);
        }
    }
}
