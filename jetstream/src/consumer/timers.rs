//! The deadlines of a stream's consumers, in one ordered structure.

use super::trie::Slot;
use std::collections::BTreeSet;

/// What falls due. A consumer has at most one deadline of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An acknowledgement stayed out.
    AckWait,
    /// Nobody used the consumer for too long.
    Inactive,
    /// The receiver of a push consumer must be shown that it lives.
    Heartbeat,
    /// A pull request expires or wants a heartbeat.
    Requests,
    /// A pause ends.
    Unpause,
    /// The next delivery was held back, by its original timing or by a rate limit.
    Resume,
    /// The pinned client fell silent.
    Pin,
    /// State waits to be written.
    Save,
}

const KINDS: usize = 8;

/// The deadlines of one consumer, nanoseconds since 1970; 0 where none is armed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Armed([u64; KINDS]);

impl Armed {
    pub(super) fn get(&self, kind: Kind) -> Option<u64> {
        self.0.get(kind as usize).copied().filter(|at_ns| *at_ns != 0)
    }

    fn set(&mut self, kind: Kind, at_ns: u64) {
        if let Some(slot) = self.0.get_mut(kind as usize) {
            *slot = at_ns;
        }
    }
}

/// Every deadline of a stream's consumers. Holds exactly what the consumers' [`Armed`] say, so nothing is left
/// behind by a consumer that goes.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(u64, Slot, Kind)>,
}

impl Timers {
    /// Sets the deadline, replacing one of the same kind.
    pub(super) fn arm(&mut self, armed: &mut Armed, slot: Slot, kind: Kind, at_ns: u64) {
        let at_ns = at_ns.max(1);
        if armed.get(kind) == Some(at_ns) {
            return;
        }
        self.disarm(armed, slot, kind);
        armed.set(kind, at_ns);
        self.due.insert((at_ns, slot, kind));
    }

    /// Sets the deadline unless an earlier one of the same kind stands.
    pub(super) fn arm_earlier(&mut self, armed: &mut Armed, slot: Slot, kind: Kind, at_ns: u64) {
        if armed.get(kind).is_none_or(|standing_ns| at_ns < standing_ns) {
            self.arm(armed, slot, kind, at_ns);
        }
    }

    pub(super) fn disarm(&mut self, armed: &mut Armed, slot: Slot, kind: Kind) {
        if let Some(at_ns) = armed.get(kind) {
            self.due.remove(&(at_ns, slot, kind));
            armed.set(kind, 0);
        }
    }

    /// Forgets a consumer.
    pub(super) fn disarm_all(&mut self, armed: &mut Armed, slot: Slot) {
        for kind in [
            Kind::AckWait,
            Kind::Inactive,
            Kind::Heartbeat,
            Kind::Requests,
            Kind::Unpause,
            Kind::Resume,
            Kind::Pin,
            Kind::Save,
        ] {
            self.disarm(armed, slot, kind);
        }
    }

    pub(super) fn next(&self) -> Option<u64> {
        self.due.first().map(|(at_ns, _, _)| *at_ns)
    }

    /// The earliest deadline that has passed. The caller disarms it.
    pub(super) fn due(&self, now_ns: u64) -> Option<(Slot, Kind)> {
        self.due.first().filter(|(at_ns, _, _)| *at_ns <= now_ns).map(|(_, slot, kind)| (*slot, *kind))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len()
    }
}
