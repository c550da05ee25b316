//! How much nats-server would have read at a time.
//!
//! A socket that is closed with bytes in it that nobody read ends with a reset, else in an orderly way, and clients see
//! which. nats-server reads into a buffer that starts small and grows while reads fill it; here a read takes what there
//! is. So that a connection that is cut for what it sent ends in the same way, its reads are counted as nats-server
//! v2.15.2 would have made them (observed).

/// Size of the first read.
const FIRST_BYTES: usize = 512;
/// Sizes between which reads grow and shrink.
const MIN_BYTES: usize = 64;
const MAX_BYTES: usize = 64 * 1024;
/// Reads in a row that leave half of the buffer free before it shrinks.
const SHORT_READS_MAX: u32 = 2;

/// The size of the next read, if nats-server did it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadSize {
    bytes: usize,
    short_reads: u32,
}

impl Default for ReadSize {
    fn default() -> Self {
        Self { bytes: FIRST_BYTES, short_reads: 0 }
    }
}

impl ReadSize {
    /// So many bytes came.
    pub(super) fn came(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            left -= self.read(left);
        }
    }

    /// Whether something of `count` bytes that came is left unread by who stops at the one with this index.
    pub(super) fn leaves_some(mut self, count: usize, stops_at: usize) -> bool {
        let mut left = count;
        while left > 0 {
            left -= self.read(left);
            if count - left > stops_at {
                return left > 0;
            }
        }
        false
    }

    /// Reads once; returns how much.
    fn read(&mut self, available: usize) -> usize {
        let size = self.bytes;
        let count = available.min(size);
        if count == size {
            self.short_reads = 0;
            self.bytes = (size * 2).min(MAX_BYTES);
        } else {
            self.short_reads += u32::from(count < size / 2);
            if self.short_reads > SHORT_READS_MAX && size > MIN_BYTES {
                self.bytes = size / 2;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::ReadSize;

    #[test]
    fn who_sends_more_than_one_read_takes_leaves_something() {
        let fresh = ReadSize::default();
        assert!(!fresh.leaves_some(512, 3));
        assert!(fresh.leaves_some(513, 3));
        assert!(!fresh.leaves_some(513, 512), "the second read takes the rest");
        assert!(!fresh.leaves_some(0, 0));
    }

    #[test]
    fn reads_grow_with_what_comes_and_shrink_again() {
        let mut size = ReadSize::default();
        size.came(100_000);
        assert!(!size.leaves_some(60_000, 0), "reads have grown");
        for _ in 0..40 {
            size.came(6);
        }
        assert!(size.leaves_some(70, 0), "and shrunk to the smallest");
        assert!(!size.leaves_some(64, 0));
    }
}
