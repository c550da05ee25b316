//! How long a thread that ran out of work looks for more before it sleeps.
//!
//! A client that waits for each answer sends its next request a few microseconds after the last one. A thread that
//! sleeps in between pays for it with more than the request itself costs: its core goes idle, the client has to wake it,
//! and on a virtual machine that is an interrupt by way of the hypervisor. So the thread keeps asking the kernel for a
//! short while. It yields the core each time, since on a busy machine the client may be waiting for that very core; and
//! it stops trying, for ever longer, where nothing came of it.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::{Duration, Instant};

/// Time to look for work. A client that is woken on another core usually answers within half of it; twice as long was
/// measured to gain nothing.
const LOOK_MAX: Duration = Duration::from_micros(50);
/// Most turns of work that pass without looking, after looking was in vain again and again.
const SKIP_MAX: u32 = 127;

/// What one thread knows of the pace of its clients.
pub(super) struct Patience {
    /// Whether a client sent something since the thread last had nothing to do.
    worked: Cell<bool>,
    /// Since when the thread looks for work, if it does.
    looking_since: Cell<Option<Instant>>,
    /// Turns of work left for which the thread sleeps at once.
    skip: Cell<u32>,
    /// How many turns are skipped when looking is in vain once more.
    penalty: Cell<u32>,
    /// Keeps the thread from sleeping.
    root: RefCell<Option<Waker>>,
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self {
            worked: Cell::new(false),
            looking_since: Cell::new(None),
            skip: Cell::new(0),
            penalty: Cell::new(0),
            root: RefCell::new(None),
        }
    }

    /// A client of this thread sent something.
    pub(super) fn worked(&self) {
        self.worked.set(true);
    }

    /// Names the future whose waking keeps this thread's runtime from sleeping.
    pub(super) fn keep_awake_by(&self, waker: &Waker) {
        let mut root = self.root.borrow_mut();
        if !root.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *root = Some(waker.clone());
        }
    }

    /// To be called whenever this thread is about to sleep.
    pub(super) fn before_sleep(&self) {
        match self.looks_again(Instant::now) {
            Look::Sleep => return,
            Look::AtOnce => {}
            Look::AfterOthers => std::thread::yield_now(),
        }
        if let Some(root) = &*self.root.borrow() {
            root.wake_by_ref();
        }
    }

    /// Whether to look once more before sleeping. `now` is asked for the time only when it matters.
    fn looks_again(&self, now: impl Fn() -> Instant) -> Look {
        if self.worked.take() {
            if self.looking_since.take().is_some() {
                self.penalty.set(0);
            }
            let skip = self.skip.get();
            if skip > 0 {
                self.skip.set(skip - 1);
                return Look::Sleep;
            }
            self.looking_since.set(Some(now()));
            return Look::AtOnce;
        }
        let Some(since) = self.looking_since.get() else { return Look::Sleep };
        if now().duration_since(since) < LOOK_MAX {
            return Look::AfterOthers;
        }
        self.looking_since.set(None);
        // One look in vain is an accident; the second in a row is not.
        let penalty = self.penalty.get();
        self.skip.set(penalty);
        self.penalty.set((penalty * 2 + 1).min(SKIP_MAX));
        Look::Sleep
    }
}

/// What a thread without work does.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It asks for events without waiting.
    AtOnce,
    /// It does so once whoever waits for its core had a turn.
    AfterOthers,
    /// It sleeps until there is an event.
    Sleep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_looks_for_a_while_after_work_and_then_sleeps() {
        let patience = Patience::new();
        let start = Instant::now();
        assert_eq!(patience.looks_again(|| start), Look::Sleep, "nothing was done yet");
        patience.worked.set(true);
        assert_eq!(patience.looks_again(|| start), Look::AtOnce);
        assert_eq!(patience.looks_again(|| start + LOOK_MAX / 2), Look::AfterOthers);
        assert_eq!(patience.looks_again(|| start + LOOK_MAX), Look::Sleep);
        assert_eq!(patience.looks_again(|| start + LOOK_MAX), Look::Sleep, "it has given up");
    }

    #[test]
    fn looking_in_vain_is_tried_ever_more_rarely() {
        let patience = Patience::new();
        let start = Instant::now();
        let mut looks = 0;
        for _ in 0..1000 {
            patience.worked.set(true);
            if patience.looks_again(|| start) == Look::AtOnce {
                looks += 1;
                assert_eq!(patience.looks_again(|| start + LOOK_MAX), Look::Sleep);
            }
        }
        assert!((8..20).contains(&looks), "{looks} looks");
    }

    #[test]
    fn work_that_comes_while_looking_makes_it_worth_while_again() {
        let patience = Patience::new();
        let start = Instant::now();
        for _ in 0..2 {
            patience.worked.set(true);
            assert_eq!(patience.looks_again(|| start), Look::AtOnce);
            assert_eq!(patience.looks_again(|| start + LOOK_MAX), Look::Sleep);
        }
        patience.worked.set(true);
        assert_eq!(patience.looks_again(|| start), Look::Sleep, "twice it was in vain");
        for _ in 0..100 {
            patience.worked.set(true);
            assert_eq!(patience.looks_again(|| start), Look::AtOnce);
        }
    }
}
