//! From a sequence to its message.
#![warn(clippy::indexing_slicing)]

use super::FileStore;
use super::block::Block;
use super::files::{StreamFiles, io_error};
use super::log::Log;
use super::read::{Reader, content};
use super::record::{Kind, Record, parse};
use super::table::Place;
use crate::filter::Filter;
use crate::store::index::SubjectIndex;
use crate::store::query::{Scan, Sequences, Visit};
use crate::store::{Msg, StoreError, Totals};
use std::ops::{ControlFlow, Range};

/// Where the bytes of a record are in memory.
#[derive(Debug)]
pub(super) enum Spot {
    Log(Range<usize>),
    Chunk(Range<usize>),
}

/// What reading a record brought.
enum Fetched {
    At(Spot),
    Damaged,
}

/// The parts of a store that reading needs.
struct Shelf<'a> {
    files: &'a StreamFiles,
    blocks: &'a [Block],
    log: &'a Log,
    reader: &'a mut Reader,
}

impl Shelf<'_> {
    fn fetch(&mut self, position: usize, seq: u64, place: Place) -> Result<Fetched, StoreError> {
        let Some(block) = self.blocks.get(position) else { return Ok(Fetched::Damaged) };
        let is_last = position + 1 == self.blocks.len();
        if is_last && let Some(range) = self.log.find(u64::from(place.offset), u64::from(place.len)) {
            return Ok(Fetched::At(Spot::Log(range)));
        }
        let path = || self.files.block_path(block.index);
        let written = if is_last { self.log.pending().0 } else { block.len };
        let range = match self.reader.record(self.files, block, place, written) {
            Ok(range) => range,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("could not read", &path(), error)),
        };
        let Some(range) = range else { return Ok(Fetched::Damaged) };
        let bytes = self.reader.chunk.get(range.clone()).unwrap_or_default();
        let whole = parse(bytes).is_some_and(|record| {
            record.kind == Kind::Message && record.seq == seq && block.key.verifies(&record, bytes)
        });
        Ok(if whole { Fetched::At(Spot::Chunk(range)) } else { Fetched::Damaged })
    }

    fn record(&self, spot: &Spot) -> Option<Record<'_>> {
        match spot {
            Spot::Log(range) => parse(self.log.buf.get(range.clone())?),
            Spot::Chunk(range) => parse(self.reader.chunk.get(range.clone())?),
        }
    }
}

impl FileStore {
    /// The block whose range of sequences reaches `seq`: the first that does not end before it.
    #[inline]
    pub(super) fn position(&self, seq: u64) -> usize {
        // Most that is looked for is in the last one.
        match self.blocks.as_slice() {
            [.., last] if last.last_seq < seq => self.blocks.len(),
            [] | [_] => 0,
            [before @ .., _] if before.last().is_some_and(|block| block.last_seq < seq) => before.len(),
            blocks => blocks.partition_point(|block| block.last_seq < seq),
        }
    }

    pub(super) fn place(&self, seq: u64) -> Option<(usize, Place)> {
        let position = self.position(seq);
        Some((position, self.blocks.get(position)?.table.get(seq)?))
    }

