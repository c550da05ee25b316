//! `msgs/jetkv.db`: the index and the tables as they stood in memory, so that a start need not find them anew. It may be
//! deleted at any time.
//!
//! A picture is of a moment at which all that it shows was, or has become, durable. It is taken at an orderly stop, and in
//! between without holding anything up: what is pictured is shared, and copied where it changes meanwhile. It is of use
//! however old it is, since sequences are never used twice: what it shows removed stays removed, and of what it shows
//! held only that is not which blocks that came or changed since tell of. A block is taken from it where its file has the
//! size, the end and the time of modification that it had then; the others are read.
//!
//! `frames` is how the file is written, `take` what is in it, `believe` what of it counts, and `merge` puts it together
//! with what the other blocks hold.

mod believe;
mod frames;
mod merge;
mod take;

pub(super) use believe::Picture;
pub(super) use merge::Merge;
pub(super) use take::{PictureBegun, Pictures};
pub use take::{PictureTaken, PictureWork};

use super::block::Block;
use super::files::StreamFiles;
use super::index_db;
use super::record::CHECKSUM_LEN;
use crate::disk::DirEntry;
use std::path::Path;

pub(super) const FILE: &str = "jetkv.db";
/// A picture that is being taken; what of it is left at a start is removed.
const NEXT_FILE: &str = "jetkv.db.new";
const MAGIC: [u8; 4] = *b"JKVF";
const VERSION: u8 = 6;

/// A file as it was noted.
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

pub(super) fn block_index(name: &str) -> Option<u32> {
    name.strip_suffix(".blk").and_then(|number| number.parse().ok())
}

/// The last bytes of a file of this size.
fn file_end(files: &StreamFiles, path: &Path, size_bytes: u64) -> Option<[u8; CHECKSUM_LEN]> {
    let file = files.disk.open(path, false).ok()?;
    let mut end = [0; CHECKSUM_LEN];
    let at = size_bytes.checked_sub(CHECKSUM_LEN as u64)?;
    (file.read_at(&mut end, at).ok()? == CHECKSUM_LEN).then_some(end)
}

fn ends_with(files: &StreamFiles, block: &Block, seen: Seen) -> bool {
    file_end(files, &files.block_path(block.index), seen.size_bytes) == Some(block.last_checksum)
}

/// `index.db` as it is beside a picture; `None` where there is none.
type IndexSeen = Option<(Seen, [u8; CHECKSUM_LEN])>;

fn index_seen(files: &StreamFiles, entries: &[DirEntry]) -> IndexSeen {
    let entry = entries.iter().find(|entry| entry.name == index_db::FILE)?;
    let end = file_end(files, &entry.path, entry.size_bytes).unwrap_or_default();
    Some((Seen::new(entry), end))
}
