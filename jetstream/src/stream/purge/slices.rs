//! Purges of many messages, in slices: the stream's lock is let go in between, so that whoever publishes or reads
//! meanwhile waits for a slice and not for the whole.
//!
//! A purge takes effect at one moment, when what it takes is known and the stream is locked: from then on its messages
//! are removed bit by bit, and nobody sees what is left of them. Requests that may meet them by a pattern, or count, wait
//! for its end; who asks for one subject or publishes to it has the messages of that subject removed at once; consumers
//! that lag go on after it. What is stored from that moment on stays.

use super::PurgeRequest;
use crate::consumer::{FEW, PurgeNotice};
use crate::error::ApiError;
use crate::error::catalogue::STREAM_GENERAL_ERROR;
use crate::filter::Filter;
use crate::store::{Store, StoreError};
use crate::stream::write::RollingUp;
use crate::stream::{Inner, Locked, NODES, Stream, let_others};
use std::ops::ControlFlow;

/// Messages that a slice gathers: one costs a small part of what a node of the index does.
const GATHERED_MSGS: usize = 4 * NODES;
/// Messages that a slice removes.
const SLICE_MSGS: usize = 256;
/// Messages of one subject that are removed at once because somebody asks for it.
const SUBJECT_MSGS: usize = 1024;
/// After so many beginnings anew the rest is gathered at once.
const TRIES_MAX: u32 = 4;

/// A purge that has taken effect and goes on.
#[derive(Debug)]
pub(crate) struct Purging {
    taken: Taken,
    /// How many messages it takes.
    count: u64,
    /// The last sequence when it took effect.
    end_seq: u64,
}

/// What a purge takes.
#[derive(Debug)]
enum Taken {
    /// Everything below a sequence.
    Below(u64),
    /// Messages by sequence, in order, with the number of their subject; those before `at` are removed. Of those that
    /// match and stay, the first.
    Listed { msgs: Vec<(u64, u32)>, subjects: Vec<Box<[u8]>>, at: usize, first_left: Option<u64> },
    /// All of a subject below a sequence; those before `at` are removed.
    Subject { subject: Box<[u8]>, at: u64, below: u64 },
}

impl Purging {
    /// Whether a message is gone for everybody, although the store may still hold it.
    fn takes(&self, seq: u64, store: &dyn Store) -> bool {
        match &self.taken {
            Taken::Below(below) => seq < *below,
            Taken::Subject { subject, below, .. } => {
                seq < *below && store.index().at_or_after(subject, seq) == Some(seq)
            }
            Taken::Listed { msgs, at, .. } => {
                msgs.get(*at..).unwrap_or_default().binary_search_by_key(&seq, |(seq, _)| *seq).is_ok()
            }
        }
    }
}

/// Messages that match, gathered in slices.
#[derive(Default)]
struct Gathered {
    subjects: Vec<Box<[u8]>>,
    msgs: Vec<(u64, u32)>,
    gone: Vec<u64>,
    through_seq: u64,
    next: Option<Vec<u8>>,
    /// Where the messages of the last subject go on, of which a slice may gather only some.
    next_seq: u64,
    tries: u32,
}

impl Gathered {
    /// Takes in what was removed. Says whether what was gathered holds.
    fn note_gone(&mut self, gone: crate::stream::removals::Gone) -> bool {
        self.gone.extend(gone.msgs.iter().map(|(seq, _)| *seq));
        if gone.is_more {
            *self = Self { tries: self.tries + 1, ..Self::default() };
        }
        !gone.is_more
    }

