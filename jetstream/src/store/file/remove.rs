//! Removing messages: one, or all below a sequence.

use super::FileStore;
use super::record::Kind;
use super::table::Place;
use super::undo::{Step, hold};
use crate::store::{Removed, StoreError};

impl FileStore {
    pub(super) fn remove_message(
        &mut self,
        seq: u64,
        subject: Option<&[u8]>,
        erase: bool,
    ) -> Result<Option<Removed>, StoreError> {
        #[cfg(test)]
        crate::steps::note();
        let position = self.position(seq);
        let Some(block) = self.blocks.get(position) else { return Ok(None) };
        let Some((at, place)) = block.table.find(seq) else { return Ok(None) };
        let found;
        let subject = match subject {
            Some(subject) => subject,
            None => {
                let spot = self.spot(seq)?;
                found = spot.and_then(|spot| self.view(&spot)).map(|msg| msg.subject.to_vec());
                found.as_deref().unwrap_or_default()
            }
        };
        if erase {
            let subject = subject.to_vec();
            return self.erase_message(seq, &subject);
        }
        let removed = self.remove_at(seq, position, (at, place))?;
        self.index.forget(subject, seq);
        Ok(Some(removed))
    }

    /// Removes a message that went for a newer one of its subject: the index does not hold it any more.
    pub(super) fn remove_replaced(
        &mut self,
        seq: u64,
        subject: &[u8],
    ) -> Result<Option<Removed>, StoreError> {
        #[cfg(test)]
        crate::steps::note();
        let position = self.position(seq);
        let found = self.blocks.get(position).and_then(|block| block.table.find(seq));
        let Some(found) = found else { return Ok(None) };
        let removed = self.remove_at(seq, position, found);
        if removed.is_err() {
            hold(&mut self.index, subject, seq);
        }
        removed.map(Some)
    }

    /// Removes a message that was found in the table of a block from all but the index.
    #[inline(always)]
    fn remove_at(
        &mut self,
        seq: u64,
        position: usize,
        (at, place): (usize, Place),
    ) -> Result<Removed, StoreError> {
        self.tell_removed(seq)?;
        self.note_step(Step::Remove(seq, place));
        if let Some(block) = self.blocks.get_mut(position) {
            // Its removal was only appended: the table is as it was.
            block.forget_at(at);
        }
        let bytes = u64::from(place.len);
        self.dead_bytes += bytes;
        self.count_removed(position, seq, bytes);
        self.note_chore(position);
        Ok(Removed { seq, bytes })
    }

    /// Writes the block of a message anew without it. The message is there until the new block has taken the place of
    /// the old one, so that a disk without room for it loses nothing.
    fn erase_message(&mut self, seq: u64, subject: &[u8]) -> Result<Option<Removed>, StoreError> {
        self.check_writable()?;
        self.log_unlogged()?;
        self.sync_files()?;
        self.forget_outdated();
        // A summary that counts the message would be believed where the end of the last block stays the same.
        self.forget_summary()?;
        let position = self.position(seq);
        let Some(place) = self.blocks.get(position).and_then(|block| block.table.get(seq)) else {
            return Ok(None);
        };
        let Some(bytes) = self.take_out(position, seq, subject) else { return Ok(None) };
        match self.rewrite(position) {
            Ok(()) => Ok(Some(Removed { seq, bytes })),
            Err(error) => {
                self.hold_again(seq, place, subject);
                Err(error)
            }
        }
    }

    /// Takes a message out of table, index and counters; its removal is already in the log.
    fn take_out(&mut self, position: usize, seq: u64, subject: &[u8]) -> Option<u64> {
        let bytes = self.take_out_of_leaving(position, seq, subject)?;
        self.note_chore(position);
        Some(bytes)
    }

