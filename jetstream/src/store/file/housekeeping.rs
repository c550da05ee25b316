//! Giving room back: blocks that hold nothing are deleted, blocks that are mostly dead are rewritten.
//!
//! Both wait until everything written is durable: what supersedes a message must not be lost after the message
//! itself is gone. Blocks go from the oldest to the newest, so a tombstone never goes before what it buries.

use super::FileStore;
use super::block::Block;
use super::compress;
use super::files::io_error;
use super::index_db;
use super::log::Log;
use super::read::{Content, content};
use super::record::{CHECKSUM_LEN, Kind, put_marker};
use super::recover::DAMAGES_TOLD_MAX;
use super::scan::{Damage, Found, Scan};
use crate::store::StoreError;
use std::io;

/// So many bytes removed are reason enough to sync and clean up at once.
const URGENT_BYTES: u64 = 16 << 20;
/// Rewrites of blocks in one go; each reads and writes up to a block's size.
const REWRITES_MAX: usize = 4;

impl FileStore {
    /// Cleans up if enough has gathered. Failing costs room, not messages, and is only reported.
    pub(super) fn urgent_chores(&mut self) {
        if self.dead_bytes >= URGENT_BYTES && self.sync_files().is_ok() {
            self.all_chores();
        }
    }

    /// Cleans up what is on the list. Everything written is durable.
    pub(super) fn all_chores(&mut self) {
        self.dead_bytes = 0;
        self.remove_old_files();
        if self.chores.is_empty() {
            self.log.release();
            self.reader.get_mut().release();
            return;
        }
        let mut chores = std::mem::take(&mut self.chores);
        chores.sort_unstable();
        chores.dedup();
        let mut rewrites = 0;
        for index in chores {
            if rewrites == REWRITES_MAX {
                self.chores.push(index);
                continue;
            }
            match self.chore(index) {
                Ok(rewrote) => rewrites += usize::from(rewrote),
                Err(error) => {
                    tracing::warn!(
                        stream = self.files.name,
                        block = index,
                        "could not give room back: {error}"
                    );
                    self.chores.push(index);
                }
            }
        }
    }

    /// Removes what servers before 2.10 left beside the blocks. Everything written is durable.
    fn remove_old_files(&mut self) {
        if self.old_files.is_empty() || !self.unlogged.is_empty() || self.log.has_pending() {
            return;
        }
        let old_files = std::mem::take(&mut self.old_files);
        self.remove_stale(old_files);
    }

    /// Deletes, rewrites or compresses one block that is not the last, if there is reason to. Says whether it was
    /// rewritten.
    fn chore(&mut self, index: u32) -> Result<bool, StoreError> {
        let Ok(position) = self.blocks.binary_search_by_key(&index, |block| block.index) else {
            return Ok(false);
        };
        if position + 1 == self.blocks.len() {
            return Ok(false);
        }
        let Some(block) = self.blocks.get(position) else { return Ok(false) };
        if block.damaged {
            // What cannot be read stays where it is until a purge, or an erasure, is about this block.
            return Ok(false);
        }
        if block.is_mostly_dead() || (self.options.compress && !block.compressed) {
            self.rewrite(position)?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Removes the summary that a clean shutdown left. Everything written is durable.
    pub(super) fn forget_summary(&mut self) -> Result<(), StoreError> {
        let path = self.files.msgs_dir.join(index_db::FILE);
        match self.files.disk.remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("could not remove", &path, error)),
            Ok(()) => self.durability.dir_unsynced = true,
        }
        self.index_db_is_true = false;
        Ok(())
    }

    /// Whether a record of `seq` may still be in a block before `position`.
    fn buries(&self, seq: u64, position: usize) -> bool {
        let at = self.position(seq);
        at < position && self.blocks.get(at).is_some_and(|block| block.may_hold_dead(seq))
    }

    /// Writes a block anew without what is dead in it, or deletes it where nothing is left. Everything written is
    /// durable.
    pub(super) fn rewrite(&mut self, position: usize) -> Result<(), StoreError> {
        let Some(old) = self.blocks.get(position) else { return Ok(()) };
        let last = position + 1 == self.blocks.len();
        let path = self.files.block_path(old.index);
        let content =
            content(&self.files, old.index).map_err(|error| io_error("could not read", &path, error))?;
        let Some(Content { bytes: content, whole, .. }) = content else {
            return Err(io_error("could not decompress", &path, io::ErrorKind::InvalidData.into()));
        };
        let before = position.checked_sub(1).and_then(|before| self.blocks.get(before));
        let (last_before, ts_before) = before.map_or((0, 0), |block| (block.last_seq, block.last_ts_ns));
        let mut new = Block::new(&self.files.name, old.index, last_before, ts_before);
        let mut kept = Vec::with_capacity(usize::try_from(old.live_bytes).unwrap_or(0));
        let mut damages = Vec::new();
        for found in Scan::new(&content, old.key) {
            match found {
                Found::Record(at, record) => {
                    let keep = match record.kind {
                        Kind::Message => {
                            old.table.get(record.seq).is_some_and(|place| place.offset as usize == at)
                        }
                        Kind::Tombstone => self.buries(record.seq, position),
                        Kind::Erased => false,
                    };
                    if keep {
                        new.note(kept.len() as u64, &record, record.kind == Kind::Message);
                        kept.extend_from_slice(content.get(at..at + record.len).unwrap_or_default());
                    }
                }
                Found::Damage(damage) if damage.torn => {}
                Found::Damage(damage) => damages.push(damage),
            }
        }
        self.keep_damages(old.index, &damages, &content, whole)
            .map_err(|error| io_error("could not keep damaged bytes of", &path, error))?;
        self.keep_last_seq(&mut new, &mut kept, old);
        new.settled = true;
        new.last_checksum = kept.last_chunk::<CHECKSUM_LEN>().copied().unwrap_or_default();
        if kept.is_empty() && !last {
            return self.delete_block(position);
        }
        self.replace_block(position, new, &kept)
    }

