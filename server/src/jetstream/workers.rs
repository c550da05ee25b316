//! The threads that serve requests of the API.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jetkv_jetstream::Outbox;
use parking_lot::Mutex;

use super::JetStream;
use crate::net::settle;
use crate::state::Shared;

/// More threads than this serve no requests, however many processors there are (nats-server v2.15.2).
const WORKERS_MAX: usize = 16;
/// A request that takes longer is told of in the log.
const SLOW: Duration = Duration::from_secs(2);

/// The threads. All are there from the start: none has to be found when work comes.
#[derive(Default)]
pub(super) struct Workers {
    joins: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    /// Starts one for each processor.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(&self, shared: &Arc<Shared>, jetstream: &Arc<JetStream>) -> io::Result<()> {
        let count = std::thread::available_parallelism().map_or(1, Into::into).min(WORKERS_MAX);
        for number in 0..count {
            let (shared, jetstream) = (Arc::clone(shared), Arc::clone(jetstream));
            let name = format!("jetkv-api-{number}");
            let join = std::thread::Builder::new().name(name).spawn(move || work(&shared, &jetstream))?;
            self.joins.lock().push(join);
        }
        Ok(())
    }

    /// Waits until they have ended. The queue is closed before.
    pub(super) fn join(&self) {
        let joins = std::mem::take(&mut *self.joins.lock());
        for join in joins {
            // What a request made of it was logged.
            let _ = join.join();
        }
    }
}

/// Serves requests, one after the other, until the queue is closed.
fn work(shared: &Shared, jetstream: &JetStream) {
    let mut answers = Outbox::new();
    while let Some(queued) = jetstream.api.take() {
        let began = Instant::now();
        let request = queued.request();
        // A fault in one request must not end the service for all others.
        let served = catch_unwind(AssertUnwindSafe(|| {
            jetstream.serve(&request, &mut answers);
            settle(shared);
        }));
        let subject = request.subject.escape_ascii();
        if served.is_err() {
            answers = Outbox::new();
            tracing::error!("A request on \"{subject}\" ended in a panic");
        }
        let took = began.elapsed();
        if took >= SLOW {
            tracing::warn!("Internal subscription on \"{subject}\" took too long: {took:?}");
        }
    }
}
