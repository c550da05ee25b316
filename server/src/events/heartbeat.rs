//! What the system account is told from time to time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{advisories, stats};
use crate::state::{Phase, Shared};

/// Time until the numbers of the server are first told; it doubles up to the longest.
const STATS_FIRST: Duration = Duration::from_millis(250);
const STATS_LONGEST: Duration = Duration::from_secs(10);
/// Shortest time between two of them.
const STATS_SHORTEST: Duration = Duration::from_secs(1);
/// Time between two numbers of connections of an account.
const CONNECTIONS_EVERY: Duration = Duration::from_secs(30);

/// Tells it until the server stops.
pub(crate) async fn beat(shared: Arc<Shared>) {
    let mut phase = shared.phase();
    let mut stats_every = STATS_FIRST;
    let mut stats_at = Instant::now() + stats_every;
    let mut connections_at = Instant::now() + CONNECTIONS_EVERY;
    while *phase.borrow_and_update() < Phase::Stopping {
        tokio::select! {
            () = sleep_until(stats_at) => {
                stats_every = (stats_every * 2).min(STATS_LONGEST);
                stats_at = Instant::now() + stats_every.max(STATS_SHORTEST);
                stats::tell(&shared);
            }
            () = sleep_until(connections_at) => {
                connections_at = Instant::now() + CONNECTIONS_EVERY;
                for account in shared.accounts.all() {
                    if account.client_count() > 0 {
                        advisories::connections_changed(&shared, &account);
                    }
                }
            }
            _ = phase.changed() => continue,
        }
        shared.end_turn();
    }
}
