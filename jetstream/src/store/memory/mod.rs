//! The store that keeps its messages in memory.

mod segment;

use self::segment::Segment;
use super::index::{IndexImage, Recorded, SubjectIndex};
use super::query::{self, Scan, Sequences, Visit};
use super::upcoming::{self, Ahead, Upcoming};
use super::{
    Derived, Known, Msg, Removed, Store, StoreError, StoreImage, StoreState, Stored, SyncWork, Totals, gaps,
    msg_size_memory,
};
use crate::filter::Filter;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Parts of a message longer than this in sum are refused: offsets in a segment have 32 bits.
const CONTENT_BYTES_MAX: usize = 1 << 31;

/// A store in memory. Messages stand in segments of up to 1024 neighbouring sequences, each with one buffer that is
/// rewritten when a third of it is dead, so that neither a message nor a hole costs an allocation and memory comes
/// back when messages go.
#[derive(Debug, Default)]
pub struct MemoryStore {
    /// By first sequence that a segment may hold; none is without live messages.
    segments: BTreeMap<u64, Segment>,
    index: SubjectIndex,
    state: StoreState,
    /// What was known of what an image brought, and the last sequence then.
    known: (Known, u64),
    /// How many sequences batches hold at most, none for no batches.
    #[cfg(test)]
    pub(crate) batch_seqs: Option<usize>,
}

/// A store as it was at some moment.
#[derive(Debug)]
pub(crate) struct MemoryImage {
    segments: BTreeMap<u64, Segment>,
    index: IndexImage,
    state: StoreState,
    known: Known,
}

impl MemoryImage {
    /// Bytes that it takes, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        let segments: usize = self.segments.values().map(Segment::memory_bytes).sum();
        segments as u64 + self.index.size_bytes()
    }
}

impl MemoryStore {
    /// A store that holds what an image shows.
    pub(crate) fn of(image: &MemoryImage) -> Self {
        Self {
            segments: image.segments.clone(),
            index: SubjectIndex::of(&image.index),
            state: image.state,
            known: (image.known, image.state.last_seq),
            #[cfg(test)]
            batch_seqs: None,
        }
    }

    /// An empty store; allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory that messages and index hold, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.segments.values().map(Segment::memory_bytes).sum::<usize>() + self.index.memory_bytes()
    }

    fn segment_for(&self, seq: u64) -> Option<&Segment> {
        self.segments.range(..=seq).next_back().map(|(_, segment)| segment)
    }

    fn get(&self, seq: u64) -> Option<Msg<'_>> {
        self.segment_for(seq)?.get(seq)
    }

    /// Messages at or after `from_seq`, ascending.
    fn up(&self, from_seq: u64) -> impl Iterator<Item = Msg<'_>> {
        let first = self.segments.range(..=from_seq).next_back().map_or(0, |(base, _)| *base);
        self.segments.range(first..).flat_map(move |(_, segment)| segment.up(from_seq))
    }

    /// Messages at or before `upto_seq`, descending.
    fn down(&self, upto_seq: u64) -> impl Iterator<Item = Msg<'_>> {
        self.segments.range(..=upto_seq).rev().flat_map(move |(_, segment)| segment.down(upto_seq))
    }

    /// Takes one message, which the index does not hold any more, out of its segment, and drops the segment with its last
    /// message.
    fn take(&mut self, seq: u64, erase: bool) -> Option<Removed> {
        #[cfg(test)]
        crate::steps::note();
        let (base, segment) = self.segments.range_mut(..=seq).next_back()?;
        let base = *base;
        let msg = segment.get(seq)?;
        let bytes = msg_size_memory(msg.subject.len(), msg.headers.len(), msg.payload.len());
        segment.remove(seq, erase);
        if segment.live() == 0 {
            self.segments.remove(&base);
        }
        self.state.msgs -= 1;
        self.state.bytes -= bytes;
        if seq == self.state.first_seq {
            self.find_first(seq);
        }
        Some(Removed { seq, bytes })
    }

    /// Sets the first sequence and its time from what is held at or after `from_seq`.
    fn find_first(&mut self, from_seq: u64) {
        let first = self.up(from_seq).next().map(|msg| (msg.seq, msg.ts_ns));
        (self.state.first_seq, self.state.first_ts_ns) =
            first.unwrap_or((self.state.last_seq.saturating_add(1), 0));
    }

    fn remove_all_upto(&mut self, next_seq: u64) -> u64 {
        let purged = self.state.msgs;
        self.segments.clear();
        self.index.clear();
        self.state = StoreState {
            first_seq: next_seq,
            last_seq: next_seq - 1,
            last_ts_ns: self.state.last_ts_ns,
            ..StoreState::default()
        };
        purged
    }
}

