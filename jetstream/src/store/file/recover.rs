//! Opening a stream's directory: reading every block, and finding out what is held.
//!
//! Blocks are read from the newest to the oldest, so that every removal is known before the record it is about.
//! Nothing is changed on disk but the end of the last block, where a write did not get to its end.
#![warn(clippy::indexing_slicing)]

use super::block::Block;
use super::directory::{block_sizes, finish_purge, leftovers, named, read_index_db};
use super::files::{StreamFiles, io_error};
use super::index_db::{self, IndexDb};
use super::missing::Findings;
use super::old_index::OldIndex;
use super::picture::{self, Merge, Picture, Pictures};
use super::read::{Content, content};
use super::record::{CHECKSUM_LEN, Kind, Record};
use super::scan::{Damage, Found, Scan};
use super::seqset::SeqSet;
use super::{FileOptions, FileStore};
use crate::clock::WallNs;
use crate::disk::DirEntry;
use crate::store::index::SubjectIndex;
use crate::store::{Known, StoreError, StoreState};
use crate::ttl::parse_ttl;
use jetkv_go_compat::os_text;
use jetkv_protocol::Headers;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// A damaged record at the end of the last block is believed to be of a sequence at most this far up.
const CLAIM_MAX: u64 = 64 << 10;

/// Damaged records of one block that are told of one by one, and copied. What is not copied stays in the block.
pub(super) const DAMAGES_TOLD_MAX: usize = 32;
/// The same of all blocks together.
const DAMAGES_TOLD_OF_ALL_MAX: usize = 256;

/// What reading one block brings.
struct Taken {
    block: Block,
    subjects: Subjects,
    /// What a server before 2.10 knew of the block.
    old_index: Option<OldIndex>,
    /// Damaged records found, and how many of them were told of.
    damages: usize,
    told: usize,
}

/// What reading the blocks brings.
struct Recovery {
    files: StreamFiles,
    /// What is in the directory of the blocks.
    entries: Vec<DirEntry>,
    /// That which is there, or what a picture tells instead.
    index_db: Option<IndexDb>,
    picture: Option<Picture>,
    /// Whether blocks contradict the picture.
    disagrees: bool,
    /// Sequences that tombstones in later blocks, or in the one being read, removed.
    removed: SeqSet,
    /// First sequence of the block after; records at or above it are out of order.
    ceiling: u64,
    /// Removed according to `index.db` or `N.idx` alone.
    unlogged: Vec<u64>,
    /// Newest first while they are read.
    blocks: Vec<Block>,
    /// Which of them were not read, since what was noted of them is still true.
    known: Vec<bool>,
    /// Subjects of the messages held, one list for each block, newest first.
    subjects: Vec<Subjects>,
    damaged: BTreeMap<u64, String>,
    expiries: Vec<(u64, i64)>,
    /// The first message with an id, of those in blocks that were read and not pictured.
    first_id_seq: Option<u64>,
    /// The highest sequence that anything speaks of, and its time.
    newest: (u64, i64),
    /// The highest first sequence that an `N.idx` tells.
    first_seq: u64,
    /// The highest sequence that nats-server will find in the blocks.
    told_seq: u64,
    /// Where the last block must be cut.
    cut: Option<u64>,
    /// Blocks that begin with a record which says that all before it was purged.
    purged_before: BTreeSet<u32>,
    /// Damaged records that were told of.
    told: usize,
    /// What was kept of damaged records before, once that was looked for.
    quarantined: Option<BTreeMap<PathBuf, u64>>,
}

/// Subjects of the messages held in one block.
#[derive(Default)]
struct Subjects {
    bytes: Vec<u8>,
    /// Sequence, and where its subject ends; it begins where the one before ends.
    ends: Vec<(u64, usize)>,
}

impl FileStore {
    /// Opens a stream's messages. The directory need not exist.
    pub(super) fn open(files: StreamFiles, options: FileOptions) -> Result<Self, StoreError> {
        finish_purge(&files)?;
        let entries = files
            .disk
            .list(&files.msgs_dir)
            .map_err(|error| io_error("could not list", &files.msgs_dir, error))?;
        let key = entries.iter().find(|entry| entry.name.ends_with(".key"));
        if let Some(key) = key.filter(|_| !files.is_encrypted()) {
            return Err(StoreError::Unsupported(format!("{} is encrypted", key.path.display())));
        }
        let sizes = block_sizes(&files, &entries);
        let picture = Picture::read(&files, &entries);
        let mut recovery = Recovery::read(files.clone(), entries.clone(), &sizes, picture)?;
        if recovery.disagrees {
            tracing::warn!(stream = files.name, "{} is of other messages, and not used", picture::FILE);
            recovery = Recovery::read(files, entries, &sizes, None)?;
        }
        let lacks = if recovery.is_as_pictured() { Vec::new() } else { recovery.lacks(&sizes) };
        let mut store = recovery.build(options)?;
        store.lacks = lacks;
        Ok(store)
    }
}

