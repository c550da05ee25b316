//! Taking back what was done and could not be kept.
//!
//! Every change since the last one that was kept is noted, with where the bytes of what it removed are. Taking it back
//! undoes the changes in memory, newest first, and cuts the files where they ended before. What is left is what a scan
//! of the files finds.

use super::FileStore;
use super::block::Block;
use super::files::io_error;
use super::log::Log;
use super::record::CHECKSUM_LEN;
use super::table::Place;
use crate::filter::Filter;
use crate::store::index::SubjectIndex;
use crate::store::{Lost, StoreError};
use std::io;
use std::ops::ControlFlow;

/// What can be taken back.
#[derive(Debug, Default)]
pub(super) struct Undo {
    steps: Vec<Step>,
    /// Where the log ended before the first of them.
    mark: Mark,
    /// How many of them are about to be kept by a sync that runs outside of the store, and where the log ended then.
    in_flight: Option<(usize, Mark)>,
    /// Whether some of it may be in a file.
    written: bool,
    /// How often something was taken back.
    pub(super) take_backs: u64,
}

impl Undo {
    /// What can be taken back may be in a file from here on.
    pub(super) fn note_written(&mut self) {
        self.written = true;
    }
}

/// One change.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A message was stored.
    Append(u64),
    /// A message was removed whose record is there.
    Remove(u64, Place),
    /// A removal that had happened before was written.
    Log(u64),
}

/// The end of the log at some moment.
#[derive(Debug, Default, Clone, Copy)]
struct Mark {
    last_seq: u64,
    last_ts_ns: i64,
    block: Option<BlockMark>,
}

/// The last block at some moment, but for its table.
#[derive(Debug, Clone, Copy)]
struct BlockMark {
    index: u32,
    first_seq: u64,
    last_seq: u64,
    last_ts_ns: i64,
    len: u64,
    records: u64,
    tombstones: u64,
    ttls: u64,
    schedules: u64,
    last_checksum: [u8; CHECKSUM_LEN],
}

impl BlockMark {
    fn new(block: &Block) -> Self {
        Self {
            index: block.index,
            first_seq: block.first_seq,
            last_seq: block.last_seq,
            last_ts_ns: block.last_ts_ns,
            len: block.len,
            records: block.records,
            tombstones: block.tombstones,
            ttls: block.ttls,
            schedules: block.schedules,
            last_checksum: block.last_checksum,
        }
    }

    fn restore(&self, block: &mut Block) {
        block.first_seq = self.first_seq;
        block.last_seq = self.last_seq;
        block.last_ts_ns = self.last_ts_ns;
        block.len = self.len;
        block.records = self.records;
        block.tombstones = self.tombstones;
        block.ttls = self.ttls;
        block.schedules = self.schedules;
        block.last_checksum = self.last_checksum;
    }
}

/// Records a sequence under a subject, where higher ones may be recorded already.
pub(super) fn hold(index: &mut SubjectIndex, subject: &[u8], seq: u64) {
    let newer: Vec<u64> =
        index.seqs(subject).map(|seqs| seqs.iter().filter(|at| *at > seq).collect()).unwrap_or_default();
    for at in &newer {
        index.forget(subject, *at);
    }
    index.record(subject, seq);
    for at in &newer {
        index.record(subject, *at);
    }
}

impl FileStore {
    /// Notes a change.
    pub(super) fn note_step(&mut self, step: Step) {
        self.undo.steps.push(step);
    }

    fn mark(&self) -> Mark {
        Mark {
            last_seq: self.totals.last_seq,
            last_ts_ns: self.totals.last_ts_ns,
            block: self.blocks.last().map(BlockMark::new),
        }
    }

    /// Nothing done so far can be taken back any more.
    pub(super) fn keep_all(&mut self) {
        self.undo.steps.clear();
        self.undo.mark = self.mark();
        self.undo.in_flight = None;
        self.undo.written = false;
    }

    /// What was done so far is kept if the sync that begins now comes to a good end.
    pub(super) fn keep_after_sync(&mut self) {
        self.undo.in_flight = Some((self.undo.steps.len(), self.mark()));
    }

    /// That sync ended.
    pub(super) fn sync_ended(&mut self, good: bool) {
        if let Some((steps, mark)) = self.undo.in_flight.take()
            && good
        {
            self.undo.steps.drain(..steps);
            self.undo.mark = mark;
        }
    }

