//! Changes that are kept all or not at all, whatever the process or the power does in between.
//!
//! The messages of such a change follow each other in the log, and all that it removes is told after the last of them. So
//! a change that a crash cut short is a tail of messages without its end, and nothing is missing of what it would have
//! removed: whoever knows which message ends the change takes the tail away, and all is as it was.

use super::files::io_error;
use super::record::Kind;
use super::{FileOptions, FileStore};
use crate::store::{LeftMsg, StoreError};
use jetkv_go_compat::base62;

/// Where nats-server stages batches, below the directory of their stream.
const BATCHES: &str = "batches";

/// Beside them, where a batch begins of which its messages alone would not tell: the sequence of its first message, and that
/// once more with all bits turned.
const ANNOUNCED: &str = "jetkv.begins";

/// What is told at the end of a change.
#[derive(Debug, Default)]
pub(super) struct AtomicChange {
    removed: Vec<u64>,
    /// The last sequence that was given to nothing, and its time.
    skipped: Option<(u64, i64)>,
}

impl FileStore {
    pub(super) fn begin_change(&mut self) {
        self.change = Some(AtomicChange::default());
    }

    /// Tells what the change removed.
    pub(super) fn end_change(&mut self) -> Result<(), StoreError> {
        // The change goes on: a block that begins now may hold its end.
        let told = self.change.as_mut().map(std::mem::take).unwrap_or_default();
        let outcome = self.tell(&told);
        self.change = None;
        outcome
    }

    fn tell(&mut self, change: &AtomicChange) -> Result<(), StoreError> {
        if let Some((seq, ts_ns)) = change.skipped.filter(|(seq, _)| *seq == self.totals.last_seq) {
            self.put_mark(Kind::Erased, seq, ts_ns)?;
        }
        for seq in &change.removed {
            self.put_mark(Kind::Tombstone, *seq, self.totals.last_ts_ns)?;
        }
        Ok(())
    }

    /// Tells that a message is removed: at once, or at the end of the change that removes it.
    #[inline]
    pub(super) fn tell_removed(&mut self, seq: u64) -> Result<(), StoreError> {
        if self.change.is_some() {
            self.check_writable()?;
        }
        if let Some(change) = &mut self.change {
            change.removed.push(seq);
            return Ok(());
        }
        // The time of a tombstone counts only where it stands for the last sequence.
        self.put_mark_here(Kind::Tombstone, seq, self.totals.last_ts_ns)
    }

    /// As [`tell_removed`](Self::tell_removed), that a sequence was given to nothing.
    pub(super) fn tell_skipped(&mut self, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        if let Some(change) = &mut self.change {
            change.skipped = Some((seq, ts_ns));
            return Ok(());
        }
        self.put_mark(Kind::Erased, seq, ts_ns)
    }

    /// A block is full and another begins. Files may lose their ends independently, so the beginning of a change is made
    /// durable before its end is written to another file.
    pub(super) fn sync_change(&mut self) -> Result<(), StoreError> {
        let Some(index) = self.blocks.last().map(|block| block.index).filter(|_| self.change.is_some())
        else {
            return Ok(());
        };
        let file = self.reader.get_mut().handle(&self.files, index, false);
        let dir = &self.files.msgs_dir;
        let synced = file.and_then(|file| file.sync()).and_then(|()| self.files.disk.sync_dir(dir));
        let path = self.files.block_path(index);
        synced.map_err(|error| self.poison(io_error("could not sync", &path, error)))
    }

    /// Notes that the next message begins a batch. It stays until the next start, since what it tells of is not durable before
    /// some sync, and says nothing of any other message.
    pub(super) fn write_announcement(&mut self) -> Result<(), StoreError> {
        self.check_writable()?;
        let first_seq = self.totals.last_seq + 1;
        let dir = self.files.dir.join(BATCHES);
        let path = dir.join(ANNOUNCED);
        let content = [first_seq.to_le_bytes(), (!first_seq).to_le_bytes()].concat();
        let disk = &self.files.disk;
        let written = disk.create_dir_all(&dir).and_then(|()| disk.replace(&path, &content, true));
        written.map_err(|error| io_error("could not write", &path, error))
    }

    /// The first sequence of the batch that was announced last.
    pub(super) fn read_announcement(&self) -> Option<u64> {
        let content = self.files.disk.read(&self.files.dir.join(BATCHES).join(ANNOUNCED)).ok()?;
        let (first, turned) = content.split_first_chunk()?;
        let first_seq = u64::from_le_bytes(*first);
        (turned == (!first_seq).to_le_bytes()).then_some(first_seq)
    }

    /// Reads what nats-server staged of a batch.
    pub(super) fn read_staged(&self, id: &[u8]) -> Result<Vec<LeftMsg>, StoreError> {
        let name = base62::short_hash(id);
        let dir = self.files.dir.join(BATCHES).join(&name);
        let files = self.files.staged(&name, dir)?;
        let mut staged = Self::open(files, FileOptions::default())?;
        let mut msgs = Vec::new();
        for seq in 1..=staged.totals.last_seq {
            let Some(spot) = staged.spot(seq)? else { break };
            let Some(msg) = staged.view(&spot) else { break };
            msgs.push(LeftMsg::from(msg));
        }
        Ok(msgs)
    }

    /// Removes what is staged or announced.
    pub(super) fn remove_staged(&self) -> Result<(), StoreError> {
        let dir = self.files.dir.join(BATCHES);
        self.files.disk.remove_dir_all(&dir).map_err(|error| io_error("could not remove", &dir, error))
    }
}