impl Recovery {
    /// Reads all blocks but those that are as they were pictured.
    fn read(
        files: StreamFiles,
        entries: Vec<DirEntry>,
        sizes: &BTreeMap<u32, u64>,
        picture: Option<Picture>,
    ) -> Result<Self, StoreError> {
        let index_db = match &picture {
            Some(picture) => Some(picture.summary()),
            None => read_index_db(&files, &entries),
        };
        let mut recovery = Self {
            index_db,
            picture,
            disagrees: false,
            known: Vec::with_capacity(sizes.len()),
            files,
            entries,
            removed: SeqSet::default(),
            ceiling: u64::MAX,
            unlogged: Vec::new(),
            blocks: Vec::with_capacity(sizes.len()),
            subjects: Vec::with_capacity(sizes.len()),
            damaged: BTreeMap::new(),
            expiries: Vec::new(),
            first_id_seq: None,
            newest: (0, 0),
            first_seq: 0,
            told_seq: 0,
            cut: None,
            purged_before: BTreeSet::new(),
            told: 0,
            quarantined: None,
        };
        for (age, index) in sizes.keys().rev().enumerate() {
            match recovery.picture.as_mut().and_then(|picture| picture.blocks.remove(index)) {
                Some(block) => recovery.take_known(block),
                None => {
                    recovery.read_block(*index, age == 0)?;
                    recovery.known.push(false);
                }
            }
        }
        let pictured_seq = recovery.picture.as_ref().map_or(0, |picture| picture.totals.last_seq);
        recovery.disagrees |= recovery.newest.0 < pictured_seq;
        recovery.blocks.reverse();
        recovery.known.reverse();
        Ok(recovery)
    }

    /// Whether nothing had to be read.
    fn is_as_pictured(&self) -> bool {
        self.picture.as_ref().is_some_and(|picture| picture.is_all)
    }

    /// Reports what is not there, and says which blocks may be missing.
    fn lacks(&self, sizes: &BTreeMap<u32, u64>) -> Vec<super::Lack> {
        let Self { files, index_db, blocks, removed, damaged, purged_before, .. } = self;
        let index_db = index_db.as_ref();
        let findings = Findings { files, index_db, blocks, sizes, removed, damaged, purged_before };
        findings.report();
        findings.unknown()
    }

    /// Takes a block whose file is as it was when it was noted.
    fn take_known(&mut self, block: Block) {
        if block.last_seq >= self.newest.0 {
            self.newest = (block.last_seq, block.last_ts_ns);
        }
        self.told_seq = self.told_seq.max(block.last_seq);
        // A first record that holds nothing may be a mark, which may repeat the last sequence of the block before.
        let is_message = block.table.get(block.first_seq).is_some();
        self.ceiling = self.ceiling.min(block.first_seq + u64::from(!is_message));
        self.blocks.push(block);
        self.subjects.push(Subjects::default());
        self.known.push(true);
    }

    /// The index of subjects: what was pictured of blocks that were not read, and what the others brought.
    fn index(&mut self) -> (SubjectIndex, Option<u64>) {
        let Some(mut picture) = self.picture.take() else {
            let mut index = SubjectIndex::default();
            self.each_held(|subject, seq| {
                index.record(subject, seq);
            });
            return (index, None);
        };
        let expiries = std::mem::take(&mut picture.expiries);
        let mut blocks: Vec<_> = self.known.iter().copied().zip(&mut self.blocks).collect();
        let mut merge = Merge::new(picture, &mut blocks, &self.removed);
        self.each_held(|subject, seq| merge.held(subject, seq));
        let Self { blocks, known, .. } = self;
        let is_known = |seq: u64| {
            let position = blocks.partition_point(|block| block.last_seq < seq);
            let block = blocks.get(position).filter(|_| known.get(position) == Some(&true));
            block.is_some_and(|block| block.table.get(seq).is_some())
        };
        self.expiries.extend(expiries.into_iter().filter(|(seq, _)| is_known(*seq)));
        merge.finish()
    }

    /// The messages held in blocks that were read, from the oldest to the newest.
    fn each_held(&self, mut each: impl FnMut(&[u8], u64)) {
        for subjects in self.subjects.iter().rev() {
            let mut start = 0;
            for (seq, end) in &subjects.ends {
                each(subjects.bytes.get(start..*end).unwrap_or_default(), *seq);
                start = *end;
            }
        }
    }