    /// Remembers to write a block anew that lost a message, where that is worth it.
    fn note_chore(&mut self, position: usize) {
        if position + 1 == self.blocks.len() {
            return;
        }
        let Some(block) = self.blocks.get(position) else { return };
        let chore = block.live() == 0 || block.is_mostly_dead();
        if chore && !self.chores.contains(&block.index) {
            self.chores.push(block.index);
        }
    }

    /// As [`take_out`](Self::take_out), of a block that is about to go as a whole.
    fn take_out_of_leaving(&mut self, position: usize, seq: u64, subject: &[u8]) -> Option<u64> {
        #[cfg(test)]
        crate::steps::note();
        let bytes = self.blocks.get_mut(position)?.forget(seq)?;
        self.dead_bytes += bytes;
        self.index.forget(subject, seq);
        self.count_removed(position, seq, bytes);
        Some(bytes)
    }

    pub(super) fn remove_below(&mut self, seq: u64) -> Result<u64, StoreError> {
        let before = self.totals.msgs;
        if seq <= self.totals.first_seq && !(before == 0 && seq > self.totals.last_seq.saturating_add(1)) {
            return Ok(0);
        }
        if self.change.is_some() {
            // What deletes blocks could not be taken back with the rest of the change.
            return self.remove_each_below(seq);
        }
        if seq > self.totals.last_seq {
            self.remove_all(seq - 1)?;
            return Ok(before);
        }
        let whole = self.blocks.iter().take_while(|block| block.last_seq < seq).count();
        self.remove_blocks(whole.min(self.blocks.len().saturating_sub(1)))?;
        self.remove_each_below(seq)?;
        Ok(before - self.totals.msgs)
    }