    /// Takes back everything that is not kept, nor about to be by a sync that runs.
    pub(super) fn take_back(&mut self) -> Lost {
        let (kept, mark) = self.undo.in_flight.unwrap_or((0, self.undo.mark));
        self.undo.take_backs += 1;
        self.change = None;
        let mut lost = Lost { unwritten: !self.undo.written, ..Lost::default() };
        while self.undo.steps.len() > kept {
            match self.undo.steps.pop() {
                Some(Step::Append(seq)) => {
                    if let Some(subject) = self.undo_append(seq) {
                        lost.appended.push((seq, subject));
                    }
                }
                Some(Step::Remove(seq, place)) => {
                    if self.undo_remove(seq, place) {
                        lost.restored.push(seq);
                    }
                }
                Some(Step::Log(seq)) => self.unlogged.push(seq),
                None => break,
            }
        }
        lost.restored.retain(|seq| *seq <= mark.last_seq);
        self.cut_back(&mark);
        lost
    }

    /// Forgets a message that was appended, and tells its subject.
    fn undo_append(&mut self, seq: u64) -> Option<Box<[u8]>> {
        let (position, place) = self.place(seq)?;
        let subject = self.subject_at(position, seq, place).or_else(|| self.subject_holding(seq))?;
        self.blocks.get_mut(position)?.forget(seq);
        self.index.forget(&subject, seq);
        self.count_removed(position, seq, u64::from(place.len));
        Some(subject)
    }

    /// Holds a message again. One whose record cannot be read now stays removed until the store is opened again.
    fn undo_remove(&mut self, seq: u64, place: Place) -> bool {
        let position = self.position(seq);
        let Some(subject) = self.subject_at(position, seq, place) else { return false };
        self.hold_again(seq, place, &subject);
        true
    }

    /// Holds a message again whose record is there.
    pub(super) fn hold_again(&mut self, seq: u64, place: Place, subject: &[u8]) {
        let position = self.position(seq);
        let Some(block) = self.blocks.get_mut(position) else { return };
        block.hold_again(seq, place);
        hold(&mut self.index, subject, seq);
        if self.totals.msgs == 0 || seq < self.totals.first_seq {
            self.totals.first_seq = seq;
            self.first_ts_ns.set(None);
        }
        self.totals.msgs += 1;
        self.totals.bytes += u64::from(place.len);
    }

    /// The subject of a message, from the index alone: slow, for when its record cannot be read.
    fn subject_holding(&self, seq: u64) -> Option<Box<[u8]>> {
        let mut found = None;
        self.index.for_each(&Filter::All, |subject, entry| {
            let near = (entry.first_seq..=entry.last_seq).contains(&seq);
            if near && self.index.at_or_after(subject, seq) == Some(seq) {
                found = Some(subject.into());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Brings blocks, log and files to where they ended at `mark`.
    fn cut_back(&mut self, mark: &Mark) {
        (self.totals.last_seq, self.totals.last_ts_ns) = (mark.last_seq, mark.last_ts_ns);
        if self.totals.msgs == 0 {
            let untouched = mark.block.is_none() && mark.last_seq == 0;
            self.totals.first_seq = if untouched { 0 } else { mark.last_seq.saturating_add(1) };
        }
        let last_index = mark.block.map_or(0, |block| block.index);
        while let Some(block) = self.blocks.pop_if(|block| block.index > last_index) {
            self.reader.get_mut().forget(block.index);
            self.durability.forget(block.index);
            self.to_cut.push((block.index, 0));
        }
        match (mark.block, self.blocks.last_mut()) {
            (Some(known), Some(block)) if known.index == block.index => {
                let was_longer = block.len > known.len;
                known.restore(block);
                self.log.cut(known.len);
                self.reader.get_mut().forget(known.index);
                if was_longer {
                    self.to_cut.push((known.index, known.len));
                }
            }
            (_, last) => self.log = Log::at(last.map_or(0, |block| block.len)),
        }
        // Where it fails, it is done before anything else is written.
        let _ = self.cut_files();
    }

    /// Cuts the files that hold more than what was kept.
    pub(super) fn cut_files(&mut self) -> Result<(), StoreError> {
        while let Some((index, len)) = self.to_cut.last().copied() {
            let path = self.files.block_path(index);
            let reader = self.reader.get_mut();
            let cut = match len {
                0 => self.files.disk.remove_file(&path),
                _ => reader.handle(&self.files, index, false).and_then(|file| file.set_len(len)),
            };
            match cut {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("could not cut", &path, error));
                }
                _ => {}
            }
            self.to_cut.pop();
            if len == 0 {
                reader.forget(index);
                self.durability.dir_unsynced = true;
            } else {
                self.durability.note(index, len);
            }
        }
        Ok(())
    }
}
