//! When each of many next has something to do.

use crate::clock::{Deadline, Deadlines, ElapsedNs, WallNs};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};

/// The next deadlines of all that have any (streams), by the wall and by elapsed time, each in order. What one does when
/// its time has come, it knows itself.
pub(crate) struct Timers<T> {
    armed: Mutex<Armed<T>>,
}

struct Armed<T> {
    next_id: u64,
    wall: Order<WallNs>,
    elapsed: Order<ElapsedNs>,
    holders: HashMap<u64, (Deadlines, Weak<T>)>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        let armed =
            Armed { next_id: 0, wall: Order::default(), elapsed: Order::default(), holders: HashMap::new() };
        Self { armed: Mutex::new(armed) }
    }
}

/// Holders by their deadlines, in order of time.
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

    /// Moves a holder from one deadline to another; gives that where it is the first of all now.
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

impl<T> Timers<T> {
    /// A number for a new holder.
    pub(crate) fn register(&self, holder: Weak<T>) -> u64 {
        let mut armed = self.armed.lock();
        armed.next_id += 1;
        let id = armed.next_id;
        armed.holders.insert(id, (Deadlines::default(), holder));
        id
    }

    /// Forgets a holder.
    pub(crate) fn unregister(&self, id: u64) {
        self.armed.lock().take(id);
    }

    /// Sets the deadlines of a holder. Gives those that are the first of all now: somebody has to wake up for them.
    pub(crate) fn arm(&self, id: u64, deadlines: Deadlines) -> impl Iterator<Item = Deadline> + use<T> {
        let (mut wall, mut elapsed) = (None, None);
        let mut guard = self.armed.lock();
        let armed = &mut *guard;
        if let Some((old, _)) = armed.holders.get_mut(&id) {
            let old = std::mem::replace(old, deadlines);
            wall = armed.wall.arm(id, old.wall, deadlines.wall);
            elapsed = armed.elapsed.arm(id, old.elapsed, deadlines.elapsed);
        }
        drop(guard);
        [wall.map(Deadline::Wall), elapsed.map(Deadline::Elapsed)].into_iter().flatten()
    }

    /// Takes out a holder whose time has come, with both of its deadlines.
    pub(crate) fn take_due(&self, wall: WallNs, elapsed: ElapsedNs) -> Option<Arc<T>> {
        let mut armed = self.armed.lock();
        loop {
            let due = armed.elapsed.due(elapsed).or_else(|| armed.wall.due(wall))?;
            let holder = armed.take(due)?;
            if let Some(alive) = holder.upgrade() {
                armed.holders.insert(due, (Deadlines::default(), holder));
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

impl<T> Armed<T> {
    fn take(&mut self, id: u64) -> Option<Weak<T>> {
        let (deadlines, holder) = self.holders.remove(&id)?;
        self.wall.remove(id, deadlines.wall);
        self.elapsed.remove(id, deadlines.elapsed);
        Some(holder)
    }
}
