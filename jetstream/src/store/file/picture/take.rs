//! Taking a picture.

use super::super::FileStore;
use super::super::block::Block;
use super::super::files::{StreamFiles, io_error};
use super::super::table::TableImage;
use super::frames::FrameWriter;
use super::{FILE, NEXT_FILE, Seen, ends_with, index_seen};
use crate::disk::DirEntry;
use crate::store::index::IndexImage;
use crate::store::varint::{put_uvarint, put_varint};
use crate::store::{Derived, StoreError, StoreState};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::{Arc, Weak};

/// So many times [`fast_start_from_bytes`](super::super::FileOptions::fast_start_from_bytes) are written, at least, before
/// the next picture is taken.
const EVERY: u64 = 32;

/// What a store knows of the pictures of it.
#[derive(Debug, Default)]
pub(in crate::store::file) struct Pictures {
    /// Bytes of blocks that were begun and filled since the last one was taken.
    filled_bytes: u64,
    /// The size of the last one.
    size_bytes: u64,
    /// That which is being taken.
    under_way: Option<Arc<UnderWay>>,
    /// Pictures that could not be written.
    failed: u32,
    /// Whether the one on the disk, if any, shows what is.
    pub(in crate::store::file) is_true: bool,
}

impl Pictures {
    /// Of a store that was opened: so many bytes had to be read, and the picture has this size.
    pub(in crate::store::file) fn new(filled_bytes: u64, size_bytes: u64, is_true: bool) -> Self {
        Self { filled_bytes, size_bytes, is_true, ..Self::default() }
    }
}

/// A picture that is being taken, and what its store says of it meanwhile.
#[derive(Debug, Default)]
struct UnderWay {
    /// Blocks whose files are, or are about to be, others than those that were pictured.
    replaced: Mutex<BTreeSet<u32>>,
}

/// A picture that is to be written, on a thread that may block and without the lock of the store.
pub struct PictureWork {
    files: StreamFiles,
    under_way: Weak<UnderWay>,
    totals: StoreState,
    /// Whether `index.db` tells the same.
    index_is_true: bool,
    most_per_subject: u64,
    derived: Derived,
    blocks: Vec<(Block, TableImage)>,
    index: IndexImage,
    moment: Moment,
}

/// What shows whether what was there then has been kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moment {
    take_backs: u64,
    failed_syncs: u64,
}

/// A picture of which tables and index were written, or were not. What it says of the files is not.
pub(in crate::store::file) struct PictureBegun {
    files: StreamFiles,
    under_way: Weak<UnderWay>,
    totals: StoreState,
    index_is_true: bool,
    most_per_subject: u64,
    derived: Derived,
    blocks: Vec<Block>,
    moment: Moment,
    out: io::Result<FrameWriter>,
}

/// A picture that was written, or was not.
pub struct PictureTaken {
    under_way: Weak<UnderWay>,
    moment: Moment,
    written: Result<u64, StoreError>,
}

impl FileStore {
    /// Whether so much was written since the last picture that it is time for one.
    pub(in crate::store::file) fn wants_picture(&self) -> bool {
        let pictures = &self.pictures;
        let least = self.options.fast_start_from_bytes.saturating_mul(EVERY).max(pictures.size_bytes);
        pictures.under_way.is_none() && pictures.filled_bytes > least << pictures.failed.min(16)
    }

    /// Another block was filled.
    pub(in crate::store::file) fn count_filled(&mut self, len: u64) {
        self.pictures.filled_bytes = self.pictures.filled_bytes.saturating_add(len);
    }

    /// The file of a block is about to be replaced by another one, or to go.
    pub(in crate::store::file) fn note_replaced(&self, block: u32) {
        if let Some(under_way) = &self.pictures.under_way {
            under_way.replaced.lock().insert(block);
        }
    }

    /// What is pictured is of no use any more.
    pub(in crate::store::file) fn give_up_picture(&mut self) {
        self.pictures.under_way = None;
    }

    /// Begins a picture of what the store holds, which was written; `None` where it would be of no use.
    pub(in crate::store::file) fn begin_picture(&mut self, mut derived: Derived) -> Option<PictureWork> {
        self.pictures.filled_bytes = 0;
        let bytes: u64 = self.blocks.iter().map(|block| block.len).sum();
        if !self.is_settled() || bytes < self.options.fast_start_from_bytes {
            return None;
        }
        if let Some(expiries) = &mut derived.expiries {
            expiries.retain(|(seq, _)| self.place(*seq).is_some());
        }
        let under_way = Arc::<UnderWay>::default();
        let blocks = self.blocks.iter_mut().map(|block| (block.without_table(), block.table.image()));
        let work = PictureWork {
            under_way: Arc::downgrade(&under_way),
            blocks: blocks.collect(),
            index: self.index.image(),
            files: self.files.clone(),
            totals: self.totals,
            index_is_true: self.index_db_is_true,
            most_per_subject: u64::from(self.index.len() as u64 == self.totals.msgs),
            derived,
            moment: self.moment(),
        };
        self.pictures.under_way = Some(under_way);
        Some(work)
    }

