//! The index from subject to the sequences stored under it.

use crate::filter::Filter;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// What the index says of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubjectEntry {
    /// Messages held.
    pub count: u64,
    /// Sequence of the oldest of them.
    pub first_seq: u64,
    /// Sequence of the newest of them.
    pub last_seq: u64,
}

/// How a walk over the index ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalkEnd {
    /// Every subject that matches was visited.
    Done,
    /// The visitor broke off.
    Broke,
    /// The budget was spent before the end.
    Spent,
}

/// The sequences held under one subject.
#[derive(Debug, Clone, Copy)]
pub struct Seqs<'i> {
    seqs: &'i [u64],
}

impl Seqs<'_> {
    /// Count, first and last.
    #[must_use]
    pub fn entry(&self) -> SubjectEntry {
        entry(self.seqs).unwrap_or(SubjectEntry { count: 0, first_seq: 0, last_seq: 0 })
    }

    /// The lowest sequence at or above `from_seq`.
    #[must_use]
    pub fn at_or_after(&self, from_seq: u64) -> Option<u64> {
        self.seqs.get(self.seqs.partition_point(|seq| *seq < from_seq)).copied()
    }

    /// The highest sequence at or below `upto_seq`.
    #[must_use]
    pub fn at_or_before(&self, upto_seq: u64) -> Option<u64> {
        self.seqs.get(self.seqs.partition_point(|seq| *seq <= upto_seq).checked_sub(1)?).copied()
    }

    /// How many sequences are at or above `from_seq`.
    #[must_use]
    pub fn count_from(&self, from_seq: u64) -> u64 {
        (self.seqs.len() - self.seqs.partition_point(|seq| *seq < from_seq)) as u64
    }
}

/// An ordered index from subject to the exact sequences held under it.
#[derive(Debug, Default)]
pub struct SubjectIndex {
    subjects: BTreeMap<Box<[u8]>, Vec<u64>>,
}

impl SubjectIndex {
    /// Records that `seq`, higher than any recorded before, is held under `subject`.
    pub fn record(&mut self, subject: &[u8], seq: u64) {
        if let Some(seqs) = self.subjects.get_mut(subject) {
            seqs.push(seq);
        } else {
            self.subjects.insert(subject.into(), vec![seq]);
        }
    }

    /// Forgets `seq`; says whether it was recorded under `subject`.
    pub fn forget(&mut self, subject: &[u8], seq: u64) -> bool {
        let Some(seqs) = self.subjects.get_mut(subject) else { return false };
        let Ok(at) = seqs.binary_search(&seq) else { return false };
        seqs.remove(at);
        if seqs.is_empty() {
            self.subjects.remove(subject);
        }
        true
    }

    /// Count, first and last of one subject.
    #[must_use]
    pub fn get(&self, subject: &[u8]) -> Option<SubjectEntry> {
        self.subjects.get(subject).and_then(|seqs| entry(seqs))
    }

    /// The lowest sequence at or above `from_seq` held under `subject`.
    #[must_use]
    pub fn at_or_after(&self, subject: &[u8], from_seq: u64) -> Option<u64> {
        let seqs = self.subjects.get(subject)?;
        seqs.get(seqs.partition_point(|seq| *seq < from_seq)).copied()
    }

    /// The highest sequence at or below `upto_seq` held under `subject`.
    #[must_use]
    pub fn at_or_before(&self, subject: &[u8], upto_seq: u64) -> Option<u64> {
        let seqs = self.subjects.get(subject)?;
        seqs.get(seqs.partition_point(|seq| *seq <= upto_seq).checked_sub(1)?).copied()
    }

    /// How many sequences at or above `from_seq` are held under `subject`.
    #[must_use]
    pub fn count_from(&self, subject: &[u8], from_seq: u64) -> u64 {
        self.subjects
            .get(subject)
            .map_or(0, |seqs| (seqs.len() - seqs.partition_point(|seq| *seq < from_seq)) as u64)
    }

    /// Visits every subject that matches, in byte order, until `visit` breaks.
    pub fn for_each(&self, filter: &Filter, mut visit: impl FnMut(&[u8], SubjectEntry) -> ControlFlow<()>) {
        for (subject, seqs) in &self.subjects {
            let Some(entry) = entry(seqs).filter(|_| filter.matches(subject)) else { continue };
            if visit(subject, entry).is_break() {
                return;
            }
        }
    }

    /// Visits every subject that matches, in byte order, until `visit` breaks or more than `budget` steps were taken.
    pub fn walk_within(
        &self,
        filter: &Filter,
        budget: usize,
        mut visit: impl FnMut(&[u8], Seqs<'_>) -> ControlFlow<()>,
    ) -> WalkEnd {
        let mut left = budget;
        for (subject, seqs) in &self.subjects {
            if left == 0 {
                return WalkEnd::Spent;
            }
            left -= 1;
            if filter.matches(subject) && visit(subject, Seqs { seqs }).is_break() {
                return WalkEnd::Broke;
            }
        }
        WalkEnd::Done
    }

    /// Whether it is plain, without a walk, that the filter matches every subject recorded. `false` promises nothing.
    #[must_use]
    pub fn is_covered_by(&self, filter: &Filter) -> bool {
        *filter == Filter::All
    }

    /// Bytes of memory held, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.subjects.iter().map(|(subject, seqs)| 48 + subject.len() + seqs.capacity() * 8).sum()
    }

    /// Number of distinct subjects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.subjects.len()
    }

    /// Whether no subject is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.subjects.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.subjects.clear();
    }
}

fn entry(seqs: &[u64]) -> Option<SubjectEntry> {
    Some(SubjectEntry { count: seqs.len() as u64, first_seq: *seqs.first()?, last_seq: *seqs.last()? })
}
