//! The store that keeps its messages in files, in nats-server's format. `docs/format.md` states every byte and rule.
//!
//! All changes, removals included, are records at the end of the last block, in order. A batch is one write at
//! [`Store::flush`]. What cannot be undone (deleting a block, rewriting it without its dead records) is done only
//! after the records that justify it are durable, so a crash at any point leaves what was acknowledged.

mod archive;
mod aside;
mod atomic;
mod block;
mod close;
mod compress;
mod directory;
mod encryption;
mod files;
mod hash;
mod housekeeping;
mod image;
mod index_db;
mod log;
mod lookup;
mod meta;
mod meta_sync;
mod missing;
mod old_index;
mod options;
mod picture;
mod read;
mod record;
mod recover;
mod remove;
mod rubbish;
mod scan;
mod seqset;
mod shared_sync;
mod state_file;
mod storage;
mod table;
mod undo;
mod unfinished;
mod unseen;
mod write;

pub(crate) use archive::{Files, TarReader};
pub(crate) use image::{ConsumerImage, FileImage};
pub use meta::StagedMeta;
pub use missing::Lack;
pub use options::{FileOptions, StreamLimits};
pub use picture::{PictureTaken, PictureWork};
pub use rubbish::Rubbish;
pub use state_file::StagedState;
pub(crate) use state_file::StateFile;
pub use state_file::StateSave;
pub use storage::{Storage, StoredConsumer, StoredStream};
pub(crate) use unseen::{UnseenFile, UnseenStream};

use self::atomic::AtomicChange;
use self::block::Block;
use self::files::StreamFiles;
use self::log::Log;
use self::meta_sync::MetaGate;
use self::picture::Pictures;
use self::read::Reader;
use self::undo::Undo;
use super::index::SubjectIndex;
use super::query;
use super::upcoming::{self, Ahead, Upcoming};
use super::{
    Derived, Known, LeftMsg, Lost, Msg, Removed, Store, StoreError, StoreImage, StoreState, Stored, SyncWork,
    gaps, msg_size_file,
};
use crate::filter::Filter;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// A store over one stream's directory.
pub struct FileStore {
    files: StreamFiles,
    options: FileOptions,
    /// By number, ascending; sequences do not overlap. Only the last is appended to.
    blocks: Vec<Block>,
    index: SubjectIndex,
    /// Counters; `subjects` and `first_ts_ns` are found on demand.
    totals: StoreState,
    first_ts_ns: Cell<Option<i64>>,
    log: Log,
    reader: RefCell<Reader>,
    /// Records that could not be read, by sequence, and where they are.
    damaged: BTreeMap<u64, String>,
    /// Found when the store was opened: sequence and moment of expiry.
    expiries: Vec<(u64, i64)>,
    /// Told by the owner before the end.
    derived: Derived,
    /// What was known when the store was opened, and the last sequence then.
    known: (Known, u64),
    /// Told by the owner before the end: what is kept of the schedules.
    noted_schedules: Option<Vec<u8>>,
    durability: Durability,
    /// What of the stream's metadata has to be durable before its messages are.
    gate: Option<Arc<MetaGate>>,
    /// Blocks, by number, that may be worth a rewrite or have become empty.
    chores: Vec<u32>,
    /// What was taken out of the first block since it began to go as a whole, without tombstones.
    leaving: Vec<u64>,
    /// Bytes of messages removed since the last cleaning up.
    dead_bytes: u64,
    /// Files from which nats-server would take what is no longer true; removed before the first change.
    outdated: Vec<PathBuf>,
    /// Files of servers before 2.10, which say what was removed until the blocks do, and durably.
    old_files: Vec<PathBuf>,
    /// Removed according to `index.db` or `N.idx` alone, which are out of date with the first change: what is written
    /// first.
    unlogged: Vec<u64>,
    undo: Undo,
    /// What is to be kept all or not at all, while it is done.
    change: Option<AtomicChange>,
    /// Blocks whose files are longer than what was kept of them, and their right lengths; 0 for those that go.
    to_cut: Vec<(u32, u64)>,
    pictures: Pictures,
    /// Whether `index.db` says what is true now.
    index_db_is_true: bool,
    /// Blocks that may have been lost.
    lacks: Vec<Lack>,
}

/// What has been written and is not yet durable, and why nothing can be written, if so.
#[derive(Debug, Default)]
struct Durability {
    /// Blocks written to since they were last synced, and the offset of the first byte written.
    unsynced: Vec<(u32, u64)>,
    /// The same of what is being synced outside of the store.
    syncing: Vec<(u32, u64)>,
    /// Whether files were created, renamed or removed since the directory was last synced.
    dir_unsynced: bool,
    dir_syncing: bool,
    /// The error that made the store read-only.
    poison: Option<String>,
    /// Whether a sync failed: the operating system may have dropped what it held, so that all of it is written
    /// again before the next sync is believed.
    rewrite: bool,
    /// How many syncs failed.
    failed_syncs: u64,
}

