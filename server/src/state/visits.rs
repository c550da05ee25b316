//! How often each monitoring page was asked for by HTTP.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// How often each page was asked for.
#[derive(Debug, Default)]
pub(crate) struct Visits(Mutex<BTreeMap<&'static str, u64>>);

impl Visits {
    /// Counts a visit of a page, named as in `/varz`.
    pub(crate) fn count(&self, page: &'static str) {
        *self.0.lock().entry(page).or_default() += 1;
    }

    /// Pages that were visited.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }
}