    /// Takes a block of which nothing can be had.
    fn take_unreadable(&mut self, index: u32, path: &Path) {
        tracing::error!(
            stream = self.files.name,
            block = index,
            offset = 0,
            "damaged compressed block {}: its messages cannot be read, the file is kept",
            path.display()
        );
        let mut block = Block::new(&self.files.name, index, 0, 0);
        (block.damaged, block.compressed) = (true, true);
        self.blocks.push(block);
        self.subjects.push(Subjects::default());
    }

    fn read_block(&mut self, index: u32, is_last: bool) -> Result<(), StoreError> {
        let path = self.files.block_path(index);
        let read = content(&self.files, index).map_err(|error| io_error("could not read", &path, error))?;
        let Some(Content { bytes: content, compressed, whole, file_end }) = read else {
            self.take_unreadable(index, &path);
            return Ok(());
        };
        let old_index = OldIndex::read(&self.files, &self.entries, index, file_end);
        let mut block = Block::new(&self.files.name, index, 0, 0);
        (block.compressed, block.damaged) = (compressed, !whole);
        let mut scan = Scan::new(&content, block.key);
        let found: Vec<Found<'_>> = scan.by_ref().collect();
        if scan.gave_up() {
            tracing::error!(
                stream = self.files.name,
                block = index,
                "too much in {} looks like records and is none: the rest of it is not searched",
                path.display()
            );
        }
        let tombstones = found.iter().filter_map(|found| match found {
            Found::Record(_, record) if record.kind == Kind::Tombstone => Some(record.seq),
            _ => None,
        });
        let mut tombstone_max = 0;
        for seq in tombstones {
            self.removed.insert(seq);
            tombstone_max = tombstone_max.max(seq);
        }
        let mut taken = Taken { block, subjects: Subjects::default(), old_index, damages: 0, told: 0 };
        for found in &found {
            match found {
                Found::Record(at, record) => self.take_record(&mut taken, *at, record),
                Found::Damage(damage) => {
                    let is_end = is_last && !compressed && damage.range.end == content.len();
                    self.take_damage(&mut taken, damage, &content, is_end);
                }
            }
        }
        let Taken { mut block, subjects, old_index, damages, told } = taken;
        if damages > told {
            tracing::error!(
                stream = self.files.name,
                block = index,
                "{} more damaged records in {}, left where they are",
                damages - told,
                path.display()
            );
        }
        self.take_old_index(old_index.as_ref());
        let told = if block.records > 0 { block.last_seq } else { tombstone_max };
        self.told_seq = self.told_seq.max(told);
        if let Some(first) = found.iter().find_map(Found::sequenced) {
            // A mark may repeat the last sequence of the block before.
            self.ceiling = self.ceiling.min(first.seq + u64::from(first.kind == Kind::Erased));
        }
        // A purge leaves a mark of the last sequence; that of nats-server a tombstone.
        if matches!(found.first(), Some(Found::Record(_, first)) if first.kind != Kind::Message) {
            self.purged_before.insert(index);
        }
        let end = content
            .get(..usize::try_from(block.len).unwrap_or(0))
            .and_then(<[u8]>::last_chunk::<CHECKSUM_LEN>);
        block.last_checksum = end.copied().unwrap_or_default();
        block.table.close();
        self.blocks.push(block);
        self.subjects.push(subjects);
        Ok(())
    }

    /// The end of an emptied block, and messages of which there are no records.
    fn take_old_index(&mut self, old_index: Option<&OldIndex>) {
        let Some(old_index) = old_index else { return };
        self.first_seq = self.first_seq.max(old_index.first_seq);
        if old_index.last_seq > self.newest.0 {
            self.newest = (old_index.last_seq, old_index.last_ts_ns);
        }
    }

    fn take_record(&mut self, taken: &mut Taken, at: usize, record: &Record<'_>) {
        let Taken { block, subjects, old_index, .. } = taken;
        let seq = record.seq;
        // An erasure in place leaves no time.
        let dated = record.kind != Kind::Tombstone && record.ts_ns != 0;
        if seq > self.newest.0 || (seq == self.newest.0 && dated) {
            self.newest = (seq, record.ts_ns);
        }
        let in_order = (block.records == 0 || seq > block.last_seq) && seq < self.ceiling && seq != 0;
        if record.kind != Kind::Tombstone && !in_order {
            block.len = (at + record.len) as u64;
            return;
        }
        let mut held = record.kind == Kind::Message && !self.removed.contains(seq);
        self.disagrees |= held && self.picture.as_ref().is_some_and(|known| !known.agrees(block.index, seq));
        let indexed = self.index_db.as_ref().is_some_and(|index| index.removed(block.index, seq));
        if held && (indexed || old_index.as_ref().is_some_and(|index| index.removed(seq))) {
            // Blocks tell what a picture shows removed, though they may be such as were not read.
            if self.picture.is_none() {
                self.unlogged.push(seq);
            }
            held = false;
        }
        block.note(at as u64, record, held);
        if held {
            subjects.bytes.extend_from_slice(record.subject);
            subjects.ends.push((seq, subjects.bytes.len()));
            self.take_headers(record);
        }
    }

