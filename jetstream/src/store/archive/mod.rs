//! Backups of streams, as they go over the wire: nats-server's archive of messages (since version 2.15), inside an S2
//! stream. `docs/format.md` states the bytes.
//!
//! Nothing here waits for input or output: what arrives is pushed in piece by piece, and what is ready is taken out, so
//! that no thread is held by a client that is slow.
#![warn(clippy::indexing_slicing)]

mod read;
mod s2;
mod write;

pub(crate) use read::{Entries, Entry, Head, Reader};
pub(crate) use s2::{Packer, Unpacker};
pub(crate) use write::put_entry;

/// How an archive of messages begins.
pub(crate) const MAGIC: &[u8; 8] = b"NATSARC1";

/// What is wrong with a backup, in nats-server's words where it has some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It ends before its end.
    #[error("backup was truncated")]
    Truncated,
    /// Nothing comes that says what it is.
    #[error("snapshot format not detected within size limit")]
    Undetected,
    /// It is no S2 stream.
    #[error("s2: corrupt input")]
    Corrupt,
    /// A part of it is not what was written.
    #[error("s2: corrupt input, crc mismatch")]
    Checksum,
    /// It is an S2 stream of a kind that no server writes.
    #[error("s2: unsupported input")]
    Unsupported,
    /// A part claims to be larger than a part may be.
    #[error("s2: decoded block is too large")]
    TooLarge,
    /// What the S2 stream holds is no archive.
    #[error("archive: invalid archive stream")]
    Invalid,
    /// A header of a tar archive is damaged.
    #[error("archive/tar: invalid tar header")]
    TarHeader,
    /// A tar archive holds what no server puts there: a link, or a path that leads elsewhere.
    #[error("unexpected content")]
    Unexpected,
}
