//! Requests to read the configuration again. Whoever started the server carries them out: only they know where the
//! configuration is.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A request to read the configuration again.
#[derive(Debug)]
pub(crate) struct ReloadAsk {
    reply: Box<[u8]>,
}

/// Where requests go, once somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct ReloadAsks(parking_lot::Mutex<Option<UnboundedSender<ReloadAsk>>>);

impl ReloadAsk {
    pub(crate) fn new(reply: &[u8]) -> Self {
        Self { reply: reply.into() }
    }

    /// Where to say what came of it; empty: nowhere.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply
    }
}

impl ReloadAsks {
    /// Takes the requests from now on.
    pub(crate) fn take(&self) -> UnboundedReceiver<ReloadAsk> {
        let (sender, receiver) = unbounded_channel();
        *self.0.lock() = Some(sender);
        receiver
    }

    /// Passes a request on; tells whether somebody takes it.
    pub(crate) fn ask(&self, ask: ReloadAsk) -> bool {
        self.0.lock().as_ref().is_some_and(|asks| asks.send(ask).is_ok())
    }
}
