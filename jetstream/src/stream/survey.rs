//! Finding out in slices what a consumer has to know of a stream before it can begin.

use super::removals::WatchId;
use super::{Inner, NODES, Stream, Wanted};
use crate::consumer::{Ask, Counted, FilterTrie, Known, Slot, first_wanted};
use crate::filter::Filter;
use crate::store::index::Seqs;
use crate::store::{Lowest, StoreError};
use std::ops::ControlFlow;

/// After so many beginnings anew the rest is found out at once.
const TRIES_MAX: u32 = 8;

/// A walk through the subjects that match, of what the stream held when it began: what is stored since is left out, and
/// what is removed is taken away again.
struct Tally {
    filter: Filter,
    from_seq: u64,
    through_seq: u64,
    /// How often the store had taken changes back when the walk began.
    take_backs: u64,
    /// Where the walk goes on; `None` before it begins.
    next: Option<Vec<u8>>,
    is_done: bool,
    found: Found,
}

enum Found {
    /// How many, the first of them, and what it cost to find those.
    Count(u64, Lowest, usize),
    /// The last of each subject, and what was removed since it was found. In order when the walk is done.
    LastOfEach(Vec<u64>, Vec<u64>),
}

impl Tally {
    fn new(inner: &Inner, filter: Filter, from_seq: u64, found: Found) -> Self {
        let mut tally =
            Self { filter, from_seq, through_seq: 0, take_backs: 0, next: None, is_done: false, found };
        tally.begin_anew(inner);
        tally
    }

    fn begin_anew(&mut self, inner: &Inner) {
        self.through_seq = inner.store.totals().last_seq;
        self.take_backs = inner.store.take_backs();
        (self.next, self.is_done) = (None, false);
        self.found = match self.found {
            Found::Count(..) => Found::Count(0, Lowest::below(self.through_seq.saturating_add(1)), 0),
            Found::LastOfEach(..) => Found::LastOfEach(Vec::new(), Vec::new()),
        };
    }

    /// A message was removed.
    fn forget(&mut self, seq: u64, subject: &[u8]) {
        let is_behind = self.is_done || self.next.as_deref().is_some_and(|next| subject < next);
        if !is_behind || !(self.from_seq..=self.through_seq).contains(&seq) || !self.filter.matches(subject) {
            return;
        }
        match &mut self.found {
            Found::Count(count, ..) => *count = count.saturating_sub(1),
            Found::LastOfEach(_, gone) => gone.push(seq),
        }
    }

    /// Takes in a subject. Says how many of its sequences were looked at.
    fn add(found: &mut Found, (from_seq, through_seq): (u64, u64), seqs: Seqs<'_>) -> usize {
        match found {
            Found::Count(count, lowest, _) => {
                *count += seqs.count_from(from_seq) - seqs.count_from(through_seq.saturating_add(1));
                lowest.take(seqs, from_seq)
            }
            Found::LastOfEach(lasts, _) => {
                lasts.extend(seqs.at_or_before(through_seq));
                0
            }
        }
    }

    fn slice(&mut self, inner: &Inner) {
        let (found, range) = (&mut self.found, (self.from_seq, self.through_seq));
        let (mut left, mut looked) = (NODES, 0);
        let index = inner.store.index();
        self.next = index.walk_part_within(&self.filter, self.next.as_deref(), &mut left, |_, seqs| {
            if looked >= NODES {
                return ControlFlow::Break(());
            }
            looked += Self::add(found, range, seqs);
            ControlFlow::Continue(())
        });
        if let Found::Count(_, _, cost) = found {
            *cost += NODES - left + looked;
        }
        self.is_done = self.next.is_none();
    }

    /// Sorts what was found.
    fn sort(&mut self) {
        if let Found::LastOfEach(lasts, gone) = &mut self.found {
            lasts.sort_unstable();
            drop_gone(lasts, gone);
        }
    }
}

/// Takes from sorted sequences those that are gone.
fn drop_gone(lasts: &mut Vec<u64>, gone: &mut Vec<u64>) {
    if !gone.is_empty() {
        gone.sort_unstable();
        lasts.retain(|seq| gone.binary_search(seq).is_err());
        gone.clear();
    }
}

/// What is found out for one request. While there is such, what is removed from the stream is noted.
pub(crate) struct Survey<'s> {
    stream: &'s Stream,
    watch: Option<WatchId>,
    start: Option<u64>,
    tallies: Vec<Tally>,
    tries: u32,
}

impl<'s> Survey<'s> {
    /// Nothing was asked yet.
    pub(crate) fn new(stream: &'s Stream) -> Self {
        Self { stream, watch: None, start: None, tallies: Vec::new(), tries: 0 }
    }

    /// What was found out, as it is while the stream is locked.
    pub(crate) fn known(&mut self, inner: &mut Inner) -> Known {
        self.catch_up(inner);
        let mut known = Known { asks: self.tries < TRIES_MAX, start: self.start, ..Known::default() };
        for tally in self.tallies.iter_mut().filter(|tally| tally.is_done) {
            let (from_seq, through_seq) = (tally.from_seq, tally.through_seq);
            match &mut tally.found {
                Found::Count(count, lowest, cost) => {
                    let (filter, lowest) = (tally.filter.clone(), lowest.clone());
                    let (count, cost, take_backs) = (*count, *cost, tally.take_backs);
                    let counted = Counted { filter, from_seq, through_seq, count, lowest, cost, take_backs };
                    known.count = Some(counted);
                }
                Found::LastOfEach(lasts, gone) => {
                    drop_gone(lasts, gone);
                    known.last_of_each = Some((lasts.clone(), through_seq.saturating_add(1)));
                }
            }
        }
        known
    }

