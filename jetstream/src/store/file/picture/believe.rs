//! What of a picture counts.
#![warn(clippy::indexing_slicing)]

use super::super::block::Block;
use super::super::files::StreamFiles;
use super::super::index_db::{BlockRow, IndexDb, Totals};
use super::super::record::CHECKSUM_LEN;
use super::super::seqset::SeqSet;
use super::super::table::RecordTable;
use super::frames::FrameReader;
use super::{FILE, IndexSeen, Seen, block_index, ends_with, index_seen};
use crate::disk::DirEntry;
use crate::store::index::SubjectIndex;
use crate::store::source::{Source, invalid};
use crate::store::{Known, StoreState};
use std::collections::BTreeMap;
use std::io::{self, BufRead};

/// A picture that may be believed.
pub(in crate::store::file) struct Picture {
    /// Whether every block is as it was, and `index.db` as well.
    pub(in crate::store::file) is_all: bool,
    pub(in crate::store::file) size_bytes: u64,
    pub(in crate::store::file) totals: StoreState,
    pub(in crate::store::file) known: Known,
    /// The number of its last block.
    pub(in crate::store::file) last_block: u32,
    /// The end of that block, where nothing was changed as long as it is the same.
    last_checksum: [u8; CHECKSUM_LEN],
    /// Blocks whose files are as they were, by number.
    pub(in crate::store::file) blocks: BTreeMap<u32, Block>,
    /// What the others held.
    pub(in crate::store::file) changed: BTreeMap<u32, Block>,
    pub(in crate::store::file) expiries: Vec<(u64, i64)>,
    pub(in crate::store::file) index: SubjectIndex,
}

/// What a file says, before it is compared with the others.
struct Found {
    index_is_true: bool,
    totals: StoreState,
    known: Known,
    blocks: Vec<(Option<Seen>, Block)>,
    expiries: Vec<(u64, i64)>,
    index: SubjectIndex,
}

impl Picture {
    /// Reads the picture; `None` where there is none, or none that can be believed.
    pub(in crate::store::file) fn read(files: &StreamFiles, entries: &[DirEntry]) -> Option<Self> {
        let entry = entries.iter().find(|entry| entry.name == FILE)?;
        let mut reader = FrameReader::open(files, &entry.path).ok()?;
        let len_bytes = reader.len_bytes();
        let found =
            read(&mut Source::new(&mut reader, len_bytes), files, &index_seen(files, entries)).ok()?;
        if !reader.is_at_end() {
            return None;
        }
        let now: BTreeMap<u32, &DirEntry> =
            entries.iter().filter_map(|entry| Some((block_index(&entry.name)?, entry))).collect();
        let Block { index: last_block, last_checksum, .. } = found.blocks.last()?.1;
        let last_checksum = if found.index_is_true { last_checksum } else { [u8::MAX; CHECKSUM_LEN] };
        let mut picture = Self {
            is_all: found.index_is_true && found.blocks.len() == now.len(),
            size_bytes: len_bytes,
            totals: found.totals,
            known: found.known,
            last_block,
            last_checksum,
            blocks: BTreeMap::new(),
            changed: BTreeMap::new(),
            expiries: found.expiries,
            index: found.index,
        };
        for (seen, block) in found.blocks {
            let entry = now.get(&block.index).filter(|entry| !entry.is_dir);
            let as_it_was = seen
                .zip(entry)
                .is_some_and(|(seen, entry)| Seen::new(entry) == seen && ends_with(files, &block, seen));
            let into = if as_it_was { &mut picture.blocks } else { &mut picture.changed };
            into.insert(block.index, block);
        }
        picture.is_all &= picture.changed.is_empty();
        // One of which nothing is as it was may be of other messages under the same name.
        (!picture.blocks.is_empty()).then_some(picture)
    }

    /// What it tells of blocks that have to be read, in the form of an `index.db` that was written with it.
    pub(in crate::store::file) fn summary(&self) -> IndexDb {
        let StoreState { msgs, bytes, first_seq, last_seq, last_ts_ns, .. } = self.totals;
        let totals = Totals { msgs, bytes, first_seq, first_ts_ns: 0, last_seq, last_ts_ns };
        let blocks = self.changed.values().map(|block| (block.index, row(block))).collect();
        IndexDb { totals, blocks, last_block: self.last_block, last_checksum: self.last_checksum }
    }

    /// Whether a message may be in a block, if the picture is of these messages.
    pub(in crate::store::file) fn agrees(&self, block: u32, seq: u64) -> bool {
        if seq <= self.totals.last_seq { block <= self.last_block } else { block >= self.last_block }
    }
}