impl Sequences for MemoryStore {
    fn subjects(&self) -> &SubjectIndex {
        &self.index
    }

    fn totals(&self) -> Totals {
        Totals::from(&self.state)
    }

    fn count_from(&self, from_seq: u64) -> u64 {
        if from_seq <= self.state.first_seq {
            return self.state.msgs;
        }
        let first = self.segments.range(..=from_seq).next_back().map_or(0, |(base, _)| *base);
        self.segments.range(first..).map(|(_, segment)| segment.count_from(from_seq)).sum()
    }

    fn scan_up(&mut self, from_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        Ok(scan(self.up(from_seq), &self.index, budget, visit))
    }

    fn scan_down(&mut self, upto_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
        Ok(scan(self.down(upto_seq), &self.index, budget, visit))
    }
}

fn scan<'m>(
    msgs: impl Iterator<Item = Msg<'m>>,
    index: &SubjectIndex,
    budget: usize,
    visit: &mut Visit<'_>,
) -> Scan {
    let mut left = budget;
    for msg in msgs {
        if left == 0 {
            return Scan::More(msg.seq);
        }
        left -= 1;
        #[cfg(test)]
        crate::steps::note();
        if let ControlFlow::Break(()) = visit(index, msg.seq, msg.subject) {
            return Scan::Broke;
        }
    }
    Scan::End
}

impl Store for MemoryStore {
    fn state(&self) -> StoreState {
        StoreState { subjects: self.index.len() as u64, ..self.state }
    }

    fn index(&self) -> &SubjectIndex {
        &self.index
    }

    fn msg_size(&self, subject_len: usize, headers_len: usize, payload_len: usize) -> u64 {
        msg_size_memory(subject_len, headers_len, payload_len)
    }

    fn put(&mut self, msg: &Msg<'_>, most: u64) -> Result<Stored, StoreError> {
        if msg.content_len() > CONTENT_BYTES_MAX {
            return Err(StoreError::TooLarge);
        }
        debug_assert!(msg.seq > self.state.last_seq, "sequences only rise");
        if let Some(mut last) = self.segments.last_entry()
            && last.get().takes(msg.seq)
        {
            last.get_mut().append(msg);
        } else {
            if let Some(mut last) = self.segments.last_entry() {
                last.get_mut().close();
            }
            let mut segment = Segment::new(msg.seq);
            segment.append(msg);
            self.segments.insert(msg.seq, segment);
        }
        let Recorded { entry, replaced } = self.index.record_within(msg.subject, msg.seq, most);
        if self.state.msgs == 0 {
            (self.state.first_seq, self.state.first_ts_ns) = (msg.seq, msg.ts_ns);
        }
        self.state.msgs += 1;
        self.state.bytes += msg_size_memory(msg.subject.len(), msg.headers.len(), msg.payload.len());
        (self.state.last_seq, self.state.last_ts_ns) = (msg.seq, msg.ts_ns);
        let replaced = replaced.and_then(|seq| self.take(seq, false));
        Ok(Stored { entry, replaced: Ok(replaced) })
    }

    fn skip_to(&mut self, seq: u64, ts_ns: i64) -> Result<(), StoreError> {
        if seq <= self.state.last_seq {
            return Ok(());
        }
        self.state.last_seq = seq;
        if ts_ns != 0 {
            self.state.last_ts_ns = ts_ns;
        }
        if self.state.msgs == 0 {
            self.state.first_seq = seq.saturating_add(1);
        }
        Ok(())
    }

    fn load(&mut self, seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        Ok(self.get(seq))
    }

    fn next(&mut self, filter: &Filter, from_seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        Ok(query::next_seq(self, filter, from_seq)?.and_then(|seq| self.get(seq)))
    }

