//! Batches: messages that their publisher sends as one (ADR-50).
//!
//! An atomic batch is staged in memory ([`staged`]) until its last message commits it ([`atomic`]). Then all of it is
//! checked ([`check`]), and stored as one change that is kept whole or not at all ([`commit`]); what a crash left of such a
//! change is taken away with the next start, or brought to its end where nats-server had staged it ([`recover`]).
//!
//! A message of a fast batch ([`fast`]) is stored as it comes, and its publisher is answered now and then ([`flow`]).
//!
//! A stream without an open batch holds nothing for this.

mod advisory;
mod atomic;
mod check;
mod commit;
mod fast;
mod flow;
mod recover;
mod staged;

use super::Inner;
use crate::clock::ElapsedNs;
use crate::settings::BatchLimits;
use crate::stream::world::InFlight;
use advisory::Reason;
pub(super) use atomic::COMMIT;
use fast::Fast;
pub(super) use flow::{SUFFIX as FAST_SUFFIX, reply as fast_reply};
use hashbrown::HashMap;
use staged::Staged;
pub(super) use staged::StagedMsg;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Longest id of a batch, bytes.
const ID_MAX_BYTES: usize = 64;
/// Messages in an atomic batch.
const MSGS_MAX: u64 = 1000;
/// Atomic batches that may be open on one stream.
const PER_STREAM_MAX: usize = 50;
/// Atomic batches that may be open on all streams together.
const TOTAL_MAX: i64 = 1000;
/// How long a batch stays open after its last message.
const TIMEOUT_NS: u64 = 10_000_000_000;

/// Fast batches that may be open on one stream.
const FAST_PER_STREAM_MAX: usize = 1000;
/// Fast batches that may be open on all streams together.
const FAST_TOTAL_MAX: i64 = 50_000;

/// Kinds of batches, each with places of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Atomic,
    Fast,
}

/// One of the batches that are open on all streams together.
#[derive(Debug)]
struct Place(Arc<InFlight>, Kind);

impl Place {
    /// Takes a place among at most `most`, if there is one.
    fn take(all: &Arc<InFlight>, kind: Kind, most: i64) -> Option<Self> {
        let place = Self(Arc::clone(all), kind);
        // Where there was none, it is given back at once.
        (place.taken().fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    fn taken(&self) -> &AtomicI64 {
        match self.1 {
            Kind::Atomic => &self.0.atomic,
            Kind::Fast => &self.0.fast,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken().fetch_sub(1, Ordering::Relaxed);
    }
}

/// The batches that are open on a stream.
#[derive(Debug, Default)]
pub(super) struct Batches {
    pub(super) atomic: HashMap<Box<[u8]>, Staged>,
    fast: HashMap<Box<[u8]>, Fast>,
    /// No batch has to be given up before this moment.
    next_due: Option<ElapsedNs>,
}

impl Batches {
    /// When the first of them may have to be given up.
    pub(super) fn deadline(&self) -> Option<ElapsedNs> {
        self.next_due
    }

    /// What was stored after a sequence is taken back: a fast batch that had a part in it has ended, since all that it is told
    /// from here on would say that the part is there.
    pub(super) fn lose_after(&mut self, kept_seq: u64) {
        self.fast.retain(|_, fast| !fast.is_beyond(kept_seq));
    }

    /// Forgets the batches of a kind that the stream does not take any more.
    pub(super) fn allow(&mut self, atomic: bool, fast: bool) {
        if !atomic {
            self.atomic.clear();
        }
        if !fast {
            self.fast.clear();
        }
        if self.atomic.is_empty() && self.fast.is_empty() {
            *self = Self::default();
        }
    }

    fn is_due_at(&mut self, due: ElapsedNs) {
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }
}

impl Inner {
    /// Gives up the batches whose publishers were silent for too long.
    pub(super) fn give_up_batches(&mut self) {
        let now = self.now.elapsed();
        if self.batches.next_due.is_none_or(|due| due > now) {
            return;
        }
        let mut late: Vec<Box<[u8]>> = Vec::new();
        self.batches.atomic.retain(|id, staged| {
            let stays = staged.due > now;
            if !stays {
                late.push(id.clone());
            }
            stays
        });
        self.batches.fast.retain(|_, fast| fast.due > now);
        let atomic = self.batches.atomic.values().map(|staged| staged.due);
        self.batches.next_due = atomic.chain(self.batches.fast.values().map(|fast| fast.due)).min();
        late.sort_unstable();
        for id in late {
            self.advise_abandoned(&id, Reason::Timeout);
        }
    }

    /// The limits that hold now.
    fn batch_limits(&mut self, kind: Kind) -> Limits {
        Limits::new(&self.settings.get().batches, kind)
    }
}

/// Limits with their defaults filled in.
#[derive(Debug, Clone, Copy)]
struct Limits {
    per_stream: usize,
    total: i64,
    msgs: u64,
    timeout_ns: u64,
}

impl Limits {
    fn new(set: &BatchLimits, kind: Kind) -> Self {
        let (per_stream_max, total_max) = match kind {
            Kind::Atomic => (PER_STREAM_MAX, TOTAL_MAX),
            Kind::Fast => (FAST_PER_STREAM_MAX, FAST_TOTAL_MAX),
        };
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let per_stream = positive(set.inflight_per_stream_max).and_then(|most| usize::try_from(most).ok());
        Self {
            per_stream: per_stream.unwrap_or(per_stream_max),
            total: Some(set.inflight_total_max).filter(|most| *most > 0).unwrap_or(total_max),
            msgs: positive(set.msgs_max).unwrap_or(MSGS_MAX),
            timeout_ns: positive(set.timeout_ns).unwrap_or(TIMEOUT_NS),
        }
    }
}