impl Durability {
    /// The file of a block was changed from an offset on.
    fn note(&mut self, block: u32, from: u64) {
        match self.unsynced.iter_mut().find(|(index, _)| *index == block) {
            Some((_, known)) => *known = from.min(*known),
            None => self.unsynced.push((block, from)),
        }
    }

    /// The file of a block was replaced by one that is durable, or is gone.
    fn forget(&mut self, block: u32) {
        self.unsynced.retain(|(index, _)| *index != block);
        self.syncing.retain(|(index, _)| *index != block);
    }
}

impl FileStore {
    /// A store of what these blocks hold, about which nothing else is known.
    fn bare(
        files: StreamFiles,
        options: FileOptions,
        blocks: Vec<Block>,
        index: SubjectIndex,
        totals: StoreState,
    ) -> Self {
        Self {
            log: Log::at(blocks.last().map_or(0, |block| block.len)),
            files,
            options,
            blocks,
            index,
            totals,
            first_ts_ns: Cell::new(None),
            reader: RefCell::new(Reader::default()),
            damaged: BTreeMap::new(),
            expiries: Vec::new(),
            derived: Derived::default(),
            known: (Known::default(), totals.last_seq),
            noted_schedules: None,
            durability: Durability::default(),
            gate: None,
            chores: Vec::new(),
            leaving: Vec::new(),
            dead_bytes: 0,
            outdated: Vec::new(),
            old_files: Vec::new(),
            unlogged: Vec::new(),
            undo: Undo::default(),
            change: None,
            to_cut: Vec::new(),
            pictures: Pictures::default(),
            index_db_is_true: false,
            lacks: Vec::new(),
        }
    }

    /// Whether all that it holds was written and could be read, and nothing is under way.
    fn is_settled(&self) -> bool {
        let whole = self.damaged.is_empty() && self.unlogged.is_empty() && self.to_cut.is_empty();
        let settled = self.leaving.is_empty() && self.change.is_none() && !self.log.has_pending();
        whole && settled && self.durability.poison.is_none()
    }

    /// Records found damaged, by sequence, with file and offset.
    #[must_use]
    pub fn damaged(&self) -> &BTreeMap<u64, String> {
        &self.damaged
    }

    /// Blocks that were not there when the store was opened, if nothing tells that they were deleted in order.
    #[must_use]
    pub fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// Bytes of memory that tables, index and buffers hold, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tables: usize =
            self.blocks.iter().map(|block| size_of::<Block>() + block.table.memory_bytes()).sum();
        tables + self.index.memory_bytes() + self.log.buf.capacity() + self.reader.borrow().chunk.capacity()
    }

    /// The number of block files.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        self.blocks.len()
    }
}

impl Store for FileStore {
    fn state(&self) -> StoreState {
        StoreState {
            subjects: self.index.len() as u64,
            first_ts_ns: if self.totals.msgs == 0 { 0 } else { self.first_ts_ns() },
            ..self.totals
        }
    }

    fn index(&self) -> &SubjectIndex {
        &self.index
    }

    fn msg_size(&self, subject_len: usize, headers_len: usize, payload_len: usize) -> u64 {
        msg_size_file(subject_len, headers_len, payload_len)
    }

    fn put(&mut self, msg: &Msg<'_>, most: u64) -> Result<Stored, StoreError> {
        self.put_within(msg, most)
    }

    fn skip_to(&mut self, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        self.skip(seq, ts_ns)
    }

    fn load(&mut self, seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        let spot = self.spot(seq)?;
        Ok(spot.and_then(|spot| self.view(&spot)))
    }

