//! The coming matches of a filter, taken from the index in sorted batches.
//!
//! Whoever steps through what a filter matches keeps an [`Upcoming`] beside its position. A step looks at messages in
//! the order of their sequences, as long as that finds them; what such looks spend on messages that do not match is
//! credit for a walk over the index, which brings the next thousands of matches at once. So a list costs what it
//! matches however large the rest of the stream is, and a filter that matches most of it never pays for a walk. Whoever
//! walked already, to count what matches, begins with a batch ([`Lowest::into_upcoming`]).
//!
//! A step looks at a bounded part of the stream, and says so where that was not enough ([`Ahead::More`]): the next one
//! goes on where it ended.
//!
//! A batch stays right by itself: below the last sequence of a stream nothing is ever added, so that removals, which
//! are found when the message is loaded, are all that can change it. The exception are changes that a store takes
//! back; those end the batch.

use super::index::{Seqs, SubjectIndex, WalkEnd};
use super::query::{self, Scan, Sequences};
use super::{Pending, StoreError};
use crate::filter::Filter;
use std::ops::{ControlFlow, Range};

/// Sequences of a batch at most, 32 KiB of them.
const BATCH_SEQS: usize = 4096;
/// A message that is looked at costs as much as so many nodes and sequences of the index: it is read, and verified.
const MSG_NODES: usize = 8;
/// Messages that are looked at between two looks at the credit, and how often a step does that.
const SCAN_MSGS: usize = 64;
const SCANS: usize = 4;
/// Nodes and sequences of one part of a walk, of which a step walks one.
const PART_NODES: usize = 1024;
/// Sequences that are gathered beside a count at most.
pub(crate) const COUNTED_SEQS: usize = 4 * BATCH_SEQS;

/// What a step found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead<T> {
    /// The next match.
    Found(T),
    /// Nothing more matches.
    Nothing,
    /// Nothing yet: whoever asks again goes on from here.
    More,
}

impl<T> Ahead<T> {
    fn of(found: Option<T>) -> Self {
        found.map_or(Self::Nothing, Self::Found)
    }
}

/// The lowest of the sequences that a walk comes by.
#[derive(Debug, Clone)]
pub struct Lowest {
    seqs: Vec<u64>,
    /// Nothing at or above this one is wanted.
    ceiling: u64,
    most: usize,
}

impl Lowest {
    /// Of those below a sequence.
    #[must_use]
    pub fn below(ceiling: u64) -> Self {
        Self { seqs: Vec::new(), ceiling, most: BATCH_SEQS }
    }

    /// Takes in the sequences of a subject from one on. Says how many it looked at.
    pub fn take(&mut self, held: Seqs<'_>, from: u64) -> usize {
        let mut looked = 0;
        for seq in held.iter_from(from) {
            looked += 1;
            if seq >= self.ceiling {
                break;
            }
            self.seqs.push(seq);
            if self.seqs.len() >= 2 * self.most {
                self.keep_lowest();
            }
        }
        looked
    }

    fn keep_lowest(&mut self) {
        if self.seqs.len() > self.most {
            let (_, lowest_left, _) = self.seqs.select_nth_unstable(self.most);
            self.ceiling = *lowest_left;
            self.seqs.truncate(self.most);
        }
    }

    /// What comes from `from` on, where a walk took in all of it and looked at `cost` nodes and sequences; `take_backs` is
    /// that of the store when it began.
    #[must_use]
    pub fn into_upcoming(mut self, from: u64, take_backs: u64, cost: usize) -> Upcoming {
        self.keep_lowest();
        self.seqs.sort_unstable_by(|a, b| b.cmp(a));
        let Self { seqs, ceiling, .. } = self;
        let span = from..ceiling.max(from);
        let in_vain = (span.end - span.start).saturating_sub(seqs.len() as u64);
        // Where the looks that this spares cost more, so they will the next time.
        let is_cheap = in_vain.saturating_mul(MSG_NODES as u64) > cost as u64;
        let credit = if is_cheap { (cost + cost / 4).max(PART_NODES) } else { 0 };
        Upcoming { seqs, span, take_backs, credit, price: cost, ..Upcoming::default() }
    }
}

