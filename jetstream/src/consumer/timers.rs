//! The deadlines of a stream's consumers, in order.

use super::trie::Slot;
use crate::clock::{Deadlines, ElapsedNs, Now, WallNs};
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
    /// The next delivery was held back, by its original timing or by a rate limit.
    Resume,
    /// The pinned client fell silent.
    Pin,
    /// State waits to be written.
    Save,
    /// A pause ends.
    Unpause,
}

/// What has a deadline by the time that passes. A pause has its own, by the wall.
const KINDS: [Kind; 7] =
    [Kind::AckWait, Kind::Inactive, Kind::Heartbeat, Kind::Requests, Kind::Resume, Kind::Pin, Kind::Save];

/// The deadlines of one consumer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Armed {
    by_kind: [Option<ElapsedNs>; KINDS.len()],
    unpause: Option<WallNs>,
}

impl Armed {
    pub(super) fn get(&self, kind: Kind) -> Option<ElapsedNs> {
        self.by_kind.get(kind as usize).copied().flatten()
    }

    fn set(&mut self, kind: Kind, at: Option<ElapsedNs>) {
        if let Some(place) = self.by_kind.get_mut(kind as usize) {
            *place = at;
        }
    }
}

/// Every deadline of a stream's consumers. Holds exactly what the consumers' [`Armed`] say, so nothing is left
/// behind by a consumer that goes.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(ElapsedNs, Slot, Kind)>,
    /// Pauses end when the wall clock shows the moment that was asked for.
    unpause: BTreeSet<(WallNs, Slot)>,
}

impl Timers {
    /// Sets the deadline, replacing one of the same kind.
    pub(super) fn arm(&mut self, armed: &mut Armed, slot: Slot, kind: Kind, at: ElapsedNs) {
        debug_assert!(kind != Kind::Unpause, "a pause ends by the wall clock");
        if armed.get(kind) == Some(at) {
            return;
        }
        self.disarm(armed, slot, kind);
        armed.set(kind, Some(at));
        self.due.insert((at, slot, kind));
    }

    /// Sets the deadline unless an earlier one of the same kind stands.
    pub(super) fn arm_earlier(&mut self, armed: &mut Armed, slot: Slot, kind: Kind, at: ElapsedNs) {
        if armed.get(kind).is_none_or(|standing| at < standing) {
            self.arm(armed, slot, kind, at);
        }
    }

    /// Sets when the pause of a consumer ends; `None` where it is not paused.
    pub(super) fn set_unpause(&mut self, armed: &mut Armed, slot: Slot, at: Option<WallNs>) {
        if let Some(old) = std::mem::replace(&mut armed.unpause, at) {
            self.unpause.remove(&(old, slot));
        }
        self.unpause.extend(at.map(|at| (at, slot)));
    }

    pub(super) fn disarm(&mut self, armed: &mut Armed, slot: Slot, kind: Kind) {
        if kind == Kind::Unpause {
            self.set_unpause(armed, slot, None);
        } else if let Some(at) = armed.get(kind) {
            self.due.remove(&(at, slot, kind));
            armed.set(kind, None);
        }
    }

    /// Forgets a consumer.
    pub(super) fn disarm_all(&mut self, armed: &mut Armed, slot: Slot) {
        for kind in KINDS {
            self.disarm(armed, slot, kind);
        }
        self.set_unpause(armed, slot, None);
    }

    pub(super) fn next(&self) -> Deadlines {
        Deadlines {
            wall: self.unpause.first().map(|(at, _)| *at),
            elapsed: self.due.first().map(|(at, _, _)| *at),
        }
    }

    /// The deadlines by the time that passes, in order.
    pub(super) fn upcoming(&self) -> impl Iterator<Item = (ElapsedNs, Slot, Kind)> {
        self.due.iter().copied()
    }

    /// The next pause that ends.
    pub(super) fn next_unpause(&self) -> Option<(WallNs, Slot)> {
        self.unpause.first().copied()
    }

    /// A deadline that has passed, the earliest of its time. The caller disarms it.
    pub(super) fn due(&self, now: &Now) -> Option<(Slot, Kind)> {
        let due = self.due.first().filter(|(at, _, _)| *at <= now.elapsed());
        let unpause = || self.unpause.first().filter(|(at, _)| *at <= now.wall());
        due.map(|(_, slot, kind)| (*slot, *kind))
            .or_else(|| unpause().map(|(_, slot)| (*slot, Kind::Unpause)))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.due.len() + self.unpause.len()
    }
}
