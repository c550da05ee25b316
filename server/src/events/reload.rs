//! Answers to requests of the system account to read the configuration again.

use std::sync::Arc;

use super::{pages, send_json};
use crate::state::{ReloadAsk, Shared};

/// Says what came of a request.
pub(crate) fn answer_reload(shared: &Arc<Shared>, ask: &ReloadAsk, result: Result<(), String>) {
    let Some(system) = shared.accounts.system().filter(|_| !ask.reply().is_empty()) else { return };
    send_json(shared, &system, ask.reply(), &pages::outcome(shared, result));
    shared.end_turn();
}
