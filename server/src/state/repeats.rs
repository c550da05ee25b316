//! Log lines that many connections cause at the same time.

use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Time in which a line is said once (nats-server v2.15.2).
const REPEAT: Duration = Duration::from_secs(1);

/// What was said lately.
#[derive(Debug, Default)]
pub(crate) struct Repeats(Mutex<HashMap<String, Instant>>);

impl Repeats {
    /// Whether `statement` was not said lately; from now on it was.
    pub(crate) fn is_news(&self, statement: &str) -> bool {
        self.is_news_at(statement, Instant::now())
    }

    fn is_news_at(&self, statement: &str, now: Instant) -> bool {
        let mut said = self.0.lock();
        said.retain(|_, at| now.duration_since(*at) < REPEAT);
        if said.contains_key(statement) {
            return false;
        }
        said.insert(statement.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_once_in_a_second() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let said = |text: &str, ms: u64| repeats.is_news_at(text, start + Duration::from_millis(ms));
        assert_eq!([said("a", 0), said("b", 1), said("a", 999), said("a", 1000)], [true, true, false, true]);
    }
}
