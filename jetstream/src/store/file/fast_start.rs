//! `msgs/jetkv.db`: where the messages of each block are and which subject has which, so that a start after an orderly
//! stop need not read the blocks. It may be deleted at any time.
//!
//! It is believed only beside the very `index.db` that was written with it, and of each block only where the file has
//! the size, the end and the time of modification that it had then. All other blocks are read, and what they say was
//! removed is removed from the rest.
#![warn(clippy::indexing_slicing)]

use super::FileStore;
use super::block::Block;
use super::encryption::Frame;
use super::files::{StreamFiles, io_error};
use super::index_db;
use super::record::{CHECKSUM_LEN, ChecksumKey};
use super::table::Place;
use crate::disk::DirEntry;
use crate::filter::Filter;
use crate::store::StoreError;
use crate::store::varint::{Fields, put_uvarint, put_varint};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(super) const FILE: &str = "jetkv.db";
const MAGIC: &[u8; 5] = b"JKVF\x02";

/// What the file says.
#[derive(Default)]
pub(super) struct FastStart {
    /// Blocks whose files are as they were, by number.
    pub(super) blocks: BTreeMap<u32, Block>,
    /// Sequences and moments of expiry of messages with a time to live, in all blocks of the file.
    pub(super) expiries: Vec<(u64, i64)>,
    /// Subjects and their sequences, as they stand in the file.
    subjects: Vec<u8>,
}

/// A block's file when it was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    size_bytes: u64,
    modified_ns: i64,
}

impl Seen {
    fn new(entry: &DirEntry) -> Self {
        Self { size_bytes: entry.size_bytes, modified_ns: entry.modified_ns }
    }
}

impl FastStart {
    /// Reads what can be believed; nothing where there is no file, or where it is out of date or damaged.
    pub(super) fn read(files: &StreamFiles, entries: &[DirEntry]) -> Self {
        let Some(entry) = entries.iter().find(|entry| entry.name == FILE) else { return Self::default() };
        let Some(index_sum) = index_sum(files) else { return Self::default() };
        let Ok(file) = files.disk.read(&entry.path) else { return Self::default() };
        let file = files.unsealed(file, Frame::Whole);
        let Some(noted) = decode(&file, &files.name, index_sum) else { return Self::default() };
        let known = noted.blocks;
        let mut start =
            Self { blocks: BTreeMap::new(), expiries: noted.expiries, subjects: noted.subjects.to_vec() };
        drop(file);
        // What is buried in a block that must be read may be buried by a later one.
        let mut changed = false;
        let entries: BTreeMap<u32, &DirEntry> =
            entries.iter().filter_map(|entry| Some((block_index(&entry.name)?, entry))).collect();
        let mut known: BTreeMap<u32, (Seen, Block)> =
            known.into_iter().map(|(seen, block)| (block.index, (seen, block))).collect();
        for (index, entry) in entries {
            let as_it_was = known
                .remove(&index)
                .filter(|(seen, block)| Seen::new(entry) == *seen && ends_with(files, block, seen));
            match as_it_was {
                Some((_, block)) if !changed || block.tombstones == 0 => {
                    start.blocks.insert(index, block);
                }
                _ => changed = true,
            }
        }
        start
    }

    /// Calls `each` with every subject and sequence noted, in order.
    pub(super) fn each_subject(&self, mut each: impl FnMut(&[u8], u64)) {
        let mut fields = Fields::new(&self.subjects);
        let mut subject = Vec::new();
        let mut next = || -> Option<()> {
            let shared = usize::try_from(fields.uvarint()?).ok()?;
            let (rest_len, count) = (fields.count()?, fields.count()?);
            subject.truncate(shared);
            subject.extend_from_slice(fields.bytes(rest_len)?);
            let mut seq = 0;
            for _ in 0..count {
                seq += fields.uvarint()?;
                each(&subject, seq);
            }
            Some(())
        };
        while next().is_some() {}
    }
}

pub(super) fn block_index(name: &str) -> Option<u32> {
    name.strip_suffix(".blk").and_then(|number| number.parse().ok())
}

