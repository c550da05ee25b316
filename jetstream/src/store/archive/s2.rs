//! The S2 stream around an archive: chunks of a kind, three bytes of length, and content.

use super::ArchiveError;
use crate::store::chunk_sum::{CHUNK_SUM_LEN, chunk_sum};

/// What the first chunk holds: that of S2, or of Snappy, which S2 can read.
const S2_ID: &[u8] = b"S2sTwO";
const STREAM_IDS: [&[u8]; 2] = [S2_ID, b"sNaPpY"];
const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
/// Chunks of this kind and the following may be passed over.
const PASSED_OVER: u8 = 0x80;
const STREAM_ID: u8 = 0xff;
const HEADER_LEN: usize = 4;
/// Content of one chunk.
const CONTENT_LEN_MAX: usize = 4 << 20;
/// Content of a chunk that is written here.
const PACKED_CONTENT_LEN: usize = 1 << 20;

/// Takes an S2 stream as it arrives, and gives what it holds. Holds no more than one chunk and its content.
#[derive(Default)]
pub(crate) struct Unpacker {
    /// The beginning of a chunk that has not arrived whole.
    held: Vec<u8>,
    /// Bytes still to come of a chunk that is passed over.
    to_skip: usize,
    begun: bool,
    content: Vec<u8>,
}

impl Unpacker {
    /// Takes what arrived, and shows what it holds to `take`, chunk by chunk.
    ///
    /// # Errors
    /// What is wrong with the stream, or the error of `take`.
    pub(crate) fn push<E: From<ArchiveError>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut rest = held.as_slice();
        while let Some(behind) = self.next(rest, &mut take)? {
            rest = behind;
        }
        let used = held.len() - rest.len();
        held.drain(..used);
        self.held = held;
        Ok(())
    }

    /// Takes one chunk, or what is there of one that is passed over; gives what is behind it, `None` where there is no
    /// whole chunk.
    fn next<'a, E: From<ArchiveError>>(
        &mut self,
        rest: &'a [u8],
        take: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Option<&'a [u8]>, E> {
        if self.to_skip > 0 {
            let skipped = self.to_skip.min(rest.len());
            self.to_skip -= skipped;
            return Ok(rest.get(skipped..).filter(|_| skipped > 0));
        }
        let Some((header, behind)) = rest.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let [kind, len @ ..] = *header;
        let len = len.iter().rev().fold(0, |len, byte| len << 8 | usize::from(*byte));
        if !self.begun && kind != STREAM_ID {
            return Err(ArchiveError::Corrupt.into());
        }
        if (PASSED_OVER..STREAM_ID).contains(&kind) {
            self.to_skip = len;
            return Ok(Some(behind));
        }
        if !matches!(kind, COMPRESSED | PLAIN | STREAM_ID) {
            return Err(ArchiveError::Unsupported.into());
        }
        let Some((data, behind)) = behind.split_at_checked(len) else { return Ok(None) };
        if kind == STREAM_ID {
            self.begun = true;
            return if STREAM_IDS.contains(&data) {
                Ok(Some(behind))
            } else {
                Err(ArchiveError::Corrupt.into())
            };
        }
        self.unpack(kind, data)?;
        take(&self.content)?;
        Ok(Some(behind))
    }

    fn unpack(&mut self, kind: u8, data: &[u8]) -> Result<(), ArchiveError> {
        let (sum, body) = data.split_first_chunk::<CHUNK_SUM_LEN>().ok_or(ArchiveError::Corrupt)?;
        let len = match kind {
            COMPRESSED => minlz::s2::decode_len(body).map_err(|_| ArchiveError::Corrupt)?.0,
            _ => body.len(),
        };
        // Before anything is decompressed: the decoder takes as much memory as it is told to.
        if len > CONTENT_LEN_MAX {
            return Err(ArchiveError::TooLarge);
        }
        self.content.clear();
        if kind == COMPRESSED {
            self.content.resize(len, 0);
            minlz::s2::decode_into(&mut self.content, body).map_err(|_| ArchiveError::Corrupt)?;
        } else {
            self.content.extend_from_slice(body);
        }
        if chunk_sum(&self.content) == *sum { Ok(()) } else { Err(ArchiveError::Checksum) }
    }

    /// Whether what arrived ends with a chunk.
    #[cfg(test)]
    fn is_at_end_of_chunk(&self) -> bool {
        self.held.is_empty() && self.to_skip == 0
    }
}