    fn moment(&self) -> Moment {
        Moment { take_backs: self.undo.take_backs, failed_syncs: self.durability.failed_syncs }
    }

    /// Puts a picture in its place, once all that was written before it was begun is durable; if a sync failed meanwhile,
    /// or something was taken back, what it shows may not be so.
    pub(in crate::store::file) fn end_picture(&mut self, taken: PictureTaken) -> Result<(), StoreError> {
        let known = self.pictures.under_way.as_ref().map(Arc::as_ptr);
        if known != Some(taken.under_way.as_ptr()) {
            return Ok(());
        }
        self.give_up_picture();
        let path = self.files.msgs_dir.join(NEXT_FILE);
        let good = self.moment() == taken.moment && self.durability.poison.is_none();
        let placed = match taken.written {
            Ok(size_bytes) if good => {
                let into = self.files.msgs_dir.join(FILE);
                let renamed = self.files.disk.rename(&path, &into);
                renamed.map(|()| size_bytes).map_err(|error| io_error("could not write", &into, error))
            }
            Ok(_) => {
                let _ = self.files.disk.remove_file(&path);
                return Ok(());
            }
            Err(error) => Err(error),
        };
        match placed {
            Ok(size_bytes) => {
                (self.pictures.size_bytes, self.pictures.failed) = (size_bytes, 0);
                Ok(())
            }
            Err(error) => {
                self.pictures.failed += 1;
                let _ = self.files.disk.remove_file(&path);
                Err(error)
            }
        }
    }

    /// Puts the picture in its place that an orderly stop leaves: everything is durable, and `index.db` tells the same.
    pub(in crate::store::file) fn leave_picture(&mut self, begun: PictureBegun) -> Result<(), StoreError> {
        let taken = begun.end();
        self.end_picture(taken)?;
        self.pictures.is_true = true;
        Ok(())
    }

    /// No subject has more messages than this.
    pub(in crate::store::file) fn most_per_subject(&self) -> u64 {
        let mut most = 0;
        self.index.for_each(&crate::filter::Filter::All, |_, entry| {
            most = entry.count.max(most);
            std::ops::ControlFlow::Continue(())
        });
        most
    }
}

impl PictureWork {
    /// About how large it will be.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.index.size_bytes() + self.blocks.iter().map(|(_, table)| table.size_bytes()).sum::<u64>()
    }

    /// Writes the picture beside its place. What was written before it was begun has to be made durable, then the store
    /// puts it there. A picture that cannot be written leaves nothing.
    #[must_use]
    pub fn run(self) -> PictureTaken {
        self.begin().end()
    }

    /// Writes tables and index, which do not change any more.
    pub(in crate::store::file) fn begin(self) -> PictureBegun {
        let Self {
            files,
            under_way,
            totals,
            index_is_true,
            most_per_subject,
            derived,
            blocks,
            index,
            moment,
        } = self;
        let mut pictured = Vec::with_capacity(blocks.len());
        let out = write_content(&files, &under_way, blocks, index, &mut pictured);
        PictureBegun {
            files,
            under_way,
            totals,
            index_is_true,
            most_per_subject,
            derived,
            blocks: pictured,
            moment,
            out,
        }
    }
}

/// Nobody waits for a picture where the store is closed, or has begun another one.
fn go_on(under_way: &Weak<UnderWay>) -> io::Result<Arc<UnderWay>> {
    under_way.upgrade().ok_or_else(|| io::Error::other("it is not wanted any more"))
}

fn write_content(
    files: &StreamFiles,
    under_way: &Weak<UnderWay>,
    blocks: Vec<(Block, TableImage)>,
    index: IndexImage,
    pictured: &mut Vec<Block>,
) -> io::Result<FrameWriter> {
    let mut out = FrameWriter::create(files, &files.msgs_dir.join(NEXT_FILE))?;
    let mut part = Vec::new();
    put_uvarint(&mut part, blocks.len() as u64);
    for (block, table) in blocks {
        go_on(under_way)?;
        put_block(&mut part, &block);
        out.write_all(&part)?;
        part.clear();
        table.write(&mut out)?;
        pictured.push(block);
    }
    out.write_all(&part)?;
    go_on(under_way)?;
    index.write(&mut out)?;
    Ok(out)
}

