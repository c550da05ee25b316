//! Messages on their way into streams.

use std::sync::Arc;

use jetkv_jetstream::stream::Stream;
use jetkv_jetstream::{OutMsg, Outbox};

/// Messages that the engine delivered on subjects that streams capture. They enter those streams once no lock of the
/// engine is held.
pub(crate) struct Deferred {
    streams: Vec<Arc<Stream>>,
    messages: Outbox,
}

impl Deferred {
    pub(crate) const fn new() -> Self {
        Self { streams: Vec::new(), messages: Outbox::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// The messages, each with the stream that it enters.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<Stream>, OutMsg<'_>)> {
        self.streams.iter().zip(self.messages.iter())
    }

    pub(super) fn push(&mut self, stream: &Arc<Stream>, msg: OutMsg<'_>) {
        self.streams.push(Arc::clone(stream));
        self.messages.push(msg);
    }

    pub(crate) fn append(&mut self, other: &Self) {
        for (stream, msg) in other.iter() {
            self.push(stream, msg);
        }
    }
}
