//! Message schedules (ADR-51): a message with a `Nats-Schedule` has the stream publish another one on its target, once or
//! again and again.
//!
//! What a publisher asks for is checked ([`check`]) before the message is stored as any other; the last of a subject is its
//! schedule. When it is due ([`pattern`], [`cron`]), what follows from it is published ([`fire`]) and says when it is due
//! next. Schedules are found again in the stored messages, and in what an orderly stop noted of them ([`recover`]).
//!
//! A stream without schedules holds nothing for this, and looks at no header for it.

mod check;
mod cron;
mod fire;
mod pattern;
mod recover;

use super::{Inner, PurgeRequest};
use crate::clock::{Deadline, WallNs};
use crate::headers::header;
use crate::store::{Msg, StoreError};
use fire::Follower;
use hashbrown::HashMap;
use jetkv_go_compat::GoTime;
use std::collections::{BTreeSet, VecDeque};

const SCHEDULE: &[u8] = b"Nats-Schedule";
const TIME_ZONE: &[u8] = b"Nats-Schedule-Time-Zone";
const TTL: &[u8] = b"Nats-Schedule-TTL";
const ROLLUP: &[u8] = b"Nats-Schedule-Rollup";
const TARGET: &[u8] = b"Nats-Schedule-Target";
const SOURCE: &[u8] = b"Nats-Schedule-Source";
const SCHEDULER: &[u8] = b"Nats-Scheduler";
const NEXT: &[u8] = b"Nats-Schedule-Next";
/// The schedule that a message follows from is not due again.
const PURGE: &[u8] = b"purge";

/// No schedule is due sooner after it was stored, as on nats-server.
const SOONEST_NS: i64 = 250_000_000;

/// The schedules of a stream.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    by_subject: HashMap<Box<[u8]>, Schedule>,
    by_seq: HashMap<u64, Box<[u8]>>,
    /// When something is to be done, and by the message of which sequence.
    by_time: BTreeSet<(WallNs, u64)>,
    /// Messages from this one on have yet to be looked at, those that come now among them. Nothing is due meanwhile: one that
    /// is known may be replaced by one that is not.
    unlooked_from: Option<u64>,
    /// What follows from schedules that were due and has yet to be published: the first of it rolls up many, for which a
    /// thread is needed that may take its time.
    waiting: VecDeque<Follower>,
}

#[derive(Debug, Clone, Copy)]
struct Schedule {
    seq: u64,
    /// When it is due.
    at: WallNs,
    /// Where it stands in `by_time`; nowhere while what follows from it is published.
    fires: Option<WallNs>,
}

impl Schedules {
    /// The message at `seq` is the schedule of its subject, due at `at` and not before `soonest`.
    fn set(&mut self, seq: u64, subject: &[u8], at: WallNs, soonest: WallNs) {
        self.forget_subject(subject);
        let fires = at.max(soonest);
        self.by_subject.insert(subject.into(), Schedule { seq, at, fires: Some(fires) });
        self.by_seq.insert(seq, subject.into());
        self.by_time.insert((fires, seq));
    }

    /// The schedule of a subject, if it has one, is due next at `at`.
    fn postpone(&mut self, subject: &[u8], at: WallNs, soonest: WallNs) {
        let seq = self.by_subject.get(subject).map(|schedule| schedule.seq);
        if let Some(seq) = seq {
            self.set(seq, subject, at, soonest);
        }
    }

    fn forget_subject(&mut self, subject: &[u8]) {
        if let Some(schedule) = self.by_subject.remove(subject) {
            self.by_seq.remove(&schedule.seq);
            if let Some(fires) = schedule.fires {
                self.by_time.remove(&(fires, schedule.seq));
            }
        }
    }

    /// The message is gone.
    #[inline]
    pub(super) fn forget(&mut self, seq: u64) {
        if !self.by_seq.is_empty() {
            self.forget_seq(seq);
        }
    }

    fn forget_seq(&mut self, seq: u64) {
        if let Some(subject) = self.by_seq.get(&seq).cloned() {
            self.forget_subject(&subject);
        }
    }

