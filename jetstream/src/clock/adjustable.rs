//! The system's clock with an offset, which can be moved and stopped.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Clock, ElapsedNs, SystemClock, WallNs};

/// Which of the two times is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Moved {
    /// Time passes: both.
    #[default]
    Both,
    /// The wall clock is set, in no time.
    Wall,
    /// Time passes while the wall clock shows none of it.
    Elapsed,
}

/// The operating system's clocks, moved by an offset each. It runs, unless it is frozen; moving it while it is frozen
/// shows another moment at which it stands still.
///
/// Elapsed time never goes back: what it was moved by it keeps.
#[derive(Default)]
pub struct AdjustableClock {
    system: SystemClock,
    state: Mutex<State>,
    told: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// How far the wall clock shown is ahead of the system's.
    wall_ns: i64,
    /// How far elapsed time is ahead of the system's; behind, where it stood still.
    elapsed_ns: i64,
    /// What is shown while the clock stands still.
    frozen: Option<(WallNs, ElapsedNs)>,
    /// How far the system's clocks were when it was stopped.
    stopped: (WallNs, ElapsedNs),
}

impl AdjustableClock {
    /// A clock that shows the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock. The wall clock may be set back, elapsed time may not: it stays where `by_ns` is negative.
    pub fn advance_ns(&self, by_ns: i64, what: Moved) {
        let wall_ns = if what == Moved::Elapsed { 0 } else { by_ns };
        let elapsed_ns = if what == Moved::Wall { 0 } else { by_ns.max(0) };
        self.change(|state| match &mut state.frozen {
            Some((wall, elapsed)) => {
                (*wall, *elapsed) = (wall.plus(wall_ns), elapsed.shifted(elapsed_ns));
            }
            None => {
                state.wall_ns = state.wall_ns.saturating_add(wall_ns);
                state.elapsed_ns = state.elapsed_ns.saturating_add(elapsed_ns);
            }
        });
    }

    /// Stops the clock; tells whether it was running.
    pub fn freeze(&self) -> bool {
        let mut was_running = false;
        self.change(|state| {
            was_running = state.frozen.is_none();
            if was_running {
                state.stopped = (self.system.wall(), self.system.elapsed());
                state.frozen = Some(state.shown_at(state.stopped));
            }
        });
        was_running
    }

    /// Lets the clock go on from the moment at which it stands; tells whether it stood.
    pub fn resume(&self) -> bool {
        let mut was_frozen = false;
        self.change(|state| was_frozen = state.resume((self.system.wall(), self.system.elapsed())));
        was_frozen
    }

    /// Lets the clock go on as if it had not stood: what passed meanwhile has passed here, too.
    pub fn catch_up(&self) {
        self.change(|state| {
            state.resume(state.stopped);
        });
    }

    /// Whether the clock stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state.lock().frozen.is_some()
    }

    /// How far the wall clock shown is ahead of the system's, in nanoseconds.
    #[must_use]
    pub fn wall_offset_ns(&self) -> i64 {
        let state = self.state.lock();
        state.frozen.map_or(state.wall_ns, |(wall, _)| wall.since(self.system.wall()))
    }

    /// Lets the clock run, and the wall clock show the system's time again.
    pub fn reset(&self) {
        self.change(|state| {
            state.resume((self.system.wall(), self.system.elapsed()));
            state.wall_ns = 0;
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        // Who is told may look at the clock, or have others told.
        let told = self.told.lock().clone();
        told.iter().for_each(|told| told());
    }
}

impl State {
    fn shown(&self, system: &SystemClock) -> (WallNs, ElapsedNs) {
        self.frozen.unwrap_or_else(|| self.shown_at((system.wall(), system.elapsed())))
    }

    /// What a running clock shows at a moment of the system.
    fn shown_at(&self, (wall, elapsed): (WallNs, ElapsedNs)) -> (WallNs, ElapsedNs) {
        (wall.plus(self.wall_ns), elapsed.shifted(self.elapsed_ns))
    }

    /// Goes on with what is shown, as of a moment of the system.
    fn resume(&mut self, (system_wall, now): (WallNs, ElapsedNs)) -> bool {
        let Some((wall, elapsed)) = self.frozen.take() else { return false };
        self.wall_ns = wall.since(system_wall);
        let ahead = |later: ElapsedNs, earlier| i64::try_from(later.since(earlier)).unwrap_or(i64::MAX);
        self.elapsed_ns = if elapsed > now { ahead(elapsed, now) } else { -ahead(now, elapsed) };
        true
    }
}

impl std::fmt::Debug for AdjustableClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdjustableClock").field("state", &*self.state.lock()).finish_non_exhaustive()
    }
}

impl Clock for AdjustableClock {
    fn wall(&self) -> WallNs {
        self.state.lock().shown(&self.system).0
    }

    fn elapsed(&self) -> ElapsedNs {
        self.state.lock().shown(&self.system).1
    }

    fn runs(&self) -> bool {
        !self.is_frozen()
    }

    fn when_moved(&self, told: Box<dyn Fn() + Send + Sync>) {
        self.told.lock().push(told.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_NS: i64 = 3_600_000_000_000;

    #[test]
    fn a_running_clock_is_moved_and_goes_on() {
        let clock = AdjustableClock::new();
        let (wall, elapsed) = (clock.wall(), clock.elapsed());
        clock.advance_ns(HOUR_NS, Moved::Both);
        assert!(clock.wall().since(wall) >= HOUR_NS);
        assert!(clock.elapsed().since(elapsed) >= HOUR_NS.unsigned_abs());
        assert!(clock.runs());
        clock.advance_ns(-HOUR_NS, Moved::Wall);
        assert_eq!(clock.wall_offset_ns(), 0);
        clock.advance_ns(-HOUR_NS, Moved::Both);
        assert!(clock.elapsed().since(elapsed) >= HOUR_NS.unsigned_abs(), "elapsed time does not go back");
    }

    #[test]
    fn a_frozen_clock_shows_one_moment_and_goes_on_from_there() {
        let clock = AdjustableClock::new();
        assert!(clock.freeze());
        assert!(!clock.freeze());
        let (wall, elapsed) = (clock.wall(), clock.elapsed());
        assert_eq!((clock.wall(), clock.elapsed(), clock.runs()), (wall, elapsed, false));
        clock.advance_ns(5, Moved::Both);
        clock.advance_ns(2, Moved::Elapsed);
        assert_eq!((clock.wall(), clock.elapsed()), (wall.plus(5), elapsed.plus(7)));
        assert!(clock.resume());
        assert!(!clock.resume());
        assert!(clock.wall() >= wall.plus(5) && clock.elapsed() >= elapsed.plus(7));
        clock.advance_ns(HOUR_NS, Moved::Both);
        let offset_ns = clock.wall_offset_ns();
        clock.freeze();
        clock.advance_ns(HOUR_NS, Moved::Both);
        clock.catch_up();
        assert_eq!(clock.wall_offset_ns(), offset_ns + HOUR_NS);
        let before = clock.elapsed();
        clock.reset();
        assert_eq!(clock.wall_offset_ns(), 0);
        assert!(clock.elapsed() >= before);
    }

    #[test]
    fn who_waits_is_told_of_each_move() {
        let clock = AdjustableClock::new();
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let told = Arc::clone(&count);
        clock.when_moved(Box::new(move || {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }));
        clock.freeze();
        clock.advance_ns(1, Moved::Both);
        clock.resume();
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 3);
    }
}
