//! How many TLS handshakes may begin in a second.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const SECOND: Duration = Duration::from_secs(1);

/// Counts handshakes, second by second, as nats-server v2.15.2 does: the first of a second is not counted.
#[derive(Debug, Default)]
pub(crate) struct TlsRate(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    ends_at: Option<Instant>,
    count: i64,
    rejected: u64,
}

impl TlsRate {
    /// Whether another may begin, where `limit` in a second may; 0 is no limit.
    pub(crate) fn allows(&self, limit: i64) -> bool {
        limit <= 0 || self.0.lock().allows(limit, Instant::now())
    }

    /// How many could not since this was asked for last.
    pub(crate) fn take_rejected(&self) -> u64 {
        std::mem::take(&mut self.0.lock().rejected)
    }
}

impl Counted {
    fn allows(&mut self, limit: i64, now: Instant) -> bool {
        if self.ends_at.is_none_or(|ends_at| now > ends_at) {
            self.count = 0;
            self.ends_at = Some(now + SECOND);
        } else {
            self.count += 1;
        }
        let allowed = self.count < limit;
        self.rejected += u64::from(!allowed);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_begin_in_a_second() {
        let mut counted = Counted::default();
        let start = Instant::now();
        let allowed = |counted: &mut Counted, at| (0..5).filter(|_| counted.allows(3, at)).count();
        assert_eq!(allowed(&mut counted, start), 3);
        assert_eq!(allowed(&mut counted, start + SECOND / 2), 0);
        assert_eq!(allowed(&mut counted, start + SECOND * 2), 3);
        assert_eq!(counted.rejected, 9);
    }
}