    /// Gathers a part; says whether there is more.
    fn slice(&mut self, inner: &Inner, filter: &Filter) -> bool {
        if self.next.is_none() {
            self.through_seq = inner.store.totals().last_seq;
        }
        let is_bounded = self.tries < TRIES_MAX;
        let (nodes, mut left) = if is_bounded { (NODES, GATHERED_MSGS) } else { (usize::MAX, usize::MAX) };
        let Self { subjects, msgs, through_seq, next_seq, .. } = self;
        self.next = inner.store.index().walk_part(filter, self.next.as_deref(), nodes, |subject, seqs| {
            // One at which the slice before broke off is visited again.
            if subjects.last().is_none_or(|last| **last != *subject) {
                subjects.push(subject.into());
                *next_seq = 0;
            }
            let number = u32::try_from(subjects.len() - 1).unwrap_or(u32::MAX);
            for seq in seqs.iter_from(*next_seq).take_while(|seq| *seq <= *through_seq).take(left) {
                #[cfg(test)]
                crate::steps::note();
                msgs.push((seq, number));
                *next_seq = seq + 1;
                left -= 1;
            }
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        self.next.is_some()
    }

    /// What a purge takes of it.
    fn taken(self, request: &PurgeRequest<'_>) -> Taken {
        let Self { subjects, mut msgs, .. } = self;
        let mut count = msgs.len().saturating_sub(usize::try_from(request.keep).unwrap_or(usize::MAX));
        if let Some(upto) = request.seq.checked_sub(1) {
            count = count.min(msgs.partition_point(|(seq, _)| *seq <= upto));
        }
        let first_left = msgs.get(count).map(|(seq, _)| *seq);
        msgs.truncate(count);
        Taken::Listed { msgs, subjects, at: 0, first_left }
    }

    /// Brings what was gathered up to what the stream holds now.
    fn finish(&mut self, inner: &mut Inner, filter: &Filter) -> Result<(), StoreError> {
        if !self.gone.is_empty() {
            self.gone.sort_unstable();
            self.msgs.retain(|(seq, _)| self.gone.binary_search(seq).is_err());
        }
        let Self { subjects, msgs, .. } = self;
        inner.store.scan_up(self.through_seq.saturating_add(1), usize::MAX, &mut |_, seq, subject| {
            if filter.matches(subject) {
                msgs.push((seq, u32::try_from(subjects.len()).unwrap_or(u32::MAX)));
                subjects.push(subject.into());
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

impl Stream {
    /// Purges in slices what takes long, and everything else at once. `allowed` is asked when the stream is locked.
    /// Says how many messages went.
    ///
    /// # Errors
    /// That of `allowed`, or of the store; a part may be purged then.
    pub(crate) fn purge(
        &self,
        request: &PurgeRequest<'_>,
        allowed: &dyn Fn(&Inner) -> Result<(), ApiError>,
    ) -> Result<u64, ApiError> {
        loop {
            self.await_purge();
            let mut inner = self.lock();
            allowed(&inner)?;
            inner.flush();
            if !inner.purges_many(request).map_err(unreadable)? {
                return inner.purge_at_once(request);
            }
            let taken = if request.is_everything() {
                Taken::Below(inner.purge_limit(request))
            } else {
                drop(inner);
                let (locked, gathered) = self.gather(&Filter::new([request.filter])).map_err(unreadable)?;
                inner = locked;
                gathered.taken(request)
            };
            // The stream may have come to refuse purges meanwhile, or another may have begun.
            allowed(&inner)?;
            if inner.purging.is_none() {
                inner.begin_purge(taken);
                return self.purge_slices(inner, request, |_| {});
            }
        }
    }

    /// Removes what a purge has taken, calls `end` while the stream is locked for the last time, and says how many messages
    /// went.
    fn purge_slices(
        &self,
        inner: Locked<'_>,
        request: &PurgeRequest<'_>,
        end: impl FnOnce(&mut Inner),
    ) -> Result<u64, ApiError> {
        let _over = Over(self);
        // Released before those who wait are told.
        let mut inner = inner;
        while inner.purge_slice()? {
            drop(inner);
            let_others();
            inner = self.lock();
        }
        let purged = inner.end_purge(request)?;
        end(&mut inner);
        Ok(purged)
    }

    /// Removes what a message has rolled up; then its publisher is answered.
    pub(in crate::stream) fn roll_up_slices(&self, inner: Locked<'_>, rolling: &RollingUp) {
        let request = PurgeRequest { filter: &rolling.filter, seq: 0, keep: 1 };
        let rolled = self.purge_slices(inner, &request, |inner| inner.answer_rolled(rolling));
        if let Err(error) = rolled {
            self.lock().refuse_rolled(rolling, &error);
        }
    }

    /// Returns when no purge goes on.
    pub(crate) fn await_purge(&self) {
        let mut inner = self.inner.lock();
        while inner.purging.is_some() {
            self.purge_over.wait(&mut inner);
        }
    }

    /// Gathers what matches, in order of sequence. The stream is locked, and what is gathered is all that it holds.
    fn gather(&self, filter: &Filter) -> Result<(Locked<'_>, Gathered), StoreError> {
        let mut gathered = Gathered::default();
        let mut inner = self.lock();
        let watch = inner.removals.watch();
        loop {
            inner.flush();
            let gone = inner.removals.take(watch);
            gathered.note_gone(gone);
            if gathered.slice(&inner, filter) {
                drop(inner);
                let_others();
                inner = self.lock();
                continue;
            }
            drop(inner);
            gathered.msgs.sort_unstable();
            inner = self.lock();
            let gone = inner.removals.take(watch);
            if gathered.note_gone(gone) {
                break;
            }
        }
        inner.removals.end(watch);
        inner.flush();
        gathered.finish(&mut inner, filter)?;
        Ok((inner, gathered))
    }
}

/// A purge that goes on; whoever waits for its end is told, however it ends.
struct Over<'s>(&'s Stream);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.inner.lock().purging = None;
        self.0.purge_over.notify_all();
        // Consumers go on.
        if let Some(stream) = self.0.me.upgrade() {
            self.0.world.host.pump_later(&stream);
        }
    }
}

fn unreadable(error: StoreError) -> ApiError {
    STREAM_GENERAL_ERROR.because(error)
}

impl Inner {
    /// Whether a purge is one for slices.
    fn purges_many(&mut self, request: &PurgeRequest<'_>) -> Result<bool, StoreError> {
        let totals = self.store.totals();
        if request.seq == 1 || totals.msgs <= FEW as u64 {
            return Ok(false);
        }
        if request.is_everything() {
            let below = self.purge_limit(request);
            // A stream is emptied at once.
            return Ok(below <= totals.last_seq && totals.msgs - self.store.count_from(below) > FEW as u64);
        }
        let matching = self.store.look_ahead(&Filter::new([request.filter]), 0, FEW)?;
        Ok(matching.is_none_or(|(matching, _)| matching.count > FEW as u64))
    }

    /// The sequence below which a purge takes everything.
    fn purge_limit(&self, request: &PurgeRequest<'_>) -> u64 {
        let totals = self.store.totals();
        if request.seq > 1 {
            return request.seq;
        }
        // The lowest from which no more than `keep` are held.
        let (mut low, mut high) = (totals.first_seq, totals.last_seq + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.store.count_from(middle) <= request.keep {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    fn begin_purge(&mut self, taken: Taken) {
        let count = match &taken {
            Taken::Below(below) => self.store.totals().msgs - self.store.count_from(*below),
            Taken::Listed { msgs, .. } => msgs.len() as u64,
            Taken::Subject { subject, below, .. } => self.count_below(subject, *below),
        };
        let end_seq = self.store.totals().last_seq;
        let purging = Purging { taken, count, end_seq };
        self.origins_lose(|inner, told| purging.takes(told, &*inner.store));
        self.purging = Some(Box::new(purging));
    }

    /// A message stored as `below` takes all before it with it, or all of one subject: from now on it is gone.
    pub(in crate::stream) fn begin_roll_up(&mut self, subject: &[u8], below: u64) {
        self.begin_purge(match subject {
            b"" => Taken::Below(below),
            _ => Taken::Subject { subject: subject.into(), at: 0, below },
        });
    }

    fn count_below(&self, subject: &[u8], below: u64) -> u64 {
        let index = self.store.index();
        index.count_from(subject, 0) - index.count_from(subject, below)
    }

    /// Purges all of it in this hold of the lock.
    fn purge_at_once(&mut self, request: &PurgeRequest<'_>) -> Result<u64, ApiError> {
        let purged = self.purge_here(request).map_err(|error| self.purge_failed(error))?;
        self.try_flush()?;
        Ok(purged)
    }

    fn purge_failed(&mut self, error: StoreError) -> ApiError {
        let told = STREAM_GENERAL_ERROR.because(&error);
        self.fail_half_way(error);
        self.flush();
        told
    }

    /// Removes some of what the purge takes. Says whether there is more.
    fn purge_slice(&mut self) -> Result<bool, ApiError> {
        // What was stored since the slice before is written, since blocks go with what they hold.
        self.try_flush()?;
        let Some(mut purging) = self.purging.take() else { return Ok(false) };
        let more = self.purge_some(&mut purging);
        self.purging = Some(purging);
        let more = more.map_err(|error| self.purge_failed(error))?;
        self.try_flush()?;
        Ok(more && !self.closed)
    }

    fn purge_some(&mut self, purging: &mut Purging) -> Result<bool, StoreError> {
        match &mut purging.taken {
            Taken::Below(below) => {
                self.touch();
                self.commit.removed();
                let Self { store, removals, consumers, expiry, schedules, .. } = self;
                store.compact_part(*below, SLICE_MSGS, &mut |seq, subject| {
                    removals.note(seq, subject);
                    consumers.on_purged_one(seq, subject);
                    expiry.forget(seq);
                    schedules.forget(seq);
                })
            }
            Taken::Listed { msgs, subjects, at, .. } => {
                for (seq, subject) in msgs.iter().skip(*at).take(SLICE_MSGS) {
                    let subject = subjects.get(*subject as usize).map(|subject| &**subject);
                    self.purge_one(*seq, subject.unwrap_or_default())?;
                    *at += 1;
                }
                Ok(*at < msgs.len())
            }
            Taken::Subject { subject, at, below } => {
                let held = self.store.index().seqs(subject);
                let held = held.into_iter().flat_map(|held| held.iter_from(*at));
                let held: Vec<u64> = held.take_while(|seq| seq < below).take(SLICE_MSGS).collect();
                for seq in &held {
                    self.purge_one(*seq, subject)?;
                    *at = seq + 1;
                }
                Ok(held.len() == SLICE_MSGS)
            }
        }
    }

    /// All is removed: consumers are told.
    fn end_purge(&mut self, request: &PurgeRequest<'_>) -> Result<u64, ApiError> {
        let Some(purging) = self.purging.take() else { return Ok(0) };
        let totals = self.store.totals();
        let first_left = match &purging.taken {
            Taken::Below(_) => totals.first_seq,
            Taken::Listed { first_left: Some(seq), .. } => *seq,
            Taken::Subject { subject, below, .. } => {
                self.store.index().at_or_after(subject, *below).unwrap_or(totals.last_seq + 1)
            }
            Taken::Listed { .. } => {
                let newer = self.store.next(&Filter::new([request.filter]), purging.end_seq + 1);
                newer.map_err(unreadable)?.map_or(totals.last_seq + 1, |msg| msg.seq)
            }
        };
        self.notify_purged(PurgeNotice {
            first_left: Some(first_left),
            is_counted: true,
            ..request.notice()
        });
        self.try_flush()?;
        Ok(purging.count)
    }

    /// Whether a purge has taken a message that the store still holds.
    pub(crate) fn is_purged(&self, seq: u64) -> bool {
        self.purging.as_ref().is_some_and(|purging| purging.takes(seq, &*self.store))
    }

    /// Somebody is about to look at a subject: what a purge has taken of it goes at once.
    #[inline]
    pub(crate) fn hurry_purge(&mut self, subject: &[u8]) {
        if self.purging.is_some() {
            self.purge_subject_now(subject);
        }
    }

    #[cold]
    fn purge_subject_now(&mut self, subject: &[u8]) {
        let Some(purging) = &self.purging else { return };
        let held = self.store.index().seqs(subject);
        let seqs = held.into_iter().flat_map(|seqs| seqs.iter()).take(SUBJECT_MSGS);
        let seqs: Vec<u64> = seqs.filter(|seq| purging.takes(*seq, &*self.store)).collect();
        if seqs.is_empty() {
            return;
        }
        for seq in seqs {
            if let Err(error) = self.purge_one(seq, subject) {
                tracing::error!(stream = %self.config.name, seq, %error, "cannot remove a message that is purged");
                break;
            }
        }
        self.flush();
    }
}

#[cfg(test)]
mod tests;
