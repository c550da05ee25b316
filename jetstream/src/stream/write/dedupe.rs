//! The window in which a `Nats-Msg-Id` is remembered.

use crate::clock::{ElapsedNs, Now};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// Message ids seen within the window.
#[derive(Debug, Default)]
pub(in crate::stream) struct Dedupe {
    window_ns: i64,
    seen: HashMap<Box<[u8]>, (u64, ElapsedNs)>,
    /// The ids by time of arrival. An id that was stored again stands twice; the later one counts.
    by_age: VecDeque<(ElapsedNs, Box<[u8]>)>,
}

impl Dedupe {
    pub(in crate::stream) fn new(window_ns: i64) -> Self {
        Self { window_ns, ..Self::default() }
    }

    pub(in crate::stream) fn window_ns(&self) -> i64 {
        self.window_ns
    }

    pub(in crate::stream) fn set_window(&mut self, window_ns: i64) {
        self.window_ns = window_ns;
        if window_ns <= 0 {
            self.seen.clear();
            self.by_age.clear();
        }
    }

    /// The sequence that was stored with this id, if it was within the window.
    pub(in crate::stream) fn find(&mut self, id: &[u8], now: &Now) -> Option<u64> {
        if self.seen.is_empty() {
            return None;
        }
        self.forget_old(now.elapsed());
        self.seen.get(id).map(|(seq, _)| *seq)
    }

    /// A message with this id came at `came`.
    pub(in crate::stream) fn remember(&mut self, id: &[u8], seq: u64, came: ElapsedNs) {
        if self.window_ns <= 0 || id.is_empty() {
            return;
        }
        self.seen.insert(id.into(), (seq, came));
        self.by_age.push_back((came, id.into()));
    }

    /// Drops the ids of messages after `seq`, which are not stored any more.
    pub(in crate::stream) fn forget_after(&mut self, seq: u64) {
        self.seen.retain(|_, (at, _)| *at <= seq);
        let seen = &self.seen;
        self.by_age.retain(|(came, id)| seen.get(id).is_some_and(|(_, last)| last == came));
    }

    /// Drops what is as old as the window or older.
    pub(in crate::stream) fn forget_old(&mut self, now: ElapsedNs) {
        while let Some((came, id)) = self.by_age.front() {
            if now < came.plus(self.window_ns.unsigned_abs()) {
                return;
            }
            if self.seen.get(id).is_some_and(|(_, last)| last == came) {
                self.seen.remove(id);
            }
            self.by_age.pop_front();
        }
    }

    /// The sequence before which no message has an id that is remembered; `None` where none is.
    pub(in crate::stream) fn first_seq(&self) -> Option<u64> {
        // They came in order.
        let mut seqs = self.by_age.iter().filter_map(|(came, id)| {
            let (seq, last) = self.seen.get(id)?;
            (last == came).then_some(*seq)
        });
        seqs.next()
    }

    /// When the oldest id is to be dropped.
    pub(in crate::stream) fn deadline(&self) -> Option<ElapsedNs> {
        let (came, _) = self.by_age.front()?;
        Some(came.plus(self.window_ns.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, ManualClock, WallNs};
    use std::sync::Arc;

    #[test]
    fn an_id_is_known_until_the_window_has_passed() {
        let clock = Arc::new(ManualClock::new(WallNs::default()));
        let mut dedupe = Dedupe::new(100);
        dedupe.remember(b"a", 1, clock.elapsed());
        clock.advance_elapsed_ns(99);
        assert_eq!(dedupe.find(b"a", &Now::new(clock.clone())), Some(1));
        clock.advance_elapsed_ns(1);
        assert_eq!(dedupe.find(b"a", &Now::new(clock)), None);
        assert_eq!(dedupe.deadline(), None);
    }

    #[test]
    fn an_id_stored_again_lives_for_the_window_of_the_later_message() {
        let clock = Arc::new(ManualClock::new(WallNs::default()));
        let mut dedupe = Dedupe::new(100);
        dedupe.remember(b"a", 1, clock.elapsed());
        clock.advance_elapsed_ns(50);
        dedupe.remember(b"a", 2, clock.elapsed());
        clock.advance_elapsed_ns(70);
        assert_eq!(dedupe.find(b"a", &Now::new(clock)), Some(2));
    }
}
