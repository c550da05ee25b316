//! The server's threads: those that serve connections, and the one for everything else.

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
/// belongs to a batch of its messages ever moves to another. One more accepts them, has their timers, and runs what belongs
/// to no connection.
pub(super) struct Threads {
    connections: Group,
    next: AtomicUsize,
    /// Ends last: connections use its timers.
    services: Group,
}

/// Threads that end together.
struct Group {
    handles: Vec<Handle>,
    joins: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

impl Threads {
    /// Starts them. The server fails when one of them ends in a panic.
    pub(super) fn start(shared: &Arc<Shared>) -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, Into::into);
        let mut services = Group::new();
        services.add("jetkv-services".to_owned(), Builder::new_current_thread().enable_all(), shared)?;
        if let Some(services) = services.handles.first() {
            shared.timers.set(services.clone());
        }
        let mut connections = Group::new();
        for number in 0..count {
            let name = format!("jetkv-{number}");
            connections.add(name, Builder::new_current_thread().enable_io(), shared)?;
        }
        Ok(Self { connections, next: AtomicUsize::new(0), services })
    }

    /// The runtimes of the threads that serve connections.
    pub(super) fn handles(&self) -> Vec<Handle> {
        self.connections.handles.clone()
    }

    /// The next one whose turn it is to get a connection that no listener accepted.
    pub(super) fn next(&self) -> Handle {
        let handles = &self.connections.handles;
        let turn = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(handles.len()).unwrap_or(0);
        handles.get(turn).cloned().unwrap_or_else(Handle::current)
    }

    /// The runtime of the thread that serves no connections: it accepts them, and runs the timers of the engine.
    pub(super) fn services(&self) -> Handle {
        self.services.handles.first().cloned().unwrap_or_else(Handle::current)
    }

    /// Stops them, and waits for those other than the caller.
    pub(super) fn stop(&self) {
        self.connections.stop();
        self.services.stop();
    }
}

impl Group {
    fn new() -> Self {
        Self { handles: Vec::new(), joins: Mutex::new(Vec::new()), stop: watch::Sender::new(false) }
    }

    fn add(&mut self, name: String, runtime: &mut Builder, shared: &Arc<Shared>) -> io::Result<()> {
        let runtime = runtime.on_thread_park(|| worker::with(Worker::park)).build()?;
        let shared = Arc::clone(shared);
        let look = shared.options().look;
        self.handles.push(runtime.handle().clone());
        let mut stop = self.stop.subscribe();
        let (started, running) = mpsc::channel();
        let join = std::thread::Builder::new().name(name).spawn(move || {
            let _ = started.send(());
            worker::with(|worker| {
                worker.will_park();
                worker.look(look);
            });
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

    fn stop(&self) {
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
