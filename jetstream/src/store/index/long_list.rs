//! Very many sequences under one subject: chunks of delta-coded sequences.

use super::SubjectEntry;
use crate::store::source::{Source, invalid};
use crate::store::varint::{put_uvarint, take_uvarint};
use std::collections::VecDeque;
use std::io;

/// Sequences in a chunk that is full.
const CHUNK_SEQS: u32 = 512;
/// Neighbouring chunks that together hold fewer are joined.
const JOIN_SEQS: u32 = 128;

#[derive(Debug, Clone)]
struct Chunk {
    first: u64,
    last: u64,
    count: u32,
    /// Where the gap after `first` begins.
    start: u32,
    /// Gaps from each sequence to the next, as varints.
    gaps: Vec<u8>,
}

impl Chunk {
    fn of(seq: u64) -> Self {
        Self { first: seq, last: seq, count: 1, start: 0, gaps: Vec::new() }
    }

    fn gaps(&self) -> &[u8] {
        self.gaps.get(self.start as usize..).unwrap_or_default()
    }

    /// Whether the gaps are as many as it says, and lead from the first sequence to the last.
    fn is_whole(&self) -> bool {
        let (mut rest, mut last, mut count) = (self.gaps(), self.first, u64::from(self.count));
        while let Some(gap) = take_uvarint(&mut rest) {
            let Some(next) = last.checked_add(gap).filter(|next| *next > last) else { return false };
            (last, count) = (next, count.saturating_sub(1));
        }
        rest.is_empty() && last == self.last && count == 1
    }

    fn push(&mut self, seq: u64) {
        put_uvarint(&mut self.gaps, seq - self.last);
        self.last = seq;
        self.count += 1;
    }

    fn iter(&self) -> ChunkIter<'_> {
        ChunkIter { next: self.first, left: self.count, gaps: self.gaps() }
    }

    /// Takes `seq` out of a chunk that holds at least two.
    fn remove(&mut self, seq: u64) -> bool {
        let mut rest = self.gaps();
        if seq == self.first {
            let Some(gap) = take_uvarint(&mut rest) else { return false };
            self.start = (self.gaps.len() - rest.len()) as u32;
            self.first += gap;
            self.count -= 1;
            return true;
        }
        let mut before = self.first;
        loop {
            let at = self.gaps.len() - rest.len();
            let Some(gap) = take_uvarint(&mut rest) else { return false };
            if before + gap < seq {
                before += gap;
                continue;
            }
            if before + gap > seq {
                return false;
            }
            if let Some(next_gap) = take_uvarint(&mut rest) {
                let mut joined = Vec::with_capacity(10);
                put_uvarint(&mut joined, gap + next_gap);
                let end = self.gaps.len() - rest.len();
                self.gaps.splice(at..end, joined);
            } else {
                self.gaps.truncate(at);
                self.last = before;
            }
            self.count -= 1;
            return true;
        }
    }
}

#[derive(Debug, Clone)]
struct ChunkIter<'l> {
    next: u64,
    left: u32,
    gaps: &'l [u8],
}

impl Iterator for ChunkIter<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        let seq = self.next;
        self.next += take_uvarint(&mut self.gaps).unwrap_or(0);
        Some(seq)
    }
}

/// An ascending list of many sequences.
#[derive(Debug, Default, Clone)]
pub(super) struct LongList {
    chunks: VecDeque<Chunk>,
    count: u64,
}

