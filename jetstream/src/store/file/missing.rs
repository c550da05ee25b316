//! Blocks that should be there and are not, or are empty: what they held cannot be had back, but it is told.
#![warn(clippy::indexing_slicing)]

use super::block::Block;
use super::files::StreamFiles;
use super::index_db::{BlockRow, IndexDb};
use super::seqset::SeqSet;

/// Reports what `index.db` knew of and the files of the blocks do not hold. `sizes` are the sizes of the files by
/// number; `blocks` and `removed` are what was read of them.
pub(super) fn report(
    files: &StreamFiles,
    index_db: Option<&IndexDb>,
    blocks: &[Block],
    size_of: impl Fn(u32) -> Option<u64>,
    removed: &SeqSet,
) {
    let newest = blocks.last().map_or(0, |block| block.index);
    for block in blocks.iter().filter(|block| block.index != newest && size_of(block.index) == Some(0)) {
        if index_db.is_none_or(|index_db| !index_db.blocks.contains_key(&block.index)) {
            tracing::error!(
                stream = files.name,
                block = block.index,
                offset = 0,
                "{} is empty: what it held is lost",
                files.block_path(block.index).display()
            );
        }
    }
    let Some(index_db) = index_db else { return };
    let last = blocks.last();
    let current = last.is_some_and(|last| {
        last.index == index_db.last_block && last.last_checksum == index_db.last_checksum
    });
    for (index, row) in &index_db.blocks {
        let state = match size_of(*index) {
            None => "is missing",
            Some(0) => "is empty",
            Some(_) => continue,
        };
        // Blocks are deleted once nothing in them is held any more, but the one with the highest number only after
        // another was begun. Where the file is out of date, the others may have gone since.
        let surely = current || *index >= newest || state == "is empty";
        let between = blocks.first().is_some_and(|first| first.index < *index);
        if !surely && !between {
            continue;
        }
        let lost =
            held(row).filter(|seq| !removed.contains(*seq)).fold((0_u64, 0, 0), |(count, first, _), seq| {
                (count + 1, if count == 0 { seq } else { first }, seq)
            });
        let (msgs, first_seq, last_seq) = lost;
        if msgs == 0 {
            continue;
        }
        let path = files.block_path(*index);
        if surely {
            tracing::error!(
                stream = files.name,
                block = index,
                offset = 0,
                msgs,
                first_seq,
                last_seq,
                "{} {state}: the messages that it held are lost",
                path.display()
            );
        } else {
            tracing::warn!(
                stream = files.name,
                block = index,
                offset = 0,
                msgs,
                first_seq,
                last_seq,
                "{} {state}: the messages that it held were removed after the last orderly stop, or are lost",
                path.display()
            );
        }
    }
}

/// Sequences that a block held when `index.db` was written.
fn held(row: &BlockRow) -> impl Iterator<Item = u64> + '_ {
    // A damaged claim must not be counted for hours: nats-server, too, keeps every gap of a block in memory.
    let last_seq = row.last_seq.min(row.first_seq.saturating_add(SPAN_MAX));
    (row.first_seq..=last_seq).filter(|seq| !row.deleted.contains(*seq))
}

/// A block holds at most one record for each thirty of its bytes, and as many gaps as one block may have.
const SPAN_MAX: u64 = 8 << 20;