/// The checksum that `index.db` ends with.
fn index_sum(files: &StreamFiles) -> Option<[u8; CHECKSUM_LEN]> {
    let file = files.disk.open(&files.msgs_dir.join(index_db::FILE), false).ok()?;
    let mut sum = [0; CHECKSUM_LEN];
    let at = file.len().ok()?.checked_sub(CHECKSUM_LEN as u64)?;
    (file.read_at(&mut sum, at).ok()? == CHECKSUM_LEN).then_some(sum)
}

fn ends_with(files: &StreamFiles, block: &Block, seen: &Seen) -> bool {
    let end = || {
        let file = files.disk.open(&files.block_path(block.index), false).ok()?;
        let mut end = [0; CHECKSUM_LEN];
        let at = seen.size_bytes.checked_sub(CHECKSUM_LEN as u64)?;
        (file.read_at(&mut end, at).ok()? == CHECKSUM_LEN).then_some(end)
    };
    end() == Some(block.last_checksum)
}

/// What the file holds.
struct Noted<'f> {
    /// As yet unchecked.
    blocks: Vec<(Seen, Block)>,
    expiries: Vec<(u64, i64)>,
    subjects: &'f [u8],
}

fn decode<'f>(file: &'f [u8], stream: &str, index_sum: [u8; CHECKSUM_LEN]) -> Option<Noted<'f>> {
    let (body, checksum) = file.split_at_checked(file.len().checked_sub(CHECKSUM_LEN)?)?;
    if checksum != ChecksumKey::name(stream).sum(&[body]) {
        return None;
    }
    let mut fields = Fields::new(body);
    if fields.array()? != *MAGIC || fields.array()? != index_sum {
        return None;
    }
    let mut blocks = Vec::new();
    for _ in 0..fields.count()? {
        blocks.push(decode_block(&mut fields, stream)?);
    }
    let (mut expiries, mut seq, mut at_ns) = (Vec::new(), 0, 0_i64);
    for _ in 0..fields.count()? {
        seq += fields.uvarint()?;
        at_ns = at_ns.wrapping_add(fields.varint()?);
        expiries.push((seq, at_ns));
    }
    Some(Noted { blocks, expiries, subjects: fields.rest() })
}

fn decode_block(fields: &mut Fields<'_>, stream: &str) -> Option<(Seen, Block)> {
    let index = u32::try_from(fields.uvarint()?).ok()?;
    let seen = Seen { size_bytes: fields.uvarint()?, modified_ns: fields.varint()? };
    let mut block = Block::new(stream, index, 0, 0);
    block.last_checksum = fields.array()?;
    block.compressed = fields.byte()? == 1;
    block.first_seq = fields.uvarint()?;
    block.last_seq = fields.uvarint()?;
    block.last_ts_ns = fields.varint()?;
    block.len = fields.uvarint()?;
    block.records = fields.uvarint()?;
    block.tombstones = fields.uvarint()?;
    block.ttls = fields.uvarint()?;
    block.schedules = fields.uvarint()?;
    let (mut seq, mut end) = (0, 0_u64);
    for _ in 0..fields.count()? {
        seq += fields.uvarint()?;
        let offset = end + fields.uvarint()?;
        let len = fields.uvarint()?;
        end = offset + len;
        let place = Place { offset: u32::try_from(offset).ok()?, len: u32::try_from(len).ok()? };
        block.table.push(seq, place);
        block.live_bytes += len;
    }
    block.table.close();
    Some((seen, block))
}

fn encode_block(out: &mut Vec<u8>, block: &Block, seen: Seen) {
    put_uvarint(out, u64::from(block.index));
    put_uvarint(out, seen.size_bytes);
    put_varint(out, seen.modified_ns);
    out.extend_from_slice(&block.last_checksum);
    out.push(u8::from(block.compressed));
    put_uvarint(out, block.first_seq);
    put_uvarint(out, block.last_seq);
    put_varint(out, block.last_ts_ns);
    put_uvarint(out, block.len);
    put_uvarint(out, block.records);
    put_uvarint(out, block.tombstones);
    put_uvarint(out, block.ttls);
    put_uvarint(out, block.schedules);
    put_uvarint(out, block.live());
    let (mut last_seq, mut end) = (0, 0);
    for (seq, place) in block.table.up(0) {
        put_uvarint(out, seq - last_seq);
        put_uvarint(out, u64::from(place.offset) - end);
        put_uvarint(out, u64::from(place.len));
        (last_seq, end) = (seq, u64::from(place.offset) + u64::from(place.len));
    }
}

