//! Questions that every store answers in the same way: which message is the next or the previous one that matches,
//! and how many there are.
//!
//! There are two ways to an answer. Walking the index costs what the filter matches; looking at the messages in
//! the order of their sequences costs the distance to the answer. Neither is known beforehand, so the two take
//! turns with doubling budgets: the cost is at most a small multiple of the cheaper way's.
//!
//! A store implements [`Sequences`] and calls [`next_seq`], [`previous_seq`] and [`pending`].

use super::index::{SubjectIndex, WalkEnd};
use super::{Pending, StoreError, Totals};
use crate::filter::Filter;
use std::ops::ControlFlow;

/// Messages, or nodes of the index, that the first turn looks at.
pub(super) const FIRST_BUDGET: usize = 32;

/// How a look at messages in sequence order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// The visitor broke off.
    Broke,
    /// There are no more messages in this direction.
    End,
    /// The budget is spent; the look goes on at this sequence.
    More(u64),
}

/// Called for a message with the store's index, the sequence and the subject.
pub type Visit<'v> = dyn FnMut(&SubjectIndex, u64, &[u8]) -> ControlFlow<()> + 'v;

/// A store as these queries see it: an index of subjects, and messages in the order of sequences.
pub trait Sequences {
    /// The index of subjects.
    fn subjects(&self) -> &SubjectIndex;
    /// Counters; cheap.
    fn totals(&self) -> Totals;
    /// How many messages are held at or after `from_seq`.
    fn count_from(&self, from_seq: u64) -> u64;
    /// How often changes were taken back: messages that were removed before may be held again, and sequences that were
    /// in use may be given again.
    fn take_backs(&self) -> u64 {
        0
    }
    /// Visits the messages held at or after `from_seq` in ascending order, at most `budget` of them.
    ///
    /// # Errors
    /// Those of reading a message.
    fn scan_up(&mut self, from_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError>;
    /// Visits the messages held at or before `upto_seq` in descending order, at most `budget` of them.
    ///
    /// # Errors
    /// Those of reading a message.
    fn scan_down(&mut self, upto_seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError>;
}

/// The lowest sequence at or above `from_seq` that holds a message whose subject matches.
///
/// # Errors
/// Those of reading a message.
pub fn next_seq<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    from_seq: u64,
) -> Result<Option<u64>, StoreError> {
    seek(store, filter, from_seq, Direction::Up)
}

/// The highest sequence at or below `upto_seq` that holds a message whose subject matches.
///
/// # Errors
/// Those of reading a message.
pub fn previous_seq<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    upto_seq: u64,
) -> Result<Option<u64>, StoreError> {
    seek(store, filter, upto_seq, Direction::Down)
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    Up,
    Down,
}