    fn take_headers(&mut self, record: &Record<'_>) {
        if record.headers.is_empty() {
            return;
        }
        self.expiries.extend(expiry_ns(record).map(|at_ns| (record.seq, at_ns)));
        let pictured_seq = self.picture.as_ref().map_or(0, |picture| picture.totals.last_seq);
        if record.seq > pictured_seq && Headers::new(record.headers).contains(b"Nats-Msg-Id") {
            self.first_id_seq = Some(self.first_id_seq.map_or(record.seq, |first| first.min(record.seq)));
        }
    }

    /// What is known of the ids of messages.
    fn known(&self) -> Known {
        let first = self.first_id_seq.unwrap_or(self.newest.0.saturating_add(1));
        match &self.picture {
            None => Known { ids_from: Some(first), ..Known::default() },
            Some(picture) => {
                // Where none was remembered it says the sequence that was to come.
                let of_picture = picture.known.ids_from;
                let ids_from =
                    of_picture.map(|seq| if seq > picture.totals.last_seq { first } else { seq.min(first) });
                Known { ids_from, ..picture.known }
            }
        }
    }

    /// `is_end` says that nothing comes after it in the stream: it is cut off, so that appending can go on.
    fn take_damage(&mut self, taken: &mut Taken, damage: &Damage, content: &[u8], is_end: bool) {
        let block = &mut taken.block;
        let offset = damage.range.start as u64;
        if is_end {
            self.cut = Some(offset);
        }
        if damage.torn {
            tracing::warn!(
                stream = self.files.name,
                block = block.index,
                offset,
                len = damage.range.len(),
                "a write did not get to its end"
            );
            if !is_end {
                block.len = damage.range.end as u64;
            }
            return;
        }
        taken.damages += 1;
        let bytes = content.get(damage.range.clone()).unwrap_or_default();
        let told = is_end || (taken.told < DAMAGES_TOLD_MAX && self.told < DAMAGES_TOLD_OF_ALL_MAX);
        (taken.told, self.told) = (taken.told + usize::from(told), self.told + usize::from(told));
        if told && let Err(error) = self.keep_damaged((block.index, offset), damage, bytes, is_end) {
            tracing::error!(stream = self.files.name, "could not keep damaged bytes: {}", os_text(&error));
            // What could not be copied must stay where it is; a new block takes what comes.
            self.cut = None;
        }
        if self.cut.is_none() {
            block.damaged = true;
            block.len = damage.range.end as u64;
        }
        if let Some(seq) = damage.claimed_seq {
            let place = format!("{} at offset {offset}", self.files.block_path(block.index).display());
            self.damaged.insert(seq, place);
            if is_end && seq - self.newest.0.min(seq) <= CLAIM_MAX {
                self.newest = (seq.max(self.newest.0), self.newest.1);
            }
        }
    }

    /// Copies bytes that are no record, unless they were before. What stays where it is needs no sync.
    fn keep_damaged(
        &mut self,
        place: (u32, u64),
        damage: &Damage,
        bytes: &[u8],
        goes: bool,
    ) -> io::Result<()> {
        let known = match self.quarantined.take() {
            Some(known) => known,
            None => self.files.quarantined()?,
        };
        let kept = self.files.quarantine(place, damage.claimed_seq, bytes, goes, &known);
        self.quarantined = Some(known);
        kept
    }

