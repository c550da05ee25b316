//! Questions that may take long, asked a little at a time: the stream's lock is let go in between, so that whoever
//! publishes or reads meanwhile waits for a slice and not for the answer.

use super::{Inner, NODES, Stream};
use crate::filter::Filter;
use crate::store::index::{Seqs, SubjectEntry};
use crate::store::query::Scan;
use crate::store::upcoming::COUNTED_SEQS;
use crate::store::{Lowest, Msg, Pending, StoreError, Upcoming};
use std::ops::ControlFlow;

/// Messages that the first slices of a search look at, and the most that one does: a message of a file costs what a dozen
/// nodes cost, of which a slice enters [`NODES`], and whichever way is in vain must not cost more than the other. As long
/// as no subject was found that matches, one that does is not expected among the next messages either.
const FIRST_MSGS: usize = 32;
const MSGS_MAX: usize = 128;

/// So few messages are counted at once.
const COUNTED_MAX: usize = 512;

/// Which message of several is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The first at or after a sequence.
    From(u64),
    /// The last.
    Last,
}

impl Stream {
    /// Visits the subjects that match, in byte order. Those that come or go meanwhile are visited or not.
    pub(crate) fn each_subject(&self, filter: &Filter, mut visit: impl FnMut(&[u8], SubjectEntry)) {
        self.each_subject_while(filter, |subject, seqs| {
            visit(subject, seqs.entry());
            true
        });
    }

