//! Who is told of what an account listens to: leaf nodes, which pass it on.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use rand::Rng;

use super::subscription::Subscription;

/// What the subject begins with by which a circle of leaf nodes is found.
pub(crate) const LOOP_PREFIX: &[u8] = b"$LDS.";
/// Characters behind that.
const LOOP_DIGITS: usize = 22;

/// Is told of every change of what an account listens to, in the order in which they come about.
pub(crate) trait InterestWatcher: Send + Sync + Debug {
    /// Its number.
    fn id(&self) -> u64;

    /// So many members of a queue group, or one that is in none, listen more, or fewer. The account's subscriptions are locked.
    fn changed(&self, sub: &Subscription, by: i64);
}

/// Those who watch an account.
#[derive(Debug, Default)]
pub(super) struct Interest {
    watchers: RwLock<Vec<Arc<dyn InterestWatcher>>>,
    is_watched: AtomicBool,
    loop_subject: OnceLock<Box<[u8]>>,
}

impl Interest {
    /// Tells them.
    #[inline]
    pub(super) fn changed(&self, sub: &Subscription, by: i64) {
        if self.is_watched.load(Ordering::Relaxed) {
            self.tell(sub, by);
        }
    }

    #[cold]
    fn tell(&self, sub: &Subscription, by: i64) {
        for watcher in self.watchers.read().iter() {
            watcher.changed(sub, by);
        }
    }

    /// Adds one; tells whether there was room. The account's subscriptions are locked.
    pub(super) fn add(&self, watcher: Arc<dyn InterestWatcher>, max: Option<usize>) -> bool {
        let mut watchers = self.watchers.write();
        if max.is_some_and(|max| watchers.len() >= max) {
            return false;
        }
        watchers.push(watcher);
        self.is_watched.store(true, Ordering::Relaxed);
        true
    }

    pub(super) fn remove(&self, id: u64) {
        let mut watchers = self.watchers.write();
        watchers.retain(|watcher| watcher.id() != id);
        self.is_watched.store(!watchers.is_empty(), Ordering::Relaxed);
    }

    pub(super) fn watcher_count(&self) -> usize {
        self.watchers.read().len()
    }

    pub(super) fn loop_subject(&self) -> &[u8] {
        self.loop_subject.get_or_init(|| {
            let mut random = rand::rng();
            let digits = (0..LOOP_DIGITS).map(|_| random.sample(rand::distr::Alphanumeric));
            LOOP_PREFIX.iter().copied().chain(digits).collect()
        })
    }
}
