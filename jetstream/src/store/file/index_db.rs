//! `msgs/index.db`: what nats-server knows of a stream without reading its blocks, written at a clean shutdown (by
//! nats-server also now and then while it runs).
//!
//! It is the only place where nats-server notes what its limits removed. Sequences are never used twice, so what it
//! calls removed stays removed however old the file is; only what it calls held may be out of date.
#![warn(clippy::indexing_slicing)]

use super::record::{CHECKSUM_LEN, ChecksumKey};
use super::seqset::SeqSet;
use crate::store::varint::{Fields, put_uvarint, put_varint};
use std::collections::BTreeMap;

pub(super) const FILE: &str = "index.db";
const MAGIC: u8 = 11;
/// Version that is written; versions from 1 are read.
const VERSION: u8 = 4;

/// Counters of the stream.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) msgs: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) first_ts_ns: i64,
    pub(super) last_seq: u64,
    pub(super) last_ts_ns: i64,
}

/// One subject: how many messages, and in which blocks the first and last of them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SubjectRow<'a> {
    pub(super) subject: &'a [u8],
    pub(super) count: u64,
    pub(super) first_block: u32,
    pub(super) last_block: u32,
}

/// One block.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct BlockRow {
    pub(super) bytes: u64,
    /// First message held; `last_seq + 1` where there is none.
    pub(super) first_seq: u64,
    pub(super) first_ts_ns: i64,
    /// Sequence of the last record, held or not.
    pub(super) last_seq: u64,
    pub(super) last_ts_ns: i64,
    /// Sequences between first and last that are not held.
    pub(super) deleted: SeqSet,
    /// Messages with a time to live.
    pub(super) ttls: u64,
    /// Messages with a schedule.
    pub(super) schedules: u64,
}

/// The content of the file, but for the subjects, which JetKV learns from the blocks.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct IndexDb {
    pub(super) totals: Totals,
    pub(super) blocks: BTreeMap<u32, BlockRow>,
    /// The block that was last when the file was written.
    pub(super) last_block: u32,
    /// The last eight bytes of that block; the file is out of date where they differ.
    pub(super) last_checksum: [u8; CHECKSUM_LEN],
}

impl IndexDb {
    /// Reads the file; `None` where it is damaged or of another version. `key` is that of the stream's name.
    pub(super) fn decode(file: &[u8], key: &ChecksumKey) -> Option<Self> {
        let (body, checksum) = file.split_at_checked(file.len().checked_sub(CHECKSUM_LEN)?)?;
        if checksum != key.sum(&[body]) {
            return None;
        }
        let mut fields = Fields::new(body);
        let [magic, version] = fields.array()?;
        if magic != MAGIC || !(1..=VERSION).contains(&version) {
            return None;
        }
        let totals = Totals {
            msgs: fields.uvarint()?,
            bytes: fields.uvarint()?,
            first_seq: fields.uvarint()?,
            first_ts_ns: fields.varint()?,
            last_seq: fields.uvarint()?,
            last_ts_ns: fields.varint()?,
        };
        for _ in 0..fields.count()? {
            let subject_len = fields.count()?;
            if subject_len > 0 {
                fields.bytes(subject_len)?;
                let count = fields.uvarint()?;
                fields.uvarint()?;
                if count > 1 || version >= 4 {
                    fields.uvarint()?;
                }
            }
        }
        let mut blocks = BTreeMap::new();
        for _ in 0..fields.count()? {
            let index = u32::try_from(fields.uvarint()?).ok()?;
            blocks.insert(index, decode_block(&mut fields, version, totals.first_ts_ns)?);
        }
        let last_block = u32::try_from(fields.uvarint()?).ok()?;
        Some(Self { totals, blocks, last_block, last_checksum: fields.array()? })
    }

    /// Whether a record of `seq` in `block` was known to be removed when the file was written.
    pub(super) fn removed(&self, block: u32, seq: u64) -> bool {
        if seq > self.totals.last_seq || block > self.last_block {
            return false;
        }
        let held = self
            .blocks
            .get(&block)
            .is_some_and(|row| (row.first_seq..=row.last_seq).contains(&seq) && !row.deleted.contains(seq));
        !held
    }