    /// All messages below `seq` are gone.
    pub(super) fn forget_below(&mut self, seq: u64) {
        let gone: Vec<u64> = self.by_seq.keys().copied().filter(|at| *at < seq).collect();
        gone.into_iter().for_each(|at| self.forget(at));
    }

    /// Forgets those whose message is not held any more.
    fn retain(&mut self, is_held: impl Fn(&[u8], u64) -> bool) {
        let gone: Vec<u64> = self
            .by_seq
            .iter()
            .filter(|(seq, subject)| !is_held(subject, **seq))
            .map(|(seq, _)| *seq)
            .collect();
        gone.into_iter().for_each(|seq| self.forget(seq));
    }

    /// Whether there are messages that have yet to be looked at.
    pub(super) fn are_incomplete(&self) -> bool {
        self.unlooked_from.is_some()
    }

    /// Sequences and moments of those that are due, in order of sequence. They are not due again before they are set
    /// anew.
    fn take_due(&mut self, now: WallNs) -> Vec<(u64, WallNs)> {
        let mut due = Vec::new();
        if self.are_incomplete() {
            return due;
        }
        while let Some((_, seq)) = self.by_time.first().copied().filter(|(at, _)| at.is_reached(now)) {
            self.by_time.pop_first();
            let schedule = self.by_seq.get(&seq).and_then(|subject| self.by_subject.get_mut(subject));
            if let Some(schedule) = schedule {
                schedule.fires = None;
                due.push((seq, schedule.at));
            }
        }
        due.sort_unstable();
        due
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        if self.are_incomplete() {
            return None;
        }
        self.by_time.first().map(|(at, _)| *at).filter(|at| at.comes()).map(Deadline::Wall)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_subject.len()
    }
}

impl Inner {
    /// A message was stored, or is found stored: whether it is a schedule, ends one or follows from one.
    #[inline(always)]
    pub(super) fn note_schedule(&mut self, msg: &Msg<'_>) {
        if self.config.allow_msg_schedules {
            self.note_as_schedule(msg);
        }
    }

    fn note_as_schedule(&mut self, msg: &Msg<'_>) {
        let comes_later = self.schedules.unlooked_from.is_some_and(|from| msg.seq >= from);
        if comes_later {
            return;
        }
        let (stored, now) = (WallNs::from_ns(msg.ts_ns), self.now.wall());
        let soonest = now.plus(SOONEST_NS);
        let scheduler = header(msg.headers, SCHEDULER).filter(|subject| !subject.is_empty());
        match schedule_of(msg.headers, stored, now) {
            Some(due) => self.schedules.set(msg.seq, msg.subject, due.at, soonest),
            None if scheduler.is_none() => self.schedules.forget_subject(msg.subject),
            None => {}
        }
        self.note_follower(msg.headers);
    }

    /// A message with these headers was stored, or nobody wanted it: the schedule that it follows from goes on.
    pub(super) fn note_follower(&mut self, headers: &[u8]) {
        let scheduler = header(headers, SCHEDULER).filter(|subject| !subject.is_empty());
        let next = header(headers, NEXT).and_then(|next| std::str::from_utf8(next).ok());
        if let Some((subject, next)) = scheduler.zip(next.and_then(|next| GoTime::parse(next).ok())) {
            let soonest = self.now.wall().plus(SOONEST_NS);
            self.schedules.postpone(subject, WallNs::from_ns(next.wrapped_ns()), soonest);
        }
    }

    /// A message says that the schedule of a subject is not due again. It may be `stored` itself.
    pub(super) fn end_schedule(
        &mut self,
        scheduler: &[u8],
        stored: Option<&Msg<'_>>,
    ) -> Result<(), StoreError> {
        self.purge_before(&PurgeRequest { filter: scheduler, seq: 0, keep: 0 }, stored)
    }
}

/// When what these headers schedule is due, if anything.
fn schedule_of(headers: &[u8], since: WallNs, now: WallNs) -> Option<pattern::Due> {
    let pattern = header(headers, SCHEDULE).unwrap_or_default();
    if pattern.is_empty() {
        return None;
    }
    pattern::next(pattern, header(headers, TIME_ZONE), since, now).ok().flatten()
}