    /// Copies what cannot be read of a block that is about to be rewritten: one by one, or the whole file.
    fn keep_damages(&self, index: u32, damages: &[Damage], content: &[u8], whole: bool) -> io::Result<()> {
        if damages.len() > DAMAGES_TOLD_MAX || !whole {
            self.files.keep_file(index)?;
        }
        if damages.len() > DAMAGES_TOLD_MAX {
            return Ok(());
        }
        let known = self.files.quarantined()?;
        damages.iter().try_for_each(|damage| {
            let bytes = content.get(damage.range.clone()).unwrap_or_default();
            let place = (index, damage.range.start as u64);
            self.files.quarantine(place, damage.claimed_seq, bytes, true, &known)
        })
    }

    /// The last sequence ever assigned must be told by a record, held or not: where the rewritten block was the one
    /// to tell, a mark does.
    fn keep_last_seq(&self, new: &mut Block, kept: &mut Vec<u8>, old: &Block) {
        let last_seq = self.totals.last_seq;
        let told = new.records > 0 && new.last_seq == last_seq;
        if old.last_seq == last_seq && old.records > 0 && !told {
            let offset = kept.len() as u64;
            put_marker(kept, &old.key, Kind::Erased, last_seq, self.totals.last_ts_ns);
            if let Some(record) =
                kept.get(usize::try_from(offset).unwrap_or(0)..).and_then(super::record::parse)
            {
                new.note(offset, &record, false);
            }
        }
    }

    fn replace_block(&mut self, position: usize, mut new: Block, kept: &[u8]) -> Result<(), StoreError> {
        let last = position + 1 == self.blocks.len();
        let path = self.files.block_path(new.index);
        let compressed = if self.options.compress && !last { compress::compress(kept) } else { None };
        new.compressed = compressed.is_some();
        self.reader.get_mut().forget(new.index);
        let bytes = compressed.as_deref().unwrap_or(kept);
        self.note_replaced(new.index);
        if let Err(error) = self.files.disk.replace(&path, bytes, true) {
            // It may have failed after the new file took the old one's place.
            if self.files.disk.read(&path).ok().as_deref() != Some(bytes) {
                return Err(io_error("could not rewrite", &path, error));
            }
            self.durability.dir_unsynced = true;
        }
        self.index_db_is_true = false;
        self.durability.forget(new.index);
        if last {
            self.log = Log::at(new.len);
        }
        new.table.close();
        if let Some(block) = self.blocks.get_mut(position) {
            *block = new;
        }
        self.unsettle_after(position);
        self.keep_all();
        Ok(())
    }

    /// Deletes the file of a block that holds nothing.
    pub(super) fn delete_block(&mut self, position: usize) -> Result<(), StoreError> {
        if position >= self.blocks.len() {
            return Ok(());
        }
        self.delete_file(position)?;
        self.blocks.remove(position);
        self.unsettle_after(position);
        self.keep_all();
        Ok(())
    }

    /// Deletes the files of the first blocks, which hold nothing, until that fails. Says how many went. Costs no more for each
    /// when there are many.
    pub(super) fn delete_first_blocks(&mut self, count: usize) -> (usize, Result<(), StoreError>) {
        let count = count.min(self.blocks.len());
        let (mut deleted, mut result) = (0, Ok(()));
        while deleted < count {
            result = self.delete_file(deleted);
            if result.is_err() {
                break;
            }
            deleted += 1;
        }
        if deleted > 0 {
            self.blocks.drain(..deleted);
            self.unsettle_after(0);
            self.keep_all();
        }
        (deleted, result)
    }

    fn delete_file(&mut self, position: usize) -> Result<(), StoreError> {
        let Some(block) = self.blocks.get(position) else { return Ok(()) };
        let path = self.files.block_path(block.index);
        self.note_replaced(block.index);
        self.reader.get_mut().forget(block.index);
        match self.files.disk.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("could not remove", &path, error));
            }
            _ => self.durability.dir_unsynced = true,
        }
        self.index_db_is_true = false;
        self.durability.forget(block.index);
        Ok(())
    }

    /// Tombstones in later blocks may have lost their purpose.
    fn unsettle_after(&mut self, position: usize) {
        let last = self.blocks.len().saturating_sub(1);
        for block in self.blocks.iter_mut().take(last).skip(position) {
            if block.tombstones > 0 && block.settled && block.live_bytes * 2 < block.len {
                block.settled = false;
                self.chores.push(block.index);
            }
        }
    }
}
