//! Claims end at a time: those of accounts, and permissions to import.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jetkv_jetstream::AccountId;

use super::accounts::{tell_connections, wire};
use crate::auth::Operators;
use crate::state::{Phase, Shared};

/// Longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(3600);
/// Time between two looks at files whose claims have ended.
const FILES_LOOK: Duration = Duration::from_secs(60);

/// Looks after what ends, until the server stops.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let mut phase = shared.phase();
    let Some(operators) = shared.operators() else { return };
    let has_files = operators.directory().is_some();
    while *phase.borrow_and_update() < Phase::Stopping {
        let next = look(&shared, operators);
        let longest = if has_files { FILES_LOOK } else { LOOK_MAX };
        let wait = next.map_or(longest, |next| next.saturating_duration_since(Instant::now()).min(longest));
        tokio::select! {
            () = shared.timers.sleep(wait) => {}
            () = operators.changed.notified() => {}
            _ = phase.changed() => {}
        }
    }
}

/// Ends what is over; returns when something else is.
fn look(shared: &Arc<Shared>, operators: &Operators) -> Option<Instant> {
    let now_s = shared.clock.wall().secs();
    if let Some(directory) = operators.directory() {
        directory.expire(now_s);
    }
    let (due, next) = operators.due(Instant::now());
    due.into_iter().for_each(|account| end(shared, operators, account, now_s));
    next
}

fn end(shared: &Arc<Shared>, operators: &Operators, id: AccountId, now_s: i64) {
    let Some(account) = shared.accounts.get(id) else { return };
    let Some(claimed) = account.claimed() else { return };
    let ends_at = claimed.claims.exp;
    if ends_at != 0 && ends_at <= now_s {
        claimed.is_expired.store(true, Ordering::Release);
        tell_connections(shared, &account);
        return;
    }
    if ends_at != 0 {
        // The clock was set back, or something else of the account ended.
        let left = Duration::from_secs(u64::try_from(ends_at - now_s).unwrap_or(0));
        operators.remind_after(left, id);
    }
    let _updating = operators.updating.lock();
    wire(shared, operators, &account);
}
