//! How long a thread that ran out of work looks for more before it sleeps.
//!
//! A client that waits for each answer sends its next request a few microseconds after the last one. A thread that
//! sleeps in between pays for it with more than the request itself costs: its core goes idle, the client has to wake it,
//! and on a virtual machine that is an interrupt by way of the hypervisor. So the thread keeps asking the kernel for a
//! short while. It yields the core each time, since on a busy machine the client may be waiting for that very core. How
//! long that pays, if it does, is found out by [`Pace`], or said by an option.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::options::Look as Policy;

/// How one thread waits for its clients.
pub(super) struct Patience {
    /// What was asked for.
    policy: Cell<Policy>,
    pace: Pace,
    /// Whether a client sent something since the thread last had nothing to do.
    worked: Cell<bool>,
    /// Since when the thread looks for work, if it does.
    looking_since: Cell<Option<Instant>>,
    /// For how long it is going to.
    limit: Cell<Duration>,
    /// Whether others had the core meanwhile.
    yielded: Cell<bool>,
    /// For how long it has looked, since it began.
    looked: Cell<Duration>,
}

impl Patience {
    pub(super) const fn new() -> Self {
        Self {
            policy: Cell::new(Policy::Adaptive),
            pace: Pace::new(),
            worked: Cell::new(false),
            looking_since: Cell::new(None),
            limit: Cell::new(Duration::ZERO),
            yielded: Cell::new(false),
            looked: Cell::new(Duration::ZERO),
        }
    }

    /// From now on the thread looks as asked for.
    pub(super) fn set_policy(&self, policy: Policy) {
        self.policy.set(policy);
    }

    /// A client of this thread sent something.
    pub(super) fn worked(&self) {
        self.heard(Instant::now);
    }

    /// For how long the thread has looked for work, since it began. What was there at once took no time.
    pub(super) fn looked(&self) -> Duration {
        self.looked.get()
    }

    fn has_looked(&self, time: Duration) -> Duration {
        self.looked.set(self.looked.get() + time);
        time
    }

    /// As [`worked`](Self::worked). `now` is asked for the time only when it matters.
    fn heard(&self, now: impl Fn() -> Instant) {
        self.worked.set(true);
        if let Some(since) = self.looking_since.take() {
            // What came while others had the core came when the thread got it back.
            let looked = match self.yielded.get() {
                true => self.has_looked(now().duration_since(since)),
                false => Duration::ZERO,
            };
            self.pace.came_after(looked);
        }
    }

    /// To be called whenever this thread is about to sleep: whether it looks for events once more instead.
    pub(super) fn looks_on(&self) -> bool {
        match self.looks_again(Instant::now) {
            Look::Sleep => return false,
            Look::AtOnce => {}
            Look::AfterOthers => std::thread::yield_now(),
        }
        true
    }

    /// Whether to look once more before sleeping. `now` is asked for the time only when it matters.
    fn looks_again(&self, now: impl Fn() -> Instant) -> Look {
        if self.worked.take() {
            let limit = match self.policy.get() {
                Policy::Adaptive => self.pace.next_look(),
                Policy::Off => Duration::ZERO,
                Policy::For(time) => time,
            };
            if limit.is_zero() {
                return Look::Sleep;
            }
            self.limit.set(limit);
            self.yielded.set(false);
            self.looking_since.set(Some(now()));
            return Look::AtOnce;
        }
        let Some(since) = self.looking_since.get() else { return Look::Sleep };
        let looked = now().duration_since(since);
        if looked < self.limit.get() {
            self.yielded.set(true);
            return Look::AfterOthers;
        }
        self.has_looked(looked);
        self.looking_since.set(None);
        self.pace.in_vain();
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

    fn waiting(policy: Policy) -> (Patience, Instant) {
        let patience = Patience::new();
        patience.set_policy(policy);
        (patience, Instant::now())
    }

    /// For how long a thread looks after work when no more comes.
    fn look_in_vain(patience: &Patience, start: Instant) -> Duration {
        patience.worked();
        let mut at = start;
        while patience.looks_again(|| at) != Look::Sleep {
            at += Duration::from_micros(1);
        }
        at - start
    }

    #[test]
    fn a_thread_looks_for_a_while_after_work_and_then_sleeps() {
        let time = Duration::from_micros(30);
        let (patience, start) = waiting(Policy::For(time));
        assert_eq!(patience.looks_again(|| start), Look::Sleep, "nothing was done yet");
        for _ in 0..100 {
            patience.worked();
            assert_eq!(patience.looks_again(|| start), Look::AtOnce);
            assert_eq!(patience.looks_again(|| start + time / 2), Look::AfterOthers);
            assert_eq!(patience.looks_again(|| start + time), Look::Sleep);
            assert_eq!(patience.looks_again(|| start + time), Look::Sleep, "it has given up");
        }
    }

    #[test]
    fn a_thread_that_is_told_so_never_looks() {
        let (patience, start) = waiting(Policy::Off);
        assert!((0..100).all(|_| look_in_vain(&patience, start).is_zero()));
    }

    #[test]
    fn looking_in_vain_is_tried_ever_more_rarely() {
        let (patience, start) = waiting(Policy::Adaptive);
        let looks = (0..1000).filter(|_| !look_in_vain(&patience, start).is_zero()).count();
        assert!((8..24).contains(&looks), "{looks} looks");
    }

    #[test]
    fn it_looks_for_as_long_as_what_comes_takes() {
        let (patience, start) = waiting(Policy::Adaptive);
        let after = Duration::from_micros(7);
        for _ in 0..100 {
            patience.heard(|| start + after);
            assert_eq!(patience.looks_again(|| start), Look::AtOnce);
            assert_eq!(patience.looks_again(|| start + after / 2), Look::AfterOthers);
        }
        patience.heard(|| start + after);
        assert!(look_in_vain(&patience, start) > after);
    }

    #[test]
    fn it_does_not_look_where_others_keep_the_core_meanwhile() {
        let (patience, start) = waiting(Policy::Adaptive);
        let mut looks = 0;
        for _ in 0..1000 {
            patience.heard(|| start + Duration::from_millis(3));
            if patience.looks_again(|| start) == Look::AtOnce {
                looks += 1;
                assert_eq!(patience.looks_again(|| start), Look::AfterOthers);
            }
        }
        assert!((8..24).contains(&looks), "{looks} looks");
    }

    #[test]
    fn what_is_there_at_once_took_no_time() {
        let (patience, start) = waiting(Policy::Adaptive);
        for _ in 0..100 {
            patience.heard(|| unreachable!("nobody asks for the time"));
            assert_eq!(patience.looks_again(|| start), Look::AtOnce);
        }
    }
}
