//! The last sequence that a publisher expects under a subject with wildcards. Finding it may take a look at all that the
//! stream holds, which is done in slices, by somebody who holds up no connection; a message that waits for it is looked at
//! anew when it is known.

use super::check::Refusal;
use super::decode::PublishHeaders;
use crate::clock::WallNs;
use crate::filter::Filter;
use crate::headers::header;
use crate::message::Inbound;
use crate::store::StoreError;
use crate::store::query::Scan;
use crate::stream::batch::COMMIT;
use crate::stream::inner::store_error;
use crate::stream::{Inner, Search, Slice, Stream, Wanted};
use jetkv_protocol::subject;
use std::ops::ControlFlow;

/// Messages that came since it was found out which is the last; with more it is found out anew.
const NEWER_MAX: usize = 512;
/// So often something is found out for one message. Then the rest is found out at once.
const TRIES_MAX: usize = 4096;

/// A message that has not been taken: what it expects takes long to find out, it rolls up many, it ends a large batch, or
/// somebody holds the stream's lock for long. It is for [`Stream::publish_when_known`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakesLong;

/// What becomes of a message where that which it expects takes long to find out, or that rolls up many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum IfLong {
    /// It is found out, or rolled up, at once, however long that takes.
    FindOut,
    /// Nothing happens but that it is [noted](Lasts) what has to be found out.
    Ask,
    /// The same, but what it rolls up goes in slices.
    Slices,
}

/// What is known of the last messages under patterns.
#[derive(Debug, Default)]
pub(in crate::stream) struct Lasts {
    known: Vec<KnownLast>,
    /// What the message that was looked at waits for.
    asked: Option<Awaited>,
}

/// What has to come before a message is taken.
#[derive(Debug)]
enum Awaited {
    /// It is known which is the last message under this pattern.
    Last(Box<[u8]>),
    /// Somebody has time to remove what it rolls up, and no purge goes on.
    RollUp,
}

#[derive(Debug)]
struct KnownLast {
    pattern: Box<[u8]>,
    seq: Option<u64>,
    through_seq: u64,
    take_backs: u64,
}

impl Lasts {
    /// The message rolls up many: it is not taken now.
    pub(in crate::stream) fn ask_to_roll_up(&mut self) {
        self.asked = Some(Awaited::RollUp);
    }

    fn learn(&mut self, learnt: KnownLast) {
        self.known.retain(|known| known.pattern != learnt.pattern);
        self.known.push(learnt);
    }
}

impl Stream {
    /// As [`Stream::publish`], unless what the message expects takes long to find out, it rolls up many, it ends a large
    /// batch, or the stream [is busy](Stream::is_busy).
    ///
    /// # Errors
    /// It takes long; nothing has happened yet.
    #[inline]
    pub fn publish_if_short(&self, msg: &Inbound<'_>) -> Result<WallNs, TakesLong> {
        self.take_if_short(msg, |inner| inner.publish(msg, IfLong::Ask))
    }

    /// Has a message taken as `take` does, unless that takes long.
    #[inline(always)]
    pub(super) fn take_if_short(
        &self,
        msg: &Inbound<'_>,
        take: impl FnOnce(&mut Inner),
    ) -> Result<WallNs, TakesLong> {
        if self.is_busy() {
            return Err(TakesLong);
        }
        let mut inner = self.lock();
        if inner.is_long_change(msg) {
            return Err(TakesLong);
        }
        take(&mut inner);
        if inner.lasts.asked.is_some() || !inner.lasts.known.is_empty() {
            let lasts = std::mem::take(&mut inner.lasts);
            return lasts.asked.map_or_else(|| Ok(inner.now.wall()), |_| Err(TakesLong));
        }
        Ok(inner.now.wall())
    }

    /// As [`Stream::publish`]; what the message expects is found out in slices before, and what it rolls up is removed in
    /// slices.
    pub fn publish_when_known(&self, msg: &Inbound<'_>) -> WallNs {
        self.take_when_known(msg, |inner, if_long| inner.publish(msg, if_long))
    }

