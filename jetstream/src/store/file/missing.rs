//! Messages that should be there and are not, since a block is missing, empty or cut off between two records: they
//! cannot be had back, but they are told.
#![warn(clippy::indexing_slicing)]

use super::block::Block;
use super::files::StreamFiles;
use super::index_db::{BlockRow, IndexDb};
use super::seqset::SeqSet;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

/// What was found of the blocks, oldest first, and what `index.db` knew of them.
pub(super) struct Findings<'a> {
    pub(super) files: &'a StreamFiles,
    pub(super) index_db: Option<&'a IndexDb>,
    pub(super) blocks: &'a [Block],
    /// Sizes of the files of blocks, by number.
    pub(super) sizes: &'a BTreeMap<u32, u64>,
    /// Sequences that tombstones removed.
    pub(super) removed: &'a SeqSet,
    /// Sequences of damaged records, which are told already.
    pub(super) damaged: &'a BTreeMap<u64, String>,
    /// Blocks that begin with a record which says that all before it was purged.
    pub(super) purged_before: &'a BTreeSet<u32>,
}

/// Blocks that were there once, and of which nothing tells whether they were deleted in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Their numbers.
    pub blocks: RangeInclusive<u32>,
    /// Sequences that they may have held, and no tombstone is about.
    pub seqs: RangeInclusive<u64>,
    /// Whether they were before all others, as those are that limits delete.
    pub is_front: bool,
}

impl Lack {
    fn extend(&mut self, behind: &Self) {
        self.blocks = *self.blocks.start()..=*behind.blocks.end();
        self.seqs = *self.seqs.start()..=*behind.seqs.end();
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (blocks, seqs) = (&self.blocks, &self.seqs);
        write!(f, "blocks from {} to {} are not there: ", blocks.start(), blocks.end())?;
        write!(f, "messages from {} to {} were removed in order, or are lost", seqs.start(), seqs.end())
    }
}

impl Findings<'_> {
    /// Reports messages that `index.db` counts and the blocks do not hold, and blocks that are empty.
    pub(super) fn report(&self) {
        let newest = self.blocks.last().map_or(0, |block| block.index);
        let is_indexed =
            |index: u32| self.index_db.is_some_and(|index_db| index_db.blocks.contains_key(&index));
        for (index, size_bytes) in self.sizes {
            if *size_bytes == 0 && *index != newest && !is_indexed(*index) {
                let path = self.files.block_path(*index);
                tracing::error!(
                    stream = self.files.name,
                    block = index,
                    offset = 0,
                    "{} is empty: what it held is lost",
                    path.display()
                );
            }
        }
        let Some(index_db) = self.index_db else { return };
        let current = self.blocks.last().is_some_and(|last| {
            last.index == index_db.last_block && last.last_checksum == index_db.last_checksum
        });
        for (index, row) in &index_db.blocks {
            let at = self.blocks.binary_search_by_key(index, |block| block.index);
            let block = at.ok().and_then(|at| self.blocks.get(at));
            match (block, self.sizes.get(index)) {
                (Some(block), Some(1..)) => {
                    // The last block only grows, and no other was changed where the file is current.
                    let shrank = *index == newest && block.last_seq < row.last_seq;
                    if shrank || (current && block.live() < num_held(row)) {
                        self.tell_lost(row, *index, Some(block), true);
                    }
                }
                (_, size_bytes) => {
                    // A block is deleted once nothing in it is held any more, but the one with the highest number only
                    // after another was begun. Where the file is out of date, the others may have gone since.
                    let surely = current || *index >= newest || size_bytes.is_some();
                    let between = self.blocks.first().is_some_and(|first| first.index < *index);
                    if surely || between {
                        self.tell_lost(row, *index, None, surely);
                    }
                }
            }
        }
    }

    /// Blocks that are not there and that no `index.db` knows: they were made, and have gone, since it was written. Those
    /// before all others are told apart from those between.
    pub(super) fn unknown(&self) -> Vec<Lack> {
        let mut lacks: Vec<Lack> = Vec::new();
        // What `index.db` does not list was gone when it was written.
        let mut next_number =
            self.index_db.map_or(1, |index_db| index_db.last_block.saturating_add(1)).max(1);
        let mut missing: Option<RangeInclusive<u32>> = None;
        let mut last_seq = 0;
        for block in self.blocks {
            if block.index > next_number {
                let first = missing.as_ref().map_or(next_number, |missing| *missing.start());
                missing = Some(first..=block.index - 1);
            }
            next_number = next_number.max(block.index.saturating_add(1));
            if block.records == 0 {
                continue;
            }
            if let Some(blocks) = missing.take()
                && let Some(seqs) = self.unexplained(last_seq, block)
            {
                let lack = Lack { blocks, seqs, is_front: last_seq == 0 };
                match lacks.last_mut().filter(|before| before.is_front == lack.is_front) {
                    Some(before) => before.extend(&lack),
                    None => lacks.push(lack),
                }
            }
            last_seq = last_seq.max(block.last_seq);
        }
        lacks
    }

    /// Sequences between one and those of a block, from the first to the last of which there is no tombstone.
    fn unexplained(&self, last_seq: u64, block: &Block) -> Option<RangeInclusive<u64>> {
        if last_seq == 0 && self.purged_before.contains(&block.index) {
            return None;
        }
        let (mut first, mut last) = (last_seq + 1, block.first_seq.checked_sub(1)?);
        while first <= last && self.removed.contains(first) {
            first += 1;
        }
        while first <= last && self.removed.contains(last) {
            last -= 1;
        }
        (first <= last).then_some(first..=last)
    }

    /// Tells which of the messages that a block held are not in it.
    fn tell_lost(&self, row: &BlockRow, index: u32, block: Option<&Block>, surely: bool) {
        let mut lost = held(row).filter(|seq| {
            let found = block.is_some_and(|block| block.table.get(*seq).is_some());
            !found && !self.removed.contains(*seq) && !self.damaged.contains_key(seq)
        });
        let Some(first_seq) = lost.next() else { return };
        let (msgs, last_seq) = lost.fold((1_u64, first_seq), |(msgs, _), seq| (msgs + 1, seq));
        let path = self.files.block_path(index);
        let (path, stream) = (path.display(), &*self.files.name);
        let offset = block.map_or(0, |block| block.len);
        if surely {
            tracing::error!(
                stream,
                block = index,
                offset,
                msgs,
                first_seq,
                last_seq,
                "{path} does not hold all that it held: messages are lost"
            );
        } else {
            tracing::warn!(
                stream,
                block = index,
                offset,
                msgs,
                first_seq,
                last_seq,
                "{path} is not there: what it held was removed after the last orderly stop, or is lost"
            );
        }
    }
}

/// How many messages a block held when `index.db` was written.
fn num_held(row: &BlockRow) -> u64 {
    let span = (row.last_seq + 1).saturating_sub(row.first_seq);
    span.saturating_sub(row.deleted.len())
}

/// Sequences that a block held when `index.db` was written.
fn held(row: &BlockRow) -> impl Iterator<Item = u64> + '_ {
    // A false claim must not be counted for hours.
    let last_seq = row.last_seq.min(row.first_seq.saturating_add(SPAN_MAX));
    (row.first_seq..=last_seq).filter(|seq| !row.deleted.contains(*seq))
}

/// A block has at most as many records as thirty bytes each allow, and as many gaps as one block may have.
const SPAN_MAX: u64 = 8 << 20;
