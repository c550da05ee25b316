//! Appending, flushing, syncing, and getting over failed writes.

use super::block::Block;
use super::files::io_error;
use super::log::Log;
use super::record::{CHECKSUM_LEN, EMPTY_LEN, Kind, put_marker, put_message, record_len};
use super::scan::{Found, Scan};
use super::undo::Step;
use super::{Durability, FileStore};
use crate::disk::{DiskFile, is_exhausted};
use crate::store::index::Recorded;
use crate::store::sync_work::Before as _;
use crate::store::{Msg, StoreError, Stored};
use jetkv_go_compat::os_text;
use std::io;
use std::path::PathBuf;

/// A larger gap in the sequences begins a new block: nats-server notes every sequence of a gap within a block.
const GAP_MAX: u64 = 64 << 10;

impl FileStore {
    /// Appends a message; the oldest of its subject goes for it where there would be more than `most`.
    pub(super) fn put_within(&mut self, msg: &Msg<'_>, most: u64) -> Result<Stored, StoreError> {
        let Some(len) = record_len(msg.subject.len(), msg.headers.len(), msg.payload.len()) else {
            return Err(StoreError::TooLarge);
        };
        debug_assert!(msg.seq > self.totals.last_seq, "sequences only rise");
        self.make_room(len, Some(msg.seq))?;
        let Some(block) = self.blocks.last_mut() else {
            return Err(StoreError::Poisoned("there is no block to append to".to_owned()));
        };
        put_message(&mut self.log.buf, &block.key, len, msg);
        block.note_message((msg.seq, msg.ts_ns), msg.headers, len);
        self.note_step(Step::Append(msg.seq));
        let Recorded { entry, replaced } = self.index.record_within(msg.subject, msg.seq, most);
        if self.totals.msgs == 0 {
            self.totals.first_seq = msg.seq;
            self.first_ts_ns.set(Some(msg.ts_ns));
        }
        self.totals.msgs += 1;
        self.totals.bytes += len as u64;
        (self.totals.last_seq, self.totals.last_ts_ns) = (msg.seq, msg.ts_ns);
        let replaced = replaced.map_or(Ok(None), |seq| self.remove_replaced(seq, msg.subject));
        Ok(Stored { entry, replaced })
    }

    pub(super) fn skip(&mut self, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        if seq <= self.totals.last_seq {
            return Ok(());
        }
        let ts_ns = if ts_ns == 0 { self.totals.last_ts_ns } else { ts_ns };
        self.tell_skipped(seq, ts_ns)?;
        (self.totals.last_seq, self.totals.last_ts_ns) = (seq, ts_ns);
        if self.totals.msgs == 0 {
            self.totals.first_seq = seq.saturating_add(1);
        }
        Ok(())
    }

    /// Appends a tombstone, or a mark that `seq` was assigned.
    pub(super) fn put_mark(&mut self, kind: Kind, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        self.put_mark_here(kind, seq, ts_ns)
    }

    /// As [`put_mark`](Self::put_mark), without a call.
    #[inline(always)]
    pub(super) fn put_mark_here(&mut self, kind: Kind, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        self.make_room(EMPTY_LEN, (kind == Kind::Erased).then_some(seq))?;
        let Some(block) = self.blocks.last_mut() else { return Ok(()) };
        put_marker(&mut self.log.buf, &block.key, kind, seq, ts_ns);
        block.note_mark(kind, (seq, ts_ns), EMPTY_LEN);
        Ok(())
    }

    /// Appends tombstones for removals of which the blocks say nothing yet.
    pub(super) fn log_unlogged(&mut self) -> Result<(), StoreError> {
        // Each mark comes here again, and finds the list empty.
        let mut unlogged = std::mem::take(&mut self.unlogged);
        while let Some(seq) = unlogged.pop() {
            if let Err(error) = self.put_mark(Kind::Tombstone, seq, self.totals.last_ts_ns) {
                unlogged.push(seq);
                self.unlogged = unlogged;
                return Err(error);
            }
            self.note_step(Step::Log(seq));
        }
        Ok(())
    }

    /// Makes the last block one that takes a record of `len` bytes: for a new sequence `seq`, or a tombstone.
    #[inline]
    fn make_room(&mut self, len: usize, seq: Option<u64>) -> Result<(), StoreError> {
        if self.durability.poison.is_none() && self.unlogged.is_empty() && self.has_room(len, seq) {
            return Ok(());
        }
        self.make_room_anew(len, seq)
    }