fn seek<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    seq: u64,
    direction: Direction,
) -> Result<Option<u64>, StoreError> {
    let state = store.totals();
    let outside = match direction {
        Direction::Up => seq > state.last_seq,
        Direction::Down => seq < state.first_seq,
    };
    if state.msgs == 0 || outside {
        return Ok(None);
    }
    if let Filter::Literal(subject) = filter {
        return Ok(match direction {
            Direction::Up => store.subjects().at_or_after(subject, seq),
            Direction::Down => store.subjects().at_or_before(subject, seq),
        });
    }
    let all = store.subjects().is_covered_by(filter);
    let mut budget = if all { usize::MAX } else { FIRST_BUDGET };
    let mut at = seq;
    loop {
        let mut found = None;
        let mut visit = |_: &SubjectIndex, seq: u64, subject: &[u8]| {
            if all || filter.matches(subject) {
                found = Some(seq);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let scan = match direction {
            Direction::Up => store.scan_up(at, budget, &mut visit)?,
            Direction::Down => store.scan_down(at, budget, &mut visit)?,
        };
        match scan {
            Scan::Broke | Scan::End => return Ok(found),
            Scan::More(next) => at = next,
        }
        if let Some(answer) = seek_in_index(store.subjects(), filter, at, budget, direction) {
            return Ok(answer);
        }
        budget = budget.saturating_mul(2);
    }
}

/// The answer from the index alone, unless that takes more than `budget` nodes.
fn seek_in_index(
    index: &SubjectIndex,
    filter: &Filter,
    seq: u64,
    budget: usize,
    direction: Direction,
) -> Option<Option<u64>> {
    let mut best: Option<u64> = None;
    let mut left = budget;
    let end = index.walk_within(filter, &mut left, |_, seqs| {
        match direction {
            Direction::Up => {
                if let Some(found) = seqs.at_or_after(seq) {
                    best = Some(best.map_or(found, |best| best.min(found)));
                }
            }
            Direction::Down => best = best.max(seqs.at_or_before(seq)),
        }
        ControlFlow::Continue(())
    });
    (end == WalkEnd::Done).then_some(best)
}

/// How many messages match at or after `from_seq`; with `last_per_subject`, how many of them are the last of their
/// subject.
///
/// # Errors
/// Those of reading a message.
pub fn pending<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    from_seq: u64,
    last_per_subject: bool,
) -> Result<Pending, StoreError> {
    let state = store.totals();
    let through_seq = state.last_seq;
    let from_seq = from_seq.max(state.first_seq);
    if state.msgs == 0 || from_seq > through_seq {
        return Ok(Pending { count: 0, through_seq });
    }
    if let Filter::Literal(subject) = filter {
        let count = store.subjects().count_from(subject, from_seq);
        let count = if last_per_subject { count.min(1) } else { count };
        return Ok(Pending { count, through_seq });
    }
    let all = store.subjects().is_covered_by(filter);
    if all && !last_per_subject {
        return Ok(Pending { count: store.count_from(from_seq), through_seq });
    }
    if all && from_seq == state.first_seq {
        return Ok(Pending { count: store.subjects().len() as u64, through_seq });
    }
    let messages = store.count_from(from_seq);
    let mut budget = usize::try_from(messages).unwrap_or(usize::MAX).max(FIRST_BUDGET);
    let mut count = 0_u64;
    let end = store.subjects().walk_within(filter, &mut budget, |_, seqs| {
        count += if last_per_subject {
            u64::from(seqs.entry().last_seq >= from_seq)
        } else {
            seqs.count_from(from_seq)
        };
        ControlFlow::Continue(())
    });
    if end == WalkEnd::Done {
        return Ok(Pending { count, through_seq });
    }
    count = 0;
    store.scan_up(from_seq, usize::MAX, &mut |index, seq, subject| {
        let counts = (all || filter.matches(subject))
            && (!last_per_subject || index.get(subject).is_some_and(|entry| entry.last_seq == seq));
        count += u64::from(counts);
        ControlFlow::Continue(())
    })?;
    Ok(Pending { count, through_seq })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Msg, Store};

    /// A store that counts the messages that queries look at.
    struct Counting {
        store: MemoryStore,
        seen: usize,
    }

    impl Counting {
        fn visit(
            &mut self,
            up: bool,
            seq: u64,
            budget: usize,
            visit: &mut Visit<'_>,
        ) -> Result<Scan, StoreError> {
            let seen = &mut self.seen;
            let mut count = |index: &SubjectIndex, seq: u64, subject: &[u8]| {
                *seen += 1;
                visit(index, seq, subject)
            };
            if up {
                self.store.scan_up(seq, budget, &mut count)
            } else {
                self.store.scan_down(seq, budget, &mut count)
            }
        }
    }

    impl Sequences for Counting {
        fn subjects(&self) -> &SubjectIndex {
            Store::index(&self.store)
        }

        fn totals(&self) -> Totals {
            self.store.totals()
        }

        fn count_from(&self, from_seq: u64) -> u64 {
            self.store.count_from(from_seq)
        }

        fn scan_up(&mut self, seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
            self.visit(true, seq, budget, visit)
        }

        fn scan_down(&mut self, seq: u64, budget: usize, visit: &mut Visit<'_>) -> Result<Scan, StoreError> {
            self.visit(false, seq, budget, visit)
        }
    }

    /// 30,000 messages under as many subjects; every ten-thousandth is under `rare`.
    fn counting() -> Counting {
        let mut store = MemoryStore::new();
        for seq in 1..=30_000_u64 {
            let prefix = if seq % 10_000 == 0 { "rare" } else { "often" };
            let subject = format!("kv.{prefix}.{seq}");
            let msg = Msg { seq, ts_ns: 1, subject: subject.as_bytes(), headers: b"", payload: b"" };
            store.append(&msg).unwrap();
        }
        Counting { store, seen: 0 }
    }

    #[test]
    fn what_matches_few_of_many_subjects_is_found_without_looking_at_the_others() {
        let (mut store, rare) = (counting(), Filter::new(["kv.rare.>", "none.*.x"]));
        assert_eq!(next_seq(&mut store, &rare, 1).unwrap(), Some(10_000));
        assert_eq!(next_seq(&mut store, &rare, 20_001).unwrap(), Some(30_000));
        assert_eq!(previous_seq(&mut store, &rare, 9_999).unwrap(), None);
        assert_eq!(previous_seq(&mut store, &rare, 29_999).unwrap(), Some(20_000));
        assert_eq!(pending(&mut store, &rare, 5, false).unwrap().count, 3);
        assert!(store.seen < 1_000, "{} messages", store.seen);
    }

    #[test]
    fn what_matches_many_subjects_is_found_next_to_where_the_search_begins() {
        let (mut store, often) = (counting(), Filter::new(["kv.often.*"]));
        for seq in (1..30_000).step_by(1_000) {
            assert_eq!(next_seq(&mut store, &often, seq).unwrap(), Some(seq));
            assert_eq!(previous_seq(&mut store, &often, seq).unwrap(), Some(seq));
        }
        assert_eq!(pending(&mut store, &often, 29_000, true).unwrap().count, 1_000);
        assert!(store.seen < 2_000, "{} messages", store.seen);
    }

    #[test]
    fn a_filter_that_covers_every_subject_costs_no_more_than_none() {
        let (mut store, all) = (counting(), Filter::new(["kv.>"]));
        assert_eq!(next_seq(&mut store, &all, 5).unwrap(), Some(5));
        assert_eq!(pending(&mut store, &all, 101, false).unwrap().count, 29_900);
        assert_eq!(pending(&mut store, &all, 0, true).unwrap().count, 30_000);
        assert_eq!(store.seen, 1);
    }
}
