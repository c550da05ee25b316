//! Timers of those who are on threads that have none.
//!
//! A runtime that has timers looks at them, and at the clock, whenever it runs out of work, and the threads that serve
//! connections do so for every request of a client that waits for the answer. Their timers fire hardly ever, so they are with
//! the thread that does what belongs to no connection.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, Timeout};

/// The runtime that has the timers; before there is one, that of the caller.
#[derive(Default)]
pub(crate) struct Timers(OnceLock<Handle>);

impl Timers {
    /// From now on timers are on that runtime, which ends after all that use them.
    pub(crate) fn set(&self, runtime: Handle) {
        // There is one for each server.
        let _ = self.0.set(runtime);
    }

    /// Ends at a moment.
    pub(crate) fn sleep_until(&self, at: Instant) -> Sleep {
        self.with(|| tokio::time::sleep_until(at.into()))
    }

    /// Ends after a time.
    pub(crate) fn sleep(&self, time: Duration) -> Sleep {
        self.with(|| tokio::time::sleep(time))
    }

    /// Ends with `future`, and after a time without it.
    pub(crate) fn timeout<F: Future>(&self, time: Duration, future: F) -> Timeout<F> {
        self.with(|| tokio::time::timeout(time, future))
    }

    /// Has a task run where timers are. `None` where that is nowhere.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
        let runtime = self.0.get().cloned().or_else(|| Handle::try_current().ok())?;
        Some(runtime.spawn(task))
    }

    fn with<R>(&self, make: impl FnOnce() -> R) -> R {
        let _context = self.0.get().map(Handle::enter);
        make()
    }
}
