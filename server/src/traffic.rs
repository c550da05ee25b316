//! Counters of what goes through a connection, an account, the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// Messages and bytes in both directions, seen from the server.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    in_msgs: AtomicU64,
    in_bytes: AtomicU64,
    out_msgs: AtomicU64,
    out_bytes: AtomicU64,
}

/// A reading of `Traffic`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficCounts {
    /// Messages from clients.
    pub in_msgs: u64,
    /// Their bytes, headers and payload.
    pub in_bytes: u64,
    /// Messages to clients.
    pub out_msgs: u64,
    /// Their bytes, headers and payload.
    pub out_bytes: u64,
}

impl Traffic {
    /// Counts messages that came in.
    pub(crate) fn received(&self, msgs: u64, bytes: u64) {
        self.in_msgs.fetch_add(msgs, Ordering::Relaxed);
        self.in_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts messages that went out.
    pub(crate) fn sent(&self, msgs: u64, bytes: u64) {
        self.out_msgs.fetch_add(msgs, Ordering::Relaxed);
        self.out_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counts now.
    pub(crate) fn counts(&self) -> TrafficCounts {
        TrafficCounts {
            in_msgs: self.in_msgs.load(Ordering::Relaxed),
            in_bytes: self.in_bytes.load(Ordering::Relaxed),
            out_msgs: self.out_msgs.load(Ordering::Relaxed),
            out_bytes: self.out_bytes.load(Ordering::Relaxed),
        }
    }
}
