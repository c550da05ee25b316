//! How a stream's limits shape its files.

/// Blocks of a stream that keeps everything within its limits.
const LARGE_BYTES: u64 = 8 << 20;
/// Blocks of key-value buckets, and of streams whose messages go when they are acknowledged.
const MEDIUM_BYTES: u64 = 4 << 20;
/// Smaller streams are read as fast as what is noted of them.
const FAST_START_FROM_BYTES: u64 = 1 << 20;
/// No block size below this.
const SMALL_BYTES: u64 = 32_000;
/// What the record of a message is assumed to need beside its payload: its fixed parts and headers' length.
const RECORD_BYTES: u64 = 34;
/// Length assumed for subjects where none is literal.
const SUBJECT_BYTES: u64 = 256;
/// Payload assumed where neither stream nor account limits it.
const PAYLOAD_BYTES: u64 = 1 << 20;

/// What [`FileOptions::for_stream`] looks at.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamLimits {
    /// `max_bytes`; 0 or less for none.
    pub bytes: i64,
    /// `max_msgs`; 0 or less for none.
    pub msgs: i64,
    /// `max_msgs_per_subject`; 0 or less for none.
    pub msgs_per_subject: i64,
    /// `max_msg_size`; 0 or less for none.
    pub msg_size_bytes: i64,
    /// Length of the longest literal among the stream's subjects, if there is one.
    pub literal_subject_len: Option<usize>,
    /// Whether retention is by limits alone (not by interest, not a work queue).
    pub retain_by_limits: bool,
}

/// How a stream's files are laid out.
#[derive(Debug, Clone, Copy)]
pub struct FileOptions {
    /// A block is full when the next record would make it larger. A larger record gets a block of its own.
    pub block_size_bytes: u64,
    /// Compress blocks (S2) once they are full.
    pub compress: bool,
    /// What makes a start fast is noted at an orderly stop where the blocks are at least as large together.
    pub fast_start_from_bytes: u64,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { block_size_bytes: LARGE_BYTES, compress: false, fast_start_from_bytes: FAST_START_FROM_BYTES }
    }
}

impl FileOptions {
    /// The block size that nats-server v2.15.2 chooses for such limits.
    #[must_use]
    pub fn for_stream(limits: &StreamLimits, compress: bool) -> Self {
        let positive = |limit: i64| u64::try_from(limit).ok().filter(|limit| *limit > 0);
        let block_size_bytes = if let Some(bytes) = positive(limits.bytes) {
            quarter(bytes)
        } else if let Some(msgs) = positive(limits.msgs) {
            let subject = limits.literal_subject_len.map_or(SUBJECT_BYTES, |len| len as u64);
            let payload = positive(limits.msg_size_bytes).unwrap_or(PAYLOAD_BYTES);
            quarter((RECORD_BYTES + subject).saturating_add(payload).saturating_mul(msgs))
        } else if positive(limits.msgs_per_subject).is_some() || !limits.retain_by_limits {
            MEDIUM_BYTES
        } else {
            LARGE_BYTES
        };
        Self { block_size_bytes, compress, ..Self::default() }
    }
}

/// A quarter of what the stream may hold decides between three sizes.
fn quarter(total_bytes: u64) -> u64 {
    match (total_bytes / 4 + 1).next_multiple_of(100) {
        ..=SMALL_BYTES => SMALL_BYTES,
        LARGE_BYTES.. => LARGE_BYTES,
        _ => MEDIUM_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_follow_the_limits() {
        let limits = StreamLimits { retain_by_limits: true, ..StreamLimits::default() };
        let size = |limits: StreamLimits| FileOptions::for_stream(&limits, false).block_size_bytes;
        assert_eq!(size(limits), LARGE_BYTES);
        assert_eq!(size(StreamLimits { retain_by_limits: false, ..limits }), MEDIUM_BYTES);
        assert_eq!(size(StreamLimits { msgs_per_subject: 1, ..limits }), MEDIUM_BYTES);
        assert_eq!(size(StreamLimits { bytes: 100_000, msgs_per_subject: 1, ..limits }), SMALL_BYTES);
        assert_eq!(size(StreamLimits { bytes: 1 << 20, ..limits }), MEDIUM_BYTES);
        assert_eq!(size(StreamLimits { bytes: 1 << 30, ..limits }), LARGE_BYTES);
        assert_eq!(size(StreamLimits { msgs: 10, msg_size_bytes: 100, ..limits }), SMALL_BYTES);
        assert_eq!(size(StreamLimits { msgs: 1000, ..limits }), LARGE_BYTES);
    }
}
