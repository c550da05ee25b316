//! How much the threads of a group have to do, as each of them tells the others.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::balance::{self, Permille, Permitted};
use super::clocks::ThreadClock;

/// What was told longer ago does not hold any more: a thread with something to do says so more often.
const FRESH: Duration = Duration::from_secs(1);
/// Bits of a number that are the load; the others are when it was told.
const LOAD_BITS: u32 = 16;
/// So much, and what is beyond it.
const LOAD_MAX: Permille = u16::MAX as Permille;

/// What tasks of a group do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They are with as few threads as the load needs; in turn, where the system does not tell how much a thread does.
    Measured,
    /// They are dealt out in turn, and stay.
    InTurn,
    /// They go to the next thread whenever they wait: what has to hold then holds wherever they are.
    Restless,
}

/// The loads of all threads.
pub(super) struct Loads {
    began: Instant,
    /// What each told, and when, in milliseconds since the beginning; 0 for nothing.
    told: Vec<AtomicU64>,
    /// When threads may spread, in milliseconds since the beginning.
    spread_from: AtomicU64,
    /// When they may come together.
    gather_from: AtomicU64,
    policy: Policy,
    /// The next one in turn.
    next: AtomicUsize,
}

impl Loads {
    pub(super) fn new(threads: usize, policy: Policy) -> Self {
        let knows = policy != Policy::Measured || threads > 1 && ThreadClock::open().is_some();
        Self {
            began: Instant::now(),
            told: (0..threads).map(|_| AtomicU64::new(0)).collect(),
            spread_from: AtomicU64::new(0),
            gather_from: AtomicU64::new(0),
            policy: if knows { policy } else { Policy::InTurn },
            next: AtomicUsize::new(0),
        }
    }

    /// Where all tasks of a thread go, if they do whenever they wait.
    pub(super) fn restless(&self, at: usize) -> Option<usize> {
        (self.policy == Policy::Restless).then(|| (at + 1) % self.told.len().max(1))
    }

    /// Whether threads have loads.
    pub(super) fn are_measured(&self) -> bool {
        self.policy == Policy::Measured
    }

    /// A thread had so much to do.
    pub(super) fn tell(&self, at: usize, load: Permille, now: Instant) {
        if let Some(told) = self.told.get(at) {
            told.store(self.ms(now) << LOAD_BITS | u64::from(load.min(LOAD_MAX)), Ordering::Relaxed);
        }
    }

    /// A thread is to have so much more to do than it told.
    pub(super) fn add(&self, at: usize, load: Permille, now: Instant) {
        let told = self.all(now).get(at).copied().unwrap_or_default();
        self.tell(at, told.saturating_add(load), now);
    }

    /// What all of them have to do.
    pub(super) fn all(&self, now: Instant) -> Vec<Permille> {
        let since = self.ms(now).saturating_sub(ms(FRESH));
        let load = |told: &AtomicU64| {
            let told = told.load(Ordering::Relaxed);
            let is_fresh = told >> LOAD_BITS >= since;
            if is_fresh { u32::try_from(told & u64::from(LOAD_MAX)).unwrap_or(LOAD_MAX) } else { 0 }
        };
        self.told.iter().map(load).collect()
    }

    /// What threads need not wait with.
    pub(super) fn permitted(&self, now: Instant) -> Permitted {
        let is_past = |time: &AtomicU64| self.ms(now) >= time.load(Ordering::Relaxed);
        Permitted { spreads: is_past(&self.spread_from), gathers: is_past(&self.gather_from) }
    }

    pub(super) fn spread_not_before(&self, time: Instant) {
        self.spread_from.fetch_max(self.ms(time), Ordering::Relaxed);
    }

    pub(super) fn gather_not_before(&self, time: Instant) {
        self.gather_from.fetch_max(self.ms(time), Ordering::Relaxed);
    }

    /// The thread that a new task begins with.
    pub(super) fn place(&self) -> usize {
        if self.are_measured() {
            let now = Instant::now();
            return balance::place(&self.all(now), self.permitted(now));
        }
        self.next.fetch_add(1, Ordering::Relaxed) % self.told.len().max(1)
    }

    fn ms(&self, time: Instant) -> u64 {
        ms(time.saturating_duration_since(self.began))
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_holds_for_a_while() {
        let loads = Loads::new(3, Policy::Measured);
        let start = loads.began + Duration::from_secs(10);
        assert_eq!(loads.all(start), [0, 0, 0], "nobody has told anything");
        loads.tell(0, 300, start);
        loads.tell(2, 1_000_000, start + FRESH / 2);
        assert_eq!(loads.all(start + FRESH), [300, 0, LOAD_MAX]);
        assert_eq!(loads.all(start + FRESH * 5 / 4), [0, 0, LOAD_MAX]);
        loads.add(1, 100, start);
        loads.add(0, 100, start);
        assert_eq!(loads.all(start), [400, 100, LOAD_MAX]);
        loads.tell(3, 1, start);
        loads.add(3, 1, start);
    }

    #[test]
    fn what_was_done_is_not_undone_for_a_while() {
        let loads = Loads::new(2, Policy::Measured);
        let now = loads.began + Duration::from_secs(1);
        let may = |ms| {
            let may = loads.permitted(now + Duration::from_millis(ms));
            (may.spreads, may.gathers)
        };
        assert_eq!(may(0), (true, true));
        loads.spread_not_before(now + Duration::from_secs(2));
        loads.spread_not_before(now + Duration::from_secs(1));
        assert_eq!([0, 1999, 2000].map(may), [(false, true), (false, true), (true, true)]);
        loads.gather_not_before(now + Duration::from_secs(3));
        assert_eq!([1999, 2000, 3000].map(may), [(false, false), (true, false), (true, true)]);
    }
}