    fn remove_each_below(&mut self, seq: u64) -> Result<u64, StoreError> {
        let before = self.totals.msgs;
        while self.totals.msgs > 0 && self.totals.first_seq < seq {
            match self.remove_message(self.totals.first_seq, None, false) {
                // It is not held any more.
                Ok(_) | Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(before - self.totals.msgs)
    }

    /// Removes some of what is below a sequence. What is in blocks that go as a whole costs no tombstones.
    pub(super) fn remove_some_below(
        &mut self,
        seq: u64,
        most: usize,
        gone: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<bool, StoreError> {
        let mut left = most;
        while left > 0 && self.totals.msgs > 0 && self.totals.first_seq < seq {
            let goes = self.blocks.len() > 1 && self.blocks.first().is_some_and(|block| block.last_seq < seq);
            let looked = if goes {
                self.empty_first_block(left, gone)?
            } else {
                let first = self.totals.first_seq;
                let subject = self.subject_of(first)?.unwrap_or_default();
                match self.remove_message(first, Some(&subject), false) {
                    Ok(Some(_)) => gone(first, &subject),
                    Ok(None) | Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
                1
            };
            left = left.saturating_sub(looked.max(1));
        }
        Ok(self.totals.msgs > 0 && self.totals.first_seq < seq)
    }

    /// Takes messages out of the first block, which is not the last, and deletes it when none is left. Says how many it
    /// looked at.
    fn empty_first_block(
        &mut self,
        most: usize,
        gone: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<usize, StoreError> {
        let Some(first) = self.blocks.first() else { return Ok(0) };
        let held: Vec<u64> = first.table.up(0).take(most).map(|(seq, _)| seq).collect();
        for seq in held.iter().copied() {
            if let Some(subject) = self.subject_of(seq)? {
                self.take_out(0, seq, &subject);
                self.leaving.push(seq);
                gone(seq, &subject);
            }
        }
        // What cannot be read does not keep a block.
        if held.len() < most || self.blocks.first().is_some_and(|block| block.live() == 0) {
            if self.durability.poison.is_none() {
                self.sync_files()?;
            }
            let leaving = std::mem::take(&mut self.leaving);
            self.delete_or_bury(&leaving)?;
        }
        Ok(held.len())
    }

    /// The subject of a message that can be read.
    fn subject_of(&mut self, seq: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.spot(seq) {
            Ok(spot) => Ok(spot.and_then(|spot| self.view(&spot)).map(|msg| msg.subject.to_vec())),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes the first `count` blocks with all that they hold. Needs no room on the disk, so that a purge helps
    /// where the disk is full.
    fn remove_blocks(&mut self, count: usize) -> Result<(), StoreError> {
        if count == 0 {
            return Ok(());
        }
        if self.durability.poison.is_none() {
            self.sync_files()?;
        }
        let mut emptied = Vec::with_capacity(count);
        let mut result = Ok(());
        for position in 0..count {
            let Some(block) = self.blocks.get(position) else { break };
            let held: Vec<u64> = block.table.up(0).map(|(seq, _)| seq).collect();
            result = held.iter().try_for_each(|seq| self.empty_place(position, *seq));
            if result.is_err() {
                break;
            }
            emptied.push(held);
        }
        self.delete_or_bury_all(emptied).and(result)
    }

    /// Takes a message out of a block that goes.
    fn empty_place(&mut self, position: usize, seq: u64) -> Result<(), StoreError> {
        match self.spot(seq) {
            Ok(Some(spot)) => {
                let subject = self.view(&spot).map(|msg| msg.subject.to_vec()).unwrap_or_default();
                self.take_out_of_leaving(position, seq, &subject);
                Ok(())
            }
            Ok(None) | Err(StoreError::Damaged { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Deletes as many blocks from the first on as there are lists of what they held. Where that fails, tombstones say that
    /// what is left of it is gone.
    fn delete_or_bury_all(&mut self, held: Vec<Vec<u64>>) -> Result<(), StoreError> {
        let (deleted, result) = self.delete_first_blocks(held.len());
        if result.is_ok() {
            return Ok(());
        }
        let left = held.len() - deleted;
        self.chores.extend(self.blocks.iter().take(left).map(|block| block.index));
        self.unlogged.extend(held.into_iter().skip(deleted).flatten());
        // Failing here as well, they are written with the next change.
        let _ = self.log_unlogged();
        result
    }

    /// Deletes the first block. Where that fails, tombstones say that what it held is gone.
    fn delete_or_bury(&mut self, held: &[u64]) -> Result<(), StoreError> {
        let Err(error) = self.delete_block(0) else { return Ok(()) };
        self.unlogged.extend_from_slice(held);
        self.chores.extend(self.blocks.first().map(|block| block.index));
        // Failing here as well, they are written with the next change.
        let _ = self.log_unlogged();
        Err(error)
    }

    /// Removes every message and makes `last_seq` the last sequence assigned.
    fn remove_all(&mut self, last_seq: u64) -> Result<(), StoreError> {
        if self.durability.poison.is_some() {
            // A full disk, perhaps: what goes anyway makes room for the record that says so.
            self.remove_blocks(self.blocks.len().saturating_sub(1))?;
        }
        self.check_writable()?;
        self.unlogged.clear();
        self.begin_block()?;
        let last_seq = last_seq.max(self.totals.last_seq);
        self.put_mark(Kind::Erased, last_seq, self.totals.last_ts_ns)?;
        self.totals.last_seq = last_seq;
        // What is only in blocks that go needs no sync, which is most of what such a purge would wait for; and without such
        // blocks nothing is done that a record does not say.
        if self.blocks.len() > 1 {
            self.sync_last_block()?;
        }
        self.index.clear();
        self.damaged.clear();
        (self.totals.msgs, self.totals.bytes) = (0, 0);
        self.totals.first_seq = last_seq.saturating_add(1);
        self.first_ts_ns.set(None);
        let sealed = self.blocks.len() - 1;
        let mut held = Vec::with_capacity(sealed);
        for block in self.blocks.iter_mut().take(sealed) {
            held.push(block.table.up(0).map(|(seq, _)| seq).collect::<Vec<u64>>());
            block.forget_all();
        }
        self.delete_or_bury_all(held)
    }
}