/// A walk over the index that is under way.
#[derive(Debug)]
struct Walk {
    /// It takes in what matches from here on.
    from: u64,
    /// Where it goes on; `None` where it begins.
    next: Option<Vec<u8>>,
    lowest: Lowest,
    cost: usize,
}

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
    /// Nodes and sequences that walks may look at, for messages that were looked at in vain.
    credit: usize,
    /// What the last walk cost.
    price: usize,
    walk: Option<Box<Walk>>,
    looked: usize,
    sizes: Sizes,
    /// Nodes and sequences that walks have looked at.
    #[cfg(test)]
    walked: usize,
}

/// How much is done at once.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch_seqs: usize,
    scan_msgs: usize,
    part_nodes: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { batch_seqs: BATCH_SEQS, scan_msgs: SCAN_MSGS, part_nodes: PART_NODES }
    }
}

impl Default for Upcoming {
    fn default() -> Self {
        Self {
            seqs: Vec::new(),
            span: 0..0,
            take_backs: 0,
            credit: 0,
            price: PART_NODES,
            walk: None,
            looked: 0,
            sizes: Sizes::default(),
            #[cfg(test)]
            walked: 0,
        }
    }
}

impl Upcoming {
    #[cfg(test)]
    pub(crate) fn set_sizes(&mut self, batch_seqs: usize, scan_msgs: usize, part_nodes: usize) {
        self.sizes = Sizes { batch_seqs, scan_msgs, part_nodes };
    }

    /// How much was looked at to find what is ahead, in nodes of the index. It rises with every step that finds nothing, and
    /// begins anew at the highest number.
    pub(crate) fn looked(&self) -> usize {
        self.looked
    }

