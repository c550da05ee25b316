//! The index from subject to the sequences stored under it.
//!
//! It is an adaptive radix tree in an arena of byte cells: `tree` finds, adds and removes, `walk` visits what a
//! filter matches, `node` knows how nodes stand in their cells, `seqs` and `long_list` hold sequences, `arena` hands
//! out the cells, and `tag` tells in the reference to a leaf how its subject ends.

mod arena;
mod image;
mod long_list;
mod node;
mod prefetch;
mod seqs;
mod shape;
mod tag;
mod tree;
mod walk;

pub(crate) use self::image::IndexImage;
pub use self::seqs::{SeqIter, Seqs};

use self::tree::Tree;
use self::walk::Walk;
use crate::filter::Filter;
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

/// What recording a sequence brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// What the subject holds then.
    pub entry: SubjectEntry,
    /// The sequence that was forgotten for it.
    pub replaced: Option<u64>,
}

impl Recorded {
    /// The only sequence of a subject.
    fn alone(seq: u64) -> Self {
        Self { entry: SubjectEntry { count: 1, first_seq: seq, last_seq: seq }, replaced: None }
    }
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

/// An ordered index from subject to the exact sequences held under it. A lookup costs the length of the subject, a
/// walk what the filter matches and its literal prefix; a subject with one message takes a few dozen bytes.
#[derive(Debug, Default)]
pub struct SubjectIndex {
    tree: Tree,
}

impl SubjectIndex {
    /// Records that `seq`, higher than any recorded before under `subject`, is held there. Says what is held there
    /// then.
    pub fn record(&mut self, subject: &[u8], seq: u64) -> SubjectEntry {
        self.tree.record(subject, seq, u64::MAX).entry
    }

    /// As [`record`](Self::record), and forgets the lowest sequence of the subject where that holds more than `most` then:
    /// what replaces another is found once and written once.
    pub fn record_within(&mut self, subject: &[u8], seq: u64, most: u64) -> Recorded {
        self.tree.record(subject, seq, most)
    }

    /// Forgets `seq`; says whether it was recorded under `subject`.
    pub fn forget(&mut self, subject: &[u8], seq: u64) -> bool {
        self.tree.forget(subject, seq)
    }

    /// Count, first and last of one subject.
    #[must_use]
    pub fn get(&self, subject: &[u8]) -> Option<SubjectEntry> {
        self.seqs(subject).map(|seqs| seqs.entry())
    }

    /// The sequences of one subject.
    #[must_use]
    pub fn seqs(&self, subject: &[u8]) -> Option<Seqs<'_>> {
        self.tree.seqs(subject)
    }

    /// The lowest sequence at or above `from_seq` held under `subject`.
    #[must_use]
    pub fn at_or_after(&self, subject: &[u8], from_seq: u64) -> Option<u64> {
        self.seqs(subject)?.at_or_after(from_seq)
    }

    /// The highest sequence at or below `upto_seq` held under `subject`.
    #[must_use]
    pub fn at_or_before(&self, subject: &[u8], upto_seq: u64) -> Option<u64> {
        self.seqs(subject)?.at_or_before(upto_seq)
    }

    /// How many sequences at or above `from_seq` are held under `subject`.
    #[must_use]
    pub fn count_from(&self, subject: &[u8], from_seq: u64) -> u64 {
        self.seqs(subject).map_or(0, |seqs| seqs.count_from(from_seq))
    }

    /// Visits every subject that matches, in byte order, until `visit` breaks.
    pub fn for_each(&self, filter: &Filter, mut visit: impl FnMut(&[u8], SubjectEntry) -> ControlFlow<()>) {
        Walk::run(&self.tree, filter, None, usize::MAX, &mut |subject, seqs| visit(subject, seqs.entry()));
    }

    /// Visits every subject that matches and comes after `after` in byte order, until `visit` breaks. A listing in
    /// pages goes on after the last subject of the page before, whatever changed in between.
    pub fn walk_after<'i>(
        &'i self,
        filter: &Filter,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], Seqs<'i>) -> ControlFlow<()>,
    ) -> WalkEnd {
        Walk::run(&self.tree, filter, after, usize::MAX, &mut visit)
    }

    /// Visits every subject that matches, in byte order, until `visit` breaks or `budget` nodes were entered.
    /// Leaves in `budget` how many more could have been.
    pub fn walk_within<'i>(
        &'i self,
        filter: &Filter,
        budget: &mut usize,
        mut visit: impl FnMut(&[u8], Seqs<'i>) -> ControlFlow<()>,
    ) -> WalkEnd {
        Walk::within(&self.tree, filter, budget, &mut visit)
    }

    /// A part of a walk: visits subjects that match, in byte order from the subject `from` on, until `visit` breaks or
    /// `budget` nodes were entered. Says where the next part begins; `None` where this was the last. A subject at which
    /// `visit` broke off is visited again then.
    pub fn walk_part<'i>(
        &'i self,
        filter: &Filter,
        from: Option<&[u8]>,
        budget: usize,
        visit: impl FnMut(&[u8], Seqs<'i>) -> ControlFlow<()>,
    ) -> Option<Vec<u8>> {
        let mut budget = budget;
        self.walk_part_within(filter, from, &mut budget, visit)
    }

    /// As [`walk_part`](Self::walk_part). Leaves in `budget` how many more nodes could have been entered.
    pub fn walk_part_within<'i>(
        &'i self,
        filter: &Filter,
        from: Option<&[u8]>,
        budget: &mut usize,
        mut visit: impl FnMut(&[u8], Seqs<'i>) -> ControlFlow<()>,
    ) -> Option<Vec<u8>> {
        Walk::part(&self.tree, filter, from, budget, &mut visit)
    }

    /// Whether it is plain, without a walk, that the filter matches every subject recorded. `false` promises nothing.
    #[must_use]
    pub fn is_covered_by(&self, filter: &Filter) -> bool {
        walk::is_covered(&self.tree, filter)
    }

    /// Bytes of memory held, without the allocator's own.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes()
    }

    /// Number of distinct subjects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len
    }

    /// Whether no subject is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.len == 0
    }

    /// Forgets everything and gives its memory back.
    pub fn clear(&mut self) {
        self.tree = Tree::default();
    }
}
