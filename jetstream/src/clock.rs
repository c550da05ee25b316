//! Where the engine learns what time it is: by the wall, and by a clock that never steps.
//!
//! The two are types of their own, so that a deadline by one is never compared with the other. Which timer goes by which
//! is written down in `ARCHITECTURE.md`.

mod adjustable;

pub use adjustable::{AdjustableClock, Moved};
use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

/// A moment by the wall clock: nanoseconds since 1970-01-01T00:00:00Z, negative before. The wall clock may be set, back
/// and forth. What lies outside of the years 1677 to 2262 is the nearest moment within, and sums stop there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallNs(i64);

impl WallNs {
    /// The moment `ns` nanoseconds after 1970 began.
    #[must_use]
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since 1970.
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The moment `by_ns` nanoseconds later.
    #[must_use]
    pub const fn plus(self, by_ns: i64) -> Self {
        Self(self.0.saturating_add(by_ns))
    }

    /// Whether what goes at this moment has gone `now`. At the last moment there is, where sums and clocks stop, nothing
    /// goes: a clock that shows it tells the age of nothing.
    #[must_use]
    pub fn is_reached(self, now: Self) -> bool {
        self <= now && self.comes()
    }

    /// Whether the moment can be waited for: it is not the last one.
    #[must_use]
    pub fn comes(self) -> bool {
        self.0 < i64::MAX
    }

    /// Nanoseconds from `earlier` to this moment, negative where that is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment by a clock that never steps. It means nothing outside of the process; only the time between two of them
/// does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ElapsedNs(u64);

impl ElapsedNs {
    /// Where clocks begin: far from zero, so that there are moments before the start of the process. What was stored by
    /// an earlier one has begun at such a moment.
    pub const ORIGIN: Self = Self(1 << 62);

    /// The moment `by_ns` nanoseconds later.
    #[must_use]
    pub const fn plus(self, by_ns: u64) -> Self {
        Self(self.0.saturating_add(by_ns))
    }

    /// The moment `by_ns` nanoseconds later, or earlier where that is negative.
    #[must_use]
    pub const fn shifted(self, by_ns: i64) -> Self {
        Self(self.0.saturating_add_signed(by_ns))
    }

    /// Nanoseconds from `earlier` to this moment, 0 where that is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// When something is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// When the wall clock shows that moment, however it gets there.
    Wall(WallNs),
    /// When so much time has passed, whatever the wall clock shows.
    Elapsed(ElapsedNs),
}

/// The next deadline by each of the two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Deadlines {
    /// By the wall clock.
    pub wall: Option<WallNs>,
    /// By the time that has passed.
    pub elapsed: Option<ElapsedNs>,
}

impl Deadlines {
    /// Of each of the two times the earlier deadline.
    #[must_use]
    #[inline]
    pub fn earlier(self, other: Self) -> Self {
        Self { wall: first_of(self.wall, other.wall), elapsed: first_of(self.elapsed, other.elapsed) }
    }

    /// Takes a deadline over where it is earlier than that of the same time; says whether it is. Every commit asks for it of
    /// all that may fall due, of which most streams have hardly anything.
    #[inline]
    pub(crate) fn hasten(&mut self, at: Option<Deadline>) -> bool {
        match at {
            None => false,
            Some(Deadline::Wall(at)) => hasten(&mut self.wall, at),
            Some(Deadline::Elapsed(at)) => hasten(&mut self.elapsed, at),
        }
    }

    /// Whether one of them is reached.
    #[must_use]
    pub fn are_reached(&self, clock: &dyn Clock) -> bool {
        self.wall.is_some_and(|at| at.is_reached(clock.wall()))
            || self.elapsed.is_some_and(|at| at <= clock.elapsed())
    }

    /// How long it is until the first of them, in nanoseconds, if the clock is left alone.
    #[must_use]
    pub fn left_ns(&self, clock: &dyn Clock) -> Option<u64> {
        let wall = self.wall.map(|at| u64::try_from(at.since(clock.wall())).unwrap_or(0));
        let elapsed = self.elapsed.map(|at| at.since(clock.elapsed()));
        wall.into_iter().chain(elapsed).min()
    }
}

#[inline]
fn hasten<T: Copy + Ord>(deadline: &mut Option<T>, at: T) -> bool {
    let is_earlier = deadline.is_none_or(|known| at < known);
    if is_earlier {
        *deadline = Some(at);
    }
    is_earlier
}