fn put_expiries(out: &mut Vec<u8>, expiries: &[(u64, i64)]) {
    put_uvarint(out, expiries.len() as u64);
    let (mut last_seq, mut last_ns) = (0, 0);
    for (seq, at_ns) in expiries {
        put_uvarint(out, seq - last_seq);
        put_varint(out, at_ns.wrapping_sub(last_ns));
        (last_seq, last_ns) = (*seq, *at_ns);
    }
}

impl FileStore {
    /// Takes what its owner knows of expiries, which must be all of them, so that the next start need not find them.
    pub(super) fn note_for_next_start(&mut self, mut expiries: Vec<(u64, i64)>) {
        expiries.retain(|(seq, _)| self.place(*seq).is_some());
        expiries.sort_unstable();
        self.noted_expiries = Some(expiries);
    }

    /// Writes the file beside an `index.db` that is true, where the stream is large enough to be worth it. Everything
    /// is durable.
    pub(super) fn write_fast_start(&mut self) -> Result<(), StoreError> {
        let bytes: u64 = self.blocks.iter().map(|block| block.len).sum();
        let whole = self.damaged.is_empty() && self.unlogged.is_empty() && self.to_cut.is_empty();
        if self.fast_start_is_true || !whole || bytes < self.options.fast_start_from_bytes {
            return Ok(());
        }
        let dir = &self.files.msgs_dir;
        let entries = self.files.disk.list(dir).map_err(|error| io_error("could not list", dir, error))?;
        let Some(index_sum) = index_sum(&self.files) else { return Ok(()) };
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&index_sum);
        let noted: Vec<(&Block, Seen)> =
            self.blocks.iter().filter_map(|block| Some((block, self.noted(block, &entries)?))).collect();
        put_uvarint(&mut out, noted.len() as u64);
        for (block, seen) in noted {
            encode_block(&mut out, block, seen);
        }
        put_expiries(&mut out, self.noted_expiries.as_deref().unwrap_or_default());
        self.put_subjects(&mut out);
        let checksum = ChecksumKey::name(&self.files.name).sum(&[&out]);
        out.extend_from_slice(&checksum);
        let path = dir.join(FILE);
        self.files
            .sealed(out, Frame::Whole)
            .and_then(|file| self.files.disk.replace(&path, &file, false))
            .map_err(|error| io_error("could not write", &path, error))?;
        self.fast_start_is_true = true;
        Ok(())
    }

    /// The file of a block that is to be noted. Others are read at the next start: those with damage, those without
    /// messages, and those with messages that have a time to live where only their records tell it.
    fn noted(&self, block: &Block, entries: &[DirEntry]) -> Option<Seen> {
        let name = format!("{}.blk", block.index);
        let seen = Seen::new(entries.iter().find(|entry| entry.name == name)?);
        let plain = !block.damaged && block.records > 0;
        let plain = plain && (block.ttls == 0 || self.noted_expiries.is_some());
        let whole = block.compressed || seen.size_bytes == block.len;
        (plain && whole && ends_with(&self.files, block, &seen)).then_some(seen)
    }

    fn put_subjects(&self, out: &mut Vec<u8>) {
        let mut last = Vec::new();
        self.index.walk_after(&Filter::All, None, |subject, seqs| {
            let shared = last.iter().zip(subject).take_while(|(a, b)| a == b).count();
            let rest = subject.get(shared..).unwrap_or_default();
            put_uvarint(out, shared as u64);
            put_uvarint(out, rest.len() as u64);
            put_uvarint(out, seqs.entry().count);
            out.extend_from_slice(rest);
            let mut last_seq = 0;
            for seq in seqs.iter() {
                put_uvarint(out, seq - last_seq);
                last_seq = seq;
            }
            last.clear();
            last.extend_from_slice(subject);
            ControlFlow::Continue(())
        });
    }
}
