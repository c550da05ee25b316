//! The sequences held under one subject, as they stand in a leaf.
//!
//! One sequence is a varint. A few are their count, the first, the distance to the last, and the gaps between the
//! ones in the middle. Many are a [`LongList`] of their own.

use super::SubjectEntry;
use super::long_list::{LongIter, LongList};
use crate::store::varint::{put_uvarint, take_uvarint};
use smallvec::SmallVec;

/// A leaf holds at most this many sequences itself: as many as the history of a key can have.
pub(super) const FEW_MAX: usize = 64;

/// Sequences taken out of a leaf for a change; the array has room for one more than a leaf holds.
pub(super) type FewSeqs = SmallVec<[u64; 96]>;

/// The sequences held under one subject, in ascending order.
#[derive(Debug, Clone, Copy)]
pub struct Seqs<'i>(pub(super) Form<'i>);

#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'i> {
    One(u64),
    Few { entry: SubjectEntry, gaps: &'i [u8] },
    Long(&'i LongList),
}

impl<'i> Seqs<'i> {
    /// Count, first and last.
    #[must_use]
    pub fn entry(&self) -> SubjectEntry {
        match self.0 {
            Form::One(seq) => SubjectEntry { count: 1, first_seq: seq, last_seq: seq },
            Form::Few { entry, .. } => entry,
            Form::Long(list) => list.entry(),
        }
    }

    /// The lowest sequence at or above `from_seq`.
    #[must_use]
    pub fn at_or_after(&self, from_seq: u64) -> Option<u64> {
        let entry = self.entry();
        if from_seq <= entry.first_seq {
            return Some(entry.first_seq);
        }
        if from_seq > entry.last_seq {
            return None;
        }
        match self.0 {
            Form::Long(list) => list.at_or_after(from_seq),
            Form::One(_) | Form::Few { .. } => self.iter().find(|seq| *seq >= from_seq),
        }
    }

    /// The highest sequence at or below `upto_seq`.
    #[must_use]
    pub fn at_or_before(&self, upto_seq: u64) -> Option<u64> {
        let entry = self.entry();
        if upto_seq >= entry.last_seq {
            return Some(entry.last_seq);
        }
        if upto_seq < entry.first_seq {
            return None;
        }
        match self.0 {
            Form::Long(list) => list.at_or_before(upto_seq),
            Form::One(_) | Form::Few { .. } => self.iter().take_while(|seq| *seq <= upto_seq).last(),
        }
    }

    /// How many sequences are at or above `from_seq`.
    #[must_use]
    pub fn count_from(&self, from_seq: u64) -> u64 {
        let entry = self.entry();
        if from_seq <= entry.first_seq {
            return entry.count;
        }
        if from_seq > entry.last_seq {
            return 0;
        }
        match self.0 {
            Form::Long(list) => list.count_from(from_seq),
            Form::One(_) | Form::Few { .. } => self.iter().filter(|seq| *seq >= from_seq).count() as u64,
        }
    }

    /// Those at or above `from_seq`, ascending.
    pub fn iter_from(&self, from_seq: u64) -> impl Iterator<Item = u64> + use<'i> {
        let near = match self.0 {
            Form::Long(list) => SeqIter(IterForm::Long(list.iter_near(from_seq))),
            Form::One(_) | Form::Few { .. } => self.iter(),
        };
        near.skip_while(move |seq| *seq < from_seq)
    }

    /// All of them, ascending.
    #[must_use]
    pub fn iter(&self) -> SeqIter<'i> {
        match self.0 {
            Form::One(seq) => SeqIter(IterForm::Few { next: Some(seq), last: seq, gaps: &[] }),
            Form::Few { entry, gaps } => {
                SeqIter(IterForm::Few { next: Some(entry.first_seq), last: entry.last_seq, gaps })
            }
            Form::Long(list) => SeqIter(IterForm::Long(list.iter())),
        }
    }
}

impl<'i> IntoIterator for Seqs<'i> {
    type Item = u64;
    type IntoIter = SeqIter<'i>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Sequences of one subject, ascending.
#[derive(Debug, Clone)]
pub struct SeqIter<'i>(IterForm<'i>);

#[derive(Debug, Clone)]
enum IterForm<'i> {
    Few { next: Option<u64>, last: u64, gaps: &'i [u8] },
    Long(LongIter<'i>),
}

impl Iterator for SeqIter<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match &mut self.0 {
            IterForm::Few { next, last, gaps } => {
                let seq = next.take()?;
                *next = match take_uvarint(gaps) {
                    Some(gap) => seq.checked_add(gap),
                    None if seq < *last => Some(*last),
                    None => None,
                };
                Some(seq)
            }
            IterForm::Long(list) => list.next(),
        }
    }
}

/// Writes the form of one or a few sequences.
pub(super) fn put_few(out: &mut Vec<u8>, seqs: &[u64]) {
    let (Some(first), Some(last)) = (seqs.first(), seqs.last()) else { return };
    if seqs.len() > 1 {
        put_uvarint(out, seqs.len() as u64);
    }
    put_uvarint(out, *first);
    if seqs.len() > 1 {
        put_uvarint(out, last - first);
        let mut before = *first;
        for seq in seqs.get(1..seqs.len() - 1).unwrap_or_default() {
            put_uvarint(out, seq - before);
            before = *seq;
        }
    }
}

/// Reads a few sequences as [`put_few`] wrote them.
pub(super) fn take_few<'b>(body: &mut &'b [u8]) -> Option<Form<'b>> {
    let count = take_uvarint(body)?;
    let first_seq = take_uvarint(body)?;
    let last_seq = first_seq.checked_add(take_uvarint(body)?)?;
    let gaps = *body;
    for _ in 2..count {
        take_uvarint(body)?;
    }
    let gaps = gaps.get(..gaps.len() - body.len())?;
    Some(Form::Few { entry: SubjectEntry { count, first_seq, last_seq }, gaps })
}
