//! Messages that go with time: `max_age`, and per-message TTLs.

use crate::clock::{Deadline, ElapsedNs, WallNs, first_of};
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What is known of coming expiries. There is one entry for each message with a TTL, and one moment for the whole
/// of `max_age`.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    by_time: BTreeSet<(WallNs, u64)>,
    by_seq: HashMap<u64, WallNs>,
    /// When the oldest message that can age may be too old; never later than that moment.
    age_due: Option<WallNs>,
    /// Messages below are gone or never age.
    age_cursor: u64,
    /// Nothing is looked at before, since the store could not remove what was due.
    held_until: Option<ElapsedNs>,
}

impl Expiry {
    /// Those of messages found in a store, as sequence and moment; no sequence comes twice.
    pub(super) fn of(found: Vec<(u64, i64)>) -> Self {
        Self {
            by_time: found.iter().map(|(seq, at_ns)| (WallNs::from_ns(*at_ns), *seq)).collect(),
            by_seq: found.into_iter().map(|(seq, at_ns)| (seq, WallNs::from_ns(at_ns))).collect(),
            ..Self::default()
        }
    }

    /// How many messages have a TTL.
    pub(super) fn count(&self) -> usize {
        self.by_seq.len()
    }

    /// Sequence and moment of every message with a TTL, in order of moments.
    pub(super) fn all(&self) -> Vec<(u64, i64)> {
        self.by_time.iter().map(|(at, seq)| (*seq, at.ns())).collect()
    }

    /// The message goes at `at`.
    pub(super) fn set(&mut self, seq: u64, at: WallNs) {
        self.forget(seq);
        self.by_time.insert((at, seq));
        self.by_seq.insert(seq, at);
    }

    /// The message is gone.
    #[inline]
    pub(super) fn forget(&mut self, seq: u64) {
        if !self.by_seq.is_empty() {
            self.forget_seq(seq);
        }
    }

    fn forget_seq(&mut self, seq: u64) {
        if let Some(at) = self.by_seq.remove(&seq) {
            self.by_time.remove(&(at, seq));
        }
    }

    /// Everything below `seq` is gone.
    pub(super) fn forget_below(&mut self, seq: u64) {
        if self.by_seq.is_empty() {
            return;
        }
        self.by_time.retain(|(_, at)| *at >= seq);
        self.by_seq.retain(|at, _| *at >= seq);
    }

    /// Sequences whose TTL has passed, the first `most` of them, in order of sequence.
    pub(super) fn due(&self, now: WallNs, most: usize) -> Vec<u64> {
        let passed = self.by_time.iter().take_while(|(at, _)| at.is_reached(now));
        let mut due: Vec<u64> = passed.take(most).map(|(_, seq)| *seq).collect();
        due.sort_unstable();
        due
    }

    /// A message that can age was stored at `ts_ns`.
    pub(super) fn may_age(&mut self, ts_ns: i64, max_age_ns: i64) {
        if max_age_ns > 0 && self.age_due.is_none() {
            self.age_due = Some(WallNs::from_ns(ts_ns).plus(max_age_ns));
        }
    }

    pub(super) fn age_due(&self) -> Option<WallNs> {
        self.age_due
    }

    pub(super) fn age_cursor(&self) -> u64 {
        self.age_cursor
    }

    /// What an age check found: where to go on, and when.
    pub(super) fn set_age(&mut self, cursor: u64, due: Option<WallNs>) {
        self.age_cursor = cursor;
        self.age_due = due;
    }

    /// The store could not remove what is due: nothing is due again before this moment.
    pub(super) fn hold_until(&mut self, at: ElapsedNs) {
        self.held_until = Some(at);
    }

    /// Whether nothing is due yet, since the store could not remove what was.
    pub(super) fn is_held(&mut self, now: ElapsedNs) -> bool {
        self.held_until = self.held_until.filter(|until| now < *until);
        self.held_until.is_some()
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(super) fn armed(&self) -> usize {
        self.by_time.len() + usize::from(self.age_due.is_some())
    }

    /// Whether the next message goes by the stream's greatest age, not by a TTL of its own.
    pub(super) fn is_age_next(&self) -> bool {
        let ttl = self.by_time.first().map(|(at, _)| *at);
        self.age_due.is_some_and(|age| ttl.is_none_or(|ttl| age < ttl))
    }

    /// When the next message goes.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let ttl = self.by_time.first().map(|(at, _)| *at);
        let next = first_of(ttl, self.age_due).filter(|at| at.comes())?;
        Some(self.held_until.map_or(Deadline::Wall(next), Deadline::Elapsed))
    }
}
