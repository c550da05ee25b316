//! Requests of the system account to read the configuration again. Whoever started the server carries them out: only
//! they know where the configuration is.

use std::sync::Arc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{pages, send_json};
use crate::state::Shared;

/// A request to read the configuration again.
#[derive(Debug)]
pub struct ReloadAsk {
    reply: Box<[u8]>,
}

/// Where requests go, once somebody takes them.
#[derive(Debug, Default)]
pub(crate) struct ReloadAsks(parking_lot::Mutex<Option<UnboundedSender<ReloadAsk>>>);

impl ReloadAsk {
    pub(super) fn new(reply: &[u8]) -> Self {
        Self { reply: reply.into() }
    }

    /// Says what came of it.
    pub(crate) fn answer(&self, shared: &Arc<Shared>, result: Result<(), String>) {
        let Some(system) = shared.accounts.system().filter(|_| !self.reply.is_empty()) else { return };
        send_json(shared, &system, &self.reply, &pages::outcome(shared, result));
        shared.end_turn();
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
    pub(super) fn ask(&self, ask: ReloadAsk) -> bool {
        self.0.lock().as_ref().is_some_and(|asks| asks.send(ask).is_ok())
    }
}
