//! Before the server goes down: what many streams have written is made durable side by side.

use super::Engine;
use crate::stream::Stream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So few streams are synced one by one, when they are closed.
const FEW: usize = 8;
/// Threads that sync at most: a disk serves those who wait for it together.
const THREADS_MAX: usize = 16;

impl Engine {
    /// Syncs streams together, so that there is little left to sync when they are closed one by one. What cannot be synced is
    /// tried again then.
    pub(super) fn sync_together(&self, streams: &[Arc<Stream>]) {
        let of_files: Vec<&Arc<Stream>> =
            streams.iter().filter(|stream| !stream.config().storage.is_memory()).collect();
        if of_files.len() <= FEW {
            return;
        }
        let (next, host) = (AtomicUsize::new(0), &*self.world.host);
        let sync = || {
            while let Some(stream) = of_files.get(next.fetch_add(1, Ordering::Relaxed)) {
                stream.sync(host);
                host.end_turn();
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..THREADS_MAX.min(of_files.len()) {
                let thread = std::thread::Builder::new().name("closing".into());
                // Without more threads this one does it all.
                if thread.spawn_scoped(scope, sync).is_err() {
                    break;
                }
            }
            sync();
        });
    }
}
