//! When each stream next has something to do.

use crate::clock::{Deadline, Deadlines, ElapsedNs, WallNs};
use crate::host::Host;
use crate::stream::Stream;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

/// The next deadlines of each stream that has any, by the wall and by elapsed time, each in order. What a stream does
/// when its time has come, the stream knows.
#[derive(Default)]
pub(crate) struct Timers {
    armed: Mutex<Armed>,
}

#[derive(Default)]
struct Armed {
    next_id: u64,
    wall: Order<WallNs>,
    elapsed: Order<ElapsedNs>,
    streams: HashMap<u64, (Deadlines, Weak<Stream>)>,
}

/// Streams by their deadlines, in order of time.
struct Order<T>(BTreeSet<(T, u64)>);

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Copy + Ord> Order<T> {
    fn next(&self) -> Option<T> {
        self.0.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, id: u64, at: Option<T>) {
        if let Some(at) = at {
            self.0.remove(&(at, id));
        }
    }

    /// Moves a stream from one deadline to another; gives that where it is the first of all now.
    fn arm(&mut self, id: u64, old: Option<T>, new: Option<T>) -> Option<T> {
        if old == new {
            return None;
        }
        self.remove(id, old);
        let new = new?;
        self.0.insert((new, id));
        (self.0.first() == Some(&(new, id))).then_some(new)
    }

    fn due(&self, now: T) -> Option<u64> {
        self.0.first().filter(|(at, _)| *at <= now).map(|(_, id)| *id)
    }
}

impl Timers {
    /// A number for a new stream.
    pub(crate) fn register(&self, stream: Weak<Stream>) -> u64 {
        let mut armed = self.armed.lock();
        armed.next_id += 1;
        let id = armed.next_id;
        armed.streams.insert(id, (Deadlines::default(), stream));
        id
    }

    /// Forgets a stream.
    pub(crate) fn unregister(&self, id: u64) {
        self.armed.lock().take(id);
    }

    /// Sets the deadlines of a stream.
    pub(crate) fn arm(&self, id: u64, deadlines: Deadlines, host: &dyn Host) {
        let mut guard = self.armed.lock();
        let armed = &mut *guard;
        let Some((old, _)) = armed.streams.get_mut(&id) else { return };
        let old = std::mem::replace(old, deadlines);
        let wall = armed.wall.arm(id, old.wall, deadlines.wall);
        let elapsed = armed.elapsed.arm(id, old.elapsed, deadlines.elapsed);
        drop(guard);
        for next in [wall.map(Deadline::Wall), elapsed.map(Deadline::Elapsed)].into_iter().flatten() {
            host.wake_at(next);
        }
    }

    /// Takes out a stream whose time has come, with both of its deadlines.
    pub(crate) fn take_due(&self, wall: WallNs, elapsed: ElapsedNs) -> Option<Arc<Stream>> {
        let mut armed = self.armed.lock();
        loop {
            let due = armed.elapsed.due(elapsed).or_else(|| armed.wall.due(wall))?;
            let stream = armed.take(due)?;
            if let Some(alive) = stream.upgrade() {
                armed.streams.insert(due, (Deadlines::default(), stream));
                return Some(alive);
            }
        }
    }

    /// The next deadlines.
    pub(crate) fn next(&self) -> Deadlines {
        let armed = self.armed.lock();
        Deadlines { wall: armed.wall.next(), elapsed: armed.elapsed.next() }
    }
}

impl Armed {
    fn take(&mut self, id: u64) -> Option<Weak<Stream>> {
        let (deadlines, stream) = self.streams.remove(&id)?;
        self.wall.remove(id, deadlines.wall);
        self.elapsed.remove(id, deadlines.elapsed);
        Some(stream)
    }
}
