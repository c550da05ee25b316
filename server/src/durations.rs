//! How long things took since the start: counted by how long, so that a page tells how they are spread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the counts, in microseconds: from what memory takes to what a disk that is stuck does. The last count has
/// none.
const BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// What requests of the JetStream API are counted as, by the beginning of their subjects behind `$JS.API.`; all others are the
/// last.
const REQUESTS: [&str; 25] = [
    "INFO",
    "STREAM.CREATE",
    "STREAM.UPDATE",
    "STREAM.DELETE",
    "STREAM.PURGE",
    "STREAM.INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    "STREAM.SNAPSHOT",
    "STREAM.RESTORE",
    "STREAM.MSG.GET",
    "STREAM.MSG.DELETE",
    "CONSUMER.CREATE",
    "CONSUMER.DURABLE.CREATE",
    "CONSUMER.INFO",
    "CONSUMER.DELETE",
    "CONSUMER.PAUSE",
    "CONSUMER.UNPIN",
    "CONSUMER.RESET",
    "CONSUMER.NAMES",
    "CONSUMER.LIST",
    "DIRECT.GET",
    "ACCOUNT.PURGE",
    "META.LEADER.STEPDOWN",
    "other",
];

/// All that is measured so.
#[derive(Default)]
pub(crate) struct Durations {
    requests: [Spread; REQUESTS.len()],
    /// Syncs of streams to the disk.
    pub(crate) syncs: Spread,
}

/// How often something took how long.
#[derive(Default)]
pub(crate) struct Spread {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// A reading of a [`Spread`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpreadCounts {
    /// Each with its upper bound, and what is below it included.
    pub(crate) up_to: Vec<(Duration, u64)>,
    pub(crate) all: u64,
    pub(crate) sum: Duration,
}

impl Durations {
    /// Counts a request of the JetStream API.
    pub(crate) fn count_request(&self, subject: &[u8], took: Duration) {
        if let Some(spread) = self.requests.get(request_at(subject)) {
            spread.count(took);
        }
    }

    /// Requests by what they were, those of which there were any.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, SpreadCounts)> {
        let all = REQUESTS.into_iter().zip(&self.requests);
        all.map(|(name, spread)| (name, spread.counts())).filter(|(_, counts)| counts.all > 0)
    }
}

fn request_at(subject: &[u8]) -> usize {
    let rest = subject.strip_prefix(b"$JS.API.").unwrap_or_default();
    let is_named = |name: &&str| {
        rest.strip_prefix(name.as_bytes()).is_some_and(|names| matches!(names.first(), None | Some(b'.')))
    };
    REQUESTS.iter().position(is_named).unwrap_or(REQUESTS.len() - 1)
}

impl Spread {
    pub(crate) fn count(&self, took: Duration) {
        let at = BOUNDS_US.partition_point(|bound_us| Duration::from_micros(*bound_us) < took);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> SpreadCounts {
        let mut all = 0;
        let mut sums = self.counts.iter().map(|count| {
            all += count.load(Ordering::Relaxed);
            all
        });
        let bounds = BOUNDS_US.into_iter().map(Duration::from_micros);
        let up_to = bounds.zip(sums.by_ref()).collect();
        let last = sums.next();
        SpreadCounts {
            up_to,
            all: last.unwrap_or_default(),
            sum: Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_below_each_bound_that_it_does_not_exceed() {
        let spread = Spread::default();
        for micros in [1, 100, 101, 10_000_000, 10_000_001] {
            spread.count(Duration::from_micros(micros));
        }
        let counts = spread.counts();
        assert_eq!(counts.up_to.len(), BOUNDS_US.len());
        assert_eq!(counts.up_to[0], (Duration::from_micros(100), 2));
        assert_eq!(counts.up_to[1], (Duration::from_micros(250), 3));
        assert_eq!(counts.up_to.last(), Some(&(Duration::from_secs(10), 4)));
        assert_eq!((counts.all, counts.sum), (5, Duration::from_micros(20_000_203)));
    }

    #[test]
    fn requests_are_told_apart_by_whole_tokens_and_the_rest_counts_together() {
        let durations = Durations::default();
        for subject in [
            "$JS.API.STREAM.INFO.S",
            "$JS.API.STREAM.INFO.T",
            "$JS.API.INFO",
            "$JS.API.INFORMATION",
            "$JS.API.CONSUMER.DURABLE.CREATE.S.C",
            "$JS.API.CONSUMER.CREATE.S",
            "$JS.API.",
            "x",
        ] {
            durations.count_request(subject.as_bytes(), Duration::ZERO);
        }
        let counted: Vec<_> = durations.requests().map(|(name, counts)| (name, counts.all)).collect();
        let expected = [
            ("INFO", 1),
            ("STREAM.INFO", 2),
            ("CONSUMER.CREATE", 1),
            ("CONSUMER.DURABLE.CREATE", 1),
            ("other", 3),
        ];
        assert_eq!(counted, expected);
    }
}
