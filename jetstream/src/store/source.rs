//! Reading what was written for a later start: nothing is believed to be longer than what there is.

use super::varint::Fields;
use std::io::{self, BufRead};

/// What is read, and how much of it there can be at most.
pub(crate) struct Source<R> {
    input: R,
    left_bytes: u64,
}

/// What was read is not what was written.
pub(crate) fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

impl<R: BufRead> Source<R> {
    pub(crate) fn new(input: R, len_bytes: u64) -> Self {
        Self { input, left_bytes: len_bytes }
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.left_bytes = self.left_bytes.checked_sub(bytes.len() as u64).ok_or_else(invalid)?;
        self.input.read_exact(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn byte(&mut self) -> io::Result<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn uvarint(&mut self) -> io::Result<u64> {
        let (mut bytes, mut len) = ([0; 10], 0);
        for byte in &mut bytes {
            *byte = self.byte()?;
            len += 1;
            if *byte & 0x80 == 0 {
                break;
            }
        }
        Fields::new(bytes.get(..len).unwrap_or_default()).uvarint().ok_or_else(invalid)
    }

    pub(crate) fn varint(&mut self) -> io::Result<i64> {
        let zigzag = self.uvarint()?;
        Ok((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    /// A count of things that take at least one byte each.
    pub(crate) fn count(&mut self) -> io::Result<usize> {
        self.count_of(1)
    }

    /// A count of things that take at least so many bytes each.
    pub(crate) fn count_of(&mut self, size_bytes: u64) -> io::Result<usize> {
        let count = self.uvarint()?;
        if count > self.left_bytes / size_bytes.max(1) {
            return Err(invalid());
        }
        usize::try_from(count).map_err(|_| invalid())
    }

    /// So many bytes, which there must be.
    pub(crate) fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        self.bytes_with_room(len, len)
    }

    /// The same, with room for more. The room is for at most what a damaged length can ask for.
    pub(crate) fn bytes_with_room(&mut self, len: usize, capacity: usize) -> io::Result<Vec<u8>> {
        if len as u64 > self.left_bytes {
            return Err(invalid());
        }
        self.left_bytes -= len as u64;
        let mut bytes = Vec::with_capacity(capacity.max(len));
        while bytes.len() < len {
            let there = self.input.fill_buf()?;
            let part = there.get(..(len - bytes.len()).min(there.len())).unwrap_or_default();
            if part.is_empty() {
                return Err(invalid());
            }
            bytes.extend_from_slice(part);
            let read = part.len();
            self.input.consume(read);
        }
        Ok(bytes)
    }
}
