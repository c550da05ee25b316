//! PINGs to a client that says nothing.

use std::time::{Duration, Instant};

use rand::Rng;

/// The first PING after CONNECT comes at the latest after this time, to learn the round trip.
const FIRST_PING_MAX: Duration = Duration::from_secs(2);
/// The round trip is measured anew when it is older than this, whether the client talks or not.
const RTT_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// When to send PING, and when to give up.
#[derive(Debug)]
pub(super) struct Keepalive {
    interval: Duration,
    max: i64,
    due_at: Instant,
    unanswered: i64,
    /// Whether the client said something since the last look.
    heard: bool,
    pinged_at: Option<Instant>,
}

/// What a due keepalive asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// The client talked lately.
    Wait,
    /// Send PING.
    Ping,
    /// Too many PINGs are unanswered.
    Stale,
}

impl Keepalive {
    pub(super) fn new(interval: Duration, max: i64, now: Instant) -> Self {
        Self { interval, max, due_at: now + interval, unanswered: 0, heard: true, pinged_at: None }
    }

    pub(super) fn set_limits(&mut self, interval: Duration, max: i64) {
        self.interval = interval;
        self.max = max;
    }

    /// CONNECT came: the first PING follows soon, at a moment that differs from one client to the next.
    pub(super) fn connected(&mut self) {
        let first = self.interval.min(FIRST_PING_MAX);
        let spread = rand::rng().random_range(0.0..0.2);
        self.due_at = Instant::now() + first.mul_f64(1.0 + spread);
    }

    /// The client sent something.
    pub(super) fn heard(&mut self) {
        self.heard = true;
    }

    /// A PONG came; returns the round trip.
    pub(super) fn answered(&mut self) -> Option<Duration> {
        self.unanswered = 0;
        self.pinged_at.map(|at| at.elapsed())
    }

    /// When to look next.
    pub(super) fn due_at(&self) -> Instant {
        self.due_at
    }

    /// Looks at what is due.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        self.due_at = now + self.interval;
        let rtt_is_old = self.pinged_at.is_none_or(|at| now.duration_since(at) > RTT_AGE_MAX);
        if std::mem::take(&mut self.heard) && !rtt_is_old {
            return Beat::Wait;
        }
        if self.unanswered + 1 > self.max {
            return Beat::Stale;
        }
        self.unanswered += 1;
        self.pinged_at = Some(now);
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn a_silent_client_is_stale_after_as_many_pings_as_allowed() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, 2, start);
        let at = |beats: u64| start + Duration::from_secs(10 * beats);
        assert_eq!(keepalive.due_at(), at(1));
        assert_eq!([1, 2, 3].map(|beat| keepalive.beat(at(beat))), [Beat::Ping, Beat::Ping, Beat::Stale]);
    }

    #[test]
    fn a_client_that_answers_or_talks_stays() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(INTERVAL, 1, start);
        assert_eq!(keepalive.beat(start + Duration::from_secs(5)), Beat::Ping);
        assert!(keepalive.answered().is_some());
        keepalive.heard();
        assert_eq!(keepalive.beat(Instant::now() + Duration::from_secs(9)), Beat::Wait);
        assert_eq!(keepalive.beat(Instant::now() + Duration::from_secs(11)), Beat::Ping);
    }

    #[test]
    fn the_first_ping_after_connect_comes_within_seconds() {
        let mut keepalive = Keepalive::new(Duration::from_secs(120), 2, Instant::now());
        keepalive.connected();
        let wait = keepalive.due_at().duration_since(Instant::now());
        assert!(wait > Duration::from_millis(1900) && wait < Duration::from_millis(2400), "{wait:?}");
    }
}
