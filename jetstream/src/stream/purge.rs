//! Removing many messages at once.

mod slices;

pub(crate) use slices::Purging;

use super::Inner;
use crate::consumer::PurgeNotice;
use crate::filter::Filter;
use crate::store::{Ahead, Msg, StoreError, Upcoming};

/// What to purge.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PurgeRequest<'a> {
    /// Subjects, empty for all.
    pub(crate) filter: &'a [u8],
    /// Up to, and not with, this sequence; 0 for all.
    pub(crate) seq: u64,
    /// How many of the newest stay.
    pub(crate) keep: u64,
}

impl PurgeRequest<'_> {
    /// What consumers are told.
    fn notice(&self) -> PurgeNotice<'_> {
        let subject = Some(self.filter).filter(|filter| !filter.is_empty());
        PurgeNotice { subject, ..PurgeNotice::default() }
    }

    /// Whether it is about all subjects.
    fn is_everything(&self) -> bool {
        self.filter.is_empty() || self.filter == b">"
    }
}

/// What a purge took.
#[derive(Debug, Default)]
pub(super) struct Purged {
    count: u64,
    /// The first message of a purge by subject, and the subject that consumers are told of it where it is the only
    /// one: nats-server v2.15.2 tells what was purged where the store is a file, and the message's own where it is
    /// memory.
    first: Option<(u64, Box<[u8]>)>,
    /// Whether consumers heard of each message.
    is_counted: bool,
}

impl Purged {
    fn only(self) -> Option<(u64, Box<[u8]>)> {
        self.first.filter(|_| self.count == 1)
    }
}

impl Inner {
    /// Removes messages and says how many.
    ///
    /// As nats-server does: without a filter, `seq` makes `keep` meaningless, and moves the stream's first sequence
    /// even beyond its last.
    pub(super) fn purge_here(&mut self, request: &PurgeRequest<'_>) -> Result<u64, StoreError> {
        let purged = self.purge_messages(request)?;
        let count = purged.count;
        // Consumers move to where the stream now begins even where nothing was left to purge.
        self.tell_purged(request, purged, None);
        Ok(count)
    }

    /// As [`Inner::purge_here`], while `coming` is stored and consumers have yet to be told of it.
    pub(super) fn purge_before(
        &mut self,
        request: &PurgeRequest<'_>,
        coming: Option<&Msg<'_>>,
    ) -> Result<(), StoreError> {
        let purged = self.purge_messages(request)?;
        self.tell_purged(request, purged, coming);
        Ok(())
    }

    fn tell_purged(&mut self, request: &PurgeRequest<'_>, purged: Purged, coming: Option<&Msg<'_>>) {
        let is_counted = purged.is_counted;
        let only = purged.only();
        let only = only.as_ref().map(|(seq, told)| (*seq, &**told));
        self.notify_purged(PurgeNotice { only, coming, is_counted, ..request.notice() });
    }

    fn notify_purged(&mut self, notice: PurgeNotice<'_>) {
        let (consumers, mut ctx) = self.parts();
        consumers.on_purged(&mut ctx, &notice);
    }

    fn purge_messages(&mut self, request: &PurgeRequest<'_>) -> Result<Purged, StoreError> {
        if request.seq == 1 {
            return Ok(Purged::default());
        }
        let everything = request.is_everything();
        if everything && request.keep == 0 && request.seq == 0 {
            self.purge_below(self.store.totals().last_seq + 1)
        } else if everything && request.seq > 1 {
            self.purge_below(request.seq)
        } else {
            self.purge_matching(request)
        }
    }

    pub(super) fn purge_below(&mut self, seq: u64) -> Result<Purged, StoreError> {
        self.touch();
        self.commit.removed();
        self.origins_lose(|_, told| told < seq);
        let purged = self.store.compact(seq)?;
        self.expiry.forget_below(seq);
        self.schedules.forget_below(seq);
        self.removals.note_many();
        Ok(Purged { count: purged, first: None, is_counted: false })
    }

    fn purge_matching(&mut self, request: &PurgeRequest<'_>) -> Result<Purged, StoreError> {
        let filter = if request.filter.is_empty() { Filter::All } else { Filter::new([request.filter]) };
        let mut left = match &filter {
            Filter::Literal(literal) => self.store.index().get(literal).map_or(0, |entry| entry.count),
            _ => self.store.pending(&filter, 0, false)?.count,
        };
        left = left.saturating_sub(request.keep);
        let upto = request.seq.checked_sub(1).unwrap_or(u64::MAX);
        let (mut from, mut upcoming) = (0, Upcoming::default());
        let mut purged = Purged { is_counted: true, ..Purged::default() };
        while left > 0 {
            let Some(seq) = self.next_match(&filter, from, &mut upcoming)?.filter(|seq| *seq <= upto) else {
                break;
            };
            from = seq + 1;
            left -= 1;
            if purged.first.is_none() {
                purged.first = self.told_subject(request, seq)?.map(|told| (seq, told));
            }
            purged.count += u64::from(self.purge_seq(seq)?);
        }
        Ok(purged)
    }

    /// The subject that consumers are told of the message at `seq`, where it is all that a purge takes.
    fn told_subject(
        &mut self,
        request: &PurgeRequest<'_>,
        seq: u64,
    ) -> Result<Option<Box<[u8]>>, StoreError> {
        if self.consumers.is_empty() {
            return Ok(None);
        }
        if self.config.storage.is_memory() {
            return Ok(self.store.load(seq)?.map(|msg| msg.subject.into()));
        }
        let subject = if request.filter.is_empty() { b">" } else { request.filter };
        Ok(Some(subject.into()))
    }

    fn next_match(
        &mut self,
        filter: &Filter,
        from: u64,
        upcoming: &mut Upcoming,
    ) -> Result<Option<u64>, StoreError> {
        match filter {
            Filter::Literal(literal) => Ok(self.store.index().at_or_after(literal, from)),
            _ => loop {
                match self.store.next_upcoming(filter, from, upcoming)? {
                    Ahead::Found(msg) => return Ok(Some(msg.seq)),
                    Ahead::Nothing => return Ok(None),
                    Ahead::More => {}
                }
            },
        }
    }

    fn purge_seq(&mut self, seq: u64) -> Result<bool, StoreError> {
        let mut subject = std::mem::take(&mut self.scratch);
        subject.clear();
        let loaded = self.store.load(seq).map(|msg| msg.map(|msg| subject.extend_from_slice(msg.subject)));
        let purged = match loaded {
            Ok(Some(())) => self.purge_one(seq, &subject),
            // What cannot be read is not held, either.
            Ok(None) | Err(StoreError::Damaged { .. }) => Ok(false),
            Err(error) => Err(error),
        };
        self.scratch = subject;
        purged
    }

    /// Removes a message that consumers count no more. They are told of the purge as a whole.
    fn purge_one(&mut self, seq: u64, subject: &[u8]) -> Result<bool, StoreError> {
        self.touch();
        self.commit.removed();
        if self.store.remove(seq, Some(subject), false)?.is_none() {
            return Ok(false);
        }
        self.origins_lose(|_, told| told == seq);
        self.expiry.forget(seq);
        self.schedules.forget(seq);
        self.removals.note(seq, subject);
        self.consumers.on_purged_one(seq, subject);
        Ok(true)
    }
}
