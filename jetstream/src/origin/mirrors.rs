//! Which streams answer direct gets in the place of others.

use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The mirrors that answer direct gets, by the names of their origins.
#[derive(Debug)]
pub(crate) struct Mirrors<T> {
    by_origin: RwLock<HashMap<Box<str>, Vec<Weak<T>>>>,
    /// Whether there is any.
    is_used: AtomicBool,
    turns: AtomicUsize,
}

impl<T> Default for Mirrors<T> {
    fn default() -> Self {
        Self { by_origin: RwLock::default(), is_used: AtomicBool::new(false), turns: AtomicUsize::new(0) }
    }
}

impl<T> Mirrors<T> {
    /// A mirror begins, or ceases, to answer for `origin`.
    pub(crate) fn set(&self, origin: &str, mirror: &Weak<T>, answers: bool) {
        let mut by_origin = self.by_origin.write();
        let mirrors = by_origin.entry_ref(origin).or_default();
        mirrors.retain(|known| known.strong_count() > 0 && !known.ptr_eq(mirror));
        if answers {
            mirrors.push(Weak::clone(mirror));
        } else if mirrors.is_empty() {
            by_origin.remove(origin);
        }
        self.is_used.store(!by_origin.is_empty(), Ordering::Release);
    }

    /// One of those that answer for `origin`, another one each time.
    pub(crate) fn pick(&self, origin: &str) -> Option<Arc<T>> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        let by_origin = self.by_origin.read();
        let mirrors = by_origin.get(origin)?;
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        (0..mirrors.len()).find_map(|at| mirrors.get((turn.wrapping_add(at)) % mirrors.len())?.upgrade())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_take_turns_until_they_are_gone() {
        let mirrors = Mirrors::default();
        let (one, other) = (Arc::new(1), Arc::new(2));
        assert_eq!(mirrors.pick("O"), None);
        mirrors.set("O", &Arc::downgrade(&one), true);
        mirrors.set("O", &Arc::downgrade(&other), true);
        let picked: Vec<_> = (0..4).map(|_| *mirrors.pick("O").unwrap()).collect();
        assert!(picked == [1, 2, 1, 2] || picked == [2, 1, 2, 1]);
        drop(other);
        assert_eq!(mirrors.pick("O").as_deref(), Some(&1));
        mirrors.set("O", &Arc::downgrade(&one), false);
        assert_eq!(mirrors.pick("O"), None);
        assert_eq!(mirrors.pick("P"), None);
    }
}
