//! What of a stream falls due next.

use super::Stream;
use super::inner::Inner;
use crate::clock::Deadline;
use crate::due::{Due, DueKind, left_ns, sooner};

impl Stream {
    /// The next thing that happens to the stream or one of its consumers if nothing but time passes. What the server does
    /// for itself, as writing to its disk, is not told.
    #[must_use]
    pub fn next_due(&self) -> Option<Due> {
        let mut inner = self.lock();
        inner.foresee_age();
        let (in_ns, (kind, consumer)) = inner.next_due()?;
        let consumer = consumer.map(str::to_owned);
        Some(Due { in_ns, kind, account: self.account(), stream: self.name().to_owned(), consumer })
    }
}

impl Inner {
    fn next_due(&self) -> Option<(u64, (DueKind, Option<&str>))> {
        if self.closed {
            return None;
        }
        let own = [
            self.expiry
                .deadline()
                .map(|at| (at, if self.expiry.is_age_next() { DueKind::MaxAge } else { DueKind::Ttl })),
            self.schedules.deadline().map(|at| (at, DueKind::Schedule)),
            self.dedupe.deadline().map(|at| (Deadline::Elapsed(at), DueKind::Dedupe)),
            self.batches.deadline().map(|at| (Deadline::Elapsed(at), DueKind::Batch)),
        ];
        let own = own.into_iter().flatten().map(|(at, kind)| (left_ns(at, &self.now), (kind, None)));
        sooner(own.min_by_key(|(in_ns, _)| *in_ns), self.consumers.next_due(&self.now))
    }
}