    /// As [`each_subject`](Self::each_subject), until `visit` wants no more.
    pub(crate) fn each_subject_while(&self, filter: &Filter, visit: impl FnMut(&[u8], Seqs<'_>) -> bool) {
        self.each_subject_from(filter, b"", visit);
    }

    /// As [`each_subject_while`](Self::each_subject_while), from a subject on.
    pub(crate) fn each_subject_from(
        &self,
        filter: &Filter,
        first: &[u8],
        mut visit: impl FnMut(&[u8], Seqs<'_>) -> bool,
    ) {
        let mut from = Some(first.to_vec()).filter(|first| !first.is_empty());
        loop {
            let mut inner = self.lock();
            inner.flush();
            let mut goes_on = true;
            from = inner.store.index().walk_part(filter, from.as_deref(), NODES, |subject, seqs| {
                goes_on = visit(subject, seqs);
                if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            drop(inner);
            if from.is_none() || !goes_on {
                return;
            }
            super::let_others();
        }
    }

    /// How many messages match at or after `from_seq`, and which come first, where that was seen. What changes meanwhile at
    /// or below the last sequence that the answer names is counted or not; what comes behind it is not.
    ///
    /// # Errors
    /// Those of reading a message.
    pub(crate) fn count_pending(
        &self,
        filter: &Filter,
        from_seq: u64,
    ) -> Result<(Pending, Option<Upcoming>), StoreError> {
        let mut inner = self.lock();
        inner.flush();
        let is_short = matches!(filter, Filter::Literal(_)) || inner.store.subjects().is_covered_by(filter);
        let Pending { count: msgs, through_seq } = inner.store.pending(&Filter::All, from_seq, false)?;
        if is_short || msgs <= COUNTED_MAX as u64 {
            return Ok((inner.store.pending(filter, from_seq, false)?, None));
        }
        let take_backs = inner.store.take_backs();
        drop(inner);
        let (mut count, mut cost) = (0, 0);
        let mut lowest = Lowest::below(through_seq.saturating_add(1));
        self.each_subject_while(filter, |_, seqs| {
            count += seqs.count_from(from_seq) - seqs.count_from(through_seq.saturating_add(1));
            if cost < COUNTED_SEQS {
                cost += lowest.take(seqs, from_seq).max(1);
            }
            true
        });
        let whole = cost < COUNTED_SEQS;
        let upcoming = whole.then(|| lowest.into_upcoming(from_seq, take_backs, 2 * cost));
        Ok((Pending { count, through_seq }, upcoming))
    }

    /// Returns when what nobody waits for any more is removed.
    pub(crate) fn sweep(&self) {
        while self.lock().sweep() {
            super::let_others();
        }
    }

    /// Shows the message that is wanted of those that match, if there is one, to `read`.
    ///
    /// # Errors
    /// Those of reading a message.
    pub(crate) fn find<R>(
        &self,
        filter: &Filter,
        wanted: Wanted,
        read: impl FnOnce(&Msg<'_>) -> R,
    ) -> Result<Option<R>, StoreError> {
        let mut search = Search::new(filter, wanted);
        loop {
            let mut inner = self.lock();
            inner.flush();
            match search.slice(&mut inner)? {
                Slice::Found(seq) => match inner.store.load(seq)? {
                    Some(msg) => return Ok(Some(read(&msg))),
                    // It went since a slice before found it.
                    None => search.start_again(),
                },
                Slice::Nothing => return Ok(None),
                Slice::More => {}
            }
            drop(inner);
            super::let_others();
        }
    }
}

/// A search by both ways at once, as in [`crate::store::query`]: through the messages from where it begins, and through
/// the subjects that match.
pub(crate) struct Search<'f> {
    filter: &'f Filter,
    up: bool,
    /// No message before this one, in the direction of the search, matches; `None` where it has yet to begin.
    at: Option<u64>,
    msgs: usize,
    /// Where the walk through the subjects goes on.
    from: Option<Vec<u8>>,
    best: Option<u64>,
    walked: bool,
}

/// What came of a slice of a search.
pub(crate) enum Slice {
    /// The sequence of the message.
    Found(u64),
    /// There is none.
    Nothing,
    /// There may be one.
    More,
}

impl<'f> Search<'f> {
    pub(crate) fn new(filter: &'f Filter, wanted: Wanted) -> Self {
        let at = match wanted {
            Wanted::From(seq) => Some(seq),
            Wanted::Last => None,
        };
        let up = wanted != Wanted::Last;
        Self { filter, up, at, msgs: FIRST_MSGS, from: None, best: None, walked: false }
    }

    /// What is searched for.
    pub(crate) fn filter(&self) -> &'f Filter {
        self.filter
    }

    /// Searches once more for what was found and is gone.
    pub(crate) fn start_again(&mut self) {
        (self.from, self.best) = (None, None);
    }

    /// Searches for the next at or after a sequence. Says whether the one before was dear.
    pub(crate) fn go_on_from(&mut self, seq: u64) -> bool {
        let was_dear = self.walked;
        *self = Self::new(self.filter, Wanted::From(seq));
        was_dear
    }

    /// Looks at a part of the stream.
    ///
    /// # Errors
    /// Those of reading a message.
    pub(crate) fn slice(&mut self, inner: &mut Inner) -> Result<Slice, StoreError> {
        let filter = self.filter;
        let at = self.at.unwrap_or(inner.store.totals().last_seq);
        if inner.store.subjects().is_covered_by(filter) || matches!(filter, Filter::Literal(_)) {
            let found = match self.up {
                true => inner.store.next(filter, at)?,
                false => inner.store.previous(filter, at)?,
            };
            return Ok(found.map_or(Slice::Nothing, |msg| Slice::Found(msg.seq)));
        }
        let mut found = None;
        let mut visit = |_: &_, seq: u64, subject: &[u8]| {
            if filter.matches(subject) {
                found = Some(seq);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let scan = match self.up {
            true => inner.store.scan_up(at, self.msgs, &mut visit)?,
            false => inner.store.scan_down(at, self.msgs, &mut visit)?,
        };
        let at = match (scan, found) {
            (_, Some(seq)) => return Ok(Slice::Found(seq)),
            (Scan::More(next), None) => next,
            (Scan::Broke | Scan::End, None) => return Ok(Slice::Nothing),
        };
        self.at = Some(at);
        let (up, best) = (self.up, &mut self.best);
        self.walked = true;
        self.from = inner.store.index().walk_part(filter, self.from.as_deref(), NODES, |_, seqs| {
            let found = if up { seqs.at_or_after(at) } else { seqs.at_or_before(at) };
            *best = match (*best, found) {
                (Some(best), Some(found)) if up => Some(best.min(found)),
                (Some(best), Some(found)) => Some(best.max(found)),
                (best, found) => best.or(found),
            };
            ControlFlow::Continue(())
        });
        if self.best.is_some() {
            self.msgs = (self.msgs * 2).min(MSGS_MAX);
        }
        Ok(match (&self.from, self.best) {
            (Some(_), _) => Slice::More,
            (None, Some(seq)) => Slice::Found(seq),
            (None, None) => Slice::Nothing,
        })
    }
}

#[cfg(test)]
mod tests;
