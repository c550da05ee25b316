//! Counters of the whole server.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::traffic::Traffic;

/// Counters of the whole server since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// What went through.
    pub traffic: Traffic,
    total_connections: AtomicU64,
    slow_consumers: AtomicU64,
    stale_connections: AtomicU64,
    stalls: AtomicU64,
}

impl Counters {
    pub(crate) fn count_connection(&self) {
        self.total_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_slow_consumer(&self) {
        self.slow_consumers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_stale(&self) {
        self.stale_connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total_connections(&self) -> u64 {
        self.total_connections.load(Ordering::Relaxed)
    }

    pub(crate) fn slow_consumers(&self) -> u64 {
        self.slow_consumers.load(Ordering::Relaxed)
    }

    pub(crate) fn stale_connections(&self) -> u64 {
        self.stale_connections.load(Ordering::Relaxed)
    }

    pub(crate) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }
}