    #[cold]
    fn make_room_anew(&mut self, len: usize, seq: Option<u64>) -> Result<(), StoreError> {
        self.check_writable()?;
        self.log_unlogged()?;
        if self.has_room(len, seq) { Ok(()) } else { self.begin_block() }
    }

    /// Whether the last block takes such a record.
    #[inline]
    fn has_room(&self, len: usize, seq: Option<u64>) -> bool {
        // What a tombstone makes room for stands before it in the same file, so that after a power failure a file
        // that lost its end has not lost the new message and kept the removal of the old one.
        let full_bytes = match seq {
            Some(_) => self.options.block_size_bytes,
            None => self.options.block_size_bytes * 2,
        };
        self.blocks.last().is_some_and(|last| {
            let full = last.len > 0 && last.len + len as u64 > full_bytes;
            let jumps = last.records > 0 && seq.is_some_and(|seq| seq - last.last_seq > GAP_MAX);
            !full && !jumps && !last.compressed && !last.damaged
        })
    }

    /// Begins a new block; what is pending for the one before is written first.
    pub(super) fn begin_block(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        self.sync_change()?;
        self.log = Log::at(0);
        let (mut index, mut filled) = (1, 0);
        if let Some(last) = self.blocks.last_mut() {
            last.table.close();
            filled = last.len;
            index = last.index + 1;
            if self.options.compress || last.is_mostly_dead() {
                self.chores.push(last.index);
            }
        }
        self.count_filled(filled);
        self.blocks.push(Block::new(&self.files.name, index, self.totals.last_seq, self.totals.last_ts_ns));
        Ok(())
    }

    /// An error while the store is read-only; tries first to get over what made it so.
    #[inline]
    pub(super) fn check_writable(&mut self) -> Result<(), StoreError> {
        match &self.durability.poison {
            None => Ok(()),
            Some(reason) => self.get_over(reason.clone()),
        }
    }

    #[cold]
    fn get_over(&mut self, reason: String) -> Result<(), StoreError> {
        let cut = self.cut_files();
        let healed = cut.and_then(|()| match self.durability.rewrite {
            true => self.sync_files(),
            false => self.write_pending(),
        });
        healed.map_err(|_| StoreError::Poisoned(reason))
    }

    /// Writes what was appended and not yet written.
    pub(super) fn write_pending(&mut self) -> Result<(), StoreError> {
        if !self.log.has_pending() && self.to_cut.is_empty() {
            return Ok(());
        }
        let cut = if self.to_cut.is_empty() { Ok(()) } else { self.cut_files() };
        match cut.and_then(|()| self.try_write_pending()) {
            Ok(()) => {
                if !self.durability.rewrite {
                    self.heal();
                }
                Ok(())
            }
            Err(error) => Err(self.poison(error)),
        }
    }

    /// Removes the files that do not tell the truth any more once something is changed.
    #[inline]
    pub(super) fn forget_outdated(&mut self) {
        if self.outdated.is_empty() {
            return;
        }
        let outdated = std::mem::take(&mut self.outdated);
        self.remove_stale(outdated);
    }

