//! Direct gets that may take long: by a pattern, of a batch, of the last of many subjects.
//!
//! As in nats-server v2.15.2, where the goroutine that reads a connection serves them, nothing that came behind such a
//! get on its connection is looked at before its answers have left. So a connection has one at a time, all connections
//! get their turn, and the order of answers needs no care. What waits is the connection, not its thread.

use std::collections::VecDeque;
use std::sync::Arc;

use jetkv_jetstream::ApiRequest;
use jetkv_jetstream::stream::{Inbound, Stream};
use parking_lot::{Condvar, Mutex};

use super::{ControlSubject, JetStream};
use crate::state::Shared;
use crate::worker::{AwaitsVerdict, LongGet, Streams as _};

/// Gets that wait for a thread. There are never more than connections.
#[derive(Default)]
pub(super) struct GetQueue {
    waiting: Mutex<Waiting>,
    work: Condvar,
}

#[derive(Default)]
struct Waiting {
    gets: VecDeque<LongGet>,
    closed: bool,
}

impl GetQueue {
    pub(super) fn push(&self, get: LongGet) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            waiting.gets.push_back(get);
            drop(waiting);
            self.work.notify_one();
        }
    }

    /// Waits for the next get; `None` when the queue is closed.
    pub(super) fn take(&self) -> Option<LongGet> {
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(get) = waiting.gets.pop_front() {
                return Some(get);
            }
            self.work.wait(&mut waiting);
        }
    }

    /// Ends the work: what waits is dropped, and nothing comes any more.
    pub(super) fn close(&self) {
        *self.waiting.lock() = Waiting { closed: true, ..Waiting::default() };
        self.work.notify_all();
    }
}

impl JetStream {
    /// Has a stream take a message once what that expects is known.
    pub(super) fn publish_long(
        &self,
        stream: &Arc<Stream>,
        msg: &ApiRequest<'_>,
        trace: Option<Box<dyn AwaitsVerdict>>,
    ) {
        let &ApiRequest { subject, reply, headers, payload, .. } = msg;
        let msg = Inbound { subject, reply, headers, payload };
        match trace {
            None => {
                stream.publish_when_known(&msg);
            }
            Some(trace) => {
                let traced = stream.trace_when_known(&msg, trace.only());
                trace.end(traced);
            }
        }
        stream.commit(&*self.host);
    }

    /// Serves a direct get, and lets its answers leave as they are read; or whatever else was for a stream that was busy.
    pub(super) fn serve_in_pieces(&self, shared: &Shared, request: &ApiRequest<'_>) {
        if Self::control_subject(request.subject) == Some(ControlSubject::Control) {
            let &ApiRequest { account, subject, reply, headers, payload, .. } = request;
            let stream = self.engine.js_control(account, &Inbound { subject, reply, headers, payload });
            stream.iter().for_each(|stream| stream.commit(&*self.host));
            return;
        }
        let outcome = self.engine.get_in_pieces(request, &|answers| {
            self.deliver_all(request.account, answers);
            shared.end_turn();
        });
        if let Some(stream) = outcome.stream {
            stream.commit(&*self.host);
        }
    }
}
