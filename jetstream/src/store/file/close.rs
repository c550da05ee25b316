//! Leaving a directory so that nats-server and JetKV open it without reading every block.

use super::FileStore;
use super::block::Block;
use super::encryption::Frame;
use super::files::io_error;
use super::index_db::{self, BlockRow, IndexDb, SubjectRow, Totals};
use super::record::ChecksumKey;
use super::seqset::SeqSet;
use crate::filter::Filter;
use crate::store::StoreError;
use std::ops::ControlFlow;

/// Where schedules are kept, in nats-server's form.
const SCHEDULES: &str = "sched.db";
/// Where it is kept where sources stand, in nats-server's form.
const POSITIONS: &str = "sources.db";

impl FileStore {
    /// Makes everything durable and writes `index.db`, and what makes JetKV's own start fast.
    pub(super) fn finish(&mut self) -> Result<(), StoreError> {
        self.give_up_picture();
        self.sync_files()?;
        self.all_chores();
        if self.blocks.is_empty() {
            return Ok(());
        }
        if self.index_db_is_true {
            self.note_for_fast_start();
            return Ok(());
        }
        let Some(index) = self.summary() else { return Ok(()) };
        let key = ChecksumKey::name(&self.files.name);
        let file = index.encode(self.index.len(), |put| self.each_subject(put), &key);
        let path = self.files.msgs_dir.join(index_db::FILE);
        self.files
            .sealed(file, Frame::Summed(&key))
            .and_then(|file| self.files.disk.replace(&path, &file, false))
            .map_err(|error| io_error("could not write", &path, error))?;
        self.index_db_is_true = true;
        self.pictures.is_true = false;
        self.note_for_fast_start();
        Ok(())
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

    /// Without it the next start is slower, and nothing else.
    fn note_for_fast_start(&mut self) {
        let derived = std::mem::take(&mut self.derived);
        if let Err(error) = self.leave_picture(derived) {
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
            put(&SubjectRow {
                subject,
                count: entry.count,
                first_block: block_of(entry.first_seq),
                last_block: block_of(entry.last_seq),
            });
            ControlFlow::Continue(())
        });
    }
}
