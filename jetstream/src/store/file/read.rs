//! Reading blocks: open handles, and the stretch that was read last.
#![warn(clippy::indexing_slicing)]

use super::block::Block;
use super::compress;
use super::files::StreamFiles;
use super::record::{CHECKSUM_LEN, parse};
use super::table::Place;
use crate::disk::DiskFile;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Block files that one store keeps at hand: 16 gigabytes of messages in the blocks of a bucket. How many of them are open
/// is the disk's matter, which closes what is not used where a process has too many; to open one again costs three times what
/// reading a message costs.
const HANDLES_MAX: usize = 4096;
/// Read at once by a reader that goes through a block in order: little where it has only begun, as it may be among a few
/// records that lie together, and twice as much each time it goes on.
const READ_AHEAD_MIN_BYTES: u64 = 8 << 10;
const READ_AHEAD_BYTES: u64 = 128 << 10;
/// A read that begins at most this far behind the one before goes through the block in order.
const NEAR_BYTES: u64 = 16 << 10;

/// A block's file.
struct Handle {
    block: u32,
    file: Arc<dyn DiskFile>,
    /// When it was used last, in uses of all.
    used_at: u64,
}

/// Reads records of blocks. Holds files of blocks and one stretch of one block.
#[derive(Default)]
pub(super) struct Reader {
    /// In the order of blocks.
    handles: Vec<Handle>,
    uses: u64,
    pub(super) chunk: Vec<u8>,
    /// Block and offset of `chunk`.
    chunk_at: Option<(u32, u64)>,
    /// Block and offset where the last read ended.
    last_end: (u32, u64),
    /// How much the last read in order brought.
    ahead_bytes: u64,
}

impl Reader {
    /// The open file of a block; created where `create` is set and it does not exist.
    #[inline]
    pub(super) fn handle(
        &mut self,
        files: &StreamFiles,
        index: u32,
        create: bool,
    ) -> io::Result<&Arc<dyn DiskFile>> {
        self.uses += 1;
        let at = match self.handles.binary_search_by_key(&index, |handle| handle.block) {
            Ok(at) => at,
            Err(_) => self.open(files, index, create)?,
        };
        let handle = self.handles.get_mut(at).ok_or(io::ErrorKind::NotFound)?;
        handle.used_at = self.uses;
        Ok(&handle.file)
    }

    /// Opens the file of a block; gives its place among the handles.
    #[inline(never)]
    fn open(&mut self, files: &StreamFiles, index: u32, create: bool) -> io::Result<usize> {
        let file = files.disk.open(&files.block_path(index), create)?;
        self.make_room();
        let at = self.handles.partition_point(|handle| handle.block < index);
        self.handles.insert(at, Handle { block: index, file: Arc::from(file), used_at: 0 });
        Ok(at)
    }

    /// Lets go of the file that was not used for longest, where there are as many as there may be.
    fn make_room(&mut self) {
        if self.handles.len() < HANDLES_MAX {
            return;
        }
        let oldest = self.handles.iter().enumerate().min_by_key(|(_, handle)| handle.used_at);
        if let Some((at, _)) = oldest {
            self.handles.remove(at);
        }
    }

    /// Forgets a block whose file is about to be replaced or removed.
    pub(super) fn forget(&mut self, index: u32) {
        self.handles.retain(|handle| handle.block != index);
        if self.chunk_at.is_some_and(|(known, _)| known == index) {
            self.release();
        }
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        self.chunk_at = None;
        self.chunk = Vec::new();
    }

    /// Makes the record at `place` available in `chunk`. `None` where the file is too short or cannot be
    /// decompressed: the record is damaged. Nothing is read at or after `written`, where a failed write may have left
    /// what is not true.
    pub(super) fn record(
        &mut self,
        files: &StreamFiles,
        block: &Block,
        place: Place,
        written: u64,
    ) -> io::Result<Option<Range<usize>>> {
        let (offset, len) = (u64::from(place.offset), u64::from(place.len));
        let near = self.last_end.0 == block.index
            && offset.checked_sub(self.last_end.1).is_some_and(|gap| gap <= NEAR_BYTES);
        self.last_end = (block.index, offset + len);
        if !near {
            self.ahead_bytes = 0;
        }
        if let Some(range) = self.find(block.index, offset, len) {
            return Ok(Some(range));
        }
        if block.compressed {
            self.chunk_at = None;
            let Some(content) = content(files, block.index)? else { return Ok(None) };
            self.chunk = content.bytes;
            self.chunk_at = Some((block.index, 0));
            return Ok(self.find(block.index, offset, len));
        }
        if near {
            self.ahead_bytes = (2 * self.ahead_bytes).clamp(READ_AHEAD_MIN_BYTES, READ_AHEAD_BYTES);
        }
        let wanted = len.max(self.ahead_bytes);
        let wanted = usize::try_from(wanted.min(written.saturating_sub(offset))).unwrap_or(usize::MAX);
        self.chunk_at = None;
        let mut chunk = std::mem::take(&mut self.chunk);
        chunk.resize(wanted, 0);
        if chunk.capacity() > 4 * wanted.max(usize::try_from(READ_AHEAD_BYTES).unwrap_or(0)) {
            chunk.shrink_to_fit();
        }
        let got = self.handle(files, block.index, false)?.read_at(&mut chunk, offset)?;
        chunk.truncate(got);
        self.chunk = chunk;
        self.chunk_at = Some((block.index, offset));
        Ok(self.find(block.index, offset, len))
    }

    fn find(&self, index: u32, offset: u64, len: u64) -> Option<Range<usize>> {
        let (chunk_index, chunk_start) = self.chunk_at?;
        let start = usize::try_from(offset.checked_sub(chunk_start)?).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        (chunk_index == index && end <= self.chunk.len()).then_some(start..end)
    }
}

/// The content of a block.
pub(super) struct Content {
    /// Uncompressed.
    pub(super) bytes: Vec<u8>,
    /// Whether the file is compressed.
    pub(super) compressed: bool,
    /// Whether all of it could be decompressed.
    pub(super) whole: bool,
    /// The last bytes of the file.
    pub(super) file_end: Option<[u8; CHECKSUM_LEN]>,
}

/// The content of a block; `None` where nothing of it can be decompressed.
pub(super) fn content(files: &StreamFiles, index: u32) -> io::Result<Option<Content>> {
    let file = files.disk.read(&files.block_path(index))?;
    let file_end = file.last_chunk().copied();
    if !compress::is_compressed(&file) {
        return Ok(Some(Content { bytes: file, compressed: false, whole: true, file_end }));
    }
    Ok(match compress::decompress(&file) {
        Some(found) => Some(Content { bytes: found.content, compressed: true, whole: found.whole, file_end }),
        // A plain block may begin with these very bytes, if its first record has one certain, huge length.
        None => parse(&file).is_some().then_some(Content {
            bytes: file,
            compressed: false,
            whole: true,
            file_end,
        }),
    })
}
