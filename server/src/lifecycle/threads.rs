//! The threads that serve connections.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::state::Shared;
use crate::worker::{self, Worker};

/// One thread for each processor, each with a runtime of its own: a connection stays on its thread, and nothing that
/// belongs to a batch of its messages ever moves to another.
pub(super) struct Threads {
    handles: Vec<Handle>,
    joins: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    next: AtomicUsize,
}

impl Threads {
    /// Starts them. The server fails when one of them ends in a panic.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, Into::into);
        let stop = watch::Sender::new(false);
        let mut threads = Self {
            handles: Vec::with_capacity(count),
            joins: Mutex::new(Vec::new()),
            stop,
            next: AtomicUsize::new(0),
        };
        for number in 0..count {
            threads.add(number, Arc::clone(shared))?;
        }
        Ok(threads)
    }

    fn add(&mut self, number: usize, shared: Arc<Shared>) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(|| worker::with(Worker::park))
            .build()?;
        self.handles.push(runtime.handle().clone());
        let mut stop = self.stop.subscribe();
        let (started, running) = mpsc::channel();
        let join = std::thread::Builder::new().name(format!("jetkv-{number}")).spawn(move || {
            let _ = started.send(());
            worker::with(Worker::will_park);
            let served = catch_unwind(AssertUnwindSafe(|| {
                // An error means that the sender is gone, which is as good a reason to stop.
                runtime.block_on(async {
                    let mut stopped = pin!(stop.wait_for(|stop| *stop));
                    let _ = poll_fn(|context| {
                        worker::with(|worker| worker.keep_awake_by(context.waker()));
                        stopped.as_mut().poll(context).map(|_| ())
                    })
                    .await;
                });
            }));
            if served.is_err() {
                shared.fail("A thread that serves connections");
            }
            // The connections hold what these hold.
            drop(shared);
            runtime.shutdown_background();
        })?;
        let _ = running.recv();
        self.joins.lock().push(join);
        Ok(())
    }

    /// The runtimes.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.handles.clone()
    }

    /// The next one whose turn it is to get a connection that no listener accepted.
    pub(super) fn next(&self) -> Handle {
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.handles.len()).unwrap_or(0);
        self.handles.get(turn).cloned().unwrap_or_else(Handle::current)
    }

    /// The first one, which also accepts connections and runs the timers of the engine.
    pub(super) fn first(&self) -> Handle {
        self.handles.first().cloned().unwrap_or_else(Handle::current)
    }

    /// The last one, which has the least to do beside its connections.
    pub(super) fn last(&self) -> Handle {
        self.handles.last().cloned().unwrap_or_else(Handle::current)
    }

    /// Stops them, and waits for those other than the caller.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
        for join in self.joins.lock().drain(..) {
            if join.thread().id() != std::thread::current().id() {
                let _ = join.join();
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}