    /// Removes files that nothing needs. One that stays does no harm but the room it takes, or is removed the next time.
    pub(super) fn remove_stale(&mut self, paths: Vec<PathBuf>) {
        for path in paths {
            match self.files.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(
                        stream = self.files.name,
                        "could not remove {}: {}",
                        path.display(),
                        os_text(&error)
                    );
                }
                _ => self.durability.dir_unsynced = true,
            }
        }
    }

    fn try_write_pending(&mut self) -> Result<(), StoreError> {
        self.forget_outdated();
        let Some(block) = self.blocks.last_mut() else { return Ok(()) };
        self.index_db_is_true = false;
        let (offset, bytes) = self.log.pending();
        if bytes.is_empty() {
            return Ok(());
        }
        let handle = self.reader.get_mut().handle(&self.files, block.index, true);
        let outcome = handle.and_then(|handle| handle.write_at(bytes, offset));
        // A file that could not even be opened holds nothing of it.
        let unopened = outcome.as_ref().is_err_and(is_exhausted);
        // The path is made up for the error only: this runs for every acknowledged publish.
        let outcome =
            outcome.map_err(|error| io_error("could not write", &self.files.block_path(block.index), error));
        if !unopened {
            self.undo.note_written();
        }
        outcome?;
        if let Some(checksum) = bytes.last_chunk::<CHECKSUM_LEN>() {
            block.last_checksum = *checksum;
        }
        self.durability.dir_unsynced |= offset == 0;
        let index = block.index;
        self.durability.note(index, offset);
        self.log.mark_written();
        Ok(())
    }

    /// Writes what is pending and makes all that was written durable.
    pub(super) fn sync_files(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        match self.gate.as_ref().map_or(Ok(()), |gate| gate.run()).and_then(|()| self.try_sync()) {
            Ok(()) => {
                self.heal();
                self.keep_all();
                Ok(())
            }
            Err(error) => Err(self.sync_failed(error)),
        }
    }

    /// Writes what is pending and makes the last block durable, for when nothing in the others is needed any more.
    pub(super) fn sync_last_block(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        let index = self.blocks.last().map_or(0, |block| block.index);
        if self.durability.rewrite || !self.durability.unsynced.iter().any(|(known, _)| *known == index) {
            return self.sync_files();
        }
        let path = self.files.block_path(index);
        let file = self.reader.get_mut().handle(&self.files, index, false);
        let synced =
            file.and_then(|file| file.sync()).map_err(|error| io_error("could not sync", &path, error));
        let dir = &self.files.msgs_dir;
        let sync_dir =
            || self.files.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error));
        match synced.and_then(|()| sync_dir()) {
            Ok(()) => {
                self.durability.unsynced.retain(|(known, _)| *known != index);
                self.durability.dir_unsynced = false;
                self.keep_all();
                Ok(())
            }
            Err(error) => Err(self.sync_failed(error)),
        }
    }

    /// Nothing written since the last good sync can be relied on.
    pub(super) fn sync_failed(&mut self, error: StoreError) -> StoreError {
        let Durability { unsynced, syncing, dir_unsynced, dir_syncing, rewrite, .. } = &mut self.durability;
        for (index, from) in syncing.drain(..) {
            match unsynced.iter_mut().find(|(known, _)| *known == index) {
                Some((_, known)) => *known = from.min(*known),
                None => unsynced.push((index, from)),
            }
        }
        *dir_unsynced |= std::mem::take(dir_syncing);
        *rewrite = true;
        self.durability.failed_syncs += 1;
        self.poison(error)
    }

    fn try_sync(&mut self) -> Result<(), StoreError> {
        let reader = self.reader.get_mut();
        let last = self.blocks.last().map(|block| block.index);
        // What is being synced elsewhere counts as written since: whoever calls this needs all of it durable now.
        for (index, from) in self.durability.unsynced.iter().chain(&self.durability.syncing) {
            let Some(block) = self.blocks.iter().find(|block| block.index == *index) else { continue };
            let path = self.files.block_path(*index);
            let result = reader.handle(&self.files, *index, false).and_then(|file| {
                if self.durability.rewrite {
                    write_again(&**file, *from, block, (Some(*index) == last).then_some(&self.log))?;
                }
                file.sync()
            });
            result.map_err(|error| io_error("could not sync", &path, error))?;
        }
        if self.durability.dir_unsynced || self.durability.dir_syncing {
            let dir = &self.files.msgs_dir;
            self.files.disk.sync_dir(dir).map_err(|error| io_error("could not sync", dir, error))?;
        }
        self.durability.unsynced.clear();
        self.durability.dir_unsynced = false;
        self.durability.rewrite = false;
        Ok(())
    }

    pub(super) fn poison(&mut self, error: StoreError) -> StoreError {
        let reason = error.to_string();
        if self.durability.poison.is_none() {
            tracing::error!(stream = self.files.name, "store is read-only: {reason}");
        }
        self.durability.poison = Some(reason);
        error
    }

    #[inline]
    pub(super) fn heal(&mut self) {
        if self.durability.poison.is_some() {
            self.durability.poison = None;
            tracing::info!(stream = self.files.name, "store is writable again");
        }
    }
}

/// Writes what the file of a block holds from `from` over itself, so that all of it waits for the next sync again.
/// What is still in memory is taken from there; all of it must prove to be whole.
fn write_again(file: &dyn DiskFile, from: u64, block: &Block, log: Option<&Log>) -> io::Result<()> {
    let gone =
        || io::Error::new(io::ErrorKind::UnexpectedEof, "what was written before the failed sync is gone");
    let len = usize::try_from(block.len.saturating_sub(from)).map_err(|_| gone())?;
    let mut content = vec![0; len];
    let got = file.read_at(&mut content, from)?;
    if let Some(log) = log {
        log.overlay(&mut content, from);
    } else if got < len {
        return Err(gone());
    }
    if Scan::new(&content, block.key).any(|found| matches!(found, Found::Damage(_))) {
        return Err(gone());
    }
    file.write_at(&content, from)
}
