//! What has to be found out about a stream before a consumer can begin. Where that takes long, it is found out in slices
//! before, so that nobody waits for the stream's lock meanwhile.

use crate::config::consumer_rules::Verdict;
use crate::filter::Filter;
use crate::store::{Lowest, Store, StoreError, Upcoming};
use std::ops::ControlFlow;

/// So many messages, subjects or nodes of the index are looked at without being asked for.
pub(crate) const FEW: usize = 1024;

/// Nodes of the index that are entered to count what is to come, without being asked for.
const COUNT_NODES: usize = 2 * FEW;

/// A question about a stream that takes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Which is the last message that matches.
    Last(Filter),
    /// Which is the last message of each subject that matches.
    LastOfEach(Filter),
    /// Where the first message of each pattern lies, for a consumer that would begin at the sequence.
    Firsts(Box<[Box<[u8]>]>, u64),
    /// How many messages match from a sequence on.
    Count(Filter, u64),
}

/// What was found out about a stream.
#[derive(Debug, Default)]
pub struct Known {
    /// Whether what takes long is asked for. Otherwise it is found out at once, however long that takes.
    pub(crate) asks: bool,
    /// What [`check_filters`](crate::config::consumer_rules::check_filters) says.
    pub(crate) filters: Option<Verdict>,
    /// Where a consumer begins.
    pub(crate) start: Option<u64>,
    /// The last message of each subject, and where to go on afterwards.
    pub(crate) last_of_each: Option<(Vec<u64>, u64)>,
    /// How many messages match.
    pub(crate) count: Option<Counted>,
}

/// How many messages match between two sequences, both included, and which come first.
#[derive(Debug, Clone)]
pub(crate) struct Counted {
    pub(crate) filter: Filter,
    pub(crate) from_seq: u64,
    pub(crate) through_seq: u64,
    pub(crate) count: u64,
    pub(crate) lowest: Lowest,
    /// What it cost to find them, and how often the store had taken changes back then.
    pub(crate) cost: usize,
    pub(crate) take_backs: u64,
}

/// What is to come.
pub(super) struct Coming {
    pub(super) count: u64,
    pub(super) upcoming: Upcoming,
}

impl Known {
    /// Whether a question about `filter` has to be asked.
    pub(super) fn asks_about(&self, filter: &Filter, store: &dyn Store) -> bool {
        self.asks
            && matches!(filter, Filter::Patterns(_))
            && store.totals().msgs > FEW as u64
            && !store.index().is_covered_by(filter)
    }

    /// What matches at or after `from_seq`, or what has to be asked to know that.
    pub(super) fn coming(
        &self,
        store: &mut dyn Store,
        filter: &Filter,
        from_seq: u64,
    ) -> Result<Result<Coming, Ask>, StoreError> {
        if !self.asks {
            let count = store.pending(filter, from_seq, false)?.count;
            return Ok(Ok(Coming { count, upcoming: Upcoming::default() }));
        }
        let known = self.count.as_ref().filter(|known| known.filter == *filter && known.from_seq <= from_seq);
        if let Some(known) = known
            && let Some(passed) = passed(store, known, from_seq)?
        {
            let newer = store.pending(filter, from_seq.max(known.through_seq.saturating_add(1)), false)?;
            let count = known.count.saturating_sub(passed) + newer.count;
            let upcoming = known.lowest.clone().into_upcoming(known.from_seq, known.take_backs, known.cost);
            return Ok(Ok(Coming { count, upcoming }));
        }
        if let Some((pending, upcoming)) = store.look_ahead(filter, from_seq, COUNT_NODES)? {
            return Ok(Ok(Coming { count: pending.count, upcoming }));
        }
        Ok(Err(Ask::Count(filter.clone(), from_seq)))
    }
}

/// How many of the messages counted lie before `from_seq`; `None` where finding that out takes long.
fn passed(store: &mut dyn Store, known: &Counted, from_seq: u64) -> Result<Option<u64>, StoreError> {
    let between = store.count_from(known.from_seq) - store.count_from(from_seq);
    if between > FEW as u64 {
        return Ok(None);
    }
    let mut passed = 0;
    store.scan_up(known.from_seq, FEW, &mut |_, seq, subject| {
        if seq >= from_seq {
            return ControlFlow::Break(());
        }
        passed += u64::from(known.filter.matches(subject));
        ControlFlow::Continue(())
    })?;
    Ok(Some(passed))
}
