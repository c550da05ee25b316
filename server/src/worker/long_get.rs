//! A direct get that may take long, and the connection that waits for its answers.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::queued_request::QueuedRequest;

/// A get that waits for a thread, or is being served. Dropping it tells the connection that it may go on.
#[derive(Debug)]
pub(crate) struct LongGet {
    request: QueuedRequest,
    done: oneshot::Sender<()>,
}

/// Tells a connection when its get is done.
#[derive(Debug)]
pub(crate) struct GetDone(oneshot::Receiver<()>);

impl LongGet {
    /// A get, and what tells of its end.
    pub(crate) fn new(request: QueuedRequest) -> (Self, GetDone) {
        let (done, told) = oneshot::channel();
        (Self { request, done }, GetDone(told))
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
