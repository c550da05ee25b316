//! What a consumer knows of its deliveries: which wait for an acknowledgement, and since when.

use crate::clock::ElapsedNs;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A delivery that waits for its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    /// Sequence in the stream.
    pub(super) sseq: u64,
    /// Consumer sequence of the first delivery; 0 marks a gap.
    pub(super) dseq: u64,
    /// When the wait began: the last delivery, or a sign of progress.
    pub(super) since: ElapsedNs,
    /// The deadline that stands for it in the heap.
    armed: Option<ElapsedNs>,
}

/// Deliveries that wait, by stream sequence, and their deadlines.
///
/// Sequences come in rising order, so a ring with gaps serves: an insertion appends, an acknowledgement is a binary
/// search, and the oldest delivery stands in front. Nothing is allocated once the ring has its size.
#[derive(Debug, Default)]
pub(super) struct PendingAcks {
    ring: VecDeque<Pending>,
    live: usize,
    /// Deadlines; one that its delivery no longer names is stale and skipped.
    deadlines: BinaryHeap<Reverse<(ElapsedNs, u64)>>,
}

/// Gaps and stale deadlines tolerated beyond the number of live deliveries before they are swept.
const SLACK: usize = 64;

impl PendingAcks {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live == 0
    }

    pub(super) fn clear(&mut self) {
        self.ring.clear();
        self.deadlines.clear();
        self.live = 0;
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Pending> {
        self.ring.iter().filter(|pending| pending.dseq != 0)
    }

    pub(super) fn contains(&self, sseq: u64) -> bool {
        self.get(sseq).is_some()
    }

    pub(super) fn get(&self, sseq: u64) -> Option<&Pending> {
        let at = self.ring.binary_search_by_key(&sseq, |pending| pending.sseq).ok()?;
        self.ring.get(at).filter(|pending| pending.dseq != 0)
    }

    fn get_mut(&mut self, sseq: u64) -> Option<&mut Pending> {
        let at = self.ring.binary_search_by_key(&sseq, |pending| pending.sseq).ok()?;
        self.ring.get_mut(at).filter(|pending| pending.dseq != 0)
    }

    /// The first delivery that waits above `sseq`.
    pub(super) fn first_after(&self, sseq: u64) -> Option<&Pending> {
        let at = self.ring.partition_point(|pending| pending.sseq <= sseq);
        self.ring.range(at..).find(|pending| pending.dseq != 0)
    }

    /// Notes a delivery whose wait began at `since`. A delivery again keeps its first consumer sequence.
    pub(super) fn track(&mut self, sseq: u64, dseq: u64, since: ElapsedNs) {
        let fresh = Pending { sseq, dseq, since, armed: None };
        if self.ring.back().is_none_or(|last| last.sseq < sseq) {
            self.ring.push_back(fresh);
            self.live += 1;
            return;
        }
        match self.ring.binary_search_by_key(&sseq, |pending| pending.sseq) {
            Ok(at) => {
                let Some(pending) = self.ring.get_mut(at) else { return };
                if pending.dseq == 0 {
                    *pending = fresh;
                    self.live += 1;
                } else {
                    pending.since = since;
                }
            }
            Err(at) => {
                self.ring.insert(at, fresh);
                self.live += 1;
            }
        }
    }

    /// Begins the wait of a delivery anew.
    pub(super) fn touch(&mut self, sseq: u64, since: ElapsedNs) -> bool {
        self.get_mut(sseq).map(|pending| pending.since = since).is_some()
    }

    pub(super) fn remove(&mut self, sseq: u64) -> Option<Pending> {
        let pending = self.get_mut(sseq)?;
        let removed = *pending;
        pending.dseq = 0;
        self.live -= 1;
        while self.ring.front().is_some_and(|front| front.dseq == 0) {
            self.ring.pop_front();
        }
        if self.ring.len() > 2 * self.live + SLACK {
            self.ring.retain(|pending| pending.dseq != 0);
        }
        Some(removed)
    }

    /// Removes the first delivery at or below `sseq`.
    pub(super) fn pop_through(&mut self, sseq: u64) -> Option<Pending> {
        let first = self.ring.front().filter(|front| front.sseq <= sseq)?.sseq;
        self.remove(first)
    }

    /// Has the delivery fall due at `due`, unless an earlier deadline stands for it. Says whether this is now the
    /// earliest of all.
    pub(super) fn arm(&mut self, sseq: u64, due: ElapsedNs) -> bool {
        let Some(pending) = self.get_mut(sseq) else { return false };
        if pending.armed.is_some_and(|armed| armed <= due) {
            return false;
        }
        pending.armed = Some(due);
        self.sweep();
        let earliest = self.deadlines.peek().is_none_or(|Reverse((first, _))| due < *first);
        self.deadlines.push(Reverse((due, sseq)));
        earliest
    }

    /// Takes the next deadline that has passed and returns its delivery, which then has none.
    pub(super) fn pop_due(&mut self, now: ElapsedNs) -> Option<Pending> {
        while let Some(Reverse((due, sseq))) = self.deadlines.peek().copied() {
            if due > now {
                return None;
            }
            self.deadlines.pop();
            if let Some(pending) = self.get_mut(sseq).filter(|pending| pending.armed == Some(due)) {
                pending.armed = None;
                return Some(*pending);
            }
        }
        None
    }

    /// The earliest deadline.
    pub(super) fn next_due(&mut self) -> Option<ElapsedNs> {
        while let Some(Reverse((due, sseq))) = self.deadlines.peek().copied() {
            if self.get(sseq).is_some_and(|pending| pending.armed == Some(due)) {
                return Some(due);
            }
            self.deadlines.pop();
        }
        None
    }

    /// Forgets every deadline; the caller arms what waits anew.
    pub(super) fn disarm_all(&mut self) {
        self.deadlines.clear();
        for pending in &mut self.ring {
            pending.armed = None;
        }
    }

    fn sweep(&mut self) {
        if self.deadlines.len() <= 2 * self.live + SLACK {
            return;
        }
        let mut deadlines = std::mem::take(&mut self.deadlines).into_vec();
        deadlines.retain(|Reverse((due, sseq))| self.get(*sseq).is_some_and(|p| p.armed == Some(*due)));
        self.deadlines = BinaryHeap::from(deadlines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Step {
        Deliver,
        Ack(usize),
        Again(usize, u64),
        Expire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => Just(Step::Deliver),
            3 => (0usize..64).prop_map(Step::Ack),
            1 => (0usize..64, 1u64..50).prop_map(|(which, by)| Step::Again(which, by)),
            1 => (1u64..60).prop_map(Step::Expire),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_map_with_one_deadline_for_each_delivery(steps in proptest::collection::vec(step(), 1..300)) {
            let at = |ns| ElapsedNs::ORIGIN.plus(ns);
            let mut acks = PendingAcks::default();
            let mut model: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            let (mut next, mut now) = (1, 1);
            for step in steps {
                now += 1;
                match step {
                    Step::Deliver => {
                        acks.track(next * 2, next, at(now));
                        acks.arm(next * 2, at(now + 30));
                        model.insert(next * 2, (next, now + 30));
                        next += 1;
                    }
                    Step::Ack(which) => {
                        let Some(sseq) = model.keys().nth(which % model.len().max(1)).copied() else { continue };
                        prop_assert_eq!(acks.remove(sseq).map(|p| p.dseq), model.remove(&sseq).map(|m| m.0));
                    }
                    Step::Again(which, by) => {
                        let Some(sseq) = model.keys().nth(which % model.len().max(1)).copied() else { continue };
                        acks.track(sseq, 999, at(now));
                        acks.arm(sseq, at(now + by));
                        let due = &mut model.get_mut(&sseq).unwrap().1;
                        *due = if *due == 0 { now + by } else { (*due).min(now + by) };
                    }
                    Step::Expire(by) => {
                        now += by;
                        let mut due: Vec<u64> = std::iter::from_fn(|| acks.pop_due(at(now))).map(|p| p.sseq).collect();
                        due.sort_unstable();
                        let expected: Vec<u64> =
                            model.iter().filter(|(_, m)| m.1 != 0 && m.1 <= now).map(|(s, _)| *s).collect();
                        for sseq in &expected {
                            model.get_mut(sseq).unwrap().1 = 0;
                        }
                        prop_assert_eq!(due, expected);
                    }
                }
                prop_assert_eq!(acks.len(), model.len());
                prop_assert!(acks.iter().map(|p| p.sseq).eq(model.keys().copied()));
                let next_due = model.values().map(|m| m.1).filter(|due| *due != 0).min();
                prop_assert_eq!(acks.next_due(), next_due.map(at));
                prop_assert!(acks.ring.len() <= 2 * acks.live + SLACK + 1);
                prop_assert!(acks.deadlines.len() <= 2 * acks.live + SLACK + 2);
            }
        }
    }
}