    fn next(&mut self, filter: &Filter, from_seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        let mut from_seq = from_seq;
        while let Some(seq) = query::next_seq(self, filter, from_seq)? {
            match self.spot(seq) {
                Ok(spot) => return Ok(spot.and_then(|spot| self.view(&spot))),
                Err(StoreError::Damaged { .. }) => from_seq = seq.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn next_upcoming(
        &mut self,
        filter: &Filter,
        from_seq: u64,
        upcoming: &mut Upcoming,
    ) -> Result<Ahead<Msg<'_>>, StoreError> {
        let mut from_seq = from_seq;
        loop {
            let seq = match upcoming::next_seq(self, filter, from_seq, upcoming)? {
                Ahead::Found(seq) => seq,
                Ahead::Nothing => return Ok(Ahead::Nothing),
                Ahead::More => return Ok(Ahead::More),
            };
            match self.spot(seq) {
                Ok(Some(spot)) => return Ok(self.view(&spot).map_or(Ahead::Nothing, Ahead::Found)),
                Ok(None) | Err(StoreError::Damaged { .. }) => from_seq = seq.saturating_add(1),
                Err(error) => return Err(error),
            }
        }
    }

    fn previous(&mut self, filter: &Filter, upto_seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        let mut upto_seq = upto_seq;
        while let Some(seq) = query::previous_seq(self, filter, upto_seq)? {
            match self.spot(seq) {
                Ok(spot) => return Ok(spot.and_then(|spot| self.view(&spot))),
                Err(StoreError::Damaged { .. }) => upto_seq = seq.saturating_sub(1),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn seq_at_time(&mut self, ts_ns: i64) -> Result<u64, StoreError> {
        self.find_time(ts_ns)
    }

    fn remove(
        &mut self,
        seq: u64,
        subject: Option<&[u8]>,
        erase: bool,
    ) -> Result<Option<Removed>, StoreError> {
        self.remove_message(seq, subject, erase)
    }

    fn compact(&mut self, seq: u64) -> Result<u64, StoreError> {
        self.remove_below(seq)
    }

    fn compact_part(
        &mut self,
        seq: u64,
        most: usize,
        gone: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<bool, StoreError> {
        self.remove_some_below(seq, most, gone)
    }

    fn deleted_from(&self, from_seq: u64, most: usize, deleted: &mut Vec<u64>) -> Option<u64> {
        if self.totals.msgs == 0 {
            return None;
        }
        let blocks = self.blocks.iter().skip(self.position(from_seq));
        let held = blocks.flat_map(|block| block.table.up(from_seq)).map(|(seq, _)| seq);
        gaps(held, (from_seq, self.totals.last_seq), most, deleted)
    }

    fn take_recovered_expiries(&mut self) -> Vec<(u64, i64)> {
        std::mem::take(&mut self.expiries)
    }

    fn recovered(&self) -> Known {
        let (known, last_seq) = self.known;
        if last_seq == self.totals.last_seq { known } else { Known::default() }
    }

    fn note_derived(&mut self, derived: Derived) {
        self.derived = derived;
    }

    fn wants_picture(&self) -> bool {
        FileStore::wants_picture(self)
    }

    fn image(&mut self, derived: Derived) -> Result<Option<StoreImage>, StoreError> {
        Ok(self.take_image(derived)?.map(StoreImage::File))
    }

    fn begin_picture(&mut self, derived: Derived) -> Option<PictureWork> {
        FileStore::begin_picture(self, derived)
    }

    fn end_picture(&mut self, taken: PictureTaken) -> Result<(), StoreError> {
        FileStore::end_picture(self, taken)
    }

    fn begin_atomic(&mut self) {
        self.begin_change();
    }

    fn end_atomic(&mut self) -> Result<(), StoreError> {
        self.end_change()
    }

    fn announce_batch(&mut self) -> Result<(), StoreError> {
        self.write_announcement()
    }

    fn announced_batch(&self) -> Option<u64> {
        self.read_announcement()
    }

    fn left_batch(&mut self, id: &[u8]) -> Result<Vec<LeftMsg>, StoreError> {
        self.read_staged(id)
    }

    fn forget_left_batches(&mut self) -> Result<(), StoreError> {
        self.remove_staged()
    }

    fn noted_schedules(&mut self) -> Option<Vec<u8>> {
        self.read_noted_schedules()
    }

    fn note_schedules(&mut self, noted: Vec<u8>) {
        self.noted_schedules = Some(noted);
    }

    fn noted_positions(&mut self) -> Option<Vec<u8>> {
        self.read_noted_positions()
    }

    fn note_positions(&mut self, noted: &[u8], syncs: bool) -> Result<(), StoreError> {
        self.write_noted_positions(noted, syncs)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        self.urgent_chores();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.sync_files()?;
        self.all_chores();
        Ok(())
    }

    fn keep(&mut self) {
        self.keep_all();
    }

    fn roll_back(&mut self) -> Lost {
        self.take_back()
    }

    fn begin_sync(&mut self) -> Result<Option<SyncWork>, StoreError> {
        self.write_pending()?;
        self.hand_out_sync()
    }

    fn end_sync(&mut self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        self.take_back_sync(outcome)?;
        if self.durability.unsynced.is_empty() && !self.durability.dir_unsynced && !self.log.has_pending() {
            self.all_chores();
        }
        Ok(())
    }

    fn write_error(&self) -> Option<String> {
        self.durability.poison.clone()
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.finish()?;
        self.write_noted_schedules();
        Ok(())
    }
}
