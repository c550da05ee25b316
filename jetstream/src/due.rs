//! What falls due next, for whoever moves the clock.

use crate::clock::{Deadline, Now};
use crate::message::AccountId;

/// What happens at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueKind {
    /// A message's own time to live ends.
    Ttl,
    /// The oldest message of a stream reaches its greatest age.
    MaxAge,
    /// A message is published by its schedule.
    Schedule,
    /// A message id may come again.
    Dedupe,
    /// A batch that was left unfinished is given up.
    Batch,
    /// A message is delivered again, since nobody acknowledged it.
    AckWait,
    /// As `AckWait`, after the time that the consumer's backoff names.
    Backoff,
    /// A push consumer shows that it lives.
    Heartbeat,
    /// A pull request expires, or wants a heartbeat.
    Request,
    /// A delivery that was held back, by its original timing or by a rate limit.
    Replay,
    /// A pinned client fell silent.
    Pin,
    /// A consumer goes, since nobody uses it.
    Inactive,
    /// The pause of a consumer ends.
    Pause,
    /// A message that the host holds goes on.
    Held,
}

impl DueKind {
    /// Its name where JSON tells of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::MaxAge => "max_age",
            Self::Schedule => "schedule",
            Self::Dedupe => "dedupe",
            Self::Batch => "batch",
            Self::AckWait => "ack_wait",
            Self::Backoff => "backoff",
            Self::Heartbeat => "heartbeat",
            Self::Request => "request",
            Self::Replay => "replay",
            Self::Pin => "pin",
            Self::Inactive => "inactive",
            Self::Pause => "pause",
            Self::Held => "held",
        }
    }
}

/// A deadline of a stream or of one of its consumers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// How long it is until then, if the clock is left alone; 0 where it is reached.
    pub in_ns: u64,
    /// What happens then.
    pub kind: DueKind,
    /// The account that it happens in.
    pub account: AccountId,
    /// The stream; empty where it is none's.
    pub stream: String,
    /// The consumer, where it is one's.
    pub consumer: Option<String>,
}

/// How long it is until a deadline.
pub(crate) fn left_ns(at: Deadline, now: &Now) -> u64 {
    match at {
        Deadline::Wall(at) => u64::try_from(at.since(now.wall())).unwrap_or(0),
        Deadline::Elapsed(at) => at.since(now.elapsed()),
    }
}

/// The sooner of the two.
pub(crate) fn sooner<T>(one: Option<(u64, T)>, other: Option<(u64, T)>) -> Option<(u64, T)> {
    one.into_iter().chain(other).min_by_key(|(in_ns, _)| *in_ns)
}
