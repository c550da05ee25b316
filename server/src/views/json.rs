//! JSON as Go writes it.

use std::time::Duration;

use jetkv_go_compat::GoTime;
use jetkv_jetstream::WallNs;
use serde::Serialize;

/// An object without fields.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Empty {}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A moment as JSON.
pub(super) fn time(at: WallNs) -> GoTime {
    GoTime::from_ns(at.ns())
}

/// A length of time in whole seconds, with days and years: `1d2h3m4s`.
pub(super) fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let years = days / 365;
    let mut text = String::new();
    if years > 0 {
        text.push_str(&format!("{years}y"));
    }
    if days > 0 {
        text.push_str(&format!("{}d", days % 365));
    }
    if hours > 0 {
        text.push_str(&format!("{}h", hours % 24));
    }
    if minutes > 0 {
        text.push_str(&format!("{}m", minutes % 60));
    }
    text + &format!("{}s", seconds % 60)
}

/// The time between two moments; none where the clock was set back in between.
pub(super) fn between(from: WallNs, to: WallNs) -> Duration {
    Duration::from_nanos(u64::try_from(to.since(from)).unwrap_or(0))
}
