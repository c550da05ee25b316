//! `msgs/N.idx`: what nats-server before 2.10 knew of a block. Up to 2.9 it is the only place that tells which messages
//! inside the block, or at its head, were removed, and the sequence that an emptied block ended with.
//!
//! It is read, never written; it goes, with `N.fss` beside it, once the blocks say the same and are durable.
#![warn(clippy::indexing_slicing)]

use super::files::StreamFiles;
use super::record::CHECKSUM_LEN;
use super::seqset::SeqSet;
use crate::disk::DirEntry;
use crate::store::varint::Fields;

const MAGIC: u8 = 22;
/// The removed sequences are listed.
const VERSION_LIST: u8 = 1;
/// The removed sequences are a packed set.
const VERSION_SET: u8 = 2;
/// Set in sequences of messages that were erased.
const ERASED_BIT: u64 = 1 << 63;

/// What the file says of its block.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct OldIndex {
    pub(super) msgs: u64,
    /// First message held; `last_seq + 1` where there is none.
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) last_ts_ns: i64,
    /// Sequences between first and last that are not held.
    deleted: SeqSet,
    /// The end of the block when the file was written.
    checksum: [u8; CHECKSUM_LEN],
}

/// Whether a file in the directory of blocks is one that only servers before 2.10 wrote.
pub(super) fn is_old_file(name: &str) -> bool {
    let number = name.strip_suffix(".idx").or_else(|| name.strip_suffix(".fss"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

impl OldIndex {
    /// Reads what is there for a block whose file ends in `block_end` (`None` where it is empty). One that was not
    /// written for the block as it is now is out of date: it is right in what it calls removed, unless it speaks of an
    /// empty block, since the sequences may have been given again.
    pub(super) fn read(
        files: &StreamFiles,
        entries: &[DirEntry],
        block: u32,
        block_end: Option<[u8; CHECKSUM_LEN]>,
    ) -> Option<Self> {
        let name = format!("{block}.idx");
        // Listings are sorted by name.
        let at = entries.binary_search_by(|entry| entry.name.as_str().cmp(&name)).ok()?;
        let entry = entries.get(at)?;
        let found = files.disk.read(&entry.path).ok().and_then(|file| Self::decode(&file));
        let Some(found) = found else {
            tracing::warn!(stream = files.name, "{} is damaged and not used", entry.path.display());
            return None;
        };
        let current = match block_end {
            Some(end) => end == found.checksum,
            None => found.msgs == 0,
        };
        (current || (found.msgs > 0 && block_end.is_some())).then_some(found)
    }

    /// Whether a record of `seq` in the block was known to be removed when the file was written.
    pub(super) fn removed(&self, seq: u64) -> bool {
        seq < self.first_seq || (seq <= self.last_seq && self.deleted.contains(seq))
    }

    fn decode(file: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(file);
        let [magic, version] = fields.array()?;
        if magic != MAGIC || !(VERSION_LIST..=VERSION_SET).contains(&version) {
            return None;
        }
        let msgs = fields.uvarint()?;
        let _bytes = fields.uvarint()?;
        let first_seq = fields.uvarint()? & !ERASED_BIT;
        let _first_ts_ns = fields.varint()?;
        let last_seq = fields.uvarint()? & !ERASED_BIT;
        let last_ts_ns = fields.varint()?;
        let num_deleted = fields.uvarint()?;
        let checksum = fields.array()?;
        let spanned = last_seq.wrapping_sub(first_seq).wrapping_add(1);
        let mut deleted = SeqSet::default();
        if msgs != spanned.wrapping_sub(num_deleted) {
            // Written while messages were being removed. Where it begins is right, as nats-server v2.15.2 takes it, too.
            let checksum = [0; CHECKSUM_LEN];
            return (msgs > 0).then_some(Self { msgs, first_seq, last_seq, last_ts_ns, deleted, checksum });
        }
        match version {
            _ if num_deleted == 0 => {}
            VERSION_SET => deleted = SeqSet::decode(&mut fields)?,
            _ => {
                for _ in 0..num_deleted {
                    match fields.uvarint()? {
                        0 => break,
                        above => deleted.insert(first_seq.checked_add(above)?),
                    }
                }
            }
        }
        Some(Self { msgs, first_seq, last_seq, last_ts_ns, deleted, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::varint::{put_uvarint, put_varint};

    fn file(first_seq: u64, last_seq: u64, deleted: &[u64]) -> Vec<u8> {
        let mut out = vec![MAGIC, VERSION_LIST];
        put_uvarint(&mut out, (last_seq + 1 - first_seq) - deleted.len() as u64);
        put_uvarint(&mut out, 1000);
        put_uvarint(&mut out, first_seq);
        put_varint(&mut out, 1_600_000_000_000_000_000);
        put_uvarint(&mut out, last_seq);
        put_varint(&mut out, 1_600_000_000_000_000_009);
        put_uvarint(&mut out, deleted.len() as u64);
        out.extend_from_slice(b"checksum");
        for seq in deleted {
            put_uvarint(&mut out, seq - first_seq);
        }
        out
    }

    #[test]
    fn removed_are_those_below_the_first_and_those_listed() {
        let index = OldIndex::decode(&file(5, 20, &[7, 19])).unwrap();
        let removed: Vec<u64> = (1..=22).filter(|seq| index.removed(*seq)).collect();
        assert_eq!(removed, [1, 2, 3, 4, 7, 19]);
        assert_eq!((index.msgs, index.last_seq, &index.checksum), (14, 20, b"checksum"));
        let emptied = OldIndex::decode(&file(11, 10, &[])).unwrap();
        assert_eq!((emptied.msgs, emptied.last_seq, emptied.last_ts_ns % 10), (0, 10, 9));
    }

    #[test]
    fn what_ends_early_is_not_believed_and_what_does_not_add_up_only_where_it_begins() {
        let whole = file(5, 20, &[7, 19]);
        for len in 0..whole.len() {
            assert_eq!(OldIndex::decode(&whole[..len]), None, "cut at {len}");
        }
        let mut wrong = whole.clone();
        wrong[2] += 1;
        let begins = OldIndex::decode(&wrong).unwrap();
        assert!(begins.removed(4) && !begins.removed(7));
        wrong = whole;
        wrong[1] = 3;
        assert_eq!(OldIndex::decode(&wrong), None);
    }
}
