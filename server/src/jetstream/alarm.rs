//! When the engine is woken for what falls due.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::{Clock, Deadline, Deadlines};
use parking_lot::Mutex;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::JetStream;
use crate::state::{Phase, Shared};

/// What the engine wants to be woken for, and the call that wakes who waits.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    wanted: Mutex<Deadlines>,
    changed: Notify,
}

impl Alarm {
    /// The engine is to be woken at `at`, too.
    pub(super) fn set(&self, at: Deadlines) {
        let mut wanted = self.wanted.lock();
        let sooner = wanted.earlier(at);
        let is_sooner = sooner != *wanted;
        *wanted = sooner;
        drop(wanted);
        if is_sooner {
            self.changed.notify_one();
        }
    }

    /// Has who waits look again.
    pub(super) fn wake(&self) {
        self.changed.notify_one();
    }

    /// As [`set`](Self::set), with one of the two.
    pub(super) fn set_one(&self, at: Deadline) {
        self.set(Some(at).into());
    }
}

/// Wakes the engine when its timers are due. Nothing is looked at in between: the time that is left until a deadline is
/// slept through, and whoever sets the clock says so.
pub(super) async fn timer_task(shared: Arc<Shared>, jetstream: Arc<JetStream>) {
    let mut phase = shared.phase();
    let host = Arc::clone(&jetstream.host);
    let alarm = &host.alarm;
    let clock = &*shared.clock;
    let steps = clock.runs().then(ClockSteps::watch).flatten();
    let told = Arc::downgrade(&host);
    clock.when_moved(Box::new(move || {
        if let Some(host) = told.upgrade() {
            host.alarm.wake();
        }
    }));
    while *phase.borrow_and_update() < Phase::Stopping && !host.is_stopped() {
        let wanted = *alarm.wanted.lock();
        if wanted.are_reached(clock) {
            *alarm.wanted.lock() = Deadlines::default();
            jetstream.tick(&shared);
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(left(&wanted, clock).unwrap_or_default()),
                if clock.runs() && wanted != Deadlines::default() => {}
            () = ClockSteps::next(steps.as_ref()), if wanted.wall.is_some() => {}
            () = alarm.changed.notified() => {}
            _ = phase.changed() => {}
        }
    }
}

/// How long it is until the first of the deadlines, if the clock is left alone.
fn left(wanted: &Deadlines, clock: &dyn Clock) -> Option<Duration> {
    wanted.left_ns(clock).map(Duration::from_nanos)
}

/// Tells when the machine's wall clock was set, and when the machine goes on after it was suspended: a timer of the
/// kernel that never fires and is cancelled by that (`TFD_TIMER_CANCEL_ON_SET`).
struct ClockSteps(AsyncFd<OwnedFd>);

impl ClockSteps {
    /// `None`, with a line in the log, where the kernel does not tell. What expires by the wall clock then does so after
    /// the time that was left when it was last looked at.
    fn watch() -> Option<Self> {
        let watched = Self::try_watch();
        if let Err(error) = &watched {
            let error = jetkv_go_compat::os_text(error);
            tracing::warn!("Steps of the wall clock go unnoticed: {error}");
        }
        watched.ok()
    }

    fn try_watch() -> std::io::Result<Self> {
        const NEVER: Timespec = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
        let never = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: NEVER };
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for owners that may lose the descriptor; this one cannot"
        )]
        let watched = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self(watched))
    }

    /// Returns when the clock was set.
    async fn next(steps: Option<&Self>) {
        let Some(Self(timer)) = steps else { return std::future::pending().await };
        loop {
            let Ok(mut ready) = timer.readable().await else { return std::future::pending().await };
            let mut fired = [0; 8];
            // That it was cancelled is an error of the read.
            match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut fired)?)) {
                Ok(_) => return,
                Err(_would_block) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jetkv_jetstream::{ManualClock, WallNs};

    #[test]
    fn the_first_of_both_deadlines_is_waited_for() {
        let clock = ManualClock::new(WallNs::from_ns(1_000));
        let wall = Some(WallNs::from_ns(1_500));
        let elapsed = Some(clock.elapsed().plus(700));
        let both = Deadlines { wall, elapsed };
        assert_eq!(left(&both, &clock), Some(Duration::from_nanos(500)));
        assert_eq!(left(&Deadlines { wall: None, ..both }, &clock), Some(Duration::from_nanos(700)));
        assert_eq!(left(&Deadlines::default(), &clock), None);
        clock.step_wall_ns(-1_000);
        assert_eq!(left(&both, &clock), Some(Duration::from_nanos(700)));
        clock.step_wall_ns(2_000);
        assert_eq!(left(&both, &clock), Some(Duration::ZERO));
    }

    #[test]
    fn a_clock_that_is_left_alone_has_no_steps() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let steps = ClockSteps::try_watch().unwrap();
            let timer = &steps.0;
            let mut fired = [0; 8];
            assert_eq!(rustix::io::read(timer.get_ref(), &mut fired), Err(rustix::io::Errno::AGAIN));
        });
    }
}
