//! What the engine itself listens on, where nats-server subscribes.

use std::sync::atomic::{AtomicI64, Ordering};

/// A subscription of the engine's own, as nats-server v2.15.2 lists them on its pages (observed). The engine is handed what
/// comes on these subjects; the list is there to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSubscription {
    /// The subject.
    pub subject: String,
    /// The queue group; empty for none.
    pub queue: &'static str,
    /// Its number within its connection.
    pub sid: u64,
    /// Messages that came on it.
    pub msgs: u64,
    /// The connection that nats-server would give it.
    pub client: u64,
    /// Whether it is in the system account, and not in the stream's.
    pub is_system: bool,
}

/// How many subscriptions the streams and consumers of an account have of their own ([`OwnSubscription`]), apart from those
/// to the subjects of streams.
#[derive(Debug, Default)]
pub(crate) struct OwnCounts {
    present: AtomicI64,
    /// Of them, in the system account.
    in_system: AtomicI64,
    gone: AtomicI64,
}

impl OwnCounts {
    /// Counts subscriptions that came, or went where negative.
    pub(crate) fn change(&self, by: i64, in_system: i64) {
        self.present.fetch_add(by, Ordering::Relaxed);
        self.in_system.fetch_add(in_system, Ordering::Relaxed);
        self.gone.fetch_add((-by).max(0), Ordering::Relaxed);
    }

    /// How many there are in the account itself, in the system account, and how many went from the account.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let count = |counter: &AtomicI64| counter.load(Ordering::Relaxed).max(0).unsigned_abs();
        (count(&self.present), count(&self.in_system), count(&self.gone))
    }
}