    fn build(mut self, options: FileOptions) -> Result<FileStore, StoreError> {
        let leftovers = leftovers(&self.entries);
        let mut before = (0, 0);
        for block in &mut self.blocks {
            if block.records == 0 {
                (block.first_seq, block.last_seq, block.last_ts_ns) = (before.0 + 1, before.0, before.1);
            }
            before = (block.last_seq, block.last_ts_ns);
        }
        let is_as_pictured = self.is_as_pictured();
        let known = self.known();
        let was_pictured = self.picture.is_some();
        let pictures = self.pictures(is_as_pictured);
        let (index, most_per_subject) = self.index();
        if let Some(index_db) = &self.index_db
            && index_db.totals.last_seq >= self.newest.0
            && (index_db.totals.last_seq > self.newest.0 || index_db.totals.last_ts_ns != 0)
        {
            self.newest = (index_db.totals.last_seq, index_db.totals.last_ts_ns);
        }
        let totals = self.totals();
        self.damaged.retain(|seq, _| !self.removed.contains(*seq));
        self.expiries.sort_unstable();
        let index_db_is_true = if was_pictured { is_as_pictured } else { self.index_db_is_true(&totals) };
        let mut leftovers = leftovers;
        if !was_pictured {
            // What cannot be believed now must not be believed later.
            leftovers.outdated.extend(named(&self.entries, picture::FILE));
        }
        let mut store = FileStore {
            damaged: self.damaged,
            expiries: self.expiries,
            outdated: leftovers.outdated,
            old_files: leftovers.old_files,
            unlogged: self.unlogged,
            pictures,
            known: (Known { most_per_subject, ..known }, totals.last_seq),
            index_db_is_true,
            ..FileStore::bare(self.files, options, self.blocks, index, totals)
        };
        store.keep_all();
        store.write_recovery(self.cut, self.told_seq, &leftovers.unfinished)?;
        Ok(store)
    }

    fn pictures(&self, is_true: bool) -> Pictures {
        let read = self.blocks.iter().zip(&self.known).filter(|(_, known)| !**known);
        let size_bytes = self.picture.as_ref().map_or(0, |picture| picture.size_bytes);
        Pictures::new(read.map(|(block, _)| block.len).sum(), size_bytes, is_true)
    }

    fn totals(&self) -> StoreState {
        let (last_seq, last_ts_ns) = self.newest;
        let first = self.blocks.iter().find_map(|block| block.table.up(0).next());
        StoreState {
            msgs: self.blocks.iter().map(Block::live).sum(),
            bytes: self.blocks.iter().map(|block| block.live_bytes).sum(),
            first_seq: match first {
                Some((seq, _)) => seq,
                // Some servers say 1 of a stream that never held anything.
                None if last_seq == 0 && self.blocks.iter().all(|block| block.len == 0) => {
                    let told = self.index_db.as_ref().map_or(0, |index| index.totals.first_seq);
                    self.first_seq.max(told).min(1)
                }
                None => last_seq + 1,
            },
            last_seq,
            last_ts_ns,
            ..StoreState::default()
        }
    }

    fn index_db_is_true(&self, totals: &StoreState) -> bool {
        let (Some(index_db), Some(last)) = (&self.index_db, self.blocks.last()) else { return false };
        let current = index_db.last_block == last.index && index_db.last_checksum == last.last_checksum;
        if current && index_db.totals.msgs != totals.msgs {
            tracing::error!(
                stream = self.files.name,
                expected = index_db.totals.msgs,
                found = totals.msgs,
                "the blocks do not hold all messages that {} counts",
                index_db::FILE
            );
        }
        current && index_db.totals.msgs == totals.msgs && index_db.totals.last_seq == totals.last_seq
    }
}

impl FileStore {
    /// What opening changes on disk.
    fn write_recovery(
        &mut self,
        cut: Option<u64>,
        told_seq: u64,
        unfinished: &[PathBuf],
    ) -> Result<(), StoreError> {
        for path in unfinished {
            // The file that it was to replace is there.
            if let Err(error) = self.files.disk.remove_file(path) {
                tracing::warn!(
                    stream = self.files.name,
                    "could not remove {}: {}",
                    path.display(),
                    os_text(&error)
                );
            }
        }
        if let (Some(len), Some(last)) = (cut, self.blocks.last()) {
            let path = self.files.block_path(last.index);
            let handle = self.reader.get_mut().handle(&self.files, last.index, false);
            handle
                .and_then(|file| file.set_len(len))
                .map_err(|error| io_error("could not cut", &path, error))?;
            self.durability.unsynced.push((last.index, len));
        }
        if self.totals.last_seq > told_seq {
            self.put_mark(Kind::Erased, self.totals.last_seq, self.totals.last_ts_ns)?;
        }
        let sealed = self.blocks.len().saturating_sub(1);
        self.chores = self
            .blocks
            .iter()
            .take(sealed)
            .filter(|block| block.is_mostly_dead() && !block.damaged)
            .map(|block| block.index)
            .collect();
        Ok(())
    }
}

/// When the message expires by its own header.
fn expiry_ns(record: &Record<'_>) -> Option<i64> {
    let value = Headers::new(record.headers).get(b"Nats-TTL")?;
    parse_ttl(value)?.expiry(record.ts_ns).map(WallNs::ns)
}
