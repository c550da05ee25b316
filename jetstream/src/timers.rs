//! When each stream next has something to do.

use crate::host::Host;
use crate::stream::Stream;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

/// One deadline for each stream that has any, in order of time. What a stream does when its time has come, the
/// stream knows.
#[derive(Default)]
pub(crate) struct Timers {
    armed: Mutex<Armed>,
}

#[derive(Default)]
struct Armed {
    next_id: u64,
    by_time: BTreeSet<(u64, u64)>,
    streams: HashMap<u64, (u64, Weak<Stream>)>,
}

/// A deadline that is never reached.
pub(crate) const NEVER_NS: u64 = u64::MAX;

impl Timers {
    /// A number for a new stream.
    pub(crate) fn register(&self, stream: Weak<Stream>) -> u64 {
        let mut armed = self.armed.lock();
        armed.next_id += 1;
        let id = armed.next_id;
        armed.streams.insert(id, (NEVER_NS, stream));
        id
    }

    /// Forgets a stream.
    pub(crate) fn unregister(&self, id: u64) {
        let mut armed = self.armed.lock();
        if let Some((at_ns, _)) = armed.streams.remove(&id) {
            armed.by_time.remove(&(at_ns, id));
        }
    }

    /// Sets the deadline of a stream; [`NEVER_NS`] for none.
    pub(crate) fn arm(&self, id: u64, at_ns: u64, host: &dyn Host) {
        let mut armed = self.armed.lock();
        let Some((old_ns, _)) = armed.streams.get_mut(&id) else { return };
        let old_ns = std::mem::replace(old_ns, at_ns);
        armed.by_time.remove(&(old_ns, id));
        if at_ns == NEVER_NS {
            return;
        }
        armed.by_time.insert((at_ns, id));
        let is_next = armed.by_time.first() == Some(&(at_ns, id));
        drop(armed);
        if is_next {
            host.wake_at(at_ns);
        }
    }

    /// Takes out a stream whose time has come.
    pub(crate) fn take_due(&self, now_ns: u64) -> Option<Arc<Stream>> {
        let mut armed = self.armed.lock();
        loop {
            let (at_ns, id) = *armed.by_time.first()?;
            if at_ns > now_ns {
                return None;
            }
            armed.by_time.remove(&(at_ns, id));
            let (deadline_ns, stream) = armed.streams.get_mut(&id)?;
            *deadline_ns = NEVER_NS;
            if let Some(stream) = stream.upgrade() {
                return Some(stream);
            }
            armed.streams.remove(&id);
        }
    }

    /// The next deadline.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.armed.lock().by_time.first().map(|(at_ns, _)| *at_ns)
    }
}