impl LongList {
    pub(super) fn of(seqs: &[u64]) -> Self {
        let mut list = Self::default();
        seqs.iter().for_each(|seq| list.push(*seq));
        list
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Appends a sequence above all others.
    pub(super) fn push(&mut self, seq: u64) {
        self.count += 1;
        match self.chunks.back_mut() {
            Some(chunk) if chunk.count < CHUNK_SEQS => chunk.push(seq),
            full => {
                if let Some(full) = full {
                    full.gaps.shrink_to_fit();
                }
                self.chunks.push_back(Chunk::of(seq));
            }
        }
    }

    /// Takes a sequence out; says whether it was there.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let at = self.chunk_at_or_after(seq);
        let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| chunk.first <= seq) else { return false };
        if chunk.count == 1 {
            self.chunks.remove(at);
        } else if chunk.remove(seq) {
            self.join(at);
        } else {
            return false;
        }
        self.count -= 1;
        true
    }

    /// Joins a chunk that became small with the one after it.
    fn join(&mut self, at: usize) {
        let (Some(chunk), Some(next)) = (self.chunks.get(at), self.chunks.get(at + 1)) else { return };
        if chunk.count + next.count >= JOIN_SEQS {
            return;
        }
        let Some(next) = self.chunks.remove(at + 1) else { return };
        if let Some(chunk) = self.chunks.get_mut(at) {
            next.iter().for_each(|seq| chunk.push(seq));
        }
    }

    pub(super) fn entry(&self) -> SubjectEntry {
        SubjectEntry {
            count: self.count,
            first_seq: self.chunks.front().map_or(0, |chunk| chunk.first),
            last_seq: self.chunks.back().map_or(0, |chunk| chunk.last),
        }
    }

    pub(super) fn at_or_after(&self, from_seq: u64) -> Option<u64> {
        self.chunks.get(self.chunk_at_or_after(from_seq))?.iter().find(|seq| *seq >= from_seq)
    }

    pub(super) fn at_or_before(&self, upto_seq: u64) -> Option<u64> {
        let at = self.chunks.partition_point(|chunk| chunk.first <= upto_seq).checked_sub(1)?;
        let chunk = self.chunks.get(at)?;
        if chunk.last <= upto_seq {
            return Some(chunk.last);
        }
        chunk.iter().take_while(|seq| *seq <= upto_seq).last()
    }

    pub(super) fn count_from(&self, from_seq: u64) -> u64 {
        let at = self.chunk_at_or_after(from_seq);
        let Some(chunk) = self.chunks.get(at) else { return 0 };
        let here = chunk.iter().filter(|seq| *seq >= from_seq).count() as u64;
        here + self.chunks.range(at + 1..).map(|chunk| u64::from(chunk.count)).sum::<u64>()
    }

    pub(super) fn iter(&self) -> LongIter<'_> {
        LongIter { list: self, at: 0, chunk: None }
    }

    /// From at most a chunk before the first sequence at or above `from_seq` on.
    pub(super) fn iter_near(&self, from_seq: u64) -> LongIter<'_> {
        LongIter { list: self, at: self.chunk_at_or_after(from_seq), chunk: None }
    }

    /// Writes the list for [`read`](Self::read).
    pub(super) fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut head = Vec::new();
        put_uvarint(&mut head, self.chunks.len() as u64);
        out.write_all(&head)?;
        for chunk in &self.chunks {
            head.clear();
            put_uvarint(&mut head, chunk.first);
            put_uvarint(&mut head, chunk.last - chunk.first);
            put_uvarint(&mut head, u64::from(chunk.count));
            put_uvarint(&mut head, chunk.gaps().len() as u64);
            out.write_all(&head)?;
            out.write_all(chunk.gaps())?;
        }
        Ok(())
    }

    /// Reads a list.
    pub(super) fn read(source: &mut Source<impl io::BufRead>) -> io::Result<Self> {
        let mut list = Self::default();
        for _ in 0..source.count()? {
            let first = source.uvarint()?;
            let last = first.checked_add(source.uvarint()?).ok_or_else(invalid)?;
            let count = u32::try_from(source.uvarint()?).map_err(|_| invalid())?;
            let gaps_len = source.count()?;
            let chunk = Chunk { first, last, count, start: 0, gaps: source.bytes(gaps_len)? };
            let is_later = list.chunks.back().is_none_or(|before| before.last < first);
            if !is_later || !chunk.is_whole() {
                return Err(invalid());
            }
            list.count += u64::from(count);
            list.chunks.push_back(chunk);
        }
        Ok(list)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.chunks.capacity() * size_of::<Chunk>()
            + self.chunks.iter().map(|chunk| chunk.gaps.capacity()).sum::<usize>()
    }

    fn chunk_at_or_after(&self, seq: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.last < seq)
    }
}

/// Sequences of a [`LongList`], ascending.
#[derive(Debug, Clone)]
pub(super) struct LongIter<'l> {
    list: &'l LongList,
    at: usize,
    chunk: Option<ChunkIter<'l>>,
}

impl Iterator for LongIter<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if let Some(seq) = self.chunk.as_mut().and_then(Iterator::next) {
                return Some(seq);
            }
            self.chunk = Some(self.list.chunks.get(self.at)?.iter());
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_messages_under_one_subject_cost_less_than_two_bytes_each() {
        let list = LongList::of(&(0..1_000_000).map(|n| n * 3).collect::<Vec<_>>());
        let per_seq = list.memory_bytes() as f64 / 1e6;
        assert!(per_seq < 2.0, "{per_seq} bytes");
    }

    #[test]
    fn removals_anywhere_leave_the_rest_in_place() {
        let mut seqs: Vec<u64> = (0..5_000).map(|n| n * n % 7 + n * 7).collect();
        let mut list = LongList::of(&seqs);
        let mut state = 17_u64;
        while !seqs.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = if state >> 62 == 0 { 0 } else { (state >> 33) as usize % seqs.len() };
            let seq = seqs.remove(at);
            assert!(list.remove(seq) && !list.remove(seq));
            assert_eq!(list.at_or_after(seq), seqs.get(at).copied());
            assert_eq!(list.at_or_before(seq), at.checked_sub(1).map(|before| seqs[before]));
            assert_eq!(list.count_from(seq), (seqs.len() - at) as u64);
            if seqs.len().is_multiple_of(500) {
                assert_eq!(list.iter().collect::<Vec<_>>(), seqs);
            }
        }
        assert_eq!((list.len(), list.chunks.len()), (0, 0));
    }
}