impl PictureBegun {
    /// `index.db` tells the same now, and no subject has more messages than this.
    pub(in crate::store::file) fn is_as_index_db(&mut self, most_per_subject: u64) {
        (self.index_is_true, self.most_per_subject) = (true, most_per_subject);
    }

    /// Nobody will end it.
    pub(in crate::store::file) fn remove(&self) {
        let _ = self.files.disk.remove_file(&self.files.msgs_dir.join(NEXT_FILE));
    }

    /// Writes the rest: what it says of the files.
    pub(in crate::store::file) fn end(mut self) -> PictureTaken {
        let out = std::mem::replace(&mut self.out, Err(io::ErrorKind::Other.into()));
        let written = out.and_then(|out| self.finish(out)).map_err(|error| {
            self.remove();
            io_error("could not write", &self.files.msgs_dir.join(NEXT_FILE), error)
        });
        PictureTaken { under_way: self.under_way, moment: self.moment, written }
    }

    fn finish(&self, mut out: FrameWriter) -> io::Result<u64> {
        let Self { files, under_way, derived, blocks, .. } = self;
        let mut part = Vec::new();
        put_expiries(&mut part, derived.expiries.as_deref().unwrap_or_default());
        // Only now, so that the files are not older than what was pictured. Those that were replaced are told.
        let entries = files.disk.list(&files.msgs_dir)?;
        let by_index: BTreeMap<&str, &DirEntry> =
            entries.iter().map(|entry| (entry.name.as_str(), entry)).collect();
        let mut seen: Vec<Option<Seen>> = Vec::with_capacity(blocks.len());
        for block in blocks {
            let entry = by_index.get(format!("{}.blk", block.index).as_str());
            seen.push(entry.and_then(|entry| noted(files, block, entry, derived.expiries.is_some())));
        }
        let replaced = go_on(under_way)?.replaced.lock().clone();
        for (block, seen) in blocks.iter().zip(seen) {
            put_seen(&mut part, seen.filter(|_| !replaced.contains(&block.index)));
        }
        self.put_whole(&mut part, &entries);
        out.write_all(&part)?;
        out.finish()
    }

    /// What is said of the stream as a whole.
    fn put_whole(&self, out: &mut Vec<u8>, entries: &[DirEntry]) {
        let index_seen = index_seen(&self.files, entries);
        put_seen(out, index_seen.map(|(seen, _)| seen));
        out.extend(index_seen.into_iter().flat_map(|(_, end)| end));
        out.push(u8::from(self.index_is_true && index_seen.is_some()));
        put_uvarint(out, self.totals.msgs);
        put_uvarint(out, self.totals.first_seq);
        put_uvarint(out, self.totals.last_seq);
        put_varint(out, self.totals.last_ts_ns);
        put_uvarint(out, self.most_per_subject);
        let (ids_from, window_ns) = self.derived.ids_from.unwrap_or_default();
        put_uvarint(out, ids_from);
        put_varint(out, window_ns);
    }
}

/// The file of a block that is to be believed. Others are read at the next start: those with damage, those without
/// messages, and those with messages that have a time to live where only their records tell it.
fn noted(files: &StreamFiles, block: &Block, entry: &DirEntry, expiries_known: bool) -> Option<Seen> {
    let seen = Seen::new(entry);
    let plain = !block.damaged && block.records > 0;
    let plain = plain && (block.ttls == 0 || expiries_known);
    let whole = block.compressed || seen.size_bytes == block.len;
    (plain && whole && ends_with(files, block, seen)).then_some(seen)
}

fn put_seen(out: &mut Vec<u8>, seen: Option<Seen>) {
    out.push(u8::from(seen.is_some()));
    if let Some(seen) = seen {
        put_uvarint(out, seen.size_bytes);
        put_varint(out, seen.modified_ns);
    }
}

fn put_block(out: &mut Vec<u8>, block: &Block) {
    put_uvarint(out, u64::from(block.index));
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
}

fn put_expiries(out: &mut Vec<u8>, expiries: &[(u64, i64)]) {
    let mut expiries = expiries.to_vec();
    expiries.sort_unstable();
    put_uvarint(out, expiries.len() as u64);
    let (mut last_seq, mut last_ns) = (0, 0);
    for (seq, at_ns) in expiries {
        put_uvarint(out, seq - last_seq);
        put_varint(out, at_ns.wrapping_sub(last_ns));
        (last_seq, last_ns) = (seq, at_ns);
    }
}
