//! JSON as Go writes it.

use std::time::Duration;

use jetkv_go_compat::GoTime;
use serde::Serialize;

/// An object without fields.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Empty {}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A moment, from nanoseconds since 1970.
pub(super) fn time(ns: u64) -> GoTime {
    GoTime::from_ns(i64::try_from(ns).unwrap_or(i64::MAX))
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

/// The time between two moments, in nanoseconds since 1970.
pub(super) fn between(from_ns: u64, to_ns: u64) -> Duration {
    Duration::from_nanos(to_ns.saturating_sub(from_ns))
}
