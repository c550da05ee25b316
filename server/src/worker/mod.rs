//! What one thread works with, and the order in which its turns end.
//!
//! A turn is what a thread does before others may see it: all that one read of a connection brought, one request of the
//! API, what a sync let go. Whatever a thread keeps from one turn to the next is in its [`Worker`], which is passed down
//! from where a turn begins. It is found by the thread ([`with`]) only where it cannot be passed: the engine calls its
//! host back from the middle of its work, a connection's task is polled by the runtime, and whoever has something for a
//! connection (an event, a page, a reload) may be on any thread.
//!
//! `turn.rs` has the order: parse and route, commit, then what commits brought up, then flush and feed. When no
//! connection that was ready is left, [`Worker::rest`] ends what several turns shared.

mod buffers;
mod deferred;
mod key_gets;
mod long_get;
mod pace;
mod patience;
mod queued_request;
mod shared_turn;
mod streams;
mod turn;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use jetkv_jetstream::OutMsg;
use jetkv_jetstream::stream::Stream;

pub(crate) use buffers::{Buffers, READ_BUFFER_BYTES};
pub(crate) use deferred::Deferred;
pub(crate) use long_get::{AwaitsVerdict, GetDone, LongGet};
pub(crate) use queued_request::QueuedRequest;
pub(crate) use streams::{Concerned, Streams, touch};
pub(crate) use turn::{Batch, Turn};

use crate::options::Look;
use crate::router::{RouteCache, Touched};
use patience::Patience;
use shared_turn::SharedTurn;

thread_local! {
    static WORKER: Worker = const { Worker::new() };
}

/// Lends the thread's [`Worker`] to `work`.
#[inline]
pub(crate) fn with<R>(work: impl FnOnce(&Worker) -> R) -> R {
    WORKER.with(work)
}

/// What a thread keeps from one turn to the next. Its parts are borrowed for a moment only, since a turn may call into
/// the engine, which calls back.
pub(crate) struct Worker {
    /// Receivers and subscriptions that something is to be done with at the end of the turn.
    pub touched: Touched,
    /// Memory that the connections share.
    pub buffers: Buffers,
    /// What the engine last delivered to.
    pub delivery_cache: RefCell<Option<RouteCache>>,
    /// The memory of a turn of a connection, while there is none.
    batch: Cell<Option<Box<Batch>>>,
    deferred: RefCell<Deferred>,
    shared_turn: SharedTurn,
    patience: Patience,
}

impl Worker {
    const fn new() -> Self {
        Self {
            touched: Touched::new(),
            buffers: Buffers::new(),
            delivery_cache: RefCell::new(None),
            batch: Cell::new(None),
            deferred: RefCell::new(Deferred::new()),
            shared_turn: SharedTurn::new(),
            patience: Patience::new(),
        }
    }

    /// Has a message enter a stream at the end of the turn.
    pub(crate) fn defer(&self, stream: &Arc<Stream>, msg: OutMsg<'_>) {
        self.deferred.borrow_mut().push(stream, msg);
    }

    /// From now on this thread calls [`rest`](Self::rest).
    pub(crate) fn will_rest(&self) {
        self.shared_turn.will_be_told();
    }

    /// Says how this thread waits for its clients.
    pub(crate) fn look(&self, look: Look) {
        self.patience.set_policy(look);
    }

    /// A client of this thread sent something.
    pub(crate) fn worked(&self) {
        self.patience.worked();
    }

    /// For how long this thread has looked for more instead of sleeping, since it began.
    pub(crate) fn looked(&self) -> Duration {
        self.patience.looked()
    }

    /// To be called whenever all of this thread that were ready had their turn. Unless some are ready again (`is_busy`), it
    /// is about to sleep: says whether to look for more first.
    pub(crate) fn rest(&self, is_busy: bool) -> bool {
        self.end_shared_turn();
        is_busy || self.patience.looks_on()
    }
}
