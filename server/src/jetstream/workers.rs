//! The threads that serve requests of the API.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jetkv_jetstream::{ApiRequest, Outbox};
use parking_lot::Mutex;

use super::JetStream;
use crate::state::Shared;
use crate::worker::QueuedRequest;

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
    /// Starts two for each processor: one for direct gets, one for all else.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(&self, shared: &Arc<Shared>, jetstream: &Arc<JetStream>) -> io::Result<()> {
        let count = std::thread::available_parallelism().map_or(1, Into::into).min(WORKERS_MAX);
        for number in 0..count {
            self.start_one(format!("jetkv-api-{number}"), shared, jetstream, work)?;
            self.start_one(format!("jetkv-get-{number}"), shared, jetstream, get)?;
        }
        Ok(())
    }

    fn start_one(
        &self,
        name: String,
        shared: &Arc<Shared>,
        jetstream: &Arc<JetStream>,
        work: fn(&Shared, &JetStream),
    ) -> io::Result<()> {
        let (shared, jetstream) = (Arc::clone(shared), Arc::clone(jetstream));
        let join = std::thread::Builder::new().name(name).spawn(move || work(&shared, &jetstream))?;
        self.joins.lock().push(join);
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
        let is_whole = serve(shared, &queued, |request| jetstream.serve(request, &mut answers));
        if !is_whole {
            answers = Outbox::new();
        }
    }
}

/// Serves direct gets that may take long, and takes messages that do, until the queue is closed.
fn get(shared: &Shared, jetstream: &JetStream) {
    while let Some(mut long) = jetstream.gets.take() {
        let trace = long.take_trace();
        if let Some(stream) = long.stream() {
            serve(shared, long.request(), |msg| jetstream.publish_long(stream, msg, trace));
        } else if long.is_wanted() {
            serve(shared, long.request(), |request| jetstream.serve_in_pieces(shared, request));
        }
    }
}

/// Serves a request, and says whether that came to its end: a fault in one must not end the service for all others.
fn serve(shared: &Shared, queued: &QueuedRequest, serve: impl FnOnce(&ApiRequest<'_>)) -> bool {
    let began = Instant::now();
    let request = queued.request();
    let served = catch_unwind(AssertUnwindSafe(|| {
        serve(&request);
        shared.end_turn();
    }));
    let subject = request.subject.escape_ascii();
    if served.is_err() {
        tracing::error!("A request on \"{subject}\" ended in a panic");
    }
    let took = began.elapsed();
    if request.subject.starts_with(b"$JS.API.") {
        shared.durations.count_request(request.subject, took);
    }
    if took >= SLOW {
        tracing::warn!("Internal subscription on \"{subject}\" took too long: {took:?}");
    }
    served.is_ok()
}