/// The earlier of two moments, either of which may never come.
#[inline]
pub(crate) fn first_of<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl From<Option<Deadline>> for Deadlines {
    fn from(deadline: Option<Deadline>) -> Self {
        match deadline {
            Some(Deadline::Wall(at)) => Self { wall: Some(at), elapsed: None },
            Some(Deadline::Elapsed(at)) => Self { wall: None, elapsed: Some(at) },
            None => Self::default(),
        }
    }
}

/// A source of time. Nothing in the engine reads another clock, so a test that moves a [`ManualClock`] moves every TTL,
/// ack wait, heartbeat and window with it.
pub trait Clock: Send + Sync {
    /// The time of day, for stamps and for the age of what is stored.
    fn wall(&self) -> WallNs;
    /// Time that has passed, for everything that waits.
    fn elapsed(&self) -> ElapsedNs;
    /// Whether both go on by themselves, as fast as the machine's clocks. One that does not is moved by hand.
    fn runs(&self) -> bool {
        true
    }
    /// Has `told` called after each move by hand, by who moves the clock.
    fn when_moved(&self, _told: Box<dyn Fn() + Send + Sync>) {}
}

/// The operating system's clocks.
///
/// Elapsed time stands still while the machine is suspended, as the timers of Go do on Linux: nobody was there to
/// acknowledge, pull or listen meanwhile.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock for SystemClock {
    fn wall(&self) -> WallNs {
        // Every message is stamped: this takes half the steps of `SystemTime`. The clock is always there.
        WallNs(clock_gettime(ClockId::CLOCK_REALTIME).map_or(i64::MAX, |since| {
            since.tv_sec().saturating_mul(1_000_000_000).saturating_add(since.tv_nsec())
        }))
    }

    fn elapsed(&self) -> ElapsedNs {
        let since = STARTED.elapsed();
        ElapsedNs::ORIGIN.plus(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// A clock that stands still until it is moved.
pub struct ManualClock {
    shows: Mutex<(WallNs, ElapsedNs)>,
    told: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
}

impl ManualClock {
    /// A clock that shows `wall`.
    #[must_use]
    pub fn new(wall: WallNs) -> Self {
        Self { shows: Mutex::new((wall, ElapsedNs::ORIGIN)), told: Mutex::default() }
    }

    /// Time passes: the wall clock goes on, and as much has elapsed.
    pub fn advance_ns(&self, by_ns: u64) {
        let by_wall_ns = i64::try_from(by_ns).unwrap_or(i64::MAX);
        self.change(|(wall, elapsed)| (wall.plus(by_wall_ns), elapsed.plus(by_ns)));
    }

    /// The wall clock is set, forward or backward, in no time.
    pub fn step_wall_ns(&self, by_ns: i64) {
        self.change(|(wall, elapsed)| (wall.plus(by_ns), elapsed));
    }

    /// The wall clock is set to that moment, in no time.
    pub fn set_wall(&self, to: WallNs) {
        self.change(|(_, elapsed)| (to, elapsed));
    }

    /// Time passes while the wall clock shows none of it.
    pub fn advance_elapsed_ns(&self, by_ns: u64) {
        self.change(|(wall, elapsed)| (wall, elapsed.plus(by_ns)));
    }

    fn change(&self, shown: impl FnOnce((WallNs, ElapsedNs)) -> (WallNs, ElapsedNs)) {
        let mut shows = self.shows.lock();
        *shows = shown(*shows);
        drop(shows);
        // Who is told may look at the clock, or have others told.
        let told = self.told.lock().clone();
        told.iter().for_each(|told| told());
    }
}

impl std::fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (wall, elapsed) = *self.shows.lock();
        f.debug_struct("ManualClock").field("wall", &wall).field("elapsed", &elapsed).finish_non_exhaustive()
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> WallNs {
        self.shows.lock().0
    }

    fn elapsed(&self) -> ElapsedNs {
        self.shows.lock().1
    }

    fn runs(&self) -> bool {
        false
    }

    fn when_moved(&self, told: Box<dyn Fn() + Send + Sync>) {
        self.told.lock().push(told.into());
    }
}

/// Now, for the length of one turn of work: each of the two times is read when it is first asked for. Most puts have no use
/// for elapsed time, and most gets for neither.
pub struct Now {
    clock: Arc<dyn Clock>,
    wall: Cell<Option<WallNs>>,
    elapsed: Cell<Option<ElapsedNs>>,
}

impl Now {
    /// Now by that clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, wall: Cell::new(None), elapsed: Cell::new(None) }
    }

    /// Another turn begins.
    pub fn renew(&mut self) {
        self.wall.set(None);
        self.elapsed.set(None);
    }

    /// The time of day.
    #[must_use]
    pub fn wall(&self) -> WallNs {
        self.wall.get().unwrap_or_else(|| {
            let wall = self.clock.wall();
            self.wall.set(Some(wall));
            wall
        })
    }

    /// The time that has passed.
    #[must_use]
    pub fn elapsed(&self) -> ElapsedNs {
        self.elapsed.get().unwrap_or_else(|| {
            let elapsed = self.clock.elapsed();
            self.elapsed.set(Some(elapsed));
            elapsed
        })
    }

    /// The moment of what was stored with the time of day `at`, if the wall clock was not set since.
    #[must_use]
    pub fn elapsed_at(&self, at: WallNs) -> ElapsedNs {
        self.elapsed().shifted(at.since(self.wall()))
    }

    /// What is stored as the time of day of `at`: what the wall clock would have shown then, were it as it is now.
    #[must_use]
    pub fn wall_at(&self, at: ElapsedNs) -> WallNs {
        let now = self.elapsed();
        let between = |later: ElapsedNs, earlier| i64::try_from(later.since(earlier)).unwrap_or(i64::MAX);
        self.wall().plus(if at > now { between(at, now) } else { -between(now, at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_stop_at_the_ends_of_what_is_counted() {
        let (first, last) = (WallNs::from_ns(i64::MIN), WallNs::from_ns(i64::MAX));
        assert_eq!((first.plus(-1), last.plus(1)), (first, last));
        assert_eq!((last.since(first), first.since(last)), (i64::MAX, i64::MIN));
        let clock = ManualClock::new(last);
        clock.advance_ns(u64::MAX);
        assert_eq!(clock.wall(), last);
    }

    #[test]
    fn a_deadline_is_taken_over_where_it_is_earlier_than_that_of_the_same_time() {
        let wall = |ns| Some(Deadline::Wall(WallNs::from_ns(ns)));
        let elapsed = |ns| Some(Deadline::Elapsed(ElapsedNs::ORIGIN.plus(ns)));
        let mut armed = Deadlines::default();
        assert!(!armed.hasten(None), "there is none");
        for (at, is_earlier) in [
            (wall(7), true),
            (wall(7), false),
            (elapsed(9), true),
            (wall(-8), true),
            (elapsed(10), false),
            (elapsed(0), true),
            (wall(0), false),
        ] {
            assert_eq!(armed.hasten(at), is_earlier, "{at:?}");
        }
        let both = Deadlines { wall: Some(WallNs::from_ns(-8)), elapsed: Some(ElapsedNs::ORIGIN) };
        assert_eq!(armed, both);
    }

    #[test]
    fn what_was_stored_began_before_the_process_and_comes_back_as_it_was() {
        let clock = Arc::new(ManualClock::new(WallNs::from_ns(1_000)));
        let mut now = Now::new(clock.clone());
        for wall in [-5_000, 0, 400, 1_000, 9_000].map(WallNs::from_ns) {
            assert_eq!(now.wall_at(now.elapsed_at(wall)), wall);
        }
        let began = now.elapsed_at(WallNs::from_ns(400));
        assert_eq!(now.elapsed().since(began), 600);
        // What is stored after a step is by the clock as it is then.
        clock.step_wall_ns(50_000);
        now.renew();
        assert_eq!(now.wall_at(began), WallNs::from_ns(50_400));
    }

    #[test]
    fn a_step_of_the_wall_is_no_time_and_time_without_a_wall_no_step() {
        let clock = ManualClock::new(WallNs::from_ns(10));
        let began = clock.elapsed();
        clock.step_wall_ns(-20);
        assert_eq!((clock.wall(), clock.elapsed().since(began)), (WallNs::from_ns(-10), 0));
        clock.advance_elapsed_ns(7);
        assert_eq!((clock.wall(), clock.elapsed().since(began)), (WallNs::from_ns(-10), 7));
        clock.advance_ns(3);
        assert_eq!((clock.wall(), clock.elapsed().since(began)), (WallNs::from_ns(-7), 10));
    }
}
