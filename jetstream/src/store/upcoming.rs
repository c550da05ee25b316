//! The coming matches of a filter, taken from the index in sorted batches.
//!
//! Whoever steps through what a filter matches keeps an [`Upcoming`] beside its position. A step looks at messages in
//! the order of their sequences, as long as that finds them; what such looks spend on messages that do not match is
//! credit for a walk over the index, which brings the next thousands of matches at once. So a list costs what it
//! matches however large the rest of the stream is, and a filter that matches most of it never pays for a walk.
//!
//! A batch stays right by itself: below the last sequence of a stream nothing is ever added, so that removals, which
//! are found when the message is loaded, are all that can change it. The exception are changes that a store takes
//! back; those end the batch.

use super::StoreError;
use super::index::{SubjectIndex, WalkEnd};
use super::query::{self, FIRST_BUDGET, Scan, Sequences};
use crate::filter::Filter;
use std::ops::{ControlFlow, Range};

/// Sequences of a batch at most, 32 KiB of them.
const BATCH_SEQS: usize = 4096;

/// What is known of the matches ahead of a position. It belongs to one filter and one store: whoever changes the filter
/// begins with a new one. The position may go anywhere.
#[derive(Debug)]
pub struct Upcoming {
    /// What matches in the span, the next one last.
    seqs: Vec<u64>,
    /// Nothing but `seqs` matches here.
    span: Range<u64>,
    /// How often the store had taken changes back when the span was looked at.
    take_backs: u64,
    /// Messages looked at in vain since the last walk.
    credit: usize,
    /// Nodes and sequences that the next walk may look at; it takes as much credit.
    price: usize,
    most: usize,
    /// Nodes and sequences that walks have looked at.
    #[cfg(test)]
    walked: usize,
}

impl Default for Upcoming {
    fn default() -> Self {
        Self {
            seqs: Vec::new(),
            span: 0..0,
            take_backs: 0,
            credit: 0,
            price: FIRST_BUDGET,
            most: BATCH_SEQS,
            #[cfg(test)]
            walked: 0,
        }
    }
}

impl Upcoming {
    #[cfg(test)]
    pub(crate) fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// The first match at or after `from`, if it is known; or else the first sequence of which nothing is known.
    fn first_from(&mut self, from: u64) -> Result<u64, u64> {
        if !self.span.contains(&from) {
            self.seqs = Vec::new();
            self.span = from..from;
            return Err(from);
        }
        while self.seqs.last().is_some_and(|seq| *seq < from) {
            self.seqs.pop();
        }
        self.span.start = from;
        match self.seqs.last() {
            Some(seq) => Ok(*seq),
            None => {
                // Who has caught up holds no memory.
                self.seqs = Vec::new();
                Err(self.span.end)
            }
        }
    }

    /// Takes the next batch from the index, unless that takes more than its price.
    fn fill(&mut self, index: &SubjectIndex, filter: &Filter, from: u64, after_last: u64) -> bool {
        let (mut nodes_left, mut seqs_left) = (self.price, self.price);
        let (mut seqs, mut ceiling) = (Vec::new(), u64::MAX);
        let most = self.most;
        let end = index.walk_within(filter, &mut nodes_left, |_, held| {
            for seq in held.iter_from(from) {
                if seq >= ceiling {
                    break;
                }
                let Some(left) = seqs_left.checked_sub(1) else { return ControlFlow::Break(()) };
                seqs_left = left;
                seqs.push(seq);
                if seqs.len() >= 2 * most {
                    ceiling = keep_lowest(&mut seqs, most).unwrap_or(ceiling);
                }
            }
            ControlFlow::Continue(())
        });
        let cost = 2 * self.price - nodes_left - seqs_left;
        #[cfg(test)]
        {
            self.walked += cost;
        }
        if end != WalkEnd::Done {
            self.price = self.price.saturating_mul(2);
            return false;
        }
        if seqs.len() > most {
            ceiling = keep_lowest(&mut seqs, most).unwrap_or(ceiling);
        }
        seqs.sort_unstable_by(|a, b| b.cmp(a));
        self.span = from..ceiling.min(after_last);
        let in_vain = self.span.end - from - seqs.len() as u64;
        self.seqs = seqs;
        // With room for some more matches. Where the looks that this spares cost more, so they will the next time.
        self.price = (cost + cost / 4).max(FIRST_BUDGET);
        self.credit = if in_vain > cost as u64 { self.price } else { 0 };
        true
    }
}

/// Keeps the `most` lowest sequences of more than so many, and says which the lowest of the others was.
fn keep_lowest(seqs: &mut Vec<u64>, most: usize) -> Option<u64> {
    if seqs.len() <= most {
        return None;
    }
    let (_, lowest_left, _) = seqs.select_nth_unstable(most);
    let ceiling = *lowest_left;
    seqs.truncate(most);
    Some(ceiling)
}

/// As [`query::next_seq`], for one who asks again and again. A sequence taken from a batch may have been removed since.
///
/// # Errors
/// Those of reading a message.
pub fn next_seq<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    from_seq: u64,
    upcoming: &mut Upcoming,
) -> Result<Option<u64>, StoreError> {
    if !matches!(filter, Filter::Patterns(_)) {
        return query::next_seq(store, filter, from_seq);
    }
    let totals = store.totals();
    if totals.msgs == 0 || from_seq > totals.last_seq {
        return Ok(None);
    }
    let take_backs = store.take_backs();
    if upcoming.take_backs != take_backs {
        upcoming.take_backs = take_backs;
        upcoming.span = 0..0;
    }
    let after_last = totals.last_seq.saturating_add(1);
    let mut at = match upcoming.first_from(from_seq.max(totals.first_seq)) {
        Ok(seq) => return Ok(Some(seq)),
        Err(unknown) => unknown,
    };
    if at >= after_last {
        return Ok(None);
    }
    if store.subjects().is_covered_by(filter) {
        return query::next_seq(store, filter, at);
    }
    loop {
        let ahead = (after_last - at).min(totals.msgs);
        if upcoming.credit >= upcoming.price
            && ahead > upcoming.price as u64
            && upcoming.fill(store.subjects(), filter, at, after_last)
        {
            return Ok(upcoming.first_from(at).ok());
        }
        let budget = upcoming.price.saturating_sub(upcoming.credit).max(FIRST_BUDGET);
        let mut found = None;
        let credit = &mut upcoming.credit;
        let scan = store.scan_up(at, budget, &mut |_, seq, subject| {
            if filter.matches(subject) {
                found = Some(seq);
                return ControlFlow::Break(());
            }
            *credit = credit.saturating_add(1);
            ControlFlow::Continue(())
        })?;
        match scan {
            Scan::Broke => return Ok(found),
            Scan::More(next) => at = next,
            Scan::End => {
                upcoming.span.end = after_last;
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