    fn next_upcoming(
        &mut self,
        filter: &Filter,
        from_seq: u64,
        upcoming: &mut Upcoming,
    ) -> Result<Ahead<Msg<'_>>, StoreError> {
        #[cfg(test)]
        match self.batch_seqs {
            Some(0) => return Ok(self.next(filter, from_seq)?.map_or(Ahead::Nothing, Ahead::Found)),
            Some(most) => upcoming.set_sizes(most, 2 * most, most),
            None => {}
        }
        let mut from_seq = from_seq;
        loop {
            let seq = match upcoming::next_seq(self, filter, from_seq, upcoming)? {
                Ahead::Found(seq) => seq,
                Ahead::Nothing => return Ok(Ahead::Nothing),
                Ahead::More => return Ok(Ahead::More),
            };
            if self.get(seq).is_some() {
                return Ok(self.get(seq).map_or(Ahead::Nothing, Ahead::Found));
            }
            from_seq = seq.saturating_add(1);
        }
    }

    fn previous(&mut self, filter: &Filter, upto_seq: u64) -> Result<Option<Msg<'_>>, StoreError> {
        Ok(query::previous_seq(self, filter, upto_seq)?.and_then(|seq| self.get(seq)))
    }

    fn seq_at_time(&mut self, ts_ns: i64) -> Result<u64, StoreError> {
        let mut segments = self.segments.values().filter(|segment| segment.ts_max_ns() >= ts_ns);
        let found = segments.find_map(|segment| segment.up(0).find(|msg| msg.ts_ns >= ts_ns));
        Ok(found.map_or(self.state.last_seq.saturating_add(1), |msg| msg.seq))
    }

    fn remove(
        &mut self,
        seq: u64,
        _subject: Option<&[u8]>,
        erase: bool,
    ) -> Result<Option<Removed>, StoreError> {
        let Some(segment) = self.segments.range(..=seq).next_back().map(|(_, segment)| segment) else {
            return Ok(None);
        };
        let Some(msg) = segment.get(seq) else { return Ok(None) };
        self.index.forget(msg.subject, seq);
        Ok(self.take(seq, erase))
    }

    fn compact(&mut self, seq: u64) -> Result<u64, StoreError> {
        if seq <= self.state.first_seq {
            return Ok(0);
        }
        if seq > self.state.last_seq {
            return Ok(self.remove_all_upto(seq));
        }
        let before = self.state.msgs;
        while self.state.msgs > 0 && self.state.first_seq < seq {
            self.remove(self.state.first_seq, None, false)?;
        }
        Ok(before - self.state.msgs)
    }

    fn compact_part(
        &mut self,
        seq: u64,
        most: usize,
        gone: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<bool, StoreError> {
        for _ in 0..most {
            let first_seq = self.state.first_seq;
            let Some(msg) = self.get(first_seq).filter(|_| first_seq < seq) else { return Ok(false) };
            gone(first_seq, msg.subject);
            self.remove(first_seq, None, false)?;
        }
        Ok(self.state.msgs > 0 && self.state.first_seq < seq)
    }

    fn deleted_from(&self, from_seq: u64, most: usize, deleted: &mut Vec<u64>) -> Option<u64> {
        if self.state.msgs == 0 {
            return None;
        }
        let held = self.up(from_seq).map(|msg| msg.seq);
        gaps(held, (from_seq, self.state.last_seq), most, deleted)
    }

    fn recovered(&self) -> Known {
        let (known, last_seq) = self.known;
        if last_seq == self.state.last_seq { known } else { Known::default() }
    }

    fn image(&mut self, derived: Derived) -> Result<Option<StoreImage>, StoreError> {
        let (ids_from, ids_window_ns) = derived.ids_from.unzip();
        Ok(Some(StoreImage::Memory(MemoryImage {
            segments: self.segments.clone(),
            index: self.index.image(),
            state: self.state,
            known: Known { ids_from, ids_window_ns, most_per_subject: None },
        })))
    }

    fn take_recovered_expiries(&mut self) -> Vec<(u64, i64)> {
        Vec::new()
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn begin_sync(&mut self) -> Result<Option<SyncWork>, StoreError> {
        Ok(None)
    }

    fn end_sync(&mut self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        outcome
    }

    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