    fn shelf(&mut self) -> Shelf<'_> {
        Shelf { files: &self.files, blocks: &self.blocks, log: &self.log, reader: self.reader.get_mut() }
    }

    /// The subject of the record at a place, if it can be read.
    pub(super) fn subject_at(&mut self, position: usize, seq: u64, place: Place) -> Option<Box<[u8]>> {
        let mut shelf = self.shelf();
        match shelf.fetch(position, seq, place) {
            Ok(Fetched::At(spot)) => shelf.record(&spot).map(|record| record.subject.into()),
            _ => None,
        }
    }

    /// Reads the record of a message that is held.
    pub(super) fn spot(&mut self, seq: u64) -> Result<Option<Spot>, StoreError> {
        let Some((position, place)) = self.place(seq) else {
            return match self.damaged.get(&seq) {
                Some(place) => Err(StoreError::Damaged { seq, place: place.clone() }),
                None => Ok(None),
            };
        };
        match self.shelf().fetch(position, seq, place)? {
            Fetched::At(spot) => Ok(Some(spot)),
            Fetched::Damaged => Err(self.give_up(seq)),
        }
    }

    /// The message at a spot.
    pub(super) fn view(&mut self, spot: &Spot) -> Option<Msg<'_>> {
        let bytes = match spot {
            Spot::Log(range) => self.log.buf.get(range.clone())?,
            Spot::Chunk(range) => self.reader.get_mut().chunk.get(range.clone())?,
        };
        let Record { seq, ts_ns, subject, headers, payload, .. } = parse(bytes)?;
        Some(Msg { seq, ts_ns, subject, headers, payload })
    }

    /// Takes a message that cannot be read out of what is held, keeps its bytes, and reports it.
    fn give_up(&mut self, seq: u64) -> StoreError {
        let place = self.drop_damaged(seq);
        StoreError::Damaged { seq, place }
    }

    fn drop_damaged(&mut self, seq: u64) -> String {
        let Some((position, place)) = self.place(seq) else { return String::new() };
        let Some(block) = self.blocks.get_mut(position) else { return String::new() };
        let (index, offset) = (block.index, u64::from(place.offset));
        let mut bytes = Vec::new();
        if block.compressed {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = content(&self.files, index).ok().flatten();
            let found = found.as_ref().and_then(|found| found.bytes.get(start..));
            bytes
                .extend_from_slice(found.and_then(|rest| rest.get(..place.len as usize)).unwrap_or_default());
        } else {
            bytes.resize(place.len as usize, 0);
            let file = self.reader.get_mut().handle(&self.files, index, false);
            let got = file.and_then(|file| file.read_at(&mut bytes, offset)).unwrap_or(0);
            bytes.truncate(got);
        }
        let kept = self
            .files
            .quarantined()
            .and_then(|known| self.files.quarantine((index, offset), Some(seq), &bytes, true, &known));
        if let Err(error) = kept {
            tracing::error!(
                stream = self.files.name,
                "could not keep damaged bytes: {}",
                jetkv_go_compat::os_text(&error)
            );
        }
        block.forget(seq);
        // Nothing of it may be dropped by a rewrite that would have to read it.
        block.settled = true;
        let mut subject = None;
        self.index.for_each(&Filter::All, |candidate, entry| {
            let here = entry.first_seq <= seq && seq <= entry.last_seq;
            if here && self.index.at_or_after(candidate, seq) == Some(seq) {
                subject = Some(candidate.to_vec());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if let Some(subject) = subject {
            self.index.forget(&subject, seq);
        }
        self.count_removed(position, seq, u64::from(place.len));
        let place = format!("{} at offset {offset}", self.files.block_path(index).display());
        self.damaged.insert(seq, place.clone());
        place
    }

    /// Counts a message out that the table of its block, at `position`, holds no more.
    #[inline]
    pub(super) fn count_removed(&mut self, position: usize, seq: u64, len: u64) {
        self.totals.msgs -= 1;
        self.totals.bytes -= len;
        if seq == self.totals.first_seq || self.totals.msgs == 0 {
            // Blocks before that of the first hold nothing.
            let mut held = self.blocks.get(position..).unwrap_or_default().iter();
            let first = held.find_map(|block| block.table.first()).map(|(seq, _)| seq);
            self.totals.first_seq = first.unwrap_or(self.totals.last_seq.saturating_add(1));
            self.first_ts_ns.set(None);
        }
    }

    /// Time of the first message, 0 where it cannot be read.
    pub(super) fn first_ts_ns(&self) -> i64 {
        if let Some(ts_ns) = self.first_ts_ns.get() {
            return ts_ns;
        }
        let ts_ns = self.time_of(self.totals.first_seq).unwrap_or(0);
        self.first_ts_ns.set(Some(ts_ns));
        ts_ns
    }

    /// Time of a message that is held; `None` where it cannot be read.
    pub(super) fn time_of(&self, seq: u64) -> Option<i64> {
        let (position, place) = self.place(seq)?;
        let mut reader = self.reader.borrow_mut();
        let mut shelf =
            Shelf { files: &self.files, blocks: &self.blocks, log: &self.log, reader: &mut reader };
        match shelf.fetch(position, seq, place) {
            Ok(Fetched::At(spot)) => shelf.record(&spot).map(|record| record.ts_ns),
            _ => None,
        }
    }

    /// The first sequence whose time is at or after `ts_ns`. Times rise with the sequences, as in nats-server.
    pub(super) fn find_time(&mut self, ts_ns: i64) -> Result<u64, StoreError> {
        let after_all = self.totals.last_seq.saturating_add(1);
        let candidates = self.blocks.iter().filter(|block| block.live() > 0 && block.last_ts_ns >= ts_ns);
        for block in candidates {
            let held: Vec<u64> = block.table.up(0).map(|(seq, _)| seq).collect();
            let at = held.partition_point(|seq| self.time_of(*seq).is_some_and(|time| time < ts_ns));
            if let Some(seq) = held.get(at) {
                return Ok(*seq);
            }
        }
        Ok(after_all)
    }

    /// Looks at messages in the order of `places`, and takes those that cannot be read out of what is held.
    fn walk(&mut self, from: Direction, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        let (Direction::Up(seq) | Direction::Down(seq)) = from;
        let position = self.position(seq);
        let Self { files, blocks, log, reader, index, .. } = self;
        let mut walk = Walk {
            shelf: Shelf { files, blocks, log, reader: reader.get_mut() },
            index,
            budget,
            unreadable: Vec::new(),
        };
        let blocks = blocks.iter().enumerate();
        let result = match from {
            Direction::Up(seq) => walk.run(
                blocks.skip(position).flat_map(|(at, block)| block.table.up(seq).map(move |held| (at, held))),
                visit,
            ),
            Direction::Down(seq) => walk.run(
                blocks
                    .rev()
                    .skip_while(|(at, _)| *at > position)
                    .flat_map(|(at, block)| block.table.down(seq).map(move |held| (at, held))),
                visit,
            ),
        };
        for seq in walk.unreadable {
            self.give_up(seq);
        }
        result
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up(u64),
    Down(u64),
}

struct Walk<'a> {
    shelf: Shelf<'a>,
    index: &'a SubjectIndex,
    budget: usize,
    unreadable: Vec<u64>,
}

impl Walk<'_> {
    fn run(
        &mut self,
        places: impl Iterator<Item = (usize, (u64, Place))>,
        visit: &mut Visit<'_>,
    ) -> Result<Scan, StoreError> {
        let mut left = self.budget;
        for (position, (seq, place)) in places {
            if left == 0 {
                return Ok(Scan::More(seq));
            }
            left -= 1;
            match self.shelf.fetch(position, seq, place)? {
                Fetched::At(spot) => {
                    let subject = self.shelf.record(&spot).map_or(&b""[..], |record| record.subject);
                    if let ControlFlow::Break(()) = visit(self.index, seq, subject) {
                        return Ok(Scan::Broke);
                    }
                }
                Fetched::Damaged => self.unreadable.push(seq),
            }
        }
        Ok(Scan::End)
    }
}

impl Sequences for FileStore {
    fn subjects(&self) -> &SubjectIndex {
        &self.index
    }

    fn totals(&self) -> Totals {
        Totals::from(&self.totals)
    }

    fn take_backs(&self) -> u64 {
        self.undo.take_backs
    }

    fn count_from(&self, from_seq: u64) -> u64 {
        if from_seq <= self.totals.first_seq {
            return self.totals.msgs;
        }
        let position = self.position(from_seq);
        let partly = self.blocks.get(position).map_or(0, |block| block.table.up(from_seq).count() as u64);
        partly + self.blocks.iter().skip(position + 1).map(Block::live).sum::<u64>()
    }

    fn scan_up(&mut self, from_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        self.walk(Direction::Up(from_seq), budget, visit)
    }

    fn scan_down(&mut self, upto_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        self.walk(Direction::Down(upto_seq), budget, visit)
    }
}