    /// Finds out what was asked. No lock may be held.
    ///
    /// # Errors
    /// Those of reading a message.
    pub(crate) fn find_out(&mut self, ask: Ask) -> Result<(), StoreError> {
        self.tries += 1;
        match ask {
            Ask::Last(filter) => {
                let last = self.stream.find(&filter, Wanted::Last, |msg| msg.seq)?;
                self.start = Some(last.unwrap_or(0));
            }
            Ask::Firsts(patterns, sseq) => self.start = Some(self.stream.first_wanted(&patterns, sseq)),
            Ask::LastOfEach(filter) => self.tally(filter, 0, Found::LastOfEach(Vec::new(), Vec::new())),
            Ask::Count(filter, from_seq) => {
                self.tally(filter, from_seq, Found::Count(0, Lowest::below(0), 0));
            }
        }
        Ok(())
    }

    fn tally(&mut self, filter: Filter, from_seq: u64, found: Found) {
        let mut inner = self.stream.lock();
        self.catch_up(&mut inner);
        // What was asked before is of a kind that did not serve.
        self.tallies.retain(|held| std::mem::discriminant(&held.found) != std::mem::discriminant(&found));
        if self.watch.is_none() {
            self.watch = Some(inner.removals.watch());
        }
        self.tallies.push(Tally::new(&inner, filter, from_seq, found));
        loop {
            self.catch_up(&mut inner);
            let left = self.tallies.iter_mut().find(|tally| !tally.is_done);
            let Some(tally) = left.filter(|_| self.tries < TRIES_MAX) else { break };
            tally.slice(&inner);
            drop(inner);
            super::let_others();
            inner = self.stream.lock();
        }
        drop(inner);
        self.tallies.iter_mut().for_each(Tally::sort);
    }

    /// Takes in what was removed.
    fn catch_up(&mut self, inner: &mut Inner) {
        let Some(watch) = self.watch else { return };
        let gone = inner.removals.take(watch);
        if gone.is_more {
            self.tries += 1;
            self.tallies.iter_mut().for_each(|tally| tally.begin_anew(inner));
        }
        for (seq, subject) in &gone.msgs {
            self.tallies.iter_mut().for_each(|tally| tally.forget(*seq, subject));
        }
    }
}

impl Drop for Survey<'_> {
    fn drop(&mut self) {
        if let Some(watch) = self.watch {
            self.stream.lock().removals.end(watch);
        }
    }
}

impl Stream {
    /// Where a consumer begins that would at `sseq`, by the first message of each of its patterns.
    fn first_wanted(&self, patterns: &[Box<[u8]>], sseq: u64) -> u64 {
        let mut trie = FilterTrie::default();
        for (number, pattern) in patterns.iter().enumerate() {
            trie.insert(Some(pattern), Slot::try_from(number).unwrap_or(Slot::MAX));
        }
        let mut firsts: Vec<Option<u64>> = vec![None; patterns.len()];
        let mut found = Vec::new();
        self.each_subject(&Filter::new(patterns), |subject, entry| {
            found.clear();
            trie.find(subject, &mut found);
            for number in &found {
                if let Some(first) = firsts.get_mut(*number as usize) {
                    *first = Some(first.map_or(entry.first_seq, |first| first.min(entry.first_seq)));
                }
            }
        });
        let firsts: Vec<u64> = firsts.into_iter().flatten().collect();
        first_wanted(&firsts, sseq, self.lock().store.totals().last_seq)
    }

    /// The sequences between first and last that are not held, with the stream locked as it was when that was so.
    pub(crate) fn deleted(&self) -> (super::Locked<'_>, Vec<u64>) {
        let mut inner = self.lock();
        inner.flush();
        let watch = inner.removals.watch();
        let (mut deleted, mut from, mut tries) = (Vec::new(), inner.store.totals().first_seq, 0);
        loop {
            let gone = inner.removals.take(watch);
            if gone.is_more {
                tries += 1;
                deleted.clear();
                from = inner.store.totals().first_seq;
            }
            // What goes ahead of the walk is found there.
            deleted.extend(gone.msgs.iter().map(|(seq, _)| *seq).filter(|seq| *seq < from));
            let most = if tries < TRIES_MAX { NODES } else { usize::MAX };
            match inner.store.deleted_from(from, most, &mut deleted) {
                Some(next) => from = next,
                None => break,
            }
            drop(inner);
            super::let_others();
            inner = self.lock();
            inner.flush();
        }
        inner.removals.end(watch);
        let first_seq = inner.store.totals().first_seq;
        deleted.sort_unstable();
        deleted.retain(|seq| *seq >= first_seq);
        (inner, deleted)
    }
}

#[cfg(test)]
mod tests;
