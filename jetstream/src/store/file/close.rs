//! Leaving a directory so that nats-server and JetKV open it without reading every block.

use super::FileStore;
use super::block::Block;
use super::encryption::Frame;
use super::files::io_error;
use super::index_db::{self, BlockRow, IndexDb, SubjectRow, Totals};
use super::picture::{PictureBegun, PictureWork};
use super::record::ChecksumKey;
use super::seqset::SeqSet;
use crate::filter::Filter;
use crate::store::StoreError;
use crate::store::index::SubjectEntry;
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::thread;

/// Where schedules are kept, in nats-server's form.
const SCHEDULES: &str = "sched.db";
/// Where it is kept where sources stand, in nats-server's form.
const POSITIONS: &str = "sources.db";

/// A stream of so many subjects takes long enough to be left for two threads.
const MANY_SUBJECTS: usize = 100_000;

impl FileStore {
    /// Makes everything durable and writes `index.db`, and what makes JetKV's own start fast.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        self.give_up_picture();
        self.sync_files()?;
        self.all_chores();
        if self.blocks.is_empty() {
            return Ok(());
        }
        let derived = std::mem::take(&mut self.derived);
        if self.index_db_is_true {
            if !self.pictures.is_true {
                let begun = self.begin_picture(derived).map(PictureWork::begin);
                let most_per_subject = begun.as_ref().map_or(0, |_| self.most_per_subject());
                self.leave(begun, most_per_subject);
            }
            return Ok(());
        }
        let Some(summary) = self.summary() else { return Ok(()) };
        let work = self.begin_picture(derived);
        let is_large = self.index.len() >= MANY_SUBJECTS;
        // Writing the one and putting the other together take as long; the disk sees them one after the other.
        let (begun, (file, most_per_subject)) = begin_beside(work, is_large, || self.encode(&summary));
        let path = self.files.msgs_dir.join(index_db::FILE);
        let key = ChecksumKey::name(&self.files.name);
        let written = self
            .files
            .sealed(file, Frame::Summed(&key))
            .and_then(|file| self.files.disk.replace(&path, &file, false));
        if let Err(error) = written {
            begun.iter().for_each(PictureBegun::remove);
            return Err(io_error("could not write", &path, error));
        }
        self.index_db_is_true = true;
        self.pictures.is_true = false;
        self.leave(begun, most_per_subject);
        Ok(())
    }

    /// `index.db`, and the most messages that a subject has.
    fn encode(&self, summary: &IndexDb) -> (Vec<u8>, u64) {
        let mut most_per_subject = 0;
        let each_subject = |put: &mut dyn FnMut(&SubjectRow<'_>)| {
            self.each_subject(&mut |row| {
                most_per_subject = row.count.max(most_per_subject);
                put(row);
            });
        };
        let file = summary.encode(self.index.len(), each_subject, &ChecksumKey::name(&self.files.name));
        (file, most_per_subject)
    }

    /// What an orderly stop kept of the schedules.
    pub(super) fn read_noted_schedules(&self) -> Option<Vec<u8>> {
        self.files.disk.read(&self.files.msgs_dir.join(SCHEDULES)).ok()
    }

    /// Without it the next start looks for them in the messages, and nothing else.
    pub(super) fn write_noted_schedules(&mut self) {
        let Some(noted) = self.noted_schedules.take() else { return };
        if let Err(error) = self.files.disk.replace(&self.files.msgs_dir.join(SCHEDULES), &noted, false) {
            tracing::warn!(stream = self.files.name, "the next start will look for schedules: {error}");
        }
    }

    /// Where sources stood by the messages below some sequence.
    pub(super) fn read_noted_positions(&self) -> Option<Vec<u8>> {
        self.files.disk.read(&self.files.dir.join(POSITIONS)).ok()
    }

    pub(super) fn write_noted_positions(&self, noted: &[u8], syncs: bool) -> Result<(), StoreError> {
        let path = self.files.dir.join(POSITIONS);
        let written = self.files.disk.replace(&path, noted, syncs);
        written.map_err(|error| io_error("could not write", &path, error))
    }

    /// Leaves a picture beside `index.db`. Without it the next start is slower, and nothing else.
    fn leave(&mut self, begun: Option<PictureBegun>, most_per_subject: u64) {
        let Some(mut begun) = begun else { return };
        begun.is_as_index_db(most_per_subject);
        if let Err(error) = self.leave_picture(begun) {
            tracing::warn!(stream = self.files.name, "the next start will read all blocks: {error}");
        }
    }

    /// What `index.db` says of the blocks; `None` where a message cannot be read.
    fn summary(&self) -> Option<IndexDb> {
        let last = self.blocks.last()?;
        let totals = Totals {
            msgs: self.totals.msgs,
            bytes: self.totals.bytes,
            first_seq: self.totals.first_seq,
            first_ts_ns: if self.totals.msgs == 0 { 0 } else { self.time_of(self.totals.first_seq)? },
            last_seq: self.totals.last_seq,
            last_ts_ns: self.totals.last_ts_ns,
        };
        let mut index = IndexDb {
            totals,
            last_block: last.index,
            last_checksum: last.last_checksum,
            ..IndexDb::default()
        };
        for block in &self.blocks {
            let row = if block.live() > 0 {
                self.held_row(block)?
            } else {
                BlockRow {
                    first_seq: totals.last_seq + 1,
                    last_seq: totals.last_seq,
                    last_ts_ns: totals.last_ts_ns,
                    ..BlockRow::default()
                }
            };
            index.blocks.insert(block.index, row);
        }
        Some(index)
    }

    fn held_row(&self, block: &Block) -> Option<BlockRow> {
        let first_seq = block.table.up(0).next()?.0;
        let mut deleted = SeqSet::default();
        let mut expected = first_seq;
        for (seq, _) in block.table.up(0) {
            (expected..seq).for_each(|gone| deleted.insert(gone));
            expected = seq + 1;
        }
        (expected..=block.last_seq).for_each(|gone| deleted.insert(gone));
        Some(BlockRow {
            bytes: block.live_bytes,
            first_seq,
            first_ts_ns: self.time_of(first_seq)?,
            last_seq: block.last_seq,
            last_ts_ns: block.last_ts_ns,
            deleted,
            ttls: block.ttls,
            schedules: block.schedules,
        })
    }

    fn each_subject(&self, put: &mut dyn FnMut(&SubjectRow<'_>)) {
        let block_of = |seq| self.blocks.get(self.position(seq)).map_or(0, |block| block.index);
        self.index.for_each(&Filter::All, |subject, entry| {
            let SubjectEntry { count, first_seq, last_seq } = entry;
            let first_block = block_of(first_seq);
            let last_block = if last_seq == first_seq { first_block } else { block_of(last_seq) };
            put(&SubjectRow { subject, count, first_block, last_block });
            ControlFlow::Continue(())
        });
    }
}

/// Writes tables and index of a picture while something else is done, on a thread of its own where that is worth it and
/// there is one to be had.
fn begin_beside<T>(
    work: Option<PictureWork>,
    is_worth_it: bool,
    other: impl FnOnce() -> T,
) -> (Option<PictureBegun>, T) {
    let work = Mutex::new(work);
    let begin = || {
        let work = work.lock().take();
        work.map(PictureWork::begin)
    };
    thread::scope(|scope| {
        let closing = thread::Builder::new().name("closing".into());
        let beside = is_worth_it.then(|| closing.spawn_scoped(scope, begin));
        let other = other();
        let begun = match beside {
            Some(Ok(beside)) => beside.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None | Some(Err(_)) => begin(),
        };
        (begun, other)
    })
}
