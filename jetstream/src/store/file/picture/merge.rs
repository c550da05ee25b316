//! What a picture shows and what the blocks that were read hold, put together.

use super::super::block::Block;
use super::super::seqset::SeqSet;
use super::super::undo::hold;
use super::Picture;
use crate::filter::Filter;
use crate::store::index::SubjectIndex;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A subject with at most this many messages is looked through for what is gone whenever another one comes.
const LOOKED_THROUGH_MAX: u64 = 128;

/// The index that a picture brings, while it becomes that of what is there.
pub(in crate::store::file) struct Merge {
    index: SubjectIndex,
    /// What the index has from the picture ends here.
    last_seq: u64,
    /// What the picture shows and is not there any more, and in the index.
    gone: SeqSet,
    left: u64,
    /// No subject has more messages than this.
    most_per_subject: Option<u64>,
}

impl Merge {
    /// `blocks` are those that are there, with what they hold now; `changed` those of the picture that were read, or are
    /// not there. What was taken from the picture loses what tombstones `removed`.
    pub(in crate::store::file) fn new(
        picture: Picture,
        blocks: &mut [(bool, &mut Block)],
        removed: &SeqSet,
    ) -> Self {
        let (mut gone, mut left) = (SeqSet::default(), 0);
        let mut note = |seq| {
            gone.insert(seq);
            left += 1;
        };
        for (_, block) in blocks.iter_mut().filter(|(is_known, _)| *is_known) {
            for seq in removed.within(block.first_seq, block.last_seq) {
                if block.forget(seq).is_some() {
                    note(seq);
                }
            }
        }
        let there: BTreeMap<u32, &Block> = blocks.iter().map(|(_, block)| (block.index, &**block)).collect();
        for was in picture.changed.values() {
            let now = there.get(&was.index);
            let held = was.table.up(0).map(|(seq, _)| seq);
            held.filter(|seq| now.is_none_or(|now| now.table.get(*seq).is_none())).for_each(&mut note);
        }
        let (last_seq, most_per_subject) = (picture.totals.last_seq, picture.known.most_per_subject);
        Self { index: picture.index, last_seq, gone, left, most_per_subject }
    }

    /// A message that is held in a block that was read; from the oldest to the newest.
    pub(in crate::store::file) fn held(&mut self, subject: &[u8], seq: u64) {
        if seq <= self.last_seq {
            // A picture that does not show it is not believed; but it must not be lost in any case.
            if self.index.at_or_after(subject, seq) != Some(seq) {
                hold(&mut self.index, subject, seq);
                self.most_per_subject = None;
            }
            return;
        }
        let mut count = self.index.record(subject, seq).count;
        if self.left > 0 && (2..=LOOKED_THROUGH_MAX).contains(&count) {
            let seqs = self.index.seqs(subject).map(|seqs| seqs.iter().collect::<Vec<_>>());
            for seq in seqs.unwrap_or_default().into_iter().filter(|seq| self.gone.contains(*seq)) {
                if self.index.forget(subject, seq) {
                    count -= 1;
                    self.left -= 1;
                }
            }
        }
        self.most_per_subject = self.most_per_subject.map(|most| most.max(count));
    }

    /// Forgets what is left of what is gone; says how many messages a subject may have.
    pub(in crate::store::file) fn finish(mut self) -> (SubjectIndex, Option<u64>) {
        if self.left > 0 {
            let mut found: Vec<(Box<[u8]>, u64)> = Vec::new();
            self.index.walk_after(&Filter::All, None, |subject, seqs| {
                let gone = seqs.iter().filter(|seq| self.gone.contains(*seq));
                found.extend(gone.map(|seq| (subject.into(), seq)));
                ControlFlow::Continue(())
            });
            for (subject, seq) in found {
                self.index.forget(&subject, seq);
            }
        }
        (self.index, self.most_per_subject)
    }
}