    /// The bytes of the file, version 4. `each_subject` calls what it is given once for each of `num_subjects`.
    pub(super) fn encode(
        &self,
        num_subjects: usize,
        each_subject: impl FnOnce(&mut dyn FnMut(&SubjectRow<'_>)),
        key: &ChecksumKey,
    ) -> Vec<u8> {
        let mut out = vec![MAGIC, VERSION];
        let totals = &self.totals;
        put_uvarint(&mut out, totals.msgs);
        put_uvarint(&mut out, totals.bytes);
        put_uvarint(&mut out, totals.first_seq);
        put_varint(&mut out, totals.first_ts_ns);
        put_uvarint(&mut out, totals.last_seq);
        put_varint(&mut out, totals.last_ts_ns);
        put_uvarint(&mut out, num_subjects as u64);
        each_subject(&mut |row| {
            put_uvarint(&mut out, row.subject.len() as u64);
            out.extend_from_slice(row.subject);
            put_uvarint(&mut out, row.count);
            put_uvarint(&mut out, u64::from(row.first_block));
            put_uvarint(&mut out, u64::from(row.last_block));
        });
        put_uvarint(&mut out, self.blocks.len() as u64);
        for (index, row) in &self.blocks {
            put_uvarint(&mut out, u64::from(*index));
            encode_block(&mut out, row, totals.first_ts_ns);
        }
        put_uvarint(&mut out, u64::from(self.last_block));
        out.extend_from_slice(&self.last_checksum);
        let checksum = key.sum(&[&out]);
        out.extend_from_slice(&checksum);
        out
    }
}

fn decode_block(fields: &mut Fields<'_>, version: u8, base_ts_ns: i64) -> Option<BlockRow> {
    let mut row = BlockRow {
        bytes: fields.uvarint()?,
        first_seq: fields.uvarint()?,
        first_ts_ns: fields.varint()?.wrapping_add(base_ts_ns),
        last_seq: fields.uvarint()?,
        last_ts_ns: fields.varint()?.wrapping_add(base_ts_ns),
        ..BlockRow::default()
    };
    let deleted = fields.uvarint()?;
    if version >= 2 {
        row.ttls = fields.uvarint()?;
    }
    if version >= 3 {
        row.schedules = fields.uvarint()?;
    }
    if deleted > 0 {
        row.deleted = SeqSet::decode(fields)?;
    }
    Some(row)
}

fn encode_block(out: &mut Vec<u8>, row: &BlockRow, base_ts_ns: i64) {
    put_uvarint(out, row.bytes);
    put_uvarint(out, row.first_seq);
    put_varint(out, row.first_ts_ns.wrapping_sub(base_ts_ns));
    put_uvarint(out, row.last_seq);
    put_varint(out, row.last_ts_ns.wrapping_sub(base_ts_ns));
    put_uvarint(out, row.deleted.len());
    put_uvarint(out, row.ttls);
    put_uvarint(out, row.schedules);
    if row.deleted.len() > 0 {
        row.deleted.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (IndexDb, SubjectRow<'static>) {
        let mut deleted = SeqSet::default();
        deleted.insert(7);
        let row = |first_seq, last_seq| BlockRow {
            bytes: 99,
            first_seq,
            first_ts_ns: 1_000_000,
            last_seq,
            last_ts_ns: 2_000_000,
            ..BlockRow::default()
        };
        let blocks = [(2, BlockRow { deleted, ttls: 1, ..row(5, 9) }), (4, row(12, 20))].into();
        let totals = Totals {
            msgs: 13,
            bytes: 198,
            first_seq: 5,
            first_ts_ns: 1_000_000,
            last_seq: 20,
            last_ts_ns: 2_000_000,
        };
        let subject = SubjectRow { subject: b"a.b", count: 13, first_block: 2, last_block: 4 };
        (IndexDb { totals, blocks, last_block: 4, last_checksum: *b"12345678" }, subject)
    }

    #[test]
    fn the_file_comes_back_as_it_was_written_and_no_damage_is_believed() {
        let (index, subject) = sample();
        let key = ChecksumKey::name("S");
        let file = index.encode(1, |put| put(&subject), &key);
        assert_eq!(IndexDb::decode(&file, &key), Some(index));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x10;
            assert_eq!(IndexDb::decode(&damaged, &key), None);
            assert_eq!(IndexDb::decode(&file[..at], &key), None);
        }
    }

    #[test]
    fn only_what_was_known_then_can_be_called_removed() {
        let (index, _) = sample();
        for (block, seq, removed) in [
            (2, 5, false),
            (2, 7, true),
            (2, 4, true),
            (3, 10, true),
            (4, 20, false),
            (4, 21, false),
            (5, 11, false),
        ] {
            assert_eq!(index.removed(block, seq), removed, "{block} {seq}");
        }
    }
}
