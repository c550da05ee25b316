//! The server's threads: those that serve connections, and the one for everything else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::options::Look;
use crate::reactor::{self, Policy, Reactor, Turns};
use crate::state::Shared;
use crate::worker::{self, Worker};

/// One thread for each processor, each with a loop of its own. Connections are with as few of them as the load needs; one
/// moves between two of its reads only, and nothing that belongs to a batch of its messages ever does. One more thread accepts
/// them, has their timers, and runs what belongs to no connection.
pub(super) struct Threads {
    connections: Vec<reactor::Handle>,
    first: reactor::Handle,
    serving: Joins,
    /// Ends last: connections use its timers.
    services: Handle,
    stop_services: watch::Sender<bool>,
    servicing: Joins,
}

/// Threads of a server whose connections move all the time, at least, however small the machine.
const RESTLESS_MIN: usize = 3;

/// Threads that end together.
#[derive(Default)]
struct Joins(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    /// Starts them. The server fails when one of them ends in a panic.
    pub(super) fn start(shared: &Arc<Shared>, policy: Policy) -> io::Result<Self> {
        let look = shared.options().look;
        let (serving, servicing) = (Joins::default(), Joins::default());
        let park = || {
            worker::with(|worker| worker.rest(false));
        };
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(park).build()?;
        let services = runtime.handle().clone();
        shared.timers.set(services.clone());
        let stop_services = watch::Sender::new(false);
        let mut stop = stop_services.subscribe();
        servicing.start("jetkv-services".to_owned(), look, shared, move || {
            // An error means that the sender is gone, which is as good a reason to stop.
            let _ = runtime.block_on(stop.wait_for(|stop| *stop)).is_ok();
            runtime.shutdown_background();
            Ok(())
        })?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if policy == Policy::Restless { processors.max(RESTLESS_MIN) } else { processors };
        let (first, reactors) = Reactor::group(count, policy)?;
        let connections = reactors.iter().map(Reactor::handle).collect();
        for (number, reactor) in reactors.into_iter().enumerate() {
            let serve = move || reactor.run(&ThisWorker);
            serving.start(format!("jetkv-{number}"), look, shared, serve)?;
        }
        Ok(Self { connections, first, serving, services, stop_services, servicing })
    }

    /// One of the threads that serve connections, by which the one for a new connection is chosen.
    pub(super) fn first(&self) -> &reactor::Handle {
        &self.first
    }

    /// The runtime of the thread that serves no connections: it accepts them, and runs the timers of the engine.
    pub(super) fn services(&self) -> Handle {
        self.services.clone()
    }

    /// Stops them, and waits for those other than the caller.
    pub(super) fn stop(&self) {
        self.connections.iter().for_each(reactor::Handle::stop);
        self.serving.join();
        self.stop_services.send_replace(true);
        self.servicing.join();
    }
}

/// The worker of the thread that asks.
struct ThisWorker;

impl Turns for ThisWorker {
    fn rest(&self, is_busy: bool) -> bool {
        worker::with(|worker| worker.rest(is_busy))
    }

    fn looked(&self) -> Duration {
        worker::with(Worker::looked)
    }
}

impl Joins {
    /// Starts a thread for `work`, which goes on until it is told to stop.
    fn start(
        &self,
        name: String,
        look: Look,
        shared: &Arc<Shared>,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<()> {
        let shared = Arc::clone(shared);
        let (started, running) = mpsc::channel();
        let join = std::thread::Builder::new().name(name).spawn(move || {
            let _ = started.send(());
            worker::with(|worker| {
                worker.will_rest();
                worker.look(look);
            });
            match catch_unwind(AssertUnwindSafe(work)) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!("no events can be had: {}", jetkv_go_compat::os_text(&error));
                    shared.fail("A thread that serves connections");
                }
                Err(_) => shared.fail("A thread that serves connections"),
            }
        })?;
        let _ = running.recv();
        self.0.lock().push(join);
        Ok(())
    }

    /// Waits for their ends, unless that is the caller's own.
    fn join(&self) {
        for join in self.0.lock().drain(..) {
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
