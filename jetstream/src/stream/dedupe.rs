//! The window in which a `Nats-Msg-Id` is remembered.

use hashbrown::HashMap;
use std::collections::VecDeque;

/// Message ids seen within the window.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    window_ns: i64,
    seen: HashMap<Box<[u8]>, (u64, i64)>,
    /// The ids by time of arrival. An id that was stored again stands twice; the later one counts.
    by_age: VecDeque<(i64, Box<[u8]>)>,
}

impl Dedupe {
    pub(super) fn new(window_ns: i64) -> Self {
        Self { window_ns, ..Self::default() }
    }

    pub(super) fn window_ns(&self) -> i64 {
        self.window_ns
    }

    pub(super) fn set_window(&mut self, window_ns: i64) {
        self.window_ns = window_ns;
        if window_ns <= 0 {
            self.seen.clear();
            self.by_age.clear();
        }
    }

    /// The sequence that was stored with this id, if it was within the window.
    pub(super) fn find(&mut self, id: &[u8], now_ns: i64) -> Option<u64> {
        if self.seen.is_empty() {
            return None;
        }
        self.forget_old(now_ns);
        self.seen.get(id).map(|(seq, _)| *seq)
    }

    pub(super) fn remember(&mut self, id: &[u8], seq: u64, ts_ns: i64) {
        if self.window_ns <= 0 || id.is_empty() {
            return;
        }
        self.seen.insert(id.into(), (seq, ts_ns));
        self.by_age.push_back((ts_ns, id.into()));
    }

    /// Drops the ids of messages after `seq`, which are not stored any more.
    pub(super) fn forget_after(&mut self, seq: u64) {
        self.seen.retain(|_, (at, _)| *at <= seq);
        let seen = &self.seen;
        self.by_age.retain(|(ts_ns, id)| seen.get(id).is_some_and(|(_, seen_ns)| seen_ns == ts_ns));
    }

    /// Drops what is as old as the window or older.
    pub(super) fn forget_old(&mut self, now_ns: i64) {
        while let Some((ts_ns, id)) = self.by_age.front() {
            if now_ns.saturating_sub(*ts_ns) < self.window_ns {
                return;
            }
            if self.seen.get(id).is_some_and(|(_, seen_ns)| seen_ns == ts_ns) {
                self.seen.remove(id);
            }
            self.by_age.pop_front();
        }
    }

    /// When the oldest id is to be dropped.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let (ts_ns, _) = self.by_age.front()?;
        u64::try_from(ts_ns.saturating_add(self.window_ns)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_until_the_window_has_passed() {
        let mut dedupe = Dedupe::new(100);
        dedupe.remember(b"a", 1, 1000);
        assert_eq!(dedupe.find(b"a", 1099), Some(1));
        assert_eq!(dedupe.find(b"a", 1100), None);
        assert_eq!(dedupe.deadline_ns(), None);
    }

    #[test]
    fn an_id_stored_again_lives_for_the_window_of_the_later_message() {
        let mut dedupe = Dedupe::new(100);
        dedupe.remember(b"a", 1, 1000);
        dedupe.remember(b"a", 2, 1050);
        assert_eq!(dedupe.find(b"a", 1120), Some(2));
    }
}
