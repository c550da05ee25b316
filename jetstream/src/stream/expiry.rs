//! Messages that go with time: `max_age`, and per-message TTLs.

use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What is known of coming expiries. There is one entry for each message with a TTL, and one moment for the whole
/// of `max_age`.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    by_time: BTreeSet<(i64, u64)>,
    by_seq: HashMap<u64, i64>,
    /// When the oldest message that can age may be too old; never later than that moment.
    age_due_ns: Option<i64>,
    /// Messages below are gone or never age.
    age_cursor: u64,
    /// Nothing is looked at before, since the store could not remove what was due.
    hold_until_ns: i64,
}

impl Expiry {
    /// Those of messages found in a store, as sequence and moment; no sequence comes twice.
    pub(super) fn of(found: Vec<(u64, i64)>) -> Self {
        Self {
            by_time: found.iter().map(|(seq, at_ns)| (*at_ns, *seq)).collect(),
            by_seq: found.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Sequence and moment of every message with a TTL, in order of moments.
    pub(super) fn all(&self) -> Vec<(u64, i64)> {
        self.by_time.iter().map(|(at_ns, seq)| (*seq, *at_ns)).collect()
    }

    /// The message goes at `at_ns`.
    pub(super) fn set(&mut self, seq: u64, at_ns: i64) {
        self.forget(seq);
        self.by_time.insert((at_ns, seq));
        self.by_seq.insert(seq, at_ns);
    }

    /// The message is gone.
    pub(super) fn forget(&mut self, seq: u64) {
        if self.by_seq.is_empty() {
            return;
        }
        if let Some(at_ns) = self.by_seq.remove(&seq) {
            self.by_time.remove(&(at_ns, seq));
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

    /// Sequences whose TTL has passed, in order of sequence.
    pub(super) fn due(&self, now_ns: i64) -> Vec<u64> {
        let mut due: Vec<u64> =
            self.by_time.iter().take_while(|(at_ns, _)| *at_ns <= now_ns).map(|(_, seq)| *seq).collect();
        due.sort_unstable();
        due
    }

    /// A message that can age was stored at `ts_ns`.
    pub(super) fn may_age(&mut self, ts_ns: i64, max_age_ns: i64) {
        if max_age_ns > 0 && self.age_due_ns.is_none() {
            self.age_due_ns = Some(ts_ns.saturating_add(max_age_ns));
        }
    }

    pub(super) fn age_due_ns(&self) -> Option<i64> {
        self.age_due_ns
    }

    pub(super) fn age_cursor(&self) -> u64 {
        self.age_cursor
    }

    /// What an age check found: where to go on, and when.
    pub(super) fn set_age(&mut self, cursor: u64, due_ns: Option<i64>) {
        self.age_cursor = cursor;
        self.age_due_ns = due_ns;
    }

    /// The store could not remove what is due: nothing is due again before this moment.
    pub(super) fn hold_until(&mut self, at_ns: i64) {
        self.hold_until_ns = at_ns;
    }

    /// How many timers are armed.
    #[cfg(test)]
    pub(super) fn armed(&self) -> usize {
        self.by_time.len() + usize::from(self.age_due_ns.is_some())
    }

    /// When the next message goes.
    pub(super) fn deadline_ns(&self) -> Option<u64> {
        let ttl = self.by_time.first().map(|(at_ns, _)| *at_ns);
        let next = match (ttl, self.age_due_ns) {
            (Some(ttl), Some(age)) => Some(ttl.min(age)),
            (ttl, age) => ttl.or(age),
        };
        next.map(|at_ns| u64::try_from(at_ns.max(self.hold_until_ns)).unwrap_or_default())
    }
}
