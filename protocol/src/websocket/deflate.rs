//! permessage-deflate without context takeover: each message by itself.

use std::fmt;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What ends a deflated message and is left out on the wire (section 7.2.1 of RFC 7692), with an empty last block behind it.
pub const INFLATED_TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];

/// Bytes at the end of a flushed message that are not sent.
const FLUSH_BYTES: usize = 4;

/// Why a message cannot be inflated. `Display` is Go's wording.
///
/// ```
/// use jetkv_protocol::websocket::{InflateError, Inflater};
///
/// let wrong = Inflater::default().inflate(b"\xff\xff", &mut Vec::with_capacity(8));
/// assert!(matches!(wrong, Err(InflateError::Corrupt(_))));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is not deflated.
    #[error("flate: corrupt input before offset {0}")]
    Corrupt(u64),
}

/// Deflates messages; one is enough for all connections of a thread.
pub struct Deflater {
    state: Compress,
}

impl Default for Deflater {
    fn default() -> Self {
        Self { state: Compress::new(Compression::fast(), false) }
    }
}

impl Deflater {
    /// Appends the deflated `message` to `out`.
    ///
    /// # Errors
    /// The algorithm failed, which it does not.
    pub fn message(&mut self, mut message: &[u8], out: &mut Vec<u8>) -> Result<(), flate2::CompressError> {
        self.state.reset();
        loop {
            // Room for the end of a message, at the least.
            out.reserve(message.len() / 2 + 64);
            let before = self.state.total_in();
            self.state.compress_vec(message, out, FlushCompress::Sync)?;
            let taken = usize::try_from(self.state.total_in() - before).unwrap_or(usize::MAX);
            message = message.get(taken..).unwrap_or_default();
            // As long as there is no room left, some may be missing.
            if message.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
        out.truncate(out.len().saturating_sub(FLUSH_BYTES));
        Ok(())
    }
}

/// Inflates one message after the other.
pub struct Inflater {
    state: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self { state: Decompress::new(false) }
    }
}

impl Inflater {
    /// Begins another message.
    pub fn reset(&mut self) {
        self.state.reset(false);
    }

    /// Inflates a part of a message into the room that `out` has. Returns how many bytes of `input` were taken, and whether
    /// the message ended.
    ///
    /// # Errors
    /// It is not deflated.
    pub fn inflate(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, bool), InflateError> {
        let before = self.state.total_in();
        let status = self.state.decompress_vec(input, out, FlushDecompress::None);
        let status = status.map_err(|_| InflateError::Corrupt(self.state.total_in()))?;
        let taken = usize::try_from(self.state.total_in() - before).unwrap_or(usize::MAX);
        Ok((taken, status == Status::StreamEnd))
    }
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

impl fmt::Debug for Inflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inflater")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflated(deflated: &[u8]) -> Vec<u8> {
        let mut inflater = Inflater::default();
        let input = [deflated, INFLATED_TAIL].concat();
        let (mut at, mut out) = (0, Vec::new());
        loop {
            out.reserve(1000);
            let (taken, ended) = inflater.inflate(&input[at..], &mut out).unwrap();
            at += taken;
            if ended {
                return out;
            }
        }
    }

    #[test]
    fn every_message_is_inflated_by_itself() {
        let mut deflater = Deflater::default();
        let noise: Vec<u8> =
            (0..300_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for message in [b"PING\r\n".repeat(1000), b"a".to_vec(), noise, vec![0; 100_000]] {
            let mut deflated = Vec::new();
            deflater.message(&message, &mut deflated).unwrap();
            assert!(inflated(&deflated) == message, "{}", message.len());
        }
    }

    #[test]
    fn what_is_not_deflated_is_refused() {
        let mut inflater = Inflater::default();
        let mut out = Vec::with_capacity(100);
        assert!(inflater.inflate(&[0xff; 20], &mut out).is_err());
    }
}