    /// Forgets what is ahead if the store took changes back since.
    fn notice(&mut self, take_backs: u64) {
        if self.take_backs != take_backs {
            self.take_backs = take_backs;
            self.span = 0..0;
            self.walk = None;
        }
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

    /// A message was looked at that does not match.
    fn looked_in_vain(&mut self) {
        self.credit = self.credit.saturating_add(MSG_NODES);
        self.looked = self.looked.wrapping_add(MSG_NODES);
    }

    /// Spends credit on a walk, where what is ahead is worth it. Says whether that brought a batch.
    fn spend(&mut self, index: &SubjectIndex, filter: &Filter, ahead: &Range<u64>, most: &mut usize) -> bool {
        let at = ahead.start;
        // A position that went back, or beyond what the walk can bring.
        self.walk = self.walk.take().filter(|walk| walk.from <= at && at < walk.lowest.ceiling);
        let Sizes { batch_seqs, part_nodes, .. } = self.sizes;
        while self.credit >= part_nodes && *most > 0 {
            let walk = self.walk.get_or_insert_with(|| {
                let lowest = Lowest { most: batch_seqs, ..Lowest::below(ahead.end) };
                Box::new(Walk { from: at, next: None, lowest, cost: 0 })
            });
            let Walk { from, next, lowest, .. } = &mut **walk;
            let (mut seqs, mut left) = (0, part_nodes);
            *next = index.walk_part_within(filter, next.as_deref(), &mut left, |_, held| {
                if seqs >= part_nodes {
                    return ControlFlow::Break(());
                }
                seqs += lowest.take(held, *from);
                ControlFlow::Continue(())
            });
            let cost = (part_nodes - left + seqs).max(1);
            walk.cost += cost;
            self.credit = self.credit.saturating_sub(cost);
            self.looked = self.looked.wrapping_add(cost);
            *most = most.saturating_sub(cost);
            #[cfg(test)]
            {
                self.walked += cost;
            }
            if walk.next.is_none() {
                return self.end_walk(at);
            }
        }
        false
    }

    /// A walk has ended; says whether what it brought reaches beyond `at`.
    fn end_walk(&mut self, at: u64) -> bool {
        let Some(walk) = self.walk.take() else { return false };
        let Walk { from, lowest, cost, .. } = *walk;
        let found = lowest.into_upcoming(from, self.take_backs, cost);
        *self = Self {
            looked: self.looked,
            sizes: self.sizes,
            #[cfg(test)]
            walked: self.walked,
            ..found
        };
        if !self.span.contains(&at) {
            // Whoever walked went on beyond all of it meanwhile.
            (self.seqs, self.span) = (Vec::new(), at..at);
            return false;
        }
        true
    }
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
) -> Result<Ahead<u64>, StoreError> {
    if !matches!(filter, Filter::Patterns(_)) {
        return query::next_seq(store, filter, from_seq).map(Ahead::of);
    }
    let totals = store.totals();
    if totals.msgs == 0 || from_seq > totals.last_seq {
        return Ok(Ahead::Nothing);
    }
    upcoming.notice(store.take_backs());
    let after_last = totals.last_seq.saturating_add(1);
    let mut at = match upcoming.first_from(from_seq.max(totals.first_seq)) {
        Ok(seq) => return Ok(Ahead::Found(seq)),
        Err(unknown) => unknown,
    };
    if at >= after_last {
        return Ok(Ahead::Nothing);
    }
    if store.subjects().is_covered_by(filter) {
        return query::next_seq(store, filter, at).map(Ahead::of);
    }
    let Sizes { scan_msgs, part_nodes, .. } = upcoming.sizes;
    let mut nodes_left = part_nodes;
    for _ in 0..SCANS {
        let to_scan = usize::try_from((after_last - at).min(totals.msgs)).unwrap_or(usize::MAX);
        if to_scan.saturating_mul(MSG_NODES) > upcoming.price
            && upcoming.spend(store.subjects(), filter, &(at..after_last), &mut nodes_left)
        {
            match upcoming.first_from(at) {
                Ok(seq) => return Ok(Ahead::Found(seq)),
                Err(unknown) if unknown >= after_last => return Ok(Ahead::Nothing),
                Err(unknown) => at = unknown,
            }
        }
        if nodes_left == 0 {
            break;
        }
        let mut found = None;
        let scan = store.scan_up(at, scan_msgs, &mut |_, seq, subject| {
            if filter.matches(subject) {
                found = Some(seq);
                return ControlFlow::Break(());
            }
            upcoming.looked_in_vain();
            ControlFlow::Continue(())
        })?;
        let looked_to = match scan {
            Scan::Broke => {
                // Where as much matches as does not, looking is the shorter way.
                upcoming.credit = upcoming.credit.saturating_sub(MSG_NODES);
                return Ok(Ahead::of(found));
            }
            Scan::More(next) => next,
            Scan::End => after_last,
        };
        upcoming.span.end = looked_to;
        at = looked_to;
        if at >= after_last {
            upcoming.walk = None;
            return Ok(Ahead::Nothing);
        }
    }
    Ok(Ahead::More)
}

/// How many messages match at or after `from_seq`, and the first of them, unless more than about `budget` messages or nodes
/// have to be looked at for that.
///
/// # Errors
/// Those of reading a message.
pub fn look_ahead<S: Sequences + ?Sized>(
    store: &mut S,
    filter: &Filter,
    from_seq: u64,
    budget: usize,
) -> Result<Option<(Pending, Upcoming)>, StoreError> {
    let totals = store.totals();
    let through_seq = totals.last_seq;
    let from_seq = from_seq.max(totals.first_seq);
    let is_short = matches!(filter, Filter::Literal(_)) || store.subjects().is_covered_by(filter);
    if is_short || from_seq > through_seq || store.count_from(from_seq) <= budget as u64 {
        let pending = query::pending(store, filter, from_seq, false)?;
        return Ok(Some((pending, Upcoming::default())));
    }
    let (mut left, mut count, mut seqs) = (budget, 0, 0);
    let mut lowest = Lowest::below(through_seq.saturating_add(1));
    let end = store.subjects().walk_within(filter, &mut left, |_, held| {
        count += held.count_from(from_seq);
        if seqs < COUNTED_SEQS {
            seqs += lowest.take(held, from_seq);
        }
        ControlFlow::Continue(())
    });
    if end != WalkEnd::Done {
        return Ok(None);
    }
    let upcoming = if seqs < COUNTED_SEQS {
        lowest.into_upcoming(from_seq, store.take_backs(), budget - left + seqs)
    } else {
        Upcoming::default()
    };
    Ok(Some((Pending { count, through_seq }, upcoming)))
}

#[cfg(test)]
mod tests;
