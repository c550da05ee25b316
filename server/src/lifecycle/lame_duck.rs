//! Lame duck mode.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;
use tokio::sync::watch;

use crate::connections::CloseReason;
use crate::state::{Phase, Shared};

/// Longest time between two closed connections.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Time to close all connections when the configured time is no longer than the grace period.
const SPREAD_MIN: Duration = Duration::from_secs(1);

/// Tells the clients, waits for the grace period, and closes them one by one. Returns when all are closed or the
/// server stops.
pub(super) async fn run(shared: &Arc<Shared>) {
    let options = shared.options();
    let mut clients = shared.clients();
    if clients.is_empty() {
        return;
    }
    clients.shuffle(&mut rand::rng());
    for client in &clients {
        shared.announce_lame_duck(client);
    }
    shared.end_turn();
    let mut phase = shared.phase();
    if stops_within(&mut phase, options.lame_duck_grace_period).await {
        return;
    }
    tracing::info!("Closing existing clients");
    let spread = options.lame_duck_duration.saturating_sub(options.lame_duck_grace_period);
    let spread = if spread.is_zero() { SPREAD_MIN } else { spread };
    let pause = (spread / u32::try_from(clients.len()).unwrap_or(u32::MAX)).min(PAUSE_MAX);
    for (at, client) in clients.iter().enumerate() {
        client.close(CloseReason::ServerShutdown);
        let share = rand::rng().random_range(0.5..1.0);
        if at + 1 < clients.len() && stops_within(&mut phase, pause.mul_f64(share)).await {
            return;
        }
    }
}

async fn stops_within(phase: &mut watch::Receiver<Phase>, time: Duration) -> bool {
    tokio::time::timeout(time, phase.wait_for(|phase| *phase >= Phase::Stopping)).await.is_ok()
}
