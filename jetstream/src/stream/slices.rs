//! Questions that may take long, asked a little at a time: the stream's lock is let go in between, so that whoever
//! publishes or reads meanwhile waits for a slice and not for the answer.

use super::{Inner, Stream};
use crate::filter::Filter;
use crate::store::index::SubjectEntry;
use crate::store::query::Scan;
use crate::store::{Msg, StoreError};
use std::ops::ControlFlow;

/// Nodes of the index that a slice looks at.
const NODES: usize = 2048;
/// Messages that the first slice of a search looks at, and the most that one does.
const FIRST_MSGS: usize = 32;
const MSGS_MAX: usize = 512;

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
        let mut from: Option<Vec<u8>> = None;
        loop {
            let mut inner = self.lock();
            inner.flush();
            from = inner.store.index().walk_part(filter, from.as_deref(), NODES, |subject, seqs| {
                visit(subject, seqs.entry());
                ControlFlow::Continue(())
            });
            drop(inner);
            if from.is_none() {
                return;
            }
            std::thread::yield_now();
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
            std::thread::yield_now();
        }
    }
}

/// A search by both ways at once, as in [`crate::store::query`]: through the messages from where it begins, and through
/// the subjects that match.
struct Search<'f> {
    filter: &'f Filter,
    up: bool,
    /// No message before this one, in the direction of the search, matches; `None` where it has yet to begin.
    at: Option<u64>,
    msgs: usize,
    /// Where the walk through the subjects goes on.
    from: Option<Vec<u8>>,
    best: Option<u64>,
}

enum Slice {
    Found(u64),
    Nothing,
    More,
}

impl<'f> Search<'f> {
    fn new(filter: &'f Filter, wanted: Wanted) -> Self {
        let at = match wanted {
            Wanted::From(seq) => Some(seq),
            Wanted::Last => None,
        };
        let up = wanted != Wanted::Last;
        Self { filter, up, at, msgs: FIRST_MSGS, from: None, best: None }
    }

    fn start_again(&mut self) {
        (self.from, self.best) = (None, None);
    }

    fn slice(&mut self, inner: &mut Inner) -> Result<Slice, StoreError> {
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
        self.msgs = (self.msgs * 2).min(MSGS_MAX);
        let at = match (scan, found) {
            (_, Some(seq)) => return Ok(Slice::Found(seq)),
            (Scan::More(next), None) => next,
            (Scan::Broke | Scan::End, None) => return Ok(Slice::Nothing),
        };
        self.at = Some(at);
        let (up, best) = (self.up, &mut self.best);
        self.from = inner.store.index().walk_part(filter, self.from.as_deref(), NODES, |_, seqs| {
            let found = if up { seqs.at_or_after(at) } else { seqs.at_or_before(at) };
            *best = match (*best, found) {
                (Some(best), Some(found)) if up => Some(best.min(found)),
                (Some(best), Some(found)) => Some(best.max(found)),
                (best, found) => best.or(found),
            };
            ControlFlow::Continue(())
        });
        Ok(match (&self.from, self.best) {
            (Some(_), _) => Slice::More,
            (None, Some(seq)) => Slice::Found(seq),
            (None, None) => Slice::Nothing,
        })
    }
}

#[cfg(test)]
mod tests;
