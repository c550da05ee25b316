//! Warnings on requests that cannot be understood.

use crate::clock::ElapsedNs;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::hash::BuildHasher as _;

/// A warning with the same words is not logged again for so long (nats-server v2.15.2).
const INTERVAL_NS: u64 = 1_000_000_000;
/// Different warnings that are logged in that time; more are not.
const WARNINGS_MAX: usize = 1024;

/// What was warned of lately, by hash, so that a client which repeats itself does not fill the log.
#[derive(Default)]
pub(crate) struct Warnings(Mutex<HashMap<u64, ElapsedNs>>);

impl Warnings {
    /// Logs a warning, unless the same one was logged a moment ago.
    pub(crate) fn warn(&self, now: ElapsedNs, text: &str) {
        if self.is_new(now, text) {
            tracing::warn!("{text}");
        }
    }

    fn is_new(&self, now: ElapsedNs, text: &str) -> bool {
        let mut warned = self.0.lock();
        warned.retain(|_, at| now.since(*at) < INTERVAL_NS);
        let hash = warned.hasher().hash_one(text);
        if warned.len() >= WARNINGS_MAX || warned.contains_key(&hash) {
            return false;
        }
        warned.insert(hash, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_are_logged_once_in_a_second() {
        let warnings = Warnings::default();
        let at = |ns: u64| ElapsedNs::default().plus(ns);
        assert!(warnings.is_new(at(0), "a"));
        assert!(!warnings.is_new(at(INTERVAL_NS - 1), "a"));
        assert!(warnings.is_new(at(INTERVAL_NS - 1), "b"));
        assert!(warnings.is_new(at(INTERVAL_NS), "a"));
    }
}