fn row(block: &Block) -> BlockRow {
    let mut held = block.table.up(0).map(|(seq, _)| seq);
    let Some(first_seq) = held.next() else {
        return BlockRow {
            first_seq: block.last_seq.saturating_add(1),
            last_seq: block.last_seq,
            ..BlockRow::default()
        };
    };
    let (mut deleted, mut expected) = (SeqSet::default(), first_seq + 1);
    for seq in held.chain([block.last_seq.saturating_add(1)]) {
        (expected..seq).for_each(|gone| deleted.insert(gone));
        expected = seq.saturating_add(1);
    }
    BlockRow { first_seq, last_seq: block.last_seq, deleted, ..BlockRow::default() }
}

fn read(source: &mut Source<impl BufRead>, files: &StreamFiles, index_seen: &IndexSeen) -> io::Result<Found> {
    let mut blocks = Vec::new();
    for _ in 0..source.count()? {
        blocks.push(read_block(source, files)?);
    }
    let index = SubjectIndex::read(source)?;
    let (mut expiries, mut seq, mut at_ns) = (Vec::new(), 0_u64, 0_i64);
    for _ in 0..source.count()? {
        seq = seq.checked_add(source.uvarint()?).ok_or_else(invalid)?;
        at_ns = at_ns.wrapping_add(source.varint()?);
        expiries.push((seq, at_ns));
    }
    let seen = blocks.iter().map(|_| read_seen(source)).collect::<io::Result<Vec<_>>>()?;
    let noted = match read_seen(source)? {
        None => None,
        Some(seen) => Some((seen, source.array::<CHECKSUM_LEN>()?)),
    };
    if noted != *index_seen {
        return Err(invalid());
    }
    let index_is_true = source.byte()? == 1;
    let mut totals = StoreState {
        msgs: source.uvarint()?,
        first_seq: source.uvarint()?,
        last_seq: source.uvarint()?,
        last_ts_ns: source.varint()?,
        ..StoreState::default()
    };
    let most_per_subject = Some(source.uvarint()?).filter(|most| *most > 0);
    let (ids_from, ids_window_ns) = (Some(source.uvarint()?).filter(|seq| *seq > 0), Some(source.varint()?));
    let in_order = blocks.is_sorted_by(|a: &Block, b| a.index < b.index && a.last_seq <= b.last_seq);
    let msgs: u64 = blocks.iter().map(Block::live).sum();
    totals.bytes = blocks.iter().map(|block| block.live_bytes).sum();
    let last_seq = blocks.last().map_or(0, |block| block.last_seq);
    if !in_order || msgs != totals.msgs || last_seq > totals.last_seq {
        return Err(invalid());
    }
    let blocks = seen.into_iter().zip(blocks).collect();
    let known = Known { ids_from, ids_window_ns, most_per_subject };
    Ok(Found { index_is_true, totals, known, blocks, expiries, index })
}

fn read_seen(source: &mut Source<impl BufRead>) -> io::Result<Option<Seen>> {
    if source.byte()? == 0 {
        return Ok(None);
    }
    Ok(Some(Seen { size_bytes: source.uvarint()?, modified_ns: source.varint()? }))
}

fn read_block(source: &mut Source<impl BufRead>, files: &StreamFiles) -> io::Result<Block> {
    let index = u32::try_from(source.uvarint()?).map_err(|_| invalid())?;
    let mut block = Block::new(&files.name, index, 0, 0);
    block.last_checksum = source.array()?;
    block.compressed = source.byte()? == 1;
    block.first_seq = source.uvarint()?;
    block.last_seq = source.uvarint()?;
    block.last_ts_ns = source.varint()?;
    block.len = source.uvarint()?;
    block.records = source.uvarint()?;
    block.tombstones = source.uvarint()?;
    block.ttls = source.uvarint()?;
    block.schedules = source.uvarint()?;
    block.table = RecordTable::read(source)?;
    let (first, last) = (block.table.up(0).next(), block.table.down(u64::MAX).next());
    let within = first
        .zip(last)
        .is_none_or(|((first, _), (last, _))| first >= block.first_seq && last <= block.last_seq);
    let mut end = 0;
    for (_, place) in block.table.up(0) {
        end = (u64::from(place.offset) + u64::from(place.len)).max(end);
        block.live_bytes += u64::from(place.len);
    }
    if within && end <= block.len { Ok(block) } else { Err(invalid()) }
}
