//! A direct get, or a message, that takes long, and the connection that waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use jetkv_jetstream::stream::{Stream, Traced};
use tokio::sync::oneshot;

use super::queued_request::QueuedRequest;

/// What waits to be told what a stream makes of a message.
pub(crate) trait AwaitsVerdict: Send {
    /// Whether the stream is only to say it, and not to take the message.
    fn only(&self) -> bool;

    /// The stream has told.
    fn end(self: Box<Self>, traced: Traced);
}

/// A get that waits for a thread, or is being served; or a message for a stream that takes long to find out whether it takes
/// it. Dropping it tells the connection that it may go on.
pub(crate) struct LongGet {
    request: QueuedRequest,
    stream: Option<Arc<Stream>>,
    trace: Option<Box<dyn AwaitsVerdict>>,
    done: oneshot::Sender<()>,
}

/// Tells a connection when its get is done.
#[derive(Debug)]
pub(crate) struct GetDone(oneshot::Receiver<()>);

impl LongGet {
    /// A get, and what tells of its end.
    pub(crate) fn new(request: QueuedRequest) -> (Self, GetDone) {
        let (done, told) = oneshot::channel();
        (Self { request, stream: None, trace: None, done }, GetDone(told))
    }

    /// A message for a stream, and what tells when that has taken or refused it.
    pub(crate) fn publish(stream: Arc<Stream>, msg: QueuedRequest) -> (Self, GetDone) {
        let (get, done) = Self::new(msg);
        (Self { stream: Some(stream), ..get }, done)
    }

    /// The same message, of which a trace tells what becomes of it.
    pub(crate) fn traced(self, trace: Box<dyn AwaitsVerdict>) -> Self {
        Self { trace: Some(trace), ..self }
    }

    /// The trace that waits for what becomes of the message, if one does.
    pub(crate) fn take_trace(&mut self) -> Option<Box<dyn AwaitsVerdict>> {
        self.trace.take()
    }

    /// The stream that a message is for.
    pub(crate) fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.as_ref()
    }

    /// Whether the connection is still there.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.done.is_closed()
    }

    pub(crate) fn request(&self) -> &QueuedRequest {
        &self.request
    }
}

impl GetDone {
    /// Waits until all answers have left.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(context).map(|_| ())
    }
}
