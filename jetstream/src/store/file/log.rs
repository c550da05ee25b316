//! The end of the last block: what was appended and not yet written, and what was written lately.
#![warn(clippy::indexing_slicing)]

use std::ops::Range;

/// Written bytes that stay in memory for reads, at least.
const KEEP_BYTES: usize = 128 << 10;
/// A buffer grown beyond this is given back when it is trimmed.
const CAPACITY_BYTES_MAX: usize = 1 << 20;

/// A window on the content of the last block that reaches its end.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Offset in the block of the first byte in `buf`.
    start: u64,
    pub(super) buf: Vec<u8>,
    /// How much of `buf` is in the file.
    written: usize,
}

impl Log {
    /// An empty window at the end of a block of `len` bytes.
    pub(super) fn at(len: u64) -> Self {
        Self { start: len, ..Self::default() }
    }

    /// Where to write what is pending, and the bytes.
    pub(super) fn pending(&self) -> (u64, &[u8]) {
        (self.start + self.written as u64, self.buf.get(self.written..).unwrap_or_default())
    }

    pub(super) fn has_pending(&self) -> bool {
        self.written < self.buf.len()
    }

    /// Notes that all of it is in the file, and lets go of what need not be kept.
    pub(super) fn mark_written(&mut self) {
        self.written = self.buf.len();
        if self.buf.len() > 2 * KEEP_BYTES {
            self.drop_front(self.buf.len() - KEEP_BYTES);
            if self.buf.capacity() > CAPACITY_BYTES_MAX {
                self.buf.shrink_to(2 * KEEP_BYTES);
            }
        }
    }

    /// Lets go of all that was written.
    pub(super) fn release(&mut self) {
        self.drop_front(self.written);
        self.buf.shrink_to_fit();
    }

    fn drop_front(&mut self, len: usize) {
        self.buf.drain(..len);
        self.start += len as u64;
        self.written -= len;
    }

    /// Forgets what is at or behind an offset in the block.
    pub(super) fn cut(&mut self, len: u64) {
        match len.checked_sub(self.start).and_then(|len| usize::try_from(len).ok()) {
            Some(len) if len <= self.buf.len() => {
                self.buf.truncate(len);
                self.written = self.written.min(len);
            }
            _ => *self = Self::at(len),
        }
    }

    /// Replaces those bytes of `content`, which begins at `offset` in the block, that are here.
    pub(super) fn overlay(&self, content: &mut [u8], offset: u64) {
        let Some((into, from)) = (match self.start.checked_sub(offset) {
            Some(ahead) => usize::try_from(ahead).ok().map(|ahead| (ahead, 0)),
            None => usize::try_from(offset - self.start).ok().map(|behind| (0, behind)),
        }) else {
            return;
        };
        let target = content.get_mut(into..).unwrap_or_default();
        let source = self.buf.get(from..).unwrap_or_default();
        let len = target.len().min(source.len());
        if let (Some(target), Some(source)) = (target.get_mut(..len), source.get(..len)) {
            target.copy_from_slice(source);
        }
    }

    /// Where a stretch of the block is in `buf`.
    pub(super) fn find(&self, offset: u64, len: u64) -> Option<Range<usize>> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        (end <= self.buf.len()).then_some(start..end)
    }
}