/// Makes an S2 stream.
pub(crate) struct Packer {
    /// What is not packed yet: less than one chunk holds.
    content: Vec<u8>,
    packed: Vec<u8>,
    /// So much of `packed` was taken.
    taken: usize,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let mut packed = Vec::new();
        put_chunk_header(&mut packed, STREAM_ID, S2_ID.len());
        packed.extend_from_slice(S2_ID);
        Self { content: Vec::with_capacity(PACKED_CONTENT_LEN), packed, taken: 0 }
    }

    /// Adds content.
    pub(crate) fn push(&mut self, content: &[u8]) {
        let mut rest = content;
        while let Some((part, behind)) = rest.split_at_checked(PACKED_CONTENT_LEN - self.content.len()) {
            self.content.extend_from_slice(part);
            self.finish();
            rest = behind;
        }
        self.content.extend_from_slice(rest);
    }

    /// Packs what was added and is not packed yet.
    pub(crate) fn finish(&mut self) {
        if self.content.is_empty() {
            return;
        }
        self.packed.drain(..self.taken);
        self.taken = 0;
        let encoded = minlz::s2::encode(&self.content);
        // As klauspost/compress decides.
        let most = self.content.len().saturating_sub(self.content.len() / 32 + 5);
        let (kind, body) =
            if encoded.len() <= most { (COMPRESSED, &encoded) } else { (PLAIN, &self.content) };
        put_chunk_header(&mut self.packed, kind, CHUNK_SUM_LEN + body.len());
        self.packed.extend_from_slice(&chunk_sum(&self.content));
        self.packed.extend_from_slice(body);
        self.content.clear();
    }

    /// Bytes that can be taken.
    pub(crate) fn ready(&self) -> usize {
        self.packed.len() - self.taken
    }

    /// Takes at most `len` bytes out.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let end = self.taken + len.min(self.ready());
        let piece = self.packed.get(self.taken..end).unwrap_or_default().to_vec();
        self.taken = end;
        piece
    }
}

/// A chunk is never longer than its three bytes of length can say: content goes in by [`PACKED_CONTENT_LEN`].
fn put_chunk_header(out: &mut Vec<u8>, kind: u8, len: usize) {
    let [low, middle, high, ..] = len.to_le_bytes();
    out.extend_from_slice(&[kind, low, middle, high]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut packer = Packer::new();
        content.chunks(70_001).for_each(|part| packer.push(part));
        packer.finish();
        packer.take(usize::MAX)
    }

    fn unpacked(stream: &[u8], step: usize) -> Result<Vec<u8>, ArchiveError> {
        let (mut unpacker, mut content) = (Unpacker::default(), Vec::new());
        for part in stream.chunks(step) {
            unpacker.push(part, |part| {
                content.extend_from_slice(part);
                Ok::<_, ArchiveError>(())
            })?;
        }
        if unpacker.is_at_end_of_chunk() { Ok(content) } else { Err(ArchiveError::Truncated) }
    }

    fn sample() -> Vec<u8> {
        (0_u32..700_000).flat_map(|at| (at / 3).to_le_bytes()).collect()
    }

    #[test]
    fn what_was_packed_comes_back_in_whatever_pieces_it_arrives() {
        let content = sample();
        let stream = packed(&content);
        assert!(stream.len() < content.len());
        for step in [7, 4096, stream.len()] {
            assert!(unpacked(&stream, step).unwrap() == content, "{step}");
        }
    }

    #[test]
    fn chunks_that_mean_nothing_are_passed_over_however_many_there_are() {
        let (stream, mut padded) = (packed(b"content"), Vec::new());
        padded.extend_from_slice(&stream[..10]);
        for _ in 0..200_000 {
            padded.extend_from_slice(b"\xfe\x02\0\0xx");
        }
        padded.extend_from_slice(b"\x99\0\0\0");
        padded.extend_from_slice(&stream[10..]);
        assert_eq!(unpacked(&padded, 1000).unwrap(), b"content");
    }

    #[test]
    fn what_is_not_whole_or_not_right_is_told() {
        let stream = packed(&sample());
        assert_eq!(unpacked(&stream[..stream.len() - 1], 9000), Err(ArchiveError::Truncated));
        let mut wrong = stream.clone();
        wrong[14] ^= 1;
        assert_eq!(unpacked(&wrong, 9000), Err(ArchiveError::Checksum));
        assert_eq!(unpacked(b"{\"no\":\"archive\"}", 9000), Err(ArchiveError::Corrupt));
        let kind = [&stream[..10], b"\x42\x01\0\0x"].concat();
        assert_eq!(unpacked(&kind, 9000), Err(ArchiveError::Unsupported));
        // A gigabyte of content, as it says.
        let bomb = [&stream[..10], b"\0\x0a\0\0\0\0\0\0\x80\x80\x80\x80\x04\0"].concat();
        assert_eq!(unpacked(&bomb, 9000), Err(ArchiveError::TooLarge));
    }
}
