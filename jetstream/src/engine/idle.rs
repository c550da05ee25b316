//! Closing files that were not used for a while.

use crate::clock::{Clock, Deadline, ElapsedNs};
use crate::disk::Disk;
use crate::stream::Host;
use parking_lot::Mutex;
use std::sync::Arc;

/// How often it is looked while any file is open: one is closed when it was not used for so long, or up to twice that.
const LOOK_NS: u64 = 5_000_000_000;

/// The time at which it is looked next.
struct Look {
    clock: Arc<dyn Clock>,
    host: Arc<dyn Host>,
    at: Mutex<Option<ElapsedNs>>,
}

impl Look {
    fn arm(&self) {
        let at = {
            let mut at = self.at.lock();
            if at.is_some() {
                return;
            }
            *at.insert(self.clock.elapsed().plus(LOOK_NS))
        };
        self.host.wake_at(Deadline::Elapsed(at));
    }
}

/// The disk of an engine, whose idle files it closes. Nobody looks while none is open.
pub(super) struct IdleFiles {
    disk: Arc<dyn Disk>,
    look: Arc<Look>,
}

impl IdleFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, clock: &Arc<dyn Clock>, host: &Arc<dyn Host>) -> Self {
        let look = Arc::new(Look { clock: Arc::clone(clock), host: Arc::clone(host), at: Mutex::default() });
        let told = Arc::clone(&look);
        let own = disk.for_engine(Box::new(move || told.arm()));
        Self { disk: own.unwrap_or(disk), look }
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Looks if it is time to; says when it is next.
    pub(super) fn tick(&self, now: ElapsedNs) -> Option<ElapsedNs> {
        let is_due = self.look.at.lock().take_if(|at| *at <= now).is_some();
        if is_due && self.disk.close_idle() {
            self.look.arm();
        }
        *self.look.at.lock()
    }
}