    /// Has a message taken as `take` does, once all is known that it expects.
    pub(super) fn take_when_known(
        &self,
        msg: &Inbound<'_>,
        mut take: impl FnMut(&mut Inner, IfLong),
    ) -> WallNs {
        let mut lasts = Lasts::default();
        // Told before the lock is taken, so that nobody waits for it meanwhile who need not.
        let is_long = !msg.headers.is_empty() && self.inner.lock().is_long_change(msg);
        let _holding = is_long.then(|| self.busy.begin());
        for _ in 0..TRIES_MAX {
            let mut inner = self.lock();
            inner.lasts = lasts;
            take(&mut inner, IfLong::Slices);
            lasts = std::mem::take(&mut inner.lasts);
            let pattern = match lasts.asked.take() {
                None => {
                    let at = inner.now.wall();
                    if let Some(rolling) = inner.take_rolling() {
                        self.roll_up_slices(inner, &rolling);
                    }
                    return at;
                }
                Some(Awaited::Last(pattern)) => pattern,
                Some(Awaited::RollUp) => {
                    drop(inner);
                    self.await_purge();
                    continue;
                }
            };
            let (through_seq, take_backs) = (inner.store.totals().last_seq, inner.store.take_backs());
            drop(inner);
            match self.find(&Filter::new([&*pattern]), Wanted::Last, |msg| msg.seq) {
                Ok(seq) => lasts.learn(KnownLast { pattern, seq, through_seq, take_backs }),
                // It is told when it is met under the lock.
                Err(_) => break,
            }
        }
        let mut inner = self.lock();
        take(&mut inner, IfLong::FindOut);
        inner.now.wall()
    }
}

impl Inner {
    /// Whether a message has to wait, since what it expects, or a message of the batch that it ends, takes long to find out.
    pub(in crate::stream) fn asks_first(
        &mut self,
        headers: &PublishHeaders<'_>,
        block: &[u8],
    ) -> Result<bool, Refusal> {
        let is_staged = !headers.batch_id.is_empty();
        if is_staged && header(block, COMMIT).is_none() {
            // It is looked at when its batch is whole.
            return Ok(false);
        }
        let mut patterns: Vec<Box<[u8]>> = pattern_of(headers).map(Into::into).into_iter().collect();
        if is_staged {
            let staged = self.batches.atomic.get(headers.batch_id);
            let staged = staged.into_iter().flat_map(|staged| staged.iter());
            patterns.extend(
                staged.filter_map(|msg| pattern_of(&PublishHeaders::scan(msg.headers)).map(Into::into)),
            );
        }
        for pattern in patterns {
            match self.look_for_last(&pattern).map_err(|error| store_error(&error))? {
                Some(seq) => {
                    let (through_seq, take_backs) = (self.store.totals().last_seq, self.store.take_backs());
                    self.lasts.learn(KnownLast { pattern, seq, through_seq, take_backs });
                }
                None => {
                    self.lasts.asked = Some(Awaited::Last(pattern));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The last sequence under a subject, which may hold wildcards.
    pub(in crate::stream) fn last_seq_of(&mut self, subject: &[u8]) -> Result<Option<u64>, Refusal> {
        if !subject::has_wildcard(subject) {
            return Ok(self.store.index().get(subject).map(|entry| entry.last_seq));
        }
        self.last_under(subject).map_err(|error| store_error(&error).into())
    }

    fn last_under(&mut self, pattern: &[u8]) -> Result<Option<u64>, StoreError> {
        let filter = Filter::new([pattern]);
        match self.known_last(pattern, &filter)? {
            Some(last) => Ok(last),
            None => Ok(self.store.previous(&filter, u64::MAX)?.map(|msg| msg.seq)),
        }
    }

    /// The last sequence under a pattern, if that does not take long.
    fn look_for_last(&mut self, pattern: &[u8]) -> Result<Option<Option<u64>>, StoreError> {
        let filter = Filter::new([pattern]);
        if let Some(last) = self.known_last(pattern, &filter)? {
            return Ok(Some(last));
        }
        Ok(match Search::new(&filter, Wanted::Last).slice(self)? {
            Slice::Found(seq) => Some(Some(seq)),
            Slice::Nothing => Some(None),
            Slice::More => None,
        })
    }

    /// What is known of a pattern, brought up to now; `None` where it does not hold any more.
    fn known_last(&mut self, pattern: &[u8], filter: &Filter) -> Result<Option<Option<u64>>, StoreError> {
        let known = self.lasts.known.iter().find(|known| &*known.pattern == pattern);
        let Some(&KnownLast { seq, through_seq, take_backs, .. }) = known else { return Ok(None) };
        if take_backs != self.store.take_backs() || seq.is_some_and(|seq| !self.holds(seq)) {
            return Ok(None);
        }
        let mut last = seq;
        let scan = self.store.scan_up(through_seq.saturating_add(1), NEWER_MAX, &mut |_, seq, subject| {
            if filter.matches(subject) {
                last = Some(last.map_or(seq, |last| last.max(seq)));
            }
            ControlFlow::Continue(())
        })?;
        Ok(matches!(scan, Scan::End).then_some(last))
    }

    fn holds(&mut self, seq: u64) -> bool {
        matches!(self.store.load(seq), Ok(Some(_)))
    }
}

/// The pattern with wildcards under which a message expects a last sequence.
fn pattern_of<'m>(headers: &PublishHeaders<'m>) -> Option<&'m [u8]> {
    let pattern = headers.expected_last_subject;
    (!headers.expected_last_subject_seq.is_empty() && subject::has_wildcard(pattern)).then_some(pattern)
}

#[cfg(test)]
mod tests;
